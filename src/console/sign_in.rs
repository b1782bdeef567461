//! Who asks? A token that came along, or the session of a browser; nothing else.
//!
//! Never keeps a secret: tokens, codes and sessions are known by their hashes.

mod throttle;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::guard::{self, Signed};
use super::sessions::{Lasts, Sessions, hash};
use super::{Console, Token, problem};
use crate::approval::Operator;
use crate::audit::Event;
use crate::clock::Clock;
use throttle::Throttle;

/// Everything that tells who asks.
#[derive(Debug)]
pub(super) struct SignIn {
    tokens: Vec<([u8; 32], Arc<Operator>)>,
    pub(super) sessions: Sessions,
    throttle: Throttle,
}

impl SignIn {
    pub(super) fn new(tokens: Vec<Token>, clock: Clock, lasts: Lasts) -> Self {
        let known = |token: Token| (token.sha256, Arc::new(token.operator));
        Self {
            tokens: tokens.into_iter().map(known).collect(),
            sessions: Sessions::new(clock.clone(), lasts),
            throttle: Throttle::new(clock),
        }
    }
}

/// BOUND: 32 characters at random are 160 bits and more: nobody guesses one, so nobody who sends bad
/// ones from the same address keeps its owner out.
const BEYOND_GUESSING: usize = 32;

impl Console {
    /// Who sends a request.
    ///
    /// # Errors
    ///
    /// The answer to somebody unknown, which says nothing but that.
    pub(super) async fn who(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Signed, Response> {
        let mut sent = headers.get_all(header::AUTHORIZATION).iter();
        match (sent.next(), sent.next()) {
            (None, _) => {
                let session = self.sign_in.sessions.of(headers, self.cookie());
                session.map(Signed::by_session).ok_or_else(guard::unknown)
            }
            (Some(one), None) => self.by_bearer(one, peer).await,
            // SECURITY: which of two counts is nothing to guess.
            (Some(_), Some(_)) => Err(guard::unknown()),
        }
    }

    async fn by_bearer(
        &self,
        sent: &HeaderValue,
        peer: Option<IpAddr>,
    ) -> Result<Signed, Response> {
        let token = sent.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(guard::unknown());
        };
        self.by_token(token, peer).await.map(Signed::by_token)
    }

    /// The operator of a configured token.
    ///
    /// # Errors
    ///
    /// The answer to an unknown one, or to too many of them.
    pub(super) async fn by_token(
        &self,
        token: &str,
        peer: Option<IpAddr>,
    ) -> Result<Arc<Operator>, Response> {
        let wait = self.sign_in.throttle.wait(peer);
        if let Some(wait) = wait.filter(|_| token.len() < BEYOND_GUESSING) {
            return Err(too_many(wait));
        }
        let digest = hash(token);
        // SECURITY: hashes are compared, so how long it takes tells nothing about a token.
        let known = self.sign_in.tokens.iter().find(|(own, _)| *own == digest);
        match known {
            Some((_, operator)) => Ok(Arc::clone(operator)),
            None => Err(self.failed("token", peer).await),
        }
    }

    /// Counts a failure, and answers it.
    async fn failed(&self, how: &'static str, peer: Option<IpAddr>) -> Response {
        self.sign_in.throttle.failed(peer);
        self.gate.turned_away(Event::SignInFailed, how, (None, "")).await;
        self.sign_in.throttle.wait(peer).map_or_else(guard::unknown, too_many)
    }

    /// The name of the session's cookie: bound to this host and TLS where there is TLS (RFC 6265bis
    /// s4.1.3.2).
    pub(super) fn cookie(&self) -> &'static str {
        match self.public_url() {
            Some(public) if public.is_secure() => "__Host-tollhouse",
            Some(_) | None => "tollhouse",
        }
    }
}

fn too_many(wait: Duration) -> Response {
    let said = problem(429, "too many sign-ins that failed: wait, then try again");
    let seconds = HeaderValue::from(wait.as_secs().max(1));
    ([(header::RETRY_AFTER, seconds)], said).into_response()
}

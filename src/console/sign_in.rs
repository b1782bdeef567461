//! Who asks, and how does a person sign in? A token that came along, or the session of a browser, which
//! began with a token, a code or at an issuer.
//!
//! Never keeps a secret: tokens, codes and sessions are known by their hashes.

mod codes;
mod doors;
mod oidc;
mod page;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::guard::{self, Signed};
use super::sessions::{Sessions, hash};
use super::{Console, PublicUrl, Settings, Token, problem};
use crate::approval::{Answers, Operator, Tenants};
use crate::audit::Event;
use crate::gate::Gate;
use crate::identity::{People, Person};
use crate::refusal::Code as RefusalCode;
pub use codes::Code;
use codes::Codes;
pub use doors::{begin, callback, code, enter, leave, script, session, show};
use oidc::Oidc;
pub use oidc::{OidcSettings, look_at};
pub(super) use throttle::Throttle;

/// Everything that tells who asks.
#[derive(Debug)]
pub(super) struct SignIn {
    tokens: Vec<([u8; 32], Arc<Operator>)>,
    people: Option<People>,
    oidc: Option<Oidc>,
    codes: Codes,
    sessions: Sessions,
    throttle: Throttle,
    /// Where people find the console; `None` behind a Unix socket.
    url: Option<String>,
    cookie: Box<str>,
    is_secure: bool,
}

impl SignIn {
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub(super) fn new(gate: &Gate, settings: Settings) -> Result<Self, String> {
        let clock = &gate.clock;
        let known = |token: Token| (token.sha256, Arc::new(token.operator));
        let public = settings.public_url.as_ref();
        let url = public.map(|public| public.origin().to_owned()).or(settings.url);
        let is_secure = public.is_some_and(PublicUrl::is_secure);
        let out = || (Arc::clone(&gate.outbound), clock.clone());
        let oidc = settings.oidc.map(|oidc| {
            let own = url.as_deref().unwrap_or_default();
            Oidc::new(oidc, format!("{own}/sign-in/callback"), out())
        });
        Ok(Self {
            tokens: settings.tokens.into_iter().map(known).collect(),
            people: settings.people,
            oidc: oidc.transpose()?,
            codes: Codes::new(clock.clone()),
            sessions: Sessions::new(clock.clone(), settings.lasts),
            throttle: Throttle::new(clock.clone()),
            cookie: cookie_name(url.as_deref(), public).into(),
            url,
            is_secure,
        })
    }
}

/// The name of the session's cookie: bound to this host and TLS where there is TLS (RFC 6265bis
/// s4.1.3.2); else with the port, which cookies do not know, so that two consoles of one host do not
/// sign each other out.
fn cookie_name(url: Option<&str>, public: Option<&PublicUrl>) -> String {
    if public.is_some_and(PublicUrl::is_secure) {
        return "__Host-tollhouse".to_owned();
    }
    let port = url.and_then(|url| url.rsplit_once(':')).map_or("", |(_, port)| port);
    let port = if port.bytes().all(|b| b.is_ascii_digit()) { port } else { "" };
    format!("tollhouse{port}")
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
        let parts = sent.to_str().ok().and_then(|value| value.split_once(' '));
        let token = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some(token) = token.map(|(_, token)| token.trim()).filter(|t| !t.is_empty()) else {
            return Err(guard::unknown());
        };
        match &self.sign_in.people {
            // What is no configured token, and has three parts, is an issuer's.
            Some(people) if self.known(token).is_none() && token.matches('.').count() == 2 => {
                self.by_issuer(people, token, peer).await
            }
            Some(_) | None => self.by_token(token, peer).await.map(Signed::by_token),
        }
    }

    /// The person of an issuer's token.
    async fn by_issuer(
        &self,
        people: &People,
        token: &str,
        peer: Option<IpAddr>,
    ) -> Result<Signed, Response> {
        match people.verify(token, peer).await {
            Ok(person) => {
                let until = person.expires;
                Ok(Signed::by_issuer(Arc::new(operator(person)), until))
            }
            Err(refusal) => {
                self.gate().turned_away(Event::SignInFailed, "jwt", (None, &refusal.why)).await;
                if refusal.code == RefusalCode::Undecidable {
                    return Err(problem(503, "the issuer's keys cannot be read"));
                }
                let wait = (refusal.code == RefusalCode::RateLimited)
                    .then(|| refusal.retry_after.unwrap_or(Duration::from_secs(1)));
                Err(wait.map_or_else(guard::unknown, too_many))
            }
        }
    }

    fn known(&self, token: &str) -> Option<&Arc<Operator>> {
        let digest = hash(token);
        // SECURITY: hashes are compared, so how long it takes tells nothing about a token.
        let known = self.sign_in.tokens.iter().find(|(own, _)| *own == digest);
        known.map(|(_, operator)| operator)
    }

    /// The operator of a configured token.
    ///
    /// # Errors
    ///
    /// The answer to an unknown one, or to too many of them.
    async fn by_token(&self, token: &str, peer: Option<IpAddr>) -> Result<Arc<Operator>, Response> {
        let wait = self.sign_in.throttle.wait(peer);
        if let Some(wait) = wait.filter(|_| token.len() < BEYOND_GUESSING) {
            return Err(too_many(wait));
        }
        match self.known(token) {
            Some(operator) => Ok(Arc::clone(operator)),
            None => Err(self.failed("token", peer).await),
        }
    }

    /// Counts a failure, and answers it.
    async fn failed(&self, how: &'static str, peer: Option<IpAddr>) -> Response {
        self.sign_in.throttle.failed(peer);
        self.gate().turned_away(Event::SignInFailed, how, (None, "")).await;
        self.sign_in.throttle.wait(peer).map_or_else(guard::unknown, too_many)
    }

    fn cookie(&self) -> &str {
        &self.sign_in.cookie
    }

    /// A code with which `operator` signs in from a browser, and the link that carries it; the session
    /// ends at `until` at the latest.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub(super) fn new_code(
        &self,
        operator: &Arc<Operator>,
        until: Option<crate::clock::Timestamp>,
    ) -> Result<(Code, Option<String>), String> {
        let code = self.sign_in.codes.make(Arc::clone(operator), until)?;
        let url = self.sign_in.url.as_ref();
        let url = url.map(|url| format!("{url}/sign-in#code={}", code.code));
        Ok((code, url))
    }

    /// The link with which the operator of that token signs in; `None` behind a Unix socket, or when
    /// there is no such operator.
    pub fn sign_in_link(&self, name: &str) -> Option<String> {
        let mut tokens = self.sign_in.tokens.iter();
        let (_, operator) = tokens.find(|(_, operator)| *operator.name == *name)?;
        self.new_code(operator, None).ok()?.1
    }
}

/// A person as the one who answers holds. Which ones is up to their roles.
fn operator(person: Person) -> Operator {
    Operator {
        subject: (person.subject != person.name).then_some(person.subject),
        name: person.name,
        roles: person.roles,
        tenants: person.tenants.map_or(Tenants::All, Tenants::These),
        answers: Answers::Holds,
    }
}

pub(super) fn too_many(wait: Duration) -> Response {
    let said = problem(429, "too many sign-ins that failed: wait, then try again");
    let seconds = HeaderValue::from(wait.as_secs().max(1));
    ([(header::RETRY_AFTER, seconds)], said).into_response()
}

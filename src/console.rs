//! What may operators see and do? Holds, operations, freezes, records; health and metrics.
//!
//! Never answers without knowing who asks, except for the three probes, which name nobody, and for
//! signing in.

mod answers;
mod api;
mod ask;
mod form;
mod guard;
mod listen;
mod openapi;
mod page;
mod probes;
mod public;
mod reports;
mod revocations;
mod routes;
mod sessions;
mod sign_in;
mod view;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::approval::{Objection, Operator};
use crate::audit::Event;
use crate::clock::Clock;
use crate::gate::{Current, Gate};
use crate::identity::People;
use crate::money::Money;
pub use listen::{Behind, Door, bind, bind_unix};
use page::{Pulse, STREAMS_MAX};
pub use public::PublicUrl;
pub use routes::{Access, ROUTES, Route, Sort};
pub use sessions::Lasts;
pub use sign_in::OidcSettings;
use sign_in::SignIn;

/// A token of an operator; the token itself is not kept.
#[derive(Debug)]
pub struct Token {
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Whose it is.
    pub operator: Operator,
}

/// What the configuration says of the console.
#[derive(Debug)]
pub struct Settings {
    /// Where people find it, when not at its own address.
    pub public_url: Option<PublicUrl>,
    /// The roles that lift freezes, resolve, revoke, reload.
    pub operators: Vec<Box<str>>,
    /// How long a session lasts.
    pub lasts: Lasts,
    /// Tokens of machines, and of people without an issuer.
    pub tokens: Vec<Token>,
    /// Who vouches for people whose tokens come with each request.
    pub people: Option<People>,
    /// Where people sign in with their browser.
    pub oidc: Option<OidcSettings>,
    /// Its own address, when it has one.
    pub url: Option<String>,
    /// Over how much a yes asks for the amount to be typed, by currency; a currency that is not listed goes by
    /// its contract.
    pub confirm_over: Vec<Money>,
}

/// The operators' side of a gate.
#[derive(Debug)]
pub struct Console {
    /// What it shows.
    current: Arc<Current>,
    public_url: Option<PublicUrl>,
    operators: Vec<Box<str>>,
    confirm_over: Vec<Money>,
    sign_in: SignIn,
    /// Answers from outside that nobody of ours signed.
    guesses: sign_in::Throttle,
    /// The last day in numbers.
    pulse: Arc<Pulse>,
    /// Places for pages that are live.
    streams: Arc<Semaphore>,
}

impl Console {
    /// The console of what counts now. In the place of another it goes on with its numbers; who was signed in
    /// there signs in again, as what the new settings make of them.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub fn new(
        current: Arc<Current>,
        settings: Settings,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let gate = current.now();
        let (public_url, operators) = (settings.public_url.clone(), settings.operators.clone());
        let confirm_over = settings.confirm_over.clone();
        let guesses = sign_in::Throttle::new(gate.clock.clone());
        let sign_in = SignIn::new(&gate, settings)?;
        let pulse = before.map_or_else(Arc::default, |before| Arc::clone(&before.pulse));
        let streams = before.map(|before| Arc::clone(&before.streams));
        let streams = streams.unwrap_or_else(|| Arc::new(Semaphore::new(STREAMS_MAX)));
        Ok(Self { current, public_url, operators, confirm_over, sign_in, guesses, pulse, streams })
    }

    /// Puts what was counted into its hour, until the process stops.
    pub async fn look_at_the_day(&self) {
        // BOUND: an hour is told by its end, give or take ten seconds.
        const TURN: Duration = Duration::from_secs(10);
        let (stopping, mut waiting) = (self.gate().standing.stopping.clone(), 0_u64);
        loop {
            // A store that does not answer is told elsewhere; the last number stands.
            if let Ok(lines) = self.gate().store.lines().await {
                waiting = lines.iter().fold(0, |sum, line| sum.saturating_add(line.count));
            }
            self.pulse.look(self.gate().telemetry.totals(), waiting, self.gate().clock.now());
            if tokio::time::timeout(TURN, stopping.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// The snapshot that counts now.
    fn gate(&self) -> Arc<Gate> {
        self.current.now()
    }

    fn public_url(&self) -> Option<&PublicUrl> {
        self.public_url.as_ref()
    }

    fn operator_roles(&self) -> &[Box<str>] {
        &self.operators
    }

    /// Puts on record that somebody known asked for what is not theirs.
    async fn turned_away(&self, operator: &Operator, method: &Method, path: Option<&str>) {
        let asked = guard::asked(method, path);
        self.gate().turned_away(Event::Forbidden, "route", (Some(&operator.name), &asked)).await;
    }
}

/// Whether people can sign in at an issuer now.
///
/// # Errors
///
/// Why not.
pub async fn look_at(oidc: &OidcSettings, clock: &Clock) -> Result<String, String> {
    sign_in::look_at(oidc, clock).await
}

/// The answer to an objection.
fn objection(objection: Objection) -> Response {
    let status = match &objection {
        Objection::Unknown => 404,
        Objection::NotYours(_) => 403,
        Objection::Changed
        | Objection::Twice
        | Objection::Answered(_)
        | Objection::TooEarly(_)
        | Objection::NobodySpoke => 409,
        Objection::BadFilter => 400,
        Objection::Store(_) => 503,
    };
    problem(status, &objection.to_string())
}

/// An error in the shape of RFC 9457.
fn problem(status: u16, detail: &str) -> Response {
    let body = json!({ "status": status, "detail": detail }).to_string();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

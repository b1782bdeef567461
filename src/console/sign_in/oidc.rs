//! How does a person sign in at their issuer? OpenID Connect's code flow with PKCE.
//!
//! Never believes what comes back without the cookie that the sign-in began with, never follows a
//! redirect of the issuer's endpoints, and keeps none of the issuer's tokens.

mod provider;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::clock::{Clock, Timestamp};
use crate::console::form::{Form, encoded};
use crate::console::sessions::{cookie_of, same, secret};
use crate::identity::{IdToken, Person};
use crate::outbound::Outbound;

use provider::{Asked, Provider};
pub use provider::{OidcSettings, look_at};

/// BOUND: a person types a password and a second factor.
const LASTS: Duration = Duration::from_secs(10 * 60);
/// BOUND: an address on this console; browsers cut a cookie at 4 KiB.
const NEXT_BYTES_MAX: usize = 1_024;

/// Signing in at one issuer.
#[derive(Debug)]
pub(in crate::console) struct Oidc {
    settings: OidcSettings,
    redirect: String,
    /// SECURITY: known to this process alone: what a browser brings back was made here.
    key: hmac::Key,
    clock: Clock,
    outbound: Arc<Outbound>,
    found: tokio::sync::Mutex<Found>,
}

/// What the issuer last said of itself, and until when nobody asks again.
#[derive(Debug, Default)]
struct Found {
    provider: Option<Arc<Provider>>,
    until: Duration,
    failure: String,
}

/// A sign-in that begins.
pub(in crate::console) struct Begun {
    /// Where the browser goes.
    pub(in crate::console) to: String,
    /// What it keeps until it comes back.
    pub(in crate::console) cookie: String,
}

/// A sign-in that came back.
pub(in crate::console) struct Back {
    pub(in crate::console) person: Person,
    pub(in crate::console) next: String,
}

/// What a sign-in is bound to; all of it is made of one secret that only the browser keeps.
struct Bound {
    secret: String,
    next: String,
}

impl Oidc {
    pub(in crate::console) fn new(
        settings: OidcSettings,
        redirect: String,
        (outbound, clock): (Arc<Outbound>, Clock),
    ) -> Result<Self, String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret()?.as_bytes());
        let found = tokio::sync::Mutex::default();
        Ok(Self { settings, redirect, key, clock, outbound, found })
    }

    /// The host of the issuer, for the button that leads there.
    pub(in crate::console) fn shown(&self) -> &str {
        let rest = self.settings.issuer.split_once("://").map_or("", |(_, rest)| rest);
        rest.split(['/', ':']).next().unwrap_or_default()
    }

    /// How long the browser may take.
    pub(in crate::console) fn lasts() -> Duration {
        LASTS
    }

    /// Sends a browser to the issuer.
    ///
    /// # Errors
    ///
    /// Why not, for the log.
    pub(in crate::console) async fn begin(&self, next: &str) -> Result<Begun, String> {
        let provider = self.provider().await?;
        let next = if next.len() > NEXT_BYTES_MAX { "/" } else { next };
        let bound = Bound { secret: secret()?, next: next.to_owned() };
        // RFC 7636 s4.2.
        let verifier = self.derived("verifier", &bound.secret);
        let challenge = crate::store::record::sha256(verifier.as_bytes());
        let query = [
            ("response_type", "code"),
            ("client_id", &*self.settings.client_id),
            ("redirect_uri", &self.redirect),
            ("scope", &self.settings.scopes.join(" ")),
            ("state", &self.derived("state", &bound.secret)),
            ("nonce", &self.derived("nonce", &bound.secret)),
            ("code_challenge", &URL_SAFE_NO_PAD.encode(challenge)),
            ("code_challenge_method", "S256"),
        ]
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .join("&");
        let joint = if provider.authorization.contains('?') { '&' } else { '?' };
        let to = format!("{}{joint}{query}", provider.authorization);
        Ok(Begun { to, cookie: self.sealed(&bound) })
    }

    /// Takes a browser back from the issuer.
    ///
    /// # Errors
    ///
    /// Why not, for the log; nothing of it is told to the browser.
    pub(in crate::console) async fn back(
        &self,
        headers: &HeaderMap,
        cookie: &str,
        uri: &Uri,
    ) -> Result<Back, String> {
        let bound = cookie_of(headers, cookie).and_then(|sealed| self.opened(sealed));
        let bound = bound.ok_or("no sign-in was begun by this browser, or it took too long")?;
        let said = Form::read(uri.query().unwrap_or_default().as_bytes())?;
        let state = self.derived("state", &bound.secret);
        // SECURITY: RFC 6749 s10.12: without it somebody else's code would sign this browser in.
        if !same(said.one("state").unwrap_or_default().as_bytes(), state.as_bytes()) {
            return Err("the answer is for another sign-in (`state`)".into());
        }
        // RFC 9207 s2.4: from the issuer that was asked, where it says so.
        if said.all("iss").any(|issuer| *issuer != *self.settings.issuer) {
            return Err("the answer is another issuer's (`iss`)".into());
        }
        if let Some(error) = said.all("error").next() {
            return Err(format!("the issuer says `{}`", crate::redact::bounded(error, 64)));
        }
        let code = said.one("code").ok_or("the answer has no code")?;
        let provider = self.provider().await?;
        let asked = Asked {
            code,
            redirect: &self.redirect,
            verifier: &self.derived("verifier", &bound.secret),
        };
        let id_token = provider.exchange(&self.settings, &self.outbound, asked).await?;
        let nonce = self.derived("nonce", &bound.secret);
        let of = IdToken { nonce: &nonce, client_id: &self.settings.client_id };
        let person = provider.people.verify_id_token(&id_token, of).await;
        let person = person.map_err(|refusal| format!("{}: {}", refusal.detail, refusal.why))?;
        Ok(Back { person, next: bound.next })
    }

    /// The issuer's endpoints and keys. One that does not answer stops nothing while its last word is
    /// known, and is asked again by one of all who wait.
    async fn provider(&self) -> Result<Arc<Provider>, String> {
        let mut found = self.found.lock().await;
        if self.clock.steady() >= found.until {
            let looked = Provider::find(&self.settings, &self.clock, found.provider.clone()).await;
            let rests = if looked.is_ok() { provider::FRESH } else { provider::AGAIN };
            found.until = self.clock.steady().saturating_add(rests);
            match looked {
                Ok(provider) => found.provider = Some(provider),
                Err(why) => found.failure = why,
            }
        }
        let failure = || format!("the issuer's configuration: {}", found.failure);
        found.provider.clone().ok_or_else(failure)
    }

    /// One of the values that hang on a sign-in's secret; nobody else can make them.
    fn derived(&self, what: &str, secret: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{what} {secret}").as_bytes());
        URL_SAFE_NO_PAD.encode(tag)
    }

    fn sealed(&self, bound: &Bound) -> String {
        let until = self.clock.now().plus(LASTS).0;
        let next = URL_SAFE_NO_PAD.encode(&bound.next);
        let text = format!("{}.{until}.{next}", bound.secret);
        let tag = self.derived("cookie", &text);
        format!("{text}.{tag}")
    }

    fn opened(&self, sealed: &str) -> Option<Bound> {
        let (text, tag) = sealed.rsplit_once('.')?;
        if !same(tag.as_bytes(), self.derived("cookie", text).as_bytes()) {
            return None;
        }
        let mut parts = text.splitn(3, '.');
        let (secret, until, next) = (parts.next()?, parts.next()?, parts.next()?);
        let until = Timestamp(until.parse().ok()?);
        let next = String::from_utf8(URL_SAFE_NO_PAD.decode(next).ok()?).ok()?;
        (self.clock.now() < until).then(|| Bound { secret: secret.to_owned(), next })
    }
}

//! Where are an issuer's endpoints, and what does it answer for a code?

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use crate::clock::Clock;
use crate::console::form::encoded;
use crate::credentials::Secret;
use crate::identity::{Algorithm, Fetch, Issuer, KeySource, People, PersonPlaces, is_safe_address};
use crate::outbound::{Addresses, Connection, Exchange, Outbound, Outgoing, Upstream};

/// BOUND: an issuer that moves an endpoint is followed within this time.
pub(super) const FRESH: Duration = Duration::from_secs(600);

/// BOUND: whoever loads the page that leads there makes one request in this time, not each time.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

type ReadSecret = Arc<dyn Fn() -> Result<Option<Arc<Secret>>, String> + Send + Sync>;

/// What the configuration says of signing in at an issuer.
pub struct OidcSettings {
    /// The issuer.
    pub issuer: Box<str>,
    /// Who we are there.
    pub client_id: Box<str>,
    /// Our secret there, read when it is needed.
    pub client_secret: ReadSecret,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The algorithms it signs by.
    pub algorithms: Vec<Algorithm>,
    /// Where in an id token what stands.
    pub claims: PersonPlaces,
    /// Gets what is at an address.
    pub fetch: Fetch,
}

impl std::fmt::Debug for OidcSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OidcSettings({} at {})", self.client_id, self.issuer)
    }
}

/// An issuer as it describes itself (OpenID Connect Discovery s3).
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) authorization: Box<str>,
    token: Box<str>,
    keys: Box<str>,
    takes_basic: bool,
    pub(super) people: People,
}

/// What is asked of the token endpoint.
pub(super) struct Asked<'a> {
    pub(super) code: &'a str,
    pub(super) redirect: &'a str,
    pub(super) verifier: &'a str,
}

impl Provider {
    /// Reads what the issuer says of itself; its keys as far as they were read already stay.
    pub(super) async fn find(
        settings: &OidcSettings,
        clock: &Clock,
        before: Option<Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        let issuer = settings.issuer.trim_end_matches('/');
        let body = (settings.fetch)(format!("{issuer}/.well-known/openid-configuration")).await?;
        let said: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        // OpenID Connect Discovery s4.3: exactly.
        if said.get("issuer").and_then(Value::as_str) != Some(&*settings.issuer) {
            return Err("it names another issuer".into());
        }
        let address = |name: &str| {
            let text = said
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| format!("it has no `{name}`"))?;
            if is_safe_address(text) && !text.contains(['#', '"', '<', '>', ' ']) {
                return Ok(Box::<str>::from(text));
            }
            Err(format!("its `{name}` is no address that can be used"))
        };
        let (authorization, token, keys) =
            (address("authorization_endpoint")?, address("token_endpoint")?, address("jwks_uri")?);
        // Basic where nothing is said (s3).
        let ways = said.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let takes_basic =
            ways.is_none_or(|ways| ways.iter().any(|way| way == "client_secret_basic"));
        if let Some(same) = before.filter(|old| {
            (&old.authorization, &old.token, &old.keys) == (&authorization, &token, &keys)
                && old.takes_basic == takes_basic
        }) {
            return Ok(same);
        }
        let issuer = Issuer {
            issuer: (*settings.issuer).into(),
            audience: vec![settings.client_id.clone()],
            keys: KeySource::Url(keys.clone()),
            algorithms: settings.algorithms.clone(),
            single_use: false,
        };
        let (claims, fetch) = (settings.claims.clone(), Arc::clone(&settings.fetch));
        let people = People::new(vec![issuer], claims, fetch, clock.clone());
        Ok(Arc::new(Self { authorization, token, keys, takes_basic, people }))
    }

    /// An id token for a code (OpenID Connect Core s3.1.3).
    pub(super) async fn exchange(
        &self,
        settings: &OidcSettings,
        outbound: &Outbound,
        asked: Asked<'_>,
    ) -> Result<String, String> {
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", asked.code.to_owned()),
            ("redirect_uri", asked.redirect.to_owned()),
            ("code_verifier", asked.verifier.to_owned()),
        ];
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
            (header::CONTENT_TYPE, form_type),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
        ];
        let secret = (settings.client_secret)()?;
        let text = |secret: &Secret| {
            secret.expose(|bytes| String::from_utf8(bytes.to_vec())).map_err(|e| e.to_string())
        };
        match secret.as_deref().map(text).transpose()? {
            Some(secret) if self.takes_basic => {
                // RFC 6749 s2.3.1: each half form-encoded first.
                let pair = format!("{}:{}", encoded(&settings.client_id), encoded(&secret));
                let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)));
                headers.push((header::AUTHORIZATION, value.map_err(|e| e.to_string())?));
            }
            Some(secret) => {
                form.push(("client_id", settings.client_id.to_string()));
                form.push(("client_secret", secret));
            }
            None => form.push(("client_id", settings.client_id.to_string())),
        }
        let body = form.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let body = Bytes::from(body.collect::<Vec<_>>().join("&"));
        let reply = post(outbound, &self.token, headers, body).await?;
        let id_token = reply.get("id_token").and_then(Value::as_str);
        id_token.map(str::to_owned).ok_or_else(|| "the token endpoint gave no id token".to_owned())
    }
}

/// Whether an issuer describes itself, and has keys.
///
/// # Errors
///
/// Why not.
pub async fn look_at(settings: &OidcSettings, clock: &Clock) -> Result<String, String> {
    let provider = Provider::find(settings, clock, None).await?;
    match provider.people.connect().await.pop() {
        Some((_, Ok(count))) => Ok(format!("{count} keys")),
        Some((_, Err(fault))) => Err(fault.to_string()),
        None => Err("no issuer".to_owned()),
    }
}

async fn post(
    outbound: &Outbound,
    address: &str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<Value, String> {
    let after = address.find("://").map_or(0, |at| at.saturating_add(3));
    let path = address.get(after..).and_then(|rest| rest.find('/'));
    let path = path.map_or(address.len(), |at| at.saturating_add(after));
    let (origin, target) = address.split_at_checked(path).unwrap_or((address, ""));
    let target = if target.is_empty() { "/" } else { target };
    let mut to = Upstream::parse("issuer", origin)?;
    // The operator named the issuer; it may stand in a private network.
    if to.addresses == Addresses::Public {
        to.addresses = Addresses::Private;
    }
    let send = Outgoing { method: Method::POST, target: target.into(), headers, body };
    match outbound.exchange(&to, send, Connection::Fresh).await {
        Exchange::Answered(reply) if reply.status == 200 => {
            serde_json::from_slice(&reply.body).map_err(|e| format!("the token endpoint: {e}"))
        }
        Exchange::Answered(reply) => Err(format!("the token endpoint answered {}", reply.status)),
        Exchange::NotSent(why) | Exchange::Unknown(why) => {
            Err(format!("the token endpoint: {why}"))
        }
    }
}

//! What is it? A request is found among the actions of the packs and becomes a call.
//!
//! Never guesses: what no pack knows is refused, what a pack knows is taken exactly as it is written.

mod extract;
pub mod pack;
mod route;

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};

use crate::action::{Action, AuthPlace, Owner};
use crate::call::{Call, Request};
use crate::refusal::Refusal;
use crate::resolve::Said;
use crate::value::{Payload, Syntax, Value};
use crate::wire;

use extract::Asked;

pub use pack::Pack;

/// One upstream, and how agents reach it.
#[derive(Debug, Clone)]
pub struct Road {
    /// Its name.
    pub upstream: Arc<str>,
    /// The listener it is on; 0 is the shared one.
    pub listener: usize,
    /// `/`, or `/name`: what its paths begin with on that listener.
    pub prefix: Box<str>,
    /// What it understands.
    pub pack: Arc<Pack>,
    /// The account headers that the configuration sets; they go along with every call.
    pub selectors: Vec<(HeaderName, HeaderValue)>,
}

/// Every action of every upstream.
#[derive(Debug)]
pub struct Catalog {
    roads: Vec<Road>,
}

impl Catalog {
    /// All these roads together.
    ///
    /// # Errors
    ///
    /// When two roads are one, or a prefix is none, for the person who wrote the configuration.
    pub fn new(roads: Vec<Road>) -> Result<Self, String> {
        for (index, road) in roads.iter().enumerate() {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            let name = road.prefix.strip_prefix('/').unwrap_or_default();
            if !road.prefix.starts_with('/') || !name.bytes().all(plain) {
                return Err(format!(
                    "upstream `{}`: expected a route such as `/` or `/orders`, got `{}`",
                    road.upstream, road.prefix
                ));
            }
            let same =
                |other: &&Road| (other.listener, &other.prefix) == (road.listener, &road.prefix);
            if let Some(other) = roads.iter().take(index).find(same) {
                return Err(format!(
                    "upstreams `{}` and `{}` have one route, `{}`",
                    other.upstream, road.upstream, road.prefix
                ));
            }
        }
        Ok(Self { roads })
    }

    /// Every action, each once.
    pub fn actions(&self) -> impl Iterator<Item = &Arc<Action>> {
        let first = |index: usize, road: &Road| {
            !self.roads.iter().take(index).any(|other| Arc::ptr_eq(&other.pack, &road.pack))
        };
        let distinct =
            self.roads.iter().enumerate().filter(move |(index, road)| first(*index, road));
        distinct.flat_map(|(_, road)| road.pack.actions())
    }

    /// Every road.
    pub fn roads(&self) -> &[Road] {
        &self.roads
    }

    /// The upstream that a request is for: the road of its listener with the longest prefix.
    pub fn road(&self, request: &Request) -> Option<&Road> {
        let fits = |road: &&Road| {
            road.listener == request.listener && behind(&road.prefix, &request.target).is_some()
        };
        self.roads.iter().filter(fits).max_by_key(|road| road.prefix.len())
    }

    /// What a request asks for.
    ///
    /// # Errors
    ///
    /// `unknown_action` for what no pack knows, `malformed`, `ambiguous` or `missing_context` for
    /// what cannot be taken as it is written.
    pub fn classify(&self, request: &Request) -> Result<Call, Refusal> {
        let head = wire::head(request)?;
        let asked_path = head.path;
        let unknown = || Refusal::unknown_action(request.method.as_str(), &asked_path);
        let road = self.road(request).ok_or_else(unknown)?;
        let path = behind(&road.prefix, &asked_path).ok_or_else(unknown)?;
        let (action, parameters) =
            road.pack.routes().find(&request.method, path).ok_or_else(unknown)?;
        // A HEAD's answer has no body by which its owner could be judged.
        if request.method == Method::HEAD && action.owner != Owner::Public {
            return Err(unknown());
        }
        let context = wire::context(&request.headers)?;
        let headers = forwarded(road, &request.headers)?;
        let (target, query) = without_secret(road, head.target, head.query)?;
        let read = matches!(request.method, Method::GET | Method::HEAD);
        let payload = match read {
            true => Payload::empty(),
            false => wire::payload(action.body, &request.headers, &request.body)?,
        };
        let mut call = Call {
            action: Arc::clone(action),
            upstream: Arc::clone(&road.upstream),
            class: action.class,
            effects: Vec::new(),
            method: request.method.clone(),
            target,
            path: parameters,
            merged: merged(&query, &payload)?,
            query,
            payload,
            headers,
            body: request.body.clone(),
            context,
        };
        let syntax = call.payload.syntax.unwrap_or(Syntax::Form);
        let asked = Asked { action, said: Said::by(&call), syntax };
        (call.class, call.effects) = extract::effects(&asked)?;
        Ok(call)
    }
}

/// `text` behind a prefix of whole segments, from its `/` on.
fn behind<'t>(prefix: &str, text: &'t str) -> Option<&'t str> {
    if prefix == "/" {
        return text.starts_with('/').then_some(text);
    }
    match text.strip_prefix(prefix)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

/// Body and query as one tree, where there are both.
fn merged(query: &Value, payload: &Payload) -> Result<Option<Value>, Refusal> {
    let asks = matches!(query, Value::Map(members) if !members.is_empty());
    match payload.syntax {
        Some(_) if asks => wire::parameters(query, payload).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// What of the agent's goes upstream whatever the pack.
const TRACE: [HeaderName; 2] =
    [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// The agent's headers that go upstream, and the accounts that the configuration chose.
fn forwarded(road: &Road, headers: &HeaderMap) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let traits = road.pack.traits();
    let chosen = |name: &HeaderName| {
        road.selectors.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    };
    // SECURITY: another account is another customer base, on reads too.
    let named = traits.selectors.iter().chain(road.selectors.iter().map(|(name, _)| name));
    for name in named {
        if headers.get_all(name).iter().any(|sent| Some(sent) != chosen(name)) {
            let expected = "expected no such header: the account is chosen by the configuration";
            return Err(Refusal::malformed(&format!("header {name}"), expected));
        }
    }
    let defaults = [ACCEPT, CONTENT_TYPE, USER_AGENT];
    let mut forwarded = Vec::with_capacity(8);
    for name in defaults.iter().chain(&TRACE).chain(&traits.headers) {
        if traits.selectors.contains(name) || chosen(name).is_some() {
            continue;
        }
        forwarded.extend(headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    }
    forwarded.extend(road.selectors.iter().cloned());
    Ok(forwarded)
}

/// Path and query as they go upstream, and the query's values: without the road's prefix, and
/// without the agent's token where the pack's own key stands in the query.
fn without_secret(road: &Road, raw: Box<str>, query: Value) -> Result<(Box<str>, Value), Refusal> {
    let secret = match &road.pack.traits().auth {
        AuthPlace::Query(secret) => Some(secret),
        AuthPlace::Bearer | AuthPlace::Basic | AuthPlace::Header(_) => None,
    };
    if secret.is_none() && &*road.prefix == "/" {
        return Ok((raw, query));
    }
    let prefix = || Refusal::malformed("path", "expected the upstream's own route before it");
    let (raw_path, raw_query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*raw, None),
    };
    let path = behind(&road.prefix, raw_path).ok_or_else(prefix)?;
    let Some(raw_query) = raw_query else { return Ok((path.into(), query)) };
    let Some(secret) = secret else { return Ok((format!("{path}?{raw_query}").into(), query)) };
    let own = |pair: &&str| pair.split('=').next() == Some(&**secret);
    let removed = raw_query.split('&').filter(own).count();
    let rest: Vec<&str> = raw_query.split('&').filter(|pair| !own(pair)).collect();
    let before = members(&query);
    let mut query = query;
    if let Value::Map(members) = &mut query {
        members.retain(|(name, _)| name != secret);
    }
    // SECURITY: `%6bey=..` is the same parameter to whoever decodes it.
    if before.saturating_sub(members(&query)) != removed {
        let expected = format!("expected `{secret}` in exactly these letters");
        return Err(Refusal::malformed("query", &expected));
    }
    let rest = rest.join("&");
    let target = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
    Ok((target.into(), query))
}

fn members(value: &Value) -> usize {
    if let Value::Map(members) = value { members.len() } else { 0 }
}

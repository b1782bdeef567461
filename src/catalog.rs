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

    /// How agents reach an upstream.
    pub fn road_to(&self, upstream: &str) -> Option<&Road> {
        self.roads.iter().find(|road| *road.upstream == *upstream)
    }

    /// Whether something is reached by a listener.
    #[inline]
    pub fn serves(&self, listener: usize) -> bool {
        listener == 0 || self.roads.iter().any(|road| road.listener == listener)
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

#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::StatedAmount;

    const SHOP: &str = r#"
pack: shop
version: 1
auth: { query: key }
body: json
headers: [X-Shop-Version]
selectors: [X-Shop-Account]
actions:
  shop.thing.list: { match: GET /things, class: read, owner: query.customer, items: { at: /data, owner: /customer } }
  shop.thing.retrieve: { match: "GET /things/{thing}", class: read, owner: response./customer, expand: [maker] }
  shop.thing.special: { match: GET /things/special, class: read, owner: public }
  shop.thing.document: { match: "GET /things/{thing}.json", class: read, owner: public }
  shop.thing.update:
    match: POST /things/{id}
    class: write
    params: [note, price, settings, notify, tags, lines, currency]
    when:
      - { at: /price, class: financial, kind: charge }
      - { at: /settings/plan, class: financial, kind: cancel }
      - { at: /tags/*/paid, not: false, class: financial }
      - { at: /lines/*/mode, is: live, class: financial, kind: payout }
    only: { fields: [note], class: read }
    refuse: [/settings/transfer]
    owner: path.id
    also: [ { class: communication, kind: message, when: { at: /notify, is: true }, recipients: [body./settings/to] } ]
  shop.thing.charge:
    match: POST /things/{id}/charge
    class: financial
    kind: charge
    params: [amount, currency, lines, other]
    amount: { at: /lines/*/price, as: major, currency: [body./currency, body./lines/*/currency], sum: true, times: /lines/*/count, without: [/other] }
"#;

    fn catalog(text: &str) -> Catalog {
        let pack = pack::read("test", text).unwrap_or_else(|errors| panic!("{errors}"));
        let selector = HeaderName::from_static("x-shop-account");
        let road = |name: &str, prefix: &str| Road {
            upstream: name.into(),
            listener: 0,
            prefix: prefix.into(),
            pack: Arc::new(pack::read("test", text).unwrap()),
            selectors: vec![(selector.clone(), HeaderValue::from_static("main"))],
        };
        let first = Road { pack: Arc::new(pack), ..road("first", "/") };
        Catalog::new(vec![first, road("second", "/second")]).unwrap()
    }

    fn request(send: &str, kind: &'static str, body: &str) -> Request {
        let (method, target) = send.split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert("content-length", HeaderValue::from(body.len()));
        }
        Request {
            listener: 0,
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            target: target.into(),
            headers,
            body: body.to_owned().into(),
            peer: None,
        }
    }

    /// `class kind+kind amount`, with each further effect behind a `;`, or the refusal's code.
    fn shown(found: &Result<Call, Refusal>) -> String {
        let call = match found {
            Ok(call) => call,
            Err(refusal) => return refusal.code.spec().name.to_owned(),
        };
        let effect = |effect: &crate::call::Effect| {
            let kind = effect.kind.map_or("-", crate::call::Kind::name);
            let amount = match &effect.amount {
                StatedAmount::None => String::new(),
                StatedAmount::Minor(minor, _) => format!(" {minor}"),
                StatedAmount::Major(decimal, _) => format!(" {decimal}"),
                StatedAmount::Absent => " absent".into(),
                StatedAmount::Unknown => " unknown".into(),
            };
            format!("{} {kind}{amount}", effect.class.name())
        };
        call.effects.iter().map(effect).collect::<Vec<_>>().join("; ")
    }

    fn judged(cases: &[(&str, &str, &str)], text: &str, kind: &'static str) {
        let catalog = catalog(text);
        let wrong: Vec<String> = cases
            .iter()
            .filter_map(|(send, body, expected)| {
                let found = catalog.classify(&request(send, kind, body));
                let found = shown(&found);
                (found != *expected).then(|| format!("{send} {body}: {found}, not {expected}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_path_is_one_action_or_none() {
        let name = |target: &str| match catalog(SHOP).classify(&request(target, "", "")) {
            Ok(call) => format!("{} {} {:?}", call.upstream, call.action.name, call.target),
            Err(refusal) => refusal.code.spec().name.to_owned(),
        };
        for (target, expected) in [
            ("GET /things", "first shop.thing.list \"/things\""),
            ("GET /things/", "unknown_action"),
            ("GET /Things", "unknown_action"),
            ("GET /things.json", "unknown_action"),
            ("GET /things/special", "first shop.thing.special \"/things/special\""),
            ("GET /things/Special", "first shop.thing.retrieve \"/things/Special\""),
            ("GET /things/7.json", "first shop.thing.document \"/things/7.json\""),
            ("GET /things/7/parts", "unknown_action"),
            (
                "GET /second/things?key=t&customer=a",
                "second shop.thing.list \"/things?customer=a\"",
            ),
            ("GET /second", "unknown_action"),
            ("GET /secondthings", "unknown_action"),
            ("GET /things?key=token", "first shop.thing.list \"/things\""),
            ("GET /things?%6bey=token", "malformed"),
            ("DELETE /things", "unknown_action"),
            ("HEAD /things/7", "unknown_action"),
            ("HEAD /things/special", "first shop.thing.special \"/things/special\""),
        ] {
            assert_eq!(name(target), expected, "{target}");
        }
    }

    #[test]
    fn no_spelling_lowers_a_class() {
        let cases = [
            // The usual effect, and what lowers it.
            (r#"{"note":"x","tags":[]}"#, "write -"),
            (r#"{"note":"x"}"#, "read -"),
            ("", "read -"),
            // What raises it, in every shape.
            (r#"{"price":"1"}"#, "financial charge unknown"),
            (r#"{"price":[]}"#, "financial charge unknown"),
            (r#"{"price":{}}"#, "financial charge unknown"),
            (r#"{"price":""}"#, "financial charge unknown"),
            (r#"{"price":null,"tags":[]}"#, "write -"),
            (r#"{"note":"x","price":0}"#, "financial charge unknown"),
            (r#"{"settings":{"plan":"p"}}"#, "financial cancel unknown"),
            (r#"{"settings":"{\"plan\":1}"}"#, "malformed"),
            (r#"{"settings":[{"plan":"p"}]}"#, "financial cancel unknown"),
            (r#"{"settings":{"x":1}}"#, "write -"),
            (r#"{"tags":[{"paid":false}]}"#, "write -"),
            (r#"{"tags":[{"paid":false},{"paid":"false"}]}"#, "financial - unknown"),
            (r#"{"tags":[{"x":1},{"paid":1}]}"#, "financial - unknown"),
            (r#"{"tags":{"0":{"paid":true}}}"#, "financial - unknown"),
            (r#"{"lines":[{"mode":"test"}]}"#, "write -"),
            (r#"{"lines":[{"mode":" LIVE"}]}"#, "financial payout unknown"),
            (r#"{"lines":[{"mode":["live"]}]}"#, "financial payout unknown"),
            (
                r#"{"price":1,"settings":{"plan":1}}"#,
                "financial charge unknown; financial cancel unknown",
            ),
            // Names that another reader could take for one that matters.
            (r#"{"Price":1}"#, "malformed"),
            (r#"{"price ":1}"#, "malformed"),
            (r#"{"settings":{"Plan":1}}"#, "malformed"),
            (r#"{"settings":{"pl-an":1}}"#, "malformed"),
            (r#"{"tags":[{"PAID":1}]}"#, "malformed"),
            (r#"{"settings":{"trans_fer":1}}"#, "malformed"),
            (r#"{"Note":"x"}"#, "malformed"),
            // What is refused, however it is written.
            (r#"{"settings":{"transfer":{"to":1}}}"#, "malformed"),
            (r#"{"settings":[{"transfer":1}]}"#, "malformed"),
            (r#"{"unknown":1}"#, "malformed"),
            (r#"{"_method":"DELETE"}"#, "ambiguous"),
            (r#"{"\u005fMethod":"DELETE"}"#, "ambiguous"),
            (r#"[{"price":1}]"#, "malformed"),
            // A second effect.
            (r#"{"note":"x","notify":true}"#, "write -; communication message"),
            (r#"{"note":"x","notify":"yes"}"#, "write -; communication message"),
            (r#"{"note":"x","notify":1}"#, "write -; communication message"),
            (r#"{"note":"x","notify":[]}"#, "write -; communication message"),
            (r#"{"note":"x","notify":false}"#, "write -"),
        ]
        .map(|(body, expected)| ("POST /things/7", body, expected));
        judged(&cases, SHOP, "application/json");
    }

    #[test]
    fn amounts_add_up_exactly_or_are_not_known() {
        let cases = [
            (r#"{"lines":[{"price":"1.50","count":3},{"price":2}]}"#, "financial charge 6.5"),
            (r#"{"currency":"jpy","lines":[{"price":"1.5","count":2}]}"#, "financial charge 3"),
            (r#"{"currency":"jpy","lines":[{"price":"1.50"}]}"#, "malformed"),
            (
                r#"{"currency":"usd","lines":[{"price":"1","currency":"USD"}]}"#,
                "financial charge 1",
            ),
            (r#"{"currency":"usd","lines":[{"price":"1","currency":"eur"}]}"#, "ambiguous"),
            (
                r#"{"lines":[{"price":"1","currency":"usd"},{"price":"1","currency":"eur"}]}"#,
                "ambiguous",
            ),
            (r#"{"currency":["usd"],"lines":[{"price":"1"}]}"#, "ambiguous"),
            (r#"{"lines":[{"price":"1"},{"id":"p"}]}"#, "financial charge unknown"),
            (r#"{"lines":[{"price":"1"},{"price":null}]}"#, "financial charge unknown"),
            (r#"{"lines":[{"price":"1","count":0}]}"#, "financial charge unknown"),
            (r#"{"lines":[{"price":"1","count":-1}]}"#, "malformed"),
            (r#"{"lines":[{"price":"1","count":1.5}]}"#, "malformed"),
            (r#"{"lines":[{"price":"1","count":"2"}]}"#, "malformed"),
            (r#"{"lines":[{"id":"p"},{"price":"-1"}]}"#, "malformed"),
            (r#"{"lines":[{"price":"0"}]}"#, "malformed"),
            (r#"{"lines":[{"price":"1e3"}]}"#, "malformed"),
            (r#"{"lines":[{"price":" 1"}]}"#, "malformed"),
            (r#"{"lines":[{"price":"01"}]}"#, "malformed"),
            (r#"{"lines":[{"price":true}]}"#, "malformed"),
            (r#"{"lines":[{"price":[1]}]}"#, "malformed"),
            (r#"{"lines":[{"price":1e33,"count":1000000000}]}"#, "malformed"),
            (r#"{"lines":[]}"#, "financial charge unknown"),
            (r#"{"lines":"x"}"#, "malformed"),
            (r#"{"lines":[{"price":"1"}],"other":1}"#, "financial charge unknown"),
            (r#"{"currency":"usd"}"#, "financial charge absent"),
        ]
        .map(|(body, expected)| ("POST /things/7/charge", body, expected));
        judged(&cases, SHOP, "application/json");
    }

    #[test]
    fn minor_units_of_a_form_have_one_spelling() {
        let refund = |amount: &'static str, expected: &'static str| {
            ("POST /v1/refunds", format!("charge=ch_1{amount}"), expected)
        };
        let cases = [
            refund("&amount=50", "financial refund 50"),
            refund("&%61mount=50", "financial refund 50"),
            refund("", "financial refund absent"),
            refund("&amount=", "malformed"),
            refund("&amount=0", "malformed"),
            refund("&amount=0050", "malformed"),
            refund("&amount=-50", "malformed"),
            refund("&amount=%2B50", "malformed"),
            refund("&amount=50.0", "malformed"),
            refund("&amount=5e1", "malformed"),
            refund("&amount=0x32", "malformed"),
            refund("&amount=%D9%A5", "malformed"),
            refund("&amount=1000000000001", "malformed"),
            refund("&amount[]=50", "malformed"),
            refund("&amount[0]=50", "malformed"),
            refund("&amount[value]=50", "malformed"),
            refund("&Amount=50", "malformed"),
            refund("&amount=50&amount=9900", "ambiguous"),
            refund("&payment_intent=pi_1", "ambiguous"),
            refund("&reverse_transfer=true", "malformed"),
            refund("&expand[]=charge", "financial refund absent"),
            refund("&expand=charge", "financial refund absent"),
            refund("&expand[]=charge.customer.sources", "malformed"),
            refund("&expand[0][x]=charge", "malformed"),
            refund("&Expand[]=charge", "malformed"),
        ];
        let cases: Vec<_> = cases.iter().map(|(s, body, e)| (*s, body.as_str(), *e)).collect();
        let form = "application/x-www-form-urlencoded";
        let text = pack::shipped("stripe").unwrap();
        judged(&cases, text, form);
        let more = [
            ("POST /v1/refunds", "amount=50", "missing_context"),
            ("POST /v1/refunds?amount=9900", "charge=ch_1", "financial refund 9900"),
            ("POST /v1/refunds?amount=9900", "charge=ch_1&amount=1", "ambiguous"),
            ("DELETE /v1/customers/cus_1", "", "financial cancel unknown"),
            ("DELETE /v1/customers/cus_1?x=1", "", "malformed"),
            ("POST /v1/customers/cus_1", "metadata[a]=b", "write -"),
            ("POST /v1/customers/cus_1", "Balance=-5000", "malformed"),
            ("POST /v1/customers/cus_1", "balance[]=-5000", "financial credit unknown"),
            ("POST /v1/customers/cus_1", "coupon=", "financial credit unknown"),
            ("POST /v1/subscriptions/sub_1", "metadata[a]=b", "write -"),
            ("POST /v1/subscriptions/sub_1", "Metadata[a]=b", "malformed"),
            (
                "POST /v1/subscriptions/sub_1",
                "metadata[a]=b&items[0][price]=p",
                "financial charge unknown",
            ),
            (
                "POST /v1/subscriptions/sub_1",
                "cancel_at_period_end=0",
                "financial charge unknown; financial cancel unknown",
            ),
            ("GET /v1/charges/ch_1?expand[]=customer", "", "read -"),
            ("GET /v1/charges?customer=cus_1&expand[]=data.customer", "", "read -"),
            ("GET /v1/charges?expand[]=data.customer.sources", "", "malformed"),
        ];
        judged(&more, text, form);
    }

    #[test]
    fn only_listed_headers_go_upstream_and_no_account_is_chosen() {
        let catalog = catalog(SHOP);
        let names = |extra: &[(&'static str, &'static str)]| {
            let mut request = request("GET /things/special", "", "");
            for (name, value) in extra {
                request.headers.append(*name, HeaderValue::from_static(value));
            }
            catalog.classify(&request).map(|call| {
                let names = call.headers.iter().map(|(name, _)| name.as_str().to_owned());
                names.collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(names(&[]).unwrap(), "x-shop-account");
        let sent = [
            ("x-forwarded-for", "1.2.3.4"),
            ("authorization", "Bearer x"),
            ("x-shop-version", "7"),
            ("x-original-url", "/x"),
            ("idempotency-key", "k"),
            ("accept", "*/*"),
        ];
        assert_eq!(names(&sent).unwrap(), "accept x-shop-version x-shop-account");
        assert_eq!(names(&[("x-shop-account", "main")]).unwrap(), "x-shop-account");
        assert!(names(&[("x-shop-account", "other")]).is_err());
        assert!(names(&[("x-shop-account", "main"), ("x-shop-account", "other")]).is_err());
    }

    #[test]
    fn roads_are_told_apart() {
        let road = |listener, prefix: &str| Road {
            upstream: "u".into(),
            listener,
            prefix: prefix.into(),
            pack: Arc::new(pack::read("test", SHOP).unwrap()),
            selectors: Vec::new(),
        };
        assert!(Catalog::new(vec![road(0, "/"), road(1, "/")]).is_ok());
        assert!(Catalog::new(vec![road(0, "/"), road(0, "/")]).is_err());
        for prefix in ["", "x", "/a/b", "/a%2f", "//"] {
            assert!(Catalog::new(vec![road(0, prefix)]).is_err(), "{prefix}");
        }
        let catalog = Catalog::new(vec![road(0, "/"), road(1, "/x")]).unwrap();
        let mut elsewhere = request("GET /things", "", "");
        elsewhere.listener = 1;
        assert!(catalog.road(&elsewhere).is_none());
        assert_eq!(shown(&catalog.classify(&elsewhere)), "unknown_action");
    }
}

//! Did it happen already? What names a call, what would be sent for it, and what came of it.
//!
//! Pure: the store remembers and decides, the gate asks it. Never sends, never guesses an outcome: what
//! is not listed is unknown.

pub mod search;

use std::sync::Arc;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::action::{Action, Find, Idempotency, KeyPlace, Lookup, OutcomeRule, PackTraits};
use crate::call::{
    Call, Caller, Digest, FactValue, Facts, Fingerprint, OperationId, Outcome, Resolved,
};
use crate::outbound::{Exchange, Outgoing, Reply};
use crate::refusal::Refusal;
use crate::store::Name;
use crate::store::record::sha256;
use crate::value::{Pointer, Syntax, Value, piece};
use crate::wire;

/// BOUND: headers of a stored answer, in bytes; vendors send some 2 KiB.
const KEPT_HEADER_BYTES_MAX: usize = 16 << 10;

/// What names a call: who asks what of whom, and under which key.
pub fn name(call: &Call, caller: &Caller, account: Option<&str>) -> Name {
    let key = caller.key();
    let mut scope = Vec::with_capacity(160);
    // SECURITY: `auth0|77` is a real subject; without lengths two callers could share a name.
    for part in [
        &*key.tenant,
        &*call.upstream,
        account.unwrap_or_default(),
        &*call.action.name,
        &*key.agent,
        &*key.customer,
    ] {
        piece(&mut scope, b'n', part.as_bytes());
    }
    Name {
        tenant: Arc::clone(&key.tenant),
        scope: scope.into(),
        key: call.context.key.clone(),
        intent: call.context.intent,
        fingerprint: fingerprint(call, account),
    }
}

/// Sameness: a hash over the canonical values of what is asked. What the agent says about it (case,
/// model, confidence, reason) is not in it.
pub fn fingerprint(call: &Call, account: Option<&str>) -> Fingerprint {
    let mut bytes = Vec::with_capacity(512);
    let path = call.target.split('?').next().unwrap_or_default();
    piece(&mut bytes, b'm', call.method.as_str().as_bytes());
    piece(&mut bytes, b'p', path.as_bytes());
    piece(&mut bytes, b'a', account.unwrap_or_default().as_bytes());
    call.query.canonical(&mut bytes);
    call.payload.root.canonical(&mut bytes);
    Fingerprint(sha256(&bytes))
}

/// What an approval is bound to: a hash over the exact bytes that would be sent, and over what they
/// come to. A refund without an amount has the same bytes tomorrow and another effect.
pub fn digest(call: &Call, caller: &Caller, account: Option<&str>, resolved: &Resolved) -> Digest {
    let mut bytes = Vec::with_capacity(1024);
    let mut put = |tag: u8, part: &[u8]| piece(&mut bytes, tag, part);
    put(b'm', call.method.as_str().as_bytes());
    put(b'u', call.upstream.as_bytes());
    put(b'a', account.unwrap_or_default().as_bytes());
    put(b't', call.target.as_bytes());
    put(b'b', &call.body);
    for (name, value) in &call.headers {
        put(b'h', name.as_str().as_bytes());
        put(b'v', value.as_bytes());
    }
    put(b'n', call.action.name.as_bytes());
    let key = caller.key();
    [&*key.tenant, &*key.agent, &*key.customer].iter().for_each(|p| put(b'c', p.as_bytes()));
    if let Some(amount) = &resolved.amount {
        put(b'$', amount.minor.to_string().as_bytes());
        put(b'$', amount.currency.code().as_bytes());
    }
    if let Some(resource) = &resolved.resource {
        put(b'r', resource.kind.as_bytes());
        put(b'r', resource.id.as_bytes());
    }
    if let Some(owner) = &resolved.owner {
        put(b'o', owner.as_bytes());
    }
    resolved.recipients.iter().for_each(|recipient| put(b'e', recipient.as_bytes()));
    Digest(sha256(&bytes))
}

/// A hash over the facts a call was judged by, when they were read not included.
pub fn facts_digest(facts: &Facts) -> Digest {
    let mut bytes = Vec::with_capacity(512);
    let mut put = |tag: u8, part: &[u8]| piece(&mut bytes, tag, part);
    for (name, fact) in &facts.read {
        put(b'f', name.as_bytes());
        fact.id.iter().for_each(|id| put(b'i', id.as_bytes()));
        for (field, value) in &fact.fields {
            put(b'k', field.as_bytes());
            match value {
                FactValue::Text(text) => put(b's', text.as_bytes()),
                FactValue::Long(number) => put(b'l', number.to_string().as_bytes()),
                FactValue::Bool(yes) => put(b'b', &[u8::from(*yes)]),
                FactValue::Time(at) => put(b't', at.0.to_string().as_bytes()),
            }
        }
    }
    facts.assumed.iter().for_each(|name| put(b'a', name.as_bytes()));
    Digest(sha256(&bytes))
}

/// An agent's own key, for evidence: it may hold what should not be read.
pub fn key_digest(key: &str) -> Digest {
    Digest(sha256(key.as_bytes()))
}

/// Refuses a body that already says what only we may say: the vendor's key.
///
/// # Errors
///
/// `malformed`, with the field.
pub fn refuse_own_key(call: &Call) -> Result<(), Refusal> {
    let keys = &call.action.pack.idempotency;
    let (taken, place) = match &keys.place {
        KeyPlace::JsonField(at) | KeyPlace::Mark(at) => {
            (at.find(&call.payload.root).is_some(), at.to_string())
        }
        KeyPlace::FormField(name) => (call.payload.root.member(name).is_some(), format!("/{name}")),
        KeyPlace::Header(_) | KeyPlace::None => return Ok(()),
    };
    if taken && honours(keys, &call.method) {
        let expected = "leave it out; send Idempotency-Key as a header instead";
        return Err(Refusal::malformed(&place, expected));
    }
    Ok(())
}

/// Puts the operation's key where the vendor wants it. The agent's own never goes along.
///
/// # Errors
///
/// When it finds no place: then nothing is to be sent, since nobody could find it again.
pub fn put_key(call: &Call, op: OperationId, send: &mut Outgoing) -> Result<(), String> {
    let keys = &call.action.pack.idempotency;
    if let KeyPlace::Header(name) = &keys.place {
        send.headers.retain(|(own, _)| own != name);
    }
    if !honours(keys, &send.method) {
        return Ok(());
    }
    let whole = op.upstream_key();
    let key = whole.get(..keys.max_len.min(whole.len())).unwrap_or(&whole);
    match &keys.place {
        KeyPlace::Header(name) => {
            let value = HeaderValue::from_str(key).map_err(|e| e.to_string())?;
            send.headers.push((name.clone(), value));
        }
        KeyPlace::JsonField(at) => send.body = with_json(&send.body, at, key)?,
        KeyPlace::FormField(name) => send.body = with_field(&send.body, name, key),
        KeyPlace::Mark(at) => match call.payload.syntax {
            Some(Syntax::Form) => {
                let name = at.steps().first().map_or("", |name| name);
                send.body = with_field(&send.body, name, key);
            }
            Some(Syntax::Json | Syntax::Multipart) | None => {
                send.body = with_json(&send.body, at, key)?;
            }
        },
        KeyPlace::None => {}
    }
    Ok(())
}

/// Whether the vendor knows this call by its key: only then may it ever be sent again.
pub fn is_keyed(action: &Action, method: &http::Method) -> bool {
    let keys = &action.pack.idempotency;
    let has_key = match keys.place {
        KeyPlace::Header(_) | KeyPlace::JsonField(_) | KeyPlace::FormField(_) => true,
        KeyPlace::Mark(_) | KeyPlace::None => false,
    };
    has_key && honours(keys, method)
}

fn with_json(body: &Bytes, at: &Pointer, key: &str) -> Result<Bytes, String> {
    let with = match at.steps() {
        [member] => with_member(body, member, key),
        _ => None,
    };
    with.ok_or_else(|| format!("the body has no place for the key at `{at}`"))
}

fn with_field(body: &Bytes, name: &str, key: &str) -> Bytes {
    let joint = if body.is_empty() { "" } else { "&" };
    let field = format!("{joint}{name}={key}");
    [&body[..], field.as_bytes()].concat().into()
}

fn honours(keys: &Idempotency, method: &http::Method) -> bool {
    keys.methods.as_ref().is_none_or(|methods| methods.contains(method))
}

/// The agent's own bytes with one member more, before the brace that closes them.
fn with_member(body: &Bytes, member: &str, key: &str) -> Option<Bytes> {
    let open = body.trim_ascii_end().strip_suffix(b"}")?;
    let before = open.trim_ascii_end();
    let joint = if before.ends_with(b"{") { "" } else { "," };
    let name = serde_json::to_string(member).ok()?;
    let field = format!("{joint}{name}:\"{key}\"}}");
    Some([open, field.as_bytes()].concat().into())
}

/// What the upstream did, as far as its answer tells. The cautious reading: whatever is not listed as
/// done or as refused may have happened.
pub fn outcome(action: &Action, exchange: &Exchange) -> Outcome {
    match exchange {
        Exchange::NotSent(_) => Outcome::NotSent,
        Exchange::Unknown(_) => Outcome::Unknown,
        // SECURITY: a vendor that failed on the way may have done it, whatever else the answer says.
        Exchange::Answered(reply) if says_ill(&action.pack, reply) => Outcome::Unknown,
        Exchange::Answered(reply) => of_answer(&action.outcome, reply),
    }
}

/// Whether a 2xx says that the vendor itself failed, as the pack has it.
pub fn says_ill(pack: &PackTraits, reply: &Reply) -> bool {
    let Some(ill) = &pack.ill else { return false };
    (200..300).contains(&reply.status)
        // What cannot be read says nothing of itself.
        && wire::answer(&reply.body).is_ok_and(|root| ill.holds(&root))
}

fn of_answer(rule: &OutcomeRule, reply: &Reply) -> Outcome {
    match reply.status {
        200..=299 => of_success(rule, reply),
        // The pack's own list, for what the vendor says it turned away before it looked.
        status @ 400..=499 if rule.not_executed.contains(&status) => Outcome::NotSent,
        400 | 402 | 404 | 405 | 410 | 413 | 415 | 422 => Outcome::Rejected,
        // 408, 409, 423, 425, every 3xx, every 5xx, 401, 403 and 429 unless listed, and the rest.
        _ => Outcome::Unknown,
    }
}

fn of_success(rule: &OutcomeRule, reply: &Reply) -> Outcome {
    // RFC 9110 s15.3.3: 202 is taken, not finished.
    let by_status = if reply.status == 202 { Outcome::Accepted } else { Outcome::Succeeded };
    let rules = [&rule.rejected, &rule.failed, &rule.pending, &rule.done];
    if rules.iter().all(|rule| rule.is_none()) {
        return by_status;
    }
    let root = if reply.body.is_empty() { Ok(Value::Null) } else { wire::answer(&reply.body) };
    let Ok(root) = root else {
        // It cannot be read, so what it says of itself is not known.
        return Outcome::Unknown;
    };
    search::of_object(rule, &root, by_status)
}

/// The vendor's own name of what it made, where the action's look-up says how to read it.
pub fn made(action: &Action, reply: &Reply) -> Option<Box<str>> {
    let Some(Lookup { find: Find::Made(made), .. }) = &action.lookup else { return None };
    let root = wire::answer(&reply.body).ok()?;
    made.id.find(&root)?.id_text().map(String::into_boxed_str)
}

/// The headers that are kept with an answer; what of them may leave is judged at every replay.
pub fn kept_headers(headers: &HeaderMap) -> Vec<(Box<str>, Bytes)> {
    let mut left = KEPT_HEADER_BYTES_MAX;
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let size = name.as_str().len().saturating_add(value.len());
        if *name == SET_COOKIE || size > left {
            continue;
        }
        left = left.saturating_sub(size);
        kept.push((name.as_str().into(), Bytes::copy_from_slice(value.as_bytes())));
    }
    kept
}

/// The headers of a stored answer.
pub fn headers_of(kept: &[(Box<str>, Bytes)]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(kept.len());
    for (name, value) in kept {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use std::sync::Arc;

    use http::Method;
    use http::header::USER_AGENT;
    use proptest::prelude::*;

    use super::*;
    use crate::action::{Condition, Owner, Test};
    use crate::call::{Class, Resource, sample};
    use crate::money::Money;
    use crate::value::Payload;

    const OP: OperationId = OperationId([9; 32]);

    fn call() -> Call {
        let action = sample::action("shop.refund.create", Class::Financial, Owner::Caller);
        let mut call = sample::call(action);
        call.target = "/refunds?x=1".into();
        call.payload = Payload {
            syntax: Some(Syntax::Json),
            root: wire::answer(br#"{"charge":"ch_1","amount":100}"#).unwrap(),
        };
        call.body = Bytes::from_static(br#"{"charge":"ch_1","amount":100}"#);
        call
    }

    fn named(call: &Call) -> OperationId {
        name(call, &sample::caller("bot", Some("c")), Some("cus_1")).operation(1)
    }

    #[test]
    fn the_same_values_are_the_same_however_they_are_written() {
        let mut other = call();
        other.body = Bytes::from_static(br#"{ "amount": 1e2, "charge": "ch_\u0031" }"#);
        other.payload.root = wire::answer(&other.body).unwrap();
        other.context.case = Some("4711".into());
        other.context.model = Some("m".into());
        other.context.confidence = Some(100);
        assert_eq!(fingerprint(&call(), None), fingerprint(&other, None));
        assert_eq!(named(&call()), named(&other));
        let resolved = Resolved::default();
        let caller = sample::caller("bot", None);
        assert_ne!(
            digest(&call(), &caller, None, &resolved),
            digest(&other, &caller, None, &resolved),
            "an approval is for bytes"
        );
    }

    #[test]
    fn another_value_path_account_caller_or_intent_is_another_name() {
        let base = named(&call());
        let mut changed: Vec<Call> = Vec::new();
        let mut change = |edit: &dyn Fn(&mut Call)| {
            let mut call = call();
            edit(&mut call);
            changed.push(call);
        };
        change(&|c| c.target = "/refunds/2?x=1".into());
        change(&|c| c.method = Method::PUT);
        change(&|c| c.query = Value::Map(vec![("x".into(), Value::Text("2".into()))]));
        change(&|c| c.payload.root = Value::Null);
        change(&|c| c.context.intent = Some(2));
        change(&|c| c.context.key = Some("k".into()));
        change(&|c| c.upstream = "other".into());
        for call in &changed {
            assert_ne!(named(call), base, "{call:?}");
        }
        let caller = sample::caller("bot", Some("c"));
        assert_ne!(name(&call(), &caller, Some("cus_2")).operation(1), base);
        let other = sample::caller("bot2", Some("c"));
        assert_ne!(name(&call(), &other, Some("cus_1")).operation(1), base);
        assert_ne!(name(&call(), &caller, Some("cus_1")).operation(2), base, "the next ordinal");
    }

    #[test]
    fn a_key_names_the_call_whatever_it_asks() {
        let keyed = |amount: &str| {
            let mut call = call();
            call.context.key = Some("k1".into());
            call.payload.root = Value::Text(amount.into());
            call
        };
        assert_eq!(named(&keyed("1")), named(&keyed("2")), "so that a mismatch is found");
    }

    proptest! {
        // SECURITY: no two callers share a name because a separator moved.
        #[test]
        fn names_do_not_run_together(a in "[a|:0-9]{0,4}", b in "[a|:0-9]{0,4}", c in "[a|:0-9]{0,4}", d in "[a|:0-9]{0,4}") {
            let one = name(&call(), &sample::caller(&a, Some(&b)), None);
            let two = name(&call(), &sample::caller(&c, Some(&d)), None);
            prop_assert_eq!(one.scope == two.scope, (a, b) == (c, d));
        }
    }

    #[test]
    fn what_the_bytes_come_to_is_in_the_digest() {
        let caller = sample::caller("bot", Some("c"));
        let base = Resolved {
            amount: Some(Money::parse("60.00 USD").unwrap()),
            owner: Some("cus_1".into()),
            resource: Some(Resource { kind: "Charge".into(), id: "ch_1".into() }),
            ..Resolved::default()
        };
        let of = |resolved: &Resolved| digest(&call(), &caller, Some("cus_1"), resolved);
        let other = |edit: &dyn Fn(&mut Resolved)| {
            let mut resolved = base.clone();
            edit(&mut resolved);
            of(&resolved)
        };
        assert_eq!(of(&base), other(&|_| {}));
        assert_ne!(of(&base), other(&|r| r.amount = Some(Money::parse("60.01 USD").unwrap())));
        assert_ne!(of(&base), other(&|r| r.amount = Some(Money::parse("60.00 EUR").unwrap())));
        assert_ne!(of(&base), other(&|r| r.owner = None));
        assert_ne!(of(&base), other(&|r| r.resource = None));
        let mut sent = call();
        sent.headers.push((USER_AGENT, HeaderValue::from_static("a")));
        assert_ne!(of(&base), digest(&sent, &caller, Some("cus_1"), &base));
    }

    fn condition(at: &str, words: &[&str]) -> Option<Condition> {
        Some(Condition {
            at: vec![Pointer::parse(at).unwrap()],
            test: Test::Is(words.iter().map(|word| (*word).into()).collect()),
        })
    }

    fn came(rule: &OutcomeRule, status: u16, body: &str) -> Outcome {
        let reply = Reply { status, headers: HeaderMap::new(), body: body.to_owned().into() };
        of_answer(rule, &reply)
    }

    #[test]
    fn statuses_are_read_cautiously() {
        let plain = OutcomeRule::default();
        for status in 100..=599 {
            let expected = match status {
                202 => Outcome::Accepted,
                200..=299 => Outcome::Succeeded,
                400 | 402 | 404 | 405 | 410 | 413 | 415 | 422 => Outcome::Rejected,
                _ => Outcome::Unknown,
            };
            assert_eq!(came(&plain, status, ""), expected, "{status}");
        }
        let listed = OutcomeRule { not_executed: vec![401, 429, 503, 200], ..plain };
        assert_eq!(came(&listed, 429, ""), Outcome::NotSent);
        assert_eq!(came(&listed, 403, ""), Outcome::Unknown, "not on the list");
        assert_eq!(came(&listed, 503, ""), Outcome::Unknown, "never a 5xx");
        assert_eq!(came(&listed, 200, ""), Outcome::Succeeded, "never a 2xx");
    }

    #[test]
    fn a_2xx_is_what_it_says() {
        let rule = OutcomeRule {
            done: condition("/status", &["succeeded"]),
            pending: condition("/status", &["pending"]),
            failed: condition("/status", &["failed"]),
            rejected: condition("/ok", &["false"]),
            not_executed: Vec::new(),
        };
        for (body, expected) in [
            (r#"{"status":"succeeded"}"#, Outcome::Succeeded),
            (r#"{"status":"pending"}"#, Outcome::Accepted),
            (r#"{"status":"failed"}"#, Outcome::Rejected),
            (r#"{"status":"requires_action"}"#, Outcome::Accepted),
            (r#"{"ok":false,"status":"succeeded"}"#, Outcome::Rejected),
            (r#"{"id":"re_1"}"#, Outcome::Succeeded),
            ("", Outcome::Succeeded),
            ("<html>", Outcome::Unknown),
            (r#"{"status":"failed","status":"succeeded"}"#, Outcome::Unknown),
        ] {
            assert_eq!(came(&rule, 200, body), expected, "{body}");
        }
        let no_list = OutcomeRule { done: None, ..rule };
        assert_eq!(came(&no_list, 200, r#"{"status":"odd"}"#), Outcome::Succeeded);
    }

    fn tried(
        place: KeyPlace,
        methods: Option<Vec<Method>>,
        body: &'static str,
    ) -> Result<Outgoing, String> {
        let mut action = sample::action("a.b.c", Class::Financial, Owner::Caller);
        let mut pack = sample::pack(crate::action::ErrorShape::Plain);
        pack.idempotency.place = place;
        pack.idempotency.methods = methods;
        action.pack = Arc::new(pack);
        let mut call = sample::call(action);
        let form = !body.starts_with(['{', '[']);
        call.payload.syntax = Some(if form { Syntax::Form } else { Syntax::Json });
        let mut send = Outgoing {
            method: Method::POST,
            target: "/".into(),
            headers: vec![(
                HeaderName::from_static("idempotency-key"),
                HeaderValue::from_static("own"),
            )],
            body: Bytes::from_static(body.as_bytes()),
        };
        put_key(&call, OP, &mut send).map(|()| send)
    }

    fn armed(place: KeyPlace, methods: Option<Vec<Method>>, body: &'static str) -> Outgoing {
        tried(place, methods, body).unwrap()
    }

    #[test]
    fn what_finds_no_place_for_its_key_is_not_sent() {
        let at = || Pointer::parse("/key").unwrap();
        for body in ["", "a=1", "[1]"] {
            assert!(tried(KeyPlace::JsonField(at()), None, body).is_err(), "{body}");
        }
        assert!(tried(KeyPlace::Mark(at()), None, "[1]").is_err());
        let deep = Pointer::parse("/a/key").unwrap();
        assert!(tried(KeyPlace::Mark(deep), None, "{}").is_err());
    }

    #[test]
    fn a_mark_goes_into_a_field_and_makes_no_call_repeatable() {
        let key = OP.upstream_key();
        let mark = || KeyPlace::Mark(Pointer::parse("/ref").unwrap());
        assert_eq!(armed(mark(), None, "a=1").body, format!("a=1&ref={key}").as_bytes());
        assert_eq!(armed(mark(), None, "{}").body, format!(r#"{{"ref":"{key}"}}"#).as_bytes());
        let keyed = |place: KeyPlace, methods: Option<Vec<Method>>| {
            let mut action = sample::action("a.b.c", Class::Financial, Owner::Caller);
            let mut pack = sample::pack(crate::action::ErrorShape::Plain);
            pack.idempotency.place = place;
            pack.idempotency.methods = methods;
            action.pack = Arc::new(pack);
            is_keyed(&action, &Method::DELETE)
        };
        assert!(!keyed(mark(), None) && !keyed(KeyPlace::None, None));
        assert!(keyed(KeyPlace::FormField("k".into()), None));
        assert!(!keyed(KeyPlace::FormField("k".into()), Some(vec![Method::POST])));
    }

    #[test]
    fn the_key_goes_where_the_vendor_wants_it() {
        let key = OP.upstream_key();
        let name = HeaderName::from_static("idempotency-key");
        let send = armed(KeyPlace::Header(name.clone()), None, "");
        assert_eq!(send.headers, [(name.clone(), HeaderValue::from_str(&key).unwrap())]);
        let send = armed(KeyPlace::Header(name), Some(vec![Method::DELETE]), "");
        assert!(send.headers.is_empty(), "the agent's own is gone all the same");

        let json = KeyPlace::JsonField(Pointer::parse("/idempotency_key").unwrap());
        for (body, expected) in [
            (r#"{"a":1}"#, format!(r#"{{"a":1,"idempotency_key":"{key}"}}"#)),
            ("{}", format!(r#"{{"idempotency_key":"{key}"}}"#)),
            ("{ \"a\": \"}\" }\n", format!(r#"{{ "a": "}}" ,"idempotency_key":"{key}"}}"#)),
        ] {
            let sent = armed(json.clone(), None, body).body;
            assert_eq!(sent, expected.as_bytes());
            assert!(wire::answer(&sent).is_ok());
        }
        let form = || KeyPlace::FormField("key".into());
        assert_eq!(armed(form(), None, "a=1").body, format!("a=1&key={key}").as_bytes());
        assert_eq!(armed(form(), None, "").body, format!("key={key}").as_bytes());
    }

    #[test]
    fn an_agent_cannot_bring_the_vendors_key_itself() {
        let mut call = call();
        let with = |place: KeyPlace| {
            let mut action = sample::action("a.b.c", Class::Financial, Owner::Caller);
            let mut pack = sample::pack(crate::action::ErrorShape::Plain);
            pack.idempotency.place = place;
            action.pack = Arc::new(pack);
            Arc::new(action)
        };
        call.action = with(KeyPlace::JsonField(Pointer::parse("/charge").unwrap()));
        assert!(refuse_own_key(&call).is_err());
        call.action = with(KeyPlace::FormField("amount".into()));
        assert!(refuse_own_key(&call).is_err());
        call.action = with(KeyPlace::FormField("key".into()));
        assert!(refuse_own_key(&call).is_ok());
    }

    #[test]
    fn headers_are_kept_but_for_cookies() {
        let mut headers = HeaderMap::new();
        headers.insert("request-id", HeaderValue::from_static("req_1"));
        headers.insert(SET_COOKIE, HeaderValue::from_static("s=1"));
        headers.insert("x-long", HeaderValue::from_bytes(&[b'a'; 20_000]).unwrap());
        let kept = kept_headers(&headers);
        let again = headers_of(&kept);
        assert_eq!(again.len(), 1);
        assert_eq!(again.get("request-id"), headers.get("request-id"));
    }
}

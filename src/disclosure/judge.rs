//! Is this answer the caller's to read?
//!
//! Reads are judged whole, and whatever is not certainly theirs is the one not-found or withheld.
//! An effect has happened: its status is told whatever its answer holds, its body only when it names
//! nobody else.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::{Owned, headers_that_leave, is_owned};
use crate::action::{Action, AnswerPlace, Items, Owner, Source};
use crate::call::{Answer, Call, Caller, Facts};
use crate::outbound::Reply;
use crate::refusal::Refusal;
use crate::resolve::{self, Scope};
use crate::value::{Pointer, Value};
use crate::wire;

/// Who asked what.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The call.
    pub call: &'a Call,
    /// Who asks.
    pub caller: &'a Caller,
    /// Who the customer is at this upstream.
    pub account: Option<&'a str>,
    /// What the system of record said of it.
    pub facts: &'a Facts,
    /// Whether the contract opens the company's own data.
    pub internal: bool,
}

/// An answer that may leave.
#[derive(Debug)]
pub struct Released {
    /// It.
    pub answer: Answer,
    /// Why its body stays behind, for operators; `None` when it does not.
    pub withheld: Option<String>,
    /// Whether it stays behind because it is somebody else's.
    pub is_mismatch: bool,
}

/// Judges the upstream's answer, first or stored.
///
/// # Errors
///
/// Only for reads: `not_found` when it is not theirs or not there, `undecidable` when that cannot be
/// told.
pub fn release(question: &Question<'_>, reply: &Reply) -> Result<Released, Refusal> {
    if question.call.class.is_effect() {
        return Ok(effect(question, reply));
    }
    match &question.call.action.owner {
        Owner::Internal if !question.internal => {
            Err(Refusal::nobodys(question.call).because("no contract opens internal data"))
        }
        Owner::Public | Owner::Internal => open_read(question.call, reply),
        Owner::Sources(_) | Owner::Response(_) | Owner::Caller => owned_read(question, reply),
    }
}

fn open_read(call: &Call, reply: &Reply) -> Result<Released, Refusal> {
    if let Some(why) = never_leaves(reply.status) {
        return Err(Refusal::unjudged(why));
    }
    Ok(whole(call, reply))
}

/// What no caller may see, whosever it is.
fn never_leaves(status: u16) -> Option<String> {
    match status {
        // SECURITY: a redirect would have the agent carry its token past us.
        300..=303 | 305..=399 => Some(format!("the upstream redirects ({status})")),
        // SECURITY: vendors write a part of our own key into these.
        401 | 403 | 407 => Some(format!("the upstream refuses our credential ({status})")),
        _ => None,
    }
}

fn owned_read(question: &Question<'_>, reply: &Reply) -> Result<Released, Refusal> {
    let nobodys = |why: String| Err(Refusal::nobodys(question.call).because(why));
    match reply.status {
        200 => {}
        // SECURITY: which of its 4xx a vendor picks tells whether the object exists.
        400..=499 => return nobodys(format!("the upstream answered {}", reply.status)),
        status => return Err(Refusal::unjudged(format!("the upstream answered {status}"))),
    }
    let root = judged_by(&question.call.action, reply).map_err(Refusal::unjudged)?;
    match theirs(question, &root) {
        Verdict::Theirs => Ok(whole(question.call, reply)),
        Verdict::Another(why) => Err(Refusal::nobodys(question.call).because(why).of_another()),
        Verdict::Not(why) => nobodys(why),
        Verdict::Unreadable(why) => Err(Refusal::unjudged(why)),
    }
}

/// What an answer says at the places by which it is judged.
fn judged_by(action: &Action, reply: &Reply) -> Result<Value, String> {
    let mut places = owner_places(action);
    if let Some(items) = &action.items {
        let inner = places.len();
        let by_item = match &action.owner {
            Owner::Response(places) => places.as_slice(),
            Owner::Sources(_) | Owner::Caller | Owner::Public | Owner::Internal => &[],
        };
        let by_item = by_item.iter().filter_map(|place| match place {
            AnswerPlace::EachItem(pointer) => Some(pointer),
            AnswerPlace::At(_) => None,
        });
        let same = items.same.as_ref().map(|(at, _)| at);
        let each = by_item.chain(&items.owner).chain(same);
        places.extend(each.map(|pointer| Cow::Owned(items.at.of_each(pointer))));
        if places.len() == inner {
            places.push(Cow::Borrowed(&items.at));
        }
    }
    wire::outline_of(&reply.headers, &reply.body, places.iter().map(|place| place.steps()))
}

enum Verdict {
    Theirs,
    /// Known to be somebody else's.
    Another(String),
    Not(String),
    Unreadable(String),
}

fn theirs(question: &Question<'_>, root: &Value) -> Verdict {
    let Some(account) = question.account else {
        return Verdict::Not("the caller has no account here".into());
    };
    let action = &question.call.action;
    if let Owner::Response(places) = &action.owner {
        match named(places, action.items.as_ref(), root) {
            Err(why) => return Verdict::Unreadable(why),
            Ok(owners) if owners.is_empty() => return Verdict::Not("it names no owner".into()),
            Ok(owners) => {
                if !owners.iter().all(|owner| is(owner, account)) {
                    return Verdict::Another("it names another owner".into());
                }
            }
        }
    }
    if let Err(why) = names_nobody_else(question, root) {
        return Verdict::Another(why);
    }
    match &action.items {
        Some(items) => each_is_theirs(question, items, root, account),
        None => Verdict::Theirs,
    }
}

/// Whom the answer names as its owner, at all these places. An item of a list that lacks one counts
/// as one of nobody's.
fn named<'v>(
    places: &[AnswerPlace],
    items: Option<&Items>,
    root: &'v Value,
) -> Result<Vec<&'v Value>, String> {
    let mut owners = Vec::new();
    for place in places {
        match place {
            AnswerPlace::At(pointer) => {
                // A place of several values names all of them.
                pointer.any(root, &mut |value| {
                    owners.push(value);
                    false
                });
            }
            AnswerPlace::EachItem(pointer) => {
                let at = items.map(|items| &items.at).ok_or("its list is nowhere")?;
                for item in list(at, root)? {
                    owners.push(pointer.find(item).unwrap_or(&Value::Null));
                }
            }
        }
    }
    // Null at one of several places of one object is an owner that is not told there.
    let each = places.iter().any(|place| matches!(place, AnswerPlace::EachItem(_)));
    if !each {
        owners.retain(|owner| **owner != Value::Null);
    }
    Ok(owners)
}

fn list<'v>(at: &Pointer, root: &'v Value) -> Result<&'v [Value], String> {
    match at.find(root) {
        Some(Value::List(items)) => Ok(items),
        Some(_) | None => Err(format!("its answer has no list at {at}")),
    }
}

fn each_is_theirs(question: &Question<'_>, rule: &Items, root: &Value, account: &str) -> Verdict {
    let items = match list(&rule.at, root) {
        Ok(items) => items,
        Err(why) => return Verdict::Unreadable(why),
    };
    if let Some(owner) = &rule.owner {
        // SECURITY: the vendor's filter is asked for by the caller and not believed.
        let own = |item: &Value| owner.find(item).is_some_and(|value| is(value, account));
        if !items.iter().all(own) {
            return Verdict::Another("an item of its list names another owner, or none".into());
        }
    }
    if let Some((at, source)) = &rule.same {
        let Question { call, caller, account, facts, .. } = *question;
        let wanted = resolve::source(source, &Scope { call, caller, account, facts });
        let Some(wanted) = wanted.as_ref().and_then(Value::id_text) else {
            return Verdict::Unreadable(format!("nothing is known that {at} could equal"));
        };
        let same = |item: &Value| at.find(item).is_some_and(|value| is(value, &wanted));
        if !items.iter().all(same) {
            return Verdict::Not(format!("an item of its list differs at {at}"));
        }
    }
    Verdict::Theirs
}

/// Whether a value names `account`: as a text, a number, or an object with that `id`.
fn is(value: &Value, account: &str) -> bool {
    match value {
        Value::Text(text) => **text == *account,
        Value::Null | Value::Bool(_) | Value::List(_) => false,
        Value::Number(_) | Value::Map(_) => value.id_text().as_deref() == Some(account),
    }
}

fn effect(question: &Question<'_>, reply: &Reply) -> Released {
    let call = question.call;
    let behind = |why, is_mismatch| Released {
        answer: withheld(reply.status),
        withheld: Some(why),
        is_mismatch,
    };
    if let Some(why) = never_leaves(reply.status) {
        return behind(why, false);
    }
    if reply.body.is_empty() || !is_owned(call) {
        return whole(call, reply);
    }
    let places = owner_places(&call.action);
    let places = places.iter().map(|place| place.steps());
    match wire::outline_of(&reply.headers, &reply.body, places) {
        Err(why) => behind(why, false),
        Ok(root) => match names_nobody_else(question, &root) {
            Err(why) => behind(why, true),
            Ok(()) => whole(call, reply),
        },
    }
}

/// INVARIANT: an answer whose owner was known before it came leaves only if everybody whom it names as
/// its owner is the caller's account. The places are those from which the pack reads the owner, read in the answer as well; an
/// answer that has none of them names nobody.
fn names_nobody_else(question: &Question<'_>, root: &Value) -> Result<(), String> {
    for pointer in owner_places(&question.call.action) {
        let other = pointer.any(root, &mut |value| {
            *value != Value::Null && !question.account.is_some_and(|own| is(value, own))
        });
        if other {
            return Err(format!("its answer names another owner at {pointer}"));
        }
    }
    Ok(())
}

fn owner_places(action: &Action) -> SmallVec<[Cow<'_, Pointer>; 4]> {
    let sources = match &action.owner {
        Owner::Sources(sources) => sources,
        Owner::Response(places) => {
            let pointers = places.iter().filter_map(|place| match place {
                AnswerPlace::At(pointer) => Some(Cow::Borrowed(pointer)),
                AnswerPlace::EachItem(_) => None,
            });
            return pointers.collect();
        }
        Owner::Caller | Owner::Public | Owner::Internal => return SmallVec::new(),
    };
    sources.iter().flat_map(|source| places_of(action, source)).collect()
}

fn places_of<'a>(action: &'a Action, source: &'a Source) -> Vec<Cow<'a, Pointer>> {
    match source {
        Source::Path(name) => vec![Cow::Owned(Pointer::of(&[name]))],
        Source::Query(pointer) | Source::Body(pointer) => vec![Cow::Borrowed(pointer)],
        Source::Fact { fact, field } => {
            let rules = action.facts.iter().filter(|each| each.name == *fact);
            let fields = rules.flat_map(|each| &each.rule.fields);
            let places = fields.filter(|(name, _)| name == field).flat_map(|(_, rule)| &rule.at);
            places.map(Cow::Borrowed).collect()
        }
        Source::CallerCustomer | Source::CallerAccount => Vec::new(),
    }
}

fn whole(call: &Call, reply: &Reply) -> Released {
    let headers = headers_that_leave(&reply.headers, &call.action.pack, Owned::of(call));
    let body = reply.body.clone().into();
    let answer = Answer { status: reply.status, reason: None, headers, body };
    Released { answer, withheld: None, is_mismatch: false }
}

/// The status of an effect without its body: it has happened, or was refused, and must not be sent
/// again because its answer is not shown.
fn withheld(status: u16) -> Answer {
    let done = (200..300).contains(&status);
    let detail = if done {
        "This was done. The answer cannot be shown here. Do not send it again."
    } else {
        "This was refused by the service. Its answer cannot be shown here."
    };
    let body = serde_json::json!({ "withheld": true, "detail": detail }).to_string();
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Answer { status, reason: None, headers, body: Bytes::from(body).into() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::call::{Class, sample};
    use crate::refusal::Code;

    fn at(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    fn owned(owner: Owner) -> Action {
        sample::action("shop.order.retrieve", Class::Read, owner)
    }

    fn by_response() -> Action {
        owned(Owner::Response(vec![AnswerPlace::At(at("/customer"))]))
    }

    fn listed(owner: Option<&str>, same: Option<(&str, Source)>) -> Action {
        let filter = Owner::Sources(vec![Source::Query(at("/customer"))]);
        let same = same.map(|(pointer, source)| (at(pointer), source));
        Action {
            items: Some(Items { at: at("/data"), owner: owner.map(at), same }),
            ..owned(filter)
        }
    }

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Reply { status, headers: map, body: body.to_owned().into() }
    }

    fn json(body: &str) -> Reply {
        reply(200, &[("content-type", "application/json")], body)
    }

    fn judge(action: Action, reply: &Reply) -> Result<Released, Refusal> {
        let (call, caller) = (sample::call(action), sample::caller("bot", Some("sub")));
        let facts = Facts::default();
        let question = Question {
            call: &call,
            caller: &caller,
            account: Some("cus_9"),
            facts: &facts,
            internal: false,
        };
        release(&question, reply)
    }

    fn code(result: Result<Released, Refusal>) -> Code {
        result.unwrap_err().code
    }

    fn body(released: &Released) -> &[u8] {
        released.answer.body.whole().unwrap()
    }

    #[test]
    fn only_the_callers_own_object_leaves_and_byte_for_byte() {
        let own = "{ \"id\": \"o_1\",\n \"customer\": \"cus_9\" }";
        let released = judge(by_response(), &json(own)).unwrap();
        assert_eq!(body(&released), own.as_bytes());
        assert_eq!(released.answer.status, 200);
        for theirs in ["\"cus_9\"", "{\"id\":\"cus_9\",\"email\":null}"] {
            assert!(judge(by_response(), &json(&format!("{{\"customer\":{theirs}}}"))).is_ok());
        }
        for other in [
            "\"cus_8\"",
            "\"CUS_9\"",
            "\"cus_9 \"",
            "null",
            "true",
            "9",
            "\"\"",
            "[\"cus_9\"]",
            "{}",
            "{\"id\":null}",
            "{\"id\":{\"id\":\"cus_9\"}}",
        ] {
            let answer = json(&format!("{{\"customer\":{other}}}"));
            assert_eq!(code(judge(by_response(), &answer)), Code::NotFound, "{other}");
        }
        assert_eq!(code(judge(by_response(), &json("{}"))), Code::NotFound);
        assert_eq!(code(judge(by_response(), &json("[]"))), Code::NotFound);
    }

    #[test]
    fn not_yours_and_not_there_are_the_same_bytes() {
        let absent = reply(404, &[("content-type", "application/json")], "{\"error\":{}}");
        let other = json("{\"customer\":\"cus_8\"}");
        let forbidden = reply(403, &[], "");
        let mut refusals: Vec<Refusal> = [&absent, &other, &forbidden]
            .into_iter()
            .map(|reply| judge(by_response(), reply).unwrap_err())
            .collect();
        let counted: Vec<bool> = refusals.iter().map(|refusal| refusal.is_mismatch).collect();
        assert_eq!(counted, [false, true, false], "what is somebody else's is counted");
        for refusal in &mut refusals {
            assert!(!refusal.why.is_empty());
            // Only operators see the difference.
            refusal.why.clear();
            refusal.is_mismatch = false;
        }
        assert!(refusals.windows(2).all(|pair| pair.first() == pair.last()), "{refusals:?}");
    }

    #[test]
    fn every_status_of_an_owned_read_but_200_is_no_answer() {
        let own = "{\"customer\":\"cus_9\"}";
        for status in 400..=499 {
            let answer = reply(status, &[("content-type", "application/json")], own);
            assert_eq!(code(judge(by_response(), &answer)), Code::NotFound, "{status}");
        }
        for status in [100, 201, 202, 204, 206, 226, 300, 301, 302, 304, 307, 308, 500, 503, 599] {
            let answer = reply(status, &[("content-type", "application/json")], own);
            assert_eq!(code(judge(by_response(), &answer)), Code::Undecidable, "{status}");
        }
    }

    #[test]
    fn what_cannot_be_read_in_one_way_only_does_not_leave() {
        let own = "{\"customer\":\"cus_9\"}";
        let typed = ("content-type", "application/json");
        for answer in [
            reply(200, &[], own),
            reply(200, &[("content-type", "text/html")], own),
            reply(200, &[("content-type", "application/json; charset=utf-16")], own),
            reply(200, &[typed, ("content-type", "text/html")], own),
            reply(200, &[typed, ("content-encoding", "gzip")], own),
            reply(200, &[typed, ("content-encoding", "identity"), ("content-encoding", "br")], own),
            reply(200, &[typed, ("content-range", "bytes 0-9/10")], own),
            json("{\"customer\":\"cus_8\",\"customer\":\"cus_9\"}"),
            json("{\"customer\":\"cus_9\"} {}"),
            json("{\"customer\":\"cus_9\""),
            json(""),
        ] {
            assert_eq!(code(judge(by_response(), &answer)), Code::Undecidable, "{answer:?}");
        }
        for fine in ["application/json; charset=UTF-8", "application/vnd.shop+json"] {
            assert!(judge(by_response(), &reply(200, &[("content-type", fine)], own)).is_ok());
        }
    }

    #[test]
    fn a_list_leaves_only_if_every_item_is_theirs() {
        let list = |items: &str| json(&format!("{{\"object\":\"list\",\"data\":[{items}]}}"));
        let (own, other) = ("{\"customer\":\"cus_9\"}", "{\"customer\":\"cus_8\"}");
        let action = || listed(Some("/customer"), None);
        assert!(judge(action(), &list("")).is_ok());
        assert!(judge(action(), &list(&format!("{own},{own}"))).is_ok());
        for bad in [other, "{}", "null", "{\"customer\":null}"] {
            let answer = list(&format!("{own},{bad},{own}"));
            assert_eq!(code(judge(action(), &answer)), Code::NotFound, "{bad}");
        }
        for shape in ["{\"data\":{}}", "{}", "[]", "{\"data\":null}"] {
            assert_eq!(code(judge(action(), &json(shape))), Code::Undecidable, "{shape}");
        }
        // Whatever the list itself names as its owner counts as well.
        let answer = json(&format!("{{\"customer\":\"cus_8\",\"data\":[{own}]}}"));
        assert_eq!(code(judge(action(), &answer)), Code::NotFound);
    }

    #[test]
    fn a_list_is_bound_to_what_was_judged() {
        let list = |charge: &str| json(&format!("{{\"data\":[{{\"charge\":{charge}}}]}}"));
        let action = |source| listed(None, Some(("/charge", source)));
        let account = || Source::CallerAccount;
        assert!(judge(action(account()), &list("\"cus_9\"")).is_ok());
        assert!(judge(action(account()), &list("{\"id\":\"cus_9\"}")).is_ok());
        assert_eq!(code(judge(action(account()), &list("\"cus_8\""))), Code::NotFound);
        assert_eq!(code(judge(action(account()), &list("null"))), Code::NotFound);
        // Nothing to compare with: not "everything is equal".
        let unknown = Source::Fact { fact: "charge".into(), field: "id".into() };
        assert_eq!(code(judge(action(unknown), &list("\"cus_9\""))), Code::Undecidable);
    }

    #[test]
    fn each_items_owner_must_be_there_and_theirs() {
        let action = || Action {
            owner: Owner::Response(vec![AnswerPlace::EachItem(at("/customer"))]),
            ..listed(None, None)
        };
        let list = |items: &str| json(&format!("{{\"data\":[{items}]}}"));
        let own = "{\"customer\":\"cus_9\"}";
        assert!(judge(action(), &list(&format!("{own},{own}"))).is_ok());
        for bad in ["", "{}", "{\"customer\":\"cus_9\"},{}", "{\"customer\":\"cus_8\"}"] {
            assert_eq!(code(judge(action(), &list(bad))), Code::NotFound, "{bad}");
        }
    }

    #[test]
    fn without_an_account_nothing_owned_leaves() {
        let call = sample::call(by_response());
        let (caller, facts) = (sample::caller("bot", None), Facts::default());
        let question =
            Question { call: &call, caller: &caller, account: None, facts: &facts, internal: true };
        let answer = json("{\"customer\":null}");
        assert_eq!(release(&question, &answer).unwrap_err().code, Code::NotFound);
    }

    #[test]
    fn internal_reads_need_an_opening_and_public_ones_nothing() {
        let call = sample::call(owned(Owner::Internal));
        let (caller, facts) = (sample::caller("bot", Some("a")), Facts::default());
        let shut = Question {
            call: &call,
            caller: &caller,
            account: Some("cus_9"),
            facts: &facts,
            internal: false,
        };
        assert_eq!(release(&shut, &json("{}")).unwrap_err().code, Code::NotFound);
        assert!(release(&Question { internal: true, ..shut }, &json("{}")).is_ok());
        let public = || owned(Owner::Public);
        assert!(judge(public(), &reply(404, &[("content-type", "text/html")], "<p>")).is_ok());
        for status in [301, 302, 307, 401, 403, 407] {
            let answer = reply(status, &[("location", "https://elsewhere.example")], "key sk_..1");
            assert_eq!(code(judge(public(), &answer)), Code::Undecidable, "{status}");
        }
    }

    #[test]
    fn only_listed_headers_leave() {
        let answer = reply(
            200,
            &[
                ("content-type", "application/json"),
                ("request-id", "req_1"),
                ("set-cookie", "session=1"),
                ("server", "nginx"),
                ("location", "https://elsewhere.example"),
                ("stripe-should-retry", "true"),
                ("idempotent-replayed", "true"),
                ("tollhouse-decision", "allow"),
                ("cache-control", "public, max-age=3600"),
                ("etag", "\"1\""),
                ("connection", "x"),
            ],
            "{\"customer\":\"cus_9\"}",
        );
        let names = |released: Released| {
            let mut names: Vec<_> =
                released.answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        let released = judge(by_response(), &answer).unwrap();
        assert_eq!(released.answer.headers.get("cache-control").unwrap(), "no-store");
        assert_eq!(names(released), ["cache-control", "content-type", "request-id"]);
        let public = judge(owned(Owner::Public), &answer).unwrap();
        assert_eq!(names(public), ["cache-control", "content-type", "etag", "request-id"]);
    }

    #[test]
    fn an_effect_that_names_somebody_else_keeps_its_status_and_loses_its_body() {
        let action = || {
            let owner = Owner::Sources(vec![Source::Body(at("/customer"))]);
            sample::action("shop.refund.create", Class::Financial, owner)
        };
        for (status, text) in [
            (200, "{\"id\":\"re_1\",\"customer\":\"cus_9\"}"),
            (200, "{\"id\":\"re_1\"}"),
            (200, "{\"id\":\"re_1\",\"customer\":null}"),
            (204, ""),
            (402, "{\"error\":{\"message\":\"declined\"}}"),
        ] {
            let answer = reply(status, &[("content-type", "application/json")], text);
            let released = judge(action(), &answer).unwrap();
            assert_eq!((released.answer.status, body(&released)), (status, text.as_bytes()));
            assert_eq!(released.withheld, None);
        }
        let typed = [("content-type", "application/json")];
        for (status, headers, text) in [
            (200, &typed[..], "{\"customer\":\"cus_8\",\"secret\":1}"),
            (201, &typed, "{\"customer\":{\"id\":\"cus_8\"},\"secret\":1}"),
            (200, &typed, "{\"secret\":1,\"secret\":2}"),
            (200, &[("content-type", "text/html")], "secret"),
            (401, &typed, "{\"message\":\"bad key sk_secret\"}"),
            (302, &typed, "{\"secret\":1}"),
        ] {
            let released = judge(action(), &reply(status, headers, text)).unwrap();
            assert_eq!(released.answer.status, status);
            let shown = String::from_utf8_lossy(body(&released)).into_owned();
            assert!(!shown.contains("secret"), "{shown}");
            assert_eq!(shown.contains("This was done"), status < 300, "{shown}");
            assert!(released.withheld.is_some());
        }
    }

    #[test]
    fn an_effects_owner_is_looked_for_where_its_fact_has_it() {
        use crate::action::{FactRule, FactUse, FieldRule, ReadAs, Template};
        let field =
            FieldRule { at: vec![at("/buyer")], read: ReadAs::Text, when: None, words: None };
        let rule = FactRule {
            name: "order".into(),
            get: Template(Vec::new()),
            patterns: Vec::new(),
            id: None,
            items: None,
            fields: vec![("customer".into(), field)],
            derive: Vec::new(),
        };
        let each = FactUse {
            name: "order".into(),
            rule: std::sync::Arc::new(rule),
            with: Vec::new(),
            given: None,
        };
        let fact = Source::Fact { fact: "order".into(), field: "customer".into() };
        let action = || Action {
            facts: vec![each.clone()],
            ..sample::action("shop.refund.create", Class::Write, Owner::Sources(vec![fact.clone()]))
        };
        assert!(judge(action(), &json("{\"buyer\":\"cus_9\"}")).unwrap().withheld.is_none());
        assert!(judge(action(), &json("{\"buyer\":\"cus_8\"}")).unwrap().withheld.is_some());
    }
}

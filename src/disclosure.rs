//! What may leave? Whose an upstream's answer is, which of its headers go along, and how a refusal
//! is written.
//!
//! Never cuts an answer to what may be seen: it leaves whole or not at all. Never sends anything,
//! and never tells an agent why it may not see something, beyond that there is nothing for it.

mod explain;
mod judge;
mod problem;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub use explain::explain;
pub use judge::{Question, Released, release};
pub use problem::{About, refuse};

use crate::action::{Owner, PackTraits};
use crate::call::{Answer, Call, OperationId};
use crate::decision::{Shadow, Verdict};
use crate::refusal::{RateFields, Refusal};

/// `Tollhouse-Decision`: allow, hold, verify, refuse.
pub const DECISION: HeaderName = HeaderName::from_static("tollhouse-decision");
/// `Tollhouse-Operation`: which operation it was.
pub const OPERATION: HeaderName = HeaderName::from_static("tollhouse-operation");
/// `Tollhouse-Dedup`: joined under another key.
pub const DEDUP: HeaderName = HeaderName::from_static("tollhouse-dedup");
/// `Idempotent-Replayed`: answered from memory.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// IETF draft `ratelimit-headers`: how much.
const RATE_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// IETF draft `ratelimit-headers`: how much is left.
const RATE: HeaderName = HeaderName::from_static("ratelimit");

/// Whose data a call's answer is, as far as its pack says.
fn is_owned(call: &Call) -> bool {
    match &call.action.owner {
        Owner::Sources(_) | Owner::Response(_) | Owner::Caller => true,
        Owner::Public | Owner::Internal => false,
    }
}

/// Whether a read is judged by its own answer.
pub fn is_judged_by_answer(call: &Call) -> bool {
    let by_owner = matches!(call.action.owner, Owner::Response(_));
    !call.class.is_effect() && (by_owner || call.action.items.is_some())
}

/// What a read may not ask for when its answer must be judged; `headers` are the agent's own.
///
/// # Errors
///
/// `malformed`, with the header that has to go.
pub fn ask(call: &Call, headers: &HeaderMap) -> Result<(), Refusal> {
    if !call.action.stream && wants_only_events(headers) {
        let expected = "expected another type: this answer is judged whole before any of it \
                        leaves, and an event stream has no whole";
        return Err(Refusal::malformed("header accept", expected));
    }
    if !is_judged_by_answer(call) {
        return Ok(());
    }
    if call.method != http::Method::GET {
        return Err(Refusal::malformed("method", "expected GET: this answer is judged whole"));
    }
    // SECURITY: a part of an answer, or the fact that it did not change, tells of an object without
    // showing whose it is (RFC 9110 s13, s14).
    let partial = [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ];
    match partial.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => {
            let expected = "is not for this read: its answer is judged whole";
            Err(Refusal::malformed(&format!("header {name}"), expected))
        }
        None => Ok(()),
    }
}

/// Whether the agent takes nothing but an event stream. Beside other types it is a wish.
fn wants_only_events(headers: &HeaderMap) -> bool {
    let mut types = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|one| one.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
        .filter(|one| !one.is_empty())
        .peekable();
    types.peek().is_some() && types.all(|one| one.eq_ignore_ascii_case(b"text/event-stream"))
}

/// What a call's headers need before they go upstream: an answer that must be judged comes as it is.
pub fn prepare(call: &Call, headers: &mut Vec<(HeaderName, HeaderValue)>) {
    let public = matches!(call.action.owner, Owner::Public);
    if !public || call.class.is_effect() {
        headers.retain(|(name, _)| name != header::ACCEPT_ENCODING);
        headers.push((header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
}

/// How an effect came to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ran {
    /// It was sent now.
    Now,
    /// Its stored answer, under the key it had.
    Replayed,
    /// Its stored answer, under another key.
    Joined,
}

/// Marks the answer of a call that was allowed: `operation` for anything but a read.
pub fn mark(answer: &mut Answer, operation: Option<(OperationId, Ran)>, rate: Option<&RateFields>) {
    let headers = &mut answer.headers;
    headers.insert(DECISION, HeaderValue::from_static("allow"));
    if let Some((operation, ran)) = operation {
        put(headers, OPERATION, &operation.to_string());
        match ran {
            Ran::Now => {}
            Ran::Replayed | Ran::Joined => {
                headers.insert(REPLAYED, HeaderValue::from_static("true"));
            }
        }
        if ran == Ran::Joined {
            headers.insert(DEDUP, HeaderValue::from_static("same"));
        }
    }
    // Both are lists (RFC 9651 s3.1): ours stands beside what the upstream said of its own, so that a client
    // that heeds every member never takes it for looser.
    if let Some(rate) = rate {
        add(headers, RATE_POLICY, &rate.policy);
        add(headers, RATE, &rate.state);
    }
}

/// Marks the answer of a call that ran in shadow: what would have been decided (`allow; shadow=hold`).
pub fn mark_shadow(answer: &mut Answer, shadow: &Shadow) {
    let word = match shadow.verdict() {
        Verdict::Hold => "allow; shadow=hold".to_owned(),
        verdict @ (Verdict::Verify | Verdict::Refuse | Verdict::Allow) => {
            format!("allow; shadow={}; code={}", verdict.name(), shadow.code.spec().name)
        }
    };
    put(&mut answer.headers, DECISION, &word);
}

/// Sets a header; a text that is none is left out.
fn add(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.append(name, value);
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// What of an upstream's headers may leave. All others stay: cookies, servers' names, redirects,
/// the vendor's own idempotency and retry hints, and whatever looks like ours.
fn headers_that_leave(from: &HeaderMap, pack: &PackTraits, owned: Owned) -> HeaderMap {
    let usual = |name: &HeaderName| match name.as_str() {
        "content-type" | "content-language" | "request-id" | "x-request-id" => true,
        "content-encoding" | "etag" | "last-modified" | "cache-control" | "expires" | "vary" => {
            owned == Owned::ByNobody
        }
        _ => pack.headers.contains(name),
    };
    let mut headers = HeaderMap::with_capacity(4);
    for (name, value) in from {
        if usual(name) && !name.as_str().starts_with("tollhouse-") {
            headers.append(name.clone(), value.clone());
        }
    }
    if owned == Owned::BySomebody {
        // RFC 9111 s5.2.2.5: nobody in between keeps a customer's data.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owned {
    BySomebody,
    ByNobody,
}

impl Owned {
    fn of(call: &Call) -> Self {
        if is_owned(call) || call.class.is_effect() { Self::BySomebody } else { Self::ByNobody }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::action::{AnswerPlace, Items};
    use crate::call::{Class, sample};
    use crate::refusal::Code;
    use crate::value::Pointer;

    fn read(owner: Owner) -> Call {
        sample::call(sample::action("shop.order.retrieve", Class::Read, owner))
    }

    fn judged() -> Call {
        read(Owner::Response(vec![AnswerPlace::At(Pointer::of(&["customer"]))]))
    }

    #[test]
    fn a_read_that_is_judged_by_its_answer_may_not_ask_for_less() {
        assert!(ask(&judged(), &HeaderMap::new()).is_ok());
        for name in ["range", "if-range", "if-none-match", "if-modified-since", "if-match"] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
            assert_eq!(ask(&judged(), &headers).unwrap_err().code, Code::Malformed, "{name}");
            assert!(ask(&read(Owner::Public), &headers).is_ok(), "{name}");
        }
        let head = Call { method: http::Method::HEAD, ..judged() };
        assert_eq!(ask(&head, &HeaderMap::new()).unwrap_err().code, Code::Malformed);
        let mut list = sample::action("shop.order.list", Class::Read, Owner::Caller);
        list.items = Some(Items { at: Pointer::of(&["data"]), owner: None, same: None });
        assert!(is_judged_by_answer(&sample::call(list)));
    }

    #[test]
    fn an_event_stream_is_asked_for_only_where_it_may_be_passed_on() {
        let accept = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            headers
        };
        let mut effect = judged();
        effect.class = Class::Write;
        let mut action = sample::action("shop.news.list", Class::Read, Owner::Public);
        action.stream = true;
        let streamed = sample::call(action);
        for (lines, only) in [
            (&["text/event-stream"][..], true),
            (&["Text/Event-Stream; q=1 , text/event-stream"], true),
            (&["text/event-stream", "text/event-stream"], true),
            (&["application/json, text/event-stream"], false),
            (&["text/event-stream", "*/*"], false),
            (&["text/event-streams"], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers = accept(lines);
            for call in [&judged(), &effect, &read(Owner::Public)] {
                assert_eq!(ask(call, &headers).is_err(), only, "{lines:?} {:?}", call.class);
            }
            assert!(ask(&streamed, &headers).is_ok(), "{lines:?}");
        }
        let refusal = ask(&judged(), &accept(&["text/event-stream"])).unwrap_err();
        assert!(refusal.detail.contains("judged whole before any of it"), "{}", refusal.detail);
    }

    #[test]
    fn what_is_judged_comes_uncoded() {
        let gzip = || (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for (call, expected) in [(judged(), "identity"), (read(Owner::Public), "gzip")] {
            let mut headers = vec![gzip()];
            prepare(&call, &mut headers);
            let coded = |(name, _): &&(HeaderName, _)| name == header::ACCEPT_ENCODING;
            let found: Vec<_> = headers.iter().filter(coded).map(|(_, value)| value).collect();
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn an_allowed_answer_says_so() {
        let answer = || Answer {
            status: 200,
            reason: None,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new().into(),
        };
        let operation = OperationId([7; 32]);
        for (ran, replayed, dedup) in
            [(Ran::Now, "", ""), (Ran::Replayed, "true", ""), (Ran::Joined, "true", "same")]
        {
            let mut answer = answer();
            mark(&mut answer, Some((operation, ran)), None);
            let header = |name: HeaderName| {
                answer.headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned()
            };
            assert_eq!(header(DECISION), "allow");
            assert_eq!(header(OPERATION), operation.to_string());
            assert_eq!((header(REPLAYED), header(DEDUP)), (replayed.to_owned(), dedup.to_owned()));
        }
        let mut read = answer();
        let rate = RateFields { policy: "\"a\";q=1;w=1".into(), state: "\"a\";r=0;t=1".into() };
        mark(&mut read, None, Some(&rate));
        assert!(read.headers.get(OPERATION).is_none());
        assert_eq!(read.headers.get(RATE).unwrap(), "\"a\";r=0;t=1");
        // What the upstream allows is said beside it: ours is never taken for all there is.
        let mut read = Answer { headers: HeaderMap::new(), ..read };
        read.headers.insert(RATE, HeaderValue::from_static("\"vendor\";r=1;t=60"));
        mark(&mut read, None, Some(&rate));
        let both: Vec<_> = read.headers.get_all(RATE).iter().collect();
        assert_eq!(both, ["\"vendor\";r=1;t=60", "\"a\";r=0;t=1"]);
    }
}

//! What does it say? The bytes of a request, or of an upstream's answer, as one tree of values.
//!
//! Refuses, never repairs: what two parsers could read differently is turned back as `ambiguous`,
//! what no grammar allows as `malformed`, each with the place and what was expected there. Never
//! changes a byte of what is forwarded, never decides whether a call may go on.

mod context;
mod document;
mod form;
mod head;
mod json;
mod multipart;

use std::borrow::Cow;
use std::collections::HashSet;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::bounds::{ANSWER_BYTES_MAX, BODY_BYTES_MAX};
use crate::refusal::Refusal;
use crate::value::{Payload, Syntax, Value};

pub use context::context;
pub use document::{document, outline_of};
pub use head::{Head, head};

/// The values of a body. No body is an empty map, whatever type it claims.
///
/// # Errors
///
/// `malformed` without a type, with another type than `expected`, with another charset than UTF-8,
/// or when the body breaks its syntax; `ambiguous` when two readers could read it differently;
/// `too_large` above a bound.
pub fn payload(expected: Syntax, headers: &HeaderMap, body: &[u8]) -> Result<Payload, Refusal> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(in_header(
            &CONTENT_ENCODING,
            &Flaw::ambiguous("expected a body that is not coded"),
        ));
    }
    if body.is_empty() {
        return Ok(Payload::empty());
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(Flaw::too_large("expected at most 1 MiB").refusal("body"));
    }
    let boundary =
        content_type(expected, headers).map_err(|flaw| in_header(&CONTENT_TYPE, &flaw))?;
    let root = match expected {
        Syntax::Json => json::read(body, &json::REQUEST).and_then(|root| match root {
            Value::Map(members) => one_method(members),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                Err(Flaw::malformed("expected a JSON object"))
            }
        }),
        Syntax::Form => form::read(body),
        Syntax::Multipart => multipart::read(body, boundary),
    };
    let root = root.map_err(|flaw| flaw.refusal("body"))?;
    Ok(Payload { syntax: Some(expected), root })
}

/// SECURITY: Rack reads `_method` from a query and a form, others from a JSON body too.
fn is_method_override(name: &str) -> bool {
    name.eq_ignore_ascii_case("_method")
}

fn one_method(members: Vec<(Box<str>, Value)>) -> Result<Value, Flaw> {
    match members.iter().find(|(name, _)| is_method_override(name)) {
        Some((name, _)) => Err(Flaw::method_override(name)),
        None => Ok(Value::Map(members)),
    }
}

/// The parameters of a call that is no GET: query and body as one tree.
///
/// # Errors
///
/// `ambiguous` when a name stands in both, or in both but for the case of its letters.
pub fn parameters(query: &Value, body: &Payload) -> Result<Value, Refusal> {
    let (Value::Map(in_query), Value::Map(in_body)) = (query, &body.root) else {
        return Err(Flaw::malformed("expected named parameters").refusal("body"));
    };
    if in_query.is_empty() {
        return Ok(body.root.clone());
    }
    let merged: Vec<_> = in_query.iter().chain(in_body).cloned().collect();
    match twin(merged.iter().map(|(name, _)| &**name)) {
        Some(name) => {
            let expected = "expected it in the query or in the body, not in both";
            Err(Flaw::ambiguous(expected).within(name).refusal("query"))
        }
        None => Ok(Value::Map(merged)),
    }
}

/// The values of an upstream's JSON answer, read as strictly as a request: no name twice, exact
/// numbers. Names that differ only by letter case are two names there.
///
/// # Errors
///
/// Where and why it cannot be read, for operators.
pub fn answer(body: &[u8]) -> Result<Value, String> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(format!("answer: expected at most {ANSWER_BYTES_MAX} bytes"));
    }
    json::read(body, &json::ANSWER)
        .map_err(|flaw| format!("{}: {}", flaw.place("answer"), flaw.expected))
}

/// An upstream's answer in JSON, as [`answer`], with only what stands where `ways` lead.
///
/// # Errors
///
/// As there.
fn outline(body: &[u8], ways: &[&[Box<str>]]) -> Result<Value, String> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(format!("answer: expected at most {ANSWER_BYTES_MAX} bytes"));
    }
    json::outline(body, &json::ANSWER, ways)
        .map_err(|flaw| format!("{}: {}", flaw.place("answer"), flaw.expected))
}

/// Why a text is not read: where, and what should stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flaw {
    sort: Sort,
    expected: Cow<'static, str>,
    /// The way to it, innermost step first: it is written while the parser returns.
    steps: Vec<Box<str>>,
}

/// What is wrong, by the code that the refusal gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// No grammar allows it.
    Malformed,
    /// Two parsers could read it differently.
    Ambiguous,
    /// A body above a bound.
    TooLarge,
    /// A head above a bound.
    HeaderTooLarge,
}

/// BOUND: a step of a pointer in a sentence, in characters; the sentence has 400.
const STEP_CHARS_MAX: usize = 40;
/// BOUND: steps of a pointer in a sentence; the outermost are kept.
const STEPS_MAX: usize = 6;

impl Flaw {
    fn new(sort: Sort, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { sort, expected: expected.into(), steps: Vec::new() }
    }

    fn method_override(name: &str) -> Self {
        Self::ambiguous("expected the method in the request line only").within(name)
    }

    fn malformed(expected: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Sort::Malformed, expected)
    }

    fn ambiguous(expected: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Sort::Ambiguous, expected)
    }

    fn too_large(expected: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Sort::TooLarge, expected)
    }

    /// It lies in the member or element `step`.
    fn within(mut self, step: &str) -> Self {
        self.steps.push(step.into());
        self
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in self.steps.iter().rev().take(STEPS_MAX) {
            pointer.push('/');
            pointer.extend(step.chars().take(STEP_CHARS_MAX).flat_map(shown));
        }
        pointer
    }

    /// `body`, `/items/0/price`, `query /expand`.
    fn place(&self, root: &str) -> String {
        match (root, self.pointer()) {
            (root, pointer) if pointer.is_empty() => root.to_owned(),
            ("body", pointer) => pointer,
            (root, pointer) => format!("{root} {pointer}"),
        }
    }

    fn refusal(&self, root: &str) -> Refusal {
        let part = match self.pointer() {
            pointer if pointer.is_empty() => format!("The {root}"),
            pointer => format!("The {root} at {pointer}"),
        };
        match self.sort {
            Sort::Malformed => Refusal::malformed(&self.place(root), &self.expected),
            Sort::Ambiguous => Refusal::ambiguous(&self.place(root), &self.expected),
            Sort::TooLarge => Refusal::too_large(&part).because(self.expected.clone()),
            Sort::HeaderTooLarge => Refusal::header_too_large(&part).because(self.expected.clone()),
        }
    }
}

/// A character of a pointer (RFC 6901 s3), on one line.
fn shown(c: char) -> impl Iterator<Item = char> {
    let (coded, plain) = match c {
        '~' => (Some("~0"), None),
        '/' => (Some("~1"), None),
        c if c.is_control() => (Some("?"), None),
        c => (None, Some(c)),
    };
    coded.unwrap_or("").chars().chain(plain)
}

fn in_header(name: &HeaderName, flaw: &Flaw) -> Refusal {
    flaw.refusal(&format!("header {}", title_case(name.as_str())))
}

/// `content-type` as people write it: `Content-Type`.
fn title_case(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|c| {
            let shown = if start { c.to_ascii_uppercase() } else { c };
            start = c == '-';
            shown
        })
        .collect()
}

/// The one value of a header.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Flaw> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Flaw::ambiguous("expected it once")),
        None => Ok(first),
    }
}

/// Whether the body is of the syntax `expected` (RFC 9110 s8.3); the boundary of a multipart one.
fn content_type(expected: Syntax, headers: &HeaderMap) -> Result<&str, Flaw> {
    let (wanted, example) = match expected {
        Syntax::Json => ("application/json", "expected `application/json`"),
        Syntax::Form => {
            ("application/x-www-form-urlencoded", "expected `application/x-www-form-urlencoded`")
        }
        Syntax::Multipart => {
            ("multipart/form-data", "expected `multipart/form-data` with its `boundary`")
        }
    };
    let wrong = || Flaw::malformed(example);
    let value = one(headers, &CONTENT_TYPE)?.ok_or_else(wrong)?;
    let text = value.to_str().map_err(|_| wrong())?;
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(wanted)) {
        return Err(wrong());
    }
    let parameter =
        parts.next().map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    if parts.next().is_some() {
        return Err(Flaw::malformed("expected one parameter at most"));
    }
    match (expected, parameter) {
        (Syntax::Multipart, Some((name, boundary))) if name.eq_ignore_ascii_case("boundary") => {
            Ok(unquoted(boundary))
        }
        (Syntax::Multipart, _) => Err(wrong()),
        (Syntax::Json | Syntax::Form, None) => Ok(""),
        (Syntax::Json | Syntax::Form, Some((name, charset))) => {
            let utf_8 = unquoted(charset).eq_ignore_ascii_case("utf-8");
            if name.eq_ignore_ascii_case("charset") && utf_8 {
                Ok("")
            } else {
                Err(Flaw::malformed("expected no parameter but `charset=utf-8`"))
            }
        }
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

/// BOUND: up to this many names are compared one by one, more through a set: never quadratic.
const FEW_NAMES: usize = 16;

/// The first name that occurs again. Case variants count: some readers (Go's `encoding/json`,
/// ASP.NET) take `Amount` for `amount`, and the last one wins.
fn twin<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
    first_again(
        names,
        |name| folded(name),
        |a, b| {
            if a.is_ascii() && b.is_ascii() {
                a.eq_ignore_ascii_case(b)
            } else {
                folded(a) == folded(b)
            }
        },
    )
}

/// The first name that occurs again, letter for letter.
fn repeated<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
    first_again(names, Cow::Borrowed, |a, b| a == b)
}

fn first_again<'n>(
    names: impl Iterator<Item = &'n str> + Clone,
    key: impl Fn(&'n str) -> Cow<'n, str>,
    same: impl Fn(&str, &str) -> bool,
) -> Option<&'n str> {
    if names.clone().nth(FEW_NAMES).is_some() {
        let mut seen = HashSet::new();
        return names.into_iter().find(|name| !seen.insert(key(name)));
    }
    let mut before = 0_usize;
    for name in names.clone() {
        if names.clone().take(before).any(|earlier| same(earlier, name)) {
            return Some(name);
        }
        before = before.saturating_add(1);
    }
    None
}

/// A name without letter case. Through upper case first: `ſ` and the Kelvin sign are `s` and `k` to
/// readers that fold by Unicode.
fn folded(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::refusal::Code;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn typed(types: &[&str]) -> HeaderMap {
        types.iter().map(|t| (CONTENT_TYPE, HeaderValue::from_str(t).unwrap())).collect()
    }

    fn refused(expected: Syntax, headers: &HeaderMap, body: &str) -> (Code, String) {
        let refusal = payload(expected, headers, body.as_bytes()).expect_err(body);
        let place = refusal.detail.split(": ").next().unwrap().to_owned();
        (refusal.code, place)
    }

    #[test]
    fn a_body_of_the_right_type_is_read() {
        let table = [
            (Syntax::Json, "application/json", "{\"a\":\"1\"}"),
            (Syntax::Json, "Application/JSON ; Charset=\"UTF-8\"", "{\"a\":\"1\"}"),
            (Syntax::Form, FORM, "a=1"),
            (Syntax::Form, "application/x-www-form-urlencoded;charset=utf-8", "a=1"),
            (
                Syntax::Multipart,
                "multipart/form-data; boundary=\"b\"",
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--",
            ),
        ];
        let root = Value::Map(vec![("a".into(), Value::Text("1".into()))]);
        for (syntax, kind, body) in table {
            let read = payload(syntax, &typed(&[kind]), body.as_bytes());
            assert_eq!(read, Ok(Payload { syntax: Some(syntax), root: root.clone() }), "{kind}");
        }
        for types in [&[][..], &["text/plain"], &[FORM]] {
            assert_eq!(payload(Syntax::Json, &typed(types), b""), Ok(Payload::empty()));
        }
    }

    #[test]
    fn a_body_of_another_type_is_refused() {
        let place = "header Content-Type".to_owned();
        let json = [
            "text/plain",
            "application/json5",
            "application/vnd.api+json",
            "text/json",
            FORM,
            "",
            ";charset=utf-8",
            "application/json;",
            "application/json; charset=utf-16",
            "application/json; charset=iso-8859-1",
            "application/json; charset=",
            "application/json; version=1",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json, text/plain",
        ];
        for kind in json {
            let seen = refused(Syntax::Json, &typed(&[kind]), "{}");
            assert_eq!(seen, (Code::Malformed, place.clone()), "{kind}");
        }
        assert_eq!(
            refused(Syntax::Json, &HeaderMap::new(), "{}"),
            (Code::Malformed, place.clone())
        );
        for kind in ["application/json", "multipart/form-data; boundary=b"] {
            assert_eq!(refused(Syntax::Form, &typed(&[kind]), "a=1").0, Code::Malformed);
        }
        for kind in
            ["multipart/form-data", "multipart/mixed; boundary=b", "multipart/form-data; charset=b"]
        {
            assert_eq!(refused(Syntax::Multipart, &typed(&[kind]), "--b--").0, Code::Malformed);
        }
        let two = typed(&["application/json", "application/json"]);
        assert_eq!(refused(Syntax::Json, &two, "{}"), (Code::Ambiguous, place));
        let mut coded = typed(&["application/json"]);
        coded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let place = "header Content-Encoding".to_owned();
        assert_eq!(refused(Syntax::Json, &coded, "{}"), (Code::Ambiguous, place));
    }

    #[test]
    fn a_body_of_the_right_type_and_another_syntax_is_refused() {
        let json = r#"{"amount":100,"note":"a=b"}"#;
        assert_eq!(refused(Syntax::Form, &typed(&[FORM]), json).0, Code::Malformed);
        assert_eq!(refused(Syntax::Form, &typed(&[FORM]), r#"{"amount":100}"#).0, Code::Ambiguous);
        assert_eq!(refused(Syntax::Json, &typed(&["application/json"]), "a=1").0, Code::Malformed);
        for root in ["[]", "[{\"a\":1}]", "\"a\"", "1", "null", "true"] {
            let seen = refused(Syntax::Json, &typed(&["application/json"]), root);
            assert_eq!(seen, (Code::Malformed, "body".into()), "{root}");
        }
    }

    #[test]
    fn a_sentence_says_where_and_what() {
        let read =
            |body: &str| payload(Syntax::Json, &typed(&["application/json"]), body.as_bytes());
        let detail = |body: &str| read(body).unwrap_err().detail;
        assert_eq!(
            detail(r#"{"items":[{"a":1,"a":2}]}"#),
            "/items/0/a: expected the name once, in one letter case. Nothing was sent."
        );
        assert_eq!(
            detail(r#"{"a":tru}"#),
            "/a: expected a JSON value at byte 5. Nothing was sent."
        );
        let deep = read(&"[".repeat(40)).unwrap_err();
        assert_eq!(deep.code, Code::TooLarge);
        assert_eq!(deep.detail, "The body at /0/0/0/0/0/0 is too large. Nothing was sent.");
        assert_eq!(deep.why, "expected at most 32 levels");
        let big = read(&" ".repeat(BODY_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(big.detail, "The body is too large. Nothing was sent.");
    }

    #[test]
    fn query_and_body_are_one_tree() {
        let form = |text: &str| form::read(text.as_bytes()).unwrap();
        let merged = |query: &str, body: &str| {
            let body = Payload { syntax: Some(Syntax::Form), root: form(body) };
            parameters(&form(query), &body).map_err(|refusal| (refusal.code, refusal.detail))
        };
        assert_eq!(merged("", "a=1"), Ok(form("a=1")));
        assert_eq!(merged("a=1", ""), Ok(form("a=1")));
        assert_eq!(merged("a=1", "b[c]=2"), Ok(form("a=1&b[c]=2")));
        for (query, body) in [("a=1", "a=1"), ("a[]=1", "a=1"), ("A=1", "a=1")] {
            let (code, detail) = merged(query, body).unwrap_err();
            assert_eq!(code, Code::Ambiguous);
            assert!(detail.starts_with("query /a: "), "{detail}");
        }
        let list = Payload { syntax: Some(Syntax::Json), root: Value::List(vec![]) };
        assert!(parameters(&form(""), &list).is_err());
    }

    #[test]
    fn an_answer_is_any_json() {
        assert_eq!(answer(b"[true]"), Ok(Value::List(vec![Value::Bool(true)])));
        assert_eq!(
            answer(br#"{"a":{"b":1,"b":2}}"#),
            Err("answer /a/b: expected the name once, in one letter case".into())
        );
        assert!(answer(b"").is_err());
        assert!(answer(&vec![b' '; ANSWER_BYTES_MAX + 1]).unwrap_err().contains("at most"));
    }
}

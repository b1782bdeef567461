//! What do the request line and the header lines say, and is there only one way to read them?
//!
//! The path that is judged is the path that is sent: nothing is normalised. Never decides whether a
//! path is known, never reads a token.

use std::borrow::Cow;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method};

use super::form::{self, hex};
use super::{Flaw, Sort, in_header, one};
use crate::bounds::{HEADER_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};
use crate::call::Request;
use crate::refusal::Refusal;
use crate::value::Value;

/// A request line that reads one way only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The path, percent-decoded; ASCII. No decoded `/`, `\`, `%`, `?`, `#`, `;` is in it.
    pub path: Box<str>,
    /// The query, a map.
    pub query: Value,
    /// Path and query as they came: what goes upstream.
    pub target: Box<str>,
}

/// Reads the head of a request.
///
/// # Errors
///
/// `malformed` or `ambiguous` with the place, `header_too_large` above a bound.
pub fn head(request: &Request) -> Result<Head, Refusal> {
    sizes(request)
        .map_err(|(part, expected)| Flaw::new(Sort::HeaderTooLarge, expected).refusal(part))?;
    method(&request.method).map_err(|flaw| flaw.refusal("method"))?;
    lines(&request.headers)?;
    framing(request)?;
    let (raw_path, raw_query) = match request.target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (&*request.target, ""),
    };
    let path = path(raw_path).map_err(|flaw| flaw.refusal("path"))?;
    let query = query(raw_query).map_err(|flaw| flaw.refusal("query"))?;
    Ok(Head { path: path.into(), query, target: request.target.clone() })
}

fn sizes(request: &Request) -> Result<(), (&'static str, String)> {
    if request.target.len() > TARGET_BYTES_MAX {
        return Err(("path", format!("expected at most {TARGET_BYTES_MAX} bytes with the query")));
    }
    if request.headers.len() > HEADERS_MAX {
        return Err(("headers", format!("expected at most {HEADERS_MAX} lines")));
    }
    // A line is name, colon, blank, value, CR, LF.
    let bytes = request.headers.iter().fold(0_usize, |sum, (name, value)| {
        sum.saturating_add(name.as_str().len()).saturating_add(value.len()).saturating_add(4)
    });
    if bytes > HEADER_BYTES_MAX {
        return Err(("headers", format!("expected at most {HEADER_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn method(method: &Method) -> Result<(), Flaw> {
    const KNOWN: [Method; 6] =
        [Method::GET, Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::HEAD];
    if KNOWN.contains(method) {
        Ok(())
    } else {
        Err(Flaw::malformed("expected GET, HEAD, POST, PUT, PATCH or DELETE"))
    }
}

/// Fields whose grammar is a list, so that two lines are one (RFC 9110 s5.3), and those that proxies
/// on the way add again. None of them is read for a judgement, but `Prefer`, which is a list.
const LISTS: [&str; 19] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "baggage",
    "cache-control",
    "connection",
    "cookie",
    "forwarded",
    "if-match",
    "if-none-match",
    "pragma",
    "prefer",
    "te",
    "tracestate",
    "trailer",
    "via",
    "warning",
    "x-forwarded-for",
];

/// Headers by which a framework takes another method than the request line's.
const METHOD_OVERRIDES: [&str; 3] =
    ["x-http-method-override", "x-http-method", "x-method-override"];

fn lines(headers: &HeaderMap) -> Result<(), Refusal> {
    for (name, value) in headers {
        // RFC 9110 s5.5; the http crate holds to it, a map made without its checks might not.
        let control = |b: u8| ((b < b' ') & (b != b'\t')) | (b == 0x7F);
        if value.as_bytes().iter().fold(false, |any, byte| any | control(*byte)) {
            return Err(in_header(name, &Flaw::malformed("expected no control character")));
        }
    }
    // SECURITY: two readers may take the first or the last (CVE-2021-32777 joined them).
    if headers.len() > headers.keys_len() {
        let repeated = headers.keys().find(|name| {
            !LISTS.contains(&name.as_str()) && headers.get_all(*name).iter().nth(1).is_some()
        });
        if let Some(name) = repeated {
            return Err(in_header(name, &Flaw::ambiguous("expected it once")));
        }
    }
    for name in METHOD_OVERRIDES {
        if headers.contains_key(name) {
            let flaw = Flaw::ambiguous("expected the method in the request line only");
            return Err(in_header(&HeaderName::from_static(name), &flaw));
        }
    }
    underscores(headers)
}

/// SECURITY: CGI and WSGI read `Stripe_Account` and `Stripe-Account` as one.
fn underscores(headers: &HeaderMap) -> Result<(), Refusal> {
    let ours =
        [AUTHORIZATION, HOST, CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING];
    for name in headers.keys().filter(|name| name.as_str().contains('_')) {
        let dashed = name.as_str().replace('_', "-");
        let meant = ours.iter().any(|own| own.as_str() == dashed)
            || dashed == "idempotency-key"
            || dashed.starts_with("tollhouse-")
            || METHOD_OVERRIDES.contains(&&*dashed)
            || headers
                .keys()
                .any(|other| other != name && other.as_str().replace('_', "-") == dashed);
        if meant {
            let expected = format!("expected `{dashed}`, and that only once");
            return Err(in_header(name, &Flaw::ambiguous(expected)));
        }
    }
    Ok(())
}

/// What of the framing a parsed head still shows. RFC 9112 s6.3: a server MUST treat several
/// lengths, or a length beside a coding, as a possible attack.
fn framing(request: &Request) -> Result<(), Refusal> {
    let headers = &request.headers;
    let refuse = |name: &HeaderName, flaw: Flaw| Err(in_header(name, &flaw));
    if headers.contains_key(UPGRADE) {
        return refuse(&UPGRADE, Flaw::malformed("expected no upgrade"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return refuse(&CONTENT_ENCODING, Flaw::ambiguous("expected a body that is not coded"));
    }
    host(headers).map_err(|flaw| in_header(&HOST, &flaw))?;
    let coding =
        one(headers, &TRANSFER_ENCODING).map_err(|flaw| in_header(&TRANSFER_ENCODING, &flaw))?;
    let length = one(headers, &CONTENT_LENGTH).map_err(|flaw| in_header(&CONTENT_LENGTH, &flaw))?;
    if let Some(coding) = coding {
        if length.is_some() {
            let expected = "expected Content-Length or Transfer-Encoding, not both";
            return refuse(&CONTENT_LENGTH, Flaw::ambiguous(expected));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return refuse(&TRANSFER_ENCODING, Flaw::ambiguous("expected `chunked`, once"));
        }
    }
    if let Some(length) = length {
        let text = length.to_str().unwrap_or("");
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || text.parse() != Ok(request.body.len()) {
            return refuse(
                &CONTENT_LENGTH,
                Flaw::ambiguous("expected the body's length in digits"),
            );
        }
    }
    let bodiless = matches!(request.method, Method::GET | Method::HEAD);
    if bodiless && (coding.is_some() || !request.body.is_empty()) {
        let expected = format!("expected none with {}", request.method);
        return Err(Flaw::ambiguous(expected).refusal("body"));
    }
    Ok(())
}

fn host(headers: &HeaderMap) -> Result<(), Flaw> {
    let Some(host) = one(headers, &HOST)? else {
        return Err(Flaw::malformed("expected a host"));
    };
    // RFC 9110 s7.2: host and port; an `@` would be userinfo.
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(b);
    if host.is_empty() || !host.as_bytes().iter().all(plain) {
        return Err(Flaw::malformed("expected a host name, at most with a port"));
    }
    Ok(())
}

/// The path, decoded. Origin form only (RFC 9112 s3.2.1).
// SECURITY: CVE-2019-9901, CVE-2021-29492: what is judged before a rewrite is not what is served.
fn path(raw: &str) -> Result<Cow<'_, str>, Flaw> {
    let Some(inner) = raw.strip_prefix('/') else {
        return Err(Flaw::malformed("expected a path that starts with `/`"));
    };
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // The last may be empty: whether a path ends in `/` is for the pack to say.
            "" if segments.peek().is_some() => return Err(Flaw::ambiguous("expected no `//`")),
            "." | ".." => return Err(Flaw::ambiguous("expected no dot segment")),
            _ => {}
        }
    }
    if raw.bytes().all(in_path) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.as_bytes().iter();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'%' => coded(hex(rest.next()).zip(hex(rest.next())))?,
            plain if in_path(*plain) => char::from(*plain),
            b'\\' => return Err(Flaw::ambiguous("expected no `\\`")),
            b';' => return Err(Flaw::ambiguous("expected no matrix parameter")),
            b'#' => return Err(Flaw::malformed("expected no fragment")),
            _ => return Err(Flaw::malformed("expected other characters percent-coded")),
        });
    }
    Ok(Cow::Owned(out))
}

/// What may stand in a path as it is: RFC 3986 s3.3 `pchar` less `;` and `%`, and `/`.
fn in_path(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let all =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/!$&'()*+,=:@";
        let mut at = 0;
        while at < all.len() {
            #[expect(clippy::indexing_slicing, reason = "of a byte, and at build time")]
            {
                table[all[at] as usize] = true;
            }
            at = at.saturating_add(1);
        }
        table
    };
    TABLE.get(usize::from(byte)).copied().unwrap_or(false)
}

/// A percent-coded character of a path. Only what cannot stand there as it is, or what libraries
/// code although it could (`@`, `:`, `+`); and never a character that another reader would act on.
fn coded(digits: Option<(u8, u8)>) -> Result<char, Flaw> {
    let Some((high, low)) = digits else {
        return Err(Flaw::malformed("expected two hexadecimal digits after `%`"));
    };
    let byte = (high << 4) | low;
    match byte {
        // RFC 3986 s2.3: equal to the character itself, so there is a second spelling of one path.
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            Err(Flaw::ambiguous("expected letters, digits and `-._~` as they are"))
        }
        b'/' | b'\\' | b'%' | b'?' | b'#' | b';' => {
            Err(Flaw::ambiguous("expected no coded `/`, `\\`, `%`, `?`, `#` or `;`"))
        }
        0..=0x1F | 0x7F => Err(Flaw::malformed("expected no control character")),
        // SECURITY: overlong UTF-8, and look-alikes that NFKC turns into `/` or `.`.
        0x80.. => Err(Flaw::malformed("expected ASCII")),
        plain => Ok(char::from(plain)),
    }
}

fn query(raw: &str) -> Result<Value, Flaw> {
    // RFC 3986 s3.4. Raw brackets are no part of it but of every SDK.
    if raw.bytes().any(|b| b"\"<>\\^`{|}#".contains(&b)) {
        return Err(Flaw::malformed("expected other characters percent-coded"));
    }
    form::read(raw.as_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::refusal::Code::{self, Ambiguous, HeaderTooLarge, Malformed};
    use http::HeaderValue;

    /// Header lines, and the code and the place of their refusal.
    type Row = (&'static [(&'static str, &'static str)], Code, &'static str);

    /// A request with these lines; without a `host` line it gets one.
    fn request(line: &str, headers: &[(&str, &str)], body: &'static str) -> Request {
        let (method, target) = line.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("127.0.0.1:8700"));
        if headers.iter().any(|(name, _)| *name == "host") {
            map.clear();
        }
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Request {
            listener: 0,
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            target: target.into(),
            headers: map,
            body: bytes::Bytes::from_static(body.as_bytes()),
            peer: None,
        }
    }

    fn refused(request: &Request, code: Code, place: &str) {
        let refusal = head(request).expect_err(&request.target);
        let starts = refusal.detail.starts_with(&format!("{place}: "))
            || refusal.detail == format!("The {place} is too large. Nothing was sent.");
        assert!(refusal.code == code && starts, "{} {refusal:?}", request.target);
    }

    #[test]
    fn a_path_that_reads_one_way_passes() {
        let table = [
            ("/", "/"),
            ("/v1/refunds", "/v1/refunds"),
            ("/v1/refunds/", "/v1/refunds/"),
            ("/v1/Refunds.json", "/v1/Refunds.json"),
            ("/v1/a.b/..c/...", "/v1/a.b/..c/..."),
            ("/v1/x:cancel/a@b/(1)*'!$&+,=~_-", "/v1/x:cancel/a@b/(1)*'!$&+,=~_-"),
            ("/v1/coupons/25%20OFF", "/v1/coupons/25 OFF"),
            ("/v1/customers/a%40b%2Bc%3Ad%7c", "/v1/customers/a@b+c:d|"),
        ];
        for (target, path) in table {
            let head = head(&request(&format!("GET {target}"), &[], "")).unwrap();
            assert_eq!((&*head.path, &*head.target), (path, target));
        }
    }

    #[test]
    fn a_path_that_reads_two_ways_is_refused() {
        let table = [
            ("//v1/refunds", Ambiguous),
            ("/v1//refunds", Ambiguous),
            ("/v1/refunds//", Ambiguous),
            ("/v1/./refunds", Ambiguous),
            ("/v1/x/../refunds", Ambiguous),
            ("/..", Ambiguous),
            ("/v1/.", Ambiguous),
            ("/v1/%2e%2e/refunds", Ambiguous),
            ("/v1/%2E/refunds", Ambiguous),
            ("/v1/.%2e/refunds", Ambiguous),
            ("/v1%2Frefunds", Ambiguous),
            ("/v1%2frefunds", Ambiguous),
            ("/v1%5Crefunds", Ambiguous),
            ("/v1\\refunds", Ambiguous),
            ("/v1/%252e%252e/x", Ambiguous),
            ("/v1/%25", Ambiguous),
            ("/v1/refund%73", Ambiguous),
            ("/v1/%52efunds", Ambiguous),
            ("/v1/a%7Eb", Ambiguous),
            ("/v1/refunds;v=1", Ambiguous),
            ("/v1;/refunds", Ambiguous),
            ("/v1/refunds%3Bv=1", Ambiguous),
            ("/v1/refunds%3Fa=1", Ambiguous),
            ("/v1/refunds%23a", Ambiguous),
            ("/v1/refunds%00", Malformed),
            ("/v1/refunds%0d%0aX:1", Malformed),
            ("/v1/refunds%7F", Malformed),
            ("/v1/%C0%AE%C0%AE/x", Malformed),
            ("/v1/%FF", Malformed),
            ("/v1/%EF%BC%8Frefunds", Malformed),
            ("/v1/caf%C3%A9", Malformed),
            ("/v1/café", Malformed),
            ("/v1/refunds%", Malformed),
            ("/v1/refunds%2", Malformed),
            ("/v1/refunds%zz", Malformed),
            ("/v1/refunds%u002f", Malformed),
            ("/v1/re funds", Malformed),
            ("/v1/re\tfunds", Malformed),
            ("/v1/refunds\u{0}", Malformed),
            ("/v1/refunds\u{7f}", Malformed),
            ("/v1/refunds#a", Malformed),
            ("/v1/{id}", Malformed),
            ("/v1/a|b", Malformed),
            ("/v1/a[0]", Malformed),
            ("/v1/\"a\"", Malformed),
            ("", Malformed),
            ("*", Malformed),
            ("v1/refunds", Malformed),
            ("http://api.stripe.com/v1/refunds", Malformed),
            ("api.stripe.com:443", Malformed),
            ("?a=1", Malformed),
        ];
        for (target, code) in table {
            refused(&request(&format!("POST {target}"), &[], ""), code, "path");
        }
    }

    #[test]
    fn a_query_is_read_as_a_form() {
        let read = head(&request("GET /v1/refunds?charge=ch_1&expand[]=a", &[], "")).unwrap();
        assert_eq!(read.query.member("charge").and_then(Value::text), Some("ch_1"));
        assert_eq!(&*read.path, "/v1/refunds");
        assert_eq!(head(&request("GET /x?", &[], "")).unwrap().query, Value::Map(vec![]));
        let table = [
            ("a=1&a=2", Ambiguous, "query /a"),
            ("a=1;b=2", Ambiguous, "query /a"),
            ("_method=DELETE", Ambiguous, "query /_method"),
            ("a=1#b", Malformed, "query"),
            ("a=\"1\"", Malformed, "query"),
            ("a=1 2", Malformed, "query /a"),
            ("a=%00", Ambiguous, "query /a"),
            ("a=\\", Malformed, "query"),
        ];
        for (query, code, place) in table {
            refused(&request(&format!("GET /v1/refunds?{query}"), &[], ""), code, place);
        }
    }

    #[test]
    fn six_methods_are_known() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            assert!(head(&request(&format!("{method} /x"), &[], "")).is_ok());
        }
        for method in ["OPTIONS", "TRACE", "CONNECT", "get", "Post", "PURGE", "PROPFIND", "LINK"] {
            refused(&request(&format!("{method} /x"), &[], ""), Malformed, "method");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert!(head(&request(&format!("{method} /x"), &[], "a=1")).is_ok());
        }
        for method in ["GET", "HEAD"] {
            refused(&request(&format!("{method} /x"), &[], "a=1"), Ambiguous, "body");
            let chunked = [("transfer-encoding", "chunked")];
            refused(&request(&format!("{method} /x"), &chunked, ""), Ambiguous, "body");
        }
    }

    #[test]
    fn header_lines_that_read_one_way_pass() {
        let table: &[&[(&str, &str)]] = &[
            &[("accept", "a"), ("accept", "b"), ("prefer", "wait=1"), ("prefer", "respond-async")],
            &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")],
            &[("content-length", "3")],
            &[("transfer-encoding", "Chunked")],
            &[("host", "[::1]:8700")],
            &[("host", "tollhouse.internal")],
            &[("x_own", "1"), ("user-agent", "a\tb")],
            &[("connection", "Authorization, close"), ("expect", "100-continue")],
            &[("content-type", "application/json"), ("idempotency-key", "k")],
        ];
        for headers in table {
            assert!(head(&request("POST /x", headers, "a=1")).is_ok(), "{headers:?}");
        }
        assert!(head(&request("GET /x", &[("content-length", "0")], "")).is_ok());
    }

    #[test]
    fn header_lines_that_read_two_ways_are_refused() {
        let twice = |name| [(name, "5"), (name, "5")];
        for (name, place) in [
            ("authorization", "header Authorization"),
            ("host", "header Host"),
            ("content-type", "header Content-Type"),
            ("content-length", "header Content-Length"),
            ("transfer-encoding", "header Transfer-Encoding"),
            ("idempotency-key", "header Idempotency-Key"),
            ("tollhouse-case", "header Tollhouse-Case"),
            ("tollhouse-customer", "header Tollhouse-Customer"),
            ("traceparent", "header Traceparent"),
            ("stripe-account", "header Stripe-Account"),
            ("x-own", "header X-Own"),
        ] {
            refused(&request("POST /x", &twice(name), "a=1&b"), Ambiguous, place);
        }
        let table: &[Row] = &[
            (&[("x-http-method-override", "GET")], Ambiguous, "header X-Http-Method-Override"),
            (&[("x-method-override", "POST")], Ambiguous, "header X-Method-Override"),
            (&[("x-http-method", "DELETE")], Ambiguous, "header X-Http-Method"),
            (
                &[("stripe-account", "a"), ("stripe_account", "b")],
                Ambiguous,
                "header Stripe_account",
            ),
            (&[("a_b-c", "a"), ("a-b_c", "b")], Ambiguous, "header A_b-C"),
            (&[("content_length", "3")], Ambiguous, "header Content_length"),
            (&[("tollhouse_case", "3")], Ambiguous, "header Tollhouse_case"),
            (&[("idempotency_key", "3")], Ambiguous, "header Idempotency_key"),
            (&[("x_http-method_override", "GET")], Ambiguous, "header X_http-Method_override"),
            (
                &[("content-length", "3"), ("transfer-encoding", "chunked")],
                Ambiguous,
                "header Content-Length",
            ),
            (&[("content-length", "+3")], Ambiguous, "header Content-Length"),
            (&[("content-length", "-3")], Ambiguous, "header Content-Length"),
            (&[("content-length", "3, 3")], Ambiguous, "header Content-Length"),
            (&[("content-length", "2")], Ambiguous, "header Content-Length"),
            (&[("content-length", "")], Ambiguous, "header Content-Length"),
            (&[("content-length", "0x3")], Ambiguous, "header Content-Length"),
            (&[("transfer-encoding", "chunked, chunked")], Ambiguous, "header Transfer-Encoding"),
            (&[("transfer-encoding", "gzip, chunked")], Ambiguous, "header Transfer-Encoding"),
            (&[("transfer-encoding", "xchunked")], Ambiguous, "header Transfer-Encoding"),
            (&[("transfer-encoding", "identity")], Ambiguous, "header Transfer-Encoding"),
            (&[("transfer-encoding", " chunked\t;a")], Ambiguous, "header Transfer-Encoding"),
            (&[("upgrade", "h2c")], Malformed, "header Upgrade"),
            (&[("content-encoding", "gzip")], Ambiguous, "header Content-Encoding"),
            (&[("content-encoding", "identity")], Ambiguous, "header Content-Encoding"),
            (&[("host", "")], Malformed, "header Host"),
            (&[("host", "user@stripe.com")], Malformed, "header Host"),
            (&[("host", "a.example, b.example")], Malformed, "header Host"),
            (&[("host", "a.example/v1")], Malformed, "header Host"),
        ];
        for (headers, code, place) in table {
            refused(&request("POST /x", headers, "a=1"), *code, place);
        }
        let mut hostless = request("POST /x", &[], "");
        hostless.headers.clear();
        refused(&hostless, Malformed, "header Host");
    }

    #[test]
    fn a_head_above_its_bounds_is_refused() {
        let target = |bytes: usize| format!("GET /{}", "a".repeat(bytes - 1));
        assert!(head(&request(&target(TARGET_BYTES_MAX), &[], "")).is_ok());
        refused(&request(&target(TARGET_BYTES_MAX + 1), &[], ""), HeaderTooLarge, "path");
        // The host is a line as well.
        let lines = |count: usize| vec![("accept", "*/*"); count];
        assert!(head(&request("GET /x", &lines(HEADERS_MAX - 1), "")).is_ok());
        refused(&request("GET /x", &lines(HEADERS_MAX), ""), HeaderTooLarge, "headers");
        let own = 4 + 4 + "127.0.0.1:8700".len() + "x-own".len() + 4;
        let long = |bytes: usize| "a".repeat(bytes - own);
        assert!(head(&request("GET /x", &[("x-own", &long(HEADER_BYTES_MAX))], "")).is_ok());
        let above = long(HEADER_BYTES_MAX + 1);
        refused(&request("GET /x", &[("x-own", &above)], ""), HeaderTooLarge, "headers");
    }
}

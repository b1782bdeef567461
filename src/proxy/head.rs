//! Is this the head of one request, and of one only? Read from the raw bytes, line by line.
//!
//! Refused, never mended: whatever two readers could cut or read differently (RFC 9112 s11.2).

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Hosts;
use crate::bounds::{HEADER_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};
use crate::framing;
use crate::refusal::{Code, Refusal};

/// A head at most, in bytes: its lines, and a target beside them.
pub(super) const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + TARGET_BYTES_MAX;

/// A head, once it is one.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: Box<str>,
    /// Every line, as it came.
    pub(super) headers: HeaderMap,
    pub(super) length: Length,
    pub(super) expects: Expects,
    pub(super) then: Then,
}

/// What becomes of the connection after the answer (RFC 9112 s9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
}

/// How much body there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    None,
    Bytes(u64),
    Chunked,
}

/// Whether the agent waits for a word before it sends the body (RFC 9110 s10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    Nothing,
    Continue,
}

/// Where the head in `bytes` ends, if its end is there. The first `seen` bytes hold no end.
///
/// # Errors
/// When it cannot become a head any more.
pub(super) fn end(bytes: &[u8], seen: usize) -> Result<Option<usize>, Refusal> {
    let fresh = bytes.get(seen..).unwrap_or_default();
    for found in memchr::memchr_iter(b'\n', fresh) {
        let upto = bytes.get(..=seen.saturating_add(found)).unwrap_or_default();
        // RFC 9112 s2.2 lets a reader take a bare LF for a line's end, or not.
        if !upto.ends_with(b"\r\n") {
            return Err(malformed("head", "lines that end in CR LF"));
        }
        if upto.ends_with(b"\r\n\r\n") {
            return if upto.len() > HEAD_BYTES_MAX {
                Err(too_large("head"))
            } else {
                Ok(Some(upto.len()))
            };
        }
        if upto.len() == 2 {
            return Err(malformed("request line", "no empty line before it"));
        }
    }
    if bytes.len() > HEAD_BYTES_MAX { Err(too_large("head")) } else { Ok(None) }
}

/// Reads a whole head, its empty line included.
///
/// # Errors
/// When it is no HTTP/1.1 head, or could be another to another reader.
pub(super) fn read(bytes: &Bytes, names: &Names) -> Result<Head, Refusal> {
    let lines = bytes.strip_suffix(b"\r\n\r\n").unwrap_or(bytes);
    let mut lines = memchr::memmem::find_iter(lines, b"\r\n").chain([lines.len()]).scan(
        0_usize,
        |start, end| {
            let line = lines.get(*start..end);
            *start = end.saturating_add(2);
            line
        },
    );
    let (method, target) = request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    // BOUND: what SDKs send without a map that grows.
    let mut headers = HeaderMap::with_capacity(16);
    let (mut count, mut size) = (0_usize, 0_usize);
    for line in lines {
        count = count.saturating_add(1);
        size = size.saturating_add(line.len()).saturating_add(2);
        if count > HEADERS_MAX || size > HEADER_BYTES_MAX {
            return Err(too_large("head"));
        }
        let (name, value) = field(line)?;
        fields.take(name, value)?;
        // The value stays where it was read to.
        let value =
            HeaderValue::from_maybe_shared(bytes.slice_ref(value)).map_err(|_| no_field())?;
        let name = HeaderName::from_bytes(name).map_err(|_| no_field())?;
        headers.try_append(name, value).map_err(|_| too_large("head"))?;
    }
    let then = if fields.closes.is_some() { Then::Close } else { Then::Keep };
    let (length, expects) = fields.finish(names)?;
    Ok(Head { method, target: target.into(), headers, length, expects, then })
}

/// Method and target of `METHOD SP target SP HTTP/1.1` (RFC 9112 s3).
fn request_line(line: &[u8]) -> Result<(Method, &str), Refusal> {
    let fault = || malformed("request line", "a method, a path and HTTP/1.1, one space between");
    let line = str::from_utf8(line).map_err(|_| fault())?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(fault());
    };
    if version != "HTTP/1.1" {
        return Err(malformed("request line", "HTTP/1.1"));
    }
    let method = method_and_target(method, target, "request line")?;
    Ok((method, target))
}

/// What holds of a method and a target over either HTTP.
pub(super) fn method_and_target(method: &str, target: &str, part: &str) -> Result<Method, Refusal> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(too_large("request target"));
    }
    let no_method = || malformed(part, "a method other than CONNECT and TRACE");
    if method.is_empty() || !method.bytes().all(is_token) || matches!(method, "CONNECT" | "TRACE") {
        return Err(no_method());
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| no_method())?;
    // RFC 3986 s2 has no `"<>`, and some parsers write them anew.
    let plain = target.bytes().all(|b| (0x21..=0x7e).contains(&b) && !b"#\"<>".contains(&b));
    if !target.starts_with('/') || !plain {
        return Err(malformed(part, "a path that begins with / and is ASCII"));
    }
    Ok(method)
}

/// Name and value of a header line (RFC 9112 s5).
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let colon = memchr::memchr(b':', line).ok_or_else(no_field)?;
    let (name, value) = line.split_at_checked(colon).ok_or_else(no_field)?;
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
    // A space before the colon, and a line that goes on with the last one, fail here too.
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(no_field());
    }
    let text = |byte: &u8| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t';
    if !value.iter().all(text) {
        return Err(malformed("header line", "a value without control characters"));
    }
    Ok((name, value))
}

fn no_field() -> Refusal {
    malformed("header line", "a name, a colon and a value on one line")
}

/// The fields that decide where a request ends and whom it is for.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: Option<()>,
    expects: Option<()>,
    closes: Option<()>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Refusal> {
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => Ok(()),
            4 if name.eq_ignore_ascii_case(b"host") => once(&mut self.host, value, "Host"),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(malformed("Expect", "100-continue"));
                }
                once(&mut self.expects, (), "Expect")
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                Err(malformed("Upgrade", "no change of protocol"))
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.closes = self.closes.or(connection(value)?);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                once(&mut self.length, length(value)?, "Content-Length")
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(malformed("Transfer-Encoding", "chunked, and nothing else"));
                }
                once(&mut self.chunked, (), "Transfer-Encoding")
            }
            _ => Ok(()),
        }
    }

    fn finish(self, names: &Names) -> Result<(Length, Expects), Refusal> {
        let host = self.host.ok_or_else(|| malformed("Host", "one, as HTTP/1.1 asks"))?;
        if !names.accept(host) {
            return Err(malformed("Host", "a name of this service"));
        }
        let expects = if self.expects.is_some() { Expects::Continue } else { Expects::Nothing };
        match (self.length, self.chunked) {
            (Some(_), Some(())) => {
                Err(ambiguous("body", "either Content-Length or Transfer-Encoding"))
            }
            (Some(bytes), None) => Ok((Length::Bytes(bytes), expects)),
            (None, Some(())) => Ok((Length::Chunked, expects)),
            (None, None) => Ok((Length::None, expects)),
        }
    }
}

fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ambiguous(name, "one line of it")),
    }
}

pub(super) fn length(value: &[u8]) -> Result<u64, Refusal> {
    framing::length(value).ok_or_else(|| malformed("Content-Length", "a whole number of bytes"))
}

/// SECURITY: a field that is named here is one for this connection only, to be dropped by a proxy:
/// so an agent could have a header dropped that was judged, or ours (RFC 9110 s7.6.1).
///
/// Tells whether it asks to close.
fn connection(value: &[u8]) -> Result<Option<()>, Refusal> {
    let mut closes = None;
    for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let is = |own: &[u8]| token.eq_ignore_ascii_case(own);
        if is(b"close") {
            closes = Some(());
        } else if !is(b"keep-alive") && !is(b"te") {
            return Err(malformed("Connection", "close or keep-alive"));
        }
    }
    Ok(closes)
}

/// RFC 9110 s5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) fn malformed(part: &str, expected: &str) -> Refusal {
    Refusal::malformed(part, &format!("expected {expected}"))
}

pub(super) fn ambiguous(part: &str, expected: &str) -> Refusal {
    Refusal::ambiguous(part, &format!("expected {expected}"))
}

pub(super) fn too_large(part: &str) -> Refusal {
    Refusal::new(Code::HeaderTooLarge, format!("The {part} is too large. Nothing was sent."))
}

/// The names that a listener answers to.
#[derive(Debug)]
pub(super) enum Names {
    Any,
    Listed(Vec<Box<str>>),
}

impl Names {
    pub(super) fn new(hosts: Hosts, address: SocketAddr) -> Self {
        let Hosts::Named(named) = hosts else { return Self::Any };
        let port = address.port();
        let mut listed = vec![address.to_string().into_boxed_str()];
        if address.ip().is_loopback() {
            // One machine, three spellings.
            for own in ["localhost", "127.0.0.1", "[::1]"] {
                listed.push(format!("{own}:{port}").into());
            }
        }
        for name in named {
            listed.push(format!("{name}:{port}").into());
            listed.push(name);
        }
        Self::Listed(listed)
    }

    /// SECURITY: a page in a browser whose name was made to lead here (DNS rebinding) sends its own.
    pub(super) fn accept(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => !host.is_empty(),
            Self::Listed(names) => {
                names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(host))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn names() -> Names {
        let hosts = Hosts::Named(vec!["proxy.internal".into()]);
        Names::new(hosts, "127.0.0.1:8700".parse().unwrap())
    }

    fn judge(text: &str) -> Result<Head, Refusal> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let whole = end(&bytes, 0)?.unwrap();
        read(&bytes.slice(..whole), &names())
    }

    fn code(text: &str) -> Result<(), Code> {
        judge(text).map(|_| ()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_head_says_where_its_request_ends() {
        let (nothing, keep) = (Expects::Nothing, Then::Keep);
        for (fields, length, expects, then) in [
            ("", Length::None, nothing, keep),
            ("Content-Length: 0\r\n", Length::Bytes(0), nothing, keep),
            ("content-length:12 \r\n", Length::Bytes(12), nothing, keep),
            ("Transfer-Encoding: Chunked\r\n", Length::Chunked, nothing, keep),
            ("Connection: keep-alive, TE\r\nTE: trailers\r\n", Length::None, nothing, keep),
            ("Connection: te, Close\r\n", Length::None, nothing, Then::Close),
            ("Connection: close\r\nConnection: te\r\n", Length::None, nothing, Then::Close),
            (
                "Expect: 100-continue\r\nContent-Length: 3\r\n",
                Length::Bytes(3),
                Expects::Continue,
                keep,
            ),
            ("X-Empty:\r\nX-Tab: a\tb\r\n", Length::None, nothing, keep),
        ] {
            let text =
                format!("POST /v1/x?a[b]=c HTTP/1.1\r\nHost: localhost:8700\r\n{fields}\r\n");
            let head = judge(&text).unwrap();
            assert_eq!(
                (head.length, head.expects, head.then),
                (length, expects, then),
                "{fields:?}"
            );
            assert_eq!((head.method, &*head.target), (Method::POST, "/v1/x?a[b]=c"));
        }
    }

    #[test]
    fn every_line_is_handed_on() {
        let lines = "X-Empty:\r\nX-Tab:  a\tb \r\nCookie: a\r\ncookie: \u{e9}\r\n";
        let head =
            judge(&format!("GET / HTTP/1.1\r\nHost: localhost:8700\r\n{lines}\r\n")).unwrap();
        let shown: Vec<_> = head.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let expected = [
            ("host", &b"localhost:8700"[..]),
            ("x-empty", b""),
            ("x-tab", b"a\tb"),
            ("cookie", b"a"),
            ("cookie", "\u{e9}".as_bytes()),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        let (m, a) = (Code::Malformed, Code::Ambiguous);
        for (fields, expected) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", a),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", a),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", a),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", a),
            ("Content-Length: 3, 3\r\n", m),
            ("Content-Length: +3\r\n", m),
            ("Content-Length: -3\r\n", m),
            ("Content-Length: 03\r\n", m),
            ("Content-Length: 0x3\r\n", m),
            ("Content-Length: 3 3\r\n", m),
            ("Content-Length:\r\n", m),
            ("Content-Length: 18446744073709551616\r\n", m),
            ("Transfer-Encoding: chunked, chunked\r\n", m),
            ("Transfer-Encoding: gzip, chunked\r\n", m),
            ("Transfer-Encoding: identity\r\n", m),
            ("Transfer-Encoding: xchunked\r\n", m),
            ("Transfer-Encoding: \"chunked\"\r\n", m),
            ("Transfer-Encoding : chunked\r\n", m),
            ("Transfer-Encoding\t: chunked\r\n", m),
            (" Transfer-Encoding: chunked\r\n", m),
            ("X: y\r\n folded\r\n", m),
            ("X: y\r\n\tfolded\r\n", m),
            ("X: a\rb\r\n", m),
            ("X: a\0b\r\n", m),
            ("X: a\u{7f}b\r\n", m),
            ("X\r\n", m),
            (": y\r\n", m),
            ("X(: y\r\n", m),
            ("Upgrade: h2c\r\n", m),
            ("Connection: Authorization\r\n", m),
            ("Connection: close, X-Kept\r\n", m),
            ("Connection: upgrade\r\n", m),
            ("Expect: 200-ok\r\n", m),
            ("Expect: 100-continue\r\nExpect: 100-continue\r\n", a),
            ("Host: localhost:8700\r\n", a),
        ] {
            let text = format!("POST /x HTTP/1.1\r\nHost: localhost:8700\r\n{fields}\r\n");
            assert_eq!(code(&text), Err(expected), "{fields:?}");
        }
    }

    #[test]
    fn a_request_line_is_three_words() {
        for line in [
            "GET /a b HTTP/1.1",
            "GET  /a HTTP/1.1",
            "GET /a  HTTP/1.1",
            "GET /a HTTP/1.1 ",
            " GET /a HTTP/1.1",
            "GET\t/a\tHTTP/1.1",
            "GET /a",
            "GET /a HTTP/1.0",
            "GET /a HTTP/2.0",
            "GET /a http/1.1",
            "GET http://localhost:8700/a HTTP/1.1",
            "GET a HTTP/1.1",
            "GET * HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GET /a?b=\"c\" HTTP/1.1",
            "GET /<a> HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET /a\u{1}b HTTP/1.1",
            "CONNECT localhost:8700 HTTP/1.1",
            "CONNECT / HTTP/1.1",
            "TRACE / HTTP/1.1",
            "G(T / HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            let text = format!("{line}\r\nHost: localhost:8700\r\n\r\n");
            assert_eq!(code(&text), Err(Code::Malformed), "{line:?}");
        }
        assert_eq!(code("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), Err(Code::Malformed));
    }

    #[test]
    fn a_host_is_one_of_ours() {
        for (host, expected) in [
            ("127.0.0.1:8700", true),
            ("localhost:8700", true),
            ("LOCALHOST:8700", true),
            ("[::1]:8700", true),
            ("proxy.internal", true),
            ("proxy.internal:8700", true),
            ("proxy.internal:80", false),
            ("localhost", false),
            ("localhost:8701", false),
            ("evil.example", false),
            ("u@localhost:8700", false),
            ("", false),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(judge(&text).is_ok(), expected, "{host:?}");
        }
        assert_eq!(code("GET / HTTP/1.1\r\n\r\n"), Err(Code::Malformed));
    }

    #[test]
    fn a_head_ends_once_and_within_bounds() {
        let head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(end(head.get(..cut).unwrap().as_bytes(), 0), Ok(None), "{cut}");
        }
        for seen in 0..head.len() {
            let more = format!("{head}\r\nrest");
            assert_eq!(end(more.as_bytes(), seen), Ok(Some(head.len())), "{seen}");
        }
        for bare in ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: x\n\r\n", "\n"] {
            assert_eq!(end(bare.as_bytes(), 0).map_err(|r| r.code), Err(Code::Malformed));
        }
        let long = "x".repeat(HEAD_BYTES_MAX + 1);
        assert_eq!(end(long.as_bytes(), 0).map_err(|r| r.code), Err(Code::HeaderTooLarge));
        let many = "X: y\r\n".repeat(HEADERS_MAX);
        let text = format!("GET / HTTP/1.1\r\nHost: localhost:8700\r\n{many}\r\n");
        assert_eq!(code(&text), Err(Code::HeaderTooLarge));
        let text = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(TARGET_BYTES_MAX));
        assert_eq!(code(&text), Err(Code::HeaderTooLarge));
    }
}

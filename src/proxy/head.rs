//! Is this the head of one request, and of one only? Read from the raw bytes, before pingora's
//! parser, which mends some of what is refused here (a raw space in the target, both framings).
//!
//! Refused, never mended: whatever two readers could cut or read differently (RFC 9112 s11.2).

use std::net::SocketAddr;

use super::Hosts;
use crate::bounds::{HEADER_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};
use crate::refusal::{Code, Refusal};

/// A head at most, in bytes: its lines, and a target beside them.
pub(super) const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + TARGET_BYTES_MAX;

/// What matters of a head, once it is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) target: Box<str>,
    pub(super) length: Length,
    pub(super) expects: Expects,
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
pub(super) fn read(bytes: &[u8], names: &Names) -> Result<Head, Refusal> {
    let lines = bytes.strip_suffix(b"\r\n\r\n").unwrap_or(bytes);
    let mut lines = memchr::memmem::find_iter(lines, b"\r\n").chain([lines.len()]).scan(
        0_usize,
        |start, end| {
            let line = lines.get(*start..end);
            *start = end.saturating_add(2);
            line
        },
    );
    let target = request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    let (mut count, mut size) = (0_usize, 0_usize);
    for line in lines {
        count = count.saturating_add(1);
        size = size.saturating_add(line.len()).saturating_add(2);
        if count > HEADERS_MAX || size > HEADER_BYTES_MAX {
            return Err(too_large("head"));
        }
        fields.take(line)?;
    }
    let (length, expects) = fields.finish(names)?;
    Ok(Head { target: target.into(), length, expects })
}

/// The target of `METHOD SP target SP HTTP/1.1` (RFC 9112 s3).
fn request_line(line: &[u8]) -> Result<&str, Refusal> {
    let fault = || malformed("request line", "a method, a path and HTTP/1.1, one space between");
    let line = str::from_utf8(line).map_err(|_| fault())?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(fault());
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(too_large("request target"));
    }
    if version != "HTTP/1.1" {
        return Err(malformed("request line", "HTTP/1.1"));
    }
    if method.is_empty() || !method.bytes().all(is_token) || matches!(method, "CONNECT" | "TRACE") {
        return Err(malformed("request line", "a method other than CONNECT and TRACE"));
    }
    // RFC 3986 s2 has no `"<>`; pingora's parser would write them anew.
    let plain = target.bytes().all(|b| (0x21..=0x7e).contains(&b) && !b"#\"<>".contains(&b));
    if !target.starts_with('/') || !plain {
        return Err(malformed("request line", "a path that begins with / and is ASCII"));
    }
    Ok(target)
}

/// The fields that decide where a request ends and whom it is for.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: Option<()>,
    expects: Option<()>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        let fault = || malformed("header line", "a name, a colon and a value on one line");
        let colon = memchr::memchr(b':', line).ok_or_else(fault)?;
        let (name, value) = line.split_at_checked(colon).ok_or_else(fault)?;
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        // A space before the colon, and a line that goes on with the last one, fail here too.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(fault());
        }
        let text = |byte: &u8| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t';
        if !value.iter().all(text) {
            return Err(malformed("header line", "a value without control characters"));
        }
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
            10 if name.eq_ignore_ascii_case(b"connection") => connection(value),
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

/// Digits and nothing else: no sign, no list, no leading zero (RFC 9110 s8.6).
fn length(value: &[u8]) -> Result<u64, Refusal> {
    let fault = || malformed("Content-Length", "a whole number of bytes");
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let padded = value.len() > 1 && value.first() == Some(&b'0');
    let text = str::from_utf8(value).map_err(|_| fault())?;
    text.parse().ok().filter(|_| digits && !padded).ok_or_else(fault)
}

/// SECURITY: a field that is named here is one for this connection only, to be dropped by a proxy:
/// so an agent could have a header dropped that was judged, or ours (RFC 9110 s7.6.1).
fn connection(value: &[u8]) -> Result<(), Refusal> {
    let known = |token: &[u8]| {
        let token = token.trim_ascii();
        [&b"close"[..], b"keep-alive", b"te"].iter().any(|own| token.eq_ignore_ascii_case(own))
    };
    if value.split(|byte| *byte == b',').all(known) {
        Ok(())
    } else {
        Err(malformed("Connection", "close or keep-alive"))
    }
}

/// RFC 9110 s5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn malformed(part: &str, expected: &str) -> Refusal {
    Refusal::malformed(part, &format!("expected {expected}"))
}

fn ambiguous(part: &str, expected: &str) -> Refusal {
    Refusal::ambiguous(part, &format!("expected {expected}"))
}

fn too_large(part: &str) -> Refusal {
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
    fn accept(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => !host.is_empty(),
            Self::Listed(names) => {
                names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(host))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn names() -> Names {
        let hosts = Hosts::Named(vec!["proxy.internal".into()]);
        Names::new(hosts, "127.0.0.1:8700".parse().unwrap())
    }

    fn judge(text: &str) -> Result<Head, Refusal> {
        let bytes = text.as_bytes();
        let whole = end(bytes, 0)?.unwrap();
        read(bytes.get(..whole).unwrap(), &names())
    }

    fn code(text: &str) -> Result<Head, Code> {
        judge(text).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_head_says_where_its_request_ends() {
        let head = |length, expects| Head { target: "/v1/x?a[b]=c".into(), length, expects };
        for (fields, expected) in [
            ("", head(Length::None, Expects::Nothing)),
            ("Content-Length: 0\r\n", head(Length::Bytes(0), Expects::Nothing)),
            ("content-length:12 \r\n", head(Length::Bytes(12), Expects::Nothing)),
            ("Transfer-Encoding: Chunked\r\n", head(Length::Chunked, Expects::Nothing)),
            (
                "Connection: keep-alive, TE\r\nTE: trailers\r\n",
                head(Length::None, Expects::Nothing),
            ),
            (
                "Expect: 100-continue\r\nContent-Length: 3\r\n",
                head(Length::Bytes(3), Expects::Continue),
            ),
            (
                "X-Empty:\r\nX-Tab: a\tb\r\nX-Caf\u{e9}".trim_end_matches("X-Caf\u{e9}"),
                head(Length::None, Expects::Nothing),
            ),
        ] {
            let text =
                format!("POST /v1/x?a[b]=c HTTP/1.1\r\nHost: localhost:8700\r\n{fields}\r\n");
            assert_eq!(judge(&text), Ok(expected), "{fields:?}");
        }
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

//! What may stand in a head? The one that is sent and the one that is read, less what belongs to
//! one connection only.
//!
//! It never decides which of the agent's headers go upstream; that is the catalog's list.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use httparse::{Header, ParserConfig};

use super::Outgoing;
use crate::framing::{self, Chunked};

/// BOUND: an answer's head, in bytes: the largest that common servers send is 64 KiB.
pub(super) const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
/// BOUND: an answer's header lines. Vendors send some 30.
const ANSWER_HEADERS_MAX: usize = 256;

/// Fields of one connection (RFC 9110 s7.6.1), and framing, which each side sets for itself.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    static NAMES: [HeaderName; 9] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
    ];
    NAMES.contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Whether a target is sent as it stands: a path and a query in ASCII.
pub(super) fn is_plain(target: &str) -> bool {
    let plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'#';
    target.starts_with('/') && target.bytes().all(plain)
}

/// Appends the head that goes on the wire.
///
/// # Errors
/// Why it cannot be sent; no byte has left then.
pub(super) fn request(out: &mut BytesMut, send: &Outgoing, authority: &str) -> Result<(), String> {
    // INVARIANT: what was judged is what is sent, byte for byte.
    if !is_plain(&send.target) {
        return Err("the target is no path and query in ASCII".to_owned());
    }
    for part in [send.method.as_str(), " ", &*send.target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    framing::field(out, &header::HOST, authority.as_bytes());
    for (name, value) in &send.headers {
        // A `Connection` field among them is left out and not obeyed: the names in it may be the
        // agent's, and the credential must not be removable by naming it.
        if !is_ours(name) {
            framing::field(out, name, value.as_bytes());
        }
    }
    // RFC 9110 s8.6: a length of 0 is said where the method expects a body.
    let expects_body = matches!(send.method, Method::POST | Method::PUT | Method::PATCH);
    if expects_body || !send.body.is_empty() {
        let length = HeaderValue::from(send.body.len());
        framing::field(out, &header::CONTENT_LENGTH, length.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The head that came, less what is not the agent's business.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) ends: Ends,
    /// How long the connection may be kept; `None` when it must not be.
    pub(super) keep: Option<Duration>,
}

/// Where an answer's body ends.
#[derive(Debug)]
pub(super) enum Ends {
    /// There is none, or no more.
    Here,
    /// After so many bytes.
    After(usize),
    /// Where its chunks say.
    Chunks(Chunked),
    /// Where the other side closes.
    Close,
}

/// Reads a head at the start of `bytes`, and tells how long it is; `None` while its end is missing.
///
/// # Errors
/// What makes it unreadable, or readable in two ways.
pub(super) fn response(bytes: &Bytes, method: &Method) -> Result<Option<(Came, usize)>, String> {
    let mut lines = [const { std::mem::MaybeUninit::uninit() }; ANSWER_HEADERS_MAX];
    let mut head = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = config.parse_response_with_uninit_headers(&mut head, bytes, &mut lines);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the head is too large".to_owned()),
        // SECURITY: only the kind of error is told. Its text may hold bytes of the answer.
        Err(_) => return Err("the head is not one of HTTP/1.1".to_owned()),
    };
    let status = head.code.unwrap_or_default();
    let version = if head.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let ends = ends(head.headers, status, version, method)?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    let nominated = of_connection(head.headers);
    for line in &*head.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| NO_FIELD)?;
        if !is_ours(&name) && !nominated.contains(&name) {
            headers.try_append(name, value(bytes, line.value)?).map_err(|_| NO_FIELD)?;
        }
    }
    let keep = keep(head.headers, version);
    Ok(Some((Came { status, headers, ends, keep }, length)))
}

const NO_FIELD: &str = "a header line is none";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// A value, where it was read to. A folded line becomes one, so that no value holds a line's end
/// (RFC 9112 s5.2).
fn value(bytes: &Bytes, value: &[u8]) -> Result<HeaderValue, String> {
    let folded = value.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
    let value = if folded {
        let parts = value.split(|byte| matches!(byte, b'\r' | b'\n')).map(<[u8]>::trim_ascii);
        let parts: Vec<&[u8]> = parts.filter(|part| !part.is_empty()).collect();
        HeaderValue::from_maybe_shared(Bytes::from(parts.join(&b' ')))
    } else {
        HeaderValue::from_maybe_shared(bytes.slice_ref(value))
    };
    value.map_err(|_| NO_FIELD.to_owned())
}

fn all<'h>(headers: &'h [Header<'_>], name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    let named = move |line: &&Header<'_>| line.name.eq_ignore_ascii_case(name);
    headers.iter().filter(named).map(|line| line.value.trim_ascii())
}

/// RFC 9112 s6.3. An answer that another reader would cut elsewhere is none.
fn ends(
    headers: &[Header<'_>],
    status: u16,
    version: Version,
    method: &Method,
) -> Result<Ends, String> {
    let mut codings = all(headers, "transfer-encoding");
    let mut lengths = all(headers, "content-length");
    let coding = codings.next();
    let length = lengths.next();
    let bodiless = *method == Method::HEAD || matches!(status, 100..=199 | 204 | 304);
    match (coding, length) {
        (Some(coding), _) if version == Version::Http10 || !is_chunked(coding) => {
            Err("a transfer coding that is not chunked".to_owned())
        }
        (Some(_), None) if codings.next().is_some() => {
            Err("a transfer coding that is not chunked".to_owned())
        }
        (Some(_), Some(_)) => Err("both a length and a transfer coding".to_owned()),
        (None, Some(length)) if lengths.any(|other| other != length) => {
            Err("two lengths".to_owned())
        }
        (None, Some(length)) => {
            let length = framing::length(length).and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or("a length that is no number")?;
            Ok(if bodiless || length == 0 { Ends::Here } else { Ends::After(length) })
        }
        (Some(_) | None, None) if bodiless => Ok(Ends::Here),
        (Some(_), None) => Ok(Ends::Chunks(Chunked::default())),
        (None, None) => Ok(Ends::Close),
    }
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

fn tokens<'h>(headers: &'h [Header<'_>]) -> impl Iterator<Item = &'h [u8]> {
    let split = |value: &'h [u8]| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    all(headers, "connection").flat_map(split)
}

/// The fields that `Connection` names as its own (RFC 9110 s7.6.1).
fn of_connection(headers: &[Header<'_>]) -> Vec<HeaderName> {
    let usual = |token: &&[u8]| {
        token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close")
    };
    let named = tokens(headers).filter(|token| !usual(token));
    named.filter_map(|token| HeaderName::from_bytes(token).ok()).collect()
}

/// RFC 9112 s9.3; `Keep-Alive: timeout=5`, less a second: ours must be the side that closes.
fn keep(headers: &[Header<'_>], version: Version) -> Option<Duration> {
    let closes = tokens(headers).any(|token| token.eq_ignore_ascii_case(b"close"));
    if closes || version == Version::Http10 {
        return None;
    }
    let stated = all(headers, "keep-alive").find_map(|value| {
        let parts = str::from_utf8(value).ok()?.split(',');
        let timeout = parts.filter_map(|part| part.trim().strip_prefix("timeout=")).next()?;
        timeout.trim().parse::<u64>().ok()
    });
    let seconds = stated.map_or(u64::MAX, |seconds| seconds.saturating_sub(1));
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail loudly")]
    use super::*;

    fn outgoing(method: Method, target: &str, body: &'static str) -> Outgoing {
        let pair = |name: &'static str, value: &'static str| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers = vec![
            pair("connection", "authorization, x-kept"),
            pair("x-kept", "1"),
            pair("host", "evil.example"),
            pair("content-length", "99"),
            pair("transfer-encoding", "chunked"),
            pair("expect", "100-continue"),
            pair("keep-alive", "timeout=5"),
            pair("upgrade", "h2c"),
            pair("authorization", "Bearer secret"),
        ];
        Outgoing {
            method,
            target: target.into(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn written(send: &Outgoing) -> Result<String, String> {
        let mut out = BytesMut::new();
        request(&mut out, send, "api.example")?;
        Ok(String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn naming_the_credential_in_connection_does_not_remove_it() {
        let head = written(&outgoing(Method::POST, "/v1/refunds?a[b]=c", "amount=1")).unwrap();
        let lines = [
            "POST /v1/refunds?a[b]=c HTTP/1.1",
            "Host: api.example",
            "X-Kept: 1",
            "Authorization: Bearer secret",
            "Content-Length: 8",
            "",
            "",
        ];
        assert_eq!(head, lines.join("\r\n"));
    }

    #[test]
    fn a_length_of_nothing_is_said_only_where_a_body_is_expected() {
        for (method, expected) in [(Method::GET, false), (Method::POST, true)] {
            let head = written(&outgoing(method, "/", "")).unwrap();
            assert_eq!(head.contains("\r\nContent-Length: 0\r\n"), expected);
            assert_eq!(head.contains("Content-Length"), expected);
        }
    }

    #[test]
    fn a_target_that_would_not_be_sent_as_it_stands_is_not_sent() {
        for target in ["", "v1", "/a b", "/a\r\nX: y", "/a#b", "/\u{e9}", "http://x/", "*"] {
            written(&outgoing(Method::GET, target, "")).unwrap_err();
        }
        for target in ["/", "/?", "/a?b[c][]=d&e='%2F\"|^`{}<>\\", "//a", "/a//b?c//d"] {
            let head = written(&outgoing(Method::GET, target, "")).unwrap();
            assert!(head.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{target}");
        }
    }

    fn read(text: &str, method: &Method) -> Result<Option<(Came, usize)>, String> {
        response(&Bytes::copy_from_slice(text.as_bytes()), method)
    }

    #[test]
    fn fields_of_one_connection_stay_there() {
        let fields = "Connection: close, X-Hop\r\nX-hop: 1\r\nX-Kept: 1\r\nX-Fold: a\r\n\t b\r\nKeep-Alive: timeout=5\r\n";
        let text = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nhi");
        let (came, length) = read(&text, &Method::GET).unwrap().unwrap();
        let shown: Vec<_> =
            came.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(shown, [("x-kept", "1"), ("x-fold", "a b")]);
        assert_eq!((came.status, came.keep, &text[length..]), (200, None, "hi"));
        for cut in 0..length {
            assert!(read(&text[..cut], &Method::GET).unwrap().is_none(), "{cut}");
        }
    }

    #[test]
    fn an_answer_ends_in_one_place() {
        let (get, head) = (Method::GET, Method::HEAD);
        for (method, status, fields, expected) in [
            (&get, 200, "Content-Length: 5", "after 5"),
            (&get, 200, "Content-Length: 0", "here"),
            (&get, 200, "Content-Length: 5\r\nContent-Length: 5", "after 5"),
            (&get, 200, "Transfer-Encoding: Chunked", "chunks"),
            (&get, 200, "X: y", "close"),
            (&get, 204, "X: y", "here"),
            (&get, 304, "Content-Length: 5", "here"),
            (&head, 200, "Content-Length: 5", "here"),
            (&head, 200, "Transfer-Encoding: chunked", "here"),
            (&get, 200, "Content-Length: 5\r\nContent-Length: 4", "two lengths"),
            (&get, 200, "Content-Length: +5", "a length that is no number"),
            (&get, 200, "Content-Length: 5, 5", "a length that is no number"),
            (&get, 200, "Content-Length: 99999999999999999999", "a length that is no number"),
            (&get, 200, "Transfer-Encoding: gzip", "a transfer coding that is not chunked"),
            (
                &get,
                200,
                "Transfer-Encoding: chunked, chunked",
                "a transfer coding that is not chunked",
            ),
            (
                &get,
                200,
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "a transfer coding that is not chunked",
            ),
            (
                &get,
                200,
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                "both a length and a transfer coding",
            ),
            (&head, 200, "Content-Length: x", "a length that is no number"),
        ] {
            let text = format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n");
            let found = match read(&text, method) {
                Ok(Some((came, _))) => match came.ends {
                    Ends::Here => "here".to_owned(),
                    Ends::After(length) => format!("after {length}"),
                    Ends::Chunks(_) => "chunks".to_owned(),
                    Ends::Close => "close".to_owned(),
                },
                Ok(None) => "more".to_owned(),
                Err(why) => why,
            };
            assert_eq!(found, expected, "{method} {status} {fields}");
        }
    }

    #[test]
    fn a_connection_is_kept_as_long_as_both_sides_mean_to() {
        let ever = Some(Duration::from_secs(u64::MAX));
        for (version, fields, expected) in [
            ("1.1", "X: y", ever),
            ("1.1", "Connection: keep-alive", ever),
            ("1.1", "Connection: Close", None),
            ("1.1", "Connection: x, close", None),
            ("1.0", "Connection: keep-alive", None),
            ("1.1", "Keep-Alive: timeout=5, max=9", Some(Duration::from_secs(4))),
            ("1.1", "Keep-Alive: timeout=1", None),
            ("1.1", "Keep-Alive: timeout=x", ever),
        ] {
            let text = format!("HTTP/{version} 200 OK\r\n{fields}\r\n\r\n");
            let (came, _) = read(&text, &Method::GET).unwrap().unwrap();
            assert_eq!(came.keep, expected, "{version} {fields}");
        }
    }

    #[test]
    fn what_is_no_head_is_told_apart() {
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX y\r\n\r\n",
            "\u{16}\u{3}",
        ] {
            read(text, &Method::GET).unwrap_err();
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(ANSWER_HEAD_BYTES_MAX));
        read(&endless, &Method::GET).unwrap_err();
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(ANSWER_HEADERS_MAX + 1));
        read(&many, &Method::GET).unwrap_err();
    }
}

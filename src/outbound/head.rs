//! What may stand in a head? The one that is sent and the one that is read, less what belongs to
//! one connection only.
//!
//! It never decides which of the agent's headers go upstream; that is the catalog's list.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::HttpSession;

use super::Outgoing;

/// Fields of one connection (RFC 9110 s7.6.1), and framing, which each side sets for itself.
fn is_ours(name: &HeaderName) -> bool {
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

/// The head that goes on the wire.
///
/// # Errors
/// Why it cannot be sent; no byte has left then.
pub(super) fn request(send: &Outgoing, authority: &str) -> Result<Box<RequestHeader>, String> {
    let target = send.target.as_bytes();
    let plain = target.first() == Some(&b'/')
        && target.iter().all(|byte| (0x21..=0x7e).contains(byte) && *byte != b'#');
    if !plain {
        return Err("the target is no path and query in ASCII".to_owned());
    }
    let size = send.headers.len().saturating_add(2);
    let fault = |_| "the head cannot be written".to_owned();
    let mut head = RequestHeader::build_no_case(send.method.clone(), target, Some(size))
        .map_err(|_| "the target cannot be read as a URI".to_owned())?;
    head.set_version(Version::HTTP_11);
    // INVARIANT: what was judged is what is sent, byte for byte.
    if head.raw_path() != target {
        return Err("the target would not be sent as it stands".to_owned());
    }
    head.append_header(header::HOST, authority).map_err(fault)?;
    for (name, value) in &send.headers {
        // A `Connection` field among them is left out and not obeyed: the names in it may be the
        // agent's, and the credential must not be removable by naming it.
        if !is_ours(name) {
            head.append_header(name.clone(), value.clone()).map_err(fault)?;
        }
    }
    // RFC 9110 s8.6: a length of 0 is said where the method expects a body.
    let expects_body = matches!(send.method, Method::POST | Method::PUT | Method::PATCH);
    if expects_body || !send.body.is_empty() {
        head.append_header(header::CONTENT_LENGTH, HeaderValue::from(send.body.len()))
            .map_err(fault)?;
    }
    Ok(Box::new(head))
}

/// The head that came, less what is not the agent's business.
///
/// # Errors
/// What makes it unreadable, or readable in two ways.
pub(super) fn response(session: &HttpSession) -> Result<(u16, HeaderMap), String> {
    let head = session.resp_header().ok_or("no head")?;
    framing(head, session)?;
    let nominates = head.headers.contains_key(header::CONNECTION);
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    // A folded line has become one by now (RFC 9112 s5.2), so no value holds a line's end.
    for (name, value) in &head.headers {
        let dropped = is_ours(name) || (nominates && is_nominated(&head.headers, name));
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    Ok((head.status.as_u16(), headers))
}

/// pingora lets `Transfer-Encoding` win over `Content-Length` and takes any coding for the end of
/// the body; an answer that another reader would cut elsewhere is none (RFC 9112 s6.3).
fn framing(head: &ResponseHeader, session: &HttpSession) -> Result<(), String> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if !chunked || head.version != Version::HTTP_11 {
        return Err("a transfer coding that is not chunked".to_owned());
    }
    let raw = session.get_headers_raw_bytes();
    let length = raw.split(|byte| *byte == b'\n').any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or(line);
        name.trim_ascii().eq_ignore_ascii_case(b"content-length")
    });
    if length {
        return Err("both a length and a transfer coding".to_owned());
    }
    Ok(())
}

/// Whether a `Connection` field names it as its own (RFC 9110 s7.6.1).
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let named = |value: &HeaderValue| {
        let tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens
            .into_iter()
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    headers.get_all(header::CONNECTION).iter().any(named)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use bytes::Bytes;

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

    #[test]
    fn naming_the_credential_in_connection_does_not_remove_it() {
        let send = outgoing(Method::POST, "/v1/refunds?a[b]=c", "amount=1");
        let head = request(&send, "api.example").unwrap();
        let names: Vec<_> =
            head.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(
            names,
            [
                ("host", "api.example"),
                ("x-kept", "1"),
                ("authorization", "Bearer secret"),
                ("content-length", "8"),
            ]
        );
        assert_eq!(head.raw_path(), b"/v1/refunds?a[b]=c");
    }

    #[test]
    fn a_length_of_nothing_is_said_only_where_a_body_is_expected() {
        for (method, expected) in [(Method::GET, None), (Method::POST, Some("0"))] {
            let head = request(&outgoing(method, "/", ""), "x").unwrap();
            let length = head.headers.get("content-length").map(|v| v.to_str().unwrap());
            assert_eq!(length, expected);
        }
    }

    #[test]
    fn a_target_that_would_not_be_sent_as_it_stands_is_not_sent() {
        for target in ["", "v1", "/a b", "/a\r\nX: y", "/a#b", "/\u{e9}", "http://x/", "*"] {
            assert!(request(&outgoing(Method::GET, target, ""), "x").is_err(), "{target}");
        }
        for target in ["/", "/?", "/a?b[c][]=d&e='%2F\"|^`{}<>\\", "//a", "/a//b?c//d"] {
            let head = request(&outgoing(Method::GET, target, ""), "x");
            if let Ok(head) = head {
                assert_eq!(head.raw_path(), target.as_bytes(), "{target}");
            }
        }
    }

    #[test]
    fn what_connection_names_is_found() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close, X-Hop"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("x-kept", HeaderValue::from_static("1"));
        let named = |name| is_nominated(&headers, &HeaderName::from_static(name));
        assert_eq!((named("x-hop"), named("x-kept")), (true, false));
    }
}

//! What may stand in a head over HTTP/2? The one that is sent and the one that is read.
//!
//! As over HTTP/1.1, but that the host is `:authority`, and that no field of one connection exists.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Uri, Version};

use crate::outbound::head::{is_ours, is_plain};
use crate::outbound::{Outgoing, Scheme, Upstream};

/// The head that goes on the wire.
///
/// # Errors
/// Why it cannot be sent; no byte has left then.
pub(super) fn request(send: &Outgoing, to: &Upstream) -> Result<Request<()>, String> {
    let scheme = match to.url.scheme() {
        Scheme::Https => "https",
        Scheme::Http => "http",
    };
    let target = &*send.target;
    if !is_plain(target) {
        return Err("the target is no path and query in ASCII".to_owned());
    }
    let uri = Uri::builder().scheme(scheme).authority(to.url.authority()).path_and_query(target);
    let uri = uri.build().map_err(|_| "the target cannot be read as a URI".to_owned())?;
    // INVARIANT: what was judged is what is sent, byte for byte.
    if uri.path_and_query().map(|both| both.as_str()) != Some(target) {
        return Err("the target would not be sent as it stands".to_owned());
    }
    let mut request = Request::new(());
    *request.method_mut() = send.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for (name, value) in &send.headers {
        if !is_ours(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    // RFC 9110 s8.6: a length of 0 is said where the method expects a body.
    let expects_body = matches!(send.method, Method::POST | Method::PUT | Method::PATCH);
    if expects_body || !send.body.is_empty() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(send.body.len()));
    }
    Ok(request)
}

/// The head that came, less what is not the agent's business. Fields of one connection are refused by
/// the library already (RFC 9113 s8.2.2), and a length that the body does not keep to.
///
/// # Errors
/// What makes it readable in two ways.
pub(super) fn response(from: &HeaderMap) -> Result<HeaderMap, String> {
    if from.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err("two lengths".to_owned());
    }
    let mut headers = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        if !is_ours(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    Ok(headers)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use bytes::Bytes;
    use http::HeaderName;

    use super::*;

    fn outgoing(method: Method, target: &str, body: &'static str) -> Outgoing {
        let pair = |name: &'static str, value: &'static str| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers = vec![
            pair("connection", "authorization"),
            pair("host", "evil.example"),
            pair("content-length", "99"),
            pair("te", "trailers"),
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
    fn a_head_says_where_it_goes_and_nothing_of_the_connection() {
        let to = Upstream::parse("x", "https://api.example:8443").unwrap();
        let sent = request(&outgoing(Method::POST, "/v1/x?a[b]=c", "abc"), &to).unwrap();
        assert_eq!(sent.uri().to_string(), "https://api.example:8443/v1/x?a[b]=c");
        let names: Vec<_> =
            sent.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(names, [("authorization", "Bearer secret"), ("content-length", "3")]);
    }

    #[test]
    fn a_target_that_would_not_be_sent_as_it_stands_is_not_sent() {
        let to = Upstream::parse("x", "http://127.0.0.1:1").unwrap();
        for target in ["", "v1", "/a b", "/a\r\nX: y", "/a#b", "/\u{e9}", "http://x/", "*"] {
            assert!(request(&outgoing(Method::GET, target, ""), &to).is_err(), "{target}");
        }
        for target in ["/", "/?", "/a?b[c][]=d&e='%2F", "//a", "/a//b?c//d"] {
            let sent = request(&outgoing(Method::GET, target, ""), &to).unwrap();
            assert_eq!(sent.uri().path_and_query().unwrap().as_str(), target);
        }
    }

    #[test]
    fn two_lengths_are_none() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            assert!(response(&headers).is_ok());
            headers.append(header::CONTENT_LENGTH, HeaderValue::from(1));
        }
        assert!(response(&headers).is_err());
    }
}

//! Is this the head of one request? Of HTTP/2 the library has read it; what it leaves open is closed
//! here, and what comes out is what the same request over HTTP/1.1 would have been.
//!
//! Refused, never mended. Only crumbs of a cookie are put together, as RFC 9113 s8.2.3 asks.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use crate::bounds::{HEADER_BYTES_MAX, HEADERS_MAX};
use crate::proxy::head::{self, Names, malformed};
use crate::refusal::Refusal;

/// What matters of a head, once it is one.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) target: Box<str>,
    /// As HTTP/1.1 would have them: the authority stands under `Host`.
    pub(super) headers: HeaderMap,
    /// The body's length, where it is stated.
    pub(super) length: Option<u64>,
    /// The agent waits for a word before it sends the body (RFC 9110 s10.1.1).
    pub(super) expects: Expects,
}

pub(super) use head::Expects;

/// Reads what the library took for a head.
///
/// # Errors
/// When it is none, or could be another to another reader.
pub(super) fn read(parts: Parts, names: &Names) -> Result<Head, Refusal> {
    let Parts { method, uri, mut headers, .. } = parts;
    let target = uri.path_and_query().map_or("", |both| both.as_str());
    head::method_and_target(method.as_str(), target, "pseudo headers")?;
    // RFC 9113 s8.3.1. An agent behind something that ended its TLS says https.
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err(malformed(":scheme", "http or https"));
    }
    fields(&headers)?;
    let host = host(uri.authority().map(http::uri::Authority::as_str), &headers, names)?;
    headers.insert(header::HOST, host);
    let length = match one(&headers, &header::CONTENT_LENGTH)? {
        Some(value) => Some(head::length(value.as_bytes())?),
        None => None,
    };
    let expects = match one(&headers, &header::EXPECT)? {
        None => Expects::Nothing,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Expects::Continue,
        Some(_) => return Err(malformed("Expect", "100-continue")),
    };
    crumbs(&mut headers);
    Ok(Head { target: target.into(), headers, length, expects })
}

/// The same bounds as over HTTP/1.1, counted as lines there would be.
fn fields(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut size = 0_usize;
    for (name, value) in headers {
        let (name, value) = (name.as_str(), value.as_bytes());
        size = size.saturating_add(name.len()).saturating_add(value.len()).saturating_add(4);
        // RFC 9113 s8.2.1: over HTTP/1.1 they would be trimmed, so there would be two values.
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if blank(value.first()) || blank(value.last()) {
            return Err(malformed("header line", "a value without blanks around it"));
        }
    }
    if headers.len() > HEADERS_MAX || size > HEADER_BYTES_MAX {
        return Err(head::too_large("head"));
    }
    Ok(())
}

/// `:authority`, or `Host` where that is all there is; both only if they are equal.
fn host(
    authority: Option<&str>,
    headers: &HeaderMap,
    names: &Names,
) -> Result<HeaderValue, Refusal> {
    let stated = one(headers, &header::HOST)?;
    let host = match (authority, stated) {
        (None, None) => return Err(malformed(":authority", "one, or a Host")),
        (None, Some(host)) => host.clone(),
        (Some(authority), stated) => {
            // RFC 9113 s8.3.1: a server SHOULD treat a request as malformed if they differ.
            if stated.is_some_and(|host| host.as_bytes() != authority.as_bytes()) {
                return Err(head::ambiguous("Host", "the same as :authority"));
            }
            HeaderValue::from_str(authority).map_err(|_| malformed(":authority", "a host"))?
        }
    };
    if host.as_bytes().contains(&b'@') || !names.accept(host.as_bytes()) {
        return Err(malformed(":authority", "a name of this service"));
    }
    Ok(host)
}

fn one<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(head::ambiguous(name.as_str(), "one line of it")),
    }
}

fn crumbs(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if let (Some(_), Some(_)) = (crumbs.next(), crumbs.next()) {
        let all: Vec<&[u8]> =
            headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(whole) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(header::COOKIE, whole);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use http::Request;

    use super::*;
    use crate::proxy::Hosts;
    use crate::refusal::Code;

    /// Where, with which fields, and what of it.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Code);

    fn judge(uri: &str, fields: &[(&str, &str)]) -> Result<Head, Code> {
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let names = Names::new(Hosts::Named(vec!["x".into()]), "127.0.0.1:1".parse().unwrap());
        let parts = request.body(()).unwrap().into_parts().0;
        read(parts, &names).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_head_is_what_it_would_have_been_on_http_1() {
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("content-length", "3")];
        let head = judge("http://x/v1/x?a[b]=c", &crumbs).unwrap();
        assert_eq!((&*head.target, head.length), ("/v1/x?a[b]=c", Some(3)));
        assert_eq!(head.headers.get("host").unwrap(), "x");
        let cookies: Vec<_> = head.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        assert_eq!(head.expects, Expects::Nothing);
        for fields in [&[("host", "x")][..], &[("expect", "100-continue")]] {
            assert!(judge("http://x/", fields).is_ok(), "{fields:?}");
        }
        assert!(judge("/a", &[("host", "x")]).is_ok());
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        let (m, a, large) = (Code::Malformed, Code::Ambiguous, Code::HeaderTooLarge);
        let long = "y".repeat(33 << 10);
        let table: &[Row<'_>] = &[
            ("http://x/", &[("host", "y")], a),
            ("http://x/", &[("host", "X")], a),
            ("http://x/", &[("host", "x"), ("host", "x")], a),
            ("http://y/", &[], m),
            ("http://u@x/", &[], m),
            ("/a", &[], m),
            ("ftp://x/", &[], m),
            ("http://x/", &[("content-length", "1"), ("content-length", "1")], a),
            ("http://x/", &[("content-length", "+1")], m),
            ("http://x/", &[("content-length", "01")], m),
            ("http://x/", &[("expect", "200-ok")], m),
            ("http://x/", &[("a", " b")], m),
            ("http://x/", &[("a", "b\t")], m),
            ("http://x/", &[("a", &long)], large),
            ("*", &[("host", "x")], m),
        ];
        for (uri, fields, expected) in table {
            assert_eq!(judge(uri, fields).unwrap_err(), *expected, "{uri} {fields:?}");
        }
        let many: Vec<_> = (0..101).map(|_| ("a", "b")).collect();
        assert_eq!(judge("http://x/", &many).unwrap_err(), large);
    }
}

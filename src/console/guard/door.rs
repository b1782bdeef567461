//! Was this console meant, and did a page of it send this? And what every answer says to a browser.

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::console::problem;
use crate::console::public::PublicUrl;
use crate::console::routes::Sort;

/// By which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// A listener on an address.
    Address(std::net::SocketAddr),
    /// A Unix socket: who can open it is up to the file system, and no browser can.
    Socket,
}

impl Reached {
    /// Whether the host that a request names is served here.
    ///
    /// SECURITY: a name of somebody else's that leads to a loopback address (DNS rebinding) would
    /// make their page ours to the browser. Numbers and `localhost` cannot be led anywhere.
    pub(super) fn is_meant(self, parts: &Parts, public: Option<&PublicUrl>) -> bool {
        let Self::Address(own) = self else { return true };
        let Some(host) = authority(parts) else { return false };
        let bare = host.host().trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<std::net::IpAddr>() {
            return address.is_loopback() || address == own.ip();
        }
        bare.eq_ignore_ascii_case("localhost")
            || public.is_some_and(|public| bare.eq_ignore_ascii_case(public.host()))
    }
}

/// The one host that a request names (RFC 9112 s3.2).
fn authority(parts: &Parts) -> Option<Authority> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    if hosts.next().is_some() || host.contains('@') {
        return None;
    }
    host.parse().ok()
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// From whom it is asked that a page of this console sent a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Everybody: the browser's cookie is what lets it in.
    Needed,
    /// Whoever looks like a browser: a proxy may put a token into whatever a browser sends.
    OfBrowsers,
}

/// That a change was sent by a page of this console and by no other (CSRF).
///
/// # Errors
///
/// The answer to it.
pub(super) fn sent_by_us(
    parts: &Parts,
    public: Option<&PublicUrl>,
    proof: Proof,
) -> Result<(), Response> {
    if parts.method.is_safe() {
        return Ok(());
    }
    let text = |name: &HeaderName| parts.headers.get(name).map(|v| v.to_str().unwrap_or(""));
    // Fetch Metadata (W3C): the browser's own word, which no page can set.
    let by_metadata = text(&FETCH_SITE).map(|site| site == "same-origin");
    let origin = text(&header::ORIGIN);
    // A page that sends no referrer sends `null` for its origin: only the metadata can tell then.
    let by_origin = match origin {
        Some("null") => by_metadata,
        Some(origin) => Some(is_own(origin, parts, public)),
        None => None,
    };
    let is_ours = match (by_metadata, by_origin) {
        (Some(false), _) | (_, Some(false)) => false,
        (Some(true), _) | (None, Some(true)) => true,
        (None, None) => proof == Proof::OfBrowsers && origin.is_none(),
    };
    if is_ours { Ok(()) } else { Err(problem(403, "this was not sent by a page of this console")) }
}

fn is_own(origin: &str, parts: &Parts, public: Option<&PublicUrl>) -> bool {
    let direct = authority(parts).map(|host| format!("http://{host}"));
    direct.is_some_and(|direct| direct.eq_ignore_ascii_case(origin))
        || public.is_some_and(|public| public.origin().eq_ignore_ascii_case(origin))
}

/// A person is sent to sign in, and then to where they wanted to be; anybody else gets the answer.
pub(super) fn instead(answer: Response, parts: &Parts, sort: Sort) -> Response {
    if sort != Sort::Page || answer.status() != StatusCode::UNAUTHORIZED {
        return answer;
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return see_other("/sign-in");
    }
    let said = |name: &HeaderName, what: &str| parts.headers.get(name).is_some_and(|v| v == what);
    // A link in a chat brings no SameSite=Strict cookie. Loaded once more from here it does.
    if said(&FETCH_SITE, "cross-site") && said(&FETCH_MODE, "navigate") {
        return again(target);
    }
    let next = crate::console::form::encoded(own(target));
    see_other(&format!("/sign-in?next={next}"))
}

/// A page that loads `target` of this console from this console.
pub(in crate::console) fn again(target: &str) -> Response {
    let target = crate::console::form::escaped(own(target));
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tollhouse</title>\
         <meta http-equiv=\"refresh\" content=\"0; url={target}\"></head>\
         <body><p><a href=\"{target}\">Continue</a></p></body></html>"
    );
    Html(page).into_response()
}

/// Go there and read (RFC 9110 s15.4.4).
pub(in crate::console) fn see_other(target: &str) -> Response {
    match HeaderValue::from_str(target) {
        Ok(target) => (StatusCode::SEE_OTHER, [(header::LOCATION, target)]).into_response(),
        Err(_) => problem(400, "this address cannot be gone to"),
    }
}

/// No script, style, picture or frame but our own, and nothing of it kept.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every answer of the console says.
pub(super) fn close(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is the same for everybody may say so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// An address of this console, or its first page.
///
/// SECURITY: an open redirect makes this console vouch for somebody else's page. Browsers read `\` as
/// `/`, drop tabs and line ends, and take `//` for another host.
pub(in crate::console) fn own(next: &str) -> &str {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'\\';
    let is_own = next.starts_with('/') && !next.starts_with("//") && next.bytes().all(plain);
    let loops = next.starts_with("/sign-in") || next.starts_with("/sign-out");
    if is_own && !loops && next.len() <= 1_024 { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn only_an_address_of_this_console_is_gone_to() {
        for next in ["/", "/holds", "/holds/op_a?x=1&y=%2F%2Fz#reason", "/a//b"] {
            assert_eq!(own(next), next);
        }
        for next in [
            "",
            "holds",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " /holds",
            "/ä",
            "/sign-in?next=/sign-in",
            "/sign-out",
            &format!("/{}", "a".repeat(1_024)),
        ] {
            assert_eq!(own(next), "/", "{next:?}");
        }
    }
}

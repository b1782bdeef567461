//! Where does the secret go? Into the one place that the pack names, and whatever stood there leaves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::Outgoing;
use crate::action::AuthPlace;

impl Outgoing {
    /// Puts `secret` where the vendor wants it: the last thing before sending.
    ///
    /// SECURITY: what the agent wrote in that place was its own token, which never goes upstream.
    ///
    /// # Errors
    ///
    /// When the secret cannot stand there; nothing of it is in the message.
    pub fn arm(&mut self, place: &AuthPlace, secret: &[u8]) -> Result<(), String> {
        match place {
            AuthPlace::Bearer => {
                let value = Zeroizing::new([b"Bearer ".as_slice(), secret].concat());
                self.set_secret(header::AUTHORIZATION, &value)
            }
            // RFC 7617 s2: the secret as the user, no password.
            AuthPlace::Basic => {
                let pair = Zeroizing::new([secret, b":"].concat());
                let coded = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_slice())));
                self.set_secret(header::AUTHORIZATION, coded.as_bytes())
            }
            AuthPlace::Header(name) => self.set_secret(name.clone(), secret),
            AuthPlace::Query(name) => {
                self.target = with_parameter(&self.target, name, secret);
                Ok(())
            }
        }
    }

    fn set_secret(&mut self, name: HeaderName, bytes: &[u8]) -> Result<(), String> {
        let mut value = HeaderValue::from_bytes(bytes)
            .map_err(|_| "the credential cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        self.headers.retain(|(own, _)| *own != name);
        self.headers.push((name, value));
        Ok(())
    }
}

/// The target with this one parameter of that name, at its end; all other bytes as they were.
fn with_parameter(target: &str, name: &str, secret: &[u8]) -> Box<str> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let others = query.split('&').filter(|pair| !pair.is_empty());
    let others = others.filter(|pair| {
        let own = pair.split_once('=').map_or(*pair, |(own, _)| own);
        decoded(own) != name.as_bytes()
    });
    let mut out = String::from(path);
    let mut separator = '?';
    for pair in others {
        out.push(separator);
        out.push_str(pair);
        separator = '&';
    }
    out.push(separator);
    encode(name.as_bytes(), &mut out);
    out.push('=');
    encode(secret, &mut out);
    out.into()
}

/// RFC 3986 s2.1; `+` is a space in a query.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let coded = match byte {
            b'+' => Some(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                let pair = [ahead.next().unwrap_or(0), ahead.next().unwrap_or(0)];
                let value = std::str::from_utf8(&pair).ok();
                let value = value.and_then(|pair| u8::from_str_radix(pair, 16).ok());
                if value.is_some() {
                    bytes = ahead;
                }
                value
            }
            _ => None,
        };
        out.push(coded.unwrap_or(byte));
    }
    out
}

fn encode(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(b) => out.push(char::from(*b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn armed(place: &AuthPlace, target: &str, header: Option<&'static str>) -> Outgoing {
        let token = HeaderValue::from_static("the-agents-token");
        let mut send = Outgoing {
            method: http::Method::GET,
            target: target.into(),
            headers: header
                .map(|name| (HeaderName::from_static(name), token))
                .into_iter()
                .collect(),
            body: bytes::Bytes::new(),
        };
        send.arm(place, b"sk_1").unwrap();
        send
    }

    #[test]
    fn the_secret_replaces_whatever_stood_there() {
        let key = HeaderName::from_static("x-api-key");
        for (place, name, expected) in [
            (AuthPlace::Bearer, "authorization", "Bearer sk_1"),
            (AuthPlace::Basic, "authorization", "Basic c2tfMTo="),
            (AuthPlace::Header(key), "x-api-key", "sk_1"),
        ] {
            let send = armed(&place, "/", Some(name));
            assert_eq!(send.headers.len(), 1, "{place:?}");
            let (own, value) = send.headers.first().unwrap();
            assert_eq!((own.as_str(), value.to_str().unwrap()), (name, expected));
            assert!(value.is_sensitive());
        }
    }

    #[test]
    fn no_spelling_of_the_parameter_keeps_the_agents_token() {
        let place = AuthPlace::Query("api key".into());
        for (target, expected) in [
            ("/a", "/a?api%20key=sk_1"),
            ("/a?b=1", "/a?b=1&api%20key=sk_1"),
            ("/a?api%20key=token&b[c]=%31&api+key=token&%61pi%20key", "/a?b[c]=%31&api%20key=sk_1"),
            ("/a?apikey=x&100%=y", "/a?apikey=x&100%=y&api%20key=sk_1"),
        ] {
            assert_eq!(&*armed(&place, target, None).target, expected, "{target}");
        }
    }

    #[test]
    fn what_no_header_can_carry_is_refused_without_being_told() {
        let mut send = armed(&AuthPlace::Bearer, "/", None);
        let fault = send.arm(&AuthPlace::Bearer, b"sk\r\nx: 1").unwrap_err();
        assert!(!fault.contains("sk"), "{fault}");
    }
}

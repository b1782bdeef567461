//! What does a form say? `application/x-www-form-urlencoded` as browsers write it, and how a text gets
//! back into an address or a page.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::{Console, problem};

/// BOUND: a page has 50 rows to tick, an id is 55 characters; a reason is 2,000.
const BYTES_MAX: usize = 64 << 10;
/// BOUND: as above.
const FIELDS_MAX: usize = 256;

/// The fields of a form, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body of a form, or the query of an address.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let pairs = bytes.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
        let fields = pairs.map(|pair| {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let mut half = || decoded(halves.next().unwrap_or_default());
            Ok((half()?, half()?))
        });
        // BOUND: one more than may be, so that too many show.
        let fields: Result<Vec<_>, String> = fields.take(FIELDS_MAX.saturating_add(1)).collect();
        let fields = fields?;
        if fields.len() > FIELDS_MAX {
            return Err("the form has too many fields".into());
        }
        Ok(Self(fields))
    }

    /// The field of that name; `None` when it is not there, or more than once.
    pub fn one(&self, name: &str) -> Option<&str> {
        let mut own = self.0.iter().filter(|(own, _)| own == name).map(|(_, text)| text.as_str());
        let one = own.next();
        one.filter(|_| own.next().is_none())
    }

    /// Every field of that name.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, text)| text.as_str())
    }

    /// Whether a body says that it is one.
    pub(super) fn is_said(headers: &HeaderMap) -> bool {
        let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let sort = said.and_then(|said| said.split(';').next()).unwrap_or_default();
        sort.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    /// The body of one, whole.
    pub(super) async fn bytes(body: Body) -> Result<Bytes, Response> {
        axum::body::to_bytes(body, BYTES_MAX)
            .await
            .map_err(|_| problem(413, "the form is too large"))
    }
}

impl FromRequest<Arc<Console>> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Arc<Console>) -> Result<Self, Response> {
        if !Self::is_said(request.headers()) {
            return Err(problem(415, "expected a form"));
        }
        let bytes = Self::bytes(request.into_body()).await?;
        Self::read(&bytes).map_err(|why| problem(400, &why))
    }
}

fn decoded(text: &[u8]) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let whole = high.zip(low).map(|(high, low)| (high << 4) | low);
                let whole = whole.and_then(|whole| u8::try_from(whole).ok());
                whole.ok_or("a field is not percent-encoded as it should be")?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a field is not UTF-8".to_owned())
}

/// A text as a value in an address.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A text as text or attribute of a page.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn a_form_reads_as_browsers_write_it() {
        let form = Form::read(b"csrf=a%2Bb&reason=so+it%20is&op=1&op=2&empty=&bare").unwrap();
        assert_eq!((form.one("csrf"), form.one("reason")), (Some("a+b"), Some("so it is")));
        assert_eq!((form.one("op"), form.one("empty"), form.one("none")), (None, Some(""), None));
        assert_eq!(form.all("op").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.one("bare"), Some(""));
        assert_eq!(Form::read(b"").unwrap().one("a"), None);
        for odd in [&b"a=%2"[..], b"a=%zz", b"a=%ff", b"%=1"] {
            assert!(Form::read(odd).is_err(), "{odd:?}");
        }
        assert!(Form::read("a=1&".repeat(257).as_bytes()).is_err());
        assert!(Form::read("a=1&".repeat(256).as_bytes()).is_ok());
    }

    #[test]
    fn a_text_comes_back_as_it_was() {
        for text in ["/v1?a=b&c=\"d\"", "é <script>'", ""] {
            let field = format!("a={}", encoded(text));
            assert_eq!(Form::read(field.as_bytes()).unwrap().one("a"), Some(text));
        }
        assert_eq!(escaped("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}

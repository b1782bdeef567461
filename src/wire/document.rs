//! Is an upstream's answer one whole JSON document, which every reader reads alike?

use http::header::{self, HeaderMap};
use smallvec::SmallVec;

use crate::value::Value;

/// The values of an answer that says once that it is JSON, is not coded and is not a part of one.
///
/// # Errors
///
/// Why it cannot be judged, for operators.
pub fn document(headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    is_one(headers)?;
    super::answer(body)
}

/// As [`document`], with only what stands at `places`; all else is held to the grammar and forgotten.
///
/// # Errors
///
/// As there.
pub fn outline_of<'p>(
    headers: &HeaderMap,
    body: &[u8],
    places: impl IntoIterator<Item = &'p [Box<str>]>,
) -> Result<Value, String> {
    is_one(headers)?;
    let ways: SmallVec<[&[Box<str>]; 4]> = places.into_iter().collect();
    super::outline(body, &ways)
}

/// Whether the head says once that it is JSON, all of it and not coded.
fn is_one(headers: &HeaderMap) -> Result<(), String> {
    let coded = headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity");
    if coded {
        return Err("the answer is coded".into());
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err("the answer is a part of one".into());
    }
    if !is_json(headers) {
        return Err("the answer does not say once that it is JSON in UTF-8".into());
    }
    Ok(())
}

/// RFC 8259 s11, RFC 6839 s3.1; UTF-8 or no charset.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or("");
    let json = essence.eq_ignore_ascii_case("application/json") || {
        let essence = essence.to_ascii_lowercase();
        essence.starts_with("application/") && essence.ends_with("+json")
    };
    let utf8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    json && utf8
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[(&'static str, &'static str)], body: &str) -> Result<Value, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        document(&headers, body.as_bytes())
    }

    #[test]
    fn one_way_to_read_it() {
        let typed = ("content-type", "application/json");
        for fine in
            ["application/json", "Application/JSON; Charset=\"UTF-8\"", "application/x+json"]
        {
            assert!(read(&[("content-type", fine)], "{}").is_ok(), "{fine}");
        }
        assert!(read(&[typed, ("content-encoding", "identity")], "{}").is_ok());
        for lines in [
            &[][..],
            &[("content-type", "text/html")],
            &[("content-type", "text/json")],
            &[("content-type", "application/json; charset=utf-16")],
            &[("content-type", "application/jsonp")],
            &[typed, typed],
            &[typed, ("content-encoding", "gzip")],
            &[typed, ("content-encoding", "identity"), ("content-encoding", "br")],
            &[typed, ("content-range", "bytes 0-9/10")],
        ] {
            read(lines, "{}").unwrap_err();
        }
        for body in ["", "{} {}", "{", "{\"a\":1,\"a\":1}", "\u{feff}{}"] {
            assert!(read(&[typed], body).is_err(), "{body}");
        }
    }
}

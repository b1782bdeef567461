//! What does the agent say about its call? Our own context headers, each bounded.
//!
//! Nothing here is trusted to widen anything, and none of it goes upstream but the trace context.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use super::{Flaw, Sort, in_header, one};
use crate::bounds::{CONTEXT_BYTES_MAX, HOLD_WAIT_MAX};
use crate::call::Context;
use crate::money::Decimal;
use crate::refusal::Refusal;

/// Reads the context headers.
///
/// # Errors
///
/// `ambiguous` for one that is sent twice, `malformed` for one that breaks its grammar,
/// `header_too_large` for one above its bound. A `traceparent` that is not valid is ignored, as W3C
/// trace context asks.
pub fn context(headers: &HeaderMap) -> Result<Context, Refusal> {
    // Most reads say nothing of themselves, and looking for each name costs more than looking at all.
    if !headers.keys().any(is_context) {
        return Ok(Context::default());
    }
    let mut context = Context {
        key: read(headers, "idempotency-key", visible)?,
        case: read(headers, "tollhouse-case", visible)?,
        confidence: read(headers, "tollhouse-confidence", confidence)?,
        model: read(headers, "tollhouse-model", visible)?,
        reason: read(headers, "tollhouse-reason", sentence)?,
        intent: read(headers, "tollhouse-intent", intent)?,
        trace_id: headers.get("traceparent").and_then(|value| trace_id(value.as_bytes())),
        ..Context::default()
    };
    prefer(headers, &mut context)?;
    Ok(context)
}

/// Whether it is one of the headers that are read here; it may say yes to others.
fn is_context(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "idempotency-key" | "prefer" | "traceparent") || name.starts_with("tollhouse-")
}

fn read<T>(
    headers: &HeaderMap,
    name: &'static str,
    meaning: impl Fn(&[u8]) -> Result<T, &'static str>,
) -> Result<Option<T>, Refusal> {
    let name = HeaderName::from_static(name);
    let Some(value) = one(headers, &name).map_err(|flaw| in_header(&name, &flaw))? else {
        return Ok(None);
    };
    if value.len() > CONTEXT_BYTES_MAX {
        let expected = format!("expected at most {CONTEXT_BYTES_MAX} bytes");
        return Err(in_header(&name, &Flaw::new(Sort::HeaderTooLarge, expected)));
    }
    meaning(value.as_bytes()).map(Some).map_err(|what| in_header(&name, &Flaw::malformed(what)))
}

fn visible(bytes: &[u8]) -> Result<Box<str>, &'static str> {
    let ascii = bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    if !ascii || bytes.is_empty() {
        return Err("expected printable ASCII");
    }
    std::str::from_utf8(bytes).map(Into::into).map_err(|_| "expected printable ASCII")
}

/// A person will read it, in any language.
fn sentence(bytes: &[u8]) -> Result<Box<str>, &'static str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(text.into()),
        Ok(_) | Err(_) => Err("expected a text in UTF-8"),
    }
}

/// 0 to 1 as per mille; what is finer is refused, not rounded.
fn confidence(bytes: &[u8]) -> Result<u16, &'static str> {
    const EXPECTED: &str = "expected a decimal from 0 to 1 with at most three digits, as `0.85`";
    let plain = bytes.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    let text = std::str::from_utf8(bytes).map_err(|_| EXPECTED)?;
    let decimal = Decimal::parse(text).map_err(|_| EXPECTED)?;
    match decimal.to_minor(3).map(u16::try_from) {
        Some(Ok(per_mille)) if plain && per_mille <= 1000 => Ok(per_mille),
        _ => Err(EXPECTED),
    }
}

fn intent(bytes: &[u8]) -> Result<u32, &'static str> {
    number(bytes).ok_or("expected a whole number")
}

/// Digits only, one spelling a number.
fn number(bytes: &[u8]) -> Option<u32> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    let leading_zero = bytes.len() > 1 && bytes.starts_with(b"0");
    if !digits || leading_zero {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// RFC 7240 s2: unknown preferences are ignored, of equal ones the first counts.
fn prefer(headers: &HeaderMap, context: &mut Context) -> Result<(), Refusal> {
    let name = HeaderName::from_static("prefer");
    let refuse = |code, what: &'static str| Err(in_header(&name, &Flaw::new(code, what)));
    for value in headers.get_all(&name) {
        if value.len() > CONTEXT_BYTES_MAX {
            return refuse(Sort::HeaderTooLarge, "expected at most 512 bytes");
        }
        let Ok(text) = value.to_str() else {
            return refuse(Sort::Malformed, "expected ASCII");
        };
        for preference in text.split(',') {
            let own = preference.split(';').next().unwrap_or("").trim();
            let (word, argument) = own.split_once('=').unwrap_or((own, ""));
            let word = word.trim_end();
            if word.eq_ignore_ascii_case("respond-async") {
                context.respond_async = true;
            } else if word.eq_ignore_ascii_case("wait") && context.wait.is_none() {
                let argument = argument.trim_start();
                let bare = argument.strip_prefix('"').and_then(|a| a.strip_suffix('"'));
                let Some(seconds) = number(bare.unwrap_or(argument).as_bytes()) else {
                    return refuse(Sort::Malformed, "expected seconds, as `wait=30`");
                };
                context.wait = Some(Duration::from_secs(seconds.into()).min(HOLD_WAIT_MAX));
            }
        }
    }
    Ok(())
}

/// The trace id of a `traceparent` (W3C trace context, level 1, s3.2).
fn trace_id(bytes: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut fields = text.split('-');
    let mut field = |length: usize| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        fields.next().filter(|field| field.len() == length && field.bytes().all(hex))
    };
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let zero = |field: &str| field.bytes().all(|b| b == b'0');
    // Version 00 has four fields; a later one may have more; ff is forbidden.
    let whole = version != "00" || text.len() == 55;
    let valid = version != "ff" && whole && !zero(trace) && !zero(parent);
    valid.then(|| trace.into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::refusal::Code;
    use http::HeaderValue;

    fn of(headers: &[(&'static str, &[u8])]) -> Result<Context, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        context(&map)
    }

    #[test]
    fn every_header_is_read() {
        assert_eq!(of(&[]), Ok(Context::default()));
        let read = of(&[
            ("idempotency-key", b"\"8e03978e\""),
            ("tollhouse-case", b"T-1 2"),
            ("tollhouse-confidence", b"0.85"),
            ("tollhouse-model", b"m-1"),
            ("tollhouse-reason", "zerbrochen: ü".as_bytes()),
            ("tollhouse-intent", b"2"),
            ("prefer", b"handling=lenient, Wait=5;x=1 , respond-async"),
            ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]);
        let expected = Context {
            key: Some("\"8e03978e\"".into()),
            case: Some("T-1 2".into()),
            confidence: Some(850),
            model: Some("m-1".into()),
            reason: Some("zerbrochen: ü".into()),
            intent: Some(2),
            wait: Some(Duration::from_secs(5)),
            respond_async: true,
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn confidence_is_exact_to_the_per_mille() {
        let table = [
            ("0", 0),
            ("0.0", 0),
            ("1", 1000),
            ("1.000", 1000),
            ("0.5", 500),
            ("0.001", 1),
            ("0.9990000", 999),
        ];
        for (text, per_mille) in table {
            let read = of(&[("tollhouse-confidence", text.as_bytes())]).unwrap();
            assert_eq!(read.confidence, Some(per_mille), "{text}");
        }
        for text in [
            "", "1.001", "0.8555", "2", "-0", "-1", "+0.5", "5e-1", ".5", "1.", "00.5", "NaN",
            "85%",
        ] {
            let refusal = of(&[("tollhouse-confidence", text.as_bytes())]).expect_err(text);
            assert_eq!(refusal.code, Code::Malformed);
            assert!(refusal.detail.starts_with("header Tollhouse-Confidence: "));
        }
    }

    #[test]
    fn what_breaks_its_grammar_is_refused() {
        let long = [b'a'; CONTEXT_BYTES_MAX + 1];
        let table: &[(&'static str, &[u8], Code, &str)] = &[
            ("idempotency-key", b"", Code::Malformed, "header Idempotency-Key: "),
            ("idempotency-key", b"a\tb", Code::Malformed, "header Idempotency-Key: "),
            ("idempotency-key", "ü".as_bytes(), Code::Malformed, "header Idempotency-Key: "),
            ("idempotency-key", &long, Code::HeaderTooLarge, "The header Idempotency-Key is"),
            ("tollhouse-reason", b"\xFC", Code::Malformed, "header Tollhouse-Reason: "),
            ("tollhouse-reason", "\u{85}".as_bytes(), Code::Malformed, "header Tollhouse-Reason: "),
            ("tollhouse-reason", b"", Code::Malformed, "header Tollhouse-Reason: "),
            ("tollhouse-case", "\u{202e}".as_bytes(), Code::Malformed, "header Tollhouse-Case: "),
            ("tollhouse-intent", b"-1", Code::Malformed, "header Tollhouse-Intent: "),
            ("tollhouse-intent", b"01", Code::Malformed, "header Tollhouse-Intent: "),
            ("tollhouse-intent", b"4294967296", Code::Malformed, "header Tollhouse-Intent: "),
            ("prefer", b"wait", Code::Malformed, "header Prefer: "),
            ("prefer", b"wait=1.5", Code::Malformed, "header Prefer: "),
            ("prefer", b"wait=-1", Code::Malformed, "header Prefer: "),
            ("prefer", &long, Code::HeaderTooLarge, "The header Prefer is"),
        ];
        for (name, value, code, start) in table {
            let refusal = of(&[(name, value)]).expect_err(name);
            assert!(refusal.code == *code && refusal.detail.starts_with(start), "{refusal:?}");
        }
        let twice = of(&[("tollhouse-case", b"a"), ("tollhouse-case", b"a")]).unwrap_err();
        assert_eq!(twice.code, Code::Ambiguous);
    }

    #[test]
    fn a_wait_is_bounded_and_the_first_counts() {
        let table = [("wait=0", 0), ("wait = \"7\"", 7), ("wait=9999", 60), ("wait=1, wait=2", 1)];
        for (text, seconds) in table {
            let read = of(&[("prefer", text.as_bytes())]).unwrap();
            assert_eq!(
                (read.wait, read.respond_async),
                (Some(Duration::from_secs(seconds)), false)
            );
        }
        let lines = of(&[("prefer", b"respond-async"), ("prefer", b"wait=3")]).unwrap();
        assert_eq!((lines.wait, lines.respond_async), (Some(Duration::from_secs(3)), true));
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let table = [
            (format!("00-{trace}-00f067aa0ba902b7-01"), true),
            (format!("cc-{trace}-00f067aa0ba902b7-01-later"), true),
            (format!("00-{trace}-00f067aa0ba902b7-01-later"), false),
            (format!("ff-{trace}-00f067aa0ba902b7-01"), false),
            (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (format!("00-{trace}-0000000000000000-01"), false),
            (format!("00-{trace}-00f067aa0ba902b7"), false),
            (format!("00-{trace}-00f067aa0ba902b7-1"), false),
            ("x".into(), false),
        ];
        for (text, valid) in table {
            let read = of(&[("traceparent", text.as_bytes())]).unwrap();
            assert_eq!(read.trace_id.as_deref(), valid.then_some(trace), "{text}");
        }
    }
}

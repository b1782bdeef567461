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

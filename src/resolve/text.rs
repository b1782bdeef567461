//! How is a value written where people read it, and where a URL carries it?

use crate::action::{Piece, Source, Template};
use crate::call::Resource;
use crate::money::Money;
use crate::value::Value;

use super::{Scope, values};

/// BOUND: one value in a line for people. An id has some 30 characters; more hides what follows.
const VALUE_CHARS_MAX: usize = 64;

/// The line for people. What is not known is `?`.
pub(super) fn summary(
    scope: &Scope<'_>,
    amount: Option<Money>,
    resource: Option<&Resource>,
) -> String {
    let mut line = String::new();
    let action = &scope.call.action;
    for piece in &action.summary.0 {
        match piece {
            Piece::Text(text) => line.push_str(text),
            Piece::Name(_) => match amount {
                Some(money) => line.push_str(&money.to_string()),
                None => line.push('?'),
            },
            Piece::Source(source) => line.push_str(&shown(source, scope)),
        }
    }
    // A pack that has no line for an action: its name must do, and what it acts on.
    if let ([Piece::Text(text)], Some(resource)) = (action.summary.0.as_slice(), resource)
        && **text == *action.name
    {
        let id = plain(&resource.id, VALUE_CHARS_MAX);
        line.push_str(&format!(" of {} {id}", resource.kind));
    }
    line
}

fn shown(source: &Source, scope: &Scope<'_>) -> String {
    let words = |value: &Value| match value {
        Value::Text(text) => Some(plain(text, VALUE_CHARS_MAX)),
        Value::Number(number) => Some(plain(&number.to_string(), VALUE_CHARS_MAX)),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    };
    let shown = match values(source, scope).as_slice() {
        [one] => words(one),
        _ => None,
    };
    shown.filter(|text| !text.is_empty()).unwrap_or_else(|| "?".into())
}

/// `text` on one line, without what people cannot see, at most `chars` characters.
///
/// SECURITY: an agent's text stands in front of a person who decides: no terminal sequences, no text
/// that runs backwards, nothing of zero width that hides or joins words.
pub fn plain(text: &str, chars: usize) -> String {
    let seen = |c: char| !c.is_control() && !is_invisible(c);
    let line = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| seen(*c));
    let mut cut: String = line.clone().take(chars).collect();
    if line.clone().nth(chars).is_some() {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// Unicode 16 Default_Ignorable_Code_Point and Bidi_Control (UAX #9, UAX #44), and the fillers.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0x00AD | 0x034F | 0x061C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F
        | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
        | 0xE0000..=0xE0FFF)
}

/// A template with its values percent-encoded.
pub(super) fn fill(
    template: &Template,
    mut value: impl FnMut(&Source) -> Option<Box<str>>,
) -> Option<String> {
    let mut out = String::new();
    for piece in &template.0 {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Source(source) => out.push_str(&encoded(&value(source)?)),
            Piece::Name(_) => return None,
        }
    }
    Some(out)
}

/// A value as a path or query carries it: RFC 3986 s2.3, all but the unreserved percent-encoded.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

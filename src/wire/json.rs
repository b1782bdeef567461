//! What does this JSON say? RFC 8259, read one way only, into exact values.
//!
//! Never a float, never the last of two equal names, never half a surrogate pair. A byte order
//! mark, a second document, a comment are refused like any other stray byte.

use std::borrow::Cow;

use super::{Flaw, repeated, twin};
use crate::bounds::{ANSWER_DEPTH_MAX, ANSWER_VALUES_MAX, DEPTH_MAX, VALUES_MAX};
use crate::money::{Decimal, DecimalError};
use crate::value::Value;

/// How much is read, and which names are the same.
#[derive(Debug)]
pub struct Bounds {
    /// Arrays and objects inside each other.
    depth: usize,
    /// Values of any kind.
    values: usize,
    /// Who wrote it.
    author: Author,
}

#[derive(Debug)]
enum Author {
    /// An agent: what any upstream could misread is refused.
    Agent,
    /// An upstream: data of its other clients is in it, so case variants of a name and NUL are its
    /// own affair.
    Upstream,
}

/// A request's body.
pub const REQUEST: Bounds = Bounds { depth: DEPTH_MAX, values: VALUES_MAX, author: Author::Agent };
/// An upstream's answer.
pub const ANSWER: Bounds =
    Bounds { depth: ANSWER_DEPTH_MAX, values: ANSWER_VALUES_MAX, author: Author::Upstream };

/// Reads one document.
pub fn read(bytes: &[u8], bounds: &Bounds) -> Result<Value, Flaw> {
    // SECURITY: RFC 8259 s8.1 lets a reader skip the mark or stumble over it.
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Err(Flaw::malformed("expected no byte order mark"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::malformed("expected UTF-8"))?;
    let mut reader = Reader { text, at: 0, left: bounds.values, bounds };
    reader.blank();
    let value = reader.value(0)?;
    reader.blank();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.expected("nothing behind the document")),
    }
}

struct Reader<'t, 'b> {
    text: &'t str,
    at: usize,
    left: usize,
    bounds: &'b Bounds,
}

impl<'t> Reader<'t, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    /// Takes `byte` if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        if next {
            self.skip(1);
        }
        next
    }

    // RFC 8259 s2: four blanks, no others.
    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.skip(1);
        }
    }

    fn expected(&self, what: &str) -> Flaw {
        Flaw::malformed(format!("expected {what} at byte {}", self.at))
    }

    /// One value, `depth` containers deep. Recursion ends at the bound.
    fn value(&mut self, depth: usize) -> Result<Value, Flaw> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Flaw::too_large(format!("expected at most {} values", self.bounds.values))
        })?;
        match self.peek() {
            Some(b'"') => self.string().map(|text| Value::Text(text.into())),
            Some(b'{') => self.object(self.deeper(depth)?),
            Some(b'[') => self.array(self.deeper(depth)?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.expected("a JSON value")),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, Flaw> {
        let inner = depth.saturating_add(1);
        if inner > self.bounds.depth {
            let expected = format!("expected at most {} levels", self.bounds.depth);
            return Err(Flaw::too_large(expected));
        }
        Ok(inner)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Flaw> {
        let there = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if !there {
            return Err(self.expected("a JSON value"));
        }
        self.skip(word.len());
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Result<Value, Flaw> {
        self.skip(1);
        let mut items = Vec::new();
        self.blank();
        if self.takes(b']') {
            return Ok(Value::List(items));
        }
        loop {
            self.blank();
            let item = self
                .value(depth)
                .map_err(|flaw| flaw.within(itoa::Buffer::new().format(items.len())))?;
            items.push(item);
            self.blank();
            if self.takes(b']') {
                return Ok(Value::List(items));
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Flaw> {
        self.skip(1);
        let mut members: Vec<(Box<str>, Value)> = Vec::new();
        self.blank();
        if self.takes(b'}') {
            return Ok(Value::Map(members));
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a name in double quotes"));
            }
            let name: Box<str> = self.string()?.into();
            self.blank();
            if !self.takes(b':') {
                return Err(self.expected("`:`").within(&name));
            }
            self.blank();
            let value = match self.value(depth) {
                Ok(value) => value,
                Err(flaw) => return Err(flaw.within(&name)),
            };
            members.push((name, value));
            self.blank();
            if self.takes(b'}') {
                return self.once_each(members);
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    // SECURITY: CVE-2021-43557's kin; the first of two equal names is judged, the last is acted on.
    fn once_each(&self, members: Vec<(Box<str>, Value)>) -> Result<Value, Flaw> {
        let names = members.iter().map(|(name, _)| &**name);
        let again = match self.bounds.author {
            Author::Agent => twin(names),
            Author::Upstream => repeated(names),
        };
        match again {
            Some(name) => {
                Err(Flaw::ambiguous("expected the name once, in one letter case").within(name))
            }
            None => Ok(Value::Map(members)),
        }
    }

    fn number(&mut self) -> Result<Value, Flaw> {
        let start = self.at;
        while let Some(b'+' | b'-' | b'.' | b'0'..=b'9' | b'e' | b'E') = self.peek() {
            self.skip(1);
        }
        let text = self.text.get(start..self.at).unwrap_or("");
        let decimal = match short_integer(text) {
            Some(integer) => Decimal { mantissa: integer.into(), scale: 0 },
            None => Decimal::parse(text).map_err(|error| match error {
                DecimalError::Syntax => {
                    Flaw::malformed(format!("expected a number at byte {start}"))
                }
                DecimalError::Size => Flaw::malformed("expected a number of at most 34 digits"),
            })?,
        };
        Ok(Value::Number(decimal))
    }

    fn string(&mut self) -> Result<Cow<'t, str>, Flaw> {
        self.skip(1);
        let mut whole: Cow<'t, str> = Cow::Borrowed("");
        loop {
            let start = self.at;
            let rest = self.text.as_bytes().get(start..).unwrap_or(&[]);
            let run = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1F));
            self.skip(run.unwrap_or(rest.len()));
            let plain = self.text.get(start..self.at).unwrap_or("");
            if whole.is_empty() {
                whole = Cow::Borrowed(plain);
            } else {
                whole.to_mut().push_str(plain);
            }
            match self.peek() {
                Some(b'"') => {
                    self.skip(1);
                    return Ok(whole);
                }
                Some(b'\\') => {
                    self.skip(1);
                    let escaped = self.escape()?;
                    whole.to_mut().push(escaped);
                }
                // RFC 8259 s7: control characters must be escaped.
                Some(_) => return Err(self.expected("an escaped control character")),
                None => return Err(self.expected("`\"`")),
            }
        }
    }

    /// One escape, its backslash taken.
    fn escape(&mut self) -> Result<char, Flaw> {
        let letter = self.peek();
        self.skip(1);
        match letter {
            Some(b'"') => Ok('"'),
            Some(b'\\') => Ok('\\'),
            Some(b'/') => Ok('/'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{C}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self.code_point(),
            _ => Err(self.expected("one of the escapes of RFC 8259 before")),
        }
    }

    fn code_point(&mut self) -> Result<char, Flaw> {
        let unit = self.code_unit()?;
        let code = match unit {
            // SECURITY: readers written in C end a text there.
            0 if matches!(self.bounds.author, Author::Agent) => {
                return Err(Flaw::ambiguous("expected no NUL"));
            }
            0xD800..=0xDBFF if self.takes(b'\\') && self.takes(b'u') => {
                let low = self.code_unit()?;
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(self.expected("a whole surrogate pair before"));
                }
                0x1_0000_u32.saturating_add(((unit & 0x3FF) << 10) | (low & 0x3FF))
            }
            0xD800..=0xDFFF => return Err(self.expected("a whole surrogate pair before")),
            _ => unit,
        };
        char::from_u32(code).ok_or_else(|| self.expected("a character before"))
    }

    fn code_unit(&mut self) -> Result<u32, Flaw> {
        let digits = self.text.as_bytes().get(self.at..self.at.saturating_add(4)).unwrap_or(&[]);
        let mut unit = 0_u32;
        for digit in digits {
            let value = char::from(*digit).to_digit(16);
            unit = (unit << 4) | value.ok_or_else(|| self.expected("four hexadecimal digits"))?;
        }
        if digits.len() < 4 {
            return Err(self.expected("four hexadecimal digits"));
        }
        self.skip(4);
        Ok(unit)
    }
}

/// The usual number, without the way through an exact decimal. `None` for every other spelling.
fn short_integer(text: &str) -> Option<i64> {
    // BOUND: 18 digits always fit an `i64`.
    let plain = text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if plain && !leading_zero { text.parse().ok() } else { None }
}

//! What does this JSON say? RFC 8259, read one way only, into exact values.
//!
//! Never a float, never the last of two equal names, never half a surrogate pair. A byte order
//! mark, a second document, a comment are refused like any other stray byte.

mod outline;

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
    document(bytes, bounds, |reader| reader.value(0))
}

/// Reads one document as [`read`] does, and keeps what stands where `ways` lead: the steps to a place
/// each, `*` for every item or member.
pub fn outline(bytes: &[u8], bounds: &Bounds, ways: &[&[Box<str>]]) -> Result<Value, Flaw> {
    document(bytes, bounds, |reader| {
        // BOUND: the names of a usual object and of those inside it.
        reader.names.reserve(64);
        reader.outline(0, ways)
    })
}

fn document<'t>(
    bytes: &'t [u8],
    bounds: &Bounds,
    value: impl FnOnce(&mut Reader<'t, '_>) -> Result<Value, Flaw>,
) -> Result<Value, Flaw> {
    // SECURITY: RFC 8259 s8.1 lets a reader skip the mark or stumble over it.
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Err(Flaw::malformed("expected no byte order mark"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::malformed("expected UTF-8"))?;
    let mut reader = Reader { text, at: 0, left: bounds.values, bounds, names: Vec::new() };
    reader.blank();
    let value = value(&mut reader)?;
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
    /// Of the objects that an outline is inside of.
    names: Vec<Cow<'t, str>>,
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
        self.count()?;
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

    fn count(&mut self) -> Result<(), Flaw> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Flaw::too_large(format!("expected at most {} values", self.bounds.values))
        })?;
        Ok(())
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
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or(&[]);
        let run = plain_run(rest);
        // Nearly every string is one run.
        if rest.get(run) == Some(&b'"') {
            self.skip(run.saturating_add(1));
            let end = start.saturating_add(run);
            return Ok(Cow::Borrowed(self.text.get(start..end).unwrap_or("")));
        }
        self.string_in_pieces()
    }

    fn string_in_pieces(&mut self) -> Result<Cow<'t, str>, Flaw> {
        let mut whole: Cow<'t, str> = Cow::Borrowed("");
        loop {
            let start = self.at;
            self.skip(plain_run(self.text.as_bytes().get(start..).unwrap_or(&[])));
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

/// How many bytes come before a quote, a backslash or a control character. Eight at a time: most
/// strings of an answer are longer.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    // The lowest high bit that is set marks the first byte below `bound`; later ones may be wrong.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES.wrapping_mul(bound)) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut run = 0_usize;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ ONES.wrapping_mul(u64::from(b'"')), 1);
        let slash = below(word ^ ONES.wrapping_mul(u64::from(b'\\')), 1);
        let found = quote | slash | below(word, 0x20);
        if found != 0 {
            let ahead = usize::try_from(found.trailing_zeros() / 8).unwrap_or_default();
            return run.saturating_add(ahead);
        }
        run = run.saturating_add(8);
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1F);
    run.saturating_add(rest.iter().position(ends).unwrap_or(rest.len()))
}

/// The usual number, without the way through an exact decimal. `None` for every other spelling.
fn short_integer(text: &str) -> Option<i64> {
    // BOUND: 18 digits always fit an `i64`.
    let plain = text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if plain && !leading_zero { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]
    use super::super::Sort::{Ambiguous, Malformed, TooLarge};
    use super::*;

    fn text(s: &str) -> Value {
        Value::Text(s.into())
    }

    fn number(mantissa: i128, scale: u32) -> Value {
        Value::Number(Decimal { mantissa, scale })
    }

    #[test]
    fn a_run_ends_before_what_ends_it() {
        for end in [b'"', b'\\', 0, 0x1F, b'\n'] {
            for at in 0..40 {
                for plain in [b' ', b'!', b'#', b'[', b']', 0x7F, 0x80, 0xA2, 0xDC, 0xFF] {
                    let mut bytes = [plain; 40];
                    assert_eq!(plain_run(&bytes), 40);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = end;
                    }
                    assert_eq!(plain_run(&bytes), at, "{end} at {at} behind {plain}");
                }
            }
        }
    }

    #[test]
    fn what_is_accepted_means_this() {
        let map = |members: &[(&str, Value)]| {
            Value::Map(
                members.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
            )
        };
        let table: &[(&str, Value)] = &[
            ("null", Value::Null),
            (" true\t", Value::Bool(true)),
            ("\r\nfalse\n", Value::Bool(false)),
            ("{}", map(&[])),
            ("[]", Value::List(vec![])),
            ("[ 1 , [ ] ]", Value::List(vec![number(1, 0), Value::List(vec![])])),
            (r#""""#, text("")),
            (r#"{"\u0061mount":5}"#, map(&[("amount", number(5, 0))])),
            (
                r#"{"b":1,"a":{"b":""}}"#,
                map(&[("b", number(1, 0)), ("a", map(&[("b", text(""))]))]),
            ),
            (r#""\"\\\/\b\f\n\r\t""#, text("\"\\/\u{8}\u{c}\n\r\t")),
            (r#""a\u00e9b\ud83d\ude00c""#, text("aéb😀c")),
            // Plane 2 and the last plane: the halves are added, not or-ed.
            (r#""\ud840\udc00\uDBFF\uDFFF""#, text("\u{20000}\u{10FFFF}")),
            ("\"é😀\u{7f}\u{2028}\"", text("é😀\u{7f}\u{2028}")),
            ("0", number(0, 0)),
            ("-0", number(0, 0)),
            ("-0.0e7", number(0, 0)),
            ("100.0", number(100, 0)),
            ("1e5", number(100_000, 0)),
            ("1E+2", number(100, 0)),
            ("100e-2", number(1, 0)),
            ("12.50", number(125, 1)),
            ("-7", number(-7, 0)),
            ("9007199254740993", number(9_007_199_254_740_993, 0)),
            ("999999999999999999", number(999_999_999_999_999_999, 0)),
            ("9223372036854775808", number(9_223_372_036_854_775_808, 0)),
            ("9999999999999999999999999999999999", number(10_i128.pow(34) - 1, 0)),
            ("1e33", number(10_i128.pow(33), 0)),
            ("1e-34", number(1, 34)),
        ];
        for (json, value) in table {
            assert_eq!(read(json.as_bytes(), &REQUEST).as_ref(), Ok(value), "{json}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, one row a text")]
    fn what_is_refused_is_refused_with_its_place() {
        let table: &[(&[u8], super::super::Sort, &str)] = &[
            (b"", Malformed, "body"),
            (b"  ", Malformed, "body"),
            (b"\xEF\xBB\xBF{}", Malformed, "body"),
            (b"\xFF\xFE{\0}\0", Malformed, "body"),
            (b"{\0}\0", Malformed, "body"),
            (b"\"\xC0\xAF\"", Malformed, "body"),
            (b"\"\xED\xA0\x80\"", Malformed, "body"),
            (b"\xC2\xA0{}", Malformed, "body"),
            (b"{}{}", Malformed, "body"),
            (b"{} null", Malformed, "body"),
            (b"{}//", Malformed, "body"),
            (b"/**/{}", Malformed, "body"),
            (b"{}\0", Malformed, "body"),
            (b"{'a':1}", Malformed, "body"),
            (b"{a:1}", Malformed, "body"),
            (b"{\"a\":1,}", Malformed, "body"),
            (b"{\"a\" 1}", Malformed, "/a"),
            (b"{\"a\":}", Malformed, "/a"),
            (b"{\"a\"}", Malformed, "/a"),
            (b"{\"a\":1", Malformed, "body"),
            (b"{,}", Malformed, "body"),
            (b"[1,]", Malformed, "/1"),
            (b"[,1]", Malformed, "/0"),
            (b"[1 2]", Malformed, "body"),
            (b"[", Malformed, "/0"),
            (b"]", Malformed, "body"),
            (b"[1}", Malformed, "body"),
            (b"\"", Malformed, "body"),
            (b"\"a\nb\"", Malformed, "body"),
            (b"\"a\x00b\"", Malformed, "body"),
            (b"\"a\x1fb\"", Malformed, "body"),
            (b"\"\\u123", Malformed, "body"),
            (b"\"\\", Malformed, "body"),
            (b"\"\\a\"", Malformed, "body"),
            (b"\"\\x41\"", Malformed, "body"),
            (b"\"\\u12\"", Malformed, "body"),
            (b"\"\\u00g0\"", Malformed, "body"),
            (b"\"\\u+041\"", Malformed, "body"),
            (b"\"\\ud800\"", Malformed, "body"),
            (b"\"\\udc00\"", Malformed, "body"),
            (b"\"\\ud800\\n\"", Malformed, "body"),
            (b"\"\\ud800\\ud800\"", Malformed, "body"),
            (b"\"\\ud800x\"", Malformed, "body"),
            (b"\"\\u0000\"", Ambiguous, "body"),
            (b"{\"a\\u0000\":1}", Ambiguous, "body"),
            (b"True", Malformed, "body"),
            (b"nul", Malformed, "body"),
            (b"nullx", Malformed, "body"),
            (b"NaN", Malformed, "body"),
            (b"Infinity", Malformed, "body"),
            (b"undefined", Malformed, "body"),
            (b"01", Malformed, "body"),
            (b"-01", Malformed, "body"),
            (b"+1", Malformed, "body"),
            (b"-", Malformed, "body"),
            (b"1.", Malformed, "body"),
            (b".5", Malformed, "body"),
            (b"1.e5", Malformed, "body"),
            (b"1e", Malformed, "body"),
            (b"1e+", Malformed, "body"),
            (b"1-2", Malformed, "body"),
            (b"--1", Malformed, "body"),
            (b"1_000", Malformed, "body"),
            (b"0x10", Malformed, "body"),
            (b"1e400", Malformed, "body"),
            (b"1e-400", Malformed, "body"),
            (b"[1e99999999999999999999]", Malformed, "/0"),
            (b"10000000000000000000000000000000001", Malformed, "body"),
            (b"{\"a\":1,\"a\":1}", Ambiguous, "/a"),
            (b"{\"a\":1,\"\\u0061\":2}", Ambiguous, "/a"),
            (b"{\"x\":[0,{\"a\":1,\"b\":2,\"a\":3}]}", Ambiguous, "/x/1/a"),
            (b"{\"amount\":1,\"Amount\":2}", Ambiguous, "/Amount"),
            ("{\"items\":1,\"item\u{17f}\":2}".as_bytes(), Ambiguous, "/item\u{17f}"),
            ("{\"key\":1,\"\u{212a}ey\":2}".as_bytes(), Ambiguous, "/\u{212a}ey"),
            (b"{\"a/b~c\":tru}", Malformed, "/a~1b~0c"),
        ];
        for (json, sort, place) in table {
            let shown = String::from_utf8_lossy(json);
            let flaw = read(json, &REQUEST).expect_err(&shown);
            assert_eq!((flaw.sort, &*flaw.place("body")), (*sort, *place), "{shown}: {flaw:?}");
        }
    }

    #[test]
    fn a_bomb_is_too_large() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(DEPTH_MAX).as_bytes(), &REQUEST).is_ok());
        let deep = read(nested(DEPTH_MAX + 1).as_bytes(), &REQUEST);
        assert_eq!(deep.map_err(|flaw| flaw.sort), Err(TooLarge));
        // As deep as a megabyte goes: refused at the bound, the stack is not used up.
        assert_eq!(
            read("[".repeat(1 << 20).as_bytes(), &ANSWER).map_err(|f| f.sort),
            Err(TooLarge)
        );
        let maps = "{\"a\":".repeat(1 << 18);
        assert_eq!(read(maps.as_bytes(), &ANSWER).map_err(|flaw| flaw.sort), Err(TooLarge));
        let wide = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(read(wide(VALUES_MAX).as_bytes(), &REQUEST).is_ok());
        let wider = read(wide(VALUES_MAX + 1).as_bytes(), &REQUEST);
        assert_eq!(wider.map_err(|flaw| flaw.sort), Err(TooLarge));
        assert!(read(wide(VALUES_MAX + 1).as_bytes(), &ANSWER).is_ok());
    }

    #[test]
    fn many_names_are_compared_too() {
        let object = |last: &str| {
            let names: Vec<_> = (0..2000).map(|n| format!("\"n{n}\":0")).collect();
            format!("{{{},\"{last}\":0}}", names.join(","))
        };
        assert!(read(object("n2000").as_bytes(), &REQUEST).is_ok());
        for again in ["n7", "N7", "n1999"] {
            let flaw = read(object(again).as_bytes(), &REQUEST).unwrap_err();
            assert_eq!((flaw.sort, flaw.place("body")), (Ambiguous, format!("/{again}")));
        }
    }

    #[test]
    fn an_answer_may_hold_what_other_clients_wrote() {
        assert!(read(br#"{"metadata":{"a":1,"A":2},"note":"\u0000"}"#, &ANSWER).is_ok());
        assert_eq!(read(br#"{"a":1,"a":1}"#, &ANSWER).map_err(|f| f.sort), Err(Ambiguous));
    }
}

//! What a body, a query or a fact says: one tree of exact values, whatever syntax it came in.
//!
//! Never holds a float: a number is an exact decimal.

use std::fmt;

use crate::money::{Decimal, MINOR_UNITS_MAX};

/// One value. A map keeps the order it was written in and holds no key twice (the wire refuses that).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// JSON `null`.
    Null,
    /// JSON `true` or `false`.
    Bool(bool),
    /// A JSON number, exact.
    Number(Decimal),
    /// A JSON string, or any value of a form or a query.
    Text(Box<str>),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Map(Vec<(Box<str>, Value)>),
}

/// The syntax a body was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// RFC 8259.
    Json,
    /// `application/x-www-form-urlencoded`, brackets nested as Rack does.
    Form,
    /// `multipart/form-data`: judged by the names of its parts, their content is not read.
    Multipart,
}

/// A body as values. No body is an empty map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What it was written in; `None` without a body.
    pub syntax: Option<Syntax>,
    /// Its values.
    pub root: Value,
}

impl Payload {
    /// No body.
    pub fn empty() -> Self {
        Self { syntax: None, root: Value::Map(Vec::new()) }
    }
}

impl Value {
    /// The member `key` of a map.
    pub fn member(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(members) => members.iter().find(|(name, _)| &**name == key).map(|(_, v)| v),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Whether it is the scalar that `word` names: a text as it stands, `true`, an exact number.
    pub fn is_word(&self, word: &str) -> bool {
        match self {
            Self::Text(text) => **text == *word,
            Self::Bool(yes) => word == if *yes { "true" } else { "false" },
            Self::Number(number) => Decimal::parse(word).is_ok_and(|named| named == *number),
            Self::Null | Self::List(_) | Self::Map(_) => false,
        }
    }

    /// A name as a vendor writes it: a string, an integer, or an object whose `id` is one (an
    /// expanded reference).
    pub fn id_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.to_string()),
            Self::Number(number) => number.is_integer().then(|| number.to_string()),
            Self::Map(_) => {
                self.member("id").filter(|id| !matches!(id, Self::Map(_))).and_then(Self::id_text)
            }
            Self::Null | Self::Bool(_) | Self::List(_) => None,
        }
    }

    /// Appends bytes that are equal exactly when the values are: every text and count is
    /// length-prefixed, map members are sorted by key.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(b'n'),
            Self::Bool(yes) => out.extend_from_slice(if *yes { b"t" } else { b"f" }),
            Self::Number(number) => piece(out, b'd', number.to_string().as_bytes()),
            Self::Text(text) => piece(out, b's', text.as_bytes()),
            Self::List(items) => {
                piece(out, b'l', items.len().to_string().as_bytes());
                items.iter().for_each(|item| item.canonical(out));
            }
            Self::Map(members) => {
                piece(out, b'm', members.len().to_string().as_bytes());
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                for (key, value) in sorted {
                    piece(out, b'k', key.as_bytes());
                    value.canonical(out);
                }
            }
        }
    }
}

/// The whole minor units that an amount says: 1 to [`MINOR_UNITS_MAX`]. A form writes ASCII digits
/// without a leading zero, JSON a number that is whole (`1250`, `1250.0`, `1.25e3`).
///
/// # Errors
///
/// What was expected there.
pub fn minor_units(value: &Value, syntax: Option<Syntax>) -> Result<i64, &'static str> {
    const DIGITS: &str = "expected whole minor units in digits, as `1250`";
    const NUMBER: &str = "expected whole minor units as a number, as `1250`";
    let minor = match (syntax, value) {
        (Some(Syntax::Json), Value::Number(number)) => number.to_integer().ok_or(NUMBER)?,
        (Some(Syntax::Json), _) => return Err(NUMBER),
        // Without a body the value stands in the query.
        (Some(Syntax::Form | Syntax::Multipart) | None, Value::Text(text)) => {
            let canonical = text.bytes().all(|b| b.is_ascii_digit())
                && (text.len() == 1 || !text.starts_with('0'));
            text.parse().ok().filter(|_| canonical).ok_or(DIGITS)?
        }
        (Some(Syntax::Form | Syntax::Multipart) | None, _) => return Err(DIGITS),
    };
    // A negative refund is a charge, and would give room back to a budget.
    if (1..=MINOR_UNITS_MAX).contains(&minor) { Ok(minor) } else { Err(RANGE) }
}

/// The decimal that an amount says: above zero, [`MINOR_UNITS_MAX`] at most; how many digits fit is
/// for its currency to say. Text is digits with at most a point (`12.50`), JSON may also write a
/// number.
///
/// # Errors
///
/// What was expected there.
pub fn major_units(value: &Value, syntax: Option<Syntax>) -> Result<Decimal, &'static str> {
    const EXPECTED: &str = "expected an amount as a decimal, as `12.50`";
    let decimal = match (value, syntax) {
        (Value::Number(number), Some(Syntax::Json)) => *number,
        (Value::Text(text), _) => {
            // No sign, no exponent; the decimal's grammar holds the rest.
            let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            Decimal::parse(text).ok().filter(|_| plain).ok_or(EXPECTED)?
        }
        _ => return Err(EXPECTED),
    };
    let most = 10_i128
        .checked_pow(decimal.scale)
        .and_then(|unit| i128::from(MINOR_UNITS_MAX).checked_mul(unit));
    // A bound above every 128-bit number bounds nothing more.
    let fits = decimal.mantissa > 0 && most.is_none_or(|most| decimal.mantissa <= most);
    if fits { Ok(decimal) } else { Err(RANGE) }
}

const RANGE: &str = "expected an amount above zero and at most 10^12";

/// One length-prefixed piece of a canonical form.
pub fn piece(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
    out.push(b':');
    out.extend_from_slice(bytes);
}

/// A JSON Pointer (RFC 6901); `*` as a step means every element of an array or member of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer(Vec<Box<str>>);

impl Pointer {
    /// Reads `/a/b`; `None` when it does not start with `/` (the empty pointer names the whole).
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let steps = text.strip_prefix('/')?.split('/');
        // RFC 6901 s4: ~1 first, then ~0.
        Some(Self(
            steps.map(|s| s.replace("~1", "/").replace("~0", "~").into_boxed_str()).collect(),
        ))
    }

    /// The pointer with these steps.
    pub fn of(steps: &[&str]) -> Self {
        Self(steps.iter().map(|step| (*step).into()).collect())
    }

    /// The places that `inner` names in each item of the list at this one.
    pub fn of_each(&self, inner: &Self) -> Self {
        let each = std::iter::once(Box::from("*"));
        Self(self.0.iter().cloned().chain(each).chain(inner.0.iter().cloned()).collect())
    }

    /// Its steps.
    pub fn steps(&self) -> &[Box<str>] {
        &self.0
    }

    /// Whether it names every element of some array.
    pub fn is_plural(&self) -> bool {
        self.0.iter().any(|step| &**step == "*")
    }

    /// The one value it names. A plural pointer names none.
    pub fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(root, |at, step| step_into(at, step))
    }

    /// Whether some value it names passes `test`. A `*` is every element of an array or every member
    /// of an object (a form's `items[0][price]`); an element that lacks the rest names nothing.
    pub fn any<'v>(&self, root: &'v Value, test: &mut dyn FnMut(&'v Value) -> bool) -> bool {
        any_at(&self.0, root, test)
    }

    /// Whether it names anything but null.
    pub fn is_present(&self, root: &Value) -> bool {
        self.any(root, &mut |value| *value != Value::Null)
    }

    /// Every value it names. `None` when an element lacks it or an array is missing.
    pub fn find_all<'v>(&self, root: &'v Value) -> Option<Vec<&'v Value>> {
        let mut at = vec![root];
        for step in &self.0 {
            let mut next = Vec::with_capacity(at.len());
            for value in at {
                match (&**step, value) {
                    ("*", Value::List(items)) => next.extend(items.iter()),
                    ("*", Value::Map(members)) => next.extend(members.iter().map(|(_, v)| v)),
                    ("*", _) => return None,
                    (key, value) => next.push(step_into(value, key)?),
                }
            }
            at = next;
        }
        Some(at)
    }
}

fn any_at<'v>(
    steps: &[Box<str>],
    value: &'v Value,
    test: &mut dyn FnMut(&'v Value) -> bool,
) -> bool {
    match (steps.split_first(), value) {
        (None, value) => test(value),
        (Some((step, rest)), Value::List(items)) if &**step == "*" => {
            items.iter().any(|item| any_at(rest, item, test))
        }
        (Some((step, rest)), Value::Map(members)) if &**step == "*" => {
            members.iter().any(|(_, member)| any_at(rest, member, test))
        }
        (Some((step, rest)), value) => {
            step_into(value, step).is_some_and(|next| any_at(rest, next, test))
        }
    }
}

fn step_into<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    match value {
        Value::Map(_) => value.member(step),
        Value::List(items) => items.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|s| write!(f, "/{}", s.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use super::*;

    fn text(s: &str) -> Value {
        Value::Text(s.into())
    }

    fn number(s: &str) -> Value {
        Value::Number(Decimal::parse(s).unwrap())
    }

    fn map(members: &[(&str, Value)]) -> Value {
        Value::Map(members.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
    }

    fn canonical(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.canonical(&mut out);
        out
    }

    #[test]
    fn no_two_values_share_a_canonical_form() {
        let list = |items: &[Value]| Value::List(items.to_vec());
        let all = [
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            text(""),
            text("n"),
            text("1"),
            number("1"),
            number("1.5"),
            number("-1"),
            list(&[]),
            list(&[Value::Null]),
            list(&[list(&[])]),
            list(&[text("a"), text("b")]),
            list(&[text("ab")]),
            list(&[list(&[text("a")]), text("b")]),
            list(&[list(&[text("a"), text("b")])]),
            map(&[]),
            map(&[("a", text("b"))]),
            map(&[("ab", text(""))]),
            map(&[("a", text("b")), ("c", text("d"))]),
            map(&[("a", text("bk1:cs1:d"))]),
            map(&[("a", map(&[("b", text("c"))]))]),
            map(&[("a", map(&[])), ("b", text("c"))]),
        ];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert_eq!(at == other_at, canonical(one) == canonical(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_is_the_same_has_one_canonical_form() {
        let one = map(&[("a", number("100")), ("b", Value::Null)]);
        let other = map(&[("b", Value::Null), ("a", number("1e2"))]);
        assert_eq!(canonical(&one), canonical(&other));
        assert_eq!(canonical(&number("-0")), canonical(&number("0.00")));
    }

    #[test]
    fn a_pointer_finds_what_it_names() {
        let root = map(&[
            ("a", Value::List(vec![map(&[("b", text("x"))]), map(&[("b", text("y"))])])),
            ("m~/n", text("odd")),
            ("", text("empty")),
        ]);
        let find = |pointer: &str| Pointer::parse(pointer).unwrap().find(&root).cloned();
        assert_eq!(find(""), Some(root.clone()));
        assert_eq!(find("/a/1/b"), Some(text("y")));
        assert_eq!(find("/m~0~1n"), Some(text("odd")));
        assert_eq!(find("/"), Some(text("empty")));
        for absent in ["/a/2", "/a/b", "/a/-", "/a/*", "/b", "/a/0/b/c"] {
            assert_eq!(find(absent), None, "{absent}");
        }
        assert_eq!(Pointer::parse("a"), None);
        assert_eq!(Pointer::parse("/m~0~1n").unwrap().to_string(), "/m~0~1n");
        // RFC 6901 s4: `~01` is `~1`, not `/`.
        assert_eq!(&*Pointer::parse("/~01").unwrap().steps()[0], "~1");
    }

    #[test]
    fn a_plural_pointer_finds_all_or_says_none() {
        let all = |pointer: &str, root: &Value| {
            let found = Pointer::parse(pointer).unwrap().find_all(root);
            found.map(|values| values.into_iter().cloned().collect::<Vec<_>>())
        };
        let row = |n: &str| map(&[("n", number(n))]);
        let root = map(&[("a", Value::List(vec![row("1"), row("2")]))]);
        assert_eq!(all("/a/*/n", &root), Some(vec![number("1"), number("2")]));
        assert_eq!(all("/a/*/x", &root), None);
        assert_eq!(all("/x/*/n", &root), None);
        assert!(Pointer::parse("/a/*/n").unwrap().is_plural());
        assert_eq!(all("/*/n", &map(&[("x", row("3"))])), Some(vec![number("3")]));
    }

    #[test]
    fn an_id_is_a_text_an_integer_or_an_expanded_object() {
        let id = |value: Value| value.id_text();
        assert_eq!(id(text("ch_1")).as_deref(), Some("ch_1"));
        assert_eq!(id(number("42.0")).as_deref(), Some("42"));
        assert_eq!(id(map(&[("id", text("ch_1"))])).as_deref(), Some("ch_1"));
        assert_eq!(id(map(&[("id", map(&[("id", text("x"))]))])), None);
        assert_eq!(id(number("4.5")), None);
        assert_eq!(id(Value::Null), None);
    }

    #[test]
    fn minor_units_of_a_form_are_digits() {
        for (written, minor) in [("1", 1), ("100", 100), ("1000000000000", MINOR_UNITS_MAX)] {
            for syntax in [Some(Syntax::Form), Some(Syntax::Multipart), None] {
                assert_eq!(minor_units(&text(written), syntax), Ok(minor));
            }
        }
        let refused = [
            "",
            "0",
            "-1",
            "+50",
            "50.0",
            "5e1",
            "0x32",
            "0050",
            "00",
            " 50",
            "50 ",
            "1,000",
            "1_000",
            "١٠٠",
            "５０",
            "1000000000001",
            "99999999999999999999",
            "NaN",
            "true",
        ];
        for written in refused {
            assert!(minor_units(&text(written), Some(Syntax::Form)).is_err(), "{written}");
        }
        let items = Value::List(vec![text("100")]);
        for value in [Value::Null, number("100"), items, map(&[("0", text("1"))])] {
            assert!(minor_units(&value, Some(Syntax::Form)).is_err(), "{value:?}");
        }
    }

    #[test]
    fn minor_units_of_json_are_whole_numbers() {
        let accepted =
            [("1", 1), ("100", 100), ("100.0", 100), ("1e2", 100), ("1E+2", 100), ("12.5e1", 125)];
        for (written, minor) in accepted {
            assert_eq!(minor_units(&number(written), Some(Syntax::Json)), Ok(minor), "{written}");
        }
        for written in ["0", "-0", "-1", "100.5", "1e-1", "1e13", "1000000000001", "1e33"] {
            assert!(minor_units(&number(written), Some(Syntax::Json)).is_err(), "{written}");
        }
        let items = Value::List(vec![number("100")]);
        let odd =
            [Value::Null, Value::Bool(true), text("100"), items, map(&[("$gt", number("0"))])];
        for value in odd {
            assert!(minor_units(&value, Some(Syntax::Json)).is_err(), "{value:?}");
        }
    }

    #[test]
    fn major_units_are_decimals_above_zero() {
        let decimal = |written: &str| Decimal::parse(written).unwrap();
        for written in ["12.50", "12", "0.01", "0.5", "1000000000000", "1.000"] {
            for syntax in [Some(Syntax::Json), Some(Syntax::Form), None] {
                assert_eq!(major_units(&text(written), syntax), Ok(decimal(written)), "{written}");
            }
            assert_eq!(major_units(&number(written), Some(Syntax::Json)), Ok(decimal(written)));
        }
        let refused = [
            "",
            "0",
            "0.00",
            "-1",
            "+1",
            "1e2",
            ".5",
            "5.",
            "012.50",
            "1,50",
            "1.2.3",
            " 1",
            "1 USD",
            "$1",
            "1000000000000.01",
            "1000000000001",
            "١",
        ];
        for written in refused {
            for syntax in [Some(Syntax::Json), Some(Syntax::Form), None] {
                assert!(major_units(&text(written), syntax).is_err(), "{written}");
            }
        }
        for written in ["0", "-12.50", "1e13", "1000000000000.5"] {
            assert!(major_units(&number(written), Some(Syntax::Json)).is_err(), "{written}");
        }
        assert_eq!(major_units(&number("1e-34"), Some(Syntax::Json)), Ok(decimal("1e-34")));
        assert!(major_units(&number("12.50"), Some(Syntax::Form)).is_err());
        for value in [Value::Null, Value::Bool(true), Value::List(vec![]), map(&[])] {
            assert!(major_units(&value, Some(Syntax::Json)).is_err(), "{value:?}");
        }
    }
}

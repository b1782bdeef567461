//! What a body, a query or a fact says: one tree of exact values, whatever syntax it came in.
//!
//! Never holds a float: a number is an exact decimal.

use std::fmt;

use crate::money::Decimal;

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

/// One length-prefixed piece of a canonical form.
pub fn piece(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(bytes);
}

/// A JSON Pointer (RFC 6901); `*` as a step means every element of an array.
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

    /// Every value it names. `None` when an element lacks it or an array is missing.
    pub fn find_all<'v>(&self, root: &'v Value) -> Option<Vec<&'v Value>> {
        let mut at = vec![root];
        for step in &self.0 {
            let mut next = Vec::with_capacity(at.len());
            for value in at {
                match (&**step, value) {
                    ("*", Value::List(items)) => next.extend(items.iter()),
                    ("*", _) => return None,
                    (key, value) => next.push(step_into(value, key)?),
                }
            }
            at = next;
        }
        Some(at)
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

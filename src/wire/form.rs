//! What does this form, or query, say? `a=1&b[c]=2&d[0]=3&e[]=4` as a tree of texts.
//!
//! Brackets nest as Rack and qs nest them, where those two agree; where readers differ it is
//! refused. Never guesses: no pair without `=`, no list with a gap, no name twice.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Flaw, Sort, twin};
use crate::bounds::{DEPTH_MAX, PAIRS_MAX};
use crate::value::Value;

/// Reads `name=value` pairs into a map. No bytes are an empty map.
pub fn read(bytes: &[u8]) -> Result<Value, Flaw> {
    let mut root = Members::default();
    if bytes.is_empty() {
        return Ok(Value::Map(Vec::new()));
    }
    for (index, pair) in bytes.split(|b| *b == b'&').enumerate() {
        if index >= PAIRS_MAX {
            return Err(Flaw::too_large(format!("expected at most {PAIRS_MAX} parameters")));
        }
        // A pair without `=` is null, empty or nothing at all, depending on the reader.
        let Some(equals) = pair.iter().position(|b| *b == b'=') else {
            return Err(Flaw::ambiguous(format!("expected `name=value` as pair {index}")));
        };
        let (name, value) = pair.split_at(equals);
        let name = decoded(name).map_err(|what| Flaw::new(what.0, what.1))?;
        let value = decoded(value.get(1..).unwrap_or(&[]))
            .map_err(|what| Flaw::new(what.0, what.1).within(&name))?;
        root.add(&name, value.into())?;
    }
    root.into_value()
}

type Reason = (Sort, &'static str);

/// Percent and `+` decoded; borrowed when there is nothing to decode.
fn decoded(bytes: &[u8]) -> Result<Cow<'_, str>, Reason> {
    use Sort::{Ambiguous, Malformed};
    let coded = |b: &u8| !b.is_ascii_graphic() || matches!(b, b'%' | b'+' | b';');
    if !bytes.iter().any(coded) {
        return Ok(std::str::from_utf8(bytes).map_or(Cow::Borrowed(""), Cow::Borrowed));
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let value = hex(rest.next()).zip(hex(rest.next()));
                let (high, low) =
                    value.ok_or((Malformed, "expected two hexadecimal digits after `%`"))?;
                out.push((high << 4) | low);
            }
            b'+' => out.push(b' '),
            // SECURITY: W3C once let `;` separate pairs, and some readers still do.
            b';' => return Err((Ambiguous, "expected `;` as `%3B`")),
            0x21..=0x7E => out.push(*byte),
            _ => return Err((Malformed, "expected blanks, controls and non-ASCII percent-coded")),
        }
    }
    // SECURITY: readers written in C end a text at NUL.
    if out.contains(&0) {
        return Err((Ambiguous, "expected no NUL"));
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| (Malformed, "expected UTF-8"))
}

/// The value of one hexadecimal digit.
pub fn hex(digit: Option<&u8>) -> Option<u8> {
    u8::try_from(char::from(*digit?).to_digit(16)?).ok()
}

/// One bracket of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'n> {
    /// `[key]`.
    Key(&'n str),
    /// `[0]`.
    Index(usize),
    /// `[]`.
    Push,
}

impl Step<'_> {
    fn shown(self) -> String {
        match self {
            Self::Key(key) => key.to_owned(),
            Self::Index(index) => index.to_string(),
            Self::Push => "-".to_owned(),
        }
    }
}

/// `a[b][0]` as `a` and its steps. The name is decoded already: every reader decodes first.
fn path_of(name: &str) -> Result<(&str, Vec<Step<'_>>), Flaw> {
    let (base, mut rest) = match name.find('[') {
        Some(bracket) => name.split_at(bracket),
        None => (name, ""),
    };
    base_name(base)?;
    let unbalanced = || Flaw::ambiguous("expected balanced brackets, as `a[b][c]`").within(name);
    if base.contains(']') {
        return Err(unbalanced());
    }
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (inner, behind) =
            rest.strip_prefix('[').and_then(|r| r.split_once(']')).ok_or_else(unbalanced)?;
        if inner.contains('[') {
            return Err(unbalanced());
        }
        if inner.is_empty() && !behind.is_empty() {
            // Rack starts a new element where a key repeats, PHP at every pair.
            return Err(Flaw::ambiguous("expected numbered elements, as `a[0][b]`").within(base));
        }
        steps.push(step(inner).map_err(|flaw| flaw.within(inner).within(base))?);
        rest = behind;
    }
    // The whole map is the first level, the base name's value the second.
    if steps.len().saturating_add(1) > DEPTH_MAX {
        return Err(Flaw::too_large(format!("expected at most {DEPTH_MAX} levels")).within(base));
    }
    Ok((base, steps))
}

fn base_name(base: &str) -> Result<(), Flaw> {
    if base.is_empty() {
        return Err(Flaw::malformed("expected a name before every `=`"));
    }
    // SECURITY: Rack's method override, read from a query and from a form.
    if base == "_method" {
        return Err(Flaw::ambiguous("expected the method in the request line only").within(base));
    }
    // PHP drops leading blanks of a name. The others are never bare in one; JSON sent as a form has
    // them.
    let odd = |c: char| c.is_control() || "\"{}<>\\^`|".contains(c);
    if base.starts_with(' ') || base.ends_with(' ') || base.contains(odd) {
        return Err(Flaw::malformed("expected a parameter's name").within(base));
    }
    Ok(())
}

fn step(inner: &str) -> Result<Step<'_>, Flaw> {
    if inner.is_empty() {
        return Ok(Step::Push);
    }
    if inner.contains(char::is_control) {
        return Err(Flaw::malformed("expected a name without control characters"));
    }
    if !inner.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Step::Key(inner));
    }
    let canonical = inner == "0" || !inner.starts_with('0');
    match inner.parse() {
        Ok(index) if canonical => Ok(Step::Index(index)),
        Ok(_) | Err(_) => Err(Flaw::ambiguous("expected a list's index, as `0`")),
    }
}

/// A tree while it grows: how a list is written must stay the same.
#[derive(Debug)]
enum Node {
    /// A value.
    Leaf(Box<str>),
    /// `a[]=..`.
    Pushed(Vec<Box<str>>),
    /// `a[0]=..`.
    Numbered(Vec<Node>),
    /// `a[b]=..`.
    Members(Members),
}

const GAP: &str = "expected indices from 0, in order and without a gap";

impl Node {
    /// What the first pair of a name makes.
    fn first(steps: &[Step<'_>], value: Box<str>) -> Result<Self, Flaw> {
        match steps.split_first() {
            None => Ok(Self::Leaf(value)),
            Some((Step::Push, _)) => Ok(Self::Pushed(vec![value])),
            Some((Step::Index(0), rest)) => Ok(Self::Numbered(vec![Self::first(rest, value)?])),
            Some((Step::Index(_), _)) => Err(Flaw::ambiguous(GAP)),
            Some((Step::Key(key), rest)) => {
                let mut members = Members::default();
                members.put(key, rest, value)?;
                Ok(Self::Members(members))
            }
        }
    }

    /// Adds a further pair of the same name.
    fn add(&mut self, steps: &[Step<'_>], value: Box<str>) -> Result<(), Flaw> {
        match (self, steps.split_first()) {
            (Self::Leaf(_), None) => Err(Flaw::ambiguous("expected the name once")),
            (Self::Pushed(values), Some((Step::Push, _))) => {
                values.push(value);
                Ok(())
            }
            (Self::Numbered(items), Some((Step::Index(index), rest))) => {
                let next = items.len();
                if *index == next {
                    items.push(Self::first(rest, value)?);
                    return Ok(());
                }
                match items.last_mut().filter(|_| index.saturating_add(1) == next) {
                    Some(last) => last.add(rest, value),
                    None => Err(Flaw::ambiguous(GAP)),
                }
            }
            (Self::Members(members), Some((Step::Key(key), rest))) => members.put(key, rest, value),
            (
                Self::Leaf(_) | Self::Pushed(_) | Self::Numbered(_) | Self::Members(_),
                None | Some(_),
            ) => Err(Flaw::ambiguous("expected one value, one list or one map, not a mixture")),
        }
        .map_err(|flaw| match steps.first() {
            Some(step) => flaw.within(&step.shown()),
            None => flaw,
        })
    }

    fn into_value(self) -> Result<Value, Flaw> {
        match self {
            Self::Leaf(text) => Ok(Value::Text(text)),
            Self::Pushed(texts) => Ok(Value::List(texts.into_iter().map(Value::Text).collect())),
            Self::Numbered(items) => {
                items.into_iter().map(Self::into_value).collect::<Result<_, _>>().map(Value::List)
            }
            Self::Members(members) => members.into_value(),
        }
    }
}

/// BOUND: up to this many members are searched one by one, more through an index.
const FEW_MEMBERS: usize = 16;

/// A map in the order it was written.
#[derive(Debug, Default)]
pub struct Members {
    list: Vec<(Box<str>, Node)>,
    index: HashMap<Box<str>, usize>,
}

impl Members {
    /// Adds a pair, its name decoded and still with its brackets.
    pub fn add(&mut self, name: &str, value: Box<str>) -> Result<(), Flaw> {
        let (base, steps) = path_of(name)?;
        self.put(base, &steps, value).map_err(|flaw| flaw.within(base))
    }

    fn position(&self, key: &str) -> Option<usize> {
        if self.index.is_empty() {
            self.list.iter().position(|(name, _)| &**name == key)
        } else {
            self.index.get(key).copied()
        }
    }

    fn put(&mut self, key: &str, steps: &[Step<'_>], value: Box<str>) -> Result<(), Flaw> {
        if let Some(at) = self.position(key)
            && let Some((_, node)) = self.list.get_mut(at)
        {
            return node.add(steps, value);
        }
        let node = Node::first(steps, value)?;
        self.list.push((key.into(), node));
        if !self.index.is_empty() {
            self.index.insert(key.into(), self.list.len().saturating_sub(1));
        } else if self.list.len() > FEW_MEMBERS {
            self.index =
                self.list.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        }
        Ok(())
    }

    /// The finished map.
    pub fn into_value(self) -> Result<Value, Flaw> {
        if let Some(name) = twin(self.list.iter().map(|(name, _)| &**name)) {
            return Err(Flaw::ambiguous("expected the name in one letter case").within(name));
        }
        // SECURITY: qs with `allowDots` reads `a.b` as `a[b]`.
        let dotted = |name: &str| {
            let (head, _) = name.split_once('.')?;
            let (_, beside) = self.list.get(self.position(head)?)?;
            (!matches!(beside, Node::Leaf(_))).then_some(())
        };
        if let Some((name, _)) = self.list.iter().find(|(name, _)| dotted(name).is_some()) {
            let expected = "expected brackets or dots for nesting, not both";
            return Err(Flaw::ambiguous(expected).within(name));
        }
        let members = self.list.into_iter().map(|(name, node)| match node.into_value() {
            Ok(value) => Ok((name, value)),
            Err(flaw) => Err(flaw.within(&name)),
        });
        members.collect::<Result<_, _>>().map(Value::Map)
    }
}

//! What does this form, or query, say? `a=1&b[c]=2&d[0]=3&e[]=4` as a tree of texts.
//!
//! Brackets nest as Rack and qs nest them, where those two agree; where readers differ it is
//! refused. Never guesses: no pair without `=`, no list with a gap, no name twice.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Flaw, Sort, is_method_override, twin};
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
    if is_method_override(base) {
        return Err(Flaw::method_override(base));
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]
    use super::super::Sort::{Ambiguous, Malformed, TooLarge};
    use super::*;

    /// The tree as short JSON: easier to read than its Rust.
    fn tree(form: &str) -> String {
        fn json(value: &Value) -> serde_json::Value {
            match value {
                Value::Text(text) => serde_json::Value::String(text.to_string()),
                Value::List(items) => items.iter().map(json).collect(),
                Value::Map(members) => {
                    members.iter().map(|(name, value)| (name.to_string(), json(value))).collect()
                }
                other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
                    unreachable!("{other:?}")
                }
            }
        }
        json(&read(form.as_bytes()).unwrap()).to_string()
    }

    #[test]
    fn what_is_accepted_means_this() {
        let table = [
            ("", r#"{}"#),
            ("a=", r#"{"a":""}"#),
            ("a=1&b=2", r#"{"a":"1","b":"2"}"#),
            ("%61mount=1", r#"{"amount":"1"}"#),
            ("a=x+y%20z%2Bw", r#"{"a":"x y z+w"}"#),
            ("a=b=c", r#"{"a":"b=c"}"#),
            ("a%3Db=1", r#"{"a=b":"1"}"#),
            ("a=%26%3B%0A", r#"{"a":"&;\n"}"#),
            ("a=%C3%A9%F0%9F%98%80", r#"{"a":"é😀"}"#),
            ("a=%c3%A9", r#"{"a":"é"}"#),
            ("a[]=1", r#"{"a":["1"]}"#),
            ("a[]=1&a[]=1", r#"{"a":["1","1"]}"#),
            ("a[]=1&b=x&a[]=2", r#"{"a":["1","2"],"b":"x"}"#),
            ("a[0]=x&a[1]=y", r#"{"a":["x","y"]}"#),
            ("a%5B0%5D=x", r#"{"a":["x"]}"#),
            ("a[b]=1&a[c]=2", r#"{"a":{"b":"1","c":"2"}}"#),
            ("a[b][c][]=1", r#"{"a":{"b":{"c":["1"]}}}"#),
            ("a[0][b]=1&a[0][c]=2&a[1][b]=3", r#"{"a":[{"b":"1","c":"2"},{"b":"3"}]}"#),
            ("a[0][0]=1&a[0][1]=2", r#"{"a":[["1","2"]]}"#),
            ("m[a+b]=1&m[%C3%BC]=2", r#"{"m":{"a b":"1","ü":"2"}}"#),
            ("m[-1]=x&m[1e3]=y", r#"{"m":{"-1":"x","1e3":"y"}}"#),
            ("a.b=1&c.d=2", r#"{"a.b":"1","c.d":"2"}"#),
            ("m[a.b]=1&m[a]=2", r#"{"m":{"a.b":"1","a":"2"}}"#),
            ("a=%25", r#"{"a":"%"}"#),
            ("a=-._~!$'()*,:@/?\"{}", r#"{"a":"-._~!$'()*,:@/?\"{}"}"#),
        ];
        for (form, json) in table {
            assert_eq!(tree(form), json, "{form}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_with_its_place() {
        let table = [
            ("a", Ambiguous, "query"),
            ("a=1&", Ambiguous, "query"),
            ("&a=1", Ambiguous, "query"),
            ("a=1&&b=2", Ambiguous, "query"),
            ("=1", Malformed, "query"),
            ("[a]=1", Malformed, "query"),
            ("a=1&a=2", Ambiguous, "query /a"),
            ("a=1&%61=2", Ambiguous, "query /a"),
            ("a=1&A=2", Ambiguous, "query /A"),
            ("m[a]=1&m[A]=2", Ambiguous, "query /m/A"),
            ("m[a]=1&m[a]=2", Ambiguous, "query /m/a"),
            ("amount=1;amount=2", Ambiguous, "query /amount"),
            ("a;b=1", Ambiguous, "query"),
            ("a=1%", Malformed, "query /a"),
            ("a=%4", Malformed, "query /a"),
            ("a=%zz", Malformed, "query /a"),
            ("a=%u0041", Malformed, "query /a"),
            ("%=1", Malformed, "query"),
            ("a=%00", Ambiguous, "query /a"),
            ("a%00=1", Ambiguous, "query"),
            ("a=%FF", Malformed, "query /a"),
            ("a=%C0%AF", Malformed, "query /a"),
            ("a=%ED%A0%80", Malformed, "query /a"),
            ("a=é", Malformed, "query /a"),
            ("a= ", Malformed, "query /a"),
            ("a=1\n", Malformed, "query /a"),
            ("+a=1", Malformed, "query / a"),
            ("a+=1", Malformed, "query /a "),
            ("a%0A=1", Malformed, "query /a?"),
            ("m[a%0A]=1", Malformed, "query /m/a?"),
            ("_method=DELETE", Ambiguous, "query /_method"),
            ("_METHOD=DELETE", Ambiguous, "query /_METHOD"),
            ("_method[]=DELETE", Ambiguous, "query /_method"),
            (r#"{"amount":100,"note":"a=b"}"#, Malformed, r#"query /{"amount":100,"note":"a"#),
            ("a[]=1&a[0]=2", Ambiguous, "query /a/0"),
            ("a[0]=1&a[]=2", Ambiguous, "query /a/-"),
            ("a[0]=1&a[0]=2", Ambiguous, "query /a/0"),
            ("a[1]=1", Ambiguous, "query /a"),
            ("a[0]=1&a[2]=2", Ambiguous, "query /a/2"),
            ("a[1]=1&a[0]=2", Ambiguous, "query /a"),
            ("a[0][b]=1&a[1][b]=2&a[0][c]=3", Ambiguous, "query /a/0"),
            ("a[00]=1", Ambiguous, "query /a/00"),
            ("a[99999999999999999999]=1", Ambiguous, "query /a/99999999999999999999"),
            ("a[b]=1&a=2", Ambiguous, "query /a"),
            ("a=2&a[b]=1", Ambiguous, "query /a/b"),
            ("a=2&a[]=1", Ambiguous, "query /a/-"),
            ("a[b]=1&a[]=2", Ambiguous, "query /a/-"),
            ("a[b]=1&a[0]=2", Ambiguous, "query /a/0"),
            ("a[b]=1&a[b][c]=2", Ambiguous, "query /a/b/c"),
            ("a[b]=1&a.b=2", Ambiguous, "query /a.b"),
            ("a.b=2&a[b]=1", Ambiguous, "query /a.b"),
            ("a[]=2&a.length=1", Ambiguous, "query /a.length"),
            ("x[a][b]=1&x[a.b]=2", Ambiguous, "query /x/a.b"),
            ("a[][b]=1", Ambiguous, "query /a"),
            ("a[][]=1", Ambiguous, "query /a"),
            ("a[=1", Ambiguous, "query /a["),
            ("a]=1", Ambiguous, "query /a]"),
            ("a[b=1", Ambiguous, "query /a[b"),
            ("a[b]]=1", Ambiguous, "query /a[b]]"),
            ("a[[b]]=1", Ambiguous, "query /a[[b]]"),
            ("a[b]c=1", Ambiguous, "query /a[b]c"),
            ("a[b%5B]=1", Ambiguous, "query /a[b[]"),
        ];
        for (form, sort, place) in table {
            let flaw = read(form.as_bytes()).expect_err(form);
            assert_eq!((flaw.sort, &*flaw.place("query")), (sort, place), "{form}: {flaw:?}");
        }
    }

    #[test]
    fn a_bomb_is_too_large() {
        let nested = |brackets: usize| format!("a{}=1", "[b]".repeat(brackets));
        assert!(read(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert_eq!(read(nested(DEPTH_MAX).as_bytes()).map_err(|flaw| flaw.sort), Err(TooLarge));
        let many =
            |pairs: usize| (0..pairs).map(|n| format!("a{n}=1")).collect::<Vec<_>>().join("&");
        assert!(read(many(PAIRS_MAX).as_bytes()).is_ok());
        assert_eq!(read(many(PAIRS_MAX + 1).as_bytes()).map_err(|f| f.sort), Err(TooLarge));
        // Many names go through the index: equal ones are still found.
        let again = format!("{}&a3=1", many(PAIRS_MAX - 1));
        assert_eq!(read(again.as_bytes()).map_err(|flaw| flaw.sort), Err(Ambiguous));
        let appended = format!("{}&a3[b]=1", many(100));
        assert_eq!(read(appended.as_bytes()).map_err(|flaw| flaw.sort), Err(Ambiguous));
    }

    // Taken from the wire: Stripe's libraries for Python (16.1.0) and Node (23.1.0).
    #[test]
    fn two_libraries_of_stripe_are_read_alike() {
        let python = "customer=cus_1&items[0][plan]=p+1&items[0][quantity]=2\
            &items[0][metadata][a+b]=c%2Bd%26e%3Df&items[1][plan]=q&expand[0]=latest_invoice\
            &expand[1]=customer&trial_end=now&cancel_at_period_end=false\
            &metadata[na%C3%AFve+%C3%A9]=%C3%BC%3Bx&metadata[line]=a%0Ab";
        let node = "customer=cus_1&items[0][plan]=p%201&items[0][quantity]=2\
            &items[0][metadata][a%20b]=c%2Bd%26e%3Df&items[1][plan]=q&expand[0]=latest_invoice\
            &expand[1]=customer&trial_end=now&cancel_at_period_end=false\
            &metadata[na%C3%AFve%20%C3%A9]=%C3%BC%3Bx&metadata[line]=a%0Ab";
        let expected = r#"{"customer":"cus_1","items":[{"plan":"p 1","quantity":"2","metadata":{"a b":"c+d&e=f"}},{"plan":"q"}],"expand":["latest_invoice","customer"],"trial_end":"now","cancel_at_period_end":"false","metadata":{"naïve é":"ü;x","line":"a\nb"}}"#;
        assert_eq!(tree(python), expected);
        assert_eq!(tree(node), expected);
        // The queries of a list and of a search, brackets coded and bare.
        for query in [
            "charge=ch_1&created%5Bgte%5D=5&limit=3&expand%5B0%5D=data.charge",
            "charge=ch_1&created[gte]=5&limit=3&expand[0]=data.charge",
        ] {
            let expected =
                r#"{"charge":"ch_1","created":{"gte":"5"},"limit":"3","expand":["data.charge"]}"#;
            assert_eq!(tree(query), expected);
        }
        for query in [
            "query=metadata%5B%27user%27%5D%3A%27u+1%27",
            "query=metadata[%27user%27]%3A%27u%201%27",
        ] {
            assert_eq!(tree(query), r#"{"query":"metadata['user']:'u 1'"}"#);
        }
    }
}

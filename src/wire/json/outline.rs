//! What do a few places of a document say? The values there, and of all others only that they read
//! one way.
//!
//! Never lets through what the whole reading would refuse: the same grammar, the same bounds, no name
//! twice.

use smallvec::SmallVec;

use super::super::{Flaw, repeated};
use super::Reader;
use crate::value::Value;

/// BOUND: so many names are compared as they come, through a filter of bits; more all together at the
/// object's end, through a set: never quadratic.
const NAMES_COMPARED_MAX: usize = 64;

/// The steps that are left to go to each place.
type Ways<'w> = SmallVec<[&'w [Box<str>]; 4]>;

/// Where an object's names begin among all that are open, and which may be among them.
struct Names {
    start: usize,
    may_be: [u64; 4],
}

impl<'t> Reader<'t, '_> {
    /// A value with the members that a way goes through, whole where a way ends. Items of a list all
    /// stand in their places.
    pub(super) fn outline(&mut self, depth: usize, ways: &[&[Box<str>]]) -> Result<Value, Flaw> {
        if ways.is_empty() {
            return self.pass(depth).map(|()| Value::Null);
        }
        if ways.iter().any(|way| way.is_empty()) {
            return self.value(depth);
        }
        match self.peek() {
            Some(b'{') => {
                self.count()?;
                self.outline_object(self.deeper(depth)?, ways)
            }
            Some(b'[') => {
                self.count()?;
                self.outline_array(self.deeper(depth)?, ways)
            }
            _ => self.value(depth),
        }
    }

    fn outline_object(&mut self, depth: usize, ways: &[&[Box<str>]]) -> Result<Value, Flaw> {
        let mut members = Vec::new();
        self.members(|reader, name| {
            let inner: Ways<'_> = ways.iter().filter_map(|way| step_into(way, name)).collect();
            if inner.is_empty() {
                return reader.pass(depth);
            }
            let value = reader.outline(depth, &inner)?;
            members.push((Box::from(name), value));
            Ok(())
        })?;
        Ok(Value::Map(members))
    }

    fn outline_array(&mut self, depth: usize, ways: &[&[Box<str>]]) -> Result<Value, Flaw> {
        let inner: Ways<'_> = ways.iter().filter_map(|way| way.get(1..)).collect();
        let mut items = Vec::new();
        self.items(|reader| {
            items.push(reader.outline(depth, &inner)?);
            Ok(())
        })?;
        Ok(Value::List(items))
    }

    /// Goes over a value, which is kept to the grammar and to the bounds.
    fn pass(&mut self, depth: usize) -> Result<(), Flaw> {
        match self.peek() {
            Some(b'"') => {
                self.count()?;
                self.string().map(drop)
            }
            Some(b'{') => {
                self.count()?;
                let depth = self.deeper(depth)?;
                self.members(|reader, _| reader.pass(depth))
            }
            Some(b'[') => {
                self.count()?;
                let depth = self.deeper(depth)?;
                self.items(|reader| reader.pass(depth))
            }
            _ => self.value(depth).map(drop),
        }
    }

    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Flaw>) -> Result<(), Flaw> {
        self.skip(1);
        self.blank();
        if self.takes(b']') {
            return Ok(());
        }
        let mut index = 0_usize;
        loop {
            self.blank();
            item(self).map_err(|flaw| flaw.within(itoa::Buffer::new().format(index)))?;
            index = index.saturating_add(1);
            self.blank();
            if self.takes(b']') {
                return Ok(());
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        self.skip(1);
        self.blank();
        if self.takes(b'}') {
            return Ok(());
        }
        let mut names = Names { start: self.names.len(), may_be: [0; 4] };
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a name in double quotes"));
            }
            let name = self.string()?;
            self.once(&mut names, &name)?;
            self.blank();
            if !self.takes(b':') {
                return Err(self.expected("`:`").within(&name));
            }
            self.blank();
            self.names.push(name.clone());
            member(self, &name).map_err(|flaw| flaw.within(&name))?;
            self.blank();
            if self.takes(b'}') {
                return self.all_once(&names);
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    /// Among few names, none is there already.
    // SECURITY: CVE-2021-43557's kin; the first of two equal names is judged, the last is acted on.
    fn once(&self, names: &mut Names, name: &str) -> Result<(), Flaw> {
        let before = self.names.get(names.start..).unwrap_or_default();
        if before.len() >= NAMES_COMPARED_MAX {
            return Ok(());
        }
        let (word, bit) = place(name);
        let Some(word) = names.may_be.get_mut(word) else { return Ok(()) };
        let may_be = *word & bit != 0;
        *word |= bit;
        if may_be && before.iter().any(|own| **own == *name) {
            return Err(twice(name));
        }
        Ok(())
    }

    /// Among many names, none is there twice. They are done with.
    fn all_once(&mut self, names: &Names) -> Result<(), Flaw> {
        let own = self.names.get(names.start..).unwrap_or_default();
        if own.len() > NAMES_COMPARED_MAX
            && let Some(name) = repeated(own.iter().map(|name| &**name))
        {
            return Err(twice(name));
        }
        self.names.truncate(names.start);
        Ok(())
    }
}

fn twice(name: &str) -> Flaw {
    Flaw::ambiguous("expected the name once, in one letter case").within(name)
}

/// The rest of a way that goes through a member of that name.
fn step_into<'w>(way: &'w [Box<str>], name: &str) -> Option<&'w [Box<str>]> {
    let (step, rest) = way.split_first()?;
    (**step == *name || &**step == "*").then_some(rest)
}

/// Which of 256 bits stands for a name: names of one object mostly differ in length, or at an end.
fn place(name: &str) -> (usize, u64) {
    let bytes = name.as_bytes();
    let mut hash = u64::try_from(bytes.len()).unwrap_or_default();
    let middle = bytes.len() / 2;
    for byte in [bytes.first(), bytes.get(1), bytes.get(middle), bytes.last()] {
        let byte = byte.copied().map_or(0, u64::from);
        hash = (hash ^ byte).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_right(29);
    }
    let word = usize::try_from((hash >> 6) & 3).unwrap_or_default();
    (word, 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::super::{ANSWER, outline, read};
    use super::*;
    use crate::value::Pointer;

    /// What `places` name, by the outline and by the whole.
    fn both(text: &str, places: &[&str]) -> (Vec<Option<Value>>, Vec<Option<Value>>) {
        let places: Vec<Pointer> = places.iter().map(|at| Pointer::parse(at).unwrap()).collect();
        let ways: Vec<&[Box<str>]> = places.iter().map(Pointer::steps).collect();
        let seen = |root: &Value| -> Vec<Option<Value>> {
            let all = |at: &Pointer| {
                let mut found = Vec::new();
                at.any(root, &mut |value| {
                    found.push(value.clone());
                    false
                });
                [at.find(root).cloned(), Some(Value::List(found))]
            };
            places.iter().flat_map(all).collect()
        };
        let part = outline(text.as_bytes(), &ANSWER, &ways).unwrap();
        (seen(&part), seen(&read(text.as_bytes(), &ANSWER).unwrap()))
    }

    const DOCUMENTS: [&str; 12] = [
        "{}",
        "[]",
        "null",
        "\"a\"",
        "{\"customer\":\"c\",\"x\":[1,{\"customer\":2}],\"data\":[]}",
        "{\"x\":1,\"customer\":{\"id\":\"c\",\"more\":[{}]},\"data\":null}",
        "{\"data\":[{\"customer\":\"c\",\"n\":1.5},{\"n\":2},null,\"t\",[1],{\"customer\":null}]}",
        "{\"data\":{\"a\":{\"customer\":1},\"b\":{\"customer\":2}},\"0\":7}",
        "[{\"customer\":\"a\"},[{\"customer\":\"b\"}],3]",
        "{ \"customer\" : [ \"a\" , \"b\" ] , \"y\" : { } }",
        "{\"c\\u0075stomer\":\"c\",\"\\u0000\":\"\\ud83d\\ude00\"}",
        "{\"data\":[[{\"customer\":true}]],\"customer\":false}",
    ];

    #[test]
    fn a_place_says_the_same_in_an_outline_as_in_the_whole() {
        let places =
            ["/customer", "/data", "/data/*/customer", "/data/0/customer", "/*/customer", "/0", ""];
        for text in DOCUMENTS {
            for first in places {
                for second in places {
                    let (part, whole) = both(text, &[first, second]);
                    assert_eq!(part, whole, "{text} {first} {second}");
                }
            }
        }
    }

    #[test]
    fn what_the_whole_reading_refuses_the_outline_refuses() {
        let mut many: Vec<String> = (0..200).map(|n| format!("\"n{n}\":{n}")).collect();
        let many_once = format!("{{{}}}", many.join(","));
        many.push("\"n7\":0".into());
        let many_twice = format!("{{{}}}", many.join(","));
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let values = |count: usize| format!("[{}0]", "0,".repeat(count));
        for text in [
            "",
            " ",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1,]",
            "[1 2]",
            "{} {}",
            "nul",
            "{\"x\":tru}",
            "{\"x\":01}",
            "{\"x\":1.}",
            "{\"x\":-}",
            "{\"x\":\"\\x\"}",
            "{\"x\":\"\\ud800\"}",
            "{\"x\":\"\u{1}\"}",
            "{\"x\":\"open",
            "\u{feff}{}",
            "{\"a\":1,\"a\":2}",
            "{\"x\":{\"a\":1,\"b\":2,\"a\":3}}",
            "{\"x\":[{\"a\":1,\"\\u0061\":2}]}",
            "{\"x\":{\"y\":{\"a\":1}},\"x\":0}",
            &many_twice,
            &deep(65),
            &values(500_000),
        ] {
            for way in [&[][..], &[Box::from("x")][..], &[Box::from("q")][..]] {
                let ways = [way];
                let whole = read(text.as_bytes(), &ANSWER).unwrap_err();
                let part = outline(text.as_bytes(), &ANSWER, &ways).unwrap_err();
                assert_eq!((part.sort, part.expected), (whole.sort, whole.expected), "{way:?}");
            }
        }
        for text in [&many_once, &deep(64), &values(499_990)] {
            outline(text.as_bytes(), &ANSWER, &[&[Box::from("q")]]).unwrap();
        }
    }

    #[test]
    fn names_of_an_inner_object_are_not_those_of_the_outer() {
        let text = "{\"a\":{\"a\":{\"a\":1},\"b\":2},\"b\":[{\"a\":1},{\"a\":1}]}";
        outline(text.as_bytes(), &ANSWER, &[&[Box::from("q")]]).unwrap();
    }
}

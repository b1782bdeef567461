//! Where in which file does it say so? YAML as a tree whose every node knows its line and column.
//!
//! Collects all faults of a file before it gives up; never ignores a key. Anchors, tags and several
//! documents are refused: a configuration is read the same way by every reader.

mod error;

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

pub use error::{ConfigError, ConfigErrors};

use crate::money::Money;

/// A place in a file: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// A node and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub shape: Shape,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A scalar as written; `quoted` when it can only be a string.
    Scalar {
        /// Its text.
        text: String,
        /// Whether it stood in quotes.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order, each key once.
    Map(Vec<(String, Place, Node)>),
}

impl Node {
    /// The text of a scalar, quoted or not.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn text(&self) -> Result<&str, String> {
        match &self.shape {
            Shape::Scalar { text, .. } => Ok(text),
            Shape::List(_) => Err("expected a text, got a list".into()),
            Shape::Map(_) => Err("expected a text, got a mapping".into()),
        }
    }

    /// A text that is not empty.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn name(&self) -> Result<String, String> {
        match self.text()? {
            "" => Err("expected a text, got nothing".into()),
            text => Ok(text.to_owned()),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn bool(&self) -> Result<bool, String> {
        match &self.shape {
            Shape::Scalar { text, quoted: false } if text == "true" => Ok(true),
            Shape::Scalar { text, quoted: false } if text == "false" => Ok(false),
            Shape::Scalar { text, .. } => Err(format!("expected `true` or `false`, got `{text}`")),
            Shape::List(_) | Shape::Map(_) => Err("expected `true` or `false`".into()),
        }
    }

    /// A whole number from 0.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn count(&self) -> Result<u64, String> {
        let text = self.text()?;
        text.parse().map_err(|_| format!("expected a whole number, got `{text}`"))
    }

    /// A duration such as `30s`, `20m`, `24h`, `30d`.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn duration(&self) -> Result<Duration, String> {
        let text = self.text()?;
        humantime::parse_duration(text)
            .map_err(|_| format!("expected a duration such as `30s`, `20m` or `30d`, got `{text}`"))
    }

    /// A size such as `512KiB`, `1MiB`.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn bytes(&self) -> Result<usize, String> {
        let text = self.text()?;
        let expected = || format!("expected a size such as `512KiB` or `1MiB`, got `{text}`");
        let units = [("GiB", 1_usize << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
        let (number, unit) = units
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|n| (n, *unit)))
            .ok_or_else(expected)?;
        let number: usize = number.trim().parse().map_err(|_| expected())?;
        number.checked_mul(unit).ok_or_else(expected)
    }

    /// A share such as `5%` or `0.60`, in per mille.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn per_mille(&self) -> Result<u16, String> {
        let text = self.text()?;
        let expected = || format!("expected a share such as `5%` or `0.60`, got `{text}`");
        let (number, digits) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim(), 1),
            None => (text, 3),
        };
        let decimal = crate::money::Decimal::parse(number).map_err(|_| expected())?;
        let value = decimal.to_minor(digits).and_then(|v| u16::try_from(v).ok());
        value.filter(|v| *v <= 1000).ok_or_else(expected)
    }

    /// A share of something whole, from which on somebody is told: `80%`, 1 to 99.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn per_cent(&self) -> Result<u8, String> {
        let text = self.text()?;
        let digits = text.strip_suffix('%').map(str::trim);
        let value = digits.and_then(|digits| digits.parse::<u8>().ok());
        let value = value.filter(|value| (1..=99).contains(value));
        value.ok_or_else(|| format!("expected a share from `1%` to `99%`, got `{text}`"))
    }

    /// One amount or a list of amounts: `100.00 USD`.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn amounts(&self) -> Result<Vec<Money>, String> {
        let amounts = match &self.shape {
            Shape::List(items) => items
                .iter()
                .map(|item| Money::parse(item.text()?))
                .collect::<Result<Vec<_>, _>>()?,
            Shape::Scalar { .. } | Shape::Map(_) => vec![Money::parse(self.text()?)?],
        };
        let mut seen = HashSet::new();
        match amounts.iter().find(|amount| !seen.insert(amount.currency)) {
            Some(twice) => Err(format!("`{}` is listed twice", twice.currency)),
            None => Ok(amounts),
        }
    }

    /// A list of texts; a single text is a list of one.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn texts(&self) -> Result<Vec<String>, String> {
        match &self.shape {
            Shape::List(items) => items.iter().map(Node::name).collect(),
            Shape::Scalar { .. } => Ok(vec![self.name()?]),
            Shape::Map(_) => Err("expected a list of texts, got a mapping".into()),
        }
    }
}

/// Collects the faults of one file.
#[derive(Debug)]
pub struct Faults {
    file: Arc<str>,
    found: RefCell<Vec<ConfigError>>,
}

impl Faults {
    /// For the file of that name.
    pub fn of(file: &str) -> Self {
        Self { file: file.into(), found: RefCell::default() }
    }

    /// The file's name.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Notes a fault.
    pub fn note(&self, place: Place, key: &str, message: impl Into<String>) {
        self.found.borrow_mut().push(ConfigError {
            file: Arc::clone(&self.file),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Opens a mapping; anything else is a fault and reads as an empty one.
    pub fn section<'a>(&'a self, node: &'a Node, key: &str) -> Section<'a> {
        let members: &[(String, Place, Node)] = match &node.shape {
            Shape::Map(members) => members,
            Shape::Scalar { text, quoted: false } if text.is_empty() || text == "~" => &[],
            Shape::Scalar { .. } | Shape::List(_) => {
                self.note(node.place, key, "expected a mapping of keys to values");
                &[]
            }
        };
        Section {
            faults: self,
            key: key.to_owned(),
            place: node.place,
            members,
            seen: RefCell::default(),
        }
    }

    /// Whether something was noted about `key` at `place`.
    pub fn has(&self, place: Place, key: &str) -> bool {
        self.found
            .borrow()
            .iter()
            .any(|e| e.key == key && (e.line, e.column) == (place.line, place.column))
    }

    /// Whether nothing was noted so far.
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// What was noted, in the order of the file.
    pub fn into_errors(self) -> ConfigErrors {
        let mut errors = self.found.into_inner();
        errors.sort_by_key(|e| (e.line, e.column));
        ConfigErrors(errors)
    }

    /// `value`, unless a fault was noted.
    ///
    /// # Errors
    ///
    /// All faults.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            Some(_) | None => Err(self.into_errors()),
        }
    }
}

/// A mapping that is being read. Call [`Section::finish`] last: a key nobody asked for is a fault.
#[derive(Debug)]
pub struct Section<'a> {
    faults: &'a Faults,
    key: String,
    place: Place,
    members: &'a [(String, Place, Node)],
    seen: RefCell<HashSet<String>>,
}

impl<'a> Section<'a> {
    /// The dotted name of `key` in this section.
    pub fn path(&self, key: &str) -> String {
        match (self.key.as_str(), key) {
            ("", key) => key.to_owned(),
            (own, "") => own.to_owned(),
            (own, key) => format!("{own}.{key}"),
        }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where faults go.
    pub fn faults(&self) -> &'a Faults {
        self.faults
    }

    /// The node of `key`, if it is there.
    pub fn node(&self, key: &str) -> Option<&'a Node> {
        self.seen.borrow_mut().insert(key.to_owned());
        self.members.iter().find(|(name, _, _)| name == key).map(|(_, _, node)| node)
    }

    /// Every key and node, all of them asked for.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
        self.seen.borrow_mut().extend(self.members.iter().map(|(name, _, _)| name.clone()));
        self.members.iter().map(|(name, _, node)| (name.as_str(), node))
    }

    /// Reads `key` if it is there; a fault when it does not read.
    pub fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Node) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match read(node) {
            Ok(value) => Some(value),
            Err(message) => {
                self.faults.note(node.place, &self.path(key), message);
                None
            }
        }
    }

    /// Reads `key`; a fault when it is missing or does not read.
    pub fn required<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Node) -> Result<T, String>,
    ) -> Option<T> {
        if self.node(key).is_none() {
            self.faults.note(self.place, &self.path(key), "is required and missing");
        }
        self.optional(key, read)
    }

    /// Opens the mapping under `key`, if it is there.
    pub fn section(&self, key: &str) -> Option<Section<'a>> {
        let node = self.node(key)?;
        Some(self.faults.section(node, &self.path(key)))
    }

    /// Notes a fault at `key`, or at the section when the key is not there.
    pub fn fault(&self, key: &str, message: impl Into<String>) {
        let place = self.node(key).map_or(self.place, |node| node.place);
        self.faults.note(place, &self.path(key), message);
    }

    /// Every key that nobody asked for is a fault.
    pub fn finish(self) {
        let seen = self.seen.borrow();
        for (name, place, _) in self.members {
            if !seen.contains(name) {
                let mut known: Vec<_> = seen.iter().map(String::as_str).collect();
                known.sort_unstable();
                let message = format!("is not a key here; expected one of {}", known.join(", "));
                self.faults.note(*place, &self.path(name), message);
            }
        }
    }
}

/// Reads one document.
///
/// # Errors
///
/// The first fault of its syntax: behind it nothing can be said.
pub fn read(file: &str, text: &str) -> Result<Node, ConfigErrors> {
    let fault = |place: Place, message: String| {
        let faults = Faults::of(file);
        faults.note(place, "", message);
        faults.into_errors()
    };
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => events.push((event, place(span))),
            Err(e) => {
                let at =
                    Place { line: e.marker().line(), column: e.marker().col().saturating_add(1) };
                return Err(fault(at, e.info().to_owned()));
            }
        }
    }
    let mut reader = Reader { events: events.into_iter().peekable(), documents: 0 };
    reader.document().map_err(|(place, message)| fault(place, message))
}

fn place(span: Span) -> Place {
    Place { line: span.start.line(), column: span.start.col().saturating_add(1) }
}

struct Reader<'t> {
    events: std::iter::Peekable<std::vec::IntoIter<(Event<'t>, Place)>>,
    documents: usize,
}

type Read<T> = Result<T, (Place, String)>;

impl<'t> Reader<'t> {
    fn document(&mut self) -> Read<Node> {
        let mut root = None;
        while let Some((event, place)) = self.events.next() {
            match event {
                Event::DocumentStart(_) => {
                    self.documents = self.documents.saturating_add(1);
                    if self.documents > 1 {
                        return Err((place, "expected one document, got a second one".into()));
                    }
                    root = Some(self.node(0)?);
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {
                    return Err((place, "expected one document".into()));
                }
            }
        }
        let nothing = Node { place: Place { line: 1, column: 1 }, shape: Shape::Map(Vec::new()) };
        Ok(root.unwrap_or(nothing))
    }

    fn node(&mut self, depth: usize) -> Read<Node> {
        let Some((event, place)) = self.events.next() else {
            return Err((Place::default(), "the document ends too early".into()));
        };
        // BOUND: packs nest seven deep; a parser's stack is finite.
        if depth > 32 {
            return Err((place, "nested more than 32 deep".into()));
        }
        let shape = match event {
            Event::Scalar(text, style, 0, None) => {
                Shape::Scalar { text: text.into_owned(), quoted: style != ScalarStyle::Plain }
            }
            Event::SequenceStart(0, None) => self.list(depth)?,
            Event::MappingStart(0, None) => self.map(depth)?,
            Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..) => {
                return Err((place, "anchors, aliases and tags are not read here".into()));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                return Err((place, "expected a value".into()));
            }
        };
        Ok(Node { place, shape })
    }

    fn list(&mut self, depth: usize) -> Read<Shape> {
        let mut items = Vec::new();
        while !matches!(self.events.peek(), Some((Event::SequenceEnd, _)) | None) {
            items.push(self.node(depth.saturating_add(1))?);
        }
        self.events.next();
        Ok(Shape::List(items))
    }

    fn map(&mut self, depth: usize) -> Read<Shape> {
        let mut members: Vec<(String, Place, Node)> = Vec::new();
        let mut seen = HashSet::new();
        while !matches!(self.events.peek(), Some((Event::MappingEnd, _)) | None) {
            let key = self.node(depth.saturating_add(1))?;
            let name = key.text().map_err(|_| (key.place, "expected a key".to_owned()))?.to_owned();
            if !seen.insert(name.clone()) {
                return Err((key.place, format!("`{name}` stands here twice")));
            }
            members.push((name, key.place, self.node(depth.saturating_add(1))?));
        }
        self.events.next();
        Ok(Shape::Map(members))
    }
}

//! What does a pack say of one fact: how it is asked, what it says, when an action needs it?

use std::sync::Arc;

use super::{Condition, Source, Template};
use crate::value::Pointer;

/// One look-up in the system of record.
#[derive(Debug, PartialEq, Eq)]
pub struct FactRule {
    /// Its name in the pack.
    pub name: Box<str>,
    /// Path and query of the GET.
    pub get: Template,
    /// What each argument must look like to enter the path (anchored, and safe in a path).
    pub patterns: Vec<(Box<str>, IdPattern)>,
    /// Where the answer carries its own id, which must equal the first argument; `None` only for a
    /// rule without arguments.
    pub id: Option<Pointer>,
    /// The array of an answer that is a list, of which exactly one item is wanted. The other
    /// pointers are then relative to the item.
    pub items: Option<Pointer>,
    /// What it says.
    pub fields: Vec<(Box<str>, FieldRule)>,
    /// What follows from it.
    pub derive: Vec<Derived>,
}

/// A field that follows from two others; unknown if either is, and never below zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// Its name.
    pub name: Box<str>,
    /// A field.
    pub left: Box<str>,
    /// What is done with them.
    pub operator: Operator,
    /// Another field.
    pub right: Box<str>,
}

/// What is done with two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `left - right`.
    Minus,
    /// `left + right`.
    Plus,
}

/// What an id may look like to enter a path: a set of characters and a length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern {
    /// As written: `[A-Za-z0-9_]{1,255}`.
    pub written: Box<str>,
    /// The allowed bytes.
    pub bytes: Vec<u8>,
    /// Shortest and longest.
    pub length: (usize, usize),
}

impl IdPattern {
    /// Whether `id` looks like that.
    pub fn matches(&self, id: &str) -> bool {
        (self.length.0..=self.length.1).contains(&id.len())
            && id.bytes().all(|b| self.bytes.contains(&b))
    }
}

/// One field of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// The first of these that is there.
    pub at: Vec<Pointer>,
    /// What it must be.
    pub read: ReadAs,
    /// Only when this holds of the answer; else unknown.
    pub when: Option<Condition>,
    /// For a `Bool` made from words.
    pub words: Option<BoolWords>,
}

/// The words that mean true and false; another word is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoolWords {
    /// True.
    pub yes: Vec<Box<str>>,
    /// False.
    pub no: Vec<Box<str>>,
}

/// The type of a field of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAs {
    /// Whole minor units.
    Minor,
    /// A decimal in the fact's own `currency`.
    Major,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// A text as `2026-03-01T12:00:00Z`.
    Rfc3339,
    /// True or false.
    Bool,
    /// A whole number.
    Long,
    /// A text, or the id of an expanded reference.
    Text,
}

/// A fact an action needs.
#[derive(Debug, Clone)]
pub struct FactUse {
    /// The name it is published under.
    pub name: Box<str>,
    /// The look-up.
    pub rule: Arc<FactRule>,
    /// Its arguments.
    pub with: Vec<(Box<str>, Source)>,
    /// Only when this is there. Of several uses under one name exactly one must apply.
    pub given: Option<Source>,
}

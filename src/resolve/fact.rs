//! What does an answer of the system of record say? A typed fact, or why there is none.
//!
//! Never asks anything itself: it says which path to ask, and reads what came back.

use crate::action::{BoolWords, FactRule, FactUse, FieldRule, Operator, Piece, ReadAs, Source};
use crate::call::{Fact, FactValue};
use crate::clock::Timestamp;
use crate::money::{Currency, MINOR_UNITS_MAX};
use crate::value::{Pointer, Value};

use super::text::encoded;
use super::{Scope, names, place};

/// Why there is no fact. Operators read it; an agent reads that there is nothing of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactProblem {
    /// A source of an argument is not there, or is no single name.
    #[error("`{0}` is not there to look it up with")]
    Missing(Box<str>),
    /// An argument does not look like an id: it enters no path.
    #[error("`{0}` does not look like an id")]
    NoId(Box<str>),
    /// The list that should hold it is empty.
    #[error("nothing of that name")]
    NotFound,
    /// The list holds several.
    #[error("several of that name")]
    Several,
    /// The answer is about something else.
    #[error("the answer is about `{0}`, which was not asked for")]
    WrongId(Box<str>),
    /// The answer has no list where the pack says.
    #[error("the answer has no list at `{0}`")]
    NoList(Box<str>),
}

/// What a fact is looked up with: by parameter of its rule.
pub type Arguments = Vec<(Box<str>, Box<str>)>;

/// The arguments of a fact that applies.
///
/// # Errors
///
/// [`FactProblem::Missing`] when one is not there.
pub fn arguments(wanted: &FactUse, scope: &Scope<'_>) -> Result<Arguments, FactProblem> {
    let one = |(name, source): &(Box<str>, Source)| {
        let found = names(source, scope).unwrap_or_default();
        match found.as_slice() {
            [value] => Ok((name.clone(), value.clone())),
            _ => Err(FactProblem::Missing(place(source).into())),
        }
    };
    wanted.with.iter().map(one).collect()
}

/// The path and query to ask.
///
/// # Errors
///
/// [`FactProblem::NoId`] when an argument does not match its pattern, [`FactProblem::Missing`] when
/// there is none.
pub fn fact_target(
    rule: &FactRule,
    arguments: &[(Box<str>, Box<str>)],
) -> Result<String, FactProblem> {
    let mut target = String::new();
    // SECURITY: every argument, also one that the path does not use.
    for (name, pattern) in &rule.patterns {
        let value = argument(arguments, name)?;
        // `.` and `..` are steps of a path, not names.
        let dots = value.bytes().all(|b| b == b'.');
        if dots || !pattern.matches(value) {
            return Err(FactProblem::NoId(name.clone()));
        }
    }
    for piece in &rule.get.0 {
        match piece {
            Piece::Text(text) => target.push_str(text),
            Piece::Name(name) => target.push_str(&encoded(argument(arguments, name)?)),
            Piece::Source(source) => return Err(FactProblem::Missing(place(source).into())),
        }
    }
    Ok(target)
}

fn argument<'a>(arguments: &'a [(Box<str>, Box<str>)], name: &str) -> Result<&'a str, FactProblem> {
    let found = arguments.iter().find(|(own, _)| **own == *name);
    found.map(|(_, value)| &**value).ok_or_else(|| FactProblem::Missing(name.into()))
}

/// Reads the answer of a look-up that was a 200.
///
/// # Errors
///
/// When it is not the one thing that was asked for.
pub fn fact(
    rule: &FactRule,
    arguments: &[(Box<str>, Box<str>)],
    answer: &Value,
    now: Timestamp,
) -> Result<Fact, FactProblem> {
    let about = match &rule.items {
        None => answer,
        Some(at) => match at.find(answer) {
            Some(Value::List(items)) => match items.as_slice() {
                [one] => one,
                [] => return Err(FactProblem::NotFound),
                _ => return Err(FactProblem::Several),
            },
            _ => return Err(FactProblem::NoList(at.to_string().into())),
        },
    };
    let own = rule.id.as_ref().and_then(|at| at.find(about)).and_then(Value::id_text);
    if let Some((first, _)) = rule.patterns.first() {
        let asked = argument(arguments, first)?;
        // SECURITY: a server that answers with something else (a redirect, an alias, a cache) would
        // let one id be judged and another be touched.
        if own.as_deref() != Some(asked) {
            return Err(FactProblem::WrongId(own.unwrap_or_default().into()));
        }
    }
    let fields = fields(rule, about);
    let named = fields.iter().any(|(name, _)| &**name == "id");
    let says_id = rule.fields.iter().any(|(name, _)| &**name == "id");
    let id =
        if named || says_id { text_of(&fields, "id") } else { own.map(String::into_boxed_str) };
    Ok(Fact { id, fields, as_of: now })
}

fn fields(rule: &FactRule, about: &Value) -> Vec<(Box<str>, FactValue)> {
    let read = |(name, field): &(Box<str>, FieldRule)| {
        Some((name.clone(), read(field, about, currency(rule, about))?))
    };
    let mut fields: Vec<_> = rule.fields.iter().filter_map(read).collect();
    for derived in &rule.derive {
        let side = |name: &str| match fields.iter().find(|(own, _)| **own == *name) {
            Some((_, FactValue::Long(number))) => Some(*number),
            _ => None,
        };
        let Some((left, right)) = side(&derived.left).zip(side(&derived.right)) else { continue };
        let value = match derived.operator {
            Operator::Minus => left.checked_sub(right),
            Operator::Plus => left.checked_add(right),
        };
        let value = value.map(|value| FactValue::Long(value.max(0)));
        fields.extend(value.map(|value| (derived.name.clone(), value)));
    }
    fields
}

fn text_of(fields: &[(Box<str>, FactValue)], name: &str) -> Option<Box<str>> {
    match fields.iter().find(|(own, _)| **own == *name) {
        Some((_, FactValue::Text(text))) => Some(text.clone()),
        _ => None,
    }
}

fn currency(rule: &FactRule, about: &Value) -> Option<Currency> {
    let (_, field) = rule.fields.iter().find(|(name, _)| &**name == "currency")?;
    match read(field, about, None)? {
        FactValue::Text(code) => Currency::parse(&code),
        FactValue::Long(_) | FactValue::Bool(_) | FactValue::Time(_) => None,
    }
}

fn read(field: &FieldRule, about: &Value, currency: Option<Currency>) -> Option<FactValue> {
    if field.when.as_ref().is_some_and(|when| !when.holds(about)) {
        return None;
    }
    let present = |at: &Pointer| at.find(about).filter(|value| **value != Value::Null);
    let value = field.at.iter().find_map(present)?;
    let whole = || match value {
        Value::Number(number) => number.to_integer(),
        Value::Text(text) => text.parse::<i64>().ok(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    };
    let money = |minor: i64| {
        // SECURITY: a negative `refunded` would widen what remains; what cannot be is not known.
        (0..=MINOR_UNITS_MAX).contains(&minor).then_some(FactValue::Long(minor))
    };
    match field.read {
        ReadAs::Minor => money(whole()?),
        ReadAs::Major => {
            let decimal = match value {
                Value::Number(number) => *number,
                Value::Text(text) => crate::money::Decimal::parse(text).ok()?,
                Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => return None,
            };
            money(decimal.to_minor(currency?.exponent())?)
        }
        ReadAs::EpochSeconds => whole().map(Timestamp::from_seconds).map(FactValue::Time),
        ReadAs::EpochMillis => whole().map(Timestamp).map(FactValue::Time),
        ReadAs::Rfc3339 => value.text().and_then(Timestamp::parse).map(FactValue::Time),
        ReadAs::Bool => truth(value, field.words.as_ref()).map(FactValue::Bool),
        ReadAs::Long => whole().map(FactValue::Long),
        ReadAs::Text => value.id_text().map(|text| FactValue::Text(text.into())),
    }
}

fn truth(value: &Value, words: Option<&BoolWords>) -> Option<bool> {
    let Some(words) = words else {
        return match value {
            Value::Bool(yes) => Some(*yes),
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                None
            }
        };
    };
    let among = |words: &[Box<str>]| words.iter().any(|word| value.is_word(word));
    match (among(&words.yes), among(&words.no)) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (true, true) | (false, false) => None,
    }
}

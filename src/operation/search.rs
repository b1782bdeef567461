//! Did it happen? What the system of record says of an operation whose outcome is not known.
//!
//! Pure. Never takes a likely answer for one: what two operations could have done, what the vendor may
//! not show yet, what a clock that goes wrong could hide, is not an answer.

use std::time::Duration;

use crate::action::{Condition, Find, Lookup, Made, OutcomeRule, Source, Unit};
use crate::call::Outcome;
use crate::clock::Timestamp;
use crate::money::Money;
use crate::value::{Pointer, Syntax, Value, major_units, minor_units};

/// BOUND: how far a vendor's clock may be behind ours. What was made so shortly before the call may be
/// the call's; what else was made then cannot be told from it.
const CLOCKS_APART: Duration = Duration::from_secs(10 * 60);
/// BOUND: a page of a list at most; a full one may go on where nobody looked.
const PAGE_FULL: usize = 100;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// Where and what.
    pub lookup: &'w Lookup,
    /// How an object of the vendor's reads.
    pub rule: &'w OutcomeRule,
    /// The unit of its amounts.
    pub unit: Unit,
    /// How much.
    pub amount: Option<Money>,
    /// When it was first submitted.
    pub since: Timestamp,
    /// How far the clock of `since` was set forward, as far as is known.
    pub leapt: Duration,
    /// What further places must equal, in the order of the pack's list.
    pub same: &'w [String],
    /// The operation's name, where it went along.
    pub mark: &'w str,
    /// What the vendor made, where it is known already and only its state is asked.
    pub made: Option<&'w str>,
}

/// What an answer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// The thing itself is in this state.
    Is(Outcome),
    /// These may be what was made; `whole` when there is no other.
    Candidates {
        /// Them.
        found: Vec<Candidate>,
        /// Whether the answer shows all there are.
        whole: bool,
    },
    /// Nothing that counts; why.
    Nothing(&'static str),
}

/// Something that may be what an operation made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The vendor's name for it.
    pub id: Box<str>,
    /// What it says of itself.
    pub outcome: Outcome,
    /// Whether it was certainly not there before the call.
    pub is_after: bool,
}

/// What a search comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It happened so, and made that.
    Is(Outcome, Option<Box<str>>),
    /// It did not happen, and will not any more.
    NotThere,
    /// Not an answer; why.
    Unclear(String),
}

/// What a vendor's answer shows of what is wanted.
pub fn shown(wanted: &Wanted<'_>, answer: &Value) -> Shown {
    let made = match &wanted.lookup.find {
        Find::Changed(done) if done.holds(answer) => return Shown::Is(Outcome::Succeeded),
        Find::Changed(_) => return Shown::Nothing("it is not in the state that the call leads to"),
        Find::Made(made) => made,
    };
    let Some(Value::List(items)) = made.items.find(answer) else {
        return Shown::Nothing("the answer has no list where the pack says");
    };
    let mut found = Vec::new();
    for item in items {
        let Some(id) = made.id.find(item).and_then(Value::id_text) else {
            return Shown::Nothing("something in the list has no id");
        };
        if let Some(is_after) = fits(wanted, made, &id, item) {
            let outcome = of_object(wanted.rule, item, Outcome::Succeeded);
            found.push(Candidate { id: id.into(), outcome, is_after });
        }
    }
    let more = Pointer::of(&["has_more"]).find(answer) == Some(&Value::Bool(true));
    Shown::Candidates { found, whole: !more && items.len() < PAGE_FULL }
}

/// Whether an item may be what was made; and then whether it certainly was not there before.
fn fits(wanted: &Wanted<'_>, made: &Made, id: &str, item: &Value) -> Option<bool> {
    if let Some(known) = wanted.made {
        return (known == id).then_some(true);
    }
    if let Some(mark) = &made.mark {
        return mark
            .find(item)
            .and_then(Value::text)
            .filter(|own| *own == wanted.mark)
            .map(|_| true);
    }
    let equal = |(at, _): &(Pointer, Source), wanted: &String| {
        at.find(item).and_then(Value::id_text).as_deref() == Some(wanted)
    };
    if !made.same.iter().zip(wanted.same).all(|(place, value)| equal(place, value)) {
        return None;
    }
    let worth = worth(wanted, made, item);
    if worth == Worth::Other {
        return None;
    }
    let Some(created) = &made.created else { return Some(false) };
    match created.find(item).and_then(moment) {
        // Its end of keeping time: a vendor that counts seconds made it somewhere within this one.
        Some((_, last)) if last.plus(CLOCKS_APART).plus(wanted.leapt) < wanted.since => None,
        Some((_, last)) => Some(last >= wanted.since && worth == Worth::Same),
        None => Some(false),
    }
}

/// How an item's worth compares with what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Same,
    Other,
    /// It cannot be compared: it may be, and is no answer.
    Unclear,
}

fn worth(wanted: &Wanted<'_>, made: &Made, item: &Value) -> Worth {
    // The pack compares no amounts: other marks must do.
    let Some(amount) = &made.amount else { return Worth::Same };
    let Some(money) = wanted.amount else { return Worth::Unclear };
    if let Some(currency) = made.currency.as_ref().and_then(|at| at.find(item)?.text())
        && !currency.eq_ignore_ascii_case(money.currency.code())
    {
        return Worth::Other;
    }
    let Some(value) = amount.find(item) else { return Worth::Unclear };
    let size = match wanted.unit {
        Unit::Minor => minor_units(&without_sign(value), Some(Syntax::Json)).ok(),
        Unit::Major => major_units(&without_sign(value), Some(Syntax::Json))
            .ok()
            .and_then(|decimal| decimal.to_minor(money.currency.exponent())),
    };
    match size {
        Some(minor) if minor == money.minor => Worth::Same,
        Some(_) => Worth::Other,
        None => Worth::Unclear,
    }
}

/// Vendors write what goes out with a sign or without one.
fn without_sign(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(text.strip_prefix('-').unwrap_or(text).into()),
        Value::Number(number) => {
            let text = number.to_string();
            let bare = text.strip_prefix('-').unwrap_or(&text);
            crate::money::Decimal::parse(bare).map_or_else(|_| value.clone(), Value::Number)
        }
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => value.clone(),
    }
}

/// The first and the last moment that a time may mean.
fn moment(value: &Value) -> Option<(Timestamp, Timestamp)> {
    let (first, span) = match value {
        Value::Number(seconds) => (Timestamp::from_seconds(seconds.to_integer()?), 999),
        Value::Text(text) => (Timestamp::parse(text)?, if text.contains('.') { 0 } else { 999 }),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => return None,
    };
    Some((first, first.plus(Duration::from_millis(span))))
}

/// What an object of the vendor's says of itself; `usual` when it says nothing.
pub(super) fn of_object(rule: &OutcomeRule, object: &Value, usual: Outcome) -> Outcome {
    let holds = |rule: &Option<Condition>| rule.as_ref().is_some_and(|rule| rule.holds(object));
    if holds(&rule.rejected) || holds(&rule.failed) {
        return Outcome::Rejected;
    }
    if holds(&rule.pending) {
        return Outcome::Accepted;
    }
    match &rule.done {
        None => usual,
        Some(done) if done.holds(object) => Outcome::Succeeded,
        // A word in no list: taken, and to be looked up later.
        Some(done) if done.at.iter().any(|at| at.is_present(object)) => Outcome::Accepted,
        Some(_) => usual,
    }
}

/// What it means when no candidate is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It did not happen.
    Tells,
    /// The vendor need not show it yet.
    TooEarly,
    /// The list goes on where nobody looked.
    GoesOn,
}

/// What the candidates come to that no other operation made.
pub fn verdict(found: &[Candidate], absence: Absence) -> Verdict {
    match found {
        [] => match absence {
            Absence::Tells => Verdict::NotThere,
            Absence::TooEarly => Verdict::Unclear("nothing there yet".into()),
            Absence::GoesOn => Verdict::Unclear("the list goes on where nobody looked".into()),
        },
        [one] if one.is_after => Verdict::Is(one.outcome, Some(one.id.clone())),
        [one] => Verdict::Unclear(format!("{} may be from before the call", one.id)),
        several => {
            let ids: Vec<&str> = several.iter().take(5).map(|one| &*one.id).collect();
            Verdict::Unclear(format!("{} fit: {}", several.len(), ids.join(", ")))
        }
    }
}

//! What do the systems of record say, in which words? The facts that were read when it was asked.
//!
//! A value is masked and cut like any text of somebody else's; money is money only with its currency.

use super::look::{Check, FactRow, Value};
use super::parts::{money_text, span};
use crate::call::FactValue;
use crate::gate::{Gate, Opened};
use crate::money::{Currency, Money};
use crate::store::Record;

/// Fields that are said elsewhere, or say nothing to a person.
const LEFT_OUT: [&str; 3] = ["currency", "id", "customer"];
/// Fields that count minor units of the fact's own currency.
const MONEY: [&str; 10] = [
    "amount",
    "paid",
    "captured",
    "refunded",
    "remaining",
    "total",
    "due",
    "balance",
    "open",
    "unpaid",
];

/// One row for each field, the order of the pack.
pub fn rows(record: &Record, opened: &Opened) -> Vec<FactRow> {
    let upstream = &record.about.upstream;
    let mut rows = Vec::new();
    for (fact, read) in &opened.facts.read {
        let text = |field: &str| {
            read.fields.iter().find(|(own, _)| &**own == field).map(|(_, value)| value)
        };
        let currency = match text("currency") {
            Some(FactValue::Text(code)) => Currency::parse(code),
            Some(FactValue::Long(_) | FactValue::Bool(_) | FactValue::Time(_)) | None => None,
        };
        for (field, value) in &read.fields {
            if LEFT_OUT.contains(&&**field) {
                continue;
            }
            let own = format!("{fact}.{field}");
            let is_assumed = opened.facts.assumed.iter().any(|assumed| **assumed == *own);
            let value = shown((field, value), currency);
            rows.push(FactRow {
                name: super::hold::capital(&field.replace('_', " ")),
                value: if is_assumed { assumed(value) } else { value },
                source: super::parts::name(&format!("{upstream}, {fact}")),
                as_of: read.as_of,
            });
        }
    }
    rows
}

fn shown((field, value): (&str, &FactValue), currency: Option<Currency>) -> Value {
    match (value, currency) {
        (FactValue::Long(minor), Some(currency)) if MONEY.contains(&field) => {
            Value::Money(Money { minor: *minor, currency })
        }
        (FactValue::Long(number), _) => Value::Number(*number),
        (FactValue::Bool(yes), _) => Value::Bool(*yes),
        (FactValue::Time(at), _) => Value::Time(*at),
        (FactValue::Text(text), _) => Value::Text(crate::redact::text(text)),
    }
}

/// Nobody said so: the contract takes it for granted.
fn assumed(value: Value) -> Value {
    Value::Assumed(match value {
        Value::Bool(yes) => if yes { "Yes" } else { "No" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Money(money) => money_text(money),
        Value::Time(at) => at.to_string(),
        Value::Text(text) | Value::Assumed(text) => text,
    })
}

fn find<'f>(facts: &'f [FactRow], name: &str) -> Option<&'f Value> {
    facts.iter().find(|fact| fact.name == name).map(|fact| &fact.value)
}

/// How much was given back before.
pub fn given_back(facts: &[FactRow]) -> Option<Money> {
    match find(facts, "Refunded")? {
        Value::Money(amount) => Some(*amount),
        Value::Bool(_) | Value::Time(_) | Value::Number(_) | Value::Text(_) | Value::Assumed(_) => {
            None
        }
    }
}

/// What of the facts is in order, in words.
pub fn checks(gate: &Gate, record: &Record, facts: &[FactRow]) -> Vec<Check> {
    let mut checks = Vec::new();
    match find(facts, "Disputed") {
        Some(Value::Bool(false)) => {
            checks.push(Check { words: "Not disputed".into(), in_order: true })
        }
        Some(Value::Bool(true)) => {
            checks.push(Check { words: "it is disputed".into(), in_order: false })
        }
        Some(
            Value::Money(_)
            | Value::Time(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Assumed(_),
        )
        | None => {}
    }
    if let (Some(Value::Money(left)), Some(amount)) =
        (find(facts, "Remaining"), record.about.amount)
        && left.currency == amount.currency
    {
        let words = format!("{} of it can still be given back", money_text(*left));
        checks.push(Check { words, in_order: left.minor >= amount.minor });
    }
    if let Some(Value::Time(at)) = find(facts, "Purchased at") {
        let ago = record.created.since(*at);
        let window =
            gate.contract_of(record).and_then(|contract| contract.window.as_ref().map(|w| w.max));
        let words = match window {
            Some(window) => {
                format!("Bought {} before asking; the window is {}", span(ago), span(window))
            }
            None => format!("Bought {} before asking", span(ago)),
        };
        checks.push(Check { words, in_order: window.is_none_or(|window| ago <= window) });
    }
    checks
}

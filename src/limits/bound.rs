//! Which bounds of loops did the operator write?

use std::time::Duration;

use crate::bounds::WITHIN_MAX;
use crate::money::Price;
use crate::yaml::{Faults, Node, Shape};

/// BOUND: loop bounds in one configuration; a call counts in each.
const BOUNDS_MAX: usize = 16;

/// One configured bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Its name, in log lines and metrics.
    pub name: Box<str>,
    /// What is counted apart.
    pub per: LoopPer,
    /// So many calls, reads too.
    pub calls: Option<u64>,
    /// What they may cost, by currency; empty: whatever they cost.
    pub cost: Vec<Price>,
    /// In any such span.
    pub within: Duration,
    /// Operators are told once so many per cent are used.
    pub alert: Option<u8>,
}

/// What a loop bound counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoopPer {
    /// A case of an agent's and a customer's: `Tollhouse-Case`.
    Case,
    /// A conversation of an agent's: the trace id of `traceparent`.
    Trace,
}

impl LoopPer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Case => "case",
            Self::Trace => "trace",
        }
    }
}

/// Reads the list under `loops`.
pub fn read(faults: &Faults, node: &Node, key: &str) -> Vec<Bound> {
    let Shape::List(items) = &node.shape else {
        faults.note(node.place, key, "expected a list of loop bounds");
        return Vec::new();
    };
    if items.len() > BOUNDS_MAX {
        faults.note(node.place, key, format!("expected at most {BOUNDS_MAX} loop bounds"));
    }
    let mut bounds: Vec<Bound> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = format!("{key}[{index}]");
        if let Some(bound) = read_bound(faults, item, &key) {
            if bounds.iter().any(|other| other.name == bound.name) {
                let message = format!("a loop bound `{}` stands here twice", bound.name);
                faults.note(item.place, &key, message);
            }
            bounds.push(bound);
        }
    }
    bounds
}

fn read_bound(faults: &Faults, node: &Node, key: &str) -> Option<Bound> {
    let section = faults.section(node, key);
    let name = section.required("name", super::rule::plain_name);
    let per = section.required("per", |node| match node.text()? {
        "case" => Ok(LoopPer::Case),
        "trace" => Ok(LoopPer::Trace),
        other => Err(format!("expected `case` or `trace`, got `{other}`")),
    });
    let calls = section.optional("calls", |node| match node.count()? {
        0 => Err("expected one call at least".to_owned()),
        calls => Ok(calls),
    });
    let cost = section.optional("cost", |node| {
        let amounts = node.amounts()?;
        let prices = amounts.into_iter().map(|money| {
            let price = Price::of(money).filter(|price| price.micro > 0);
            price.ok_or_else(|| format!("`{money}` bounds nothing; expected one as `2.00 USD`"))
        });
        prices.collect::<Result<Vec<_>, _>>()
    });
    let within = section.required("within", |node| match node.duration()? {
        Duration::ZERO => Err("expected more than no time".to_owned()),
        within if within > WITHIN_MAX => Err("expected 31d at most".to_owned()),
        within => Ok(within),
    });
    let alert = section.optional("alert", Node::per_cent);
    if calls.is_none() && cost.is_none() {
        section.fault("", "expected `calls`, `cost`, or both");
    }
    section.finish();
    let cost = cost.unwrap_or_default();
    Some(Bound { name: name?.into(), per: per?, calls, cost, within: within?, alert })
}

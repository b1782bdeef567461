//! How is what was read told? Counts, sums by currency, shares, days, groups, and the single ones.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{By, Came, Item, Summary};

/// BOUND: groups that are told; a policy set has some thirty, and agents are few.
const GROUPS_MAX: usize = 200;

/// Counts and sums of some calls.
#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    amounts: BTreeMap<Box<str>, i64>,
}

impl Tally {
    fn add(&mut self, item: &Item) {
        self.calls = self.calls.saturating_add(1);
        if let Some((currency, minor)) = &item.amount {
            let sum = self.amounts.entry(currency.clone()).or_default();
            *sum = sum.saturating_add(*minor);
        }
    }

    fn shown(&self) -> Value {
        let amounts = self.amounts.iter();
        let amounts =
            amounts.map(|(currency, minor)| json!({ "currency": currency, "minor": minor }));
        json!({ "calls": self.calls, "amounts": amounts.collect::<Vec<_>>() })
    }
}

/// One group.
#[derive(Debug, Default)]
struct Group {
    came: BTreeMap<Came, Tally>,
    approved: u64,
    needless: u64,
    right: u64,
}

impl Group {
    fn add(&mut self, item: &Item) {
        self.came.entry(item.came).or_default().add(item);
        let one = |count: &mut u64, yes: bool| *count = count.saturating_add(u64::from(yes));
        let verdict = item.mark.as_ref().map(|mark| &*mark.verdict);
        one(&mut self.approved, item.answer == Some("approved"));
        one(&mut self.needless, verdict == Some("needless"));
        one(&mut self.right, verdict == Some("right"));
    }

    fn calls(&self) -> u64 {
        self.came.values().map(|tally| tally.calls).fold(0, u64::saturating_add)
    }

    fn shown(&self) -> Map<String, Value> {
        let mut members = came(&self.came);
        let looked_at = self.needless.saturating_add(self.right);
        // Of those that somebody looked at, how many the rule was right about.
        let precision = self.right.saturating_mul(1000).checked_div(looked_at);
        members.insert("approved".to_owned(), json!(self.approved));
        members.insert("needless".to_owned(), json!(self.needless));
        members.insert("right".to_owned(), json!(self.right));
        members.insert("not_looked_at".to_owned(), json!(self.calls().saturating_sub(looked_at)));
        members.insert("right_per_mille".to_owned(), json!(precision));
        members
    }
}

fn came(all: &BTreeMap<Came, Tally>) -> Map<String, Value> {
    let nothing = Tally::default();
    let one = |(name, came): &(&str, Came)| {
        ((*name).to_owned(), all.get(came).unwrap_or(&nothing).shown())
    };
    Came::ALL.iter().map(one).collect()
}

impl Summary {
    /// All of it but the single ones.
    pub fn shown(&self) -> Value {
        let mut whole = Group::default();
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        let mut days: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for item in self.items.values() {
            whole.add(item);
            for name in names(item, self.asked.by) {
                groups.entry(name).or_default().add(item);
            }
            let people = match item.came {
                Came::WouldHold => Some(0),
                Came::Held => Some(1),
                Came::WouldRefuse | Came::Refused => None,
            };
            let day = item.at.get(..10).unwrap_or_default();
            if let Some(count) = people.and_then(|at| days.entry(day).or_default().get_mut(at)) {
                *count = count.saturating_add(1);
            }
        }
        let mut groups: Vec<(&str, Group)> = groups.into_iter().collect();
        groups.sort_by(|one, other| {
            other.1.calls().cmp(&one.1.calls()).then_with(|| one.0.cmp(other.0))
        });
        let left_out = groups.len().saturating_sub(GROUPS_MAX);
        let groups = groups.iter().take(GROUPS_MAX).map(|(name, group)| {
            let mut members = group.shown();
            members.insert("name".to_owned(), json!(name));
            members.insert("share_per_mille".to_owned(), self.share(group.calls()));
            Value::Object(members)
        });
        let days = days.iter().map(|(day, [would_hold, held])| {
            json!({ "day": day, "would_hold": would_hold, "held": held })
        });
        let mut shown = Map::from_iter([
            ("since".to_owned(), json!(self.asked.since.to_string())),
            ("until".to_owned(), json!(self.asked.until.to_string())),
            ("by".to_owned(), json!(self.asked.by.name())),
            ("effects".to_owned(), json!(self.effects)),
            ("reads".to_owned(), json!(self.reads)),
            ("counted_only".to_owned(), json!(self.more)),
            ("records".to_owned(), json!(self.lines)),
            ("unread".to_owned(), json!(self.unread)),
            ("complete".to_owned(), json!(!self.is_cut && left_out == 0)),
            ("share_per_mille".to_owned(), self.share(whole.calls())),
            ("days".to_owned(), json!(days.collect::<Vec<_>>())),
            ("groups".to_owned(), json!(groups.collect::<Vec<_>>())),
        ]);
        shown.extend(whole.shown());
        Value::Object(shown)
    }

    /// The single ones, the latest first.
    pub fn listed(&self, most: usize) -> Value {
        let mut items: Vec<&Item> = self.items.values().collect();
        items.sort_by(|one, other| {
            other.at.cmp(&one.at).then_with(|| one.operation.cmp(&other.operation))
        });
        Value::Array(items.into_iter().take(most).map(shown).collect())
    }

    /// Of all calls, reads included.
    fn share(&self, calls: u64) -> Value {
        let all = self.effects.saturating_add(self.reads);
        json!(calls.saturating_mul(1000).checked_div(all))
    }
}

/// The groups that a call is in.
fn names(item: &Item, by: By) -> Vec<&str> {
    match by {
        By::Policy if item.policies.is_empty() => vec![&*item.code],
        By::Policy => item.policies.iter().map(|id| &**id).collect(),
        By::Action => vec![&*item.action],
        By::Class => vec![&*item.class],
        By::Agent => vec![&*item.agent],
        By::Tenant => vec![&*item.tenant],
        By::Code => vec![&*item.code],
    }
}

fn shown(item: &Item) -> Value {
    let amount = item.amount.as_ref();
    let amount = amount.map(|(currency, minor)| json!({ "currency": currency, "minor": minor }));
    let mark = item.mark.as_ref().map(|mark| {
        json!({ "verdict": mark.verdict, "by": mark.by, "at": mark.at, "reason": mark.note })
    });
    json!({
        "at": item.at,
        "came": item.came.name(),
        "operation": item.operation,
        "code": item.code,
        "policies": item.policies,
        "action": item.action,
        "class": item.class,
        "agent": item.agent,
        "tenant": item.tenant,
        "customer": item.customer,
        "resource": item.resource,
        "amount": amount,
        "answer": item.answer,
        "mark": mark,
    })
}

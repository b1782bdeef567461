//! Which signals does a call show? Declared facts about what was seen, for policy; never an accusation.

use std::sync::Arc;

use super::{Alarms, Most, Per, Rule, Subject, What, span};
use crate::call::Class;
use crate::decision::{self, Then};
use crate::money::{Currency, Money};
use crate::store::{BrakeUse, Tally};

/// One configured signal: it shows from `rule.most` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What it counts; it shows once there is that much.
    pub rule: Rule,
    /// For effects of these classes; all, when empty.
    pub effects: Vec<Class>,
    /// How near below the cap an amount must be, per mille of it.
    pub near: u16,
    /// What then.
    pub then: Then,
}

/// A count that a call must know.
#[derive(Debug)]
pub struct Look {
    signal: usize,
    /// What is read.
    pub tally: Tally,
}

/// A count that a call knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    signal: usize,
    unit: Option<Currency>,
    total: i64,
}

impl Look {
    /// What it came to.
    pub fn seen(&self, total: i64) -> Seen {
        Seen { signal: self.signal, unit: self.tally.unit, total }
    }
}

impl Alarms {
    /// The counts that an effect's signals hang on; none for a read, or where none is declared.
    pub fn looks(&self, subject: &Subject<'_>) -> Vec<Look> {
        if !subject.class.is_some_and(Class::is_effect) {
            return Vec::new();
        }
        let mut looks = Vec::new();
        for (signal, one) in self.signals().iter().enumerate() {
            let applies = |class| one.effects.is_empty() || one.effects.contains(&class);
            // What is counted may be of another class than the effect that is judged by it.
            let named = subject.named(&one.rule).filter(|_| subject.class.is_some_and(applies));
            let Some(named) = named else { continue };
            let key = named.key(&one.rule.name);
            let within = one.rule.within;
            let look = |unit| Look {
                signal,
                tally: Tally { key: key.clone(), unit, count: 0, within, since: None },
            };
            match &one.rule.most {
                Most::Times(_) => looks.push(look(None)),
                Most::Money(all) => looks.extend(all.iter().map(|most| look(Some(most.currency)))),
            }
        }
        looks
    }

    /// The signals that show; each once.
    pub fn signalled(
        &self,
        seen: &[Seen],
        amount: Option<Money>,
        cap: Option<i64>,
    ) -> Vec<decision::Signal> {
        let mut shown: Vec<decision::Signal> = Vec::new();
        for Seen { signal, unit, total } in seen {
            let Some(one) = self.signals().get(*signal) else { continue };
            let total = match one.rule.watch {
                // The call itself counts, or it is none of them.
                What::NearCap if !one.is_near(amount, cap) => continue,
                What::NearCap => total.saturating_add(1),
                What::Refunds
                | What::Money
                | What::Refusals
                | What::Holds
                | What::Mismatches
                | What::Failed => *total,
            };
            let is_shown = one.rule.most.of(*unit).is_some_and(|least| total >= least);
            if is_shown && !shown.iter().any(|other| other.name == one.rule.name) {
                shown.push(decision::Signal {
                    name: Arc::clone(&one.rule.name),
                    seen: one.seen(*unit, total).into(),
                    then: one.then,
                });
            }
        }
        shown
    }
}

impl Signal {
    /// What is counted of an effect when it is let go.
    pub(super) fn uses(
        &self,
        subject: &Subject<'_>,
        amount: Option<Money>,
        cap: Option<i64>,
    ) -> Vec<BrakeUse> {
        let Some(named) = self.rule.named(subject).filter(|_| self.rule.watch.is_let_go()) else {
            return Vec::new();
        };
        let takes = match self.rule.watch {
            What::NearCap if self.is_near(amount, cap) => vec![(None, 1)],
            What::NearCap => Vec::new(),
            What::Refunds
            | What::Money
            | What::Refusals
            | What::Holds
            | What::Mismatches
            | What::Failed => self.rule.takes(subject, amount).into_vec(),
        };
        let key = named.key(&self.rule.name);
        let one = |(unit, count)| BrakeUse {
            id: "".into(),
            number: "".into(),
            key: key.clone(),
            unit,
            count,
            within: self.rule.within,
            most: None,
        };
        takes.into_iter().map(one).collect()
    }

    /// Whether an amount is just under the cap, the cap itself included.
    fn is_near(&self, amount: Option<Money>, cap: Option<i64>) -> bool {
        let (Some(amount), Some(cap)) = (amount, cap.filter(|cap| *cap > 0)) else { return false };
        let below = i128::from(cap.saturating_sub(amount.minor)).saturating_mul(1000);
        let near = i128::from(cap).saturating_mul(i128::from(self.near));
        (0..=near).contains(&below)
    }

    /// `4 refunds for this customer in 30 days`.
    fn seen(&self, unit: Option<Currency>, count: i64) -> String {
        let count = match unit {
            Some(currency) => Money { minor: count, currency }.to_string(),
            None => count.to_string(),
        };
        let whose = match self.rule.per {
            Per::Customer => "for this customer",
            Per::Case => "in this case",
            Per::Agent => "by this agent",
            Per::Tenant => "in this tenant",
            Per::Class => "of this class",
            Per::Kind => "of this kind",
            Per::Action => "of this action",
        };
        let within = span(self.rule.within);
        format!("{count} {} {whose} in {within}", self.rule.watch.words())
    }
}

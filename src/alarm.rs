//! What happens too often? Brakes, which hold what is asked for more than usual, and signals, which tell
//! policy what was seen; both over counts that a whole fleet shares, each within one tenant.
//!
//! Never decides about a call (a brake is looked at in the store's step, a signal by policy), never waits for
//! the store on the path, and never forgets a count in silence.

mod pending;
mod read;
mod shown;
mod signal;
mod subject;

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

pub use self::pending::{Item, Pending, Tripping};
pub use self::signal::{Look, Seen, Signal};
pub use self::subject::{Named, Subject};
use crate::call::{Class, Kind};
use crate::clock::Timestamp;
use crate::decision::Reason;
use crate::money::{Currency, MINOR_UNITS_MAX, Money};
use crate::store::{BrakeUse, Freeze, Stops, Tally};

/// BOUND: brakes that are on, or were released within their window; a name in a token may be anything, and each
/// stands in every tenant's rows, where each reserve reads it.
pub const BRAKES_MAX: usize = 500;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Refunds that were let go.
    Refunds,
    /// Money of financial calls that were let go.
    Money,
    /// Calls that were refused for what they are.
    Refusals,
    /// Calls that were held for a person, but not by a brake alone.
    Holds,
    /// Calls on what is somebody else's.
    Mismatches,
    /// Effects that were sent and rejected, or whose outcome is unknown.
    Failed,
    /// Amounts just under the automatic cap that were let go.
    NearCap,
}

impl What {
    /// Everything that can be counted, by its name.
    const ALL: [(Self, &'static str); 7] = [
        (Self::Refunds, "refunds"),
        (Self::Money, "money"),
        (Self::Refusals, "refusals"),
        (Self::Holds, "holds"),
        (Self::Mismatches, "mismatches"),
        (Self::Failed, "failed"),
        (Self::NearCap, "near_cap"),
    ];

    /// Whether it is counted where a call is let go, exactly; else a moment later.
    fn is_let_go(self) -> bool {
        match self {
            Self::Refunds | Self::Money | Self::NearCap => true,
            Self::Refusals | Self::Holds | Self::Mismatches | Self::Failed => false,
        }
    }

    /// As people read it after a number.
    fn words(self) -> &'static str {
        match self {
            Self::Refunds => "refunds",
            Self::Money => "of money",
            Self::Refusals => "refused calls",
            Self::Holds => "held calls",
            Self::Mismatches => "calls on what is not theirs",
            Self::Failed => "failed effects",
            Self::NearCap => "amounts just under the automatic cap",
        }
    }
}

/// What is counted apart, within a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Each class of effects.
    Class,
    /// Each kind of effects.
    Kind,
    /// Each action.
    Action,
    /// Each agent.
    Agent,
    /// The tenant as a whole.
    Tenant,
    /// Each customer's account, under any agent.
    Customer,
    /// Each case of an agent. The case is the agent's word; without one a customer is one case.
    Case,
}

impl Per {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Class, "class"),
        (Self::Kind, "kind"),
        (Self::Action, "action"),
        (Self::Agent, "agent"),
        (Self::Tenant, "tenant"),
        (Self::Customer, "customer"),
        (Self::Case, "case"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(per, _)| *per == self).map_or("", |(_, name)| name)
    }
}

/// How much is usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Most {
    /// So often.
    Times(i64),
    /// So much, by currency. A currency that is not listed is not watched.
    Money(Vec<Money>),
}

/// What a rule watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// What is counted.
    pub watch: What,
    /// Apart for whom.
    pub per: Per,
    /// Only in calls of these classes; all, when empty.
    pub classes: Vec<Class>,
    /// Only in calls with an effect of these kinds; all, when empty.
    pub kinds: Vec<Kind>,
    /// How much.
    pub most: Most,
    /// Over how long.
    pub within: Duration,
}

/// A brake: past this, its scope is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brake {
    /// What it watches; `most` may be let go.
    pub rule: Rule,
    /// Released by itself once it was within bounds for so long; by hand, without.
    pub quiet: Option<Duration>,
}

/// Everything that is watched for.
#[derive(Debug, Default)]
pub struct Alarms {
    brakes: Vec<Brake>,
    signals: Vec<Signal>,
    /// What happened and is not counted yet, under whatever configuration.
    pub pending: Arc<Pending>,
}

impl Alarms {
    /// Those of a configuration.
    pub fn new(brakes: Vec<Brake>, signals: Vec<Signal>) -> Self {
        Self { brakes, signals, pending: Arc::default() }
    }

    /// The same in the place of others: what they have not counted yet is counted.
    #[must_use]
    pub fn after(self, before: Option<&Self>) -> Self {
        let pending = before.map_or(self.pending, |before| Arc::clone(&before.pending));
        Self { pending, ..self }
    }

    /// The brakes, as they are configured.
    pub fn brakes(&self) -> &[Brake] {
        &self.brakes
    }

    /// The signals, as they are configured.
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// The brake of that name.
    pub fn brake(&self, name: &str) -> Option<&Brake> {
        self.brakes.iter().find(|brake| *brake.rule.name == *name)
    }

    /// What is counted of an effect if it is let go; `cap` is the most that goes without a person.
    pub fn uses(
        &self,
        subject: &Subject<'_>,
        amount: Option<Money>,
        cap: Option<i64>,
    ) -> Vec<BrakeUse> {
        let mut uses = Vec::new();
        for Brake { rule, .. } in &self.brakes {
            let Some(named) = rule.named(subject).filter(|_| rule.watch.is_let_go()) else {
                continue;
            };
            let number = named.number(&rule.name);
            uses.extend(rule.takes(subject, amount).into_iter().map(|(unit, count)| BrakeUse {
                id: id(&rule.name),
                number: number.clone(),
                key: number.clone(),
                unit,
                count,
                within: rule.within,
                most: rule.most.of(unit),
            }));
        }
        for signal in &self.signals {
            uses.extend(signal.uses(subject, amount, cap));
        }
        uses
    }

    /// Something happened; counted in a moment.
    pub fn happened(&self, what: What, subject: &Subject<'_>) {
        let watched = |rule: &Rule| rule.watch == what;
        for brake in self.brakes.iter().filter(|brake| watched(&brake.rule)) {
            if let Some(named) = brake.rule.named(subject) {
                self.pending.add(Item::of_brake(&brake.rule, &named, (None, 1, 0)));
            }
        }
        for signal in self.signals.iter().filter(|signal| watched(&signal.rule)) {
            if let Some(named) = signal.rule.named(subject) {
                self.pending.add(Item::of_signal(signal, &named, subject.agent));
            }
        }
    }

    /// Whether anything counts it: nothing is made ready for what nobody watches.
    pub fn watches(&self, what: What) -> bool {
        let mut rules = self.brakes.iter().map(|brake| &brake.rule);
        let mut signals = self.signals.iter().map(|signal| &signal.rule);
        rules.any(|rule| rule.watch == what) || signals.any(|rule| rule.watch == what)
    }

    /// A call is held for these reasons. What a brake holds is counted as asked for, and the brake is to be
    /// put on, if it is not.
    pub fn held(&self, subject: &Subject<'_>, amount: Option<Money>, reasons: &[Reason]) {
        let by_brake = |reason: &Reason| reason.policy.starts_with(ID);
        if reasons.iter().any(|reason| !by_brake(reason)) {
            self.happened(What::Holds, subject);
        }
        for Brake { rule, .. } in self.brakes.iter().filter(|one| one.rule.watch.is_let_go()) {
            let id = id(&rule.name);
            if !reasons.iter().any(|reason| reason.policy == id) {
                continue;
            }
            let Some(named) = rule.named(subject) else { continue };
            for (unit, count) in rule.takes(subject, amount) {
                self.pending.add(Item::asked(rule, &named, (unit, count)));
                self.pending.add(Item::of_brake(rule, &named, (unit, 0, count)));
            }
            self.pending.wake.notify_one();
        }
    }

    /// The counts that say whether a brake that is on has become quiet; each with what is usual.
    pub fn counts(&self, on: &Freeze) -> Vec<(Vec<Tally>, i64)> {
        let Some(Brake { rule, .. }) = self.brake(on.brake()) else { return Vec::new() };
        let tally =
            |key: Box<str>, unit| Tally { key, unit, count: 0, within: rule.within, since: None };
        let asked = asked_key(&on.id);
        let both = |unit| vec![tally(on.id.clone(), unit), tally(asked.clone(), unit)];
        match &rule.most {
            Most::Times(most) => vec![(both(None), *most)],
            Most::Money(all) => {
                all.iter().map(|most| (both(Some(most.currency)), most.minor)).collect()
            }
        }
    }
}

/// `10m`, `30 days`.
fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace("day", " day")
}

/// What a brake's id begins with, on holds.
const ID: &str = "brake.";

fn id(name: &str) -> Box<str> {
    format!("{ID}{name}").into()
}

/// Where it is counted what a brake holds.
fn asked_key(number: &str) -> Box<str> {
    format!("{number}|asked").into()
}

impl Rule {
    /// Whom it counts this for; `None` when it does not.
    pub fn named(&self, subject: &Subject<'_>) -> Option<Named> {
        let classes =
            self.classes.is_empty() || subject.class.is_some_and(|own| self.classes.contains(&own));
        let kinds =
            self.kinds.is_empty() || subject.kinds.iter().any(|own| self.kinds.contains(own));
        (classes && kinds).then(|| subject.named(self)).flatten()
    }

    /// What an effect takes of what is counted when it is let go: of what, how much.
    fn takes(
        &self,
        subject: &Subject<'_>,
        amount: Option<Money>,
    ) -> SmallVec<[(Option<Currency>, i64); 1]> {
        let mut takes = SmallVec::new();
        match (self.watch, &self.most) {
            (What::Refunds, Most::Times(_)) if subject.kinds.contains(&Kind::Refund) => {
                takes.push((None, 1));
            }
            (What::Money, Most::Money(all)) if subject.class == Some(Class::Financial) => {
                let listed = |most: &&Money| amount.is_none_or(|own| own.currency == most.currency);
                takes.extend(all.iter().filter(listed).map(|most| {
                    // What is not known is as much as is let go.
                    let minor = amount.map_or(most.minor, |own| own.minor);
                    (Some(most.currency), minor.clamp(0, MINOR_UNITS_MAX))
                }));
            }
            (What::Refunds | What::Money, Most::Times(_) | Most::Money(_)) => {}
            (What::NearCap | What::Refusals | What::Holds | What::Mismatches | What::Failed, _) => {
            }
        }
        takes
    }

    /// `21 refunds in 10m, more than 20`.
    pub fn words(&self, unit: Option<Currency>, count: i64) -> String {
        let within = span(self.within);
        let most = self.most.of(unit).unwrap_or(0);
        let (count, most) = match unit {
            Some(currency) => (
                Money { minor: count, currency }.to_string(),
                Money { minor: most, currency }.to_string(),
            ),
            None => (count.to_string(), most.to_string()),
        };
        format!("{count} {} in {within}, more than {most}", self.watch.words())
    }
}

impl Most {
    /// In one unit.
    pub fn of(&self, unit: Option<Currency>) -> Option<i64> {
        match (self, unit) {
            (Self::Times(most), None) => Some(*most),
            (Self::Money(all), Some(currency)) => {
                all.iter().find(|most| most.currency == currency).map(|most| most.minor)
            }
            (Self::Times(_), Some(_)) | (Self::Money(_), None) => None,
        }
    }
}

/// When a brake of that number was released, if what came before it is still remembered.
pub fn released(brakes: &[Freeze], number: &str) -> Option<Timestamp> {
    let own = |one: &&Freeze| one.stops == Stops::Nothing && *one.id == *number;
    brakes.iter().find(own).map(|one| one.at)
}

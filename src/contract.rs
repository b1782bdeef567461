//! What may one action do at best? The numbers and names an operator wrote for it.
//!
//! Words only: `policy`, `limits`, `approval` and `operation` each read their part.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Class, FactValue, Facts};
use crate::money::{Currency, Money, Price};

/// The contract of one action for one agent, everything merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Who answers for the action.
    pub team: Arc<str>,
    /// What happens at best.
    pub outcome: Best,
    /// Up to here without a person, by currency. A currency that is not listed is held.
    pub cap_auto: Vec<Money>,
    /// Up to here even with one. A currency that is not listed has no ceiling of its own.
    pub cap_hard: Vec<Money>,
    /// Room over time.
    pub budgets: Vec<Budget>,
    /// The time the policy allows.
    pub window: Option<Window>,
    /// Context the agent must send.
    pub require: Vec<Required>,
    /// Who must say yes.
    pub approval: ApprovalRule,
    /// Bands of the agent's own confidence, per mille.
    pub confidence: ConfidenceRule,
    /// What an effect like a recent one gets.
    pub duplicates: DuplicateRule,
    /// Facts taken for granted where an answer lacks them: `charge.disputed`.
    pub assume: Vec<(Box<str>, Assumed)>,
    /// Whether the company's own data, which is no customer's, is open.
    pub internal: bool,
    /// How long a sign-in counts as fresh.
    pub fresh_auth: Duration,
    /// The roles of which a customer must have one; empty = any. `None` = what the rules say.
    pub roles: Option<Vec<Box<str>>>,
    /// The names of the message templates that need nobody's eyes.
    pub templates: Vec<Box<str>>,
    /// The action that takes this one back.
    pub undo: Option<Box<str>>,
    /// What one call costs whoever runs the upstream: counted by loop bounds.
    pub price: Option<Price>,
}

/// What happens at best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Best {
    /// It runs.
    Auto,
    /// It is held.
    Hold,
    /// It is refused.
    Refuse,
}

/// Room over time, money or a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// For whom.
    pub per: BudgetScope,
    /// Over how long.
    pub within: Duration,
    /// How much.
    pub room: Room,
    /// What a call past it gets: held or refused.
    pub over: Over,
    /// Operators are told once so many per cent of it are used.
    pub alert: Option<u8>,
}

/// For whom a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetScope {
    /// The customer's account, under any agent.
    Customer,
    /// The agent, for any customer.
    Agent,
    /// Everybody of the tenant.
    Tenant,
    /// A case of one agent's and one customer's, as the agent names it.
    Case,
    /// What is acted on, whoever acts.
    Resource,
    /// The action by its name, whoever asks for it.
    Action,
}

impl BudgetScope {
    /// Every scope.
    pub const ALL: [Self; 6] =
        [Self::Customer, Self::Agent, Self::Tenant, Self::Case, Self::Resource, Self::Action];

    /// Its name in `budget.<per>-<within>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Tenant => "tenant",
            Self::Case => "case",
            Self::Resource => "resource",
            Self::Action => "action",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// The scope of a budget's id: `budget.customer-24h`.
    pub fn of_id(id: &str) -> Option<Self> {
        id.strip_prefix("budget.")?.split_once('-').and_then(|(per, _)| Self::parse(per))
    }
}

/// How much a budget holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// Money, by currency. A currency that is not listed is over it.
    Money(Vec<Money>),
    /// So many effects.
    Count(u64),
}

/// What a call past a limit gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A person decides.
    Hold,
    /// No.
    Refuse,
    /// It runs all the same.
    Allow,
}

/// The time the policy allows, since a moment that a fact names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The field: `purchased_at`.
    pub since: Box<str>,
    /// How long.
    pub max: Duration,
    /// What a call after it gets.
    pub after: Over,
}

/// Context that a contract can require.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Required {
    /// `Tollhouse-Case`.
    Case,
    /// `Tollhouse-Reason`.
    Reason,
    /// `Tollhouse-Confidence`.
    Confidence,
    /// `Tollhouse-Model`.
    Model,
    /// `Idempotency-Key`.
    Key,
    /// A trust level in the agent's token.
    Trust,
}

/// Who must say yes, and how long everybody waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// The queue.
    pub queue: Arc<str>,
    /// How long an agent's connection is parked first.
    pub wait: Duration,
    /// When a hold that nobody answered ends.
    pub expires: Duration,
    /// Who must say yes, from which amount on; the first is from nothing on.
    pub tiers: Vec<Tier>,
}

/// Who must say yes above an amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Above it; `None`: always.
    pub above: Option<Money>,
    /// So many different people.
    pub approvers: u8,
    /// Among them one for each of these roles.
    pub roles: Vec<Box<str>>,
}

impl ApprovalRule {
    /// The tier of an amount: the strictest of those that it is above. An amount that is not known, or is in
    /// a currency that no tier names although others do, is above all of them.
    pub fn tier(&self, amount: Option<Money>) -> Option<&Tier> {
        let is_named = |money: Money| {
            let mut limits = self.tiers.iter().filter_map(|tier| tier.above).peekable();
            limits.peek().is_none() || limits.any(|limit| limit.currency == money.currency)
        };
        let known = amount.filter(|money| is_named(*money));
        let counts = |tier: &&Tier| match (tier.above, known) {
            (None, _) | (Some(_), None) => true,
            (Some(limit), Some(money)) => {
                limit.currency == money.currency && money.minor > limit.minor
            }
        };
        let strictness = |tier: &&Tier| (tier.approvers, tier.roles.len());
        self.tiers.iter().filter(counts).max_by_key(strictness)
    }
}

/// Bands of the agent's own confidence, per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfidenceRule {
    /// Refused below.
    pub refuse_below: Option<u16>,
    /// Held below.
    pub auto_above: Option<u16>,
}

/// What an effect like a recent one gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateRule {
    /// What it gets.
    pub alike: Over,
    /// How far back.
    pub within: Duration,
    /// How near two amounts must be, per mille.
    pub near: u16,
}

/// A value taken for granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assumed {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// A text.
    Text(Box<str>),
}

impl Contract {
    /// What holds for an action of `class` that nobody wrote a contract for: reads and writes run,
    /// money and messages are held.
    pub fn safe(class: Class) -> Self {
        let outward = matches!(class, Class::Financial | Class::Communication);
        Self {
            team: Arc::from(""),
            outcome: if outward { Best::Hold } else { Best::Auto },
            cap_auto: Vec::new(),
            cap_hard: Vec::new(),
            budgets: Vec::new(),
            window: None,
            require: Vec::new(),
            // BOUND: 72 h is a weekend and a day.
            approval: ApprovalRule {
                queue: Arc::from("default"),
                wait: Duration::ZERO,
                expires: Duration::from_secs(72 * 3600),
                tiers: Vec::new(),
            },
            confidence: ConfidenceRule { refuse_below: Some(600), auto_above: None },
            duplicates: DuplicateRule {
                alike: if outward { Over::Hold } else { Over::Allow },
                within: Duration::from_secs(24 * 3600),
                near: 50,
            },
            assume: Vec::new(),
            internal: false,
            // BOUND: 5 min is what banks take for "just signed in".
            fresh_auth: Duration::from_secs(300),
            roles: None,
            templates: Vec::new(),
            undo: None,
            price: None,
        }
    }

    /// The cap of `currency` in a list; `None` when it is not listed.
    pub fn cap(list: &[Money], currency: Currency) -> Option<i64> {
        list.iter().find(|cap| cap.currency == currency).map(|cap| cap.minor)
    }

    /// Adds what the contract takes for granted to facts that were read and lack it, and notes each
    /// in [`Facts::assumed`]. A fact that was not read stays unknown.
    pub fn assume(&self, facts: &mut Facts) {
        for (name, value) in &self.assume {
            let Some((published, field)) = name.split_once('.') else { continue };
            let Some((_, fact)) = facts.read.iter_mut().find(|(own, _)| &**own == published) else {
                continue;
            };
            if fact.fields.iter().all(|(own, _)| &**own != field) {
                fact.fields.push((field.into(), value.fact()));
                facts.assumed.push(name.clone());
            }
        }
    }
}

impl Assumed {
    fn fact(&self) -> FactValue {
        match self {
            Self::Bool(yes) => FactValue::Bool(*yes),
            Self::Long(number) => FactValue::Long(*number),
            Self::Text(text) => FactValue::Text(text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Fact;
    use crate::clock::Timestamp;

    fn charge(fields: Vec<(Box<str>, FactValue)>) -> Facts {
        let fact = Fact { id: Some("ch_1".into()), fields, as_of: Timestamp(0) };
        Facts { read: vec![("charge".into(), fact)], assumed: Vec::new() }
    }

    #[test]
    fn what_an_answer_lacks_is_assumed_in_the_open_and_what_it_says_is_kept() {
        let mut contract = Contract::safe(Class::Financial);
        contract.assume = vec![
            ("charge.disputed".into(), Assumed::Bool(false)),
            ("order.fulfilled".into(), Assumed::Bool(false)),
        ];
        let mut facts = charge(Vec::new());
        contract.assume(&mut facts);
        assert_eq!(facts.field("charge", "disputed"), Some(FactValue::Bool(false)));
        assert_eq!(facts.assumed, vec![Box::<str>::from("charge.disputed")]);

        let mut facts = charge(vec![("disputed".into(), FactValue::Bool(true))]);
        contract.assume(&mut facts);
        assert_eq!(facts.field("charge", "disputed"), Some(FactValue::Bool(true)));
        assert!(facts.assumed.is_empty());
    }

    #[test]
    fn the_strictest_tier_that_an_amount_is_above_counts() {
        let money = |text| Money::parse(text).ok();
        let tier = |above, approvers| Tier { above, approvers, roles: Vec::new() };
        let mut rule = Contract::safe(Class::Financial).approval;
        assert_eq!(rule.tier(money("5.00 USD")), None);
        rule.tiers = vec![
            tier(money("500.00 USD"), 2),
            tier(money("5000.00 USD"), 3),
            tier(money("450.00 EUR"), 2),
        ];
        let needed = |amount| rule.tier(amount).map_or(1, |tier| tier.approvers);
        for (amount, people) in [
            ("500.00 USD", 1),
            ("500.01 USD", 2),
            ("5000.01 USD", 3),
            ("450.01 EUR", 2),
            ("450.00 EUR", 1),
            ("1 JPY", 3),
        ] {
            assert_eq!(needed(money(amount)), people, "{amount}");
        }
        assert_eq!(needed(None), 3, "not known");
    }

    #[test]
    fn money_and_messages_without_a_contract_are_held() {
        let outcomes = Class::ALL.map(|class| Contract::safe(class).outcome);
        assert_eq!(outcomes, [Best::Auto, Best::Auto, Best::Hold, Best::Hold]);
    }
}

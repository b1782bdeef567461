//! What may one action do at best? The numbers and names an operator wrote for it.
//!
//! Words only: `policy`, `limits`, `approval` and `operation` each read their part.

use std::sync::Arc;
use std::time::Duration;

use crate::money::{Currency, Money};

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
    /// Whether reads of the company's own data are open.
    pub internal: bool,
    /// How long a sign-in counts as fresh.
    pub fresh_auth: Duration,
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
}

/// For whom a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetScope {
    /// The customer's account, under any agent.
    Customer,
    /// The agent, for any customer.
    Agent,
}

impl BudgetScope {
    /// Its name in `budget.<per>-<within>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
        }
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
    /// The cap of `currency` in a list; `None` when it is not listed.
    pub fn cap(list: &[Money], currency: Currency) -> Option<i64> {
        list.iter().find(|cap| cap.currency == currency).map(|cap| cap.minor)
    }
}

//! What does a stage hand in, so that the store can decide whether a call may be sent?
//!
//! Words only; what is made of them is `step`'s.

use std::time::Duration;

use bytes::Bytes;

use crate::call::{Kind, OperationId};
use crate::clock::Timestamp;
use crate::contract::Over;
use crate::decision::Reason;
use crate::money::{Currency, Money};
use crate::refusal::Code;
use crate::store::hold::{News, Quorum, Risk};
use crate::store::record::{About, Name, Token};

/// What a call would take from a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetUse {
    /// The id of a call past it: `budget.customer-24h`.
    pub id: Box<str>,
    /// Whose room it is, in words that are equal for the same room. The store adds the tenant.
    pub key: Box<str>,
    /// Over how long.
    pub within: Duration,
    /// How much is taken, of how much.
    pub take: Take,
    /// What a call past it gets.
    pub over: Over,
    /// Operators are told once so much of it is used.
    pub alert: Option<i64>,
}

/// How much a call would take from a budget, of how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Money.
    Money {
        /// What it takes: the hard cap when the amount is not known.
        amount: Money,
        /// The room in that currency; `None` when the budget does not list it: always past it.
        room: Option<i64>,
    },
    /// One effect.
    One {
        /// So many are allowed.
        room: u64,
    },
}

/// One call's part of a rate that a fleet shares. The generic cell rate algorithm, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateUse {
    /// The rate's name, for whoever is told.
    pub name: Box<str>,
    /// Whose it is. The store adds the tenant.
    pub key: Box<[u8]>,
    /// How far one call moves the moment from which there is all the room again.
    pub every: i64,
    /// How far that moment may lie ahead.
    pub burst: i64,
}

/// One call's part in a count of what is let go. It is charged when the call is, and given back with its
/// room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrakeUse {
    /// The id of a call past it: `brake.refund-spike`.
    pub id: Box<str>,
    /// The number of the brake, where it is on: see [`crate::store::Freeze::id`].
    pub number: Box<str>,
    /// What is counted, in words that are equal for the same. The store adds the tenant.
    pub key: Box<str>,
    /// Of what; `None` counts effects.
    pub unit: Option<Currency>,
    /// How much of it.
    pub count: i64,
    /// Over how long.
    pub within: Duration,
    /// So much is let go before a person looks; `None` only counts.
    pub most: Option<i64>,
}

/// What other effects would be like this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Likeness {
    /// What a call like a recent one gets.
    pub alike: Over,
    /// How far back.
    pub within: Duration,
    /// How near two amounts must be, per mille.
    pub near: u16,
}

/// Who is asked when a call is held, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldTerms {
    /// Who is asked.
    pub queue: Box<str>,
    /// Nobody is asked after that.
    pub deadline: Timestamp,
    /// How much a wrong yes would cost.
    pub risk: Risk,
    /// How many must say yes, and who.
    pub needs: Quorum,
    /// After how long its people are reminded, or others asked, for the first time.
    pub nudge: Option<Duration>,
    /// How many calls may wait at once, of its agent and of its customer.
    pub crowd: Crowd,
    /// What somebody outside wants to hear of it.
    pub wants: Vec<News>,
}

/// How many calls may wait for people at once. More would bury those who answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Of one agent.
    pub agent: u32,
    /// Of one customer, under any agent.
    pub customer: u32,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { agent: 200, customer: 20 }
    }
}

/// Which operation a reserve is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A call that was just asked.
    Asked(Name),
    /// An approved one, judged again.
    Approved(OperationId),
}

/// Everything the store needs to decide whether a call may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Which operation.
    pub entry: Entry,
    /// The fence it will have; the same again when the same reserve is asked again.
    pub token: Token,
    /// How long it may take.
    pub lease: Duration,
    /// What it is about.
    pub about: About,
    /// What sorts of effects it has.
    pub kinds: Vec<Kind>,
    /// The policies that hold it, as found **without** approvals; none = it may run.
    pub reasons: Vec<Reason>,
    /// Who is asked, when it is held.
    pub hold: HoldTerms,
    /// What `recall` returned, before the facts were read.
    pub seen: u64,
    /// The likeness guard, where it applies.
    pub likeness: Option<Likeness>,
    /// The budgets it counts in.
    pub budgets: Vec<BudgetUse>,
    /// The rates that it counts in, of those that the store counts; all of them, or none.
    pub rates: Vec<RateUse>,
    /// What is counted of it when it is let go, and the brakes that this may pass.
    pub brakes: Vec<BrakeUse>,
    /// What the sweep needs to send it after an approval; sealed by the store.
    pub request: Bytes,
    /// What becomes of what speaks against it.
    pub against: Against,
}

/// What becomes of what speaks against a call: policies, likeness, budgets, brakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Against {
    /// It holds the call, or refuses it.
    #[default]
    Stands,
    /// It is written down, and the call goes on: it runs in shadow. Freezes, other calls on the same resource
    /// and rates stand all the same.
    Noted {
        /// How policy would have refused it.
        refused: Option<Code>,
    },
}

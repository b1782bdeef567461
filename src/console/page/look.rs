//! What does a page show? Plain values, made from records by one file, shown by all the others.
//!
//! Nothing here is the agent's own text: that is an [`AgentText`] and goes to the quarantine only.

use std::time::Duration;

use super::agent_text::AgentText;
use crate::call::{Class, Digest, Kind, OperationId};
use crate::clock::Timestamp;
use crate::decision::Verdict;
use crate::money::Money;
use crate::store::{Risk, State};

/// One operation, as its row or its page tells it.
#[derive(Debug, Clone)]
pub struct Deed {
    /// Its name.
    pub op: OperationId,
    /// Where it stands.
    pub state: State,
    /// The pack's sentence.
    pub summary: String,
    /// Names in the sentence that are set in the type of machines.
    pub marks: Vec<String>,
    /// How much; `None` where no money moves or nobody knows how much.
    pub amount: Option<Money>,
    /// How much of it was given back before, where the system of record says so.
    pub before: Option<Money>,
    /// Whom it reaches, at the upstream.
    pub to: Option<String>,
    /// The agent.
    pub agent: String,
    /// The customer; empty for none.
    pub customer: String,
    /// The tenant; empty for none.
    pub tenant: String,
    /// The agent's case, where it is no more than a number or a name.
    pub case: Option<String>,
    /// Which action.
    pub action: String,
    /// Its class.
    pub class: Class,
    /// Its sort.
    pub kind: Option<Kind>,
    /// Where it goes.
    pub upstream: String,
    /// When it was first asked.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When it ended.
    pub settled: Option<Timestamp>,
    /// What the upstream answered.
    pub status: Option<u16>,
    /// What people are asked about it.
    pub asked: Option<Asked>,
}

/// What people are asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whose it is to answer.
    pub queue: String,
    /// What a wrong yes would cost.
    pub risk: Risk,
    /// Since when it waits.
    pub since: Timestamp,
    /// When it ends by itself.
    pub deadline: Timestamp,
    /// How often the same was asked again.
    pub joined: u32,
    /// Why it waits.
    pub reasons: Vec<Why>,
    /// How many must say yes.
    pub approvers: u8,
    /// A person for each of these.
    pub roles: Vec<String>,
    /// Who did.
    pub yes: Vec<Said>,
    /// Whose it was before.
    pub passed: Vec<String>,
    /// What an answer must name.
    pub digest: Digest,
    /// What changed since somebody said yes.
    pub changed: Vec<String>,
}

/// Why something waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The policy.
    pub policy: String,
    /// In words.
    pub words: String,
    /// The numbers that decided.
    pub numbers: Option<String>,
}

/// What a person said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// As whom.
    pub roles: Vec<String>,
    /// Why.
    pub reason: String,
}

/// One thing that a system of record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRow {
    /// What.
    pub name: String,
    /// How much, or which.
    pub value: Value,
    /// Who says so.
    pub source: String,
    /// When it was read.
    pub as_of: Timestamp,
}

/// A value of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Money.
    Money(Money),
    /// Yes or no.
    Bool(bool),
    /// A moment.
    Time(Timestamp),
    /// A number.
    Number(i64),
    /// A name, masked.
    Text(String),
    /// The contract takes it for granted.
    Assumed(String),
}

/// Something that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// In words.
    pub words: String,
    /// Whether it is in order.
    pub in_order: bool,
}

/// Where an amount stands between what runs by itself and what never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Up to here without a person.
    pub auto: Money,
    /// Never more than that.
    pub hard: Option<Money>,
}

/// What would be sent.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method and target.
    pub line: String,
    /// Headers that go along, in order.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: Option<String>,
}

/// What whoever looks may do about a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum May {
    /// Answer it.
    Answer {
        /// Whether the amount must be typed.
        confirm: bool,
        /// Whether a yes needs a reason.
        reason: bool,
    },
    /// Only say no; why not yes, and who can.
    Deny(String),
    /// Not answer it; why, and who can.
    Nothing(String),
}

/// One hold and all that helps to answer it.
#[derive(Debug, Clone)]
pub struct HoldView {
    /// What it is about.
    pub deed: Deed,
    /// What it goes on from.
    pub facts: Vec<FactRow>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// Between which caps it is.
    pub caps: Option<Caps>,
    /// What would be sent.
    pub request: Option<Request>,
    /// Over the bytes and the values.
    pub call_digest: Digest,
    /// Over the policies, and over the facts.
    pub digests: [Option<String>; 2],
    /// What the viewer may do.
    pub may: May,
    /// What the customer had before.
    pub customer: Vec<Deed>,
    /// What the agent asked before.
    pub agent: Vec<Deed>,
    /// What the agent wrote.
    pub wrote: Vec<AgentText>,
    /// Its place among those that wait.
    pub place: Place,
}

/// Where a hold is among others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Which one, counted from one, and of how many.
    pub of: Option<(u64, u64)>,
    /// The one before.
    pub previous: Option<OperationId>,
    /// The one after.
    pub next: Option<OperationId>,
}

/// One moment of a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What happened, as the store writes it.
    pub what: String,
    /// Who did it; empty for nobody.
    pub by: String,
}

/// An operation and its life.
#[derive(Debug, Clone)]
pub struct OperationView {
    /// What it is about.
    pub deed: Deed,
    /// Its life so far.
    pub life: Vec<Moment>,
    /// What comes next by itself, and when.
    pub next: Option<(Timestamp, String)>,
    /// What the agent wrote.
    pub wrote: Vec<AgentText>,
    /// What was sent, where it is still kept.
    pub request: Option<Request>,
    /// Over the bytes and the values.
    pub call_digest: Digest,
    /// The policies, and the facts.
    pub digests: [Option<String>; 2],
    /// The key it went upstream with.
    pub upstream_key: String,
    /// The vendor's name of the request.
    pub request_id: Option<String>,
    /// The vendor's name of what it made.
    pub made: Option<String>,
    /// Why it was turned back.
    pub reason: String,
    /// A success came for what was proved not to have been sent.
    pub contradiction: bool,
    /// Whether the viewer may say what became of it.
    pub may_resolve: Result<(), String>,
    /// What would have become of it, had it not run in shadow, and why.
    pub shadow: Option<(Verdict, Vec<Why>)>,
    /// Whether the viewer may say whether the rules were right about it; `None` where none spoke.
    pub may_mark: Option<Result<(), String>>,
    /// Until when a plain no is too early.
    pub ripe: Option<Timestamp>,
    /// Who looks, to tell them what they just did.
    pub viewer: String,
}

/// BOUND: a hold that ends within this says so loudly.
pub const SOON: Duration = Duration::from_secs(30 * 60);

//! What is asked: the bytes that came, the call they mean, who asks, what it would do, what became
//! of it.
//!
//! Values only; every stage adds one.

mod answer;
mod ids;
#[cfg(test)]
pub(crate) mod sample;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::action::Action;
use crate::clock::Timestamp;
use crate::money::Money;
use crate::value::{Payload, Value};

pub use answer::{Answer, Body, Chunk, Chunks, End, Ended};
pub use ids::{DecisionId, Digest, Fingerprint, OperationId};

/// A request as it came: whole, bounded, not yet understood.
#[derive(Debug, Clone)]
pub struct Request {
    /// The listener it came in by; 0 is the shared one.
    pub listener: usize,
    /// Its method.
    pub method: http::Method,
    /// Its target as it stood on the wire: path and query, raw.
    pub target: Box<str>,
    /// Its headers, every line.
    pub headers: http::HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Where it came from.
    pub peer: Option<IpAddr>,
}

/// What a call may do at worst, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// No lasting business state.
    Read,
    /// Any other lasting change.
    Write,
    /// A message reaches a person.
    Communication,
    /// Money moves, is promised, or is freed.
    Financial,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Communication, Self::Financial];

    /// Its name in packs, policies, metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Communication => "communication",
            Self::Financial => "financial",
        }
    }

    /// The class of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == text)
    }

    /// Whether it changes anything.
    pub fn is_effect(self) -> bool {
        self != Self::Read
    }
}

/// What sort of effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Money back to who paid.
    Refund,
    /// Stored value for a customer.
    Credit,
    /// An end to something that was agreed.
    Cancel,
    /// Money from a customer.
    Charge,
    /// Money out to a bank or a third party.
    Payout,
    /// Who a customer is, or how they are reached.
    Identity,
    /// What a customer pays with.
    PaymentMethod,
    /// A message.
    Message,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Refund,
        Self::Credit,
        Self::Cancel,
        Self::Charge,
        Self::Payout,
        Self::Identity,
        Self::PaymentMethod,
        Self::Message,
    ];

    /// Its name in packs, policies, records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Credit => "credit",
            Self::Cancel => "cancel",
            Self::Charge => "charge",
            Self::Payout => "payout",
            Self::Identity => "identity",
            Self::PaymentMethod => "payment_method",
            Self::Message => "message",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text)
    }
}

/// Who asks and for whom, verified. One per token; shared by its calls.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Caller {
    /// The tenant; empty when the issuer names none.
    pub tenant: Arc<str>,
    /// The workload (`act.sub`, RFC 8693 s4.1).
    pub agent: Arc<str>,
    /// The person it works for (`sub`).
    pub customer: Option<Arc<str>>,
    /// Who the customer is at each upstream, where the token says so.
    pub account: AccountClaim,
    /// The customer's roles.
    pub roles: Vec<Box<str>>,
    /// The agent's trust level (AgentAz A0..A4).
    pub trust: Option<u8>,
    /// Consent holds until then.
    pub consent_until: Consent,
    /// When the customer last proved who they are.
    pub auth_time: Option<Timestamp>,
    /// Addresses of the customer that the issuer has verified.
    pub contacts: Vec<Box<str>>,
    /// The issuer.
    pub issuer: Arc<str>,
    /// The token's own name, if it has one.
    pub jti: Option<Box<str>>,
    /// When the token was issued.
    pub issued_at: Option<Timestamp>,
    /// When the token ends.
    pub expires: Timestamp,
    /// The actions that the token's `authorization_details` leave open; `None` when it has none.
    pub narrowed: Option<Vec<Box<str>>>,
}

/// The `account` claim.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AccountClaim {
    /// Not sent.
    Absent,
    /// One for every upstream.
    One(Arc<str>),
    /// By upstream.
    ByUpstream(Vec<(Box<str>, Arc<str>)>),
}

/// What a token says about consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Consent {
    /// Nothing.
    Absent,
    /// Until then.
    Until(Timestamp),
}

/// The four things that make a caller the same caller under a later token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct CallerKey {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The agent.
    pub agent: Arc<str>,
    /// The customer; empty for none.
    pub customer: Arc<str>,
}

impl Caller {
    /// A caller as far as a record of an operation names it: who it was, and nothing that would let it
    /// do anything.
    pub fn named(key: &CallerKey) -> Self {
        Self {
            tenant: Arc::clone(&key.tenant),
            agent: Arc::clone(&key.agent),
            customer: (!key.customer.is_empty()).then(|| Arc::clone(&key.customer)),
            account: AccountClaim::Absent,
            roles: Vec::new(),
            trust: Some(0),
            consent_until: Consent::Absent,
            auth_time: None,
            contacts: Vec::new(),
            issuer: Arc::from(""),
            jti: None,
            issued_at: None,
            expires: Timestamp(0),
            narrowed: Some(Vec::new()),
        }
    }

    /// What identifies this caller under any token.
    pub fn key(&self) -> CallerKey {
        CallerKey {
            tenant: Arc::clone(&self.tenant),
            agent: Arc::clone(&self.agent),
            customer: self.customer.clone().unwrap_or_else(|| Arc::from("")),
        }
    }
}

/// What the agent says about its call. None of it is trusted to widen anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Context {
    /// `Idempotency-Key`.
    pub key: Option<Box<str>>,
    /// `Tollhouse-Case`.
    pub case: Option<Box<str>>,
    /// `Tollhouse-Confidence`, per mille.
    pub confidence: Option<u16>,
    /// `Tollhouse-Model`.
    pub model: Option<Box<str>>,
    /// `Tollhouse-Reason`.
    pub reason: Option<Box<str>>,
    /// `Tollhouse-Intent`.
    pub intent: Option<u32>,
    /// `Prefer: wait=N` (RFC 7240), at most 60 s.
    pub wait: Option<Duration>,
    /// `Prefer: respond-async`.
    pub respond_async: bool,
    /// The trace id of `traceparent`.
    pub trace_id: Option<Box<str>>,
}

/// A request that was understood: one action, one or more effects.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it is.
    pub action: Arc<Action>,
    /// Where it goes.
    pub upstream: Arc<str>,
    /// The highest class of its effects.
    pub class: Class,
    /// What it would do, the action's own effect first.
    pub effects: Vec<Effect>,
    /// Its method.
    pub method: http::Method,
    /// Path and query as they go upstream: the agent's own bytes less the route prefix.
    pub target: Box<str>,
    /// The path's parameters.
    pub path: Vec<(Box<str>, Box<str>)>,
    /// The query, a map.
    pub query: Value,
    /// The body's values.
    pub payload: Payload,
    /// Query and body as one tree, where an effect has both; see [`Call::parameters`].
    pub merged: Option<Value>,
    /// The headers that go upstream, in order, lower case: the agent's own that the pack lets pass.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The body's bytes, the agent's own.
    pub body: Bytes,
    /// What the agent says about it.
    pub context: Context,
}

/// One thing a call would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Its class.
    pub class: Class,
    /// Its kind.
    pub kind: Option<Kind>,
    /// The amount that the request itself states.
    pub amount: StatedAmount,
    /// Whom it reaches, for communication: sources to be resolved.
    pub recipients: Vec<crate::action::Source>,
    /// Which rule of the action it comes from.
    pub origin: Origin,
}

/// Which rule of its action an effect comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The action's own. Several kinds of one action are several effects with one amount.
    Own,
    /// The entry of `also` with this index.
    Also(usize),
}

impl Call {
    /// Every parameter as one tree: the query of a read, body and query of anything else.
    pub fn parameters(&self) -> &Value {
        match (&self.merged, self.payload.syntax) {
            (Some(merged), _) => merged,
            (None, Some(_)) => &self.payload.root,
            (None, None) => &self.query,
        }
    }
}

/// What a request says about its amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatedAmount {
    /// The effect has none to state.
    None,
    /// Minor units, if the pack writes those, with the currency where the request names it.
    Minor(i64, Option<crate::money::Currency>),
    /// A decimal, with the currency where the request names it.
    Major(crate::money::Decimal, Option<crate::money::Currency>),
    /// Not stated: everything that remains, or what a fact says.
    Absent,
    /// It cannot be told from the call, nor from a fact: over any cap.
    Unknown,
}

/// What a call acts on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// `Charge`.
    pub kind: Box<str>,
    /// `ch_1`.
    pub id: Box<str>,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// What the system of record said.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// By published name.
    pub read: Vec<(Box<str>, Fact)>,
    /// What a contract took for granted: `charge.disputed`.
    pub assumed: Vec<Box<str>>,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fact {
    /// The id of what it is about.
    pub id: Option<Box<str>>,
    /// Its fields; one that the answer lacks is not there.
    pub fields: Vec<(Box<str>, FactValue)>,
    /// When it was read.
    pub as_of: Timestamp,
}

/// One field of a fact.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FactValue {
    /// A text.
    Text(Box<str>),
    /// A whole number; for money, minor units of the fact's currency.
    Long(i64),
    /// True or false.
    Bool(bool),
    /// A moment.
    Time(Timestamp),
}

impl Facts {
    /// The field `field` of the fact `name`; `id` is its id.
    pub fn field(&self, name: &str, field: &str) -> Option<FactValue> {
        let (_, fact) = self.read.iter().find(|(published, _)| &**published == name)?;
        if field == "id"
            && let Some(id) = &fact.id
        {
            return Some(FactValue::Text(id.clone()));
        }
        fact.fields.iter().find(|(own, _)| &**own == field).map(|(_, value)| value.clone())
    }
}

/// What the sources of an action came to, once the facts are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Whose it is, at the upstream.
    pub owner: Option<Box<str>>,
    /// How much, all its financial effects together; `None` = not known, which is over any cap.
    pub amount: Option<Money>,
    /// How much each of [`Call::effects`] is, in their order.
    pub amounts: Vec<Option<Money>>,
    /// On what.
    pub resource: Option<Resource>,
    /// One plain sentence.
    pub summary: String,
    /// Whom its messages reach.
    pub recipients: Vec<Box<str>>,
    /// The templates its messages use.
    pub templates: Vec<Box<str>>,
    /// The free text that its readers will see, the agent's own.
    pub text: Vec<Box<str>>,
}

/// What the upstream did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Succeeded,
    /// Taken, not finished: the vendor says pending.
    Accepted,
    /// Refused by the vendor: no effect.
    Rejected,
    /// Proved that nothing left.
    NotSent,
    /// Not known; it may have happened.
    Unknown,
}

impl Outcome {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
        }
    }
}

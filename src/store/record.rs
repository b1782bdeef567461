//! What is kept of an operation?
//!
//! Words of the store: the record, its states, and what a stage hands in. Never a decision.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use crate::call::{CallerKey, Class, Digest, Fingerprint, Kind, OperationId, Outcome, Resource};
use crate::clock::Timestamp;
use crate::decision::Shadow;
use crate::money::{Currency, Money};
use crate::refusal::{Code, Fault};
use crate::store::budget::Stood;
use crate::store::codec::{packed, packed_by_field};
use crate::store::hold::{Approval, Hold, LETTERS_MAX, Letter, News, crowds};
use crate::value::piece;

/// BOUND: a timeline holds this many moments; an operation has about six.
pub const TIMELINE_MAX: usize = 64;
/// BOUND: attempts that are kept; one every ten minutes for a day is 144.
pub const ATTEMPTS_MAX: usize = 160;
/// BOUND: other keys one operation answers to. A poll every minute for three days is 4,320.
pub const ALIASES_MAX: u32 = 10_000;

/// A random fence: who holds the newest one may write an operation's outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    /// A fresh one.
    ///
    /// # Errors
    ///
    /// When the system has no random bytes.
    pub fn random() -> Result<Self, Fault> {
        let mut bytes = [0_u8; 8];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Fault::StoreUnavailable("no random bytes".to_owned()))?;
        Ok(Self(u64::from_le_bytes(bytes)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The short name of a row: 16 bytes of a hash over length-prefixed pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub [u8; 16]);

impl Slot {
    /// The slot of these pieces, apart from every other `purpose`.
    pub fn of(purpose: u8, pieces: &[&[u8]]) -> Self {
        let mut bytes = vec![purpose];
        pieces.iter().for_each(|part| piece(&mut bytes, b'p', part));
        let hash = sha256(&bytes);
        Self(hash.first_chunk().copied().unwrap_or_default())
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().try_into().unwrap_or_default()
}

/// What names an operation: who asks what of whom, and under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The tenant: whose rows it is among.
    pub tenant: Arc<str>,
    /// Tenant, upstream, account, action, agent, customer, each length-prefixed.
    pub scope: Box<[u8]>,
    /// The agent's key.
    pub key: Option<Box<str>>,
    /// `Tollhouse-Intent`: another operation, by the agent's own word.
    pub intent: Option<u32>,
    /// Equal for calls that ask the same.
    pub fingerprint: Fingerprint,
}

impl Name {
    /// The operation of this name; `ordinal` counts the calls without a key that asked the same.
    pub fn operation(&self, ordinal: u32) -> OperationId {
        let mut bytes = self.scope.to_vec();
        match &self.key {
            Some(key) => piece(&mut bytes, b'k', key.as_bytes()),
            None => {
                piece(&mut bytes, b'f', &self.fingerprint.0);
                piece(&mut bytes, b'o', ordinal.to_string().as_bytes());
            }
        }
        if let Some(intent) = self.intent {
            piece(&mut bytes, b'i', intent.to_string().as_bytes());
        }
        OperationId(sha256(&bytes))
    }

    /// What every call that asks the same shares, whatever its key.
    pub fn same(&self) -> Slot {
        let intent = self.intent.map(|n| n.to_string()).unwrap_or_default();
        Slot::of(b's', &[&self.scope, &self.fingerprint.0, intent.as_bytes()])
    }
}

/// What the agent said about its call; shown to the approver as the agent's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Said {
    /// `Tollhouse-Case`.
    pub case: Option<Box<str>>,
    /// `Tollhouse-Reason`.
    pub reason: Option<Box<str>>,
    /// `Tollhouse-Model`.
    pub model: Option<Box<str>>,
    /// `Tollhouse-Confidence`, per mille.
    pub confidence: Option<u16>,
    /// `Tollhouse-Intent`.
    pub intent: Option<u32>,
    /// The agent's own key.
    pub key: Option<Box<str>>,
}

/// What an operation is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct About {
    /// Who asks.
    pub caller: CallerKey,
    /// Where it goes.
    pub upstream: Box<str>,
    /// Who the caller is there.
    pub account: Box<str>,
    /// `stripe.refund.create`.
    pub action: Box<str>,
    /// The highest class of its effects.
    pub class: Class,
    /// Every class of its effects.
    pub classes: Vec<Class>,
    /// What sort of effect.
    pub kind: Option<Kind>,
    /// Whose it is, at the upstream.
    pub owner: Option<Box<str>>,
    /// On what, as resolved.
    pub resource: Option<Resource>,
    /// How much, as resolved.
    pub amount: Option<Money>,
    /// One plain sentence.
    pub summary: Box<str>,
    /// What the agent said.
    pub said: Said,
    /// Equal for calls that ask the same.
    pub fingerprint: Fingerprint,
    /// Equal for calls that would send the same bytes with the same meaning.
    pub digest: Digest,
    /// Of the facts it was judged by.
    pub facts: Option<Digest>,
    /// Of the policies it was judged by.
    pub policy: Option<Box<str>>,
    /// Over where it goes and as whom: it is never sent again to anywhere else.
    pub origin: Option<Digest>,
}

/// Where an operation stands. One list everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// A person must answer; nothing was sent.
    Held,
    /// A person said yes; the sweep takes it up.
    Approved,
    /// Durable before the first byte upstream: an effect is possible.
    Submitted {
        /// Who may write the outcome.
        token: Token,
        /// After this moment nobody may.
        lease: Timestamp,
    },
    /// It may have happened.
    Unknown,
    /// The vendor answered.
    Done {
        /// Succeeded, accepted or rejected.
        outcome: Outcome,
    },
    /// Proved that nothing left.
    NotSent,
    /// We said no after a hold.
    Refused {
        /// The reason's name.
        code: Code,
    },
}

impl State {
    /// The names of every state, in the order of [`State::index`].
    pub const NAMES: [&'static str; 7] =
        ["held", "approved", "submitted", "unknown", "done", "not_sent", "refused"];

    /// Its place in [`State::NAMES`].
    pub fn index(&self) -> usize {
        match self {
            Self::Held => 0,
            Self::Approved => 1,
            Self::Submitted { .. } => 2,
            Self::Unknown => 3,
            Self::Done { .. } => 4,
            Self::NotSent => 5,
            Self::Refused { .. } => 6,
        }
    }

    /// Its name in records, metrics, commands.
    pub fn name(&self) -> &'static str {
        Self::NAMES.get(self.index()).copied().unwrap_or("unknown")
    }

    /// Whether it can still change by itself: it has no end of keeping.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Held | Self::Approved | Self::Submitted { .. } | Self::Unknown => true,
            Self::Done { .. } | Self::NotSent | Self::Refused { .. } => false,
        }
    }

    /// Whether an effect may be under way: sent, outcome not known.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, Self::Submitted { .. } | Self::Unknown)
    }
}

/// One attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Its fence.
    pub token: Token,
    /// When it was granted.
    pub at: Timestamp,
}

/// One budget an operation counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Charge {
    /// Whose.
    pub slot: Slot,
    /// Of what; `None` is a count.
    pub unit: Option<Currency>,
    /// How much.
    pub count: i64,
}

/// Whether an operation's room in budgets is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Charged {
    /// Reserved: an effect is possible.
    Open,
    /// Used, at that moment.
    Spent {
        /// When.
        at: Timestamp,
    },
    /// Given back.
    Freed,
}

/// How the search for an outcome stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// Who searches, or searched last.
    pub token: Token,
    /// How often it was tried.
    pub tries: u32,
    /// Nobody tries again before.
    pub next: Timestamp,
}

/// What became of the stored answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerKept {
    /// There was none.
    None,
    /// It is there.
    Kept,
    /// It is gone: too old, or too large to keep.
    Gone,
}

/// One moment of an operation's life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: Box<str>,
    /// Who did it; empty when nobody in particular.
    pub by: Box<str>,
}

/// What is kept of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its name.
    pub op: OperationId,
    /// What calls that ask the same share.
    pub same: Slot,
    /// What it is about.
    pub about: About,
    /// Where it stands.
    pub state: State,
    /// What an approver is or was asked.
    pub hold: Option<Hold>,
    /// What an approver answered; `None` again when it was held anew.
    pub approval: Option<Approval>,
    /// The token of the last reserve: a reserve that is asked twice is one.
    pub owner: Token,
    /// Every attempt, in order.
    pub attempts: Vec<Attempt>,
    /// The budgets it counts in.
    pub charges: Vec<Charge>,
    /// Whether that room is taken.
    pub charged: Charged,
    /// How its budgets stood with it.
    pub stood: Vec<Stood>,
    /// Where effects like it are listed.
    pub alike: Option<Slot>,
    /// Its resource's row.
    pub on: Option<Slot>,
    /// The upstream's status.
    pub status: Option<u16>,
    /// The upstream's own name of the request.
    pub request_id: Option<Box<str>>,
    /// What was refused, in words.
    pub reason: Box<str>,
    /// What became of its answer.
    pub answer: AnswerKept,
    /// Whether the agent got its answer.
    pub collected: bool,
    /// A success came for what was proved not to have happened.
    pub contradiction: bool,
    /// How many other keys it answers to.
    pub aliases: u32,
    /// The vendor's own name of what it made.
    pub made: Option<Box<str>>,
    /// How the search for its outcome stands.
    pub look: Option<Look>,
    /// When it was first asked.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When it came to an end.
    pub settled: Option<Timestamp>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// What somebody outside wants to hear of it.
    pub wants: Vec<News>,
    /// What was not delivered yet.
    pub letters: Vec<Letter>,
    /// How many letters there ever were.
    pub lettered: u32,
    /// What would have become of it, had it not run in shadow.
    pub shadow: Option<Shadow>,
}

impl Record {
    /// Writes a letter, if somebody wants it.
    pub fn tell(&mut self, news: News, at: Timestamp) {
        if !self.wants.contains(&news) {
            return;
        }
        if self.letters.len() >= LETTERS_MAX {
            self.letters.remove(0);
        }
        self.lettered = self.lettered.saturating_add(1);
        let (number, told) = (self.lettered, Vec::new());
        self.letters.push(Letter { number, news, at, next: at, tries: 0, told });
    }

    /// When somebody outside is to be told or reminded next.
    pub fn post_due(&self) -> Option<Timestamp> {
        let nudge = self.hold.as_ref().filter(|_| self.state == State::Held).and_then(|h| h.nudge);
        self.letters.iter().map(|letter| letter.next).chain(nudge).min()
    }

    /// Whose waiting calls it counts among, while it is held: its agent's, its customer's.
    pub fn crowds(&self) -> [Slot; 2] {
        crowds(&self.about.caller)
    }

    /// Adds a moment to its life; the middle of a life that is too long is left out. The same again is
    /// the same moment, later.
    pub fn note(&mut self, at: Timestamp, what: impl Into<Box<str>>, by: &str) {
        self.updated = at;
        let what = what.into();
        if let Some(last) = self.timeline.last_mut().filter(|m| m.what == what && *m.by == *by) {
            last.at = at;
            return;
        }
        if self.timeline.len() >= TIMELINE_MAX {
            self.timeline.remove(TIMELINE_MAX / 2);
        }
        self.timeline.push(Moment { at, what, by: by.into() });
    }

    /// Adds an attempt; of very many the first and the latest are kept.
    pub fn attempt(&mut self, token: Token, at: Timestamp) {
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts.remove(1);
        }
        self.attempts.push(Attempt { token, at });
    }

    /// The token that was granted last.
    pub fn last_token(&self) -> Option<Token> {
        self.attempts.last().map(|attempt| attempt.token)
    }
}

impl About {
    /// What the vendor calls `id`, of this sort of effect: two operations never made the same.
    pub fn made(&self, id: &str) -> Slot {
        let kind = self.kind.map_or("", Kind::name);
        let pieces = [&*self.caller.tenant, &*self.upstream, kind, id];
        Slot::of(b'u', &pieces.map(str::as_bytes))
    }
}

/// An answer of the upstream, as the agent got it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredAnswer {
    /// Its status.
    pub status: u16,
    /// The headers that are kept.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// Its body.
    pub body: Bytes,
}

packed_by_field!(Token, Slot);
packed!(struct Said { case, reason, model, confidence, intent, key });
packed!(struct About {
    caller, upstream, account, action, class, classes, kind, owner, resource, amount, summary,
    said, fingerprint, digest, facts, policy, origin,
});
packed!(enum State {
    0 => Held,
    1 => Approved,
    2 => Submitted { token, lease },
    3 => Unknown,
    4 => Done { outcome },
    5 => NotSent,
    6 => Refused { code },
});
packed!(struct Attempt { token, at });
packed!(struct Charge { slot, unit, count });
packed!(enum Charged { 0 => Open, 1 => Spent { at }, 2 => Freed });
packed!(enum AnswerKept { 0 => None, 1 => Kept, 2 => Gone });
packed!(struct Look { token, tries, next });
packed!(struct Moment { at, what, by });
packed!(struct Record {
    op, same, about, state, hold, approval, owner, attempts, charges, charged, stood, alike, on,
    status, request_id, reason, answer, collected, contradiction, aliases, made, look, created, updated,
    settled, timeline, wants, letters, lettered,
} late shadow);
packed!(struct StoredAnswer { status, headers, body });

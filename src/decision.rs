//! What was decided: run, hold for a person, or ask the customer to prove who they are. A refusal is
//! its own word.

use std::sync::Arc;

/// What policy says of a call that it does not forbid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may run.
    Run,
    /// A person must say yes to exactly these.
    Hold {
        /// The policies that hold it; sorted.
        reasons: Vec<Reason>,
        /// Who is asked.
        queue: Arc<str>,
    },
    /// The customer must prove again who they are.
    Verify {
        /// The policies that ask for it.
        reasons: Vec<Reason>,
        /// How old a sign-in may be, in seconds (RFC 9470 `max_age`).
        max_age: u64,
    },
}

/// A deciding policy, in the words of each reader.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    /// Its id: `financial.over-cap`.
    pub policy: Box<str>,
    /// For operators and approvers.
    pub why: Box<str>,
    /// For the agent; never names a limit.
    pub tell: Box<str>,
}

/// Something that was seen so often that an operator wants policy to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Its name: `serial-refunds`.
    pub name: Arc<str>,
    /// What was seen, in neutral words, for approvers.
    pub seen: Box<str>,
    /// What then.
    pub then: Then,
}

/// What a signal is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// A person looks at the call.
    #[default]
    Hold,
    /// Policies may look at it; by itself it does nothing.
    Tell,
}

/// The word of `Tollhouse-Decision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It ran, or was answered from memory.
    Allow,
    /// It waits for a person.
    Hold,
    /// It waits for the customer.
    Verify,
    /// It goes no further.
    Refuse,
}

impl Verdict {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Verify => "verify",
            Self::Refuse => "refuse",
        }
    }
}

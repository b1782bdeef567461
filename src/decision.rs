//! What was decided: run, hold for a person, or ask the customer to prove who they are. A refusal is
//! its own word.

use std::sync::Arc;

use crate::refusal::Code;

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

/// Whether what is decided of a call is also done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// It is.
    #[default]
    Enforce,
    /// Policies, caps, budgets and holds are only written down: the call goes on.
    Shadow,
}

impl Mode {
    /// Its name in configurations and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// What would have become of a call that went on because it ran in shadow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shadow {
    /// How it would have been turned back.
    pub code: Code,
    /// The deciding policies; sorted.
    pub reasons: Vec<Reason>,
}

impl Shadow {
    /// What would have been decided.
    pub fn verdict(&self) -> Verdict {
        self.code.verdict()
    }

    /// It in one sentence, for operators.
    pub fn words(&self) -> String {
        let would = match self.verdict() {
            Verdict::Hold => "would have been held",
            Verdict::Verify => "would have asked for a fresh sign-in",
            Verdict::Refuse | Verdict::Allow => "would have been refused",
        };
        let ids: Vec<&str> = self.reasons.iter().map(|reason| &*reason.policy).collect();
        match ids.as_slice() {
            [] => format!("in shadow: {would}: {}", self.code.spec().name),
            ids => format!("in shadow: {would}: {}", ids.join(", ")),
        }
    }
}

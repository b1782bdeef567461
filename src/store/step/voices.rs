//! What speaks against a call, and does it hold it? In shadow it is only written down.

use crate::decision::{Reason, Shadow};
use crate::refusal::Code;
use crate::store::ask::{Against, Entry, Reserve};

/// What holds a call, and what would have, had it not run in shadow.
pub(super) type Held = (Vec<Reason>, Option<Shadow>);

/// What speaks against a call.
pub(super) struct Voices {
    reasons: Vec<Reason>,
    against: Against,
}

impl Voices {
    pub fn of(ask: &Reserve) -> Self {
        let against = match ask.entry {
            Entry::Asked(_) => ask.against,
            // INVARIANT: what was held is judged as it was held, whatever runs in shadow since.
            Entry::Approved(_) => Against::Stands,
        };
        Self { reasons: ask.reasons.clone(), against }
    }

    /// One more.
    pub fn push(&mut self, reason: Reason) {
        self.reasons.push(reason);
    }

    /// Whether what would refuse the call is only written down; the first counts.
    pub fn is_noted(&mut self, code: Code) -> bool {
        match &mut self.against {
            Against::Stands => false,
            Against::Noted { refused } => {
                refused.get_or_insert(code);
                true
            }
        }
    }

    /// What holds it, each once; or what would have, had it not run in shadow.
    pub fn sorted(mut self) -> Held {
        self.reasons.sort();
        self.reasons.dedup_by(|a, b| a.policy == b.policy);
        match self.against {
            Against::Noted { refused } if refused.is_some() || !self.reasons.is_empty() => {
                let code = refused.unwrap_or(Code::ApprovalRequired);
                (Vec::new(), Some(Shadow { code, reasons: self.reasons }))
            }
            Against::Noted { .. } | Against::Stands => (self.reasons, None),
        }
    }
}

//! What does a person say to a hold, or the agent, or the gate that judged it again?

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Digest, OperationId};
use crate::refusal::{Code, Fault};
use crate::store::draft::Draft;
use crate::store::record::{Approval, State};
use crate::store::rows::Rows;
use crate::store::step::{Now, refuse, ripen};

/// BOUND: an approved call that cannot go yet (its scope is frozen, its resource busy) waits this long,
/// or until the hold's own deadline if that is later. After that the yes is stale.
const APPROVAL_TTL: Duration = Duration::from_secs(60 * 60);

/// An answer to a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldAnswer {
    /// Which.
    pub op: OperationId,
    /// What.
    pub say: Say,
}

/// What is said to a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// Yes, to exactly what was shown.
    Approve {
        /// Who.
        by: Box<str>,
        /// [`Hold::shown`](crate::store::Hold::shown), as the approver saw it.
        shown: Digest,
        /// Why.
        reason: Box<str>,
    },
    /// No.
    Deny {
        /// Who.
        by: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// The agent takes it back.
    Withdraw,
    /// It was approved, and judged again it may not be sent.
    Refuse {
        /// The reason's name.
        code: Code,
        /// In words.
        reason: Box<str>,
    },
}

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It is written down.
    Ok(Arc<crate::store::record::Record>),
    /// What was shown is not what it is now.
    Changed(Arc<crate::store::record::Record>),
    /// It does not wait for this answer any more: this is how it stands.
    TooLate(Arc<crate::store::record::Record>),
    /// There is no such operation.
    Lost,
}

pub(super) fn answer<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    said: &HoldAnswer,
    now: Now,
) -> Result<Answered, Fault> {
    let Some(old) = draft.record(said.op)? else {
        return Ok(Answered::Lost);
    };
    let old = ripen(draft, old, now)?;
    // After an approval only the gate, which judges again, may still say no.
    let waits = match &said.say {
        Say::Approve { .. } | Say::Deny { .. } | Say::Withdraw => old.state == State::Held,
        Say::Refuse { .. } => old.state == State::Approved,
    };
    let (true, Some(hold)) = (waits, &old.hold) else {
        return Ok(Answered::TooLate(old));
    };
    let refused = match &said.say {
        Say::Approve { by, shown, reason } => {
            // INVARIANT: I12, a yes is to these bytes, these values and these policies.
            if *shown != hold.shown {
                return Ok(Answered::Changed(old));
            }
            let mut new = (*old).clone();
            new.state = State::Approved;
            new.approval = Some(Approval {
                by: by.clone(),
                at: now.at,
                digest: new.about.digest,
                policies: hold.reasons.iter().map(|reason| reason.policy.clone()).collect(),
                until: hold.deadline.max(now.at.plus(APPROVAL_TTL)),
            });
            let words =
                if reason.is_empty() { "approved".into() } else { format!("approved: {reason}") };
            new.note(now.at, words, by);
            return Ok(Answered::Ok(draft.put_record(Some(&old), new)?));
        }
        Say::Deny { by, reason } => refuse(draft, &old, Code::ApprovalDenied, (reason, by), now)?,
        Say::Withdraw => {
            let by = old.about.caller.agent.to_string();
            refuse(draft, &old, Code::Withdrawn, ("withdrawn by the agent", &by), now)?
        }
        Say::Refuse { code, reason } => refuse(draft, &old, *code, (reason, ""), now)?,
    };
    Ok(Answered::Ok(refused))
}

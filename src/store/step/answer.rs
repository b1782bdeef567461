//! What does a person say to a hold, or the agent, or the gate that judged it again?

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Digest, OperationId};
use crate::clock::Timestamp;
use crate::refusal::{Code, Fault};
use crate::store::draft::Draft;
use crate::store::hold::{Approval, Hold, News, Yes};
use crate::store::record::{Record, State};
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
        /// The needed roles that they have.
        roles: Vec<Box<str>>,
        /// Why.
        reason: Box<str>,
    },
    /// Time went by: its people are reminded, or others are asked.
    Nudge {
        /// The moment that came, as it was seen: it comes once.
        due: Timestamp,
        /// Who is asked from now on.
        to: Option<Box<str>>,
        /// After how long it is looked at again.
        next: Option<Duration>,
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
    Ok(Arc<Record>),
    /// The same person said yes before.
    Twice(Arc<Record>),
    /// What was shown is not what it is now.
    Changed(Arc<Record>),
    /// It does not wait for this answer any more: this is how it stands.
    TooLate(Arc<Record>),
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
        Say::Approve { .. } | Say::Deny { .. } | Say::Withdraw | Say::Nudge { .. } => {
            old.state == State::Held
        }
        Say::Refuse { .. } => old.state == State::Approved,
    };
    let (true, Some(hold)) = (waits, &old.hold) else {
        return Ok(Answered::TooLate(old));
    };
    let refused = match &said.say {
        Say::Approve { by, shown, roles, reason } => {
            // INVARIANT: I12, a yes is to these bytes, these values and these policies.
            if *shown != hold.shown {
                return Ok(Answered::Changed(old));
            }
            // SECURITY: issuers write one address in any letter case; it is one person all the same.
            if hold.yes.iter().any(|one| one.by.eq_ignore_ascii_case(by)) {
                return Ok(Answered::Twice(old));
            }
            let (by, roles, reason) = (by.clone(), roles.clone(), reason.clone());
            let new = approve(&old, hold, Yes { by, at: now.at, roles, reason }, now);
            return Ok(Answered::Ok(draft.put_record(Some(&old), new)?));
        }
        Say::Nudge { due, to, next } => {
            if hold.nudge != Some(*due) || *due > now.at {
                return Ok(Answered::TooLate(old));
            }
            let new = nudge(&old, hold, (to.as_deref(), *next), now);
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

/// One more yes; with enough of them it is approved.
fn approve(old: &Record, hold: &Hold, yes: Yes, now: Now) -> Record {
    let mut new = old.clone();
    let words = if yes.reason.is_empty() {
        "approved".to_owned()
    } else {
        format!("approved: {}", yes.reason)
    };
    new.note(now.at, words, &yes.by);
    let mut hold = hold.clone();
    hold.yes.push(yes);
    if hold.needs.are_met(&hold.yes) {
        let people: Vec<&str> = hold.yes.iter().map(|one| &*one.by).collect();
        new.state = State::Approved;
        new.approval = Some(Approval {
            by: people.join(", ").into(),
            at: now.at,
            digest: new.about.digest,
            policies: hold.reasons.iter().map(|reason| reason.policy.clone()).collect(),
            until: hold.deadline.max(now.at.plus(APPROVAL_TTL)),
        });
        new.tell(News::Answered, now.at);
    }
    new.hold = Some(hold);
    new
}

/// Its people are reminded; or others are asked, and their time begins.
fn nudge(
    old: &Record,
    hold: &Hold,
    (to, next): (Option<&str>, Option<Duration>),
    now: Now,
) -> Record {
    let (mut new, mut hold) = (old.clone(), hold.clone());
    hold.nudge = next.map(|span| now.at.plus(span));
    match to {
        Some(to) => {
            new.note(now.at, format!("passed on from {} to {to}", hold.queue), "");
            hold.asked = now.at;
            hold.passed.push(std::mem::replace(&mut hold.queue, to.into()));
            new.tell(News::Escalated, now.at);
        }
        None => {
            new.note(now.at, format!("{} was reminded", hold.queue), "");
            new.tell(News::Reminded, now.at);
        }
    }
    new.hold = Some(hold);
    new
}

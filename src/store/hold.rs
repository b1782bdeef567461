//! What are people asked, what did they answer, and who outside is told?
//!
//! Words of the store; never a decision.

use crate::call::{CallerKey, Digest, OperationId};
use crate::clock::Timestamp;
use crate::decision::Reason;
use crate::store::codec::packed;
use crate::store::record::{Slot, sha256};
use crate::value::piece;

/// What an approver is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The policies that hold it, sorted by id.
    pub reasons: Vec<Reason>,
    /// Who is asked.
    pub queue: Box<str>,
    /// Nobody is asked after that.
    pub deadline: Timestamp,
    /// When it was held, the last time.
    pub since: Timestamp,
    /// What an answer must name: the operation's digest and exactly these policies.
    pub shown: Digest,
    /// How often the same was asked again.
    pub joined: u32,
    /// What changed since an earlier approval: policy ids, or `digest`.
    pub changed: Vec<Box<str>>,
    /// How much a wrong yes would cost.
    pub risk: Risk,
    /// How many must say yes, and who.
    pub needs: Quorum,
    /// Who has said yes so far.
    pub yes: Vec<Yes>,
    /// When its people are to be reminded, or others asked.
    pub nudge: Option<Timestamp>,
    /// The queues that it was passed on from.
    pub passed: Vec<Box<str>>,
    /// Since when the queue that it is in has it.
    pub asked: Timestamp,
}

/// How much a wrong yes would cost. What costs more is shown first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    /// Much.
    High,
    /// Some.
    Medium,
    /// Little.
    Low,
}

impl Risk {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }

    /// Its place in a list.
    pub fn rank(self) -> u8 {
        match self {
            Self::High => 0,
            Self::Medium => 1,
            Self::Low => 2,
        }
    }

    /// The risk of that place.
    pub fn of_rank(rank: i64) -> Option<Self> {
        [Self::High, Self::Medium, Self::Low]
            .into_iter()
            .find(|risk| i64::from(risk.rank()) == rank)
    }
}

/// Where a call stands in its queue: by risk, then by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// What is riskier comes first.
    pub risk: Risk,
    /// Then what is older.
    pub since: Timestamp,
    /// Which.
    pub op: OperationId,
}

impl Place {
    /// Of an operation that waits.
    pub fn of(op: OperationId, hold: &Hold) -> Self {
        Self { risk: hold.risk, since: hold.since, op }
    }
}

/// How many people must say yes, and who.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quorum {
    /// So many different people.
    pub approvers: u8,
    /// Among them one for each of these roles.
    pub roles: Vec<Box<str>>,
}

impl Default for Quorum {
    fn default() -> Self {
        Self { approvers: 1, roles: Vec::new() }
    }
}

impl Quorum {
    /// Whether these say yes for all. One person stands for one role.
    pub fn are_met(&self, yes: &[Yes]) -> bool {
        yes.len() >= usize::from(self.approvers) && stand_for(&self.roles, yes, 0)
    }
}

/// Whether a different person stands for each role. BOUND: the roles of a tier are at most four.
fn stand_for(roles: &[Box<str>], yes: &[Yes], taken: u64) -> bool {
    let Some((role, rest)) = roles.split_first() else { return true };
    let mut people = yes.iter().zip(0_u32..64);
    people.any(|(one, at)| {
        let own = 1_u64.checked_shl(at).unwrap_or(0);
        taken & own == 0 && one.roles.contains(role) && stand_for(rest, yes, taken | own)
    })
}

/// One person's yes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Yes {
    /// Who.
    pub by: Box<str>,
    /// When.
    pub at: Timestamp,
    /// The needed roles that they have.
    pub roles: Vec<Box<str>>,
    /// Why.
    pub reason: Box<str>,
}

/// Something that somebody outside is to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum News {
    /// A call waits for people.
    Held,
    /// It still waits.
    Reminded,
    /// It waits for other people now.
    Escalated,
    /// It does not wait any more.
    Answered,
    /// It came to an end while no agent waited for its answer.
    Settled,
}

impl News {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Held, Self::Reminded, Self::Escalated, Self::Answered, Self::Settled];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "hold.created",
            Self::Reminded => "hold.reminder",
            Self::Escalated => "hold.escalated",
            Self::Answered => "hold.answered",
            Self::Settled => "operation.settled",
        }
    }
}

/// A message to the outside that was not delivered to all yet. Written in the same step as what it tells.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Letter {
    /// Its number in the operation's life.
    pub number: u32,
    /// Of what.
    pub news: News,
    /// When that was.
    pub at: Timestamp,
    /// Nobody tries to deliver it before.
    pub next: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// Who has it already.
    pub told: Vec<Box<str>>,
}

/// BOUND: letters of one operation that wait at once; the oldest goes, since a newer one says more.
pub const LETTERS_MAX: usize = 8;

/// A person's yes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Approval {
    /// Who.
    pub by: Box<str>,
    /// When.
    pub at: Timestamp,
    /// To these bytes and values.
    pub digest: Digest,
    /// To exactly these policies.
    pub policies: Vec<Box<str>>,
    /// It is void after that.
    pub until: Timestamp,
}

/// Where an agent's and a customer's waiting calls are counted.
pub fn crowds(caller: &CallerKey) -> [Slot; 2] {
    let slot = |whose: &str, name: &str| {
        Slot::of(b'h', &[caller.tenant.as_bytes(), whose.as_bytes(), name.as_bytes()])
    };
    [slot("agent", &caller.agent), slot("customer", &caller.customer)]
}

impl Hold {
    /// What an answer must name: a digest and exactly these policies.
    pub fn shown(digest: &Digest, reasons: &[Reason]) -> Digest {
        let mut bytes = Vec::with_capacity(128);
        piece(&mut bytes, b'd', &digest.0);
        reasons.iter().for_each(|reason| piece(&mut bytes, b'r', reason.policy.as_bytes()));
        Digest(sha256(&bytes))
    }
}

packed!(struct Hold {
    reasons, queue, deadline, since, shown, joined, changed, risk, needs, yes, nudge, passed,
    asked,
});
packed!(enum Risk { 0 => High, 1 => Medium, 2 => Low });
packed!(struct Quorum { approvers, roles });
packed!(struct Yes { by, at, roles, reason });
packed!(enum News { 0 => Held, 1 => Reminded, 2 => Escalated, 3 => Answered, 4 => Settled });
packed!(struct Letter { number, news, at, next, tries, told });
packed!(struct Approval { by, at, digest, policies, until });

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(by: &str, roles: &[&str]) -> Yes {
        let roles = roles.iter().map(|role| Box::from(*role)).collect();
        Yes { by: by.into(), at: Timestamp(0), roles, reason: "".into() }
    }

    #[test]
    fn a_person_stands_for_one_role_and_the_best_sharing_out_counts() {
        let needs = Quorum { approvers: 2, roles: vec!["finance".into(), "lead".into()] };
        for (said, met) in [
            (vec![], false),
            (vec![yes("ana", &["finance", "lead"])], false),
            (vec![yes("ana", &["finance"]), yes("ben", &["finance"])], false),
            (vec![yes("ana", &["finance", "lead"]), yes("ben", &["lead"])], true),
            (vec![yes("ana", &["finance", "lead"]), yes("ben", &["finance"])], true),
            (vec![yes("ana", &["lead"]), yes("ben", &[])], false),
            (vec![yes("ana", &["lead"]), yes("ben", &[]), yes("eva", &["finance"])], true),
        ] {
            assert_eq!(needs.are_met(&said), met, "{said:?}");
        }
        let two = Quorum { approvers: 2, roles: Vec::new() };
        assert!(!two.are_met(&[yes("ana", &[])]));
        assert!(two.are_met(&[yes("ana", &[]), yes("ben", &[])]));
    }
}

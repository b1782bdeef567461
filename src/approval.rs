//! Did a human say yes? Who may answer which hold, and the answer bound to what was shown.
//!
//! Never sends anything: an approved call is judged again by the gate before it runs.

mod rules;

use std::sync::Arc;

pub use rules::{Answerers, Escalate, Queue, Rules};

use crate::call::{CallerKey, Digest, OperationId};
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::{Answered, Hold, HoldAnswer, Line, Place, Record, Say, State, Store};

/// A person or machine who may ask and answer at the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Who, on record.
    pub name: Arc<str>,
    /// What their issuer calls them, where it is not their name.
    pub subject: Option<Arc<str>>,
    /// What they may answer.
    pub roles: Vec<Box<str>>,
    /// Whose holds, operations and freezes they see and answer.
    pub tenants: Tenants,
    /// Whether they answer holds at all.
    pub answers: Answers,
}

/// The tenants that an operator may see and act for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Every tenant: only the configuration says so, never a claim that is missing.
    All,
    /// These; none is nobody.
    These(Vec<Box<str>>),
}

impl Tenants {
    /// Whether a tenant is among them.
    pub fn hold(&self, tenant: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| **name == *tenant),
        }
    }
}

/// Whether an operator answers holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Those of the queues that their roles open.
    Holds,
    /// None: it is a machine that watches or freezes.
    Nothing,
}

/// Why an answer to a hold was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// No such operation.
    #[error("there is no such operation")]
    Unknown,
    /// The queue is somebody else's.
    #[error("{0}")]
    NotYours(String),
    /// What was looked at is not what it is now.
    #[error("it is no longer what you looked at: show it again and answer that")]
    Changed,
    /// It takes somebody else.
    #[error("you have said yes to it already: it takes somebody else as well")]
    Twice,
    /// Somebody else was quicker, or time.
    #[error("it does not wait any more: it is {0}")]
    Answered(&'static str),
    /// The vendor may still show that it happened.
    #[error("it may still show that it happened until {0}; look again then, or say it with force")]
    TooEarly(Timestamp),
    /// There is no rule's word to judge.
    #[error("no rule spoke against it")]
    NobodySpoke,
    /// No state of that name.
    #[error("expected a state: held, approved, submitted, unknown, done, not_sent, refused or all")]
    BadFilter,
    /// The store did not answer.
    #[error("{0}")]
    Store(#[from] Fault),
}

/// Holds and who answers them.
#[derive(Debug)]
pub struct Approvals {
    store: Arc<Store>,
    /// Who is asked, and how.
    pub rules: Rules,
}

/// BOUND: a listing at most; older ones are found by their id.
const LISTED_MAX: usize = 500;

impl Approvals {
    /// Over `store`.
    pub fn new(store: Arc<Store>, rules: Rules) -> Self {
        Self { store, rules }
    }

    /// How many calls wait that an operator may see, by queue; each queue once.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn lines(&self, operator: &Operator) -> Result<Vec<Line>, Objection> {
        let mut lines = self.store.lines().await?;
        lines.retain(|line| operator.tenants.hold(&line.tenant));
        Ok(lines)
    }

    /// What waits that an operator may see, after that place: the riskiest first, then the oldest.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn waiting(
        &self,
        operator: &Operator,
        queue: Option<&str>,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Arc<Record>>, Objection> {
        let mut found: Vec<Arc<Record>> = Vec::new();
        for line in self.lines(operator).await? {
            if queue.is_none_or(|queue| *queue == *line.queue) {
                let at = (&*line.tenant, &*line.queue);
                found.extend(self.store.waiting(at, after, limit).await?);
            }
        }
        found.retain(|record| record.state == State::Held);
        found.sort_by_key(|record| record.hold.as_ref().map(|hold| Place::of(record.op, hold)));
        found.truncate(limit);
        Ok(found)
    }

    /// Operations in a state, or all: the latest first; holds the oldest first.
    ///
    /// # Errors
    ///
    /// A state that is none, or a store that does not answer.
    pub async fn list(&self, state: Option<&str>) -> Result<Vec<Arc<Record>>, Objection> {
        let state = match state {
            None | Some("all") => None,
            Some(name) if State::NAMES.contains(&name) => Some(name),
            Some(_) => return Err(Objection::BadFilter),
        };
        Ok(self.store.list(state, LISTED_MAX).await?)
    }

    /// One operation.
    ///
    /// # Errors
    ///
    /// When there is none, or the store does not answer.
    pub async fn show(&self, op: OperationId) -> Result<Arc<Record>, Objection> {
        self.store.show(op).await?.ok_or(Objection::Unknown)
    }

    /// A yes to exactly what was shown.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn approve(
        &self,
        op: OperationId,
        operator: &Operator,
        shown: Digest,
        reason: &str,
    ) -> Result<Arc<Record>, Objection> {
        let record = self.show(op).await?;
        self.may_approve(&record, operator)?;
        let by = Box::from(&*operator.name);
        let needed = record.hold.iter().flat_map(|hold| &hold.needs.roles);
        let roles = needed.filter(|role| operator.roles.contains(role)).cloned().collect();
        self.say(op, Say::Approve { by, shown, roles, reason: reason.into() }).await
    }

    /// A no.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn deny(
        &self,
        op: OperationId,
        operator: &Operator,
        reason: &str,
    ) -> Result<Arc<Record>, Objection> {
        self.may_answer(&*self.show(op).await?, operator)?;
        let by = Box::from(&*operator.name);
        self.say(op, Say::Deny { by, reason: reason.into() }).await
    }

    /// The agent takes its call back; only the same caller may.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn withdraw(
        &self,
        op: OperationId,
        caller: &CallerKey,
    ) -> Result<Arc<Record>, Objection> {
        if self.show(op).await?.about.caller != *caller {
            return Err(Objection::Unknown);
        }
        self.say(op, Say::Withdraw).await
    }

    async fn say(&self, op: OperationId, say: Say) -> Result<Arc<Record>, Objection> {
        match self.store.answer(HoldAnswer { op, say }).await? {
            Answered::Ok(record) => Ok(record),
            Answered::Changed(_) => Err(Objection::Changed),
            Answered::Twice(_) => Err(Objection::Twice),
            Answered::TooLate(record) => Err(Objection::Answered(record.state.name())),
            Answered::Lost => Err(Objection::Unknown),
        }
    }

    /// Whether an operator may say what became of an operation of that queue.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_resolve(&self, queue: &str, operator: &Operator) -> Result<(), Objection> {
        self.may_speak(operator)?;
        self.opens(queue, operator)
    }

    /// Whether an operator may answer a hold at all: say no, and yes if nothing else stands in the way.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_answer(&self, record: &Record, operator: &Operator) -> Result<(), Objection> {
        let tenant = &record.about.caller.tenant;
        // SECURITY: another tenant's call is not there, whoever guesses its name.
        if !operator.tenants.hold(tenant) {
            return Err(Objection::Unknown);
        }
        self.may_speak(operator)?;
        let Some(hold) = &record.hold else {
            return Err(Objection::Answered(record.state.name()));
        };
        self.opens(&hold.queue, operator)?;
        let tenants = self.rules.queues.get(&*hold.queue).map(|queue| &*queue.tenants);
        if tenants.is_some_and(|own| !own.is_empty() && !own.iter().any(|own| **own == **tenant)) {
            let why = format!("the queue `{}` does not answer for tenant `{tenant}`", hold.queue);
            return Err(Objection::NotYours(why));
        }
        Ok(())
    }

    /// Whether an operator may say yes to a hold.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_approve(&self, record: &Record, operator: &Operator) -> Result<(), Objection> {
        self.may_answer(record, operator)?;
        let Some(hold) = &record.hold else {
            return Err(Objection::Answered(record.state.name()));
        };
        not_the_asker(record, operator)?;
        if hold.yes.iter().any(|yes| yes.by.eq_ignore_ascii_case(&operator.name)) {
            return Err(Objection::Twice);
        }
        stands_for_something(hold, operator)?;
        let roles = self.rules.queues.get(&*hold.queue).map_or(&[][..], |queue| &queue.roles);
        self.rules.within_limit(record.about.amount, roles, operator)
    }

    /// Whether an operator speaks for people at all.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_speak(&self, operator: &Operator) -> Result<(), Objection> {
        if operator.answers == Answers::Nothing {
            return Err(Objection::NotYours(format!(
                "`{}` answers no holds: its token does not say `approves: true`",
                operator.name
            )));
        }
        Ok(())
    }

    fn opens(&self, queue: &str, operator: &Operator) -> Result<(), Objection> {
        // A queue that a reload took away is nobody's, not everybody's.
        let roles = self.rules.queues.get(queue).map(|queue| &queue.roles).ok_or_else(|| {
            Objection::NotYours(format!("the queue `{queue}` is not configured any more"))
        })?;
        let has = |role: &String| operator.roles.iter().any(|own| **own == **role);
        if roles.is_empty() || roles.iter().any(has) {
            return Ok(());
        }
        Err(Objection::NotYours(format!(
            "the queue `{queue}` is answered by {}",
            roles.join(" or ")
        )))
    }
}

/// SECURITY: a hold asks for a second pair of eyes; who asked has looked already, by whatever name.
fn not_the_asker(record: &Record, operator: &Operator) -> Result<(), Objection> {
    let (about, caller) = (&record.about, &record.about.caller);
    let askers = [&*caller.agent, &*caller.customer, &*about.account];
    let askers = askers.into_iter().chain(about.owner.as_deref()).filter(|name| !name.is_empty());
    let names = [Some(&operator.name), operator.subject.as_ref()];
    for asker in askers {
        if names.iter().flatten().any(|name| name.eq_ignore_ascii_case(asker)) {
            let why = format!("`{asker}` asked for it: somebody else must approve it");
            return Err(Objection::NotYours(why));
        }
    }
    Ok(())
}

/// Where every yes must stand for a role, one that stands for none counts for nothing.
fn stands_for_something(hold: &Hold, operator: &Operator) -> Result<(), Objection> {
    let roles = &hold.needs.roles;
    let is_open = usize::from(hold.needs.approvers) > roles.len();
    if is_open || roles.iter().any(|role| operator.roles.contains(role)) {
        return Ok(());
    }
    Err(Objection::NotYours(format!(
        "it takes a yes of {}, of different people",
        roles.join(" and ")
    )))
}

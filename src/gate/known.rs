//! Did it happen already? What the store knows of a call, in the words of the path.

use std::sync::Arc;
use std::time::Duration;

use crate::bounds::JOIN_WAIT;
use crate::call::{Answer, Facts, OperationId, Outcome};
use crate::decision::Reason;
use crate::disclosure::{self, Question, Ran};
use crate::gate::execute::kept;
use crate::gate::road::Road;
use crate::gate::{Asked, Evidence, Gate};
use crate::operation;
use crate::refusal::{self, Code, Refusal};
use crate::store::{How, Known, Recalled, Record, State, StoredAnswer};

/// An effect that has an answer already.
#[derive(Debug)]
pub struct Replay {
    asked: Asked,
    record: Arc<Record>,
    answer: StoredAnswer,
    ran: Ran,
}

/// What recall leads to.
pub(super) enum Recall {
    /// It is new; facts are to be read after this number.
    Fresh(u64),
    /// It is answered from memory.
    Known(Box<Replay>),
}

/// What was read beside recall.
pub(super) struct Early {
    /// Leave to reach the upstream.
    pub road: Road,
    /// What it said.
    pub facts: Result<Facts, Refusal>,
}

impl Gate {
    /// Whether a call is known already. Where asking takes a trip to a fleet's store, the facts are read
    /// meanwhile, if nothing in this process stands in their way; recall wins.
    ///
    /// SECURITY: such facts may be older than what recall has seen. They count as of the settlings that
    /// were known of before they were asked for: what has moved since is stale, and is read again.
    pub(super) async fn recall_beside_facts(
        &self,
        asked: &Asked,
        evidence: &mut Evidence,
    ) -> Result<(Recall, Option<Early>), Refusal> {
        let seen = self.store.seen(&asked.caller.key().tenant);
        match seen.zip(self.early_road(asked)) {
            Some(early) => Box::pin(self.recall_and_read(asked, early, evidence)).await,
            None => Ok((self.recall(asked, evidence).await?, None)),
        }
    }

    async fn recall_and_read(
        &self,
        asked: &Asked,
        (seen, mut road): (u64, Road),
        evidence: &mut Evidence,
    ) -> Result<(Recall, Option<Early>), Refusal> {
        let (recalled, facts) = {
            let facts = self.gathered(asked, &mut road);
            let recall = self.recall(asked, evidence);
            tokio::pin!(facts, recall);
            tokio::select! {
                biased;
                recalled = &mut recall => match recalled? {
                    known @ Recall::Known(_) => return Ok((known, None)),
                    fresh @ Recall::Fresh(_) => (fresh, facts.await),
                },
                facts = &mut facts => (recall.await?, facts),
            }
        };
        match recalled {
            known @ Recall::Known(_) => Ok((known, None)),
            Recall::Fresh(now) => Ok((Recall::Fresh(seen.min(now)), Some(Early { road, facts }))),
        }
    }

    /// Leave to read the facts of an effect before it is known to be new.
    fn early_road(&self, asked: &Asked) -> Option<Road> {
        let (call, caller) = (&asked.call, &asked.caller);
        let may = call.class.is_effect()
            && !call.action.facts.is_empty()
            && self.freezes.check(call, caller).is_ok()
            && self.rates.has_room(call, caller)
            && self.loops.has_room(&asked.step());
        may.then(|| self.open_road_now(asked).ok()).flatten()
    }

    /// Whether a call is known already; a read never is.
    pub(super) async fn recall(
        &self,
        asked: &Asked,
        evidence: &mut Evidence,
    ) -> Result<Recall, Refusal> {
        if !asked.call.class.is_effect() {
            return Ok(Recall::Fresh(0));
        }
        let name = operation::name(&asked.call, &asked.caller, asked.account.as_deref());
        let known = match self.timed("recall", Box::pin(self.store.recall(&name))).await? {
            Recalled::Fresh { op, seen } => {
                evidence.operation = Some(op);
                return Ok(Recall::Fresh(seen));
            }
            Recalled::Mismatch(op) => return Err(Refusal::key_reused().about(op)),
            Recalled::Known(known) => Box::pin(self.joined(known)).await?,
        };
        evidence.recalled(&known);
        self.told(asked, known)
    }

    /// A call in flight is given a moment: its answer is better than a "wait".
    async fn joined(&self, known: Known) -> Result<Known, Refusal> {
        let op = known.record.op;
        if !matches!(known.record.state, State::Submitted { .. } | State::Approved) {
            return Ok(known);
        }
        let how = known.how;
        self.wait_until(op, JOIN_WAIT, |state| {
            !matches!(state, State::Submitted { .. } | State::Approved)
        })
        .await;
        let now = self.store.show_answer(op).await?;
        Ok(now.map_or(known, |now| Known { how, ..now }))
    }

    /// Waits until a held operation has its end, at most `span`.
    pub(super) async fn wait_for(&self, op: OperationId, span: Duration) {
        let over = |state: State| !state.is_open() || state == State::Unknown;
        tokio::select! {
            () = self.wait_until(op, span, over) => {}
            // People take longer than a stop may: how it stands now is the answer.
            () = self.standing.stopping.cancelled() => {}
        }
    }

    async fn wait_until(&self, op: OperationId, span: Duration, over: impl Fn(State) -> bool) {
        let Some(mut waiter) = self.store.waiter(op) else { return };
        let waiting = async {
            loop {
                match self.store.show(op).await {
                    Ok(Some(record)) if !over(record.state) => waiter.changed().await,
                    Ok(_) | Err(_) => return,
                }
            }
        };
        // Time is up: how it stands now is the answer.
        let _over = tokio::time::timeout(span, waiting).await;
    }

    /// What an agent is told of an operation that is known.
    pub(super) fn told(&self, asked: &Asked, known: Known) -> Result<Recall, Refusal> {
        let ran = match known.how {
            How::Own => Ran::Replayed,
            How::Same => Ran::Joined,
        };
        self.count_duplicate(ran);
        match (known.record.state, known.answer) {
            (State::Done { .. }, Some(answer)) => {
                let (asked, record) = (asked.clone(), known.record);
                Ok(Recall::Known(Box::new(Replay { asked, record, answer, ran })))
            }
            _ => Err(self.standing(&known.record)),
        }
    }

    /// How an operation without an answer stands, as a refusal.
    pub(super) fn standing(&self, record: &Record) -> Refusal {
        let (op, soon) = (record.op, Duration::from_secs(2));
        match record.state {
            State::Held => self.held(record),
            State::Approved | State::Submitted { .. } | State::NotSent => {
                Refusal::in_flight(op, soon)
            }
            State::Unknown => Refusal::outcome_still_unknown(op),
            State::Done { outcome: Outcome::Rejected } => Refusal::already_rejected(op),
            // Pending, and nobody has an answer to tell: it is looked for.
            State::Done { outcome: Outcome::Accepted } => Refusal::outcome_still_unknown(op),
            State::Done { .. } => Refusal::already_done(op),
            State::Refused { code } => refused(record, code),
        }
    }

    /// A call that waits for a person.
    pub(super) fn held(&self, record: &Record) -> Refusal {
        let Some(hold) = &record.hold else { return Refusal::undecidable("a hold without terms") };
        let asked = refusal::Asked { summary: &record.about.summary, queue: &hold.queue };
        // BOUND: people answer in minutes; asking twice a minute is soon enough.
        let wait = Duration::from_secs(30);
        let mut refusal = Refusal::approval_required(record.op, &asked, wait, hold.deadline);
        refusal.reasons.clone_from(&hold.reasons);
        refusal.because(why(&hold.reasons))
    }

    /// Answers from memory, through the same disclosure as the first time.
    pub(super) async fn replay(
        &self,
        replay: Replay,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let Replay { asked, record, answer, ran } = replay;
        let facts = crate::call::Facts::default();
        let question = Question {
            call: &asked.call,
            caller: &asked.caller,
            account: asked.account.as_deref(),
            facts: &facts,
            internal: asked.contract.internal,
        };
        let released = disclosure::release(&question, &kept(&answer))?;
        evidence.withheld = released.withheld;
        let mut answer = released.answer;
        disclosure::mark(&mut answer, Some((record.op, ran)), None);
        if let Some(shadow) = &record.shadow {
            disclosure::mark_shadow(&mut answer, shadow);
        }
        if !record.collected {
            // Not knowing that it was collected only means that it is joined for longer.
            if let Err(fault) = self.store.collected(record.op).await {
                self.tell_fault("an answer was collected, which could not be noted", &fault);
            }
        }
        Ok(answer)
    }
}

/// The reasons of a hold, for operators.
pub(super) fn why(reasons: &[Reason]) -> String {
    reasons.iter().map(|r| format!("{} ({})", r.why, r.policy)).collect::<Vec<_>>().join("; ")
}

fn refused(record: &Record, code: Code) -> Refusal {
    let queue = record.hold.as_ref().map_or("default", |hold| &*hold.queue);
    if code == Code::ApprovalDenied {
        Refusal::approval_denied(record.op, queue, &record.reason)
    } else if code == Code::ApprovalExpired {
        Refusal::approval_expired(record.op)
    } else if code == Code::Withdrawn {
        Refusal::withdrawn(record.op)
    } else {
        // What the gate said when it judged the approved call again.
        Refusal::new(code, record.reason.to_string()).about(record.op)
    }
}

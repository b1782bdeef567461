//! What nobody waits for any more, or a person has answered: approved holds run, late ones end,
//! leases that are over become unknown. The same path as a call's, entered from the other side.

use std::sync::Arc;
use std::time::Duration;

use crate::gate::parcel::Parcel;
use crate::gate::reserve::{Entrance, Room};
use crate::gate::{Admission, Asked, Evidence, Gate};
use crate::policy::Release;
use crate::refusal::{Code, Refusal};
use crate::store::{HoldAnswer, Record, Say};

/// BOUND: how soon what is over is seen to be over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// BOUND: approved calls that one turn runs; the next turn takes the rest.
const APPROVED_MAX: usize = 64;

impl Gate {
    /// One turn of the sweep.
    pub async fn sweep(&self) {
        Box::pin(self.turn(&|| false)).await;
    }

    /// One turn; no further approved call is begun once `stopped`.
    async fn turn(&self, stopped: &(dyn Fn() -> bool + Sync)) {
        match self.store.sweep().await {
            Ok(changed) => {
                for record in changed {
                    self.record_change(&record).await;
                }
            }
            Err(fault) => self.tell_fault("the sweep could not look for what is over", &fault),
        }
        match self.store.list(Some("approved"), APPROVED_MAX).await {
            Ok(approved) => {
                for record in approved {
                    if stopped() {
                        return;
                    }
                    Box::pin(self.run_approved(&record)).await;
                }
            }
            Err(fault) => self.tell_fault("approved calls could not be listed", &fault),
        }
    }

    /// Sweeps every second, and at once after an approval, until the gate closes. What it runs by then
    /// is brought to its end; what it has not begun waits for the next start.
    pub async fn sweep_until_closed(&self) {
        for record in self.store.interrupted() {
            self.record_change(&record).await;
        }
        while !self.closing.is_cancelled() {
            Box::pin(self.turn(&|| self.closing.is_cancelled())).await;
            tokio::select! {
                // A turn that nobody asked for is due after a second.
                _due = tokio::time::timeout(SWEEP_EVERY, self.wake.notified()) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// Judges an approved call again and runs it, once.
    async fn run_approved(&self, record: &Arc<Record>) {
        let mut evidence = Evidence::of_record(record, &self.clock);
        let Err(refusal) = self.release(record, &mut evidence).await else { return };
        if may_pass(refusal.code) {
            // It stays approved; the next turn tries again until the approval ends.
            self.tell_waiting(record, &refusal);
            return;
        }
        let say = Say::Refuse { code: refusal.code, reason: refusal.detail.as_str().into() };
        if let Err(fault) = self.store.answer(HoldAnswer { op: record.op, say }).await {
            self.tell_fault("a refusal at release could not be noted", &fault);
            return;
        }
        let _answer = self.turn_back(refusal, &evidence);
    }

    /// The path of an approved call.
    async fn release(&self, record: &Record, evidence: &mut Evidence) -> Result<(), Refusal> {
        let asked = self.asked_again(record, evidence).await?;
        self.freezes.check(&asked.call, &asked.caller)?;
        let mut road = self.open_road(&asked)?;
        let shown: Vec<Box<str>> =
            record.approval.as_ref().map(|yes| yes.policies.clone()).unwrap_or_default();
        let mut seen = 0;
        // BOUND: facts that keep changing are read three times in one turn.
        for _ in 0..3 {
            let (facts, resolved) = self.known_facts(&asked, &mut road, evidence).await?;
            let release =
                self.policy.release(&self.policy_question(&asked, &facts, &resolved), &shown);
            let (reasons, queue) = match release {
                Release::Run => (Vec::new(), Arc::clone(&asked.contract.approval.queue)),
                Release::HeldAnew { reasons, queue, .. } => (reasons, queue),
                Release::Refused(refusal) => return Err(*refusal),
            };
            let judged = crate::gate::reserve::Judged { facts, resolved, reasons, queue };
            let entrance = Entrance::Approved { operation: record.op, seen };
            match self.reserve(&asked, &judged, entrance, evidence).await {
                Ok(Room::Granted(ticket)) => {
                    return self
                        .run(self.permit(asked, judged, Some(ticket), road)?, evidence)
                        .await;
                }
                Ok(Room::Stale(moved)) => seen = moved,
                // Another turn of the sweep has it.
                Ok(Room::Known(_)) => return Ok(()),
                Err(refusal) if refusal.code == Code::ApprovalRequired => {
                    let _answer = self.turn_back(refusal, evidence);
                    return Ok(());
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::undecidable("its facts kept changing"))
    }

    /// Sends it. Nobody waits: the answer is kept until the agent asks again.
    async fn run(&self, admitted: Admission, evidence: &mut Evidence) -> Result<(), Refusal> {
        if let Admission::Forward(permit) = self.on_record(Ok(admitted), evidence).await?
            && let Err(refusal) = self.execute(*permit, evidence).await
        {
            let _answer = self.turn_back(refusal, evidence);
        }
        Ok(())
    }

    /// The call of a hold, understood again by today's packs and contracts.
    async fn asked_again(
        &self,
        record: &Record,
        evidence: &mut Evidence,
    ) -> Result<Asked, Refusal> {
        let lost = || {
            Refusal::undecidable("the held request cannot be read; is the sealing key the same?")
        };
        let sealed = self.store.request(record.op).await?.ok_or_else(lost)?;
        let parcel = Parcel::open(&sealed).ok_or_else(lost)?;
        let request = parcel.request().ok_or_else(lost)?;
        let mut call = self.catalog.classify(&request)?;
        call.context = parcel.context;
        let caller = Arc::new(parcel.caller);
        let mut asked = self.asked(Arc::new(call), caller, evidence).await?;
        asked.account = parcel.account;
        // As of the first asking: a call that is held anew does not make its sign-in older.
        asked.at = record.created;
        Ok(asked)
    }
}

/// Whether what stands in the way may pass by itself: then an approved call waits.
fn may_pass(code: Code) -> bool {
    match code {
        Code::Undecidable
        | Code::BreakerOpen
        | Code::InFlight
        | Code::OutcomeUnknown
        | Code::OutcomeStillUnknown
        | Code::Frozen
        | Code::RateLimited
        | Code::UpstreamUnreachable
        | Code::UpstreamTimeout => true,
        Code::ApprovalRequired
        | Code::ApprovalDenied
        | Code::ApprovalExpired
        | Code::Withdrawn
        | Code::NotFound
        | Code::UnknownAction
        | Code::Forbidden
        | Code::OverLimit
        | Code::BudgetExhausted
        | Code::ConfidenceTooLow
        | Code::StepUpRequired
        | Code::Unauthenticated
        | Code::DuplicateSuspected
        | Code::KeyReused
        | Code::Malformed
        | Code::Ambiguous
        | Code::MissingContext
        | Code::AlreadyDone
        | Code::TooLarge
        | Code::HeaderTooLarge
        | Code::TooSlow => false,
    }
}

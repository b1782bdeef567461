//! What nobody waits for any more, or a person has answered: approved holds run, late ones end,
//! leases that are over become unknown. The same path as a call's, entered from the other side.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::call::OperationId;
use crate::decision::Verdict;
use crate::gate::parcel::Parcel;
use crate::gate::reserve::{Entrance, Room};
use crate::gate::trace::Ended;
use crate::gate::{Admission, Asked, Evidence, Gate};
use crate::policy::Release;
use crate::refusal::{Code, Refusal};
use crate::store::{Against, HoldAnswer, Record, Say};

/// BOUND: how soon what is over is seen to be over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// BOUND: every so many turns a replica looks although another does: what only it knows it tells, and one
/// that says it looks and does not costs a minute.
const LOOK_ALL_THE_SAME: u32 = 60;
/// BOUND: approved calls that are looked at in one turn; more than people approve in an hour.
const APPROVED_MAX: usize = 1_000;
/// BOUND: approved calls that run at once, so that one slow upstream does not keep the others waiting.
const RUNNING_MAX: usize = 32;

impl Gate {
    /// One turn of the sweep, to its end.
    pub async fn sweep(&self) {
        self.settle_again().await;
        self.record_again().await;
        Box::pin(self.end_what_is_over()).await;
        Box::pin(self.seek()).await;
        Box::pin(self.look_at_brakes()).await;
        let approved = self.approved().await;
        let mut told = HashMap::new();
        for (record, waits) in join_all(approved.into_iter().map(|r| self.try_approved(r))).await {
            self.tell_once(&record, waits, &mut told);
        }
    }

    /// Sweeps every second, and at once after an approval, until the gate closes. What it runs by then
    /// is brought to its end; what it has not begun waits for the next start.
    pub async fn sweep_until_closed(&self) {
        for record in self.store.interrupted() {
            self.record_change(&record).await;
        }
        tokio::join!(
            Box::pin(self.find_unrecorded()),
            Box::pin(self.lead_until_closed()),
            Box::pin(self.end_until_closed()),
            Box::pin(self.nudge_until_closed()),
            Box::pin(self.borrow_until_closed()),
            Box::pin(self.post_until_closed()),
            Box::pin(self.run_until_closed()),
            Box::pin(self.seek_until_closed()),
            Box::pin(self.count_until_closed()),
            Box::pin(self.brakes_until_closed()),
            Box::pin(self.watch_store()),
            Box::pin(self.export_until_closed()),
            Box::pin(self.keep_until_closed()),
            Box::pin(self.tell_collector_until_closed())
        );
    }

    async fn seek_until_closed(&self) {
        while !self.closing.is_cancelled() {
            if self.standing.leads.load(Ordering::Acquire) {
                self.seek().await;
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// One replica of a fleet looks for what is over, approved or unknown, as long as it says so each second;
    /// when it does not, another takes its place. A lease that two take for theirs costs only work: each
    /// operation is claimed by one.
    async fn lead_until_closed(&self) {
        let mut turn = 0_u32;
        while self.store.is_shared() && !self.closing.is_cancelled() {
            // A store that does not say who it is, is told of by whoever looks.
            let leads = self.store.leads().await.unwrap_or(true);
            turn = if leads { 0 } else { turn.wrapping_add(1) };
            let is_due = turn.is_multiple_of(LOOK_ALL_THE_SAME);
            self.standing.leads.store(leads || is_due, Ordering::Release);
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    async fn end_until_closed(&self) {
        while !self.closing.is_cancelled() {
            self.settle_again().await;
            self.record_again().await;
            if self.standing.leads.load(Ordering::Acquire) {
                self.end_what_is_over().await;
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// Leases that are over become unknown, holds that nobody answered are refused.
    async fn end_what_is_over(&self) {
        match self.store.sweep().await {
            Ok(changed) => {
                for record in changed {
                    self.record_change(&record).await;
                }
            }
            Err(fault) => self.tell_fault("the sweep could not look for what is over", &fault),
        }
    }

    async fn run_until_closed(&self) {
        let mut running = FuturesUnordered::new();
        let mut begun: Vec<OperationId> = Vec::new();
        let (mut told, mut is_woken) = (HashMap::new(), true);
        while !self.closing.is_cancelled() {
            // Whoever took an approval runs it; what then waits is the turn of the one that looks.
            let looks =
                std::mem::take(&mut is_woken) || self.standing.leads.load(Ordering::Acquire);
            let mut waiting =
                VecDeque::from(if looks { self.approved().await } else { Vec::new() });
            told.retain(|op, _| waiting.iter().any(|record| record.op == *op));
            waiting.retain(|record| !begun.contains(&record.op));
            // A turn that nobody asked for is due after a second.
            let due = tokio::time::timeout(SWEEP_EVERY, self.standing.wake.notified());
            tokio::pin!(due);
            loop {
                while running.len() < RUNNING_MAX
                    && let Some(record) = waiting.pop_front()
                {
                    begun.push(record.op);
                    running.push(self.try_approved(record));
                }
                tokio::select! {
                    Some((record, waits)) = running.next(), if !running.is_empty() => {
                        begun.retain(|op| *op != record.op);
                        self.tell_once(&record, waits, &mut told);
                    }
                    woken = &mut due => {
                        is_woken = woken.is_ok();
                        break;
                    }
                    () = self.closing.cancelled() => break,
                }
            }
        }
        while running.next().await.is_some() {}
    }

    /// What people said yes to, the oldest first.
    async fn approved(&self) -> Vec<Arc<Record>> {
        match self.store.list(Some("approved"), APPROVED_MAX).await {
            Ok(approved) => approved,
            Err(fault) => {
                self.tell_fault("approved calls could not be listed", &fault);
                Vec::new()
            }
        }
    }

    async fn try_approved(&self, record: Arc<Record>) -> (Arc<Record>, Option<Refusal>) {
        let waits = Box::pin(self.run_approved(&record)).await;
        (record, waits)
    }

    /// Operators are told what an approved call waits for once, and again when that changes.
    fn tell_once(
        &self,
        record: &Record,
        waits: Option<Refusal>,
        told: &mut HashMap<OperationId, Code>,
    ) {
        if let Some(refusal) = waits
            && told.insert(record.op, refusal.code) != Some(refusal.code)
        {
            self.tell_waiting(record, &refusal);
        }
    }

    /// Judges an approved call again and runs it, once; what it waits for, if it cannot go yet.
    async fn run_approved(&self, record: &Record) -> Option<Refusal> {
        let mut evidence = Evidence::of_record(record, &self.clock);
        evidence.trace = self.telemetry.late_trace(None, evidence.since);
        let refusal = self.release(record, &mut evidence).await.err()?;
        if may_pass(refusal.code) {
            // It stays approved; the next turn tries again until the approval ends.
            return Some(refusal);
        }
        let say = Say::Refuse { code: refusal.code, reason: refusal.detail.as_str().into() };
        if let Err(fault) = self.store.answer(HoldAnswer { op: record.op, say }).await {
            self.tell_fault("a refusal at release could not be noted", &fault);
            return None;
        }
        let _answer = self.turn_back(refusal, &evidence);
        None
    }

    /// The path of an approved call.
    async fn release(&self, record: &Record, evidence: &mut Evidence) -> Result<(), Refusal> {
        let parcel = self.parcel(record).await?;
        let mut asked = self.asked_again(record, &parcel, evidence).await?;
        self.look_again(&mut asked).await?;
        self.freezes.check(&asked.call, &asked.caller)?;
        let mut road = self.open_road(&asked).await?;
        let shown: Vec<Box<str>> =
            record.approval.as_ref().map(|yes| yes.policies.clone()).unwrap_or_default();
        let mut seen = 0;
        // BOUND: facts that keep changing are read three times in one turn.
        for _ in 0..3 {
            let (facts, resolved) = self.known_facts(&asked, &mut road, evidence).await?;
            let release = self.judge_signals((&asked, &facts, &resolved), |question| {
                self.policy.release(question, &shown)
            });
            let (reasons, queue) = match release {
                Release::Run => (Vec::new(), Arc::clone(&asked.contract.approval.queue)),
                Release::HeldAnew { reasons, queue, .. } => (reasons, queue),
                Release::Refused(refusal) => return Err(*refusal),
            };
            // Its facts may have shown that the upstream is not well: an effect does not try the road.
            road.still_open()?;
            // What was held is judged as it was held, whatever runs in shadow since.
            let against = Against::Stands;
            let judged = crate::gate::reserve::Judged { facts, resolved, reasons, queue, against };
            let entrance = Entrance::Approved { operation: record.op, seen, parcel: &parcel };
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
        if let Admission::Forward(permit) = self.on_record(Ok(admitted), evidence).await? {
            match self.execute(permit, evidence).await {
                Ok(answer) => {
                    let (status, verdict) = (answer.status, Verdict::Allow);
                    self.tell_trace(Ended { status, verdict, refusal: None }, evidence);
                }
                Err(refusal) => drop(self.turn_back(refusal, evidence)),
            }
        }
        Ok(())
    }

    /// The call of an operation, understood again by today's packs and contracts.
    pub(super) async fn asked_again(
        &self,
        record: &Record,
        parcel: &Parcel,
        evidence: &mut Evidence,
    ) -> Result<Asked, Refusal> {
        // Whatever listeners there are by now: it goes where it was meant to go, or nowhere.
        let road = self.catalog.road_to(parcel.upstream());
        let unknown = || Refusal::unknown_action(parcel.method(), parcel.path());
        let request = parcel.request(road.ok_or_else(unknown)?.listener);
        let request =
            request.ok_or_else(|| Refusal::undecidable("the kept request is no request"))?;
        let mut call = self.catalog.classify(&request)?;
        call.context = parcel.context.clone();
        let caller = Arc::new(parcel.caller.clone());
        let mut asked = self.asked(Arc::new(call), caller, evidence).await?;
        asked.account.clone_from(&parcel.account);
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
        | Code::Overloaded
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
        | Code::AlreadyRejected
        | Code::TooLarge
        | Code::HeaderTooLarge
        | Code::TooSlow => false,
    }
}

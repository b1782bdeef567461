//! What happens is counted, brakes are put on and released: in the background of a process, never on the path.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::alarm::{BRAKES_MAX, Item, Look, Seen, Subject, Tripping, What};
use crate::audit::{Entry, Event};
use crate::bounds::WITHIN_MAX;
use crate::call::{Facts, Resolved};
use crate::clock::Timestamp;
use crate::decision::Signal;
use crate::gate::known::{Early, Recall};
use crate::gate::{Asked, Evidence, Gate};
use crate::refusal::{Code, Fault, Refusal};
use crate::store::{Freeze, Lift, Record, Stops, TALLIES_MAX, Tally};
use crate::telemetry::{Level, LogLine};

/// BOUND: how long what happened may wait to be counted; a brake is on within half a second.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked whether a brake has become quiet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// BOUND: a brake that is kept on is written again so often, at most, and once in a tenth of its span: each time goes
/// to every tenant.
const KEEP_EVERY: Duration = Duration::from_secs(1);

impl Gate {
    /// Counts what happened, until the gate closes, and once more then.
    pub(super) async fn count_until_closed(&self) {
        while !self.closing.is_cancelled() {
            self.count_pending().await;
            let soon = tokio::time::timeout(COUNT_EVERY, self.alarms.pending.wake.notified());
            tokio::select! {
                // Woken or not, it is time.
                _woken = soon => {}
                () = self.closing.cancelled() => {}
            }
        }
        self.count_pending().await;
    }

    /// Counts what happened, and puts on the brakes that it passes. What the store does not take is counted
    /// with the next.
    pub async fn count_pending(&self) {
        let pending = &self.alarms.pending;
        let left_out = pending.left_out();
        if left_out > 0 {
            self.telemetry.counts_left_out(left_out);
        }
        let mut all = pending.take().into_iter().peekable();
        while let Some(first) = all.next() {
            let tenant = first.tenant.clone();
            let mut step = vec![first];
            while step.len() < TALLIES_MAX
                && let Some(one) = all.next_if(|one| one.tenant == tenant)
            {
                step.push(one);
            }
            self.count(&tenant, step).await;
        }
    }

    async fn count(&self, tenant: &str, step: Vec<Item>) {
        let brakes = self.store.brakes();
        let tallies: Vec<Tally> = step.iter().map(|one| one.told(&brakes)).collect();
        let from: Vec<_> = tallies.iter().map(|tally| tally.since).collect();
        match self.store.tally(tenant, tallies).await {
            Ok(totals) => {
                self.alarms.pending.works();
                for ((one, from), total) in step.into_iter().zip(from).zip(totals) {
                    self.look_at_count(one, (from, total)).await;
                }
            }
            Err(fault) => {
                if self.alarms.pending.fails() {
                    self.tell_fault("what happened is not counted yet", &fault);
                }
                step.into_iter().for_each(|one| self.alarms.pending.add(one));
            }
        }
    }

    /// Puts the brake on that a count passes; `from` is since when it counts, where the brake was released before.
    async fn look_at_count(&self, item: Item, (from, total): (Option<Timestamp>, i64)) {
        let Some(trips) = &item.trips else { return };
        let Some(brake) = self.alarms.brake(&trips.brake) else { return };
        let count = total.saturating_add(trips.asks);
        if brake.rule.most.of(item.tally.unit).is_none_or(|most| count <= most) {
            return;
        }
        let now = self.store.now();
        let brakes = self.store.brakes();
        let own = brakes.iter().find(|one| one.id == trips.number);
        if !trips.is_tried && own.is_some_and(|own| own.is_brake(now)) {
            return;
        }
        if own.is_none() && brakes.len() >= BRAKES_MAX {
            let why = format!(
                "{BRAKES_MAX} brakes are on or were released lately, the most that there may be"
            );
            self.tell_fault("a brake could not be put on", &Fault::StoreUnavailable(why));
            return;
        }
        let freeze = Freeze {
            id: trips.number.clone(),
            scope: trips.scope.clone(),
            reason: brake.rule.words(item.tally.unit, count).into(),
            by: Freeze::by_brake(&trips.brake),
            // What was counted from before a release puts nothing on: it is compared in the store's step.
            at: from.unwrap_or(Timestamp(i64::MIN)),
            until: brake.quiet.map(|quiet| now.plus(quiet)),
            issued_before: None,
            stops: Stops::Held,
        };
        match self.store.brake(freeze).await {
            Ok((brake, is_new)) if is_new || (trips.is_tried && brake.stops == Stops::Held) => {
                self.braked(&brake).await;
            }
            Ok(_) => {}
            Err(fault) => {
                if !trips.is_tried {
                    self.tell_fault("a brake is not on yet", &fault);
                }
                let trips = Some(Tripping { is_tried: true, ..trips.clone() });
                let tally = Tally { count: 0, ..item.tally };
                self.alarms.pending.add(Item { trips, tally, ..item });
            }
        }
    }

    async fn braked(&self, brake: &Freeze) {
        self.telemetry.braked(brake.brake());
        let mut line = LogLine::new(Level::Warn, "a brake is on: what it matches waits for people");
        let lift = format!("look at what is held; tollhouse unfreeze {}", brake.id);
        line.text("by", Some(&brake.by)).shown("scope", Some(&brake.scope));
        line.text("why", Some(&brake.reason)).text("do", Some(&lift));
        self.telemetry.tell(line);
        self.brake_on_record(Event::Braked, brake, &brake.reason).await;
    }

    async fn brake_on_record(&self, event: Event, brake: &Freeze, why: &str) {
        let mut entry = Entry::of(event);
        entry.by = Some(brake.by.clone());
        let words = format!("{}: {} ({why})", brake.id, brake.scope);
        entry.note = Some(crate::redact::text(&words).into());
        if let Err(fault) = self.audit.record(entry).await {
            self.tell_evidence_gap();
            self.tell_fault("a brake could not be put on record; it counts", &fault);
        }
    }

    /// Lifts a stop. That a brake was released is remembered for as long as what came before could count.
    pub(super) async fn lift(&self, id: &str, lift: Lift) -> Result<Option<Freeze>, Fault> {
        let brakes = self.store.brakes();
        let own = brakes.iter().find(|one| *one.id == *id);
        let brake = own.and_then(|own| self.alarms.brake(own.brake()));
        let keep = brake.map_or(WITHIN_MAX, |brake| brake.rule.within);
        self.store.release(id, keep, lift).await
    }

    pub(super) async fn brakes_until_closed(&self) {
        while !self.closing.is_cancelled() {
            if self.standing.leads.load(Ordering::Acquire) {
                self.look_at_brakes().await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// Keeps brakes on that are not quiet, and puts away those that were for long enough.
    pub async fn look_at_brakes(&self) {
        let now = self.store.now();
        for one in self.store.brakes().into_iter().filter(|one| one.stops == Stops::Held) {
            if let Err(fault) = self.look_at_brake(&one, now).await {
                self.tell_fault("a brake could not be looked at", &fault);
            }
        }
    }

    /// The same of one, as this replica remembers it: it may be long ago.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    pub async fn look_at_brake(&self, one: &Freeze, now: Timestamp) -> Result<(), Fault> {
        match one.is_brake(now) {
            true => self.keep_on(one).await,
            false => self.released(one).await,
        }
    }

    /// A brake that was not quiet just now stays on for its whole span from now.
    async fn keep_on(&self, one: &Freeze) -> Result<(), Fault> {
        let quiet = self.alarms.brake(one.brake()).and_then(|brake| brake.quiet);
        let (Some(quiet), Some(until), Some(tenant)) = (quiet, one.until, one.scope.tenant())
        else {
            return Ok(());
        };
        let until_then = self.store.now().plus(quiet);
        if until_then.since(until) < KEEP_EVERY.max(quiet.checked_div(10).unwrap_or(quiet)) {
            return Ok(());
        }
        if self.is_over(one, tenant).await? {
            self.put_on(one, Some(until_then)).await?;
        }
        Ok(())
    }

    /// Whether more than usual is counted in its scope, with what it holds.
    async fn is_over(&self, one: &Freeze, tenant: &str) -> Result<bool, Fault> {
        for (tallies, most) in self.alarms.counts(one) {
            let totals = self.store.tally(tenant, tallies).await?;
            if totals.into_iter().fold(0_i64, i64::saturating_add) > most {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn put_on(&self, one: &Freeze, until: Option<Timestamp>) -> Result<(), Fault> {
        // Whoever released it meanwhile has released it.
        let at = Timestamp(i64::MIN);
        let (brake, is_new) = self.store.brake(Freeze { until, at, ..one.clone() }).await?;
        if is_new {
            self.braked(&brake).await;
        }
        Ok(())
    }

    /// A brake that was quiet for its span is off; that is on record. One whose end came while nobody looked, and
    /// that is not quiet, is on again: a release would forget what is counted.
    async fn released(&self, one: &Freeze) -> Result<(), Fault> {
        if let (Some(brake), Some(tenant)) = (self.alarms.brake(one.brake()), one.scope.tenant())
            && self.is_over(one, tenant).await?
        {
            let until = brake.quiet.map(|quiet| self.store.now().plus(quiet));
            return self.put_on(one, until).await;
        }
        // Another replica may have put it on again, and this one not heard of it.
        let Some(lifted) = self.lift(&one.id, Lift::IfOver).await? else { return Ok(()) };
        let mut line =
            LogLine::new(Level::Info, "a brake is released: it was quiet for long enough");
        line.text("by", Some(&lifted.by)).shown("scope", Some(&lifted.scope));
        self.telemetry.tell(line);
        self.brake_on_record(Event::Released, &lifted, "quiet for long enough").await;
        Ok(())
    }
}

impl Gate {
    /// A call was held: what brakes and signals make of that is counted.
    pub(super) fn count_held(&self, asked: &Asked, record: &Record) {
        let Some(hold) = &record.hold else { return };
        self.alarms.held(&subject(asked), record.about.amount, &hold.reasons);
    }

    /// A call was turned back: what that says of its agent is counted.
    pub(super) fn count_refused(&self, refusal: &Refusal, evidence: &Evidence) {
        if refusal.is_mismatch {
            self.count_happened(What::Mismatches, evidence);
        }
        if is_for_what_it_is(refusal.code) {
            self.count_happened(What::Refusals, evidence);
        }
    }

    /// Something happened in a call; nothing is made ready where nobody watches.
    pub(super) fn count_happened(&self, what: What, evidence: &Evidence) {
        if evidence.replayed || !self.alarms.watches(what) {
            return;
        }
        let Some(caller) = &evidence.caller else { return };
        let subject = Subject::of(caller);
        let subject = match &evidence.call {
            Some(call) => subject.asking(call, evidence.account.as_deref()),
            None => subject,
        };
        self.alarms.happened(what, &subject);
    }

    /// Recall and facts, and beside them the counts that an effect's signals hang on.
    pub(super) async fn recall_beside_signals(
        &self,
        asked: &mut Asked,
        evidence: &mut Evidence,
    ) -> Result<(Recall, Option<Early>), Refusal> {
        // A read has no signals, and costs nothing for it.
        let looks = match asked.call.class.is_effect() && !self.alarms.signals().is_empty() {
            true => self.alarms.looks(&subject(asked)),
            false => Vec::new(),
        };
        if looks.is_empty() {
            return self.recall_beside_facts(asked, evidence).await;
        }
        let (recalled, seen) = Box::pin(async {
            let (recall, seen) =
                (self.recall_beside_facts(asked, evidence), self.seen(asked, &looks));
            tokio::pin!(recall, seen);
            tokio::select! {
                biased;
                recalled = &mut recall => match &recalled {
                    // Recall wins: what is known needs no signals, and what failed is told.
                    Ok((Recall::Fresh(_), _)) => (recalled, seen.await),
                    Ok((Recall::Known(_), _)) | Err(_) => (recalled, Ok(Vec::new())),
                },
                seen = &mut seen => (recall.await, seen),
            }
        })
        .await;
        let recalled = recalled?;
        if let Recall::Fresh(_) = recalled.0 {
            asked.seen = seen?;
        }
        Ok(recalled)
    }

    /// The counts that an approved call's signals hang on, read again.
    pub(super) async fn look_again(&self, asked: &mut Asked) -> Result<(), Refusal> {
        let looks = self.alarms.looks(&subject(asked));
        if !looks.is_empty() {
            asked.seen = self.seen(asked, &looks).await?;
        }
        Ok(())
    }

    async fn seen(&self, asked: &Asked, looks: &[Look]) -> Result<Vec<Seen>, Refusal> {
        let tallies = looks.iter().map(|look| look.tally.clone()).collect();
        let tally = self.store.tally(&asked.caller.tenant, tallies);
        let totals = self.timed("tally", Box::pin(tally)).await?;
        Ok(looks.iter().zip(totals).map(|(look, total)| look.seen(total)).collect())
    }

    /// The signals that a call shows.
    pub(super) fn signals(&self, asked: &Asked, resolved: &Resolved) -> Vec<Signal> {
        if asked.seen.is_empty() {
            return Vec::new();
        }
        self.alarms.signalled(&asked.seen, resolved.amount, cap(asked, resolved))
    }

    /// What policy is asked, and what it answers.
    pub(super) fn judge_signals<T>(
        &self,
        (asked, facts, resolved): (&Asked, &Facts, &Resolved),
        judge: impl FnOnce(&crate::policy::Question<'_>) -> T,
    ) -> T {
        let signals = self.signals(asked, resolved);
        let mut question = self.policy_question(asked, facts, resolved);
        question.signals = &signals;
        judge(&question)
    }

    /// What is counted of an effect if it is let go.
    pub(super) fn brake_uses(
        &self,
        asked: &Asked,
        resolved: &Resolved,
    ) -> Vec<crate::store::BrakeUse> {
        self.alarms.uses(&subject(asked), resolved.amount, cap(asked, resolved))
    }
}

fn subject(asked: &Asked) -> Subject<'_> {
    Subject::of(&asked.caller).asking(&asked.call, asked.account.as_deref())
}

/// The most that goes without a person, in the currency of the call.
fn cap(asked: &Asked, resolved: &Resolved) -> Option<i64> {
    let currency = resolved.amount?.currency;
    crate::contract::Contract::cap(&asked.contract.cap_auto, currency)
}

/// Whether a call was turned back for what it is: not for what it says, how fast it came or what we could
/// not find out.
fn is_for_what_it_is(code: Code) -> bool {
    match code {
        Code::NotFound
        | Code::UnknownAction
        | Code::Forbidden
        | Code::OverLimit
        | Code::BudgetExhausted
        | Code::ConfidenceTooLow
        | Code::DuplicateSuspected => true,
        Code::ApprovalRequired
        | Code::ApprovalDenied
        | Code::ApprovalExpired
        | Code::Withdrawn
        | Code::StepUpRequired
        | Code::Unauthenticated
        | Code::Frozen
        | Code::Undecidable
        | Code::BreakerOpen
        | Code::Overloaded
        | Code::InFlight
        | Code::OutcomeUnknown
        | Code::OutcomeStillUnknown
        | Code::RateLimited
        | Code::KeyReused
        | Code::Malformed
        | Code::Ambiguous
        | Code::MissingContext
        | Code::AlreadyDone
        | Code::AlreadyRejected
        | Code::TooLarge
        | Code::HeaderTooLarge
        | Code::TooSlow
        | Code::UpstreamUnreachable
        | Code::UpstreamTimeout => false,
    }
}

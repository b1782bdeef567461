//! What operators are told of a call: one log line that says what to do, and the counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::Event;
use crate::call::{Class, OperationId, Outcome};
use crate::clock::Timestamp;
use crate::decision::{Mode, Verdict};
use crate::disclosure::Ran;
use crate::gate::{Evidence, Gate};
use crate::refusal::{Fault, Refusal};
use crate::store::{Freeze, Line, Place, Record, Risk, State, Stops};
use crate::telemetry::{Level, LogLine, QueueStands, Seen};

/// BOUND: a tenant's queues that are looked at for one scrape.
const LINES_LOOKED_AT_MAX: usize = 200;

impl Gate {
    pub(super) fn tell_fault(&self, what: &str, fault: &Fault) {
        self.telemetry.fault(what, fault);
    }

    pub(super) fn tell_evidence_gap(&self) {
        self.telemetry.evidence_gap();
    }

    pub(super) fn tell_contradiction(&self, record: &Record) {
        with_record(record, |seen| self.telemetry.contradiction(&seen));
    }

    pub(super) fn tell_fenced(&self, record: &Record, outcome: Outcome) {
        with_record(record, |seen| self.telemetry.fenced(&seen, outcome));
    }

    pub(super) fn tell_change(&self, record: &Record) {
        with_record(record, |seen| self.telemetry.changed(&seen));
    }

    pub(super) fn tell_waiting(&self, record: &Record, refusal: &Refusal) {
        with_record(record, |seen| {
            self.telemetry.waiting(&Seen { refusal: Some(refusal), ..seen });
        });
    }

    pub(super) fn tell_said(&self, event: Event, record: &Record, by: &Arc<str>) {
        with_record(record, |seen| self.telemetry.said(event.name(), &seen, by));
    }

    pub(super) fn tell_frozen(&self, event: Event, freeze: &Freeze, by: &Arc<str>) {
        let reason = crate::redact::text(&freeze.reason);
        self.telemetry.froze(event.name(), &freeze.scope, &reason, by);
    }

    /// Operators are told at start that the store lost what it knew, until somebody has seen to it.
    pub fn tell_loss(&self) {
        if let Ok(Some(since)) = self.store.lost() {
            let what = "the store lost what it knew; what was about to be sent is unknown now, and money \
                        waits for a person where the vendor's keys are not trusted";
            let mut line = LogLine::new(Level::Error, what);
            line.text("since", Some(&since.to_string())).text("do", Some("tollhouse store show"));
            self.telemetry.tell(line);
        }
    }

    pub(super) fn count_answer(&self, queue: &str, event: Event, waited: Duration) {
        self.telemetry.hold_answered(queue, event.name(), waited);
    }

    pub(super) fn count_duplicate(&self, ran: Ran) {
        match ran {
            Ran::Now => {}
            Ran::Replayed => self.telemetry.duplicate_suppressed("replayed"),
            Ran::Joined => self.telemetry.duplicate_suppressed("joined"),
        }
    }

    /// Does a step of the store and counts the time it took.
    pub(super) async fn timed<T>(&self, step: &'static str, work: impl Future<Output = T>) -> T {
        let since = self.clock.steady();
        let done = work.await;
        self.telemetry.store_took(step, self.clock.steady().saturating_sub(since));
        done
    }

    pub(super) fn count_added(&self, class: Option<Class>, own: Duration) {
        self.telemetry.added(class, own);
    }

    /// What stands now, for whoever scrapes: holds by queue, freezes by scope.
    pub(super) async fn count_standing(&self) {
        if let Ok(lines) = self.store.lines().await {
            self.count_queues(&lines).await;
        }
        let stops = self.freezes.list();
        let by_people = stops.iter().filter(|stop| stop.stops == Stops::Refused);
        self.telemetry.freezes(by_people.map(|freeze| &freeze.scope));
        self.count_brakes(&stops);
        self.telemetry.store_unsafe(self.store.judged().map_or(0, |found| found.dangers.len()));
    }

    fn count_brakes(&self, stops: &[Freeze]) {
        let known = self.alarms.brakes().iter().map(|brake| (&*brake.rule.name, 0_u64));
        let mut counts: BTreeMap<&str, u64> = known.collect();
        for brake in stops.iter().filter(|stop| stop.stops == Stops::Held) {
            // One that is configured no more may still be on.
            let count = counts.entry(brake.brake()).or_default();
            *count = count.saturating_add(1);
        }
        self.telemetry.brakes(&counts);
    }

    /// How each queue stands: how many wait, since when, and whether anybody can answer them at all.
    async fn count_queues(&self, lines: &[Line]) {
        let (mut queues, now) = (BTreeMap::<&str, QueueStands>::new(), self.clock.now());
        for line in lines.iter().take(LINES_LOOKED_AT_MAX) {
            let stands = queues.entry(&line.queue).or_default();
            stands.waiting = stands.waiting.saturating_add(line.count);
            if !self.approvals.rules.is_answered(&line.queue, &line.tenant) {
                stands.unanswerable = stands.unanswerable.saturating_add(line.count);
            }
            for risk in [Risk::High, Risk::Medium, Risk::Low] {
                let first = Place { risk, since: Timestamp(0), op: OperationId([0; 32]) };
                let at = (&*line.tenant, &*line.queue);
                let Ok(oldest) = self.store.waiting(at, Some(&first), 1).await else { continue };
                let since = oldest.first().and_then(|record| Some(record.hold.as_ref()?.since));
                stands.oldest = stands.oldest.max(since.map_or(Duration::ZERO, |at| now.since(at)));
            }
        }
        self.telemetry.holds_pending(&queues);
    }

    /// Says what the store may forget, for whoever reads the log of a start.
    pub async fn look_at_store(&self) {
        match self.store.durability().await {
            Ok(None) => {}
            Ok(Some(found)) => {
                let mut line = LogLine::new(Level::Info, "the store answers");
                line.text("settings", Some(&found.settings));
                self.telemetry.tell(line);
                let notes = found.notes.iter().map(|note| (Level::Info, note));
                let dangers = found.dangers.iter().map(|danger| (Level::Warn, danger));
                for (level, why) in notes.chain(dangers) {
                    let mut line = LogLine::new(level, "what the store may forget");
                    line.text("why", Some(why));
                    self.telemetry.tell(line);
                }
            }
            Err(fault) => {
                self.telemetry
                    .fault("the store does not answer; effects wait until it does", &fault);
            }
        }
    }

    pub(super) fn tell_answered(
        &self,
        verdict: Verdict,
        refusal: Option<&Refusal>,
        evidence: &Evidence,
    ) {
        let call = evidence.call.as_deref();
        let caller = evidence.caller.as_deref();
        let resolved = evidence.resolved.as_ref();
        // What agents write is masked only where a line is written: a read's is not.
        let is_read = refusal.is_none() && evidence.class() == Some(Class::Read);
        let masked = |text: &str| (!is_read).then(|| crate::redact::text(text));
        let summary = resolved.and_then(|resolved| masked(&resolved.summary));
        let case = call.and_then(|call| masked(call.context.case.as_deref()?));
        let withheld = evidence.withheld.as_deref().map(crate::redact::text);
        let span_id = evidence.trace.as_ref().filter(|_| !is_read).map(|trace| trace.span_id());
        self.telemetry.answered(&Seen {
            verdict: Some(verdict),
            refusal,
            upstream: evidence.upstream_name.as_deref(),
            class: evidence.class(),
            action: call.map(|call| &*call.action.name),
            tenant: caller.map(|caller| &*caller.tenant),
            agent: caller.map(|caller| &*caller.agent),
            customer: caller.and_then(|caller| caller.customer.as_deref()),
            account: evidence.account.as_deref(),
            owner: resolved.and_then(|resolved| resolved.owner.as_deref()),
            amount: resolved.and_then(|resolved| resolved.amount),
            summary: summary.as_deref(),
            operation: evidence.operation,
            outcome: evidence.outcome,
            replayed: evidence.replayed,
            status: evidence.upstream.as_ref().and_then(|upstream| upstream.status),
            withheld: withheld.as_deref(),
            whole: self.clock.steady().saturating_sub(evidence.since),
            away: evidence.away,
            case: case.as_deref(),
            trace_id: evidence.trace_id(),
            span_id: span_id.as_deref(),
            decision_id: Some(evidence.decision),
            mode: match (call, caller) {
                (Some(call), Some(caller)) => self.rollout.mode(call, caller),
                // Nothing is noted of what is not understood.
                (Some(_) | None, _) => Mode::Enforce,
            },
            shadow: evidence.shadow.as_deref(),
        });
    }
}

/// What is told of an operation that nobody asks for right now.
pub(super) fn with_record(record: &Record, tell: impl FnOnce(Seen<'_>)) {
    let about = &record.about;
    let name = |text: &'_ Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
    let customer = name(&about.caller.customer);
    let summary = crate::redact::text(&about.summary);
    let refusal = match record.state {
        State::Refused { code } => Some(Refusal::new(code, &*record.reason)),
        State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Unknown
        | State::Done { .. }
        | State::NotSent => None,
    };
    let outcome = match record.state {
        State::Unknown => Some(Outcome::Unknown),
        State::NotSent => Some(Outcome::NotSent),
        State::Done { outcome, .. } => Some(outcome),
        State::Held | State::Approved | State::Submitted { .. } | State::Refused { .. } => None,
    };
    tell(Seen {
        refusal: refusal.as_ref(),
        outcome,
        upstream: Some(&about.upstream),
        class: Some(about.class),
        action: Some(&about.action),
        tenant: Some(&about.caller.tenant),
        agent: Some(&about.caller.agent),
        customer: customer.as_deref(),
        account: Some(&about.account),
        owner: about.owner.as_deref(),
        amount: about.amount,
        summary: Some(&summary),
        operation: Some(record.op),
        status: record.status,
        ..Seen::default()
    });
}

//! Nothing leaves without a record: a judgement before it is acted on, an answer before it is given.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::alarm::What;
use crate::audit::Event;
use crate::call::{Answer, OperationId, Outcome};
use crate::decision::Verdict;
use crate::disclosure;
use crate::gate::trace::Ended;
use crate::gate::{Admission, Evidence, Gate, Permit, Ticket};
use crate::refusal::{Fault, Refusal};
use crate::store::{Record, Settle, Settled, StoredAnswer, Witness};

impl Gate {
    /// Gives a judgement back once it is on record.
    ///
    /// INVARIANT: an effect's record is durable before its first byte leaves; when it cannot be
    /// written, the room is given back and nothing is sent.
    pub(super) async fn on_record(
        &self,
        judgement: Result<Admission, Refusal>,
        evidence: &Evidence,
    ) -> Result<Admission, Refusal> {
        match judgement {
            Ok(Admission::Forward(permit)) if permit.ticket.is_some() => {
                let permit = Box::pin(self.permit_on_record(permit, evidence)).await?;
                Ok(Admission::Forward(permit))
            }
            // A read is recorded with its answer.
            Ok(read @ Admission::Forward(_)) => Ok(read),
            Ok(replay @ Admission::Replay(_)) => Ok(replay),
            Err(refusal) => Err(refusal),
        }
    }

    /// Gives a permit back once it is on record; a read is recorded with its answer.
    pub(super) async fn permit_on_record(
        &self,
        permit: Box<Permit>,
        evidence: &Evidence,
    ) -> Result<Box<Permit>, Refusal> {
        let Some(ticket) = permit.ticket else { return Ok(permit) };
        let mut entry = evidence.entry(Event::Allowed, Verdict::Allow, &self.policy_digest);
        entry.intent.clone_from(&evidence.intent);
        match self.audit.record(entry).await {
            Ok(()) => Ok(permit),
            Err(fault) => {
                self.tell_evidence_gap();
                self.give_back(ticket, "it could not be put on record, nothing was sent").await;
                Err(fault.into())
            }
        }
    }

    /// Nothing was sent: the room is free again.
    pub(super) async fn give_back(&self, ticket: Ticket, note: &str) {
        let end = settling(&Told::new(ticket, Outcome::NotSent, note));
        if let Err(fault) = self.store.settle(end.clone(), None).await {
            self.tell_fault("room could not be given back yet", &fault);
            self.standing.unsettled.keep(end, None);
        }
    }

    /// Writes down what became of an effect, in the store and on record.
    pub(super) async fn settle(&self, told: Told, evidence: &mut Evidence) {
        let mut end = settling(&told);
        end.collected = evidence.is_waited_for;
        if let Some(upstream) = &evidence.upstream {
            end.status = upstream.status;
            end.request_id.clone_from(&upstream.request_id);
        }
        evidence.outcome = Some(told.outcome);
        if matches!(told.outcome, Outcome::Rejected | Outcome::Unknown) {
            self.count_happened(What::Failed, evidence);
        }
        let settled = self
            .timed("settle", Box::pin(self.store.settle(end.clone(), told.answer.as_ref())))
            .await;
        evidence.state = match &settled {
            Ok(Settled::Ok(record) | Settled::Fenced(record)) => Some(record.state.name()),
            Ok(Settled::Lost) | Err(_) => evidence.state,
        };
        if let Err(fault) = &settled {
            // What is known of it goes on record below; the sweep tells the store again.
            self.tell_fault("an outcome could not be written down yet", fault);
            self.standing.unsettled.keep(end, told.answer);
        }
        let is_kept = matches!(settled, Ok(Settled::Ok(_) | Settled::Fenced(_)));
        self.tell_settled(settled, told.outcome);
        let entry = evidence.entry(Event::Settled, Verdict::Allow, &self.policy_digest);
        // The store has it durably, and an end that a crash keeps from the log is written there from the
        // store at the next start: nobody waits for a second sync. Without the store the log is all there is.
        let written = match is_kept {
            true => self.audit.note(entry),
            false => self.audit.record(entry).await,
        };
        if let Err(fault) = written {
            self.tell_evidence_gap();
            self.tell_fault("an outcome could not be put on record", &fault);
            self.standing.unrecorded.keep(told.operation);
        }
    }

    fn tell_settled(&self, settled: Result<Settled, Fault>, outcome: Outcome) {
        match settled {
            Ok(Settled::Ok(record)) => {
                if record.contradiction {
                    self.tell_contradiction(&record);
                }
            }
            Ok(Settled::Fenced(record)) => self.tell_fenced(&record, outcome),
            Ok(Settled::Lost) => {
                self.store.distrust();
                let fault = Fault::StoreUnavailable("the operation is not in it any more".into());
                self.tell_fault("an outcome could not be written down", &fault);
            }
            Err(_) => {}
        }
    }

    /// Tells the store the outcomes that it did not take; what it does not take now waits on.
    pub(super) async fn settle_again(&self) {
        for (end, answer) in self.standing.unsettled.take() {
            match self.store.settle(end.clone(), answer.as_ref()).await {
                Ok(settled) => {
                    self.tell_settled(Ok(settled), end.outcome);
                    self.standing.unrecorded.keep(end.op);
                }
                Err(_) => self.standing.unsettled.keep(end, answer),
            }
        }
    }

    /// The one door: the answer is recorded, counted, timed, and goes.
    pub(super) fn leave(&self, answer: Result<Answer, Refusal>, evidence: &Evidence) -> Answer {
        let answer = answer.and_then(|answer| self.answer_on_record(answer, evidence));
        let mut answer = match answer {
            Ok(answer) => {
                if evidence.is_mismatch {
                    self.count_happened(What::Mismatches, evidence);
                }
                self.tell_answered(Verdict::Allow, None, evidence);
                let (status, verdict) = (answer.status, Verdict::Allow);
                self.tell_trace(Ended { status, verdict, refusal: None }, evidence);
                answer
            }
            Err(refusal) => self.turn_back(refusal, evidence),
        };
        self.time(&mut answer, evidence);
        answer
    }

    /// INVARIANT: no answer without a record. An effect's stands already; a read's and a replay's is
    /// accepted here, or its answer does not leave.
    fn answer_on_record(&self, answer: Answer, evidence: &Evidence) -> Result<Answer, Refusal> {
        let event = match (evidence.replayed, evidence.outcome) {
            (true, _) => Event::Replayed,
            (false, Some(_)) => return Ok(answer),
            (false, None) => Event::Allowed,
        };
        let entry = evidence.entry(event, Verdict::Allow, &self.policy_digest);
        match self.audit.note(entry) {
            Ok(()) => Ok(answer),
            Err(fault) => {
                self.tell_evidence_gap();
                Err(fault.into())
            }
        }
    }

    /// Writes a refusal: on record, in the log, as an answer.
    pub(super) fn turn_back(&self, refusal: Refusal, evidence: &Evidence) -> Answer {
        if let Err(fault) = self.audit.note(evidence.refused(&refusal, &self.policy_digest)) {
            self.tell_evidence_gap();
            self.tell_fault("a refusal could not be put on record", &fault);
        }
        self.count_refused(&refusal, evidence);
        self.tell_answered(refusal.verdict(), Some(&refusal), evidence);
        let answer = disclosure::refuse(&refusal, &evidence.about(&self.policy_digest));
        let (status, verdict) = (answer.status, refusal.verdict());
        self.tell_trace(Ended { status, verdict, refusal: Some(&refusal) }, evidence);
        answer
    }

    /// Bytes that were no request: turned back before they could be judged.
    pub fn turn_back_unread(&self, refusal: Refusal) -> Answer {
        self.turn_back(refusal, &Evidence::unread(&self.clock))
    }

    /// `Server-Timing`: the time in Tollhouse, the upstream's not counted.
    fn time(&self, answer: &mut Answer, evidence: &Evidence) {
        let whole = self.clock.steady().saturating_sub(evidence.since);
        let own = whole.saturating_sub(evidence.away);
        self.count_added(evidence.class(), own);
        if let Ok(value) = HeaderValue::from_bytes(&server_timing(own)) {
            answer.headers.insert(http::HeaderName::from_static("server-timing"), value);
        }
    }

    /// What changed without a call is on record as well.
    pub(super) async fn record_change(&self, record: &Arc<Record>) {
        let evidence = Evidence::of_record(record, &self.clock);
        let event = match record.state {
            crate::store::State::Refused { .. } => Event::Expired,
            crate::store::State::Held
            | crate::store::State::Approved
            | crate::store::State::Submitted { .. }
            | crate::store::State::Unknown
            | crate::store::State::Done { .. }
            | crate::store::State::NotSent => Event::Settled,
        };
        self.tell_change(record);
        let entry = evidence.entry(event, Verdict::Refuse, &self.policy_digest);
        if let Err(fault) = self.audit.record(entry).await {
            self.tell_evidence_gap();
            self.tell_fault("a change could not be put on record", &fault);
        }
    }
}

/// What somebody knows of an operation.
#[derive(Debug)]
pub(super) struct Told {
    pub operation: OperationId,
    pub by: Witness,
    pub outcome: Outcome,
    pub note: Box<str>,
    pub answer: Option<StoredAnswer>,
    pub made: Option<Box<str>>,
}

impl Told {
    /// By the first attempt.
    pub fn new(ticket: Ticket, outcome: Outcome, note: &str) -> Self {
        let by = Witness::First(ticket.token);
        Self { by, ..Self::of(ticket.operation, outcome, note) }
    }

    /// By nobody in particular yet.
    pub fn of(operation: OperationId, outcome: Outcome, note: &str) -> Self {
        let by = Witness::Person("".into());
        Self { operation, by, outcome, note: note.into(), answer: None, made: None }
    }
}

pub(super) fn settling(told: &Told) -> Settle {
    Settle {
        op: told.operation,
        by: told.by.clone(),
        outcome: told.outcome,
        status: None,
        request_id: None,
        answer: crate::store::AnswerIn::None,
        made: told.made.clone(),
        collected: false,
        note: told.note.clone(),
    }
}

/// BOUND: outcomes that wait for the store; past it the lease ends an operation as unknown, and its
/// outcome is looked for.
const UNSETTLED_MAX: usize = 1_000;

/// BOUND: answers that wait with them, in bytes.
const UNSETTLED_BYTES_MAX: usize = 16 << 20;

/// Outcomes that the store did not take.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<Vec<(Settle, Option<StoredAnswer>)>>);

impl Unsettled {
    fn keep(&self, end: Settle, answer: Option<StoredAnswer>) {
        let size = |answer: &Option<StoredAnswer>| answer.as_ref().map_or(0, |a| a.body.len());
        let mut waiting = self.0.lock();
        let held = waiting.iter().map(|(_, answer)| size(answer)).fold(0, usize::saturating_add);
        // The outcome counts more than its bytes: without them it is told as already done.
        let fits = held.saturating_add(size(&answer)) <= UNSETTLED_BYTES_MAX;
        if waiting.len() < UNSETTLED_MAX {
            waiting.push((end, answer.filter(|_| fits)));
        }
    }

    fn take(&self) -> Vec<(Settle, Option<StoredAnswer>)> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// `tollhouse;dur=` and milliseconds with three digits behind the point (W3C Server Timing s2).
fn server_timing(span: Duration) -> SmallVec<[u8; 40]> {
    let mut text = SmallVec::from_slice(b"tollhouse;dur=");
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let (whole, rest) = (micros / 1000, micros % 1000);
    let mut digits = itoa::Buffer::new();
    text.extend_from_slice(digits.format(whole).as_bytes());
    text.push(b'.');
    // Of these four digits the last three stand behind the point.
    let padded = digits.format(rest.saturating_add(1000)).as_bytes();
    text.extend_from_slice(padded.get(1..).unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_milliseconds() {
        for (micros, expected) in [
            (0, "0.000"),
            (7, "0.007"),
            (42, "0.042"),
            (999, "0.999"),
            (1_000, "1.000"),
            (12_345_678, "12345.678"),
        ] {
            let told = server_timing(Duration::from_micros(micros));
            assert_eq!(&*told, format!("tollhouse;dur={expected}").as_bytes());
        }
    }
}

//! Nothing leaves without a record: a judgement before it is acted on, an answer before it is given.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::audit::Event;
use crate::call::{Answer, Outcome};
use crate::decision::Verdict;
use crate::disclosure;
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
            Ok(Admission::Forward(permit)) => {
                let permit = self.permit_on_record(*permit, evidence).await?;
                Ok(Admission::Forward(Box::new(permit)))
            }
            Ok(replay @ Admission::Replay(_)) => Ok(replay),
            Err(refusal) => Err(refusal),
        }
    }

    /// Gives a permit back once it is on record; a read is recorded with its answer.
    pub(super) async fn permit_on_record(
        &self,
        permit: Permit,
        evidence: &Evidence,
    ) -> Result<Permit, Refusal> {
        let Some(ticket) = permit.ticket else { return Ok(permit) };
        let entry = evidence.entry(Event::Allowed, Verdict::Allow, &self.policy_digest);
        match self.audit.record(entry).await {
            Ok(()) => Ok(permit),
            Err(fault) => {
                self.tell_evidence_gap();
                let note = "it could not be put on record, nothing was sent";
                let end = settling(ticket, Outcome::NotSent, note);
                if let Err(also) = self.store.settle(end, None).await {
                    self.tell_fault("room could not be given back", &also);
                }
                Err(fault.into())
            }
        }
    }

    /// Writes down what became of an effect, in the store and on record.
    pub(super) async fn settle(
        &self,
        ticket: Ticket,
        (outcome, note): (Outcome, &str),
        answer: Option<&StoredAnswer>,
        evidence: &mut Evidence,
    ) {
        let mut end = settling(ticket, outcome, note);
        end.collected = evidence.is_waited_for;
        if let Some(upstream) = &evidence.upstream {
            end.status = upstream.status;
            end.request_id.clone_from(&upstream.request_id);
        }
        evidence.outcome = Some(outcome);
        let settled = self.timed("settle", self.store.settle(end, answer)).await;
        evidence.state = match &settled {
            Ok(Settled::Ok(record) | Settled::Fenced(record)) => Some(record.state.name()),
            Ok(Settled::Lost) | Err(_) => evidence.state,
        };
        match settled {
            Ok(Settled::Ok(record)) => {
                if record.contradiction {
                    self.tell_contradiction(&record);
                }
            }
            Ok(Settled::Fenced(record)) => self.tell_fenced(&record, outcome),
            Ok(Settled::Lost) => {
                let fault = Fault::StoreUnavailable("the operation is not in it any more".into());
                self.tell_fault("an outcome could not be written down", &fault);
            }
            // The lease ends it as unknown; what is known of it is on record.
            Err(fault) => self.tell_fault("an outcome could not be written down", &fault),
        }
        let entry = evidence.entry(Event::Settled, Verdict::Allow, &self.policy_digest);
        if let Err(fault) = self.audit.record(entry).await {
            self.tell_evidence_gap();
            self.tell_fault("an outcome could not be put on record", &fault);
        }
    }

    /// The one door: the answer is recorded, counted, timed, and goes.
    pub(super) fn leave(&self, answer: Result<Answer, Refusal>, evidence: &Evidence) -> Answer {
        let answer = answer.and_then(|answer| self.answer_on_record(answer, evidence));
        let mut answer = match answer {
            Ok(answer) => {
                self.tell_answered(Verdict::Allow, None, evidence);
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
        self.tell_answered(refusal.verdict(), Some(&refusal), evidence);
        disclosure::refuse(&refusal, &evidence.about(&self.policy_digest))
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
        let text = format!("tollhouse;dur={}", milliseconds(own));
        if let Ok(value) = HeaderValue::from_str(&text) {
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

fn settling(ticket: Ticket, outcome: Outcome, note: &str) -> Settle {
    Settle {
        op: ticket.operation,
        by: Witness::First(ticket.token),
        outcome,
        status: None,
        request_id: None,
        answer: crate::store::AnswerIn::None,
        collected: false,
        note: note.into(),
    }
}

/// Milliseconds with three digits behind the point.
fn milliseconds(span: Duration) -> String {
    let micros = span.as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

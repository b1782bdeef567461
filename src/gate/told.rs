//! What operators are told of a call: one log line that says what to do, and the counts.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Event;
use crate::call::{Class, Outcome};
use crate::decision::Verdict;
use crate::disclosure::Ran;
use crate::gate::{Evidence, Gate};
use crate::refusal::{Fault, Refusal};
use crate::store::{Freeze, Record};

impl Gate {
    pub(super) fn tell_fault(&self, _what: &str, _fault: &Fault) {}
    pub(super) fn tell_evidence_gap(&self) {}
    pub(super) fn tell_contradiction(&self, _record: &Record) {}
    pub(super) fn tell_fenced(&self, _record: &Record, _outcome: Outcome) {}
    pub(super) fn tell_change(&self, _record: &Record) {}
    pub(super) fn tell_waiting(&self, _record: &Record, _refusal: &Refusal) {}
    pub(super) fn tell_said(&self, _event: Event, _record: &Record, _by: &Arc<str>) {}
    pub(super) fn tell_frozen(&self, _event: Event, _freeze: &Freeze, _by: &Arc<str>) {}
    pub(super) fn count_answer(&self, _queue: &str, _event: Event, _waited: Duration) {}
    pub(super) fn count_duplicate(&self, _ran: Ran) {}
    pub(super) fn count_added(&self, _class: Option<Class>, _own: Duration) {}
    pub(super) fn tell_answered(
        &self,
        _verdict: Verdict,
        _refusal: Option<&Refusal>,
        _evidence: &Evidence,
    ) {
    }
}

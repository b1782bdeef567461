//! Is the end of every effect on record, and does the store still know what the log knows? Where a process
//! died, or the disk was full, between the store's word and the log's, the log is given what the store has.
//!
//! Never changes an operation: it only writes down how it stands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::audit::{self, Event};
use crate::call::{OperationId, Outcome};
use crate::clock::Timestamp;
use crate::decision::Verdict;
use crate::gate::{Evidence, Gate};
use crate::refusal::Fault;
use crate::store::{Record, State};

/// BOUND: the latest effects that a store is asked for at a start. A copy that was behind misses the latest.
const LATEST: usize = 256;
/// BOUND: younger than what the store lets go of first.
const KEPT: Duration = Duration::from_secs(47 * 3_600);
/// BOUND: ends that wait for the log; more are found at the next start.
const WAITING_MAX: usize = 10_000;
/// How soon a log or a store that could not be read is read again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Operations whose end may be missing in the log.
#[derive(Debug, Default)]
pub struct Unrecorded {
    waiting: Mutex<BTreeSet<OperationId>>,
    /// Whether the log from before this process was read: a reload does not read it again. What stands open there
    /// may have got its end in this process's own log since.
    is_read: tokio::sync::Mutex<bool>,
    /// Whether the store was asked for what the log knows.
    pub(super) is_compared: AtomicBool,
}

impl Unrecorded {
    /// Its end may be missing.
    pub(super) fn keep(&self, op: OperationId) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_MAX {
            waiting.insert(op);
        }
    }

    fn take(&self) -> BTreeSet<OperationId> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

impl Gate {
    /// Finds what the process before left without an end in this log; once in the life of a process.
    pub(super) async fn find_unrecorded(&self) {
        let Some(dir) = self.audit_dir.clone() else { return };
        let mut is_read = self.standing.unrecorded.is_read.lock().await;
        while !*is_read && !self.closing.is_cancelled() {
            let dir = dir.clone();
            // A log may be large: calls go on while it is read.
            let reading = tokio::task::spawn_blocking(move || audit::intents_before(&dir));
            match reading.await {
                Ok(Ok(intents)) => {
                    intents
                        .open
                        .iter()
                        .for_each(|intent| self.standing.unrecorded.keep(intent.operation));
                    *is_read = true;
                    return;
                }
                Ok(Err(why)) => {
                    self.tell_fault("the log could not be read", &Fault::Audit(why.to_string()));
                }
                Err(_) => return,
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Writes down the ends that are missing; what is still open is written down by whoever ends it.
    pub(super) async fn record_again(&self) {
        for op in self.standing.unrecorded.take() {
            match self.store.show(op).await {
                Ok(Some(record)) if is_over(record.state) => self.end_on_record(&record).await,
                Ok(_) => {}
                Err(_) => self.standing.unrecorded.keep(op),
            }
        }
    }

    async fn end_on_record(&self, record: &Arc<Record>) {
        let evidence = Evidence::of_record(record, &self.clock);
        let mut entry = evidence.entry(Event::Settled, Verdict::Allow, &self.policy_digest);
        entry.note = Some("as the store has it: whoever settled it could not write it down".into());
        if let Err(fault) = self.audit.record(entry).await {
            self.tell_evidence_gap();
            self.tell_fault("an outcome could not be put on record", &fault);
            self.standing.unrecorded.keep(record.op);
        }
    }

    /// What was found is on record before it is settled: should this process die in between, its log says
    /// where to look.
    ///
    /// # Errors
    ///
    /// When it could not be written.
    pub(super) async fn found_on_record(
        &self,
        outcome: Outcome,
        by: Option<&str>,
        evidence: &Evidence,
    ) -> Result<(), Fault> {
        let mut entry = evidence.entry(Event::LookedUp, Verdict::Allow, &self.policy_digest);
        entry.by = by.map(Into::into).or(entry.by);
        entry.note = Some(format!("found: {}", outcome.name()).into());
        self.audit.record(entry).await
    }

    /// Whether a fleet's store misses an effect that this log has, since it has its name: asked once, before
    /// anything rests on it.
    ///
    /// # Errors
    ///
    /// When log or store cannot be read.
    pub(super) async fn is_missing_effects(&self, since: Option<Timestamp>) -> Result<bool, Fault> {
        if self.standing.unrecorded.is_compared.load(Ordering::Acquire) {
            return Ok(false);
        }
        let Some((dir, since)) = self.audit_dir.clone().zip(since) else { return Ok(false) };
        let reading = tokio::task::spawn_blocking(move || audit::latest(&dir, LATEST));
        let latest = reading.await.map_err(|e| Fault::Audit(e.to_string()))?;
        let from = since.max(self.clock.now().minus(KEPT));
        for (op, at) in latest.map_err(|e| Fault::Audit(e.to_string()))? {
            if at > from && self.store.show(op).await?.is_none() {
                return Ok(true);
            }
        }
        self.standing.unrecorded.is_compared.store(true, Ordering::Release);
        Ok(false)
    }
}

fn is_over(state: State) -> bool {
    match state {
        State::Done { .. } | State::NotSent | State::Refused { .. } => true,
        State::Held | State::Approved | State::Submitted { .. } | State::Unknown => false,
    }
}

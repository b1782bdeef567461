//! What waits too long? Its people are reminded, then others are asked. Each moment comes once in a fleet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::audit::Event;
use crate::decision::Verdict;
use crate::gate::{Evidence, Gate};
use crate::store::{Answered, HoldAnswer, Record, Say, State};
use crate::telemetry::{Level, LogLine};

/// BOUND: a reminder that is a second late is not late.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// BOUND: holds that are looked at in one turn; the next takes the rest.
const DUE_MAX: usize = 256;

impl Gate {
    pub(super) async fn nudge_until_closed(&self) {
        while !self.closing.is_cancelled() {
            if self.standing.leads.load(Ordering::Acquire) {
                self.nudge().await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// One turn: everything that has waited too long by now.
    pub async fn nudge(&self) {
        match self.store.post_due(DUE_MAX).await {
            Ok(due) => {
                for record in due.iter().filter(|record| record.state == State::Held) {
                    self.nudge_one(record).await;
                }
            }
            Err(fault) => self.tell_fault("what waits too long could not be listed", &fault),
        }
    }

    async fn nudge_one(&self, record: &Arc<Record>) {
        let Some((hold, due)) = record.hold.as_ref().and_then(|hold| Some((hold, hold.nudge?)))
        else {
            return;
        };
        if record.letters.iter().any(|letter| letter.next <= due) && due > self.clock.now() {
            // It is listed for a letter.
            return;
        }
        // It is the store's clock that says when: ours may be behind, and nothing would go on until it is not.
        let waited = self.clock.now().max(due).since(hold.asked);
        let (to, next) = self.approvals.rules.nudge(&hold.queue, &hold.passed, waited);
        let event = if to.is_some() { Event::Escalated } else { Event::Reminded };
        let say = Say::Nudge { due, to: to.as_deref().map(Into::into), next };
        match self.store.answer(HoldAnswer { op: record.op, say }).await {
            Ok(Answered::Ok(record)) => self.nudge_on_record(event, &record).await,
            // Somebody answered it, or another replica was quicker.
            Ok(
                Answered::TooLate(_) | Answered::Changed(_) | Answered::Twice(_) | Answered::Lost,
            ) => {}
            Err(fault) => self.tell_fault("a reminder could not be noted", &fault),
        }
    }

    async fn nudge_on_record(&self, event: Event, record: &Arc<Record>) {
        let evidence = Evidence::of_record(record, &self.clock);
        let mut entry = evidence.entry(event, Verdict::Hold, &self.policy_digest);
        let queue = record.hold.as_ref().map_or("", |hold| &*hold.queue);
        entry.note = Some(format!("queue {queue}").into());
        let what = match event == Event::Escalated {
            true => "nobody answered a hold; others are asked now",
            false => "a hold still waits",
        };
        let mut line = LogLine::new(Level::Warn, what);
        line.text("operation", Some(&record.op.to_string())).text("queue", Some(queue));
        self.telemetry.tell(line);
        if let Err(fault) = self.audit.record(entry).await {
            self.tell_fault("a reminder could not be put on record", &fault);
        }
    }
}

//! Who came to the console, and who was turned away? On record, within bounds.
//!
//! Never keeps what somebody presented: a mistyped secret is still nearly one.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::audit::{Entry, Event};
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::decision::Verdict;
use crate::gate::{Evidence, Gate};
use crate::refusal::Fault;
use crate::store::Record;

/// BOUND: whoever guesses in a loop makes one record a second, with how many it stands for.
const EVERY: Duration = Duration::from_secs(1);

/// Failures at the console's door that wait to be put on record together.
#[derive(Debug, Default)]
pub struct AtDoor {
    failed: Mutex<Bucket>,
    /// By whom: nobody hides among another one's.
    forbidden: Mutex<HashMap<Box<str>, Bucket>>,
    viewed: Mutex<HashMap<(Box<str>, OperationId), Timestamp>>,
}

/// BOUND: a page that is loaded again and again is one look a minute.
const LOOK: Duration = Duration::from_secs(60);
/// BOUND: looks of the last minute that are remembered; beyond them each one is written.
const LOOKS_MAX: usize = 1_024;

#[derive(Debug, Default)]
struct Bucket {
    last: Option<Timestamp>,
    waiting: u64,
}

/// BOUND: people and machines of one console whose refusals are told together.
const NAMES_MAX: usize = 256;

impl Bucket {
    fn is_recent(&self, now: Timestamp) -> bool {
        self.last.is_some_and(|last| now.since(last) < EVERY)
    }

    /// How many this one stands for, if it is to be written now.
    fn taken(&mut self, now: Timestamp) -> Option<u64> {
        self.waiting = self.waiting.saturating_add(1);
        if self.is_recent(now) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.waiting))
    }
}

impl Gate {
    /// Puts a sign-in or a sign-out on record. `how` is a word of a closed list.
    ///
    /// # Errors
    ///
    /// When it cannot be written: then nobody is let in.
    pub async fn came(&self, event: Event, by: &str, how: &'static str) -> Result<(), Fault> {
        self.telemetry.at_door(event.name(), how, (Some(by), ""));
        self.audit.record(entry(event, Some(by), how, 1)).await
    }

    /// A person looked at a hold, or at what became of it: who saw what before it was answered.
    pub async fn viewed(&self, record: &Record, by: &str) {
        let now = self.clock.now();
        {
            let mut looks = self.standing.at_door.viewed.lock();
            let look = (Box::from(by), record.op);
            if looks.get(&look).is_some_and(|last| now.since(*last) < LOOK) {
                return;
            }
            if looks.len() >= LOOKS_MAX {
                looks.retain(|_, last| now.since(*last) < LOOK);
            }
            if looks.len() < LOOKS_MAX {
                looks.insert(look, now);
            }
        }
        let evidence = Evidence::of_record(record, &self.clock);
        let mut entry = evidence.entry(Event::Viewed, Verdict::Hold, &self.policy_digest);
        entry.by = Some(by.into());
        // It decides nothing.
        entry.decision = None;
        if let Err(fault) = self.audit.record(entry).await {
            self.telemetry.fault("somebody looked at a hold, and that is not on record", &fault);
        }
    }

    /// Somebody was turned away: on record at once, or together with the next ones.
    pub async fn turned_away(
        &self,
        event: Event,
        how: &'static str,
        (by, note): (Option<&str>, &str),
    ) {
        let now = self.clock.now();
        let taken = match by {
            Some(by) => {
                let mut forbidden = self.standing.at_door.forbidden.lock();
                if forbidden.len() >= NAMES_MAX && !forbidden.contains_key(by) {
                    forbidden.retain(|_, bucket| bucket.waiting > 0 || bucket.is_recent(now));
                }
                // Beyond the bound each one is written.
                match forbidden.len() < NAMES_MAX || forbidden.contains_key(by) {
                    true => forbidden.entry(by.into()).or_default().taken(now),
                    false => Some(1),
                }
            }
            None => self.standing.at_door.failed.lock().taken(now),
        };
        let Some(count) = taken else { return self.telemetry.at_door_again(event.name(), how) };
        self.telemetry.at_door(event.name(), how, (by, note));
        let note = if note.is_empty() { how.to_owned() } else { format!("{how}: {note}") };
        if let Err(fault) = self.audit.record(entry(event, by, &note, count)).await {
            self.telemetry.fault("somebody was turned away, and that is not on record", &fault);
        }
    }
}

fn entry(event: Event, by: Option<&str>, note: &str, count: u64) -> Entry {
    let mut entry = Entry::of(event);
    entry.by = by.map(Into::into);
    entry.note = (!note.is_empty()).then(|| crate::redact::text(note).into());
    entry.count = (count > 1).then_some(count);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_a_second_stands_for_all() {
        let mut bucket = Bucket::default();
        let at = |millis| Timestamp(1_800_000_000_000_i64.saturating_add(millis));
        assert_eq!(bucket.taken(at(0)), Some(1));
        for millis in 1..1_000 {
            assert_eq!(bucket.taken(at(millis)), None);
        }
        assert_eq!(bucket.taken(at(1_000)), Some(1_000));
        assert_eq!(bucket.taken(at(5_000)), Some(1));
    }
}

//! How often did something happen, lately and in the whole fleet? Counts in windows, beside the budgets.
//!
//! Never forgets early, and never counts less than happened: an answer that was lost is counted again.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::money::Currency;
use crate::refusal::Fault;
use crate::store::freeze::{Freeze, Lift, Stops};
use crate::store::step::{Event, Reply};
use crate::store::{Shelf, Store, astray, step};

/// BOUND: counts of one step; a script that takes long keeps a tenant's other calls waiting.
pub const TALLIES_MAX: usize = 256;

/// One count, and how much is added to it now; nothing only reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// What is counted, in words that are equal for the same. The store adds the tenant.
    pub key: Box<str>,
    /// Of what; `None` counts how often.
    pub unit: Option<Currency>,
    /// How much is added.
    pub count: i64,
    /// The total is of this long.
    pub within: Duration,
    /// What came until then is not in the total.
    pub since: Option<Timestamp>,
}

impl Tally {
    /// The first moment that counts, whatever the window.
    pub(super) fn after(&self) -> Timestamp {
        self.since.map_or(Timestamp(i64::MIN), |since| Timestamp(since.0.saturating_add(1)))
    }
}

impl Store {
    /// Adds to a tenant's counts and answers their totals, in order; [`TALLIES_MAX`] at most.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have: count it again.
    pub async fn tally(&self, tenant: &str, all: Vec<Tally>) -> Result<Vec<i64>, Fault> {
        let adds = all.iter().any(|one| one.count > 0);
        let event = Event::Tally(tenant.into(), all);
        let reply = match &self.shelf {
            // What only reads takes no turn among those that write.
            Shelf::Memory(_) | Shelf::Embedded(_) if !adds => {
                let now = self.shared.times.lock().tick();
                self.read(|rows| step::step(rows, &event, now))?.0
            }
            Shelf::Memory(_) | Shelf::Embedded(_) | Shelf::Redis(_) => self.run(event).await?,
        };
        if let Reply::Tallied(totals) = reply { Ok(totals) } else { Err(astray()) }
    }

    /// Puts a brake on, or keeps it on for longer; durable once this returns. As it stands now, and whether
    /// it was off before: of replicas that trip it at once, one is told so.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn brake(&self, brake: Freeze) -> Result<(Freeze, bool), Fault> {
        let now = self.shared.times.lock().tick().at;
        let brake = Freeze { stops: Stops::Held, issued_before: None, ..brake };
        let Reply::Lifted(before) = self.run(Event::Freeze(Box::new(brake.clone()))).await? else {
            return Err(astray());
        };
        let was_on = before.is_some_and(|before| before.is_brake(now));
        let all = self.shared.freezes.load();
        let kept = all.iter().find(|kept| kept.id == brake.id).cloned();
        let kept = kept.unwrap_or(Freeze { at: now, ..brake });
        let is_new = !was_on && kept.stops == Stops::Held;
        Ok((kept, is_new))
    }

    /// Lifts a brake, for which it is remembered so long: the window that it counts in. `None`: it is not there,
    /// or not over.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn release(
        &self,
        id: &str,
        keep: Duration,
        lift: Lift,
    ) -> Result<Option<Freeze>, Fault> {
        let event = Event::Unfreeze(id.into(), keep, lift);
        let Reply::Lifted(lifted) = self.run(event).await? else { return Err(astray()) };
        Ok(lifted)
    }

    /// Every brake, whether it is on, is over and was not put away yet, or was released.
    pub fn brakes(&self) -> Vec<Freeze> {
        let all = self.shared.freezes.load();
        all.iter().filter(|one| one.stops != Stops::Refused).cloned().collect()
    }

    /// The store's own time.
    pub fn now(&self) -> Timestamp {
        self.shared.times.lock().tick().at
    }
}

//! How much of a rate does the fleet lend one of its replicas? The generic cell rate algorithm, in microseconds of
//! Redis's clock.
//!
//! Never counts a call twice, and forgives nothing that was taken before it was asked for: the rate over time is
//! exact, only the moment is not.

use std::time::Duration;

use crate::refusal::Fault;
use crate::store::record::Slot;
use crate::store::{Shelf, Store};

/// What a replica asks of one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loan {
    /// Which rate, of whom.
    pub slot: Slot,
    /// Between two calls, at the rate: microseconds.
    pub every: i64,
    /// From empty to full: microseconds.
    pub burst: i64,
    /// Calls that went before they were asked for: they count, room or not.
    pub owed: u32,
    /// Calls that may follow.
    pub wanted: u32,
    /// Calls that were lent and not made.
    pub back: u32,
}

/// What it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    /// So many calls.
    pub given: u32,
    /// So many are left, for whoever asks next.
    pub left: u32,
    /// When there is room for one more; zero when there is now.
    pub wait: Duration,
}

/// What is lent at `now` of a rate that has all its room at `full_at`, and when it has it then. The script of
/// the same name does the same; a test holds them to each other.
pub fn lend(full_at: i64, now: i64, loan: &Loan) -> (i64, Lent) {
    let calls = |count: u32| i64::from(count).saturating_mul(loan.every);
    // A clock that was set back, or a rate that became faster, owes no more than this.
    let most = now.saturating_add(loan.burst.saturating_mul(2));
    let full = full_at.min(most).saturating_sub(calls(loan.back)).max(now);
    let full = full.saturating_add(calls(loan.owed));
    let free = now.saturating_add(loan.burst).saturating_sub(full).max(0);
    let room = u32::try_from(free.checked_div(loan.every).unwrap_or(0)).unwrap_or(u32::MAX);
    let given = loan.wanted.min(room);
    let left = room.saturating_sub(given);
    let full = full.saturating_add(calls(given));
    let next = full.saturating_add(loan.every).saturating_sub(loan.burst).saturating_sub(now);
    let wait = if left > 0 { 0 } else { next.max(0) };
    (full, Lent { given, left, wait: Duration::from_micros(wait.unsigned_abs()) })
}

impl Store {
    /// Whether other processes count in it, so that a rate can be lent.
    pub fn lends(&self) -> bool {
        matches!(self.shelf, Shelf::Redis(_))
    }

    /// What the fleet lends this process, loan by loan: one round trip.
    ///
    /// # Errors
    ///
    /// When it does not answer: nothing was lent, and what is owed may have been counted.
    pub async fn lend(&self, loans: &[Loan]) -> Result<Vec<Lent>, Fault> {
        match &self.shelf {
            Shelf::Redis(redis) => redis.lend(loans).await,
            Shelf::Memory(_) | Shelf::Embedded(_) => {
                Err(Fault::StoreUnavailable("one process alone borrows from nobody".to_owned()))
            }
        }
    }
}

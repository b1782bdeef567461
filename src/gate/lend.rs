//! Is there room in the rates that the fleet shares? What this replica borrows of them, ahead of its calls.
//!
//! No call waits for the store unless it is one of many at once for a key that nobody called for a while.

use std::time::Duration;

use crate::gate::{Asked, Gate};
use crate::limits::{Leftovers, NoRoom, Taken, Wish};
use crate::refusal::{Code, Refusal};
use crate::telemetry::{Level, LogLine};

/// BOUND: round trips of one replica: five hundred a second at most, each for up to 256 keys.
const ROUND_EVERY: Duration = Duration::from_millis(2);
/// BOUND: how soon a store that does not answer is asked again, and how often what is idle is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// BOUND: a call waits so long for what the store says; it answers in a millisecond, or it is down.
const WAIT_MAX: Duration = Duration::from_millis(250);

impl Gate {
    /// Takes a call's room of every rate that is counted before its facts are read.
    pub(super) async fn take_rates(&self, asked: &Asked) -> Result<Taken, Refusal> {
        match self.take_room(asked) {
            Ok(taken) => Ok(taken),
            Err(NoRoom::Full(refusal)) => Err(refusal),
            Err(NoRoom::Asked) => Box::pin(self.wait_for_rates(asked)).await,
        }
    }

    async fn wait_for_rates(&self, asked: &Asked) -> Result<Taken, Refusal> {
        let wait = async {
            loop {
                // Before it looks: an answer that comes in between is heard.
                let heard = self.rates.heard();
                match self.take_room(asked) {
                    Ok(taken) => return Ok(taken),
                    Err(NoRoom::Full(refusal)) => return Err(refusal),
                    Err(NoRoom::Asked) => heard.await,
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, wait).await.unwrap_or_else(|_| {
            let why = "the store was asked for room in a shared rate and did not answer in time";
            let refusal = Refusal::new(Code::Undecidable, "A check could not be made.");
            Err(refusal.because(why).after(LOOK_EVERY))
        })
    }

    /// Borrows what runs low and gives back what is idle, until the gate closes; at the end of the process all goes
    /// back. After a reload another snapshot goes on with what is in hand.
    pub(super) async fn borrow_until_closed(&self) {
        if !self.rates.borrows() {
            // What the snapshot before has left.
            self.return_lent(Leftovers::Everything).await;
            return;
        }
        let mut looked = self.clock.steady();
        while !self.closing.is_cancelled() {
            let wanted = tokio::time::timeout(LOOK_EVERY, self.rates.wanted());
            tokio::select! {
                _or_idle = wanted => {}
                () = self.closing.cancelled() => break,
            }
            self.borrow().await;
            if self.clock.steady().saturating_sub(looked) >= LOOK_EVERY {
                looked = self.clock.steady();
                self.return_lent(Leftovers::Idle).await;
            }
            tokio::time::sleep(ROUND_EVERY).await;
        }
        if self.standing.stopping.is_cancelled() {
            // What went on credit counts, too.
            self.borrow().await;
            self.return_lent(Leftovers::Everything).await;
        }
    }

    /// All that there is, a round trip's worth at a time.
    async fn return_lent(&self, which: Leftovers) {
        loop {
            let wishes = self.rates.leftovers(which);
            if wishes.is_empty() || !self.ask_store(wishes).await {
                break;
            }
        }
    }

    /// One turn: everything that runs low by now.
    async fn borrow(&self) {
        loop {
            let wishes = self.rates.wishes();
            if wishes.is_empty() || !self.ask_store(wishes).await {
                break;
            }
        }
    }

    /// Whether it answered.
    async fn ask_store(&self, wishes: Vec<Wish>) -> bool {
        if wishes.is_empty() {
            return true;
        }
        let loans: Vec<_> = wishes.iter().map(Wish::loan).collect();
        match self.store.lend(&loans).await {
            Ok(lent) => {
                if self.rates.answered(&wishes, Some(&lent)) {
                    let what = "shared rates are borrowed from the store again";
                    self.telemetry.tell(LogLine::new(Level::Info, what));
                }
                true
            }
            Err(fault) => {
                if !self.rates.answered(&wishes, None) {
                    let what = "the store lends no room in shared rates; this process uses its \
                                share of each (`store_down`) until it does";
                    self.tell_fault(what, &fault);
                }
                false
            }
        }
    }
}

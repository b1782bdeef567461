//! What waits for people, in which order, and who outside is to be told?
//!
//! Reads only. A view of thousands costs what is shown of them: order and counts are indexes.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::ask::BudgetUse;
use crate::store::draft::Draft;
use crate::store::hold::Place;
use crate::store::record::{About, Record};
use crate::store::rows::{Key, Rows, key};
use crate::store::{Shelf, Store, step};

/// The calls of one tenant that wait in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub tenant: Arc<str>,
    /// Where.
    pub queue: Box<str>,
    /// How many.
    pub count: u64,
}

impl Store {
    /// How many calls wait for people, by tenant and queue; those without any are left out.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn lines(&self) -> Result<Vec<Line>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.lines().await;
        }
        self.read(lines)
    }

    /// What waits in a tenant's queue, after that place: the riskiest first, then the oldest.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn waiting(
        &self,
        (tenant, queue): (&str, &str),
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Arc<Record>>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.waiting((tenant, queue), after, limit).await;
        }
        let (from, to) = key::waiting_after(tenant, queue, after);
        self.read(|rows| Draft::new(rows).listed(&from, &to, limit))
    }

    /// Operations of which somebody outside is to be told or reminded by now.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn post_due(&self, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.post_due(limit).await;
        }
        let now = self.shared.times.lock().tick().at;
        // Due at this very moment is due, too.
        let (from, to) = key::post_before(Timestamp(now.0.saturating_add(1)));
        self.read(|rows| Draft::new(rows).listed(&from, &to, limit))
    }

    /// How much of a budget is used in its window now, by others than `own`: what is reserved and what was
    /// spent, in the unit that it takes.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn used(
        &self,
        about: &About,
        budget: &BudgetUse,
        own: OperationId,
    ) -> Result<i64, Fault> {
        let charge = step::room::charge(about, budget);
        let now = self.shared.times.lock().tick();
        let ledger = match &self.shelf {
            Shelf::Redis(redis) => redis.ledger(&about.caller.tenant, charge.slot).await?,
            Shelf::Memory(_) | Shelf::Embedded(_) => {
                self.read(|rows| Draft::new(rows).ledger(charge.slot))?
            }
        };
        Ok(ledger.used(charge.unit, now.edge(budget.within), own))
    }

    /// Every operation that changes from now on, and every call that is held, in the whole fleet. Who is too
    /// slow to hear misses some, and is told so.
    pub fn changes(&self) -> tokio::sync::broadcast::Receiver<OperationId> {
        self.shared.changes.subscribe()
    }
}

/// Each line by its first call, then past all of it.
fn lines(rows: &dyn Rows) -> Result<Vec<Line>, Fault> {
    let draft = Draft::new(rows);
    let (mut from, to) = key::lines();
    let mut lines: Vec<Line> = Vec::new();
    loop {
        let mut first: Option<OperationId> = None;
        rows.walk(&from, &to, &mut |key, _| {
            first = key::operation(key);
            ControlFlow::Break(())
        })?;
        let Some(op) = first else { return Ok(lines) };
        let Some((record, queue)) = draft
            .record(op)?
            .and_then(|record| Some((Arc::clone(&record), record.hold.as_ref()?.queue.clone())))
        else {
            return Err(super::damaged());
        };
        let tenant = Arc::clone(&record.about.caller.tenant);
        let (start, end) = key::waiting_after(&tenant, &queue, None);
        lines.push(Line { tenant, queue, count: count(rows, &start, &end)? });
        from = end;
    }
}

fn count(rows: &dyn Rows, from: &Key, to: &Key) -> Result<u64, Fault> {
    let mut count = 0_u64;
    rows.walk(from, to, &mut |_, _| {
        count = count.saturating_add(1);
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

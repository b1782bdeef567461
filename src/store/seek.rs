//! Whose outcome is looked for, by whom, and what belongs to whom already?

use std::sync::Arc;

use crate::call::{OperationId, Outcome};
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::step::{Event, Reply};
use crate::store::{About, Claim, Claimed, Record, Shelf, State, Store, astray};

impl Store {
    /// Whether this process looks for what is over, approved or unknown: one of a fleet does.
    ///
    /// # Errors
    ///
    /// When a fleet's store does not say.
    pub async fn leads(&self) -> Result<bool, Fault> {
        match &self.shelf {
            Shelf::Redis(redis) => redis.leads().await,
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(true),
        }
    }

    /// Whose outcome is to be looked for now, `limit` at most.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn sought(&self, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.sought(limit).await;
        }
        let before = Timestamp(self.shared.times.lock().tick().at.0.saturating_add(1));
        let accepted = State::Done { outcome: Outcome::Accepted };
        self.read(|rows| {
            let draft = Draft::new(rows);
            let mut sought = draft.due(State::Unknown, before, limit)?;
            let left = limit.saturating_sub(sought.len());
            if left > 0 {
                sought.extend(draft.due(accepted, before, left)?);
            }
            Ok(sought)
        })
    }

    /// May I look for its outcome? Durable once this returns.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have: then nothing is sent.
    pub async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        self.is_the_same()?;
        let reply = self.run(Event::Claim(Box::new(claim))).await?;
        if let Reply::Claimed(claimed) = reply { Ok(claimed) } else { Err(astray()) }
    }

    /// The operation that made what the vendor calls `id`, of the sort that `about` is.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn made_by(&self, about: &About, id: &str) -> Result<Option<OperationId>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.made_by(about, id).await;
        }
        let slot = about.made(id);
        self.read(|rows| Draft::new(rows).made(slot))
    }
}

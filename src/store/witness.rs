//! Can a fleet's store keep what was signed of the record? In a list that only grows, and forgets its oldest.

use crate::refusal::Fault;
use crate::store::{Shelf, Store};

impl Store {
    /// Keeps a checkpoint where other machines have it, too.
    ///
    /// # Errors
    ///
    /// When it is not a fleet's store, or did not take it.
    pub async fn keep_checkpoint(&self, chain: &str, size: u64, note: &str) -> Result<(), Fault> {
        match &self.shelf {
            Shelf::Redis(redis) => redis.keep_checkpoint(chain, size, note).await,
            Shelf::Memory(_) | Shelf::Embedded(_) => {
                Err(Fault::StoreUnavailable("it is on this machine alone".to_owned()))
            }
        }
    }
}

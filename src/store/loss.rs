//! Does the store still know what it knew? It is begun once; one that was not, though effects are on
//! record, was lost, and gets back what was about to be sent.

use std::sync::Arc;

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::seal::Purpose;
use crate::store::step::{Epoch, Event, Reply};
use crate::store::{Record, Shelf, Store, codec};

impl Store {
    /// Whether it was begun. One in memory always is: it loses what it knows with the process.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn is_begun(&self) -> Result<bool, Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Redis(_) => Ok(true),
            Shelf::Embedded(_) => self.read(|rows| Draft::new(rows).meta()).map(|m| m.epoch > 0),
        }
    }

    /// It is new.
    ///
    /// # Errors
    ///
    /// When the store did not write it.
    pub async fn begin(&self) -> Result<(), Fault> {
        self.run(Event::Epoch(Epoch::Begins)).await.map(drop)
    }

    /// It was lost: what was about to be sent is put back as unknown, how many of it. What does not open
    /// with today's key stays out.
    ///
    /// # Errors
    ///
    /// When the store did not write it.
    pub async fn begin_again<'i>(
        &self,
        intents: impl IntoIterator<Item = (OperationId, &'i [u8])>,
    ) -> Result<usize, Fault> {
        let mut restored = 0_usize;
        for (op, sealed) in intents {
            let plain = self.seal.open(op, Purpose::Intent, sealed).ok();
            let Some(record) = plain.and_then(|plain| codec::read::<Record>(&plain)) else {
                continue;
            };
            if let Reply::Restored(true) = self.run(Event::Restore(Arc::new(record))).await? {
                restored = restored.saturating_add(1);
            }
        }
        // Last: a start that is cut short does all of it again.
        self.run(Event::Epoch(Epoch::Lost)).await?;
        Ok(restored)
    }

    /// Since when it does not know all that was done; `None` when it does, or a person has seen to it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn lost(&self) -> Result<Option<Timestamp>, Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Redis(_) => Ok(None),
            Shelf::Embedded(_) => self.read(|rows| Draft::new(rows).meta()).map(|meta| meta.lost),
        }
    }

    /// A person has seen to it.
    ///
    /// # Errors
    ///
    /// When the store did not write it.
    pub async fn clear_loss(&self) -> Result<(), Fault> {
        self.run(Event::Epoch(Epoch::Cleared)).await.map(drop)
    }

    /// What the log keeps of an effect that is about to be sent; nothing for a store in memory.
    ///
    /// # Errors
    ///
    /// When the system has no random bytes.
    pub fn intent(&self, record: &Record) -> Result<Option<Vec<u8>>, Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Redis(_) => Ok(None),
            Shelf::Embedded(_) => {
                let plain = codec::write(record);
                self.seal.seal(record.op, Purpose::Intent, &plain).map(Some)
            }
        }
    }
}

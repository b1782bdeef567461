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

/// What a store says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name; a store that was lost gets another one. `None` when it was never begun, or lost just now.
    pub name: Option<Box<str>>,
    /// Since when it does not know all that was done; until a person has seen to it.
    pub lost: Option<Timestamp>,
    /// Whether it has forgotten writes that it had confirmed.
    pub went_back: bool,
    /// Whether another process misses what had been confirmed to it.
    pub doubted: bool,
}

impl Store {
    /// What is known of it now.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn known(&self) -> Result<Known, Fault> {
        match &self.shelf {
            Shelf::Redis(redis) => redis.known().await,
            // One in memory loses what it knows with the process.
            Shelf::Memory(_) => Ok(Known { name: Some("memory".into()), ..Known::default() }),
            Shelf::Embedded(_) => {
                let meta = self.read(|rows| Draft::new(rows).meta())?;
                let name = (meta.epoch > 0).then(|| meta.epoch.to_string().into());
                Ok(Known { name, lost: meta.lost, ..Known::default() })
            }
        }
    }

    /// Whether others may lose it, or have it lose what it knows, while this process goes on.
    pub fn is_shared(&self) -> bool {
        matches!(self.shelf, Shelf::Redis(_))
    }

    /// It is the one that is known: effects may rest on what it says.
    pub fn accept(&self, known: &Known) {
        if let Shelf::Redis(redis) = &self.shelf {
            redis.accept(known);
        }
    }

    /// What it forgot is seen to: it is held to what it knows from now on.
    pub fn forgive(&self) {
        if let Shelf::Redis(redis) = &self.shelf {
            redis.forgive();
        }
    }

    /// Whether effects may rest on what it says.
    ///
    /// # Errors
    ///
    /// When it is not known to be the one that it was.
    pub fn is_the_same(&self) -> Result<(), Fault> {
        match &self.shelf {
            Shelf::Redis(redis) if !redis.is_begun() => Err(Fault::StoreUnavailable(
                "it is not known to be the store that it was; a new one is begun with \
                 `tollhouse run --init-store`"
                    .to_owned(),
            )),
            Shelf::Redis(_) | Shelf::Memory(_) | Shelf::Embedded(_) => Ok(()),
        }
    }

    /// Whether nobody can miss any more what it had confirmed: the server that answers was there before, or
    /// every process has had the time to look for its own writes.
    ///
    /// # Errors
    ///
    /// When others may still find that it forgot something.
    pub fn is_met(&self) -> Result<(), Fault> {
        match &self.shelf {
            Shelf::Redis(redis) if !redis.is_met() => Err(Fault::StoreUnavailable(
                "another server answers: who misses what was confirmed is waited for".to_owned(),
            )),
            Shelf::Redis(_) | Shelf::Memory(_) | Shelf::Embedded(_) => Ok(()),
        }
    }

    /// Tells the others that something that it had confirmed is missing, before it is seen to.
    ///
    /// # Errors
    ///
    /// When the store did not write it.
    pub async fn doubt(&self) -> Result<(), Fault> {
        match &self.shelf {
            Shelf::Redis(redis) => redis.doubt().await,
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(()),
        }
    }

    /// What facts that are read from now on know of at least, before a fleet's store was asked; `None`
    /// where asking takes no trip.
    pub fn seen(&self, tenant: &str) -> Option<u64> {
        match &self.shelf {
            Shelf::Redis(redis) => Some(redis.seen(tenant)),
            Shelf::Memory(_) | Shelf::Embedded(_) => None,
        }
    }

    /// Effects wait until somebody has said [`Store::accept`]: for whoever watches over it.
    #[must_use]
    pub fn watched(self) -> Self {
        if let Shelf::Redis(redis) = &self.shelf {
            redis.watched();
        }
        self
    }

    /// Something is not in it that was: it is not known any more.
    pub fn distrust(&self) {
        if let Shelf::Redis(redis) = &self.shelf {
            redis.distrust();
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

    /// Puts back as unknown what was about to be sent; how many. What does not open with today's key stays
    /// out.
    ///
    /// # Errors
    ///
    /// When the store did not write it.
    pub async fn restore(&self, intents: &[(OperationId, Vec<u8>)]) -> Result<usize, Fault> {
        let mut restored = 0_usize;
        for (op, sealed) in intents {
            let plain = self.seal.open(*op, Purpose::Intent, sealed).ok();
            let record = plain.and_then(|plain| codec::read::<Record>(&plain));
            let Some(record) = record else { continue };
            if let Reply::Restored(true) = self.run(Event::Restore(Arc::new(record))).await? {
                restored = restored.saturating_add(1);
            }
        }
        Ok(restored)
    }

    /// It was lost, and begins anew. Said last: a start that is cut short does all of it again.
    ///
    /// # Errors
    ///
    /// When the store did not write it.
    pub async fn begin_again(&self) -> Result<(), Fault> {
        self.run(Event::Epoch(Epoch::Lost)).await.map(drop)
    }

    /// Since when it does not know all that was done; `None` when it does, or a person has seen to it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn lost(&self) -> Result<Option<Timestamp>, Fault> {
        match &self.shelf {
            Shelf::Memory(_) => Ok(None),
            Shelf::Embedded(_) => self.read(|rows| Draft::new(rows).meta()).map(|meta| meta.lost),
            Shelf::Redis(redis) => Ok(redis.lost()),
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
            Shelf::Memory(_) => Ok(None),
            Shelf::Embedded(_) | Shelf::Redis(_) => {
                let plain = codec::write(record);
                self.seal.seal(record.op, Purpose::Intent, &plain).map(Some)
            }
        }
    }
}

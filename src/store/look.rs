//! What stands in a store? Operations, their answers, lists and counts.
//!
//! Reads only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::call::{OperationId, Outcome};
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::ask::Reserve;
use crate::store::draft::Draft;
use crate::store::freeze::Following;
use crate::store::record::{AnswerKept, Record, State, Token};
use crate::store::redis::Bare;
use crate::store::rows::{Row, key};
use crate::store::seal::Purpose;
use crate::store::step::{How, Known};
use crate::store::{Durability, Needs, Shelf, Store, codec, damaged};

/// BOUND: operations that a listing by an ended state looks at.
const LOOKED_AT_MAX: usize = 5_000;

/// BOUND: freezes are copied twice a second; a copy ten times as old says that nobody can tell what a person
/// stopped meanwhile.
const FREEZES_AGE_MAX: Duration = Duration::from_secs(5);

/// Which operations are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed<'t> {
    /// Those that wait for a person; what ends first comes first.
    Held,
    /// Those that a person approved.
    Approved,
    /// Those that are being sent.
    Submitted,
    /// Those that may have happened; the oldest first.
    Unknown,
    /// Those that the vendor says are pending; the oldest first.
    Accepted,
    /// A tenant's, the newest first.
    Tenant(&'t str),
    /// All, the newest first.
    All,
}

impl Store {
    /// An operation.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn show(&self, op: OperationId) -> Result<Option<Arc<Record>>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.show(op).await;
        }
        self.read(|rows| Draft::new(rows).record(op))
    }

    /// An operation and its answer, as a replay gives it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the answer does not open.
    pub async fn show_answer(&self, op: OperationId) -> Result<Option<Known>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            let found = redis.show_answer(op).await?;
            return Ok(found.map(|(record, answer)| Known { record, how: How::Own, answer }));
        }
        let Some(record) = self.show(op).await? else {
            return Ok(None);
        };
        self.answered(Known { record, how: How::Own, answer: None }).map(Some)
    }

    /// What is to be sent after an approval.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the request does not open.
    pub async fn request(&self, op: OperationId) -> Result<Option<Bytes>, Fault> {
        let plain = match &self.shelf {
            Shelf::Redis(redis) => redis.request(op).await?,
            Shelf::Memory(_) | Shelf::Embedded(_) => self.opened(op, Purpose::Request)?,
        };
        Ok(plain.map(Bytes::from))
    }

    /// Operations in the state of that name, or all, `limit` at most: those that wait the oldest first,
    /// others the newest first. A name that is none has none.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(&self, state: Option<&str>, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        let which = match state {
            None => return self.listed(Listed::All, limit).await,
            Some("held") => Listed::Held,
            Some("approved") => Listed::Approved,
            Some("submitted") => Listed::Submitted,
            Some("unknown") => Listed::Unknown,
            Some(ended) => {
                // BOUND: ended operations have no list of their own; this many are looked at.
                let mut all = self.listed(Listed::All, LOOKED_AT_MAX).await?;
                all.retain(|record| record.state.name() == ended);
                all.truncate(limit);
                return Ok(all);
            }
        };
        let mut open = self.listed(which, limit).await?;
        open.sort_by_key(|record| record.created);
        Ok(open)
    }

    /// Operations as one of the lists has them, `limit` at most.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn listed(&self, which: Listed<'_>, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.listed(which, limit).await;
        }
        let all = |state| key::due_before(state, Timestamp(i64::MAX));
        let (token, lease) = (Token(0), Timestamp(0));
        let (from, to) = match which {
            Listed::Held => all(State::Held),
            Listed::Approved => all(State::Approved),
            Listed::Submitted => all(State::Submitted { token, lease }),
            Listed::Unknown => all(State::Unknown),
            Listed::Accepted => all(State::Done { outcome: Outcome::Accepted }),
            Listed::Tenant(tenant) => {
                let from = key::by_tenant(tenant, None);
                let to = key::after(&from);
                (from, to)
            }
            Listed::All => (vec![b'c'], key::after(b"c")),
        };
        self.read(|rows| Draft::new(rows).listed(&from, &to, limit))
    }

    /// Whether effects can be written down: the last one that was asked for could, and a fleet's store
    /// answers.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn health(&self) -> Result<(), Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            // It is tried twice a second, with a write.
            return redis.health();
        }
        self.read(|rows| rows.find(&key::meta()))?;
        self.failing.lock().clone().map_or(Ok(()), Err)
    }

    /// How old the freezes in memory may be: those of a fleet are a copy. `None` when it was never made.
    pub fn freezes_age(&self) -> Option<Duration> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => Some(Duration::ZERO),
            Shelf::Redis(redis) => redis.freezes_age(),
        }
    }

    /// How many replicas of the fleet have the freezes in memory that this one has. A store of one process
    /// has one.
    ///
    /// # Errors
    ///
    /// When the store cannot say; then nobody knows who follows.
    pub async fn following(&self) -> Result<Following, Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(Following { following: 1, of: 1 }),
            Shelf::Redis(redis) => redis.following().await,
        }
    }

    /// This process is about to serve calls: it counts among the replicas from now on.
    ///
    /// # Errors
    ///
    /// When the store was not told: it is with the first copy of the freezes, and no money moves before.
    pub async fn join(&self) -> Result<(), Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(()),
            Shelf::Redis(redis) => redis.join().await,
        }
    }

    /// It serves no more.
    ///
    /// # Errors
    ///
    /// When the store was not told: it counts for some seconds more, as one that does not follow.
    pub async fn leave(&self) -> Result<(), Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(()),
            Shelf::Redis(redis) => redis.leave().await,
        }
    }

    /// A fleet's store is reached like this from now on: with another password, by other authorities. One that is
    /// reached like this already, or that is on this machine, stays as it is.
    ///
    /// # Errors
    ///
    /// When that is no address.
    pub fn reach(&self, address: &super::Address) -> Result<(), Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(()),
            Shelf::Redis(redis) => redis.reach(address),
        }
    }

    /// Whether money may move: what people stopped is known, and nothing that was done may be forgotten,
    /// where that is asked for.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn fit_for_money(&self) -> Result<(), Fault> {
        let Shelf::Redis(redis) = &self.shelf else {
            return Ok(());
        };
        if self.freezes_age().is_none_or(|age| age > FREEZES_AGE_MAX) {
            let why = "nobody can tell what a person stopped: the freezes in memory are old";
            return Err(Fault::StoreUnavailable(why.to_owned()));
        }
        match (self.needs, redis.judged()) {
            (Needs::Any, _) => Ok(()),
            (Needs::Durable, Some(found)) if found.is_safe() => Ok(()),
            (Needs::Durable, found) => {
                let dangers = found.map_or_else(Vec::new, |found| found.dangers);
                let why = format!("it is not durable enough for money: {}", dangers.join("; "));
                Err(Fault::StoreUnavailable(why))
            }
        }
    }

    /// The command of a reserve on Redis, for who measures what everything around it costs.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn bare(&self, ask: &Reserve) -> Result<Option<Bare>, Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(None),
            Shelf::Redis(redis) => redis.bare(ask).map(Some),
        }
    }

    /// How safe what is in it is, read and judged now; `None` for a store in this process.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn durability(&self) -> Result<Option<Durability>, Fault> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => Ok(None),
            Shelf::Redis(redis) => redis.durability().await.map(Some),
        }
    }

    /// The same, as it was last judged.
    pub fn judged(&self) -> Option<Durability> {
        match &self.shelf {
            Shelf::Memory(_) | Shelf::Embedded(_) => None,
            Shelf::Redis(redis) => redis.judged(),
        }
    }

    /// Operations by the names of [`State::NAMES`].
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn counts(&self) -> Result<[(&'static str, u64); 7], Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return redis.counts().await;
        }
        let meta = self.read(|rows| Draft::new(rows).meta())?;
        let mut counts = meta.counts.into_iter();
        Ok(State::NAMES.map(|name| (name, counts.next().unwrap_or(0))))
    }

    /// How many commits there were: events that came together share one. On Redis: round trips of this
    /// process.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn batches(&self) -> Result<u64, Fault> {
        if let Shelf::Redis(redis) = &self.shelf {
            return Ok(redis.trips());
        }
        self.read(|rows| Draft::new(rows).meta()).map(|meta| meta.batch)
    }

    pub(super) fn answered(&self, known: Known) -> Result<Known, Fault> {
        if let Shelf::Redis(_) = &self.shelf {
            // It came with the record.
            return Ok(known);
        }
        let op = known.record.op;
        let answer = match (known.record.state, known.record.answer) {
            (State::Done { .. }, AnswerKept::Kept) => {
                let plain = self.opened(op, Purpose::Answer)?;
                plain.map(|plain| codec::read(&plain).ok_or_else(damaged)).transpose()?
            }
            (_, AnswerKept::Kept | AnswerKept::None | AnswerKept::Gone) => None,
        };
        Ok(Known { answer, ..known })
    }

    fn opened(&self, op: OperationId, what: Purpose) -> Result<Option<Vec<u8>>, Fault> {
        let key = match what {
            Purpose::Request => key::request(op),
            Purpose::Answer => key::answer(op),
            Purpose::Intent => return Ok(None),
        };
        match self.read(|rows| rows.find(&key))? {
            Some(Row::Sealed(sealed)) => self.seal.open(op, what, &sealed).map(Some),
            None => Ok(None),
            Some(_) => Err(damaged()),
        }
    }
}

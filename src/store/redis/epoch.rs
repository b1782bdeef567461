//! Does this Redis still know what it knew? Its name, and for each process a count of its own writes: a
//! copy that was behind when it took over has counted less of somebody's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pack::Item;
use super::{Accepted, Inside, Redis, kept, script};
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::codec::write;
use crate::store::loss::Known;
use crate::store::record::Token;
use crate::store::record::{Record, sha256};
use crate::store::step::Epoch;

impl Redis {
    /// What is known of it now.
    pub async fn known(&self) -> Result<Known, Fault> {
        self.inside.meet().await?;
        let known = self.inside.epoch(Vec::new()).await?;
        Ok(Known { went_back: self.inside.went_back.load(Ordering::Acquire), ..known })
    }

    /// Whether effects may rest on what it says.
    pub fn is_begun(&self) -> bool {
        self.inside.begun.lock().is_some() && !self.inside.went_back.load(Ordering::Acquire)
    }

    /// Since when it does not know all; as it was last heard.
    pub fn lost(&self) -> Option<Timestamp> {
        self.inside.begun.lock().as_ref().and_then(|begun| begun.lost)
    }

    /// It is known once somebody says so.
    pub fn watched(&self) {
        *self.inside.begun.lock() = None;
    }

    /// It has forgotten something.
    pub fn distrust(&self) {
        self.inside.went_back.store(true, Ordering::Release);
    }

    /// The others are told that something that it had confirmed is missing.
    pub async fn doubt(&self) -> Result<(), Fault> {
        self.inside.epoch(vec![("doubt", Item::Bool(true))]).await.map(drop)
    }

    /// It is the one that is known: effects may rest on it.
    pub fn accept(&self, known: &Known) {
        let (name, lost) = (known.name.clone(), known.lost);
        *self.inside.begun.lock() = Some(Accepted { name, lost });
    }

    /// What it forgot is seen to: its counts begin anew.
    pub fn forgive(&self) {
        self.inside.counts.lock().clear();
        self.inside.settled.lock().clear();
        self.inside.went_back.store(false, Ordering::Release);
    }
}

impl Inside {
    async fn epoch(&self, args: Vec<(&'static str, Item)>) -> Result<Known, Fault> {
        let said = self.call(&script::EPOCH, &self.fleet_prefix(), args).await?;
        let name = Some(said.text(0)?).filter(|name| !name.is_empty()).map(Into::into);
        let lost = match said.text(1)? {
            "" => None,
            _ => Some(Timestamp(said.number(1)?)),
        };
        Ok(Known { name, lost, doubted: !said.text(2)?.is_empty(), ..Known::default() })
    }

    pub(super) async fn change_epoch(&self, change: Epoch) -> Result<(), Fault> {
        let name = Item::bytes(new_name()?);
        // As people know them: what is read from now on may be a list that lost them.
        let freezes = self.shared.freezes.load_full();
        let args = match change {
            Epoch::Begins => vec![("begin", name)],
            Epoch::Lost => {
                let was = self.epoch(Vec::new()).await?.name.unwrap_or_default();
                vec![("lose", name), ("was", Item::from(&*was))]
            }
            Epoch::Cleared => vec![("clear", Item::Bool(true))],
        };
        let known = self.epoch(args).await?;
        if let Some(begun) = &mut *self.begun.lock() {
            (begun.name, begun.lost) = (begun.name.take().and(known.name), known.lost);
        }
        if change == Epoch::Lost {
            // The freezes were lost as well; those in memory are the ones that people know of.
            *self.copied.lock() = None;
            for freeze in freezes.iter() {
                self.change_freezes(vec![("put", kept::freeze(freeze))]).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn restore(&self, record: &Arc<Record>) -> Result<bool, Fault> {
        let tenant = &record.about.caller.tenant;
        // Its copy of the freezes comes with the name that the store gets, and the first reserve.
        self.enlist(tenant).await?;
        let args = vec![("op", Item::bytes(record.op.0)), ("record", kept::written(record))];
        let said = self.call(&script::RESTORE, &self.prefix(tenant), args).await?;
        self.tell(record);
        Ok(said.word == "restored")
    }

    /// How many of this process's writes of a tenant's rows were heard of.
    pub(super) fn count_of(&self, prefix: &str) -> i64 {
        self.counts.lock().get(prefix).copied().unwrap_or(0)
    }

    /// INVARIANT: who writes is counted with what is written, atomically; a smaller count than was `heard`
    /// before it was asked is a store that forgot something that it had confirmed.
    pub(super) fn counted(&self, prefix: &str, heard: i64, count: i64) {
        if count < heard {
            self.went_back.store(true, Ordering::Release);
            return;
        }
        let mut counts = self.counts.lock();
        match counts.get_mut(prefix) {
            Some(known) => *known = count.max(*known),
            None => {
                counts.insert(prefix.into(), count);
            }
        }
    }
}

pub(super) fn new_name() -> Result<String, Fault> {
    let name = sha256(&write(&Token::random()?));
    Ok(name.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

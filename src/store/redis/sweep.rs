//! What is over, and what did a person stop? Per tenant, and for the fleet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::cmd;

use super::pack::Item;
use super::{DUE_MAX, Inside, Redis, kept, script};
use crate::refusal::Fault;
use crate::store::damaged;
use crate::store::freeze::{Following, Freeze};
use crate::store::step::Swept;

/// BOUND: who leads says so each second; one that died is followed after four.
const LEASE: Duration = Duration::from_secs(4);

impl Redis {
    /// Whether this replica is the one that looks for what is over.
    pub async fn leads(&self) -> Result<bool, Fault> {
        let inside = &self.inside;
        let lease = Item::near(i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX));
        let said =
            inside.call(&script::LEASE, &inside.fleet_prefix(), vec![("lease", lease)]).await?;
        Ok(said.word == "yours")
    }
}

impl Redis {
    /// From now on this process counts among the replicas.
    pub async fn join(&self) -> Result<(), Fault> {
        self.inside.joined.store(true, Ordering::Release);
        // The list comes with the first, and is told with the second.
        self.inside.stops(self.inside.beat()).await?;
        self.inside.stops(self.inside.beat()).await.map(drop)
    }

    /// It is a replica no more.
    pub async fn leave(&self) -> Result<(), Fault> {
        self.inside.joined.store(false, Ordering::Release);
        self.inside.stops(vec![("leaves", Item::Bool(true))]).await.map(drop)
    }

    /// How many replicas have the list of freezes that is in memory here.
    pub async fn following(&self) -> Result<Following, Fault> {
        let mut args = self.inside.beat();
        args.push(("reach", Item::near(self.inside.copied_version())));
        Ok(self.inside.stops(args).await?.following)
    }
}

/// The fleet's freezes: as bytes, their version, and what was lifted.
pub(super) struct Stops {
    raw: Vec<u8>,
    version: i64,
    lifted: Option<Freeze>,
    /// The name of the store that they are of, where it is watched over.
    name: Option<Box<str>>,
    /// How many replicas have the list that was asked about, of how many.
    following: Following,
}

impl Inside {
    /// What is told with each copy: that Redis takes writes, and which list is in memory.
    ///
    /// INVARIANT: a list is told once it is in memory, never when it is on its way.
    pub(super) fn beat(&self) -> Vec<(&'static str, Item)> {
        let mut args = vec![("beat", Item::Bool(true))];
        if self.joined.load(Ordering::Acquire) {
            args.push(("holds", Item::near(self.copied_version())));
        }
        args
    }

    fn copied_version(&self) -> i64 {
        self.copied.lock().map_or(0, |copied| copied.version)
    }

    /// Reads or changes the fleet's list, and takes the copy in memory from it.
    pub(super) async fn stops(&self, args: Vec<(&'static str, Item)>) -> Result<Stops, Fault> {
        let said = self.call(&script::FREEZE, &self.fleet_prefix(), args).await?;
        let raw = said.raw(1)?.to_vec();
        let (version, freezes) = kept::freezes(&raw).ok_or_else(damaged)?;
        let lifted = match said.raw(2)? {
            [] => None,
            raw => {
                let item = Item::read(raw).ok_or_else(damaged)?;
                Some(kept::read_freeze(&item).ok_or_else(damaged)?)
            }
        };
        let name = self.still_named(said.text(3)?)?;
        let count = |at| said.version(at);
        let following = Following { following: count(4)?, of: count(5)? };
        // Two reads at once may come in any order: the newest counts.
        let mut copied = self.copied.lock();
        if version >= copied.map_or(0, |copied| copied.version) {
            self.shared.take_freezes(freezes);
            *copied = Some(super::Copied { version, steady: self.clock.steady() });
        }
        drop(copied);
        Ok(Stops { raw, version, lifted, name, following })
    }

    /// The name that is known, if it is still the one.
    fn still_named(&self, name: &str) -> Result<Option<Box<str>>, Fault> {
        let mut begun = self.begun.lock();
        let known = begun.as_ref().and_then(|begun| begun.name.clone());
        // One that is being lost, or was flushed, has no freezes to tell: those in memory are what is known.
        let is_nameless = begun.is_none() && name.is_empty() && self.is_begun_once();
        if is_nameless || known.as_ref().is_some_and(|known| **known != *name) {
            *begun = None;
            return Err(Fault::StoreUnavailable(
                "it was lost, or somebody misses what it had confirmed".to_owned(),
            ));
        }
        Ok(known)
    }

    /// In force for every tenant once this returns, and in this process at once.
    pub(super) async fn change_freezes(
        &self,
        change: Vec<(&'static str, Item)>,
    ) -> Result<Option<Freeze>, Fault> {
        let stops = self.stops(change).await?;
        for tenant in self.tenants().await? {
            self.copy(&tenant, &stops).await?;
        }
        Ok(stops.lifted)
    }

    async fn copy(&self, tenant: &str, stops: &Stops) -> Result<(), Fault> {
        let args = stops.args();
        self.call(&script::COPY, &self.prefix(tenant), args).await.map(drop)
    }

    /// A tenant's first: told to the fleet before its copy of the freezes is made, so that a freeze that
    /// is written meanwhile either finds the tenant or is found by it.
    pub(super) async fn register(&self, tenant: &Arc<str>) -> Result<(), Fault> {
        self.enlist(tenant).await?;
        let stops = self.stops(Vec::new()).await?;
        self.copy(tenant, &stops).await?;
        self.used.lock().insert(Arc::clone(tenant));
        Ok(())
    }

    pub(super) async fn enlist(&self, tenant: &str) -> Result<(), Fault> {
        let key = format!("{}:tenants", self.fleet_prefix());
        self.ask(cmd("SADD").arg(key).arg(tenant)).await.map(drop)
    }

    /// Every tenant's turn. One that fails does not keep the others from theirs.
    pub(super) async fn sweep(&self, rows: usize) -> Result<Swept, Fault> {
        let stops = self.stops(vec![("prune", Item::Bool(true))]).await?;
        let tenants = self.tenants().await?;
        // The list of tenants is on another node than their rows: what one lost, the other restores.
        let used: Vec<Arc<str>> = self.used.lock().iter().cloned().collect();
        for tenant in used.iter().filter(|tenant| !tenants.contains(tenant)) {
            self.enlist(tenant).await?;
        }
        let (mut swept, mut failed) = (Swept::default(), None);
        for tenant in tenants {
            let mut args = stops.args();
            args.push(("due_max", Item::Int(DUE_MAX)));
            args.push(("look_max", Item::near(i64::try_from(rows).unwrap_or(i64::MAX))));
            match self.call(&script::SWEEP, &self.prefix(&tenant), args).await {
                Ok(said) => {
                    for raw in &said.rest {
                        let record = kept::shared(raw).ok_or_else(damaged)?;
                        self.tell(&record);
                        swept.changed.push(record);
                    }
                }
                Err(fault) => failed = Some(fault),
            }
        }
        match failed {
            Some(fault) if swept.changed.is_empty() => Err(fault),
            Some(_) | None => Ok(swept),
        }
    }
}

impl Stops {
    fn args(&self) -> Vec<(&'static str, Item)> {
        let mut args =
            vec![("freezes", Item::bytes(&self.raw)), ("version", Item::near(self.version))];
        args.extend(self.name.as_ref().map(|name| ("epoch", Item::from(&**name))));
        args
    }
}

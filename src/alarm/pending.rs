//! What happened and is not counted yet? Merged in memory until the store takes it, so that no call waits.
//!
//! Never forgets in silence: what finds no room is counted as left out. A process that dies loses what the
//! last moment brought.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Named, Per, Rule, Signal, asked_key, released};
use crate::money::Currency;
use crate::store::{Freeze, FreezeScope, Tally};

/// BOUND: counts that wait at once, some 2 MB; a flood of them is many names, and each was in a token.
const PENDING_MAX: usize = 10_000;
/// BOUND: of one tenant: however many names its tokens hold, the other half is there for others.
const TENANT_MAX: usize = PENDING_MAX / 2;
/// BOUND: cases of one agent, which names as many as it likes.
const CASES_MAX: usize = PENDING_MAX / 10;

/// One count that waits.
#[derive(Debug, Clone)]
pub struct Item {
    /// Of which tenant.
    pub tenant: Box<str>,
    /// What is added to what.
    pub tally: Tally,
    /// The brake that it may put on.
    pub trips: Option<Tripping>,
    /// The agent, where it may call what is counted as it likes.
    pub chosen_by: Option<Box<str>>,
}

/// A brake that a count may put on.
#[derive(Debug, Clone)]
pub struct Tripping {
    /// The brake's name.
    pub brake: std::sync::Arc<str>,
    /// Its number on this scope.
    pub number: Box<str>,
    /// What it holds.
    pub scope: FreezeScope,
    /// How much a call that was not let go would have added.
    pub asks: i64,
    /// Whether somebody tried to put it on before, and does not know whether it is.
    pub is_tried: bool,
}

type Key = (Box<str>, Box<str>, Option<Currency>);

/// What waits.
#[derive(Debug, Default)]
struct Waiting {
    all: HashMap<Key, Item>,
    /// How many of a tenant.
    of_tenant: HashMap<Box<str>, usize>,
    /// How many that an agent of a tenant chose.
    of_agent: HashMap<(Box<str>, Box<str>), usize>,
}

/// What happened and is not counted yet.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: Mutex<Waiting>,
    left_out: AtomicU64,
    failing: AtomicBool,
    /// There is something that should not wait.
    pub wake: Notify,
}

impl Item {
    /// For a brake: of what, how much is added, and how much more was asked for.
    pub(super) fn of_brake(
        rule: &Rule,
        named: &Named,
        (unit, count, asks): (Option<Currency>, i64, i64),
    ) -> Self {
        let number = named.number(&rule.name);
        let trips = named.scope().map(|scope| Tripping {
            brake: std::sync::Arc::clone(&rule.name),
            number: number.clone(),
            scope,
            asks,
            is_tried: false,
        });
        let tally = Tally { key: number, unit, count, within: rule.within, since: None };
        Self { tenant: named.tenant.clone(), tally, trips, chosen_by: None }
    }

    /// What a brake holds.
    pub(super) fn asked(
        rule: &Rule,
        named: &Named,
        (unit, count): (Option<Currency>, i64),
    ) -> Self {
        let key = asked_key(&named.number(&rule.name));
        let tally = Tally { key, unit, count, within: rule.within, since: None };
        Self { tenant: named.tenant.clone(), tally, trips: None, chosen_by: None }
    }

    /// For a signal, of this agent.
    pub(super) fn of_signal(signal: &Signal, named: &Named, agent: &str) -> Self {
        let (key, within) = (named.key(&signal.rule.name), signal.rule.within);
        let tally = Tally { key, unit: None, count: 1, within, since: None };
        let chosen_by = (signal.rule.per == Per::Case).then(|| agent.into());
        Self { tenant: named.tenant.clone(), tally, trips: None, chosen_by }
    }

    /// What the store is told, with the brakes that were released.
    pub fn told(&self, brakes: &[Freeze]) -> Tally {
        let number = self.trips.as_ref().map(|trips| &*trips.number);
        let since = number.and_then(|number| released(brakes, number));
        Tally { since, ..self.tally.clone() }
    }

    fn key(&self) -> Key {
        (self.tenant.clone(), self.tally.key.clone(), self.tally.unit)
    }

    fn merge(&mut self, more: Self) {
        self.tally.count = self.tally.count.saturating_add(more.tally.count);
        if let (Some(own), Some(other)) = (&mut self.trips, more.trips) {
            own.asks = own.asks.max(other.asks);
            own.is_tried |= other.is_tried;
        }
    }
}

/// Whether something waits now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    Yes,
    Not,
}

impl Waiting {
    /// Whether it found room, and whether half of any is taken.
    fn add(&mut self, item: Item) -> (Added, bool) {
        let key = item.key();
        let chosen = item.chosen_by.clone().map(|agent| (item.tenant.clone(), agent));
        let tenant = self.of_tenant.get(&item.tenant).copied().unwrap_or(0);
        let agent = chosen.as_ref().and_then(|chosen| self.of_agent.get(chosen)).copied();
        let (all, agent) = (self.all.len(), agent.unwrap_or(0));
        let has_room = all < PENDING_MAX && tenant < TENANT_MAX && agent < CASES_MAX;
        let is_much = all >= PENDING_MAX / 2 || tenant >= TENANT_MAX / 2 || agent >= CASES_MAX / 2;
        if let Some(own) = self.all.get_mut(&key) {
            own.merge(item);
        } else if has_room {
            self.of_tenant.insert(item.tenant.clone(), tenant.saturating_add(1));
            if let Some(chosen) = chosen {
                self.of_agent.insert(chosen, agent.saturating_add(1));
            }
            self.all.insert(key, item);
        } else {
            return (Added::Not, is_much);
        }
        (Added::Yes, is_much)
    }
}

impl Pending {
    /// One more.
    pub fn add(&self, item: Item) {
        let (added, is_much) = self.waiting.lock().add(item);
        if added == Added::Not {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        if is_much {
            self.wake.notify_one();
        }
    }

    /// Everything that waits, a tenant's together.
    pub fn take(&self) -> Vec<Item> {
        let mut all: Vec<Item> =
            std::mem::take(&mut *self.waiting.lock()).all.into_values().collect();
        all.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        all
    }

    /// How many found no room since it was last asked.
    pub fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }

    /// Whether counting fails; true when that is news.
    pub fn fails(&self) -> bool {
        !self.failing.swap(true, Ordering::Relaxed)
    }

    /// Counting works.
    pub fn works(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }
}

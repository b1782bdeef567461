//! What is counted of whom, and what is written once all rates have room? It outlives a reload.
//!
//! Never forgets a caller that is not idle, and never holds more keys than its bound.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashTable;

use super::counted::{Dial, nanos};
use super::lease::{Leases, Terms};

/// BOUND: keys that are not idle, some 120 bytes each: 12 MB at worst.
pub(super) const KEYS_MAX: usize = 100_000;
/// BOUND: a full map is searched for idle keys at most this often.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What survives a reload: when each key's room is whole again, in nanoseconds of the steady clock,
/// which nobody can set.
pub(super) struct Cells {
    pub(super) dial: Dial,
    full_at: HashTable<(Box<[u8]>, u64)>,
    /// SECURITY: keyed, since names of agents and customers are in the keys.
    hasher: RandomState,
    /// What is borrowed from the fleet.
    pub(super) leases: Leases,
    swept: Option<Duration>,
    pub(super) scratch: Vec<u8>,
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("keys", &self.full_at.len()).finish_non_exhaustive()
    }
}

/// Whether the store is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Nothing,
    ToBorrow,
}

/// What one rate says.
pub(super) enum Seen {
    /// Room for it, and for so many after it, and when all room is back.
    Room(Next, (u32, Duration)),
    Full(Duration),
    Asked,
}

/// What is written once all rates have room.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// When the room of a key that was there, or was not, is whole again; and the key's hash.
    At(u64, Known, u64),
    /// One of those that were borrowed.
    Lent(Terms),
    /// None: the store is asked first.
    Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
}

impl Next {
    pub(super) fn is_new(self) -> bool {
        matches!(self, Self::At(_, Known::No, _))
    }
}

impl Cells {
    pub(super) fn new() -> Self {
        Self {
            dial: Dial::default(),
            full_at: HashTable::new(),
            hasher: RandomState::new(),
            leases: Leases::default(),
            swept: None,
            scratch: Vec::new(),
        }
    }

    /// Turns governor's clock to `now`.
    #[inline]
    pub(super) fn set(&self, now: Duration) -> u64 {
        let nanos = nanos(now);
        self.dial.set(nanos);
        nanos
    }

    #[inline]
    pub(super) fn has_room_for(&mut self, new: usize, now: Duration) -> bool {
        let fits = |len: usize| len.saturating_add(new) <= KEYS_MAX;
        let long_ago = |swept: Duration| now.saturating_sub(swept) >= SWEEP_EVERY;
        if !fits(self.full_at.len()) && self.swept.is_none_or(long_ago) {
            let nanos = self.set(now);
            self.swept = Some(now);
            // An idle key has all its room: forgetting it changes nothing.
            self.full_at.retain(|(_, full_at)| *full_at > nanos);
        }
        new == 0 || fits(self.full_at.len())
    }

    /// Of a key: hashed once a call.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// When the room of `key` is whole again. No later than `most`: when the rule became faster,
    /// nothing is owed beyond empty, and that is kept, or it would not pass for as long as before.
    #[inline]
    pub(super) fn known(&mut self, (key, hash): (&[u8], u64), most: u64) -> Option<u64> {
        let (_, full_at) = self.full_at.find_mut(hash, |(own, _)| **own == *key)?;
        *full_at = most.min(*full_at);
        Some(*full_at)
    }

    /// How many keys are remembered.
    pub(super) fn keys(&self) -> usize {
        self.full_at.len()
    }

    /// Takes of every rate.
    #[inline]
    pub(super) fn take<'k>(
        &mut self,
        staged: impl Iterator<Item = (&'k [u8], Next)>,
        now: Duration,
    ) -> Wants {
        let mut wants = Wants::Nothing;
        for (key, next) in staged {
            match next {
                Next::At(full_at, _, hash) => self.keep((key, hash), full_at),
                Next::Lent(terms) if self.leases.take(key, terms, now) => wants = Wants::ToBorrow,
                Next::Lent(_) | Next::Asked => {}
            }
        }
        wants
    }

    /// Takes of none; those that the store is asked for are told that somebody waits.
    pub(super) fn wait<'k>(&mut self, staged: impl Iterator<Item = (&'k [u8], Next)>) -> Wants {
        let mut wants = Wants::Nothing;
        for (key, next) in staged {
            match next {
                Next::Asked if self.leases.wait(key) => wants = Wants::ToBorrow,
                Next::Asked | Next::At(..) | Next::Lent(_) => {}
            }
        }
        wants
    }

    #[inline]
    fn keep(&mut self, (key, hash): (&[u8], u64), full_at: u64) {
        match self.full_at.find_mut(hash, |(own, _)| **own == *key) {
            Some((_, known)) => *known = full_at,
            None => {
                let hasher = &self.hasher;
                let again = |(own, _): &(Box<[u8]>, u64)| hasher.hash_one(&**own);
                self.full_at.insert_unique(hash, (key.into(), full_at), again);
            }
        }
    }
}

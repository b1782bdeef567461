//! How much of a budget is used? One row per budget: what is reserved, and what was spent when.
//!
//! Never forgets early: where it is not exact it counts longer, not shorter.

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::money::Currency;
use crate::store::codec::packed;

/// BOUND: windows reach back a month at most; older spending is dropped.
pub const WITHIN_MAX_DAYS: u64 = 31;
/// BOUND: a row holds this many moments of spending. Past it the two nearest moments become one, which
/// counts until the later of them leaves the window.
const BUCKETS_MAX: usize = 128;

/// What one budget holds; `unit` is a currency, or `None` for a count of effects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Reserved by operations whose effect is possible; always counts.
    pub open: Vec<Reserved>,
    /// Spent, oldest first.
    pub spent: Vec<Bucket>,
}

/// Room that one operation has reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reserved {
    /// By which.
    pub op: OperationId,
    /// Of what.
    pub unit: Option<Currency>,
    /// How much.
    pub count: i64,
}

/// Room that was used, up to one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The newest spending in it: it leaves the window as one.
    pub last: Timestamp,
    /// Of what.
    pub unit: Option<Currency>,
    /// How much.
    pub count: i64,
}

packed!(struct Ledger { open, spent });
packed!(struct Reserved { op, unit, count });
packed!(struct Bucket { last, unit, count });

impl Ledger {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.spent.is_empty()
    }

    /// Reserves room for `op`; what it had reserved of that unit before is replaced.
    pub fn reserve(&mut self, op: OperationId, unit: Option<Currency>, count: i64) {
        self.release(op, unit);
        self.open.push(Reserved { op, unit, count });
    }

    /// Gives back what `op` has reserved of that unit.
    pub fn release(&mut self, op: OperationId, unit: Option<Currency>) {
        self.open.retain(|held| held.op != op || held.unit != unit);
    }

    /// Uses room: the window starts now.
    pub fn spend(&mut self, unit: Option<Currency>, count: i64, at: Timestamp) {
        let place = self.spent.partition_point(|bucket| bucket.last <= at);
        self.spent.insert(place, Bucket { last: at, unit, count });
        if self.spent.len() > BUCKETS_MAX {
            self.merge();
        }
    }

    /// Takes back what was spent at `at`: the vendor said no in the end.
    pub fn unspend(&mut self, unit: Option<Currency>, count: i64, at: Timestamp) {
        let bucket = self.spent.iter_mut().find(|b| b.unit == unit && b.last >= at);
        if let Some(bucket) = bucket {
            bucket.count = bucket.count.saturating_sub(count).max(0);
        }
        self.spent.retain(|bucket| bucket.count > 0);
    }

    /// Drops what no window can reach any more.
    pub fn prune(&mut self, edge: Timestamp) {
        self.spent.retain(|bucket| bucket.last >= edge);
    }

    /// What is used of `unit` since `edge`, the edge itself included, but for `own`.
    pub fn used(&self, unit: Option<Currency>, edge: Timestamp, own: OperationId) -> i64 {
        let open = self.open.iter().filter(|held| held.op != own && held.unit == unit);
        let spent = self.spent.iter().filter(|b| b.unit == unit && b.last >= edge);
        open.map(|held| held.count)
            .chain(spent.map(|bucket| bucket.count))
            .fold(0_i64, i64::saturating_add)
    }

    /// The same of every operation.
    pub fn total(&self, unit: Option<Currency>, edge: Timestamp) -> i64 {
        let open = self.open.iter().filter(|held| held.unit == unit).map(|held| held.count);
        let spent = self.spent.iter().filter(|b| b.unit == unit && b.last >= edge);
        open.chain(spent.map(|bucket| bucket.count)).fold(0_i64, i64::saturating_add)
    }

    /// When `excess` of what was spent since `edge` will have left the window: the moment of the last
    /// spending that must leave. `None` when waiting alone never helps.
    pub fn frees(&self, unit: Option<Currency>, edge: Timestamp, excess: i64) -> Option<Timestamp> {
        let mut left = excess;
        for bucket in self.spent.iter().filter(|b| b.unit == unit && b.last >= edge) {
            left = left.saturating_sub(bucket.count);
            if left <= 0 {
                return Some(bucket.last);
            }
        }
        None
    }

    fn merge(&mut self) {
        let gap = |a: &Bucket, b: &Bucket| b.last.since(a.last);
        let nearest = self
            .spent
            .iter()
            .enumerate()
            .filter_map(|(at, bucket)| {
                // The next of the same unit.
                let next = self.spent.iter().skip(at.saturating_add(1));
                let (step, other) = next.enumerate().find(|(_, b)| b.unit == bucket.unit)?;
                Some((gap(bucket, other), at, at.saturating_add(step).saturating_add(1)))
            })
            .min();
        let Some((_, earlier, later)) = nearest else {
            return;
        };
        let count = self.spent.get(earlier).map_or(0, |bucket| bucket.count);
        if let Some(bucket) = self.spent.get_mut(later) {
            bucket.count = bucket.count.saturating_add(count);
        }
        self.spent.remove(earlier);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use proptest::prelude::*;

    use super::*;

    const OWN: OperationId = OperationId([0; 32]);

    fn usd() -> Option<Currency> {
        Currency::parse("USD")
    }

    #[test]
    fn the_edge_itself_counts_and_one_before_does_not() {
        let mut ledger = Ledger::default();
        ledger.spend(usd(), 7, Timestamp(100));
        assert_eq!(ledger.used(usd(), Timestamp(100), OWN), 7);
        assert_eq!(ledger.used(usd(), Timestamp(101), OWN), 0);
        assert_eq!(ledger.used(None, Timestamp(0), OWN), 0, "another unit");
    }

    #[test]
    fn open_room_always_counts_but_for_its_own() {
        let mut ledger = Ledger::default();
        let other = OperationId([1; 32]);
        ledger.reserve(other, usd(), 5);
        ledger.reserve(other, usd(), 6);
        assert_eq!(ledger.used(usd(), Timestamp(i64::MAX), OWN), 6, "replaced, not added");
        assert_eq!(ledger.used(usd(), Timestamp(0), other), 0);
        ledger.release(other, usd());
        assert!(ledger.is_empty());
    }

    #[test]
    fn it_says_when_there_will_be_room() {
        let mut ledger = Ledger::default();
        ledger.spend(usd(), 50, Timestamp(10));
        ledger.spend(usd(), 50, Timestamp(20));
        assert_eq!(ledger.frees(usd(), Timestamp(0), 50).unwrap(), Timestamp(10));
        assert_eq!(ledger.frees(usd(), Timestamp(0), 51).unwrap(), Timestamp(20));
        assert_eq!(ledger.frees(usd(), Timestamp(0), 101), None);
    }

    proptest! {
        // However many are merged, no window ever sees less than was spent in it, and the whole is exact.
        #[test]
        fn merging_never_counts_less(spends in proptest::collection::vec((0_i64..5_000, 1_i64..100), 1..400), edge in 0_i64..5_000) {
            let mut ledger = Ledger::default();
            for (at, count) in &spends {
                ledger.spend(None, *count, Timestamp(*at));
            }
            prop_assert!(ledger.spent.len() <= BUCKETS_MAX);
            let exact = |from: i64| spends.iter().filter(|(at, _)| *at >= from).map(|(_, n)| n).sum::<i64>();
            prop_assert!(ledger.used(None, Timestamp(edge), OWN) >= exact(edge));
            prop_assert_eq!(ledger.used(None, Timestamp(0), OWN), exact(0));
            if spends.len() <= BUCKETS_MAX {
                prop_assert_eq!(ledger.used(None, Timestamp(edge), OWN), exact(edge));
            }
        }
    }
}

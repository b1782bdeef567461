//! How much of a budget is used? One row per budget: what is reserved, and what was spent when.
//!
//! Never forgets early: where it is not exact it counts longer, not shorter.

use std::time::Duration;

use crate::bounds::WITHIN_MAX;
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::money::Currency;
use crate::store::codec::{Packed, Unread, packed};

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
    /// A count that no operation ever took of, and so in one window: nothing in it is kept longer than that.
    pub kept: Option<Duration>,
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

/// One budget as it stood once an operation had its room of it, itself included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stood {
    /// `budget.customer-24h`.
    pub id: Box<str>,
    /// In minor units of what; `None` counts effects.
    pub unit: Option<Currency>,
    /// How much was used. BOUND: 2^53, where a script's numbers stop to be exact.
    pub used: i64,
    /// Of how much.
    pub room: i64,
    /// From how much on operators are told.
    pub alert: Option<i64>,
    /// Whether this operation crossed that.
    pub crossed: bool,
    /// When less than that will be used, if nothing else happens and waiting helps.
    pub frees: Option<Timestamp>,
}

impl Stood {
    /// How much of it was used, in per cent.
    pub fn per_cent(&self) -> u64 {
        per_cent(self.used, self.room)
    }

    /// Whether operators would want to know.
    pub fn is_near(&self) -> bool {
        self.alert.is_some_and(|alert| self.used >= alert)
    }
}

/// How much of a room is used, in per cent. Of no room, everything is.
pub fn per_cent(used: i64, room: i64) -> u64 {
    let share = i128::from(used.max(0)).saturating_mul(100);
    let per_cent = share.checked_div(i128::from(room.max(1))).unwrap_or(0);
    u64::try_from(per_cent).unwrap_or(u64::MAX)
}

packed!(struct Stood { id, unit, used, room, alert, crossed, frees });
packed!(struct Reserved { op, unit, count });
packed!(struct Bucket { last, unit, count });

impl Packed for Ledger {
    fn pack(&self, out: &mut Vec<u8>) {
        let Self { open, spent, kept } = self;
        open.pack(out);
        spent.pack(out);
        // As it was written before, for what operations take of: at the end of a row.
        if let Some(kept) = kept {
            i64::try_from(kept.as_millis()).unwrap_or(i64::MAX).pack(out);
        }
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        let (open, spent) = (Packed::unpack(from)?, Packed::unpack(from)?);
        let kept = match from.0.is_empty() {
            true => None,
            false => Some(Duration::from_millis(i64::unpack(from)?.unsigned_abs())),
        };
        Some(Self { open, spent, kept })
    }
}

impl Ledger {
    /// It counts in this window alone, as long as no operation takes of it.
    pub fn keep_for(&mut self, within: Duration) {
        if self.is_empty() || self.kept.is_some() {
            self.kept = self.kept.max(Some(within));
        }
    }

    /// How long what was spent is kept.
    pub fn keeps(&self) -> Duration {
        self.kept.unwrap_or(WITHIN_MAX)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.spent.is_empty()
    }

    /// Reserves room for `op`; what it had reserved of that unit before is replaced.
    pub fn reserve(&mut self, op: OperationId, unit: Option<Currency>, count: i64) {
        self.release(op, unit);
        self.kept = None;
        self.open.push(Reserved { op, unit, count });
    }

    /// Gives back what `op` has reserved of that unit.
    pub fn release(&mut self, op: OperationId, unit: Option<Currency>) {
        self.open.retain(|held| held.op != op || held.unit != unit);
    }

    /// Uses room: the window starts now.
    pub fn spend(&mut self, unit: Option<Currency>, count: i64, at: Timestamp) {
        let mut now = self.spent.iter_mut().rev().take_while(|bucket| bucket.last >= at);
        // Of one moment there is one: what is taken back of it is taken from all of it.
        if let Some(bucket) = now.find(|bucket| bucket.last == at && bucket.unit == unit) {
            bucket.count = bucket.count.saturating_add(count);
            return;
        }
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

    /// What `op` itself has reserved of `unit`.
    pub fn reserved(&self, unit: Option<Currency>, op: OperationId) -> i64 {
        let own = self.open.iter().filter(|held| held.op == op && held.unit == unit);
        own.map(|held| held.count).fold(0_i64, i64::saturating_add)
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
    fn a_row_from_before_counts_had_an_end_of_their_own_is_read() {
        let mut ledger = Ledger::default();
        ledger.spend(usd(), 7, Timestamp(100));
        let mut old = Vec::new();
        ledger.open.pack(&mut old);
        ledger.spent.pack(&mut old);
        assert_eq!(Ledger::unpack(&mut Unread(&old)).unwrap(), ledger);
        let packed = |ledger: &Ledger| {
            let mut out = Vec::new();
            ledger.pack(&mut out);
            out
        };
        assert_eq!(packed(&ledger), old);
        ledger.kept = Some(Duration::from_secs(60));
        let new = packed(&ledger);
        assert_eq!(Ledger::unpack(&mut Unread(&new)), Some(ledger));
    }

    #[test]
    fn what_an_operation_takes_of_is_kept_as_long_as_can_be() {
        let minute = Duration::from_secs(60);
        let mut counted = Ledger::default();
        counted.keep_for(minute);
        counted.spend(None, 1, Timestamp(1));
        counted.keep_for(minute / 2);
        assert_eq!(counted.keeps(), minute);
        counted.reserve(OWN, None, 1);
        counted.keep_for(minute);
        assert_eq!(counted.keeps(), WITHIN_MAX);
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

    #[test]
    fn what_is_taken_back_is_taken_from_its_whole_moment() {
        let mut ledger = Ledger::default();
        ledger.spend(usd(), 1, Timestamp(10));
        ledger.spend(usd(), 2, Timestamp(10));
        ledger.spend(None, 1, Timestamp(10));
        ledger.unspend(usd(), 2, Timestamp(10));
        assert_eq!(ledger.used(usd(), Timestamp(0), OWN), 1);
        assert_eq!(ledger.used(None, Timestamp(0), OWN), 1);
        assert_eq!(ledger.spent.len(), 2);
    }

    #[test]
    fn a_share_is_of_all_there_is() {
        for (used, room, share) in
            [(0, 10, 0), (8, 10, 80), (799, 1000, 79), (15, 10, 150), (5, 0, 500), (-1, 10, 0)]
        {
            assert_eq!(per_cent(used, room), share, "{used} of {room}");
        }
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

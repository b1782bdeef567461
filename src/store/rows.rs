//! What does a store hold, row by row? Keys in order, values by kind.
//!
//! Never decides: a store that can find, walk and replace these rows is a store.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::budget::Ledger;
use crate::store::codec::{Packed, Unread, packed};
use crate::store::freeze::Freeze;
use crate::store::hold::Place;
use crate::store::record::{Record, Slot, State};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Row {
    /// An operation.
    Record(Arc<Record>),
    /// A sealed request or answer.
    Sealed(Bytes),
    /// Another name of an operation.
    Alias(OperationId),
    /// The newest operation of calls that ask the same.
    Same(Same),
    /// What is known of a resource.
    Resource(OnResource),
    /// A budget.
    Ledger(Ledger),
    /// Effects that are like each other.
    Alikes(Vec<Alike>),
    /// A freeze.
    Freeze(Freeze),
    /// An index: the key says it all.
    Mark,
    /// What there is one of.
    Meta(Meta),
    /// How many calls of somebody wait for people; or when a rate has all its room, in microseconds.
    Count(u64),
}

/// The newest operation of calls that ask the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Same {
    /// Which.
    pub op: OperationId,
    /// How many of them came without a key.
    pub ordinal: u32,
    /// When it was written.
    pub at: Timestamp,
}

/// What is known of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OnResource {
    /// The financial effect that may be under way.
    pub open: Option<OperationId>,
    /// The number of the last settling of an effect on it.
    pub moved: u64,
    /// When it was written.
    pub at: Timestamp,
}

/// One effect in a list of effects that are like each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alike {
    /// Which.
    pub op: OperationId,
    /// Its amount in minor units.
    pub minor: Option<i64>,
    /// When it was reserved, or came to its end.
    pub at: Timestamp,
}

/// What there is one of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// How many effects have come to an end: the version of every resource.
    pub settled: u64,
    /// How many batches were written.
    pub batch: u64,
    /// The latest moment that was ever written down.
    pub high: Timestamp,
    /// When a clock last jumped forward.
    pub jumped_at: Timestamp,
    /// How far, in milliseconds.
    pub jumped_by: i64,
    /// Operations by [`State::index`].
    pub counts: Vec<u64>,
    /// Whether it was begun: what is not begun is new, or was lost.
    pub epoch: u64,
    /// When it was found to have lost what it knew; until a person has seen to it.
    pub lost: Option<Timestamp>,
}

packed!(struct Same { op, ordinal, at });
packed!(struct OnResource { open, moved, at });
packed!(struct Alike { op, minor, at });
packed!(struct Meta { settled, batch, high, jumped_at, jumped_by, counts, epoch, lost });

impl Packed for Row {
    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Self::Record(record) => tagged(out, 1, &**record),
            Self::Sealed(bytes) => tagged(out, 2, bytes),
            Self::Alias(op) => tagged(out, 3, op),
            Self::Same(same) => tagged(out, 4, same),
            Self::Resource(on) => tagged(out, 5, on),
            Self::Ledger(ledger) => tagged(out, 6, ledger),
            Self::Alikes(alikes) => tagged(out, 7, alikes),
            Self::Freeze(freeze) => tagged(out, 8, freeze),
            Self::Mark => out.push(9),
            Self::Meta(meta) => tagged(out, 10, meta),
            Self::Count(count) => tagged(out, 11, count),
        }
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        Some(match u8::unpack(from)? {
            1 => Self::Record(Arc::new(Packed::unpack(from)?)),
            2 => Self::Sealed(Packed::unpack(from)?),
            3 => Self::Alias(Packed::unpack(from)?),
            4 => Self::Same(Packed::unpack(from)?),
            5 => Self::Resource(Packed::unpack(from)?),
            6 => Self::Ledger(Packed::unpack(from)?),
            7 => Self::Alikes(Packed::unpack(from)?),
            8 => Self::Freeze(Packed::unpack(from)?),
            9 => Self::Mark,
            10 => Self::Meta(Packed::unpack(from)?),
            11 => Self::Count(Packed::unpack(from)?),
            _ => return None,
        })
    }
}

fn tagged<T: Packed>(out: &mut Vec<u8>, tag: u8, value: &T) {
    out.push(tag);
    value.pack(out);
}

/// A row's key: a letter for its kind, then what names it.
pub type Key = Vec<u8>;

/// The keys of every kind of row.
pub mod key {
    use super::{Key, OperationId, Place, Record, Slot, State, Timestamp};
    use crate::call::Outcome;

    fn join(letter: u8, parts: &[&[u8]]) -> Key {
        let mut key = Vec::with_capacity(48);
        key.push(letter);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }

    /// An operation.
    pub fn record(op: OperationId) -> Key {
        join(b'r', &[&op.0])
    }
    /// What is sent after an approval.
    pub fn request(op: OperationId) -> Key {
        join(b'q', &[&op.0])
    }
    /// What came back.
    pub fn answer(op: OperationId) -> Key {
        join(b'y', &[&op.0])
    }
    /// Another name of an operation.
    pub fn alias(name: OperationId) -> Key {
        join(b'a', &[&name.0])
    }
    /// The other names of `op`; one of them, with `name`.
    pub fn alias_of(op: OperationId, name: Option<OperationId>) -> Key {
        join(b'b', &[&op.0, name.as_ref().map_or(&[], |name| &name.0)])
    }
    /// Calls that ask the same.
    pub fn same(slot: Slot) -> Key {
        join(b's', &[&slot.0])
    }
    /// A resource.
    pub fn resource(slot: Slot) -> Key {
        join(b'o', &[&slot.0])
    }
    /// A budget.
    pub fn ledger(slot: Slot) -> Key {
        join(b'm', &[&slot.0])
    }
    /// What the vendor made.
    pub fn made(slot: Slot) -> Key {
        join(b'u', &[&slot.0])
    }
    /// Effects that are like each other.
    pub fn alikes(slot: Slot) -> Key {
        join(b'l', &[&slot.0])
    }
    /// A freeze; all of them, when `id` is empty.
    pub fn freeze(id: &str) -> Key {
        join(b'f', &[id.as_bytes()])
    }
    /// How many calls of somebody wait for people.
    pub fn crowd(slot: Slot) -> Key {
        join(b'h', &[&slot.0])
    }
    /// When a rate has all its room again.
    pub fn rate(slot: Slot) -> Key {
        join(b'g', &[&slot.0])
    }
    /// Where somebody outside is to be told or reminded: what is due first comes first.
    pub fn post(record: &Record) -> Option<Key> {
        record.post_due().map(|at| join(b'p', &[&early(at), &record.op.0]))
    }
    /// Everything to be told before `at`: from, to.
    pub fn post_before(at: Timestamp) -> (Key, Key) {
        (join(b'p', &[]), join(b'p', &[&early(at)]))
    }
    /// Where a call that waits is listed: by tenant and queue, the riskiest first, then the oldest.
    pub fn waiting(record: &Record) -> Option<Key> {
        let hold = record.hold.as_ref().filter(|_| record.state == State::Held)?;
        let line = line(&record.about.caller.tenant, &hold.queue);
        Some(join(b'w', &[&line.0, &place(&Place::of(record.op, hold))]))
    }
    /// What waits in a tenant's queue, after that place: from, to.
    pub fn waiting_after(tenant: &str, queue: &str, after: Option<&Place>) -> (Key, Key) {
        let all = join(b'w', &[&line(tenant, queue).0]);
        let to = self::after(&all);
        // A longer key is the next one.
        let from = after.map(|after| [all.as_slice(), &place(after), &[0]].concat());
        (from.unwrap_or(all), to)
    }
    /// Every tenant's queues.
    pub fn lines() -> (Key, Key) {
        (join(b'w', &[]), after(b"w"))
    }
    fn line(tenant: &str, queue: &str) -> Slot {
        Slot::of(b'w', &[tenant.as_bytes(), queue.as_bytes()])
    }
    fn place(place: &Place) -> Vec<u8> {
        [&[place.risk.rank()], early(place.since).as_slice(), &place.op.0].concat()
    }
    /// What there is one of.
    pub fn meta() -> Key {
        join(b'z', &[])
    }
    /// Where an open operation is listed: by state, what is due first comes first.
    pub fn due(record: &Record) -> Option<Key> {
        let at = match record.state {
            State::Held => record.hold.as_ref().map_or(record.created, |hold| hold.deadline),
            State::Approved => {
                record.approval.as_ref().map_or(record.created, |approval| approval.until)
            }
            State::Submitted { lease, .. } => lease,
            // When the next search for its outcome is due.
            State::Unknown | State::Done { outcome: Outcome::Accepted } => {
                record.look.map_or(record.created, |look| look.next)
            }
            State::Done { .. } | State::NotSent | State::Refused { .. } => return None,
        };
        Some(join(b'i', &[&[index(record.state)], &early(at), &record.op.0]))
    }
    /// Everything listed in `state` that is due before `at`: from, to.
    pub fn due_before(state: State, at: Timestamp) -> (Key, Key) {
        (join(b'i', &[&[index(state)]]), join(b'i', &[&[index(state)], &early(at)]))
    }
    /// Every operation, newest first.
    pub fn by_time(record: &Record) -> Key {
        join(b'c', &[&late(record.created), &record.op.0])
    }
    /// A tenant's operations, newest first; all of them, without a record.
    pub fn by_tenant(tenant: &str, record: Option<&Record>) -> Key {
        let slot = Slot::of(b't', &[tenant.as_bytes()]);
        match record {
            Some(record) => join(b't', &[&slot.0, &late(record.created), &record.op.0]),
            None => join(b't', &[&slot.0]),
        }
    }
    /// The operation at the end of an index key.
    pub fn operation(key: &[u8]) -> Option<OperationId> {
        key.last_chunk().copied().map(OperationId)
    }
    /// The key after every key that starts with `prefix`.
    pub fn after(prefix: &[u8]) -> Key {
        let mut key = prefix.to_vec();
        while let Some(last) = key.pop() {
            if let Some(next) = last.checked_add(1) {
                key.push(next);
                break;
            }
        }
        key
    }

    fn index(state: State) -> u8 {
        u8::try_from(state.index()).unwrap_or(u8::MAX)
    }
    // Sorts as the moments do.
    fn early(at: Timestamp) -> [u8; 8] {
        (u64::from_ne_bytes(at.0.to_ne_bytes()) ^ (1 << 63)).to_be_bytes()
    }
    // Sorts the other way round.
    fn late(at: Timestamp) -> [u8; 8] {
        early(at).map(|byte| !byte)
    }
}

/// What a store can read.
pub trait Rows {
    /// The row of that key.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn find(&self, key: &[u8]) -> Result<Option<Row>, Fault>;

    /// Shows the rows from `from` up to but not including `to`, in order, until told to stop.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn walk(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault>;
}

/// What looks at each row of a walk.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], Row) -> ControlFlow<()>;

/// Rows to be replaced (`Some`) or removed.
pub type Changes = BTreeMap<Key, Option<Row>>;

/// Rows in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tables(BTreeMap<Key, Row>);

impl Tables {
    /// Replaces and removes rows.
    pub fn apply(&mut self, changes: Changes) {
        for (key, row) in changes {
            match row {
                Some(row) => self.0.insert(key, row),
                None => self.0.remove(&key),
            };
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rows for Tables {
    fn find(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        Ok(self.0.get(key).cloned())
    }

    fn walk(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        if from >= to {
            return Ok(());
        }
        for (key, row) in self.0.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            if visit(key, row.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(key::after(b"ab"), b"ac");
        assert_eq!(key::after(&[b'a', 0xff]), b"b");
    }

    #[test]
    fn no_row_is_listed_before_1970_by_mistake() {
        let (_, early) = key::due_before(State::Held, Timestamp(-1));
        let (_, late) = key::due_before(State::Held, Timestamp(1));
        assert!(early < late);
    }
}

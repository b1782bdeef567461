//! What would a step change? Rows as they are, and over them the rows as they will be.
//!
//! Keeps every index true to its record; never writes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::budget::Ledger;
use crate::store::freeze::Freeze;
use crate::store::record::{Record, Slot, State};
use crate::store::rows::{Alike, Changes, Key, Meta, OnResource, Row, Rows, Same, Visit, key};

/// Rows, and what a step would change of them.
#[derive(Debug)]
pub struct Draft<'r, R: ?Sized> {
    rows: &'r R,
    pending: Changes,
}

/// A row of another kind than its key says: the file was changed by somebody else.
fn torn(what: &str) -> Fault {
    Fault::StoreUnavailable(format!("a row is damaged: {what}"))
}

/// Reads one kind of row.
macro_rules! reads {
    ($($(#[$doc:meta])* $name:ident($id:ident: $type:ty) -> $row:ident($value:ty);)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, $id: $type) -> Result<Option<$value>, Fault> {
            match self.find(&key::$name($id))? {
                None => Ok(None),
                Some(Row::$row(value)) => Ok(Some(value)),
                Some(_) => Err(torn(stringify!($name))),
            }
        }
    )*};
}

impl<'r, R: Rows + ?Sized> Draft<'r, R> {
    /// No change yet.
    pub fn new(rows: &'r R) -> Self {
        Self { rows, pending: BTreeMap::new() }
    }

    /// Everything that changed.
    pub fn changes(self) -> Changes {
        self.pending
    }

    /// A row as it will be.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn find(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        match self.pending.get(key) {
            Some(row) => Ok(row.clone()),
            None => self.rows.find(key),
        }
    }

    reads! {
        /// An operation.
        record(op: OperationId) -> Record(Arc<Record>);
        /// The operation of which that is another name.
        alias(name: OperationId) -> Alias(OperationId);
        /// The operation that made what the vendor calls so.
        made(slot: Slot) -> Alias(OperationId);
        /// The newest operation of calls that ask the same.
        same(slot: Slot) -> Same(Same);
        /// What is known of a resource.
        resource(slot: Slot) -> Resource(OnResource);
    }

    /// A budget; empty when there is none yet.
    pub fn ledger(&self, slot: Slot) -> Result<Ledger, Fault> {
        match self.find(&key::ledger(slot))? {
            None => Ok(Ledger::default()),
            Some(Row::Ledger(ledger)) => Ok(ledger),
            Some(_) => Err(torn("ledger")),
        }
    }

    /// Effects that are like each other.
    pub fn alikes(&self, slot: Slot) -> Result<Vec<Alike>, Fault> {
        match self.find(&key::alikes(slot))? {
            None => Ok(Vec::new()),
            Some(Row::Alikes(alikes)) => Ok(alikes),
            Some(_) => Err(torn("alikes")),
        }
    }

    /// How many calls of somebody wait for people.
    pub fn crowd(&self, slot: Slot) -> Result<u64, Fault> {
        self.number(&key::crowd(slot))
    }

    /// When a rate has all its room again, in microseconds.
    pub fn rate(&self, slot: Slot) -> Result<u64, Fault> {
        self.number(&key::rate(slot))
    }

    fn number(&self, key: &[u8]) -> Result<u64, Fault> {
        match self.find(key)? {
            None => Ok(0),
            Some(Row::Count(count)) => Ok(count),
            Some(_) => Err(torn("number")),
        }
    }

    /// What there is one of.
    pub fn meta(&self) -> Result<Meta, Fault> {
        match self.find(&key::meta())? {
            None => Ok(Meta::default()),
            Some(Row::Meta(meta)) => Ok(meta),
            Some(_) => Err(torn("meta")),
        }
    }

    /// Every freeze.
    pub fn freezes(&self) -> Result<Vec<Freeze>, Fault> {
        let mut found = Vec::new();
        let from = key::freeze("");
        self.rows.walk(&from, &key::after(&from), &mut |_, row| {
            if let Row::Freeze(freeze) = row {
                found.push(freeze);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The operations listed in `state` and due before `at`, `limit` at most.
    pub fn due(
        &self,
        state: State,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<Arc<Record>>, Fault> {
        let (from, to) = key::due_before(state, at);
        self.listed(&from, &to, limit)
    }

    /// The operations that an index lists from `from` to `to`, `limit` at most.
    pub fn listed(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        let mut names = Vec::new();
        self.rows.walk(from, to, &mut |key, _| {
            names.extend(key::operation(key));
            if names.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let records = names.into_iter().map(|op| self.record(op));
        records.filter_map(Result::transpose).collect()
    }

    /// Shows the rows as they were before this step.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn walk(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        self.rows.walk(from, to, visit)
    }

    /// Sets a row, or removes it.
    pub fn put(&mut self, key: Key, row: Option<Row>) {
        self.pending.insert(key, row);
    }

    /// Sets what there is one of.
    pub fn put_meta(&mut self, meta: Meta) {
        self.put(key::meta(), Some(Row::Meta(meta)));
    }

    /// Sets a budget; an empty one needs no row.
    pub fn put_ledger(&mut self, slot: Slot, ledger: Ledger) {
        let row = (!ledger.is_empty()).then_some(Row::Ledger(ledger));
        self.put(key::ledger(slot), row);
    }

    /// Sets a list of effects that are like each other.
    pub fn put_alikes(&mut self, slot: Slot, alikes: Vec<Alike>) {
        let row = (!alikes.is_empty()).then_some(Row::Alikes(alikes));
        self.put(key::alikes(slot), row);
    }

    /// Writes an operation and every index that names it.
    pub fn put_record(&mut self, old: Option<&Record>, new: Record) -> Result<Arc<Record>, Fault> {
        let new = Arc::new(new);
        self.recount(old.map(|old| old.state), Some(new.state))?;
        self.recrowd(old, Some(&new))?;
        for index in [key::due, key::post, key::waiting] {
            let (was, is) = (old.and_then(index), index(&new));
            if was != is {
                was.into_iter().for_each(|key| self.put(key, None));
                is.into_iter().for_each(|key| self.put(key, Some(Row::Mark)));
            }
        }
        if old.is_none() {
            self.put(key::by_time(&new), Some(Row::Mark));
            let tenant = key::by_tenant(&new.about.caller.tenant, Some(&new));
            self.put(tenant, Some(Row::Mark));
        }
        self.put(key::record(new.op), Some(Row::Record(Arc::clone(&new))));
        Ok(new)
    }

    /// Forgets an operation and every row that names it.
    pub fn forget(&mut self, record: &Record) -> Result<(), Fault> {
        self.recount(Some(record.state), None)?;
        self.recrowd(Some(record), None)?;
        let named = [
            key::record(record.op),
            key::request(record.op),
            key::answer(record.op),
            key::by_time(record),
            key::by_tenant(&record.about.caller.tenant, Some(record)),
        ];
        let indexes = [key::due, key::post, key::waiting];
        let indexed = indexes.into_iter().filter_map(|index| index(record));
        named.into_iter().chain(indexed).for_each(|key| self.put(key, None));
        if self.same(record.same)?.is_some_and(|same| same.op == record.op) {
            self.put(key::same(record.same), None);
        }
        if let Some(slot) = record.made.as_ref().map(|made| record.about.made(made))
            && self.made(slot)? == Some(record.op)
        {
            self.put(key::made(slot), None);
        }
        let mut names = Vec::new();
        let from = key::alias_of(record.op, None);
        self.rows.walk(&from, &key::after(&from), &mut |key, _| {
            names.extend(key::operation(key));
            ControlFlow::Continue(())
        })?;
        for name in names {
            self.put(key::alias(name), None);
            self.put(key::alias_of(record.op, Some(name)), None);
        }
        Ok(())
    }

    /// Counts what waits for people, by whose it is.
    fn recrowd(&mut self, old: Option<&Record>, new: Option<&Record>) -> Result<(), Fault> {
        let is_held = |record: &&Record| record.state == State::Held;
        let (was, is) = (old.filter(is_held), new.filter(is_held));
        let Some(record) = was.xor(is) else { return Ok(()) };
        for slot in record.crowds() {
            let count = self.crowd(slot)?;
            let count =
                if is.is_some() { count.saturating_add(1) } else { count.saturating_sub(1) };
            self.put(key::crowd(slot), (count > 0).then_some(Row::Count(count)));
        }
        Ok(())
    }

    fn recount(&mut self, old: Option<State>, new: Option<State>) -> Result<(), Fault> {
        if old.map(|s| s.index()) == new.map(|s| s.index()) {
            return Ok(());
        }
        let mut meta = self.meta()?;
        meta.counts.resize(State::NAMES.len(), 0);
        if let Some(count) = old.and_then(|state| meta.counts.get_mut(state.index())) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = new.and_then(|state| meta.counts.get_mut(state.index())) {
            *count = count.saturating_add(1);
        }
        self.put_meta(meta);
        Ok(())
    }
}

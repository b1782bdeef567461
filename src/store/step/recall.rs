//! Is it known already: by its key, or as the same again?

use std::sync::Arc;

use crate::bounds::{SAME_WINDOW, UNCOLLECTED_WINDOW};
use crate::call::OperationId;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::record::{ALIASES_MAX, Name, Record, State, StoredAnswer};
use crate::store::rows::{Row, Rows, key};
use crate::store::step::{Now, ripen};

/// What the store knows of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled {
    /// Nothing: it goes on under this name.
    Fresh {
        /// The name.
        op: OperationId,
        /// For [`Reserve::seen`](crate::store::Reserve::seen). Facts are to be read after this.
        seen: u64,
    },
    /// The key names another request.
    Mismatch(OperationId),
    /// All of it.
    Known(Known),
}

/// An operation that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What is kept of it.
    pub record: Arc<Record>,
    /// How it was found.
    pub how: How,
    /// What came back, where it is kept.
    pub answer: Option<StoredAnswer>,
}

/// How an operation was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// By its own key.
    Own,
    /// It is the same again: without a key, or under another one.
    Same,
}

/// What a name leads to.
pub(super) enum Found {
    Mismatch(OperationId),
    /// `alias`: the name it was asked by this time, when that is new.
    Known {
        record: Arc<Record>,
        how: How,
        alias: Option<OperationId>,
    },
    /// `ordinal`: how many came without a key, this one included.
    New {
        op: OperationId,
        ordinal: u32,
    },
}

pub(super) fn find<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    name: &Name,
    now: Now,
) -> Result<Found, Fault> {
    let own = name.key.as_ref().map(|_| name.operation(0));
    if let Some(own) = own
        && let Some(record) = by_name(draft, own)?
    {
        // INVARIANT: I10, a mismatch never executes.
        if record.about.fingerprint != name.fingerprint {
            return Ok(Found::Mismatch(record.op));
        }
        let how = if record.op == own { How::Own } else { How::Same };
        let record = ripen(draft, record, now)?;
        return Ok(Found::Known { record, how, alias: None });
    }
    let same = draft.same(name.same())?;
    if let Some(same) = same
        && let Some(record) = draft.record(same.op)?
    {
        let record = ripen(draft, record, now)?;
        if is_joined(&record, now) {
            return Ok(Found::Known { record, how: How::Same, alias: own });
        }
    }
    let asked = same.map_or(0, |same| same.ordinal);
    let next = asked.saturating_add(1);
    Ok(match own {
        Some(op) => Found::New { op, ordinal: asked },
        None => Found::New { op: name.operation(next), ordinal: next },
    })
}

fn by_name<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    name: OperationId,
) -> Result<Option<Arc<Record>>, Fault> {
    if let Some(record) = draft.record(name)? {
        return Ok(Some(record));
    }
    match draft.alias(name)? {
        Some(op) => draft.record(op),
        None => Ok(None),
    }
}

/// Whether the same again, under another key or none, is this operation.
fn is_joined(record: &Record, now: Now) -> bool {
    if record.state.is_open() {
        return true;
    }
    let end = record.settled.unwrap_or(record.created);
    let uncollected = match record.state {
        State::Done { .. } | State::Refused { .. } => !record.collected,
        State::NotSent
        | State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Unknown => false,
    };
    // By the clock that ran: one that was set forward makes nothing of it older.
    end >= now.edge(SAME_WINDOW) || (uncollected && end >= now.edge(UNCOLLECTED_WINDOW))
}

pub(super) fn recall<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    name: &Name,
    now: Now,
) -> Result<Recalled, Fault> {
    match find(draft, name, now)? {
        Found::Mismatch(op) => Ok(Recalled::Mismatch(op)),
        Found::New { op, .. } => Ok(Recalled::Fresh { op, seen: draft.meta()?.settled }),
        // Nothing left: it runs again, as the operation it is.
        Found::Known { record, .. } if record.state == State::NotSent => {
            Ok(Recalled::Fresh { op: record.op, seen: draft.meta()?.settled })
        }
        Found::Known { record, how, alias } => {
            Ok(Recalled::Known(known(draft, record, (how, alias), now)?))
        }
    }
}

/// Answers with an operation that is known, and notes that it was asked again.
pub(super) fn known<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    old: Arc<Record>,
    (how, alias): (How, Option<OperationId>),
    now: Now,
) -> Result<Known, Fault> {
    let mut new = (*old).clone();
    join(draft, &mut new, alias);
    match new.state {
        State::Held => {
            if let Some(hold) = &mut new.hold {
                hold.joined = hold.joined.saturating_add(1);
            }
        }
        State::Done { .. } | State::Refused { .. } => new.collected = true,
        State::Approved | State::Submitted { .. } | State::Unknown | State::NotSent => {}
    }
    if new == *old {
        return Ok(Known { record: old, how, answer: None });
    }
    new.updated = now.at;
    let record = draft.put_record(Some(&old), new)?;
    Ok(Known { record, how, answer: None })
}

/// Keeps another name of an operation.
pub(super) fn join<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &mut Record,
    alias: Option<OperationId>,
) {
    if let Some(alias) = alias
        && alias != record.op
        && record.aliases < ALIASES_MAX
    {
        record.aliases = record.aliases.saturating_add(1);
        draft.put(key::alias(alias), Some(Row::Alias(record.op)));
        draft.put(key::alias_of(record.op, Some(alias)), Some(Row::Mark));
    }
}

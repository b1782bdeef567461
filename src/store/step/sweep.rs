//! What is over? Leases, holds, and what was kept long enough.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::bounds::{KEEP_DONE, KEEP_FINANCIAL, WITHIN_MAX};
use crate::call::Class;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::freeze::Stops;
use crate::store::record::{AnswerKept, Record, State, Token};
use crate::store::rows::{Key, Row, Rows, key};
use crate::store::step::{Now, claim, ripen, unknown};

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The operations that came to an end, or are unknown now.
    pub changed: Vec<Arc<Record>>,
    /// Where the next sweep goes on.
    pub cursor: Key,
}

/// BOUND: operations that one sweep ends; the next sweep takes the rest.
const DUE_MAX: usize = 256;
/// The kinds of rows that have an end of keeping, in the order of their keys.
const KINDS: [u8; 6] = *b"fglmor";
/// What is listed in these states is looked at by every sweep.
const TIMED: [State; 3] =
    [State::Held, State::Approved, State::Submitted { token: Token(0), lease: Timestamp(0) }];

pub(super) fn sweep<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    cursor: &Key,
    rows: usize,
    now: Now,
) -> Result<Swept, Fault> {
    let mut changed = Vec::new();
    for state in TIMED {
        // Due at this very moment is over, too.
        let before = Timestamp(now.at.0.saturating_add(1));
        for record in draft.due(state, before, DUE_MAX)? {
            changed.push(ripen(draft, record, now)?);
        }
    }
    let cursor = retain(draft, cursor, rows, now)?;
    Ok(Swept { changed, cursor })
}

/// The process that submitted these is gone: nobody will write their outcome.
pub(super) fn restarted<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    now: Now,
) -> Result<Swept, Fault> {
    let submitted = State::Submitted { token: Token(0), lease: Timestamp(0) };
    let records = draft.due(submitted, Timestamp(i64::MAX), usize::MAX)?;
    let why = "the process ended while it was sent, the outcome is unknown";
    let changed = records.iter().map(|record| unknown(draft, record, why, now));
    Ok(Swept { changed: changed.collect::<Result<_, _>>()?, cursor: Key::new() })
}

/// Looks at some rows from `cursor` on and lets go of what was kept long enough: a little every time,
/// so that no sweep takes long and no index is needed.
fn retain<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    cursor: &Key,
    rows: usize,
    now: Now,
) -> Result<Key, Fault> {
    let mut seen: Vec<(Key, Row)> = Vec::new();
    for kind in KINDS {
        let from = cursor.clone().max(vec![kind]);
        draft.walk(&from, &key::after(&[kind]), &mut |key, row| {
            seen.push((key.to_vec(), row));
            if seen.len() < rows { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if seen.len() >= rows {
            break;
        }
    }
    let next = match seen.last() {
        Some((last, _)) if seen.len() >= rows => [last.as_slice(), &[0]].concat(),
        Some(_) | None => Key::new(),
    };
    for (key, _) in seen {
        // As this step has left it: what just ended has given its room back already.
        if let Some(row) = draft.find(&key)? {
            keep_or_drop(draft, key, row, now)?;
        }
    }
    Ok(next)
}

fn keep_or_drop<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    key: Key,
    row: Row,
    now: Now,
) -> Result<(), Fault> {
    match row {
        Row::Record(record) => return keep_record(draft, &record, now),
        // That a brake was released is put on record by whoever looks at brakes.
        Row::Freeze(freeze)
            if freeze.stops != Stops::Held && freeze.until.is_some_and(|until| until <= now.at) =>
        {
            draft.put(key, None);
        }
        Row::Resource(on) if on.open.is_none() && now.at.since(on.at) > KEEP_DONE => {
            draft.put(key, None);
        }
        Row::Ledger(mut ledger) => {
            let before = ledger.spent.len();
            ledger.prune(now.edge(ledger.keeps()));
            if ledger.spent.len() != before {
                let row = (!ledger.is_empty()).then_some(Row::Ledger(ledger));
                draft.put(key, row);
            }
        }
        Row::Alikes(mut alikes) => {
            let before = alikes.len();
            let edge = now.edge(WITHIN_MAX);
            // One that may still happen counts however old it is.
            let mut kept = Vec::with_capacity(before);
            for alike in alikes {
                let open = draft.record(alike.op)?.is_some_and(|record| record.state.is_open());
                if open || alike.at >= edge {
                    kept.push(alike);
                }
            }
            alikes = kept;
            if alikes.len() != before {
                draft.put(key, (!alikes.is_empty()).then_some(Row::Alikes(alikes)));
            }
        }
        // A rate that has all its room again needs no row.
        Row::Count(full_at)
            if key.first() == Some(&b'g')
                && i64::try_from(full_at).unwrap_or(i64::MAX) <= now.at.0.saturating_mul(1000) =>
        {
            draft.put(key, None);
        }
        Row::Freeze(_)
        | Row::Resource(_)
        | Row::Sealed(_)
        | Row::Alias(_)
        | Row::Same(_)
        | Row::Mark
        | Row::Count(_)
        | Row::Meta(_) => {}
    }
    Ok(())
}

fn keep_record<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &Arc<Record>,
    now: Now,
) -> Result<(), Fault> {
    let Some(age) = record.settled.map(|end| now.at.since(end)) else {
        return Ok(());
    };
    if record.state.is_open() || claim::is_sought(record) {
        return Ok(());
    }
    let keep = match record.about.class {
        Class::Financial => KEEP_FINANCIAL,
        Class::Read | Class::Write | Class::Communication => KEEP_DONE,
    };
    if age > keep {
        return draft.forget(record);
    }
    if age > KEEP_DONE && record.answer == AnswerKept::Kept {
        let mut new = (**record).clone();
        new.answer = AnswerKept::Gone;
        draft.put(key::answer(new.op), None);
        draft.put_record(Some(record), new)?;
    }
    Ok(())
}

//! What if the store lost what it knew? It is begun anew, gets back what was about to be sent, and says
//! so until a person has seen to it.

use std::sync::Arc;

use crate::call::Class;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::record::{AnswerKept, Charged, Record, State};
use crate::store::rows::{Row, Rows, Same, key};
use crate::store::step::{Now, Open, reserve_room, touch};

/// What becomes of a store as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Epoch {
    /// It is new, and begins.
    Begins,
    /// It lost what it knew, and begins anew.
    Lost,
    /// A person has seen to it.
    Cleared,
}

pub(super) fn epoch<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    epoch: Epoch,
    now: Now,
) -> Result<(), Fault> {
    let mut meta = draft.meta()?;
    match epoch {
        Epoch::Begins => meta.epoch = meta.epoch.max(1),
        Epoch::Lost => {
            meta.epoch = meta.epoch.saturating_add(1);
            meta.lost = Some(now.at);
        }
        Epoch::Cleared => meta.lost = None,
    }
    draft.put_meta(meta);
    Ok(())
}

/// Puts back what was about to be sent: it may have happened. False when it is known already.
pub(super) fn restore<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &Record,
    now: Now,
) -> Result<bool, Fault> {
    if draft.record(record.op)?.is_some() || draft.alias(record.op)?.is_some() {
        return Ok(false);
    }
    let mut new = Record {
        state: State::Unknown,
        hold: None,
        approval: None,
        charged: Charged::Freed,
        answer: AnswerKept::None,
        look: None,
        settled: None,
        letters: Vec::new(),
        ..record.clone()
    };
    new.note(now.at, "put back from the record on disk: the store had lost it", "");
    reserve_room(draft, &mut new, now)?;
    let is_free = match new.on {
        Some(slot) => draft.resource(slot)?.is_none_or(|on| on.open.is_none()),
        None => false,
    };
    if new.about.class == Class::Financial && is_free {
        touch(draft, &new, Open::Set, now)?;
    }
    if draft.same(new.same)?.is_none() {
        let same = Same { op: new.op, ordinal: 1, at: now.at };
        draft.put(key::same(new.same), Some(Row::Same(same)));
    }
    let _kept: Arc<Record> = draft.put_record(None, new)?;
    Ok(true)
}

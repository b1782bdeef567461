//! What becomes of an operation? One pure step: rows as they are and one event give the rows as they
//! will be and an answer.
//!
//! Every store and the model test run exactly this. Never reads a clock, never draws a random number,
//! never waits: what it needs comes in with the event.

mod answer;
pub(in crate::store) mod brakes;
mod claim;
mod crowd;
mod freezing;
mod post;
pub(in crate::store) mod rates;
pub(in crate::store) mod reasons;
mod recall;
pub(in crate::store) mod reserve;
mod restore;
pub(in crate::store) mod room;
mod settle;
mod sweep;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::answer::{Answered, HoldAnswer, Say};
pub use self::claim::{Claim, Claimed, Try};
pub use self::crowd::Whose;
pub use self::post::{Post, Posted, Word};
pub use self::recall::{How, Known, Recalled};
pub use self::reserve::{Blocked, Grant, Reserved};
pub use self::restore::Epoch;
pub use self::settle::{AnswerIn, Settle, Settled, Witness};
pub use self::sweep::Swept;

use crate::bounds::{KEEP_DONE, WITHIN_MAX};
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::{Code, Fault};
use crate::store::ask::Reserve;
use crate::store::draft::Draft;
use crate::store::freeze::{Freeze, Lift};
use crate::store::hold::News;
use crate::store::record::{About, Charged, Name, Record, Slot, State};
use crate::store::rows::{Alike, Changes, Key, OnResource, Row, Rows, key};
use crate::store::tally::Tally;

/// The moment of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Now {
    /// The store's own time: it never goes back.
    pub at: Timestamp,
    /// The last leap of the clock.
    pub jump: Jump,
}

/// A clock that was set forward by more than a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Jump {
    /// The moment after it.
    pub at: Timestamp,
    /// How far, in milliseconds.
    pub by: i64,
}

impl Now {
    /// Where a window that ends now begins. A leap of the clock inside it empties no budget: the window
    /// reaches back as much further.
    pub fn edge(&self, within: Duration) -> Timestamp {
        let edge = self.at.minus(within);
        if self.jump.by > 0 && self.jump.at >= edge {
            return Timestamp(edge.0.saturating_sub(self.jump.by));
        }
        edge
    }

    /// When a moment will have left a window: the other way round of [`Now::edge`].
    pub fn leaves(&self, last: Timestamp, within: Duration) -> Timestamp {
        let leapt = self.jump.by > 0 && self.jump.at > last;
        let ahead = Timestamp(last.0.saturating_add(self.jump.by)).min(self.jump.at);
        let last = if leapt { ahead } else { last };
        // The edge itself still counts.
        Timestamp(last.plus(within).0.saturating_add(1))
    }
}

/// What happens to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Is this known already?
    Recall(Name),
    /// May this be sent? And for which operation its request was sealed.
    Reserve(Box<Reserve>, Option<OperationId>),
    /// This is what became of it.
    Settle(Box<Settle>),
    /// A person, the agent or the gate answers a hold.
    Answer(Box<HoldAnswer>),
    /// The agent has its answer.
    Collected(OperationId),
    /// Somebody outside is told of it.
    Post(Box<Post>),
    /// Stop this.
    Freeze(Box<Freeze>),
    /// No longer stop that; of a brake it is remembered for so long that it was.
    Unfreeze(Box<str>, Duration, Lift),
    /// So much happened, of a tenant's.
    Tally(Box<str>, Vec<Tally>),
    /// May I look for its outcome?
    Claim(Box<Claim>),
    /// The store is new, or was lost.
    Epoch(Epoch),
    /// This was about to be sent when the store was lost.
    Restore(Arc<Record>),
    /// Let go of what is over; the retention goes on from a cursor, so many rows.
    Sweep(Key, usize),
    /// The process that had the store is gone: what it had submitted is unknown.
    Restarted,
}

/// What a store answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Event::Recall`].
    Recalled(Recalled),
    /// To [`Event::Reserve`].
    Reserved(Reserved),
    /// To [`Event::Settle`].
    Settled(Settled),
    /// To [`Event::Answer`].
    Answered(Answered),
    /// To [`Event::Claim`].
    Claimed(Claimed),
    /// To [`Event::Post`].
    Posted(Posted),
    /// To [`Event::Restore`]: whether it had to be.
    Restored(bool),
    /// To [`Event::Unfreeze`]: what was lifted. To [`Event::Freeze`]: what had its number before.
    Lifted(Option<Freeze>),
    /// To [`Event::Tally`]: the totals, in order.
    Tallied(Vec<i64>),
    /// To [`Event::Sweep`] and [`Event::Restarted`].
    Swept(Swept),
    /// To the others.
    Noted,
}

/// One step.
///
/// # Errors
///
/// When a row cannot be read; then nothing is to be changed.
pub fn step<R: Rows + ?Sized>(
    rows: &R,
    event: &Event,
    now: Now,
) -> Result<(Reply, Changes), Fault> {
    let mut draft = Draft::new(rows);
    let reply = match event {
        Event::Recall(name) => Reply::Recalled(recall::recall(&mut draft, name, now)?),
        Event::Reserve(ask, sealed_for) => {
            Reply::Reserved(reserve::reserve(&mut draft, (ask, *sealed_for), now)?)
        }
        Event::Settle(end) => Reply::Settled(settle::settle(&mut draft, end, now)?),
        Event::Answer(said) => Reply::Answered(answer::answer(&mut draft, said, now)?),
        Event::Claim(ask) => Reply::Claimed(claim::claim(&mut draft, ask, now)?),
        Event::Epoch(change) => {
            restore::epoch(&mut draft, *change, now)?;
            Reply::Noted
        }
        Event::Restore(record) => Reply::Restored(restore::restore(&mut draft, record, now)?),
        Event::Post(post) => Reply::Posted(post::post(&mut draft, post, now)?),
        Event::Collected(op) => collected(&mut draft, *op, now)?,
        Event::Freeze(freeze) => Reply::Lifted(freezing::freeze(&mut draft, freeze, now)?),
        Event::Unfreeze(id, keep, lift) => {
            Reply::Lifted(freezing::lift(&mut draft, (id, *keep, *lift), now)?)
        }
        Event::Tally(tenant, all) => Reply::Tallied(tally::tally(&mut draft, (tenant, all), now)?),
        Event::Sweep(cursor, rows) => Reply::Swept(sweep::sweep(&mut draft, cursor, *rows, now)?),
        Event::Restarted => Reply::Swept(sweep::restarted(&mut draft, now)?),
    };
    Ok((reply, draft.changes()))
}

fn collected<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    op: OperationId,
    now: Now,
) -> Result<Reply, Fault> {
    if let Some(old) = draft.record(op)?
        && !old.collected
    {
        let mut new = (*old).clone();
        new.collected = true;
        new.updated = now.at;
        draft.put_record(Some(&old), new)?;
    }
    Ok(Reply::Noted)
}

/// Whether the time of an open operation is over.
fn is_over(record: &Record, now: Now) -> bool {
    match record.state {
        State::Held => record.hold.as_ref().is_none_or(|hold| hold.deadline <= now.at),
        State::Approved => record.approval.as_ref().is_none_or(|yes| yes.until <= now.at),
        State::Submitted { lease, .. } => lease <= now.at,
        State::Unknown | State::Done { .. } | State::NotSent | State::Refused { .. } => false,
    }
}

/// The freeze that stops an operation, if one does.
fn freeze_on<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    about: &About,
    now: Now,
) -> Result<Option<Freeze>, Fault> {
    let subject = about.subject();
    Ok(draft.freezes()?.into_iter().find(|freeze| freeze.stops(&subject, now.at)))
}

/// Lets time have its effect on an operation: whoever looks at it sees the same, swept or not.
fn ripen<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: Arc<Record>,
    now: Now,
) -> Result<Arc<Record>, Fault> {
    if !is_over(&record, now) {
        return Ok(record);
    }
    if record.state.is_in_flight() {
        return unknown(draft, &record, "the lease is over, the outcome is unknown", now);
    }
    refuse(draft, &record, Code::ApprovalExpired, ("nobody answered in time", ""), now)
}

/// It may have happened: budget and resource stay taken.
fn unknown<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    old: &Arc<Record>,
    why: &str,
    now: Now,
) -> Result<Arc<Record>, Fault> {
    let mut new = (**old).clone();
    new.state = State::Unknown;
    new.note(now.at, why, "");
    touch(draft, &new, Open::Keep, now)?;
    draft.put_record(Some(old), new)
}

/// We said no after a hold: nothing was sent, nothing stays taken.
fn refuse<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    old: &Arc<Record>,
    code: Code,
    (why, by): (&str, &str),
    now: Now,
) -> Result<Arc<Record>, Fault> {
    let mut new = (**old).clone();
    free(draft, &mut new, now)?;
    new.state = State::Refused { code };
    new.reason = why.into();
    new.settled = Some(now.at);
    new.collected = false;
    new.note(now.at, format!("refused: {why}"), by);
    new.tell(News::Answered, now.at);
    draft.put(key::request(new.op), None);
    draft.put_record(Some(old), new)
}

/// What becomes of a resource's one open financial effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Keep,
    Clear,
    Set,
}

/// What is known of a resource. What nobody moved for long enough is not, swept or not.
fn resource<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    slot: Slot,
    now: Now,
) -> Result<Option<OnResource>, Fault> {
    let over = |on: &OnResource| on.open.is_none() && now.at.since(on.at) > KEEP_DONE;
    Ok(draft.resource(slot)?.filter(|on| !over(on)))
}

/// The resource moved, or is about to.
fn touch<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &Record,
    open: Open,
    now: Now,
) -> Result<(), Fault> {
    let Some(slot) = record.on else {
        return Ok(());
    };
    let mut meta = draft.meta()?;
    let empty = OnResource { open: None, moved: 0, at: now.at };
    let mut on = resource(draft, slot, now)?.unwrap_or(empty);
    on.at = now.at;
    match open {
        Open::Set => on.open = Some(record.op),
        Open::Keep | Open::Clear => {
            meta.settled = meta.settled.saturating_add(1);
            on.moved = meta.settled;
            draft.put_meta(meta);
            if open == Open::Clear && on.open == Some(record.op) {
                on.open = None;
            }
        }
    }
    draft.put(key::resource(slot), Some(Row::Resource(on)));
    Ok(())
}

/// Gives back the room it took.
fn free<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &mut Record,
    now: Now,
) -> Result<(), Fault> {
    for charge in &record.charges {
        let mut ledger = draft.ledger(charge.slot)?;
        match record.charged {
            Charged::Open => ledger.release(record.op, charge.unit),
            // What left every window is not there to be taken back: what is, is somebody else's.
            Charged::Spent { at } if at < now.edge(WITHIN_MAX) => {}
            Charged::Spent { at } => ledger.unspend(charge.unit, charge.count, at),
            Charged::Freed => {}
        }
        draft.put_ledger(charge.slot, ledger);
    }
    record.charged = Charged::Freed;
    if let Some(slot) = record.alike {
        let mut alikes = draft.alikes(slot)?;
        alikes.retain(|alike| alike.op != record.op);
        draft.put_alikes(slot, alikes);
    }
    Ok(())
}

/// Reserves the room it needs, whatever it had before.
fn reserve_room<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &mut Record,
    now: Now,
) -> Result<(), Fault> {
    for charge in &record.charges {
        let mut ledger = draft.ledger(charge.slot)?;
        ledger.prune(now.edge(WITHIN_MAX));
        ledger.reserve(record.op, charge.unit, charge.count);
        draft.put_ledger(charge.slot, ledger);
    }
    record.charged = Charged::Open;
    list_alike(draft, record, now)
}

/// The room it reserved is used; the window starts now.
fn spend<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &mut Record,
    now: Now,
) -> Result<(), Fault> {
    if let Charged::Spent { .. } = record.charged {
        return Ok(());
    }
    for charge in &record.charges {
        let mut ledger = draft.ledger(charge.slot)?;
        ledger.release(record.op, charge.unit);
        ledger.spend(charge.unit, charge.count, now.at);
        draft.put_ledger(charge.slot, ledger);
    }
    record.charged = Charged::Spent { at: now.at };
    list_alike(draft, record, now)
}

/// BOUND: effects of one kind, on one resource, of one account in a month; past it the oldest is left
/// out. All but the first of them were held.
const ALIKES_MAX: usize = 256;

fn list_alike<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    record: &Record,
    now: Now,
) -> Result<(), Fault> {
    let Some(slot) = record.alike else {
        return Ok(());
    };
    let mut alikes = draft.alikes(slot)?;
    alikes.retain(|alike| alike.op != record.op);
    if alikes.len() >= ALIKES_MAX {
        alikes.remove(0);
    }
    let minor = record.about.amount.map(|amount| amount.minor);
    alikes.push(Alike { op: record.op, minor, at: now.at });
    draft.put_alikes(slot, alikes);
    Ok(())
}

/// Keeps what the sweep needs to send it; sealed bytes.
fn keep_request<R: Rows + ?Sized>(draft: &mut Draft<'_, R>, op: OperationId, request: &Bytes) {
    if !request.is_empty() {
        draft.put(key::request(op), Some(Row::Sealed(request.clone())));
    }
}

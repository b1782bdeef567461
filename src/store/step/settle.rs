//! What became of it? The first attempt's outcome, a late one, a person's word.

use std::sync::Arc;

use bytes::Bytes;

use crate::call::{OperationId, Outcome};
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::hold::News;
use crate::store::record::{AnswerKept, Record, State, Token};
use crate::store::rows::{Row, Rows, key};
use crate::store::step::{Now, Open, claim, free, ripen, spend, touch, unknown};

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// Which.
    pub op: OperationId,
    /// Who says so.
    pub by: Witness,
    /// What the upstream did.
    pub outcome: Outcome,
    /// The upstream's status.
    pub status: Option<u16>,
    /// The upstream's own name of the request.
    pub request_id: Option<Box<str>>,
    /// What came back; sealed by the store.
    pub answer: AnswerIn,
    /// The vendor's own name of what it made.
    pub made: Option<Box<str>>,
    /// Whether the agent is there to take it.
    pub collected: bool,
    /// One line for the timeline: `upstream closed before an answer`.
    pub note: Box<str>,
}

/// Who knows what became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// The first attempt whose bytes may have left.
    First(Token),
    /// A later attempt, of the same bytes under the same key.
    Resend(Token),
    /// A look-up in the system of record, by whoever claimed the search.
    Lookup(Token),
    /// A person who looked.
    Person(Box<str>),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerIn {
    /// Nothing.
    None,
    /// This, to be kept for replays.
    Keep(Bytes),
    /// Something that is too large to keep.
    TooLarge,
}

/// What a settling comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is written down.
    Ok(Arc<Record>),
    /// Not from this witness any more: this is how it stands.
    Fenced(Arc<Record>),
    /// There is no such operation.
    Lost,
}

pub(super) fn settle<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    end: &Settle,
    now: Now,
) -> Result<Settled, Fault> {
    let Some(old) = draft.record(end.op)? else {
        return Ok(Settled::Lost);
    };
    let old = ripen(draft, old, now)?;
    if asked_twice(&old, end) {
        return Ok(Settled::Ok(old));
    }
    if let (Witness::Lookup(token), Outcome::Unknown) = (&end.by, end.outcome) {
        let noted = claim::no_answer(draft, &old, (*token, &end.note), now)?;
        return Ok(noted.map_or(Settled::Fenced(old), Settled::Ok));
    }
    if !may_settle(&old, end) || !is_its_own(draft, &old, end)? {
        return Ok(Settled::Fenced(old));
    }
    if end.outcome == Outcome::Unknown {
        let why = format!("the outcome is unknown: {}", end.note);
        return Ok(Settled::Ok(unknown(draft, &old, &why, now)?));
    }
    let mut new = (*old).clone();
    let words = match end.outcome {
        Outcome::Succeeded | Outcome::Accepted => {
            // INVARIANT: I5-I7, a success on what was proved not to have happened takes its room again.
            let surprise = !old.state.is_in_flight()
                && old.state != State::Done { outcome: Outcome::Accepted };
            new.contradiction |= surprise;
            spend(draft, &mut new, now)?;
            new.state = State::Done { outcome: end.outcome };
            if surprise { "contradiction: it did happen" } else { end.outcome.name() }
        }
        Outcome::Rejected => {
            free(draft, &mut new, now)?;
            new.state = State::Done { outcome: Outcome::Rejected };
            end.outcome.name()
        }
        Outcome::NotSent => {
            free(draft, &mut new, now)?;
            new.state = State::NotSent;
            end.outcome.name()
        }
        Outcome::Unknown => "unknown",
    };
    finish(draft, end, &mut new, words, now);
    touch(draft, &new, Open::Clear, now)?;
    Ok(Settled::Ok(draft.put_record(Some(&old), new)?))
}

/// The same settling again, because its answer was lost.
fn asked_twice(old: &Record, end: &Settle) -> bool {
    let own = match &end.by {
        Witness::First(token) | Witness::Resend(token) => old.last_token() == Some(*token),
        // What it found changed the state, or it goes on.
        Witness::Lookup(token) => {
            let own = old.look.is_some_and(|look| look.token == *token);
            own && end.outcome != Outcome::Unknown
        }
        Witness::Person(_) => false,
    };
    let there = match old.state {
        State::Done { outcome } => outcome == end.outcome,
        State::NotSent => end.outcome == Outcome::NotSent,
        State::Unknown => end.outcome == Outcome::Unknown,
        State::Held | State::Approved | State::Submitted { .. } | State::Refused { .. } => false,
    };
    own && there
}

/// Whether this witness may write this outcome over that state.
fn may_settle(old: &Record, end: &Settle) -> bool {
    let (token, first) = match &end.by {
        Witness::First(token) => (*token, true),
        Witness::Resend(token) => (*token, false),
        // INVARIANT: only the newest claim speaks, and only of what is still sought.
        Witness::Lookup(token) => {
            return old.look.is_some_and(|look| look.token == *token) && may_end(old, end.outcome);
        }
        // A person answers only what nobody else knows.
        Witness::Person(_) => return may_end(old, end.outcome),
    };
    // SECURITY: only what was once granted may speak at all.
    if !old.attempts.iter().any(|attempt| attempt.token == token) {
        return false;
    }
    match (old.state, end.outcome) {
        // A success is a fact, however late it comes and whoever asked.
        (
            State::Held
            | State::Approved
            | State::Submitted { .. }
            | State::Unknown
            | State::NotSent
            | State::Refused { .. }
            | State::Done { outcome: Outcome::Rejected },
            Outcome::Succeeded | Outcome::Accepted,
        )
        | (State::Done { outcome: Outcome::Accepted }, Outcome::Succeeded) => true,
        // INVARIANT: a no counts only from the first attempt whose bytes may have left, under a valid
        // token. The no of a resend may be the vendor's answer to a first one that it did take.
        (State::Submitted { token: own, .. }, Outcome::Rejected | Outcome::NotSent) => {
            first && own == token
        }
        (State::Submitted { token: own, .. }, Outcome::Unknown) => own == token,
        // What the vendor said was pending came to nothing.
        (State::Done { outcome: Outcome::Accepted }, Outcome::Rejected) => {
            old.last_token() == Some(token)
        }
        (
            State::Held
            | State::Approved
            | State::Unknown
            | State::Done { .. }
            | State::NotSent
            | State::Refused { .. },
            Outcome::Succeeded
            | Outcome::Accepted
            | Outcome::Rejected
            | Outcome::NotSent
            | Outcome::Unknown,
        ) => false,
    }
}

/// Whether what is sought may end so, by the word of somebody who looked.
fn may_end(old: &Record, outcome: Outcome) -> bool {
    let found = matches!(outcome, Outcome::Succeeded | Outcome::Rejected);
    match old.state {
        State::Unknown => found || matches!(outcome, Outcome::Accepted | Outcome::NotSent),
        State::Done { outcome: Outcome::Accepted } => found,
        State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Done { .. }
        | State::NotSent
        | State::Refused { .. } => false,
    }
}

/// What a look-up found is no other operation's doing; what the vendor answered is ours whatever it is
/// called.
fn is_its_own<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    old: &Record,
    end: &Settle,
) -> Result<bool, Fault> {
    let Some(made) = end.made.as_ref().filter(|_| names_its_own(end)) else {
        return Ok(true);
    };
    let slot = old.about.made(made);
    match draft.made(slot)? {
        Some(other) if other != old.op => Ok(!matches!(end.by, Witness::Lookup(_))),
        Some(_) => Ok(true),
        None => {
            draft.put(key::made(slot), Some(Row::Alias(old.op)));
            Ok(true)
        }
    }
}

/// Whether what the vendor names was made by this operation. What a look-up found was, also where it
/// came to nothing; a no to a call may name anything.
fn names_its_own(end: &Settle) -> bool {
    match end.outcome {
        Outcome::Succeeded | Outcome::Accepted => true,
        Outcome::Rejected => matches!(end.by, Witness::Lookup(_)),
        Outcome::NotSent | Outcome::Unknown => false,
    }
}

fn finish<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    end: &Settle,
    new: &mut Record,
    words: &str,
    now: Now,
) {
    new.status = end.status.or(new.status);
    new.request_id = end.request_id.clone().or_else(|| new.request_id.take());
    new.made = end.made.clone().filter(|_| names_its_own(end)).or_else(|| new.made.take());
    new.look = None;
    new.settled = Some(now.at);
    new.collected = end.collected;
    if !end.collected {
        new.tell(News::Settled, now.at);
    }
    let by = match &end.by {
        Witness::Person(name) => &**name,
        Witness::First(_) | Witness::Resend(_) | Witness::Lookup(_) => "",
    };
    let note =
        if end.note.is_empty() { words.to_owned() } else { format!("{words}: {}", end.note) };
    new.note(now.at, note, by);
    new.answer = match &end.answer {
        // What it answered while it was pending is still what it answered.
        AnswerIn::None => new.answer,
        AnswerIn::TooLarge => {
            draft.put(key::answer(new.op), None);
            AnswerKept::Gone
        }
        AnswerIn::Keep(sealed) => {
            draft.put(key::answer(new.op), Some(Row::Sealed(sealed.clone())));
            AnswerKept::Kept
        }
    };
    // What is pending is followed up by what its request says.
    if end.outcome != Outcome::Accepted {
        draft.put(key::request(new.op), None);
    }
}

//! Who delivers a letter now? One at a time; what was delivered is not delivered again.

use std::sync::Arc;
use std::time::Duration;

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::record::Record;
use crate::store::rows::Rows;
use crate::store::step::Now;

/// Something becomes of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Of which operation.
    pub op: OperationId,
    /// Its number there.
    pub number: u32,
    /// What.
    pub word: Word,
}

/// What becomes of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Somebody delivers it now; after `lease` somebody else may.
    Take {
        /// How long that may take.
        lease: Duration,
    },
    /// It was tried.
    Tried {
        /// When it was to be tried again, as it was taken: who was too slow is not the one who says.
        taken: Timestamp,
        /// Who has it now.
        told: Vec<Box<str>>,
        /// After how long it is tried again; `None` when it is done with.
        again: Option<Duration>,
    },
}

/// What a post comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It is written down.
    Ok(Arc<Record>),
    /// Somebody else has it, or nobody needs it any more.
    NotNow,
}

pub(super) fn post<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    post: &Post,
    now: Now,
) -> Result<Posted, Fault> {
    let Some(old) = draft.record(post.op)? else { return Ok(Posted::NotNow) };
    let mut new = (*old).clone();
    let Some(letter) = new.letters.iter_mut().find(|one| one.number == post.number) else {
        return Ok(Posted::NotNow);
    };
    match &post.word {
        Word::Take { lease } => {
            if letter.next > now.at {
                return Ok(Posted::NotNow);
            }
            letter.tries = letter.tries.saturating_add(1);
            letter.next = now.at.plus(*lease);
        }
        Word::Tried { taken, told, again } => {
            if letter.next != *taken {
                return Ok(Posted::NotNow);
            }
            letter.told.clone_from(told);
            match again {
                Some(pause) => letter.next = now.at.plus(*pause),
                None => new.letters.retain(|one| one.number != post.number),
            }
        }
    }
    Ok(Posted::Ok(draft.put_record(Some(&old), new)?))
}

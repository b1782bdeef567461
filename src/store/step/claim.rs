//! Who looks for an outcome now? One at a time, each try later than the one before.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{OperationId, Outcome};
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::freeze::Freeze;
use crate::store::record::{Look, Record, State, Token};
use crate::store::rows::Rows;
use crate::store::step::{Now, freeze_on, ripen};

/// BOUND: the longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

/// Somebody wants to look for the outcome of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub op: OperationId,
    /// Who; the same again when the same claim is asked again.
    pub token: Token,
    /// How.
    pub how: Try,
    /// How long that may take; after it somebody else may try.
    pub lease: Duration,
}

/// How an outcome is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Try {
    /// By reading.
    Read,
    /// By sending the same bytes under the same key, which the vendor is trusted to know.
    Send,
}

/// What a claim comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Go on; nobody else does.
    Yours(Arc<Record>),
    /// Nothing is sent: a person stopped it.
    Frozen(Freeze),
    /// It is not to be looked for, or not now: this is how it stands.
    NotNow(Arc<Record>),
    /// There is no such operation.
    Lost,
}

pub(super) fn claim<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    claim: &Claim,
    now: Now,
) -> Result<Claimed, Fault> {
    let Some(old) = draft.record(claim.op)? else {
        return Ok(Claimed::Lost);
    };
    let old = ripen(draft, old, now)?;
    let may = match claim.how {
        Try::Send => old.state == State::Unknown,
        Try::Read => is_sought(&old),
    };
    if may && old.look.is_some_and(|look| look.token == claim.token) {
        return Ok(Claimed::Yours(old));
    }
    if !may || old.look.is_some_and(|look| look.next > now.at) {
        return Ok(Claimed::NotNow(old));
    }
    let mut new = (*old).clone();
    if claim.how == Try::Send {
        // INVARIANT: I11, what is sent again is stopped by a freeze like what is sent first.
        if let Some(freeze) = freeze_on(draft, &old.about, now)? {
            return Ok(Claimed::Frozen(freeze));
        }
        // INVARIANT: I8, on record before the first byte leaves again.
        new.attempt(claim.token, now.at);
        new.note(now.at, "sent again under the same key", "");
    }
    let tries = old.look.map_or(0, |look| look.tries).saturating_add(1);
    new.look = Some(Look { token: claim.token, tries, next: now.at.plus(claim.lease) });
    Ok(Claimed::Yours(draft.put_record(Some(&old), new)?))
}

/// Whether an operation's outcome is looked for.
pub(super) fn is_sought(record: &Record) -> bool {
    record.state == State::Unknown || record.state == State::Done { outcome: Outcome::Accepted }
}

/// The search of `token` found nothing that counts: the next try is later.
pub(super) fn no_answer<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    old: &Arc<Record>,
    (token, why): (Token, &str),
    now: Now,
) -> Result<Option<Arc<Record>>, Fault> {
    let own = old.look.filter(|look| look.token == token && is_sought(old));
    let Some(look) = own else { return Ok(None) };
    let mut new = (**old).clone();
    new.look = Some(Look { next: now.at.plus(pause(look.tries, token)), ..look });
    new.note(now.at, why, "");
    draft.put_record(Some(old), new).map(Some)
}

/// 2 s, 4 s, 8 s, .. and a quarter more or less, so that what failed together is not tried together.
fn pause(tries: u32, token: Token) -> Duration {
    let whole = Duration::from_secs(1_u64.checked_shl(tries.min(10)).unwrap_or(1)).min(PAUSE_MAX);
    let part = u32::try_from(token.0 % 1024).unwrap_or(0);
    let jitter = whole.saturating_mul(part).checked_div(2048).unwrap_or_default();
    whole.saturating_mul(3).checked_div(4).unwrap_or(whole).saturating_add(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_spread_and_bounded() {
        let of = |tries, token| pause(tries, Token(token)).as_millis();
        assert_eq!((of(1, 0), of(1, 1023)), (1_500, 2_499));
        assert_eq!((of(2, 0), of(5, 0)), (3_000, 24_000));
        assert_eq!((of(20, 0), of(u32::MAX, 512)), (450_000, 600_000));
    }
}

//! What becomes of the list of stops?

use std::time::Duration;

use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::freeze::{Freeze, Lift, Stops};
use crate::store::rows::{Row, Rows, key};
use crate::store::step::Now;

/// Stops a scope; what had its number before.
///
/// A brake that is on already stays what it is, since then: only its end is another. One that was released does not
/// come back by what was counted from before (`freeze.at` says from when): who counted had not heard of it.
pub(super) fn freeze<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    freeze: &Freeze,
    now: Now,
) -> Result<Option<Freeze>, Fault> {
    let before = draft.freezes()?.into_iter().find(|one| one.id == freeze.id);
    let is_late = |off: &&Freeze| off.stops == Stops::Nothing && freeze.at < off.at;
    if freeze.stops == Stops::Held && before.as_ref().filter(is_late).is_some() {
        return Ok(before);
    }
    let mut new = Freeze { at: now.at, ..freeze.clone() };
    if let Some(on) = before.as_ref().filter(|on| on.is_brake(now.at))
        && new.stops == Stops::Held
    {
        (new.at, new.reason) = (on.at, on.reason.clone());
    }
    draft.put(key::freeze(&freeze.id), Some(Row::Freeze(new)));
    Ok(before)
}

/// No longer stops it; what it was. Of a brake stays when it was released: it does not trip again by what
/// came before.
pub(super) fn lift<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    (id, keep, lift): (&str, Duration, Lift),
    now: Now,
) -> Result<Option<Freeze>, Fault> {
    let is_due = |one: &Freeze| match lift {
        Lift::Now => true,
        Lift::IfOver => one.until.is_some_and(|until| until <= now.at),
    };
    let stands = |one: &Freeze| *one.id == *id && one.stops != Stops::Nothing && is_due(one);
    let Some(lifted) = draft.freezes()?.into_iter().find(stands) else { return Ok(None) };
    let left = (lifted.stops == Stops::Held).then(|| {
        let until = Some(now.at.plus(keep));
        Row::Freeze(Freeze { at: now.at, until, stops: Stops::Nothing, ..lifted.clone() })
    });
    draft.put(key::freeze(id), left);
    Ok(Some(lifted))
}

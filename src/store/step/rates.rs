//! Is there room in the rates that a fleet shares? The generic cell rate algorithm, in microseconds, taken from all
//! of them or from none.

use std::time::Duration;

use crate::refusal::Fault;
use crate::store::ask::{RateUse, Reserve};
use crate::store::draft::Draft;
use crate::store::record::{About, Slot};
use crate::store::rows::{Row, Rows, key};
use crate::store::step::{Blocked, Now};

/// The rate that has no room, if one has none: the one that takes longest.
pub(super) fn full<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    ask: &Reserve,
    now: Now,
) -> Result<Option<Blocked>, Fault> {
    let mut slowest: Option<(&RateUse, i64)> = None;
    for rate in &ask.rates {
        let next = full_at(draft, ask, rate, now)?;
        let over = next.saturating_sub(rate.burst).saturating_sub(micros(now));
        if over > 0 && slowest.is_none_or(|(_, most)| over > most) {
            slowest = Some((rate, over));
        }
    }
    Ok(slowest.map(|(rate, over)| Blocked::Rated {
        name: rate.name.clone(),
        wait: Duration::from_micros(over.unsigned_abs()),
    }))
}

/// When a rate would have all its room again, had this call taken of it.
fn full_at<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    ask: &Reserve,
    rate: &RateUse,
    now: Now,
) -> Result<i64, Fault> {
    let known = i64::try_from(draft.rate(rate_slot(&ask.about, rate))?).unwrap_or(i64::MAX);
    Ok(known.max(micros(now)).saturating_add(rate.every))
}

fn micros(now: Now) -> i64 {
    now.at.0.saturating_mul(1000)
}

pub(in crate::store) fn rate_slot(about: &About, rate: &RateUse) -> Slot {
    Slot::of(b'g', &[about.caller.tenant.as_bytes(), &rate.key])
}

/// Takes of every rate; asked once all of them had room.
pub(super) fn take<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    ask: &Reserve,
    now: Now,
) -> Result<(), Fault> {
    for rate in &ask.rates {
        let next = full_at(draft, ask, rate, now)?;
        let row = Row::Count(u64::try_from(next).unwrap_or(0));
        draft.put(key::rate(rate_slot(&ask.about, rate)), Some(row));
    }
    Ok(())
}

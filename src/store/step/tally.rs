//! How often did something happen? Counts in windows, added to and read in one step.

use crate::bounds::WITHIN_MAX;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::rows::Rows;
use crate::store::step::Now;
use crate::store::step::brakes::slot;
use crate::store::tally::Tally;

pub(super) fn tally<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    (tenant, all): (&str, &[Tally]),
    now: Now,
) -> Result<Vec<i64>, Fault> {
    let mut totals = Vec::with_capacity(all.len());
    for one in all {
        let slot = slot(tenant, &one.key);
        let mut ledger = draft.ledger(slot)?;
        let edge = now.edge(one.within).max(one.after());
        if one.count > 0 {
            ledger.prune(now.edge(WITHIN_MAX));
            ledger.spend(one.unit, one.count, now.at);
            totals.push(ledger.total(one.unit, edge));
            draft.put_ledger(slot, ledger);
        } else {
            totals.push(ledger.total(one.unit, edge));
        }
    }
    Ok(totals)
}

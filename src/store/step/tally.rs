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
            ledger.keep_for(one.within);
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use std::ops::ControlFlow;
    use std::time::Duration;

    use crate::clock::Timestamp;
    use crate::store::rows::{Key, Tables, key};
    use crate::store::step::{Event, Jump, Now, step};

    use super::*;

    #[test]
    fn a_count_is_kept_as_long_as_its_window_and_no_longer() {
        let mut tables = Tables::default();
        let hour = Duration::from_secs(3_600);
        let at = |at: i64| Now { at: Timestamp(at), jump: Jump::default() };
        let tally = Tally { key: "a case".into(), unit: None, count: 1, within: hour, since: None };
        let (_, changes) = step(&tables, &Event::Tally("t".into(), vec![tally]), at(1)).unwrap();
        tables.apply(changes);
        for (moment, rows) in [(3_600_001, 1), (3_600_002, 0)] {
            let (_, changes) = step(&tables, &Event::Sweep(Key::new(), 1_000), at(moment)).unwrap();
            tables.apply(changes);
            let mut seen = 0;
            let mut count = |_: &[u8], _| {
                seen += 1;
                ControlFlow::Continue(())
            };
            tables.walk(b"m", &key::after(b"m"), &mut count).unwrap();
            assert_eq!(seen, rows, "at {moment}");
        }
    }
}

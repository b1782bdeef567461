//! Which brakes hold a call, and what is counted of one that is let go?
//!
//! Never holds what a person has looked at.

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::decision::Reason;
use crate::refusal::Fault;
use crate::store::ask::{BrakeUse, Entry, Reserve};
use crate::store::draft::Draft;
use crate::store::freeze::{Freeze, Stops, Subject};
use crate::store::record::{Charge, Slot};
use crate::store::rows::Rows;
use crate::store::step::{Now, reasons};

/// Why it is held: a brake that is on, or one that this call would pass.
///
/// INVARIANT: counted where it is reserved, so that of calls at once no more than `most` are let go.
pub(super) fn found<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    ask: &Reserve,
    (stops, own, now): (&[Freeze], OperationId, Now),
) -> Result<Vec<Reason>, Fault> {
    if let Entry::Approved(_) = ask.entry {
        return Ok(Vec::new());
    }
    let subject = ask.subject();
    let on = stops.iter().filter(|one| one.holds(&subject, now.at));
    let mut found: Vec<Reason> =
        on.map(|one| reasons::brake(&format!("brake.{}", one.brake()))).collect();
    for one in &ask.brakes {
        let Some(most) = one.most else { continue };
        let charge = charge(&ask.about.caller.tenant, one);
        let ledger = draft.ledger(charge.slot)?;
        let edge = now.edge(one.within).max(released(stops, &one.number));
        let used = ledger.used(one.unit, edge, own);
        if used.saturating_add(one.count) > most {
            found.push(reasons::brake(&one.id));
        }
    }
    Ok(found)
}

/// What came before a brake was released counts no more.
fn released(stops: &[Freeze], number: &str) -> Timestamp {
    let own = stops.iter().find(|one| one.stops == Stops::Nothing && *one.id == *number);
    own.map_or(Timestamp(i64::MIN), |own| Timestamp(own.at.0.saturating_add(1)))
}

/// What is taken of a count.
pub(in crate::store) fn charge(tenant: &str, one: &BrakeUse) -> Charge {
    Charge { slot: slot(tenant, &one.key), unit: one.unit, count: one.count }
}

/// Where a count stands.
pub(in crate::store) fn slot(tenant: &str, key: &str) -> Slot {
    Slot::of(b'm', &[tenant.as_bytes(), key.as_bytes()])
}

impl Reserve {
    /// What a stop is compared with.
    pub fn subject(&self) -> Subject<'_> {
        Subject { kinds: &self.kinds, ..self.about.subject() }
    }
}

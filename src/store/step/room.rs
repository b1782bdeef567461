//! What does one budget say to a call: is there room, until when is there none, and how does it stand with it?

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::ask::{BudgetUse, Take};
use crate::store::budget::Stood;
use crate::store::draft::Draft;
use crate::store::record::{About, Charge, Slot};
use crate::store::rows::Rows;
use crate::store::step::Now;

/// What one budget says to a call.
pub(super) struct Measured {
    /// Whether the call is past it, and until when, where waiting helps.
    pub over: Option<Option<Timestamp>>,
    /// How it stands with the call, where it has room for its currency.
    pub stood: Option<Stood>,
}

pub(super) fn measure<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    about: &About,
    budget: &BudgetUse,
    (own, now): (OperationId, Now),
) -> Result<Measured, Fault> {
    let charge = charge(about, budget);
    let room = match budget.take {
        Take::Money { room: None, .. } => return Ok(Measured { over: Some(None), stood: None }),
        Take::Money { room: Some(room), .. } => room,
        Take::One { room } => i64::try_from(room).unwrap_or(i64::MAX),
    };
    let ledger = draft.ledger(charge.slot)?;
    let edge = now.edge(budget.within);
    let others = ledger.used(charge.unit, edge, own);
    let used = others.saturating_add(charge.count);
    let frees = |excess: i64| {
        let last = ledger.frees(charge.unit, edge, excess)?;
        Some(now.leaves(last, budget.within))
    };
    let excess = used.saturating_sub(room);
    // What it had reserved before, as a hold, was told then.
    let before = others.saturating_add(ledger.reserved(charge.unit, own));
    let alert = budget.alert.map(|alert| alert.min(EXACT));
    let crossed = alert.filter(|alert| before < *alert && *alert <= used);
    let stood = Stood {
        id: budget.id.clone(),
        unit: charge.unit,
        used: used.min(EXACT),
        room: room.min(EXACT),
        alert,
        crossed: crossed.is_some(),
        frees: crossed.and_then(|alert| frees(used.saturating_sub(alert).saturating_add(1))),
    };
    Ok(Measured { over: (excess > 0).then(|| frees(excess)), stood: Some(stood) })
}

/// BOUND: a script's numbers are exact up to here, and every store says the same.
const EXACT: i64 = 1 << 53;

pub(in crate::store) fn charge(about: &About, budget: &BudgetUse) -> Charge {
    let slot = Slot::of(b'm', &[about.caller.tenant.as_bytes(), budget.key.as_bytes()]);
    match budget.take {
        Take::Money { amount, .. } => {
            Charge { slot, unit: Some(amount.currency), count: amount.minor }
        }
        Take::One { .. } => Charge { slot, unit: None, count: 1 },
    }
}

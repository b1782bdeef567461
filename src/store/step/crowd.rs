//! Do too many calls wait for people already?

use crate::refusal::Fault;
use crate::store::ask::{Entry, Reserve};
use crate::store::draft::Draft;
use crate::store::hold::crowds;
use crate::store::rows::Rows;

/// Whose calls are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The agent's.
    Agent,
    /// The customer's.
    Customer,
}

/// Whether too many calls wait for people already. One that waited before takes its own place again.
pub(super) fn full<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    ask: &Reserve,
) -> Result<Option<Whose>, Fault> {
    if let Entry::Approved(_) = ask.entry {
        return Ok(None);
    }
    let (crowd, [agent, customer]) = (ask.hold.crowd, crowds(&ask.about.caller));
    for (slot, most, whose) in
        [(agent, crowd.agent, Whose::Agent), (customer, crowd.customer, Whose::Customer)]
    {
        if draft.crowd(slot)? >= u64::from(most) {
            return Ok(Some(whose));
        }
    }
    Ok(None)
}

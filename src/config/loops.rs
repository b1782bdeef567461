//! How far may a case or a conversation go? The `loops:` section, and whether what calls cost is in its currencies.

use crate::limits::{self, Bound};
use crate::policy::Contracts;
use crate::yaml::Section;

pub(super) fn read(top: &Section<'_>, contracts: &Contracts) -> Vec<Bound> {
    let read = |node| limits::read_loops(top.faults(), node, "loops");
    let loops = top.node("loops").map(read).unwrap_or_default();
    priced(top, contracts, &loops);
    loops
}

/// A price in a currency that a bound of cost does not list would be past it from the first call on.
fn priced(top: &Section<'_>, contracts: &Contracts, loops: &[Bound]) {
    for (key, place, price) in contracts.prices() {
        for bound in loops.iter().filter(|bound| !bound.cost.is_empty()) {
            if bound.cost.iter().all(|cost| cost.currency != price.currency) {
                let message = format!(
                    "the loop bound `{}` lists no {}: every such call would be past it",
                    bound.name, price.currency
                );
                top.faults().note(place, &format!("{key}.price"), message);
            }
        }
    }
}

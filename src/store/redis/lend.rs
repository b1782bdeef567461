//! Rates that replicas borrow from, asked in one script: they belong to the fleet, not to a tenant.

use std::time::Duration;

use super::pack::Item;
use super::{Redis, script};
use crate::refusal::Fault;
use crate::store::damaged;
use crate::store::lend::{Lent, Loan};

impl Redis {
    /// What the fleet lends, loan by loan.
    pub async fn lend(&self, loans: &[Loan]) -> Result<Vec<Lent>, Fault> {
        let inside = &self.inside;
        let args = vec![("loans", Item::list(loans, loan))];
        let said = inside.call(&script::LEND, &inside.fleet_prefix(), args).await?;
        let number =
            |at: usize| said.number(at).and_then(|n| u64::try_from(n).map_err(|_| damaged()));
        let count = |at: usize| Ok(u32::try_from(number(at)?).unwrap_or(u32::MAX));
        let lent = |first: usize| {
            let (left, wait) = (first.saturating_add(1), first.saturating_add(2));
            let wait = Duration::from_micros(number(wait)?);
            Ok(Lent { given: count(first)?, left: count(left)?, wait })
        };
        (0..loans.len()).map(|at| lent(at.saturating_mul(3))).collect()
    }
}

fn loan(loan: &Loan) -> Item {
    let count = |count: u32| Item::Int(i64::from(count));
    Item::map([
        ("slot", Item::bytes(loan.slot.0)),
        ("every", Item::near(loan.every)),
        ("burst", Item::near(loan.burst)),
        ("owed", count(loan.owed)),
        ("wanted", count(loan.wanted)),
        ("back", count(loan.back)),
    ])
}

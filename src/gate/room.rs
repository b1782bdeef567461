//! How much of the budgets that a call counts in is used? For people who look; the store decides.

use std::time::Duration;

use crate::gate::Gate;
use crate::limits;
use crate::money::Currency;
use crate::refusal::Fault;
use crate::store::{Record, Take};

/// One budget, as it stands for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetSeen {
    /// The id of a call past it: `budget.customer-24h`.
    pub id: Box<str>,
    /// Over how long.
    pub within: Duration,
    /// In minor units of what; `None` counts effects.
    pub unit: Option<Currency>,
    /// Used by others.
    pub used: i64,
    /// What this call takes.
    pub takes: i64,
    /// How much there is; `None` where the budget does not name the currency.
    pub room: Option<i64>,
}

impl Gate {
    /// The budgets that an operation counts in, under today's contract.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn budgets_of(&self, record: &Record) -> Result<Vec<BudgetSeen>, Fault> {
        let about = &record.about;
        let action = self.catalog.actions().find(|action| *action.name == *about.action);
        let Some(action) = action else { return Ok(Vec::new()) };
        let contract = self.policy.contract(action, about.class, &about.caller.agent);
        let mut seen = Vec::new();
        for budget in limits::budgets(&contract, about) {
            let used = self.store.used(about, &budget, record.op).await?;
            let (unit, takes, room) = match budget.take {
                Take::Money { amount, room } => (Some(amount.currency), amount.minor, room),
                Take::One { room } => (None, 1, i64::try_from(room).ok()),
            };
            let (id, within) = (budget.id, budget.within);
            seen.push(BudgetSeen { id, within, unit, used, takes, room });
        }
        Ok(seen)
    }
}

//! How much room is left for a call? Rates and loops are taken here; of budgets, which the store decides,
//! people are told.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::call::OperationId;
use crate::contract::BudgetScope;
use crate::gate::told::with_record;
use crate::gate::{Asked, Gate};
use crate::limits::{self, NoRoom, Reached, Stop, Taken};
use crate::money::{Currency, Money};
use crate::refusal::Fault;
use crate::store::{BudgetUse, Record, Stood, Take};
use crate::telemetry::{Looping, Near, Said, Seen};

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

/// A budget of which so much is used that operators wanted to know.
#[derive(Debug, Clone)]
pub struct NearBudget {
    /// The budget, used with everything that counts now.
    pub seen: BudgetSeen,
    /// Whose room it is.
    pub per: BudgetScope,
    /// From how much on they are told.
    pub alert: i64,
    /// The latest operation that counts in it.
    pub latest: Arc<Record>,
}

/// BOUND: budgets that a person is shown at once; more are a storm that one freezes, not reads.
const NEAR_MAX: usize = 50;
/// No operation: nothing of what is used is left out.
const NOBODY: OperationId = OperationId([0; 32]);

impl Gate {
    /// Of the budgets that these operations count in, the newest first, those of which so much is used now, under
    /// today's contracts, that operators are told.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn budgets_near(&self, records: &[Arc<Record>]) -> Result<Vec<NearBudget>, Fault> {
        let mut looked_at = HashSet::new();
        let mut near = Vec::new();
        for record in records.iter().filter(|record| record.stood.iter().any(Stood::is_near)) {
            let Some(contract) = self.contract_of(record) else { continue };
            let about = &record.about;
            for budget in limits::budgets(&contract, about) {
                let (Some(alert), Some(per)) = (budget.alert, BudgetScope::of_id(&budget.id))
                else {
                    continue;
                };
                let unit = about.amount.map(|amount| amount.currency);
                let own =
                    (about.caller.tenant.clone(), budget.key.clone(), budget.id.clone(), unit);
                if near.len() >= NEAR_MAX || !looked_at.insert(own) {
                    continue;
                }
                let used = self.store.used(about, &budget, NOBODY).await?;
                if used >= alert {
                    let (seen, latest) = (BudgetSeen::of(budget, used), Arc::clone(record));
                    near.push(NearBudget { seen, per, alert, latest });
                }
            }
        }
        Ok(near)
    }

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
            seen.push(BudgetSeen::of(budget, used));
        }
        Ok(seen)
    }
}

impl BudgetSeen {
    /// A budget of which so much is used.
    pub fn of(budget: BudgetUse, used: i64) -> Self {
        let (unit, takes, room) = match budget.take {
            Take::Money { amount, room } => (Some(amount.currency), amount.minor, room),
            Take::One { room } => (None, 1, i64::try_from(room).ok()),
        };
        Self { id: budget.id, within: budget.within, unit, used, takes, room }
    }
}

impl Gate {
    /// Takes a call's room of every rate that is counted before its facts are read, and of what bounds loops;
    /// or nothing of either.
    pub(super) fn take_room(&self, asked: &Asked) -> Result<Taken, NoRoom> {
        let step = asked.step();
        match self.loops.take(&step, || self.rates.take(step.call, step.caller)) {
            Ok((taken, reached)) => {
                for near in &reached {
                    self.telemetry.loop_near(&looping(near), &seen(asked));
                }
                Ok(taken)
            }
            Err(Stop::Ended { reached, said, refusal }) => {
                let said = if said { Said::Before } else { Said::Never };
                self.telemetry.loop_ended(&looping(&reached), &seen(asked), said);
                Err(NoRoom::Full(*refusal))
            }
            Err(Stop::Crowded(refusal)) => Err(NoRoom::Full(*refusal)),
            Err(Stop::Other(other)) => Err(other),
        }
    }

    /// Counts how the budgets of an operation stand with it, and tells operators of those that it brought near
    /// their end.
    pub(super) fn tell_budgets(&self, record: &Record) {
        for stood in &record.stood {
            self.telemetry.budget_used(&stood.id, stood.per_cent());
            if stood.crossed {
                let near = Near {
                    budget: &stood.id,
                    per_cent: stood.per_cent(),
                    used: &amount(stood.unit, stood.used),
                    room: &amount(stood.unit, stood.room),
                    until: stood.frees,
                };
                with_record(record, |seen| self.telemetry.budget_near(&near, &seen));
            }
        }
    }
}

/// `80.00 USD`, `12 effects`.
pub fn amount(unit: Option<Currency>, count: i64) -> String {
    match unit {
        Some(currency) => Money { minor: count, currency }.to_string(),
        None => format!("{count} effects"),
    }
}

fn looping(reached: &Reached) -> Looping<'_> {
    Looping {
        bound: &reached.bound,
        per: reached.per.name(),
        used: &reached.used,
        room: &reached.room,
        within: reached.within,
    }
}

fn seen(asked: &Asked) -> Seen<'_> {
    Seen {
        upstream: Some(&asked.call.upstream),
        class: Some(asked.call.class),
        action: Some(&asked.call.action.name),
        tenant: Some(&asked.caller.tenant),
        agent: Some(&asked.caller.agent),
        customer: asked.caller.customer.as_deref(),
        trace_id: asked.call.context.trace_id.as_deref(),
        ..Seen::default()
    }
}

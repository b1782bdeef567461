//! How often did something happen? A tenant's counts, in one round trip.

use super::{Inside, asked, script};
use crate::refusal::Fault;
use crate::store::damaged;
use crate::store::tally::Tally;

impl Inside {
    pub(super) async fn tally(&self, tenant: &str, all: &[Tally]) -> Result<Vec<i64>, Fault> {
        let args = asked::tally(tenant, all)?;
        let said = self.call(&script::TALLY, &self.prefix(tenant), args).await?;
        let totals: Vec<i64> =
            (0..all.len()).map(|at| said.number(at)).collect::<Result<_, _>>()?;
        if said.rest.len() == all.len() { Ok(totals) } else { Err(damaged()) }
    }
}

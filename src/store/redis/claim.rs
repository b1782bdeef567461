//! Whose outcome is looked for, by whom, and what belongs to whom already?

use std::sync::Arc;

use redis::cmd;

use super::pack::Item;
use super::{Inside, Redis, asked, kept, open, script};
use crate::call::OperationId;
use crate::refusal::Fault;
use crate::store::damaged;
use crate::store::record::{About, Record, State};
use crate::store::step::{Claim, Claimed};

/// BOUND: what an operation is about changes when it is judged again, which is seldom.
const LOOKS: usize = 3;

impl Redis {
    /// Whose outcome is to be looked for now, `limit` at most.
    pub async fn sought(&self, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        let mut found = Vec::new();
        for list in ["unknown", "accepted"] {
            let left = limit.saturating_sub(found.len());
            if left > 0 {
                found.extend(self.inside.indexed(list, None, left, "now").await?);
            }
        }
        Ok(found)
    }

    /// The operation that made what the vendor calls `id`.
    pub async fn made_by(&self, about: &About, id: &str) -> Result<Option<OperationId>, Fault> {
        let mut key = format!("{}:u:", self.inside.prefix(&about.caller.tenant)).into_bytes();
        // As the script that settles writes it.
        key.extend_from_slice(&kept::maker(about).0);
        key.extend_from_slice(id.as_bytes());
        let found = open::maybe(self.inside.ask(cmd("GET").arg(key)).await?)?;
        let op = |raw: Vec<u8>| raw.as_slice().try_into().map(OperationId).map_err(|_| damaged());
        found.map(op).transpose()
    }
}

impl Inside {
    pub(super) async fn claim(&self, claim: &Claim) -> Result<Claimed, Fault> {
        for _ in 0..LOOKS {
            // Looked at first: what a freeze is compared with is in bytes that no script reads.
            let Some(seen) = self.show(claim.op).await? else {
                return Ok(Claimed::Lost);
            };
            let prefix = self.prefix(&seen.about.caller.tenant);
            let said = self.call(&script::CLAIM, &prefix, asked::claim(claim, &seen)).await?;
            let claimed = match said.word.as_str() {
                "changed" => continue,
                "lost" => Claimed::Lost,
                "frozen" => {
                    let item = Item::read(said.raw(0)?).ok_or_else(damaged)?;
                    Claimed::Frozen(kept::read_freeze(&item).ok_or_else(damaged)?)
                }
                "yours" => Claimed::Yours(said.record(0)?),
                "not_now" => Claimed::NotNow(said.record(0)?),
                _ => return Err(damaged()),
            };
            if let Claimed::Yours(record) | Claimed::NotNow(record) = &claimed {
                self.tell(record);
            }
            return Ok(claimed);
        }
        Err(Fault::StoreUnavailable("it changed while it was looked at".to_owned()))
    }
}

/// When the next search for an outcome is due.
pub(super) fn due(record: &Record) -> i64 {
    let at = match record.state {
        State::Held => record.hold.as_ref().map(|hold| hold.deadline),
        State::Approved => record.approval.as_ref().map(|yes| yes.until),
        State::Submitted { lease, .. } => Some(lease),
        State::Unknown | State::Done { .. } => record.look.map(|look| look.next),
        State::NotSent | State::Refused { .. } => None,
    };
    at.unwrap_or(record.created).0
}

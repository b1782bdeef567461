//! What waits for people, and who outside is to be told?

use std::sync::Arc;

use redis::cmd;

use super::asked::{self, Args};
use super::pack::Item;
use super::{Inside, Redis, kept, open, script};
use crate::refusal::Fault;
use crate::store::budget::Ledger;
use crate::store::damaged;
use crate::store::hold::Place;
use crate::store::record::{Record, Slot};
use crate::store::step::{Post, Posted};
use crate::store::waiting::Line;

impl Redis {
    /// How many calls wait, by tenant and queue.
    pub async fn lines(&self) -> Result<Vec<Line>, Fault> {
        let inside = &self.inside;
        let mut lines = Vec::new();
        for tenant in inside.tenants().await? {
            let said = inside.call(&script::WAITING, &inside.prefix(&tenant), Args::new()).await?;
            for pair in said.rest.chunks_exact(2) {
                let [queue, count] = pair else { return Err(damaged()) };
                let text = |raw: &[u8]| String::from_utf8(raw.to_vec()).map_err(|_| damaged());
                let count = text(count)?.parse().map_err(|_| damaged())?;
                let queue = text(queue)?.into_boxed_str();
                lines.push(Line { tenant: Arc::clone(&tenant), queue, count });
            }
        }
        Ok(lines)
    }

    /// What waits in a tenant's queue.
    pub async fn waiting(
        &self,
        (tenant, queue): (&str, &str),
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Arc<Record>>, Fault> {
        let most = Item::near(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut args = vec![("queue", Item::from(queue)), ("limit", most)];
        if let Some(place) = after {
            args.push(("risk", Item::Int(i64::from(place.risk.rank()))));
            args.push(("since", Item::near(place.since.0)));
            args.push(("op", asked::operation(place.op)));
        }
        let inside = &self.inside;
        let said = inside.call(&script::WAITING, &inside.prefix(tenant), args).await?;
        said.rest.iter().map(|raw| kept::shared(raw).ok_or_else(damaged)).collect()
    }

    /// A budget, as the scripts keep it.
    pub async fn ledger(&self, tenant: &str, slot: Slot) -> Result<Ledger, Fault> {
        let inside = &self.inside;
        let mut key = format!("{}:m:", inside.prefix(tenant)).into_bytes();
        key.extend_from_slice(&slot.0);
        match open::maybe(inside.ask(cmd("GET").arg(key)).await?)? {
            None => Ok(Ledger::default()),
            Some(raw) => kept::ledger(&raw).ok_or_else(damaged),
        }
    }

    /// Operations whose post is due.
    pub async fn post_due(&self, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        self.inside.indexed("post", None, limit, "now").await
    }
}

impl Inside {
    pub(super) async fn post(&self, post: &Post) -> Result<Posted, Fault> {
        let Some(prefix) = self.prefix_of(post.op).await? else { return Ok(Posted::NotNow) };
        let said = self.call(&script::POST, &prefix, asked::post(post)).await?;
        match said.word.as_str() {
            "ok" => Ok(Posted::Ok(said.record(0)?)),
            "not_now" => Ok(Posted::NotNow),
            _ => Err(damaged()),
        }
    }
}

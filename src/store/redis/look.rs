//! What stands there? Operations, lists, counts, and which tenant an operation is of.

use std::cmp::Reverse;
use std::sync::Arc;

use redis::{Value, cmd};

use super::pack::Item;
use super::{Inside, Redis, claim, kept, open, script};
use crate::call::OperationId;
use crate::refusal::Fault;
use crate::store::record::{Record, State, StoredAnswer};
use crate::store::seal::Purpose;
use crate::store::{Listed, damaged};

impl Redis {
    /// An operation.
    pub async fn show(&self, op: OperationId) -> Result<Option<Arc<Record>>, Fault> {
        self.inside.show(op).await
    }

    /// An operation and its answer.
    pub async fn show_answer(
        &self,
        op: OperationId,
    ) -> Result<Option<(Arc<Record>, Option<StoredAnswer>)>, Fault> {
        let inside = &self.inside;
        let Some(prefix) = inside.prefix_of(op).await? else {
            return Ok(None);
        };
        let mut both = cmd("MGET");
        both.arg(Inside::key(&prefix, 'r', op)).arg(Inside::key(&prefix, 'y', op));
        let found = open::parts(inside.ask(&both).await?).ok_or_else(damaged)?;
        let Some(record) = found.first().filter(|raw| is_record(raw)) else {
            return Ok(None);
        };
        let record = kept::shared(record).ok_or_else(damaged)?;
        let answer = inside.opened(&record, found.get(1).map_or(&[], Vec::as_slice))?;
        Ok(Some((record, answer)))
    }

    /// What is to be sent after an approval.
    pub async fn request(&self, op: OperationId) -> Result<Option<Vec<u8>>, Fault> {
        let inside = &self.inside;
        let Some(prefix) = inside.prefix_of(op).await? else {
            return Ok(None);
        };
        let sealed = inside.ask(cmd("GET").arg(Inside::key(&prefix, 'q', op))).await?;
        let open = |sealed: Vec<u8>| inside.seal.open(op, Purpose::Request, &sealed);
        open::maybe(sealed)?.map(open).transpose()
    }

    /// Operations as one of the lists has them.
    pub async fn listed(&self, which: Listed<'_>, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        let (list, tenants) = match which {
            Listed::Held => ("held", None),
            Listed::Approved => ("approved", None),
            Listed::Submitted => ("submitted", None),
            Listed::Unknown => ("unknown", None),
            Listed::Accepted => ("accepted", None),
            Listed::Tenant(tenant) => ("all", Some(vec![Arc::from(tenant)])),
            Listed::All => ("all", None),
        };
        self.inside.indexed(list, tenants, limit, "ever").await
    }

    /// Operations by the names of [`State::NAMES`].
    pub async fn counts(&self) -> Result<[(&'static str, u64); 7], Fault> {
        let mut counts = State::NAMES.map(|name| (name, 0_u64));
        for tenant in self.inside.tenants().await? {
            let mut command = cmd("HMGET");
            command.arg(format!("{}:n", self.inside.prefix(&tenant))).arg(State::NAMES.as_slice());
            let found = open::parts(self.inside.ask(&command).await?).ok_or_else(damaged)?;
            for ((_, count), raw) in counts.iter_mut().zip(found) {
                let own = std::str::from_utf8(&raw).ok().and_then(|n| n.parse::<u64>().ok());
                *count = count.saturating_add(own.unwrap_or(0));
            }
        }
        Ok(counts)
    }
}

impl Inside {
    /// What an index has, of these tenants or of all: due `ever`, or `now`.
    pub(super) async fn indexed(
        &self,
        list: &'static str,
        tenants: Option<Vec<Arc<str>>>,
        limit: usize,
        due: &'static str,
    ) -> Result<Vec<Arc<Record>>, Fault> {
        let tenants = match tenants {
            Some(tenants) => tenants,
            None => self.tenants().await?,
        };
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found: Vec<Arc<Record>> = Vec::new();
        for tenant in tenants {
            let args =
                vec![("list", list.into()), ("limit", Item::near(most)), ("due", due.into())];
            let said = self.call(&script::LIST, &self.prefix(&tenant), args).await?;
            for raw in &said.rest {
                found.push(kept::shared(raw).ok_or_else(damaged)?);
            }
        }
        match list {
            "all" => found.sort_by_key(|record| (Reverse(record.created), record.op)),
            _ => found.sort_by_key(|record| (claim::due(record), record.op)),
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) async fn show(&self, op: OperationId) -> Result<Option<Arc<Record>>, Fault> {
        let Some(prefix) = self.prefix_of(op).await? else {
            return Ok(None);
        };
        let raw = open::maybe(self.ask(cmd("GET").arg(Self::key(&prefix, 'r', op))).await?)?;
        let raw = raw.filter(|raw| is_record(raw));
        raw.map(|raw| kept::shared(&raw).ok_or_else(damaged)).transpose()
    }

    /// Every tenant of the fleet that ever asked for an effect.
    pub(super) async fn tenants(&self) -> Result<Vec<Arc<str>>, Fault> {
        let key = format!("{}:tenants", self.fleet_prefix());
        let found = open::parts(self.ask(cmd("SMEMBERS").arg(key)).await?).ok_or_else(damaged)?;
        let text = |raw: Vec<u8>| String::from_utf8(raw).ok().map(Arc::from);
        found.into_iter().map(text).collect::<Option<_>>().ok_or_else(damaged)
    }

    /// Whose rows an operation is among: known where it came by, else looked for.
    pub(super) async fn prefix_of(&self, op: OperationId) -> Result<Option<String>, Fault> {
        if let Some(tenant) = self.tenants.get(&op) {
            return Ok(Some(self.prefix(&tenant)));
        }
        for tenant in self.tenants().await? {
            let prefix = self.prefix(&tenant);
            let there = self.ask(cmd("EXISTS").arg(Self::key(&prefix, 'r', op))).await?;
            if there == Value::Int(1) {
                self.tenants.insert(op, tenant);
                return Ok(Some(prefix));
            }
        }
        Ok(None)
    }
}

/// Nothing is none, and another name of an operation is none itself.
fn is_record(raw: &[u8]) -> bool {
    !raw.is_empty() && raw.first() != Some(&b'>')
}

//! The fleet's checkpoints: a stream, `{fleet}:checkpoints`.

use redis::cmd;

use super::Redis;
use crate::refusal::Fault;

/// BOUND: each stands for all before it; so many are six hours of a replica that is never quiet, and some 10 MiB.
const CHECKPOINTS_MAX: usize = 20_000;

impl Redis {
    /// Keeps a checkpoint beside those of the other replicas.
    pub async fn keep_checkpoint(&self, chain: &str, size: u64, note: &str) -> Result<(), Fault> {
        let mut add = cmd("XADD");
        add.arg(format!("{{{}}}:checkpoints", self.inside.fleet));
        add.arg("MAXLEN").arg("~").arg(CHECKPOINTS_MAX).arg("*");
        add.arg("chain").arg(chain).arg("size").arg(size).arg("note").arg(note);
        let taken = self.inside.line.ask(&add).await?;
        taken.map(drop).map_err(|e| Fault::StoreUnavailable(format!("redis: {e}")))
    }
}

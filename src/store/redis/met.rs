//! Which server is this? One that was not the one before may have come back with less, or be a copy that was
//! behind: each process looks for its own writes there, and nobody relies on it until the others have looked.
//!
//! Never takes two servers for one: a server that does not say which it is, is another one.

use std::time::Duration;

use redis::cmd;

use super::{Inside, Redis, open};
use crate::refusal::Fault;
use crate::store::damaged;

/// BOUND: how long the others have to miss what was confirmed to them: a process finds its connection lost
/// within half a second, makes another, looks, and says so; five times that.
const OTHERS_LOOK: Duration = Duration::from_secs(3);

/// The server that answered last.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// The connection that was looked at, counted.
    connection: u64,
    /// Which server that was, as it says itself.
    server: Option<Box<str>>,
    /// When it became another one, by the steady clock; not for the first.
    changed: Option<Duration>,
}

impl Redis {
    /// Whether every process that is there has had the time to miss its own writes.
    pub fn is_met(&self) -> bool {
        let (met, now) = (self.inside.met.lock(), self.inside.clock.steady());
        let is_old = |since: Duration| now.saturating_sub(since) >= OTHERS_LOOK;
        met.connection == self.inside.line.connections() && met.changed.is_none_or(is_old)
    }

    /// The number of settlings that a tenant's rows last told: facts that are read from now on know of
    /// these at least.
    pub fn seen(&self, tenant: &str) -> u64 {
        self.inside.settled.lock().get(&*self.inside.prefix(tenant)).copied().unwrap_or(0)
    }
}

impl Inside {
    /// Whether the freezes in memory were ever read.
    pub(super) fn is_begun_once(&self) -> bool {
        self.copied.lock().is_some_and(|copied| copied.version > 0)
    }

    /// Looks at a connection that is new.
    pub(super) async fn meet(&self) -> Result<(), Fault> {
        // Asked first, so that the connection is made by now.
        let server = self.server().await?;
        let connection = self.line.connections();
        if self.met.lock().connection == connection {
            return Ok(());
        }
        let is_another = {
            let met = self.met.lock();
            met.connection > 0 && (server.is_none() || met.server != server)
        };
        if is_another {
            self.look_for_own().await?;
        }
        let mut met = self.met.lock();
        if is_another {
            met.changed = Some(self.clock.steady());
        }
        (met.connection, met.server) = (connection, server);
        Ok(())
    }

    /// Which server it is: another one after every start.
    async fn server(&self) -> Result<Option<Box<str>>, Fault> {
        if self.met.lock().connection == self.line.connections() {
            return Ok(None);
        }
        let Ok(value) = self.line.ask_any(cmd("INFO").arg("server")).await? else {
            return Ok(None);
        };
        let text = open::maybe(value)?.and_then(|raw| String::from_utf8(raw).ok());
        let id = text.as_deref().unwrap_or_default().lines();
        Ok(id.filter_map(|line| line.strip_prefix("run_id:")).next().map(|id| id.trim().into()))
    }

    /// Whether everything that was confirmed to this process is there.
    async fn look_for_own(&self) -> Result<(), Fault> {
        let counts: Vec<_> = self.counts.lock().clone().into_iter().collect();
        for (prefix, heard) in counts {
            let key = format!("{prefix}:w:{}", self.me);
            let found = open::maybe(self.ask(cmd("GET").arg(key)).await?)?;
            let text =
                found.map_or(Ok("0".to_owned()), String::from_utf8).map_err(|_| damaged())?;
            self.counted(&prefix, heard, text.parse().map_err(|_| damaged())?);
        }
        Ok(())
    }

    pub(super) fn settled(&self, prefix: &str, number: u64) {
        // Also where it is less: what is too small only reads facts once more.
        let mut settled = self.settled.lock();
        match settled.get_mut(prefix) {
            Some(known) => *known = number,
            None => drop(settled.insert(prefix.into(), number)),
        }
    }
}

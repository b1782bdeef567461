//! What does a reserve cost beside its script? The script's own command, to be sent by who measures.

use std::sync::Arc;

use redis::Cmd;

use super::{Inside, Redis, asked, script};
use crate::refusal::Fault;
use crate::store::ask::{Entry, Reserve};
use crate::store::seal::Purpose;

/// A reserve as it goes over the wire.
#[derive(Debug)]
pub struct Bare {
    inside: Arc<Inside>,
    command: Cmd,
}

impl Bare {
    /// Sends it over the store's own connection, and looks at nothing of its answer.
    ///
    /// # Errors
    ///
    /// When nothing came back.
    pub async fn send(&self) -> Result<(), Fault> {
        self.inside.ask(&self.command).await.map(drop)
    }
}

impl Redis {
    /// The command of a reserve.
    pub fn bare(&self, ask: &Reserve) -> Result<Bare, Fault> {
        let mut args = asked::reserve(ask)?;
        let inside = Arc::clone(&self.inside);
        let op = inside.entry(&ask.entry, &mut args);
        if let Some(op) = op.filter(|_| !ask.request.is_empty()) {
            let sealed = inside.seal.seal(op, Purpose::Request, &ask.request)?;
            args.push(("request", super::Item::Bytes(sealed)));
            args.push(("sealed_for", asked::operation(op)));
        }
        let tenant = match &ask.entry {
            Entry::Asked(name) => &name.tenant,
            Entry::Approved(_) => &ask.about.caller.tenant,
        };
        let packed = super::Item::map(inside.timed(args)).write();
        let command = script::RESERVE.by_hash(&inside.prefix(tenant), &packed);
        Ok(Bare { inside, command })
    }
}

//! Is it known, and may it be sent? One script each, and what makes a second try of one.

use std::sync::Arc;

use super::asked::Args;
use super::pack::Item;
use super::{Inside, Said, asked, kept, script};
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::refusal::Fault;
use crate::store::ask::{Entry, Reserve};
use crate::store::damaged;
use crate::store::record::Name;
use crate::store::seal::Purpose;
use crate::store::step::{Blocked, Grant, Recalled, Reserved, Whose};

/// BOUND: a reserve comes again when its tenant is new, its name was another, or what it sealed was for
/// another. Each is news once.
const TRIES: usize = 5;
impl Inside {
    pub(super) async fn recall(&self, name: &Name) -> Result<Recalled, Fault> {
        let prefix = self.prefix(&name.tenant);
        let said = self.call(&script::RECALL, &prefix, asked::name(name)).await?;
        Ok(match said.word.as_str() {
            "fresh" => {
                let (ordinal, seen) = (said.number(1)?, said.version(2)?);
                let op = match said.raw(0)? {
                    [] => self.numbered(name, ordinal)?,
                    _ => said.op(0)?,
                };
                Recalled::Fresh { op, seen }
            }
            "mismatch" => Recalled::Mismatch(said.op(0)?),
            "known" => Recalled::Known(self.known(&said)?),
            _ => return Err(damaged()),
        })
    }

    /// The operation of a call without a key; the next reserve of it guesses right.
    fn numbered(&self, name: &Name, ordinal: i64) -> Result<OperationId, Fault> {
        self.ordinals.insert(name.same(), ordinal);
        Ok(name.operation(u32::try_from(ordinal).map_err(|_| damaged())?))
    }

    pub(super) async fn reserve(&self, mut ask: Reserve) -> Result<Reserved, Fault> {
        let request = std::mem::take(&mut ask.request);
        let mut args = asked::reserve(&ask)?;
        let known = self.begun.lock().as_ref().and_then(|begun| begun.name.clone());
        args.extend(known.map(|name| ("epoch", Item::from(&*name))));
        let tenant = match &ask.entry {
            Entry::Asked(name) => Arc::clone(&name.tenant),
            Entry::Approved(_) => Arc::clone(&ask.about.caller.tenant),
        };
        let (prefix, mut sealed_for, mut again) = (self.prefix(&tenant), None, true);
        for _ in 0..TRIES {
            let mut args = args.clone();
            let guess = self.entry(&ask.entry, &mut args);
            if let Some(op) = sealed_for.or(guess).filter(|_| !request.is_empty()) {
                args.push((
                    "request",
                    Item::Bytes(self.seal.seal(op, Purpose::Request, &request)?),
                ));
                args.push(("sealed_for", asked::operation(op)));
            }
            let said = match self.call(&script::RESERVE, &prefix, args).await {
                Ok(said) => said,
                // It may have been granted: the same token gets the same grant.
                Err(Fault::StoreAmbiguous(_)) if std::mem::take(&mut again) => continue,
                Err(fault) => {
                    self.reached(Err(fault.clone()));
                    // What the first try may have done, a second that was not done leaves open.
                    return Err(if again {
                        fault
                    } else {
                        Fault::StoreAmbiguous(fault.to_string())
                    });
                }
            };
            match (said.word.as_str(), &ask.entry) {
                ("stranger", _) => self.register(&tenant).await?,
                ("ordinal", Entry::Asked(name)) => drop(self.numbered(name, said.number(0)?)?),
                ("reseal", _) => sealed_for = Some(said.op(0)?),
                _ => return self.reserved(&said),
            }
        }
        Err(Fault::StoreUnavailable("too many ask the same at once".to_owned()))
    }

    /// Adds which operation it is for, and gives the one that it will be.
    pub(super) fn entry(&self, entry: &Entry, args: &mut Args) -> Option<OperationId> {
        match entry {
            Entry::Approved(op) => {
                args.push(("approved", asked::operation(*op)));
                Some(*op)
            }
            Entry::Asked(name) => {
                args.extend(asked::name(name));
                if name.key.is_some() {
                    return Some(name.operation(0));
                }
                let ordinal = self.ordinals.get(&name.same()).unwrap_or(1);
                let guess = name.operation(u32::try_from(ordinal).unwrap_or(1));
                args.push(("ordinal", Item::near(ordinal)));
                args.push(("guess", asked::operation(guess)));
                Some(guess)
            }
        }
    }

    fn reserved(&self, said: &Said) -> Result<Reserved, Fault> {
        let blocked = match said.word.as_str() {
            "granted" => {
                let (lease, record) = (Timestamp(said.number(1)?), said.record(2)?);
                self.tell(&record);
                let token = record.last_token().ok_or_else(damaged)?;
                return Ok(Reserved::Granted(Grant { record, token, lease }));
            }
            "held" => {
                let record = said.record(0)?;
                self.tell(&record);
                return Ok(Reserved::Held(record));
            }
            "known" => return self.known(said).map(Reserved::Known),
            "mismatch" => return Ok(Reserved::Mismatch(said.op(0)?)),
            "lost" => return Ok(Reserved::Lost),
            "frozen" => {
                let freeze = Item::read(said.raw(0)?).and_then(|item| kept::read_freeze(&item));
                Blocked::Frozen(freeze.ok_or_else(damaged)?)
            }
            "in_flight" => Blocked::InFlight(said.op(0)?),
            "outcome_unknown" => Blocked::OutcomeUnknown(said.op(0)?),
            "stale" => Blocked::Stale(said.version(0)?),
            "alike" => Blocked::Alike(said.record(0)?),
            "over" => {
                let until = match said.raw(1)? {
                    [] => None,
                    _ => Some(Timestamp(said.number(1)?)),
                };
                Blocked::Over { id: said.text(0)?.into(), until }
            }
            "rated" => {
                let micros = u64::try_from(said.number(1)?).map_err(|_| damaged())?;
                let wait = std::time::Duration::from_micros(micros);
                Blocked::Rated { name: said.text(0)?.into(), wait }
            }
            "crowded" => Blocked::Crowded(match said.text(0)? {
                "agent" => Whose::Agent,
                _ => Whose::Customer,
            }),
            _ => return Err(damaged()),
        };
        Ok(Reserved::Blocked(blocked))
    }
}

//! Rows in Redis, for a fleet of replicas. What `step` decides is decided in a script there, atomically: one
//! round trip each for recall, reserve and settle.
//!
//! Never takes an answer that did not come for one: what may have been executed is told apart.
//!
//! Keys: `{fleet:tenant}:<kind>:<name>` for a tenant's rows, `{fleet}:..` for what the fleet has one of. A script
//! gets the prefix as its one declared key and makes the others from it; they share its hash tag, so that in a
//! cluster they are on the node that the script was sent to.

mod asked;
mod durable;
mod kept;
mod line;
mod look;
mod open;
mod pack;
mod script;
mod sweep;
mod tasks;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use redis::{Cmd, Value};

use self::asked::Args;
pub use self::durable::Durability;
use self::line::Line;
pub use self::open::{Address, Kind, Tls};
use self::pack::Item;
use self::script::Script;
use crate::call::OperationId;
use crate::clock::{Clock, Timestamp};
use crate::refusal::Fault;
use crate::store::ask::{Entry, Reserve};
use crate::store::record::{AnswerKept, Name, Record, Slot, State, StoredAnswer};
use crate::store::seal::{Purpose, SealingKey};
use crate::store::shared::Shared;
use crate::store::step::{
    Answered, Blocked, Event, Grant, HoldAnswer, How, Jump, Known, Recalled, Reply, Reserved,
    Settle, Settled, Swept,
};
use crate::store::{codec, damaged};

/// BOUND: tenants of operations that came by here; an older one is looked for in every tenant.
const TENANTS_MAX: usize = 65_536;
/// BOUND: ordinals of calls without a key that came by here; without one a reserve takes a second trip.
const ORDINALS_MAX: usize = 16_384;
/// BOUND: a reserve comes again when its tenant is new, its name was another, or what it sealed was for
/// another. Each is news once.
const TRIES: usize = 5;
/// BOUND: operations of one tenant and state that one sweep ends; the next takes the rest.
const DUE_MAX: i64 = 256;

/// A fleet's rows.
#[derive(Debug)]
pub struct Redis {
    inside: Arc<Inside>,
    _tasks: tasks::Tasks,
}

/// What the tasks share with the store.
#[derive(Debug)]
struct Inside {
    line: Line,
    seal: Arc<SealingKey>,
    shared: Arc<Shared>,
    clock: Clock,
    fleet: Box<str>,
    news: String,
    heard: Mutex<Heard>,
    tenants: Cache<OperationId, Arc<str>>,
    ordinals: Cache<Slot, i64>,
    /// The tenants that this process has registered.
    used: Mutex<BTreeSet<Arc<str>>>,
    /// When the freezes in memory were last read; `None` until they were.
    copied: Mutex<Option<Copied>>,
    /// Why Redis does not answer, while it does not.
    failing: Mutex<Option<Fault>>,
    judged: Mutex<Option<Durability>>,
    trips: AtomicU64,
}

/// Which list of freezes is in memory.
#[derive(Debug, Clone, Copy)]
struct Copied {
    version: i64,
    steady: Duration,
}

/// What Redis's clock last said, and when that was by the steady clock.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    at: i64,
    steady: Duration,
    jump: Jump,
}

/// What a script answered: its word, and the rest.
struct Said {
    word: String,
    rest: Vec<Vec<u8>>,
}

impl Said {
    fn raw(&self, at: usize) -> Result<&[u8], Fault> {
        self.rest.get(at).map(Vec::as_slice).ok_or_else(damaged)
    }
    fn text(&self, at: usize) -> Result<&str, Fault> {
        std::str::from_utf8(self.raw(at)?).map_err(|_| damaged())
    }
    fn number(&self, at: usize) -> Result<i64, Fault> {
        self.text(at)?.parse().map_err(|_| damaged())
    }
    fn op(&self, at: usize) -> Result<OperationId, Fault> {
        self.raw(at)?.try_into().map(OperationId).map_err(|_| damaged())
    }
    fn version(&self, at: usize) -> Result<u64, Fault> {
        self.number(at)?.try_into().map_err(|_| damaged())
    }
    fn record(&self, at: usize) -> Result<Arc<Record>, Fault> {
        kept::shared(self.raw(at)?).ok_or_else(damaged)
    }
}

impl Redis {
    /// A fleet's rows at `address`; not connected yet, and no fault when nobody is there.
    pub fn new(
        address: &Address,
        seal: Arc<SealingKey>,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Result<Self, Fault> {
        let inside = Arc::new(Inside {
            line: Line::new(address.road()?),
            seal,
            shared,
            clock,
            fleet: address.fleet.clone(),
            news: format!("{}:changed", address.fleet),
            heard: Mutex::default(),
            tenants: Cache::new(TENANTS_MAX),
            ordinals: Cache::new(ORDINALS_MAX),
            used: Mutex::default(),
            copied: Mutex::default(),
            failing: Mutex::new(Some(Fault::StoreUnavailable(
                "redis was not asked yet".to_owned(),
            ))),
            judged: Mutex::default(),
            trips: AtomicU64::new(0),
        });
        let tasks = tasks::start(&inside);
        Ok(Self { inside, _tasks: tasks })
    }

    /// How old the freezes in memory are, by the steady clock; `None` when they were never read.
    pub fn freezes_age(&self) -> Option<Duration> {
        let copied = *self.inside.copied.lock();
        copied.map(|copied| self.inside.clock.steady().saturating_sub(copied.steady))
    }

    /// Whether Redis answers.
    pub fn health(&self) -> Result<(), Fault> {
        self.inside.failing.lock().clone().map_or(Ok(()), Err)
    }

    /// Round trips so far.
    pub fn trips(&self) -> u64 {
        self.inside.trips.load(Ordering::Relaxed)
    }

    /// The last leap of Redis's clock, if there was one.
    pub fn leap(&self) -> Option<Jump> {
        let jump = self.inside.heard.lock().jump;
        (jump.by > 0).then_some(jump)
    }

    /// One event, its answer.
    pub async fn run(&self, event: Event) -> Result<Reply, Fault> {
        let inside = &self.inside;
        Ok(match event {
            Event::Recall(name) => Reply::Recalled(inside.recall(&name).await?),
            Event::Reserve(ask, _) => Reply::Reserved(inside.reserve(*ask).await?),
            Event::Settle(end) => Reply::Settled(inside.settle(&end).await?),
            Event::Answer(said) => Reply::Answered(inside.answer(&said).await?),
            Event::Collected(op) => {
                inside.collected(op).await?;
                Reply::Noted
            }
            Event::Freeze(freeze) => {
                let put = vec![("put", kept::freeze(&freeze))];
                inside.change_freezes(put).await?;
                Reply::Noted
            }
            Event::Unfreeze(id) => {
                Reply::Lifted(inside.change_freezes(vec![("lift", Item::from(&*id))]).await?)
            }
            Event::Sweep(_, rows) => Reply::Swept(inside.sweep(rows).await?),
            // Leases say who is gone: nobody's end is another's.
            Event::Restarted => Reply::Swept(Swept::default()),
        })
    }
}

impl Inside {
    fn reached(&self, result: Result<(), Fault>) {
        *self.failing.lock() = result.err();
    }

    fn prefix(&self, tenant: &str) -> String {
        // `}` would end the hash tag early, `:` could make two tenants' keys one.
        let mut name = String::with_capacity(tenant.len());
        for letter in tenant.chars() {
            match letter {
                '{' | '}' | ':' | '%' => name.push_str(&format!("%{:02x}", u32::from(letter))),
                _ => name.push(letter),
            }
        }
        format!("{{{}:{name}}}", self.fleet)
    }

    fn fleet_prefix(&self) -> String {
        format!("{{{}}}", self.fleet)
    }

    fn key(prefix: &str, kind: char, op: OperationId) -> Vec<u8> {
        let mut key = format!("{prefix}:{kind}:").into_bytes();
        key.extend_from_slice(&op.0);
        key
    }

    /// The time is Redis's own. Only a clock that a test turns by hand is told to it, so that every store
    /// of a test has the same.
    fn timed(&self, mut args: Args) -> Args {
        let number = Item::near;
        let jump = match &self.clock {
            Clock::System => {
                let (heard, steady) = (*self.heard.lock(), self.clock.steady());
                let passed = steady.saturating_sub(heard.steady);
                if heard.at > 0 {
                    args.push(("ran", number(Timestamp(heard.at).plus(passed).0)));
                }
                heard.jump
            }
            Clock::Hand(_) => {
                let now = self.shared.times.lock().tick();
                args.push(("at", number(now.at.0)));
                now.jump
            }
        };
        args.extend([("jump_at", number(jump.at.0)), ("jump_by", number(jump.by))]);
        args.push(("news", Item::bytes(&self.news)));
        args
    }

    fn heard(&self, at: i64) {
        const LEAP_MS: i64 = 60_000;
        if let Clock::Hand(_) = self.clock {
            return;
        }
        let steady = self.clock.steady();
        let mut heard = self.heard.lock();
        if at < heard.at {
            return;
        }
        let ran = Timestamp(heard.at).plus(steady.saturating_sub(heard.steady)).0;
        let by = at.saturating_sub(ran);
        if heard.at > 0 && by > LEAP_MS {
            // Other tenants' scripts have not seen it: they are told.
            heard.jump = Jump { at: Timestamp(at), by: by.saturating_add(heard.jump.by) };
        }
        (heard.at, heard.steady) = (at, steady);
    }

    /// One command, its answer.
    async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.line.ask(command).await?.map_err(|error| line::fault(&error))
    }

    /// One script, its answer: one round trip, or two where the server does not know it yet.
    async fn call(&self, script: &Script, prefix: &str, args: Args) -> Result<Said, Fault> {
        let packed = Item::map(self.timed(args)).write();
        self.trips.fetch_add(1, Ordering::Relaxed);
        let value = match self.line.ask(&script.by_hash(prefix, &packed)).await? {
            Ok(value) => value,
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.ask(&script.by_text(prefix, &packed)).await?
            }
            Err(error) => return Err(line::fault(&error)),
        };
        let mut parts = open::parts(value).ok_or_else(damaged)?.into_iter();
        let word = parts.next().and_then(|word| String::from_utf8(word).ok());
        let at = parts.next().and_then(|at| String::from_utf8(at).ok()?.parse().ok());
        let (Some(word), Some(at)) = (word, at) else { return Err(damaged()) };
        self.heard(at);
        Ok(Said { word, rest: parts.collect() })
    }

    fn tell(&self, record: &Arc<Record>) {
        let caller = &record.about.caller;
        if self.tenants.get(&record.op).is_none() {
            self.tenants.insert(record.op, Arc::clone(&caller.tenant));
        }
        self.shared.waiters.changed(record.op);
    }

    fn known(&self, said: &Said) -> Result<Known, Fault> {
        let how = match said.text(0)? {
            "own" => How::Own,
            _ => How::Same,
        };
        let (record, sealed) = (said.record(1)?, said.raw(2)?);
        self.tell(&record);
        let answer = self.opened(&record, sealed)?;
        Ok(Known { record, how, answer })
    }

    fn opened(&self, record: &Record, sealed: &[u8]) -> Result<Option<StoredAnswer>, Fault> {
        let replayed = matches!(record.state, State::Done { .. });
        if sealed.is_empty() || !replayed || record.answer != AnswerKept::Kept {
            return Ok(None);
        }
        let plain = self.seal.open(record.op, Purpose::Answer, sealed)?;
        codec::read(&plain).ok_or_else(damaged).map(Some)
    }

    async fn recall(&self, name: &Name) -> Result<Recalled, Fault> {
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

    async fn reserve(&self, mut ask: Reserve) -> Result<Reserved, Fault> {
        let request = std::mem::take(&mut ask.request);
        let args = asked::reserve(&ask)?;
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
    fn entry(&self, entry: &Entry, args: &mut Args) -> Option<OperationId> {
        match entry {
            Entry::Approved(op) => {
                args.push(("approved", asked::operation(*op)));
                None
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
            _ => return Err(damaged()),
        };
        Ok(Reserved::Blocked(blocked))
    }

    async fn settle(&self, end: &Settle) -> Result<Settled, Fault> {
        let Some(prefix) = self.prefix_of(end.op).await? else {
            return Ok(Settled::Lost);
        };
        let said = match self.call(&script::SETTLE, &prefix, asked::settle(end)).await {
            // The same settling again is one.
            Err(Fault::StoreAmbiguous(_)) => {
                self.call(&script::SETTLE, &prefix, asked::settle(end)).await?
            }
            said => said?,
        };
        if said.word == "lost" {
            return Ok(Settled::Lost);
        }
        let record = said.record(0)?;
        self.tell(&record);
        match said.word.as_str() {
            "ok" => Ok(Settled::Ok(record)),
            "fenced" => Ok(Settled::Fenced(record)),
            _ => Err(damaged()),
        }
    }

    async fn answer(&self, said: &HoldAnswer) -> Result<Answered, Fault> {
        // Looked at first: what the approver saw is a hash, and a script has none to compare.
        let Some(seen) = self.show(said.op).await? else {
            return Ok(Answered::Lost);
        };
        let prefix = self.prefix(&seen.about.caller.tenant);
        let told = self.call(&script::ANSWER, &prefix, asked::answer(said, &seen)).await?;
        if told.word == "lost" {
            return Ok(Answered::Lost);
        }
        let record = told.record(0)?;
        self.tell(&record);
        match told.word.as_str() {
            "ok" => Ok(Answered::Ok(record)),
            "changed" => Ok(Answered::Changed(record)),
            "too_late" => Ok(Answered::TooLate(record)),
            _ => Err(damaged()),
        }
    }

    async fn collected(&self, op: OperationId) -> Result<(), Fault> {
        if let Some(prefix) = self.prefix_of(op).await? {
            self.call(&script::COLLECTED, &prefix, vec![("op", asked::operation(op))]).await?;
        }
        Ok(())
    }
}

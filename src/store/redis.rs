//! Rows in Redis, for a fleet of replicas. What `step` decides is decided in a script there, atomically: one
//! round trip each for recall, reserve and settle.
//!
//! Never takes an answer that did not come for one: what may have been executed is told apart.
//!
//! Keys: `{fleet:tenant}:<kind>:<name>` for a tenant's rows, `{fleet}:..` for what the fleet has one of. A script
//! gets the prefix as its one declared key and makes the others from it; they share its hash tag, so that in a
//! cluster they are on the node that the script was sent to.

mod asked;
mod bare;
mod claim;
mod durable;
mod epoch;
mod kept;
mod lend;
mod line;
mod look;
mod met;
mod open;
mod pack;
mod reserve;
mod script;
mod sweep;
mod tally;
mod tasks;
mod waiting;
mod witness;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use redis::{Cmd, Value};

use self::asked::Args;
pub use self::bare::Bare;
pub use self::durable::Durability;
use self::line::Line;
use self::met::Met;
pub use self::open::{Address, Kind, Tls};
use self::pack::Item;
use self::script::Script;
use crate::call::OperationId;
use crate::clock::{Clock, Timestamp};
use crate::refusal::Fault;
use crate::store::record::{AnswerKept, Record, Slot, State, StoredAnswer};
use crate::store::seal::{Purpose, SealingKey};
use crate::store::shared::Shared;
use crate::store::step::{
    Answered, Event, HoldAnswer, How, Jump, Known, Note, Reply, Settle, Settled, Swept,
};
use crate::store::{codec, damaged};

/// BOUND: tenants of operations that came by here; an older one is looked for in every tenant.
const TENANTS_MAX: usize = 65_536;
/// BOUND: ordinals of calls without a key that came by here; without one a reserve takes a second trip.
const ORDINALS_MAX: usize = 16_384;
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
    /// How it is reached.
    address: Mutex<Address>,
    seal: Arc<SealingKey>,
    shared: Arc<Shared>,
    clock: Clock,
    fleet: Box<str>,
    news: String,
    /// This process, among those that count their writes.
    me: String,
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
    /// This process's own writes of each tenant's rows, as far as was heard.
    counts: Mutex<HashMap<Box<str>, i64>>,
    /// Whether it has counted less than before.
    went_back: AtomicBool,
    /// Which store effects may rest on; `None` while it is not known to be the one that it was.
    begun: Mutex<Option<Accepted>>,
    /// Which server answered last, and since when it is looked at.
    met: Mutex<Met>,
    /// The number of settlings that each tenant's rows last told.
    settled: Mutex<HashMap<Box<str>, u64>>,
    trips: AtomicU64,
    /// Whether this process is a replica, not one that only looks.
    joined: AtomicBool,
}

/// A store that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Accepted {
    /// Its name, where it is watched over.
    name: Option<Box<str>>,
    /// Since when it does not know all.
    lost: Option<Timestamp>,
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
            address: Mutex::new(address.clone()),
            seal,
            shared,
            clock,
            fleet: address.fleet.clone(),
            news: format!("{}:changed", address.fleet),
            me: epoch::new_name()?,
            heard: Mutex::default(),
            tenants: Cache::new(TENANTS_MAX),
            ordinals: Cache::new(ORDINALS_MAX),
            used: Mutex::default(),
            copied: Mutex::default(),
            failing: Mutex::new(Some(Fault::StoreUnavailable(
                "redis was not asked yet".to_owned(),
            ))),
            judged: Mutex::default(),
            counts: Mutex::default(),
            went_back: AtomicBool::new(false),
            begun: Mutex::new(Some(Accepted::default())),
            met: Mutex::default(),
            settled: Mutex::default(),
            trips: AtomicU64::new(0),
            joined: AtomicBool::new(false),
        });
        let tasks = tasks::start(&inside);
        Ok(Self { inside, _tasks: tasks })
    }

    /// It is reached like this from now on: with another password, by other authorities. The same changes nothing.
    pub fn reach(&self, address: &Address) -> Result<(), Fault> {
        let mut known = self.inside.address.lock();
        if *known != *address {
            self.inside.line.goes(address.road()?);
            *known = address.clone();
        }
        Ok(())
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
            Event::Post(post) => Reply::Posted(inside.post(&post).await?),
            Event::Claim(claim) => Reply::Claimed(inside.claim(&claim).await?),
            Event::Collected(op) => {
                inside.collected(op).await?;
                Reply::Noted
            }
            Event::Note(note) => {
                inside.note(&note).await?;
                Reply::Noted
            }
            Event::Freeze(freeze) => {
                let put = vec![("put", kept::freeze(&freeze))];
                Reply::Lifted(inside.change_freezes(put).await?)
            }
            Event::Tally(tenant, all) => Reply::Tallied(inside.tally(&tenant, &all).await?),
            Event::Unfreeze(id, keep, lift) => {
                Reply::Lifted(inside.change_freezes(kept::lift(&id, keep, lift)).await?)
            }
            Event::Sweep(_, rows) => Reply::Swept(inside.sweep(rows).await?),
            Event::Epoch(change) => {
                inside.change_epoch(change).await?;
                Reply::Noted
            }
            Event::Restore(record) => Reply::Restored(inside.restore(&record).await?),
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
        args.push(("me", Item::bytes(&self.me)));
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
        let heard = self.count_of(prefix);
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
        let count = parts.next().and_then(|n| String::from_utf8(n).ok()?.parse().ok());
        let settled = parts.next().and_then(|n| String::from_utf8(n).ok()?.parse().ok());
        let (Some(word), Some(at), Some((count, settled))) = (word, at, count.zip(settled)) else {
            return Err(damaged());
        };
        self.heard(at);
        self.counted(prefix, heard, count);
        self.settled(prefix, settled);
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
            "twice" => Ok(Answered::Twice(record)),
            _ => Err(damaged()),
        }
    }

    async fn collected(&self, op: OperationId) -> Result<(), Fault> {
        if let Some(prefix) = self.prefix_of(op).await? {
            self.call(&script::COLLECTED, &prefix, vec![("op", asked::operation(op))]).await?;
        }
        Ok(())
    }

    async fn note(&self, note: &Note) -> Result<(), Fault> {
        if let Some(prefix) = self.prefix_of(note.op).await? {
            let (what, by) = (Item::from(&*note.what), Item::from(&*note.by));
            let args = vec![("op", asked::operation(note.op)), ("what", what), ("by", by)];
            self.call(&script::NOTE, &prefix, args).await?;
        }
        Ok(())
    }
}

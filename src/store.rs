//! What must outlive a call? Operations, their budgets, their holds, the freezes; and the one place
//! where it is decided whether a call may be sent.
//!
//! Every decision is [`step::step`], pure and shared by every store. Never sends anything, never asks
//! anybody, never reads a clock but the one it was given.

pub mod ask;
pub mod budget;
pub mod codec;
pub mod draft;
pub mod embedded;
pub mod freeze;
mod loss;
pub mod memory;
pub mod record;
pub mod rows;
pub mod seal;
mod seek;
mod shared;
pub mod step;
pub mod times;
pub mod wait;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

pub use self::ask::{BudgetUse, Entry, HoldTerms, Likeness, Reserve, Take};
pub use self::freeze::{Freeze, FreezeScope, Subject};
pub use self::record::{
    About, AnswerKept, Approval, Hold, Moment, Name, Record, Said, State, StoredAnswer, Token,
};
pub use self::seal::SealingKey;
use self::shared::Shared;
pub use self::step::{
    AnswerIn, Answered, Blocked, Claim, Claimed, Grant, HoldAnswer, How, Jump, Known, Recalled,
    Reserved, Say, Settle, Settled, Swept, Try, Witness,
};
pub use self::wait::Waiter;

use crate::bounds::STORED_ANSWER_BYTES_MAX;
use crate::call::{OperationId, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::embedded::Embedded;
use crate::store::memory::Memory;
use crate::store::record::sha256;
use crate::store::rows::{Key, Meta, Row, Rows, key};
use crate::store::seal::Purpose;
use crate::store::step::{Event, Reply};
use crate::store::times::Times;

/// BOUND: rows a sweep looks at for what was kept long enough; a million rows in some 80 minutes.
const RETAIN_ROWS: usize = 200;
/// BOUND: operations that a listing by an ended state looks at.
const LOOKED_AT_MAX: usize = 5_000;

/// The durable half of a gate.
#[derive(Debug)]
pub struct Store {
    shelf: Shelf,
    shared: Arc<Shared>,
    seal: SealingKey,
    interrupted: Mutex<Vec<Arc<Record>>>,
    /// Why the last effect found no room in it: the disk is full, say.
    failing: Mutex<Option<Fault>>,
    cursor: Mutex<Key>,
}

/// Where the rows are.
#[derive(Debug)]
enum Shelf {
    Memory(Memory),
    Embedded(Embedded),
}

/// Which operations are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed<'t> {
    /// Those that wait for a person; what ends first comes first.
    Held,
    /// Those that a person approved.
    Approved,
    /// Those that are being sent.
    Submitted,
    /// Those that may have happened; the oldest first.
    Unknown,
    /// Those that the vendor says are pending; the oldest first.
    Accepted,
    /// A tenant's, the newest first.
    Tenant(&'t str),
    /// All, the newest first.
    All,
}

/// Runs an event and takes the one reply that belongs to it.
macro_rules! asked {
    ($store:expr, $event:expr => $reply:ident) => {
        if let Reply::$reply(value) = $store.run($event).await? { Ok(value) } else { Err(astray()) }
    };
}

impl Store {
    /// A store that is gone with the process.
    ///
    /// # Errors
    ///
    /// When the system has no random bytes.
    pub fn memory(clock: Clock) -> Result<Self, Fault> {
        let shared = Arc::new(Shared::new(Times::resume(clock, &Meta::default())));
        Ok(Self::new(Shelf::Memory(Memory::default()), shared, SealingKey::random()?))
    }

    /// The store in `dir`; made if there is none. What the last process was sending is unknown now:
    /// [`Store::interrupted`] lists it.
    ///
    /// # Errors
    ///
    /// When another process has it, or it cannot be read or written.
    pub fn embedded(dir: &Path, seal: SealingKey, clock: Clock) -> Result<Self, Fault> {
        let (mut embedded, meta) = Embedded::open(dir)?;
        let shared = Arc::new(Shared::new(Times::resume(clock, &meta)));
        embedded.start(dir, Arc::clone(&shared))?;
        // The lock on the file is the lease: whoever had it before is gone.
        let reply = embedded.run_blocking(Event::Restarted)?;
        let freezes = embedded.read(|rows| Draft::new(rows).freezes())?;
        shared.freezes.store(Arc::new(freezes));
        let store = Self::new(Shelf::Embedded(embedded), shared, seal);
        if let Reply::Swept(swept) = reply {
            *store.interrupted.lock() = swept.changed;
        }
        Ok(store)
    }

    fn new(shelf: Shelf, shared: Arc<Shared>, seal: SealingKey) -> Self {
        let (interrupted, cursor) = (Mutex::default(), Mutex::default());
        Self { shelf, shared, seal, interrupted, failing: Mutex::default(), cursor }
    }

    async fn run(&self, event: Event) -> Result<Reply, Fault> {
        match &self.shelf {
            Shelf::Memory(memory) => memory.run(&event, &self.shared),
            Shelf::Embedded(embedded) => embedded.run(event).await,
        }
    }

    fn read<T>(&self, look: impl FnOnce(&dyn Rows) -> Result<T, Fault>) -> Result<T, Fault> {
        match &self.shelf {
            Shelf::Memory(memory) => memory.read(look),
            Shelf::Embedded(embedded) => embedded.read(look),
        }
    }

    /// Is it known already: by its key, or as the same again? To be asked before the facts are read.
    /// What is new costs no write.
    ///
    /// # Errors
    ///
    /// When the store cannot say; then nothing may be sent.
    pub async fn recall(&self, name: &Name) -> Result<Recalled, Fault> {
        let event = Event::Recall(name.clone());
        let now = self.shared.times.lock().tick();
        let (reply, changes) = self.read(|rows| step::step(rows, &event, now))?;
        let reply = if changes.is_empty() { reply } else { self.run(event).await? };
        let Reply::Recalled(recalled) = reply else {
            return Err(astray());
        };
        Ok(match recalled {
            Recalled::Known(known) => Recalled::Known(self.answered(known)?),
            Recalled::Fresh { .. } | Recalled::Mismatch(_) => recalled,
        })
    }

    /// May it be sent? One atomic answer; `Granted` is durable. The same reserve (same token) again is
    /// answered the same.
    ///
    /// # Errors
    ///
    /// When the store cannot say; then nothing may be sent.
    pub async fn reserve(&self, mut ask: Reserve) -> Result<Reserved, Fault> {
        let sealed_for = match &ask.entry {
            // Known meanwhile: sealed for nobody, so that the step cannot keep it.
            Entry::Asked(name) if !ask.request.is_empty() => {
                Some(self.would_be(name)?.unwrap_or(OperationId([0; 32])))
            }
            Entry::Asked(_) | Entry::Approved(_) => None,
        };
        ask.request = match sealed_for {
            Some(op) => self.seal.seal(op, Purpose::Request, &ask.request)?.into(),
            None => Bytes::new(),
        };
        let reserved = asked!(self, Event::Reserve(Box::new(ask), sealed_for) => Reserved);
        match &reserved {
            Err(fault) => *self.failing.lock() = Some(fault.clone()),
            Ok(Reserved::Granted(_) | Reserved::Held(_)) => *self.failing.lock() = None,
            // Nothing was written: it says nothing of the disk.
            Ok(
                Reserved::Known(_) | Reserved::Mismatch(_) | Reserved::Blocked(_) | Reserved::Lost,
            ) => {}
        }
        let reserved = reserved?;
        if let Reserved::Known(known) = reserved {
            return Ok(Reserved::Known(self.answered(known)?));
        }
        Ok(reserved)
    }

    /// The operation that a name would become now; `None` when it is one already.
    fn would_be(&self, name: &Name) -> Result<Option<OperationId>, Fault> {
        let now = self.shared.times.lock().tick();
        let (reply, _) = self.read(|rows| step::step(rows, &Event::Recall(name.clone()), now))?;
        Ok(match reply {
            Reply::Recalled(Recalled::Fresh { op, .. }) => Some(op),
            Reply::Recalled(Recalled::Mismatch(_) | Recalled::Known(_))
            | Reply::Reserved(_)
            | Reply::Settled(_)
            | Reply::Answered(_)
            | Reply::Claimed(_)
            | Reply::Restored(_)
            | Reply::Lifted(_)
            | Reply::Swept(_)
            | Reply::Noted => None,
        })
    }

    /// Writes down what became of it. `answer` is what replays will get.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have: settle again.
    pub async fn settle(
        &self,
        mut end: Settle,
        answer: Option<&StoredAnswer>,
    ) -> Result<Settled, Fault> {
        end.answer = match answer {
            None => AnswerIn::None,
            Some(answer) if answer.body.len() > STORED_ANSWER_BYTES_MAX => AnswerIn::TooLarge,
            Some(answer) => {
                let plain = codec::write(answer);
                AnswerIn::Keep(self.seal.seal(end.op, Purpose::Answer, &plain)?.into())
            }
        };
        asked!(self, Event::Settle(Box::new(end)) => Settled)
    }

    /// A person, the agent or the gate answers a hold.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn answer(&self, answer: HoldAnswer) -> Result<Answered, Fault> {
        asked!(self, Event::Answer(Box::new(answer)) => Answered)
    }

    /// The agent has its answer: the same again, later, is another call.
    ///
    /// # Errors
    ///
    /// When the store did not write it; nothing is lost but a little patience.
    pub async fn collected(&self, op: OperationId) -> Result<(), Fault> {
        self.run(Event::Collected(op)).await.map(drop)
    }

    /// Ends what is over, and lets go of what was kept long enough. Every second or so.
    ///
    /// # Errors
    ///
    /// When the store did not write it.
    pub async fn sweep(&self) -> Result<Vec<Arc<Record>>, Fault> {
        let from = self.cursor.lock().clone();
        let swept: Swept = asked!(self, Event::Sweep(from, RETAIN_ROWS) => Swept)?;
        *self.cursor.lock() = swept.cursor;
        Ok(swept.changed)
    }

    /// What the last process was sending when it ended; told once.
    pub fn interrupted(&self) -> Vec<Arc<Record>> {
        std::mem::take(&mut self.interrupted.lock())
    }

    /// An operation.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn show(&self, op: OperationId) -> Result<Option<Arc<Record>>, Fault> {
        self.read(|rows| Draft::new(rows).record(op))
    }

    /// An operation and its answer, as a replay gives it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the answer does not open.
    pub async fn show_answer(&self, op: OperationId) -> Result<Option<Known>, Fault> {
        let Some(record) = self.show(op).await? else {
            return Ok(None);
        };
        self.answered(Known { record, how: How::Own, answer: None }).map(Some)
    }

    /// What is to be sent after an approval.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the request does not open.
    pub async fn request(&self, op: OperationId) -> Result<Option<Bytes>, Fault> {
        self.opened(op, Purpose::Request).map(|plain| plain.map(Bytes::from))
    }

    /// Operations in the state of that name, or all, `limit` at most: those that wait the oldest first,
    /// others the newest first. A name that is none has none.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(&self, state: Option<&str>, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        let which = match state {
            None => return self.listed(Listed::All, limit),
            Some("held") => Listed::Held,
            Some("approved") => Listed::Approved,
            Some("submitted") => Listed::Submitted,
            Some("unknown") => Listed::Unknown,
            Some(ended) => {
                // BOUND: ended operations have no list of their own; this many are looked at.
                let mut all = self.listed(Listed::All, LOOKED_AT_MAX)?;
                all.retain(|record| record.state.name() == ended);
                all.truncate(limit);
                return Ok(all);
            }
        };
        let mut open = self.listed(which, limit)?;
        open.sort_by_key(|record| record.created);
        Ok(open)
    }

    /// Operations as one of the lists has them, `limit` at most.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn listed(&self, which: Listed<'_>, limit: usize) -> Result<Vec<Arc<Record>>, Fault> {
        let all = |state| key::due_before(state, Timestamp(i64::MAX));
        let (token, lease) = (Token(0), Timestamp(0));
        let (from, to) = match which {
            Listed::Held => all(State::Held),
            Listed::Approved => all(State::Approved),
            Listed::Submitted => all(State::Submitted { token, lease }),
            Listed::Unknown => all(State::Unknown),
            Listed::Accepted => all(State::Done { outcome: Outcome::Accepted }),
            Listed::Tenant(tenant) => {
                let from = key::by_tenant(tenant, None);
                let to = key::after(&from);
                (from, to)
            }
            Listed::All => (vec![b'c'], key::after(b"c")),
        };
        self.read(|rows| Draft::new(rows).listed(&from, &to, limit))
    }

    /// Whether the last effect that was asked for could be written down.
    ///
    /// # Errors
    ///
    /// Why it could not.
    pub fn health(&self) -> Result<(), Fault> {
        self.failing.lock().clone().map_or(Ok(()), Err)
    }

    /// Operations by the names of [`State::NAMES`].
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn counts(&self) -> Result<[(&'static str, u64); 7], Fault> {
        let meta = self.read(|rows| Draft::new(rows).meta())?;
        let mut counts = meta.counts.into_iter();
        Ok(State::NAMES.map(|name| (name, counts.next().unwrap_or(0))))
    }

    /// How many commits there were: events that came together share one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn batches(&self) -> Result<u64, Fault> {
        self.read(|rows| Draft::new(rows).meta()).map(|meta| meta.batch)
    }

    /// Stops a scope; durable once this returns. Its number is for [`Store::unfreeze`].
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn freeze(
        &self,
        scope: FreezeScope,
        until: Option<Timestamp>,
        reason: &str,
        by: &str,
    ) -> Result<Freeze, Fault> {
        let number = sha256(&Token::random()?.0.to_le_bytes());
        let id: String = number.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let id = format!("fz_{id}").into_boxed_str();
        let at = self.shared.times.lock().tick().at;
        let freeze = Freeze { id, scope, reason: reason.into(), by: by.into(), at, until };
        self.run(Event::Freeze(Box::new(freeze.clone()))).await?;
        Ok(freeze)
    }

    /// No longer stops it; what it was, if there was one.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn unfreeze(&self, id: &str) -> Result<Option<Freeze>, Fault> {
        asked!(self, Event::Unfreeze(id.into()) => Lifted)
    }

    /// Every freeze that still holds.
    pub fn freezes(&self) -> Vec<Freeze> {
        let now = self.shared.times.lock().tick().at;
        let all = self.shared.freezes.load();
        all.iter().filter(|f| f.until.is_none_or(|until| now < until)).cloned().collect()
    }

    /// The freeze that stops a call now, from memory: cheap enough for every read, and for the last look
    /// before the first byte leaves.
    pub fn frozen(&self, subject: &Subject<'_>) -> Option<Freeze> {
        let all = self.shared.freezes.load();
        if all.is_empty() {
            return None;
        }
        let now = self.shared.times.lock().tick().at;
        all.iter().find(|freeze| freeze.stops(subject, now)).cloned()
    }

    /// Waits for an operation to change; `None` when too many wait. Take it before you look.
    pub fn waiter(&self, op: OperationId) -> Option<Waiter> {
        self.shared.waiters.wait_for(op)
    }

    /// Waits until an operation neither waits for a person nor is under way, `span` at most.
    pub async fn changed(&self, op: OperationId, span: Duration) {
        // Taken before the look, so that no change falls between.
        let Some(mut waiter) = self.waiter(op) else {
            return;
        };
        let ended = async {
            while let Ok(Some(record)) = self.show(op).await
                && matches!(record.state, State::Held | State::Approved | State::Submitted { .. })
            {
                waiter.changed().await;
            }
        };
        // Time that is over is an answer, too.
        let _in_time = tokio::time::timeout(span, ended).await.is_ok();
    }

    /// The last time the clock was set forward by more than a minute: budgets are kept longer for it.
    pub fn leap(&self) -> Option<Jump> {
        self.shared.times.lock().leap()
    }

    fn answered(&self, known: Known) -> Result<Known, Fault> {
        let op = known.record.op;
        let answer = match (known.record.state, known.record.answer) {
            (State::Done { .. }, AnswerKept::Kept) => {
                let plain = self.opened(op, Purpose::Answer)?;
                plain.map(|plain| codec::read(&plain).ok_or_else(damaged)).transpose()?
            }
            (_, AnswerKept::Kept | AnswerKept::None | AnswerKept::Gone) => None,
        };
        Ok(Known { answer, ..known })
    }

    fn opened(&self, op: OperationId, what: Purpose) -> Result<Option<Vec<u8>>, Fault> {
        let key = match what {
            Purpose::Request => key::request(op),
            Purpose::Answer => key::answer(op),
            Purpose::Intent => return Ok(None),
        };
        match self.read(|rows| rows.find(&key))? {
            Some(Row::Sealed(sealed)) => self.seal.open(op, what, &sealed).map(Some),
            None => Ok(None),
            Some(_) => Err(damaged()),
        }
    }
}

fn astray() -> Fault {
    Fault::StoreUnavailable("the store answered another question".to_owned())
}

fn damaged() -> Fault {
    Fault::StoreUnavailable("a row is damaged".to_owned())
}

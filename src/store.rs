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
pub mod hold;
mod lend;
mod look;
pub mod loss;
pub mod memory;
mod noted;
pub mod record;
pub mod redis;
pub mod rows;
pub mod seal;
mod seek;
mod shared;
pub mod step;
pub mod tally;
pub mod times;
pub mod wait;
mod waiting;
mod witness;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

pub use self::ask::{
    Against, BrakeUse, BudgetUse, Crowd, Entry, HoldTerms, Likeness, RateUse, Reserve, Take,
};
pub use self::budget::Stood;
pub use self::freeze::{Bearer, Following, Freeze, FreezeScope, Lift, Stops, Subject};
pub use self::hold::{Approval, Hold, Letter, News, Place, Quorum, Risk, Yes};
pub use self::lend::{Lent, Loan, lend};
pub use self::look::Listed;
pub use self::record::{
    About, AnswerKept, Moment, Name, Record, Said, Slot, State, StoredAnswer, Token,
};
pub use self::seal::SealingKey;
use self::shared::Shared;
pub use self::step::{
    AnswerIn, Answered, Blocked, Claim, Claimed, Grant, HoldAnswer, How, Jump, Known, Note, Post,
    Posted, Recalled, Reserved, Say, Settle, Settled, Swept, Try, Whose, Witness, Word,
};
pub use self::tally::{TALLIES_MAX, Tally};
pub use self::wait::Waiter;
pub use self::waiting::Line;

use crate::bounds::STORED_ANSWER_BYTES_MAX;
use crate::call::OperationId;
use crate::clock::{Clock, Timestamp};
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::embedded::Embedded;
use crate::store::memory::Memory;
use crate::store::record::sha256;
use crate::store::redis::Redis;
pub use crate::store::redis::{Address, Durability};
use crate::store::rows::{Key, Meta, Rows};
use crate::store::seal::Purpose;
use crate::store::step::{Event, Reply};
use crate::store::times::Times;

/// BOUND: rows a sweep looks at for what was kept long enough; a million rows in some 80 minutes.
const RETAIN_ROWS: usize = 200;

/// The durable half of a gate.
#[derive(Debug)]
pub struct Store {
    shelf: Shelf,
    shared: Arc<Shared>,
    seal: Arc<SealingKey>,
    interrupted: Mutex<Vec<Arc<Record>>>,
    /// What money needs of it.
    needs: Needs,
    /// Why the last effect found no room in it: the disk is full, say.
    failing: Mutex<Option<Fault>>,
    cursor: Mutex<Key>,
}

/// What financial calls need of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Needs {
    /// Whatever it is: its dangers are told, not acted on.
    #[default]
    Any,
    /// That it forgets nothing that it acknowledged.
    Durable,
}

/// Where the rows are.
#[derive(Debug)]
enum Shelf {
    Memory(Memory),
    Embedded(Embedded),
    Redis(Box<Redis>),
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
        Ok(Self::new(Shelf::Memory(Memory::default()), shared, Arc::new(SealingKey::random()?)))
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
        shared.take_freezes(freezes);
        let store = Self::new(Shelf::Embedded(embedded), shared, Arc::new(seal));
        if let Reply::Swept(swept) = reply {
            *store.interrupted.lock() = swept.changed;
        }
        Ok(store)
    }

    /// The rows of a fleet, in the Redis at `address`; connected when it is first asked, so that a start
    /// does not hang on it. To be made inside a runtime.
    ///
    /// # Errors
    ///
    /// When the address cannot be used.
    pub fn redis(address: &Address, seal: SealingKey, clock: Clock) -> Result<Self, Fault> {
        let shared = Arc::new(Shared::new(Times::resume(clock.clone(), &Meta::default())));
        let seal = Arc::new(seal);
        let redis = Redis::new(address, Arc::clone(&seal), Arc::clone(&shared), clock)?;
        Ok(Self::new(Shelf::Redis(Box::new(redis)), shared, seal))
    }

    /// The same, for financial calls only if it gives what they need.
    #[must_use]
    pub fn needing(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    fn new(shelf: Shelf, shared: Arc<Shared>, seal: Arc<SealingKey>) -> Self {
        let (interrupted, cursor) = (Mutex::default(), Mutex::default());
        let (needs, failing) = (Needs::Any, Mutex::default());
        Self { shelf, shared, seal, interrupted, needs, failing, cursor }
    }

    async fn run(&self, event: Event) -> Result<Reply, Fault> {
        match &self.shelf {
            Shelf::Memory(memory) => memory.run(&event, &self.shared),
            Shelf::Embedded(embedded) => embedded.run(event).await,
            // A conversation over the network is large; no call that needs none carries it along.
            Shelf::Redis(redis) => Box::pin(redis.run(event)).await,
        }
    }

    fn read<T>(&self, look: impl FnOnce(&dyn Rows) -> Result<T, Fault>) -> Result<T, Fault> {
        match &self.shelf {
            Shelf::Memory(memory) => memory.read(look),
            Shelf::Embedded(embedded) => embedded.read(look),
            // Asked by methods of its own: it has no rows to walk.
            Shelf::Redis(_) => Err(astray()),
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
        if let Shelf::Redis(_) = &self.shelf {
            return asked!(self, event => Recalled);
        }
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
    pub async fn reserve(&self, ask: Reserve) -> Result<Reserved, Fault> {
        self.is_the_same()?;
        let reserved = match &self.shelf {
            Shelf::Redis(_) => asked!(self, Event::Reserve(Box::new(ask), None) => Reserved),
            Shelf::Memory(_) | Shelf::Embedded(_) => self.reserve_sealed(ask).await,
        };
        match &reserved {
            Err(fault) => *self.failing.lock() = Some(fault.clone()),
            Ok(Reserved::Granted(_) | Reserved::Held(_)) => *self.failing.lock() = None,
            // Nothing was written: it says nothing of the disk.
            Ok(
                Reserved::Known(_) | Reserved::Mismatch(_) | Reserved::Blocked(_) | Reserved::Lost,
            ) => {}
        }
        let reserved = reserved?;
        // SECURITY: what it just decided may rest on less than it once knew.
        self.is_the_same()?;
        if let Reserved::Known(known) = reserved {
            return Ok(Reserved::Known(self.answered(known)?));
        }
        Ok(reserved)
    }

    /// Sealed for the operation that it would be, and asked.
    async fn reserve_sealed(&self, mut ask: Reserve) -> Result<Reserved, Fault> {
        let sealed_for = match &ask.entry {
            // Known meanwhile: sealed for nobody, so that the step cannot keep it.
            Entry::Asked(name) if !ask.request.is_empty() => {
                Some(self.would_be(name)?.unwrap_or(OperationId([0; 32])))
            }
            Entry::Approved(op) if !ask.request.is_empty() => Some(*op),
            Entry::Asked(_) | Entry::Approved(_) => None,
        };
        ask.request = match sealed_for {
            Some(op) => self.seal.seal(op, Purpose::Request, &ask.request)?.into(),
            None => Bytes::new(),
        };
        asked!(self, Event::Reserve(Box::new(ask), sealed_for) => Reserved)
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
            | Reply::Posted(_)
            | Reply::Restored(_)
            | Reply::Lifted(_)
            | Reply::Tallied(_)
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

    /// Something becomes of a letter to the outside.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have: it is delivered again.
    pub async fn post(&self, post: Post) -> Result<Posted, Fault> {
        asked!(self, Event::Post(Box::new(post)) => Posted)
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
        let id = number("fz")?;
        let at = self.shared.times.lock().tick().at;
        let (reason, by) = (reason.into(), by.into());
        let (issued_before, stops) = (None, Stops::Refused);
        let freeze = Freeze { id, scope, reason, by, at, until, issued_before, stops };
        self.put_freeze(freeze).await
    }

    /// Tokens in that scope that were issued by then count no more; durable once this returns.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn revoke(
        &self,
        scope: FreezeScope,
        issued_before: Timestamp,
        reason: &str,
        by: &str,
    ) -> Result<Freeze, Fault> {
        let at = self.shared.times.lock().tick().at;
        let (id, reason, by) = (number("rv")?, reason.into(), by.into());
        let issued_before = Some(issued_before);
        let (until, stops) = (None, Stops::Refused);
        let revoked = Freeze { id, scope, reason, by, at, until, issued_before, stops };
        self.put_freeze(revoked).await
    }

    async fn put_freeze(&self, freeze: Freeze) -> Result<Freeze, Fault> {
        self.run(Event::Freeze(Box::new(freeze.clone()))).await?;
        // As it is kept: a fleet's store has a time of its own.
        let kept = self.shared.freezes.load().iter().find(|kept| kept.id == freeze.id).cloned();
        Ok(kept.unwrap_or(freeze))
    }

    /// No longer stops it; what it was, if there was one.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn unfreeze(&self, id: &str) -> Result<Option<Freeze>, Fault> {
        self.release(id, crate::bounds::WITHIN_MAX, Lift::Now).await
    }

    /// Every freeze that still holds, and every brake that is on.
    pub fn freezes(&self) -> Vec<Freeze> {
        let now = self.shared.times.lock().tick().at;
        let all = self.shared.freezes.load();
        let holds = |f: &&Freeze| {
            f.issued_before.is_none()
                && f.stops != Stops::Nothing
                && f.until.is_none_or(|until| now < until)
        };
        all.iter().filter(holds).cloned().collect()
    }

    /// Every revocation.
    pub fn revocations(&self) -> Vec<Freeze> {
        let all = self.shared.freezes.load();
        all.iter().filter(|one| one.issued_before.is_some()).cloned().collect()
    }

    /// The revocation of a token, if there is one; from memory, cheap enough for every read.
    pub fn revoked(&self, bearer: &Bearer<'_>) -> Option<Freeze> {
        self.shared.revoked.load().find(bearer).cloned()
    }

    /// The freeze that stops a call now, from memory: cheap enough for every read, and for the last look
    /// before the first byte leaves.
    pub fn frozen(&self, subject: &Subject<'_>) -> Option<Freeze> {
        let all = self.shared.freezes.load();
        // Brakes and revocations stop no call: with nothing else in it no read asks for the time.
        if !all.iter().any(|one| one.stops == Stops::Refused && one.issued_before.is_none()) {
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
        if let Shelf::Redis(redis) = &self.shelf
            && let Some(leap) = redis.leap()
        {
            return Some(leap);
        }
        self.shared.times.lock().leap()
    }
}

/// A name that nothing else has.
fn number(kind: &str) -> Result<Box<str>, Fault> {
    let hash = sha256(&Token::random()?.0.to_le_bytes());
    let id: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{kind}_{id}").into_boxed_str())
}

fn astray() -> Fault {
    Fault::StoreUnavailable("the store answered another question".to_owned())
}

fn damaged() -> Fault {
    Fault::StoreUnavailable("a row is damaged".to_owned())
}

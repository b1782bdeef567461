//! Can we prove it? Every decision as one line of a hash chain, on disk before an effect is sent.
//!
//! Never decides anything, never drops a record silently, and never rewrites one. A chain on a disk
//! that an attacker owns proves nothing by itself: that is what signed checkpoints elsewhere are for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::call::CallerKey;
use crate::clock::{Clock, Timestamp};
use crate::decision::Verdict;
use crate::refusal::{Code, Fault};

mod chain;
mod checkpoint;
mod count;
mod intents;
pub mod keep;
mod record;
mod report;
mod signs;
mod verify;
mod writer;

pub use checkpoint::{Checkpoint, Head, SigningKey, VerifyingKey};
pub use intents::{Intent, Intents, intents, intents_before, latest};
pub use record::{Entry, Event, RequestSeen, UpstreamSeen};
pub use report::{Asked, By, Summary, summary};
pub use signs::{EVERY, RECORDS, Signing};
pub use verify::{Against, Finding, Report, tail, verify, verify_against};

use signs::Signs;

use writer::{Sink, Writer};

/// BOUND: a second of reads at full speed; 4 MiB at most.
const QUEUE_MAX: usize = 8_192;
/// BOUND: more refusals of one caller for one reason in one second are a flood: they are counted.
const REFUSALS_PER_SECOND: u64 = 50;
/// BOUND: callers and reasons that are told apart; the rest is counted together.
const COUNTED_MAX: usize = 1_024;
/// BOUND: a segment is verified in about a second, and copied by hand.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// The audit log of this process.
#[derive(Debug)]
pub struct Audit {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What callers and the writer share.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    wake: Condvar,
    signs: Signs,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<Job>,
    /// Records that were accepted and are not written yet, those of the writer included.
    waiting: usize,
    /// Whether somebody waits for the disk.
    urgent: bool,
    /// Whether the writer sleeps without a limit.
    asleep: bool,
    closing: bool,
    /// Why nothing can be written, if so.
    failure: Option<Arc<str>>,
    counted: HashMap<Option<(CallerKey, Code)>, Count>,
    /// For tests: lines of a log that is only in memory.
    lines: Vec<String>,
}

/// A record on its way.
#[derive(Debug)]
struct Job {
    entry: Entry,
    at: Timestamp,
    done: Option<oneshot::Sender<Result<(), Arc<str>>>>,
}

/// Refusals of one caller for one reason in one second.
#[derive(Debug)]
struct Count {
    second: i64,
    seen: u64,
    like: Option<Box<Entry>>,
}

impl Audit {
    /// Opens the log under `dir`: seals what a crash tore, and begins a new boot.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written, or another process writes it.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, Fault> {
        Self::open_with(dir, clock, SEGMENT_BYTES_MAX)
    }

    /// The same, with checkpoints of it signed.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_signed(dir: &Path, clock: Clock, signing: Signing) -> Result<Self, Fault> {
        let bytes = signing.segment_bytes.unwrap_or(SEGMENT_BYTES_MAX);
        Self::open_in(dir, (clock, bytes), Some(signing))
    }

    /// As [`Audit::open`], with segments of another size.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_with(dir: &Path, clock: Clock, segment_bytes_max: u64) -> Result<Self, Fault> {
        Self::open_in(dir, (clock, segment_bytes_max), None)
    }

    fn open_in(
        dir: &Path,
        (clock, bytes_max): (Clock, u64),
        signing: Option<Signing>,
    ) -> Result<Self, Fault> {
        let fault = |e: std::io::Error| Fault::Audit(format!("{}: {e}", dir.display()));
        let sink = Sink::files(dir, clock.now(), bytes_max).map_err(fault)?;
        Self::begin(sink, clock, signing)
    }

    /// A log that is only in memory, for cases and `explain`.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn in_memory(clock: Clock) -> Result<Self, Fault> {
        Self::begin(Sink::memory(), clock, None)
    }

    fn begin(sink: Sink, clock: Clock, signing: Option<Signing>) -> Result<Self, Fault> {
        let signs = Signs::new(signing);
        let (state, wake) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { clock, state, wake, signs });
        let writer = Writer::new(Arc::clone(&shared), sink).map_err(Fault::Audit)?;
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(|e| Fault::Audit(e.to_string()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Puts an entry on record: returns once it is on disk.
    ///
    /// # Errors
    ///
    /// When it is not: what it stands for must not happen.
    pub async fn record(&self, entry: Entry) -> Result<(), Fault> {
        let (done, written) = oneshot::channel();
        self.shared.push(entry, Some(done))?;
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Fault::Audit(why.to_string())),
            Err(_) => Err(Fault::Audit("the writer has stopped".into())),
        }
    }

    /// Accepts an entry that nothing waits for: a read, a refusal. A crash may lose the last 100 ms.
    ///
    /// # Errors
    ///
    /// When the queue is full: what it stands for must not be answered.
    pub fn note(&self, entry: Entry) -> Result<(), Fault> {
        if entry.decision == Some(Verdict::Refuse)
            && entry.event == Event::Refused
            && self.shared.only_counted(&entry)
        {
            return Ok(());
        }
        self.shared.push(entry, None)
    }

    /// Why effects cannot be put on record now, if so.
    ///
    /// # Errors
    ///
    /// The last failure of the disk.
    pub fn health(&self) -> Result<(), Fault> {
        match &self.shared.state.lock().failure {
            None => Ok(()),
            Some(why) => Err(Fault::Audit(why.to_string())),
        }
    }

    /// What of it is signed, and what of that others have; nothing where no key is.
    pub fn signs(&self) -> &Signs {
        &self.shared.signs
    }

    /// Removes the oldest segments under `dir`, as far as they are due and others have what stands for them; how
    /// many.
    ///
    /// # Errors
    ///
    /// When the log cannot be read or written; nothing is removed that is not on record as removed.
    pub async fn remove_old(&self, dir: &Path) -> Result<usize, Fault> {
        let Some(keep) = self.shared.signs.keep() else { return Ok(0) };
        let (covered, now) = (self.shared.signs.exported(), self.shared.clock.now());
        let dir = dir.to_owned();
        let Some(removal) = beside(move || keep::due(&dir, keep, covered, now)).await? else {
            return Ok(0);
        };
        for intent in &removal.open {
            let coded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&intent.sealed);
            let mut entry = Entry::of(Event::Carried);
            (entry.operation, entry.intent) = (Some(intent.operation), Some(coded.into()));
            self.record(entry).await?;
        }
        let (count, hash) = (removal.records, &removal.hash);
        let note = format!("the first {count} records, up to the one with the hash {hash}");
        let mut entry = Entry::of(Event::Removed);
        (entry.count, entry.note) = (Some(count), Some(note.into()));
        entry.by = Some("audit.keep".into());
        self.record(entry).await?;
        let (removal, ended) = beside(move || {
            let ended = removal.ended_since()?;
            Ok((removal, ended))
        })
        .await?;
        // Their ends may stand before the lines that carried them over: they are said once more, behind.
        for intent in ended {
            let mut entry = Entry::of(Event::Settled);
            (entry.operation, entry.state) = (Some(intent.operation), Some("done"));
            entry.note = Some("its end is on record already".into());
            self.record(entry).await?;
        }
        let segments = removal.segments();
        beside(move || removal.run()).await?;
        Ok(segments)
    }

    /// Records that are accepted and not written yet.
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().waiting
    }

    /// The lines of a log in memory, once everything accepted is written; those there are when nothing
    /// can be written now, or when the writer does not come to it in ten seconds.
    pub fn lines(&self) -> Vec<String> {
        let mut state = self.shared.state.lock();
        state.urgent = true;
        self.shared.wake.notify_all();
        // BOUND: what a full disk keeps from being written may never be.
        for _ in 0..10_000 {
            if state.waiting == 0 || state.failure.is_some() {
                break;
            }
            self.shared.wake.wait_for(&mut state, Duration::from_millis(1));
        }
        state.lines.clone()
    }

    /// Makes every write fail with `why`, or work again: what a full disk does. For a log in memory.
    pub fn fail_with(&self, why: Option<&str>) {
        self.shared.state.lock().failure = why.map(Into::into);
    }

    /// Writes what was accepted and stops. Later records are refused.
    pub fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A writer that panicked has nothing more to write.
            drop(thread.join());
        }
    }
}

/// Reads a log, which may be large, while calls go on.
async fn beside<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    let read = tokio::task::spawn_blocking(read).await.map_err(|e| Fault::Audit(e.to_string()))?;
    read.map_err(|e| Fault::Audit(e.to_string()))
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn push(
        &self,
        entry: Entry,
        done: Option<oneshot::Sender<Result<(), Arc<str>>>>,
    ) -> Result<(), Fault> {
        let at = self.clock.now();
        let mut state = self.state.lock();
        if state.closing {
            return Err(Fault::Audit("it is closed".into()));
        }
        if state.waiting >= QUEUE_MAX {
            let why = state.failure.as_deref().unwrap_or("more than can be written");
            return Err(Fault::Audit(format!("the queue is full: {why}")));
        }
        state.waiting = state.waiting.saturating_add(1);
        state.urgent |= done.is_some();
        state.queue.push(Job { entry, at, done });
        // The writer is woken for who waits, and once for a batch: not for every read.
        let wake = state.urgent || state.asleep;
        state.asleep = false;
        drop(state);
        if wake {
            self.wake.notify_all();
        }
        Ok(())
    }

    /// Counts a refusal; whether it is one too many for a record of its own.
    fn only_counted(&self, entry: &Entry) -> bool {
        let Some(code) = entry.code else { return false };
        let second = self.clock.now().0.div_euclid(1000);
        let mut state = self.state.lock();
        let key = entry.caller.as_ref().map(|caller| (caller.key(), code));
        let room = state.counted.len() < COUNTED_MAX || state.counted.contains_key(&key);
        let count = state.counted.entry(if room { key } else { None });
        let count = count.or_insert(Count { second, seen: 0, like: None });
        if count.second != second {
            if let Some(due) = count.due() {
                let at = self.clock.now();
                *count = Count { second, seen: 1, like: None };
                state.waiting = state.waiting.saturating_add(1);
                state.queue.push(Job { entry: due, at, done: None });
                return false;
            }
            *count = Count { second, seen: 0, like: None };
        }
        count.seen = count.seen.saturating_add(1);
        if count.seen <= REFUSALS_PER_SECOND {
            return false;
        }
        count.like.get_or_insert_with(|| Box::new(entry.clone()));
        if state.asleep {
            state.asleep = false;
            self.wake.notify_all();
        }
        true
    }
}

impl Count {
    /// The record that stands for those beyond the limit.
    fn due(&mut self) -> Option<Entry> {
        let mut entry = *self.like.take()?;
        entry.event = Event::RefusedMore;
        entry.count = Some(self.seen.saturating_sub(REFUSALS_PER_SECOND));
        Some(entry)
    }
}

impl State {
    /// Moves counted refusals of past seconds into the queue; all of them when closing.
    fn count_up(&mut self, now: Timestamp) {
        let second = now.0.div_euclid(1000);
        let closing = self.closing;
        let mut due = Vec::new();
        self.counted.retain(|_, count| {
            if count.second == second && !closing {
                return true;
            }
            due.extend(count.due());
            false
        });
        for entry in due {
            self.waiting = self.waiting.saturating_add(1);
            self.queue.push(Job { entry, at: now, done: None });
        }
    }

    /// Whether a counted refusal waits for its second to pass.
    fn is_counting(&self) -> bool {
        self.counted.values().any(|count| count.like.is_some())
    }
}

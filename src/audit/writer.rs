//! Who writes? One thread: it takes what was accepted, in order, a batch at a time, and syncs once
//! for all that wait.
//!
//! Never tells anybody that a record is on disk before it is.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::chain::{self, End, Failed, ORIGIN, Segment, Sync};
use super::{Job, Shared};
use crate::clock::Timestamp;

/// How long reads are gathered before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// How long the writer sleeps while something is not synced or not counted up.
const IDLE: Duration = Duration::from_millis(100);
/// So many gathered batches make 100 ms: then they are synced, whoever waits.
const BATCHES_UNSYNCED_MAX: u32 = 20;

/// Where lines go.
#[derive(Debug)]
pub(super) enum Sink {
    /// Segments on disk; the lock keeps other processes out.
    Files { segment: Segment, _lock: File },
    /// Memory.
    Memory { hash: String },
}

impl Sink {
    pub(super) fn memory() -> Self {
        Self::Memory { hash: ORIGIN.to_owned() }
    }

    pub(super) fn files(dir: &Path, now: Timestamp, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock = File::options().create(true).append(true).open(dir.join("lock"))?;
        // Two writers would give one chain two ends.
        lock.try_lock().map_err(|_| io::Error::other("another process writes this audit log"))?;
        let mut end = chain::resume(dir, now, &chain::ulid(now, random()?))?;
        if end.chain.is_empty() {
            end.chain = chain::hex(&random()?.to_be_bytes());
        }
        // A clock that was set back does not put a boot before the one it follows.
        let at = now.max(Timestamp(end.after.0.saturating_add(1)));
        let name = chain::ulid(at, random()?);
        let segment = Segment::begin(dir, name, End { ..end }, bytes_max)?;
        Ok(Self::Files { segment, _lock: lock })
    }

    fn hash(&self) -> &str {
        match self {
            Self::Files { segment, .. } => segment.hash(),
            Self::Memory { hash } => hash,
        }
    }
}

fn random() -> io::Result<u128> {
    let random = ring::rand::SystemRandom::new();
    let bytes = ring::rand::generate::<[u8; 16]>(&random);
    bytes
        .map(|b| u128::from_be_bytes(b.expose()))
        .map_err(|_| io::Error::other("no random numbers"))
}

/// The writing thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    /// Event names: random at the start of the process, then counted.
    names: u128,
    /// Records of nobody that waits, kept while the disk fails.
    backlog: Vec<Job>,
    unsynced: u32,
    stopped: Option<Arc<str>>,
    lines: Vec<u8>,
    canonical: Vec<u8>,
    /// Whether what was written could not be synced since.
    is_unsure: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, sink: Sink) -> Result<Self, String> {
        let names = random().map_err(|e| e.to_string())?;
        let (lines, canonical) = (Vec::new(), Vec::new());
        let backlog = Vec::new();
        let (unsynced, stopped, is_unsure) = (0, None, false);
        Ok(Self { shared, sink, names, backlog, unsynced, stopped, lines, canonical, is_unsure })
    }

    pub(super) fn run(mut self) {
        loop {
            let (jobs, closing) = self.gather();
            self.backlog.extend(jobs);
            if !self.backlog.is_empty() {
                let batch = std::mem::take(&mut self.backlog);
                self.write(batch);
            } else if self.unsynced > 0 {
                self.sync();
            }
            if closing {
                self.sync();
                self.sign();
                return;
            }
            if self.shared.signs.is_due(self.shared.clock.steady()) {
                self.sign();
            }
        }
    }

    /// Waits for records: not at all for who waits, a little to make a batch of the others.
    fn gather(&mut self) -> (Vec<Job>, bool) {
        let mut state = self.shared.state.lock();
        if state.queue.is_empty() && !state.closing {
            let is_dirty = self.unsynced > 0 || self.shared.signs.is_dirty();
            if is_dirty || state.is_counting() || !self.backlog.is_empty() {
                self.shared.wake.wait_for(&mut state, IDLE);
            } else {
                state.asleep = true;
                self.shared.wake.wait(&mut state);
                state.asleep = false;
            }
        }
        if !state.urgent && !state.closing && !state.queue.is_empty() {
            self.shared.wake.wait_while_for(&mut state, |s| !s.urgent && !s.closing, GATHER);
        }
        state.urgent = false;
        state.count_up(self.shared.clock.now());
        (std::mem::take(&mut state.queue), state.closing)
    }

    /// Writes a batch: all of it counts or none.
    fn write(&mut self, batch: Vec<Job>) {
        let sync = if batch.iter().any(|job| job.done.is_some()) { Sync::Now } else { Sync::Later };
        match self.try_write(&batch, sync) {
            Ok(()) => {
                let written = batch.len();
                self.tell(None, written);
                for done in batch.into_iter().filter_map(|job| job.done) {
                    // Who no longer waits needs no word.
                    drop(done.send(Ok(())));
                }
                self.unsynced = if sync == Sync::Now { 0 } else { self.unsynced.saturating_add(1) };
                if self.unsynced >= BATCHES_UNSYNCED_MAX {
                    self.sync();
                }
            }
            Err(why) => {
                let (waiting, others): (Vec<_>, Vec<_>) =
                    batch.into_iter().partition(|job| job.done.is_some());
                // What somebody waits for is refused now; what was accepted is kept and tried again.
                self.backlog = others;
                self.tell(Some(&why), waiting.len());
                for done in waiting.into_iter().filter_map(|job| job.done) {
                    drop(done.send(Err(Arc::clone(&why))));
                }
            }
        }
    }

    fn tell(&self, failure: Option<&Arc<str>>, gone: usize) {
        let mut state = self.shared.state.lock();
        state.waiting = state.waiting.saturating_sub(gone);
        if matches!(self.sink, Sink::Files { .. }) {
            state.failure = failure.cloned();
        }
    }

    fn try_write(&mut self, batch: &[Job], sync: Sync) -> Result<(), Arc<str>> {
        if let Some(why) = &self.stopped {
            return Err(Arc::clone(why));
        }
        let now = self.shared.clock.now();
        let name = self.name(now);
        if matches!(&self.sink, Sink::Files { segment, .. } if segment.is_full()) {
            // What a segment holds is signed before the next one begins.
            self.sign();
        }
        if let Sink::Files { segment, .. } = &mut self.sink {
            segment.room(now, &name).map_err(|e| Arc::from(e.to_string()))?;
        }
        let mut hash = self.sink.hash().to_owned();
        self.lines.clear();
        for job in batch {
            let name = self.name(job.at);
            self.canonical.clear();
            job.entry.lay_out(&name, job.at, &hash, &mut self.canonical);
            hash = chain::seal(&hash, &self.canonical, &mut self.lines);
        }
        match &mut self.sink {
            Sink::Files { segment, .. } => {
                match segment.append(&self.lines, (&hash, batch.len()), sync) {
                    Ok(()) => {
                        self.shared.signs.written(batch.len(), (now, self.shared.clock.steady()));
                        Ok(())
                    }
                    Err(Failed::CutBack(why)) => Err(why.into()),
                    Err(Failed::ForGood(why)) => {
                        let why: Arc<str> = why.into();
                        self.stopped = Some(Arc::clone(&why));
                        Err(why)
                    }
                }
            }
            Sink::Memory { hash: last } => {
                let mut state = self.shared.state.lock();
                if let Some(why) = &state.failure {
                    return Err(Arc::clone(why));
                }
                let text = String::from_utf8_lossy(&self.lines);
                state.lines.extend(text.lines().map(str::to_owned));
                *last = hash;
                Ok(())
            }
        }
    }

    fn name(&mut self, at: Timestamp) -> String {
        self.names = self.names.wrapping_add(1);
        chain::ulid(at, self.names)
    }

    fn sync(&mut self) {
        if let Sink::Files { segment, .. } = &self.sink {
            let synced = segment.sync();
            self.is_unsure = synced.is_err();
            if let Err(e) = synced {
                self.shared.state.lock().failure = Some(e.to_string().into());
            }
        }
        self.unsynced = 0;
    }

    /// Signs the end of the chain, if there is anything new.
    ///
    /// INVARIANT: what is signed is on disk: whoever holds a checkpoint may call a shorter log cut off.
    fn sign(&mut self) {
        if !self.shared.signs.is_dirty() {
            return;
        }
        self.sync();
        let Sink::Files { segment, .. } = &self.sink else { return };
        if self.is_unsure {
            return;
        }
        if let Some(note) = self.shared.signs.sign(&segment.head(), self.shared.clock.now()) {
            // Beside the log it is for whoever verifies here; others get theirs all the same.
            if let Err(e) = segment.keep(&note) {
                self.shared.signs.not_kept(&e.to_string());
            }
        }
    }
}

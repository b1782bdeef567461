//! What of the chain is signed, and what of that do others have?
//!
//! Never makes anybody wait: the writer signs what it has written, and whoever exports takes the newest.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::checkpoint::{Checkpoint, Head, SigningKey};
use super::keep::Keep;
use crate::clock::Timestamp;

/// How soon something new is signed, where nothing else is said.
pub const EVERY: Duration = Duration::from_secs(1);
/// After how many records at the latest.
pub const RECORDS: u64 = 1_000;

/// How checkpoints are signed, and what of the log is kept.
#[derive(Debug)]
pub struct Signing {
    /// With which key.
    pub key: SigningKey,
    /// At the latest so long after something new is on record.
    pub every: Duration,
    /// At the latest after so many records.
    pub records: u64,
    /// Which fleet the checkpoints name.
    pub fleet: Option<Box<str>>,
    /// How much of the log is kept; all of it when `None`.
    pub keep: Option<Keep>,
    /// How large a segment grows, where not as usual.
    pub segment_bytes: Option<u64>,
}

/// What is signed.
#[derive(Debug)]
pub struct Signs {
    signing: Option<Signing>,
    state: Mutex<State>,
    newest: watch::Sender<Option<Arc<Checkpoint>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Records since the newest checkpoint, and since when the first of them stands: by both clocks.
    new: u64,
    first: Option<(Timestamp, Duration)>,
    /// Since when the oldest record stands that nobody else has.
    uncovered: Option<Timestamp>,
    /// How many records others have.
    exported: u64,
    /// Why the newest note could not be kept beside the log.
    not_kept: Option<Box<str>>,
    /// Whether the last try to export failed: the first failure and the recovery are told, not each try.
    is_failing: bool,
}

impl Signs {
    pub(super) fn new(signing: Option<Signing>) -> Self {
        Self { signing, state: Mutex::default(), newest: watch::Sender::new(None) }
    }

    /// The newest checkpoint, and every one after it that is there when one looks.
    pub fn newest(&self) -> watch::Receiver<Option<Arc<Checkpoint>>> {
        self.newest.subscribe()
    }

    /// How much of the log is kept.
    pub fn keep(&self) -> Option<Keep> {
        self.signing.as_ref()?.keep
    }

    /// How many records others have, as far as this process knows.
    pub fn exported(&self) -> u64 {
        self.state.lock().exported
    }

    /// How old the oldest record is that nobody else has.
    pub fn uncovered(&self, now: Timestamp) -> Duration {
        self.state.lock().uncovered.map(|at| now.since(at)).unwrap_or_default()
    }

    /// Others have a checkpoint; whether they had none before, for want of a way there.
    pub fn is_exported(&self, checkpoint: &Checkpoint) -> bool {
        let mut state = self.state.lock();
        state.exported = state.exported.max(checkpoint.head.size);
        let newest = self.newest.borrow().as_ref().map_or(0, |newest| newest.head.size);
        state.uncovered = match newest > checkpoint.head.size {
            // What was signed since is younger than this one.
            true => Some(checkpoint.at),
            false => state.first.map(|(at, _)| at),
        };
        std::mem::take(&mut state.is_failing)
    }

    /// Nobody could be told; whether that is news.
    pub fn is_not_exported(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().is_failing, true)
    }

    /// Why the newest note is not beside the log, once.
    pub fn take_not_kept(&self) -> Option<Box<str>> {
        self.state.lock().not_kept.take()
    }

    pub(super) fn not_kept(&self, why: &str) {
        self.state.lock().not_kept = Some(why.into());
    }

    /// So many records more are written.
    pub(super) fn written(&self, count: usize, now: (Timestamp, Duration)) {
        if self.signing.is_none() {
            return;
        }
        let mut state = self.state.lock();
        state.new = state.new.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        state.first.get_or_insert(now);
        state.uncovered.get_or_insert(now.0);
    }

    /// Whether anything is not signed.
    pub(super) fn is_dirty(&self) -> bool {
        self.signing.is_some() && self.state.lock().first.is_some()
    }

    /// Whether it is time to sign what is not.
    pub(super) fn is_due(&self, steady: Duration) -> bool {
        let Some(signing) = &self.signing else { return false };
        let state = self.state.lock();
        let waits = state.first.map(|(_, since)| steady.saturating_sub(since));
        waits.is_some_and(|waits| waits >= signing.every || state.new >= signing.records)
    }

    /// Signs the end of the chain and tells whoever exports; the note.
    pub(super) fn sign(&self, head: &Head, now: Timestamp) -> Option<Box<str>> {
        let signing = self.signing.as_ref()?;
        let checkpoint = signing.key.sign(head, signing.fleet.as_deref(), now);
        let note = checkpoint.note.clone();
        let mut state = self.state.lock();
        (state.new, state.first) = (0, None);
        self.newest.send_replace(Some(Arc::new(checkpoint)));
        Some(note)
    }
}

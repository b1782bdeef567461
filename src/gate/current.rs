//! Which snapshot counts now, and how does another take its place?
//!
//! All of a new one or nothing: what does not read or does not fit changes nothing. A call goes on with the
//! snapshot that it began with; what was counted goes on in the next.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::audit::{Entry, Event};
use crate::clock::Timestamp;
use crate::gate::Gate;
use crate::telemetry::{Level, LogLine};

/// Builds the snapshot that follows another, from whatever the configuration says by now. It may take a while and
/// is called on a thread of its own.
pub type Build = Arc<dyn Fn(&Gate) -> Result<Gate, String> + Send + Sync>;

/// The snapshots of one process.
pub struct Current {
    now: ArcSwap<Gate>,
    build: Option<Build>,
    changed: watch::Sender<()>,
    /// One at a time: each is built upon the one before.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Last>,
}

/// How the last reload went.
#[derive(Debug, Clone, Default)]
struct Last {
    loaded: Option<Timestamp>,
    failed: Option<(Timestamp, String)>,
}

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// It took effect: over policies and contracts, as records name it.
    Now(Arc<str>),
    /// Nothing changed; why, with file and line where there is one.
    Kept(String),
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Current {
    /// Begins with `gate`; without `build` it stays with it.
    pub fn new(gate: Arc<Gate>, build: Option<Build>) -> Self {
        let last = Last { loaded: Some(gate.clock.now()), failed: None };
        let (changed, _) = watch::channel(());
        Self {
            now: ArcSwap::new(gate),
            build,
            changed,
            turn: tokio::sync::Mutex::default(),
            last: Mutex::new(last),
        }
    }

    /// The snapshot that counts now.
    pub fn now(&self) -> Arc<Gate> {
        self.now.load_full()
    }

    /// When the configuration that counts was loaded, and since when and why another was not taken.
    pub fn described(&self) -> serde_json::Value {
        let last = self.last.lock().clone();
        serde_json::json!({
            "loaded": last.loaded.map(|at| at.to_string()),
            "failed": last.failed.map(|(at, why)| serde_json::json!({ "at": at.to_string(), "why": why })),
        })
    }

    /// Reads the configuration again and puts it in the place of the one that counts, whole or not at all.
    /// `by` is put on record.
    pub async fn reload(&self, by: &str) -> Reloaded {
        let _turn = self.turn.lock().await;
        let before = self.now();
        let Some(build) = self.build.clone() else {
            return Reloaded::Kept("this instance has no configuration file".to_owned());
        };
        let result = match built(build, Arc::clone(&before)).await {
            Ok(gate) => self.take(gate, &before, by).await,
            Err(why) => Err(why),
        };
        let now = before.clock.now();
        let outcome = match result {
            Ok(digest) => {
                *self.last.lock() = Last { loaded: Some(now), failed: None };
                Reloaded::Now(digest)
            }
            Err(why) => {
                self.last.lock().failed = Some((now, why.clone()));
                Reloaded::Kept(why)
            }
        };
        tell(&before, by, &outcome);
        outcome
    }

    async fn take(&self, gate: Gate, before: &Gate, by: &str) -> Result<Arc<str>, String> {
        let digest = Arc::clone(&gate.policy_digest);
        let mut entry = Entry::of(Event::Reloaded);
        entry.by = Some(by.into());
        let shadows = gate.rollout.shadows().join("; ");
        let shadow = if shadows.is_empty() { "" } else { "; in shadow: " };
        entry.note = Some(format!("{} -> {digest}{shadow}{shadows}", before.policy_digest).into());
        // On record before it judges anything.
        let recorded = before.audit.record(entry).await;
        recorded.map_err(|fault| format!("it could not be put on record: {fault}"))?;
        gate.tell_shadow();
        self.now.store(Arc::new(gate));
        before.closing.cancel();
        self.changed.send_replace(());
        Ok(digest)
    }

    /// What each snapshot does by itself, until the process stops; then to its end.
    pub async fn run(&self, work: impl Fn(Arc<Gate>) -> Work) {
        let (mut changed, mut running) = (self.changed.subscribe(), JoinSet::new());
        let stopping = self.now().standing.stopping.clone();
        loop {
            changed.borrow_and_update();
            running.spawn(work(self.now()));
            tokio::select! {
                swapped = changed.changed() => if swapped.is_err() { break },
                () = stopping.cancelled() => break,
            }
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    }
}

/// What a snapshot does by itself.
pub type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// On a thread of its own, which ends: what reading and compiling needed goes back to the system.
async fn built(build: Build, before: Arc<Gate>) -> Result<Gate, String> {
    let runtime = tokio::runtime::Handle::current();
    let thread = move || {
        let _inside = runtime.enter();
        build(&before)
    };
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || drop(done.send(thread())));
    result.await.unwrap_or_else(|_| Err("it could not be built".to_owned()))
}

fn tell(gate: &Gate, by: &str, outcome: &Reloaded) {
    let mut line = match outcome {
        Reloaded::Now(digest) => {
            gate.telemetry.reloaded("reloaded");
            let mut line = LogLine::new(Level::Info, "the configuration was reloaded");
            line.text("policy_digest", Some(digest));
            line
        }
        Reloaded::Kept(why) => {
            gate.telemetry.reloaded("kept");
            let what = "the configuration was not reloaded; the old one counts";
            let mut line = LogLine::new(Level::Error, what);
            line.text("why", Some(why));
            line
        }
    };
    line.text("by", Some(by));
    gate.telemetry.tell(line);
}

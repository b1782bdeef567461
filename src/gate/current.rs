//! Which snapshot counts now, and how does another take its place?
//!
//! All of a new one or nothing: what does not read or does not fit changes nothing. A call goes on with the
//! snapshot that it began with; what was counted goes on in the next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::audit::{Entry, Event};
use crate::clock::Timestamp;
use crate::gate::Gate;
use crate::telemetry::{Level, LogLine};

/// Builds what follows a snapshot, from whatever the configuration says by now. It may take a while and is called on
/// a thread of its own.
pub type Build = Arc<dyn Fn(&Gate) -> Result<Next, String> + Send + Sync>;

/// What follows a snapshot, whole; dropped, nothing is another.
pub struct Next {
    /// The snapshot.
    pub gate: Gate,
    /// Brings listeners into line with it, once it counts; what came and what went, for the log.
    pub then: Box<dyn FnOnce() -> Vec<String> + Send>,
    /// How long what came in by a listener that goes may take to be answered.
    pub drain: Duration,
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("drain", &self.drain).finish_non_exhaustive()
    }
}

/// The snapshots of one process.
pub struct Current {
    now: ArcSwap<Gate>,
    build: Option<Build>,
    changed: watch::Sender<()>,
    /// One at a time: each is built upon the one before.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Last>,
    /// Snapshots of listeners that go, until what came in by them is answered.
    gone: Arc<Mutex<Vec<Gone>>>,
}

/// A listener that goes, and the snapshot that it was last served by.
#[derive(Debug)]
struct Gone {
    listener: usize,
    gate: Arc<Gate>,
}

/// How the last reload went.
#[derive(Debug, Clone, Default)]
struct Last {
    loaded: Option<Timestamp>,
    failed: Option<(Timestamp, String)>,
}

/// The digest of what counts now, and what is served since.
type Taken = (Arc<str>, Vec<String>);

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
            gone: Arc::default(),
        }
    }

    /// The snapshot that counts now.
    pub fn now(&self) -> Arc<Gate> {
        self.now.load_full()
    }

    /// The snapshot by which a call is judged that comes in by `listener`: the one that counts now, unless that knows
    /// the listener no more.
    #[inline]
    pub fn of(&self, listener: usize) -> Arc<Gate> {
        let now = self.now();
        if now.catalog.serves(listener) { now } else { self.before(listener, now) }
    }

    /// Who was still asking while the listener went is answered as before.
    #[cold]
    fn before(&self, listener: usize, now: Arc<Gate>) -> Arc<Gate> {
        let gone = self.gone.lock();
        let last = gone.iter().rev().find(|gone| gone.listener == listener);
        last.map_or(now, |gone| Arc::clone(&gone.gate))
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
            Ok(next) => self.take(next, &before, by).await,
            Err(why) => Err(why),
        };
        let now = before.clock.now();
        let (outcome, served) = match result {
            Ok((digest, served)) => {
                *self.last.lock() = Last { loaded: Some(now), failed: None };
                (Reloaded::Now(digest), served)
            }
            Err(why) => {
                self.last.lock().failed = Some((now, why.clone()));
                (Reloaded::Kept(why), Vec::new())
            }
        };
        tell(&before, by, &outcome, &served);
        outcome
    }

    async fn take(&self, next: Next, before: &Arc<Gate>, by: &str) -> Result<Taken, String> {
        let Next { gate, then, drain } = next;
        let digest = Arc::clone(&gate.policy_digest);
        let mut entry = Entry::of(Event::Reloaded);
        entry.by = Some(by.into());
        entry.note = Some(format!("{} -> {digest}", before.policy_digest).into());
        // On record before it judges anything.
        let recorded = before.audit.record(entry).await;
        recorded.map_err(|fault| format!("it could not be put on record: {fault}"))?;
        self.let_go(before, &gate, drain);
        self.now.store(Arc::new(gate));
        let served = then();
        let now = self.now();
        for name in before.sites.keys().filter(|name| !now.sites.contains_key(*name)) {
            now.telemetry.upstream_gone(name);
        }
        before.closing.cancel();
        self.changed.send_replace(());
        Ok((digest, served))
    }

    /// Keeps `before` for the listeners that `gate` knows no more, until what came in by them is answered.
    fn let_go(&self, before: &Arc<Gate>, gate: &Gate, drain: Duration) {
        let roads = before.catalog.roads().iter();
        let mut going: Vec<usize> = roads
            .map(|road| road.listener)
            .filter(|listener| !gate.catalog.serves(*listener))
            .collect();
        going.dedup();
        if going.is_empty() {
            return;
        }
        let gone = |listener| Gone { listener, gate: Arc::clone(before) };
        self.gone.lock().extend(going.into_iter().map(gone));
        let (all, before) = (Arc::clone(&self.gone), Arc::clone(before));
        tokio::spawn(async move {
            tokio::time::sleep(drain).await;
            all.lock().retain(|gone| !Arc::ptr_eq(&gone.gate, &before));
        });
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
async fn built(build: Build, before: Arc<Gate>) -> Result<Next, String> {
    let runtime = tokio::runtime::Handle::current();
    let thread = move || {
        let _inside = runtime.enter();
        build(&before)
    };
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || drop(done.send(thread())));
    result.await.unwrap_or_else(|_| Err("it could not be built".to_owned()))
}

fn tell(gate: &Gate, by: &str, outcome: &Reloaded, served: &[String]) {
    let mut line = match outcome {
        Reloaded::Now(digest) => {
            gate.telemetry.reloaded("reloaded");
            let mut line = LogLine::new(Level::Info, "the configuration was reloaded");
            line.text("policy_digest", Some(digest));
            let served = served.join(", ");
            line.text("listeners", Some(served.as_str()).filter(|served| !served.is_empty()));
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

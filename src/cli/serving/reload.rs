//! When is the configuration read again, and what follows then? At a signal, when somebody asks the console, and when
//! a file of it has changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Sides, Wanted};
use crate::config::{self, Config, Files, Fixed};
use crate::gate::{Build, Current, Gate, Next};
use crate::yaml::ConfigErrors;

/// BOUND: a changed file counts within two seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// BOUND: whoever writes several files, or one slowly, is waited for as long as something still changes, so long at
/// most.
const SETTLE: Duration = Duration::from_millis(200);
const SETTLES_MAX: u32 = 25;

/// The files of the configuration that counts, as they were read.
type Known = Arc<Mutex<Files>>;

/// How the configuration of a file is read again.
#[derive(Debug, Clone)]
pub(super) struct Rebuilds {
    file: PathBuf,
    fixed: Fixed,
    files: Known,
    sides: Arc<OnceLock<Weak<Sides>>>,
}

impl Rebuilds {
    pub(super) fn new(file: &Path, config: &Config) -> Self {
        let (file, fixed) = (file.to_owned(), Fixed::of(config));
        Self {
            file,
            fixed,
            files: Arc::new(Mutex::new(config.files.clone())),
            sides: Arc::default(),
        }
    }

    /// What follows a snapshot.
    pub(super) fn build(&self) -> Build {
        let own = self.clone();
        Arc::new(move |before| own.next(before))
    }

    fn next(&self, before: &Gate) -> Result<Next, String> {
        let mut config = config::load(&self.file).map_err(|e| e.to_string())?;
        let changed = self.fixed.differs(&Fixed::of(&config));
        if !changed.is_empty() {
            let keys = changed.join("`, `");
            return Err(format!(
                "{}: what changed under `{keys}` counts only after a restart: restart, or take it back",
                self.file.display()
            ));
        }
        let sides = self.sides.get().and_then(Weak::upgrade).ok_or("the process ends")?;
        let (wanted, drain) = (Wanted::of(&config), config.drain);
        let read = std::mem::take(&mut config.files);
        let told = |e: ConfigErrors| e.to_string();
        let vault = config::vault(&config).map_err(told)?;
        let keep = config::Keep::After(before);
        let gate = config::gate(config, vault, keep, before.clock.clone()).map_err(told)?;
        let agents = sides.agents.prepare(wanted.agents, &gate).map_err(told)?;
        let operators = sides.operators.prepare(wanted.operators, &gate, |_| Ok(None));
        let operators = operators.map_err(told)?;
        let files = Arc::clone(&self.files);
        let then = Box::new(move || {
            let mut told = sides.agents.apply(agents);
            told.extend(sides.operators.apply(operators));
            *files.lock() = read;
            told
        });
        Ok(Next { gate, then, drain })
    }

    /// Reads it again for as long as the process serves: at SIGHUP, and when a file of it has changed.
    pub(super) fn follow(
        self,
        tasks: &mut JoinSet<()>,
        (current, sides): (&Arc<Current>, &Arc<Sides>),
        hup: Signal,
    ) {
        // Set here alone.
        self.sides.set(Arc::downgrade(sides)).unwrap_or_default();
        tasks.spawn(at_signal(Arc::clone(current), hup));
        tasks.spawn(follow(Arc::clone(current), self.files));
    }
}

/// SIGHUP reads the configuration again.
async fn at_signal(current: Arc<Current>, mut hup: Signal) {
    let stopping = current.now().standing.stopping.clone();
    while come(&mut hup, &stopping).await {
        current.reload("SIGHUP").await;
    }
}

/// Whether a signal came before the end.
pub(super) async fn come(signal: &mut Signal, stopping: &CancellationToken) -> bool {
    tokio::select! {
        come = signal.recv() => come.is_some(),
        () = stopping.cancelled() => false,
    }
}

/// So does a file of it that has changed. One that does not read or fit is tried again when it changes again.
async fn follow(current: Arc<Current>, files: Known) {
    let stopping = current.now().standing.stopping.clone();
    let mut tried: Option<Files> = None;
    while tokio::time::timeout(LOOK_EVERY, stopping.cancelled()).await.is_err() {
        let known = files.lock().clone();
        if known.now() == known {
            // Perhaps what did not fit was taken back.
            tried = None;
            continue;
        }
        let Some(settled) = settled(&known, &stopping).await else { return };
        if tried.as_ref() == Some(&settled) {
            continue;
        }
        tried = Some(settled);
        current.reload("a changed file").await;
    }
}

/// The files once nothing changes any more; `None` at the end of the process.
async fn settled(files: &Files, stopping: &CancellationToken) -> Option<Files> {
    let mut seen = files.now();
    for _ in 0..SETTLES_MAX {
        if tokio::time::timeout(SETTLE, stopping.cancelled()).await.is_ok() {
            return None;
        }
        let now = seen.now();
        if now == seen {
            break;
        }
        seen = now;
    }
    Some(seen)
}

//! When is the configuration read again, and what follows then? At a signal, when somebody asks the console, and when
//! a file of it has changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Files, Fixed};
use crate::gate::{Build, Current};

/// BOUND: a changed file counts within two seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// BOUND: whoever writes several files, or one slowly, is waited for as long as something still changes, so long at
/// most.
const SETTLE: Duration = Duration::from_millis(200);
const SETTLES_MAX: u32 = 25;

/// The files of the configuration that counts, as they were read.
type Known = Arc<Mutex<Files>>;

/// What follows a gate when its configuration is read again, and which files that is.
pub(super) fn build(file: &Path, config: &Config) -> (Build, Known) {
    let (file, fixed) = (file.to_owned(), Fixed::of(config));
    let files: Known = Arc::new(Mutex::new(config.files.clone()));
    let known = Arc::clone(&files);
    let build: Build = Arc::new(move |before| {
        let mut config = config::load(&file).map_err(|e| e.to_string())?;
        let changed = fixed.differs(&Fixed::of(&config));
        if !changed.is_empty() {
            let keys = changed.join("`, `");
            return Err(format!(
                "{}: what changed under `{keys}` counts only after a restart: restart, or take it back",
                file.display()
            ));
        }
        let read = std::mem::take(&mut config.files);
        let vault = config::vault(&config).map_err(|e| e.to_string())?;
        let gate = config::gate(config, vault, config::Keep::After(before), before.clock.clone());
        let gate = gate.map_err(|e| e.to_string())?;
        *known.lock() = read;
        Ok(gate)
    });
    (build, files)
}

/// SIGHUP reads the configuration again.
pub(super) async fn at_signal(current: Arc<Current>, mut hup: Signal) {
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
pub(super) async fn follow(current: Arc<Current>, files: Known) {
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

//! Is the store still the one that it was? A new one is begun, one that is known is taken as it is, one
//! that was lost gets back what was about to be sent; its name is kept beside the log.
//!
//! Never lets an effect rest on a store that is not known.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::audit;
use crate::clock::Timestamp;
use crate::gate::Gate;
use crate::refusal::Fault;
use crate::store::loss::Known;

/// BOUND: how soon a loss that nobody ran into is found.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The name of the store that the log belongs to.
const NAME_FILE: &str = "store-name";

impl Gate {
    /// Looks at a fleet's store until the gate closes.
    pub(super) async fn watch_store(&self) {
        let mut told = String::new();
        while self.store.is_shared() && !self.closing.is_cancelled() {
            match self.know_store().await {
                Ok(()) => told.clear(),
                Err(fault) => {
                    let why = fault.to_string();
                    if told != why {
                        self.tell_fault("effects wait: the store is not known", &fault);
                        told = why;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// Takes the store as it is, begins it, or puts back what it lost.
    ///
    /// # Errors
    ///
    /// Why it is not known.
    pub async fn know_store(&self) -> Result<(), Fault> {
        let known = self.store.known().await?;
        let before = self.store_name()?;
        let forgot = known.went_back || known.doubted;
        match (&known.name, &before) {
            (Some(name), Some((before, since))) if **name == **before && !forgot => {
                if self.is_missing_effects(*since).await? {
                    self.store.distrust();
                    return Err(Fault::StoreUnavailable("it misses what this log has".to_owned()));
                }
                self.store.accept(&known);
                Ok(())
            }
            // This log has seen no other: what stands there is what others know.
            (Some(_), None) => self.take_up(&known).await,
            (None, None) if self.is_new()? => {
                self.store.begin().await?;
                let known = self.store.known().await?;
                self.take_up(&known).await
            }
            (None, None) if self.store.is_shared() => Err(Fault::StoreUnavailable(
                "it was never begun, or has lost everything; a new one is begun with \
                 `tollhouse run --init-store`"
                    .to_owned(),
            )),
            _ => {
                if known.name.is_some() && known.went_back {
                    // The others are told before a log is read, which may take a while.
                    self.store.doubt().await?;
                }
                self.put_back().await?;
                // Somebody else found it first, and it has its new name: nothing more is lost.
                if known.name.is_none() || forgot {
                    self.store.begin_again().await?;
                }
                self.store.forgive();
                let known = self.store.known().await?;
                self.take_up(&known).await?;
                self.tell_loss();
                Ok(())
            }
        }
    }

    async fn take_up(&self, known: &Known) -> Result<(), Fault> {
        let Some(name) = &known.name else {
            return Err(Fault::StoreUnavailable("it lost its name again".to_owned()));
        };
        if let Some(file) = self.name_file() {
            let write = || {
                std::fs::write(&file, format!("{name}\n{}\n", self.clock.now()))?;
                std::fs::File::open(&file)?.sync_all()
            };
            write().map_err(|e| Fault::Audit(format!("{}: {e}", file.display())))?;
        }
        // What it is taken for now, it is held to from now on.
        self.standing.unrecorded.is_compared.store(true, Ordering::Release);
        self.store.accept(known);
        Ok(())
    }

    async fn put_back(&self) -> Result<(), Fault> {
        let Some(dir) = self.audit_dir.clone() else { return Ok(()) };
        // A log may be large: calls go on while it is read.
        let reading = tokio::task::spawn_blocking(move || audit::intents(&dir));
        let intents = reading.await.map_err(|e| Fault::Audit(e.to_string()))?;
        let intents = intents.map_err(|e| Fault::Audit(e.to_string()))?;
        let open: Vec<_> = intents.open.into_iter().map(|i| (i.operation, i.sealed)).collect();
        self.store.restore(&open).await.map(drop)
    }

    /// Whether nobody knows of anything that it could have lost.
    fn is_new(&self) -> Result<bool, Fault> {
        if self.store_is_new {
            return Ok(true);
        }
        // One on this disk is as old as the log beside it; one for a fleet may be known to others.
        let Some(dir) = self.audit_dir.as_ref().filter(|_| !self.store.is_shared()) else {
            return Ok(false);
        };
        let intents = audit::intents(dir).map_err(|e| Fault::Audit(e.to_string()))?;
        Ok(intents.effects == 0)
    }

    fn name_file(&self) -> Option<PathBuf> {
        // The embedded store stands beside its log: its own count of losses is name enough.
        let dir = self.audit_dir.as_ref().filter(|_| self.store.is_shared())?;
        Some(dir.join(NAME_FILE))
    }

    /// The name of the store that the log belongs to, and since when it does.
    fn store_name(&self) -> Result<Option<(String, Option<Timestamp>)>, Fault> {
        let Some(file) = self.name_file() else { return Ok(None) };
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let mut lines = text.lines();
                let name = lines.next().unwrap_or_default().to_owned();
                Ok(Some((name, lines.next().and_then(Timestamp::parse))))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Fault::Audit(format!("{}: {e}", file.display()))),
        }
    }
}

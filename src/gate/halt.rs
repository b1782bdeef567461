//! Is this process told to stop, by a file or by a signal? Both work while the store is down: they stop this
//! process at once. A signal is then written into the store, for all.

use std::path::Path;
use std::time::Duration;

use crate::approval::{Answers, Operator, Tenants};
use crate::audit::{Entry, Event};
use crate::freeze::{self, scopes_of_file};
use crate::gate::Gate;
use crate::store::FreezeScope;
use crate::telemetry::{Level, LogLine};

/// BOUND: a file that appears stops everything within a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Who, on record.
const FILE: &str = "file";
const SIGNAL: &str = "signal";

impl Gate {
    /// Follows the file at `path` until the gate closes: while it is there, what it names is stopped. Once
    /// looked at before anybody is served.
    pub async fn follow_freeze_file(&self, path: &Path) {
        while !self.closing.is_cancelled() {
            self.look_at_freeze_file(path).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// Stops what the file names now, or lifts what it stopped.
    pub async fn look_at_freeze_file(&self, path: &Path) {
        let (scopes, fault) = match tokio::fs::read_to_string(path).await {
            Ok(text) => match scopes_of_file(&text) {
                Ok(scopes) => (scopes, None),
                Err((all, why)) => (all, Some(why)),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (Vec::new(), None),
            // SECURITY: one that is there and cannot be read was made by somebody.
            Err(e) => (vec![FreezeScope::default()], Some(e.to_string())),
        };
        let named = path.display();
        let why = match fault {
            None => named.to_string(),
            Some(fault) => format!("{named} does not read, so everything is stopped: {fault}"),
        };
        self.stop_here(FILE, scopes, &why).await;
    }

    /// Stops everything: here at once, and for the whole fleet as soon as the store takes it.
    pub async fn freeze_by_signal(&self) {
        let everything = FreezeScope::default();
        self.stop_here(SIGNAL, vec![everything.clone()], "SIGUSR1").await;
        let operator = Operator {
            name: SIGNAL.into(),
            subject: None,
            roles: Vec::new(),
            tenants: Tenants::All,
            answers: Answers::Nothing,
        };
        while !self.standing.stopping.is_cancelled() {
            match self.freeze(everything.clone(), None, "SIGUSR1", &operator).await {
                // From now on it is lifted like any other.
                Ok(_) => {
                    self.freezes.stop_here(SIGNAL, Vec::new(), "");
                    return;
                }
                Err(fault) => {
                    self.tell_fault(
                        "a freeze by signal holds here; the store does not take it yet",
                        &fault,
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.standing.stopping.cancelled() => {}
            }
        }
    }

    async fn stop_here(&self, by: &str, scopes: Vec<FreezeScope>, why: &str) {
        let words: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        let words = words.join("; ");
        let Some(changed) = self.freezes.stop_here(by, scopes, why) else { return };
        let event = match changed {
            freeze::Event::Stopped => Event::Frozen,
            freeze::Event::Lifted => Event::Unfrozen,
        };
        let mut line = LogLine::new(Level::Warn, &format!("{} in this process", event.name()));
        line.text("by", Some(by)).text("scope", Some(&words)).text("why", Some(why));
        self.telemetry.tell(line);
        let mut entry = Entry::of(event);
        entry.by = Some(by.into());
        entry.note = Some(crate::redact::text(&format!("{words} ({why})")).into());
        if let Err(fault) = self.audit.record(entry).await {
            self.tell_fault(
                "a freeze of this process could not be put on record; it holds",
                &fault,
            );
        }
        if changed == freeze::Event::Lifted {
            self.standing.wake.notify_one();
        }
    }
}

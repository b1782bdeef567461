//! Do others have what was signed of the record, and may its oldest part go? Beside the path, by whoever keeps
//! checkpoints.
//!
//! Never in the way of a call: where nobody takes them it is loud, and calls go on. The newest stands for all before
//! it, so it is the only one that is tried.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::audit::Checkpoint;
use crate::gate::Gate;
use crate::notify::{Place, Signer, Witness};
use crate::outbound::{Connection, Exchange};
use crate::telemetry::{Level, LogLine};

/// BOUND: who does not take a line for so long is taken for gone.
const PRINT_WITHIN: Duration = Duration::from_secs(5);
/// How soon it is tried again, and at the latest.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);
/// BOUND: what is kept is counted in days, or in segments of 64 MiB.
const LOOK_EVERY: Duration = Duration::from_mins(1);

impl Gate {
    /// Gives whoever keeps them each checkpoint that is the newest when they have time for it.
    pub(super) async fn export_until_closed(&self) {
        let Some(witness) = &self.notify.witness else { return };
        let mut newest = self.audit.signs().newest();
        let mut again = AGAIN_AFTER;
        while !self.closing.is_cancelled() {
            let checkpoint = newest.borrow_and_update().clone();
            let due = checkpoint.filter(|one| one.head.size > self.audit.signs().exported());
            let is_well = match &due {
                None => true,
                Some(checkpoint) => tokio::select! {
                    is_well = self.export(witness, checkpoint) => is_well,
                    () = self.closing.cancelled() => return,
                },
            };
            self.tell_not_kept();
            if is_well {
                again = AGAIN_AFTER;
                tokio::select! {
                    changed = newest.changed() => if changed.is_err() { return },
                    () = self.closing.cancelled() => return,
                }
            } else {
                tokio::select! {
                    () = tokio::time::sleep(again) => {}
                    () = self.closing.cancelled() => return,
                }
                again = again.saturating_mul(2).min(AGAIN_AFTER_MAX);
            }
        }
    }

    /// The end of the record, once it is closed.
    pub async fn export_last(&self) {
        let checkpoint = self.audit.signs().newest().borrow().clone();
        if let (Some(witness), Some(checkpoint)) = (&self.notify.witness, checkpoint)
            && checkpoint.head.size > self.audit.signs().exported()
        {
            self.export(witness, &checkpoint).await;
        }
    }

    async fn export(&self, witness: &Witness, checkpoint: &Checkpoint) -> bool {
        let head = &checkpoint.head;
        let done = match witness {
            Witness::Stdout => self.print(checkpoint).await,
            Witness::Redis => {
                let kept = self.store.keep_checkpoint(&head.chain, head.size, &checkpoint.note);
                kept.await.map_err(|fault| fault.to_string())
            }
            Witness::Webhook { place, signer } => {
                Box::pin(self.post_checkpoint(place, signer, checkpoint)).await
            }
        };
        match done {
            Ok(()) => {
                self.telemetry.checkpoint("exported");
                if self.audit.signs().is_exported(checkpoint) {
                    let what = "checkpoints of the record are exported again";
                    self.telemetry.tell(LogLine::new(Level::Info, what));
                }
                true
            }
            Err(why) => {
                self.telemetry.checkpoint("failed");
                if self.audit.signs().is_not_exported() {
                    let what =
                        "checkpoints of the record are not exported: nobody else can hold us to it";
                    let mut line = LogLine::new(Level::Error, what);
                    line.text("to", Some(witness.described())).text("why", Some(&why));
                    line.text(
                        "do",
                        Some("see that it takes them; what was missed is made up for by the next"),
                    );
                    self.telemetry.tell(line);
                }
                false
            }
        }
    }

    /// One line of standard output, by a thread of its own: a pipe that nobody reads stops that one and nothing else.
    async fn print(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        let head = &checkpoint.head;
        let line = json!({
            "kind": "checkpoint",
            "time": checkpoint.at.to_string(),
            "chain": head.chain,
            "boot": head.boot,
            "size": head.size,
            "note": checkpoint.note,
        });
        let printing = Arc::clone(&self.standing.printing);
        if printing.swap(true, Ordering::AcqRel) {
            return Err("the line before is still not taken".to_owned());
        }
        let done = print_beside(format!("{line}\n"), printing)?;
        match timeout(PRINT_WITHIN, done).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err("it could not be written".to_owned()),
            Err(_) => Err("nobody reads it".to_owned()),
        }
    }

    async fn post_checkpoint(
        &self,
        place: &Place,
        signer: &Signer,
        checkpoint: &Checkpoint,
    ) -> Result<(), String> {
        let head = &checkpoint.head;
        let about = (&*head.chain, head.size, &*checkpoint.note);
        let message = Witness::message((place, signer), about, self.clock.now());
        let message = message.ok_or("there is no key to sign it with")?;
        match self.outbound.exchange(place.upstream(), message, Connection::Fresh).await {
            Exchange::Answered(reply) if (200..300).contains(&reply.status) => Ok(()),
            Exchange::Answered(reply) => Err(format!("it answered {}", reply.status)),
            Exchange::NotSent(why) | Exchange::Unknown(why) => Err(place.why(&why).to_owned()),
        }
    }

    fn tell_not_kept(&self) {
        if let Some(why) = self.audit.signs().take_not_kept() {
            let what = "a checkpoint could not be kept beside the record";
            let mut line = LogLine::new(Level::Warn, what);
            line.text("why", Some(&why));
            self.telemetry.tell(line);
        }
    }

    /// How old the oldest record is that nobody else can hold us to.
    pub(super) fn count_checkpoints(&self) {
        if self.notify.witness.is_some() {
            self.telemetry.checkpoint_age(self.audit.signs().uncovered(self.clock.now()));
        }
    }

    /// Removes what is too old or too much of the record, and covered by what others have.
    pub(super) async fn keep_until_closed(&self) {
        let Some(dir) = &self.audit_dir else { return };
        if self.audit.signs().keep().is_none() {
            return;
        }
        while timeout(LOOK_EVERY, self.closing.cancelled()).await.is_err() {
            match self.audit.remove_old(dir).await {
                Ok(0) => {}
                Ok(segments) => {
                    let mut line =
                        LogLine::new(Level::Info, "old segments of the record were removed");
                    line.shown("segments", Some(&segments));
                    self.telemetry.tell(line);
                }
                Err(fault) => self.tell_fault("old segments of the record stay", &fault),
            }
        }
    }
}

/// Writes a line; `printing` says when it is done, however long that takes.
fn print_beside(
    line: String,
    printing: Arc<AtomicBool>,
) -> Result<oneshot::Receiver<Result<(), String>>, String> {
    let (say, done) = oneshot::channel();
    let own = Arc::clone(&printing);
    let begun = std::thread::Builder::new().name("print".into()).spawn(move || {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        drop(out);
        own.store(false, Ordering::Release);
        // Who waited for it may have gone.
        drop(say.send(written.map_err(|e| e.to_string())));
    });
    if let Err(e) = begun {
        printing.store(false, Ordering::Release);
        return Err(e.to_string());
    }
    Ok(done)
}

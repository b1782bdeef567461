//! Is somebody outside still to be told? Letters leave the store here: one replica takes each, tells whoever
//! has not got it, and says so.
//!
//! At least once, never without a record of giving up, never with a vendor's secret. A hold whose letter
//! nobody takes waits on the page all the same.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::broadcast::error::RecvError;

use crate::audit::{Entry, Event};
use crate::call::OperationId;
use crate::gate::Gate;
use crate::notify::{self, Destination, Due, PATIENCE};
use crate::outbound::{Connection, Stream};
use crate::store::{Letter, Post, Posted, Record, Word as PostWord};
use crate::telemetry::{Level, LogLine};

/// BOUND: what is due by time is seen within that.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// BOUND: many changes at once are one look: ten a second are no load for any store.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// BOUND: where nobody is to be told, looking costs nothing that a call would notice.
const LOOK_FOR_LEFTOVERS: Duration = Duration::from_mins(1);
/// BOUND: how long a letter is one replica's: two times what telling may take.
const LEASE: Duration = Duration::from_secs(30);
/// BOUND: letters on their way at once; a burst of a thousand holds is some sixteen rounds.
const RUNNING_MAX: usize = 64;
/// BOUND: how long a destination that has its hands full is waited for.
const TURN_WAIT: Duration = Duration::from_secs(4);
/// BOUND: what was told and could not be noted is told again; a store that blinks is back by then.
const NOTE_TRIES: u32 = 3;
/// BOUND: letters that the gauge knows of.
const COUNTED_MAX: usize = 10_000;

/// How a destination took a letter.
#[derive(Debug)]
enum Came {
    /// It has it.
    Well,
    /// It wants no more of it (410).
    Gone,
    /// It has not got it, or nobody knows.
    Badly(String),
}

impl Gate {
    /// Delivers what is due, at once when something changed, until the gate closes; what is on its way then
    /// is brought to its end.
    pub(super) async fn post_until_closed(&self) {
        let mut changes = self.store.changes();
        let mut running = FuturesUnordered::new();
        let mut begun: HashSet<(OperationId, u32)> = HashSet::new();
        while !self.closing.is_cancelled() {
            if self.standing.leads.load(Ordering::Acquire) {
                for (record, letter) in
                    self.letters_due(RUNNING_MAX.saturating_sub(running.len())).await
                {
                    if running.len() < RUNNING_MAX && begun.insert((record.op, letter.number)) {
                        running.push(self.post_one(record, letter));
                    }
                }
            }
            let (soonest, latest) = self.pace();
            let rest = tokio::time::sleep(soonest);
            tokio::pin!(rest);
            let due = tokio::time::sleep(latest);
            tokio::pin!(due);
            let (mut is_rested, mut is_changed) = (false, false);
            while !(is_rested && is_changed) {
                tokio::select! {
                    Some(done) = running.next(), if !running.is_empty() => {
                        begun.remove(&done);
                        // Others may have waited for its place.
                        is_changed |= running.len().saturating_add(1) >= RUNNING_MAX;
                    }
                    changed = changes.recv(), if !is_changed => {
                        is_changed = true;
                        if let Err(RecvError::Closed) = changed {
                            return self.closing.cancelled().await;
                        }
                    }
                    () = &mut rest, if !is_rested => is_rested = true,
                    () = &mut due => break,
                    () = self.closing.cancelled() => break,
                }
            }
            // What came meanwhile is seen by the same look.
            while changes.try_recv().is_ok() {}
        }
        while running.next().await.is_some() {}
    }

    /// How soon it is looked again after a change, and without one.
    fn pace(&self) -> (Duration, Duration) {
        match self.notify.destinations.is_empty() {
            false => (LOOK_AT_MOST_EVERY, LOOK_EVERY),
            // Only what an earlier configuration wanted to tell is left, and goes.
            true => (LOOK_FOR_LEFTOVERS, LOOK_FOR_LEFTOVERS),
        }
    }

    /// One turn, to its end: everything that is due by now.
    pub async fn post(&self) {
        let due = self.letters_due(RUNNING_MAX).await;
        join_all(due.into_iter().map(|(record, letter)| self.post_one(record, letter))).await;
    }

    async fn letters_due(&self, limit: usize) -> Vec<(Arc<Record>, Letter)> {
        if limit == 0 {
            return Vec::new();
        }
        let due = match self.store.post_due(limit).await {
            Ok(due) => due,
            Err(fault) => {
                self.tell_fault("letters could not be listed", &fault);
                return Vec::new();
            }
        };
        let now = self.clock.now();
        let of = |record: &Arc<Record>| {
            // It is the store's clock that says when: ours may be behind, and then its first is due all the same.
            let first = record.letters.iter().map(|letter| letter.next).min();
            let is_due = |letter: &&Letter| letter.next <= now || Some(letter.next) == first;
            let due = record.letters.iter().filter(is_due).cloned();
            due.map(|letter| (Arc::clone(record), letter)).collect::<Vec<_>>()
        };
        due.iter().flat_map(of).collect()
    }

    /// Takes one letter, tells it, and notes who has it.
    async fn post_one(&self, record: Arc<Record>, letter: Letter) -> (OperationId, u32) {
        let (op, number) = (record.op, letter.number);
        let taken = self.post_word(op, number, PostWord::Take { lease: LEASE }).await;
        let Some(record) = taken else { return (op, number) };
        if let Some(letter) = record.letters.iter().find(|one| one.number == number) {
            let (told, again) = Box::pin(self.tell_all(&record, letter)).await;
            self.count_waiting((op, letter), again);
            let word = PostWord::Tried { taken: letter.next, told, again };
            for _ in 0..NOTE_TRIES {
                if self.post_word(op, number, word.clone()).await.is_some() {
                    break;
                }
                // Somebody else's by now, or a store that blinks.
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        (op, number)
    }

    async fn post_word(&self, op: OperationId, number: u32, word: PostWord) -> Option<Arc<Record>> {
        match self.store.post(Post { op, number, word }).await {
            Ok(Posted::Ok(record)) => Some(record),
            Ok(Posted::NotNow) => None,
            Err(fault) => {
                self.tell_fault("what became of a letter could not be noted", &fault);
                None
            }
        }
    }

    /// Tells everybody who has not got it: who has it now, and after how long it is tried again.
    async fn tell_all(
        &self,
        record: &Record,
        letter: &Letter,
    ) -> (Vec<Box<str>>, Option<Duration>) {
        let mut told = letter.told.clone();
        let left = match self.notify.due(record, letter) {
            Due::Nothing => {
                self.telemetry.notified(letter.news.name(), "dropped");
                return (told, None);
            }
            Due::To(left) => left,
        };
        let each =
            left.iter().map(|to| async move { (to, self.tell_one(to, record, letter).await) });
        let mut failed = Vec::new();
        for (to, came) in join_all(each).await {
            match came {
                Came::Well => {
                    self.telemetry.notified(letter.news.name(), "delivered");
                    self.tell_recovered(to);
                    told.push((*to.name).into());
                }
                Came::Gone => {
                    self.telemetry.notified(letter.news.name(), "gone");
                    told.push((*to.name).into());
                }
                Came::Badly(why) => {
                    self.telemetry.notified(letter.news.name(), "failed");
                    self.tell_failing(to, &why);
                    failed.push((to, why));
                }
            }
        }
        if failed.is_empty() {
            return (told, None);
        }
        let age = self.clock.now().since(letter.at);
        let spread = record
            .op
            .0
            .first()
            .copied()
            .unwrap_or(0)
            .wrapping_add(u8::try_from(letter.number & 0xff).unwrap_or(0));
        let again = notify::pause(letter.tries, age, spread);
        if again.is_none() {
            for (to, why) in failed {
                self.give_up(to, (record, letter), &why).await;
            }
        }
        (told, again)
    }

    async fn tell_one(&self, to: &Destination, record: &Record, letter: &Letter) -> Came {
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN_WAIT, to.turns.acquire()).await else {
            return Came::Badly("it has too many messages on its way".to_owned());
        };
        let Some(message) = self.notify.message(to, (record, letter), self.clock.now()) else {
            return Came::Badly("no key of `sign` can be used".to_owned());
        };
        let sent = self.outbound.exchange_stream(to.place.upstream(), message, Connection::Fresh);
        // What the body says is nobody's business: it is dropped unread.
        let status = match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Stream::Answered(reply, _) | Stream::Whole(reply)) => reply.status,
            Ok(Stream::NotSent(why) | Stream::Unknown(why)) => {
                return Came::Badly(to.place.why(&why).to_owned());
            }
            Err(_) => return Came::Badly(format!("no answer within {PATIENCE:?}")),
        };
        match status {
            200..=299 => Came::Well,
            410 => Came::Gone,
            // SECURITY: a redirect is never followed: whoever it names was not named by the operator.
            300..=399 => Came::Badly(format!("it answered {status}: redirects are not followed")),
            _ => Came::Badly(format!("it answered {status}")),
        }
    }

    fn tell_failing(&self, to: &Destination, why: &str) {
        if !to.is_failing.swap(true, Ordering::AcqRel) {
            let mut line =
                LogLine::new(Level::Warn, "a destination of notifications does not take them");
            line.text("destination", Some(&to.name)).text("why", Some(why));
            self.telemetry.tell(line);
        }
    }

    fn tell_recovered(&self, to: &Destination) {
        if to.is_failing.swap(false, Ordering::AcqRel) {
            let mut line =
                LogLine::new(Level::Info, "a destination of notifications takes them again");
            line.text("destination", Some(&to.name));
            self.telemetry.tell(line);
        }
    }

    /// Nobody is told any more: the page still shows it, and the record says so.
    async fn give_up(&self, to: &Destination, (record, letter): (&Record, &Letter), why: &str) {
        self.telemetry.notified(letter.news.name(), "gave_up");
        let mut line = LogLine::new(
            Level::Error,
            "a notification was not delivered within a day and is given up",
        );
        line.text("destination", Some(&to.name)).plain("news", Some(letter.news.name()));
        line.operation(Some(record.op)).text("why", Some(why));
        self.telemetry.tell(line);
        let mut entry = Entry::of(Event::Undelivered);
        entry.operation = Some(record.op);
        entry.state = Some(record.state.name());
        entry.note = Some(
            crate::redact::text(&format!("{} to {}: {why}", letter.news.name(), to.name)).into(),
        );
        if let Err(fault) = self.audit.record(entry).await {
            self.tell_fault("a notification was given up, and that is not on record", &fault);
        }
    }

    fn count_waiting(&self, (op, letter): (OperationId, &Letter), again: Option<Duration>) {
        let mut waiting = self.notify.waiting.lock();
        if again.is_none() {
            waiting.remove(&(op, letter.number));
        } else if waiting.len() < COUNTED_MAX {
            waiting.insert((op, letter.number), letter.at);
        }
    }

    /// Letters that this process could not deliver yet, and how old the oldest is.
    pub(super) fn count_letters(&self) {
        let (now, leads) = (self.clock.now(), self.standing.leads.load(Ordering::Acquire));
        let mut waiting = self.notify.waiting.lock();
        // Who does not deliver does not know; and a letter that made room for a newer one was never noted.
        waiting.retain(|_, at| leads && now.since(*at) <= notify::GIVE_UP.saturating_mul(2));
        let oldest = waiting.values().map(|at| now.since(*at)).max().unwrap_or_default();
        self.telemetry.letters(waiting.len(), oldest);
    }
}

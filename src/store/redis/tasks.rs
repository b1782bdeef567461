//! What goes on beside the calls? The freezes are copied into memory, and what others changed wakes who waits.
//!
//! Never decides: a copy that is old says so by its age.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_core::Stream;
use redis::aio::PubSub;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Inside;
use crate::call::OperationId;

/// How often the freezes are read again.
const COPY_EVERY: Duration = Duration::from_millis(500);
/// In how many of these rounds Redis's settings are judged once: a minute.
const JUDGE_EVERY: u32 = 120;
/// How often everybody who waits looks again while nothing tells of changes.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// And while something does: what is published is told once, and nobody counts what is lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The tasks; they end with this.
#[derive(Debug)]
pub(super) struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

pub(super) fn start(inside: &Arc<Inside>) -> Tasks {
    // A store that is only looked at, outside a runtime, needs neither.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Tasks(Vec::new());
    };
    let (copier, listener) = (Arc::downgrade(inside), Arc::downgrade(inside));
    Tasks(vec![runtime.spawn(copy_freezes(copier)), runtime.spawn(hear_changes(listener))])
}

async fn copy_freezes(inside: Weak<Inside>) {
    let mut round = 0_u32;
    while let Some(inside) = inside.upgrade() {
        let copied = inside.stops(inside.beat()).await;
        if copied.is_err() {
            // It may still be read.
            drop(inside.stops(Vec::new()).await);
        }
        // Settings change seldom; a Redis that was away may be another one.
        let was_away = inside.failing.lock().is_some();
        if copied.is_ok() && (was_away || round.is_multiple_of(JUDGE_EVERY)) {
            // It was reached just now: what is not judged is judged in the next round.
            drop(inside.durability().await);
        }
        round = round.wrapping_add(1);
        inside.reached(copied.map(drop));
        drop(inside);
        sleep(COPY_EVERY).await;
    }
}

async fn hear_changes(inside: Weak<Inside>) {
    while let Some(strong) = inside.upgrade() {
        let listening = timeout(super::line::CONNECT_TIMEOUT, strong.line.listen(&strong.news));
        let listening = listening.await;
        // Whoever began to wait while nothing was heard looks once more.
        strong.shared.waiters.all_changed();
        drop(strong);
        if let Ok(Ok(listening)) = listening {
            hear(&inside, listening).await;
        }
        sleep(POLL_EVERY).await;
    }
}

/// Until the connection is lost.
async fn hear(inside: &Weak<Inside>, listening: PubSub) {
    let mut messages = listening.into_on_message();
    loop {
        let next = poll_fn(|context| Pin::new(&mut messages).poll_next(context));
        let message = timeout(LOOK_EVERY, next).await;
        let Some(inside) = inside.upgrade() else { return };
        match message {
            Err(_) => inside.shared.waiters.all_changed(),
            Ok(None) => return,
            Ok(Some(message)) => match message.get_payload_bytes().try_into() {
                Ok(op) => inside.shared.changed(OperationId(op)),
                // Somebody froze or lifted. Who did waits for all to follow: they hear of it at once.
                Err(_) => {
                    if inside.stops(Vec::new()).await.is_ok() {
                        drop(inside.stops(inside.beat()).await);
                    }
                }
            },
        }
    }
}

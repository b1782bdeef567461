//! Who waits for an operation to change? A bounded list, in this process.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::call::OperationId;

/// BOUND: as many as connections; past it a repeat is told at once that the first is in flight.
const WAITERS_MAX: usize = 4_096;

/// Everybody who waits.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<HashMap<OperationId, watch::Sender<()>>>);

/// One who waits for one operation. Take it **before** you look at the operation.
#[derive(Debug)]
pub struct Waiter {
    all: Arc<Waiters>,
    op: OperationId,
    changes: watch::Receiver<()>,
}

impl Waiters {
    /// Waits for `op`; `None` when too many wait already.
    pub fn wait_for(self: &Arc<Self>, op: OperationId) -> Option<Waiter> {
        let mut all = self.0.lock();
        if all.len() >= WAITERS_MAX && !all.contains_key(&op) {
            return None;
        }
        let sender = all.entry(op).or_insert_with(|| watch::channel(()).0);
        Some(Waiter { all: Arc::clone(self), op, changes: sender.subscribe() })
    }

    /// Wakes everybody who waits for `op`.
    pub fn changed(&self, op: OperationId) {
        if let Some(sender) = self.0.lock().get(&op) {
            sender.send_replace(());
        }
    }

    /// Wakes everybody: nobody knows what changed.
    pub fn all_changed(&self) {
        self.0.lock().values().for_each(|sender| {
            sender.send_replace(());
        });
    }
}

impl Waiter {
    /// Returns once the operation has changed since this was taken, or since it last returned.
    pub async fn changed(&mut self) {
        // The sender lives as long as this does.
        let _closed = self.changes.changed().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if all.get(&self.op).is_some_and(|sender| sender.receiver_count() <= 1) {
            all.remove(&self.op);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[tokio::test]
    async fn a_change_before_the_wait_is_seen_and_nobody_is_left_behind() {
        let waiters = Arc::new(Waiters::default());
        let op = OperationId([1; 32]);
        let mut one = waiters.wait_for(op).unwrap();
        let mut two = waiters.wait_for(op).unwrap();
        waiters.changed(op);
        one.changed().await;
        two.changed().await;
        drop(one);
        assert_eq!(waiters.0.lock().len(), 1);
        drop(two);
        assert!(waiters.0.lock().is_empty());
    }
}

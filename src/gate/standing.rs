//! What do all snapshots of one process share? What a reload must not forget, and the end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::gate::{AtDoor, Unrecorded, Unsettled, Watched};

/// The numbers of listeners that upstreams have of their own.
///
/// A name keeps its number, whatever joins it or leaves: a connection that was accepted before a reload still
/// leads to the same upstream.
///
/// BOUND: as many as the names that one process was ever configured with.
#[derive(Debug, Default)]
pub struct Listeners(Mutex<Vec<Arc<str>>>);

impl Listeners {
    /// The number of an upstream's own listener; 0 is the shared one's.
    pub fn number(&self, upstream: &Arc<str>) -> usize {
        let mut names = self.0.lock();
        let known = names.iter().position(|name| name == upstream);
        let index = known.unwrap_or_else(|| {
            names.push(Arc::clone(upstream));
            names.len().saturating_sub(1)
        });
        index.saturating_add(1)
    }
}

/// What a process knows that its store and its log do not, whatever its configuration.
#[derive(Debug)]
pub struct Standing {
    /// Since when this process knows of attempts whose outcome is looked for.
    pub watched: Watched,
    /// Outcomes that the store did not take yet.
    pub unsettled: Unsettled,
    /// Operations whose end may be missing in the log.
    pub unrecorded: Unrecorded,
    /// Who was turned away at the console and is not on record yet.
    pub at_door: AtDoor,
    /// Which listener is whose.
    pub listeners: Listeners,
    /// Whether this replica looks for what is over and unknown, for its fleet.
    pub leads: AtomicBool,
    /// Whether a line of standard output is on its way: whoever reads it may take as long as they like.
    pub printing: Arc<AtomicBool>,
    /// An approval wakes the sweep at once.
    pub wake: Arc<tokio::sync::Notify>,
    /// The process is asked to stop: nobody is waited for any more, and no approved call is begun.
    pub stopping: CancellationToken,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            watched: Watched::default(),
            unsettled: Unsettled::default(),
            unrecorded: Unrecorded::default(),
            at_door: AtDoor::default(),
            listeners: Listeners::default(),
            // Alone until another says that it leads.
            leads: AtomicBool::new(true),
            printing: Arc::default(),
            wake: Arc::default(),
            stopping: CancellationToken::new(),
        }
    }
}

//! What do all snapshots of one process share? What a reload must not forget, and the end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use crate::gate::{AtDoor, Unrecorded, Unsettled, Watched};

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
    /// Whether this replica looks for what is over and unknown, for its fleet.
    pub leads: AtomicBool,
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
            // Alone until another says that it leads.
            leads: AtomicBool::new(true),
            wake: Arc::default(),
            stopping: CancellationToken::new(),
        }
    }
}

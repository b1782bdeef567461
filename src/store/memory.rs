//! Rows in memory: for tests and try-outs. Gone with the process.

use parking_lot::Mutex;

use crate::refusal::Fault;
use crate::store::rows::{Rows, Tables};
use crate::store::shared::Shared;
use crate::store::step::{Event, Reply, step};

/// The rows.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Tables>);

impl Memory {
    /// One step, at once.
    pub fn run(&self, event: &Event, shared: &Shared) -> Result<Reply, Fault> {
        let mut tables = self.0.lock();
        let now = shared.times.lock().tick();
        let (reply, changes) = step(&*tables, event, now)?;
        let news = shared.news(&changes);
        tables.apply(changes);
        shared.tell(news, &*tables)?;
        Ok(reply)
    }

    /// Looks at the rows.
    pub fn read<T>(&self, look: impl FnOnce(&dyn Rows) -> Result<T, Fault>) -> Result<T, Fault> {
        look(&*self.0.lock())
    }
}

//! What does a person say of an operation that changes nothing of it?

use super::Store;
use crate::refusal::Fault;
use crate::store::step::{Event, Note};

impl Store {
    /// Writes it into the operation's timeline; the same again is the same.
    ///
    /// # Errors
    ///
    /// When the store did not write it, or may have.
    pub async fn note(&self, note: Note) -> Result<(), Fault> {
        self.run(Event::Note(Box::new(note))).await.map(drop)
    }
}

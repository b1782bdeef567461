//! Is there room? Rates and loops in this process, budgets in the store.
//!
//! Never decides about one call alone (that is a cap, which is policy's), and never counts twice:
//! rates are taken before facts are read, budgets in the store's one step.

mod bound;
mod budget;
mod cells;
mod counted;
mod lease;
mod loops;
mod rate;
mod rule;

pub use bound::{Bound, LoopPer, read as read_loops};
pub use budget::budgets;
pub use lease::{Leftovers, Wish};
pub use loops::{Loops, Reached, Step, Stop};
pub use rate::{NoRoom, Rates, Taken};
pub use rule::{Across, Per, Rule, read};

//! Policy, through its public API: every shipped rule on both sides of its edge, and each trap that
//! fails open elsewhere.

mod cases;
mod gate;
mod packs;
mod support;
mod traps;

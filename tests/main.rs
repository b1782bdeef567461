//! Every integration test: one binary, so that the heavy crates are linked once.

mod floors;
mod identity;
mod wire;

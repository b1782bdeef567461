//! Every integration test: one binary, so that the heavy crates are linked once.

mod cases;
mod asks;
mod audit;
mod floors;
mod identity;
mod packs;
mod policy;
mod proxy;
mod store;
mod wire;

//! Every integration test: one binary, so that the heavy crates are linked once.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::fn_params_excessive_bools,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::needless_range_loop,
    clippy::nonminimal_bool,
    clippy::panic,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly, in tables as long as they are, by the wall clock"
)]

mod asks;
mod audit;
mod cases;
mod cli;
mod config;
mod console;
mod demo;
mod docs;
mod faults;
mod floors;
mod identity;
mod operation;
mod packs;
mod page;
mod policy;
mod proxy;
mod running;
mod sdk;
mod store;
mod support;
mod wire;

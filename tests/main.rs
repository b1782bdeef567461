//! Every integration test: one binary, so that the heavy crates are linked once.

mod asks;
mod audit;
mod cases;
mod cli;
mod config;
mod demo;
mod floors;
mod identity;
mod operation;
mod packs;
mod policy;
mod proxy;
mod running;
mod sdk;
mod store;
mod support;
mod wire;

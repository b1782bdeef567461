//! Tollhouse: the sidecar an LLM agent's outbound calls must pass.

// Floor 0: words. Pure values; no I/O, no async.
pub mod action;
pub mod bounds;
pub mod call;
pub mod clock;
pub mod contract;
pub mod decision;
pub mod framing;
pub mod money;
pub mod refusal;
pub mod value;
pub mod yaml;

// Floor 1: tools. They know words, not stages.
pub mod credentials;
pub mod outbound;
pub mod redact;
pub mod resolve;
pub mod store;
pub mod telemetry;
pub mod wire;

// Floor 2: stages. Each answers one question; none knows another.
pub mod alarm;
pub mod approval;
pub mod audit;
pub mod breaker;
pub mod catalog;
pub mod disclosure;
pub mod facts;
pub mod freeze;
pub mod identity;
pub mod limits;
pub mod notify;
pub mod operation;
pub mod policy;
pub mod rollout;

// Floor 3: the path.
pub mod gate;

// Floor 4: doors to the outside.
pub mod config;
pub mod console;
pub mod proxy;

// Floor 5: the command line.
pub mod cli;

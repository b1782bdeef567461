//! What does a person see of it? Pages that work without a script, made of literals and escaped text.
//!
//! A GET never decides. Nothing of the agent's stands beside a form; see `agent_text`. Each view is a pure
//! function of a frame and plain values.

mod activity;
mod agent_text;
mod assets;
mod changed;
mod controls;
mod decide;
mod frame;
mod hold;
mod html;
mod look;
mod operation;
mod operations;
mod parts;
mod plots;
mod pulse;
mod queue;
#[cfg(test)]
mod sample;
mod sentence;
mod sign;
mod timeline;

use super::form::encoded as address;

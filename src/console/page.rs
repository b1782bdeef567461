//! What does a person see of it? Pages that work without a script, made of literals and escaped text.
//!
//! A GET never decides. Nothing of the agent's stands beside a form; see `agent_text`. Each view is a pure
//! function of a frame and plain values.

mod activity;
mod agent_text;
mod answer;
mod assets;
mod changed;
mod controls;
mod decide;
mod events;
mod facts;
mod frame;
mod hold;
mod html;
mod look;
mod made;
mod operation;
mod operations;
mod parts;
mod plots;
mod pulse;
mod queue;
mod roads;
#[cfg(test)]
mod sample;
mod sentence;
mod serve;
mod sign;
mod timeline;

use super::form::encoded as address;
pub(super) use answer::{approve, deny, deny_many, freeze, lift, mark, resolve};
pub(super) use events::{STREAMS_MAX, events};
pub(super) use pulse::Pulse;
pub(super) use serve::{
    all_controls, all_operations, asset, decided_holds, holds, how_it_goes, one,
};
pub(super) use sign::{SignInView, sign_in};

//! What runs in shadow, and how much by itself, as the file says it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::UpstreamSection;
use crate::rollout::{self, Rollout};
use crate::yaml::Section;

/// Reads `mode` and `rollout`; whatever a scope names must be there, or it would enforce nothing and say so nowhere.
pub(super) fn read(top: &Section<'_>, upstreams: &[UpstreamSection]) -> Rollout {
    let own = |one: &UpstreamSection| Some((Arc::clone(&one.name), one.mode?));
    let rollout = rollout::read(top, upstreams.iter().filter_map(own).collect());
    let names: BTreeSet<&str> = upstreams.iter().map(|one| &*one.name).collect();
    let actions = upstreams.iter().flat_map(|one| one.pack.actions());
    let actions: BTreeSet<&str> = actions.map(|action| &*action.name).collect();
    for (at, rule) in rollout.rules().iter().enumerate() {
        for part in rule.scope.to_string().split(' ') {
            let missing = match part.split_once('/') {
                Some(("upstream", name)) => !names.contains(name),
                Some(("action", name)) => !actions.contains(name),
                Some(_) | None => false,
            };
            // Of an upstream that does not read, actions are not known.
            if missing && top.faults().is_empty() {
                top.fault("rollout", format!("[{at}].for: there is no `{part}` here"));
            }
        }
    }
    rollout
}

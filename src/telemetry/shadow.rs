//! What is told of calls that ran in shadow, and of what runs there?
//!
//! Scopes are labels: they are the configuration's own words, and none names a customer.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use prometheus::Registry;

use super::log::LogLine;
use super::metrics::{Counters, Gauges, NONE, add, counters, gauges, set};
use super::{Seen, Telemetry};
use crate::decision::{Shadow, Verdict};

const NOTED: &[&str] = &["upstream", "class", "decision", "code"];

/// The counts.
#[derive(Debug)]
pub(super) struct Counts {
    on: Gauges,
    noted: Counters,
    /// Scopes that ever ran in shadow: a configuration's, so few.
    known: Mutex<BTreeSet<String>>,
}

impl Counts {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            on: gauges(r, "tollhouse_shadow", &["scope"]),
            noted: counters(r, "tollhouse_shadow_noted_total", NOTED),
            known: Mutex::default(),
        }
    }

    /// A call went on that would have been turned back.
    pub(super) fn noted(&self, seen: &Seen<'_>, shadow: &Shadow) {
        let class = seen.class.map_or(NONE, |class| class.name());
        let (upstream, decision) = (seen.upstream.unwrap_or(NONE), shadow.verdict().name());
        add(&self.noted, &[upstream, class, decision, shadow.code.spec().name], 1);
    }

    fn scopes(&self, scopes: &[String]) {
        let mut known = self.known.lock();
        known.extend(scopes.iter().cloned());
        for scope in known.iter() {
            set(&self.on, &[scope], u64::from(scopes.contains(scope)));
        }
    }
}

impl Telemetry {
    /// What runs in shadow now; a scope that does no more is zero.
    pub fn shadow(&self, scopes: &[String]) {
        self.metrics.shadow.scopes(scopes);
    }
}

/// The label of money: what moved only because it ran in shadow is told apart.
pub(super) fn decision(verdict: Verdict, shadow: Option<&Shadow>) -> &'static str {
    match shadow.map(Shadow::verdict) {
        None => verdict.name(),
        Some(Verdict::Hold) => "shadow_hold",
        Some(Verdict::Verify | Verdict::Refuse | Verdict::Allow) => "shadow_refuse",
    }
}

/// What would have been decided, and by whom.
pub(super) fn tell(line: &mut LogLine, seen: &Seen<'_>) {
    let Some(shadow) = seen.shadow else { return };
    line.plain("shadow", Some(shadow.verdict().name()))
        .plain("shadow_code", Some(shadow.code.spec().name));
    let ids: Vec<&str> = shadow.reasons.iter().map(|reason| &*reason.policy).collect();
    line.text("shadow_policies", Some(&ids.join(" ")));
}

pub(super) fn help(name: &str) -> &'static str {
    match name {
        "shadow" => "1 for what runs in shadow: nothing is held or refused there by policy",
        "shadow_noted_total" => {
            "Calls that went on in shadow and would have been held or refused, by what they would have got"
        }
        _ => "Not described",
    }
}

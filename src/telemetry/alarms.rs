//! How is it going with brakes and counts?

use std::collections::BTreeMap;
use std::fmt::Display;

use prometheus::Registry;

use super::metrics::{Counters, Gauges, add, counters, gauges, set};
use super::{Level, LogLine, Telemetry};

/// What is counted of brakes.
#[derive(Debug)]
pub(super) struct Alarms {
    trips: Counters,
    brakes: Gauges,
    left_out: Counters,
}

impl Alarms {
    pub(super) fn new(r: &Registry) -> Self {
        let alarms = Self {
            trips: counters(r, "tollhouse_brake_trips_total", &["brake"]),
            brakes: gauges(r, "tollhouse_brakes", &["brake"]),
            left_out: counters(r, "tollhouse_counts_left_out_total", &[]),
        };
        // An alert on a number that is not there yet never fires.
        add(&alarms.left_out, &[], 0);
        alarms
    }

    /// A brake is on that was not.
    pub(super) fn braked(&self, brake: &str) {
        add(&self.trips, &[brake], 1);
    }

    /// How many scopes a brake holds.
    pub(super) fn brakes(&self, brake: &str, count: u64) {
        set(&self.brakes, &[brake], count);
    }

    /// What happened that brakes and signals do not know of.
    pub(super) fn counts_left_out(&self, count: u64) {
        add(&self.left_out, &[], count);
    }
}

impl Telemetry {
    /// Freezes in force, by their scopes as text: `all`, `class/financial agent/bot`.
    pub fn freezes(&self, scopes: impl IntoIterator<Item = impl Display>) {
        let kinds = ["all", "class", "kind", "agent", "tenant", "customer", "action", "upstream"];
        let mut counts: BTreeMap<&str, u64> = kinds.iter().map(|kind| (*kind, 0)).collect();
        for scope in scopes {
            for part in scope.to_string().split_whitespace() {
                let kind = part.split('/').next().unwrap_or_default();
                if let Some(count) = counts.get_mut(kind) {
                    *count = count.saturating_add(1);
                }
            }
        }
        counts.iter().for_each(|(kind, count)| self.metrics.frozen(kind, *count));
    }

    /// A brake is on that was not.
    pub fn braked(&self, brake: &str) {
        self.metrics.alarms.braked(brake);
    }

    /// The brakes that are on, by name; one that is on no more is zero.
    pub fn brakes(&self, counts: &BTreeMap<&str, u64>) {
        counts.iter().for_each(|(brake, count)| self.metrics.alarms.brakes(brake, *count));
    }

    /// So much happened that is not counted: there was no room for it.
    pub fn counts_left_out(&self, count: u64) {
        self.metrics.alarms.counts_left_out(count);
        let what = "brakes and signals miss counts: too many different ones came at once";
        let mut line = LogLine::new(Level::Error, what);
        line.shown("count", Some(&count));
        self.write(&mut line);
    }
}

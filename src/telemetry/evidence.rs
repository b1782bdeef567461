//! How is it going with the record: is what was signed where others have it?

use std::time::Duration;

use prometheus::Registry;

use super::Telemetry;
use super::metrics::{Counters, Gauges, add, counters, gauges, set};

/// What is counted of checkpoints.
#[derive(Debug)]
pub(super) struct Evidence {
    age: Gauges,
    checkpoints: Counters,
}

impl Evidence {
    pub(super) fn new(r: &Registry) -> Self {
        let age = gauges(r, "tollhouse_checkpoint_age_seconds", &[]);
        let checkpoints = counters(r, "tollhouse_checkpoints_total", &["result"]);
        // An alert on a number that is not there yet never fires.
        for result in ["exported", "failed"] {
            add(&checkpoints, &[result], 0);
        }
        Self { age, checkpoints }
    }

    /// How old the oldest record is that nobody else can hold us to.
    pub(super) fn age(&self, age: Duration) {
        set(&self.age, &[], age.as_secs());
    }

    /// A checkpoint was exported, or could not be.
    pub(super) fn checkpoint(&self, result: &str) {
        add(&self.checkpoints, &[result], 1);
    }
}

impl Telemetry {
    /// How old the oldest record is that nobody else can hold us to.
    pub fn checkpoint_age(&self, age: Duration) {
        self.metrics.evidence.age(age);
    }

    /// A checkpoint was `exported`, or it `failed`.
    pub fn checkpoint(&self, result: &'static str) {
        self.metrics.evidence.checkpoint(result);
    }
}

pub(super) fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        "evidence_gap_total" => "Records that could not be written",
        "contradictions_total" => "Successes of what was proved not to have been sent",
        "log_lines_left_out_total" => "Log lines that nobody took in time",
        "checkpoint_age_seconds" => {
            "Age of the oldest record that no exported checkpoint covers yet, 0 when all are; absent \
             where nothing is exported"
        }
        "checkpoints_total" => "Signed checkpoints of the record, by whether they reached somebody",
        _ => return None,
    })
}

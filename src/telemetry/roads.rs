//! Which number says how the roads are? Breakers that turned, calls in flight, those that wait and those
//! that were sent away.
//!
//! Never takes the name of an action for a label: a pack may have hundreds.

use prometheus::Registry;

use super::metrics::{Counters, Gauges, add, counters, forget, gauges, set};
use super::{Level, LogLine, Telemetry};

/// How an upstream's road stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoadStands {
    /// Actions whose own breaker is not closed.
    pub actions_shut: usize,
    /// Calls that have a lane.
    pub in_flight: u32,
    /// Lanes that there are now.
    pub lanes: u32,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// Its metrics.
#[derive(Debug)]
pub(super) struct Roads {
    turns: Counters,
    actions: Gauges,
    in_flight: Gauges,
    lanes: Gauges,
    waiting: Gauges,
    shed: Counters,
    process: Gauges,
    process_max: Gauges,
    tasks: Gauges,
    certificate: Gauges,
    reloads: Counters,
}

impl Telemetry {
    /// A breaker that opened or closed: of an upstream, or of one action of it.
    pub fn breaker_turned(&self, (upstream, action): (&str, Option<&str>), now: &str, why: &str) {
        self.metrics.roads.breaker_turned(upstream, now);
        let level = if now == "closed" { Level::Info } else { Level::Warn };
        let mut line = LogLine::new(level, &format!("a breaker is {now}"));
        line.text("upstream", Some(upstream)).text("action", action).text("why", Some(why));
        self.write(&mut line);
    }

    /// How an upstream's road stands: actions that are shut, calls in flight, lanes, calls that wait.
    pub fn road(&self, upstream: &str, stands: RoadStands) {
        self.metrics.roads.stands(upstream, stands);
    }

    /// When the certificate that agents are shown ends.
    pub fn certificate_ends(&self, at: crate::clock::Timestamp) {
        self.metrics.roads.certificate_ends(at.0.div_euclid(1000));
    }

    /// An upstream that is configured no more: how it stood is told no more, what was counted is.
    pub fn upstream_gone(&self, upstream: &str) {
        self.metrics.gone(upstream);
    }

    /// How many calls are in the process, how many may be, and the tasks of the runtime.
    pub fn process(&self, in_flight: u32, max: u32, tasks: usize) {
        self.metrics.roads.process(in_flight, max, tasks);
    }

    /// A reload: `reloaded`, or `kept` when the old configuration goes on.
    pub fn reloaded(&self, result: &'static str) {
        self.metrics.roads.reloaded(result);
    }

    /// A call that was sent away because too many were there: at an upstream, or in the process. `wants`
    /// and `why` are words of closed lists.
    pub fn shed(&self, upstream: Option<&str>, wants: &'static str, why: &'static str) {
        self.metrics.roads.shed(upstream.unwrap_or("process"), wants, why);
    }
}

impl Roads {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            turns: counters(r, "tollhouse_breaker_turns_total", &["upstream", "to"]),
            actions: gauges(r, "tollhouse_breaker_actions_shut", &["upstream"]),
            in_flight: gauges(r, "tollhouse_upstream_in_flight", &["upstream"]),
            lanes: gauges(r, "tollhouse_upstream_lanes", &["upstream"]),
            waiting: gauges(r, "tollhouse_upstream_waiting", &["upstream"]),
            shed: counters(r, "tollhouse_shed_total", &["at", "wants", "why"]),
            process: gauges(r, "tollhouse_calls_in_flight", &[]),
            process_max: gauges(r, "tollhouse_calls_max", &[]),
            tasks: gauges(r, "tollhouse_tasks", &[]),
            certificate: gauges(r, "tollhouse_certificate_not_after_seconds", &[]),
            reloads: counters(r, "tollhouse_reloads_total", &["result"]),
        }
    }

    pub(super) fn breaker_turned(&self, upstream: &str, to: &str) {
        add(&self.turns, &[upstream, to], 1);
    }

    pub(super) fn stands(&self, upstream: &str, stands: RoadStands) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        set(&self.actions, &[upstream], count(stands.actions_shut));
        set(&self.in_flight, &[upstream], stands.in_flight.into());
        set(&self.lanes, &[upstream], stands.lanes.into());
        set(&self.waiting, &[upstream], count(stands.waiting));
    }

    pub(super) fn gone(&self, upstream: &str) {
        for family in [&self.actions, &self.in_flight, &self.lanes, &self.waiting] {
            forget(family, upstream);
        }
    }

    pub(super) fn certificate_ends(&self, seconds: i64) {
        set(&self.certificate, &[], u64::try_from(seconds).unwrap_or(0));
    }

    pub(super) fn process(&self, in_flight: u32, max: u32, tasks: usize) {
        set(&self.process, &[], in_flight.into());
        set(&self.process_max, &[], max.into());
        set(&self.tasks, &[], u64::try_from(tasks).unwrap_or(u64::MAX));
    }

    pub(super) fn reloaded(&self, result: &str) {
        add(&self.reloads, &[result], 1);
    }

    pub(super) fn shed(&self, at: &str, wants: &str, why: &str) {
        add(&self.shed, &[at, wants, why], 1);
    }
}

/// What each counts.
pub(super) fn help(name: &str) -> &'static str {
    match name {
        "brake_trips_total" => "Brakes that were put on",
        "brakes" => "Scopes that brakes hold now",
        "counts_left_out_total" => "What happened that brakes and signals do not know of",
        "breaker_turns_total" => {
            "Breakers that opened or closed, of an upstream and of its actions"
        }
        "breaker_actions_shut" => "Actions whose own breaker is not closed",
        "upstream_in_flight" => "Calls that are under way to an upstream",
        "upstream_lanes" => "Calls that may be under way there at once, right now",
        "upstream_waiting" => "Calls that wait for a lane",
        "shed_total" => "Calls that were sent away because too many were there",
        "reloads_total" => "Reloads of the configuration: taken, or the old one kept",
        "calls_in_flight" => "Calls in the process",
        "certificate_not_after_seconds" => {
            "When the certificate that agents are shown ends, in seconds since 1970"
        }
        "tasks" => "Tasks of the runtime: connections, calls, and what runs by itself",
        "calls_max" => "Calls that may be in the process at once",
        other => super::room::help(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Encoder as _, TextEncoder};

    #[test]
    fn every_metric_is_there_and_counts() {
        let registry = Registry::new();
        let roads = Roads::new(&registry);
        roads.breaker_turned("stripe", "open");
        roads
            .stands("stripe", RoadStands { actions_shut: 1, in_flight: 7, lanes: 200, waiting: 2 });
        roads.process(9, 2_000, 31);
        roads.reloaded("kept");
        roads.shed("stripe", "read", "late");
        roads.shed("process", "effect", "full");
        let mut out = Vec::new();
        assert!(TextEncoder::new().encode(&registry.gather(), &mut out).is_ok());
        let text = String::from_utf8_lossy(&out);
        for line in [
            "tollhouse_breaker_turns_total{to=\"open\",upstream=\"stripe\"} 1",
            "tollhouse_breaker_actions_shut{upstream=\"stripe\"} 1",
            "tollhouse_upstream_in_flight{upstream=\"stripe\"} 7",
            "tollhouse_upstream_lanes{upstream=\"stripe\"} 200",
            "tollhouse_upstream_waiting{upstream=\"stripe\"} 2",
            "tollhouse_shed_total{at=\"stripe\",wants=\"read\",why=\"late\"} 1",
            "tollhouse_shed_total{at=\"process\",wants=\"effect\",why=\"full\"} 1",
            "tollhouse_calls_in_flight 9",
            "tollhouse_calls_max 2000",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("Not described"), "{text}");
    }
}

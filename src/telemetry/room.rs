//! How much room is left, and who should know? Budgets as each reservation leaves them, bounds of loops.
//!
//! Never takes whose room it is for a label: budgets and loops are the configuration's, and few.

use std::time::Duration;

use prometheus::Registry;

use super::metrics::{Counters, Histograms, add, counters, histograms};
use super::{Level, Seen, Telemetry, told};

/// The share of a budget that is used. What a person asks for is whether it is near, so most steps are there.
const SHARES: &[f64] = &[0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.5];

/// A budget that is nearly used up.
#[derive(Debug, Clone, Copy)]
pub struct Near<'n> {
    /// Which: `budget.customer-24h`.
    pub budget: &'n str,
    /// How much of it is used, in per cent.
    pub per_cent: u64,
    /// How much that is, with what was just taken.
    pub used: &'n str,
    /// Of how much.
    pub room: &'n str,
    /// When it will be less, if that is known.
    pub until: Option<crate::clock::Timestamp>,
}

/// A case or a conversation that goes on for long.
#[derive(Debug, Clone, Copy)]
pub struct Looping<'n> {
    /// The bound's name.
    pub bound: &'n str,
    /// Whose it is, in words: `case`, `trace`.
    pub per: &'static str,
    /// How much is used.
    pub used: &'n str,
    /// Of how much.
    pub room: &'n str,
    /// In which time.
    pub within: Duration,
}

/// Its metrics.
#[derive(Debug)]
pub(super) struct Room {
    used: Histograms,
    alerts: Counters,
    loop_alerts: Counters,
    loops_ended: Counters,
}

impl Telemetry {
    /// So much of a budget is used, in per cent, with what was just taken.
    // Every reservation counts, in whichever replica, and none is missed between two scrapes: of a gauge one would
    // see the last, or have to say when the highest is forgotten.
    pub fn budget_used(&self, budget: &str, per_cent: u64) {
        self.metrics.room.used(budget, per_cent);
    }

    /// A budget was crossed from which on operators are told.
    pub fn budget_near(&self, near: &Near<'_>, seen: &Seen<'_>) {
        self.metrics.room.near(near.budget);
        let what = format!("a budget is nearly used up: {}% of {}", near.per_cent, near.budget);
        let mut line = told(Level::Warn, &what, seen);
        line.text("budget", Some(near.budget)).text("used", Some(near.used));
        line.text("room", Some(near.room));
        line.shown("less_from", near.until.as_ref().map(|at| at as &dyn std::fmt::Display));
        self.write(&mut line);
    }

    /// A case or a conversation has come so far that operators are told.
    pub fn loop_near(&self, near: &Looping<'_>, seen: &Seen<'_>) {
        add(&self.metrics.room.loop_alerts, &[near.bound], 1);
        let what = format!("an agent may be going round: one {} is near {}", near.per, near.bound);
        self.looping(&what, near, seen);
    }

    /// A case or a conversation has come to its bound: this call, and each after it, is refused.
    pub fn loop_ended(&self, end: &Looping<'_>, seen: &Seen<'_>, told_already: Said) {
        add(&self.metrics.room.loops_ended, &[end.bound], 1);
        match told_already {
            Said::Before => {}
            Said::Never => {
                let what =
                    format!("an agent is going round: one {} is past {}", end.per, end.bound);
                self.looping(&what, end, seen);
            }
        }
    }

    fn looping(&self, what: &str, at: &Looping<'_>, seen: &Seen<'_>) {
        let mut line = told(Level::Warn, what, seen);
        line.text("loop", Some(at.bound)).text("used", Some(at.used)).text("room", Some(at.room));
        line.number("within_s", Some(at.within.as_secs()));
        line.text("do", Some("look at what the agent does; `tollhouse freeze agent/..` stops it"));
        self.write(&mut line);
    }
}

/// Whether a line said the same already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Not yet.
    Never,
    /// In this window.
    Before,
}

impl Room {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            used: histograms(r, "tollhouse_budget_used_ratio", &["budget"], SHARES),
            alerts: counters(r, "tollhouse_budget_alerts_total", &["budget"]),
            loop_alerts: counters(r, "tollhouse_loop_alerts_total", &["loop"]),
            loops_ended: counters(r, "tollhouse_loop_refusals_total", &["loop"]),
        }
    }

    fn used(&self, budget: &str, per_cent: u64) {
        let share = f64::from(u32::try_from(per_cent).unwrap_or(u32::MAX)) / 100.0;
        if let Some(Ok(one)) = self.used.as_ref().map(|f| f.get_metric_with_label_values(&[budget]))
        {
            one.observe(share);
        }
        // An alert on a number that is not there yet never fires.
        add(&self.alerts, &[budget], 0);
    }

    fn near(&self, budget: &str) {
        add(&self.alerts, &[budget], 1);
    }
}

/// What each counts.
pub(super) fn help(name: &str) -> &'static str {
    match name {
        "budget_used_ratio" => {
            "The share of a budget that was used after each reservation, by budget; 1 is all of it"
        }
        "budget_alerts_total" => "Budgets that came to where operators are told",
        "loop_alerts_total" => "Cases or conversations that came to where operators are told",
        "loop_refusals_total" => "Calls refused because their case or conversation was too long",
        other => super::shadow::help(other),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::call::OperationId;
    use crate::clock::{Clock, Timestamp};
    use crate::telemetry::LogFormat;

    fn seen() -> Seen<'static> {
        Seen {
            action: Some("stripe.refund.create"),
            agent: Some("bot"),
            customer: Some("ann"),
            operation: Some(OperationId([7; 32])),
            ..Seen::default()
        }
    }

    #[test]
    fn a_budget_that_is_near_is_told_with_what_is_used_and_until_when() {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let clock = Clock::by_hand(Timestamp::parse("2026-03-01T03:00:00Z").unwrap());
        let telemetry = Telemetry::in_memory(LogFormat::Json, clock, Arc::clone(&lines));
        telemetry.budget_used("budget.customer-24h", 79);
        telemetry.budget_used("budget.customer-24h", 82);
        let near = Near {
            budget: "budget.customer-24h",
            per_cent: 82,
            used: "246.00 USD",
            room: "300.00 USD",
            until: Timestamp::parse("2026-03-01T09:30:00Z"),
        };
        telemetry.budget_near(&near, &seen());
        let within = Duration::from_secs(3600);
        let looping = Looping {
            bound: "case-loop",
            per: "case",
            used: "240 calls",
            room: "300 calls",
            within,
        };
        telemetry.loop_near(&looping, &seen());
        telemetry.loop_ended(&looping, &seen(), Said::Never);
        telemetry.loop_ended(&looping, &seen(), Said::Before);
        let lines = lines.lock();
        assert_eq!(lines.len(), 3, "what was said in this window is not said again");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        for (name, value) in [
            ("level", "warn"),
            ("what", "a budget is nearly used up: 82% of budget.customer-24h"),
            ("action", "stripe.refund.create"),
            ("customer", "ann"),
            ("used", "246.00 USD"),
            ("room", "300.00 USD"),
            ("less_from", "2026-03-01T09:30:00.000Z"),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        let line: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(line["what"], "an agent may be going round: one case is near case-loop");
        assert_eq!((&line["used"], &line["within_s"]), (&"240 calls".into(), &3600.into()));
        let text = telemetry.render();
        for line in [
            "tollhouse_budget_alerts_total{budget=\"budget.customer-24h\"} 1",
            "tollhouse_budget_used_ratio_bucket{budget=\"budget.customer-24h\",le=\"0.8\"} 1",
            "tollhouse_budget_used_ratio_count{budget=\"budget.customer-24h\"} 2",
            "tollhouse_loop_alerts_total{loop=\"case-loop\"} 1",
            "tollhouse_loop_refusals_total{loop=\"case-loop\"} 2",
        ] {
            assert!(text.lines().any(|own| own == line), "`{line}` not in\n{text}");
        }
        assert!(!text.contains("Not described"));
    }
}

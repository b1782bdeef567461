//! What came of it: latencies in HDR histograms, answers by status, and how late the generator was itself.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::plan::Kind;

/// One kind of request.
pub struct Tally {
    name: String,
    expect: u16,
    took: Histogram<u64>,
    wrong: BTreeMap<u16, u64>,
}

impl Tally {
    pub fn of(kind: &Kind) -> Result<Self, String> {
        Ok(Self {
            name: kind.name.clone(),
            expect: kind.expect,
            took: spans()?,
            wrong: BTreeMap::new(),
        })
    }

    pub fn add(&mut self, status: u16, took: Duration) {
        note(&mut self.took, took);
        if status != self.expect {
            let count = self.wrong.entry(status).or_default();
            *count = count.saturating_add(1);
        }
    }

    pub fn wrong(&self) -> u64 {
        self.wrong.values().sum()
    }

    pub fn shown(&self) -> Value {
        let wrong: BTreeMap<String, u64> =
            self.wrong.iter().map(|(status, count)| (status.to_string(), *count)).collect();
        json!({ "name": self.name, "answered": self.took.len(), "wrong": wrong, "us": shown(&self.took) })
    }

    pub fn join(&self, all: &mut Histogram<u64>) {
        // The same bounds: it cannot fail.
        all.add(&self.took).unwrap_or_default();
    }
}

/// From 100 ns to a minute, to three digits.
pub fn spans() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).map_err(|e| e.to_string())
}

pub fn note(spans: &mut Histogram<u64>, took: Duration) {
    spans.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

/// Its percentiles in microseconds.
pub fn shown(spans: &Histogram<u64>) -> Value {
    let at = |quantile: f64| {
        let tenths = spans.value_at_quantile(quantile) / 100;
        f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
    };
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}

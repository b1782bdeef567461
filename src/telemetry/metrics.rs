//! Which number counts what? Every metric, its name and its labels in one place.
//!
//! Never takes an id for a label: upstreams and queues are the configuration's, everything else is a
//! word of a closed list.

use super::QueueStands;
use super::alarms::Alarms;
use super::evidence::Evidence;
use super::roads::Roads;
use super::room::Room;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::call::Class;
use crate::decision::{Mode, Verdict};

/// Seconds: a call with a person's answer may take a minute.
const WHOLE: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds: what Tollhouse itself adds, from 50 us to 1 s.
const ADDED: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];
/// Seconds: the store, from one memory access to a disk that hangs.
const STORE: &[f64] = &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0];
/// Seconds: people, from ten seconds to three days.
const PEOPLE: &[f64] =
    &[10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0];
/// BOUND: upstreams that are counted apart; a configuration has fewer.
const UPSTREAMS_MAX: usize = 64;
/// The label of a call that was not understood.
pub(super) const NONE: &str = "none";

/// A family that counts; `None` never happens, which the test of the names holds.
pub(super) type Counters = Option<IntCounterVec>;
pub(super) type Gauges = Option<IntGaugeVec>;
pub(super) type Histograms = Option<HistogramVec>;

/// What was counted since the process began, for who draws it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls by class (what was not understood last) and by verdict: allowed, held, verify, refused.
    pub calls: [[u64; 4]; 5],
    /// Calls that were turned back by code, most first.
    pub refused: Vec<(String, u64)>,
    /// Calls that were answered from memory or joined another.
    pub duplicates: u64,
}

/// All metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Counters,
    request_duration: Histograms,
    added: [Option<Histogram>; 5],
    upstream_duration: Histograms,
    refusals: Counters,
    holds_pending: Gauges,
    holds_oldest: Gauges,
    holds_unanswerable: Gauges,
    approval_duration: Histograms,
    operations: Gauges,
    duplicates: Counters,
    unauthorized: Counters,
    sign_ins: Counters,
    notifications: Counters,
    callbacks: Counters,
    letters: Gauges,
    letters_oldest: Gauges,
    money: Counters,
    evidence_gap: Counters,
    breaker: Gauges,
    pub(super) roads: Roads,
    pub(super) room: Room,
    frozen: Gauges,
    pub(super) alarms: Alarms,
    pub(super) shadow: super::shadow::Counts,
    pub(super) evidence: Evidence,
    pub(super) otlp: super::otlp::Counted,
    store_duration: Histograms,
    store_unsafe: Gauges,
    contradictions: Counters,
    lines_left_out: Counters,
    streams: Counters,
    upstreams: ArcSwap<Vec<Arc<PerUpstream>>>,
    adding: Mutex<()>,
    /// Queues that ever had a hold: a configuration's, so few.
    queues: Mutex<BTreeSet<Box<str>>>,
}

/// By class, what was not understood last, and by verdict.
type Requests = [[Option<IntCounter>; 4]; 5];

/// The children of one upstream, resolved beforehand: a read takes no lock and hashes no label.
#[derive(Debug)]
pub(super) struct PerUpstream {
    name: Box<str>,
    requests: Requests,
    /// Of calls that ran in shadow; most processes have none.
    in_shadow: OnceLock<Requests>,
    /// Where those are made.
    family: Counters,
    whole: [Option<Histogram>; 5],
    away: Option<Histogram>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let added = histograms(r, "tollhouse_added_seconds", &["class"], ADDED);
        let metrics = Self {
            requests: counters(
                r,
                "tollhouse_requests_total",
                &["upstream", "class", "decision", "mode"],
            ),
            request_duration: histograms(
                r,
                "tollhouse_request_duration_seconds",
                &["upstream", "class"],
                WHOLE,
            ),
            added: std::array::from_fn(|class| child(&added, &[class_name(class)])),
            upstream_duration: histograms(
                r,
                "tollhouse_upstream_duration_seconds",
                &["upstream"],
                WHOLE,
            ),
            refusals: counters(r, "tollhouse_refusals_total", &["code"]),
            holds_pending: gauges(r, "tollhouse_holds_pending", &["queue"]),
            holds_oldest: gauges(r, "tollhouse_holds_oldest_seconds", &["queue"]),
            holds_unanswerable: gauges(r, "tollhouse_holds_unanswerable", &["queue"]),
            approval_duration: histograms(
                r,
                "tollhouse_approval_duration_seconds",
                &["queue", "answer"],
                PEOPLE,
            ),
            operations: gauges(r, "tollhouse_operations", &["state"]),
            duplicates: counters(r, "tollhouse_duplicates_suppressed_total", &["kind"]),
            unauthorized: counters(r, "tollhouse_unauthorized_attempts_total", &["kind"]),
            sign_ins: counters(r, "tollhouse_console_sign_ins_total", &["event", "how"]),
            notifications: counters(r, "tollhouse_notifications_total", &["news", "result"]),
            callbacks: counters(r, "tollhouse_callback_answers_total", &["result"]),
            letters: gauges(r, "tollhouse_letters_waiting", &[]),
            letters_oldest: gauges(r, "tollhouse_letters_oldest_seconds", &[]),
            money: counters(
                r,
                "tollhouse_money_minor_units_total",
                &["class", "currency", "decision"],
            ),
            evidence_gap: counters(r, "tollhouse_evidence_gap_total", &[]),
            breaker: gauges(r, "tollhouse_breaker_state", &["upstream"]),
            roads: Roads::new(r),
            room: Room::new(r),
            frozen: gauges(r, "tollhouse_frozen", &["scope_kind"]),
            alarms: Alarms::new(r),
            shadow: super::shadow::Counts::new(r),
            evidence: Evidence::new(r),
            otlp: super::otlp::Counted::new(r),
            store_duration: histograms(r, "tollhouse_store_duration_seconds", &["op"], STORE),
            store_unsafe: gauges(r, "tollhouse_store_unsafe", &[]),
            contradictions: counters(r, "tollhouse_contradictions_total", &[]),
            lines_left_out: counters(r, "tollhouse_log_lines_left_out_total", &[]),
            streams: counters(r, "tollhouse_streams_total", &["upstream", "ended"]),
            upstreams: ArcSwap::default(),
            adding: Mutex::new(()),
            queues: Mutex::default(),
            registry,
        };
        let build = gauges(&metrics.registry, "tollhouse_build_info", &["version"]);
        set(&build, &[env!("CARGO_PKG_VERSION")], 1);
        // An alert on a number that is not there yet never fires.
        for family in [&metrics.evidence_gap, &metrics.contradictions, &metrics.lines_left_out] {
            add(family, &[], 0);
        }
        metrics
    }

    /// The children of an upstream.
    pub(super) fn upstream(&self, name: &str) -> Option<Arc<PerUpstream>> {
        let find = |all: &[Arc<PerUpstream>]| all.iter().find(|one| *one.name == *name).cloned();
        if let Some(known) = find(&self.upstreams.load()) {
            return Some(known);
        }
        let _turn = self.adding.lock();
        let mut all = Vec::clone(&self.upstreams.load());
        if let Some(known) = find(&all) {
            return Some(known);
        }
        if all.len() >= UPSTREAMS_MAX {
            return None;
        }
        let new = Arc::new(self.resolve(name));
        all.push(Arc::clone(&new));
        self.upstreams.store(Arc::new(all));
        Some(new)
    }

    fn resolve(&self, name: &str) -> PerUpstream {
        PerUpstream {
            name: name.into(),
            requests: requests(&self.requests, name, Mode::Enforce),
            in_shadow: OnceLock::new(),
            family: self.requests.clone(),
            whole: std::array::from_fn(|class| {
                child(&self.request_duration, &[name, class_name(class)])
            }),
            away: child(&self.upstream_duration, &[name]),
        }
    }

    pub(super) fn added(&self, class: Option<Class>, span: Duration) {
        observe(self.added.get(class_index(class)).and_then(Option::as_ref), span);
    }

    pub(super) fn refused(&self, code: &str) {
        add(&self.refusals, &[code], 1);
    }

    pub(super) fn sign_in(&self, event: &str, how: &str) {
        add(&self.sign_ins, &[event, how], 1);
    }

    pub(super) fn notified(&self, news: &str, result: &str) {
        add(&self.notifications, &[news, result], 1);
    }

    pub(super) fn callback(&self, result: &str) {
        add(&self.callbacks, &[result], 1);
    }

    /// Letters that are not delivered, and how many seconds the oldest has waited.
    pub(super) fn letters(&self, count: u64, oldest: u64) {
        set(&self.letters, &[], count);
        set(&self.letters_oldest, &[], oldest);
    }

    pub(super) fn unauthorized(&self, kind: &str) {
        add(&self.unauthorized, &[kind], 1);
    }

    pub(super) fn money(&self, class: Class, currency: &str, decision: &str, minor: u64) {
        add(&self.money, &[class.name(), currency, decision], minor);
    }

    pub(super) fn duplicate(&self, kind: &str) {
        add(&self.duplicates, &[kind], 1);
    }

    pub(super) fn evidence_gap(&self) {
        add(&self.evidence_gap, &[], 1);
    }

    pub(super) fn contradiction(&self) {
        add(&self.contradictions, &[], 1);
    }

    pub(super) fn stream_ended(&self, upstream: &str, ended: &str) {
        add(&self.streams, &[upstream, ended], 1);
    }

    pub(super) fn lines_left_out(&self, count: u64) {
        add(&self.lines_left_out, &[], count);
    }

    pub(super) fn approval(&self, queue: &str, answer: &str, waited: Duration) {
        observe(child(&self.approval_duration, &[queue, answer]).as_ref(), waited);
    }

    pub(super) fn store(&self, step: &str, span: Duration) {
        observe(child(&self.store_duration, &[step]).as_ref(), span);
    }

    pub(super) fn store_unsafe(&self, dangers: u64) {
        set(&self.store_unsafe, &[], dangers.min(1));
    }

    pub(super) fn operations(&self, state: &str, count: u64) {
        set(&self.operations, &[state], count);
    }

    /// Holds by queue; a queue that has none any more is zero.
    pub(super) fn holds_pending(&self, queues: &BTreeMap<&str, QueueStands>) {
        let mut known = self.queues.lock();
        known.extend(queues.keys().map(|queue| Box::from(*queue)));
        for queue in known.iter() {
            let stands = queues.get(&**queue).copied().unwrap_or_default();
            set(&self.holds_pending, &[queue], stands.waiting);
            set(&self.holds_oldest, &[queue], stands.oldest.as_secs());
            set(&self.holds_unanswerable, &[queue], stands.unanswerable);
        }
    }

    pub(super) fn breaker(&self, upstream: &str, state: u64) {
        set(&self.breaker, &[upstream], state);
    }

    /// How an upstream stands is told no more: it is configured no more.
    pub(super) fn gone(&self, upstream: &str) {
        forget(&self.breaker, upstream);
        self.roads.gone(upstream);
    }

    /// Freezes by the sort of their scope; a sort that has none any more is zero.
    pub(super) fn frozen(&self, kind: &str, count: u64) {
        set(&self.frozen, &[kind], count);
    }

    /// What the console draws: calls by class and verdict, refusals by code, duplicates.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for upstream in self.upstreams.load().iter() {
            for requests in upstream.in_shadow.get().into_iter().chain([&upstream.requests]) {
                for (own, counters) in totals.calls.iter_mut().zip(requests) {
                    for (sum, counter) in own.iter_mut().zip(counters) {
                        *sum = sum.saturating_add(counter.as_ref().map_or(0, IntCounter::get));
                    }
                }
            }
        }
        totals.refused = by_label(&self.refusals);
        totals.refused.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let duplicates = by_label(&self.duplicates).into_iter();
        totals.duplicates = duplicates.fold(0, |sum, (_, count)| sum.saturating_add(count));
        totals
    }

    /// The exposition format of Prometheus.
    pub(super) fn render(&self) -> String {
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => String::from_utf8(out).unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}

impl PerUpstream {
    pub(super) fn answered(
        &self,
        (class, verdict): (Option<Class>, Verdict),
        mode: Mode,
        whole: Duration,
    ) {
        let class = class_index(class);
        let requests = match mode {
            Mode::Enforce => &self.requests,
            Mode::Shadow => {
                self.in_shadow.get_or_init(|| requests(&self.family, &self.name, Mode::Shadow))
            }
        };
        let by_verdict = requests.get(class);
        let place = VERDICTS.iter().position(|one| *one == verdict);
        if let Some(Some(count)) = place.and_then(|place| by_verdict?.get(place)) {
            count.inc();
        }
        observe(self.whole.get(class).and_then(Option::as_ref), whole);
    }

    pub(super) fn away(&self, span: Duration) {
        observe(self.away.as_ref(), span);
    }
}

fn requests(family: &Counters, upstream: &str, mode: Mode) -> Requests {
    std::array::from_fn(|class| {
        VERDICTS.map(|verdict| {
            let labels = [upstream, class_name(class), verdict.name(), mode.name()];
            family.as_ref()?.get_metric_with_label_values(&labels).ok()
        })
    })
}

const VERDICTS: [Verdict; 4] = [Verdict::Allow, Verdict::Hold, Verdict::Verify, Verdict::Refuse];

fn class_index(class: Option<Class>) -> usize {
    match class {
        Some(Class::Read) => 0,
        Some(Class::Write) => 1,
        Some(Class::Communication) => 2,
        Some(Class::Financial) => 3,
        None => 4,
    }
}

fn class_name(index: usize) -> &'static str {
    Class::ALL.get(index).map_or(NONE, |class| class.name())
}

fn observe(histogram: Option<&Histogram>, span: Duration) {
    if let Some(histogram) = histogram {
        histogram.observe(span.as_secs_f64());
    }
}

pub(super) fn add(family: &Counters, labels: &[&str], count: u64) {
    if let Some(Ok(one)) = family.as_ref().map(|f| f.get_metric_with_label_values(labels)) {
        one.inc_by(count);
    }
}

/// Each child of a family with one label.
fn by_label(family: &Counters) -> Vec<(String, u64)> {
    let families = family.as_ref().map(Collector::collect).unwrap_or_default();
    let children = families.iter().flat_map(|family| family.get_metric());
    let one = |metric: &prometheus::proto::Metric| {
        let label = metric.get_label().first()?.value().to_owned();
        // A counter of this process is a whole number below 2^53.
        let count = format!("{:.0}", metric.get_counter().get_value()).parse().ok()?;
        (count > 0).then_some((label, count))
    };
    children.filter_map(one).collect()
}

pub(super) fn set(family: &Gauges, labels: &[&str], value: u64) {
    if let Some(Ok(one)) = family.as_ref().map(|f| f.get_metric_with_label_values(labels)) {
        one.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// Leaves out what is told of an upstream.
pub(super) fn forget(family: &Gauges, upstream: &str) {
    // What was never told cannot be left out.
    family.as_ref().map(|family| family.remove_label_values(&[upstream])).and_then(Result::ok);
}

fn child(family: &Histograms, labels: &[&str]) -> Option<Histogram> {
    family.as_ref()?.get_metric_with_label_values(labels).ok()
}

fn registered<F: Collector + Clone + 'static>(registry: &Registry, family: F) -> Option<F> {
    registry.register(Box::new(family.clone())).ok()?;
    Some(family)
}

pub(super) fn counters(registry: &Registry, name: &str, labels: &[&str]) -> Counters {
    registered(registry, IntCounterVec::new(Opts::new(name, help(name)), labels).ok()?)
}

pub(super) fn gauges(registry: &Registry, name: &str, labels: &[&str]) -> Gauges {
    registered(registry, IntGaugeVec::new(Opts::new(name, help(name)), labels).ok()?)
}

pub(super) fn histograms(
    registry: &Registry,
    name: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Histograms {
    let opts = HistogramOpts::new(name, help(name)).buckets(buckets.to_vec());
    registered(registry, HistogramVec::new(opts, labels).ok()?)
}

fn help(name: &str) -> &'static str {
    match name.strip_prefix("tollhouse_").unwrap_or(name) {
        "requests_total" => "Calls by what was decided",
        "request_duration_seconds" => "From the whole request to the answer",
        "added_seconds" => "Time in Tollhouse itself, the upstream's not counted",
        "upstream_duration_seconds" => "Time at the upstream",
        "refusals_total" => "Calls that were turned back, held ones included, by code",
        "holds_pending" => "Operations that wait for a person",
        "holds_oldest_seconds" => "How long the oldest of them waits",
        "holds_unanswerable" => {
            "Those of them that nobody who is configured can answer: page somebody"
        }
        "approval_duration_seconds" => "From a hold to a person's answer",
        "operations" => "Operations that are kept, by state",
        "duplicates_suppressed_total" => "Calls that were answered from memory or joined another",
        "console_sign_ins_total" => "People and machines at the console: let in, turned away, gone",
        "notifications_total" => "Notifications by what they tell and how that went",
        "callback_answers_total" => "Answers that destinations sent back, by what became of them",
        "letters_waiting" => "Notifications that could not be delivered yet",
        "letters_oldest_seconds" => "How long the oldest of them has waited",
        "unauthorized_attempts_total" => "Calls for what the caller may not have",
        "money_minor_units_total" => "Money of judged calls, in minor units",
        "breaker_state" => "0 closed, 1 half open, 2 open",
        "frozen" => "Freezes in force, by the sort of their scope",
        "store_unsafe" => "1 while the store may forget what it acknowledged",
        "store_duration_seconds" => "Time of one step of the store",
        "streams_total" => "Answers that were passed on as they came, by how they ended",
        "build_info" => "The version that runs",
        other => super::evidence::help(other)
            .or_else(|| super::otlp::help(other))
            .unwrap_or_else(|| super::roads::help(other)),
    }
}

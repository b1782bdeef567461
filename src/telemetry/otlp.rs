//! What of the traces and log lines goes to a collector, and what waits to go? OTLP, in protobuf
//! (opentelemetry.io/docs/specs/otlp).
//!
//! Never sends anything itself, never makes a call wait, never holds a value of a call unless it was asked for:
//! what there is no room for is left out and counted.

mod proto;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::Notify;

use super::Telemetry;
use super::log::LogLine;
use super::metrics::{Counters, add, counters};
use crate::clock::Timestamp;
pub(super) use proto::Message;
pub(super) use trace::hex;
pub use trace::{Attribute, Parent, Stage, Trace};
pub(crate) use trace::{ERROR, NAME};

/// BOUND: what waits of one signal; some 5,000 calls' spans. A collector takes 20 MiB at once.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// BOUND: who sends is woken early by so much, so that a burst does not fill the room.
const WAKE_BYTES: usize = 512 << 10;

/// Which of the calls are traced, and what is told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// Of reads whose caller says nothing about it, so many in a thousand.
    pub reads: Option<u16>,
    /// Whether log lines go as well.
    pub logs: bool,
    /// Whether customers, resources, amounts and agents' words may be told.
    pub values: Values,
}

/// Whether what a call is about may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Customers, resources, amounts, summaries.
    Told,
    /// Only what was decided, of which action, and how long it took.
    Withheld,
}

/// What is told apart on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans of calls.
    Traces,
    /// Log lines.
    Logs,
}

impl Signal {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Traces, Self::Logs];

    /// Its name, in paths and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }
}

/// What waits, and how it went.
#[derive(Debug)]
pub struct Otlp {
    tracing: Tracing,
    waiting: [Mutex<Waiting>; 2],
    /// What is being sent: it is tried again until it is taken, or given up.
    leaving: [Mutex<Option<(Bytes, u64)>>; 2],
    wake: Arc<Notify>,
    dropped: [AtomicU64; 2],
    resource: Vec<u8>,
    chance: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    count: u64,
}

fn of<T>(both: &[T; 2], signal: Signal) -> &T {
    let [traces, logs] = both;
    match signal {
        Signal::Traces => traces,
        Signal::Logs => logs,
    }
}

impl Otlp {
    pub(super) fn new(tracing: Tracing) -> Self {
        Self {
            tracing,
            waiting: Default::default(),
            leaving: Default::default(),
            wake: Arc::default(),
            dropped: Default::default(),
            resource: resource(),
            chance: AtomicU64::new(trace::random()),
        }
    }

    /// Whether what a call is about may be told.
    pub fn values(&self) -> Values {
        self.tracing.values
    }

    /// Whether a read is traced that nobody asked for.
    pub fn takes_read(&self) -> bool {
        let Some(share) = self.tracing.reads.filter(|share| *share > 0) else { return false };
        let turn = self.chance.fetch_add(1, Ordering::Relaxed);
        trace::mixed(turn).checked_rem(1000).is_some_and(|rest| rest < u64::from(share))
    }

    /// Whether a call is traced from its start: effects, what its caller traces, and some of the reads.
    fn takes(&self, method: &http::Method, parent: Option<Parent>) -> bool {
        let is_plain = matches!(*method, http::Method::GET | http::Method::HEAD);
        if self.tracing.reads.is_none() {
            return false;
        }
        !is_plain || parent.map_or_else(|| self.takes_read(), |parent| parent.is_sampled)
    }

    fn push(&self, signal: Signal, count: u64, lay_out: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = of(&self.waiting, signal).lock();
        let before = waiting.bytes.len();
        lay_out(&mut waiting.bytes);
        if waiting.bytes.len() > WAITING_BYTES_MAX {
            waiting.bytes.truncate(before);
            drop(waiting);
            of(&self.dropped, signal).fetch_add(count, Ordering::Relaxed);
            return;
        }
        waiting.count = waiting.count.saturating_add(count);
        if before < WAKE_BYTES && waiting.bytes.len() >= WAKE_BYTES {
            self.wake.notify_one();
        }
    }

    /// What is to be sent now; the same again until [`Otlp::taken`] or [`Otlp::given_up`] says what became of it.
    pub fn due(&self, signal: Signal) -> Option<Bytes> {
        let mut leaving = of(&self.leaving, signal).lock();
        if leaving.is_none() {
            let waiting = std::mem::take(&mut *of(&self.waiting, signal).lock());
            if waiting.count > 0 {
                *leaving = Some((self.request(&waiting.bytes), waiting.count));
            }
        }
        leaving.as_ref().map(|(bytes, _)| bytes.clone())
    }

    /// One request: resource, scope, and the spans or lines. Both signals number them alike.
    fn request(&self, all: &[u8]) -> Bytes {
        let mut scope = Vec::with_capacity(all.len().saturating_add(64));
        let mut message = Message::on(&mut scope);
        message.message(1, |m| {
            m.text(1, "tollhouse");
            m.text(2, env!("CARGO_PKG_VERSION"));
        });
        scope.extend_from_slice(all);
        let mut out = Vec::with_capacity(scope.len().saturating_add(256));
        Message::on(&mut out).message(1, |m| {
            m.bytes(1, &self.resource);
            m.bytes(2, &scope);
        });
        out.into()
    }

    /// The collector has it.
    pub fn taken(&self, signal: Signal) {
        of(&self.leaving, signal).lock().take();
    }

    /// The collector does not want it, or was away for too long.
    pub fn given_up(&self, signal: Signal) {
        if let Some((_, count)) = of(&self.leaving, signal).lock().take() {
            of(&self.dropped, signal).fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Waits until there is much.
    pub async fn filled(&self) {
        self.wake.notified().await;
    }

    /// A log line, as far as it may be told.
    pub(super) fn line(&self, line: &LogLine, at: Timestamp) {
        if !self.tracing.logs {
            return;
        }
        self.push(Signal::Logs, 1, |out| {
            Message::on(out).message(2, |m| line.lay_out(m, at, self.tracing.values));
        });
    }
}

/// Who tells.
fn resource() -> Vec<u8> {
    let mut out = Vec::new();
    let mut message = Message::on(&mut out);
    let instance = format!("{:016x}{:016x}", trace::random(), trace::random());
    for (name, value) in [
        ("service.name", "tollhouse"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &instance),
    ] {
        message.attribute(1, name, &Attribute::Text(value));
    }
    out
}

/// What is counted of it.
#[derive(Debug)]
pub(super) struct Counted {
    dropped: Counters,
    exports: Counters,
}

impl Counted {
    pub(super) fn new(r: &Registry) -> Self {
        let dropped = counters(r, "tollhouse_otlp_dropped_total", &["signal"]);
        let exports = counters(r, "tollhouse_otlp_exports_total", &["signal", "result"]);
        // An alert on a number that is not there yet never fires.
        for signal in Signal::ALL {
            add(&dropped, &[signal.name()], 0);
            for result in ["taken", "failed", "refused"] {
                add(&exports, &[signal.name(), result], 0);
            }
        }
        Self { dropped, exports }
    }
}

pub(super) fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        "otlp_dropped_total" => {
            "Spans and log lines that there was no room for, or that no collector took"
        }
        "otlp_exports_total" => "Batches that were sent to the collector, by how that went",
        _ => return None,
    })
}

impl Telemetry {
    /// Traces calls, for whoever sends that to a collector.
    #[must_use]
    pub fn exporting(mut self, tracing: Option<Tracing>) -> Self {
        self.otlp = tracing.map(|tracing| Arc::new(Otlp::new(tracing)));
        self.log.copy_to(self.otlp.clone());
        self
    }

    /// What waits for a collector; `None` where there is none.
    pub fn otlp(&self) -> Option<&Arc<Otlp>> {
        self.otlp.as_ref()
    }

    /// The trace of a call that came now, if it is traced from its start; and who asks to be told of it.
    #[inline]
    pub fn trace(
        &self,
        method: &http::Method,
        headers: &http::HeaderMap,
        since: Duration,
    ) -> (Option<Box<Trace>>, Option<Parent>) {
        match &self.otlp {
            None => (None, None),
            Some(otlp) => self.trace_with(otlp, method, (headers, since)),
        }
    }

    #[cold]
    fn trace_with(
        &self,
        otlp: &Otlp,
        method: &http::Method,
        (headers, since): (&http::HeaderMap, Duration),
    ) -> (Option<Box<Trace>>, Option<Parent>) {
        let parent = Parent::of(headers);
        let takes = otlp.takes(method, parent);
        (takes.then(|| Box::new(Trace::new(parent, since))), parent)
    }

    /// The trace of a call that turned out to be worth one: its spans were not measured.
    pub fn late_trace(&self, parent: Option<Parent>, since: Duration) -> Option<Box<Trace>> {
        let otlp = self.otlp.as_ref()?;
        otlp.tracing.reads.map(|_| Box::new(Trace::new(parent, since)))
    }

    /// A call has ended; `now` by the steady clock.
    pub fn traced(&self, trace: &Trace, root: &[(&'static str, Attribute<'_>)], now: Duration) {
        if let Some(otlp) = &self.otlp {
            let at = self.clock.now();
            let count = trace.spans();
            otlp.push(Signal::Traces, count, |out| trace.lay_out(root, (at, now), out));
        }
    }

    /// A batch was sent: `taken`, `failed`, `refused`.
    pub fn exported(&self, signal: Signal, result: &'static str) {
        add(&self.metrics.otlp.exports, &[signal.name(), result], 1);
    }

    pub(super) fn count_dropped(&self) {
        let Some(otlp) = &self.otlp else { return };
        for signal in Signal::ALL {
            let count = of(&otlp.dropped, signal).swap(0, Ordering::Relaxed);
            add(&self.metrics.otlp.dropped, &[signal.name()], count);
        }
    }
}

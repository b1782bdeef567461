//! How is it going? Every metric, and the one log line of each thing that happened.
//!
//! Never decides anything and never holds a secret; texts of others come in masked and are written
//! so that they act on nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::call::{Class, DecisionId, OperationId, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::decision::{Mode, Shadow, Verdict};
use crate::money::Money;
use crate::refusal::{Code, Fault, Refusal};

mod alarms;
mod evidence;
mod log;
mod metrics;
mod otlp;
mod roads;
mod room;
mod shadow;

pub use log::{Level, LogLine};

use log::Log;
use metrics::Metrics;
pub use metrics::Totals;
pub use otlp::{Attribute, Otlp, Parent, Signal, Stage, Trace, Tracing, Values};
pub(crate) use otlp::{ERROR, NAME};
pub use roads::RoadStands;
pub use room::{Looping, Near, Said};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
    /// None at all: cases, benches.
    Off,
}

/// What is told of one call or operation. What is not known is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'c> {
    /// The decision.
    pub verdict: Option<Verdict>,
    /// Why it was turned back or held.
    pub refusal: Option<&'c Refusal>,
    /// The upstream's name in the configuration.
    pub upstream: Option<&'c str>,
    /// Its class.
    pub class: Option<Class>,
    /// The action.
    pub action: Option<&'c str>,
    /// The tenant.
    pub tenant: Option<&'c str>,
    /// The agent.
    pub agent: Option<&'c str>,
    /// The customer.
    pub customer: Option<&'c str>,
    /// The customer's account at the upstream, as it was compared.
    pub account: Option<&'c str>,
    /// The owner it was compared with.
    pub owner: Option<&'c str>,
    /// How much.
    pub amount: Option<Money>,
    /// One plain sentence, masked.
    pub summary: Option<&'c str>,
    /// The operation.
    pub operation: Option<OperationId>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// Whether it was answered from memory.
    pub replayed: bool,
    /// The upstream's status.
    pub status: Option<u16>,
    /// Why an answer stayed behind, masked.
    pub withheld: Option<&'c str>,
    /// From the whole request to the answer.
    pub whole: Duration,
    /// Of that at the upstream.
    pub away: Duration,
    /// `Tollhouse-Case`, masked.
    pub case: Option<&'c str>,
    /// The trace id.
    pub trace_id: Option<&'c str>,
    /// The span that the call is in it, where it is traced.
    pub span_id: Option<&'c str>,
    /// The decision's id.
    pub decision_id: Option<DecisionId>,
    /// Whether what was decided was also done.
    pub mode: Mode,
    /// What would have become of it, had it not run in shadow.
    pub shadow: Option<&'c Shadow>,
}

/// How a queue of holds stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueueStands {
    /// How many wait.
    pub waiting: u64,
    /// How long the oldest waits.
    pub oldest: Duration,
    /// How many of them nobody who is configured can answer.
    pub unanswerable: u64,
}

/// Everything that is counted, and the log.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    log: Log,
    otlp: Option<Arc<Otlp>>,
    clock: Clock,
    /// Queues of which somebody was told that nobody can answer them.
    unanswerable: Mutex<BTreeSet<Box<str>>>,
}

impl Telemetry {
    /// Counts, and writes lines to standard error; reads are only counted.
    pub fn new(format: LogFormat) -> Self {
        Self::of(Log::to_stderr(format), Clock::System)
    }

    /// Counts, and keeps every line, those of reads too.
    pub fn in_memory(format: LogFormat, clock: Clock, lines: Arc<Mutex<Vec<String>>>) -> Self {
        Self::of(Log::to_memory(format, lines), clock)
    }

    fn of(log: Log, clock: Clock) -> Self {
        Self { metrics: Metrics::new(), log, otlp: None, clock, unanswerable: Mutex::default() }
    }

    /// Writes lines from that level on.
    #[must_use]
    pub fn from_level(mut self, level: Level) -> Self {
        self.log.from(level);
        self
    }

    /// A call left: counted, and told unless it was a read.
    pub fn answered(&self, seen: &Seen<'_>) {
        let verdict = seen.verdict.unwrap_or(Verdict::Refuse);
        // What came by no upstream's road is counted all the same.
        if let Some(upstream) = self.metrics.upstream(seen.upstream.unwrap_or(metrics::NONE)) {
            upstream.answered((seen.class, verdict), seen.mode, seen.whole);
            if seen.away > Duration::ZERO {
                upstream.away(seen.away);
            }
        }
        if let Some(refusal) = seen.refusal {
            self.metrics.refused(refusal.code.spec().name);
            if let Some(kind) = unauthorized(refusal.code) {
                self.metrics.unauthorized(kind);
            }
        }
        if let (Some(shadow), false) = (seen.shadow, seen.replayed) {
            self.metrics.shadow.noted(seen, shadow);
        }
        self.count_money(seen, verdict);
        let level = level(seen);
        if self.log.takes(level) {
            self.write(&mut told(level, &what(seen), seen));
        }
    }

    // A replay moved nothing again.
    fn count_money(&self, seen: &Seen<'_>, verdict: Verdict) {
        if let (Some(amount), Some(class), false) = (seen.amount, seen.class, seen.replayed)
            && class.is_effect()
            && let Ok(minor) = u64::try_from(amount.minor)
        {
            let decision = shadow::decision(verdict, seen.shadow);
            self.metrics.money(class, amount.currency.code(), decision, minor);
        }
    }

    /// The time a call spent in Tollhouse itself.
    pub fn added(&self, class: Option<Class>, span: Duration) {
        self.metrics.added(class, span);
    }

    /// The time of one step of the store: `recall`, `reserve`, `settle`, ..
    pub fn store_took(&self, step: &'static str, span: Duration) {
        self.metrics.store(step, span);
    }

    /// A call was answered from memory (`replayed`), or joined another (`joined`).
    pub fn duplicate_suppressed(&self, kind: &'static str) {
        self.metrics.duplicate(kind);
    }

    /// An answer that was passed on as it came has ended: `whole`, `agent`, `upstream`, ..
    pub fn stream_ended(&self, upstream: &str, ended: &'static str, span: Duration) {
        self.metrics.stream_ended(upstream, ended);
        let level = match ended {
            "whole" | "agent" | "stopped" => Level::Debug,
            _ => Level::Warn,
        };
        if self.log.takes(level) {
            let mut line = LogLine::new(level, "a streamed answer ended early");
            line.text("upstream", Some(upstream)).text("ended", Some(ended));
            line.text("after", Some(&format!("{span:?}")));
            self.write(&mut line);
        }
    }

    /// A record could not be written.
    pub fn evidence_gap(&self) {
        self.metrics.evidence_gap();
    }

    /// Something could not be done that nobody asked for.
    pub fn fault(&self, what: &str, fault: &Fault) {
        let mut line = LogLine::new(Level::Error, what);
        line.shown("why", Some(fault));
        self.write(&mut line);
    }

    /// A success came for what was proved not to have been sent.
    pub fn contradiction(&self, seen: &Seen<'_>) {
        self.metrics.contradiction();
        let what = "the upstream says it happened, though it was taken for not sent";
        self.write(&mut told(Level::Error, what, seen));
    }

    /// An outcome came too late to count: somebody else settled the operation.
    pub fn fenced(&self, seen: &Seen<'_>, outcome: Outcome) {
        let what = format!("came too late to count: {}", outcome_words(outcome));
        self.write(&mut told(Level::Warn, &what, seen));
    }

    /// An operation changed without a call: a hold ended, a lease was over.
    pub fn changed(&self, seen: &Seen<'_>) {
        let what = what(seen);
        self.write(&mut told(level(seen), &what, seen));
    }

    /// An approved call cannot run yet.
    pub fn waiting(&self, seen: &Seen<'_>) {
        self.write(&mut told(Level::Info, "approved, and cannot run yet", seen));
    }

    /// A person answered a hold, or resolved an operation: `approved`, `denied`, ..
    pub fn said(&self, event: &str, seen: &Seen<'_>, by: &str) {
        let mut line = told(Level::Info, &format!("{event} by a person"), seen);
        line.text("by", Some(by));
        self.write(&mut line);
    }

    /// How long a hold waited for its answer.
    pub fn hold_answered(&self, queue: &str, answer: &str, waited: Duration) {
        self.metrics.approval(queue, answer, waited);
    }

    /// A person stopped a scope (`frozen`) or let it run again (`unfrozen`).
    pub fn froze(&self, event: &str, scope: &dyn Display, reason: &str, by: &str) {
        let mut line = LogLine::new(Level::Warn, &format!("{event} by a person"));
        line.shown("scope", Some(scope)).text("why", Some(reason)).text("by", Some(by));
        line.text("do", (event == "frozen").then_some("tollhouse freezes"));
        self.write(&mut line);
    }

    /// Somebody at the console: `signed_in`, `sign_in_failed`, `signed_out`, `forbidden`. `how` is a
    /// word of a closed list.
    pub fn at_door(&self, event: &str, how: &'static str, (by, note): (Option<&str>, &str)) {
        self.metrics.sign_in(event, how);
        let well = matches!(event, "signed_in" | "signed_out");
        let level = if well { Level::Info } else { Level::Warn };
        let mut line = LogLine::new(level, &format!("{event} at the console"));
        line.text("by", by).text("how", Some(how)).text("why", Some(note));
        self.write(&mut line);
    }

    /// The same once more, without a line of its own.
    pub fn at_door_again(&self, event: &str, how: &'static str) {
        self.metrics.sign_in(event, how);
    }

    /// Somebody outside was told, or not: `delivered`, `failed`, `gone`, `gave_up`, `dropped`.
    pub fn notified(&self, news: &'static str, result: &'static str) {
        self.metrics.notified(news, result);
    }

    /// What became of an answer that a destination sent back, a word of a closed list.
    pub fn callback(&self, result: &'static str) {
        self.metrics.callback(result);
    }

    /// Notifications that wait, and how long the oldest has.
    pub fn letters(&self, count: usize, oldest: Duration) {
        self.metrics.letters(u64::try_from(count).unwrap_or(u64::MAX), oldest.as_secs());
    }

    /// Anything else worth a line.
    pub fn tell(&self, mut line: LogLine) {
        self.write(&mut line);
    }

    /// Operations that are kept, by state.
    pub fn operations(&self, counts: &[(&'static str, u64)]) {
        counts.iter().for_each(|(state, count)| self.metrics.operations(state, *count));
    }

    /// In how many ways the store may forget what it acknowledged.
    pub fn store_unsafe(&self, dangers: usize) {
        self.metrics.store_unsafe(u64::try_from(dangers).unwrap_or(u64::MAX));
    }

    /// Operations that wait for a person: the queue of each.
    pub fn holds_pending(&self, queues: &BTreeMap<&str, QueueStands>) {
        self.metrics.holds_pending(queues);
        let mut told = self.unanswerable.lock();
        for (queue, stands) in queues {
            if stands.unanswerable == 0 {
                told.remove(*queue);
            } else if told.insert((*queue).into()) {
                let what = "calls wait in a queue that nobody who is configured can answer";
                let mut line = LogLine::new(Level::Error, what);
                line.text("queue", Some(queue));
                line.text(
                    "do",
                    Some("give an operator one of its roles, or configure the queue again"),
                );
                self.write(&mut line);
            }
        }
    }

    /// An upstream's breaker: `closed`, `half_open`, `open`.
    pub fn breaker(&self, upstream: &str, state: &str) {
        let number = match state {
            "closed" => 0,
            "open" => 2,
            _ => 1,
        };
        self.metrics.breaker(upstream, number);
    }

    /// What the console draws of it.
    pub fn totals(&self) -> Totals {
        self.metrics.totals()
    }

    /// Everything that is counted, in the exposition format of Prometheus.
    pub fn render(&self) -> String {
        self.metrics.lines_left_out(self.log.left_out());
        self.count_dropped();
        self.metrics.render()
    }

    fn write(&self, line: &mut LogLine) {
        let line = std::mem::replace(line, LogLine::new(Level::Debug, ""));
        self.log.write(line, self.now());
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Codes that say that somebody tried what is not theirs.
fn unauthorized(code: Code) -> Option<&'static str> {
    const CODES: [Code; 4] =
        [Code::Unauthenticated, Code::NotFound, Code::Forbidden, Code::UnknownAction];
    CODES.contains(&code).then(|| code.spec().name)
}

/// Codes that mean that something is not well on our side or the upstream's.
const NOT_WELL: [Code; 8] = [
    Code::Undecidable,
    Code::OutcomeUnknown,
    Code::OutcomeStillUnknown,
    Code::BreakerOpen,
    Code::Overloaded,
    Code::UpstreamUnreachable,
    Code::UpstreamTimeout,
    Code::Unauthenticated,
];

fn level(seen: &Seen<'_>) -> Level {
    let unwell = seen.refusal.is_some_and(|refusal| NOT_WELL.contains(&refusal.code));
    if unwell || seen.outcome == Some(Outcome::Unknown) || seen.withheld.is_some() {
        Level::Warn
    } else if seen.refusal.is_none() && seen.class == Some(Class::Read) {
        Level::Debug
    } else {
        Level::Info
    }
}

fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "done",
        Outcome::Accepted => "accepted by the upstream, not finished",
        Outcome::Rejected => "rejected by the upstream, nothing happened",
        Outcome::NotSent => "not sent",
        Outcome::Unknown => "outcome not known, it may have happened",
    }
}

/// What happened, in words.
fn what(seen: &Seen<'_>) -> String {
    let happened = match (seen.refusal, seen.outcome) {
        (Some(refusal), _) => {
            let title = refusal.code.spec().title;
            let (first, rest) = title.split_at_checked(1).unwrap_or((title, ""));
            format!("{}{rest}", first.to_ascii_lowercase())
        }
        (None, _) if seen.replayed => "answered from memory, not sent again".to_owned(),
        (None, Some(outcome)) => outcome_words(outcome).to_owned(),
        (None, None) if seen.class == Some(Class::Read) => "read".to_owned(),
        (None, None) => "let through".to_owned(),
    };
    match seen.summary.filter(|summary| !summary.is_empty()) {
        Some(summary) => format!("{happened}: {summary}"),
        None => happened,
    }
}

/// The command that comes next, where there is one.
fn next(seen: &Seen<'_>) -> Option<String> {
    let operation = seen.operation.or(seen.refusal.and_then(|refusal| refusal.operation));
    let unknown = seen.outcome == Some(Outcome::Unknown);
    match (seen.refusal.map(|refusal| refusal.code), operation) {
        (Some(Code::ApprovalRequired), Some(op)) => Some(format!("tollhouse holds approve {op}")),
        (
            Some(Code::OutcomeUnknown | Code::OutcomeStillUnknown | Code::DuplicateSuspected),
            Some(op),
        ) => Some(format!("tollhouse operations show {op}")),
        (Some(Code::Frozen), _) => Some("tollhouse freezes".to_owned()),
        (Some(Code::Forbidden | Code::OverLimit), _) => {
            seen.action.map(|action| format!("tollhouse policy show --action {action}"))
        }
        (None, Some(op)) if unknown => Some(format!("tollhouse operations show {op}")),
        (Some(_) | None, _) => None,
    }
}

/// The line of a call or an operation: what happened first, the numbers last.
fn told(level: Level, what: &str, seen: &Seen<'_>) -> LogLine {
    let mut line = LogLine::new(level, what).of_call();
    line.text("action", seen.action)
        .text("agent", seen.agent)
        .text("customer", seen.customer)
        .text("tenant", seen.tenant)
        .text("account", seen.account.filter(|account| Some(*account) != seen.customer))
        .text("owner", seen.owner.filter(|owner| Some(*owner) != seen.account))
        .shown("amount", seen.amount.as_ref().map(|amount| amount as &dyn Display))
        .plain("decision", seen.verdict.map(Verdict::name));
    shadow::tell(&mut line, seen);
    if let Some(refusal) = seen.refusal {
        line.plain("code", Some(refusal.code.spec().name));
        let why = if refusal.why.is_empty() { &refusal.detail } else { &refusal.why };
        line.text("why", Some(why));
        let policies: Vec<&str> = refusal.reasons.iter().map(|r| &*r.policy).collect();
        line.text("policies", Some(&policies.join(" ")));
    }
    let operation = seen.operation.or(seen.refusal.and_then(|refusal| refusal.operation));
    line.text("withheld", seen.withheld)
        .operation(operation)
        .text("do", next(seen).as_deref())
        .text("upstream", seen.upstream)
        .number("status", seen.status.map(u64::from))
        .number("ms", millis(seen.whole))
        .number("upstream_ms", millis(seen.away))
        .text("case", seen.case)
        .text("trace_id", seen.trace_id)
        .text("span_id", seen.span_id)
        .decision(seen.decision_id);
    line
}

fn millis(span: Duration) -> Option<u64> {
    u64::try_from(span.as_millis()).ok().filter(|_| span > Duration::ZERO)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

    use super::*;
    use crate::decision::Reason;

    fn bench(format: LogFormat) -> (Telemetry, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let clock = Clock::by_hand(Timestamp::parse("2026-03-01T03:00:00Z").unwrap());
        (Telemetry::in_memory(format, clock, Arc::clone(&lines)), lines)
    }

    fn held() -> Refusal {
        let mut refusal = Refusal::new(Code::ApprovalRequired, "Held.");
        refusal.operation = Some(OperationId([7; 32]));
        refusal.why = "the amount is over the automatic cap (financial.over-cap)".into();
        refusal.reasons =
            vec![Reason { policy: "financial.over-cap".into(), why: "w".into(), tell: "t".into() }];
        refusal
    }

    fn seen(refusal: &Refusal) -> Seen<'_> {
        Seen {
            verdict: Some(refusal.verdict()),
            refusal: Some(refusal),
            upstream: Some("stripe"),
            class: Some(Class::Financial),
            action: Some("stripe.refund.create"),
            agent: Some("support-bot"),
            customer: Some("u1"),
            account: Some("cus_9"),
            amount: Some(Money::parse("600.00 USD").unwrap()),
            summary: Some("Refund 600.00 USD of charge ch_1"),
            whole: Duration::from_millis(12),
            ..Seen::default()
        }
    }

    #[test]
    fn a_hold_says_what_happened_and_what_to_do() {
        let (telemetry, lines) = bench(LogFormat::Json);
        let refusal = held();
        telemetry.answered(&seen(&refusal));
        let line: serde_json::Value = serde_json::from_str(&lines.lock()[0]).unwrap();
        let op = OperationId([7; 32]).to_string();
        for (name, value) in [
            ("time", "2026-03-01T03:00:00.000Z"),
            ("level", "info"),
            ("what", "held for approval, nothing sent: Refund 600.00 USD of charge ch_1"),
            ("action", "stripe.refund.create"),
            ("agent", "support-bot"),
            ("customer", "u1"),
            ("account", "cus_9"),
            ("amount", "600.00 USD"),
            ("decision", "hold"),
            ("code", "approval_required"),
            ("why", "the amount is over the automatic cap (financial.over-cap)"),
            ("policies", "financial.over-cap"),
            ("operation", &op),
            ("do", &format!("tollhouse holds approve {op}")),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!(line["ms"], 12);
        assert!(line.get("status").is_none(), "what is not known is not there");
    }

    #[test]
    fn a_terminal_shows_it_in_one_line_and_the_command_below() {
        let (telemetry, lines) = bench(LogFormat::Text);
        let refusal = held();
        telemetry.answered(&seen(&refusal));
        let text = lines.lock()[0].clone();
        assert!(
            text.starts_with("03:00:00 info  held for approval, nothing sent: Refund"),
            "{text}"
        );
        assert!(text.contains("-> tollhouse holds approve op_"), "{text}");
    }

    #[test]
    fn nothing_of_an_agents_text_acts_on_a_line() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let (telemetry, lines) = bench(format);
            let mut refusal = held();
            refusal.why = "a\r\n{\"level\":\"error\"}\u{1b}[2J\u{202e}\u{9b}31m".into();
            refusal.operation = None;
            let seen = Seen { agent: Some("bot\n03:00:00 error forged"), ..seen(&refusal) };
            telemetry.answered(&seen);
            let line = lines.lock()[0].clone();
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
            assert_eq!(lines.lock().len(), 1);
        }
    }

    #[test]
    fn levels_follow_what_somebody_should_look_at() {
        let (telemetry, lines) = bench(LogFormat::Json);
        let read =
            Seen { verdict: Some(Verdict::Allow), class: Some(Class::Read), ..Seen::default() };
        telemetry.answered(&read);
        let unknown = Seen {
            class: Some(Class::Financial),
            outcome: Some(Outcome::Unknown),
            operation: Some(OperationId([7; 32])),
            ..read
        };
        telemetry.answered(&unknown);
        telemetry.answered(&Seen {
            class: Some(Class::Write),
            outcome: Some(Outcome::Succeeded),
            ..read
        });
        telemetry.fault("the sweep stopped", &Fault::Audit("full".into()));
        let levels: Vec<String> = lines
            .lock()
            .iter()
            .map(|l| {
                serde_json::from_str::<serde_json::Value>(l).unwrap()["level"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(levels, ["debug", "warn", "info", "error"]);
        assert!(lines.lock()[1].contains("tollhouse operations show op_"));
        let quiet = bench(LogFormat::Json);
        let telemetry = quiet.0.from_level(Level::Info);
        telemetry.answered(&read);
        assert!(quiet.1.lock().is_empty(), "reads are only counted");
    }

    #[test]
    fn every_metric_is_there_and_counts() {
        let (telemetry, _) = bench(LogFormat::Json);
        let refusal = held();
        telemetry.answered(&seen(&refusal));
        let stranger = Refusal::unauthenticated("x");
        telemetry.answered(&Seen { upstream: None, amount: None, class: None, ..seen(&stranger) });
        let done = Seen {
            refusal: None,
            verdict: Some(Verdict::Allow),
            outcome: Some(Outcome::Succeeded),
            away: Duration::from_millis(300),
            ..seen(&refusal)
        };
        telemetry.answered(&done);
        telemetry.answered(&Seen { replayed: true, ..done });
        telemetry.added(Some(Class::Read), Duration::from_micros(60));
        telemetry.added(None, Duration::from_micros(60));
        telemetry.store_took("reserve", Duration::from_micros(300));
        telemetry.duplicate_suppressed("replayed");
        telemetry.evidence_gap();
        telemetry.contradiction(&done);
        telemetry.hold_answered("finance", "approved", Duration::from_secs(45));
        telemetry.operations(&[("held", 3)]);
        let oldest = Duration::from_secs(90);
        let one = QueueStands { waiting: 1, oldest, unanswerable: 1 };
        telemetry.holds_pending(&BTreeMap::from([("legal", one)]));
        let two = QueueStands { waiting: 2, unanswerable: 0, ..one };
        telemetry.holds_pending(&BTreeMap::from([("finance", two)]));
        telemetry.freezes(["all", "class/financial agent/bot"]);
        telemetry.breaker("stripe", "open");
        telemetry.stream_ended("stripe", "quiet", Duration::from_secs(60));
        telemetry.at_door("signed_in", "code", (Some("eve"), ""));
        telemetry.at_door_again("signed_in", "code");
        let text = telemetry.render();
        for line in [
            "tollhouse_requests_total{class=\"financial\",decision=\"hold\",mode=\"enforce\",upstream=\"stripe\"} 1",
            "tollhouse_requests_total{class=\"financial\",decision=\"allow\",mode=\"enforce\",upstream=\"stripe\"} 2",
            "tollhouse_requests_total{class=\"none\",decision=\"refuse\",mode=\"enforce\",upstream=\"none\"} 1",
            "tollhouse_request_duration_seconds_count{class=\"financial\",upstream=\"stripe\"} 3",
            "tollhouse_added_seconds_bucket{class=\"read\",le=\"0.0001\"} 1",
            "tollhouse_added_seconds_bucket{class=\"read\",le=\"0.00005\"} 0",
            "tollhouse_added_seconds_count{class=\"none\"} 1",
            "tollhouse_upstream_duration_seconds_count{upstream=\"stripe\"} 2",
            "tollhouse_refusals_total{code=\"approval_required\"} 1",
            "tollhouse_refusals_total{code=\"unauthenticated\"} 1",
            "tollhouse_unauthorized_attempts_total{kind=\"unauthenticated\"} 1",
            "tollhouse_holds_pending{queue=\"finance\"} 2",
            "tollhouse_holds_pending{queue=\"legal\"} 0",
            "tollhouse_holds_oldest_seconds{queue=\"finance\"} 90",
            "tollhouse_holds_unanswerable{queue=\"legal\"} 0",
            "tollhouse_holds_unanswerable{queue=\"finance\"} 0",
            "tollhouse_approval_duration_seconds_bucket{answer=\"approved\",queue=\"finance\",le=\"60\"} 1",
            "tollhouse_operations{state=\"held\"} 3",
            "tollhouse_duplicates_suppressed_total{kind=\"replayed\"} 1",
            "tollhouse_money_minor_units_total{class=\"financial\",currency=\"USD\",decision=\"hold\"} 60000",
            "tollhouse_money_minor_units_total{class=\"financial\",currency=\"USD\",decision=\"allow\"} 60000",
            "tollhouse_evidence_gap_total 1",
            "tollhouse_contradictions_total 1",
            "tollhouse_breaker_state{upstream=\"stripe\"} 2",
            "tollhouse_frozen{scope_kind=\"all\"} 1",
            "tollhouse_frozen{scope_kind=\"agent\"} 1",
            "tollhouse_frozen{scope_kind=\"tenant\"} 0",
            "tollhouse_store_duration_seconds_count{op=\"reserve\"} 1",
            "tollhouse_log_lines_left_out_total 0",
            "tollhouse_streams_total{ended=\"quiet\",upstream=\"stripe\"} 1",
            "tollhouse_console_sign_ins_total{event=\"signed_in\",how=\"code\"} 2",
            "tollhouse_build_info{version=\"0.1.0\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "`{line}` not in\n{text}");
        }
        assert!(!text.contains("Not described"));
    }

    #[test]
    fn labels_are_bounded() {
        let (telemetry, _) = bench(LogFormat::Json);
        let refusal = held();
        for n in 0..1_000 {
            let (name, customer) = (format!("up{n}"), format!("cus_{n}"));
            telemetry.answered(&Seen {
                upstream: Some(&name),
                customer: Some(&customer),
                ..seen(&refusal)
            });
        }
        let text = telemetry.render();
        assert!(!text.contains("cus_"), "no id is a label");
        let upstreams =
            text.lines().filter(|l| l.starts_with("tollhouse_upstream_duration_seconds_count"));
        assert_eq!(upstreams.count(), 64);
    }
}

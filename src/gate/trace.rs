//! What is told of a call to a collector: one trace, with the stages that it passed. And who brings it there.
//!
//! Never a value of a call, a resource, an amount or a customer unless the configuration says so, and nothing that
//! makes a call wait: what cannot be told is left out and counted.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::time::timeout;

use crate::call::Class;
use crate::clock::Clock;
use crate::decision::Verdict;
use crate::gate::{Evidence, Gate, Site};
use crate::notify::Collector;
use crate::outbound::{Connection, Exchange, Outgoing, Scheme};
use crate::refusal::Refusal;
use crate::telemetry::{
    Attribute, ERROR, Level, LogLine, NAME, Otlp, Signal, Stage, Trace, Values,
};

/// How soon what there is goes; much goes at once.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How soon a collector that did not take it is asked again, and at the latest.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);
/// BOUND: one batch is tried so often, some five minutes; what is newer waits behind it.
const TRIES_MAX: u32 = 14;
/// BOUND: an agent's own words in an attribute.
const TEXT_CHARS_MAX: usize = 200;

type Attributes<'a> = Vec<(&'static str, Attribute<'a>)>;

impl Evidence {
    /// When a stage begins, where anybody wants to know.
    #[inline]
    pub(super) fn mark(&self, clock: &Clock) -> Option<Duration> {
        self.trace.as_ref().map(|_| clock.steady())
    }

    /// It has passed a stage.
    #[inline]
    pub(super) fn passed(&self, stage: Stage, mark: Option<Duration>, clock: &Clock) {
        if let (Some(trace), Some(begun)) = (&self.trace, mark) {
            trace.passed(stage, begun, clock.steady());
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'r> {
    pub status: u16,
    pub verdict: Verdict,
    pub refusal: Option<&'r Refusal>,
}

impl Gate {
    /// The upstream is told which span it is called from. Where nothing is traced the agent's own word stands.
    #[inline]
    pub(super) fn hand_on(&self, send: &mut Outgoing, evidence: &Evidence) {
        if let Some(trace) = &evidence.trace {
            hand_on(send, trace);
        }
    }

    /// The upstream had it from `begun` until now.
    #[inline]
    pub(super) fn was_away(
        &self,
        evidence: &Evidence,
        site: &Site,
        (begun, exchange): (Duration, &Exchange),
    ) {
        if let Some(trace) = &evidence.trace {
            let status = match exchange {
                Exchange::Answered(reply) => Ok(reply.status),
                Exchange::NotSent(_) => Err("not_sent"),
                Exchange::Unknown(_) => Err("no_answer"),
            };
            self.away(trace, site, (evidence, begun, status));
        }
    }

    #[cold]
    fn away(
        &self,
        trace: &Trace,
        site: &Site,
        (evidence, begun, status): (&Evidence, Duration, Result<u16, &'static str>),
    ) {
        let url = &site.upstream.url;
        let scheme = match url.scheme() {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let mut all: Attributes<'static> = vec![
            ("http.request.method", Attribute::Own(evidence.method().to_string())),
            ("url.scheme", Attribute::Text(scheme)),
            ("server.address", Attribute::Own(url.host().to_owned())),
            ("server.port", Attribute::Number(u64::from(url.port()))),
        ];
        match status {
            Ok(status) => {
                all.push(("http.response.status_code", Attribute::Number(u64::from(status))));
                // Semantic conventions, HTTP client spans: 4xx and 5xx are errors.
                if status >= 400 {
                    all.push((ERROR, Attribute::Own(status.to_string())));
                }
            }
            Err(why) => all.push((ERROR, Attribute::Text(why))),
        }
        trace.away((begun, self.clock.steady()), all);
    }

    /// A call has left.
    #[inline]
    pub(super) fn tell_trace(&self, ended: Ended<'_>, evidence: &Evidence) {
        if let Some(otlp) = self.telemetry.otlp() {
            self.tell_otlp(otlp, ended, evidence);
        }
    }

    #[cold]
    fn tell_otlp(&self, otlp: &Otlp, ended: Ended<'_>, evidence: &Evidence) {
        let is_read = ended.refusal.is_none() && evidence.class() == Some(Class::Read);
        let is_asked = evidence.parent.is_some_and(|parent| parent.is_sampled);
        let is_plain = matches!(*evidence.method(), http::Method::GET | http::Method::HEAD);
        if is_read && !is_plain && !is_asked && !otlp.takes_read() {
            // A read that looked like an effect.
            return;
        }
        let late = match (&evidence.trace, ended.refusal) {
            (None, Some(_)) => self.telemetry.late_trace(evidence.parent, evidence.since),
            (_, _) => None,
        };
        if let Some(trace) = evidence.trace.as_ref().or(late.as_ref()) {
            let root = attributes(ended, evidence, otlp.values());
            self.telemetry.traced(trace, &root, self.clock.steady());
        }
    }

    /// Brings what waits to the collector, until the gate closes.
    pub(super) async fn tell_collector_until_closed(&self) {
        let Some((otlp, collector)) = self.telemetry.otlp().zip(self.notify.collector.as_ref())
        else {
            return;
        };
        let each = |signal| self.send_until_closed(signal, (otlp, collector));
        tokio::join!(each(Signal::Traces), each(Signal::Logs));
    }

    async fn send_until_closed(&self, signal: Signal, (otlp, collector): (&Otlp, &Collector)) {
        let (mut tries, mut again) = (0_u32, AGAIN_AFTER);
        while !self.closing.is_cancelled() {
            let rest = match tokio::select! {
                sent = self.send(signal, (otlp, collector)) => sent,
                () = self.closing.cancelled() => return,
            } {
                Ok(()) => {
                    if tries > 0 {
                        let what = "the collector takes what is told again";
                        let mut line = LogLine::new(Level::Info, what);
                        line.plain("signal", Some(signal.name()));
                        self.telemetry.tell(line);
                    }
                    (tries, again) = (0, AGAIN_AFTER);
                    SEND_EVERY
                }
                Err(why) => {
                    if tries == 0 {
                        let what = "the collector does not take what is told; calls go on";
                        let mut line = LogLine::new(Level::Warn, what);
                        line.plain("signal", Some(signal.name())).text("why", Some(&why));
                        self.telemetry.tell(line);
                    }
                    tries = tries.saturating_add(1);
                    if tries.is_multiple_of(TRIES_MAX) {
                        otlp.given_up(signal);
                    }
                    again = again.saturating_mul(2).min(AGAIN_AFTER_MAX);
                    again
                }
            };
            let full = async {
                match signal {
                    Signal::Traces if tries == 0 => otlp.filled().await,
                    Signal::Traces | Signal::Logs => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = full => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// One batch of a signal, if there is one.
    async fn send(&self, signal: Signal, (otlp, to): (&Otlp, &Collector)) -> Result<(), String> {
        let Some(body) = otlp.due(signal) else { return Ok(()) };
        let message = to.message(signal.name(), body).ok_or("a header cannot be read any more")?;
        let exchange = self.outbound.exchange(to.place.upstream(), message, Connection::Pooled);
        let done = match Box::pin(exchange).await {
            Exchange::Answered(reply) if (200..300).contains(&reply.status) => Ok(()),
            // opentelemetry.io/docs/specs/otlp, "Retryable Response Codes".
            Exchange::Answered(reply) if matches!(reply.status, 429 | 502 | 503 | 504) => {
                Err(format!("it answered {}", reply.status))
            }
            Exchange::Answered(reply) => {
                otlp.given_up(signal);
                self.telemetry.exported(signal, "refused");
                return Err(format!("it answered {}, which is final", reply.status));
            }
            Exchange::NotSent(why) | Exchange::Unknown(why) => Err(to.place.why(&why).to_owned()),
        };
        self.telemetry.exported(signal, if done.is_ok() { "taken" } else { "failed" });
        if done.is_ok() {
            otlp.taken(signal);
        }
        done
    }

    /// What is left at the end of the process, for at most `within`.
    pub async fn tell_collector_last(&self, within: Duration) {
        let Some((otlp, to)) = self.telemetry.otlp().zip(self.notify.collector.as_ref()) else {
            return;
        };
        let each = |signal| async move {
            // What was being sent, and what came after it.
            for _ in 0..2 {
                if self.send(signal, (otlp, to)).await.is_err() {
                    return;
                }
            }
        };
        let all = async { tokio::join!(each(Signal::Traces), each(Signal::Logs)) };
        let _told = timeout(within, all).await.is_ok();
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// In the place of the agent's own, which names the span above ours.
#[cold]
fn hand_on(send: &mut Outgoing, trace: &Trace) {
    let Ok(value) = HeaderValue::from_str(&trace.handed_on()) else { return };
    match send.headers.iter_mut().find(|(name, _)| *name == TRACEPARENT) {
        Some((_, own)) => *own = value,
        None => send.headers.push((TRACEPARENT, value)),
    }
    // W3C trace context s3.3: it belongs to the trace that it came with.
    if !trace.is_joined() {
        send.headers.retain(|(name, _)| *name != TRACESTATE);
    }
}

/// What the call's own span says. Names as OpenTelemetry's semantic conventions have them (HTTP, GenAI) where there
/// is one, ours where there is none.
fn attributes<'a>(ended: Ended<'a>, evidence: &'a Evidence, tells: Values) -> Attributes<'a> {
    let (call, caller) = (evidence.call.as_deref(), evidence.caller.as_deref());
    let method = evidence.method().as_str();
    let action = match (&call, &evidence.named) {
        (Some(call), _) => Some(&*call.action.name),
        (None, Some((name, ..))) => Some(&**name),
        (None, None) => None,
    };
    let route = call.map(|call| &*call.action.path_template);
    // Semantic conventions, HTTP server spans: "{method} {http.route}".
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let mut all: Attributes<'a> = Vec::with_capacity(24);
    all.push((NAME, Attribute::Own(name)));
    all.push(("http.request.method", Attribute::Text(method)));
    if ended.status > 0 {
        all.push(("http.response.status_code", Attribute::Number(u64::from(ended.status))));
    }
    let mut put = |name: &'static str, value: Option<&'a str>| {
        all.extend(value.map(|value| (name, Attribute::Text(value))));
    };
    put("http.route", route);
    put("gen_ai.operation.name", action.map(|_| "execute_tool"));
    put("gen_ai.tool.name", action);
    put("gen_ai.agent.id", caller.map(|caller| &*caller.agent));
    put("gen_ai.agent.name", caller.map(|caller| &*caller.agent));
    put("tollhouse.decision", Some(ended.verdict.name()));
    put("tollhouse.class", evidence.class().map(Class::name));
    put("tollhouse.upstream", evidence.upstream_name.as_deref());
    put("tollhouse.tenant", caller.map(|c| &*c.tenant).filter(|tenant| !tenant.is_empty()));
    put("tollhouse.outcome", evidence.outcome.map(|outcome| outcome.name()));
    let code = ended.refusal.map(|refusal| refusal.code.spec().name);
    put("tollhouse.code", code);
    // Semantic conventions, HTTP server spans: what the caller did wrong is no error of ours.
    put(ERROR, code.filter(|_| ended.status >= 500));
    own(ended, evidence, &mut all);
    if let Some(call) = call {
        said(call, &mut all);
    }
    if tells == Values::Told {
        values(evidence, &mut all);
    }
    all
}

/// Ids and the names of rules.
fn own<'a>(ended: Ended<'a>, evidence: &'a Evidence, all: &mut Attributes<'a>) {
    let operation = evidence.operation.or(ended.refusal.and_then(|refusal| refusal.operation));
    all.extend(operation.map(|op| ("tollhouse.operation", Attribute::Own(op.to_string()))));
    all.push(("tollhouse.decision_id", Attribute::Own(evidence.decision.to_string())));
    if evidence.replayed {
        all.push(("tollhouse.replayed", Attribute::Flag(true)));
    }
    let reasons = ended.refusal.iter().flat_map(|refusal| &refusal.reasons);
    let mut policies: Vec<&str> = reasons.map(|reason| &*reason.policy).collect();
    policies.extend(evidence.approvals.iter().map(|policy| &**policy));
    if !policies.is_empty() {
        all.push(("tollhouse.policies", Attribute::Texts(policies)));
    }
}

/// What the agent says of itself and of its conversation, masked.
fn said<'a>(call: &'a crate::call::Call, all: &mut Attributes<'a>) {
    let masked = |text: &Option<Box<str>>| {
        text.as_deref().map(|text| {
            let text = crate::redact::text(text);
            Attribute::Own(crate::redact::bounded(&text, TEXT_CHARS_MAX))
        })
    };
    let context = &call.context;
    all.extend(masked(&context.case).map(|case| ("gen_ai.conversation.id", case)));
    all.extend(masked(&context.model).map(|model| ("gen_ai.request.model", model)));
}

/// Only where the configuration says `values: true`.
fn values<'a>(evidence: &'a Evidence, all: &mut Attributes<'a>) {
    let customer = evidence.caller.as_deref().and_then(|caller| caller.customer.as_deref());
    all.extend(customer.map(|customer| ("tollhouse.customer", Attribute::Text(customer))));
    let Some(resolved) = &evidence.resolved else { return };
    if let Some(resource) = &resolved.resource {
        let named = format!("{} {}", resource.kind, resource.id);
        all.push(("tollhouse.resource", Attribute::Own(named)));
    }
    if let Some(amount) = &resolved.amount {
        all.push(("tollhouse.amount", Attribute::Own(amount.to_string())));
    }
}

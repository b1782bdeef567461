//! What is known of a call, filled in as knowledge arrives: the one source of its record, its log line,
//! its metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::action::{ErrorShape, PackTraits};
use crate::audit::{Entry, Event, RequestSeen, UpstreamSeen};
use crate::bounds::HOLD_WAIT_MAX;
use crate::call::{
    Call, Caller, Class, DecisionId, Digest, Kind, OperationId, Outcome, Request, Resolved,
};
use crate::clock::Clock;
use crate::contract::Contract;
use crate::decision::{Shadow, Verdict};
use crate::disclosure;
use crate::gate::named;
use crate::limits::Taken;
use crate::outbound::Reply;
use crate::refusal::{Code, Refusal};
use crate::store::{Grant, Known, Record};
use crate::telemetry::{Parent, Telemetry, Trace};

/// Everything that is known of one call so far.
#[derive(Debug)]
pub struct Evidence {
    /// The decision's own name, a UUID.
    pub decision: DecisionId,
    method: http::Method,
    /// When the whole request was here, by the steady clock.
    pub since: Duration,
    /// The upstream of the road it came by.
    pub upstream_name: Option<Arc<str>>,
    /// The pack of the road it came by.
    pub pack: Option<Arc<PackTraits>>,
    /// Who asks.
    pub caller: Option<Arc<Caller>>,
    /// What is asked.
    pub call: Option<Arc<Call>>,
    /// What was asked, of an operation whose call is not at hand: action, class, kind.
    pub named: Option<(Arc<str>, Class, Option<Kind>)>,
    /// What the action may do at best.
    pub contract: Option<Arc<Contract>>,
    /// Who the customer is at the upstream.
    pub account: Option<Arc<str>>,
    /// Over the facts that were read.
    pub facts: Option<Digest>,
    /// Facts that were taken for granted.
    pub assumed: Vec<Box<str>>,
    /// What the action's sources came to.
    pub resolved: Option<Arc<Resolved>>,
    /// Over what would be sent.
    pub digest: Option<Digest>,
    /// Which operation it is.
    pub operation: Option<OperationId>,
    /// Its state.
    pub state: Option<&'static str>,
    /// What the log keeps of it before it is sent, sealed.
    pub intent: Option<Box<str>>,
    /// The rates it was counted in.
    pub taken: Option<Taken>,
    /// The policies that a person lifted.
    pub approvals: Vec<Box<str>>,
    /// Who answered the hold.
    pub by: Option<Box<str>>,
    /// Whether it was answered from memory.
    pub replayed: bool,
    /// What the upstream answered.
    pub upstream: Option<UpstreamSeen>,
    /// How long the upstream had it, facts not counted.
    pub away: Duration,
    /// Why an effect's answer stayed behind.
    pub withheld: Option<String>,
    /// Whether it stayed behind because it names somebody else.
    pub is_mismatch: bool,
    /// What became of the effect.
    pub outcome: Option<Outcome>,
    /// What would have become of it, had it not run in shadow.
    pub shadow: Option<Box<Shadow>>,
    /// Whether an agent waits for the answer; nobody does for what the sweep runs.
    pub is_waited_for: bool,
    /// Its trace, where it has one.
    pub trace: Option<Box<Trace>>,
    /// The span that the agent is in, where anybody is told of that.
    pub parent: Option<Parent>,
}

impl Evidence {
    /// Of a request that just came.
    pub fn of(request: &Request, clock: &Clock) -> Self {
        Self::blank(request.method.clone(), clock)
    }

    /// Of bytes that were no request.
    pub fn unread(clock: &Clock) -> Self {
        // No method was read; GET is the one that does nothing.
        Self::blank(http::Method::GET, clock)
    }

    fn blank(method: http::Method, clock: &Clock) -> Self {
        Self {
            decision: named::decision(),
            method,
            since: clock.steady(),
            upstream_name: None,
            pack: None,
            caller: None,
            call: None,
            named: None,
            contract: None,
            account: None,
            facts: None,
            assumed: Vec::new(),
            resolved: None,
            digest: None,
            operation: None,
            state: None,
            intent: None,
            taken: None,
            approvals: Vec::new(),
            by: None,
            replayed: false,
            upstream: None,
            away: Duration::ZERO,
            withheld: None,
            is_mismatch: false,
            outcome: None,
            shadow: None,
            is_waited_for: true,
            trace: None,
            parent: None,
        }
    }

    /// It is traced, if it is.
    #[inline]
    pub(super) fn traced_by(&mut self, telemetry: &Telemetry, request: &Request) {
        (self.trace, self.parent) = telemetry.trace(&request.method, &request.headers, self.since);
    }

    /// The same call, judged once more.
    pub(super) fn anew(self, request: &Request, clock: &Clock) -> Self {
        let (trace, parent) = (self.trace, self.parent);
        Self { trace, parent, ..Self::of(request, clock) }
    }

    /// How it was asked.
    pub(super) fn method(&self) -> &http::Method {
        &self.method
    }

    /// The trace that it is part of: ours, or the agent's own.
    pub fn trace_id(&self) -> Option<&str> {
        let own = self.trace.as_ref().map(|trace| trace.id());
        own.or_else(|| self.call.as_ref()?.context.trace_id.as_deref())
    }

    /// Of an operation that goes on without its caller.
    pub fn of_record(record: &Record, clock: &Clock) -> Self {
        let mut evidence = Self::blank(http::Method::POST, clock);
        evidence.operation = Some(record.op);
        evidence.digest = Some(record.about.digest);
        evidence.state = Some(record.state.name());
        evidence.caller = Some(Arc::new(Caller::named(&record.about.caller)));
        evidence.named =
            Some((Arc::from(&*record.about.action), record.about.class, record.about.kind));
        evidence.facts = record.about.facts;
        evidence.resolved = Some(Arc::new(Resolved {
            owner: record.about.owner.clone(),
            amount: record.about.amount,
            resource: record.about.resource.clone(),
            summary: record.about.summary.to_string(),
            ..Resolved::default()
        }));
        if let Some(yes) = &record.approval {
            evidence.approvals.clone_from(&yes.policies);
            evidence.by = Some(yes.by.clone());
        }
        evidence.is_waited_for = false;
        evidence
    }

    /// Its class, as far as it is understood.
    pub fn class(&self) -> Option<Class> {
        let named = self.named.as_ref().map(|(_, class, _)| *class);
        self.call.as_ref().map(|call| call.class).or(named)
    }

    /// It was known already.
    pub fn recalled(&mut self, known: &Known) {
        self.operation = Some(known.record.op);
        self.state = Some(known.record.state.name());
        self.digest = Some(known.record.about.digest);
        self.replayed = true;
    }

    /// It may be sent.
    pub fn granted(&mut self, grant: &Grant) {
        self.shadow = grant.record.shadow.clone().map(Box::new);
        self.operation = Some(grant.record.op);
        self.state = Some(grant.record.state.name());
    }

    /// It waits for a person.
    pub fn held(&mut self, record: &Record) {
        self.operation = Some(record.op);
        self.state = Some(record.state.name());
    }

    /// The upstream answered.
    pub fn answered(&mut self, reply: &Reply, away: Duration) {
        let name = ["request-id", "x-request-id"];
        let id = name.iter().find_map(|name| reply.headers.get(*name)?.to_str().ok());
        self.away = away;
        self.upstream = Some(UpstreamSeen {
            status: Some(reply.status),
            request_id: id.map(|id| crate::redact::bounded(id, 128).into()),
            duration_ms: u64::try_from(away.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// What a refusal is written with.
    pub fn about<'e>(&'e self, policy_digest: &'e str) -> disclosure::About<'e> {
        const PLAIN: ErrorShape = ErrorShape::Plain;
        disclosure::About {
            errors: self.pack.as_ref().map_or(&PLAIN, |pack| &pack.errors),
            class: self.class(),
            decision: self.decision,
            policy_digest,
            respond_async: self.call.as_ref().is_some_and(|call| call.context.respond_async),
        }
    }

    /// How long a refused call is parked before it is told so: a hold, for as long as the agent or the
    /// contract says.
    pub fn patience(&self, refusal: &Refusal) -> Option<(OperationId, Duration)> {
        let operation = refusal.operation.filter(|_| refusal.code == Code::ApprovalRequired)?;
        let asked = self.call.as_ref().and_then(|call| call.context.wait);
        let usual = self.contract.as_ref().map(|contract| contract.approval.wait);
        let span = asked.or(usual).unwrap_or_default().min(HOLD_WAIT_MAX);
        (span > Duration::ZERO).then_some((operation, span))
    }

    /// The entry of what is known, as `event`.
    pub fn entry(&self, event: Event, verdict: Verdict, policy_digest: &Arc<str>) -> Entry {
        let call = self.call.as_deref();
        let context = call.map(|call| &call.context);
        let masked =
            |text: &Option<Box<str>>| text.as_deref().map(|t| crate::redact::text(t).into());
        let resolved = self.resolved.as_ref();
        Entry {
            decision_id: Some(self.decision),
            operation: self.operation,
            state: self.state,
            case: context.and_then(|c| masked(&c.case)),
            caller: self.caller.clone(),
            action: match call {
                Some(call) => Some(Arc::clone(&call.action.name)),
                None => self.named.as_ref().map(|(action, ..)| Arc::clone(action)),
            },
            class: self.class(),
            effect: match call {
                Some(call) => call.effects.iter().find_map(|effect| effect.kind),
                None => self.named.as_ref().and_then(|(_, _, kind)| *kind),
            },
            resource: resolved.and_then(|resolved| resolved.resource.clone()),
            amount: resolved.and_then(|resolved| resolved.amount),
            request: Some(RequestSeen {
                method: self.method.clone(),
                path_template: call.map(|call| call.action.path_template.clone()),
                digest: self.digest,
            }),
            facts_digest: self.facts,
            assumed: self.assumed.clone(),
            decision: Some(verdict),
            policy_digest: Some(Arc::clone(policy_digest)),
            approvals: self.approvals.clone(),
            by: self.by.clone(),
            confidence: context.and_then(|c| c.confidence),
            model: context.and_then(|c| masked(&c.model)),
            key_digest: context.and_then(|c| c.key.as_deref()).map(crate::operation::key_digest),
            upstream: self.upstream.clone(),
            shadow: self.shadow.clone(),
            trace_id: self.trace_id().map(Into::into),
            ..Entry::of(event)
        }
    }

    /// The entry of a refusal.
    pub fn refused(&self, refusal: &Refusal, policy_digest: &Arc<str>) -> Entry {
        let verdict = refusal.verdict();
        let event = match verdict {
            Verdict::Hold => Event::Held,
            Verdict::Verify => Event::Verify,
            Verdict::Refuse => Event::Refused,
            Verdict::Allow => Event::Allowed,
        };
        let mut entry = self.entry(event, verdict, policy_digest);
        entry.code = Some(refusal.code);
        entry.policies = refusal.reasons.iter().map(|reason| reason.policy.clone()).collect();
        entry.operation = entry.operation.or(refusal.operation);
        entry
    }
}

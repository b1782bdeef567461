//! How is one record laid out? As RFC 8785 orders it, so that the line is its own canonical form.
//!
//! Never holds a person's text unmasked: ids, amounts, digests, and texts that came in masked.

use std::sync::Arc;

use crate::call::{Caller, Class, DecisionId, Digest, Kind, OperationId, Resource};
use crate::clock::Timestamp;
use crate::decision::{Shadow, Verdict};
use crate::money::Money;
use crate::refusal::Code;

/// The kind of a line that says again what a removed segment said.
pub(super) const CARRIED: &str = "carried";
/// The kind of a line that says that the oldest segments were removed.
pub(super) const REMOVED: &str = "removed";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A call was let through; an effect's record stands before it is sent.
    Allowed,
    /// A call waits for a person.
    Held,
    /// A call waits for the customer.
    Verify,
    /// A call was turned back.
    Refused,
    /// So many more like it were turned back.
    RefusedMore,
    /// What was passed on as it came has ended; its state says how.
    Ended,
    /// A call was answered from memory.
    Replayed,
    /// An effect's outcome is known, or known to be unknown.
    Settled,
    /// A person said yes.
    Approved,
    /// A person said no.
    Denied,
    /// It waits too long; its people were reminded.
    Reminded,
    /// It waits too long; other people are asked.
    Escalated,
    /// Nobody answered.
    Expired,
    /// The agent took it back.
    Withdrawn,
    /// What became of it was looked for; nothing that counts was found yet.
    LookedUp,
    /// It is sent once more, the same bytes under the same key.
    Resent,
    /// A person said what became of an unknown outcome.
    Resolved,
    /// A person said whether a rule was right about it.
    Marked,
    /// A person saw to a store that was lost.
    Cleared,
    /// A person stopped a scope.
    Frozen,
    /// A person let a scope run again.
    Unfrozen,
    /// A brake is on: what it matches waits for people.
    Braked,
    /// A brake is off again: it was quiet for long enough.
    Released,
    /// Somebody outside could not be told for a day.
    Undelivered,
    /// A person made tokens count no more.
    Revoked,
    /// A person took a revocation back.
    Restored,
    /// A configuration took effect.
    Reloaded,
    /// The oldest records were removed, so many, as `audit.keep` has it.
    Removed,
    /// What was about to be sent, by a record that is removed; its end is not on record.
    Carried,
    /// A person looked at a hold.
    Viewed,
    /// A person signed in at the console.
    SignedIn,
    /// Somebody did not: an unknown token, code or session at the console.
    SignInFailed,
    /// A person signed out.
    SignedOut,
    /// Somebody known asked the console for what is not theirs.
    Forbidden,
}

impl Event {
    /// Its name in the record's `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Held => "held",
            Self::Verify => "verify",
            Self::Refused => "refused",
            Self::RefusedMore => "refused_more",
            Self::Ended => "ended",
            Self::Replayed => "replayed",
            Self::Settled => "settled",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Reminded => "reminded",
            Self::Escalated => "escalated",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::LookedUp => "looked_up",
            Self::Resent => "resent",
            Self::Resolved => "resolved",
            Self::Marked => "marked",
            Self::Cleared => "cleared",
            Self::Revoked => "revoked",
            Self::Restored => "restored",
            Self::Frozen => "frozen",
            Self::Unfrozen => "unfrozen",
            Self::Braked => "braked",
            Self::Released => "released",
            Self::Undelivered => "undelivered",
            Self::Reloaded => "reloaded",
            Self::Removed => REMOVED,
            Self::Carried => CARRIED,
            Self::Viewed => "viewed",
            Self::SignedIn => "signed_in",
            Self::SignInFailed => "sign_in_failed",
            Self::SignedOut => "signed_out",
            Self::Forbidden => "forbidden",
        }
    }
}

/// One thing to be put on record. What is not known is left out of the line.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// The decision's id, as in the answer's `instance`.
    pub decision_id: Option<DecisionId>,
    /// The operation.
    pub operation: Option<OperationId>,
    /// Its state after this.
    pub state: Option<&'static str>,
    /// `Tollhouse-Case`.
    pub case: Option<Box<str>>,
    /// Who asked: tenant, agent, customer.
    pub caller: Option<Arc<Caller>>,
    /// The action's name.
    pub action: Option<Arc<str>>,
    /// Its class in this call.
    pub class: Option<Class>,
    /// Its sort of effect.
    pub effect: Option<Kind>,
    /// What it acts on.
    pub resource: Option<Resource>,
    /// How much.
    pub amount: Option<Money>,
    /// The request.
    pub request: Option<RequestSeen>,
    /// Over the facts that were read.
    pub facts_digest: Option<Digest>,
    /// Facts that a contract took for granted.
    pub assumed: Vec<Box<str>>,
    /// The decision.
    pub decision: Option<Verdict>,
    /// Why it was turned back.
    pub code: Option<Code>,
    /// The deciding policies.
    pub policies: Vec<Box<str>>,
    /// What would have been decided, had it not run in shadow.
    pub shadow: Option<Box<Shadow>>,
    /// Over the policies and contracts in force.
    pub policy_digest: Option<Arc<str>>,
    /// The policies that a person lifted.
    pub approvals: Vec<Box<str>>,
    /// The person or machine that answered, froze, resolved.
    pub by: Option<Box<str>>,
    /// A person's reason, masked.
    pub note: Option<Box<str>>,
    /// Whether a rule was right about it, as a person says: `needless` or `right`.
    pub mark: Option<&'static str>,
    /// The agent's confidence, per mille.
    pub confidence: Option<u16>,
    /// `Tollhouse-Model`.
    pub model: Option<Box<str>>,
    /// Over the agent's idempotency key.
    pub key_digest: Option<Digest>,
    /// What is known of an effect that is about to be sent, sealed by the store: a store that is lost
    /// gets it back from here.
    pub intent: Option<Box<str>>,
    /// What the upstream answered.
    pub upstream: Option<UpstreamSeen>,
    /// The trace id of `traceparent`.
    pub trace_id: Option<Box<str>>,
    /// How many it stands for, when more than one.
    pub count: Option<u64>,
}

/// The request of a record.
#[derive(Debug, Clone)]
pub struct RequestSeen {
    /// Its method.
    pub method: http::Method,
    /// Its path with parameters by name; `None` for a path no pack knows.
    pub path_template: Option<Box<str>>,
    /// Over what would be sent.
    pub digest: Option<Digest>,
}

/// The upstream's part of a record.
#[derive(Debug, Clone, Default)]
pub struct UpstreamSeen {
    /// Its status; `None` when none came.
    pub status: Option<u16>,
    /// The vendor's own request id.
    pub request_id: Option<Box<str>>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Entry {
    /// An entry that says only what happened.
    pub fn of(event: Event) -> Self {
        Self {
            event,
            decision_id: None,
            operation: None,
            state: None,
            case: None,
            caller: None,
            action: None,
            class: None,
            effect: None,
            resource: None,
            amount: None,
            request: None,
            facts_digest: None,
            assumed: Vec::new(),
            decision: None,
            code: None,
            policies: Vec::new(),
            shadow: None,
            policy_digest: None,
            approvals: Vec::new(),
            by: None,
            note: None,
            mark: None,
            confidence: None,
            model: None,
            key_digest: None,
            intent: None,
            upstream: None,
            trace_id: None,
            count: None,
        }
    }

    /// Appends the canonical record, without its hash.
    pub(super) fn lay_out(&self, name: &str, at: Timestamp, prev: &str, out: &mut Vec<u8>) {
        let mut line = Line::begin(out);
        let caller = self.caller.as_deref();
        // INVARIANT: RFC 8785 s3.2.3: members sorted by name. The test reads them back.
        line.maybe("action", self.action.as_deref());
        line.maybe("agent", caller.map(|caller| &*caller.agent));
        if let Some(amount) = self.amount {
            line.name("amount");
            let mut inner = Line::begin(line.out);
            inner.text("currency", amount.currency.code());
            inner.number("minor", amount.minor);
            inner.end();
        }
        line.list("approvals", &self.approvals);
        line.list("assumed", &self.assumed);
        line.maybe("by", self.by.as_deref());
        line.maybe("case", self.case.as_deref());
        line.maybe("class", self.class.map(Class::name));
        line.maybe("code", self.code.map(|code| code.spec().name));
        if let Some(confidence) = self.confidence {
            line.name("confidence");
            push_per_mille(confidence, line.out);
        }
        line.maybe_number("count", self.count);
        line.maybe("customer", caller.and_then(|caller| caller.customer.as_deref()));
        line.maybe("decision", self.decision.map(Verdict::name));
        line.maybe("decision_id", self.decision_id.map(|id| id.to_string()).as_deref());
        line.text("event_id", name);
        line.maybe_digest("facts_digest", self.facts_digest);
        line.maybe_digest("idempotency_key_digest", self.key_digest);
        line.maybe("intent", self.intent.as_deref());
        line.text("kind", self.event.name());
        line.maybe("kind_of_effect", self.effect.map(Kind::name));
        line.maybe("mark", self.mark);
        line.maybe("model", self.model.as_deref());
        line.maybe("note", self.note.as_deref());
        if let Some(operation) = &self.operation {
            line.shown("operation", operation);
        }
        line.list("policies", &self.policies);
        line.maybe("policy_digest", self.policy_digest.as_deref());
        line.text("prev", prev);
        self.lay_out_request(&mut line);
        if let Some(resource) = &self.resource {
            line.name("resource");
            let mut inner = Line::begin(line.out);
            inner.text("id", &resource.id);
            inner.text("type", &resource.kind);
            inner.end();
        }
        if let Some(shadow) = &self.shadow {
            line.name("shadow");
            let ids: Vec<Box<str>> =
                shadow.reasons.iter().map(|reason| reason.policy.clone()).collect();
            let mut inner = Line::begin(line.out);
            inner.text("code", shadow.code.spec().name);
            inner.text("decision", shadow.verdict().name());
            inner.list("policies", &ids);
            inner.end();
        }
        line.maybe("state", self.state);
        line.maybe("tenant", caller.map(|c| &*c.tenant).filter(|tenant| !tenant.is_empty()));
        line.shown("timestamp", &at);
        line.maybe("trace_id", self.trace_id.as_deref());
        self.lay_out_upstream(&mut line);
        line.end();
    }

    fn lay_out_request(&self, line: &mut Line<'_>) {
        if let Some(request) = &self.request {
            line.name("request");
            let mut inner = Line::begin(line.out);
            inner.maybe_digest("digest", request.digest);
            inner.text("method", request.method.as_str());
            inner.maybe("path_template", request.path_template.as_deref());
            inner.end();
        }
    }

    fn lay_out_upstream(&self, line: &mut Line<'_>) {
        if let Some(upstream) = &self.upstream {
            line.name("upstream");
            let mut inner = Line::begin(line.out);
            inner.maybe_number("duration_ms", Some(upstream.duration_ms));
            inner.maybe("request_id", upstream.request_id.as_deref());
            inner.maybe_number("status", upstream.status.map(u64::from));
            inner.end();
        }
    }
}

// The shortest decimal, as RFC 8785 s3.2.2.3 has it: 0.87, 0.005, 1.
fn push_per_mille(value: u16, out: &mut Vec<u8>) {
    let whole = value.checked_div(1000).unwrap_or(0);
    let rest = value.checked_rem(1000).unwrap_or(0);
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if rest > 0 {
        let digits = format!("{rest:03}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// An object that is being written.
pub(super) struct Line<'o> {
    out: &'o mut Vec<u8>,
    members: usize,
}

impl<'o> Line<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, members: 0 }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if self.members > 0 {
            self.out.push(b',');
        }
        self.members = self.members.saturating_add(1);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push_text(value, self.out);
    }

    fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn number(&mut self, name: &str, value: i64) {
        self.name(name);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn maybe_number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// A value whose text form needs no escape.
    pub(super) fn shown(&mut self, name: &str, value: &dyn std::fmt::Display) {
        use std::io::Write as _;
        self.name(name);
        self.out.push(b'"');
        // Writing into memory does not fail.
        drop(write!(self.out, "{value}"));
        self.out.push(b'"');
    }

    fn maybe_digest(&mut self, name: &str, value: Option<Digest>) {
        if let Some(Digest(bytes)) = value {
            self.name(name);
            self.out.extend_from_slice(b"\"sha256:");
            push_hex(&bytes, self.out);
            self.out.push(b'"');
        }
    }

    fn list(&mut self, name: &str, items: &[Box<str>]) {
        if items.is_empty() {
            return;
        }
        self.name(name);
        for (index, item) in items.iter().enumerate() {
            self.out.push(if index == 0 { b'[' } else { b',' });
            push_text(item, self.out);
        }
        self.out.push(b']');
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Two lower-case digits a byte.
pub(super) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            out.push(HEX.get(usize::from(half)).copied().unwrap_or(b'0'));
        }
    }
}

// RFC 8785 s3.2.2.2.
fn push_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if !text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    for byte in text.bytes() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0x00..=0x1f => {
                out.extend_from_slice(b"\\u00");
                push_hex(&[byte], out);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a record costs: `cargo test --release --lib cost_of_a_line -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    fn cost_of_a_line() {
        let entry = Entry {
            decision_id: Some(DecisionId::of(7)),
            action: Some("stripe.charge.retrieve".into()),
            class: Some(Class::Read),
            resource: Some(Resource { kind: "Charge".into(), id: "ch_1".into() }),
            request: Some(RequestSeen {
                method: http::Method::GET,
                path_template: Some("/v1/charges/{charge}".into()),
                digest: Some(Digest([1; 32])),
            }),
            decision: Some(Verdict::Allow),
            policy_digest: Some("sha256:0123456789abcdef".into()),
            ..Entry::of(Event::Allowed)
        };
        let prev = "0".repeat(64);
        let (mut canonical, mut lines) = (Vec::new(), Vec::new());
        let mut best = [u128::MAX; 2];
        for _ in 0..200 {
            for (part, best) in best.iter_mut().enumerate() {
                let begun = std::time::Instant::now();
                for n in 0..100 {
                    let name = crate::audit::chain::ulid(Timestamp(1_772_366_400_000), n);
                    canonical.clear();
                    entry.lay_out(&name, Timestamp(1_772_366_400_000), &prev, &mut canonical);
                    if part == 1 {
                        lines.clear();
                        crate::audit::chain::seal(&prev, &canonical, &mut lines);
                    }
                }
                *best = (*best).min(begun.elapsed().as_nanos());
            }
        }
        println!("laid out in {} ns, with its hash {} ns", best[0] / 100, best[1] / 100);
    }
}

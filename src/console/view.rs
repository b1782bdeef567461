//! How a record looks as JSON.

use serde_json::{Map, Value, json};

use super::guard::Theirs;
use crate::contract::BudgetScope;
use crate::gate::{HeldRequest, NearBudget, Reach};
use crate::money::Currency;
use crate::store::{Following, Freeze, Record, State, Stood, Yes};

/// What every listing has of an operation.
pub fn brief(record: &Record) -> Value {
    let about = &record.about;
    json!({
        "id": record.op.to_string(),
        "state": record.state.name(),
        "outcome": outcome(record),
        "summary": about.summary,
        "action": about.action,
        "class": about.class.name(),
        "kind": about.kind.map(crate::call::Kind::name),
        "resource": about.resource.as_ref().map(|r| json!({ "type": r.kind, "id": r.id })),
        "amount": about.amount.map(|m| json!({ "minor": m.minor, "currency": m.currency.code() })),
        "tenant": about.caller.tenant,
        "agent": about.caller.agent,
        "customer": about.caller.customer,
        "upstream": about.upstream,
        "shadow": record.shadow.as_ref().map(|shadow| json!({
            "decision": shadow.verdict().name(),
            "code": shadow.code.spec().name,
            "reasons": shadow.reasons.iter().map(|r| json!({ "policy": r.policy, "why": r.why })).collect::<Vec<_>>(),
        })),
        "created": record.created.to_string(),
        "updated": record.updated.to_string(),
    })
}

/// A hold: what is asked of a person.
pub fn hold(record: &Record) -> Value {
    let Value::Object(mut view) = brief(record) else { return Value::Null };
    let about = &record.about;
    if let Some(hold) = &record.hold {
        let reasons = hold.reasons.iter().map(|r| json!({ "policy": r.policy, "why": r.why }));
        view.extend(members(json!({
            "queue": hold.queue,
            "reasons": reasons.collect::<Vec<_>>(),
            "requested": hold.since.to_string(),
            "expires": hold.deadline.to_string(),
            "joined": hold.joined,
            "changed": hold.changed,
            // What an approval must name: the bytes, and exactly the rules that are shown here.
            "digest": hold.shown.to_string(),
            "risk": hold.risk.name(),
            "approvers": hold.needs.approvers,
            "roles": hold.needs.roles,
            "approvals": hold.yes.iter().map(yes).collect::<Vec<_>>(),
            "passed_from": hold.passed,
        })));
    }
    view.extend(members(json!({
        "call_digest": about.digest.to_string(),
        "agent_reason": about.said.reason.as_deref().map(crate::redact::text),
        "case": about.said.case,
        "model": about.said.model,
        "confidence": about.said.confidence,
        "approved_by": record.approval.as_ref().map(|a| &a.by),
        "reason": record.reason,
    })));
    Value::Object(view)
}

/// A hold with what it would send.
pub fn hold_with(record: &Record, request: Option<&HeldRequest>) -> Value {
    let Value::Object(mut view) = hold(record) else { return Value::Null };
    if let Some(request) = request {
        view.insert("request".to_owned(), json!(request.line));
        view.insert("body".to_owned(), json!(request.body));
    }
    Value::Object(view)
}

/// An operation with its timeline.
pub fn operation(record: &Record) -> Value {
    let Value::Object(mut view) = hold(record) else { return Value::Null };
    let moments = record
        .timeline
        .iter()
        .map(|m| json!({ "at": m.at.to_string(), "what": m.what, "by": m.by }))
        .collect::<Vec<_>>();
    view.extend(members(json!({
        "upstream_key": record.op.upstream_key(),
        "upstream_status": record.status,
        "upstream_request_id": record.request_id,
        "contradiction": record.contradiction,
        "made": record.made,
        "attempts": record.attempts.iter().map(|a| a.at.to_string()).collect::<Vec<_>>(),
        "next_look": record.look.map(|look| look.next.to_string()),
        "looks": record.look.map_or(0, |look| look.tries),
        "timeline": moments,
        "budgets": record.stood.iter().map(stood).collect::<Vec<_>>(),
    })));
    Value::Object(view)
}

/// A budget that is near.
pub fn near(near: &NearBudget) -> Value {
    let (seen, about) = (&near.seen, &near.latest.about);
    let caller = &about.caller;
    // What it is counted by, and no more: the rest is only the latest call's.
    let whose = match near.per {
        BudgetScope::Customer => json!({ "account": about.account, "upstream": about.upstream }),
        BudgetScope::Agent => json!({ "agent": caller.agent }),
        BudgetScope::Tenant => json!({}),
        BudgetScope::Case => json!({
            "case": about.said.case.as_deref().map(crate::redact::text),
            "agent": caller.agent,
            "account": about.account,
        }),
        BudgetScope::Resource => {
            json!({ "resource": about.resource.as_ref().map(ToString::to_string) })
        }
        BudgetScope::Action => json!({ "action": about.action }),
    };
    json!({
        "budget": seen.id,
        "per": near.per.name(),
        "whose": whose,
        "tenant": caller.tenant,
        "kind": about.kind.map(crate::call::Kind::name),
        "within_s": seen.within.as_secs(),
        "currency": seen.unit.as_ref().map(Currency::code),
        "used": seen.used,
        "room": seen.room,
        "alert": near.alert,
        "operation": near.latest.op.to_string(),
        "at": near.latest.updated.to_string(),
    })
}

/// How the budgets of an operation stood with it.
fn stood(one: &Stood) -> Value {
    json!({
        "budget": one.id,
        "currency": one.unit.as_ref().map(Currency::code),
        "used": one.used,
        "room": one.room,
        "near": one.is_near(),
    })
}

fn yes(yes: &Yes) -> Value {
    json!({ "by": yes.by, "at": yes.at.to_string(), "roles": yes.roles, "reason": yes.reason })
}

/// A revocation.
pub fn revocation(one: &Freeze) -> Value {
    json!({
        "id": one.id,
        "scope": one.scope.to_string(),
        "issued_before": one.issued_before.map(|at| at.to_string()),
        "reason": one.reason,
        "by": one.by,
        "at": one.at.to_string(),
    })
}

/// A freeze.
pub fn freeze(freeze: &Freeze) -> Value {
    json!({
        "id": freeze.id,
        "scope": freeze.scope.to_string(),
        "stops": freeze.stops.name(),
        "reason": freeze.reason,
        "by": freeze.by,
        "at": freeze.at.to_string(),
        "until": freeze.until.map(|u| u.to_string()),
    })
}

/// A freeze that was just made, and how far it reaches. What the store did not say is `null`.
pub fn frozen(one: &Freeze, reach: &Reach) -> Value {
    let mut view = freeze(one);
    let (in_flight, waiting) = (reach.in_flight, reach.waiting);
    if let Value::Object(members) = &mut view {
        let replicas = reach.replicas.map(|all| {
            json!({
                "following": all.following,
                "of": all.of,
                "took_ms": u64::try_from(reach.took.as_millis()).unwrap_or(u64::MAX),
            })
        });
        members.insert("replicas".to_owned(), json!(replicas));
        members.insert("in_flight".to_owned(), json!(in_flight.map(|all| all.count)));
        members.insert("holds_waiting".to_owned(), json!(waiting.map(|all| all.count)));
        let is_whole = [in_flight, waiting].iter().flatten().all(|counted| counted.is_whole);
        members.insert("counted".to_owned(), json!(if is_whole { "all" } else { "at_least" }));
    }
    view
}

/// A freeze as far as it is theirs, and who follows it.
pub fn freeze_as(one: &Freeze, theirs: Theirs, follow: Option<Following>) -> Value {
    let mut view = freeze(one);
    if let Value::Object(members) = &mut view {
        let replicas = follow.map(|all| json!({ "following": all.following, "of": all.of }));
        members.insert("replicas".to_owned(), json!(replicas));
    }
    if let (Theirs::Outline | Theirs::Nothing, Value::Object(members)) = (theirs, &mut view) {
        // SECURITY: who stopped every tenant, and why, may be about one of them.
        members.insert("reason".to_owned(), Value::Null);
        members.insert("by".to_owned(), Value::Null);
    }
    view
}

fn outcome(record: &Record) -> Option<&'static str> {
    match record.state {
        State::Done { outcome } => Some(outcome.name()),
        State::Refused { code } => Some(code.spec().name),
        State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Unknown
        | State::NotSent => None,
    }
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

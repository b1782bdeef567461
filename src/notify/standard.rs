//! How does a program read it? Standard Webhooks: `{ type, timestamp, data }`.
//!
//! Never a contact, never a secret; what the agent wrote stands in `agent_says` and nowhere else.

use serde_json::{Map, Value, json};

use super::{Bound, Destination, Notify};
use crate::redact;
use crate::refusal::{Code, status_url};
use crate::store::{Hold, Letter, News, Record, State};

/// BOUND: an id, a name.
const NAME_CHARS_MAX: usize = 200;

pub(super) fn body(notify: &Notify, to: &Destination, record: &Record, letter: &Letter) -> Value {
    let mut data = call(record);
    match letter.news {
        News::Held | News::Reminded | News::Escalated => {
            if let Some(hold) = &record.hold {
                asked(&mut data, (record, hold), letter.news);
                data.extend(notify.link(record.op).map(|url| ("url".to_owned(), json!(url))));
                let answer = answer(notify, to, (record, hold), letter);
                data.extend(answer.map(|answer| ("answer".to_owned(), answer)));
            }
        }
        News::Answered => answered(&mut data, record),
        News::Settled => settled(&mut data, record),
    }
    let timestamp = letter.at.to_string();
    json!({ "type": letter.news.name(), "timestamp": timestamp, "data": data })
}

/// What every message says of its call.
fn call(record: &Record) -> Map<String, Value> {
    let about = &record.about;
    let name = |text: &str| (!text.is_empty()).then(|| redact::bounded(text, NAME_CHARS_MAX));
    members(json!({
        "operation": record.op.to_string(),
        "status_url": status_url(record.op),
        "state": record.state.name(),
        "summary": redact::text(&about.summary),
        "action": about.action,
        "class": about.class.name(),
        "amount": about.amount.map(|m| json!({ "minor": m.minor, "currency": m.currency.code() })),
        "tenant": name(&about.caller.tenant),
        "agent": name(&about.caller.agent),
        // An id, or a masked contact where customers are called by those.
        "customer": name(&redact::text(&about.caller.customer)),
        "case": about.said.case.as_deref().map(redact::text),
    }))
}

/// What people are asked.
fn asked(data: &mut Map<String, Value>, (record, hold): (&Record, &Hold), news: News) {
    let reasons = hold.reasons.iter();
    let reasons: Vec<Value> =
        reasons.map(|r| json!({ "policy": r.policy, "why": redact::text(&r.why) })).collect();
    data.extend(members(json!({
        "queue": hold.queue,
        "risk": hold.risk.name(),
        "reasons": reasons,
        "requested": hold.since.to_string(),
        "expires": hold.deadline.to_string(),
        "approvers": { "needed": hold.needs.approvers, "roles": hold.needs.roles, "so_far": hold.yes.len() },
        "agent_says": record.about.said.reason.as_deref().map(redact::text),
    })));
    if news == News::Escalated {
        data.insert("passed_on_from".to_owned(), json!(hold.passed.last()));
    }
}

/// What an answer from there must bring back.
fn answer(
    notify: &Notify,
    to: &Destination,
    (record, hold): (&Record, &Hold),
    letter: &Letter,
) -> Option<Value> {
    let (signer, page) = (to.signer.as_ref()?, notify.page.as_ref()?);
    to.answers.as_ref()?;
    let nonce = signer.nonce(&Bound {
        op: record.op,
        shown: hold.shown,
        since: hold.since,
        destination: &to.name,
        letter: letter.number,
    })?;
    Some(json!({
        "url": format!("{page}/v1/answers"),
        "nonce": nonce,
        "digest": hold.shown.to_string(),
        "expires": hold.deadline.to_string(),
    }))
}

/// What became of a hold. Who answered stays in the house: agents need not know.
fn answered(data: &mut Map<String, Value>, record: &Record) {
    let (decision, reason) = match record.state {
        State::Refused { code } => (refused(code), Some(redact::text(&record.reason))),
        State::Held => ("none", None),
        State::Approved
        | State::Submitted { .. }
        | State::Unknown
        | State::Done { .. }
        | State::NotSent => ("approved", None),
    };
    let code = match record.state {
        State::Refused { code } => Some(code.spec().name),
        State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Unknown
        | State::Done { .. }
        | State::NotSent => None,
    };
    let next = if decision == "approved" { "repeat_the_same_request" } else { "stop" };
    data.extend(members(
        json!({ "decision": decision, "reason": reason, "code": code, "next": next }),
    ));
}

fn refused(code: Code) -> &'static str {
    let answers = [
        (Code::ApprovalDenied, "denied"),
        (Code::ApprovalExpired, "expired"),
        (Code::Withdrawn, "withdrawn"),
    ];
    // Any other: approved, judged again, and turned back.
    answers.into_iter().find(|(own, _)| *own == code).map_or("refused", |(_, name)| name)
}

/// How it ended.
fn settled(data: &mut Map<String, Value>, record: &Record) {
    let (outcome, next) = match record.state {
        State::Done { outcome } => (Some(outcome.name()), "repeat_the_same_request"),
        State::NotSent => (Some("not_sent"), "repeat_the_same_request"),
        State::Refused { code } => (Some(code.spec().name), "stop"),
        State::Held | State::Approved | State::Submitted { .. } | State::Unknown => (None, "wait"),
    };
    data.extend(members(
        json!({ "outcome": outcome, "upstream_status": record.status, "next": next }),
    ));
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members.into_iter().filter(|(_, one)| !one.is_null()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

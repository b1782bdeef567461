//! What waits for people, a page at a time, and what is denied many at a time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{self, Asked, Said};
use super::guard::Signed;
use super::{Console, objection, problem, view};
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::store::{Place, Record, Risk};

type Answered = Result<Response, Response>;
type Shared = State<Arc<Console>>;

/// BOUND: holds of one page at most; each is some 2 KiB of JSON.
const PAGE_MAX: usize = 500;
/// Holds of a page, when nobody says.
const PAGE: usize = 100;
/// BOUND: holds that are denied at once: a page of them.
const BATCH_MAX: usize = 100;

/// Which holds, and from where on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    state: Option<String>,
    queue: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/holds`: those that wait by risk and age, with the next page in `Link` (RFC 8288); others the
/// latest first.
pub async fn holds(
    State(console): Shared,
    signed: Signed,
    Asked(filter): Asked<Filter>,
) -> Answered {
    let state = filter.state.as_deref().unwrap_or("held");
    let limit = filter.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(problem(400, &format!("limit: expected 1 to {PAGE_MAX}")));
    }
    if state != "held" {
        let records = console.operations(&signed, Some(state)).await?;
        let of_queue = |record: &&Arc<Record>| {
            let queue = record.hold.as_ref().map(|hold| &*hold.queue);
            queue.is_some() && filter.queue.as_deref().is_none_or(|wanted| queue == Some(wanted))
        };
        let shown = records.iter().filter(of_queue).take(limit).map(|one| view::hold(one));
        return Ok(Json(shown.collect::<Vec<_>>()).into_response());
    }
    let after = match filter.after.as_deref().map(read_place) {
        Some(None) => return Err(problem(400, "after: expected it as a page's `Link` has it")),
        Some(place) => place,
        None => None,
    };
    let (operator, queue) = (signed.operator(), filter.queue.as_deref());
    let more = limit.saturating_add(1);
    let found = console.gate().approvals.waiting(operator, queue, after.as_ref(), more).await;
    let mut found = found.map_err(objection)?;
    let is_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| is_more).and_then(|record| place(record));
    let shown: Vec<Value> = found.iter().map(|record| view::hold(record)).collect();
    let mut answer = Json(shown).into_response();
    if let Some(place) = last {
        let queue =
            queue.map_or_else(String::new, |q| format!("&queue={}", super::form::encoded(q)));
        let link =
            format!("</v1/holds?after={}&limit={limit}{queue}>; rel=\"next\"", written(&place));
        if let Ok(link) = link.parse() {
            answer.headers_mut().insert(LINK, link);
        }
    }
    Ok(answer)
}

/// `GET /v1/queues`: how many wait where.
pub async fn queues(State(console): Shared, signed: Signed) -> Answered {
    let lines = console.gate().approvals.lines(signed.operator()).await.map_err(objection)?;
    let shown = lines
        .iter()
        .map(|line| json!({ "queue": line.queue, "tenant": line.tenant, "waiting": line.count }));
    Ok(Json(shown.collect::<Vec<_>>()).into_response())
}

/// A no to many.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    ids: Vec<String>,
    reason: String,
}

/// `POST /v1/holds/deny`: each is answered for itself; one that may not be denied keeps no other one.
pub async fn deny(State(console): Shared, signed: Signed, Said(batch): Said<Batch>) -> Answered {
    ask::reason(&batch.reason, "why; the agents read it")?;
    if batch.ids.is_empty() || batch.ids.len() > BATCH_MAX {
        return Err(problem(400, &format!("ids: expected 1 to {BATCH_MAX} operations")));
    }
    let mut answers = Vec::with_capacity(batch.ids.len());
    for id in &batch.ids {
        answers.push(match deny_one(&console, &signed, id, &batch.reason).await {
            Ok(record) => json!({ "id": id, "status": 200, "state": record.state.name() }),
            Err(answer) => json!({ "id": id, "status": answer.status().as_u16() }),
        });
    }
    Ok(Json(answers).into_response())
}

/// One no of a batch.
pub(super) async fn deny_one(
    console: &Console,
    signed: &Signed,
    id: &str,
    reason: &str,
) -> Result<Arc<Record>, Response> {
    let op = console.operation(signed, id).await?.op;
    let said = console.gate().deny(op, signed.operator(), reason).await;
    console.on_record(signed, "deny", said).await
}

/// Where a hold stands.
pub(super) fn place(record: &Record) -> Option<Place> {
    record.hold.as_ref().map(|hold| Place::of(record.op, hold))
}

/// A place as an address has it: `high.1772366400000.op_..`.
pub(super) fn written(place: &Place) -> String {
    format!("{}.{}.{}", place.risk.name(), place.since.0, place.op)
}

/// A place as an address had it.
pub(super) fn read_place(text: &str) -> Option<Place> {
    let mut parts = text.splitn(3, '.');
    let (risk, since, op) = (parts.next()?, parts.next()?, parts.next()?);
    let risk = [Risk::High, Risk::Medium, Risk::Low].into_iter().find(|one| one.name() == risk)?;
    let since = since.parse::<i64>().ok().filter(|since| *since >= 0).map(Timestamp)?;
    Some(Place { risk, since, op: OperationId::parse(op)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = Place { risk: Risk::Medium, since: Timestamp(7), op: OperationId([3; 32]) };
        assert_eq!(read_place(&written(&place)), Some(place));
        for wrong in ["", "high", "high.1", "high.-1.op_a", "big.1.op_a", "high.1.op_a", "high.x.y"]
        {
            assert_eq!(read_place(wrong), None, "{wrong}");
        }
    }
}

//! The console's routes. Every one of them asks first who asks.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Console, problem, view};
use crate::approval::Objection;
use crate::call::{Digest, OperationId};
use crate::gate::{Happened, Word};
use crate::store::FreezeScope;

type Answered = Result<Response, Response>;
type Shared = State<Arc<Console>>;

/// A filter of holds.
#[derive(Debug, Deserialize)]
pub struct HoldFilter {
    state: Option<String>,
    queue: Option<String>,
}

pub async fn holds(
    State(console): Shared,
    headers: HeaderMap,
    Query(filter): Query<HoldFilter>,
) -> Answered {
    console.operator(&headers)?;
    let state = filter.state.as_deref().unwrap_or("held");
    let records = console.gate.approvals.list(Some(state)).await.map_err(objection)?;
    let of_queue = |hold: &crate::store::Record| {
        let queue = hold.hold.as_ref().map(|h| &*h.queue);
        filter.queue.as_deref().is_none_or(|wanted| queue == Some(wanted))
    };
    let shown: Vec<Value> = records.iter().filter(|r| of_queue(r)).map(|r| view::hold(r)).collect();
    Ok(Json(shown).into_response())
}

pub async fn hold(State(console): Shared, headers: HeaderMap, Path(op): Path<String>) -> Answered {
    console.operator(&headers)?;
    let op = operation_id(&op)?;
    let record = console.gate.approvals.show(op).await.map_err(objection)?;
    let request = console.gate.held_request(op).await;
    Ok(Json(view::hold_with(&record, request.as_ref())).into_response())
}

/// A yes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yes {
    digest: String,
    reason: Option<String>,
}

pub async fn approve(
    State(console): Shared,
    headers: HeaderMap,
    Path(op): Path<String>,
    body: Result<Json<Yes>, axum::extract::rejection::JsonRejection>,
) -> Answered {
    let operator = console.operator(&headers)?;
    let op = operation_id(&op)?;
    let Json(yes) = body.map_err(|e| problem(400, &e.body_text()))?;
    let digest = Digest::parse(&yes.digest)
        .ok_or_else(|| problem(400, "digest: expected `sha256:` and 64 hexadecimal digits"))?;
    let reason = yes.reason.unwrap_or_default();
    let record = console.gate.approve(op, operator, digest, &reason).await.map_err(objection)?;
    Ok(Json(view::hold(&record)).into_response())
}

/// A no.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct No {
    reason: String,
}

pub async fn deny(
    State(console): Shared,
    headers: HeaderMap,
    Path(op): Path<String>,
    body: Result<Json<No>, axum::extract::rejection::JsonRejection>,
) -> Answered {
    let operator = console.operator(&headers)?;
    let op = operation_id(&op)?;
    let Json(no) = body.map_err(|e| problem(400, &e.body_text()))?;
    if no.reason.trim().is_empty() {
        return Err(problem(400, "reason: expected why; the agent reads it"));
    }
    let record = console.gate.deny(op, operator, &no.reason).await.map_err(objection)?;
    Ok(Json(view::hold(&record)).into_response())
}

pub async fn freezes(State(console): Shared, headers: HeaderMap) -> Answered {
    console.operator(&headers)?;
    let freezes = console.gate.freezes.list();
    Ok(Json(freezes.iter().map(view::freeze).collect::<Vec<_>>()).into_response())
}

/// A freeze that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    scope: Vec<String>,
    reason: String,
    #[serde(rename = "for")]
    span: Option<String>,
}

pub async fn freeze(
    State(console): Shared,
    headers: HeaderMap,
    body: Result<Json<Freeze>, axum::extract::rejection::JsonRejection>,
) -> Answered {
    let operator = console.operator(&headers)?;
    let Json(asked) = body.map_err(|e| problem(400, &e.body_text()))?;
    let scope = FreezeScope::parse(asked.scope.iter().map(String::as_str))
        .map_err(|e| problem(400, &format!("scope: {e}")))?;
    let span = asked.span.as_deref().map(humantime::parse_duration).transpose();
    let span = span.map_err(|_| problem(400, "for: expected a duration such as `2h`"))?;
    let freeze = console
        .gate
        .freeze(scope, span, &asked.reason, operator)
        .await
        .map_err(|e| problem(503, &e.to_string()))?;
    Ok((StatusCode::CREATED, Json(view::freeze(&freeze))).into_response())
}

pub async fn unfreeze(
    State(console): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answered {
    let operator = console.operator(&headers)?;
    match console.gate.unfreeze(&id, operator).await {
        Ok(true) => Ok(Json(json!({ "id": id })).into_response()),
        Ok(false) => Err(problem(404, "no freeze of that id is in force")),
        Err(e) => Err(problem(503, &e.to_string())),
    }
}

/// A filter of operations.
#[derive(Debug, Deserialize)]
pub struct OperationFilter {
    state: Option<String>,
}

pub async fn operations(
    State(console): Shared,
    headers: HeaderMap,
    Query(filter): Query<OperationFilter>,
) -> Answered {
    console.operator(&headers)?;
    let records = console.gate.approvals.list(filter.state.as_deref()).await.map_err(objection)?;
    Ok(Json(records.iter().map(|r| view::brief(r)).collect::<Vec<_>>()).into_response())
}

pub async fn operation(
    State(console): Shared,
    headers: HeaderMap,
    Path(op): Path<String>,
) -> Answered {
    console.operator(&headers)?;
    let record = console.gate.approvals.show(operation_id(&op)?).await.map_err(objection)?;
    Ok(Json(view::operation(&record)).into_response())
}

/// What a person says became of an operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    outcome: Said,
    reason: String,
    upstream_id: Option<String>,
    #[serde(default)]
    force: bool,
}

/// Whether it happened.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Done,
    NotDone,
}

pub async fn resolve(
    State(console): Shared,
    headers: HeaderMap,
    Path(op): Path<String>,
    body: Result<Json<Resolve>, axum::extract::rejection::JsonRejection>,
) -> Answered {
    let operator = console.operator(&headers)?;
    let op = operation_id(&op)?;
    let Json(said) = body.map_err(|e| problem(400, &e.body_text()))?;
    if said.reason.trim().is_empty() {
        return Err(problem(400, "reason: expected how you know; it is put on record"));
    }
    let happened = match said.outcome {
        Said::Done => Happened::Yes,
        Said::NotDone => Happened::No,
    };
    let (reason, made) = (said.reason.as_str().into(), said.upstream_id.map(Into::into));
    let word = Word { happened, reason, made, is_forced: said.force };
    let record = console.gate.resolve(op, operator, &word).await.map_err(objection)?;
    Ok(Json(view::operation(&record)).into_response())
}

pub async fn store(State(console): Shared, headers: HeaderMap) -> Answered {
    console.operator(&headers)?;
    let lost = console.gate.store.lost().map_err(|e| problem(503, &e.to_string()))?;
    Ok(Json(json!({ "lost": lost.map(|at| at.to_string()) })).into_response())
}

/// What a person did about a store that was lost.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clear {
    reason: String,
}

pub async fn clear_loss(
    State(console): Shared,
    headers: HeaderMap,
    body: Result<Json<Clear>, axum::extract::rejection::JsonRejection>,
) -> Answered {
    let operator = console.operator(&headers)?;
    let Json(said) = body.map_err(|e| problem(400, &e.body_text()))?;
    if said.reason.trim().is_empty() {
        return Err(problem(400, "reason: expected what you did; it is put on record"));
    }
    console.gate.clear_loss(operator, &said.reason).await.map_err(objection)?;
    Ok(Json(json!({ "lost": Value::Null })).into_response())
}

/// How many records.
#[derive(Debug, Deserialize)]
pub struct Last {
    last: Option<usize>,
}

pub async fn records(
    State(console): Shared,
    headers: HeaderMap,
    Query(last): Query<Last>,
) -> Answered {
    console.operator(&headers)?;
    // BOUND: a thousand records are some 700 KiB.
    let count = last.last.unwrap_or(20).min(1000);
    let records = console.gate.records(count).map_err(|e| problem(503, &e.to_string()))?;
    Ok(Json(records).into_response())
}

pub async fn config(State(console): Shared, headers: HeaderMap) -> Answered {
    console.operator(&headers)?;
    Ok(Json(console.gate.described()).into_response())
}

pub async fn nothing(State(console): Shared, headers: HeaderMap) -> Answered {
    console.operator(&headers)?;
    Err(problem(404, "nothing is here; see `tollhouse --help` for what can be asked"))
}

fn operation_id(text: &str) -> Result<OperationId, Response> {
    OperationId::parse(text).ok_or_else(|| problem(400, "expected an operation as `op_..`"))
}

fn objection(objection: Objection) -> Response {
    let status = match objection {
        Objection::Unknown => 404,
        Objection::NotYours(_) => 403,
        Objection::Changed | Objection::Twice | Objection::Answered(_) | Objection::TooEarly(_) => {
            409
        }
        Objection::BadFilter => 400,
        Objection::Store(_) => 503,
    };
    problem(status, &objection.to_string())
}

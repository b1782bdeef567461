//! What do the routes of the API answer? The guard has let each request in; what is of a tenant is
//! loaded through [`Signed`], and what is somebody else's is not there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{self, Asked, Named, Said};
use super::guard::{Signed, Theirs};
use super::{Console, problem, view};
use crate::call::Digest;
use crate::gate::{Happened, Reloaded, Word};
use crate::store::FreezeScope;

type Answered = Result<Response, Response>;
type Shared = State<Arc<Console>>;

pub async fn hold(State(console): Shared, signed: Signed, Named(op): Named) -> Answered {
    let record = console.operation(&signed, &op).await?;
    console.gate().viewed(&record, &signed.operator().name).await;
    let request = console.gate().held_request(record.op).await;
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
    signed: Signed,
    Named(op): Named,
    Said(yes): Said<Yes>,
) -> Answered {
    let op = console.operation(&signed, &op).await?.op;
    let digest = Digest::parse(&yes.digest)
        .ok_or_else(|| problem(400, "digest: expected `sha256:` and 64 hexadecimal digits"))?;
    let reason = yes.reason.unwrap_or_default();
    ask::words(&reason)?;
    let said = console.gate().approve(op, signed.operator(), digest, &reason).await;
    let record = console.on_record(&signed, "approve", said).await?;
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
    signed: Signed,
    Named(op): Named,
    Said(no): Said<No>,
) -> Answered {
    let op = console.operation(&signed, &op).await?.op;
    ask::reason(&no.reason, "why; the agent reads it")?;
    let said = console.gate().deny(op, signed.operator(), &no.reason).await;
    let record = console.on_record(&signed, "deny", said).await?;
    Ok(Json(view::hold(&record)).into_response())
}

pub async fn freezes(State(console): Shared, signed: Signed) -> Answered {
    let (freezes, theirs): (Vec<_>, Vec<_>) = console.freezes(&signed).into_iter().unzip();
    let following = console.gate().following(&freezes).await;
    let each = freezes.iter().zip(theirs).zip(following);
    let shown = each.map(|((one, theirs), follow)| view::freeze_as(one, theirs, follow));
    Ok(Json(shown.collect::<Vec<_>>()).into_response())
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

pub async fn freeze(State(console): Shared, signed: Signed, Said(asked): Said<Freeze>) -> Answered {
    ask::words(&asked.reason)?;
    ask::scope(&asked.scope)?;
    let scope = FreezeScope::parse(asked.scope.iter().map(String::as_str))
        .map_err(|e| problem(400, &format!("scope: {e}")))?;
    if let Err(why) = signed.may_freeze(&scope) {
        console.forbidden(&signed, "freeze").await;
        return Err(problem(403, &why));
    }
    let span = asked.span.as_deref().map(humantime::parse_duration).transpose();
    let span = span.map_err(|_| problem(400, "for: expected a duration such as `2h`"))?;
    let begun = console.gate().clock.steady();
    let freeze = console
        .gate()
        .freeze(scope, span, &asked.reason, signed.operator())
        .await
        .map_err(|e| problem(503, &e.to_string()))?;
    let reach = console.gate().reach(&freeze.scope, begun).await;
    Ok((StatusCode::CREATED, Json(view::frozen(&freeze, &reach))).into_response())
}

pub async fn unfreeze(State(console): Shared, signed: Signed, Named(id): Named) -> Answered {
    let none = || problem(404, "no freeze of that id is in force");
    let seen = console.freezes(&signed);
    match seen.iter().find(|(freeze, _)| *freeze.id == *id).map(|(_, theirs)| *theirs) {
        // A replica's list may be a moment old: the store knows, for who may lift any.
        Some(Theirs::Whole) => {}
        None if signed.is_bound_to_no_tenant() => {}
        Some(Theirs::Outline) => {
            console.forbidden(&signed, "unfreeze").await;
            return Err(problem(403, "this freeze stops every tenant: you may not lift it"));
        }
        Some(Theirs::Nothing) | None => return Err(none()),
    }
    match console.gate().unfreeze(&id, signed.operator()).await {
        Ok(true) => Ok(Json(json!({ "id": id })).into_response()),
        Ok(false) => Err(none()),
        Err(e) => Err(problem(503, &e.to_string())),
    }
}

/// A filter of operations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationFilter {
    state: Option<String>,
}

pub async fn operations(
    State(console): Shared,
    signed: Signed,
    Asked(filter): Asked<OperationFilter>,
) -> Answered {
    let records = console.operations(&signed, filter.state.as_deref()).await?;
    Ok(Json(records.iter().map(|r| view::brief(r)).collect::<Vec<_>>()).into_response())
}

pub async fn budgets(State(console): Shared, signed: Signed) -> Answered {
    // Only what is theirs to see is looked at, and so nothing of another tenant's budgets is told.
    let near = console.budgets_near(&signed).await?;
    Ok(Json(near.iter().map(view::near).collect::<Vec<_>>()).into_response())
}

pub async fn operation(State(console): Shared, signed: Signed, Named(op): Named) -> Answered {
    let record = console.operation(&signed, &op).await?;
    console.gate().viewed(&record, &signed.operator().name).await;
    Ok(Json(view::operation(&record)).into_response())
}

/// What a person says became of an operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    outcome: Outcome,
    reason: String,
    upstream_id: Option<String>,
    #[serde(default)]
    force: bool,
}

/// Whether it happened.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Done,
    NotDone,
}

pub async fn resolve(
    State(console): Shared,
    signed: Signed,
    Named(op): Named,
    Said(said): Said<Resolve>,
) -> Answered {
    let op = console.operation(&signed, &op).await?.op;
    ask::reason(&said.reason, "how you know; it is put on record")?;
    let happened = match said.outcome {
        Outcome::Done => Happened::Yes,
        Outcome::NotDone => Happened::No,
    };
    let (reason, made) = (said.reason.as_str().into(), said.upstream_id.map(Into::into));
    let word = Word { happened, reason, made, is_forced: said.force };
    let said = console.gate().resolve(op, signed.operator(), &word).await;
    let record = console.on_record(&signed, "resolve", said).await?;
    Ok(Json(view::operation(&record)).into_response())
}

pub async fn store(State(console): Shared) -> Answered {
    let lost = console.gate().store.lost().map_err(|e| problem(503, &e.to_string()))?;
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
    signed: Signed,
    Said(said): Said<Clear>,
) -> Answered {
    ask::reason(&said.reason, "what you did; it is put on record")?;
    let cleared = console.gate().clear_loss(signed.operator(), &said.reason).await;
    console.on_record(&signed, "clear the store's loss", cleared).await?;
    Ok(Json(json!({ "lost": Value::Null })).into_response())
}

/// BOUND: a thousand records are some 700 KiB.
const LAST_MAX: usize = 1_000;

/// How many records.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    last: Option<usize>,
}

pub async fn records(State(console): Shared, signed: Signed, Asked(last): Asked<Last>) -> Answered {
    let count = last.last.unwrap_or(20);
    if count > LAST_MAX {
        return Err(problem(400, "last: expected at most 1000"));
    }
    let read = if signed.is_bound_to_no_tenant() { count } else { LAST_MAX };
    let mut records = console.gate().records(read).map_err(|e| problem(503, &e.to_string()))?;
    records.retain(|line| signed.sees_line(line));
    let older = records.len().saturating_sub(count);
    Ok(Json(records.split_off(older)).into_response())
}

pub async fn config(State(console): Shared) -> Answered {
    let mut described = console.gate().described();
    if let Value::Object(members) = &mut described {
        members.insert("configuration".to_owned(), console.current.described());
    }
    Ok(Json(described).into_response())
}

/// Reads the configuration again. What does not read or fit changes nothing: 422 says why.
pub async fn reload(State(console): Shared, signed: Signed) -> Answered {
    match console.current.reload(&signed.operator().name).await {
        Reloaded::Now(digest) => Ok(Json(json!({ "policy_digest": &*digest })).into_response()),
        Reloaded::Kept(why) => Err(problem(422, &why)),
    }
}

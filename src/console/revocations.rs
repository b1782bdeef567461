//! Which tokens count no more? Said by a person, at once, in the whole fleet.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::ask::{self, Named, Said};
use super::guard::Signed;
use super::{Console, problem, view};
use crate::clock::Timestamp;
use crate::store::{Freeze, FreezeScope};

type Answered = Result<Response, Response>;
type Shared = State<Arc<Console>>;

/// BOUND: revocations in force; each is some 200 bytes in every replica's memory. A token's own revocation
/// can be taken back once the token has ended.
const REVOCATIONS_MAX: usize = 10_000;

/// A revocation that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    jti: Option<String>,
    agent: Option<String>,
    customer: Option<String>,
    tenant: Option<String>,
    issued_before: Option<String>,
    reason: String,
}

/// `GET /v1/revocations`.
pub async fn list(State(console): Shared, signed: Signed) -> Answered {
    let all = console.gate().store.revocations();
    let theirs = all.iter().filter(|one| is_theirs(&signed, one));
    Ok(Json(theirs.map(view::revocation).collect::<Vec<_>>()).into_response())
}

/// `POST /v1/revocations`.
pub async fn revoke(
    State(console): Shared,
    signed: Signed,
    Said(asked): Said<Revocation>,
) -> Answered {
    ask::reason(&asked.reason, "why; it is put on record")?;
    let parts = [
        ("jti", asked.jti),
        ("agent", asked.agent),
        ("customer", asked.customer),
        ("tenant", asked.tenant),
    ];
    let parts_of =
        |(kind, name): &(&str, Option<String>)| Some(format!("{kind}/{}", name.as_ref()?));
    ask::scope(&parts.iter().filter_map(parts_of).collect::<Vec<_>>())?;
    let named = parts.into_iter().filter_map(|(kind, name)| Some((kind, name?)));
    let scope = FreezeScope::of_tokens(named).map_err(|why| problem(400, &why))?;
    if let Err(why) = signed.may_freeze(&scope) {
        console.forbidden(&signed, "revoke").await;
        return Err(problem(403, &why));
    }
    let before = asked.issued_before.as_deref().map(Timestamp::parse);
    let before = match before {
        Some(None) => {
            return Err(problem(400, "issued_before: expected a time as `2026-03-01T12:00:00Z`"));
        }
        Some(before) => before,
        None => None,
    };
    if console.gate().store.revocations().len() >= REVOCATIONS_MAX {
        let why = "too many revocations are in force: take those of tokens that have ended back";
        return Err(problem(429, why));
    }
    let revoked = console.gate().revoke(scope, before, &asked.reason, signed.operator()).await;
    let revoked = revoked.map_err(|e| problem(503, &e.to_string()))?;
    Ok((StatusCode::CREATED, Json(view::revocation(&revoked))).into_response())
}

/// `DELETE /v1/revocations/{id}`.
pub async fn restore(State(console): Shared, signed: Signed, Named(id): Named) -> Answered {
    let none = || problem(404, "no revocation of that id is in force");
    let all = console.gate().store.revocations();
    let one = all.iter().find(|one| *one.id == *id && is_theirs(&signed, one)).ok_or_else(none)?;
    match console.gate().unfreeze(&one.id, signed.operator()).await {
        Ok(true) => Ok(Json(json!({ "id": id })).into_response()),
        Ok(false) => Err(none()),
        Err(e) => Err(problem(503, &e.to_string())),
    }
}

/// Whoever is bound to tenants sees and lifts what names one of them.
fn is_theirs(signed: &Signed, one: &Freeze) -> bool {
    signed.may_freeze(&one.scope).is_ok()
}

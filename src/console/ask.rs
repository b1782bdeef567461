//! What does a request to the API say? Path, query and body, and an answer of our own where they do not
//! read.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::{Console, problem};

/// The one thing that varies in a path.
#[derive(Debug)]
pub struct Named(pub String);

impl FromRequestParts<Arc<Console>> for Named {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &Arc<Console>,
    ) -> Result<Self, Response> {
        let read = Path::<String>::from_request_parts(parts, console).await;
        read.map(|Path(name)| Self(name)).map_err(|e| problem(400, &e.body_text()))
    }
}

/// The query of an address.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Console>> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &Arc<Console>,
    ) -> Result<Self, Response> {
        let read = Query::<T>::from_request_parts(parts, console).await;
        read.map(|Query(asked)| Self(asked)).map_err(|e| problem(400, &e.body_text()))
    }
}

/// A body in JSON.
#[derive(Debug)]
pub struct Said<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Console>> for Said<T> {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Response> {
        let read = Json::<T>::from_request(request, console).await;
        read.map(|Json(said)| Self(said)).map_err(|e| {
            let status = match e.status().as_u16() {
                known @ (413 | 415) => known,
                _ => 400,
            };
            problem(status, &e.body_text())
        })
    }
}

/// BOUND: a person's words; an agent that was denied reads them.
const WORDS_CHARS_MAX: usize = 2_000;
/// BOUND: there are six sorts of parts; a scope that names more matches nothing.
const SCOPE_PARTS_MAX: usize = 16;
/// BOUND: names of agents and customers, as in their tokens.
const SCOPE_CHARS_MAX: usize = 255;

/// That a person's words are not too many.
///
/// # Errors
///
/// The answer to more.
pub fn words(text: &str) -> Result<(), Response> {
    if text.chars().count() <= WORDS_CHARS_MAX {
        return Ok(());
    }
    Err(problem(400, "reason: expected at most 2000 characters"))
}

/// That there is a reason where one is needed.
///
/// # Errors
///
/// The answer to none, which says `what` was expected.
pub fn reason(text: &str, what: &str) -> Result<(), Response> {
    if text.trim().is_empty() {
        return Err(problem(400, &format!("reason: expected {what}")));
    }
    words(text)
}

/// That a scope is one that people can read.
///
/// # Errors
///
/// The answer to another.
pub fn scope(parts: &[String]) -> Result<(), Response> {
    let name = |part: &String| {
        part.split_once('/').map_or(part.chars().count(), |(_, n)| n.chars().count())
    };
    let odd = |part: &String| name(part) > SCOPE_CHARS_MAX || part.chars().any(char::is_control);
    if parts.len() > SCOPE_PARTS_MAX || parts.iter().any(odd) {
        return Err(problem(400, "scope: expected at most 16 parts of 255 printable characters"));
    }
    Ok(())
}

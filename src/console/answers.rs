//! What is said to an answer from a chat? Nobody is signed in here: the message proves itself, or is nothing.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::listen::Peer;
use super::{Console, objection, problem, sign_in};
use crate::gate::NotTaken;
use crate::notify::{ID, SIGNATURE, Sent, TIMESTAMP};

pub async fn take(
    State(console): State<Arc<Console>>,
    request: Request,
) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|peer| peer.0.0);
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| problem(413, "an answer is at most 64 KiB"))?;
    let sent = sent(&parts.headers, &body);
    match console.gate().answer_from_outside(&sent).await {
        Ok(record) => {
            let said = json!({ "operation": record.op.to_string(), "state": record.state.name() });
            Ok(Json(said).into_response())
        }
        Err(why) => Err(console.not_taken(why, peer)),
    }
}

/// BOUND: as everywhere at the console; ids, a digest and a reason are 12 KiB at most.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Each header once; twice is none.
fn sent<'s>(headers: &'s HeaderMap, body: &'s Bytes) -> Sent<'s> {
    let one = |name: &str| {
        let mut all = headers.get_all(name).iter();
        let first = all.next().and_then(|value| value.to_str().ok());
        first.filter(|_| all.next().is_none()).unwrap_or_default()
    };
    Sent { id: one(ID), timestamp: one(TIMESTAMP), signature: one(SIGNATURE), body }
}

impl Console {
    fn not_taken(&self, why: NotTaken, peer: Option<IpAddr>) -> Response {
        match why {
            // SECURITY: what is signed well is always heard, so nobody who guesses keeps a chat out.
            NotTaken::Unproven(_) => {
                self.guesses.failed(peer);
                let wait = self.guesses.wait(peer);
                wait.map_or_else(|| problem(401, &why.to_string()), sign_in::too_many)
            }
            NotTaken::Malformed(_) => problem(400, &why.to_string()),
            NotTaken::Nonce => problem(403, &why.to_string()),
            NotTaken::Objection(why) => objection(why),
        }
    }
}

//! The paths that are Tollhouse's own on the agents' side: what became of an operation, what a code
//! means, who issues tokens. Nothing here reaches an upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::action::AuthPlace;
use crate::approval::Objection;
use crate::audit::Event;
use crate::bounds::HOLD_WAIT_MAX;
use crate::call::{Answer, Caller, CallerKey, OperationId, Request};
use crate::decision::Verdict;
use crate::disclosure;
use crate::gate::{Evidence, Gate};
use crate::refusal::{Refusal, status_url};
use crate::store::{Record, State};

const OPERATIONS: &str = "/.tollhouse/v1/operations/";
const PROBLEMS: &str = "/.tollhouse/problems/";
const RESOURCE: &str = "/.well-known/oauth-protected-resource";

impl Gate {
    /// The answer on a path of our own; `None` on any other.
    pub(super) async fn own_path(&self, request: &Request) -> Option<Answer> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if path == RESOURCE {
            return Some(says(200, &self.protected_resource()));
        }
        if let Some(code) = path.strip_prefix(PROBLEMS) {
            return Some(disclosure::explain(code));
        }
        if !path.starts_with("/.tollhouse/") {
            return None;
        }
        let answered = match path.strip_prefix(OPERATIONS) {
            Some(id) => Box::pin(self.operation_path(request, id, query)).await,
            None => Err(Refusal::unknown_action(request.method.as_str(), path)),
        };
        Some(
            answered.unwrap_or_else(|refusal| {
                self.turn_back(refusal, &Evidence::of(request, &self.clock))
            }),
        )
    }

    async fn operation_path(
        &self,
        request: &Request,
        id: &str,
        query: &str,
    ) -> Result<Answer, Refusal> {
        let roads = self.catalog.roads().iter();
        let road = roads.into_iter().find(|road| road.listener == request.listener);
        let place = road.map_or(&AuthPlace::Bearer, |road| &road.pack.traits().auth);
        let query_values = crate::value::Value::Map(Vec::new());
        let caller =
            self.identity.verify(&request.headers, place, &query_values, request.peer).await?;
        self.freezes.revoked(&caller)?;
        let nobodys = || Refusal::not_found("operation", id);
        let op = OperationId::parse(id).ok_or_else(nobodys)?;
        let key = caller.key();
        let mut record = self.of_caller(op, &key).await?;
        match request.method {
            Method::GET => {
                if let Some(span) = wait(query).filter(|_| record.state.is_open()) {
                    self.wait_for(op, span).await;
                    record = self.of_caller(op, &key).await?;
                }
                Ok(says(200, &shown(&record)))
            }
            Method::DELETE => match self.approvals.withdraw(op, &key).await {
                Ok(record) => {
                    self.withdrawal_on_record(&record, &caller).await?;
                    Ok(says(200, &shown(&record)))
                }
                Err(Objection::Answered(_)) => Ok(says(409, &shown(&record))),
                Err(Objection::Store(fault)) => Err(fault.into()),
                Err(_) => Err(nobodys()),
            },
            _ => Err(Refusal::unknown_action(request.method.as_str(), OPERATIONS)),
        }
    }

    async fn withdrawal_on_record(
        &self,
        record: &Record,
        caller: &Arc<Caller>,
    ) -> Result<(), Refusal> {
        let mut evidence = Evidence::of_record(record, &self.clock);
        evidence.caller = Some(Arc::clone(caller));
        let entry = evidence.entry(Event::Withdrawn, Verdict::Refuse, &self.policy_digest);
        Ok(self.audit.record(entry).await?)
    }

    /// An operation of this caller; anybody else's is not there.
    async fn of_caller(&self, op: OperationId, key: &CallerKey) -> Result<Arc<Record>, Refusal> {
        match self.store.show(op).await? {
            Some(record) if record.about.caller == *key => Ok(record),
            Some(_) | None => Err(Refusal::not_found("operation", &op.to_string())),
        }
    }

    /// RFC 9728 s2.
    fn protected_resource(&self) -> Value {
        json!({
            "resource": "/",
            "authorization_servers": self.identity.issuers(),
            "bearer_methods_supported": ["header"],
        })
    }
}

/// `wait=N`, in seconds.
fn wait(query: &str) -> Option<Duration> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("wait="))?;
    Some(Duration::from_secs(value.parse().ok()?).min(HOLD_WAIT_MAX))
}

/// What a caller sees of an operation of theirs.
fn shown(record: &Record) -> Value {
    let next = match record.state {
        State::Held => "wait",
        State::Approved | State::Submitted { .. } | State::Unknown => "wait",
        State::NotSent => "retry_later",
        State::Done { .. } => "repeat the same request to get its answer",
        State::Refused { .. } => "stop",
    };
    let outcome = match record.state {
        State::Done { outcome } => Some(outcome.name()),
        State::Refused { code } => Some(code.spec().name),
        State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Unknown
        | State::NotSent => None,
    };
    json!({
        "operation": record.op.to_string(),
        "state": record.state.name(),
        "outcome": outcome,
        "summary": record.about.summary,
        "next": next,
        "upstream_status": record.status,
        "expires": record.hold.as_ref().map(|hold| hold.deadline.to_string()),
        "status_url": status_url(record.op),
    })
}

fn says(status: u16, body: &Value) -> Answer {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Answer { status, reason: None, headers, body: Bytes::from(body.to_string()).into() }
}

//! How does an answer go onto the wire? Framed here, whole or in chunks, within a time.
//!
//! It never answers through pingora's own errors, and a body that was cut short never looks whole.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::call::{Answer, Body, Chunk, Chunks};
use crate::refusal::Refusal;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// A HEAD: there is no body, whatever the head says.
    Head,
    /// Anything else.
    Other,
}

impl To {
    pub(super) fn method(method: &Method) -> Self {
        if method == Method::HEAD { Self::Head } else { Self::Other }
    }
}

/// Writes `answer`, and flushes it. An error leaves the connection unusable.
pub(super) async fn write(
    session: &mut ServerSession,
    answer: Answer,
    to: To,
    within: Duration,
) -> Result<()> {
    let mut head = head(&answer)?;
    // RFC 9112 s6.3.
    let none = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let bodiless = none || to == To::Head;
    let bytes = match answer.body {
        Body::Stream(chunks) if !bodiless => {
            return Box::pin(stream(session, head, chunks, within)).await;
        }
        // RFC 9110 s8.6: no length on a 204; one on a 304 or to a HEAD would be another body's.
        Body::Whole(_) | Body::Stream(_) if bodiless => Bytes::new(),
        Body::Whole(bytes) => {
            head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()))?;
            bytes
        }
        Body::Stream(_) => Bytes::new(),
    };
    in_time(timeout(within, whole(session, head, bytes)).await)
}

async fn whole(session: &mut ServerSession, head: Box<ResponseHeader>, bytes: Bytes) -> Result<()> {
    session.write_response_header(head).await?;
    session.write_response_body(bytes, true).await
}

async fn stream(
    session: &mut ServerSession,
    mut head: Box<ResponseHeader>,
    mut chunks: Chunks,
    within: Duration,
) -> Result<()> {
    head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    in_time(timeout(within, session.write_response_header(head)).await)?;
    loop {
        match chunks.next().await {
            Some(Chunk::Bytes(bytes)) => {
                in_time(timeout(within, session.write_response_body(bytes, false)).await)?;
            }
            Some(Chunk::End) => {
                return in_time(
                    timeout(within, session.write_response_body(Bytes::new(), true)).await,
                );
            }
            // No last chunk is written, so that the agent sees a body without an end.
            None => return Error::e_explain(ErrorType::InternalError, "the answer was cut short"),
        }
    }
}

fn in_time(written: std::result::Result<Result<()>, Elapsed>) -> Result<()> {
    match written {
        Ok(written) => written,
        Err(_) => Error::e_explain(ErrorType::WriteTimedout, "the agent reads too slowly"),
    }
}

fn head(answer: &Answer) -> Result<Box<ResponseHeader>> {
    let size = answer.headers.len().saturating_add(3);
    let mut head = ResponseHeader::build_no_case(answer.status, Some(size))?;
    // An interim answer would leave the agent waiting for the real one.
    if head.status.is_informational() {
        return Error::e_explain(ErrorType::InternalError, "an interim status as an answer");
    }
    if answer.reason.is_some() {
        head.set_reason_phrase(answer.reason)?;
    }
    for (name, value) in &answer.headers {
        if !is_framing(name) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(Box::new(head))
}

fn is_framing(name: &HeaderName) -> bool {
    static NAMES: [HeaderName; 5] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    NAMES.contains(name)
}

/// The answer of RFC 9457 to `refusal`, without what only the gate knows: the decision's name, the
/// vendor's own error member.
pub fn problem(refusal: &Refusal) -> Answer {
    let spec = refusal.code.spec();
    let next = refusal.next.unwrap_or(spec.next);
    let body = serde_json::json!({
        "type": format!("/.tollhouse/problems/{}", spec.name),
        "title": spec.title,
        "status": spec.status,
        "detail": refusal.detail,
        "code": spec.name,
        "decision": refusal.verdict().name(),
        "next": next.name(),
        "sent": refusal.sent(),
        "retryable": spec.retryable,
    });
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(
        HeaderName::from_static("tollhouse-decision"),
        HeaderValue::from_static(refusal.verdict().name()),
    );
    if let Some(span) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(span.as_secs()));
    }
    let body = Body::from(body.to_string());
    Answer { status: spec.status, reason: Some(spec.title), headers, body }
}

//! How does an answer go onto the wire? Framed here, whole or in chunks, within a time.
//!
//! A body that was cut short never looks whole.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::date::Date;
use super::head::Then;
use super::stream::Stream;
use crate::call::{Answer, Body, Chunk, Chunks};
use crate::framing;
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

/// What of an answer is not the answer's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing<'d> {
    pub(super) to: To,
    pub(super) then: Then,
    /// For all of it, and for each chunk of a streamed one.
    pub(super) within: Duration,
    pub(super) date: &'d Date,
}

/// Writes `answer`, and flushes it. An error leaves the connection unusable.
pub(super) async fn write(
    stream: &mut Stream,
    answer: Answer,
    framing: Framing<'_>,
) -> io::Result<()> {
    let mut head = head(&answer, framing)?;
    // RFC 9112 s6.3.
    let status = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    let none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let bodiless = none || framing.to == To::Head;
    let body = match answer.body {
        Body::Stream(chunks) if !bodiless => {
            return Box::pin(pump(stream, head, chunks, framing)).await;
        }
        // RFC 9110 s8.6: no length on a 204; one on a 304 or to a HEAD would be another body's.
        Body::Whole(_) | Body::Stream(_) if bodiless => Bytes::new(),
        Body::Whole(bytes) => {
            let length = HeaderValue::from(bytes.len());
            framing::field(&mut head, &header::CONTENT_LENGTH, length.as_bytes());
            bytes
        }
        Body::Stream(_) => Bytes::new(),
    };
    end(&mut head, framing.then);
    put(stream, head.chain(body), framing.within).await
}

async fn pump(
    stream: &mut Stream,
    mut head: BytesMut,
    mut chunks: Chunks,
    Framing { then, within, .. }: Framing<'_>,
) -> io::Result<()> {
    framing::field(&mut head, &header::TRANSFER_ENCODING, b"chunked");
    end(&mut head, then);
    put(stream, head, within).await?;
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = chunks.next() => chunk,
            // At once, not at the next chunk: an upstream may be silent for long.
            () = stream.gone() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match chunk {
            Some(Chunk::Bytes(bytes)) => {
                let mut chunk = BytesMut::with_capacity(bytes.len().saturating_add(16));
                framing::chunk(&mut chunk, &bytes);
                put(stream, chunk, within).await?;
            }
            Some(Chunk::End) => return put(stream, framing::LAST_CHUNK, within).await,
            // No last chunk is written, so that the agent sees a body without an end.
            None => return Err(io::Error::other("the answer was cut short")),
        }
    }
}

async fn put(stream: &mut Stream, mut bytes: impl Buf, within: Duration) -> io::Result<()> {
    let write = async {
        stream.write_all_buf(&mut bytes).await?;
        stream.flush().await
    };
    match timeout(within, write).await {
        Ok(written) => written,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Status line and fields, without the empty line at their end.
fn head(answer: &Answer, framing: Framing<'_>) -> io::Result<BytesMut> {
    // BOUND: a status line, a date and some ten fields.
    let mut head = BytesMut::with_capacity(512);
    let status = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    // An interim answer would leave the agent waiting for the real one.
    if status.is_informational() {
        return Err(io::Error::other("an interim status as an answer"));
    }
    let reason = answer.reason.or(status.canonical_reason()).unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &answer.headers {
        if !is_framing(name) {
            framing::field(&mut head, name, value.as_bytes());
        }
    }
    framing::field(&mut head, &header::DATE, &framing.date.now());
    Ok(head)
}

/// The head's last lines: a connection that is not to be closed is kept (RFC 9112 s9.3).
fn end(head: &mut BytesMut, then: Then) {
    if then == Then::Close {
        framing::field(head, &header::CONNECTION, b"close");
    }
    head.extend_from_slice(b"\r\n");
}

pub(super) fn is_framing(name: &HeaderName) -> bool {
    static NAMES: [HeaderName; 6] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DATE,
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

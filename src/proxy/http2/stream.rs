//! What happens on one stream? A head, a whole body, one answer.
//!
//! An answer that is cut short ends with a reset, never with an end that looks whole.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Response, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::head::{self, Expects, Head};
use super::{STREAM_WINDOW, Shared};
use crate::call::{Answer, Body, Chunk, Chunks, Request};
use crate::proxy::answer::{To, is_framing};
use crate::proxy::connection::{LINGER, LINGER_BYTES_MAX, large_body, too_slow};
use crate::proxy::date::Date;
use crate::refusal::Refusal;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With its whole answer, or with ours that was cut short.
    Answered,
    /// The agent reset it, left, or did not take the answer.
    CutOff,
}

/// Why there is no body.
enum NoBody {
    /// The agent took the stream back, or is gone.
    Gone,
    /// The library has reset the stream already, and it is on record.
    Reset,
    /// It is turned back.
    Bad(Box<Refusal>),
}

/// Serves one stream to its end.
pub(super) async fn serve(
    shared: &Shared,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Ended {
    let (parts, mut incoming) = request.into_parts();
    let method = parts.method.clone();
    let come = match head::read(parts, &shared.door.hosts) {
        Err(refusal) => Err(bad(refusal)),
        Ok(head) => shared.body(&mut incoming, &mut respond, &head).await.map(|body| (head, body)),
    };
    let (head, (body, large)) = match come {
        Ok(come) => come,
        Err(NoBody::Gone) => return Ended::CutOff,
        Err(NoBody::Reset) => return Ended::Answered,
        Err(NoBody::Bad(refusal)) => {
            let answer = (shared.door.service.turn_back)(*refusal, shared.origin);
            let ended = shared.write(&mut respond, answer, To::method(&method)).await;
            linger(&mut incoming).await;
            return ended;
        }
    };
    let request = Request {
        listener: shared.origin.listener,
        method: method.clone(),
        target: head.target,
        headers: head.headers,
        body,
        peer: Some(shared.origin.peer),
    };
    // INVARIANT: nothing ends this task from outside, and the server waits for it: an agent that goes
    // away cancels nothing that was begun.
    let answer = shared.door.answer(request, shared.origin).await;
    drop(large);
    shared.write(&mut respond, answer, To::method(&method)).await
}

impl Shared {
    /// The whole body, and, if it is a large one, the leave to hold it.
    async fn body(
        &self,
        incoming: &mut RecvStream,
        respond: &mut SendResponse<Bytes>,
        head: &Head,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), NoBody> {
        let max = self.door.bounds.body_bytes_max;
        // Before a word is said to an agent that waits for it.
        if head.length.is_some_and(|stated| usize::try_from(stated).map_or(true, |n| n > max)) {
            return Err(bad(large_body()));
        }
        if incoming.is_end_stream() {
            return Ok((Bytes::new(), None));
        }
        if head.expects == Expects::Continue {
            let go_on = Response::builder().status(StatusCode::CONTINUE).body(());
            go_on
                .map(|go_on| respond.send_informational(go_on))
                .map_or(Ok(()), |sent| sent.map_err(|_| NoBody::Gone))?;
        }
        match timeout(self.door.bounds.body, self.whole_body(incoming, max)).await {
            Ok(read) => read,
            Err(_) => Err(bad(too_slow("body", self.door.bounds.body))),
        }
    }

    /// A body of a single chunk is not copied. Trailers are not read.
    async fn whole_body(
        &self,
        incoming: &mut RecvStream,
        max: usize,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), NoBody> {
        let window = usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX);
        let (mut whole, mut parts) = (Bytes::new(), None::<BytesMut>);
        let (mut large, mut held) = (None, 0_usize);
        while let Some(chunk) = incoming.data().await {
            let chunk = chunk.map_err(|e| gone(&e))?;
            let length = parts.as_ref().map_or(whole.len(), BytesMut::len);
            if chunk.len() > max.saturating_sub(length) {
                return Err(bad(large_body()));
            }
            held = held.saturating_add(chunk.len());
            if let Some(parts) = &mut parts {
                parts.extend_from_slice(&chunk);
            } else if whole.is_empty() {
                whole = chunk;
            } else {
                let mut both = BytesMut::with_capacity(whole.len().saturating_mul(4).min(max));
                both.extend_from_slice(&whole);
                both.extend_from_slice(&chunk);
                parts = Some(both);
            }
            // BOUND: more than a window's worth only where there is room for a whole large body.
            if held >= window.div_euclid(2) && !incoming.is_end_stream() {
                if large.is_none() {
                    large = std::sync::Arc::clone(&self.large_bodies).acquire_owned().await.ok();
                }
                release(incoming, held);
                held = 0;
            }
        }
        release(incoming, held);
        Ok((parts.map_or(whole, BytesMut::freeze), large))
    }

    /// Writes `answer`; an error leaves the stream reset.
    async fn write(&self, respond: &mut SendResponse<Bytes>, answer: Answer, to: To) -> Ended {
        let Some(mut head) = response(&answer, &self.door.date) else {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ended::Answered;
        };
        // RFC 9113 s8.1.1: as over HTTP/1.1.
        let none = matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let within = self.door.bounds.write;
        let bytes = match answer.body {
            Body::Stream(chunks) if !none && to == To::Other => {
                return match respond.send_response(head, false) {
                    Ok(mut send) => self.stream(&mut send, chunks, within).await,
                    Err(_) => Ended::CutOff,
                };
            }
            Body::Whole(bytes) if !none && to == To::Other => bytes,
            // RFC 9110 s8.6: no length on a 204; one on a 304 or to a HEAD would be another body's.
            Body::Whole(_) | Body::Stream(_) => return self.only_head(respond, head),
        };
        head.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from(bytes.len()));
        if bytes.is_empty() {
            return self.only_head(respond, head);
        }
        let Ok(mut send) = respond.send_response(head, false) else { return Ended::CutOff };
        match timeout(within, all(&mut send, bytes, Last::Yes)).await {
            Ok(Ok(())) => Ended::Answered,
            Ok(Err(_)) => Ended::CutOff,
            // The agent's window stays shut.
            Err(_) => cut(&mut send, Reason::CANCEL),
        }
    }

    fn only_head(&self, respond: &mut SendResponse<Bytes>, head: Response<()>) -> Ended {
        self.bodiless.fetch_add(1, Ordering::Relaxed);
        match respond.send_response(head, true) {
            Ok(_sent) => Ended::Answered,
            Err(_) => {
                self.bodiless.fetch_sub(1, Ordering::Relaxed);
                Ended::CutOff
            }
        }
    }

    async fn stream(
        &self,
        send: &mut SendStream<Bytes>,
        mut chunks: Chunks,
        within: Duration,
    ) -> Ended {
        loop {
            let chunk = tokio::select! {
                biased;
                // An agent that left ends the upstream's stream: the chunks have no taker any more.
                _gone = poll_fn(|cx| send.poll_reset(cx)) => return Ended::Answered,
                chunk = chunks.next() => chunk,
            };
            let (bytes, last) = match chunk {
                Some(Chunk::Bytes(bytes)) => (bytes, Last::No),
                Some(Chunk::End) => (Bytes::new(), Last::Yes),
                // No end is sent, so that the agent sees a body without one.
                None => {
                    send.send_reset(Reason::INTERNAL_ERROR);
                    return Ended::Answered;
                }
            };
            match (timeout(within, all(send, bytes, last)).await, last) {
                (Ok(Ok(())), Last::No) => {}
                (Ok(Ok(())), Last::Yes) => return Ended::Answered,
                (Ok(Err(_)), _) => return Ended::CutOff,
                (Err(_), _) => return cut(send, Reason::CANCEL),
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

/// Hands all of `bytes` over, as much at a time as the agent's window takes.
async fn all(send: &mut SendStream<Bytes>, mut bytes: Bytes, last: Last) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let room = match send.capacity() {
            0 => poll_fn(|cx| send.poll_capacity(cx)).await,
            room => Some(Ok(room)),
        };
        let Some(room) = room else { return Err(Reason::STREAM_CLOSED.into()) };
        let piece = bytes.split_to(room?.min(bytes.len()));
        let end = last == Last::Yes && bytes.is_empty();
        send.send_data(piece, end)?;
        if end {
            return Ok(());
        }
    }
    match last {
        Last::Yes => send.send_data(Bytes::new(), true),
        Last::No => Ok(()),
    }
}

fn cut(send: &mut SendStream<Bytes>, reason: Reason) -> Ended {
    send.send_reset(reason);
    Ended::CutOff
}

fn response(answer: &Answer, date: &Date) -> Option<Response<()>> {
    let status = StatusCode::from_u16(answer.status).ok()?;
    // An interim answer would leave the agent waiting for the real one.
    if status.is_informational() {
        return None;
    }
    let mut head = Response::new(());
    *head.status_mut() = status;
    let headers = head.headers_mut();
    if let Ok(now) = header::HeaderValue::from_bytes(&date.now()) {
        headers.insert(header::DATE, now);
    }
    for (name, value) in &answer.headers {
        if !is_framing(name) && !matches!(name.as_str(), "keep-alive" | "proxy-connection") {
            headers.append(name.clone(), value.clone());
        }
    }
    Some(head)
}

/// Lets the agent send as much again.
fn release(incoming: &mut RecvStream, size: usize) {
    // More than was received is never released.
    incoming.flow_control().release_capacity(size).unwrap_or_default();
}

/// Takes what still comes of a body that nobody wants, for a while, so that an agent that sends first
/// and reads then gets its answer; what is left is reset without blame (RFC 9113 s8.1).
async fn linger(incoming: &mut RecvStream) {
    let away = async {
        let mut left = LINGER_BYTES_MAX;
        while let Some(Ok(chunk)) = incoming.data().await {
            let size = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            let Some(less) = left.checked_sub(size) else { return };
            left = less;
            release(incoming, chunk.len());
        }
    };
    // However it ends, the stream ends.
    drop(timeout(LINGER, away).await);
}

fn bad(refusal: Refusal) -> NoBody {
    NoBody::Bad(Box::new(refusal))
}

fn gone(error: &h2::Error) -> NoBody {
    // A length that lies, among others: the transport saw the reset and put it on record.
    if error.is_library() { NoBody::Reset } else { NoBody::Gone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_does_not_leave() {
        let mut answer = crate::proxy::problem(&Refusal::undecidable("x"));
        for name in ["connection", "transfer-encoding", "keep-alive", "upgrade", "content-length"] {
            answer.headers.insert(name, header::HeaderValue::from_static("1"));
        }
        let date = Date::new(crate::clock::Clock::System);
        let names: Vec<_> = response(&answer, &date)
            .map(|head| head.headers().keys().map(ToString::to_string).collect())
            .unwrap_or_default();
        let kept = ["date", "content-type", "tollhouse-decision", "retry-after"];
        assert_eq!(names, kept);
        answer.status = 103;
        assert!(response(&answer, &date).is_none());
    }
}

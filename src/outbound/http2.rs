//! How does a call cross the network over HTTP/2? One stream, one answer, on a connection that many
//! reads share, or on one of its own.
//!
//! The same words as over HTTP/1.1: what certainly did not happen is told from what may have. Not
//! sent is only what never left, or what the other side proves that it did not process (RFC 9113 s6.8,
//! s8.7). A read whose connection was closed under it goes once more on a new one; nothing else is
//! ever sent twice.

mod head;
mod lane;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, StatusCode};
use pingora::connectors::TransportConnector;
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::lane::Lane;
use super::destination::Line;
use super::http1::INTERIM_MAX;
use super::network::CHUNKS_AHEAD;
use super::pump::{Source, Spans, pump};
use super::{Connection, Exchange, Outgoing, Reply, Stop, Stream, Upstream};
use crate::call::{Chunks, Ended};

pub(super) use self::lane::{Kept, Pool, offered};

/// The connection of an upstream that chose HTTP/1.1, and whether it was open already.
pub(super) struct One {
    pub(super) stream: pingora::protocols::Stream,
    pub(super) kept: Kept,
}

/// What came of trying.
pub(super) type Tried<T> = Result<T, One>;

/// Where a call goes, and how.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) connector: &'a Arc<TransportConnector>,
    pub(super) line: &'a Line,
    pub(super) to: &'a Upstream,
    pub(super) connection: Connection,
    pub(super) stop: Stop<'a>,
}

/// Why there is no answer.
enum Lost {
    /// The connection took no stream: no byte left.
    NotTaken(String),
    /// Something stopped it: no byte left, and the connection is as good as before.
    Stopped(String),
    /// Proved that the request was not processed.
    NotProcessed(String),
    /// The connection ended, or never was one.
    Closed(String),
    /// Something came that is no answer.
    Otherwise(String),
}

/// An answer whose body is still to come.
struct Begun {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
}

impl Pool {
    /// Sends `send` once and reads the whole answer.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        way: Way<'_>,
        send: &Outgoing,
    ) -> Tried<Exchange> {
        let mut lane = match self.open(way, send).await {
            Ok(lane) => lane,
            Err(Shut::NotSent(why)) => return Ok(Exchange::NotSent(why)),
            Err(Shut::Other(one)) => return Err(one),
        };
        let answer = way.to.answer;
        let whole = async {
            let mut begun = self.begin(way, send, &mut lane).await?;
            let body = begun.body.whole(way.to.answer_bytes_max).await.map_err(Lost::Otherwise)?;
            Ok(Reply { status: begun.status, headers: begun.headers, body })
        };
        let whole = timeout(answer, whole).await;
        Ok(match whole {
            Ok(Ok(reply)) => Exchange::Answered(reply),
            Ok(Err(Lost::NotTaken(why) | Lost::Stopped(why) | Lost::NotProcessed(why))) => {
                Exchange::NotSent(why)
            }
            Ok(Err(Lost::Closed(why) | Lost::Otherwise(why))) => Exchange::Unknown(why),
            Err(_) => {
                lane.retire();
                Exchange::Unknown(format!("no whole answer within {answer:?}"))
            }
        })
    }

    /// Sends `send` once and hands the answer on as it comes.
    pub(super) async fn exchange_stream(
        self: &Arc<Self>,
        way: Way<'_>,
        send: &Outgoing,
    ) -> Tried<Stream> {
        let mut lane = match self.open(way, send).await {
            Ok(lane) => lane,
            Err(Shut::NotSent(why)) => return Ok(Stream::NotSent(why)),
            Err(Shut::Other(one)) => return Err(one),
        };
        let answer = way.to.answer;
        let begun = match timeout(answer, self.begin(way, send, &mut lane)).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(Lost::NotTaken(why) | Lost::Stopped(why) | Lost::NotProcessed(why))) => {
                return Ok(Stream::NotSent(why));
            }
            Ok(Err(Lost::Closed(why) | Lost::Otherwise(why))) => return Ok(Stream::Unknown(why)),
            Err(_) => {
                lane.retire();
                return Ok(Stream::Unknown(format!("no head within {answer:?}")));
            }
        };
        let Begun { status, headers, mut body } = begun;
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (chunks, mut end) = Chunks::ending(receiver);
        let spans = Spans::of(way.to);
        tokio::spawn(async move {
            let ended = pump(&mut body, &sender, spans).await;
            // Silence may be the connection's, and the next call would meet it.
            if ended == Ended::Quiet {
                lane.retire();
            }
            end.says(ended);
            drop((sender, lane));
        });
        Ok(Stream::Answered(Reply { status, headers, body: Bytes::new() }, chunks))
    }

    /// A place on a connection. Nothing has been sent.
    async fn open(self: &Arc<Self>, way: Way<'_>, send: &Outgoing) -> Result<Lane, Shut> {
        head::request(send, way.to).map_err(Shut::NotSent)?;
        match way.connection {
            Connection::Fresh => {}
            Connection::Pooled => {
                if let Some(lane) = self.take().await {
                    return Ok(lane);
                }
                if let Some(stream) = lane::kept_one(way) {
                    return Err(Shut::Other(One { stream, kept: Kept::Before }));
                }
            }
        }
        Box::pin(self.dial(way)).await
    }

    /// Sends the request and reads the answer's head.
    async fn begin(
        self: &Arc<Self>,
        way: Way<'_>,
        send: &Outgoing,
        lane: &mut Lane,
    ) -> Result<Begun, Lost> {
        let lost = match converse(way, send, lane).await {
            Ok(begun) => return Ok(begun),
            Err(lost) => lost,
        };
        let again = match (&lost, lane.kept(), &send.method) {
            // It has not been sent once.
            (Lost::NotTaken(_), Kept::Before, _) => lane,
            // A read does nothing, once or twice.
            (
                Lost::Closed(_) | Lost::NotProcessed(_),
                Kept::Before,
                &Method::GET | &Method::HEAD,
            ) => lane,
            _ => return Err(lost),
        };
        again.retire();
        *again = match Box::pin(self.dial(way)).await {
            Ok(lane) => lane,
            // What became of the first is what is known.
            Err(Shut::NotSent(_) | Shut::Other(_)) => return Err(lost),
        };
        converse(way, send, again).await
    }
}

/// Why there is no place.
enum Shut {
    NotSent(String),
    /// The upstream chose HTTP/1.1.
    Other(One),
}

async fn converse(way: Way<'_>, send: &Outgoing, lane: &mut Lane) -> Result<Begun, Lost> {
    let request = head::request(send, way.to).map_err(Lost::NotTaken)?;
    // Connecting took a while.
    if let Some(why) = (way.stop)() {
        return Err(Lost::Stopped(why));
    }
    let unsent = |e: h2::Error| Lost::NotTaken(format!("the connection takes no stream: {e}"));
    let (response, stream) =
        lane.sender().send_request(request, send.body.is_empty()).map_err(unsent)?;
    let mut answering = Answering { response, interim: 0 };
    let mut upload = std::pin::pin!(upload(stream, send.body.clone()));
    let mut uploaded = send.body.is_empty();
    let answered = loop {
        tokio::select! {
            biased;
            answered = answering.head() => break answered,
            // Why it was not taken is what the answer says, or the reset that comes instead of one.
            _done = &mut upload, if !uploaded => uploaded = true,
        }
    };
    let response = answered.inspect_err(|lost| {
        if matches!(lost, Lost::Closed(_)) {
            lane.retire();
        }
    })?;
    let (parts, incoming) = response.into_parts();
    let headers = head::response(&parts.headers).map_err(Lost::Otherwise)?;
    Ok(Begun { status: parts.status.as_u16(), headers, body: Incoming { incoming } })
}

/// Sends the body as the other side takes it.
async fn upload(mut stream: SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = match stream.capacity() {
            0 => poll_fn(|cx| stream.poll_capacity(cx)).await,
            room => Some(Ok(room)),
        };
        let Some(room) = room else { return Err(Reason::STREAM_CLOSED.into()) };
        let piece = body.split_to(room?.min(body.len()));
        stream.send_data(piece, body.is_empty())?;
    }
    Ok(())
}

struct Answering {
    response: ResponseFuture,
    interim: usize,
}

impl Answering {
    /// The head of the real answer.
    async fn head(&mut self) -> Result<http::Response<RecvStream>, Lost> {
        poll_fn(|cx| {
            // An error is the answer's own, and told there.
            while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
                self.interim = self.interim.saturating_add(1);
                if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                    let why = "the upstream switched protocols unasked";
                    return Poll::Ready(Err(Lost::Otherwise(why.into())));
                }
                if self.interim > INTERIM_MAX {
                    let why = format!("more than {INTERIM_MAX} interim answers");
                    return Poll::Ready(Err(Lost::Otherwise(why)));
                }
            }
            Pin::new(&mut self.response).poll(cx).map_err(|e| {
                lost(&e, if self.interim == 0 { Seen::Nothing } else { Seen::Interim })
            })
        })
        .await
    }
}

/// What was seen of an answer before it was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Interim,
}

/// SECURITY: only the kind of error is told. Its text may hold bytes of the answer.
fn lost(error: &h2::Error, seen: Seen) -> Lost {
    let proof = error.is_remote() && seen == Seen::Nothing;
    // RFC 9113 s8.7: REFUSED_STREAM says that nothing was processed.
    if proof && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) {
        return Lost::NotProcessed("the upstream refused the stream unprocessed".to_owned());
    }
    // RFC 9113 s6.8: the library ends only those streams with a GOAWAY of the other side that are
    // above its last stream; the others go on, and end as they end. tests/proxy/upstream_http2.rs
    // holds it to that.
    if proof && error.is_go_away() {
        return Lost::NotProcessed("the upstream went away before this stream".to_owned());
    }
    match error.reason() {
        Some(reason) => Lost::Otherwise(format!("reading the head: {reason:?}")),
        None => Lost::Closed("reading the head: the connection ended".to_owned()),
    }
}

/// The body of an answer.
struct Incoming {
    incoming: RecvStream,
}

impl Source for Incoming {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            match self.incoming.data().await {
                // Trailers are not read.
                None => return Ok(None),
                Some(Ok(chunk)) => {
                    // More than was received is never released.
                    let flow = self.incoming.flow_control();
                    flow.release_capacity(chunk.len()).unwrap_or_default();
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
                // SECURITY: as above.
                Some(Err(e)) => {
                    return Err(format!("reading the body: {:?}", e.reason()));
                }
            }
        }
    }
}

impl Incoming {
    /// The whole body, within bounds. A single chunk is not copied again.
    async fn whole(&mut self, max: usize) -> Result<Bytes, String> {
        let (mut whole, mut parts) = (Bytes::new(), None::<BytesMut>);
        while let Some(chunk) = self.chunk().await? {
            let length = parts.as_ref().map_or(whole.len(), BytesMut::len);
            if chunk.len() > max.saturating_sub(length) {
                return Err(format!("the answer is larger than {max} bytes"));
            }
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
        }
        Ok(parts.map_or(whole, BytesMut::freeze))
    }
}

//! What happens on one connection? A head, a body, an answer, and again, until either side ends it.
//!
//! It never judges a request, and no request that was handed on ends with its connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{self, To};
use super::head::{self, Expects, Head, Length, Names};
use super::socket::Socket;
use super::{Bounds, Origin, Service};
use crate::call::Request;
use crate::refusal::{Code, Refusal};

// BOUND: most heads fit, and an idle connection holds no more.
const HEAD_ROOM: usize = 2 << 10;
// BOUND: what is read away after a refusal, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 4 << 20;

// pingora's name for it, which it does not export; tests/proxy.rs holds it to that.
const INVALID_CHUNK: &str = "InvalidChunk";

/// All that the connections of one listener share.
pub(super) struct Door {
    pub(super) service: Service,
    pub(super) bounds: Bounds,
    pub(super) hosts: Names,
    pub(super) listener: usize,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Serves one connection to its end.
pub(super) async fn serve(door: Arc<Door>, tcp: TcpStream, peer: IpAddr) {
    // Without it an answer is late, not wrong.
    tcp.set_nodelay(true).unwrap_or_default();
    let origin = Origin { listener: door.listener, peer };
    let mut stream: Stream = Box::new(Socket::new(tcp));
    loop {
        let mut bytes = BytesMut::with_capacity(HEAD_ROOM);
        let kept = match door.next(&mut stream, &mut bytes).await {
            Came::Nothing => None,
            Came::Head(end) => door.call(stream, bytes, end, origin).await,
            Came::Bad(refusal) => {
                let session = Box::new(ServerSession::new_http1(stream));
                Box::pin(door.turn_back(session, *refusal, origin)).await;
                None
            }
        };
        match kept {
            Some(kept) => stream = kept,
            None => return,
        }
    }
}

/// What came on a connection that waits for a request.
enum Came {
    /// Nothing, and nothing will.
    Nothing,
    /// A head that is so long; perhaps more after it.
    Head(usize),
    /// Bytes that become no head.
    Bad(Box<Refusal>),
}

/// Why there is no body.
enum NoBody {
    /// The agent is gone.
    Gone,
    /// It is turned back.
    Bad(Box<Refusal>),
}

impl Door {
    async fn next(&self, stream: &mut Stream, bytes: &mut BytesMut) -> Came {
        let first = tokio::select! {
            // A request that is here already is answered before the stop is looked at.
            biased;
            first = timeout(self.bounds.idle, stream.read_buf(bytes)) => first,
            () = self.stop.cancelled() => return Came::Nothing,
        };
        match first {
            Ok(Ok(1..)) => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return Came::Nothing,
        }
        match timeout(self.bounds.head, rest(stream, bytes)).await {
            Ok(came) => came,
            Err(_) => Came::Bad(Box::new(too_slow("head", self.bounds.head))),
        }
    }

    /// Answers the request whose head is the first `end` of `bytes`; gives the connection back when
    /// it can carry another.
    async fn call(
        self: &Arc<Self>,
        stream: Stream,
        bytes: BytesMut,
        end: usize,
        origin: Origin,
    ) -> Option<Stream> {
        let read = head::read(bytes.get(..end).unwrap_or_default(), &self.hosts);
        let mut session = Box::new(ServerSession::new_http1(stream));
        // Times are kept here, over the whole of each part; pingora's are per read.
        session.set_read_timeout(None);
        // What was read so far is pingora's to parse: head, and as much of the body as came along.
        session.set_pipelined_prefix(bytes);
        let come = match read {
            Err(refusal) => Err(bad(refusal)),
            Ok(head) => match session.read_request().await {
                Ok(true) => self.body(&mut session, &head).await.map(|body| (head, body)),
                Ok(false) => Err(NoBody::Gone),
                Err(_) => Err(bad(Refusal::malformed("head", "expected an HTTP/1.1 request"))),
            },
        };
        let (head, body) = match come {
            Ok(come) => come,
            Err(NoBody::Gone) => return None,
            Err(NoBody::Bad(refusal)) => {
                Box::pin(self.turn_back(session, *refusal, origin)).await;
                return None;
            }
        };
        let request = Request {
            listener: origin.listener,
            method: session.req_header().method.clone(),
            target: head.target,
            headers: session.req_header().headers.clone(),
            body,
            peer: Some(origin.peer),
        };
        self.answer(session, request, origin).await
    }

    async fn body(&self, session: &mut ServerSession, head: &Head) -> Result<Bytes, NoBody> {
        let max = self.bounds.body_bytes_max;
        match head.length {
            Length::None | Length::Bytes(0) => return Ok(Bytes::new()),
            Length::Bytes(stated) if usize::try_from(stated).is_ok_and(|n| n <= max) => {}
            // Before a word is said to an agent that waits for it.
            Length::Bytes(_) => return Err(too_large()),
            Length::Chunked => {}
        }
        let read = async {
            if head.expects == Expects::Continue {
                session.write_continue_response().await.map_err(|_| NoBody::Gone)?;
            }
            whole_body(session, max).await
        };
        match timeout(self.bounds.body, read).await {
            Ok(read) => read,
            Err(_) => Err(bad(too_slow("body", self.bounds.body))),
        }
    }

    /// Hands the request on and writes what comes back.
    async fn answer(
        self: &Arc<Self>,
        mut session: Box<ServerSession>,
        request: Request,
        origin: Origin,
    ) -> Option<Stream> {
        let method = request.method.clone();
        // INVARIANT: a task of its own, and tracked: an agent that goes away cancels nothing, and
        // the server does not end before it.
        let task = self.tasks.spawn((self.service.handle)(request));
        let answer = match task.await {
            Ok(answer) => answer,
            Err(_) => (self.service.turn_back)(interrupted(&method), origin),
        };
        if self.stop.is_cancelled() {
            session.set_keepalive(None);
        }
        let to = To::method(&method);
        answer::write(&mut session, answer, to, self.bounds.write).await.ok()?;
        let ServerSession::H1(session) = *session else { return None };
        let kept = Box::pin(session.reuse()).await.ok().flatten()?;
        let (stream, _none_with_pipelining_off) = kept.into_parts();
        Some(stream)
    }

    /// Answers what is turned back, and ends the connection: where the next request begins on it is
    /// not known.
    async fn turn_back(&self, mut session: Box<ServerSession>, refusal: Refusal, origin: Origin) {
        let answer = (self.service.turn_back)(refusal, origin);
        session.set_keepalive(None);
        let written = answer::write(&mut session, answer, To::Other, self.bounds.write).await;
        let ServerSession::H1(session) = *session else { return };
        if written.is_ok() {
            linger(session.into_inner()).await;
        }
    }
}

/// Reads until the head is whole.
async fn rest(stream: &mut Stream, bytes: &mut BytesMut) -> Came {
    let mut seen = 0;
    loop {
        match head::end(bytes, seen) {
            Err(refusal) => return Came::Bad(Box::new(refusal)),
            Ok(Some(end)) => return Came::Head(end),
            Ok(None) => seen = bytes.len(),
        }
        match stream.read_buf(bytes).await {
            Ok(1..) => {}
            Ok(_) | Err(_) => return Came::Nothing,
        }
    }
}

/// The whole body; a single chunk is not copied again.
async fn whole_body(session: &mut ServerSession, max: usize) -> Result<Bytes, NoBody> {
    let mut whole = Bytes::new();
    let mut parts: Option<BytesMut> = None;
    loop {
        let chunk = match session.read_request_body().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(parts.map_or(whole, BytesMut::freeze)),
            Err(e) if e.etype().as_str() == INVALID_CHUNK => {
                return Err(bad(Refusal::malformed("body", "expected chunks")));
            }
            Err(_) => return Err(NoBody::Gone),
        };
        let length = parts.as_ref().map_or(whole.len(), BytesMut::len);
        if chunk.len() > max.saturating_sub(length) {
            return Err(too_large());
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
}

/// Says that no more comes, and reads away what still does: a socket that is closed with bytes unread
/// resets, and the agent loses the answer (RFC 9112 s9.6).
async fn linger(mut stream: Stream) {
    let away = async {
        AsyncWriteExt::shutdown(&mut stream).await?;
        let mut rest = (&mut stream).take(LINGER_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // However it ends, the connection ends.
    drop(timeout(LINGER, away).await);
}

fn too_large() -> NoBody {
    bad(Refusal::new(Code::TooLarge, "The body is too large. Nothing was sent."))
}

fn bad(refusal: Refusal) -> NoBody {
    NoBody::Bad(Box::new(refusal))
}

fn too_slow(part: &str, within: Duration) -> Refusal {
    let detail = format!("The {part} did not come within {within:?}. Nothing was sent.");
    Refusal::new(Code::TooSlow, detail)
}

/// The task that judged the request broke off. What it had sent by then is not known.
fn interrupted(method: &Method) -> Refusal {
    let why = "the task that handled the request ended early";
    if matches!(*method, Method::GET | Method::HEAD) {
        return Refusal::undecidable(why);
    }
    let detail = "It is not known whether this happened. It may have. Do not send it again in any \
                  form, do not say that it is done or failed.";
    Refusal::new(Code::OutcomeUnknown, detail).because(why)
}

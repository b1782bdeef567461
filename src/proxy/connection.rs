//! What happens on one connection? A head, a body, an answer, and again, until either side ends it.
//!
//! It never judges a request, and no request that was handed on ends with its connection.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{self, Framing, To};
use super::date::Date;
use super::head::{self, Expects, Head, Length, Names, Then};
use super::stream::Stream;
use super::tls::Tls;
use super::{Bounds, Origin, Service, http2};
use crate::call::{Answer, Body, Request};
use crate::framing::{Chunked, Piece};
use crate::refusal::{Code, Refusal};

// BOUND: most heads fit, and an idle connection holds no more.
const HEAD_ROOM: usize = 2 << 10;
// BOUND: what is made ready for a body at once, so that who only promises one takes little.
const BODY_ROOM: usize = 64 << 10;
// BOUND: a request follows its connection within a round trip; nobody stops later for who only connects.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
// BOUND: what is read away after a refusal, so that the answer is not lost to a reset.
pub(super) const LINGER: Duration = Duration::from_secs(2);
pub(super) const LINGER_BYTES_MAX: u64 = 4 << 20;

/// All that the connections of one listener share.
pub(super) struct Door {
    pub(super) service: Service,
    pub(super) bounds: Bounds,
    pub(super) hosts: Names,
    pub(super) listener: usize,
    pub(super) stop: CancellationToken,
    /// What has no end of its own ends now.
    pub(super) cut: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) date: Date,
    /// Places for streams, of all connections of all listeners.
    pub(super) streams: Arc<Semaphore>,
    /// What it speaks TLS with.
    pub(super) tls: Option<Arc<Tls>>,
}

/// A connection, and what was read off it and not taken yet.
struct Line {
    stream: Stream,
    bytes: BytesMut,
}

/// Serves one connection to its end.
///
/// INVARIANT: nothing ends this task from outside, and the server waits for it: an agent that goes
/// away cancels nothing that was begun.
pub(super) async fn serve(door: Arc<Door>, stream: Stream, peer: IpAddr) {
    let origin = Origin { listener: door.listener, peer };
    let mut line = Line { stream, bytes: BytesMut::new() };
    let mut turn = Turn::First;
    loop {
        let then = match door.next(&mut line, turn).await {
            Came::Nothing => return,
            Came::Head(_) if turn == Turn::First && line.bytes.starts_with(http2::PREFACE_HEAD) => {
                return Box::pin(http2::serve(door, line.stream, line.bytes, origin)).await;
            }
            Came::Head(end) => door.call(&mut line, end, origin).await,
            Came::Bad(refusal) => Err(NoRequest::Bad(refusal)),
        };
        match then {
            Ok(Then::Keep) => turn = Turn::Later,
            Ok(Then::Close) | Err(NoRequest::Gone) => return,
            Err(NoRequest::Bad(refusal)) => {
                return Box::pin(door.turn_back(line, *refusal, origin)).await;
            }
        }
    }
}

/// Which request of a connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Later,
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

/// Why there is no request.
enum NoRequest {
    /// The agent is gone.
    Gone,
    /// It is turned back.
    Bad(Box<Refusal>),
}

impl Door {
    async fn next(&self, line: &mut Line, turn: Turn) -> Came {
        line.bytes.reserve(HEAD_ROOM);
        let first = tokio::select! {
            // A request that is here already is answered before the stop is looked at.
            biased;
            first = timeout(self.bounds.idle, line.stream.read_buf(&mut line.bytes)) => first,
            () = self.stopped(turn) => return Came::Nothing,
        };
        match first {
            Ok(Ok(1..)) => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return Came::Nothing,
        }
        match head::end(&line.bytes, 0) {
            Err(refusal) => Came::Bad(Box::new(refusal)),
            Ok(Some(end)) => Came::Head(end),
            Ok(None) => Box::pin(self.rest(line)).await,
        }
    }

    /// No request is waited for any more.
    pub(super) async fn stopped(&self, turn: Turn) {
        self.stop.cancelled().await;
        if turn == Turn::First {
            // Whoever connected in time did so to ask something: it may be on its way.
            tokio::time::sleep(FIRST_WITHIN).await;
        }
    }

    /// Reads until the head is whole.
    async fn rest(&self, line: &mut Line) -> Came {
        let rest = async {
            loop {
                let seen = line.bytes.len();
                match line.stream.read_buf(&mut line.bytes).await {
                    Ok(1..) => {}
                    Ok(_) | Err(_) => return Came::Nothing,
                }
                match head::end(&line.bytes, seen) {
                    Err(refusal) => return Came::Bad(Box::new(refusal)),
                    Ok(Some(end)) => return Came::Head(end),
                    Ok(None) => {}
                }
            }
        };
        match timeout(self.bounds.head, rest).await {
            Ok(came) => came,
            Err(_) => Came::Bad(Box::new(too_slow("head", self.bounds.head))),
        }
    }

    /// Answers the request whose head is the first `end` bytes read.
    async fn call(&self, line: &mut Line, end: usize, origin: Origin) -> Result<Then, NoRequest> {
        let head = line.bytes.split_to(end).freeze();
        let head = head::read(&head, &self.hosts).map_err(bad)?;
        let body = match head.length {
            Length::None | Length::Bytes(0) => Bytes::new(),
            Length::Bytes(_) | Length::Chunked => Box::pin(self.body(line, &head)).await?,
        };
        // What came behind a request could be a second one, or the rest of a body that was cut in
        // another place by somebody on the way: it is not read (RFC 9112 s11.2).
        let alone = line.bytes.is_empty();
        let to = To::method(&head.method);
        let request = Request {
            listener: origin.listener,
            method: head.method,
            target: head.target,
            headers: head.headers,
            body,
            peer: Some(origin.peer),
        };
        let answer = self.answer(request, origin).await;
        let keep = head.then == Then::Keep && alone && !self.stop.is_cancelled();
        let then = if keep { Then::Keep } else { Then::Close };
        let framing = Framing { to, then, within: self.bounds.write, date: &self.date };
        answer::write(&mut line.stream, answer, framing).await.map_err(|_| NoRequest::Gone)?;
        Ok(then)
    }

    async fn body(&self, line: &mut Line, head: &Head) -> Result<Bytes, NoRequest> {
        let max = self.bounds.body_bytes_max;
        let stated = match head.length {
            Length::None => return Ok(Bytes::new()),
            Length::Chunked => None,
            // Before a word is said to an agent that waits for it.
            Length::Bytes(stated) => {
                let fits = usize::try_from(stated).ok().filter(|stated| *stated <= max);
                Some(fits.ok_or_else(too_large)?)
            }
        };
        let read = async {
            if head.expects == Expects::Continue {
                let word = b"HTTP/1.1 100 Continue\r\n\r\n";
                line.stream.write_all(word).await.map_err(|_| NoRequest::Gone)?;
            }
            match stated {
                Some(length) => line.of_length(length).await,
                None => line.in_chunks(max).await,
            }
        };
        match timeout(self.bounds.body, read).await {
            Ok(read) => read,
            Err(_) => Err(bad(too_slow("body", self.bounds.body))),
        }
    }

    /// Hands the request on. A panic of whoever handles it ends the call, not the process.
    pub(super) async fn answer(&self, request: Request, origin: Origin) -> Answer {
        let method = matches!(request.method, Method::GET | Method::HEAD);
        let mut answer = match AssertUnwindSafe((self.service.handle)(request)).catch_unwind().await
        {
            Ok(answer) => answer,
            Err(_) if method => (self.service.turn_back)(Refusal::undecidable(BROKE_OFF), origin),
            Err(_) => (self.service.turn_back)(interrupted(), origin),
        };
        if let Body::Stream(chunks) = &mut answer.body {
            chunks.until(self.cut.clone());
        }
        answer
    }

    /// Answers what is turned back, and ends the connection: where the next request begins on it is
    /// not known.
    async fn turn_back(&self, mut line: Line, refusal: Refusal, origin: Origin) {
        let answer = (self.service.turn_back)(refusal, origin);
        let framing = Framing {
            to: To::Other,
            then: Then::Close,
            within: self.bounds.write,
            date: &self.date,
        };
        if answer::write(&mut line.stream, answer, framing).await.is_ok() {
            linger(line.stream).await;
        }
    }
}

impl Line {
    /// A body of so many bytes.
    async fn of_length(&mut self, length: usize) -> Result<Bytes, NoRequest> {
        while self.bytes.len() < length {
            let missing = length.saturating_sub(self.bytes.len());
            self.more(missing.min(BODY_ROOM)).await?;
        }
        Ok(self.bytes.split_to(length).freeze())
    }

    /// A body in chunks, of `max` bytes at most.
    async fn in_chunks(&mut self, max: usize) -> Result<Bytes, NoRequest> {
        let mut chunked = Chunked::default();
        let mut whole = BytesMut::new();
        loop {
            let piece = chunked.next(&mut self.bytes);
            match piece.map_err(|expected| bad(Refusal::malformed("body", expected)))? {
                Piece::Data(data) if data.len() > max.saturating_sub(whole.len()) => {
                    return Err(too_large());
                }
                Piece::Data(data) => whole.extend_from_slice(&data),
                Piece::More => self.more(HEAD_ROOM).await?,
                Piece::End => return Ok(whole.freeze()),
            }
        }
    }

    async fn more(&mut self, room: usize) -> Result<(), NoRequest> {
        self.bytes.reserve(room);
        match self.stream.read_buf(&mut self.bytes).await {
            Ok(1..) => Ok(()),
            Ok(_) | Err(_) => Err(NoRequest::Gone),
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

fn too_large() -> NoRequest {
    bad(large_body())
}

pub(super) fn large_body() -> Refusal {
    Refusal::new(Code::TooLarge, "The body is too large. Nothing was sent.")
}

fn bad(refusal: Refusal) -> NoRequest {
    NoRequest::Bad(Box::new(refusal))
}

pub(super) fn too_slow(part: &str, within: Duration) -> Refusal {
    let detail = format!("The {part} did not come within {within:?}. Nothing was sent.");
    Refusal::new(Code::TooSlow, detail)
}

const BROKE_OFF: &str = "what handled the request broke off";

/// What was sent until it broke off is not known.
fn interrupted() -> Refusal {
    let detail = "It is not known whether this happened. It may have. Do not send it again in any \
                  form, do not say that it is done or failed.";
    Refusal::new(Code::OutcomeUnknown, detail).because(BROKE_OFF)
}

//! What passes on an agent's connection that speaks HTTP/2? Each frame is counted on its way, before
//! the library does anything for it.
//!
//! It ends a connection that floods, stalls, or leaves a head open for too long; it never reads what
//! a request says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::frames::{Frame, Frames, Kind};

// RFC 9113 s3.4.
const PREFACE: usize = 24;
// BOUND: frames that ask for work and carry nothing (pings, settings, priorities, resets, empty data;
// CVE-2019-9511 to 9518). An agent sends a window update for some KiB that it read, and a few more a
// request; both earn new ones.
const IDLE_FRAMES_MAX: u32 = 1_000;
const EARNED_BY_REQUEST: u32 = 16;
// BOUND: some agents open both windows for every frame of an answer, however small, some for every
// few KiB of a large one.
const EARNED_BY_DATA: u32 = 2;
const BYTES_A_FRAME: usize = 256;
// RFC 9113 s7.
const PROTOCOL_ERROR: u32 = 1;

/// What is wrong with what the agent sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A stream that is no request; the library reset it.
    NoRequest,
    /// A head larger than what is read at all; the library answered 431.
    LargeHead,
    /// Frames without end that carry nothing.
    Flood,
    /// A head that was begun and not ended.
    SlowHead,
}

/// How long the agent may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From a head's first byte to its last.
    pub(super) head: Duration,
    /// For the other side to take bytes.
    pub(super) write: Duration,
}

/// A connection and what is known of it.
pub(super) struct Transport<S, F> {
    stream: S,
    /// Read before anyone knew what the connection speaks.
    first: Bytes,
    patience: Patience,
    incoming: Frames,
    outgoing: Frames,
    /// Frames that may still come without carrying anything.
    allowed: u32,
    /// Bytes written that earned nothing yet.
    written: usize,
    /// The last frame of a head says that another follows.
    goes_on: bool,
    /// Runs while a head is open.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while the other side takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Heads that are a whole answer, by us and not written yet.
    bodiless: Arc<AtomicUsize>,
    tell: F,
}

impl<S, F: Fn(Fault)> Transport<S, F> {
    /// `bodiless` counts the answers of ours that are only a head; another one that goes by is the
    /// library's own.
    pub(super) fn new(
        stream: S,
        first: Bytes,
        patience: Patience,
        (bodiless, tell): (Arc<AtomicUsize>, F),
    ) -> Self {
        Self {
            stream,
            first,
            patience,
            incoming: Frames::after(PREFACE),
            outgoing: Frames::after(0),
            allowed: IDLE_FRAMES_MAX,
            written: 0,
            goes_on: false,
            head: None,
            stalled: None,
            bodiless,
            tell,
        }
    }

    /// Counts what came; an error ends the connection.
    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut spent, mut earned, mut goes_on) = (0_u32, 0_u32, self.goes_on);
        self.incoming.take(bytes, |frame| {
            match frame.kind {
                Kind::Headers => earned = earned.saturating_add(EARNED_BY_REQUEST),
                Kind::Data if frame.length > 0 => {}
                Kind::Data | Kind::Reset | Kind::Continuation | Kind::Other => {
                    spent = spent.saturating_add(1);
                }
            }
            if matches!(frame.kind, Kind::Headers | Kind::Continuation) {
                goes_on = !frame.ends_headers;
            }
        });
        self.goes_on = goes_on;
        let open = goes_on || self.incoming.is_inside_head();
        match (open, self.head.is_some()) {
            (true, false) => self.head = Some(Box::pin(tokio::time::sleep(self.patience.head))),
            (true, true) => {}
            (false, _) => self.head = None,
        }
        self.allowed = self.allowed.saturating_add(earned).min(IDLE_FRAMES_MAX);
        match self.allowed.checked_sub(spent) {
            Some(left) => {
                self.allowed = left;
                Ok(())
            }
            None => Err(self.end(Fault::Flood)),
        }
    }

    fn end(&self, fault: Fault) -> io::Error {
        (self.tell)(fault);
        io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was ended here")
    }

    /// Sees what the library says of streams that never became a request.
    fn went(&mut self, bytes: &[u8]) {
        self.written = self.written.saturating_add(bytes.len());
        let earned = self.written.checked_div(BYTES_A_FRAME).unwrap_or(0);
        self.written = self.written.checked_rem(BYTES_A_FRAME).unwrap_or(0);
        let mut earned = u32::try_from(earned).unwrap_or(u32::MAX);
        let (tell, bodiless) = (&self.tell, &self.bodiless);
        let ours = || {
            let less = |left: usize| left.checked_sub(1);
            bodiless.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        };
        self.outgoing.take(bytes, |frame: Frame| {
            if frame.kind == Kind::Data {
                earned = earned.saturating_add(EARNED_BY_DATA);
            }
            // Nobody but the library resets with this; here it is CANCEL or NO_ERROR.
            if frame.kind == Kind::Reset && frame.word == PROTOCOL_ERROR {
                tell(Fault::NoRequest);
            }
            // It answers so to a head above its bound.
            if frame.ends_stream && !ours() {
                tell(Fault::LargeHead);
            }
        });
        self.allowed = self.allowed.saturating_add(earned).min(IDLE_FRAMES_MAX);
    }

    /// Times how long the other side takes nothing.
    fn taken<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let write = self.patience.write;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(write)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin, F: Fn(Fault) + Unpin> AsyncRead for Transport<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = if this.first.is_empty() {
            Pin::new(&mut this.stream).poll_read(cx, buf)
        } else {
            let size = this.first.len().min(buf.remaining());
            buf.put_slice(this.first.get(..size).unwrap_or_default());
            this.first.advance(size);
            Poll::Ready(Ok(()))
        };
        if matches!(read, Poll::Ready(Ok(()))) {
            let came = buf.filled().get(before..).unwrap_or_default();
            this.came(came)?;
        }
        // Looked at however much comes: a trickle must not count as progress.
        if let Some(timer) = &mut this.head
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(this.end(Fault::SlowHead)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, F: Fn(Fault) + Unpin> AsyncWrite for Transport<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(size)) = &written {
            this.went(buf.get(..*size).unwrap_or_default());
        }
        this.taken(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.taken(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.taken(cx, shut)
    }
}

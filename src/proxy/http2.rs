//! What happens on a connection that speaks HTTP/2? Streams come, each one whole bounded request and
//! one answer, side by side, until either side ends it.
//!
//! The h2 library frames; everything it leaves open is bounded here: how much may be held for one
//! connection, how long each part may take, how much may be asked for without asking anything. It
//! never judges a request, and no request that was handed on ends with its stream or its connection.

mod frames;
mod head;
mod stream;
mod transport;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use self::transport::{Fault, Patience, Transport};
use super::Origin;
use super::connection::{Door, too_slow};
use super::head::{malformed, too_large};
use crate::refusal::Refusal;

/// The first lines of a connection that speaks HTTP/2 from the start (RFC 9113 s3.4): a head, to
/// whoever reads for one. The rest of the preface comes after it.
pub(super) const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

// BOUND: RFC 9113 s6.5.2 asks for 100 at least. What is beyond is refused by the library.
const STREAMS_MAX: u32 = 100;
// BOUND: what one stream may send before anybody takes it; most bodies fit.
pub(super) const STREAM_WINDOW: u32 = 64 << 10;
// BOUND: so that no stream's window waits for another's: STREAMS_MAX windows.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
// BOUND: bodies larger than a window that one connection may have in hand: with the windows above
// some 15 MiB.
const LARGE_BODIES_MAX: usize = 8;
// BOUND: answers wait in the library up to this, a stream; the rest waits here.
const SEND_BUFFER_MAX: usize = 64 << 10;
// BOUND: the library answers 431 above it; above ours, which is less, we do and say so. It counts 32
// bytes a line besides (RFC 9113 s6.5.2).
const HEADER_LIST_MAX: u32 = 64 << 10;
const FRAME_MAX: u32 = 16 << 10;
// BOUND: streams that are taken back before anyone looked (CVE-2023-44487), and streams that were no
// request: a client that errs does it a few times, then it is one that floods.
const TAKEN_BACK_MAX: usize = 20;
const NO_REQUEST_MAX: usize = 32;
// BOUND: answers that the agent cut off or never let go: one that gives up on so many floods.
const CUT_OFF_MAX: usize = 200;
// BOUND: at the end, for an agent to say that it has heard.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the streams of one connection share.
pub(super) struct Shared {
    pub(super) door: Arc<Door>,
    pub(super) origin: Origin,
    pub(super) large_bodies: Arc<Semaphore>,
    /// Answers that are only a head and not written yet.
    bodiless: Arc<AtomicUsize>,
    cut_off: AtomicUsize,
    active: AtomicUsize,
    ended: Notify,
}

/// Serves one connection to its end; `first` is what was read of it so far.
pub(super) async fn serve<S>(door: Arc<Door>, stream: S, first: BytesMut, origin: Origin)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = Patience { head: door.bounds.head, write: door.bounds.write };
    let teller = Arc::clone(&door);
    let tell = move |fault| tell(&teller, fault, origin);
    let bodiless = Arc::<AtomicUsize>::default();
    let about = (Arc::clone(&bodiless), tell);
    let transport = Transport::new(stream, first.freeze(), patience, about);
    let shaken = timeout(door.bounds.head, settings().handshake::<_, Bytes>(transport)).await;
    let mut connection = match shaken {
        Ok(Ok(connection)) => connection,
        Ok(Err(e)) if e.is_io() => return,
        Ok(Err(_)) => return door.record(malformed("preface", "the one of HTTP/2"), origin),
        Err(_) => return door.record(too_slow("preface", door.bounds.head), origin),
    };
    let shared = Arc::new(Shared {
        door,
        origin,
        large_bodies: Arc::new(Semaphore::new(LARGE_BODIES_MAX)),
        bodiless,
        cut_off: AtomicUsize::new(0),
        active: AtomicUsize::new(0),
        ended: Notify::new(),
    });
    if let Err(e) = shared.accept(&mut connection).await
        && e.is_go_away()
        && e.is_library()
    {
        shared.door.record(malformed("frames", "HTTP/2, in bounds"), origin);
    }
}

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_frame_size(FRAME_MAX)
        .max_pending_accept_reset_streams(TAKEN_BACK_MAX)
        .max_local_error_reset_streams(Some(NO_REQUEST_MAX));
    settings
}

fn tell(door: &Door, fault: Fault, origin: Origin) {
    let refusal = match fault {
        Fault::NoRequest => malformed("stream", "one HTTP/2 request"),
        Fault::LargeHead => too_large("head"),
        Fault::Flood => malformed("frames", "some that carry a request"),
        Fault::SlowHead => too_slow("head", door.bounds.head),
    };
    door.record(refusal, origin);
}

impl Door {
    /// Puts on record what cannot be answered.
    fn record(&self, refusal: Refusal, origin: Origin) {
        drop((self.service.turn_back)(refusal, origin));
    }
}

impl Shared {
    /// Takes streams until the connection ends.
    async fn accept<S>(
        self: &Arc<Self>,
        connection: &mut Connection<S, Bytes>,
    ) -> Result<(), h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // SECURITY: a stream that was reset is over for the agent, its call is not; so it is these
        // places that bound what one connection keeps going, not the library's count (CVE-2023-44487).
        let places = Arc::new(Semaphore::new(usize::try_from(STREAMS_MAX).unwrap_or(1)));
        let mut leaving = Leaving::No;
        loop {
            let place = tokio::select! {
                biased;
                place = self.place(&places) => place,
                ended = poll_fn(|cx| connection.poll_closed(cx)) => return ended,
            };
            let accepted = tokio::select! {
                biased;
                () = self.door.stop.cancelled(), if leaving == Leaving::No => {
                    connection.graceful_shutdown();
                    leaving = Leaving::Yes;
                    continue;
                }
                accepted = connection.accept() => accepted,
                () = self.idle(leaving) => match leaving {
                    Leaving::No => {
                        connection.graceful_shutdown();
                        leaving = Leaving::Yes;
                        continue;
                    }
                    // The last of an answer is still on its way; the transport times that.
                    Leaving::Yes if connection.has_streams() => continue,
                    // Whoever does not answer a farewell is gone.
                    Leaving::Yes => return Ok(()),
                },
            };
            let (request, respond) = match accepted {
                None => return Ok(()),
                Some(Err(e)) => return Err(e),
                Some(Ok(stream)) => stream,
            };
            if self.cut_off.load(Ordering::Relaxed) > CUT_OFF_MAX {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                self.door.record(malformed("streams", "answers that are read"), self.origin);
                continue;
            }
            self.spawn(request, respond, place);
        }
    }

    /// A place on this connection, and one of all that connections together have.
    async fn place(&self, own: &Arc<Semaphore>) -> Place {
        let own = Arc::clone(own).acquire_owned().await;
        (own, Arc::clone(&self.door.streams).acquire_owned().await)
    }

    fn spawn(
        self: &Arc<Self>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        place: Place,
    ) {
        let shared = Arc::clone(self);
        self.active.fetch_add(1, Ordering::Relaxed);
        self.door.tasks.spawn(async move {
            let ended = Box::pin(stream::serve(&shared, request, respond)).await;
            if ended == stream::Ended::CutOff {
                shared.cut_off.fetch_add(1, Ordering::Relaxed);
            }
            drop(place);
            shared.active.fetch_sub(1, Ordering::Relaxed);
            shared.ended.notify_one();
        });
    }

    /// Ends when nothing was going on for as long as that may be.
    async fn idle(&self, leaving: Leaving) {
        while self.active.load(Ordering::Relaxed) > 0 {
            self.ended.notified().await;
        }
        let span = match leaving {
            Leaving::No => self.door.bounds.idle,
            Leaving::Yes => FAREWELL.min(self.door.bounds.idle),
        };
        tokio::time::sleep(span).await;
    }
}

type Place = (Acquired, Acquired);
// The semaphores are never closed.
type Acquired = Result<OwnedSemaphorePermit, AcquireError>;

/// Whether the agent was told that no stream is taken any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    Yes,
}

//! Which connection does a stream go on? One that is open and not full, or a new one.
//!
//! A connection that showed anything odd takes no new stream; one that nobody uses is closed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use parking_lot::Mutex;
use pingora::protocols::{ALPN, Stream};
use tokio::time::timeout;

use super::{One, Shut, Way};
use crate::outbound::network::dial;
use crate::outbound::{Connection as Wanted, Http, Scheme};

// BOUND: calls at once on one connection; the other side may allow fewer.
const STREAMS_MAX: usize = 64;
// BOUND: connections kept for one upstream; beyond them each is used once.
const KEPT_MAX: usize = 16;
// BOUND: what one answer may send ahead of its reader; a slow one keeps no more than that.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;
// BOUND: an answer's head, in bytes, 32 a line besides (RFC 9113 s6.5.2).
const HEADER_LIST_MAX: u32 = 64 << 10;

/// The connections of one upstream.
#[derive(Debug, Default)]
pub(in crate::outbound) struct Pool(Mutex<Vec<Open>>);

/// Whether a connection was open before this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::outbound) enum Kept {
    Before,
    New,
}

/// A connection in the pool.
#[derive(Debug)]
struct Open {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    active: AtomicUsize,
    /// Streams that were ever begun.
    begun: AtomicUsize,
    retired: AtomicBool,
}

/// A place on a connection, for one stream.
#[derive(Debug)]
pub(super) struct Lane {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
    kept: Kept,
}

impl Lane {
    fn new(sender: SendRequest<Bytes>, state: Arc<State>, kept: Kept) -> Self {
        state.active.fetch_add(1, Ordering::Relaxed);
        state.begun.fetch_add(1, Ordering::Relaxed);
        Self { sender, state, kept }
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.sender
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept
    }

    /// Nobody else takes this connection.
    pub(super) fn retire(&self) {
        self.state.retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.state.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// A place on a connection that is open, not full and not known to be dead.
    pub(super) async fn take(&self) -> Option<Lane> {
        loop {
            let lane = self.free()?;
            let Lane { sender, .. } = &lane;
            // A connection that is closed says so here; nothing was sent.
            match sender.clone().ready().await {
                Ok(_) => return Some(lane),
                Err(_) => lane.retire(),
            }
        }
    }

    fn free(&self) -> Option<Lane> {
        let mut open = self.0.lock();
        open.retain(|one| !one.state.retired.load(Ordering::Relaxed));
        let free = |one: &&Open| {
            let room = one.sender.current_max_send_streams().min(STREAMS_MAX);
            one.state.active.load(Ordering::Relaxed) < room
        };
        let one = open.iter().find(free)?;
        Some(Lane::new(one.sender.clone(), Arc::clone(&one.state), Kept::Before))
    }

    /// A new connection, kept for others unless it is to be this call's own.
    pub(super) async fn dial(self: &Arc<Self>, way: Way<'_>) -> Result<Lane, Shut> {
        let within = way.to.connect;
        let stream = dial(way.connector, way.line, within).await.map_err(Shut::NotSent)?;
        let chosen = stream.selected_alpn_proto();
        match (way.to.http, way.to.url.scheme(), chosen) {
            (Http::Two | Http::Auto, Scheme::Https, Some(ALPN::H2))
            | (Http::Two, Scheme::Http, _) => {}
            (Http::Two, Scheme::Https, _) => {
                return Err(Shut::NotSent(format!("{} does not offer HTTP/2", way.line)));
            }
            (Http::One | Http::Auto, _, _) => {
                return Err(Shut::Other(One { stream, kept: Kept::New }));
            }
        }
        let shaken = timeout(within, shake(stream, way.to.url.scheme())).await;
        let (sender, connection) = match shaken {
            Ok(Ok(both)) => both,
            Ok(Err(_)) => {
                return Err(Shut::NotSent(format!("{} does not speak HTTP/2", way.line)));
            }
            Err(_) => {
                let why = format!("{} spoke no HTTP/2 within {within:?}", way.line);
                return Err(Shut::NotSent(why));
            }
        };
        let state = Arc::new(State::default());
        let lane = Lane::new(sender.clone(), Arc::clone(&state), Kept::New);
        if way.connection == Wanted::Pooled {
            let mut open = self.0.lock();
            if open.len() < KEPT_MAX {
                open.push(Open { sender, state: Arc::clone(&state) });
            }
        }
        tokio::spawn(drive(connection, Arc::downgrade(self), state, way.to.idle));
        Ok(lane)
    }

    /// Lets go of a connection: it closes once its streams have ended.
    fn forget(&self, state: &Arc<State>) {
        state.retired.store(true, Ordering::Relaxed);
        self.0.lock().retain(|one| !Arc::ptr_eq(&one.state, state));
    }
}

/// What TLS offers to speak.
pub(in crate::outbound) fn offered(http: Http) -> ALPN {
    match http {
        Http::One => ALPN::H1,
        Http::Two => ALPN::H2,
        Http::Auto => ALPN::H2H1,
    }
}

/// A connection of HTTP/1.1 that lies idle, where the upstream may choose.
pub(super) fn kept_one(way: Way<'_>) -> Option<Stream> {
    match way.to.http {
        Http::Auto => way.line.pool().take(),
        Http::One | Http::Two => None,
    }
}

type Shaken = (SendRequest<Bytes>, Connection<Stream, Bytes>);

/// Opens HTTP/2. Where no TLS has settled that both speak it, the other side shows it first: what a
/// server of HTTP/1.1 makes of a stream is not known, so none is sent to it.
async fn shake(stream: Stream, scheme: Scheme) -> Result<Shaken, h2::Error> {
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST_MAX)
        .handshake(stream)
        .await?;
    if scheme == Scheme::Http
        && let Some(mut ping) = connection.ping_pong()
    {
        tokio::select! {
            pong = ping.ping(h2::Ping::opaque()) => {
                pong?;
            }
            ended = &mut connection => {
                ended?;
                return Err(h2::Reason::CONNECT_ERROR.into());
            }
        }
    }
    Ok((sender, connection))
}

/// Moves a connection's bytes until it ends, and lets go of it when nobody uses it.
async fn drive(
    mut connection: Connection<Stream, Bytes>,
    pool: Weak<Pool>,
    state: Arc<State>,
    idle: Duration,
) {
    let forget = || {
        if let Some(pool) = pool.upgrade() {
            pool.forget(&state);
        }
    };
    // Looked at twice in that time: never kept for longer than it.
    let tick = idle.checked_div(2).unwrap_or(idle);
    let (mut begun, mut leaving) = (0, false);
    loop {
        tokio::select! {
            // However it ended, its streams know.
            _ended = &mut connection => break,
            () = tokio::time::sleep(tick) => {}
        }
        let now = state.begun.load(Ordering::Relaxed);
        if now == begun && state.active.load(Ordering::Relaxed) == 0 {
            // With the pool's handle gone it says goodbye; if it cannot, it is dropped.
            if leaving {
                break;
            }
            forget();
            leaving = true;
        }
        begun = now;
    }
    forget();
}

//! How does an agent reach us? By HTTP/1.1 or HTTP/2 on a listener: one whole bounded request, one
//! answer.
//!
//! It judges nothing. What is no request, or could be read as two, is turned back before anyone
//! judges it; what is one is handed on as it stood on the wire, and goes on to its end whether the
//! agent waits or not.

mod answer;
mod connection;
mod date;
mod head;
mod http2;
mod stream;
mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bounds;
use crate::call::{Answer, Request};
use crate::clock::Clock;
use crate::refusal::Refusal;
use stream::Stream;

pub use answer::problem;
pub use tls::{Pem, Tls};

/// What is done with a request.
pub type Handle =
    Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// What is answered to bytes that are turned back here. It is also where they are put on record.
pub type TurnBack = Arc<dyn Fn(Refusal, Origin) -> Answer + Send + Sync>;

/// Where bytes came from that are turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The listener.
    pub listener: usize,
    /// The other side.
    pub peer: IpAddr,
}

/// What is behind the listeners.
#[derive(Clone)]
pub struct Service {
    /// For requests.
    pub handle: Handle,
    /// For what is none.
    pub turn_back: TurnBack,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

/// One address to serve.
#[derive(Debug)]
pub struct Listener {
    /// What requests that come by it say they came by.
    pub number: usize,
    /// Bound already, so that its port is known before anyone is told of it.
    pub socket: std::net::TcpListener,
    /// Which `Host` is accepted.
    pub hosts: Hosts,
    /// What it speaks TLS with, if it does.
    pub tls: Option<Arc<Tls>>,
}

/// Which `Host` a listener accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Any.
    Any,
    /// The listener's own address, and these, with or without a port.
    Named(Vec<Box<str>>),
}

/// The bounds of serving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// From a head's first byte to its last.
    pub head: Duration,
    /// For the whole body.
    pub body: Duration,
    /// Between two requests, and before the first.
    pub idle: Duration,
    /// For writing a whole answer, and for each chunk of a streamed one.
    pub write: Duration,
    /// A body at most, in bytes.
    pub body_bytes_max: usize,
    /// Connections at once, and streams at once over all of them. Another connection waits in the
    /// kernel's queue until one ends.
    pub connections_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: bounds::HEAD_TIMEOUT,
            body: bounds::BODY_TIMEOUT,
            idle: bounds::IDLE_TIMEOUT,
            write: bounds::WRITE_TIMEOUT,
            body_bytes_max: bounds::BODY_BYTES_MAX,
            connections_max: bounds::CONNECTIONS_MAX,
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    service: Service,
    bounds: Bounds,
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
    /// Places for connections, and for what many of them carry as streams of few: of all listeners.
    places: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// A listener that is about to be served; who connects meanwhile waits. Dropped, it was never there.
pub struct Ready {
    socket: TcpListener,
    door: Arc<connection::Door>,
    opened: Opened,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("opened", &self.opened).finish_non_exhaustive()
    }
}

/// A listener that is served. Left alone it is until the server stops.
#[derive(Debug)]
pub struct Opened {
    address: SocketAddr,
    /// The same socket, for who serves it next.
    socket: std::net::TcpListener,
    stop: CancellationToken,
    cut: CancellationToken,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All that was in flight was answered.
    All,
    /// So many tasks were still running when the time was up.
    Left(usize),
}

impl Server {
    /// Serves nothing yet, on the runtime that this is called in.
    pub fn start(service: Service, bounds: Bounds) -> Self {
        let places = Arc::new(Semaphore::new(bounds.connections_max));
        let streams = Arc::new(Semaphore::new(bounds.connections_max));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let cut = CancellationToken::new();
        tasks.spawn(pulse(stop.clone()));
        Self { service, bounds, stop, cut, tasks, places, streams }
    }

    /// Makes a listener ready: all of it that can fail.
    ///
    /// # Errors
    ///
    /// When the socket cannot be served.
    pub fn ready(&self, listener: Listener) -> io::Result<Ready> {
        let Listener { number, socket, hosts, tls } = listener;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let opened = Opened {
            address,
            socket: socket.try_clone()?,
            stop: self.stop.child_token(),
            cut: self.cut.child_token(),
        };
        let door = connection::Door {
            service: self.service.clone(),
            bounds: self.bounds.clone(),
            hosts: head::Names::new(hosts, address),
            listener: number,
            stop: opened.stop.clone(),
            cut: opened.cut.clone(),
            tasks: self.tasks.clone(),
            date: date::Date::new(Clock::System),
            streams: Arc::clone(&self.streams),
            tls,
        };
        Ok(Ready { socket: TcpListener::from_std(socket)?, door: Arc::new(door), opened })
    }

    /// Serves it from now on.
    pub fn open(&self, ready: Ready) -> Opened {
        let Ready { socket, door, opened } = ready;
        self.tasks.spawn(accept(socket, door, Arc::clone(&self.places)));
        opened
    }

    /// Accepts nothing more, answers what is in flight, and waits for it no longer than `drain`. What
    /// is streamed may have no end of its own: it is cut once a fourth of that is left.
    pub async fn stop(&self, drain: Duration) -> Drained {
        self.stop.cancel();
        self.tasks.close();
        let last = last_of(drain);
        if timeout(drain.saturating_sub(last), self.tasks.wait()).await.is_ok() {
            return Drained::All;
        }
        self.cut.cancel();
        match timeout(last, self.tasks.wait()).await {
            Ok(()) => Drained::All,
            Err(_) => Drained::Left(self.tasks.len()),
        }
    }
}

impl Opened {
    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same socket once more: who connects to it waits in one line, whoever serves it.
    ///
    /// # Errors
    ///
    /// When no file descriptor is left.
    pub fn socket(&self) -> io::Result<std::net::TcpListener> {
        self.socket.try_clone()
    }

    /// Accepts nothing more by it. What came in is answered; what is streamed is cut as at the server's end.
    pub async fn close(self, drain: Duration) {
        let Self { socket, stop, cut, .. } = self;
        stop.cancel();
        drop(socket);
        tokio::time::sleep(drain.saturating_sub(last_of(drain))).await;
        cut.cancel();
    }
}

/// What is left of a drain for who was cut.
fn last_of(drain: Duration) -> Duration {
    drain.checked_div(4).unwrap_or_default()
}

/// A timer that is nearer than any request's: tokio wakes its own driver, a system call, for each one
/// that becomes the nearest, and every request sets some.
async fn pulse(stop: CancellationToken) {
    const BEAT: Duration = Duration::from_secs(1);
    while timeout(BEAT, stop.cancelled()).await.is_err() {}
}

/// A connection, with its handshake where TLS is spoken.
async fn shake(door: Arc<connection::Door>, tcp: TcpStream, peer: IpAddr) {
    // Without it an answer is late, not wrong.
    tcp.set_nodelay(true).unwrap_or_default();
    let stream = match &door.tls {
        None => Stream::Tcp(tcp),
        Some(tls) => {
            // BOUND: as long as a head. Who cannot shake hands is nobody, and there is nothing to record.
            let shaking = timeout(door.bounds.head, Box::pin(tls.accept(tcp)));
            let Ok(Ok(shaken)) = (tokio::select! {
                shaken = shaking => shaken,
                // Who only connects is not waited for.
                () = door.stopped(connection::Turn::First) => return,
            }) else {
                return;
            };
            Stream::Tls(Box::new(shaken))
        }
    };
    connection::serve(door, stream, peer).await;
}

/// BOUND: as many as the kernel's queue holds: std asks for 4096 where it may.
const BACKLOG: usize = 4096;

async fn accept(socket: TcpListener, door: Arc<connection::Door>, places: Arc<Semaphore>) {
    accept_until_stopped(&socket, &door, &places).await;
    // Who is in the kernel's queue connected in time. The kernel is asked, not the runtime: that looks seldom.
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
        let Ok((stream, peer)) = socket.accept() else { break };
        let taken = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        let Ok(stream) = taken else { break };
        serve(&door, (stream, peer), place);
    }
}

fn serve(
    door: &Arc<connection::Door>,
    (stream, peer): (TcpStream, SocketAddr),
    place: OwnedSemaphorePermit,
) {
    let serve = shake(Arc::clone(door), stream, peer.ip());
    door.tasks.spawn(async move {
        serve.await;
        drop(place);
    });
}

async fn accept_until_stopped(
    socket: &TcpListener,
    door: &Arc<connection::Door>,
    places: &Arc<Semaphore>,
) {
    // BOUND: after a failed accept (no file descriptor is left) a connection must end first.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        let place = tokio::select! {
            () = door.stop.cancelled() => break,
            place = Arc::clone(places).acquire_owned() => place,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = door.stop.cancelled() => break,
        };
        match accepted {
            Ok(accepted) => serve(door, accepted, place),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        // A flood must not keep the server from stopping.
        tokio::task::consume_budget().await;
        if door.stop.is_cancelled() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    // Every connection holds one; what is spawned a request is the handler's own.
    #[test]
    fn a_connection_is_small() {
        let bytes = size(connection::serve);
        assert!(bytes <= 3 << 10, "{bytes} bytes");
    }
}

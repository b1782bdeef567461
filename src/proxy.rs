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
use tokio::sync::Semaphore;
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
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
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
    /// Serves `listeners` on the runtime that this is called in. A request's `listener` is its place
    /// in the list.
    ///
    /// # Errors
    /// When a socket cannot be served.
    pub fn start(listeners: Vec<Listener>, service: Service, bounds: Bounds) -> io::Result<Self> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let cut = CancellationToken::new();
        let places = Arc::new(Semaphore::new(bounds.connections_max));
        // What many connections carry one call each, few carry as many streams.
        let streams = Arc::new(Semaphore::new(bounds.connections_max));
        let mut addresses = Vec::with_capacity(listeners.len());
        let mut ready = Vec::with_capacity(listeners.len());
        for (index, Listener { socket, hosts, tls }) in listeners.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            addresses.push(address);
            let door = connection::Door {
                service: service.clone(),
                bounds: bounds.clone(),
                hosts: head::Names::new(hosts, address),
                listener: index,
                stop: stop.clone(),
                cut: cut.clone(),
                tasks: tasks.clone(),
                date: date::Date::new(Clock::System),
                streams: Arc::clone(&streams),
                tls,
            };
            ready.push((TcpListener::from_std(socket)?, Arc::new(door)));
        }
        tasks.spawn(pulse(stop.clone()));
        for (socket, door) in ready {
            tasks.spawn(accept(socket, door, Arc::clone(&places)));
        }
        Ok(Self { addresses, stop, cut, tasks })
    }

    /// The addresses served, in the listeners' order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Accepts nothing more, answers what is in flight, and waits for it no longer than `drain`. What
    /// is streamed may have no end of its own: it is cut once a fourth of that is left.
    pub async fn stop(self, drain: Duration) -> Drained {
        self.stop.cancel();
        self.tasks.close();
        let last = drain.checked_div(4).unwrap_or_default();
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
            let Ok(Ok(shaken)) = timeout(door.bounds.head, Box::pin(tls.accept(tcp))).await else {
                return;
            };
            Stream::Tls(Box::new(shaken))
        }
    };
    connection::serve(door, stream, peer).await;
}

async fn accept(socket: TcpListener, door: Arc<connection::Door>, places: Arc<Semaphore>) {
    // BOUND: after a failed accept (no file descriptor is left) a connection must end first.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        let place = tokio::select! {
            () = door.stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = door.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let serve = shake(Arc::clone(&door), stream, peer.ip());
                door.tasks.spawn(async move {
                    serve.await;
                    drop(place);
                });
            }
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

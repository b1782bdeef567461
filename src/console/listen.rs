//! Who is at the door, and for how long? Sockets of the console, so many connections at once, and none
//! that only takes up a place.
//!
//! Never waits for a request without an end: a connection on which nothing was answered for a while is
//! closed, whatever dribbles in.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::guard::Reached;
use super::{Console, routes};

/// Where it listens.
#[derive(Debug)]
pub enum Door {
    /// A bound TCP listener.
    Tcp(std::net::TcpListener),
    /// A bound Unix socket, and its file.
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

/// Binds a TCP address.
///
/// # Errors
///
/// When it is taken.
pub fn bind(address: SocketAddr) -> io::Result<Door> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Door::Tcp(listener))
}

/// Binds a Unix socket, over a file that a crash left behind.
///
/// # Errors
///
/// When it cannot be made.
pub fn bind_unix(path: PathBuf) -> io::Result<Door> {
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    Ok(Door::Unix(listener, path))
}

/// What is shown behind a door. Another console takes the place of one between two requests.
#[derive(Debug)]
pub struct Behind {
    /// The door of the console; `None` for the probes'.
    reached: Option<Reached>,
    shown: ArcSwap<Router>,
}

impl Behind {
    /// All of a console, behind this door.
    ///
    /// # Errors
    ///
    /// When the socket has no address.
    pub fn console(console: &Arc<Console>, door: &Door) -> io::Result<Self> {
        let reached = match door {
            Door::Tcp(listener) => Reached::Address(listener.local_addr()?),
            Door::Unix(..) => Reached::Socket,
        };
        let shown = routes::guarded(Arc::clone(console), reached);
        Ok(Self { reached: Some(reached), shown: ArcSwap::from_pointee(shown) })
    }

    /// Its probes alone.
    pub fn probes(console: &Arc<Console>) -> Self {
        let shown = routes::only_probes(Arc::clone(console));
        Self { reached: None, shown: ArcSwap::from_pointee(shown) }
    }

    /// Shows this console from the next request on.
    pub fn show(&self, console: &Arc<Console>) {
        let console = Arc::clone(console);
        self.shown.store(Arc::new(match self.reached {
            Some(reached) => routes::guarded(console, reached),
            None => routes::only_probes(console),
        }));
    }

    /// Serves it until `stop`.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used.
    pub async fn serve(self: Arc<Self>, door: Door, stop: CancellationToken) -> io::Result<()> {
        let now = move |request: Request| {
            let shown = Router::clone(&self.shown.load());
            async move { shown.oneshot(request).await }
        };
        let service = Router::new().fallback(now).into_make_service_with_connect_info::<Peer>();
        let stopped = stop.cancelled_owned();
        match door {
            Door::Tcp(listener) => {
                let listener = Bounded::new(tokio::net::TcpListener::from_std(listener)?);
                axum::serve(listener, service).with_graceful_shutdown(stopped).await
            }
            Door::Unix(listener, path) => {
                let listener = Bounded::new(tokio::net::UnixListener::from_std(listener)?);
                let own = inode(&path);
                let served = axum::serve(listener, service).with_graceful_shutdown(stopped).await;
                // Another door may stand there by now.
                if own.is_some() && inode(&path) == own {
                    std::fs::remove_file(&path)?;
                }
                served
            }
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// From where somebody asks; nowhere for a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

trait Address {
    fn ip(&self) -> Option<IpAddr>;
}

impl Address for SocketAddr {
    fn ip(&self) -> Option<IpAddr> {
        Some(Self::ip(self))
    }
}

impl Address for tokio::net::unix::SocketAddr {
    fn ip(&self) -> Option<IpAddr> {
        None
    }
}

impl<L: Listener<Addr: Address>> Connected<IncomingStream<'_, Bounded<L>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded<L>>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

/// BOUND: the pages and commands of one console; each is a file that the agents' side cannot open then.
const CONNECTIONS_MAX: usize = 512;
/// BOUND: the slowest answer is a store's of 10 s, and an event stream says something every 15 s.
const QUIET_MAX: Duration = Duration::from_secs(75);

/// A listener with so many places.
struct Bounded<L> {
    inner: L,
    places: Arc<Semaphore>,
}

impl<L> Bounded<L> {
    fn new(inner: L) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Held<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Nobody closes it: a place comes free.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (io, at) = self.inner.accept().await;
        (Held::new(io, place, QUIET_MAX), at)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that holds a place.
struct Held<S> {
    io: S,
    quiet: Pin<Box<Sleep>>,
    quiet_max: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Held<S> {
    fn new(io: S, place: Option<OwnedSemaphorePermit>, quiet_max: Duration) -> Self {
        Self { io, quiet: Box::pin(tokio::time::sleep(quiet_max)), quiet_max, _place: place }
    }

    /// Something was answered.
    fn answered(&mut self, wrote: &Poll<io::Result<usize>>) {
        if matches!(wrote, Poll::Ready(Ok(bytes)) if *bytes > 0) {
            let now = tokio::time::Instant::now();
            let until = now.checked_add(self.quiet_max).unwrap_or(now);
            self.quiet.as_mut().reset(until);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.quiet.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.answered(&wrote);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.answered(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SOON: Duration = Duration::from_millis(400);
    const STEP: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_connection_that_only_takes_up_a_place_is_closed() {
        let (mut there, here) = tokio::io::duplex(64);
        let mut held = Held::new(here, None, SOON);
        let dribble = async {
            // A byte now and then, and never a whole head.
            for _ in 0..100 {
                tokio::time::sleep(STEP).await;
                there.write_all(b"x").await.unwrap();
            }
        };
        let reading = async {
            let mut byte = [0];
            loop {
                if let Err(why) = held.read_exact(&mut byte).await {
                    return why.kind();
                }
            }
        };
        let ended = tokio::select! {
            () = dribble => None,
            kind = reading => Some(kind),
        };
        assert_eq!(ended, Some(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn one_that_is_answered_on_stays() {
        let (mut there, here) = tokio::io::duplex(64);
        let mut held = Held::new(here, None, SOON);
        for _ in 0..8 {
            tokio::time::sleep(STEP).await;
            held.write_all(b"beat").await.unwrap();
            let mut beat = [0; 4];
            there.read_exact(&mut beat).await.unwrap();
        }
        there.write_all(b"x").await.unwrap();
        let mut byte = [0];
        held.read_exact(&mut byte).await.unwrap();
    }
}

//! Which connection is open already? Those of one upstream that wait for a request.
//!
//! Never gives out one that the other side has closed, as far as that is known here, or one that
//! waited too long: an effect on it would become unknown.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

// BOUND: connections that wait, an upstream. An agent's calls at once are tens.
const IDLE_MAX: usize = 256;
/// How often waiting connections are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Connections that wait. The last that came is the first that goes: those that are not needed grow
/// old and are closed.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    connections: Vec<(Stream, Instant)>,
    looked_at: Looked,
}

/// Whether a task closes what waits too long.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Looked {
    #[default]
    ByNobody,
    ByTask,
}

impl Pool {
    /// One that waits.
    pub(super) fn take(&self) -> Option<Stream> {
        let now = Instant::now();
        loop {
            let (mut stream, until) = self.0.lock().connections.pop()?;
            if now < until && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// `stream` waits for another request, for `idle` at most.
    pub(super) fn keep(self: &Arc<Self>, stream: Stream, idle: Duration) {
        // BOUND: past a day nobody's clock matters any more.
        let idle = idle.min(Duration::from_secs(86_400));
        let Some(until) = Instant::now().checked_add(idle) else { return };
        let mut waiting = self.0.lock();
        if waiting.connections.len() >= IDLE_MAX {
            return;
        }
        waiting.connections.push((stream, until));
        if waiting.looked_at == Looked::ByNobody {
            waiting.looked_at = Looked::ByTask;
            drop(waiting);
            tokio::spawn(look(Arc::downgrade(self)));
        }
    }

    /// Closes what waited too long or was closed by the other side; whether any are left.
    fn close_old(&self) -> bool {
        let now = Instant::now();
        let mut waiting = self.0.lock();
        waiting.connections.retain_mut(|(stream, until)| now < *until && is_quiet(stream));
        if waiting.connections.is_empty() {
            waiting.looked_at = Looked::ByNobody;
            waiting.connections = Vec::new();
        }
        !waiting.connections.is_empty()
    }
}

/// Looks as long as there is something to look at.
async fn look(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_old()) {
            return;
        }
    }
}

/// Whether nothing came: neither an end nor bytes that nobody asked for.
fn is_quiet(stream: &mut Stream) -> bool {
    // SECURITY: without budget the runtime says that nothing came, whatever did: an answer that nobody
    // asked for would be taken for the next request's.
    if !tokio::task::coop::has_budget_remaining() {
        return false;
    }
    let mut byte = [0; 1];
    let mut byte = ReadBuf::new(&mut byte);
    let mut nobody = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut nobody, &mut byte).is_pending()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use pingora::protocols::l4::stream::Stream as Transport;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn only_what_was_seen_to_be_quiet_is_quiet() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut stream: Stream = Box::new(Transport::from(near));
        assert!(is_quiet(&mut stream));
        let mut nobody = Context::from_waker(Waker::noop());
        while tokio::task::coop::has_budget_remaining() {
            let spend = std::pin::pin!(tokio::task::coop::consume_budget());
            assert!(spend.poll(&mut nobody).is_ready());
        }
        assert!(!is_quiet(&mut stream), "nobody could look");
        tokio::task::yield_now().await;
        far.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!is_quiet(&mut stream), "something came");
    }
}

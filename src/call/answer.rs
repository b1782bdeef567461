//! What does the agent get? A head, and a body that is whole or comes in chunks.
//!
//! Nothing here is rendered; framing is the server's.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// An answer to the agent.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The HTTP/1.1 reason phrase, where it is ours (`raise_for_status()` keeps nothing else).
    pub reason: Option<&'static str>,
    /// Its headers; framing is the server's.
    pub headers: http::HeaderMap,
    /// Its body.
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it. Whatever is judged by its answer is whole.
    Whole(Bytes),
    /// As it comes: only for public reads that are marked so.
    Stream(Chunks),
}

impl Body {
    /// The bytes, when all of them are here.
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Stream(_) => None,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

/// The chunks of a streamed body. A channel that closes before [`Chunk::End`] was cut short: what
/// came must not look complete to whoever reads it.
pub struct Chunks {
    from: mpsc::Receiver<Chunk>,
    /// What the sending side says.
    why: Arc<OnceLock<Ended>>,
    /// What the reading side saw.
    seen: Option<Ended>,
    /// When the reading side has to end, whatever comes.
    cut: CancellationToken,
    tell: Option<Box<dyn FnOnce(Ended) + Send>>,
}

/// How a streamed body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// With its end.
    Whole,
    /// The agent left, or did not take it.
    Agent,
    /// The upstream broke off.
    Upstream,
    /// The upstream was silent for too long.
    Quiet,
    /// It took as long as it may.
    Time,
    /// This process ends.
    Stopped,
}

impl Ended {
    /// Its name in records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Agent => "agent",
            Self::Upstream => "upstream",
            Self::Quiet => "quiet",
            Self::Time => "time",
            Self::Stopped => "stopped",
        }
    }
}

/// The sending side's word on how it ended.
#[derive(Debug)]
pub struct End(Arc<OnceLock<Ended>>);

impl End {
    /// Says it, before the channel closes.
    pub fn says(&mut self, ended: Ended) {
        self.0.get_or_init(|| ended);
    }
}

impl Chunks {
    /// Those of a channel whose early end is the upstream's.
    pub fn new(from: mpsc::Receiver<Chunk>) -> Self {
        Self::ending(from).0
    }

    /// Those of a channel, and where to say how it ended.
    pub fn ending(from: mpsc::Receiver<Chunk>) -> (Self, End) {
        let why = Arc::new(OnceLock::new());
        let cut = CancellationToken::new();
        (Self { from, why: Arc::clone(&why), seen: None, cut, tell: None }, End(why))
    }

    /// Ends, without its end, when `cut` says so.
    pub fn until(&mut self, cut: CancellationToken) {
        self.cut = cut;
    }

    /// Has `tell` called once, when these chunks are done with.
    pub fn at_end(&mut self, tell: impl FnOnce(Ended) + Send + 'static) {
        self.tell = Some(Box::new(tell));
    }

    /// The next one; `None` when the rest is lost.
    pub async fn next(&mut self) -> Option<Chunk> {
        let chunk = tokio::select! {
            biased;
            () = self.cut.cancelled() => {
                self.seen = self.seen.or(Some(Ended::Stopped));
                None
            }
            chunk = self.from.recv() => chunk,
        };
        match &chunk {
            Some(Chunk::Bytes(_)) => {}
            Some(Chunk::End) => self.seen = Some(Ended::Whole),
            None if self.seen.is_none() => {
                self.seen = Some(self.why.get().copied().unwrap_or(Ended::Upstream));
            }
            None => {}
        }
        chunk
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        let Some(tell) = self.tell.take() else { return };
        // An end that nobody read has not come to the agent.
        let said = self.why.get().copied().filter(|why| *why != Ended::Whole);
        tell(self.seen.or(said).unwrap_or(Ended::Agent));
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks({:?})", self.seen)
    }
}

/// One piece of a streamed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Some bytes.
    Bytes(Bytes),
    /// That was all.
    End,
}

//! What does the agent get? A head, and a body that is whole or comes in chunks.
//!
//! Nothing here is rendered; framing is the server's.

use bytes::Bytes;
use tokio::sync::mpsc;

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
#[derive(Debug)]
pub struct Chunks(pub mpsc::Receiver<Chunk>);

impl Chunks {
    /// The next one; `None` when the rest is lost.
    pub async fn next(&mut self) -> Option<Chunk> {
        self.0.recv().await
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

//! What did the upstream answer? Every HTTP call that leaves the process goes through one
//! `exchange`: pooled, bounded in time and size, sent once.
//!
//! It never judges, never follows a redirect, never adds a credential of its own and never sends an
//! effect twice. It tells what certainly did not leave from what may have.

mod arm;
mod client;
mod destination;
mod head;
mod http1;
mod http2;
mod network;
mod pool;
mod pump;
mod scripted;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::bounds::ANSWER_BYTES_MAX;
use crate::call::Chunks;

pub use client::ClientCertificate;
pub use destination::{Addresses, Origin, Scheme};
pub use network::Network;
pub use scripted::{Rule, Scene, Scripted, Sent};

/// Where calls go, and within what bounds. Settled when it is first used: changes after that are
/// not seen.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Scheme, host and port.
    pub url: Origin,
    /// Which answers of DNS are accepted.
    pub addresses: Addresses,
    /// For DNS, TCP and TLS together.
    pub connect: Duration,
    /// From the first byte sent to the last byte read.
    pub answer: Duration,
    /// For a whole streamed answer.
    pub stream: Duration,
    /// Between two chunks of one.
    pub stream_idle: Duration,
    /// Which HTTP is spoken.
    pub http: Http,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// An answer's body at most, in bytes.
    pub answer_bytes_max: usize,
    /// The file whose authorities are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// What it is shown when it asks who we are.
    pub certificate: Option<ClientCertificate>,
    line: OnceLock<destination::Line>,
}

impl Upstream {
    /// The upstream `name` at `url`, with the usual bounds.
    ///
    /// # Errors
    /// What is wrong with the URL, for whoever wrote it.
    pub fn parse(name: &str, url: &str) -> Result<Self, String> {
        let url = Origin::parse(url)?;
        Ok(Self {
            name: Arc::from(name),
            addresses: url.usual_addresses(),
            url,
            // BOUND: a handshake across an ocean is some 300 ms; 2 s has room for one lost packet.
            connect: Duration::from_secs(2),
            // BOUND: vendors answer in seconds; an SDK gives up at 80 s and must hear from us first.
            answer: Duration::from_secs(30),
            // BOUND: a model's answer takes minutes; a subscription begins anew.
            stream: Duration::from_secs(600),
            // BOUND: heartbeats of event streams come every 15 to 30 s.
            stream_idle: Duration::from_secs(60),
            http: Http::One,
            // BOUND: common servers close at 60 s or more; ours must be the shorter.
            idle: Duration::from_secs(30),
            answer_bytes_max: ANSWER_BYTES_MAX,
            ca: None,
            certificate: None,
            line: OnceLock::new(),
        })
    }
}

/// Which HTTP an upstream is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2: settled with TLS, or from the first byte without.
    Two,
    /// HTTP/2 where TLS settles on it, else HTTP/1.1.
    Auto,
}

/// What is to be sent. Only here may a credential stand.
#[derive(Clone)]
pub struct Outgoing {
    /// Its method.
    pub method: Method,
    /// Path and query, sent byte for byte.
    pub target: Box<str>,
    /// Its headers. Host, framing and hop-by-hop fields are ours to set; such as are here are left
    /// out.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

impl std::fmt::Debug for Outgoing {
    // SECURITY: headers carry the credential, and a log line is read by many.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing({} {}, {} bytes)", self.method, self.target, self.body.len())
    }
}

/// What was answered, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers, without framing and hop-by-hop fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// Answered in full.
    Answered(Reply),
    /// No byte of the request left; it is safe to send it again. Says why.
    NotSent(String),
    /// Some of it may have left, and there is no whole answer: it may have happened. Says why.
    Unknown(String),
}

/// How a call whose answer is streamed began.
#[derive(Debug)]
pub enum Stream {
    /// The head is here, the body comes.
    Answered(Reply, Chunks),
    /// All of it came with its head.
    Whole(Reply),
    /// No byte of the request left. Says why.
    NotSent(String),
    /// Some of it may have left. Says why.
    Unknown(String),
}

/// Which connection a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// One that is open already, if there is one.
    Pooled,
    /// A new one: it cannot have been closed by the other side while it lay idle, so an effect on it
    /// is not made unknown by that.
    Fresh,
}

/// The way out.
#[derive(Debug)]
pub enum Outbound {
    /// Sockets.
    Network(Network),
    /// A script, for cases without sockets.
    Scripted(Scripted),
}

/// Why nothing may leave any more, if so: asked once there is a connection, right before the first byte.
pub type Stop<'a> = &'a (dyn Fn() -> Option<String> + Sync);

/// Nothing stops it.
const NEVER: Stop<'static> = &|| None;

impl Outbound {
    /// Sends `send` once and reads the whole answer.
    pub fn exchange<'a>(
        &'a self,
        to: &'a Upstream,
        send: Outgoing,
        connection: Connection,
    ) -> impl Future<Output = Exchange> + Send + 'a {
        self.exchange_unless(to, send, (connection, NEVER))
    }

    /// The same, unless something stops it while it connects: then it was not sent.
    pub async fn exchange_unless(
        &self,
        to: &Upstream,
        send: Outgoing,
        (connection, stop): (Connection, Stop<'_>),
    ) -> Exchange {
        match self {
            Self::Network(network) => network.exchange(to, &send, (connection, stop)).await,
            Self::Scripted(_) if let Some(why) = stop() => Exchange::NotSent(why),
            Self::Scripted(script) => Box::pin(script.exchange(to, send, connection)).await,
        }
    }

    /// Sends `send` once and hands the answer on as it comes. For reads that nobody need judge.
    pub async fn exchange_stream(
        &self,
        to: &Upstream,
        send: Outgoing,
        connection: Connection,
    ) -> Stream {
        match self {
            Self::Network(network) => network.exchange_stream(to, &send, connection).await,
            Self::Scripted(script) => script.exchange_stream(to, send, connection).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<'a, F>(_: impl FnOnce(&'a Outbound, &'a Upstream, Outgoing, Connection) -> F) -> usize {
        size_of::<F>()
    }

    // It becomes part of every call's future.
    #[test]
    fn an_exchange_is_small() {
        let bytes = size(Outbound::exchange);
        assert!(bytes <= 2 << 10, "{bytes} bytes");
    }
}

//! How does a call cross the network? Over pingora's connector: a connection of the pool or a new
//! one, one request, one answer.
//!
//! A read on a connection that the other side had closed meanwhile is sent again on a new one;
//! nothing else is ever sent twice.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::Peer;
use pingora::{Error, ErrorType};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::destination::Line;
use super::{Connection, Exchange, Outgoing, Reply, Stream, Upstream, head};
use crate::call::{Chunk, Chunks};

// BOUND: idle connections kept, over all upstreams. An agent's calls at once are tens.
const IDLE_MAX: usize = 256;
// BOUND: interim answers before the real one. One is usual (100), more than a few is a flood.
const INTERIM_MAX: usize = 8;
// BOUND: chunks of a stream that wait for the agent.
const CHUNKS_AHEAD: usize = 16;

/// Sockets: one connector per trust domain.
pub struct Network {
    system: Arc<TransportConnector>,
    own: HashMap<PathBuf, Arc<TransportConnector>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({} own trust domains)", self.own.len())
    }
}

impl Network {
    /// A network that trusts the system's roots, or for an upstream that names one of `authorities`
    /// those in that file and no others.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn new<'a>(authorities: impl IntoIterator<Item = &'a Path>) -> Result<Self, String> {
        let system = connector(None).ok_or(
            "the system's root certificates cannot be read; is ca-certificates installed?",
        )?;
        let mut own = HashMap::new();
        for file in authorities {
            check_authorities(file)?;
            let connector = connector(Some(file)).ok_or_else(|| {
                format!("`{}`: a certificate in it cannot be read", file.display())
            })?;
            own.insert(file.to_path_buf(), Arc::new(connector));
        }
        Ok(Self { system: Arc::new(system), own })
    }

    fn connector(&self, to: &Upstream) -> Result<&Arc<TransportConnector>, String> {
        match &to.ca {
            None => Ok(&self.system),
            Some(file) => self
                .own
                .get(file)
                .ok_or_else(|| format!("the authorities in `{}` were not loaded", file.display())),
        }
    }

    pub(super) async fn exchange(
        &self,
        to: &Upstream,
        send: &Outgoing,
        connection: Connection,
    ) -> Exchange {
        let mut road = match self.open(to, send, connection).await {
            Ok(road) => road,
            Err(why) => return Exchange::NotSent(why),
        };
        // From here on a byte may have left.
        match timeout(to.answer, road.converse(send)).await {
            Ok(Ok(reply)) => {
                road.release(to.idle).await;
                Exchange::Answered(reply)
            }
            Ok(Err(why)) => Exchange::Unknown(why),
            Err(_) => Exchange::Unknown(format!("no whole answer within {:?}", to.answer)),
        }
    }

    pub(super) async fn exchange_stream(
        &self,
        to: &Upstream,
        send: &Outgoing,
        connection: Connection,
    ) -> Stream {
        let mut road = match self.open(to, send, connection).await {
            Ok(road) => road,
            Err(why) => return Stream::NotSent(why),
        };
        let (status, headers) = match timeout(to.answer, road.head(send)).await {
            Ok(Ok(head)) => head,
            Ok(Err(why)) => return Stream::Unknown(why),
            Err(_) => return Stream::Unknown(format!("no head within {:?}", to.answer)),
        };
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (answer, idle) = (to.answer, to.idle);
        // Ends with the answer, with the agent's going away, or with the time; an error drops the
        // sender without its end mark, and the agent's side is cut short as ours was.
        tokio::spawn(async move {
            if let Ok(true) = timeout(answer, road.pump(&sender)).await {
                road.release(idle).await;
            }
        });
        Stream::Answered(Reply { status, headers, body: Bytes::new() }, Chunks(receiver))
    }

    /// A connection to `to`, and the head that is to go on it. Nothing has been sent.
    async fn open(
        &self,
        to: &Upstream,
        send: &Outgoing,
        connection: Connection,
    ) -> Result<Box<Road>, String> {
        let head = head::request(send, &to.url.authority())?;
        let connector = Arc::clone(self.connector(to)?);
        let line = to.line.get_or_init(|| Line::new(&to.url, to.addresses, to.connect)).clone();
        let pooled = match connection {
            Connection::Fresh => None,
            Connection::Pooled => connector.reused_stream(&line).await,
        };
        let stale = match (&pooled, &send.method) {
            (Some(_), &Method::GET | &Method::HEAD) => Stale::SendAgain(head.clone()),
            _ => Stale::Unknown,
        };
        let stream = match pooled {
            Some(stream) => stream,
            // Rare, and large: a handshake.
            None => Box::pin(dial(&connector, &line, to.connect)).await?,
        };
        let session = HttpSession::new(stream);
        let room = Room { bytes_max: to.answer_bytes_max, connect: to.connect };
        Ok(Box::new(Road { connector, line, session, head: Some(head), stale, room }))
    }
}

/// What becomes of a request whose connection was closed before any answer.
enum Stale {
    /// It goes once more on a new connection: a read does nothing, once or twice.
    SendAgain(Box<RequestHeader>),
    /// It may have happened.
    Unknown,
}

#[derive(Clone, Copy)]
struct Room {
    bytes_max: usize,
    connect: Duration,
}

/// One connection with one request on it.
struct Road {
    connector: Arc<TransportConnector>,
    line: Line,
    session: HttpSession,
    head: Option<Box<RequestHeader>>,
    stale: Stale,
    room: Room,
}

impl Road {
    async fn converse(&mut self, send: &Outgoing) -> Result<Reply, String> {
        let (status, headers) = self.head(send).await?;
        let body = self.body().await?;
        Ok(Reply { status, headers, body })
    }

    /// Sends the request and reads the answer's head.
    async fn head(&mut self, send: &Outgoing) -> Result<(u16, HeaderMap), String> {
        let head = self.head.take().ok_or("sent already")?;
        if let Err(lost) = self.send_and_wait(head, &send.body).await {
            let stale = std::mem::replace(&mut self.stale, Stale::Unknown);
            let (Lost::Closed(_), Stale::SendAgain(head)) = (&lost, stale) else {
                return Err(lost.why());
            };
            Box::pin(self.send_again(head, &send.body)).await?;
        }
        head::response(&self.session)
    }

    async fn send_again(&mut self, head: Box<RequestHeader>, body: &[u8]) -> Result<(), String> {
        let stream = dial(&self.connector, &self.line, self.room.connect).await?;
        self.session = HttpSession::new(stream);
        self.send_and_wait(head, body).await.map_err(Lost::why)
    }

    async fn send_and_wait(&mut self, head: Box<RequestHeader>, body: &[u8]) -> Result<(), Lost> {
        let session = &mut self.session;
        session.write_request_header(head).await.map_err(|e| lost("sending the head", &e))?;
        if !body.is_empty() {
            session.write_body(body).await.map_err(|e| lost("sending the body", &e))?;
        }
        session.finish_body().await.map_err(|e| lost("sending the body", &e))?;
        for _ in 0..INTERIM_MAX {
            session.read_response().await.map_err(|e| lost("reading the head", &e))?;
            match session.get_status() {
                Some(StatusCode::SWITCHING_PROTOCOLS) => {
                    return Err(Lost::Otherwise("the upstream switched protocols unasked".into()));
                }
                Some(status) if status.is_informational() => {}
                Some(_) => return Ok(()),
                None => return Err(Lost::Otherwise("no status".into())),
            }
        }
        Err(Lost::Otherwise(format!("more than {INTERIM_MAX} interim answers")))
    }

    /// The whole body, within bounds. A single chunk is not copied again.
    async fn body(&mut self) -> Result<Bytes, String> {
        let max = self.room.bytes_max;
        let large = || format!("the answer is larger than {max} bytes");
        let mut whole = Bytes::new();
        let mut parts: Option<BytesMut> = None;
        while let Some(chunk) = self.chunk().await? {
            let length = parts.as_ref().map_or(whole.len(), BytesMut::len);
            if chunk.len() > max.saturating_sub(length) {
                return Err(large());
            }
            if let Some(parts) = &mut parts {
                parts.extend_from_slice(&chunk);
            } else if whole.is_empty() {
                whole = chunk;
            } else {
                let mut both = BytesMut::with_capacity(whole.len().saturating_mul(4).min(max));
                both.extend_from_slice(&whole);
                both.extend_from_slice(&chunk);
                parts = Some(both);
            }
        }
        Ok(parts.map_or(whole, BytesMut::freeze))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        self.session.read_body_bytes().await.map_err(|e| lost("reading the body", &e).why())
    }

    /// Hands the body on; whether all of it went.
    async fn pump(&mut self, to: &mpsc::Sender<Chunk>) -> bool {
        loop {
            let chunk = match self.chunk().await {
                Ok(Some(bytes)) => Chunk::Bytes(bytes),
                Ok(None) => return to.send(Chunk::End).await.is_ok(),
                Err(_) => return false,
            };
            if to.send(chunk).await.is_err() {
                return false;
            }
        }
    }

    /// Gives the connection back, if both sides mean to keep it; else it is closed.
    async fn release(mut self: Box<Self>, idle: Duration) {
        self.session.respect_keepalive();
        let idle = self.stated_idle().map_or(idle, |stated| stated.min(idle));
        if self.session.will_keepalive()
            && !idle.is_zero()
            && let Some(stream) = self.session.reuse().await
        {
            self.connector.release_stream(stream, self.line.reuse_hash(), Some(idle));
        }
    }

    /// `Keep-Alive: timeout=5`, less a second: ours must be the side that closes.
    fn stated_idle(&self) -> Option<Duration> {
        let stated = self.session.get_header("keep-alive")?.to_str().ok()?;
        let seconds = stated
            .split(',')
            .find_map(|part| part.trim().strip_prefix("timeout="))
            .and_then(|seconds| seconds.trim().parse::<u64>().ok())?;
        Some(Duration::from_secs(seconds.saturating_sub(1)))
    }
}

/// A new connection: DNS, TCP and TLS within `within`.
async fn dial(
    connector: &TransportConnector,
    line: &Line,
    within: Duration,
) -> Result<pingora::protocols::Stream, String> {
    match timeout(within, connector.new_stream(line)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) => Err(format!("no connection to {line}: {}", innermost(&e))),
        Err(_) => Err(format!("no connection to {line} within {within:?}")),
    }
}

/// Why there is no answer.
enum Lost {
    /// The connection ended.
    Closed(String),
    /// Something came that is no answer.
    Otherwise(String),
}

impl Lost {
    fn why(self) -> String {
        match self {
            Self::Closed(why) | Self::Otherwise(why) => why,
        }
    }
}

/// SECURITY: only the kind of error is told. Its text may hold bytes of the answer.
fn lost(doing: &str, error: &Error) -> Lost {
    let why = format!("{doing}: {}", error.etype().as_str());
    let ends = [ErrorType::ConnectionClosed, ErrorType::ReadError, ErrorType::WriteError];
    if ends.contains(error.etype()) { Lost::Closed(why) } else { Lost::Otherwise(why) }
}

/// What a connection failed for. No byte of a request or an answer can stand in it.
fn innermost(error: &Error) -> String {
    let cause = error.root_cause().to_string();
    cause.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// pingora panics on what it cannot read, so it is asked where that does no harm.
fn connector(authorities: Option<&Path>) -> Option<TransportConnector> {
    let mut options = ConnectorOptions::new(IDLE_MAX);
    if let Some(file) = authorities {
        options.ca_file = Some(file.to_str()?.to_owned());
    }
    std::panic::catch_unwind(AssertUnwindSafe(|| TransportConnector::new(Some(options)))).ok()
}

/// Whether `file` holds certificates and nothing else.
fn check_authorities(file: &Path) -> Result<(), String> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| format!("`{name}`: {e}"))?;
    let mut begins = text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")).peekable();
    if begins.peek().is_none() {
        return Err(format!("`{name}`: expected certificates in PEM, found none"));
    }
    match begins.find(|kind| kind.trim_end() != "CERTIFICATE-----") {
        Some(other) => {
            let kind = other.trim_end().trim_end_matches('-');
            Err(format!("`{name}`: expected certificates only, found a {kind}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_authority_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("", "found none"),
            ("hello", "found none"),
            ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "a PRIVATE KEY"),
            ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "cannot be read"),
        ] {
            let file = dir.path().join("ca.pem");
            std::fs::write(&file, text).unwrap();
            let fault = Network::new([file.as_path()]).unwrap_err();
            assert!(fault.contains(expected), "{text:?}: {fault}");
        }
        let fault = Network::new([dir.path().join("absent.pem").as_path()]).unwrap_err();
        assert!(fault.contains("absent.pem"), "{fault}");
    }

    #[tokio::test]
    async fn an_upstream_whose_authorities_were_not_loaded_is_not_sent_to() {
        let network = Network::new([]).unwrap();
        let mut to = Upstream::parse("x", "https://127.0.0.1:9").unwrap();
        to.ca = Some(PathBuf::from("/nowhere.pem"));
        let send = Outgoing {
            method: Method::GET,
            target: "/".into(),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        let Exchange::NotSent(why) = network.exchange(&to, &send, Connection::Pooled).await else {
            unreachable!("it was sent");
        };
        assert!(why.contains("were not loaded"), "{why}");
    }
}

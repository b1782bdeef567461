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

use bytes::Bytes;
use http::Method;
use pingora::Error;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::ALPN;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::destination::Line;
use super::head::Came;
use super::http1::{Http1, Lost, Written};
use super::http2::{Kept, One, Way};
use super::pump::{Spans, pump};
use super::{Connection, Exchange, Http, NEVER, Outgoing, Reply, Stop, Stream, Upstream};
use crate::call::{Chunks, Ended};

// BOUND: chunks of a stream that wait for the agent.
pub(super) const CHUNKS_AHEAD: usize = 16;

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
        (connection, stop): (Connection, Stop<'_>),
    ) -> Exchange {
        let mut chosen = None;
        if to.http != Http::One {
            let way = match self.way(to, (connection, stop)) {
                Ok(way) => way,
                Err(why) => return Exchange::NotSent(why),
            };
            match Box::pin(way.line.shared().exchange(way, send)).await {
                Ok(exchange) => return exchange,
                Err(one) => chosen = Some(one),
            }
        }
        let mut road = match self.open(to, send, (connection, chosen)).await {
            Ok(road) => road,
            Err(why) => return Exchange::NotSent(why),
        };
        // Connecting took a while.
        if let Some(why) = stop() {
            return Exchange::NotSent(why);
        }
        // From here on a byte may have left.
        match timeout(to.answer, road.converse(to.answer_bytes_max)).await {
            Ok(Ok((reply, keep))) => {
                road.release(keep, to.idle);
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
        let mut chosen = None;
        if to.http != Http::One {
            let way = match self.way(to, (connection, NEVER)) {
                Ok(way) => way,
                Err(why) => return Stream::NotSent(why),
            };
            match Box::pin(way.line.shared().exchange_stream(way, send)).await {
                Ok(stream) => return stream,
                Err(one) => chosen = Some(one),
            }
        }
        let mut road = match self.open(to, send, (connection, chosen)).await {
            Ok(road) => road,
            Err(why) => return Stream::NotSent(why),
        };
        let Came { status, headers, keep, .. } = match timeout(to.answer, road.ask()).await {
            Ok(Ok(head)) => head,
            Ok(Err(why)) => return Stream::Unknown(why),
            Err(_) => return Stream::Unknown(format!("no head within {:?}", to.answer)),
        };
        // Most answers are small, and here by now: there is nothing to wait for.
        if let Some(body) = road.http.at_once() {
            road.release(keep, to.idle);
            return Stream::Whole(Reply { status, headers, body });
        }
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (chunks, mut end) = Chunks::ending(receiver);
        let (spans, idle) = (Spans::of(to), to.idle);
        // An end without its mark closes the channel, and the agent's side is cut short as ours was.
        tokio::spawn(async move {
            let ended = pump(&mut road.http, &sender, spans).await;
            end.says(ended);
            drop(sender);
            if ended == Ended::Whole {
                road.release(keep, idle);
            }
        });
        Stream::Answered(Reply { status, headers, body: Bytes::new() }, chunks)
    }

    fn way<'a>(
        &'a self,
        to: &'a Upstream,
        (connection, stop): (Connection, Stop<'a>),
    ) -> Result<Way<'a>, String> {
        let line = to.line.get_or_init(|| Line::new(to));
        Ok(Way { connector: self.connector(to)?, line, to, connection, stop })
    }

    /// A connection to `to`, and the request that is to go on it. Nothing has been sent.
    async fn open(
        &self,
        to: &Upstream,
        send: &Outgoing,
        (connection, chosen): (Connection, Option<One>),
    ) -> Result<Road, String> {
        let line = to.line.get_or_init(|| Line::new(to));
        let request = Written::new(send, line.authority())?;
        let open = match (chosen, connection) {
            (Some(One { stream, kept }), _) => Some((stream, kept)),
            (None, Connection::Fresh) => None,
            (None, Connection::Pooled) => line.pool().take().map(|stream| (stream, Kept::Before)),
        };
        let redial = match (&open, &send.method) {
            (Some((_, Kept::Before)), &Method::GET | &Method::HEAD) => {
                let connector = Arc::clone(self.connector(to)?);
                Some(Redial { connector, within: to.connect })
            }
            _ => None,
        };
        let stream = match open {
            Some((stream, _)) => stream,
            // Rare, and large: a handshake.
            None => Box::pin(dial(self.connector(to)?, line, to.connect)).await?,
        };
        Ok(Road { line: line.clone(), http: Http1::on(stream), request, redial })
    }
}

/// How a read whose connection was closed before any answer goes once more, on a new connection: it
/// does nothing, once or twice.
struct Redial {
    connector: Arc<TransportConnector>,
    within: Duration,
}

/// One connection with one request on it.
struct Road {
    line: Line,
    http: Http1,
    request: Written,
    /// `None`: what is lost may have happened.
    redial: Option<Redial>,
}

impl Road {
    async fn converse(&mut self, bytes_max: usize) -> Result<(Reply, Option<Duration>), String> {
        let Came { status, headers, keep, .. } = self.ask().await?;
        let body = self.http.body(bytes_max).await?;
        Ok((Reply { status, headers, body }, keep))
    }

    /// Sends the request and reads the answer's head.
    async fn ask(&mut self) -> Result<Came, String> {
        match (self.http.ask(&self.request).await, self.redial.take()) {
            (Err(Lost::Unanswered(_)), Some(redial)) => Box::pin(self.ask_again(redial)).await,
            (came, _) => came.map_err(Lost::why),
        }
    }

    async fn ask_again(&mut self, redial: Redial) -> Result<Came, String> {
        let stream = dial(&redial.connector, &self.line, redial.within).await?;
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            return Err("the upstream changed to HTTP/2 meanwhile".to_owned());
        }
        self.http = Http1::on(stream);
        self.http.ask(&self.request).await.map_err(Lost::why)
    }

    /// Gives the connection back, if both sides mean to keep it; else it is closed.
    fn release(self, keep: Option<Duration>, idle: Duration) {
        let idle = keep.map_or(Duration::ZERO, |stated| stated.min(idle));
        if !idle.is_zero()
            && let Some(stream) = self.http.into_free()
        {
            self.line.pool().keep(stream, idle);
        }
    }
}

/// A new connection: DNS, TCP and TLS within `within`.
pub(super) async fn dial(
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

/// What a connection failed for. No byte of a request or an answer can stand in it.
fn innermost(error: &Error) -> String {
    let cause = error.root_cause().to_string();
    cause.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// pingora panics on what it cannot read, so it is asked where that does no harm.
fn connector(authorities: Option<&Path>) -> Option<TransportConnector> {
    // Connections that wait are kept here, not there.
    let mut options = ConnectorOptions::new(1);
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
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
        let Exchange::NotSent(why) =
            network.exchange(&to, &send, (Connection::Pooled, NEVER)).await
        else {
            unreachable!("it was sent");
        };
        assert!(why.contains("were not loaded"), "{why}");
    }
}

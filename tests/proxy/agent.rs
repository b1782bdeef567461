//! A server under test with an upstream behind it, and an agent that sends raw bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tollhouse::call::{Answer, Body, Request};
use tollhouse::outbound::{Connection, Exchange, Network, Outbound, Outgoing, Upstream};
use tollhouse::proxy::{Bounds, Hosts, Listener, Server, Service, Tls, problem};
use tollhouse::refusal::{Code, Refusal};

/// No step of a test takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that is seen behind the server.
#[derive(Default)]
pub struct Seen {
    pub requests: Mutex<Vec<Request>>,
    pub refused: Mutex<Vec<Code>>,
    pub finished: AtomicUsize,
}

pub struct House {
    pub server: Server,
    address: SocketAddr,
    pub seen: Arc<Seen>,
}

pub fn quick() -> Bounds {
    Bounds {
        head: Duration::from_millis(300),
        body: Duration::from_millis(300),
        idle: Duration::from_secs(5),
        write: Duration::from_secs(5),
        ..Bounds::default()
    }
}

pub fn text(status: u16, body: impl Into<Body>) -> Answer {
    Answer { status, reason: None, headers: HeaderMap::new(), body: body.into() }
}

impl House {
    /// Serves `handle` on a port of its own.
    pub fn open<F>(bounds: Bounds, handle: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::open_with(None, bounds, handle)
    }

    /// The same over TLS.
    pub fn open_with<F>(
        tls: Option<Arc<Tls>>,
        bounds: Bounds,
        handle: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let seen = Arc::new(Seen::default());
        let (requests, refused) = (Arc::clone(&seen), Arc::clone(&seen));
        let service = Service {
            handle: Arc::new(move |request: Request| {
                requests.requests.lock().push(request.clone());
                let (answer, seen) = (handle(request), Arc::clone(&requests));
                Box::pin(async move {
                    let answer = answer.await;
                    seen.finished.fetch_add(1, Ordering::SeqCst);
                    answer
                })
            }),
            turn_back: Arc::new(move |refusal: Refusal, _| {
                refused.refused.lock().push(refusal.code);
                problem(&refusal)
            }),
        };
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let hosts = Hosts::Named(vec!["x".into()]);
        let server = Server::start(service, bounds);
        let ready = server.ready(Listener { number: 0, socket, hosts, tls }).unwrap();
        let address = server.open(ready).address();
        Self { server, address, seen }
    }

    /// Serves an echo of target and body length.
    pub fn echo(bounds: Bounds) -> Self {
        Self::open(bounds, |request| async move {
            text(200, format!("{} {} {}", request.method, request.target, request.body.len()))
        })
    }

    /// Forwards every request to `upstream` once.
    pub fn before(upstream: SocketAddr, bounds: Bounds) -> Self {
        let outbound = Arc::new(Outbound::Network(Network::new([]).unwrap()));
        let to = Arc::new(Upstream::parse("up", &format!("http://{upstream}")).unwrap());
        Self::open(bounds, move |request| {
            let (outbound, to) = (Arc::clone(&outbound), Arc::clone(&to));
            async move {
                let send = Outgoing {
                    method: request.method,
                    target: request.target,
                    headers: Vec::new(),
                    body: request.body,
                };
                match outbound.exchange(&to, send, Connection::Fresh).await {
                    Exchange::Answered(reply) => text(reply.status, reply.body),
                    Exchange::NotSent(why) => text(502, why),
                    Exchange::Unknown(why) => text(504, why),
                }
            }
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends `bytes` and reads all that comes until the server closes.
    pub async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may close while a refused body is still on its way.
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        let both = async {
            let (_, read) = tokio::join!(write.write_all(bytes), read.read_to_end(&mut answer));
            read
        };
        timeout(PATIENCE, both).await.expect("the server closes").expect("without a reset");
        String::from_utf8(answer).unwrap()
    }

    pub fn refused(&self) -> Vec<Code> {
        self.seen.refused.lock().clone()
    }

    pub fn handled(&self) -> usize {
        self.seen.requests.lock().len()
    }
}

/// Reads one answer with a length off a connection that is kept.
pub async fn one_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).await.expect("an answer");
            bytes.push(byte[0]);
            if bytes.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let head = String::from_utf8(bytes.clone()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
        stream.read_exact(&mut body).await.expect("a body");
        bytes.extend(body);
    };
    timeout(PATIENCE, read).await.expect("an answer in time");
    String::from_utf8(bytes).unwrap()
}

pub fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .map_or(0, |s| s.parse().unwrap())
}

pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

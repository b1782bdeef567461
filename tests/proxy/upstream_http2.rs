//! What an upstream may do over HTTP/2, and what is then known: answered, not sent, or unknown. The
//! upstream speaks in frames by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tollhouse::call::Chunk;
use tollhouse::outbound::{
    Connection, Exchange, Http, Network, Outbound, Outgoing, Stream, Upstream,
};

use super::agent::PATIENCE;
use super::raw::{self, block, frame, head, until};
use super::upstream::{self as one, Play as One, certificate};

/// What is done with a stream, once its request came whole.
#[derive(Clone)]
enum Play {
    /// These frames; the stream is theirs to name.
    Frames(fn(u32) -> Vec<u8>),
    /// These, then the connection is closed.
    Close(fn(u32) -> Vec<u8>),
    /// These, then more of the second for ever.
    Endless(fn(u32) -> Vec<u8>, fn(u32) -> Vec<u8>),
    /// One after the other, by stream over all connections; the last for ever.
    InTurn(Vec<Play>),
}

#[derive(Default)]
struct Seen {
    hits: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    resets: AtomicUsize,
    blocks: Mutex<Vec<Vec<u8>>>,
}

struct Fake {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Fake {
    fn play(play: Play) -> Self {
        Self::behind(play, None, Vec::new())
    }

    fn behind(play: Play, tls: Option<pingora::tls::TlsAcceptor>, settings: Vec<u8>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (play, seen) = (play.clone(), Arc::clone(&shared));
                let (tls, settings) = (tls.clone(), settings.clone());
                tokio::spawn(async move {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    match tls {
                        None => converse(stream, &play, &seen, &settings).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => converse(stream, &play, &seen, &settings).await,
                            Err(_) => None,
                        },
                    };
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen }
    }

    fn hits(&self) -> usize {
        self.seen.hits.load(Ordering::SeqCst)
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn upstream(&self) -> Upstream {
        let mut to = Upstream::parse("fake", &format!("http://{}", self.address)).unwrap();
        to.answer = Duration::from_millis(400);
        to.http = Http::Two;
        to
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    play: &Play,
    seen: &Seen,
    settings: &[u8],
) -> Option<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.ok()?;
    assert_eq!(preface, raw::PREFACE);
    stream.write_all(&frame(raw::SETTINGS, 0, 0, settings)).await.ok()?;
    loop {
        let came = raw::next(&mut stream).await?;
        match came.kind {
            raw::SETTINGS if came.flags & raw::ACK == 0 => {
                stream.write_all(&frame(raw::SETTINGS, raw::ACK, 0, b"")).await.ok()?;
            }
            raw::PING if came.flags & raw::ACK == 0 => {
                stream.write_all(&frame(raw::PING, raw::ACK, 0, &came.payload)).await.ok()?;
            }
            raw::RESET => drop(seen.resets.fetch_add(1, Ordering::SeqCst)),
            raw::HEADERS => seen.blocks.lock().push(came.payload.clone()),
            _ => {}
        }
        if !matches!(came.kind, raw::HEADERS | raw::DATA) || came.flags & raw::END_STREAM == 0 {
            continue;
        }
        let nth = seen.hits.fetch_add(1, Ordering::SeqCst);
        let play = match play {
            Play::InTurn(plays) => plays.get(nth).or(plays.last())?,
            other => other,
        };
        match play {
            Play::Frames(frames) => stream.write_all(&frames(came.stream)).await.ok()?,
            Play::Close(frames) => {
                stream.write_all(&frames(came.stream)).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Play::Endless(frames, more) => {
                stream.write_all(&frames(came.stream)).await.ok()?;
                loop {
                    stream.write_all(&more(came.stream)).await.ok()?;
                    sleep(Duration::from_millis(5)).await;
                }
            }
            Play::InTurn(_) => return None,
        }
    }
}

fn answer(id: u32, fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let all: Vec<(&str, &str)> = [&[(":status", "200")], fields].concat();
    head(id, flags, &block(&all))
}

fn ok(id: u32) -> Vec<u8> {
    [answer(id, &[("content-length", "5")], 0), data(id, b"hello", raw::END_STREAM)].concat()
}

fn data(id: u32, bytes: &[u8], flags: u8) -> Vec<u8> {
    frame(raw::DATA, flags, id, bytes)
}

fn reset(id: u32, reason: u32) -> Vec<u8> {
    frame(raw::RESET, 0, id, &reason.to_be_bytes())
}

fn goaway(last: u32, reason: u32) -> Vec<u8> {
    frame(raw::GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

fn interim(id: u32) -> Vec<u8> {
    head(id, 0, &block(&[(":status", "103"), ("link", "</a>")]))
}

fn nothing(_: u32) -> Vec<u8> {
    Vec::new()
}

fn send(method: Method, body: &'static str) -> Outgoing {
    Outgoing { method, target: "/v1/x".into(), headers: Vec::new(), body: body.into() }
}

fn outbound() -> Outbound {
    Outbound::Network(Network::new([]).unwrap())
}

fn word(exchange: &Exchange) -> &'static str {
    match exchange {
        Exchange::Answered(_) => "answered",
        Exchange::NotSent(_) => "not sent",
        Exchange::Unknown(_) => "unknown",
    }
}

/// The request came whole, once, and then this happened. Not sent is only what the upstream proves.
#[tokio::test]
async fn only_a_whole_answer_or_a_proof_that_it_was_not_processed_is_known() {
    use Play::{Close, Endless, Frames};
    let table: Vec<(&str, Play, &str)> = vec![
        ("an answer", Frames(ok), "answered"),
        ("an answer without a body", Frames(|id| answer(id, &[], raw::END_STREAM)), "answered"),
        (
            "trailers",
            Frames(|id| {
                let late = head(id, raw::END_STREAM, &block(&[("x-late", "1")]));
                [answer(id, &[], 0), data(id, b"hello", 0), late].concat()
            }),
            "answered",
        ),
        ("an interim answer first", Frames(|id| [interim(id), ok(id)].concat()), "answered"),
        (
            "a reset that ends nothing",
            Frames(|id| [ok(id), reset(id, raw::NO_ERROR)].concat()),
            "answered",
        ),
        ("refused", Frames(|id| reset(id, raw::REFUSED_STREAM)), "not sent"),
        ("a farewell before it", Frames(|_| goaway(0, raw::NO_ERROR)), "not sent"),
        ("an angry farewell before it", Close(|_| goaway(0, raw::ENHANCE_YOUR_CALM)), "not sent"),
        ("a farewell with it, then the end", Close(|id| goaway(id, raw::NO_ERROR)), "unknown"),
        ("a farewell with it, then silence", Frames(|id| goaway(id, raw::NO_ERROR)), "unknown"),
        ("an angry farewell with it", Close(|id| goaway(id, raw::PROTOCOL_ERROR)), "unknown"),
        (
            "a farewell with it, then its answer",
            Frames(|id| [goaway(id, 0), ok(id)].concat()),
            "answered",
        ),
        ("a farewell to all", Close(|_| goaway(0x7fff_ffff, raw::NO_ERROR)), "unknown"),
        ("cancelled", Frames(|id| reset(id, raw::CANCEL)), "unknown"),
        ("reset with an error", Frames(|id| reset(id, raw::PROTOCOL_ERROR)), "unknown"),
        ("reset without one", Frames(|id| reset(id, raw::NO_ERROR)), "unknown"),
        (
            "refused after an interim answer",
            Frames(|id| [interim(id), reset(id, raw::REFUSED_STREAM)].concat()),
            "unknown",
        ),
        (
            "refused after its head",
            Frames(|id| [answer(id, &[], 0), reset(id, raw::REFUSED_STREAM)].concat()),
            "unknown",
        ),
        (
            "a farewell before it after its head",
            Frames(|id| [answer(id, &[], 0), goaway(0, raw::NO_ERROR)].concat()),
            "unknown",
        ),
        ("closed unanswered", Close(nothing), "unknown"),
        ("silence", Frames(nothing), "unknown"),
        (
            "half a head",
            Close(|id| frame(raw::HEADERS, 0, id, &block(&[(":status", "200")]))),
            "unknown",
        ),
        ("half a body", Close(|id| [answer(id, &[], 0), data(id, b"hel", 0)].concat()), "unknown"),
        (
            "half a body, then silence",
            Frames(|id| [answer(id, &[], 0), data(id, b"hel", 0)].concat()),
            "unknown",
        ),
        (
            "half a body, then a reset",
            Frames(|id| [answer(id, &[], 0), data(id, b"hel", 0), reset(id, raw::CANCEL)].concat()),
            "unknown",
        ),
        (
            "less than it says",
            Frames(|id| {
                [answer(id, &[("content-length", "5")], 0), data(id, b"hel", raw::END_STREAM)]
                    .concat()
            }),
            "unknown",
        ),
        (
            "more than it says",
            Frames(|id| {
                [answer(id, &[("content-length", "3")], 0), data(id, b"hello", raw::END_STREAM)]
                    .concat()
            }),
            "unknown",
        ),
        (
            "one length twice",
            Frames(|id| {
                let twice = [("content-length", "5"), ("content-length", "5")];
                [answer(id, &twice, 0), data(id, b"hello", raw::END_STREAM)].concat()
            }),
            "unknown",
        ),
        (
            "a length that is none",
            Frames(|id| {
                [answer(id, &[("content-length", "+5")], 0), data(id, b"hello", raw::END_STREAM)]
                    .concat()
            }),
            "unknown",
        ),
        (
            "a field of a connection",
            Frames(|id| answer(id, &[("transfer-encoding", "chunked")], raw::END_STREAM)),
            "unknown",
        ),
        (
            "an upper-case name",
            Frames(|id| answer(id, &[("X-A", "b")], raw::END_STREAM)),
            "unknown",
        ),
        ("LF in a value", Frames(|id| answer(id, &[("a", "b\nc: d")], raw::END_STREAM)), "unknown"),
        ("no status", Frames(|id| head(id, raw::END_STREAM, &block(&[("a", "b")]))), "unknown"),
        (
            "two statuses",
            Frames(|id| answer(id, &[(":status", "402")], raw::END_STREAM)),
            "unknown",
        ),
        (
            "101",
            Frames(|id| [head(id, 0, &block(&[(":status", "101")])), ok(id)].concat()),
            "unknown",
        ),
        ("many interim answers", Frames(|id| [interim(id).repeat(12), ok(id)].concat()), "unknown"),
        ("endless interim answers", Endless(nothing, interim), "unknown"),
        ("endless data", Endless(|id| answer(id, &[], 0), |id| data(id, b"x", 0)), "unknown"),
        ("endless empty data", Endless(|id| answer(id, &[], 0), |id| data(id, b"", 0)), "unknown"),
        (
            "an endless head",
            Endless(
                |id| frame(raw::HEADERS, 0, id, &block(&[(":status", "200")])),
                |id| frame(raw::CONTINUATION, 0, id, &block(&[("a", "b")])),
            ),
            "unknown",
        ),
        (
            "a head too large",
            Frames(|id| answer(id, &[("a", &"b".repeat(70 << 10))], raw::END_STREAM)),
            "unknown",
        ),
        (
            "too large",
            Frames(|id| {
                let half = data(id, &[b'x'; 600], 0);
                [answer(id, &[], 0), half.clone(), half].concat()
            }),
            "unknown",
        ),
        ("what is no frame", Close(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), "unknown"),
        ("an answer to nobody", Frames(|id| ok(id + 2)), "unknown"),
        ("pushed", Frames(|id| frame(5, raw::END_HEADERS, id, &[0, 0, 0, 2, 0x88])), "unknown"),
    ];
    let outbound = outbound();
    for (name, play, expected) in table {
        let fake = Fake::play(play);
        let mut to = fake.upstream();
        to.answer_bytes_max = 1000;
        let exchange = outbound.exchange(&to, send(Method::POST, "a"), Connection::Fresh).await;
        assert_eq!(word(&exchange), expected, "{name}: {exchange:?}");
        assert_eq!((fake.hits(), fake.connections()), (1, 1), "{name}");
        if let Exchange::Answered(reply) = exchange {
            assert_eq!(reply.status, 200, "{name}");
            assert!(!reply.headers.contains_key("content-length"), "{name}");
            assert!(!reply.headers.contains_key("x-late"), "{name}");
        }
        // It has not to be told twice: a connection of its own is not kept.
        until(name, || fake.seen.open.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn what_speaks_no_http_2_is_not_sent_to() {
    let outbound = outbound();
    // It answers HTTP/1.1, closes, or says nothing at all.
    for play in [One::ok("hello"), One::Close(String::new()), One::Hang(String::new())] {
        let fake = one::Fake::play(play);
        let mut to = fake.upstream();
        (to.http, to.connect) = (Http::Two, Duration::from_millis(300));
        let exchange = outbound.exchange(&to, send(Method::POST, "a"), Connection::Fresh).await;
        assert_eq!(word(&exchange), "not sent", "{exchange:?}");
    }
    let mut nowhere = Upstream::parse("x", "http://127.0.0.1:1").unwrap();
    nowhere.http = Http::Two;
    let exchange = outbound.exchange(&nowhere, send(Method::POST, "a"), Connection::Fresh).await;
    assert_eq!(word(&exchange), "not sent", "{exchange:?}");
}

#[tokio::test]
async fn a_head_says_where_it_goes_and_what_the_agent_may_say() {
    let fake = Fake::play(Play::Frames(ok));
    let pair = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut secret = HeaderValue::from_static("Bearer secret");
    secret.set_sensitive(true);
    let send = Outgoing {
        headers: vec![
            pair("connection", "authorization"),
            pair("te", "gzip"),
            pair("host", "evil.example"),
            pair("x-kept", "kept-as-it-is"),
            (http::header::AUTHORIZATION, secret),
        ],
        ..send(Method::POST, "abc")
    };
    let exchange = outbound().exchange(&fake.upstream(), send, Connection::Pooled).await;
    assert_eq!(word(&exchange), "answered", "{exchange:?}");
    let blocks = fake.seen.blocks.lock();
    // SECURITY: never indexed (RFC 7541 s7.1.3): 0x1 in the high half of its first byte, name 23.
    assert!(blocks[0].windows(2).any(|two| two == [0x1f, 0x08]), "{:x?}", blocks[0]);
}

/// What is stopped once there is a connection: no byte of it leaves, and the next call goes on.
#[tokio::test]
async fn what_is_stopped_while_it_connects_was_not_sent() {
    let fake = Fake::play(Play::Frames(ok));
    let (outbound, to) = (outbound(), fake.upstream());
    for connection in [Connection::Fresh, Connection::Pooled] {
        let stop = || Some("frozen".to_owned());
        let call = send(Method::POST, "a");
        let exchange = outbound.exchange_unless(&to, call, (connection, &stop)).await;
        assert_eq!(exchange, Exchange::NotSent("frozen".to_owned()));
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.hits(), 0);
    let (asked, call) = (AtomicUsize::new(0), send(Method::POST, "a"));
    let stop = || (asked.fetch_add(1, Ordering::SeqCst) > 0).then(|| "twice".to_owned());
    let exchange = outbound.exchange_unless(&to, call, (Connection::Fresh, &stop)).await;
    assert_eq!((word(&exchange), fake.hits()), ("answered", 1), "{exchange:?}");
}

/// Reads share a connection; an effect has its own and does not leave it to others.
#[tokio::test]
async fn reads_share_a_connection_and_an_effect_has_its_own() {
    let fake = Fake::play(Play::Frames(ok));
    let (outbound, to) = (outbound(), fake.upstream());
    for _ in 0..20 {
        let exchange = outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
        assert_eq!(word(&exchange), "answered", "{exchange:?}");
    }
    assert_eq!((fake.hits(), fake.connections()), (20, 1));
    let calls = (0..40).map(|_| outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled));
    for exchange in futures_util::future::join_all(calls).await {
        assert_eq!(word(&exchange), "answered", "{exchange:?}");
    }
    assert_eq!((fake.hits(), fake.connections()), (60, 1));
    for n in 0..3 {
        let exchange = outbound.exchange(&to, send(Method::POST, "a"), Connection::Fresh).await;
        assert_eq!(word(&exchange), "answered", "{exchange:?}");
        assert_eq!(fake.connections(), n + 2);
    }
    until("its connection ends", || fake.seen.open.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_large_body_and_a_large_answer_pass_their_windows() {
    fn large(id: u32) -> Vec<u8> {
        let part = data(id, &[b'x'; 16_000], 0);
        [answer(id, &[], 0), part.repeat(15), data(id, b"", raw::END_STREAM)].concat()
    }
    // A window of 100 bytes at first.
    let fake = Fake::behind(Play::Frames(large), None, vec![0, 4, 0, 0, 0, 100]);
    let mut to = fake.upstream();
    to.answer = PATIENCE;
    let (outbound, bodies) = (outbound(), "b".repeat(90));
    let send = Outgoing { body: bodies.into(), ..send(Method::POST, "") };
    let exchange = outbound.exchange(&to, send, Connection::Pooled).await;
    let Exchange::Answered(reply) = exchange else { panic!("{exchange:?}") };
    assert_eq!(reply.body.len(), 240_000);
}

/// A connection that the other side closed, or that it says is over, is not the next call's trouble.
#[tokio::test]
async fn a_read_on_a_connection_that_was_closed_goes_once_more_and_nothing_else_does() {
    for (name, first) in [
        ("closed after it", Play::Close(ok)),
        ("a farewell after it", Play::Frames(|id| [ok(id), goaway(id, 0)].concat())),
    ] {
        let fake = Fake::play(Play::InTurn(vec![first.clone(), Play::Frames(ok)]));
        let (outbound, to) = (outbound(), fake.upstream());
        for method in [Method::GET, Method::POST] {
            let exchange = outbound.exchange(&to, send(method, ""), Connection::Pooled).await;
            assert_eq!(word(&exchange), "answered", "{name}: {exchange:?}");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((fake.hits(), fake.connections()), (2, 2), "{name}");
    }
    // Closed under it: the read is asked again, once; the effect may have happened.
    for (name, second, read, effect) in [
        ("closed", Play::Close(nothing), "answered", "unknown"),
        ("a farewell before it", Play::Frames(|_| goaway(1, 0)), "answered", "not sent"),
        ("refused", Play::Frames(|id| reset(id, raw::REFUSED_STREAM)), "answered", "not sent"),
        ("cancelled", Play::Frames(|id| reset(id, raw::CANCEL)), "unknown", "unknown"),
        ("silent", Play::Frames(nothing), "unknown", "unknown"),
    ] {
        for (method, expected) in [(Method::GET, read), (Method::POST, effect)] {
            let plays = vec![Play::Frames(ok), second.clone(), Play::Frames(ok)];
            let fake = Fake::play(Play::InTurn(plays));
            let (outbound, to) = (outbound(), fake.upstream());
            outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
            let exchange =
                outbound.exchange(&to, send(method.clone(), ""), Connection::Pooled).await;
            assert_eq!(word(&exchange), expected, "{name} {method}: {exchange:?}");
            let hits = if expected == "answered" { 3 } else { 2 };
            assert_eq!(fake.hits(), hits, "{name} {method}");
        }
    }
    // Twice under it: that is all.
    let fake = Fake::play(Play::InTurn(vec![Play::Frames(ok), Play::Close(nothing)]));
    let (outbound, to) = (outbound(), fake.upstream());
    outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
    let exchange = outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
    assert_eq!((word(&exchange), fake.hits()), ("unknown", 3));
}

#[tokio::test]
async fn a_connection_that_went_silent_is_not_taken_again() {
    let plays = vec![Play::Frames(ok), Play::Frames(nothing), Play::Frames(ok)];
    let fake = Fake::play(Play::InTurn(plays));
    let (outbound, to) = (outbound(), fake.upstream());
    for (expected, connections) in [("answered", 1), ("unknown", 1), ("answered", 2)] {
        let exchange = outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
        assert_eq!((word(&exchange), fake.connections()), (expected, connections));
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let fake = Fake::play(Play::Frames(ok));
    let (outbound, mut to) = (outbound(), fake.upstream());
    to.idle = Duration::from_millis(400);
    outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
    assert_eq!(fake.seen.open.load(Ordering::SeqCst), 1);
    until("it is closed", || fake.seen.open.load(Ordering::SeqCst) == 0).await;
    let exchange = outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
    assert_eq!((word(&exchange), fake.connections()), ("answered", 2));
}

/// The upstream takes two streams at a time: the third waits, and is not sent if that takes too long.
#[tokio::test]
async fn more_streams_than_the_upstream_takes_wait() {
    let settings = vec![0, 3, 0, 0, 0, 2];
    let fake = Fake::behind(Play::Frames(ok), None, settings);
    let (outbound, to) = (outbound(), fake.upstream());
    let calls = (0..20).map(|_| outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled));
    for exchange in futures_util::future::join_all(calls).await {
        assert_eq!(word(&exchange), "answered", "{exchange:?}");
    }
}

/// With TLS it is what both sides settle on.
#[tokio::test]
async fn which_http_is_spoken_is_settled_with_tls() {
    let dir = tempfile::tempdir().unwrap();
    for (name, offered, http, expected) in [
        ("both want 2", &[&b"h2"[..]][..], Http::Two, Some("h2")),
        ("it offers both", &[b"h2", b"http/1.1"], Http::Auto, Some("h2")),
        ("it offers 1.1", &[b"http/1.1"], Http::Auto, Some("http/1.1")),
        ("it offers nothing", &[], Http::Auto, Some("http/1.1")),
        ("2 is a must", &[b"http/1.1"], Http::Two, None),
        ("2 is a must, and nothing is offered", &[], Http::Two, None),
        ("1.1 is a must", &[b"h2", b"http/1.1"], Http::One, Some("http/1.1")),
    ] {
        let (pem, acceptor) = certificate("localhost", offered);
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let two = expected == Some("h2");
        let (port, hits): (u16, Box<dyn Fn() -> (usize, usize)>) = if two {
            let fake = Fake::behind(Play::Frames(ok), Some(acceptor), Vec::new());
            (fake.address.port(), Box::new(move || (fake.hits(), fake.connections())))
        } else {
            let fake = one::Fake::behind(One::ok("hello"), Some(acceptor));
            (fake.address.port(), Box::new(move || (fake.hits(), fake.connections())))
        };
        let outbound = Outbound::Network(Network::new([file.as_path()]).unwrap());
        let mut to = Upstream::parse("x", &format!("https://localhost:{port}")).unwrap();
        (to.ca, to.http) = (Some(file), http);
        for _ in 0..2 {
            let exchange = outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
            let word = word(&exchange);
            assert_eq!(word == "answered", expected.is_some(), "{name}: {exchange:?}");
            assert!(matches!(word, "answered" | "not sent"), "{name}: {exchange:?}");
        }
        match expected {
            // One connection carried both.
            Some(_) => assert_eq!(hits(), (2, 1), "{name}"),
            None => assert_eq!(hits().0, 0, "{name}"),
        }
    }
}

#[tokio::test]
async fn a_stream_comes_as_it_is_sent_and_ends_as_it_ends() {
    use tollhouse::call::Ended;

    let begin: fn(u32) -> Vec<u8> = |id| {
        [answer(id, &[("content-type", "text/event-stream")], 0), data(id, b"data: a\n\n", 0)]
            .concat()
    };

    for (name, play, expected) in [
        (
            "its end",
            Play::Frames(|id| {
                [answer(id, &[], 0), data(id, b"data: a\n\n", raw::END_STREAM)].concat()
            }),
            Ended::Whole,
        ),
        (
            "a reset",
            Play::Frames(|id| {
                [answer(id, &[], 0), data(id, b"data: a\n\n", 0), reset(id, raw::CANCEL)].concat()
            }),
            Ended::Upstream,
        ),
        ("closed", Play::Close(begin), Ended::Upstream),
        ("silence", Play::Frames(begin), Ended::Quiet),
        ("for ever", Play::Endless(begin, |id| data(id, b": heartbeat\n\n", 0)), Ended::Time),
    ] {
        let fake = Fake::play(play);
        let (outbound, mut to) = (outbound(), fake.upstream());
        to.stream_idle = Duration::from_millis(200);
        to.stream = Duration::from_millis(500);
        let stream = outbound.exchange_stream(&to, send(Method::GET, ""), Connection::Pooled).await;
        let Stream::Answered(reply, mut chunks) = stream else { panic!("{name}: {stream:?}") };
        assert_eq!(reply.status, 200, "{name}");
        assert_eq!(
            chunks.next().await,
            Some(Chunk::Bytes(Bytes::from_static(b"data: a\n\n"))),
            "{name}"
        );
        let (told, ended) = std::sync::mpsc::channel();
        chunks.at_end(move |ended| told.send(ended).unwrap());
        let last = async {
            let mut last = None;
            while let Some(chunk) = chunks.next().await {
                last = Some(chunk);
            }
            last
        };
        let last = timeout(PATIENCE, last).await.expect(name);
        assert_eq!(last == Some(Chunk::End), expected == Ended::Whole, "{name}");
        drop(chunks);
        assert_eq!(ended.recv().unwrap(), expected, "{name}");
    }
    // The agent leaves: the upstream is told at once, though it says nothing.
    let fake = Fake::play(Play::Frames(begin));
    let stream = outbound()
        .exchange_stream(&fake.upstream(), send(Method::GET, ""), Connection::Pooled)
        .await;
    let Stream::Answered(_, chunks) = stream else { panic!("{stream:?}") };
    drop(chunks);
    until("a reset", || fake.seen.resets.load(Ordering::SeqCst) == 1).await;
}

//! What an upstream may do, and what is then known: answered, not sent, or unknown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tollhouse::call::Chunk;
use tollhouse::outbound::{
    Addresses, Connection, Exchange, Network, Outbound, Outgoing, Reply, Stream, Upstream,
};

/// What the fake does once it has read a request.
#[derive(Clone)]
pub enum Play {
    /// Writes these bytes and reads the next request.
    Answer(String),
    /// Writes these bytes and closes.
    Close(String),
    /// Writes these bytes and resets.
    Reset(String),
    /// Writes these bytes and waits for ever.
    Hang(String),
    /// Writes these bytes, then more of the second for ever.
    Endless(String, &'static str),
    /// One after the other, by request over all connections; the last for ever.
    InTurn(Vec<Play>),
}

impl Play {
    pub fn ok(body: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

/// An upstream that counts and keeps what reached it.
pub struct Fake {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    hits: AtomicUsize,
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Fake {
    pub fn play(play: Play) -> Self {
        Self::behind(play, None)
    }

    pub fn behind(play: Play, tls: Option<pingora::tls::TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (play, seen, tls) = (play.clone(), Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &play, &seen).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => converse(stream, &play, &seen).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { address, seen }
    }

    /// Requests that were read whole.
    pub fn hits(&self) -> usize {
        self.seen.hits.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().clone()
    }

    pub fn upstream(&self) -> Upstream {
        let mut to = Upstream::parse("fake", &format!("http://{}", self.address)).unwrap();
        to.answer = Duration::from_millis(400);
        to
    }
}

trait Transport: AsyncRead + AsyncWrite + Unpin {
    fn reset(&self) {}
}

impl Transport for TcpStream {
    fn reset(&self) {
        #[expect(deprecated, reason = "to reset is what is meant")]
        self.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Transport for pingora::tls::ServerTlsStream<TcpStream> {}

async fn converse(mut stream: impl Transport, play: &Play, seen: &Seen) -> Option<()> {
    loop {
        let head = read_request(&mut stream).await?;
        let nth = seen.hits.fetch_add(1, Ordering::SeqCst);
        seen.heads.lock().push(head);
        let play = match play {
            Play::InTurn(plays) => plays.get(nth).or(plays.last())?,
            other => other,
        };
        match play {
            Play::Answer(bytes) => stream.write_all(bytes.as_bytes()).await.ok()?,
            Play::Close(bytes) => return stream.write_all(bytes.as_bytes()).await.ok(),
            Play::Reset(bytes) => {
                stream.write_all(bytes.as_bytes()).await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.reset();
                return None;
            }
            Play::Hang(bytes) => {
                stream.write_all(bytes.as_bytes()).await.ok()?;
                std::future::pending::<()>().await;
            }
            Play::Endless(bytes, more) => {
                stream.write_all(bytes.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(more.as_bytes()).await.ok()?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Play::InTurn(_) => return None,
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
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

fn head(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
}

/// The request was read whole by the upstream, once, and then this happened.
#[tokio::test]
async fn after_the_first_byte_only_a_whole_answer_is_known() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(12);
    let table: Vec<(&str, Play, &str)> = vec![
        ("an answer", Play::ok("hello"), "answered"),
        (
            "100 first",
            Play::Answer(format!(
                "HTTP/1.1 100 Continue\r\n\r\n{}hello",
                head("Content-Length: 5\r\n")
            )),
            "answered",
        ),
        (
            "chunks",
            Play::Answer(format!(
                "{}3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                head("Transfer-Encoding: chunked\r\n")
            )),
            "answered",
        ),
        ("until it closes", Play::Close(format!("{}hello", head(""))), "answered"),
        (
            "HTTP/1.0",
            Play::Close("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".into()),
            "answered",
        ),
        ("closed unanswered", Play::Close(String::new()), "unknown"),
        ("reset unanswered", Play::Reset(String::new()), "unknown"),
        ("silence", Play::Hang(String::new()), "unknown"),
        ("half a head", Play::Close("HTTP/1.1 200 OK\r\nContent-".into()), "unknown"),
        ("half a body", Play::Close(format!("{}hel", head("Content-Length: 5\r\n"))), "unknown"),
        (
            "half a body, then silence",
            Play::Hang(format!("{}hel", head("Content-Length: 5\r\n"))),
            "unknown",
        ),
        (
            "half a body, then a reset",
            Play::Reset(format!("{}hel", head("Content-Length: 5\r\n"))),
            "unknown",
        ),
        (
            "chunks without an end",
            Play::Close(format!("{}3\r\nhel\r\n", head("Transfer-Encoding: chunked\r\n"))),
            "unknown",
        ),
        (
            "endless chunks",
            Play::Endless(head("Transfer-Encoding: chunked\r\n"), "1\r\nx\r\n"),
            "unknown",
        ),
        ("an endless head", Play::Endless("HTTP/1.1 200 OK\r\n".into(), "X: y\r\n"), "unknown"),
        (
            "endless interim answers",
            Play::Endless(String::new(), "HTTP/1.1 100 Continue\r\n\r\n"),
            "unknown",
        ),
        (
            "many interim answers",
            Play::Answer(format!("{interim}{}", head("Content-Length: 0\r\n"))),
            "unknown",
        ),
        (
            "101",
            Play::Answer(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n{}hello",
                head("Content-Length: 5\r\n")
            )),
            "unknown",
        ),
        ("too large by length", Play::Hang(head("Content-Length: 1001\r\n")), "unknown"),
        (
            "too large in two parts",
            Play::Answer(format!(
                "{}258\r\n{}\r\n258\r\n{}\r\n0\r\n\r\n",
                head("Transfer-Encoding: chunked\r\n"),
                "x".repeat(600),
                "x".repeat(600)
            )),
            "unknown",
        ),
        (
            "too large by bytes",
            Play::Answer(format!(
                "{}3e9\r\n{}\r\n0\r\n\r\n",
                head("Transfer-Encoding: chunked\r\n"),
                "x".repeat(1001)
            )),
            "unknown",
        ),
        (
            "both framings",
            Play::Answer(format!(
                "{}0\r\n\r\n",
                head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")
            )),
            "unknown",
        ),
        (
            "two lengths",
            Play::Answer(format!("{}hello", head("Content-Length: 5\r\nContent-Length: 4\r\n"))),
            "unknown",
        ),
        (
            "a signed length",
            Play::Answer(format!("{}hello", head("Content-Length: +5\r\n"))),
            "unknown",
        ),
        (
            "another coding",
            Play::Answer(format!("{}0\r\n\r\n", head("Transfer-Encoding: gzip, chunked\r\n"))),
            "unknown",
        ),
        (
            "a coding in HTTP/1.0",
            Play::Close("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
            "unknown",
        ),
        (
            "a folded line",
            Play::Answer(format!("{}hello", head("Content-Length: 5\r\nX: a\r\n b\r\n"))),
            "answered",
        ),
        ("no HTTP", Play::Close("SSH-2.0-OpenSSH_9.2\r\n".into()), "unknown"),
    ];
    let outbound = Arc::new(outbound());
    let mut rows = tokio::task::JoinSet::new();
    for (name, play, expected) in table {
        for method in [Method::POST, Method::GET] {
            rows.spawn(judge(Arc::clone(&outbound), name, play.clone(), expected, method));
        }
    }
    while let Some(row) = rows.join_next().await {
        row.unwrap();
    }
}

async fn judge(
    outbound: Arc<Outbound>,
    name: &'static str,
    play: Play,
    expected: &'static str,
    method: Method,
) {
    let fake = Fake::play(play);
    let mut to = fake.upstream();
    to.answer_bytes_max = 1000;
    let exchange = outbound.exchange(&to, send(method, "a=b"), Connection::Fresh).await;
    assert_eq!(word(&exchange), expected, "{name}: {exchange:?}");
    if let ("101", Exchange::Unknown(why)) = (name, &exchange) {
        // At once, and not because nothing more came.
        assert!(why.contains("switched protocols"), "{why}");
    }
    if let Exchange::Answered(reply) = exchange {
        assert_eq!((reply.status, &*reply.body), (200, &b"hello"[..]), "{name}");
        let broken = |value: &HeaderValue| value.as_bytes().iter().any(|b| *b < b' ');
        assert!(!reply.headers.values().any(broken), "{name}");
    }
    assert_eq!(fake.hits(), 1, "{name}");
}

/// Not a byte of the request left.
#[tokio::test]
async fn what_failed_before_the_first_byte_was_not_sent() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let fake = Fake::play(Play::ok(""));
    let plain = fake.address;
    let outbound = outbound();
    for (name, url, addresses, why) in [
        ("a port that nobody has", format!("http://{free}"), None, "refused"),
        (
            "a handshake that nobody answers",
            format!("https://{}", silent.local_addr().unwrap()),
            None,
            "within 200ms",
        ),
        ("no TLS on the other side", format!("https://{plain}"), None, "no connection"),
        ("a name that nobody has", "http://nobody.invalid".into(), None, "DNS"),
        (
            "a name that leads home",
            format!("http://localhost:{}", plain.port()),
            Some(Addresses::Public),
            "does not allow",
        ),
    ] {
        let mut to = Upstream::parse("x", &url).unwrap();
        to.connect = Duration::from_millis(200);
        if name.contains("nobody has") && name.contains("name") {
            // A resolver without a network may take its time to say so.
            to.connect = Duration::from_secs(20);
        }
        to.addresses = addresses.unwrap_or(to.addresses);
        let exchange = outbound.exchange(&to, send(Method::POST, "a=b"), Connection::Fresh).await;
        let Exchange::NotSent(said) = &exchange else { panic!("{name}: {exchange:?}") };
        assert!(said.contains(why), "{name}: {said}");
    }
    assert_eq!(fake.hits(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let other = Fake::play(Play::ok("never"));
    let location = format!(
        "HTTP/1.1 307 Go\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        other.address
    );
    let fake = Fake::play(Play::Answer(location));
    let secret = (HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer s"));
    let send = Outgoing { headers: vec![secret], ..send(Method::POST, "a=b") };
    let Exchange::Answered(reply) =
        outbound().exchange(&fake.upstream(), send, Connection::Fresh).await
    else {
        panic!("no answer")
    };
    assert_eq!((reply.status, fake.hits(), other.hits()), (307, 1, 0));
}

#[tokio::test]
async fn fields_of_one_connection_stay_there_both_ways() {
    let fields = "Content-Length: 2\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nTrailer: X\r\nX-Kept: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n";
    let fake = Fake::play(Play::Answer(format!("{}hi", head(fields))));
    let pair = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers = vec![
        pair("connection", "authorization"),
        pair("te", "trailers"),
        pair("host", "evil.example"),
        pair("transfer-encoding", "chunked"),
        pair("authorization", "Bearer secret"),
        pair("x-many", "1"),
        pair("x-many", "2"),
    ];
    let send = Outgoing { headers, ..send(Method::POST, "a=b") };
    let exchange = outbound().exchange(&fake.upstream(), send, Connection::Fresh).await;
    let Exchange::Answered(Reply { headers, .. }) = exchange else { panic!("{exchange:?}") };
    let names: Vec<_> =
        headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    assert_eq!(names, ["x-kept: 1", "set-cookie: a", "set-cookie: b"]);
    let expected = format!(
        "POST /v1/x HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer secret\r\nX-Many: 1\r\nX-Many: 2\r\nContent-Length: 3\r\n\r\n",
        fake.address
    );
    assert_eq!(fake.heads(), [expected]);
}

/// What is stopped once there is a connection: no byte of it leaves, and the next call goes on.
#[tokio::test]
async fn what_is_stopped_while_it_connects_was_not_sent() {
    let fake = Fake::play(Play::ok("hello"));
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

#[tokio::test]
async fn a_pooled_connection_is_used_again_and_a_fresh_one_is_new() {
    let fake = Fake::play(Play::ok("hello"));
    let (outbound, to) = (outbound(), fake.upstream());
    for (connection, expected) in [
        (Connection::Pooled, 1),
        (Connection::Pooled, 1),
        (Connection::Fresh, 2),
        (Connection::Pooled, 2),
    ] {
        let exchange = outbound.exchange(&to, send(Method::GET, ""), connection).await;
        assert_eq!(word(&exchange), "answered");
        assert_eq!(fake.connections(), expected);
    }
    // Another upstream at the same address has connections of its own.
    outbound.exchange(&fake.upstream(), send(Method::GET, ""), Connection::Pooled).await;
    assert_eq!(fake.connections(), 3);
}

#[tokio::test]
async fn a_connection_that_either_side_ends_is_not_used_again() {
    for (name, answer) in [
        ("close", head("Connection: close\r\nContent-Length: 0\r\n")),
        ("about to close", head("Keep-Alive: timeout=1\r\nContent-Length: 0\r\n")),
        ("more than the answer", format!("{}surplus", head("Content-Length: 0\r\n"))),
    ] {
        let fake = Fake::play(Play::Answer(answer));
        let (outbound, to) = (outbound(), fake.upstream());
        for expected in [1, 2] {
            let exchange = outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
            assert_eq!(word(&exchange), "answered", "{name}");
            assert_eq!(fake.connections(), expected, "{name}");
        }
    }
}

/// The other side closes at the second request, as one does whose idle time is up.
#[tokio::test]
async fn a_read_on_a_stale_connection_goes_again_and_an_effect_does_not() {
    let again = || Play::InTurn(vec![Play::ok("1"), Play::Close(String::new()), Play::ok("3")]);
    for (method, expected, hits) in [
        (Method::GET, "answered", 3),
        (Method::HEAD, "answered", 3),
        (Method::POST, "unknown", 2),
        (Method::DELETE, "unknown", 2),
    ] {
        let fake = Fake::play(again());
        let (outbound, to) = (outbound(), fake.upstream());
        outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
        let exchange = outbound.exchange(&to, send(method.clone(), ""), Connection::Pooled).await;
        assert_eq!(word(&exchange), expected, "{method}: {exchange:?}");
        assert_eq!(fake.hits(), hits, "{method}");
    }
    // Once, and not where something else went wrong.
    let never = Play::InTurn(vec![Play::ok("1"), Play::Close(String::new())]);
    let garbage =
        Play::InTurn(vec![Play::ok("1"), Play::Close("nonsense\r\n\r\n".into()), Play::ok("3")]);
    for (play, hits) in [(never, 3), (garbage, 2)] {
        let fake = Fake::play(play);
        let (outbound, to) = (outbound(), fake.upstream());
        outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
        let exchange = outbound.exchange(&to, send(Method::GET, ""), Connection::Pooled).await;
        assert_eq!((word(&exchange), fake.hits()), ("unknown", hits));
    }
}

#[tokio::test]
async fn a_streamed_answer_comes_as_it_is_sent_and_a_cut_one_has_no_end() {
    let chunked = head("Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n");
    for (play, ends) in [
        (Play::Answer(format!("{chunked}3\r\nabc\r\n0\r\n\r\n")), true),
        (Play::Close(format!("{chunked}3\r\nabc\r\n")), false),
        (Play::Hang(format!("{chunked}3\r\nabc\r\n")), false),
    ] {
        let fake = Fake::play(play);
        let send = send(Method::GET, "");
        let mut to = fake.upstream();
        to.stream_idle = Duration::from_millis(300);
        let stream = outbound().exchange_stream(&to, send, Connection::Pooled).await;
        let Stream::Answered(reply, mut chunks) = stream else { panic!("{stream:?}") };
        assert_eq!((reply.status, reply.headers.len()), (200, 1));
        assert_eq!(chunks.next().await, Some(Chunk::Bytes(Bytes::from_static(b"abc"))));
        assert_eq!(chunks.next().await, ends.then_some(Chunk::End));
    }
}

/// What came along with its head is an answer at once, and its connection is free again.
#[tokio::test]
async fn a_streamed_answer_that_is_here_already_is_whole() {
    let sized = |length: usize| head(&format!("Content-Length: {length}\r\n"));
    let outbound = outbound();
    for (play, whole) in [
        (Play::Answer(format!("{}abc", sized(3))), Some("abc")),
        (Play::Answer(sized(0)), Some("")),
        (Play::Answer("HTTP/1.1 204 No Content\r\n\r\n".into()), Some("")),
        (Play::Hang(format!("{}ab", sized(3))), None),
        (Play::Close(format!("{}abc", head(""))), None),
    ] {
        let fake = Fake::play(play);
        let mut to = fake.upstream();
        to.stream_idle = Duration::from_millis(300);
        for _ in 0..2 {
            let send = send(Method::GET, "");
            match (outbound.exchange_stream(&to, send, Connection::Pooled).await, whole) {
                (Stream::Whole(reply), Some(body)) => assert_eq!(&*reply.body, body.as_bytes()),
                (Stream::Answered(reply, _), None) => assert_eq!(reply.status, 200),
                (stream, _) => panic!("{whole:?}: {stream:?}"),
            }
        }
        assert_eq!(fake.connections(), if whole.is_some() { 1 } else { 2 }, "{whole:?}");
    }
}

/// An authority of its own and a certificate by it for `name`, with what is offered by ALPN.
pub fn certificate(name: &str, offered: &[&[u8]]) -> (String, pingora::tls::TlsAcceptor) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
    pingora::tls::install_default_crypto_provider();
    let key = pingora::tls::PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap();
    let mut config = pingora::tls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    (authority.pem(), pingora::tls::TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_certificate_is_trusted_by_its_authority_and_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: &str| -> PathBuf {
        let file = dir.path().join(name);
        std::fs::write(&file, pem).unwrap();
        file
    };
    let (pem, acceptor) = certificate("localhost", &[]);
    let (other, _) = certificate("localhost", &[]);
    let (right, wrong) = (write("right.pem", &pem), write("wrong.pem", &other));
    let fake = Fake::behind(Play::ok("hello"), Some(acceptor));
    let port = fake.address.port();
    let network = Network::new([right.as_path(), wrong.as_path()]).unwrap();
    let outbound = Outbound::Network(network);
    for (name, host, ca, expected, hits) in [
        ("our own", "localhost", Some(&right), "answered", 1),
        ("the wrong name", "127.0.0.1", Some(&right), "not sent", 1),
        ("another authority", "localhost", Some(&wrong), "not sent", 1),
        ("the system's", "localhost", None, "not sent", 1),
        ("our own, again", "localhost", Some(&right), "answered", 2),
    ] {
        let mut to = Upstream::parse("x", &format!("https://{host}:{port}")).unwrap();
        to.ca = ca.cloned();
        for _ in 0..2 {
            let exchange = outbound.exchange(&to, send(Method::POST, "a"), Connection::Fresh).await;
            assert_eq!(word(&exchange), expected, "{name}: {exchange:?}");
        }
        assert_eq!(fake.hits(), hits * 2, "{name}");
    }
}

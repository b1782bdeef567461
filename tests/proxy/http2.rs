//! What an agent may send over HTTP/2, and what it must not be able to do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tollhouse::call::{Answer, Body, Chunk, Chunks, Ended};
use tollhouse::proxy::{Bounds, Drained};
use tollhouse::refusal::Code;

use super::agent::{House, PATIENCE, body, quick, status, text};
use super::raw::{self, Fate, block, fate, frame, head, hello, rest, until};
use super::upstream::{Fake, Play};

type Fields = Vec<(&'static [u8], Vec<u8>)>;

/// A POST without a body, its fields changed.
fn post(change: impl FnOnce(&mut Fields)) -> Vec<u8> {
    let mut fields: Fields = vec![
        (b":method", b"POST".to_vec()),
        (b":scheme", b"http".to_vec()),
        (b":authority", b"x".to_vec()),
        (b":path", b"/v1/refunds".to_vec()),
    ];
    change(&mut fields);
    head(1, raw::END_STREAM, &block(&fields))
}

fn with(name: &'static str, value: &str) -> Vec<u8> {
    post(|f| f.push((name.as_bytes(), value.as_bytes().to_vec())))
}

fn pseudo(name: &'static str, value: &[u8]) -> Vec<u8> {
    post(|f| {
        f.iter_mut()
            .filter(|(own, _)| *own == name.as_bytes())
            .for_each(|(_, v)| *v = value.to_vec())
    })
}

fn without(name: &'static str) -> Vec<u8> {
    post(|f| f.retain(|(own, _)| *own != name.as_bytes()))
}

fn twice(name: &'static str) -> Vec<u8> {
    post(|f| {
        let again = f.iter().find(|(own, _)| *own == name.as_bytes()).unwrap().clone();
        f.push(again);
    })
}

/// A POST that states a length, then so many bytes.
fn lying(stated: &str, bytes: usize) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/v1/refunds"),
        ("content-length", stated),
    ];
    [head(1, 0, &block(&fields)), frame(raw::DATA, raw::END_STREAM, 1, &vec![b'a'; bytes])].concat()
}

const MALFORMED: Fate = Fate::Reset(raw::PROTOCOL_ERROR);
/// What the connection's table of fields cannot be in step with any more ends the connection.
const UNREADABLE: Fate = Fate::GoAway(raw::PROTOCOL_ERROR);

/// Turned back so, put on record, and not a byte sent on.
#[tokio::test]
async fn streams_that_are_no_request_are_turned_back_and_nothing_is_sent() {
    let (bad, large) = (Fate::Status(400), Fate::Status(431));
    let table: Vec<(&str, Vec<u8>, Fate)> = vec![
        ("CR LF in the path", pseudo(":path", b"/a\r\nX: y"), MALFORMED),
        ("LF in the path", pseudo(":path", b"/a\nb"), MALFORMED),
        ("NUL in the path", pseudo(":path", b"/a\0b"), MALFORMED),
        ("a space in the path", pseudo(":path", b"/a b"), MALFORMED),
        ("a version in the path", pseudo(":path", b"/a HTTP/1.1\r\nX: y"), MALFORMED),
        ("raw UTF-8 in the path", pseudo(":path", "/caf\u{e9}".as_bytes()), bad),
        ("a byte that is no UTF-8", pseudo(":path", b"/caf\xe9"), UNREADABLE),
        ("quotes in the query", pseudo(":path", b"/a?b=\"c\""), MALFORMED),
        ("absolute form", pseudo(":path", b"http://x/a"), MALFORMED),
        ("the asterisk", pseudo(":path", b"*"), bad),
        ("no slash", pseudo(":path", b"v1/refunds"), MALFORMED),
        ("an empty path", pseudo(":path", b""), MALFORMED),
        ("no path", without(":path"), MALFORMED),
        ("no method", without(":method"), MALFORMED),
        ("no scheme", without(":scheme"), MALFORMED),
        ("no authority", without(":authority"), bad),
        ("another scheme", pseudo(":scheme", b"ftp"), bad),
        ("two paths", twice(":path"), MALFORMED),
        ("two methods", twice(":method"), MALFORMED),
        ("two schemes", twice(":scheme"), MALFORMED),
        ("two authorities", twice(":authority"), MALFORMED),
        ("a pseudo header unknown", with(":x", "1"), UNREADABLE),
        ("a pseudo header of an answer", with(":status", "200"), MALFORMED),
        ("a pseudo header after a field", post(|f| f.insert(3, (b"a", b"b".to_vec()))), MALFORMED),
        ("another authority than the host", with("host", "y"), bad),
        ("the host in other letters", with("host", "X"), bad),
        (
            "two hosts",
            post(|f| f.extend([(&b"host"[..], b"x".to_vec()), (b"host", b"x".to_vec())])),
            bad,
        ),
        ("a foreign authority", pseudo(":authority", b"evil.example"), bad),
        ("user in the authority", pseudo(":authority", b"u@x"), bad),
        ("an empty authority", pseudo(":authority", b""), MALFORMED),
        ("Connection", with("connection", "close"), MALFORMED),
        ("Keep-Alive", with("keep-alive", "timeout=5"), MALFORMED),
        ("Proxy-Connection", with("proxy-connection", "close"), MALFORMED),
        ("Transfer-Encoding", with("transfer-encoding", "chunked"), MALFORMED),
        ("Upgrade", with("upgrade", "websocket"), MALFORMED),
        ("TE", with("te", "gzip"), MALFORMED),
        ("an upper-case name", with("Content-Type", "text/plain"), UNREADABLE),
        ("a name with a blank", with("a b", "c"), UNREADABLE),
        ("a name with a colon", with("a:b", "c"), UNREADABLE),
        ("an empty name", with("", "c"), UNREADABLE),
        ("LF in a value", with("a", "b\nc: d"), UNREADABLE),
        ("CR in a value", with("a", "b\rc"), UNREADABLE),
        ("NUL in a value", with("a", "b\0"), UNREADABLE),
        ("a blank before a value", with("a", " b"), bad),
        ("a tab after a value", with("a", "b\t"), bad),
        ("an expectation unknown", with("expect", "200-maybe"), bad),
        ("CONNECT", post(|f| f.retain(|(n, _)| *n != b":path" && *n != b":scheme")), MALFORMED),
        ("CONNECT with a path", pseudo(":method", b"CONNECT"), MALFORMED),
        (
            "extended CONNECT",
            post(|f| {
                f[0].1 = b"CONNECT".to_vec();
                f.push((b":protocol", b"websocket".to_vec()));
            }),
            MALFORMED,
        ),
        ("TRACE", pseudo(":method", b"TRACE"), bad),
        ("a method that is none", pseudo(":method", b"G(T"), UNREADABLE),
        ("a length and no body", with("content-length", "5"), MALFORMED),
        ("more than it says", lying("3", 5), MALFORMED),
        ("less than it says", lying("5", 3), MALFORMED),
        ("a signed length", lying("+3", 3), MALFORMED),
        ("a padded length", lying("03", 3), bad),
        ("a list of lengths", lying("3, 3", 3), MALFORMED),
        (
            "two lengths",
            post(|f| {
                f.extend([
                    (&b"content-length"[..], b"0".to_vec()),
                    (b"content-length", b"1".to_vec()),
                ]);
            }),
            MALFORMED,
        ),
        (
            "one length twice",
            post(|f| {
                f.extend([
                    (&b"content-length"[..], b"0".to_vec()),
                    (b"content-length", b"0".to_vec()),
                ]);
            }),
            bad,
        ),
        ("a long target", pseudo(":path", &[b"/", &b"a".repeat(9 << 10)[..]].concat()), large),
        ("many headers", post(|f| f.extend((0..101).map(|_| (&b"a"[..], b"b".to_vec())))), large),
        ("large headers", with("a", &"b".repeat(33 << 10)), large),
        ("headers too large to read", with("a", &"b".repeat(70 << 10)), large),
    ];
    let fake = Fake::play(Play::ok("never"));
    let mut otherwise = Vec::new();
    for (name, bytes, expected) in table {
        let house = House::before(fake.address, quick());
        let mut stream = house.connect().await;
        stream.write_all(&hello(&[])).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let found = fate(&mut stream, 1).await;
        if found != expected {
            otherwise.push((name, found));
        }
        until(name, || !house.refused().is_empty()).await;
        // What is wrong with one stream is not with the next, unless the connection is in doubt.
        if !matches!(found, Fate::GoAway(_)) {
            let next =
                [(":method", "GET"), (":scheme", "http"), (":authority", "y"), (":path", "/")];
            stream.write_all(&head(3, raw::END_STREAM, &block(&next))).await.unwrap();
            until("the next", || house.refused().len() == 2).await;
        }
        assert_eq!(house.handled(), 0, "{name}");
    }
    assert_eq!(otherwise, []);
    assert_eq!(fake.hits(), 0);
}

/// A client that keeps to the rules.
pub struct Agent {
    send: SendRequest<Bytes>,
}

impl Agent {
    pub async fn connect(house: &House) -> Self {
        let stream = house.connect().await;
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { send }
    }

    pub async fn begin(
        &self,
        method: &str,
        target: &str,
        body: impl Into<Bytes>,
    ) -> Result<http::Response<h2::RecvStream>, h2::Error> {
        let uri = format!("http://x{target}");
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        self.send_request(request, body.into()).await
    }

    async fn send_request(
        &self,
        request: Request<()>,
        mut body: Bytes,
    ) -> Result<http::Response<h2::RecvStream>, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, mut stream) = send.send_request(request, body.is_empty())?;
        let upload = async move {
            while !body.is_empty() {
                stream.reserve_capacity(body.len());
                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let Some(Ok(room)) = room else { return };
                let piece = body.split_to(room.min(body.len()));
                if stream.send_data(piece, body.is_empty()).is_err() {
                    return;
                }
            }
        };
        tokio::spawn(upload);
        response.await
    }

    /// Sends a request and reads the whole answer.
    pub async fn call(
        &self,
        method: &str,
        target: &str,
        body: impl Into<Bytes>,
    ) -> Result<(u16, HeaderMap, String), h2::Error> {
        let answered = async {
            let response = self.begin(method, target, body).await?;
            let (parts, mut incoming) = response.into_parts();
            let mut body = Vec::new();
            while let Some(chunk) = incoming.data().await {
                let chunk = chunk?;
                incoming.flow_control().release_capacity(chunk.len())?;
                body.extend(chunk);
            }
            Ok((parts.status.as_u16(), parts.headers, String::from_utf8(body).unwrap()))
        };
        timeout(PATIENCE, answered).await.expect("an answer in time")
    }
}

#[tokio::test]
async fn a_request_is_handed_on_as_over_http_1() {
    let house = House::echo(Bounds { body: PATIENCE, ..quick() });
    let agent = Agent::connect(&house).await;
    for (method, target, sent, expected) in [
        ("GET", "/v1/x?a[b]=c&d[]=%2F", 0, "GET /v1/x?a[b]=c&d[]=%2F 0"),
        ("GET", "/%2e%2e//a;b?x=~'(*)!,|^\\", 0, "GET /%2e%2e//a;b?x=~'(*)!,|^\\ 0"),
        ("GET", "//evil/a", 0, "GET //evil/a 0"),
        ("GET", "/a?", 0, "GET /a? 0"),
        ("POST", "/", 3, "POST / 3"),
        ("GET", "/", 3, "GET / 3"),
        ("POST", "/", 1 << 20, "POST / 1048576"),
        ("PURGE", "/a", 0, "PURGE /a 0"),
    ] {
        let answer = agent.call(method, target, vec![b'b'; sent]).await.unwrap();
        assert_eq!((answer.0, &*answer.2), (200, expected));
        assert_eq!(answer.1["content-length"], expected.len().to_string());
        assert!(answer.1.contains_key("date"));
    }
    // Crumbs, a Host beside the authority, trailers, padding, a body in pieces, and an empty one.
    let mut stream = house.connect().await;
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "x"),
        (":path", "/late"),
        ("host", "x"),
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("content-length", "5"),
    ];
    let pieces = [
        hello(&[]),
        head(1, 0, &block(&fields)),
        frame(raw::DATA, 0, 1, b"abc"),
        frame(raw::DATA, 0x8, 1, b"\x02de\0\0"),
        frame(raw::DATA, 0, 1, b""),
        head(1, raw::END_STREAM, &block(&[("x-late", "1")])),
    ];
    stream.write_all(&pieces.concat()).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(200));
    let seen = house.seen.requests.lock();
    let late = seen.last().unwrap();
    assert_eq!((&*late.target, &late.body[..], late.listener), ("/late", &b"abcde"[..], 0));
    assert_eq!(late.headers["host"], "x");
    assert_eq!(late.headers["cookie"], "a=1; b=2");
    assert!(late.peer.is_some() && !late.headers.contains_key("x-late"));
    assert!(seen.iter().all(|request| request.headers["host"] == "x"));
    assert_eq!(house.refused(), []);
}

/// The library drops a fragment before anybody sees it: what is judged is still what is sent.
#[tokio::test]
async fn a_fragment_is_not_part_of_what_is_judged_and_sent() {
    let house = House::echo(quick());
    let mut stream = house.connect().await;
    stream.write_all(&hello(&[])).await.unwrap();
    stream.write_all(&pseudo(":path", b"/a?b#/../c")).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(200));
    assert_eq!(&*house.seen.requests.lock()[0].target, "/a?b");
}

#[tokio::test]
async fn a_body_may_be_so_large_and_one_byte_more_is_413() {
    let house = House::echo(Bounds { body: PATIENCE, ..quick() });
    let agent = Agent::connect(&house).await;
    for (size, expected) in
        [(1 << 16, 200), ((1 << 16) + 1, 200), (1 << 20, 200), ((1 << 20) + 1, 413)]
    {
        let answer = agent.call("POST", "/", vec![b'b'; size]).await.unwrap();
        assert_eq!(answer.0, expected, "{size}");
    }
    // By its length, before a byte of it came; the word that it waits for is not said.
    let mut stream = house.connect().await;
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/"),
        ("content-length", "1048577"),
        ("expect", "100-continue"),
    ];
    stream.write_all(&[hello(&[]), head(1, 0, &block(&fields))].concat()).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(413));
    assert_eq!(house.refused(), [Code::TooLarge, Code::TooLarge]);
    // And where it is wanted, the word comes first.
    let mut stream = house.connect().await;
    let fields = [&fields[..4], &[("content-length", "3"), ("expect", "100-continue")]].concat();
    stream.write_all(&[hello(&[]), head(1, 0, &block(&fields))].concat()).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(100));
    stream.write_all(&frame(raw::DATA, raw::END_STREAM, 1, b"abc")).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(200));
}

#[tokio::test]
async fn many_large_bodies_at_once_are_all_taken() {
    let house = House::echo(Bounds { body: PATIENCE, ..quick() });
    let agent = Agent::connect(&house).await;
    let calls = (0..40).map(|n| agent.call("POST", "/", vec![b'b'; 300_000 + n]));
    for (n, answer) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().2, format!("POST / {}", 300_000 + n));
    }
}

#[tokio::test]
async fn streams_are_served_side_by_side() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let house = House::open(quick(), move |request| {
        let go = Arc::clone(&wait);
        async move {
            if &*request.target == "/slow" {
                go.notified().await;
            }
            text(200, request.target.to_string())
        }
    });
    let agent = Agent::connect(&house).await;
    let slow = agent.call("GET", "/slow", "");
    let quick = async {
        let answer = agent.call("GET", "/quick", "").await;
        go.notify_one();
        answer
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!((&*slow.unwrap().2, &*quick.unwrap().2), ("/slow", "/quick"));
}

#[tokio::test]
async fn an_answer_keeps_its_headers_and_none_of_a_connection() {
    let house = House::open(quick(), |request| async move {
        let status = request.target.trim_start_matches('/').parse().unwrap();
        let mut answer = text(status, "hi");
        for (name, value) in [("x-a", "1"), ("content-length", "99"), ("connection", "x-a")] {
            answer.headers.insert(name, http::HeaderValue::from_static(value));
        }
        answer
    });
    let agent = Agent::connect(&house).await;
    for (method, status, length, body) in [
        ("GET", 200, Some("2"), "hi"),
        ("HEAD", 200, None, ""),
        ("GET", 204, None, ""),
        ("GET", 304, None, ""),
        ("POST", 403, Some("2"), "hi"),
    ] {
        let answer = agent.call(method, &format!("/{status}"), "").await.unwrap();
        assert_eq!((answer.0, &*answer.2), (status, body), "{method} {status}");
        let stated = answer.1.get("content-length").map(|v| v.to_str().unwrap());
        assert_eq!(stated, length, "{method} {status}");
        assert!(answer.1.contains_key("x-a") && !answer.1.contains_key("connection"));
    }
}

/// Whatever the agent does to its stream or its connection, a request that came whole is judged to its
/// end.
#[tokio::test]
async fn an_agent_that_goes_away_does_not_stop_its_call() {
    for leave in ["the stream", "the connection"] {
        let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (first, then) = (Arc::clone(&started), Arc::clone(&go));
        let house = House::open(quick(), move |_| {
            let (started, go) = (Arc::clone(&first), Arc::clone(&then));
            async move {
                started.notify_one();
                go.notified().await;
                text(200, "done")
            }
        });
        let mut stream = house.connect().await;
        stream.write_all(&[hello(&[]), post(|_| {})].concat()).await.unwrap();
        started.notified().await;
        match leave {
            "the stream" => {
                let reset = frame(raw::RESET, 0, 1, &raw::CANCEL.to_be_bytes());
                stream.write_all(&reset).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => drop(stream),
        }
        assert_eq!(house.seen.finished.load(Ordering::SeqCst), 0, "{leave}");
        go.notify_one();
        let seen = Arc::clone(&house.seen);
        assert_eq!(house.server.stop(PATIENCE).await, Drained::All, "{leave}");
        assert_eq!(seen.finished.load(Ordering::SeqCst), 1, "{leave}");
    }
}

#[tokio::test]
async fn what_is_in_flight_is_answered_before_the_server_ends() {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (first, then) = (Arc::clone(&started), Arc::clone(&go));
    let house = House::open(Bounds { idle: PATIENCE * 3, ..quick() }, move |_| {
        let (started, go) = (Arc::clone(&first), Arc::clone(&then));
        async move {
            started.notify_one();
            go.notified().await;
            text(200, "x".repeat(200_000))
        }
    });
    let idle = Agent::connect(&house).await;
    let mut silent = house.connect().await;
    silent.write_all(&hello(&[])).await.unwrap();
    let busy = Agent::connect(&house).await;
    let (answer, (stop, late)) = tokio::join!(busy.call("POST", "/", "a"), async {
        started.notified().await;
        let stop = tokio::spawn(async move { house.server.stop(PATIENCE).await });
        // The busy connection takes no new stream, and goes on with the one it has.
        until("a farewell", || busy.send.clone().ready().now_or_never().is_none_or(|r| r.is_err()))
            .await;
        let late = busy.call("GET", "/late", "").await;
        go.notify_one();
        (stop, late)
    });
    assert_eq!(answer.unwrap().2.len(), 200_000);
    assert!(late.is_err(), "{late:?}");
    // Whether they say goodbye or not.
    assert_eq!(timeout(Duration::from_secs(5), stop).await.unwrap().unwrap(), Drained::All);
    assert!(idle.call("GET", "/", "").await.is_err());
    assert!(rest(&mut silent).await.iter().any(|f| f.kind == raw::GOAWAY && f.reason() == 0));
}

#[tokio::test]
async fn a_connection_that_idles_is_ended() {
    let house = House::echo(Bounds { idle: Duration::from_millis(200), ..quick() });
    let agent = Agent::connect(&house).await;
    assert_eq!(agent.call("GET", "/", "").await.unwrap().0, 200);
    let mut silent = house.connect().await;
    silent.write_all(&hello(&[])).await.unwrap();
    let frames = timeout(Duration::from_secs(3), rest(&mut silent)).await.unwrap();
    assert!(frames.iter().any(|f| f.kind == raw::GOAWAY && f.reason() == raw::NO_ERROR));
    assert!(agent.call("GET", "/", "").await.is_err());
    assert_eq!(house.refused(), []);
}

#[tokio::test]
async fn what_only_begins_like_a_preface_is_turned_back() {
    let house = House::echo(quick());
    for (count, bytes) in [
        &b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\nHost: x\r\n\r\n",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = house.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(house.refused(), vec![Code::Malformed; count + 1], "{bytes:?}");
    }
    // It is looked for once: not after a request of HTTP/1.1.
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = house.connect().await;
    stream.write_all(get).await.unwrap();
    assert_eq!(status(&super::agent::one_answer(&mut stream).await), 200);
    stream.write_all(&hello(&[])).await.unwrap();
    let answer = super::agent::one_answer(&mut stream).await;
    assert_eq!(status(&answer), 400, "{}", body(&answer));
    assert_eq!(house.handled(), 1);
}

/// Sends until the other side has enough of it.
async fn flood(stream: &mut TcpStream, bytes: &[u8], times: usize) -> Vec<raw::Frame> {
    let (mut read, mut write) = stream.split();
    let send = async {
        for _ in 0..times {
            if write.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    let (_, frames) = tokio::join!(send, rest(&mut read));
    frames
}

/// Each is ended by us, long before it was through, and put on record.
#[tokio::test]
async fn frames_that_carry_nothing_do_not_come_for_ever() {
    let open = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/")];
    let bounds = Bounds { body: PATIENCE, ..quick() };
    for (name, bytes) in [
        ("pings", frame(raw::PING, 0, 0, &[7; 8])),
        ("pongs", frame(raw::PING, raw::ACK, 0, &[7; 8])),
        ("settings", frame(raw::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("priorities", frame(raw::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("windows", frame(raw::WINDOW, 0, 0, &[0, 0, 0, 1])),
        ("empty data", frame(raw::DATA, 0, 1, b"")),
        ("unknown frames", frame(0x77, 0, 0, b"")),
    ] {
        let house = House::echo(bounds.clone());
        let mut stream = house.connect().await;
        stream.write_all(&[hello(&[]), head(1, 0, &block(&open))].concat()).await.unwrap();
        let answers = timeout(PATIENCE, flood(&mut stream, &bytes, 100_000)).await.expect(name);
        assert!(answers.len() < 3_000, "{name}: {}", answers.len());
        until(name, || house.refused().contains(&Code::Malformed)).await;
        assert_eq!(house.handled(), 0, "{name}");
    }
}

/// CVE-2023-44487: what one connection keeps going is bounded, however fast it takes back.
#[tokio::test]
async fn ten_thousand_resets_do_not_make_ten_thousand_calls() {
    let house = House::open(quick(), |_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        text(200, "")
    });
    let mut stream = house.connect().await;
    stream.write_all(&hello(&[])).await.unwrap();
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/")];
    let block = block(&fields);
    let mut bytes = Vec::new();
    for n in 0..10_000 {
        bytes.extend(head(2 * n + 1, raw::END_STREAM, &block));
        bytes.extend(frame(raw::RESET, 0, 2 * n + 1, &raw::CANCEL.to_be_bytes()));
    }
    let frames = flood(&mut stream, &bytes, 1).await;
    let reasons: Vec<_> =
        frames.iter().filter(|f| f.kind == raw::GOAWAY).map(raw::Frame::reason).collect();
    assert_eq!(reasons, [raw::ENHANCE_YOUR_CALM]);
    assert!(house.handled() <= 150, "{}", house.handled());
    until("on record", || house.refused().contains(&Code::Malformed)).await;
    // Others are served meanwhile.
    let agent = Agent::connect(&house).await;
    assert_eq!(agent.call("GET", "/", "").await.unwrap().0, 200);
}

/// One at a time, each taken back while it is judged: after so many the connection ends.
#[tokio::test]
async fn an_agent_that_takes_everything_back_is_let_go() {
    let house = House::open(quick(), |_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        text(200, "")
    });
    let mut stream = house.connect().await;
    stream.write_all(&hello(&[])).await.unwrap();
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/")];
    let block = block(&fields);
    let mut sent = 0;
    while sent < 1_000 && house.refused().is_empty() {
        let id = u32::try_from(2 * sent + 1).unwrap();
        if stream.write_all(&head(id, raw::END_STREAM, &block)).await.is_err() {
            break;
        }
        sent += 1;
        until("judged or ended", || house.handled() == sent || !house.refused().is_empty()).await;
        let reset = frame(raw::RESET, 0, id, &raw::CANCEL.to_be_bytes());
        drop(stream.write_all(&reset).await);
    }
    assert!((200..300).contains(&sent), "{sent}");
    assert_eq!(house.refused(), [Code::Malformed]);
    let frames = rest(&mut stream).await;
    assert!(frames.iter().any(|f| f.kind == raw::GOAWAY && f.reason() == raw::ENHANCE_YOUR_CALM));
}

/// Small events for long, and an agent that opens both windows for each.
#[tokio::test]
async fn an_agent_that_opens_its_windows_for_every_event_is_no_flood() {
    let (house, sender, _ends) = streaming(Bounds { idle: PATIENCE, ..quick() });
    let mut stream = house.connect().await;
    stream.write_all(&[hello(&[]), post(|_| {})].concat()).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(200));
    let windows =
        [frame(raw::WINDOW, 0, 1, &[0, 0, 0, 7]), frame(raw::WINDOW, 0, 0, &[0, 0, 0, 7])].concat();
    for _ in 0..2_000 {
        sender.send(Chunk::Bytes(Bytes::from_static(b"data:a\n"))).await.unwrap();
        while raw::next(&mut stream).await.expect("a frame").kind != raw::DATA {}
        stream.write_all(&windows).await.unwrap();
    }
    assert_eq!(house.refused(), []);
}

/// Few connections do not carry more than many do.
#[tokio::test]
async fn streams_over_all_connections_have_a_bound() {
    let house = House::open(Bounds { connections_max: 3, ..quick() }, |_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        text(200, "")
    });
    let (first, second) = (Agent::connect(&house).await, Agent::connect(&house).await);
    let calls = (0..6)
        .map(|n| if n % 2 == 0 { &first } else { &second })
        .map(|agent| agent.call("GET", "/", ""));
    let most = async {
        let mut most = 0;
        for _ in 0..40 {
            most = most.max(house.handled() - house.seen.finished.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        most
    };
    let (answers, most) = tokio::join!(futures_util::future::join_all(calls), most);
    assert!(answers.into_iter().all(|answer| answer.unwrap().0 == 200));
    assert!(most <= 3, "{most}");
}

#[tokio::test]
async fn a_head_has_an_end_in_size_and_in_time() {
    let begin = frame(raw::HEADERS, raw::END_STREAM, 1, &block(&[(":method", "GET")]));
    // CONTINUATION without end, with and without anything in it.
    for payload in [block(&[("a", "b".repeat(1_000))]), Vec::new()] {
        let house = House::echo(quick());
        let mut stream = house.connect().await;
        stream.write_all(&[hello(&[]), begin.clone()].concat()).await.unwrap();
        let more = frame(raw::CONTINUATION, 0, 1, &payload);
        timeout(PATIENCE, flood(&mut stream, &more, 100_000)).await.unwrap();
        let name = format!("frames of {}", payload.len());
        until(&name, || !house.refused().is_empty()).await;
        assert_eq!(house.handled(), 0);
    }
    // A trickle, in one frame and in many.
    let whole = frame(
        raw::HEADERS,
        raw::END_STREAM | raw::END_HEADERS,
        1,
        &block(&[("a", "b".repeat(999))]),
    );
    for (first, trickle) in [
        (whole[..20].to_vec(), b"b".to_vec()),
        (begin, frame(raw::CONTINUATION, 0, 1, &block(&[("a", "b")]))),
    ] {
        let house =
            House::echo(Bounds { head: Duration::from_millis(300), idle: PATIENCE, ..quick() });
        let mut stream = house.connect().await;
        stream.write_all(&[hello(&[]), first].concat()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let slowly = async {
            while write.write_all(&trickle).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(120)).await;
            }
        };
        let start = Instant::now();
        let ended = async {
            tokio::select! { _ = rest(&mut read) => {}, () = slowly => {} }
        };
        timeout(PATIENCE, ended).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        until("a slow head", || house.refused() == [Code::TooSlow]).await;
    }
}

/// A field of 4 KiB in the table, named again by one byte: 100 MiB out of 30 KiB.
#[tokio::test]
async fn a_bomb_of_headers_is_not_unpacked() {
    let house = House::echo(quick());
    let mut stream = house.connect().await;
    let mut bomb =
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/")]);
    // Literal with incremental indexing, then index 62 again and again (RFC 7541 s6.1, s6.2.1).
    let mut entry = block(&[("a", "b".repeat(4_000))]);
    entry[0] = 0x40;
    bomb.extend(entry);
    bomb.extend(std::iter::repeat_n(0xbe, 25_000));
    stream.write_all(&[hello(&[]), head(1, raw::END_STREAM, &bomb)].concat()).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::GoAway(raw::ENHANCE_YOUR_CALM));
    until("on record", || house.refused() == [Code::Malformed]).await;
    assert_eq!(house.handled(), 0);
}

#[tokio::test]
async fn a_stream_that_is_left_half_open_is_turned_back() {
    let house = House::echo(quick());
    let mut stream = house.connect().await;
    let open =
        block(&[(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/")]);
    stream.write_all(&[hello(&[]), head(1, 0, &open)].concat()).await.unwrap();
    let start = Instant::now();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(408));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // What the agent still holds open is closed without blame.
    assert_eq!(fate(&mut stream, 1).await, Fate::Reset(raw::NO_ERROR));
    assert_eq!((house.refused(), house.handled()), (vec![Code::TooSlow], 0));
}

#[tokio::test]
async fn a_stream_too_many_is_refused_and_the_others_go_on() {
    let house = House::echo(Bounds { body: PATIENCE, ..quick() });
    let mut stream = house.connect().await;
    let open =
        block(&[(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/")]);
    let mut bytes = hello(&[]);
    for n in 0..101 {
        bytes.extend(head(2 * n + 1, 0, &open));
    }
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(fate(&mut stream, 201).await, Fate::Reset(raw::REFUSED_STREAM));
    stream.write_all(&frame(raw::DATA, raw::END_STREAM, 1, b"a")).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(200));
    assert_eq!((house.refused(), house.handled()), (vec![], 1));
}

/// The agent's windows stay shut, or it reads nothing at all.
#[tokio::test]
async fn an_answer_that_nobody_takes_ends_in_time() {
    let write = Duration::from_millis(300);
    let house = House::open(Bounds { write, idle: PATIENCE, ..quick() }, |request| async move {
        let size = request.target.trim_start_matches('/').parse().unwrap();
        text(200, vec![b'a'; size])
    });
    let get = |stream: u32, size: &str| {
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", size)];
        head(stream, raw::END_STREAM, &block(&fields))
    };
    let mut stream = house.connect().await;
    let shut = [(4, 0)];
    stream.write_all(&[hello(&shut), get(1, "/100000")].concat()).await.unwrap();
    assert_eq!(fate(&mut stream, 1).await, Fate::Status(200));
    let start = Instant::now();
    assert_eq!(fate(&mut stream, 1).await, Fate::Reset(raw::CANCEL));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // One that needs no window is answered on the same connection.
    stream.write_all(&get(3, "/0")).await.unwrap();
    loop {
        let frame = raw::next(&mut stream).await.expect("an answer");
        if (frame.kind, frame.stream) == (raw::HEADERS, 3) {
            break;
        }
    }
    // Windows wide open, and not a byte is read.
    let mut deaf = house.connect().await;
    let wide = [hello(&[(4, 0x7fff_ffff)]), frame(raw::WINDOW, 0, 0, &[0x7f, 0, 0, 0])].concat();
    deaf.write_all(&wide).await.unwrap();
    for n in 0..50 {
        deaf.write_all(&get(2 * n + 1, "/1000000")).await.unwrap();
    }
    until("all judged", || house.seen.finished.load(Ordering::SeqCst) == 52).await;
    drop(stream);
    assert_eq!(house.server.stop(Duration::from_secs(5)).await, Drained::All);
}

#[tokio::test]
async fn a_call_that_breaks_off_is_answered_and_an_effect_is_unknown_then() {
    let house = House::open(quick(), |_| async { panic!("a bug") });
    let agent = Agent::connect(&house).await;
    for (method, expected) in [("GET", 503), ("POST", 504)] {
        assert_eq!(agent.call(method, "/", "").await.unwrap().0, expected);
    }
    assert_eq!(house.refused(), [Code::Undecidable, Code::OutcomeUnknown]);
}

/// A house that streams what is sent here, and says how each stream ended.
pub fn streaming(bounds: Bounds) -> (House, mpsc::Sender<Chunk>, mpsc::UnboundedReceiver<Ended>) {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(parking_lot::Mutex::new(Some(receiver)));
    let (told, ends) = mpsc::unbounded_channel();
    let house = House::open(bounds, move |_| {
        let mut chunks = Chunks::new(receiver.lock().take().unwrap());
        let told = told.clone();
        chunks.at_end(move |ended| told.send(ended).unwrap_or_default());
        async move { Answer { body: Body::Stream(chunks), ..text(200, "") } }
    });
    (house, sender, ends)
}

#[tokio::test]
async fn a_streamed_answer_comes_chunk_by_chunk_and_ends_as_it_ended() {
    for (cut, expected) in [(false, Ended::Whole), (true, Ended::Upstream)] {
        let (house, sender, mut ends) = streaming(quick());
        let agent = Agent::connect(&house).await;
        let response = agent.begin("GET", "/", "").await.unwrap();
        assert!(!response.headers().contains_key("content-length"));
        let mut incoming = response.into_body();
        for piece in ["data: a\n\n", ": heartbeat\n\n", "data: b\n\n"] {
            sender.send(Chunk::Bytes(Bytes::from(piece))).await.unwrap();
            // It is here before the next one is sent.
            let chunk = timeout(PATIENCE, incoming.data()).await.unwrap().unwrap().unwrap();
            assert_eq!(chunk, piece);
        }
        if !cut {
            sender.send(Chunk::End).await.unwrap();
        }
        drop(sender);
        let last = timeout(PATIENCE, incoming.data()).await.unwrap();
        assert_eq!(last.is_some_and(|r| r.is_err()), cut);
        assert_eq!(ends.recv().await, Some(expected));
    }
}

#[tokio::test]
async fn an_agent_that_leaves_a_stream_ends_it() {
    for leave in ["the stream", "the connection"] {
        let (house, sender, mut ends) = streaming(quick());
        let mut stream = house.connect().await;
        stream.write_all(&[hello(&[]), post(|_| {})].concat()).await.unwrap();
        assert_eq!(fate(&mut stream, 1).await, Fate::Status(200));
        match leave {
            "the stream" => {
                let reset = frame(raw::RESET, 0, 1, &raw::CANCEL.to_be_bytes());
                stream.write_all(&reset).await.unwrap();
            }
            _ => drop(stream),
        }
        // Nothing is sent meanwhile: it is noticed by itself.
        timeout(PATIENCE, sender.closed()).await.expect(leave);
        assert_eq!(ends.recv().await, Some(Ended::Agent), "{leave}");
    }
}

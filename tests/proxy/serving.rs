//! How answers leave, what happens when either side goes away, and how a server ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tollhouse::call::{Answer, Body, Chunk, Chunks};
use tollhouse::proxy::{Bounds, Drained, Hosts, Listener, Opened, Server, Service, problem};
use tollhouse::refusal::Code;

use super::agent::{House, PATIENCE, body, one_answer, quick, status, text};
use super::upstream::{Fake, Play};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_CLOSE: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const POST_CLOSE: &[u8] =
    b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\na";

#[tokio::test]
async fn an_answer_is_framed_here_and_keeps_its_reason() {
    for (method, code, reason, expected) in [
        ("GET", 200, None, "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n"),
        (
            "GET",
            403,
            Some("Held for approval, nothing sent"),
            "HTTP/1.1 403 Held for approval, nothing sent\r\nX-A: 1\r\nContent-Length: 2\r\n",
        ),
        ("HEAD", 200, None, "HTTP/1.1 200 OK\r\nX-A: 1\r\n"),
        ("GET", 204, None, "HTTP/1.1 204 No Content\r\nX-A: 1\r\n"),
        ("GET", 304, None, "HTTP/1.1 304 Not Modified\r\nX-A: 1\r\n"),
    ] {
        let house = House::open(quick(), move |_| async move {
            let mut answer = Answer { reason, ..text(code, "hi") };
            for (name, value) in [
                ("x-a", "1"),
                ("content-length", "99"),
                ("transfer-encoding", "chunked"),
                ("connection", "x-a"),
            ] {
                answer.headers.insert(name, HeaderValue::from_static(value));
            }
            answer
        });
        let bytes = format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = house.send(bytes.as_bytes()).await;
        let lines = answer.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
        let answer: String = lines.collect();
        let rest = if expected.contains("Content-Length") { "hi" } else { "" };
        assert_eq!(
            answer.to_lowercase(),
            format!("{expected}Connection: close\r\n\r\n{rest}").to_lowercase(),
            "{method} {code}"
        );
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let house = House::echo(quick());
    let mut stream = house.connect().await;
    for size in [0, 3, 70_000, 1] {
        let request = format!(
            "POST /{size} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n{}",
            "b".repeat(size)
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = one_answer(&mut stream).await;
        assert_eq!(body(&answer), format!("POST /{size} {size}"));
        assert!(!answer.contains("\r\nConnection: "), "{answer}");
    }
}

#[tokio::test]
async fn an_agent_that_goes_away_does_not_stop_its_call() {
    for (name, reset) in [("closed", false), ("reset", true)] {
        let fake = Fake::play(Play::Hang(String::new()));
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
        stream.write_all(GET).await.unwrap();
        started.notified().await;
        if reset {
            #[expect(deprecated, reason = "to reset is what is meant")]
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(house.seen.finished.load(Ordering::SeqCst), 0, "{name}");
        go.notify_one();
        let seen = Arc::clone(&house.seen);
        assert_eq!(house.server.stop(PATIENCE).await, Drained::All, "{name}");
        assert_eq!(seen.finished.load(Ordering::SeqCst), 1, "{name}");
        drop(fake);
    }
}

#[tokio::test]
async fn the_call_of_an_agent_that_went_away_still_reaches_the_upstream_once() {
    let fake = Fake::play(Play::ok("done"));
    let house = House::before(fake.address, quick());
    for _ in 0..20 {
        let mut stream = house.connect().await;
        stream.write_all(POST_CLOSE).await.unwrap();
        drop(stream);
    }
    let seen = Arc::clone(&house.seen);
    // A request that came whole before its connection ended is a call; how many did is the race.
    assert_eq!(house.server.stop(PATIENCE).await, Drained::All);
    let handled = seen.requests.lock().len();
    assert_eq!((fake.hits(), seen.finished.load(Ordering::SeqCst)), (handled, handled));
    assert!(handled > 0);
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
            text(200, "done")
        }
    });
    let address = house.address();
    let mut idle = house.connect().await;
    let mut busy = house.connect().await;
    busy.write_all(GET).await.unwrap();
    started.notified().await;
    let stop = tokio::spawn(async move { house.server.stop(PATIENCE).await });
    // The idle one is closed, a new one is refused, the busy one is answered and closed.
    let mut byte = [0; 1];
    assert_eq!(timeout(PATIENCE, idle.read(&mut byte)).await.unwrap().unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!stop.is_finished());
    go.notify_one();
    let answer = one_answer(&mut busy).await;
    assert_eq!((status(&answer), body(&answer)), (200, "done"));
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert_eq!(stop.await.unwrap(), Drained::All);
}

#[tokio::test]
async fn the_wait_for_what_is_in_flight_has_an_end() {
    let house = House::open(quick(), |_| async {
        std::future::pending::<()>().await;
        text(200, "never")
    });
    let mut busy = house.connect().await;
    busy.write_all(GET).await.unwrap();
    while house.handled() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The connection, which its call is a part of.
    assert_eq!(house.server.stop(Duration::from_millis(100)).await, Drained::Left(1));
}

#[tokio::test]
async fn a_thousand_connections_are_open_and_each_is_answered() {
    let house = House::echo(Bounds { idle: PATIENCE, ..quick() });
    let mut open = Vec::new();
    for _ in 0..1000 {
        open.push(house.connect().await);
    }
    for stream in &mut open {
        stream.write_all(GET).await.unwrap();
    }
    for stream in &mut open {
        assert_eq!(status(&one_answer(stream).await), 200);
    }
    assert_eq!(house.handled(), 1000);
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_ends() {
    let house = House::echo(Bounds { connections_max: 2, ..quick() });
    let (mut first, mut second) = (house.connect().await, house.connect().await);
    for stream in [&mut first, &mut second] {
        stream.write_all(GET).await.unwrap();
        one_answer(stream).await;
    }
    let mut third = house.connect().await;
    third.write_all(GET).await.unwrap();
    let mut byte = [0; 1];
    let early = timeout(Duration::from_millis(150), third.read(&mut byte)).await;
    assert!(early.is_err(), "the third is answered while two are open");
    drop(first);
    assert_eq!(status(&one_answer(&mut third).await), 200);
}

#[tokio::test]
async fn a_call_that_breaks_off_is_answered_and_an_effect_is_unknown_then() {
    let house = House::open(quick(), |_| async { panic!("a bug") });
    for (bytes, expected) in [(GET_CLOSE, 503), (POST_CLOSE, 504)] {
        let answer = house.send(bytes).await;
        assert_eq!(status(&answer), expected, "{answer}");
    }
    assert_eq!(house.refused(), [Code::Undecidable, Code::OutcomeUnknown]);
}

#[tokio::test]
async fn a_streamed_answer_comes_chunk_by_chunk() {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(parking_lot::Mutex::new(Some(receiver)));
    let house = House::open(quick(), move |_| {
        let receiver = receiver.lock().take().unwrap();
        async move { text(200, "").streamed(receiver) }
    });
    let mut stream = house.connect().await;
    stream.write_all(GET_CLOSE).await.unwrap();
    let mut read = Vec::new();
    for (piece, wire) in [("abc", "3\r\nabc\r\n"), ("de", "2\r\nde\r\n")] {
        sender.send(Chunk::Bytes(Bytes::from(piece))).await.unwrap();
        // It is here before the next one is sent.
        while !String::from_utf8_lossy(&read).ends_with(wire) {
            assert!(timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap().unwrap() > 0);
        }
    }
    sender.send(Chunk::End).await.unwrap();
    stream.read_to_end(&mut read).await.unwrap();
    let answer = String::from_utf8(read).unwrap();
    assert!(answer.to_lowercase().contains("\r\ntransfer-encoding: chunked\r\n"), "{answer}");
    assert_eq!(body(&answer), "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_streamed_answer_that_was_cut_short_does_not_look_whole() {
    let house = House::open(quick(), |_| async {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(Chunk::Bytes(Bytes::from_static(b"abc"))).await.unwrap();
        text(200, "").streamed(receiver)
    });
    let answer = house.send(GET).await;
    assert_eq!((status(&answer), body(&answer)), (200, "3\r\nabc\r\n"));
}

pub trait Streamed {
    fn streamed(self, receiver: mpsc::Receiver<Chunk>) -> Answer;
}

impl Streamed for Answer {
    fn streamed(self, receiver: mpsc::Receiver<Chunk>) -> Answer {
        Answer { body: Body::Stream(Chunks::new(receiver)), ..self }
    }
}

#[tokio::test]
async fn each_listener_says_which_it_is() {
    let service = Service {
        handle: Arc::new(|request| {
            Box::pin(async move { text(200, request.listener.to_string()) })
        }),
        turn_back: Arc::new(|refusal, origin| Answer {
            status: 500 + u16::try_from(origin.listener).unwrap(),
            ..problem(&refusal)
        }),
    };
    let server = Server::start(service, quick());
    let opened = [(0, Hosts::Any), (1, Hosts::Named(Vec::new()))].map(|(number, hosts)| {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener { number, socket, hosts, tls: None };
        server.open(server.ready(listener).unwrap())
    });
    let mut answers = Vec::new();
    for address in opened.iter().map(Opened::address) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n").await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
        answers.push(status(&answer));
    }
    // Any host at the first, its own only at the second.
    assert_eq!(answers, [200, 501]);
    let address = opened.last().unwrap().address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(body(&one_answer(&mut stream).await), "1");
}

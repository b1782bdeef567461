//! What an agent may send: each line is raw bytes and what becomes of them.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tollhouse::refusal::Code;

use super::agent::{House, body, one_answer, quick, status};
use super::upstream::{Fake, Play};

/// Turned back with this status, the connection closed, and not a byte sent on.
#[tokio::test]
async fn bytes_that_are_no_request_are_turned_back_and_nothing_is_sent() {
    let post = "POST /v1/refunds HTTP/1.1\r\nHost: x\r\n";
    let long = "a".repeat(9 << 10);
    let many = "X: y\r\n".repeat(101);
    let large = format!("X: {}\r\n", "y".repeat(33 << 10));
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let table: Vec<(&str, String, u16)> = vec![
        (
            "both framings",
            format!(
                "{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            400,
        ),
        (
            "both, the other way",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "two lengths",
            format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\na{smuggled}"),
            400,
        ),
        ("one length twice", format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\na"), 400),
        ("a list of lengths", format!("{post}Content-Length: 1, 1\r\n\r\na"), 400),
        ("a signed length", format!("{post}Content-Length: +1\r\n\r\na"), 400),
        ("a negative length", format!("{post}Content-Length: -1\r\n\r\na"), 400),
        ("a padded length", format!("{post}Content-Length: 01\r\n\r\na"), 400),
        ("a length that is none", format!("{post}Content-Length: 1x\r\n\r\na"), 400),
        ("an endless length", format!("{post}Content-Length: 99999999999999999999\r\n\r\na"), 400),
        ("xchunked", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400),
        (
            "chunked twice",
            format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("gzip, chunked", format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400),
        (
            "two codings",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            "a space before the colon",
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "a tab in the coding",
            format!("{post}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("a folded line", format!("{post}X: a\r\n b\r\n\r\n"), 400),
        ("a folded coding", format!("{post}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), 400),
        (
            "HTTP/1.0 with a coding",
            "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\n\r\n".into(), 400),
        ("HTTP/0.9", "GET /\r\n\r\n".into(), 400),
        ("almost the preface of HTTP/2", "PRI * HTTP/2.0\r\nHost: x\r\n\r\n".into(), 400),
        ("TLS on a clear port", "\x16\x03\x01\x02\x00\x01\n".into(), 400),
        (
            "an upgrade, pipelined",
            format!(
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{smuggled}"
            ),
            400,
        ),
        ("an upgrade to h2c", "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n".into(), 400),
        ("CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n".into(), 400),
        ("TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        (
            "an expectation unknown",
            format!("{post}Expect: 200-maybe\r\nContent-Length: 1\r\n\r\na"),
            400,
        ),
        ("a bare LF after a line", "GET / HTTP/1.1\nHost: x\n\n".into(), 400),
        ("a bare LF among others", "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n".into(), 400),
        ("a bare CR", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n".into(), 400),
        ("an empty line first", format!("\r\n{smuggled}"), 400),
        ("a NUL", "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n".into(), 400),
        ("a raw space in the path", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("a version in the path", "GET /a HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("raw UTF-8 in the path", "GET /caf\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("quotes in the query", "GET /a?b=\"c\" HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("a fragment", "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("absolute form", "GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("the asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".into(), 400),
        ("a foreign host", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), 400),
        ("user in the host", "GET / HTTP/1.1\r\nHost: u@x\r\n\r\n".into(), 400),
        (
            "a field named in Connection",
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Authorization\r\nAuthorization: a\r\n\r\n"
                .into(),
            400,
        ),
        (
            "a bad chunk size",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"),
            400,
        ),
        ("a long target", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 431),
        ("many headers", format!("{post}{many}\r\n"), 431),
        ("large headers", format!("{post}{large}\r\n"), 431),
        ("a head without an end", "G".repeat(64 << 10), 431),
    ];
    let fake = Fake::play(Play::ok("never"));
    for (name, bytes, expected) in table {
        let house = House::before(fake.address, quick());
        let answer = house.send(bytes.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
        assert!(answer.contains("\r\nContent-Type: application/problem+json\r\n"), "{name}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{name}: {answer}");
        let problem: serde_json::Value = serde_json::from_str(body(&answer)).expect(name);
        assert_eq!(problem["status"], expected, "{name}");
        assert_eq!(problem["sent"], "no", "{name}");
        let phrase = answer.lines().next().unwrap_or("").splitn(3, ' ').nth(2);
        assert_eq!(phrase, problem["title"].as_str(), "{name}");
        assert_eq!((house.refused().len(), house.handled()), (1, 0), "{name}");
    }
    assert_eq!(fake.hits(), 0);
}

/// Taken, and handed on as it stood on the wire.
#[tokio::test]
async fn a_request_is_handed_on_as_it_stood_on_the_wire() {
    let close = "Host: x\r\nConnection: close\r\n";
    let table: Vec<(&str, String, &str)> = vec![
        (
            "raw brackets",
            format!("GET /v1/x?a[b]=c&d[]=%2F HTTP/1.1\r\n{close}\r\n"),
            "GET /v1/x?a[b]=c&d[]=%2F 0",
        ),
        (
            "odd but visible",
            format!("GET /%2e%2e//a;b?x=~'(*)!,|^`{{}}\\ HTTP/1.1\r\n{close}\r\n"),
            "GET /%2e%2e//a;b?x=~'(*)!,|^`{}\\ 0",
        ),
        ("two slashes first", format!("GET //evil/a HTTP/1.1\r\n{close}\r\n"), "GET //evil/a 0"),
        ("an empty query", format!("GET /a? HTTP/1.1\r\n{close}\r\n"), "GET /a? 0"),
        ("a length", format!("POST / HTTP/1.1\r\n{close}Content-Length: 3\r\n\r\nabc"), "POST / 3"),
        (
            "a length of nothing",
            format!("POST / HTTP/1.1\r\n{close}Content-Length: 0\r\n\r\n"),
            "POST / 0",
        ),
        (
            "chunks",
            format!(
                "PUT / HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            ),
            "PUT / 5",
        ),
        (
            "an extension and a trailer",
            format!(
                "PUT / HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Late: 1\r\n\r\n"
            ),
            "PUT / 3",
        ),
        ("a method unknown", format!("PURGE /a HTTP/1.1\r\n{close}\r\n"), "PURGE /a 0"),
    ];
    let house = House::echo(quick());
    for (name, bytes, expected) in table {
        let answer = house.send(bytes.as_bytes()).await;
        assert_eq!((status(&answer), body(&answer)), (200, expected), "{name}: {answer}");
    }
    let seen = house.seen.requests.lock();
    assert!(
        seen.iter().all(|request| !request.headers.contains_key("x-late")),
        "trailers are dropped"
    );
    assert!(seen.iter().all(|request| request.listener == 0 && request.peer.is_some()));
    assert_eq!(house.refused(), []);
}

#[tokio::test]
async fn a_body_may_be_so_large_and_one_byte_more_is_413() {
    let house = House::echo(super::agent::quick());
    for (size, expected) in
        [(64 << 10, 200), ((64 << 10) + 1, 200), (1 << 20, 200), ((1 << 20) + 1, 413)]
    {
        let body = "b".repeat(size);
        let close = "Host: x\r\nConnection: close\r\n";
        for (framing, text) in [
            ("length", format!("POST / HTTP/1.1\r\n{close}Content-Length: {size}\r\n\r\n{body}")),
            (
                "chunk",
                format!(
                    "POST / HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
                ),
            ),
        ] {
            let answer = house.send(text.as_bytes()).await;
            assert_eq!(status(&answer), expected, "{framing} {size}");
            if expected == 200 {
                assert!(answer.ends_with(&format!("POST / {size}")), "{framing} {size}");
            }
        }
    }
    assert_eq!(house.refused(), [Code::TooLarge, Code::TooLarge]);
}

#[tokio::test]
async fn an_agent_that_waits_for_a_word_gets_it_only_when_the_body_is_wanted() {
    let house = House::echo(quick());
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n";
    let mut stream = house.connect().await;
    stream.write_all(format!("{head}Content-Length: 3\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(one_answer(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    let answer = one_answer(&mut stream).await;
    assert_eq!((status(&answer), body(&answer)), (200, "POST / 3"));

    let answer = house.send(format!("{head}Content-Length: 1048577\r\n\r\n").as_bytes()).await;
    assert_eq!(status(&answer), 413);
    assert!(!answer.contains("100 Continue"));
    // Not that many: what comes is counted, not what was said to come.
    let mut stream = house.connect().await;
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(chunked.as_bytes()).await.unwrap();
    assert_eq!(status(&one_answer(&mut stream).await), 100);
    let large = format!("100001\r\n{}", "b".repeat((1 << 20) + 1));
    stream.write_all(large.as_bytes()).await.unwrap();
    assert_eq!(status(&one_answer(&mut stream).await), 413);
}

#[tokio::test]
async fn of_two_requests_at_once_the_first_is_answered_and_the_connection_ends() {
    let fake = Fake::play(Play::ok("one"));
    let house = House::before(fake.address, quick());
    let one = "GET /one HTTP/1.1\r\nHost: x\r\n\r\n";
    for first in [one, "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"] {
        let answer =
            house.send(format!("{first}GET /two HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert_eq!((status(&answer), body(&answer)), (200, "one"));
    }
    assert_eq!(fake.hits(), 2);
    assert!(house.seen.requests.lock().iter().all(|request| &*request.target == "/one"));
}

#[tokio::test]
async fn who_sends_too_slowly_is_turned_back() {
    let house = House::echo(quick());
    for (name, first, trickle) in [
        ("a head", "GET / HTTP/1.1\r\nX: ", "y"),
        ("a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "y"),
        (
            "chunks",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\ny\r\n",
        ),
    ] {
        let mut stream = house.connect().await;
        stream.write_all(first.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        // A byte now and then must not count as progress.
        let slowly = tokio::spawn(async move {
            while write.write_all(trickle.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let start = tokio::time::Instant::now();
        let mut answer = vec![0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 408", "{name}");
        assert!(start.elapsed() < Duration::from_secs(2), "{name}: {:?}", start.elapsed());
        slowly.abort();
    }
    assert_eq!((house.refused(), house.handled()), (vec![Code::TooSlow; 3], 0));
}

#[tokio::test]
async fn who_sends_nothing_or_leaves_half_way_is_not_a_call() {
    let bounds = tollhouse::proxy::Bounds { idle: Duration::from_millis(200), ..quick() };
    let house = House::echo(bounds);
    assert_eq!(house.send(b"").await, "");
    for half in ["GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"] {
        let mut stream = house.connect().await;
        stream.write_all(half.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), "", "{half}");
    }
    assert_eq!((house.refused(), house.handled()), (vec![], 0));
}

//! What leaves for the upstream when the bytes of an agent are odd: judged is what is sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::house::House;
use crate::support::shop::Shop;

/// 5.00 of order A-1, which may run.
const SMALL: &str = r#"{"order":"A-1","amount":"5.00","currency":"USD"}"#;
/// 500.00 of order A-2, which waits for a person.
const LARGE: &str = r#"{"order":"A-2","amount":"500.00","currency":"USD"}"#;

/// What comes back for these bytes, until the connection ends.
fn exchange(house: &House, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address(house)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset after its answer has said all it had to say.
    let _ended = stream.read_to_end(&mut answer).is_ok();
    String::from_utf8(answer).unwrap()
}

fn address(house: &House) -> &str {
    house.agents.strip_prefix("http://").unwrap()
}

/// A refund's head without its framing.
fn head(house: &House, more: &str) -> String {
    let (host, token) = (address(house), house.token());
    format!(
        "POST /refunds HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{more}"
    )
}

fn whole(house: &House, body: &str) -> String {
    format!("{}Content-Length: {}\r\n\r\n{body}", head(house, ""), body.len())
}

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

#[test]
fn odd_framing_is_refused_and_nothing_is_sent() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let (smuggled, length) = (whole(&house, SMALL), SMALL.len());
    for (name, more) in [
        (
            "both framings",
            format!(
                "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "two lengths",
            format!("Content-Length: {length}\r\nContent-Length: 4\r\n\r\n{SMALL}{smuggled}"),
        ),
        ("a signed length", format!("Content-Length: +{length}\r\n\r\n{SMALL}")),
        ("xchunked", format!("Transfer-Encoding: xchunked\r\n\r\n{}0\r\n\r\n", chunk(SMALL))),
        (
            "a folded coding",
            format!("Transfer-Encoding:\r\n chunked\r\n\r\n{}0\r\n\r\n", chunk(SMALL)),
        ),
        (
            "an upgrade, pipelined",
            format!(
                "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: {length}\r\n\r\n{SMALL}{smuggled}"
            ),
        ),
        (
            "our headers taken away",
            format!("Connection: Authorization\r\nContent-Length: {length}\r\n\r\n{SMALL}"),
        ),
    ] {
        let answer = exchange(&house, &head(&house, &more));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        assert_eq!(shop.seen().len(), 0, "{name}");
    }
    let foreign = whole(&house, SMALL).replacen(address(&house), "evil.example", 1);
    let answer = exchange(&house, &foreign);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let old = head(&house, "Transfer-Encoding: chunked\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0");
    let answer = exchange(&house, &format!("{old}{}0\r\n\r\n", chunk(SMALL)));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(shop.seen().len(), 0);
}

#[test]
fn chunks_leave_as_one_body_without_extensions_and_trailers() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let (first, second) = SMALL.split_at(20);
    let framing =
        "Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Idempotency-Key\r\n\r\n";
    let first = chunk(first).replacen("\r\n", ";amount=\"50000\"\r\n", 1);
    let late =
        "0\r\nIdempotency-Key: late\r\nAuthorization: Bearer agents-own\r\nX-Late: 1\r\n\r\n";
    let answer =
        exchange(&house, &format!("{}{first}{}{late}", head(&house, framing), chunk(second)));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let posts = shop.posts();
    let [sent] = posts.as_slice() else { panic!("{posts:?}") };
    assert_eq!((&*sent.line, &*sent.body), ("POST /refunds HTTP/1.1", SMALL));
    assert_eq!(sent.header("content-length"), Some(&*SMALL.len().to_string()));
    for name in ["transfer-encoding", "trailer", "x-late", "te"] {
        assert_eq!(sent.header(name), None, "{sent:?}");
    }
    let all = format!("{sent:?}");
    assert!(!all.contains("late") && !all.contains("agents-own"), "{all}");
}

#[test]
fn a_body_that_was_announced_is_judged_when_it_is_there() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    // It says little and sends much: what came is judged, and nothing left before it came.
    let more = "Connection: close\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = TcpStream::connect(address(&house)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(head(&house, more).as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(shop.seen().len(), 0);
    stream.write_all(format!("{}0\r\n\r\n", chunk(LARGE)).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Held for approval"), "{answer}");
    assert_eq!(shop.posts().len(), 0);
}

#[test]
fn of_two_pipelined_effects_the_second_never_leaves() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let second = whole(&house, &SMALL.replace("A-1", "A-3"));
    let answer = exchange(&house, &format!("{}{second}", whole(&house, SMALL)));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!((shop.made_of("A-1"), shop.made_of("A-3")), (1, 0));
}

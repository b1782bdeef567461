//! Listeners, operators and their tokens that come, move and go while calls are made.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::reload::{log, reload, until, write};
use crate::support::agent::{Call, Reply, parse};
use crate::support::house::{House, OPS_TOKEN, configuration};
use crate::support::shop::{Play, Shop};

/// A port that nobody has.
fn free() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `shop` on the shared listener, and further upstreams before the same shop with a listener of their own.
fn text(shop: &Shop, own: &[(&str, u16)], drain: &str) -> String {
    let mut upstreams = String::new();
    for (name, port) in own {
        let url = shop.url();
        upstreams += &format!(
            "  {name}: {{ url: \"{url}\", pack: orders, listen: 127.0.0.1:{port}, credentials: file:shop-key }}\n"
        );
    }
    configuration(&shop.url(), "")
        .replace("version: 1\n", &format!("version: 1\ndrain: {drain}\n"))
        .replace("queues:", &format!("{upstreams}queues:"))
}

/// The calls of an upstream that were answered.
fn counted(house: &House, upstream: &str) -> usize {
    let metrics = house.console(Call::new("GET", "/metrics")).body;
    let of = format!("upstream=\"{upstream}\"");
    let lines = metrics.lines().filter(|line| line.starts_with("tollhouse_requests_total{"));
    let counts = lines.filter(|line| line.contains(&of)).map(|line| line.rsplit(' ').next());
    counts.map(|count| count.unwrap().parse::<usize>().unwrap()).sum()
}

/// Threads that go on until the end of a test, however it ends.
pub struct StopAtEnd<'s>(pub &'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A connection that is kept.
struct Kept {
    stream: TcpStream,
    address: String,
}

impl Kept {
    fn to(address: &str) -> std::io::Result<Self> {
        let address = address.strip_prefix("http://").unwrap_or(address).to_owned();
        let stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream, address })
    }

    fn read(&mut self, house: &House) -> std::io::Result<Reply> {
        let call = Call::new("GET", "/orders/A-1").bearer(house.token());
        self.stream.write_all(&call.bytes(&self.address, "keep-alive"))?;
        let (mut bytes, mut some) = (Vec::new(), [0; 4096]);
        loop {
            match self.stream.read(&mut some)? {
                0 => return Err(std::io::Error::other(format!("closed after {bytes:?}"))),
                n => bytes.extend(some.get(..n).unwrap()),
            }
            if let Some(reply) = parse(&bytes) {
                return Ok(reply);
            }
        }
    }

    /// Whether the other side closed it.
    fn is_closed(&mut self) -> bool {
        self.stream.read(&mut [0; 1]).unwrap() == 0
    }
}

#[test]
fn a_listener_comes_moves_and_goes_and_no_call_is_dropped() {
    let shop = Shop::open();
    let (one, two) = (free(), free());
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    let house = House::written(tempfile::tempdir().unwrap(), &text(&shop, &[], "10s"), "");
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    shop.play(Play::Slow(Duration::from_millis(1500)));
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for _ in 0..2 {
            // The shared listener stays: neither a kept connection nor a new one meets anything of it.
            scope.spawn(|| {
                let mut kept = Kept::to(&house.agents).unwrap();
                while !stop.load(Ordering::Acquire) {
                    assert_eq!(kept.read(&house).unwrap().status, 200);
                    assert_eq!(house.get("/orders/A-1").status, 200);
                    reads.fetch_add(2, Ordering::AcqRel);
                }
            });
        }
        write(&house, &text(&shop, &[("first", one)], "10s"));
        assert_eq!(reload(&house).0, 200, "{}", log(&house));
        let mut old = Kept::to(&at(one)).unwrap();
        assert_eq!(old.read(&house).unwrap().status, 200);
        // It moves, and another joins it: calls under way there are answered, by what they came to.
        let slow = house.refund_call("A-1", "5.00", "slow");
        let slow = scope.spawn(move || slow.send(&at(one)));
        until("the refund is under way", || !shop.posts().is_empty());
        write(&house, &text(&shop, &[("zeroth", one), ("first", two)], "10s"));
        assert_eq!(reload(&house).0, 200, "{}", log(&house));
        assert!(old.is_closed(), "an idle connection to what moved is closed");
        assert_eq!(counted(&house, "zeroth"), 0);
        assert_eq!(Kept::to(&at(one)).unwrap().read(&house).unwrap().status, 200);
        assert_eq!(Kept::to(&at(two)).unwrap().read(&house).unwrap().status, 200);
        // Each leads where it is said to, and the refund under way is counted for whom it was.
        assert_eq!((counted(&house, "zeroth"), counted(&house, "first")), (1, 2));
        // Both go, while one is asked.
        let late = house.refund_call("A-2", "5.00", "late");
        let late = scope.spawn(move || late.send(&at(two)));
        std::thread::sleep(Duration::from_millis(300));
        write(&house, &text(&shop, &[], "10s"));
        assert_eq!(reload(&house).0, 200, "{}", log(&house));
        for port in [one, two] {
            until("nobody is served there", || TcpStream::connect(("127.0.0.1", port)).is_err());
        }
        for call in [slow, late] {
            let reply = call.join().unwrap().unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    });
    assert_eq!((shop.made_of("A-1"), shop.made_of("A-2")), (1, 1));
    assert!(reads.load(Ordering::Acquire) > 20, "{reads:?}");
    let log = log(&house);
    assert!(log.contains(&format!("no more agents at 127.0.0.1:{two}")), "{log}");
}

#[test]
fn a_request_that_was_still_coming_while_its_listener_went_is_answered() {
    let shop = Shop::open();
    let one = free();
    let house =
        House::written(tempfile::tempdir().unwrap(), &text(&shop, &[("own", one)], "5s"), "");
    let mut half = Kept::to(&format!("http://127.0.0.1:{one}")).unwrap();
    let call = house.refund_call("A-1", "5.00", "half").bytes(&half.address, "keep-alive");
    let (first, rest) = call.split_at(call.len() - 10);
    half.stream.write_all(first).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    write(&house, &text(&shop, &[], "5s"));
    assert_eq!(reload(&house).0, 200, "{}", log(&house));
    half.stream.write_all(rest).unwrap();
    let mut answer = String::new();
    half.stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn an_address_that_is_taken_changes_nothing_and_is_named() {
    let shop = Shop::open();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, port) = (free(), taken.local_addr().unwrap().port());
    let house =
        House::written(tempfile::tempdir().unwrap(), &text(&shop, &[("own", one)], "5s"), "");
    write(&house, &text(&shop, &[("other", free()), ("own", port)], "5s"));
    let (status, problem) = reload(&house);
    assert_eq!(status, 422, "{problem}");
    let why = problem["detail"].as_str().unwrap();
    assert!(why.contains(&format!("127.0.0.1:{port}")) && why.contains("in use"), "{why}");
    let mut own = Kept::to(&format!("http://127.0.0.1:{one}")).unwrap();
    assert_eq!(own.read(&house).unwrap().status, 200);
}

#[test]
fn a_hold_goes_where_it_was_meant_to_go_whatever_listeners_there_are() {
    let (shop, other) = (Shop::open(), Shop::open());
    let (one, two) = (free(), free());
    let house =
        House::written(tempfile::tempdir().unwrap(), &text(&shop, &[("own", one)], "1s"), "");
    let call = house.refund_call("A-1", "150.00", "held");
    let held = call.send(&format!("http://127.0.0.1:{one}")).unwrap();
    assert_eq!(held.code(), "approval_required", "{held:?}");
    // Another upstream takes the first place of its own, and `own` the second.
    let first = format!(
        "  alpha: {{ url: \"{}\", pack: orders, listen: 127.0.0.1:{one}, credentials: file:shop-key }}\n  own:",
        other.url()
    );
    write(&house, &text(&shop, &[("own", two)], "1s").replace("  own:", &first));
    assert_eq!(reload(&house).0, 200, "{}", log(&house));
    assert_eq!(house.approve(&held.operation()).code, 0);
    until("it is made", || shop.made_of("A-1") + other.made_of("A-1") > 0);
    assert_eq!((shop.made_of("A-1"), other.made_of("A-1")), (1, 0));
}

#[test]
fn a_hold_whose_upstream_is_gone_is_not_sent_anywhere() {
    let (shop, other) = (Shop::open(), Shop::open());
    let one = free();
    let house =
        House::written(tempfile::tempdir().unwrap(), &text(&shop, &[("own", one)], "1s"), "");
    let call = house.refund_call("A-1", "150.00", "held");
    let held = call.send(&format!("http://127.0.0.1:{one}")).unwrap().operation();
    let renamed = text(&other, &[("renamed", one)], "1s");
    write(&house, &renamed);
    assert_eq!(reload(&house).0, 200, "{}", log(&house));
    assert_eq!(house.approve(&held).code, 0);
    let state = || {
        let shown = house.listed(&["operations", "show", &held]);
        shown["state"].as_str().unwrap().to_owned()
    };
    until("it is refused", || state() == "refused");
    assert_eq!((shop.made_of("A-1"), other.made_of("A-1")), (0, 0));
}

/// The status of a question with this token.
fn asked(url: &str, token: &str) -> u16 {
    Call::new("GET", "/v1/holds").bearer(token).send(url).unwrap().status
}

#[test]
fn an_operators_token_and_the_doors_of_the_console_change_without_a_restart() {
    let shop = Shop::open();
    let probes = free();
    let house = House::written(tempfile::tempdir().unwrap(), &text(&shop, &[], "2s"), "");
    let (console, _) = house.operator();
    let mut signed_in = Call::new("POST", "/sign-in");
    signed_in.body = format!("token={OPS_TOKEN}&next=%2F");
    let (host, origin) = (console.replace("http://", ""), console.clone());
    let signed_in = signed_in
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", &origin)
        .header("Sec-Fetch-Site", "same-origin")
        .send(&console)
        .unwrap();
    let cookie =
        signed_in.header("set-cookie").map(|set| set.split(';').next().unwrap().to_owned());
    let cookie = cookie.unwrap_or_else(|| panic!("{host}: {signed_in:?}"));
    let page = || Call::new("GET", "/v1/holds").header("Cookie", &cookie).send(&console).unwrap();
    assert_eq!(page().status, 200);
    // A secret that is rotated by its file, as a mounted one is.
    const NEXT: &str = "the-next-operator-token-of-some-length";
    std::fs::write(house.home.path().join("ops-token"), NEXT).unwrap();
    until("the other token counts", || asked(&console, NEXT) == 200);
    assert_eq!(asked(&console, OPS_TOKEN), 401);
    assert_eq!(page().status, 401, "who signed in with the old one signs in again");
    // Probes get an address of their own; the console stays where it is.
    let more = format!("probes: {{ listen: 127.0.0.1:{probes} }}\nqueues:");
    let more = text(&shop, &[], "2s").replace("queues:", &more);
    write(&house, &more);
    let ready = || Call::new("GET", "/readyz").send(&format!("http://127.0.0.1:{probes}"));
    until("the probes are there", || ready().is_ok_and(|reply| reply.status == 200));
    assert_eq!(asked(&format!("http://127.0.0.1:{probes}"), NEXT), 404);
    // The console goes to a socket and leaves its port.
    write(
        &house,
        &more.replace("  listen: 127.0.0.1:0\n  tokens", "  listen: unix:ops.sock\n  tokens"),
    );
    until("the console is not there any more", || TcpStream::connect(&host).is_err());
    assert!(house.home.path().join("ops.sock").exists());
    let reply = ready().unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let said: Value = serde_json::json!({ "log": log(&house) });
    assert!(said["log"].as_str().unwrap().contains("the console at unix:"), "{said}");
}

//! It says where it is, serves, keeps secrets apart, and stops without cutting anybody off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::agent::{Call, Reply};
use crate::support::house::{House, SECRET, configuration};
use crate::support::shop::{Play, Shop};

/// A read, a refund, the same again, somebody else's order, and what the probes say of it.
fn serves(house: &House, shop: &Shop) {
    let read = house.get("/orders/A-1");
    assert_eq!((read.status, read.header("tollhouse-decision")), (200, Some("allow")), "{read:?}");
    assert_eq!(read.json()["customer_ref"], "ann");
    assert!(read.header("server-timing").unwrap().starts_with("tollhouse;dur="), "{read:?}");

    let first = house.refund("A-1", "25.00", "k-1");
    assert_eq!((first.status, first.header("tollhouse-decision")), (200, Some("allow")));
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = house.refund("A-1", "25.00", "k-1");
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.operation(), first.operation());
    let same = house.refund("A-1", "25.00", "k-2");
    assert_eq!((same.status, same.header("tollhouse-dedup")), (200, Some("same")), "{same:?}");
    assert_eq!(shop.made_of("A-1"), 1);
    assert_eq!(house.refund("A-1", "26.00", "k-1").status, 422);

    let theirs = house.get("/orders/B-1");
    let missing = house.get("/orders/C-1");
    assert_eq!((theirs.status, missing.status), (404, 404), "{theirs:?}");
    assert_eq!(theirs.reason, missing.reason);
    assert_eq!(house.refund("B-1", "5.00", "k-3").status, 404);
    assert_eq!(shop.made_of("B-1"), 0);

    let (console, _) = house.operator();
    let probe = |target: &str| Call::new("GET", target).send(&console).unwrap();
    assert_eq!(probe("/healthz").body, "ok\n");
    let ready = probe("/readyz");
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
    let metrics = probe("/metrics").body;
    let counted = metrics.lines().any(|line| {
        line.starts_with("tollhouse_requests_total{")
            && line.contains("class=\"financial\"")
            && line.contains("decision=\"allow\"")
    });
    assert!(counted && metrics.contains("tollhouse_build_info"), "{metrics}");
}

#[test]
fn quick_mode_serves_and_says_where() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    assert!(house.agents.starts_with("http://127.0.0.1:"), "{}", house.agents);
    let file = std::fs::metadata(house.state().join("operator.json")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    serves(&house, &shop);
    assert_eq!(house.stop(), Some(0));
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_configuration_serves_and_says_where() {
    let shop = Shop::open();
    let mut house = House::configured(&shop.url(), "", "");
    serves(&house, &shop);
    assert_eq!(house.stop(), Some(0));
    assert_eq!(house.verify().code, 0);
}

/// A connection that was used once and is kept.
fn idle(house: &House) -> TcpStream {
    let address = house.agents.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let read = Call::new("GET", "/orders/A-9").bearer(house.token());
    stream.write_all(&read.bytes(address, "keep-alive")).unwrap();
    let mut bytes = vec![0; 1 << 16];
    let mut seen = 0;
    while crate::support::agent::parse(&bytes[..seen]).is_none() {
        let more = stream.read(&mut bytes[seen..]).unwrap();
        assert!(more > 0, "closed within the answer");
        seen += more;
    }
    stream
}

#[test]
fn reads_share_a_connection_to_the_upstream() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    for n in 0..5 {
        assert_eq!(house.get(&format!("/orders/A-{n}")).status, 200);
    }
    assert_eq!(shop.connections(), 1);
}

fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..400 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("never: {what}");
}

#[test]
fn a_stop_answers_what_is_in_flight_and_closes_what_is_idle() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    let mut idle = idle(&house);
    shop.play(Play::Slow(Duration::from_secs(3)));
    let (call, url) = (house.refund_call("A-1", "25.00", "k-1"), house.agents.clone());
    let sent = call.clone();
    let agent = std::thread::spawn(move || sent.send(&url));
    until("the refund reaches the shop", || shop.made_of("A-1") == 1);
    house.term();
    let began = Instant::now();
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "something was said to nobody");
    assert!(began.elapsed() < Duration::from_secs(2), "the idle connection outlived the stop");
    let answer: Reply = agent.join().unwrap().unwrap();
    assert_eq!((answer.status, answer.json()["id"].as_str()), (200, Some("R-1")), "{answer:?}");
    assert_eq!(house.process.wait().code(), Some(0));
    assert!(call.send(&house.agents).is_err(), "it still serves");

    shop.play(Play::Answer);
    house.again();
    let again = call.send(&house.agents).unwrap();
    assert_eq!((again.status, &again.body), (200, &answer.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(shop.made_of("A-1"), 1);
    assert_eq!(house.verify().code, 0);
}

/// What a person approved runs without a connection: it is in flight all the same.
#[test]
fn a_stop_lets_an_approved_call_end() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    let held = house.refund("A-1", "450.00", "k-1");
    assert_eq!(held.code(), "approval_required");
    shop.play(Play::Slow(Duration::from_secs(2)));
    assert_eq!(house.approve(&held.operation()).code, 0);
    until("the refund reaches the shop", || shop.made_of("A-1") == 1);
    assert_eq!(house.stop(), Some(0));
    house.again();
    let answer = house.refund("A-1", "450.00", "k-1");
    assert_eq!((answer.status, shop.made_of("A-1")), (200, 1), "{answer:?}");
}

#[test]
fn a_stop_that_is_stuck_has_an_end_and_what_was_under_way_is_picked_up() {
    let shop = Shop::open();
    let text = configuration(&shop.url(), ", timeout: { answer: 60s }");
    let text = text.replace("version: 1\n", "version: 1\ndrain: 2s\n");
    let mut house = House::written(tempfile::tempdir().unwrap(), &text, "");
    shop.play(Play::Slow(Duration::from_secs(15)));
    let call = house.refund_call("A-1", "5.00", "stuck");
    let agents = house.agents.clone();
    let agent = std::thread::spawn(move || call.send(&agents));
    until("it is under way", || !shop.posts().is_empty());
    let start = Instant::now();
    let code = house.stop();
    let took = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
    assert_eq!(code, Some(1), "whoever stopped it is told");
    assert!(agent.join().unwrap().is_err(), "the agent was not answered");
    house.again();
    let again = house.refund_call("A-1", "5.00", "stuck").send(&house.agents).unwrap();
    assert_eq!(again.code(), "outcome_unknown", "{again:?}");
    let unknown = house.listed(&["operations", "list", "--only", "unknown"]);
    assert_eq!(unknown.as_array().unwrap().len(), 1, "{unknown}");
    assert_eq!(shop.posts().len(), 1, "nothing is sent again");
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_stop_does_not_wait_for_people() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    let call = house.refund_call("A-1", "450.00", "k-1").header("Prefer", "wait=60");
    let url = house.agents.clone();
    let agent = std::thread::spawn(move || call.send(&url));
    until("the hold is there", || house.listed(&["holds", "list"]).as_array().unwrap().len() == 1);
    let began = Instant::now();
    assert_eq!(house.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let answer = agent.join().unwrap().unwrap();
    assert_eq!(answer.code(), "approval_required", "{answer:?}");
}

#[test]
fn a_new_secret_is_sent_without_a_restart_and_the_agents_own_never() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let sent = || shop.seen().last().unwrap().header("authorization").unwrap().to_owned();
    assert_eq!(house.get("/orders/A-1").status, 200);
    assert_eq!(sent(), format!("Bearer {SECRET}"));

    let file = house.home.path().join("shop-key");
    std::fs::write(file.with_extension("new"), "another-secret\n").unwrap();
    std::fs::rename(file.with_extension("new"), file).unwrap();
    // It is looked at once a second.
    std::thread::sleep(Duration::from_millis(1_200));
    let call = house
        .refund_call("A-1", "25.00", "agents-own-key")
        .header("Tollhouse-Case", "case-4711")
        .header("Tollhouse-Reason", "it was late")
        .header("Cookie", "session=abc")
        .header("X-Secret", "of the agent");
    let refunded = call.send(&house.agents).unwrap();
    assert_eq!(refunded.status, 200, "{refunded:?}");
    assert_eq!(sent(), "Bearer another-secret");

    for seen in shop.seen() {
        let own = ["agents-own-key", "case-4711", "it was late", "session=abc", "of the agent"];
        let whole = format!("{seen:?}");
        assert!(!whole.contains(house.token()), "the agent's token went upstream: {whole}");
        assert!(own.iter().all(|own| !whole.contains(own)), "{whole}");
        assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("tollhouse")), "{whole}");
    }
    let key = shop.posts()[0].header("idempotency-key").unwrap().to_owned();
    assert!(key.starts_with("th_") && key.len() == 43, "{key}");
    let answers = format!("{refunded:?}{:?}", house.console(Call::new("GET", "/v1/config")));
    assert!(!answers.contains("another-secret") && !answers.contains(SECRET), "{answers}");
}

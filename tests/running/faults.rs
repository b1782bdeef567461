//! An upstream that is away, slow, or breaks off: what was not sent is said so, what may have happened
//! is never sent again.

use std::time::Duration;

use crate::support::free_port;
use crate::support::house::House;
use crate::support::shop::{Play, Shop};

const TIMEOUT: &str =
    ", timeout: { connect: 500ms, answer: 800ms }, breaker: { consecutive: 100, open: 1s }";

#[test]
fn an_upstream_that_is_down_is_502_and_nothing_is_sent() {
    let house = House::configured(&format!("http://127.0.0.1:{}", free_port()), TIMEOUT, "");
    let read = house.get("/orders/A-1");
    assert_eq!((read.status, &*read.code()), (502, "upstream_unreachable"), "{read:?}");
    assert_eq!(read.json()["sent"], "no");
    // A refund cannot be judged without its order.
    let effect = house.refund("A-1", "25.00", "k-1");
    assert!([502, 503].contains(&effect.status), "{effect:?}");
    assert_eq!(effect.json()["sent"], "no");
    assert_eq!(house.listed(&["operations", "list"]), serde_json::json!([]));
}

#[test]
fn an_effect_that_cannot_be_sent_runs_when_it_can() {
    let shop = Shop::open();
    let house = House::configured(&shop.url(), TIMEOUT, "");
    // Its facts come over the connection that stands, if that lasts; the refund needs one of its own.
    // Which of the two is lost is a race; that nothing is sent is not.
    shop.shut_at_the_next_read();
    let away = house.refund("A-1", "25.00", "k-1");
    let told = [(502, "upstream_unreachable"), (503, "undecidable")];
    assert!(told.contains(&(away.status, &*away.code())), "{away:?}");
    assert_eq!(away.json()["sent"], "no");
    assert_eq!(away.json()["retryable"], true);
    assert_eq!(shop.posts().len(), 0);
    shop.reopen();
    let now = house.refund("A-1", "25.00", "k-1");
    assert_eq!((now.status, now.header("idempotent-replayed")), (200, None), "{now:?}");
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn a_slow_read_is_504_and_may_be_asked_again() {
    let shop = Shop::open();
    let house = House::configured(&shop.url(), TIMEOUT, "");
    shop.reads_take(Duration::from_secs(3));
    let slow = house.get("/orders/A-1");
    assert_eq!((slow.status, &*slow.code()), (504, "upstream_timeout"), "{slow:?}");
    assert_eq!(slow.json()["retryable"], true);
    shop.reads_take(Duration::ZERO);
    assert_eq!(house.get("/orders/A-1").status, 200);
}

/// What a refund comes to whose answer is lost one way or another.
fn is_unknown_and_stays_so(play: Play) {
    let shop = Shop::open();
    let house = House::configured(&shop.url(), TIMEOUT, "");
    shop.play(play);
    let lost = house.refund("A-1", "25.00", "k-1");
    assert_eq!((lost.status, &*lost.code()), (504, "outcome_unknown"), "{lost:?}");
    assert_eq!(
        (&lost.json()["sent"], &lost.json()["retryable"]),
        (&"unknown".into(), &false.into())
    );
    shop.play(Play::Answer);
    for key in ["k-1", "k-2", ""] {
        let again = house.refund("A-1", "25.00", key);
        assert_eq!((again.status, &*again.code()), (409, "outcome_unknown"), "{again:?}");
        assert_eq!(again.operation(), lost.operation());
    }
    // Another refund of the same order would be judged by what is not known.
    let other = house.refund("A-1", "7.00", "k-3");
    assert_eq!((other.status, &*other.code()), (409, "outcome_unknown"), "{other:?}");
    assert_eq!(shop.posts().len(), 1, "it was sent again");
    assert_eq!(house.refund("A-2", "7.00", "k-4").status, 200, "another order is not concerned");
    let listed = house.listed(&["operations", "list", "--only", "unknown"]);
    assert_eq!(listed[0]["id"], lost.operation());
}

#[test]
fn a_slow_effect_is_unknown_and_never_sent_again() {
    is_unknown_and_stays_so(Play::Slow(Duration::from_secs(3)));
}

#[test]
fn an_answer_that_never_comes_is_unknown_and_never_sent_again() {
    is_unknown_and_stays_so(Play::Drop);
}

#[test]
fn an_answer_that_breaks_off_is_unknown_and_never_sent_again() {
    is_unknown_and_stays_so(Play::HalfAnswer);
}

#[test]
fn a_500_is_unknown_and_never_sent_again() {
    is_unknown_and_stays_so(Play::Status(500));
}

#[test]
fn what_the_pack_lists_as_not_executed_may_run_again() {
    let shop = Shop::open();
    let house = House::configured(&shop.url(), TIMEOUT, "");
    shop.play(Play::Status(429));
    let turned = house.refund("A-1", "25.00", "k-1");
    assert_eq!((turned.status, turned.header("tollhouse-decision")), (429, Some("allow")));
    shop.play(Play::Answer);
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    let keys: Vec<_> =
        shop.posts().iter().map(|p| p.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]), "one operation, one key");
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn an_agent_that_goes_away_does_not_stop_its_refund() {
    use std::io::Write;
    let shop = Shop::open();
    let house = House::configured(&shop.url(), "", "");
    shop.play(Play::Slow(Duration::from_millis(300)));
    let call = house.refund_call("A-1", "25.00", "k-1");
    let address = house.agents.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(&call.bytes(address, "close")).unwrap();
    // Nobody is there any more when it is judged, nor when it is answered.
    drop(stream);
    for _ in 0..200 {
        if shop.made_of("A-1") == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    assert_eq!(shop.made_of("A-1"), 1, "the call of an agent that went away was cut");
    let answer = house.until(&call, |reply| reply.status == 200);
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    assert_eq!(shop.made_of("A-1"), 1);
}

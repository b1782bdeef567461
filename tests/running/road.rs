//! An upstream that falls ill, is slow, and recovers: the road shuts, reads find out, and no refund is
//! ever the one that tries. `--nocapture` prints what happened when.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::agent::{Call, Reply};
use crate::support::house::House;
use crate::support::shop::{Play, Shop};

/// Half of the last ten calls, three in a row; slow is above a second; shut for three.
const ROAD: &str = ", timeout: { connect: 500ms, answer: 5s }, concurrency: { max: 20 }, \
                    breaker: { failures: 50%, of_last: 10, consecutive: 3, slow: 1s, open: 3s, probes: 2 }";

/// A little longer than it is shut.
const SHUT: Duration = Duration::from_millis(3_100);

/// What happened when, for people.
struct Timeline {
    from: Instant,
    lines: String,
    orders: usize,
}

impl Timeline {
    fn begin() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test against a real process")]
        let from = Instant::now();
        Self { from, lines: String::new(), orders: 0 }
    }

    fn says(&mut self, what: &str) {
        let at = self.from.elapsed().as_secs_f64();
        writeln!(self.lines, "{at:>7.2} s  {what}").unwrap();
    }

    fn saw(&mut self, what: &str, reply: &Reply) -> (u16, String) {
        let code = if reply.status == 200 { String::new() } else { reply.code() };
        self.says(&format!("{what:<10} {} {code}", reply.status));
        (reply.status, code)
    }

    fn read(&mut self, house: &House) -> (u16, String) {
        let reply = house.get("/orders/A-1");
        self.saw("read", &reply)
    }

    /// A refund of an order that was never refunded before.
    fn refund(&mut self, house: &House) -> (u16, String) {
        self.orders += 1;
        let order = format!("A-{}", 100 + self.orders);
        let reply = house.refund(&order, "5.00", &format!("k-{}", self.orders));
        self.saw("refund", &reply)
    }

    /// Reads until one gets through or `most` is over; how many reached the shop meanwhile.
    fn until_well(&mut self, house: &House, shop: &Shop) -> usize {
        let before = shop.seen().len();
        for _ in 0..200 {
            if self.read(house).0 == 200 {
                return shop.seen().len() - before;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it never recovered:\n{}", self.lines);
    }
}

fn breaker(house: &House) -> u64 {
    metric(house, "tollhouse_breaker_state{upstream=\"shop\"}")
}

fn metric(house: &House, name: &str) -> u64 {
    let (console, _) = house.operator();
    let metrics = Call::new("GET", "/metrics").send(&console).unwrap().body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or_else(|| panic!("{name}:\n{metrics}"))
}

#[test]
fn an_upstream_falls_ill_is_slow_and_recovers_and_no_refund_is_a_probe() {
    let shop = Shop::open();
    let house = House::configured(&shop.url(), ROAD, "");
    let mut time = Timeline::begin();
    for _ in 0..3 {
        assert_eq!(time.read(&house).0, 200);
    }
    assert_eq!(time.refund(&house).0, 200);

    time.says("-- the shop answers every read with 500");
    shop.reads_say(500);
    while time.read(&house).1 == "undecidable" {}
    let seen = shop.seen().len();
    assert_ne!(breaker(&house), 0, "{}", time.lines);
    for _ in 0..3 {
        assert_eq!(time.refund(&house), (503, "breaker_open".to_owned()), "{}", time.lines);
        assert_eq!(time.read(&house), (503, "breaker_open".to_owned()), "{}", time.lines);
    }
    assert_eq!(shop.seen().len(), seen, "something got through a shut road:\n{}", time.lines);
    time.says("-- a span is over: refunds come first");
    std::thread::sleep(SHUT);
    // A refund reads its order first: that read is the probe, and it fails.
    assert_eq!(time.refund(&house).0, 503, "{}", time.lines);
    assert_eq!(time.refund(&house), (503, "breaker_open".to_owned()), "{}", time.lines);

    time.says("-- the shop answers, but slowly");
    shop.reads_say(200);
    shop.reads_take(Duration::from_millis(1_500));
    std::thread::sleep(SHUT);
    time.read(&house);
    assert_ne!(breaker(&house), 0, "a slow probe closed it:\n{}", time.lines);

    time.says("-- the shop is well");
    shop.reads_take(Duration::ZERO);
    let probes = time.until_well(&house, &shop);
    assert_eq!(probes, 1, "{}", time.lines);
    // The second of two.
    time.read(&house);
    assert_eq!(breaker(&house), 0, "{}", time.lines);
    for _ in 0..5 {
        assert_eq!(time.refund(&house).0, 200, "{}", time.lines);
        assert_eq!(time.read(&house).0, 200, "{}", time.lines);
    }
    let turns = |to| {
        metric(&house, &format!("tollhouse_breaker_turns_total{{to=\"{to}\",upstream=\"shop\"}}"))
    };
    let (opened, closed) = (turns("open"), turns("closed"));
    time.says(&format!("opened {opened} time, closed {closed} time"));
    println!("{}", time.lines);
    assert_eq!((opened, closed), (1, 1), "it flapped:\n{}", time.lines);
    // Every refund that was sent was one that was answered with 200: none was sent to find out.
    assert_eq!(shop.posts().len(), 6, "{}", time.lines);
    let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    let opened = log.lines().find(|line| line.contains("a breaker is open"));
    assert!(opened.is_some_and(|line| line.contains("failed")), "{log}");
    assert!(log.contains("a breaker is closed"), "{log}");
}

#[test]
fn refunds_that_fail_alone_are_shut_alone_and_reads_go_on() {
    let shop = Shop::open();
    let house = House::configured(&shop.url(), ROAD, "");
    let mut time = Timeline::begin();
    shop.play(Play::Status(500));
    for _ in 0..3 {
        assert_eq!(time.refund(&house), (504, "outcome_unknown".to_owned()), "{}", time.lines);
        assert_eq!(time.read(&house).0, 200, "{}", time.lines);
    }
    let sent = shop.posts().len();
    assert_eq!(time.refund(&house), (503, "breaker_open".to_owned()), "{}", time.lines);
    shop.play(Play::Answer);
    std::thread::sleep(SHUT);
    // No read can say whether refunds work: for ten spans none is sent.
    assert_eq!(time.refund(&house), (503, "breaker_open".to_owned()), "{}", time.lines);
    assert_eq!((time.read(&house).0, shop.posts().len()), (200, sent), "{}", time.lines);
    assert_eq!(breaker(&house), 0);
    assert_eq!(metric(&house, "tollhouse_breaker_actions_shut{upstream=\"shop\"}"), 1);
    println!("{}", time.lines);
}

#[test]
fn more_at_once_than_lanes_is_told_at_once_and_effects_come_first() {
    let shop = Shop::open();
    let narrow = ", concurrency: { max: 2, adaptive: false, queue: 0s }";
    let house = House::configured(&shop.url(), narrow, "");
    shop.reads_take(Duration::from_secs(3));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| house.get("/orders/A-1"));
        while shop.seen().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // One lane of two is kept for effects.
        let read = house.get("/orders/A-2");
        assert_eq!((read.status, &*read.code()), (503, "overloaded"), "{read:?}");
        assert_eq!((&read.json()["sent"], read.header("retry-after")), (&"no".into(), Some("2")));
        assert_eq!(metric(&house, "tollhouse_upstream_in_flight{upstream=\"shop\"}"), 1);
        let refund = house.refund("A-3", "5.00", "k-1");
        assert_eq!(refund.status, 200, "{refund:?}");
        assert_eq!(slow.join().unwrap().status, 200);
    });
    let shed = "tollhouse_shed_total{at=\"shop\",wants=\"read\",why=\"full\"}";
    assert_eq!(metric(&house, shed), 1);
    assert_eq!(metric(&house, "tollhouse_upstream_in_flight{upstream=\"shop\"}"), 0);
}

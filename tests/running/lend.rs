//! A rate of a whole fleet, reads among them: four real sidecars at full load, and a store that goes.

use std::time::{Duration, Instant};

use super::fleet::{DURABLE, store, until_ready};
use crate::support::house::{House, configuration};
use crate::support::redis::Server;
use crate::support::shop::Shop;

/// Replicas of a fleet with one rate.
fn fleet(count: usize, rate: &str) -> (Shop, Server, Vec<House>) {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let text = configuration(&shop.url(), "")
        .replace("store: embedded:data/store", &store(redis.port, ""))
        .replace("version: 1\n", &format!("version: 1\nlimits: [ {rate} ]\n"));
    let mut houses: Vec<House> = Vec::new();
    for _ in 0..count {
        let house = House::replica_in(tempfile::tempdir().unwrap(), &text, houses.first(), "");
        until_ready(&house);
        houses.push(house);
    }
    (shop, redis, houses)
}

/// Reads at all of them for `span`, four callers each: how many passed, how many were turned away.
fn flood(houses: &[House], span: Duration) -> (usize, usize) {
    let start = Instant::now();
    let token = houses[0].token();
    let read = |house: &House| {
        let (mut passed, mut refused) = (0, 0);
        while start.elapsed() < span {
            let call = crate::support::agent::Call::new("GET", "/orders/A-1").bearer(token);
            match call.send(&house.agents).unwrap() {
                reply if reply.status == 200 => passed += 1,
                reply if reply.status == 429 => {
                    assert_eq!(reply.code(), "rate_limited", "{reply:?}");
                    assert!(reply.header("retry-after").is_some(), "{reply:?}");
                    refused += 1;
                }
                reply => panic!("{reply:?}"),
            }
        }
        (passed, refused)
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = houses.iter().flat_map(|house| (0..4).map(move |_| house)).collect();
        let threads: Vec<_> =
            callers.into_iter().map(|house| scope.spawn(move || read(house))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    })
}

#[test]
fn four_sidecars_at_full_load_stay_within_the_stated_bound() {
    let rate = "{ name: reads, per: agent, rate: 50/s, burst: 100, across: fleet }";
    let (shop, _redis, houses) = fleet(4, rate);
    let start = Instant::now();
    let (passed, refused) = flood(&houses, Duration::from_secs(4));
    let over = start.elapsed().as_secs_f64();
    // BOUND: as docs/limits.md has it: the burst, the rate, and 8 % of the burst for each replica.
    let most = 100.0 + 50.0 * over + 4.0 * 8.0;
    println!("{passed} passed, {refused} refused in {over:.2} s; at most {most:.0}");
    let passed = f64::from(u32::try_from(passed).unwrap());
    assert!(passed <= most, "{passed} passed, at most {most}");
    // Nor is anybody kept from what is theirs.
    assert!(passed >= 0.9 * (100.0 + 50.0 * 4.0), "{passed} passed");
    assert!(refused > 0, "it was no full load");
    assert!(shop.posts().is_empty());
}

#[test]
fn one_replica_gets_the_whole_burst_and_others_what_is_left() {
    let rate = "{ name: reads, per: customer, rate: 60/h, burst: 60, across: fleet }";
    let (_shop, _redis, houses) = fleet(2, rate);
    // Many at once, though a replica has at most two in hand: they wait a round trip, they are not refused.
    let (passed, refused) = flood(&houses[..1], Duration::from_millis(1500));
    assert!((60..=64).contains(&passed), "{passed} passed");
    assert!(refused > 0);
    let (more, _) = flood(&houses[1..], Duration::from_millis(500));
    assert!(more <= 3, "{more} passed at the other");
    let reply = houses[1].get("/orders/A-1");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=420).contains(&wait), "{reply:?}");
    assert_eq!(reply.header("ratelimit-policy"), Some("\"reads\";q=60;w=3600"));
}

#[test]
fn while_the_store_is_down_each_process_has_its_share() {
    let rate = "{ name: reads, per: agent, rate: 40/h, across: fleet, store_down: 25% }";
    let (_shop, mut redis, houses) = fleet(1, rate);
    assert_eq!(houses[0].get("/orders/A-1").status, 200);
    redis.kill();
    // It learns of it when it next asks: until then its credit counts.
    let (passed, refused) = flood(&houses, Duration::from_millis(2500));
    assert!((10..=14).contains(&passed), "{passed} passed of a share of ten");
    assert!(refused > 0);
    let log = || std::fs::read_to_string(houses[0].home.path().join("log")).unwrap();
    assert!(log().contains("the store lends no room in shared rates"), "{}", log());
    assert!(redis.run());
    until_ready(&houses[0]);
    let start = Instant::now();
    while houses[0].get("/orders/A-1").status != 200 {
        assert!(start.elapsed() < Duration::from_secs(5), "{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(log().contains("are borrowed from the store again"), "{}", log());
}

/// What is left of each key's row: how long, in seconds.
fn rows(redis: &Server) -> Vec<i64> {
    let count = "local all = redis.call('KEYS', '*:g:*') local left = {} \
                 for i, key in ipairs(all) do left[i] = redis.call('PTTL', key) end return left";
    let said = redis.cli(&["EVAL", count, "0"]);
    let seconds = |line: &str| line.parse::<i64>().ok().map(|millis| millis / 1000);
    said.lines().filter_map(seconds).collect()
}

// A call and one ahead are two minutes of the rate, a call alone is one; a row lives a minute longer.
const EACH: &str = "{ name: reads, per: customer, rate: 60/h, burst: 60, across: fleet }";

#[test]
fn what_is_in_hand_goes_back_at_the_end_however_much_it_is() {
    // More than a round trip takes.
    const KEYS: usize = 300;
    let (_shop, redis, mut houses) = fleet(1, EACH);
    let mut house = houses.remove(0);
    let tokens: Vec<String> = (0..KEYS).map(|n| house.token_of(&format!("c-{n}"))).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for some in tokens.chunks(KEYS / 10) {
            let agents = &house.agents;
            scope.spawn(move || {
                for token in some {
                    let call = crate::support::agent::Call::new("GET", "/orders/A-1").bearer(token);
                    assert_ne!(call.send(agents).unwrap().status, 429);
                }
            });
        }
    });
    println!("{KEYS} calls in {:?}", start.elapsed());
    house.stop();
    let left = rows(&redis);
    // What went ahead of the store counts as well.
    let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert_eq!(left.len(), KEYS, "{log}");
    assert!(left.iter().all(|seconds| *seconds <= 120), "{left:?}");
}

#[test]
fn a_reload_gives_nothing_back() {
    let (_shop, redis, houses) = fleet(1, EACH);
    let token = houses[0].token().to_owned();
    // What nobody uses for a second goes back as well: it is looked at before.
    for _ in 0..10 {
        let (start, call) =
            (Instant::now(), crate::support::agent::Call::new("GET", "/orders/A-1"));
        assert_eq!(call.bearer(&token).send(&houses[0].agents).unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(100));
        let before = rows(&redis);
        assert_eq!(super::reload::reload(&houses[0]).0, 200);
        std::thread::sleep(Duration::from_millis(300));
        let after = rows(&redis);
        if start.elapsed() < Duration::from_millis(900) {
            assert!(before[0] > 120 && after[0] >= before[0] - 1, "{before:?} {after:?}");
            return;
        }
        // Until it has gone back.
        std::thread::sleep(Duration::from_millis(1_500));
    }
    panic!("a reload never took less than half a second");
}

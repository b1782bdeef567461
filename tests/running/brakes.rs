//! More than usual, in a fleet: exactly so many go, the rest is held everywhere, and it outlives a process.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fleet::{DURABLE, store, until_ready};
use crate::support::agent::{Call, Reply};
use crate::support::house::{House, refund};
use crate::support::redis::Server;
use crate::support::shop::{Play, Shop};

const SPIKE: &str =
    "brakes: [ { name: spike, watch: refunds, per: agent, over: 20, within: 10m, quiet: 1h } ]";

fn fleet(shop: &Shop, redis: &Server, brakes: &str) -> (House, House) {
    let with = format!("{}\n{brakes}", store(redis.port, ""));
    let here = House::replica(&shop.url(), &with, None);
    let there = House::replica(&shop.url(), &with, Some(&here));
    until_ready(&here);
    until_ready(&there);
    (here, there)
}

/// The brakes that a replica lists.
fn brakes(house: &House) -> Vec<Value> {
    let all = house.listed(&["freezes"]);
    let all = all.as_array().unwrap().iter();
    all.filter(|one| one["stops"] == "held").cloned().collect()
}

fn until_braked(house: &House, within: Duration) -> Value {
    let start = Instant::now();
    loop {
        if let [one] = brakes(house).as_slice() {
            return one.clone();
        }
        assert!(start.elapsed() < within, "{:?}", brakes(house));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// So many refunds at once, by Ann's and Bob's agent in turns and before both replicas.
fn at_once(houses: [&House; 2], count: usize) -> Vec<Reply> {
    let tokens = ["ann", "bob"].map(|customer| houses[0].token_of(customer));
    let start = Barrier::new(count);
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..count)
            .map(|n| {
                let (start, token) = (&start, &tokens[n % 2]);
                let order = format!("{}-{n}", ["A", "B"][n % 2]);
                let agents = houses[n / 2 % 2].agents.clone();
                scope.spawn(move || {
                    let call = refund(&order, "5.00", &format!("k-{n}")).bearer(token);
                    start.wait();
                    call.send(&agents).unwrap()
                })
            })
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    })
}

fn held(reply: &Reply) -> bool {
    reply.status == 403 && reply.code() == "approval_required"
}

fn metric(house: &House, name: &str) -> u64 {
    let all = house.console(Call::new("GET", "/metrics")).body;
    let line = all.lines().find(|line| line.starts_with(&format!("{name}{{brake=\"spike\"}}")));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn of_fifty_at_once_twenty_go_and_the_rest_is_held_on_every_replica_until_it_is_released() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let (mut here, there) = fleet(&shop, &redis, SPIKE);
    let replies = at_once([&here, &there], 50);
    let went = replies.iter().filter(|reply| reply.status == 200).count();
    let odd: Vec<_> = replies.iter().filter(|one| one.status != 200 && !held(one)).collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!((went, shop.made().len()), (20, 20));
    assert!(!replies.iter().any(|reply| reply.body.contains("spike")), "an agent reads of it");

    // On, on both, within a second; once, whoever saw it first.
    let one = until_braked(&there, Duration::from_secs(1));
    until_braked(&here, Duration::from_secs(1));
    assert_eq!(one["by"], "brake/spike");
    assert_eq!(one["scope"], "tenant/% agent/support-bot");
    assert_eq!(one["reason"], "21 refunds in 10m, more than 20");
    let sum = |name| metric(&here, name) + metric(&there, name);
    assert_eq!((sum("tollhouse_brake_trips_total"), sum("tollhouse_brakes")), (1, 2));
    let told = |house: &House| house.console(Call::new("GET", "/v1/records?last=500")).body;
    let records =
        told(&here).matches("\"braked\"").count() + told(&there).matches("\"braked\"").count();
    assert_eq!(records, 1);

    // Whatever else that agent does waits; reads go on; what a person looked at goes.
    let next = there.refund("A-100", "6.00", "k-100");
    assert!(held(&next), "{next:?}");
    assert_eq!(there.get("/orders/A-1").status, 200);
    assert_eq!(here.approve(&next.operation()).code, 0);
    let call = there.refund_call("A-100", "6.00", "k-100");
    there.until(&call, |reply| reply.status == 200);

    // It outlives every process, and a person lets it go, on both.
    here.crash();
    until_ready(&here);
    assert!(held(&here.refund("A-101", "6.00", "k-101")));
    let id = one["id"].as_str().unwrap();
    assert_eq!(there.cli(&["unfreeze", id]).code, 0);
    let start = Instant::now();
    while !brakes(&here).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", brakes(&here));
        std::thread::sleep(Duration::from_millis(20));
    }
    for (house, order) in [(&here, "A-102"), (&there, "A-103")] {
        let goes = house.refund(order, "6.00", order);
        assert_eq!(goes.status, 200, "{goes:?}");
    }
    assert!(brakes(&there).is_empty());
    assert_eq!(there.verify().code, 0);
}

#[test]
fn on_the_embedded_store_it_outlives_the_process_as_well() {
    let shop = Shop::open();
    let more = "\
brakes: [ { name: few, watch: refunds, per: kind, over: 2, within: 10m } ]";
    let text = format!("{}{more}\n", crate::support::house::configuration(&shop.url(), ""));
    let mut house = House::written(tempfile::tempdir().unwrap(), &text, "");
    for order in ["A-1", "A-2"] {
        assert_eq!(house.refund(order, "5.00", order).status, 200);
    }
    assert!(held(&house.refund("A-3", "5.00", "A-3")));
    until_braked(&house, Duration::from_secs(1));
    house.crash();
    let one = until_braked(&house, Duration::from_secs(1));
    assert_eq!((&one["scope"], &one["until"]), (&"tenant/% kind/refund".into(), &Value::Null));
    assert!(held(&house.refund("A-4", "5.00", "A-4")));
    assert_eq!(house.cli(&["unfreeze", one["id"].as_str().unwrap()]).code, 0);
    assert_eq!(house.refund("A-5", "5.00", "A-5").status, 200);
    // Neither what was released nor from when on it counts is lost with the process.
    house.crash();
    assert_eq!(house.refund("A-6", "5.00", "A-6").status, 200);
    assert!(held(&house.refund("A-7", "5.00", "A-7")));
}

#[test]
fn counting_keeps_no_call_waiting_and_misses_none() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let probing =
        "brakes: [ { name: probing, watch: mismatches, per: agent, over: 10, within: 10m } ]";
    let (here, there) = fleet(&shop, &redis, probing);
    // Somebody else's, while nothing can be counted: each is refused as fast as if nobody counted.
    redis.signal("STOP");
    let start = Instant::now();
    for _ in 0..6 {
        assert_eq!(here.get("/orders/B-1").status, 404);
        assert_eq!(there.get("/orders/B-1").status, 404);
    }
    let took = start.elapsed();
    redis.signal("CONT");
    assert!(took < Duration::from_secs(1), "twelve refusals took {took:?}");
    // Twelve, of both together; what could not be counted then is counted now.
    for house in [&here, &there] {
        let one = until_braked(house, Duration::from_secs(10));
        assert_eq!(one["by"], "brake/probing", "{one}");
    }
    assert!(held(&here.refund("A-1", "5.00", "k-1")));
    assert_eq!(here.get("/orders/A-1").status, 200);
}

#[test]
fn a_call_that_is_on_its_way_counts_until_it_is_known_what_became_of_it() {
    let shop = Shop::open();
    let more = "brakes: [ { name: few, watch: refunds, per: agent, over: 1, within: 10m } ]";
    let text = format!("{}{more}\n", crate::support::house::configuration(&shop.url(), ""));
    let house = House::written(tempfile::tempdir().unwrap(), &text, "");
    shop.play(Play::Drop);
    assert_eq!(house.refund("A-1", "5.00", "k-1").status, 504);
    let next = house.refund("A-2", "5.00", "k-2");
    assert!(held(&next), "an unknown one may have happened: {next:?}");
}

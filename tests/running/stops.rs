//! A file and a signal stop a real process, also while its store is down.

use std::time::{Duration, Instant};

use super::fleet::{DURABLE, store, until_ready};
use crate::support::house::{House, configuration};
use crate::support::redis::Server;
use crate::support::shop::Shop;

/// Asks for refunds until one is answered so; how long that took.
fn until(house: &House, code: &str) -> Duration {
    let start = Instant::now();
    for n in 0.. {
        let order = format!("A-{code}-{n}");
        if house.refund(&order, "5.00", &order).code() == code {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "never `{code}`");
        std::thread::sleep(Duration::from_millis(20));
    }
    unreachable!()
}

/// BOUND: a second, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(3);

fn with_file(shop: &Shop) -> String {
    configuration(&shop.url(), "").replace("version: 1\n", "version: 1\nfreeze_file: stop-here\n")
}

#[test]
fn a_file_stops_everything_while_it_is_there() {
    let shop = Shop::open();
    let house = House::written(tempfile::tempdir().unwrap(), &with_file(&shop), "");
    let file = house.home.path().join("stop-here");
    assert_eq!(house.refund("A-1", "5.00", "k-1").status, 200);
    std::fs::write(&file, "").unwrap();
    assert!(until(&house, "frozen") < SOON);
    let made = shop.made().len();
    let listed = house.listed(&["freezes"]);
    assert_eq!(
        (&listed[0]["by"], &listed[0]["scope"]),
        (&"file".into(), &"all".into()),
        "{listed}"
    );
    // Only what it names.
    std::fs::write(&file, "agent/somebody-else # a spike\n").unwrap();
    assert!(until(&house, "") < SOON);
    assert!(shop.made().len() > made);
    // What does not read stops everything: whoever wrote it meant to stop something.
    std::fs::write(&file, "class/money\n").unwrap();
    assert!(until(&house, "frozen") < SOON);
    std::fs::remove_file(&file).unwrap();
    assert!(until(&house, "") < SOON);
    let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert!(log.contains("frozen in this process") && log.contains("`money` is no class"), "{log}");
    // It is put on record beside what it lets through.
    let start = Instant::now();
    let kinds = || {
        let tail = house.cli(&["audit", "tail", "-n", "500"]).out;
        ["frozen", "unfrozen"].map(|kind| tail.contains(&format!("\"kind\":\"{kind}\"")))
    };
    while kinds() != [true, true] {
        assert!(start.elapsed() < SOON, "{:?}", kinds());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_a_file_stops_is_stopped_from_the_first_call_on() {
    let shop = Shop::open();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("stop-here"), "class/financial\n").unwrap();
    let mut house = House::written(home, &with_file(&shop), "");
    for n in 0..3 {
        let (order, key) = (format!("A-{n}"), format!("k-{n}"));
        assert_eq!(house.refund(&order, "5.00", &key).code(), "frozen");
        assert_eq!(house.get(&format!("/orders/{order}")).status, 200);
        house.crash();
    }
    assert_eq!(shop.posts().len(), 0);
}

#[test]
fn a_signal_stops_the_fleet_and_is_lifted_like_any_other() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    let there = House::replica(&shop.url(), &store(redis.port, ""), Some(&here));
    until_ready(&here);
    until_ready(&there);
    here.process.signal("USR1");
    assert!(until(&here, "frozen") < SOON);
    assert!(until(&there, "frozen") < SOON, "the next call at another replica");
    let made = shop.made().len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(shop.made().len(), made);
    let listed = there.listed(&["freezes"]);
    let [one] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&one["by"], &one["scope"]), (&"signal".into(), &"all".into()));
    assert_eq!(there.cli(&["unfreeze", one["id"].as_str().unwrap()]).code, 0);
    assert!(until(&there, "") < SOON);
    assert!(until(&here, "") < SOON);
}

#[test]
fn a_signal_stops_reads_too_while_the_store_is_down() {
    let (shop, mut redis) = (Shop::open(), Server::with(DURABLE));
    let house = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&house);
    assert_eq!(house.get("/orders/A-1").status, 200);
    redis.kill();
    house.process.signal("USR1");
    let start = Instant::now();
    while house.get("/orders/A-1").code() != "frozen" {
        assert!(start.elapsed() < SOON, "a read went on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Two replicas before one Redis, and a Redis that goes and comes.

use std::time::{Duration, Instant};

use crate::support::agent::Call;
use crate::support::house::{House, run};
use crate::support::redis::Server;
use crate::support::shop::{Play, Shop};
use crate::support::tollhouse;

const DURABLE: &[&str] = &["appendonly", "yes", "appendfsync", "always"];

fn store(port: u16, more: &str) -> String {
    format!(
        "fleet: shop\nstore: {{ url: \"redis://127.0.0.1:{port}\", encryption_key: file:seal.key{more} }}"
    )
}

fn is_ready(house: &House) -> (u16, String) {
    let reply = house.console(Call::new("GET", "/readyz"));
    (reply.status, reply.body)
}

fn until_ready(house: &House) {
    let start = Instant::now();
    while is_ready(house).0 != 200 {
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", is_ready(house));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_replicas_are_one_tollhouse() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    let there = House::replica(&shop.url(), &store(redis.port, ""), Some(&here));
    until_ready(&here);
    until_ready(&there);
    let first = here.refund("A-1", "25.00", "k-1");
    assert_eq!(first.status, 200, "{first:?}");
    let ask = |key| crate::support::house::refund("A-1", "25.00", key).bearer(here.token());
    let again = ask("k-1").send(&there.agents).unwrap();
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (200, Some("true")),
        "{again:?}"
    );
    assert_eq!(again.body, first.body);
    let same = ask("k-2").send(&there.agents).unwrap();
    assert_eq!(same.header("tollhouse-dedup"), Some("same"), "{same:?}");
    assert_eq!(shop.made_of("A-1"), 1);

    // Held here, approved there, sent by either.
    let held = here.refund("A-2", "150.00", "k-3");
    assert_eq!(&*held.code(), "approval_required", "{held:?}");
    assert_eq!(there.approve(&held.operation()).code, 0);
    let call = here.refund_call("A-2", "150.00", "k-3");
    let done = here.until(&call, |reply| reply.status == 200);
    assert_eq!(done.operation(), held.operation());
    assert_eq!(shop.made_of("A-2"), 1);

    // Stopped there, stopped here.
    let frozen = there.cli(&["freeze", "class/financial", "--reason", "spike"]);
    assert_eq!(frozen.code, 0, "{}", frozen.out);
    let refused = here.refund("A-3", "5.00", "k-4");
    assert_eq!(&*refused.code(), "frozen", "{refused:?}");
    assert_eq!(shop.made_of("A-3"), 0);
    assert_eq!(here.listed(&["operations", "list"]).as_array().unwrap().len(), 2);
}

#[test]
fn reads_go_on_without_redis_and_effects_come_back_with_it() {
    let (shop, mut redis) = (Shop::open(), Server::with(DURABLE));
    let house = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&house);
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    redis.kill();
    let effect = house.refund("A-2", "25.00", "k-2");
    assert_eq!((effect.status, &*effect.code()), (503, "undecidable"), "{effect:?}");
    assert_eq!(effect.json()["sent"], "no");
    assert_eq!(house.get("/orders/A-1").status, 200, "reads go on");
    assert_eq!(shop.made_of("A-2"), 0);
    let start = Instant::now();
    while is_ready(&house).0 == 200 {
        assert!(start.elapsed() < Duration::from_secs(5), "it is not told");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(is_ready(&house).1.contains("redis cannot be reached"), "{:?}", is_ready(&house));
    assert!(redis.run());
    until_ready(&house);
    let now = house.refund("A-2", "25.00", "k-2");
    assert_eq!((now.status, now.header("idempotent-replayed")), (200, None), "{now:?}");
    let replay = house.refund("A-1", "25.00", "k-1");
    assert_eq!(replay.header("idempotent-replayed"), Some("true"), "{replay:?}");
    assert_eq!((shop.made_of("A-1"), shop.made_of("A-2")), (1, 1));
}

#[test]
fn a_start_without_redis_waits_for_it_and_says_so() {
    let (shop, mut redis) = (Shop::open(), Server::start());
    redis.kill();
    let house = House::replica(&shop.url(), &store(redis.port, ""), None);
    assert_eq!(is_ready(&house).0, 503);
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 503);
    assert_eq!(house.get("/orders/A-1").status, 200);
    let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert!(
        log.contains("the store does not answer") && log.contains("cannot be reached"),
        "{log}"
    );
    assert!(redis.run());
    until_ready(&house);
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
}

#[test]
fn an_unsafe_redis_is_told_and_refused_for_money_where_that_is_asked_for() {
    let (shop, redis) = (Shop::open(), Server::start());
    let house = House::replica(&shop.url(), &store(redis.port, ", require_durable: true"), None);
    until_ready(&house);
    let refused = house.refund("A-1", "25.00", "k-1");
    assert_eq!((refused.status, &*refused.code()), (503, "undecidable"), "{refused:?}");
    assert_eq!(house.get("/orders/A-1").status, 200);
    let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert!(log.contains("`appendonly yes`"), "{log}");
    let metrics = house.console(Call::new("GET", "/metrics"));
    let metrics = metrics.body;
    assert!(metrics.contains("tollhouse_store_unsafe 1"), "{metrics}");

    let check = |house: &House| {
        let file = house.home.path().join("tollhouse.yaml");
        run(tollhouse().args(["check", "--connect", "--config"]).arg(file))
    };
    let found = check(&house);
    assert_eq!(found.code, 1, "{}", found.out);
    for said in ["store: redis://127.0.0.1", "`appendonly yes`", "financial calls are refused"] {
        assert!(found.out.contains(said), "no `{said}` in\n{}", found.out);
    }
    let durable = Server::with(DURABLE);
    let house = House::replica(&shop.url(), &store(durable.port, ", require_durable: true"), None);
    until_ready(&house);
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    let found = check(&house);
    assert!(found.out.contains("store: answers (appendonly yes"), "{}", found.out);
}

#[test]
fn what_is_wrong_with_a_redis_is_told_where_it_stands() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("seal.key"), "x").unwrap();
    for (store, said) in [
        ("store: redis://h", "replicas share the key"),
        ("store: { url: redis://h }", "32 bytes in base64"),
        ("store: { url: \"redis://ana:hunter2@h\", encryption_key: file:seal.key }", "`password:`"),
        (
            "store: { url: redis://h, encryption_key: file:seal.key, password: hunter2 }",
            "`file:PATH`",
        ),
        ("store: { url: redis://h, encryption_key: file:seal.key, ca: none.pem }", "none.pem"),
        (
            "store: { url: \"redis://a,b\", encryption_key: file:seal.key }",
            "`redis://HOST:PORT/DB`",
        ),
        ("fleet: a/b\nstore: { url: redis://h, encryption_key: file:seal.key }", "letters, digits"),
        ("fleet: a\nstore: embedded:data", "replicas share"),
    ] {
        let file = home.path().join("tollhouse.yaml");
        std::fs::write(&file, format!("version: 1\n{store}\n")).unwrap();
        let found = run(tollhouse().args(["check", "--config"]).arg(&file));
        assert!(found.out.contains(said), "no `{said}` for {store} in\n{}", found.out);
        assert!(!found.out.contains("hunter2"), "{}", found.out);
    }
}

/// Until the store is found to have lost something.
fn until_lost(house: &House) {
    let start = Instant::now();
    while house.cli(&["store", "show"]).code != 1 {
        assert!(start.elapsed() < Duration::from_secs(15), "nobody finds it");
        std::thread::sleep(Duration::from_millis(50));
    }
    until_ready(house);
}

/// A replica that knows of a refund that was made and of one that may have been, and what `lose` does.
fn nothing_is_done_twice_after(lose: impl Fn(&Server)) {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    let there = House::replica(&shop.url(), &store(redis.port, ""), Some(&here));
    until_ready(&here);
    until_ready(&there);
    assert_eq!(here.refund("A-1", "25.00", "done").status, 200);
    shop.play(Play::Drop);
    let open = here.refund("A-2", "25.00", "open");
    assert_eq!(open.code(), "outcome_unknown", "{open:?}");
    shop.play(Play::Answer);
    let freeze = here.cli(&["freeze", "customer/bob", "--reason", "x"]);
    assert_eq!(freeze.code, 0, "{freeze:?}");

    lose(&redis);
    until_lost(&here);
    until_lost(&there);
    let again = here.refund("A-2", "25.00", "open");
    assert_eq!((again.code(), again.operation()), ("outcome_unknown".into(), open.operation()));
    for house in [&here, &there] {
        let held = house.refund("A-1", "24.00", "another");
        assert_eq!((held.status, &*held.code()), (403, "approval_required"), "{held:?}");
    }
    assert_eq!(here.listed(&["freezes"]).as_array().unwrap().len(), 1, "freezes are kept");
    assert_eq!((shop.made_of("A-1"), shop.made_of("A-2")), (1, 1));
    let cleared = there.cli(&["store", "clear", "--reason", "compared"]);
    assert_eq!(cleared.code, 0, "{cleared:?}");
    let start = Instant::now();
    while here.cli(&["store", "show"]).code != 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "it is cleared for one only");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(here.refund("A-3", "25.00", "new").status, 200);
}

#[test]
fn a_redis_that_was_flushed_is_found_and_gets_back_what_was_open() {
    nothing_is_done_twice_after(|redis| assert_eq!(redis.cli(&["FLUSHALL"]), "OK"));
}

#[test]
fn a_redis_that_forgot_its_last_writes_is_found() {
    // What a copy that was behind looks like when it takes over.
    nothing_is_done_twice_after(|redis| {
        let keys = redis.cli(&["KEYS", "{shop:}:w:*"]);
        assert!(!keys.is_empty());
        keys.lines().for_each(|key| drop(redis.cli(&["DECR", key])));
    });
}

#[test]
fn a_redis_that_was_never_begun_takes_no_effect() {
    let (shop, redis, other) = (Shop::open(), Server::with(DURABLE), Server::with(DURABLE));
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&here);
    let there = House::replica(&shop.url(), &store(other.port, ""), Some(&here));
    let start = Instant::now();
    while !is_ready(&there).1.contains("--init-store") {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", is_ready(&there));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(there.refund("A-1", "25.00", "k-1").status, 503);
    assert_eq!(there.get("/orders/A-1").status, 200, "reads go on");
    assert_eq!(shop.made_of("A-1"), 0);
}

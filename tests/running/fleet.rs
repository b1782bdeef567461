//! Two replicas before one Redis, and a Redis that goes and comes.

use std::time::{Duration, Instant};

use crate::support::agent::Call;
use crate::support::house::{House, run};
use crate::support::redis::Server;
use crate::support::shop::{Play, Shop};
use crate::support::switch::Switch;
use crate::support::tollhouse;

pub const DURABLE: &[&str] = &["appendonly", "yes", "appendfsync", "always"];

pub fn store(port: u16, more: &str) -> String {
    format!(
        "fleet: shop\nstore: {{ url: \"redis://127.0.0.1:{port}\", encryption_key: file:seal.key{more} }}"
    )
}

fn is_ready(house: &House) -> (u16, String) {
    let reply = house.console(Call::new("GET", "/readyz"));
    (reply.status, reply.body)
}

pub fn until_ready(house: &House) {
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
    assert!(found.out.contains("well   store: answers (appendonly yes"), "{}", found.out);
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

/// What every script call says of itself in `MONITOR`: which of a call's steps it is, by what it is asked.
fn step_of(line: &str) -> Option<&'static str> {
    // What a script itself does is told as `lua`; the text of one that is not known yet names everything.
    let at = line.find("EVALSHA")?;
    let asked = &line[at..];
    let is = |name: &str| asked.contains(name);
    // Keys of MessagePack maps stand in the clear.
    if is("deadline") && is("budgets") {
        Some("reserve")
    } else if is("outcome") {
        Some("settle")
    } else if is("same") && is("own") {
        Some("recall")
    } else {
        None
    }
}

/// What Redis was asked while `act` ran.
fn monitored(redis: &Server, act: impl FnOnce()) -> Vec<String> {
    let mut monitor = std::process::Command::new("redis-cli")
        .args(["-p", &redis.port.to_string(), "MONITOR"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = monitor.stdout.take().unwrap();
    let lines = std::thread::spawn(move || {
        let lines = std::io::BufRead::lines(std::io::BufReader::new(out));
        lines.map_while(Result::ok).collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(300));
    act();
    std::thread::sleep(Duration::from_millis(300));
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    lines.join().unwrap()
}

#[test]
fn a_financial_call_makes_two_serial_round_trips_beside_a_recall_that_overlaps_its_facts() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let switch = Switch::to(redis.port);
    let house = House::replica(&shop.url(), &store(switch.port, ""), None);
    until_ready(&house);
    // The tenant is known, and so are the scripts.
    assert_eq!(house.refund("A-1", "1.00", "warm").status, 200);
    let told = monitored(&redis, || assert_eq!(house.refund("A-1", "2.00", "k-1").status, 200));
    let asked = told.iter().filter(|line| !line.contains(" lua]") && line.contains("{shop:"));
    let steps: Vec<_> = asked.clone().filter_map(|line| step_of(line)).collect();
    assert_eq!(steps, ["recall", "reserve", "settle"], "{told:#?}");
    // And nothing else of this tenant's rows, but what the sweep asks each second.
    let swept = |line: &&String| ["limit", "freezes"].iter().any(|word| line.contains(word));
    let other: Vec<_> = asked.filter(|line| step_of(line).is_none() && !swept(line)).collect();
    assert!(other.is_empty(), "{other:#?}\n{told:#?}");

    // Each answer of Redis takes so much longer: the order is asked for before recall can have answered.
    let late = Duration::from_millis(400);
    switch.delay(late);
    let reads = |shop: &Shop| shop.seen().iter().filter(|s| s.line.starts_with("GET ")).count();
    let before = reads(&shop);
    let (call, agents) = (house.refund_call("A-2", "3.00", "k-2"), house.agents.clone());
    let begun = Instant::now();
    let asked = std::thread::spawn(move || call.send(&agents).unwrap());
    while reads(&shop) == before && begun.elapsed() < late * 3 {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(begun.elapsed() < late, "recall does not overlap the facts: {:?}", begun.elapsed());
    let done = asked.join().unwrap();
    assert_eq!(done.status, 200, "{done:?}");
    assert!(begun.elapsed() >= late * 3, "recall, reserve and settle: {:?}", begun.elapsed());
}

#[test]
fn facts_that_were_read_beside_recall_are_not_trusted_past_what_ended_meanwhile() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    let there = House::replica(&shop.url(), &store(redis.port, ""), Some(&here));
    until_ready(&here);
    until_ready(&there);
    assert_eq!(here.refund("A-1", "5.00", "k-1").status, 200);
    // One replica's settling is news to the other: what it read beside recall may be older, and is read again.
    let reads = |shop: &Shop| shop.seen().iter().filter(|s| s.line.starts_with("GET ")).count();
    let before = reads(&shop);
    assert_eq!(there.refund("A-1", "7.00", "k-2").status, 200);
    assert_eq!(reads(&shop) - before, 2);
    // What it settled itself is none.
    let before = reads(&shop);
    assert_eq!(there.refund("A-1", "9.00", "k-3").status, 200);
    assert_eq!(reads(&shop) - before, 1);
}

/// Who looks for what is over, as Redis has it.
fn leader(redis: &Server) -> String {
    redis.cli(&["GET", "{shop}:sweep"])
}

/// How often indexes were read within some seconds.
fn looks(redis: &Server) -> u64 {
    redis.cli(&["CONFIG", "RESETSTAT"]);
    std::thread::sleep(Duration::from_secs(4));
    let stats = redis.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_zrangebyscore:calls="));
    let count = line.and_then(|line| line.split(',').next()).map_or("0", |count| count);
    count.parse().unwrap()
}

#[test]
fn one_replica_looks_for_its_fleet_and_another_takes_its_place() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&here);
    assert_eq!(here.refund("A-1", "1.00", "warm").status, 200);
    let alone = looks(&redis);
    let mut houses = [here, House::replica(&shop.url(), &store(redis.port, ""), None)];
    until_ready(&houses[1]);
    let both = looks(&redis);
    assert!(alone > 0 && both <= alone * 3 / 2, "one looks: {alone} alone, {both} together");
    let first = leader(&redis);
    assert!(!first.is_empty());

    // An outcome that nobody knows; whoever looks for it is killed, and the other finds it.
    shop.play(Play::Drop);
    assert_eq!(houses[1].refund("A-2", "25.00", "open").code(), "outcome_unknown");
    shop.play(Play::Answer);
    houses[0].process.kill();
    let start = Instant::now();
    while [&*first, ""].contains(&&*leader(&redis)) {
        assert!(start.elapsed() < Duration::from_secs(9), "nobody takes its place");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The one that took its place looks: an approval that the other took is run by it.
    let held = houses[1].refund("A-3", "150.00", "k-3");
    assert_eq!(houses[1].approve(&held.operation()).code, 0);
    let call = houses[1].refund_call("A-3", "150.00", "k-3");
    houses[1].until(&call, |reply| reply.status == 200);
    let (before, start) = (leader(&redis), Instant::now());
    houses[0].again();
    until_ready(&houses[0]);
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(leader(&redis), before, "who came back takes nobody's place");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Killed between the store's word and the log's: the log has it after the next start.
#[test]
fn an_end_that_only_the_store_has_is_put_on_record() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let mut house = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&house);
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    let op = house.refund("A-1", "25.00", "k-1").operation();
    // As if it is killed a moment too early: the log ends before the last line of this operation.
    let ended = format!("\"kind\":\"settled\",\"operation\":\"{op}\"");
    let lines = |house: &House| {
        let files =
            run(std::process::Command::new("find").arg(house.audit()).args(["-name", "*.jsonl"]));
        let all =
            files.out.lines().map(|file| (file.to_owned(), std::fs::read_to_string(file).unwrap()));
        all.collect::<Vec<_>>()
    };
    let has_end = |house: &House| {
        let of = |line: &str| line.contains(&op) && line.contains("\"kind\":\"settled\"");
        lines(house).iter().any(|(_, text)| text.lines().any(of))
    };
    let start = Instant::now();
    while !has_end(&house) {
        assert!(start.elapsed() < Duration::from_secs(5), "no line is like {ended}");
        std::thread::sleep(Duration::from_millis(20));
    }
    house.process.kill();
    for (file, text) in lines(&house) {
        let until =
            text.lines().take_while(|line| !(line.contains(&op) && line.contains("\"settled\"")));
        let kept: String = until.map(|line| format!("{line}\n")).collect();
        std::fs::write(file, kept).unwrap();
    }
    assert!(!has_end(&house));
    house.again();
    until_ready(&house);
    let start = Instant::now();
    while !has_end(&house) {
        assert!(start.elapsed() < Duration::from_secs(8), "its end is not put on record");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(house.verify().code, 0, "{:?}", house.verify());
    assert_eq!(shop.made_of("A-1"), 1);
}

/// A copy that was behind takes over while the replica that missed nothing is asked: it waits for the other
/// to miss what it did.
#[test]
fn what_another_replica_did_and_a_failover_lost_is_not_done_again() {
    let (shop, mut old, new) = (Shop::open(), Server::with(DURABLE), Server::with(DURABLE));
    new.cli(&["REPLICAOF", "127.0.0.1", &old.port.to_string()]);
    let switch = Switch::to(old.port);
    let here = House::replica(&shop.url(), &store(switch.port, ""), None);
    let there = House::replica(&shop.url(), &store(switch.port, ""), Some(&here));
    until_ready(&here);
    until_ready(&there);
    assert_eq!(there.refund("A-9", "1.00", "warm").status, 200);
    let start = Instant::now();
    while !new.cli(&["INFO", "replication"]).contains("master_link_status:up") {
        assert!(start.elapsed() < Duration::from_secs(20), "the copy does not follow");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    new.cli(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(here.refund("A-1", "25.00", "k-1").status, 200);
    // The one that knows of it is stopped for a moment, as by a busy machine.
    let signal = |name: &str| {
        let id = here.process.id().to_string();
        assert_eq!(run(std::process::Command::new("kill").args([name, &id])).code, 0);
    };
    signal("-STOP");
    old.kill();
    switch.turn(new.port);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_200) {
        let again = there.refund("A-1", "25.00", "k-1");
        assert_ne!(again.status, 200, "it was done again: {again:?}");
    }
    signal("-CONT");
    until_lost(&there);
    for house in [&here, &there] {
        let held = house.refund("A-1", "25.00", "k-1");
        assert_ne!(held.status, 200, "{held:?}");
    }
    assert_eq!(shop.made_of("A-1"), 1);
}

/// Started again after a failover that lost what it had done: its log knows.
#[test]
fn a_process_that_starts_misses_what_its_log_has() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let mut here = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&here);
    let done = here.refund("A-1", "25.00", "k-1");
    assert_eq!(done.status, 200);
    here.process.kill();
    let op = done.operation();
    let gone = "for _, k in ipairs(redis.call('KEYS', '{shop:*')) do \
                if k:find(':r:', 1, true) then redis.call('DEL', k) end end";
    redis.cli(&["EVAL", gone, "0"]);
    here.again();
    until_lost(&here);
    let again = here.refund("A-1", "25.00", "k-1");
    assert_ne!(again.status, 200, "{op} was done again: {again:?}");
    assert_eq!(shop.made_of("A-1"), 1);
}

/// Redis's own clock is set: money that was spent still counts, leases end, nothing is sent twice.
#[test]
fn a_leap_of_redis_clock_empties_no_budget_and_joins_all_the_same() {
    let (shop, redis) = (Shop::open(), Server::with_clock(DURABLE));
    let house = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&house);
    let first = house.refund("A-1", "25.00", "k-1");
    assert_eq!(first.status, 200, "{first:?}");
    for seconds in [900, -3_600, 0] {
        redis.set_clock(seconds);
        std::thread::sleep(Duration::from_millis(2_200));
        let same = house.refund("A-1", "25.00", &format!("other-{seconds}"));
        assert_eq!(same.header("tollhouse-dedup"), Some("same"), "{seconds}: {same:?}");
        let new = house.refund("A-2", &format!("{}.00", 5 + seconds.rem_euclid(7)), "");
        assert_eq!(new.status, 200, "{seconds}: {new:?}");
    }
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn a_password_that_is_rotated_by_its_file_counts_without_a_restart() {
    let (shop, redis) = (Shop::open(), Server::with(&["requirepass", "the-first-password"]));
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("redis-password"), "the-first-password\n").unwrap();
    let text = crate::support::house::configuration(&shop.url(), "").replace(
        "store: embedded:data/store",
        &store(redis.port, ", password: file:redis-password"),
    );
    let house = House::replica_in(home, &text, None, "");
    until_ready(&house);
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    // As it is done: the server first, then the secret; who is connected stays so until it is cut off.
    let with = |password: &str, words: &[&str]| redis.cli(&[&["-a", password], words].concat());
    with("the-first-password", &["CONFIG", "SET", "requirepass", "the-second-password"]);
    assert_eq!(house.refund("A-2", "25.00", "k-2").status, 200, "it is connected");
    with("the-second-password", &["CLIENT", "KILL", "TYPE", "normal"]);
    let start = Instant::now();
    while house.refund("A-3", "25.00", "k-3").status != 503 {
        assert!(start.elapsed() < Duration::from_secs(10), "it is let in with the old one");
    }
    std::fs::write(house.home.path().join("redis-password"), "the-second-password\n").unwrap();
    until_ready(&house);
    let call = house.refund_call("A-3", "25.00", "k-3");
    house.until(&call, |reply| reply.status == 200);
    assert_eq!(shop.made_of("A-3"), 1);
    let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert!(log.contains("the configuration was reloaded"), "{log}");
    assert!(!log.contains("-password"), "{log}");
}

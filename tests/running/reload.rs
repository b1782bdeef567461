//! A configuration that is read again: whole or not at all, and what was counted goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::agent::Call;
use crate::support::house::{House, configuration};
use crate::support::shop::{Play, Shop};

const LIMITS: &str =
    "limits: [ { name: refunds, per: agent, classes: [financial], rate: 10/h, burst: 3 } ]\n";

fn text(shop: &Shop, limits: &str, more: &str) -> String {
    configuration(&shop.url(), more).replace("version: 1\n", &format!("version: 1\n{limits}"))
}

pub fn write(house: &House, text: &str) {
    // As an editor and a ConfigMap do: the old file or the new one, never half of one.
    let (new, at) = (house.home.path().join("new.yaml"), house.home.path().join("tollhouse.yaml"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, at).unwrap();
}

pub fn reload(house: &House) -> (u16, Value) {
    let reply = house.console(Call::new("POST", "/v1/reload"));
    (reply.status, reply.json())
}

pub fn log(house: &House) -> String {
    std::fs::read_to_string(house.home.path().join("log")).unwrap()
}

pub fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(house: &House, result: &str) -> u64 {
    let metrics = house.console(Call::new("GET", "/metrics")).body;
    let name = format!("tollhouse_reloads_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |number| number.parse().unwrap())
}

#[test]
fn what_was_counted_goes_on_after_a_reload() {
    let shop = Shop::open();
    let road = ", breaker: { consecutive: 3, open: 60s }";
    let house = House::written(tempfile::tempdir().unwrap(), &text(&shop, LIMITS, road), "");
    for n in 1..=2 {
        assert_eq!(house.refund(&format!("A-{n}"), "5.00", &format!("k-{n}")).status, 200);
    }
    let held = house.refund("A-9", "150.00", "k-9");
    assert_eq!(held.code(), "approval_required", "{held:?}");
    // Two of three are left behind and one was held; the fourth has no room whatever the burst says of now.
    write(&house, &text(&shop, &LIMITS.replace("10/h", "11/h"), road));
    assert_eq!(reload(&house).0, 200, "{}", log(&house));
    let refused = house.refund("A-4", "5.00", "k-4");
    assert_eq!(refused.code(), "rate_limited", "{refused:?}");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"refunds\";q=11;w=3600"));
    // What waits is approved and sent, by what counts now.
    assert_eq!(house.approve(&held.operation()).code, 0);
    until("the approved refund is made", || shop.made_of("A-9") == 1);
    // A breaker that is open stays open.
    shop.reads_say(500);
    for _ in 0..3 {
        house.get("/orders/A-1");
    }
    assert_eq!(house.get("/orders/A-1").code(), "breaker_open");
    house.process.signal("HUP");
    let records = || house.cli(&["audit", "tail", "-n", "100"]).out.matches("\"reloaded\"").count();
    until("the second reload is on record", || records() >= 2);
    assert_eq!(house.get("/orders/A-1").code(), "breaker_open");
    assert!(count(&house, "reloaded") >= 2);
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_configuration_that_does_not_fit_changes_nothing_and_is_told() {
    let shop = Shop::open();
    let good = text(&shop, LIMITS, "");
    let house = House::written(tempfile::tempdir().unwrap(), &good, "");
    let config = || house.console(Call::new("GET", "/v1/config")).json();
    let before = config();
    assert!(before["configuration"]["failed"].is_null(), "{before}");
    // A typo, a contract that does not read, a key that needs a restart: each is named, none is taken.
    let faults = [
        (good.replace("rate: 10/h", "rate: ten"), "tollhouse.yaml:2"),
        (good.replace("expires: 1h", "expires: soon"), "expires"),
        (
            good.replace("dir: data/audit", "dir: data/elsewhere"),
            "`audit` counts only after a restart",
        ),
    ];
    for (text, names) in &faults {
        assert_ne!(text, &good);
        write(&house, text);
        let (status, problem) = reload(&house);
        assert_eq!(status, 422, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(names), "{problem}");
        let now = config();
        assert!(now["configuration"]["failed"]["why"].as_str().unwrap().contains(names), "{now}");
        assert_eq!(now["policy_digest"], before["policy_digest"]);
        assert_eq!(now["configuration"]["loaded"], before["configuration"]["loaded"]);
    }
    assert_eq!(house.refund("A-1", "5.00", "k-1").status, 200);
    assert!(log(&house).contains("was not reloaded; the old one counts"), "{}", log(&house));
    assert!(count(&house, "kept") >= 3);
    // A contract that allows less counts from the next call on.
    write(&house, &good.replace("100.00 USD", "4.00 USD"));
    assert_eq!(reload(&house).0, 200, "{}", log(&house));
    assert_eq!(house.refund("A-2", "5.00", "k-2").code(), "approval_required");
    assert!(config()["configuration"]["failed"].is_null());
    assert_ne!(config()["policy_digest"], before["policy_digest"]);
}

#[test]
fn no_call_fails_while_configurations_come_and_go() {
    let shop = Shop::open();
    let good = text(&shop, LIMITS, "");
    let mut house = House::written(tempfile::tempdir().unwrap(), &good, "");
    shop.play(Play::Slow(Duration::from_millis(700)));
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let reply = house.get("/orders/A-1");
                    assert_eq!(reply.status, 200, "{reply:?}");
                    reads.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        // One is under way across several of them.
        let slow = scope.spawn(|| house.refund("A-1", "5.00", "slow"));
        for n in 0..30 {
            let is_broken = n % 10 == 9;
            let text =
                if is_broken { good.replace("version: 1", "version: one") } else { good.clone() };
            write(&house, &text);
            let (status, said) = reload(&house);
            assert_eq!(status, if is_broken { 422 } else { 200 }, "{said}");
        }
        stop.store(true, Ordering::Release);
        assert_eq!(slow.join().unwrap().status, 200);
    });
    assert!(reads.load(Ordering::Acquire) > 30, "{reads:?} reads");
    assert_eq!(shop.made_of("A-1"), 1);
    // What stops the process is heard by the snapshot that counts now.
    assert_eq!(house.stop(), Some(0));
    assert_eq!(house.verify().code, 0);
}

/// The process in numbers: KiB in memory, threads, open files, tasks.
fn standing(house: &House) -> [u64; 4] {
    let pid = house.process.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().split(' ').next().unwrap().parse().unwrap()
    };
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let metrics = house.console(Call::new("GET", "/metrics")).body;
    let tasks = metrics.lines().find_map(|line| line.strip_prefix("tollhouse_tasks "));
    [number("VmRSS:"), number("Threads:"), files as u64, tasks.unwrap().parse().unwrap()]
}

#[test]
fn a_thousand_reloads_fail_no_call_forget_nothing_and_leave_nothing_behind() {
    let shop = Shop::open();
    let good = text(&shop, &LIMITS.replace("10/h", "40/d").replace("burst: 3", "burst: 40"), "");
    let house = House::written(tempfile::tempdir().unwrap(), &good, "");
    for n in 0..20 {
        assert_eq!(house.refund(&format!("A-{n}"), "5.00", &format!("k-{n}")).status, 200);
    }
    let held = house.refund("A-99", "150.00", "held").operation();
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut before = [0; 4];
    std::thread::scope(|scope| {
        let _stop = super::listeners::StopAtEnd(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let reply = house.get("/orders/A-1");
                    assert_eq!(reply.status, 200, "{reply:?}");
                    reads.fetch_add(1, Ordering::AcqRel);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for n in 1..=1000 {
            let text = match n % 10 {
                0 => good.replace("version: 1", "version: one"),
                // What listens comes and goes as well.
                odd if odd % 2 == 1 => {
                    good.replace("queues:", "probes: { listen: 127.0.0.1:0 }\nqueues:")
                }
                _ => good.clone(),
            };
            write(&house, &text);
            let (status, said) = reload(&house);
            assert_eq!(status, if n % 10 == 0 { 422 } else { 200 }, "{said}");
            if n == 200 {
                before = standing(&house);
            }
        }
    });
    write(&house, &good);
    until("the last one counts", || reload(&house).0 == 200);
    std::thread::sleep(Duration::from_millis(500));
    let after = standing(&house);
    println!(
        "{} reads; KiB, threads, files, tasks: {before:?} -> {after:?}",
        reads.load(Ordering::Acquire)
    );
    assert!(reads.load(Ordering::Acquire) > 500, "{reads:?}");
    // BOUND: 800 snapshots are some 800 MiB if they were kept; an allocator keeps a few MiB.
    assert!(after[0] < before[0] + (12 << 10), "{before:?} -> {after:?}");
    for (which, was, is) in [("threads", before[1], after[1]), ("files", before[2], after[2])] {
        assert!(is <= was + 8, "{which}: {before:?} -> {after:?}");
    }
    assert!(after[3] <= before[3] + 8, "tasks: {before:?} -> {after:?}");
    // What was counted counts: twenty of forty are left behind, and one is held.
    for n in 20..39 {
        assert_eq!(house.refund(&format!("A-{n}"), "5.00", &format!("k-{n}")).status, 200, "{n}");
    }
    assert_eq!(house.refund("A-98", "5.00", "k-98").code(), "rate_limited");
    assert_eq!(house.approve(&held).code, 0);
    until("what was held is sent", || shop.made_of("A-99") == 1);
    assert_eq!(house.refund("A-1", "5.00", "k-1").header("idempotent-replayed"), Some("true"));
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_stop_by_file_outlives_a_reload_and_ends_with_the_file() {
    let shop = Shop::open();
    let text =
        text(&shop, LIMITS, "").replace("version: 1\n", "version: 1\nfreeze_file: stop-here\n");
    let house = House::written(tempfile::tempdir().unwrap(), &text, "");
    let file = house.home.path().join("stop-here");
    std::fs::write(&file, "").unwrap();
    let read = || house.get("/orders/A-1");
    until("the file is seen", || read().status == 503);
    assert_eq!(reload(&house).0, 200);
    for _ in 0..20 {
        assert_eq!(read().code(), "frozen");
    }
    std::fs::remove_file(&file).unwrap();
    until("the file is gone", || read().status == 200);
    assert_eq!(house.refund("A-1", "5.00", "k").status, 200);
}

#[test]
fn a_file_that_changes_is_read_by_itself_also_behind_links() {
    let shop = Shop::open();
    let good = text(&shop, LIMITS, "")
        .replace("limits:", "policies: { files: [own/more.cedar] }\nlimits:");
    let home = tempfile::tempdir().unwrap();
    // As a ConfigMap is mounted: `own` and its file are links, and the folder behind them is swapped.
    let rule = |name: &str, action: &str| {
        let dir = home.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let rule = format!(
            "@id(\"own.stop\") @reason(\"we say so\") forbid(principal, action == Action::\"{action}\", resource);"
        );
        std::fs::write(dir.join("more.cedar"), rule).unwrap();
    };
    rule("v1", "orders.order.cancel");
    rule("v2", "orders.refund.create");
    std::os::unix::fs::symlink("v1", home.path().join("own")).unwrap();
    let house = House::written(home, &good, "");
    assert_eq!(house.refund("A-1", "5.00", "k-1").status, 200, "{}", log(&house));
    let swap = |to: &str| {
        let next = house.home.path().join("next");
        std::os::unix::fs::symlink(to, &next).unwrap();
        std::fs::rename(next, house.home.path().join("own")).unwrap();
    };
    swap("v2");
    until("the other rule counts", || count(&house, "reloaded") == 1);
    assert_eq!(house.refund("A-2", "5.00", "k-2").code(), "forbidden");
    // What does not read is told once, not each second, and what follows it is read again.
    std::fs::write(house.home.path().join("v1/more.cedar"), "forbid(").unwrap();
    swap("v1");
    until("it is told", || count(&house, "kept") == 1);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(count(&house, "kept"), 1);
    assert_eq!(house.refund("A-2", "5.00", "k-3").code(), "forbidden", "the old one counts");
    write(&house, &good.replace("own/more.cedar", "v2/more.cedar"));
    until("the configuration counts", || count(&house, "reloaded") == 2);
    let tail = house.cli(&["audit", "tail", "-n", "50"]).out;
    assert!(tail.contains("a changed file"), "{tail}");
}

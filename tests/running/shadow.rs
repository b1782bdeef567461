//! In shadow: nothing is held, everything is said; people mark what a rule said, and it is enforced by a reload under
//! load.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::agent::Call;
use crate::support::house::{House, configuration, run};
use crate::support::shop::{Play, Shop};
use crate::support::tollhouse;

const SHADOW: &str = "mode: shadow\n";

fn text(shop: &Shop, mode: &str) -> String {
    configuration(&shop.url(), "")
        .replace("version: 1\n", &format!("version: 1\n{mode}"))
        .replace("hard: 1000.00 USD", "hard: 200.00 USD")
}

fn reload(house: &House, text: &str) {
    let (new, at) = (house.home.path().join("new.yaml"), house.home.path().join("tollhouse.yaml"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, at).unwrap();
    let reply = house.console(Call::new("POST", "/v1/reload"));
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn log(house: &House) -> String {
    std::fs::read_to_string(house.home.path().join("log")).unwrap()
}

fn metric(house: &House, line: &str) -> bool {
    house.console(Call::new("GET", "/metrics")).body.lines().any(|own| own == line)
}

/// What `tollhouse report` says of the folder, without the running instance.
fn offline(house: &House, words: &[&str]) -> Value {
    let mut command = tollhouse();
    command.args(["report", "--json", "--list"]).args(words).arg("--audit").arg(house.audit());
    let ran = run(&mut command);
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn in_shadow_64_duplicates_over_the_cap_are_one_effect_and_all_of_it_is_told() {
    let shop = Shop::open();
    let mut house = House::written(tempfile::tempdir().unwrap(), &text(&shop, SHADOW), "");
    let start = Barrier::new(64);
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..64)
            .map(|_| {
                let (call, agents, start) =
                    (house.refund_call("A-1", "150.00", "k-1"), &house.agents, &start);
                scope.spawn(move || {
                    start.wait();
                    call.send(agents).unwrap()
                })
            })
            .collect();
        for ask in asks {
            let reply = ask.join().unwrap();
            assert!([200, 409].contains(&reply.status), "{reply:?}");
        }
    });
    assert_eq!(shop.made_of("A-1"), 1, "{:?}", shop.made());
    let again = house.refund("A-1", "150.00", "k-1");
    assert_eq!(again.header("tollhouse-decision"), Some("allow; shadow=hold"), "{again:?}");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let op = again.operation();
    // Over the hard cap, and somebody else's order.
    let refused = house.refund("A-2", "250.00", "k-2");
    let word = refused.header("tollhouse-decision");
    assert_eq!(word, Some("allow; shadow=refuse; code=over_limit"), "{refused:?}");
    assert_eq!(house.refund("B-1", "150.00", "k-3").code(), "not_found");
    assert_eq!(shop.made_of("B-1"), 0);
    // A read is counted and not told of.
    assert_eq!(house.get("/orders/A-1").header("tollhouse-decision"), Some("allow"));

    assert!(log(&house).contains("IN SHADOW: policies, caps, budgets and holds are noted"));
    let shown = house.console(Call::new("GET", "/v1/config")).json();
    assert_eq!((&shown["mode"], &shown["shadow"][0]), (&"shadow".into(), &"all".into()));
    assert!(metric(&house, "tollhouse_shadow{scope=\"all\"} 1"));
    let at = format!("/operations/{op}");
    let page = house.console(Call::new("GET", &at).header("Accept", "text/html")).body;
    assert!(page.contains("In shadow") && page.contains("it would have been held"), "{page}");
    let whole = house.listed(&["operations", "show", &op]);
    assert_eq!(whole["shadow"]["decision"], "hold");
    assert_eq!(whole["shadow"]["reasons"][0]["policy"], "financial.over-cap");

    marks_and_reports(&house, &op);

    // Enforced from now on: what was done stays done, the next is held.
    reload(&house, &text(&shop, ""));
    assert!(metric(&house, "tollhouse_shadow{scope=\"all\"} 0"));
    assert_eq!(house.refund("A-1", "150.00", "k-1").header("idempotent-replayed"), Some("true"));
    assert_eq!(house.refund("A-3", "150.00", "k-4").code(), "approval_required");
    assert_eq!(shop.made_of("A-3"), 0);
    // A restart and a store read back: what was noted is still there.
    assert_eq!(house.stop(), Some(0));
    house.again();
    assert_eq!(house.listed(&["operations", "show", &op])["shadow"]["code"], "approval_required");
    assert_eq!(house.verify().code, 0);
}

fn marks_and_reports(house: &House, op: &str) {
    let report = house.listed(&["report", "--list"]);
    assert_eq!(report["would_hold"]["calls"], 1, "{report}");
    assert_eq!(report["would_hold"]["amounts"][0]["minor"], 15_000);
    assert_eq!(report["would_refuse"]["calls"], 1, "{report}");
    assert_eq!((&report["held"]["calls"], &report["refused"]["calls"]), (&0.into(), &0.into()));
    assert_eq!((&report["effects"], &report["reads"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(report["days"][0]["would_hold"], 1);
    // The last word counts; the same again is the same.
    for verdict in ["--right", "--needless", "--needless"] {
        let ran = house.cli(&["report", "mark", op, verdict, "--reason", "a usual amount"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let group = |report: &Value| {
        let groups = report["groups"].as_array().unwrap();
        groups.iter().find(|one| one["name"] == "financial.over-cap").unwrap().clone()
    };
    for report in [house.listed(&["report", "--list"]), offline(house, &[])] {
        let group = group(&report);
        assert_eq!((&group["needless"], &group["right"]), (&1.into(), &0.into()), "{report}");
        assert_eq!(group["right_per_mille"], 0);
        let list = report["list"].as_array().unwrap();
        let own = list.iter().find(|one| one["operation"] == op).unwrap();
        assert_eq!(own["mark"]["verdict"], "needless");
        assert_eq!((&own["came"], &own["mark"]["by"]), (&"would_hold".into(), &"ops".into()));
    }
    // Before anything happened there is nothing.
    let nothing = offline(house, &["--until", "1h"]);
    assert_eq!(nothing["would_hold"]["calls"], 0, "{nothing}");
    let whole = house.listed(&["operations", "show", op]);
    let said: Vec<_> = whole["timeline"].as_array().unwrap().iter().map(|m| &m["what"]).collect();
    assert!(said.contains(&&"marked needless: a usual amount".into()), "{said:?}");
    // What no rule spoke against is not marked, nor what is not there.
    let plain = house.refund("A-8", "5.00", "k-8");
    let ran = house.cli(&["report", "mark", &plain.operation(), "--right"]);
    assert!(ran.code != 0 && ran.err.contains("no rule spoke against it"), "{ran:?}");
}

#[test]
fn from_shadow_to_enforce_under_load_no_call_fails_and_none_over_the_cap_goes_after() {
    let shop = Shop::open();
    let house = House::written(tempfile::tempdir().unwrap(), &text(&shop, SHADOW), "");
    shop.play(Play::Slow(Duration::from_millis(5)));
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let enforced = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (house, stop, sent, enforced) = (&house, &stop, &sent, &enforced);
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Acquire) {
                    n += 1;
                    let was_enforced = enforced.load(Ordering::Acquire);
                    let reply = house.refund(
                        &format!("A-{worker}{n}"),
                        "150.00",
                        &format!("k-{worker}-{n}"),
                    );
                    match reply.status {
                        200 => {
                            assert!(!was_enforced, "after the reload: {reply:?}");
                            sent.fetch_add(1, Ordering::AcqRel);
                        }
                        403 => assert_eq!(reply.code(), "approval_required", "{reply:?}"),
                        429 | 503 => assert_eq!(reply.code(), "rate_limited", "{reply:?}"),
                        _ => panic!("{reply:?}"),
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(700));
        reload(&house, &text(&shop, ""));
        enforced.store(true, Ordering::Release);
        std::thread::sleep(Duration::from_millis(700));
        stop.store(true, Ordering::Release);
    });
    let sent = sent.load(Ordering::Acquire);
    assert!(sent > 0 && shop.made().len() == sent, "{sent} told, {} made", shop.made().len());
    let report = offline(&house, &[]);
    assert_eq!(report["would_hold"]["calls"], sent, "{report}");
    assert!(report["held"]["calls"].as_u64().unwrap() > 0);
}

#[test]
fn a_share_runs_by_itself_and_the_rest_waits_the_same_customers_every_time() {
    let shop = Shop::open();
    let rollout = |share: &str| {
        format!(
            "rollout: [ {{ for: class/financial, mode: enforce, auto: {share}, by: customer }} ]\n"
        )
    };
    let house = House::written(tempfile::tempdir().unwrap(), &text(&shop, &rollout("0%")), "");
    let held = house.refund("A-1", "5.00", "k-1");
    assert_eq!(held.code(), "approval_required");
    assert!(!held.body.contains("rollout"), "{held:?}");
    assert_eq!(house.approve(&held.operation()).code, 0);
    let call = house.refund_call("A-1", "5.00", "k-1");
    house.until(&call, |reply| reply.status == 200);
    assert_eq!(shop.made_of("A-1"), 1);
    reload(&house, &text(&shop, &rollout("100%")));
    assert_eq!(house.refund("A-2", "5.00", "k-2").status, 200);
}

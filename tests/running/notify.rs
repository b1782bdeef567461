//! People are told of what waits, an agent's backend of what became of it: signed, at least once, never by
//! way of anybody else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::agent::Call;
use crate::support::house::{House, configuration, run};
use crate::support::receiver::{KEY, Play, Receiver};
use crate::support::redis::Server;
use crate::support::set_clock::SetClock;
use crate::support::shop::Shop;
use crate::support::tollhouse;

/// A configuration with destinations of the queue, and hooks.
pub fn text(shop: &Shop, notify: &str, hooks: &str) -> String {
    let queues = "queues: { finance: { roles: [finance] } }\n";
    let own = format!(
        "queues:\n  finance:\n    roles: [finance]\n    notify: [ {notify} ]\nhooks: [ {hooks} ]\n"
    );
    let text = configuration(&shop.url(), "");
    assert!(text.contains(queues), "{text}");
    text.replace(queues, &own)
        .replace("operator:\n", "operator:\n  public_url: https://tollhouse.example\n")
}

/// A folder with the keys that such a configuration names.
pub fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("hook-key"), KEY).unwrap();
    home
}

/// The queue's destination at `/chat`.
fn chat(receiver: &Receiver) -> String {
    format!("{{ name: chat, webhook: \"{}\", sign: file:hook-key }}", receiver.url("/chat"))
}

/// A hook at `/backend`.
fn backend(receiver: &Receiver) -> String {
    format!(
        "{{ name: backend, on: [hold.answered, operation.settled], webhook: \"{}\", sign: file:hook-key }}",
        receiver.url("/backend")
    )
}

pub fn log(house: &House) -> String {
    std::fs::read_to_string(house.home.path().join("log")).unwrap()
}

/// Waits until the log has a text, and says how often.
fn until_log(house: &House, text: &str) -> usize {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let count = log(house).matches(text).count();
        if count > 0 {
            return count;
        }
        assert!(Instant::now() < end, "no `{text}` in\n{}", log(house));
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn metrics(house: &House) -> String {
    house.console(Call::new("GET", "/metrics")).body
}

/// Waits until a line of the metrics is there.
fn until_counted(house: &House, line: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while !metrics(house).lines().any(|one| one == line) {
        let now = metrics(house);
        let ours: Vec<_> =
            now.lines().filter(|one| one.contains("notif") || one.contains("letters")).collect();
        assert!(Instant::now() < end, "no `{line}` in {ours:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn with_clock(text: &str, home: TempDir) -> (House, SetClock) {
    let clock = SetClock::at(&home.path().join("clock"));
    let house = House::written(home, text, &clock.exports());
    (house, clock)
}

#[test]
fn people_are_told_at_once_and_a_backend_hears_how_it_ended() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let home = home();
    // An incoming webhook's address is its secret.
    std::fs::write(home.path().join("slack-url"), receiver.url("/services/T0/SECRETPATH")).unwrap();
    let slack = "{ name: slack, webhook: file:slack-url, format: slack }";
    let notify = format!("{}, {slack}", chat(&receiver));
    let house = House::written(home, &text(&shop, &notify, &backend(&receiver)), "");
    let began = Instant::now();
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let told = receiver.until("/chat", 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let (message, hold) = (told[0].json(), house.hold(&op));
    assert!(told[0].is_signed(KEY), "{told:?}");
    assert_eq!(
        (&message["type"], &message["data"]["operation"]),
        (&"hold.created".into(), &op.clone().into())
    );
    assert_eq!(message["data"]["summary"], "Refund 450.00 USD of order A-1");
    assert_eq!(message["data"]["queue"], "finance");
    assert_eq!(message["data"]["expires"], hold["expires"]);
    assert_eq!(message["data"]["url"], format!("https://tollhouse.example/holds/{op}"));
    assert_eq!(message["data"].get("answer"), None, "it may not answer");
    for name in ["authorization", "cookie", "tollhouse-operation", "idempotency-key"] {
        assert_eq!(told[0].header(name), "", "{told:?}");
    }

    let slack = receiver.until("/services/T0/SECRETPATH", 1);
    assert_eq!(slack[0].json()["text"], "Approval needed: Refund 450.00 USD of order A-1");
    assert_eq!(slack[0].id(), "", "there is nobody to look at a signature");

    // Whoever opens the link decides nothing.
    let seen = house.console(Call::new("GET", &format!("/v1/holds/{op}")));
    assert_eq!((seen.status, &house.hold(&op)["state"]), (200, &"held".into()));

    assert_eq!(house.approve(&op).code, 0);
    let heard = receiver.until("/backend", 2);
    let find = |news: &str| heard.iter().find(|told| told.news() == news).unwrap().json();
    let (answered, settled) = (find("hold.answered"), find("operation.settled"));
    assert!(heard.iter().all(|told| told.is_signed(KEY)), "{heard:?}");
    assert_eq!(
        (&answered["data"]["decision"], &answered["data"]["operation"]),
        (&"approved".into(), &op.clone().into())
    );
    assert_eq!(
        (&settled["data"]["outcome"], &settled["data"]["next"]),
        (&"succeeded".into(), &"repeat_the_same_request".into())
    );
    let stored = house.refund("A-1", "450.00", "k-1");
    assert_eq!(
        (stored.status, stored.header("idempotent-replayed")),
        (200, Some("true")),
        "{stored:?}"
    );
    assert_eq!(shop.made_of("A-1"), 1);

    let other = house.refund("A-2", "460.00", "k-2").operation();
    receiver.until("/chat", 2);
    assert_eq!(house.cli(&["holds", "deny", &other, "--reason", "not this one"]).code, 0);
    let heard = receiver.until("/backend", 3);
    let no = heard[2].json();
    assert_eq!(
        (&no["data"]["decision"], &no["data"]["code"]),
        (&"denied".into(), &"approval_denied".into())
    );
    assert!(no["data"]["reason"].as_str().unwrap().contains("not this one"), "{no}");
    // Who answered, and what was asked of people, is nothing for agents.
    assert!(
        !heard.iter().any(|told| told.body.contains("ops") || told.body.contains("over-cap")),
        "{heard:?}"
    );

    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(
        (receiver.told_at("/chat").len(), receiver.told_at("/backend").len()),
        (2, 3),
        "once each"
    );
    let ids: BTreeSet<String> = receiver.told().iter().map(|told| told.id().to_owned()).collect();
    assert_eq!(ids.len(), 2 + 3 + 1, "each its own id: {ids:?}");
    until_counted(
        &house,
        "tollhouse_notifications_total{news=\"hold.created\",result=\"delivered\"} 4",
    );
    until_counted(&house, "tollhouse_letters_waiting 0");
    let config = house.console(Call::new("GET", "/v1/config")).body;
    let key = KEY.trim_start_matches("whsec_");
    for shown in [&config, &log(&house), &metrics(&house)] {
        assert!(!shown.contains("SECRETPATH") && !shown.contains(key), "{shown}");
    }
}

fn failed(count: u32) -> String {
    format!("tollhouse_notifications_total{{news=\"hold.created\",result=\"failed\"}} {count}")
}

#[test]
fn who_is_down_is_told_later_the_same_message_and_the_hold_waits_on_the_page() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let (house, clock) = with_clock(&text(&shop, &chat(&receiver), ""), home());
    receiver.close();
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let failing = "a destination of notifications does not take them";
    until_log(&house, failing);
    until_counted(&house, "tollhouse_letters_waiting 1");
    assert_eq!(house.hold(&op)["state"], "held");
    // After each pause it is tried again, and told of once.
    for (ahead, failures) in [(10, 2), (60, 3), (240, 4)] {
        clock.set(ahead);
        until_counted(&house, &failed(failures));
    }
    assert_eq!(log(&house).matches(failing).count(), 1, "{}", log(&house));
    receiver.reopen();
    receiver.play(Play::Status(503));
    clock.set(1_200);
    let first = receiver.until("/chat", 1);
    // Noted, by the clock as it is: only then is it turned.
    until_counted(&house, &failed(5));
    receiver.play(Play::Status(204));
    clock.set(3_500);
    let told = receiver.until("/chat", 2);
    assert_eq!(told[1].id(), first[0].id());
    assert_ne!(told[1].header("webhook-timestamp"), told[0].header("webhook-timestamp"));
    assert!(told.iter().all(|told| told.is_signed(KEY)));
    assert_eq!(until_log(&house, "takes them again"), 1);
    until_counted(&house, "tollhouse_letters_waiting 0");
    assert_eq!(house.hold(&op)["state"], "held");
    assert_eq!(house.approve(&op).code, 0);
}

#[test]
fn what_was_answered_before_it_was_told_is_not_told() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let (house, clock) = with_clock(&text(&shop, &chat(&receiver), ""), home());
    receiver.play(Play::Status(500));
    let op = house.refund("A-1", "450.00", "k-1").operation();
    receiver.until("/chat", 1);
    until_counted(&house, &failed(1));
    assert_eq!(house.cli(&["holds", "deny", &op, "--reason", "no"]).code, 0);
    receiver.play(Play::Status(200));
    clock.set(10);
    until_counted(
        &house,
        "tollhouse_notifications_total{news=\"hold.created\",result=\"dropped\"} 1",
    );
    assert_eq!(receiver.told().len(), 1);
}

#[test]
fn who_is_slow_keeps_nobody_waiting_and_is_told_again() {
    let (shop, slow, quick) = (Shop::open(), Receiver::open(), Receiver::open());
    let notify = format!("{}, {}", chat(&slow), chat(&quick).replace("chat,", "quick,"));
    let house = House::written(home(), &text(&shop, &notify, ""), "");
    slow.play(Play::Silent(Duration::from_secs(12)));
    let began = Instant::now();
    for n in 0..12 {
        let held = house.refund(&format!("A-{n}"), "450.00", &format!("k-{n}"));
        assert_eq!(held.code(), "approval_required", "{held:?}");
    }
    quick.until("/chat", 12);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    slow.play(Play::Status(200));
    // Ten seconds of patience, five of rest.
    let told = slow.until_within("/chat", 20, Duration::from_secs(30));
    let ids: BTreeSet<&str> = told.iter().map(|told| told.id()).collect();
    assert_eq!(ids.len(), 12, "all of them, some twice");
    assert_eq!(quick.told().len(), 12, "who has it is not told again");
}

#[test]
fn an_answer_without_end_is_an_answer() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = House::written(home(), &text(&shop, &chat(&receiver), ""), "");
    receiver.play(Play::Endless);
    house.refund("A-1", "450.00", "k-1");
    until_counted(
        &house,
        "tollhouse_notifications_total{news=\"hold.created\",result=\"delivered\"} 1",
    );
    assert_eq!(receiver.told().len(), 1);
}

#[test]
fn who_is_gone_is_not_told_again_and_nobody_is_sent_elsewhere() {
    let (shop, gone, moved, elsewhere) =
        (Shop::open(), Receiver::open(), Receiver::open(), Receiver::open());
    let notify = format!("{}, {}", chat(&gone), chat(&moved).replace("chat,", "moved,"));
    let (house, clock) = with_clock(&text(&shop, &notify, ""), home());
    gone.play(Play::Status(410));
    moved.play(Play::Redirect(elsewhere.url("/chat")));
    house.refund("A-1", "450.00", "k-1");
    gone.until("/chat", 1);
    moved.until("/chat", 1);
    until_log(&house, "it answered 307: redirects are not followed");
    moved.play(Play::Status(200));
    clock.set(60);
    moved.until("/chat", 2);
    until_counted(&house, "tollhouse_letters_waiting 0");
    assert_eq!((gone.told().len(), moved.told().len(), elsewhere.told().len()), (1, 2, 0));
    until_counted(&house, "tollhouse_notifications_total{news=\"hold.created\",result=\"gone\"} 1");
}

#[test]
fn what_was_sent_and_not_noted_is_sent_again_with_the_same_id() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let (mut house, clock) = with_clock(&text(&shop, &chat(&receiver), ""), home());
    receiver.play(Play::Silent(Duration::from_secs(60)));
    house.refund("A-1", "450.00", "k-1");
    let first = receiver.until("/chat", 1);
    house.process.kill();
    receiver.play(Play::Status(200));
    // Its lease is over then.
    clock.set(40);
    house.again();
    let told = receiver.until("/chat", 2);
    assert_eq!(told[1].id(), first[0].id());
    assert_eq!(told[1].json()["data"]["operation"], told[0].json()["data"]["operation"]);
    until_counted(&house, "tollhouse_letters_waiting 0");
    house.crash();
    clock.set(120);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(receiver.told().len(), 2, "what was noted is not sent again");
}

#[test]
fn a_stop_brings_what_is_on_its_way_to_its_end() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let (mut house, clock) = with_clock(&text(&shop, &chat(&receiver), ""), home());
    receiver.play(Play::Silent(Duration::from_secs(2)));
    house.refund("A-1", "450.00", "k-1");
    receiver.until("/chat", 1);
    assert_eq!(house.stop(), Some(0));
    receiver.play(Play::Status(200));
    clock.set(120);
    house.again();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(receiver.told().len(), 1, "it was noted before the end");
}

#[test]
fn after_a_day_it_is_given_up_loudly_and_on_record() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let (house, clock) = with_clock(&text(&shop, "", &backend(&receiver)), home());
    receiver.play(Play::Status(500));
    let op = house.refund("A-1", "450.00", "k-1").operation();
    assert_eq!(house.cli(&["holds", "deny", &op, "--reason", "no"]).code, 0);
    receiver.until("/backend", 1);
    until_counted(
        &house,
        "tollhouse_notifications_total{news=\"hold.answered\",result=\"failed\"} 1",
    );
    clock.set(25 * 3600);
    receiver.until("/backend", 2);
    until_log(&house, "not delivered within a day and is given up");
    until_counted(
        &house,
        "tollhouse_notifications_total{news=\"hold.answered\",result=\"gave_up\"} 1",
    );
    let records = house.console(Call::new("GET", "/v1/records?last=100")).body;
    let records: Vec<Value> = serde_json::from_str(&records).unwrap();
    let [one] =
        &records.iter().filter(|line| line["kind"] == "undelivered").collect::<Vec<_>>()[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!(
        (&one["operation"], &one["note"]),
        (&op.into(), &"hold.answered to backend: it answered 500".into())
    );
    clock.set(50 * 3600);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(receiver.told().len(), 2);
}

fn until_ready(house: &House) {
    let end = Instant::now() + Duration::from_secs(15);
    while house.console(Call::new("GET", "/readyz")).status != 200 {
        assert!(Instant::now() < end, "{}", log(house));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_replicas_tell_each_thing_once() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let redis = Server::with(&["appendonly", "yes", "appendfsync", "always"]);
    let store = format!(
        "fleet: shop\nstore: {{ url: \"redis://127.0.0.1:{}\", encryption_key: file:seal.key }}",
        redis.port
    );
    let text = text(&shop, &chat(&receiver), &backend(&receiver))
        .replace("store: embedded:data/store", &store);
    let here = House::replica_in(home(), &text, None, "");
    let there = House::replica_in(home(), &text, Some(&here), "");
    until_ready(&here);
    until_ready(&there);
    let mut ops = Vec::new();
    for n in 0..12 {
        let house = if n % 2 == 0 { &here } else { &there };
        let order = format!("A-{n}");
        let call = crate::support::house::refund(&order, "450.00", &order).bearer(here.token());
        ops.push(call.send(&house.agents).unwrap().operation());
    }
    receiver.until("/chat", 12);
    for (n, op) in ops.iter().enumerate() {
        let house = if n % 2 == 0 { &there } else { &here };
        let said = house.cli(&["holds", "deny", op, "--reason", "no"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    receiver.until("/backend", 12);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((receiver.told_at("/chat").len(), receiver.told_at("/backend").len()), (12, 12));
    let ids: BTreeSet<String> = receiver.told().iter().map(|told| told.id().to_owned()).collect();
    assert_eq!(ids.len(), 24);
    assert!(receiver.told().iter().all(|told| told.is_signed(KEY)));
}

#[test]
fn a_key_that_changes_is_used_at_once_and_both_may_count() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = House::written(home(), &text(&shop, &chat(&receiver), ""), "");
    let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    std::fs::write(house.home.path().join("hook-key"), format!("{new} {KEY}")).unwrap();
    // Files are looked at once a second.
    std::thread::sleep(Duration::from_millis(1_100));
    house.refund("A-1", "450.00", "k-1");
    let told = receiver.until("/chat", 1);
    assert!(told[0].is_signed(KEY) && told[0].is_signed(new), "{told:?}");
    assert!(!told[0].is_signed("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
}

#[test]
fn a_faulty_destination_is_told_with_its_line_and_without_its_secret() {
    let shop = Shop::open();
    let home = home();
    let at = home.path();
    crate::support::house::token(&at.join("state"), "ann");
    for (name, text) in [
        ("ops-token", "an-operator-token-of-some-length"),
        ("shop-key", "k"),
        ("bad-key", "whsec_SECRET!"),
        ("bad-url", "chat.example/SECRET"),
    ] {
        std::fs::write(at.join(name), text).unwrap();
    }
    let file = at.join("tollhouse.yaml");
    for (notify, hooks, key, expected) in [
        ("{ webhook: 'https://x.example/SECRET' }", "", "notify.sign", "is required"),
        (
            "{ webhook: 'https://x.example/SECRET', sign: file:bad-key }",
            "",
            "notify.sign",
            "expected `whsec_`",
        ),
        (
            "{ webhook: 'https://x.example/SECRET', sign: file:none }",
            "",
            "notify.sign",
            "cannot be read",
        ),
        ("{ webhook: 'https://x.example/SECRET', sign: SECRET }", "", "notify.sign", "file:PATH"),
        (
            "{ webhook: 'http://x.example/SECRET', sign: file:hook-key }",
            "",
            "notify.webhook",
            "in the clear",
        ),
        ("{ webhook: file:bad-url, sign: file:hook-key }", "", "notify.webhook", "expected a URL"),
        ("{ webhook: SECRET, sign: file:hook-key }", "", "notify.webhook", "expected `https://..`"),
        ("{ sign: file:hook-key }", "", "notify.webhook", "is required and missing"),
        (
            "{ webhook: 'https://x.example', sign: file:hook-key, format: teams }",
            "",
            "notify.format",
            "expected `standard` or `slack`",
        ),
        (
            "{ webhook: 'https://x.example', sign: file:hook-key, stray: 1 }",
            "",
            "notify.stray",
            "is not a key here",
        ),
        (
            "{ webhook: 'https://x.example', sign: file:hook-key, answers: true }",
            "",
            "notify.answers",
            "needs `as:",
        ),
        (
            "{ webhook: 'https://x.example', format: slack, answers: true, as: { name: c, roles: [finance] } }",
            "",
            "notify.answers",
            "needs `format: standard`",
        ),
        (
            "{ webhook: 'https://x.example', sign: file:hook-key, answers: true, as: { name: 'a@b', roles: [x] } }",
            "",
            "as.name",
            "expected 1 to 64 letters",
        ),
        (
            "{ name: x, webhook: 'https://x.example', sign: file:hook-key }",
            "{ name: x, on: [hold.answered], webhook: 'https://x.example', sign: file:hook-key }",
            "hooks.name",
            "another destination is called `x`",
        ),
        (
            "",
            "{ webhook: 'https://x.example', sign: file:hook-key }",
            "hooks.on",
            "is required and missing",
        ),
        (
            "",
            "{ on: [hold.opened], webhook: 'https://x.example', sign: file:hook-key }",
            "hooks.on",
            "expected some of hold.created",
        ),
        (
            "",
            "{ on: [], webhook: 'https://x.example', sign: file:hook-key }",
            "hooks.on",
            "at least one",
        ),
    ] {
        std::fs::write(&file, text(&shop, notify, hooks)).unwrap();
        let ran = run(tollhouse().arg("check").arg("--config").arg(&file));
        assert_eq!(ran.code, 1, "{notify} {hooks}: {ran:?}");
        let line = ran.out.lines().find(|line| {
            line.contains("tollhouse.yaml:") && line.contains(key) && line.contains(expected)
        });
        assert!(line.is_some(), "no `{key}` with `{expected}` in\n{}", ran.out);
        assert!(!ran.out.contains("SECRET") && !ran.err.contains("SECRET"), "{ran:?}");
    }
    let without_page = text(
        &shop,
        "{ webhook: 'https://x.example', sign: file:hook-key, answers: true, as: { name: c, roles: [finance] } }",
        "",
    );
    let without_page = without_page.replace("  public_url: https://tollhouse.example\n", "");
    std::fs::write(&file, without_page).unwrap();
    let ran = run(tollhouse().arg("check").arg("--config").arg(&file));
    assert!(ran.code == 1 && ran.out.contains("needs `operator.public_url`"), "{ran:?}");
    let fine = "{ webhook: 'http://x.example/in-house', insecure: true, sign: [file:hook-key, file:hook-key] }";
    std::fs::write(&file, text(&shop, fine, "")).unwrap();
    let ran = run(tollhouse().arg("check").arg("--config").arg(&file));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("told finance: of queue finance, format standard"), "{ran:?}");
}

/// One replica was telling when it died, and another goes on: the same message, under the same id.
#[test]
fn another_replica_goes_on_where_one_died() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let redis = Server::with_clock(&["appendonly", "yes", "appendfsync", "always"]);
    let store = format!(
        "fleet: shop\nstore: {{ url: \"redis://127.0.0.1:{}\", encryption_key: file:seal.key }}",
        redis.port
    );
    let text = text(&shop, &chat(&receiver), "").replace("store: embedded:data/store", &store);
    let mut here = House::replica_in(home(), &text, None, "");
    until_ready(&here);
    let there = House::replica_in(home(), &text, Some(&here), "");
    until_ready(&there);
    receiver.play(Play::Silent(Duration::from_secs(60)));
    let held = crate::support::house::refund("A-1", "450.00", "k-1").bearer(here.token());
    let op = held.send(&there.agents).unwrap().operation();
    let first = receiver.until("/chat", 1);
    receiver.play(Play::Status(200));
    // The first that was there leads, and so it is the one that tells.
    here.process.kill();
    redis.set_clock(40);
    let told = receiver.until_within("/chat", 2, Duration::from_secs(20));
    assert_eq!((told[1].id(), told.len()), (first[0].id(), 2));
    assert_eq!(told[1].json()["data"]["operation"], op);
    redis.set_clock(120);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(receiver.told().len(), 2, "it was noted");
}

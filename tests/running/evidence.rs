//! Checkpoints of the real binary: where they go, who can verify them with the real command line, and what happens when
//! nobody takes them.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::house::{House, Ran, configuration, run};
use crate::support::receiver::{KEY, Play, Receiver};
use crate::support::redis::Server;
use crate::support::shop::Shop;
use crate::support::tollhouse;

/// A home with a key, and the verifier key of it in a file.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let made = run(tollhouse().args(["audit", "key"]).arg(home.path().join("audit.pem")));
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.out.starts_with("tollhouse.audit+"), "{made:?}");
    std::fs::write(home.path().join("audit.vkey"), made.out).unwrap();
    std::fs::write(home.path().join("hook-key"), KEY).unwrap();
    home
}

fn config(shop: &Shop, to: &str) -> String {
    let audit =
        format!("audit: {{ dir: data/audit, key: file:audit.pem, checkpoint: {{ to: {to} }} }}");
    configuration(&shop.url(), "").replace("audit: { dir: data/audit }", &audit)
}

fn verify(house: &House, more: &[&str]) -> Ran {
    let key = house.home.path().join("audit.vkey");
    let mut command = tollhouse();
    command.args(["audit", "verify"]).arg(house.audit()).arg("--key").arg(key);
    run(command.args(more))
}

/// What a line of the metrics says.
fn metric(house: &House, line: &str) -> Option<f64> {
    let reply = house.console(crate::support::agent::Call::new("GET", "/metrics"));
    reply.body.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok())
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < end, "never so: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn checkpoints(house: &House) -> Vec<String> {
    let mut lines = house.process.all_later();
    lines.retain(|line| line.starts_with("{\"kind\":\"checkpoint\""));
    lines
}

#[test]
fn lines_of_standard_output_hold_the_record_against_whoever_has_the_disk() {
    let shop = Shop::open();
    let mut house = House::written(home(), &config(&shop, "stdout"), "");
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    until("a checkpoint", || !checkpoints(&house).is_empty());
    assert_eq!(house.refund("A-2", "25.00", "k-2").status, 200);
    until("another", || checkpoints(&house).len() > 1);
    until("nothing waits", || metric(&house, "tollhouse_checkpoint_age_seconds") == Some(0.0));
    assert!(metric(&house, "tollhouse_checkpoints_total{result=\"exported\"}") >= Some(2.0));
    // It goes on over a crash.
    let mut all = checkpoints(&house);
    house.crash();
    assert_eq!(house.refund("A-3", "25.00", "k-3").status, 200);
    until("one after the crash", || !checkpoints(&house).is_empty());
    // What comes right before the end is signed at the end.
    assert_eq!(house.get("/orders/A-1").status, 200);
    assert_eq!(house.stop(), Some(0));
    std::thread::sleep(Duration::from_millis(100));
    all.extend(checkpoints(&house));
    let kept = house.home.path().join("kept.jsonl");
    std::fs::write(&kept, all.join("\n")).unwrap();
    let kept = kept.to_str().unwrap().to_owned();
    let said = verify(&house, &["--checkpoint", &kept]);
    assert!(said.code == 0 && said.out.contains("up to the last record"), "{said:?}");
    assert!(
        said.out.contains(&format!("{} checkpoints from elsewhere fit", all.len())),
        "{said:?}"
    );
    // The last record goes, and with it every checkpoint on this disk.
    let file = newest(&house.audit());
    let text = std::fs::read_to_string(&file).unwrap();
    let cut = text.trim_end().rsplit_once('\n').unwrap().0;
    std::fs::write(&file, format!("{cut}\n")).unwrap();
    std::fs::remove_file(file.with_extension("note")).unwrap();
    assert_eq!(verify(&house, &[]).code, 0, "the disk alone does not show it");
    let said = verify(&house, &["--checkpoint", &kept]);
    assert!(said.code == 1 && said.out.contains("its end was cut off"), "{said:?}");
}

fn newest(audit: &Path) -> std::path::PathBuf {
    let mut all = vec![];
    for boot in std::fs::read_dir(audit).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir())
    {
        all.extend(std::fs::read_dir(boot).unwrap().map(|e| e.unwrap().path()));
    }
    all.retain(|path| path.extension().is_some_and(|ext| ext == "jsonl"));
    all.sort();
    all.pop().unwrap()
}

#[test]
fn a_webhook_that_is_down_is_loud_and_stops_nothing() {
    let shop = Shop::open();
    let receiver = Receiver::open();
    let to = format!("{{ webhook: {}, sign: file:hook-key }}", receiver.url("/checkpoints"));
    let mut house = House::written(home(), &config(&shop, &to), "");
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    let told = receiver.until("/checkpoints", 1).remove(0);
    assert!(told.is_signed(KEY) && told.news() == "checkpoint", "{told:?}");
    let sizes = |all: &[crate::support::receiver::Told]| -> Vec<u64> {
        all.iter().map(|told| told.json()["data"]["size"].as_u64().unwrap()).collect()
    };
    receiver.close();
    for n in 2..6 {
        let (order, key) = (format!("A-{n}"), format!("k-{n}"));
        assert_eq!(house.refund(&order, "25.00", &key).status, 200, "calls go on");
    }
    let failed = "tollhouse_checkpoints_total{result=\"failed\"}";
    until("failures are counted", || metric(&house, failed) >= Some(2.0));
    until("and it gets old", || metric(&house, "tollhouse_checkpoint_age_seconds") >= Some(2.0));
    let log = || std::fs::read_to_string(house.home.path().join("log")).unwrap();
    let told = "checkpoints of the record are not exported";
    until("it is told", || log().contains(told));
    assert_eq!(log().matches(told).count(), 1, "once: {}", log());
    receiver.play(Play::Status(500));
    receiver.reopen();
    let begun = receiver.told().len();
    receiver.until("/checkpoints", begun + 1);
    receiver.play(Play::Status(200));
    until("it is made up for", || metric(&house, "tollhouse_checkpoint_age_seconds") == Some(0.0));
    until("that is told, too", || log().contains("are exported again"));
    let all = receiver.told_at("/checkpoints");
    assert!(sizes(&all).is_sorted(), "in order: {:?}", sizes(&all));
    assert_eq!(house.stop(), Some(0));
    let all = receiver.told_at("/checkpoints");
    let kept = house.home.path().join("kept.jsonl");
    let bodies: Vec<&str> = all.iter().map(|told| &*told.body).collect();
    std::fs::write(&kept, bodies.join("\n")).unwrap();
    let said = verify(&house, &["--checkpoint", kept.to_str().unwrap()]);
    assert!(said.code == 0 && said.out.contains("up to the last record"), "{said:?}");
}

#[test]
fn a_receiver_that_never_answers_and_a_pipe_that_nobody_reads_stop_nothing() {
    let shop = Shop::open();
    let receiver = Receiver::open();
    receiver.play(Play::Silent(Duration::from_secs(60)));
    let to = format!("{{ webhook: {}, sign: file:hook-key }}", receiver.url("/checkpoints"));
    let mut house = House::written(home(), &config(&shop, &to), "");
    let begun = Instant::now();
    for n in 1..6 {
        assert_eq!(house.refund(&format!("A-{n}"), "25.00", &format!("k-{n}")).status, 200);
    }
    receiver.until("/checkpoints", 1);
    assert_eq!(house.refund("A-9", "25.00", "k-9").status, 200);
    assert_eq!(house.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_fleets_redis_keeps_the_checkpoints_of_all_its_replicas() {
    let shop = Shop::open();
    let redis = Server::start();
    let store = format!(
        "fleet: shop\nstore: {{ url: 'redis://127.0.0.1:{}', encryption_key: file:seal.key }}",
        redis.port
    );
    let text = config(&shop, "redis").replace("store: embedded:data/store", &store);
    let first = House::replica_in(home(), &text, None, "");
    let second = House::replica_in(home(), &text, Some(&first), "");
    for (n, house) in [&first, &second].into_iter().enumerate() {
        let call = house.refund_call(&format!("A-{n}"), "25.00", &format!("k-{n}"));
        house.until(&call, |reply| reply.status == 200);
        let kept = "tollhouse_checkpoints_total{result=\"exported\"}";
        until("it is kept", || metric(house, kept) >= Some(1.0));
    }
    let mut client = redis::Client::open(format!("redis://127.0.0.1:{}", redis.port)).unwrap();
    let kept: Vec<(String, Vec<(String, String)>)> = redis::cmd("XRANGE")
        .arg("{shop}:checkpoints")
        .arg("-")
        .arg("+")
        .query(&mut client)
        .unwrap();
    let notes: Vec<&str> = kept
        .iter()
        .flat_map(|(_, fields)| {
            fields.iter().filter(|(name, _)| name == "note").map(|(_, note)| &**note)
        })
        .collect();
    assert!(notes.iter().all(|note| note.contains("\nfleet shop\n")), "{notes:?}");
    for house in [&first, &second] {
        let file = house.home.path().join("kept");
        std::fs::write(&file, notes.concat()).unwrap();
        let key = house.home.path().join("audit.vkey");
        let other = if std::ptr::eq(house, &first) { &second } else { &first };
        let said = run(tollhouse()
            .args(["audit", "verify"])
            .arg(house.audit())
            .arg("--key")
            .arg(key)
            .arg("--key")
            .arg(other.home.path().join("audit.vkey"))
            .arg("--checkpoint")
            .arg(&file));
        assert!(said.code == 0 && said.out.contains("of other logs"), "{said:?}");
    }
}

#[test]
fn what_is_wrong_with_it_is_told_by_check() {
    let shop = Shop::open();
    let home = home();
    let house = House::written(home, &config(&shop, "stdout"), "");
    let file = house.home.path().join("other.yaml");
    let said = |audit: &str| {
        let text = configuration(&shop.url(), "").replace("audit: { dir: data/audit }", audit);
        std::fs::write(&file, text).unwrap();
        let ran = run(tollhouse().args(["check", "--config"]).arg(&file));
        (ran.code, ran.out)
    };
    std::fs::write(house.home.path().join("no.pem"), "secret words").unwrap();
    for (audit, words) in [
        ("audit: { dir: a }", "not signed"),
        ("audit: { dir: a, key: file:audit.pem }", "signed there and nowhere else"),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout, every: 5s, records: 9 }, keep: 30d }",
            "go to standard output",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout }, keep: 10GiB }",
            "no fault",
        ),
    ] {
        let (code, out) = said(audit);
        assert!(code == 0 && out.contains(words), "{audit}: {out}");
    }
    for (audit, words) in [
        ("audit: { dir: a, checkpoint: { to: stdout } }", "needs `key: file:PATH`"),
        ("audit: { dir: a, key: file:audit.pem, keep: 30d }", "needs `checkpoint: { to: .. }`"),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { every: 1s }, keep: 30d }",
            "needs `checkpoint: { to: .. }`",
        ),
        ("audit: { dir: a, key: file:no.pem }", "holds no Ed25519 private key"),
        ("audit: { dir: a, key: file:gone.pem }", "cannot be read"),
        ("audit: { dir: a, key: secret }", "expected `file:PATH`"),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: redis } }",
            "needs a store that is a Redis",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: disk } }",
            "expected `stdout`, `redis`",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: { webhook: 'http://a.example/x', sign: file:hook-key } } }",
            "in the clear",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: { webhook: 'https://a.example/x' } } }",
            "sign",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout, every: 1h } }",
            "at most",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout, records: 0 } }",
            "at least 1",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout }, keep: 5m }",
            "at least `1d`",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout }, keep: 1MiB }",
            "at least `256MiB`",
        ),
        (
            "audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout }, keep: much }",
            "expected a span",
        ),
        ("audit: { dir: a, key: file:audit.pem, checkpoint: { to: stdout, stray: 1 } }", "stray"),
    ] {
        let (code, out) = said(audit);
        assert!(code == 1 && out.contains(words), "{audit}: {out}");
        assert!(!out.contains("secret words"), "{out}");
    }
    // A reload that changes it is refused, and says so.
    let text = config(&shop, "stdout").replace("to: stdout", "to: stdout, every: 2s");
    std::fs::write(house.home.path().join("tollhouse.yaml"), text).unwrap();
    let reply = house.console(crate::support::agent::Call::new("POST", "/v1/reload"));
    let why: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    assert!(reply.body.contains("`audit`"), "{why} {reply:?}");
}

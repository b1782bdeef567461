//! What the commands say, word for word where people and scripts rely on it, and how they end:
//! 0 done, 1 a finding, 2 could not run.
//!
//! `UPDATE_GOLDEN=1 cargo test --test main cli::` writes the golden files anew.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::house::{self, House, Ran, run};
use crate::support::shop::Shop;
use crate::support::{root, tollhouse};

/// Every command and what it says of itself.
const COMMANDS: &[&str] = &[
    "",
    "run",
    "demo",
    "check",
    "explain",
    "token",
    "sign-in",
    "holds",
    "holds list",
    "holds show",
    "holds approve",
    "holds deny",
    "freeze",
    "unfreeze",
    "freezes",
    "revoke",
    "operations",
    "operations list",
    "operations show",
    "operations resolve",
    "report",
    "report mark",
    "store",
    "store show",
    "store clear",
    "audit",
    "audit key",
    "audit verify",
    "audit tail",
    "pack",
    "pack list",
    "pack lint",
    "policy",
    "policy show",
];

/// Runs a command in the folder of the golden files, so that no path of this machine is in them.
fn ran(words: &[&str]) -> Ran {
    let mut command = tollhouse();
    command.current_dir(root().join("tests/cli")).args(words);
    for name in ["TOLLHOUSE_OPERATOR", "TOLLHOUSE_OPERATOR_TOKEN"] {
        command.env_remove(name);
    }
    command.env("TOLLHOUSE_TEST_SHOP_KEY", "secret");
    run(&mut command)
}

fn said(words: &[&str]) -> Value {
    let ran = ran(words);
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

/// Compares with a golden file, or writes it.
fn golden(file: &str, text: &str) {
    let path = root().join("tests/cli").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{} says otherwise; if the new words are meant: UPDATE_GOLDEN=1 cargo test --test main cli::\n\
         -- kept\n{kept}\n-- now\n{text}",
        path.display()
    );
}

#[test]
fn every_command_says_what_it_does() {
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ran = ran(&words);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{command}");
        let name =
            if command.is_empty() { "tollhouse".to_owned() } else { command.replace(' ', "-") };
        golden(&format!("help/{name}.txt"), &ran.out);
    }
}

#[test]
fn every_command_has_its_help_looked_at() {
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = ran(&words).out;
        let listed = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        for line in listed.lines().take_while(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap();
            let whole = format!("{command} {name}").trim().to_owned();
            assert!(name == "help" || COMMANDS.contains(&&*whole), "`{whole}` is not looked at");
        }
    }
    let files = std::fs::read_dir(root().join("tests/cli/help")).unwrap().count();
    assert_eq!(files, COMMANDS.len(), "a golden file of a command that is gone");
}

#[test]
fn check_tells_every_fault_with_its_place_and_what_was_expected() {
    for (file, kept) in [("faults.yaml", "faults.txt"), ("later-faults.yaml", "later-faults.txt")] {
        let checked = ran(&["check", "--config", file]);
        assert_eq!((checked.code, &*checked.err), (1, ""), "{checked:?}");
        golden(kept, &checked.out);
        let faults =
            checked.out.lines().filter(|line| line.starts_with(&format!("{file}:"))).count();
        assert!(faults >= 3, "{checked:?}");
        assert!(checked.out.ends_with("faults; nothing was started\n"), "{checked:?}");
        assert!(!checked.out.contains("s3cret"), "a secret that stands in the file is repeated");
        let started = ran(&["run", "--config", file]);
        assert_eq!((started.code, &*started.out), (1, ""), "run refuses what check refuses");
        assert_eq!(started.err, checked.out, "and says the same");
    }
    assert_eq!(ran(&["check", "--config", "none.yaml"]).code, 1);
    assert_eq!(ran(&["check"]).code, 2);
}

/// A folder with a sound configuration.
fn configured() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    house::token(&at.join("state"), "ann");
    std::fs::write(at.join("shop-key"), "secret").unwrap();
    let config = "\
version: 1
store: embedded:store
audit: { dir: audit }
development: true
identity:
  issuers: [ { issuer: tollhouse-dev, audience: tollhouse, jwks: file:state/jwks.json, algorithms: [EdDSA] } ]
upstreams:
  shop: { url: https://shop.example, pack: orders, route: /, credentials: file:shop-key }
contracts:
  orders.refund.create: { cap: { auto: 100.00 USD, hard: 1000.00 USD } }
";
    std::fs::write(at.join("tollhouse.yaml"), config).unwrap();
    home
}

#[test]
fn check_of_a_sound_configuration_starts_nothing() {
    let home = configured();
    let config = home.path().join("tollhouse.yaml");
    let checked = ran(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.out.contains("upstream shop: orders at https://shop.example"), "{checked:?}");
    assert!(checked.out.ends_with("tollhouse.yaml: no fault\n"), "{checked:?}");
    assert!(!home.path().join("store").exists() && !home.path().join("audit").exists());
    let example = root().join("config/tollhouse.yaml");
    assert!(example.exists());
}

const FACTS: [&str; 12] = [
    "--fact",
    "order.customer=ann",
    "--fact",
    "order.id=A-1",
    "--fact",
    "order.currency=USD",
    "--fact",
    "order.remaining=60000",
    "--fact",
    "order.disputed=false",
    "--fact",
    "order.purchased_at=2026-01-01T00:00:00Z",
];

#[test]
fn explain_classifies_without_a_token() {
    let body = r#"{"order":"A-1","amount":"25.00","currency":"USD"}"#;
    let seen = said(&["explain", "POST", "/refunds", "-d", body, "--pack", "orders", "--json"]);
    assert_eq!(
        (&seen["action"], &seen["class"]),
        (&"orders.refund.create".into(), &"financial".into())
    );
    assert_eq!((&seen["amount"], &seen["decision"]), (&Value::Null, &Value::Null));
    assert_eq!((&seen["kind"], &seen["policies"]), (&"refund".into(), &json!([])));

    let bare = said(&["explain", "post", "/refunds", "--pack", "orders", "--json"]);
    assert_eq!(
        (&bare["action"], &bare["class"]),
        (&"orders.refund.create".into(), &"financial".into())
    );
    let read = ran(&["explain", "GET", "/orders/A-1", "--pack", "orders"]);
    assert_eq!(read.code, 0);
    assert!(read.out.contains("orders.order.retrieve") && read.out.contains("read"), "{read:?}");
    let stripe = [
        "explain",
        "POST",
        "/v1/refunds",
        "-d",
        "charge=ch_1&amount=5",
        "--pack",
        "stripe",
        "--json",
    ];
    assert_eq!(said(&stripe)["action"], "stripe.refund.create");

    let unknown = ["explain", "DELETE", "/orders/A-1", "--pack", "orders", "--json"];
    let seen = said(&unknown);
    assert_eq!((&seen["action"], &seen["code"]), (&Value::Null, &"unknown_action".into()));
    assert_eq!(ran(&unknown).code, 1);
    for words in [
        &["explain", "POST", "/refunds"][..],
        &["explain", "POST", "/refunds", "--pack", "orders", "-H", "no colon"][..],
        &["explain", "POST", "/refunds", "--pack", "orders", "--fact", "order"][..],
        &["explain", "P ST", "/refunds", "--pack", "orders"][..],
    ] {
        let ran = ran(words);
        assert!(ran.code == 2 && !ran.err.is_empty(), "{words:?}: {ran:?}");
    }
    assert_eq!(ran(&["explain", "GET", "/x", "--pack", "no-such-pack"]).code, 1);
}

#[test]
fn explain_says_what_a_call_would_take_of_which_budget() {
    let home = configured();
    let path = home.path().join("tollhouse.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let usual = "hard: 1000.00 USD } ";
    let budget = ", budget: [ { per: tenant, within: 24h, amount: 90.00 USD, over: refuse, alert: 50% }, \
                  { per: agent, within: 1h, count: 3 } ] ";
    assert!(text.contains(usual));
    std::fs::write(&path, text.replacen(usual, &format!("{usual}{budget}"), 1)).unwrap();
    let token = house::token(&home.path().join("state"), "ann");
    let body = json!({ "order": "A-1", "amount": "25.00", "currency": "USD" }).to_string();
    let call = ["explain", "POST", "/refunds", "-d", &body, "--token", &token];
    let call = [&call[..], &["--config", path.to_str().unwrap()], &FACTS].concat();
    let seen: Value = serde_json::from_str(&ran(&[&call[..], &["--json"]].concat()).out).unwrap();
    assert_eq!(
        seen["budgets"],
        json!([
            {
                "budget": "budget.tenant-24h", "currency": "USD", "takes": 2500, "room": 9000,
                "over": "refuse", "alert": 4500,
            },
            {
                "budget": "budget.agent-1h", "currency": null, "takes": 1, "room": 3,
                "over": "hold", "alert": null,
            },
        ])
    );
    let text = ran(&call).out;
    let line = "budget.tenant-24h: takes 25.00 USD of 90.00 USD; past it: refuse";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("budget.agent-1h: takes 1 effects of 3 effects; past it: hold"),
        "{text}"
    );
}

#[test]
fn explain_decides_with_a_token() {
    let home = configured();
    let config = home.path().join("tollhouse.yaml");
    let config = config.to_str().unwrap();
    let token = house::token(&home.path().join("state"), "ann");
    let explain = |amount: &str, facts: &[&str]| {
        let body = json!({ "order": "A-1", "amount": amount, "currency": "USD" }).to_string();
        let call = ["explain", "POST", "/refunds", "-d", &body, "--token", &token];
        ran(&[&call[..], &["--config", config, "--json"], facts].concat())
    };
    let decided = |amount: &str, facts: &[&str]| {
        let ran = explain(amount, facts);
        let seen: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        (ran.code, seen)
    };
    let (code, seen) = decided("25.00", &FACTS);
    assert_eq!((code, &seen["decision"]), (0, &"allow".into()), "{seen}");
    assert_eq!(seen["amount"], json!({ "minor": 2500, "currency": "USD" }));
    assert_eq!((&seen["owner"], &seen["policies"]), (&"ann".into(), &json!([])));
    let (code, seen) = decided("450.00", &FACTS);
    assert_eq!((code, &seen["decision"]), (0, &"hold".into()), "{seen}");
    assert_eq!(seen["policies"][0]["policy"], "financial.over-cap");
    let (code, seen) = decided("5000.00", &FACTS);
    assert_eq!((code, &seen["decision"]), (1, &"refuse".into()), "{seen}");
    let theirs: Vec<&str> = FACTS
        .iter()
        .map(|f| if *f == "order.customer=ann" { "order.customer=bob" } else { f })
        .collect();
    let (code, seen) = decided("25.00", &theirs);
    assert_eq!((code, &seen["code"]), (1, &"not_found".into()), "{seen}");
    let (code, seen) = decided("25.00", &[]);
    assert_ne!((code, &seen["decision"]), (0, &"allow".into()), "no fact is no leave: {seen}");
    assert!(!home.path().join("store").exists() && !home.path().join("audit").exists());
}

#[test]
fn explain_of_a_pack_alone_knows_no_issuer() {
    let words = ["explain", "GET", "/orders/A-1", "--pack", "orders", "--token", "a.b.c"];
    let ran = ran(&words);
    assert!(ran.code == 2 && ran.err.contains("--token needs --config"), "{ran:?}");
}

#[test]
fn token_prints_a_token_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("new");
    let words = ["token", "--agent", "bot", "--customer", "ann", "--role", "vip", "--state"];
    let made = run(tollhouse().args(words).arg(&state));
    assert_eq!((made.code, made.out.lines().count(), &*made.err), (0, 1, ""), "{made:?}");
    assert_eq!(made.out.trim().split('.').count(), 3, "{made:?}");
    assert!(state.join("jwks.json").exists(), "it makes the key if there is none");
    for wrong in [
        &["token"][..],
        &["token", "--agent", "a", "--trust", "9"][..],
        &["token", "--agent", "a", "--consent-until", "tomorrow"][..],
        &["token", "--agent", "a", "--ttl", "soon"][..],
    ] {
        let ran = run(tollhouse().args(wrong).current_dir(home.path()));
        assert!(ran.code == 2 && ran.out.is_empty() && !ran.err.is_empty(), "{wrong:?}: {ran:?}");
    }
}

#[test]
fn packs_are_listed_and_linted() {
    let listed = said(&["pack", "list", "--json"]);
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|p| p["pack"].as_str().unwrap()).collect();
    assert!(names.contains(&"orders") && names.contains(&"stripe"), "{listed}");
    let stripe = listed.as_array().unwrap().iter().find(|p| p["pack"] == "stripe").unwrap();
    assert_eq!(stripe["actions"], 452);
    assert!(ran(&["pack", "list"]).out.starts_with("PACK "));

    let sound = ran(&["pack", "lint", "orders", "stripe", "../../config/packs/orders.yaml"]);
    assert_eq!((sound.code, sound.out.lines().count()), (0, 3), "{sound:?}");
    let faulty = ran(&["pack", "lint", "faulty.yaml"]);
    assert_eq!(faulty.code, 1, "{faulty:?}");
    golden("faulty.txt", &faulty.out);
    assert_eq!(ran(&["pack", "lint", "none.yaml"]).code, 2);
    assert_eq!(ran(&["pack", "lint"]).code, 2);
}

#[test]
fn policy_show_says_what_applies() {
    let shown = ran(&["policy", "show", "--action", "orders.refund.create", "--pack", "orders"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    golden("policy-show.txt", &shown.out);
    let all = ran(&["policy", "show", "--pack", "orders"]);
    assert!(all.code == 0 && all.out.contains("orders.order.cancel"), "{all:?}");
    let unknown = ran(&["policy", "show", "--action", "orders.nothing", "--pack", "orders"]);
    assert_eq!((unknown.code, &*unknown.out), (1, "orders.nothing: no pack knows it\n"));
    assert_eq!(ran(&["policy", "show"]).code, 2);
}

#[test]
fn operations_are_listed_and_shown() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    assert_eq!(house.cli(&["operations", "list"]).out, "No operation.\n");
    let done = house.refund("A-1", "25.00", "k-1").operation();
    let held = house.refund("A-2", "450.00", "k-2").operation();
    let listed = house.listed(&["operations", "list"]);
    let ids: Vec<_> =
        listed.as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&*held, &*done], "the newest first");
    let only = house.listed(&["operations", "list", "--only", "done"]);
    let [one] = only.as_array().unwrap().as_slice() else { panic!("{only}") };
    assert_eq!((&one["id"], &one["outcome"]), (&done.clone().into(), &"succeeded".into()));
    assert_eq!(one["amount"], json!({ "minor": 2500, "currency": "USD" }));
    assert_eq!((&one["agent"], &one["customer"]), (&"support-bot".into(), &"ann".into()));

    let shown = house.listed(&["operations", "show", &done]);
    assert_eq!((&shown["state"], &shown["upstream_status"]), (&"done".into(), &200.into()));
    let key = shown["upstream_key"].as_str().unwrap().to_owned();
    assert_eq!(shop.posts()[0].header("idempotency-key"), Some(&*key));
    assert!(shown["timeline"].as_array().unwrap().len() >= 2, "{shown}");
    let text = house.cli(&["operations", "show", &done]).out;
    assert!(text.starts_with(&format!("{done}: Refund 25.00 USD of order A-1\n")), "{text}");
    let none = house.cli(&["operations", "show", "op_none"]);
    assert!(none.code == 2 && none.err.contains("expected an operation"), "{none:?}");

    let tail = house.cli(&["audit", "tail", "-n", "2"]);
    assert_eq!((tail.code, tail.out.lines().count()), (0, 2), "{tail:?}");
    // What is settled is put on record while others go on: of any order all are there.
    let tail = house.cli(&["audit", "tail", "-n", "20"]);
    let lines = tail.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<(Value, Value)> =
        lines.map(|line| (line["operation"].clone(), line["kind"].clone())).collect();
    for (op, kind) in [(&held, "held"), (&done, "settled"), (&done, "viewed")] {
        assert!(lines.contains(&(op.clone().into(), kind.into())), "{op} {kind}: {lines:?}");
    }
}

#[test]
fn without_an_instance_commands_cannot_run_and_say_how() {
    let home = tempfile::tempdir().unwrap();
    for words in [
        &["holds", "list"][..],
        &["freezes"][..],
        &["operations", "list"][..],
        &["audit", "tail"][..],
        &["freeze", "all", "--reason", "x"][..],
    ] {
        let mut command = tollhouse();
        let ran = run(command.args(words).arg("--state").arg(home.path()));
        assert!(ran.code == 2 && ran.err.contains("--operator"), "{words:?}: {ran:?}");
    }
    let away = ["holds", "list", "--operator", "http://127.0.0.1:1", "--operator-token", "t"];
    let away = ran(&away);
    assert!(away.code == 2 && away.err.contains("no console answers"), "{away:?}");
    let run_what = ran(&["run"]);
    assert!(run_what.code == 2 && run_what.err.contains("--config FILE"), "{run_what:?}");
    assert_eq!(ran(&["no-such-command"]).code, 2);
    assert_eq!(ran(&["--version"]).out, format!("tollhouse {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn audit_verify_finds_what_was_edited_removed_or_swapped() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    for n in 0..4 {
        assert_eq!(house.refund(&format!("A-{n}"), "25.00", &format!("k-{n}")).status, 200);
    }
    let open = house.verify();
    assert_eq!(open.code, 0, "a log that is written to verifies: {open:?}");
    assert_eq!(house.stop(), Some(0));
    let sound = house.verify();
    assert!(sound.code == 0 && sound.out.contains("records in"), "{sound:?}");
    assert!(sound.out.contains("signatures not checked"), "{sound:?}");

    let file = segment(&house.audit());
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let edits: [(&str, Vec<String>); 3] = [
        (
            "edited",
            lines.iter().map(|l| l.replacen("\"minor\":2500", "\"minor\":9900", 1)).collect(),
        ),
        ("removed", (0..lines.len()).filter(|n| *n != 2).map(|n| lines[n].to_owned()).collect()),
        ("swapped", {
            let mut lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
            lines.swap(2, 3);
            lines
        }),
    ];
    for (what, edited) in edits {
        let edited = edited.join("\n") + "\n";
        assert_ne!(edited, text, "{what}: nothing changed");
        std::fs::write(&file, edited).unwrap();
        let found = house.verify();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(found.code == 1 && found.out.contains(&format!("{name}:")), "{what}: {found:?}");
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(house.verify().code, 0);
    let none = run(tollhouse().args(["audit", "verify", "/no/such/folder"]));
    assert_eq!(none.code, 2, "{none:?}");
}

/// The one segment of a log with one boot.
fn segment(audit: &Path) -> std::path::PathBuf {
    let boots = std::fs::read_dir(audit).unwrap().map(|entry| entry.unwrap().path());
    let boot = boots.into_iter().find(|path| path.is_dir()).unwrap();
    let mut files = std::fs::read_dir(boot).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|e| e == "jsonl")).unwrap()
}

//! People answer holds through the command line: once, for exactly what they saw, or not at all.

use std::time::{Duration, Instant};

use crate::support::agent::Call;
use crate::support::house::{CONTRACTS, House};
use crate::support::shop::{Play, Shop};

#[test]
fn a_hold_is_listed_shown_and_approved() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let held = house.refund("A-1", "450.00", "k-1");
    let op = held.operation();
    assert_eq!((held.status, &*held.code()), (403, "approval_required"), "{held:?}");
    assert_eq!(held.reason, "Held for approval, nothing sent");
    assert!(held.header("location").unwrap().ends_with(&op), "{held:?}");
    assert!(held.header("retry-after").is_some());
    for key in ["k-1", "k-2", ""] {
        assert_eq!(house.refund("A-1", "450.00", key).operation(), op, "it stays one hold");
    }

    let listed = house.listed(&["holds", "list"]);
    let [hold] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&hold["id"], &hold["state"]), (&op.clone().into(), &"held".into()));
    assert_eq!(hold["summary"], "Refund 450.00 USD of order A-1");
    assert_eq!(hold["action"], "orders.refund.create");
    assert_eq!(hold["resource"], serde_json::json!({ "type": "Order", "id": "A-1" }));
    assert_eq!(hold["amount"], serde_json::json!({ "minor": 45_000, "currency": "USD" }));
    assert_eq!(hold["queue"], "finance");
    assert_eq!(hold["reasons"][0]["policy"], "financial.over-cap");
    assert!(hold["digest"].as_str().unwrap().starts_with("sha256:"), "{hold}");
    assert!(hold["expires"].is_string());
    assert_eq!(house.listed(&["holds", "list", "--queue", "nobody"]), serde_json::json!([]));

    let shown = house.cli(&["holds", "show", &op]).out;
    assert!(shown.starts_with("Refund 450.00 USD of order A-1\n  waits because "), "{shown}");
    assert!(shown.contains("sends: POST /refunds") && shown.contains("\"450.00\""), "{shown}");
    let table = house.cli(&["holds", "list"]).out;
    assert!(table.starts_with("ID ") && table.contains("450.00 USD"), "{table}");

    let said = house.approve(&op);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with(&format!("Approved {op}. It runs now, once")), "{said:?}");
    let call = house.refund_call("A-1", "450.00", "k-1");
    let done = house.until(&call, |reply| reply.status == 200);
    assert_eq!(done.json()["amount"], "450.00");
    assert_eq!(shop.made_of("A-1"), 1);
    assert_eq!(house.cli(&["holds", "list"]).out, "Nothing waits.\n");
    let late = house.cli(&["holds", "deny", &op, "--reason", "no"]);
    assert!(late.code == 2 && late.err.contains("does not wait any more: it is done"), "{late:?}");
}

#[test]
fn a_yes_is_for_what_was_seen() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let other = house.refund("A-2", "460.00", "k-2").operation();
    let wrong = house.hold(&other)["digest"].as_str().unwrap().to_owned();
    for (words, said) in [
        (&["--yes", "--digest", &wrong][..], "no longer what you looked at"),
        (&["--yes", "--digest", "sha256:12"][..], "digest: expected `sha256:`"),
        (&["--yes"][..], "--digest"),
        (&[][..], "nobody is there to be asked"),
        (&["--digest", &wrong][..], "nobody is there to be asked"),
    ] {
        let ran = house.cli(&[&["holds", "approve", &op], words].concat());
        assert!(ran.code == 2 && ran.err.contains(said), "{words:?}: {ran:?}");
    }
    for (words, said) in [
        (
            &["holds", "approve", "op_none", "--yes", "--digest", &wrong][..],
            "expected an operation",
        ),
        (&["holds", "deny", &op][..], "--reason"),
        (&["holds", "deny", &op, "--reason", " "][..], "expected why"),
        (&["holds", "show", &format!("op_{}", "a".repeat(52))][..], "not found"),
        (&["holds", "list", "--only", "lost"][..], "expected a state"),
    ] {
        let ran = house.cli(words);
        assert!(ran.code == 2 && ran.err.contains(said), "{words:?}: {ran:?}");
    }
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!((shop.posts().len(), &house.hold(&op)["state"]), (0, &"held".into()));
}

#[test]
fn whoever_races_it_runs_once() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let digest = house.hold(&op)["digest"].as_str().unwrap().to_owned();
    let ended: Vec<i32> = std::thread::scope(|scope| {
        let approver = || house.cli(&["holds", "approve", &op, "--yes", "--digest", &digest]).code;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(approver)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ended.iter().filter(|code| **code == 0).count(), 1, "{ended:?}");
    assert!(ended.iter().all(|code| [0, 2].contains(code)), "{ended:?}");
    let call = house.refund_call("A-1", "450.00", "k-1");
    house.until(&call, |reply| reply.status == 200);
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn a_no_is_told_with_its_reason_and_nothing_is_sent() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let said = house.cli(&["holds", "deny", &op, "--reason", "not this one"]);
    assert_eq!((said.code, said.out), (0, format!("Denied {op}. Nothing was sent.\n")));
    let told = house.refund("A-1", "450.00", "k-1");
    assert_eq!((told.status, &*told.code()), (403, "approval_denied"), "{told:?}");
    assert!(told.json()["detail"].as_str().unwrap().contains("not this one"), "{told:?}");
    assert_eq!(shop.posts().len(), 0);
}

#[test]
fn a_hold_that_nobody_answers_ends() {
    let shop = Shop::open();
    let house = House::quick_with(&shop.url(), &CONTRACTS.replace("1h", "1s"));
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let call = house.refund_call("A-1", "450.00", "k-1");
    let told = house.until(&call, |reply| reply.code() == "approval_expired");
    assert_eq!((told.status, told.operation()), (403, op.clone()), "{told:?}");
    let late = house.cli(&[
        "holds",
        "approve",
        &op,
        "--yes",
        "--digest",
        &format!("sha256:{}", "0".repeat(64)),
    ]);
    assert!(late.code == 2 && late.err.contains("does not wait any more"), "{late:?}");
    assert_eq!(shop.posts().len(), 0);
}

#[test]
fn an_agent_withdraws_its_own_call() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let path = format!("/.tollhouse/v1/operations/{op}");
    let ask = |method: &'static str, token: &str| {
        Call::new(method, &path).bearer(token).send(&house.agents).unwrap()
    };
    let bob = house.token_of("bob");
    assert_eq!((ask("GET", &bob).status, ask("DELETE", &bob).status), (404, 404));
    assert_eq!(Call::new("DELETE", &path).send(&house.agents).unwrap().status, 401);
    let shown = ask("GET", house.token()).json();
    assert_eq!(
        (&shown["state"], &shown["summary"]),
        (&"held".into(), &"Refund 450.00 USD of order A-1".into())
    );

    let gone = ask("DELETE", house.token());
    assert_eq!((gone.status, &gone.json()["outcome"]), (200, &"withdrawn".into()), "{gone:?}");
    let told = house.refund("A-1", "450.00", "k-1");
    assert_eq!((told.status, &*told.code()), (403, "withdrawn"), "{told:?}");
    let late = house.cli(&["holds", "deny", &op, "--reason", "late"]);
    assert_eq!(late.code, 2, "{late:?}");
    assert_eq!(ask("DELETE", house.token()).status, 409);
    assert_eq!(shop.posts().len(), 0);
}

#[test]
fn an_agent_that_waits_gets_the_real_answer_of_a_quick_person() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let call = house.refund_call("A-1", "450.00", "k-1").header("Prefer", "wait=20");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let agent = scope.spawn(|| call.send(&house.agents).unwrap());
        let hold = loop {
            let listed = house.listed(&["holds", "list"]);
            if let Some(hold) = listed.get(0) {
                break hold["id"].as_str().unwrap().to_owned();
            }
        };
        let path = format!("/.tollhouse/v1/operations/{hold}?wait=20");
        let (token, url) = (house.token(), &house.agents);
        let watcher = scope.spawn(move || Call::new("GET", &path).bearer(token).send(url).unwrap());
        std::thread::sleep(Duration::from_millis(300));
        assert!(!agent.is_finished() && !watcher.is_finished(), "they do not wait");
        assert_eq!(house.approve(&hold).code, 0);
        let answer = agent.join().unwrap();
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &"succeeded".into()),
            "{answer:?}"
        );
        let watched = watcher.join().unwrap().json();
        assert_eq!((&watched["state"], &watched["outcome"]), (&"done".into(), &"succeeded".into()));
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn a_wait_that_nobody_answers_ends_as_a_hold() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let began = Instant::now();
    let call = house.refund_call("A-1", "450.00", "k-1").header("Prefer", "wait=1");
    let told = call.send(&house.agents).unwrap();
    assert_eq!((told.status, &*told.code()), (403, "approval_required"), "{told:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn only_who_prefers_it_is_told_202() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let call = house.refund_call("A-1", "450.00", "k-1").header("Prefer", "respond-async");
    let told = call.send(&house.agents).unwrap();
    assert_eq!(told.status, 202, "{told:?}");
    assert_eq!(told.header("tollhouse-decision"), Some("hold"));
    let location = told.header("location").unwrap();
    let state = Call::new("GET", location).bearer(house.token()).send(&house.agents).unwrap();
    assert_eq!(state.json()["state"], "held");
    assert_eq!(house.refund("A-1", "450.00", "k-1").status, 403);
    assert_eq!(shop.posts().len(), 0);
}

#[test]
fn a_freeze_stops_at_once_and_its_lifting_lets_run() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    for scope in [
        &["class/financial"][..],
        &["all"][..],
        &["agent/support-bot"][..],
        &["action/orders.refund.create"][..],
        &["customer/ann", "class/financial"][..],
        &["upstream/orders"][..],
    ] {
        let order = format!("A-{}", scope.join("-").replace(['/', '.'], "-"));
        let froze = house.cli(&[&["freeze"], scope, &["--reason", "odd"]].concat());
        assert_eq!(froze.code, 0, "{froze:?}");
        let told = house.refund(&order, "25.00", &order);
        assert_eq!((told.status, &*told.code()), (503, "frozen"), "{scope:?}: {told:?}");
        assert_eq!(told.json()["sent"], "no");
        let listed = house.listed(&["freezes"]);
        let [freeze] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
        assert_eq!(
            (&freeze["reason"], &freeze["until"]),
            (&"odd".into(), &serde_json::Value::Null)
        );
        let id = freeze["id"].as_str().unwrap();
        assert!(froze.out.contains(&format!("tollhouse unfreeze {id}")), "{froze:?}");
        assert_eq!(house.cli(&["unfreeze", id]).out, format!("Lifted {id}.\n"));
        assert_eq!(house.refund(&order, "25.00", &order).status, 200, "{scope:?}");
    }
    assert_eq!(house.cli(&["freezes"]).out, "Nothing is frozen.\n");
    let other = house.cli(&["freeze", "customer/bob", "--reason", "odd", "--for", "1h"]);
    assert_eq!(other.code, 0, "{other:?}");
    assert_eq!(house.refund("A-other", "25.00", "k-other").status, 200, "Ann is not Bob");
    assert!(house.listed(&["freezes"])[0]["until"].is_string());
}

#[test]
fn a_freeze_for_a_while_lifts_itself_and_reads_go_on_under_it() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let words = ["freeze", "class/financial", "--reason", "odd", "--for", "2s"];
    assert_eq!(house.cli(&words).code, 0);
    assert_eq!(house.get("/orders/A-1").status, 200);
    let call = house.refund_call("A-1", "25.00", "k-1");
    assert_eq!(call.send(&house.agents).unwrap().code(), "frozen");
    house.until(&call, |reply| reply.status == 200);
    for words in [
        &["freeze", "everything", "--reason", "odd"][..],
        &["freeze", "class/money", "--reason", "odd"][..],
        &["freeze", "all", "--reason", "odd", "--for", "soon"][..],
        &["freeze", "all"][..],
        &["unfreeze", "frz_none"][..],
    ] {
        let ran = house.cli(words);
        assert!(ran.code == 2 && !ran.err.is_empty(), "{words:?}: {ran:?}");
    }
    assert_eq!(house.cli(&["freezes"]).out, "Nothing is frozen.\n");
}

#[test]
fn what_was_approved_waits_for_a_freeze_to_end() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let op = house.refund("A-1", "450.00", "k-1").operation();
    assert_eq!(house.cli(&["freeze", "all", "--reason", "odd"]).code, 0);
    assert_eq!(house.approve(&op).code, 0);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((shop.posts().len(), &house.hold(&op)["state"]), (0, &"approved".into()));
    let id = house.listed(&["freezes"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(house.cli(&["unfreeze", &id]).code, 0);
    house.until(&house.refund_call("A-1", "450.00", "k-1"), |reply| reply.status == 200);
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn what_an_agent_wrote_steers_no_terminal() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let body = "{\"order\":\"A-1\",\"amount\":\"450.00\",\"currency\":\"USD\",\"note\":\"\u{202e}00.5\u{200b} \\u001b[2J\\nApproved\"}";
    let mut call = house.refund_call("A-1", "450.00", "k-1");
    call.body = body.to_owned();
    let said = "fine <b>approve</b> 4242 4242 4242 4242";
    let held = call.header("Tollhouse-Reason", said).send(&house.agents).unwrap();
    assert_eq!(held.code(), "approval_required", "{held:?}");
    let shown = house.cli(&["holds", "show", &held.operation()]).out;
    assert!(shown.starts_with("Refund 450.00 USD of order A-1\n  waits because "), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\u{9}']), "{shown:?}");
    let at = |label: &str| shown.find(label).unwrap_or_else(|| panic!("{label}: {shown}"));
    let (amount, agent) =
        (at("\n  amount: 450.00 USD\n"), at("\n  body (the agent's own text): {"));
    // The agent's text comes after every field of ours, on one line.
    assert!(amount < agent && !shown[agent + 1..].trim_end().contains('\n'), "{shown}");
    assert!(at("\n  reason given by the agent: ") > amount, "{shown}");
    assert!(!shown.contains("4242 4242"), "{shown}");
}

#[test]
fn a_person_says_what_became_of_an_unknown() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    shop.play(Play::Drop);
    let ops: Vec<String> = ["A-1", "A-2"]
        .map(|order| {
            let lost = house.refund(order, "25.00", order);
            assert_eq!((lost.status, &*lost.code()), (504, "outcome_unknown"), "{lost:?}");
            lost.operation()
        })
        .into();
    shop.play(Play::Answer);
    let say = |op: &str, more: &[&str]| {
        house
            .cli(&[&["operations", "resolve", op, "--reason", "looked at the shop"], more].concat())
    };
    let early = say(&ops[0], &["--as", "not-done"]);
    assert!(early.code == 2 && early.err.contains("may still show that it happened"), "{early:?}");
    let forced = say(&ops[0], &["--as", "not-done", "--force"]);
    assert!(forced.out.ends_with("is not_sent. The same call may run again.\n"), "{forced:?}");
    let done = say(&ops[1], &["--as", "done", "--upstream-id", "R-2"]);
    assert!(done.out.contains(" is done. "), "{done:?}");
    let again = say(&ops[1], &["--as", "not-done", "--force"]);
    assert!(again.code == 2 && again.err.contains("it is done"), "{again:?}");
    assert_eq!(
        house.refund("A-1", "25.00", "A-1").status,
        200,
        "it runs, now that nothing happened"
    );
    let told = house.refund("A-2", "25.00", "A-2");
    assert_eq!((told.status, &*told.code()), (409, "already_done"), "{told:?}");
    let shown = house.cli(&["operations", "show", &ops[1]]).out;
    assert!(shown.contains("looked at the shop (by quick)"), "{shown}");
    let nobody = say("op_aaaa", &["--as", "done"]);
    assert_eq!(nobody.code, 2, "{nobody:?}");
}

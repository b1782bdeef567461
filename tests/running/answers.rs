//! People answer from a chat: signed by who was told, for exactly what was told, once; and by the rules that
//! hold on the page.

use std::time::Duration;

use serde_json::{Value, json};
use tollhouse::clock::Clock;

use super::notify::{home, log, metrics, text};
use crate::support::agent::{Call, Reply};
use crate::support::house::{House, refund};
use crate::support::receiver::{KEY, Receiver, Told, signature};
use crate::support::redis::Server;
use crate::support::shop::Shop;

const OTHER_KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// A destination that may answer, at `/name`.
fn chat(receiver: &Receiver, name: &str, of: &str) -> String {
    format!(
        "{{ name: {name}, webhook: \"{}\", sign: file:hook-key, answers: true, as: {{ {of} }} }}",
        receiver.url(&format!("/{name}"))
    )
}

const FINANCE: &str = "name: finance-chat, roles: [finance]";

fn now() -> i64 {
    Clock::System.now().0.div_euclid(1000)
}

/// The answer that a message asks for.
fn answer(told: &Told, verdict: &str) -> Value {
    let data = &told.json()["data"];
    json!({
        "operation": data["operation"], "nonce": data["answer"]["nonce"],
        "digest": data["answer"]["digest"], "answer": verdict, "reason": "looked at it", "by": "ana",
    })
}

/// How an answer is sent.
struct Post {
    key: &'static str,
    at: i64,
    id: &'static str,
    headers: [&'static str; 3],
}

const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

impl Post {
    fn new() -> Self {
        Self { key: KEY, at: now(), id: "msg_1", headers: HEADERS }
    }

    fn send(&self, house: &House, answer: &Value) -> Reply {
        let body = answer.to_string();
        let signed = signature(self.key, &format!("{}.{}.{body}", self.id, self.at));
        let [id, time, signature] = self.headers;
        let mut call = Call::new("POST", "/v1/answers");
        call.body = body;
        call.header("Content-Type", "application/json")
            .header(id, self.id)
            .header(time, &self.at.to_string())
            .header(signature, &signed)
            .send(&house.operator().0)
            .unwrap()
    }
}

fn send(house: &House, answer: &Value) -> Reply {
    Post::new().send(house, answer)
}

fn with(mut answer: Value, name: &str, value: Value) -> Value {
    answer[name] = value;
    answer
}

fn records(house: &House, kind: &str) -> Vec<Value> {
    let all = house.console(Call::new("GET", "/v1/records?last=1000")).body;
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    all.into_iter().filter(|line| line["kind"] == kind).collect()
}

fn open(receiver: &Receiver, shop: &Shop, of: &str) -> House {
    House::written(home(), &text(shop, &chat(receiver, "chat", of), ""), "")
}

#[test]
fn a_yes_from_a_chat_runs_it_once_and_says_who() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = open(&receiver, &shop, FINANCE);
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let told = receiver.until("/chat", 1).remove(0);
    let asked = told.json()["data"]["answer"].clone();
    assert_eq!(asked["url"], "https://tollhouse.example/v1/answers");
    assert_eq!(
        (&asked["digest"], &asked["expires"]),
        (&house.hold(&op)["digest"], &house.hold(&op)["expires"])
    );
    // Where people look, nothing is decided.
    for method in ["GET", "HEAD"] {
        let reply = Call::new(method, "/v1/answers").send(&house.operator().0);
        assert!(reply.is_err() || [401, 405].contains(&reply.unwrap().status), "{method}");
    }
    assert_eq!(house.hold(&op)["state"], "held");

    let yes = answer(&told, "approve");
    let taken = send(&house, &yes);
    assert_eq!((taken.status, &taken.json()["operation"]), (200, &op.clone().into()), "{taken:?}");
    house.until(&house.refund_call("A-1", "450.00", "k-1"), |reply| reply.status == 200);
    let [one] = &records(&house, "approved")[..] else { panic!("{}", log(&house)) };
    assert_eq!(
        (&one["by"], &one["note"]),
        (&"finance-chat".into(), &"ana@chat: looked at it".into())
    );

    // The same once more, to the byte, and with a fresh time.
    for post in [Post::new(), Post { at: now() - 5, ..Post::new() }] {
        let again = post.send(&house, &yes);
        assert_eq!(again.status, 409, "{again:?}");
    }
    assert_eq!(send(&house, &answer(&told, "deny")).status, 409);
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(shop.made_of("A-1"), 1);
    assert!(metrics(&house).contains("tollhouse_callback_answers_total{result=\"taken\"} 1"));
    assert!(metrics(&house).contains("tollhouse_callback_answers_total{result=\"refused\"} 3"));
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_no_from_a_chat_reaches_the_agent() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = open(&receiver, &shop, FINANCE);
    house.refund("A-1", "450.00", "k-1");
    let told = receiver.until("/chat", 1).remove(0);
    let no = answer(&told, "deny");
    let silent = send(&house, &with(no.clone(), "reason", json!(" ")));
    assert_eq!(silent.status, 400, "{silent:?}");
    let taken = send(&house, &no);
    assert_eq!((taken.status, &taken.json()["state"]), (200, &"refused".into()), "{taken:?}");
    let told_agent = house.refund("A-1", "450.00", "k-1");
    assert_eq!(told_agent.code(), "approval_denied");
    assert!(
        told_agent.body.contains("looked at it") && !told_agent.body.contains("ana"),
        "{told_agent:?}"
    );
    assert_eq!(records(&house, "denied")[0]["by"], "ana@chat");
    assert_eq!((send(&house, &answer(&told, "approve")).status, shop.posts().len()), (409, 0));
}

/// What was forged, changed, moved or kept too long changes nothing, and all of it is counted and on record.
#[test]
fn whatever_is_forged_is_refused_and_on_record() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let notify = [
        chat(&receiver, "chat", FINANCE),
        chat(&receiver, "side", "name: side-chat, roles: [finance]"),
        format!("{{ name: quiet, webhook: \"{}\", sign: file:other-key }}", receiver.url("/quiet")),
    ];
    let home = home();
    std::fs::write(home.path().join("other-key"), OTHER_KEY).unwrap();
    let house = House::written(home, &text(&shop, &notify.join(", "), ""), "");
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let mine = receiver.until("/chat", 1).remove(0);
    let side = receiver.until("/side", 1).remove(0);
    house.refund("A-2", "460.00", "k-2");
    let other = receiver.until("/chat", 2).remove(1);
    assert_eq!(receiver.until("/quiet", 1)[0].json()["data"].get("answer"), None);
    let yes = || answer(&mine, "approve");
    let field = |told: &Told, name: &str| answer(told, "approve")[name].clone();
    let tag = field(&mine, "nonce").as_str().unwrap().split_once('.').unwrap().1.to_owned();
    let never = format!("op_{}", "a".repeat(52));

    let post = Post::new;
    let unsigned = [
        Post { key: OTHER_KEY, ..post() },
        Post { headers: ["webhook-id", "webhook-timestamp", "x-signature"], ..post() },
        Post { headers: ["webhook-id", "x-time", "webhook-signature"], ..post() },
        Post { headers: ["x-id", "webhook-timestamp", "webhook-signature"], ..post() },
        Post { headers: ["webhook-id", "webhook-id", "webhook-signature"], ..post() },
        Post { at: now() - 301, ..post() },
        Post { at: now() + 310, ..post() },
    ];
    for (n, sent) in unsigned.iter().enumerate() {
        let reply = sent.send(&house, &yes());
        assert_eq!(reply.status, 401, "{n}: {reply:?}");
    }
    // What was signed for another body, as it was kept from the wire.
    let kept = signature(KEY, &format!("msg_1.{}.{}", now(), answer(&mine, "deny")));
    let mut call = Call::new("POST", "/v1/answers");
    call.body = yes().to_string();
    let call = call
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", &now().to_string())
        .header("webhook-signature", &kept);
    assert_eq!(call.send(&house.operator().0).unwrap().status, 401);
    // Our own message, sent back to us.
    let mut back = Call::new("POST", "/v1/answers");
    back.body.clone_from(&mine.body);
    let back = HEADERS.iter().fold(back, |call, name| call.header(name, mine.header(name)));
    assert_eq!(back.send(&house.operator().0).unwrap().status, 400);
    // An operator's token is no signature.
    let by_token = Call::new("POST", "/v1/answers").json(&yes());
    assert_eq!(house.console(by_token).status, 401);

    for (what, answer, status) in [
        ("another operation's nonce", with(yes(), "nonce", field(&other, "nonce")), 403),
        ("another operation", with(yes(), "operation", field(&other, "operation")), 403),
        ("another destination's nonce", with(yes(), "nonce", json!(format!("2.{tag}"))), 403),
        ("another letter's", with(yes(), "nonce", json!(format!("7.{tag}"))), 403),
        ("a nonce of nobody", with(yes(), "nonce", json!(format!("1.{}", "A".repeat(43)))), 403),
        ("no nonce", with(yes(), "nonce", json!("")), 403),
        ("another digest", with(yes(), "digest", field(&other, "digest")), 403),
        ("an operation that never was", with(yes(), "operation", json!(never)), 403),
        ("no digest", with(yes(), "digest", json!("sha256:00")), 400),
        ("nobody", with(yes(), "by", json!("")), 400),
        ("neither yes nor no", with(yes(), "answer", json!("maybe")), 400),
        ("more than was asked", with(yes(), "force", json!(true)), 400),
        ("no object", json!([]), 400),
    ] {
        let reply = send(&house, &answer);
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}");
        assert!(!reply.body.contains("Refund") && !reply.body.contains("A-1"), "{what}: {reply:?}");
    }
    let large = with(yes(), "reason", json!("x".repeat(2_001)));
    assert_eq!(send(&house, &large).status, 400);
    let larger = with(yes(), "reason", json!("x".repeat(70_000)));
    assert_eq!(send(&house, &larger).status, 413);
    assert_eq!((&house.hold(&op)["state"], shop.posts().len()), (&"held".into(), 0));
    // The other destination's is good for itself, and counts as itself.
    assert_eq!(send(&house, &answer(&side, "approve")).status, 200);
    house.until(&house.refund_call("A-1", "450.00", "k-1"), |reply| reply.status == 200);
    assert_eq!(records(&house, "approved")[0]["by"], "side-chat");

    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(send(&house, &with(yes(), "nonce", json!("x"))).status, 403);
    let count = |kind: &str| -> u64 {
        let ours = records(&house, kind)
            .into_iter()
            .filter(|line| line["note"].as_str().is_some_and(|note| note.starts_with("answer:")));
        ours.map(|line| line["count"].as_u64().unwrap_or(1)).sum()
    };
    assert!(count("sign_in_failed") >= 1 && count("forbidden") >= 14, "{}", log(&house));
    let said = metrics(&house);
    for (result, count) in
        [("unsigned", 7), ("stale", 2), ("nonce", 9), ("malformed", 7), ("taken", 1)]
    {
        let line = format!("tollhouse_callback_answers_total{{result=\"{result}\"}} {count}");
        assert!(said.contains(&line), "no `{line}` in {said}");
    }
}

#[test]
fn who_guesses_is_told_to_wait_and_keeps_no_chat_out() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = open(&receiver, &shop, FINANCE);
    house.refund("A-1", "450.00", "k-1");
    let told = receiver.until("/chat", 1).remove(0);
    let statuses: Vec<u16> = (0..30)
        .map(|_| {
            Post { key: OTHER_KEY, ..Post::new() }.send(&house, &answer(&told, "approve")).status
        })
        .collect();
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    assert_eq!(statuses.iter().rev().take(10).filter(|status| **status == 429).count(), 10);
    let failed = records(&house, "sign_in_failed");
    assert!((1..=5).contains(&failed.len()), "bounded: {failed:?}");
    // Nor anybody who signs in.
    assert_eq!(house.console(Call::new("GET", "/v1/holds")).status, 200);
    assert_eq!(send(&house, &answer(&told, "approve")).status, 200);
}

#[test]
fn a_chat_answers_by_the_rules_of_the_page() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let notify = [
        chat(&receiver, "chat", FINANCE),
        chat(&receiver, "wrong", "name: wrong-chat, roles: [support]"),
        chat(&receiver, "poor", "name: poor-chat, roles: [junior]"),
        chat(&receiver, "tenant", "name: tenant-chat, roles: [finance], tenants: [acme]"),
    ];
    let text = text(&shop, &notify.join(", "), "")
        .replace("roles: [finance]\n    notify", "roles: [finance, junior]\n    notify")
        .replace("operator:\n", "operator:\n  limits: { junior: [100.00 USD] }\n");
    let house = House::written(home(), &text, "");
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let told = |name: &str| receiver.until(&format!("/{name}"), 1).remove(0);
    for (name, status, said) in [
        ("wrong", 403, "is answered by finance or junior"),
        ("poor", 403, "more than your role may approve"),
        ("tenant", 404, "no such operation"),
    ] {
        let reply = send(&house, &answer(&told(name), "approve"));
        assert!(reply.status == status && reply.body.contains(said), "{name}: {reply:?}");
    }
    for asker in ["ann", "ANN", "support-bot", " ann ", "\u{200b} a\u{200b}nn"] {
        let own = send(&house, &with(answer(&told("chat"), "approve"), "by", json!(asker)));
        assert!(own.status == 403 && own.body.contains("asked for it"), "{asker}: {own:?}");
    }
    assert_eq!(house.hold(&op)["state"], "held");
    let gone = send(&house, &answer(&told("poor"), "deny"));
    assert_eq!(gone.status, 200, "a no costs nothing: {gone:?}");
    assert_eq!(shop.posts().len(), 0);
}

/// Two people must say yes.
fn of_two(receiver: &Receiver, shop: &Shop, of: &str) -> House {
    let text = text(shop, &chat(receiver, "chat", of), "");
    House::written(
        home(),
        &text.replace("queue: finance, expires", "approvers: 2, queue: finance, expires"),
        "",
    )
}

#[test]
fn one_chat_is_one_approver() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = of_two(&receiver, &shop, FINANCE);
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let told = receiver.until("/chat", 1).remove(0);
    let by = |who: &str| send(&house, &with(answer(&told, "approve"), "by", json!(who)));
    assert_eq!(by("ana").status, 200);
    for who in ["ana", "ben", "ops"] {
        let again = by(who);
        assert!(
            again.status == 409 && again.body.contains("takes somebody else"),
            "{who}: {again:?}"
        );
    }
    assert_eq!(house.hold(&op)["state"], "held");
    assert_eq!(house.approve(&op).code, 0, "the page is somebody else");
    house.until(&house.refund_call("A-1", "450.00", "k-1"), |reply| reply.status == 200);
    assert_eq!(shop.made_of("A-1"), 1);
}

#[test]
fn a_person_is_not_two_by_a_chat_and_a_page() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    for of in [FINANCE, "name: finance-chat, roles: [finance], people: each"] {
        let house = of_two(&receiver, &shop, of);
        let before = receiver.told().len();
        let order = format!("A-{before}");
        let op = house.refund(&order, "450.00", "k-1").operation();
        let told = receiver.until("/chat", before + 1).remove(before);
        let by = |who: &str| send(&house, &with(answer(&told, "approve"), "by", json!(who)));
        assert_eq!(by("Ops").status, 200);
        let page = house.approve(&op);
        assert!(page.code == 2 && page.err.contains("takes somebody else"), "{of}: {page:?}");
        let other = house.refund(&format!("{order}-2"), "450.00", "k-2").operation();
        let told = receiver.until("/chat", before + 2).remove(before + 1);
        assert_eq!(house.approve(&other).code, 0);
        let chat = send(&house, &with(answer(&told, "approve"), "by", json!("OPS")));
        assert_eq!(chat.status, 409, "{of}: {chat:?}");
        assert_eq!(house.hold(&other)["state"], "held");
    }
    assert_eq!(shop.posts().len(), 0);
}

#[test]
fn a_chat_that_knows_its_people_counts_them() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = of_two(&receiver, &shop, "name: chat, roles: [finance], people: each");
    house.refund("A-1", "450.00", "k-1");
    let told = receiver.until("/chat", 1).remove(0);
    let by = |who: &str| send(&house, &with(answer(&told, "approve"), "by", json!(who))).status;
    assert_eq!((by("ana"), by("ana"), by("ben")), (200, 409, 200));
    house.until(&house.refund_call("A-1", "450.00", "k-1"), |reply| reply.status == 200);
    let people: Vec<Value> =
        records(&house, "approved").iter().map(|one| one["by"].clone()).collect();
    assert_eq!(people, ["ana@chat", "ben@chat"]);
}

#[test]
fn an_answer_counts_at_every_replica_and_only_at_one() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let redis = Server::with(&["appendonly", "yes", "appendfsync", "always"]);
    let store = format!(
        "fleet: shop\nstore: {{ url: \"redis://127.0.0.1:{}\", encryption_key: file:seal.key }}",
        redis.port
    );
    let text = text(&shop, &chat(&receiver, "chat", FINANCE), "")
        .replace("store: embedded:data/store", &store);
    let here = House::replica_in(home(), &text, None, "");
    let there = House::replica_in(home(), &text, Some(&here), "");
    let held = refund("A-1", "450.00", "k-1").bearer(here.token());
    let mut op = held.send(&here.agents).unwrap();
    for _ in 0..300 {
        if op.code() == "approval_required" {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        op = held.send(&here.agents).unwrap();
    }
    let told = receiver.until("/chat", 1).remove(0);
    let yes = answer(&told, "approve");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let (house, yes) = (if n % 2 == 0 { &here } else { &there }, &yes);
                scope.spawn(move || send(house, yes).status)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    here.until(&held, |reply| reply.status == 200);
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(shop.made_of("A-1"), 1);
}

/// Who was asked first was told, too; passed on, it is somebody else's to answer.
#[test]
fn what_was_passed_on_is_answered_by_whom_it_was_passed_to() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let lead = chat(&receiver, "boss", "name: boss-chat, roles: [lead]");
    let text = text(&shop, &chat(&receiver, "chat", FINANCE), "").replace(
        "hooks: [",
        &format!("    remind: 1s\n    escalate: {{ after: 3s, to: lead }}\n  lead: {{ roles: [lead], notify: [ {lead} ] }}\nhooks: ["),
    );
    let house = House::written(home(), &text, "");
    house.refund("A-1", "450.00", "k-1");
    let asked = receiver.until("/chat", 2);
    assert_eq!((&*asked[0].news(), &*asked[1].news()), ("hold.created", "hold.reminder"));
    assert_ne!(asked[0].id(), asked[1].id());
    // The reminder may be answered as well, while it waits there.
    let no_reason = with(answer(&asked[1], "deny"), "reason", json!(""));
    assert_eq!(send(&house, &no_reason).status, 400);
    let passed = receiver.until("/boss", 1).remove(0);
    assert_eq!(
        (&*passed.news(), &passed.json()["data"]["queue"]),
        ("hold.escalated", &"lead".into())
    );
    assert_eq!(passed.json()["data"]["passed_on_from"], "finance");
    for old in &asked {
        let late = send(&house, &answer(old, "approve"));
        assert!(late.status == 403 && late.body.contains("is answered by lead"), "{late:?}");
    }
    assert_eq!((shop.posts().len(), send(&house, &answer(&passed, "approve")).status), (0, 200));
    house.until(&house.refund_call("A-1", "450.00", "k-1"), |reply| reply.status == 200);
    assert_eq!(records(&house, "approved")[0]["by"], "boss-chat");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((receiver.told_at("/boss").len(), shop.made_of("A-1")), (1, 1));
}

#[test]
fn a_late_answer_is_none() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let text =
        text(&shop, &chat(&receiver, "chat", FINANCE), "").replace("expires: 1h", "expires: 2s");
    let house = House::written(home(), &text, "");
    house.refund("A-1", "450.00", "k-1");
    let told = receiver.until("/chat", 1).remove(0);
    let expired = house.refund_call("A-1", "450.00", "k-1");
    house.until(&expired, |reply| reply.code() == "approval_expired");
    let late = send(&house, &answer(&told, "approve"));
    assert!(late.status == 409 && late.body.contains("does not wait any more"), "{late:?}");
    assert_eq!(shop.posts().len(), 0);
}

/// Approved, and held anew by another rule before it ran: what was said of the first hold is nothing to the
/// second, from whoever was told of both.
#[test]
fn an_answer_to_an_earlier_hold_is_none_to_the_next() {
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let text = text(&shop, &chat(&receiver, "chat", FINANCE), "");
    let mut house = House::written(home(), &text, "");
    let op = house.refund("A-1", "450.00", "k-1").operation();
    let old = receiver.until("/chat", 1).remove(0);
    assert_eq!(house.cli(&["freeze", "all", "--reason", "odd"]).code, 0);
    assert_eq!(send(&house, &answer(&old, "approve")).status, 200);
    assert_eq!(house.hold(&op)["state"], "approved");
    assert_eq!(house.stop(), Some(0));
    let rule = "@id(\"own.all\")\n@reason(\"everything is looked at\")\n@tell(\"a person looks at it\")\n\
                @hold(\"finance\")\nforbid (principal, action in Action::\"financial\", resource)\n\
                unless { context.approvals.contains(\"own.all\") };\n";
    std::fs::write(house.home.path().join("own.cedar"), rule).unwrap();
    let more = format!("{text}policies: {{ files: [own.cedar] }}\n");
    std::fs::write(house.home.path().join("tollhouse.yaml"), more).unwrap();
    house.again();
    let id = house.listed(&["freezes"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(house.cli(&["unfreeze", &id]).code, 0);
    let new = receiver.until("/chat", 2).remove(1);
    assert_eq!(new.json()["data"]["operation"], op);
    assert_ne!(new.id(), old.id());
    let replayed = send(&house, &answer(&old, "approve"));
    assert_eq!(replayed.status, 403, "{replayed:?}");
    let mixed = with(answer(&old, "approve"), "digest", answer(&new, "approve")["digest"].clone());
    assert_eq!(send(&house, &mixed).status, 403);
    assert_eq!((&house.hold(&op)["state"], shop.posts().len()), (&"held".into(), 0));
    let taken = send(&house, &answer(&new, "approve"));
    assert_eq!(taken.status, 200, "{taken:?}");
    house.until(&house.refund_call("A-1", "450.00", "k-1"), |reply| reply.status == 200);
    assert_eq!(shop.made_of("A-1"), 1);
}

/// The specification's own library verifies what we send, and signs what we take.
pub fn the_standard_library_agrees() {
    let program = "import sys, json; from standardwebhooks.webhooks import Webhook\n\
        from datetime import datetime, timezone\n\
        told = json.load(sys.stdin); hook = Webhook(told['key'])\n\
        data = hook.verify(told['body'], told['headers'])['data']\n\
        body = json.dumps({'operation': data['operation'], 'nonce': data['answer']['nonce'], 'answer': 'approve',\n\
            'digest': data['answer']['digest'], 'by': 'ana'})\n\
        now = datetime.now(timezone.utc)\n\
        print(json.dumps({'at': str(int(now.timestamp())), 'body': body, 'signature': hook.sign('msg_py', now, body)}))";
    let (shop, receiver) = (Shop::open(), Receiver::open());
    let house = open(&receiver, &shop, FINANCE);
    house.refund("A-1", "450.00", "k-1");
    let told = receiver.until("/chat", 1).remove(0);
    let headers: serde_json::Map<String, Value> =
        told.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let input = json!({ "key": KEY, "body": told.body, "headers": headers }).to_string();
    let mut python = std::process::Command::new(crate::support::python("python"))
        .args(["-c", program])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let ran = python.wait_with_output().unwrap();
    assert!(
        ran.status.success(),
        "standardwebhooks is missing (`./test sdk` installs it), or does not agree"
    );
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let member = |name: &str| said[name].as_str().unwrap().to_owned();
    let mut call = Call::new("POST", "/v1/answers");
    call.body = member("body");
    let call = call
        .header("webhook-id", "msg_py")
        .header("webhook-timestamp", &member("at"))
        .header("webhook-signature", &member("signature"));
    let taken = call.send(&house.operator().0).unwrap();
    assert_eq!(taken.status, 200, "{taken:?}");
}

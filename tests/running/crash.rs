//! `kill -9` at any moment: what was answered is known, what was not is never sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::agent::Reply;
use crate::support::house::House;
use crate::support::shop::{Play, Shop};

/// Refunds one after the other and all at once, each of an order of its own; the house is killed when
/// so many were answered and one more is at the shop.
fn round(house: &mut House, shop: &Shop, round: usize, answered: usize) -> [usize; 3] {
    shop.play(Play::Slow(Duration::from_millis(120)));
    let url: Arc<str> = house.agents.as_str().into();
    let count = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..12)
        .map(|n| {
            let order = format!("A-{round}-{n}");
            (order.clone(), house.refund_call(&order, "25.00", &format!("k-{round}-{n}")))
        })
        .collect();
    let agents: Vec<_> = calls
        .iter()
        .enumerate()
        .map(|(n, (_, call))| {
            let (call, url, count) = (call.clone(), Arc::clone(&url), Arc::clone(&count));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(60 * n as u64));
                let answer = call.send(&url);
                count.fetch_add(1, Ordering::SeqCst);
                answer
            })
        })
        .collect();
    let begun = shop.made().len();
    for _ in 0..4_000 {
        if count.load(Ordering::SeqCst) >= answered && shop.made().len() - begun > answered {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    house.process.kill();
    let answers: Vec<_> = agents.into_iter().map(|agent| agent.join().unwrap().ok()).collect();
    house.again();
    shop.play(Play::Answer);

    let mut seen = [0; 3];
    for ((order, call), answer) in calls.iter().zip(answers) {
        let before = shop.made_of(order);
        let again = call.send(&house.agents).unwrap();
        let kind = match answer {
            Some(answer) => {
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(
                    (again.status, &again.body),
                    (200, &answer.body),
                    "{order} was forgotten"
                );
                assert_eq!(again.header("idempotent-replayed"), Some("true"));
                0
            }
            None if before == 1 => {
                assert!(is_unknown(&again) || is_replayed(&again), "{order}: {again:?}");
                1
            }
            None => {
                // Nothing had left, or nothing had come in: it is unknown, or runs now for the first time.
                assert!(is_unknown(&again) || again.status == 200, "{order}: {again:?}");
                2
            }
        };
        seen[kind] += 1;
        assert!(shop.made_of(order) <= 1, "{order} was refunded twice");
        if again.status == 200 {
            assert_eq!(shop.made_of(order), 1, "{order}: an answer without an effect");
        }
        let once_more = call.send(&house.agents).unwrap();
        assert_eq!(once_more.status, again.status);
        assert!(shop.made_of(order) <= 1, "{order} was refunded twice");
    }
    seen
}

fn is_unknown(reply: &Reply) -> bool {
    reply.status == 409 && reply.code() == "outcome_unknown"
}

fn is_replayed(reply: &Reply) -> bool {
    reply.status == 200 && reply.header("idempotent-replayed") == Some("true")
}

#[test]
fn a_kill_loses_nothing_that_was_answered_and_resends_nothing() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    let mut all = [0; 3];
    for (n, answered) in [0, 1, 3, 6].into_iter().enumerate() {
        let seen = round(&mut house, &shop, n, answered);
        for (all, seen) in all.iter_mut().zip(seen) {
            *all += seen;
        }
        let verified = house.verify();
        assert_eq!(verified.code, 0, "{verified:?}");
    }
    assert!(all.iter().all(|seen| *seen > 0), "answered, under way, not begun: {all:?}");
    let keys: Vec<_> = shop.made().into_iter().map(|made| made.key).collect();
    let mut unique = keys.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), keys.len(), "a key was sent twice");
}

#[test]
fn a_kill_between_approval_and_sending_runs_it_once() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    let held = house.refund("A-1", "450.00", "k-1");
    assert_eq!(held.code(), "approval_required", "{held:?}");
    // Frozen, so that what is approved is surely not sent before the kill.
    assert_eq!(house.cli(&["freeze", "action/orders.refund.create", "--reason", "look"]).code, 0);
    assert_eq!(house.approve(&held.operation()).code, 0);
    house.crash();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(shop.made_of("A-1"), 0, "a freeze did not outlive the crash");
    let freezes = house.listed(&["freezes"]);
    assert_eq!(house.cli(&["unfreeze", freezes[0]["id"].as_str().unwrap()]).code, 0);
    let call = house.refund_call("A-1", "450.00", "k-1");
    let done = house.until(&call, |reply| reply.status == 200);
    assert_eq!(done.json()["amount"], "450.00");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(shop.made_of("A-1"), 1);
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_kill_right_after_an_approval_runs_it_at_most_once() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    for n in 0..3_u64 {
        let (order, key) = (format!("A-{n}"), format!("k-{n}"));
        let held = house.refund(&order, "450.00", &key);
        shop.play(Play::Slow(Duration::from_millis(30 * n)));
        assert_eq!(house.approve(&held.operation()).code, 0);
        house.crash();
        let call = house.refund_call(&order, "450.00", &key);
        let end = house.until(&call, |reply| reply.status == 200 || is_unknown(reply));
        let made = shop.made_of(&order);
        assert!(made <= 1 && (end.status != 200 || made == 1), "{made} for {end:?}");
    }
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_store_that_was_lost_is_told_from_a_new_one_and_nothing_is_done_twice() {
    let shop = Shop::open();
    let mut house = House::quick(&shop);
    assert_eq!(house.cli(&["store", "show"]).out, "The store knows what it knew.\n");
    assert_eq!(house.refund("A-1", "25.00", "done").status, 200);
    shop.play(Play::Drop);
    let lost = house.refund("A-2", "25.00", "open");
    assert_eq!(lost.code(), "outcome_unknown", "{lost:?}");
    shop.play(Play::Answer);
    house.process.kill();
    std::fs::remove_file(house.state().join("store/store.redb")).unwrap();
    house.again();

    let shown = house.cli(&["store", "show"]);
    assert!(shown.code == 1 && shown.out.starts_with("The store lost what it knew"), "{shown:?}");
    // What may have happened is back, and in nobody's way twice.
    let again = house.refund("A-2", "25.00", "open");
    assert_eq!((again.code(), again.operation()), ("outcome_unknown".into(), lost.operation()));
    // What was done is not known any more: money waits for a person.
    for key in ["done", "another"] {
        let held = house.refund("A-1", "25.00", key);
        assert_eq!((held.status, &*held.code()), (403, "approval_required"), "{held:?}");
        assert_eq!(held.json()["policies"], serde_json::json!(["store.lost"]));
    }
    assert_eq!(house.get("/orders/A-1").status, 200, "reads go on");
    assert_eq!(shop.made_of("A-1"), 1);
    // It stays so until somebody has seen to it, whoever starts it again.
    house.crash();
    assert_eq!(house.cli(&["store", "show"]).code, 1);
    let cleared = house.cli(&["store", "clear", "--reason", "compared with the shop"]);
    assert_eq!((cleared.code, house.cli(&["store", "show"]).code), (0, 0), "{cleared:?}");
    assert_eq!(house.refund("A-3", "25.00", "new").status, 200);
    let verified = house.verify();
    assert_eq!(verified.code, 0, "{verified:?}");
}

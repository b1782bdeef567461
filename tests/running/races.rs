//! Whoever races over a hold: one effect at most, and everybody is told the same. One process on its own
//! store, and two replicas before one Redis.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fleet::{DURABLE, store, until_ready};
use crate::support::agent::{Call, Reply};
use crate::support::house::{House, configuration};
use crate::support::redis::Server;
use crate::support::shop::Shop;

/// Whoever serves, and what goes with them.
struct Stand {
    shop: Shop,
    houses: Vec<House>,
    _redis: Option<Server>,
}

const USUAL: &str = "{ queue: finance, expires: 1h }";

/// A second person beside the usual operator.
const BEN: &str = "a-token-of-ben-of-some-length";

fn ben() -> String {
    format!("BEN={BEN}")
}

fn terms(text: &str, approval: &str) -> String {
    let tokens = "tokens: [ { name: ben, roles: [finance], token: env:BEN, approves: true }, {";
    assert!(text.contains(USUAL) && text.contains("tokens: [ {"));
    text.replace(USUAL, approval).replacen("tokens: [ {", tokens, 1)
}

impl Stand {
    /// Under the usual contracts with another `approval:`, or as they are.
    fn alone(approval: &str) -> Self {
        let shop = Shop::open();
        let text = terms(&configuration(&shop.url(), ""), approval);
        let house = House::written(tempfile::tempdir().unwrap(), &text, &ben());
        Self { shop, houses: vec![house], _redis: None }
    }

    fn fleet(approval: &str) -> Self {
        let (shop, redis) = (Shop::open(), Server::with(DURABLE));
        let text = terms(&configuration(&shop.url(), ""), approval);
        let text = text.replace("store: embedded:data/store", &store(redis.port, ""));
        let home = || tempfile::tempdir().unwrap();
        let here = House::replica_in(home(), &text, None, &ben());
        let there = House::replica_in(home(), &text, Some(&here), &ben());
        until_ready(&here);
        until_ready(&there);
        Self { shop, houses: vec![here, there], _redis: Some(redis) }
    }

    fn each() -> [Self; 2] {
        [Self::alone(USUAL), Self::fleet(USUAL)]
    }

    fn house(&self, nth: usize) -> &House {
        &self.houses[nth % self.houses.len()]
    }

    /// A refund that waits: its operation and what an answer must name.
    fn held(&self, order: &str) -> (String, Value) {
        let held = self.house(0).refund(order, "450.00", order);
        assert_eq!(held.code(), "approval_required", "{held:?}");
        let op = held.operation();
        let digest = self.house(0).hold(&op)["digest"].clone();
        (op, digest)
    }

    /// Does all of it at once; what each came to.
    fn at_once(&self, acts: Vec<Act>) -> Vec<u16> {
        std::thread::scope(|scope| {
            let run =
                |(nth, act): (usize, Act)| scope.spawn(move || act.done(self.house(nth)).status);
            let threads: Vec<_> = acts.into_iter().enumerate().map(run).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Nothing of it goes on any more: how it ended, and how often the shop did it.
    fn ended(&self, order: &str, op: &str) -> (String, usize) {
        let path = format!("/v1/operations/{op}");
        let start = Instant::now();
        loop {
            let one = self.house(0).console(Call::new("GET", &path)).json();
            let state = one["state"].as_str().unwrap().to_owned();
            if ["done", "refused"].contains(&&*state) {
                // A second effect would come with the next turn of the sweep.
                std::thread::sleep(Duration::from_millis(1_200));
                return (state, self.shop.made_of(order));
            }
            assert!(start.elapsed() < Duration::from_secs(15), "{one}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the agent is told, whoever it asks.
    fn told(&self, order: &str) -> Vec<Reply> {
        let call = self.house(0).refund_call(order, "450.00", order);
        self.houses.iter().map(|house| call.send(&house.agents).unwrap()).collect()
    }
}

/// One thing that somebody does to a hold.
#[derive(Clone)]
enum Act {
    Approve(String, Value),
    ByBen(String, Value),
    Deny(String),
    Withdraw(String, String),
    Freeze,
    After(Duration, Box<Act>),
}

impl Act {
    fn done(self, house: &House) -> Reply {
        match self {
            Self::Approve(op, digest) => {
                let path = format!("/v1/holds/{op}/approve");
                house.console(Call::new("POST", &path).json(&json!({ "digest": digest })))
            }
            Self::ByBen(op, digest) => {
                let path = format!("/v1/holds/{op}/approve");
                let call = Call::new("POST", &path).json(&json!({ "digest": digest }));
                call.bearer(BEN).send(&house.operator().0).unwrap()
            }
            Self::Deny(op) => {
                let path = format!("/v1/holds/{op}/deny");
                house.console(Call::new("POST", &path).json(&json!({ "reason": "not this one" })))
            }
            Self::Withdraw(op, token) => {
                let path = format!("/.tollhouse/v1/operations/{op}");
                Call::new("DELETE", &path).bearer(&token).send(&house.agents).unwrap()
            }
            Self::Freeze => {
                let scope = json!({ "scope": ["class/financial"], "reason": "race" });
                house.console(Call::new("POST", "/v1/freezes").json(&scope))
            }
            Self::After(span, act) => {
                std::thread::sleep(span);
                act.done(house)
            }
        }
    }
}

#[test]
fn fifty_approvals_at_once_are_one_effect() {
    for stand in Stand::each() {
        let (op, digest) = stand.held("A-1");
        let said = stand.at_once(vec![Act::Approve(op.clone(), digest); 50]);
        assert_eq!(said.iter().filter(|status| **status == 200).count(), 1, "{said:?}");
        assert!(said.iter().all(|status| [200, 409].contains(status)), "{said:?}");
        assert_eq!(stand.ended("A-1", &op), ("done".to_owned(), 1));
        for told in stand.told("A-1") {
            assert_eq!((told.status, told.header("idempotent-replayed")), (200, Some("true")));
        }
    }
}

#[test]
fn where_two_must_say_yes_fifty_are_one_effect_and_two_count() {
    let approval = "{ queue: finance, expires: 1h, approvers: 2 }";
    for stand in [Stand::alone(approval), Stand::fleet(approval)] {
        let (op, digest) = stand.held("A-1");
        let one = Act::Approve(op.clone(), digest.clone()).done(stand.house(0));
        assert_eq!((one.status, &one.json()["state"]), (200, &"held".into()), "{one:?}");
        std::thread::sleep(Duration::from_millis(1_200));
        assert_eq!(stand.shop.made_of("A-1"), 0, "one of two is none");
        let acts = (0..50).map(|nth| match nth % 2 {
            0 => Act::Approve(op.clone(), digest.clone()),
            _ => Act::ByBen(op.clone(), digest.clone()),
        });
        let said = stand.at_once(acts.collect());
        assert_eq!(said.iter().filter(|status| **status == 200).count(), 1, "{said:?}");
        assert!(said.iter().all(|status| [200, 409].contains(status)), "{said:?}");
        assert_eq!(stand.ended("A-1", &op), ("done".to_owned(), 1));
        let path = format!("/v1/operations/{op}");
        let end = stand.house(0).console(Call::new("GET", &path)).json();
        assert_eq!(end["approved_by"], "ops, ben", "{end}");
    }
}

#[test]
fn a_yes_against_the_deadline_is_one_of_them() {
    let approval = "{ queue: finance, expires: 1s }";
    for stand in [Stand::alone(approval), Stand::fleet(approval)] {
        for round in 0..4_u64 {
            let order = format!("A-{round}");
            let (op, digest) = stand.held(&order);
            let start = Instant::now();
            let acts = (0..8_u64).map(|nth| {
                // Around the second that it has.
                let at = Duration::from_millis(960 + 10 * nth).saturating_sub(start.elapsed());
                Act::After(at, Box::new(Act::Approve(op.clone(), digest.clone())))
            });
            let said = stand.at_once(acts.collect());
            let (state, made) = stand.ended(&order, &op);
            let yes = said.iter().filter(|status| **status == 200).count();
            assert_eq!((yes, made), (made, usize::from(state == "done")), "{said:?} {state}");
            for told in stand.told(&order) {
                let code = if state == "done" { "" } else { "approval_expired" };
                assert_eq!(&*told.code(), code, "{told:?}");
            }
        }
    }
}

#[test]
fn a_yes_against_a_no_is_one_of_them_for_everybody() {
    for stand in Stand::each() {
        for round in 0..6 {
            let order = format!("A-{round}");
            let (op, digest) = stand.held(&order);
            let yes = || Act::Approve(op.clone(), digest.clone());
            let no = || Act::Deny(op.clone());
            let pause = Duration::from_millis(round);
            let acts = match round % 2 {
                0 => vec![yes(), Act::After(pause, Box::new(no())), yes(), no()],
                _ => vec![no(), Act::After(pause, Box::new(yes())), no(), yes()],
            };
            let said = stand.at_once(acts);
            let well = said.iter().filter(|status| **status == 200).count();
            assert_eq!(well, 1, "one answer counts: {said:?}");
            let (state, made) = stand.ended(&order, &op);
            assert_eq!(made, usize::from(state == "done"), "{state}");
            for told in stand.told(&order) {
                let code = if state == "done" { "" } else { "approval_denied" };
                assert_eq!(&*told.code(), code, "{told:?}");
            }
        }
    }
}

#[test]
fn a_yes_against_a_withdrawal_is_one_of_them() {
    for stand in Stand::each() {
        for round in 0..6 {
            let order = format!("A-{round}");
            let (op, digest) = stand.held(&order);
            let token = stand.house(0).token().to_owned();
            let said = stand.at_once(vec![
                Act::Approve(op.clone(), digest),
                Act::After(
                    Duration::from_millis(round),
                    Box::new(Act::Withdraw(op.clone(), token)),
                ),
            ]);
            let (state, made) = stand.ended(&order, &op);
            assert_eq!(said.iter().filter(|status| **status == 200).count(), 1, "{said:?}");
            assert_eq!(made, usize::from(said[0] == 200), "{said:?} {state}");
            assert_eq!(state == "done", said[0] == 200, "{said:?}");
        }
    }
}

#[test]
fn a_yes_against_a_freeze_sends_nothing_after_it() {
    for stand in Stand::each() {
        for round in 0..4 {
            let order = format!("A-{round}");
            let (op, digest) = stand.held(&order);
            stand.at_once(vec![Act::Approve(op.clone(), digest), Act::Freeze]);
            std::thread::sleep(Duration::from_millis(1_200));
            let before = stand.shop.made_of(&order);
            std::thread::sleep(Duration::from_millis(1_200));
            assert_eq!(stand.shop.made_of(&order), before, "sent under a freeze");
            for freeze in stand.house(0).listed(&["freezes"]).as_array().unwrap() {
                assert_eq!(
                    stand.house(0).cli(&["unfreeze", freeze["id"].as_str().unwrap()]).code,
                    0
                );
            }
            assert_eq!(
                stand.ended(&order, &op),
                ("done".to_owned(), 1),
                "the approval still stands"
            );
        }
    }
}

#[test]
fn a_kill_between_the_last_yes_and_sending_runs_it_once() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let mut house = House::replica(&shop.url(), &store(redis.port, ""), None);
    until_ready(&house);
    let held = house.refund("A-1", "450.00", "k-1");
    let op = held.operation();
    // Frozen, so that what is approved is surely not sent before the kill.
    assert_eq!(house.cli(&["freeze", "class/financial", "--reason", "look"]).code, 0);
    assert_eq!(house.approve(&op).code, 0);
    house.crash();
    until_ready(&house);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(shop.made_of("A-1"), 0, "a freeze did not outlive the crash");
    let freezes = house.listed(&["freezes"]);
    assert_eq!(house.cli(&["unfreeze", freezes[0]["id"].as_str().unwrap()]).code, 0);
    let call = house.refund_call("A-1", "450.00", "k-1");
    let done = house.until(&call, |reply| reply.status == 200);
    assert_eq!(done.operation(), op);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(shop.made_of("A-1"), 1);
    assert_eq!(house.verify().code, 0);
}

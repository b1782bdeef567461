//! Many at once, without any fault: one effect for one intent, and never more than was paid.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Barrier;
use std::time::Duration;

use super::drive::{Intent, Style};
use super::stand::{Stand, Weather};
use super::vendor::{Mode, PAID, Vendor};
use crate::support::agent::Reply;

const SEED: u64 = 7;

fn intent(mode: Mode, number: u64, sale: &str, minor: i64) -> Intent {
    let (note, sale) = (format!("i{number}"), format!("ann-{sale}"));
    Intent { number, note, mode, customer: "ann", sale, minor, style: Style::SameKey }
}

/// All of these at the same moment, over every replica.
fn at_once(stand: &Arc<Stand>, asked: &[(Intent, String)]) -> Vec<Reply> {
    let (gate, token) = (Barrier::new(asked.len()), stand.token("ann"));
    std::thread::scope(|scope| {
        let one = |(at, (intent, key)): (usize, &(Intent, String))| {
            let (call, url) = (intent.call(key, token), stand.agents(at as u64));
            let gate = &gate;
            scope.spawn(move || {
                gate.wait();
                until_told(|| call.send(&url).unwrap())
            })
        };
        let asked: Vec<_> = asked.iter().enumerate().map(one).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// What an agent is told in the end, that waits as it is asked to.
fn until_told(ask: impl Fn() -> Reply) -> Reply {
    for _ in 0..200 {
        let reply = ask();
        if reply.code() != "in_flight" {
            return reply;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it is in flight for ever");
}

/// 64 times the same, under one key or as many: one effect, and everybody is told the same.
pub fn duplicates(stand: &Arc<Stand>, vendor: &Vendor) {
    for (round, keys) in [1, 64].into_iter().enumerate() {
        for mode in Mode::ALL {
            let same = intent(mode, round as u64, &format!("many-{keys}"), 5_00);
            let asked: Vec<_> =
                (0..64).map(|n| (same.clone(), format!("k{}-{round}", n % keys))).collect();
            let replies = at_once(stand, &asked);
            let bodies: BTreeSet<&String> = replies.iter().map(|reply| &reply.body).collect();
            assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
            assert_eq!((replies.len(), bodies.len()), (64, 1), "{bodies:?}");
            let first = |reply: &&Reply| reply.header("idempotent-replayed").is_none();
            assert_eq!(replies.iter().filter(first).count(), 1, "{mode:?} {keys}");
            let made = vendor.effects();
            let made = made.iter().filter(|e| e.mode == mode && e.sale == same.sale).count();
            assert_eq!(made, 1, "{mode:?} under {keys} keys");
        }
    }
}

/// Fifty different refunds of one payment: as many as it has room for, to the cent.
pub fn partial_refunds(stand: &Arc<Stand>, vendor: &Vendor) {
    for mode in Mode::ALL {
        let asked: Vec<_> =
            (0..50).map(|n| (intent(mode, 1_000 + n, "partial", 9_00), format!("p{n}"))).collect();
        let replies = at_once(stand, &asked);
        let yes = replies.iter().filter(|reply| reply.status == 200).count();
        let no = replies.iter().filter(|reply| reply.code() == "forbidden").count();
        let effects = vendor.effects();
        let made: Vec<i64> = effects
            .iter()
            .filter(|e| e.mode == mode && e.sale == "ann-partial")
            .map(|e| e.minor)
            .collect();
        assert!(made.iter().sum::<i64>() <= PAID, "{mode:?}: {made:?}");
        assert_eq!((yes, yes + no), (made.len(), 50), "{mode:?}: {replies:?}");
        assert_eq!(yes, 22, "there was room for so many");
    }
}

#[test]
fn sixty_four_duplicates_are_one_effect_and_sixty_four_equal_answers() {
    let vendor = Vendor::open(SEED);
    duplicates(&Stand::embedded(&vendor, SEED, Weather::Fair), &vendor);
}

#[test]
fn fifty_partial_refunds_at_once_never_exceed_the_payment() {
    let vendor = Vendor::open(SEED);
    partial_refunds(&Stand::embedded(&vendor, SEED, Weather::Fair), &vendor);
}

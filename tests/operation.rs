//! One key, one effect: every order of events, over the real step.
//!
//! Breadth first through two proxies, a network that delays, a vendor, crashes, leases that end, people
//! and freezes; each state is held to the invariants. Then each guard is taken out in turn, and the
//! search must find what it was for. And budgets against an exact oracle, over random histories.

mod history;
mod windows;
mod world;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use world::{Mutant, Setup, World};

/// What a search found.
struct Found {
    states: usize,
    broken: Option<(String, Vec<String>)>,
}

/// Every state that can be reached, nearest first; stops at the first broken invariant.
fn search(setup: &Setup) -> Found {
    // BOUND: 128 bits of hash stand for a state; some 10^5 states never collide.
    let key = |world: &World| {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        u128::from(hasher.hash_one(world)) << 64 | u128::from(hasher.hash_one((1_u8, world)))
    };
    let first = World::new(setup);
    let mut seen = HashSet::from([key(&first)]);
    let mut steps: Vec<(usize, String)> = vec![(0, "start".to_owned())];
    let mut queue = VecDeque::from([(0_usize, first)]);
    while let Some((at, world)) = queue.pop_front() {
        for (label, next) in world.next(setup) {
            let broken = next.as_ref().err().cloned().or_else(|| next.as_ref().ok()?.broken(setup));
            if let Some(why) = broken {
                let mut trace = vec![label];
                let mut from = at;
                while from != 0 {
                    trace.push(steps[from].1.clone());
                    from = steps[from].0;
                }
                trace.reverse();
                return Found { states: seen.len(), broken: Some((why, trace)) };
            }
            let next = next.unwrap();
            if seen.insert(key(&next)) {
                steps.push((at, label));
                queue.push_back((steps.len() - 1, next));
            }
        }
    }
    Found { states: seen.len(), broken: None }
}

fn holds(name: &str, setup: &Setup) {
    let found = search(setup);
    println!("{name:44} {:7} states, all invariants hold", found.states);
    assert_eq!(found.broken, None, "{name}");
    assert!(found.states > 500, "{name}: the search saw {} states only", found.states);
}

fn is_caught(name: &str, setup: &Setup, mutant: Mutant, invariant: &str) {
    let found = search(&Setup { mutant: Some(mutant), ..*setup });
    let (why, trace) = found.broken.unwrap_or_else(|| panic!("{name} was not caught"));
    println!("mutant {name:37} {:7} states, {why}: {}", found.states, trace.join("; "));
    assert!(why.starts_with(invariant), "{name} broke {why}, not {invariant}");
}

/// One key, two proxies, no vendor's keys, so nothing may ever be sent twice.
const ONE: Setup = Setup {
    calls: 1,
    native: false,
    held: false,
    approvers: 1,
    crashes: 2,
    expiries: 2,
    losses: 0,
    freezes: 0,
    changes: 0,
    grants: 3,
    looks: 0,
    mutant: None,
};
/// The same with a vendor that honours keys: an unknown may be resent.
const NATIVE: Setup = Setup { native: true, looks: 1, crashes: 1, ..ONE };
/// An unknown is looked for by two at once, and may be resent meanwhile.
const SOUGHT: Setup = Setup { looks: 2, grants: 1, ..NATIVE };
/// Two different refunds of one charge: 60 and 50 of 100.
const TWO: Setup = Setup { calls: 2, crashes: 1, expiries: 1, grants: 2, ..ONE };
/// A call that a person must approve, while rules change and somebody freezes.
const HELD: Setup =
    Setup { held: true, crashes: 1, expiries: 1, freezes: 1, changes: 2, grants: 2, ..ONE };
/// The same where two people must say yes.
const PAIR: Setup = Setup { approvers: 2, freezes: 0, crashes: 0, ..HELD };
/// The store loses everything once.
const LOSS: Setup = Setup { losses: 1, crashes: 0, expiries: 1, grants: 2, ..NATIVE };

#[test]
fn one_key_is_one_effect() {
    holds("one key, a vendor without keys", &ONE);
}

#[test]
fn one_key_is_one_effect_when_unknowns_are_resent() {
    holds("one key, a vendor that honours keys", &NATIVE);
}

#[test]
fn what_is_looked_for_is_found_once() {
    holds("an unknown is looked for, no keys", &Setup { native: false, ..SOUGHT });
    holds("an unknown is looked for and resent", &SOUGHT);
    let freezes = Setup { freezes: 1, expiries: 1, ..SOUGHT };
    holds("an unknown is looked for, and frozen", &freezes);
}

#[test]
fn two_refunds_of_one_charge_never_exceed_it() {
    holds("two refunds of one charge", &TWO);
}

#[test]
fn a_held_call_is_sent_after_a_yes_to_exactly_it() {
    holds("held, approved, rules change, freezes", &HELD);
    holds("held for two people, rules change", &PAIR);
}

#[test]
fn a_vendors_keys_outlive_the_store() {
    holds("the store is lost, the vendor's keys are not", &LOSS);
}

#[test]
fn a_freeze_stops_what_has_not_left() {
    holds("a freeze at any moment", &Setup { freezes: 1, crashes: 1, expiries: 1, ..ONE });
}

#[test]
fn every_guard_is_needed() {
    is_caught("no fencing", &NATIVE, Mutant::NoFencing, "I4");
    is_caught("blind retry of an expired submitted", &ONE, Mutant::BlindRetry, "I4");
    is_caught("no durable submitted mark", &ONE, Mutant::NoMark, "I8");
    is_caught("random upstream key", &NATIVE, Mutant::RandomKey, "I1");
    is_caught("a 4xx on a resend settles", &NATIVE, Mutant::ResendSaysNo, "I4");
    is_caught("counter fences after store loss", &LOSS, Mutant::CounterFence, "fence");
    is_caught("recall after facts", &TWO, Mutant::RecallAfterFacts, "I13");
    is_caught("resource version ignored", &TWO, Mutant::VersionIgnored, "I13");
    is_caught("approval by queue instead of by policy", &HELD, Mutant::ApprovalByQueue, "I12");
    is_caught("approval without its digest", &HELD, Mutant::AnyDigest, "I12");
    is_caught("one yes of two", &PAIR, Mutant::OneOfTwo, "I12");
    is_caught("a yes of before it was held anew", &PAIR, Mutant::OldYes, "I12");
    is_caught("a look that others have overtaken", &SOUGHT, Mutant::AnyLooker, "I4");
    is_caught("a sender that outlives its lease", &SOUGHT, Mutant::SendsLate, "I4");
    is_caught("a look before it must show", &SOUGHT, Mutant::EarlyAbsence, "I4");
    is_caught("freezes only from a copy", &HELD, Mutant::FreezeByCopy, "I11");
}

#[test]
#[ignore = "a minute: cargo test --release --test main -- --ignored operation::larger"]
fn larger_worlds_hold_as_well() {
    let sought = Setup { looks: 3, grants: 2, ..SOUGHT };
    holds("three looks, two grants", &sought);
    holds("three looks, the vendor honours keys", &Setup { looks: 3, ..NATIVE });
    holds("three looks after a loss", &Setup { looks: 3, ..LOSS });
}

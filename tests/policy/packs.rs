//! The shipped packs under the shipped set: they load together, and their actions share profiles.

use std::sync::Arc;
use std::time::Instant;

use tollhouse::action::Action;
use tollhouse::catalog::pack;
use tollhouse::policy::{ConsentRule, Contracts, Load, Policy, Shipped};

use super::support::{Given, contracts};

fn shipped() -> Vec<Arc<Action>> {
    let packs = pack::SHIPPED.iter().map(|(name, text)| pack::read(name, text).unwrap());
    packs.flat_map(|pack| pack.actions().to_vec()).collect()
}

fn load(actions: &[Arc<Action>], contracts: &Contracts, files: &[(String, String)]) -> Policy {
    let load = Load {
        actions: actions.to_vec(),
        contracts,
        files,
        queues: vec!["finance".into()],
        shipped: Shipped::Applied,
        consent: ConsentRule::IfPresent,
    };
    Policy::load(&load).unwrap_or_else(|errors| panic!("{errors}"))
}

const CONTRACT: &str = "stripe.refund.create: { cap: { auto: [100.00 USD, 90.00 EUR] }, \
                        window: { since: purchased_at, max: 30d }, \
                        assume: { charge.disputed: false }, approval: { queue: finance } }";

#[test]
fn the_shipped_packs_load_under_the_shipped_set() {
    let actions = shipped();
    assert!(actions.len() > 452, "{} actions", actions.len());
    let policy = load(&actions, &contracts(CONTRACT), &[]);
    for action in &actions {
        assert!(policy.shown(&action.name).is_some(), "{}", action.name);
    }
    // Every rule about money applies to a Stripe refund: its pack declares all they ask for.
    let refund = policy.shown("stripe.refund.create").unwrap();
    assert_eq!(refund.missing, Vec::new());
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `cargo test --release --test main policy::packs -- --ignored --nocapture` prints the figures.
#[test]
#[ignore = "figures, not a judgement"]
fn figures() {
    let actions = shipped();
    let contracts = contracts(CONTRACT);
    for turn in 0..4 {
        let (started, before) = (Instant::now(), resident_kib());
        let policy = load(&actions, &contracts, &[]);
        let (took, more) = (started.elapsed(), resident_kib().saturating_sub(before));
        println!("load {turn}: {} actions, {took:?}, {more} KiB", actions.len());
        for (name, minor) in [
            ("stripe.refund.create", 5_000),
            ("stripe.refund.create", 50_000),
            ("stripe.charge.retrieve", 0),
        ] {
            let action = actions.iter().find(|action| &*action.name == name).unwrap();
            let mut given = Given::of(Arc::clone(action));
            if let Some(amount) = given.resolved.amount.as_mut() {
                amount.minor = minor;
            }
            let mut took: Vec<_> = (0..2_000)
                .map(|_| {
                    let started = Instant::now();
                    let decided = policy.decide(&given.question());
                    let took = started.elapsed();
                    std::hint::black_box(&decided);
                    took
                })
                .collect();
            took.sort();
            let decided = policy.decide(&given.question()).map_err(|refusal| refusal.why);
            println!("  {name} {minor}: p50 {:?} p99 {:?} {decided:?}", took[1_000], took[1_980]);
        }
        std::mem::forget(policy);
    }
}

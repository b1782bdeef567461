//! What a process that dies, or a store that is away, leaves of what was to be counted.

use std::sync::Arc;
use std::time::Duration;

use tollhouse::alarm::Alarms;
use tollhouse::call::Body;
use tollhouse::store::Freeze;
use tollhouse::yaml::{self, Faults};

use super::play::request;
use super::tree::{get, over};
use super::world::World;

fn world(more: &str) -> Arc<World> {
    let path = format!("{}/tests/cases/given.yaml", env!("CARGO_MANIFEST_DIR"));
    let given = yaml::read("given.yaml", &std::fs::read_to_string(path).unwrap()).unwrap();
    let more = yaml::read("more.yaml", more).unwrap();
    World::new(&over(get(&given, "stripe").unwrap(), &more, &[]), "given.yaml")
}

/// A refund, without what a process does in the background; its code.
async fn refund(world: &Arc<World>, charge: &str, amount: u32) -> String {
    let step = format!("{{ send: POST /v1/refunds, form: \"charge={charge}&amount={amount}\" }}");
    let answer = world.gate().handle(request(world, &yaml::read("step", &step).unwrap())).await;
    let Body::Whole(body) = &answer.body else { panic!("it streams") };
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    format!("{} {}", answer.status, body["code"].as_str().unwrap_or_default())
}

fn on(world: &World) -> usize {
    let (brakes, now) = (world.gate().store.brakes(), world.gate().store.now());
    brakes.iter().filter(|one| one.is_brake(now)).count()
}

const FEW: &str = "brakes: [ { name: few, watch: refunds, per: agent, over: 2, within: 10m } ]";
const MINUTE: Duration = Duration::from_secs(60);
const HELD: &str = "403 approval_required";

#[tokio::test]
async fn a_process_that_dies_before_it_puts_the_brake_on_is_healed_by_the_next_call() {
    let world = world(FEW);
    assert_eq!(refund(&world, "ch_1", 1_000).await, "200 ");
    assert_eq!(refund(&world, "ch_3", 1_000).await, "200 ");
    assert_eq!(refund(&world, "ch_4", 1_000).await, HELD);
    assert!(!world.gate().alarms.pending.take().is_empty(), "died with this");
    world.gate().count_pending().await;
    assert_eq!(on(&world), 0);
    // It was held all the same, and so is the next, which puts the brake on.
    assert_eq!(refund(&world, "ch_4", 1_100).await, HELD);
    world.gate().count_pending().await;
    assert_eq!(on(&world), 1);
}

#[tokio::test]
async fn one_that_is_lifted_meanwhile_is_not_put_on_by_what_came_before() {
    let world = world(FEW);
    refund(&world, "ch_1", 1_000).await;
    refund(&world, "ch_3", 1_000).await;
    assert_eq!(refund(&world, "ch_4", 1_000).await, HELD);
    world.gate().count_pending().await;
    let id = world.gate().store.brakes()[0].id.clone();
    // Another replica still had it on when it held this one.
    assert_eq!(refund(&world, "ch_4", 1_100).await, HELD);
    assert!(world.gate().store.unfreeze(&id).await.unwrap().is_some());
    world.gate().count_pending().await;
    assert_eq!(on(&world), 0);
    assert!(world.gate().store.unfreeze(&id).await.unwrap().is_none(), "it is lifted once");
}

#[tokio::test]
async fn a_brake_whose_end_came_while_nobody_looked_is_put_away_if_it_is_quiet_and_else_on_again() {
    for (turn, is_quiet) in [(5 * MINUTE, false), (11 * MINUTE, true)] {
        let world = world(&FEW.replace("10m }", "10m, quiet: 5m }"));
        for (charge, amount) in [("ch_1", 1_000), ("ch_3", 1_000), ("ch_4", 1_000)] {
            refund(&world, charge, amount).await;
        }
        world.gate().count_pending().await;
        assert_eq!(on(&world), 1);
        world.clock.turn(turn);
        assert_eq!(on(&world), 0, "whether somebody looks or not");
        world.gate().look_at_brakes().await;
        assert_eq!(on(&world), usize::from(!is_quiet));
        let lines = world.gate().audit.lines().join("\n");
        let told = |what: &str| lines.matches(&format!("\"{what}\"")).count();
        assert_eq!((told("braked"), told("released")), if is_quiet { (1, 1) } else { (2, 0) });
        world.gate().look_at_brakes().await;
        assert_eq!(world.gate().audit.lines().join("\n"), lines);
        // What is counted is not forgotten: the next is held, and keeps it on.
        let next = refund(&world, "ch_4", 1_100).await;
        assert_eq!(next, if is_quiet { "200 " } else { HELD });
    }
}

/// Another replica put it on again, and this one has not heard of it.
#[tokio::test]
async fn a_brake_that_is_on_is_not_released_by_who_remembers_it_as_over() {
    let world = world(&FEW.replace("10m }", "10m, quiet: 5m }"));
    for (charge, amount) in [("ch_1", 1_000), ("ch_3", 1_000), ("ch_4", 1_000)] {
        refund(&world, charge, amount).await;
    }
    world.gate().count_pending().await;
    let gate = world.gate();
    let store = &gate.store;
    let old = store.brakes().remove(0);
    let later = Freeze { until: old.until.map(|until| until.plus(11 * MINUTE)), ..old.clone() };
    store.brake(later).await.unwrap();
    world.clock.turn(11 * MINUTE);
    gate.look_at_brake(&old, store.now()).await.unwrap();
    assert_eq!(on(&world), 1);
    assert!(!gate.audit.lines().join("\n").contains("\"released\""));
    world.clock.turn(11 * MINUTE);
    gate.look_at_brake(&old, store.now()).await.unwrap();
    assert!(gate.audit.lines().join("\n").contains("\"released\""));
}

/// Each writing goes to every tenant.
#[tokio::test]
async fn a_brake_that_stays_on_is_written_again_once_in_a_tenth_of_its_span() {
    let second = Duration::from_secs(1);
    for (quiet, turns, written) in [("50m", 600, 2), ("5s", 20, 20), ("100s", 100, 10)] {
        let world = world(&FEW.replace("10m }", &format!("1h, quiet: {quiet} }}")));
        for (charge, amount) in [("ch_1", 1_000), ("ch_3", 1_000), ("ch_4", 1_000)] {
            refund(&world, charge, amount).await;
        }
        world.gate().count_pending().await;
        let mut ends = std::collections::BTreeSet::new();
        let first = world.gate().store.brakes()[0].until;
        for _ in 0..turns {
            world.clock.turn(second);
            world.gate().look_at_brakes().await;
            assert_eq!(on(&world), 1, "{quiet}");
            ends.insert(world.gate().store.brakes()[0].until);
        }
        ends.remove(&first);
        assert_eq!(ends.len(), written, "{quiet}");
    }
}

/// A flood of names: what finds no room is told, nothing grows past its bound, and what is known is counted.
#[tokio::test]
async fn a_flood_is_bounded_and_told() {
    let faults = Faults::of("f");
    let root = yaml::read(
        "f",
        "brakes: [ { name: no, watch: refusals, per: agent, over: 5, within: 1h } ]",
    )
    .unwrap();
    let alarms = Alarms::read(&faults.section(&root, ""));
    let names: Vec<String> = (0..25_000).map(|n| format!("bot-{n}")).collect();
    for agent in &names {
        let subject = tollhouse::alarm::Subject { agent, ..Default::default() };
        alarms.happened(tollhouse::alarm::What::Refusals, &subject);
    }
    assert_eq!(alarms.pending.left_out(), 20_000);
    assert_eq!(alarms.pending.left_out(), 0, "told once");
    let known = tollhouse::alarm::Subject { agent: "bot-7", ..Default::default() };
    alarms.happened(tollhouse::alarm::What::Refusals, &known);
    let waiting = alarms.pending.take();
    assert_eq!(waiting.len(), 5_000);
    assert_eq!(waiting.iter().map(|one| one.tally.count).sum::<i64>(), 5_001);
    assert_eq!(alarms.pending.left_out(), 0);
}

/// Cases are the agent's word: whoever names ever more is left out, and nobody else.
#[tokio::test]
async fn a_flood_of_cases_leaves_out_nobody_else() {
    let faults = Faults::of("f");
    let text = "signals: [ { name: no, watch: refusals, per: case, over: 5, within: 1h } ]";
    let root = yaml::read("f", text).unwrap();
    let alarms = Alarms::read(&faults.section(&root, ""));
    let happened = |tenant: &str, agent: &str, cases: usize| {
        for n in 0..cases {
            let case = format!("case-{n}");
            let case = Some(case.as_str());
            let subject = tollhouse::alarm::Subject { tenant, agent, case, ..Default::default() };
            alarms.happened(tollhouse::alarm::What::Refusals, &subject);
        }
        alarms.pending.left_out()
    };
    assert_eq!(happened("t", "flood", 3_000), 2_000);
    assert_eq!(happened("t", "flood", 1_000), 0, "what waits is counted on");
    assert_eq!(happened("t", "bot", 100), 0);
    for n in 0..4 {
        happened("t", &format!("flood-{n}"), 3_000);
    }
    assert!(happened("t", "late", 1) > 0, "its tenant has no more");
    assert_eq!(happened("u", "bot", 100), 0);
    assert_eq!(alarms.pending.take().len(), 5_000 + 100);
    assert_eq!(happened("t", "late", 1), 0);
}

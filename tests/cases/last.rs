//! What still stops a call between its record and its first byte: a freeze that comes meanwhile, and a
//! process that comes to it too late.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tollhouse::audit::{Entry, Event};
use tollhouse::bounds::LEASE_MARGIN;
use tollhouse::call::Answer;
use tollhouse::store::{Listed, State};
use tollhouse::yaml;

use super::play::{freeze, request};
use super::tree::get;
use super::world::World;

fn world() -> Arc<World> {
    let path = format!("{}/tests/cases/given.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let given = yaml::read("given.yaml", &text).unwrap();
    World::new(get(&given, "stripe").unwrap(), "given.yaml")
}

/// A refund that waits for its record to be on disk, what `meanwhile` does, and its answer.
async fn interrupted<F: Future<Output = ()>>(
    world: &Arc<World>,
    meanwhile: impl Fn() -> F,
) -> Answer {
    // The writer may be faster than this test looks: then the next one is tried, unlike the others.
    let charges = ["ch_1", "ch_3", "ch_4"].into_iter();
    for (charge, amount) in charges.flat_map(|charge| (1..10).map(move |n| (charge, n * 1_000))) {
        let step =
            format!("{{ send: POST /v1/refunds, form: \"charge={charge}&amount={amount}\" }}");
        let step = yaml::read("step", &step).unwrap();
        let gate = world.gate();
        // It has much to write.
        (0..500).for_each(|_| gate.audit.note(Entry::of(Event::Reloaded)).unwrap());
        let mut handled = Box::pin(gate.handle(request(world, &step)));
        loop {
            if (&mut handled).now_or_never().is_some() {
                break;
            }
            let submitted = gate.store.listed(Listed::Submitted, 1).await.unwrap();
            if !submitted.is_empty() {
                meanwhile().await;
                let answer = handled.await;
                let record = gate.store.show(submitted[0].op).await.unwrap().unwrap();
                assert_eq!(record.state, State::NotSent, "{:?}", record.timeline);
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }
    panic!("no call could be stopped between its record and its first byte");
}

fn code(answer: &Answer) -> String {
    let tollhouse::call::Body::Whole(body) = &answer.body else { panic!("it streams") };
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_freeze_that_comes_at_the_last_moment_is_told_as_one() {
    let world = world();
    let answer = interrupted(&world, || async {
        freeze(&world, &["class/financial".to_owned()], None).await;
    })
    .await;
    assert_eq!((answer.status, &*code(&answer)), (503, "frozen"));
}

#[tokio::test]
async fn a_sender_past_its_lease_does_not_send() {
    let world = world();
    let turned = Duration::from_millis(LEASE_MARGIN.as_millis() as u64 + 1);
    let answer = interrupted(&world, || async { world.clock.turn(turned) }).await;
    assert_eq!((answer.status, &*code(&answer)), (503, "undecidable"));
}

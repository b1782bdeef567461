//! A brake on the page and in the API: who sees it, with its reason, and who releases it.

use std::time::{Duration, Instant};

use super::browser::From;
use super::world::{Who, World};
use crate::support::agent::Call;

const FEW: &str =
    "brakes: [ { name: few, watch: refunds, per: agent, over: 1, within: 10m, quiet: 30m } ]\n";

/// A world in which `acme`'s agent has refunded too often; the brake's number.
fn braked() -> (World, String) {
    let world = World::ruled(FEW);
    assert_eq!(world.refund("A-1", "5.00").status, 200);
    assert_eq!(world.refund("A-2", "5.00").code(), "approval_required");
    let start = Instant::now();
    loop {
        let all = world.ask(Who::Ops, Call::new("GET", "/v1/freezes")).json();
        if let Some(one) = all.as_array().unwrap().first() {
            assert_eq!((&one["stops"], &one["by"]), (&"held".into(), &"brake/few".into()));
            return (world, one["id"].as_str().unwrap().to_owned());
        }
        assert!(start.elapsed() < Duration::from_secs(1), "no brake is on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn controls(world: &World, who: Who) -> String {
    world.browser(who).get(&world.url, "/controls", From::Same).body
}

#[test]
fn the_page_says_what_is_held_why_and_until_when_to_whoever_may_know() {
    let (world, id) = braked();
    let page = controls(&world, Who::Ops);
    for said in [
        ">Brakes<",
        "agent/support-bot",
        "brake/few",
        "2 refunds in 10m, more than 1",
        "if it is quiet until then",
        "Release…",
    ] {
        assert!(page.contains(said), "no `{said}` in {page}");
    }
    // It is no freeze: nothing says that somebody may not act.
    assert!(!page.contains("may not act") && page.contains("nothing is stopped"), "{page}");
    let form = world.browser(Who::Ops).get(&world.url, &format!("/controls?lift={id}"), From::Same);
    assert!(form.body.contains("Release it?"), "{}", form.body);
    // Another tenant's people do not know of it, and who operates nothing cannot release it.
    assert!(!controls(&world, Who::Other).contains("brake/few"));
    assert!(!controls(&world, Who::Finance).contains("Release…"));
    let activity = world.browser(Who::Ops).get(&world.url, "/activity", From::Same).body;
    assert!(activity.contains("Brake on") && activity.contains("brake/few"), "{activity}");
}

#[test]
fn an_operator_of_its_tenant_releases_it_on_record_and_nobody_else() {
    let (world, id) = braked();
    let path: &'static str = Box::leak(format!("/v1/freezes/{id}").into_boxed_str());
    let lift = |who| world.ask(who, Call::new("DELETE", path)).status;
    assert_eq!((lift(Who::Other), lift(Who::Finance), lift(Who::Viewer)), (404, 403, 403));
    assert_eq!(world.refund("A-3", "5.00").code(), "approval_required");
    assert_eq!(lift(Who::Bot), 200);
    assert_eq!(world.refund("A-4", "5.00").status, 200);
    assert_eq!(lift(Who::Ops), 404, "it is released once");
    let (on, off) = (world.records("braked"), world.records("unfrozen"));
    assert_eq!((on.len(), off.len()), (1, 1));
    assert_eq!((&on[0]["by"], &off[0]["by"]), (&"brake/few".into(), &"bot".into()));
    assert!(on[0]["note"].as_str().unwrap().contains("2 refunds in 10m, more than 1"), "{on:?}");
}

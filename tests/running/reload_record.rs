//! What a reload writes down of what the process before left open: nothing that is on record.

use std::time::Duration;

use super::reload::{log, reload, until};
use crate::support::house::{House, configuration};
use crate::support::shop::{Play, Shop};

#[test]
fn an_end_that_is_on_record_is_not_written_again_by_a_reload() {
    let shop = Shop::open();
    let text = configuration(&shop.url(), "");
    let mut house = House::written(tempfile::tempdir().unwrap(), &text, "");
    // One is at the shop when the process dies: its log says that it was let go, and no more.
    shop.play(Play::Slow(Duration::from_secs(2)));
    let (call, agents) = (house.refund_call("A-1", "5.00", "k-1"), house.agents.clone());
    let cut = std::thread::spawn(move || call.send(&agents).is_ok());
    until("it is at the shop", || shop.made_of("A-1") == 1);
    house.crash();
    assert!(!cut.join().unwrap(), "it was answered");
    let op = house.refund("A-1", "5.00", "k-1").operation();
    let found = ["operations", "resolve", &op, "--reason", "looked at the shop", "--as", "done"];
    let resolved = house.cli(&found);
    assert_eq!(resolved.code, 0, "{resolved:?}");
    let tail = || house.cli(&["audit", "tail", "-n", "200"]).out;
    let ends = || {
        let all = tail();
        let ends = |line: &&str| line.contains("\"settled\"") || line.contains("\"resolved\"");
        let done = |line: &&str| line.contains("\"state\":\"done\"") && line.contains(&op);
        all.lines().filter(ends).filter(done).count()
    };
    assert_eq!(ends(), 1, "{}", tail());
    for n in 1..=2 {
        assert_eq!(reload(&house).0, 200, "{}", log(&house));
        until("the reload is on record", || tail().matches("\"reloaded\"").count() == n);
        // What is missing is looked for every second.
        std::thread::sleep(Duration::from_millis(2_500));
        assert_eq!(ends(), 1, "{}", tail());
    }
    assert_eq!(house.verify().code, 0);
}

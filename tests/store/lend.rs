//! Rates that replicas borrow from: the script lends what `lend` says, and every replica borrows of the same.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use tollhouse::clock::Clock;
use tollhouse::store::{Loan, Slot, Store, lend};

use super::{Bench, key};
use crate::support::redis::Server;

fn loan(who: u8, every: i64, [owed, wanted, back]: [u32; 3]) -> Loan {
    let (slot, burst) = (Slot::of(b'g', &[&[who]]), every * 10);
    Loan { slot, every, burst, owed, wanted, back }
}

fn some_loan() -> impl Strategy<Value = Loan> {
    (0_u8..3, prop_oneof![Just(1_i64), Just(333), Just(1_000_000)], [0_u32..15, 0..15, 0..15])
        .prop_map(|(who, every, counts)| loan(who, every, counts))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_script_lends_what_the_function_says(
        turns in proptest::collection::vec((proptest::collection::vec(some_loan(), 1..6), 0_u64..4_000), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::redis().await;
            let mut rows: HashMap<Slot, i64> = HashMap::new();
            for (loans, millis) in turns {
                let now = bench.clock.now().0 * 1000;
                let lent = bench.store.lend(&loans).await.unwrap();
                for (loan, lent) in loans.iter().zip(lent) {
                    let row = rows.entry(loan.slot).or_insert(0);
                    let (full_at, said) = lend(*row, now, loan);
                    *row = full_at;
                    assert_eq!(lent, said, "{loan:?} at {now}");
                }
                bench.clock.turn(Duration::from_millis(millis));
            }
        });
    }
}

#[tokio::test]
async fn replicas_borrow_of_the_same_and_a_row_ends_by_itself() {
    let server = Server::start();
    let replica = || Store::redis(&server.address("fleet"), key(), Clock::System).unwrap();
    let (here, there) = (replica(), replica());
    let hourly = |counts| [loan(1, 3_600_000_000, counts)];
    assert_eq!(here.lend(&hourly([0, 7, 0])).await.unwrap()[0].given, 7);
    let lent = there.lend(&hourly([0, 7, 0])).await.unwrap()[0];
    assert_eq!((lent.given, lent.left), (3, 0));
    assert!(lent.wait > Duration::from_secs(3500) && lent.wait <= Duration::from_secs(3600));
    // What one gives back the other gets.
    assert_eq!(here.lend(&hourly([0, 0, 2])).await.unwrap()[0].left, 2);
    assert_eq!(there.lend(&hourly([0, 7, 0])).await.unwrap()[0].given, 2);
    // What was taken ahead counts though there is no room.
    let lent = here.lend(&hourly([5, 1, 0])).await.unwrap()[0];
    assert_eq!(lent.given, 0);
    assert!(lent.wait > Duration::from_secs(5 * 3600));
    let rows = server.cli(&["--raw", "KEYS", "{fleet}:g:*"]);
    assert_eq!(rows.lines().count(), 1, "{rows}");
    let ends = server.cli(&[
        "EVAL",
        "return redis.call('PTTL', redis.call('KEYS', '{fleet}:g:*')[1])",
        "0",
    ]);
    let ends: i64 = ends.trim().trim_start_matches("(integer) ").parse().unwrap();
    assert!(ends > 10 * 3_600_000 && ends <= 20 * 3_600_000, "{ends}");
}

#[tokio::test]
async fn one_process_alone_borrows_from_nobody() {
    let bench = Bench::memory();
    assert!(!bench.store.lends());
    assert!(bench.store.lend(&[loan(1, 1, [0, 1, 0])]).await.is_err());
}

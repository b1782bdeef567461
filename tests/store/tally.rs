//! Counts that nothing takes of: gone from Redis by themselves.

use std::time::Duration;

use tollhouse::store::Tally;

use super::Bench;

#[tokio::test]
async fn a_count_has_its_end_as_it_is_written() {
    let bench = Bench::redis().await;
    let hour = Duration::from_secs(3_600);
    let tally =
        |key: &str, within| Tally { key: key.into(), unit: None, count: 1, within, since: None };
    let ends = || {
        let script = "local all = redis.call('KEYS', '*:m:*') local ends = {} \
                      for i, key in ipairs(all) do ends[i] = redis.call('PTTL', key) end return ends";
        let said = bench.server.as_ref().unwrap().cli(&["EVAL", script, "0"]);
        let mut ends: Vec<i64> = said.lines().filter_map(|line| line.parse().ok()).collect();
        ends.sort_unstable();
        ends.into_iter().map(|millis| (millis + 59_999) / 60_000).collect::<Vec<_>>()
    };
    bench
        .store
        .tally("t", vec![tally("case", hour), tally("month", hour * 24 * 30)])
        .await
        .unwrap();
    // An hour more than the window: a clock that leaps takes nothing away that counts.
    assert_eq!(ends(), [120, 30 * 24 * 60 + 60]);
    bench.store.tally("t", vec![tally("case", hour)]).await.unwrap();
    assert_eq!(ends()[0], 120);
}

//! What only a store on disk has to show: it is there after it was closed, sealed, locked, and small.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollhouse::call::Outcome;
use tollhouse::clock::Clock;
use tollhouse::store::{FreezeScope, Reserved, SealingKey, State, Store, StoredAnswer};

use super::{Bench, key, ok};
use crate::asks::{START, about, ask, ask_held, name, on, op, settle};

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again() {
    let bench = Bench::embedded();
    bench.grant(ask(Some("sent"), "1.00 USD", 1)).await;
    let done = bench.grant(on(ask(Some("done"), "2.00 USD", 2), "ch_2")).await.record.op;
    let answer = StoredAnswer {
        status: 200,
        headers: vec![("request-id".into(), Bytes::from_static(b"r"))],
        body: Bytes::from_static(b"{}"),
    };
    ok(bench.store.settle(settle(done, 2, Outcome::Succeeded), Some(&answer)).await.unwrap());
    let held = on(ask_held(Some("held"), "3.00 USD", 3), "ch_3");
    assert!(matches!(bench.store.reserve(held).await.unwrap(), Reserved::Held(_)));
    bench.store.freeze(FreezeScope::parse(["all"]).unwrap(), None, "r", "ana").await.unwrap();

    let Bench { store, clock, dir, .. } = bench;
    let dir = dir.unwrap();
    drop(store);
    let store = Store::embedded(dir.path(), key(), clock).unwrap();
    let interrupted = store.interrupted();
    assert_eq!(interrupted.len(), 1);
    assert_eq!((interrupted[0].op, interrupted[0].state), (op("sent"), State::Unknown));
    assert!(store.interrupted().is_empty(), "told once");
    assert_eq!(store.show_answer(done).await.unwrap().unwrap().answer, Some(answer));
    assert_eq!(store.show(op("held")).await.unwrap().unwrap().state, State::Held);
    let body = store.request(op("held")).await.unwrap().unwrap();
    assert_eq!(&body[..], b"POST /refunds secret-body");
    assert_eq!(store.freezes().len(), 1);
    assert!(store.frozen(&about("1.00 USD").subject()).is_some());
}

#[tokio::test]
async fn nobody_reads_it_without_the_key() {
    let bench = Bench::embedded();
    bench.store.reserve(ask_held(Some("k"), "3.00 USD", 3)).await.unwrap();
    let Bench { store, clock, dir, .. } = bench;
    let dir = dir.unwrap();
    drop(store);
    let file = dir.path().join("store.redb");
    let bytes = std::fs::read(&file).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(has(b"Refund 3.00 USD"), "this is the file");
    assert!(!has(b"secret-body"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let other = Store::embedded(dir.path(), SealingKey::new([8; 32]).unwrap(), clock).unwrap();
    let fault = other.request(op("k")).await.unwrap_err();
    assert!(fault.to_string().contains("another key"), "{fault}");
}

#[tokio::test]
async fn a_second_process_is_told_so() {
    let bench = Bench::embedded();
    let dir = bench.dir.as_ref().unwrap().path();
    let fault = Store::embedded(dir, key(), Clock::System).unwrap_err();
    assert!(fault.to_string().contains("another process has this store open"), "{fault}");
}

#[tokio::test]
async fn time_does_not_go_back_over_a_restart() {
    let bench = Bench::embedded();
    bench.clock.turn(std::time::Duration::from_secs(3600));
    bench.grant(ask(Some("k"), "1.00 USD", 1)).await;
    let Bench { store, dir, .. } = bench;
    let dir = dir.unwrap();
    drop(store);
    let store = Store::embedded(dir.path(), key(), Clock::by_hand(START)).unwrap();
    let record = store.show(op("k")).await.unwrap().unwrap();
    assert!(record.timeline.last().unwrap().at >= record.created);
    assert!(record.created > START);
}

#[tokio::test]
async fn many_at_once_are_committed_together() {
    let bench = Bench::embedded();
    let start = std::time::Instant::now();
    bench.grant(on(ask(Some("alone"), "1.00 USD", 999), "alone")).await;
    let alone = start.elapsed();
    let mut all = tokio::task::JoinSet::new();
    for n in 0..200_u64 {
        let store = Arc::clone(&bench.store);
        all.spawn(async move {
            let amount = format!("{n}.00 USD");
            store.reserve(on(ask(Some(&amount), &amount, n), &amount)).await.unwrap()
        });
    }
    let all = all.join_all().await;
    assert!(all.iter().all(|r| matches!(r, Reserved::Granted(_))));
    let batches = bench.store.batches().unwrap();
    // 201 events came; each of its own would be 201 batches.
    assert!(batches < 60, "{batches} batches, the first alone took {alone:?}");
}

#[tokio::test]
async fn a_recall_of_what_is_new_writes_nothing() {
    let bench = Bench::embedded();
    let before = bench.store.batches().unwrap();
    for n in 0..20 {
        bench.store.recall(&name(Some(&n.to_string()), "1.00 USD")).await.unwrap();
    }
    assert_eq!(bench.store.batches().unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_mostly_empty_is_made_small_at_start() {
    let bench = Bench::embedded();
    let body = Bytes::from(vec![b'x'; 256 << 10]);
    let answer = StoredAnswer { status: 200, headers: Vec::new(), body };
    for n in 0..64 {
        let key = n.to_string();
        let op = bench.grant(on(ask(Some(&key), "1.00 USD", n), &key)).await.record.op;
        ok(bench.store.settle(settle(op, n, Outcome::Succeeded), Some(&answer)).await.unwrap());
    }
    let Bench { store, clock, dir, .. } = bench;
    let dir = dir.unwrap();
    let size = || std::fs::metadata(dir.path().join("store.redb")).unwrap().len();
    let full = size();
    assert!(full > 16 << 20, "{full}");
    clock.turn(Duration::from_secs(40 * 86_400));
    for _ in 0..20 {
        store.sweep().await.unwrap();
    }
    drop(store);
    let store = Store::embedded(dir.path(), key(), clock).unwrap();
    assert!(size() < full / 8, "{} of {full}", size());
    assert_eq!(store.show(op("1")).await.unwrap(), None);
}

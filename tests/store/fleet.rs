//! What only a store of a fleet has to show: two handles are one store, and whatever Redis does, nothing is
//! granted twice and nobody is told more than is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollhouse::call::Outcome;
use tollhouse::clock::Clock;
use tollhouse::contract::Over;
use tollhouse::money::Money;
use tollhouse::refusal::Fault;
use tollhouse::store::{
    Answered, Blocked, Entry, FreezeScope, HoldAnswer, Needs, Recalled, Reserve, Reserved, Say,
    State, Store, StoredAnswer,
};

use super::{Bench, key, ok};
use crate::asks::{
    HOUR, LEASE, Limit, START, about, ask, ask_held, budget, name, on, op, release, settle,
};
use crate::support::redis::Server;

const SOON: Duration = Duration::from_secs(5);

/// Another replica of the same fleet.
fn replica(server: &Server) -> Arc<Store> {
    Arc::new(Store::redis(&server.address("fleet"), key(), Clock::System).unwrap())
}

/// The same with today's deadlines: Redis's own clock counts.
fn today(mut ask: Reserve) -> Reserve {
    ask.hold.deadline = Clock::System.now().plus(HOUR);
    ask
}

async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let start = Instant::now();
    while !is().await {
        assert!(start.elapsed() < SOON * 3, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn works_again(store: &Store) {
    until("it works again", || async { store.recall(&name(Some("w"), "9.00 USD")).await.is_ok() })
        .await;
}

#[tokio::test]
async fn an_ambiguous_reserve_gets_its_own_grant_back() {
    let server = Server::start();
    let store = replica(&server);
    store.reserve(on(today(ask(Some("warm"), "1.00 USD", 9)), "warm")).await.unwrap();
    server.signal("STOP");
    let reserve = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.reserve(today(ask(Some("k"), "60.00 USD", 1))).await })
    };
    // The first has timed out, its bytes are with Redis; the second is on its way.
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.signal("CONT");
    let Reserved::Granted(grant) = reserve.await.unwrap().unwrap() else { panic!("no grant") };
    assert_eq!((grant.record.op, grant.record.attempts.len()), (op("k"), 1));
    let another = replica(&server).reserve(today(ask(Some("k"), "60.00 USD", 2))).await.unwrap();
    assert!(matches!(another, Reserved::Known(_)), "another owner gets none");
}

#[tokio::test]
async fn what_takes_too_long_may_have_been_done() {
    let server = Server::start();
    let store = replica(&server);
    works_again(&store).await;
    server.signal("STOP");
    let start = Instant::now();
    let fault = store.reserve(today(ask(Some("k"), "60.00 USD", 1))).await.unwrap_err();
    assert!(matches!(fault, Fault::StoreAmbiguous(_)), "{fault}");
    assert!(start.elapsed() < Duration::from_secs(2), "two tries of half a second");
    until("it is known not to answer", || async { store.health().is_err() }).await;
    server.signal("CONT");
    works_again(&store).await;
    until("it is known to answer", || async { store.health().is_ok() }).await;
    // Whatever became of it, the same owner may ask again.
    let again = store.reserve(today(ask(Some("k"), "60.00 USD", 1))).await.unwrap();
    assert!(matches!(again, Reserved::Granted(_)), "{again:?}");
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_learns_them_again() {
    let server = Server::start();
    let store = replica(&server);
    store.reserve(today(ask(Some("a"), "60.00 USD", 1))).await.unwrap();
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    ok(store.settle(settle(op("a"), 1, Outcome::Succeeded), None).await.unwrap());
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again_and_has_everything() {
    let mut server = Server::with(&["appendonly", "yes", "appendfsync", "always"]);
    let store = replica(&server);
    let held = today(ask_held(Some("k"), "60.00 USD", 1));
    assert!(matches!(store.reserve(held.clone()).await.unwrap(), Reserved::Held(_)));
    server.kill();
    for _ in 0..3 {
        let fault = store.reserve(today(ask(Some("n"), "1.00 USD", 2))).await.unwrap_err();
        assert!(matches!(fault, Fault::StoreUnavailable(_) | Fault::StoreAmbiguous(_)), "{fault}");
    }
    let fault = store.recall(&name(Some("n"), "1.00 USD")).await.unwrap_err();
    assert!(matches!(fault, Fault::StoreUnavailable(_)), "nobody listens: {fault}");
    assert!(store.health().is_err());
    assert!(server.run());
    works_again(&store).await;
    assert!(matches!(store.reserve(held).await.unwrap(), Reserved::Held(_)));
    assert_eq!(store.show(op("n")).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_has_done_nothing() {
    let server = Server::start();
    let store = replica(&server);
    store.reserve(on(today(ask(Some("warm"), "1.00 USD", 9)), "warm")).await.unwrap();
    for (at, (stop, go)) in [
        (&["REPLICAOF", "127.0.0.1", "1"][..], &["REPLICAOF", "NO", "ONE"][..]),
        (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(server.cli(stop), "OK");
        let asked = on(today(ask(Some(&format!("k{at}")), "60.00 USD", 1)), &format!("ch{at}"));
        let fault = store.reserve(asked.clone()).await.unwrap_err();
        assert!(matches!(fault, Fault::StoreUnavailable(_)), "{stop:?}: {fault}");
        assert!(store.health().is_err());
        assert_eq!(server.cli(go), "OK");
        assert!(matches!(store.reserve(asked).await.unwrap(), Reserved::Granted(_)), "{stop:?}");
        until("it takes writes again", || async { store.health().is_ok() }).await;
    }
}

#[tokio::test]
async fn sixty_four_duplicates_through_two_replicas_are_one_effect() {
    let server = Server::start();
    let replicas = [replica(&server), replica(&server)];
    for fresh_keys in [false, true] {
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..64_usize {
            let store = Arc::clone(&replicas[n % 2]);
            let key = if fresh_keys { format!("k{n}") } else { "k".to_owned() };
            let charge = format!("ch {fresh_keys}");
            let asked = on(today(ask(Some(&key), "60.00 USD", n as u64)), &charge);
            calls.spawn(async move { store.reserve(asked).await.unwrap() });
        }
        let all = calls.join_all().await;
        let granted: Vec<_> = all
            .iter()
            .filter_map(|r| if let Reserved::Granted(grant) = r { Some(grant) } else { None })
            .collect();
        assert_eq!(granted.len(), 1);
        let joined = all.iter().filter(|r| matches!(r, Reserved::Known(_))).count();
        assert_eq!(joined, 63);
        let answer =
            StoredAnswer { status: 200, headers: Vec::new(), body: Bytes::from_static(b"{}") };
        let (won, token) = (granted[0].record.op, granted[0].token.0);
        // The replica that was not granted it settles it as well: the token is what counts.
        let end = settle(won, token, Outcome::Succeeded);
        ok(replicas[1].settle(end, Some(&answer)).await.unwrap());
        for store in &replicas {
            let known = store.show_answer(won).await.unwrap().unwrap();
            assert_eq!(known.answer, Some(answer.clone()));
        }
    }
}

#[tokio::test]
async fn fifty_at_once_never_spend_more_than_there_is() {
    let server = Server::start();
    let replicas = [replica(&server), replica(&server)];
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..50_u64 {
        let store = Arc::clone(&replicas[usize::try_from(n % 2).unwrap()]);
        let charge = format!("ch{n}");
        let mut asked = on(today(ask(Some(&charge), "7.00 USD", n)), &charge);
        asked.budgets = vec![budget("7.00 USD", 100_00, Over::Refuse)];
        calls.spawn(async move { store.reserve(asked).await.unwrap() });
    }
    let all = calls.join_all().await;
    assert_eq!(all.iter().filter(|r| matches!(r, Reserved::Granted(_))).count(), 14);
    let over = |r: &&Reserved| matches!(r, Reserved::Blocked(Blocked::Over { .. }));
    assert_eq!(all.iter().filter(over).count(), 36);
}

#[tokio::test]
async fn of_a_hundred_at_the_limit_less_one_through_two_replicas_exactly_one_passes() {
    let server = Server::start();
    let replicas = [replica(&server), replica(&server)];
    for limit in Limit::ALL {
        let first = replicas[0].reserve(today(limit.asked(1_000))).await.unwrap();
        assert_eq!(limit.passed(&[first]), (1, 0), "{limit:?}");
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..100_u64 {
            let store = Arc::clone(&replicas[usize::try_from(n % 2).unwrap()]);
            let asked = today(limit.asked(n));
            calls.spawn(async move { store.reserve(asked).await.unwrap() });
        }
        let alerts = usize::from(!matches!(limit, Limit::Rate));
        assert_eq!(limit.passed(&calls.join_all().await), (1, alerts), "{limit:?}");
    }
}

#[tokio::test]
async fn different_refunds_of_one_charge_go_one_by_one() {
    let server = Server::start();
    let replicas = [replica(&server), replica(&server)];
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..50_u64 {
        let store = Arc::clone(&replicas[usize::try_from(n % 2).unwrap()]);
        let amount = format!("{n}.50 USD");
        calls.spawn(
            async move { store.reserve(today(ask(Some(&amount), &amount, n))).await.unwrap() },
        );
    }
    let all = calls.join_all().await;
    assert_eq!(all.iter().filter(|r| matches!(r, Reserved::Granted(_))).count(), 1);
    let busy = |r: &&Reserved| matches!(r, Reserved::Blocked(Blocked::InFlight(_)));
    assert_eq!(all.iter().filter(busy).count(), 49);
}

#[tokio::test]
async fn who_waits_in_one_replica_is_told_by_another() {
    let server = Server::start();
    let (here, there) = (replica(&server), replica(&server));
    for lost in [false, true] {
        let amount = if lost { "61.00 USD" } else { "60.00 USD" };
        let asked = on(today(ask_held(Some(amount), amount, 1)), amount);
        let Reserved::Held(held) = here.reserve(asked).await.unwrap() else { panic!("no hold") };
        works_again(&there).await;
        let waits = {
            let (here, op) = (Arc::clone(&here), held.op);
            tokio::spawn(async move {
                here.changed(op, HOUR).await;
                Instant::now()
            })
        };
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!waits.is_finished());
        if lost {
            // What would have told is gone; whoever waits looks for itself.
            server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        let say = Say::Deny { by: "ana".into(), reason: "no".into() };
        let answered = there.answer(HoldAnswer { op: held.op, say }).await.unwrap();
        let (answered, then) = (matches!(answered, Answered::Ok(_)), Instant::now());
        assert!(answered);
        let woken = tokio::time::timeout(SOON, waits).await.expect("it was woken").unwrap();
        let bound = if lost { Duration::from_secs(2) } else { Duration::from_millis(300) };
        assert!(woken.saturating_duration_since(then) < bound, "lost: {lost}");
    }
}

#[tokio::test]
async fn a_freeze_counts_everywhere_at_once_and_in_memory_within_a_second() {
    let server = Server::start();
    let (here, there) = (replica(&server), replica(&server));
    there.reserve(on(today(ask(Some("warm"), "1.00 USD", 9)), "warm")).await.unwrap();
    let scope = FreezeScope::parse(["class/financial"]).unwrap();
    let freeze = here.freeze(scope, None, "spike", "ana").await.unwrap();
    let subject = about("1.00 USD");
    assert!(here.frozen(&subject.subject()).is_some(), "at once where it was taken");
    let blocked = there.reserve(today(ask(Some("k"), "60.00 USD", 1))).await.unwrap();
    assert_eq!(blocked, Reserved::Blocked(Blocked::Frozen(freeze.clone())));
    // A tenant that nobody knew when it was frozen.
    let mut new = today(ask(Some("k"), "60.00 USD", 2));
    new.about.caller.tenant = "new".into();
    let Entry::Asked(named) = &mut new.entry else { panic!() };
    named.tenant = "new".into();
    let blocked = there.reserve(new.clone()).await.unwrap();
    assert_eq!(blocked, Reserved::Blocked(Blocked::Frozen(freeze.clone())));
    until("it is in memory", || async { there.frozen(&subject.subject()).is_some() }).await;
    assert_eq!(there.unfreeze(&freeze.id).await.unwrap(), Some(freeze));
    assert!(matches!(there.reserve(new).await.unwrap(), Reserved::Granted(_)));
    until("it is lifted", || async { here.frozen(&subject.subject()).is_none() }).await;
}

#[tokio::test]
async fn no_money_moves_while_nobody_can_tell_what_is_frozen() {
    let server = Server::start();
    let clock = Clock::by_hand(START);
    let store = Store::redis(&server.address("fleet"), key(), clock.clone()).unwrap();
    assert!(store.fit_for_money().is_err(), "never read yet");
    until("they are read", || async { store.fit_for_money().is_ok() }).await;
    server.signal("STOP");
    clock.turn(Duration::from_millis(5_001));
    let why = store.fit_for_money().unwrap_err().to_string();
    assert!(why.contains("freezes in memory are old"), "{why}");
    assert!(store.freezes_age().unwrap() > SOON);
    server.signal("CONT");
    until("they are read again", || async { store.fit_for_money().is_ok() }).await;
}

#[tokio::test]
async fn money_can_ask_for_a_store_that_forgets_nothing() {
    for (settings, safe) in [
        (&[][..], false),
        (&["appendonly", "yes", "appendfsync", "always"][..], true),
        (&["appendonly", "yes", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"], false),
    ] {
        let server = Server::with(settings);
        let address = server.address("fleet");
        let store = Store::redis(&address, key(), Clock::System).unwrap().needing(Needs::Durable);
        until("it is judged", || async { store.judged().is_some() && store.health().is_ok() })
            .await;
        let found = store.durability().await.unwrap().unwrap();
        assert_eq!((found.is_safe(), store.fit_for_money().is_ok()), (safe, safe), "{found:?}");
        let any = Store::redis(&address, key(), Clock::System).unwrap();
        until("any will do", || async { any.fit_for_money().is_ok() }).await;
    }
}

#[tokio::test]
async fn each_step_is_one_round_trip() {
    let bench = Bench::redis().await;
    // Scripts are known, the tenant is, and nobody copies freezes meanwhile.
    for _ in 0..2 {
        bench.store.recall(&name(Some("w"), "9.00 USD")).await.unwrap();
        bench.grant(on(ask(Some("w"), "9.00 USD", 9), "w")).await;
        ok(bench.end(op("w"), 9, Outcome::NotSent).await);
    }
    let trips = || bench.store.batches().unwrap();
    let mut held = on(ask_held(None, "60.00 USD", 1), "ch");
    held.budgets = vec![budget("60.00 USD", 100_00, Over::Hold)];
    held.reasons.clear();
    let before = trips();
    let Entry::Asked(named) = held.entry.clone() else { panic!() };
    let Recalled::Fresh { op, .. } = bench.store.recall(&named).await.unwrap() else { panic!() };
    bench.grant(held).await;
    ok(bench.end(op, 1, Outcome::Succeeded).await);
    // BOUND: the copier of freezes may have come by once.
    assert!(trips() - before <= 4, "{} round trips", trips() - before);
}

#[tokio::test]
async fn an_amount_that_no_double_holds_is_refused_not_rounded() {
    let bench = Bench::redis().await;
    let mut asked = ask(Some("k"), "60.00 USD", 1);
    asked.about.amount = Some(Money { minor: (1 << 53) + 1, ..asked.about.amount.unwrap() });
    let fault = bench.store.reserve(asked).await.unwrap_err();
    assert!(fault.to_string().contains("9007199254740993"), "{fault}");
    assert_eq!(bench.store.show(op("k")).await.unwrap(), None);
}

#[tokio::test]
async fn what_nobody_here_has_seen_is_found() {
    let server = Server::start();
    let (here, there) = (replica(&server), replica(&server));
    let Reserved::Held(held) =
        here.reserve(today(ask_held(Some("k"), "60.00 USD", 1))).await.unwrap()
    else {
        panic!("no hold")
    };
    assert_eq!(there.show(held.op).await.unwrap(), Some(Arc::clone(&held)));
    let body = there.request(held.op).await.unwrap().unwrap();
    assert_eq!(&body[..], b"POST /refunds secret-body");
    let say = Say::Approve {
        by: "ana".into(),
        shown: held.hold.as_ref().unwrap().shown,
        roles: Vec::new(),
        reason: "".into(),
    };
    let third = replica(&server);
    let answered = third.answer(HoldAnswer { op: held.op, say }).await.unwrap();
    assert!(matches!(answered, Answered::Ok(_)));
    let released = there.reserve(release(held.op, "60.00 USD", 7)).await.unwrap();
    assert!(matches!(released, Reserved::Granted(_)));
    let fourth = replica(&server);
    ok(fourth.settle(settle(held.op, 7, Outcome::Succeeded), None).await.unwrap());
}

#[tokio::test]
async fn nobody_reads_the_rows_without_the_key() {
    let server = Server::start();
    let store = replica(&server);
    store.reserve(today(ask_held(Some("k"), "60.00 USD", 1))).await.unwrap();
    let dump = server.cli(&["--no-raw", "EVAL", DUMP, "0"]);
    assert!(dump.contains("Refund 60.00 USD"), "these are the rows: {dump}");
    assert!(!dump.contains("secret-body"));
}

const DUMP: &str = "local all = {} for _, k in ipairs(redis.call('KEYS', '*')) do \
     if redis.call('TYPE', k).ok == 'string' then all[#all+1] = redis.call('GET', k) end end return all";

#[tokio::test]
async fn the_clock_of_the_store_never_goes_back() {
    let server = Server::start();
    let store = replica(&server);
    store.reserve(on(today(ask(Some("a"), "1.00 USD", 9)), "a")).await.unwrap();
    // As if Redis had been on a host half a minute ahead.
    let ahead = Clock::System.now().plus(Duration::from_secs(30));
    server.cli(&["HSET", "{fleet:t}:z", "high", &ahead.0.to_string()]);
    let Reserved::Granted(grant) =
        store.reserve(on(today(ask(Some("b"), "1.00 USD", 8)), "b")).await.unwrap()
    else {
        panic!("no grant")
    };
    assert!(grant.record.created >= ahead);
}

#[tokio::test]
async fn what_is_open_never_expires_and_what_ended_leaves_nothing() {
    let bench = Bench::redis().await;
    let server = bench.server.as_ref().unwrap();
    let mut asked = ask(Some("k"), "60.00 USD", 1);
    asked.budgets = vec![budget("60.00 USD", 100_00, Over::Hold)];
    asked.likeness = crate::asks::likeness(Over::Hold);
    bench.grant(asked).await;
    bench.recalled(Some("k2"), "60.00 USD").await;
    bench.hold(on(ask_held(Some("h"), "70.00 USD", 2), "ch_2")).await;
    const TTLS: &str = "local all = {} for _, k in ipairs(redis.call('KEYS', '{fleet:*')) do \
         if redis.call('PTTL', k) ~= -1 then all[#all+1] = k end end return all";
    assert_eq!(server.cli(&["EVAL", TTLS, "0"]), "", "no open row has an end");
    ok(bench.end(op("k"), 1, Outcome::Succeeded).await);
    bench.clock.turn(HOUR * 24 * 36);
    bench.store.sweep().await.unwrap();
    bench.clock.turn(HOUR * 24 * 36);
    bench.store.sweep().await.unwrap();
    assert_eq!(bench.store.listed(tollhouse::store::Listed::All, 9).await.unwrap(), []);
    const LEFT: &str = "local all = {} for _, k in ipairs(redis.call('KEYS', '{fleet:*')) do \
         if redis.call('PTTL', k) == -1 then all[#all+1] = k end end table.sort(all) return all";
    let left = server.cli(&["EVAL", LEFT, "0"]);
    let expected = "{fleet:t}:f\n{fleet:t}:n\n{fleet:t}:z";
    assert_eq!(left, expected, "what has no end is of a fixed number a tenant");
}

#[tokio::test]
async fn a_lease_ends_by_the_clock_of_redis() {
    let server = Server::start();
    let store = replica(&server);
    let mut asked = today(ask(Some("k"), "60.00 USD", 1));
    asked.lease = Duration::from_millis(150);
    store.reserve(asked).await.unwrap();
    assert!(store.sweep().await.unwrap().is_empty());
    until("the lease is over", || async {
        let swept = replica(&server).sweep().await.unwrap();
        swept.iter().any(|record| record.op == op("k") && record.state == State::Unknown)
    })
    .await;
}

#[tokio::test]
async fn what_was_open_when_a_store_was_lost_comes_back_alike_everywhere() {
    let server = Server::start();
    let gone = Bench::embedded();
    let mut asked = ask(Some("k"), "60.00 USD", 1);
    asked.budgets = vec![budget("60.00 USD", 100_00, Over::Refuse)];
    let record = gone.grant(asked).await.record;
    let sealed = gone.store.intent(&record).unwrap().unwrap();
    let intents = vec![(record.op, sealed), (op("other"), b"not ours".to_vec())];
    let mut seen = Vec::new();
    let clock = Clock::by_hand(START.plus(LEASE));
    let dir = tempfile::tempdir().unwrap();
    for store in [
        Store::embedded(dir.path(), key(), clock.clone()).unwrap(),
        Store::redis(&server.address("fleet"), key(), clock.clone()).unwrap(),
    ] {
        let bench = Bench { store: Arc::new(store), clock: clock.clone(), dir: None, server: None };
        assert_eq!(bench.store.restore(&intents).await.unwrap(), 1);
        assert_eq!(bench.store.restore(&intents).await.unwrap(), 0, "it is known now");
        let shown = bench.store.show(record.op).await.unwrap().unwrap();
        assert_eq!((shown.state, shown.look), (State::Unknown, None));
        seen.push(shown);
        let known = bench.recalled(Some("k"), "60.00 USD").await;
        assert_eq!(known.record.state, State::Unknown);
        let mut more = ask(Some("m"), "61.00 USD", 2);
        let busy = bench.blocked(more.clone()).await;
        assert_eq!(busy, Blocked::OutcomeUnknown(record.op), "its resource is taken");
        more.about.resource = None;
        more.budgets = vec![budget("61.00 USD", 100_00, Over::Refuse)];
        assert!(matches!(bench.blocked(more).await, Blocked::Over { .. }), "and its room");
    }
    assert_eq!(seen[0], seen[1]);
}

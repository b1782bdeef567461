//! One contract, every store: each of these runs over Memory, over Embedded and over Redis.

mod alone;
mod crash;
mod differential;
mod fleet;
mod lend;
mod roads;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tollhouse::call::{Class, Digest, OperationId, Outcome};
use tollhouse::clock::{Clock, Timestamp};
use tollhouse::contract::Over;
use tollhouse::refusal::Code;
use tollhouse::store::{
    Answered, Blocked, BudgetUse, Claim, Claimed, Entry, Freeze, FreezeScope, Grant, HoldAnswer,
    How, Known, Lift, Listed, Recalled, Record, Reserved, Say, SealingKey, Settled, State, Stops,
    Store, StoredAnswer, Take, Token, Try, Witness,
};

use crate::asks::{
    HOUR, LEASE, Limit, START, about, ask, ask_held, budget, count, hash, likeness, money, name,
    on, op, reason, release, settle,
};
use crate::support::redis::Server;

/// A store, its clock, its directory.
pub struct Bench {
    pub store: Arc<Store>,
    pub clock: Clock,
    pub dir: Option<TempDir>,
    /// Ends after the store.
    pub server: Option<Server>,
}

pub fn key() -> SealingKey {
    SealingKey::new([7; 32]).unwrap()
}

impl Bench {
    fn memory() -> Self {
        let clock = Clock::by_hand(START);
        Self {
            store: Arc::new(Store::memory(clock.clone()).unwrap()),
            clock,
            dir: None,
            server: None,
        }
    }

    pub fn embedded() -> Self {
        let clock = Clock::by_hand(START);
        let dir = tempfile::tempdir().unwrap();
        let store = Store::embedded(dir.path(), key(), clock.clone()).unwrap();
        Self { store: Arc::new(store), clock, dir: Some(dir), server: None }
    }

    pub async fn redis() -> Self {
        let (server, clock) = (Server::start(), Clock::by_hand(START));
        let store = Store::redis(&server.address("fleet"), key(), clock.clone()).unwrap();
        Self { store: Arc::new(store), clock, dir: None, server: Some(server) }
    }

    pub async fn grant(&self, ask: tollhouse::store::Reserve) -> Grant {
        match self.store.reserve(ask).await.unwrap() {
            Reserved::Granted(grant) => grant,
            other => panic!("expected a grant, got {other:?}"),
        }
    }

    async fn hold(&self, ask: tollhouse::store::Reserve) -> Arc<Record> {
        match self.store.reserve(ask).await.unwrap() {
            Reserved::Held(record) => record,
            other => panic!("expected a hold, got {other:?}"),
        }
    }

    async fn known(&self, ask: tollhouse::store::Reserve) -> Known {
        match self.store.reserve(ask).await.unwrap() {
            Reserved::Known(known) => known,
            other => panic!("expected a known operation, got {other:?}"),
        }
    }

    async fn blocked(&self, ask: tollhouse::store::Reserve) -> Blocked {
        match self.store.reserve(ask).await.unwrap() {
            Reserved::Blocked(blocked) => blocked,
            other => panic!("expected a block, got {other:?}"),
        }
    }

    pub async fn end(&self, op: OperationId, token: u64, outcome: Outcome) -> Settled {
        self.store.settle(settle(op, token, outcome), None).await.unwrap()
    }

    async fn claim(&self, op: OperationId, token: u64, how: Try) -> Claimed {
        let claim = Claim { op, token: Token(token), how, lease: LEASE };
        self.store.claim(claim).await.unwrap()
    }

    async fn look(
        &self,
        op: OperationId,
        token: u64,
        outcome: Outcome,
        made: Option<&str>,
    ) -> Settled {
        let mut end = settle(op, token, outcome);
        (end.by, end.note) = (Witness::Lookup(Token(token)), "looked".into());
        end.made = made.map(Into::into);
        self.store.settle(end, None).await.unwrap()
    }

    async fn say(&self, op: OperationId, say: Say) -> Answered {
        self.store.answer(HoldAnswer { op, say }).await.unwrap()
    }

    async fn approve(&self, record: &Record) -> Arc<Record> {
        let shown = record.hold.as_ref().unwrap().shown;
        match self.say(record.op, approve(shown)).await {
            Answered::Ok(record) => record,
            other => panic!("expected an approval, got {other:?}"),
        }
    }

    async fn state(&self, op: OperationId) -> State {
        self.store.show(op).await.unwrap().unwrap().state
    }

    async fn recalled(&self, key: Option<&str>, body: &str) -> Known {
        match self.store.recall(&name(key, body)).await.unwrap() {
            Recalled::Known(known) => known,
            other => panic!("expected a known operation, got {other:?}"),
        }
    }
}

fn approve(shown: Digest) -> Say {
    Say::Approve { by: "ana".into(), shown, roles: Vec::new(), reason: "".into() }
}

fn ok(settled: Settled) -> Arc<Record> {
    match settled {
        Settled::Ok(record) => record,
        other => panic!("expected a settling, got {other:?}"),
    }
}

/// Runs each test over every store.
macro_rules! contract {
    ($($(#[$doc:meta])* async fn $name:ident($bench:ident) $body:block)*) => {
        $($(#[$doc])* async fn $name($bench: &Bench) $body)*
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(&super::Bench::memory()).await; })*
        }
        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name(&super::Bench::embedded()).await; })*
        }
        mod on_redis {
            $(#[tokio::test] async fn $name() { super::$name(&super::Bench::redis().await).await; })*
        }
    };
}

fn brake(at: Timestamp) -> Freeze {
    Freeze {
        id: "br_1".into(),
        scope: FreezeScope::parse(["agent/bot"]).unwrap(),
        reason: "21 refunds".into(),
        by: Freeze::by_brake("spike"),
        at,
        until: None,
        issued_before: None,
        stops: Stops::Held,
    }
}

contract! {
    async fn a_brake_does_not_come_back_by_what_was_counted_before_its_release(bench) {
        // Whoever counted before it ever was on, or does not know of its release.
        let before = Timestamp(i64::MIN);
        let (on, is_new) = bench.store.brake(brake(before)).await.unwrap();
        assert_eq!((on.stops, is_new, on.at), (Stops::Held, true, START));
        assert!(!bench.store.brake(brake(before)).await.unwrap().1, "it was on");
        bench.clock.turn(Duration::from_secs(5));
        let keep = Duration::from_secs(600);
        assert!(bench.store.release("br_1", keep, Lift::Now).await.unwrap().is_some());
        let released = START.plus(Duration::from_secs(5));
        bench.clock.turn(Duration::from_secs(1));
        for at in [before, START, Timestamp(released.0 - 1)] {
            let (off, is_new) = bench.store.brake(brake(at)).await.unwrap();
            assert_eq!((off.stops, is_new, off.at), (Stops::Nothing, false, released));
        }
        let (on, is_new) = bench.store.brake(brake(released)).await.unwrap();
        assert_eq!((on.stops, is_new), (Stops::Held, true));
    }

    async fn a_brake_that_is_on_is_not_put_away_by_who_takes_it_for_over(bench) {
        let keep = Duration::from_secs(600);
        let put_away = || bench.store.release("br_1", keep, Lift::IfOver);
        let until = |seconds| Some(START.plus(Duration::from_secs(seconds)));
        // Whether it has an end, and has not come to it, or has none.
        for (turn, end, is_over) in [(5, until(10), false), (1, None, false), (5, until(10), true)] {
            let on = Freeze { until: end, ..brake(Timestamp(i64::MIN)) };
            bench.store.brake(on).await.unwrap();
            bench.clock.turn(Duration::from_secs(turn));
            let lifted = put_away().await.unwrap();
            assert_eq!(lifted.is_some(), is_over, "{turn} {end:?}");
            let all = bench.store.brakes();
            let stops = if is_over { Stops::Nothing } else { Stops::Held };
            assert_eq!(all[0].stops, stops, "{turn} {end:?}");
        }
        assert!(put_away().await.unwrap().is_none(), "it is lifted once");
    }

    async fn a_call_is_sent_once_and_replayed(bench) {
        let Recalled::Fresh { op: fresh, .. } =
            bench.store.recall(&name(Some("k1"), "60.00 USD")).await.unwrap()
        else {
            panic!("it was never asked");
        };
        let grant = bench.grant(ask(Some("k1"), "60.00 USD", 1)).await;
        assert_eq!((grant.record.op, grant.token, grant.lease), (fresh, Token(1), START.plus(LEASE)));
        let known = bench.recalled(Some("k1"), "60.00 USD").await;
        assert!(known.record.state.is_in_flight());

        let answer = StoredAnswer {
            status: 201,
            headers: vec![("request-id".into(), Bytes::from_static(b"req_1"))],
            body: Bytes::from_static(b"{\"id\":\"re_1\"}"),
        };
        let end = settle(fresh, 1, Outcome::Succeeded);
        ok(bench.store.settle(end, Some(&answer)).await.unwrap());
        for _ in 0..2 {
            let known = bench.recalled(Some("k1"), "60.00 USD").await;
            assert_eq!(known.how, How::Own);
            assert_eq!(known.answer.as_ref(), Some(&answer), "I9: byte-equal");
        }
        let known = bench.known(ask(Some("k1"), "60.00 USD", 2)).await;
        assert_eq!(known.answer, Some(answer));
    }

    async fn the_same_reserve_again_is_one(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await;
        bench.clock.turn(LEASE / 2);
        assert_eq!(bench.grant(ask(Some("k"), "60.00 USD", 1)).await, first);
        let asked = on(ask_held(Some("h"), "70.00 USD", 2), "ch_2");
        let held = bench.hold(asked.clone()).await;
        assert_eq!(bench.hold(asked).await, held);
        assert_eq!(held.hold.as_ref().unwrap().joined, 0);
        let known = bench.known(ask(Some("k"), "60.00 USD", 3)).await;
        assert_eq!(known.record.op, first.record.op);
    }

    async fn a_key_for_another_request_is_a_mismatch(bench) {
        bench.grant(ask(Some("k"), "60.00 USD", 1)).await;
        let recalled = bench.store.recall(&name(Some("k"), "61.00 USD")).await.unwrap();
        assert_eq!(recalled, Recalled::Mismatch(op("k")));
        let reserved = bench.store.reserve(ask(Some("k"), "61.00 USD", 2)).await.unwrap();
        assert_eq!(reserved, Reserved::Mismatch(op("k")));
        // Nor under a key that joined.
        bench.recalled(Some("k2"), "60.00 USD").await;
        let recalled = bench.store.recall(&name(Some("k2"), "61.00 USD")).await.unwrap();
        assert_eq!(recalled, Recalled::Mismatch(op("k")));
    }

    async fn sixty_four_at_once_are_one_effect(bench) {
        for keys in ["one key", "fresh keys"] {
            let mut calls = tokio::task::JoinSet::new();
            for n in 0..64_u64 {
                let store = Arc::clone(&bench.store);
                let key = if keys == "one key" { "k".to_owned() } else { format!("{keys} {n}") };
                let charge = format!("ch {keys}");
                calls.spawn(async move {
                    let ask = on(ask(Some(&key), keys_amount(keys), n), &charge);
                    store.reserve(ask).await.unwrap()
                });
            }
            let all = calls.join_all().await;
            let granted = all.iter().filter(|r| matches!(r, Reserved::Granted(_))).count();
            let known = all.iter().filter(|r| matches!(r, Reserved::Known(_))).count();
            assert_eq!((granted, known), (1, 63), "{keys}");
        }
    }

    async fn the_same_again_joins_while_it_is_open_and_ten_minutes_after(bench) {
        let first = bench.grant(ask(Some("a"), "60.00 USD", 1)).await.record.op;
        let joined = bench.recalled(Some("b"), "60.00 USD").await;
        assert_eq!((joined.record.op, joined.how), (first, How::Same));
        assert_eq!(joined.record.aliases, 1);
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        bench.clock.turn(HOUR / 6);
        assert_eq!(bench.recalled(None, "60.00 USD").await.record.op, first);
        bench.clock.turn(HOUR / 3600);
        let again = bench.store.recall(&name(Some("c"), "60.00 USD")).await.unwrap();
        assert_eq!(again, Recalled::Fresh { op: op("c"), seen: 1 });
        // A key that joined stays its name.
        assert_eq!(bench.recalled(Some("b"), "60.00 USD").await.record.op, first);
        // Another amount is another call; so is another intent.
        let other = bench.store.recall(&name(None, "61.00 USD")).await.unwrap();
        assert!(matches!(other, Recalled::Fresh { .. }));
    }

    async fn an_answer_that_nobody_collected_is_joined_for_a_day(bench) {
        let first = bench.grant(ask(Some("a"), "60.00 USD", 1)).await.record.op;
        let mut end = settle(first, 1, Outcome::Succeeded);
        end.collected = false;
        ok(bench.store.settle(end, None).await.unwrap());
        bench.clock.turn(HOUR * 23);
        let known = bench.recalled(Some("b"), "60.00 USD").await;
        assert!(known.record.collected, "now it was");
        let next = bench.store.recall(&name(Some("c"), "60.00 USD")).await.unwrap();
        assert!(matches!(next, Recalled::Fresh { .. }));
    }

    async fn calls_without_a_key_are_counted(bench) {
        let first = bench.grant(ask(None, "60.00 USD", 1)).await.record.op;
        assert_eq!(first, name(None, "60.00 USD").operation(1));
        assert_eq!(bench.recalled(None, "60.00 USD").await.record.op, first);
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        bench.clock.turn(HOUR);
        let second = bench.grant(ask(None, "60.00 USD", 2)).await.record.op;
        assert_eq!(second, name(None, "60.00 USD").operation(2));
    }

    async fn an_intent_is_another_operation(bench) {
        let mut second = ask(Some("k"), "60.00 USD", 2);
        let Entry::Asked(named) = &mut second.entry else { panic!() };
        named.intent = Some(2);
        let second = on(second, "ch_2");
        let one = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        let two = bench.grant(second).await.record.op;
        assert_ne!(one, two);
    }

    async fn what_was_not_sent_runs_again_as_itself(bench) {
        let mut asked = ask(Some("k"), "60.00 USD", 1);
        asked.budgets = vec![budget("60.00 USD", 60_00, Over::Refuse)];
        let first = bench.grant(asked.clone()).await.record.op;
        ok(bench.end(first, 1, Outcome::NotSent).await);
        assert_eq!(bench.state(first).await, State::NotSent);
        asked.token = Token(2);
        let again = bench.grant(asked).await;
        assert_eq!((again.record.op, again.record.attempts.len()), (first, 2));
        // The fence moved on: the first attempt may no longer say no.
        assert!(matches!(bench.end(first, 1, Outcome::Rejected).await, Settled::Fenced(_)));
    }

    async fn a_lease_that_is_over_is_unknown_for_everybody(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        bench.clock.turn(LEASE);
        assert_eq!(bench.recalled(Some("k"), "60.00 USD").await.record.state, State::Unknown);
        // A late no proves nothing, nor does a late "not sent".
        for outcome in [Outcome::Rejected, Outcome::NotSent] {
            assert!(matches!(bench.end(first, 1, outcome).await, Settled::Fenced(_)));
        }
        let record = ok(bench.end(first, 1, Outcome::Succeeded).await);
        assert_eq!(record.state, State::Done { outcome: Outcome::Succeeded });
        assert!(!record.contradiction);
    }

    async fn the_sweep_ends_what_is_over(bench) {
        let sent = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        let held = bench.hold(on(ask_held(Some("h"), "70.00 USD", 2), "ch_2")).await.op;
        assert!(bench.store.sweep().await.unwrap().is_empty());
        bench.clock.turn(HOUR * 24);
        let mut changed: Vec<_> =
            bench.store.sweep().await.unwrap().iter().map(|r| (r.op, r.state.name())).collect();
        changed.sort();
        let mut expected = vec![(sent, "unknown"), (held, "refused")];
        expected.sort();
        assert_eq!(changed, expected);
        assert_eq!(bench.state(held).await, State::Refused { code: Code::ApprovalExpired });
        assert!(bench.store.sweep().await.unwrap().is_empty());
    }

    async fn a_resend_may_not_say_no(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        let mut end = settle(first, 1, Outcome::Rejected);
        end.by = Witness::Resend(Token(1));
        assert!(matches!(bench.store.settle(end, None).await.unwrap(), Settled::Fenced(_)));
        let mut end = settle(first, 1, Outcome::Succeeded);
        end.by = Witness::Resend(Token(1));
        ok(bench.store.settle(end, None).await.unwrap());
    }

    async fn a_stranger_may_say_nothing(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        for outcome in [Outcome::Succeeded, Outcome::Rejected, Outcome::NotSent, Outcome::Unknown] {
            assert!(matches!(bench.end(first, 99, outcome).await, Settled::Fenced(_)));
        }
        assert_eq!(bench.end(OperationId([0; 32]), 1, Outcome::Succeeded).await, Settled::Lost);
    }

    async fn a_success_on_not_sent_is_a_contradiction_and_is_charged(bench) {
        let mut asked = ask(Some("k"), "60.00 USD", 1);
        asked.budgets = vec![budget("60.00 USD", 100_00, Over::Refuse)];
        let first = bench.grant(asked).await.record.op;
        ok(bench.end(first, 1, Outcome::NotSent).await);
        let record = ok(bench.end(first, 1, Outcome::Succeeded).await);
        assert!(record.contradiction);
        let mut next = on(ask(Some("n"), "50.00 USD", 2), "ch_2");
        next.budgets = vec![budget("50.00 USD", 100_00, Over::Refuse)];
        assert!(matches!(bench.blocked(next).await, Blocked::Over { .. }));
    }

    async fn a_person_answers_what_is_unknown_and_nothing_else(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        let by_person = |outcome| {
            let mut end = settle(first, 1, outcome);
            end.by = Witness::Person("ana".into());
            bench.store.settle(end, None)
        };
        let early = by_person(Outcome::NotSent).await.unwrap();
        assert!(matches!(early, Settled::Fenced(_)), "it may be under way");
        ok(bench.end(first, 1, Outcome::Unknown).await);
        let record = ok(by_person(Outcome::Succeeded).await.unwrap());
        assert_eq!(&*record.timeline.last().unwrap().by, "ana");
        assert!(matches!(by_person(Outcome::NotSent).await.unwrap(), Settled::Fenced(_)));
    }

    async fn one_open_financial_effect_per_resource(bench) {
        let first = bench.grant(ask(Some("a"), "60.00 USD", 1)).await.record.op;
        let other = ask(Some("b"), "50.00 USD", 2);
        assert_eq!(bench.blocked(other.clone()).await, Blocked::InFlight(first));
        // Another resource, or an effect without money, goes on.
        bench.grant(on(ask(Some("c"), "50.00 USD", 3), "ch_2")).await;
        let mut note = ask(Some("d"), "1.00 USD", 4);
        note.about.class = Class::Write;
        bench.grant(note).await;
        ok(bench.end(first, 1, Outcome::Unknown).await);
        assert_eq!(bench.blocked(other.clone()).await, Blocked::OutcomeUnknown(first));
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        bench.grant(other).await;
    }

    async fn facts_from_before_the_last_effect_are_stale(bench) {
        let Recalled::Fresh { seen, .. } =
            bench.store.recall(&name(Some("b"), "50.00 USD")).await.unwrap()
        else {
            panic!();
        };
        let first = bench.grant(ask(Some("a"), "60.00 USD", 1)).await.record.op;
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        let mut late = ask(Some("b"), "50.00 USD", 2);
        late.seen = seen;
        let Blocked::Stale(now) = bench.blocked(late.clone()).await else { panic!() };
        late.seen = now;
        bench.grant(late).await;
        let mut elsewhere = on(ask(Some("c"), "1.00 USD", 3), "ch_2");
        elsewhere.seen = seen;
        bench.grant(elsewhere).await;
    }

    async fn likeness_holds_refuses_or_lets_go(bench) {
        let mut first = ask(Some("a"), "60.00 USD", 1);
        first.likeness = likeness(Over::Hold);
        let first = bench.grant(first).await.record.op;
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        // 5 %: 57.00 is near 60.00, 56.99 is not.
        for (amount, alike) in [("60.00 USD", true), ("57.00 USD", true), ("56.99 USD", false)] {
            let mut next = ask(Some(amount), amount, 2);
            next.about.caller.agent = "another".into();
            next.about.fingerprint.0 = hash("written differently");
            let Entry::Asked(named) = &mut next.entry else { panic!() };
            named.scope = b"another agent".to_vec().into();
            next.likeness = likeness(Over::Refuse);
            if alike {
                let Blocked::Alike(other) = bench.blocked(next.clone()).await else { panic!() };
                assert_eq!(other.op, first);
                next.likeness = likeness(Over::Hold);
                let held = bench.hold(next).await;
                let reasons = &held.hold.as_ref().unwrap().reasons;
                assert_eq!(&*reasons[0].policy, "duplicates.alike");
                assert!(reasons[0].why.contains(&first.to_string()), "{}", reasons[0].why);
                let deny = Say::Deny { by: "ana".into(), reason: "no".into() };
                assert!(matches!(bench.say(held.op, deny).await, Answered::Ok(_)));
            } else {
                let token = bench.grant(next).await;
                ok(bench.end(token.record.op, 2, Outcome::Rejected).await);
            }
        }
        let mut next = ask(Some("later"), "60.00 USD", 3);
        next.likeness = likeness(Over::Refuse);
        bench.clock.turn(HOUR * 24);
        assert!(matches!(bench.blocked(next.clone()).await, Blocked::Alike(_)), "the edge counts");
        bench.clock.turn(HOUR);
        bench.grant(next).await;
    }

    async fn a_budget_has_room_or_has_not(bench) {
        let with = |key: &str, amount: &str, token, over| {
            let mut asked = on(ask(Some(key), amount, token), key);
            asked.budgets = vec![budget(amount, 100_00, over)];
            asked
        };
        let first = bench.grant(with("a", "60.00 USD", 1, Over::Hold)).await.record.op;
        // Reserved room counts as used room does.
        let blocked = bench.blocked(with("b", "40.01 USD", 2, Over::Refuse)).await;
        assert_eq!(blocked, Blocked::Over { id: "budget.customer-24h".into(), until: None });
        let fits = bench.grant(with("c", "40.00 USD", 3, Over::Refuse)).await.record.op;
        ok(bench.end(fits, 3, Outcome::Rejected).await);
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        let Blocked::Over { until, .. } = bench.blocked(with("b", "40.01 USD", 2, Over::Refuse)).await
        else {
            panic!();
        };
        assert_eq!(until.unwrap().0, START.plus(HOUR * 24).0 + 1);
        // A hold takes its room even past the budget, and gives it back.
        let held = bench.hold(with("h", "90.00 USD", 4, Over::Hold)).await;
        assert_eq!(&*held.hold.as_ref().unwrap().reasons[0].policy, "budget.customer-24h");
        assert!(matches!(
            bench.blocked(with("d", "0.01 USD", 5, Over::Refuse)).await,
            Blocked::Over { .. }
        ));
        bench.say(held.op, Say::Withdraw).await;
        bench.grant(with("d", "40.00 USD", 5, Over::Refuse)).await;
        // The window begins when it was used, and its edge counts.
        bench.clock.turn(HOUR * 24);
        assert_eq!(bench.store.sweep().await.unwrap().len(), 1, "d is unknown: its room stays taken");
        assert!(matches!(
            bench.blocked(with("e", "60.00 USD", 6, Over::Refuse)).await,
            Blocked::Over { .. }
        ));
        bench.clock.turn(HOUR / 3600);
        bench.grant(with("e", "60.00 USD", 6, Over::Refuse)).await;
    }

    async fn of_a_hundred_at_the_limit_less_one_exactly_one_passes(bench) {
        for limit in Limit::ALL {
            let first = bench.store.reserve(limit.asked(1_000)).await.unwrap();
            assert_eq!(limit.passed(&[first]), (1, 0), "{limit:?}");
            let mut calls = tokio::task::JoinSet::new();
            for nth in 0..100 {
                let store = Arc::clone(&bench.store);
                calls.spawn(async move { store.reserve(limit.asked(nth)).await.unwrap() });
            }
            let all = calls.join_all().await;
            let alerts = usize::from(!matches!(limit, Limit::Rate));
            assert_eq!(limit.passed(&all), (1, alerts), "{limit:?}");
        }
    }

    async fn an_alert_is_crossed_by_the_one_that_crosses_it(bench) {
        let with = |key: &str, amount: &str, token, over| {
            let mut asked = on(ask(Some(key), amount, token), key);
            asked.budgets = vec![BudgetUse { alert: Some(80_00), ..budget(amount, 100_00, over) }];
            asked
        };
        let stood = |record: &Record| {
            let [stood] = &record.stood[..] else { panic!("{:?}", record.stood) };
            (stood.used, stood.crossed, stood.frees)
        };
        let first = bench.grant(with("a", "79.99 USD", 1, Over::Refuse)).await;
        assert_eq!(stood(&first.record), (79_99, false, None));
        ok(bench.end(first.record.op, 1, Outcome::Succeeded).await);
        // Held: its room is taken, and that is when it is told.
        let held = bench.hold(with("h", "40.00 USD", 2, Over::Hold)).await;
        let less = Timestamp(START.plus(HOUR * 24).0 + 1);
        assert_eq!(stood(&held), (119_99, true, Some(less)));
        bench.approve(&held).await;
        let mut again = release(held.op, "40.00 USD", 3);
        again.about = held.about.clone();
        again.budgets = with("h", "40.00 USD", 2, Over::Hold).budgets;
        again.reasons = Vec::new();
        let sent = bench.grant(again).await;
        assert_eq!(stood(&sent.record), (119_99, false, None), "it was told when it was held");
        ok(bench.end(held.op, 3, Outcome::Rejected).await);
        // Given back: the next one crosses it anew.
        let next = bench.grant(with("n", "20.00 USD", 4, Over::Refuse)).await;
        assert_eq!(stood(&next.record), (99_99, true, Some(less)));
        // The same reserve again, because its answer was lost, has the same answer.
        let twice = bench.grant(with("n", "20.00 USD", 4, Over::Refuse)).await;
        assert_eq!(stood(&twice.record), (99_99, true, Some(less)));
    }

    async fn what_left_every_window_gives_nothing_back(bench) {
        let with = |key: &str, amount: &str, token| {
            let mut asked = on(ask(Some(key), amount, token), key);
            asked.budgets = vec![budget(amount, 100_00, Over::Refuse)];
            asked
        };
        let pending = bench.grant(with("a", "60.00 USD", 1)).await.record.op;
        ok(bench.end(pending, 1, Outcome::Accepted).await);
        bench.clock.turn(HOUR * 24 * 32);
        let other = bench.grant(with("b", "60.00 USD", 2)).await.record.op;
        ok(bench.end(other, 2, Outcome::Succeeded).await);
        // What the vendor had called pending comes to nothing: the room that is used now is not its own.
        ok(bench.end(pending, 1, Outcome::Rejected).await);
        assert!(matches!(bench.blocked(with("c", "40.01 USD", 3)).await, Blocked::Over { .. }));
    }

    async fn two_of_one_moment_and_one_is_given_back(bench) {
        let with = |key: &str, amount: &str, token| {
            let mut asked = on(ask(Some(key), amount, token), key);
            asked.budgets = vec![budget(amount, 100_00, Over::Refuse)];
            asked
        };
        let small = bench.grant(with("a", "1.00 USD", 1)).await.record.op;
        let large = bench.grant(with("b", "60.00 USD", 2)).await.record.op;
        ok(bench.end(small, 1, Outcome::Succeeded).await);
        ok(bench.end(large, 2, Outcome::Accepted).await);
        ok(bench.end(large, 2, Outcome::Rejected).await);
        let all = bench.grant(with("c", "99.00 USD", 3)).await;
        assert_eq!(all.record.stood[0].used, 100_00);
    }

    async fn a_count_a_currency_that_is_not_listed_and_allow(bench) {
        let with = |key: &str, token, over| {
            let mut asked = on(ask(Some(key), "1.00 USD", token), key);
            asked.budgets = vec![count(2, over)];
            asked
        };
        bench.grant(with("a", 1, Over::Refuse)).await;
        bench.grant(with("b", 2, Over::Refuse)).await;
        assert!(matches!(bench.blocked(with("c", 3, Over::Refuse)).await, Blocked::Over { .. }));
        bench.grant(with("c", 3, Over::Allow)).await;
        let mut other = on(ask(Some("d"), "1 JPY", 4), "d");
        other.budgets = vec![budget("1 JPY", 0, Over::Refuse)];
        other.budgets[0].take = Take::Money { amount: money("1 JPY"), room: None };
        assert!(matches!(bench.blocked(other).await, Blocked::Over { .. }));
    }

    async fn a_hold_is_answered_by_what_was_shown(bench) {
        let held = bench.hold(ask_held(Some("k"), "600.00 USD", 1)).await;
        let body = bench.store.request(held.op).await.unwrap().unwrap();
        assert_eq!(&body[..], b"POST /refunds secret-body");
        // The same again, under any key, is the same hold.
        for key in [Some("k"), Some("k2"), None] {
            assert_eq!(bench.recalled(key, "600.00 USD").await.record.op, held.op);
        }
        let again = bench.known(ask_held(Some("k3"), "600.00 USD", 2)).await;
        assert_eq!(again.record.hold.as_ref().unwrap().joined, 4);
        assert_eq!(bench.store.list(Some("held"), 10).await.unwrap().len(), 1);

        let wrong = bench.say(held.op, approve(held.about.digest)).await;
        assert!(matches!(wrong, Answered::Changed(_)), "the call's digest alone is not what was shown");
        let approved = bench.approve(&held).await;
        assert_eq!(&*approved.approval.as_ref().unwrap().by, "ana");
        let late = bench.say(held.op, approve(held.hold.as_ref().unwrap().shown)).await;
        assert!(matches!(late, Answered::TooLate(_)));
        assert!(matches!(bench.say(held.op, Say::Withdraw).await, Answered::TooLate(_)));

        // Of two sweeps that race, one sends.
        let (one, two) = tokio::join!(
            bench.store.reserve(release(held.op, "600.00 USD", 7)),
            bench.store.reserve(release(held.op, "600.00 USD", 8)),
        );
        let granted = |r: &Reserved| matches!(r, Reserved::Granted(_));
        let both = [one.unwrap(), two.unwrap()];
        assert_eq!(both.iter().filter(|r| granted(r)).count(), 1, "{both:?}");
        let token = if granted(&both[0]) { 7 } else { 8 };
        ok(bench.end(held.op, token, Outcome::Succeeded).await);
        assert_eq!(bench.store.request(held.op).await.unwrap(), None, "nothing is left to send");
        assert_eq!(bench.recalled(Some("k2"), "600.00 USD").await.record.op, held.op);
    }

    async fn an_approval_lifts_only_what_it_was_given_for(bench) {
        let held = bench.hold(ask_held(Some("k"), "600.00 USD", 1)).await;
        bench.approve(&held).await;
        let mut more = release(held.op, "600.00 USD", 2);
        more.reasons.push(reason("financial.disputed"));
        let anew = bench.hold(more.clone()).await;
        let hold = anew.hold.as_ref().unwrap();
        assert_eq!(hold.changed, [Box::from("financial.disputed")]);
        assert_eq!(hold.reasons.len(), 2, "the next yes is to all of it");
        assert_ne!(hold.shown, held.hold.as_ref().unwrap().shown);
        assert!(bench.store.request(held.op).await.unwrap().is_some());
        // What an approver still has on the screen is no yes to this.
        let old = bench.say(held.op, approve(held.hold.as_ref().unwrap().shown)).await;
        assert!(matches!(old, Answered::Changed(_)));
        bench.approve(&anew).await;
        more.token = Token(3);
        bench.grant(more).await;
    }

    async fn an_approval_is_void_for_another_digest(bench) {
        let held = bench.hold(ask_held(Some("k"), "600.00 USD", 1)).await;
        bench.approve(&held).await;
        let mut other = release(held.op, "600.00 USD", 2);
        other.reasons.clear();
        other.about.digest = Digest(hash("what remains is less now"));
        let anew = bench.hold(other).await;
        assert_eq!(anew.hold.as_ref().unwrap().changed, [Box::from("digest")]);
        assert!(anew.approval.is_none());
    }

    async fn a_release_does_not_count_itself(bench) {
        let mut asked = ask_held(Some("k"), "600.00 USD", 1);
        asked.budgets = vec![budget("600.00 USD", 500_00, Over::Hold)];
        asked.likeness = likeness(Over::Hold);
        let held = bench.hold(asked.clone()).await;
        let ids: Vec<_> =
            held.hold.as_ref().unwrap().reasons.iter().map(|r| &*r.policy).collect();
        assert_eq!(ids, ["budget.customer-24h", "financial.over-cap"]);
        bench.approve(&held).await;
        asked.entry = Entry::Approved(held.op);
        asked.token = Token(2);
        asked.request = Bytes::new();
        bench.grant(asked).await;
    }

    async fn the_room_of_a_hold_is_there_for_its_release(bench) {
        let mut asked = ask_held(Some("k"), "60.00 USD", 1);
        asked.budgets = vec![budget("60.00 USD", 100_00, Over::Refuse)];
        let held = bench.hold(asked.clone()).await;
        bench.approve(&held).await;
        let mut released = release(held.op, "60.00 USD", 2);
        released.budgets = asked.budgets;
        bench.grant(released).await;
    }

    async fn a_denied_withdrawn_or_refused_hold_is_told_again(bench) {
        let deny = Say::Deny { by: "ana".into(), reason: "not this time".into() };
        for (key, say, code) in [
            ("d", deny, Code::ApprovalDenied),
            ("w", Say::Withdraw, Code::Withdrawn),
        ] {
            let amount = if key == "d" { "600.00 USD" } else { "601.00 USD" };
            let held = bench.hold(ask_held(Some(key), amount, 1)).await;
            bench.say(held.op, say).await;
            let known = bench.recalled(Some(&format!("{key} again")), amount).await;
            assert_eq!(known.record.state, State::Refused { code });
            assert_eq!(bench.store.request(held.op).await.unwrap(), None);
            bench.clock.turn(HOUR);
            let again = bench.store.recall(&name(None, amount)).await.unwrap();
            assert!(matches!(again, Recalled::Fresh { .. }), "told once, and ten minutes over");
        }
        let held = bench.hold(ask_held(Some("r"), "602.00 USD", 1)).await;
        let say = || Say::Refuse { code: Code::Forbidden, reason: "revoked".into() };
        assert!(matches!(bench.say(held.op, say()).await, Answered::TooLate(_)), "not before a yes");
        bench.approve(&held).await;
        assert!(matches!(bench.say(held.op, say()).await, Answered::Ok(_)));
        let released = bench.known(release(held.op, "602.00 USD", 2)).await;
        assert_eq!(released.record.state, State::Refused { code: Code::Forbidden });
    }

    async fn an_approval_that_is_not_used_ends(bench) {
        let held = bench.hold(ask_held(Some("k"), "600.00 USD", 1)).await;
        bench.clock.turn(HOUR * 24 - HOUR / 60);
        bench.approve(&held).await;
        bench.clock.turn(HOUR / 2);
        assert_eq!(bench.state(held.op).await, State::Approved);
        bench.clock.turn(HOUR);
        let released = bench.known(release(held.op, "600.00 USD", 2)).await;
        assert_eq!(released.record.state, State::Refused { code: Code::ApprovalExpired });
    }

    async fn a_freeze_stops_what_it_matches_and_nothing_else(bench) {
        let scope = FreezeScope::parse(["class/financial", "agent/bot"]).unwrap();
        let held = bench.hold(on(ask_held(Some("h"), "600.00 USD", 9), "ch_9")).await;
        bench.approve(&held).await;
        let until = Some(START.plus(HOUR));
        let freeze = bench.store.freeze(scope, until, "spike", "ana").await.unwrap();
        assert_eq!(bench.store.freezes(), std::slice::from_ref(&freeze));
        let asked = ask(Some("k"), "60.00 USD", 1);
        assert_eq!(bench.blocked(asked.clone()).await, Blocked::Frozen(freeze.clone()));
        let blocked = bench.blocked(release(held.op, "600.00 USD", 2)).await;
        assert_eq!(blocked, Blocked::Frozen(freeze.clone()));
        assert_eq!(bench.state(held.op).await, State::Approved, "it waits");
        assert!(bench.store.frozen(&about("1.00 USD").subject()).is_some());
        let mut other = ask(Some("o"), "60.00 USD", 3);
        other.about.caller.agent = "other".into();
        let other = bench.grant(on(other, "ch_2")).await;
        ok(bench.end(other.record.op, 3, Outcome::Rejected).await);

        assert_eq!(bench.store.unfreeze("fz_none").await.unwrap(), None);
        assert_eq!(bench.store.unfreeze(&freeze.id).await.unwrap(), Some(freeze));
        assert!(bench.store.freezes().is_empty());
        bench.grant(on(asked, "ch_3")).await;

        bench.store.freeze(FreezeScope::parse(["all"]).unwrap(), until, "", "ana").await.unwrap();
        assert!(bench.store.frozen(&about("1.00 USD").subject()).is_some());
        bench.clock.turn(HOUR);
        assert!(bench.store.frozen(&about("1.00 USD").subject()).is_none(), "it ends by itself");
        assert!(bench.store.freezes().is_empty());
    }

    async fn a_known_call_is_answered_even_under_a_freeze(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        bench.store.freeze(FreezeScope::parse(["all"]).unwrap(), None, "", "ana").await.unwrap();
        assert_eq!(bench.known(ask(Some("k"), "60.00 USD", 2)).await.record.op, first);
    }

    async fn operations_are_listed_and_counted(bench) {
        for n in 0..4_u64 {
            let amount = format!("{n}.50 USD");
            bench.grant(on(ask(Some(&amount), &amount, n), &amount)).await;
            bench.clock.turn(HOUR / 3600);
        }
        let mut foreign = on(ask(Some("f"), "9.00 USD", 9), "f");
        foreign.about.caller.tenant = "another".into();
        let Entry::Asked(named) = &mut foreign.entry else { panic!() };
        named.tenant = "another".into();
        let foreign = bench.grant(foreign).await.record.op;
        ok(bench.end(foreign, 9, Outcome::Succeeded).await);
        let all = bench.store.list(None, 10).await.unwrap();
        assert_eq!((all.len(), all[0].op), (5, foreign), "the newest first");
        assert_eq!(bench.store.list(None, 2).await.unwrap().len(), 2);
        let open = bench.store.list(Some("submitted"), 10).await.unwrap();
        assert_eq!(open.len(), 4);
        assert!(open.is_sorted_by_key(|record| record.created));
        assert_eq!(bench.store.list(Some("done"), 10).await.unwrap().len(), 1);
        assert_eq!(bench.store.listed(Listed::Tenant("another"), 10).await.unwrap().len(), 1);
        assert_eq!(bench.store.listed(Listed::Tenant("t"), 10).await.unwrap().len(), 4);
        let counts = bench.store.counts().await.unwrap();
        assert_eq!(counts.iter().filter(|(_, n)| *n > 0).count(), 2);
        assert!(counts.contains(&("submitted", 4)) && counts.contains(&("done", 1)));
    }

    async fn what_was_kept_long_enough_is_gone(bench) {
        let mut asked = ask(Some("k"), "60.00 USD", 1);
        asked.budgets = vec![budget("60.00 USD", 100_00, Over::Refuse)];
        asked.likeness = likeness(Over::Hold);
        let first = bench.grant(asked).await.record.op;
        let answer = StoredAnswer { status: 200, headers: Vec::new(), body: Bytes::from("{}") };
        let end = settle(first, 1, Outcome::Succeeded);
        ok(bench.store.settle(end, Some(&answer)).await.unwrap());
        bench.recalled(Some("k2"), "60.00 USD").await;
        bench.clock.turn(HOUR * 49);
        bench.store.sweep().await.unwrap();
        let known = bench.recalled(Some("k2"), "60.00 USD").await;
        assert_eq!(known.answer, None, "already done; never run again");
        bench.clock.turn(HOUR * 24 * 32);
        bench.store.sweep().await.unwrap();
        assert!(bench.store.show(first).await.unwrap().is_some());
        bench.clock.turn(HOUR * 24 * 2);
        bench.store.sweep().await.unwrap();
        assert_eq!(bench.store.show(first).await.unwrap(), None);
        assert!(bench.store.list(None, 9).await.unwrap().is_empty());
        assert!(bench.store.counts().await.unwrap().iter().all(|(_, n)| *n == 0));
        let again = bench.store.recall(&name(Some("k2"), "60.00 USD")).await.unwrap();
        assert!(matches!(again, Recalled::Fresh { .. }));
    }

    async fn a_hold_that_ends_in_a_sweep_gives_its_room_back(bench) {
        let with = |mut asked: tollhouse::store::Reserve, amount: &str| {
            asked.budgets = vec![budget(amount, 100_00, Over::Refuse)];
            asked
        };
        let first = with(on(ask(Some("a"), "60.00 USD", 1), "a"), "60.00 USD");
        let first = bench.grant(first).await.record.op;
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        bench.hold(with(on(ask_held(Some("h"), "40.00 USD", 2), "h"), "40.00 USD")).await;
        // In one sweep the hold ends and the old spending leaves the budget's memory.
        bench.clock.turn(HOUR * 24 * 32);
        assert_eq!(bench.store.sweep().await.unwrap().len(), 1);
        bench.grant(with(on(ask(Some("n"), "100.00 USD", 3), "n"), "100.00 USD")).await;
    }

    async fn an_answer_that_is_too_large_is_never_a_second_run(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        let body = Bytes::from(vec![b'a'; (1 << 20) + 1]);
        let answer = StoredAnswer { status: 200, headers: Vec::new(), body };
        let end = settle(first, 1, Outcome::Succeeded);
        ok(bench.store.settle(end, Some(&answer)).await.unwrap());
        let known = bench.recalled(Some("k"), "60.00 USD").await;
        assert_eq!((known.record.state.name(), known.answer), ("done", None));
    }

    async fn who_waits_is_told(bench) {
        let held = bench.hold(ask_held(Some("k"), "600.00 USD", 1)).await;
        let waits = bench.store.changed(held.op, HOUR);
        let answers = async {
            tokio::task::yield_now().await;
            bench.approve(&held).await;
            bench.grant(release(held.op, "600.00 USD", 2)).await;
            ok(bench.end(held.op, 2, Outcome::Succeeded).await);
        };
        tokio::join!(waits, answers);
        assert_eq!(bench.state(held.op).await.name(), "done");
        // Nothing to wait for.
        bench.store.changed(held.op, HOUR).await;
        let open = bench.grant(on(ask(Some("o"), "1.00 USD", 3), "ch_2")).await.record.op;
        bench.store.changed(open, std::time::Duration::from_millis(5)).await;
        assert!(bench.state(open).await.is_in_flight());
    }

    async fn a_clock_that_leaps_empties_no_budget(bench) {
        let with = |key: &str, token| {
            let mut asked = on(ask(Some(key), "60.00 USD", token), key);
            asked.budgets = vec![budget("60.00 USD", 100_00, Over::Refuse)];
            asked
        };
        let first = bench.grant(with("a", 1)).await.record.op;
        ok(bench.end(first, 1, Outcome::Succeeded).await);
        assert_eq!(bench.store.leap(), None);
        bench.clock.set(START.plus(HOUR * 48));
        assert!(matches!(bench.blocked(with("b", 2)).await, Blocked::Over { .. }));
        assert!(bench.store.leap().is_some());
        bench.clock.turn(HOUR * 25);
        bench.grant(with("b", 2)).await;
    }

    async fn an_unknown_is_looked_for_by_one_at_a_time_and_ever_later(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        assert!(matches!(bench.claim(first, 2, Try::Read).await, Claimed::NotNow(_)), "it is sent");
        assert_eq!(bench.store.sought(9).await.unwrap(), []);
        bench.clock.turn(LEASE);
        bench.store.sweep().await.unwrap();
        let ops: Vec<_> = bench.store.sought(9).await.unwrap().iter().map(|r| r.op).collect();
        assert_eq!(ops, [first]);
        let Claimed::Yours(record) = bench.claim(first, 2, Try::Read).await else { panic!() };
        assert_eq!((record.state, record.look.unwrap().tries), (State::Unknown, 1));
        assert_eq!(bench.claim(first, 2, Try::Read).await, Claimed::Yours(record), "asked twice");
        assert!(matches!(bench.claim(first, 3, Try::Read).await, Claimed::NotNow(_)));
        assert_eq!(bench.store.sought(9).await.unwrap(), []);
        let record = ok(bench.look(first, 2, Outcome::Unknown, None).await);
        assert_eq!(&*record.timeline.last().unwrap().what, "looked");
        assert!(matches!(bench.claim(first, 3, Try::Read).await, Claimed::NotNow(_)), "a pause");
        bench.clock.turn(Duration::from_secs(3));
        assert!(matches!(bench.claim(first, 3, Try::Read).await, Claimed::Yours(_)));
        // Whoever does not come back is overtaken, and says nothing any more.
        bench.clock.turn(LEASE);
        assert!(matches!(bench.claim(first, 4, Try::Read).await, Claimed::Yours(_)));
        for outcome in [Outcome::Succeeded, Outcome::NotSent, Outcome::Unknown] {
            assert!(matches!(bench.look(first, 3, outcome, None).await, Settled::Fenced(_)));
        }
        let record = ok(bench.look(first, 4, Outcome::NotSent, None).await);
        assert_eq!((record.state, record.look), (State::NotSent, None));
        assert!(matches!(bench.claim(first, 5, Try::Read).await, Claimed::NotNow(_)));
        assert_eq!(bench.claim(op("nothing"), 6, Try::Read).await, Claimed::Lost);
    }

    async fn what_is_sent_again_is_an_attempt_and_stopped_by_a_freeze(bench) {
        let first = bench.grant(ask(Some("k"), "60.00 USD", 1)).await.record.op;
        bench.clock.turn(LEASE);
        let scope = FreezeScope::parse(["class/financial"]).unwrap();
        let freeze = bench.store.freeze(scope, None, "r", "ana").await.unwrap();
        assert!(matches!(bench.claim(first, 2, Try::Send).await, Claimed::Frozen(_)));
        assert!(matches!(bench.claim(first, 3, Try::Read).await, Claimed::Yours(_)), "reading may");
        ok(bench.look(first, 3, Outcome::Unknown, None).await);
        bench.store.unfreeze(&freeze.id).await.unwrap();
        bench.clock.turn(HOUR);
        let Claimed::Yours(record) = bench.claim(first, 4, Try::Send).await else { panic!() };
        assert_eq!((record.attempts.len(), record.last_token()), (2, Some(Token(4))));
        // A no of the second sending proves nothing, its yes does.
        let mut end = settle(first, 4, Outcome::Rejected);
        end.by = Witness::Resend(Token(4));
        assert!(matches!(bench.store.settle(end.clone(), None).await.unwrap(), Settled::Fenced(_)));
        end.outcome = Outcome::Succeeded;
        let record = ok(bench.store.settle(end, None).await.unwrap());
        assert_eq!(record.state, State::Done { outcome: Outcome::Succeeded });
    }

    async fn what_the_vendor_made_belongs_to_one_operation(bench) {
        let first = bench.grant(ask(Some("a"), "60.00 USD", 1)).await.record;
        let mut end = settle(first.op, 1, Outcome::Succeeded);
        end.made = Some("re_1".into());
        assert_eq!(ok(bench.store.settle(end, None).await.unwrap()).made, Some("re_1".into()));
        let made_by = async |id: &str| bench.store.made_by(&first.about, id).await.unwrap();
        assert_eq!((made_by("re_1").await, made_by("re_2").await), (Some(first.op), None));
        let second = bench.grant(ask(Some("b"), "61.00 USD", 2)).await.record.op;
        bench.clock.turn(LEASE);
        assert!(matches!(bench.claim(second, 3, Try::Read).await, Claimed::Yours(_)));
        let taken = bench.look(second, 3, Outcome::Succeeded, Some("re_1")).await;
        assert!(matches!(taken, Settled::Fenced(_)), "it is the first one's");
        ok(bench.look(second, 3, Outcome::Succeeded, Some("re_2")).await);
        assert_eq!(made_by("re_2").await, Some(second));
    }

    async fn what_is_pending_is_followed_to_its_end(bench) {
        for (key, token, end) in [("a", 1, Outcome::Succeeded), ("b", 2, Outcome::Rejected)] {
            let mut asked = on(ask(Some(key), "60.00 USD", token), key);
            asked.budgets = vec![budget("60.00 USD", 100_00, Over::Refuse)];
            asked.budgets[0].key = key.into();
            asked.request = Bytes::from_static(b"POST /refunds");
            let op = bench.grant(asked).await.record.op;
            ok(bench.end(op, token, Outcome::Accepted).await);
            assert!(bench.store.request(op).await.unwrap().is_some(), "kept to follow it");
            assert_eq!(bench.store.sought(9).await.unwrap()[0].op, op);
            assert!(matches!(bench.claim(op, 7, Try::Send).await, Claimed::NotNow(_)));
            assert!(matches!(bench.claim(op, 8, Try::Read).await, Claimed::Yours(_)));
            let no = bench.look(op, 8, Outcome::NotSent, None).await;
            assert!(matches!(no, Settled::Fenced(_)), "the vendor took it");
            let record = ok(bench.look(op, 8, end, None).await);
            assert_eq!(record.state, State::Done { outcome: end });
            assert!(bench.store.request(op).await.unwrap().is_none());
            assert_eq!(bench.store.sought(9).await.unwrap(), []);
        }
    }

    async fn what_is_open_or_pending_is_kept_however_old(bench) {
        let unknown = bench.grant(ask(Some("u"), "60.00 USD", 1)).await.record.op;
        let pending = bench.grant(on(ask(Some("p"), "60.00 USD", 2), "ch_2")).await.record.op;
        ok(bench.end(pending, 2, Outcome::Accepted).await);
        bench.clock.turn(HOUR * 24 * 100);
        for _ in 0..20 {
            bench.store.sweep().await.unwrap();
        }
        assert_eq!(bench.state(unknown).await, State::Unknown);
        assert_eq!(bench.state(pending).await, State::Done { outcome: Outcome::Accepted });
    }
}

fn keys_amount(keys: &str) -> &'static str {
    if keys == "one key" { "60.00 USD" } else { "59.00 USD" }
}

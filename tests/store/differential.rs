//! The script is held to the pure step: any order of events has the same replies on every store.
//!
//! Random sequences over few names, so that they meet: tenants, callers, keys, resources, amounts, currencies,
//! edges of every window, holds, approvals, freezes, leaps of the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tollhouse::call::{
    CallerKey, Class, Digest, Fingerprint, Kind, OperationId, Outcome, Resource,
};
use tollhouse::clock::Clock;
use tollhouse::contract::Over;
use tollhouse::refusal::{Code, Fault};
use tollhouse::store::{
    Answered, Blocked, BrakeUse, BudgetUse, Claim, Claimed, Crowd, Entry, Freeze, FreezeScope,
    HoldAnswer, HoldTerms, Letter, Lift, Likeness, Listed, Name, News, Place, Post, Posted, Quorum,
    RateUse, Recalled, Reserve, Reserved, Risk, Say, Settle, Settled, Stops, Store, StoredAnswer,
    Take, Tally, Token, Try, Witness, Word,
};

use super::key;
use crate::asks::{HOUR, LEASE, START, about, hash, money, reason, settle};
use crate::support::redis::Server;

const TENANTS: [&str; 3] = ["t", "", "{a}:b%"];
const AMOUNTS: [Option<&str>; 7] = [
    Some("60.00 USD"),
    Some("57.00 USD"),
    Some("56.99 USD"),
    Some("0.01 USD"),
    Some("60.00 EUR"),
    Some("10000000000.00 USD"),
    None,
];
const SCOPES: [&str; 8] = [
    "all",
    "class/financial",
    "agent/bot0",
    "tenant/t class/write",
    "customer/c1 action/shop.refund.create",
    "upstream/elsewhere",
    "upstream/shop agent/bot1",
    "kind/message class/write",
];
/// What a brake holds: of one tenant, whatever its name.
const BRAKED: [&str; 5] = [
    "tenant/t",
    "tenant/% agent/bot0",
    "tenant/{a}:b%25 class/financial",
    "tenant/t kind/message",
    "tenant/t action/shop.refund.create",
];
/// How many people must say yes, and for which roles.
const QUORUMS: [(u8, &[&str]); 6] =
    [(1, &[]), (1, &[]), (2, &[]), (1, &["finance"]), (2, &["finance", "lead"]), (3, &["lead"])];
/// People and their roles.
const PEOPLE: [(&str, &[&str]); 4] =
    [("ana", &["finance"]), ("ben", &["lead"]), ("eva", &["finance", "lead"]), ("Ana", &[])];
const OVERS: [Over; 3] = [Over::Hold, Over::Refuse, Over::Allow];
const OUTCOMES: [Outcome; 5] =
    [Outcome::Succeeded, Outcome::Accepted, Outcome::Rejected, Outcome::NotSent, Outcome::Unknown];

/// Who asks for what, under which key.
#[derive(Debug, Clone, Copy)]
struct Who {
    tenant: usize,
    agent: usize,
    key: Option<usize>,
    body: usize,
    intent: bool,
}

/// What is asked.
#[derive(Debug, Clone)]
struct What {
    amount: usize,
    resource: Option<usize>,
    class: usize,
    kind: bool,
    reasons: usize,
    likeness: Option<(usize, u16, bool)>,
    budgets: Vec<(usize, usize)>,
    seen: usize,
    token: u64,
    request: bool,
    digest: usize,
    deadline: usize,
    people: usize,
    nudge: Option<usize>,
    crowd: bool,
    rates: Vec<usize>,
    brakes: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Step {
    Recall(Who),
    Reserve(Who, What),
    Release(usize, What),
    Settle { nth: usize, token: usize, by: usize, outcome: usize, answer: bool, collected: bool },
    Approve { nth: usize, right: bool, by: usize },
    Nudge { nth: usize, on_time: bool, to: bool, next: Option<usize> },
    Take(usize),
    Tried { nth: usize, on_time: bool, again: Option<usize> },
    Line { tenant: usize, skip: usize, limit: usize },
    Deny(usize),
    Withdraw(usize),
    Refuse(usize),
    Collected(usize),
    Claim { nth: usize, token: u64, send: bool },
    Freeze(usize, Option<usize>),
    Unfreeze(usize),
    Brake(usize, usize, Option<usize>),
    LetGo(usize),
    PutAway(usize),
    Tally(usize, Vec<(usize, i64, usize)>),
    Sweep,
    Turn(usize),
    Leap(usize),
    Look(usize),
}

fn spans(at: usize) -> Duration {
    let millisecond = Duration::from_millis(1);
    [
        millisecond,
        Duration::from_secs(1),
        LEASE,
        LEASE - millisecond,
        HOUR / 6,
        HOUR / 6 + millisecond,
        HOUR,
        HOUR + millisecond,
        HOUR * 24,
        HOUR * 24 + millisecond,
        HOUR * 48,
        HOUR * 48 + millisecond,
        HOUR * 24 * 31,
        HOUR * 24 * 36,
    ][at % 14]
}

fn who() -> impl Strategy<Value = Who> {
    let key = proptest::option::weighted(0.7, 0..3_usize);
    // Mostly one tenant, so that they meet.
    let tenant = prop_oneof![6 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
    (tenant, 0..2_usize, key, 0..3_usize, prop::bool::weighted(0.05))
        .prop_map(|(tenant, agent, key, body, intent)| Who { tenant, agent, key, body, intent })
}

fn what() -> impl Strategy<Value = What> {
    let often = || prop::bool::weighted(0.85);
    let likeness = proptest::option::weighted(
        0.7,
        (0..3_usize, prop_oneof![Just(50_u16), Just(0), Just(1000)], any::<bool>()),
    );
    let budgets = proptest::collection::vec((0..5_usize, 0..3_usize), 0..4);
    (
        (0..AMOUNTS.len(), proptest::option::weighted(0.85, 0..2_usize), 0..4_usize, often()),
        (0..6_usize, likeness, budgets, 0..8_usize),
        (0..6_u64, any::<bool>(), 0..5_usize, 0..3_usize),
        (0..QUORUMS.len(), proptest::option::weighted(0.5, 0..6_usize), prop::bool::weighted(0.2)),
        proptest::sample::subsequence(vec![0_usize, 1, 2], 0..3),
        proptest::sample::subsequence(vec![0_usize, 1, 2, 3], 0..3),
    )
        .prop_map(|(a, b, c, d, rates, brakes)| What {
            brakes,
            amount: a.0,
            resource: a.1,
            class: a.2,
            kind: a.3,
            reasons: b.0,
            likeness: b.1,
            budgets: b.2,
            seen: b.3,
            token: c.0,
            request: c.1,
            digest: c.2,
            deadline: c.3,
            people: d.0,
            nudge: d.1,
            crowd: d.2,
            rates,
        })
}

fn steps() -> impl Strategy<Value = Step> {
    let nth = || 0..6_usize;
    prop_oneof![
        4 => who().prop_map(Step::Recall),
        9 => (who(), what()).prop_map(|(who, what)| Step::Reserve(who, what)),
        4 => (nth(), what()).prop_map(|(nth, what)| Step::Release(nth, what)),
        9 => (nth(), 0..2_usize, 0..10_usize, 0..5_usize, any::<bool>(), any::<bool>()).prop_map(
            |(nth, token, by, outcome, answer, collected)| {
                Step::Settle { nth, token, by, outcome, answer, collected }
            }
        ),
        5 => (nth(), prop::bool::weighted(0.85), 0..PEOPLE.len())
            .prop_map(|(nth, right, by)| Step::Approve { nth, right, by }),
        2 => (nth(), prop::bool::weighted(0.85), any::<bool>(), proptest::option::of(0..6_usize))
            .prop_map(|(nth, on_time, to, next)| Step::Nudge { nth, on_time, to, next }),
        3 => nth().prop_map(Step::Take),
        2 => (nth(), prop::bool::weighted(0.85), proptest::option::of(0..6_usize))
            .prop_map(|(nth, on_time, again)| Step::Tried { nth, on_time, again }),
        2 => (0..TENANTS.len(), 0..3_usize, 1..4_usize)
            .prop_map(|(tenant, skip, limit)| Step::Line { tenant, skip, limit }),
        1 => nth().prop_map(Step::Deny),
        1 => nth().prop_map(Step::Withdraw),
        1 => nth().prop_map(Step::Refuse),
        1 => nth().prop_map(Step::Collected),
        5 => (nth(), 0..4_u64, any::<bool>())
            .prop_map(|(nth, token, send)| Step::Claim { nth, token, send }),
        1 => (0..SCOPES.len(), proptest::option::weighted(0.7, 0..14_usize))
            .prop_map(|(scope, until)| Step::Freeze(scope, until)),
        2 => (0..3_usize).prop_map(Step::Unfreeze),
        2 => (0..4_usize, 0..BRAKED.len(), proptest::option::weighted(0.5, 0..14_usize))
            .prop_map(|(number, scope, until)| Step::Brake(number, scope, until)),
        2 => (0..4_usize).prop_map(Step::LetGo),
        2 => (0..4_usize).prop_map(Step::PutAway),
        2 => (0..TENANTS.len(), proptest::collection::vec((0..4_usize, 0..3_i64, 0..14_usize), 1..4))
            .prop_map(|(tenant, all)| Step::Tally(tenant, all)),
        2 => Just(Step::Sweep),
        5 => (0..14_usize).prop_map(Step::Turn),
        1 => (0..14_usize).prop_map(Step::Leap),
        1 => nth().prop_map(Step::Look),
    ]
}

fn name(who: Who) -> Name {
    let body = format!("body {} of {}", who.body, who.agent);
    Name {
        tenant: TENANTS[who.tenant].into(),
        scope: format!("{} bot{}", TENANTS[who.tenant], who.agent).into_bytes().into(),
        key: who.key.map(|key| format!("k{key}").into()),
        intent: who.intent.then_some(2),
        fingerprint: Fingerprint(hash(&body)),
    }
}

/// A rate that replicas share: two an hour, three a second at once, one a day.
fn rate(at: usize) -> RateUse {
    let (every, burst) = [(HOUR / 2, HOUR), (HOUR / 3600, HOUR / 1200), (HOUR * 24, HOUR * 24)][at];
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap();
    let name = format!("rate-{at}").into_boxed_str();
    RateUse { key: name.as_bytes().into(), name, every: micros(every), burst: micros(burst) }
}

/// What brakes count: at most two, at most so much, only counted; each with a number of its own.
fn brake(what: &What, at: usize) -> BrakeUse {
    let amount = money(AMOUNTS[what.amount].unwrap_or("500.00 USD"));
    let currency = Some(amount.currency);
    let (unit, count, within, most) = [
        (None, 1, HOUR, Some(2)),
        (currency, amount.minor, HOUR * 24, Some(150_00)),
        (None, 1, HOUR * 24 * 31, None),
        (None, 1, HOUR / 6, Some(1)),
    ][at];
    let (id, number) = (format!("brake.b{at}").into(), format!("br_{at}").into_boxed_str());
    BrakeUse { id, key: number.clone(), number, unit, count, within, most }
}

/// A count of what brakes count as well, and of what nothing else does.
fn tally((at, count, since): (usize, i64, usize)) -> Tally {
    // A rule has one window.
    let within = [HOUR, HOUR * 24, HOUR * 24 * 31, HOUR / 6][at];
    let key = ["br_0", "br_1", "br_2", "else"][at];
    let unit = (at == 1).then(|| money("1.00 USD").currency);
    let since = (since % 3 == 0).then(|| START.plus(HOUR * 24));
    Tally { key: key.into(), unit, count, within, since }
}

fn budget(what: &What, at: usize, over: usize) -> BudgetUse {
    let amount = money(AMOUNTS[what.amount].unwrap_or("500.00 USD"));
    let listed = |room| Take::Money { amount, room: Some(room) };
    let (key, within, take) = [
        ("customer", HOUR * 24, listed(100_00)),
        ("customer", HOUR, listed(70_00)),
        ("agent", HOUR, Take::One { room: 2 }),
        ("all", HOUR * 24 * 31, listed(i64::MAX)),
        ("none", HOUR, Take::Money { amount, room: None }),
    ][at % 5];
    let id = format!("budget.{key}-{}h", within.as_secs() / 3600);
    // Half, and one that a single effect crosses.
    let alert = [Some(50_00), None, Some(1), Some(1 << 60), Some(1)][at % 5];
    BudgetUse { id: id.into(), key: key.into(), within, take, over: OVERS[over], alert }
}

/// A store under test, and what only its own replies tell: versions and freezes' numbers.
struct Side {
    store: Store,
    seen: [Vec<u64>; 3],
    freezes: Vec<Box<str>>,
}

/// What every store must say alike, numbers of versions and freezes left out.
#[derive(Debug, PartialEq)]
enum Told {
    Recalled(Recalled),
    Reserved(Reserved),
    Settled(Settled),
    Answered(Answered),
    Posted(Posted),
    Claimed(Claimed),
    Swept(Vec<Arc<tollhouse::store::Record>>),
    Lifted(Option<Freeze>),
    Braked(Freeze, bool),
    Tallied(Vec<i64>),
    Looked(String),
    Noted,
    Fault(String),
}

fn plain(mut freeze: Freeze) -> Freeze {
    freeze.id = "fz".into();
    freeze
}

/// Whichever of those that stop it.
fn whichever(_: &Freeze) -> Freeze {
    let (id, by, reason) = ("fz".into(), "".into(), "".into());
    Freeze {
        id,
        scope: FreezeScope::default(),
        reason,
        by,
        at: START,
        until: None,
        issued_before: None,
        stops: Stops::Refused,
    }
}

impl Side {
    fn new(store: Store) -> Self {
        Self { store, seen: Default::default(), freezes: Vec::new() }
    }

    fn reserve(&self, entry: Entry, who: Who, what: &What) -> Reserve {
        let mut about = about(AMOUNTS[what.amount].unwrap_or("0.00 USD"));
        if AMOUNTS[what.amount].is_none() {
            about.amount = None;
        }
        about.caller = CallerKey {
            tenant: TENANTS[who.tenant].into(),
            agent: format!("bot{}", who.agent).into(),
            customer: Arc::from("c1"),
        };
        about.class =
            [Class::Financial, Class::Financial, Class::Write, Class::Communication][what.class];
        about.classes = vec![about.class, Class::Write];
        about.kind = what.kind.then_some(Kind::Refund);
        let named = |n| Resource { kind: "Charge".into(), id: format!("ch_{n}").into() };
        about.resource = what.resource.map(named);
        about.fingerprint = match &entry {
            Entry::Asked(name) => name.fingerprint,
            Entry::Approved(_) => Fingerprint(hash("released")),
        };
        about.digest = Digest(hash(&format!("digest {}", what.digest / 4)));
        let reasons: &[&str] = [
            &[][..],
            &[],
            &[],
            &["financial.over-cap"],
            &["a.first", "financial.over-cap"],
            &["zz.last"],
        ][what.reasons];
        let seen = &self.seen[who.tenant];
        Reserve {
            entry,
            token: Token(what.token | 1 << 60),
            lease: LEASE,
            about,
            reasons: reasons.iter().map(|id| reason(id)).collect(),
            hold: HoldTerms {
                queue: "finance".into(),
                deadline: START.plus(HOUR * [2, 24, 24 * 365][what.deadline]),
                risk: [Risk::High, Risk::Medium, Risk::Low][what.people % 3],
                needs: Quorum {
                    approvers: QUORUMS[what.people].0,
                    roles: QUORUMS[what.people].1.iter().map(|role| (*role).into()).collect(),
                },
                nudge: what.nudge.map(spans),
                crowd: if what.crowd { Crowd { agent: 2, customer: 3 } } else { Crowd::default() },
                wants: News::ALL.into_iter().skip(what.people % 3).collect(),
            },
            seen: match what.seen {
                0 => seen.first().copied().unwrap_or(0),
                1 => seen.last().copied().unwrap_or(0),
                _ => u64::MAX,
            },
            likeness: what.likeness.map(|(alike, near, long)| Likeness {
                alike: OVERS[alike],
                within: if long { HOUR * 24 } else { HOUR },
                near,
            }),
            rates: what.rates.iter().map(|at| rate(*at)).collect(),
            brakes: what.brakes.iter().map(|at| brake(what, *at)).collect(),
            kinds: if what.kind { vec![Kind::Refund, Kind::Message] } else { Vec::new() },
            budgets: what.budgets.iter().map(|(at, over)| budget(what, *at, *over)).collect(),
            request: if what.request { Bytes::from_static(b"POST /refunds") } else { Bytes::new() },
        }
    }

    fn noticed(&mut self, tenant: usize, seen: &mut u64) {
        self.seen[tenant].push(*seen);
        *seen = 0;
    }

    /// One step; `ops` are the operations that were met so far.
    async fn take(&mut self, step: &Step, ops: &[(OperationId, Who)]) -> Result<Told, Fault> {
        let at = |nth: usize| {
            // The newest are the likeliest to be asked about.
            ops.iter().rev().nth(nth % ops.len().max(1)).copied()
        };
        let none =
            (OperationId([9; 32]), Who { tenant: 0, agent: 0, key: None, body: 0, intent: false });
        Ok(match step {
            Step::Recall(who) => {
                let mut told = self.store.recall(&name(*who)).await?;
                if let Recalled::Fresh { seen, .. } = &mut told {
                    self.noticed(who.tenant, seen);
                }
                Told::Recalled(told)
            }
            Step::Reserve(who, what) => {
                let ask = self.reserve(Entry::Asked(name(*who)), *who, what);
                self.reserved(who.tenant, ask).await?
            }
            Step::Release(nth, what) => {
                let (op, who) = at(*nth).unwrap_or(none);
                let ask = self.reserve(Entry::Approved(op), who, what);
                self.reserved(who.tenant, ask).await?
            }
            Step::Settle { nth, token, by, outcome, answer, collected } => {
                let (op, _) = at(*nth).unwrap_or(none);
                let record = self.store.show(op).await?;
                let attempts = record.iter().flat_map(|record| &record.attempts);
                let own = attempts.rev().nth(*token).map_or(Token(99), |attempt| attempt.token);
                let mut end = settle(op, own.0, OUTCOMES[*outcome]);
                end.by = match by {
                    0 => Witness::Resend(own),
                    1 => Witness::Person("ana".into()),
                    2..5 => {
                        let look = record.as_ref().and_then(|record| record.look);
                        Witness::Lookup(look.map_or(own, |look| look.token))
                    }
                    _ => Witness::First(own),
                };
                end.collected = *collected;
                end.made = [None, Some("re_1".into()), Some("re_2".into())][(nth + by) % 3].clone();
                if *answer {
                    (end.status, end.request_id, end.note) = (None, None, "slow".into());
                }
                let kept = StoredAnswer {
                    status: 200,
                    headers: vec![("request-id".into(), Bytes::from_static(b"r"))],
                    body: Bytes::from(op.to_string()),
                };
                Told::Settled(self.settled(end, answer.then_some(kept)).await?)
            }
            Step::Approve { nth, right, by } => {
                let (op, _) = at(*nth).unwrap_or(none);
                let record = self.store.show(op).await?;
                let hold = record.as_ref().and_then(|record| record.hold.as_ref());
                let shown = hold.filter(|_| *right).map_or(Digest([1; 32]), |hold| hold.shown);
                let (by, roles) = PEOPLE[*by];
                let roles = roles.iter().map(|role| (*role).into()).collect();
                let say = Say::Approve { by: by.into(), shown, roles, reason: "fine".into() };
                self.say(op, say).await?
            }
            Step::Nudge { nth, on_time, to, next } => {
                let (op, _) = at(*nth).unwrap_or(none);
                let record = self.store.show(op).await?;
                let due = record.and_then(|record| record.hold.as_ref()?.nudge);
                let due = due.filter(|_| *on_time).unwrap_or(START);
                let to = to.then(|| "lead".into());
                self.say(op, Say::Nudge { due, to, next: next.map(spans) }).await?
            }
            Step::Take(nth) => {
                let op = at(*nth).unwrap_or(none).0;
                let number = self.letter(op).await?.map_or(7, |letter| letter.number);
                let word = Word::Take { lease: LEASE };
                Told::Posted(self.store.post(Post { op, number, word }).await?)
            }
            Step::Tried { nth, on_time, again } => {
                let op = at(*nth).unwrap_or(none).0;
                let letter = self.letter(op).await?;
                let taken = letter.as_ref().filter(|_| *on_time).map_or(START, |one| one.next);
                let word = Word::Tried { taken, told: vec!["ops".into()], again: again.map(spans) };
                let number = letter.map_or(7, |letter| letter.number);
                Told::Posted(self.store.post(Post { op, number, word }).await?)
            }
            Step::Line { tenant, skip, limit } => {
                Told::Looked(self.line(TENANTS[*tenant], (*skip, *limit)).await?)
            }
            Step::Deny(nth) => {
                let say = Say::Deny { by: "ana".into(), reason: "no".into() };
                self.say(at(*nth).unwrap_or(none).0, say).await?
            }
            Step::Withdraw(nth) => self.say(at(*nth).unwrap_or(none).0, Say::Withdraw).await?,
            Step::Refuse(nth) => {
                let say = Say::Refuse { code: Code::Forbidden, reason: "revoked".into() };
                self.say(at(*nth).unwrap_or(none).0, say).await?
            }
            Step::Collected(nth) => {
                self.store.collected(at(*nth).unwrap_or(none).0).await?;
                Told::Noted
            }
            Step::Claim { nth, token, send } => {
                let how = if *send { Try::Send } else { Try::Read };
                let (op, token) = (at(*nth).unwrap_or(none).0, Token(token | 7 << 58));
                let mut claimed = self.store.claim(Claim { op, token, how, lease: LEASE }).await?;
                if let Claimed::Frozen(freeze) = &mut claimed {
                    *freeze = whichever(freeze);
                }
                Told::Claimed(claimed)
            }
            Step::Freeze(scope, until) => {
                let scope = FreezeScope::parse([SCOPES[*scope]]).unwrap();
                let until = until.map(|span| START.plus(spans(span)));
                let freeze = self.store.freeze(scope, until, "spike", "ana").await?;
                self.freezes.push(freeze.id.clone());
                Told::Lifted(Some(plain(freeze)))
            }
            Step::Unfreeze(nth) => {
                let id = self.freezes.iter().rev().nth(*nth).cloned().unwrap_or("fz_none".into());
                Told::Lifted(self.store.unfreeze(&id).await?.map(plain))
            }
            Step::Brake(number, scope, until) => {
                let (until, stops) = (until.map(|span| START.plus(spans(span))), Stops::Held);
                let (brake, is_new) = self
                    .store
                    .brake(Freeze {
                        id: format!("br_{number}").into(),
                        scope: FreezeScope::parse([BRAKED[*scope]]).unwrap(),
                        reason: format!("{scope} of {number}").into(),
                        by: Freeze::by_brake(&format!("b{number}")),
                        // Some have heard of the last release, some have not.
                        at: if number % 2 == 0 { START } else { self.store.now() },
                        until,
                        issued_before: None,
                        stops,
                    })
                    .await?;
                Told::Braked(brake, is_new)
            }
            Step::LetGo(number) => {
                Told::Lifted(self.store.unfreeze(&format!("br_{number}")).await?)
            }
            Step::PutAway(number) => {
                let id = format!("br_{number}");
                Told::Lifted(self.store.release(&id, HOUR, Lift::IfOver).await?)
            }
            Step::Tally(tenant, all) => {
                let all = all.iter().map(|one| tally(*one)).collect();
                Told::Tallied(self.store.tally(TENANTS[*tenant], all).await?)
            }
            Step::Sweep => {
                let mut swept = self.store.sweep().await?;
                swept.sort_by_key(|record| record.op);
                Told::Swept(swept)
            }
            Step::Turn(_) | Step::Leap(_) => Told::Noted,
            Step::Look(nth) => Told::Looked(self.look(at(*nth).unwrap_or(none).0).await?),
        })
    }

    async fn reserved(&mut self, tenant: usize, ask: Reserve) -> Result<Told, Fault> {
        let mut told = self.store.reserve(ask).await?;
        match &mut told {
            Reserved::Blocked(Blocked::Stale(seen)) => self.noticed(tenant, seen),
            Reserved::Blocked(Blocked::Frozen(freeze)) => {
                // Of several that stop it the first by number is named, and numbers are random.
                assert!(self.freezes.contains(&freeze.id));
                *freeze = whichever(freeze);
            }
            _ => {}
        }
        Ok(Told::Reserved(told))
    }

    async fn settled(&self, end: Settle, answer: Option<StoredAnswer>) -> Result<Settled, Fault> {
        self.store.settle(end, answer.as_ref()).await
    }

    /// The oldest letter of an operation.
    async fn letter(&self, op: OperationId) -> Result<Option<Letter>, Fault> {
        Ok(self.store.show(op).await?.and_then(|record| record.letters.first().cloned()))
    }

    /// What waits in a queue, as somebody reads it page by page.
    async fn line(&self, tenant: &str, (skip, limit): (usize, usize)) -> Result<String, Fault> {
        let mut seen = String::new();
        for queue in ["finance", "lead"] {
            let all = self.store.waiting((tenant, queue), None, 500).await?;
            let place = |record: &Arc<tollhouse::store::Record>| {
                Place::of(record.op, record.hold.as_ref().unwrap())
            };
            assert!(all.is_sorted_by_key(place), "by risk and age");
            let after = all.get(skip).map(place);
            let page = self.store.waiting((tenant, queue), after.as_ref(), limit).await?;
            let rest = all.iter().skip(if after.is_some() { skip + 1 } else { 0 }).take(limit);
            assert_eq!(
                page.iter().map(place).collect::<Vec<_>>(),
                rest.map(place).collect::<Vec<_>>()
            );
            seen.push_str(&format!("{queue} {:?}\n", all.iter().map(place).collect::<Vec<_>>()));
        }
        Ok(seen)
    }

    async fn say(&self, op: OperationId, say: Say) -> Result<Told, Fault> {
        Ok(Told::Answered(self.store.answer(HoldAnswer { op, say }).await?))
    }

    /// An operation with its answer and its request, every list, every count.
    async fn look(&self, op: OperationId) -> Result<String, Fault> {
        let sought: Vec<_> = self.store.sought(500).await?.iter().map(|r| (r.op, r.look)).collect();
        let made = self.store.made_by(&about("60.00 USD"), "re_1").await?;
        let mut seen = format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n{sought:?}\n{made:?}\n",
            self.store.show_answer(op).await?,
            self.store.request(op).await?,
            self.store.counts().await?,
            self.store.leap(),
        );
        let lists = [
            Listed::All,
            Listed::Tenant("t"),
            Listed::Held,
            Listed::Approved,
            Listed::Submitted,
            Listed::Unknown,
            Listed::Accepted,
        ];
        for list in lists {
            let all = self.store.listed(list, 500).await?;
            let each = all.iter().map(|record| (record.op, record.state, record.updated));
            seen.push_str(&format!("{list:?} {:?}\n", each.collect::<Vec<_>>()));
        }
        for (key, within) in [("customer", HOUR * 24), ("all", HOUR * 24 * 31), ("agent", HOUR)] {
            let amount = money("60.00 USD");
            let take = match key {
                "agent" => Take::One { room: 2 },
                _ => Take::Money { amount, room: Some(1) },
            };
            let budget = BudgetUse {
                id: "b".into(),
                key: key.into(),
                within,
                take,
                over: Over::Hold,
                alert: None,
            };
            let used = self.store.used(&about("60.00 USD"), &budget, op).await?;
            seen.push_str(&format!("{key} {used}\n"));
        }
        let mut lines = self.store.lines().await?;
        lines.sort_by_key(|line| (Arc::clone(&line.tenant), line.queue.clone()));
        let mut due: Vec<_> = self.store.post_due(500).await?.iter().map(|r| r.op).collect();
        due.sort();
        seen.push_str(&format!("{lines:?} {due:?}\n"));
        seen.push_str(&format!("{}\n", self.store.freezes().len()));
        // What was released long ago goes with a sweep, sooner or later.
        let now = self.store.now();
        let mut brakes = self.store.brakes();
        brakes.retain(|one| one.stops == Stops::Held || one.until.is_none_or(|until| now < until));
        seen.push_str(&format!("{brakes:?}\n"));
        Ok(seen)
    }
}

/// The operations that a reply is about.
fn met(told: &Told) -> Option<OperationId> {
    match told {
        Told::Reserved(Reserved::Granted(grant)) => Some(grant.record.op),
        Told::Reserved(Reserved::Held(record)) => Some(record.op),
        _ => None,
    }
}

/// The word of a reply, and where it has sorts the sort.
fn sort(told: &Told) -> String {
    let words = match told {
        Told::Recalled(reply) => format!("{reply:?}"),
        Told::Reserved(Reserved::Known(known)) => {
            format!("Known{:?}{:?}", known.how, known.record.state)
        }
        Told::Reserved(Reserved::Blocked(blocked)) => format!("Blocked{blocked:?}"),
        Told::Reserved(Reserved::Held(record)) => {
            let hold = record.hold.as_ref().unwrap();
            if hold.reasons.iter().all(|reason| reason.policy.starts_with("brake.")) {
                return "HeldByBrake".into();
            }
            format!("Held{}", if hold.changed.is_empty() { "" } else { "Anew" })
        }
        Told::Reserved(reply) => format!("{reply:?}"),
        Told::Settled(reply) => format!("Settled{reply:?}"),
        Told::Answered(reply) => format!("Answered{reply:?}"),
        Told::Claimed(reply) => format!("Claimed{reply:?}"),
        Told::Posted(reply) => format!("Posted{reply:?}"),
        Told::Swept(changed) => format!("Swept{}", changed.len().min(2)),
        Told::Lifted(lifted) => format!("Lifted{}", lifted.is_some()),
        Told::Braked(_, is_new) => format!("Braked{is_new}"),
        Told::Tallied(totals) => format!("Tallied{}", totals.iter().any(|n| *n > 0)),
        Told::Looked(_) | Told::Noted => String::new(),
        Told::Fault(fault) => format!("Fault{fault}"),
    };
    words.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

/// How many replies of which sort there were: a test that only ever saw `Fresh` would prove nothing.
static SEEN: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

async fn run(steps: &[Step], clock: &Clock, sides: &mut [Side]) -> Result<(), TestCaseError> {
    let mut ops: Vec<(OperationId, Who)> = Vec::new();
    let look = Step::Look(0);
    for step in steps.iter().chain([&look]) {
        match step {
            Step::Turn(span) => clock.turn(spans(*span)),
            Step::Leap(span) => clock.set(clock.now().plus(spans(*span))),
            _ => {}
        }
        // Each store looks at the clock now: what is a leap hangs on when it looked.
        sides.iter().for_each(|side| drop(side.store.freezes()));
        let mut told: Vec<Told> = Vec::new();
        for side in sides.iter_mut() {
            let one = side.take(step, &ops).await;
            told.push(one.unwrap_or_else(|fault| Told::Fault(fault.to_string())));
        }
        *SEEN.lock().entry(sort(&told[0])).or_default() += 1;
        for other in &told[1..] {
            prop_assert_eq!(&told[0], other, "{:?}", step);
        }
        if let (Some(op), Step::Reserve(who, _)) = (met(&told[0]), step)
            && !ops.iter().any(|(own, _)| *own == op)
        {
            ops.push((op, *who));
        }
    }
    Ok(())
}

/// Keeps the fleets of one server apart.
static FLEETS: AtomicU64 = AtomicU64::new(0);

fn differ(cases: u32, length: usize, with: impl Fn(&Clock, &mut Vec<Side>)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let strategy = proptest::collection::vec(steps(), 1..length);
    // The usual run is the same every time; a longer one, asked for, looks where none has looked.
    let mut runner = match std::env::var_os("TOLLHOUSE_TEST_SEQUENCES") {
        Some(_) => TestRunner::new(config),
        None => {
            let dice = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, dice)
        }
    };
    let result = runner.run(&strategy, |steps| {
        runtime.block_on(async {
            let clock = Clock::by_hand(START);
            let mut sides = vec![Side::new(Store::memory(clock.clone()).unwrap())];
            with(&clock, &mut sides);
            run(&steps, &clock, &mut sides).await
        })
    });
    if let Err(TestError::Fail(why, steps)) = result {
        let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
        panic!("{why}\nafter:\n{}", steps.join("\n"));
    }
    result.unwrap();
}

fn on_redis(server: &Server, clock: &Clock) -> Side {
    let fleet = format!("fleet{}", FLEETS.fetch_add(1, Ordering::Relaxed));
    Side::new(Store::redis(&server.address(&fleet), key(), clock.clone()).unwrap())
}

#[test]
fn redis_says_what_memory_says() {
    let server = Server::start();
    differ(cases(1_000), 75, |clock, sides| sides.push(on_redis(&server, clock)));
    let seen = SEEN.lock().clone();
    println!("{seen:#?}");
    for sort in [
        "Fresh",
        "Mismatch",
        "Known",
        "Granted",
        "Held",
        "HeldAnew",
        "Lost",
        "KnownOwnDone",
        "KnownOwnUnknown",
        "KnownSameHeld",
        "KnownSameSubmitted",
        "KnownOwnRefused",
        "BlockedFrozen",
        "BlockedInFlight",
        "BlockedOutcomeUnknown",
        "BlockedStale",
        "BlockedAlike",
        "BlockedOver",
        "SettledOk",
        "SettledFenced",
        "SettledLost",
        "AnsweredOk",
        "AnsweredChanged",
        "AnsweredTooLate",
        "AnsweredLost",
        "Swept0",
        "Swept1",
        "Swept2",
        "Liftedtrue",
        "Liftedfalse",
        "Brakedtrue",
        "Brakedfalse",
        "Talliedtrue",
        "Talliedfalse",
        "HeldByBrake",
    ] {
        assert!(seen.get(sort).is_some_and(|count| *count >= 10), "hardly any {sort}: {seen:#?}");
    }
    assert!(!seen.keys().any(|sort| sort.starts_with("Fault")), "{seen:#?}");
}

/// `TOLLHOUSE_TEST_SEQUENCES=20000` for a long run.
#[expect(clippy::disallowed_methods, reason = "how a person asks for a longer run")]
fn cases(usual: u32) -> u32 {
    let told = std::env::var("TOLLHOUSE_TEST_SEQUENCES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(usual)
}

/// More spending than a budget keeps apart, in two units: what is merged is merged alike.
#[test]
fn a_full_budget_says_what_memory_says() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Clock::by_hand(START);
        let mut sides =
            [Side::new(Store::memory(clock.clone()).unwrap()), on_redis(&server, &clock)];
        let (mut full, mut random) = (0_usize, 7_u64);
        for n in 0..900_u64 {
            // Marsaglia's xorshift: any spread of moments will do, the same on every run.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            clock.turn(Duration::from_secs(random % 300));
            let amount = ["6.00 USD", "6.00 EUR", "0.01 USD"][usize::try_from(random % 3).unwrap()];
            let mut asked =
                crate::asks::on(crate::asks::ask(Some(&n.to_string()), amount, n), &n.to_string());
            let mut budget = crate::asks::budget(amount, 600_00, Over::Refuse);
            budget.within = HOUR * (1 + u32::try_from(n % 24).unwrap());
            asked.budgets = vec![budget];
            let mut replies = Vec::new();
            for side in &mut sides {
                let reply = side.store.reserve(asked.clone()).await.unwrap();
                if let Reserved::Granted(grant) = &reply {
                    let outcome = if n % 9 == 0 { Outcome::Accepted } else { Outcome::Succeeded };
                    side.store.settle(settle(grant.record.op, n, outcome), None).await.unwrap();
                    // What was pending comes to nothing: its room comes back out of what was merged.
                    if n % 18 == 0 {
                        let no = settle(grant.record.op, n, Outcome::Rejected);
                        side.store.settle(no, None).await.unwrap();
                    }
                }
                replies.push(reply);
            }
            full += usize::from(matches!(replies[0], Reserved::Blocked(Blocked::Over { .. })));
            assert_eq!(replies[0], replies[1], "{n}");
        }
        assert!((50..500).contains(&full), "{full} of 900 found it full");
    });
}

#[test]
fn every_store_says_the_same() {
    let server = Server::start();
    let dirs = std::cell::RefCell::new(Vec::new());
    differ(12, 40, |clock, sides| {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Store::embedded(dir.path(), key(), clock.clone()).unwrap();
        dirs.borrow_mut().push(dir);
        sides.push(Side::new(embedded));
        sides.push(on_redis(&server, clock));
    });
}

/// Sequences that were found to differ once.
#[test]
fn what_differed_once_is_alike() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let who = |key: Option<usize>, body, intent| Who { tenant: 0, agent: 0, key, body, intent };
    let what = |amount, class, reasons, digest| What {
        amount,
        resource: None,
        class,
        kind: false,
        reasons,
        likeness: None,
        budgets: Vec::new(),
        seen: 0,
        token: 0,
        request: false,
        digest,
        deadline: 0,
        people: 0,
        nudge: None,
        crowd: false,
        rates: Vec::new(),
        brakes: Vec::new(),
    };
    let settle = |by, outcome| Step::Settle {
        nth: 0,
        token: 0,
        by,
        outcome,
        answer: false,
        collected: false,
    };
    // The name of an operation that was let go is another one's other name now.
    let renamed = vec![
        Step::Reserve(who(Some(1), 0, false), what(3, 2, 0, 0)),
        settle(5, 0),
        Step::Reserve(who(None, 0, true), what(0, 0, 0, 0)),
        Step::Turn(11),
        Step::Sweep,
        Step::Reserve(who(None, 2, false), what(0, 0, 0, 0)),
        Step::Reserve(who(None, 0, false), what(0, 0, 0, 0)),
        Step::Reserve(who(None, 1, false), what(0, 0, 0, 0)),
        Step::Recall(who(Some(1), 0, false)),
        Step::Look(4),
    ];
    // What was held is sent in the end with other bytes: what was shown is still what was shown.
    let reworded = vec![
        Step::Reserve(who(None, 2, false), what(0, 0, 5, 0)),
        Step::Approve { nth: 0, right: true, by: 0 },
        Step::Release(0, what(0, 0, 0, 0)),
        settle(5, 3),
        Step::Reserve(who(None, 2, false), what(0, 0, 0, 4)),
    ];
    // A brake that is released counts from then on, and so again after the next release.
    let braked = |amount| What { brakes: vec![3], ..what(amount, 2, 0, 0) };
    let asks = |n| Step::Reserve(who(Some(n), n, false), braked(0));
    let mut released = Vec::new();
    for first in [0, 10] {
        released.extend([asks(first), settle(5, 0), Step::Turn(1), asks(first + 1)]);
        released.extend([Step::Brake(3, 0, None), asks(first + 2), Step::LetGo(3), Step::Turn(1)]);
        released.extend([asks(first + 3), settle(5, 0), asks(first + 4), Step::Look(0)]);
        released.extend([Step::Turn(9), Step::Sweep]);
    }
    let held_by = |sort: &str| SEEN.lock().get(sort).copied().unwrap_or_default();
    let before = (held_by("HeldByBrake"), held_by("Granted"));
    for steps in [renamed, reworded, released] {
        runtime.block_on(async {
            let clock = Clock::by_hand(START);
            let memory = Side::new(Store::memory(clock.clone()).unwrap());
            let mut sides = vec![memory, on_redis(&server, &clock)];
            run(&steps, &clock, &mut sides).await.unwrap();
        });
    }
    // Two and two are let go here, three and three are held.
    assert!(held_by("HeldByBrake") >= before.0 + 6 && held_by("Granted") >= before.1 + 4);
}

//! Random histories of reserves, outcomes, people and time, against an exact oracle of a budget.

use proptest::prelude::*;
use tollhouse::call::{OperationId, Outcome};
use tollhouse::clock::Timestamp;
use tollhouse::contract::Over;
use tollhouse::store::rows::Tables;
use tollhouse::store::step::{Event, Now, Reply, step};
use tollhouse::store::{Blocked, HoldAnswer, Reserve, Reserved, Say, State};

use crate::asks::{HOUR, START, ask, budget, count, on, reason, release, settle};

const ROOM: i64 = 100_00;
const COUNT: i64 = 4;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Act {
    /// A refund of so much is asked, and a policy holds it, or not.
    Ask { minor: i64, held: bool, over: Over },
    /// One that was granted comes to that.
    End { which: usize, outcome: Outcome },
    /// A person answers one that is held.
    Say { which: usize, yes: bool },
    /// One that was approved is judged again.
    Release { which: usize },
    /// Time passes.
    Turn { minutes: i64 },
}

fn act() -> impl Strategy<Value = Act> {
    let over = prop_oneof![Just(Over::Refuse), Just(Over::Hold)];
    let outcome = prop_oneof![
        3 => Just(Outcome::Succeeded),
        1 => Just(Outcome::Accepted),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::NotSent),
        1 => Just(Outcome::Unknown),
    ];
    let some = 0..6_usize;
    prop_oneof![
        5 => (1..70_00_i64, any::<bool>(), over).prop_map(|(minor, held, over)| Act::Ask { minor, held, over }),
        4 => (some.clone(), outcome).prop_map(|(which, outcome)| Act::End { which, outcome }),
        2 => (some.clone(), any::<bool>()).prop_map(|(which, yes)| Act::Say { which, yes }),
        2 => some.prop_map(|which| Act::Release { which }),
        2 => prop_oneof![1..90_i64, 1200..1600_i64].prop_map(|minutes| Act::Turn { minutes }),
    ]
}

/// What the oracle knows of one refund: no ledger, no buckets, just what it is and when it was used.
#[derive(Debug, Clone)]
struct Refund {
    op: OperationId,
    minor: i64,
    ask: Reserve,
    token: u64,
    is: Is,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    Held,
    Approved,
    Sent {
        until: Timestamp,
    },
    Unknown,
    Used(Timestamp),
    /// Pending at the vendor: used, and may still be given back.
    Nothing,
}

#[derive(Debug, Default)]
struct Oracle {
    refunds: Vec<Refund>,
}

impl Oracle {
    /// What is used of the money (24 h) and of the count (1 h), but for `own`.
    fn used(&self, now: Timestamp, own: Option<OperationId>) -> (i64, i64) {
        let mut used = (0, 0);
        for refund in self.refunds.iter().filter(|refund| Some(refund.op) != own) {
            let (money, one) = match refund.is {
                Is::Held | Is::Approved | Is::Sent { .. } | Is::Unknown => (true, true),
                Is::Used(at) => (at >= now.minus(HOUR * 24), at >= now.minus(HOUR)),
                Is::Nothing => (false, false),
            };
            used.0 += if money { refund.minor } else { 0 };
            used.1 += i64::from(one);
        }
        used
    }

    /// The `which`th refund that is like that, counted round.
    fn pick(&mut self, which: usize, is: impl Fn(&Is) -> bool) -> Option<&mut Refund> {
        let fits: Vec<usize> =
            (0..self.refunds.len()).filter(|at| is(&self.refunds[*at].is)).collect();
        let at = *fits.get(which % fits.len().max(1))?;
        Some(&mut self.refunds[at])
    }
}

struct History {
    rows: Tables,
    now: Timestamp,
    oracle: Oracle,
    asked: u64,
}

impl History {
    fn run(&mut self, event: &Event) -> Reply {
        let now = Now { at: self.now, ..Now::default() };
        let (reply, changes) = step(&self.rows, event, now).unwrap();
        self.rows.apply(changes);
        reply
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Ask { minor, held, over } => self.ask(*minor, *held, *over),
            Act::End { which, outcome } => self.end(*which, *outcome),
            Act::Say { which, yes } => self.say(*which, *yes),
            Act::Release { which } => self.release(*which),
            Act::Turn { minutes } => self.turn(*minutes),
        }
    }

    fn ask(&mut self, minor: i64, held: bool, over: Over) {
        self.asked += 1;
        let amount = format!("{}.{:02} USD", minor / 100, minor % 100);
        let key = self.asked.to_string();
        let mut asked = on(ask(Some(&key), &amount, self.asked), &key);
        asked.budgets = vec![budget(&amount, ROOM, over), count(COUNT as u64, over)];
        asked.hold.deadline = self.now.plus(HOUR * 24);
        if held {
            asked.reasons = vec![reason("financial.over-cap")];
        }
        let (money, ones) = self.oracle.used(self.now, None);
        let past = money + minor > ROOM || ones + 1 > COUNT;
        let Reply::Reserved(reserved) = self.run(&Event::Reserve(Box::new(asked.clone()), None))
        else {
            unreachable!()
        };
        let (op, is) = match &reserved {
            Reserved::Granted(grant) => (grant.record.op, Is::Sent { until: grant.lease }),
            Reserved::Held(record) => (record.op, Is::Held),
            Reserved::Blocked(Blocked::Over { until, .. }) => {
                assert!(past && over == Over::Refuse, "{reserved:?} with {money} and {ones} used");
                assert!(until.is_none_or(|until| until > self.now));
                return;
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(is == Is::Held, held || past, "{money} and {ones} used, {minor} asked");
        assert!(!(past && over == Over::Refuse), "{money} and {ones} used, {minor} asked");
        let token = self.asked;
        self.oracle.refunds.push(Refund { op, minor, ask: asked, token, is });
    }

    fn end(&mut self, which: usize, outcome: Outcome) {
        let now = self.now;
        let sent = |is: &Is| matches!(is, Is::Sent { until } if *until > now);
        let Some(refund) = self.oracle.pick(which, sent) else { return };
        refund.is = match outcome {
            Outcome::Succeeded | Outcome::Accepted => Is::Used(now),
            Outcome::Rejected | Outcome::NotSent => Is::Nothing,
            Outcome::Unknown => Is::Unknown,
        };
        let end = settle(refund.op, refund.token, outcome);
        let again = end.clone();
        self.run(&Event::Settle(Box::new(end)));
        // Said twice is said once.
        self.run(&Event::Settle(Box::new(again)));
    }

    fn say(&mut self, which: usize, yes: bool) {
        let Some(refund) = self.oracle.pick(which, |is| *is == Is::Held) else { return };
        refund.is = if yes { Is::Approved } else { Is::Nothing };
        let op = refund.op;
        let shown = self.shown(op);
        let say = match yes {
            true => Say::Approve { by: "ana".into(), shown, roles: Vec::new(), reason: "".into() },
            false => Say::Withdraw,
        };
        self.run(&Event::Answer(Box::new(HoldAnswer { op, say })));
    }

    fn shown(&self, op: OperationId) -> tollhouse::call::Digest {
        let draft = tollhouse::store::draft::Draft::new(&self.rows);
        draft.record(op).unwrap().unwrap().hold.as_ref().unwrap().shown
    }

    fn release(&mut self, which: usize) {
        let (now, next) = (self.now, self.asked + 1);
        let Some(refund) = self.oracle.pick(which, |is| *is == Is::Approved) else { return };
        let (op, minor) = (refund.op, refund.minor);
        let mut asked = refund.ask.clone();
        asked.entry = release(op, "1.00 USD", next).entry;
        asked.token = tollhouse::store::Token(next);
        let held_by: Vec<Box<str>> = {
            let draft = tollhouse::store::draft::Draft::new(&self.rows);
            let record = draft.record(op).unwrap().unwrap();
            record.approval.as_ref().unwrap().policies.clone()
        };
        let (money, ones) = self.oracle.used(now, Some(op));
        let over = |past: bool, id: &str| past && !held_by.iter().any(|own| **own == *id);
        let anew = over(money + minor > ROOM, "budget.customer-24h")
            || over(ones + 1 > COUNT, "budget.agent-1h");
        let refuses = asked.budgets[0].over == Over::Refuse;
        let past = money + minor > ROOM || ones + 1 > COUNT;
        self.asked = next;
        let Reply::Reserved(reserved) = self.run(&Event::Reserve(Box::new(asked), None)) else {
            unreachable!()
        };
        let is = match &reserved {
            Reserved::Granted(grant) => {
                assert!(!anew && !(past && refuses), "{money} and {ones} used");
                Is::Sent { until: grant.lease }
            }
            Reserved::Held(_) => {
                assert!(anew && !refuses, "{money} and {ones} used");
                Is::Held
            }
            Reserved::Blocked(Blocked::Over { .. }) => {
                assert!(past && refuses, "{money} and {ones} used");
                return;
            }
            other => panic!("{other:?}"),
        };
        let refund = self.oracle.refunds.iter_mut().find(|refund| refund.op == op).unwrap();
        refund.is = is;
        refund.token = next;
    }

    fn turn(&mut self, minutes: i64) {
        self.now = Timestamp(self.now.0 + minutes * 60_000);
        // Whole rounds of keeping, so that it is tested to lose nothing that counts.
        self.run(&Event::Sweep(Vec::new(), 1_000));
        for at in 0..self.oracle.refunds.len() {
            let refund = &self.oracle.refunds[at];
            let draft = tollhouse::store::draft::Draft::new(&self.rows);
            let state = draft.record(refund.op).unwrap().map(|record| record.state);
            let is = match (refund.is, state) {
                (Is::Sent { until }, Some(State::Unknown)) if until <= self.now => Is::Unknown,
                (Is::Held | Is::Approved, Some(State::Refused { .. })) => Is::Nothing,
                (is, _) => is,
            };
            assert!(
                !matches!(is, Is::Sent { until } if until <= self.now),
                "a lease outlived itself"
            );
            self.oracle.refunds[at].is = is;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_budget_is_what_an_exact_oracle_says(acts in proptest::collection::vec(act(), 1..24)) {
        let mut history =
            History { rows: Tables::default(), now: START, oracle: Oracle::default(), asked: 0 };
        for act in &acts {
            history.act(act);
        }
    }
}

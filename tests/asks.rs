//! Reserves for tests to change: a refund of 60.00 USD on `ch_1` of `cus_1`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollhouse::call::{
    CallerKey, Class, Digest, Fingerprint, Kind, OperationId, Outcome, Resource,
};
use tollhouse::clock::Timestamp;
use tollhouse::contract::Over;
use tollhouse::decision::Reason;
use tollhouse::money::Money;
use tollhouse::store::{
    About, AnswerIn, Blocked, BudgetUse, Crowd, Entry, HoldTerms, Likeness, Name, Quorum, RateUse,
    Reserve, Reserved, Risk, Said, Settle, Take, Token, Witness,
};

pub const START: Timestamp = Timestamp(1_767_225_600_000);
pub const LEASE: Duration = Duration::from_secs(40);
pub const HOUR: Duration = Duration::from_secs(3600);

pub fn money(text: &str) -> Money {
    Money::parse(text).unwrap()
}

pub fn hash(text: &str) -> [u8; 32] {
    tollhouse::store::record::sha256(text.as_bytes())
}

/// The name of a call with that body, under that key.
pub fn name(key: Option<&str>, body: &str) -> Name {
    Name {
        tenant: Arc::from("t"),
        scope: b"tenant,shop,cus_1,refund,bot,c1".to_vec().into(),
        key: key.map(Into::into),
        intent: None,
        fingerprint: Fingerprint(hash(body)),
    }
}

/// The key's own operation.
pub fn op(key: &str) -> OperationId {
    name(Some(key), "").operation(0)
}

pub fn about(amount: &str) -> About {
    About {
        caller: CallerKey {
            tenant: Arc::from("t"),
            agent: Arc::from("bot"),
            customer: Arc::from("c1"),
        },
        upstream: "shop".into(),
        account: "cus_1".into(),
        action: "shop.refund.create".into(),
        class: Class::Financial,
        classes: vec![Class::Financial],
        kind: Some(Kind::Refund),
        owner: Some("cus_1".into()),
        resource: Some(Resource { kind: "Charge".into(), id: "ch_1".into() }),
        amount: Some(money(amount)),
        summary: format!("Refund {amount} of ch_1").into(),
        said: Said::default(),
        fingerprint: Fingerprint(hash(amount)),
        digest: Digest(hash(amount)),
        facts: None,
        policy: None,
        origin: None,
    }
}

/// Asks under `key` for a refund of `amount`, with neither budgets nor likeness guard.
pub fn ask(key: Option<&str>, amount: &str, token: u64) -> Reserve {
    Reserve {
        against: tollhouse::store::Against::Stands,
        entry: Entry::Asked(name(key, amount)),
        token: Token(token),
        lease: LEASE,
        about: about(amount),
        reasons: Vec::new(),
        hold: HoldTerms {
            queue: "finance".into(),
            deadline: START.plus(HOUR * 24),
            risk: Risk::Medium,
            needs: Quorum::default(),
            nudge: None,
            crowd: Crowd::default(),
            wants: Vec::new(),
        },
        seen: u64::MAX,
        likeness: None,
        rates: Vec::new(),
        brakes: Vec::new(),
        kinds: vec![Kind::Refund],
        budgets: Vec::new(),
        request: Bytes::new(),
    }
}

pub fn reason(policy: &str) -> Reason {
    Reason { policy: policy.into(), why: "over".into(), tell: "a colleague".into() }
}

/// Asks for one that a policy holds.
pub fn ask_held(key: Option<&str>, amount: &str, token: u64) -> Reserve {
    let mut ask = ask(key, amount, token);
    ask.reasons = vec![reason("financial.over-cap")];
    ask.request = Bytes::from_static(b"POST /refunds secret-body");
    ask
}

/// The same as an approved one, judged again.
pub fn release(op: OperationId, amount: &str, token: u64) -> Reserve {
    let mut ask = ask_held(None, amount, token);
    ask.entry = Entry::Approved(op);
    ask.request = Bytes::new();
    ask
}

/// The same on another charge, which is another request.
pub fn on(mut ask: Reserve, charge: &str) -> Reserve {
    if let Entry::Asked(name) = &mut ask.entry {
        name.fingerprint = Fingerprint(hash(&format!("{} {charge}", ask.about.summary)));
        ask.about.fingerprint = name.fingerprint;
    }
    ask.about.resource = Some(Resource { kind: "Charge".into(), id: charge.into() });
    ask
}

pub fn likeness(alike: Over) -> Option<Likeness> {
    Some(Likeness { alike, within: HOUR * 24, near: 50 })
}

/// A budget of money over 24 h.
pub fn budget(amount: &str, room: i64, over: Over) -> BudgetUse {
    BudgetUse {
        id: "budget.customer-24h".into(),
        key: "customer cus_1".into(),
        within: HOUR * 24,
        take: Take::Money { amount: money(amount), room: Some(room) },
        over,
        alert: None,
    }
}

/// A budget of effects over 1 h.
pub fn count(room: u64, over: Over) -> BudgetUse {
    BudgetUse {
        id: "budget.agent-1h".into(),
        key: "agent bot".into(),
        within: HOUR,
        take: Take::One { room },
        over,
        alert: None,
    }
}

/// Where money, effects or calls are one short of their limit.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    Money,
    Count,
    Rate,
}

impl Limit {
    pub const ALL: [Self; 3] = [Self::Money, Self::Count, Self::Rate];

    /// One of many that take of the same limit; two of them fit. Operators are told at the second.
    pub fn asked(self, nth: u64) -> Reserve {
        let key = format!("{self:?}-{nth}");
        let mut asked = on(ask(Some(&key), "7.00 USD", nth), &key);
        match self {
            Self::Money => asked.budgets = vec![budget("7.00 USD", 14_00, Over::Refuse)],
            Self::Count => asked.budgets = vec![count(2, Over::Refuse)],
            Self::Rate => {
                let hour = i64::try_from(HOUR.as_micros()).unwrap();
                let (name, key) = ("refunds".into(), b"refunds".as_slice().into());
                asked.rates = vec![RateUse { name, key, every: hour / 2, burst: hour }];
            }
        }
        for budget in &mut asked.budgets {
            budget.alert = Some(if let Self::Money = self { 7_01 } else { 2 });
        }
        asked
    }

    /// How many of these answers were granted, and how many of those crossed the alert; the others had no room.
    pub fn passed(self, answers: &[Reserved]) -> (usize, usize) {
        let mut passed = (0, 0);
        for answer in answers {
            match answer {
                Reserved::Granted(grant) => {
                    passed.0 += 1;
                    passed.1 += grant.record.stood.iter().filter(|stood| stood.crossed).count();
                }
                Reserved::Blocked(Blocked::Over { .. } | Blocked::Rated { .. }) => {}
                other => panic!("{self:?}: {other:?}"),
            }
        }
        passed
    }
}

pub fn settle(op: OperationId, token: u64, outcome: Outcome) -> Settle {
    Settle {
        op,
        by: Witness::First(Token(token)),
        outcome,
        status: Some(200),
        request_id: Some("req_1".into()),
        answer: AnswerIn::None,
        made: None,
        collected: true,
        note: "".into(),
    }
}

//! Values for the tests of the views.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use super::agent_text::AgentText;
use super::frame::Frame;
use super::look::{Asked, Caps, Check, Deed, FactRow, HoldView, May, Place, Request, Value, Why};
use crate::call::{Class, Digest, Kind, OperationId};
use crate::clock::Timestamp;
use crate::money::{Currency, Money};
use crate::store::{Risk, State};

pub fn now() -> Timestamp {
    Timestamp::parse("2026-03-12T14:11:08Z").unwrap()
}

fn usd(minor: i64) -> Money {
    Money { minor, currency: Currency::USD }
}

pub fn frame() -> Frame {
    Frame {
        now: now(),
        who: "Maya".into(),
        roles: vec!["finance".into()],
        csrf: "c5rf".into(),
        ends: Some(now().plus(Duration::from_secs(3_600))),
        waiting: 1,
        unknown: 0,
        freezes: Vec::new(),
        policy: "sha256:7c19e0ab11".into(),
        shadow: Vec::new(),
    }
}

pub fn deed() -> Deed {
    Deed {
        op: OperationId([7; 32]),
        state: State::Held,
        summary: "Refund 1600.00 USD of charge ch_3QxVb2KeYt81Lm0f21".into(),
        marks: vec!["ch_3QxVb2KeYt81Lm0f21".into(), "cus_R4mZ81".into()],
        amount: Some(usd(160_000)),
        before: Some(usd(0)),
        to: Some("cus_R4mZ81".into()),
        agent: "support-bot".into(),
        customer: "ann".into(),
        tenant: String::new(),
        case: Some("58213".into()),
        action: "stripe.refund.create".into(),
        class: Class::Financial,
        kind: Some(Kind::Refund),
        upstream: "stripe".into(),
        created: now().minus(Duration::from_secs(4_741)),
        updated: now().minus(Duration::from_secs(4_741)),
        settled: None,
        status: None,
        asked: Some(asked()),
    }
}

fn asked() -> Asked {
    Asked {
        queue: "finance".into(),
        risk: Risk::High,
        since: now().minus(Duration::from_secs(4_741)),
        deadline: now().plus(Duration::from_secs(9_600)),
        joined: 2,
        reasons: vec![Why {
            policy: "financial.over-cap".into(),
            words: "the amount is over the automatic cap".into(),
            numbers: Some("1,600.00 USD asked; up to 100.00 USD needs no person".into()),
        }],
        approvers: 1,
        roles: Vec::new(),
        yes: Vec::new(),
        passed: Vec::new(),
        digest: Digest([9; 32]),
        changed: Vec::new(),
    }
}

pub fn hold() -> HoldView {
    HoldView {
        deed: deed(),
        facts: vec![FactRow {
            name: "Paid".into(),
            value: Value::Money(usd(160_000)),
            source: "stripe, charge".into(),
            as_of: now(),
        }],
        checks: vec![Check { words: "The customer’s own charge".into(), in_order: true }],
        caps: Some(Caps { auto: usd(10_000), hard: Some(usd(200_000)) }),
        request: Some(Request {
            line: "POST /v1/refunds".into(),
            headers: Vec::new(),
            body: Some("charge=ch_3QxVb2KeYt81Lm0f21".into()),
        }),
        call_digest: Digest([4; 32]),
        digests: [Some("sha256:7c19e0ab".into()), None],
        may: May::Answer { confirm: true, reason: true },
        customer: Vec::new(),
        agent: Vec::new(),
        wrote: vec![AgentText::of("Tollhouse-Reason", "<i>please</i>")],
        place: Place { of: Some((1, 9)), previous: None, next: Some(OperationId([8; 32])) },
    }
}

//! Actions, callers and calls to judge, made by hand: policy needs no pack file to be tested.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollhouse::action::*;
use tollhouse::call::*;
use tollhouse::clock::Timestamp;
use tollhouse::decision::{Signal, Then};
use tollhouse::money::{Currency, Money};
use tollhouse::policy::*;
use tollhouse::value::{Payload, Pointer, Syntax, Value};

/// When every call here is judged.
pub const NOW: Timestamp = Timestamp(1_772_366_400_000);

fn traits() -> Arc<PackTraits> {
    Arc::new(PackTraits {
        name: "shop".into(),
        hosts: Vec::new(),
        auth: AuthPlace::Bearer,
        errors: ErrorShape::Plain,
        body: Syntax::Json,
        expand: Vec::new(),
        headers: Vec::new(),
        selectors: Vec::new(),
        idempotency: Idempotency {
            place: KeyPlace::None,
            max_len: 255,
            retention: Duration::from_secs(3600),
            replays_errors: false,
            methods: None,
        },
        ill: None,
    })
}

/// An action whose pack declares no fact.
pub fn bare(name: &str, class: Class, kind: Option<Kind>) -> Action {
    Action {
        name: name.into(),
        method: http::Method::POST,
        path_template: "/x".into(),
        class,
        kind,
        summary: Template(Vec::new()),
        params: None,
        refuse: Vec::new(),
        amount: None,
        owner: Owner::Sources(vec![source()]),
        resource: None,
        also: Vec::new(),
        raise: Vec::new(),
        only: None,
        recipients: Vec::new(),
        template: None,
        text: Vec::new(),
        facts: Vec::new(),
        items: None,
        expand: Vec::new(),
        lookup: None,
        outcome: OutcomeRule::default(),
        body: Syntax::Json,
        stream: false,
        undo: None,
        pack: traits(),
    }
}

/// A fact with these fields, published as `name`.
pub fn fact(name: &str, fields: &[(&str, ReadAs)]) -> FactUse {
    let rule = FactRule {
        name: name.into(),
        get: Template(Vec::new()),
        patterns: Vec::new(),
        id: None,
        items: None,
        fields: fields
            .iter()
            .map(|(field, read)| {
                let rule = FieldRule { at: Vec::new(), read: *read, when: None, words: None };
                ((*field).into(), rule)
            })
            .collect(),
        derive: Vec::new(),
    };
    FactUse { name: name.into(), rule: Arc::new(rule), with: Vec::new(), given: None }
}

fn source() -> Source {
    Source::Body(Pointer::parse("/to").unwrap())
}

/// The action of that name: its first segment says what it is, and what its pack declares.
pub fn action(name: &str) -> Action {
    let charge = fact(
        "charge",
        &[
            ("currency", ReadAs::Text),
            ("remaining", ReadAs::Minor),
            ("disputed", ReadAs::Bool),
            ("purchased_at", ReadAs::EpochSeconds),
        ],
    );
    let order = fact("order", &[("fulfilled", ReadAs::Bool), ("open_invoices", ReadAs::Long)]);
    let of = |class, kind| bare(name, class, Some(kind));
    match name.split('.').next().unwrap() {
        "refund" => Action { facts: vec![charge], ..of(Class::Financial, Kind::Refund) },
        "receipted" => Action {
            facts: vec![charge],
            also: vec![Also {
                class: Class::Communication,
                kind: Some(Kind::Message),
                when: None,
                recipients: vec![source()],
                amount: None,
                template: None,
                text: Vec::new(),
            }],
            ..of(Class::Financial, Kind::Refund)
        },
        "everything" => Action {
            facts: vec![charge],
            also: vec![Also {
                class: Class::Communication,
                kind: Some(Kind::Message),
                when: None,
                recipients: vec![source()],
                amount: None,
                template: Some(source()),
                text: vec![source()],
            }],
            ..of(Class::Financial, Kind::Refund)
        },
        "payback" => of(Class::Financial, Kind::Refund),
        "charge" => of(Class::Financial, Kind::Charge),
        "payout" => Action { owner: Owner::Internal, ..of(Class::Financial, Kind::Payout) },
        "cancel" => Action { facts: vec![order], ..of(Class::Write, Kind::Cancel) },
        "stop" => of(Class::Write, Kind::Cancel),
        "rename" => of(Class::Write, Kind::Identity),
        "card" => of(Class::Write, Kind::PaymentMethod),
        "note" => bare(name, Class::Write, None),
        "raisable" => Action {
            raise: vec![Raise {
                when: Condition { at: Vec::new(), test: Test::Present },
                class: Some(Class::Financial),
                kind: Some(Kind::Credit),
            }],
            ..bare(name, Class::Write, None)
        },
        "message" => Action {
            recipients: vec![source()],
            template: Some(source()),
            text: vec![source()],
            ..of(Class::Communication, Kind::Message)
        },
        "letter" => Action { text: vec![source()], ..of(Class::Communication, Kind::Message) },
        "ping" => of(Class::Communication, Kind::Message),
        "read" => bare(name, Class::Read, None),
        "mine" => Action { owner: Owner::Caller, ..bare(name, Class::Read, None) },
        "answer" => Action { owner: Owner::Response(Vec::new()), ..bare(name, Class::Read, None) },
        "public" => Action { owner: Owner::Public, ..bare(name, Class::Read, None) },
        "house" => Action { owner: Owner::Internal, ..bare(name, Class::Read, None) },
        "answered-write" => {
            Action { owner: Owner::Response(Vec::new()), ..bare(name, Class::Write, None) }
        }
        "public-write" => Action { owner: Owner::Public, ..bare(name, Class::Write, None) },
        other => panic!("no action `{other}` here"),
    }
}

/// Everything about one call; as it stands here it is the customer's own, and all is well.
#[derive(Debug, Clone)]
pub struct Given {
    pub call: Call,
    pub caller: Caller,
    pub account: Option<Box<str>>,
    pub facts: Facts,
    pub resolved: Resolved,
    pub tenant: Option<Box<str>>,
    pub asked: Timestamp,
    pub signals: Vec<Signal>,
}

impl Given {
    pub fn good(action: Action) -> Self {
        Self::of(Arc::new(action))
    }

    pub fn of(action: Arc<Action>) -> Self {
        let effect = |class, kind, origin| Effect {
            class,
            kind,
            amount: StatedAmount::None,
            recipients: Vec::new(),
            origin,
        };
        let also = action.also.iter().enumerate();
        let mut effects = vec![effect(action.class, action.kind, Origin::Own)];
        effects.extend(also.map(|(at, also)| effect(also.class, also.kind, Origin::Also(at))));
        let usd = Currency::parse("USD").unwrap();
        let financial = action.class == Class::Financial;
        let amount = financial.then_some(Money { minor: 5_000, currency: usd });
        let facts = Facts {
            read: action.facts.iter().map(|used| (used.name.clone(), good_fact(used))).collect(),
            assumed: Vec::new(),
        };
        let call = Call {
            class: effects.iter().map(|effect| effect.class).max().unwrap(),
            upstream: "shop".into(),
            effects,
            method: http::Method::POST,
            target: "/x".into(),
            path: Vec::new(),
            query: Value::Map(Vec::new()),
            payload: Payload::empty(),
            merged: None,
            headers: Vec::new(),
            body: Bytes::new(),
            context: Context::default(),
            action,
        };
        let caller = Caller {
            tenant: "acme".into(),
            agent: "support-bot".into(),
            customer: Some("ada".into()),
            account: AccountClaim::Absent,
            roles: Vec::new(),
            trust: None,
            consent_until: Consent::Absent,
            auth_time: None,
            contacts: vec!["ada@shop.example".into()],
            issuer: "https://id.shop.example".into(),
            jti: None,
            issued_at: None,
            expires: NOW.plus(Duration::from_secs(3600)),
            narrowed: None,
        };
        let resolved = Resolved {
            owner: Some("cus_1".into()),
            amount,
            summary: "Do it".into(),
            ..Resolved::default()
        };
        Self {
            call,
            caller,
            account: Some("cus_1".into()),
            facts,
            resolved,
            tenant: None,
            signals: Vec::new(),
            asked: NOW,
        }
    }

    pub fn question(&self) -> Question<'_> {
        Question {
            call: &self.call,
            caller: &self.caller,
            account: self.account.as_deref(),
            facts: &self.facts,
            resolved: &self.resolved,
            tenant: self.tenant.as_deref(),
            now: NOW,
            asked: self.asked,
            signals: &self.signals,
        }
    }

    /// A signal that shows.
    pub fn signal(&mut self, name: &str, then: Then) {
        self.signals.push(Signal { name: name.into(), seen: "4 of them".into(), then });
    }

    /// Sets `charge.disputed`; `None` takes it away.
    pub fn set(&mut self, name: &str, value: Option<FactValue>) {
        let (published, field) = name.split_once('.').unwrap();
        let (_, fact) = self.facts.read.iter_mut().find(|(n, _)| &**n == published).unwrap();
        fact.fields.retain(|(own, _)| &**own != field);
        fact.fields.extend(value.map(|value| (field.into(), value)));
    }
}

fn good_fact(used: &FactUse) -> Fact {
    let value = |name: &str| match name {
        "currency" => FactValue::Text("usd".into()),
        "remaining" => FactValue::Long(100_000_000),
        "disputed" | "fulfilled" => FactValue::Bool(false),
        "open_invoices" => FactValue::Long(0),
        "purchased_at" => FactValue::Time(NOW.minus(Duration::from_secs(86_400))),
        "customer" => FactValue::Text("cus_1".into()),
        "captured" | "refunded" => FactValue::Long(100_000_000),
        other => FactValue::Text(other.into()),
    };
    let derived = used.rule.derive.iter().map(|derived| &derived.name);
    let names = used.rule.fields.iter().map(|(name, _)| name).chain(derived);
    let fields = names.map(|name| (name.clone(), value(name))).collect();
    Fact { id: Some("x_1".into()), fields, as_of: NOW }
}

/// Loads with the queues `finance` and `trust`.
pub fn load(
    actions: Vec<Action>,
    contracts: &Contracts,
    files: &[(&str, &str)],
) -> Result<Policy, String> {
    load_as(actions, contracts, files, ConsentRule::IfPresent)
}

pub fn load_as(
    actions: Vec<Action>,
    contracts: &Contracts,
    files: &[(&str, &str)],
    consent: ConsentRule,
) -> Result<Policy, String> {
    let files: Vec<(String, String)> =
        files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    let load = Load {
        actions: actions.into_iter().map(Arc::new).collect(),
        contracts,
        files: &files,
        queues: vec!["finance".into(), "trust".into()],
        shipped: Shipped::Applied,
        consent,
    };
    Policy::load(&load).map_err(|errors| errors.to_string())
}

pub fn contracts(text: &str) -> Contracts {
    Contracts::parse("contracts.yaml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

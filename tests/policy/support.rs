//! Actions, callers and calls to judge, made by hand: policy needs no pack file to be tested.

use std::sync::Arc;
use std::time::Duration;

use tollhouse::action::*;
use tollhouse::call::{Class, Kind};
use tollhouse::policy::*;
use tollhouse::value::{Pointer, Syntax};

/// A pack's traits that policy never looks at.
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
            methods: None,
            place: KeyPlace::None,
            max_len: 255,
            retention: Duration::from_secs(3600),
            replays_errors: false,
        },
    })
}

/// An action that declares nothing.
pub fn action(name: &str, class: Class, kind: Option<Kind>) -> Action {
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
        owner: Owner::Sources(Vec::new()),
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

/// A source that nobody resolves here.
pub fn source() -> Source {
    Source::Body(Pointer::parse("/to").unwrap())
}

/// A refund whose pack declares everything.
pub fn refund() -> Action {
    let fields = [
        ("customer", ReadAs::Text),
        ("currency", ReadAs::Text),
        ("remaining", ReadAs::Minor),
        ("disputed", ReadAs::Bool),
        ("purchased_at", ReadAs::EpochSeconds),
    ];
    Action {
        facts: vec![fact("charge", &fields)],
        ..action("shop.refund.create", Class::Financial, Some(Kind::Refund))
    }
}

pub fn load(
    actions: Vec<Action>,
    contracts: &str,
    files: &[(&str, &str)],
) -> Result<Policy, String> {
    let contracts =
        Contracts::parse("contracts.yaml", contracts).map_err(|errors| errors.to_string())?;
    let files: Vec<(String, String)> =
        files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    let load = Load {
        actions: actions.into_iter().map(Arc::new).collect(),
        contracts: &contracts,
        files: &files,
        queues: vec!["finance".into(), "trust".into()],
        shipped: Shipped::Applied,
        consent: ConsentRule::IfPresent,
    };
    Policy::load(&load).map_err(|errors| errors.to_string())
}

//! A caller, an action, a call: the plainest ones, for tests to change.

use std::sync::Arc;
use std::time::Duration;

use super::{
    AccountClaim, Call, Caller, Class, Consent, Context, Effect, Origin, StatedAmount, Timestamp,
};
use crate::action::{
    Action, AuthPlace, ErrorShape, Idempotency, KeyPlace, OutcomeRule, Owner, PackTraits, Template,
};
use crate::value::{Payload, Syntax, Value};

/// `agent` for `customer`.
pub(crate) fn caller(agent: &str, customer: Option<&str>) -> Caller {
    Caller {
        tenant: "".into(),
        agent: agent.into(),
        customer: customer.map(Into::into),
        account: AccountClaim::Absent,
        roles: Vec::new(),
        trust: None,
        consent_until: Consent::Absent,
        auth_time: None,
        contacts: Vec::new(),
        issuer: "test".into(),
        jti: None,
        issued_at: None,
        expires: Timestamp(i64::MAX),
        narrowed: None,
    }
}

/// A pack of JSON that writes errors so.
pub(crate) fn pack(errors: ErrorShape) -> PackTraits {
    PackTraits {
        name: "shop".into(),
        hosts: Vec::new(),
        auth: AuthPlace::Bearer,
        errors,
        body: Syntax::Json,
        expand: Vec::new(),
        headers: Vec::new(),
        selectors: Vec::new(),
        idempotency: Idempotency {
            methods: None,
            place: KeyPlace::None,
            max_len: 255,
            retention: Duration::from_secs(86_400),
            replays_errors: false,
        },
        ill: None,
    }
}

/// An action with nothing but a name and a class.
pub(crate) fn action(name: &str, class: Class, owner: Owner) -> Action {
    Action {
        name: name.into(),
        method: if class.is_effect() { http::Method::POST } else { http::Method::GET },
        path_template: "/".into(),
        class,
        kind: None,
        summary: Template(Vec::new()),
        params: None,
        refuse: Vec::new(),
        amount: None,
        owner,
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
        pack: Arc::new(pack(ErrorShape::Plain)),
    }
}

/// A call of it without parameters.
pub(crate) fn call(action: Action) -> Call {
    let effect = Effect {
        class: action.class,
        kind: action.kind,
        amount: StatedAmount::None,
        recipients: Vec::new(),
        origin: Origin::Own,
    };
    Call {
        upstream: "shop".into(),
        class: action.class,
        effects: vec![effect],
        method: action.method.clone(),
        target: "/".into(),
        path: Vec::new(),
        query: Value::Map(Vec::new()),
        payload: Payload::empty(),
        merged: None,
        headers: Vec::new(),
        body: bytes::Bytes::new(),
        context: Context::default(),
        action: Arc::new(action),
    }
}

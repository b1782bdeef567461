//! Which values stand where a pack says they stand? Sources of an action read from the call, the
//! caller and the facts: owner, amount, resource, recipients, the line for people.
//!
//! Never reads the network; never takes unknown for harmless: what is not there stays `None`, what
//! disagrees is refused.

mod amount;
mod fact;
mod text;

use crate::action::{Action, FactUse, Owner, ResourceRule, Source, Template};
use crate::call::{Call, Caller, FactValue, Facts, Resolved, Resource};
use crate::money::Decimal;
use crate::refusal::Refusal;
use crate::value::{Pointer, Value};

pub(crate) use amount::one_currency;
pub use fact::{Arguments, FactProblem, arguments, fact, fact_target};
pub use text::{encoded, plain};

/// What sources are read from.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// What is asked.
    pub call: &'a Call,
    /// Who asks.
    pub caller: &'a Caller,
    /// Who that is at the upstream.
    pub account: Option<&'a str>,
    /// What the system of record said so far.
    pub facts: &'a Facts,
}

/// What a request alone says.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Its path's parameters.
    pub path: &'a [(Box<str>, Box<str>)],
    /// Its parameters, as one tree.
    pub parameters: &'a Value,
}

impl<'a> Said<'a> {
    /// What `call` says.
    pub fn by(call: &'a Call) -> Self {
        Self { path: &call.path, parameters: call.parameters() }
    }

    /// Every value that is present at a source of the request; `None` for a source of anything else.
    pub fn values(&self, source: &Source) -> Option<Vec<Value>> {
        match source {
            Source::Path(name) => {
                let found = self.path.iter().find(|(own, _)| own == name);
                Some(found.map(|(_, value)| Value::Text(value.clone())).into_iter().collect())
            }
            Source::Query(pointer) | Source::Body(pointer) => Some(self.at(pointer)),
            Source::CallerCustomer | Source::CallerAccount | Source::Fact { .. } => None,
        }
    }

    fn at(&self, pointer: &Pointer) -> Vec<Value> {
        let mut found = Vec::new();
        pointer.any(self.parameters, &mut |value| {
            if *value != Value::Null {
                found.push(value.clone());
            }
            false
        });
        found
    }
}

/// The value at a source, if it is present; a source of many is a list.
pub fn source(source: &Source, scope: &Scope<'_>) -> Option<Value> {
    let mut values = values(source, scope);
    if matches!(source, Source::Body(pointer) if pointer.is_plural()) {
        return (!values.is_empty()).then_some(Value::List(values));
    }
    values.pop()
}

fn values(source: &Source, scope: &Scope<'_>) -> Vec<Value> {
    let text = |text: &str| Value::Text(text.into());
    let one = match source {
        Source::Path(_) | Source::Query(_) | Source::Body(_) => {
            return Said::by(scope.call).values(source).unwrap_or_default();
        }
        Source::CallerCustomer => scope.caller.customer.as_deref().map(text),
        Source::CallerAccount => scope.account.map(text),
        Source::Fact { fact, field } => scope.facts.field(fact, field).map(fact_value),
    };
    one.into_iter().collect()
}

fn fact_value(value: FactValue) -> Value {
    match value {
        FactValue::Text(text) => Value::Text(text),
        FactValue::Bool(yes) => Value::Bool(yes),
        FactValue::Long(number) => whole(number),
        FactValue::Time(moment) => whole(moment.0),
    }
}

fn whole(number: i64) -> Value {
    Value::Number(Decimal { mantissa: i128::from(number), scale: 0 })
}

/// Whether an entry of an action's `facts` applies: always, or because its `if` is present.
pub fn applies(wanted: &FactUse, scope: &Scope<'_>) -> bool {
    wanted.given.as_ref().is_none_or(|given| !values(given, scope).is_empty())
}

/// Of several entries under one name exactly one must apply. What only a fact can tell is left to
/// [`applies`].
///
/// # Errors
///
/// `missing_context` when none applies, `ambiguous` when several do.
pub fn one_of_each(action: &Action, said: &Said<'_>) -> Result<(), Refusal> {
    for (index, first) in action.facts.iter().enumerate() {
        let same = |other: &&FactUse| other.name == first.name;
        let earlier = action.facts.iter().take(index).any(|other| same(&other));
        let group: Vec<_> = action.facts.iter().filter(same).collect();
        if earlier || group.len() < 2 {
            continue;
        }
        let given: Vec<_> = group.iter().filter_map(|wanted| wanted.given.as_ref()).collect();
        let present: Option<Vec<bool>> =
            given.iter().map(|given| said.values(given).map(|found| !found.is_empty())).collect();
        let Some(present) = present else { continue };
        let names = given.iter().map(|given| place(given)).collect::<Vec<_>>().join(" or ");
        match present.iter().filter(|present| **present).count() {
            0 => return Err(Refusal::missing_context(&names, "what this is about")),
            1 => {}
            _ => return Err(Refusal::ambiguous(&names, "expected one of them, not several")),
        }
    }
    Ok(())
}

/// What the sources of an action come to.
///
/// # Errors
///
/// `ambiguous` where currencies that must agree do not; `malformed` for an amount that its currency
/// cannot hold. Of what is not the caller's, neither: then there is nothing of that name.
pub fn resolve(scope: &Scope<'_>) -> Result<Resolved, Refusal> {
    let action = &*scope.call.action;
    let owner = owner(scope);
    let rest = || -> Result<Resolved, Refusal> {
        let (amount, amounts) = amount::of_call(scope)?;
        let resource = action.resource.as_ref().and_then(|rule| resource(rule, scope));
        let summary = text::summary(scope, amount, resource.as_ref());
        let messages = Messages::of(scope);
        Ok(Resolved {
            owner: owner.clone(),
            amount,
            amounts,
            resource,
            summary,
            recipients: messages.recipients,
            templates: messages.templates,
            text: messages.text,
        })
    };
    rest().map_err(|refusal| match &action.owner {
        // SECURITY: what is wrong with a call on somebody else's charge would tell that the charge
        // exists, and its currency.
        Owner::Sources(_) if owner.as_deref() != scope.account || owner.is_none() => {
            let missing = Refusal::nobodys(scope.call).because(refusal.detail);
            if owner.is_some() { missing.of_another() } else { missing }
        }
        Owner::Sources(_)
        | Owner::Response(_)
        | Owner::Caller
        | Owner::Public
        | Owner::Internal => refusal,
    })
}

fn owner(scope: &Scope<'_>) -> Option<Box<str>> {
    match &scope.call.action.owner {
        Owner::Sources(sources) => agreed(sources, scope),
        Owner::Caller => scope.account.map(Box::from),
        Owner::Response(_) | Owner::Public | Owner::Internal => None,
    }
}

fn resource(rule: &ResourceRule, scope: &Scope<'_>) -> Option<Resource> {
    let id = agreed(&rule.id, scope)?;
    Some(Resource { kind: rule.kind.clone(), id })
}

/// The one name that all present sources give; `None` when none is present or two differ.
fn agreed(sources: &[Source], scope: &Scope<'_>) -> Option<Box<str>> {
    let mut agreed: Option<Box<str>> = None;
    for source in sources {
        for name in names(source, scope)? {
            match &agreed {
                Some(first) if *first != name => return None,
                Some(_) => {}
                None => agreed = Some(name),
            }
        }
    }
    // An empty name is nobody's, but it disagrees with any other.
    agreed.filter(|name| !name.is_empty())
}

/// The names at a source; `None` when something there is no one name.
fn names(source: &Source, scope: &Scope<'_>) -> Option<Vec<Box<str>>> {
    values(source, scope).iter().map(scalar).collect()
}

/// A text or a whole number; nothing that readers could take for different names.
fn scalar(value: &Value) -> Option<Box<str>> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) if number.is_integer() => Some(number.to_string().into()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// How a source is named to an agent: `/charge`.
pub(crate) fn place(source: &Source) -> String {
    match source {
        Source::Path(name) => format!("path {name}"),
        Source::Query(pointer) => format!("query {pointer}"),
        Source::Body(pointer) => pointer.to_string(),
        Source::CallerCustomer | Source::CallerAccount => "the caller".into(),
        Source::Fact { fact, field } => format!("{fact}.{field}"),
    }
}

/// To whom messages go, and what they say.
#[derive(Default)]
struct Messages {
    recipients: Vec<Box<str>>,
    templates: Vec<Box<str>>,
    text: Vec<Box<str>>,
}

impl Messages {
    fn of(scope: &Scope<'_>) -> Self {
        let action = &*scope.call.action;
        let mut messages = Self::default();
        for effect in &scope.call.effects {
            effect
                .recipients
                .iter()
                .for_each(|source| all(source, scope, &mut messages.recipients));
            let also = match effect.origin {
                crate::call::Origin::Own => None,
                crate::call::Origin::Also(index) => action.also.get(index),
            };
            let (template, text) = match also {
                Some(also) => (&also.template, &also.text),
                None => (&action.template, &action.text),
            };
            template.iter().for_each(|source| all(source, scope, &mut messages.templates));
            let there = text.iter().filter(|source| !values(source, scope).is_empty());
            there.for_each(|source| all(source, scope, &mut messages.text));
        }
        messages
    }
}

/// Every text of a source, once. What is not there, or no text, stands as `?`: it never equals a
/// verified contact or an approved template.
fn all(source: &Source, scope: &Scope<'_>, into: &mut Vec<Box<str>>) {
    let mut add = |text: Box<str>| {
        if !into.contains(&text) {
            into.push(text);
        }
    };
    let values = values(source, scope);
    if values.is_empty() {
        add("?".into());
    }
    for value in values {
        match value {
            Value::List(items) => {
                items.iter().for_each(|item| add(scalar(item).unwrap_or_else(|| "?".into())));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                add(scalar(&value).unwrap_or_else(|| "?".into()));
            }
        }
    }
}

/// A look-up's path and query, its values percent-encoded; `None` when one is not there.
pub fn template(template: &Template, scope: &Scope<'_>) -> Option<String> {
    text::fill(template, |source| {
        let names = names(source, scope)?;
        match names.as_slice() {
            [one] if !one.is_empty() => Some(one.clone()),
            _ => None,
        }
    })
}

/// The same for what only the caller fills in, before there is a call.
pub fn caller_template(template: &Template, caller: &Caller) -> Option<String> {
    text::fill(template, |source| match source {
        Source::CallerCustomer => caller.customer.as_deref().map(Box::from),
        Source::Path(_)
        | Source::Query(_)
        | Source::Body(_)
        | Source::CallerAccount
        | Source::Fact { .. } => None,
    })
}

#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::call::{Fact, Request, sample};
    use crate::catalog::{Catalog, Road, pack};
    use crate::clock::Timestamp;
    use crate::refusal::Code;
    use crate::wire;

    fn stripe() -> Catalog {
        let text = pack::shipped("stripe").unwrap();
        let road = Road {
            upstream: "stripe".into(),
            listener: 0,
            prefix: "/".into(),
            pack: Arc::new(pack::read("stripe", text).unwrap()),
            selectors: Vec::new(),
        };
        Catalog::new(vec![road]).unwrap()
    }

    fn call(send: &str, form: &str) -> Call {
        let (method, target) = send.split_once(' ').unwrap();
        let mut headers = http::HeaderMap::new();
        headers.insert("host", http::HeaderValue::from_static("localhost"));
        if !form.is_empty() {
            let form = http::HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(http::header::CONTENT_TYPE, form);
        }
        let request = Request {
            listener: 0,
            method: http::Method::from_bytes(method.as_bytes()).unwrap(),
            target: target.into(),
            headers,
            body: form.to_owned().into(),
            peer: None,
        };
        stripe().classify(&request).unwrap_or_else(|refusal| panic!("{}", refusal.detail))
    }

    fn charge(customer: &str, currency: &str) -> Facts {
        let text = |text: &str| FactValue::Text(text.into());
        let fields = vec![
            ("customer".into(), text(customer)),
            ("currency".into(), text(currency)),
            ("remaining".into(), FactValue::Long(700)),
        ];
        let fact = Fact { id: Some("ch_1".into()), fields, as_of: Timestamp::default() };
        Facts { read: vec![("charge".into(), fact)], assumed: Vec::new() }
    }

    fn resolved(call: &Call, facts: &Facts, account: &str) -> Result<Resolved, Refusal> {
        let caller = sample::caller("bot", Some("ann"));
        resolve(&Scope { call, caller: &caller, account: Some(account), facts })
    }

    #[test]
    fn what_is_wrong_with_somebody_elses_charge_is_not_told() {
        let swapped = call("POST /v1/refunds", "charge=ch_1&amount=5&currency=jpy");
        let facts = charge("cus_1", "usd");
        assert_eq!(resolved(&swapped, &facts, "cus_1").unwrap_err().code, Code::Ambiguous);
        let foreign = resolved(&swapped, &facts, "cus_2").unwrap_err();
        let missing = Refusal::nobodys(&swapped);
        assert_eq!((foreign.code, &foreign.detail), (missing.code, &missing.detail));
        let nobodys = Facts { read: Vec::new(), assumed: Vec::new() };
        assert_eq!(resolved(&swapped, &nobodys, "cus_2").unwrap().owner, None);
    }

    #[test]
    fn amounts_come_from_the_call_or_from_a_fact_and_never_from_nothing() {
        let known = |form: &str, facts: &Facts| {
            let call = call("POST /v1/refunds", form);
            resolved(&call, facts, "cus_1").unwrap()
        };
        let stated = known("charge=ch_1&amount=5", &charge("cus_1", "jpy"));
        assert_eq!(stated.amount.unwrap().to_string(), "5 JPY");
        assert_eq!(stated.summary, "Refund 5 JPY of charge ch_1");
        assert_eq!(stated.resource.unwrap().to_string(), "Charge ch_1");
        let rest = known("charge=ch_1", &charge("cus_1", "usd"));
        assert_eq!(rest.amount.unwrap().minor, 700);
        assert_eq!(rest.amounts, [rest.amount]);
        let unknown = known("charge=ch_1&amount=5", &charge("cus_1", "doubloons"));
        assert_eq!((unknown.amount, unknown.summary.as_str()), (None, "Refund ? of charge ch_1"));
        let mut nothing_left = charge("cus_1", "usd");
        nothing_left.read[0].1.fields[2].1 = FactValue::Long(0);
        assert_eq!(known("charge=ch_1", &nothing_left).amount, None);
    }

    #[test]
    fn an_owner_is_one_name_or_nobody() {
        let path = "POST /v1/customers/cus_1/subscriptions/sub_1";
        let call = call(path, "items[0][price]=p");
        let owner = |customer: &str| {
            let mut facts = charge(customer, "usd");
            facts.read[0].0 = "subscription".into();
            resolved(&call, &facts, "cus_1").unwrap().owner
        };
        assert_eq!(owner("cus_1").as_deref(), Some("cus_1"));
        assert_eq!(owner("cus_2"), None);
        assert_eq!(owner(""), None);
    }

    #[test]
    fn an_owner_that_is_no_name_is_nobody() {
        for form in ["customer[id]=cus_1", "customer[]=cus_1", "customer="] {
            let call = call("POST /v1/charges", &format!("amount=5&currency=usd&{form}"));
            let resolved = resolved(&call, &Facts::default(), "cus_1").unwrap();
            assert_eq!((resolved.owner, resolved.resource), (None, None), "{form}");
        }
    }

    #[test]
    fn people_read_one_plain_line() {
        let hidden = "customer=cus%E2%80%AE_1%0A%1B%5B31m%E2%80%8B&amount=5&currency=usd";
        let call = call("POST /v1/charges", hidden);
        let line = resolved(&call, &Facts::default(), "cus_1").unwrap().summary;
        assert_eq!(line, "Charge customer cus_1 [31m 0.05 USD");
        assert_eq!(plain(&"é".repeat(80), 64).chars().count(), 64);
        assert_eq!(plain("a\u{2066}b\u{E0041}c\u{00AD}d", 64), "abcd");
    }

    #[test]
    fn a_message_to_nobody_known_has_an_unknown_recipient() {
        let call = call("POST /v1/invoices/in_1/send", "");
        let resolved = resolved(&call, &Facts::default(), "cus_1").unwrap();
        assert_eq!(resolved.recipients, [Box::from("?")]);
    }

    #[test]
    fn a_template_carries_its_values_percent_encoded_or_is_not_made() {
        let asked = call("POST /v1/charges", "customer=cus%2F..%3Fa%26b&amount=5&currency=usd");
        let lookup = &asked.action.lookup.as_ref().unwrap().get;
        let facts = Facts::default();
        let caller = sample::caller("bot", Some("auth0|77"));
        let scope = |call| Scope { call, caller: &caller, account: None, facts: &facts };
        assert_eq!(
            template(lookup, &scope(&asked)).unwrap(),
            "/v1/charges?customer=cus%2F..%3Fa%26b&limit=100"
        );
        let nobodys = call("POST /v1/charges", "amount=5&currency=usd");
        assert_eq!(template(lookup, &scope(&nobodys)), None);
        let account = pack::caller_template("/find?user='{caller.customer}'").unwrap();
        assert_eq!(caller_template(&account, &caller).unwrap(), "/find?user='auth0%7C77'");
        assert!(pack::caller_template("/find?user={path.x}").is_err());
    }

    fn rule(name: &str, text: &str) -> Arc<crate::action::FactRule> {
        let pack = pack::read(name, text).unwrap_or_else(|errors| panic!("{errors}"));
        Arc::clone(&pack.actions()[0].facts[0].rule)
    }

    fn read(rule: &crate::action::FactRule, id: &str, json: &str) -> Result<Fact, FactProblem> {
        let answer = wire::answer(json.as_bytes()).unwrap();
        let name = rule.patterns[0].0.clone();
        fact(rule, &[(name, id.into())], &answer, Timestamp(7))
    }

    #[test]
    fn a_charge_reads_as_it_is_whatever_the_server_leaves_out() {
        let refund = call("POST /v1/refunds", "charge=ch_1");
        let rule = &refund.action.facts[0].rule;
        let field = |json: &str, name: &str| {
            let fact = read(rule, "ch_1", json).unwrap();
            Facts { read: vec![("c".into(), fact)], assumed: Vec::new() }.field("c", name)
        };
        let full = r#"{"id":"ch_1","customer":{"id":"cus_1"},"currency":"usd","amount":900,"amount_captured":800,
            "amount_refunded":100,"captured":true,"disputed":false,"created":1700000000}"#;
        assert_eq!(field(full, "remaining"), Some(FactValue::Long(700)));
        assert_eq!(field(full, "customer"), Some(FactValue::Text("cus_1".into())));
        assert_eq!(field(full, "id"), Some(FactValue::Text("ch_1".into())));
        assert_eq!(field(full, "disputed"), Some(FactValue::Bool(false)));
        let time = FactValue::Time(Timestamp(1_700_000_000_000));
        assert_eq!(field(full, "purchased_at"), Some(time));
        let older =
            full.replace(r#""amount_captured":800,"#, "").replace(r#""disputed":false,"#, "");
        assert_eq!(field(&older, "remaining"), Some(FactValue::Long(800)));
        assert_eq!(field(&older, "disputed"), None);
        let only_authorised = full.replace(r#""captured":true"#, r#""captured":false"#);
        assert_eq!(field(&only_authorised, "remaining"), None);
        for odd in [r#""captured":"yes""#, r#""captured":1"#, r#""captured":null"#] {
            assert_eq!(field(&full.replace(r#""captured":true"#, odd), "captured"), None, "{odd}");
        }
        let more = full.replace(r#""amount_refunded":100"#, r#""amount_refunded":1000"#);
        assert_eq!(field(&more, "remaining"), Some(FactValue::Long(0)));
        for odd in ["1.5", "\"x\"", "null", "[1]", "9000000000000", "true"] {
            let odd =
                full.replace(r#""amount_refunded":100"#, &format!(r#""amount_refunded":{odd}"#));
            assert_eq!(field(&odd, "remaining"), None, "{odd}");
        }
    }

    #[test]
    fn an_answer_about_something_else_is_no_fact() {
        let refund = call("POST /v1/refunds", "charge=ch_1");
        let rule = &refund.action.facts[0].rule;
        for (json, id) in [
            (r#"{"id":"ch_2"}"#, "ch_2"),
            (r#"{"id":null}"#, ""),
            (r#"{}"#, ""),
            (r#"[{"id":"ch_1"}]"#, ""),
            (r#"{"id":"CH_1"}"#, "CH_1"),
        ] {
            assert_eq!(read(rule, "ch_1", json), Err(FactProblem::WrongId(id.into())), "{json}");
        }
    }

    #[test]
    fn an_id_cannot_bend_a_path() {
        let refund = call("POST /v1/refunds", "charge=ch_1");
        let rule = &refund.action.facts[0].rule;
        let target = |id: &str| fact_target(rule, &[("charge".into(), id.into())]);
        assert_eq!(target("ch_1").unwrap(), "/v1/charges/ch_1");
        for id in ["", ".", "..", "a/b", "../x", "a?b", "a#b", "a%2fb", "a b", "é", "a\n", "a;b"] {
            assert_eq!(target(id), Err(FactProblem::NoId("charge".into())), "{id:?}");
        }
        assert!(target(&"a".repeat(256)).is_err());
        assert_eq!(fact_target(rule, &[]), Err(FactProblem::Missing("charge".into())));
    }

    #[test]
    fn a_list_holds_exactly_the_one() {
        let text = r#"
pack: shop
version: 1
auth: bearer
body: json
facts:
  order:
    get: /orders?number={number}
    id: { number: "[A-Z0-9.-]{1,20}", at: /number }
    items: /data
    one: true
    fields:
      id: /uuid
      currency: /currency
      total: { at: /total, as: major }
      shipped: { at: /status, true: [shipped], false: [new] }
      at: { at: /at, as: rfc3339 }
    derive: { double: total + total }
actions:
  shop.order.cancel:
    match: POST /orders/{number}/cancel
    class: write
    facts: [ { order: { number: path.number } } ]
"#;
        let rule = rule("shop", text);
        let item = r#"{"number":"A1","uuid":"u-7","currency":"kwd","total":"1.5","status":"shipped","at":"2026-03-01T12:00:00Z"}"#;
        let fact = read(&rule, "A1", &format!(r#"{{"data":[{item}]}}"#)).unwrap();
        assert_eq!(fact.id.as_deref(), Some("u-7"));
        let facts = Facts { read: vec![("o".into(), fact)], assumed: Vec::new() };
        assert_eq!(facts.field("o", "total"), Some(FactValue::Long(1500)));
        assert_eq!(facts.field("o", "double"), Some(FactValue::Long(3000)));
        assert_eq!(facts.field("o", "shipped"), Some(FactValue::Bool(true)));
        assert_eq!(facts.field("o", "at"), Some(FactValue::Time(Timestamp(1_772_366_400_000))));
        let two = format!(r#"{{"data":[{item},{item}]}}"#);
        assert_eq!(read(&rule, "A1", &two), Err(FactProblem::Several));
        assert_eq!(read(&rule, "A1", r#"{"data":[]}"#), Err(FactProblem::NotFound));
        let none = FactProblem::NoList("/data".into());
        assert_eq!(read(&rule, "A1", r#"{"data":null}"#), Err(none));
        let finer = item.replace("1.5", "1.0005").replace("shipped", "lost");
        let fact = read(&rule, "A1", &format!(r#"{{"data":[{finer}]}}"#)).unwrap();
        let facts = Facts { read: vec![("o".into(), fact)], assumed: Vec::new() };
        assert_eq!((facts.field("o", "total"), facts.field("o", "shipped")), (None, None));
        let dots = fact_target(&rule, &[("number".into(), "..".into())]);
        assert_eq!(dots, Err(FactProblem::NoId("number".into())));
    }
}

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
            Refusal::nobodys(scope.call).because(refusal.detail)
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

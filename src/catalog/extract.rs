//! What would it do? The class, the kinds, the effects and the stated amount of one call.
//!
//! SECURITY: no spelling lowers a class. What is not on an action's list is refused; what raises is
//! read in the cautious way; a name that another parser could take for one that matters is refused.

mod amount;

use crate::action::{Action, Condition, Source, may_be_present};
use crate::call::{Class, Effect, Kind, Origin, StatedAmount};
use crate::refusal::Refusal;
use crate::resolve::{self, Said};
use crate::value::{Pointer, Syntax, Value};

/// What a request says, and in which syntax.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub action: &'a Action,
    pub said: Said<'a>,
    pub syntax: Syntax,
}

/// The class of a call and all its effects, its own first.
pub(super) fn effects(asked: &Asked<'_>) -> Result<(Class, Vec<Effect>), Refusal> {
    known_parameters(asked)?;
    nothing_refused(asked)?;
    expanded(asked)?;
    resolve::one_of_each(asked.action, &asked.said)?;
    let (class, kinds) = own(asked);
    let amount = match class {
        Class::Financial => amount::stated(asked.action.amount.as_ref(), asked)?,
        Class::Read | Class::Write | Class::Communication => StatedAmount::None,
    };
    let own = |kind| Effect {
        class,
        kind,
        amount: amount.clone(),
        recipients: asked.action.recipients.clone(),
        origin: Origin::Own,
    };
    let mut effects: Vec<Effect> = match kinds.is_empty() {
        true => vec![own(None)],
        false => kinds.into_iter().map(|kind| own(Some(kind))).collect(),
    };
    for (index, also) in asked.action.also.iter().enumerate() {
        if also.when.as_ref().is_some_and(|when| !may_hold(when, asked)) {
            continue;
        }
        let amount = match also.class {
            Class::Financial => amount::stated(also.amount.as_ref(), asked)?,
            Class::Read | Class::Write | Class::Communication => StatedAmount::None,
        };
        effects.push(Effect {
            class: also.class,
            kind: also.kind,
            amount,
            recipients: also.recipients.clone(),
            origin: Origin::Also(index),
        });
    }
    let highest = effects.iter().map(|effect| effect.class).fold(class, Class::max);
    Ok((highest, effects))
}

fn may_hold(condition: &Condition, asked: &Asked<'_>) -> bool {
    condition.may_hold(asked.said.parameters, asked.syntax)
}

/// The action's own class and kinds: what the body lowers first, what it raises after that.
fn own(asked: &Asked<'_>) -> (Class, Vec<Kind>) {
    let action = asked.action;
    let lowered = action.only.as_ref().filter(|only| {
        names(asked.said.parameters).all(|name| only.fields.iter().any(|field| **field == *name))
    });
    let (mut class, mut kinds) = match lowered {
        Some(only) => (only.class, Vec::from_iter(only.kind)),
        None => (action.class, Vec::from_iter(action.kind)),
    };
    for raise in action.raise.iter().filter(|raise| may_hold(&raise.when, asked)) {
        class = class.max(raise.class.unwrap_or(class));
        kinds.extend(raise.kind.filter(|kind| !kinds.contains(kind)));
    }
    (class, kinds)
}

fn names(parameters: &Value) -> impl Iterator<Item = &str> {
    let members = match parameters {
        Value::Map(members) => members.as_slice(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => &[],
    };
    members.iter().map(|(name, _)| &**name)
}

/// Every parameter is on the action's list, where it has one.
fn known_parameters(asked: &Asked<'_>) -> Result<(), Refusal> {
    // The parts of a multipart body are judged by the file's own reader at the vendor.
    let Some(params) = asked.action.params.as_ref().filter(|_| asked.syntax != Syntax::Multipart)
    else {
        return Ok(());
    };
    match names(asked.said.parameters).find(|name| !params.iter().any(|known| **known == **name)) {
        Some(unknown) => {
            let expected = format!("is not a parameter that {} may have", asked.action.name);
            Err(Refusal::malformed(&Pointer::of(&[unknown]).to_string(), &expected))
        }
        None => Ok(()),
    }
}

/// Nothing stands where the action refuses it, and nothing looks like what the action judges by.
fn nothing_refused(asked: &Asked<'_>) -> Result<(), Refusal> {
    let action = asked.action;
    for at in &action.refuse {
        if may_be_present(at, asked.said.parameters) {
            return Err(Refusal::malformed(&at.to_string(), "is not allowed here"));
        }
        unmistakable(at.steps(), asked.said.parameters)?;
    }
    let also = action.also.iter().filter_map(|also| also.when.as_ref());
    let conditions = action.raise.iter().map(|raise| &raise.when).chain(also);
    for at in conditions.flat_map(|condition| &condition.at) {
        unmistakable(at.steps(), asked.said.parameters)?;
    }
    if action.class == Class::Read {
        return Ok(());
    }
    for at in weighed(action) {
        unmistakable(at.steps(), asked.said.parameters)?;
    }
    Ok(())
}

/// What decides how much an effect is, whose, and on what.
fn weighed(action: &Action) -> impl Iterator<Item = &Pointer> {
    let body = |source: &'_ Source| -> bool { matches!(source, Source::Body(_)) };
    let amounts = action.amount.iter().chain(action.also.iter().filter_map(|a| a.amount.as_ref()));
    let pointers = amounts.clone().flat_map(|rule| {
        rule.at.iter().chain(&rule.without).chain(rule.sum.iter().filter_map(|s| s.times.as_ref()))
    });
    let owners = match &action.owner {
        crate::action::Owner::Sources(sources) => sources.as_slice(),
        crate::action::Owner::Response(_)
        | crate::action::Owner::Caller
        | crate::action::Owner::Public
        | crate::action::Owner::Internal => &[],
    };
    let resource = action.resource.iter().flat_map(|rule| &rule.id);
    let facts = action.facts.iter().flat_map(|wanted| wanted.with.iter().map(|(_, from)| from));
    let sources =
        amounts.flat_map(|rule| &rule.currency).chain(owners).chain(resource).chain(facts);
    let sources = sources.filter(move |source| body(source)).filter_map(|source| match source {
        Source::Body(pointer) => Some(pointer),
        Source::Path(_)
        | Source::Query(_)
        | Source::CallerCustomer
        | Source::CallerAccount
        | Source::Fact { .. } => None,
    });
    pointers.chain(sources)
}

/// On the way of `steps` stands no name that is one of them in other letters.
fn unmistakable(steps: &[Box<str>], value: &Value) -> Result<(), Refusal> {
    let Some((step, rest)) = steps.split_first() else { return Ok(()) };
    match value {
        Value::Map(members) if &**step == "*" => {
            members.iter().try_for_each(|(_, member)| unmistakable(rest, member))
        }
        Value::Map(members) => {
            let twin = members.iter().find(|(name, _)| name != step && looks_like(name, step));
            if let Some((name, _)) = twin {
                let expected = format!("expected `{step}`, in exactly these letters");
                return Err(Refusal::malformed(&Pointer::of(&[name]).to_string(), &expected));
            }
            value.member(step).map_or(Ok(()), |next| unmistakable(rest, next))
        }
        Value::List(items) => {
            let steps = if &**step == "*" { rest } else { steps };
            items.iter().try_for_each(|item| unmistakable(steps, item))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => Ok(()),
    }
}

/// Equal for a reader that does not mind letter case, `-` for `_`, `aB` for `a_b`, or what stands
/// around a name.
fn looks_like(name: &str, step: &str) -> bool {
    // Nearly all names are ASCII, and differ in their first letter.
    if name.is_ascii() && step.is_ascii() {
        return letters(name).eq(letters(step));
    }
    // Through upper case first: `ſ` and the Kelvin sign are `s` and `k` to readers that fold by
    // Unicode.
    let folded = |text: &str| -> String {
        let folded = text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
        folded.filter(|c| c.is_alphanumeric()).collect()
    };
    folded(name) == folded(step)
}

fn letters(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase())
}

/// Only what the pack lets an answer hold besides itself.
fn expanded(asked: &Asked<'_>) -> Result<(), Refusal> {
    let step = Box::from("expand");
    unmistakable(std::slice::from_ref(&step), asked.said.parameters)?;
    let Some(value) = asked.said.parameters.member("expand") else { return Ok(()) };
    let wanted: Vec<&Value> = match value {
        Value::List(items) => items.iter().collect(),
        // `expand[0]=customer`.
        Value::Map(members) => members.iter().map(|(_, value)| value).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => vec![value],
    };
    let allowed = |name: &str| {
        let mut known = asked.action.pack.expand.iter().chain(&asked.action.expand);
        known.any(|known| **known == *name)
    };
    let fits = |value: &&Value| {
        let in_list = |name: &str| {
            let inner =
                name.strip_prefix("data.").filter(|_| asked.action.method == http::Method::GET);
            allowed(inner.unwrap_or(name))
        };
        value.text().is_some_and(in_list)
    };
    match wanted.iter().all(fits) {
        true => Ok(()),
        false => Err(Refusal::malformed("/expand", "holds what may not be expanded")),
    }
}

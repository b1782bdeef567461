//! How much? The amount a request states, or a fact, in one currency on which all agree.
//!
//! Never zero for unknown: an amount that cannot be told is `None`, which is over any cap.

use crate::action::{AmountRule, Source};
use crate::call::{Effect, Origin, StatedAmount};
use crate::money::{Currency, MINOR_UNITS_MAX, Money};
use crate::refusal::Refusal;
use crate::value::Value;

use super::{Scope, place, values};

/// The amount of the whole call and of each of its effects.
pub(super) fn of_call(scope: &Scope<'_>) -> Result<(Option<Money>, Vec<Option<Money>>), Refusal> {
    let mut amounts = Vec::with_capacity(scope.call.effects.len());
    for effect in &scope.call.effects {
        amounts.push(of_effect(effect, scope)?);
    }
    Ok((total(&scope.call.effects, &amounts), amounts))
}

/// All financial effects together. Several kinds of one action are one movement of money.
fn total(effects: &[Effect], amounts: &[Option<Money>]) -> Option<Money> {
    let mut sum: Option<Money> = None;
    let mut own_counted = false;
    for (effect, amount) in effects.iter().zip(amounts) {
        if effect.amount == StatedAmount::None {
            continue;
        }
        if effect.origin == Origin::Own && std::mem::replace(&mut own_counted, true) {
            continue;
        }
        let amount = (*amount)?;
        sum = Some(match sum {
            None => amount,
            Some(sum) if sum.currency == amount.currency => {
                let minor = sum.minor.checked_add(amount.minor)?;
                Money { minor, currency: sum.currency }
            }
            Some(_) => return None,
        });
    }
    sum
}

fn of_effect(effect: &Effect, scope: &Scope<'_>) -> Result<Option<Money>, Refusal> {
    let action = &scope.call.action;
    let rule = match effect.origin {
        Origin::Own => action.amount.as_ref(),
        Origin::Also(index) => action.also.get(index).and_then(|also| also.amount.as_ref()),
    };
    let Some(rule) = rule.filter(|_| effect.amount != StatedAmount::None) else { return Ok(None) };
    let Some(currency) = currency(rule, scope)? else { return Ok(None) };
    let minor = match effect.amount {
        StatedAmount::None | StatedAmount::Unknown => None,
        StatedAmount::Minor(minor, _) => Some(minor),
        StatedAmount::Major(decimal, _) => {
            let minor = decimal.to_minor(currency.exponent());
            Some(minor.filter(|minor| (1..=MINOR_UNITS_MAX).contains(minor)).ok_or_else(|| {
                let at = rule.at.first().map(ToString::to_string).unwrap_or_default();
                Refusal::malformed(&at, "expected an amount that its currency can hold")
            })?)
        }
        StatedAmount::Absent => rule.absent.as_ref().and_then(|source| of_fact(source, scope)),
    };
    Ok(minor.map(|minor| Money { minor, currency }))
}

/// Facts count money in minor units, whatever their vendor writes. Nothing is not an amount.
fn of_fact(source: &Source, scope: &Scope<'_>) -> Option<i64> {
    match values(source, scope).as_slice() {
        [Value::Number(number)] => {
            number.to_integer().filter(|minor| (1..=MINOR_UNITS_MAX).contains(minor))
        }
        _ => None,
    }
}

/// The currency that all present sources name; `None` when none is present, or no such currency
/// exists.
pub(super) fn currency(rule: &AmountRule, scope: &Scope<'_>) -> Result<Option<Currency>, Refusal> {
    let mut all = Vec::new();
    for source in &rule.currency {
        all.extend(values(source, scope).into_iter().map(|value| (source, value)));
    }
    one_currency(&all)
}

/// The one currency among what sources say.
///
/// # Errors
///
/// `ambiguous` when two differ in more than letter case, or one is no text.
pub(crate) fn one_currency(all: &[(&Source, Value)]) -> Result<Option<Currency>, Refusal> {
    let mut first: Option<&str> = None;
    for (source, value) in all {
        let text = value.text().ok_or_else(|| {
            Refusal::ambiguous(&place(source), "expected a currency such as `usd`")
        })?;
        if first.is_some_and(|first| !first.eq_ignore_ascii_case(text)) {
            let expected = "expected the currency that this is in; another cannot be compared";
            return Err(Refusal::ambiguous(&place(source), expected));
        }
        first = Some(text);
    }
    Ok(first.and_then(Currency::parse))
}

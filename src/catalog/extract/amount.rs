//! What does a request say about its amount? Exact, positive, of one spelling.
//!
//! Refuses rather than guesses: a negative refund is a charge, `0050` is 50 or 40, `"100"` is a
//! text. What cannot be told is `Unknown`, never zero.

use crate::action::{AmountRule, Sign, Sum, Unit};
use crate::call::StatedAmount;
use crate::money::{Currency, Decimal, MINOR_UNITS_MAX};
use crate::refusal::Refusal;
use crate::resolve::one_currency;
use crate::value::{Pointer, Syntax, Value};

use super::Asked;

/// What the request says about the amount of `rule`.
pub(super) fn stated(
    rule: Option<&AmountRule>,
    asked: &Asked<'_>,
) -> Result<StatedAmount, Refusal> {
    let Some(rule) = rule else { return Ok(StatedAmount::Unknown) };
    let root = asked.said.parameters;
    let currency = currency(rule, asked)?;
    let reader = Reader { rule, syntax: asked.syntax };
    // Every amount that is there must read, also one that does not count.
    let mut first = None;
    for at in &rule.at {
        let found = match &rule.sum {
            Some(sum) => reader.added(at, sum, root)?,
            None => at.find(root).map(|value| reader.one(at, value)).transpose()?.map(Found::Is),
        };
        first = first.or(found);
    }
    let clouded = rule.without.iter().any(|pointer| pointer.is_present(root));
    let amount = match (clouded, first) {
        (true, _) | (false, Some(Found::Unclear)) => return Ok(StatedAmount::Unknown),
        (false, None) => return Ok(StatedAmount::Absent),
        (false, Some(Found::Is(amount))) => amount,
    };
    reader.bounded(amount, currency)
}

/// The currency that the request itself names; all that it names must agree.
fn currency(rule: &AmountRule, asked: &Asked<'_>) -> Result<Option<Currency>, Refusal> {
    let mut named = Vec::new();
    for source in &rule.currency {
        let values = asked.said.values(source).unwrap_or_default();
        named.extend(values.into_iter().map(|value| (source, value)));
    }
    one_currency(&named)
}

/// What stands where an amount may stand.
enum Found {
    /// This much.
    Is(Decimal),
    /// Something of which part cannot be told.
    Unclear,
}

struct Reader<'r> {
    rule: &'r AmountRule,
    syntax: Syntax,
}

impl Reader<'_> {
    /// One amount, exact, with the sign that the rule lets it have.
    fn one(&self, at: &Pointer, value: &Value) -> Result<Decimal, Refusal> {
        let expected = match (self.rule.unit, self.syntax) {
            (Unit::Minor, Syntax::Json) => "expected a positive whole number of minor units",
            (Unit::Minor, Syntax::Form | Syntax::Multipart) => {
                "expected minor units in digits only, such as `1250`"
            }
            (Unit::Major, _) => "expected a positive decimal such as `12.50`",
        };
        let wrong = || Refusal::malformed(&at.to_string(), expected);
        let read = match (value, self.syntax, self.rule.unit) {
            (Value::Number(number), _, _) => Some(*number),
            (Value::Text(text), _, Unit::Major) => plain_decimal(text),
            (Value::Text(text), Syntax::Form | Syntax::Multipart, Unit::Minor) => digits(text),
            (Value::Text(_), Syntax::Json, Unit::Minor) => None,
            (Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_), _, _) => None,
        };
        let amount = read.ok_or_else(wrong)?;
        if self.rule.unit == Unit::Minor && !amount.is_integer() {
            return Err(wrong());
        }
        match (amount.mantissa.signum(), self.rule.sign) {
            (1, _) => Ok(amount),
            (-1, Sign::Either) => {
                let mantissa = amount.mantissa.checked_neg().ok_or_else(wrong)?;
                Ok(Decimal { mantissa, scale: amount.scale })
            }
            _ => Err(wrong()),
        }
    }

    /// The amounts of all items, each times its number.
    fn added(&self, at: &Pointer, sum: &Sum, root: &Value) -> Result<Option<Found>, Refusal> {
        let (array, inner) = split(at);
        let items: Vec<&Value> = match array.find(root) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::List(items)) => items.iter().collect(),
            Some(Value::Map(members)) => members.iter().map(|(_, item)| item).collect(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Text(_)) => {
                return Err(Refusal::malformed(&array.to_string(), "expected a list"));
            }
        };
        let times = sum.times.as_ref().map(|times| split(times).1);
        let mut total = Some(Decimal { mantissa: 0, scale: 0 });
        for item in &items {
            let times = match times.as_ref().and_then(|times| times.find(item)) {
                None | Some(Value::Null) => 1,
                Some(value) => self.count(at, value)?,
            };
            // An item of which the amount cannot be told clouds the whole, and the rest must read.
            match inner.find_all(item).filter(|found| !found.contains(&&Value::Null)) {
                None => total = None,
                Some(values) => {
                    for value in values {
                        let one = self.one(at, value)?;
                        total = match total {
                            None => None,
                            Some(total) => {
                                Some(plus_times(total, one, times).ok_or_else(|| {
                                    Refusal::malformed(
                                        &at.to_string(),
                                        "is more than can be counted",
                                    )
                                })?)
                            }
                        };
                    }
                }
            }
        }
        let known = total.filter(|total| total.mantissa > 0 && !items.is_empty());
        Ok(Some(known.map_or(Found::Unclear, Found::Is)))
    }

    fn count(&self, at: &Pointer, value: &Value) -> Result<i128, Refusal> {
        let wrong =
            || Refusal::malformed(&at.to_string(), "expected how many of it as a whole number");
        let read = match (value, self.syntax) {
            (Value::Number(number), _) => Some(*number),
            (Value::Text(text), Syntax::Form | Syntax::Multipart) => digits(text),
            (Value::Text(_), Syntax::Json)
            | (Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_), _) => None,
        };
        let count = read.filter(Decimal::is_integer).ok_or_else(wrong)?;
        if count.mantissa < 0 { Err(wrong()) } else { Ok(count.mantissa) }
    }

    fn bounded(
        &self,
        amount: Decimal,
        currency: Option<Currency>,
    ) -> Result<StatedAmount, Refusal> {
        let at = self.rule.at.first().map(ToString::to_string).unwrap_or_default();
        let too_much = || Refusal::malformed(&at, "is more than can be counted");
        let fits = |minor: &i64| (1..=MINOR_UNITS_MAX).contains(minor);
        match self.rule.unit {
            Unit::Minor => {
                let minor = amount.to_integer().filter(fits).ok_or_else(too_much)?;
                Ok(StatedAmount::Minor(minor, currency))
            }
            Unit::Major => {
                // Without a currency in the call its digits are checked once a fact names one.
                let fraction = || Refusal::malformed(&at, "has digits that its currency has not");
                if let Some(currency) = currency {
                    let minor = amount.to_minor(currency.exponent()).ok_or_else(fraction)?;
                    Some(minor).filter(fits).ok_or_else(too_much)?;
                }
                Ok(StatedAmount::Major(amount, currency))
            }
        }
    }
}

fn plus_times(total: Decimal, one: Decimal, times: i128) -> Option<Decimal> {
    let scale = total.scale.max(one.scale);
    let widen = |decimal: Decimal| {
        let more = scale.checked_sub(decimal.scale)?;
        decimal.mantissa.checked_mul(10_i128.checked_pow(more)?)
    };
    let mantissa = widen(total)?.checked_add(widen(one)?.checked_mul(times)?)?;
    let mut sum = Decimal { mantissa, scale };
    // Decimals are equal only in lowest form: 1.5 and 1.5 are 3, which a currency without minor
    // units can hold.
    while sum.scale > 0 && sum.mantissa.checked_rem(10) == Some(0) {
        sum.mantissa = sum.mantissa.checked_div(10)?;
        sum.scale = sum.scale.checked_sub(1)?;
    }
    Some(sum)
}

/// The array of a pointer with a `*`, and what stands behind the first.
fn split(pointer: &Pointer) -> (Pointer, Pointer) {
    let steps: Vec<&str> = pointer.steps().iter().map(|step| &**step).collect();
    let array: Vec<&str> = steps.iter().take_while(|step| **step != "*").copied().collect();
    let inner: Vec<&str> = steps.iter().skip(array.len().saturating_add(1)).copied().collect();
    (Pointer::of(&array), Pointer::of(&inner))
}

/// Digits, with a point between them or none, one `-` in front or none: no exponent, no leading
/// zero, no blank, no digit of another script.
fn plain_decimal(text: &str) -> Option<Decimal> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let plain = unsigned.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { Decimal::parse(text).ok() } else { None }
}

/// The same without a point.
fn digits(text: &str) -> Option<Decimal> {
    if text.contains('.') { None } else { plain_decimal(text) }
}

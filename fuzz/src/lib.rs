//! What the fuzz targets share: the words and the wire, compiled alone, and the comparison with an
//! independent parser.
//!
//! The rest of the product has nothing to do with it and would take minutes to instrument.

#[path = "../../src"]
mod house {
    pub mod action;
    pub mod bounds;
    pub mod call;
    pub mod clock;
    pub mod contract;
    pub mod decision;
    pub mod money;
    pub mod refusal;
    pub mod value;
    pub mod wire;
}

pub use house::*;

use value::Value;

/// Panics unless both read the same document.
pub fn assert_same_json(ours: &Value, theirs: &serde_json::Value) {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => {}
        (Value::Bool(a), serde_json::Value::Bool(b)) => assert_eq!(a, b),
        (Value::Text(a), serde_json::Value::String(b)) => assert_eq!(&**a, b),
        (Value::Number(a), serde_json::Value::Number(b)) => {
            match b.as_i64().map(i128::from).or_else(|| b.as_u64().map(i128::from)) {
                Some(exact) => assert_eq!((a.mantissa, a.scale), (exact, 0)),
                None => {
                    // Theirs is a float, and its last digit may be off.
                    let ours: f64 = a.to_string().parse().unwrap();
                    let theirs = b.as_f64().unwrap();
                    assert!((ours - theirs).abs() <= ours.abs() * 1e-14, "{ours} {theirs}");
                }
            }
        }
        (Value::List(a), serde_json::Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| assert_same_json(a, b));
        }
        (Value::Map(a), serde_json::Value::Object(b)) => {
            assert_eq!(a.len(), b.len());
            for ((name, a), (other, b)) in a.iter().zip(b) {
                assert_eq!(&**name, other);
                assert_same_json(a, b);
            }
        }
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

/// Panics unless the tree holds every pair that the other parser found, and no more.
pub fn assert_same_form(ours: &Value, bytes: &[u8]) {
    let mut pushed = std::collections::HashMap::<String, usize>::new();
    let mut pairs = 0;
    for (name, value) in form_urlencoded::parse(bytes) {
        let (base, rest) = name.split_once('[').unwrap_or((&name, ""));
        let mut at = ours;
        let steps = rest.split_terminator(']').map(|step| step.trim_start_matches('['));
        for step in std::iter::once(base).chain(steps) {
            at = match at {
                Value::Map(members) => &members.iter().find(|(n, _)| &**n == step).unwrap().1,
                Value::List(items) if step.is_empty() => {
                    let next = pushed.entry(name.clone().into_owned()).or_default();
                    *next += 1;
                    &items[*next - 1]
                }
                Value::List(items) => &items[step.parse::<usize>().unwrap()],
                other => panic!("{name} leads to {other:?}"),
            };
        }
        assert_eq!(at, &Value::Text((&*value).into()), "{name}");
        pairs += 1;
    }
    assert_eq!(leaves(ours), pairs);
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::List(items) => items.iter().map(leaves).sum(),
        Value::Map(members) => members.iter().map(|(_, value)| leaves(value)).sum(),
        _ => 1,
    }
}

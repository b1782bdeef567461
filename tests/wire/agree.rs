//! Does an independent parser read the same? Shared by the property tests and the fuzz targets.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::collections::HashMap;

use tollhouse::value::Value;

/// Panics unless serde_json read the same document.
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

/// Panics unless the tree holds every pair that `form_urlencoded` found, and no more.
pub fn assert_same_form(ours: &Value, bytes: &[u8]) {
    let mut pushed = HashMap::<String, usize>::new();
    let mut pairs = 0;
    for (name, value) in form_urlencoded::parse(bytes) {
        let (base, rest) = name.split_once('[').unwrap_or((&name, ""));
        let steps = rest.split_terminator(']').map(|step| step.trim_start_matches('['));
        let at = std::iter::once(base).chain(steps).fold(ours, |at, step| match at {
            Value::Map(members) => {
                let member = members.iter().find(|(own, _)| &**own == step);
                &member.unwrap_or_else(|| panic!("{name} has no {step}")).1
            }
            Value::List(items) if step.is_empty() => {
                let next = pushed.entry(name.clone().into_owned()).or_default();
                *next += 1;
                &items[*next - 1]
            }
            Value::List(items) => &items[step.parse::<usize>().unwrap()],
            other => panic!("{name} leads to {other:?}"),
        });
        assert_eq!(at, &Value::Text((&*value).into()), "{name}");
        pairs += 1;
    }
    assert_eq!(leaves(ours), pairs, "more values than pairs");
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::List(items) => items.iter().map(leaves).sum(),
        Value::Map(members) => members.iter().map(|(_, value)| leaves(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => 1,
    }
}

/// Panics unless the `url` crate (which rewrites what browsers rewrite) and `http` (which rewrites
/// nothing) read the same target.
pub fn assert_same_target(target: &str, path: &str, query: &Value) {
    let (raw_path, raw_query) = target.split_once('?').unwrap_or((target, ""));
    let url = url::Url::parse(&format!("http://h{target}")).expect("accepted by us only");
    assert_eq!(url.path(), raw_path, "a path that a browser would rewrite");
    // A form decodes percent as a path does, once what only a form reads is coded.
    let only_path = raw_path.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let decoded: Vec<_> = form_urlencoded::parse(only_path.as_bytes()).map(|(n, _)| n).collect();
    assert_eq!(decoded, [path]);
    let parsed: http::uri::PathAndQuery = target.parse().expect("accepted by us only");
    assert_eq!((parsed.path(), parsed.query().unwrap_or("")), (raw_path, raw_query));
    assert_same_form(query, raw_query.as_bytes());
}

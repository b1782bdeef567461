//! Whatever is accepted means the same to an independent parser; whatever that one writes is
//! accepted.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly"
)]

mod agree;

use agree::{assert_same_form, assert_same_json, assert_same_target};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use tollhouse::call::Request;
use tollhouse::money::{Decimal, MINOR_UNITS_MAX};
use tollhouse::refusal::Refusal;
use tollhouse::value::{Payload, Syntax, Value, major_units, minor_units};
use tollhouse::wire;

fn payload(syntax: Syntax, body: &[u8]) -> Result<Payload, Refusal> {
    let kind = match syntax {
        Syntax::Json => "application/json",
        Syntax::Form => "application/x-www-form-urlencoded",
        Syntax::Multipart => "multipart/form-data; boundary=b",
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    wire::payload(syntax, &headers, body)
}

/// Any text but NUL, with the characters that parsers stumble over.
fn text() -> impl Strategy<Value = String> {
    let odd =
        prop::sample::select(vec!['"', '\\', '/', '\n', '\u{1}', '\u{7f}', 'é', '😀', '\u{2028}']);
    let any = any::<char>().prop_filter("NUL is refused", |c| *c != '\0');
    prop::collection::vec(prop_oneof![3 => prop::char::range('a', 'z'), 1 => odd, 1 => any], 0..8)
        .prop_map(String::from_iter)
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (-1e15..1e15_f64).prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::Array),
            prop::collection::vec((text(), inner), 0..20).prop_map(object),
        ]
    })
}

/// An object of these members, without names that differ by letter case alone.
fn object(members: Vec<(String, serde_json::Value)>) -> serde_json::Value {
    let mut folded = std::collections::HashSet::new();
    let fold = |name: &str| name.to_uppercase().to_lowercase();
    members.into_iter().filter(|(name, _)| folded.insert(fold(name))).collect()
}

/// A few bytes of `text` changed, dropped or doubled.
fn bent(text: String, alphabet: &'static [u8], bends: Vec<(usize, u8, usize)>) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for (at, how, what) in bends {
        let at = at % (bytes.len() + 1);
        let new = alphabet[what % alphabet.len()];
        match how % 4 {
            0 => bytes.insert(at, new),
            1 if at < bytes.len() => bytes[at] = new,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                let end = (at + what % 12).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(end..end, piece);
            }
        }
    }
    bytes
}

fn bends() -> impl Strategy<Value = Vec<(usize, u8, usize)>> {
    prop::collection::vec(any::<(usize, u8, usize)>(), 0..5)
}

/// A form's tree: maps, lists (numbered, or of texts pushed), texts.
#[derive(Debug, Clone)]
enum Tree {
    Text(String),
    Pushed(Vec<String>),
    Numbered(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let value = || {
        prop::collection::vec(any::<char>(), 0..6)
            .prop_map(|chars| chars.into_iter().filter(|c| *c != '\0').collect::<String>())
    };
    let leaf = prop_oneof![
        4 => value().prop_map(Tree::Text),
        1 => prop::collection::vec(value(), 1..4).prop_map(Tree::Pushed),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::Numbered),
            members(inner).prop_map(Tree::Map),
        ]
    })
}

fn members(inner: impl Strategy<Value = Tree>) -> impl Strategy<Value = Vec<(String, Tree)>> {
    // Without a dot or a digit, so that no name is also a way of nesting.
    prop::collection::btree_map("[a-z_é]( ?[a-z_é&=+%;]){0,5}", inner, 1..5)
        .prop_map(|map| map.into_iter().filter(|(name, _)| name != "_method").collect())
}

impl Tree {
    fn pairs(&self, name: &str, out: &mut Vec<(String, String)>) {
        match self {
            Self::Text(text) => out.push((name.to_owned(), text.clone())),
            Self::Pushed(texts) => {
                out.extend(texts.iter().map(|text| (format!("{name}[]"), text.clone())));
            }
            Self::Numbered(items) => items
                .iter()
                .enumerate()
                .for_each(|(at, item)| item.pairs(&format!("{name}[{at}]"), out)),
            Self::Map(members) => {
                members
                    .iter()
                    .for_each(|(key, member)| member.pairs(&format!("{name}[{key}]"), out));
            }
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::Text(text.as_str().into()),
            Self::Pushed(texts) => {
                Value::List(texts.iter().map(|text| Value::Text(text.as_str().into())).collect())
            }
            Self::Numbered(items) => Value::List(items.iter().map(Self::value).collect()),
            Self::Map(members) => map_of(members),
        }
    }
}

fn map_of(members: &[(String, Tree)]) -> Value {
    Value::Map(members.iter().map(|(name, tree)| (name.as_str().into(), tree.value())).collect())
}

fn small_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-2..3_i128).prop_map(|mantissa| Value::Number(Decimal { mantissa, scale: 0 })),
        "[a-b:1]{0,2}".prop_map(|text| Value::Text(text.into())),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("[a-b]{0,1}", inner, 0..3).prop_map(|map| {
                Value::Map(map.into_iter().rev().map(|(name, v)| (name.into(), v)).collect())
            }),
        ]
    })
}

/// With members in order of their names: what equality of meaning is.
fn sorted(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(sorted).collect()),
        Value::Map(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(members)
        }
        scalar => scalar.clone(),
    }
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.canonical(&mut out);
    out
}

/// A character in one of the ways JSON lets it be written.
fn escaped(c: char, way: u8) -> String {
    let mut units = [0; 2];
    let mut coded = || {
        let units = c.encode_utf16(&mut units).iter();
        units.map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    let must = matches!(c, '"' | '\\' | '\0'..='\u{1f}');
    match way % 3 {
        0 if !must => c.to_string(),
        1 => coded().to_uppercase().replace("\\U", "\\u"),
        _ => coded(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn json_that_serde_writes_is_accepted(document in json()) {
        for body in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
            let read = wire::answer(body.as_bytes());
            assert_same_json(&read.unwrap(), &document);
            let root = object(vec![("root".into(), document.clone())]).to_string();
            assert_same_json(
                &payload(Syntax::Json, root.as_bytes()).unwrap().root,
                &serde_json::from_str(&root).unwrap(),
            );
        }
    }

    #[test]
    fn bent_json_is_read_like_serde_or_refused_for_a_reason(document in json(), bends in bends()) {
        let root = object(vec![("a".into(), document), ("b".into(), 1.into())]).to_string();
        let body = bent(root, b"{}[]\",:\\u0aA19.-+eE tfn\xC3\xA9\xFF\x00/", bends);
        match (payload(Syntax::Json, &body), serde_json::from_slice(&body)) {
            (Ok(ours), Ok(theirs)) => assert_same_json(&ours.root, &theirs),
            (Ok(ours), Err(error)) => panic!("{:?}, {error}", ours.root),
            (Err(_), Err(_)) => {}
            (Err(refusal), Ok(theirs)) => {
                let reasons = ["name once", "no NUL", "34 digits", "a JSON object"];
                let known = reasons.iter().any(|reason| refusal.detail.contains(reason));
                prop_assert!(known, "{} {theirs}", refusal.detail);
            }
        }
    }

    #[test]
    fn a_string_means_the_same_however_it_is_escaped(text in text(), ways in any::<[u8; 8]>()) {
        let inner: String = text.chars().zip(ways.iter().cycle()).map(|(c, way)| escaped(c, *way)).collect();
        let body = format!("{{\"{inner}\":\"{inner}\"}}");
        let read = payload(Syntax::Json, body.as_bytes()).unwrap().root;
        prop_assert_eq!(read, Value::Map(vec![(text.as_str().into(), Value::Text(text.as_str().into()))]));
    }

    #[test]
    fn a_number_means_the_same_however_it_is_written(number in any::<i64>(), shift in 0_u32..10) {
        let zeros = "0".repeat(shift as usize);
        for written in [
            format!("{number}"),
            format!("{number}.0{zeros}"),
            format!("{number}e0"),
            format!("{number}{zeros}e-{shift}"),
            format!("{number}.{zeros}0E+0"),
        ] {
            let read = wire::answer(written.as_bytes());
            let decimal = Decimal { mantissa: number.into(), scale: 0 };
            prop_assert_eq!(read, Ok(Value::Number(decimal)), "{}", written);
        }
    }

    #[test]
    fn a_form_that_another_library_writes_is_accepted(members in members(tree())) {
        let mut pairs = Vec::new();
        members.iter().for_each(|(name, tree)| tree.pairs(name, &mut pairs));
        let coded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        // As Stripe's libraries: brackets bare, blanks as `%20` in Node.
        for body in [coded.clone(), coded.replace("%5B", "[").replace("%5D", "]"), coded.replace('+', "%20")] {
            let read = payload(Syntax::Form, body.as_bytes()).unwrap().root;
            prop_assert_eq!(&read, &map_of(&members), "{}", body);
            assert_same_form(&read, body.as_bytes());
        }
    }

    #[test]
    fn a_bent_form_is_read_alike_or_refused(members in members(tree()), bends in bends()) {
        let mut pairs = Vec::new();
        members.iter().for_each(|(name, tree)| tree.pairs(name, &mut pairs));
        let coded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let body = bent(coded.replace("%5B", "[").replace("%5D", "]"), b"[]=&%+;.01aA \xC3_", bends);
        if let Ok(read) = payload(Syntax::Form, &body) {
            assert_same_form(&read.root, &body);
        }
    }

    #[test]
    fn an_accepted_target_is_rewritten_by_nobody(
        target in "/(v1|refunds|/|/\\.{1,2}/|/\\.{1,2}|[a-z.@:+]{0,4}|%2[0-9a-fA-F]|%[2-7][0-9a-f]|[;\\\\ #]){0,4}(\\?[a-c=&%\\[\\]0-2.+]{0,12})?"
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("tollhouse.test"));
        let request = Request {
            listener: 0,
            method: Method::GET,
            target: target.as_str().into(),
            headers,
            body: bytes::Bytes::new(),
            peer: None,
        };
        if let Ok(head) = wire::head(&request) {
            assert_same_target(&target, &head.path, &head.query);
            prop_assert!(!head.path.contains("//"));
            prop_assert!(head.path.is_ascii() && !head.path.contains(['\\', '%', '?', '#', ';', '\0']));
        }
    }

    #[test]
    fn canonical_forms_are_equal_exactly_when_values_are(a in small_value(), b in small_value()) {
        prop_assert_eq!(canonical(&a) == canonical(&b), sorted(&a) == sorted(&b));
        prop_assert_eq!(canonical(&a), canonical(&sorted(&a)));
    }

    #[test]
    fn minor_units_of_a_form_are_the_canonical_digits(text in "[-+ ]{0,1}[0-9]{0,14}[.e0x]{0,1}[0-9]{0,2}") {
        let plain = text.parse::<i64>().ok().filter(|n| n.to_string() == text);
        let expected = plain.filter(|n| (1..=MINOR_UNITS_MAX).contains(n));
        let read = minor_units(&Value::Text(text.into()), Some(Syntax::Form));
        prop_assert_eq!(read.ok(), expected);
    }

    #[test]
    fn major_units_are_what_they_say(whole in 0_i64..2_000_000_000_000, cents in 0_i64..100) {
        let text = format!("{whole}.{cents:02}");
        let minor = whole * 100 + cents;
        let fits = (1..=MINOR_UNITS_MAX * 100).contains(&minor);
        let read = major_units(&Value::Text(text.into()), Some(Syntax::Json));
        prop_assert_eq!(read.ok().and_then(|decimal| decimal.to_minor(2)), fits.then_some(minor));
    }
}

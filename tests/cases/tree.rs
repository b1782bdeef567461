//! Trees of a case file: reading, laying one over another, writing one as JSON or YAML again.

use tollhouse::yaml::{Node, Place, Shape};

pub fn empty() -> Node {
    Node { place: Place::default(), shape: Shape::Map(Vec::new()) }
}

pub fn entries(node: &Node) -> &[(String, Place, Node)] {
    match &node.shape {
        Shape::Map(members) => members,
        Shape::Scalar { .. } | Shape::List(_) => &[],
    }
}

pub fn items(node: &Node) -> Vec<&Node> {
    match &node.shape {
        Shape::List(items) => items.iter().collect(),
        Shape::Scalar { .. } | Shape::Map(_) => vec![node],
    }
}

pub fn is_list(node: &Node) -> bool {
    matches!(node.shape, Shape::List(_))
}

pub fn is_null(node: &Node) -> bool {
    matches!(&node.shape, Shape::Scalar { text, quoted: false } if matches!(&**text, "" | "~" | "null"))
}

/// The entry of that name, unless it is null.
pub fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let (_, _, found) = entries(node).iter().find(|(name, _, _)| name == key)?;
    (!is_null(found)).then_some(found)
}

/// The scalar of that name, its `«..*N»` written out.
pub fn text(node: &Node, key: &str) -> Option<String> {
    get(node, key).map(scalar)
}

pub fn scalar(node: &Node) -> String {
    match &node.shape {
        Shape::Scalar { text, .. } => expanded(text),
        Shape::List(_) | Shape::Map(_) => panic!("line {}: expected a text", node.place.line),
    }
}

pub fn texts(node: &Node) -> Vec<String> {
    items(node).into_iter().map(scalar).collect()
}

pub fn flag(node: &Node, key: &str) -> bool {
    text(node, key).as_deref() == Some("true")
}

pub fn number(node: &Node, key: &str) -> Option<usize> {
    text(node, key).map(|n| n.parse().unwrap_or_else(|_| panic!("`{n}` is no number")))
}

/// `over` laid over `under`, entry by entry; null takes one away. `deep` names the entries that are
/// themselves laid over each other.
pub fn over(under: &Node, over: &Node, deep: &[&str]) -> Node {
    let mut members = entries(under).to_vec();
    for (name, place, node) in entries(over) {
        let at = members.iter().position(|(own, _, _)| own == name);
        let node = match at {
            Some(at) if deep.contains(&name.as_str()) => self::over(&members[at].2, node, &[]),
            _ => node.clone(),
        };
        match at {
            Some(at) => members[at].2 = node,
            None => members.push((name.clone(), *place, node)),
        }
    }
    Node { place: over.place, shape: Shape::Map(members) }
}

/// Refuses what nobody asks for: a key that is misspelt would never be looked at.
pub fn only(node: &Node, known: &[&str], file: &str) {
    for (name, place, _) in entries(node) {
        assert!(
            known.contains(&name.as_str()),
            "{file}:{}: `{name}` is not a key here; expected one of {}",
            place.line,
            known.join(", ")
        );
    }
}

/// As JSON: quoted scalars are texts, plain ones what they look like.
pub fn json(node: &Node) -> serde_json::Value {
    match &node.shape {
        Shape::Map(members) => members
            .iter()
            .map(|(name, _, node)| (name.clone(), json(node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Shape::List(items) => items.iter().map(json).collect::<Vec<_>>().into(),
        Shape::Scalar { quoted: true, .. } => scalar(node).into(),
        Shape::Scalar { text, quoted: false } => match &**text {
            "" | "~" | "null" => serde_json::Value::Null,
            "true" => true.into(),
            "false" => false.into(),
            text => text.parse::<i64>().map_or_else(|_| text.into(), Into::into),
        },
    }
}

/// As YAML in one line.
pub fn yaml(node: &Node) -> String {
    match &node.shape {
        Shape::Map(members) => {
            let inner: Vec<_> = members
                .iter()
                .map(|(name, _, node)| format!("\"{name}\": {}", yaml(node)))
                .collect();
            format!("{{ {} }}", inner.join(", "))
        }
        Shape::List(items) => {
            format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", "))
        }
        Shape::Scalar { text, quoted: true } => serde_json::Value::from(text.as_str()).to_string(),
        Shape::Scalar { text, quoted: false } => text.clone(),
    }
}

/// `«ab*3»` is `ababab`.
pub fn expanded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('«') {
        let (inner, after) = behind.split_once('»').expect("`«` without `»`");
        let (what, times) = inner.rsplit_once('*').expect("expected `«text*N»`");
        out.push_str(before);
        out.push_str(&what.repeat(times.parse().expect("expected `«text*N»`")));
        rest = after;
    }
    out + rest
}

//! The shipped packs, held to goldens: for each call what it is, of which class, for how much,
//! whose. And to lists that are not theirs: every operation of the vendor's description, and labels
//! that somebody else gave.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use tollhouse::action::{Action, AnswerPlace, Operator, Owner, ReadAs};
use tollhouse::call::{
    AccountClaim, Call, Caller, Class, Consent, Fact, FactValue, Facts, Origin, Request, Resolved,
};
use tollhouse::catalog::pack;
use tollhouse::catalog::{Catalog, Pack, Road};
use tollhouse::clock::Timestamp;
use tollhouse::refusal::Refusal;
use tollhouse::resolve::{Scope, resolve};
use tollhouse::value::Syntax;
use tollhouse::yaml::{self, Node, Shape};

fn shipped(name: &str) -> Arc<Pack> {
    let text = pack::shipped(name).unwrap();
    Arc::new(pack::read(name, text).unwrap_or_else(|errors| panic!("{errors}")))
}

fn catalog(pack: &Arc<Pack>) -> Catalog {
    let road = Road {
        upstream: "upstream".into(),
        listener: 0,
        prefix: "/".into(),
        pack: Arc::clone(pack),
        selectors: Vec::new(),
    };
    Catalog::new(vec![road]).unwrap()
}

/// One golden: what is sent, what the facts are, what is expected.
struct Golden {
    name: String,
    request: Request,
    facts: Vec<(String, Vec<(String, Node)>)>,
    account: Option<String>,
    expect: BTreeMap<String, Node>,
}

fn goldens(pack: &str) -> Vec<Golden> {
    let dir = Path::new("tests/packs").join(pack);
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "yaml"));
    files.sort();
    files.iter().flat_map(|file| goldens_of(file)).collect()
}

fn goldens_of(file: &Path) -> Vec<Golden> {
    let text = fs::read_to_string(file).unwrap();
    let root = yaml::read(&file.display().to_string(), &text).unwrap_or_else(|e| panic!("{e}"));
    let Shape::List(items) = root.shape else { panic!("{} is no list", file.display()) };
    items.iter().map(|item| golden(file, item)).collect()
}

fn members(node: &Node) -> Vec<(String, Node)> {
    match &node.shape {
        Shape::Map(members) => {
            members.iter().map(|(name, _, node)| (name.clone(), node.clone())).collect()
        }
        _ => panic!("line {}: expected a mapping", node.place.line),
    }
}

fn golden(file: &Path, item: &Node) -> Golden {
    let at = format!("{}:{}", file.display(), item.place.line);
    let keys: BTreeMap<String, Node> = members(item).into_iter().collect();
    let known = ["name", "send", "form", "json", "facts", "caller", "expect"];
    let stray: Vec<_> = keys.keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(stray.is_empty(), "{at}: {stray:?} is no key of a golden");
    let send = keys["send"].text().unwrap();
    let (method, target) = send.split_once(' ').unwrap();
    let (kind, body) = match (keys.get("form"), keys.get("json")) {
        (Some(form), None) => ("application/x-www-form-urlencoded", form_body(form)),
        (None, Some(json)) => ("application/json", json_of(json).to_string()),
        (None, None) => ("", String::new()),
        (Some(_), Some(_)) => panic!("{at}: form and json"),
    };
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1:8700"));
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert("content-length", HeaderValue::from(body.len()));
    }
    let facts: Vec<_> = keys.get("facts").map(members).unwrap_or_default();
    let facts: Vec<_> = facts.iter().map(|(name, node)| (name.clone(), members(node))).collect();
    let expect: BTreeMap<String, Node> = members(&keys["expect"]).into_iter().collect();
    // Nobody is named: the call is made by whoever the system of record says it belongs to.
    let told = facts.iter().flat_map(|(_, fields)| fields).find(|(name, _)| name == "customer");
    let account = match keys.get("caller") {
        Some(caller) => Some(caller.text().unwrap().to_owned()),
        None => told.map(|(_, node)| node.text().unwrap().to_owned()),
    };
    let name = keys.get("name").map_or("", |name| name.text().unwrap());
    Golden {
        name: format!("{at} {send} {name}"),
        request: Request {
            listener: 0,
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            target: target.into(),
            headers,
            body: Bytes::from(body),
            peer: None,
        },
        facts,
        account,
        expect,
    }
}

fn form_body(form: &Node) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b if b.is_ascii_alphanumeric() || b"-._~[]".contains(&b) => char::from(b).into(),
                b => format!("%{b:02X}"),
            })
            .collect()
    };
    let pair = |(name, value): (String, Node)| {
        format!("{}={}", encode(&name), encode(value.text().unwrap()))
    };
    members(form).into_iter().map(pair).collect::<Vec<_>>().join("&")
}

fn json_of(node: &Node) -> serde_json::Value {
    match &node.shape {
        Shape::Scalar { text, quoted: true } => text.as_str().into(),
        Shape::Scalar { text, quoted: false } => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            "null" | "~" => serde_json::Value::Null,
            text => text.parse::<i64>().map_or_else(|_| text.into(), Into::into),
        },
        Shape::List(items) => items.iter().map(json_of).collect(),
        Shape::Map(members) => {
            members.iter().map(|(name, _, node)| (name.clone(), json_of(node))).collect()
        }
    }
}

/// The facts of a golden, typed as the action's rules type them.
fn facts(golden: &Golden, action: &Action) -> Facts {
    let typed = |published: &str, field: &str, node: &Node| {
        let text = node.text().unwrap();
        let uses = || action.facts.iter().filter(|wanted| *wanted.name == *published);
        let rule = uses().find_map(|wanted| wanted.rule.fields.iter().find(|f| *f.0 == *field));
        let derived = uses().any(|wanted| {
            wanted.rule.derive.iter().any(|d| {
                matches!(d.operator, Operator::Minus | Operator::Plus) && *d.name == *field
            })
        });
        let long = || text.parse().unwrap_or_else(|_| panic!("{}: {field} `{text}`", golden.name));
        match rule.map(|(_, rule)| rule.read) {
            _ if derived => FactValue::Long(long()),
            None if field == "id" => FactValue::Text(text.into()),
            None => panic!("{}: the fact {published} has no field {field}", golden.name),
            Some(ReadAs::Minor | ReadAs::Major | ReadAs::Long) => FactValue::Long(long()),
            Some(ReadAs::EpochSeconds | ReadAs::EpochMillis | ReadAs::Rfc3339) => {
                FactValue::Time(Timestamp::from_seconds(long()))
            }
            Some(ReadAs::Bool) => FactValue::Bool(text == "true"),
            Some(ReadAs::Text) => FactValue::Text(text.into()),
        }
    };
    let read = golden.facts.iter().map(|(name, fields)| {
        let fields: Vec<(Box<str>, FactValue)> = fields
            .iter()
            .map(|(field, node)| (field.as_str().into(), typed(name, field, node)))
            .collect();
        let id = fields.iter().find(|(field, _)| &**field == "id").map(|(_, id)| match id {
            FactValue::Text(id) => id.clone(),
            _ => panic!("{}: the id of {name} is a text", golden.name),
        });
        (name.as_str().into(), Fact { id, fields, as_of: Timestamp::default() })
    });
    Facts { read: read.collect(), assumed: Vec::new() }
}

fn caller() -> Caller {
    Caller {
        tenant: "".into(),
        agent: "bot".into(),
        customer: Some("somebody".into()),
        account: AccountClaim::Absent,
        roles: Vec::new(),
        trust: None,
        consent_until: Consent::Absent,
        auth_time: None,
        contacts: Vec::new(),
        issuer: "test".into(),
        jti: None,
        issued_at: None,
        expires: Timestamp::default(),
        narrowed: None,
    }
}

fn judge(catalog: &Catalog, golden: &Golden) -> Result<(Call, Resolved), Refusal> {
    let call = catalog.classify(&golden.request)?;
    let facts = facts(golden, &call.action);
    let account = golden.account.as_deref();
    let resolved = resolve(&Scope { call: &call, caller: &caller(), account, facts: &facts })?;
    Ok((call, resolved))
}

/// The call as a golden writes it.
fn written(call: &Call, resolved: &Resolved) -> BTreeMap<String, serde_json::Value> {
    let text = |text: Option<&str>| serde_json::Value::from(text.map(str::to_owned));
    let own = || call.effects.iter().filter(|effect| effect.origin == Origin::Own);
    let kinds: Vec<_> = own().filter_map(|effect| effect.kind).map(|kind| kind.name()).collect();
    let kind = match kinds.as_slice() {
        [] => serde_json::Value::Null,
        [one] => (*one).into(),
        several => several.into(),
    };
    let owner = match &call.action.owner {
        Owner::Public => text(Some("public")),
        Owner::Internal => text(Some("internal")),
        Owner::Response(places) => match places.first().unwrap() {
            AnswerPlace::At(at) => format!("response.{at}").into(),
            AnswerPlace::EachItem(at) => format!("response.items.{at}").into(),
        },
        Owner::Sources(_) | Owner::Caller => text(resolved.owner.as_deref()),
    };
    let amount = resolved.amount;
    let mut written: BTreeMap<String, serde_json::Value> = [
        ("action", text(Some(&call.action.name))),
        ("class", text(Some(call.class.name()))),
        ("kind", kind),
        ("amount", amount.map(|money| money.minor).into()),
        ("currency", text(amount.as_ref().map(|money| money.currency.code()))),
        ("owner", owner),
        ("resource", text(resolved.resource.as_ref().map(ToString::to_string).as_deref())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let mut recipients = resolved.recipients.clone();
    let also = call.effects.iter().filter(|effect| effect.origin != Origin::Own);
    let also: Vec<serde_json::Value> = also
        .map(|effect| {
            let to = std::mem::take(&mut recipients);
            let kind = effect.kind.map(|kind| kind.name());
            serde_json::json!({ "class": effect.class.name(), "kind": kind, "recipients": to })
        })
        .collect();
    if !also.is_empty() {
        written.insert("also".into(), also.into());
    }
    if !recipients.is_empty() {
        written.insert("recipients".into(), serde_json::json!(recipients));
    }
    written
}

fn faults(pack: &Arc<Pack>, goldens: &[Golden]) -> Vec<String> {
    let catalog = catalog(pack);
    let fault = |golden: &Golden| {
        let expected = golden.expect.iter().map(|(key, node)| (key.clone(), json_of(node)));
        let expected: BTreeMap<_, _> = expected.collect();
        let found = match judge(&catalog, golden) {
            Ok((call, resolved)) => written(&call, &resolved),
            Err(refusal) => [
                ("refused".to_owned(), true.into()),
                ("code".to_owned(), refusal.code.spec().name.into()),
                ("detail".to_owned(), refusal.detail.into()),
            ]
            .into(),
        };
        let shown = found.clone();
        let mut found = found;
        found.remove("detail");
        if !expected.contains_key("recipients") {
            found.remove("recipients");
        }
        (found != expected)
            .then(|| format!("{}\n  expected {expected:?}\n  found {shown:?}", golden.name))
    };
    goldens.iter().filter_map(fault).collect()
}

/// Every fault of a file of goldens, held to a shipped pack.
pub fn faults_of(pack: &str, file: &Path) -> Vec<String> {
    faults(&shipped(pack), &goldens_of(file))
}

#[test]
fn every_golden_of_stripe_holds() {
    let found = faults(&shipped("stripe"), &goldens("stripe"));
    assert!(found.is_empty(), "{}\n{} faults", found.join("\n"), found.len());
}

#[test]
fn every_golden_of_orders_holds() {
    let found = faults(&shipped("orders"), &goldens("orders"));
    assert!(found.is_empty(), "{}\n{} faults", found.join("\n"), found.len());
}

#[test]
fn a_wrong_golden_is_found() {
    let mut goldens = goldens("orders");
    let first = goldens.first_mut().unwrap();
    let wrong = Node {
        shape: Shape::Scalar { text: "read".into(), quoted: false },
        ..first.expect["class"].clone()
    };
    first.expect.insert("class".into(), wrong);
    assert_eq!(faults(&shipped("orders"), &goldens).len(), 1);
}

/// Which actions a pack's goldens reach, and in which classes.
fn reached(name: &str) -> BTreeMap<String, BTreeSet<Shown>> {
    let pack = shipped(name);
    let catalog = catalog(&pack);
    let mut reached: BTreeMap<String, BTreeSet<Shown>> = BTreeMap::new();
    for golden in goldens(name) {
        if let Ok(call) = catalog.classify(&golden.request) {
            let shape = Shown(call.class.name(), call.effects.len());
            reached.entry(call.action.name.to_string()).or_default().insert(shape);
        }
    }
    reached
}

/// A class, and how many effects: what a body can change.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown(&'static str, usize);

#[test]
fn every_financial_or_communicating_action_has_a_golden() {
    for name in ["stripe", "orders"] {
        let reached = reached(name);
        let pack = shipped(name);
        let serious = pack.actions().iter().filter(|action| action.class >= Class::Communication);
        let missing: Vec<_> = serious
            .filter(|action| !reached.contains_key(&*action.name))
            .map(|a| &a.name)
            .collect();
        assert!(missing.is_empty(), "{name}: without a golden: {missing:?}");
    }
}

#[test]
fn what_depends_on_the_body_has_a_golden_on_both_sides() {
    for name in ["stripe", "orders"] {
        let reached = reached(name);
        let pack = shipped(name);
        let depends = |action: &&Arc<Action>| {
            action.only.is_some()
                || !action.raise.is_empty()
                || action.also.iter().any(|also| also.when.is_some())
        };
        let one_sided: Vec<_> = pack
            .actions()
            .iter()
            .filter(depends)
            .filter(|action| reached.get(&*action.name).is_none_or(|shapes| shapes.len() < 2))
            .map(|action| (&action.name, reached.get(&*action.name)))
            .collect();
        assert!(one_sided.is_empty(), "{name}: {one_sided:#?}");
    }
}

#[test]
fn every_operation_of_the_description_is_in_the_pack() {
    let pack = shipped("stripe");
    let known: BTreeSet<_> = pack
        .actions()
        .iter()
        .map(|action| format!("{} {}", action.method, action.path_template))
        .collect();
    let table = fs::read_to_string("tests/packs/stripe/operations.tsv").unwrap();
    let rows: Vec<_> =
        table.lines().skip(1).map(|row| row.split('\t').collect::<Vec<_>>()).collect();
    assert_eq!(rows.len(), 452);
    let missing: Vec<_> = rows
        .iter()
        .map(|row| format!("{} {}", row[0], row[1]))
        .filter(|operation| !known.contains(operation))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_labels_of_others_agree_and_none_is_higher_where_it_matters() {
    let pack = shipped("stripe");
    let table = fs::read_to_string("tests/packs/stripe/labels.csv").unwrap();
    let rows: Vec<_> =
        table.lines().skip(1).map(|row| row.split(',').collect::<Vec<_>>()).collect();
    assert!(rows.len() > 90, "{} rows", rows.len());
    let mut disagree = Vec::new();
    for row in &rows {
        let label = Class::parse(row[2]).unwrap();
        let action = pack
            .actions()
            .iter()
            .find(|action| action.method.as_str() == row[0] && *action.path_template == *row[1])
            .unwrap_or_else(|| panic!("{row:?} is not in the pack"));
        if action.class != label {
            disagree.push(format!("{} {}: {:?}, labelled {label:?}", row[0], row[1], action.class));
        }
        assert!(
            label < Class::Communication || action.class >= label,
            "{} is classed lower than its label {label:?}",
            action.name
        );
    }
    assert!(disagree.len() * 20 <= rows.len(), "{disagree:#?}");
}

#[test]
fn the_shipped_packs_are_clean() {
    for (name, _) in pack::SHIPPED {
        assert_eq!(shipped(name).lint(), Vec::<String>::new(), "{name}");
    }
    assert_eq!(shipped("orders").traits().body, Syntax::Json);
}

//! `tests/cases/policy/*.yaml`: a call that is well but for what a case says, and what is decided.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tollhouse::call::*;
use tollhouse::clock::Timestamp;
use tollhouse::decision::{Decision, Reason, Then};
use tollhouse::money::Money;
use tollhouse::policy::{ConsentRule, Contracts, Policy, Release};
use tollhouse::refusal::Refusal;
use tollhouse::yaml::{self, Faults, Node, Shape};

use super::support::*;

#[test]
fn every_rule_on_both_sides_of_its_edge() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/policy");
    let (mut run, mut wrong) = (0, Vec::new());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let root = yaml::read(&name, &text).unwrap_or_else(|errors| panic!("{errors}"));
        let file = File::read(&name, &root);
        for case in &file.cases {
            run += 1;
            let got = file.judge(case);
            let expected = text_of(case, "then").unwrap();
            for id in expected.split(' ').skip(1) {
                *seen.entry(id.to_owned()).or_default() += 1;
            }
            if got != expected && !(expected.starts_with("refuse") && got.starts_with(expected)) {
                let (line, why) = (case.place.line, text_of(case, "why").unwrap());
                wrong
                    .push(format!("{name}:{line}: {why}\n  expected {expected}\n  got      {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {run} cases:\n{}", wrong.len(), wrong.join("\n"));
    // A shipped rule that no case ever meets is not covered.
    let shipped = tollhouse::policy::SHIPPED
        .lines()
        .filter_map(|line| line.strip_prefix("@id(\"").and_then(|rest| rest.strip_suffix("\")")));
    let missing: Vec<&str> =
        shipped.filter(|id| !id.starts_with("permit.") && !seen.contains_key(*id)).collect();
    assert!(missing.is_empty(), "no case meets {missing:?}");
}

struct File<'f> {
    policy: Policy,
    cases: Vec<&'f Node>,
}

impl<'f> File<'f> {
    fn read(name: &str, root: &'f Node) -> Self {
        let cases: Vec<&Node> = match &member(root, "cases").unwrap().shape {
            Shape::List(items) => items.iter().collect(),
            _ => panic!("{name}: no cases"),
        };
        let faults = Faults::of(name);
        let contracts = Contracts::read(member(root, "contracts"), &faults);
        assert!(faults.is_empty(), "{}", faults.into_errors());
        let mut names: Vec<String> =
            cases.iter().map(|case| text_of(case, "call").unwrap().to_owned()).collect();
        if let Some(Node { shape: Shape::Map(entries), .. }) = member(root, "contracts") {
            names.extend(entries.iter().map(|(name, _, _)| name.clone()));
        }
        names.retain(|name| !name.starts_with("class/"));
        names.sort();
        names.dedup();
        let actions = names.iter().map(|name| action(name)).collect();
        let consent = match text_of(root, "consent") {
            Some("required") => ConsentRule::Required,
            _ => ConsentRule::IfPresent,
        };
        let policy = load_as(actions, &contracts, &[], consent)
            .unwrap_or_else(|errors| panic!("{name}: {errors}"));
        Self { policy, cases }
    }

    fn judge(&self, case: &Node) -> String {
        let given = given(case);
        let question = given.question();
        match member(case, "shown") {
            None => match self.policy.decide(&question) {
                Ok(decision) => decided(decision),
                Err(refusal) => refused(&refusal),
            },
            Some(shown) => {
                let shown: Vec<Box<str>> =
                    shown.texts().unwrap().into_iter().map(Box::from).collect();
                match self.policy.release(&question, &shown) {
                    Release::Run => "run".into(),
                    Release::HeldAnew { changed, .. } => format!("anew{}", ids(&changed)),
                    Release::Refused(refusal) => refused(&refusal),
                }
            }
        }
    }
}

fn decided(decision: Decision) -> String {
    match decision {
        Decision::Run => "run".into(),
        Decision::Hold { reasons, .. } => format!("hold{}", ids(&reasons)),
        Decision::Verify { reasons, .. } => format!("verify{}", ids(&reasons)),
    }
}

fn refused(refusal: &Refusal) -> String {
    format!("refuse {}{}", refusal.code.spec().name, ids(&refusal.reasons))
}

fn ids(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| format!(" {}", reason.policy)).collect()
}

fn member<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.shape {
        Shape::Map(members) => members.iter().find(|(own, _, _)| own == key).map(|(_, _, n)| n),
        _ => None,
    }
}

fn text_of<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    member(node, key).map(|node| node.text().unwrap())
}

/// A call as a case says it; a key that is not known here is a fault of the case.
fn given(case: &Node) -> Given {
    let mut given = Given::good(action(text_of(case, "call").unwrap()));
    let Shape::Map(members) = &case.shape else { panic!("no case") };
    for (key, _, node) in members {
        set(&mut given, key, node);
    }
    given
}

fn set(given: &mut Given, key: &str, node: &Node) {
    let boxed = || -> Vec<Box<str>> { node.texts().unwrap().into_iter().map(Box::from).collect() };
    let word = || match node.text().unwrap() {
        "none" => None,
        text => Some(Box::<str>::from(text)),
    };
    match key {
        "why" | "call" | "then" | "shown" => {}
        "customer" => given.caller.customer = word().map(|text| text.as_ref().into()),
        "account" => given.account = word(),
        "owner" => given.resolved.owner = word(),
        "agent" => given.caller.agent = node.text().unwrap().into(),
        "tenant" => given.tenant = word(),
        "amount" => given.resolved.amount = word().map(|text| Money::parse(&text).unwrap()),
        "minor" => given.resolved.amount.as_mut().unwrap().minor = number(node),
        "roles" => given.caller.roles = boxed(),
        "trust" => given.caller.trust = Some(u8::try_from(number(node)).unwrap()),
        "scopes" => given.caller.narrowed = Some(boxed()),
        "contacts" => given.caller.contacts = boxed(),
        "recipients" => given.resolved.recipients = boxed(),
        "templates" => given.resolved.templates = boxed(),
        "text" => given.resolved.text = boxed(),
        "confidence" => given.call.context.confidence = Some(node.per_mille().unwrap()),
        "case" => given.call.context.case = word(),
        "reason" => given.call.context.reason = word(),
        "consent" => given.caller.consent_until = Consent::Until(moment(node)),
        "signed_in" => given.caller.auth_time = Some(moment(node)),
        "signals" => boxed().iter().for_each(|name| given.signal(name, Then::Hold)),
        "told" => boxed().iter().for_each(|name| given.signal(name, Then::Tell)),
        "asked" => given.asked = moment(node),
        "effect" => {
            let text = node.text().unwrap();
            let (class, kind) = text.split_once('/').unwrap();
            let effect = given.call.effects.first_mut().unwrap();
            effect.class = Class::parse(class).unwrap();
            effect.kind = Kind::parse(kind);
            given.call.class = effect.class;
        }
        "facts" => {
            let Shape::Map(members) = &node.shape else { panic!("facts is a mapping") };
            members.iter().for_each(|(name, _, node)| given.set(name, fact_value(name, node)));
        }
        other => panic!("{}: a case has no key `{other}`", node.place.line),
    }
}

fn number(node: &Node) -> i64 {
    node.text().unwrap().parse().unwrap()
}

/// `-5m` is five minutes ago, in milliseconds exactly.
fn moment(node: &Node) -> Timestamp {
    let text = node.text().unwrap();
    match text.strip_prefix('-') {
        Some(ago) => NOW.minus(humantime::parse_duration(ago).unwrap()),
        None => NOW.plus(humantime::parse_duration(text).unwrap()),
    }
}

fn fact_value(name: &str, node: &Node) -> Option<FactValue> {
    Some(match node.text().unwrap() {
        "none" => return None,
        "true" => FactValue::Bool(true),
        "false" => FactValue::Bool(false),
        _ if name.ends_with("_at") => FactValue::Time(moment(node)),
        text => match text.parse() {
            Ok(number) => FactValue::Long(number),
            Err(_) => FactValue::Text(text.into()),
        },
    })
}

//! Case files become plans: one gate each, or one each of several variants.

use std::fs;
use std::path::{Path, PathBuf};

use tollhouse::yaml::{self, Node, Shape};

use super::tree::{self, entries, flag, get, is_list, only, over, text};

/// Not cases of this sort: packs for them, and those that the policies alone are held to.
const OTHERS: [&str; 2] = ["packs", "policy"];
const FILE: &[&str] = &["why", "given", "cases"];
const CASE: &[&str] = &["why", "given", "when", "each", "same_as", "indistinguishable", "then"];
const GIVEN: &[&str] = &[
    "like",
    "clock",
    "pack",
    "contracts",
    "upstream",
    "call",
    "limits",
    "brakes",
    "signals",
    "policies",
    "loops",
    "trusted",
    "breaker",
    "concurrency",
    "process",
    "site_headers",
    "issuer",
    "freeze",
    "queues",
    "holds",
    "role_limits",
    "mode",
    "rollout",
];
const GIVEN_DEEP: &[&str] = &["upstream", "contracts", "call"];
const CALL: &[&str] = &[
    "send",
    "form",
    "json",
    "body",
    "hex",
    "type",
    "headers",
    "key",
    "token",
    "customer_token",
    "agent",
    "customer",
    "account",
    "trust",
    "contact",
    "as",
    "times",
    "then",
];
const EVENTS: &[(&str, &[&str])] = &[
    ("turn", &[]),
    ("approve", &["by", "subject", "roles", "tenants", "digest", "digest_of"]),
    ("deny", &["by", "subject", "roles", "tenants", "reason"]),
    ("withdraw", &["agent", "customer", "token"]),
    ("operation", &["agent", "customer", "token"]),
    ("freeze", &["reason", "for"]),
    ("unfreeze", &[]),
    ("show", &[]),
    ("sweep", &[]),
    ("nudge", &[]),
    ("release", &[]),
    ("revoke", &["issued_before"]),
    ("restore", &[]),
    ("upstream", &[]),
    ("issuer", &[]),
    ("contracts", &[]),
    ("roll_out", &[]),
    ("log", &[]),
    ("at_once", &[]),
];
const THEN: &[&str] = &[
    "status",
    "statuses",
    "code",
    "decision",
    "decision_not",
    "hold",
    "next",
    "retryable",
    "sent_word",
    "replayed",
    "dedup",
    "operation",
    "headers",
    "body_contains",
    "body_lacks",
    "same_body_as",
    "json",
    "answered",
    "error",
    "sent",
    "sent_at_most",
    "asked",
    "tried",
    "metrics",
    "reserved",
    "record",
    "noted",
    "brakes",
    "reason",
    "states",
    "sent_headers",
    "asked_headers",
    "upstream_keys",
    "keys_asked_at_most",
];

/// What one item of `cases:` says.
pub struct Plan {
    pub why: String,
    pub place: String,
    pub variants: Vec<Case>,
    /// Whether all variants must look the same from outside.
    pub indistinguishable: bool,
}

/// One gate, what happens to it, and what must come of it.
pub struct Case {
    /// `money/caps.yaml:12`.
    pub place: String,
    pub given: Node,
    pub steps: Vec<Node>,
    pub then: Node,
    /// The plain form, which this one must be judged as.
    pub same_as: Option<Node>,
}

/// Every plan of every file below `tests/cases`, and the folders they are in.
pub fn all() -> (Vec<Plan>, Vec<String>) {
    let root = root();
    let shared = read(&root.join("given.yaml"), "given.yaml");
    let mut folders: Vec<PathBuf> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !OTHERS.iter().any(|other| path.ends_with(other)))
        .collect();
    folders.sort();
    let mut plans = Vec::new();
    for folder in &folders {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            assert!(name.ends_with(".yaml"), "{name} is no case file");
            plans.extend(of_file(&name, &fs::read_to_string(&file).unwrap(), &shared));
        }
    }
    (plans, folders.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect())
}

/// The plans of one file.
pub fn of_file(name: &str, text: &str, shared: &Node) -> Vec<Plan> {
    let file = yaml::read(name, text).unwrap_or_else(|e| panic!("{e}"));
    only(&file, FILE, name);
    let blank = tree::empty();
    let given = get(&file, "given").unwrap_or(&blank);
    let cases = get(&file, "cases").unwrap_or_else(|| panic!("{name}: no cases"));
    tree::items(cases).into_iter().map(|case| plan(name, case, given, shared)).collect()
}

pub fn shared() -> Node {
    read(&root().join("given.yaml"), "given.yaml")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn read(path: &Path, name: &str) -> Node {
    yaml::read(name, &fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

fn plan(file: &str, case: &Node, of_file: &Node, shared: &Node) -> Plan {
    only(case, CASE, file);
    let place = |node: &Node| format!("{file}:{}", node.place.line);
    let why = text(case, "why").unwrap_or_else(|| panic!("{}: no why", place(case)));
    let blank = tree::empty();
    let own = get(case, "given").unwrap_or(&blank);
    let when = get(case, "when").unwrap_or_else(|| panic!("{}: no when", place(case)));
    let then = get(case, "then").unwrap_or(&blank);
    let variants: Vec<&Node> = match get(case, "each") {
        Some(each) => tree::items(each),
        None => vec![&blank],
    };
    let variants = variants.into_iter().map(|variant| {
        let with = get(variant, "with").unwrap_or(&blank);
        let given = layered(shared, &[of_file, own, with], file);
        let call = get(&given, "call").unwrap_or(&blank).clone();
        let steps = steps(when, variant, &call, file);
        let then = over(then, get(variant, "then").unwrap_or(&blank), &[]);
        only(&then, THEN, file);
        assert!(
            get(&then, "sent").is_some(),
            "{}: its `then` does not state what was `sent`",
            place(case)
        );
        let place = if variant.place.line == 0 { place(case) } else { place(variant) };
        let same_as =
            get(case, "same_as").map(|plain| checked(&over(when, plain, &[]), &call, file));
        Case { place, given, steps, then, same_as }
    });
    let variants = variants.collect();
    Plan { why, place: place(case), variants, indistinguishable: flag(case, "indistinguishable") }
}

/// The shared base that the last layer names, and the layers over it.
fn layered(shared: &Node, layers: &[&Node], file: &str) -> Node {
    layers.iter().for_each(|layer| only(layer, GIVEN, file));
    let like = layers.iter().rev().find_map(|layer| text(layer, "like"));
    let base = like.map(|like| {
        get(shared, &like).unwrap_or_else(|| panic!("{file}: no given `{like}`")).clone()
    });
    let mut given = base.unwrap_or_else(tree::empty);
    for layer in layers {
        let before = get(&given, "upstream").cloned().unwrap_or_else(tree::empty);
        given = over(&given, layer, GIVEN_DEEP);
        if let Some(upstream) = get(layer, "upstream") {
            let patched = patched(&before, upstream);
            let mut whole = tree::empty();
            whole.shape = Shape::Map(vec![("upstream".into(), upstream.place, patched)]);
            given = over(&given, &whole, &[]);
        }
    }
    given
}

/// Rules over rules; `patch:` changes single members of the answer that was there.
pub fn patched(before: &Node, changes: &Node) -> Node {
    let mut rules = before.clone();
    for (call, place, change) in entries(changes) {
        let mut answer = change.clone();
        if let Some(patch) =
            entries(change).iter().find(|(name, _, _)| name == "patch").map(|(_, _, node)| node)
        {
            let old = get(before, call)
                .unwrap_or_else(|| panic!("line {}: nothing to patch at `{call}`", place.line));
            let body = over(get(old, "json").unwrap(), patch, &[]);
            let mut json = tree::empty();
            json.shape = Shape::Map(vec![("json".into(), *place, body)]);
            answer = over(old, &json, &[]);
        }
        let mut one = tree::empty();
        one.shape = Shape::Map(vec![(call.clone(), *place, answer)]);
        rules = over(&rules, &one, &[]);
    }
    rules
}

fn steps(when: &Node, variant: &Node, call: &Node, file: &str) -> Vec<Node> {
    if is_list(when) {
        for (name, place, _) in entries(variant) {
            let known = matches!(name.as_str(), "with" | "then");
            assert!(
                known,
                "{file}:{}: `{name}`: with several steps only `with` and `then` vary",
                place.line
            );
        }
        return tree::items(when).into_iter().map(|step| checked(step, call, file)).collect();
    }
    let step = without(&over(when, variant, &[]), &["with", "then"]);
    let step = match get(when, "then") {
        Some(_) => panic!("{file}:{}: one step: its `then` is the case's", when.place.line),
        None => step,
    };
    vec![checked(&step, call, file)]
}

fn without(node: &Node, names: &[&str]) -> Node {
    let members = entries(node).iter().filter(|(name, _, _)| !names.contains(&name.as_str()));
    Node { place: node.place, shape: Shape::Map(members.cloned().collect()) }
}

/// What sort of event a step is; `None` for a call.
pub fn event(step: &Node) -> Option<&'static str> {
    EVENTS.iter().map(|(name, _)| *name).find(|name| get(step, name).is_some())
}

fn checked(step: &Node, call: &Node, file: &str) -> Node {
    if let Some(then) = get(step, "then") {
        only(then, THEN, file);
    }
    let Some(event) = event(step) else {
        only(step, CALL, file);
        let bodies = ["form", "json", "body", "hex"];
        // A body of its own replaces the usual one, whatever syntax that has.
        let own = entries(step).iter().any(|(name, _, _)| bodies.contains(&name.as_str()));
        let usual = if own { without(call, &bodies) } else { call.clone() };
        let mut step = over(&usual, step, &[]);
        step.place = if step.place.line == 0 { call.place } else { step.place };
        return step;
    };
    let (_, more) = EVENTS.iter().find(|(name, _)| *name == event).unwrap();
    only(step, &[more, &[event, "then"][..]].concat(), file);
    if event != "at_once" {
        return step.clone();
    }
    let inner = tree::items(get(step, "at_once").unwrap())
        .into_iter()
        .map(|one| checked(one, call, file))
        .collect();
    let place = step.place;
    let inner = Node { place, shape: Shape::List(inner) };
    let mut members = vec![("at_once".to_owned(), place, inner)];
    members.extend(get(step, "then").map(|then| ("then".to_owned(), place, then.clone())));
    Node { place, shape: Shape::Map(members) }
}

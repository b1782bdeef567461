//! What was seen is compared with what a case says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::HeaderMap;
use tollhouse::call::{Body, Chunk, Outcome};
use tollhouse::money::Money;
use tollhouse::outbound::{Outbound, Sent};
use tollhouse::store::State;
use tollhouse::yaml::Node;

use super::tree::{self, entries, get, is_list, number, text};
use super::world::World;

/// What came back from one step.
#[derive(Clone)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For an answer to a hold: why it was not taken, if so.
    pub error: Option<Option<String>>,
}

impl Seen {
    pub fn nothing() -> Self {
        Self { status: 0, headers: HeaderMap::new(), body: Bytes::new(), error: None }
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()))
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    /// A member of a JSON body, as text.
    pub fn member(&self, pointer: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        match body.pointer(pointer)? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn shown(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(600).collect();
        format!("{} {body}", self.status)
    }
}

pub async fn whole(body: Body) -> Bytes {
    match body {
        Body::Whole(bytes) => bytes,
        Body::Stream(mut chunks) => {
            let mut all = Vec::new();
            while let Some(Chunk::Bytes(bytes)) = chunks.next().await {
                all.extend_from_slice(&bytes);
            }
            all.into()
        }
    }
}

/// `*` at the end stands for anything.
fn like(pattern: &str, found: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => pattern == found,
    }
}

/// What a `then` says about answers; of several answers all must be so.
pub fn answers(world: &World, then: &Node, seen: &[Seen], place: &str) -> Vec<String> {
    let mut faults: Vec<String> = Vec::new();
    if let Some(counts) = get(then, "answered") {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for one in seen.iter().filter(|one| one.status > 0) {
            *found.entry(one.status.to_string()).or_default() += 1;
        }
        let wanted = entries(counts)
            .iter()
            .map(|(status, _, count)| (status.clone(), tree::scalar(count).parse().unwrap()));
        let wanted: BTreeMap<String, usize> = wanted.collect();
        if wanted != found {
            let other = seen
                .iter()
                .find(|one| !wanted.contains_key(&one.status.to_string()))
                .or(seen.last());
            faults.push(format!(
                "answered {found:?}, expected {wanted:?}; such as {}",
                other.map_or(String::new(), Seen::shown)
            ));
        }
    }
    for one in seen {
        faults.extend(
            answer(world, then, one)
                .into_iter()
                .map(|fault| format!("{fault}; got {}", one.shown())),
        );
    }
    faults.into_iter().map(|fault| format!("{place}: {fault}")).collect()
}

fn answer(world: &World, then: &Node, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    let mut same = |what: &str, wanted: Option<String>, found: Option<String>| {
        if let Some(wanted) = wanted
            && !found.as_deref().is_some_and(|found| like(&wanted, found))
        {
            faults.push(format!(
                "{what}: expected `{wanted}`, found `{}`",
                found.unwrap_or_else(|| "nothing".into())
            ));
        }
    };
    same("status", text(then, "status"), Some(seen.status.to_string()));
    same("code", text(then, "code"), seen.member("/code"));
    same("decision", text(then, "decision"), seen.header("tollhouse-decision"));
    same("next", text(then, "next"), seen.member("/next"));
    same("retryable", text(then, "retryable"), seen.member("/retryable"));
    same("sent_word", text(then, "sent_word"), seen.member("/sent"));
    let replayed = seen.header("idempotent-replayed").unwrap_or_else(|| "false".into());
    same("replayed", text(then, "replayed"), Some(replayed));
    same(
        "dedup",
        text(then, "dedup"),
        Some(seen.header("tollhouse-dedup").unwrap_or_else(|| "none".into())),
    );
    let operation = text(then, "operation").map(|name| world.named.lock()[&name].to_string());
    same(
        "operation",
        operation,
        seen.header("tollhouse-operation").or_else(|| seen.member("/operation")),
    );
    for (name, _, value) in get(then, "headers").map(entries).unwrap_or_default() {
        match tree::is_null(value) {
            true => same(
                name,
                Some("nothing".into()),
                Some(seen.header(name).unwrap_or_else(|| "nothing".into())),
            ),
            false => same(name, Some(tree::scalar(value)), seen.header(name)),
        }
    }
    for (pointer, _, value) in get(then, "json").map(entries).unwrap_or_default() {
        let found = seen.member(pointer).unwrap_or_else(|| "nothing".into());
        let wanted = if tree::is_null(value) { "nothing".into() } else { tree::scalar(value) };
        same(pointer, Some(wanted), Some(found));
    }
    if let Some(hold) = get(then, "hold") {
        let mut wanted = tree::texts(hold);
        wanted.sort();
        same("decision", Some("hold".into()), seen.header("tollhouse-decision"));
        same("hold", Some(format!("{wanted:?}")), Some(policies(seen)));
    }
    if let Some(unwanted) = text(then, "decision_not")
        && seen.header("tollhouse-decision").as_deref() == Some(&unwanted)
    {
        faults.push(format!("the decision is `{unwanted}`"));
    }
    if let Some(statuses) = get(then, "statuses")
        && !tree::texts(statuses).contains(&seen.status.to_string())
    {
        faults.push(format!("status {} is none of {:?}", seen.status, tree::texts(statuses)));
    }
    if let Some(wanted) = text(then, "error") {
        let found = seen.error.as_ref().expect("only an answer to a hold has an error");
        if wanted != "any" && found.is_some() != (wanted == "true") {
            faults.push(format!("error: expected `{wanted}`, found {found:?}"));
        }
    }
    faults.extend(body(world, then, seen));
    faults
}

fn policies(seen: &Seen) -> String {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let ids = body["policies"].as_array().cloned().unwrap_or_default();
    let mut ids: Vec<String> = ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    ids.sort();
    format!("{ids:?}")
}

fn body(world: &World, then: &Node, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    let found = String::from_utf8_lossy(&seen.body);
    for part in get(then, "body_contains").map(tree::texts).unwrap_or_default() {
        if !found.contains(&part) {
            faults.push(format!("the body lacks `{part}`"));
        }
    }
    let headers = format!("{:?}", seen.headers);
    for part in get(then, "body_lacks").map(tree::texts).unwrap_or_default() {
        if found.contains(&part) || headers.contains(&part) {
            faults.push(format!("the answer has `{part}` in it"));
        }
    }
    if let Some(name) = text(then, "same_body_as")
        && world.bodies.lock()[&name] != seen.body
    {
        faults.push(format!("the body is not that of `{name}`"));
    }
    faults
}

/// Whether a request can change anything.
fn is_effect(sent: &Sent) -> bool {
    sent.method != http::Method::GET && sent.method != http::Method::HEAD
}

pub fn left(world: &World) -> (Vec<Sent>, Vec<Sent>) {
    let gate = world.gate();
    let Outbound::Scripted(script) = &*gate.outbound else { unreachable!() };
    script.sent().into_iter().partition(is_effect)
}

fn tried(world: &World) -> Vec<Sent> {
    let gate = world.gate();
    let Outbound::Scripted(script) = &*gate.outbound else { unreachable!() };
    script.tried()
}

fn line(sent: &Sent) -> String {
    let body = String::from_utf8_lossy(&sent.body);
    format!("{} {} {body}", sent.method, sent.target).trim_end().to_owned()
}

/// What a `then` says about everything so far.
pub async fn totals(world: &World, then: &Node, place: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let (effects, reads) = left(world);
    for (key, calls) in [("sent", &effects), ("asked", &reads)] {
        let Some(wanted) = get(then, key) else { continue };
        let found: Vec<String> = calls.iter().map(line).collect();
        if is_list(wanted) && tree::texts(wanted) != found {
            faults.push(format!("{key} {found:#?}, expected {:#?}", tree::texts(wanted)));
        } else if !is_list(wanted) && number(then, key) != Some(found.len()) {
            faults.push(format!(
                "{key} {}, expected {}: {found:#?}",
                found.len(),
                tree::scalar(wanted)
            ));
        }
    }
    if let Some(most) = number(then, "sent_at_most")
        && effects.len() > most
    {
        faults.push(format!("sent {}, expected {most} at most", effects.len()));
    }
    let tried: Vec<Sent> = tried(world).into_iter().filter(is_effect).collect();
    if let Some(wanted) = number(then, "tried")
        && tried.len() != wanted
    {
        faults.push(format!("tried {}, expected {wanted}", tried.len()));
    }
    if let Some(wanted) = number(then, "upstream_keys") {
        let keys: BTreeSet<_> = tried.iter().map(|sent| header(sent, "idempotency-key")).collect();
        if keys.len() != wanted || keys.contains(&None) {
            faults.push(format!("upstream keys {keys:?}, expected {wanted}"));
        }
    }
    for (key, calls) in [("sent_headers", &effects), ("asked_headers", &reads)] {
        if let Some(wanted) = get(then, key) {
            faults.extend(
                calls
                    .last()
                    .map_or(vec![format!("{key}: nothing left")], |sent| headers(wanted, sent)),
            );
        }
    }
    if let Some(most) = number(then, "keys_asked_at_most") {
        let found = world.issuer.asked.load(Ordering::SeqCst);
        if found > most {
            faults.push(format!("the issuer was asked {found} times"));
        }
    }
    faults.extend(kept(world, then).await);
    faults.extend(recorded(world, then));
    faults.extend(noted(world, then));
    faults.into_iter().map(|fault| format!("{place}: {fault}")).collect()
}

fn header(sent: &Sent, name: &str) -> Option<String> {
    let found = sent.headers.iter().filter(|(own, _)| own.as_str() == name);
    let lines: Vec<_> =
        found.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Exactly these headers, each as it should be.
fn headers(wanted: &Node, sent: &Sent) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, _, value) in entries(wanted) {
        let (wanted, found) = (tree::scalar(value), header(sent, name));
        if !found.as_deref().is_some_and(|found| like(&wanted, found)) {
            faults.push(format!("upstream header {name}: expected `{wanted}`, found {found:?}"));
        }
    }
    for (name, value) in &sent.headers {
        if get(wanted, name.as_str()).is_none() {
            faults.push(format!("upstream header {name}: {value:?} was not expected"));
        }
    }
    faults
}

/// What people read of what is held, and which brakes are on.
async fn watched(world: &World, then: &Node) -> Vec<String> {
    let mut faults = Vec::new();
    let records = world.gate().store.list(Some("held"), 1000).await.unwrap();
    let reasons = records.iter().filter_map(|record| record.hold.as_ref());
    let reasons = reasons.flat_map(|hold| &hold.reasons);
    let reasons: Vec<String> =
        reasons.map(|reason| format!("{}: {}", reason.policy, reason.why)).collect();
    for wanted in get(then, "reason").map(tree::texts).unwrap_or_default() {
        if !reasons.iter().any(|reason| reason.contains(&wanted)) {
            faults.push(format!("no reason of a hold says `{wanted}`: {reasons:?}"));
        }
    }
    if let Some(wanted) = get(then, "brakes") {
        let now = world.gate().store.now();
        let mut on = world.gate().store.brakes();
        on.retain(|one| one.is_brake(now));
        let mut found: Vec<_> =
            on.iter().map(|one| format!("{}: {}", one.brake(), one.scope)).collect();
        found.sort();
        if found != tree::texts(wanted) {
            faults.push(format!("brakes {found:?}, expected {:?}", tree::texts(wanted)));
        }
    }
    faults
}

async fn kept(world: &World, then: &Node) -> Vec<String> {
    let mut faults = watched(world, then).await;
    let mut records = world.gate().store.list(None, 1000).await.unwrap();
    records.sort_by_key(|record| record.created);
    if let Some(wanted) = get(then, "states") {
        let found: Vec<_> = records.iter().map(|record| record.state.name().to_owned()).collect();
        if found != tree::texts(wanted) {
            faults.push(format!("states {found:?}, expected {:?}", tree::texts(wanted)));
        }
    }
    if let Some(wanted) = get(then, "metrics") {
        let shown = world.gate().telemetry.render();
        for line in tree::texts(wanted) {
            if !shown.lines().any(|own| own == line) {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let near: Vec<_> = shown.lines().filter(|own| own.starts_with(name)).collect();
                faults.push(format!("metrics: expected `{line}`, found {near:#?}"));
            }
        }
    }
    if let Some(wanted) = text(then, "reserved") {
        let open = |state: State| match state {
            State::Done { outcome } => outcome == Outcome::Accepted,
            state => state.is_open(),
        };
        let mut sums: Vec<Money> = Vec::new();
        for amount in records
            .iter()
            .filter(|record| open(record.state))
            .filter_map(|record| record.about.amount)
        {
            match sums.iter_mut().find(|sum| sum.currency == amount.currency) {
                Some(sum) => sum.minor += amount.minor,
                None => sums.push(amount),
            }
        }
        let found: Vec<_> = sums.iter().map(ToString::to_string).collect();
        let found = if found.is_empty() { "none".into() } else { found.join(", ") };
        if found != wanted {
            faults.push(format!("reserved {found}, expected {wanted}"));
        }
    }
    faults
}

fn recorded(world: &World, then: &Node) -> Vec<String> {
    let Some(wanted) = get(then, "record") else { return Vec::new() };
    let word = |line: &String| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let refused = record["kind"] == "refused";
        record[if refused { "code" } else { "kind" }].as_str().map(str::to_owned)
    };
    let found: Vec<String> = world.gate().audit.lines().iter().filter_map(word).collect();
    if found == tree::texts(wanted) {
        Vec::new()
    } else {
        vec![format!("record {found:?}, expected {:?}", tree::texts(wanted))]
    }
}

/// What every call that was let through would have got, had it not run in shadow.
fn noted(world: &World, then: &Node) -> Option<String> {
    let wanted = tree::texts(get(then, "noted")?);
    let word = |line: &String| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let shadow = record.get("shadow");
        let text = |name: &str| shadow.and_then(|s| s[name].as_str()).map(str::to_owned);
        let policies = shadow.and_then(|s| s["policies"].as_array().cloned()).unwrap_or_default();
        let policies = policies.iter().filter_map(|id| id.as_str().map(str::to_owned));
        let said: Vec<_> =
            text("decision").into_iter().chain(text("code")).chain(policies).collect();
        let said = if said.is_empty() { "none".to_owned() } else { said.join(" ") };
        (record["kind"] == "allowed").then_some(said)
    };
    let found: Vec<String> = world.gate().audit.lines().iter().filter_map(word).collect();
    (found != wanted).then(|| format!("noted {found:?}, expected {wanted:?}"))
}

/// What holds in every case, whatever it is about.
pub fn always(world: &World, answers: &[Seen], place: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let secrets = world.secrets.lock().clone();
    for sent in tried(world) {
        let call = format!("{} {}", sent.method, sent.target);
        let all: String =
            sent.headers.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
        let all = format!("{call}\n{all}{}", String::from_utf8_lossy(&sent.body));
        if let Some(secret) = secrets.iter().find(|secret| all.contains(&***secret)) {
            faults.push(format!("{call}: what the agent proves itself by went upstream: {secret}"));
        }
        let key = sent
            .headers
            .iter()
            .find(|(_, value)| String::from_utf8_lossy(value.as_bytes()).contains("SK_"));
        let reads = key.is_some_and(|(_, value)| {
            String::from_utf8_lossy(value.as_bytes()).ends_with("SK_read")
        });
        if key.is_none() || reads == is_effect(&sent) {
            faults.push(format!("{call}: armed with {key:?}"));
        }
    }
    for seen in answers {
        if format!("{:?}{}", seen.headers, String::from_utf8_lossy(&seen.body)).contains("SK_") {
            faults.push(format!("a secret of ours is in {}", seen.shown()));
        }
    }
    // BOUND: more refusals than this in one second are counted, not written one by one.
    let calls = world.calls.load(Ordering::SeqCst);
    // What a full disk keeps from being written is kept until it can be.
    let gate = world.gate();
    let records = gate.audit.lines().len() + gate.audit.waiting();
    if calls <= 50 && records < calls {
        faults.push(format!("{calls} calls left {records} records"));
    }
    if gate.audit.waiting() > 0 && gate.audit.health().is_ok() {
        faults.push("what was accepted for the record is never written".into());
    }
    faults.extend(told(world, answers));
    faults.into_iter().map(|fault| format!("{place}: always: {fault}")).collect()
}

/// A refusal is on record by the code that the agent read.
fn told(world: &World, answers: &[Seen]) -> Option<String> {
    let [one] = answers else { return None };
    let code = one.member("/code")?;
    if world.calls.load(Ordering::SeqCst) != 1 || one.header("tollhouse-decision")? != "refuse" {
        return None;
    }
    let gate = world.gate();
    let lines = gate.audit.lines();
    if gate.audit.health().is_err() {
        return None;
    }
    let written = format!("\"code\":\"{code}\"");
    let found = lines.iter().any(|line| line.contains(&written));
    (!found).then(|| format!("`{code}` is on no record: {lines:?}"))
}

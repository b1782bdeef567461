//! A case is played: its steps one after the other, or at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use tollhouse::approval::{Answers, Operator, Tenants};
use tollhouse::call::{Digest, OperationId, Request};
use tollhouse::clock::Timestamp;
use tollhouse::store::FreezeScope;
use tollhouse::yaml::{Node, Shape};

use super::check::{self, Seen};
use super::plan;
use super::token::{self, Asker};
use super::tree::{self, entries, get, number, text};
use super::world::World;

/// Plays every step; what was seen by each, and the faults.
pub async fn all(world: &Arc<World>, steps: &[Node], file: &str) -> (Vec<Seen>, Vec<String>) {
    let (mut last, mut faults) = (Vec::new(), Vec::new());
    for step in steps {
        let seen = one(world, step).await;
        if let Some(then) = get(step, "then") {
            let place = format!("{file}:{}", step.place.line);
            faults.extend(check::answers(world, then, &seen, &place));
            faults.extend(check::totals(world, then, &place).await);
        }
        let answers = ["at_once", "operation", "show"].iter().any(|key| get(step, key).is_some());
        if plan::event(step).is_none() || answers {
            last = seen;
        }
    }
    (last, faults)
}

async fn one(world: &Arc<World>, step: &Node) -> Vec<Seen> {
    if let Some(steps) = get(step, "at_once") {
        return together(world, tree::items(steps).into_iter().cloned().collect()).await;
    }
    match number(step, "times") {
        Some(times) => together(world, (0..times).map(|n| numbered(step, n)).collect()).await,
        None => vec![single(Arc::clone(world), step.clone()).await],
    }
}

async fn together(world: &Arc<World>, steps: Vec<Node>) -> Vec<Seen> {
    let tasks: Vec<_> =
        steps.into_iter().map(|step| tokio::spawn(single(Arc::clone(world), step))).collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen
}

/// `{n}` in every text of a step.
fn numbered(step: &Node, n: usize) -> Node {
    let shape = match &step.shape {
        Shape::Map(members) => Shape::Map(
            members
                .iter()
                .map(|(name, place, node)| (name.clone(), *place, numbered(node, n)))
                .collect(),
        ),
        Shape::List(items) => Shape::List(items.iter().map(|item| numbered(item, n)).collect()),
        Shape::Scalar { text, quoted } => {
            Shape::Scalar { text: text.replace("{n}", &n.to_string()), quoted: *quoted }
        }
    };
    Node { place: step.place, shape }
}

async fn single(world: Arc<World>, step: Node) -> Seen {
    let said = |key: &str| text(&step, key);
    match plan::event(&step) {
        None => call(&world, &step).await,
        Some("turn") => {
            world.clock.turn(humantime::parse_duration(&said("turn").unwrap()).unwrap());
            // What goes on in the background may go on.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            Seen::nothing()
        }
        Some("approve" | "deny") => answer_hold(&world, &step).await,
        Some("withdraw") => own_path(&world, &step, "DELETE", &said("withdraw").unwrap()).await,
        Some("operation") => own_path(&world, &step, "GET", &said("operation").unwrap()).await,
        Some("freeze") => {
            let scope = tree::texts(get(&step, "freeze").unwrap());
            freeze(&world, &scope, said("for")).await;
            Seen::nothing()
        }
        Some("unfreeze") => {
            let id = world.freezes.lock().pop().expect("nothing is frozen");
            assert!(
                world.gate().unfreeze(&id, &operator("ops")).await.unwrap(),
                "no freeze `{id}`"
            );
            Seen::nothing()
        }
        Some("release") => {
            let name = said("release").unwrap();
            let brakes = world.gate().store.brakes();
            let on = |one: &&tollhouse::store::Freeze| {
                one.brake() == name && one.is_brake(world.clock.now())
            };
            let one = brakes.iter().find(on).unwrap_or_else(|| panic!("no brake `{name}` is on"));
            assert!(world.gate().unfreeze(&one.id, &operator("ops")).await.unwrap());
            Seen::nothing()
        }
        Some("nudge") => {
            world.gate().nudge().await;
            Seen::nothing()
        }
        Some("revoke") => {
            let named = entries(get(&step, "revoke").unwrap()).iter();
            let parts =
                named.map(|(kind, _, name)| (token_part(kind), tree::scalar(name).to_owned()));
            let scope = FreezeScope::of_tokens(parts).unwrap();
            let before = said("issued_before").map(|at| Timestamp::parse(&at).unwrap());
            let one = world.gate().revoke(scope, before, "lost", &operator("ops")).await.unwrap();
            world.freezes.lock().push(one.id.to_string());
            Seen::nothing()
        }
        Some("restore") => {
            let id = world.freezes.lock().pop().expect("nothing is revoked");
            assert!(world.gate().unfreeze(&id, &operator("ops")).await.unwrap());
            Seen::nothing()
        }
        Some("show") => shown(&world, &said("show").unwrap()).await,
        Some("sweep") => {
            if said("sweep").as_deref() == Some("woken") {
                let gate = world.gate();
                let woken = tokio::time::timeout(WAIT_MAX, gate.standing.wake.notified()).await;
                assert!(woken.is_ok(), "nobody wakes the sweep for {WAIT_MAX:?}");
            }
            world.gate().sweep().await;
            Seen::nothing()
        }
        Some("upstream") => {
            world.script.change(get(&step, "upstream").unwrap());
            Seen::nothing()
        }
        Some("roll_out") => {
            world.roll_out(get(&step, "roll_out").unwrap());
            Seen::nothing()
        }
        Some("contracts") => {
            world.reload(get(&step, "contracts").unwrap());
            Seen::nothing()
        }
        Some("log") => {
            let full = said("log").as_deref() == Some("full");
            world.gate().audit.fail_with(full.then_some("no space left on device"));
            Seen::nothing()
        }
        Some("issuer") => {
            match &*said("issuer").unwrap() {
                "down" => world.issuer.down.store(true, Ordering::SeqCst),
                "rotated" => world.issuer.rotated.store(true, Ordering::SeqCst),
                other => panic!("no issuer is `{other}`"),
            }
            Seen::nothing()
        }
        Some(other) => panic!("line {}: `{other}` cannot stand here", step.place.line),
    }
}

pub async fn freeze(world: &World, scope: &[String], span: Option<String>) {
    let scope = FreezeScope::parse(scope.iter().map(String::as_str)).unwrap();
    let span = span.map(|span| humantime::parse_duration(&span).unwrap());
    let freeze = world.gate().freeze(scope, span, "stop", &operator("ops")).await.unwrap();
    world.freezes.lock().push(freeze.id.to_string());
}

fn operator(name: &str) -> Operator {
    Operator {
        name: name.into(),
        subject: None,
        roles: Vec::new(),
        tenants: Tenants::All,
        answers: Answers::Holds,
    }
}

/// Who answers: `ann` without a role, unless the step says otherwise.
fn person(step: &Node) -> Operator {
    let names = |key: &str| get(step, key).map(tree::texts);
    let boxed = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
    Operator {
        subject: text(step, "subject").map(Into::into),
        roles: names("roles").map(boxed).unwrap_or_default(),
        tenants: names("tenants").map_or(Tenants::All, |own| Tenants::These(boxed(own))),
        ..operator(&text(step, "by").unwrap_or_else(|| "ann".into()))
    }
}

fn token_part(kind: &str) -> &'static str {
    let kinds = ["jti", "agent", "customer", "tenant"];
    kinds.into_iter().find(|one| *one == kind).unwrap_or_else(|| panic!("`{kind}` names no token"))
}

/// The operation of that name; `held` is the one that waits for a person.
async fn named(world: &World, name: &str) -> OperationId {
    if name == "held" {
        return held(world).await;
    }
    *world.named.lock().get(name).unwrap_or_else(|| panic!("no operation is called `{name}`"))
}

/// The one that waits for a person, once it does.
async fn held(world: &World) -> OperationId {
    let one = async {
        loop {
            let held = world.gate().store.list(Some("held"), 2).await.unwrap();
            assert!(held.len() < 2, "more than one operation is held");
            if let [held] = held.as_slice() {
                return held.op;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(WAIT_MAX, one).await;
    found.unwrap_or_else(|_| panic!("nothing is held for {WAIT_MAX:?}"))
}

/// What a person reads of a hold.
async fn shown(world: &World, name: &str) -> Seen {
    let op = named(world, name).await;
    let record = world.gate().store.show(op).await.unwrap().unwrap();
    let request = world.gate().held_request(op).await.expect("a hold keeps its request");
    let view = serde_json::json!({
        "summary": record.about.summary, "agent_reason": record.about.said.reason,
        "line": request.line, "body": request.body,
    });
    Seen { body: view.to_string().into(), ..Seen::nothing() }
}

async fn answer_hold(world: &World, step: &Node) -> Seen {
    let by = person(step);
    let answered = if let Some(name) = text(step, "deny") {
        let reason = text(step, "reason").unwrap_or_default();
        world.gate().deny(named(world, &name).await, &by, &reason).await
    } else {
        let op = named(world, &text(step, "approve").unwrap()).await;
        let about = match text(step, "digest_of") {
            Some(other) => named(world, &other).await,
            None => op,
        };
        let shown = match text(step, "digest") {
            Some(digest) => Digest::parse(&digest).unwrap(),
            None => {
                let record = world.gate().store.show(about).await.unwrap().unwrap();
                record.hold.as_ref().map_or(record.about.digest, |hold| hold.shown)
            }
        };
        world.gate().approve(op, &by, shown, "").await
    };
    Seen { error: Some(answered.err().map(|objection| objection.to_string())), ..Seen::nothing() }
}

async fn own_path(world: &World, step: &Node, method: &str, name: &str) -> Seen {
    let op = named(world, name).await;
    let mut send = vec![(
        "send".to_owned(),
        step.place,
        Node {
            place: step.place,
            shape: Shape::Scalar {
                text: format!("{method} /.tollhouse/v1/operations/{op}"),
                quoted: true,
            },
        },
    )];
    send.extend(
        entries(step)
            .iter()
            .filter(|(name, _, _)| ["agent", "customer", "token"].contains(&&**name))
            .cloned(),
    );
    let step = Node { place: step.place, shape: Shape::Map(send) };
    call(world, &step).await
}

async fn call(world: &World, step: &Node) -> Seen {
    let request = request(world, step);
    if !request.target.starts_with("/.tollhouse/") {
        world.calls.fetch_add(1, Ordering::SeqCst);
    }
    let answer = world.gate().handle(request).await;
    // What a process does in the background, a moment later.
    world.gate().count_pending().await;
    let body = check::whole(answer.body).await;
    let seen = Seen { status: answer.status, headers: answer.headers, body, ..Seen::nothing() };
    let operation = seen.header("tollhouse-operation").or_else(|| seen.member("/operation"));
    if let Some(op) = operation.and_then(|text| OperationId::parse(&text)) {
        let mut names = world.named.lock();
        names.insert("last".into(), op);
        if let Some(name) = text(step, "as") {
            names.insert(name, op);
        }
    }
    if let Some(name) = text(step, "as") {
        world.bodies.lock().insert(name, seen.body.clone());
    }
    seen
}

pub fn request(world: &World, step: &Node) -> Request {
    let agent = text(step, "agent").unwrap_or_else(|| "support-bot".into());
    let customer = match entries(step).iter().any(|(name, _, _)| name == "customer") {
        true => text(step, "customer"),
        false => Some("cus_9".into()),
    };
    let asker = Asker { agent: &agent, customer: customer.as_deref(), now: world.now(), step };
    let token_said = get(step, "token");
    let bare = token_said
        .is_some_and(|node| matches!(&node.shape, Shape::Scalar { text, .. } if text == "none"));
    let token = token::token(&asker, token_said.filter(|_| !bare));
    let other = token::token(&Asker { agent: "other-bot", ..asker }, None);
    let customer_token = get(step, "customer_token").map(|said| token::token(&asker, Some(said)));
    world
        .secrets
        .lock()
        .extend([token.clone(), other.clone()].into_iter().filter(|t| t.len() > 20));
    let filled = |text: &str| {
        text.replace("{token-of-other-bot}", &other)
            .replace("{basic-user}", &STANDARD.encode(format!("{token}:")))
            .replace("{basic-password}", &STANDARD.encode(format!(":{token}")))
            .replace("{token}", &token)
    };
    let send = text(step, "send").unwrap_or_else(|| panic!("line {}: no `send`", step.place.line));
    let send = world.named.lock().iter().fold(filled(&send), |send, (name, op)| {
        send.replace(&format!("{{op:{name}}}"), &op.to_string())
    });
    let (method, target) = send.split_once(' ').expect("`send` is a method and a target");
    let (body, usual_type) = body(step);
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: &str| {
        headers.append(name, header_value(value));
    };
    put(HOST, "127.0.0.1:8700");
    if !bare {
        put(AUTHORIZATION, &format!("Bearer {token}"));
    }
    let content_type = text(step, "type").or_else(|| usual_type.map(str::to_owned));
    if let Some(content_type) = content_type.filter(|t| t != "none") {
        put(CONTENT_TYPE, &content_type);
    }
    if !body.is_empty() {
        put(CONTENT_LENGTH, &body.len().to_string());
    }
    if let Some(key) = text(step, "key") {
        world.secrets.lock().extend(Some(key.clone()).filter(|key| key.len() > 8));
        put(HeaderName::from_static("idempotency-key"), &key);
    }
    if let Some(customer_token) = customer_token {
        put(HeaderName::from_static("tollhouse-customer"), &customer_token);
    }
    own_headers(step, &mut headers, filled);
    Request {
        listener: 0,
        method: http::Method::from_bytes(method.as_bytes()).unwrap(),
        target: target.into(),
        headers,
        body,
        peer: None,
    }
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or_else(|_| panic!("`{text}` is no header"))
}

/// What a step's `headers:` puts in the place of the usual ones.
fn own_headers(step: &Node, headers: &mut HeaderMap, filled: impl Fn(&str) -> String) {
    for (name, _, value) in get(step, "headers").map(entries).unwrap_or_default() {
        let name = HeaderName::try_from(name).unwrap();
        headers.remove(&name);
        if !tree::is_null(value) {
            for line in tree::texts(value) {
                headers.append(&name, header_value(&filled(&line)));
            }
        }
    }
}

fn body(step: &Node) -> (Bytes, Option<&'static str>) {
    if let Some(hex) = text(step, "hex") {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        return ((0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>().into(), None);
    }
    let typed = [
        ("form", Some("application/x-www-form-urlencoded")),
        ("json", Some("application/json")),
        ("body", None),
    ];
    let found = typed.iter().find_map(|(key, of)| Some((text(step, key)?, *of)));
    found.map_or((Bytes::new(), None), |(text, of)| (text.into(), of))
}

/// BOUND: a case that hangs is a case that fails.
pub const CASE_TIMEOUT: Duration = Duration::from_secs(60);
/// BOUND: how long a step waits for another that goes on at the same time.
const WAIT_MAX: Duration = Duration::from_secs(20);

//! What does each stage of a warm owned read cost alone, in the order a call meets them? And what does the
//! record's writer spend on it, on its own thread?

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use tollhouse::audit::{Audit, Event};
use tollhouse::breaker::lanes::Wants;
use tollhouse::breaker::{First, Own};
use tollhouse::call::{Call, Caller, Facts, Request};
use tollhouse::clock::Clock;
use tollhouse::decision::Verdict;
use tollhouse::disclosure;
use tollhouse::gate::{Evidence, Gate};
use tollhouse::limits::{self, Rates, Wish};
use tollhouse::outbound::Reply;
use tollhouse::policy;
use tollhouse::resolve::{self, Scope};
use tollhouse::store::lend;
use tollhouse::value::Value as Parsed;
use tollhouse::yaml::{self, Faults};

use super::counted::{Mark, Spans};
use super::inside::{self, Inside, request};
use super::probe::{Probe, charge};

/// So many at a time between two looks at the clock: a stage may be shorter than a look.
const BATCH: usize = 50;

pub async fn all(operations: usize) -> Result<Value, String> {
    let probe = Probe::default();
    let inside = inside::gate(1, "http://127.0.0.1:9", Some(probe.outbound()))?;
    let token = inside.tokens.first().ok_or("no token")?;
    let read = request(Method::GET, "/v1/charges/ch_0000000_1", token, "")?;
    let refund = request(Method::POST, "/v1/refunds", token, "charge=ch_0000000_1&amount=500")?;
    let gate = &inside.gate;
    let rounds = operations / BATCH;
    let mut found = asking(gate, &read, rounds).await?;
    let caller = verified(gate, &read).await?;
    let call = gate.catalog.classify(&read).map_err(|e| e.why)?;
    found.extend(judging(gate, (&call, &caller), rounds)?);
    found.extend(refunding(gate, (&refund, &caller), rounds).await?);
    found.extend(leaving((gate, &read), (&call, &caller), rounds)?);
    found.push(writer(&inside, (&read, &call, &caller), operations)?);
    gate.audit.close();
    Ok(Value::Array(found))
}

/// Times `work` in batches.
fn batches<T>(name: &str, rounds: usize, mut work: impl FnMut() -> T) -> Value {
    let mut spans = Spans::default();
    for _ in 0..rounds.max(3) {
        let from = Mark::now();
        for _ in 0..BATCH {
            black_box(work());
        }
        spans.add(from, Mark::now());
    }
    each(spans.shown(name))
}

/// What a batch came to, divided.
fn each(mut whole: Value) -> Value {
    for (key, value) in whole.as_object_mut().into_iter().flatten() {
        if let Some(number) = value.as_f64() {
            let one = number / 50.0;
            *value = if key == "allocations" || key == "bytes" {
                json!(one.round())
            } else {
                json!(one)
            };
        }
    }
    whole
}

async fn verified(gate: &Gate, request: &Request) -> Result<Arc<Caller>, String> {
    let road = gate.catalog.road(request).ok_or("no road")?;
    let place = &road.pack.traits().auth;
    let caller = gate.identity.verify(&request.headers, place, &Parsed::Null, request.peer).await;
    caller.map_err(|refusal| refusal.why)
}

async fn asking(gate: &Gate, read: &Request, rounds: usize) -> Result<Vec<Value>, String> {
    verified(gate, read).await?;
    let mut spans = Spans::default();
    for _ in 0..rounds.max(3) {
        let from = Mark::now();
        for _ in 0..BATCH {
            black_box(verified(gate, read).await?);
        }
        spans.add(from, Mark::now());
    }
    Ok(vec![
        batches("evidence begun", rounds, || Evidence::of(read, &gate.clock)),
        each(spans.shown("verify, token known")),
        batches("classify", rounds, || gate.catalog.classify(read)),
    ])
}

/// Rates that are borrowed, and a store that answers at once whenever one runs low.
struct Fleet {
    rates: Rates,
    full_at: Cell<i64>,
    clock: Clock,
}

impl Fleet {
    fn new(gate: &Gate) -> Result<Self, String> {
        let rate = |per| format!("{{ name: {per}, per: {per}, rate: 1000000/s, across: fleet }}");
        let rules = format!("[{}]", ["agent", "customer", "upstream"].map(rate).join(","));
        let node = yaml::read("rates", &rules).map_err(|e| format!("{e:?}"))?;
        let faults = Faults::of("rates");
        let rules = limits::read(&faults, &node, "limits");
        let rules = faults.finish(Some(rules)).map_err(|e| format!("{e:?}"))?;
        let clock = gate.clock.clone();
        let rates = Rates::new(rules, clock.clone(), None).borrowing();
        Ok(Self { rates, full_at: Cell::new(0), clock })
    }

    fn take(&self, call: &Call, caller: &Caller) -> bool {
        let taken = self.rates.take(call, caller).is_ok();
        if !taken {
            let wishes = self.rates.wishes();
            let now = i64::try_from(self.clock.steady().as_micros()).unwrap_or(i64::MAX);
            let answer = |wish: &Wish| {
                let (full_at, lent) = lend(self.full_at.get(), now, &wish.loan());
                self.full_at.set(full_at);
                lent
            };
            let lent: Vec<_> = wishes.iter().map(answer).collect();
            self.rates.answered(&wishes, Some(&lent));
        }
        taken
    }
}

fn judging(
    gate: &Gate,
    (call, caller): (&Call, &Caller),
    rounds: usize,
) -> Result<Vec<Value>, String> {
    let (facts, account) = (Facts::default(), Some("cus_0000000"));
    let scope = Scope { call, caller, account, facts: &facts };
    let resolved = resolve::resolve(&scope).map_err(|e| e.why)?;
    let now = gate.clock.now();
    let question = policy::Question {
        call,
        caller,
        account,
        facts: &facts,
        resolved: &resolved,
        tenant: None,
        now,
        asked: now,
        signals: &[],
    };
    gate.policy.decide(&question).map_err(|e| e.why)?;
    let site = gate.sites.get(&call.upstream).ok_or("no site")?;
    let lent = Fleet::new(gate)?;
    Ok(vec![
        batches("contract", rounds, || {
            gate.policy.contract(&call.action, call.class, &caller.agent)
        }),
        batches("frozen?", rounds, || gate.freezes.check(call, caller)),
        batches("three rates", rounds, || gate.rates.take(call, caller)),
        batches("three rates of a fleet", rounds, || lent.take(call, caller)),
        batches("road open?", rounds, || {
            let own = Own { name: &call.action.name, first: First::Read };
            (site.breaker.admit(First::Read, Some(own)), site.lanes.try_enter(Wants::Read))
        }),
        batches("resolve", rounds, || resolve::resolve(&scope)),
        batches("policy, decided anew", rounds.min(40), || gate.policy.decide(&question)),
    ])
}

/// The stages of a refund that a read has not, or has cheaper.
async fn refunding(
    gate: &Gate,
    (refund, caller): (&Request, &Caller),
    rounds: usize,
) -> Result<Vec<Value>, String> {
    let call = gate.catalog.classify(refund).map_err(|e| e.why)?;
    let (nothing, account) = (Facts::default(), Some("cus_0000000"));
    let scope = Scope { call: &call, caller, account, facts: &nothing };
    let mut spans = Spans::default();
    let mut facts = Facts::default();
    for _ in 0..rounds.max(3) {
        let from = Mark::now();
        for _ in 0..BATCH {
            facts = gate.lookups.gather(&scope, &mut |_, _| {}).await.map_err(|e| e.why)?;
        }
        spans.add(from, Mark::now());
    }
    let scope = Scope { facts: &facts, ..scope };
    let resolved = resolve::resolve(&scope).map_err(|e| e.why)?;
    let now = gate.clock.now();
    let question = policy::Question {
        call: &call,
        caller,
        account,
        facts: &facts,
        resolved: &resolved,
        tenant: None,
        now,
        asked: now,
        signals: &[],
    };
    gate.policy.decide(&question).map_err(|e| e.why)?;
    Ok(vec![
        batches("refund: classify", rounds, || gate.catalog.classify(refund)),
        each(spans.shown("refund: facts, over a script")),
        batches("refund: resolve", rounds, || resolve::resolve(&scope)),
        batches("refund: policy", rounds.min(40), || gate.policy.decide(&question)),
    ])
}

fn leaving(
    (gate, read): (&Gate, &Request),
    (call, caller): (&Call, &Caller),
    rounds: usize,
) -> Result<Vec<Value>, String> {
    let line = |n: usize| {
        format!(
            "{{\"id\":\"txn_{n:08}\",\"object\":\"line\",\"amount\":{n},\"currency\":\"usd\",\"livemode\":false,\"note\":null}}"
        )
    };
    let lines: Vec<String> = (0..280).map(line).collect();
    let items: Vec<String> =
        (0..24).map(|n| charge(&format!("ch_0000000_{n}"), "0000000", "")).collect();
    let list = format!("{{\"object\":\"list\",\"has_more\":false,\"data\":[{}]}}", items.join(","));
    let listing = Request { target: "/v1/charges?customer=cus_0000000".into(), ..read.clone() };
    let listing = gate.catalog.classify(&listing).map_err(|e| e.why)?;
    let id = "ch_0000000_1";
    let mut found = Vec::new();
    for (name, call, body, rounds) in [
        ("disclose, 1 KiB", call, charge(id, "0000000", ""), rounds),
        ("disclose, 30 KiB", call, charge(id, "0000000", &lines.join(",")), rounds / 10),
        ("disclose, a list of 24", &listing, list, rounds / 10),
    ] {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let reply = Reply { status: 200, headers, body: Bytes::from(body) };
        let facts = Facts::default();
        let question = disclosure::Question {
            call,
            caller,
            account: Some("cus_0000000"),
            facts: &facts,
            internal: false,
        };
        disclosure::release(&question, &reply).map_err(|e| format!("{name}: {}", e.why))?;
        found.push(batches(name, rounds, || disclosure::release(&question, &reply)));
    }
    Ok(found)
}

/// What a read leaves on the request's thread and on the writer's, in files.
fn writer(
    inside: &Inside,
    (read, call, caller): (&Request, &Call, &Arc<Caller>),
    operations: usize,
) -> Result<Value, String> {
    let gate = &inside.gate;
    let dir = inside.home.path().join("record");
    let audit = Audit::open(&dir, gate.clock.clone()).map_err(|e| e.to_string())?;
    let mut evidence = Evidence::of(read, &gate.clock);
    evidence.caller = Some(Arc::clone(caller));
    evidence.call = Some(Arc::new(call.clone()));
    let before = thread_ns("audit");
    let mut spans = Spans::default();
    for _ in 0..(operations / BATCH).max(3) {
        let from = Mark::now();
        for _ in 0..BATCH {
            let entry = evidence.entry(Event::Allowed, Verdict::Allow, &gate.policy_digest);
            audit.note(entry).map_err(|e| e.to_string())?;
        }
        spans.add(from, Mark::now());
        while audit.waiting() > 4_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    while audit.waiting() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let spent = thread_ns("audit").saturating_sub(before);
    audit.close();
    let noted = u64::try_from((operations / BATCH).max(3).saturating_mul(BATCH)).unwrap_or(1);
    let mut shown = each(spans.shown("record"));
    if let Some(own) = shown.as_object_mut() {
        let writer = super::counted::micros(spent.checked_div(noted).unwrap_or(0));
        own.insert("writer_us".into(), json!(writer));
    }
    Ok(shown)
}

/// What the threads of that name spent, in nanoseconds.
fn thread_ns(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = tasks.filter_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        if comm.trim() == name { stat.split(' ').next()?.parse::<u64>().ok() } else { None }
    });
    spent.sum()
}

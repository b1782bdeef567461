//! What a collector is told of calls, read with OpenTelemetry's own classes: one trace per call, joined to the agent's,
//! nothing of what it was about, and nothing that a call would wait for.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::agent::{Call, Reply};
use crate::support::collector::{Collector, Play, attribute, id};
use crate::support::house::{House, configuration, refund, run};
use crate::support::shop::Shop;
use crate::support::tollhouse;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn house(shop: &Shop, otlp: &str) -> House {
    let telemetry = format!("telemetry: {{ log: json, otlp: {otlp} }}");
    let text = configuration(&shop.url(), "").replace("telemetry: { log: text }", &telemetry);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("collector-key"), "a-key-of-the-collector").unwrap();
    House::written(home, &text, "")
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

fn get(house: &House, target: &str, headers: &[(&'static str, &str)]) -> Reply {
    let mut call = Call::new("GET", target).bearer(house.token());
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.send(&house.agents).unwrap()
}

fn roots(spans: &[Value]) -> Vec<&Value> {
    spans.iter().filter(|span| span["kind"] == "SPAN_KIND_SERVER").collect()
}

/// The spans of one call, its root first.
fn of_call<'s>(spans: &'s [Value], root: &Value) -> Vec<&'s Value> {
    let own = id(root, "spanId");
    spans.iter().filter(|span| id(span, "parentSpanId") == own).collect()
}

fn names(spans: &[&Value]) -> Vec<String> {
    spans.iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect()
}

fn time(span: &Value, name: &str) -> u64 {
    span[name].as_str().unwrap().parse().unwrap()
}

#[test]
fn an_effect_is_one_trace_that_is_joined_to_the_agents_and_handed_on() {
    let shop = Shop::open();
    let collector = Collector::open();
    let mut house = house(&shop, &collector.url());
    let call =
        refund("A-1", "25.00", "k-1").bearer(house.token()).header("traceparent", &parent("00"));
    let call = call.header("Tollhouse-Case", "CASE-7").header("Tollhouse-Model", "model-9");
    assert_eq!(call.send(&house.agents).unwrap().status, 200);
    let spans = collector.until(|spans| !roots(spans).is_empty());
    let root = roots(&spans)[0];
    assert_eq!(
        (id(root, "traceId"), id(root, "parentSpanId")),
        (TRACE.to_owned(), SPAN.to_owned())
    );
    let stages = of_call(&spans, root);
    for stage in [
        "verify", "classify", "recall", "facts", "policy", "reserve", "record", "upstream",
        "settle", "disclose",
    ] {
        assert!(names(&stages).iter().any(|name| name == stage), "{stage}: {:?}", names(&stages));
    }
    let mut ids: Vec<String> = spans.iter().map(|span| id(span, "spanId")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own");
    for span in &stages {
        assert_eq!(id(span, "traceId"), TRACE);
        assert!(time(root, "startTimeUnixNano") <= time(span, "startTimeUnixNano"), "{span}");
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"), "{span}");
        assert!(time(span, "endTimeUnixNano") <= time(root, "endTimeUnixNano"), "{span}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_nanos().abs_diff(u128::from(time(root, "endTimeUnixNano")));
    assert!(age < 60_000_000_000, "it was not now: {age} ns");
    assert_eq!(root["name"], "POST /refunds");
    for (name, expected) in [
        ("http.request.method", "POST"),
        ("http.route", "/refunds"),
        ("http.response.status_code", "200"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "orders.refund.create"),
        ("gen_ai.agent.id", "support-bot"),
        ("gen_ai.conversation.id", "CASE-7"),
        ("gen_ai.request.model", "model-9"),
        ("tollhouse.decision", "allow"),
        ("tollhouse.class", "financial"),
        ("tollhouse.upstream", "shop"),
        ("tollhouse.outcome", "succeeded"),
    ] {
        assert_eq!(attribute(root, name).as_deref(), Some(expected), "{name}: {root:#}");
    }
    assert!(attribute(root, "tollhouse.operation").is_some());
    // The span that leads to the upstream is what the upstream is told.
    let client = stages.iter().find(|span| span["kind"] == "SPAN_KIND_CLIENT").unwrap();
    assert_eq!(attribute(client, "server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(attribute(client, "http.response.status_code").as_deref(), Some("200"));
    let seen = shop.posts().pop().unwrap();
    let handed = format!("00-{TRACE}-{}-01", id(client, "spanId"));
    assert_eq!(seen.header("traceparent"), Some(&*handed));
    let resource = collector.resources().remove(0);
    assert_eq!(attribute(&resource, "service.name").as_deref(), Some("tollhouse"));
    assert_eq!(house.stop(), Some(0));
}

#[test]
fn who_is_traced() {
    let shop = Shop::open();
    let collector = Collector::open();
    let otlp = format!("{{ url: '{}', traces: 0%, logs: false }}", collector.url());
    let mut house = house(&shop, &otlp);
    let target = "/orders/A-1";
    // Reads: what the caller traces, and no other.
    assert_eq!(get(&house, target, &[]).status, 200);
    assert_eq!(get(&house, target, &[("traceparent", &parent("00"))]).status, 200);
    assert_eq!(
        shop.seen().pop().unwrap().header("traceparent"),
        Some(&*parent("00")),
        "as it came"
    );
    let joined = [("traceparent", &*parent("01")), ("tracestate", "of=this")];
    assert_eq!(get(&house, target, &joined).status, 200);
    assert_eq!(shop.seen().pop().unwrap().header("tracestate"), Some("of=this"));
    assert_ne!(shop.seen().pop().unwrap().header("traceparent"), Some(&*parent("01")));
    // What is no parent begins a trace of its own, where there is one; and is no fault.
    for bad in [
        "00-zz-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        &"0".repeat(5_000),
    ] {
        assert_eq!(get(&house, target, &[("traceparent", bad)]).status, 200, "{bad}");
    }
    // Refusals, whoever asks: these stages were not measured.
    assert_eq!(get(&house, "/orders/B-1", &[("traceparent", &parent("00"))]).status, 404);
    assert_eq!(get(&house, "/nowhere", &[]).status, 403);
    // An effect, whatever its parent is.
    let bad = refund("A-2", "25.00", "k-2").bearer(house.token()).header("traceparent", "nonsense");
    let bad = bad.header("tracestate", "of=another");
    assert_eq!(bad.send(&house.agents).unwrap().status, 200);
    let sent = shop.posts().pop().unwrap();
    assert_eq!(sent.header("tracestate"), None, "it belongs to no trace");
    assert!(sent.header("traceparent").is_some());
    let over = house.refund("A-3", "250.00", "k-3");
    assert_eq!(over.status, 403);
    assert_eq!(house.stop(), Some(0));
    let spans = collector.spans();
    let roots = roots(&spans);
    let said: Vec<_> = roots
        .iter()
        .map(|root| {
            let get = |name: &str| attribute(root, name).unwrap_or_default();
            (
                root["name"].as_str().unwrap().to_owned(),
                get("tollhouse.decision"),
                get("tollhouse.code"),
            )
        })
        .collect();
    let row = |name: &str, decision: &str, code: &str| {
        (name.to_owned(), decision.to_owned(), code.to_owned())
    };
    assert_eq!(
        said,
        [
            row("GET /orders/{order}", "allow", ""),
            row("GET /orders/{order}", "refuse", "not_found"),
            row("GET", "refuse", "unknown_action"),
            row("POST /refunds", "allow", ""),
            row("POST /refunds", "hold", "approval_required"),
        ]
    );
    assert_eq!(id(roots[1], "parentSpanId"), SPAN, "a late one is joined as well");
    assert!(of_call(&spans, roots[1]).is_empty());
    assert_eq!(id(roots[3], "parentSpanId"), "", "nonsense is nobody's parent");
    assert_ne!(id(roots[3], "traceId"), TRACE);
    assert_eq!(
        attribute(roots[4], "tollhouse.policies").as_deref(),
        Some("financial.over-cap"),
        "{:#}",
        roots[4]
    );
    assert!(
        collector.batches().iter().all(|batch| batch.path == "/v1/traces"),
        "no logs were asked for"
    );
}

#[test]
fn nothing_of_what_a_call_is_about_is_told_unless_it_is_asked_for() {
    let words: [&[u8]; 6] =
        [b"A-4711", b"321.09", b"ann", b"because-of-this", b"fine-by-me", b"25.43"];
    for (values, expected) in [("false", false), ("true", true)] {
        let shop = Shop::open();
        let collector = Collector::open();
        let otlp = format!(
            "{{ url: '{}/', traces: all, values: {values}, headers: {{ X-Key: file:collector-key }} }}",
            collector.url()
        );
        let mut house = house(&shop, &otlp);
        assert_eq!(get(&house, "/orders/A-4711", &[]).status, 200);
        let call = refund("A-4711", "25.43", "k-1").bearer(house.token());
        let call = call.header("Tollhouse-Reason", "because-of-this");
        assert_eq!(call.send(&house.agents).unwrap().status, 200);
        let over = house.refund("A-4711", "321.09", "k-2");
        assert_eq!(over.status, 403);
        let said = house.approve(&over.operation());
        assert_eq!(said.code, 0, "{said:?}");
        let sent = Instant::now();
        while shop.made().len() < 2 {
            assert!(sent.elapsed() < Duration::from_secs(10), "never sent");
            std::thread::sleep(Duration::from_millis(20));
        }
        let scope = ["freeze", "customer/bob-the-builder", "--reason", "fine-by-me"];
        assert_eq!(house.cli(&scope).code, 0);
        // An agent that goes on about somebody else's.
        assert_eq!(get(&house, "/orders/B-1?why=because-of-this", &[]).status, 404);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(house.stop(), Some(0));
        let batches = collector.batches();
        assert!(batches.iter().all(|batch| {
            batch.headers.iter().any(|(n, v)| n == "x-key" && v == "a-key-of-the-collector")
                && batch
                    .headers
                    .iter()
                    .any(|(n, v)| n == "content-type" && v == "application/x-protobuf")
        }));
        for word in words {
            let found = batches.iter().any(|one| one.body.windows(word.len()).any(|w| w == word));
            let word = String::from_utf8_lossy(word);
            match &*word {
                "A-4711" | "321.09" | "ann" if expected => assert!(found, "{word} was asked for"),
                "25.43" | "because-of-this" | "fine-by-me" | "bob-the-builder" if expected => {}
                _ => assert!(!found, "{word} was told"),
            }
        }
        let spans = collector.spans();
        let approved = spans.iter().any(|span| {
            attribute(span, "tollhouse.policies").is_some()
                && attribute(span, "tollhouse.decision").as_deref() == Some("allow")
        });
        assert!(approved, "what a person let run is a trace as well: {spans:#?}");
        let logs = collector.logs();
        let held = logs
            .iter()
            .find(|line| attribute(line, "tollhouse.code").as_deref() == Some("approval_required"));
        let held = held.unwrap_or_else(|| panic!("{logs:#?}"));
        assert_eq!(
            (&held["severityText"], &held["severityNumber"]),
            (&"INFO".into(), &"SEVERITY_NUMBER_INFO".into())
        );
        // The line is found from its trace, the trace from the line.
        let root = spans
            .iter()
            .find(|span| attribute(span, "tollhouse.code").as_deref() == Some("approval_required"));
        let root = root.unwrap();
        assert_eq!(
            (id(held, "traceId"), id(held, "spanId")),
            (id(root, "traceId"), id(root, "spanId"))
        );
        let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
        assert!(log.contains(&format!("\"trace_id\":\"{}\"", id(root, "traceId"))), "{log}");
        let record = std::fs::read_to_string(newest(&house)).unwrap();
        assert!(
            record.contains(&format!("\"trace_id\":\"{}\"", id(root, "traceId"))),
            "on record as well"
        );
    }
}

fn newest(house: &House) -> std::path::PathBuf {
    let boots = std::fs::read_dir(house.audit()).unwrap().map(|e| e.unwrap().path());
    boots.filter(|path| path.is_dir()).max().unwrap().join("000001.jsonl")
}

fn metric(house: &House, line: &str) -> f64 {
    let reply = house.console(Call::new("GET", "/metrics"));
    let found = reply.body.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line}: {}", reply.body))
}

#[test]
fn a_collector_that_is_down_or_hangs_is_nobodys_loss_but_its_own() {
    let shop = Shop::open();
    let collector = Collector::open();
    let otlp = format!("{{ url: '{}', traces: all }}", collector.url());
    let mut house = house(&shop, &otlp);
    collector.play(Play::Status(503));
    assert_eq!(house.refund("A-1", "25.00", "k-1").status, 200);
    let end = Instant::now() + Duration::from_secs(10);
    while metric(&house, "tollhouse_otlp_exports_total{result=\"failed\",signal=\"traces\"}")
        .max(0.0)
        < 1.0
    {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(50));
    }
    // What it did not take is kept, and comes when it does.
    collector.play(Play::Status(200));
    collector.until(|spans| !roots(spans).is_empty());
    // What it does not want at all is counted.
    collector.play(Play::Status(400));
    assert_eq!(house.refund("A-2", "25.00", "k-2").status, 200);
    let dropped = "tollhouse_otlp_dropped_total{signal=\"traces\"}";
    let end = Instant::now() + Duration::from_secs(10);
    while metric(&house, dropped) < 5.0 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(50));
    }
    // One that hangs: calls do not notice, nor does the end.
    collector.play(Play::Silent);
    let mut slowest = Duration::ZERO;
    for n in 3..60 {
        let begun = Instant::now();
        assert_eq!(get(&house, &format!("/orders/A-{n}"), &[]).status, 200);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let begun = Instant::now();
    assert_eq!(house.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert!(log.contains("the collector does not take what is told"), "{log}");
}

#[test]
fn what_is_wrong_with_it_is_told_by_check() {
    let shop = Shop::open();
    let collector = Collector::open();
    let house = house(&shop, &collector.url());
    let file = house.home.path().join("other.yaml");
    let said = |otlp: &str| {
        let telemetry = format!("telemetry: {{ otlp: {otlp} }}");
        let text = configuration(&shop.url(), "").replace("telemetry: { log: text }", &telemetry);
        std::fs::write(&file, text).unwrap();
        let ran = run(tollhouse().args(["check", "--config"]).arg(&file));
        (ran.code, ran.out)
    };
    for (otlp, words) in [
        ("http://127.0.0.1:4318", "1.0 % of the other reads, log lines"),
        (
            "{ url: https://otel.example:4318/base, traces: all, logs: false, values: true }",
            "100.0 % of the other reads; with customers",
        ),
        (
            "{ url: http://collector:4318, insecure: true, traces: none, headers: { Authorization: file:collector-key } }",
            "no traces, log lines",
        ),
        ("{ url: http://127.0.0.1:4318, traces: 2.5% }", "2.5 %"),
    ] {
        let (code, out) = said(otlp);
        assert!(code == 0 && out.contains(words), "{otlp}: {out}");
    }
    for (otlp, words) in [
        ("collector", "expected a URL"),
        ("http://collector:4318", "in the clear"),
        ("{ url: http://collector:4318 }", "in the clear"),
        ("{ url: 'http://127.0.0.1:4318/?a=b' }", "expected a URL"),
        ("{ traces: all }", "url"),
        ("{ url: http://127.0.0.1:4318, traces: some }", "expected `all`, `none` or a share"),
        ("{ url: http://127.0.0.1:4318, headers: { X-Key: secret-words } }", "headers.X-Key"),
        ("{ url: http://127.0.0.1:4318, headers: { X-Key: file:none } }", "headers.X-Key"),
        ("{ url: http://127.0.0.1:4318, protocol: grpc }", "protocol"),
    ] {
        let (code, out) = said(otlp);
        assert!(code == 1 && out.contains(words), "{otlp}: {out}");
        assert!(!out.contains("secret-words"), "{out}");
    }
}

//! What does one admission cost inside the process? By class of call and by stage, allocations counted.
//!
//! A harness of its own: criterion counts no allocation, divan counts them but times whole functions only,
//! and what an admission costs is the time from the request to the moment at which it would leave, in the
//! middle of `Gate::handle`. The scripted upstream stands at that moment and reads clock and counters.
//!
//! `admit [OPERATIONS]`; prints JSON. No socket, no disk but for the record's writer.

#[path = "admit/counted.rs"]
mod counted;
#[path = "inside.rs"]
mod inside;
#[path = "admit/probe.rs"]
mod probe;
#[path = "admit/stages.rs"]
mod stages;
#[path = "traffic/tokens.rs"]
mod tokens;

use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tollhouse::call::Request;
use tollhouse::gate::Gate;

use counted::Mark;
use inside::request;
use probe::Probe;

#[global_allocator]
static ALLOCATOR: counted::Counting = counted::Counting;

/// One kind of call.
struct Scenario {
    name: &'static str,
    expect: u16,
    method: Method,
    /// `{n}` is a number of its own.
    target: &'static str,
    form: &'static str,
    key: Option<&'static str>,
    /// Whose: one caller for all, or so many in turn.
    callers: usize,
    /// Sent once before it is measured.
    warm: bool,
    /// What lies between the moments that the script sees.
    parts: &'static [&'static str],
}

const READ: &[&str] = &["admit", "disclose, answer"];
const WHOLE: &[&str] = &["whole"];
const REFUND: &[&str] = &["admit, up to the facts", "facts to sending", "settle, answer"];

/// A warm read: what all others are told by their difference from.
fn read() -> Scenario {
    Scenario {
        name: "owned read, 1 KiB",
        expect: 200,
        method: Method::GET,
        target: "/v1/charges/ch_0000000_1",
        form: "",
        key: None,
        callers: 1,
        warm: true,
        parts: READ,
    }
}

fn refund() -> Scenario {
    Scenario {
        name: "refund",
        method: Method::POST,
        target: "/v1/refunds",
        form: "charge=ch_0000000_{n}&amount=500",
        warm: false,
        parts: REFUND,
        ..read()
    }
}

fn scenarios(cold: usize) -> Vec<Scenario> {
    vec![
        read(),
        Scenario { name: "owned read, 30 KiB", target: "/v1/charges/ch30_0000000_1", ..read() },
        Scenario {
            name: "owned list, 24 items",
            target: "/v1/charges?customer=cus_0000000",
            ..read()
        },
        Scenario { name: "public read, 1 KiB", target: "/shop/products/p_1", ..read() },
        Scenario {
            name: "owned read, token not known",
            target: "/v1/charges/ch_OWN_1",
            callers: cold,
            warm: false,
            ..read()
        },
        Scenario {
            name: "unknown action",
            expect: 403,
            target: "/v1/nothing/here",
            callers: 1000.min(cold),
            parts: WHOLE,
            ..read()
        },
        Scenario {
            name: "write",
            target: "/v1/customers/cus_0000000",
            form: "description=note+{n}",
            parts: READ,
            ..refund()
        },
        refund(),
        Scenario {
            name: "replay",
            form: "charge=ch_0000000_9&amount=500",
            key: Some("the-same"),
            warm: true,
            parts: WHOLE,
            ..refund()
        },
        Scenario {
            name: "hold",
            expect: 403,
            form: "charge=ch_0000000_{n}&amount=50000",
            parts: &["admit, up to the facts", "facts to the answer"],
            ..refund()
        },
    ]
}

fn main() -> ExitCode {
    let operations = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let measured = runtime
        .map_err(|e| e.to_string())
        .and_then(|runtime| runtime.block_on(Box::pin(all(operations))));
    match measured {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("admit: {why}");
            ExitCode::from(2)
        }
    }
}

async fn all(operations: usize) -> Result<Value, String> {
    let cold = operations.min(2_000);
    let mut found = Vec::new();
    for scenario in scenarios(cold) {
        found
            .push(one(&scenario, operations).await.map_err(|e| format!("{}: {e}", scenario.name))?);
    }
    let stages = Box::pin(stages::all(operations)).await?;
    Ok(
        json!({ "operations": operations, "scenarios": found, "stages": stages, "mark_ns": counted::overhead_ns() }),
    )
}

/// Plays one scenario on a gate of its own.
async fn one(scenario: &Scenario, operations: usize) -> Result<Value, String> {
    let probe = Probe::default();
    let inside = inside::gate(scenario.callers, "http://127.0.0.1:9", Some(probe.outbound()))?;
    let operations =
        if scenario.callers > 1 && scenario.parts == READ { scenario.callers } else { operations };
    // Refusals above 50 a second of one caller are counted together: measured is what each costs on record.
    let operations = if scenario.parts == WHOLE {
        operations.min(scenario.callers.max(50).saturating_mul(40))
    } else {
        operations
    };
    let mut parts = vec![counted::Spans::default(); scenario.parts.len()];
    let mut whole = counted::Spans::default();
    if scenario.warm {
        for n in 0..200_usize.min(operations) {
            send(&inside.gate, made(scenario, &inside.tokens, n)?, scenario.expect).await?;
        }
    }
    for n in 0..operations {
        let request = made(scenario, &inside.tokens, n)?;
        probe.begin();
        let begin = Mark::now();
        let status = inside.gate.handle(request).await.status;
        let end = Mark::now();
        if status != scenario.expect {
            return Err(format!("answered {status}, not {}", scenario.expect));
        }
        probe.read(begin, end, &mut parts)?;
        whole.add(begin, end);
        if n % 500 == 499 {
            // The writer's queue is bounded; in service there is time between calls.
            while inside.gate.audit.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    inside.gate.audit.close();
    let parts = scenario.parts.iter().zip(parts).map(|(name, spans)| spans.shown(name));
    Ok(json!({
        "name": scenario.name, "operations": operations, "parts": parts.collect::<Vec<_>>(), "whole": whole.shown("whole"),
    }))
}

async fn send(gate: &Gate, request: Request, expect: u16) -> Result<(), String> {
    let answer = gate.handle(request).await;
    if answer.status == expect {
        Ok(())
    } else {
        Err(format!("answered {}, not {expect}", answer.status))
    }
}

fn made(scenario: &Scenario, tokens: &[String], n: usize) -> Result<Request, String> {
    let caller = n.checked_rem(tokens.len()).unwrap_or(0);
    let token = tokens.get(caller).ok_or("no token")?;
    let target = scenario.target.replace("OWN", &format!("{caller:07}"));
    let form = scenario.form.replace("{n}", &n.to_string());
    let mut request = request(scenario.method.clone(), &target, token, &form)?;
    if let Some(key) = scenario.key {
        request
            .headers
            .insert(HeaderName::from_static("idempotency-key"), HeaderValue::from_static(key));
    }
    Ok(request)
}

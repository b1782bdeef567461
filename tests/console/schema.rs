//! The API is what its document says: the published copy is the served one, and schemathesis, which makes
//! requests of it, finds no answer that it does not say, none by the server's fault, and none to nobody.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::world::{Who, World};
use crate::support::agent::Call;
use crate::support::house::run;
use crate::support::root;

#[test]
fn the_published_document_is_the_served_one() {
    let world = World::open();
    let served = world.ask(Who::Viewer, Call::new("GET", "/openapi.json"));
    assert_eq!(served.status, 200, "{served:?}");
    let path = root().join("docs/openapi.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &served.body).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == served.body,
        "docs/openapi.json is not what is served; if the new one is meant: \
         UPDATE_GOLDEN=1 cargo test --test main console::schema::the_published"
    );
    for route in tollhouse::console::ROUTES.iter().filter(|r| r.path.starts_with("/v1/")) {
        let method = route.method.to_ascii_lowercase();
        assert!(served.json()["paths"][route.path][method].is_object(), "{}", route.path);
    }
}

/// BOUND: of the whole run; it ends by itself long before.
const LASTS_MAX: Duration = Duration::from_secs(60);

/// Its exit code and what it said; every exchange is in `report.har`.
fn schemathesis(world: &World, who: Option<Who>, more: &[&str]) -> (i32, String, Vec<Exchange>) {
    let program = root().join(".venv/bin/schemathesis");
    assert!(
        program.exists(),
        "{} is missing: run `./test console`, which installs it",
        program.display()
    );
    let mut command = Command::new(program);
    let home = world.house.home.path();
    command.current_dir(home).env("HOME", home).env("NO_COLOR", "1");
    // What is too large is turned back for that (413), whatever else is wrong with it.
    let more_ways = "[checks]\nnegative_data_rejection.expected-statuses = \
         [\"400\", \"401\", \"403\", \"404\", \"405\", \"409\", \"413\", \"415\", \"429\"]\n";
    std::fs::write(home.join("schemathesis.toml"), more_ways).unwrap();
    command.arg("run").arg(root().join("docs/openapi.json")).args(["--url", &world.url]);
    if let Some(who) = who {
        // A stream of events has no end, so nobody waits for it here.
        command.args(["--exclude-path", "/v1/events"]);
        command.args(["-H", &format!("Authorization: Bearer {}", who.token())]);
    }
    command.args(["--seed", "7", "--no-shrink", "--generation-database", "none"]);
    command.args(["--continue-on-failure", "--request-timeout", "10", "--report", "har"]);
    command.args(["--report-har-path", "report.har"]).args(more);
    let ran = run(&mut command);
    let report = std::fs::read_to_string(home.join("report.har")).unwrap_or_default();
    let report: Value =
        serde_json::from_str(&report).unwrap_or_else(|e| panic!("{e}: {}{}", ran.out, ran.err));
    let exchange = |entry: &Value| Exchange {
        line: format!("{} {}", entry["request"]["method"], entry["request"]["url"]),
        status: entry["response"]["status"].as_u64().unwrap(),
        body: entry["response"]["content"]["text"].as_str().unwrap_or_default().to_owned(),
    };
    let all = report["log"]["entries"].as_array().unwrap().iter().map(exchange).collect();
    (ran.code, format!("{}{}", ran.out, ran.err), all)
}

#[derive(Debug)]
struct Exchange {
    line: String,
    status: u64,
    body: String,
}

#[test]
fn what_schemathesis_makes_of_the_document_is_answered_as_it_says() {
    let began = Instant::now();
    let world = World::open();
    for n in 0..3 {
        world.held(&format!("A-{n}"));
    }
    // That too many without a token wait (429) is what the document says, and not what it expects; who
    // asks without one is the other test.
    let checks = ["--checks", "all", "--exclude-checks", "ignored_auth"];
    let bounds = ["--max-time", "25", "--max-examples", "30"];
    let (code, said, asked) =
        schemathesis(&world, Some(Who::Ops), &[&checks[..], &bounds].concat());
    assert!(code == 0, "{said}");
    assert!(asked.len() > 300, "it asked {} times only", asked.len());
    assert!(asked.iter().all(|one| one.status < 500), "{said}");
    assert!(began.elapsed() < LASTS_MAX, "{:?}", began.elapsed());
}

#[test]
fn schemathesis_is_told_nothing_that_is_not_its_to_know() {
    let began = Instant::now();
    let world = World::open();
    let held: Vec<String> = (0..3).map(|n| world.held(&format!("A-{n}"))).collect();
    world.frozen(&["tenant/acme", "agent/nobody"]);
    let bounds = ["--checks", "not_a_server_error", "--max-time", "12", "--max-examples", "10"];
    let (_, said, asked) = schemathesis(&world, None, &bounds);
    assert!(asked.len() > 60, "it asked {} times only: {said}", asked.len());
    for one in &asked {
        assert!([400, 401, 429].contains(&one.status), "{one:?}");
        assert!(
            one.status != 400 || one.body.is_empty(),
            "what is no HTTP is not answered: {one:?}"
        );
    }
    let (_, said, asked) = schemathesis(&world, Some(Who::Other), &bounds);
    assert!(asked.len() > 60, "it asked {} times only: {said}", asked.len());
    for one in &asked {
        assert!(one.status < 500, "{one:?}");
        assert!(!one.body.contains("acme") && !one.body.contains("Refund"), "{one:?}");
        assert!(held.iter().all(|op| !one.body.contains(op) || one.line.contains(op)), "{one:?}");
    }
    let (_, said, asked) = schemathesis(&world, Some(Who::Viewer), &bounds);
    assert!(asked.len() > 60, "it asked {} times only: {said}", asked.len());
    for one in asked.iter().filter(|one| one.status < 300 && !one.line.starts_with("\"GET\"")) {
        let own = ["/v1/freezes", "/v1/sign-in-codes"];
        assert!(own.iter().any(|path| one.line.contains(path)), "{one:?}");
    }
    for op in held {
        let hold = world.ask(Who::Ops, Call::new("GET", &format!("/v1/holds/{op}"))).json();
        assert_eq!(hold["state"], "held", "{hold}");
    }
    assert!(began.elapsed() < LASTS_MAX, "{:?}", began.elapsed());
}

//! Every route of the table is asked by somebody unknown, by the wrong tenant, by too little a role
//! and by the right one. A route that nobody wrote a row for fails.

use serde_json::{Value, json};
use tollhouse::console::{Access, ROUTES, Route, Sort};

use super::world::{Who, World};
use crate::support::agent::{Call, Reply};

/// Routes without a row below. It may only get shorter.
const NOT_COVERED: &[(&str, &str)] = &[];

/// What stands for `{op}` and `{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Nothing,
    /// A hold of `acme`.
    Held,
    /// An operation of `acme` whose outcome is not known.
    Unknown,
    /// A freeze of `acme`.
    Freeze,
    /// The stylesheet, by the name that it has now.
    Asset,
    /// A revocation of `acme`.
    Revocation,
}

/// How a route is asked so that it does something.
struct Row {
    thing: Thing,
    body: fn(&Value) -> Value,
    /// What the right person gets.
    well: u16,
    /// Whether what it answers names operations or freezes of a tenant.
    lists: bool,
}

const PLAIN: Row = Row { thing: Thing::Nothing, body: none, well: 200, lists: false };

fn none(_: &Value) -> Value {
    Value::Null
}

fn row(route: &Route) -> Option<Row> {
    let row = match (route.method, route.path) {
        ("GET", "/healthz" | "/readyz" | "/metrics") => PLAIN,
        ("GET", "/sign-in" | "/sign-in.js") => PLAIN,
        // Nothing to sign in with, and no issuer in this configuration.
        ("POST", "/sign-in") => Row { well: 403, ..PLAIN },
        ("GET", "/sign-in/issuer" | "/sign-in/callback") => Row { well: 404, ..PLAIN },
        ("POST", "/sign-out") => Row { well: 303, ..PLAIN },
        ("POST", "/v1/sign-in-codes") => Row { well: 201, ..PLAIN },
        // Nobody signs in there: what is not signed by a destination is nobody's (tests/running/answers.rs).
        ("POST", "/v1/answers") => Row { well: 401, ..PLAIN },
        // Of another tenant's calls it counts none: no list of names (tests/report.rs).
        ("GET", "/v1/report") => PLAIN,
        ("GET", "/v1/store" | "/v1/config" | "/v1/session" | "/openapi.json") => PLAIN,
        (
            "GET",
            "/v1/holds" | "/v1/operations" | "/v1/freezes" | "/v1/records" | "/v1/queues"
            | "/v1/revocations" | "/v1/budgets",
        ) => Row { lists: true, ..PLAIN },
        ("POST", "/v1/holds/deny") => Row {
            body: |_| json!({ "ids": [format!("op_{}", "a".repeat(52))], "reason": "none of these" }),
            ..PLAIN
        },
        ("POST", "/v1/revocations") => Row {
            body: |_| json!({ "tenant": "acme", "agent": "nobody", "reason": "lost" }),
            well: 201,
            ..PLAIN
        },
        ("DELETE", "/v1/revocations/{id}") => Row { thing: Thing::Revocation, ..PLAIN },
        ("GET", "/v1/holds/{op}" | "/v1/operations/{op}") => Row { thing: Thing::Held, ..PLAIN },
        ("POST", "/v1/holds/{op}/approve") => {
            Row { thing: Thing::Held, body: |hold| json!({ "digest": hold["digest"] }), ..PLAIN }
        }
        ("POST", "/v1/holds/{op}/deny") => {
            Row { thing: Thing::Held, body: |_| json!({ "reason": "not this one" }), ..PLAIN }
        }
        ("POST", "/v1/freezes") => Row {
            body: |_| json!({ "scope": ["tenant/acme", "agent/nobody"], "reason": "odd" }),
            well: 201,
            ..PLAIN
        },
        ("DELETE", "/v1/freezes/{id}") => Row { thing: Thing::Freeze, ..PLAIN },
        ("POST", "/v1/operations/{op}/resolve") => Row {
            thing: Thing::Unknown,
            body: |_| json!({ "outcome": "done", "reason": "looked at the shop" }),
            ..PLAIN
        },
        ("POST", "/v1/operations/{op}/mark") => Row {
            thing: Thing::Held,
            body: |_| json!({ "verdict": "needless", "reason": "usual" }),
            ..PLAIN
        },
        ("POST", "/v1/reload") => PLAIN,
        ("POST", "/v1/store/clear") => {
            Row { body: |_| json!({ "reason": "nothing was lost" }), ..PLAIN }
        }
        (_, path) if route.sort == Sort::Page || path == "/v1/events" => return page(route),
        _ => return None,
    };
    Some(row)
}

/// How a page is asked; what it is sent is a form.
fn page(route: &Route) -> Option<Row> {
    let row = match (route.method, route.path) {
        ("GET", "/" | "/decided" | "/operations" | "/activity" | "/controls" | "/v1/events") => {
            PLAIN
        }
        ("GET", "/holds/{op}" | "/operations/{op}") => Row { thing: Thing::Held, ..PLAIN },
        ("GET", "/assets/{name}") => Row { thing: Thing::Asset, ..PLAIN },
        ("POST", "/holds/{op}/approve") => {
            Row { thing: Thing::Held, body: |hold| json!({ "digest": hold["digest"] }), ..GONE }
        }
        ("POST", "/holds/{op}/deny") => {
            Row { thing: Thing::Held, body: |_| json!({ "reason": "not this one" }), ..GONE }
        }
        ("POST", "/holds/deny") => Row {
            body: |_| json!({ "hold": format!("op_{}", "a".repeat(52)), "reason": "none of these" }),
            ..GONE
        },
        ("POST", "/operations/{op}/resolve") => Row {
            thing: Thing::Unknown,
            body: |_| json!({ "outcome": "done", "reason": "looked at the shop" }),
            ..GONE
        },
        ("POST", "/operations/{op}/mark") => Row {
            thing: Thing::Held,
            body: |_| json!({ "verdict": "right", "reason": "unusual" }),
            ..GONE
        },
        ("POST", "/freezes") => Row {
            body: |_| json!({ "scope": "tenant/acme agent/nobody", "reason": "odd" }),
            ..GONE
        },
        ("POST", "/freezes/{id}/lift") => Row { thing: Thing::Freeze, ..GONE },
        _ => return None,
    };
    Some(row)
}

/// A form that was taken leads on to a page.
const GONE: Row = Row { well: 303, ..PLAIN };

/// Who may, and who has too little.
fn people(access: Access) -> (&'static [Who], &'static [Who]) {
    use Who::{Acme, Bot, Finance, Ops, Viewer};
    match access {
        Access::Anybody | Access::Visitor => (&[], &[]),
        Access::SignedIn => (&[Ops, Acme, Bot, Viewer, Finance], &[]),
        Access::Answers => (&[Ops, Acme, Finance], &[Viewer, Bot]),
        Access::Operates => (&[Ops, Acme], &[Viewer, Finance]),
        Access::OperatesFleet => (&[Ops], &[Viewer, Finance, Acme, Bot, Who::Other]),
    }
}

/// The same route of a thing that never was.
fn never(thing: Thing) -> String {
    match thing {
        Thing::Nothing | Thing::Asset => String::new(),
        Thing::Held | Thing::Unknown => format!("op_{}", "a".repeat(52)),
        Thing::Freeze => "frz_never".to_owned(),
        Thing::Revocation => "rv_never".to_owned(),
    }
}

struct Asked<'w> {
    world: &'w World,
    route: &'static Route,
    row: Row,
    orders: std::cell::Cell<u32>,
}

impl Asked<'_> {
    fn fresh(&self) -> String {
        self.orders.set(self.orders.get() + 1);
        let path = self.route.path.replace(['/', '{', '}'], "");
        let order = format!("A-{}{}-{}", self.route.method, path, self.orders.get());
        match self.row.thing {
            Thing::Nothing => String::new(),
            Thing::Held => self.world.held(&order),
            Thing::Unknown => self.world.unknown(&order),
            Thing::Freeze => self.world.frozen(&["tenant/acme", "agent/nobody"]),
            Thing::Revocation => self.world.revoked("acme"),
            Thing::Asset => self.world.asset(),
        }
    }

    fn target(&self, id: &str) -> String {
        self.route.path.replace("{op}", id).replace("{id}", id).replace("{name}", id)
    }

    fn body(&self, id: &str) -> Value {
        let hold = match self.row.thing {
            Thing::Held => {
                self.world.ask(Who::Ops, Call::new("GET", &format!("/v1/holds/{id}"))).json()
            }
            Thing::Nothing | Thing::Unknown | Thing::Freeze | Thing::Revocation | Thing::Asset => {
                Value::Null
            }
        };
        (self.row.body)(&hold)
    }

    fn reply(&self, who: Option<Who>, id: &str, body: &Value) -> Reply {
        let target = self.target(id);
        let call = self.call(&target, body);
        match who {
            Some(who) if self.route.path == "/v1/events" => {
                self.world.head_of(&call.bearer(&who.token()))
            }
            Some(who) => self.world.ask(who, call),
            None => call.send(&self.world.url).unwrap(),
        }
    }

    /// As a script asks, or as a page's form does.
    fn call<'c>(&self, target: &'c str, body: &Value) -> Call<'c> {
        let call = Call::new(self.route.method, target);
        let Value::Object(fields) = body else { return call.json(body) };
        if self.route.sort != Sort::Page {
            return call.json(body);
        }
        let fields = fields.iter().map(|(name, value)| (name, value.as_str().unwrap()));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        Call { body, ..call }
    }

    /// Somebody unknown learns nothing and changes nothing.
    fn by_nobody(&self, id: &str, body: &Value) {
        let target = self.target(id);
        let near = Who::Ops.token().replace("nobody", "somebody");
        let call = || self.call(&target, body);
        for call in [
            call(),
            call().bearer(""),
            call().bearer(&near),
            call().bearer(self.world.house.token()),
            call().header("Authorization", &Who::Ops.token()),
            call().bearer(&Who::Ops.token()).bearer(&Who::Ops.token()),
            call().header("Cookie", &format!("tollhouse={}", Who::Ops.token())),
        ] {
            let reply = call.send(&self.world.url).unwrap();
            let what = format!("{} {target}: {call:?} {reply:?}", self.route.method);
            match self.route.sort {
                Sort::Page if reply.status == 303 => {
                    assert!(reply.header("location").unwrap().starts_with("/sign-in"), "{what}");
                }
                Sort::Page | Sort::Api | Sort::Probe => {
                    assert!([401, 429].contains(&reply.status), "{what}");
                    assert!(reply.status == 429 || reply.header("www-authenticate").is_some());
                }
            }
            assert!(!reply.body.contains("acme") && !reply.body.contains("Refund"), "{what}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
            assert!(reply.header("content-security-policy").is_some(), "{what}");
        }
    }

    /// Another tenant's is answered, to the byte, as what never was.
    fn by_another_tenant(&self, id: &str, body: &Value) {
        let theirs = self.reply(Some(Who::Other), id, body);
        let what = format!("{} {}: {theirs:?}", self.route.method, self.route.path);
        if self.row.thing != Thing::Nothing {
            let none = self.reply(Some(Who::Other), &never(self.row.thing), body);
            // A page says what time it is.
            let plain = |reply: &Reply| reply.body.replace(|c: char| c.is_ascii_digit(), "");
            assert_eq!((theirs.status, plain(&theirs)), (404, plain(&none)), "{what}");
            assert_eq!(theirs.headers.len(), none.headers.len(), "{what}");
        }
        assert!(!theirs.body.contains("acme"), "{what}");
        assert!(!theirs.body.contains("Refund 450") && !theirs.body.contains("A-listed"), "{what}");
        if self.row.lists {
            assert_eq!((theirs.status, &*theirs.body), (200, "[]"), "{what}");
        }
    }
}

#[test]
fn every_route_is_asked_by_everybody() {
    let world = World::open();
    // Something to be listed.
    let held = world.held("A-listed");
    world.frozen(&["tenant/acme", "agent/nobody"]);
    world.revoked("acme");
    for route in ROUTES {
        let named = (route.method, route.path);
        let Some(row) = row(route) else {
            assert!(
                NOT_COVERED.contains(&named),
                "{named:?} has no authorization test: write a row in tests/console/coverage.rs"
            );
            continue;
        };
        assert!(!NOT_COVERED.contains(&named), "{named:?} is covered: take it off the list");
        let asked = Asked { world: &world, route, row, orders: std::cell::Cell::new(0) };
        let (may, may_not) = people(route.access);
        if may.is_empty() {
            let reply = asked.reply(None, &asked.fresh(), &Value::Null);
            assert!(reply.header("set-cookie").is_none(), "{named:?}: {reply:?}");
            assert_eq!(reply.status, asked.row.well, "{named:?}: {reply:?}");
            assert!(!reply.body.contains(&held) && !reply.body.contains("acme"), "{reply:?}");
            continue;
        }
        let id = asked.fresh();
        let body = asked.body(&id);
        asked.by_nobody(&id, &body);
        asked.by_another_tenant(&id, &body);
        for who in may_not {
            let reply = asked.reply(Some(*who), &id, &body);
            assert_eq!(reply.status, 403, "{named:?} {who:?}: {reply:?}");
            assert!(!reply.body.contains("Refund"), "{named:?} {who:?}: {reply:?}");
        }
        for who in may {
            let id = asked.fresh();
            let body = asked.body(&id);
            let reply = asked.reply(Some(*who), &id, &body);
            assert_eq!(reply.status, asked.row.well, "{named:?} {who:?}: {reply:?}");
            if asked.row.lists && *who != Who::Other {
                assert_ne!(reply.body, "[]", "{named:?} {who:?}");
            }
        }
    }
}

#[test]
fn no_row_is_for_a_route_that_is_gone() {
    for (method, path) in NOT_COVERED {
        assert!(ROUTES.iter().any(|r| (r.method, r.path) == (*method, *path)), "{method} {path}");
    }
    let mut seen = std::collections::HashSet::new();
    for route in ROUTES {
        assert!(seen.insert((route.method, route.path)), "{} {} twice", route.method, route.path);
        let is_file = route.path.ends_with(".js") || route.path.starts_with("/assets/");
        let proves_itself = route.path == "/v1/answers";
        let names_nobody = route.sort == Sort::Probe || is_file || proves_itself;
        assert!(names_nobody || route.access != Access::Anybody, "{}", route.path);
    }
}

#[test]
fn what_is_there_and_what_is_not_looks_the_same_to_nobody() {
    let world = World::open();
    let plain = Call::new("GET", "/v1/holds").send(&world.url).unwrap();
    for (method, target) in [
        ("GET", "/v1/nothing"),
        ("PUT", "/v1/holds"),
        ("PATCH", "/v1/freezes/frz_1"),
        ("OPTIONS", "/v1/holds"),
        ("TRACE", "/v1/holds"),
        ("GET", "/v1/holds/"),
        ("GET", "//v1/holds"),
        ("GET", "/v1/%68olds"),
        ("GET", "/V1/holds"),
        ("GET", "/v1/freezes/../holds"),
        ("HEAD", "/v1/holds"),
    ] {
        let reply = Call::new(method, target).send(&world.url);
        // An answer to HEAD has no body, so the client that reads by hand sees no whole answer.
        let Ok(reply) = reply else { continue };
        assert_eq!((reply.status, &reply.body), (401, &plain.body), "{method} {target}: {reply:?}");
    }
    let known = world.ask(Who::Viewer, Call::new("PUT", "/v1/holds"));
    assert_eq!(known.status, 405, "{known:?}");
    assert_eq!(world.ask(Who::Viewer, Call::new("GET", "/v1/nothing")).status, 404);
}

#[test]
fn who_is_turned_away_is_on_record() {
    let world = World::open();
    let id = world.held("A-1");
    let target = format!("/v1/holds/{id}/deny");
    let deny = || Call::new("POST", &target).json(&json!({ "reason": "no" }));
    // Each by their own name, however close together.
    for who in [Who::Viewer, Who::Bot, Who::Viewer] {
        assert_eq!(world.ask(who, deny()).status, 403);
    }
    for n in 0..40 {
        let mut token = format!("{n:02}-guess");
        token.extend(std::iter::repeat_n('x', 40));
        let reply = Call::new("GET", "/v1/holds").bearer(&token).send(&world.url).unwrap();
        assert!([401, 429].contains(&reply.status), "{reply:?}");
        assert_eq!(reply.status == 429, reply.header("retry-after").is_some());
        if n > 20 {
            assert_eq!(reply.status, 429, "{n}");
        }
    }
    // A token that nobody can guess is never kept out by who guesses beside it.
    assert_eq!(world.ask(Who::Ops, Call::new("GET", "/v1/holds")).status, 200);
    let short = Call::new("GET", "/v1/holds").bearer("sixteen-letters!").send(&world.url).unwrap();
    assert_eq!(short.status, 429);

    let forbidden = world.records("forbidden");
    let [one, other] = forbidden.as_slice() else { panic!("{forbidden:?}") };
    assert_eq!((&one["by"], &other["by"]), (&"viewer".into(), &"bot".into()), "{forbidden:?}");
    assert_eq!(one["note"], "route: POST /v1/holds/{op}/deny");
    let failed = world.records("sign_in_failed");
    assert!((1..=8).contains(&failed.len()), "bounded: {failed:?}");
    assert!(!format!("{failed:?}").contains("guess"), "{failed:?}");
    let metrics = Call::new("GET", "/metrics").send(&world.url).unwrap().body;
    let count = "tollhouse_console_sign_ins_total{event=\"sign_in_failed\",how=\"token\"} 40";
    assert!(metrics.lines().any(|line| line == count), "{metrics}");
}

#[test]
fn who_looked_at_a_hold_is_on_record() {
    let world = World::open();
    let op = world.held("A-1");
    for target in
        [format!("/v1/holds/{op}"), format!("/v1/operations/{op}"), format!("/holds/{op}")]
    {
        for who in [Who::Viewer, Who::Acme, Who::Viewer] {
            assert_eq!(world.ask(who, Call::new("GET", &target)).status, 200, "{target}");
        }
        assert_eq!(world.ask(Who::Other, Call::new("GET", &target)).status, 404, "{target}");
    }
    let viewed = world.records("viewed");
    let by: Vec<_> =
        viewed.iter().map(|line| (line["by"].as_str(), line["operation"].as_str())).collect();
    let looked = |who: Who| (Some(who.name()), Some(&*op));
    assert_eq!(by, [looked(Who::Viewer), looked(Who::Acme)], "each once a minute: {viewed:?}");
    assert_eq!(viewed[0]["tenant"], "acme", "{viewed:?}");
}

#[test]
fn a_report_counts_nothing_of_another_tenant() {
    let world = World::open();
    let held = world.held("A-reported");
    let report = |who: Who| {
        let reply = world.ask(who, Call::new("GET", "/v1/report?by=tenant&list=50"));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply
    };
    // What was only held is in the file a moment later.
    let start = std::time::Instant::now();
    let own = loop {
        let own = report(Who::Acme);
        if own.body.contains(&held) || start.elapsed() > std::time::Duration::from_secs(5) {
            break own;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert!(own.body.contains(&held) && own.body.contains("\"acme\""), "{own:?}");
    let other = report(Who::Other);
    assert!(!other.body.contains(&held) && !other.body.contains("acme"), "{other:?}");
    assert_eq!(other.json()["groups"].as_array().map(Vec::len), Some(0), "{other:?}");
}

//! How is the API described? OpenAPI 3.1, made of the table of routes and of a sentence for each.
//!
//! Never describes a route that is not there; the test of this file holds that each one is described.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::routes::{Access, ROUTES, Route};

/// What a route takes and gives; the names are those of `openapi/schemas.json`.
struct Said {
    route: (&'static str, &'static str),
    summary: &'static str,
    query: &'static [&'static str],
    body: Option<&'static str>,
    gives: Gives,
}

enum Gives {
    Events,
    One(&'static str),
    Many(&'static str),
    Made(&'static str),
}

const fn said(
    route: (&'static str, &'static str),
    summary: &'static str,
    query: &'static [&'static str],
    body: Option<&'static str>,
    gives: Gives,
) -> Said {
    Said { route, summary, query, body, gives }
}

use Gives::{Events, Made, Many, One};

const SAID: &[Said] = &[
    said(("GET", "/v1/session"), "Who you are here", &[], None, One("Session")),
    said(
        ("POST", "/v1/sign-in-codes"),
        "A code that signs a browser in, once; asked for with a token",
        &[],
        None,
        Made("Code"),
    ),
    said(
        ("GET", "/v1/holds"),
        "Calls that wait for a person",
        &["state", "queue", "after", "limit"],
        None,
        Many("Hold"),
    ),
    said(("GET", "/v1/queues"), "How many wait where", &[], None, Many("Line")),
    said(
        ("POST", "/v1/holds/deny"),
        "A no to many; each is answered for itself",
        &[],
        Some("Batch"),
        Many("Denied"),
    ),
    said(("GET", "/v1/holds/{op}"), "One hold, with what it would send", &[], None, One("Hold")),
    said(
        ("POST", "/v1/holds/{op}/approve"),
        "A yes to exactly what was looked at",
        &[],
        Some("Yes"),
        One("Hold"),
    ),
    said(
        ("POST", "/v1/holds/{op}/deny"),
        "A no, and why; nothing is sent",
        &[],
        Some("No"),
        One("Hold"),
    ),
    said(
        ("POST", "/v1/answers"),
        "An answer from a chat, signed as Standard Webhooks with the destination's key",
        &[],
        Some("SignedAnswer"),
        One("AnswerTaken"),
    ),
    said(("GET", "/v1/freezes"), "Stops in force", &[], None, Many("Freeze")),
    said(("POST", "/v1/freezes"), "Stop a scope at once", &[], Some("NewFreeze"), Made("Frozen")),
    said(("DELETE", "/v1/freezes/{id}"), "Let a scope run again", &[], None, One("Lifted")),
    said(("GET", "/v1/revocations"), "Tokens that count no more", &[], None, Many("Revocation")),
    said(
        ("POST", "/v1/revocations"),
        "Let tokens count no more, at once",
        &[],
        Some("NewRevocation"),
        Made("Revocation"),
    ),
    said(
        ("DELETE", "/v1/revocations/{id}"),
        "Let such tokens count again",
        &[],
        None,
        One("Lifted"),
    ),
    said(
        ("GET", "/v1/operations"),
        "What became of each effect, the latest first",
        &["state"],
        None,
        Many("Operation"),
    ),
    said(
        ("GET", "/v1/operations/{op}"),
        "One operation, with its timeline",
        &[],
        None,
        One("OperationWhole"),
    ),
    said(
        ("POST", "/v1/operations/{op}/resolve"),
        "Say what became of an outcome that is not known",
        &[],
        Some("Resolve"),
        One("OperationWhole"),
    ),
    said(
        ("POST", "/v1/operations/{op}/mark"),
        "Say whether a rule was right to speak against it; of several words the last counts",
        &[],
        Some("Mark"),
        One("OperationWhole"),
    ),
    said(
        ("GET", "/v1/report"),
        "What was held and refused, and in shadow would have been, by this replica's log",
        &["since", "until", "by", "list"],
        None,
        One("Report"),
    ),
    said(
        ("GET", "/v1/budgets"),
        "Budgets that are near, as far as the latest operations tell",
        &[],
        None,
        Many("Budget"),
    ),
    said(
        ("GET", "/v1/store"),
        "Whether the store still knows what it knew",
        &[],
        None,
        One("Loss"),
    ),
    said(
        ("POST", "/v1/reload"),
        "Read the configuration again and use it, whole or not at all (422 says why not)",
        &[],
        None,
        One("Reloaded"),
    ),
    said(
        ("POST", "/v1/store/clear"),
        "Say that a lost store was seen to",
        &[],
        Some("Clear"),
        One("Loss"),
    ),
    said(
        ("GET", "/v1/events"),
        "What changes, as server-sent events, until your session or ten minutes are over",
        &[],
        None,
        Events,
    ),
    said(
        ("GET", "/v1/records"),
        "The latest lines of the log, oldest first",
        &["last"],
        None,
        Many("Record"),
    ),
    said(("GET", "/v1/config"), "What runs, without a secret", &[], None, One("Config")),
];

/// The document, as it is served.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
});

/// The document.
pub fn text() -> &'static str {
    &DOCUMENT
}

/// Serves it.
pub async fn serve() -> impl IntoResponse {
    let sort = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, sort)], text())
}

fn document() -> Value {
    let mut paths = Map::new();
    for one in SAID {
        let route = ROUTES.iter().find(|route| (route.method, route.path) == one.route);
        let Some(route) = route else { continue };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(route.method.to_ascii_lowercase(), operation(one, route));
        }
    }
    let schemas: Value =
        serde_json::from_str(include_str!("openapi/schemas.json")).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollhouse console",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What operators see and do. What is of a tenant that you are not bound to does not exist for you.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A configured token, or a JWT of an operator issuer.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-tollhouse",
                    "description": "A browser's session; a change needs `X-CSRF-Token` besides. Without TLS the name is `tollhouse` and the port.",
                },
            },
        },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn operation(said: &Said, route: &Route) -> Value {
    const JSON: &str = "application/json";
    let (status, sort, schema) = match said.gives {
        One(name) => ("200", JSON, reference(name)),
        Made(name) => ("201", JSON, reference(name)),
        Many(name) => ("200", JSON, json!({ "type": "array", "items": reference(name) })),
        Events => ("200", "text/event-stream", json!({ "type": "string" })),
    };
    let mut responses = Map::new();
    responses.insert(
        status.to_owned(),
        json!({ "description": said.summary, "content": { sort: { "schema": schema } } }),
    );
    for (status, why) in refusals(said, route) {
        let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
        responses.insert(status.to_owned(), json!({ "description": why, "content": content }));
    }
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = in_path.map(|name| {
        let schema = match name {
            "op" => reference("OperationId"),
            _ => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let of_query = said.query.iter().map(
        |name| json!({ "name": name, "in": "query", "required": false, "schema": query(name) }),
    );
    // Standard Webhooks: nobody signs in where the message proves itself.
    let proves_itself = route.access == Access::Anybody && said.body.is_some();
    let signed = [crate::notify::ID, crate::notify::TIMESTAMP, crate::notify::SIGNATURE];
    let of_head = signed.into_iter().filter(|_| proves_itself).map(|name| {
        json!({ "name": name, "in": "header", "required": true, "schema": { "type": "string" } })
    });
    let mut all = json!({
        "summary": said.summary,
        "operationId": name_of(route),
        "x-access": access(route.access),
        "parameters": of_path.chain(of_query).chain(of_head).collect::<Vec<_>>(),
        "responses": responses,
    });
    if let (Some(body), Value::Object(members)) = (said.body, &mut all) {
        let content = json!({ "application/json": { "schema": reference(body) } });
        members.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    if let (true, Value::Object(members)) = (proves_itself, &mut all) {
        members.insert("security".to_owned(), json!([]));
    }
    all
}

/// `POST /v1/holds/{op}/approve` is `post_holds_op_approve`.
fn name_of(route: &Route) -> String {
    let path = route.path.trim_start_matches("/v1/").replace(['{', '}'], "");
    format!("{}_{}", route.method.to_ascii_lowercase(), path.replace(['/', '-'], "_"))
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Anybody => "anybody",
        Access::Visitor => "whoever signs in",
        Access::SignedIn => "signed in",
        Access::Answers => "answers holds, with a role of the hold's queue",
        Access::Operates => "a role of `operator.operators`",
        Access::OperatesFleet => "a role of `operator.operators`, bound to no tenant",
    }
}

fn query(name: &str) -> Value {
    match name {
        "state" => json!({ "enum": [
            "held", "approved", "submitted", "unknown", "done", "not_sent", "refused", "all"
        ] }),
        "last" => json!({ "type": "integer", "minimum": 0, "maximum": 1000, "default": 20 }),
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 100 }),
        "since" | "until" => json!({
            "type": "string",
            "pattern": "^([0-9]{1,5}[smhd]|@[0-9]{1,13})$",
            "description": "A span ago, as `14d`; or `@` and milliseconds since 1970.",
        }),
        "by" => json!({ "enum": crate::audit::By::ALL.map(|(name, _)| name), "default": "policy" }),
        "list" => json!({ "type": "integer", "minimum": 0, "maximum": 1000, "default": 0 }),
        "after" => json!({
            "type": "string",
            "pattern": "^(high|medium|low)\\.[0-9]{1,15}\\.op_[a-z2-7]{51}[aq]$",
            "description": "As the `Link` of the page before has it.",
        }),
        _ => json!({ "type": "string" }),
    }
}

/// How it may be refused.
fn refusals(said: &Said, route: &Route) -> Vec<(&'static str, &'static str)> {
    let has_id = route.path.contains('{') || route.path == "/v1/answers";
    let mut all = Vec::new();
    if has_id || said.body.is_some() || !said.query.is_empty() {
        all.push(("400", "It does not read; the detail says what was expected"));
    }
    all.push(("401", "Nobody known asks"));
    if route.access != Access::SignedIn || route.method != "GET" {
        all.push(("403", "It is not yours to do; on record"));
    }
    if has_id {
        all.push(("404", "No such thing, or another tenant's"));
    }
    if has_id && said.body.is_some() {
        all.push(("409", "It changed meanwhile, or was answered"));
    }
    if said.body.is_some() {
        all.push(("413", "The body is too large"));
        all.push(("415", "The body is not JSON"));
    }
    all.push(("421", "The host that was named is not served here"));
    all.push(("429", "Too many sign-ins failed"));
    all.push(("503", "The store, the log or an issuer does not answer"));
    all
}

#[cfg(test)]
mod tests {
    use super::super::routes::Sort;
    use super::*;

    /// Routes of the API that nobody described.
    fn not_described() -> Vec<(&'static str, &'static str)> {
        let described =
            |route: &&Route| SAID.iter().any(|one| one.route == (route.method, route.path));
        let api =
            ROUTES.iter().filter(|route| route.sort == Sort::Api && route.path.starts_with("/v1/"));
        api.filter(|route| !described(route)).map(|route| (route.method, route.path)).collect()
    }

    #[test]
    fn every_route_of_the_api_is_described_and_no_other() {
        assert_eq!(not_described(), []);
        for one in SAID {
            let (method, path) = one.route;
            assert!(ROUTES.iter().any(|r| (r.method, r.path) == one.route), "{method} {path}");
        }
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        let text = text();
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        let mut count = 0_usize;
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            let at = format!("/components/schemas/{name}");
            assert!(document.pointer(&at).is_some(), "{name}");
            count = count.saturating_add(1);
        }
        assert!(count > 50, "{count}");
    }
}

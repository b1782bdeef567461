//! What does a vendor's file say? A pack: its actions, its facts, its habits, compiled.
//!
//! Strict: an unknown key, an unknown word, a source of something undeclared are faults, all told at
//! once. It never guesses.

mod action;
mod fact;
mod outcome;
mod words;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::action::{
    Action, AuthPlace, ErrorShape, Idempotency, KeyPlace, Owner, PackTraits, Piece, Source,
    Template,
};
use crate::value::Syntax;
use crate::yaml::{self, ConfigErrors, Faults, Node, Section, Shape};

use super::route::Routes;

/// The packs that come with the binary, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("orders", include_str!("../../config/packs/orders.yaml")),
    ("stripe", include_str!("../../config/packs/stripe.yaml")),
];

/// The text of the pack that comes with the binary under this name.
pub fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
}

/// One vendor's file, compiled.
#[derive(Debug)]
pub struct Pack {
    traits: Arc<PackTraits>,
    actions: Vec<Arc<Action>>,
    routes: Routes,
    idle: Vec<String>,
}

impl Pack {
    /// What holds for all of its actions.
    pub fn traits(&self) -> &Arc<PackTraits> {
        &self.traits
    }

    /// Its actions, in the order of the file.
    pub fn actions(&self) -> &[Arc<Action>] {
        &self.actions
    }

    /// Where they are found.
    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What is allowed but probably not meant: facts that nobody uses, actions that share paths,
    /// messages to nobody.
    pub fn lint(&self) -> Vec<String> {
        let mut found = self.idle.clone();
        found.extend(super::route::overlaps(&self.actions));
        for action in &self.actions {
            let message = action.class == crate::call::Class::Communication;
            if message && action.recipients.is_empty() {
                found
                    .push(format!("{}: a message to nobody: `recipients` is missing", action.name));
            }
        }
        found
    }
}

/// Reads the pack in `text`; `file` is named in faults.
///
/// # Errors
///
/// Every fault of the file, with its line and column and what was expected.
pub fn read(file: &str, text: &str) -> Result<Pack, ConfigErrors> {
    let root = yaml::read(file, text)?;
    let faults = Faults::of(file);
    let pack = compile(file, faults.section(&root, ""));
    faults.finish(pack)
}

/// A look-up whose places are the caller's alone: `{caller.customer}`, `{caller.account}`.
///
/// # Errors
///
/// What was expected.
pub fn caller_template(text: &str) -> Result<Template, String> {
    words::target(text, |name| match name {
        "caller" | "caller.account" => Ok(Piece::Source(Source::CallerAccount)),
        "caller.customer" => Ok(Piece::Source(Source::CallerCustomer)),
        other => Err(format!("expected `caller.customer` or `caller.account`, got `{other}`")),
    })
}

fn compile(file: &str, top: Section<'_>) -> Option<Pack> {
    let traits = Arc::new(traits(file, &top)?);
    let rules = top.section("facts").map(|section| fact::rules(&section)).unwrap_or_default();
    let default = top.section("outcome").map(outcome::of_pack).unwrap_or_default();
    let owner = top.section("defaults").and_then(|section| {
        let owner = section.optional("owner", |node| match node.text()? {
            "internal" => Ok(Owner::Internal),
            other => Err(format!("expected `internal`, got `{other}`: say others at each action")),
        });
        section.finish();
        owner
    });
    let names = words::Names::default();
    let shared = action::Shared {
        traits: Arc::clone(&traits),
        rules: &rules,
        outcome: &default,
        owner: &owner.unwrap_or(Owner::Internal),
        names: &names,
    };
    let actions = actions(&top, &shared);
    let routes = Routes::new(&actions, |action, message| {
        if let Some(section) = top.section("actions") {
            section.fault(action, message);
        }
    });
    top.finish();
    let used = |name: &str| {
        actions.iter().any(|action| action.facts.iter().any(|wanted| *wanted.rule.name == *name))
    };
    let idle = rules.iter().filter(|rule| !used(&rule.name));
    let idle = idle.map(|rule| format!("facts.{}: no action uses it", rule.name)).collect();
    Some(Pack { traits, actions, routes, idle })
}

fn actions(top: &Section<'_>, shared: &action::Shared<'_>) -> Vec<Arc<Action>> {
    let Some(section) = top.section("actions") else {
        top.fault("actions", "is required and missing");
        return Vec::new();
    };
    let faults = section.faults();
    let read = |(name, node): (&str, &Node)| {
        let entry = faults.section(node, &section.path(name));
        action::read(name, entry, shared).map(Arc::new)
    };
    let actions: Vec<_> = section.entries().filter_map(read).collect();
    for action in &actions {
        let undo = action.undo.as_deref();
        if let Some(undo) = undo.filter(|undo| !actions.iter().any(|other| *other.name == **undo)) {
            section.fault(&action.name, format!("`undo` names `{undo}`, which is no action here"));
        }
    }
    actions
}

fn traits(file: &str, top: &Section<'_>) -> Option<PackTraits> {
    let name = top.required("pack", |node| name_of(file, node));
    top.required("version", |node| match node.text()? {
        "1" => Ok(()),
        other => Err(format!("expected 1, the one format there is, got `{other}`")),
    });
    let auth = top.required("auth", |node| Ok(node.place));
    let auth = auth.and_then(|_| auth_place(top));
    let errors = top.node("errors").map(|_| error_shape(top));
    let body = top.required("body", action::syntax);
    let idempotency = top.section("idempotency").map(idempotency);
    Some(PackTraits {
        name: name?,
        hosts: top.optional("hosts", action::texts).unwrap_or_default(),
        auth: auth?,
        errors: errors.unwrap_or(Some(ErrorShape::Plain))?,
        body: body.unwrap_or(Syntax::Json),
        expand: top.optional("expand", action::texts).unwrap_or_default(),
        headers: top.optional("headers", headers).unwrap_or_default(),
        selectors: top.optional("selectors", headers).unwrap_or_default(),
        idempotency: idempotency.unwrap_or(Some(NO_KEYS))?,
        ill: top.section("ill").and_then(outcome::ill),
    })
}

const NO_KEYS: Idempotency = Idempotency {
    place: KeyPlace::None,
    methods: None,
    max_len: 0,
    retention: Duration::ZERO,
    replays_errors: false,
};

fn name_of(file: &str, node: &Node) -> Result<Arc<str>, String> {
    let name = node.name()?;
    let path = Path::new(file);
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let is_file = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    match stem.filter(|stem| is_file && *stem != name) {
        Some(stem) => Err(format!("expected `{stem}`, as the file is named, got `{name}`")),
        None => Ok(name.into()),
    }
}

fn auth_place(top: &Section<'_>) -> Option<AuthPlace> {
    if let Some(Shape::Scalar { .. }) = top.node("auth").map(|node| &node.shape) {
        return top.optional("auth", |node| match node.text()? {
            "bearer" => Ok(AuthPlace::Bearer),
            "basic" => Ok(AuthPlace::Basic),
            other => Err(format!(
                "expected bearer, basic, {{ header: NAME }} or {{ query: NAME }}, got `{other}`"
            )),
        });
    }
    let section = top.section("auth")?;
    let header = section.optional("header", |node| header(node.text()?));
    let query = section.optional("query", Node::name);
    let place = match (header, query) {
        (Some(header), None) => Some(AuthPlace::Header(header)),
        (None, Some(query)) => Some(AuthPlace::Query(query.into())),
        (Some(_), Some(_)) | (None, None) => {
            section.fault("header", "expected either `header` or `query`");
            None
        }
    };
    section.finish();
    place
}

fn error_shape(top: &Section<'_>) -> Option<ErrorShape> {
    if let Some(Shape::Scalar { .. }) = top.node("errors").map(|node| &node.shape) {
        return top.optional("errors", |node| match node.text()? {
            "stripe" => Ok(ErrorShape::Stripe),
            "plain" => Ok(ErrorShape::Plain),
            other => Err(format!("expected stripe, plain or {{ body: .. }}, got `{other}`")),
        });
    }
    let section = top.section("errors")?;
    let body = section.required("body", |node| Ok(json(node)));
    section.finish();
    body.map(ErrorShape::Body)
}

/// A piece of YAML as the JSON it stands for.
fn json(node: &Node) -> serde_json::Value {
    match &node.shape {
        Shape::Scalar { text, quoted: true } => text.as_str().into(),
        Shape::Scalar { text, quoted: false } => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            "null" | "~" | "" => serde_json::Value::Null,
            text => text.parse::<i64>().map_or_else(|_| text.into(), Into::into),
        },
        Shape::List(items) => items.iter().map(json).collect(),
        Shape::Map(members) => {
            members.iter().map(|(name, _, node)| (name.clone(), json(node))).collect()
        }
    }
}

fn idempotency(section: Section<'_>) -> Option<Idempotency> {
    let kind = section.required("kind", |node| match node.text()? {
        known @ ("header" | "json_field" | "form_field" | "none") => Ok(known),
        other => Err(format!("expected header, json_field, form_field or none, got `{other}`")),
    })?;
    if kind == "none" {
        let mark = section.section("mark").map(|mark| {
            let at = mark.required("at", |node| words::pointer(node.text()?));
            mark.finish();
            at
        });
        section.finish();
        return match mark {
            None => Some(NO_KEYS),
            Some(at) => Some(Idempotency { place: KeyPlace::Mark(at?), max_len: 43, ..NO_KEYS }),
        };
    }
    let place = section.required("name", |node| match kind {
        "header" => header(node.text()?).map(KeyPlace::Header),
        "json_field" => {
            let name = node.name()?;
            let text = if name.starts_with('/') { name } else { format!("/{name}") };
            words::pointer(&text).map(KeyPlace::JsonField)
        }
        _ => Ok(KeyPlace::FormField(node.name()?.into())),
    });
    // BOUND: the key that goes upstream has 43 characters.
    let max_len = section.required("max_len", |node| match node.count()? {
        count @ 43..=4096 => usize::try_from(count).map_err(|e| e.to_string()),
        count => Err(format!("expected at least 43, the length of our keys, got {count}")),
    });
    let methods = section.optional("methods", |node| {
        let method = |text: &String| {
            let known = ["POST", "PUT", "PATCH", "DELETE"].contains(&text.as_str());
            let method = http::Method::from_bytes(text.as_bytes()).ok().filter(|_| known);
            method.ok_or_else(|| format!("expected POST, PUT, PATCH or DELETE, got `{text}`"))
        };
        node.texts()?.iter().map(method).collect()
    });
    let retention = section.required("retention", Node::duration);
    let replays_errors = section.required("replays_errors", Node::bool);
    section.finish();
    Some(Idempotency {
        place: place?,
        methods,
        max_len: max_len?,
        retention: retention?,
        replays_errors: replays_errors?,
    })
}

fn header(text: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(text).map_err(|_| format!("`{text}` is no header's name"))
}

/// SECURITY: what frames the message, proves who asks, or claims who somebody is never comes from
/// the agent, whatever a pack says (X-Forwarded-For, X-Original-URL and their like).
const OURS: [&str; 16] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OUR_PREFIXES: [&str; 5] =
    ["tollhouse-", "x-forwarded-", "x-original-", "x-rewrite-", "x-http-method"];

fn headers(node: &Node) -> Result<Vec<HeaderName>, String> {
    let read = |text: &String| {
        let name = header(text)?;
        let ours = OURS.contains(&name.as_str())
            || OUR_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
        if ours { Err(format!("`{text}` never comes from an agent")) } else { Ok(name) }
    };
    node.texts()?.iter().map(read).collect()
}

#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Find, Sign, Test};

    const GOOD: &str = r#"pack: shop
version: 1
auth: bearer
body: json
facts:
  order:
    get: /orders/{order}
    id: { order: "[A-Za-z0-9_-]{1,64}", at: /id }
    fields: { customer: /customer, currency: /currency, paid: { at: /paid, as: major } }
    derive: { twice: paid + paid }
actions:
  shop.refund.create:
    match: POST /orders/{id}/refunds
    class: financial
    kind: refund
    summary: "Refund {amount} of {id}, {note}"
    params: [amount, currency, note, lines]
    facts: [ { order: { order: path.id } } ]
    amount: { at: /amount, as: major, currency: [facts.order.currency, body./currency], absent: facts.order.paid }
    owner: facts.order.customer
    resource: { type: Order, id: facts.order.id }
    when: [ { at: /note, kind: message } ]
    outcome: { done: { at: /status, is: [ok] } }
    lookup: { get: "/refunds?order={path.id}", items: /data, match: { id: /id }, settle: 60s }
  shop.order.retrieve: { match: "GET /orders/{order}", class: read, owner: response./customer }
"#;

    fn faults(text: &str) -> Vec<String> {
        match read("shop", text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_pack_says_what_it_is_meant_to_say() {
        let pack = read("shop", GOOD).unwrap_or_else(|errors| panic!("{errors}"));
        let refund = &pack.actions()[0];
        let amount = refund.amount.as_ref().unwrap();
        assert_eq!((amount.at.len(), amount.currency.len(), amount.sign), (1, 2, Sign::Positive));
        assert_eq!(refund.outcome.done.as_ref().unwrap().test, Test::Is(vec!["ok".into()]));
        assert!(matches!(refund.lookup.as_ref().unwrap().find, Find::Made { .. }));
        assert_eq!(refund.summary.0.len(), 6);
        assert_eq!(
            pack.actions()[1].owner,
            Owner::Response(vec![crate::action::AnswerPlace::At(
                words::pointer("/customer").unwrap()
            )])
        );
        assert_eq!(pack.lint(), Vec::<String>::new());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table: one row a fault")]
    fn every_fault_is_told_with_its_place() {
        let mut wrong = Vec::new();
        for (from, to, expected) in [
            ("pack: shop", "pack: shop\nextra: 1", "shop:2:1: extra: is not a key here"),
            ("version: 1", "version: 2", "shop:2:10: version: expected 1"),
            ("auth: bearer", "auth: token", "shop:3:7: auth: expected bearer"),
            (
                "auth: bearer",
                "auth: { header: a, query: b }",
                "expected either `header` or `query`",
            ),
            ("body: json", "body: xml", "shop:4:7: body: expected json"),
            ("body: json", "body: json\nheaders: [Authorization]", "never comes from an agent"),
            ("body: json", "body: json\nheaders: [X-Forwarded-For]", "never comes from an agent"),
            ("body: json", "body: json\ndefaults: { owner: public }", "expected `internal`"),
            ("{1,64}", "*", "expected characters and a length"),
            ("A-Za-z0-9_-", "A-Za-z0-9/", "an id in a path may hold"),
            ("{1,64}", "{0,64}", "the length of an id is 1 to 255"),
            (", at: /id }", " }", "where the answer repeats the id"),
            ("{order}\n    id", "{other}\n    id", "`other` has no pattern under `id`"),
            ("paid + paid", "paid * paid", "expected `a - b` or `a + b`"),
            ("paid + paid", "paid + currency", "`currency` is no number among `fields`"),
            ("currency: /currency, paid", "paid", "takes its currency from the fact's field"),
            ("as: major } }", "as: cents } }", "expected minor, major"),
            ("POST /orders/{id}/refunds", "POST orders", "expected `METHOD /path/{param}`"),
            (
                "POST /orders/{id}/refunds",
                "FETCH /orders",
                "expected GET, POST, PUT, PATCH or DELETE",
            ),
            ("POST /orders/{id}/refunds", "POST /orders//{id}", "an empty segment"),
            ("POST /orders/{id}/refunds", "POST /o/{id}/{id}", "stands twice in the path"),
            (
                "class: financial",
                "class: money",
                "expected read, write, communication or financial",
            ),
            ("kind: refund", "kind: gift", "expected one of refund, credit"),
            (
                "kind: refund",
                "kind: refund\n    also: [ { class: read, when: { at: /note, is: [a], not: [b] } } ]",
                "exclude each other",
            ),
            (
                "params: [amount, currency, note, lines]",
                "refuse: [/x]",
                "`params` is missing: a financial action",
            ),
            ("params: [amount,", "params: [", "`amount` is not among the action's `params`"),
            (
                "{ order: path.id }",
                "{ order: path.nope }",
                "the path has no parameter `nope`; it is one of `id`",
            ),
            ("{ order: path.id }", "{ nope: path.id }", "has no parameter `nope`"),
            (
                "{ order: path.id }",
                "{ order: facts.order.id }",
                "no fact `order` is declared above",
            ),
            ("[ { order: {", "[ { nope: {", "no fact `nope` under the pack's `facts`"),
            ("absent: facts.order.paid", "absent: body./note", "only a fact"),
            (
                "owner: facts.order.customer",
                "owner: facts.order.nope",
                "has no field `nope`; it is one of",
            ),
            ("owner: facts.order.customer", "owner: response./x", "only the owner of a read"),
            ("owner: facts.order.customer", "owner: query.x", "`query.` is for GET"),
            (
                "owner: facts.order.customer",
                "owner: [public, path.id]",
                "`public` is an owner, and the only one",
            ),
            ("owner: facts.order.customer", "owner: [response./x, path.id]", "not from both"),
            ("owner: facts.order.customer", "owner: args./x", "belongs to tools and GraphQL"),
            ("owner: response./customer", "owner: body./x", "a GET has no body"),
            ("owner: response./customer", "owner: response.items./x", "needs `items`"),
            ("owner: response./customer", "stream: true", "only what is `owner: public`"),
            ("{ at: /amount, as: major", "{ at: /lines/*/x, as: major", "needs `sum: true`"),
            (
                "{ at: /amount, as: major",
                "{ at: /amount, sum: true, as: major",
                "adds up one pointer",
            ),
            (
                "{ at: /amount, as: major",
                "{ at: /amount, times: /lines/*/n, as: major",
                "into the array that `at` names",
            ),
            ("{note}", "{nope}", "`nope` is not among the action's `params`"),
            ("[ { at: /note, kind: message } ]", "[ { at: /note } ]", "raises nothing"),
            ("[ { at: /note, kind: message } ]", "{ at: /note }", "expected a list"),
            ("items: /data, match: { id: /id }, ", "", "needs `items` and `match`, or `done`"),
            ("{path.id}", "{path.no}", "the path has no parameter `no`"),
            ("\"/refunds?order", "\"//refunds?order", "expected a path and query"),
            ("kind: refund", "kind: refund\n    undo: shop.no.no", "which is no action here"),
            (
                "shop.order.retrieve: { match: \"GET /orders/{order}\"",
                "shop.order.again: { match: \"POST /orders/{x}/refunds\"",
                "can never be reached",
            ),
            ("shop.order.retrieve", "retrieve", "an action is named `vendor.noun.verb`"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let found = faults(&text);
            if text == GOOD || !found.iter().any(|fault| fault.contains(expected)) {
                wrong.push(format!("`{from}` -> `{to}`: `{expected}` not in {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn all_faults_come_at_once_and_the_file_gives_the_name() {
        let text = GOOD.replace("version: 1", "version: 9").replace("kind: refund", "kind: gift");
        let text = text.replace("type: Order", "sort: Order");
        assert_eq!(faults(&text).len(), 4, "{:#?}", faults(&text));
        let text =
            GOOD.replace("class: financial", "class: money").replace("kind: refund", "kind: gift");
        assert_eq!(faults(&text).len(), 2, "{:#?}", faults(&text));
        assert!(read("packs/other.yaml", GOOD).is_err());
        assert!(read("packs/shop.yaml", GOOD).is_ok());
    }

    #[test]
    fn what_is_probably_not_meant_is_found() {
        let unused = GOOD.replace("    facts: [ { order: { order: path.id } } ]\n", "");
        let unused =
            unused.replace("facts.order.customer", "path.id").replace("facts.order.id", "path.id");
        let unused = unused
            .replace(", absent: facts.order.paid", "")
            .replace("[facts.order.currency, body./currency]", "body./currency");
        assert_eq!(read("shop", &unused).unwrap().lint(), ["facts.order: no action uses it"]);
        let crossing = format!(
            "{GOOD}  shop.a.b: {{ match: \"GET /{{x}}/y\", class: read }}\n  shop.a.c: {{ match: \"GET /orders/{{y}}/z\", class: read }}\n  shop.a.d: {{ match: \"GET /{{x}}/y/z\", class: read }}\n"
        );
        assert_eq!(read("shop", &crossing).unwrap().lint().len(), 2);
    }
}

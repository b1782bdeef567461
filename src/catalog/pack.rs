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
        section.finish();
        return Some(NO_KEYS);
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

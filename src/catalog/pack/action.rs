//! What does a pack say of one action?

use std::sync::Arc;

use crate::action::{
    Action, Also, AmountRule, AnswerPlace, FactRule, Find, Items, Lookup, Made, Only, OutcomeRule,
    Owner, PackTraits, Piece, Raise, ResourceRule, Sign, Source, Sum, Template, Unit,
};
use crate::call::{Class, Kind};
use crate::value::{Pointer, Syntax};
use crate::yaml::{Node, Section, Shape};

use super::outcome;
use super::words::{Known, Names, Parameters, condition, list, pointer, pointers};

/// What every action of a pack is read with.
pub(super) struct Shared<'p> {
    pub traits: Arc<PackTraits>,
    pub rules: &'p [Arc<FactRule>],
    pub outcome: &'p OutcomeRule,
    pub owner: &'p Owner,
    pub names: &'p Names,
}

/// One action.
pub(super) fn read(name: &str, section: Section<'_>, shared: &Shared<'_>) -> Option<Action> {
    let is_named = is_name(name);
    if !is_named {
        section.fault("match", "an action is named `vendor.noun.verb`, in small letters");
    }
    let matched = section.required("match", |node| method_and_path(node.text()?));
    let said_class = section.required("class", class);
    let kind = section.optional("kind", kind);
    // Without its path nothing of the rest can be read; without its class all of it can.
    let (method, path_template, path) = matched?;
    let class = said_class.unwrap_or(Class::Financial);
    let place = match method {
        http::Method::GET => Parameters::Query,
        _ => Parameters::Tree,
    };
    let params = section.optional("params", |node| names(node, shared.names));
    let mut known = Known { path, params: params.clone(), place, facts: Vec::new() };
    let facts = section
        .node("facts")
        .map(|node| super::fact::uses(section.faults(), node, shared.rules, &mut known));
    let effects = Effects::read(&section, &known, (class, shared.names));
    let items = section.section("items").and_then(|section| items(&section, &known));
    let owner = section.optional("owner", |node| owner(node, &known));
    let body = section.optional("body", syntax).unwrap_or(shared.traits.body);
    let action = Action {
        name: name.into(),
        method,
        path_template,
        class,
        kind,
        summary: section
            .optional("summary", |node| known.summary(node))
            .unwrap_or_else(|| plain_summary(name)),
        params,
        refuse: section.optional("refuse", pointers).unwrap_or_default(),
        amount: section.node("amount").and_then(|node| amount(&section, node, &known)),
        owner: owner.unwrap_or_else(|| shared.owner.clone()),
        resource: section.section("resource").and_then(|section| resource(section, &known)),
        also: effects.also,
        raise: effects.raise,
        only: effects.only,
        recipients: sources(&section, "recipients", &known),
        template: section.optional("template", |node| known.source(node.text()?)),
        text: sources(&section, "text", &known),
        facts: facts.unwrap_or_default(),
        items,
        expand: section.optional("expand", texts).unwrap_or_default(),
        lookup: section.section("lookup").and_then(|section| lookup(section, &known)),
        outcome: section.node("outcome").map_or_else(
            || shared.outcome.clone(),
            |node| outcome::of_action(&section, node, shared.outcome),
        ),
        body,
        stream: section.optional("stream", Node::bool).unwrap_or(false),
        undo: section.optional("undo", Node::name).map(String::into_boxed_str),
        pack: Arc::clone(&shared.traits),
    };
    if said_class.is_some() {
        check(&action, &section);
    }
    section.finish();
    (is_named && said_class.is_some()).then_some(action)
}

/// What cannot be seen from one key alone.
fn check(action: &Action, section: &Section<'_>) {
    let raised = action.raise.iter().filter_map(|raise| raise.class);
    let also = action.also.iter().map(|also| also.class);
    let highest = raised.chain(also).fold(action.class, Class::max);
    let needs_params = matches!(highest, Class::Communication | Class::Financial);
    if needs_params && action.params.is_none() {
        let message =
            format!("`params` is missing: a {} action says what it knows", highest.name());
        section.fault("class", message);
    }
    if action.amount.is_some() && highest != Class::Financial {
        section.fault("amount", "counts only in a financial effect, which this never is");
    }
    if let Owner::Response(places) = &action.owner {
        if action.class != Class::Read || highest != Class::Read {
            section.fault("owner", "only the owner of a read is read from its answer");
        }
        let each = places.iter().any(|place| matches!(place, AnswerPlace::EachItem(_)));
        if each && action.items.is_none() {
            section.fault("owner", "`response.items.` needs `items`: the list they stand in");
        }
    }
    if action.items.is_some() && action.class != Class::Read {
        section.fault("items", "only the answer of a read is judged by its items");
    }
    if action.stream && action.owner != Owner::Public {
        section.fault("stream", "only what is `owner: public` may be passed on unjudged");
    }
    if action.only.as_ref().is_some_and(|only| only.class >= action.class) {
        section.fault("only", "its class is to be lower than the action's");
    }
}

/// What an action does besides its usual effect.
#[derive(Default)]
struct Effects {
    also: Vec<Also>,
    raise: Vec<Raise>,
    only: Option<Only>,
}

impl Effects {
    fn read(section: &Section<'_>, known: &Known, shared: (Class, &Names)) -> Self {
        let faults = section.faults();
        let each = |key: &str| -> Vec<Section<'_>> {
            let Some(node) = section.node(key) else { return Vec::new() };
            let key = section.path(key);
            list(faults, node, &key).iter().map(|item| faults.section(item, &key)).collect()
        };
        let raise = each("when").into_iter().filter_map(|entry| raise(entry, known)).collect();
        let also = each("also").into_iter().filter_map(|entry| also(entry, known)).collect();
        let only = section.section("only").and_then(|entry| only(entry, known, shared.1));
        Self { also, raise, only }
    }
}

fn raise(section: Section<'_>, known: &Known) -> Option<Raise> {
    let when = condition(&section, |text| known.pointer(text));
    let class = section.optional("class", class);
    let kind = section.optional("kind", kind);
    if class.is_none() && kind.is_none() {
        section.fault("at", "raises nothing: `class`, `kind` or both are missing");
    }
    section.finish();
    Some(Raise { when: when?, class, kind })
}

fn also(section: Section<'_>, known: &Known) -> Option<Also> {
    let when = section.section("when").and_then(|section| {
        let when = condition(&section, |text| known.pointer(text));
        section.finish();
        when
    });
    let also = Also {
        class: section.required("class", class)?,
        kind: section.optional("kind", kind),
        when,
        recipients: sources(&section, "recipients", known),
        amount: section.node("amount").and_then(|node| amount(&section, node, known)),
        template: section.optional("template", |node| known.source(node.text()?)),
        text: sources(&section, "text", known),
    };
    section.finish();
    Some(also)
}

fn only(section: Section<'_>, known: &Known, interned: &Names) -> Option<Only> {
    let fields = section.required("fields", |node| {
        for name in node.texts()? {
            known.pointer(&format!("/{name}"))?;
        }
        names(node, interned)
    });
    let class = section.required("class", class);
    let kind = section.optional("kind", kind);
    section.finish();
    Some(Only { fields: fields?, class: class?, kind })
}

fn owner(node: &Node, known: &Known) -> Result<Owner, String> {
    let texts = node.texts()?;
    match texts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["public"] => return Ok(Owner::Public),
        ["internal"] => return Ok(Owner::Internal),
        ["caller" | "caller.account"] => return Ok(Owner::Caller),
        _ => {}
    }
    let answered = texts.iter().filter(|text| text.starts_with("response.")).count();
    if answered == 0 {
        return Ok(Owner::Sources(known.sources(node)?));
    }
    if answered != texts.len() {
        return Err("an owner is known before the call or from its answer, not from both".into());
    }
    let places = texts.iter().filter_map(|text| text.strip_prefix("response."));
    let place = |text: &str| match text.strip_prefix("items.") {
        Some(inner) => pointer(inner).map(AnswerPlace::EachItem),
        None => pointer(text).map(AnswerPlace::At),
    };
    places.map(place).collect::<Result<_, _>>().map(Owner::Response)
}

fn items(section: &Section<'_>, known: &Known) -> Option<Items> {
    let at = section.required("at", |node| pointer(node.text()?));
    let owner = section.optional("owner", |node| pointer(node.text()?));
    let same = section.section("same").and_then(|same| {
        let at = same.required("at", |node| pointer(node.text()?));
        let source = same.required("as", |node| known.source(node.text()?));
        same.finish();
        at.zip(source)
    });
    if owner.is_none() && same.is_none() {
        section.fault("at", "`owner` or `same` is missing: what every item must be");
    }
    Some(Items { at: at?, owner, same })
}

fn resource(section: Section<'_>, known: &Known) -> Option<ResourceRule> {
    let kind = section.required("type", Node::name);
    let id = section.required("id", |node| known.sources(node));
    section.finish();
    Some(ResourceRule { kind: kind?.into(), id: id? })
}

fn amount(section: &Section<'_>, node: &Node, known: &Known) -> Option<AmountRule> {
    if matches!(node.shape, Shape::Scalar { .. }) {
        return section.optional("amount", |node| amount_of_fact(node.text()?, known));
    }
    let section = section.section("amount")?;
    let at: Option<Vec<Pointer>> = section
        .required("at", |node| node.texts()?.iter().map(|text| known.pointer(text)).collect());
    let unit = section.required("as", |node| match node.text()? {
        "minor" => Ok(Unit::Minor),
        "major" => Ok(Unit::Major),
        other => Err(format!("expected `minor` or `major`, got `{other}`")),
    });
    let times = section.optional("times", |node| {
        known.pointer(node.text()?).and_then(|times| same_array(times, &at))
    });
    let sum = section.optional("sum", Node::bool).unwrap_or(false).then_some(Sum { times });
    let signed = section.optional("signed", Node::bool).unwrap_or(false);
    let plural = |at: &Vec<Pointer>| at.iter().filter(|pointer| pointer.is_plural()).count();
    match (at.as_ref().map(plural), &sum) {
        (Some(1), Some(_)) if at.as_ref().is_some_and(|at| at.len() == 1) => {}
        (Some(_), Some(_)) => section.fault("at", "`sum` adds up one pointer with a `/*/`"),
        (Some(1..), None) => section.fault("at", "a pointer with a `/*/` needs `sum: true`"),
        (Some(0) | None, None) | (None, Some(_)) => {}
    }
    if section.node("times").is_some() && sum.is_none() {
        section.fault("times", "`times` needs `sum: true`");
    }
    let rule = AmountRule {
        at: at.unwrap_or_default(),
        unit: unit.unwrap_or(Unit::Minor),
        currency: sources(&section, "currency", known),
        absent: section.optional("absent", |node| {
            let source = known.source(node.text()?)?;
            let fact = matches!(source, Source::Fact { .. });
            fact.then_some(source)
                .ok_or_else(|| "only a fact can say what the call does not".into())
        }),
        sum,
        sign: if signed { Sign::Either } else { Sign::Positive },
        without: section.optional("without", pointers).unwrap_or_default(),
    };
    section.finish();
    Some(rule)
}

/// `times` multiplies an amount of the same item of the same array.
fn same_array(times: Pointer, at: &Option<Vec<Pointer>>) -> Result<Pointer, String> {
    let array = |pointer: &Pointer| -> Vec<Box<str>> {
        pointer.steps().iter().take_while(|step| &***step != "*").cloned().collect()
    };
    let first = at.as_ref().and_then(|at| at.first());
    let once =
        |pointer: &Pointer| pointer.steps().iter().filter(|step| &***step == "*").count() == 1;
    match first.is_some_and(|at| once(at) && once(&times) && array(at) == array(&times)) {
        true => Ok(times),
        false => Err("expected a pointer with one `/*/`, into the array that `at` names".into()),
    }
}

fn amount_of_fact(text: &str, known: &Known) -> Result<AmountRule, String> {
    let Source::Fact { fact, field } = known.source(text)? else {
        return Err("expected `facts.<name>.<field>`, or a mapping with `at` and `as`".into());
    };
    Ok(AmountRule {
        at: Vec::new(),
        unit: Unit::Minor,
        currency: vec![known.source(&format!("facts.{fact}.currency"))?],
        absent: Some(Source::Fact { fact, field }),
        sum: None,
        sign: Sign::Positive,
        without: Vec::new(),
    })
}

fn lookup(section: Section<'_>, known: &Known) -> Option<Lookup> {
    let get = section.required("get", |node| known.search(node));
    let settle = section.required("settle", Node::duration);
    let items = section.optional("items", |node| pointer(node.text()?));
    let made = section.section("match").map(|fit| made(fit, items.clone(), known));
    let done = section.section("done").and_then(|section| {
        let done = condition(&section, pointer);
        section.finish();
        done
    });
    let find = match (made, items, done) {
        (Some(made), Some(_), None) => made,
        (None, None, Some(done)) => Some(Find::Changed(done)),
        _ => {
            section.fault("get", "needs `items` and `match`, or `done`: what to look for");
            None
        }
    };
    section.finish();
    Some(Lookup { get: get?, find: find?, settle: settle? })
}

fn made(fit: Section<'_>, items: Option<Pointer>, known: &Known) -> Option<Find> {
    let place = |key| fit.optional(key, |node| pointer(node.text()?));
    let id = fit.required("id", |node| pointer(node.text()?));
    let (amount, currency, created) = (place("amount"), place("currency"), place("created"));
    let mark = place("mark");
    let same = same(&fit, known);
    fit.finish();
    let (items, id) = (items?, id?);
    Some(Find::Made(Box::new(Made { items, id, mark, amount, currency, created, same })))
}

fn same(fit: &Section<'_>, known: &Known) -> Vec<(Pointer, Source)> {
    let Some(node) = fit.node("where") else { return Vec::new() };
    let key = fit.path("where");
    let entries = list(fit.faults(), node, &key).iter();
    let read = |item: &Node| {
        let entry = fit.faults().section(item, &key);
        let at = entry.required("at", |node| pointer(node.text()?));
        let is = entry.required("is", |node| known.source(node.text()?));
        entry.finish();
        at.zip(is)
    };
    entries.filter_map(read).collect()
}

fn sources(section: &Section<'_>, key: &str, known: &Known) -> Vec<Source> {
    section.optional(key, |node| known.sources(node)).unwrap_or_default()
}

fn names(node: &Node, interned: &Names) -> Result<Vec<Arc<str>>, String> {
    match &node.shape {
        Shape::List(_) => Ok(node.texts()?.iter().map(|name| interned.one(name)).collect()),
        Shape::Scalar { .. } | Shape::Map(_) => Err("expected a list of names".into()),
    }
}

pub(super) fn texts(node: &Node) -> Result<Vec<Box<str>>, String> {
    Ok(node.texts()?.into_iter().map(String::into_boxed_str).collect())
}

fn class(node: &Node) -> Result<Class, String> {
    let text = node.text()?;
    Class::parse(text)
        .ok_or_else(|| format!("expected read, write, communication or financial, got `{text}`"))
}

fn kind(node: &Node) -> Result<Kind, String> {
    let text = node.text()?;
    let known = || Kind::ALL.map(Kind::name).join(", ");
    Kind::parse(text).ok_or_else(|| format!("expected one of {}, got `{text}`", known()))
}

/// The syntax of bodies.
pub(super) fn syntax(node: &Node) -> Result<Syntax, String> {
    match node.text()? {
        "json" => Ok(Syntax::Json),
        "form" => Ok(Syntax::Form),
        "multipart" => Ok(Syntax::Multipart),
        other => Err(format!("expected json, form or multipart, got `{other}`")),
    }
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let part = |part: &str| !part.is_empty() && part.bytes().all(plain);
    name.contains('.') && name.split('.').all(part)
}

fn plain_summary(name: &str) -> Template {
    Template(vec![Piece::Text(name.into())])
}

type Matched = (http::Method, Box<str>, Vec<Box<str>>);

/// `POST /v1/charges/{charge}/refund`, and the names in it.
fn method_and_path(text: &str) -> Result<Matched, String> {
    let expected = || format!("expected `METHOD /path/{{param}}`, got `{text}`");
    let (method, path) = text.split_once(' ').ok_or_else(expected)?;
    let method = match method {
        "GET" => http::Method::GET,
        "POST" => http::Method::POST,
        "PUT" => http::Method::PUT,
        "PATCH" => http::Method::PATCH,
        "DELETE" => http::Method::DELETE,
        _ => return Err(format!("expected GET, POST, PUT, PATCH or DELETE, got `{method}`")),
    };
    let mut names: Vec<Box<str>> = Vec::new();
    let rest = path.strip_prefix('/').ok_or_else(expected)?;
    let (segments, last) = rest.rsplit_once('/').map_or((None, rest), |(all, l)| (Some(all), l));
    if segments.into_iter().flat_map(|all| all.split('/')).any(str::is_empty) {
        return Err("an empty segment: `//` matches nothing".into());
    }
    for segment in segments.into_iter().flat_map(|all| all.split('/')).chain([last]) {
        if let Some(name) = segment_parameter(segment).map_err(|()| expected())? {
            if names.contains(&name) {
                return Err(format!("`{{{name}}}` stands twice in the path"));
            }
            names.push(name);
        }
    }
    Ok((method, path.into(), names))
}

/// The parameter of a segment such as `{sid}`, `{sid}.json` or `charges` (none).
fn segment_parameter(segment: &str) -> Result<Option<Box<str>>, ()> {
    // RFC 3986 s2.3 and what common APIs add; nothing that a decoder would change.
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:@!$&'()+,;=".contains(&b))
    };
    let Some((before, after)) = segment.split_once('{') else {
        return if plain(segment) { Ok(None) } else { Err(()) };
    };
    let (name, behind) = after.split_once('}').ok_or(())?;
    if !plain(before) || !plain(behind) {
        return Err(());
    }
    super::words::identifier(name).map(Some).map_err(|_| ())
}

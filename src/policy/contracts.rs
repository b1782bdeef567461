//! What did the operator write about each action? The `contracts:` mapping, with every fault's place.
//!
//! Never ignores a key: one that is not built yet is refused by name. Never knows a policy.

use std::sync::Arc;
use std::time::Duration;

use ring::digest;

use super::budgets;
use crate::bounds::HOLD_WAIT_MAX;
use crate::call::Class;
use crate::contract::{Assumed, Best, Budget, Contract, Over, Required, Tier, Window};
use crate::money::{MINOR_UNITS_MAX, Money, Price};
use crate::value::piece;
use crate::yaml::{self, ConfigErrors, Faults, Node, Place, Section, Shape};

/// A value and where it was written.
pub(super) type Said<T> = Option<(T, Place)>;

/// The contracts of one file, as written.
#[derive(Debug, Clone)]
pub struct Contracts {
    pub(super) file: Arc<str>,
    pub(super) written: Vec<Written>,
    /// The automatic cap of every financial action for which nobody wrote another.
    pub(super) cap: Vec<Money>,
    digest: Vec<u8>,
}

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub scope: Scope,
    pub place: Place,
    pub terms: Terms,
    /// What differs for an agent.
    pub agents: Vec<(Box<str>, Terms)>,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// `class/financial`.
    Class(Class),
    /// `stripe.refund.create`.
    Action(Box<str>),
}

/// The keys of one contract that were written; the others are as below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    pub key: String,
    pub team: Said<Arc<str>>,
    pub outcome: Said<Best>,
    pub cap_auto: Said<Vec<Money>>,
    pub cap_hard: Said<Vec<Money>>,
    pub budgets: Said<Vec<Budget>>,
    pub window: Said<Window>,
    pub require: Said<Vec<Required>>,
    pub queue: Said<Arc<str>>,
    pub wait: Said<Duration>,
    pub expires: Said<Duration>,
    pub tiers: Said<Vec<Tier>>,
    pub refuse_below: Said<u16>,
    pub auto_above: Said<u16>,
    pub alike: Said<Over>,
    pub within: Said<Duration>,
    pub near: Said<u16>,
    pub assume: Vec<(Box<str>, Assumed, Place)>,
    pub internal: Said<bool>,
    pub fresh_auth: Said<Duration>,
    pub roles: Said<Vec<Box<str>>>,
    pub templates: Said<Vec<Box<str>>>,
    pub undo: Said<Option<Box<str>>>,
    pub price: Said<Price>,
}

impl Contracts {
    /// No contracts: everything is at its safe default.
    pub fn none() -> Self {
        Self { file: Arc::from(""), written: Vec::new(), cap: Vec::new(), digest: Vec::new() }
    }

    /// Reads the node under `contracts:`.
    pub fn read(node: Option<&Node>, faults: &Faults) -> Self {
        let Some(node) = node else { return Self::none() };
        let section = faults.section(node, "contracts");
        let mut canonical = Vec::new();
        canonicalise(node, &mut canonical);
        let written = section.entries().filter_map(|(name, node)| entry(name, node, &section));
        Self {
            file: Arc::clone(faults.file()),
            written: written.collect(),
            cap: Vec::new(),
            digest: canonical,
        }
    }

    /// Reads a file of contracts, with or without the top key `contracts:`.
    ///
    /// # Errors
    ///
    /// Every fault of it.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigErrors> {
        let root = yaml::read(file, text)?;
        let faults = Faults::of(file);
        let inner = match &root.shape {
            Shape::Map(members) => match members.as_slice() {
                [(name, _, node)] if name == "contracts" => node,
                _ => &root,
            },
            Shape::Scalar { .. } | Shape::List(_) => &root,
        };
        let contracts = Self::read(Some(inner), &faults);
        faults.finish(Some(contracts))
    }

    /// Gives every financial action these automatic caps, beneath what is written.
    #[must_use]
    pub fn with_auto_cap(mut self, cap: Vec<Money>) -> Self {
        self.cap = cap;
        self
    }

    /// Every queue that is named, once.
    pub fn queues(&self) -> Vec<Arc<str>> {
        let terms = self.written.iter().flat_map(|entry| {
            std::iter::once(&entry.terms).chain(entry.agents.iter().map(|(_, terms)| terms))
        });
        let mut queues: Vec<_> = terms
            .filter_map(|terms| terms.queue.as_ref().map(|(queue, _)| queue.clone()))
            .collect();
        queues.sort();
        queues.dedup();
        queues
    }

    /// Every price that was written: under which key, where.
    pub fn prices(&self) -> impl Iterator<Item = (&str, Place, Price)> {
        let terms = self.written.iter().flat_map(|entry| {
            std::iter::once(&entry.terms).chain(entry.agents.iter().map(|(_, terms)| terms))
        });
        terms.filter_map(|terms| {
            terms.price.as_ref().map(|(price, place)| (&*terms.key, *place, *price))
        })
    }

    /// Equal bytes for contracts that say the same.
    pub(super) fn hash_into(&self, context: &mut digest::Context) {
        let mut bytes = Vec::new();
        piece(&mut bytes, b'c', &self.digest);
        for cap in &self.cap {
            piece(&mut bytes, b'a', cap.to_string().as_bytes());
        }
        context.update(&bytes);
    }
}

fn canonicalise(node: &Node, out: &mut Vec<u8>) {
    match &node.shape {
        Shape::Scalar { text, .. } => piece(out, b's', text.as_bytes()),
        Shape::List(items) => {
            piece(out, b'l', items.len().to_string().as_bytes());
            items.iter().for_each(|item| canonicalise(item, out));
        }
        Shape::Map(members) => {
            piece(out, b'm', members.len().to_string().as_bytes());
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, _, value) in sorted {
                piece(out, b'k', key.as_bytes());
                canonicalise(value, out);
            }
        }
    }
}

fn entry(name: &str, node: &Node, parent: &Section<'_>) -> Option<Written> {
    let scope = match name.strip_prefix("class/") {
        Some(class) => match Class::parse(class) {
            Some(class) => Scope::Class(class),
            None => {
                let known = Class::ALL.map(|class| format!("class/{}", class.name())).join(", ");
                parent.faults().note(
                    node.place,
                    &parent.path(name),
                    format!("`{class}` is no class; expected one of {known}"),
                );
                return None;
            }
        },
        None => Scope::Action(name.into()),
    };
    let section = parent.section(name)?;
    let terms = terms(&section);
    let mut overlays = Vec::new();
    if let Some(agents) = section.section("agents") {
        for (agent, _) in agents.entries() {
            if let Some(overlay) = agents.section(agent) {
                overlays.push((Box::from(agent), self::terms(&overlay)));
                overlay.finish();
            }
        }
    }
    section.finish();
    Some(Written { scope, place: node.place, terms, agents: overlays })
}

fn said<'a, T>(
    section: &Section<'a>,
    key: &str,
    read: impl FnOnce(&'a Node) -> Result<T, String>,
) -> Said<T> {
    section.optional(key, |node| read(node).map(|value| (value, node.place)))
}

fn terms(section: &Section<'_>) -> Terms {
    let mut terms = Terms {
        key: section.path("").trim_end_matches('.').to_owned(),
        team: said(section, "team", |n| n.name().map(Arc::from)),
        outcome: said(section, "outcome", best),
        budgets: said(section, "budget", |n| budgets::read(n, section)),
        require: said(section, "require", required),
        internal: said(section, "internal", internal),
        fresh_auth: said(section, "fresh_auth", Node::duration),
        roles: said(section, "roles", boxed),
        templates: said(section, "templates", boxed),
        undo: said(section, "undo", |n| n.name().map(|u| (u != "none").then(|| u.into()))),
        price: said(section, "price", |n| Price::parse(n.text()?).map_err(|e| e.to_string())),
        ..Terms::default()
    };
    if let Some(cap) = section.section("cap") {
        terms.cap_auto = said(&cap, "auto", caps);
        terms.cap_hard = said(&cap, "hard", caps);
        cap.finish();
    }
    if let Some(window) = section.section("window") {
        terms.window = read_window(&window).map(|read| (read, window.place()));
        window.finish();
    }
    if let Some(approval) = section.section("approval") {
        terms.queue = said(&approval, "queue", |n| n.name().map(Arc::from));
        terms.wait = said(&approval, "wait", wait);
        terms.expires = said(&approval, "expires", Node::duration);
        terms.tiers = tiers(&approval);
        approval.finish();
    }
    if let Some(confidence) = section.section("confidence") {
        terms.refuse_below = said(&confidence, "refuse_below", Node::per_mille);
        terms.auto_above = said(&confidence, "auto_above", Node::per_mille);
        confidence.finish();
    }
    if let Some(duplicates) = section.section("duplicates") {
        terms.alike = said(&duplicates, "alike", over);
        terms.within = said(&duplicates, "within", budgets::window);
        terms.near = said(&duplicates, "near", Node::per_mille);
        duplicates.finish();
    }
    if let Some(assume) = section.section("assume") {
        terms.assume = assume
            .entries()
            .filter_map(|(fact, node)| {
                assume.optional(fact, assumed).map(|value| (fact.into(), value, node.place))
            })
            .collect();
    }
    terms
}

/// `{ approvers, roles }` for every amount, and `tiers: [ { above, approvers, roles } ]` from one on.
fn tiers(approval: &Section<'_>) -> Said<Vec<Tier>> {
    let mut tiers = Vec::new();
    let is_said = ["approvers", "roles", "tiers"].iter().any(|key| approval.node(key).is_some());
    if ["approvers", "roles"].iter().any(|key| approval.node(key).is_some()) {
        tiers.extend(quorum(approval, None));
    }
    match approval.node("tiers").map(|node| &node.shape) {
        None => {}
        Some(Shape::List(items)) => {
            for item in items {
                let one = approval.faults().section(item, &approval.path("tiers"));
                for above in one.required("above", Node::amounts).unwrap_or_default() {
                    tiers.extend(quorum(&one, Some(above)));
                }
                one.finish();
            }
        }
        Some(_) => approval.fault("tiers", "expected a list of `{ above: MONEY, approvers: N }`"),
    }
    is_said.then(|| (tiers, approval.place()))
}

fn quorum(section: &Section<'_>, above: Option<Money>) -> Option<Tier> {
    let roles = section.optional("roles", boxed).unwrap_or_default();
    let approvers = section.optional("approvers", |n| {
        // BOUND: more than nine people is a committee, not an approval.
        u8::try_from(n.count()?)
            .ok()
            .filter(|n| (1..=9).contains(n))
            .ok_or_else(|| "expected 1 to 9 people".to_owned())
    });
    let own = u8::try_from(roles.len()).unwrap_or(u8::MAX).max(1);
    if roles.len() > 4 {
        section.fault("roles", "expected four roles at most, each of another person");
        return None;
    }
    let approvers = approvers.unwrap_or(own);
    if approvers < own {
        section.fault("approvers", format!("{} roles take as many people", roles.len()));
        return None;
    }
    Some(Tier { above, approvers, roles })
}

fn best(node: &Node) -> Result<Best, String> {
    match node.text()? {
        "auto" => Ok(Best::Auto),
        "hold" => Ok(Best::Hold),
        "refuse" => Ok(Best::Refuse),
        other => Err(format!("expected `auto`, `hold` or `refuse`, got `{other}`")),
    }
}

pub(super) fn over(node: &Node) -> Result<Over, String> {
    match node.text()? {
        "hold" => Ok(Over::Hold),
        "refuse" => Ok(Over::Refuse),
        "allow" => Ok(Over::Allow),
        other => Err(format!("expected `hold`, `refuse` or `allow`, got `{other}`")),
    }
}

fn internal(node: &Node) -> Result<bool, String> {
    match node.text()? {
        "allow" => Ok(true),
        "refuse" => Ok(false),
        other => Err(format!("expected `allow` or `refuse`, got `{other}`")),
    }
}

fn boxed(node: &Node) -> Result<Vec<Box<str>>, String> {
    Ok(node.texts()?.into_iter().map(Box::from).collect())
}

pub(super) fn caps(node: &Node) -> Result<Vec<Money>, String> {
    let amounts = node.amounts()?;
    match amounts.iter().find(|amount| !(0..=MINOR_UNITS_MAX).contains(&amount.minor)) {
        Some(odd) => Err(format!("`{odd}` is no cap; expected 0 up to 10^12 minor units")),
        None => Ok(amounts),
    }
}

fn wait(node: &Node) -> Result<Duration, String> {
    let wait = node.duration()?;
    if wait > HOLD_WAIT_MAX {
        return Err("expected 60s at most: SDKs give up soon after".into());
    }
    Ok(wait)
}

fn required(node: &Node) -> Result<Vec<Required>, String> {
    let word = |text: String| match text.as_str() {
        "case" => Ok(Required::Case),
        "reason" => Ok(Required::Reason),
        "confidence" => Ok(Required::Confidence),
        "model" => Ok(Required::Model),
        "key" => Ok(Required::Key),
        "trust" => Ok(Required::Trust),
        other => Err(format!(
            "expected `case`, `reason`, `confidence`, `model`, `key` or `trust`, got `{other}`"
        )),
    };
    node.texts()?.into_iter().map(word).collect()
}

fn assumed(node: &Node) -> Result<Assumed, String> {
    let text = node.text()?;
    let Shape::Scalar { quoted: false, .. } = node.shape else {
        return Ok(Assumed::Text(text.into()));
    };
    Ok(match (text, text.parse::<i64>()) {
        ("true", _) => Assumed::Bool(true),
        ("false", _) => Assumed::Bool(false),
        (_, Ok(number)) => Assumed::Long(number),
        (_, Err(_)) => Assumed::Text(text.into()),
    })
}

fn read_window(section: &Section<'_>) -> Option<Window> {
    let since = section.required("since", Node::name);
    let max = section.required("max", Node::duration);
    let after = section.optional("after", over).unwrap_or(Over::Hold);
    Some(Window { since: since?.into(), max: max?, after })
}

impl Terms {
    /// Writes what was said over `contract`.
    pub fn apply(&self, contract: &mut Contract) {
        fn set<T: Clone>(slot: &mut T, said: &Said<T>) {
            if let Some((value, _)) = said {
                slot.clone_from(value);
            }
        }
        fn set_some<T: Clone>(slot: &mut Option<T>, said: &Said<T>) {
            if let Some((value, _)) = said {
                *slot = Some(value.clone());
            }
        }
        set(&mut contract.team, &self.team);
        set(&mut contract.outcome, &self.outcome);
        set(&mut contract.cap_auto, &self.cap_auto);
        set(&mut contract.cap_hard, &self.cap_hard);
        set(&mut contract.budgets, &self.budgets);
        set_some(&mut contract.window, &self.window);
        set(&mut contract.require, &self.require);
        set(&mut contract.approval.queue, &self.queue);
        set(&mut contract.approval.wait, &self.wait);
        set(&mut contract.approval.expires, &self.expires);
        set(&mut contract.approval.tiers, &self.tiers);
        set_some(&mut contract.confidence.refuse_below, &self.refuse_below);
        set_some(&mut contract.confidence.auto_above, &self.auto_above);
        set(&mut contract.duplicates.alike, &self.alike);
        set(&mut contract.duplicates.within, &self.within);
        set(&mut contract.duplicates.near, &self.near);
        set(&mut contract.internal, &self.internal);
        set(&mut contract.fresh_auth, &self.fresh_auth);
        set_some(&mut contract.roles, &self.roles);
        set(&mut contract.templates, &self.templates);
        set(&mut contract.undo, &self.undo);
        set_some(&mut contract.price, &self.price);
        for (fact, value, _) in &self.assume {
            contract.assume.retain(|(known, _)| known != fact);
            contract.assume.push((fact.clone(), value.clone()));
        }
    }
}

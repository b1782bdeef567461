//! Are these policies fit to be law? Parsed once, each with its id, its reasons and what lifts it;
//! anything odd is refused with file, line and column before a call meets it.
//!
//! Never evaluates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Effect, Policy as CedarPolicy, PolicyId, PolicySet};
use miette::Diagnostic;
use serde_json::Value as Json;

use super::wants::Wants;
use crate::decision::Reason;
use crate::refusal::InShadow;
use crate::yaml::{ConfigError, ConfigErrors};

/// A file of policies.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub file: Arc<str>,
    pub text: Arc<str>,
}

/// One policy and what stands on it.
#[derive(Debug)]
pub(super) struct Rule {
    pub reason: Reason,
    pub effect: Effect,
    pub lift: Lift,
    pub answer: Answer,
    /// Whether it stands in shadow.
    pub in_shadow: InShadow,
    /// What the agent may do instead; empty for nothing.
    pub remedy: Box<str>,
    pub wants: Wants,
    /// The actions and groups that it names.
    pub names: BTreeSet<Box<str>>,
    pub policy: CedarPolicy,
    /// Its text as it stands in its file.
    pub written: Box<str>,
    pub source: Source,
}

/// What lifts a policy that forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lift {
    /// Nothing.
    Never,
    /// A person of the contract's queue.
    Contract,
    /// A person of this queue.
    Queue(Arc<str>),
    /// The customer, by signing in again.
    SignIn,
}

/// How a policy that nothing lifts is told, the first before the others: what is not theirs says
/// nothing else, and what is unclear is asked before what is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// `not_found`.
    NotFound,
    /// `forbidden`.
    Forbidden,
    /// `confidence_too_low`.
    Unclear,
    /// `over_limit`.
    TooMuch,
}

/// Every policy, by id.
pub(super) type Rules = BTreeMap<PolicyId, Arc<Rule>>;

const ANNOTATIONS: [&str; 8] =
    ["id", "reason", "tell", "hold", "step_up", "code", "remedy", "shadow"];

/// What the store and the gate themselves hold for: an approval of one of these must not lift a policy.
const RESERVED: [&str; 6] = ["budget.", "duplicates.", "approval.", "brake.", "rollout.", "store."];

/// Reads every file; collects every fault that does not hide another.
///
/// # Errors
///
/// All of them.
pub(super) fn read(sources: &[Source], queues: &[Arc<str>]) -> Result<Rules, ConfigErrors> {
    let mut reader = Reader { queues, rules: Rules::new(), errors: Vec::new() };
    for source in sources {
        match source.text.parse::<PolicySet>() {
            Err(error) => reader.errors.extend(diagnosed(source, &error)),
            Ok(set) => {
                if let Some(template) = set.templates().next() {
                    let message = "templates are not read here; write the policy out";
                    reader.note(source, &template.to_string(), message);
                }
                // In the order of the file: the ids that Cedar gives count up from 0.
                let mut policies: Vec<&CedarPolicy> = set.policies().collect();
                policies.sort_by_cached_key(|policy| place_of(source, &policy.to_string()));
                policies.into_iter().for_each(|policy| reader.policy(source, policy));
            }
        }
    }
    if reader.errors.is_empty() { Ok(reader.rules) } else { Err(ConfigErrors(reader.errors)) }
}

struct Reader<'r> {
    queues: &'r [Arc<str>],
    rules: Rules,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn note(&mut self, source: &Source, policy: &str, message: impl Into<String>) {
        let (line, column) = place_of(source, policy);
        self.errors.push(error(source, (line, column), message.into()));
    }

    fn policy(&mut self, source: &Source, policy: &CedarPolicy) {
        let written = policy.to_string();
        let said = |key: &str| policy.annotation(key).filter(|text| !text.is_empty());
        let Some(id) = said("id") else {
            self.note(source, &written, "a policy needs an @id(\"..\")");
            return;
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !id.chars().all(plain) || RESERVED.iter().any(|prefix| id.starts_with(prefix)) {
            let message = format!(
                "`{id}` is no @id: expected letters, digits, `.`, `-`, `_`, and not one that begins \
                 with {}",
                RESERVED.join(" or ")
            );
            self.note(source, &written, message);
            return;
        }
        let policy_id = PolicyId::new(id);
        if self.rules.contains_key(&policy_id) {
            self.note(source, &written, format!("there is another policy with the @id `{id}`"));
            return;
        }
        for (key, _) in policy.annotations().filter(|(key, _)| !ANNOTATIONS.contains(key)) {
            let known = ANNOTATIONS.map(|known| format!("@{known}")).join(", ");
            self.note(source, &written, format!("`@{key}` is not known; expected one of {known}"));
        }
        // BOUND: with the longest reason the sentence stays within 400 characters.
        if said("remedy").is_some_and(|remedy| remedy.chars().count() > 100) {
            self.note(source, &written, "@remedy is one sentence of 100 characters at most");
        }
        let forbids = policy.effect() == Effect::Forbid;
        if said("shadow").is_some_and(|word| word != "enforced") {
            self.note(source, &written, "expected @shadow(\"enforced\")");
        }
        if forbids && said("reason").is_none() {
            let message = format!("`{id}` forbids; it needs a @reason(\"..\") for operators");
            self.note(source, &written, message);
        }
        let lift = self.lift(source, policy, id);
        let answer = self.answer(source, policy);
        if !forbids && ["hold", "step_up", "code", "shadow"].iter().any(|key| said(key).is_some()) {
            let message =
                format!("`{id}` permits; @hold, @step_up, @code and @shadow are for `forbid`");
            self.note(source, &written, message);
        }
        let reason = Reason {
            policy: id.into(),
            why: said("reason").unwrap_or_default().into(),
            // An operator's words are not for the agent.
            tell: said("tell").unwrap_or("a policy of this service does not allow it").into(),
        };
        // SECURITY: what permits is a rule about whose it is; what is not theirs is not there; a sign-in is
        // authentication. None of these is a matter of how far a rollout is.
        let stands = !forbids
            || answer == Answer::NotFound
            || lift == Lift::SignIn
            || said("shadow").is_some();
        let rule = Rule {
            reason,
            effect: policy.effect(),
            lift,
            answer,
            in_shadow: if stands { InShadow::Stands } else { InShadow::Noted },
            remedy: said("remedy").unwrap_or_default().into(),
            wants: wants(policy),
            names: names(policy),
            policy: policy.new_id(policy_id.clone()),
            written: written.into(),
            source: source.clone(),
        };
        self.rules.insert(policy_id, Arc::new(rule));
    }

    /// What is answered where it forbids.
    fn answer(&mut self, source: &Source, policy: &CedarPolicy) -> Answer {
        match policy.annotation("code").filter(|text| !text.is_empty()) {
            None | Some("forbidden") => Answer::Forbidden,
            Some("not_found") => Answer::NotFound,
            Some("over_limit") => Answer::TooMuch,
            Some("confidence_too_low") => Answer::Unclear,
            Some(other) => {
                let message = format!(
                    "@code(\"{other}\") is not one of forbidden, not_found, over_limit, \
                     confidence_too_low"
                );
                self.note(source, &policy.to_string(), message);
                Answer::Forbidden
            }
        }
    }

    fn lift(&mut self, source: &Source, policy: &CedarPolicy, id: &str) -> Lift {
        let written = policy.to_string();
        match (policy.annotation("hold"), policy.annotation("step_up")) {
            (None, None) => Lift::Never,
            (Some(_), Some(_)) => {
                self.note(source, &written, "either @hold or @step_up, not both");
                Lift::Never
            }
            (None, Some("reauthenticate")) => Lift::SignIn,
            (None, Some(other)) => {
                let message = format!("expected @step_up(\"reauthenticate\"), got `{other}`");
                self.note(source, &written, message);
                Lift::Never
            }
            (Some(queue), None) => {
                if !written.contains(&format!("contains({id:?})")) {
                    let message = format!(
                        "`{id}` is held, but an approval would not lift it: expected \
                         context.approvals.contains({id:?}) in its `unless`"
                    );
                    self.note(source, &written, message);
                }
                if queue == "contract" {
                    return Lift::Contract;
                }
                if queue != "default" && !self.queues.iter().any(|known| **known == *queue) {
                    let message = format!("there is no queue `{queue}` for @hold of `{id}`");
                    self.note(source, &written, message);
                }
                Lift::Queue(queue.into())
            }
        }
    }
}

fn names(policy: &CedarPolicy) -> BTreeSet<Box<str>> {
    let actions = policy.entity_literals().into_iter();
    let actions = actions.filter(|uid| uid.type_name().to_string() == "Action");
    actions.map(|uid| uid.id().unescaped().into()).collect()
}

/// The attributes that a policy reads; everything, when that cannot be told.
fn wants(policy: &CedarPolicy) -> Wants {
    let Ok(json) = policy.to_json() else { return Wants::ALL };
    let conditions = json.get("conditions").and_then(Json::as_array);
    let all = conditions.into_iter().flatten();
    all.map(read_by).fold(Wants::NOTHING, Wants::and)
}

fn read_by(json: &Json) -> Wants {
    if let Some((path, deeper)) = access(json) {
        let own = match deeper {
            // `context.customer.roles` reads the customer as far as its roles.
            Some(deeper) if path == "customer" => {
                Wants::of("customer").and(Wants::of(&format!("customer.{deeper}")))
            }
            Some(_) => Wants::of(path),
            None if path == "customer" => Wants::ALL,
            None => Wants::of(path),
        };
        return own;
    }
    match json {
        Json::Object(members) => {
            // The context as a whole, not an attribute of it.
            if members.get("Var").and_then(Json::as_str) == Some("context") {
                return Wants::ALL;
            }
            members.values().map(read_by).fold(Wants::NOTHING, Wants::and)
        }
        Json::Array(items) => items.iter().map(read_by).fold(Wants::NOTHING, Wants::and),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Wants::NOTHING,
    }
}

/// `context.a` or `context has a` as `(a, None)`, `context.a.b` as `(a, Some(b))`.
fn access(json: &Json) -> Option<(&str, Option<&str>)> {
    let step = json.get(".").or_else(|| json.get("has"))?;
    let attribute = step.get("attr")?.as_str()?;
    let left = step.get("left")?;
    if left.get("Var").and_then(Json::as_str) == Some("context") {
        return Some((attribute, None));
    }
    let below = left.get(".")?;
    (below.get("left")?.get("Var")?.as_str()? == "context")
        .then(|| below.get("attr")?.as_str())
        .flatten()
        .map(|first| (first, Some(attribute)))
}

/// A fault at the place of a rule.
pub(super) fn fault(rule: &Rule, message: String) -> ConfigError {
    error(&rule.source, place_of(&rule.source, &rule.written), message)
}

/// Line and column of a policy's text in its file; the beginning, when it is not found.
fn place_of(source: &Source, written: &str) -> (usize, usize) {
    source.text.find(written).map_or((1, 1), |offset| place_at(&source.text, offset))
}

fn place_at(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count());
    (line, column.saturating_add(1))
}

fn error(source: &Source, (line, column): (usize, usize), message: String) -> ConfigError {
    ConfigError { file: Arc::clone(&source.file), line, column, key: String::new(), message }
}

/// What Cedar says of a file, each at its first label.
pub(super) fn diagnosed(source: &Source, fault: &dyn Diagnostic) -> Vec<ConfigError> {
    let offset = fault.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let place = offset.map_or((1, 1), |offset| place_at(&source.text, offset));
    let help = fault.help().map_or(String::new(), |help| format!(" ({help})"));
    let own = error(source, place, format!("{fault}{help}"));
    let related = fault.related().into_iter().flatten();
    std::iter::once(own).chain(related.flat_map(|more| diagnosed(source, more))).collect()
}

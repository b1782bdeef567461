//! What holds for one action, in plain words? Its contract, the rules that apply, and those that do
//! not because its pack declares no such fact.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use cedar_policy::Effect;

use super::Policy;
use super::cedar::Engine;
use super::profile::{Declares, Profile};
use super::rules::{Lift, Rule};
use crate::action::Action;
use crate::contract::{Assumed, Best, Contract, Over, Required, Room, Tier};
use crate::money::Money;

/// What holds for one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub action: String,
    /// Its usual class.
    pub class: &'static str,
    /// Whether somebody wrote a contract for it.
    pub written: bool,
    /// The contract, a sentence a line.
    pub contract: Vec<String>,
    /// The contracts of agents for whom something else holds.
    pub agents: Vec<(String, Vec<String>)>,
    /// The rules that apply.
    pub applies: Vec<ShownRule>,
    /// The rules that do not, and the facts that the pack would have to declare.
    pub missing: Vec<(ShownRule, Vec<String>)>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownRule {
    /// Its id.
    pub policy: String,
    /// `permit`, `forbid`, `hold` or `verify`.
    pub does: &'static str,
    /// Why.
    pub why: String,
}

impl Policy {
    /// What holds for the action of that name, as text; `None` when no pack knows it.
    pub fn show(&self, action: &str) -> Option<String> {
        self.shown(action).map(|shown| shown.to_string())
    }

    /// What holds for the action of that name; `None` when no pack knows it.
    pub fn shown(&self, action: &str) -> Option<Shown> {
        let action = self.actions.get(action)?;
        let contract = |agent: &str| {
            let contract = self.contract(action, action.class, agent);
            sentences(&contract)
        };
        let plain = contract("");
        let agents = self.book.agents(&action.name, action.class);
        let (applies, missing) = self.rules_for(action);
        Some(Shown {
            action: action.name.to_string(),
            class: action.class.name(),
            written: self.book.names(&action.name),
            agents: agents
                .into_iter()
                .map(|agent| {
                    let own = contract(agent).into_iter().filter(|line| !plain.contains(line));
                    (agent.to_owned(), own.collect())
                })
                .collect(),
            contract: plain,
            applies,
            missing,
        })
    }

    fn rules_for(&self, action: &Action) -> (Vec<ShownRule>, Vec<(ShownRule, Vec<String>)>) {
        let ids = |name: &str, profile: Profile| {
            let slice = self.engine.slice(name, profile);
            slice.map(Engine::rules_of).unwrap_or_default()
        };
        let profiles = Profile::of(action);
        let own: BTreeSet<_> = profiles.iter().flat_map(|p| ids(&action.name, *p)).collect();
        // No action is called that: the slice of the profile alone.
        let full: BTreeSet<_> = profiles.iter().flat_map(|p| ids("", p.full())).collect();
        let declared: BTreeSet<&str> = Declares::of(action).iter().map(|d| d.name()).collect();
        let (mut applies, mut missing) = (Vec::new(), Vec::new());
        for rule in self.engine.rules() {
            let id = rule.policy.id();
            if own.contains(id) {
                applies.push(shown(rule));
            } else if full.contains(id) {
                let facts = rule.names.iter().filter_map(|name| name.strip_prefix("fact/"));
                let facts = facts.filter(|fact| !declared.contains(fact)).map(str::to_owned);
                missing.push((shown(rule), facts.collect()));
            }
        }
        (applies, missing)
    }
}

fn shown(rule: &Rule) -> ShownRule {
    let does = match (rule.effect, &rule.lift) {
        (Effect::Permit, _) => "permit",
        (Effect::Forbid, Lift::Never) => "forbid",
        (Effect::Forbid, Lift::Contract | Lift::Queue(_)) => "hold",
        (Effect::Forbid, Lift::SignIn) => "verify",
    };
    ShownRule { policy: rule.reason.policy.to_string(), does, why: rule.reason.why.to_string() }
}

fn sentences(contract: &Contract) -> Vec<String> {
    let mut lines = Vec::new();
    if contract.team.is_empty() {
        lines.push("nobody is named who answers for it".to_owned());
    } else {
        lines.push(format!("the team {} answers for it", contract.team));
    }
    lines.push(match contract.outcome {
        Best::Auto => "at best it runs by itself".to_owned(),
        Best::Hold => "it is always held for a person".to_owned(),
        Best::Refuse => "it is refused".to_owned(),
    });
    if contract.cap_auto.is_empty() {
        lines.push("no amount runs without a person".to_owned());
    } else {
        let caps = amounts(&contract.cap_auto);
        lines.push(format!("up to {caps} without a person; another currency is held"));
    }
    if !contract.cap_hard.is_empty() {
        lines.push(format!("never above {}", amounts(&contract.cap_hard)));
    }
    for budget in &contract.budgets {
        let room = match &budget.room {
            Room::Money(list) => amounts(list),
            Room::Count(count) => format!("{count} times"),
        };
        let (per, within) = (budget.per.name(), span(budget.within));
        let told = budget
            .alert
            .map_or_else(String::new, |alert| format!("; operators are told at {alert}%"));
        let more = gets(budget.over);
        lines.push(format!("{room} per {per} within {within}; more is {more}{told}"));
    }
    if let Some(window) = &contract.window {
        let (since, max, after) = (&window.since, span(window.max), gets(window.after));
        lines.push(format!("within {max} of `{since}`; later is {after}"));
    }
    if !contract.require.is_empty() {
        let names: Vec<&str> = contract.require.iter().map(|required| word(*required)).collect();
        lines.push(format!("the agent must send: {}", names.join(", ")));
    }
    let approval = &contract.approval;
    lines.push(format!(
        "a hold goes to the queue {} and ends after {}",
        approval.queue,
        span(approval.expires)
    ));
    lines.extend(approval.tiers.iter().map(tier));
    lines.extend(more_sentences(contract));
    lines
}

/// `above 500.00 USD it takes 2 people, one for each of finance and lead`.
fn tier(tier: &Tier) -> String {
    let above = tier.above.map_or_else(String::new, |above| format!("above {above} "));
    let people = if tier.approvers == 1 { "person" } else { "people" };
    let roles = match &*tier.roles {
        [] => String::new(),
        roles => format!(", one for each of {}", roles.join(" and ")),
    };
    format!("{above}it takes {} {people}{roles}", tier.approvers)
}

fn more_sentences(contract: &Contract) -> Vec<String> {
    let mut lines = Vec::new();
    let bar = |per_mille: u16| format!("0.{per_mille:03}");
    if let Some(below) = contract.confidence.refuse_below {
        lines.push(format!("an agent less sure than {} is refused", bar(below)));
    }
    if let Some(above) = contract.confidence.auto_above {
        lines.push(format!("an agent less sure than {} is held", bar(above)));
    }
    let duplicates = contract.duplicates;
    lines.push(format!(
        "one like another within {} is {}",
        span(duplicates.within),
        gets(duplicates.alike)
    ));
    for (fact, value) in &contract.assume {
        let value = match value {
            Assumed::Bool(yes) => yes.to_string(),
            Assumed::Long(number) => number.to_string(),
            Assumed::Text(text) => format!("`{text}`"),
        };
        lines.push(format!("where an answer lacks `{fact}`, {value} is taken for granted"));
    }
    if contract.internal {
        lines.push("the company's own data is open".to_owned());
    }
    match contract.roles.as_deref() {
        Some([]) => lines.push("any role of the customer will do".to_owned()),
        Some(roles) => lines.push(format!("the customer must be one of: {}", roles.join(", "))),
        None => {}
    }
    if !contract.templates.is_empty() {
        lines.push(format!("approved templates: {}", contract.templates.join(", ")));
    }
    if let Some(undo) = &contract.undo {
        lines.push(format!("`{undo}` takes it back"));
    }
    if let Some(price) = &contract.price {
        lines.push(format!("a call costs {price}"));
    }
    lines
}

fn amounts(list: &[Money]) -> String {
    list.iter().map(Money::to_string).collect::<Vec<_>>().join(" or ")
}

fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

fn gets(over: Over) -> &'static str {
    match over {
        Over::Hold => "held",
        Over::Refuse => "refused",
        Over::Allow => "let through",
    }
}

fn word(required: Required) -> &'static str {
    match required {
        Required::Case => "case",
        Required::Reason => "reason",
        Required::Confidence => "confidence",
        Required::Model => "model",
        Required::Key => "key",
        Required::Trust => "trust",
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.action, self.class)?;
        let from = if self.written { "" } else { " (nobody wrote one: the safe default)" };
        writeln!(f, "\ncontract{from}")?;
        self.contract.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        for (agent, lines) in &self.agents {
            writeln!(f, "\nfor the agent {agent} instead")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        writeln!(f, "\nrules that apply")?;
        for ShownRule { policy, does, why } in &self.applies {
            writeln!(f, "  {does:<7} {policy:<32} {why}")?;
        }
        if !self.missing.is_empty() {
            writeln!(f, "\nrules that do not apply: the pack declares no such fact")?;
            for (ShownRule { policy, does, .. }, facts) in &self.missing {
                writeln!(f, "  {does:<7} {policy:<32} needs {}", facts.join(", "))?;
            }
        }
        Ok(())
    }
}

//! Which words may a policy use, given this catalog? The schema text: the fixed part, one action per
//! profile, and one per action that a policy names.
//!
//! An action that no policy names is not in it: hundreds of actions would cost a hundred times what
//! their profiles do, and be judged no differently.

use std::collections::{BTreeMap, BTreeSet};

use super::profile::{Profile, fields};
use crate::action::{Action, ReadAs};

/// The fixed part: entity types, the context, the groups.
pub(super) const BASE: &str = include_str!("../../config/policies/tollhouse.cedarschema");

/// The whole schema.
pub(super) fn generate(profiles: &BTreeSet<Profile>, named: &[&Action]) -> String {
    let mut text = BASE.to_owned();
    for profile in profiles {
        let groups = quoted(profile.groups());
        write_action(&mut text, &profile.to_string(), &groups, "Call");
    }
    for action in named {
        let groups: BTreeSet<String> =
            Profile::of(action).into_iter().flat_map(Profile::groups).collect();
        // The last field may end in a comment.
        let context = format!("{{{}\n  facts: {},\n}}", call_fields(), facts_type(action));
        write_action(&mut text, &action.name, &quoted(groups), &context);
    }
    text
}

fn write_action(text: &mut String, name: &str, groups: &str, context: &str) {
    text.push_str(&format!(
        "action {name:?} in [{groups}] appliesTo {{\n  principal: [Agent], resource: [Account], \
         context: {context}\n}};\n"
    ));
}

fn quoted(groups: impl IntoIterator<Item = String>) -> String {
    groups.into_iter().map(|group| format!("{group:?}")).collect::<Vec<_>>().join(", ")
}

/// What stands between the braces of `type Call`.
fn call_fields() -> &'static str {
    let (_, rest) = BASE.split_once("type Call = {").unwrap_or(("", ""));
    rest.split_once("\n};").map_or("", |(fields, _)| fields)
}

/// The record of the facts that an action's pack declares; nothing in it is certain.
fn facts_type(action: &Action) -> String {
    let mut facts: BTreeMap<&str, BTreeMap<&str, Option<&str>>> = BTreeMap::new();
    for used in &action.facts {
        let fact = facts.entry(&used.name).or_default();
        for (name, read) in fields(used) {
            let own = cedar_type(read);
            // Two look-ups under one name that disagree on a type: the field has none.
            fact.entry(name)
                .and_modify(|known| *known = known.filter(|known| *known == own))
                .or_insert(Some(own));
        }
    }
    let mut text = String::from("{");
    for (name, fields) in facts {
        let fields =
            fields.into_iter().filter_map(|(field, of)| Some(format!("{field:?}?: {}", of?)));
        let fields = fields.collect::<Vec<_>>().join(", ");
        text.push_str(&format!("{name:?}?: {{{fields}}}, "));
    }
    text.push('}');
    text
}

fn cedar_type(read: ReadAs) -> &'static str {
    match read {
        ReadAs::Minor
        | ReadAs::Major
        | ReadAs::EpochSeconds
        | ReadAs::EpochMillis
        | ReadAs::Rfc3339
        | ReadAs::Long => "Long",
        ReadAs::Bool => "Bool",
        ReadAs::Text => "String",
    }
}

//! Do the policies allow it? The compiled set, and one evaluation of it.
//!
//! INVARIANT: Cedar skips a policy whose evaluation errs, so an erring `forbid` would fail open: any
//! error forbids. `action in` matches nothing when the entity store lacks the action, so each request
//! brings its own, and a self-test at load proves that it matches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Effect, Entities, Entity, EntityUid, PolicyId,
    PolicySet, Request, Schema, ValidationMode, Validator,
};

use super::context::{Types, View, WhatIf};
use super::profile::Profile;
use super::rules::{self, Lift, Rule, Rules};
use super::schema;
use super::wants::Wants;
use crate::action::Action;
use crate::refusal::InShadow;
use crate::yaml::{ConfigError, ConfigErrors};

/// The compiled set.
#[derive(Debug)]
pub(super) struct Engine {
    authorizer: Authorizer,
    rules: Rules,
    generic: HashMap<Profile, Slice>,
    /// Of the actions that a policy names.
    named: HashMap<Arc<str>, HashMap<Profile, Slice>>,
}

/// What can matter to one profile.
#[derive(Debug)]
pub(super) struct Slice {
    policies: Arc<Shared>,
    action: Entity,
}

/// Policies that several profiles share.
#[derive(Debug)]
struct Shared {
    set: PolicySet,
    /// Those of them that stand in shadow.
    kept: PolicySet,
    wants: Wants,
}

/// What one evaluation found.
#[derive(Debug)]
pub(super) enum Judged {
    /// A policy permits it and none forbids it.
    Allowed,
    /// These forbid it; empty when nothing permits it.
    Forbidden(Vec<Arc<Rule>>),
    /// It could not be evaluated, which forbids.
    Broken {
        /// For operators.
        why: String,
        /// The policies that forbid it all the same.
        matched: Vec<Arc<Rule>>,
    },
}

impl Engine {
    /// Compiles rules for a catalog.
    ///
    /// # Errors
    ///
    /// What strict validation says, warnings included, and a self-test that fails.
    pub fn new(rules: Rules, actions: &[Arc<Action>], types: &Types) -> Result<Self, ConfigErrors> {
        let mentioned: BTreeSet<&str> =
            rules.values().flat_map(|rule| rule.names.iter().map(|name| &**name)).collect();
        let named: Vec<&Arc<Action>> =
            actions.iter().filter(|action| mentioned.contains(&*action.name)).collect();
        let mut profiles = Profile::every();
        profiles.extend(actions.iter().flat_map(|action| Profile::of(action)));
        let plain: Vec<&Action> = named.iter().map(|action| &***action).collect();
        let text = schema::generate(&profiles, &plain);
        let (schema, _) =
            Schema::from_cedarschema_str(&text).map_err(|e| internal(&e.to_string()))?;
        validate(&rules, &schema)?;

        let mut compiler = Compiler::new(&rules, &schema, types);
        let mut generic = HashMap::new();
        for profile in profiles {
            let name = profile.to_string();
            generic.insert(profile, compiler.slice(&name, &[&name], profile)?);
        }
        let mut own = HashMap::new();
        for action in named {
            let mut slices = HashMap::new();
            for profile in Profile::of(action) {
                let names = [&*profile.to_string(), &*action.name];
                slices.insert(profile, compiler.slice(&action.name, &names, profile)?);
            }
            own.insert(Arc::clone(&action.name), slices);
        }
        reads_are_not_held(&rules, &generic)?;
        let engine = Self { authorizer: Authorizer::new(), rules, generic, named: own };
        engine.self_test()?;
        Ok(engine)
    }

    /// Every rule, by id.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.values()
    }

    /// What can matter to an effect of `action`; `None` for one that the catalog cannot make.
    pub fn slice(&self, action: &str, profile: Profile) -> Option<&Slice> {
        match self.named.get(action) {
            Some(slices) => slices.get(&profile),
            None => self.generic.get(&profile),
        }
    }

    /// The rules of a slice, by id.
    pub fn rules_of(slice: &Slice) -> BTreeSet<PolicyId> {
        slice.policies.set.policies().map(|policy| policy.id().clone()).collect()
    }

    /// What the rules of a slice ask for.
    pub fn wants(slice: &Slice) -> Wants {
        slice.policies.wants
    }

    /// Evaluates once.
    pub fn judge(&self, slice: &Slice, view: &View<'_>, what_if: WhatIf<'_>) -> Judged {
        self.judge_by(&slice.policies.set, (slice, view), what_if)
    }

    /// Whether the rules that stand in shadow let it pass.
    pub fn passes_in_shadow(&self, slice: &Slice, view: &View<'_>, what_if: WhatIf<'_>) -> bool {
        let judged = self.judge_by(&slice.policies.kept, (slice, view), what_if);
        matches!(judged, Judged::Allowed)
    }

    fn judge_by(
        &self,
        set: &PolicySet,
        (slice, view): (&Slice, &View<'_>),
        what_if: WhatIf<'_>,
    ) -> Judged {
        let ready = view.entities(&slice.action).and_then(|entities| {
            let context = view.context(what_if)?;
            let uids = (view.principal(), view.resource());
            Ok((request(uids, slice.action.uid(), context)?, entities))
        });
        match ready {
            Ok((request, entities)) => self.answer(&request, set, &entities),
            Err(why) => Judged::Broken { why, matched: Vec::new() },
        }
    }

    fn answer(&self, request: &Request, set: &PolicySet, entities: &Entities) -> Judged {
        let response = self.authorizer.is_authorized(request, set, entities);
        let diagnostics = response.diagnostics();
        let matched = || {
            let matched = diagnostics.reason().filter_map(|id| self.rules.get(id));
            let mut matched: Vec<Arc<Rule>> = matched.cloned().collect();
            matched.sort_by(|a, b| a.reason.cmp(&b.reason));
            matched
        };
        // INVARIANT: before the decision is looked at.
        if let Some(error) = diagnostics.errors().next() {
            let mut matched = matched();
            matched.retain(|rule| rule.effect == Effect::Forbid);
            return Judged::Broken { why: error.to_string(), matched };
        }
        match response.decision() {
            Decision::Allow => Judged::Allowed,
            Decision::Deny => Judged::Forbidden(matched()),
        }
    }

    /// Proves that each action is in the groups of its profile as Cedar evaluates it.
    fn self_test(&self) -> Result<(), ConfigErrors> {
        let mut probes: HashMap<String, PolicySet> = HashMap::new();
        let named = self.named.values().flatten();
        for (profile, slice) in self.generic.iter().chain(named) {
            let mut groups = profile.groups();
            if profile.class.is_effect() {
                groups.push("write".to_owned());
            }
            for group in groups {
                let text = format!("permit(principal, action in Action::{group:?}, resource);");
                if !probes.contains_key(&group) {
                    let probe = text.parse().map_err(|_| internal("a probe does not parse"))?;
                    probes.insert(group.clone(), probe);
                }
                let fails = || internal(&format!("`action in {group}` does not match {profile}"));
                let probe = probes.get(&group).ok_or_else(fails)?;
                let entities = Entities::from_entities([slice.action.clone()], None)
                    .map_err(|e| internal(&e.to_string()))?;
                let nobody = (slice.action.uid(), slice.action.uid());
                let request = request(nobody, slice.action.uid(), Context::empty())
                    .map_err(|e| internal(&e))?;
                let response = self.authorizer.is_authorized(&request, probe, &entities);
                if response.decision() != Decision::Allow {
                    return Err(fails());
                }
            }
        }
        Ok(())
    }
}

fn request(
    (principal, resource): (EntityUid, EntityUid),
    action: EntityUid,
    context: Context,
) -> Result<Request, String> {
    // Every value is put there by type; validating each request again would cost more than judging it.
    Request::new(principal, action, resource, context, None).map_err(|e| e.to_string())
}

/// Makes slices; those with equal policies share one set.
struct Compiler<'c> {
    rules: &'c Rules,
    types: &'c Types,
    /// By the name of an action in the schema.
    relevant: HashMap<String, BTreeSet<PolicyId>>,
    shared: BTreeMap<BTreeSet<PolicyId>, Arc<Shared>>,
}

impl<'c> Compiler<'c> {
    fn new(rules: &'c Rules, schema: &Schema, types: &'c Types) -> Self {
        let mut relevant: HashMap<String, BTreeSet<PolicyId>> = HashMap::new();
        let mut matters = |action: &EntityUid, id: &PolicyId| {
            let action = action.id().unescaped().to_owned();
            relevant.entry(action).or_default().insert(id.clone());
        };
        for (id, rule) in rules {
            // A rule for one action is nothing to the others: asking Cedar of each of them would take time
            // with the square of what is written.
            if let ActionConstraint::Eq(action) = rule.policy.action_constraint() {
                matters(&action, id);
                continue;
            }
            for environment in rule.policy.get_valid_request_envs(schema) {
                matters(environment.action(), id);
            }
        }
        Self { rules, types, relevant, shared: BTreeMap::new() }
    }

    /// The slice of `profile` for the action `name`: what is relevant to any of `names` in the schema.
    /// A policy too many costs time, never an answer.
    fn slice(
        &mut self,
        name: &str,
        names: &[&str],
        profile: Profile,
    ) -> Result<Slice, ConfigErrors> {
        let relevant = names.iter().filter_map(|name| self.relevant.get(*name)).flatten();
        let ids: BTreeSet<PolicyId> = relevant.cloned().collect();
        let mut parents: HashSet<EntityUid> =
            profile.groups().iter().map(|group| self.types.action(group)).collect();
        if profile.class.is_effect() {
            // Spelled out: the store holds this one action, not the group above it.
            parents.insert(self.types.action("write"));
        }
        let action = Entity::new_no_attrs(self.types.action(name), parents);
        if let Some(known) = self.shared.get(&ids) {
            return Ok(Slice { policies: Arc::clone(known), action });
        }
        let rules = || ids.iter().filter_map(|id| self.rules.get(id));
        let set_of = |rules: &mut dyn Iterator<Item = &Arc<Rule>>| {
            PolicySet::from_policies(rules.map(|rule| rule.policy.clone()))
                .map_err(|e| internal(&e.to_string()))
        };
        let set = set_of(&mut rules())?;
        let kept = set_of(&mut rules().filter(|rule| rule.in_shadow == InShadow::Stands))?;
        let wants = rules().map(|rule| rule.wants).fold(Wants::NOTHING, Wants::and);
        let shared = Arc::new(Shared { set, kept, wants });
        self.shared.insert(ids, Arc::clone(&shared));
        Ok(Slice { policies: shared, action })
    }
}

fn validate(rules: &Rules, schema: &Schema) -> Result<(), ConfigErrors> {
    let set = PolicySet::from_policies(rules.values().map(|rule| rule.policy.clone()))
        .map_err(|e| internal(&e.to_string()))?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let mut errors: Vec<ConfigError> = Vec::new();
    let mut note = |id: &PolicyId, fault: &dyn miette::Diagnostic| match rules.get(id) {
        Some(rule) => errors.extend(rules::diagnosed(&rule.source, fault)),
        None => errors.extend(internal(&fault.to_string()).0),
    };
    result.validation_errors().for_each(|fault| note(fault.policy_id(), fault));
    result.validation_warnings().for_each(|fault| note(fault.policy_id(), fault));
    // One policy errs alike for every profile: once is enough.
    errors.sort_by(|a, b| {
        (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
    });
    errors.dedup();
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// A hold is a state of an operation, and a read is none.
fn reads_are_not_held(rules: &Rules, slices: &HashMap<Profile, Slice>) -> Result<(), ConfigErrors> {
    let reads = slices.iter().filter(|(profile, _)| !profile.class.is_effect());
    let held: BTreeSet<PolicyId> = reads
        .flat_map(|(_, slice)| Engine::rules_of(slice))
        .filter(|id| {
            let lift = rules.get(id).map(|rule| &rule.lift);
            matches!(lift, Some(Lift::Contract | Lift::Queue(_)))
        })
        .collect();
    let faults: Vec<ConfigError> = held
        .iter()
        .filter_map(|id| rules.get(id))
        .map(|rule| {
            let message = "would hold reads, and a read is not held; expected `action in \
                           Action::\"write\"` or narrower";
            rules::fault(rule, format!("`{}` {message}", rule.reason.policy))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(ConfigErrors(faults)) }
}

/// A fault of ours, not of a file.
pub(super) fn internal(message: &str) -> ConfigErrors {
    let message = format!("the policy engine: {message}");
    let file = Arc::from("policies");
    ConfigErrors(vec![ConfigError { file, line: 0, column: 0, key: String::new(), message }])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;
    use crate::policy::SHIPPED;
    use crate::policy::rules::Source;

    fn engine() -> (Engine, Types) {
        let types = Types::new().unwrap();
        let source = Source { file: "default.cedar".into(), text: SHIPPED.into() };
        let rules = rules::read(&[source], &[]).unwrap();
        let engine = Engine::new(rules, &[], &types).unwrap();
        (engine, types)
    }

    #[test]
    fn an_action_that_is_not_in_its_groups_does_not_pass_the_self_test() {
        let (mut engine, types) = engine();
        assert_eq!(engine.self_test(), Ok(()));
        let slice = engine.generic.values_mut().next().unwrap();
        let lost = Entity::new_no_attrs(slice.action.uid(), HashSet::new());
        slice.action = lost;
        let errors = engine.self_test().unwrap_err().to_string();
        assert!(errors.contains("does not match"), "{errors}");
        let _ = types;
    }

    #[test]
    fn what_a_read_asks_for_lasts_and_what_an_effect_asks_for_does_not() {
        let (engine, _) = engine();
        let lasting = |profile: &Profile| {
            let slice = engine.slice("", *profile).unwrap();
            Engine::wants(slice).is_lasting()
        };
        for profile in Profile::every() {
            assert_eq!(lasting(&profile), !profile.class.is_effect(), "{profile}");
        }
    }
}

//! What would happen to a call, and why? The path up to the store, with facts that are given or read.
//! Nothing is reserved, sent or recorded.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::call::{Call, Caller, Fact, FactValue, Facts, Request, Resolved};
use crate::clock::Timestamp;
use crate::contract::Over;
use crate::gate::people::facts_shown;
use crate::gate::reserve::Judged;
use crate::gate::shadow::Weighed;
use crate::gate::{Asked, BudgetSeen, Evidence, Gate};
use crate::limits;
use crate::money::Currency;
use crate::refusal::{Code, Refusal};
use crate::resolve::{self, Scope};
use crate::rollout::{Place, percent};
use crate::store::Against;

/// A fact that is given on the command line: `charge.amount=6000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactOverride {
    fact: Box<str>,
    field: Box<str>,
    value: FactValue,
}

/// Where facts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// They are read from the upstream.
    Read,
    /// Only what is given is known.
    Given,
}

impl FactOverride {
    /// Reads `charge.amount=6000`: a whole number, `true`, `false`, a time, else a text.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || format!("--fact: expected FACT.FIELD=VALUE, got `{text}`");
        let (name, value) = text.split_once('=').ok_or_else(fault)?;
        let (fact, field) = name.split_once('.').ok_or_else(fault)?;
        let value = match value {
            "true" => FactValue::Bool(true),
            "false" => FactValue::Bool(false),
            other => match (other.parse(), Timestamp::parse(other)) {
                (Ok(number), _) => FactValue::Long(number),
                (Err(_), Some(time)) => FactValue::Time(time),
                (Err(_), None) => FactValue::Text(other.into()),
            },
        };
        Ok(Self { fact: fact.into(), field: field.into(), value })
    }
}

impl Gate {
    /// What would happen, as one object. Without a token the call is only classified.
    pub async fn explain(
        &self,
        request: &Request,
        given: &[FactOverride],
        lookup: Lookup,
    ) -> Value {
        let call = match self.catalog.classify(request) {
            Ok(call) => call,
            Err(refusal) => return refused(&refusal, json!({ "action": null })),
        };
        let seen = classified(&call);
        if !request.headers.contains_key("tollhouse-authorization") {
            return seen;
        }
        let mut evidence = Evidence::of(request, &self.clock);
        match self.ask(request, &mut evidence).await {
            Ok(asked) => self.explain_asked(&asked, (given, lookup), seen, &mut evidence).await,
            Err(refusal) => refused(&refusal, seen),
        }
    }

    async fn explain_asked(
        &self,
        asked: &Asked,
        (given, lookup): (&[FactOverride], Lookup),
        mut seen: Value,
        evidence: &mut Evidence,
    ) -> Value {
        let nothing = Facts::default();
        let scope = scope(&asked.call, &asked.caller, asked.account.as_deref(), &nothing);
        let read = match lookup {
            Lookup::Read => self.lookups.gather(&scope, &mut |_, _| {}).await,
            Lookup::Given => Ok(Facts::default()),
        };
        let mut facts = match read {
            Ok(facts) => facts,
            Err(refusal) => return refused(&refusal, seen),
        };
        put_given(&mut facts, given, self.clock.now());
        asked.contract.assume(&mut facts);
        put(&mut seen, "facts", facts_shown(&facts));
        let resolved = match resolve::resolve(&Scope { facts: &facts, ..scope }) {
            Ok(resolved) => resolved,
            Err(refusal) => return refused(&refusal, seen),
        };
        put_resolved(&mut seen, &resolved);
        put(&mut seen, "alarms", self.alarms_of(asked));
        put(&mut seen, "budgets", self.budgets_explained(asked, &facts, &resolved));
        put(&mut seen, "mode", json!(self.rollout.mode(&asked.call, &asked.caller).name()));
        put(&mut seen, "shares", self.shares_of(asked));
        // Nothing is counted here: no signal shows, and no brake is on.
        match self.weigh(asked, (&facts, &resolved), evidence) {
            Ok(weighed) => put_weighed(&mut seen, &weighed, evidence),
            Err(refusal) => return refused(&refusal, seen),
        }
        seen
    }
}

impl Gate {
    /// The brakes and signals that count or hold such a call.
    fn alarms_of(&self, asked: &Asked) -> Value {
        let kind = asked.call.effects.iter().find_map(|effect| effect.kind);
        let each = |(sort, name, words): (&str, String, String)| json!({ "sort": sort, "name": name, "words": words });
        json!(self.alarms.shown(asked.call.class, kind).into_iter().map(each).collect::<Vec<_>>())
    }

    /// The shares that it falls under, and whether it is in.
    fn shares_of(&self, asked: &Asked) -> Value {
        let each = self.rollout.shares(&asked.call, &asked.caller).map(|stands| {
            json!({
                "for": stands.scope,
                "auto": percent(stands.share.auto),
                "by": stands.share.by.name(),
                "place": match stands.place {
                    Place::In => "in",
                    Place::Out => "out",
                },
            })
        });
        Value::Array(each.collect())
    }

    /// What it would take of which budget, of how much. How much is used the running instance knows.
    fn budgets_explained(&self, asked: &Asked, facts: &Facts, resolved: &Resolved) -> Value {
        if !asked.call.class.is_effect() {
            return json!([]);
        }
        let judged = Judged {
            facts: facts.clone(),
            resolved: Arc::new(resolved.clone()),
            reasons: Vec::new(),
            queue: Arc::clone(&asked.contract.approval.queue),
            against: Against::Stands,
        };
        let Ok(site) = self.site(&asked.call) else { return json!([]) };
        let about = self.about(asked, &judged, site.origin);
        let taken = limits::budgets(&asked.contract, &about).into_iter().map(|budget| {
            let (over, alert) = (budget.over, budget.alert);
            let seen = BudgetSeen::of(budget, 0);
            json!({
                "budget": seen.id,
                "currency": seen.unit.as_ref().map(Currency::code),
                "takes": seen.takes,
                "room": seen.room,
                "over": match over {
                    Over::Hold => "hold",
                    Over::Refuse => "refuse",
                    Over::Allow => "allow",
                },
                "alert": alert,
            })
        });
        Value::Array(taken.collect())
    }
}

fn scope<'s>(
    call: &'s Call,
    caller: &'s Caller,
    account: Option<&'s str>,
    facts: &'s Facts,
) -> Scope<'s> {
    Scope { call, caller, account, facts }
}

/// What is known without a caller.
fn classified(call: &Call) -> Value {
    json!({
        "action": call.action.name,
        "class": call.class.name(),
        "kind": call.effects.iter().find_map(|effect| effect.kind).map(crate::call::Kind::name),
        "amount": null,
        "decision": null,
        "policies": [],
    })
}

/// What would be decided: in shadow what policy says is only noted.
fn put_weighed(seen: &mut Value, weighed: &Weighed, evidence: &Evidence) {
    let (noted, code) = match (weighed.against, &evidence.shadow) {
        // Of a read it is told at once, of an effect by the store.
        (_, Some(shadow)) => (true, Some(shadow.code)),
        (Against::Noted { refused }, None) => {
            let held = (!weighed.reasons.is_empty()).then_some(Code::ApprovalRequired);
            (true, refused.or(held))
        }
        (Against::Stands, None) => (false, None),
    };
    put(seen, "policies", policies(&weighed.reasons));
    match (noted, code) {
        (true, Some(code)) => {
            put(seen, "decision", json!("allow"));
            put(seen, "shadow", json!(code.verdict().name()));
            put(seen, "code", json!(code.spec().name));
        }
        (false, _) if !weighed.reasons.is_empty() => {
            put(seen, "decision", json!("hold"));
            put(seen, "queue", json!(weighed.queue));
        }
        (true | false, _) => put(seen, "decision", json!("allow")),
    }
}

fn put_resolved(seen: &mut Value, resolved: &Resolved) {
    put(seen, "summary", json!(resolved.summary));
    put(seen, "owner", json!(resolved.owner));
    put(seen, "resource", json!(resolved.resource.as_ref().map(ToString::to_string)));
    let amount =
        |m: crate::money::Money| json!({ "minor": m.minor, "currency": m.currency.code() });
    put(seen, "amount", json!(resolved.amount.map(amount)));
}

/// Sets a member of an object.
fn put(seen: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = seen {
        members.insert(name.to_owned(), value);
    }
}

fn policies(reasons: &[crate::decision::Reason]) -> Value {
    json!(reasons.iter().map(|r| json!({ "policy": r.policy, "why": r.why })).collect::<Vec<_>>())
}

fn refused(refusal: &Refusal, mut seen: Value) -> Value {
    let decision = refusal.verdict().name();
    put(&mut seen, "decision", json!(decision));
    put(&mut seen, "code", json!(refusal.code.spec().name));
    put(&mut seen, "detail", json!(refusal.detail));
    put(&mut seen, "why", json!(refusal.why));
    put(&mut seen, "policies", policies(&refusal.reasons));
    seen
}

/// Facts that are given stand over those that were read. Money is in minor units; a currency may be
/// given as the vendor writes it.
fn put_given(facts: &mut Facts, given: &[FactOverride], now: Timestamp) {
    for one in given {
        if !facts.read.iter().any(|(name, _)| *name == one.fact) {
            facts.read.push((one.fact.clone(), Fact { id: None, fields: Vec::new(), as_of: now }));
        }
        let Some((_, fact)) = facts.read.iter_mut().find(|(name, _)| *name == one.fact) else {
            continue;
        };
        match (&*one.field, &one.value) {
            ("id", FactValue::Text(id)) => fact.id = Some(id.clone()),
            (field, value) => {
                fact.fields.retain(|(own, _)| **own != *field);
                fact.fields.push((field.into(), value.clone()));
            }
        }
    }
}

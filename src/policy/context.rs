//! What does a policy see of a call? Typed values, never JSON; only what the rules at hand ask for.
//!
//! Never decides: an odd value (a moment in the future, a negative count) is left out, and what is
//! left out is not known to be good.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression,
};

use super::Question;
use super::commitment::promises;
use super::profile::{Declared, field, fields};
use super::wants::Wants;
use crate::action::Owner;
use crate::call::{Consent, FactValue};
use crate::clock::Timestamp;
use crate::contract::{Best, Contract, Over};
use crate::decision::{Signal, Then};
use crate::money::{Currency, MINOR_UNITS_MAX, Money};

type Value = RestrictedExpression;

/// BOUND: 5 min, as clocks of an issuer and a vendor may be off; a moment further ahead is odd.
const SKEW: Duration = Duration::from_secs(300);

/// A contract, and its Cedar entity for each currency that it lists.
#[derive(Debug)]
pub(super) struct Offer {
    pub contract: Arc<Contract>,
    priced: Vec<(Currency, Entity)>,
    /// For a call without money, or in a currency that is not listed.
    unpriced: Entity,
}

impl Offer {
    pub fn new(contract: Contract, types: &Types, consent: ConsentRule) -> Self {
        let entity = |currency| contract_entity(&contract, currency, types, consent);
        let mut currencies: Vec<Currency> =
            contract.cap_auto.iter().chain(&contract.cap_hard).map(|cap| cap.currency).collect();
        currencies.sort();
        currencies.dedup();
        Self {
            priced: currencies.into_iter().map(|c| (c, entity(Some(c)))).collect(),
            unpriced: entity(None),
            contract: Arc::new(contract),
        }
    }

    fn entity(&self, amount: Option<Money>) -> &Entity {
        let listed = |money: Money| self.priced.iter().find(|(c, _)| *c == money.currency);
        amount.and_then(listed).map_or(&self.unpriced, |(_, entity)| entity)
    }
}

/// What missing consent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsentRule {
    /// It gates nothing; consent that is there must hold.
    #[default]
    IfPresent,
    /// It blocks effects.
    Required,
}

/// The names of the schema's entity types, parsed once.
#[derive(Debug)]
pub(super) struct Types {
    agent: EntityTypeName,
    account: EntityTypeName,
    tenant: EntityTypeName,
    action: EntityTypeName,
    /// The one contract of a request.
    contract: EntityUid,
}

impl Types {
    pub fn new() -> Result<Self, String> {
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|e| e.to_string());
        let contract = EntityUid::from_type_name_and_id(name("Contract")?, EntityId::new("this"));
        Ok(Self {
            agent: name("Agent")?,
            account: name("Account")?,
            tenant: name("Tenant")?,
            action: name("Action")?,
            contract,
        })
    }

    pub fn action(&self, id: &str) -> EntityUid {
        uid(&self.action, id)
    }
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

fn long(number: i64) -> Value {
    Value::new_long(number)
}

fn text(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn texts<'t>(all: impl IntoIterator<Item = &'t Box<str>>) -> Value {
    Value::new_set(all.into_iter().map(|one| text(one)))
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn contract_entity(
    contract: &Contract,
    currency: Option<Currency>,
    types: &Types,
    consent: ConsentRule,
) -> Entity {
    let cap = |list: &[Money]| currency.and_then(|currency| Contract::cap(list, currency));
    let outcome = match contract.outcome {
        Best::Auto => "auto",
        Best::Hold => "hold",
        Best::Refuse => "refuse",
    };
    let after = match contract.window.as_ref().map(|window| window.after) {
        Some(Over::Hold) => "hold",
        Some(Over::Refuse) => "refuse",
        Some(Over::Allow) | None => "allow",
    };
    let mut attributes = HashMap::from([
        ("team".to_owned(), text(&contract.team)),
        ("outcome".to_owned(), text(outcome)),
        ("auto_cap".to_owned(), long(cap(&contract.cap_auto).unwrap_or(0))),
        ("window_after".to_owned(), text(after)),
        ("fresh_auth".to_owned(), long(millis(contract.fresh_auth))),
        ("internal".to_owned(), Value::new_bool(contract.internal)),
        ("consent_required".to_owned(), Value::new_bool(consent == ConsentRule::Required)),
        ("templates".to_owned(), texts(&contract.templates)),
    ]);
    let mut known = |name: &str, value: Option<Value>| {
        attributes.extend(value.map(|value| (name.to_owned(), value)));
    };
    known("hard_cap", cap(&contract.cap_hard).map(long));
    known("window", contract.window.as_ref().map(|window| long(millis(window.max))));
    known("refuse_below", contract.confidence.refuse_below.map(|bar| long(bar.into())));
    known("auto_above", contract.confidence.auto_above.map(|bar| long(bar.into())));
    known("roles", contract.roles.as_ref().map(texts));
    // Attributes are plain values, which always evaluate; without them every rule about them errs,
    // which forbids.
    Entity::new(types.contract.clone(), attributes, HashSet::new())
        .unwrap_or_else(|_| Entity::with_uid(types.contract.clone()))
}

/// What a person, or the customer, is taken to have done already.
#[derive(Debug, Clone, Copy)]
pub(super) struct WhatIf<'w> {
    /// The policies that a person lifted.
    pub approved: &'w [Box<str>],
    /// Whether the customer has just signed in.
    pub fresh: Fresh,
}

/// Whether a fresh sign-in is taken for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    /// As the token says.
    AsIs,
    /// As if it were now.
    Granted,
}

/// One call as policies see it.
pub(super) struct View<'v> {
    pub question: &'v Question<'v>,
    pub offer: &'v Offer,
    pub types: &'v Types,
    pub wants: Wants,
}

/// A request that could not be put into Cedar's words: it forbids.
pub(super) type Unfit = String;

impl View<'_> {
    pub fn principal(&self) -> EntityUid {
        uid(&self.types.agent, &self.question.caller.agent)
    }

    pub fn resource(&self) -> EntityUid {
        // An account of nobody has the empty name, which no customer's account has.
        uid(&self.types.account, self.owner().1.unwrap_or(""))
    }

    /// Where the owner is known from, and who it is.
    fn owner(&self) -> (&'static str, Option<&str>) {
        let question = self.question;
        let known = question.resolved.owner.as_deref();
        match question.call.action.owner {
            Owner::Sources(_) => of_account(known),
            Owner::Caller => of_account(known.or(question.account)),
            Owner::Response(_) => ("answer", None),
            Owner::Public => ("public", None),
            Owner::Internal => ("internal", None),
        }
    }

    pub fn entities(&self, action: &Entity) -> Result<Entities, Unfit> {
        let caller = self.question.caller;
        let tenant = |name: &str| Value::new_entity_uid(uid(&self.types.tenant, name));
        let mut agent = HashMap::from([("tenant".to_owned(), tenant(&caller.tenant))]);
        agent.extend(caller.trust.map(|level| ("trust".to_owned(), long(level.into()))));
        agent.extend(caller.narrowed.as_ref().map(|open| ("scopes".to_owned(), texts(open))));
        let house = self.question.tenant.unwrap_or(&caller.tenant);
        let account = HashMap::from([("tenant".to_owned(), tenant(house))]);
        let entity = |uid, attributes| {
            Entity::new(uid, attributes, HashSet::new()).map_err(|e| e.to_string())
        };
        let all = [
            entity(self.principal(), agent)?,
            entity(self.resource(), account)?,
            self.offer.entity(self.question.resolved.amount).clone(),
            action.clone(),
        ];
        Entities::from_entities(all, None).map_err(|e| e.to_string())
    }

    pub fn context(&self, what_if: WhatIf<'_>) -> Result<Context, Unfit> {
        let question = self.question;
        let mut pairs: Vec<(String, Value)> = Vec::with_capacity(16);
        let mut put = |name: &str, value: &dyn Fn() -> Option<Value>| {
            if self.wants.has(name) {
                pairs.extend(value().map(|value| (name.to_owned(), value)));
            }
        };
        put("name", &|| Some(text(&question.call.action.name)));
        put("now", &|| Some(long(question.now.0)));
        put("asked", &|| Some(long(question.asked.0)));
        put("owner", &|| Some(text(self.owner().0)));
        put("contract", &|| Some(Value::new_entity_uid(self.types.contract.clone())));
        put("approvals", &|| Some(texts(what_if.approved)));
        put("confidence", &|| question.call.context.confidence.map(|level| long(level.into())));
        put("amount", &|| {
            let amount = question.resolved.amount.filter(|amount| counts(*amount));
            amount.map(|amount| long(amount.minor))
        });
        put("currency_ok", &|| Some(Value::new_bool(self.currency_ok())));
        put("since", &|| self.since().map(|moment| long(moment.0)));
        put("remaining", &|| self.whole(Declared::Remaining, i64::min).map(long));
        put("open_invoices", &|| self.whole(Declared::OpenInvoices, i64::saturating_add).map(long));
        put("disputed", &|| self.any(Declared::Disputed).map(Value::new_bool));
        put("fulfilled", &|| self.any(Declared::Fulfilled).map(Value::new_bool));
        let lower = |all: &[Box<str>]| Value::new_set(all.iter().map(|one| text(&address(one))));
        let named = |all: &'_ [Box<str>]| (!all.is_empty()).then(|| lower(all));
        put("recipients", &|| named(&question.resolved.recipients));
        let templates = &question.resolved.templates;
        put("templates", &|| (!templates.is_empty()).then(|| texts(templates)));
        let own_words = &question.resolved.text;
        put("free_text", &|| Some(Value::new_bool(!own_words.is_empty())));
        put("commitment", &|| Some(Value::new_bool(own_words.iter().any(|t| promises(t)))));
        put("facts", &|| self.facts());
        let named = |all: &mut dyn Iterator<Item = &Signal>| {
            Some(Value::new_set(all.map(|signal| text(&signal.name))))
        };
        let holds = |signal: &&Signal| signal.then == Then::Hold;
        put("signals", &|| named(&mut question.signals.iter()));
        put("signals_hold", &|| named(&mut question.signals.iter().filter(holds)));
        if self.wants.has("customer") {
            pairs.push(("customer".to_owned(), self.customer(what_if.fresh)?));
        }
        Context::from_pairs(pairs).map_err(|e| e.to_string())
    }

    fn customer(&self, fresh: Fresh) -> Result<Value, Unfit> {
        let Question { caller, asked, account, .. } = self.question;
        let mut fields: Vec<(String, Value)> = Vec::with_capacity(6);
        let mut put = |name: &str, value: &dyn Fn() -> Option<Value>| {
            if self.wants.has(name) {
                let own = name.trim_start_matches("customer.").to_owned();
                fields.extend(value().map(|value| (own, value)));
            }
        };
        put("customer.verified", &|| Some(Value::new_bool(caller.customer.is_some())));
        let named = account.filter(|account| !account.is_empty());
        put("customer.account", &|| {
            named.map(|account| Value::new_entity_uid(uid(&self.types.account, account)))
        });
        put("customer.roles", &|| Some(texts(&caller.roles)));
        let auth_time = match fresh {
            Fresh::AsIs => caller.auth_time.filter(|at| at.0 >= 0 && *at <= asked.plus(SKEW)),
            Fresh::Granted => Some(*asked),
        };
        put("customer.auth_time", &|| auth_time.map(|at| long(at.0)));
        put("customer.consent_until", &|| match caller.consent_until {
            Consent::Absent => None,
            Consent::Until(moment) => Some(long(moment.0)),
        });
        put("customer.contacts", &|| {
            Some(Value::new_set(caller.contacts.iter().map(|one| text(&address(one)))))
        });
        Value::new_record(fields).map_err(|e| e.to_string())
    }

    /// Whether the amount is in a currency that the contract lists and the facts are in.
    fn currency_ok(&self) -> bool {
        let Some(amount) = self.question.resolved.amount else { return false };
        let caps = &self.offer.contract.cap_auto;
        let listed = caps.is_empty() || Contract::cap(caps, amount.currency).is_some();
        listed && self.facts_in(amount.currency)
    }

    /// Whether every fact that counts money counts it in `currency`.
    fn facts_in(&self, currency: Currency) -> bool {
        let Question { call, facts, .. } = self.question;
        call.action.facts.iter().all(|used| {
            let declares = |field: &str| fields(used).any(|(name, _)| name == field);
            if !declares("currency") || !declares(Declared::Remaining.name()) {
                return true;
            }
            match facts.field(&used.name, "currency") {
                Some(FactValue::Text(code)) => Currency::parse(&code) == Some(currency),
                Some(FactValue::Long(_) | FactValue::Bool(_) | FactValue::Time(_)) | None => false,
            }
        })
    }

    /// The moment that the contract's window counts from: the earliest that bears the name.
    fn since(&self) -> Option<Timestamp> {
        let since = &self.offer.contract.window.as_ref()?.since;
        let Question { call, facts, now, .. } = self.question;
        let moment = |value: Option<FactValue>| match value? {
            FactValue::Time(moment) => Some(moment),
            FactValue::Text(_) | FactValue::Long(_) | FactValue::Bool(_) => None,
        };
        let earliest = match since.split_once('.') {
            Some((fact, field)) => moment(facts.field(fact, field)),
            None => {
                let used = call.action.facts.iter();
                used.filter_map(|used| moment(facts.field(&used.name, since))).min()
            }
        };
        earliest.filter(|at| at.0 >= 0 && *at <= now.plus(SKEW))
    }

    /// The values of a declared field in every fact that has it; `None` when one lacks it.
    fn declared(&self, declared: Declared) -> Option<Vec<FactValue>> {
        let Question { call, facts, .. } = self.question;
        let mut names: Vec<&str> = call
            .action
            .facts
            .iter()
            .filter(|used| fields(used).any(|(name, _)| name == declared.name()))
            .map(|used| &*used.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| facts.field(name, declared.name())).collect()
    }

    fn whole(&self, declared: Declared, worse: fn(i64, i64) -> i64) -> Option<i64> {
        if declared == Declared::Remaining
            && let Some(amount) = self.question.resolved.amount
            && !self.facts_in(amount.currency)
        {
            return None;
        }
        let numbers = self.declared(declared)?.into_iter().map(|value| match value {
            // BOUND: what is counted here is far below; above it Cedar's sums could overflow.
            FactValue::Long(number) => (0..=MINOR_UNITS_MAX).contains(&number).then_some(number),
            // Some vendors say only whether there are any.
            FactValue::Bool(any) if declared == Declared::OpenInvoices => Some(i64::from(any)),
            FactValue::Bool(_) | FactValue::Text(_) | FactValue::Time(_) => None,
        });
        numbers.collect::<Option<Vec<i64>>>()?.into_iter().reduce(worse)
    }

    fn any(&self, declared: Declared) -> Option<bool> {
        let truths = self.declared(declared)?.into_iter().map(|value| match value {
            FactValue::Bool(yes) => Some(yes),
            FactValue::Text(_) | FactValue::Long(_) | FactValue::Time(_) => None,
        });
        truths.collect::<Option<Vec<bool>>>()?.into_iter().reduce(|a, b| a || b)
    }

    /// Every fact that was read, for a policy that names its action.
    fn facts(&self) -> Option<Value> {
        let Question { call, facts, .. } = self.question;
        let mut records: Vec<(String, Value)> = Vec::new();
        for (name, fact) in &facts.read {
            let typed = |field_name: &str| field(&call.action, &format!("{name}.{field_name}"));
            let id = fact.id.iter().map(|id| ("id".to_owned(), text(id)));
            let others = fact
                .fields
                .iter()
                .filter(|(own, _)| (&**own != "id" || fact.id.is_none()) && typed(own).is_some());
            let values = others.map(|(own, value)| {
                let value = match value {
                    FactValue::Text(value) => text(value),
                    FactValue::Long(number) => long(*number),
                    FactValue::Bool(yes) => Value::new_bool(*yes),
                    FactValue::Time(moment) => long(moment.0),
                };
                (own.to_string(), value)
            });
            let record = Value::new_record(id.chain(values)).ok()?;
            records.push((name.to_string(), record));
        }
        Value::new_record(records).ok()
    }
}

fn of_account(owner: Option<&str>) -> (&'static str, Option<&str>) {
    match owner {
        Some("") | None => ("unknown", None),
        Some(_) => ("account", owner),
    }
}

/// Whether an amount is one that is counted: 1 to 10^12 minor units.
pub(super) fn counts(amount: Money) -> bool {
    (1..=MINOR_UNITS_MAX).contains(&amount.minor)
}

/// An address as it is compared: without blanks around it and without letter case.
fn address(one: &str) -> String {
    one.trim().to_lowercase()
}

//! Whom is something counted for? The parts of a call that a rule may count apart.

use smallvec::SmallVec;

use super::{Per, Rule, What};
use crate::call::{Call, Caller, Class, Kind};
use crate::store::FreezeScope;
use crate::store::freeze::escaped;
use crate::store::record::sha256;
use crate::value::piece;

/// Whatever a rule may count apart, of one call; as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Subject<'e> {
    /// The tenant.
    pub tenant: &'e str,
    /// The agent.
    pub agent: &'e str,
    /// The customer; empty for none.
    pub customer: &'e str,
    /// Where it goes.
    pub upstream: &'e str,
    /// Who the customer is there; empty where nobody knows.
    pub account: &'e str,
    /// What the agent works on, by its own word.
    pub case: Option<&'e str>,
    /// What is asked.
    pub action: Option<&'e str>,
    /// The highest class of its effects.
    pub class: Option<Class>,
    /// The kinds of its effects.
    pub kinds: SmallVec<[Kind; 2]>,
}

/// Somebody or something that is counted apart: of which tenant, how it is called, what a brake on it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The tenant.
    pub tenant: Box<str>,
    per: Per,
    /// SECURITY: every part with its length: no name can be chosen so that it counts elsewhere.
    parts: Vec<u8>,
    /// What is held; `None` for what no brake can hold.
    scope: Option<String>,
}

impl<'e> Subject<'e> {
    /// Of a caller of whom no more is known.
    pub fn of(caller: &'e Caller) -> Self {
        Self {
            tenant: &caller.tenant,
            agent: &caller.agent,
            customer: caller.customer.as_deref().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Of a call.
    pub fn asking(self, call: &'e Call, account: Option<&'e str>) -> Self {
        Self {
            upstream: &call.upstream,
            account: account.unwrap_or_default(),
            case: call.context.case.as_deref(),
            action: Some(&call.action.name),
            class: Some(call.class),
            kinds: call.effects.iter().filter_map(|effect| effect.kind).collect(),
            ..self
        }
    }

    /// Whom a rule that counts so counts it for; `None` when it has none of that.
    pub(super) fn named(&self, rule: &Rule) -> Option<Named> {
        let per = rule.per;
        // A read is neither of a class nor of an action that can be held.
        let effect = self.class.filter(|class| class.is_effect());
        let tenant = format!("tenant/{}", escaped(self.tenant));
        let scope = |kind: &str, name: &str| Some(format!("{tenant} {kind}/{}", escaped(name)));
        let (parts, scope): (SmallVec<[&str; 2]>, _) = match per {
            Per::Class => {
                let class = effect?.name();
                (SmallVec::from_slice(&[class]), scope("class", class))
            }
            Per::Kind => {
                let kind = self.kind_for(rule)?.name();
                (SmallVec::from_slice(&[kind]), scope("kind", kind))
            }
            Per::Action => {
                let action = self.action.filter(|_| effect.is_some())?;
                (SmallVec::from_slice(&[action]), scope("action", action))
            }
            Per::Agent => (SmallVec::from_slice(&[self.agent]), scope("agent", self.agent)),
            Per::Tenant => (SmallVec::new(), Some(tenant)),
            // The same customer has one account for each upstream.
            Per::Customer if !self.account.is_empty() => {
                (SmallVec::from_slice(&[self.upstream, self.account]), None)
            }
            Per::Customer if !self.customer.is_empty() => {
                (SmallVec::from_slice(&[self.customer]), None)
            }
            Per::Customer => return None,
            Per::Case => match self.case {
                Some(case) => (SmallVec::from_slice(&[self.agent, case]), None),
                None => (SmallVec::from_slice(&[self.agent, "", self.customer]), None),
            },
        };
        let mut bytes = Vec::with_capacity(64);
        parts.iter().for_each(|part| piece(&mut bytes, b'p', part.as_bytes()));
        Some(Named { tenant: self.tenant.into(), per, parts: bytes, scope })
    }
}

impl Subject<'_> {
    /// Which of a call's kinds a rule is about: one that it names, and never another.
    fn kind_for(&self, rule: &Rule) -> Option<Kind> {
        let named = |kind: &&Kind| match rule.watch {
            What::Refunds => **kind == Kind::Refund,
            What::Money
            | What::Refusals
            | What::Holds
            | What::Mismatches
            | What::Failed
            | What::NearCap => rule.kinds.is_empty() || rule.kinds.contains(kind),
        };
        self.kinds.iter().find(named).copied()
    }
}

impl Named {
    /// The number of the brake of that name on it: the same in every replica.
    pub fn number(&self, brake: &str) -> Box<str> {
        let hash = sha256(&self.bytes(brake));
        let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("br_{hex}").into()
    }

    /// Where a signal of that name counts it.
    pub(super) fn key(&self, signal: &str) -> Box<str> {
        let hash = sha256(&self.bytes(signal));
        let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("signal|{hex}").into()
    }

    fn bytes(&self, rule: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        piece(&mut bytes, b'n', rule.as_bytes());
        piece(&mut bytes, b't', self.tenant.as_bytes());
        piece(&mut bytes, b'w', self.per.name().as_bytes());
        bytes.extend_from_slice(&self.parts);
        bytes
    }

    /// What a brake on it holds.
    pub fn scope(&self) -> Option<FreezeScope> {
        FreezeScope::parse([&**self.scope.as_ref()?]).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alarm::Most;

    // A charge that also credits: `stripe.invoice.pay` with `forgive`.
    #[test]
    fn of_a_calls_kinds_the_one_counts_that_the_rule_names() {
        let scope = |kinds: &[Kind], watch, named: &[Kind]| {
            let within = Duration::from_secs(60);
            let (per, most, name) = (Per::Kind, Most::Times(1), "a".into());
            let (classes, named) = (Vec::new(), named.to_vec());
            let rule = Rule { name, watch, per, classes, kinds: named, most, within };
            let class = Some(Class::Financial);
            let kinds = kinds.iter().copied().collect();
            let subject = Subject { tenant: "t", class, kinds, ..Subject::default() };
            rule.named(&subject).and_then(|named| named.scope()).map(|scope| scope.to_string())
        };
        let (charge, credit, refund) = (Kind::Charge, Kind::Credit, Kind::Refund);
        for (kinds, watch, named, expected) in [
            (&[charge, credit][..], What::Money, &[credit][..], Some("tenant/t kind/credit")),
            (&[charge, credit], What::Money, &[], Some("tenant/t kind/charge")),
            (
                &[charge, credit],
                What::Holds,
                &[refund, credit, charge],
                Some("tenant/t kind/charge"),
            ),
            (&[charge, credit], What::Holds, &[refund], None),
            (&[charge, refund], What::Refunds, &[], Some("tenant/t kind/refund")),
            (&[charge, refund], What::Refunds, &[charge], Some("tenant/t kind/refund")),
            (&[charge, credit], What::Refunds, &[], None),
            (&[], What::Holds, &[], None),
        ] {
            assert_eq!(
                scope(kinds, watch, named).as_deref(),
                expected,
                "{kinds:?} {watch:?} {named:?}"
            );
        }
    }
}

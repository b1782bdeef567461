//! Was this caller allowed this very read before? Then nothing that the policies ask for is different,
//! and they need not be asked again.
//!
//! Only what policies allowed is remembered, and only where no policy that matters looks at the time or
//! at anything of one call alone. A configuration is another gate, and so another memory; freezes,
//! tokens and rates are looked at before, every time.

use std::sync::{Arc, Weak};

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use crate::action::Action;
use crate::call::{Caller, Class, Facts, Resolved};
use crate::decision::Decision;
use crate::gate::{Asked, Gate};
use crate::refusal::Refusal;

/// BOUND: callers and actions that are remembered, some 200 bytes each.
const MAX: u64 = 20_000;
const USUAL: usize = 500;

/// What was allowed.
#[derive(Debug)]
pub struct Lasting(Cache<Name, Arc<Allowed>, UnitWeighter>);

/// Who did what, by their places in memory, which nothing else takes while they are remembered.
type Name = (usize, usize);

#[derive(Debug)]
struct Allowed {
    /// Held so that no other caller comes to stand at the same place.
    caller: Weak<Caller>,
    action: Arc<Action>,
    /// Who the customer was at the upstream.
    account: Option<Arc<str>>,
    owner: Owner,
}

/// Whose it is, as far as that is known before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Untold,
    Caller,
}

impl Default for Lasting {
    fn default() -> Self {
        // Room for a few is made at once, for more when they come.
        Self(Cache::with_weighter(USUAL, MAX, UnitWeighter))
    }
}

impl Lasting {
    fn knows(&self, asked: &Asked, owner: Owner) -> bool {
        self.0.get(&name(asked)).is_some_and(|allowed| {
            std::ptr::eq(allowed.caller.as_ptr(), Arc::as_ptr(&asked.caller))
                && Arc::ptr_eq(&allowed.action, &asked.call.action)
                && allowed.account == asked.account
                && allowed.owner == owner
        })
    }

    fn remember(&self, asked: &Asked, owner: Owner) {
        let allowed = Allowed {
            caller: Arc::downgrade(&asked.caller),
            action: Arc::clone(&asked.call.action),
            account: asked.account.clone(),
            owner,
        };
        self.0.insert(name(asked), Arc::new(allowed));
    }
}

fn name(asked: &Asked) -> Name {
    (Arc::as_ptr(&asked.caller).addr(), Arc::as_ptr(&asked.call.action).addr())
}

impl Gate {
    /// May they? From memory where that is as good.
    pub(super) fn decide(
        &self,
        asked: &Asked,
        facts: &Facts,
        resolved: &Resolved,
    ) -> Result<Decision, Refusal> {
        let Some(owner) = plain_read(asked, resolved) else {
            return self.judge_signals((asked, facts, resolved), |asked| self.policy.decide(asked));
        };
        let question = self.policy_question(asked, facts, resolved);
        if self.lasting.knows(asked, owner) {
            return Ok(Decision::Run);
        }
        let decision = self.policy.decide(&question)?;
        if decision == Decision::Run && self.policy.is_lasting(&asked.call) {
            self.lasting.remember(asked, owner);
        }
        Ok(decision)
    }
}

/// A read that nothing tells from the caller's other reads of this action, as far as policies can see:
/// no second effect, nothing that the contract asks the agent to say, and nobody else's.
fn plain_read(asked: &Asked, resolved: &Resolved) -> Option<Owner> {
    let [effect] = asked.call.effects.as_slice() else { return None };
    let read = effect.class == Class::Read && effect.kind.is_none();
    let said = !asked.contract.require.is_empty() || resolved.amount.is_some();
    if !read || asked.call.class != Class::Read || said {
        return None;
    }
    match &resolved.owner {
        None => Some(Owner::Untold),
        Some(owner) => (Some(&**owner) == asked.account.as_deref()).then_some(Owner::Caller),
    }
}

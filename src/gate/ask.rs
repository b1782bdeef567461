//! Who asks for what: the first two lines of the path, and what they lead to.

use std::sync::Arc;

use crate::action::AuthPlace;
use crate::alarm::Seen;
use crate::call::{AccountClaim, Call, Caller, Request};
use crate::clock::Timestamp;
use crate::contract::Contract;
use crate::disclosure;
use crate::gate::{Evidence, Gate, Site};
use crate::limits::Step;
use crate::operation;
use crate::refusal::Refusal;
use crate::value::Value;
use crate::wire;

/// An understood call of a verified caller.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What.
    pub call: Arc<Call>,
    /// Who.
    pub caller: Arc<Caller>,
    /// Who the customer is at the upstream.
    pub account: Option<Arc<str>>,
    /// What the action may do at best, for this agent.
    pub contract: Arc<Contract>,
    /// When it was asked: before now, for what was held.
    pub at: Timestamp,
    /// The counts that its signals hang on.
    pub seen: Vec<Seen>,
}

impl Asked {
    /// The call, as loops count it.
    pub(super) fn step(&self) -> Step<'_> {
        Step { call: &self.call, caller: &self.caller, price: self.contract.price }
    }
}

impl Gate {
    /// Verifies the caller, then classifies the call.
    pub(super) async fn ask(
        &self,
        request: &Request,
        evidence: &mut Evidence,
    ) -> Result<Asked, Refusal> {
        let road = self
            .catalog
            .road(request)
            .ok_or_else(|| Refusal::unknown_action(request.method.as_str(), &request.target))?;
        let pack = road.pack.traits();
        evidence.upstream_name = Some(Arc::clone(&road.upstream));
        evidence.pack = Some(Arc::clone(pack));
        let query = match &pack.auth {
            AuthPlace::Query(_) => wire::head(request)?.query,
            AuthPlace::Bearer | AuthPlace::Basic | AuthPlace::Header(_) => Value::Null,
        };
        let mark = evidence.mark(&self.clock);
        let caller = self.identity.verify(&request.headers, &pack.auth, &query, request.peer).await;
        evidence.passed("verify", mark, &self.clock);
        let caller = caller?;
        evidence.caller = Some(Arc::clone(&caller));
        self.freezes.revoked(&caller)?;
        let mark = evidence.mark(&self.clock);
        let call = self.catalog.classify(request);
        evidence.passed("classify", mark, &self.clock);
        let call = Arc::new(call?);
        evidence.call = Some(Arc::clone(&call));
        disclosure::ask(&call, &request.headers)?;
        self.asked(call, caller, evidence).await
    }

    /// A call and its caller, with the account and the contract that follow from them.
    pub(super) async fn asked(
        &self,
        call: Arc<Call>,
        caller: Arc<Caller>,
        evidence: &mut Evidence,
    ) -> Result<Asked, Refusal> {
        evidence.call = Some(Arc::clone(&call));
        evidence.caller = Some(Arc::clone(&caller));
        let account = self.account(&call, &caller).await?;
        evidence.account.clone_from(&account);
        // SECURITY: the vendor's key is ours to say, wherever it goes.
        operation::refuse_own_key(&call)?;
        let contract = self.policy.contract(&call.action, call.class, &caller.agent);
        evidence.contract = Some(Arc::clone(&contract));
        Ok(Asked { call, caller, account, contract, at: self.clock.now(), seen: Vec::new() })
    }

    /// Who the customer is at the upstream: the claim, else the look-up, else the customer.
    async fn account(&self, call: &Call, caller: &Caller) -> Result<Option<Arc<str>>, Refusal> {
        let claimed = match &caller.account {
            AccountClaim::Absent => None,
            AccountClaim::One(account) => Some(account),
            AccountClaim::ByUpstream(accounts) => {
                let here = accounts.iter().find(|(upstream, _)| **upstream == *call.upstream);
                // A token that names accounts, but none here, has none here.
                return Ok(here.map(|(_, account)| Arc::clone(account)));
            }
        };
        match claimed {
            Some(account) => Ok(Some(Arc::clone(account))),
            None if self.lookups.finds_account(&call.upstream) => {
                Box::pin(self.lookups.account(&call.upstream, caller)).await
            }
            None => Ok(caller.customer.clone()),
        }
    }

    /// The upstream of a call.
    pub(super) fn site(&self, call: &Call) -> Result<&Site, Refusal> {
        let missing =
            || Refusal::undecidable(format!("no upstream `{}` is configured", call.upstream));
        self.sites.get(&call.upstream).ok_or_else(missing)
    }
}

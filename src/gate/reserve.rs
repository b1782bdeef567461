//! May they, and is there room? What the facts come to, and the one atomic step of the store.

use std::sync::Arc;
use std::time::Duration;

use crate::bounds::{LEASE_MARGIN, SAME_WINDOW};
use crate::breaker::Reached;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::call::{Class, Consent, Digest, Facts, OperationId, Request, Resolved};
use crate::clock::Timestamp;
use crate::contract::{BudgetScope, Contract};
use crate::decision::Reason;
use crate::gate::known::Recall;
use crate::gate::parcel::Parcel;
use crate::gate::road::{self, Road};
use crate::gate::shadow::Weighed;
use crate::gate::{Admission, Asked, Evidence, Gate, Permit, Ticket};
use crate::limits;
use crate::operation;
use crate::outbound::Reply;
use crate::policy;
use crate::refusal::Refusal;
use crate::resolve;
use crate::store::{
    About, Against, Blocked, Entry, Likeness, Reserve, Reserved, Said, Token, Whose,
};

/// What is known of a call once its facts are read.
#[derive(Debug)]
pub(super) struct Judged {
    /// What the system of record said.
    pub facts: Facts,
    /// What the action's sources came to.
    pub resolved: Arc<Resolved>,
    /// The rules that hold it, or in shadow would have; none when it may run.
    pub reasons: Vec<Reason>,
    /// Who is asked, if anybody.
    pub queue: Arc<str>,
    /// What becomes of what speaks against it.
    pub against: Against,
}

/// How an effect enters the store.
pub(super) enum Entrance<'r> {
    /// The agent asks; what was seen by recall.
    Asked {
        /// The request, kept in case that it is held.
        request: &'r Request,
        /// Facts are from after this.
        seen: u64,
    },
    /// A person approved.
    Approved {
        /// Which.
        operation: OperationId,
        /// Facts are from after this.
        seen: u64,
        /// What is kept of it.
        parcel: &'r Parcel,
    },
}

/// What the store said of a reservation.
pub(super) enum Room {
    /// It may be sent.
    Granted(Ticket),
    /// Facts are old; read them again after this.
    Stale(u64),
    /// It is answered from memory.
    Known(Admission),
}

impl Gate {
    /// Reads the facts, unless they were read beside recall, and asks policy.
    pub(super) async fn judge_facts(
        &self,
        asked: &Asked,
        road: &mut Road,
        early: Option<Result<Facts, Refusal>>,
        evidence: &mut Evidence,
    ) -> Result<Judged, Refusal> {
        let (facts, resolved) = match early {
            Some(facts) => self.resolved(asked, facts?, evidence)?,
            None => self.known_facts(asked, road, evidence).await?,
        };
        let mark = evidence.mark(&self.clock);
        let weighed = self.weigh(asked, (&facts, &resolved), evidence);
        evidence.passed("policy", mark, &self.clock);
        let Weighed { reasons, queue, against } = weighed?;
        Ok(Judged { facts, resolved, reasons, queue, against })
    }

    /// The facts, and what the action's sources come to with them.
    pub(super) async fn known_facts(
        &self,
        asked: &Asked,
        road: &mut Road,
        evidence: &mut Evidence,
    ) -> Result<(Facts, Arc<Resolved>), Refusal> {
        let mark = evidence.mark(&self.clock);
        let facts = self.gathered(asked, road).await;
        evidence.passed("facts", mark, &self.clock);
        let facts = facts?;
        self.resolved(asked, facts, evidence)
    }

    /// What the system of record says.
    pub(super) async fn gathered(&self, asked: &Asked, road: &mut Road) -> Result<Facts, Refusal> {
        let account = asked.account.as_deref();
        let nothing = Facts::default();
        let scope =
            resolve::Scope { call: &asked.call, caller: &asked.caller, account, facts: &nothing };
        let pack = Arc::clone(&asked.call.action.pack);
        let mut seen = |reply: Option<&Reply>, span| {
            self.saw(road, Reached::Upstream, (road::health(&pack, reply), span));
        };
        match asked.call.action.facts.is_empty() {
            true => Ok(Facts::default()),
            false => Box::pin(self.lookups.gather(&scope, &mut seen)).await,
        }
    }

    fn resolved(
        &self,
        asked: &Asked,
        mut facts: Facts,
        evidence: &mut Evidence,
    ) -> Result<(Facts, Arc<Resolved>), Refusal> {
        asked.contract.assume(&mut facts);
        evidence.assumed.clone_from(&facts.assumed);
        // Nothing was read: there is nothing to be held to later.
        if !facts.read.is_empty() {
            evidence.facts = Some(operation::facts_digest(&facts));
        }
        let account = asked.account.as_deref();
        let scope =
            resolve::Scope { call: &asked.call, caller: &asked.caller, account, facts: &facts };
        let resolved = Arc::new(resolve::resolve(&scope)?);
        evidence.resolved = Some(Arc::clone(&resolved));
        Ok((facts, resolved))
    }

    /// What policy is asked.
    pub(super) fn policy_question<'q>(
        &self,
        asked: &'q Asked,
        facts: &'q Facts,
        resolved: &'q Resolved,
    ) -> policy::Question<'q> {
        policy::Question {
            call: &asked.call,
            caller: &asked.caller,
            account: asked.account.as_deref(),
            facts,
            resolved,
            tenant: None,
            now: self.clock.now(),
            asked: asked.at,
            signals: &[],
        }
    }

    /// Takes the room that an effect needs: resource, budgets, likeness and hold in one step.
    pub(super) async fn reserve(
        &self,
        asked: &Asked,
        judged: &Judged,
        entrance: Entrance<'_>,
        evidence: &mut Evidence,
    ) -> Result<Room, Refusal> {
        // SECURITY: who misses what another server had confirmed is waited for; a vendor that knows our keys
        // does nothing twice.
        let is_exposed = asked.call.class == Class::Financial && !self.is_keyed(asked)?;
        if is_exposed {
            self.store.is_met()?;
        }
        let reserve = self.reservation(asked, judged, entrance)?;
        evidence.digest = Some(reserve.about.digest);
        // The lease begins later than this, on the store's clock.
        let until = self.clock.steady().saturating_add(LEASE_MARGIN);
        match self.timed("reserve", Box::pin(self.store.reserve(reserve))).await? {
            Reserved::Granted(grant) => {
                evidence.granted(&grant);
                self.tell_budgets(&grant.record);
                if let Some(sealed) = self.store.intent(&grant.record)? {
                    evidence.intent = Some(STANDARD_NO_PAD.encode(sealed).into());
                }
                let (operation, token) = (grant.record.op, grant.token);
                let ticket = Ticket { operation, token, until };
                if is_exposed && let Err(fault) = self.store.is_met() {
                    self.give_back(ticket, "another server answered, nothing was sent").await;
                    return Err(fault.into());
                }
                Ok(Room::Granted(ticket))
            }
            Reserved::Held(record) => {
                evidence.held(&record);
                self.count_held(asked, &record);
                self.tell_budgets(&record);
                Err(self.held(&record))
            }
            Reserved::Known(known) => {
                evidence.recalled(&known);
                match self.told(asked, known)? {
                    Recall::Known(replay) => Ok(Room::Known(Admission::Replay(replay))),
                    Recall::Fresh(seen) => Ok(Room::Stale(seen)),
                }
            }
            Reserved::Mismatch(op) => Err(Refusal::key_reused().about(op)),
            Reserved::Lost => Err(Refusal::undecidable("the store lost the operation")),
            Reserved::Blocked(Blocked::Stale(seen)) => Ok(Room::Stale(seen)),
            Reserved::Blocked(blocked) => Err(self.blocked(asked, blocked)),
        }
    }

    /// Whether the vendor is trusted to know its key again.
    fn is_keyed(&self, asked: &Asked) -> Result<bool, Refusal> {
        let call = &asked.call;
        Ok(self.site(call)?.trusted && operation::is_keyed(&call.action, &call.method))
    }

    fn blocked(&self, asked: &Asked, blocked: Blocked) -> Refusal {
        let soon = Duration::from_secs(2);
        match blocked {
            Blocked::Frozen(freeze) => crate::freeze::refusal(&freeze, self.clock.now()),
            Blocked::InFlight(op) => Refusal::resource_busy(op, soon),
            Blocked::OutcomeUnknown(op) => Refusal::outcome_still_unknown(op),
            Blocked::Stale(_) => Refusal::undecidable("its facts kept changing"),
            Blocked::Rated { name, wait } => self.rates.shared_refusal(&name, wait),
            Blocked::Crowded(whose) => crowded(whose),
            Blocked::Alike(other) => Refusal::duplicate_suspected(
                &asked.call.action.name,
                other.op,
                other.created,
                other.state.name(),
            ),
            Blocked::Over { id, until } => {
                let per = BudgetScope::of_id(&id).unwrap_or(BudgetScope::Customer);
                Refusal::budget_exhausted(per, until).because(format!("no room in {id}"))
            }
        }
    }

    fn reservation(
        &self,
        asked: &Asked,
        judged: &Judged,
        entrance: Entrance<'_>,
    ) -> Result<Reserve, Refusal> {
        let (call, caller) = (&asked.call, &asked.caller);
        let site = self.site(call)?;
        let (mut reasons, mut against) = (judged.reasons.clone(), judged.against);
        // What was done before is not known: only a vendor that knows our keys would not do it twice, and
        // whoever asks the same again under a key of its own has another one there.
        if call.class == Class::Financial
            && let Some(lost) = self.store.lost()?
            && (!self.is_keyed(asked)? || self.clock.now().since(lost) < SAME_WINDOW)
        {
            reasons.push(lost_reason());
            // SECURITY: in shadow, too, nothing is done twice.
            against = Against::Stands;
        }
        // What a person approved was counted when it was asked.
        let rates = match entrance {
            Entrance::Asked { .. } => self.rates.shared(call, caller),
            Entrance::Approved { .. } => Vec::new(),
        };
        let (entry, seen, request) = match entrance {
            Entrance::Asked { request, seen } => {
                let name = operation::name(call, caller, asked.account.as_deref());
                let parcel = Parcel::of(request, asked, judged).pack();
                (Entry::Asked(name), seen, parcel)
            }
            Entrance::Approved { operation, seen, parcel } => {
                // Held anew, people are shown what is so now.
                (Entry::Approved(operation), seen, parcel.judged_again(&judged.facts))
            }
        };
        let about = self.about(asked, judged, site.origin);
        let duplicates = asked.contract.duplicates;
        let near =
            Likeness { alike: duplicates.alike, within: duplicates.within, near: duplicates.near };
        Ok(Reserve {
            entry,
            token: Token::random()?,
            lease: site
                .upstream
                .connect
                .saturating_add(site.upstream.answer)
                .saturating_add(LEASE_MARGIN),
            reasons,
            hold: self.approvals.rules.terms(
                &about,
                &asked.contract,
                (&judged.queue, self.deadline(&asked.contract, caller.consent_until)),
            ),
            seen,
            likeness: Some(near).filter(|_| about.kind.is_some()),
            budgets: limits::budgets(&asked.contract, &about),
            rates,
            brakes: self.brake_uses(asked, &judged.resolved),
            kinds: call.effects.iter().filter_map(|effect| effect.kind).collect(),
            about,
            request,
            against,
        })
    }

    pub(super) fn about(&self, asked: &Asked, judged: &Judged, origin: Digest) -> About {
        let (call, resolved) = (&asked.call, &judged.resolved);
        let context = &call.context;
        About {
            caller: asked.caller.key(),
            upstream: (*call.upstream).into(),
            account: asked.account.as_deref().unwrap_or_default().into(),
            action: (*call.action.name).into(),
            class: call.class,
            classes: call.effects.iter().map(|effect| effect.class).collect(),
            kind: call.effects.iter().find_map(|effect| effect.kind),
            owner: resolved.owner.clone(),
            resource: resolved.resource.clone(),
            amount: resolved.amount,
            summary: resolved.summary.as_str().into(),
            said: Said {
                case: context.case.clone(),
                reason: context.reason.clone(),
                model: context.model.clone(),
                confidence: context.confidence,
                intent: context.intent,
                key: context.key.clone(),
            },
            fingerprint: operation::fingerprint(call, asked.account.as_deref()),
            digest: operation::digest(call, &asked.caller, asked.account.as_deref(), resolved),
            facts: Some(operation::facts_digest(&judged.facts)),
            policy: Some((*self.policy_digest).into()),
            origin: Some(origin),
        }
    }

    /// When a hold that nobody answered ends: with the contract's patience, or with consent.
    fn deadline(&self, contract: &Contract, consent: Consent) -> Timestamp {
        let patience = self.clock.now().plus(contract.approval.expires);
        match consent {
            Consent::Until(until) => patience.min(until),
            Consent::Absent => patience,
        }
    }

    /// Its facts kept changing while it was judged.
    pub(super) fn still_moving(&self, evidence: &Evidence) -> Refusal {
        let soon = Duration::from_secs(2);
        match evidence.operation {
            Some(operation) => Refusal::resource_busy(operation, soon),
            None => Refusal::undecidable("its facts kept changing"),
        }
    }

    /// Proof that a call was admitted: the last thing before it is on record.
    pub(super) fn permit(
        &self,
        asked: Asked,
        judged: Judged,
        ticket: Option<Ticket>,
        road: Road,
    ) -> Result<Admission, Refusal> {
        let (upstream, class) = (&asked.call.upstream, asked.call.class);
        let secret = self.vault.open(upstream, class).ok_or_else(|| {
            Refusal::undecidable(format!(
                "upstream `{upstream}` has no credential for class {}",
                class.name()
            ))
        })?;
        let permit = Permit::new(asked, judged, ticket, road, secret);
        Ok(Admission::Forward(Box::new(permit)))
    }
}

/// Too many of an agent's or a customer's calls wait for people already.
fn crowded(whose: Whose) -> Refusal {
    let whose = match whose {
        Whose::Agent => "agent",
        Whose::Customer => "customer",
    };
    // BOUND: people answer in minutes.
    Refusal::too_many_waiting(Duration::from_secs(60))
        .because(format!("too many calls of this {whose} wait for approval already"))
}

/// Why money waits for a person after the store was lost.
fn lost_reason() -> Reason {
    Reason {
        policy: "store.lost".into(),
        why: "the store lost what it knew: whether this was done before is not known".into(),
        tell: "this needs a colleague's approval".into(),
    }
}

//! May they? The contracts' numbers and the policies' logic, over what is known of a call.
//!
//! Never counts (budgets, likeness and freezes are the store's), never asks the system of record, and
//! never lets what it cannot evaluate through.

mod asked;
mod book;
mod budgets;
mod cedar;
mod commitment;
mod context;
mod contracts;
mod profile;
mod rules;
mod schema;
mod show;
mod wants;

use std::collections::HashMap;
use std::sync::Arc;

pub use context::ConsentRule;
pub use contracts::Contracts;
pub use show::{Shown, ShownRule};

use crate::action::Action;
use crate::call::{Call, Caller, Class, Digest, Facts, Resolved};
use crate::clock::Timestamp;
use crate::contract::Contract;
use crate::decision::{Decision, Reason, Signal, Then};
use crate::refusal::{Asked, Next, Refusal};
use crate::value::piece;
use crate::yaml::{ConfigErrors, Faults};
use book::{Book, Known};
use cedar::{Engine, Judged, Slice};
use context::{Fresh, Offer, Types, View, WhatIf};
use profile::{Declares, Profile};
use rules::{Answer, Lift, Rule, Source};

/// The shipped policies.
pub const SHIPPED: &str = include_str!("../config/policies/default.cedar");

/// Contracts and policies, compiled for a catalog. Immutable; a reload makes another.
#[derive(Debug)]
pub struct Policy {
    types: Types,
    book: Book,
    engine: Engine,
    actions: HashMap<Arc<str>, Arc<Action>>,
    digest: Arc<str>,
}

/// What a policy is made of.
#[derive(Debug)]
pub struct Load<'l> {
    /// Every action of the catalog.
    pub actions: Vec<Arc<Action>>,
    /// The contracts as written.
    pub contracts: &'l Contracts,
    /// Further policy files: name and text.
    pub files: &'l [(String, String)],
    /// The queues that exist; `default` always does.
    pub queues: Vec<Arc<str>>,
    /// Whether the shipped set applies.
    pub shipped: Shipped,
    /// What missing consent means.
    pub consent: ConsentRule,
}

/// Whether the shipped policies apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipped {
    /// They do.
    Applied,
    /// They do not: the files are all there is.
    LeftOut,
}

/// Everything that is known of a call when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// What is asked.
    pub call: &'q Call,
    /// Who asks.
    pub caller: &'q Caller,
    /// Who the customer is at the upstream.
    pub account: Option<&'q str>,
    /// What the system of record said.
    pub facts: &'q Facts,
    /// What the action's sources came to.
    pub resolved: &'q Resolved,
    /// The tenant whose house the upstream is; the caller's own when `None`.
    pub tenant: Option<&'q str>,
    /// Now.
    pub now: Timestamp,
    /// When the agent asked: before now, for what was held. The sign-in is judged as of then.
    pub asked: Timestamp,
    /// What was seen so often that policies should know; of effects.
    pub signals: &'q [Signal],
}

/// What becomes of a hold that a person approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// It may run.
    Run,
    /// Something holds it that the person was not shown.
    HeldAnew {
        /// What holds it now, what was lifted already included.
        reasons: Vec<Reason>,
        /// What the person was not shown.
        changed: Vec<Reason>,
        /// Who is asked.
        queue: Arc<str>,
    },
    /// It may no longer be done.
    Refused(Box<Refusal>),
}

impl Policy {
    /// Reads, checks and compiles.
    ///
    /// # Errors
    ///
    /// Every fault of contracts and policies, with its place.
    pub fn load(load: &Load<'_>) -> Result<Self, ConfigErrors> {
        let types = Types::new().map_err(|e| cedar::internal(&e))?;
        let mut errors = ConfigErrors::default();
        let faults = Faults::of(&load.contracts.file);
        let by_name: HashMap<&str, &Action> =
            load.actions.iter().map(|action| (&*action.name, &**action)).collect();
        let known =
            Known { actions: &by_name, queues: &load.queues, types: &types, consent: load.consent };
        let book = Book::new(load.contracts, &known, &faults);
        errors.0.extend(faults.into_errors().0);

        let sources = sources(load);
        let compiled = rules::read(&sources, &load.queues)
            .and_then(|rules| Engine::new(rules, &load.actions, &types));
        match compiled {
            Ok(engine) if errors.0.is_empty() => Ok(Self {
                book,
                engine,
                actions: load
                    .actions
                    .iter()
                    .map(|a| (Arc::clone(&a.name), Arc::clone(a)))
                    .collect(),
                digest: digest(&sources, load).to_string().into(),
                types,
            }),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.0.extend(more.0);
                Err(errors)
            }
        }
    }

    /// The contract of `action` in a call of `class`, for `agent`.
    pub fn contract(&self, action: &Action, class: Class, agent: &str) -> Arc<Contract> {
        Arc::clone(&self.book.find(&action.name, class, agent).contract)
    }

    /// Equal for policies and contracts that say the same: `sha256:..`.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// Whether a decision about a call of `action` stays true for as long as token, account, owner,
    /// contracts and policies do.
    pub fn is_lasting(&self, call: &Call) -> bool {
        let slices = self.slices(call);
        slices.is_some_and(|slices| slices.iter().all(|slice| Engine::wants(slice).is_lasting()))
    }

    /// Judges a call that nobody approved.
    ///
    /// # Errors
    ///
    /// The refusal, when it is forbidden.
    pub fn decide(&self, question: &Question<'_>) -> Result<Decision, Refusal> {
        let offer = self.offer(question);
        asked::required(question, &offer.contract)?;
        let matched = self.matched(question, &[])?;
        if matched.is_empty() {
            return Ok(Decision::Run);
        }
        self.liftable(question, &matched)?;
        let sign_in: Vec<Reason> = reasons(&matched, |lift| *lift == Lift::SignIn);
        if !sign_in.is_empty() {
            let max_age = offer.contract.fresh_auth.as_secs();
            return Ok(Decision::Verify { reasons: sign_in, max_age });
        }
        if !question.call.class.is_effect() {
            // A hold is a state of an operation, and a read is none.
            return Err(self.refused(question, &matched));
        }
        let queue = first_queue(&matched, &offer.contract);
        let mut reasons = reasons(&matched, |lift| queue_of(lift, &offer.contract) == Some(&queue));
        say_what_was_seen(question, &mut reasons);
        Ok(Decision::Hold { reasons, queue })
    }

    /// Judges a hold again that a person approved; `shown` are the ids of the policies that they saw.
    ///
    /// INVARIANT: without approvals first. What holds it now and was not shown holds it anew: an
    /// approval lifts no rule that nobody saw.
    pub fn release(&self, question: &Question<'_>, shown: &[Box<str>]) -> Release {
        match self.try_release(question, shown) {
            Ok(release) => release,
            Err(refusal) => Release::Refused(Box::new(refusal)),
        }
    }

    fn try_release(&self, question: &Question<'_>, shown: &[Box<str>]) -> Result<Release, Refusal> {
        let contract = &self.offer(question).contract;
        let matched = self.matched(question, &[])?;
        if matched.is_empty() {
            return Ok(Release::Run);
        }
        self.liftable(question, &matched)?;
        if matched.iter().any(|rule| rule.lift == Lift::SignIn) {
            return Err(Refusal::step_up_required(contract.fresh_auth.as_secs()));
        }
        let seen = |rule: &&Arc<Rule>| shown.contains(&rule.reason.policy);
        let unseen: Vec<Arc<Rule>> = matched.iter().filter(|r| !seen(r)).cloned().collect();
        if unseen.is_empty() {
            // `liftable` allowed it with exactly these approved.
            return Ok(Release::Run);
        }
        let queue = first_queue(&unseen, contract);
        let changed = reasons(&unseen, |lift| queue_of(lift, contract) == Some(&queue));
        let mut all: Vec<Reason> = matched.iter().filter(seen).map(|r| r.reason.clone()).collect();
        all.extend(changed.iter().cloned());
        say_what_was_seen(question, &mut all);
        all.sort();
        Ok(Release::HeldAnew { reasons: all, changed, queue })
    }

    /// Whether a call that was not let run may go on in shadow. What is not about whose it is, who asks or what
    /// their token leaves out is only noted there.
    pub fn passes_in_shadow(&self, question: &Question<'_>) -> bool {
        // SECURITY: a negative refund is a charge in every mode.
        if question.resolved.amount.is_some_and(|amount| !context::counts(amount)) {
            return false;
        }
        let what_if = WhatIf { approved: &[], fresh: Fresh::AsIs };
        self.slices(question.call).is_some_and(|slices| {
            slices.into_iter().all(|slice| {
                self.engine.passes_in_shadow(slice, &self.view(question, slice), what_if)
            })
        })
    }

    fn view<'v>(&'v self, question: &'v Question<'v>, slice: &Slice) -> View<'v> {
        let (offer, wants) = (self.offer(question), Engine::wants(slice));
        View { question, offer, types: &self.types, wants }
    }

    fn offer(&self, question: &Question<'_>) -> &Offer {
        let Question { call, caller, .. } = question;
        self.book.find(&call.action.name, call.class, &caller.agent)
    }

    fn slices(&self, call: &Call) -> Option<Vec<&Slice>> {
        let declares = Declares::of(&call.action);
        let profile = |class, kind| Profile::new(class, kind, declares);
        if call.effects.is_empty() {
            return None;
        }
        let effects = call.effects.iter();
        effects
            .map(|effect| self.engine.slice(&call.action.name, profile(effect.class, effect.kind)))
            .collect()
    }

    /// The policies that forbid some effect of the call, each once; none = it may run.
    ///
    /// # Errors
    ///
    /// A refusal, when nothing can lift one of them, nothing permits it, or it cannot be evaluated.
    fn matched(
        &self,
        question: &Question<'_>,
        approved: &[Box<str>],
    ) -> Result<Vec<Arc<Rule>>, Refusal> {
        self.evaluate(question, WhatIf { approved, fresh: Fresh::AsIs })
    }

    /// Whether the call would be allowed if exactly these were lifted. Annotations alone would park
    /// calls that nothing permits.
    fn liftable(&self, question: &Question<'_>, matched: &[Arc<Rule>]) -> Result<(), Refusal> {
        let approved: Vec<Box<str>> = matched
            .iter()
            .filter(|rule| matches!(rule.lift, Lift::Contract | Lift::Queue(_)))
            .map(|rule| rule.reason.policy.clone())
            .collect();
        let signs_in = matched.iter().any(|rule| rule.lift == Lift::SignIn);
        let fresh = if signs_in { Fresh::Granted } else { Fresh::AsIs };
        let rest = self.evaluate(question, WhatIf { approved: &approved, fresh })?;
        match rest.first() {
            None => Ok(()),
            Some(rule) => Err(self.refused(question, std::slice::from_ref(rule))),
        }
    }

    fn evaluate(
        &self,
        question: &Question<'_>,
        what_if: WhatIf<'_>,
    ) -> Result<Vec<Arc<Rule>>, Refusal> {
        let Some(slices) = self.slices(question.call) else {
            return Err(broken("the call has no effect that the catalog can make"));
        };
        let mut matched: Vec<Arc<Rule>> = Vec::new();
        let mut unpermitted = false;
        for slice in slices {
            match self.engine.judge(slice, &self.view(question, slice), what_if) {
                Judged::Allowed => {}
                Judged::Forbidden(rules) => {
                    unpermitted |= rules.is_empty();
                    matched.extend(rules);
                }
                Judged::Broken { why, matched } => {
                    // SECURITY: what is not theirs looks the same whatever else is odd about it.
                    let other = matched.iter().any(|rule| rule.answer == Answer::NotFound);
                    let hide = || self.refused(question, &matched);
                    return Err(if other { hide() } else { broken(&why) });
                }
            }
        }
        matched.sort_by(|a, b| a.reason.cmp(&b.reason));
        matched.dedup_by(|a, b| a.reason.policy == b.reason.policy);
        if matched.iter().any(|rule| rule.lift == Lift::Never) {
            return Err(self.refused(question, &matched));
        }
        if let Some(amount) = question.resolved.amount
            && !context::counts(amount)
        {
            // SECURITY: a negative refund is a charge, and a huge one overflows.
            let why = format!("the amount {} is not from 1 to 10^12 minor units", amount.minor);
            return Err(Refusal::forbidden("there is no amount left to move").because(why));
        }
        if unpermitted {
            let refusal = Refusal::forbidden("nothing permits it");
            return Err(refusal.because("no policy permits it"));
        }
        Ok(matched)
    }

    /// The refusal of what these policies forbid for good.
    fn refused(&self, question: &Question<'_>, matched: &[Arc<Rule>]) -> Refusal {
        let hard = || matched.iter().filter(|rule| rule.lift == Lift::Never);
        let Some(first) = hard().min_by_key(|rule| rule.answer).or_else(|| matched.first()) else {
            return Refusal::forbidden("nothing permits it");
        };
        let Question { call, resolved, .. } = question;
        let contract = &self.offer(question).contract;
        let mut refusal = match first.answer {
            // An owner that is not known is nobody's mistake.
            Answer::NotFound if resolved.owner.is_some() => Refusal::nobodys(call).of_another(),
            Answer::NotFound => Refusal::nobodys(call),
            Answer::TooMuch => {
                let queue = &contract.approval.queue;
                Refusal::over_limit(&Asked { summary: &resolved.summary, queue })
            }
            Answer::Unclear => Refusal::confidence_too_low(call.context.confidence.unwrap_or(0)),
            Answer::Forbidden => {
                let mut refusal = Refusal::forbidden(&first.reason.tell);
                if !first.remedy.is_empty() {
                    refusal.detail = format!("{} {}", refusal.detail, first.remedy);
                    refusal.next = Some(Next::Escalated);
                }
                refusal
            }
        };
        refusal.reasons = hard().map(|rule| rule.reason.clone()).collect();
        let why = hard().map(|rule| format!("{}: {}", rule.reason.policy, rule.reason.why));
        refusal.because(why.collect::<Vec<_>>().join("; "))
    }
}

fn sources(load: &Load<'_>) -> Vec<Source> {
    let shipped = match load.shipped {
        Shipped::Applied => Some(("default.cedar", SHIPPED)),
        Shipped::LeftOut => None,
    };
    let files = load.files.iter().map(|(file, text)| (&**file, &**text));
    let source = |(file, text): (&str, &str)| Source { file: file.into(), text: text.into() };
    shipped.into_iter().chain(files).map(source).collect()
}

fn digest(sources: &[Source], load: &Load<'_>) -> Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut bytes = Vec::new();
    for source in sources {
        piece(&mut bytes, b'p', source.text.as_bytes());
    }
    piece(&mut bytes, b'q', format!("{:?}", load.consent).as_bytes());
    context.update(&bytes);
    load.contracts.hash_into(&mut context);
    let hash = context.finish();
    Digest(hash.as_ref().try_into().unwrap_or_default())
}

/// The shipped rule about signals.
const SEEN: &str = "signals.seen";

/// Approvers read which signals they were, in neutral words.
fn say_what_was_seen(question: &Question<'_>, reasons: &mut [Reason]) {
    let holding = question.signals.iter().filter(|signal| signal.then == Then::Hold);
    let words: Vec<&str> = holding.map(|signal| &*signal.seen).collect();
    for reason in reasons.iter_mut().filter(|reason| *reason.policy == *SEEN) {
        reason.why = words.join("; ").into();
    }
}

/// The reasons of the rules whose lift is of that sort, sorted.
fn reasons(rules: &[Arc<Rule>], which: impl Fn(&Lift) -> bool) -> Vec<Reason> {
    rules.iter().filter(|rule| which(&rule.lift)).map(|rule| rule.reason.clone()).collect()
}

fn queue_of<'q>(lift: &'q Lift, contract: &'q Contract) -> Option<&'q Arc<str>> {
    match lift {
        Lift::Contract => Some(&contract.approval.queue),
        Lift::Queue(queue) => Some(queue),
        Lift::Never | Lift::SignIn => None,
    }
}

/// Who is asked first. One hold asks one queue: what another queue must lift holds it anew once this
/// one has answered, so that nobody lifts what is not theirs to lift.
fn first_queue(rules: &[Arc<Rule>], contract: &Contract) -> Arc<str> {
    let own = rules.iter().any(|rule| rule.lift == Lift::Contract);
    let named = rules.iter().find_map(|rule| queue_of(&rule.lift, contract));
    match named {
        Some(queue) if !own => Arc::clone(queue),
        Some(_) | None => Arc::clone(&contract.approval.queue),
    }
}

/// What cannot be evaluated is not allowed.
fn broken(why: &str) -> Refusal {
    Refusal::forbidden("it could not be judged").because(format!("policy evaluation failed: {why}"))
}

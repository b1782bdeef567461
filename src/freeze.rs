//! Has a person stopped this? The kill switch, asked of every call and once more before its first
//! byte leaves.
//!
//! Never stops what is leaving already, and never waits for a disk: what is frozen is in memory, and
//! a freeze counts here from the moment that it is durable.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use smallvec::SmallVec;

use crate::call::{Call, Caller, Class, Kind};
use crate::clock::{Clock, Timestamp};
use crate::refusal::{Fault, Refusal};
use crate::store::{Bearer, Freeze, FreezeScope, Stops, Store, Subject};

/// What became of the stops of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Something is stopped that was not.
    Stopped,
    /// What was stopped runs again.
    Lifted,
}

/// What a file says is stopped: a scope a line, `#` begins a remark; nothing at all is everything.
///
/// SECURITY: what does not read stops everything: whoever made the file meant to stop something.
///
/// # Errors
///
/// The scope of everything, and what did not read.
pub fn scopes_of_file(text: &str) -> Result<Vec<FreezeScope>, (Vec<FreezeScope>, String)> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let scopes: Result<Vec<FreezeScope>, String> =
        lines.filter(|line| !line.is_empty()).map(|line| FreezeScope::parse([line])).collect();
    match scopes {
        Ok(scopes) if scopes.is_empty() => Ok(vec![FreezeScope::default()]),
        Ok(scopes) => Ok(scopes),
        Err(why) => Err((vec![FreezeScope::default()], why)),
    }
}

/// The freezes that hold.
#[derive(Debug)]
pub struct Freezes {
    store: Arc<Store>,
    clock: Clock,
    /// Stops of this process alone, that need no store: by a file, by a signal.
    here: ArcSwap<Vec<Freeze>>,
}

impl Freezes {
    /// Those of `store`.
    pub fn new(store: Arc<Store>, clock: Clock) -> Self {
        Self { store, clock, here: ArcSwap::default() }
    }

    /// Stops these scopes in this process from now on, in the place of whatever `by` stopped before; none
    /// lifts it. What changed: stopped, lifted, or nothing.
    pub fn stop_here(&self, by: &str, scopes: Vec<FreezeScope>, why: &str) -> Option<Event> {
        let (before, at) = (self.here.load(), self.clock.now());
        let own = |one: &&Freeze| *one.by == *by;
        let had: Vec<&FreezeScope> = before.iter().filter(own).map(|one| &one.scope).collect();
        if had == scopes.iter().collect::<Vec<_>>() {
            return None;
        }
        let event = if scopes.is_empty() { Event::Lifted } else { Event::Stopped };
        let mut all: Vec<Freeze> = before.iter().filter(|one| !own(one)).cloned().collect();
        all.extend(scopes.into_iter().enumerate().map(|(nth, scope)| Freeze {
            id: format!("{by}_{nth}").into(),
            scope,
            reason: why.into(),
            by: by.into(),
            at,
            until: None,
            issued_before: None,
            stops: Stops::Refused,
        }));
        self.here.store(Arc::new(all));
        Some(event)
    }

    /// Turns a call back that is in a frozen scope. Cheap enough for every read.
    ///
    /// # Errors
    ///
    /// `frozen`, with the scope in words; `undecidable` for a financial call while nobody can tell.
    pub fn check(&self, call: &Call, caller: &Caller) -> Result<(), Refusal> {
        let mut classes: SmallVec<[Class; 4]> = SmallVec::new();
        classes.push(call.class);
        classes.extend(call.effects.iter().map(|effect| effect.class));
        let kinds: SmallVec<[Kind; 4]> =
            call.effects.iter().filter_map(|effect| effect.kind).collect();
        let subject = Subject {
            classes: &classes,
            kinds: &kinds,
            agent: &caller.agent,
            tenant: &caller.tenant,
            customer: caller.customer.as_deref().unwrap_or_default(),
            action: &call.action.name,
            upstream: &call.upstream,
        };
        self.revoked(caller)?;
        let now = self.clock.now();
        let here = self.here.load();
        if let Some(freeze) = here.iter().find(|freeze| freeze.stops(&subject, now)) {
            return Err(refusal(freeze, now));
        }
        if let Some(freeze) = self.store.frozen(&subject) {
            return Err(refusal(&freeze, self.clock.now()));
        }
        // Money stays where it is while nobody knows what was stopped.
        if classes.contains(&Class::Financial) {
            self.store.fit_for_money()?;
        }
        Ok(())
    }

    /// Turns a caller back whose token a person has revoked.
    ///
    /// # Errors
    ///
    /// `unauthenticated`; the agent learns no more than that its token does not count.
    pub fn revoked(&self, caller: &Caller) -> Result<(), Refusal> {
        let bearer = Bearer {
            tenant: &caller.tenant,
            agent: &caller.agent,
            customer: caller.customer.as_deref().unwrap_or_default(),
            jti: caller.jti.as_deref(),
            issued_at: caller.issued_at.unwrap_or(Timestamp(i64::MIN)),
        };
        match self.store.revoked(&bearer) {
            None => Ok(()),
            Some(one) => Err(Refusal::unauthenticated(format!(
                "revoked: {} `{}` by {}: {}",
                one.id, one.scope, one.by, one.reason
            ))),
        }
    }

    /// Whether a freeze is of this process alone: by a file, by a signal that the store did not take yet.
    pub fn is_of_this_process(&self, id: &str) -> bool {
        self.here.load().iter().any(|one| *one.id == *id)
    }

    /// Every freeze that holds, and every brake that is on.
    pub fn list(&self) -> Vec<Freeze> {
        let here = self.here.load();
        here.iter().cloned().chain(self.store.freezes()).collect()
    }

    /// Stops a scope, for `span` or until somebody lifts it: durable, and in force here, once this
    /// returns.
    ///
    /// # Errors
    ///
    /// When it may not have been written: look at the list, and freeze again.
    pub async fn freeze(
        &self,
        scope: FreezeScope,
        span: Option<Duration>,
        reason: &str,
        by: &str,
    ) -> Result<Freeze, Fault> {
        let until = span.map(|span| self.clock.now().plus(span));
        self.store.freeze(scope, until, reason, by).await
    }

    /// Lifts a freeze; what it was, if there was one.
    ///
    /// # Errors
    ///
    /// When it may not have been written.
    pub async fn unfreeze(&self, id: &str) -> Result<Option<Freeze>, Fault> {
        self.store.unfreeze(id).await
    }
}

/// What a call in a frozen scope is told.
///
/// SECURITY: why and by whom is the operators'; the agent reads what is frozen, in its own names.
pub fn refusal(freeze: &Freeze, now: Timestamp) -> Refusal {
    // BOUND: nobody knows when a person lifts it; an hour is as far as a client should look ahead.
    let range = (Duration::from_secs(60), Duration::from_secs(3600));
    let left = freeze.until.map_or(range.0, |until| until.since(now));
    let why = format!("{} `{}` by {}: {}", freeze.id, freeze.scope, freeze.by, freeze.reason);
    Refusal::frozen(&words(&freeze.scope), left.clamp(Duration::from_secs(1), range.1)).because(why)
}

/// `Every financial call for this customer`.
fn words(scope: &FreezeScope) -> String {
    let text = scope.to_string();
    let parts: Vec<(&str, &str)> =
        text.split_whitespace().filter_map(|part| part.split_once('/')).collect();
    let named = |kind: &str| parts.iter().find(|(own, _)| *own == kind).map(|(_, name)| *name);
    let mut words = match (named("action"), named("kind"), named("class")) {
        (Some(action), ..) => action.to_owned(),
        (None, Some(kind), _) => format!("Every {} call", kind.replace('_', " ")),
        (None, None, Some(class)) => format!("Every {class} call"),
        (None, None, None) => "Everything".to_owned(),
    };
    for (kind, ending) in [
        ("agent", " of this agent"),
        ("customer", " for this customer"),
        ("tenant", " of this tenant"),
    ] {
        if named(kind).is_some() {
            words.push_str(ending);
        }
    }
    if let Some(upstream) = named("upstream") {
        words.push_str(" at ");
        words.push_str(upstream);
    }
    words
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::action::Owner;
    use crate::call::sample;
    use crate::refusal::Code;

    fn freezes() -> (Freezes, Clock) {
        let clock = Clock::by_hand(Timestamp(1_772_366_400_000));
        let store = Arc::new(Store::memory(clock.clone()).unwrap());
        (Freezes::new(store, clock.clone()), clock)
    }

    fn scope(text: &str) -> FreezeScope {
        FreezeScope::parse([text]).unwrap()
    }

    fn refund() -> Call {
        let action = sample::action("shop.refund.create", Class::Financial, Owner::Caller);
        let mut call = sample::call(action);
        let mut mail = call.effects.first().unwrap().clone();
        mail.class = Class::Communication;
        call.effects.first_mut().unwrap().kind = Some(Kind::Refund);
        call.effects.push(mail);
        call
    }

    #[tokio::test]
    async fn a_frozen_scope_is_refused_at_once_and_free_when_it_is_lifted() {
        let (freezes, _) = freezes();
        let (call, ann) = (refund(), sample::caller("bot", Some("ann")));
        assert!(freezes.check(&call, &ann).is_ok());
        let scope = scope("class/financial agent/bot");
        let freeze = freezes.freeze(scope, None, "odd refunds", "mia").await.unwrap();
        let refusal = freezes.check(&call, &ann).unwrap_err();
        assert_eq!(refusal.code, Code::Frozen);
        assert!(refusal.detail.starts_with("Every financial call of this agent is frozen by"));
        assert!(!refusal.detail.contains("odd refunds") && !refusal.detail.contains("mia"));
        assert!(refusal.why.contains("odd refunds") && refusal.why.contains("mia"));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(60)));
        assert!(freezes.check(&call, &sample::caller("bat", Some("ann"))).is_ok());
        let read = sample::call(sample::action("shop.order.retrieve", Class::Read, Owner::Public));
        assert!(freezes.check(&read, &ann).is_ok());
        assert_eq!(freezes.list(), std::slice::from_ref(&freeze));
        assert_eq!(freezes.unfreeze(&freeze.id).await.unwrap(), Some(freeze));
        assert!(freezes.check(&call, &ann).is_ok());
        assert_eq!(freezes.unfreeze("fz_0").await.unwrap(), None);
    }

    #[tokio::test]
    async fn every_part_of_a_scope_finds_its_call() {
        let (call, mut ann) = (refund(), sample::caller("bot", Some("ann")));
        ann.tenant = "t".into();
        let mut nobody = ann.clone();
        nobody.customer = None;
        for (text, stopped, words) in [
            ("all", true, "Everything is"),
            ("class/financial", true, "Every financial call is"),
            // The mail that goes with it.
            ("class/communication", true, "Every communication call is"),
            ("class/write", false, ""),
            ("kind/refund", true, "Every refund call is"),
            ("kind/message", false, ""),
            ("agent/bot", true, "Everything of this agent is"),
            ("agent/bo", false, ""),
            ("tenant/t", true, "Everything of this tenant is"),
            ("tenant/u", false, ""),
            ("customer/ann", true, "Everything for this customer is"),
            ("customer/bob", false, ""),
            ("action/shop.refund.create", true, "shop.refund.create is"),
            ("action/shop.refund", false, ""),
            ("upstream/shop", true, "Everything at shop is"),
            ("upstream/stripe", false, ""),
            ("customer/ann upstream/stripe", false, ""),
            ("customer/ann upstream/shop", true, "Everything for this customer at shop is"),
        ] {
            let (freezes, _) = freezes();
            freezes.freeze(scope(text), None, "r", "mia").await.unwrap();
            let detail = freezes.check(&call, &ann).err().map(|refusal| refusal.detail);
            assert_eq!(detail.is_some(), stopped, "{text}");
            assert!(detail.unwrap_or_default().starts_with(words), "{text}");
            if text.contains("customer/") {
                assert!(freezes.check(&call, &nobody).is_ok(), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_freeze_ends_when_it_said_and_says_when_to_come_back() {
        let (freezes, clock) = freezes();
        let (call, ann) = (refund(), sample::caller("bot", Some("ann")));
        let span = Duration::from_secs(7200);
        freezes.freeze(scope("all"), Some(span), "r", "mia").await.unwrap();
        let wait = |freezes: &Freezes| freezes.check(&call, &ann).unwrap_err().retry_after.unwrap();
        assert_eq!(wait(&freezes), Duration::from_secs(3600));
        clock.turn(Duration::from_millis(7_199_999));
        assert_eq!(wait(&freezes), Duration::from_secs(1));
        clock.turn(Duration::from_millis(1));
        assert!(freezes.check(&call, &ann).is_ok());
        assert!(freezes.list().is_empty());
    }

    #[tokio::test]
    async fn a_freeze_outlives_the_process() {
        let clock = Clock::by_hand(Timestamp(1_772_366_400_000));
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let seal = crate::store::SealingKey::new([7; 32]).unwrap();
            let store = Store::embedded(dir.path(), seal, clock.clone()).unwrap();
            Freezes::new(Arc::new(store), clock.clone())
        };
        let freezes = open();
        freezes.freeze(scope("all"), None, "r", "mia").await.unwrap();
        drop(freezes);
        let (call, ann) = (refund(), sample::caller("bot", Some("ann")));
        assert_eq!(open().check(&call, &ann).unwrap_err().code, Code::Frozen);
    }

    #[test]
    fn a_file_stops_this_process_and_lifts_what_it_stopped() {
        let (freezes, _) = freezes();
        let (call, caller) = (refund(), sample::caller("bot", Some("c")));
        let other = freezes.stop_here("file", vec![scope("agent/other")], "look");
        assert_eq!(other, Some(Event::Stopped));
        assert!(freezes.check(&call, &caller).is_ok());
        let all = scopes_of_file("# why\n\n").unwrap();
        assert_eq!(freezes.stop_here("file", all.clone(), "look"), Some(Event::Stopped));
        assert_eq!(freezes.check(&call, &caller).unwrap_err().code, Code::Frozen);
        assert_eq!(freezes.stop_here("file", all, "look"), None, "the same again");
        freezes.stop_here("signal", vec![scope("class/financial")], "");
        assert_eq!(freezes.stop_here("file", Vec::new(), "look"), Some(Event::Lifted));
        assert_eq!(freezes.check(&call, &caller).unwrap_err().code, Code::Frozen, "by the signal");
        assert_eq!(freezes.list().len(), 1);
        let (stops, why) = scopes_of_file("class/financial\nclass/money").unwrap_err();
        assert_eq!(stops, [FreezeScope::default()]);
        assert!(why.contains("`money` is no class"), "{why}");
        let two = scopes_of_file("class/financial agent/a # a spike\ncustomer/c\n").unwrap();
        assert_eq!(two, [scope("class/financial agent/a"), scope("customer/c")]);
    }
}

//! What operators do through the console: answer holds, freeze, look. Each of it is on record.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::approval::{Objection, Operator};
use crate::audit::{Entry, Event};
use crate::call::{Digest, FactValue, OperationId, Outcome};
use crate::clock::Timestamp;
use crate::gate::parcel::Parcel;
use crate::gate::record::{Told, settling};
use crate::gate::{Evidence, Gate};
use crate::refusal::Fault;
use crate::store::{Freeze, FreezeScope, Lift, Record, Settled, State, Witness};
use crate::telemetry::RoadStands;

/// BOUND: as much of a held body as a person reads.
const HELD_BODY_CHARS_MAX: usize = 4_000;

/// What a person says of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Whether it happened.
    pub happened: Happened,
    /// How they know.
    pub reason: Box<str>,
    /// The vendor's own name of what it made.
    pub made: Option<Box<str>>,
    /// A no also while the vendor may still show that it happened.
    pub is_forced: bool,
}

/// Whether something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It did.
    Yes,
    /// It did not.
    No,
}

/// What a held call would send, for the person who answers it.
#[derive(Debug)]
pub struct HeldRequest {
    /// Method and target.
    pub line: String,
    /// The body as text.
    pub body: Option<String>,
}

impl Gate {
    /// A person's yes; the sweep takes it up at once.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn approve(
        &self,
        op: OperationId,
        operator: &Operator,
        shown: Digest,
        reason: &str,
    ) -> Result<Arc<Record>, Objection> {
        self.not_from_a_chat_before(op, operator).await?;
        let record = self.approvals.approve(op, operator, shown, reason).await?;
        self.said_on_record(Event::Approved, &record, operator, reason).await?;
        self.standing.wake.notify_one();
        Ok(record)
    }

    /// A person's no.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn deny(
        &self,
        op: OperationId,
        operator: &Operator,
        reason: &str,
    ) -> Result<Arc<Record>, Objection> {
        let record = self.approvals.deny(op, operator, reason).await?;
        self.said_on_record(Event::Denied, &record, operator, reason).await?;
        Ok(record)
    }

    async fn said_on_record(
        &self,
        event: Event,
        record: &Arc<Record>,
        operator: &Operator,
        reason: &str,
    ) -> Result<(), Objection> {
        // One yes of several answers nothing yet.
        let answers = event != Event::Resolved && record.state != State::Held;
        if let (Some(hold), true) = (&record.hold, answers) {
            let waited = record.updated.since(hold.since);
            self.count_answer(&hold.queue, event, waited);
        }
        let evidence = Evidence::of_record(record, &self.clock);
        let verdict = crate::decision::Verdict::Hold;
        let mut entry = evidence.entry(event, verdict, &self.policy_digest);
        entry.by = Some((*operator.name).into());
        entry.note = (!reason.is_empty()).then(|| crate::redact::text(reason).into());
        entry.approvals = record.approval.as_ref().map(|a| a.policies.clone()).unwrap_or_default();
        self.tell_said(event, record, &operator.name);
        Ok(self.audit.record(entry).await?)
    }

    /// A person's word on what became of an operation whose outcome is not known, or is pending.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn resolve(
        &self,
        op: OperationId,
        operator: &Operator,
        word: &Word,
    ) -> Result<Arc<Record>, Objection> {
        let record = self.approvals.show(op).await?;
        self.approvals.may_resolve(&self.queue_of(&record), operator)?;
        let ripe = self.ripe_for_a_no(&record);
        // SECURITY: a no too early lets the same call run beside one that only shows late.
        if word.happened == Happened::No && !word.is_forced && self.clock.now() < ripe {
            return Err(Objection::TooEarly(ripe));
        }
        let outcome = match (word.happened, record.state) {
            (Happened::Yes, _) => Outcome::Succeeded,
            (Happened::No, State::Done { .. }) => Outcome::Rejected,
            (Happened::No, _) => Outcome::NotSent,
        };
        let by = Witness::Person((*operator.name).into());
        let note = crate::redact::text(&word.reason);
        let told = Told { by, made: word.made.clone(), ..Told::of(op, outcome, &note) };
        let evidence = Evidence::of_record(&record, &self.clock);
        self.found_on_record(outcome, Some(&operator.name), &evidence).await?;
        match self.store.settle(settling(&told), None).await? {
            Settled::Ok(record) => {
                self.said_on_record(Event::Resolved, &record, operator, &word.reason).await?;
                Ok(record)
            }
            Settled::Fenced(record) => Err(Objection::Answered(record.state.name())),
            Settled::Lost => Err(Objection::Unknown),
        }
    }

    /// A person has seen to it that nothing is done twice after the store was lost.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn clear_loss(&self, operator: &Operator, reason: &str) -> Result<(), Objection> {
        self.approvals.may_speak(operator)?;
        let mut entry = Entry::of(Event::Cleared);
        entry.by = Some((*operator.name).into());
        entry.note = Some(crate::redact::text(reason).into());
        self.audit.record(entry).await?;
        Ok(self.store.clear_loss().await?)
    }

    /// Who is asked about such an operation.
    pub(super) fn queue_of(&self, record: &Record) -> Arc<str> {
        let about = &record.about;
        let action = self.catalog.actions().find(|action| *action.name == *about.action);
        match (action, &record.hold) {
            (Some(action), _) => {
                let contract = self.policy.contract(action, about.class, &about.caller.agent);
                Arc::clone(&contract.approval.queue)
            }
            (None, Some(hold)) => Arc::from(&*hold.queue),
            (None, None) => Arc::from("default"),
        }
    }

    /// What a held call would send; `None` when it is not kept any more.
    pub async fn held_request(&self, op: OperationId) -> Option<HeldRequest> {
        let parcel = Parcel::open(&self.store.request(op).await.ok()??)?;
        // SECURITY: it is the agent's text: nothing in it may steer a terminal or a page.
        let shown = |text: String| crate::redact::bounded(&text, HELD_BODY_CHARS_MAX);
        Some(HeldRequest { line: shown(parcel.line()), body: parcel.body_text().map(shown) })
    }

    /// Stops a scope, at once in this process.
    ///
    /// # Errors
    ///
    /// When it cannot be written down: then it does not hold.
    pub async fn freeze(
        &self,
        scope: FreezeScope,
        span: Option<Duration>,
        reason: &str,
        operator: &Operator,
    ) -> Result<Freeze, Fault> {
        let until = span.map(|span| self.clock.now().plus(span));
        let freeze = self.store.freeze(scope, until, reason, &operator.name).await?;
        self.freeze_on_record(Event::Frozen, &freeze, operator).await?;
        Ok(freeze)
    }

    /// Lifts a freeze; false when there is none of that id.
    ///
    /// # Errors
    ///
    /// When it cannot be written down: then it still holds.
    pub async fn unfreeze(&self, id: &str, operator: &Operator) -> Result<bool, Fault> {
        let Some(freeze) = self.lift(id, Lift::Now).await? else { return Ok(false) };
        let event = match freeze.issued_before {
            Some(_) => Event::Restored,
            None => Event::Unfrozen,
        };
        self.freeze_on_record(event, &freeze, operator).await?;
        self.standing.wake.notify_one();
        Ok(true)
    }

    /// Tokens in that scope that were issued by then count no more, here at once; what was held for them is
    /// refused when it comes to be sent.
    ///
    /// # Errors
    ///
    /// When it cannot be written down: then they still count.
    pub async fn revoke(
        &self,
        scope: FreezeScope,
        issued_before: Option<Timestamp>,
        reason: &str,
        operator: &Operator,
    ) -> Result<Freeze, Fault> {
        let before = issued_before.unwrap_or_else(|| self.clock.now());
        let revoked = self.store.revoke(scope, before, reason, &operator.name).await?;
        self.freeze_on_record(Event::Revoked, &revoked, operator).await?;
        Ok(revoked)
    }

    async fn freeze_on_record(
        &self,
        event: Event,
        freeze: &Freeze,
        operator: &Operator,
    ) -> Result<(), Fault> {
        let mut entry = Entry::of(event);
        entry.by = Some((*operator.name).into());
        let words = format!("{}: {} ({})", freeze.id, freeze.scope, freeze.reason);
        entry.note = Some(crate::redact::text(&words).into());
        self.tell_frozen(event, freeze, &operator.name);
        self.audit.record(entry).await
    }

    /// Whether calls can be served: the store answers, the log can be written, keys are known.
    ///
    /// # Errors
    ///
    /// What is not well, for whoever reads the probe.
    pub fn ready(&self) -> Result<(), String> {
        self.store.health().map_err(|fault| fault.to_string())?;
        self.store.is_the_same().map_err(|fault| fault.to_string())?;
        self.store.is_met().map_err(|fault| fault.to_string())?;
        self.audit.health().map_err(|fault| fault.to_string())?;
        match self.identity.without_keys().into_iter().next() {
            Some((issuer, why)) => Err(format!("the keys of issuer `{issuer}`: {why}")),
            None => Ok(()),
        }
    }

    /// Everything that is counted, in the exposition format of Prometheus.
    pub async fn metrics(&self) -> String {
        if let Ok(counts) = self.store.counts().await {
            self.telemetry.operations(&counts);
        }
        self.count_standing().await;
        self.count_letters();
        self.count_checkpoints();
        for (name, site) in &self.sites {
            self.telemetry.breaker(name, site.breaker.shown().name());
            let lanes = site.lanes.seen();
            let stands = RoadStands {
                actions_shut: site.breaker.actions_shown().len(),
                in_flight: lanes.in_flight,
                lanes: lanes.lanes,
                waiting: lanes.waiting,
            };
            self.telemetry.road(name, stands);
        }
        let process = self.process.seen();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        self.telemetry.process(process.in_flight, process.lanes, tasks);
        self.telemetry.render()
    }

    /// The latest records, oldest first.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn records(&self, last: usize) -> std::io::Result<Vec<Value>> {
        let Some(dir) = &self.audit_dir else { return Ok(Vec::new()) };
        let lines = crate::audit::tail(dir, last)?;
        Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// What runs: digests, fingerprints, no secret.
    pub fn described(&self) -> Value {
        let roads = self.catalog.roads().iter().map(|road| {
            json!({
                "upstream": road.upstream,
                "pack": road.pack.traits().name,
                "actions": road.pack.actions().len(),
                "breaker": self.sites.get(&road.upstream).map(|site| site.breaker.shown().name()),
            })
        });
        let secrets = self.vault.shown().into_iter().map(|secret| {
            json!({
                "upstream": secret.upstream,
                "class": secret.class.name(),
                "from": secret.reference,
                "fingerprint": secret.fingerprint,
                "loaded": secret.loaded.to_string(),
                "failure": secret.failure,
            })
        });
        let issuers = self.identity.failing().into_iter();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "issuers_failing": issuers.map(|(name, why)| json!({ "issuer": &*name, "why": why })).collect::<Vec<_>>(),
            "policy_digest": &*self.policy_digest,
            "mode": self.rollout.usual().name(),
            "shadow": self.rollout.shadows(),
            "rollout": self.rollout.described(),
            "upstreams": roads.collect::<Vec<_>>(),
            "credentials": secrets.collect::<Vec<_>>(),
        })
    }
}

/// Facts as a person reads them.
pub(super) fn facts_shown(facts: &crate::call::Facts) -> Value {
    let mut shown = Map::new();
    for (name, fact) in &facts.read {
        for (field, value) in &fact.fields {
            let value = match value {
                FactValue::Text(text) => json!(text),
                FactValue::Long(number) => json!(number),
                FactValue::Bool(yes) => json!(yes),
                FactValue::Time(at) => json!(at.to_string()),
            };
            shown.insert(format!("{name}.{field}"), value);
        }
    }
    Value::Object(shown)
}

//! Was a rule right? What people say of a call that a rule spoke against, and what the rules cost.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::approval::{Objection, Operator};
use crate::audit::{Asked, Event};
use crate::call::OperationId;
use crate::decision::Verdict;
use crate::gate::{Evidence, Gate};
use crate::store::{Note, Record};

/// What a person says of a rule's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nobody had to look at it.
    Needless,
    /// Somebody had to.
    Right,
}

impl Mark {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Needless => "needless",
            Self::Right => "right",
        }
    }
}

/// The rules that spoke against an operation, if any did.
fn spoke(record: &Record) -> Option<Vec<Box<str>>> {
    let held = record.hold.as_ref().map(|hold| &hold.reasons);
    let noted = record.shadow.as_ref().map(|shadow| &shadow.reasons);
    let reasons = held.or(noted)?;
    Some(reasons.iter().map(|reason| reason.policy.clone()).collect())
}

impl Gate {
    /// Whether somebody may say whether the rules were right about an operation.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_mark(&self, record: &Record, operator: &Operator) -> Result<(), Objection> {
        if spoke(record).is_none() {
            return Err(Objection::NobodySpoke);
        }
        self.approvals.may_resolve(&self.queue_of(record), operator)
    }

    /// A person's word on whether the rules were right about an operation. It changes nothing of it; of several
    /// the last counts. The log has it for the report, the operation's timeline for whoever looks in any replica.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub async fn mark(
        &self,
        op: OperationId,
        operator: &Operator,
        (mark, reason): (Mark, &str),
    ) -> Result<Arc<Record>, Objection> {
        let record = self.approvals.show(op).await?;
        self.may_mark(&record, operator)?;
        let note = crate::redact::text(reason);
        let evidence = Evidence::of_record(&record, &self.clock);
        let mut entry = evidence.entry(Event::Marked, Verdict::Allow, &self.policy_digest);
        // It decides nothing.
        entry.decision = None;
        entry.by = Some((*operator.name).into());
        entry.note = Some(note.as_str()).filter(|note| !note.is_empty()).map(Into::into);
        entry.mark = Some(mark.name());
        entry.policies = spoke(&record).unwrap_or_default();
        self.tell_said(Event::Marked, &record, &operator.name);
        self.audit.record(entry).await?;
        let words = if note.is_empty() { String::new() } else { format!(": {note}") };
        let what = format!("marked {}{words}", mark.name());
        self.store.note(Note { op, what: what.into(), by: (*operator.name).into() }).await?;
        self.approvals.show(op).await
    }

    /// What this process's log says the rules cost, and would have; lines of tenants that `sees` says no to are
    /// left out. So many single ones are listed.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn report(
        &self,
        asked: Asked,
        listed: usize,
        sees: &dyn Fn(Option<&str>) -> bool,
    ) -> std::io::Result<Value> {
        let Some(dir) = &self.audit_dir else { return Ok(json!({})) };
        let summary = crate::audit::summary(std::slice::from_ref(dir), asked, sees)?;
        let mut shown = summary.shown();
        if let (Value::Object(members), true) = (&mut shown, listed > 0) {
            members.insert("list".to_owned(), summary.listed(listed));
        }
        Ok(shown)
    }
}

//! What becomes of what policy decided: is it done, or only noted?

use std::sync::Arc;

use crate::call::{Facts, Resolved};
use crate::decision::{Decision, Mode, Reason, Shadow};
use crate::gate::known::why;
use crate::gate::{Asked, Evidence, Gate};
use crate::refusal::{Code, InShadow, Refusal};
use crate::store::Against;
use crate::telemetry::{Level, LogLine};

/// What policy and rollout say of a call that goes on.
pub(super) struct Weighed {
    /// The rules that hold it, or in shadow would have.
    pub reasons: Vec<Reason>,
    /// Who is asked, if anybody.
    pub queue: Arc<str>,
    /// What becomes of what speaks against it.
    pub against: Against,
}

impl Gate {
    /// Asks policy, and whether what it says is done.
    pub(super) fn weigh(
        &self,
        asked: &Asked,
        (facts, resolved): (&Facts, &Resolved),
        evidence: &mut Evidence,
    ) -> Result<Weighed, Refusal> {
        let decided = self.decide(asked, facts, resolved);
        match self.rollout.mode(&asked.call, &asked.caller) {
            Mode::Enforce => self.enforced(asked, decided?),
            Mode::Shadow => self.noted(asked, (facts, resolved), decided, evidence),
        }
    }

    fn enforced(&self, asked: &Asked, decision: Decision) -> Result<Weighed, Refusal> {
        let (call, caller) = (&asked.call, &asked.caller);
        let queue = Arc::clone(&asked.contract.approval.queue);
        match decision {
            Decision::Run => {
                let reasons = self.rollout.left_out(call, caller).into_iter().collect();
                Ok(Weighed { reasons, queue, against: Against::Stands })
            }
            Decision::Hold { reasons, .. } if !call.class.is_effect() => {
                // A read cannot wait for a person: nothing of it is kept.
                let tell = reasons.first().map_or("it needs a person", |r| &r.tell);
                Err(Refusal::forbidden(tell).because(why(&reasons)))
            }
            Decision::Hold { reasons, queue } => {
                Ok(Weighed { reasons, queue, against: Against::Stands })
            }
            Decision::Verify { reasons, max_age } => {
                let mut refusal = Refusal::step_up_required(max_age).because(why(&reasons));
                refusal.reasons = reasons;
                Err(refusal)
            }
        }
    }

    /// SECURITY: only what says no by a policy, a cap or a budget is noted. Whose it is was judged by the same
    /// rules as ever ([`crate::policy::Policy::passes_in_shadow`]), whatever else speaks against the call.
    fn noted(
        &self,
        asked: &Asked,
        (facts, resolved): (&Facts, &Resolved),
        decided: Result<Decision, Refusal>,
        evidence: &mut Evidence,
    ) -> Result<Weighed, Refusal> {
        let (code, reasons) = match &decided {
            Ok(Decision::Run) => (None, Vec::new()),
            Ok(Decision::Hold { reasons, .. }) => (Some(Code::ApprovalRequired), reasons.clone()),
            Ok(Decision::Verify { .. }) => return self.enforced(asked, decided?),
            Err(refusal) => (Some(refusal.code), refusal.reasons.clone()),
        };
        if let Some(code) = code {
            let passes = || {
                let known = (asked, facts, resolved);
                self.judge_signals(known, |question| self.policy.passes_in_shadow(question))
            };
            if code.in_shadow() == InShadow::Stands || !passes() {
                return self.enforced(asked, decided?);
            }
        }
        if let (Some(code), false) = (code, asked.call.class.is_effect()) {
            // Of an effect the store says it, with what it finds itself.
            let mut reasons = reasons.clone();
            reasons.sort();
            evidence.shadow = Some(Box::new(Shadow { code, reasons }));
        }
        let refused = code.filter(|code| *code != Code::ApprovalRequired);
        let queue = Arc::clone(&asked.contract.approval.queue);
        Ok(Weighed { reasons, queue, against: Against::Noted { refused } })
    }

    /// Operators are told, at start and whenever it changes, what runs in shadow.
    pub fn tell_shadow(&self) {
        let scopes = self.rollout.shadows();
        self.telemetry.shadow(&scopes);
        if scopes.is_empty() {
            return;
        }
        let what = "IN SHADOW: policies, caps, budgets and holds are noted, not applied: money moves without \
                    approval";
        let mut line = LogLine::new(Level::Warn, what);
        line.text("scope", Some(&scopes.join("; ")));
        line.text("do", Some("tollhouse report; then set `mode: enforce`"));
        self.telemetry.tell(line);
    }
}

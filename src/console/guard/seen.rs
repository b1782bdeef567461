//! Is it theirs? Everything that is loaded by an id or listed passes here, whoever asks for it.
//!
//! What is another tenant's is answered exactly as what does not exist.

use std::sync::Arc;

use axum::response::Response;
use serde_json::Value;

use super::Signed;
use crate::approval::{Objection, Tenants};
use crate::audit::Event;
use crate::call::OperationId;
use crate::console::{Console, objection, problem};
use crate::gate::NearBudget;
use crate::store::{Freeze, FreezeScope, Record};

/// How much of a freeze is somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theirs {
    /// It is of their tenant: all of it, and they may lift it if they operate.
    Whole,
    /// It stops them as well as everybody: they see that it holds, not who says why.
    Outline,
    /// It is about somebody else.
    Nothing,
}

impl Signed {
    /// Whether they may see an operation, and what is on it.
    pub fn sees(&self, record: &Record) -> bool {
        self.operator().tenants.hold(&record.about.caller.tenant)
    }

    /// Whether every tenant's is theirs.
    pub fn is_bound_to_no_tenant(&self) -> bool {
        self.operator().tenants == Tenants::All
    }

    /// What of a freeze they may see.
    pub fn sees_freeze(&self, freeze: &Freeze) -> Theirs {
        match (&self.operator().tenants, freeze.scope.tenant()) {
            (Tenants::All, _) => Theirs::Whole,
            (tenants @ Tenants::These(_), Some(tenant)) if tenants.hold(tenant) => Theirs::Whole,
            (Tenants::These(_), Some(_)) => Theirs::Nothing,
            (Tenants::These(_), None) => {
                // SECURITY: a scope that names an agent or a customer of no tenant may name somebody
                // else's.
                let kind = freeze.scope.kind();
                let names_nobody =
                    |part: &str| ["all", "class", "kind", "action", "upstream"].contains(&part);
                if kind.split('+').all(names_nobody) { Theirs::Outline } else { Theirs::Nothing }
            }
        }
    }

    /// Whether they may stop a scope: who is bound to tenants names one of them.
    ///
    /// # Errors
    ///
    /// What the scope lacks, for whoever wrote it.
    pub fn may_freeze(&self, scope: &FreezeScope) -> Result<(), String> {
        match (&self.operator().tenants, scope.tenant()) {
            (Tenants::All, _) => Ok(()),
            (tenants @ Tenants::These(_), Some(tenant)) if tenants.hold(tenant) => Ok(()),
            (Tenants::These(names), _) => Err(format!(
                "`{}` may only freeze within {}: name it in the scope",
                self.operator().name,
                shown(names)
            )),
        }
    }

    /// Whether they may see a record of the log: one that names a tenant of theirs.
    pub fn sees_line(&self, line: &Value) -> bool {
        self.sees_tenant_of_line(line.get("tenant").and_then(Value::as_str))
    }

    /// Whether they may see a record of the log that names that tenant, or none.
    pub fn sees_tenant_of_line(&self, tenant: Option<&str>) -> bool {
        match (&self.operator().tenants, tenant) {
            (Tenants::All, _) => true,
            (tenants @ Tenants::These(_), Some(tenant)) => tenants.hold(tenant),
            (Tenants::These(_), None) => false,
        }
    }
}

fn shown(names: &[Box<str>]) -> String {
    if names.is_empty() {
        return "no tenant at all".to_owned();
    }
    names.iter().map(|name| format!("tenant/{name}")).collect::<Vec<_>>().join(" or ")
}

impl Console {
    /// The operation of that id, if it is theirs.
    ///
    /// # Errors
    ///
    /// The answer: no id, none such (or somebody else's), or no store.
    pub async fn operation(&self, signed: &Signed, id: &str) -> Result<Arc<Record>, Response> {
        let op = OperationId::parse(id)
            .ok_or_else(|| problem(400, "expected an operation as `op_..`"))?;
        let record = self.gate().approvals.show(op).await.map_err(objection)?;
        if signed.sees(&record) { Ok(record) } else { Err(objection(Objection::Unknown)) }
    }

    /// The operations in a state that are theirs.
    ///
    /// # Errors
    ///
    /// The answer: no such state, or no store.
    pub async fn operations(
        &self,
        signed: &Signed,
        state: Option<&str>,
    ) -> Result<Vec<Arc<Record>>, Response> {
        let all = self.gate().approvals.list(state).await.map_err(objection)?;
        Ok(all.into_iter().filter(|record| signed.sees(record)).collect())
    }

    /// The budgets of theirs that are near, as far as the latest operations tell.
    ///
    /// # Errors
    ///
    /// 503 when the store does not answer.
    pub async fn budgets_near(&self, signed: &Signed) -> Result<Vec<NearBudget>, Response> {
        let theirs = self.operations(signed, None).await?;
        let near = self.gate().budgets_near(&theirs).await;
        near.map_err(|fault| problem(503, &fault.to_string()))
    }

    /// Puts on record that they asked for what is not theirs. `what` is our own word for it.
    pub async fn forbidden(&self, signed: &Signed, what: &str) {
        let by = (Some(&*signed.operator().name), what);
        self.gate().turned_away(Event::Forbidden, "rule", by).await;
    }

    /// What the gate said of an answer; that somebody may not give it is on record.
    ///
    /// # Errors
    ///
    /// The answer to an objection.
    pub async fn on_record<T>(
        &self,
        signed: &Signed,
        what: &str,
        said: Result<T, Objection>,
    ) -> Result<T, Response> {
        if let Err(Objection::NotYours(_)) = &said {
            self.forbidden(signed, what).await;
        }
        said.map_err(objection)
    }

    /// The freezes that they may see, and how much of each.
    pub fn freezes(&self, signed: &Signed) -> Vec<(Freeze, Theirs)> {
        let judged = |freeze: Freeze| {
            let theirs = signed.sees_freeze(&freeze);
            (theirs != Theirs::Nothing).then_some((freeze, theirs))
        };
        self.gate().freezes.list().into_iter().filter_map(judged).collect()
    }
}

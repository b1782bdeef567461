//! What is shown at which address? Every view, loaded for who asks, bounded by their tenants.
//!
//! Reads only: a GET never decides.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::activity::{ActivityView, Call, activity};
use super::changed::told;
use super::controls::{ControlsView, NearRow, Seen, controls};
use super::frame::{Frame, View, page};
use super::look::{Deed, Place as Among};
use super::operations::{OperationsView, decided, operations};
use super::parts::Status;
use super::queue::{QueueView, queue};
use super::{assets, hold, made, operation};
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::console::Console;
use crate::console::guard::{Signed, Theirs};
use crate::console::waiting::{place, read_place, written};
use crate::contract::BudgetScope;
use crate::gate::{NearBudget, room_words};
use crate::money::{Currency, Money};
use crate::store::budget::per_cent;
use crate::store::{Line, Listed, Record, State as Stands};

/// BOUND: rows of one page.
const ROWS: usize = 50;
/// BOUND: operations that a history looks through.
const HISTORY_LOOKED_AT: usize = 200;
/// BOUND: rows of a history.
const HISTORY_ROWS: usize = 5;
/// BOUND: records that the latest calls are looked for in.
const LATEST_LOOKED_AT: usize = 200;
/// BOUND: operations that a list looks through for what is the viewer's.
const LISTED_MAX: usize = 500;
/// BOUND: unknown outcomes that are listed before all others.
const UNKNOWN_ROWS: usize = 10;

type Shared = State<Arc<Console>>;
type Shown = Result<Response, Response>;

impl Console {
    /// What is around a view, for who asks.
    pub(super) async fn frame(&self, signed: &Signed) -> Frame {
        let gate = &self.gate();
        let lines = gate.approvals.lines(signed.operator()).await.unwrap_or_default();
        let seen = |theirs| if theirs == Theirs::Whole { Seen::Whole } else { Seen::Outline };
        let freezes = self.freezes(signed).into_iter();
        Frame {
            now: gate.clock.now(),
            who: super::parts::name(&signed.operator().name),
            roles: signed.operator().roles.iter().map(|role| super::parts::name(role)).collect(),
            csrf: signed.csrf().to_owned(),
            ends: signed.session().map(|session| session.ends()),
            waiting: sum(&lines),
            unknown: self.unknown(signed).await,
            freezes: freezes.map(|(freeze, theirs)| (freeze, seen(theirs))).collect(),
            policy: gate.policy_digest.to_string(),
            shadow: gate.rollout.shadows(),
        }
    }

    async fn unknown(&self, signed: &Signed) -> u64 {
        if signed.is_bound_to_no_tenant() {
            let counts = self.gate().store.counts().await.unwrap_or_default();
            return counts
                .iter()
                .find(|(name, _)| *name == "unknown")
                .map_or(0, |(_, count)| *count);
        }
        let listed = self.gate().store.listed(Listed::Unknown, ROWS).await.unwrap_or_default();
        u64::try_from(listed.iter().filter(|record| signed.sees(record)).count()).unwrap_or(0)
    }

    /// An operation for a page: what is not theirs is not there, in words and with ways on.
    pub(super) async fn theirs(&self, signed: &Signed, op: &str) -> Result<Arc<Record>, Response> {
        match self.operation(signed, op).await {
            Ok(record) => Ok(record),
            Err(answer) => Err(self.instead(signed, answer.status()).await),
        }
    }

    /// A page instead of what was asked for.
    pub(super) async fn instead(&self, signed: &Signed, status: StatusCode) -> Response {
        let frame = self.frame(signed).await;
        let view = match status {
            StatusCode::SERVICE_UNAVAILABLE => told(
                "Cannot be read now",
                "The store does not answer. Nothing is approved or sent meanwhile; load the page again in a moment.",
                None,
            ),
            StatusCode::FORBIDDEN => {
                told("Not yours to do", "It needs another role. That you asked is on record.", None)
            }
            _ => told("Not found", "There is no such thing here, or it is somebody else’s.", None),
        };
        let status = if status == StatusCode::BAD_REQUEST { StatusCode::NOT_FOUND } else { status };
        (status, shown(&frame, &view)).into_response()
    }
}

fn sum(lines: &[Line]) -> u64 {
    lines.iter().fold(0, |sum, line| sum.saturating_add(line.count))
}

/// A page as it is sent.
pub(super) fn shown(frame: &Frame, view: &View) -> Response {
    let body = page(frame, view).into_string();
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

/// Which part of the queue.
#[derive(Debug, Deserialize)]
pub struct Part {
    queue: Option<String>,
    after: Option<String>,
    denied: Option<u64>,
    left: Option<u64>,
}

pub async fn holds(State(console): Shared, signed: Signed, Query(part): Query<Part>) -> Shown {
    let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
    match queue_view(&console, &signed, &part).await.map_err(failed) {
        Ok(seen) => {
            let frame = console.frame(&signed).await;
            Ok(shown(&frame, &queue(&frame, &seen)))
        }
        Err(status) => Err(console.instead(&signed, status).await),
    }
}

async fn queue_view(
    console: &Console,
    signed: &Signed,
    part: &Part,
) -> Result<QueueView, crate::approval::Objection> {
    let (gate, operator) = (&console.gate(), signed.operator());
    let only = part.queue.as_deref().filter(|queue| !queue.is_empty());
    let after = part.after.as_deref().and_then(read_place);
    let lines = gate.approvals.lines(operator).await?;
    let mut records =
        gate.approvals.waiting(operator, only, after.as_ref(), ROWS.saturating_add(1)).await?;
    let is_cut = records.len() > ROWS;
    records.truncate(ROWS);
    let next = records
        .last()
        .filter(|_| is_cut)
        .and_then(|record| place(record))
        .map(|place| written(&place));
    let mut queues: Vec<(String, u64)> = Vec::new();
    for line in &lines {
        match queues.iter_mut().find(|(queue, _)| **queue == *line.queue) {
            Some((_, count)) => *count = count.saturating_add(line.count),
            None => queues.push((line.queue.to_string(), line.count)),
        }
    }
    let chosen = queues.iter().filter(|(queue, _)| only.is_none_or(|only| only == queue));
    let total = chosen.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let last = if records.is_empty() {
        answered(console, signed, 1).await.into_iter().next()
    } else {
        None
    };
    Ok(QueueView {
        rows: records.iter().map(|record| made::deed_with_numbers(gate, record)).collect(),
        only: only.map(str::to_owned),
        is_first: after.is_none(),
        done: done(part),
        queues,
        total,
        next,
        last,
    })
}

/// What was just done to many at once.
fn done(part: &Part) -> Option<String> {
    let denied = super::parts::some(part.denied?, "hold was denied", "holds were denied");
    let left = match part.left.unwrap_or(0) {
        0 => String::new(),
        left => format!(
            " {} not: they do not wait any more, or are not yours.",
            super::parts::some(left, "was", "were")
        ),
    };
    Some(format!("{denied}. Nothing was sent for them.{left}"))
}

/// Holds that are decided, the newest first.
async fn answered(console: &Console, signed: &Signed, limit: usize) -> Vec<Deed> {
    let all = console.gate().store.listed(Listed::All, 1_000).await.unwrap_or_default();
    let decided = all.iter().filter(|record| record.hold.is_some() && record.state != Stands::Held);
    decided
        .filter(|record| signed.sees(record))
        .take(limit)
        .map(|record| made::deed(record))
        .collect()
}

pub async fn decided_holds(State(console): Shared, signed: Signed) -> Shown {
    let rows = answered(&console, &signed, ROWS).await;
    let frame = console.frame(&signed).await;
    Ok(shown(&frame, &decided(&frame, &rows)))
}

/// One hold, or one operation: whichever it is now.
pub async fn one(State(console): Shared, signed: Signed, Path(op): Path<String>) -> Shown {
    let record = console.theirs(&signed, &op).await?;
    console.gate().viewed(&record, &signed.operator().name).await;
    let frame = console.frame(&signed).await;
    if record.state == Stands::Held {
        let seen = hold_view(&console, &signed, &record).await;
        return Ok(shown(&frame, &hold::hold(&frame, &seen)));
    }
    let seen = made::operation(&console.gate(), &record, signed.operator()).await;
    Ok(shown(&frame, &operation::operation(&frame, &seen)))
}

/// A hold with its place among others and what was before it.
pub(super) async fn hold_view(
    console: &Console,
    signed: &Signed,
    record: &Arc<Record>,
) -> super::look::HoldView {
    let may = made::may(&console.gate(), record, signed.operator(), &console.confirm_over);
    let mut seen = made::hold(&console.gate(), record, may).await;
    seen.place = among(console, signed, record).await;
    let tenant = Listed::Tenant(&record.about.caller.tenant);
    let before = console.gate().store.listed(tenant, HISTORY_LOOKED_AT).await.unwrap_or_default();
    let others = || before.iter().filter(|other| other.op != record.op);
    let caller = &record.about.caller;
    let of = |own: &dyn Fn(&Record) -> bool| {
        others()
            .filter(|other| own(other))
            .take(HISTORY_ROWS)
            .map(|other| made::deed(other))
            .collect()
    };
    seen.customer =
        of(&|other| other.about.caller.customer == caller.customer && !caller.customer.is_empty());
    seen.agent = of(&|other| other.about.caller.agent == caller.agent);
    seen
}

async fn among(console: &Console, signed: &Signed, record: &Record) -> Among {
    let (approvals, operator) = (&console.gate().approvals, signed.operator());
    let Some(own) = place(record) else {
        return Among::default();
    };
    let next = approvals.waiting(operator, None, Some(&own), 1).await.unwrap_or_default();
    let next = next.first().map(|record| record.op);
    let first = approvals.waiting(operator, None, None, ROWS).await.unwrap_or_default();
    let total = sum(&approvals.lines(operator).await.unwrap_or_default());
    let at = first.iter().position(|other| other.op == record.op);
    let previous =
        at.and_then(|at| at.checked_sub(1)).and_then(|at| first.get(at)).map(|other| other.op);
    let of = at.and_then(|at| u64::try_from(at).ok()).map(|at| (at.saturating_add(1), total));
    Among { of, previous, next }
}

/// Which operations.
#[derive(Debug, Deserialize)]
pub struct Which {
    state: Option<String>,
    find: Option<String>,
}

pub async fn all_operations(
    State(console): Shared,
    signed: Signed,
    Query(which): Query<Which>,
) -> Shown {
    let find = which.find.as_deref().map(str::trim).filter(|find| !find.is_empty());
    if let Some(found) = find
        && console.operation(&signed, found).await.is_ok()
    {
        return Ok(crate::console::guard::see_other(&format!(
            "/operations/{}",
            super::address(found)
        )));
    }
    let only = Stands::NAMES.into_iter().find(|name| which.state.as_deref() == Some(*name));
    let listed = match only {
        Some(_) => console.operations(&signed, only).await,
        None => {
            let all = console.gate().store.listed(Listed::All, LISTED_MAX).await;
            let all = all.map_err(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
            all.map(|all| all.into_iter().filter(|record| signed.sees(record)).collect())
        }
    };
    let Ok(mut records) = listed else {
        return Err(console.instead(&signed, StatusCode::SERVICE_UNAVAILABLE).await);
    };
    let is_cut = records.len() > ROWS;
    records.truncate(ROWS);
    let unknown = console.operations(&signed, Some("unknown")).await.unwrap_or_default();
    let deeds = |records: &[Arc<Record>]| {
        records.iter().map(|record| made::deed(record)).collect::<Vec<_>>()
    };
    let mut unknown = deeds(&unknown);
    unknown.truncate(UNKNOWN_ROWS);
    let counts = if signed.is_bound_to_no_tenant() {
        console.gate().store.counts().await.ok()
    } else {
        None
    };
    let frame = console.frame(&signed).await;
    let seen = OperationsView {
        unknown: if only.is_none_or(|only| only == "unknown") { unknown } else { Vec::new() },
        rows: if only == Some("unknown") { Vec::new() } else { deeds(&records) },
        counts,
        only,
        is_cut,
        lost: find.map(str::to_owned),
    };
    Ok(shown(&frame, &operations(&frame, &seen)))
}

pub async fn how_it_goes(State(console): Shared, signed: Signed) -> Shown {
    let frame = console.frame(&signed).await;
    let everybody = signed.is_bound_to_no_tenant();
    let totals = console.gate().telemetry.totals();
    console.pulse.look(totals.clone(), frame.waiting, frame.now);
    let lines = console.gate().records(LATEST_LOOKED_AT).unwrap_or_default();
    let calls = lines.iter().rev().filter(|line| signed.sees_line(line)).filter_map(call);
    let seen = ActivityView {
        day: everybody.then(|| console.pulse.day(frame.now)),
        refused: if everybody { totals.refused } else { Vec::new() },
        duplicates: totals.duplicates,
        latest: calls.take(ROWS).collect(),
    };
    Ok(shown(&frame, &activity(&frame, &seen)))
}

/// A call, as its record has it; `None` for what is no call.
fn call(line: &serde_json::Value) -> Option<Call> {
    let text = |name: &str| line.get(name).and_then(serde_json::Value::as_str);
    let (status, word) = match text("kind")? {
        "allowed" => (Status::Allowed, None),
        "held" => (Status::Waiting, Some("Held")),
        "verify" => (Status::Verify, None),
        "refused" | "refused_more" => (Status::Refused, None),
        "replayed" => (Status::Allowed, Some("Replayed")),
        "braked" => (Status::Waiting, Some("Brake on")),
        "released" => (Status::Running, Some("Brake released")),
        _ => return None,
    };
    // No call, but what became of the next ones.
    let brake = matches!(text("kind")?, "braked" | "released");
    let (action, agent) = if brake { ("by", "note") } else { ("action", "agent") };
    let amount = line.get("amount").and_then(|amount| {
        let minor = amount.get("minor")?.as_i64()?;
        Some(Money { minor, currency: Currency::parse(amount.get("currency")?.as_str()?)? })
    });
    Some(Call {
        at: Timestamp::parse(text("timestamp")?)?,
        action: text(action).unwrap_or("not understood").to_owned(),
        agent: text(agent).unwrap_or("unknown").to_owned(),
        status,
        word: word.map(str::to_owned),
        amount,
        operation: text("operation")
            .filter(|op| OperationId::parse(op).is_some())
            .map(str::to_owned),
    })
}

/// Which form is open.
#[derive(Debug, Default, Deserialize)]
pub struct Open {
    /// The scope whose form is open.
    pub(super) stop: Option<String>,
    /// The freeze whose way back is open.
    pub(super) lift: Option<String>,
}

pub async fn all_controls(
    State(console): Shared,
    signed: Signed,
    Query(open): Query<Open>,
) -> Shown {
    Ok(controls_page(&console, &signed, open, None).await)
}

/// BOUND: freezes whose reach is counted for one view.
const REACHES_MAX: usize = 8;

/// The controls, with a form open or an error said.
pub(super) async fn controls_page(
    console: &Console,
    signed: &Signed,
    open: Open,
    error: Option<String>,
) -> Response {
    let frame = console.frame(signed).await;
    let gate = &console.gate();
    let mut scopes = Vec::new();
    if signed.is_bound_to_no_tenant() {
        scopes.extend(
            ["all", "class/financial", "class/communication", "class/write"].map(str::to_owned),
        );
        scopes.extend(gate.roads().iter().map(|road| format!("upstream/{}", road.name)));
    } else if let crate::approval::Tenants::These(names) = &signed.operator().tenants {
        scopes.extend(names.iter().map(|name| format!("tenant/{name}")));
    }
    let mut reaches = Vec::new();
    // BOUND: as many are counted as anybody reads; one more costs three lists of the store.
    let whole = frame.freezes.iter().filter(|(_, how)| *how == Seen::Whole).take(REACHES_MAX);
    for (freeze, _) in whole {
        reaches.push((freeze.id.clone(), gate.reach_now(freeze).await.to_string()));
    }
    let budgets =
        gate.budgets().into_iter().map(|(name, budget)| (name.to_string(), budget)).collect();
    // A store that does not answer: the limits stand there all the same.
    let near = console.budgets_near(signed).await.unwrap_or_default();
    let near = near.iter().map(near_row).collect();
    let roles = console.operator_roles();
    let seen = ControlsView {
        freezes: frame.freezes.clone(),
        scopes,
        open: open.stop,
        lifting: open.lift,
        may_lift: signed.operator().roles.iter().any(|own| roles.contains(own)),
        reaches,
        roads: gate.roads(),
        budgets,
        near,
        error,
    };
    shown(&frame, &controls(&frame, &seen))
}

fn near_row(near: &NearBudget) -> NearRow {
    let (seen, about) = (&near.seen, &near.latest.about);
    let room = seen.room.unwrap_or(0);
    let whose = match near.per {
        BudgetScope::Customer => about.account.to_string(),
        BudgetScope::Agent => about.caller.agent.to_string(),
        BudgetScope::Tenant => about.caller.tenant.to_string(),
        // The agent's own word for it stands on the operation's page, marked as such.
        BudgetScope::Case => format!("a case of {} for {}", about.caller.agent, about.account),
        BudgetScope::Resource => {
            about.resource.as_ref().map_or_else(String::new, ToString::to_string)
        }
        BudgetScope::Action => about.action.to_string(),
    };
    NearRow {
        budget: seen.id.to_string(),
        whose,
        per_cent: per_cent(seen.used, room),
        used: room_words(seen.unit, seen.used),
        room: room_words(seen.unit, room),
        latest: (near.latest.op, near.latest.updated),
    }
}

/// A style, a script, a drawing: the same for everybody, kept for a year under a name that changes with it.
pub async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = assets::find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.body).into_response()
}

//! What did somebody just say? The forms of the page: yes, no, many noes, stop, run again, what became of it.
//!
//! Each calls what the API calls, and answers with an address to be read: a page loaded again never says it
//! twice.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::changed::{Before, changed, not_taken};
use super::controls::typed;
use super::decide::is_typed;
use super::serve::{Open, controls_page, hold_view, shown};
use super::{address, made};
use crate::approval::Objection;
use crate::call::Digest;
use crate::console::Console;
use crate::console::form::Form;
use crate::console::guard::{Signed, Theirs, see_other};
use crate::console::waiting::deny_one;
use crate::gate::{Happened, Mark, Word};
use crate::store::{FreezeScope, Record};

/// BOUND: a reason is a sentence or two; what is longer is not a reason.
const REASON_CHARS_MAX: usize = 500;
/// BOUND: as many as a page has rows.
const BATCH_MAX: usize = 50;

type Shared = State<Arc<Console>>;
type Said = Result<Response, Response>;

/// What a person gave as their reason; `None` when it is too long.
fn reason(form: &Form) -> Option<&str> {
    let reason = form.one("reason").unwrap_or_default().trim();
    (reason.chars().count() <= REASON_CHARS_MAX).then_some(reason)
}

pub async fn approve(
    State(console): Shared,
    signed: Signed,
    Path(op): Path<String>,
    form: Form,
) -> Said {
    let record = console.theirs(&signed, &op).await?;
    let sent = form.one("digest").unwrap_or_default();
    let Some(digest) = Digest::parse(sent) else {
        return Err(refused(&console, &signed, &record, "the form was not whole").await);
    };
    let Some(reason) = reason(&form) else {
        return Err(refused(&console, &signed, &record, "the reason is too long").await);
    };
    // SECURITY: the browser asked for it as well; a browser is not what decides.
    if made::is_large(&console.gate(), &record, &console.confirm_over) {
        let is_meant = |amount| is_typed(amount, form.one("amount").unwrap_or_default());
        if reason.is_empty() {
            return Err(refused(&console, &signed, &record, "a large sum needs a reason").await);
        }
        if !record.about.amount.is_some_and(is_meant) {
            let why = "the amount that was typed is not the amount of this call";
            return Err(refused(&console, &signed, &record, why).await);
        }
    }
    match console.gate().approve(record.op, signed.operator(), digest, reason).await {
        Ok(record) => Ok(see_other(&format!("/holds/{}", record.op))),
        Err(why) => Err(objected(&console, &signed, &record, ("approve", why, &form)).await),
    }
}

pub async fn deny(
    State(console): Shared,
    signed: Signed,
    Path(op): Path<String>,
    form: Form,
) -> Said {
    let record = console.theirs(&signed, &op).await?;
    let Some(reason) = reason(&form).filter(|reason| !reason.is_empty()) else {
        return Err(
            refused(&console, &signed, &record, "a no needs a reason: the agent reads it").await
        );
    };
    match console.gate().deny(record.op, signed.operator(), reason).await {
        Ok(record) => Ok(see_other(&format!("/holds/{}", record.op))),
        Err(why) => Err(objected(&console, &signed, &record, ("deny", why, &form)).await),
    }
}

/// The same page with why the answer did not count.
async fn refused(console: &Console, signed: &Signed, record: &Arc<Record>, why: &str) -> Response {
    let frame = console.frame(signed).await;
    let seen = hold_view(console, signed, record).await;
    (StatusCode::UNPROCESSABLE_ENTITY, shown(&frame, &not_taken(&frame, why, &seen)))
        .into_response()
}

/// What the gate objected to, where they can go on from.
async fn objected(
    console: &Console,
    signed: &Signed,
    record: &Arc<Record>,
    (what, why, form): (&str, Objection, &Form),
) -> Response {
    let status = match &why {
        Objection::NotYours(_) => {
            console.forbidden(signed, what).await;
            StatusCode::FORBIDDEN
        }
        Objection::Unknown => return console.instead(signed, StatusCode::NOT_FOUND).await,
        Objection::Store(_) => {
            return console.instead(signed, StatusCode::SERVICE_UNAVAILABLE).await;
        }
        Objection::BadFilter => StatusCode::BAD_REQUEST,
        Objection::Changed
        | Objection::Twice
        | Objection::Answered(_)
        | Objection::TooEarly(_)
        | Objection::NobodySpoke => StatusCode::CONFLICT,
    };
    // As it is now: it may have changed a moment ago.
    let id = record.op.to_string();
    let record = match console.operation(signed, &id).await {
        Ok(record) => record,
        Err(answer) => return console.instead(signed, answer.status()).await,
    };
    let frame = console.frame(signed).await;
    let seen = hold_view(console, signed, &record).await;
    let view = if why == Objection::Changed {
        let text = |name: &str| form.one(name).map(str::to_owned);
        let before = Before {
            digest: text("digest").unwrap_or_default(),
            amount: text("amount"),
            reasons: Vec::new(),
        };
        changed(&frame, &before, &seen)
    } else {
        not_taken(&frame, &why.to_string(), &seen)
    };
    (status, shown(&frame, &view)).into_response()
}

pub async fn deny_many(State(console): Shared, signed: Signed, form: Form) -> Said {
    let reason = reason(&form).filter(|reason| !reason.is_empty());
    let Some(reason) = reason else {
        return Err(console.instead(&signed, StatusCode::UNPROCESSABLE_ENTITY).await);
    };
    let (mut denied, mut left) = (0_u64, 0_u64);
    for op in form.all("hold").take(BATCH_MAX) {
        match deny_one(&console, &signed, op, reason).await {
            Ok(_) => denied = denied.saturating_add(1),
            Err(_) => left = left.saturating_add(1),
        }
    }
    Ok(see_other(&format!("/?denied={denied}&left={left}")))
}

pub async fn freeze(State(console): Shared, signed: Signed, form: Form) -> Said {
    let said = form.one("scope").unwrap_or_default().trim().to_owned();
    let again = |why: String| async {
        let open = Open { stop: Some(said.clone()), lift: None };
        let answer = controls_page(&console, &signed, open, Some(why)).await;
        (StatusCode::UNPROCESSABLE_ENTITY, answer).into_response()
    };
    let scope = match FreezeScope::parse([said.as_str()]) {
        Ok(scope) => scope,
        Err(why) => return Err(again(super::hold::capital(&why)).await),
    };
    let Some(reason) = reason(&form).filter(|reason| !reason.is_empty()) else {
        return Err(again("A stop needs a reason: everybody reads it.".to_owned()).await);
    };
    // A scope that was written by hand needs no second hand.
    if form.one("confirm").is_some_and(|word| word.trim() != typed(&said)) {
        return Err(again(
            "The scope that was typed is not the one of this form. Nothing was stopped.".to_owned(),
        )
        .await);
    }
    let span =
        form.one("for").filter(|span| !span.is_empty()).map(humantime::parse_duration).transpose();
    let Ok(span) = span else {
        return Err(again("How long was not understood. Nothing was stopped.".to_owned()).await);
    };
    if let Err(why) = signed.may_freeze(&scope) {
        console.forbidden(&signed, "freeze").await;
        return Err(again(super::hold::capital(&why)).await);
    }
    let begun = console.gate().clock.steady();
    match console.gate().freeze(scope, span, reason, signed.operator()).await {
        Ok(freeze) => {
            // The page that follows says who follows: it waits for them as long as the command does.
            console.gate().reach(&freeze.scope, begun).await;
            Ok(see_other(&format!("/controls#{}", address(&freeze.id))))
        }
        Err(_) => Err(console.instead(&signed, StatusCode::SERVICE_UNAVAILABLE).await),
    }
}

pub async fn lift(State(console): Shared, signed: Signed, Path(id): Path<String>) -> Said {
    let seen = console.freezes(&signed);
    match seen.iter().find(|(freeze, _)| *freeze.id == *id).map(|(_, theirs)| *theirs) {
        Some(Theirs::Whole) => {}
        // A replica's list may be a moment old: the store knows, for who may lift any.
        None if signed.is_bound_to_no_tenant() => {}
        Some(Theirs::Outline) => {
            console.forbidden(&signed, "unfreeze").await;
            return Err(console.instead(&signed, StatusCode::FORBIDDEN).await);
        }
        Some(Theirs::Nothing) | None => {
            return Err(console.instead(&signed, StatusCode::NOT_FOUND).await);
        }
    }
    match console.gate().unfreeze(&id, signed.operator()).await {
        Ok(true) => Ok(see_other("/controls")),
        Ok(false) => Err(console.instead(&signed, StatusCode::NOT_FOUND).await),
        Err(_) => Err(console.instead(&signed, StatusCode::SERVICE_UNAVAILABLE).await),
    }
}

pub async fn resolve(
    State(console): Shared,
    signed: Signed,
    Path(op): Path<String>,
    form: Form,
) -> Said {
    let record = console.theirs(&signed, &op).await?;
    let happened = match form.one("outcome") {
        Some("done") => Happened::Yes,
        Some("not_done") => Happened::No,
        Some(_) | None => {
            return Err(console.instead(&signed, StatusCode::UNPROCESSABLE_ENTITY).await);
        }
    };
    let Some(reason) = reason(&form).filter(|reason| !reason.is_empty()) else {
        return Err(refused(&console, &signed, &record, "it needs how you know").await);
    };
    let made = form.one("made").map(str::trim).filter(|made| !made.is_empty());
    let word = Word {
        happened,
        reason: reason.into(),
        made: made.map(|made| crate::redact::bounded(made, 120).into()),
        is_forced: form.one("force") == Some("yes"),
    };
    match console.gate().resolve(record.op, signed.operator(), &word).await {
        Ok(record) => Ok(see_other(&format!("/operations/{}", record.op))),
        Err(why) => Err(objected(&console, &signed, &record, ("resolve", why, &form)).await),
    }
}

/// Whether a rule was right about it.
pub async fn mark(
    State(console): Shared,
    signed: Signed,
    Path(op): Path<String>,
    form: Form,
) -> Said {
    let record = console.theirs(&signed, &op).await?;
    let mark = match form.one("verdict") {
        Some("needless") => Mark::Needless,
        Some("right") => Mark::Right,
        Some(_) | None => {
            return Err(console.instead(&signed, StatusCode::UNPROCESSABLE_ENTITY).await);
        }
    };
    let reason = reason(&form).unwrap_or_default();
    match console.gate().mark(record.op, signed.operator(), (mark, reason)).await {
        Ok(record) => Ok(see_other(&format!("/operations/{}", record.op))),
        Err(why) => Err(objected(&console, &signed, &record, ("mark", why, &form)).await),
    }
}

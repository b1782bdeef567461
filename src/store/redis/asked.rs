//! What does a script need to know of an event? Its arguments, by name.
//!
//! Never a decision; what doubles cannot hold exactly is refused here.

use std::time::Duration;

use super::kept;
use super::pack::Item;
use crate::call::{Class, Kind, OperationId, Outcome};
use crate::contract::Over;
use crate::money::{Currency, MINOR_UNITS_MAX};
use crate::refusal::Fault;
use crate::store::ask::{Against, BrakeUse, BudgetUse, Entry, HoldTerms, RateUse, Reserve, Take};
use crate::store::freeze::{Subject, escaped};
use crate::store::hold::{Hold, News, crowds};
use crate::store::record::{About, Name, Record, Slot};
use crate::store::step::brakes;
use crate::store::step::rates::rate_slot;
use crate::store::step::reserve::{alike_slot, resource_slot};
use crate::store::step::room::charge;
use crate::store::step::{AnswerIn, Claim, HoldAnswer, Post, Say, Settle, Try, Witness, Word};
use crate::store::tally::Tally;

/// Arguments of a script.
pub type Args = Vec<(&'static str, Item)>;

/// Of a name.
pub fn name(name: &Name) -> Args {
    let own = name.key.as_ref().map(|_| name.operation(0));
    vec![
        ("own", Item::maybe(own, operation)),
        ("fp", Item::bytes(name.fingerprint.0)),
        ("same", slot(name.same())),
    ]
}

/// Of a reserve, but for its name, its request and its token's guess.
pub fn reserve(ask: &Reserve) -> Result<Args, Fault> {
    let about = &ask.about;
    let budgets: Result<Vec<Item>, Fault> =
        ask.budgets.iter().map(|budget| budget_use(ask, budget)).collect();
    let brakes: Result<Vec<Item>, Fault> =
        ask.brakes.iter().map(|one| brake_use(&about.caller.tenant, one)).collect();
    if let Some(amount) = about.amount {
        exact(amount.minor)?;
    }
    let (noted, refused) = match (&ask.entry, ask.against) {
        (Entry::Asked(_), Against::Noted { refused }) => (Item::Bool(true), refused),
        // What was held is judged as it was held.
        (Entry::Asked(_), Against::Stands) | (Entry::Approved(_), _) => (Item::Nil, None),
    };
    let rule = ask.likeness;
    let mut args = hold_terms(&ask.hold, about);
    args.extend([
        ("token", kept::token(ask.token)),
        ("lease", span(ask.lease)),
        ("about", Item::bytes(kept::rest(about))),
        ("about_fp", Item::bytes(about.fingerprint.0)),
        ("digest", Item::bytes(about.digest.0)),
        ("summary", Item::from(&*about.summary)),
        ("financial", Item::Bool(about.class == Class::Financial)),
        ("minor", Item::maybe(about.amount, |amount| Item::Int(amount.minor))),
        ("currency", Item::maybe(about.amount, |amount| Item::from(amount.currency.code()))),
        ("reasons", kept::reasons_in_full(&ask.reasons)),
        ("noted", noted),
        ("refused", Item::maybe(refused, |code| Item::from(code.spec().name))),
        ("seen", Item::near(i64::try_from(ask.seen).unwrap_or(i64::MAX))),
        ("if_alike", Item::maybe(rule, |rule| over(rule.alike))),
        ("alike_within", Item::maybe(rule, |rule| span(rule.within))),
        ("near", Item::maybe(rule, |rule| Item::Int(i64::from(rule.near)))),
        ("alike", Item::maybe(alike_slot(about), slot)),
        ("on", Item::maybe(resource_slot(about), slot)),
        ("budgets", Item::List(budgets?)),
        ("rates", Item::list(&ask.rates, |rate| rate_use(about, rate))),
        ("brakes", Item::List(brakes?)),
        ("maker", slot(kept::maker(about))),
        ("subject", subject(&ask.subject())),
    ]);
    Ok(args)
}

/// Who is asked when it is held, and what then follows.
fn hold_terms(terms: &HoldTerms, about: &About) -> Args {
    vec![
        ("queue", Item::from(&*terms.queue)),
        ("deadline", Item::near(terms.deadline.0)),
        ("risk", Item::Int(i64::from(terms.risk.rank()))),
        ("approvers", Item::Int(i64::from(terms.needs.approvers))),
        ("roles", Item::list(&terms.needs.roles, |role| Item::from(&**role))),
        ("nudge", Item::maybe(terms.nudge, span)),
        ("agent_max", Item::Int(i64::from(terms.crowd.agent))),
        ("customer_max", Item::Int(i64::from(terms.crowd.customer))),
        ("crowds", Item::list(&crowds(&about.caller), |own| slot(*own))),
        ("wants", Item::list(&terms.wants, |news: &News| Item::from(news.name()))),
    ]
}

/// What a freeze is compared with; names as scopes are written.
fn subject(subject: &Subject<'_>) -> Item {
    let class = |class: &Class| (class.name(), Item::Bool(true));
    let kind = |kind: &Kind| (kind.name(), Item::Bool(true));
    let name = |name: &str| Item::from(&*escaped(name));
    Item::map([
        ("agent", name(subject.agent)),
        ("tenant", name(subject.tenant)),
        ("customer", name(subject.customer)),
        ("action", name(subject.action)),
        ("upstream", name(subject.upstream)),
        ("classes", Item::map(subject.classes.iter().map(class))),
        ("kinds", Item::map(subject.kinds.iter().map(kind))),
    ])
}

/// Of a claim; `seen` is the record as it was looked at before.
pub fn claim(claim: &Claim, seen: &Record) -> Args {
    let how = match claim.how {
        Try::Read => "read",
        Try::Send => "send",
    };
    vec![
        ("op", operation(claim.op)),
        ("token", kept::token(claim.token)),
        ("how", how.into()),
        ("lease", span(claim.lease)),
        ("seen", Item::bytes(kept::rest(&seen.about))),
        ("subject", subject(&seen.about.subject())),
    ]
}

fn rate_use(about: &About, rate: &RateUse) -> Item {
    Item::map([
        ("name", Item::from(&*rate.name)),
        ("slot", slot(rate_slot(about, rate))),
        ("every", Item::near(rate.every)),
        ("burst", Item::near(rate.burst)),
    ])
}

fn budget_use(ask: &Reserve, budget: &BudgetUse) -> Result<Item, Fault> {
    let charge = charge(&ask.about, budget);
    exact(charge.count)?;
    let room = match budget.take {
        Take::Money { room, .. } => room,
        Take::One { room } => Some(i64::try_from(room).unwrap_or(i64::MAX)),
    };
    Ok(Item::map([
        ("id", Item::from(&*budget.id)),
        ("slot", slot(charge.slot)),
        ("unit", unit(charge.unit)),
        ("count", Item::Int(charge.count)),
        ("within", span(budget.within)),
        // The script lets no sum past 2^53 through: a room beyond that is no larger one.
        ("room", Item::maybe(room, Item::near)),
        ("over", over(budget.over)),
        ("alert", Item::maybe(budget.alert, Item::near)),
    ]))
}

fn brake_use(tenant: &str, one: &BrakeUse) -> Result<Item, Fault> {
    let charge = brakes::charge(tenant, one);
    exact(charge.count)?;
    Ok(Item::map([
        ("id", Item::from(&*one.id)),
        ("number", Item::from(&*one.number)),
        ("slot", slot(charge.slot)),
        ("unit", unit(charge.unit)),
        ("count", Item::Int(charge.count)),
        ("within", span(one.within)),
        ("room", Item::maybe(one.most, Item::near)),
    ]))
}

/// Of counts that are added to and read.
pub fn tally(tenant: &str, all: &[Tally]) -> Result<Args, Fault> {
    let each = |one: &Tally| {
        exact(one.count)?;
        Ok(Item::map([
            ("slot", slot(brakes::slot(tenant, &one.key))),
            ("unit", unit(one.unit)),
            ("count", Item::Int(one.count)),
            ("within", span(one.within)),
            ("after", Item::maybe(one.since, |since| Item::near(since.0))),
        ]))
    };
    let all: Result<Vec<Item>, Fault> = all.iter().map(each).collect();
    Ok(vec![("tallies", Item::List(all?))])
}

fn unit(unit: Option<Currency>) -> Item {
    Item::from(unit.as_ref().map_or("", |unit| unit.code()))
}

/// SECURITY: never rounded. Above this a number is a mistake, and near it a script's sums and products
/// would stop to be exact.
fn exact(minor: i64) -> Result<(), Fault> {
    if minor.unsigned_abs() <= MINOR_UNITS_MAX.unsigned_abs() {
        return Ok(());
    }
    let why = format!("an amount of {minor} minor units is past {MINOR_UNITS_MAX}");
    Err(Fault::StoreUnavailable(why))
}

/// Of a settling; its answer is sealed already.
pub fn settle(end: &Settle) -> Args {
    let (by, token, person) = match &end.by {
        Witness::First(token) => ("first", kept::token(*token), Item::Nil),
        Witness::Resend(token) => ("resend", kept::token(*token), Item::Nil),
        Witness::Lookup(token) => ("lookup", kept::token(*token), Item::Nil),
        Witness::Person(name) => ("person", Item::Nil, Item::from(&**name)),
    };
    let (answer, sealed) = match &end.answer {
        AnswerIn::None => (Item::Nil, Item::Nil),
        AnswerIn::TooLarge => ("gone".into(), Item::Nil),
        AnswerIn::Keep(sealed) => ("kept".into(), Item::bytes(sealed)),
    };
    let outcome = match end.outcome {
        Outcome::Succeeded
        | Outcome::Accepted
        | Outcome::Rejected
        | Outcome::NotSent
        | Outcome::Unknown => end.outcome.name(),
    };
    vec![
        ("op", operation(end.op)),
        ("by", by.into()),
        ("token", token),
        ("person", person),
        ("outcome", outcome.into()),
        ("status", Item::maybe(end.status, |status| Item::Int(i64::from(status)))),
        ("request_id", Item::maybe(end.request_id.as_deref(), Item::from)),
        ("made", Item::maybe(end.made.as_deref(), Item::from)),
        ("answer", answer),
        ("sealed", sealed),
        ("collected", Item::Bool(end.collected)),
        ("note", Item::from(&*end.note)),
    ]
}

/// Of an answer to a hold; `seen` is the record as it was looked at before.
pub fn answer(said: &HoldAnswer, seen: &Record) -> Args {
    let mut args = vec![("op", operation(said.op))];
    match &said.say {
        Say::Approve { by, shown, roles, reason } => {
            args.extend([("say", "approve".into()), ("by", Item::from(&**by))]);
            args.push(("reason", Item::from(&**reason)));
            args.push(("roles", Item::list(roles, |role| Item::from(&**role))));
            // What the approver's hash is the hash of, so that the script can compare it.
            if let Some(Hold { reasons, .. }) = seen.hold.as_ref().filter(|h| h.shown == *shown) {
                args.push(("shown_digest", Item::bytes(seen.about.digest.0)));
                args.push(("shown_policies", Item::list(reasons, |r| Item::from(&*r.policy))));
            }
        }
        Say::Nudge { due, to, next } => args.extend([
            ("say", "nudge".into()),
            ("due", Item::near(due.0)),
            ("to", Item::maybe(to.as_deref(), Item::from)),
            ("next", Item::maybe(*next, span)),
        ]),
        Say::Deny { by, reason } => args.extend([
            ("say", "deny".into()),
            ("code", "approval_denied".into()),
            ("by", Item::from(&**by)),
            ("reason", Item::from(&**reason)),
        ]),
        Say::Withdraw => args.extend([
            ("say", "withdraw".into()),
            ("code", "withdrawn".into()),
            ("by", Item::from(&*seen.about.caller.agent)),
            ("reason", "withdrawn by the agent".into()),
        ]),
        Say::Refuse { code, reason } => args.extend([
            ("say", "refuse".into()),
            ("code", code.spec().name.into()),
            ("by", "".into()),
            ("reason", Item::from(&**reason)),
        ]),
    }
    args
}

/// Of what becomes of a letter.
pub fn post(post: &Post) -> Args {
    let mut args = vec![("op", operation(post.op)), ("number", Item::Int(i64::from(post.number)))];
    match &post.word {
        Word::Take { lease } => args.push(("lease", span(*lease))),
        Word::Tried { taken, told, again } => args.extend([
            ("taken", Item::near(taken.0)),
            ("told", Item::list(told, |who| Item::from(&**who))),
            ("again", Item::maybe(*again, span)),
        ]),
    }
    args
}

/// An operation's name.
pub fn operation(op: OperationId) -> Item {
    Item::bytes(op.0)
}

fn slot(slot: Slot) -> Item {
    Item::bytes(slot.0)
}

fn span(span: Duration) -> Item {
    Item::near(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

fn over(over: Over) -> Item {
    match over {
        Over::Hold => "hold".into(),
        Over::Refuse => "refuse".into(),
        Over::Allow => "allow".into(),
    }
}

//! What does a script keep of an operation, and which record is that?
//!
//! What a script decides on stands in plain, by name; the rest of [`About`] it carries as bytes it never reads.
//! Sentences are made here, from the same functions as the pure step's: no script writes English to an approver.

use std::sync::Arc;
use std::time::Duration;

use super::pack::Item;
use crate::call::{CallerKey, Class, Digest, Fingerprint, Kind, OperationId, Outcome, Resource};
use crate::clock::Timestamp;
use crate::decision::Reason;
use crate::money::{Currency, Money};
use crate::refusal::Code;
use crate::store::budget::{Bucket, Ledger, Reserved, Stood};
use crate::store::codec::{packed, read, write};
use crate::store::freeze::{Freeze, FreezeScope, Lift, Stops};
use crate::store::hold::{Approval, Hold, Letter, News, Quorum, Risk, Yes};
use crate::store::record::{
    About, AnswerKept, Attempt, Charge, Charged, Look, Moment, Record, Said, Slot, State, Token,
};
use crate::store::step::reasons;

/// What no script looks at.
struct Rest {
    caller: CallerKey,
    upstream: Box<str>,
    account: Box<str>,
    action: Box<str>,
    class: Class,
    classes: Vec<Class>,
    kind: Option<Kind>,
    owner: Option<Box<str>>,
    resource: Option<Resource>,
    said: Said,
    facts: Option<Digest>,
    policy: Option<Box<str>>,
    origin: Option<Digest>,
}

packed!(struct Rest {
    caller, upstream, account, action, class, classes, kind, owner, resource, said, facts, policy, origin,
});

/// The bytes of what no script looks at.
pub fn rest(about: &About) -> Vec<u8> {
    let About { caller, upstream, account, action, class, classes, kind, owner, .. } =
        about.clone();
    let About { resource, said, facts, policy, origin, .. } = about.clone();
    write(&Rest {
        caller,
        upstream,
        account,
        action,
        class,
        classes,
        kind,
        owner,
        resource,
        said,
        facts,
        policy,
        origin,
    })
}

/// Who made what a vendor names: the same for operations whose vendor's names must differ.
pub fn maker(about: &About) -> Slot {
    let kind = about.kind.map_or("", Kind::name);
    Slot::of(b'u', &[about.upstream.as_bytes(), kind.as_bytes()])
}

/// How a script writes a token: all 64 bits, which no double holds.
pub fn token(token: Token) -> Item {
    Item::bytes(format!("{:016x}", token.0))
}

/// The record that a script keeps as these bytes.
pub fn record(bytes: &[u8]) -> Option<Record> {
    let kept = Item::read(bytes)?;
    let about = about(&kept)?;
    let state = state(&kept)?;
    let hold = match kept.member("hold").there() {
        None => None,
        Some(item) => Some(hold(item)?),
    };
    let approval = match kept.member("yes").there() {
        None => None,
        Some(item) => Some(approval(item)?),
    };
    let charged = match kept.member("charged").text()? {
        "open" => Charged::Open,
        "spent" => Charged::Spent { at: moment(kept.member("spent"))? },
        "freed" => Charged::Freed,
        _ => return None,
    };
    Some(Record {
        op: operation(kept.member("op"))?,
        same: slot(kept.member("same")).unwrap_or(Slot([0; 16])),
        about,
        state,
        hold,
        approval,
        owner: read_token(kept.member("owner"))?,
        attempts: all(kept.member("attempts"), |item| {
            Some(Attempt { token: read_token(item.at(0))?, at: moment(item.at(1))? })
        })?,
        charges: all(kept.member("charges"), charge)?,
        charged,
        stood: all(kept.member("stood"), stood)?,
        alike: slot(kept.member("alike")),
        on: slot(kept.member("on")),
        status: kept.member("status").int().and_then(|status| u16::try_from(status).ok()),
        request_id: kept.member("request_id").text().map(Into::into),
        reason: kept.member("reason").text()?.into(),
        answer: match kept.member("answer").text()? {
            "none" => AnswerKept::None,
            "kept" => AnswerKept::Kept,
            "gone" => AnswerKept::Gone,
            _ => return None,
        },
        collected: kept.member("collected").bool()?,
        contradiction: kept.member("contradiction").bool()?,
        aliases: number(kept.member("aliases"))?,
        made: kept.member("made").text().map(Into::into),
        look: match kept.member("look").there() {
            None => None,
            Some(look) => Some(Look {
                token: read_token(look.member("token"))?,
                tries: number(look.member("tries"))?,
                next: moment(look.member("next"))?,
            }),
        },
        created: moment(kept.member("created"))?,
        updated: moment(kept.member("updated"))?,
        settled: moment(kept.member("settled")),
        timeline: all(kept.member("timeline"), |item| {
            let (what, by) = (item.at(1).text()?.into(), item.at(2).text()?.into());
            Some(Moment { at: moment(item.at(0))?, what, by })
        })?,
        wants: all(kept.member("wants"), news)?,
        letters: all(kept.member("letters"), letter)?,
        lettered: number(kept.member("lettered"))?,
    })
}

fn news(item: &Item) -> Option<News> {
    let name = item.text()?;
    News::ALL.into_iter().find(|news| news.name() == name)
}

fn letter(item: &Item) -> Option<Letter> {
    Some(Letter {
        number: number(item.member("number"))?,
        news: news(item.member("news"))?,
        at: moment(item.member("at"))?,
        next: moment(item.member("next"))?,
        tries: number(item.member("tries"))?,
        told: texts(item.member("told"))?,
    })
}

fn yes(item: &Item) -> Option<Yes> {
    Some(Yes {
        by: item.member("by").text()?.into(),
        at: moment(item.member("at"))?,
        roles: texts(item.member("roles"))?,
        reason: item.member("reason").text()?.into(),
    })
}

fn about(kept: &Item) -> Option<About> {
    let rest: Rest = read(kept.member("about").raw()?)?;
    let amount = match kept.member("minor").int() {
        None => None,
        Some(minor) => {
            Some(Money { minor, currency: Currency::parse(kept.member("currency").text()?)? })
        }
    };
    Some(About {
        caller: rest.caller,
        upstream: rest.upstream,
        account: rest.account,
        action: rest.action,
        class: rest.class,
        classes: rest.classes,
        kind: rest.kind,
        owner: rest.owner,
        resource: rest.resource,
        amount,
        summary: kept.member("summary").text()?.into(),
        said: rest.said,
        fingerprint: Fingerprint(array(kept.member("fp"))?),
        digest: Digest(array(kept.member("digest"))?),
        facts: rest.facts,
        policy: rest.policy,
        origin: rest.origin,
    })
}

fn state(kept: &Item) -> Option<State> {
    Some(match kept.member("state").text()? {
        "held" => State::Held,
        "approved" => State::Approved,
        "submitted" => State::Submitted {
            token: read_token(kept.member("token"))?,
            lease: moment(kept.member("lease"))?,
        },
        "unknown" => State::Unknown,
        "done" => State::Done { outcome: outcome(kept.member("outcome").text()?)? },
        "not_sent" => State::NotSent,
        "refused" => {
            let name = kept.member("code").text()?;
            State::Refused { code: Code::ALL.into_iter().find(|code| code.spec().name == name)? }
        }
        _ => return None,
    })
}

fn outcome(name: &str) -> Option<Outcome> {
    [Outcome::Succeeded, Outcome::Accepted, Outcome::Rejected]
        .into_iter()
        .find(|outcome| outcome.name() == name)
}

fn hold(item: &Item) -> Option<Hold> {
    let reasons = all(item.member("reasons"), reason)?;
    Some(Hold {
        // Redis has no such hash: what was shown is named by what it is the hash of.
        shown: Hold::shown(&Digest(array(item.member("digest"))?), &reasons),
        reasons,
        queue: item.member("queue").text()?.into(),
        deadline: moment(item.member("deadline"))?,
        since: moment(item.member("since"))?,
        joined: number(item.member("joined"))?,
        changed: texts(item.member("changed"))?,
        risk: Risk::of_rank(item.member("risk").int()?)?,
        needs: Quorum {
            approvers: u8::try_from(item.member("approvers").int()?).ok()?,
            roles: texts(item.member("roles"))?,
        },
        yes: all(item.member("yes"), yes)?,
        nudge: moment(item.member("nudge")),
        passed: texts(item.member("passed"))?,
        asked: moment(item.member("asked"))?,
    })
}

fn reason(item: &Item) -> Option<Reason> {
    let policy = item.member("policy").text()?;
    if let Some(why) = item.member("why").text() {
        let tell = item.member("tell").text()?;
        return Some(Reason { policy: policy.into(), why: why.into(), tell: tell.into() });
    }
    if let Some(like) = item.member("like").there() {
        let (other, created) = (operation(like.at(0))?, moment(like.at(1))?);
        return Some(reasons::alike((other, created), like.at(2).text()?, like.at(3).text()?));
    }
    if item.member("brake").there().is_some() {
        return Some(reasons::brake(policy));
    }
    let budget = item.member("budget").there();
    Some(if budget.is_some() { reasons::budget(policy) } else { reasons::changed() })
}

fn approval(item: &Item) -> Option<Approval> {
    Some(Approval {
        by: item.member("by").text()?.into(),
        at: moment(item.member("at"))?,
        digest: Digest(array(item.member("digest"))?),
        policies: texts(item.member("policies"))?,
        until: moment(item.member("ends"))?,
    })
}

fn charge(item: &Item) -> Option<Charge> {
    Some(Charge { slot: slot(item.at(0))?, unit: currency(item.at(1))?, count: item.at(2).int()? })
}

fn stood(item: &Item) -> Option<Stood> {
    // A list has no gaps: what is not there is below nought.
    let there = |at: usize| Some(item.at(at).int()?).map(|number| (number >= 0).then_some(number));
    Some(Stood {
        id: item.at(0).text()?.into(),
        unit: currency(item.at(1))?,
        used: item.at(2).int()?,
        room: item.at(3).int()?,
        alert: there(4)?,
        crossed: item.at(5).bool()?,
        frees: there(6)?.map(Timestamp),
    })
}

/// The budget that a script keeps as these bytes: two lists of threes.
pub fn ledger(bytes: &[u8]) -> Option<Ledger> {
    let kept = Item::read(bytes)?;
    let (mut open, mut spent) = (Vec::new(), Vec::new());
    for three in kept.member("open").items()?.chunks_exact(3) {
        let [op, unit, count] = three else { return None };
        open.push(Reserved { op: operation(op)?, unit: currency(unit)?, count: count.int()? });
    }
    for three in kept.member("spent").items()?.chunks_exact(3) {
        let [last, unit, count] = three else { return None };
        spent.push(Bucket { last: moment(last)?, unit: currency(unit)?, count: count.int()? });
    }
    let kept = kept.member("keep").int().map(|millis| Duration::from_millis(millis.unsigned_abs()));
    Some(Ledger { open, spent, kept })
}

/// A currency, or none for a count of effects.
fn currency(item: &Item) -> Option<Option<Currency>> {
    match item.text()? {
        "" => Some(None),
        code => Currency::parse(code).map(Some),
    }
}

/// A freeze as the scripts keep it.
pub fn freeze(freeze: &Freeze) -> Item {
    Item::map([
        ("id", Item::from(&*freeze.id)),
        ("scope", Item::bytes(freeze.scope.to_string())),
        ("reason", Item::from(&*freeze.reason)),
        ("by", Item::from(&*freeze.by)),
        ("at", Item::near(freeze.at.0)),
        ("ends", Item::maybe(freeze.until, |until| Item::near(until.0))),
        ("before", Item::maybe(freeze.issued_before, |before| Item::near(before.0))),
        ("stops", Item::from(freeze.stops.name())),
    ])
}

/// What is lifted, and when, as a script is told.
pub fn lift(id: &str, keep: Duration, lift: Lift) -> Vec<(&'static str, Item)> {
    let keep = Item::near(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    let if_over = Item::from(lift == Lift::IfOver);
    vec![("lift", Item::from(id)), ("keep", keep), ("if_over", if_over)]
}

/// The freeze that a script keeps so.
pub fn read_freeze(item: &Item) -> Option<Freeze> {
    Some(Freeze {
        id: item.member("id").text()?.into(),
        scope: FreezeScope::kept(item.member("scope").text()?)?,
        reason: item.member("reason").text()?.into(),
        by: item.member("by").text()?.into(),
        at: moment(item.member("at"))?,
        until: moment(item.member("ends")),
        issued_before: moment(item.member("before")),
        // One from before there were brakes says nothing: a person's.
        stops: item.member("stops").text().map_or(Some(Stops::Refused), Stops::parse)?,
    })
}

/// A list of the fleet's freezes, and its version.
pub fn freezes(bytes: &[u8]) -> Option<(i64, Vec<Freeze>)> {
    let kept = Item::read(bytes)?;
    Some((kept.member("version").int()?, all(kept.member("list"), read_freeze)?))
}

fn all<T>(item: &Item, one: impl Fn(&Item) -> Option<T>) -> Option<Vec<T>> {
    item.items()?.iter().map(one).collect()
}

fn texts(item: &Item) -> Option<Vec<Box<str>>> {
    all(item, |one| one.text().map(Into::into))
}

fn number(item: &Item) -> Option<u32> {
    u32::try_from(item.int()?).ok()
}

fn array<const N: usize>(item: &Item) -> Option<[u8; N]> {
    item.raw()?.try_into().ok()
}

fn operation(item: &Item) -> Option<OperationId> {
    array(item).map(OperationId)
}

fn slot(item: &Item) -> Option<Slot> {
    array(item).map(Slot)
}

fn moment(item: &Item) -> Option<Timestamp> {
    item.int().map(Timestamp)
}

fn read_token(item: &Item) -> Option<Token> {
    u64::from_str_radix(item.text()?, 16).ok().map(Token)
}

/// A record behind an [`Arc`], as replies have it.
pub fn shared(bytes: &[u8]) -> Option<Arc<Record>> {
    record(bytes).map(Arc::new)
}

/// A record as the scripts keep it, for one that is put back: what a person was asked is not in it.
pub fn written(record: &Record) -> Item {
    let about = &record.about;
    let moments =
        |m: &Moment| Item::List(vec![Item::near(m.at.0), Item::from(&*m.what), Item::from(&*m.by)]);
    let attempts = |a: &Attempt| Item::List(vec![token(a.token), Item::near(a.at.0)]);
    let charges = |c: &Charge| {
        let unit = Item::from(c.unit.as_ref().map_or("", |unit| unit.code()));
        Item::List(vec![Item::bytes(c.slot.0), unit, Item::Int(c.count)])
    };
    let stood = |s: &Stood| {
        let unit = Item::from(s.unit.as_ref().map_or("", |unit| unit.code()));
        let numbers = [s.used, s.room, s.alert.unwrap_or(-1)].map(Item::near);
        let frees = Item::near(s.frees.map_or(-1, |at| at.0));
        let [used, room, alert] = numbers;
        Item::List(vec![Item::from(&*s.id), unit, used, room, alert, Item::Bool(s.crossed), frees])
    };
    let there = |slot: Slot| (slot != Slot([0; 16])).then_some(slot);
    Item::map([
        ("op", Item::bytes(record.op.0)),
        ("same", Item::maybe(there(record.same), |slot| Item::bytes(slot.0))),
        ("about", Item::bytes(rest(about))),
        ("maker", Item::bytes(maker(about).0)),
        ("summary", Item::from(&*about.summary)),
        ("fp", Item::bytes(about.fingerprint.0)),
        ("digest", Item::bytes(about.digest.0)),
        ("financial", Item::Bool(about.class == Class::Financial)),
        ("minor", Item::maybe(about.amount, |amount| Item::Int(amount.minor))),
        ("currency", Item::maybe(about.amount, |amount| Item::from(amount.currency.code()))),
        ("owner", token(record.owner)),
        ("attempts", Item::list(&record.attempts, attempts)),
        ("charges", Item::list(&record.charges, charges)),
        ("charged", "freed".into()),
        ("stood", Item::list(&record.stood, stood)),
        ("alike", Item::maybe(record.alike, |slot| Item::bytes(slot.0))),
        ("on", Item::maybe(record.on, |slot| Item::bytes(slot.0))),
        ("status", Item::maybe(record.status, |status| Item::Int(i64::from(status)))),
        ("request_id", Item::maybe(record.request_id.as_deref(), Item::from)),
        ("reason", Item::from(&*record.reason)),
        ("answer", "none".into()),
        ("collected", Item::Bool(record.collected)),
        ("contradiction", Item::Bool(record.contradiction)),
        ("aliases", Item::Int(i64::from(record.aliases))),
        ("made", Item::maybe(record.made.as_deref(), Item::from)),
        ("created", Item::near(record.created.0)),
        ("updated", Item::near(record.updated.0)),
        ("timeline", Item::list(&record.timeline, moments)),
        ("crowds", Item::list(&record.crowds(), |own| Item::bytes(own.0))),
        ("wants", Item::list(&record.wants, |news| Item::from(news.name()))),
        ("letters", Item::List(Vec::new())),
        ("lettered", Item::Int(i64::from(record.lettered))),
    ])
}

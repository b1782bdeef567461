//! May it be sent? Freezes, its own record, the resource, likeness, budgets, a hold: one atomic answer.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Class, OperationId, Resource};
use crate::clock::Timestamp;
use crate::contract::Over;
use crate::decision::Reason;
use crate::money::Currency;
use crate::refusal::{Code, Fault};
use crate::store::ask::{Entry, Likeness, Reserve};
use crate::store::budget::Stood;
use crate::store::draft::Draft;
use crate::store::freeze::{Freeze, Subject};
use crate::store::hold::{Hold, News};
use crate::store::record::{About, AnswerKept, Charge, Charged, Record, Slot, State, Token};
use crate::store::rows::{Row, Rows, Same, key};
use crate::store::step::brakes;
use crate::store::step::crowd::{self, Whose};
use crate::store::step::rates;
use crate::store::step::reasons;
use crate::store::step::recall::{Found, How, Known, find, join, known};
use crate::store::step::room;
use crate::store::step::voices::{Held, Voices};
use crate::store::step::{Now, Open, free, keep_request, reserve_room, resource, ripen, touch};

/// What a reserve comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It may be sent, once, before the lease is over.
    Granted(Grant),
    /// A person must answer; its room is reserved.
    Held(Arc<Record>),
    /// It is known already.
    Known(Known),
    /// The key names another request.
    Mismatch(OperationId),
    /// Not now; nothing was reserved.
    Blocked(Blocked),
    /// An approved operation that is no longer there.
    Lost,
}

/// The right to send one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What is kept of it.
    pub record: Arc<Record>,
    /// Who may write its outcome.
    pub token: Token,
    /// Until when.
    pub lease: Timestamp,
}

/// Why nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// A person stopped it.
    Frozen(Freeze),
    /// Another financial effect on the resource is under way.
    InFlight(OperationId),
    /// Another financial effect on the resource may have happened.
    OutcomeUnknown(OperationId),
    /// The resource moved since the facts were read: read them again, with this number.
    Stale(u64),
    /// The same was just done, and the contract refuses a second.
    Alike(Arc<Record>),
    /// Too many calls of it, of all replicas together.
    Rated {
        /// The rate's name.
        name: Box<str>,
        /// When there is room for one.
        wait: Duration,
    },
    /// Too many calls wait for people already.
    Crowded(Whose),
    /// No room, and the contract refuses what is past it.
    Over {
        /// `budget.customer-24h`.
        id: Box<str>,
        /// When there will be room, when waiting helps.
        until: Option<Timestamp>,
    },
}

/// Where a reserve will write.
struct Place {
    old: Option<Arc<Record>>,
    op: OperationId,
    alias: Option<OperationId>,
    /// For calls that ask the same.
    same: Option<(Slot, u32)>,
}

pub(super) fn reserve<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    (ask, sealed_for): (&Reserve, Option<OperationId>),
    now: Now,
) -> Result<Reserved, Fault> {
    let place = match locate(draft, ask, now)? {
        Ok(place) => place,
        Err(answer) => return Ok(answer),
    };
    // What came with it was sealed for another operation, that somebody else has become meanwhile.
    if sealed_for.is_some_and(|op| op != place.op) {
        return Ok(Reserved::Blocked(Blocked::Stale(draft.meta()?.settled)));
    }
    // INVARIANT: I11, once a freeze is durable nothing that it matches enters submitted.
    let (stops, subject) = (draft.freezes()?, ask.subject());
    if let Some(freeze) = stops.iter().find(|freeze| freeze.stops(&subject, now.at)) {
        return Ok(Reserved::Blocked(Blocked::Frozen(freeze.clone())));
    }
    if let Some(blocked) = busy(draft, ask, (place.op, now))? {
        return Ok(Reserved::Blocked(blocked));
    }
    if let Some(blocked) = rates::full(draft, ask, now)? {
        return Ok(Reserved::Blocked(blocked));
    }
    let mut found = Voices::of(ask);
    if let Some((over, other)) = alike(draft, ask, place.op, now)? {
        let about = (other.op, other.created);
        let reason = || reasons::alike(about, &other.about.summary, other.state.name());
        match over {
            Over::Refuse if found.is_noted(Code::DuplicateSuspected) => found.push(reason()),
            Over::Refuse => return Ok(Reserved::Blocked(Blocked::Alike(other))),
            Over::Hold => found.push(reason()),
            Over::Allow => {}
        }
    }
    let mut stood = Vec::with_capacity(ask.budgets.len());
    for budget in &ask.budgets {
        let measured = room::measure(draft, &ask.about, budget, (place.op, now))?;
        stood.extend(measured.stood);
        let Some(until) = measured.over else {
            continue;
        };
        match budget.over {
            Over::Refuse if found.is_noted(Code::BudgetExhausted) => {
                found.push(reasons::budget(&budget.id));
            }
            Over::Refuse => {
                let id = budget.id.clone();
                return Ok(Reserved::Blocked(Blocked::Over { id, until }));
            }
            Over::Hold => found.push(reasons::budget(&budget.id)),
            Over::Allow => {}
        }
    }
    brakes::found(draft, ask, (&stops, place.op, now))?
        .into_iter()
        .for_each(|reason| found.push(reason));
    write(draft, ask, place, (found.sorted(), stood), now)
}

/// The record this is about; an answer at once where it is known.
fn locate<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    ask: &Reserve,
    now: Now,
) -> Result<Result<Place, Reserved>, Fault> {
    let name = match &ask.entry {
        Entry::Asked(name) => name,
        Entry::Approved(op) => {
            let Some(record) = draft.record(*op)? else {
                return Ok(Err(Reserved::Lost));
            };
            let record = ripen(draft, record, now)?;
            if let Some(answer) = asked_twice(&record, ask.token) {
                return Ok(Err(answer));
            }
            // INVARIANT: of two sweeps that race, one finds it approved; the other finds it taken.
            if record.state != State::Approved {
                return Ok(Err(Reserved::Known(Known { record, how: How::Own, answer: None })));
            }
            return Ok(Ok(Place { old: Some(record), op: *op, alias: None, same: None }));
        }
    };
    let same = name.same();
    Ok(match find(draft, name, now)? {
        Found::Mismatch(op) => Err(Reserved::Mismatch(op)),
        Found::New { op, ordinal } => {
            Ok(Place { old: None, op, alias: None, same: Some((same, ordinal)) })
        }
        Found::Known { record, how, alias } => match asked_twice(&record, ask.token) {
            Some(answer) => Err(answer),
            None if record.state == State::NotSent => {
                Ok(Place { op: record.op, old: Some(record), alias, same: None })
            }
            None => Err(Reserved::Known(known(draft, record, (how, alias), now)?)),
        },
    })
}

/// The same reserve again, because its answer was lost: the same answer.
fn asked_twice(record: &Arc<Record>, token: Token) -> Option<Reserved> {
    match record.state {
        State::Submitted { token: own, lease } if own == token => {
            Some(Reserved::Granted(Grant { record: Arc::clone(record), token, lease }))
        }
        State::Held if record.owner == token => Some(Reserved::Held(Arc::clone(record))),
        State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Unknown
        | State::Done { .. }
        | State::NotSent
        | State::Refused { .. } => None,
    }
}

// INVARIANT: I13, at most one open financial effect per resource, and none that was judged by facts
// from before the last one ended.
fn busy<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    ask: &Reserve,
    (own, now): (OperationId, Now),
) -> Result<Option<Blocked>, Fault> {
    let Some(slot) = resource_slot(&ask.about) else {
        return Ok(None);
    };
    let Some(on) = resource(draft, slot, now)? else {
        return Ok(None);
    };
    let financial = ask.about.class == Class::Financial;
    if let Some(other) = on.open.filter(|open| financial && *open != own) {
        let unknown = draft.record(other)?.is_some_and(|record| record.state == State::Unknown);
        return Ok(Some(if unknown {
            Blocked::OutcomeUnknown(other)
        } else {
            Blocked::InFlight(other)
        }));
    }
    Ok((on.moved > ask.seen).then_some(draft.meta()?.settled).map(Blocked::Stale))
}

pub(in crate::store) fn resource_slot(about: &About) -> Option<Slot> {
    about.resource.as_ref().map(|Resource { kind, id }| {
        let pieces = [&*about.caller.tenant, &*about.upstream, &**kind, &**id];
        Slot::of(b'o', &pieces.map(str::as_bytes))
    })
}

/// Same tenant, upstream, owner, kind, resource and currency; under any agent, action or key.
pub(in crate::store) fn alike_slot(about: &About) -> Option<Slot> {
    let kind = about.kind?;
    let owner = about.owner.as_deref().unwrap_or(&about.account);
    let (resource, id) =
        about.resource.as_ref().map_or(("", ""), |resource| (&*resource.kind, &*resource.id));
    let currency = about.amount.map(|amount| amount.currency);
    let currency = currency.as_ref().map_or("", Currency::code);
    let pieces =
        [&*about.caller.tenant, &*about.upstream, owner, kind.name(), resource, id, currency];
    Some(Slot::of(b'l', &pieces.map(str::as_bytes)))
}

fn alike<R: Rows + ?Sized>(
    draft: &Draft<'_, R>,
    ask: &Reserve,
    own: OperationId,
    now: Now,
) -> Result<Option<(Over, Arc<Record>)>, Fault> {
    let (Some(rule), Some(slot)) = (ask.likeness, alike_slot(&ask.about)) else {
        return Ok(None);
    };
    let minor = ask.about.amount.map(|amount| amount.minor);
    let edge = now.edge(rule.within);
    let approved = matches!(ask.entry, Entry::Approved(_));
    for other in draft.alikes(slot)?.into_iter().rev() {
        if other.op == own || !is_near(minor, other.minor, rule) {
            continue;
        }
        // One that waits or is under way counts however old it is. To an approved one only what was
        // let go counts: asking for its like does not undo an approval.
        if let Some(record) = draft.record(other.op)?
            && (other.at >= edge || record.state.is_open())
            && !(approved && record.state == State::Held)
        {
            return Ok(Some((rule.alike, record)));
        }
    }
    Ok(None)
}

/// Two amounts within `near` per mille of the larger. An amount that is not known is near any.
fn is_near(a: Option<i64>, b: Option<i64>, rule: Likeness) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return true;
    };
    let apart = i128::from(a.abs_diff(b)).saturating_mul(1000);
    apart <= i128::from(a.max(b)).saturating_mul(i128::from(rule.near))
}

fn write<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    ask: &Reserve,
    place: Place,
    ((mut reasons, shadow), stood): (Held, Vec<Stood>),
    now: Now,
) -> Result<Reserved, Fault> {
    let approval = match (&ask.entry, &place.old) {
        (Entry::Approved(_), Some(old)) => old.approval.clone(),
        (Entry::Approved(_) | Entry::Asked(_), _) => None,
    };
    // INVARIANT: I12, an approval lifts exactly the policies it was given for, and nothing once the
    // digest is another one.
    let lifted = |id: &str| {
        approval.as_ref().is_some_and(|yes| yes.policies.iter().any(|policy| **policy == *id))
    };
    let other_digest = approval.as_ref().is_some_and(|yes| yes.digest != ask.about.digest);
    let mut changed: Vec<Box<str>> =
        reasons.iter().map(|r| r.policy.clone()).filter(|id| !lifted(id)).collect();
    if other_digest {
        changed.push("digest".into());
        reasons.push(reasons::changed());
        reasons.sort();
    }
    if !changed.is_empty()
        && let Some(whose) = crowd::full(draft, ask)?
    {
        return Ok(Reserved::Blocked(Blocked::Crowded(whose)));
    }
    rates::take(draft, ask, now)?;
    let mut new = blank(ask, &place, now);
    (new.stood, new.shadow) = (stood, shadow);
    if let Some(old) = &place.old {
        carry(draft, (old, &mut new), now)?;
    }
    join(draft, &mut new, place.alias);
    if changed.is_empty() {
        // INVARIANT: what a brake watches is what is let go: what waits for a person is no spike.
        count(
            &mut new.charges,
            ask.brakes.iter().map(|one| brakes::charge(&ask.about.caller.tenant, one)),
        );
    }
    reserve_room(draft, &mut new, now)?;
    if let Some((slot, ordinal)) = place.same {
        let same = Same { op: new.op, ordinal, at: now.at };
        draft.put(key::same(slot), Some(Row::Same(same)));
    }
    keep_request(draft, new.op, &ask.request);
    let old = place.old.as_deref();
    if changed.is_empty() {
        return submit(draft, ask, (old, new), now);
    }
    new.state = State::Held;
    new.approval = None;
    new.note(now.at, held_words(&reasons), "");
    let changed = if approval.is_some() { changed } else { Vec::new() };
    let terms = &ask.hold;
    new.hold = Some(Hold {
        shown: Hold::shown(&new.about.digest, &reasons),
        reasons,
        queue: terms.queue.clone(),
        deadline: terms.deadline,
        since: now.at,
        joined: old.and_then(|old| old.hold.as_ref()).map_or(0, |hold| hold.joined),
        changed,
        risk: terms.risk,
        needs: terms.needs.clone(),
        yes: Vec::new(),
        nudge: terms.nudge.map(|span| now.at.plus(span)),
        passed: Vec::new(),
        asked: now.at,
    });
    new.tell(News::Held, now.at);
    Ok(Reserved::Held(draft.put_record(old, new)?))
}

/// INVARIANT: I8, this row is durable before the first byte leaves.
fn submit<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    ask: &Reserve,
    (old, mut new): (Option<&Record>, Record),
    now: Now,
) -> Result<Reserved, Fault> {
    let lease = now.at.plus(ask.lease);
    new.state = State::Submitted { token: ask.token, lease };
    new.attempt(ask.token, now.at);
    new.note(now.at, "submitted", "");
    if new.about.class == Class::Financial {
        touch(draft, &new, Open::Set, now)?;
    }
    let record = draft.put_record(old, new)?;
    Ok(Reserved::Granted(Grant { record, token: ask.token, lease }))
}

fn held_words(reasons: &[Reason]) -> String {
    let ids: Vec<&str> = reasons.iter().map(|reason| &*reason.policy).collect();
    format!("held: {}", ids.join(", "))
}

/// Two windows over one key: it is charged once.
fn count(charges: &mut Vec<Charge>, more: impl Iterator<Item = Charge>) {
    for charge in more {
        if !charges.iter().any(|own| own.slot == charge.slot && own.unit == charge.unit) {
            charges.push(charge);
        }
    }
}

fn blank(ask: &Reserve, place: &Place, now: Now) -> Record {
    let mut charges: Vec<Charge> = Vec::with_capacity(ask.budgets.len());
    count(&mut charges, ask.budgets.iter().map(|budget| room::charge(&ask.about, budget)));
    Record {
        op: place.op,
        same: place.same.map_or(Slot([0; 16]), |(slot, _)| slot),
        about: ask.about.clone(),
        state: State::NotSent,
        hold: None,
        approval: None,
        owner: ask.token,
        attempts: Vec::new(),
        charges,
        charged: Charged::Freed,
        stood: Vec::new(),
        alike: ask.likeness.and_then(|_| alike_slot(&ask.about)),
        on: resource_slot(&ask.about),
        status: None,
        request_id: None,
        reason: "".into(),
        answer: AnswerKept::None,
        collected: false,
        contradiction: false,
        aliases: 0,
        made: None,
        look: None,
        created: now.at,
        updated: now.at,
        settled: None,
        timeline: Vec::new(),
        wants: ask.hold.wants.clone(),
        letters: Vec::new(),
        lettered: 0,
        shadow: None,
    }
}

/// What an operation that is judged again keeps of itself.
fn carry<R: Rows + ?Sized>(
    draft: &mut Draft<'_, R>,
    (old, new): (&Record, &mut Record),
    now: Now,
) -> Result<(), Fault> {
    let mut before = old.clone();
    free(draft, &mut before, now)?;
    new.same = before.same;
    new.hold = before.hold;
    new.approval = before.approval;
    new.attempts = before.attempts;
    new.contradiction = before.contradiction;
    new.aliases = before.aliases;
    new.created = before.created;
    new.timeline = before.timeline;
    new.letters = before.letters;
    new.lettered = before.lettered;
    Ok(())
}

impl About {
    /// What a freeze is compared with.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            classes: &self.classes,
            kinds: self.kind.as_slice(),
            agent: &self.caller.agent,
            tenant: &self.caller.tenant,
            customer: &self.caller.customer,
            action: &self.action,
            upstream: &self.upstream,
        }
    }
}

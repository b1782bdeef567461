//! What became of it? Outcomes that nobody knows yet, or that the vendor says are pending, are looked
//! for: by sending the same bytes under the same key where the vendor is trusted to know it, else by
//! reading the system of record.
//!
//! Never sends under a key that is not trusted, or that the vendor may have forgotten, or to anywhere
//! but where it went first. Never takes a likely answer for one: what stays unclear is a person's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use futures_util::stream::{self, StreamExt};

use crate::action::{Lookup, Unit};
use crate::audit::Event;
use crate::bounds::LEASE_MARGIN;
use crate::breaker::Reached;
use crate::call::{Facts, OperationId, Outcome, Resolved};
use crate::clock::Timestamp;
use crate::decision::Verdict;
use crate::gate::execute::told_by;
use crate::gate::parcel::{Parcel, Sought};
use crate::gate::record::Told;
use crate::gate::reserve::Judged;
use crate::gate::road;
use crate::gate::{Admission, Asked, Evidence, Gate, Permit, Site, Ticket};
use crate::operation;
use crate::operation::search::{self, Absence, Shown, Wanted};
use crate::outbound::Connection;
use crate::refusal::Refusal;
use crate::store::{Against, Claim, Claimed, Record, State, Token, Try, Witness};
use crate::value::Value;
use crate::wire;

/// BOUND: outcomes that one turn looks for; the next turn takes the rest.
const SOUGHT_MAX: usize = 64;
/// BOUND: looked for at once: an upstream that was down is not met by a crowd.
const AT_ONCE: usize = 8;
/// BOUND: a vendor's keys are trusted until so long before it may forget them.
const RETENTION_MARGIN: Duration = Duration::from_secs(60 * 60);
/// How long a vendor may take to show what it did, where no pack says so.
const SETTLE_USUAL: Duration = Duration::from_secs(60);

/// What is needed to look for an outcome.
struct Search {
    asked: Asked,
    sought: Option<Sought>,
}

impl Gate {
    /// One turn of looking for outcomes.
    pub(super) async fn seek(&self) {
        match self.store.sought(SOUGHT_MAX).await {
            Ok(sought) => {
                let each = stream::iter(sought).map(|record| Box::pin(self.seek_one(record)));
                each.buffer_unordered(AT_ONCE).collect::<()>().await;
            }
            Err(fault) => self.tell_fault("unknown outcomes could not be listed", &fault),
        }
    }

    async fn seek_one(&self, record: Arc<Record>) {
        let mut evidence = Evidence::of_record(&record, &self.clock);
        let search = self.search(&record, &mut evidence).await;
        let how = match &search {
            Ok(search) if self.reading_may_tell(&record, search) => Try::Read,
            Ok(search) if self.may_send_again(&record, search) => Try::Send,
            Ok(_) | Err(_) => Try::Read,
        };
        let Ok(token) = Token::random() else { return };
        let until = self.clock.steady().saturating_add(LEASE_MARGIN);
        let Some((record, how)) = self.claimed(&record, token, how).await else { return };
        let how = match (how, &search) {
            (Try::Send, Ok(search)) if self.is_remembered(&record, search) => Try::Send,
            (Try::Send | Try::Read, _) => Try::Read,
        };
        let ticket = Ticket { operation: record.op, token, until };
        let found = match &search {
            Ok(search) => self.find(&record, search, (ticket, how), &mut evidence).await,
            Err(why) => Err(why.clone()),
        };
        match found {
            Ok(told) => self.settle_found(told, &mut evidence).await,
            Err(why) => self.not_found_yet(&record, token, &why, &evidence).await,
        }
    }

    async fn settle_found(&self, told: Told, evidence: &mut Evidence) {
        if let Witness::Lookup(_) = told.by
            && let Err(fault) = self.found_on_record(told.outcome, None, evidence).await
        {
            // It is found again.
            self.tell_evidence_gap();
            self.tell_fault("what a look-up found could not be put on record", &fault);
            return;
        }
        self.settle(told, evidence).await;
    }

    /// The operation, if nobody else looks for its outcome now; and how it is looked for.
    async fn claimed(&self, record: &Record, token: Token, how: Try) -> Option<(Arc<Record>, Try)> {
        let lease = self.span(record).unwrap_or(SETTLE_USUAL);
        let claim = Claim { op: record.op, token, how, lease };
        match self.store.claim(claim.clone()).await {
            Ok(Claimed::Yours(record)) => Some((record, how)),
            // What a person stopped is not sent again; it may be read.
            Ok(Claimed::Frozen(_)) => {
                match self.store.claim(Claim { how: Try::Read, ..claim }).await {
                    Ok(Claimed::Yours(record)) => Some((record, Try::Read)),
                    Ok(_) | Err(_) => None,
                }
            }
            Ok(Claimed::NotNow(_) | Claimed::Lost) => None,
            Err(fault) => {
                self.tell_fault("an unknown outcome could not be taken up", &fault);
                None
            }
        }
    }

    /// What became of it, by a second sending or by a look-up; else why that is not known yet.
    async fn find(
        &self,
        record: &Record,
        search: &Search,
        (ticket, how): (Ticket, Try),
        evidence: &mut Evidence,
    ) -> Result<Told, String> {
        let mut why = Vec::new();
        if how == Try::Send {
            match self.send_again(search, ticket, evidence).await {
                Ok(told) => return Ok(told),
                Err(answered) => why.push(answered),
            }
        }
        match self.look_up(record, search).await {
            Ok((outcome, made)) => {
                let by = Witness::Lookup(ticket.token);
                let told = Told::of(record.op, outcome, "found by a look-up");
                Ok(Told { by, made, ..told })
            }
            Err(unclear) => {
                why.push(unclear);
                Err(why.join("; "))
            }
        }
    }

    async fn not_found_yet(&self, record: &Record, token: Token, why: &str, evidence: &Evidence) {
        let by = Witness::Lookup(token);
        let told = Told { by, ..Told::of(record.op, Outcome::Unknown, why) };
        if let Err(fault) = self.store.settle(crate::gate::record::settling(&told), None).await {
            self.tell_fault("a look-up could not be noted", &fault);
        }
        let mut entry = evidence.entry(Event::LookedUp, Verdict::Allow, &self.policy_digest);
        entry.note = Some(crate::redact::text(why).into());
        if let Err(fault) = self.audit.note(entry) {
            self.tell_evidence_gap();
            self.tell_fault("a look-up could not be put on record", &fault);
        }
    }

    /// The call of an operation, understood again, and how its outcome is looked up.
    async fn search(&self, record: &Record, evidence: &mut Evidence) -> Result<Search, String> {
        let parcel = self.parcel(record).await.map_err(|refusal| refusal.why)?;
        let asked = self.asked_again(record, &parcel, evidence).await.map_err(|r| r.why)?;
        Ok(Search { asked, sought: parcel.sought })
    }

    /// What was kept of the request.
    pub(super) async fn parcel(&self, record: &Record) -> Result<Parcel, Refusal> {
        let lost = || {
            Refusal::undecidable("the kept request cannot be read; is the sealing key the same?")
        };
        let sealed = self.store.request(record.op).await?.ok_or_else(lost)?;
        Parcel::open(&sealed).ok_or_else(lost)
    }

    /// Whether this try only reads. Every sending begins the time anew in which the vendor need not show
    /// what it did: one that keeps saying no to the second sending would never be asked what it did with
    /// the first.
    fn reading_may_tell(&self, record: &Record, search: &Search) -> bool {
        let call = &search.asked.call;
        let lookup = call.action.lookup.as_ref().filter(|_| search.sought.is_some());
        let Some((lookup, site)) = lookup.zip(self.site(call).ok()) else { return false };
        // Every other try: the answer to a sending is worth more than what a list shows.
        let is_odd = record.look.is_some_and(|look| look.tries & 1 == 1);
        let was_sent_again = record.attempts.len() > 1;
        is_odd && was_sent_again && self.clock.now() >= self.ripe(record, site, Some(lookup))
    }

    /// INVARIANT: only under a key that the vendor is trusted to know, while it must still know it, with
    /// the bytes that went first, to where they went first.
    fn may_send_again(&self, record: &Record, search: &Search) -> bool {
        let call = &search.asked.call;
        let Ok(site) = self.site(call) else { return false };
        let Some(first) = record.attempts.first() else { return false };
        let fingerprint = operation::fingerprint(call, search.asked.account.as_deref());
        record.state == State::Unknown
            && site.trusted
            && operation::is_keyed(&call.action, &call.method)
            && record.about.origin == Some(site.origin)
            && record.about.fingerprint == fingerprint
            && self.clock.now().since(first.at) < remembered(site, search)
    }

    /// Whether the vendor must still know the key of a claim that is to be sent, by the store's own time.
    ///
    /// SECURITY: this process's clock may have been set back.
    fn is_remembered(&self, record: &Record, search: &Search) -> bool {
        let Ok(site) = self.site(&search.asked.call) else { return false };
        let ends = record.attempts.first().zip(record.attempts.last());
        ends.is_some_and(|(first, now)| now.at.since(first.at) < remembered(site, search))
    }

    /// Sends the same bytes under the same key. Only a yes is an answer: a no may be the vendor's answer
    /// to the second sending of something that it did.
    async fn send_again(
        &self,
        search: &Search,
        ticket: Ticket,
        evidence: &mut Evidence,
    ) -> Result<Told, String> {
        let entry = evidence.entry(Event::Resent, Verdict::Allow, &self.policy_digest);
        self.audit.record(entry).await.map_err(|fault| fault.to_string())?;
        let asked = &search.asked;
        let site = self.site(&asked.call).map_err(|refusal| refusal.why)?;
        let mut permit = self.permit_again(asked).map_err(|refusal| refusal.why)?;
        let send = self.last_look(&permit, (site, ticket)).map_err(|refusal| refusal.detail)?;
        let sent = self.clock.steady();
        let left = self.depart((&permit, ticket), (site, send), Connection::Fresh).await;
        let exchange = left.map_err(|refusal| refusal.detail)?;
        self.saw_own(&mut permit, (&exchange, sent));
        let action = &asked.call.action;
        let outcome = operation::outcome(action, &exchange);
        let told = told_by(action, ticket, (outcome, &exchange));
        match outcome {
            Outcome::Succeeded | Outcome::Accepted => {
                Ok(Told { by: Witness::Resend(ticket.token), note: "sent again".into(), ..told })
            }
            Outcome::Rejected | Outcome::NotSent | Outcome::Unknown => Err(match told.answer {
                Some(answer) => format!("sent again, answered {}", answer.status),
                None => format!("sent again: {}", told.note),
            }),
        }
    }

    fn permit_again(&self, asked: &Asked) -> Result<Permit, Refusal> {
        let road = self.open_road_to_resend(asked)?;
        let (facts, resolved) = (Facts::default(), Resolved::default());
        let judged = Judged {
            facts,
            resolved: Arc::new(resolved),
            reasons: Vec::new(),
            queue: "".into(),
            against: Against::Stands,
        };
        match self.permit(asked.clone(), judged, None, road)? {
            Admission::Forward(permit) => Ok(*permit),
            Admission::Replay(_) => Err(Refusal::undecidable("a permit that is none")),
        }
    }

    /// What the system of record says.
    async fn look_up(
        &self,
        record: &Record,
        search: &Search,
    ) -> Result<(Outcome, Option<Box<str>>), String> {
        let call = &search.asked.call;
        let site = self.site(call).map_err(|refusal| refusal.why)?;
        let Some((lookup, sought)) = call.action.lookup.as_ref().zip(search.sought.as_ref()) else {
            return Err("no look-up can tell: a person must say".into());
        };
        let mark = record.op.upstream_key();
        let target = sought.target.replace("{mark}", &mark);
        // What an answer does not show counts from when it was asked for, not from when it came.
        let is_ripe = self.is_ripe(record, site, lookup);
        let answer = self.answer_of(site, &search.asked, &target).await?;
        let wanted = Wanted {
            lookup,
            rule: &call.action.outcome,
            unit: call.action.amount.as_ref().map_or(Unit::Minor, |amount| amount.unit),
            amount: record.about.amount,
            since: record.attempts.first().map_or(record.created, |first| first.at),
            leapt: self.store.leap().map_or(Duration::ZERO, |leap| {
                Duration::from_millis(u64::try_from(leap.by).unwrap_or(0))
            }),
            same: &sought.same,
            mark: &mark,
            made: record.made.as_deref(),
        };
        let verdict = match search::shown(&wanted, &answer) {
            Shown::Is(outcome) => search::Verdict::Is(outcome, None),
            Shown::Nothing(why) => search::Verdict::Unclear(why.into()),
            Shown::Candidates { mut found, whole } => {
                let mut own = Vec::with_capacity(found.len());
                for candidate in found.drain(..) {
                    let made_by = self.store.made_by(&record.about, &candidate.id).await;
                    if made_by.map_err(|fault| fault.to_string())?.is_none_or(|op| op == record.op)
                    {
                        own.push(candidate);
                    }
                }
                let absence = match is_ripe {
                    _ if !whole => Absence::GoesOn,
                    true => Absence::Tells,
                    false => Absence::TooEarly,
                };
                search::verdict(&own, absence)
            }
        };
        concluded(record, verdict)
    }

    async fn answer_of(&self, site: &Site, asked: &Asked, target: &str) -> Result<Value, String> {
        let mut road = self.open_road_to_look(site).map_err(|refusal| refusal.detail)?;
        let asked_at = self.clock.steady();
        let reply = self.lookups.look(&asked.call, target).await;
        let span = self.clock.steady().saturating_sub(asked_at);
        let pack = &asked.call.action.pack;
        let health = road::health(pack, reply.as_ref().ok());
        self.saw(&mut road, Reached::Upstream, (health, span));
        let reply = reply.map_err(|why| format!("the look-up failed: {why}"))?;
        // SECURITY: a vendor that failed shows nothing, which must not be read as that there is nothing.
        if operation::says_ill(pack, &reply) {
            return Err("the look-up was answered with the vendor's own failure".into());
        }
        if reply.status != 200 {
            return Err(format!("the look-up answered {}", reply.status));
        }
        wire::document(&reply.headers, &reply.body)
    }

    /// How long one attempt of an operation may take.
    fn span(&self, record: &Record) -> Option<Duration> {
        self.sites.get(&*record.about.upstream).map(lease)
    }

    /// Whether the vendor must show by now whatever the last attempt has done.
    ///
    /// SECURITY: a clock that leaps, or differs from the store's, would make it early and a second effect
    /// possible: this process has known of the attempt for as long by its steady clock, too.
    fn is_ripe(&self, record: &Record, site: &Site, lookup: &Lookup) -> bool {
        let steady = self.clock.steady();
        let known = steady.saturating_sub(self.standing.watched.since(record, steady));
        let needed = lease(site).saturating_add(settle(Some(lookup)));
        known >= needed && self.clock.now() >= self.ripe(record, site, Some(lookup))
    }

    /// When the vendor must show whatever the last attempt has done.
    fn ripe(&self, record: &Record, site: &Site, lookup: Option<&Lookup>) -> Timestamp {
        let last = record.attempts.last().map_or(record.updated, |last| last.at);
        last.plus(lease(site)).plus(settle(lookup))
    }

    /// From when on a person's word that it did not happen counts.
    pub(super) fn ripe_for_a_no(&self, record: &Record) -> Timestamp {
        let site = self.sites.get(&*record.about.upstream);
        let action = self.catalog.actions().find(|action| *action.name == *record.about.action);
        let lookup = action.and_then(|action| action.lookup.as_ref());
        site.map_or(record.updated, |site| self.ripe(record, site, lookup))
    }
}

/// BOUND: attempts that are watched; past it the watching of all begins anew, which is only later.
const WATCHED_MAX: usize = 10_000;

/// Since when, by the steady clock, this process knows of an operation's last attempt.
#[derive(Debug, Default)]
pub struct Watched(Mutex<HashMap<OperationId, (Option<Token>, Duration)>>);

impl Watched {
    fn since(&self, record: &Record, steady: Duration) -> Duration {
        let mut watched = self.0.lock();
        if watched.len() >= WATCHED_MAX && !watched.contains_key(&record.op) {
            watched.clear();
        }
        let last = record.last_token();
        let one = watched.entry(record.op).or_insert((last, steady));
        if one.0 != last {
            *one = (last, steady);
        }
        one.1
    }
}

/// How long one attempt may take.
fn lease(site: &Site) -> Duration {
    let upstream = &site.upstream;
    upstream.connect.saturating_add(upstream.answer).saturating_add(LEASE_MARGIN)
}

/// How long after the first sending a vendor's key is trusted to be known.
fn remembered(site: &Site, search: &Search) -> Duration {
    let action = &search.asked.call.action;
    let retention = action.pack.idempotency.retention;
    // What is sent again may arrive as late as the vendor may show it: its key must be known then.
    let arrives = lease(site).saturating_add(settle(action.lookup.as_ref()));
    let margin = retention.checked_div(4).unwrap_or_default().min(RETENTION_MARGIN);
    retention.saturating_sub(margin.max(arrives))
}

/// How long the vendor may take to show what it did.
fn settle(lookup: Option<&Lookup>) -> Duration {
    lookup.map_or(SETTLE_USUAL, |lookup| lookup.settle)
}

/// What a verdict means for an operation as it stands.
fn concluded(
    record: &Record,
    verdict: search::Verdict,
) -> Result<(Outcome, Option<Box<str>>), String> {
    let pending = record.state == State::Done { outcome: Outcome::Accepted };
    match verdict {
        search::Verdict::Is(Outcome::Accepted, _) if pending => Err("still pending".into()),
        search::Verdict::Is(outcome, made) => Ok((outcome, made)),
        search::Verdict::NotThere if pending => Err("what was pending is not in the list".into()),
        search::Verdict::NotThere => Ok((Outcome::NotSent, None)),
        search::Verdict::Unclear(why) => Err(why),
    }
}

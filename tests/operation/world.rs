//! Two proxies, a network, a vendor, people, one store: what can happen next, and what must not.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tollhouse::call::{Digest, Fingerprint, OperationId, Outcome};
use tollhouse::clock::Timestamp;
use tollhouse::contract::Over;
use tollhouse::store::draft::Draft;
use tollhouse::store::record::Record;
use tollhouse::store::rows::Tables;
use tollhouse::store::step::{Event, Now, Reply, step};
use tollhouse::store::{
    Answered, Claim, Claimed, Entry, Freeze, FreezeScope, HoldAnswer, Recalled, Reserve, Reserved,
    Say, Settled, State, Stops, Token, Try, Witness,
};

use crate::asks::{HOUR, LEASE, START, ask, budget, hash, name, op, reason, settle};

/// What a search may use, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// One call, or two of one charge.
    pub calls: usize,
    /// Whether the vendor honours keys, so that an unknown is resent.
    pub native: bool,
    /// Whether a policy holds the call.
    pub held: bool,
    /// How many people must then say yes.
    pub approvers: u8,
    pub crashes: u8,
    pub expiries: u8,
    pub losses: u8,
    pub freezes: u8,
    /// How often a rule or what would be sent changes.
    pub changes: u8,
    /// How often anything may be granted.
    pub grants: u64,
    /// How often somebody may look for an unknown outcome.
    pub looks: u8,
    pub mutant: Option<Mutant>,
}

/// A guard that is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    NoFencing,
    BlindRetry,
    NoMark,
    RandomKey,
    ResendSaysNo,
    CounterFence,
    RecallAfterFacts,
    VersionIgnored,
    ApprovalByQueue,
    AnyDigest,
    OneOfTwo,
    OldYes,
    FreezeByCopy,
    AnyLooker,
    EarlyAbsence,
    SendsLate,
}

/// Where a proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Proxy {
    Idle,
    /// Recall said that it is new; facts not read yet.
    Fresh {
        seen: u64,
    },
    /// Facts are read.
    Ready {
        seen: u64,
        left: i64,
    },
    /// It may send.
    Granted {
        token: u64,
        serial: u64,
        /// It no longer sends.
        late: bool,
    },
    /// It has sent and waits.
    Waits {
        sent: Sent,
    },
    /// The vendor answered.
    Yes {
        sent: Sent,
    },
    No {
        sent: Sent,
    },
    /// It looks for an outcome.
    Seeks {
        token: u64,
    },
    /// It saw whether it is there.
    Saw {
        token: u64,
        there: bool,
    },
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sent {
    call: usize,
    token: u64,
    /// What the vendor knows it by.
    key: u64,
    again: bool,
    by: usize,
    /// Which grant it is of; the driver's own count, that nothing resets.
    serial: u64,
}

/// All there is.
#[derive(Debug, Clone)]
pub struct World {
    rows: Tables,
    now: Timestamp,
    proxies: [Proxy; 2],
    /// Bytes that may still arrive, whoever has given up on them.
    wire: BTreeSet<Sent>,
    /// What the vendor has done: per call.
    effects: [u8; 2],
    /// The keys it remembers.
    keys: BTreeSet<(usize, u64)>,
    told: [bool; 2],
    next_token: u64,
    granted: u64,
    /// The newest grant.
    live: u64,
    left: [u8; 6],
    frozen: bool,
    /// Rules and bytes, as they are today.
    changed: u8,
    /// What the approver saw when they said yes.
    yes: Option<(Vec<Box<str>>, Digest)>,
    /// Who said so.
    people: BTreeSet<&'static str>,
    /// A record was lost with the store.
    lost: bool,
    /// Every token that was ever durable.
    durable: BTreeSet<u64>,
}

const AMOUNT: [&str; 2] = ["60.00 USD", "50.00 USD"];
const MINOR: [i64; 2] = [60_00, 50_00];
const PAID: i64 = 100_00;
const KEYS: [&str; 2] = ["k0", "k1"];

type Next = (String, Result<World, String>);

/// What makes two worlds the same: everything but how they came about.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for record in [self.record(0), self.record(1)] {
            let Some(record) = record else {
                0_u8.hash(state);
                continue;
            };
            match record.state {
                State::Submitted { token, lease } => (token, lease > self.now).hash(state),
                other => other.hash(state),
            }
            std::mem::discriminant(&record.charged).hash(state);
            record.attempts.iter().for_each(|attempt| attempt.token.hash(state));
            record.look.map(|look| (look.token, look.next > self.now)).hash(state);
            record.contradiction.hash(state);
            record.hold.as_ref().map(|hold| hold.shown).hash(state);
            let yes = record.hold.iter().flat_map(|hold| &hold.yes);
            yes.for_each(|yes| yes.by.hash(state));
            record.approval.as_ref().map(|yes| (&yes.policies, yes.digest)).hash(state);
        }
        (self.used(0), self.used(1)).hash(state);
        let draft = Draft::new(&self.rows);
        let on = self.record(0).or_else(|| self.record(1)).and_then(|record| record.on);
        let on = on.and_then(|slot| draft.resource(slot).unwrap());
        (on.map(|on| (on.open, on.moved)), draft.meta().unwrap().settled).hash(state);
        (&self.proxies, &self.wire, &self.effects, &self.keys, &self.told).hash(state);
        (self.next_token, self.granted, self.live, &self.left, self.frozen).hash(state);
        (self.changed, &self.yes, &self.people, self.lost, &self.durable).hash(state);
    }
}

impl World {
    pub fn new(setup: &Setup) -> Self {
        Self {
            rows: Tables::default(),
            now: START,
            proxies: [Proxy::Idle; 2],
            wire: BTreeSet::new(),
            effects: [0; 2],
            keys: BTreeSet::new(),
            told: [false; 2],
            next_token: 1,
            granted: 0,
            live: 0,
            left: [
                setup.crashes,
                setup.expiries,
                setup.losses,
                setup.freezes,
                setup.changes,
                setup.looks,
            ],
            frozen: false,
            changed: 0,
            yes: None,
            people: BTreeSet::new(),
            lost: false,
            durable: BTreeSet::new(),
        }
    }

    fn record(&self, call: usize) -> Option<Arc<Record>> {
        Draft::new(&self.rows).record(op(KEYS[call])).unwrap()
    }

    /// What a call takes from its budget, as the ledger has it.
    fn used(&self, call: usize) -> i64 {
        let Some(record) = self.record(call) else { return 0 };
        let Some(charge) = record.charges.first() else { return 0 };
        let ledger = Draft::new(&self.rows).ledger(charge.slot).unwrap();
        ledger.used(charge.unit, START, OperationId([0; 32]))
    }

    fn run(&mut self, event: &Event) -> Reply {
        let now = Now { at: self.now, ..Now::default() };
        let (reply, changes) = step(&self.rows, event, now).unwrap();
        self.rows.apply(changes);
        reply
    }

    /// What is broken here.
    pub fn broken(&self, setup: &Setup) -> Option<String> {
        let mut open = 0;
        for call in 0..setup.calls {
            let effects = self.effects[call];
            if effects > 1 {
                return Some("I1: two effects".into());
            }
            // What was sent before a store was lost, only the local intents would know: not built yet. One
            // effect a key, fences and mismatches hold all the same.
            if self.lost {
                continue;
            }
            if self.told[call] && effects == 0 {
                return Some("I2: told done, and it was not".into());
            }
            let Some(record) = self.record(call) else { continue };
            open += u8::from(record.state.is_in_flight());
            let possible = match record.state {
                State::Done { outcome: Outcome::Rejected }
                | State::NotSent
                | State::Refused { .. } => false,
                State::Held
                | State::Approved
                | State::Submitted { .. }
                | State::Unknown
                | State::Done { .. } => true,
            };
            if effects > 0 && !possible {
                return Some(format!("I4: {} with an effect", record.state.name()));
            }
            if effects == 0 && record.state == (State::Done { outcome: Outcome::Succeeded }) {
                return Some("I3: succeeded without an effect".into());
            }
            let expected = if possible { MINOR[call] } else { 0 };
            if self.used(call) != expected {
                let (used, state) = (self.used(call), record.state.name());
                return Some(format!("I5-I7: {used} of {expected} reserved while {state}"));
            }
            if self.mismatch(call) {
                return Some("I10: another request under the key is no mismatch".into());
            }
        }
        if open > 1 {
            return Some("I13: two open effects on one resource".into());
        }
        let paid: i64 = (0..2).map(|call| i64::from(self.effects[call]) * MINOR[call]).sum();
        (paid > PAID).then(|| format!("I13: {paid} of {PAID} refunded"))
    }

    fn mismatch(&self, call: usize) -> bool {
        let mut other = name(Some(KEYS[call]), AMOUNT[call]);
        other.fingerprint = Fingerprint(hash("another request"));
        let now = Now { at: self.now, ..Now::default() };
        let (reply, _) = step(&self.rows, &Event::Recall(other), now).unwrap();
        !matches!(reply, Reply::Recalled(Recalled::Mismatch(_)))
    }

    /// Everything that can happen next.
    pub fn next(&self, setup: &Setup) -> Vec<Next> {
        let mut all = Vec::new();
        for at in 0..2 {
            self.proxy(setup, at, &mut all);
        }
        for sent in &self.wire {
            self.vendor(setup, *sent, &mut all);
        }
        self.people(setup, &mut all);
        self.faults(setup, &mut all);
        all
    }

    fn with(&self, change: impl FnOnce(&mut World)) -> Result<World, String> {
        let mut world = self.clone();
        change(&mut world);
        Ok(world)
    }

    /// With two calls each proxy has its own; with one both have the same.
    fn call(setup: &Setup, at: usize) -> usize {
        if setup.calls == 2 { at } else { 0 }
    }

    fn proxy(&self, setup: &Setup, at: usize, all: &mut Vec<Next>) {
        let call = Self::call(setup, at);
        let mut add = |what: &str, next| all.push((format!("P{at} {what}"), next));
        let facts_first = setup.mutant == Some(Mutant::RecallAfterFacts);
        match self.proxies[at] {
            Proxy::Idle => {
                if facts_first {
                    let left = self.left_to_refund();
                    add(
                        "reads facts first",
                        self.with(|w| {
                            w.proxies[at] = Proxy::Ready { seen: u64::MAX, left };
                        }),
                    );
                } else {
                    add("recalls", self.recalls(setup, at, None));
                }
                let record = self.record(call);
                if record.as_ref().is_some_and(|record| record.state == State::Approved) {
                    add("releases", self.reserves(setup, at, Entry::Approved(op(KEYS[call])), 0));
                }
                let unknown = record.as_ref().is_some_and(|r| r.state == State::Unknown);
                if unknown && setup.mutant == Some(Mutant::BlindRetry) {
                    add("takes it over", self.takes_over(setup, at));
                }
                if unknown && self.left[5] > 0 {
                    add("claims a look", self.claims(setup, at, Try::Read));
                    if setup.native {
                        add("claims and sends again", self.claims(setup, at, Try::Send));
                    }
                }
            }
            Proxy::Fresh { seen } => {
                let left = self.left_to_refund();
                add("reads facts", self.with(|w| w.proxies[at] = Proxy::Ready { seen, left }));
            }
            Proxy::Ready { seen, left } if facts_first && seen == u64::MAX => {
                add("recalls late", self.recalls(setup, at, Some(left)));
            }
            // Policy: no more than what is left.
            Proxy::Ready { left, .. } if left < MINOR[call] => {
                add("is refused", self.with(|w| w.proxies[at] = Proxy::Idle));
            }
            Proxy::Ready { seen, .. } => {
                let entry = Entry::Asked(name(Some(KEYS[call]), AMOUNT[call]));
                add("reserves", self.reserves(setup, at, entry, seen));
            }
            Proxy::Granted { token, serial, late } => {
                let sent = Sent { call, token, key: 0, again: false, by: at, serial };
                if !late || setup.mutant == Some(Mutant::SendsLate) {
                    add("sends", self.sends(setup, sent));
                }
                add("cannot connect", self.settles(setup, sent, Outcome::NotSent));
            }
            Proxy::Waits { sent } => {
                add("gives up", self.settles(setup, sent, Outcome::Unknown));
            }
            Proxy::Yes { sent } => {
                add("settles a yes", self.settles(setup, sent, Outcome::Succeeded))
            }
            Proxy::No { sent } => add("settles a no", self.settles(setup, sent, Outcome::Rejected)),
            Proxy::Seeks { token } => {
                let there = self.effects[call] > 0;
                // Ripe: whatever was sent before the look has arrived or never will.
                let ripe = self.wire.is_empty() || setup.mutant == Some(Mutant::EarlyAbsence);
                if there || ripe {
                    add("looks", self.with(|w| w.proxies[at] = Proxy::Saw { token, there }));
                }
            }
            Proxy::Saw { token, there } => {
                add("says what it saw", self.says(setup, at, token, there))
            }
        }
    }

    /// Takes an unknown up, to look for it or to send it again.
    fn claims(&self, setup: &Setup, at: usize, how: Try) -> Result<World, String> {
        let call = Self::call(setup, at);
        let token = self.next_token;
        let claim = Claim { op: op(KEYS[call]), token: Token(token), how, lease: LEASE };
        let key = self.upstream_key(setup);
        let mut granted = false;
        let world = self.with(|w| {
            let Reply::Claimed(claimed) = w.run(&Event::Claim(Box::new(claim))) else {
                unreachable!()
            };
            if !matches!(claimed, Claimed::Yours(_)) {
                return;
            }
            w.left[5] -= 1;
            w.next_token += 1;
            granted = how == Try::Send;
            w.proxies[at] = Proxy::Seeks { token };
            if granted {
                let sent = Sent { call, token, key, again: true, by: at, serial: w.live };
                w.durable.insert(token);
                w.wire.insert(sent);
                w.proxies[at] = Proxy::Waits { sent };
            }
        })?;
        if granted && self.frozen {
            return Err("I11: sent again under a freeze".into());
        }
        Ok(world)
    }

    /// What somebody saw at the vendor's is settled.
    fn says(&self, setup: &Setup, at: usize, token: u64, there: bool) -> Result<World, String> {
        let call = Self::call(setup, at);
        let outcome = if there { Outcome::Succeeded } else { Outcome::NotSent };
        let newest = self.record(call).and_then(|record| record.look).map_or(0, |l| l.token.0);
        let token = if setup.mutant == Some(Mutant::AnyLooker) { newest } else { token };
        let mut end = settle(op(KEYS[call]), token, outcome);
        end.by = Witness::Lookup(Token(token));
        self.with(|w| {
            w.run(&Event::Settle(Box::new(end)));
            w.proxies[at] = Proxy::Idle;
        })
    }

    fn left_to_refund(&self) -> i64 {
        PAID - (0..2).map(|call| i64::from(self.effects[call]) * MINOR[call]).sum::<i64>()
    }

    fn recalls(&self, setup: &Setup, at: usize, facts: Option<i64>) -> Result<World, String> {
        let call = Self::call(setup, at);
        self.with(|w| {
            let reply = w.run(&Event::Recall(name(Some(KEYS[call]), AMOUNT[call])));
            let Reply::Recalled(recalled) = reply else { unreachable!() };
            w.proxies[at] = match (recalled, facts) {
                (Recalled::Fresh { seen, .. }, None) => Proxy::Fresh { seen },
                (Recalled::Fresh { seen, .. }, Some(left)) => Proxy::Ready { seen, left },
                (Recalled::Known(known), _) => {
                    w.told[call] |=
                        known.record.state == State::Done { outcome: Outcome::Succeeded };
                    Proxy::Idle
                }
                (Recalled::Mismatch(_), _) => Proxy::Idle,
            };
        })
    }

    /// The rules that hold the call today, and what would be sent.
    fn today(&self, setup: &Setup) -> (Vec<&'static str>, Digest) {
        let mut rules = Vec::new();
        if setup.held {
            rules.push("financial.over-cap");
        }
        if self.changed >= 1 {
            rules.push("financial.disputed");
        }
        let bytes = if self.changed >= 2 { "what remains is less" } else { "as asked" };
        (rules, Digest(hash(bytes)))
    }

    fn reserves(&self, setup: &Setup, at: usize, entry: Entry, seen: u64) -> Result<World, String> {
        let call = Self::call(setup, at);
        if self.granted >= setup.grants {
            return self.with(|w| w.proxies[at] = Proxy::Idle);
        }
        let mut w = self.clone();
        let approved = matches!(entry, Entry::Approved(_));
        let (rules, digest) = w.today(setup);
        let mut asked: Reserve = ask(Some(KEYS[call]), AMOUNT[call], w.next_token);
        w.next_token += 1;
        asked.reasons = rules.iter().map(|rule| reason(rule)).collect();
        asked.about.digest = digest;
        asked.seen =
            if approved || setup.mutant == Some(Mutant::VersionIgnored) { u64::MAX } else { seen };
        asked.budgets = vec![budget(AMOUNT[call], 1_000_00, Over::Refuse)];
        asked.budgets[0].key = KEYS[call].into();
        asked.entry = entry;
        if approved && setup.mutant == Some(Mutant::ApprovalByQueue) {
            asked.reasons.clear();
        }
        if let (Some(Mutant::AnyDigest), Some((_, shown))) = (setup.mutant, &w.yes) {
            asked.about.digest = *shown;
        }
        asked.hold.needs.approvers = match setup.mutant {
            Some(Mutant::OneOfTwo) => 1,
            _ => setup.approvers,
        };
        if setup.mutant == Some(Mutant::FreezeByCopy) {
            asked.about.caller.agent = "nobody that a freeze names".into();
        }
        let before = w.rows.clone();
        let token = asked.token.0;
        let Reply::Reserved(reserved) = w.run(&Event::Reserve(Box::new(asked), None)) else {
            unreachable!()
        };
        w.proxies[at] = Proxy::Idle;
        if let Reserved::Granted(_) = reserved {
            if setup.mutant == Some(Mutant::NoMark) {
                w.rows = before;
            } else {
                w.durable.insert(token);
            }
            w.granted += 1;
            w.live = w.granted;
            w.proxies[at] = Proxy::Granted { token, serial: w.granted, late: false };
            if w.frozen {
                return Err("I11: granted under a freeze".into());
            }
            if let Some(why) = w.not_approved(setup, &rules, digest) {
                return Err(why);
            }
            w.people.clear();
        } else {
            if let (Some(Mutant::OldYes), Reserved::Held(record)) = (setup.mutant, &reserved) {
                w.keep_yes(record, self.record(call).as_deref());
            }
            w.next_token -= u64::from(!matches!(reserved, Reserved::Held(_)));
        }
        Ok(w)
    }

    /// Takes a guard out: who said yes before it was held anew has said yes to it.
    fn keep_yes(&mut self, held: &Arc<Record>, before: Option<&Record>) {
        let said = before.and_then(|record| record.hold.as_ref()).map(|hold| hold.yes.clone());
        let mut record = (**held).clone();
        if let (Some(hold), Some(said)) = (&mut record.hold, said) {
            hold.yes = said.into_iter().take(1).collect();
            let mut draft = Draft::new(&self.rows);
            draft.put_record(Some(held), record).unwrap();
            let changes = draft.changes();
            self.rows.apply(changes);
        }
    }

    /// I12: what is granted must be what the approver saw, as far as a rule holds it today.
    fn not_approved(&self, setup: &Setup, rules: &[&str], digest: Digest) -> Option<String> {
        if rules.is_empty() {
            return None;
        }
        let Some((seen, bytes)) = &self.yes else {
            return Some("I12: granted without a yes".into());
        };
        if self.people.len() < usize::from(setup.approvers) {
            return Some("I12: granted with a yes too few".into());
        }
        if *bytes != digest {
            return Some("I12: granted with other bytes than were approved".into());
        }
        let unseen = rules.iter().find(|rule| !seen.iter().any(|id| **id == ***rule))?;
        Some(format!("I12: `{unseen}` was never shown"))
    }

    /// What the vendor will know it by.
    fn upstream_key(&self, setup: &Setup) -> u64 {
        if setup.mutant == Some(Mutant::RandomKey) { self.next_token } else { 0 }
    }

    fn sends(&self, setup: &Setup, mut sent: Sent) -> Result<World, String> {
        sent.key = self.upstream_key(setup);
        // A proxy asks its own copy of the freezes once more before the first byte.
        if self.frozen && setup.mutant.is_none() {
            return self.settles(setup, sent, Outcome::NotSent);
        }
        if !self.durable.contains(&sent.token) {
            return Err("I8: sent without a durable record".into());
        }
        self.with(|w| {
            w.next_token += u64::from(setup.mutant == Some(Mutant::RandomKey));
            w.wire.insert(sent);
            w.proxies[sent.by] = Proxy::Waits { sent };
        })
    }

    fn settles(&self, setup: &Setup, sent: Sent, outcome: Outcome) -> Result<World, String> {
        let mut end = settle(op(KEYS[sent.call]), sent.token, outcome);
        if sent.again {
            end.by = Witness::Resend(Token(sent.token));
        }
        let no_fence = setup.mutant == Some(Mutant::NoFencing);
        let resend = setup.mutant == Some(Mutant::ResendSaysNo) && sent.again;
        let mut stale = false;
        let world = self.with(|w| {
            let in_flight = w.record(sent.call).is_some_and(|r| r.state.is_in_flight());
            if in_flight && (no_fence || resend) {
                w.pretend(
                    sent.call,
                    State::Submitted { token: Token(sent.token), lease: w.now.plus(HOUR) },
                );
                end.by = Witness::First(Token(sent.token));
            }
            let Reply::Settled(settled) = w.run(&Event::Settle(Box::new(end))) else {
                unreachable!()
            };
            // A vendor's yes is told to the agent, whatever the store made of it.
            w.told[sent.call] |= outcome == Outcome::Succeeded;
            w.proxies[sent.by] = Proxy::Idle;
            let no = matches!(outcome, Outcome::Rejected | Outcome::NotSent);
            stale = no && matches!(settled, Settled::Ok(_)) && w.live != sent.serial;
        })?;
        match stale {
            true if self.lost => Err("fence: a no from before the loss settled".into()),
            _ => Ok(world),
        }
    }

    /// Takes a guard out: what is unknown is taken for not sent, and runs again at once.
    fn takes_over(&self, setup: &Setup, at: usize) -> Result<World, String> {
        let call = Self::call(setup, at);
        let mut end = settle(op(KEYS[call]), 0, Outcome::NotSent);
        end.by = Witness::Person("nobody".into());
        let world = self.with(|w| {
            w.run(&Event::Settle(Box::new(end)));
        })?;
        let entry = Entry::Asked(name(Some(KEYS[call]), AMOUNT[call]));
        world.reserves(setup, at, entry, u64::MAX)
    }

    /// Takes a guard out: the record stands as if nothing had happened to it.
    fn pretend(&mut self, call: usize, state: State) {
        if let Some(record) = self.record(call) {
            let mut draft = Draft::new(&self.rows);
            draft.put_record(Some(&record), Record { state, ..(*record).clone() }).unwrap();
            let changes = draft.changes();
            self.rows.apply(changes);
        }
    }

    fn vendor(&self, setup: &Setup, sent: Sent, all: &mut Vec<Next>) {
        let mut add = |what: &str, next| all.push((format!("the vendor {what}"), next));
        let answers = |w: &mut World, proxy: fn(Sent) -> Proxy| {
            w.wire.remove(&sent);
            if w.proxies[sent.by] == (Proxy::Waits { sent }) {
                w.proxies[sent.by] = proxy(sent);
            }
        };
        let known = setup.native && self.keys.contains(&(sent.call, sent.key));
        add(
            "does it",
            self.with(|w| {
                if !known {
                    w.effects[sent.call] += 1;
                    w.keys.insert((sent.call, sent.key));
                }
                answers(w, |sent| Proxy::Yes { sent });
            }),
        );
        // A vendor that knows the key tells what it did; it does not say no.
        if !known {
            add("says no", self.with(|w| answers(w, |sent| Proxy::No { sent })));
        }
        add(
            "never gets it",
            self.with(|w| {
                w.wire.remove(&sent);
            }),
        );
    }

    fn people(&self, setup: &Setup, all: &mut Vec<Next>) {
        if let Some(record) = self.record(0)
            && let (State::Held, Some(hold)) = (record.state, &record.hold)
        {
            let ids: Vec<Box<str>> =
                hold.reasons.iter().map(|reason| reason.policy.clone()).collect();
            let (shown, digest) = (hold.shown, record.about.digest);
            let say = |say| Event::Answer(Box::new(HoldAnswer { op: record.op, say }));
            let people = if setup.approvers > 1 { &["ana", "ben"][..] } else { &["ana"] };
            for by in people {
                let (roles, reason) = (Vec::new(), "".into());
                let approve = say(Say::Approve { by: (*by).into(), shown, roles, reason });
                let seen = (Clone::clone(&ids), digest);
                all.push((
                    format!("{by} approves"),
                    self.with(|w| {
                        if w.yes.as_ref() != Some(&seen) {
                            w.people.clear();
                        }
                        w.yes = Some(seen);
                        w.people.insert(by);
                        let reply = w.run(&approve);
                        assert!(matches!(
                            reply,
                            Reply::Answered(Answered::Ok(_) | Answered::Twice(_))
                        ));
                    }),
                ));
            }
            let deny = say(Say::Deny { by: "ana".into(), reason: "no".into() });
            all.push((
                "ana denies".into(),
                self.with(|w| {
                    w.run(&deny);
                }),
            ));
        }
        // Somebody looks at the vendor's, once nothing can be on its way any more.
        let quiet = self.wire.is_empty() && self.proxies.iter().all(|p| *p == Proxy::Idle);
        for call in 0..setup.calls {
            if quiet && self.record(call).is_some_and(|record| record.state == State::Unknown) {
                let there = self.effects[call] > 0;
                let outcome = if there { Outcome::Succeeded } else { Outcome::NotSent };
                let mut end = settle(op(KEYS[call]), 0, outcome);
                end.by = Witness::Person("ana".into());
                all.push((
                    "ana resolves".into(),
                    self.with(|w| {
                        w.run(&Event::Settle(Box::new(end)));
                    }),
                ));
            }
        }
        if self.left[3] > 0 {
            let scope = FreezeScope::parse(["agent/bot"]).unwrap();
            let freeze = Freeze {
                id: "fz".into(),
                scope,
                reason: "".into(),
                by: "ana".into(),
                at: START,
                until: None,
                issued_before: None,
                stops: Stops::Refused,
            };
            all.push((
                "ana freezes".into(),
                self.with(|w| {
                    w.left[3] -= 1;
                    w.run(&Event::Freeze(Box::new(freeze)));
                    w.frozen = true;
                }),
            ));
        }
    }

    fn faults(&self, setup: &Setup, all: &mut Vec<Next>) {
        for at in 0..2 {
            if self.left[0] > 0 && self.proxies[at] != Proxy::Idle {
                all.push((
                    format!("P{at} crashes"),
                    self.with(|w| {
                        w.left[0] -= 1;
                        w.proxies[at] = Proxy::Idle;
                    }),
                ));
            }
        }
        if self.left[1] > 0 {
            all.push((
                "leases end".into(),
                self.with(|w| {
                    w.left[1] -= 1;
                    w.now = w.now.plus(LEASE);
                    for proxy in &mut w.proxies {
                        if let Proxy::Granted { late, .. } = proxy {
                            *late = true;
                        }
                    }
                    w.run(&Event::Sweep(Vec::new(), 0));
                }),
            ));
        }
        if self.left[2] > 0 && !self.rows.is_empty() {
            all.push((
                "the store is lost".into(),
                self.with(|w| {
                    w.left[2] -= 1;
                    w.rows = Tables::default();
                    w.lost = true;
                    if setup.mutant == Some(Mutant::CounterFence) {
                        w.next_token = 1;
                    }
                }),
            ));
        }
        if self.left[4] > 0 {
            all.push((
                "rules change".into(),
                self.with(|w| {
                    w.left[4] -= 1;
                    w.changed += 1;
                }),
            ));
        }
    }
}

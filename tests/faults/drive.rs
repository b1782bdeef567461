//! Who asks: agents that repeat, give up and start anew; and whoever kills, stops and starves processes and
//! sets their clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;
use tollhouse::clock::{Clock, Timestamp};

use super::dice::Dice;
use super::stand::{CUSTOMERS, Stand, Weather};
use super::vendor::{Mode, Vendor};
use crate::support::agent::{Call, Reply};

/// How often an agent asks before it leaves.
const ATTEMPTS: u64 = 9;
/// How long an agent goes on asking once the store has forgotten what it asked for.
const PATIENCE_AFTER_A_LOSS: Duration = Duration::from_secs(15);
/// Intents that share their sales; what is asked at the same time often meets on one.
const EPOCH: u64 = 640;
const SALES: u64 = 80;

/// How an agent repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The same key every time.
    SameKey,
    /// Vendor SDKs mint one per call.
    FreshKeys,
    /// None.
    NoKey,
    /// It does not wait for the answer, and asks again.
    Impatient,
    /// Several at once.
    AtOnce,
}

/// One thing that somebody wants, once.
#[derive(Debug, Clone)]
pub struct Intent {
    pub number: u64,
    pub note: String,
    pub mode: Mode,
    pub customer: &'static str,
    pub sale: String,
    pub minor: i64,
    pub style: Style,
}

impl Intent {
    pub fn of(seed: u64, number: u64) -> Self {
        let mut dice = Dice::of(seed, "intent", number);
        let sale = number / EPOCH * SALES + dice.roll(SALES);
        let mode = Mode::ALL[sale as usize % 4];
        let customer = CUSTOMERS[(sale as usize / 4) % 2];
        // Few amounts, so that what another did looks the same.
        let minor = match dice.roll(100) {
            0..30 => 5_00,
            30..55 => 7_00,
            55..75 => 11_00,
            75..88 => 20_00,
            _ => 31_00 + 5_00 * dice.roll(6) as i64,
        };
        let style = dice.pick(&[
            (45, Style::SameKey),
            (20, Style::FreshKeys),
            (10, Style::NoKey),
            (15, Style::Impatient),
            (10, Style::AtOnce),
        ]);
        let sale = format!("{customer}-{sale}");
        Self { number, note: format!("i{number}"), mode, customer, sale, minor, style }
    }

    pub fn call(&self, key: &str, token: &str) -> Call<'static> {
        let target = match self.mode {
            Mode::Keyed => "/keyed/refunds",
            Mode::Wary => "/wary/refunds",
            Mode::Marked => "/marked/refunds",
            Mode::Plain => "/plain/refunds",
        };
        let body = json!({ "sale": self.sale, "amount": self.minor, "note": self.note });
        let call = Call::new("POST", target)
            .json(&body)
            .header("Tollhouse-Case", &self.note)
            .bearer(token);
        if key.is_empty() { call } else { call.header("Idempotency-Key", key) }
    }

    fn key(&self, attempt: u64) -> String {
        match self.style {
            Style::SameKey | Style::Impatient | Style::AtOnce => self.note.clone(),
            Style::FreshKeys => format!("{}-{attempt}", self.note),
            Style::NoKey => String::new(),
        }
    }
}

/// What an agent was told.
#[derive(Debug, Clone)]
pub struct Told {
    pub intent: u64,
    pub status: u16,
    pub code: String,
    pub op: Option<String>,
    pub reply: Reply,
}

impl Told {
    /// The vendor's own yes.
    pub fn is_yes(&self) -> bool {
        (200..300).contains(&self.status) && self.code.is_empty() && !self.says_no()
    }

    fn says_no(&self) -> bool {
        self.reply.json()["ok"] == false
    }
}

/// A freeze that was in force for certain.
#[derive(Debug, Clone)]
pub struct Frozen {
    pub scope: String,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// One campaign.
pub struct Run {
    pub seed: u64,
    pub count: u64,
    pub weather: Weather,
    pub vendor: Vendor,
    pub stand: Arc<Stand>,
    pub told: Mutex<Vec<Told>>,
    pub frozen: Mutex<Vec<Frozen>>,
    pub counts: Mutex<BTreeMap<String, u64>>,
    pub losses: Mutex<Vec<Loss>>,
    pub working: Mutex<Working>,
    pub is_wild: AtomicBool,
}

/// The store has forgotten something that it had confirmed.
#[derive(Debug, Clone)]
pub struct Loss {
    pub at: Timestamp,
    /// Intents below this one were begun before.
    pub next: u64,
    /// Whether a person has seen to it.
    pub is_cleared: bool,
}

/// Which intents agents work on.
#[derive(Debug, Default)]
pub struct Working {
    next: u64,
    begun: BTreeSet<u64>,
}

enum Next {
    Over,
    Again(u64),
}

impl Run {
    pub fn count(&self, what: &str) {
        *self.counts.lock().entry(what.to_owned()).or_default() += 1;
    }

    pub fn is_wild(&self) -> bool {
        self.is_wild.load(Ordering::SeqCst)
    }

    /// One agent after the other, until all intents were driven.
    pub fn drive(&self) {
        loop {
            let number = {
                let mut working = self.working.lock();
                let number = working.next;
                if number >= self.count {
                    return;
                }
                working.next += 1;
                working.begun.insert(number);
                number
            };
            self.one(&Intent::of(self.seed, number));
            self.working.lock().begun.remove(&number);
        }
    }

    /// Does something that makes the store forget. It is noted before, for whoever looks meanwhile.
    pub fn losing(&self, fault: impl FnOnce() -> bool) {
        let loss = Loss { at: Clock::System.now(), next: u64::MAX, is_cleared: false };
        self.losses.lock().push(loss);
        let happened = fault();
        let next = self.working.lock().next;
        let mut losses = self.losses.lock();
        match (happened, losses.last_mut()) {
            (true, Some(loss)) => (loss.at, loss.next) = (Clock::System.now(), next),
            (_, _) => drop(losses.pop()),
        }
    }

    /// Whether the store may forget again: a person has seen to what it forgot last.
    pub fn may_lose(&self) -> bool {
        self.weather == Weather::Foul && self.losses.lock().iter().all(|loss| loss.is_cleared)
    }

    /// Whether no agent works any more on what was begun before a loss.
    pub fn is_over(&self, loss: &Loss) -> bool {
        self.working.lock().begun.first().is_none_or(|oldest| *oldest >= loss.next)
    }

    /// Whether an intent was begun before the store forgot something.
    pub fn is_forgotten(&self, number: u64) -> bool {
        self.losses.lock().iter().any(|loss| number < loss.next)
    }

    fn one(&self, intent: &Intent) {
        let mut dice = Dice::of(self.seed, "agent", intent.number);
        let begun = Instant::now();
        for attempt in 0..ATTEMPTS {
            // The vendor knows a key for forty seconds. Where the store has forgotten it too, nobody can know
            // it again: an agent that comes back then asks for something new.
            if self.is_forgotten(intent.number) && begun.elapsed() > PATIENCE_AFTER_A_LOSS {
                return;
            }
            let key = intent.key(attempt);
            let which = dice.roll(8);
            let reply = match intent.style {
                Style::AtOnce if attempt == 0 => self.at_once(intent, &key, dice.within(2, 5)),
                Style::Impatient => {
                    let patience = Duration::from_millis(dice.within(20, 1_500));
                    self.ask(intent, &key, which, patience)
                }
                _ => self.ask(intent, &key, which, Duration::from_secs(20)),
            };
            let next = match &reply {
                None => Next::Again(dice.within(50, 400)),
                Some(reply) => self.next(intent, reply, &mut dice),
            };
            match next {
                // Some ask again although they know.
                Next::Over if dice.often(850) => return,
                Next::Over => std::thread::sleep(Duration::from_millis(dice.roll(60))),
                Next::Again(span) => std::thread::sleep(Duration::from_millis(span)),
            }
        }
    }

    fn at_once(&self, intent: &Intent, key: &str, count: u64) -> Option<Reply> {
        std::thread::scope(|scope| {
            let ask = |n| self.ask(intent, key, n, Duration::from_secs(20));
            let asked: Vec<_> = (0..count).map(|n| scope.spawn(move || ask(n))).collect();
            asked.into_iter().filter_map(|one| one.join().unwrap()).last()
        })
    }

    /// One request; what came back is kept.
    pub fn ask(&self, intent: &Intent, key: &str, which: u64, patience: Duration) -> Option<Reply> {
        let call = intent.call(key, self.stand.token(intent.customer));
        let reply = call.send_within(&self.stand.agents(which), patience).ok();
        let Some(reply) = reply else {
            self.count("agent: no answer");
            return None;
        };
        let code = reply.code();
        let said = if code.is_empty() { reply.status.to_string() } else { code.clone() };
        self.count(&format!("agent: {said}"));
        self.told.lock().push(Told {
            intent: intent.number,
            status: reply.status,
            code,
            op: reply.header("tollhouse-operation").map(str::to_owned),
            reply: reply.clone(),
        });
        Some(reply)
    }

    fn next(&self, intent: &Intent, reply: &Reply, dice: &mut Dice) -> Next {
        match &*reply.code() {
            "" if reply.status == 429 => Next::Again(dice.within(50, 300)),
            "" => Next::Over,
            "outcome_unknown" => Next::Again(dice.within(200, 1_600)),
            "in_flight"
            | "undecidable"
            | "breaker_open"
            | "overloaded"
            | "frozen"
            | "upstream_unreachable" => Next::Again(dice.within(50, 600)),
            // Its token is of another time than the process.
            "unauthenticated" | "rate_limited" if self.weather == Weather::Foul => {
                Next::Again(dice.within(200, 900))
            }
            "approval_expired" if self.weather == Weather::Foul => Next::Over,
            "approval_required" => {
                if dice.often(120) {
                    self.withdraw(intent, reply, dice);
                }
                Next::Again(dice.within(100, 500))
            }
            "forbidden" | "over_limit" | "approval_denied" | "withdrawn" | "already_done"
            | "already_rejected" => Next::Over,
            other => panic!("{other} for {intent:?}: {reply:?}"),
        }
    }

    fn withdraw(&self, intent: &Intent, reply: &Reply, dice: &mut Dice) {
        let Some(op) = reply.header("tollhouse-operation") else { return };
        let target = format!("/.tollhouse/v1/operations/{op}");
        let call = Call::new("DELETE", &target).bearer(self.stand.token(intent.customer));
        let said = call.send_within(&self.stand.agents(dice.roll(8)), Duration::from_secs(10));
        if said.is_ok_and(|reply| reply.status == 200) {
            self.count("withdrawn by the agent");
        }
    }

    pub fn kill(&self, why: &str, dice: &mut Dice) {
        if self.stand.kill(dice.roll(8)) {
            self.count(why);
        }
    }

    /// Whoever pulls plugs: signals, disks, listeners.
    pub fn trouble(&self) {
        let has_disk = self.stand.redis.is_none();
        let mut dice = Dice::of(self.seed, "trouble", 0);
        while self.is_wild() {
            self.pause(dice.within(700, 2_500));
            let which = dice.roll(8);
            let span = Duration::from_millis(dice.within(80, 700));
            match dice.roll(10) {
                0..3 => self.stop_for(which, span),
                3..6 if has_disk => self.starve_for(which, span),
                6..8 => self.kill("kill: at any moment", &mut dice),
                _ => {
                    self.vendor.refuse(true);
                    std::thread::sleep(span);
                    self.vendor.refuse(false);
                }
            }
        }
    }

    /// Sets clocks, of the processes and of Redis: by minutes, sometimes by an hour, ahead and back.
    pub fn clocks(&self) {
        let mut dice = Dice::of(self.seed, "clocks", 0);
        while self.is_wild() && self.weather == Weather::Foul {
            self.pause(dice.within(1_500, 4_000));
            let seconds = dice.within(61, 540) as i64;
            let seconds = if dice.often(150) { 3_700 } else { seconds };
            let seconds = if dice.often(500) { -seconds } else { seconds };
            // Most are set right again soon, some wander on.
            let seconds = if dice.often(350) { 0 } else { seconds };
            let which = dice.roll(3);
            match &self.stand.redis {
                Some(redis) if which == 2 => {
                    redis.lock().now().set_clock(seconds);
                    self.count("redis's clock set");
                }
                Some(_) | None => {
                    self.stand.set_clock(which, seconds);
                    self.count("a process's clock set");
                }
            }
        }
        if self.weather == Weather::Foul {
            (0..2).for_each(|which| {
                self.stand.set_clock(which, 0);
            });
            if let Some(redis) = &self.stand.redis {
                redis.lock().now().set_clock(0);
            }
        }
    }

    fn stop_for(&self, which: u64, span: Duration) {
        let stopped = self.stand.with(which, |house| {
            let id = house.process.id().to_string();
            signal("STOP", &id);
            std::thread::sleep(span);
            signal("CONT", &id);
        });
        if stopped.is_some() {
            self.count("process stopped for a while");
        }
    }

    fn starve_for(&self, which: u64, span: Duration) {
        let limit = |bytes: &str| {
            self.stand.with(which, |house| {
                let id = house.process.id().to_string();
                let limit = format!("--fsize={bytes}:unlimited");
                let mut set = std::process::Command::new("prlimit");
                set.args(["--pid", &id, &limit]).status().is_ok_and(|status| status.success())
            })
        };
        if limit("1") == Some(true) {
            self.count("disk full for a while");
            std::thread::sleep(span);
            limit("unlimited");
        }
    }

    pub fn pause(&self, milliseconds: u64) {
        for _ in 0..milliseconds / 20 {
            if self.is_wild() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn signal(name: &str, id: &str) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), id]).status();
    assert!(sent.unwrap().success());
}

//! Who asks: agents that repeat, give up and start anew; people who answer holds at odd moments and stop
//! things; and whoever kills, stops and starves processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tollhouse::clock::{Clock, Timestamp};

use super::dice::Dice;
use super::stand::{CUSTOMERS, Stand};
use super::vendor::{Mode, Vendor};
use crate::support::agent::{Call, Reply};

/// How often an agent asks before it leaves.
const ATTEMPTS: u64 = 9;
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
    pub vendor: Vendor,
    pub stand: Arc<Stand>,
    pub told: Mutex<Vec<Told>>,
    pub frozen: Mutex<Vec<Frozen>>,
    pub counts: Mutex<BTreeMap<String, u64>>,
    pub next: AtomicU64,
    pub is_wild: AtomicBool,
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
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= self.count {
                return;
            }
            self.one(&Intent::of(self.seed, number));
        }
    }

    fn one(&self, intent: &Intent) {
        let mut dice = Dice::of(self.seed, "agent", intent.number);
        for attempt in 0..ATTEMPTS {
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
            "in_flight" | "undecidable" | "breaker_open" | "frozen" | "upstream_unreachable" => {
                Next::Again(dice.within(50, 600))
            }
            "approval_required" => {
                if dice.often(120) {
                    self.withdraw(intent, reply, dice);
                }
                Next::Again(dice.within(100, 500))
            }
            "forbidden" | "over_limit" | "approval_denied" | "withdrawn" | "already_done" => {
                Next::Over
            }
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

    /// People, until the wild time is over: they say yes and no, late, twice, to what has changed.
    pub fn desk(&self) {
        let mut dice = Dice::of(self.seed, "desk", 0);
        while self.is_wild() {
            std::thread::sleep(Duration::from_millis(dice.within(40, 250)));
            for hold in self.stand.listed(dice.roll(8), "/v1/holds").unwrap_or_default() {
                let op = hold["id"].as_str().unwrap();
                match dice.roll(100) {
                    0..45 => {
                        let said = self.approve(op, &hold["digest"], dice.roll(8));
                        if said && dice.often(60) {
                            std::thread::sleep(Duration::from_micros(dice.roll(15_000)));
                            self.kill("kill: after an approval", &mut dice);
                        }
                        if dice.often(100) {
                            self.approve(op, &hold["digest"], dice.roll(8));
                        }
                    }
                    45..55 => {
                        let target = format!("/v1/holds/{op}/deny");
                        let call = Call::new("POST", &target).json(&json!({ "reason": "no" }));
                        if self.stand.console(dice.roll(8), call).is_some_and(|r| r.status == 200) {
                            self.count("denied by a person");
                        }
                    }
                    55..58 => {
                        let other = format!("sha256:{:064x}", dice.roll(u64::MAX));
                        assert!(!self.approve(op, &other.into(), dice.roll(8)));
                    }
                    _ => {}
                }
            }
        }
    }

    pub fn approve(&self, op: &str, digest: &serde_json::Value, which: u64) -> bool {
        let target = format!("/v1/holds/{op}/approve");
        let call = Call::new("POST", &target).json(&json!({ "digest": digest }));
        let said = self.stand.console(which, call).is_some_and(|reply| reply.status == 200);
        if said {
            self.count("approved by a person");
        }
        said
    }

    /// Stops scopes and lets them go again.
    pub fn freezer(&self) {
        let mut dice = Dice::of(self.seed, "freezer", 0);
        while self.is_wild() {
            self.pause(dice.within(1_500, 5_000));
            let scope = dice.pick(&[
                (2, "all"),
                (2, "class/financial"),
                (2, "upstream/keyed"),
                (2, "action/plain.refund.create"),
                (2, "customer/ann"),
            ]);
            let body = json!({ "scope": [scope], "reason": "to look" });
            let call = Call::new("POST", "/v1/freezes").json(&body);
            let said = self.stand.console(dice.roll(8), call).filter(|reply| reply.status == 201);
            let from = Clock::System.now();
            std::thread::sleep(Duration::from_millis(dice.within(200, 900)));
            let to = Clock::System.now();
            if said.is_some() {
                self.count("frozen for a while");
                self.frozen.lock().push(Frozen { scope: scope.to_owned(), from, to });
            }
            self.lift_all(dice.roll(8));
        }
    }

    /// Lifts whatever is frozen.
    pub fn lift_all(&self, which: u64) {
        for freeze in self.stand.listed(which, "/v1/freezes").unwrap_or_default() {
            let target = format!("/v1/freezes/{}", freeze["id"].as_str().unwrap());
            self.stand.console(which, Call::new("DELETE", &target));
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

//! People: they answer holds at odd moments, stop things, and see to a store that has forgotten something.

use std::time::Duration;

use serde_json::{Value, json};
use tollhouse::clock::Clock;

use super::dice::Dice;
use super::drive::{Frozen, Run};
use super::judge::note_of;
use super::vendor::TOO_LATE;
use crate::support::agent::Call;

/// After that nothing of before a loss happens any more.
const ALL_IS_SHOWN: Duration = Duration::from_millis(TOO_LATE.as_millis() as u64 + 2_500);

/// What a person finds who compares a hold with the vendor's books.
pub enum Compared {
    Fine,
    /// It may still happen.
    Early,
    Done,
}

impl Run {
    /// People, until the wild time is over: they say yes and no, late, twice, to what has changed.
    pub fn desk(&self) {
        let mut dice = Dice::of(self.seed, "desk", 0);
        while self.is_wild() {
            std::thread::sleep(Duration::from_millis(dice.within(40, 250)));
            for hold in self.stand.listed(dice.roll(8), "/v1/holds").unwrap_or_default() {
                let op = hold["id"].as_str().unwrap();
                // What the store forgot is compared first, for as long as something may be on its way.
                match self.compared(&hold) {
                    Compared::Fine => {}
                    Compared::Early => continue,
                    Compared::Done => {
                        self.deny(op, dice.roll(8));
                        continue;
                    }
                }
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
                        self.deny(op, dice.roll(8));
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

    pub fn deny(&self, op: &str, which: u64) {
        let target = format!("/v1/holds/{op}/deny");
        let call = Call::new("POST", &target).json(&json!({ "reason": "no" }));
        if self.stand.console(which, call).is_some_and(|reply| reply.status == 200) {
            self.count("denied by a person");
        }
    }

    /// A hold because the store was lost, beside what the vendor has.
    pub fn compared(&self, hold: &Value) -> Compared {
        let reasons = hold["reasons"].as_array().into_iter().flatten();
        if !reasons.into_iter().any(|reason| reason["policy"] == "store.lost") {
            return Compared::Fine;
        }
        let note = note_of(hold);
        let number: u64 = note.strip_prefix('i').and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
        let losses = self.losses.lock();
        let Some(last) = losses.iter().rev().find(|loss| number < loss.next) else {
            return Compared::Fine;
        };
        if Clock::System.now().since(last.at) < ALL_IS_SHOWN {
            return Compared::Early;
        }
        if self.vendor.has_made(&note) { Compared::Done } else { Compared::Fine }
    }

    /// Whoever runs it: what came back from a log is compared with the vendor's books and resolved, and a loss
    /// is cleared once nobody asks any more for what was done before it.
    pub fn keeper(&self) {
        while self.is_wild() {
            self.pause(700);
            self.keep();
        }
    }

    /// One round of that.
    pub fn keep(&self) {
        let due = |since| Clock::System.now().since(since) > ALL_IS_SHOWN;
        let Some(last) = self.losses.lock().last().cloned() else { return };
        if !due(last.at) {
            return;
        }
        for record in self.stand.listed(0, "/v1/operations?state=unknown").unwrap_or_default() {
            let id = record["id"].as_str().unwrap();
            let target = format!("/v1/operations/{id}");
            let shown = self.stand.console(0, Call::new("GET", &target));
            let shown = shown.filter(|reply| reply.status == 200).map(|reply| reply.json());
            let timeline = shown.as_ref().and_then(|shown| shown["timeline"].as_array());
            let put_back =
                |moment: &Value| moment["what"].as_str().is_some_and(|w| w.starts_with("put back"));
            if timeline.is_none_or(|timeline| !timeline.iter().any(put_back)) {
                continue;
            }
            let made = self.vendor.has_made(&note_of(&record));
            let outcome = if made { "done" } else { "not_done" };
            let said =
                json!({ "outcome": outcome, "reason": "the vendor's books say so", "force": true });
            let target = format!("/v1/operations/{id}/resolve");
            let reply = self.stand.console(0, Call::new("POST", &target).json(&said));
            let status = reply.map_or(0, |reply| reply.status);
            self.count(&format!("put back after a loss, a person says {outcome}: {status}"));
        }
        if !last.is_cleared && self.is_over(&last) {
            let said = json!({ "reason": "all was compared, and nobody asks any more" });
            let reply = self.stand.console(0, Call::new("POST", "/v1/store/clear").json(&said));
            if reply.is_some_and(|reply| reply.status == 200) {
                self.count("a loss was cleared");
                self.losses.lock().iter_mut().for_each(|loss| loss.is_cleared = true);
            }
        }
    }
}

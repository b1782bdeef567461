//! What time is it for a store? One that never goes back, and that tells a clock that was set from one
//! that ran.

use std::time::Duration;

use crate::bounds::WITHIN_MAX;
use crate::clock::{Clock, Timestamp};
use crate::store::rows::Meta;
use crate::store::step::{Jump, Now};

/// BOUND: time servers correct by milliseconds; a minute is an operator's hand or a sleeping machine.
const LEAP: Duration = Duration::from_secs(60);

/// A store's time.
#[derive(Debug)]
pub struct Times {
    clock: Clock,
    high: Timestamp,
    steady: Duration,
    jump: Jump,
}

impl Times {
    /// Goes on from what was last written down. How long the process was not there, nobody knows: that
    /// is no leap.
    pub fn resume(clock: Clock, meta: &Meta) -> Self {
        let high = clock.now().max(meta.high);
        let steady = clock.steady();
        let jump = Jump { at: meta.jumped_at, by: meta.jumped_by };
        Self { clock, high, steady, jump }
    }

    /// Now.
    pub fn tick(&mut self) -> Now {
        let (wall, steady) = (self.clock.now(), self.clock.steady());
        let ran = self.high.plus(steady.saturating_sub(self.steady));
        let leap = wall.since(ran);
        if leap > LEAP {
            let window = WITHIN_MAX;
            let before = if self.jump.at >= wall.minus(window) { self.jump.by } else { 0 };
            let by = wall.0.saturating_sub(ran.0).saturating_add(before);
            self.jump = Jump { at: wall, by };
        }
        // A clock that was set far back does not stop the store: leases and holds still end.
        let behind = self.high.since(wall) > LEAP;
        self.high = if behind { ran } else { wall.max(self.high) };
        self.steady = steady;
        Now { at: self.high, jump: self.jump }
    }

    /// Writes down where it stands.
    pub fn note(&self, meta: &mut Meta) {
        meta.high = self.high;
        meta.jumped_at = self.jump.at;
        meta.jumped_by = self.jump.by;
    }

    /// The last leap, if there was one.
    pub fn leap(&self) -> Option<Jump> {
        (self.jump.by > 0).then_some(self.jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn at_start() -> (Clock, Times) {
        let clock = Clock::by_hand(START);
        let times = Times::resume(clock.clone(), &Meta::default());
        (clock, times)
    }

    #[test]
    fn time_that_passes_is_no_leap() {
        let (clock, mut times) = at_start();
        clock.turn(MINUTE * 600);
        assert_eq!(times.tick(), Now { at: START.plus(MINUTE * 600), jump: Jump::default() });
    }

    #[test]
    fn a_leap_is_told_and_windows_reach_back_further() {
        let (clock, mut times) = at_start();
        clock.set(START.plus(MINUTE * 60));
        let now = times.tick();
        assert_eq!(now.jump, Jump { at: START.plus(MINUTE * 60), by: 3_600_000 });
        assert_eq!(now.edge(MINUTE * 10), START.minus(MINUTE * 10));
        clock.turn(MINUTE * 11);
        assert_eq!(times.tick().edge(MINUTE * 10), START.plus(MINUTE * 61));
        assert!(times.leap().is_some());
    }

    #[test]
    fn two_leaps_add_up() {
        let (clock, mut times) = at_start();
        clock.set(START.plus(MINUTE * 2));
        times.tick();
        clock.set(START.plus(MINUTE * 5));
        assert_eq!(times.tick().jump.by, 300_000);
    }

    #[test]
    fn it_never_goes_back_and_never_stops() {
        let (clock, mut times) = at_start();
        clock.set(START.minus(Duration::from_secs(1)));
        assert_eq!(times.tick().at, START, "a little: it waits");
        clock.set(START.minus(MINUTE * 60));
        assert_eq!(times.tick().at, START);
        clock.turn(MINUTE);
        assert_eq!(times.tick().at, START.plus(MINUTE), "far: it goes on by itself");
        let mut meta = Meta::default();
        times.note(&mut meta);
        let again = Times::resume(clock, &meta);
        assert_eq!(again.high, START.plus(MINUTE));
    }
}

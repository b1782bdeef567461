//! How many failed sign-ins are too many? Counted by address and altogether.
//!
//! Never remembers more than it must: an address whose failures are over is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;

/// BOUND: a person mistypes a few times; at one in 6 s a guesser makes 14,400 tries a day.
const OF_ONE: Rate = Rate { burst: 10, every: Duration::from_secs(6) };
/// BOUND: many addresses together may try no more than ten times as often.
const OF_ALL: Rate = Rate { burst: 100, every: Duration::from_millis(600) };
/// BOUND: addresses that are counted apart; beyond them the count of all holds.
const ADDRESSES_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// What was spent, as of a moment of the steady clock.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    count: u32,
    at: Duration,
}

impl Spent {
    /// How many are still counted, and since when the next one wears off.
    fn left(self, rate: Rate, now: Duration) -> Self {
        let passed = now.saturating_sub(self.at);
        let back = passed.as_millis().checked_div(rate.every.as_millis()).unwrap_or(0);
        let back = u32::try_from(back).unwrap_or(u32::MAX).min(self.count);
        let count = self.count.saturating_sub(back);
        let at =
            if count == 0 { now } else { self.at.saturating_add(rate.every.saturating_mul(back)) };
        Self { count, at }
    }

    fn wait(self, rate: Rate, now: Duration) -> Option<Duration> {
        let left = self.left(rate, now);
        (left.count >= rate.burst).then(|| left.at.saturating_add(rate.every).saturating_sub(now))
    }

    fn and_one(self, rate: Rate, now: Duration) -> Self {
        let left = self.left(rate, now);
        // Never deeper than the burst: whoever stops is let in again after one interval.
        Self { count: left.count.saturating_add(1).min(rate.burst), at: left.at }
    }
}

/// Failures, worn off with time.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    spent: Mutex<(Spent, HashMap<IpAddr, Spent>)>,
}

impl Throttle {
    pub fn new(clock: Clock) -> Self {
        Self { clock, spent: Mutex::default() }
    }

    /// How long somebody at that address must wait; `None` when they need not. A Unix socket has no
    /// address: there only the count of all holds.
    pub fn wait(&self, peer: Option<IpAddr>) -> Option<Duration> {
        let now = self.clock.steady();
        let spent = self.spent.lock();
        let own = peer.and_then(|peer| spent.1.get(&peer)).and_then(|own| own.wait(OF_ONE, now));
        own.max(spent.0.wait(OF_ALL, now))
    }

    /// Counts one.
    pub fn failed(&self, peer: Option<IpAddr>) {
        let now = self.clock.steady();
        let mut spent = self.spent.lock();
        spent.0 = spent.0.and_one(OF_ALL, now);
        let Some(peer) = peer else { return };
        let by = &mut spent.1;
        if by.len() >= ADDRESSES_MAX && !by.contains_key(&peer) {
            by.retain(|_, own| own.left(OF_ONE, now).count > 0);
            if by.len() >= ADDRESSES_MAX {
                return;
            }
        }
        let own = by.entry(peer).or_default();
        *own = own.and_one(OF_ONE, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn who_fails_too_often_waits_and_others_do_not() {
        let clock = Clock::by_hand(Timestamp::from_seconds(1_800_000_000));
        let throttle = Throttle::new(clock.clone());
        for n in 0..10 {
            assert_eq!(throttle.wait(address(1)), None, "{n}");
            throttle.failed(address(1));
        }
        assert_eq!(throttle.wait(address(1)), Some(Duration::from_secs(6)));
        assert_eq!((throttle.wait(address(2)), throttle.wait(None)), (None, None));
        for _ in 0..50 {
            throttle.failed(address(1));
        }
        clock.turn(Duration::from_secs(5));
        assert_eq!(throttle.wait(address(1)), Some(Duration::from_secs(1)));
        clock.turn(Duration::from_secs(1));
        assert_eq!(throttle.wait(address(1)), None, "one more try");
        throttle.failed(address(1));
        assert!(throttle.wait(address(1)).is_some());
        clock.turn(Duration::from_secs(60));
        assert_eq!(throttle.wait(address(1)), None);
    }

    #[test]
    fn many_addresses_are_counted_together_and_within_bounds() {
        let clock = Clock::by_hand(Timestamp::from_seconds(1_800_000_000));
        let throttle = Throttle::new(clock.clone());
        for n in 0..5_000_u32 {
            throttle.failed(Some(IpAddr::from(n.to_be_bytes())));
        }
        assert!(throttle.wait(address(200)).is_some() && throttle.wait(None).is_some());
        assert!(throttle.spent.lock().1.len() <= ADDRESSES_MAX);
        clock.turn(Duration::from_millis(600));
        assert_eq!(throttle.wait(address(200)), None);
    }
}

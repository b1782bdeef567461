//! How did the last day go? The counters of this process, read once in a while and kept by the hour.
//!
//! Costs a call nothing: what is counted anyway is read here, twenty-four hours of it. Never more than that,
//! and never anybody's name: it is numbers.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::telemetry::Totals;

/// What happened in one hour.
#[derive(Debug, Clone, Default)]
pub struct Hour {
    /// Which, in hours since 1970.
    pub number: i64,
    /// Calls by class (the last one is what was not understood) and verdict.
    pub calls: [[u64; 4]; 5],
    /// How many waited for people, when it was last looked.
    pub waiting: u64,
}

/// The last day.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: Option<Totals>,
    /// Oldest first.
    hours: Vec<Hour>,
}

impl Pulse {
    /// Looks at the counters.
    pub fn look(&self, totals: Totals, waiting: u64, now: Timestamp) {
        let number = hour_of(now);
        let mut kept = self.0.lock();
        let before = kept.last.replace(totals.clone()).unwrap_or_default();
        if kept.hours.last().is_none_or(|hour| hour.number < number) {
            kept.hours.push(Hour { number, ..Hour::default() });
        }
        // BOUND: a day of hours, some 5 KiB.
        kept.hours.retain(|hour| hour.number > number.saturating_sub(24));
        let Some(hour) = kept.hours.last_mut() else { return };
        hour.waiting = waiting;
        let news = totals.calls.iter().flatten().zip(before.calls.iter().flatten());
        for (own, (now, then)) in hour.calls.iter_mut().flatten().zip(news) {
            *own = own.saturating_add(now.saturating_sub(*then));
        }
    }

    /// The last day, oldest hour first; an hour that nobody saw is empty.
    pub fn day(&self, now: Timestamp) -> Vec<Hour> {
        let last = hour_of(now);
        let kept = self.0.lock();
        let seen: BTreeMap<i64, &Hour> =
            kept.hours.iter().map(|hour| (hour.number, hour)).collect();
        let first = last.saturating_sub(23);
        let hour = |number: i64| {
            seen.get(&number).map_or(Hour { number, ..Hour::default() }, |hour| (*hour).clone())
        };
        (first..=last).map(hour).collect()
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.0.checked_div(3_600_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn counts_fall_into_the_hour_that_they_came_in_and_a_day_is_all_there_is() {
        let pulse = Pulse::default();
        let hour = |number: i64| Timestamp(number * 3_600_000 + 5);
        let mut totals = Totals::default();
        for number in 0..30_i64 {
            totals.calls[0][0] += 10;
            pulse.look(totals.clone(), 3, hour(number));
            totals.calls[3][1] += 1;
            pulse.look(totals.clone(), 4, hour(number));
        }
        let day = pulse.day(hour(31));
        assert_eq!((day.len(), day[0].number, day[23].number), (24, 8, 31));
        assert_eq!((day[0].calls[0][0], day[0].calls[3][1], day[0].waiting), (10, 1, 4));
        assert_eq!((day[22].calls[0][0], day[23].calls[0][0]), (0, 0));
        assert!(pulse.0.lock().hours.len() <= 24);
        // Counters that begin anew are not negative.
        pulse.look(Totals::default(), 0, hour(31));
        assert_eq!(pulse.day(hour(31))[23].calls, [[0; 4]; 5]);
    }
}

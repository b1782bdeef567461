//! After how long is it tried again, and when no more?

use std::time::Duration;

/// BOUND: a receiver that restarts is back in seconds, one that is mended in hours; as Standard Webhooks
/// advises, over a day. Later pauses are like the last.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(3),
    Duration::from_hours(4),
];
/// BOUND: after a day a person has found it on the page, or it is over.
pub const GIVE_UP: Duration = Duration::from_hours(24);

/// How long it rests after so many tries; `None` when it is given up. `spread` is any number: what fails
/// together is not tried together.
pub fn pause(tries: u32, age: Duration, spread: u8) -> Option<Duration> {
    let left = GIVE_UP.checked_sub(age).filter(|left| !left.is_zero())?;
    let step = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause = PAUSES.get(step).or(PAUSES.last()).copied().unwrap_or(GIVE_UP);
    // From four fifths to six fifths of it.
    let fifths = u32::from(spread).saturating_add(4 * 128);
    let jittered = pause.saturating_mul(fifths).checked_div(5 * 128).unwrap_or(pause);
    Some(jittered.min(left))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn it_is_tried_for_a_day_later_each_time_and_never_together() {
        for spread in [0, 127, 255] {
            let (mut age, mut tries, mut pauses) = (Duration::ZERO, 1, Vec::new());
            while let Some(rest) = pause(tries, age, spread) {
                pauses.push(rest);
                age += rest;
                tries += 1;
            }
            assert_eq!(age, GIVE_UP, "the last try is at its end");
            assert!((13..=17).contains(&tries), "{tries}");
            assert!(
                pauses.iter().zip(pauses.iter().skip(1)).take(7).all(|(one, next)| one < next),
                "{pauses:?}"
            );
            assert!((4.0..=6.0).contains(&pauses.first().unwrap().as_secs_f64()), "{pauses:?}");
        }
        assert_ne!(pause(1, Duration::ZERO, 0), pause(1, Duration::ZERO, 200));
        assert!(pause(u32::MAX, Duration::ZERO, 255).is_some());
        assert_eq!(pause(1, GIVE_UP, 0), None);
    }
}

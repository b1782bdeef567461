//! What time is it? The system's clock, and one that a test turns by hand.
//!
//! Nothing outside this file reads a clock: a judgement that depends on time can be replayed.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment and `span` more; the end of time at most.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This moment less `span`.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        let span = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_millis(u64::try_from(span).unwrap_or(0))
    }

    /// A moment `seconds` after 1970.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The moment an RFC 3339 text names, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // The parser looks at no more than it needs: an offset, or anything else behind, is not UTC.
        let behind = text.get(19..).unwrap_or_default();
        let fraction = behind.strip_suffix('Z').unwrap_or(behind);
        let digits = fraction.strip_prefix('.').unwrap_or("0");
        let is_plain = fraction.is_empty() || fraction.starts_with('.');
        if !is_plain || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let moment = humantime::parse_rfc3339_weak(text).ok()?;
        let span = moment.duration_since(UNIX_EPOCH).ok()?;
        Some(Self(millis(span)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // BOUND: the year 9999, which is as far as RFC 3339 goes.
        let span =
            Duration::from_millis(u64::try_from(self.0).unwrap_or(0).min(253_402_300_799_999));
        write!(
            f,
            "{}",
            humantime::format_rfc3339_millis(UNIX_EPOCH.checked_add(span).unwrap_or(UNIX_EPOCH))
        )
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Where the time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that stands still until it is turned.
    Hand(Arc<Hand>),
}

/// What a clock that is turned by hand shows.
#[derive(Debug)]
pub struct Hand {
    wall: AtomicI64,
    steady: AtomicI64,
}

impl Clock {
    /// A clock that shows `start` until [`Clock::turn`] is called.
    pub fn by_hand(start: Timestamp) -> Self {
        Self::Hand(Arc::new(Hand { wall: AtomicI64::new(start.0), steady: AtomicI64::new(0) }))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Self::System => {
                Timestamp(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
            }
            Self::Hand(hand) => Timestamp(hand.wall.load(Ordering::SeqCst)),
        }
    }

    /// Time that has passed since some moment of this process; nobody can set it, and it never goes
    /// back. Beside [`Clock::now`] it tells a clock that was set from one that ran.
    pub fn steady(&self) -> Duration {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Self::System => {
                static START: OnceLock<Instant> = OnceLock::new();
                START.get_or_init(Instant::now).elapsed()
            }
            Self::Hand(hand) => Duration::from_millis(
                u64::try_from(hand.steady.load(Ordering::SeqCst)).unwrap_or(0),
            ),
        }
    }

    /// Moves a clock that is turned by hand; the system's clock is left alone.
    pub fn turn(&self, span: Duration) {
        if let Self::Hand(hand) = self {
            hand.wall.fetch_add(millis(span), Ordering::SeqCst);
            hand.steady.fetch_add(millis(span), Ordering::SeqCst);
        }
    }

    /// Sets a clock that is turned by hand to `to`, as an operator sets a system's: no time passes.
    pub fn set(&self, to: Timestamp) {
        if let Self::Hand(hand) = self {
            hand.wall.store(to.0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_whole_or_not_at_all() {
        let noon = Timestamp(1_772_366_400_000);
        for text in [
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.000Z",
            " 2026-03-01 12:00:00Z ",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00.000",
        ] {
            assert_eq!(Timestamp::parse(text), Some(noon), "{text}");
        }
        for text in [
            "",
            "2026-03-01",
            "2026-03-01T12:00Z",
            "2026-03-01T12:00:00Z*",
            "2026-03-01T12:00:00*",
            "2026-03-01T12:00:00+02:00",
            "2026-03-01T12:00:00-00:00",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00.1x",
            "2026-03-01T12:00:00ZZ",
            "2026-03-01T12:00:00Z 2027",
            "2026-13-01T12:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}

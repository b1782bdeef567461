//! When was it answered? `Date`, written once a second (RFC 9110 s6.6.1).

use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::clock::Clock;

/// The length of an IMF-fixdate (RFC 9110 s5.6.7).
const LENGTH: usize = 29;

/// The date as it was last written.
#[derive(Debug)]
pub(super) struct Date {
    clock: Clock,
    written: Mutex<(i64, [u8; LENGTH])>,
}

impl Date {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, written: Mutex::new((i64::MIN, [0; LENGTH])) }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    pub(super) fn now(&self) -> [u8; LENGTH] {
        let second = self.clock.now().0.div_euclid(1000);
        let mut written = self.written.lock();
        if written.0 != second {
            let since = Duration::from_secs(u64::try_from(second).unwrap_or(0));
            let text = httpdate::fmt_http_date(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH));
            if let Ok(bytes) = text.as_bytes().try_into() {
                *written = (second, bytes);
            }
        }
        written.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn it_is_the_date_of_the_second() {
        let clock = Clock::by_hand(Timestamp(784_111_777_999));
        let date = Date::new(clock.clone());
        assert_eq!(&date.now(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        clock.turn(Duration::from_millis(1));
        assert_eq!(&date.now(), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}

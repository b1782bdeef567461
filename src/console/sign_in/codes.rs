//! Who may sign in with a code? It stands for an operator, once, and not for long.
//!
//! Never kept as itself, and never used up by a page that only shows it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::approval::Operator;
use crate::clock::{Clock, Timestamp};
use crate::console::sessions::{hash, secret};

/// BOUND: from reading it in a terminal to pasting it into a browser.
const LASTS: Duration = Duration::from_secs(15 * 60);
/// BOUND: people who are about to sign in.
const CODES_MAX: usize = 64;

/// A code as it is told.
#[derive(Debug)]
pub struct Code {
    /// It.
    pub code: String,
    /// Until when it counts.
    pub until: Timestamp,
}

#[derive(Debug)]
struct Known {
    operator: Arc<Operator>,
    until: Timestamp,
    /// When what it rests on ends, and with it the session.
    session_until: Option<Timestamp>,
}

/// Codes that were told and not used.
#[derive(Debug)]
pub(super) struct Codes {
    clock: Clock,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

impl Codes {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, known: Mutex::default() }
    }

    /// A new one for `operator`, whose session ends at `session_until` at the latest.
    pub(super) fn make(
        &self,
        operator: Arc<Operator>,
        session_until: Option<Timestamp>,
    ) -> Result<Code, String> {
        let code = secret()?;
        let now = self.clock.now();
        let until = now.plus(LASTS);
        let mut known = self.known.lock();
        known.retain(|_, one| one.until > now);
        if known.len() >= CODES_MAX {
            let first = known.iter().min_by_key(|(_, one)| one.until).map(|(code, _)| *code);
            first.and_then(|code| known.remove(&code));
        }
        known.insert(hash(&code), Known { operator, until, session_until });
        Ok(Code { code, until })
    }

    /// Uses one up: who it stands for, and until when.
    pub(super) fn take(&self, code: &str) -> Option<(Arc<Operator>, Option<Timestamp>)> {
        let known = self.known.lock().remove(&hash(code))?;
        (known.until > self.clock.now()).then_some((known.operator, known.session_until))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail loudly")]

    use super::*;
    use crate::approval::{Answers, Tenants};

    fn codes() -> (Codes, Clock, Arc<Operator>) {
        let clock = Clock::by_hand(Timestamp::from_seconds(1_800_000_000));
        let operator = Operator {
            name: "eve".into(),
            subject: None,
            roles: Vec::new(),
            tenants: Tenants::All,
            answers: Answers::Holds,
        };
        (Codes::new(clock.clone()), clock, Arc::new(operator))
    }

    #[test]
    fn a_code_counts_once_and_not_for_long() {
        let (codes, clock, eve) = codes();
        let one = codes.make(Arc::clone(&eve), None).unwrap().code;
        assert!(codes.take(&one[1..]).is_none() && codes.take("").is_none());
        assert_eq!(codes.take(&one).unwrap().0.name, eve.name);
        assert!(codes.take(&one).is_none(), "used");
        let late = codes.make(Arc::clone(&eve), None).unwrap();
        clock.turn(LASTS);
        assert!(codes.take(&late.code).is_none(), "late");
        assert!(late.until <= clock.now());
    }

    #[test]
    fn there_are_only_so_many() {
        let (codes, clock, eve) = codes();
        let first = codes.make(Arc::clone(&eve), None).unwrap().code;
        for _ in 0..CODES_MAX {
            clock.turn(Duration::from_secs(1));
            codes.make(Arc::clone(&eve), None).unwrap();
        }
        assert_eq!(codes.known.lock().len(), CODES_MAX);
        assert!(codes.take(&first).is_none());
    }
}

//! Who is signed in with a browser? A random name in a cookie, known here by its hash alone.
//!
//! Never outlives the process, is never made longer by being used, and is never told apart from one
//! that does not exist.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::approval::Operator;
use crate::clock::{Clock, Timestamp};

/// BOUND: people of one console; a session is some 400 bytes.
const SESSIONS_MAX: usize = 1_000;
/// BOUND: browsers of one person.
const OF_ONE_MAX: usize = 10;

/// One sign-in of a browser.
#[derive(Debug)]
pub struct Session {
    operator: Arc<Operator>,
    csrf: Box<str>,
    ends: Timestamp,
    idle: Duration,
    /// When it was last used, in milliseconds.
    used: AtomicI64,
    ended: CancellationToken,
}

impl Session {
    /// Whose it is.
    pub fn operator(&self) -> &Arc<Operator> {
        &self.operator
    }

    /// What its forms bring back.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// When it ends at the latest.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Ends when it was signed out of, or made room: a stream of events ends with it.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Whether that is its CSRF token.
    pub(super) fn proves(&self, sent: &[u8]) -> bool {
        same(sent, self.csrf.as_bytes())
    }

    /// Whether it still counts.
    pub fn is_on(&self, now: Timestamp) -> bool {
        let used = Timestamp(self.used.load(Ordering::Relaxed));
        now < self.ends && now.since(used) < self.idle && !self.ended.is_cancelled()
    }
}

/// SECURITY: takes as long for a near miss as for a far one.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0_u8, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

/// 256 bits at random, as text.
pub(super) fn secret() -> Result<String, String> {
    use base64::Engine;
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers")?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// The SHA-256 of a secret: what is kept of it.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    crate::store::record::sha256(secret.as_bytes())
}

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasts {
    /// From signing in.
    pub whole: Duration,
    /// Unused.
    pub idle: Duration,
}

impl Default for Lasts {
    fn default() -> Self {
        // BOUND: a working day; a screen that nobody looked at for half an hour is nobody's.
        Self { whole: Duration::from_secs(8 * 3600), idle: Duration::from_secs(30 * 60) }
    }
}

/// Everybody who is signed in here.
#[derive(Debug)]
pub struct Sessions {
    clock: Clock,
    lasts: Lasts,
    on: Mutex<HashMap<[u8; 32], Arc<Session>>>,
}

impl Sessions {
    /// Nobody.
    pub fn new(clock: Clock, lasts: Lasts) -> Self {
        Self { clock, lasts, on: Mutex::default() }
    }

    /// How long they last.
    pub fn lasts(&self) -> Lasts {
        self.lasts
    }

    /// A new one, under a name that nobody had before (session fixation), and never past `until`.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub(super) fn begin(
        &self,
        operator: Operator,
        until: Option<Timestamp>,
    ) -> Result<String, String> {
        let (name, csrf) = (secret()?, secret()?);
        let now = self.clock.now();
        let ends = now.plus(self.lasts.whole);
        let session = Session {
            operator: Arc::new(operator),
            csrf: csrf.into(),
            ends: until.map_or(ends, |until| until.min(ends)),
            idle: self.lasts.idle,
            used: AtomicI64::new(now.0),
            ended: CancellationToken::new(),
        };
        let mut on = self.on.lock();
        on.retain(|_, one| one.is_on(now) || over(one));
        let own = |one: &Session| one.operator.name == session.operator.name;
        if on.values().filter(|one| own(one)).count() >= OF_ONE_MAX {
            make_room(&mut on, own);
        }
        if on.len() >= SESSIONS_MAX {
            make_room(&mut on, |_| true);
        }
        on.insert(hash(&name), Arc::new(session));
        Ok(name)
    }

    /// The session that a request brings along, which counts as used now if a person made it.
    pub(super) fn of(&self, headers: &HeaderMap, cookie: &str) -> Option<Arc<Session>> {
        let name = hash(cookie_of(headers, cookie)?);
        let now = self.clock.now();
        let mut on = self.on.lock();
        let session = Arc::clone(on.get(&name)?);
        if !session.is_on(now) {
            on.remove(&name);
            over(&session);
            return None;
        }
        if is_by_a_person(headers) {
            session.used.store(now.0, Ordering::Relaxed);
        }
        Some(session)
    }

    /// Ends the session that a request brings along.
    pub(super) fn end(&self, headers: &HeaderMap, cookie: &str) {
        let Some(name) = cookie_of(headers, cookie) else { return };
        if let Some(session) = self.on.lock().remove(&hash(name)) {
            over(&session);
        }
    }

    /// How many there are.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.on.lock().len()
    }
}

/// SECURITY: a page that is live reads itself again and again: a screen that nobody looks at must not keep its
/// session by that. Fetch Metadata is the browser's own word for what asks: a page that somebody went to, or
/// a script of one (`empty`), a style, a picture.
fn is_by_a_person(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_none_or(|asks| asks == "document")
}

/// Ends the one that was not used for the longest.
fn make_room(on: &mut HashMap<[u8; 32], Arc<Session>>, of: impl Fn(&Session) -> bool) {
    let oldest = on.iter().filter(|(_, one)| of(one)).min_by_key(|(_, one)| used(one));
    let oldest = oldest.map(|(name, _)| *name);
    if let Some(gone) = oldest.and_then(|name| on.remove(&name)) {
        gone.ended.cancel();
    }
}

fn used(session: &Session) -> i64 {
    session.used.load(Ordering::Relaxed)
}

/// Ends whatever goes on in it; never keeps it.
fn over(session: &Session) -> bool {
    session.ended.cancel();
    false
}

/// The value of the one cookie of that name. Two of a name is none: one of them is not ours.
pub(super) fn cookie_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut own = pairs.filter(|(own, _)| *own == name).map(|(_, value)| value);
    let one = own.next();
    one.filter(|_| own.next().is_none())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail loudly")]

    use super::*;
    use crate::approval::{Answers, Tenants};

    const COOKIE: &str = "tollhouse";

    fn operator(name: &str) -> Operator {
        let answers = Answers::Holds;
        Operator {
            name: name.into(),
            subject: None,
            roles: Vec::new(),
            tenants: Tenants::All,
            answers,
        }
    }

    fn sessions(lasts: Lasts) -> (Sessions, Clock) {
        let clock = Clock::by_hand(Timestamp::from_seconds(1_800_000_000));
        (Sessions::new(clock.clone(), lasts), clock)
    }

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, value.parse().unwrap());
        headers
    }

    fn named(name: &str) -> HeaderMap {
        with(&format!("theme=dark; {COOKIE}={name}"))
    }

    #[test]
    fn a_live_page_that_nobody_looks_at_does_not_keep_its_session() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let (all, clock) = sessions(Lasts { whole: minutes(60), idle: minutes(10) });
        let name = all.begin(operator("eve"), None).unwrap();
        let by = |asks: &str| {
            let mut headers = named(&name);
            headers.append("sec-fetch-dest", asks.parse().unwrap());
            headers
        };
        clock.turn(minutes(9));
        assert!(all.of(&by("document"), COOKIE).is_some());
        for asks in ["empty", "style", "image", "empty"] {
            clock.turn(minutes(2));
            assert!(all.of(&by(asks), COOKIE).is_some(), "{asks}");
        }
        clock.turn(minutes(2));
        assert!(all.of(&by("document"), COOKIE).is_none(), "ten minutes since somebody looked");
    }

    #[test]
    fn a_session_ends_when_it_is_old_or_unused_or_signed_out_of() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let (all, clock) = sessions(Lasts { whole: minutes(60), idle: minutes(10) });
        let name = all.begin(operator("eve"), None).unwrap();
        for _ in 0..6 {
            clock.turn(minutes(9));
            assert_eq!(&*all.of(&named(&name), COOKIE).unwrap().operator().name, "eve");
        }
        clock.turn(minutes(6));
        assert!(all.of(&named(&name), COOKIE).is_none(), "an hour is over, used or not");

        let name = all.begin(operator("eve"), None).unwrap();
        let kept = all.of(&named(&name), COOKIE).unwrap();
        clock.turn(minutes(10));
        assert!(all.of(&named(&name), COOKIE).is_none(), "unused");
        assert!(kept.ended().is_cancelled());

        let name = all.begin(operator("eve"), None).unwrap();
        let kept = all.of(&named(&name), COOKIE).unwrap();
        all.end(&named(&name), COOKIE);
        assert!(all.of(&named(&name), COOKIE).is_none() && kept.ended().is_cancelled());

        let soon = clock.now().plus(minutes(5));
        let name = all.begin(operator("eve"), Some(soon)).unwrap();
        clock.turn(minutes(6));
        assert!(all.of(&named(&name), COOKIE).is_none(), "no longer than its proof");
    }

    #[test]
    fn only_the_whole_name_of_a_session_is_one() {
        let (all, _) = sessions(Lasts::default());
        let name = all.begin(operator("eve"), None).unwrap();
        let other = all.begin(operator("eve"), None).unwrap();
        assert_ne!(name, other);
        assert!(all.of(&named(&name), COOKIE).is_some());
        for odd in ["", &name[1..], &format!("{name}a"), &name.to_lowercase(), "="] {
            assert!(all.of(&named(odd), COOKIE).is_none(), "{odd}");
        }
        let twice = with(&format!("{COOKIE}={name}; {COOKIE}={other}"));
        assert!(all.of(&twice, COOKIE).is_none(), "one of the two was put there by somebody else");
        assert!(all.of(&with(&format!("x{COOKIE}={name}")), COOKIE).is_none());
    }

    #[test]
    fn there_are_only_so_many() {
        let (all, clock) = sessions(Lasts::default());
        let first = all.begin(operator("ann"), None).unwrap();
        for n in 0..20 {
            clock.turn(Duration::from_secs(1));
            let _name = all.begin(operator("bob"), None).unwrap();
            assert_eq!(all.count(), 1 + (n + 1).min(OF_ONE_MAX));
        }
        assert!(all.of(&named(&first), COOKIE).is_some(), "nobody is pushed out by another's");
        for n in 0..SESSIONS_MAX {
            clock.turn(Duration::from_millis(1));
            let _name = all.begin(operator(&n.to_string()), None).unwrap();
        }
        assert_eq!(all.count(), SESSIONS_MAX);
    }

    #[test]
    fn equal_is_equal() {
        assert!(same(b"", b"") && same(b"ab", b"ab"));
        assert!(!same(b"ab", b"ac") && !same(b"ab", b"a") && !same(b"", b"a"));
    }
}

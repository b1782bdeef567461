//! Is the road open? One breaker per upstream: it opens when calls fail in a row, and closes again
//! when a read got through.
//!
//! Never counts what we refused ourselves, never probes with an effect while a read may come, and
//! never looks at what a call means: 5xx, no answer and no connection are ill, all else is well.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::refusal::Refusal;
use crate::yaml::{Faults, Node};

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that open it.
    pub consecutive: u32,
    /// How long it stays open before a probe.
    pub open: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        // BOUND: one bad answer is noise, five in a row are not; half a minute is a restart.
        Self { consecutive: 5, open: Duration::from_secs(30) }
    }
}

impl Settings {
    /// Reads `{ consecutive: 5, open: 30s }`.
    pub fn read(faults: &Faults, node: &Node, key: &str) -> Self {
        let usual = Self::default();
        let section = faults.section(node, key);
        let consecutive = section.optional("consecutive", |node| {
            let count = u32::try_from(node.count()?).map_err(|_| "expected at most 1000")?;
            // BOUND: past 1000 failures in a row nothing is protected any more.
            (1..=1000).contains(&count).then_some(count).ok_or("expected 1 to 1000".to_owned())
        });
        let open = section.optional("open", |node| {
            let open = node.duration()?;
            let range = Duration::from_secs(1)..=Duration::from_secs(3600);
            range.contains(&open).then_some(open).ok_or("expected `1s` to `1h`".to_owned())
        });
        for later in ["failures", "of_last", "slow", "share"] {
            if section.node(later).is_some() {
                section.fault(later, "is not built yet; `consecutive: 5` counts failures in a row");
            }
        }
        section.finish();
        Self {
            consecutive: consecutive.unwrap_or(usual.consecutive),
            open: open.unwrap_or(usual.open),
        }
    }
}

/// What would reach the upstream first: an effect that reads facts before it begins with a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum First {
    /// A read.
    Read,
    /// An effect.
    Effect,
}

/// How an upstream answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// It did its work, whatever it said.
    Well,
    /// It failed, or said nothing.
    Ill,
}

impl Health {
    /// What a status says; `None` when there was none: not reached, no answer in time, lost on the
    /// way.
    pub fn of(status: Option<u16>) -> Self {
        match status {
            Some(status) if status < 500 => Self::Well,
            Some(_) | None => Self::Ill,
        }
    }
}

/// What a breaker says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shown {
    /// Calls pass.
    Closed,
    /// Nothing passes.
    Open,
    /// One read may try.
    HalfOpen,
}

impl Shown {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    /// Until a moment of the steady clock.
    Open {
        until: Duration,
        probing: Probing,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Usual,
    Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probing {
    Nobody,
    Somebody,
}

/// The breaker of one upstream. Outlives a reload.
#[derive(Debug)]
pub struct Breaker {
    upstream: Arc<str>,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    clock: Clock,
}

/// Leave to send one call. Dropped without [`Pass::saw`] it counts for nothing: what we refused
/// after all says nothing about the upstream.
#[must_use = "a pass that is dropped at once lets a second probe through"]
pub struct Pass {
    breaker: Arc<Breaker>,
    role: Role,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(upstream: Arc<str>, settings: Settings, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            upstream,
            settings: Mutex::new(settings),
            state: Mutex::new(State::Closed { failures: 0 }),
            clock,
        })
    }

    /// New settings after a reload; what it knows of the upstream stays.
    pub fn adjust(&self, settings: Settings) {
        *self.settings.lock() = settings;
    }

    /// What it says of itself now.
    pub fn shown(&self) -> Shown {
        match *self.state.lock() {
            State::Closed { .. } => Shown::Closed,
            State::Open { until, .. } if self.clock.steady() < until => Shown::Open,
            State::Open { .. } => Shown::HalfOpen,
        }
    }

    /// Leave to send a call that begins with `first`.
    ///
    /// # Errors
    ///
    /// `breaker_open` while the upstream is not well.
    pub fn admit(self: &Arc<Self>, first: First) -> Result<Pass, Refusal> {
        let mut state = self.state.lock();
        let role = match &mut *state {
            State::Closed { .. } => Role::Usual,
            State::Open { until, probing } => {
                let now = self.clock.steady();
                let settings = *self.settings.lock();
                let free = *probing == Probing::Nobody;
                if !(free && now >= probe_from(first, *until, settings)) {
                    return Err(self.refusal(until.saturating_sub(now)));
                }
                *probing = Probing::Somebody;
                Role::Probe
            }
        };
        Ok(Pass { breaker: Arc::clone(self), role })
    }

    /// Whether the road is still open to an effect: asked once more when its facts are read, right
    /// before it is reserved.
    ///
    /// # Errors
    ///
    /// `breaker_open` while the upstream is not well.
    pub fn still_open(&self) -> Result<(), Refusal> {
        match *self.state.lock() {
            State::Closed { .. } => Ok(()),
            State::Open { until, .. } => {
                Err(self.refusal(until.saturating_sub(self.clock.steady())))
            }
        }
    }

    fn refusal(&self, wait: Duration) -> Refusal {
        // BOUND: 2 s while somebody else probes: about one exchange.
        Refusal::breaker_open(&self.upstream, wait.max(Duration::from_secs(2)))
    }

    fn saw(&self, health: Health, role: Role) {
        let settings = *self.settings.lock();
        let until = self.clock.steady().saturating_add(settings.open);
        let mut state = self.state.lock();
        *state = match (*state, health) {
            (State::Closed { .. }, Health::Well) => State::Closed { failures: 0 },
            (State::Closed { failures }, Health::Ill) => match failures.saturating_add(1) {
                failures if failures < settings.consecutive => State::Closed { failures },
                _ => State::Open { until, probing: Probing::Nobody },
            },
            (State::Open { .. }, Health::Well) if role == Role::Probe => {
                State::Closed { failures: 0 }
            }
            (State::Open { .. }, Health::Ill) if role == Role::Probe => {
                State::Open { until, probing: Probing::Nobody }
            }
            // Sent before it opened: says nothing about now.
            (open @ State::Open { .. }, _) => open,
        };
    }

    fn give_up_probe(&self) {
        if let State::Open { probing, .. } = &mut *self.state.lock() {
            *probing = Probing::Nobody;
        }
    }
}

/// When a call that begins with `first` may probe.
fn probe_from(first: First, until: Duration, settings: Settings) -> Duration {
    match first {
        First::Read => until,
        // BOUND: an upstream that nobody reads would stay shut for ever: after ten times the usual
        // span without a read one effect may try. Its outcome may be unknown, but not twofold.
        First::Effect => until.saturating_add(settings.open.saturating_mul(10)),
    }
}

impl Pass {
    /// How the upstream answered. May be told several times: each exchange counts, the first
    /// decides a probe.
    pub fn saw(&mut self, health: Health) {
        self.breaker.saw(health, std::mem::replace(&mut self.role, Role::Usual));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.role == Role::Probe {
            self.breaker.give_up_probe();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::refusal::Code;
    use crate::yaml;

    fn breaker() -> (Arc<Breaker>, Clock) {
        let clock = Clock::by_hand(Timestamp(1_000_000));
        let settings = Settings { consecutive: 3, open: Duration::from_secs(30) };
        (Breaker::new("stripe".into(), settings, clock.clone()), clock)
    }

    fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            breaker.admit(First::Effect).unwrap().saw(Health::Ill);
        }
    }

    fn refused(result: Result<Pass, Refusal>) -> Refusal {
        let refusal = result.err().unwrap();
        assert_eq!(refusal.code, Code::BreakerOpen);
        refusal
    }

    #[test]
    fn it_opens_at_the_third_failure_in_a_row_and_not_before() {
        let (breaker, _) = breaker();
        fail(&breaker, 2);
        breaker.admit(First::Read).unwrap().saw(Health::Well);
        fail(&breaker, 2);
        assert_eq!(breaker.shown(), Shown::Closed);
        assert!(breaker.still_open().is_ok());
        fail(&breaker, 1);
        assert_eq!(breaker.shown(), Shown::Open);
        let refusal = refused(breaker.admit(First::Read));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
        refused(breaker.admit(First::Effect));
        assert!(breaker.still_open().is_err());
    }

    #[test]
    fn after_the_cool_down_one_read_probes_and_effects_wait_for_it() {
        let (breaker, clock) = breaker();
        fail(&breaker, 3);
        clock.turn(Duration::from_millis(29_999));
        refused(breaker.admit(First::Read));
        clock.turn(Duration::from_millis(1));
        assert_eq!(breaker.shown(), Shown::HalfOpen);
        refused(breaker.admit(First::Effect));
        let mut probe = breaker.admit(First::Read).unwrap();
        refused(breaker.admit(First::Read));
        assert!(breaker.still_open().is_err());
        probe.saw(Health::Well);
        assert_eq!(breaker.shown(), Shown::Closed);
        assert!(breaker.admit(First::Effect).is_ok());
        // It begins to count anew.
        fail(&breaker, 2);
        assert_eq!(breaker.shown(), Shown::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_another_span() {
        let (breaker, clock) = breaker();
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(30));
        breaker.admit(First::Read).unwrap().saw(Health::Ill);
        clock.turn(Duration::from_secs(29));
        refused(breaker.admit(First::Read));
        clock.turn(Duration::from_secs(1));
        assert!(breaker.admit(First::Read).is_ok());
    }

    #[test]
    fn a_probe_that_was_refused_after_all_counts_for_nothing_and_frees_its_place() {
        let (breaker, clock) = breaker();
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(30));
        drop(breaker.admit(First::Read).unwrap());
        assert_eq!(breaker.shown(), Shown::HalfOpen);
        assert!(breaker.admit(First::Read).is_ok());
        let (breaker, _) = self::breaker();
        for _ in 0..10 {
            drop(breaker.admit(First::Effect).unwrap());
        }
        assert_eq!(breaker.shown(), Shown::Closed);
    }

    #[test]
    fn a_late_answer_from_before_neither_closes_nor_prolongs() {
        let (breaker, clock) = breaker();
        let mut early = breaker.admit(First::Effect).unwrap();
        let mut other = breaker.admit(First::Effect).unwrap();
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(20));
        early.saw(Health::Well);
        assert_eq!(breaker.shown(), Shown::Open);
        other.saw(Health::Ill);
        clock.turn(Duration::from_secs(10));
        assert_eq!(breaker.shown(), Shown::HalfOpen);
    }

    #[test]
    fn an_upstream_that_nobody_reads_is_tried_by_an_effect_at_last() {
        let (breaker, clock) = breaker();
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(329));
        refused(breaker.admit(First::Effect));
        clock.turn(Duration::from_secs(1));
        breaker.admit(First::Effect).unwrap().saw(Health::Well);
        assert_eq!(breaker.shown(), Shown::Closed);
    }

    #[test]
    fn five_hundreds_and_silence_are_ill() {
        for (status, health) in [
            (Some(200), Health::Well),
            (Some(302), Health::Well),
            (Some(404), Health::Well),
            (Some(429), Health::Well),
            (Some(500), Health::Ill),
            (Some(503), Health::Ill),
            (None, Health::Ill),
        ] {
            assert_eq!(Health::of(status), health, "{status:?}");
        }
    }

    #[test]
    fn settings_are_read_and_what_is_not_built_is_refused() {
        let read = |text: &str| {
            let node = yaml::read("x.yaml", text).unwrap();
            let faults = Faults::of("x.yaml");
            let settings = Settings::read(&faults, &node, "breaker");
            (settings, faults.into_errors().0.len())
        };
        let settings = Settings { consecutive: 7, open: Duration::from_secs(10) };
        assert_eq!(read("{ consecutive: 7, open: 10s }"), (settings, 0));
        assert_eq!(read("{}"), (Settings::default(), 0));
        assert_eq!(read("{ failures: 50%, of_last: 20, slow: 10s, open: 30s }").1, 3);
        assert_eq!(read("{ consecutive: 0 }").1, 1);
        assert_eq!(read("{ open: 0s }").1, 1);
        assert_eq!(read("{ opne: 10s }").1, 1);
    }
}

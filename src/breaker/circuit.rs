//! Is one road open, by what came of the last calls on it? The breaker as pure values: no lock, no
//! clock.
//!
//! Never opens by what is well, never closes by a call that was sent before it opened, and never lets
//! an effect try while a read may.

use std::fmt;
use std::time::Duration;

use super::{First, Settings, Shown};

/// BOUND: doubled three times: a road that opens again and again is left alone for eight spans at most.
const DOUBLED_MAX: u32 = 3;

/// How one exchange went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    Slow,
    Ill,
}

/// What leave to pass a circuit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Usual,
    /// It tries whether the road is well again, in a round of such tries.
    Probe {
        round: u32,
        first: First,
    },
}

/// Why a circuit opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    InARow(u32),
    Share { ill: u32, slow: u32, of: u32 },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(times) => write!(f, "{times} calls in a row failed"),
            Self::Share { ill, slow, of } => {
                write!(f, "of the last {of} calls {ill} failed and {slow} were slow")
            }
        }
    }
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    Opened {
        cause: Cause,
        span: Duration,
    },
    /// A probe failed: it stays open for another span.
    Stayed {
        span: Duration,
    },
    Closed {
        probes: u32,
    },
}

/// What came of the last calls: the newest in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Last {
    ill: u128,
    slow: u128,
    seen: u32,
    /// Failures in a row; the window may be shorter than what is asked of it.
    in_a_row: u32,
}

impl Last {
    fn push(&mut self, went: Went, of_last: u32) {
        let mask = u128::MAX.checked_shr(128_u32.saturating_sub(of_last)).unwrap_or(0);
        self.ill = ((self.ill << 1) | u128::from(went == Went::Ill)) & mask;
        self.slow = ((self.slow << 1) | u128::from(went == Went::Slow)) & mask;
        self.seen = self.seen.saturating_add(1).min(of_last);
        self.in_a_row = match went {
            Went::Ill => self.in_a_row.saturating_add(1),
            Went::Well | Went::Slow => 0,
        };
    }

    fn cause(&self, settings: &Settings) -> Option<Cause> {
        if self.in_a_row >= settings.consecutive {
            return Some(Cause::InARow(self.in_a_row));
        }
        // BOUND: a share of few says nothing: half of what is looked at must be there.
        if self.seen.saturating_mul(2) < settings.of_last {
            return None;
        }
        let (ill, slow) = (self.ill.count_ones(), self.slow.count_ones());
        let bad = ill.saturating_add(slow).saturating_mul(1000);
        let enough = bad >= self.seen.saturating_mul(u32::from(settings.failures));
        enough.then_some(Cause::Share { ill, slow, of: self.seen })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        /// Of the steady clock: from then on a read may try.
        until: Duration,
        span: Duration,
        /// Tries that have no answer yet, and those that got through.
        probing: u32,
        well: u32,
        round: u32,
    },
}

/// The breaker of an upstream, or of one action.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circuit {
    state: State,
    last: Last,
    /// When it closed last, and how often its span was doubled.
    closed: Option<Duration>,
    doubled: u32,
    rounds: u32,
}

impl Circuit {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Closed,
            last: Last { ill: 0, slow: 0, seen: 0, in_a_row: 0 },
            closed: None,
            doubled: 0,
            rounds: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(super) fn shown(&self, now: Duration) -> Shown {
        match self.state {
            State::Closed => Shown::Closed,
            State::Open { until, .. } if now < until => Shown::Open,
            State::Open { .. } => Shown::HalfOpen,
        }
    }

    /// How long until it may be tried again; `None` while it is closed.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { until, .. } => Some(until.saturating_sub(now)),
        }
    }

    /// As what a call that begins with `first` may pass; how long to wait if it may not.
    pub(super) fn look(
        &self,
        first: First,
        now: Duration,
        settings: &Settings,
    ) -> Result<Role, Duration> {
        let State::Open { until, span, probing, well, round } = self.state else {
            return Ok(Role::Usual);
        };
        // BOUND: never more tries at once than must get through, and one effect alone.
        let is_free = match first {
            First::Read => probing.saturating_add(well) < settings.probes,
            First::Effect => probing == 0,
        };
        if is_free && now >= probe_from(first, until, span) {
            Ok(Role::Probe { round, first })
        } else {
            Err(until.saturating_sub(now))
        }
    }

    /// Passes as [`Circuit::look`] said.
    pub(super) fn pass(&mut self, role: Role) {
        if let (Role::Probe { .. }, State::Open { probing, .. }) = (role, &mut self.state) {
            *probing = probing.saturating_add(1);
        }
    }

    /// A try that was refused after all: its place is free again.
    pub(super) fn give_up(&mut self, role: Role) {
        if let (Role::Probe { round: own, .. }, State::Open { probing, round, .. }) =
            (role, &mut self.state)
            && own == *round
        {
            *probing = probing.saturating_sub(1);
        }
    }

    /// How an exchange went.
    pub(super) fn saw(
        &mut self,
        went: Went,
        role: Role,
        now: Duration,
        settings: &Settings,
    ) -> Option<Turned> {
        match (self.state, role) {
            (State::Closed, _) => {
                self.last.push(went, settings.of_last);
                if went == Went::Well {
                    return None;
                }
                let cause = self.last.cause(settings)?;
                let span = self.open(now, settings);
                Some(Turned::Opened { cause, span })
            }
            (State::Open { round, .. }, Role::Probe { round: own, first }) if round == own => {
                self.probed(went, first, now, settings)
            }
            // Sent before it opened, or tried in an earlier round: says nothing about now.
            (State::Open { .. }, Role::Usual | Role::Probe { .. }) => None,
        }
    }

    /// Forgets what it counted, if it is closed: what failed was all of the upstream.
    pub(super) fn forget(&mut self) {
        if self.state == State::Closed {
            self.last = Last::default();
        }
    }

    fn open(&mut self, now: Duration, settings: &Settings) -> Duration {
        let span_of = |doubled: u32| {
            settings.open.saturating_mul(1_u32.checked_shl(doubled).unwrap_or(u32::MAX))
        };
        // BOUND: a road that is ill again before it was well for as long as it was shut would flap.
        let flaps =
            self.closed.is_some_and(|closed| now.saturating_sub(closed) < span_of(self.doubled));
        self.doubled = if flaps { self.doubled.saturating_add(1).min(DOUBLED_MAX) } else { 0 };
        let span = span_of(self.doubled);
        self.last = Last::default();
        self.shut(now, span);
        span
    }

    fn shut(&mut self, now: Duration, span: Duration) {
        self.rounds = self.rounds.wrapping_add(1);
        let until = now.saturating_add(span);
        self.state = State::Open { until, span, probing: 0, well: 0, round: self.rounds };
    }

    fn probed(
        &mut self,
        went: Went,
        first: First,
        now: Duration,
        settings: &Settings,
    ) -> Option<Turned> {
        let State::Open { span, probing, well, .. } = &mut self.state else { return None };
        if went != Went::Well {
            let span = *span;
            self.shut(now, span);
            return Some(Turned::Stayed { span });
        }
        *probing = probing.saturating_sub(1);
        *well = well.saturating_add(1);
        // An effect tried because nobody reads: there is nobody else to ask.
        if *well < settings.probes && first == First::Read {
            return None;
        }
        let probes = *well;
        self.state = State::Closed;
        self.last = Last::default();
        self.closed = Some(now);
        Some(Turned::Closed { probes })
    }
}

/// When a call that begins with `first` may try.
fn probe_from(first: First, until: Duration, span: Duration) -> Duration {
    match first {
        First::Read => until,
        // BOUND: a road that nobody reads would stay shut for ever: after ten times the usual span
        // without a read one effect may try. Its outcome may be unknown, but not twofold.
        First::Effect => until.saturating_add(span.saturating_mul(10)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::panic,
        clippy::arithmetic_side_effects,
        reason = "a test may fail loudly"
    )]
    use super::*;
    use proptest::prelude::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn played(circuit: &mut Circuit, plan: &str, settings: &Settings) -> Option<Turned> {
        let mut turned = None;
        for went in plan.chars() {
            let went = match went {
                '.' => Went::Well,
                's' => Went::Slow,
                _ => Went::Ill,
            };
            turned = turned.or(circuit.saw(went, Role::Usual, seconds(1), settings));
        }
        turned
    }

    #[test]
    fn a_share_counts_once_half_of_the_window_is_there() {
        let settings = Settings { of_last: 20, failures: 500, ..Settings::default() };
        for (plan, opens) in [
            // Nine calls are too few, ten are enough.
            ("x.x.x.x.x", None),
            ("x.x.x.x.x.", None),
            (".x.x.x.x.x", Some(Cause::Share { ill: 5, slow: 0, of: 10 })),
            // Slow ones count with those that failed, whatever their order.
            (".s.s.s.x.s", Some(Cause::Share { ill: 1, slow: 4, of: 10 })),
            // A well answer never opens it, though the share is as high.
            ("xx.xx.x...", None),
            ("xx.xx.x...x.x.", Some(Cause::Share { ill: 6, slow: 0, of: 11 })),
            // A rising share within the window; what is older than the window is forgotten.
            (
                "....................x..x.x.x.x.x.x.x.x.x",
                Some(Cause::Share { ill: 10, slow: 0, of: 20 }),
            ),
            ("..x..x..x..x..x..x..x..x..x..x..x..x..x..x", None),
            ("xxxx.", None),
            ("xxxxx", Some(Cause::InARow(5))),
            // A slow answer is an answer: the row ends.
            ("xxxxsxxxx", None),
            ("ssssssssss", Some(Cause::Share { ill: 0, slow: 10, of: 10 })),
        ] {
            let turned = played(&mut Circuit::new(), plan, &settings);
            let cause = turned.map(|turned| match turned {
                Turned::Opened { cause, .. } => cause,
                other @ (Turned::Stayed { .. } | Turned::Closed { .. }) => panic!("{other:?}"),
            });
            assert_eq!(cause, opens, "{plan}");
        }
    }

    #[test]
    fn a_window_of_one_and_the_widest_one_count_as_others_do() {
        let one = Settings { of_last: 1, ..Settings::default() };
        assert!(played(&mut Circuit::new(), ".x", &one).is_some());
        let widest = Settings { of_last: 128, consecutive: 1000, ..Settings::default() };
        let plan = "x.".repeat(31) + ".";
        assert_eq!(played(&mut Circuit::new(), &plan, &widest), None);
        let plan = ".x".repeat(32);
        let cause = Cause::Share { ill: 32, slow: 0, of: 64 };
        let span = widest.open;
        assert_eq!(
            played(&mut Circuit::new(), &plan, &widest),
            Some(Turned::Opened { cause, span })
        );
    }

    #[test]
    fn a_road_that_opens_again_soon_stays_shut_for_longer_each_time() {
        let settings = Settings { open: seconds(10), probes: 1, ..Settings::default() };
        let mut circuit = Circuit::new();
        let (mut now, mut spans) = (seconds(100), Vec::new());
        for calm in [0, 1, 1, 1, 1, 80, 79] {
            now += seconds(calm);
            let mut turned = None;
            for _ in 0..5 {
                turned = circuit.saw(Went::Ill, Role::Usual, now, &settings);
            }
            let Some(Turned::Opened { span, .. }) = turned else { panic!("{turned:?}") };
            spans.push(span.as_secs());
            now += span;
            let role = circuit.look(First::Read, now, &settings).unwrap();
            circuit.pass(role);
            assert_eq!(
                circuit.saw(Went::Well, role, now, &settings),
                Some(Turned::Closed { probes: 1 })
            );
        }
        // After 80 s in which it was well it begins anew; the last one was well for 79 of its 10.
        assert_eq!(spans, [10, 20, 40, 80, 80, 10, 10]);
    }

    #[test]
    fn a_probe_of_an_earlier_round_says_nothing_and_frees_nothing() {
        let settings = Settings { open: seconds(10), probes: 2, ..Settings::default() };
        let mut circuit = Circuit::new();
        played(&mut circuit, "xxxxx", &settings);
        let now = seconds(20);
        let (early, failing) =
            (circuit.look(First::Read, now, &settings), circuit.look(First::Read, now, &settings));
        let (early, failing) = (early.unwrap(), failing.unwrap());
        circuit.pass(early);
        circuit.pass(failing);
        assert!(circuit.look(First::Read, now, &settings).is_err(), "two at once, not three");
        let turned = circuit.saw(Went::Ill, failing, now, &settings);
        assert_eq!(turned, Some(Turned::Stayed { span: seconds(10) }));
        let later = seconds(30);
        let now_trying = circuit.look(First::Read, later, &settings).unwrap();
        circuit.pass(now_trying);
        circuit.give_up(early);
        assert_eq!(circuit.saw(Went::Well, early, later, &settings), None);
        assert_eq!(circuit.saw(Went::Well, now_trying, later, &settings), None);
        assert_eq!(circuit.shown(later), Shown::HalfOpen, "one of two got through");
    }

    proptest! {
            // Whatever happens: at most `probes` reads try at once, an effect tries alone and late, and a
            // shut road lets nothing pass.
            #[test]
            fn probes_are_bounded_and_an_effect_is_the_last(
                steps in prop::collection::vec((0_u8..6, 0_u64..400, any::<prop::sample::Index>()), 1..300),
                probes in 1_u32..5,
            ) {
                let settings = Settings { open: seconds(10), probes, ..Settings::default() };
                let (mut circuit, mut now) = (Circuit::new(), seconds(1));
                let mut flying: Vec<(Role, u32)> = Vec::new();
                let mut shut_since = None;
                for (what, wait, which) in steps {
                    let first = if what % 2 == 0 { First::Read } else { First::Effect };
                    if what < 2 {
                        now += Duration::from_millis(wait * 100);
                        if let Ok(role) = circuit.look(first, now, &settings) {
                            if let Role::Probe { first, round } = role {
                                let shut: Duration = shut_since.unwrap();
                                let least = if first == First::Effect { 110 } else { 10 };
                                prop_assert!(now - shut >= seconds(least), "{:?} after {:?}", first, now - shut);
                                let same = |(role, _): &&(Role, u32)| matches!(role, Role::Probe { round: own, .. } if *own == round);
                                let trying = flying.iter().filter(same).count();
    let most = if first == First::Effect { 1 } else { probes };
                                prop_assert!(u32::try_from(trying).unwrap() < most);
                            }
                            circuit.pass(role);
                            flying.push((role, circuit.rounds));
                        }
                    } else if !flying.is_empty() {
                        let (role, _) = flying.swap_remove(which.index(flying.len()));
                        match what {
                            2 => circuit.give_up(role),
                            3 => { circuit.saw(Went::Well, role, now, &settings); }
                            _ => {
                                let turned = circuit.saw(Went::Ill, role, now, &settings);
                                if matches!(turned, Some(Turned::Opened { .. } | Turned::Stayed { .. })) {
                                    shut_since = Some(now);
                                }
                            }
                        }
                    }
                    if circuit.shown(now) == Shown::Open {
                        prop_assert!(circuit.look(First::Read, now, &settings).is_err());
                        prop_assert!(circuit.look(First::Effect, now, &settings).is_err());
                    }
                }
            }
        }
}

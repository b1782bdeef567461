//! Is the road open? One breaker per upstream, and one per action of it: each opens when calls fail in
//! a row, or too large a share of the last ones fails or is slow, and closes again when reads got
//! through. `lanes` says how many may be on the road at once.
//!
//! Never counts what we refused ourselves, never probes with an effect while a read may come, and
//! never looks at what a call means: 5xx, no answer, no connection and what the pack calls `ill` are
//! ill, all else is well.

mod circuit;
pub mod lanes;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use settings::Settings;

use crate::clock::Clock;
use crate::refusal::Refusal;
use circuit::{Circuit, Role, Turned, Went};

/// BOUND: actions of one upstream that have a breaker of their own, some 150 bytes each. The largest
/// pack has 452; what is past it counts with its upstream alone.
const ACTIONS_MAX: usize = 1_024;

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
    /// A few reads may try.
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

/// The action that a call is for.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// What reaches it: a read, or an effect; facts go elsewhere.
    pub first: First,
}

/// What an exchange reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reached {
    /// The action itself.
    Action,
    /// Something else of the same upstream: a fact, a look-up.
    Upstream,
}

/// A breaker that opened or closed, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub upstream: Arc<str>,
    /// The action, if it is one of these; the whole upstream otherwise.
    pub action: Option<Arc<str>>,
    /// What it is now.
    pub now: Shown,
    /// Why, in words.
    pub why: String,
}

/// The breakers of one upstream. They outlive a reload.
#[derive(Debug)]
pub struct Breaker {
    upstream: Arc<str>,
    circuits: Mutex<Circuits>,
    clock: Clock,
}

#[derive(Debug)]
struct Circuits {
    settings: Settings,
    whole: Circuit,
    slots: HashMap<Arc<str>, usize>,
    actions: Vec<Circuit>,
}

/// Leave to send one call. Dropped without [`Pass::saw`] it counts for nothing: what we refused
/// after all says nothing about the upstream.
#[must_use = "a pass that is dropped at once lets another probe through"]
pub struct Pass {
    breaker: Arc<Breaker>,
    whole: Role,
    slot: Option<usize>,
    action: Role,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("whole", &self.whole)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

impl Circuits {
    /// The place of an action's breaker; `None` when there are too many.
    fn slot(&mut self, name: &Arc<str>) -> Option<usize> {
        if let Some(slot) = self.slots.get(name) {
            return Some(*slot);
        }
        if self.actions.len() >= ACTIONS_MAX {
            return None;
        }
        let slot = self.actions.len();
        self.actions.push(Circuit::new());
        self.slots.insert(Arc::clone(name), slot);
        Some(slot)
    }

    fn action(&self, slot: Option<usize>) -> Option<&Circuit> {
        self.actions.get(slot?)
    }

    fn action_mut(&mut self, slot: Option<usize>) -> Option<&mut Circuit> {
        self.actions.get_mut(slot?)
    }

    fn name(&self, slot: Option<usize>) -> Option<Arc<str>> {
        let of = |(name, own): (&Arc<str>, &usize)| (Some(*own) == slot).then(|| Arc::clone(name));
        self.slots.iter().find_map(of)
    }
}

impl Breaker {
    /// Closed ones.
    pub fn new(upstream: Arc<str>, settings: Settings, clock: Clock) -> Arc<Self> {
        let circuits = Circuits {
            settings,
            whole: Circuit::new(),
            slots: HashMap::new(),
            actions: Vec::new(),
        };
        Arc::new(Self { upstream, circuits: Mutex::new(circuits), clock })
    }

    /// New settings after a reload; what it knows of the upstream stays.
    pub fn adjust(&self, settings: Settings) {
        self.circuits.lock().settings = settings;
    }

    /// What the upstream's says of itself now.
    pub fn shown(&self) -> Shown {
        self.circuits.lock().whole.shown(self.clock.steady())
    }

    /// The actions whose own breaker is not closed, by name.
    pub fn actions_shown(&self) -> Vec<(Arc<str>, Shown)> {
        let (circuits, now) = (self.circuits.lock(), self.clock.steady());
        let shown = |(name, slot): (&Arc<str>, &usize)| {
            let shown = circuits.action(Some(*slot))?.shown(now);
            (shown != Shown::Closed).then(|| (Arc::clone(name), shown))
        };
        let mut all: Vec<_> = circuits.slots.iter().filter_map(shown).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Leave to send a call that begins with `first`, for `own` if it is for an action.
    ///
    /// # Errors
    ///
    /// `breaker_open` while the upstream, or this action of it, is not well.
    pub fn admit(self: &Arc<Self>, first: First, own: Option<Own<'_>>) -> Result<Pass, Refusal> {
        let mut circuits = self.circuits.lock();
        let settings = circuits.settings;
        let slot = own.and_then(|own| circuits.slot(own.name));
        let own_is_closed = circuits.action(slot).is_none_or(Circuit::is_closed);
        // The clock is asked only where something is not well.
        let is_well = circuits.whole.is_closed() && own_is_closed;
        let now = if is_well { Duration::ZERO } else { self.clock.steady() };
        let whole = circuits.whole.look(first, now, &settings);
        let whole = whole.map_err(|wait| self.refusal(wait))?;
        let action = match (circuits.action(slot), own) {
            (Some(circuit), Some(own)) => circuit.look(own.first, now, &settings),
            _ => Ok(Role::Usual),
        };
        let action = action.map_err(|wait| self.refusal(wait))?;
        circuits.whole.pass(whole);
        if let Some(circuit) = circuits.action_mut(slot) {
            circuit.pass(action);
        }
        Ok(Pass { breaker: Arc::clone(self), whole, slot, action })
    }

    fn refusal(&self, wait: Duration) -> Refusal {
        // BOUND: 2 s while somebody else probes: about one exchange.
        Refusal::breaker_open(&self.upstream, wait.max(Duration::from_secs(2)))
    }

    fn change(&self, action: Option<Arc<str>>, turned: Turned) -> Option<Change> {
        let (now, why) = match turned {
            Turned::Opened { cause, span } => {
                (Shown::Open, format!("{cause}; reads may try after {} s", span.as_secs()))
            }
            Turned::Closed { probes: 1 } => (Shown::Closed, "a call got through".to_owned()),
            Turned::Closed { probes } => (Shown::Closed, format!("{probes} reads got through")),
            // It was open and is open: nothing to tell anybody.
            Turned::Stayed { .. } => return None,
        };
        Some(Change { upstream: Arc::clone(&self.upstream), action, now, why })
    }
}

impl Pass {
    /// Whether the road is still open to an effect: asked once more when its facts are read, right
    /// before it is reserved.
    ///
    /// # Errors
    ///
    /// `breaker_open` while the upstream is not well, or the action, unless this is the effect that
    /// tries whether it is.
    pub fn still_open(&self) -> Result<(), Refusal> {
        let circuits = self.breaker.circuits.lock();
        let shut = |circuit: &Circuit, role: Role| match role {
            Role::Probe { first: First::Effect, .. } => None,
            Role::Probe { first: First::Read, .. } | Role::Usual => {
                circuit.wait(self.breaker.clock.steady())
            }
        };
        let whole = shut(&circuits.whole, self.whole);
        let action = circuits.action(self.slot).and_then(|circuit| shut(circuit, self.action));
        match whole.or(action) {
            None => Ok(()),
            Some(wait) => Err(self.breaker.refusal(wait)),
        }
    }

    /// How the upstream answered after `span`, and what that changed. May be told several times: each
    /// exchange counts, the first decides a probe.
    pub fn saw(&mut self, reached: Reached, health: Health, span: Duration) -> Vec<Change> {
        let breaker = Arc::clone(&self.breaker);
        let mut circuits = breaker.circuits.lock();
        let settings = circuits.settings;
        let went = match health {
            Health::Ill => Went::Ill,
            Health::Well if span > settings.slow => Went::Slow,
            Health::Well => Went::Well,
        };
        // What is well on a road that is well needs no clock.
        let usual = (self.whole, self.action) == (Role::Usual, Role::Usual);
        let is_well = usual && went == Went::Well;
        let now = if is_well { Duration::ZERO } else { breaker.clock.steady() };
        let role = std::mem::replace(&mut self.whole, Role::Usual);
        let whole = circuits.whole.saw(went, role, now, &settings);
        let opened = matches!(whole, Some(Turned::Opened { .. }));
        if opened {
            // It is the upstream, not one of its actions: once it is well they are.
            circuits.actions.iter_mut().for_each(Circuit::forget);
        }
        let action = match reached {
            Reached::Action if !opened => {
                let role = std::mem::replace(&mut self.action, Role::Usual);
                let circuit = circuits.action_mut(self.slot);
                circuit.and_then(|circuit| circuit.saw(went, role, now, &settings))
            }
            Reached::Action | Reached::Upstream => None,
        };
        let whole = whole.and_then(|turned| breaker.change(None, turned));
        let action = action.and_then(|turned| breaker.change(circuits.name(self.slot), turned));
        whole.into_iter().chain(action).collect()
    }

    /// The place of its action in lists of the upstream's.
    pub fn slot(&self) -> Option<usize> {
        self.slot
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if (self.whole, self.action) == (Role::Usual, Role::Usual) {
            return;
        }
        let mut circuits = self.breaker.circuits.lock();
        circuits.whole.give_up(self.whole);
        if let Some(circuit) = circuits.action_mut(self.slot) {
            circuit.give_up(self.action);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::refusal::Code;

    const SOON: Duration = Duration::from_millis(20);

    fn settings() -> Settings {
        Settings { consecutive: 3, probes: 1, ..Settings::default() }
    }

    fn breaker() -> (Arc<Breaker>, Clock) {
        let clock = Clock::by_hand(Timestamp(1_000_000));
        (Breaker::new("stripe".into(), settings(), clock.clone()), clock)
    }

    fn pass(breaker: &Arc<Breaker>, first: First) -> Result<Pass, Refusal> {
        breaker.admit(first, None)
    }

    fn told(mut pass: Pass, health: Health) -> Vec<Change> {
        pass.saw(Reached::Action, health, SOON)
    }

    fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            told(pass(breaker, First::Effect).unwrap(), Health::Ill);
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
        let early = pass(&breaker, First::Effect).unwrap();
        fail(&breaker, 2);
        told(pass(&breaker, First::Read).unwrap(), Health::Well);
        fail(&breaker, 2);
        assert_eq!(breaker.shown(), Shown::Closed);
        assert!(early.still_open().is_ok());
        let last = told(pass(&breaker, First::Read).unwrap(), Health::Ill);
        let why = "3 calls in a row failed; reads may try after 30 s".to_owned();
        let change = Change { upstream: "stripe".into(), action: None, now: Shown::Open, why };
        assert_eq!(last, [change]);
        assert_eq!(breaker.shown(), Shown::Open);
        let refusal = refused(pass(&breaker, First::Read));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
        refused(pass(&breaker, First::Effect));
        assert!(early.still_open().is_err());
    }

    #[test]
    fn after_the_cool_down_one_read_probes_and_effects_wait_for_it() {
        let (breaker, clock) = breaker();
        let effect = pass(&breaker, First::Read).unwrap();
        fail(&breaker, 3);
        clock.turn(Duration::from_millis(29_999));
        refused(pass(&breaker, First::Read));
        clock.turn(Duration::from_millis(1));
        assert_eq!(breaker.shown(), Shown::HalfOpen);
        refused(pass(&breaker, First::Effect));
        let probe = pass(&breaker, First::Read).unwrap();
        refused(pass(&breaker, First::Read));
        assert!(effect.still_open().is_err() && probe.still_open().is_err());
        assert_eq!(told(probe, Health::Well).len(), 1);
        assert_eq!(breaker.shown(), Shown::Closed);
        assert!(pass(&breaker, First::Effect).is_ok());
        // It begins to count anew.
        fail(&breaker, 2);
        assert_eq!(breaker.shown(), Shown::Closed);
    }

    #[test]
    fn several_reads_must_get_through_where_that_is_asked() {
        let (breaker, clock) = breaker();
        breaker.adjust(Settings { probes: 3, ..settings() });
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(30));
        let probes = [(); 3].map(|()| pass(&breaker, First::Read).unwrap());
        refused(pass(&breaker, First::Read));
        let [one, two, three] = probes;
        assert_eq!(told(one, Health::Well), []);
        drop(two);
        assert_eq!(told(three, Health::Well), []);
        assert_eq!(breaker.shown(), Shown::HalfOpen, "one of three was refused after all");
        assert_eq!(told(pass(&breaker, First::Read).unwrap(), Health::Well).len(), 1);
        assert_eq!(breaker.shown(), Shown::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_another_span() {
        let (breaker, clock) = breaker();
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(30));
        assert_eq!(told(pass(&breaker, First::Read).unwrap(), Health::Ill), []);
        clock.turn(Duration::from_secs(29));
        refused(pass(&breaker, First::Read));
        clock.turn(Duration::from_secs(1));
        // A slow answer is no proof that it is well.
        let mut slow = pass(&breaker, First::Read).unwrap();
        slow.saw(Reached::Action, Health::Well, Duration::from_secs(11));
        assert_eq!(breaker.shown(), Shown::Open);
    }

    #[test]
    fn a_probe_that_was_refused_after_all_counts_for_nothing_and_frees_its_place() {
        let (breaker, clock) = breaker();
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(30));
        drop(pass(&breaker, First::Read).unwrap());
        assert_eq!(breaker.shown(), Shown::HalfOpen);
        assert!(pass(&breaker, First::Read).is_ok());
        let (breaker, _) = self::breaker();
        for _ in 0..100 {
            drop(pass(&breaker, First::Effect).unwrap());
        }
        assert_eq!(breaker.shown(), Shown::Closed);
    }

    #[test]
    fn a_late_answer_from_before_neither_closes_nor_prolongs() {
        let (breaker, clock) = breaker();
        let early = pass(&breaker, First::Effect).unwrap();
        let other = pass(&breaker, First::Effect).unwrap();
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(20));
        told(early, Health::Well);
        assert_eq!(breaker.shown(), Shown::Open);
        told(other, Health::Ill);
        clock.turn(Duration::from_secs(10));
        assert_eq!(breaker.shown(), Shown::HalfOpen);
    }

    #[test]
    fn an_upstream_that_nobody_reads_is_tried_by_an_effect_at_last() {
        let (breaker, clock) = breaker();
        breaker.adjust(Settings { probes: 3, ..settings() });
        fail(&breaker, 3);
        clock.turn(Duration::from_secs(329));
        refused(pass(&breaker, First::Effect));
        clock.turn(Duration::from_secs(1));
        let effect = pass(&breaker, First::Effect).unwrap();
        assert!(effect.still_open().is_ok(), "it is the one that may try");
        refused(pass(&breaker, First::Effect));
        told(effect, Health::Well);
        assert_eq!(breaker.shown(), Shown::Closed);
    }

    #[test]
    fn an_action_that_fails_alone_is_shut_alone() {
        let (breaker, clock) = breaker();
        let (refund, read): (Arc<str>, Arc<str>) = ("refund".into(), "read".into());
        let call = |name, first| breaker.admit(First::Read, Some(Own { name, first }));
        let play = |name, first, health| told(call(name, first).unwrap(), health);
        for _ in 0..2 {
            play(&refund, First::Effect, Health::Ill);
            play(&read, First::Read, Health::Well);
        }
        // Its facts are read well; that says nothing of the action.
        let mut third = call(&refund, First::Effect).unwrap();
        assert_eq!(third.saw(Reached::Upstream, Health::Well, SOON), []);
        let changes = third.saw(Reached::Action, Health::Ill, SOON);
        let [Change { action: Some(action), now: Shown::Open, .. }] = &*changes else {
            panic!("{changes:?}")
        };
        assert_eq!(**action, *"refund");
        assert_eq!(breaker.shown(), Shown::Closed);
        assert_eq!(breaker.actions_shown(), [("refund".into(), Shown::Open)]);
        refused(call(&refund, First::Effect));
        assert!(third.still_open().is_err());
        assert!(call(&read, First::Read).is_ok());
        // Nobody can read whether an effect would work: one tries, late.
        clock.turn(Duration::from_secs(300));
        refused(call(&refund, First::Effect));
        clock.turn(Duration::from_secs(30));
        let changes = play(&refund, First::Effect, Health::Well);
        assert_eq!(changes.len(), 1);
        assert_eq!(breaker.actions_shown(), []);
    }

    #[test]
    fn an_upstream_that_fails_as_a_whole_takes_no_action_with_it() {
        let (breaker, clock) = breaker();
        let name: Arc<str> = "refund".into();
        let own = Own { name: &name, first: First::Effect };
        for _ in 0..3 {
            told(breaker.admit(First::Read, Some(own)).unwrap(), Health::Ill);
        }
        assert_eq!((breaker.shown(), breaker.actions_shown()), (Shown::Open, vec![]));
        clock.turn(Duration::from_secs(30));
        told(pass(&breaker, First::Read).unwrap(), Health::Well);
        assert!(
            breaker.admit(First::Effect, Some(own)).is_ok(),
            "a read has shown that it is well"
        );
    }

    #[test]
    fn what_it_knows_survives_other_settings() {
        let (breaker, _) = breaker();
        fail(&breaker, 2);
        breaker.adjust(Settings { consecutive: 2, ..settings() });
        fail(&breaker, 1);
        assert_eq!(breaker.shown(), Shown::Open);
    }

    #[test]
    fn memory_is_bounded_however_many_actions_there_are() {
        let (breaker, _) = breaker();
        for number in 0..ACTIONS_MAX + 10 {
            let name: Arc<str> = format!("a{number}").into();
            let own = Own { name: &name, first: First::Read };
            told(breaker.admit(First::Read, Some(own)).unwrap(), Health::Well);
        }
        assert_eq!(breaker.circuits.lock().actions.len(), ACTIONS_MAX);
        assert!(size_of::<Circuit>() <= 160, "{}", size_of::<Circuit>());
        // What has none of its own counts with its upstream.
        let name: Arc<str> = "one more".into();
        for _ in 0..3 {
            let own = Own { name: &name, first: First::Read };
            told(breaker.admit(First::Read, Some(own)).unwrap(), Health::Ill);
        }
        assert_eq!(breaker.shown(), Shown::Open);
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
}

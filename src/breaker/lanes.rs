//! How many may be on the road at once? A bounded number of calls in flight, less when the upstream
//! becomes slow, and a short line before it.
//!
//! Never lets more than `max` on the road, never lets a read pass an effect that waits, never lets one
//! agent stand in another's way, and never lets anybody wait for long. What is sent away was not begun:
//! a lane is taken before facts are read and before anything is reserved.

mod limit;
mod line;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Health;
use crate::bounds::CALLS_MAX;
use crate::clock::Clock;
use crate::yaml::{Faults, Node};
use limit::{Limit, Sample};
use line::{Line, Waiter};

/// BOUND: calls that wait for one upstream, each some KiB: more than this nobody serves in time.
const WAITING_MAX: usize = 1_000;
/// An effect is costly to send away, and rare: it waits so many times as long as a read.
const EFFECT_WAITS: u32 = 10;
/// One lane in so many is kept for effects.
const RESERVE: u32 = 5;

/// Whether the number of lanes follows how fast the upstream answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adaptive {
    /// It does, below `max`.
    Yes,
    /// It is `max`.
    No,
}

/// How many calls may be in flight at one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// At most.
    pub max: u32,
    /// Whether it is less when the upstream becomes slow.
    pub adaptive: Adaptive,
    /// How long a read waits for a lane; an effect waits ten times as long.
    pub queue: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        // BOUND: 200 calls that take 100 ms are 2,000 a second, more than vendors allow; a twentieth of a
        // second is not noticed in a call that takes two of them.
        Self { max: 200, adaptive: Adaptive::Yes, queue: Duration::from_millis(50) }
    }
}

impl Settings {
    /// Reads `{ max: 200, adaptive: true, queue: 50ms }`.
    pub fn read(faults: &Faults, node: &Node, key: &str) -> Self {
        let usual = Self::default();
        let section = faults.section(node, key);
        let max = section.optional("max", max);
        let adaptive = section.optional("adaptive", Node::bool);
        let queue = section.optional("queue", |node| {
            let queue = node.duration()?;
            // BOUND: an agent that waits for a place is not answered.
            (queue <= Duration::from_secs(5)).then_some(queue).ok_or("expected `0s` to `5s`".into())
        });
        section.finish();
        Self {
            max: max.unwrap_or(usual.max),
            adaptive: match adaptive {
                Some(false) => Adaptive::No,
                Some(true) => Adaptive::Yes,
                None => usual.adaptive,
            },
            queue: queue.unwrap_or(usual.queue),
        }
    }

    /// Reads `{ max: 2000 }`, for the process as a whole.
    pub fn read_process(faults: &Faults, node: &Node, key: &str) -> Self {
        let section = faults.section(node, key);
        let found = section.optional("max", max);
        section.finish();
        let usual = Self::process();
        Self { max: found.unwrap_or(usual.max), ..usual }
    }

    /// For the process as a whole: nobody waits, and how fast upstreams are is theirs.
    pub fn process() -> Self {
        Self { max: CALLS_MAX, adaptive: Adaptive::No, queue: Duration::ZERO }
    }
}

fn max(node: &Node) -> Result<u32, String> {
    let most = u64::try_from(crate::bounds::CONNECTIONS_MAX).unwrap_or(u64::MAX);
    let count = node.count()?;
    let count = (1..=most).contains(&count).then_some(count);
    count.and_then(|count| u32::try_from(count).ok()).ok_or(format!("expected 1 to {most}"))
}

/// What wants a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wants {
    /// A read: sent away first.
    Read,
    /// An effect.
    Effect,
}

impl Wants {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Effect => "effect",
        }
    }
}

/// Why there was no lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Too many wait already.
    Full,
    /// None became free in time.
    Late,
    /// Another had to come before it.
    GaveWay,
}

impl Why {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Late => "late",
            Self::GaveWay => "gave_way",
        }
    }
}

/// Sent away: nothing of it was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shed {
    /// Why.
    pub why: Why,
    /// How the road stood.
    pub seen: Seen,
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Full => "no lane was free and too many wait",
            Why::Late => "no lane became free in time",
            Why::GaveWay => "it gave way to an effect or to another agent",
        };
        let Seen { in_flight, lanes, waiting } = self.seen;
        write!(f, "{why}: {in_flight} calls in flight on {lanes} lanes, {waiting} waiting")
    }
}

/// How a road stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Calls that have a lane.
    pub in_flight: u32,
    /// Lanes that there are now.
    pub lanes: u32,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// The lanes of one upstream, or of the process. They outlive a reload.
#[derive(Debug)]
pub struct Lanes {
    road: Mutex<Road>,
    clock: Clock,
}

#[derive(Debug)]
struct Road {
    settings: Settings,
    limit: Limit,
    in_flight: u32,
    reads: u32,
    effects: Line,
    readers: Line,
    /// Since when some read waits without a break.
    standing: Option<Duration>,
    /// Those that were given a lane and have not taken it yet.
    granted: HashSet<u64>,
    next: u64,
}

/// Leave to be on the road, until it is dropped.
#[must_use = "a lane that is dropped is somebody else's"]
pub struct Lane {
    lanes: Arc<Lanes>,
    wants: Wants,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("wants", &self.wants).finish_non_exhaustive()
    }
}

impl Road {
    fn lanes(&self) -> u32 {
        match self.settings.adaptive {
            Adaptive::Yes => self.limit.lanes(),
            Adaptive::No => self.settings.max,
        }
    }

    fn has_room(&self, wants: Wants) -> bool {
        let lanes = self.lanes();
        // BOUND: of two lanes one is kept; of one none can be.
        let kept = (lanes / RESERVE).max(u32::from(lanes > 1));
        match wants {
            Wants::Effect => self.in_flight < lanes,
            Wants::Read => self.in_flight < lanes && self.reads < lanes.saturating_sub(kept),
        }
    }

    fn enter(&mut self, wants: Wants) {
        self.in_flight = self.in_flight.saturating_add(1);
        self.reads = self.reads.saturating_add(u32::from(wants == Wants::Read));
    }

    fn try_enter(&mut self, wants: Wants) -> bool {
        let first = match wants {
            Wants::Effect => self.effects.is_empty(),
            Wants::Read => self.effects.is_empty() && self.readers.is_empty(),
        };
        let enters = first && self.has_room(wants);
        if enters {
            self.enter(wants);
        }
        enters
    }

    fn leave(&mut self, wants: Wants) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.reads = self.reads.saturating_sub(u32::from(wants == Wants::Read));
        self.go_on();
    }

    /// Gives free lanes to those that wait: effects first.
    fn go_on(&mut self) {
        loop {
            let wants = if !self.effects.is_empty() { Wants::Effect } else { Wants::Read };
            if !self.has_room(wants) {
                break;
            }
            let Some(waiter) = self.line(wants).pop() else { break };
            self.enter(wants);
            self.granted.insert(waiter.id);
            // Whoever is gone meanwhile gives its lane back when it is dropped.
            waiter.tell.send(()).unwrap_or_default();
        }
        if self.readers.is_empty() {
            self.standing = None;
        }
    }

    fn line(&mut self, wants: Wants) -> &mut Line {
        match wants {
            Wants::Effect => &mut self.effects,
            Wants::Read => &mut self.readers,
        }
    }

    fn waiting(&self) -> usize {
        self.effects.len().saturating_add(self.readers.len())
    }

    /// A place in the line, if there is one for `agent`.
    fn join(
        &mut self,
        wants: Wants,
        agent: &Arc<str>,
        now: Duration,
    ) -> Option<(u64, oneshot::Receiver<()>)> {
        let queue = self.settings.queue;
        let own = self.line(wants).of(agent);
        // A line that does not end is no burst: it would only make everybody late. Then each agent has one
        // call in it and is told the rest at once (Maurer, Fail at Scale, ACM Queue 13(8), 2015).
        let stands = self.standing.is_some_and(|since| now.saturating_sub(since) > queue);
        let is_too_much = wants == Wants::Read && stands && own > 0;
        if queue.is_zero() || is_too_much {
            return None;
        }
        let most = WAITING_MAX.min(usize::try_from(self.settings.max).unwrap_or(WAITING_MAX));
        if self.waiting() >= most {
            let gives_way = match wants {
                Wants::Effect => self.readers.displace(0),
                Wants::Read => None,
            };
            // Within its kind, whoever has most waiting gives way to whoever has clearly less.
            gives_way.or_else(|| self.line(wants).displace(own.saturating_add(1)))?;
        }
        let (tell, told) = oneshot::channel();
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.line(wants).push(agent, Waiter { id, tell });
        if wants == Wants::Read {
            self.standing.get_or_insert(now);
        }
        Some((id, told))
    }

    fn seen(&self) -> Seen {
        Seen { in_flight: self.in_flight, lanes: self.lanes(), waiting: self.waiting() }
    }
}

impl Lanes {
    /// An empty road.
    pub fn new(settings: Settings, clock: Clock) -> Arc<Self> {
        let road = Road {
            settings,
            limit: Limit::new(settings.max),
            in_flight: 0,
            reads: 0,
            effects: Line::default(),
            readers: Line::default(),
            standing: None,
            granted: HashSet::new(),
            next: 0,
        };
        Arc::new(Self { road: Mutex::new(road), clock })
    }

    /// New settings after a reload; who is on the road stays on it.
    pub fn adjust(&self, settings: Settings) {
        let mut road = self.road.lock();
        road.settings = settings;
        road.limit.adjust(settings.max);
        road.go_on();
    }

    /// How it stands.
    pub fn seen(&self) -> Seen {
        self.road.lock().seen()
    }

    /// A lane, if one is free and nobody waits for it.
    pub fn try_enter(self: &Arc<Self>, wants: Wants) -> Result<Lane, Shed> {
        let mut road = self.road.lock();
        match road.try_enter(wants) {
            true => Ok(self.lane(wants)),
            false => Err(Shed { why: Why::Full, seen: road.seen() }),
        }
    }

    /// A lane for a call of `agent`, as soon as it is its turn.
    ///
    /// # Errors
    ///
    /// When there is none soon enough.
    pub async fn enter(self: &Arc<Self>, wants: Wants, agent: &Arc<str>) -> Result<Lane, Shed> {
        let (id, told, span) = {
            let mut road = self.road.lock();
            if road.try_enter(wants) {
                return Ok(self.lane(wants));
            }
            let seen = road.seen();
            let joined = road.join(wants, agent, self.clock.steady());
            let (id, told) = joined.ok_or(Shed { why: Why::Full, seen })?;
            let queue = road.settings.queue;
            let span = match wants {
                Wants::Read => queue,
                Wants::Effect => queue.saturating_mul(EFFECT_WAITS),
            };
            (id, told, span)
        };
        let turn = Turn { lanes: self, wants, agent, id };
        let why = match tokio::time::timeout(span, told).await {
            Ok(Ok(())) => return turn.take(),
            Ok(Err(_)) => Why::GaveWay,
            Err(_) => Why::Late,
        };
        drop(turn);
        Err(Shed { why, seen: self.seen() })
    }

    fn lane(self: &Arc<Self>, wants: Wants) -> Lane {
        Lane { lanes: Arc::clone(self), wants }
    }
}

/// A place in the line. Dropped, it is given up, and with it the lane that it was given meanwhile.
struct Turn<'l> {
    lanes: &'l Arc<Lanes>,
    wants: Wants,
    agent: &'l Arc<str>,
    id: u64,
}

impl Turn<'_> {
    fn take(self) -> Result<Lane, Shed> {
        let mut road = self.lanes.road.lock();
        let was_granted = road.granted.remove(&self.id);
        let seen = road.seen();
        drop(road);
        // INVARIANT: who is told was granted; without that there is no lane to hand out.
        match was_granted {
            true => Ok(self.lanes.lane(self.wants)),
            false => Err(Shed { why: Why::Late, seen }),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut road = self.lanes.road.lock();
        if road.granted.remove(&self.id) {
            road.leave(self.wants);
        } else if road.line(self.wants).remove(self.agent, self.id) && road.readers.is_empty() {
            road.standing = None;
        }
    }
}

impl Lane {
    /// How long the upstream took for the action in `slot`.
    pub fn saw(&self, slot: usize, health: Health, span: Duration) {
        let mut road = self.lanes.road.lock();
        if road.settings.adaptive == Adaptive::No {
            return;
        }
        let in_flight = road.in_flight;
        let is_well = health == Health::Well;
        if is_well && road.limit.saw_quiet(slot, span, in_flight) {
            return;
        }
        let now = self.lanes.clock.steady();
        road.limit.saw(Sample { slot, span, now, in_flight, is_well });
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.road.lock().leave(self.wants);
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test may fail loudly"
    )]
    use super::*;
    use crate::clock::Timestamp;
    use crate::yaml;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    /// Nobody is late: the runtime's clock stands still.
    fn lanes(max: u32) -> (Arc<Lanes>, Clock) {
        let clock = Clock::by_hand(Timestamp(0));
        let queue = Duration::from_secs(3);
        let settings = Settings { max, adaptive: Adaptive::No, queue };
        (Lanes::new(settings, clock.clone()), clock)
    }

    type Entering = BoxFuture<'static, Result<Lane, Shed>>;

    fn enter(lanes: &Arc<Lanes>, wants: Wants, agent: &str) -> Entering {
        let (lanes, agent): (_, Arc<str>) = (Arc::clone(lanes), agent.into());
        Box::pin(async move { lanes.enter(wants, &agent).await })
    }

    /// Polls once.
    fn now(entering: &mut Entering) -> Option<Result<Lane, Shed>> {
        entering.now_or_never()
    }

    fn paused() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    }

    #[test]
    fn reads_leave_a_share_to_effects_which_come_first() {
        let runtime = paused();
        let _inside = runtime.enter();
        let (lanes, _) = lanes(5);
        let mut reads: Vec<Lane> = (0..4).map(|_| lanes.try_enter(Wants::Read).unwrap()).collect();
        let shed = lanes.try_enter(Wants::Read).unwrap_err();
        assert_eq!(shed.seen, Seen { in_flight: 4, lanes: 5, waiting: 0 });
        let mut read = enter(&lanes, Wants::Read, "bot");
        assert!(now(&mut read).is_none());
        let effect = lanes.try_enter(Wants::Effect).unwrap();
        let mut waiting = enter(&lanes, Wants::Effect, "bot");
        assert!(now(&mut waiting).is_none());
        // The lane of a read goes to the effect, though the read came first.
        reads.pop();
        assert!(now(&mut read).is_none());
        let waited = now(&mut waiting).unwrap().unwrap();
        drop((effect, waited));
        assert!(now(&mut read).unwrap().is_ok());
        drop(reads);
        assert_eq!(lanes.seen(), Seen { in_flight: 0, lanes: 5, waiting: 0 });
    }

    #[test]
    fn agents_take_turns_and_who_has_most_waiting_gives_way() {
        let runtime = paused();
        let _inside = runtime.enter();
        let (lanes, _) = lanes(4);
        let held: Vec<Lane> = (0..4).map(|_| lanes.try_enter(Wants::Effect).unwrap()).collect();
        let mut loud: Vec<Entering> =
            (0..4).map(|_| enter(&lanes, Wants::Effect, "loud")).collect();
        loud.iter_mut().for_each(|one| assert!(now(one).is_none()));
        // BOUND: as many wait as there are lanes; the newest of the loud one goes.
        let mut quiet = enter(&lanes, Wants::Effect, "quiet");
        assert!(now(&mut quiet).is_none());
        assert_eq!(now(&mut loud.pop().unwrap()).unwrap().unwrap_err().why, Why::GaveWay);
        let mut more = enter(&lanes, Wants::Effect, "loud");
        assert_eq!(now(&mut more).unwrap().unwrap_err().why, Why::Full);
        // One of the loud ones, then the quiet one, though three had come before it.
        let mut held = held.into_iter();
        drop(held.next());
        let first = now(&mut loud[0]).unwrap().unwrap();
        assert!(now(&mut quiet).is_none());
        drop(held.next());
        assert!(now(&mut quiet).unwrap().is_ok());
        drop(first);
    }

    #[test]
    fn an_effect_sends_a_waiting_read_away_when_the_line_is_full() {
        let runtime = paused();
        let _inside = runtime.enter();
        let (lanes, _) = lanes(1);
        let _held = lanes.try_enter(Wants::Read).unwrap();
        let mut read = enter(&lanes, Wants::Read, "bot");
        assert!(now(&mut read).is_none());
        let mut effect = enter(&lanes, Wants::Effect, "bot");
        assert!(now(&mut effect).is_none());
        assert_eq!(now(&mut read).unwrap().unwrap_err().why, Why::GaveWay);
    }

    #[test]
    fn in_a_line_that_does_not_end_each_agent_has_one_read() {
        let runtime = paused();
        let _inside = runtime.enter();
        let (lanes, clock) = lanes(10);
        let _held: Vec<Lane> = (0..10).map(|_| lanes.try_enter(Wants::Effect).unwrap()).collect();
        let mut burst: Vec<Entering> = (0..3).map(|_| enter(&lanes, Wants::Read, "a")).collect();
        burst.iter_mut().for_each(|one| assert!(now(one).is_none()));
        clock.turn(Duration::from_millis(3_001));
        assert_eq!(now(&mut enter(&lanes, Wants::Read, "a")).unwrap().unwrap_err().why, Why::Full);
        let mut other = enter(&lanes, Wants::Read, "b");
        assert!(now(&mut other).is_none());
        assert!(now(&mut enter(&lanes, Wants::Effect, "a")).is_none(), "effects wait");
        drop((burst, other));
        let mut again = enter(&lanes, Wants::Read, "a");
        assert!(now(&mut again).is_none(), "the line had ended");
    }

    #[test]
    fn nobody_waits_for_long_and_effects_ten_times_as_long_as_reads() {
        paused().block_on(async {
            let (lanes, _) = lanes(1);
            let held = lanes.try_enter(Wants::Effect).unwrap();
            let from = tokio::time::Instant::now();
            let read = enter(&lanes, Wants::Read, "bot");
            let effect = enter(&lanes, Wants::Effect, "bot");
            let (read, effect) = tokio::join!(
                async { (read.await.unwrap_err().why, from.elapsed().as_secs()) },
                async { (effect.await.unwrap_err().why, from.elapsed().as_secs()) },
            );
            // The line holds as many as there are lanes: the read gave way at once.
            assert_eq!((read, effect), ((Why::GaveWay, 0), (Why::Late, 30)));
            assert_eq!(enter(&lanes, Wants::Read, "bot").await.unwrap_err().why, Why::Late);
            assert_eq!(from.elapsed().as_secs(), 33);
            drop(held);
            assert_eq!(lanes.seen(), Seen { in_flight: 0, lanes: 1, waiting: 0 });
        });
    }

    #[test]
    fn a_reload_widens_and_narrows_and_forgets_nobody() {
        let runtime = paused();
        let _inside = runtime.enter();
        let (lanes, _) = lanes(1);
        let held = lanes.try_enter(Wants::Effect).unwrap();
        let mut waiting = enter(&lanes, Wants::Effect, "bot");
        assert!(now(&mut waiting).is_none());
        let settings = |max| Settings { max, adaptive: Adaptive::No, ..Settings::default() };
        lanes.adjust(settings(2));
        let other = now(&mut waiting).unwrap().unwrap();
        lanes.adjust(settings(1));
        drop(held);
        assert!(lanes.try_enter(Wants::Effect).is_err(), "one is still on it");
        drop(other);
        assert!(lanes.try_enter(Wants::Effect).is_ok());
    }

    #[test]
    fn settings_are_read_and_a_fault_says_where() {
        let read = |text: &str| {
            let node = yaml::read("x.yaml", text).unwrap();
            let faults = Faults::of("x.yaml");
            let settings = Settings::read(&faults, &node, "concurrency");
            (settings, faults.into_errors().to_string())
        };
        let settings = Settings { max: 7, adaptive: Adaptive::No, queue: Duration::ZERO };
        assert_eq!(read("{ max: 7, adaptive: false, queue: 0s }"), (settings, String::new()));
        assert_eq!(read("{}"), (Settings::default(), String::new()));
        for (text, expected) in [
            ("{ max: 0 }", "expected 1 to 10000"),
            ("{ max: 10001 }", "expected 1 to 10000"),
            ("{ adaptive: maybe }", "true"),
            ("{ queue: 6s }", "expected `0s` to `5s`"),
            ("{ mxa: 3 }", "mxa"),
        ] {
            let faults = read(text).1;
            assert!(faults.starts_with("x.yaml:1:") && faults.contains(expected), "{faults}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter(Wants, usize),
        Try(Wants),
        /// Polls one that waits.
        Poll(prop::sample::Index),
        /// Drops one that waits, told or not.
        Cancel(prop::sample::Index),
        Leave(prop::sample::Index),
        Adjust(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let wants = || prop_oneof![Just(Wants::Read), Just(Wants::Effect)];
        let index = any::<prop::sample::Index>;
        prop_oneof![
            6 => (wants(), 0_usize..4).prop_map(|(wants, agent)| Step::Enter(wants, agent)),
            2 => wants().prop_map(Step::Try),
            4 => index().prop_map(Step::Poll),
            2 => index().prop_map(Step::Cancel),
            6 => index().prop_map(Step::Leave),
            1 => (1_u32..12).prop_map(Step::Adjust),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        // Never more than `max` in flight, no lane is lost by whoever goes away, no read passes while an
        // effect waits, nobody waits while there is room.
        #[test]
        fn lanes_are_never_too_many_and_never_lost(steps in prop::collection::vec(step(), 1..120)) {
            let runtime = paused();
            let _inside = runtime.enter();
            let (lanes, _) = lanes(5);
            let (mut max, mut held, mut waiting) = (5_u32, Vec::new(), Vec::new());
            for step in steps {
                let before = lanes.seen().in_flight;
                let reads = |lanes: &Lanes| lanes.road.lock().reads;
                let reads_before = reads(&lanes);
                let effect_waits = !lanes.road.lock().effects.is_empty();
                match step {
                    Step::Enter(wants, agent) => {
                        let mut entering = enter(&lanes, wants, ["a", "b", "c", "d"][agent]);
                        match now(&mut entering) {
                            Some(Ok(lane)) => held.push(lane),
                            Some(Err(_)) => {}
                            None => waiting.push(entering),
                        }
                    }
                    Step::Try(wants) => held.extend(lanes.try_enter(wants)),
                    Step::Poll(which) if !waiting.is_empty() => {
                        let at = which.index(waiting.len());
                        if let Some(done) = now(&mut waiting[at]) {
                            drop(waiting.swap_remove(at));
                            held.extend(done);
                        }
                    }
                    Step::Cancel(which) if !waiting.is_empty() => {
                        drop(waiting.swap_remove(which.index(waiting.len())));
                    }
                    Step::Leave(which) if !held.is_empty() => {
                        drop(held.swap_remove(which.index(held.len())));
                    }
                    Step::Adjust(to) => {
                        max = to;
                        let queue = Duration::from_secs(3);
                        lanes.adjust(Settings { max, adaptive: Adaptive::No, queue });
                    }
                    Step::Poll(_) | Step::Cancel(_) | Step::Leave(_) => {}
                }
                let seen = lanes.seen();
                prop_assert!(seen.in_flight <= max.max(before), "{seen:?}");
                let road = lanes.road.lock();
                prop_assert_eq!(seen.in_flight as usize, held.len() + road.granted.len());
                prop_assert!(road.effects.is_empty() || !road.has_room(Wants::Effect));
                prop_assert!(road.readers.is_empty() || !road.has_room(Wants::Read));
                if effect_waits && !road.effects.is_empty() {
                    prop_assert!(road.reads <= reads_before, "a read passed an effect that waits");
                }
            }
            drop((held, waiting));
            prop_assert_eq!(lanes.seen(), Seen { in_flight: 0, lanes: max, waiting: 0 });
            prop_assert!(lanes.road.lock().granted.is_empty());
        }
    }
}

//! How many lanes are there right now? As many as the upstream answers as fast as it usually does.
//!
//! A gradient limiter after Netflix's concurrency-limits (`Gradient2Limit`) and Envoy's adaptive
//! concurrency filter: the limit is multiplied by how much slower answers have become, and grows by its
//! square root while they have not. What is usual is learnt for every action apart, where few calls are
//! in flight: a search that takes ten times as long as a look-up is no sign of a queue. While the road
//! is full the limit dips from time to time, so that what is usual can be learnt anew.
//!
//! Own code: the crates there are (tower-acc, little-loadshedder) limit a service as a whole; none knows
//! effects from reads, agents from each other, or one action from another, and this is a hundred lines.
//!
//! Never leaves its bounds, never moves while the road is half empty. Whole numbers only.

use std::time::Duration;

/// BOUND: fewer lanes than this say nothing of how fast an upstream is, and starve whoever needs two.
const FLOOR: u32 = 8;
/// BOUND: answers of one window: fewer are chance.
const WINDOW: u64 = 25;
/// BOUND: answers that take half as long again as usual are no queue yet (Gradient2's tolerance).
const TOLERANCE: u64 = 1_500;
/// BOUND: how often what is usual is learnt anew while the road is full (Envoy: a minute).
const LEARN_EVERY: Duration = Duration::from_secs(60);
/// BOUND: a dip ends after this, however few answers came.
const DIP_MAX: Duration = Duration::from_secs(2);
/// BOUND: actions whose usual time is known, 8 bytes each.
const ACTIONS_MAX: usize = 1_024;

/// A dip that goes on.
#[derive(Debug, Clone, Copy)]
struct Dip {
    since: Duration,
    answers: u64,
}

/// The limit of one upstream.
#[derive(Debug)]
pub(super) struct Limit {
    max: u32,
    /// In thousandths of a lane.
    now: u64,
    /// Microseconds that an answer to each action usually takes; 0 where that is not known.
    usual: Vec<u64>,
    /// Of this window: how much longer answers took than usual, in thousandths; how many.
    sum: u64,
    count: u64,
    learnt: Duration,
    /// Whether something was learnt since the road was full last.
    was_quiet: bool,
    dip: Option<Dip>,
    /// When the last one ended.
    dipped: Option<Duration>,
    /// Actions that were learnt in this dip.
    fresh: Vec<usize>,
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// The action.
    pub slot: usize,
    /// How long it took.
    pub span: Duration,
    /// Of the steady clock: when it came.
    pub now: Duration,
    /// Calls that are in flight, itself included.
    pub in_flight: u32,
    /// Whether it is an answer that tells how fast the upstream works; a failure may be quick.
    pub is_well: bool,
}

impl Limit {
    pub(super) fn new(max: u32) -> Self {
        Self {
            max,
            now: thousandths(max),
            usual: Vec::new(),
            sum: 0,
            count: 0,
            learnt: Duration::ZERO,
            was_quiet: false,
            dip: None,
            dipped: None,
            fresh: Vec::new(),
        }
    }

    pub(super) fn adjust(&mut self, max: u32) {
        // What was full stays so; what was less may be right for what is there.
        let was_full = self.now >= thousandths(self.max);
        self.max = max;
        self.now = if was_full { thousandths(max) } else { self.now.min(thousandths(max)) };
    }

    /// Lanes right now.
    pub(super) fn lanes(&self) -> u32 {
        let lanes = lanes(self.now);
        match self.dip {
            None => lanes,
            // BOUND: twice its root is little enough to be no queue, and enough that work goes on.
            Some(_) => lanes.isqrt().saturating_mul(2).max(FLOOR).min(lanes),
        }
    }

    /// Learns from one answer while few calls are in flight; whether they are. It needs no clock, and is
    /// what happens to nearly every call.
    pub(super) fn saw_quiet(&mut self, slot: usize, span: Duration, in_flight: u32) -> bool {
        let is_quiet = self.dip.is_none() && in_flight.saturating_mul(4) <= lanes(self.now);
        if is_quiet {
            let usual = self.usual.get(slot).copied().unwrap_or(0);
            self.learn(slot, usual, micros(span));
            self.was_quiet = true;
        }
        is_quiet
    }

    /// Learns from one answer while the road is not empty.
    pub(super) fn saw(&mut self, sample: Sample) {
        let took = micros(sample.span);
        let usual = self.usual.get(sample.slot).copied().unwrap_or(0);
        // What fails at once says nothing of how long work takes; what fails late does.
        if !sample.is_well && (usual == 0 || took < usual) {
            return;
        }
        self.end_dip(sample.now);
        let lanes = lanes(self.now);
        if let Some(dip) = &mut self.dip {
            // Begun before the dip, it tells of a full road.
            if sample.is_well && sample.now.saturating_sub(sample.span) >= dip.since {
                dip.answers = dip.answers.saturating_add(1);
                let usual = if self.fresh.contains(&sample.slot) { usual } else { 0 };
                if usual == 0 {
                    self.fresh.push(sample.slot);
                }
                self.learn(sample.slot, usual, took);
            }
            return;
        }
        if sample.in_flight.saturating_mul(2) < lanes {
            return;
        }
        if std::mem::take(&mut self.was_quiet) {
            self.learnt = sample.now;
        }
        let is_long_ago = |at: Duration| sample.now.saturating_sub(at) >= LEARN_EVERY;
        // BOUND: never twice in that time: a dip in which nothing was answered taught nothing.
        let may_dip = self.dipped.is_none_or(is_long_ago);
        if may_dip && (usual == 0 || is_long_ago(self.learnt)) {
            self.dip = Some(Dip { since: sample.now, answers: 0 });
            self.fresh.clear();
            return;
        }
        if usual == 0 {
            // Better than nothing, until the next dip.
            return self.learn(sample.slot, 0, took);
        }
        let times = took.saturating_mul(1_000).checked_div(usual).unwrap_or(1_000);
        // BOUND: one answer that hung counts as ten that were ten times as slow.
        self.sum = self.sum.saturating_add(times.min(100_000));
        self.count = self.count.saturating_add(1);
        if self.count >= WINDOW {
            self.step();
        }
    }

    /// One window is over: the limit moves a fifth of the way to where it should be.
    fn step(&mut self) {
        let times = self.sum.checked_div(self.count).unwrap_or(1_000).max(1);
        (self.sum, self.count) = (0, 0);
        let gradient = TOLERANCE.saturating_mul(1_000).checked_div(times).unwrap_or(1_000);
        let gradient = gradient.clamp(500, 1_000);
        let headroom = thousandths(lanes(self.now).isqrt());
        let shrunk = self.now.saturating_mul(gradient) / 1_000;
        let wanted = shrunk.saturating_add(headroom);
        let moved = self.now.saturating_mul(4).saturating_add(wanted) / 5;
        self.now = moved.clamp(thousandths(FLOOR.min(self.max)), thousandths(self.max));
    }

    fn end_dip(&mut self, now: Duration) {
        let is_over = self
            .dip
            .is_some_and(|dip| dip.answers >= WINDOW || now.saturating_sub(dip.since) >= DIP_MAX);
        if is_over {
            self.dip = None;
            self.dipped = Some(now);
            self.learnt = now;
            self.fresh.clear();
        }
    }

    /// The usual time moves an eighth of the way; the first answer is the usual one.
    fn learn(&mut self, slot: usize, usual: u64, took: u64) {
        if slot >= ACTIONS_MAX {
            return;
        }
        if self.usual.len() <= slot {
            self.usual.resize(slot.saturating_add(1), 0);
        }
        if let Some(known) = self.usual.get_mut(slot) {
            *known = match usual {
                0 => took,
                usual => (usual.saturating_mul(7).saturating_add(took) / 8).max(1),
            };
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn thousandths(lanes: u32) -> u64 {
    u64::from(lanes).saturating_mul(1_000)
}

fn lanes(thousandths: u64) -> u32 {
    u32::try_from(thousandths / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test may fail loudly"
    )]
    use super::*;
    use std::collections::BTreeMap;

    /// As a lane tells it.
    fn saw(limit: &mut Limit, sample: Sample) {
        let Sample { slot, span, in_flight, is_well, .. } = sample;
        if !(is_well && limit.saw_quiet(slot, span, in_flight)) {
            limit.saw(sample);
        }
    }

    /// An upstream that works at so many calls at once; more share what there is. Agents always have
    /// another call: the road is full.
    struct World {
        limit: Limit,
        now: u64,
        /// By the microsecond in which they end: the action and how long it took.
        flying: BTreeMap<(u64, u64), (usize, u64)>,
        begun: u64,
    }

    impl World {
        fn new(max: u32) -> Self {
            Self { limit: Limit::new(max), now: 0, flying: BTreeMap::new(), begun: 0 }
        }

        /// Plays `seconds` with at most `offered` calls at once; the mean of the limit in the last half.
        fn play(&mut self, seconds: u64, offered: usize, capacity: u64) -> u64 {
            const ACTIONS: [u64; 2] = [20_000, 200_000];
            let (end, half) = (self.now + seconds * 1_000_000, self.now + seconds * 500_000);
            let (mut sum, mut count) = (0, 0);
            while self.now < end {
                while self.flying.len() < offered.min(self.limit.lanes() as usize) {
                    self.begun += 1;
                    let slot = usize::from(self.begun.is_multiple_of(3));
                    let flying = self.flying.len() as u64 + 1;
                    let took = ACTIONS[slot] * flying.max(capacity) / capacity;
                    self.flying.insert((self.now + took, self.begun), (slot, took));
                }
                let ((at, _), (slot, took)) = self.flying.pop_first().unwrap_or(((end, 0), (0, 1)));
                self.now = at;
                let span = Duration::from_micros(took);
                let in_flight = self.flying.len() as u32 + 1;
                let now = Duration::from_micros(self.now);
                saw(&mut self.limit, Sample { slot, span, now, in_flight, is_well: true });
                if self.now > half {
                    sum += u64::from(self.limit.lanes());
                    count += 1;
                }
            }
            sum / count.max(1)
        }
    }

    #[test]
    fn it_settles_near_what_the_upstream_can_do_also_when_it_begins_full() {
        let mut world = World::new(400);
        let settled = world.play(60, 1_000, 40);
        assert!((40..=100).contains(&settled), "{settled} lanes for 40 at once");
        // And stays there, though what is usual is learnt anew while the road is full.
        let later = world.play(600, 1_000, 40);
        assert!((40..=100).contains(&later), "{later} lanes after ten minutes");
    }

    #[test]
    fn it_opens_again_when_the_upstream_can_do_more() {
        let mut world = World::new(400);
        world.play(60, 1_000, 20);
        let settled = world.play(120, 1_000, 1_000);
        assert!(settled > 300, "{settled}");
    }

    #[test]
    fn it_leaves_a_road_alone_that_is_not_full_and_actions_that_are_slow_by_nature() {
        let mut world = World::new(200);
        // Ten calls at once, of which a third takes ten times as long as the others.
        assert_eq!(world.play(60, 10, 1_000), 200);
        // Full, and as fast as ever: it stays wide but for the dips.
        assert!(world.play(300, 1_000, 1_000) > 180);
    }

    #[test]
    fn an_upstream_that_is_slower_from_now_on_gets_its_lanes_back() {
        let mut limit = Limit::new(200);
        let saw = |limit: &mut Limit, now: &mut u64, took: u64| {
            *now += 5;
            let in_flight = limit.lanes();
            let (span, now) = (Duration::from_millis(took), Duration::from_millis(*now));
            super::tests::saw(limit, Sample { slot: 0, span, now, in_flight, is_well: true });
        };
        let mut now = 10_000;
        for _ in 0..1_000 {
            saw(&mut limit, &mut now, 20);
        }
        for _ in 0..2_000 {
            saw(&mut limit, &mut now, 100);
        }
        assert!(limit.lanes() < 30, "{}", limit.lanes());
        // It was no queue: with few lanes it is as slow.
        for _ in 0..30_000 {
            saw(&mut limit, &mut now, 100);
        }
        assert!(limit.lanes() > 150, "{}", limit.lanes());
    }

    #[test]
    fn calls_that_outlast_a_dip_do_not_keep_it_dipping() {
        let mut limit = Limit::new(200);
        let mut narrow = 0;
        for tick in 0..20_000_u64 {
            let (span, now) = (Duration::from_secs(5), Duration::from_millis(10_000 + tick * 25));
            let in_flight = limit.lanes().max(100);
            saw(&mut limit, Sample { slot: 0, span, now, in_flight, is_well: true });
            narrow += u64::from(limit.lanes() < 150);
        }
        // Two seconds of each minute.
        assert!((300..1_000).contains(&narrow), "{narrow} of 20000");
    }

    #[test]
    fn quick_failures_teach_nothing_and_late_ones_narrow_it() {
        let mut limit = Limit::new(100);
        let mut saw = |took, in_flight, is_well, times| {
            for _ in 0..times {
                let (span, now) = (Duration::from_millis(took), Duration::from_secs(1));
                super::tests::saw(&mut limit, Sample { slot: 0, span, now, in_flight, is_well });
            }
            limit.lanes()
        };
        saw(50, 1, true, 20);
        assert_eq!(saw(1, 100, false, 1_000), 100);
        assert!(saw(30_000, 100, false, 500) < 30);
    }

    #[test]
    fn it_never_leaves_its_bounds() {
        for max in [1, 3, 8, 9, 1_000] {
            let mut world = World::new(max);
            for capacity in [1, 10, 10_000] {
                world.play(20, 5_000, capacity);
                assert!((1..=max).contains(&world.limit.lanes()), "{max} {capacity}");
                assert!(world.limit.lanes() >= max.min(FLOOR));
            }
            world.limit.adjust(2);
            assert!(world.limit.lanes() <= 2);
        }
        let mut limit = Limit::new(10);
        limit.adjust(100);
        assert_eq!(limit.lanes(), 100);
    }
}

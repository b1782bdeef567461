//! Does an agent go round in circles? How many calls one case or one conversation made, and what they cost.
//!
//! Counted in this process, reads too: it costs no round trip to a store, and is not shared by replicas.
//! Never looser than its bound in any window: a slice of a window counts until all of it has left. Never
//! forgets one that is counted to make room for one that is new.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::call::{Call, Caller};
use crate::clock::Clock;
use crate::limits::bound::{Bound, LoopPer};
use crate::money::{Currency, Price};
use crate::refusal::Refusal;
use crate::value::piece;

/// BOUND: cases and conversations that are counted, 150 bytes each, 500 at worst: 15 to 50 MB.
const KEYS_MAX: usize = 100_000;
/// BOUND: past so many, new ones count as those that name none: the rest is kept for these.
const NAMED_MAX: usize = 90_000;
/// BOUND: of one tenant's agent, which names as many as it likes: whoever floods takes no place of the others.
const NAMED_EACH_MAX: usize = NAMED_MAX / 10;
/// BOUND: a window counts in so many slices, so one counts a twentieth longer at most.
const SLICES: u64 = 20;
/// BOUND: a full map is searched for what has left its window at most this often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The bounds of one configuration.
#[derive(Debug)]
pub struct Loops {
    bounds: Vec<Bound>,
    cells: Arc<Mutex<Cells>>,
    clock: Clock,
}

/// One that came to where operators are told, or to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The bound's name.
    pub bound: Box<str>,
    /// Whose it is.
    pub per: LoopPer,
    /// How much is used, in words.
    pub used: String,
    /// Of how much.
    pub room: String,
    /// In which time.
    pub within: Duration,
}

/// Why a call takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop<E> {
    /// Its case or conversation is at its end.
    Ended {
        /// Which, and how far.
        reached: Box<Reached>,
        /// Whether that was said in this window already.
        said: bool,
        /// What the agent is told.
        refusal: Box<Refusal>,
    },
    /// As many are counted as can be; whoever is new waits.
    Crowded(Box<Refusal>),
    /// Something else has no room.
    Other(E),
}

/// What survives a reload.
struct Cells {
    cells: HashMap<Box<[u8]>, Cell>,
    /// How many of these each agent named.
    named: HashMap<u64, usize>,
    /// SECURITY: keyed, since names of tenants and agents are hashed.
    hasher: RandomState,
    swept: Option<Duration>,
    scratch: Vec<u8>,
}

/// What one case or conversation used of one unit. Moments are nanoseconds of the steady clock.
#[derive(Debug, Default)]
struct Cell {
    /// When each slice ends, and what was used in it; the oldest first.
    slices: SmallVec<[(u64, i64); 2]>,
    /// Nothing of it counts after.
    gone: u64,
    /// Which agent named it; nobody, where a call names none.
    named_by: Option<u64>,
    /// Until when operators have heard that it is near.
    near_said: Option<u64>,
    /// Until when they have heard that it is at its end.
    end_said: Option<u64>,
}

/// Where a call counts.
struct Place {
    key: Range<usize>,
    named_by: Option<u64>,
}

/// What a call would take of one cell.
struct Staged {
    place: Place,
    bound: usize,
    unit: Option<Currency>,
    takes: i64,
    is_near: bool,
}

/// Whether a call is to take what it is found room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Taking,
    Only,
}

/// BOUND: a call takes of each bound once in calls and once in money; more than four bounds are rare.
type AllStaged = SmallVec<[Staged; 8]>;

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("keys", &self.cells.len()).finish_non_exhaustive()
    }
}

/// A call, as loops count it.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What.
    pub call: &'a Call,
    /// Who.
    pub caller: &'a Caller,
    /// What it costs.
    pub price: Option<Price>,
}

impl Loops {
    /// These bounds; what `before` counted goes on under the same names.
    pub fn new(bounds: Vec<Bound>, clock: Clock, before: Option<&Self>) -> Self {
        let fresh = || Arc::new(Mutex::new(Cells::new()));
        let cells = before.map_or_else(fresh, |old| Arc::clone(&old.cells));
        Self { bounds, cells, clock }
    }

    /// Takes one call's room from every bound and what `then` takes, or nothing of either. Gives what came
    /// to where operators are told.
    ///
    /// # Errors
    ///
    /// `budget_exhausted` where a case or a conversation is at its end; what `then` says.
    pub fn take<T, E>(
        &self,
        step: &Step<'_>,
        then: impl FnOnce() -> Result<T, E>,
    ) -> Result<(T, Vec<Reached>), Stop<E>> {
        if self.bounds.is_empty() {
            return then().map(|taken| (taken, Vec::new())).map_err(Stop::Other);
        }
        let now = self.clock.steady();
        let mut cells = self.cells.lock();
        let mut scratch = std::mem::take(&mut cells.scratch);
        scratch.clear();
        let staged = self.stage::<E>(step, (&mut cells, &mut scratch), (now, Look::Taking));
        let result = match staged {
            Err(stop) => Err(stop),
            // One lock after the other, always in this order.
            Ok(staged) => match then() {
                Err(other) => Err(Stop::Other(other)),
                Ok(taken) => Ok((taken, self.keep(&staged, (&mut cells, &scratch), now))),
            },
        };
        cells.scratch = scratch;
        result
    }

    /// Whether there is room for a call now; nothing is taken.
    pub fn has_room(&self, step: &Step<'_>) -> bool {
        if self.bounds.is_empty() {
            return true;
        }
        let (mut cells, mut scratch) = (self.cells.lock(), Vec::new());
        let look = (self.clock.steady(), Look::Only);
        self.stage::<()>(step, (&mut cells, &mut scratch), look).is_ok()
    }

    /// How many cases and conversations are remembered.
    pub fn keys(&self) -> usize {
        self.cells.lock().cells.len()
    }

    fn stage<E>(
        &self,
        step: &Step<'_>,
        (cells, scratch): (&mut Cells, &mut Vec<u8>),
        (now, look): (Duration, Look),
    ) -> Result<AllStaged, Stop<E>> {
        let mut staged = AllStaged::new();
        let mut new = 0_usize;
        for (index, bound) in self.bounds.iter().enumerate() {
            for (unit, takes, room) in bound.units(step.price) {
                let Some(place) = cells.place(bound, unit, (step, scratch), (new, now)) else {
                    return Err(full(bound));
                };
                let key = scratch.get(place.key.clone());
                let cell = key.and_then(|key| cells.cells.get_mut(key));
                new = new.saturating_add(usize::from(cell.is_none()));
                let before = cell.as_ref().map_or(0, |cell| cell.used(bound.within, now));
                let used = before.saturating_add(takes);
                if room.is_none_or(|room| used > room) {
                    return Err(self.ended(bound, (unit, takes, room), cell, (now, look)));
                }
                let near = bound.near(room).is_some_and(|near| before < near && near <= used);
                let said = cell.is_some_and(|cell| cell.near_said.is_some_and(|u| nanos(now) <= u));
                staged.push(Staged { place, bound: index, unit, takes, is_near: near && !said });
            }
        }
        Ok(staged)
    }

    fn keep(
        &self,
        staged: &AllStaged,
        (cells, scratch): (&mut Cells, &[u8]),
        now: Duration,
    ) -> Vec<Reached> {
        let mut reached = Vec::new();
        for one in staged {
            let (Some(bound), Some(key)) =
                (self.bounds.get(one.bound), scratch.get(one.place.key.clone()))
            else {
                continue;
            };
            let Some(cell) = cells.known_or_new(key, one.place.named_by) else { continue };
            cell.take(one.takes, bound.within, now);
            if one.is_near {
                cell.near_said = Some(nanos(now).saturating_add(span(bound.within)));
                let used = cell.used(bound.within, now);
                reached.push(bound.reached(one.unit, used, bound.room(one.unit)));
            }
        }
        reached
    }

    fn ended<E>(
        &self,
        bound: &Bound,
        (unit, takes, room): (Option<Currency>, i64, Option<i64>),
        cell: Option<&mut Cell>,
        (now, look): (Duration, Look),
    ) -> Stop<E> {
        let used = cell.as_ref().map_or(0, |cell| cell.used(bound.within, now));
        let (mut said, mut until) = (false, None);
        if let Some(cell) = cell {
            said = cell.end_said.is_some_and(|until| nanos(now) <= until);
            // Who only looks tells nobody.
            if !said && look == Look::Taking {
                cell.end_said = Some(nanos(now).saturating_add(span(bound.within)));
            }
            let excess = room.map(|room| used.saturating_add(takes).saturating_sub(room));
            let wait = excess.and_then(|excess| cell.frees(excess, bound.within, now));
            until = wait.map(|wait| self.clock.now().plus(wait));
        }
        let reached = Box::new(bound.reached(unit, used, room));
        let whose = match bound.per {
            LoopPer::Case => "in this case",
            LoopPer::Trace => "in this conversation",
        };
        let why = format!("{} of {} in the loop bound {}", reached.used, reached.room, bound.name);
        let refusal = Box::new(Refusal::loop_ended(whose, until).because(why));
        Stop::Ended { reached, said, refusal }
    }
}

/// Whoever is new waits; nobody who is counted is forgotten.
fn full<E>(bound: &Bound) -> Stop<E> {
    let why = format!("the loop bound {} counts as many as it can", bound.name);
    Stop::Crowded(Box::new(Refusal::undecidable(why)))
}

impl Bound {
    /// What a call takes in each unit, of how much; no room at all in a currency that is not listed.
    fn units(
        &self,
        price: Option<Price>,
    ) -> impl Iterator<Item = (Option<Currency>, i64, Option<i64>)> {
        let calls = self.calls.map(|calls| (None, 1, i64::try_from(calls).ok()));
        let price = price.filter(|price| price.micro > 0 && !self.cost.is_empty());
        let cost = price.map(|price| {
            let unit = Some(price.currency);
            (unit, price.micro, self.room(unit))
        });
        calls.into_iter().chain(cost)
    }

    fn room(&self, unit: Option<Currency>) -> Option<i64> {
        match unit {
            None => self.calls.and_then(|calls| i64::try_from(calls).ok()),
            Some(currency) => {
                self.cost.iter().find(|cost| cost.currency == currency).map(|cost| cost.micro)
            }
        }
    }

    /// From how much on operators are told, rounded up.
    fn near(&self, room: Option<i64>) -> Option<i64> {
        let share = i128::from(room?).checked_mul(i128::from(self.alert?))?;
        let least = share.saturating_add(99).checked_div(100)?;
        i64::try_from(least).ok().map(|least| least.max(1))
    }

    fn reached(&self, unit: Option<Currency>, used: i64, room: Option<i64>) -> Reached {
        let words = |count: i64| match unit {
            None => format!("{count} calls"),
            Some(currency) => Price { micro: count, currency }.to_string(),
        };
        let room = room.map_or_else(|| "nothing in that currency".to_owned(), words);
        let (bound, per, within) = (self.name.clone(), self.per, self.within);
        Reached { bound, per, used: words(used), room, within }
    }

    /// SECURITY: every part is length-prefixed, and one that names none is another than any that does: who
    /// leaves the header out, or writes it so that it is none, counts as one with all that do.
    fn key(&self, unit: Option<Currency>, (step, named): (&Step<'_>, bool), out: &mut Vec<u8>) {
        piece(out, b'l', self.name.as_bytes());
        piece(out, b'u', unit.as_ref().map_or("", Currency::code).as_bytes());
        let (caller, name) = (step.caller, self.name_in(step));
        piece(out, b't', caller.tenant.as_bytes());
        piece(out, b'a', caller.agent.as_bytes());
        let customer = caller.customer.as_deref().unwrap_or_default();
        match name.filter(|_| named) {
            Some(name) => {
                if self.per == LoopPer::Case {
                    piece(out, b'c', customer.as_bytes());
                }
                piece(out, b'n', name.as_bytes());
            }
            None => piece(out, b'o', customer.as_bytes()),
        }
    }
}

impl Bound {
    /// What a call says that it belongs to.
    fn name_in<'a>(&self, step: &Step<'a>) -> Option<&'a str> {
        let context = &step.call.context;
        match self.per {
            LoopPer::Case => context.case.as_deref(),
            LoopPer::Trace => context.trace_id.as_deref(),
        }
    }
}

impl Cells {
    fn new() -> Self {
        let (cells, named, scratch) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { cells, named, hasher: RandomState::new(), swept: None, scratch }
    }

    /// Where a call counts, and its key in `scratch`: under what it names, or, where there are too many of
    /// these, as one that names none; nowhere when all places are taken.
    fn place(
        &mut self,
        bound: &Bound,
        unit: Option<Currency>,
        (step, scratch): (&Step<'_>, &mut Vec<u8>),
        (new, now): (usize, Duration),
    ) -> Option<Place> {
        for named in [true, false] {
            let begin = scratch.len();
            bound.key(unit, (step, named), scratch);
            let key = begin..scratch.len();
            if scratch.get(key.clone()).is_some_and(|key| self.cells.contains_key(key)) {
                return Some(Place { key, named_by: None });
            }
            let named_by =
                (named && bound.name_in(step).is_some()).then(|| self.agent(step.caller));
            if self.has_room_for(new.saturating_add(1), named_by, now) {
                return Some(Place { key, named_by });
            }
        }
        None
    }

    fn agent(&self, caller: &Caller) -> u64 {
        self.hasher.hash_one((&*caller.tenant, &*caller.agent))
    }

    fn has_room_for(&mut self, new: usize, named_by: Option<u64>, now: Duration) -> bool {
        let long_ago = |swept: Duration| now.saturating_sub(swept) >= SWEEP_EVERY;
        if !self.fits(new, named_by) && self.swept.is_none_or(long_ago) {
            self.swept = Some(now);
            // What counts for nothing any more is as good as new.
            self.cells.retain(|_, cell| cell.gone >= nanos(now));
            self.named.clear();
            for agent in self.cells.values().filter_map(|cell| cell.named_by) {
                count(&mut self.named, agent);
            }
        }
        self.fits(new, named_by)
    }

    fn fits(&self, new: usize, named_by: Option<u64>) -> bool {
        let all = self.cells.len().saturating_add(new);
        match named_by {
            Some(agent) => {
                let own = self.named.get(&agent).copied().unwrap_or(0).saturating_add(new);
                all <= NAMED_MAX && own <= NAMED_EACH_MAX
            }
            None => all <= KEYS_MAX,
        }
    }

    fn known_or_new(&mut self, key: &[u8], named_by: Option<u64>) -> Option<&mut Cell> {
        if !self.cells.contains_key(key) {
            self.cells.insert(key.into(), Cell { named_by, ..Cell::default() });
            named_by.into_iter().for_each(|agent| count(&mut self.named, agent));
        }
        self.cells.get_mut(key)
    }
}

fn count(named: &mut HashMap<u64, usize>, agent: u64) {
    let own = named.entry(agent).or_default();
    *own = own.saturating_add(1);
}

impl Cell {
    /// What counts in a window that ends now, the edge included.
    fn used(&self, within: Duration, now: Duration) -> i64 {
        let edge = nanos(now).saturating_sub(span(within));
        let counts = self.slices.iter().filter(|(end, _)| *end >= edge);
        counts.map(|(_, used)| *used).fold(0, i64::saturating_add)
    }

    fn take(&mut self, takes: i64, within: Duration, now: Duration) {
        let (now, within) = (nanos(now), span(within));
        let edge = now.saturating_sub(within);
        self.slices.retain(|(end, _)| *end >= edge);
        // A slice ends later than everything in it.
        let width = within.checked_div(SLICES).unwrap_or(1).max(1);
        let end = now.checked_div(width).unwrap_or(0).saturating_add(1).saturating_mul(width);
        match self.slices.last_mut().filter(|(last, _)| *last >= end) {
            Some((_, used)) => *used = used.saturating_add(takes),
            None => self.slices.push((end, takes)),
        }
        self.gone = self.gone.max(end.saturating_add(within));
    }

    /// How long until so much of it has left the window; `None` when waiting never helps.
    fn frees(&self, excess: i64, within: Duration, now: Duration) -> Option<Duration> {
        let edge = nanos(now).saturating_sub(span(within));
        let mut left = excess;
        let mut counting = self.slices.iter().filter(|(end, _)| *end >= edge);
        let (end, _) = counting.find(|(_, used)| {
            left = left.saturating_sub(*used);
            left <= 0
        })?;
        let gone = end.saturating_add(span(within)).saturating_add(1);
        Some(Duration::from_nanos(gone.saturating_sub(nanos(now))))
    }
}

fn nanos(now: Duration) -> u64 {
    span(now)
}

/// BOUND: 584 years.
fn span(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::panic,
        clippy::arithmetic_side_effects,
        reason = "a test may fail loudly"
    )]
    use proptest::prelude::*;

    use super::*;
    use crate::action::Owner;
    use crate::call::{Class, sample};
    use crate::clock::Timestamp;
    use crate::limits::bound::read;
    use crate::refusal::Code;
    use crate::yaml::{self, Faults};

    fn bounds(text: &str) -> Result<Vec<Bound>, Vec<String>> {
        let node = yaml::read("x.yaml", text).unwrap();
        let faults = Faults::of("x.yaml");
        let bounds = read(&faults, &node, "loops");
        faults.finish(Some(bounds)).map_err(|e| e.0.iter().map(ToString::to_string).collect())
    }

    fn loops(text: &str, clock: &Clock) -> Loops {
        Loops::new(bounds(text).unwrap(), clock.clone(), None)
    }

    fn clock() -> Clock {
        Clock::by_hand(Timestamp(1_772_366_400_000))
    }

    fn call(case: Option<&str>) -> Call {
        let mut call =
            sample::call(sample::action("shop.order.retrieve", Class::Read, Owner::Public));
        call.context.case = case.map(Into::into);
        call
    }

    /// What one call gets, and whether operators were told.
    fn take(loops: &Loops, call: &Call, price: Option<Price>) -> Result<usize, Stop<()>> {
        take_as("bot", loops, call, price)
    }

    fn take_as(
        agent: &str,
        loops: &Loops,
        call: &Call,
        price: Option<Price>,
    ) -> Result<usize, Stop<()>> {
        let caller = sample::caller(agent, Some("ann"));
        let step = Step { call, caller: &caller, price };
        loops.take(&step, || Ok::<_, ()>(())).map(|((), reached)| reached.len())
    }

    fn ends(stop: Stop<()>) -> (bool, Option<Duration>) {
        match stop {
            Stop::Ended { said, refusal, .. } => {
                assert_eq!(refusal.code, Code::BudgetExhausted);
                (said, refusal.retry_after)
            }
            stop @ (Stop::Crowded(_) | Stop::Other(())) => panic!("{stop:?}"),
        }
    }

    proptest! {
        // No window of the true history ever holds more than the bound, and one that asks late enough gets in.
        #[test]
        fn no_window_holds_more_than_the_bound(
            gaps in proptest::collection::vec(prop_oneof![0..3_u64, 0..400_u64, 3_000..4_000_u64], 1..200),
            most in 1..20_u64,
        ) {
            let (clock, window) = (clock(), 1_000_u64);
            let loops = loops(&format!("[{{ name: x, per: case, calls: {most}, within: 1000s }}]"), &clock);
            let call = call(Some("c"));
            let (mut now, mut passed): (u64, Vec<u64>) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                clock.turn(Duration::from_secs(gap));
                let inside = passed.iter().filter(|at| **at + window >= now).count();
                // A slice, a twentieth of the window, counts until all of it has left.
                let near = passed.iter().filter(|at| **at + window + window / SLICES + 1 >= now).count();
                match take(&loops, &call, None) {
                    Ok(_) => {
                        prop_assert!(u64::try_from(inside).unwrap() < most, "{inside} at {now}");
                        passed.push(now);
                    }
                    Err(_) => prop_assert!(u64::try_from(near).unwrap() >= most, "{near} at {now}"),
                }
            }
        }
    }

    #[test]
    fn operators_are_told_once_in_a_window_and_once_at_the_end() {
        let clock = clock();
        let loops = loops("[{ name: x, per: case, calls: 4, within: 1h, alert: 50% }]", &clock);
        let call = call(Some("c"));
        let told: Vec<_> = (0..4).map(|_| take(&loops, &call, None).unwrap()).collect();
        assert_eq!(told, [0, 1, 0, 0]);
        assert!(!ends(take(&loops, &call, None).unwrap_err()).0);
        assert!(ends(take(&loops, &call, None).unwrap_err()).0);
        // A window later all is as new.
        clock.turn(Duration::from_secs(2 * 3600));
        let told: Vec<_> = (0..4).map(|_| take(&loops, &call, None).unwrap()).collect();
        assert_eq!(told, [0, 1, 0, 0]);
        assert!(!ends(take(&loops, &call, None).unwrap_err()).0);
    }

    // An effect is looked at before its facts are read, and takes later.
    #[test]
    fn who_only_looked_has_not_told_of_the_end() {
        let clock = clock();
        let loops = loops("[{ name: x, per: case, calls: 1, within: 1h }]", &clock);
        let (call, caller) = (call(Some("c")), sample::caller("bot", Some("ann")));
        take(&loops, &call, None).unwrap();
        assert!(!loops.has_room(&Step { call: &call, caller: &caller, price: None }));
        assert!(!ends(take(&loops, &call, None).unwrap_err()).0, "nobody has heard of it");
        assert!(!loops.has_room(&Step { call: &call, caller: &caller, price: None }));
        assert!(ends(take(&loops, &call, None).unwrap_err()).0);
    }

    #[test]
    fn money_is_counted_in_each_currency_and_exactly() {
        let clock = clock();
        let text = "[{ name: x, per: case, cost: [0.01 USD, 1 JPY], within: 1h }]";
        let loops = loops(text, &clock);
        let price = |text: &str| Some(Price::parse(text).unwrap());
        let call = call(Some("c"));
        for _ in 0..3 {
            assert!(take(&loops, &call, price("0.003333 USD")).is_ok());
        }
        assert!(take(&loops, &call, price("0.000002 USD")).is_err());
        assert!(take(&loops, &call, price("0.000001 USD")).is_ok());
        assert!(take(&loops, &call, price("1 JPY")).is_ok());
        assert!(take(&loops, &call, price("0.000001 JPY")).is_err());
        // Not listed: nothing of it fits. Nothing at all always does.
        assert!(take(&loops, &call, price("0.000001 EUR")).is_err());
        assert!(take(&loops, &call, price("0 EUR")).is_ok());
        assert!(take(&loops, &call, None).is_ok());
    }

    #[test]
    fn all_or_none() {
        let clock = clock();
        let text = "[{ name: a, per: case, calls: 2, within: 1h }, { name: b, per: trace, calls: 1, within: 1h }]";
        let loops = loops(text, &clock);
        let caller = sample::caller("bot", Some("ann"));
        let call = call(Some("c"));
        let step = Step { call: &call, caller: &caller, price: None };
        let no = || Err::<(), _>("no");
        assert!(matches!(loops.take(&step, no), Err(Stop::Other("no"))));
        assert_eq!(loops.keys(), 0, "what another stage refused took something");
        assert!(take(&loops, &call, None).is_ok());
        // The trace has no room: the case keeps its second.
        assert!(take(&loops, &call, None).is_err());
        let mut other = call.clone();
        other.context.trace_id = Some("t".into());
        assert!(take(&loops, &other, None).is_ok());
        other.context.trace_id = Some("u".into());
        assert!(take(&loops, &other, None).is_err());
        assert!(!loops.has_room(&Step { call: &other, ..step }));
    }

    #[test]
    fn a_reload_forgets_nothing() {
        let clock = clock();
        let text = "[{ name: x, per: case, calls: 2, within: 1h }]";
        let before = loops(text, &clock);
        let call = call(None);
        assert!(take(&before, &call, None).is_ok());
        let after = Loops::new(bounds(text).unwrap(), clock.clone(), Some(&before));
        assert!(take(&after, &call, None).is_ok());
        assert!(take(&after, &call, None).is_err());
        // A call that began before the reload counts with the others.
        assert!(take(&before, &call, None).is_err());
    }

    #[test]
    fn the_map_is_bounded_and_who_is_new_then_counts_as_one_that_names_none() {
        let clock = clock();
        let loops = loops("[{ name: x, per: case, calls: 2, within: 1h }]", &clock);
        for n in 0..NAMED_MAX {
            let agent = if n < 5 { "bot".to_owned() } else { format!("bot-{}", n % 11) };
            assert!(take_as(&agent, &loops, &call(Some(&n.to_string())), None).is_ok());
        }
        assert!(take(&loops, &call(Some("3")), None).is_ok(), "one that is known counts on");
        assert!(take(&loops, &call(Some("3")), None).is_err());
        // Two new cases share the room of those that name none, whoever else names none.
        assert!(take(&loops, &call(Some("new")), None).is_ok());
        assert!(take(&loops, &call(Some("newer")), None).is_ok());
        assert!(take(&loops, &call(Some("newest")), None).is_err());
        assert!(take(&loops, &call(None), None).is_err());
        assert_eq!(loops.keys(), NAMED_MAX + 1);
        let price = None;
        for n in 0..KEYS_MAX - NAMED_MAX - 1 {
            let (call, caller) = (call(None), sample::caller(&format!("one-{n}"), None));
            assert!(
                loops
                    .take(&Step { call: &call, caller: &caller, price }, || Ok::<_, ()>(()))
                    .is_ok()
            );
        }
        let (late, caller) = (call(None), sample::caller("late", None));
        let step = Step { call: &late, caller: &caller, price };
        let tried = || loops.take(&step, || Ok::<_, ()>(()));
        assert!(matches!(tried(), Err(Stop::Crowded(_))), "a full map let one in");
        assert_eq!(loops.keys(), KEYS_MAX);
        clock.turn(Duration::from_secs(2 * 3600));
        assert!(tried().is_ok());
        assert_eq!(loops.keys(), 1);
    }

    #[test]
    fn an_agent_that_names_ever_more_takes_no_place_of_the_others() {
        let clock = clock();
        let loops = loops("[{ name: x, per: case, calls: 2, within: 1h }]", &clock);
        let ask = |agent: &str, case: &str| take_as(agent, &loops, &call(Some(case)), None);
        for n in 0..NAMED_EACH_MAX {
            assert!(ask("flood", &n.to_string()).is_ok());
        }
        // Its new ones count as one, its old ones as before, and nobody else notices.
        for (case, is_ok) in [("new", true), ("newer", true), ("newest", false), ("7", true)] {
            assert_eq!(ask("flood", case).is_ok(), is_ok, "{case}");
        }
        for n in 0..3 {
            assert!(ask("bot", &n.to_string()).is_ok());
        }
        assert_eq!(loops.keys(), NAMED_EACH_MAX + 1 + 3);
        // What has left its window takes no place any more.
        clock.turn(Duration::from_secs(2 * 3600));
        for n in 0..3 {
            assert!(ask("flood", &format!("later-{n}")).is_ok());
        }
        assert_eq!(loops.keys(), 3);
    }

    #[test]
    fn twenty_threads_take_exactly_what_there_is() {
        let loops = loops("[{ name: x, per: case, calls: 100, within: 1h }]", &clock());
        let passed = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let call = call(Some("c"));
                    for _ in 0..50 {
                        let ok = take(&loops, &call, None).is_ok();
                        passed.fetch_add(usize::from(ok), std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 100);
    }

    #[test]
    fn faults_say_where_and_what() {
        let good = "[{ name: x, per: trace, calls: 3, cost: [2.00 USD, 300 JPY], within: 1h, alert: 80% }]";
        let bound = bounds(good).unwrap().remove(0);
        assert_eq!((bound.calls, bound.alert, bound.within.as_secs()), (Some(3), Some(80), 3600));
        assert_eq!(bound.cost.iter().map(|cost| cost.micro).sum::<i64>(), 302_000_000);
        for (text, words) in [
            ("[{ name: x, per: agent, calls: 3, within: 1h }]", "expected `case` or `trace`"),
            ("[{ name: x, per: case, within: 1h }]", "expected `calls`, `cost`, or both"),
            ("[{ name: x, per: case, calls: 0, within: 1h }]", "one call at least"),
            ("[{ name: x, per: case, cost: [0 USD], within: 1h }]", "bounds nothing"),
            ("[{ name: x, per: case, cost: [-1.00 USD], within: 1h }]", "bounds nothing"),
            ("[{ name: x, per: case, calls: 3, within: 32d }]", "31d at most"),
            ("[{ name: x, per: case, calls: 3, within: 0s }]", "more than no time"),
            ("[{ name: x, per: case, calls: 3, within: 1h, alert: 100% }]", "from `1%` to `99%`"),
            ("[{ name: x, per: case, calls: 3, within: 1h, alert: 0.8 }]", "from `1%` to `99%`"),
            ("[{ name: x, per: case, calls: 3, within: 1h, burst: 3 }]", "is not a key here"),
            ("{}", "expected a list of loop bounds"),
            (
                "[{ name: x, per: case, calls: 3, within: 1h }, { name: x, per: trace, calls: 3, within: 1h }]",
                "stands here twice",
            ),
        ] {
            let faults = bounds(text).unwrap_err();
            assert!(faults.iter().any(|f| f.contains(words)), "{text}: {faults:?}");
        }
    }
}

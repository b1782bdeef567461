//! Are these too many calls? Local rates, several at once, taken from all or from none.
//!
//! Never waits, never forgets a caller that is not idle, and never holds more keys than its bound.
//! governor computes; the state is ours, because its own stores can neither give back what another
//! rate refused, nor be bounded.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::cells::{Cells, Next, SWEEP_EVERY, Seen, Wants};
use super::counted::Counted;
use super::lease::{Leftovers, Wish};
use super::rule::{Asked, Rule, Way};
use crate::call::{Call, Caller};
use crate::clock::Clock;
use crate::refusal::{RateFields, Refusal, seconds};
use crate::store::{Lent, RateUse};

/// The rates of one configuration.
#[derive(Debug)]
pub struct Rates {
    rules: Vec<Counted>,
    cells: Arc<Mutex<Cells>>,
    news: Arc<News>,
    clock: Clock,
}

/// What was taken, told by the rate with the least room; `None` when no rate applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken(Option<Room>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    rule: usize,
    remaining: u32,
    full_in: Duration,
}

/// Why a call has no room.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "refused is what many are in a flood: no allocation for it"
)]
pub enum NoRoom {
    /// There is none; this is what it is told.
    Full(Refusal),
    /// The store is being asked: [`Rates::heard`] tells when it has answered.
    Asked,
}

enum Short {
    Full(Full),
    Asked(Wants),
}

/// Who waits for whom.
#[derive(Debug, Default)]
struct News {
    /// The store is to be asked.
    wants: Notify,
    /// It has answered.
    heard: Notify,
}

impl Rates {
    /// These rules; what `before` counted goes on under the same names.
    pub fn new(rules: Vec<Rule>, clock: Clock, before: Option<&Self>) -> Self {
        let cells = before
            .map_or_else(|| Arc::new(Mutex::new(Cells::new())), |rates| Arc::clone(&rates.cells));
        let news = before.map_or_else(Arc::default, |rates| Arc::clone(&rates.news));
        // governor counts from the moment that a limiter is made; all of ours count from the clock's zero.
        let held = cells.lock();
        held.dial.zero();
        let rules = rules.into_iter().map(|rule| Counted::new(rule, held.dial.clone())).collect();
        drop(held);
        Self { rules, cells, news, clock }
    }

    /// With others: what a fleet counts is borrowed from the store, not counted here.
    #[must_use]
    pub fn borrowing(mut self) -> Self {
        let held = self.cells.lock();
        held.dial.zero();
        self.rules.iter_mut().for_each(|counted| counted.borrow(&held.dial));
        drop(held);
        self
    }

    /// Takes one call's room from every rate that applies, or from none.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: `rate_limited`, for as long as the slowest of them needs, or the store is being asked.
    pub fn take(&self, call: &Call, caller: &Caller) -> Result<Taken, NoRoom> {
        if self.rules.is_empty() {
            return Ok(Taken::default());
        }
        let now = self.clock.steady();
        let mut cells = self.cells.lock();
        let mut scratch = std::mem::take(&mut cells.scratch);
        let result = self.take_locked(&mut cells, &mut scratch, now, &Asked { call, caller });
        cells.scratch = scratch;
        drop(cells);
        match result {
            Ok((least, wants)) => {
                self.want(wants);
                Ok(Taken(least))
            }
            Err(Short::Full(full)) => Err(NoRoom::Full(self.refusal(full))),
            Err(Short::Asked(wants)) => {
                self.want(wants);
                Err(NoRoom::Asked)
            }
        }
    }

    /// What an effect takes from the rates that the store counts with its reservation.
    pub fn shared(&self, call: &Call, caller: &Caller) -> Vec<RateUse> {
        let asked = Asked { call, caller };
        let shared = self.rules.iter().filter(|counted| {
            counted.rule.way() == Way::Reserved && counted.rule.names(call.class)
        });
        shared.map(|counted| counted.shared(&asked)).collect()
    }

    /// What a call past a rate that the store counts is told.
    pub fn shared_refusal(&self, name: &str, wait: Duration) -> Refusal {
        match self.rules.iter().position(|counted| *counted.rule.name == *name) {
            Some(rule) => self.refusal(Full { rule, wait }),
            None => Refusal::undecidable(format!("the rate `{name}` is not configured any more")),
        }
    }

    /// Whether there is room for a call now; nothing is taken.
    pub fn has_room(&self, call: &Call, caller: &Caller) -> bool {
        let (mut cells, mut key) = (self.cells.lock(), Vec::new());
        let now = self.clock.steady();
        cells.set(now);
        self.rules.iter().filter(|counted| counted.applies(call.class)).all(|counted| {
            key.clear();
            counted.rule.key(&Asked { call, caller }, &mut key);
            matches!(counted.look(&mut cells, &key, now), Seen::Room(..))
        })
    }

    fn take_locked(
        &self,
        cells: &mut Cells,
        scratch: &mut Vec<u8>,
        now: Duration,
        asked: &Asked<'_>,
    ) -> Result<(Option<Room>, Wants), Short> {
        cells.set(now);
        scratch.clear();
        let mut staged: SmallVec<[(Range<usize>, Next); 8]> = SmallVec::new();
        let (mut least, mut full): (Option<Room>, Option<Full>) = (None, None);
        let (mut new, mut is_asked) = (0_usize, false);
        for (rule, counted) in self.rules.iter().enumerate() {
            if !counted.applies(asked.call.class) {
                continue;
            }
            let begin = scratch.len();
            counted.rule.key(asked, scratch);
            let key = begin..scratch.len();
            match counted.look(cells, scratch.get(key.clone()).unwrap_or_default(), now) {
                Seen::Room(next, (remaining, full_in)) => {
                    new = new.saturating_add(usize::from(next.is_new()));
                    staged.push((key, next));
                    if least.is_none_or(|other| remaining < other.remaining) {
                        least = Some(Room { rule, remaining, full_in });
                    }
                }
                Seen::Full(wait) => {
                    if full.is_none_or(|other| wait > other.wait) {
                        full = Some(Full { rule, wait });
                    }
                }
                Seen::Asked => {
                    is_asked = true;
                    staged.push((key, Next::Asked));
                }
            }
        }
        if let Some(full) = full {
            return Err(Short::Full(full));
        }
        if !cells.has_room_for(new, now) {
            // Whoever is new waits; nobody who is counted is forgotten.
            let rule = least.map_or(0, |room| room.rule);
            return Err(Short::Full(Full { rule, wait: SWEEP_EVERY }));
        }
        let staged =
            staged.iter().filter_map(|(key, next)| Some((scratch.get(key.clone())?, *next)));
        match is_asked {
            true => Err(Short::Asked(cells.wait(staged))),
            false => Ok((least, cells.take(staged, now))),
        }
    }

    fn refusal(&self, full: Full) -> Refusal {
        let Some(counted) = self.rules.get(full.rule) else {
            return Refusal::undecidable("a rate that is not there");
        };
        let name = &counted.rule.name;
        let fields = RateFields {
            policy: counted.policy.clone(),
            state: format!("\"{name}\";r=0;t={}", seconds(full.wait)),
        };
        Refusal::rate_limited(name, full.wait, fields)
    }

    /// The header fields of an answer that took `taken` (IETF draft `ratelimit-headers`).
    pub fn fields(&self, taken: Taken) -> Option<RateFields> {
        let room = taken.0?;
        let counted = self.rules.get(room.rule)?;
        // Every answer has it: put together by hand, `format!` takes ten times as long.
        let mut state = String::with_capacity(counted.rule.name.len().saturating_add(32));
        let (mut one, mut other) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (remaining, full_in) =
            (one.format(room.remaining), other.format(seconds(room.full_in)));
        ["\"", &counted.rule.name, "\";r=", remaining, ";t=", full_in]
            .iter()
            .for_each(|piece| state.push_str(piece));
        Some(RateFields { policy: counted.policy.clone(), state })
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        let cells = self.cells.lock();
        cells.keys().saturating_add(cells.leases.keys())
    }

    fn want(&self, wants: Wants) {
        match wants {
            Wants::Nothing => {}
            Wants::ToBorrow => self.news.wants.notify_one(),
        }
    }

    /// Whether any rate is borrowed.
    pub fn borrows(&self) -> bool {
        self.rules.iter().any(|counted| counted.way == Way::Lent)
    }

    /// Until something is to be borrowed.
    pub fn wanted(&self) -> Notified<'_> {
        self.news.wants.notified()
    }

    /// Until the store has answered what is being asked.
    pub fn heard(&self) -> Notified<'_> {
        self.news.heard.notified()
    }

    /// What to ask the store for now.
    pub fn wishes(&self) -> Vec<Wish> {
        self.cells.lock().leases.wishes()
    }

    /// What to give back to it.
    pub fn leftovers(&self, which: Leftovers) -> Vec<Wish> {
        self.cells.lock().leases.leftovers(self.clock.steady(), which)
    }

    /// What it said; whether it had been silent.
    pub fn answered(&self, wishes: &[Wish], lent: Option<&[Lent]>) -> bool {
        let mut cells = self.cells.lock();
        let was_alone = cells.leases.is_alone();
        match lent {
            Some(lent) => cells.leases.answered(wishes, lent, self.clock.steady()),
            None => cells.leases.not_answered(wishes),
        }
        drop(cells);
        self.news.heard.notify_waiters();
        was_alone
    }
}

#[derive(Debug, Clone, Copy)]
struct Full {
    rule: usize,
    wait: Duration,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::action::Owner;
    use crate::call::Class;
    use crate::call::sample;
    use crate::clock::Timestamp;
    use crate::limits::cells::KEYS_MAX;
    use crate::limits::rule::read;
    use crate::refusal::Code;
    use crate::yaml;
    use crate::yaml::Faults;

    fn rules(text: &str) -> Result<Vec<Rule>, Vec<String>> {
        let node = yaml::read("x.yaml", text).unwrap();
        let faults = Faults::of("x.yaml");
        let rules = read(&faults, &node, "limits");
        faults.finish(Some(rules)).map_err(|e| e.0.iter().map(ToString::to_string).collect())
    }

    fn rates(text: &str, clock: &Clock) -> Rates {
        Rates::new(rules(text).unwrap(), clock.clone(), None)
    }

    fn clock() -> Clock {
        Clock::by_hand(Timestamp(1_772_366_400_000))
    }

    fn call(class: Class) -> Call {
        sample::call(sample::action("shop.order.retrieve", class, Owner::Public))
    }

    fn refused(result: Result<Taken, NoRoom>) -> Refusal {
        let NoRoom::Full(refusal) = result.unwrap_err() else { unreachable!() };
        refusal
    }

    fn seconds_to_wait(result: Result<Taken, NoRoom>) -> u64 {
        let refusal = refused(result);
        assert_eq!(refusal.code, Code::RateLimited);
        refusal.retry_after.map(seconds).unwrap()
    }

    #[test]
    fn a_burst_passes_then_one_a_period() {
        let clock = clock();
        let rates = rates("[{ name: agent, per: agent, rate: 60/min, burst: 3 }]", &clock);
        let (read, caller) = (call(Class::Read), sample::caller("bot", None));
        for remaining in [2, 1, 0] {
            let taken = rates.take(&read, &caller).unwrap();
            let fields = rates.fields(taken).unwrap();
            assert_eq!(fields.policy, "\"agent\";q=60;w=60");
            let full_in = 3 - remaining;
            assert_eq!(fields.state, format!("\"agent\";r={remaining};t={full_in}"));
        }
        let refusal = refused(rates.take(&read, &caller));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
        assert_eq!(refusal.rate.unwrap().state, "\"agent\";r=0;t=1");
        clock.turn(Duration::from_millis(999));
        assert!(rates.take(&read, &caller).is_err());
        clock.turn(Duration::from_millis(1));
        assert!(rates.take(&read, &caller).is_ok());
        assert!(rates.take(&read, &caller).is_err());
    }

    #[test]
    fn what_one_rate_refuses_no_other_has_lost() {
        let clock = clock();
        let rates = rates(
            "[{ name: agent, per: agent, rate: 1/h, burst: 10 }, { name: one, per: customer, rate: \
             1/h, burst: 1 }]",
            &clock,
        );
        let read = call(Class::Read);
        let (first, other) = (sample::caller("bot", Some("a")), sample::caller("bot", Some("b")));
        assert!(rates.take(&read, &first).is_ok());
        for _ in 0..100 {
            assert_eq!(seconds_to_wait(rates.take(&read, &first)), 3600);
        }
        // 8 more of the agent's ten are left for others.
        assert!(rates.take(&read, &other).is_ok());
        for n in 0..8 {
            let next = sample::caller("bot", Some(&format!("c{n}")));
            assert!(rates.take(&read, &next).is_ok(), "{n}");
        }
        assert!(rates.take(&read, &sample::caller("bot", Some("d"))).is_err());
    }

    #[test]
    fn the_longest_wait_of_several_full_rates_is_told() {
        let clock = clock();
        let rates = rates(
            "[{ name: short, per: all, rate: 1/s }, { name: long, per: all, rate: 1/h }]",
            &clock,
        );
        let (read, caller) = (call(Class::Read), sample::caller("bot", None));
        assert!(rates.take(&read, &caller).is_ok());
        let refusal = refused(rates.take(&read, &caller));
        assert!(refusal.detail.contains("(long)"), "{}", refusal.detail);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn what_is_counted_apart() {
        let financial = call(Class::Financial);
        let nobody = sample::caller("bot", None);
        let mut tenant = sample::caller("bot", Some("a"));
        tenant.tenant = "t".into();
        let split = {
            let mut caller = sample::caller("t", None);
            caller.tenant = "bo".into();
            caller
        };
        let ann = sample::caller("bot", Some("a"));
        let anns_other_agent = sample::caller("bat", Some("a"));
        for (per, caller, apart) in [
            ("agent", &anns_other_agent, true),
            ("agent", &nobody, false),
            ("agent", &tenant, true),
            ("customer", &anns_other_agent, false),
            ("customer", &nobody, true),
            ("customer", &tenant, true),
            ("agent", &split, true),
            ("tenant", &tenant, true),
            ("tenant", &anns_other_agent, false),
            ("action", &tenant, false),
            ("upstream", &tenant, false),
            ("all", &tenant, false),
        ] {
            let rates = rates(&format!("[{{ name: x, per: {per}, rate: 1/h }}]"), &clock());
            assert!(rates.take(&financial, &ann).is_ok());
            assert_eq!(rates.take(&financial, caller).is_ok(), apart, "{per} {caller:?}");
        }
        let rates = rates("[{ name: x, per: class, rate: 1/h }]", &clock());
        assert!(rates.take(&financial, &ann).is_ok());
        assert!(rates.take(&call(Class::Read), &ann).is_ok());
        assert!(rates.take(&financial, &ann).is_err());
    }

    #[test]
    fn a_rate_of_some_classes_leaves_the_others_alone() {
        let rates = rates(
            "[{ name: x, per: all, rate: 1/h, classes: [financial, communication] }]",
            &clock(),
        );
        let caller = sample::caller("bot", None);
        for _ in 0..5 {
            assert_eq!(rates.take(&call(Class::Read), &caller).unwrap(), Taken(None));
        }
        assert!(rates.take(&call(Class::Financial), &caller).is_ok());
        assert!(rates.take(&call(Class::Communication), &caller).is_err());
    }

    #[test]
    fn a_reload_forgets_nothing_and_a_changed_rate_owes_no_more_than_empty() {
        let (clock, caller) = (clock(), sample::caller("bot", None));
        let read = call(Class::Read);
        let before = rates("[{ name: x, per: all, rate: 2/h }]", &clock);
        clock.turn(Duration::from_secs(5));
        assert!(before.take(&read, &caller).is_ok());
        assert!(before.take(&read, &caller).is_ok());
        let same = rules("[{ name: x, per: all, rate: 2/h }]").unwrap();
        let after = Rates::new(same, clock.clone(), Some(&before));
        assert_eq!(seconds_to_wait(after.take(&read, &caller)), 1800);
        clock.turn(Duration::from_secs(1800));
        assert!(after.take(&read, &caller).is_ok());
        // A call that began before the reload counts with the others.
        assert!(before.take(&read, &caller).is_err());
        let faster = rules("[{ name: x, per: all, rate: 1/s }]").unwrap();
        let faster = Rates::new(faster, clock.clone(), Some(&after));
        assert_eq!(seconds_to_wait(faster.take(&read, &caller)), 1);
    }

    #[test]
    fn a_clock_that_is_set_neither_fills_nor_empties() {
        let (clock, caller) = (clock(), sample::caller("bot", None));
        let rates = rates("[{ name: x, per: all, rate: 1/min }]", &clock);
        assert!(rates.take(&call(Class::Read), &caller).is_ok());
        for set in [0, i64::MAX, 1_772_366_400_000] {
            clock.set(Timestamp(set));
            assert_eq!(seconds_to_wait(rates.take(&call(Class::Read), &caller)), 60);
        }
        clock.turn(Duration::from_secs(60));
        assert!(rates.take(&call(Class::Read), &caller).is_ok());
        clock.turn(Duration::from_secs(200 * 365 * 86_400));
        assert!(rates.take(&call(Class::Read), &caller).is_ok());
    }

    #[test]
    fn the_map_is_bounded_and_only_idle_keys_are_forgotten() {
        let clock = clock();
        let rates = rates("[{ name: x, per: customer, rate: 1/h }]", &clock);
        let read = call(Class::Read);
        let customer = |n: usize| sample::caller("bot", Some(&format!("c{n}")));
        for n in 0..KEYS_MAX {
            assert!(rates.take(&read, &customer(n)).is_ok());
        }
        assert!(rates.take(&read, &customer(KEYS_MAX)).is_err(), "a new key passed a full map");
        assert!(rates.take(&read, &customer(7)).is_err());
        assert_eq!(rates.keys(), KEYS_MAX);
        clock.turn(Duration::from_secs(3601));
        assert!(rates.take(&read, &customer(KEYS_MAX)).is_ok());
        assert_eq!(rates.keys(), 1);
    }

    #[test]
    fn twenty_threads_take_exactly_the_burst() {
        let rates = rates("[{ name: x, per: all, rate: 1/h, burst: 100 }]", &clock());
        let (read, caller) = (call(Class::Read), sample::caller("bot", None));
        let passed = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let ok = rates.take(&read, &caller).is_ok();
                        passed.fetch_add(usize::from(ok), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 100);
    }

    #[test]
    fn faults_say_where_and_what() {
        let good = "[{ name: agent, per: agent, rate: 600/min, burst: 100 }]";
        let rule = rules(good).unwrap().remove(0);
        assert_eq!((rule.count.get(), rule.within.as_secs(), rule.burst.get()), (600, 60, 100));
        for (text, words) in [
            (
                "[{ name: x, per: agent, rate: 10/h, classes: [write], across: fleet, store_down: 5% }]",
                "only for `across: fleet` rates that replicas borrow from",
            ),
            (
                "[{ name: x, per: agent, rate: 10/h, across: fleet, store_down: 101% }]",
                "expected `0%` to `100%`",
            ),
            ("[{ name: x, per: agent, rate: 10/h, across: all }]", "expected `fleet`"),
            ("[{ name: x, per: agnet, rate: 10/h }]", "expected one of agent, customer"),
            ("[{ name: x, per: agent, rate: 0/h }]", "expected a rate such as"),
            ("[{ name: x, per: agent, rate: 10/week }]", "expected a rate such as"),
            ("[{ name: x, per: agent, rate: 2000000/s }]", "expected a rate such as"),
            ("[{ name: x, per: agent, rate: 1/d, burst: 1000 }]", "more than 30 days"),
            ("[{ name: 'a\"b', per: agent, rate: 10/h }]", "expected 1 to 64 letters"),
            ("[{ name: x, per: agent, rate: 10/h, classes: [money] }]", "got `money`"),
            ("[{ name: x, per: agent, rate: 10/h, klass: [read] }]", "is not a key here"),
            ("[{ per: agent, rate: 10/h }]", "is required and missing"),
            ("{}", "expected a list of rates"),
            (
                "[{ name: x, per: all, rate: 1/s }, { name: x, per: agent, rate: 1/s }]",
                "stands here twice",
            ),
        ] {
            let faults = rules(text).unwrap_err();
            assert!(faults.iter().any(|f| f.contains(words)), "{text}: {faults:?}");
            assert!(faults.iter().all(|f| f.starts_with("x.yaml:1:")), "{faults:?}");
        }
    }
}

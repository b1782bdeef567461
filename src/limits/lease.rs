//! How much of the fleet's rates is in hand here? A replica borrows calls ahead of their use, in batches, so that a
//! call costs no round trip, and gives back what it does not need.
//!
//! Never has more in hand than its batch, and never goes further ahead of the store than its credit: what a fleet
//! lets through above a rate is bounded by the two, once, and the store counts it afterwards.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::store::{Lent, Loan, Slot};

/// BOUND: keys that something is in hand of, some 200 bytes each: 4 MB at worst.
const KEYS_MAX: usize = 20_000;
/// BOUND: loans of one round trip; the next takes the rest.
const LOANS_MAX: usize = 256;
/// BOUND: what nobody uses for so long goes back.
const IDLE: Duration = Duration::from_secs(1);

/// What a rate lends to one key, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Between two calls, at the rate: microseconds.
    every: i64,
    /// From empty to full: microseconds.
    span: i64,
    /// How many calls that is.
    burst: u32,
}

impl Terms {
    /// Of a rate that lets one call through each `every`, and `burst` at once.
    pub fn new(every: Duration, span: Duration, burst: u32) -> Self {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self { every: micros(every).max(1), span: micros(span), burst }
    }

    /// How long so many calls take at the rate.
    pub fn span_of(self, calls: u32) -> Duration {
        let micros = self.every.saturating_mul(i64::from(calls));
        Duration::from_micros(micros.unsigned_abs())
    }

    /// BOUND: in hand at once, without a call to use it.
    fn batch(self) -> u32 {
        self.burst.checked_div(25).unwrap_or(0).max(1)
    }

    /// BOUND: ahead of the store: the first calls of a key wait for nobody.
    fn credit(self) -> u32 {
        self.burst.checked_div(50).unwrap_or(0).max(1)
    }
}

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// For this call, and about so many after it.
    Room(u32),
    /// None, for so long.
    Dry(Duration),
    /// The store is being asked.
    Asked,
}

/// Everything that is in hand.
#[derive(Debug, Default)]
pub struct Leases {
    all: HashMap<Arc<[u8]>, Lease>,
    /// Who is to be asked for, once each.
    queue: VecDeque<Arc<[u8]>>,
    /// The store did not answer when it was asked last.
    is_alone: bool,
}

/// What is in hand of one key.
#[derive(Debug)]
struct Lease {
    terms: Terms,
    /// Below zero: taken on credit.
    calls: i64,
    /// What the store had left when it was last asked.
    left: u32,
    /// Until when the store has nothing.
    dry_until: Duration,
    /// When it was last used.
    used: Duration,
    /// How often, since it was last asked for.
    spent: u32,
    /// How many wait for the answer.
    waiting: u32,
    is_queued: bool,
}

/// A question under way.
#[derive(Debug)]
pub struct Wish {
    key: Arc<[u8]>,
    loan: Loan,
}

impl Wish {
    /// What the store is asked.
    pub fn loan(&self) -> Loan {
        self.loan
    }
}

impl Leases {
    /// Whether the store does not answer.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.all.len()
    }

    /// Whether `key` has room for a call at `now`. Nothing is taken.
    pub fn look(&self, key: &[u8], terms: Terms, now: Duration) -> Look {
        match self.all.get(key) {
            Some(lease) => lease.look(now),
            // BOUND: whoever is new waits; nobody who is counted is forgotten.
            None if self.all.len() >= KEYS_MAX => Look::Dry(IDLE),
            None => Look::Room(terms.burst.saturating_sub(1)),
        }
    }

    /// Takes a call that [`Self::look`] found room for. Whether the store is to be asked.
    pub fn take(&mut self, key: &[u8], terms: Terms, now: Duration) -> bool {
        if !self.all.contains_key(key) {
            self.all.insert(key.into(), Lease::new(terms, now));
        }
        let Some(lease) = self.all.get_mut(key) else { return false };
        lease.terms = terms;
        lease.calls = lease.calls.saturating_sub(1);
        lease.spent = lease.spent.saturating_add(1);
        lease.used = now;
        let low = lease.calls <= i64::from(terms.batch() / 2) && now >= lease.dry_until;
        (low || lease.calls < 0) && self.enqueue(key)
    }

    /// A call waits for what the store says. Whether the store is to be asked.
    pub fn wait(&mut self, key: &[u8]) -> bool {
        if let Some(lease) = self.all.get_mut(key) {
            lease.waiting = lease.waiting.saturating_add(1);
        }
        self.enqueue(key)
    }

    fn enqueue(&mut self, key: &[u8]) -> bool {
        let Some((key, _)) = self.all.get_key_value(key) else { return false };
        let key = Arc::clone(key);
        let Some(lease) = self.all.get_mut(&key).filter(|lease| !lease.is_queued) else {
            return false;
        };
        lease.is_queued = true;
        self.queue.push_back(key);
        true
    }

    /// What to ask the store now: a round trip's worth of what runs low.
    pub fn wishes(&mut self) -> Vec<Wish> {
        let count = self.queue.len().min(LOANS_MAX);
        let keys = self.queue.drain(..count).collect::<Vec<_>>();
        let wish = |key: Arc<[u8]>| {
            let lease = self.all.get_mut(&key)?;
            let loan = lease.loan(&key);
            Some(Wish { key, loan })
        };
        keys.into_iter().filter_map(wish).collect()
    }

    /// What to give back: what nobody used for a while and what is above the batch, or everything at the end.
    pub fn leftovers(&mut self, now: Duration, all: Leftovers) -> Vec<Wish> {
        let kept = |lease: &Lease| match all {
            Leftovers::Idle if now.saturating_sub(lease.used) < IDLE => lease.terms.batch(),
            Leftovers::Idle | Leftovers::Everything => 0,
        };
        self.all.retain(|_, lease| !lease.is_forgotten(now));
        let back = |(key, lease): (&Arc<[u8]>, &mut Lease)| {
            let back = u32::try_from(lease.calls).unwrap_or(0).saturating_sub(kept(lease));
            // From here on nobody spends it: it is on its way back.
            lease.calls = lease.calls.saturating_sub(i64::from(back));
            let loan = Loan { back, ..lease.terms.loan(key) };
            (back > 0).then(|| Wish { key: Arc::clone(key), loan })
        };
        self.all.iter_mut().filter_map(back).take(LOANS_MAX).collect()
    }

    /// The store's answers, in order.
    pub fn answered(&mut self, wishes: &[Wish], lent: &[Lent], now: Duration) {
        self.is_alone = false;
        for (wish, lent) in wishes.iter().zip(lent) {
            let Some(lease) = self.all.get_mut(&wish.key) else { continue };
            let got = i64::from(wish.loan.owed).saturating_add(i64::from(lent.given));
            lease.calls = lease.calls.saturating_add(got);
            lease.left = lent.left;
            lease.dry_until =
                if lent.wait.is_zero() { Duration::ZERO } else { now.saturating_add(lent.wait) };
        }
    }

    /// It did not answer. What was taken on credit is still owed: perhaps twice, never not at all.
    pub fn not_answered(&mut self, wishes: &[Wish]) {
        self.is_alone = true;
        for wish in wishes.iter().filter(|wish| wish.loan.back == 0) {
            self.enqueue(&wish.key);
        }
    }
}

/// Which calls go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// Those that nobody used for a while.
    Idle,
    /// All: the process ends.
    Everything,
}

impl Terms {
    fn loan(self, key: &[u8]) -> Loan {
        let slot = Slot::of(b'g', &[key]);
        Loan { slot, every: self.every, burst: self.span, owed: 0, wanted: 0, back: 0 }
    }
}

impl Lease {
    fn new(terms: Terms, now: Duration) -> Self {
        Self {
            terms,
            calls: 0,
            left: terms.burst,
            dry_until: Duration::ZERO,
            used: now,
            spent: 0,
            waiting: 0,
            is_queued: false,
        }
    }

    fn look(&self, now: Duration) -> Look {
        if self.calls <= 0 && now < self.dry_until {
            return Look::Dry(self.dry_until.saturating_sub(now));
        }
        if self.calls > i64::from(self.terms.credit()).saturating_neg() {
            let in_hand = u32::try_from(self.calls).unwrap_or(0);
            return Look::Room(in_hand.saturating_add(self.left).saturating_sub(1));
        }
        Look::Asked
    }

    /// Whether it is as if it had never been: nothing in hand, nothing owed, nobody waits, and the store was not
    /// empty. What was used counts there; a key that comes back has its credit ahead, as it has now.
    fn is_forgotten(&self, now: Duration) -> bool {
        let is_empty = self.calls == 0 && !self.is_queued && self.waiting == 0;
        is_empty && now >= self.dry_until && now.saturating_sub(self.used) >= IDLE
    }

    /// What it asks for: what it owes, what its use of late calls for, and one for each that waits.
    fn loan(&mut self, key: &[u8]) -> Loan {
        let owed = u32::try_from(self.calls.saturating_neg()).unwrap_or(0);
        let in_hand = u32::try_from(self.calls).unwrap_or(0);
        let use_of_late = self.spent.saturating_mul(2).max(1);
        let ahead = use_of_late.min(self.terms.batch()).saturating_sub(in_hand);
        let wanted = ahead.saturating_add(self.waiting);
        (self.spent, self.waiting, self.is_queued) = (0, 0, false);
        Loan { owed, wanted, ..self.terms.loan(key) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "a test may fail loudly"
    )]
    use proptest::prelude::*;

    use super::*;
    use crate::store::lend;

    const KEY: &[u8] = b"agent";
    const EVERY: i64 = 10_000;

    fn terms(burst: u32) -> Terms {
        let every = Duration::from_micros(EVERY.unsigned_abs());
        Terms::new(every, every * burst, burst)
    }

    fn at(micros: i64) -> Duration {
        Duration::from_micros(micros.unsigned_abs())
    }

    /// Replicas, the store they borrow from, and what is on its way between them.
    struct Fleet {
        replicas: Vec<Leases>,
        full_at: i64,
        now: i64,
        /// Answers that arrive then.
        under_way: Vec<(i64, usize, Vec<Wish>, Vec<Lent>)>,
        passed: Vec<i64>,
        /// Calls that wait, of each replica.
        waiting: Vec<u32>,
        terms: Terms,
    }

    impl Fleet {
        fn new(replicas: usize, burst: u32) -> Self {
            let terms = terms(burst);
            Self {
                waiting: vec![0; replicas],
                replicas: (0..replicas).map(|_| Leases::default()).collect(),
                full_at: 0,
                now: 1,
                under_way: Vec::new(),
                passed: Vec::new(),
                terms,
            }
        }

        fn call(&mut self, replica: usize) -> Look {
            let (leases, now) = (&mut self.replicas[replica], at(self.now));
            let look = leases.look(KEY, self.terms, now);
            match look {
                Look::Room(_) => {
                    leases.take(KEY, self.terms, now);
                    self.passed.push(self.now);
                }
                Look::Asked => {
                    leases.wait(KEY);
                    self.waiting[replica] += 1;
                }
                Look::Dry(_) => {}
            }
            look
        }

        /// The store answers at once; what it says arrives after `delay`.
        fn ask(&mut self, replica: usize, wishes: Vec<Wish>, delay: i64) {
            let answer = |wish: &Wish| {
                let (full_at, lent) = lend(self.full_at, self.now, &wish.loan());
                self.full_at = full_at;
                lent
            };
            let lent = wishes.iter().map(answer).collect();
            self.under_way.push((self.now + delay, replica, wishes, lent));
        }

        fn turn(&mut self, micros: i64) {
            self.now += micros;
            let (come, later) = std::mem::take(&mut self.under_way)
                .into_iter()
                .partition(|(arrives, ..)| *arrives <= self.now);
            self.under_way = later;
            let come: Vec<(i64, usize, Vec<Wish>, Vec<Lent>)> = come;
            for (_, replica, wishes, lent) in come {
                self.replicas[replica].answered(&wishes, &lent, at(self.now));
                // Who waits hears of it.
                for _ in 0..std::mem::take(&mut self.waiting[replica]) {
                    self.call(replica);
                }
            }
        }

        /// In no span do more pass than the rate lets through and what the replicas may be ahead.
        fn check(&self) {
            let ahead = i64::from(self.terms.batch() + 2 * self.terms.credit());
            let burst = i64::from(self.terms.burst);
            let most = burst + ahead * i64::try_from(self.replicas.len()).unwrap_or(0);
            // With what would drain since the first call taken off, the largest climb is what counts.
            let (mut lowest, mut count) = (i64::MAX, 0);
            for at in &self.passed {
                lowest = lowest.min(count * EVERY - at);
                count += 1;
                let climb = count * EVERY - at - lowest;
                assert!(climb <= (most + 1) * EVERY, "{climb} at {at}, {count} so far");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_fleet_is_never_further_ahead_than_its_bound(
            burst in prop_oneof![Just(1_u32), Just(10), Just(100), Just(1000)],
            replicas in 1_usize..6,
            steps in proptest::collection::vec((0_usize..6, 0_u8..10, 0_i64..9_000, 0_i64..30_000), 50..1500),
        ) {
            let mut fleet = Fleet::new(replicas, burst);
            for (who, what, micros, delay) in steps {
                let who = who % replicas;
                match what {
                    // One question at a time.
                    0..=4 if fleet.under_way.iter().any(|(_, asking, ..)| *asking == who) => {}
                    0 => {
                        let back = fleet.replicas[who].leftovers(at(fleet.now), Leftovers::Everything);
                        fleet.ask(who, back, delay);
                    }
                    1 => {
                        let lost = fleet.replicas[who].wishes();
                        // It was counted, and nobody heard of it.
                        fleet.ask(who, lost, delay);
                        if let Some((_, _, wishes, _)) = fleet.under_way.pop() {
                            fleet.replicas[who].not_answered(&wishes);
                        }
                    }
                    2..=4 => {
                        let wishes = fleet.replicas[who].wishes();
                        fleet.ask(who, wishes, delay);
                    }
                    // What is under way comes, what is above the batch goes back; then it is long ago for all, and
                    // whatever has nothing in hand is forgotten.
                    5 if delay % 4 == 0 => {
                        for micros in [30_000, 1_000_000 + delay, 0] {
                            fleet.turn(micros);
                            for who in 0..replicas {
                                let back =
                                    fleet.replicas[who].leftovers(at(fleet.now), Leftovers::Idle);
                                fleet.ask(who, back, 0);
                            }
                        }
                    }
                    _ => (0..=burst / 10).for_each(|_| { fleet.call(who); }),
                }
                fleet.turn(micros);
            }
            fleet.check();
        }
    }

    #[test]
    fn what_the_rate_allows_passes_and_over_time_no_more() {
        let mut fleet = Fleet::new(4, 100);
        // A hundred a second for ten seconds; each replica tries a thousand a second.
        for _ in 0..10_000 {
            for replica in 0..4 {
                fleet.call(replica);
                let wishes = fleet.replicas[replica].wishes();
                if !wishes.is_empty() {
                    fleet.ask(replica, wishes, 700);
                }
            }
            fleet.turn(1_000);
        }
        fleet.check();
        let passed = fleet.passed.len();
        assert!((1_090..=1_110).contains(&passed), "{passed} of 1,100 passed");
    }

    #[test]
    fn a_burst_at_one_replica_passes_whole() {
        let mut fleet = Fleet::new(4, 100);
        let mut turns = 0;
        while fleet.passed.len() < 100 {
            while matches!(fleet.call(0), Look::Room(_)) {}
            let wishes = fleet.replicas[0].wishes();
            fleet.ask(0, wishes, 0);
            fleet.turn(1);
            turns += 1;
            assert!(turns < 100, "{} passed", fleet.passed.len());
        }
        fleet.check();
    }

    #[test]
    fn what_nobody_uses_goes_back_and_is_forgotten() {
        let mut fleet = Fleet::new(2, 100);
        fleet.call(0);
        let wishes = fleet.replicas[0].wishes();
        assert_eq!((wishes[0].loan().owed, wishes[0].loan().wanted), (1, 2));
        fleet.ask(0, wishes, 0);
        fleet.turn(0);
        assert_eq!(fleet.full_at, fleet.now + 3 * EVERY);
        assert!(fleet.replicas[0].leftovers(at(fleet.now), Leftovers::Idle).is_empty());
        fleet.turn(1_000_000);
        fleet.full_at = fleet.now + 3 * EVERY;
        let back = fleet.replicas[0].leftovers(at(fleet.now), Leftovers::Idle);
        assert_eq!(back[0].loan().back, 2);
        fleet.ask(0, back, 0);
        assert_eq!(fleet.full_at, fleet.now + EVERY, "one was used");
        fleet.turn(4_000_000);
        fleet.replicas[0].leftovers(at(fleet.now), Leftovers::Idle);
        assert_eq!(fleet.replicas[0].keys(), 0);
    }

    #[test]
    fn who_is_new_has_room_once_the_others_are_quiet() {
        let mut leases = Leases::default();
        // A call a day: its store has all its room again after months.
        let day = Duration::from_secs(86_400);
        let terms = Terms::new(day, day * 30, 30);
        for key in 0..KEYS_MAX {
            leases.take(&key.to_be_bytes(), terms, at(1));
        }
        let lent = Lent { given: 1, left: 28, wait: Duration::ZERO };
        let mut asked = 0;
        loop {
            let wishes = leases.wishes();
            if wishes.is_empty() {
                break;
            }
            asked += wishes.len();
            leases.answered(&wishes, &vec![lent; wishes.len()], at(2));
        }
        assert_eq!((asked, leases.look(b"new", terms, at(2))), (KEYS_MAX, Look::Dry(IDLE)));
        let later = at(2_000_000);
        while !leases.leftovers(later, Leftovers::Idle).is_empty() {}
        assert!(matches!(leases.look(b"new", terms, later), Look::Room(_)));
        assert_eq!(leases.keys(), 0);
    }

    #[test]
    fn what_is_above_the_batch_goes_back_while_it_is_used() {
        // Many wait, and have gone when the store answers.
        let (mut leases, terms) = (Leases::default(), terms(100));
        while matches!(leases.look(KEY, terms, at(1)), Look::Room(_)) {
            leases.take(KEY, terms, at(1));
        }
        (0..50).for_each(|_| {
            leases.wait(KEY);
        });
        let wishes = leases.wishes();
        let given = wishes[0].loan().wanted;
        assert!(given >= 50, "{given}");
        leases.answered(&wishes, &[Lent { given, left: 40, wait: Duration::ZERO }], at(2));
        leases.take(KEY, terms, at(2));
        let back = leases.leftovers(at(3), Leftovers::Idle);
        assert_eq!(back[0].loan().back, given - 1 - terms.batch());
        assert!(leases.leftovers(at(3), Leftovers::Idle).is_empty(), "its batch stays");
        assert_eq!(leases.leftovers(at(3), Leftovers::Everything)[0].loan().back, terms.batch());
    }

    #[test]
    fn one_that_is_dry_or_owes_is_not_forgotten() {
        let mut leases = Leases::default();
        let (terms, later) = (terms(10), at(5_000_000));
        let dry = Lent { given: 0, left: 0, wait: Duration::from_secs(60) };
        leases.take(b"dry", terms, at(1));
        let wishes = leases.wishes();
        leases.answered(&wishes, &[dry], at(1));
        leases.take(b"owes", terms, at(1));
        let lost = leases.wishes();
        leases.not_answered(&lost);
        leases.leftovers(later, Leftovers::Idle);
        assert!(matches!(leases.look(b"dry", terms, later), Look::Dry(_)));
        assert_eq!(leases.keys(), 2);
    }

    #[test]
    fn the_map_is_bounded() {
        let mut leases = Leases::default();
        let terms = terms(10);
        for key in 0..KEYS_MAX {
            leases.take(&key.to_be_bytes(), terms, at(1));
        }
        assert_eq!(leases.look(b"new", terms, at(1)), Look::Dry(IDLE));
        assert!(matches!(leases.look(&0_usize.to_be_bytes(), terms, at(1)), Look::Asked));
    }
}

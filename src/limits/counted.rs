//! What does one rate say of a call? governor computes, on a state that is ours.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::cells::{Cells, Known, Next, SWEEP_EVERY, Seen};
use super::lease::{Look, Terms};
use super::rule::{Asked, Rule, Way, refill};
use crate::call::Class;
use crate::store::RateUse;

type Limiter = RateLimiter<Slot, Staging, Dial, StateInformationMiddleware>;

#[derive(Debug)]
pub(super) struct Counted {
    pub(super) rule: Rule,
    limiter: Limiter,
    /// How it is counted here: one process alone borrows from nobody.
    pub(super) way: Way,
    terms: Terms,
    /// `"agent";q=600;w=60`
    pub(super) policy: String,
    /// From empty to full: no cell is owed more.
    span: u64,
}

impl Counted {
    pub(super) fn new(rule: Rule, dial: Dial) -> Self {
        let each = rule.within.checked_div(rule.count.get()).unwrap_or(rule.within);
        let limiter = limiter((rule.count, rule.burst), rule.within, dial);
        let policy =
            format!("\"{}\";q={};w={}", rule.name, rule.count, rule.within.as_secs().max(1));
        let full = refill(rule.count, rule.within, rule.burst);
        let terms = Terms::new(each, full, rule.burst.get());
        let span = nanos(full);
        let way = match rule.way() {
            Way::Here | Way::Lent => Way::Here,
            Way::Reserved => Way::Reserved,
        };
        Self { rule, limiter, way, terms, policy, span }
    }

    /// Borrowed from now on; what is counted here is what is left while the store does not answer.
    pub(super) fn borrow(&mut self, dial: &Dial) {
        if self.rule.way() != Way::Lent {
            return;
        }
        self.way = Way::Lent;
        if let Some((count, burst)) = self.rule.alone() {
            self.limiter = limiter((count, burst), self.rule.within, dial.clone());
            self.span = nanos(refill(count, self.rule.within, burst));
        }
    }

    /// Whether it counts calls of a class before facts are read.
    #[inline]
    pub(super) fn applies(&self, class: Class) -> bool {
        self.way != Way::Reserved && self.rule.names(class)
    }

    #[inline]
    pub(super) fn look(&self, cells: &mut Cells, key: &[u8], now: Duration) -> Seen {
        if self.way == Way::Lent && !cells.leases.is_alone() {
            return match cells.leases.look(key, self.terms, now) {
                Look::Room(remaining) => {
                    let used = self.rule.burst.get().saturating_sub(remaining);
                    Seen::Room(Next::Lent(self.terms), (remaining, self.terms.span_of(used)))
                }
                Look::Dry(wait) => Seen::Full(wait),
                Look::Asked => Seen::Asked,
            };
        }
        if self.way == Way::Lent && self.rule.alone().is_none() {
            return Seen::Full(SWEEP_EVERY);
        }
        let now = nanos(now);
        let hash = cells.hash(key);
        let known = cells.known((key, hash), now.saturating_add(self.span));
        let slot = Slot { known, next: Cell::new(now) };
        match self.limiter.check_key(&slot) {
            Ok(state) => {
                let next = slot.next.get();
                let full_in = Duration::from_nanos(next.saturating_sub(now));
                let known = if known.is_some() { Known::Yes } else { Known::No };
                Seen::Room(Next::At(next, known, hash), (state.remaining_burst_capacity(), full_in))
            }
            Err(until) => Seen::Full(until.wait_time_from(Nanos::from(now))),
        }
    }

    /// One call of it, as the store counts.
    pub(super) fn shared(&self, asked: &Asked<'_>) -> RateUse {
        let rule = &self.rule;
        let mut key = Vec::with_capacity(64);
        rule.key(asked, &mut key);
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let each = rule.within.checked_div(rule.count.get()).unwrap_or(rule.within);
        let (every, burst) =
            (micros(each).max(1), micros(refill(rule.count, rule.within, rule.burst)));
        RateUse { name: rule.name.clone(), key: key.into(), every, burst }
    }
}

/// BOUND: 146 years, so that governor's sums never overflow.
#[inline]
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().min(u128::from(u64::MAX / 4))).unwrap_or(0)
}

pub(super) fn limiter(
    (count, burst): (NonZeroU32, NonZeroU32),
    within: Duration,
    dial: Dial,
) -> Limiter {
    let each = within.checked_div(count.get()).unwrap_or(within);
    let quota = Quota::with_period(each).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
    Limiter::new(quota.allow_burst(burst), Staging, dial)
}

/// The state of one key while all rates are asked; kept only when all agree.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    known: Option<u64>,
    next: Cell<u64>,
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.known.hash(state);
    }
}

/// governor's view of the state: read from the slot, written back to the slot.
#[derive(Debug)]
pub(super) struct Staging;

impl StateStore for Staging {
    type Key = Slot;

    fn measure_and_replace<T, F, E>(&self, slot: &Slot, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (told, next) = f(slot.known.map(Nanos::from))?;
        slot.next.set(next.into());
        Ok(told)
    }
}

/// governor's clock: nanoseconds since the cells' epoch, set once for all rates of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Dial(Arc<AtomicU64>);

impl Dial {
    #[inline]
    pub(super) fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }

    /// governor counts from the moment that a limiter is made; all of ours count from the clock's zero.
    pub(super) fn zero(&self) {
        self.set(0);
    }
}

impl governor::clock::Clock for Dial {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

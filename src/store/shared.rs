//! What do the writer and the readers of a store share? Its time, who waits, and the freezes in memory.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::call::OperationId;
use crate::refusal::Fault;
use crate::store::draft::Draft;
use crate::store::freeze::{Bearer, Freeze};
use crate::store::rows::{Changes, Key, Rows, key};
use crate::store::times::Times;
use crate::store::wait::Waiters;

/// What the writer and the readers of a store share.
#[derive(Debug)]
pub struct Shared {
    pub(super) times: Mutex<Times>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) freezes: ArcSwap<Vec<Freeze>>,
    /// Which tokens count no more: the same list, by what they name.
    pub(super) revoked: ArcSwap<Revoked>,
    /// What changed, for whoever looks at everything.
    pub(super) changes: broadcast::Sender<OperationId>,
}

/// Revocations: those of one token by its name, the few others one after another.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    by_jti: HashMap<Box<str>, Freeze>,
    others: Vec<Freeze>,
}

impl Revoked {
    fn of(all: &[Freeze]) -> Self {
        let mut revoked = Self::default();
        for one in all.iter().filter(|one| one.issued_before.is_some()) {
            match one.scope.jti() {
                // A second one of the same token is looked at one after another.
                Some(jti) if !revoked.by_jti.contains_key(jti) => {
                    revoked.by_jti.insert(jti.into(), one.clone());
                }
                Some(_) | None => revoked.others.push(one.clone()),
            }
        }
        revoked
    }

    /// The revocation of a token, if there is one.
    pub(super) fn find(&self, bearer: &Bearer<'_>) -> Option<&Freeze> {
        let own = bearer.jti.and_then(|jti| self.by_jti.get(jti));
        own.into_iter().chain(&self.others).find(|one| one.revokes(bearer))
    }
}

/// BOUND: changes that a slow listener may be behind; past it, it is told that it missed some.
const CHANGES_MAX: usize = 1_024;

impl Shared {
    pub(super) fn new(times: Times) -> Self {
        let (waiters, freezes, revoked) = (Arc::default(), ArcSwap::default(), ArcSwap::default());
        let changes = broadcast::Sender::new(CHANGES_MAX);
        Self { times: Mutex::new(times), waiters, freezes, revoked, changes }
    }

    /// Takes a list of freezes and revocations into memory.
    pub(super) fn take_freezes(&self, all: Vec<Freeze>) {
        self.revoked.store(Arc::new(Revoked::of(&all)));
        self.freezes.store(Arc::new(all));
    }

    /// Tells whoever waits for it, and whoever looks at everything.
    pub(super) fn changed(&self, op: OperationId) {
        self.waiters.changed(op);
        // Nobody listens: nobody misses it.
        let _heard = self.changes.send(op).is_ok();
    }

    /// The operations that changes are about.
    pub(super) fn news(&self, changes: &Changes) -> News {
        let record = |key: &Key| key.first() == Some(&b'r');
        let ops = changes.keys().filter(|key| record(key)).filter_map(|key| key::operation(key));
        News { ops: ops.collect(), freezes: changes.keys().any(|key| key.first() == Some(&b'f')) }
    }

    pub(super) fn freezes_after(
        &self,
        changes: &Changes,
        rows: &dyn Rows,
    ) -> Result<Option<Vec<Freeze>>, Fault> {
        if self.news(changes).freezes { Draft::new(rows).freezes().map(Some) } else { Ok(None) }
    }

    pub(super) fn tell(&self, news: News, rows: &dyn Rows) -> Result<(), Fault> {
        let freezes = if news.freezes { Some(Draft::new(rows).freezes()?) } else { None };
        self.tell_all(news, freezes);
        Ok(())
    }

    pub(super) fn tell_all(&self, news: News, freezes: Option<Vec<Freeze>>) {
        if let Some(freezes) = freezes {
            self.take_freezes(freezes);
        }
        news.ops.into_iter().for_each(|op| self.changed(op));
    }
}

/// What others want to hear of.
#[derive(Debug)]
pub(super) struct News {
    ops: Vec<OperationId>,
    freezes: bool,
}

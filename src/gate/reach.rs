//! How far does a freeze reach? Which replicas follow it, what was on its way, what waits.
//!
//! Never says that a replica follows before its memory has the freeze; what cannot be read is not guessed.

use std::fmt;
use std::time::Duration;

use crate::gate::Gate;
use crate::refusal::Fault;
use crate::store::{Following, Freeze, FreezeScope, Listed};

/// BOUND: who froze waits as long for the others: each hears of it at once, and looks twice a second.
const FOLLOW_WITHIN: Duration = Duration::from_secs(1);
/// How often they are counted meanwhile.
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// BOUND: operations of a list that are looked at.
const LOOKED_AT_MAX: usize = 1_000;

/// How far a freeze reaches.
#[derive(Debug)]
pub struct Reach {
    /// Who follows; `None` when the store did not say.
    pub replicas: Option<Following>,
    /// How long it took since it was asked for.
    pub took: Duration,
    /// What was sent already and will finish; `None` when the store did not say.
    pub in_flight: Option<Counted>,
    /// What waits for a person, or was approved and waits for the freeze to end.
    pub waiting: Option<Counted>,
}

impl fmt::Display for Reach {
    /// `followed by 4 of 4; 3 in flight will finish, 12 wait`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.replicas {
            Some(all) => write!(f, "followed by {} of {}", all.following, all.of)?,
            None => f.write_str("the store does not say who follows")?,
        }
        let count = |counted: Option<Counted>| match counted {
            Some(Counted { count, is_whole: true }) => count.to_string(),
            Some(Counted { count, is_whole: false }) => format!("{count} or more"),
            None => "an unknown number".to_owned(),
        };
        write!(f, "; {} in flight will finish, {} wait", count(self.in_flight), count(self.waiting))
    }
}

/// How many operations are in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Those that were seen.
    pub count: usize,
    /// Whether all were looked at.
    pub is_whole: bool,
}

impl Gate {
    /// Waits for the fleet to follow a freeze that is durable by now, and counts what it meets.
    /// `begun` is when it was asked for, by the steady clock.
    pub async fn reach(&self, scope: &FreezeScope, begun: Duration) -> Reach {
        let mut replicas = None;
        let follow = async {
            loop {
                replicas = self.store.following().await.ok();
                if replicas.is_some_and(|all| all.is_whole()) {
                    return;
                }
                tokio::time::sleep(COUNT_EVERY).await;
            }
        };
        // Who does not follow in time is said not to.
        let _in_time = tokio::time::timeout(FOLLOW_WITHIN, follow).await.is_ok();
        let took = self.clock.steady().saturating_sub(begun);
        self.counted(scope, (replicas, took)).await
    }

    /// How far a freeze reaches by now.
    pub async fn reach_now(&self, freeze: &Freeze) -> Reach {
        let mut replicas = self.store.following().await.ok();
        if self.freezes.is_of_this_process(&freeze.id) {
            replicas = replicas.map(|all| Following { following: 1, ..all });
        }
        self.counted(&freeze.scope, (replicas, Duration::ZERO)).await
    }

    async fn counted(
        &self,
        scope: &FreezeScope,
        (replicas, took): (Option<Following>, Duration),
    ) -> Reach {
        let in_flight = self.in_scope(scope, Listed::Submitted).await.ok();
        let held = self.in_scope(scope, Listed::Held).await;
        let approved = self.in_scope(scope, Listed::Approved).await;
        let waiting = held.and_then(|held| Ok(held.with(approved?))).ok();
        Reach { replicas, took, in_flight, waiting }
    }

    async fn in_scope(&self, scope: &FreezeScope, list: Listed<'_>) -> Result<Counted, Fault> {
        let all = self.store.listed(list, LOOKED_AT_MAX).await?;
        let hit = all.iter().filter(|record| scope.matches(&record.about.subject()));
        Ok(Counted { count: hit.count(), is_whole: all.len() < LOOKED_AT_MAX })
    }

    /// Who follows the freezes that are listed, as far as the store says: one of this process alone is
    /// followed by one.
    pub async fn following(&self, freezes: &[Freeze]) -> Vec<Option<Following>> {
        let fleet = match freezes {
            [] => None,
            [..] => self.store.following().await.ok(),
        };
        let own = |one: &Freeze| match self.freezes.is_of_this_process(&one.id) {
            true => fleet.map(|all| Following { following: 1, ..all }),
            false => fleet,
        };
        freezes.iter().map(own).collect()
    }
}

impl Counted {
    fn with(self, other: Self) -> Self {
        let count = self.count.saturating_add(other.count);
        Self { count, is_whole: self.is_whole && other.is_whole }
    }
}

//! Whose turn is it? Calls that wait for a lane, agent by agent in turn, each agent's in the order in
//! which they came.
//!
//! Never lets what one agent has waiting stand before another agent's first.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub id: u64,
    /// Told when it has a lane; dropped when it is sent away.
    pub tell: oneshot::Sender<()>,
}

#[derive(Debug)]
struct OfAgent {
    agent: Arc<str>,
    waiting: VecDeque<Waiter>,
}

/// Those that wait, by agent; the agent at the front is next.
#[derive(Debug, Default)]
pub(super) struct Line {
    agents: VecDeque<OfAgent>,
    waiting: usize,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many of an agent's wait.
    pub(super) fn of(&self, agent: &str) -> usize {
        self.agents.iter().find(|own| *own.agent == *agent).map_or(0, |own| own.waiting.len())
    }

    pub(super) fn push(&mut self, agent: &Arc<str>, waiter: Waiter) {
        self.waiting = self.waiting.saturating_add(1);
        match self.agents.iter_mut().find(|own| own.agent == *agent) {
            Some(own) => own.waiting.push_back(waiter),
            None => {
                let waiting = VecDeque::from([waiter]);
                self.agents.push_back(OfAgent { agent: Arc::clone(agent), waiting });
            }
        }
    }

    /// The next one; its agent is last from then on.
    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let mut own = self.agents.pop_front()?;
        let waiter = own.waiting.pop_front();
        if !own.waiting.is_empty() {
            self.agents.push_back(own);
        }
        self.waiting = self.waiting.saturating_sub(1);
        waiter
    }

    /// Takes one out that waits no more; whether it was there.
    pub(super) fn remove(&mut self, agent: &str, id: u64) -> bool {
        let Some(at) = self.agents.iter().position(|own| *own.agent == *agent) else {
            return false;
        };
        let Some(own) = self.agents.get_mut(at) else { return false };
        let before = own.waiting.len();
        own.waiting.retain(|waiter| waiter.id != id);
        let was_there = own.waiting.len() < before;
        if own.waiting.is_empty() {
            self.agents.remove(at);
        }
        self.waiting = self.waiting.saturating_sub(usize::from(was_there));
        was_there
    }

    /// Sends the newest away of whoever has most waiting, if that is more than `least`.
    pub(super) fn displace(&mut self, least: usize) -> Option<Waiter> {
        let most = self.agents.iter().map(|own| own.waiting.len()).max()?;
        if most <= least {
            return None;
        }
        let at = self.agents.iter().position(|own| own.waiting.len() == most)?;
        let own = self.agents.get_mut(at)?;
        let waiter = own.waiting.pop_back();
        if own.waiting.is_empty() {
            self.agents.remove(at);
        }
        self.waiting = self.waiting.saturating_sub(1);
        waiter
    }
}

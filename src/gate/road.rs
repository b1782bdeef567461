//! May it set out, and how did the upstream do? A call's breakers and its lane, taken together before
//! anything of it is begun, and told together of every exchange.
//!
//! Never holds a lane for what no longer runs, and never looks into an answer further than the pack says.

use std::sync::Arc;
use std::time::Duration;

use crate::action::PackTraits;
use crate::breaker::lanes::{Lane, Shed, Wants};
use crate::breaker::{First, Health, Own, Pass, Reached};
use crate::call::{Caller, Request};
use crate::gate::{Asked, Gate, Site};
use crate::operation;
use crate::outbound::{Exchange, Reply};
use crate::refusal::Refusal;

/// BOUND: when somebody who was sent away may come back: lines are some tens of milliseconds long, and
/// everybody who is sent away comes back.
const COME_BACK: Duration = Duration::from_secs(2);

/// Leave to reach an upstream: its breakers let it pass, and it has a lane.
#[derive(Debug)]
pub struct Road {
    pass: Pass,
    lane: Option<Lane>,
}

impl Road {
    /// Whether it is still open to an effect whose facts were read.
    ///
    /// # Errors
    ///
    /// `breaker_open` when it is not.
    pub(super) fn still_open(&self) -> Result<(), Refusal> {
        self.pass.still_open()
    }

    /// The lane alone: what is streamed is on the road until it has ended.
    pub(super) fn take_lane(&mut self) -> Option<Lane> {
        self.lane.take()
    }
}

impl Gate {
    /// A place in the process for a call that nobody has looked at yet: it is taken before anything is
    /// known of it, so what would be a read by its method is one.
    ///
    /// # Errors
    ///
    /// `overloaded` when too many calls are here.
    pub(super) fn place(&self, request: &Request) -> Result<Lane, Refusal> {
        let wants = match request.method.is_safe() {
            true => Wants::Read,
            false => Wants::Effect,
        };
        self.process.try_enter(wants).map_err(|shed| {
            self.telemetry.shed(None, wants.name(), shed.why.name());
            Refusal::overloaded("This service", COME_BACK).because(shed.to_string())
        })
    }

    /// Leave to reach the upstream of a call, as soon as there is a lane. Nothing of the call was begun:
    /// what is sent away has reserved nothing and reached nobody.
    pub(super) async fn open_road(&self, asked: &Asked) -> Result<Road, Refusal> {
        let site = self.site(&asked.call)?;
        match site.lanes.try_enter(wants(asked)) {
            Ok(lane) => self.on_lane(asked, (site, lane)),
            Err(_) => Box::pin(self.wait_for_lane(asked, site)).await,
        }
    }

    /// The same, if there is a lane now.
    pub(super) fn open_road_now(&self, asked: &Asked) -> Result<Road, Refusal> {
        let site = self.site(&asked.call)?;
        let lane = site.lanes.try_enter(wants(asked));
        self.on_lane(asked, (site, lane.map_err(|shed| crowded(site, shed))?))
    }

    async fn wait_for_lane(&self, asked: &Asked, site: &Site) -> Result<Road, Refusal> {
        // Who may not go anyway need not wait for that.
        drop(self.pass(asked, site)?);
        let agent = name(&asked.caller);
        let lane = site.lanes.enter(wants(asked), &agent).await;
        let lane = lane.map_err(|shed| self.sent_away(asked, (site, shed)))?;
        self.on_lane(asked, (site, lane))
    }

    fn sent_away(&self, asked: &Asked, (site, shed): (&Site, Shed)) -> Refusal {
        let (wants, why) = (wants(asked).name(), shed.why.name());
        self.telemetry.shed(Some(&site.upstream.name), wants, why);
        crowded(site, shed)
    }

    fn on_lane(&self, asked: &Asked, (site, lane): (&Site, Lane)) -> Result<Road, Refusal> {
        Ok(Road { pass: self.pass(asked, site)?, lane: Some(lane) })
    }

    fn pass(&self, asked: &Asked, site: &Site) -> Result<Pass, Refusal> {
        let action = &asked.call.action;
        let own = own_first(asked);
        // An effect that reads facts reaches its upstream with a read.
        let first = if action.facts.is_empty() { own } else { First::Read };
        site.breaker.admit(first, Some(Own { name: &action.name, first: own }))
    }

    /// Leave to send an effect once more: nothing is read before it.
    pub(super) fn open_road_to_resend(&self, asked: &Asked) -> Result<Road, Refusal> {
        let site = self.site(&asked.call)?;
        let lane = site.lanes.try_enter(wants(asked)).map_err(|shed| crowded(site, shed))?;
        let own = Own { name: &asked.call.action.name, first: own_first(asked) };
        Ok(Road { pass: site.breaker.admit(own.first, Some(own))?, lane: Some(lane) })
    }

    /// Leave to ask an upstream what became of an operation.
    pub(super) fn open_road_to_look(&self, site: &Site) -> Result<Road, Refusal> {
        // What is unknown keeps people and money waiting: it counts as an effect.
        let lane = site.lanes.try_enter(Wants::Effect).map_err(|shed| crowded(site, shed))?;
        Ok(Road { pass: site.breaker.admit(First::Read, None)?, lane: Some(lane) })
    }

    /// How an upstream did, for its breakers, its lanes and operators.
    pub(super) fn saw(
        &self,
        road: &mut Road,
        reached: Reached,
        (health, span): (Health, Duration),
    ) {
        if let (Reached::Action, Some(slot), Some(lane)) = (reached, road.pass.slot(), &road.lane) {
            lane.saw(slot, health, span);
        }
        for change in road.pass.saw(reached, health, span) {
            self.telemetry.breaker_turned(
                (&change.upstream, change.action.as_deref()),
                change.now.name(),
                &change.why,
            );
        }
    }

    /// The same of an exchange that began at `sent`.
    pub(super) fn saw_exchange(
        &self,
        road: &mut Road,
        reached: Reached,
        (pack, exchange, sent): (&PackTraits, &Exchange, Duration),
    ) {
        let span = self.clock.steady().saturating_sub(sent);
        let health = match exchange {
            Exchange::Answered(reply) => health(pack, Some(reply)),
            Exchange::NotSent(_) | Exchange::Unknown(_) => Health::Ill,
        };
        self.saw(road, reached, (health, span));
    }
}

/// How an upstream did, by its answer; `None` when there was none.
pub(super) fn health(pack: &PackTraits, reply: Option<&Reply>) -> Health {
    match reply {
        Some(reply) if operation::says_ill(pack, reply) => Health::Ill,
        reply => Health::of(reply.map(|reply| reply.status)),
    }
}

fn own_first(asked: &Asked) -> First {
    match asked.call.class.is_effect() {
        true => First::Effect,
        false => First::Read,
    }
}

fn wants(asked: &Asked) -> Wants {
    match asked.call.class.is_effect() {
        true => Wants::Effect,
        false => Wants::Read,
    }
}

/// Whose turn it is: an agent of one tenant is not that of another.
fn name(caller: &Caller) -> Arc<str> {
    match &*caller.tenant {
        "" => Arc::clone(&caller.agent),
        tenant => format!("{tenant} {}", caller.agent).into(),
    }
}

fn crowded(site: &Site, shed: Shed) -> Refusal {
    Refusal::overloaded(&site.upstream.name, COME_BACK).because(shed.to_string())
}

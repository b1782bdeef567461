//! Proof of admission: who holds one may send exactly this call, once.
//!
//! Only the gate makes one, after the judgement; it carries the secret of the call's class, so that a
//! read can never be armed with a writing key.

use std::time::Duration;

use crate::call::{Facts, OperationId};
use crate::credentials::Secret;
use crate::gate::Asked;
use crate::gate::reserve::Judged;
use crate::gate::road::Road;
use crate::outbound::Outgoing;
use crate::store::Token;

/// An admitted call. Dropping one sends nothing.
#[derive(Debug)]
#[must_use = "an admitted call is executed or it is lost"]
pub struct Permit {
    pub(super) asked: Asked,
    pub(super) facts: Facts,
    pub(super) ticket: Option<Ticket>,
    pub(super) road: Road,
    secret: Secret,
}

/// The operation an effect runs as, under its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Which.
    pub operation: OperationId,
    /// The fence of this reservation.
    pub token: Token,
    /// By the steady clock: nothing of it leaves later. Its lease ends an answer's time after that, and
    /// then others may conclude from what the vendor shows.
    pub until: Duration,
}

impl Permit {
    pub(super) fn new(
        asked: Asked,
        judged: Judged,
        ticket: Option<Ticket>,
        road: Road,
        secret: Secret,
    ) -> Self {
        Self { asked, facts: judged.facts, ticket, road, secret }
    }

    /// Puts the secret where the vendor wants it: the last thing before sending.
    pub(super) fn arm(&self, send: &mut Outgoing) -> Result<(), String> {
        let place = &self.asked.call.action.pack.auth;
        self.secret.expose(|secret| send.arm(place, secret))
    }
}

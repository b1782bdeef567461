//! Proof of admission: who holds one may send exactly this call, once.
//!
//! Only the gate makes one, after the record; it carries the secret of the call's class, so that a
//! read can never be armed with a writing key.

use std::sync::Arc;

use crate::call::{Call, Caller, OperationId, Resolved};
use crate::credentials::Secret;
use crate::outbound::Outgoing;
use crate::store::Token;

/// An admitted call. Dropping one sends nothing.
#[derive(Debug)]
#[must_use = "an admitted call is executed or it is lost"]
pub struct Permit {
    pub(super) call: Arc<Call>,
    pub(super) caller: Arc<Caller>,
    pub(super) account: Option<Arc<str>>,
    pub(super) resolved: Resolved,
    pub(super) ticket: Option<Ticket>,
    secret: Secret,
}

/// The operation an effect runs as, under its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Which.
    pub operation: OperationId,
    /// The fence of this reservation.
    pub token: Token,
}

impl Permit {
    pub(super) fn new(
        call: Arc<Call>,
        (caller, account): (Arc<Caller>, Option<Arc<str>>),
        resolved: Resolved,
        ticket: Option<Ticket>,
        secret: Secret,
    ) -> Self {
        Self { call, caller, account, resolved, ticket, secret }
    }

    /// Puts the secret where the vendor wants it: the last thing before sending.
    pub(super) fn arm(&self, send: &mut Outgoing) {
        crate::outbound::arm(&self.call.action.pack.auth, &self.secret, send);
    }
}

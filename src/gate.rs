//! One call, top to bottom.
//!
//! [`Gate::handle`] is the product: it admits a call, executes what was admitted, settles what
//! happened and answers. Between judging and sending stands a [`Permit`], which only this module can
//! make, and only after the judgement; it is on record before anything leaves. Refused, held, replayed
//! or forwarded: every call leaves by the same door and leaves [`Evidence`] there.
//!
//! Never sends without a permit, never answers without a record, never retries an effect.

mod alarm;
mod ask;
mod callback;
mod checkpoints;
mod complete;
mod current;
mod door;
mod evidence;
mod execute;
mod explain;
mod halt;
mod known;
mod lasting;
mod lend;
mod loss;
mod mark;
mod named;
mod nudge;
mod own;
mod parcel;
mod people;
mod permit;
mod post;
mod reach;
mod reconcile;
mod record;
mod reserve;
mod road;
mod room;
mod shadow;
mod standing;
mod streamed;
mod sweep;
mod told;
mod trace;
mod views;

use std::collections::HashMap;
use std::sync::Arc;

pub use ask::Asked;
pub use callback::NotTaken;
pub use complete::Unrecorded;
pub use current::{Build, Current, Next, Reloaded, Work};
pub use door::AtDoor;
pub use evidence::Evidence;
pub use explain::{FactOverride, Lookup};
pub use known::Replay;
pub use lasting::Lasting;
pub use mark::Mark;
pub use people::{Happened, HeldRequest, Word};
pub use permit::{Permit, Ticket};
pub use reach::{Counted, Reach};
pub use reconcile::Watched;
pub use record::Unsettled;
pub use road::Road;
pub use room::{BudgetSeen, NearBudget, amount as room_words};
pub use standing::{Listeners, Standing};
pub use views::{Opened, RoadSeen, ShownRequest};

use crate::alarm::Alarms;
use crate::approval::Approvals;
use crate::audit::Audit;
use crate::breaker::Breaker;
use crate::breaker::lanes::Lanes;
use crate::call::{Answer, Digest, Request};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::credentials::Vault;
use crate::facts::Lookups;
use crate::freeze::Freezes;
use crate::identity::Identity;
use crate::limits::{Loops, Rates};
use crate::notify::Notify;
use crate::outbound::{Outbound, Upstream};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::rollout::Rollout;
use crate::store::Store;
use crate::telemetry::Telemetry;
use known::{Early, Recall};
use reserve::{Entrance, Room};

/// The stages of the path, in the order a call meets them. One snapshot per configuration; a call
/// keeps the snapshot it started with.
#[derive(Debug)]
pub struct Gate {
    /// What time is it?
    pub clock: Clock,
    /// Who asks, for whom?
    pub identity: Arc<Identity>,
    /// What is it?
    pub catalog: Catalog,
    /// What must outlive a call.
    pub store: Arc<Store>,
    /// Has a person stopped this?
    pub freezes: Arc<Freezes>,
    /// What happens too often?
    pub alarms: Arc<Alarms>,
    /// Is there room right now?
    pub rates: Arc<Rates>,
    /// Does an agent go round in circles?
    pub loops: Arc<Loops>,
    /// How many calls are in the process?
    pub process: Arc<Lanes>,
    /// Where it goes, and whether the road is open.
    pub sites: HashMap<Arc<str>, Site>,
    /// What does the system of record say?
    pub lookups: Lookups,
    /// May they?
    pub policy: Arc<Policy>,
    /// Were they allowed to before, and is nothing different?
    pub lasting: Lasting,
    /// Is it done, and how much runs by itself?
    pub rollout: Rollout,
    /// Did a human say yes?
    pub approvals: Approvals,
    /// Who outside is told?
    pub notify: Notify,
    /// With which key?
    pub vault: Arc<Vault>,
    /// The way out.
    pub outbound: Arc<Outbound>,
    /// Can we prove it?
    pub audit: Arc<Audit>,
    /// Where the log is, when it is in files.
    pub audit_dir: Option<std::path::PathBuf>,
    /// How is it going?
    pub telemetry: Arc<Telemetry>,
    /// Over policies and contracts, as records and answers name it.
    pub policy_digest: Arc<str>,
    /// Whether a person said that the store is new.
    pub store_is_new: bool,
    /// What outlives this snapshot, but for the stages above that do.
    pub standing: Arc<Standing>,
    /// Another snapshot has taken its place, or the process stops: what it does by itself ends. Calls that
    /// began with it go on with it.
    pub closing: tokio_util::sync::CancellationToken,
}

/// One upstream, as the gate needs it.
#[derive(Debug)]
pub struct Site {
    /// Where it is.
    pub upstream: Upstream,
    /// Whether the road is open.
    pub breaker: Arc<Breaker>,
    /// How many may be on it.
    pub lanes: Arc<Lanes>,
    /// Whether its idempotency keys are trusted.
    pub trusted: bool,
    /// Headers that the configuration sets.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Over its address, those headers and the names of its secrets: who is reached, and as whom.
    pub origin: Digest,
}

/// What becomes of a call that was not turned back.
#[derive(Debug)]
pub enum Admission {
    /// It is sent, now, once.
    Forward(Box<Permit>),
    /// It ran before; this is what came back.
    Replay(Box<Replay>),
}

impl Gate {
    /// One request, whole; one answer.
    pub async fn handle(&self, request: Request) -> Answer {
        if let Some(answer) = self.own_path(&request).await {
            return answer;
        }
        let mut evidence = Evidence::of(&request, &self.clock);
        evidence.traced_by(&self.telemetry, &request);
        let place = match self.place(&request) {
            Ok(place) => place,
            Err(refusal) => return self.leave(Err(refusal), &evidence),
        };
        let mut admission = self.admit(&request, &mut evidence).await;
        let mut place = Some(place);
        if let Err(refusal) = &admission
            && let Some((operation, span)) = evidence.patience(refusal)
        {
            // Who waits for a person keeps nobody from being served, and is answered from memory then.
            place = None;
            Box::pin(self.wait_for(operation, span)).await;
            evidence = evidence.anew(&request, &self.clock);
            admission = self.admit(&request, &mut evidence).await;
        }
        let answer = match admission {
            Ok(Admission::Forward(permit)) => self.execute(permit, &mut evidence).await,
            Ok(Admission::Replay(replay)) => Box::pin(self.replay(*replay, &mut evidence)).await,
            Err(refusal) => Err(refusal),
        };
        drop(place);
        self.leave(answer, &evidence)
    }

    /// Judges a call before it leaves.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] to answer with. Nothing was sent.
    async fn admit(
        &self,
        request: &Request,
        evidence: &mut Evidence,
    ) -> Result<Admission, Refusal> {
        let judgement = self.judge(request, evidence).await;
        // SECURITY: evidence first. The judgement comes back only once it is on record.
        let mark = evidence.mark(&self.clock);
        let judgement = self.on_record(judgement, evidence).await;
        evidence.passed("record", mark, &self.clock);
        judgement
    }

    /// The path. Each line learns something or turns the call back.
    ///
    /// The order is safety: recall comes before everything that the effect itself may have changed,
    /// and no refusal of an effect leaves before it; room is taken last, in one step of the store.
    async fn judge(
        &self,
        request: &Request,
        evidence: &mut Evidence,
    ) -> Result<Admission, Refusal> {
        let mut asked = self.ask(request, evidence).await?;
        let mark = evidence.mark(&self.clock);
        let recalled = self.recall_beside_signals(&mut asked, evidence).await;
        evidence.passed("recall", mark, &self.clock);
        let (recalled, early) = recalled?;
        let mut seen = match recalled {
            Recall::Fresh(seen) => seen,
            Recall::Known(replay) => return Ok(Admission::Replay(replay)),
        };
        self.freezes.check(&asked.call, &asked.caller)?;
        evidence.taken = Some(self.take_rates(&asked).await?);
        let (mut road, mut early) = match early {
            Some(Early { road, facts }) => (road, Some(facts)),
            None => (self.open_road(&asked).await?, None),
        };
        // BOUND: facts that keep changing under a call are read three times.
        for _ in 0..3 {
            let judged = self.judge_facts(&asked, &mut road, early.take(), evidence).await?;
            if !asked.call.class.is_effect() {
                return self.permit(asked, judged, None, road);
            }
            // Its facts may have shown that the upstream is not well: an effect does not try the road.
            road.still_open()?;
            let entrance = Entrance::Asked { request, seen };
            let mark = evidence.mark(&self.clock);
            let room = Box::pin(self.reserve(&asked, &judged, entrance, evidence)).await;
            evidence.passed("reserve", mark, &self.clock);
            match room? {
                Room::Granted(ticket) => return self.permit(asked, judged, Some(ticket), road),
                Room::Known(admission) => return Ok(admission),
                // Another effect on the same resource ended meanwhile: what was read is old.
                Room::Stale(moved) => seen = moved,
            }
        }
        Err(self.still_moving(evidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<'a, F>(_: impl FnOnce(&'a Gate, Request) -> F) -> usize {
        size_of::<F>()
    }

    // Every call carries it, and it is copied each time that it changes hands: what only some calls
    // need (facts, the store, a handshake) is boxed where it begins.
    #[test]
    fn a_call_is_small() {
        let bytes = size(Gate::handle);
        assert!(bytes <= 4 << 10, "{bytes} bytes");
    }
}

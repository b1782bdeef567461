//! A public answer goes on as it comes, and how it ended is put on record when it has. One that came whole
//! is answered like any other read.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::{Event, UpstreamSeen};
use crate::breaker::{Health, Reached};
use crate::call::{Answer, Body, Ended};
use crate::decision::Verdict;
use crate::gate::execute::SOON;
use crate::gate::road;
use crate::gate::{Evidence, Gate, Permit, Site};
use crate::outbound::{Connection, Stream};
use crate::refusal::Refusal;

impl Gate {
    /// Sends a read whose answer nobody need judge.
    pub(super) async fn stream(
        &self,
        permit: &mut Permit,
        site: &Site,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let mut send = self.outgoing(permit, site)?;
        self.hand_on(&mut send, evidence);
        let name = &site.upstream.name;
        let pack = Arc::clone(&permit.asked.call.action.pack);
        let sent = self.clock.steady();
        let stream = self.outbound.exchange_stream(&site.upstream, send, Connection::Pooled).await;
        let (head, mut chunks) = match stream {
            Stream::Answered(head, chunks) => (head, chunks),
            Stream::Whole(reply) => {
                self.streamed(permit, (road::health(&pack, Some(&reply)), sent));
                evidence.answered(&reply, self.clock.steady().saturating_sub(sent));
                return self.disclose(permit, &reply, None, evidence);
            }
            Stream::NotSent(why) => {
                self.streamed(permit, (Health::Ill, sent));
                return Err(Refusal::upstream_unreachable(name, SOON).because(why));
            }
            Stream::Unknown(why) => {
                self.streamed(permit, (Health::Ill, sent));
                return Err(Refusal::upstream_timeout(name, SOON).because(why));
            }
        };
        self.streamed(permit, (Health::of(Some(head.status)), sent));
        evidence.answered(&head, self.clock.steady().saturating_sub(sent));
        let mut answer = self.disclose(permit, &head, None, evidence)?;
        let lane = permit.road.take_lane();
        let told = self.told_at_end(evidence, sent);
        chunks.at_end(move |ended| {
            drop(lane);
            told(ended);
        });
        answer.body = Body::Stream(chunks);
        Ok(answer)
    }

    fn streamed(&self, permit: &mut Permit, (health, sent): (Health, Duration)) {
        let span = self.clock.steady().saturating_sub(sent);
        self.saw(&mut permit.road, Reached::Action, (health, span));
    }

    /// What is told once it has ended. It keeps no gate: a reload may have replaced it by then.
    fn told_at_end(
        &self,
        evidence: &Evidence,
        sent: Duration,
    ) -> impl FnOnce(Ended) + Send + 'static + use<> {
        let mut entry = evidence.entry(Event::Ended, Verdict::Allow, &self.policy_digest);
        let (audit, telemetry) = (self.audit.clone(), self.telemetry.clone());
        let (clock, closing) = (self.clock.clone(), self.standing.stopping.clone());
        let upstream = evidence.upstream_name.clone().unwrap_or_default();
        move |ended| {
            // At the end of the process its agents are let go, and do not leave.
            let let_go = ended == Ended::Agent && closing.is_cancelled();
            let ended = if let_go { Ended::Stopped } else { ended };
            let span = clock.steady().saturating_sub(sent);
            entry.state = Some(ended.name());
            entry.upstream = Some(UpstreamSeen {
                duration_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
                ..entry.upstream.take().unwrap_or_default()
            });
            if audit.note(entry).is_err() {
                telemetry.evidence_gap();
            }
            telemetry.stream_ended(&upstream, ended.name(), span);
        }
    }
}

//! What was admitted is sent, once; what happened is settled; what may leave is answered. The sweep
//! executes approved holds this way too: there is no other.

use std::sync::Arc;

use crate::breaker::{Health, Pass};
use crate::call::{Answer, Body, Outcome};
use crate::disclosure::{self, Question, Ran};
use crate::gate::{Evidence, Gate, Permit, Site, Ticket};
use crate::operation;
use crate::outbound::{Connection, Exchange, Outgoing, Reply, Stream};
use crate::refusal::Refusal;
use crate::store::StoredAnswer;

impl Gate {
    /// Sends an admitted call and answers with what may leave of what came back.
    pub(super) async fn execute(
        &self,
        permit: Permit,
        mut road: Pass,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let site = self.site(&permit.call)?;
        if let Some(ticket) = permit.ticket {
            return self.effect(&permit, (site, ticket), road, evidence).await;
        }
        let send = self.outgoing(&permit, site);
        if permit.call.action.stream {
            return self.stream(&permit, site, send, road).await;
        }
        let exchange = self.outbound.exchange(&site.upstream, send, Connection::Pooled).await;
        road.saw(health(&exchange));
        drop(road);
        let reply = match exchange {
            Exchange::Answered(reply) => reply,
            Exchange::NotSent(why) => return Err(self.unreachable(&site.upstream.name, &why)),
            Exchange::Unknown(why) => {
                let wait = std::time::Duration::from_secs(2);
                return Err(Refusal::upstream_timeout(&site.upstream.name, wait).because(why));
            }
        };
        evidence.upstream(&reply);
        self.disclose(&permit, &reply, None, evidence)
    }

    /// An effect: what happened is settled before anyone is told.
    async fn effect(
        &self,
        permit: &Permit,
        (site, ticket): (&Site, Ticket),
        mut road: Pass,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let (outcome, exchange) = match self.freezes.check(&permit.call, &permit.caller) {
            // I11: what has not left yet is stopped by a freeze.
            Err(frozen) => (Outcome::NotSent, Exchange::NotSent(frozen.detail)),
            Ok(()) => {
                let mut send = self.outgoing(permit, site);
                operation::put_key(&permit.call.action, ticket.operation, &mut send);
                let connection = if site.trusted { Connection::Pooled } else { Connection::Fresh };
                let exchange = self.outbound.exchange(&site.upstream, send, connection).await;
                road.saw(health(&exchange));
                (operation::outcome(&permit.call.action, &exchange), exchange)
            }
        };
        drop(road);
        let stored = match &exchange {
            Exchange::Answered(reply) => Some(stored(reply)),
            Exchange::NotSent(_) | Exchange::Unknown(_) => None,
        };
        if let Exchange::Answered(reply) = &exchange {
            evidence.upstream(reply);
        }
        self.settle(ticket, outcome, stored, evidence).await;
        match (outcome, exchange) {
            (Outcome::Unknown, Exchange::Answered(reply)) => {
                let why = format!("the upstream answered {}", reply.status);
                Err(Refusal::outcome_unknown(ticket.operation).because(why))
            }
            (Outcome::Unknown, Exchange::Unknown(why) | Exchange::NotSent(why)) => {
                Err(Refusal::outcome_unknown(ticket.operation).because(why))
            }
            (_, Exchange::Answered(reply)) => {
                self.disclose(permit, &reply, Some((ticket.operation, Ran::Now)), evidence)
            }
            (_, Exchange::NotSent(why) | Exchange::Unknown(why)) => {
                Err(self.unreachable(&site.upstream.name, &why).about(ticket.operation))
            }
        }
    }

    fn unreachable(&self, upstream: &str, why: &str) -> Refusal {
        Refusal::upstream_unreachable(upstream, std::time::Duration::from_secs(2)).because(why)
    }

    /// A public answer goes on as it comes.
    async fn stream(
        &self,
        permit: &Permit,
        site: &Site,
        send: Outgoing,
        mut road: Pass,
    ) -> Result<Answer, Refusal> {
        let stream = self.outbound.exchange_stream(&site.upstream, send, Connection::Pooled).await;
        match stream {
            Stream::Answered(head, chunks) => {
                road.saw(Health::of(Some(head.status)));
                let question = self.question(permit);
                let mut answer = disclosure::release(&question, &head)?.answer;
                answer.body = Body::Stream(chunks);
                disclosure::mark(&mut answer, None, None);
                Ok(answer)
            }
            Stream::NotSent(why) => {
                road.saw(Health::Ill);
                Err(self.unreachable(&site.upstream.name, &why))
            }
            Stream::Unknown(why) => {
                road.saw(Health::Ill);
                let wait = std::time::Duration::from_secs(2);
                Err(Refusal::upstream_timeout(&site.upstream.name, wait).because(why))
            }
        }
    }

    /// What goes upstream: the agent's own bytes, our secret, and nothing else of ours but the key.
    fn outgoing(&self, permit: &Permit, site: &Site) -> Outgoing {
        let call = &permit.call;
        let mut headers = call.headers.clone();
        headers.extend(site.headers.iter().cloned());
        disclosure::prepare(call, &mut headers);
        let mut send = Outgoing {
            method: call.method.clone(),
            target: call.target.clone(),
            headers,
            body: call.body.clone(),
        };
        permit.arm(&mut send);
        send
    }

    /// What may leave of an answer.
    fn disclose(
        &self,
        permit: &Permit,
        reply: &Reply,
        ran: Option<(crate::call::OperationId, Ran)>,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let released = disclosure::release(&self.question(permit), reply)?;
        evidence.withheld(released.withheld);
        let mut answer = released.answer;
        disclosure::mark(&mut answer, ran, evidence.rate.as_ref());
        Ok(answer)
    }

    fn question<'p>(&self, permit: &'p Permit) -> Question<'p> {
        Question {
            call: &permit.call,
            caller: &permit.caller,
            account: permit.account.as_deref(),
            facts: &permit.facts,
            internal: permit.contract.internal,
        }
    }
}

fn health(exchange: &Exchange) -> Health {
    match exchange {
        Exchange::Answered(reply) => Health::of(Some(reply.status)),
        Exchange::NotSent(_) | Exchange::Unknown(_) => Health::Ill,
    }
}

/// What is kept of an answer, to be told again.
fn stored(reply: &Reply) -> StoredAnswer {
    StoredAnswer {
        status: reply.status,
        headers: operation::kept_headers(&reply.headers),
        body: reply.body.clone(),
    }
}

/// An answer that was kept, as it came.
pub(super) fn kept(answer: &StoredAnswer) -> Reply {
    let mut headers = http::HeaderMap::with_capacity(answer.headers.len());
    for (name, value) in &answer.headers {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        let value = http::HeaderValue::from_bytes(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    Reply { status: answer.status, headers, body: answer.body.clone() }
}


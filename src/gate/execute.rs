//! What was admitted is sent, once; what happened is settled; what may leave is answered. The sweep
//! executes approved holds this way too: there is no other.

use std::time::Duration;

use parking_lot::Mutex;

use crate::action::Action;
use crate::breaker::Reached;
use crate::call::{Answer, OperationId, Outcome};
use crate::disclosure::{self, Question, Ran};
use crate::gate::record::Told;
use crate::gate::{Evidence, Gate, Permit, Site, Ticket};
use crate::operation;
use crate::outbound::{Connection, Exchange, Outgoing, Reply};
use crate::refusal::Refusal;
use crate::store::StoredAnswer;

/// BOUND: when a read that failed may be asked again; about one restart of a service.
pub(super) const SOON: Duration = Duration::from_secs(2);

impl Gate {
    /// Sends an admitted call and answers with what may leave of what came back.
    pub(super) async fn execute(
        &self,
        mut permit: Box<Permit>,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let site = self.site(&permit.asked.call)?;
        match permit.ticket {
            Some(ticket) => Box::pin(self.effect(&mut permit, (site, ticket), evidence)).await,
            None if permit.asked.call.action.stream => {
                Box::pin(self.stream(&mut permit, site, evidence)).await
            }
            None => self.read(&mut permit, site, evidence).await,
        }
    }

    /// A read: its whole answer is judged before a byte of it leaves.
    async fn read(
        &self,
        permit: &mut Permit,
        site: &Site,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let mut send = self.outgoing(permit, site)?;
        self.hand_on(&mut send, evidence);
        let sent = self.clock.steady();
        let exchange = self.outbound.exchange(&site.upstream, send, Connection::Pooled).await;
        self.was_away(evidence, site, (sent, &exchange));
        self.saw_own(permit, (&exchange, sent));
        let name = &site.upstream.name;
        let reply = match exchange {
            Exchange::Answered(reply) => reply,
            Exchange::NotSent(why) => {
                return Err(Refusal::upstream_unreachable(name, SOON).because(why));
            }
            Exchange::Unknown(why) => {
                return Err(Refusal::upstream_timeout(name, SOON).because(why));
            }
        };
        evidence.answered(&reply, self.clock.steady().saturating_sub(sent));
        self.disclose(permit, &reply, None, evidence)
    }

    /// An effect: what happened is settled before anyone is told.
    async fn effect(
        &self,
        permit: &mut Permit,
        (site, ticket): (&Site, Ticket),
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let send = match self.last_look(permit, (site, ticket)) {
            Ok(send) => send,
            Err(refusal) => return Err(self.not_sent(ticket, refusal, evidence).await),
        };
        let sent = self.send_once(permit, (site, ticket, send), evidence).await;
        let (outcome, exchange) = match sent {
            Ok(sent) => sent,
            Err(refusal) => return Err(self.not_sent(ticket, refusal, evidence).await),
        };
        let mark = evidence.mark(&self.clock);
        self.settle(told_by(&permit.asked.call.action, ticket, (outcome, &exchange)), evidence)
            .await;
        evidence.passed("settle", mark, &self.clock);
        let unknown = |why| Err(Refusal::outcome_unknown(ticket.operation).because(why));
        match (outcome, exchange) {
            (Outcome::Unknown, Exchange::Answered(reply)) => {
                unknown(format!("the upstream answered {}", reply.status))
            }
            (Outcome::Unknown, Exchange::Unknown(why) | Exchange::NotSent(why)) => unknown(why),
            // SECURITY: whose credential was turned away is ours; it is not the agent's to mend.
            (Outcome::NotSent, Exchange::Answered(reply)) if matches!(reply.status, 401 | 403) => {
                let refusal = Refusal::undecidable(format!(
                    "upstream `{}` answered {} to the {} credential",
                    site.upstream.name,
                    reply.status,
                    permit.asked.call.class.name()
                ));
                Err(refusal.about(ticket.operation))
            }
            (_, Exchange::Answered(reply)) => {
                self.disclose(permit, &reply, Some((ticket.operation, Ran::Now)), evidence)
            }
            (_, Exchange::NotSent(why) | Exchange::Unknown(why)) => {
                let refusal = Refusal::upstream_unreachable(&site.upstream.name, SOON);
                Err(refusal.because(why).about(ticket.operation))
            }
        }
    }

    /// It was stopped before its first byte: the same may run again.
    async fn not_sent(&self, ticket: Ticket, refusal: Refusal, evidence: &mut Evidence) -> Refusal {
        let note = if refusal.why.is_empty() { &refusal.detail } else { &refusal.why };
        self.settle(Told::new(ticket, Outcome::NotSent, note), evidence).await;
        refusal.about(ticket.operation)
    }

    /// Whether it may leave now.
    fn may_leave(&self, permit: &Permit, ticket: Ticket) -> Result<(), Refusal> {
        let asked = &permit.asked;
        // I11: what has not left yet is stopped by a freeze.
        self.freezes.check(&asked.call, &asked.caller)?;
        // INVARIANT: I4, what leaves late could arrive after others have concluded that it did not.
        if self.clock.steady() > ticket.until {
            return Err(Refusal::undecidable("it took too long to be sent"));
        }
        Ok(())
    }

    /// Sends it once, unless it is stopped while it connects.
    pub(super) async fn depart(
        &self,
        (permit, ticket): (&Permit, Ticket),
        (site, send): (&Site, Outgoing),
        connection: Connection,
    ) -> Result<Exchange, Refusal> {
        let stopped = Mutex::new(None);
        let stop = || {
            let refusal = self.may_leave(permit, ticket).err()?;
            let why = refusal.detail.clone();
            *stopped.lock() = Some(refusal);
            Some(why)
        };
        let to = &site.upstream;
        let exchange = self.outbound.exchange_unless(to, send, (connection, &stop)).await;
        match (exchange, stopped.into_inner()) {
            (Exchange::NotSent(_), Some(refusal)) => Err(refusal),
            (exchange, _) => Ok(exchange),
        }
    }

    /// What an effect sends, unless something stops it at the last moment.
    pub(super) fn last_look(
        &self,
        permit: &Permit,
        (site, ticket): (&Site, Ticket),
    ) -> Result<Outgoing, Refusal> {
        self.may_leave(permit, ticket)?;
        let mut send = self.outgoing(permit, site)?;
        operation::put_key(&permit.asked.call, ticket.operation, &mut send)
            .map_err(Refusal::undecidable)?;
        Ok(send)
    }

    /// One attempt of an effect, and what it comes to.
    async fn send_once(
        &self,
        permit: &mut Permit,
        (site, ticket, mut send): (&Site, Ticket, Outgoing),
        evidence: &mut Evidence,
    ) -> Result<(Outcome, Exchange), Refusal> {
        self.hand_on(&mut send, evidence);
        let keyed = site.trusted && operation::is_keyed(&permit.asked.call.action, &send.method);
        let connection = if keyed { Connection::Pooled } else { Connection::Fresh };
        let sent = self.clock.steady();
        let exchange = self.depart((permit, ticket), (site, send), connection).await?;
        self.was_away(evidence, site, (sent, &exchange));
        if let Exchange::Answered(reply) = &exchange {
            evidence.answered(reply, self.clock.steady().saturating_sub(sent));
        }
        let outcome = operation::outcome(&permit.asked.call.action, &exchange);
        self.saw_own(permit, (&exchange, sent));
        Ok((outcome, exchange))
    }

    /// How the upstream did with the call itself, which left at `sent`.
    pub(super) fn saw_own(&self, permit: &mut Permit, (exchange, sent): (&Exchange, Duration)) {
        let pack = &permit.asked.call.action.pack;
        self.saw_exchange(&mut permit.road, Reached::Action, (pack, exchange, sent));
    }

    /// What goes upstream: the agent's own bytes, our secret, and nothing else of ours.
    pub(super) fn outgoing(&self, permit: &Permit, site: &Site) -> Result<Outgoing, Refusal> {
        let call = &permit.asked.call;
        let mut headers = call.headers.clone();
        headers.retain(|(name, _)| !site.headers.iter().any(|(own, _)| own == name));
        headers.extend(site.headers.iter().cloned());
        disclosure::prepare(call, &mut headers);
        let mut send = Outgoing {
            method: call.method.clone(),
            target: call.target.clone(),
            headers,
            body: call.body.clone(),
        };
        permit.arm(&mut send).map_err(Refusal::undecidable)?;
        Ok(send)
    }

    /// What may leave of an answer.
    pub(super) fn disclose(
        &self,
        permit: &Permit,
        reply: &Reply,
        ran: Option<(OperationId, Ran)>,
        evidence: &mut Evidence,
    ) -> Result<Answer, Refusal> {
        let asked = &permit.asked;
        let question = Question {
            call: &asked.call,
            caller: &asked.caller,
            account: asked.account.as_deref(),
            facts: &permit.facts,
            internal: asked.contract.internal,
        };
        let mark = evidence.mark(&self.clock);
        let released = disclosure::release(&question, reply);
        evidence.passed("disclose", mark, &self.clock);
        let released = released?;
        evidence.withheld = released.withheld;
        evidence.is_mismatch = released.is_mismatch;
        let mut answer = released.answer;
        let rate = evidence.taken.and_then(|taken| self.rates.fields(taken));
        disclosure::mark(&mut answer, ran, rate.as_ref());
        if let Some(shadow) = &evidence.shadow {
            disclosure::mark_shadow(&mut answer, shadow);
        }
        Ok(answer)
    }
}

/// What an exchange tells of the operation it was for.
pub(super) fn told_by(
    action: &Action,
    ticket: Ticket,
    (outcome, exchange): (Outcome, &Exchange),
) -> Told {
    match exchange {
        Exchange::Answered(reply) => Told {
            made: operation::made(action, reply),
            answer: Some(stored(reply)),
            ..Told::new(ticket, outcome, "")
        },
        Exchange::NotSent(why) | Exchange::Unknown(why) => Told::new(ticket, outcome, why),
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

//! What would the upstream have answered? A script in place of the network, for cases that need no
//! socket, and a log of all that would have left.
//!
//! It reads no clock and draws no random number: the same calls get the same answers.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Connection, Exchange, Outgoing, Reply, Stream, Upstream};
use crate::call::{Chunk, Chunks};

/// A request as it would have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The upstream's name.
    pub upstream: Box<str>,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: Box<str>,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
    /// The connection that it asked for.
    pub connection: Connection,
}

/// What then happens.
#[derive(Debug, Clone)]
pub struct Scene {
    /// After how long.
    pub after: Duration,
    /// How it goes.
    pub then: Exchange,
}

impl Scene {
    /// At once, `status` and `body`, as JSON.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, json)]);
        let reply = Reply { status, headers, body: body.into() };
        Self { after: Duration::ZERO, then: Exchange::Answered(reply) }
    }

    /// At once, nothing leaves.
    pub fn not_sent(why: &str) -> Self {
        Self { after: Duration::ZERO, then: Exchange::NotSent(why.to_owned()) }
    }

    /// At once, it may have happened.
    pub fn unknown(why: &str) -> Self {
        Self { after: Duration::ZERO, then: Exchange::Unknown(why.to_owned()) }
    }

    /// The same, after `span`.
    #[must_use]
    pub fn after(mut self, span: Duration) -> Self {
        self.after = span;
        self
    }
}

/// One line of a script.
#[derive(Debug, Clone)]
pub struct Rule {
    /// For this upstream; any when `None`.
    pub upstream: Option<Box<str>>,
    /// For this method; any when `None`.
    pub method: Option<Method>,
    /// For this target; with a `*` at its end, for all that begin so.
    pub target: Box<str>,
    /// So many times, then the rule is used up; for ever when `None`.
    pub times: Option<usize>,
    /// What then happens.
    pub scene: Scene,
}

impl Rule {
    /// For ever, at any upstream: `GET /v1/charges/ch_1`, `POST /v1/refunds*`, or `* /v1/x`.
    pub fn on(call: &str, scene: Scene) -> Self {
        let (method, target) = call.split_once(' ').unwrap_or(("*", call));
        let method = Method::from_bytes(method.as_bytes()).ok().filter(|m| m.as_str() != "*");
        Self { upstream: None, method, target: target.into(), times: None, scene }
    }

    /// The same, once.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.times = Some(1);
        self
    }

    fn covers(&self, sent: &Sent) -> bool {
        let target = match self.target.strip_suffix('*') {
            Some(start) => sent.target.starts_with(start),
            None => sent.target == self.target,
        };
        target
            && self.times != Some(0)
            && self.upstream.as_ref().is_none_or(|name| *name == sent.upstream)
            && self.method.as_ref().is_none_or(|method| *method == sent.method)
    }
}

type Play = Box<dyn FnMut(&Sent) -> Scene + Send>;

/// A script and the log of its play.
pub struct Scripted {
    play: Mutex<Play>,
    log: Mutex<Vec<(Sent, Left)>>,
}

/// Whether a request counts as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Yes,
    No,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scripted({} calls)", self.log.lock().len())
    }
}

impl Scripted {
    /// The first rule that covers a call and is not used up answers it; a call without a rule is not
    /// sent.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        Self::by(move |sent| {
            let Some(rule) = rules.iter_mut().find(|rule| rule.covers(sent)) else {
                return Scene::not_sent(&format!("no rule for {} {}", sent.method, sent.target));
            };
            rule.times = rule.times.map(|left| left.saturating_sub(1));
            rule.scene.clone()
        })
    }

    /// `play` answers each call; it may keep state, so that an upstream can be imitated.
    pub fn by(play: impl FnMut(&Sent) -> Scene + Send + 'static) -> Self {
        Self { play: Mutex::new(Box::new(play)), log: Mutex::new(Vec::new()) }
    }

    /// All that left so far, in order: what was answered and what is unknown.
    pub fn sent(&self) -> Vec<Sent> {
        let log = self.log.lock();
        log.iter().filter(|(_, left)| *left == Left::Yes).map(|(sent, _)| sent.clone()).collect()
    }

    /// All that was tried so far, in order, also what did not leave.
    pub fn tried(&self) -> Vec<Sent> {
        self.log.lock().iter().map(|(sent, _)| sent.clone()).collect()
    }

    pub(super) async fn exchange(
        &self,
        to: &Upstream,
        send: Outgoing,
        connection: Connection,
    ) -> Exchange {
        let sent = Sent {
            upstream: (*to.name).into(),
            method: send.method,
            target: send.target,
            headers: send.headers,
            body: send.body,
            connection,
        };
        let scene = {
            let mut play = self.play.lock();
            let scene = play(&sent);
            let left = match scene.then {
                Exchange::NotSent(_) => Left::No,
                Exchange::Answered(_) | Exchange::Unknown(_) => Left::Yes,
            };
            // Logged before the wait: a caller that goes away must still be seen to have sent.
            self.log.lock().push((sent, left));
            scene
        };
        if !scene.after.is_zero() {
            tokio::time::sleep(scene.after).await;
        }
        scene.then
    }

    pub(super) async fn exchange_stream(
        &self,
        to: &Upstream,
        send: Outgoing,
        connection: Connection,
    ) -> Stream {
        match self.exchange(to, send, connection).await {
            Exchange::NotSent(why) => Stream::NotSent(why),
            Exchange::Unknown(why) => Stream::Unknown(why),
            Exchange::Answered(Reply { status, headers, body }) => {
                let (sender, receiver) = mpsc::channel(2);
                // There is room for both, so neither can fail.
                let sent = sender.try_send(Chunk::Bytes(body)).is_ok()
                    && sender.try_send(Chunk::End).is_ok();
                debug_assert!(sent, "the channel holds two");
                let head = Reply { status, headers, body: Bytes::new() };
                Stream::Answered(head, Chunks::new(receiver))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use super::super::Outbound;
    use super::*;

    fn send(call: &str) -> Outgoing {
        let (method, target) = call.split_once(' ').unwrap();
        Outgoing {
            method: method.parse().unwrap(),
            target: target.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_rule_that_covers_a_call_answers_it_while_it_lasts() {
        let outbound = Outbound::Scripted(Scripted::new(vec![
            Rule::on("POST /refunds", Scene::unknown("cut")).once(),
            Rule::on("POST /refunds", Scene::json(200, "{}").after(Duration::from_secs(5))),
            Rule::on("GET /orders/*", Scene::json(200, "[]")),
            Rule::on("* /down", Scene::not_sent("refused")),
        ]));
        let to = Upstream::parse("shop", "http://127.0.0.1:1").unwrap();
        let start = tokio::time::Instant::now();
        let mut outcomes = Vec::new();
        for call in
            ["POST /refunds", "POST /refunds", "GET /orders/1?a=b", "PUT /down", "DELETE /orders/1"]
        {
            outcomes.push(match outbound.exchange(&to, send(call), Connection::Fresh).await {
                Exchange::Answered(reply) => format!("{} {:?}", reply.status, reply.body),
                Exchange::NotSent(why) | Exchange::Unknown(why) => why,
            });
        }
        let expected =
            ["cut", "200 b\"{}\"", "200 b\"[]\"", "refused", "no rule for DELETE /orders/1"];
        assert_eq!(outcomes, expected);
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        let Outbound::Scripted(script) = outbound else { unreachable!() };
        let sent = script.sent();
        assert_eq!(sent.len(), 3);
        assert_eq!((&*sent[2].upstream, &*sent[2].target), ("shop", "/orders/1?a=b"));
        assert_eq!(script.tried().len(), 5);
    }

    #[tokio::test]
    async fn a_streamed_answer_ends_with_its_mark() {
        let script = Scripted::by(|_| Scene::json(200, "abc"));
        let to = Upstream::parse("shop", "http://127.0.0.1:1").unwrap();
        let stream = Outbound::Scripted(script)
            .exchange_stream(&to, send("GET /x"), Connection::Pooled)
            .await;
        let Stream::Answered(head, mut chunks) = stream else { unreachable!() };
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(chunks.next().await, Some(Chunk::Bytes(Bytes::from_static(b"abc"))));
        assert_eq!(chunks.next().await, Some(Chunk::End));
        assert_eq!(chunks.next().await, None);
    }
}

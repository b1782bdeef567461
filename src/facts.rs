//! What does the system of record say? The facts that an action needs, read where they are kept,
//! with the credential that can only read.
//!
//! Never guesses: a look-up that fails is undecidable, one that finds nothing is the one not-found,
//! a field that an answer lacks is unknown. Never lets an id bend a path, and never tells apart, by
//! its answer or by the calls it makes, what is not there from what is somebody else's.

mod account;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};

pub use account::AccountRule;

use crate::action::{AuthPlace, FactUse, Source};
use crate::bounds::FACT_TIMEOUT;
use crate::call::{Call, Fact, Facts};
use crate::clock::{Clock, Timestamp};
use crate::credentials::ReadOnly;
use crate::outbound::{Connection, Exchange, Outbound, Outgoing, Reply, Upstream};
use crate::refusal::{Code, Fault, Refusal};
use crate::resolve::{self, Arguments, FactProblem, Said, Scope};
use crate::value::Value;
use crate::wire;

/// BOUND: all facts of a call, those that wait for others included. A chain has two links.
const GATHER_TIMEOUT: Duration = FACT_TIMEOUT.saturating_mul(2);

/// Where an upstream keeps its record.
#[derive(Debug)]
pub struct Site {
    /// Where it is.
    pub upstream: Upstream,
    /// Where its secret goes.
    pub auth: AuthPlace,
    /// Headers that the configuration sets, account selectors among them: facts are read from the
    /// account that the call goes to.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How to find out who a customer is there.
    pub account: Option<AccountRule>,
}

/// How an exchange for a fact went, for whoever watches over the upstream: its answer, or `None` when
/// there was none, and how long it took.
pub type Seen<'w> = &'w mut (dyn FnMut(Option<&Reply>, Duration) + Send);

/// The ways to the systems of record.
#[derive(Debug)]
pub struct Lookups {
    sites: HashMap<Arc<str>, Site>,
    outbound: Arc<Outbound>,
    keys: ReadOnly,
    clock: Clock,
    accounts: account::Known,
}

/// What a look-up came to.
enum Found {
    /// It.
    Fact(Fact),
    /// Nothing of that name; why, for operators.
    Nothing(String),
}

/// How one was asked for.
struct Asked {
    reply: Option<Reply>,
    span: Duration,
}

/// One look-up that is to be made.
struct Wanted<'a> {
    what: &'a FactUse,
    arguments: Arguments,
    target: String,
}

impl Lookups {
    /// Reads from these sites.
    pub fn new(
        sites: HashMap<Arc<str>, Site>,
        outbound: Arc<Outbound>,
        keys: ReadOnly,
        clock: Clock,
    ) -> Self {
        Self { sites, outbound, keys, clock, accounts: account::Known::default() }
    }

    /// Reads every fact that the call of `scope` needs: those that need no other first and at once,
    /// then those that wait for them.
    ///
    /// # Errors
    ///
    /// `not_found` when one of them is not there, `undecidable` when one could not be read,
    /// `malformed`, `missing_context` or `ambiguous` when the call does not say which.
    pub async fn gather(&self, scope: &Scope<'_>, seen: Seen<'_>) -> Result<Facts, Refusal> {
        let call = scope.call;
        if call.action.facts.is_empty() {
            return Ok(Facts::default());
        }
        resolve::one_of_each(&call.action, &Said::by(call))?;
        let reading = self.read_all(scope, seen);
        match tokio::time::timeout(GATHER_TIMEOUT, reading).await {
            Ok(facts) => facts,
            Err(_) => Err(fault(&call.action.name, "the facts together took too long").into()),
        }
    }

    async fn read_all(&self, scope: &Scope<'_>, seen: Seen<'_>) -> Result<Facts, Refusal> {
        let call = scope.call;
        let mut facts = Facts::default();
        let mut waiting: Vec<&FactUse> = call.action.facts.iter().collect();
        let (mut nothing, mut last): (Option<(String, String)>, Option<String>) = (None, None);
        while !waiting.is_empty() {
            let (ready, later) = split(&waiting);
            if ready.is_empty() {
                return Err(fault(&call.action.name, "its facts wait for each other").into());
            }
            let known = Scope { facts: &facts, ..*scope };
            let mut wanted = match &nothing {
                None => wanted(&ready, &known),
                Some(_) => Ok(Vec::new()),
            };
            // What a fact does not name, or names in no way that can be asked, is not there either.
            if let (Err(refusal), Some(target)) = (&wanted, &last)
                && refusal.code == Code::NotFound
            {
                nothing = Some((target.clone(), refusal.why.clone()));
                wanted = Ok(Vec::new());
            }
            let wanted = match &nothing {
                None => wanted?,
                // SECURITY: as many calls, one after the other, as for what is there and somebody
                // else's: the same question once more in place of each that cannot be asked.
                Some((target, _)) => again(&ready, &known, target),
            };
            last = wanted.first().map(|each| each.target.clone()).or(last);
            let asked = wanted.iter().map(|each| self.read(call, each)).collect();
            let answers = together(asked).await;
            answers.iter().for_each(|(asked, _)| seen(asked.reply.as_ref(), asked.span));
            for (each, (_, found)) in wanted.iter().zip(answers) {
                match found? {
                    Found::Nothing(why) if nothing.is_none() => {
                        nothing = Some((each.target.clone(), why));
                    }
                    Found::Fact(fact) if nothing.is_none() => {
                        facts.read.push((each.what.name.clone(), fact));
                    }
                    Found::Nothing(_) | Found::Fact(_) => {}
                }
            }
            waiting = later;
        }
        match nothing {
            Some((_, why)) => Err(Refusal::nobodys(call).because(why)),
            None => one_was_read(call, facts),
        }
    }

    /// One fact: asked, read strictly, typed.
    async fn read(&self, call: &Call, wanted: &Wanted<'_>) -> (Asked, Result<Found, Fault>) {
        let name = &wanted.what.name;
        // The moment before it was asked: what it says is not older.
        let (as_of, from) = (self.clock.now(), self.clock.steady());
        let reply = self.get(&call.upstream, &wanted.target, version(call)).await;
        let span = self.clock.steady().saturating_sub(from);
        let found = reply.as_ref().map_err(String::clone);
        let found = found.and_then(|reply| read_fact(wanted, reply, as_of));
        (Asked { reply: reply.ok(), span }, found.map_err(|why| fault(name, &why)))
    }

    /// Whatever a pack's look-up asks after a call, with the credential that can only read.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub async fn look(&self, call: &Call, target: &str) -> Result<Reply, String> {
        self.get(&call.upstream, target, version(call)).await
    }

    /// One read of an upstream, to see whether it serves.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub async fn try_read(&self, upstream: &str, target: &str) -> Result<Reply, String> {
        self.get(upstream, target, Vec::new()).await
    }

    /// One GET with the credential that can only read.
    async fn get(
        &self,
        upstream: &str,
        target: &str,
        extra: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Reply, String> {
        let site = self.sites.get(upstream).ok_or("no such upstream is configured")?;
        let secret = self.keys.open(upstream).ok_or("there is no credential for reads")?;
        let mut headers = vec![
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            (header::USER_AGENT, HeaderValue::from_static("tollhouse")),
        ];
        headers.extend(extra.into_iter().filter(|(name, _)| !has(&site.headers, name)));
        headers.extend(site.headers.iter().cloned());
        let method = http::Method::GET;
        let mut send = Outgoing { method, target: target.into(), headers, body: Bytes::new() };
        secret.expose(|bytes| send.arm(&site.auth, bytes))?;
        let exchange = self.outbound.exchange(&site.upstream, send, Connection::Pooled);
        match tokio::time::timeout(FACT_TIMEOUT, exchange).await {
            Ok(Exchange::Answered(reply)) => Ok(reply),
            Ok(Exchange::NotSent(why) | Exchange::Unknown(why)) => Err(why),
            Err(_) => Err("no answer in time".into()),
        }
    }
}

fn has(headers: &[(HeaderName, HeaderValue)], name: &HeaderName) -> bool {
    headers.iter().any(|(own, _)| own == name)
}

fn fault(name: &str, why: &str) -> Fault {
    Fault::Fact(name.to_owned(), why.to_owned())
}

/// The vendor's version as the agent asked for it: a fact is read in the shape that the agent will
/// see. Nothing else of the agent's goes along.
fn version(call: &Call) -> Vec<(HeaderName, HeaderValue)> {
    let pack = &call.action.pack;
    let wanted =
        |name: &HeaderName| name.as_str().ends_with("-version") && pack.headers.contains(name);
    call.headers.iter().filter(|(name, _)| wanted(name)).cloned().collect()
}

/// What can be looked up now, and what waits for a fact that is still waiting.
fn split<'a>(waiting: &[&'a FactUse]) -> (Vec<&'a FactUse>, Vec<&'a FactUse>) {
    let waits = |source: &Source| match source {
        Source::Fact { fact, .. } => waiting.iter().any(|other| other.name == *fact),
        Source::Path(_)
        | Source::Query(_)
        | Source::Body(_)
        | Source::CallerCustomer
        | Source::CallerAccount => false,
    };
    let is_ready = |each: &&FactUse| {
        !each.given.as_ref().is_some_and(waits)
            && !each.with.iter().any(|(_, source)| waits(source))
    };
    waiting.iter().copied().partition(is_ready)
}

/// Of several ways to one fact one must have applied, also where only another fact could tell.
fn one_was_read(call: &Call, facts: Facts) -> Result<Facts, Refusal> {
    let uses = &call.action.facts;
    let unread = |name: &str| !facts.read.iter().any(|(own, _)| **own == *name);
    let several = |name: &str| uses.iter().filter(|each| *each.name == *name).count() > 1;
    match uses.iter().find(|each| several(&each.name) && unread(&each.name)) {
        Some(each) => Err(Refusal::missing_context(&each.name, "what this is about")),
        None => Ok(facts),
    }
}

/// The look-ups of those that apply. All are known to be askable before the first is asked.
fn wanted<'a>(ready: &[&'a FactUse], scope: &Scope<'_>) -> Result<Vec<Wanted<'a>>, Refusal> {
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for what in ready.iter().copied().filter(|each| resolve::applies(each, scope)) {
        let twice = wanted.iter().any(|other| other.what.name == what.name)
            || scope.facts.read.iter().any(|(name, _)| *name == what.name);
        if twice {
            return Err(Refusal::ambiguous(&what.name, "expected one way to find it, not several"));
        }
        let (arguments, target) = question(what, scope)?;
        wanted.push(Wanted { what, arguments, target });
    }
    Ok(wanted)
}

fn question(what: &FactUse, scope: &Scope<'_>) -> Result<(Arguments, String), Refusal> {
    let asked = resolve::arguments(what, scope).and_then(|arguments| {
        let target = resolve::fact_target(&what.rule, &arguments)?;
        // SECURITY: what no pattern describes enters no path.
        let bare = |(name, _): &&(Box<str>, Box<str>)| {
            !what.rule.patterns.iter().any(|(known, _)| known == name)
        };
        match arguments.iter().find(bare) {
            Some((name, _)) => Err(FactProblem::NoId(name.clone())),
            None => Ok((arguments, target)),
        }
    });
    asked.map_err(|problem| match problem {
        FactProblem::Missing(_) if !depends_on_facts(what) => {
            let place =
                what.with.iter().find(|(_, source)| resolve::source(source, scope).is_none());
            let place = place.or(what.with.first()).map(|(_, source)| resolve::place(source));
            Refusal::malformed(place.as_deref().unwrap_or(&what.name), "expected one id")
        }
        // What another fact does not name, and what is no id, is not there; no call can tell more.
        FactProblem::Missing(_)
        | FactProblem::NoId(_)
        | FactProblem::NotFound
        | FactProblem::Several
        | FactProblem::WrongId(_)
        | FactProblem::NoList(_) => Refusal::nobodys(scope.call).because(problem.to_string()),
    })
}

fn depends_on_facts(what: &FactUse) -> bool {
    what.with.iter().any(|(_, source)| matches!(source, Source::Fact { .. }))
}

/// The question that found nothing, once for each look-up that would have followed.
fn again<'a>(ready: &[&'a FactUse], scope: &Scope<'_>, target: &str) -> Vec<Wanted<'a>> {
    let would = |each: &&FactUse| match &each.given {
        Some(Source::Fact { .. }) | None => true,
        Some(_) => resolve::applies(each, scope),
    };
    let mut asked: Vec<Wanted<'_>> = Vec::new();
    for what in ready.iter().copied().filter(would) {
        if !asked.iter().any(|other| other.what.name == what.name) {
            asked.push(Wanted { what, arguments: Vec::new(), target: target.to_owned() });
        }
    }
    asked
}

fn read_fact(wanted: &Wanted<'_>, reply: &Reply, as_of: Timestamp) -> Result<Found, String> {
    match reply.status {
        200 => {}
        404 => return Ok(Found::Nothing("the upstream answered 404".into())),
        status => return Err(format!("the upstream answered {status}")),
    }
    let answer: Value = wire::document(&reply.headers, &reply.body)?;
    match resolve::fact(&wanted.what.rule, &wanted.arguments, &answer, as_of) {
        Ok(fact) => Ok(Found::Fact(fact)),
        Err(problem @ FactProblem::NoList(_)) => Err(problem.to_string()),
        Err(
            problem @ (FactProblem::Missing(_)
            | FactProblem::NoId(_)
            | FactProblem::NotFound
            | FactProblem::Several
            | FactProblem::WrongId(_)),
        ) => Ok(Found::Nothing(problem.to_string())),
    }
}

/// Waits for all of them at once; their results in their order.
async fn together<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use super::*;
    use crate::action::{
        Action, FactRule, FieldRule, IdPattern, Owner, Piece, ReadAs, ResourceRule, Template,
    };
    use crate::call::{Class, FactValue, sample};
    use crate::credentials::{Reference, References, Vault};
    use crate::outbound::{Rule, Scene, Scripted, Sent};
    use crate::value::{Payload, Pointer, Syntax};

    const NOW: Timestamp = Timestamp(1_772_366_400_000);

    fn at(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    fn body(name: &str) -> Source {
        Source::Body(Pointer::of(&[name]))
    }

    fn of_fact(fact: &str, field: &str) -> Source {
        Source::Fact { fact: fact.into(), field: field.into() }
    }

    /// A rule that looks an object up by its id and reads these texts of it.
    fn rule(name: &str, fields: &[&str]) -> Arc<FactRule> {
        let field = |name: &&str| {
            let at = vec![Pointer::of(&[name])];
            ((*name).into(), FieldRule { at, read: ReadAs::Text, when: None, words: None })
        };
        let bytes = (b'a'..=b'z').chain(b'0'..=b'9').chain(*b"_.").collect();
        let pattern = IdPattern { written: "".into(), bytes, length: (1, 64) };
        Arc::new(FactRule {
            name: name.into(),
            get: Template(vec![
                Piece::Text(format!("/v1/{name}s/").into()),
                Piece::Name("id".into()),
            ]),
            patterns: vec![("id".into(), pattern)],
            id: Some(at("/id")),
            items: None,
            fields: fields.iter().map(field).collect(),
            derive: Vec::new(),
        })
    }

    fn using(name: &str, fields: &[&str], from: Source, given: Option<Source>) -> FactUse {
        FactUse {
            name: name.into(),
            rule: rule(name, fields),
            with: vec![("id".into(), from)],
            given,
        }
    }

    /// The charge of a refund: one look-up that waits for another.
    fn chain() -> Vec<FactUse> {
        vec![
            using("refund", &["charge"], body("refund"), None),
            using("charge", &["customer"], of_fact("refund", "charge"), None),
        ]
    }

    fn call(facts: Vec<FactUse>, said: &[(&str, &str)]) -> Call {
        let resource = ResourceRule { kind: "Charge".into(), id: vec![of_fact("charge", "id")] };
        let action = Action {
            facts,
            resource: Some(resource),
            ..sample::action("shop.refund.cancel", Class::Financial, Owner::Caller)
        };
        let text = |(name, value): &(&str, &str)| ((*name).into(), Value::Text((*value).into()));
        let root = Value::Map(said.iter().map(text).collect());
        Call { payload: Payload { syntax: Some(Syntax::Form), root }, ..sample::call(action) }
    }

    struct Shop {
        lookups: Lookups,
        outbound: Arc<Outbound>,
    }

    fn shop(script: Scripted, account: Option<AccountRule>) -> Shop {
        let named = References::one(Reference::Env("READ".into()));
        let environment = |name: &str| (name == "READ").then(|| "rk_1".to_owned());
        let vault =
            Vault::load(vec![("shop".into(), named)], &environment, Clock::default()).unwrap();
        let site = Site {
            upstream: Upstream::parse("shop", "http://127.0.0.1:1").unwrap(),
            auth: AuthPlace::Bearer,
            headers: vec![(
                HeaderName::from_static("shop-account"),
                HeaderValue::from_static("acct_1"),
            )],
            account,
        };
        let outbound = Arc::new(Outbound::Scripted(script));
        let lookups = Lookups::new(
            HashMap::from([("shop".into(), site)]),
            Arc::clone(&outbound),
            ReadOnly::of(Arc::new(vault)),
            Clock::by_hand(NOW),
        );
        Shop { lookups, outbound }
    }

    impl Shop {
        async fn gather(&self, call: &Call) -> Result<Facts, Refusal> {
            let (caller, facts) = (sample::caller("bot", Some("ann")), Facts::default());
            let scope = Scope { call, caller: &caller, account: Some("cus_9"), facts: &facts };
            self.lookups.gather(&scope, &mut |_, _| ()).await
        }

        fn log(&self) -> Vec<Sent> {
            let Outbound::Scripted(script) = &*self.outbound else { return Vec::new() };
            script.sent()
        }

        fn sent(&self) -> Vec<String> {
            self.log().iter().map(|sent| sent.target.to_string()).collect()
        }
    }

    fn serving(rules: &[(&str, Scene)]) -> Shop {
        let rules = rules.iter().map(|(target, scene)| Rule::on(target, scene.clone())).collect();
        shop(Scripted::new(rules), None)
    }

    fn json(text: &str) -> Scene {
        Scene::json(200, text.to_owned())
    }

    #[tokio::test]
    async fn a_fact_is_asked_with_the_reading_key_and_typed() {
        let shop = serving(&[("/v1/charges/ch_1", json(r#"{"id":"ch_1","customer":"cus_9"}"#))]);
        let call =
            call(vec![using("charge", &["customer"], body("charge"), None)], &[("charge", "ch_1")]);
        let facts = shop.gather(&call).await.unwrap();
        assert_eq!(facts.field("charge", "customer"), Some(FactValue::Text("cus_9".into())));
        assert_eq!(facts.read[0].1.as_of, NOW);
        let sent = shop.log().remove(0);
        assert_eq!(sent.method, http::Method::GET);
        let header = |name: &str| {
            let all: Vec<_> = sent.headers.iter().filter(|(own, _)| own == name).collect();
            assert_eq!(all.len(), 1, "{name}");
            all[0].1.to_str().unwrap().to_owned()
        };
        assert_eq!(header("authorization"), "Bearer rk_1");
        assert_eq!(header("accept-encoding"), "identity");
        assert_eq!(header("shop-account"), "acct_1");
    }

    #[tokio::test]
    async fn only_the_vendors_version_goes_along_from_the_agent() {
        let shop = serving(&[("/v1/charges/ch_1", json(r#"{"id":"ch_1"}"#))]);
        let facts = vec![using("charge", &[], body("charge"), None)];
        let mut call = call(facts, &[("charge", "ch_1")]);
        let mut pack = sample::pack(crate::action::ErrorShape::Plain);
        pack.headers =
            ["shop-version", "shop-account", "x-other"].map(HeaderName::from_static).to_vec();
        Arc::get_mut(&mut call.action).unwrap().pack = Arc::new(pack);
        call.headers = ["shop-version", "evil-version", "shop-account", "x-other"]
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("agent's")))
            .to_vec();
        shop.gather(&call).await.unwrap();
        let sent = shop.log().remove(0);
        let agents: Vec<_> =
            sent.headers.iter().filter(|(_, value)| value == "agent's").map(|(n, _)| n).collect();
        assert_eq!(agents, ["shop-version"]);
    }

    #[tokio::test]
    async fn what_is_not_there_makes_as_many_calls_as_what_is_somebody_elses() {
        let refund = ("/v1/refunds/re_1", json(r#"{"id":"re_1","charge":"ch_8"}"#));
        let other = ("/v1/charges/ch_8", json(r#"{"id":"ch_8","customer":"cus_8"}"#));
        let foreign = serving(&[refund, other]);
        let said = call(chain(), &[("refund", "re_1")]);
        assert!(foreign.gather(&said).await.is_ok());
        let absent = serving(&[("/v1/refunds/*", Scene::json(404, "{}"))]);
        let refusal = absent.gather(&said).await.unwrap_err();
        assert_eq!(refusal.code, Code::NotFound);
        assert_eq!(absent.sent().len(), foreign.sent().len());
        assert_eq!(absent.sent(), ["/v1/refunds/re_1", "/v1/refunds/re_1"]);
        // The same bytes as whoever else finds nothing for the caller.
        assert_eq!(Refusal { why: String::new(), ..refusal }, Refusal::nobodys(&said));
    }

    #[tokio::test]
    async fn every_way_of_not_being_there_reads_the_same() {
        let mut seen = Vec::new();
        for scene in [
            Scene::json(404, "{}"),
            json(r#"{"id":"re_2","charge":"ch_1"}"#),
            json(r#"{"id":null,"charge":"ch_1"}"#),
            json(r#"{"charge":"ch_1"}"#),
            json(r#"{"id":"re_1","charge":null}"#),
            json(r#"{"id":"re_1","charge":"../customers"}"#),
        ] {
            let shop = serving(&[("/v1/refunds/re_1", scene)]);
            let refusal = shop.gather(&call(chain(), &[("refund", "re_1")])).await.unwrap_err();
            assert!(!refusal.why.is_empty());
            assert_eq!(shop.sent().len(), 2, "{}", refusal.why);
            seen.push(Refusal { why: String::new(), ..refusal });
        }
        assert!(seen.iter().all(|refusal| *refusal == seen[0]), "{seen:?}");
        assert_eq!(seen[0].code, Code::NotFound);
    }

    #[tokio::test]
    async fn an_id_that_is_none_is_not_found_without_a_call() {
        for id in ["", ".", "..", "re_1/../x", "re%2f1", "RE_1", "re 1", &"a".repeat(65)] {
            let shop = serving(&[("/*", json("{}"))]);
            let refusal = shop.gather(&call(chain(), &[("refund", id)])).await.unwrap_err();
            assert_eq!(refusal.code, Code::NotFound, "{id}");
            assert_eq!(shop.sent(), Vec::<String>::new(), "{id}");
        }
    }

    #[tokio::test]
    async fn one_bad_id_stops_all_that_would_have_gone_with_it() {
        let shop = serving(&[("/*", json("{}"))]);
        let facts = vec![
            using("charge", &[], body("charge"), None),
            using("order", &[], body("order"), None),
        ];
        let call = call(facts, &[("charge", "ch_1"), ("order", "../x")]);
        assert_eq!(shop.gather(&call).await.unwrap_err().code, Code::NotFound);
        assert_eq!(shop.sent(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_fails_is_undecidable_and_nothing_else() {
        let coded = {
            let mut scene = json(r#"{"id":"re_1","charge":"ch_1"}"#);
            if let Exchange::Answered(reply) = &mut scene.then {
                reply.headers.insert("content-encoding", HeaderValue::from_static("gzip"));
            }
            scene
        };
        for scene in [
            Scene::json(500, "{}"),
            Scene::json(401, "{}"),
            Scene::json(403, "{}"),
            Scene::json(429, "{}"),
            Scene::json(302, "{}"),
            Scene::json(206, "{}"),
            Scene::json(204, ""),
            Scene::not_sent("refused"),
            Scene::unknown("cut"),
            json(r#"{"id":"re_1","id":"re_1"}"#),
            json("{"),
            coded,
        ] {
            let shop = serving(&[("/v1/refunds/re_1", scene.clone())]);
            let refusal = shop.gather(&call(chain(), &[("refund", "re_1")])).await.unwrap_err();
            assert_eq!(refusal.code, Code::Undecidable, "{scene:?}");
        }
    }

    #[tokio::test]
    async fn of_alternatives_exactly_one_must_apply() {
        let facts = || {
            vec![
                using("charge", &[], body("charge"), Some(body("charge"))),
                using("charge", &[], body("intent"), Some(body("intent"))),
            ]
        };
        let shop = serving(&[("/v1/charges/x", json(r#"{"id":"x"}"#))]);
        assert!(shop.gather(&call(facts(), &[("intent", "x")])).await.is_ok());
        for (said, code) in [
            (&[][..], Code::MissingContext),
            (&[("charge", "x"), ("intent", "x")], Code::Ambiguous),
        ] {
            assert_eq!(shop.gather(&call(facts(), said)).await.unwrap_err().code, code);
        }
        assert_eq!(shop.sent().len(), 1);
        // Alone under its name it may be left out: then it is unknown.
        let alone = vec![using("charge", &[], body("charge"), Some(body("charge")))];
        assert_eq!(shop.gather(&call(alone, &[])).await, Ok(Facts::default()));
        // What names the fact and is not said at all is the agent's to mend.
        let bare = vec![using("charge", &[], body("charge"), None)];
        assert_eq!(shop.gather(&call(bare, &[])).await.unwrap_err().code, Code::Malformed);
    }

    #[tokio::test]
    async fn alternatives_that_only_a_fact_can_tell_apart_are_told_apart() {
        let facts = || {
            let given = |field| Some(of_fact("refund", field));
            vec![
                using("refund", &["charge", "intent"], body("refund"), None),
                using("charge", &[], of_fact("refund", "charge"), given("charge")),
                using("charge", &[], of_fact("refund", "intent"), given("intent")),
            ]
        };
        for (refund, expected) in [
            (r#"{"id":"re_1","intent":"x"}"#, None),
            (r#"{"id":"re_1","charge":"x","intent":"x"}"#, Some(Code::Ambiguous)),
            (r#"{"id":"re_1"}"#, Some(Code::MissingContext)),
        ] {
            let charge = ("/v1/charges/x", json(r#"{"id":"x"}"#));
            let shop = serving(&[("/v1/refunds/re_1", json(refund)), charge]);
            let gathered = shop.gather(&call(facts(), &[("refund", "re_1")])).await;
            assert_eq!(gathered.err().map(|refusal| refusal.code), expected, "{refund}");
        }
    }

    #[tokio::test]
    async fn an_argument_that_no_pattern_describes_enters_no_path() {
        let shop = serving(&[("/*", json(r#"{"id":"x"}"#))]);
        let mut bare = using("charge", &[], body("charge"), None);
        let mut rule = rule("charge", &[]);
        Arc::get_mut(&mut rule).unwrap().patterns.clear();
        bare.rule = rule;
        let refusal = shop.gather(&call(vec![bare], &[("charge", "x")])).await.unwrap_err();
        assert_eq!((refusal.code, shop.sent().len()), (Code::NotFound, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn independent_facts_are_read_at_once_and_boxed_in_time() {
        let slow = |id: &str, span| json(&format!(r#"{{"id":"{id}"}}"#)).after(span);
        let both = || {
            vec![
                using("charge", &[], body("charge"), None),
                using("order", &[], body("order"), None),
            ]
        };
        let said = [("charge", "ch_1"), ("order", "o_1")];
        let second = Duration::from_secs(4);
        let shop = serving(&[
            ("/v1/charges/ch_1", slow("ch_1", second)),
            ("/v1/orders/o_1", slow("o_1", second)),
        ]);
        let start = tokio::time::Instant::now();
        shop.gather(&call(both(), &said)).await.unwrap();
        assert_eq!(start.elapsed(), second);
        let shop = serving(&[
            ("/v1/charges/ch_1", slow("ch_1", second)),
            ("/v1/orders/o_1", slow("o_1", FACT_TIMEOUT.saturating_mul(3))),
        ]);
        let start = tokio::time::Instant::now();
        let refusal = shop.gather(&call(both(), &said)).await.unwrap_err();
        assert_eq!((refusal.code, start.elapsed()), (Code::Undecidable, FACT_TIMEOUT));
    }

    #[tokio::test]
    async fn every_exchange_is_seen_also_when_another_fails() {
        let shop = serving(&[
            ("/v1/charges/ch_1", Scene::json(500, "{}")),
            ("/v1/orders/o_1", json(r#"{"id":"o_1"}"#)),
            ("/v1/carts/c_1", Scene::not_sent("refused")),
        ]);
        let names = ["charge", "order", "cart"];
        let facts = names.map(|name| using(name, &[], body(name), None)).to_vec();
        let call = call(facts, &[("charge", "ch_1"), ("order", "o_1"), ("cart", "c_1")]);
        let (caller, none, mut seen) = (sample::caller("bot", None), Facts::default(), Vec::new());
        let scope = Scope { call: &call, caller: &caller, account: None, facts: &none };
        let facts = shop
            .lookups
            .gather(&scope, &mut |reply: Option<&Reply>, _| {
                seen.push(reply.map(|reply| reply.status))
            })
            .await;
        assert_eq!(facts.unwrap_err().code, Code::Undecidable);
        assert_eq!(seen, [Some(500), Some(200), None]);
    }

    #[tokio::test]
    async fn facts_that_wait_for_each_other_are_no_loop() {
        let shop = serving(&[("/*", json("{}"))]);
        let facts = vec![
            using("charge", &[], of_fact("order", "charge"), None),
            using("order", &[], of_fact("charge", "order"), None),
        ];
        assert_eq!(shop.gather(&call(facts, &[])).await.unwrap_err().code, Code::Undecidable);
    }

    #[test]
    fn gathering_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let shop = serving(&[]);
        let call = call(chain(), &[]);
        is_send(&shop.gather(&call));
    }

    const ANN: &str = r#"{"data":[{"id":"cus_9"}]}"#;

    fn account_rule() -> AccountRule {
        let text = "get: \"/v1/customers/search?query=metadata['user']:'{caller.customer}'\"\n\
                    at: /data/0/id\ncache: 5m\n";
        let node = crate::yaml::read("x.yaml", text).unwrap();
        let faults = crate::yaml::Faults::of("x.yaml");
        let rule = AccountRule::read(&faults, &node, "account");
        faults.finish(rule).unwrap()
    }

    async fn account(answer: Scene, customer: &str) -> (Result<Option<Arc<str>>, Refusal>, Shop) {
        let shop = shop(Scripted::new(vec![Rule::on("/*", answer)]), Some(account_rule()));
        let caller = sample::caller("bot", Some(customer));
        (shop.lookups.account("shop", &caller).await, shop)
    }

    #[tokio::test]
    async fn an_account_is_exactly_one_match() {
        let (found, shop) = account(json(ANN), "auth0|77").await;
        assert_eq!(found.unwrap().as_deref(), Some("cus_9"));
        assert_eq!(shop.sent(), ["/v1/customers/search?query=metadata['user']:'auth0%7C77'"]);
        for none in [
            r#"{"data":[]}"#,
            r#"{"data":[{"id":"cus_9"},{"id":"cus_8"}]}"#,
            r#"{"data":[{"id":null}]}"#,
            r#"{"data":[{"id":""}]}"#,
            r#"{"data":{"0":{"name":"x"}}}"#,
            "{}",
        ] {
            assert_eq!(account(json(none), "ann").await.0, Ok(None), "{none}");
        }
        assert_eq!(account(Scene::json(404, "{}"), "ann").await.0, Ok(None));
        for scene in [Scene::json(500, "{}"), Scene::not_sent("x"), json("{")] {
            assert_eq!(account(scene, "ann").await.0.unwrap_err().code, Code::Undecidable);
        }
    }

    #[tokio::test]
    async fn a_name_that_could_end_a_search_is_nobody_and_asks_nothing() {
        for customer in ["x' OR email:'b@c", "a\\", "a\"b", "a b", "a:b", "a*", "a&limit=1", "ä"] {
            let (found, shop) = account(json(ANN), customer).await;
            assert_eq!((found, shop.sent().len()), (Ok(None), 0), "{customer}");
        }
    }

    #[tokio::test]
    async fn an_account_is_remembered_for_its_time_and_by_tenant() {
        let shop = shop(Scripted::new(vec![Rule::on("/*", json(ANN))]), Some(account_rule()));
        let ann = sample::caller("bot", Some("ann"));
        let mut other = ann.clone();
        other.tenant = "t".into();
        for (turn, caller, asked) in [(0, &ann, 1), (299, &ann, 1), (0, &other, 2), (1, &ann, 3)] {
            shop.lookups.clock.turn(Duration::from_secs(turn));
            assert!(shop.lookups.account("shop", caller).await.unwrap().is_some());
            assert_eq!(shop.sent().len(), asked);
        }
        assert!(shop.lookups.finds_account("shop") && !shop.lookups.finds_account("stripe"));
    }

    #[test]
    fn a_rule_for_accounts_is_read_or_refused() {
        for (text, words) in [
            ("{ get: /me, at: /id }", "{caller.customer}"),
            ("{ get: 'v1/{caller.customer}', at: /id }", "expected a path"),
            ("{ get: '/v1?q={caller.customer} {caller.tenant}', at: /id }", "expected a path"),
            ("{ get: '/v1/{caller.customer}' }", "is required and missing"),
            ("{ get: '/v1/{caller.customer}', at: id }", "expected a pointer"),
            ("{ get: '/v1/{caller.customer}', at: /data/*/id }", "expected a pointer"),
            ("{ get: '/v1/{caller.customer}', at: /id, cache: 2h }", "at most `1h`"),
            ("{ get: '/v1/{caller.customer}', at: /id, cahce: 2h }", "is not a key here"),
        ] {
            let node = crate::yaml::read("x.yaml", text).unwrap();
            let faults = crate::yaml::Faults::of("x.yaml");
            let rule = AccountRule::read(&faults, &node, "account");
            let errors = faults.finish(rule).unwrap_err().to_string();
            assert!(errors.contains(words), "{text}: {errors}");
        }
    }
}

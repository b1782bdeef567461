//! Who outside is told what, in which words, and how do they know that it is us?
//!
//! Never sends anything and never answers a hold: the gate does. Never shows a secret, an address that may be
//! one, or a contact; what an agent wrote is marked as its words and acts on nothing.

mod answer;
mod collector;
mod schedule;
mod signing;
mod slack;
mod standard;
mod witness;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::credentials::Secret;
use crate::outbound::{Addresses, Origin, Outgoing, Scheme, Upstream};
use crate::store::{Letter, News, Record, State, record::sha256};
use crate::value::piece;

pub use answer::{Answer, Sent, Unproven, Verdict};
pub use collector::Collector;
pub use schedule::{GIVE_UP, pause};
pub use signing::{Bound, Signer};
pub use witness::Witness;

/// Everybody who is told, and what they are told with.
#[derive(Debug, Default)]
pub struct Notify {
    /// Everybody.
    pub destinations: Vec<Arc<Destination>>,
    /// Where people find the console; without it no message has a link.
    pub page: Option<Box<str>>,
    /// Who keeps checkpoints of the record.
    pub witness: Option<Arc<Witness>>,
    /// Who is told how it goes.
    pub collector: Option<Arc<Collector>>,
    /// Letters that this process knows to wait, and since when; for the gauge.
    pub waiting: Arc<Mutex<HashMap<(OperationId, u32), Timestamp>>>,
}

/// One who is told.
#[derive(Debug)]
pub struct Destination {
    /// What it is called on record, in the log and in what the store keeps.
    pub name: Arc<str>,
    /// Of what it is told.
    pub ear: Ear,
    /// Where it is.
    pub place: Place,
    /// In which shape.
    pub format: Format,
    /// With which keys; `None` where nobody could look at a signature.
    pub signer: Option<Signer>,
    /// Whether it may answer, and as whom.
    pub answers: Option<Answering>,
    /// Whether the last try failed: the first failure and the recovery are told, not each try.
    pub is_failing: AtomicBool,
    /// Its turns: one that is slow keeps others from nothing.
    pub turns: Semaphore,
}

/// BOUND: a chat takes a few messages a second; so many at once is enough for hundreds.
pub const AT_ONCE: usize = 8;

/// Of what somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ear {
    /// Of what waits in a queue.
    Queue(Arc<str>),
    /// Of some news, whatever the queue.
    Hook {
        /// Which.
        on: Vec<News>,
        /// Of these tenants' calls; nobody named: of everybody's.
        tenants: Vec<Box<str>>,
    },
}

/// In which shape somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Standard Webhooks: a type, a time, data.
    Standard,
    /// What Slack's incoming webhooks take, and others after them.
    Slack,
}

/// As whom a destination answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// Who, as approvals count people.
    pub name: Box<str>,
    /// What that name may answer.
    pub roles: Vec<Box<str>>,
    /// For whom; `None` for every tenant.
    pub tenants: Option<Vec<Box<str>>>,
    /// How many people that is.
    pub people: People,
}

/// How many people a destination is that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum People {
    /// One, whoever it says they are: we do not verify them.
    One,
    /// As many as it names: the operator trusts it to know them.
    Each,
}

/// Where somebody is told. Its address may itself be a secret: nothing prints it.
pub struct Place {
    to: Upstream,
    target: Secret,
    /// Whether even its host is nobody's business.
    is_secret: bool,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(..)")
    }
}

/// BOUND: a receiver that takes longer is told again; Standard Webhooks advises 15 to 30 s, chats answer in one.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// BOUND: only the status counts.
const ANSWER_BYTES_MAX: usize = 16 << 10;

impl Place {
    /// Reads a whole URL.
    ///
    /// # Errors
    ///
    /// What was expected. The URL is not repeated: it may be a secret.
    pub fn parse(url: &Secret) -> Result<Self, String> {
        let expected = || "expected a URL such as `https://chat.example/hooks/1`".to_owned();
        url.expose(|bytes| {
            let text = str::from_utf8(bytes).map_err(|_| expected())?;
            let host = text.find("://").map_or(0, |at| at.saturating_add(3));
            let rest = text.get(host..).unwrap_or_default();
            let path = rest.find(['/', '?', '#']).map(|at| at.saturating_add(host));
            let (origin, target) =
                path.and_then(|at| text.split_at_checked(at)).unwrap_or((text, "/"));
            let is_plain = target.bytes().all(|b| b.is_ascii_graphic()) && !target.contains('#');
            if !target.starts_with('/') || !is_plain {
                return Err(expected());
            }
            let mut to = Upstream::parse("webhook", origin).map_err(|_| expected())?;
            // The operator named it: what is told in house stays in house. Never a metadata service.
            if to.addresses == Addresses::Public {
                to.addresses = Addresses::Private;
            }
            (to.answer, to.stream, to.stream_idle) = (PATIENCE, PATIENCE, PATIENCE);
            to.answer_bytes_max = ANSWER_BYTES_MAX;
            let target = Secret::new(target.as_bytes().to_vec())?;
            Ok(Self { to, target, is_secret: false })
        })
    }

    /// The same, where its address came from a file or the environment.
    #[must_use]
    pub fn kept_secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Trusts the authorities of that file instead of the system's.
    #[must_use]
    pub fn trusting(mut self, ca: std::path::PathBuf) -> Self {
        self.to.ca = Some(ca);
        self
    }

    /// The file whose authorities it trusts.
    pub fn authorities(&self) -> Option<&std::path::Path> {
        self.to.ca.as_deref()
    }

    /// Whether what is told there can be read on the way.
    pub fn is_in_the_clear(&self) -> bool {
        let url: &Origin = &self.to.url;
        let address: Result<std::net::IpAddr, _> = url.host().parse();
        let local = url.host() == "localhost" || address.is_ok_and(|at| at.is_loopback());
        url.scheme() == Scheme::Http && !local
    }

    /// As the way out takes it.
    pub fn upstream(&self) -> &Upstream {
        &self.to
    }

    /// Why it could not be told, as far as that may be said.
    pub fn why<'w>(&self, why: &'w str) -> &'w str {
        if self.is_secret { "it cannot be reached, or does not answer" } else { why }
    }
}

/// What is to be done with a letter now.
#[derive(Debug)]
pub enum Due {
    /// What it tells is not so any more, or nobody wants it: it goes.
    Nothing,
    /// These have not got it.
    To(Vec<Arc<Destination>>),
}

impl Notify {
    /// What somebody outside wants to hear of.
    pub fn wants(&self) -> Vec<News> {
        let is_wanted = |news: &News| self.destinations.iter().any(|one| one.ear.hears(*news));
        News::ALL.into_iter().filter(is_wanted).collect()
    }

    /// Who still has to be told.
    pub fn due(&self, record: &Record, letter: &Letter) -> Due {
        if is_over(record, letter) {
            return Due::Nothing;
        }
        let is_left = |one: &&Arc<Destination>| {
            one.is_told_of(record, letter.news) && !letter.told.contains(&Box::from(&*one.name))
        };
        let left: Vec<_> = self.destinations.iter().filter(is_left).cloned().collect();
        if left.is_empty() { Due::Nothing } else { Due::To(left) }
    }

    /// What is sent to one of them; `None` when it cannot be signed.
    pub fn message(
        &self,
        to: &Destination,
        (record, letter): (&Record, &Letter),
        now: Timestamp,
    ) -> Option<Outgoing> {
        let body = match to.format {
            Format::Standard => standard::body(self, to, record, letter),
            Format::Slack => slack::body(self, record, letter),
        };
        let id = letter_id(record.op, letter.number, &to.name);
        outgoing(&to.place, to.signer.as_ref(), (&id, now), body.to_string())
    }

    /// Where a person finds a call.
    fn link(&self, op: OperationId) -> Option<String> {
        self.page.as_ref().map(|page| format!("{page}/holds/{op}"))
    }
}

/// A message on its way, signed where there is a key; `None` when it cannot be.
fn outgoing(
    place: &Place,
    signer: Option<&Signer>,
    (id, now): (&str, Timestamp),
    body: String,
) -> Option<Outgoing> {
    let seconds = now.0.div_euclid(1000);
    let json = HeaderValue::from_static("application/json");
    let mut headers = vec![
        (header::CONTENT_TYPE, json),
        (header::USER_AGENT, HeaderValue::from_static("tollhouse")),
    ];
    if let Some(signer) = signer {
        let signature = signer.sign(id, seconds, body.as_bytes())?;
        for (name, value) in
            [(ID, id), (TIMESTAMP, &*seconds.to_string()), (SIGNATURE, &*signature)]
        {
            headers.push((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
        }
    }
    let target = place.target.expose(|bytes| str::from_utf8(bytes).map(Box::from)).ok()?;
    Some(Outgoing { method: Method::POST, target, headers, body: Bytes::from(body) })
}

/// Standard Webhooks, "Webhook Headers".
pub const ID: &str = "webhook-id";
/// As above.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// As above.
pub const SIGNATURE: &str = "webhook-signature";

/// The same for every try, so that who got it twice knows.
fn letter_id(op: OperationId, number: u32, destination: &str) -> String {
    let mut bytes = Vec::with_capacity(128);
    piece(&mut bytes, b'o', &op.0);
    piece(&mut bytes, b'l', &number.to_be_bytes());
    piece(&mut bytes, b'd', destination.as_bytes());
    let hash = sha256(&bytes);
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{hex}")
}

/// Whether a letter tells what is not so any more: people who are asked to answer must be able to.
fn is_over(record: &Record, letter: &Letter) -> bool {
    let Some(hold) = &record.hold else { return letter.news != News::Settled };
    match letter.news {
        // Passed on or held anew meanwhile: a newer letter says so.
        News::Held | News::Reminded | News::Escalated => {
            record.state != State::Held || letter.at < hold.asked
        }
        // Held anew: nobody has answered that.
        News::Answered => record.state == State::Held,
        News::Settled => record.state.is_open(),
    }
}

impl Ear {
    fn hears(&self, news: News) -> bool {
        match self {
            Self::Queue(_) => matches!(news, News::Held | News::Reminded | News::Escalated),
            Self::Hook { on, .. } => on.contains(&news),
        }
    }
}

impl Destination {
    /// One who is told, and was not yet.
    pub fn new(name: Arc<str>, ear: Ear, place: Place, format: Format) -> Self {
        Self {
            name,
            ear,
            place,
            format,
            signer: None,
            answers: None,
            is_failing: AtomicBool::new(false),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// What it is, for whoever checks a configuration; never where.
    pub fn described(&self) -> String {
        let of = match &self.ear {
            Ear::Queue(queue) => format!("queue {queue}"),
            Ear::Hook { on, .. } => {
                on.iter().map(|news| news.name()).collect::<Vec<_>>().join(", ")
            }
        };
        let format = match self.format {
            Format::Standard => "standard",
            Format::Slack => "slack",
        };
        let answers = match &self.answers {
            Some(answers) => format!(", may answer as {}", answers.name),
            None => String::new(),
        };
        format!("told {}: of {of}, format {format}{answers}", self.name)
    }

    fn is_told_of(&self, record: &Record, news: News) -> bool {
        let its_own = match &self.ear {
            Ear::Queue(queue) => record.hold.as_ref().is_some_and(|hold| *hold.queue == **queue),
            Ear::Hook { tenants, .. } => {
                let tenant = &record.about.caller.tenant;
                // SECURITY: another tenant's backend never hears of this one's customers.
                tenants.is_empty() || tenants.iter().any(|own| **own == **tenant)
            }
        };
        its_own && self.ear.hears(news)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test may fail loudly"
    )]
    use serde_json::{Value, json};

    use super::*;
    use crate::call::{CallerKey, Class, Digest, Fingerprint, Outcome};
    use crate::clock::Clock;
    use crate::credentials::Reference;
    use crate::decision::Reason;
    use crate::money::Money;
    use crate::refusal::Code;
    use crate::store::record::{Charged, Slot};
    use crate::store::{About, AnswerKept, Hold, Quorum, Risk, Said, Token};

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    fn hold() -> Hold {
        let reason = |why: &str| Reason {
            policy: "financial.over-cap".into(),
            why: why.into(),
            tell: "a person decides".into(),
        };
        Hold {
            reasons: vec![reason("600.00 USD is over the cap of 100.00 USD")],
            queue: "finance".into(),
            deadline: at(3600),
            since: at(0),
            shown: Digest([7; 32]),
            joined: 0,
            changed: Vec::new(),
            risk: Risk::High,
            needs: Quorum::default(),
            yes: Vec::new(),
            nudge: None,
            passed: Vec::new(),
            asked: at(0),
        }
    }

    /// A hold whose every text was written by somebody who means harm.
    fn held() -> Record {
        let caller = CallerKey {
            tenant: "acme".into(),
            agent: "support-bot".into(),
            customer: "ann@shop.example".into(),
        };
        let about = About {
            caller,
            upstream: "stripe".into(),
            account: "cus_9".into(),
            action: "stripe.refund.create".into(),
            class: Class::Financial,
            classes: vec![Class::Financial],
            kind: None,
            owner: Some("cus_9".into()),
            resource: None,
            amount: Some(Money::parse("600.00 USD").unwrap()),
            summary: "Refund 600.00 USD of charge <https://evil.example|ch_1>".into(),
            said: Said {
                reason: Some(
                    "*urgent* <!channel> https://evil.example 4242 4242 4242 4242\u{202e}\n> ok"
                        .into(),
                ),
                case: Some("CASE-1".into()),
                ..Said::default()
            },
            fingerprint: Fingerprint([1; 32]),
            digest: Digest([2; 32]),
            facts: None,
            policy: None,
            origin: None,
        };
        Record {
            shadow: None,
            op: OperationId([3; 32]),
            same: Slot([0; 16]),
            about,
            state: State::Held,
            hold: Some(hold()),
            approval: None,
            owner: Token(1),
            attempts: Vec::new(),
            charges: Vec::new(),
            charged: Charged::Open,
            stood: Vec::new(),
            alike: None,
            on: None,
            status: None,
            request_id: None,
            reason: "".into(),
            answer: AnswerKept::None,
            collected: false,
            contradiction: false,
            aliases: 0,
            made: None,
            look: None,
            created: at(0),
            updated: at(0),
            settled: None,
            timeline: Vec::new(),
            wants: News::ALL.to_vec(),
            letters: Vec::new(),
            lettered: 1,
        }
    }

    fn letter(news: News) -> Letter {
        Letter { number: 1, news, at: at(0), next: at(0), tries: 1, told: Vec::new() }
    }

    fn signer() -> Signer {
        let named = [Reference::Env("KEY".into())];
        Signer::load(&named, &|_| Some(KEY.to_owned()), &Clock::default()).unwrap()
    }

    fn place(url: &str) -> Result<Place, String> {
        Place::parse(&Secret::new(url.as_bytes().to_vec()).unwrap())
    }

    fn destination(name: &str, ear: Ear, format: Format) -> Destination {
        let mut one = Destination::new(
            name.into(),
            ear,
            place("https://chat.example/hooks/T0/secret?x=1").unwrap(),
            format,
        );
        one.signer = Some(signer());
        one
    }

    fn queue(name: &str) -> Ear {
        Ear::Queue(name.into())
    }

    fn hook(on: &[News], tenants: &[&str]) -> Ear {
        Ear::Hook { on: on.to_vec(), tenants: tenants.iter().map(|one| Box::from(*one)).collect() }
    }

    fn notify(destinations: Vec<Destination>) -> Notify {
        Notify {
            destinations: destinations.into_iter().map(Arc::new).collect(),
            page: Some("https://tollhouse.example".into()),
            ..Notify::default()
        }
    }

    fn said(notify: &Notify, record: &Record, news: News) -> Value {
        let letter = letter(news);
        let sent = notify.message(&notify.destinations[0], (record, &letter), at(5)).unwrap();
        serde_json::from_slice(&sent.body).unwrap()
    }

    fn told(notify: &Notify, record: &Record, letter: &Letter) -> Vec<String> {
        match notify.due(record, letter) {
            Due::Nothing => Vec::new(),
            Due::To(left) => left.iter().map(|one| one.name.to_string()).collect(),
        }
    }

    #[test]
    fn a_program_reads_what_waits_and_how_to_answer() {
        let mut one = destination("chat", queue("finance"), Format::Standard);
        one.answers = Some(Answering {
            name: "chat".into(),
            roles: vec!["finance".into()],
            tenants: None,
            people: People::One,
        });
        let notify = notify(vec![one]);
        let record = held();
        let mut said = said(&notify, &record, News::Held);
        let nonce = said["data"]["answer"]["nonce"].take();
        assert!(nonce.as_str().unwrap().starts_with("1."), "{nonce}");
        let op = record.op.to_string();
        assert_eq!(
            said,
            json!({
                "type": "hold.created",
                "timestamp": "2027-01-15T08:00:00.000Z",
                "data": {
                    "operation": op,
                    "status_url": format!("/.tollhouse/v1/operations/{op}"),
                    "state": "held",
                    "summary": "Refund 600.00 USD of charge <https://evil.example|ch_1>",
                    "action": "stripe.refund.create",
                    "class": "financial",
                    "amount": { "minor": 60_000, "currency": "USD" },
                    "tenant": "acme",
                    "agent": "support-bot",
                    "customer": "a***@shop.example",
                    "case": "CASE-1",
                    "queue": "finance",
                    "risk": "high",
                    "reasons": [ { "policy": "financial.over-cap", "why": "600.00 USD is over the cap of 100.00 USD" } ],
                    "requested": "2027-01-15T08:00:00.000Z",
                    "expires": "2027-01-15T09:00:00.000Z",
                    "approvers": { "needed": 1, "roles": [], "so_far": 0 },
                    "agent_says": "*urgent* <!channel> https://evil.example card ***4242 > ok",
                    "url": format!("https://tollhouse.example/holds/{op}"),
                    "answer": {
                        "url": "https://tollhouse.example/v1/answers",
                        "nonce": null,
                        "digest": Digest([7; 32]).to_string(),
                        "expires": "2027-01-15T09:00:00.000Z",
                    },
                },
            })
        );
    }

    #[test]
    fn a_chat_shows_our_sentence_and_nothing_that_acts() {
        let notify = notify(vec![destination("chat", queue("finance"), Format::Slack)]);
        let record = held();
        let plain = |text: &str| json!({ "type": "plain_text", "text": text, "emoji": false });
        let sentence = "Refund 600.00 USD of charge &lt;https:/ /evil.example|ch_1&gt;";
        let link = format!("https://tollhouse.example/holds/{}", record.op);
        assert_eq!(
            said(&notify, &record, News::Held),
            json!({
                "text": format!("Approval needed: {sentence}"),
                "mrkdwn": false,
                "unfurl_links": false,
                "unfurl_media": false,
                "blocks": [
                    { "type": "header", "text": plain("Approval needed: 600.00 USD") },
                    { "type": "section", "text": plain(sentence) },
                    { "type": "section", "fields": [
                        plain("Why it waits\n600.00 USD is over the cap of 100.00 USD"),
                        plain("Queue\nfinance"),
                        plain("Expires\n2027-01-15T09:00:00.000Z"),
                        plain("Agent\nsupport-bot"),
                    ] },
                    { "type": "context", "elements": [
                        plain("The agent says: *urgent* &lt;!channel&gt; https:/ /evil.example card ***4242 &gt; ok"),
                    ] },
                    { "type": "actions", "elements": [ {
                        "type": "button", "text": plain("Look at it"), "url": link,
                        "action_id": "tollhouse.open",
                    } ] },
                ],
            })
        );
        // One link, and it is ours.
        let text = said(&notify, &record, News::Escalated).to_string();
        assert_eq!(text.matches("://").count(), 1, "{text}");
        assert!(!text.contains("mrkdwn\":true") && !text.contains("\"type\":\"mrkdwn\""), "{text}");
    }

    #[test]
    fn an_agents_backend_hears_how_it_ended() {
        let on = [News::Answered, News::Settled];
        let notify = notify(vec![destination("backend", hook(&on, &[]), Format::Standard)]);
        let outcome = |outcome| State::Done { outcome };
        for (state, news, expected) in [
            (
                State::Approved,
                News::Answered,
                json!({ "decision": "approved", "next": "repeat_the_same_request" }),
            ),
            (
                outcome(Outcome::Succeeded),
                News::Answered,
                json!({ "decision": "approved", "next": "repeat_the_same_request" }),
            ),
            (
                State::Refused { code: Code::ApprovalDenied },
                News::Answered,
                json!({ "decision": "denied", "reason": "no, says card ***4242", "code": "approval_denied", "next": "stop" }),
            ),
            (
                State::Refused { code: Code::ApprovalExpired },
                News::Answered,
                json!({ "decision": "expired", "reason": "no, says card ***4242", "code": "approval_expired", "next": "stop" }),
            ),
            (
                State::Refused { code: Code::OverLimit },
                News::Answered,
                json!({ "decision": "refused", "reason": "no, says card ***4242", "code": "over_limit", "next": "stop" }),
            ),
            (
                outcome(Outcome::Succeeded),
                News::Settled,
                json!({ "outcome": "succeeded", "upstream_status": 200, "next": "repeat_the_same_request" }),
            ),
            (
                State::NotSent,
                News::Settled,
                json!({ "outcome": "not_sent", "upstream_status": 200, "next": "repeat_the_same_request" }),
            ),
        ] {
            let reason = "no, says 4242 4242 4242 4242".into();
            let record = Record { state, reason, status: Some(200), ..held() };
            assert_eq!(told(&notify, &record, &letter(news)), ["backend"], "{state:?}");
            let said = said(&notify, &record, news);
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&said["data"][name], value, "{state:?} {said}");
            }
            // Nothing of the question, and nobody's name.
            for name in ["reasons", "queue", "answer", "agent_says", "by"] {
                assert!(said["data"].get(name).is_none(), "{said}");
            }
        }
    }

    #[test]
    fn who_is_told_is_who_is_asked_and_nobody_of_another_tenant() {
        let notify = notify(vec![
            destination("finance", queue("finance"), Format::Slack),
            destination("lead", queue("lead"), Format::Slack),
            destination("all", hook(&[News::Held, News::Answered], &[]), Format::Standard),
            destination("acme", hook(&[News::Held], &["acme"]), Format::Standard),
            destination("other", hook(&News::ALL, &["other"]), Format::Standard),
        ]);
        let record = held();
        assert_eq!(told(&notify, &record, &letter(News::Held)), ["finance", "all", "acme"]);
        assert_eq!(told(&notify, &record, &letter(News::Reminded)), ["finance"]);
        let some = Letter { told: vec!["all".into(), "acme".into()], ..letter(News::Held) };
        assert_eq!(told(&notify, &record, &some), ["finance"]);
        let all = Letter { told: vec!["finance".into(), "all".into(), "acme".into()], ..some };
        assert_eq!(told(&notify, &record, &all), [""; 0]);
        assert_eq!(notify.wants(), News::ALL);

        let passed = Hold { queue: "lead".into(), asked: at(60), ..hold() };
        let passed = Record { hold: Some(passed), ..held() };
        assert_eq!(
            told(&notify, &passed, &letter(News::Held)),
            [""; 0],
            "a newer letter says more"
        );
        let newer = Letter { at: at(60), ..letter(News::Escalated) };
        assert_eq!(told(&notify, &passed, &newer), ["lead"]);
    }

    #[test]
    fn what_is_over_is_not_told() {
        let all = || destination("all", hook(&News::ALL, &[]), Format::Standard);
        let notify = notify(vec![all()]);
        let denied = State::Refused { code: Code::ApprovalDenied };
        for (state, news, is_told) in [
            (State::Held, News::Held, true),
            (State::Approved, News::Held, false),
            (denied, News::Held, false),
            (denied, News::Reminded, false),
            (denied, News::Escalated, false),
            (denied, News::Answered, true),
            // Held anew since.
            (State::Held, News::Answered, false),
            (State::Unknown, News::Settled, false),
            (State::NotSent, News::Settled, true),
        ] {
            let record = Record { state, ..held() };
            let told = told(&notify, &record, &letter(news));
            assert_eq!(told == ["all"], is_told, "{state:?} {news:?}");
        }
        let nobody_held_it = Record { hold: None, state: State::NotSent, ..held() };
        assert_eq!(told(&notify, &nobody_held_it, &letter(News::Settled)), ["all"]);
        assert_eq!(Notify::default().wants(), []);
        assert_eq!(told(&Notify::default(), &held(), &letter(News::Held)), [""; 0]);
    }

    #[test]
    fn each_try_has_the_same_id_and_a_time_of_its_own() {
        let one = destination("chat", queue("finance"), Format::Standard);
        let notify = notify(vec![one, destination("mail", queue("finance"), Format::Standard)]);
        let record = held();
        let headers = |which: usize, letter: &Letter, at| {
            let to = &notify.destinations[which];
            let sent = notify.message(to, (&record, letter), at).unwrap();
            let one = |name: &str| {
                let found = sent.headers.iter().find(|(own, _)| own.as_str() == name);
                found.unwrap().1.to_str().unwrap().to_owned()
            };
            let (id, seconds) = (one(ID), one(TIMESTAMP));
            let signed = (&*sent.body, &*one(SIGNATURE));
            assert!(signer().is_signed(&id, seconds.parse().unwrap(), signed));
            assert_eq!(&*sent.target, "/hooks/T0/secret?x=1");
            (id, seconds)
        };
        let first = letter(News::Held);
        let (id, time) = headers(0, &first, at(0));
        let again = headers(0, &Letter { tries: 9, ..first.clone() }, at(60));
        assert_eq!((&again.0, again.1 == time), (&id, false));
        assert_ne!(headers(1, &first, at(0)).0, id, "another destination's is another message");
        assert_ne!(headers(0, &Letter { number: 2, ..first }, at(0)).0, id);
        assert!(id.len() == 36 && !id.contains('.'), "{id}");
    }

    #[test]
    fn an_address_is_whole_and_is_never_shown() {
        for (url, clear) in [
            ("https://hooks.slack.com/services/T0/B0/secret", false),
            ("https://chat.example", false),
            ("http://127.0.0.1:9/x", false),
            ("http://localhost:9/x", false),
            ("http://[::1]:9/x", false),
            ("http://chat.internal/x", true),
            ("http://127.evil.example/x", true),
            ("http://10.0.0.1/x", true),
        ] {
            let place = place(url).unwrap();
            assert_eq!(place.is_in_the_clear(), clear, "{url}");
            let shown = format!("{place:?} {:?}", notify(Vec::new()));
            assert!(!shown.contains("secret") && !shown.contains("slack"), "{shown}");
        }
        for url in [
            "ftp://secret.example/x",
            "https://user:secret@chat.example/x",
            "https://chat.example/secret#x",
            "https://chat.example?secret",
            "https://chat.example/se cret",
            "https://chat.example/sécret",
            "https:///secret",
            "secret",
        ] {
            let said = place(url).unwrap_err();
            assert!(!said.contains("secret"), "{url}: {said}");
        }
    }

    #[test]
    fn an_answer_is_read_strictly() {
        let fine = json!({
            "operation": OperationId([3; 32]).to_string(), "nonce": "1.x", "answer": "deny",
            "digest": Digest([7; 32]).to_string(), "reason": " no\u{202e} ", "by": " ana ",
        });
        let read = Answer::parse(fine.to_string().as_bytes()).unwrap();
        assert_eq!((&*read.reason, &*read.by, read.verdict), ("no", "ana", Verdict::Deny));
        for (name, value) in [
            ("operation", json!("op_none")),
            ("answer", json!("approved")),
            ("answer", json!(true)),
            ("digest", json!("sha256:00")),
            ("by", json!(" ")),
            ("by", json!(null)),
            ("reason", json!("")),
            ("nonce", json!(1)),
            ("more", json!(1)),
        ] {
            let mut bad = fine.clone();
            bad[name] = value.clone();
            assert!(Answer::parse(bad.to_string().as_bytes()).is_err(), "{name}: {value}");
        }
        let twice = fine.to_string().replace("\"answer\"", "\"answer\":\"approve\",\"answer\"");
        assert!(Answer::parse(twice.as_bytes()).is_err());
        assert!(Answer::parse(b"").is_err());
    }

    #[test]
    fn only_who_may_answer_is_believed_and_not_for_long() {
        let mut chat = destination("chat", queue("finance"), Format::Standard);
        let quiet = destination("quiet", queue("finance"), Format::Standard);
        let body = b"{}";
        let sign = |seconds| signer().sign("msg_1", seconds, body).unwrap();
        let now = at(0);
        let seconds = now.0 / 1000;
        fn sent<'s>(timestamp: &'s str, signature: &'s str) -> Sent<'s> {
            Sent { id: "msg_1", timestamp, signature, body: b"{}" }
        }
        let nobody = notify(vec![quiet]);
        let good = (seconds.to_string(), sign(seconds));
        let unproven = nobody.senders(&sent(&good.0, &good.1), now).unwrap_err();
        assert_eq!(unproven, Unproven::Signature, "it may not answer");
        chat.answers = Some(Answering {
            name: "chat".into(),
            roles: Vec::new(),
            tenants: None,
            people: People::One,
        });
        let notify = notify(vec![chat]);
        assert_eq!(notify.senders(&sent(&good.0, &good.1), now).unwrap().len(), 1);
        for (away, expected) in
            [(300, None), (-300, None), (301, Some(Unproven::Stale)), (-301, Some(Unproven::Stale))]
        {
            let (time, signature) = ((seconds + away).to_string(), sign(seconds + away));
            assert_eq!(notify.senders(&sent(&time, &signature), now).err(), expected, "{away}");
        }
        for (time, signature) in [
            ("", &*good.1),
            (&*format!("+{}", good.0), &*good.1),
            (&*format!("{}.0", good.0), &*good.1),
            (&*good.0, ""),
            (&*good.0, "v1,AAAA"),
        ] {
            let unproven = notify.senders(&sent(time, signature), now).unwrap_err();
            assert_eq!(unproven, Unproven::Signature, "{time} {signature}");
        }
    }
}

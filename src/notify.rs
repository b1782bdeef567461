//! Who outside is told what, in which words, and how do they know that it is us?
//!
//! Never sends anything and never answers a hold: the gate does. Never shows a secret, an address that may be
//! one, or a contact; what an agent wrote is marked as its words and acts on nothing.

mod answer;
mod schedule;
mod signing;
mod slack;
mod standard;

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
pub use schedule::{GIVE_UP, pause};
pub use signing::{Bound, Signer};

/// Everybody who is told, and what they are told with.
#[derive(Debug, Default)]
pub struct Notify {
    /// Everybody.
    pub destinations: Vec<Arc<Destination>>,
    /// Where people find the console; without it no message has a link.
    pub page: Option<Box<str>>,
    /// Letters that this process knows to wait, and since when; for the gauge.
    pub waiting: Mutex<HashMap<(OperationId, u32), Timestamp>>,
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
        let local = matches!(url.host(), "localhost" | "::1") || url.host().starts_with("127.");
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
        let body = body.to_string().into_bytes();
        let (id, seconds) = (letter_id(record.op, letter.number, &to.name), now.0.div_euclid(1000));
        let json = HeaderValue::from_static("application/json");
        let mut headers = vec![
            (header::CONTENT_TYPE, json),
            (header::USER_AGENT, HeaderValue::from_static("tollhouse")),
        ];
        if let Some(signer) = &to.signer {
            let signature = signer.sign(&id, seconds, &body)?;
            for (name, value) in
                [(ID, &*id), (TIMESTAMP, &*seconds.to_string()), (SIGNATURE, &*signature)]
            {
                headers.push((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
            }
        }
        let target = to.place.target.expose(|bytes| str::from_utf8(bytes).map(Box::from)).ok()?;
        Some(Outgoing { method: Method::POST, target, headers, body: Bytes::from(body) })
    }

    /// Where a person finds a call.
    fn link(&self, op: OperationId) -> Option<String> {
        self.page.as_ref().map(|page| format!("{page}/holds/{op}"))
    }
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
mod tests;

//! Who is the customer at this upstream? Asked of the upstream itself, where the token does not say.
//!
//! Exactly one match, or it is not known. Never takes the first of several.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Fault, Lookups, fault};
use crate::action::{Piece, Source, Template};
use crate::call::Caller;
use crate::clock::Timestamp;
use crate::refusal::Refusal;
use crate::resolve;
use crate::value::{Pointer, Value};
use crate::wire;
use crate::yaml::{Faults, Node};

/// BOUND: remembered customers, some 200 bytes each.
const KNOWN_MAX: usize = 10_000;
/// BOUND: that nobody was found is believed this long: it bounds the look-ups of a customer that the
/// vendor does not have, and a new one does not wait for minutes.
const NOBODY_FOR: Duration = Duration::from_secs(10);

/// How to find out who a customer is at an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRule {
    /// Path and query of the GET.
    pub get: Template,
    /// Where the answer names the account. A step that is a number means a list of exactly one.
    pub at: Pointer,
    /// How long an answer holds.
    pub cache: Duration,
}

impl AccountRule {
    /// Reads `{ get, at, cache }`.
    pub fn read(faults: &Faults, node: &Node, key: &str) -> Option<Self> {
        let section = faults.section(node, key);
        let get = section.required("get", |node| template(node.text()?));
        let at = section.required("at", |node| {
            let at = Pointer::parse(node.text()?).filter(|at| !at.steps().is_empty());
            let at = at.filter(|at| !at.is_plural());
            at.ok_or_else(|| "expected a pointer to one value, such as `/data/0/id`".to_owned())
        });
        let cache = section.optional("cache", |node| {
            let cache = node.duration()?;
            // BOUND: a customer whose account moved sees the old one this long.
            let fits = cache <= Duration::from_secs(3600);
            if fits { Ok(cache) } else { Err("expected at most `1h`".to_owned()) }
        });
        section.finish();
        let cache = cache.unwrap_or(Duration::from_secs(300));
        Some(Self { get: get?, at: at?, cache })
    }
}

const PLACE: &str = "{caller.customer}";

fn template(text: &str) -> Result<Template, String> {
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_graphic() && !b"{}#".contains(&b));
    if !text.starts_with('/') || !text.contains(PLACE) || !text.split(PLACE).all(plain) {
        return Err(format!(
            "expected a path and query in ASCII with `{PLACE}` in it, spaces as `%20`"
        ));
    }
    let mut pieces = Vec::new();
    for (index, part) in text.split(PLACE).enumerate() {
        if index > 0 {
            pieces.push(Piece::Source(Source::CallerCustomer));
        }
        if !part.is_empty() {
            pieces.push(Piece::Text(part.into()));
        }
    }
    Ok(Template(pieces))
}

/// Who is whom: at which upstream, of which tenant, which customer.
type Who = (Arc<str>, Arc<str>, Arc<str>);

/// What was found, until when.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Who, Entry>>);

/// The account, if there is one, and until when that holds.
type Entry = (Option<Arc<str>>, Timestamp);

impl Known {
    fn recall(&self, who: &Who, now: Timestamp) -> Option<Option<Arc<str>>> {
        let known = self.0.lock();
        known.get(who).filter(|(_, until)| now < *until).map(|(account, _)| account.clone())
    }

    fn keep(&self, who: Who, account: Option<Arc<str>>, until: Timestamp, now: Timestamp) {
        let mut known = self.0.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < KNOWN_MAX {
            known.insert(who, (account, until));
        }
    }
}

impl Lookups {
    /// Whether an upstream is asked who a customer is.
    pub fn finds_account(&self, upstream: &str) -> bool {
        self.sites.get(upstream).is_some_and(|site| site.account.is_some())
    }

    /// Who the caller's customer is at `upstream`; `None` when that is not known.
    ///
    /// # Errors
    ///
    /// `undecidable` when it could not be asked.
    pub async fn account(
        &self,
        upstream: &str,
        caller: &Caller,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let rule = self.sites.get(upstream).and_then(|site| site.account.as_ref());
        let (Some(rule), Some(customer)) = (rule, &caller.customer) else { return Ok(None) };
        // SECURITY: a name may stand within a vendor's own search language, where percent-encoding
        // protects nothing: `x' OR email:'..`. A name with anything
        // that could end a text there, or begin a clause, is nobody's.
        if !customer.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@|+".contains(&b)) {
            return Ok(None);
        }
        let who = (Arc::from(upstream), Arc::clone(&caller.tenant), Arc::clone(customer));
        let now = self.clock.now();
        if let Some(account) = self.accounts.recall(&who, now) {
            return Ok(account);
        }
        let account = self.ask_account(upstream, rule, caller).await?;
        let span = if account.is_some() { rule.cache } else { rule.cache.min(NOBODY_FOR) };
        self.accounts.keep(who, account.clone(), now.plus(span), now);
        Ok(account)
    }

    async fn ask_account(
        &self,
        upstream: &str,
        rule: &AccountRule,
        caller: &Caller,
    ) -> Result<Option<Arc<str>>, Fault> {
        let fault = |why: &str| fault("account", why);
        let target = resolve::caller_template(&rule.get, caller);
        let target = target.ok_or_else(|| fault("its path needs more than the customer"))?;
        let reply = self.get(upstream, &target, Vec::new()).await.map_err(|why| fault(&why))?;
        match reply.status {
            200 => {}
            404 => return Ok(None),
            status => return Err(fault(&format!("the upstream answered {status}"))),
        }
        let answer = wire::document(&reply.headers, &reply.body).map_err(|why| fault(&why))?;
        Ok(only_match(&rule.at, &answer).map(Arc::from))
    }
}

/// The one value at `at`. SECURITY: the first of several would be somebody else as easily.
fn only_match(at: &Pointer, answer: &Value) -> Option<String> {
    let mut value = answer;
    for step in at.steps() {
        value = match value {
            Value::Map(_) => value.member(step)?,
            Value::List(items) => match items.as_slice() {
                [one] if &**step == "0" => one,
                _ => return None,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => return None,
        };
    }
    value.id_text().filter(|id| !id.is_empty())
}

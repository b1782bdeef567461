//! Who asks, and for whom? One verified token names both.
//!
//! Never forwards a token, never believes one whose issuer's keys cannot be read, and imports no
//! network: keys come through a [`Fetch`] that is handed in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use smallvec::SmallVec;

use crate::action::AuthPlace;
use crate::bounds::{TOKEN_BYTES_MAX, TOKEN_CACHE_MAX};
use crate::call::Caller;
use crate::clock::{Clock, Timestamp};
use crate::refusal::{Code, Fault, Refusal};
use crate::value::Value;

mod claims;
mod config;
mod jwks;
mod mint;
mod person;
mod throttle;
mod token;

pub use config::{
    Algorithm, ClaimPlaces, Config, ConsentRule, ContactPlace, DEVELOPMENT_AUDIENCE,
    DEVELOPMENT_ISSUER, Development, Issuer, KeySource, is_safe_address, read_algorithms,
    read_issuers,
};
pub use jwks::Fetch;
pub use mint::{MintError, Wish, mint, prepare};
pub use person::{IdToken, People, Person, PersonPlaces};

use claims::Said;
use jwks::{Key, Keys};
use throttle::Throttle;

/// The header in which an agent may send its token when its SDK keeps the usual place.
const OWN_AUTHORIZATION: HeaderName = HeaderName::from_static("tollhouse-authorization");
/// The header with a customer's own token.
const CUSTOMER: HeaderName = HeaderName::from_static("tollhouse-customer");
/// BOUND: all remembered tokens together; some two thousand of the usual size.
const CACHE_BYTES_MAX: u64 = 4 << 20;
/// BOUND: tokens of single-use issuers that are remembered until they end.
const USED_MAX: usize = 100_000;

/// Verifies callers.
#[derive(Debug)]
pub struct Identity {
    issuers: Vec<Trusted>,
    claims: ClaimPlaces,
    consent: ConsentRule,
    clock: Clock,
    cache: Cache<Box<str>, Arc<Verified>, Bytes>,
    epoch: AtomicU64,
    throttle: Arc<Throttle>,
    used: Arc<Used>,
}

#[derive(Debug)]
struct Trusted {
    issuer: Issuer,
    keys: Arc<Keys>,
}

/// A token that was verified, and what that rests on.
#[derive(Debug)]
struct Verified {
    caller: Arc<Caller>,
    until: Timestamp,
    epoch: u64,
    rests_on: SmallVec<[(Arc<Keys>, Arc<Key>); 1]>,
}

impl Verified {
    fn still_holds(&self, now: Timestamp, epoch: u64) -> bool {
        self.until > now
            && self.epoch == epoch
            && self.rests_on.iter().all(|(keys, key)| {
                keys.poll(now);
                key.is_live()
            })
    }
}

/// Weighs a remembered token by its bytes.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Box<str>, Arc<Verified>> for Bytes {
    fn weight(&self, token: &Box<str>, _: &Arc<Verified>) -> u64 {
        // BOUND: a caller and its strings are some 1 KiB.
        u64::try_from(token.len()).unwrap_or(u64::MAX).saturating_add(1024)
    }
}

impl Identity {
    /// An identity that trusts the issuers of `config`. What `before` knows of their keys, of tokens that
    /// were used up and of who fails too often, is kept over a reload.
    pub fn new(config: Config, fetch: Fetch, clock: Clock, before: Option<&Self>) -> Self {
        let known = |issuer: &Issuer| {
            let trusted = &before?.issuers;
            let same = trusted.iter().find(|t| t.keys.are_of(&issuer.issuer, &issuer.keys))?;
            Some(Arc::clone(&same.keys))
        };
        let trust = |issuer: Issuer| {
            let keys = known(&issuer).unwrap_or_else(|| {
                let source = issuer.keys.clone();
                Keys::new(Arc::clone(&issuer.issuer), source, Arc::clone(&fetch))
            });
            Trusted { issuer, keys }
        };
        Self {
            issuers: config.issuers.into_iter().map(trust).collect(),
            claims: config.claims,
            consent: config.consent,
            clock,
            cache: Cache::with_weighter(2_000, CACHE_BYTES_MAX, Bytes),
            epoch: AtomicU64::new(0),
            throttle: before.map_or_else(Arc::default, |before| Arc::clone(&before.throttle)),
            used: before.map_or_else(Arc::default, |before| Arc::clone(&before.used)),
        }
    }

    /// Who asks: from the token in `Authorization` (Bearer, or either half of Basic), in the place
    /// of the vendor's own key, or in `Tollhouse-Authorization`, with an optional second one in
    /// `Tollhouse-Customer`.
    ///
    /// # Errors
    ///
    /// `unauthenticated` without one valid token, `ambiguous` with two different ones,
    /// `rate_limited` when `peer` sent too many bad ones, `undecidable` when the issuer's keys
    /// cannot be read.
    pub async fn verify(
        &self,
        headers: &HeaderMap,
        place: &AuthPlace,
        query: &Value,
        peer: Option<IpAddr>,
    ) -> Result<Arc<Caller>, Refusal> {
        let now = self.clock.now();
        let presented = Presented::find(headers, place, query)?;
        let name = presented.name();
        // SECURITY: the whole token is compared, and only verified ones are in here; bad ones are
        // never remembered, so nobody can push good ones out.
        if let Some(known) = self.cache.get(&*name) {
            if known.still_holds(now, self.epoch.load(Ordering::Acquire)) {
                return Ok(Arc::clone(&known.caller));
            }
            self.cache.remove(&*name);
        }
        self.throttle.check(peer, now)?;
        // Boxed: a rare branch does not make every call's future larger.
        match Box::pin(self.judge(&presented, now)).await {
            Ok(caller) => Ok(caller),
            Err(refusal) => {
                if refusal.code == Code::Unauthenticated {
                    self.throttle.failed(peer, now);
                }
                Err(refusal)
            }
        }
    }

    /// Forgets every remembered token of an earlier epoch: after a freeze, a revocation, a change of
    /// policy.
    pub fn forget(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Who issues the tokens that count.
    pub fn issuers(&self) -> Vec<Arc<str>> {
        self.issuers.iter().map(|trusted| Arc::clone(&trusted.issuer.issuer)).collect()
    }

    /// What missing consent means.
    pub fn consent(&self) -> ConsentRule {
        self.consent
    }

    /// Reads every issuer's keys now: how many of each count, or why they cannot be read.
    pub async fn connect(&self) -> Vec<(Arc<str>, Result<usize, Fault>)> {
        let mut all = Vec::with_capacity(self.issuers.len());
        for trusted in &self.issuers {
            let keys = trusted.keys.connect(&trusted.issuer.algorithms, self.clock.now()).await;
            all.push((Arc::clone(&trusted.issuer.issuer), keys));
        }
        all
    }

    /// Issuers whose newest keys could not be read, and why; older ones may still count.
    pub fn failing(&self) -> Vec<(Arc<str>, String)> {
        let failing = |t: &Trusted| Some((Arc::clone(&t.issuer.issuer), t.keys.failure()?));
        self.issuers.iter().filter_map(failing).collect()
    }

    /// Issuers none of whose keys count, and why: nobody is believed on their word.
    pub fn without_keys(&self) -> Vec<(Arc<str>, String)> {
        let now = self.clock.now();
        let silent = |t: &Trusted| Some((Arc::clone(&t.issuer.issuer), t.keys.closed(now)?));
        self.issuers.iter().filter_map(silent).collect()
    }

    async fn judge(
        &self,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Arc<Caller>, Refusal> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut rests_on = SmallVec::new();
        let agent = self.believe(&presented.token, now).await?;
        let mut until = agent.until.min(agent.said.expires());
        let mut once = agent.once;
        rests_on.push(agent.by);
        let mut uses: SmallVec<[Use; 2]> = agent.uses.into_iter().collect();
        let caller = match presented.customer {
            None => agent.said.alone(),
            Some(token) => {
                let customer = self.believe(token, now).await?;
                until = until.min(customer.until).min(customer.said.expires());
                once |= customer.once;
                uses.extend(customer.uses);
                rests_on.push(customer.by);
                agent.said.with_customer(customer.said)
            }
        };
        let caller = Arc::new(caller.map_err(refused)?);
        self.used.take(uses, now)?;
        if !once {
            let until = until.min(now.plus(TOKEN_CACHE_MAX));
            let verified = Verified { caller: Arc::clone(&caller), until, epoch, rests_on };
            self.cache.insert(presented.name().into(), Arc::new(verified));
        }
        Ok(caller)
    }

    /// One token of an agent or a customer.
    async fn believe(&self, token: &str, now: Timestamp) -> Result<Believed, Refusal> {
        let proven = self.prove(token, now).await?;
        let (issuer, expires) = (&proven.issuer, proven.expires);
        let said =
            Said::read(&proven.claims, &self.claims, issuer, expires, now).map_err(refused)?;
        let uses = proven.use_of(said.jti())?;
        Ok(Believed { said, by: proven.by, until: proven.until, once: proven.once, uses })
    }

    /// One token: read, in force, signed by a key of its issuer.
    async fn prove(&self, token: &str, now: Timestamp) -> Result<Proven, Refusal> {
        // BOUND: before any decoding.
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::new(
                Code::HeaderTooLarge,
                "The token is too large. Nothing was sent.",
            ));
        }
        let unverified = token::split(token).map_err(refused)?;
        let claimed = unverified.claims.member("iss").and_then(token::Claim::text);
        let trusted = self.issuers.iter().find(|t| Some(&*t.issuer.issuer) == claimed);
        let trusted = trusted.ok_or_else(|| refused("from no issuer that is trusted (`iss`)"))?;
        let issuer = &trusted.issuer;
        // RFC 8725 s3.1: what counts is the issuer's list, never the token's word.
        let algorithm = Algorithm::parse(&unverified.algorithm)
            .filter(|algorithm| issuer.algorithms.contains(algorithm))
            .ok_or_else(|| {
                refused("signed by an algorithm that its issuer does not use (`alg`)")
            })?;
        // What is cheap comes before what costs a signature, and before anything asks the issuer.
        let expires = claims::in_force(&unverified.claims, issuer, now).map_err(refused)?;
        let found = trusted.keys.candidates(unverified.kid.as_deref(), algorithm, now).await?;
        if found.keys.is_empty() {
            return Err(refused("signed by a key that its issuer does not have (`kid`)"));
        }
        let (message, signature) = (unverified.message, unverified.signature);
        let signer = found.keys.into_iter().find(|key| key.signed(message, signature, algorithm));
        let signer = signer.ok_or_else(|| refused("the signature does not match"))?;
        Ok(Proven {
            claims: unverified.claims,
            issuer: Arc::clone(&issuer.issuer),
            expires,
            by: (Arc::clone(&trusted.keys), signer),
            until: found.until,
            once: issuer.single_use,
        })
    }
}

/// A token that its issuer signed and that is in force.
struct Proven {
    claims: token::Claim,
    issuer: Arc<str>,
    expires: Timestamp,
    by: (Arc<Keys>, Arc<Key>),
    until: Timestamp,
    once: bool,
}

impl Proven {
    /// What is used up with it, where its issuer's tokens count once.
    fn use_of(&self, jti: Option<&str>) -> Result<Option<Use>, Refusal> {
        match (self.once, jti) {
            (false, _) => Ok(None),
            (true, Some(jti)) => {
                Ok(Some(((Arc::clone(&self.issuer), Box::from(jti)), self.expires)))
            }
            (true, None) => Err(refused("counts once and has no name (`jti`)")),
        }
    }
}

/// What a token says that its issuer signed.
struct Believed {
    said: Said,
    by: (Arc<Keys>, Arc<Key>),
    until: Timestamp,
    once: bool,
    uses: Option<Use>,
}

type Use = (TokenName, Timestamp);
/// An issuer and the `jti` it gave.
type TokenName = (Arc<str>, Box<str>);

fn refused(why: impl Into<String>) -> Refusal {
    let mut refusal = Refusal::unauthenticated(why);
    // RFC 6750 s3.1; what exactly was wrong is for operators only.
    let challenge = "Bearer realm=\"tollhouse\", error=\"invalid_token\", \
                     error_description=\"The token is missing what this service requires\"";
    refusal.challenge = Some(challenge.to_owned());
    refusal
}

/// The tokens of one request.
#[derive(Debug)]
struct Presented<'r> {
    token: Cow<'r, str>,
    customer: Option<&'r str>,
}

impl<'r> Presented<'r> {
    fn find(
        headers: &'r HeaderMap,
        place: &'r AuthPlace,
        query: &'r Value,
    ) -> Result<Self, Refusal> {
        let mut found: SmallVec<[Cow<'r, str>; 2]> = SmallVec::new();
        let mut offer = |text: Cow<'r, str>| {
            if token::looks_like_token(&text) && !found.contains(&text) {
                found.push(text);
            }
        };
        if let Some(text) = single(headers, &AUTHORIZATION)? {
            from_authorization(text).into_iter().for_each(&mut offer);
        }
        if let Some(text) = single(headers, &OWN_AUTHORIZATION)? {
            offer(Cow::Borrowed(bearer(text).unwrap_or(text)));
        }
        match place {
            AuthPlace::Header(name) if *name != AUTHORIZATION => {
                if let Some(text) = single(headers, name)? {
                    offer(Cow::Borrowed(bearer(text).unwrap_or(text)));
                }
            }
            AuthPlace::Query(name) => {
                if let Some(text) = query.member(name).and_then(Value::text) {
                    offer(Cow::Borrowed(text));
                }
            }
            AuthPlace::Bearer | AuthPlace::Basic | AuthPlace::Header(_) => {}
        }
        let customer = single(headers, &CUSTOMER)?.map(|text| bearer(text).unwrap_or(text));
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(token), None) => Ok(Self { token, customer }),
            (None, _) => {
                let mut refusal = Refusal::unauthenticated(
                    "no token came along: nothing in the places of a token reads as a JWT",
                );
                // RFC 6750 s3.1: a request without a token is told no error code.
                refusal.challenge = Some("Bearer realm=\"tollhouse\"".to_owned());
                Err(refusal)
            }
            // SECURITY: which of two tokens counts is nothing to guess.
            (Some(_), Some(_)) => Err(Refusal::ambiguous("Authorization", "expected one token")
                .because("two different tokens came along")),
        }
    }

    /// What the cache knows these tokens by. A blank is in no token.
    fn name(&self) -> Cow<'_, str> {
        match self.customer {
            None => Cow::Borrowed(&*self.token),
            Some(customer) => Cow::Owned(format!("{} {customer}", self.token)),
        }
    }
}

/// The one value of a header.
fn single<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::ambiguous(name.as_str(), "expected it once"));
    }
    let text = value.to_str().map_err(|_| Refusal::malformed(name.as_str(), "expected ASCII"))?;
    Ok(Some(text.trim()))
}

fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn from_authorization(text: &str) -> SmallVec<[Cow<'_, str>; 2]> {
    let mut found = SmallVec::new();
    if let Some(token) = bearer(text) {
        found.push(Cow::Borrowed(token));
    } else if let Some((scheme, pair)) = text.split_once(' ')
        && scheme.eq_ignore_ascii_case("basic")
        && let Ok(pair) = base64::engine::general_purpose::STANDARD.decode(pair.trim())
        && let Ok(pair) = String::from_utf8(pair)
        && let Some((name, secret)) = pair.split_once(':')
    {
        found.push(Cow::Owned(name.to_owned()));
        found.push(Cow::Owned(secret.to_owned()));
    }
    found
}

/// Tokens of single-use issuers that were used.
#[derive(Debug, Default)]
struct Used {
    until: Mutex<HashMap<TokenName, Timestamp>>,
}

impl Used {
    /// Takes all of them, or none when one is used up.
    fn take(&self, uses: SmallVec<[Use; 2]>, now: Timestamp) -> Result<(), Refusal> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut used = self.until.lock();
        if used.len() >= USED_MAX {
            used.retain(|_, until| *until > now);
        }
        if used.len() >= USED_MAX {
            return Err(Refusal::undecidable("too many single-use tokens to remember"));
        }
        if uses.iter().any(|(name, _)| used.contains_key(name)) {
            return Err(refused("was used before and counts once (`jti`)"));
        }
        used.extend(uses);
        Ok(())
    }
}

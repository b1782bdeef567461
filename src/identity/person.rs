//! Which person does a token name, with which roles and for which tenants? For whoever operates
//! Tollhouse: the same issuers' keys, algorithms and checks as for agents, other claims.
//!
//! Never takes a token of an agent for a person's, and never gives more than a claim says: what is
//! not there is no role and, where it is asked for, no tenant.

use std::net::IpAddr;
use std::sync::Arc;

use super::config::pointer;
use super::token::Claim;
use super::{
    ClaimPlaces, Config, ConsentRule, Fetch, Identity, Issuer, Proven, claims, refused, token,
};
use crate::clock::{Clock, Timestamp};
use crate::refusal::{Code, Fault, Refusal};
use crate::value::Pointer;
use crate::yaml::Section;

/// Where in a person's token what stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonPlaces {
    /// What they are called on record.
    pub name: Pointer,
    /// What their issuer calls them.
    pub subject: Pointer,
    /// What they may do.
    pub roles: Pointer,
    /// Whose things they see; `None`: tokens say nothing of tenants, and bind nobody.
    pub tenants: Option<Pointer>,
}

impl Default for PersonPlaces {
    fn default() -> Self {
        Self {
            name: Pointer::of(&["email"]),
            subject: Pointer::of(&["sub"]),
            roles: Pointer::of(&["roles"]),
            tenants: None,
        }
    }
}

impl PersonPlaces {
    /// Reads `claims:`, merged over the defaults key by key.
    pub fn read(section: Section<'_>) -> Self {
        let mut places = Self::default();
        for (key, place) in [
            ("name", &mut places.name),
            ("subject", &mut places.subject),
            ("roles", &mut places.roles),
        ] {
            if let Some(own) = section.optional(key, pointer) {
                *place = own;
            }
        }
        places.tenants = section.optional("tenants", pointer);
        section.finish();
        places
    }
}

/// Who a verified token says is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their name on record.
    pub name: Arc<str>,
    /// What their issuer calls them.
    pub subject: Arc<str>,
    /// Their roles.
    pub roles: Vec<Box<str>>,
    /// Their tenants; `None` when tokens say nothing of tenants.
    pub tenants: Option<Vec<Box<str>>>,
    /// When the token ends.
    pub expires: Timestamp,
}

/// What an id token must say besides (OpenID Connect Core s3.1.3.7).
#[derive(Debug, Clone, Copy)]
pub struct IdToken<'t> {
    /// The nonce that the sign-in began with.
    pub nonce: &'t str,
    /// Who asked for it.
    pub client_id: &'t str,
}

/// Verifies people.
#[derive(Debug)]
pub struct People {
    identity: Identity,
    places: PersonPlaces,
}

impl People {
    /// Those whom `issuers` vouch for.
    pub fn new(issuers: Vec<Issuer>, places: PersonPlaces, fetch: Fetch, clock: Clock) -> Self {
        let (claims, consent) = (ClaimPlaces::default(), ConsentRule::default());
        let config = Config { issuers, claims, consent };
        Self { identity: Identity::new(config, fetch, clock, None), places }
    }

    /// Whose token it is.
    ///
    /// # Errors
    ///
    /// As for an agent's: `unauthenticated`, `rate_limited`, `undecidable`.
    pub async fn verify(&self, text: &str, peer: Option<IpAddr>) -> Result<Person, Refusal> {
        let now = self.identity.clock.now();
        self.identity.throttle.check(peer, now)?;
        let judged = self.judge(text, now).await;
        if judged.as_ref().is_err_and(|refusal| refusal.code == Code::Unauthenticated) {
            self.identity.throttle.failed(peer, now);
        }
        judged
    }

    /// Whose id token it is, fresh from its issuer and for this sign-in.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn verify_id_token(&self, text: &str, of: IdToken<'_>) -> Result<Person, Refusal> {
        let now = self.identity.clock.now();
        let proven = self.identity.prove(text, now).await?;
        let said = |name: &str| proven.claims.member(name).and_then(Claim::text);
        if said("nonce") != Some(of.nonce) {
            return Err(refused("an id token of another sign-in (`nonce`)"));
        }
        let audiences = proven.claims.member("aud").and_then(Claim::texts).unwrap_or_default();
        let party = proven.claims.member("azp");
        if party.map_or(audiences.len() > 1, |party| party.text() != Some(of.client_id)) {
            return Err(refused("an id token for another client (`azp`)"));
        }
        self.read(&proven)
    }

    async fn judge(&self, text: &str, now: Timestamp) -> Result<Person, Refusal> {
        if !token::looks_like_token(text) {
            return Err(refused("does not read as a token"));
        }
        let proven = self.identity.prove(text, now).await?;
        let jti = claims::name_of(proven.claims.member("jti"), "jti").map_err(refused)?;
        let uses = proven.use_of(jti.as_deref())?;
        let person = self.read(&proven)?;
        self.identity.used.take(uses.into_iter().collect(), now)?;
        Ok(person)
    }

    fn read(&self, proven: &Proven) -> Result<Person, Refusal> {
        let (claims, places) = (&proven.claims, &self.places);
        // SECURITY: RFC 8693 s4.1: whoever acts for somebody is an agent, and no agent answers holds.
        if claims.member("act").is_some() {
            return Err(refused("an agent's token is no person's (`act`)"));
        }
        let subject = claims::name_of(claims.at(&places.subject), "subject").map_err(refused)?;
        let subject = subject.ok_or_else(|| refused("names nobody (`subject`)"))?;
        let name = claims::name_of(claims.at(&places.name), "name").map_err(refused)?;
        // An address that the issuer did not verify may be anybody's.
        let verified = claims.member("email_verified");
        let is_own = places.name != Pointer::of(&["email"])
            || verified.is_none_or(|verified| *verified == Claim::Bool(true));
        let names = |place: &Pointer, what| claims::names(claims.at(place), what).map_err(refused);
        Ok(Person {
            name: name.filter(|_| is_own).unwrap_or_else(|| Arc::clone(&subject)),
            subject,
            roles: names(&places.roles, "roles")?,
            tenants: places.tenants.as_ref().map(|place| names(place, "tenants")).transpose()?,
            expires: proven.expires,
        })
    }

    /// Reads every issuer's keys now: how many each has, or why they cannot be read.
    pub async fn connect(&self) -> Vec<(Arc<str>, Result<usize, Fault>)> {
        self.identity.connect().await
    }
}

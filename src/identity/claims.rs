//! Who does a verified token say is asking, for whom, within what?
//!
//! Never guesses: a claim of another type than it should have refuses the token.

use std::sync::Arc;
use std::time::Duration;

use super::config::{ClaimPlaces, Issuer};
use super::token::Claim;
use crate::call::{AccountClaim, Caller, Consent};
use crate::clock::Timestamp;
use crate::value::Pointer;

/// BOUND: how far two clocks may differ. It widens the start of a token, never its end.
const SKEW: Duration = Duration::from_secs(60);
/// BOUND: a token that is good for more than a year is a mistake, or milliseconds for seconds.
const LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// BOUND: the year 9999, in seconds.
const SECONDS_MAX: i64 = 253_402_300_799;
/// BOUND: identifiers of issuers; Entra's and Auth0's stay below 100.
const NAME_BYTES_MAX: usize = 255;
/// BOUND: lists in a token: roles, accounts, actions.
const LIST_MAX: usize = 256;
/// The `type` of those `authorization_details` that are for us.
const DETAILS_TYPE: &str = "tollhouse";

type Read<T> = Result<T, String>;

/// What every token must say, whosever it is: in time, for us, from this issuer.
pub(super) fn in_force(claims: &Claim, issuer: &Issuer, now: Timestamp) -> Read<Timestamp> {
    let expires = seconds(claims, "exp")?.ok_or("no `exp`")?;
    if expires <= now {
        return Err(format!("expired at {expires}"));
    }
    if expires > now.plus(LIFE_MAX) {
        return Err("`exp` is more than a year away".into());
    }
    if seconds(claims, "nbf")?.is_some_and(|from| from > now.plus(SKEW)) {
        return Err("not valid yet (`nbf`)".into());
    }
    if seconds(claims, "iat")?.is_some_and(|issued| issued > now.plus(SKEW)) {
        return Err("issued in the future (`iat`)".into());
    }
    let audience = claims.member("aud").ok_or("no `aud`")?;
    let audience = audience.texts().ok_or("`aud` is no text and no list of texts")?;
    if !audience.iter().any(|aud| issuer.audience.iter().any(|own| **own == **aud)) {
        return Err("for another audience (`aud`)".into());
    }
    Ok(expires)
}

/// One verified token, read by the places of the configuration.
#[derive(Debug)]
pub(super) struct Said {
    issuer: Arc<str>,
    expires: Timestamp,
    issued: Option<Timestamp>,
    jti: Option<Box<str>>,
    subject: Option<Arc<str>>,
    customer: Option<Arc<str>>,
    agent: Option<Arc<str>>,
    has_actor: bool,
    may_act: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    account: AccountClaim,
    roles: Vec<Box<str>>,
    trust: Option<u8>,
    consent: Consent,
    auth_time: Option<Timestamp>,
    contacts: Vec<Box<str>>,
    narrowed: Option<Vec<Box<str>>>,
}

impl Said {
    /// Reads the claims of a token that is in force until `expires`.
    pub(super) fn read(
        claims: &Claim,
        places: &ClaimPlaces,
        issuer: &Arc<str>,
        expires: Timestamp,
        now: Timestamp,
    ) -> Read<Self> {
        let auth_time = moment_at(claims, &places.auth_time, "auth_time")?;
        if auth_time.is_some_and(|at| at > now.plus(SKEW)) {
            return Err("a sign-in in the future (`auth_time`)".into());
        }
        let consent = moment_at(claims, &places.consent_until, "consent_until")?;
        let jti = name_of(claims.member("jti"), "jti")?;
        Ok(Self {
            issuer: Arc::clone(issuer),
            expires,
            issued: seconds(claims, "iat")?,
            jti: jti.map(|jti| (*jti).into()),
            subject: name_of(claims.member("sub"), "sub")?,
            customer: name_of(claims.at(&places.customer), "customer")?,
            agent: name_of(claims.at(&places.agent), "agent")?,
            has_actor: claims.member("act").is_some(),
            may_act: may_act(claims)?,
            tenant: name_of(claims.at(&places.tenant), "tenant")?,
            account: account(claims.at(&places.account))?,
            roles: names(claims.at(&places.roles), "roles")?,
            trust: trust(claims.at(&places.trust))?,
            consent: consent.map_or(Consent::Absent, Consent::Until),
            auth_time,
            contacts: contacts(claims, places)?,
            narrowed: narrowed(claims)?,
        })
    }

    /// The token's own name.
    pub(super) fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
    }

    /// When the token ends.
    pub(super) fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The caller of a token that stands alone: it must name its agent.
    pub(super) fn alone(self) -> Read<Caller> {
        let Some(agent) = self.agent.clone() else {
            return Err("names no agent (`act.sub`): a customer's own token is no agent's".into());
        };
        Ok(self.caller(agent))
    }

    /// The caller of an agent's token and a customer's: the customer's must name the agent in
    /// `may_act` (RFC 8693 s4.4) and must itself be nobody's agent token.
    pub(super) fn with_customer(self, customer: Self) -> Read<Caller> {
        if customer.has_actor {
            return Err("the token in `Tollhouse-Customer` is an agent's".into());
        }
        let agent = self.agent.clone().or_else(|| self.subject.clone());
        let agent = agent.ok_or("the agent's token names no agent")?;
        if customer.may_act.as_deref() != Some(&*agent) {
            return Err("the customer's token does not name this agent in `may_act`".into());
        }
        let Some(person) = customer.customer.clone() else {
            return Err("the customer's token names no customer".into());
        };
        // A token with an actor names its customer itself: both must mean the same person.
        if self.has_actor && self.customer.as_ref().is_some_and(|own| *own != person) {
            return Err("the two tokens are for two customers".into());
        }
        if let (Some(one), Some(other)) = (&self.tenant, &customer.tenant)
            && one != other
        {
            return Err("the two tokens are for two tenants".into());
        }
        let narrowed = match (self.narrowed, customer.narrowed) {
            (Some(one), Some(other)) => {
                Some(one.into_iter().filter(|action| other.contains(action)).collect())
            }
            (one, other) => one.or(other),
        };
        Ok(Caller {
            tenant: self.tenant.or(customer.tenant).unwrap_or_else(|| Arc::from("")),
            agent,
            customer: Some(person),
            account: customer.account,
            roles: customer.roles,
            trust: self.trust,
            consent_until: customer.consent,
            auth_time: customer.auth_time,
            contacts: customer.contacts,
            issuer: self.issuer,
            jti: self.jti,
            issued_at: self.issued,
            expires: self.expires.min(customer.expires),
            narrowed,
        })
    }

    fn caller(self, agent: Arc<str>) -> Caller {
        Caller {
            tenant: self.tenant.unwrap_or_else(|| Arc::from("")),
            agent,
            customer: self.customer,
            account: self.account,
            roles: self.roles,
            trust: self.trust,
            consent_until: self.consent,
            auth_time: self.auth_time,
            contacts: self.contacts,
            issuer: self.issuer,
            jti: self.jti,
            issued_at: self.issued,
            expires: self.expires,
            narrowed: self.narrowed,
        }
    }
}

// RFC 7519 s2 lets a NumericDate be a fraction; ours must be whole seconds between 1970 and 9999.
fn moment(claim: &Claim, name: &str) -> Read<Timestamp> {
    match claim {
        Claim::Integer(at) if (0..=SECONDS_MAX).contains(at) => Ok(Timestamp::from_seconds(*at)),
        Claim::Integer(_)
        | Claim::Null
        | Claim::Bool(_)
        | Claim::OtherNumber
        | Claim::Text(_)
        | Claim::List(_)
        | Claim::Map(_) => Err(format!("`{name}` is no whole number of seconds")),
    }
}

fn seconds(claims: &Claim, name: &str) -> Read<Option<Timestamp>> {
    claims.member(name).map(|claim| moment(claim, name)).transpose()
}

fn moment_at(claims: &Claim, place: &Pointer, name: &str) -> Read<Option<Timestamp>> {
    claims.at(place).map(|claim| moment(claim, name)).transpose()
}

fn name<'c>(claim: &'c Claim, what: &str) -> Read<&'c str> {
    let text = claim.text().ok_or_else(|| format!("`{what}` is no text"))?;
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("`{what}` is empty, too long, or not printable"));
    }
    Ok(text)
}

pub(super) fn name_of(claim: Option<&Claim>, what: &str) -> Read<Option<Arc<str>>> {
    claim.filter(|c| **c != Claim::Null).map(|c| name(c, what).map(Arc::from)).transpose()
}

pub(super) fn names(claim: Option<&Claim>, what: &str) -> Read<Vec<Box<str>>> {
    match claim {
        None => Ok(Vec::new()),
        Some(Claim::List(items)) if items.len() <= LIST_MAX => {
            items.iter().map(|item| name(item, what).map(Box::from)).collect()
        }
        Some(one) => Ok(vec![name(one, what)?.into()]),
    }
}

fn may_act(claims: &Claim) -> Read<Option<Arc<str>>> {
    match claims.member("may_act") {
        None => Ok(None),
        Some(may_act @ Claim::Map(_)) => name_of(may_act.member("sub"), "may_act.sub"),
        Some(_) => Err("`may_act` is no object".into()),
    }
}

fn account(claim: Option<&Claim>) -> Read<AccountClaim> {
    match claim {
        None => Ok(AccountClaim::Absent),
        Some(Claim::Map(members)) if members.len() <= LIST_MAX => {
            let one = |(upstream, id): &(Box<str>, Claim)| {
                Ok((upstream.clone(), Arc::from(name(id, "account")?)))
            };
            Ok(AccountClaim::ByUpstream(members.iter().map(one).collect::<Read<_>>()?))
        }
        Some(one) => Ok(AccountClaim::One(name(one, "account")?.into())),
    }
}

// AgentAz writes A0 to A4.
fn trust(claim: Option<&Claim>) -> Read<Option<u8>> {
    let Some(claim) = claim else { return Ok(None) };
    let level = match claim {
        Claim::Integer(level) => u8::try_from(*level).ok(),
        Claim::Text(text) => text.strip_prefix('A').unwrap_or(text).parse().ok(),
        Claim::Null | Claim::Bool(_) | Claim::OtherNumber | Claim::List(_) | Claim::Map(_) => None,
    };
    match level {
        Some(level) if level <= 4 => Ok(Some(level)),
        Some(_) | None => Err("`trust` is no level from 0 to 4".into()),
    }
}

// An address that the issuer did not verify is no address.
fn contacts(claims: &Claim, places: &ClaimPlaces) -> Read<Vec<Box<str>>> {
    let mut found = Vec::new();
    for (what, place) in &places.contacts {
        if let Some(address) = claims.at(&place.at) {
            let address = name(address, what)?;
            if claims.at(&place.verified) == Some(&Claim::Bool(true)) {
                found.push(address.into());
            }
        }
    }
    Ok(found)
}

/// RFC 9396: what a token's `authorization_details` leave open. A restriction that is not
/// understood leaves nothing open, so they can only narrow.
fn narrowed(claims: &Claim) -> Read<Option<Vec<Box<str>>>> {
    let Some(details) = claims.member("authorization_details") else { return Ok(None) };
    let details = details.items().ok_or("`authorization_details` is no list")?;
    let mut open = Vec::new();
    for detail in details {
        let Claim::Map(members) = detail else {
            return Err("an item of `authorization_details` is no object".into());
        };
        let sort = detail.member("type").and_then(Claim::text);
        let sort = sort.ok_or("an item of `authorization_details` has no `type`")?;
        if sort != DETAILS_TYPE {
            continue;
        }
        if let Some((other, _)) =
            members.iter().find(|(name, _)| !matches!(&**name, "type" | "actions" | "locations"))
        {
            return Err(format!("`authorization_details` restricts by `{other}`, unknown here"));
        }
        open.extend(names(detail.member("actions"), "authorization_details.actions")?);
    }
    open.sort_unstable();
    open.dedup();
    Ok(Some(open))
}

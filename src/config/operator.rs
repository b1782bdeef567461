//! Who operates Tollhouse, and how do they say who they are? The `operator:` section.
//!
//! Never reads a token into a setting: its hash is what is kept.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ConsoleListen;
use crate::approval::Answerers;
use crate::credentials::Reference;
use crate::identity::{
    self, Algorithm, Development, Issuer, PersonPlaces, is_safe_address, read_algorithms,
};
use crate::money::Money;
use crate::outbound::{Origin, Scheme};
use crate::yaml::{Node, Section, Shape};

/// The `operator:` section, without where it listens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperatorSection {
    /// Tokens of machines, and of people without an issuer.
    pub tokens: Vec<OperatorToken>,
    /// Where people find the console, when not at its own address.
    pub public_url: Option<Origin>,
    /// Whose tokens count that come with a request.
    pub issuers: Vec<Issuer>,
    /// Where in them, and in id tokens, what stands.
    pub claims: PersonPlaces,
    /// Where people sign in with their browser.
    pub oidc: Option<OidcSection>,
    /// How long a session lasts, and how long unused; the console's own when `None`.
    pub session: (Option<Duration>, Option<Duration>),
    /// The roles that lift freezes, resolve, revoke, reload; `None` for the usual one.
    pub operators: Option<Vec<String>>,
    /// Over how much a yes asks for the amount to be typed.
    pub confirm_over: Vec<Money>,
    /// Up to how much a role may approve.
    pub limits: Vec<(Box<str>, Vec<Money>)>,
    /// Quick mode: whoever can read the state folder operates.
    pub quick: bool,
}

impl OperatorSection {
    /// Who could answer holds, as far as the configuration tells.
    pub(super) fn answerers(&self) -> Answerers {
        let answering = self.tokens.iter().filter(|token| token.approves);
        let boxed = |roles: &Vec<String>| roles.iter().map(|role| role.as_str().into()).collect();
        Answerers {
            people: self.quick || self.oidc.is_some() || !self.issuers.is_empty(),
            machines: answering.map(|token| boxed(&token.roles)).collect(),
        }
    }
}

impl OperatorSection {
    /// Whether a person's token says nothing of tenants.
    pub fn lets_anybody_see_all(&self) -> bool {
        (self.oidc.is_some() || !self.issuers.is_empty()) && self.claims.tenants.is_none()
    }
}

/// `operator.oidc`.
#[derive(Debug, Clone, PartialEq)]
pub struct OidcSection {
    /// The issuer; its endpoints are found from there.
    pub issuer: Box<str>,
    /// Who we are there.
    pub client_id: Box<str>,
    /// Our secret there; `None` for a public client.
    pub client_secret: Option<Reference>,
    /// What is asked for; `openid` always.
    pub scopes: Vec<String>,
    /// The algorithms it signs by.
    pub algorithms: Vec<Algorithm>,
}

/// A machine's token for the console.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorToken {
    /// Who it is, on record.
    pub name: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// The tenants that it is bound to; `None` for every one.
    pub tenants: Option<Vec<String>>,
    /// Whether it answers holds.
    pub approves: bool,
    /// Its SHA-256; the token itself is not kept.
    pub sha256: [u8; 32],
    /// Where it was read, when it is a file.
    pub file: Option<PathBuf>,
}

const DEFAULT_CONSOLE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8701);

/// Reads the section; paths are relative to `base`.
pub(super) fn read(
    top: &Section<'_>,
    agents: Option<&identity::Config>,
    (base, development): (&Path, Development),
) -> (Option<ConsoleListen>, OperatorSection) {
    let Some(section) = top.section("operator") else {
        return (Some(ConsoleListen::Tcp(DEFAULT_CONSOLE)), OperatorSection::default());
    };
    if section.node("tls").is_some() {
        section.fault(
            "tls",
            "is not built yet; put a proxy with TLS before it, and name `public_url`",
        );
    }
    let listen = section.optional("listen", |n| match n.text()? {
        "off" => Ok(None),
        text => match text.strip_prefix("unix:") {
            Some(path) => Ok(Some(ConsoleListen::Unix(base.join(path)))),
            None => super::load::loopback_address(n).map(|a| Some(ConsoleListen::Tcp(a))),
        },
    });
    let has_issuers = section.node("issuers").is_some();
    let read = OperatorSection {
        tokens: tokens(&section, base),
        public_url: section.optional("public_url", public_url),
        issuers: if has_issuers {
            identity::read_issuers(&section, base, development)
        } else {
            Vec::new()
        },
        claims: section.section("claims").map(PersonPlaces::read).unwrap_or_default(),
        oidc: section.section("oidc").and_then(|one| oidc(one, base)),
        session: (section.optional("session", span), section.optional("idle", span)),
        operators: section.optional("operators", Node::texts),
        confirm_over: section.optional("confirm_over", Node::amounts).unwrap_or_default(),
        limits: limits(&section),
        quick: false,
    };
    if read.oidc.is_some() && read.public_url.is_none() {
        section.fault("oidc", "needs `public_url`: the issuer sends people back there");
    }
    if read.operators.as_ref().is_some_and(Vec::is_empty) {
        section.fault("operators", "expected at least one role");
    }
    keep_apart(top, &read, agents.map_or(&[], |agents| &agents.issuers));
    section.finish();
    (listen.unwrap_or(Some(ConsoleListen::Tcp(DEFAULT_CONSOLE))), read)
}

/// SECURITY: an agent's own token must never be one that signs its operator in.
fn keep_apart(top: &Section<'_>, own: &OperatorSection, agents: &[Issuer]) {
    let is_agents = |issuer: &str, audience: &str| {
        agents.iter().any(|agent| {
            *agent.issuer == *issuer && agent.audience.iter().any(|known| **known == *audience)
        })
    };
    let issuers =
        own.issuers.iter().flat_map(|one| one.audience.iter().map(|aud| (&*one.issuer, &**aud)));
    let oidc = own.oidc.iter().map(|oidc| (&*oidc.issuer, &*oidc.client_id));
    for (issuer, audience) in issuers.chain(oidc) {
        if is_agents(issuer, audience) {
            let say = format!(
                "`{issuer}` gives agents tokens for the audience `{audience}` too (`identity.issuers`): \
                 an agent could answer its own holds; expected another audience"
            );
            top.fault("operator", say);
        }
    }
}

fn tokens(section: &Section<'_>, base: &Path) -> Vec<OperatorToken> {
    let mut tokens: Vec<OperatorToken> = Vec::new();
    let Some(node) = section.node("tokens") else { return tokens };
    let Shape::List(items) = &node.shape else {
        section.fault("tokens", "expected a list of tokens");
        return tokens;
    };
    for item in items {
        let one = section.faults().section(item, "operator.tokens");
        if let Some(read) = token(&one, base) {
            if tokens.iter().any(|other| other.sha256 == read.sha256) {
                one.fault("token", "is another operator's token as well");
            }
            tokens.push(read);
        }
        one.finish();
    }
    tokens
}

fn token(one: &Section<'_>, base: &Path) -> Option<OperatorToken> {
    let name = one.required("name", Node::name);
    let roles = one.optional("roles", Node::texts).unwrap_or_default();
    let tenants = one.optional("tenants", Node::texts);
    let approves = one.optional("approves", Node::bool).unwrap_or(false);
    let read = one.required("token", |n| {
        let reference = Reference::parse(n.text()?, base)?;
        let sha256 = reference.read(&super::environment)?.expose(|token| {
            // BOUND: 16 characters at random are some 80 bits.
            if token.len() < 16 {
                return Err("names a token of fewer than 16 characters".to_owned());
            }
            Ok(crate::store::record::sha256(token))
        });
        Ok((sha256?, reference.path().map(Path::to_owned)))
    });
    let (sha256, file) = read?;
    Some(OperatorToken { name: name?, roles, tenants, approves, sha256, file })
}

fn public_url(node: &Node) -> Result<Origin, String> {
    let text = node.text()?;
    let origin = Origin::parse(text)?;
    let local = ["localhost", "127.0.0.1", "::1"].contains(&origin.host());
    if origin.scheme() == Scheme::Http && !local {
        return Err(format!(
            "expected `https://..`: a session would travel in the clear, got `{text}`"
        ));
    }
    Ok(origin)
}

fn oidc(one: Section<'_>, base: &Path) -> Option<OidcSection> {
    let issuer = one.required("issuer", |node| {
        let text = node.name()?;
        if is_safe_address(&text) {
            return Ok(text);
        }
        Err(format!("expected `https://..`, got `{text}`"))
    });
    let client_id = one.required("client_id", Node::name);
    let client_secret = one.optional("client_secret", |node| {
        let reference = Reference::parse(node.text()?, base)?;
        reference.read(&super::environment).map(|_| reference)
    });
    let scopes = one.optional("scopes", Node::texts);
    let algorithms = one.optional("algorithms", read_algorithms);
    one.finish();
    let mut scopes = scopes.unwrap_or_else(|| vec!["openid".to_owned(), "email".to_owned()]);
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    Some(OidcSection {
        issuer: issuer?.into(),
        client_id: client_id?.into(),
        client_secret,
        scopes,
        // OpenID Connect Core s3.1.3.7: RS256 where nothing else was agreed.
        algorithms: algorithms.unwrap_or_else(|| vec![Algorithm::Rs256]),
    })
}

fn span(node: &Node) -> Result<Duration, String> {
    let span = node.duration()?;
    // BOUND: shorter than a minute nobody can read a hold; longer than a week is no session.
    if (Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600)).contains(&span) {
        return Ok(span);
    }
    Err("expected between 1s and 7d".into())
}

fn limits(section: &Section<'_>) -> Vec<(Box<str>, Vec<Money>)> {
    let Some(limits) = section.section("limits") else { return Vec::new() };
    let mut read = Vec::new();
    for (role, _) in limits.entries() {
        if let Some(amounts) = limits.optional(role, Node::amounts) {
            read.push((role.into(), amounts));
        }
    }
    limits.finish();
    read
}

/// Who vouches for people whose tokens come with each request; `None` when nobody does.
pub fn people(
    section: &OperatorSection,
    fetch: identity::Fetch,
    clock: crate::clock::Clock,
) -> Option<identity::People> {
    let issuers = section.issuers.clone();
    (!issuers.is_empty())
        .then(|| identity::People::new(issuers, section.claims.clone(), fetch, clock))
}

/// What the secret of the client is now.
///
/// # Errors
///
/// When it cannot be read.
pub fn client_secret(
    oidc: &OidcSection,
) -> Result<Option<Arc<crate::credentials::Secret>>, String> {
    let read = |reference: &Reference| reference.read(&super::environment).map(Arc::new);
    oidc.client_secret.as_ref().map(read).transpose()
}

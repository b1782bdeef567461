//! Whose tokens count? The `identity:` section.
//!
//! Reads no key and no file: paths and addresses only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::value::Pointer;
use crate::yaml::{Node, Section};

/// The issuer of development tokens.
pub const DEVELOPMENT_ISSUER: &str = "tollhouse-dev";
/// The audience of development tokens.
pub const DEVELOPMENT_AUDIENCE: &str = "tollhouse";

/// An algorithm by which a token may be signed. There is no `none` and nothing with a shared
/// secret: a public key can never be taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Its name in a token (RFC 7518 s3.1, RFC 8037 s3.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of exactly that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A JWK set at an address.
    Url(Box<str>),
    /// A JWK set in a file.
    File(PathBuf),
}

/// One issuer whose tokens count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its name, as `iss` has it.
    pub issuer: Arc<str>,
    /// What `aud` must name, one of these.
    pub audience: Vec<Box<str>>,
    /// Its keys.
    pub keys: KeySource,
    /// The algorithms it signs by.
    pub algorithms: Vec<Algorithm>,
    /// Whether each of its tokens counts once.
    pub single_use: bool,
}

impl Issuer {
    /// The development issuer with its keys in that file.
    pub fn development(jwks: PathBuf) -> Self {
        Self {
            issuer: DEVELOPMENT_ISSUER.into(),
            audience: vec![DEVELOPMENT_AUDIENCE.into()],
            keys: KeySource::File(jwks),
            algorithms: vec![Algorithm::EdDsa],
            single_use: false,
        }
    }
}

/// Where in a token what stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPlaces {
    /// The customer.
    pub customer: Pointer,
    /// The agent.
    pub agent: Pointer,
    /// The tenant.
    pub tenant: Pointer,
    /// Who the customer is upstream.
    pub account: Pointer,
    /// The customer's roles.
    pub roles: Pointer,
    /// When consent ends.
    pub consent_until: Pointer,
    /// The agent's trust level.
    pub trust: Pointer,
    /// When the customer last signed in.
    pub auth_time: Pointer,
    /// Addresses, by name.
    pub contacts: Vec<(Box<str>, ContactPlace)>,
}

/// Where an address of the customer stands, and where it says that it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactPlace {
    /// The address.
    pub at: Pointer,
    /// `true` when the issuer has verified it.
    pub verified: Pointer,
}

impl Default for ClaimPlaces {
    fn default() -> Self {
        let email = ContactPlace {
            at: Pointer::of(&["email"]),
            verified: Pointer::of(&["email_verified"]),
        };
        Self {
            customer: Pointer::of(&["sub"]),
            agent: Pointer::of(&["act", "sub"]), // RFC 8693 s4.1
            tenant: Pointer::of(&["tid"]),
            account: Pointer::of(&["account"]),
            roles: Pointer::of(&["roles"]),
            consent_until: Pointer::of(&["consent", "exp"]),
            trust: Pointer::of(&["trust"]),
            auth_time: Pointer::of(&["auth_time"]),
            contacts: vec![("email".into(), email)],
        }
    }
}

/// What a caller without consent may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsentRule {
    /// Missing consent blocks nothing; expired consent does.
    #[default]
    IfPresent,
    /// Missing consent blocks effects too.
    Required,
}

/// Whether development tokens may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Development {
    /// Never.
    Refused,
    /// `development: true`.
    Accepted,
}

/// The `identity:` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whose tokens count.
    pub issuers: Vec<Issuer>,
    /// Where in them what stands.
    pub claims: ClaimPlaces,
    /// What missing consent means.
    pub consent: ConsentRule,
}

impl From<bool> for Development {
    /// The value of `development:`.
    fn from(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

impl Config {
    /// Only the development issuer, its keys in that file: quick mode.
    pub fn development(jwks: PathBuf) -> Self {
        Self {
            issuers: vec![Issuer::development(jwks)],
            claims: ClaimPlaces::default(),
            consent: ConsentRule::default(),
        }
    }

    /// Reads the section; faults go where the section's go. Paths are relative to `base`.
    pub fn read(section: Section<'_>, base: &Path, development: Development) -> Option<Self> {
        let issuers = read_issuers(&section, base, development);
        let claims = section.section("claims").map(read_claims).unwrap_or_default();
        let consent = section.optional("consent", |node| match node.text()? {
            "if_present" => Ok(ConsentRule::IfPresent),
            "required" => Ok(ConsentRule::Required),
            other => Err(format!("expected `if_present` or `required`, got `{other}`")),
        });
        section.finish();
        let consent = consent.unwrap_or_default();
        (!issuers.is_empty()).then_some(Self { issuers, claims, consent })
    }
}

/// Reads the list `issuers` of a section; faults go where the section's go.
pub fn read_issuers(section: &Section<'_>, base: &Path, development: Development) -> Vec<Issuer> {
    let node = section.node("issuers");
    let items = node.map(|node| match &node.shape {
        crate::yaml::Shape::List(items) => items.as_slice(),
        crate::yaml::Shape::Scalar { .. } | crate::yaml::Shape::Map(_) => &[],
    });
    let items = items.unwrap_or_default();
    if items.is_empty() {
        section.fault("issuers", "expected a list of at least one issuer");
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    for (index, node) in items.iter().enumerate() {
        let path = format!("{}[{index}]", section.path("issuers"));
        let one = section.faults().section(node, &path);
        if let Some(issuer) = read_issuer(&one, base, development) {
            if issuers.iter().any(|other| other.issuer == issuer.issuer) {
                one.fault("issuer", format!("`{}` is listed twice", issuer.issuer));
            }
            issuers.push(issuer);
        }
        one.finish();
    }
    issuers
}

fn read_issuer(one: &Section<'_>, base: &Path, development: Development) -> Option<Issuer> {
    let issuer = one.required("issuer", Node::name);
    if issuer.as_deref() == Some(DEVELOPMENT_ISSUER) && development == Development::Refused {
        one.fault("issuer", "is the development issuer; it counts only with `development: true`");
    }
    let audience = one.required("audience", Node::texts);
    if audience.as_ref().is_some_and(Vec::is_empty) {
        one.fault("audience", "expected at least one audience");
    }
    let keys = one.required("jwks", |node| key_source(node.text()?, base));
    let algorithms = one.required("algorithms", read_algorithms);
    let single_use = one.optional("single_use", Node::bool).unwrap_or(false);
    Some(Issuer {
        issuer: issuer?.into(),
        audience: audience?.into_iter().map(String::into_boxed_str).collect(),
        keys: keys?,
        algorithms: algorithms?,
        single_use,
    })
}

/// Reads a list of algorithms.
///
/// # Errors
///
/// What was expected.
pub fn read_algorithms(node: &Node) -> Result<Vec<Algorithm>, String> {
    let names = node.texts()?;
    if names.is_empty() {
        return Err("expected at least one algorithm, such as `ES256`".into());
    }
    names.iter().map(|name| algorithm(name)).collect()
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::parse(name).ok_or_else(|| {
        let known: Vec<_> = Algorithm::ALL.iter().map(|a| a.name()).collect();
        format!("expected one of {}, got `{name}`", known.join(", "))
    })
}

fn key_source(text: &str, base: &Path) -> Result<KeySource, String> {
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Ok(KeySource::File(base.join(path)));
    }
    if is_safe_address(text) {
        return Ok(KeySource::Url(text.into()));
    }
    Err(format!("expected `https://..` or `file:PATH`, got `{text}`"))
}

/// Whether an address of an issuer is one that nobody else can answer for.
pub fn is_safe_address(text: &str) -> bool {
    // SECURITY: whoever can answer for a plain-text address can sign tokens.
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
        .iter()
        .any(|host| text.strip_prefix(host).is_some_and(|rest| rest.starts_with([':', '/'])));
    local || text.starts_with("https://")
}

pub(super) fn pointer(node: &Node) -> Result<Pointer, String> {
    let text = node.text()?;
    Pointer::parse(text)
        .filter(|pointer| !pointer.steps().is_empty() && !pointer.is_plural())
        .ok_or_else(|| format!("expected a JSON Pointer such as `/sub`, got `{text}`"))
}

// Merged over the defaults key by key.
fn read_claims(section: Section<'_>) -> ClaimPlaces {
    let mut places = ClaimPlaces::default();
    for (key, place) in [
        ("customer", &mut places.customer),
        ("agent", &mut places.agent),
        ("tenant", &mut places.tenant),
        ("account", &mut places.account),
        ("roles", &mut places.roles),
        ("consent_until", &mut places.consent_until),
        ("trust", &mut places.trust),
        ("auth_time", &mut places.auth_time),
    ] {
        if let Some(own) = section.optional(key, pointer) {
            *place = own;
        }
    }
    if let Some(contacts) = section.section("contacts") {
        for (name, node) in contacts.entries() {
            let one = contacts.faults().section(node, &contacts.path(name));
            let at = one.required("at", pointer);
            let verified = one.required("verified", pointer);
            one.finish();
            if let (Some(at), Some(verified)) = (at, verified) {
                places.contacts.retain(|(own, _)| &**own != name);
                places.contacts.push((name.into(), ContactPlace { at, verified }));
            }
        }
        contacts.finish();
    }
    section.finish();
    places
}

//! How does a developer get a token? The development issuer: one Ed25519 key in a state directory.
//!
//! Never used for anything that a real issuer signs; whoever reads the directory can be anybody.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::config::{DEVELOPMENT_AUDIENCE, DEVELOPMENT_ISSUER};
use crate::clock::Timestamp;

/// The private key, PKCS#8, readable by its owner only.
const KEY_FILE: &str = "issuer.key";
/// The public key, as a JWK set.
const SET_FILE: &str = "jwks.json";

/// What a development token is to say.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The agent.
    pub agent: String,
    /// The customer.
    pub customer: Option<String>,
    /// Who the customer is upstream.
    pub account: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The customer's roles.
    pub roles: Vec<String>,
    /// The customer's address, as verified.
    pub contact: Option<String>,
    /// The agent's trust level.
    pub trust: Option<u8>,
    /// When consent ends; `None` for no word of consent.
    pub consent_until: Option<Timestamp>,
    /// How long the token lives.
    pub ttl: Duration,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// A file of the state directory.
    #[error("`{0}`: {1}")]
    File(PathBuf, std::io::Error),
    /// The key does not read.
    #[error("`{0}` holds no Ed25519 key")]
    Key(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A token as wished, signed with the key in `state`; makes the directory, the key and the public
/// set if there are none.
///
/// # Errors
///
/// A file that cannot be read or written.
pub fn mint(state: &Path, wish: &Wish, now: Timestamp) -> Result<String, MintError> {
    let key = issuer(state)?;
    let seconds = |at: Timestamp| at.0.div_euclid(1000);
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    put("iss", json!(DEVELOPMENT_ISSUER));
    put("aud", json!(DEVELOPMENT_AUDIENCE));
    put("iat", json!(seconds(now)));
    put("exp", json!(seconds(now.plus(wish.ttl))));
    put("jti", json!(random_name()?));
    put("act", json!({ "sub": wish.agent }));
    for (name, text) in [
        ("sub", &wish.customer),
        ("account", &wish.account),
        ("tid", &wish.tenant),
        ("email", &wish.contact),
    ] {
        if let Some(text) = text {
            put(name, json!(text));
        }
    }
    if wish.contact.is_some() {
        put("email_verified", json!(true));
    }
    if !wish.roles.is_empty() {
        put("roles", json!(wish.roles));
    }
    if let Some(trust) = wish.trust {
        put("trust", json!(trust));
    }
    if let Some(until) = wish.consent_until {
        put("consent", json!({ "exp": seconds(until) }));
    }
    if wish.customer.is_some() {
        put("auth_time", json!(seconds(now)));
    }
    let head = json!({ "alg": "EdDSA", "typ": "JWT", "kid": kid(&key) });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&head), part(&Value::Object(claims)));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    Ok(format!("{message}.{signature}"))
}

/// Makes sure that `state` holds the development issuer's key and its public set, and returns the
/// set's path.
///
/// # Errors
///
/// A file that cannot be read or written.
pub fn prepare(state: &Path) -> Result<PathBuf, MintError> {
    issuer(state)?;
    Ok(state.join(SET_FILE))
}

fn issuer(state: &Path) -> Result<Ed25519KeyPair, MintError> {
    fs::create_dir_all(state).map_err(|e| MintError::File(state.into(), e))?;
    let path = state.join(KEY_FILE);
    let key = match fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => make_key(state, &path)?,
        Err(e) => return Err(MintError::File(path, e)),
    };
    let key = Ed25519KeyPair::from_pkcs8(&key).map_err(|_| MintError::Key(path))?;
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid(&key), "alg": "EdDSA", "use": "sig" });
    let set = format!("{}\n", json!({ "keys": [jwk] }));
    let path = state.join(SET_FILE);
    if fs::read(&path).ok().as_deref() != Some(set.as_bytes()) {
        write_whole(state, &path, set.as_bytes())?;
    }
    Ok(key)
}

// The first of two that make a key at once wins: a link never replaces a file.
fn make_key(state: &Path, path: &Path) -> Result<Zeroizing<Vec<u8>>, MintError> {
    let random = ring::rand::SystemRandom::new();
    let key = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| MintError::Random)?;
    let file = |e| MintError::File(path.into(), e);
    let own = temporary(state)?;
    write_secret(&own, key.as_ref()).map_err(file)?;
    let linked = fs::hard_link(&own, path);
    fs::remove_file(&own).map_err(file)?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(file(e)),
        Ok(()) | Err(_) => Ok(Zeroizing::new(fs::read(path).map_err(file)?)),
    }
}

fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // SECURITY: the mode stands before the first byte does.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

// A reader finds the old set or the new one, never a part.
fn write_whole(state: &Path, path: &Path, bytes: &[u8]) -> Result<(), MintError> {
    let own = temporary(state)?;
    let written = fs::write(&own, bytes).and_then(|()| fs::rename(&own, path));
    written.map_err(|e| MintError::File(path.into(), e))
}

fn temporary(state: &Path) -> Result<PathBuf, MintError> {
    Ok(state.join(format!(".{}.tmp", random_name()?)))
}

fn random_name() -> Result<String, MintError> {
    let random = ring::rand::SystemRandom::new();
    let bytes = ring::rand::generate::<[u8; 16]>(&random).map_err(|_| MintError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes.expose()))
}

// RFC 7638 s3, RFC 8037 s2: the required members in order.
fn kid(key: &Ed25519KeyPair) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, members.as_bytes()))
}

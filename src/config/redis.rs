//! A fleet's Redis, as an operator writes it, and the store that becomes of it.

use std::path::Path;

use super::{RedisPlace, StorePlace};
use crate::clock::Clock;
use crate::credentials::Reference;
use crate::store::redis::Tls;
use crate::store::{Address, Needs, SealingKey, Store};
use crate::yaml::{Node, Section};

/// Reads `store:` with a Redis in it.
pub(super) fn read(
    section: &Section<'_>,
    base: &Path,
    (url, fleet, key): (&str, Option<&str>, Option<Reference>),
) -> Option<StorePlace> {
    let password = section.optional("password", |n| Reference::parse(n.text()?, base));
    let authorities = section.optional("ca", Node::name).map(|path| base.join(path));
    let needs = match section.optional("require_durable", Node::bool).unwrap_or(false) {
        true => Needs::Durable,
        false => Needs::Any,
    };
    let address = Address::parse(url, fleet.unwrap_or("tollhouse"));
    let address = address.map_err(|why| section.fault("url", why)).ok()?;
    if authorities.is_some() && address.tls == Tls::Off {
        section.fault("ca", "is for TLS: expected `rediss://`, or `?tls=true`");
    }
    if let Some(path) = &authorities
        && let Err(e) = super::read_file(path)
    {
        section.fault("ca", e.to_string());
    }
    let Some(key) = key else {
        let say = "is required with Redis: 32 bytes in base64, the same for every replica";
        section.fault("encryption_key", say);
        return None;
    };
    Some(StorePlace::Redis(Box::new(RedisPlace { address, password, authorities, key, needs })))
}

/// Reads `fleet:`, which every key in Redis begins with.
pub(super) fn fleet(node: &Node) -> Result<String, String> {
    let name = node.name()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.bytes().all(plain) {
        return Ok(name);
    }
    Err(format!("expected letters, digits, `-`, `_` and `.`, got `{name}`"))
}

/// Where it is and who we are there, as its files say now.
pub(super) fn address(place: &RedisPlace) -> Result<Address, String> {
    let mut address = place.address.clone();
    if let Some(reference) = &place.password {
        let secret = reference.read(&super::environment)?;
        let password = secret.expose(|bytes| String::from_utf8(bytes.to_vec()));
        address.password = Some(password.map_err(|_| "the password is no text")?);
    }
    if let Some(path) = &place.authorities {
        address.tls = Tls::Own(super::read_file(path).map_err(|e| e.to_string())?.into_bytes());
    }
    Ok(address)
}

/// The store there. Nobody needs to be there yet: readiness says so until somebody is.
pub(super) fn open(
    place: &RedisPlace,
    seal: impl FnOnce(&Reference) -> Result<SealingKey, String>,
    clock: &Clock,
) -> Result<Store, String> {
    let store = Store::redis(&address(place)?, seal(&place.key)?, clock.clone());
    let store = store.map(Store::watched).map_err(|fault| fault.to_string())?;
    Ok(store.needing(place.needs))
}

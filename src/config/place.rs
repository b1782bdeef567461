//! Where is what must outlive a call? The `store:` section: a folder of this machine, or a fleet's Redis.

use std::path::Path;

use super::{Files, StorePlace};
use crate::credentials::Reference;
use crate::yaml::{Node, Section, Shape};

/// Reads it. Its files are added to those that are looked at: a password may be rotated.
pub(super) fn read(top: &Section<'_>, base: &Path, files: &mut Files) -> Option<StorePlace> {
    let store = store(top, base);
    if let Some(StorePlace::Redis(place)) = &store {
        let password = place.password.as_ref().and_then(Reference::path);
        let own = password.into_iter().chain(place.authorities.as_deref());
        own.for_each(|path| files.add(path));
    }
    store
}

fn store(top: &Section<'_>, base: &Path) -> Option<StorePlace> {
    let Some(node) = top.node("store") else {
        top.fault("store", "is required and missing; expected `embedded:DIR`");
        return None;
    };
    let fleet = top.optional("fleet", super::redis::fleet);
    let Shape::Map(_) = node.shape else {
        let url = top.required("store", Node::name)?;
        if url.starts_with("redis") {
            let say =
                "expected `{ url: REDIS, encryption_key: file:PATH }`: replicas share the key";
            top.fault("store", say);
            return None;
        }
        if fleet.is_some() {
            top.fault("fleet", "needs a store that replicas share: a Redis");
        }
        return embedded(top, "store", base, (&url, None));
    };
    let section = top.faults().section(node, "store");
    let url = section.required("url", Node::name);
    let key = section.optional("encryption_key", |n| Reference::parse(n.text()?, base));
    let place = match url.as_deref() {
        Some(url) if url.starts_with("redis") => {
            super::redis::read(&section, base, (url, fleet.as_deref(), key))
        }
        Some(url) => embedded(&section, "url", base, (url, key)),
        None => None,
    };
    if fleet.is_some() && matches!(place, Some(StorePlace::Embedded { .. })) {
        top.fault("fleet", "needs a store that replicas share: a Redis");
    }
    section.finish();
    place
}

fn embedded(
    section: &Section<'_>,
    at: &str,
    base: &Path,
    (url, key): (&str, Option<Reference>),
) -> Option<StorePlace> {
    match url.split_once(':') {
        Some(("embedded", dir)) if !dir.is_empty() => {
            Some(StorePlace::Embedded { dir: base.join(dir), key })
        }
        Some(_) | None => {
            section.fault(at, format!("expected `embedded:DIR` or a Redis, got `{url}`"));
            None
        }
    }
}

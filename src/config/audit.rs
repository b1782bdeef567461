//! Where is the record kept, who signs for it, and who else has what was signed? `audit:`
//!
//! Never repeats a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::StorePlace;
use super::notify::{HasPage, Reader};
use crate::audit::keep::Keep;
use crate::audit::{EVERY, RECORDS, Signing, SigningKey};
use crate::notify::Witness;
use crate::yaml::{Node, Section, Shape};

/// BOUND: a key file has some 120 bytes.
const KEY_BYTES_MAX: u64 = 16 << 10;
/// BOUND: what is not signed for a minute is not worth the name.
const EVERY_MAX: Duration = Duration::from_mins(1);
/// BOUND: less would remove what somebody is just looking at.
const KEEP_MIN: Duration = Duration::from_hours(24);
/// BOUND: so many segments are kept whatever is asked for.
const KEEP_BYTES_MIN: u64 = 256 << 20;

/// The record.
#[derive(Debug, Clone, Default)]
pub struct AuditSection {
    /// Its folder.
    pub dir: PathBuf,
    /// The file of the key that signs checkpoints.
    pub key: Option<PathBuf>,
    /// How they are signed.
    pub every: Option<Duration>,
    /// After how many records at the latest.
    pub records: Option<u64>,
    /// Where they go.
    pub checkpoint: Option<Checkpointing>,
    /// How much is kept.
    pub keep: Option<Keep>,
}

/// Where checkpoints go.
#[derive(Debug, Clone)]
pub struct Checkpointing {
    /// There.
    pub to: Arc<Witness>,
    /// As it is written, to tell one from another: an address, or where it is kept.
    said: String,
}

impl PartialEq for AuditSection {
    fn eq(&self, other: &Self) -> bool {
        let said = |one: &Self| one.checkpoint.as_ref().map(|one| one.said.clone());
        let plain =
            |one: &Self| (one.dir.clone(), one.key.clone(), one.every, one.records, one.keep);
        plain(self) == plain(other) && said(self) == said(other)
    }
}

impl AuditSection {
    /// A folder, and nothing signed.
    pub fn of(dir: PathBuf) -> Self {
        Self { dir, ..Self::default() }
    }

    /// Everything that signing takes; the key is read now.
    ///
    /// # Errors
    ///
    /// Why there is no key.
    pub fn signing(&self, store: &StorePlace) -> Result<Option<Signing>, String> {
        let Some(path) = &self.key else { return Ok(None) };
        let fleet = match store {
            StorePlace::Redis(place) => Some(place.address.fleet.clone()),
            StorePlace::Memory | StorePlace::Embedded { .. } => None,
        };
        Ok(Some(Signing {
            key: read_key(path)?,
            every: self.every.unwrap_or(EVERY),
            records: self.records.unwrap_or(RECORDS),
            fleet,
            keep: self.keep,
            segment_bytes: None,
        }))
    }

    /// What is worth saying of it.
    pub fn described(&self) -> String {
        let dir = self.dir.display();
        match (&self.key, &self.checkpoint) {
            (None, _) => format!(
                "audit: in {dir}, not signed: whoever can write there can write it anew; `key` and `checkpoint` \
                 let others hold us to it"
            ),
            (Some(_), None) => format!(
                "audit: in {dir}, signed there and nowhere else: who cuts it off is not seen; `checkpoint` lets \
                 others keep what was signed"
            ),
            (Some(_), Some(there)) => {
                format!("audit: in {dir}, checkpoints go to {}", there.to.described())
            }
        }
    }
}

/// A key that signs checkpoints.
///
/// # Errors
///
/// Why there is none in that file.
pub fn read_key(path: &Path) -> Result<SigningKey, String> {
    use std::io::Read;
    let told = |why: String| format!("`file:{}` {why}", path.display());
    let read = || {
        let mut bytes = Zeroizing::new(Vec::new());
        std::fs::File::open(path)?.take(KEY_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e: std::io::Error| told(format!("cannot be read: {e}")))?;
    SigningKey::from_pem(&bytes).map_err(told)
}

/// Reads `audit:`.
pub(super) fn read(top: &Section<'_>, base: &Path, store: Option<&StorePlace>) -> AuditSection {
    let Some(section) = top.section("audit") else {
        top.fault("audit", "is required and missing; expected `{ dir: DIR }`");
        return AuditSection::default();
    };
    let dir = section.required("dir", Node::name);
    let key = section.optional("key", |node| {
        let text = node.text()?;
        let path = text.strip_prefix("file:").filter(|path| !path.is_empty());
        let path = base.join(path.ok_or("expected `file:PATH` of an Ed25519 private key in PEM")?);
        read_key(&path).map(|_| path)
    });
    let mut read =
        AuditSection { dir: base.join(dir.unwrap_or_default()), key, ..Default::default() };
    if let Some(checkpoint) = section.section("checkpoint") {
        if section.node("key").is_none() {
            section.fault("checkpoint", "needs `key: file:PATH`: what nobody signs proves nothing");
        }
        read.every = checkpoint.optional("every", every);
        read.records = checkpoint.optional("records", |node| match node.count()? {
            0 => Err("expected at least 1".to_owned()),
            count => Ok(count),
        });
        read.checkpoint = witness(&checkpoint, base, store);
        checkpoint.finish();
    }
    read.keep = section.optional("keep", keep);
    if section.node("keep").is_some() && section.node("checkpoint").is_none_or(has_no_to) {
        let say =
            "needs `checkpoint: { to: .. }`: nothing goes before others have what stands for it";
        section.fault("keep", say);
    }
    section.finish();
    read
}

fn has_no_to(checkpoint: &Node) -> bool {
    match &checkpoint.shape {
        Shape::Map(members) => !members.iter().any(|(name, ..)| &**name == "to"),
        Shape::Scalar { .. } | Shape::List(_) => true,
    }
}

fn witness(
    section: &Section<'_>,
    base: &Path,
    store: Option<&StorePlace>,
) -> Option<Checkpointing> {
    let node = section.node("to")?;
    if let Shape::Map(_) = node.shape {
        let one = section.faults().section(node, &section.path("to"));
        let said = one.node("webhook").and_then(|node| node.text().ok()).unwrap_or_default();
        let to = Reader::new(base, HasPage::No).witness(&one);
        one.finish();
        return to.map(|to| Checkpointing { to: Arc::new(to), said: said.to_owned() });
    }
    let to = section.required("to", |node| match node.text()? {
        "stdout" => Ok(Witness::Stdout),
        "redis" if matches!(store, Some(StorePlace::Redis(_))) => Ok(Witness::Redis),
        "redis" => Err("needs a store that is a Redis".to_owned()),
        other => Err(format!(
            "expected `stdout`, `redis` or `{{ webhook: URL, sign: file:PATH }}`, got `{other}`"
        )),
    })?;
    let said = to.described().to_owned();
    Some(Checkpointing { to: Arc::new(to), said })
}

fn every(node: &Node) -> Result<Duration, String> {
    let span = node.duration()?;
    if span.is_zero() || span > EVERY_MAX {
        return Err(format!("expected more than nothing and at most {EVERY_MAX:?}"));
    }
    Ok(span)
}

/// A span or a size.
fn keep(node: &Node) -> Result<Keep, String> {
    if let Ok(span) = node.duration() {
        return match span >= KEEP_MIN {
            true => Ok(Keep::For(span)),
            false => Err("expected at least `1d`".to_owned()),
        };
    }
    let bytes = node.bytes().map_err(|_| {
        let text = node.text().unwrap_or_default();
        format!("expected a span such as `30d` or a size such as `10GiB`, got `{text}`")
    })?;
    match u64::try_from(bytes).unwrap_or(u64::MAX) {
        bytes if bytes >= KEEP_BYTES_MIN => Ok(Keep::Bytes(bytes)),
        _ => Err("expected at least `256MiB`".to_owned()),
    }
}

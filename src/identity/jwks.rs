//! Which keys does an issuer sign with now? A JWK set, from an address or a file, kept fresh.
//!
//! Never asks an issuer more often than its limits say, whatever tokens arrive; never serves a key
//! that its issuer has withdrawn, and none at all once the issuer was silent for too long.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jsonwebtoken::DecodingKey;
use parking_lot::Mutex;

use super::config::{Algorithm, KeySource};
use super::token::Claim;
use crate::bounds::FACT_TIMEOUT;
use crate::clock::Timestamp;
use crate::refusal::Fault;

/// Gets the bytes at an address; the network is somebody else's.
pub type Fetch = Arc<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>> + Send + Sync,
>;

/// BOUND: a withdrawn key counts at most this long after its issuer withdrew it.
const FRESH: Duration = Duration::from_secs(300);
/// BOUND: an issuer that cannot be reached stops nothing for an hour; then nobody is believed.
const GRACE: Duration = Duration::from_secs(3600);
/// BOUND: unknown key names and stale sets make at most six requests a minute.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// BOUND: without any keys every call fails: the issuer is asked again as often as callers are told
/// to come back.
const RETRY: Duration = Duration::from_secs(2);
/// BOUND: a key name that the issuer did not know is not asked for again within a minute.
const UNKNOWN_KEPT: Duration = Duration::from_secs(60);
/// BOUND: names that a flood may make us remember.
const UNKNOWN_MAX: usize = 256;
/// BOUND: a key is some 400 bytes; issuers publish fewer than ten.
const SET_BYTES_MAX: usize = 256 << 10;
/// BOUND: as above.
const KEYS_MAX: usize = 64;
/// BOUND: a token without `kid` is tried against so many keys.
const TRIES_MAX: usize = 4;
/// A file is looked at once a second at most.
const LOOK_AGAIN_MS: i64 = 1_000;

/// One public key of an issuer.
pub(super) struct Key {
    kid: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    material: Box<str>,
    decoding: DecodingKey,
    live: AtomicBool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Key {
    /// Whether its issuer still publishes it, as far as is known.
    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Whether it made this signature.
    pub(super) fn signed(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        let Ok(named) = algorithm.name().parse::<jsonwebtoken::Algorithm>() else { return false };
        // SECURITY: the key's own list decides, so one key is never read as another sort.
        self.algorithms.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, named)
                .unwrap_or(false)
    }

    fn same_as(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.algorithms == other.algorithms
            && self.material == other.material
    }
}

/// The keys that may have made a signature.
#[derive(Debug)]
pub(super) struct Candidates {
    /// They; none when the issuer has no such key.
    pub(super) keys: Vec<Arc<Key>>,
    /// Until when what they prove may be remembered.
    pub(super) until: Timestamp,
}

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: Arc<str>,
    source: KeySource,
    fetch: Fetch,
    state: Mutex<State>,
    asking: tokio::sync::Mutex<()>,
    looked: AtomicI64,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    set: Vec<Arc<Key>>,
    /// When the set was last known to be the issuer's.
    good: Option<Timestamp>,
    /// When it was last asked for.
    asked: Option<Timestamp>,
    /// How often an asking came to its end.
    answers: u64,
    /// Why the last asking failed.
    failure: Option<String>,
    /// The file as it was last read.
    file: Option<FileMark>,
    /// Names the issuer did not know, and when it said so.
    unknown: HashMap<Box<str>, Timestamp>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileMark {
    modified: Option<std::time::SystemTime>,
    bytes: u64,
    inode: u64,
}

/// How much a set is worth by its age.
enum Age {
    Fresh,
    Stale,
    Closed,
}

impl Keys {
    pub(super) fn new(issuer: Arc<str>, source: KeySource, fetch: Fetch) -> Arc<Self> {
        let state = Mutex::new(State::default());
        let asking = tokio::sync::Mutex::new(());
        Arc::new(Self { issuer, source, fetch, state, asking, looked: AtomicI64::new(i64::MIN) })
    }

    /// Whether these are the keys of that issuer from that source.
    pub(super) fn are_of(&self, issuer: &str, source: &KeySource) -> bool {
        *self.issuer == *issuer && self.source == *source
    }

    /// The keys that may have signed a token that names `kid` and `algorithm`.
    pub(super) async fn candidates(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Candidates, Fault> {
        self.refresh(now).await?;
        let mut keys = self.fitting(kid, algorithm);
        if keys.is_empty()
            && let Some(kid) = kid
            && self.may_ask_for(kid, now)
        {
            self.ask(now).await;
            keys = self.fitting(Some(kid), algorithm);
            if keys.is_empty() {
                self.remember_unknown(kid, now);
            }
        }
        let state = self.state.lock();
        let fresh = state.good.unwrap_or(now).plus(FRESH);
        Ok(Candidates { keys, until: fresh.max(now.plus(ASK_AGAIN)) })
    }

    /// Makes sure that there is a set that counts, and that a stale one is being replaced.
    async fn refresh(self: &Arc<Self>, now: Timestamp) -> Result<(), Fault> {
        if let KeySource::File(path) = &self.source {
            self.look(path, now);
        }
        match (self.age(now), &self.source) {
            (Age::Fresh, _) | (Age::Stale, KeySource::File(_)) => Ok(()),
            (Age::Stale, KeySource::Url(_)) => {
                // Callers do not wait for an issuer while its last word still counts.
                if self.asked_before(now, ASK_AGAIN)
                    && let Ok(runtime) = tokio::runtime::Handle::try_current()
                {
                    self.state.lock().asked = Some(now);
                    let own = Arc::clone(self);
                    drop(runtime.spawn(async move { own.ask(now).await }));
                }
                Ok(())
            }
            (Age::Closed, source) => {
                let may = self.asked_before(now, RETRY) || self.is_asking();
                if matches!(source, KeySource::Url(_)) && may {
                    self.ask(now).await;
                }
                if matches!(self.age(now), Age::Closed) {
                    let failure = self.state.lock().failure.clone();
                    let why = failure.unwrap_or_else(|| "nothing was read yet".into());
                    return Err(Fault::Keys(self.issuer.to_string(), why));
                }
                Ok(())
            }
        }
    }

    /// Reads the keys if that can be done now: how many of them verify one of these algorithms.
    pub(super) async fn connect(
        self: &Arc<Self>,
        algorithms: &[Algorithm],
        now: Timestamp,
    ) -> Result<usize, Fault> {
        self.refresh(now).await?;
        let counts = |key: &&Arc<Key>| key.algorithms.iter().any(|one| algorithms.contains(one));
        Ok(self.state.lock().set.iter().filter(counts).count())
    }

    /// Looks at the file if a second has passed: a key that left it is dead at once.
    pub(super) fn poll(&self, now: Timestamp) {
        if let KeySource::File(path) = &self.source {
            self.look(path, now);
        }
    }

    /// Why the keys that are served are not the newest, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    /// Why none of the keys counts, if so.
    pub(super) fn closed(&self, now: Timestamp) -> Option<String> {
        // An issuer that nobody needed for an hour is asked by the next call: that is no failure.
        let state = self.state.lock();
        let (never, failure) = (state.good.is_none(), state.failure.clone());
        drop(state);
        let closed = matches!(self.age(now), Age::Closed) && (never || failure.is_some());
        closed.then(|| failure.unwrap_or_else(|| "nothing was read yet".into()))
    }

    fn age(&self, now: Timestamp) -> Age {
        match self.state.lock().good {
            None => Age::Closed,
            Some(good) if now.since(good) < FRESH => Age::Fresh,
            Some(good) if now.since(good) < FRESH.saturating_add(GRACE) => Age::Stale,
            Some(_) => Age::Closed,
        }
    }

    fn asked_before(&self, now: Timestamp, span: Duration) -> bool {
        self.state.lock().asked.is_none_or(|asked| now.since(asked) >= span)
    }

    /// Whether an answer is on its way: those who come meanwhile wait for it.
    fn is_asking(&self) -> bool {
        self.asking.try_lock().is_err()
    }

    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<Arc<Key>> {
        let state = self.state.lock();
        let fits = state.set.iter().filter(|key| {
            // SECURITY: a key's name is compared and never used as a path or an address.
            key.algorithms.contains(&algorithm)
                && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
        });
        fits.take(TRIES_MAX).cloned().collect()
    }

    // SECURITY: a flood of invented names costs the issuer one request in ten seconds.
    fn may_ask_for(&self, kid: &str, now: Timestamp) -> bool {
        let may = self.asked_before(now, ASK_AGAIN) || self.is_asking();
        if matches!(self.source, KeySource::File(_)) || !may {
            return false;
        }
        let state = self.state.lock();
        state.unknown.get(kid).is_none_or(|since| now.since(*since) >= UNKNOWN_KEPT)
    }

    fn remember_unknown(&self, kid: &str, now: Timestamp) {
        let mut state = self.state.lock();
        // A name that could not be asked for is not unknown.
        if state.failure.is_some() {
            return;
        }
        state.unknown.retain(|_, since| now.since(*since) < UNKNOWN_KEPT);
        if state.unknown.len() < UNKNOWN_MAX {
            state.unknown.insert(kid.into(), now);
        }
    }

    /// Asks the issuer, one caller for all that wait.
    async fn ask(&self, now: Timestamp) {
        let KeySource::Url(url) = &self.source else { return };
        let before = self.state.lock().answers;
        let _turn = self.asking.lock().await;
        if self.state.lock().answers != before {
            return;
        }
        self.state.lock().asked = Some(now);
        let answer = tokio::time::timeout(FACT_TIMEOUT, (self.fetch)(url.to_string())).await;
        let read = match answer {
            Ok(Ok(body)) => read_set(&body),
            Ok(Err(why)) => Err(why),
            Err(_) => Err("no answer in time".into()),
        };
        self.replace(read, now);
    }

    fn replace(&self, read: Result<Vec<Key>, String>, now: Timestamp) {
        let mut state = self.state.lock();
        state.answers = state.answers.wrapping_add(1);
        match read {
            Ok(keys) => {
                let set: Vec<Arc<Key>> = keys
                    .into_iter()
                    .map(|key| match state.set.iter().find(|old| old.same_as(&key)) {
                        Some(old) => Arc::clone(old),
                        None => Arc::new(key),
                    })
                    .collect();
                for old in &state.set {
                    if !set.iter().any(|key| Arc::ptr_eq(key, old)) {
                        old.live.store(false, Ordering::Release);
                    }
                }
                state.set = set;
                state.good = Some(now);
                state.failure = None;
            }
            Err(why) => state.failure = Some(why),
        }
    }

    fn look(&self, path: &Path, now: Timestamp) {
        let looked = self.looked.load(Ordering::Relaxed);
        // A clock that was set back looks again too.
        if (looked..looked.saturating_add(LOOK_AGAIN_MS)).contains(&now.0) {
            return;
        }
        self.looked.store(now.0, Ordering::Relaxed);
        let mark = match std::fs::metadata(path) {
            Ok(meta) => FileMark::of(&meta),
            Err(e) => {
                let mut state = self.state.lock();
                state.failure = Some(format!("{}: {e}", path.display()));
                state.file = None;
                return;
            }
        };
        let (same, failed) = {
            let state = self.state.lock();
            (state.file == Some(mark), state.failure.is_some())
        };
        if same {
            // The file that was read still stands: its word is as good as new.
            if !failed {
                self.state.lock().good = Some(now);
            }
            return;
        }
        let read = std::fs::read(path).map_err(|e| e.to_string()).and_then(|text| read_set(&text));
        self.replace(read.map_err(|why| format!("{}: {why}", path.display())), now);
        self.state.lock().file = Some(mark);
    }
}

impl FileMark {
    fn of(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { modified: meta.modified().ok(), bytes: meta.len(), inode: meta.ino() }
    }
}

/// Reads a JWK set (RFC 7517 s5). Keys of other sorts or other uses are passed over.
fn read_set(text: &[u8]) -> Result<Vec<Key>, String> {
    if text.len() > SET_BYTES_MAX {
        return Err("the key set is too large".into());
    }
    let set = Claim::read(text).map_err(|why| format!("the key set does not read: {why}"))?;
    let keys = set.member("keys").and_then(Claim::items).ok_or("the key set has no `keys`")?;
    if keys.len() > KEYS_MAX {
        return Err("the key set has too many keys".into());
    }
    Ok(keys.iter().filter_map(read_key).collect())
}

fn read_key(jwk: &Claim) -> Option<Key> {
    let text = |name: &str| jwk.member(name).and_then(Claim::text);
    if jwk.member("use").is_some() && text("use") != Some("sig") {
        return None;
    }
    if let Some(operations) = jwk.member("key_ops")
        && !operations.texts()?.contains(&"verify")
    {
        return None;
    }
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let (family, material, decoding) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (n, e) = (text("n")?, text("e")?);
            let family = vec![Rs256, Rs384, Rs512, Ps256, Ps384, Ps512];
            (family, format!("rsa {n} {e}"), DecodingKey::from_rsa_components(n, e))
        }
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let (x, y) = (text("x")?, text("y")?);
            let family = vec![if curve == "P-256" { Es256 } else { Es384 }];
            (family, format!("{curve} {x} {y}"), DecodingKey::from_ec_components(x, y))
        }
        ("OKP", Some("Ed25519")) => {
            let x = text("x")?;
            (vec![EdDsa], format!("ed25519 {x}"), DecodingKey::from_ed_components(x))
        }
        // `oct`: a shared secret in a public place is none.
        _ => return None,
    };
    let algorithms = match jwk.member("alg") {
        None => family,
        Some(named) => {
            let named = Algorithm::parse(named.text()?)?;
            if !family.contains(&named) {
                return None;
            }
            vec![named]
        }
    };
    Some(Key {
        kid: text("kid").map(Into::into),
        algorithms,
        material: material.into(),
        decoding: decoding.ok()?,
        live: AtomicBool::new(true),
    })
}

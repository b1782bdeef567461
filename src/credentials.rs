//! Which secret opens this upstream for this class of call?
//!
//! Never shows one: a [`Secret`] has no text form, is wiped when it is dropped, and is seen only
//! inside [`Secret::expose`]. Never reads the environment: such values are handed in.

use std::fmt;
use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::call::Class;
use crate::clock::{Clock, Timestamp};
use crate::yaml::{Node, Shape};

/// BOUND: vendor keys are some 100 bytes; a service account's JSON key is 2.5 KiB.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// A file is looked at once a second at most.
const LOOK_AGAIN_MS: i64 = 1_000;

/// A secret. It cannot be printed, compared, copied or serialised:
///
/// ```compile_fail
/// fn print(secret: tollhouse::credentials::Secret) { println!("{secret}"); }
/// ```
/// ```compile_fail
/// fn copy(secret: &tollhouse::credentials::Secret) -> tollhouse::credentials::Secret { secret.clone() }
/// ```
/// ```compile_fail
/// fn say(secret: tollhouse::credentials::Secret) -> String { serde_json::to_string(&secret).unwrap() }
/// ```
/// ```
/// # fn seen(secret: tollhouse::credentials::Secret) -> usize {
/// secret.expose(|bytes| bytes.len())
/// # }
/// ```
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes bytes over; a trailing line end is taken off.
    ///
    /// # Errors
    ///
    /// When nothing is left, or something that no header can carry.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let mut bytes = Zeroizing::new(bytes);
        while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err("is empty".into());
        }
        // SECURITY: a line end within would begin another header.
        if bytes.iter().any(|b| b.is_ascii_control()) {
            return Err("holds a control character".into());
        }
        Ok(Self(Arc::new(bytes)))
    }

    /// Shows it to `look` for as long as that takes.
    pub fn expose<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.0)
    }

    /// Another holder of the same bytes, for this module only.
    fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// In a file, read again when that changes.
    File(PathBuf),
    /// In a variable of the environment.
    Env(Box<str>),
}

impl Reference {
    /// Reads `file:PATH` (relative to `base`) or `env:NAME`.
    ///
    /// # Errors
    ///
    /// What was expected. The text is not repeated: it may be the secret itself.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(base.join(path))),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.into())),
            Some(_) | None => {
                Err("expected `file:PATH` or `env:NAME`; a secret does not stand here itself"
                    .into())
            }
        }
    }

    /// Reads the secret now. `environment` answers for variables.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn read(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Secret, String> {
        let read = match self {
            Self::File(path) => read_file(path).map(|(secret, _)| secret),
            Self::Env(name) => {
                let value = environment(name).ok_or_else(|| "is not set".to_owned());
                value.and_then(|value| Secret::new(value.into_bytes()))
            }
        };
        read.map_err(|why| format!("`{self}` {why}"))
    }
}

impl Reference {
    /// The file, when it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

/// An upstream's secrets: by class. A class without one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    by_class: [Option<Reference>; 4],
}

impl References {
    /// One secret for every class.
    pub fn one(reference: Reference) -> Self {
        Self { by_class: std::array::from_fn(|_| Some(reference.clone())) }
    }

    /// Reads one reference for all classes, or a mapping of class to reference.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn read(node: &Node, base: &Path) -> Result<Self, String> {
        let Shape::Map(members) = &node.shape else {
            return Ok(Self::one(Reference::parse(node.text()?, base)?));
        };
        let mut references = Self::default();
        for (name, _, node) in members {
            let class = Class::parse(name).ok_or_else(|| {
                format!("`{name}` is no class; expected read, write, communication or financial")
            })?;
            let reference = Reference::parse(node.text()?, base);
            let reference = reference.map_err(|why| format!("{name}: {why}"))?;
            if let Some(place) = references.by_class.get_mut(index(class)) {
                *place = Some(reference);
            }
        }
        if members.is_empty() {
            return Err("expected a reference, or a mapping of class to reference".into());
        }
        Ok(references)
    }

    /// The reference for a class.
    pub fn of(&self, class: Class) -> Option<&Reference> {
        self.by_class.get(index(class)).and_then(Option::as_ref)
    }
}

fn index(class: Class) -> usize {
    match class {
        Class::Read => 0,
        Class::Write => 1,
        Class::Communication => 2,
        Class::Financial => 3,
    }
}

/// What an operator may see of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The class it opens.
    pub class: Class,
    /// Where it is from.
    pub reference: String,
    /// Equal for equal secrets within this process, and useless outside it.
    pub fingerprint: String,
    /// When it was read.
    pub loaded: Timestamp,
    /// Why the newest file does not count, if so.
    pub failure: Option<String>,
}

/// A secret that no upstream is opened with: it stands by itself, and is read again when its file changes.
#[derive(Clone)]
pub struct Kept {
    source: Arc<Source>,
    clock: Clock,
}

impl Kept {
    /// Reads it once. `environment` answers for variables.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn load(
        reference: &Reference,
        environment: &dyn Fn(&str) -> Option<String>,
        clock: Clock,
    ) -> Result<Self, String> {
        let source = Source::load(reference, environment, clock.now())?;
        Ok(Self { source: Arc::new(source), clock })
    }

    /// As it is now.
    pub fn open(&self) -> Secret {
        self.source.look(self.clock.now());
        self.source.held.lock().secret.share()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.source.reference)
    }
}

/// Every upstream's secrets.
pub struct Vault {
    upstreams: Vec<(Arc<str>, ByClass)>,
    clock: Clock,
    pepper: ring::hmac::Key,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.upstreams.iter().map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

/// In the order of [`Class::ALL`].
type ByClass = [Option<Arc<Source>>; 4];

/// One reference and what it last gave.
struct Source {
    reference: Reference,
    held: Mutex<Held>,
    looked: AtomicI64,
}

struct Held {
    secret: Secret,
    mark: Option<FileMark>,
    loaded: Timestamp,
    failure: Option<String>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileMark {
    modified: Option<std::time::SystemTime>,
    bytes: u64,
    inode: u64,
}

impl FileMark {
    fn of(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { modified: meta.modified().ok(), bytes: meta.len(), inode: meta.ino() }
    }
}

impl Vault {
    /// Reads every secret once. `environment` answers for variables.
    ///
    /// # Errors
    ///
    /// All secrets that cannot be read: the upstream, the class, why.
    pub fn load(
        upstreams: Vec<(Arc<str>, References)>,
        environment: &dyn Fn(&str) -> Option<String>,
        clock: Clock,
    ) -> Result<Self, Vec<String>> {
        let mut sources: Vec<Arc<Source>> = Vec::new();
        let (mut loaded, mut errors) = (Vec::with_capacity(upstreams.len()), Vec::new());
        for (upstream, references) in upstreams {
            let mut by_class = [const { None }; 4];
            for (class, place) in Class::ALL.into_iter().zip(&mut by_class) {
                let Some(reference) = references.of(class) else { continue };
                if let Some(known) = sources.iter().find(|s| s.reference == *reference) {
                    *place = Some(Arc::clone(known));
                    continue;
                }
                match Source::load(reference, environment, clock.now()) {
                    Ok(source) => {
                        let source = Arc::new(source);
                        sources.push(Arc::clone(&source));
                        *place = Some(source);
                    }
                    Err(why) => {
                        let error = format!("upstreams.{upstream}.credentials: {why}");
                        if !errors.contains(&error) {
                            errors.push(error);
                        }
                    }
                }
            }
            loaded.push((upstream, by_class));
        }
        let random = ring::rand::SystemRandom::new();
        let pepper = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &random)
            .map_err(|_| vec!["the system gives no random numbers".to_owned()])?;
        if errors.is_empty() { Ok(Self { upstreams: loaded, clock, pepper }) } else { Err(errors) }
    }

    /// The same, as what follows another: secrets that are equal are shown as equal.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        self.pepper = before.map_or(self.pepper, |before| before.pepper.clone());
        self
    }

    /// The secret of an upstream for a class; `None` when the class has none.
    pub fn open(&self, upstream: &str, class: Class) -> Option<Secret> {
        let (_, by_class) = self.upstreams.iter().find(|(name, _)| **name == *upstream)?;
        let source = by_class.get(index(class))?.as_ref()?;
        source.look(self.clock.now());
        Some(source.held.lock().secret.share())
    }

    /// What an operator may see of every secret.
    pub fn shown(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (upstream, by_class) in &self.upstreams {
            for (class, source) in Class::ALL.into_iter().zip(by_class) {
                let Some(source) = source else { continue };
                source.look(self.clock.now());
                let held = source.held.lock();
                let tag = held.secret.expose(|bytes| ring::hmac::sign(&self.pepper, bytes));
                // SECURITY: a plain hash of a short secret can be guessed; this key dies with us.
                let fingerprint = tag.as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect();
                shown.push(Shown {
                    upstream: Arc::clone(upstream),
                    class,
                    reference: source.reference.to_string(),
                    fingerprint,
                    loaded: held.loaded,
                    failure: held.failure.clone(),
                });
            }
        }
        shown
    }
}

impl Source {
    fn load(
        reference: &Reference,
        environment: &dyn Fn(&str) -> Option<String>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let (secret, mark) = match reference {
            Reference::File(path) => {
                let read = read_file(path).map_err(|why| format!("`{reference}` {why}"))?;
                (read.0, Some(read.1))
            }
            Reference::Env(_) => (reference.read(environment)?, None),
        };
        let held = Mutex::new(Held { secret, mark, loaded: now, failure: None });
        Ok(Self { reference: reference.clone(), held, looked: AtomicI64::new(now.0) })
    }

    /// Reads the file again if a second has passed and it changed. A bad new file is reported, and
    /// the secret that worked stays.
    fn look(&self, now: Timestamp) {
        let Reference::File(path) = &self.reference else { return };
        let looked = self.looked.load(Ordering::Relaxed);
        // A clock that was set back looks again too.
        if (looked..looked.saturating_add(LOOK_AGAIN_MS)).contains(&now.0) {
            return;
        }
        self.looked.store(now.0, Ordering::Relaxed);
        let mark = std::fs::metadata(path).map(|meta| FileMark::of(&meta));
        let mut held = self.held.lock();
        if matches!((&mark, &held.mark), (Ok(new), Some(old)) if new == old) {
            return;
        }
        match read_file(path) {
            Ok((secret, mark)) => {
                *held = Held { secret, mark: Some(mark), loaded: now, failure: None };
            }
            Err(why) => {
                held.mark = mark.ok();
                held.failure = Some(format!("`{}` {why}", self.reference));
            }
        }
    }
}

fn read_file(path: &Path) -> Result<(Secret, FileMark), String> {
    let failed = |e: std::io::Error| format!("cannot be read: {e}");
    let file = std::fs::File::open(path).map_err(failed)?;
    // The mark is of the file that is open: a later swap of the name is seen next time.
    let mark = FileMark::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > SECRET_BYTES_MAX {
        return Err("is too large for a secret".into());
    }
    Ok((Secret::new(bytes)?, mark))
}

/// The half of a vault that facts may hold: it opens what a read needs, and nothing else.
#[derive(Debug, Clone)]
pub struct ReadOnly(Arc<Vault>);

impl ReadOnly {
    /// The reading half of a vault.
    pub fn of(vault: Arc<Vault>) -> Self {
        Self(vault)
    }

    /// The secret for reading an upstream.
    pub fn open(&self, upstream: &str) -> Option<Secret> {
        self.0.open(upstream, Class::Read)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

    use std::time::Duration;

    use super::*;

    const NONE: &dyn Fn(&str) -> Option<String> = &|_| None;

    fn text(secret: &Secret) -> String {
        secret.expose(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn references(yaml: &str, base: &Path) -> Result<References, String> {
        References::read(&crate::yaml::read("t", yaml).unwrap(), base)
    }

    fn vault(references: References, clock: &Clock) -> Vault {
        Vault::load(vec![("stripe".into(), references)], NONE, clock.clone()).unwrap()
    }

    #[test]
    fn one_for_all_classes_or_each_its_own() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["read", "money"] {
            std::fs::write(dir.path().join(name), format!("sk_{name}\r\n")).unwrap();
        }
        let clock = Clock::by_hand(Timestamp(0));
        let all = vault(references("file:read", dir.path()).unwrap(), &clock);
        assert!(
            Class::ALL.iter().all(|class| text(&all.open("stripe", *class).unwrap()) == "sk_read")
        );
        let own = references("{ read: file:read, financial: file:money }", dir.path()).unwrap();
        let own = Arc::new(vault(own, &clock));
        assert_eq!(text(&own.open("stripe", Class::Financial).unwrap()), "sk_money");
        assert!(own.open("stripe", Class::Write).is_none(), "a class without one has none");
        assert!(own.open("shop", Class::Read).is_none());
        assert_eq!(text(&ReadOnly::of(Arc::clone(&own)).open("stripe").unwrap()), "sk_read");
    }

    #[test]
    fn an_environment_value_is_handed_in() {
        let named = References::one(Reference::parse("env:STRIPE", Path::new("")).unwrap());
        let environment = |name: &str| (name == "STRIPE").then(|| "sk_env\n".to_owned());
        let upstreams = vec![("stripe".into(), named.clone())];
        let vault = Vault::load(upstreams.clone(), &environment, Clock::default()).unwrap();
        assert_eq!(text(&vault.open("stripe", Class::Read).unwrap()), "sk_env");
        let errors = Vault::load(upstreams, NONE, Clock::default()).unwrap_err();
        assert_eq!(errors, ["upstreams.stripe.credentials: `env:STRIPE` is not set"]);
    }

    #[test]
    fn a_changed_file_counts_within_a_second_and_a_bad_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let clock = Clock::by_hand(Timestamp(0));
        let vault = vault(References::one(Reference::File(path.clone())), &clock);
        let now = |vault: &Vault| text(&vault.open("stripe", Class::Write).unwrap());
        let before = vault.shown();
        std::fs::write(&path, "three").unwrap();
        assert_eq!(now(&vault), "one", "not looked at yet");
        clock.turn(Duration::from_secs(1));
        assert_eq!(now(&vault), "three");
        let shown = vault.shown();
        assert_eq!(shown.len(), 4);
        assert_ne!(shown[0].fingerprint, before[0].fingerprint);
        assert_eq!((shown[0].loaded, shown[0].fingerprint.len()), (Timestamp(1000), 8));
        for bad in ["", "\n", "a\nb"] {
            std::fs::write(&path, bad).unwrap();
            clock.turn(Duration::from_secs(1));
            assert_eq!(now(&vault), "three", "{bad:?} does not replace what works");
            assert!(vault.shown()[0].failure.is_some(), "{bad:?} is reported");
        }
        std::fs::remove_file(&path).unwrap();
        clock.turn(Duration::from_secs(1));
        assert_eq!(now(&vault), "three");
        // A swap as Kubernetes and editors do it: another file under the same name.
        let next = dir.path().join("next");
        std::fs::write(&next, "four").unwrap();
        std::fs::rename(&next, &path).unwrap();
        clock.turn(Duration::from_secs(1));
        assert_eq!(now(&vault), "four");
        assert_eq!(vault.shown()[0].failure, None);
    }

    #[test]
    fn what_is_no_reference_is_not_repeated() {
        for (yaml, expected) in [
            ("sk_live_abc", "expected `file:PATH`"),
            ("vault:x", "expected `file:PATH`"),
            ("\"file:\"", "expected `file:PATH`"),
            ("{ read: sk_live_abc }", "read: expected `file:PATH`"),
            ("{ refund: file:x }", "`refund` is no class"),
            ("{}", "expected a reference"),
        ] {
            let error = references(yaml, Path::new("")).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
            assert!(!error.contains("sk_live"), "{error}");
        }
    }

    #[test]
    fn nothing_prints_it() {
        let secret = Secret::new(b"sk_live_abc".to_vec()).unwrap();
        assert!(!format!("{secret:?}").contains("sk_live"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("k"), "sk_live_abc").unwrap();
        let vault = vault(references("file:k", dir.path()).unwrap(), &Clock::default());
        let said = format!("{vault:?} {:?}", vault.shown());
        assert!(!said.contains("sk_live"), "{said}");
    }
}

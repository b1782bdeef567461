//! What is wrong with what a configuration needs around it, and how is it mended? `check --connect` asks before
//! agents do.
//!
//! Changes nothing but a file of its own that it removes again, and sends nothing but reads.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::build::{Checked, fetch};
use super::ground::open_store;
use super::{Config, StorePlace};
use crate::bounds::CONNECTIONS_MAX;
use crate::call::Class;
use crate::catalog::Pack;
use crate::clock::{Clock, Timestamp};
use crate::outbound::Reply;
use crate::store::Needs;

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `store`, `upstream stripe`.
    pub what: String,
    /// How it is with it.
    pub how: How,
}

/// How it is with something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// As it should be.
    Well(String),
    /// It serves; somebody should know this.
    Note(String),
    /// It does not serve.
    Wrong {
        /// Why not.
        why: String,
        /// What to do.
        mend: String,
    },
}

impl Finding {
    /// It is as it should be.
    pub fn well(what: impl Into<String>, said: impl Into<String>) -> Self {
        Self { what: what.into(), how: How::Well(said.into()) }
    }

    fn note(what: impl Into<String>, said: impl Into<String>) -> Self {
        Self { what: what.into(), how: How::Note(said.into()) }
    }

    /// It does not serve.
    pub fn wrong(what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), how: How::Wrong { why: why.into(), mend: mend.into() } }
    }
}

/// What of a configuration the surroundings are asked for.
#[derive(Debug)]
pub struct Needed {
    store: StorePlace,
    audit: PathBuf,
    listens: Vec<(&'static str, SocketAddr)>,
    secrets: Vec<PathBuf>,
    packs: Vec<(Arc<str>, Arc<Pack>)>,
    told: usize,
}

impl Needed {
    /// Of this configuration.
    pub fn of(config: &Config) -> Self {
        let mut listens = vec![("listen", config.listen)];
        let own = |at| ("upstreams.*.listen", at);
        listens.extend(config.upstreams.iter().filter_map(|one| one.listen).map(own));
        listens.extend(config.probes.map(|at| ("probes.listen", at)));
        if let Some(super::ConsoleListen::Tcp(at)) = config.console {
            listens.push(("operator.listen", at));
        }
        let classes = [Class::Read, Class::Write, Class::Communication, Class::Financial];
        let of_upstreams = config.upstreams.iter().flat_map(|one| {
            classes
                .iter()
                .filter_map(|class| one.credentials.of(*class)?.path().map(Path::to_owned))
        });
        let of_operators = config.operator.tokens.iter().filter_map(|token| token.file.clone());
        let mut secrets: Vec<PathBuf> = of_upstreams.chain(of_operators).collect();
        secrets.sort();
        secrets.dedup();
        let packs = config.upstreams.iter();
        Self {
            store: config.store.clone(),
            audit: config.audit.dir.clone(),
            listens,
            secrets,
            packs: packs.map(|one| (Arc::clone(&one.name), Arc::clone(&one.pack))).collect(),
            told: config.destinations.len(),
        }
    }
}

impl Checked {
    /// Looks at the machine, and tries the store, the issuers' keys, the upstreams and their secrets.
    pub async fn connect(&self) -> Vec<Finding> {
        let needed = &self.needed;
        let mut found = self.folders();
        found.extend(needed.listens.iter().map(|(key, at)| address(key, *at)));
        found.extend(needed.secrets.iter().filter_map(|path| readable_by_others(path)));
        found.extend([files_open(), memory()].into_iter().flatten());
        found.extend(self.redis().await);
        found.extend(self.issuers().await);
        for (name, pack) in &needed.packs {
            found.extend(self.upstream(name, pack).await);
        }
        if needed.told > 0 {
            let say =
                format!("{} not tried: whoever is there would be told something", needed.told);
            found.push(Finding::note("notifications", say));
        }
        found
    }

    /// The folders that must outlive the process.
    fn folders(&self) -> Vec<Finding> {
        let audit = &self.needed.audit;
        let mut found = folder("audit", audit);
        if let StorePlace::Embedded { dir, .. } = &self.needed.store {
            found.extend(folder("store", dir));
            if volume(dir).is_some_and(|one| Some(one) == volume(audit)) {
                let say = "store and audit are on one volume: lost together, nobody knows what was sent; \
                           put them on two if you can";
                found.push(Finding::note("store", say));
            }
        }
        found
    }

    /// Tries a Redis, and judges what it may forget.
    async fn redis(&self) -> Vec<Finding> {
        let StorePlace::Redis(place) = &self.needed.store else { return Vec::new() };
        let lost = |why: String| {
            let mend = mend(&why, "the Redis, its address, user and password under `store`");
            vec![Finding::wrong("store", why, mend)]
        };
        let store = match open_store(&self.needed.store, &Clock::System) {
            Ok(store) => store,
            Err(why) => return lost(why),
        };
        let judged = match store.durability().await {
            Ok(Some(judged)) => judged,
            Ok(None) => return Vec::new(),
            Err(fault) => return lost(fault.to_string()),
        };
        let mut found = vec![Finding::well("store", format!("answers ({})", judged.settings))];
        found.extend(judged.notes.into_iter().map(|note| Finding::note("store", note)));
        let refused = match place.needs {
            Needs::Any => "",
            Needs::Durable => " (financial calls are refused until then)",
        };
        let set =
            "set it in redis.conf, or with CONFIG SET and CONFIG REWRITE; docs/redis.md says why";
        let danger = |danger| Finding::wrong("store", format!("{danger}{refused}"), set);
        found.extend(judged.dangers.into_iter().map(danger));
        found
    }

    async fn issuers(&self) -> Vec<Finding> {
        let fetch = fetch(Arc::clone(&self.gate.outbound));
        let people = super::people(&self.operator, fetch, self.gate.clock.clone());
        let mut all: Vec<_> = self.gate.identity.connect().await.into_iter().collect();
        let agents = all.len();
        if let Some(people) = people {
            all.extend(people.connect().await);
        }
        let each = all.into_iter().enumerate().map(|(index, (issuer, keys))| {
            let whose = if index < agents { "issuer" } else { "operators' issuer" };
            let what = format!("{whose} {issuer}");
            match keys {
                Ok(0) => Finding::wrong(
                    what,
                    "its set has no key that counts",
                    "compare `algorithms` with `kty`, `alg` and `use` of the keys in its `jwks`",
                ),
                Ok(1) => Finding::well(what, "1 key"),
                Ok(count) => Finding::well(what, format!("{count} keys")),
                Err(fault) => {
                    let why = fault.to_string();
                    let mend = mend(&why, "its `jwks`: the address of its keys, or the file");
                    Finding::wrong(what, why, mend)
                }
            }
        });
        each.collect()
    }

    /// One harmless read with the secret for reading, and what it tells.
    async fn upstream(&self, name: &Arc<str>, pack: &Pack) -> Vec<Finding> {
        let what = format!("upstream {name}");
        let (target, known) = match probe(pack) {
            Some(path) => (path, true),
            None => ("/".to_owned(), false),
        };
        let asked = self.gate.lookups.try_read(name, &target).await;
        let reply = match asked {
            Ok(reply) => reply,
            Err(why) => {
                let mend = mend(&why, "its `url`");
                return vec![Finding::wrong(what, why, mend)];
            }
        };
        let mut found = vec![match reply.status {
            401 => Finding::wrong(
                &what,
                format!("does not take the secret for reading: 401 to GET {target}"),
                "put the vendor's key for this account, and nothing but it, into the file under \
                 `credentials`; it is read again within a second",
            ),
            403 if known => Finding::note(
                &what,
                format!(
                    "answers; the secret for reading may not GET {target} (403): a restricted key?"
                ),
            ),
            500.. => Finding::wrong(
                &what,
                format!("is not well: {} to GET {target}", reply.status),
                "look at its status page; its breaker opens after a few of these",
            ),
            status if known => Finding::well(
                &what,
                format!("answers ({status} to GET {target}); the secret for reading is taken"),
            ),
            status => Finding::well(&what, format!("answers ({status} to GET {target})")),
        }];
        found.extend(clock(&what, &reply, self.gate.clock.now()));
        found
    }
}

/// A read of a pack that needs to be told nothing.
fn probe(pack: &Pack) -> Option<String> {
    let plain = |action: &&Arc<crate::action::Action>| {
        action.class == Class::Read
            && action.method == http::Method::GET
            && !action.path_template.contains(['{', '*'])
            && !action.stream
    };
    pack.actions().iter().find(plain).map(|action| action.path_template.to_string())
}

/// What to do about an upstream, an issuer or a store that did not answer; `named` is where it is named.
fn mend(why: &str, named: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if has(&["certificate", "TLS", "UnknownIssuer", "InvalidCert"]) {
        "name the authority of its certificate under `ca`; and what it is shown under `tls` if it asks".into()
    } else if has(&["does not allow"]) {
        "`addresses: private` if it is a service in house; else its name leads astray".into()
    } else if has(&["efused", "ConnectRefused"]) {
        format!("nothing listens there: start it, or correct {named}")
    } else if has(&["lookup", "resolve", "name", "no address"]) {
        format!(
            "the name leads nowhere from here: correct {named}; look at DNS, and at a NetworkPolicy that keeps it out"
        )
    } else if has(&["time", "within", "Timed"]) {
        format!(
            "no answer came: look at the network and at a NetworkPolicy between, and at {named}"
        )
    } else {
        format!("look at {named}")
    }
}

/// Whether a folder takes what is written, and whether it will still be there.
fn folder(key: &str, dir: &Path) -> Vec<Finding> {
    let shown = dir.display();
    // One that is not there yet is made by who serves, not by who checks: it would be another user's.
    let there = dir.ancestors().find(|one| one.exists()).unwrap_or(dir);
    let dir = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let file = dir.join(".tollhouse-check");
    let written = std::fs::write(&file, b"?");
    if let Err(e) = written.and_then(|()| std::fs::remove_file(&file)) {
        let mend = "let this user write there: mount a volume, and `fsGroup` or chown for it";
        return vec![Finding::wrong(key, format!("{shown}: {e}"), mend)];
    }
    let mut found = vec![Finding::well(key, format!("{shown} takes what is written"))];
    if let Some(kind) = file_system(dir).filter(|kind| FORGETS.contains(&kind.as_str())) {
        let say =
            format!("{shown} is on {kind}: it is lost with the container; mount a volume there");
        found.push(Finding::note(key, say));
    }
    if let Ok(room) = rustix::fs::statvfs(dir) {
        let bytes = room.f_bavail.saturating_mul(room.f_frsize);
        if bytes < ROOM_MIN {
            let why = format!("{shown} has {} MiB left", bytes / (1 << 20));
            let mend = "make room: with a full disk no effect is sent";
            found.push(Finding::wrong(key, why, mend));
        }
    }
    found
}

/// File systems that end with a container.
const FORGETS: [&str; 3] = ["tmpfs", "ramfs", "overlay"];
/// BOUND: a day of effects at one a second is some 150 MiB of record.
const ROOM_MIN: u64 = 256 << 20;
/// BOUND: a token is good for minutes and a reset for less; issuers allow a minute of difference.
const CLOCK_MAX: Duration = Duration::from_secs(30);
/// BOUND: 24 MiB at rest, 41 under load, and room for a reload.
const MEMORY_MIN: u64 = 96 << 20;

/// The kind of file system that a folder is on: the longest mount point that leads to it.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let each = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((Path::new(words.next()?), words.next()?))
    });
    let over = each.filter(|(at, _)| dir.starts_with(at));
    // Of two at one place the later counts.
    over.max_by_key(|(at, _)| at.components().count()).map(|(_, kind)| kind.to_owned())
}

fn volume(dir: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(dir).ok().map(|meta| meta.dev())
}

fn address(key: &str, at: SocketAddr) -> Finding {
    match TcpListener::bind(at) {
        Ok(_) => Finding::well(key, format!("{at} is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Finding::note(
            key,
            format!("{at} is taken: by a Tollhouse that runs, or by what must go first"),
        ),
        Err(e) => Finding::wrong(
            key,
            format!("{at}: {e}"),
            "name an address of this machine, and a port above 1023",
        ),
    }
}

/// SECURITY: a secret that anybody on the machine may read is an agent's as well.
fn readable_by_others(path: &Path) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let say = || {
        let shown = path.display();
        format!(
            "{shown} may be read by everybody on this machine: chmod 600, or `defaultMode: 0400`"
        )
    };
    (mode & 0o004 != 0).then(|| Finding::note("secret", say()))
}

/// Whether as many files may be open as connections are served.
fn files_open() -> Option<Finding> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft: usize = line.split_whitespace().next()?.parse().ok()?;
    let say = || {
        let needs = CONNECTIONS_MAX.saturating_mul(2);
        format!(
            "{soft} files may be open, {needs} connections in and out are served: `ulimit -n`, LimitNOFILE="
        )
    };
    (soft < CONNECTIONS_MAX).then(|| Finding::note("machine", say()))
}

/// Whether the container leaves enough memory.
fn memory() -> Option<Finding> {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?;
    let bytes: u64 = limit.trim().parse().ok()?;
    let why = || format!("{} MiB of memory are allowed", bytes / (1 << 20));
    let mend = "allow 128 MiB: `resources.limits.memory`, MemoryMax=";
    (bytes < MEMORY_MIN).then(|| Finding::wrong("machine", why(), mend))
}

/// Whether this clock and the upstream's say the same: tokens, holds and budgets go by ours.
fn clock(what: &str, reply: &Reply, now: Timestamp) -> Option<Finding> {
    let date = reply.headers.get(http::header::DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(date).ok()?;
    let theirs = theirs.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    let differ = i128::from(now.0).saturating_sub(i128::try_from(theirs).ok()?);
    let seconds = differ.unsigned_abs() / 1000;
    let which = if differ < 0 { "behind" } else { "ahead of" };
    let why = || format!("the clock here is {seconds} s {which} that of {what}");
    let mend = "set it (chrony, the node's time): tokens, holds and budgets go by it";
    (seconds > u128::from(CLOCK_MAX.as_secs())).then(|| Finding::wrong("clock", why(), mend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_follows_from_what_was_met() {
        for (why, says) in [
            ("ConnectRefused: connection refused", "nothing listens there"),
            ("InvalidCert: UnknownIssuer", "authority of its certificate"),
            ("`x` is at 10.0.0.1, which `addresses:` does not allow", "`addresses: private`"),
            ("failed to lookup address information", "leads nowhere"),
            ("no answer in time", "no answer came"),
            ("something else", "look at `url`"),
        ] {
            assert!(mend(why, "`url`").contains(says), "{why}: {}", mend(why, "`url`"));
        }
    }

    #[test]
    fn the_kind_of_a_file_system_is_that_of_the_nearest_mount() {
        assert_eq!(file_system(Path::new("/proc/self")).as_deref(), Some("proc"));
        assert!(file_system(Path::new("/nowhere-at-all")).is_none());
    }
}

//! Quick mode: a pack and an upstream instead of a file. For development only.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Config, ConsoleListen, StorePlace, UpstreamSection};
use crate::approval::Queue;
use crate::catalog::pack::{self, Pack};
use crate::credentials::{Reference, References};
use crate::money::Money;
use crate::outbound::Upstream;
use crate::policy::Contracts;
use crate::yaml::{ConfigErrors, Faults, Place};

/// What `tollhouse run --pack .. --upstream ..` was told.
#[derive(Debug)]
pub struct Quick {
    /// A pack's name, or its file.
    pub pack: String,
    /// Where the API is.
    pub upstream: String,
    /// Its secret, as `env:NAME` or `file:PATH`.
    pub secret: Option<String>,
    /// The auto cap of every financial action.
    pub cap: Option<String>,
    /// A file of contracts.
    pub contracts: Option<PathBuf>,
    /// The store, when not in the state folder.
    pub store: Option<String>,
    /// Where agents are served.
    pub listen: SocketAddr,
    /// Where operators are served.
    pub operator: SocketAddr,
    /// Keys, store and audit log.
    pub state: PathBuf,
}

/// The settings of quick mode; makes the state folder and the issuer's key.
///
/// # Errors
///
/// All faults, named by the flag that they stand in.
pub fn quick(told: &Quick) -> Result<Config, ConfigErrors> {
    let faults = Faults::of("command line");
    let fault = |flag: &str, message: String| faults.note(Place::default(), flag, message);
    for (flag, address) in [("--listen", told.listen), ("--operator", told.operator)] {
        if !address.ip().is_loopback() {
            fault(
                flag,
                format!("`{address}` is not a loopback address; quick mode serves only those"),
            );
        }
    }
    let jwks = prepare_state(&told.state).map_err(|e| fault("--state", e)).ok();
    let upstream =
        Upstream::parse("upstream", &told.upstream).map_err(|e| fault("--upstream", e)).ok();
    let credentials = credentials(told).map_err(|e| fault("--secret", e)).ok();
    let store = store(told).map_err(|e| fault("--store", e)).ok();
    let cap = told.cap.as_deref().map(Money::parse).transpose().map_err(|e| fault("--cap", e)).ok();
    let mut others = ConfigErrors::default();
    let pack = read_pack(&told.pack).map_err(|e| others.0.extend(e.0)).ok();
    let contracts =
        read_contracts(told.contracts.as_deref()).map_err(|e| others.0.extend(e.0)).ok();
    let read = (|| {
        let contracts = match cap? {
            Some(cap) => contracts?.with_auto_cap(vec![cap]),
            None => contracts?,
        };
        let one = section(pack?, upstream?, credentials?);
        Some(settings(told, one, contracts, (store?, jwks?)))
    })();
    let mut errors = faults.into_errors();
    errors.0.extend(others.0);
    match read {
        Some(config) if errors.0.is_empty() => Ok(config),
        Some(_) | None => Err(errors),
    }
}

fn settings(
    told: &Quick,
    one: UpstreamSection,
    contracts: Contracts,
    (store, jwks): (StorePlace, PathBuf),
) -> Config {
    // The queues that contracts name exist; the one operator of quick mode answers all.
    let mut queues: Vec<Arc<str>> = contracts.queues();
    if !queues.iter().any(|queue| &**queue == "default") {
        queues.push("default".into());
    }
    Config {
        listen: told.listen,
        hosts: Vec::new(),
        tls: None,
        probes: None,
        console: Some(ConsoleListen::Tcp(told.operator)),
        operator: Arc::new(super::OperatorSection { quick: true, ..Default::default() }),
        store,
        init_store: false,
        audit: super::AuditSection::of(told.state.join("audit")),
        identity: crate::identity::Config::development(jwks),
        upstreams: vec![one],
        rollout: crate::rollout::Rollout::default(),
        contracts,
        limits: Vec::new(),
        alarms: crate::alarm::Alarms::default(),
        loops: Vec::new(),
        process: crate::breaker::lanes::Settings::process(),
        queues: queues.into_iter().map(|queue| (queue, Queue::default())).collect(),
        destinations: Vec::new(),
        crowd: crate::store::Crowd::default(),
        policies: Vec::new(),
        default_policies: true,
        freeze_file: None,
        telemetry: super::TelemetrySection::logging(crate::telemetry::LogFormat::Text),
        drain: std::time::Duration::from_secs(20),
        files: super::Files::default(),
    }
}

fn section(pack: Arc<Pack>, mut upstream: Upstream, credentials: References) -> UpstreamSection {
    upstream.name = Arc::clone(&pack.traits().name);
    let trusted = pack.traits().hosts.iter().any(|host| **host == *upstream.url.host());
    UpstreamSection {
        name: Arc::clone(&pack.traits().name),
        upstream,
        pack,
        route: "/".to_owned(),
        listen: None,
        credentials,
        headers: Vec::new(),
        account: None,
        trusted,
        breaker: crate::breaker::Settings::default(),
        lanes: crate::breaker::lanes::Settings::default(),
        mode: None,
    }
}

fn prepare_state(state: &Path) -> Result<PathBuf, String> {
    let jwks = crate::identity::prepare(state).map_err(|e| e.to_string())?;
    // Whoever commits a project must not commit the keys in it.
    let ignore = state.join(".gitignore");
    std::fs::write(&ignore, "*\n")
        .map_err(|e| format!("cannot write {}: {e}", ignore.display()))?;
    Ok(jwks)
}

fn credentials(told: &Quick) -> Result<References, String> {
    match &told.secret {
        Some(text) => Reference::parse(text, Path::new(".")).map(References::one),
        None => Err("is required: the API's secret, as env:NAME or file:PATH".into()),
    }
}

fn store(told: &Quick) -> Result<StorePlace, String> {
    let dir = match told.store.as_deref() {
        None => told.state.join("store"),
        Some(url) => match url.strip_prefix("embedded:") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            Some(_) | None => return Err(format!("expected `embedded:DIR`, got `{url}`")),
        },
    };
    Ok(StorePlace::Embedded { dir, key: None })
}

/// The settings of a pack alone: to be looked at, not to be served.
pub(super) fn of_pack(named: &str) -> Result<Config, ConfigErrors> {
    let fault = |message: String| super::build::fault("--pack", &message);
    let pack = read_pack(named)?;
    let upstream = Upstream::parse("upstream", "https://upstream.invalid").map_err(fault)?;
    let nothing = Reference::parse("env:NONE", Path::new(".")).map_err(fault)?;
    let one = section(pack, upstream, References::one(nothing));
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let told = Quick {
        pack: named.to_owned(),
        upstream: String::new(),
        secret: None,
        cap: None,
        contracts: None,
        store: None,
        listen: anywhere,
        operator: anywhere,
        state: PathBuf::new(),
    };
    Ok(settings(&told, one, Contracts::none(), (StorePlace::Memory, PathBuf::new())))
}

/// A pack by name or by path.
pub(super) fn read_pack(named: &str) -> Result<Arc<Pack>, ConfigErrors> {
    let (file, text) = match pack::shipped(named) {
        Some(text) => (format!("pack {named}"), text.to_owned()),
        None => (named.to_owned(), read_named(named, "no pack of that name in this binary, and ")?),
    };
    pack::read(&file, &text).map(Arc::new)
}

fn read_contracts(path: Option<&Path>) -> Result<Contracts, ConfigErrors> {
    let Some(path) = path else { return Ok(Contracts::none()) };
    let name = path.display().to_string();
    Contracts::parse(&name, &read_named(&name, "")?)
}

fn read_named(name: &str, before: &str) -> Result<String, ConfigErrors> {
    super::read_file(Path::new(name)).map_err(|e| {
        let faults = Faults::of(name);
        faults.note(Place::default(), "", format!("{before}{e}"));
        faults.into_errors()
    })
}

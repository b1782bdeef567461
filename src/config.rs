//! What did the operator write? Sections of a file, read into typed settings, all faults at once.
//!
//! The only place that reads files and the environment; a key whose feature is not built is refused,
//! never ignored. `tollhouse check` runs exactly this.

mod audit;
mod build;
mod doctor;
mod files;
mod ground;
mod load;
mod loops;
mod notify;
mod operator;
mod people;
mod place;
mod quick;
mod redis;
mod reload;
mod rollout;
mod telemetry;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use audit::{AuditSection, read_key};
pub use build::{Checked, check, checked, fault, fetch, gate, vault};
pub use doctor::{Finding, How};
pub use files::Files;
pub use ground::Keep;
pub use load::load;
pub use operator::{OidcSection, OperatorSection, OperatorToken, client_secret, people};
pub use people::read as read_people;
pub use quick::{Quick, quick};
pub use reload::Fixed;
pub use telemetry::TelemetrySection;
pub use tls::{Loaded as TlsLoaded, TlsSection};

use crate::outbound::Upstream;

/// Everything an operator can say, typed.
#[derive(Debug)]
pub struct Config {
    /// Where agents are served.
    pub listen: SocketAddr,
    /// Host names that count besides the listener's own.
    pub hosts: Vec<String>,
    /// What agents are answered with over TLS.
    pub tls: Option<TlsSection>,
    /// Where probes are served, when not on the console.
    pub probes: Option<SocketAddr>,
    /// Where operators are served; `None` for off.
    pub console: Option<ConsoleListen>,
    /// Who operates it.
    pub operator: Arc<OperatorSection>,
    /// The store.
    pub store: StorePlace,
    /// Whether the store is said to be new, whatever is on record.
    pub init_store: bool,
    /// The record.
    pub audit: AuditSection,
    /// Issuers and claims.
    pub identity: crate::identity::Config,
    /// The upstreams, in the order of the file.
    pub upstreams: Vec<UpstreamSection>,
    /// What runs in shadow, and how much by itself.
    pub rollout: crate::rollout::Rollout,
    /// Contracts.
    pub contracts: crate::policy::Contracts,
    /// Local rates.
    pub limits: Vec<crate::limits::Rule>,
    /// What holds when more is asked for than usual, and what policy is told of it.
    pub alarms: crate::alarm::Alarms,
    /// How far a case or a conversation may go.
    pub loops: Vec<crate::limits::Bound>,
    /// How many calls may be in flight in the process.
    pub process: crate::breaker::lanes::Settings,
    /// The queues that exist.
    pub queues: Vec<(Arc<str>, crate::approval::Queue)>,
    /// Who outside is told of what.
    pub destinations: Vec<crate::notify::Destination>,
    /// How many calls may wait for people at once.
    pub crowd: crate::store::Crowd,
    /// Policy files: name and text.
    pub policies: Vec<(String, String)>,
    /// Whether the shipped set applies.
    pub default_policies: bool,
    /// A file that stops this process while it is there.
    pub freeze_file: Option<PathBuf>,
    /// How it is told how it goes.
    pub telemetry: TelemetrySection,
    /// How long a stop waits for what is in flight.
    pub drain: Duration,
    /// What was read.
    pub files: Files,
}

/// Where the console listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleListen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// Nothing outlives the process: tests only.
    Memory,
    /// A folder with the embedded store and, without a named one, its sealing key.
    Embedded {
        /// The folder.
        dir: PathBuf,
        /// The sealing key, 32 bytes in base64; beside the store when `None`.
        key: Option<crate::credentials::Reference>,
    },
    /// A fleet's rows in Redis.
    Redis(Box<RedisPlace>),
}

/// A Redis, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisPlace {
    /// Where it is; its password and its authorities are read when it is opened.
    pub address: crate::store::Address,
    /// The password.
    pub password: Option<crate::credentials::Reference>,
    /// The authorities that its certificate is judged by; the system's when `None`.
    pub authorities: Option<PathBuf>,
    /// The sealing key, 32 bytes in base64: every replica's is the same.
    pub key: crate::credentials::Reference,
    /// What financial calls need of it.
    pub needs: crate::store::Needs,
}

/// One upstream.
#[derive(Debug)]
pub struct UpstreamSection {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is.
    pub upstream: Upstream,
    /// Its pack, read.
    pub pack: Arc<crate::catalog::pack::Pack>,
    /// The path prefix it is reached by.
    pub route: String,
    /// An address of its own.
    pub listen: Option<SocketAddr>,
    /// Its secrets by class.
    pub credentials: crate::credentials::References,
    /// Headers that the configuration sets, account selectors among them.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// How to find the customer's account.
    pub account: Option<crate::facts::AccountRule>,
    /// Whether its idempotency keys are trusted.
    pub trusted: bool,
    /// When its breaker opens.
    pub breaker: crate::breaker::Settings,
    /// How many calls may be in flight there.
    pub lanes: crate::breaker::lanes::Settings,
    /// Whether what is decided of its calls is done, where something else is said than of all.
    pub mode: Option<crate::decision::Mode>,
}

/// Reads a file as text, with an error that names it.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_file(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| std::io::Error::new(e.kind(), format!("cannot read {}: {e}", path.display())))
}

/// Reads a variable of the environment.
pub fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok()
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let part = path.with_extension("part");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, path)
}

//! Which settings count only from a start on? A reload that changes one of them is refused whole, and says which.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Config, ConsoleListen, OperatorSection, StorePlace};
use crate::telemetry::LogFormat;

/// The settings that a running process cannot change.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    listen: SocketAddr,
    listens: Vec<(Arc<str>, SocketAddr)>,
    hosts: Vec<String>,
    tls: Option<super::TlsSection>,
    probes: Option<SocketAddr>,
    console: Option<ConsoleListen>,
    operator: Arc<OperatorSection>,
    store: StorePlace,
    audit_dir: PathBuf,
    freeze_file: Option<PathBuf>,
    log: LogFormat,
    drain: std::time::Duration,
}

impl Fixed {
    /// Those of `config`.
    pub fn of(config: &Config) -> Self {
        let own = |one: &super::UpstreamSection| Some((Arc::clone(&one.name), one.listen?));
        Self {
            listen: config.listen,
            listens: config.upstreams.iter().filter_map(own).collect(),
            hosts: config.hosts.clone(),
            tls: config.tls.clone(),
            probes: config.probes,
            console: config.console.clone(),
            operator: Arc::clone(&config.operator),
            store: config.store.clone(),
            audit_dir: config.audit_dir.clone(),
            freeze_file: config.freeze_file.clone(),
            log: config.log,
            drain: config.drain,
        }
    }

    /// The keys under which `other` says something else.
    pub fn differs(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("listen", self.listen != other.listen),
            ("upstreams.*.listen", self.listens != other.listens),
            ("hosts", self.hosts != other.hosts),
            ("tls", self.tls != other.tls),
            ("probes", self.probes != other.probes),
            ("operator", self.console != other.console || self.operator != other.operator),
            ("store", self.store != other.store),
            ("audit", self.audit_dir != other.audit_dir),
            ("freeze_file", self.freeze_file != other.freeze_file),
            ("telemetry", self.log != other.log),
            ("drain", self.drain != other.drain),
        ];
        all.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

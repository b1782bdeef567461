//! Which settings count only from a start on? A reload that changes one of them is refused whole, and says which.

use std::path::PathBuf;

use super::{AuditSection, Config, StorePlace, TelemetrySection};

/// The settings that a running process cannot change.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    store: StorePlace,
    audit: AuditSection,
    freeze_file: Option<PathBuf>,
    telemetry: TelemetrySection,
}

impl Fixed {
    /// Those of `config`.
    pub fn of(config: &Config) -> Self {
        Self {
            store: config.store.clone(),
            audit: config.audit.clone(),
            freeze_file: config.freeze_file.clone(),
            telemetry: config.telemetry.clone(),
        }
    }

    /// The keys under which `other` says something else.
    pub fn differs(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("store", self.store != other.store),
            ("audit", self.audit != other.audit),
            ("freeze_file", self.freeze_file != other.freeze_file),
            ("telemetry", self.telemetry != other.telemetry),
        ];
        all.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

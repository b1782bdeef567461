//! TLS towards agents: opened with the listeners, renewed when a file of it changes.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Files, TlsLoaded, TlsSection, fault};
use crate::gate::Gate;
use crate::proxy::{Pem, Tls};
use crate::telemetry::{Level, LogLine};
use crate::yaml::ConfigErrors;

/// BOUND: a renewed certificate counts within a second.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What listeners speak TLS with, and what it was read from.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// What listeners speak it with.
    pub tls: Arc<Tls>,
    section: TlsSection,
    files: Files,
}

/// Reads it.
///
/// # Errors
///
/// What does not read or fit.
pub fn open(section: &TlsSection) -> Result<Renewed, ConfigErrors> {
    let files = section.files();
    let tls = section.load().and_then(|loaded| Tls::new(&pem(loaded)));
    let tls = tls.map_err(|why| fault("tls", &why))?;
    Ok(Renewed { tls: Arc::new(tls), section: section.clone(), files })
}

fn pem(loaded: TlsLoaded) -> Pem {
    Pem { chain: loaded.chain, key: loaded.key, clients: loaded.clients }
}

impl Renewed {
    /// Renews it where its files changed. Files that do not fit together are tried again: certificate and key are
    /// seldom written at once.
    pub(super) fn look(&mut self, gate: &Gate, told: &mut String) {
        let now = self.files.now();
        if now == self.files {
            return;
        }
        match self.section.load().and_then(|loaded| self.tls.renew(&pem(loaded))) {
            Ok(()) => {
                self.files = now;
                told.clear();
                let mut line = LogLine::new(Level::Info, "the certificate for agents was renewed");
                line.text("ends", Some(&self.tls.ends().to_string()));
                gate.telemetry.tell(line);
            }
            Err(why) if why != *told => {
                let what = "the certificate for agents was not renewed; the old one counts";
                let mut line = LogLine::new(Level::Error, what);
                line.text("why", Some(&why));
                gate.telemetry.tell(line);
                *told = why;
            }
            Err(_) => {}
        }
    }
}

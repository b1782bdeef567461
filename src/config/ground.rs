//! Where is what outlives a call? Opened as the configuration names it, in memory, or taken over from the gate
//! before.

use std::path::Path;
use std::sync::Arc;

use super::build::fault;
use super::{Config, StorePlace};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::credentials::Reference;
use crate::freeze::Freezes;
use crate::gate::Gate;
use crate::store::{SealingKey, Store};
use crate::telemetry::Telemetry;
use crate::yaml::ConfigErrors;

/// Where a gate keeps what outlives a call.
#[derive(Debug, Clone, Copy)]
pub enum Keep<'g> {
    /// In the store and the log that the configuration names; opened once all else is sound.
    Configured,
    /// In memory, to be looked at.
    Nothing,
    /// Where the gate has it whose place it takes, with all that one has counted.
    After(&'g Gate),
}

/// What a gate is built upon, and does not make anew.
pub(super) struct Ground {
    pub store: Arc<Store>,
    pub audit: Arc<Audit>,
    pub telemetry: Arc<Telemetry>,
    pub freezes: Arc<Freezes>,
}

impl Ground {
    pub fn of(config: &Config, keep: Keep<'_>, clock: &Clock) -> Result<Self, ConfigErrors> {
        let (store, audit) = match keep {
            Keep::Configured => open(config, clock)?,
            Keep::Nothing => in_memory(clock)?,
            Keep::After(before) => {
                if let StorePlace::Redis(place) = &config.store {
                    let reached = super::redis::address(place);
                    let reached =
                        reached.and_then(|at| before.store.reach(&at).map_err(|e| e.to_string()));
                    reached.map_err(|why| fault("store", &why))?;
                }
                return Ok(Self {
                    store: Arc::clone(&before.store),
                    audit: Arc::clone(&before.audit),
                    telemetry: Arc::clone(&before.telemetry),
                    freezes: Arc::clone(&before.freezes),
                });
            }
        };
        let store = Arc::new(store);
        let tracing = config.telemetry.tracing.clone();
        let telemetry = Telemetry::new(config.telemetry.log).exporting(tracing);
        Ok(Self {
            freezes: Arc::new(Freezes::new(Arc::clone(&store), clock.clone())),
            audit: Arc::new(audit),
            telemetry: Arc::new(telemetry),
            store,
        })
    }
}

impl<'g> Keep<'g> {
    pub(super) fn before(self) -> Option<&'g Gate> {
        match self {
            Self::After(before) => Some(before),
            Self::Configured | Self::Nothing => None,
        }
    }
}

fn in_memory(clock: &Clock) -> Result<(Store, Audit), ConfigErrors> {
    let store = Store::memory(clock.clone()).map_err(|e| fault("store", &e.to_string()))?;
    let audit = Audit::in_memory(clock.clone()).map_err(|e| fault("audit", &e.to_string()))?;
    Ok((store, audit))
}

/// Opens the store and the log that the configuration names.
fn open(config: &Config, clock: &Clock) -> Result<(Store, Audit), ConfigErrors> {
    let store = open_store(&config.store, clock).map_err(|why| fault("store", &why))?;
    let signing = config.audit.signing(&config.store).map_err(|why| fault("audit.key", &why))?;
    let audit = match signing {
        Some(signing) => Audit::open_signed(&config.audit.dir, clock.clone(), signing),
        None => Audit::open(&config.audit.dir, clock.clone()),
    };
    Ok((store, audit.map_err(|e| fault("audit", &e.to_string()))?))
}

pub(super) fn open_store(place: &StorePlace, clock: &Clock) -> Result<Store, String> {
    let store = match place {
        StorePlace::Memory => Store::memory(clock.clone()),
        StorePlace::Embedded { dir, key } => {
            Store::embedded(dir, sealing_key(dir, key.as_ref())?, clock.clone())
        }
        StorePlace::Redis(place) => {
            let seal = |key: &Reference| sealing_key(Path::new(""), Some(key));
            return super::redis::open(place, seal, clock);
        }
    };
    store.map_err(|fault| fault.to_string())
}

/// The named key, or one kept beside the store and made with it.
fn sealing_key(
    dir: &Path,
    named: Option<&crate::credentials::Reference>,
) -> Result<SealingKey, String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let coded = match named {
        Some(reference) => reference.read(&super::environment)?.expose(<[u8]>::to_vec),
        None => beside(dir)?,
    };
    let bytes = STANDARD.decode(coded.trim_ascii()).map_err(|_| "the sealing key is not base64")?;
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|_| "the sealing key is not 32 bytes in base64")?;
    SealingKey::new(bytes).map_err(|e| e.to_string())
}

fn beside(dir: &Path) -> Result<Vec<u8>, String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::rand::{SecureRandom, SystemRandom};
    let path = dir.join("seal.key");
    let told = |e: std::io::Error| format!("{}: {e}", path.display());
    match std::fs::read(&path) {
        Ok(bytes) => return Ok(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(told(e)),
    }
    std::fs::create_dir_all(dir).map_err(told)?;
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers")?;
    let coded = STANDARD.encode(bytes);
    super::write_secret(&path, coded.as_bytes()).map_err(told)?;
    Ok(coded.into_bytes())
}

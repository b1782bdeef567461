//! What was about to be sent, and of what is it not known what became? Read back from the log, for a
//! store that has lost it.
//!
//! Never judges the log: a line that does not read is passed over, verifying is another's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;

use super::chain;
use crate::call::OperationId;

/// Something that was allowed, and may have been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Which operation.
    pub operation: OperationId,
    /// What is known of it, as the store sealed it.
    pub sealed: Vec<u8>,
}

/// What a log tells a store that has lost everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intents {
    /// Effects that were ever allowed.
    pub effects: u64,
    /// Those of them whose end is not on record.
    pub open: Vec<Intent>,
}

#[derive(Deserialize)]
struct Line {
    kind: String,
    operation: Option<String>,
    state: Option<String>,
    intent: Option<String>,
}

/// Reads the whole log under `dir`; none, when there is no such folder.
///
/// # Errors
///
/// When it cannot be read.
pub fn intents(dir: &Path) -> io::Result<Intents> {
    if !dir.exists() {
        return Ok(Intents::default());
    }
    let mut effects = 0_u64;
    let mut open: BTreeMap<OperationId, Vec<u8>> = BTreeMap::new();
    for boot in chain::boots(dir)? {
        for (_, segment) in chain::segments(&boot)? {
            for line in BufReader::new(File::open(segment)?).split(b'\n') {
                let Ok(line) = serde_json::from_slice::<Line>(&line?) else { continue };
                let named = line.operation.as_deref().and_then(OperationId::parse);
                let Some(operation) = named else { continue };
                if let Some(intent) = line.intent {
                    effects = effects.saturating_add(1);
                    let sealed = STANDARD_NO_PAD.decode(intent).unwrap_or_default();
                    open.insert(operation, sealed);
                } else if is_end(&line) {
                    open.remove(&operation);
                }
            }
        }
    }
    let open = open.into_iter().map(|(operation, sealed)| Intent { operation, sealed });
    Ok(Intents { effects, open: open.collect() })
}

/// Whether a line says what became of it.
fn is_end(line: &Line) -> bool {
    let ends = matches!(line.kind.as_str(), "settled" | "resolved");
    ends && matches!(line.state.as_deref(), Some("done" | "not_sent" | "refused"))
}

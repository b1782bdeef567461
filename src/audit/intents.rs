//! What was about to be sent, and of what is it not known what became? Read back from the log, for a
//! store that has lost it.
//!
//! Never judges the log: a line that does not read is passed over, verifying is another's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;

use super::chain;
use crate::call::OperationId;
use crate::clock::Timestamp;

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
    /// Those of them whose end is not on record, and what was looked for or sent again from here without one.
    pub open: Vec<Intent>,
}

#[derive(Deserialize)]
struct Line {
    kind: String,
    timestamp: Option<String>,
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
    read(chain::boots(dir)?)
}

/// The same without what the process that writes now has begun; what it has ended is not open.
///
/// # Errors
///
/// When it cannot be read.
pub fn intents_before(dir: &Path) -> io::Result<Intents> {
    let mut boots = if dir.exists() { chain::boots(dir)? } else { Vec::new() };
    let own = boots.pop();
    let mut found = read(boots)?;
    if !found.open.is_empty() {
        let mut ended = BTreeSet::new();
        lines(own.into_iter().collect(), |operation, line| {
            if is_end(&line) {
                ended.insert(operation);
            }
        })?;
        found.open.retain(|intent| !ended.contains(&intent.operation));
    }
    Ok(found)
}

/// Shows the lines that are about an operation, the oldest first.
fn lines(boots: Vec<PathBuf>, mut show: impl FnMut(OperationId, Line)) -> io::Result<()> {
    for boot in boots {
        for (_, segment) in chain::segments(&boot)? {
            for line in BufReader::new(File::open(segment)?).split(b'\n') {
                let Ok(line) = serde_json::from_slice::<Line>(&line?) else { continue };
                let named = line.operation.as_deref().and_then(OperationId::parse);
                if let Some(operation) = named {
                    show(operation, line);
                }
            }
        }
    }
    Ok(())
}

fn read(boots: Vec<PathBuf>) -> io::Result<Intents> {
    let mut effects = 0_u64;
    let mut open: BTreeMap<OperationId, Vec<u8>> = BTreeMap::new();
    lines(boots, |operation, line| {
        if let Some(intent) = line.intent {
            effects = effects.saturating_add(1);
            let sealed = STANDARD_NO_PAD.decode(intent).unwrap_or_default();
            open.insert(operation, sealed);
        } else if is_end(&line) {
            open.remove(&operation);
        } else if matches!(line.kind.as_str(), "resent" | "looked_up") {
            open.entry(operation).or_default();
        }
    })?;
    let open = open.into_iter().map(|(operation, sealed)| Intent { operation, sealed });
    Ok(Intents { effects, open: open.collect() })
}

/// The latest effects that were allowed, `limit` at most, and when.
///
/// # Errors
///
/// When the log cannot be read.
pub fn latest(dir: &Path, limit: usize) -> io::Result<Vec<(OperationId, Timestamp)>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    if !dir.exists() {
        return Ok(found);
    }
    for boot in chain::boots(dir)?.into_iter().rev() {
        for (_, segment) in chain::segments(&boot)?.into_iter().rev() {
            let mut own = Vec::new();
            for line in BufReader::new(File::open(segment)?).split(b'\n') {
                let Ok(line) = serde_json::from_slice::<Line>(&line?) else { continue };
                let named = line.operation.as_deref().and_then(OperationId::parse);
                let at = line.timestamp.as_deref().and_then(Timestamp::parse);
                own.extend(named.zip(at).filter(|_| line.intent.is_some()));
            }
            let new = own.into_iter().rev().filter(|(operation, _)| seen.insert(*operation));
            found.extend(new.take(limit.saturating_sub(found.len())));
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Whether a line says what became of it.
fn is_end(line: &Line) -> bool {
    let ends = matches!(line.kind.as_str(), "settled" | "resolved");
    ends && matches!(line.state.as_deref(), Some("done" | "not_sent" | "refused"))
}

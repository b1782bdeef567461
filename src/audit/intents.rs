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
use super::record::CARRIED;
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
    let later = own.map(|own| chain::segments(&own)).transpose()?.unwrap_or_default();
    without_ended(&mut found.open, later.iter().map(|(_, path)| path))?;
    Ok(found)
}

fn read(boots: Vec<PathBuf>) -> io::Result<Intents> {
    let mut files = Vec::new();
    for boot in boots {
        files.extend(chain::segments(&boot)?.into_iter().map(|(_, path)| path));
    }
    let mut read = Open::default();
    for file in &files {
        read.segment(file)?;
    }
    // What was removed had records: of effects, for all that one knows.
    let is_cut = files.iter().find_map(|file| begins_at_origin(file).transpose()).transpose()?;
    let effects = read.effects.saturating_add(u64::from(is_cut == Some(false)));
    Ok(Intents { effects, open: read.into_open() })
}

/// Whether a segment is the first of its chain; `None` for an empty one.
fn begins_at_origin(file: &Path) -> io::Result<Option<bool>> {
    let mut lines = BufReader::new(File::open(file)?).split(b'\n');
    let first = lines.next().transpose()?.and_then(|line| chain::Read::parse(&line));
    Ok(first.map(|read| read.said.prev == chain::ORIGIN))
}

/// Effects of these segments whose end is not in them.
pub(super) fn open_in(files: &[PathBuf]) -> io::Result<Vec<Intent>> {
    let mut read = Open::default();
    for file in files {
        read.segment(file)?;
    }
    Ok(read.into_open())
}

/// Takes those out whose end stands in later segments. Reads until nothing is left to look for.
pub(super) fn without_ended<'f>(
    open: &mut Vec<Intent>,
    files: impl Iterator<Item = &'f PathBuf>,
) -> io::Result<()> {
    for file in files {
        if open.is_empty() {
            return Ok(());
        }
        let mut ended = BTreeSet::new();
        for line in lines(file)? {
            let line = line?;
            if is_end(&line) {
                ended.extend(line.operation.as_deref().and_then(OperationId::parse));
            }
        }
        open.retain(|intent| !ended.contains(&intent.operation));
    }
    Ok(())
}

fn lines(file: &Path) -> io::Result<impl Iterator<Item = io::Result<Line>> + use<>> {
    let lines = BufReader::new(File::open(file)?).split(b'\n');
    // A line that does not read is passed over.
    Ok(lines.filter_map(|line| line.map(|line| serde_json::from_slice(&line).ok()).transpose()))
}

/// What is open, as far as a log was read.
#[derive(Default)]
struct Open {
    effects: u64,
    open: BTreeMap<OperationId, Vec<u8>>,
}

impl Open {
    fn segment(&mut self, file: &Path) -> io::Result<()> {
        for line in lines(file)? {
            let line = line?;
            let named = line.operation.as_deref().and_then(OperationId::parse);
            let Some(operation) = named else { continue };
            if let Some(intent) = line.intent {
                self.effects = self.effects.saturating_add(1);
                let sealed = STANDARD_NO_PAD.decode(intent).unwrap_or_default();
                self.open.insert(operation, sealed);
            } else if is_end(&line) {
                self.open.remove(&operation);
            } else if matches!(line.kind.as_str(), "resent" | "looked_up") {
                self.open.entry(operation).or_default();
            }
        }
        Ok(())
    }

    fn into_open(self) -> Vec<Intent> {
        let open = self.open.into_iter();
        open.map(|(operation, sealed)| Intent { operation, sealed }).collect()
    }
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
                // What was carried over is older than its line.
                let is_sent = line.intent.is_some() && line.kind != CARRIED;
                own.extend(named.zip(at).filter(|_| is_sent));
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

//! What of the log may go? Its oldest segments, once they are old or too many, and others have a checkpoint that
//! stands for them.
//!
//! Never the segment that is written, and nothing that a lost store would need: what is still open in them is said
//! again first.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::{self, Read};
use super::intents::{self, Intent};
use crate::clock::Timestamp;

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// What is younger.
    For(Duration),
    /// The newest so many bytes.
    Bytes(u64),
}

/// What goes, and what must be on record before it does.
#[derive(Debug)]
pub struct Removal {
    files: Vec<PathBuf>,
    rest: Vec<PathBuf>,
    /// How many records of the chain are gone then.
    pub records: u64,
    /// The hash of the last of them, in hexadecimal.
    pub hash: String,
    /// Effects in them whose end is not on record.
    pub open: Vec<Intent>,
}

impl Removal {
    /// How many segments go.
    pub fn segments(&self) -> usize {
        self.files.len()
    }

    /// The ends of open effects that were put on record since this was looked for.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn ended_since(&self) -> io::Result<Vec<Intent>> {
        let mut still = self.open.clone();
        intents::without_ended(&mut still, self.rest.iter().rev())?;
        let is_open = |intent: &&Intent| still.iter().any(|one| one.operation == intent.operation);
        Ok(self.open.iter().filter(|intent| !is_open(intent)).cloned().collect())
    }

    /// Removes the segments, the oldest first.
    ///
    /// # Errors
    ///
    /// When one cannot be removed; those before it are gone.
    pub fn run(&self) -> io::Result<()> {
        for file in &self.files {
            fs::remove_file(file)?;
            let note = file.with_extension("note");
            if note.exists() {
                fs::remove_file(note)?;
            }
            if let Some(boot) = file.parent()
                && fs::read_dir(boot)?.next().is_none()
            {
                fs::remove_dir(boot)?;
            }
        }
        Ok(())
    }
}

/// What is due to go from the log under `dir`, of which others have the first `covered` records.
///
/// # Errors
///
/// When the log cannot be read.
pub fn due(dir: &Path, keep: Keep, covered: u64, now: Timestamp) -> io::Result<Option<Removal>> {
    let mut all = Vec::new();
    for boot in chain::boots(dir)? {
        for (_, path) in chain::segments(&boot)? {
            let bytes = fs::metadata(&path)?.len();
            all.push((path, bytes));
        }
    }
    let mut left = all.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let mut cut = None;
    for (index, (_, bytes)) in all.iter().enumerate() {
        left = left.saturating_sub(*bytes);
        let next = index.saturating_add(1);
        let Some((path, _)) = all.get(next) else { break };
        // A start that was cut short leaves an empty file: it goes with what stands before it.
        let Some(header) = header(path)? else { continue };
        let is_due = match keep {
            Keep::For(span) => header.begun.is_some_and(|begun| begun < now.minus(span)),
            Keep::Bytes(max) => left.saturating_add(*bytes) > max,
        };
        if !is_due || header.records > covered {
            break;
        }
        cut = Some((next, header));
    }
    let Some((at, header)) = cut else { return Ok(None) };
    let mut files: Vec<PathBuf> = all.into_iter().map(|(path, _)| path).collect();
    let rest = files.split_off(at);
    let mut open = intents::open_in(&files)?;
    intents::without_ended(&mut open, rest.iter())?;
    Ok(Some(Removal { files, rest, records: header.records, hash: header.prev, open }))
}

/// What a segment says of those before it.
struct Header {
    records: u64,
    prev: String,
    begun: Option<Timestamp>,
}

fn header(path: &Path) -> io::Result<Option<Header>> {
    let mut first = Vec::new();
    File::open(path)?.take(4 << 10).read_to_end(&mut first)?;
    let read = first.split(|b| *b == b'\n').next().and_then(Read::parse);
    Ok(read.and_then(|read| {
        let begun = Timestamp::parse(&read.said.timestamp);
        Some(Header { records: read.said.records?, prev: read.said.prev, begun })
    }))
}

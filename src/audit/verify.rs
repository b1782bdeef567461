//! Is the record as it was written? Reads a log back, line by line, and names the first that is not.
//!
//! Never checks signatures, and cannot see that the newest lines were cut off: only a checkpoint
//! that was exported shows that.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use super::chain::{self, ORIGIN, RECOVERED, Read, SEGMENT};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Boots that were read.
    pub boots: usize,
    /// Segments that were read.
    pub segments: usize,
    /// Lines that are as they were written.
    pub records: u64,
    /// Ends that a crash tore and a later start sealed.
    pub recovered: u64,
    /// Bytes behind the last whole line: a write under way, or a crash that no start has sealed.
    pub open_tail: usize,
    /// The first line that is not as it was written.
    pub finding: Option<Finding>,
}

/// A place that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl Report {
    /// Whether every line is as it was written.
    pub fn is_sound(&self) -> bool {
        self.finding.is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(finding) = &self.finding {
            writeln!(f, "{}:{}: {}", finding.file.display(), finding.line, finding.why)?;
        }
        let (boots, segments) = (self.boots, self.segments);
        write!(f, "{} records in {segments} segments of {boots} boots hold", self.records)?;
        if self.recovered > 0 {
            write!(f, "; {} ends were torn by a crash and sealed", self.recovered)?;
        }
        if self.open_tail > 0 {
            write!(f, "; {} bytes at the end are not a whole record yet", self.open_tail)?;
        }
        f.write_str("; signatures not checked")
    }
}

/// Verifies the log under `dir`.
///
/// # Errors
///
/// When it cannot be read.
pub fn verify(dir: &Path) -> io::Result<Report> {
    let mut reader = Reader { report: Report::default(), hash: ORIGIN.to_owned() };
    let boots = chain::boots(dir)?;
    for boot in &boots {
        reader.report.boots = reader.report.boots.saturating_add(1);
        if let Err(finding) = reader.boot(boot, boots.last())? {
            reader.report.finding = Some(finding);
            break;
        }
    }
    Ok(reader.report)
}

/// The last `n` lines of the log under `dir`, oldest first.
///
/// # Errors
///
/// When it cannot be read.
pub fn tail(dir: &Path, n: usize) -> io::Result<Vec<String>> {
    let mut lines = VecDeque::new();
    for boot in chain::boots(dir)?.iter().rev() {
        for (_, segment) in chain::segments(boot)?.iter().rev() {
            let text = fs::read(segment)?;
            let text = String::from_utf8_lossy(&text);
            for line in text.lines().rev() {
                if lines.len() >= n {
                    return Ok(lines.into());
                }
                lines.push_front(line.to_owned());
            }
        }
    }
    Ok(lines.into())
}

type Found<T> = Result<T, Finding>;

struct Reader {
    report: Report,
    hash: String,
}

impl Reader {
    fn boot(&mut self, boot: &PathBuf, newest: Option<&PathBuf>) -> io::Result<Found<()>> {
        let segments = chain::segments(boot)?;
        let last = segments.len();
        for (index, (number, file)) in (1_u64..).zip(&segments).map(|(i, (n, f))| (i, (*n, f))) {
            let finding = |why: String| Finding { file: file.clone(), line: 0, why };
            if number != index {
                return Ok(Err(finding(format!("segment {index:06} is missing before this one"))));
            }
            let text = fs::read(file)?;
            self.report.segments = self.report.segments.saturating_add(1);
            let is_last = usize::try_from(index).is_ok_and(|index| index == last);
            let place = Place { file, is_last, is_newest: is_last && newest == Some(boot) };
            if let Err(finding) = self.segment(&place, &text) {
                return Ok(Err(finding));
            }
        }
        Ok(Ok(()))
    }

    fn segment(&mut self, place: &Place<'_>, text: &[u8]) -> Found<()> {
        // A start that was cut short leaves an empty file; nothing can follow it.
        if text.is_empty() && place.is_last {
            return Ok(());
        }
        let mut at = 0_usize;
        for (number, line) in (1_usize..).zip(text.split_inclusive(|b| *b == b'\n')) {
            let whole = line.strip_suffix(b"\n").and_then(Read::parse).filter(Read::is_whole);
            let Some(read) = whole else {
                return self.broken(place, number, text.get(at..).unwrap_or_default());
            };
            self.follow(place, number, &read, text)?;
            at = at.saturating_add(line.len());
        }
        Ok(())
    }

    /// A line that is whole by itself: is it the next one?
    fn follow(&mut self, place: &Place<'_>, line: usize, read: &Read, text: &[u8]) -> Found<()> {
        let finding = |why: &str| Finding { file: place.file.into(), line, why: why.into() };
        let said = &read.said;
        if (line == 1) != (said.kind == SEGMENT) {
            return Err(finding("a segment begins with its header and has no other"));
        }
        if said.prev != self.hash {
            return Err(finding(if line > 1 && hashes(text).contains(&said.prev) {
                "this record stands out of order"
            } else if line > 1 {
                "a record before this one was removed"
            } else if self.hash == ORIGIN {
                "the beginning of the log is missing"
            } else {
                "does not follow what stands before it: an end was cut off, or a file exchanged"
            }));
        }
        self.hash.clone_from(&said.hash);
        self.report.records = self.report.records.saturating_add(1);
        Ok(())
    }

    /// From here on the segment does not read: torn by a crash and sealed, still open, or edited.
    fn broken(&mut self, place: &Place<'_>, line: usize, rest: &[u8]) -> Found<()> {
        let finding = |why: &str| Finding { file: place.file.into(), line, why: why.into() };
        let whole = rest.strip_suffix(b"\n").unwrap_or(rest);
        let (torn, last) = chain::split_last_line(whole);
        let seal = Read::parse(last).filter(|read| read.is_whole() && read.said.kind == RECOVERED);
        if let Some(seal) = seal
            && place.is_last
        {
            let same = seal.said.torn_bytes == torn.len()
                && seal.said.torn_digest == chain::hex(digest(&SHA256, torn).as_ref());
            if !same {
                return Err(finding("what a crash tore was edited after it was sealed"));
            }
            if seal.said.prev != self.hash {
                return Err(finding("a record before the torn end was removed"));
            }
            self.hash.clone_from(&seal.said.hash);
            self.report.records = self.report.records.saturating_add(1);
            self.report.recovered = self.report.recovered.saturating_add(1);
            return Ok(());
        }
        if place.is_newest && !rest.contains(&b'\n') {
            self.report.open_tail = rest.len();
            return Ok(());
        }
        Err(finding("this record was edited"))
    }
}

/// Which segment is being read.
struct Place<'p> {
    file: &'p Path,
    is_last: bool,
    is_newest: bool,
}

// Every hash of a segment, to tell a moved record from a removed one.
fn hashes(text: &[u8]) -> HashSet<String> {
    text.split(|b| *b == b'\n').filter_map(Read::parse).map(|read| read.said.hash).collect()
}

//! Is the record as it was written? Reads a log back, line by line, names the first that is not, and holds it to the
//! checkpoints that there are.
//!
//! Cannot see by itself that the newest lines were cut off, or that the whole chain was written anew: only a
//! checkpoint that was exported shows that.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use super::chain::{self, ORIGIN, RECOVERED, Read, SEGMENT};
use super::checkpoint::VerifyingKey;
use super::record::REMOVED;
use held::Held;

mod held;

/// What a log is held to, besides itself.
#[derive(Debug, Default)]
pub struct Against {
    /// Whose signatures count; none are looked at where nobody's do.
    pub keys: Vec<VerifyingKey>,
    /// Checkpoints that were kept elsewhere: a name, and the text as it was collected.
    pub collected: Vec<(PathBuf, String)>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Boots that were read.
    pub boots: usize,
    /// Segments that were read.
    pub segments: usize,
    /// Lines that are as they were written.
    pub records: u64,
    /// Records before them, which were removed as `audit.keep` has it.
    pub removed: u64,
    /// Ends that a crash tore and a later start sealed.
    pub recovered: u64,
    /// Bytes behind the last whole line: a write under way, or a crash that no start has sealed.
    pub open_tail: usize,
    /// Checkpoints that the log was held to: beside it, and from elsewhere.
    pub held_to: (usize, usize),
    /// The chains of others among those from elsewhere.
    pub others: BTreeSet<Box<str>>,
    /// How many records of the chain stand before the end of the newest signed checkpoint; `None` without a key.
    pub signed: Option<u64>,
    /// The first thing that is not as it should be.
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
        if self.removed > 0 {
            write!(f, "; {} before them were removed, which is on record", self.removed)?;
        }
        if self.recovered > 0 {
            write!(f, "; {} ends were torn by a crash and sealed", self.recovered)?;
        }
        if self.open_tail > 0 {
            write!(f, "; {} bytes at the end are not a whole record yet", self.open_tail)?;
        }
        let (own, elsewhere) = self.held_to;
        if elsewhere > 0 {
            write!(f, "; {elsewhere} checkpoints from elsewhere fit")?;
        }
        if !self.others.is_empty() {
            let others = self.others.iter().map(|chain| &**chain).collect::<Vec<_>>().join(", ");
            write!(f, "; others are of other logs, which must be looked at themselves: {others}")?;
        }
        match self.signed {
            Some(size) => {
                let all = self.removed.saturating_add(self.records);
                write!(f, "; {} checkpoints are signed", own.saturating_add(elsewhere))?;
                match all.saturating_sub(size) {
                    0 => f.write_str(", up to the last record"),
                    more => write!(f, "; {more} records after the last of them are not yet"),
                }
            }
            None => f.write_str("; signatures not checked"),
        }
    }
}

/// Verifies the log under `dir` by itself and by the checkpoints beside it.
///
/// # Errors
///
/// When it cannot be read.
pub fn verify(dir: &Path) -> io::Result<Report> {
    verify_against(dir, &Against::default())
}

/// Verifies the log under `dir`, with signatures, and against checkpoints from elsewhere.
///
/// # Errors
///
/// When it cannot be read.
pub fn verify_against(dir: &Path, against: &Against) -> io::Result<Report> {
    let boots = chain::boots(dir)?;
    let mut held = Held::new(&boots, &against.keys)?;
    for (file, text) in &against.collected {
        held.collect(file, text);
    }
    let mut reader = Reader::new(held);
    for boot in &boots {
        reader.report.boots = reader.report.boots.saturating_add(1);
        if let Err(finding) = reader.boot(boot, boots.last())? {
            reader.report.finding = Some(finding);
            break;
        }
    }
    Ok(reader.ended(dir, against))
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
    /// Records of the chain so far, the removed ones included.
    size: u64,
    /// The chain's own name.
    chain: String,
    /// How many records a removal on record speaks of.
    said_removed: u64,
    held: Held,
}

impl Reader {
    fn new(held: Held) -> Self {
        let (hash, chain) = (ORIGIN.to_owned(), String::new());
        Self { report: Report::default(), hash, size: 0, chain, said_removed: 0, held }
    }

    /// What can be said once all was read.
    fn ended(mut self, dir: &Path, against: &Against) -> Report {
        let whole = |why: String| Finding { file: dir.into(), line: 0, why };
        if self.report.finding.is_none() {
            self.report.finding = self.held.left_over(&self.chain, self.size);
        }
        let has_key = !against.keys.is_empty();
        self.report.held_to = self.held.fitting;
        self.report.others = std::mem::take(&mut self.held.others);
        self.report.signed = has_key.then_some(self.held.signed);
        let removed = self.report.removed;
        let missing = "the beginning of the log is missing";
        let why = if removed > self.said_removed {
            Some(format!("{missing}: {removed} records, and no record says that they were removed"))
        } else if removed > 0 && !has_key {
            Some(format!(
                "{missing}: {removed} records, removed as a record says; only a signed checkpoint proves \
                 what they were: give the key with --key"
            ))
        } else if has_key && self.held.signed < removed.max(1) && self.size > 0 {
            Some("no checkpoint of this log is signed by that key".to_owned())
        } else if !against.collected.is_empty() && self.held.fitting.1 == 0 {
            Some("none of the checkpoints given is of this log".to_owned())
        } else {
            None
        };
        if self.report.finding.is_none() {
            self.report.finding = why.map(whole);
        }
        self.report
    }

    fn boot(&mut self, boot: &PathBuf, newest: Option<&PathBuf>) -> io::Result<Found<()>> {
        let segments = chain::segments(boot)?;
        // Before anything was read the beginning may be gone; whether it may, is asked at the end.
        let first = segments.first().map_or(1, |(number, _)| *number);
        let first = if self.report.segments == 0 { first } else { 1 };
        for (index, (number, file)) in (first..).zip(&segments).map(|(i, (n, f))| (i, (*n, f))) {
            let finding = |why: String| Finding { file: file.clone(), line: 0, why };
            if number != index {
                return Ok(Err(finding(format!("segment {index:06} is missing before this one"))));
            }
            let text = fs::read(file)?;
            self.report.segments = self.report.segments.saturating_add(1);
            let is_last = segments.last().is_some_and(|(last, _)| *last == number);
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
            if self.size == 0 && number == 1 {
                self.begin(place, &read)?;
            }
            self.follow(place, number, &read, text)?;
            at = at.saturating_add(line.len());
        }
        Ok(())
    }

    /// The first line that is left of a chain says how many stood before it, and what the last of them was.
    fn begin(&mut self, place: &Place<'_>, read: &Read) -> Found<()> {
        let said = &read.said;
        let Some(records) = said.records.filter(|records| *records > 0) else { return Ok(()) };
        let number = place.file.file_stem().and_then(|name| name.to_str()?.parse().ok());
        if number != said.number {
            // A later one under its name: `follow` says what is missing.
            return Ok(());
        }
        (self.size, self.report.removed) = (records, records);
        self.hash.clone_from(&said.prev);
        self.held.begin((&said.chain, records, &said.prev), (place.file, 1))
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
        if said.kind == SEGMENT {
            if said.records.is_some_and(|records| records != self.size) {
                return Err(finding("does not say how many records stand before it"));
            }
            self.chain.clone_from(&said.chain);
        }
        if said.kind == REMOVED {
            self.said_removed = self.said_removed.max(said.count.unwrap_or(0));
        }
        self.take(place, line, &said.hash)
    }

    /// The chain goes on to `hash`: does what others have of it fit?
    fn take(&mut self, place: &Place<'_>, line: usize, hash: &str) -> Found<()> {
        hash.clone_into(&mut self.hash);
        self.report.records = self.report.records.saturating_add(1);
        self.size = self.size.saturating_add(1);
        self.held.reached((&self.chain, self.size, hash), (place.file, line))
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
            self.report.recovered = self.report.recovered.saturating_add(1);
            return self.take(place, line, &seal.said.hash);
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

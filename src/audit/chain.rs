//! What stands on disk? Segments of lines, each line carrying the hash of the one before it.
//!
//! Never rewrites a line; what was torn by a crash stays, and is sealed by a record that says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::checkpoint::Head;
use super::record::{Line, push_hex};
use crate::clock::Timestamp;

/// Before a line's hash; the hash and two bytes end the line.
const HASH_MEMBER: &str = ",\"hash\":\"";
/// What the first line of a chain follows.
pub(super) const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The kind of a segment's first line.
pub(super) const SEGMENT: &str = "segment";
/// The kind of the line that seals what a crash tore.
pub(super) const RECOVERED: &str = "recovered";

/// Closes a canonical record with its hash over the hash before and itself: one line.
pub(super) fn seal(prev: &str, canonical: &[u8], out: &mut Vec<u8>) -> String {
    let hash = hash_of(prev, canonical);
    out.extend_from_slice(canonical.strip_suffix(b"}").unwrap_or(canonical));
    out.extend_from_slice(HASH_MEMBER.as_bytes());
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(b"\"}\n");
    hash
}

/// SHA-256 over the 32 bytes of the hash before and the canonical record, in hexadecimal.
pub(super) fn hash_of(prev: &str, canonical: &[u8]) -> String {
    let mut context = ring::digest::Context::new(&SHA256);
    context.update(&unhex(prev));
    context.update(canonical);
    hex(context.finish().as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().saturating_mul(2));
    push_hex(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let value =
        |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok()).unwrap_or(0);
    text.as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0_u8, |byte, half| (byte << 4) | value(half)))
        .collect()
}

/// A line as it was read back.
#[derive(Debug)]
pub(super) struct Read {
    /// What the line says of itself.
    pub(super) said: Said,
    /// The record without its hash.
    canonical: Vec<u8>,
}

/// The members that hold a chain together.
#[derive(Debug, Deserialize)]
pub(super) struct Said {
    pub(super) prev: String,
    pub(super) hash: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) chain: String,
    /// Which segment of its boot this is.
    pub(super) number: Option<u64>,
    /// How many records stand before this segment; older logs do not say.
    pub(super) records: Option<u64>,
    #[serde(default)]
    pub(super) timestamp: String,
    /// What a removal says.
    pub(super) count: Option<u64>,
    #[serde(default)]
    pub(super) torn_bytes: usize,
    #[serde(default)]
    pub(super) torn_digest: String,
}

impl Read {
    /// Reads a line without its end; `None` when it is no record.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let said: Said = serde_json::from_slice(line).ok()?;
        let tail = HASH_MEMBER.len().checked_add(66)?;
        let head = line.get(..line.len().checked_sub(tail)?)?;
        let mut canonical = head.to_vec();
        canonical.push(b'}');
        Some(Self { said, canonical })
    }

    /// Whether the line is what was hashed.
    pub(super) fn is_whole(&self) -> bool {
        hash_of(&self.said.prev, &self.canonical) == self.said.hash
    }
}

/// The boots under `dir`, oldest first.
pub(super) fn boots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut boots = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() && name.to_str().is_some_and(is_ulid) {
            boots.push(entry.path());
        }
    }
    boots.sort();
    Ok(boots)
}

/// The segments of a boot with their numbers, in order.
pub(super) fn segments(boot: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(boot)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".jsonl"));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            segments.push((number, path));
        }
    }
    segments.sort();
    Ok(segments)
}

fn is_ulid(name: &str) -> bool {
    name.len() == 26 && name.bytes().all(|b| ULID.contains(&b))
}

// https://github.com/ulid/spec: Crockford's base32.
const ULID: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A name that sorts by time: 48 bits of milliseconds, 80 bits of the given.
pub(super) fn ulid(at: Timestamp, rest: u128) -> String {
    let time = u128::try_from(at.0.max(0)).unwrap_or(0) << 80;
    let mut bits = time | (rest & ((1 << 80) - 1));
    let mut name = [b'0'; 26];
    for place in name.iter_mut().rev() {
        *place = ULID.get(usize::try_from(bits & 31).unwrap_or(0)).copied().unwrap_or(b'0');
        bits >>= 5;
    }
    String::from_utf8(name.to_vec()).unwrap_or_default()
}

/// When a boot began, by its name.
pub(super) fn began(boot: &Path) -> Option<Timestamp> {
    boot.file_name()?.to_str().and_then(ulid_time)
}

/// The moment in a boot's name.
fn ulid_time(name: &str) -> Option<Timestamp> {
    let mut time = 0_i64;
    for byte in name.bytes().take(10) {
        let five = ULID.iter().position(|b| *b == byte)?;
        time = (time << 5) | i64::try_from(five).ok()?;
    }
    Some(Timestamp(time))
}

/// Where a chain goes on.
#[derive(Debug)]
pub(super) struct End {
    /// The chain's id; empty for a new one.
    pub(super) chain: String,
    /// The hash of its last line.
    pub(super) hash: String,
    /// The latest moment that a boot's name has.
    pub(super) after: Timestamp,
    /// How many records it has.
    pub(super) records: u64,
}

/// Finds the end of the chain under `dir`, and seals it when a crash tore its last line.
pub(super) fn resume(dir: &Path, now: Timestamp, name: &str) -> io::Result<End> {
    let boots = boots(dir)?;
    let last = boots.last().and_then(|b| b.file_name()).and_then(|n| n.to_str());
    let after = last.and_then(ulid_time).unwrap_or(Timestamp(-1));
    for boot in boots.iter().rev() {
        for (_, segment) in segments(boot)?.iter().rev() {
            if let Some((chain, hash)) = end_of(segment, now, name)? {
                let records = super::count::up_to(dir, segment)?;
                return Ok(End { chain, hash, after, records });
            }
        }
    }
    Ok(End { chain: String::new(), hash: ORIGIN.to_owned(), after, records: 0 })
}

// The chain and the last hash of a whole segment, or of the line that seals a torn one; `None` for
// an empty file.
fn end_of(segment: &Path, now: Timestamp, name: &str) -> io::Result<Option<(String, String)>> {
    let (chain, bytes) = read_end(segment)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut last, mut good) = (None, 0_usize);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        let Some(read) = Read::parse(text).filter(Read::is_whole) else { break };
        if last.as_ref().is_some_and(|hash| *hash != read.said.prev) {
            break;
        }
        good = good.saturating_add(line.len());
        last = Some(read.said.hash);
    }
    let torn = bytes.get(good..).unwrap_or_default();
    if torn.is_empty() {
        return Ok(last.map(|hash| (chain, hash)));
    }
    // Torn right before its line end: all of it is there, and a seal behind it would deny it.
    let is_next = |read: &Read| last.as_ref().is_none_or(|hash| *hash == read.said.prev);
    if let Some(read) = Read::parse(torn).filter(Read::is_whole).filter(is_next) {
        append(segment, b"\n")?;
        return Ok(Some((chain, read.said.hash)));
    }
    // What was torn and is sealed already.
    let (_, line) = split_last_line(torn.strip_suffix(b"\n").unwrap_or(torn));
    let seal = Read::parse(line).filter(|read| read.is_whole() && read.said.kind == RECOVERED);
    if let Some(read) = seal {
        return Ok(Some((chain, read.said.hash)));
    }
    let prev = last.unwrap_or_else(|| ORIGIN.to_owned());
    let mut out = b"\n".to_vec();
    let hash = seal_torn(&prev, torn, (name, now), &mut out);
    append(segment, &out)?;
    Ok(Some((chain, hash)))
}

fn append(segment: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(segment)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// BOUND: what a crash can tear is what 100 ms write, far below this; a start reads no more.
const END_BYTES: u64 = 4 << 20;

// The chain that the segment's first line names, and its last whole lines.
fn read_end(segment: &Path) -> io::Result<(String, Vec<u8>)> {
    let mut file = File::open(segment)?;
    let mut first = Vec::new();
    (&file).take(4 << 10).read_to_end(&mut first)?;
    let first = first.split(|b| *b == b'\n').next().and_then(Read::parse);
    let chain = first.map(|read| read.said.chain).unwrap_or_default();
    let start = file.metadata()?.len().saturating_sub(END_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if start > 0 {
        let line = bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at.saturating_add(1));
        bytes.drain(..line);
    }
    Ok((chain, bytes))
}

/// What stands before the last line end, and behind it.
pub(super) fn split_last_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().rposition(|b| *b == b'\n') {
        Some(at) => (
            text.get(..at).unwrap_or_default(),
            text.get(at.saturating_add(1)..).unwrap_or_default(),
        ),
        None => (&[], text),
    }
}

fn seal_torn(prev: &str, torn: &[u8], event: (&str, Timestamp), out: &mut Vec<u8>) -> String {
    let mut canonical = Vec::new();
    let mut line = Line::begin(&mut canonical);
    line.text("event_id", event.0);
    line.text("kind", RECOVERED);
    line.text("prev", prev);
    line.shown("timestamp", &event.1);
    line.number("torn_bytes", i64::try_from(torn.len()).unwrap_or(i64::MAX));
    line.text("torn_digest", &hex(digest(&SHA256, torn).as_ref()));
    line.end();
    seal(prev, &canonical, out)
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Segment {
    boot: PathBuf,
    boot_name: String,
    chain: String,
    hash: String,
    number: u64,
    records: u64,
    bytes_max: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl Segment {
    /// A new boot under `dir` that goes on from `end`. `name` is the boot's.
    pub(super) fn begin(dir: &Path, name: String, end: End, bytes_max: u64) -> io::Result<Self> {
        let boot = dir.join(&name);
        fs::create_dir(&boot)?;
        File::open(dir)?.sync_all()?;
        let End { chain, hash, records, .. } = end;
        Ok(Self { boot, boot_name: name, chain, hash, number: 0, records, bytes_max, open: None })
    }

    /// Where the chain ends.
    pub(super) fn head(&self) -> Head {
        Head {
            chain: self.chain.as_str().into(),
            boot: self.boot_name.as_str().into(),
            segment: self.number,
            size: self.records,
            hash: self.hash.as_str().into(),
        }
    }

    /// Whether the next batch begins a new file.
    pub(super) fn is_full(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.bytes >= self.bytes_max)
    }

    /// Keeps a checkpoint beside the segment that it ends in: the newest stands for those before it.
    pub(super) fn keep(&self, note: &str) -> io::Result<()> {
        let path = self.boot.join(format!("{:06}.note", self.number));
        let part = path.with_extension("part");
        fs::write(&part, note)?;
        fs::rename(part, path)
    }

    /// The hash that the next record follows.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Makes sure that there is room for another batch; begins a new file when there is not.
    pub(super) fn room(&mut self, now: Timestamp, event_id: &str) -> io::Result<()> {
        if !self.is_full() {
            return Ok(());
        }
        if let Some(open) = &self.open {
            open.file.sync_all()?;
        }
        let number = self.number.saturating_add(1);
        let mut canonical = Vec::new();
        let mut line = Line::begin(&mut canonical);
        line.text("boot", &self.boot_name);
        line.text("chain", &self.chain);
        line.text("event_id", event_id);
        line.text("kind", SEGMENT);
        line.number("number", i64::try_from(number).unwrap_or(i64::MAX));
        line.text("prev", &self.hash);
        line.number("records", i64::try_from(self.records).unwrap_or(i64::MAX));
        line.shown("timestamp", &now);
        line.number("version", 1);
        line.end();
        let mut header = Vec::new();
        let hash = seal(&self.hash, &canonical, &mut header);
        let path = self.boot.join(format!("{number:06}.jsonl"));
        let begun = (|| {
            let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
            file.write_all(&header)?;
            file.sync_all()?;
            File::open(&self.boot)?.sync_all()?;
            Ok(file)
        })();
        let file = match begun {
            Ok(file) => file,
            Err(e) => {
                // What was begun in vain must not stand in the way of the next try.
                drop(fs::remove_file(&path));
                return Err(e);
            }
        };
        let bytes = u64::try_from(header.len()).unwrap_or(u64::MAX);
        self.open = Some(Open { file, bytes });
        self.number = number;
        self.records = self.records.saturating_add(1);
        self.hash = hash;
        Ok(())
    }

    /// Appends so many whole lines, whose last hash is `hash`.
    ///
    /// On an error none of them counts: the file is cut back to where it stood. When even that
    /// fails nothing more may be written to this chain before a restart seals its end.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        (hash, count): (&str, usize),
        sync: Sync,
    ) -> Result<(), Failed> {
        let Some(open) = &mut self.open else {
            return Err(Failed::CutBack("no segment is open".into()));
        };
        let written = open.file.write_all(lines).and_then(|()| match sync {
            Sync::Now => open.file.sync_data(),
            Sync::Later => Ok(()),
        });
        if let Err(e) = written {
            let cut = open.file.set_len(open.bytes);
            // What stands there before may be signed later: it is put on disk if that can be.
            drop(open.file.sync_all());
            // What a failed sync left in memory is not known: the next try begins a new file.
            self.open = None;
            return Err(match cut {
                Ok(()) => Failed::CutBack(e.to_string()),
                Err(_) => Failed::ForGood(e.to_string()),
            });
        }
        open.bytes = open.bytes.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        self.records = self.records.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        hash.clone_into(&mut self.hash);
        Ok(())
    }

    /// Puts on disk what was written.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| open.file.sync_data())
    }
}

/// Whether lines must be on disk when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    Now,
    Later,
}

/// Why lines were not written.
#[derive(Debug)]
pub(super) enum Failed {
    /// The file stands as before; the next batch may work.
    CutBack(String),
    /// The file's end is not known.
    ForGood(String),
}

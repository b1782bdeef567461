//! How many records does the chain have, up to the end of a segment?
//!
//! Never reads more than one segment where its header says how many stand before it.

use std::fs;
use std::io;
use std::path::Path;

use super::chain::{self, RECOVERED, Read};

/// Records of the chain under `dir` up to the end of `last`, which is one of its segments and sealed.
pub(super) fn up_to(dir: &Path, last: &Path) -> io::Result<u64> {
    let mut back = Vec::new();
    'all: for boot in chain::boots(dir)?.into_iter().rev() {
        for (_, segment) in chain::segments(&boot)?.into_iter().rev() {
            if back.is_empty() && segment != last {
                continue;
            }
            let text = fs::read(&segment)?;
            let (own, before) = (records(&text), before(&text));
            back.push(own.saturating_add(before.unwrap_or(0)));
            if before.is_some() {
                break 'all;
            }
        }
    }
    Ok(back.into_iter().fold(0, u64::saturating_add))
}

/// What a segment's header says.
pub(super) fn before(text: &[u8]) -> Option<u64> {
    text.split(|b| *b == b'\n').next().and_then(Read::parse)?.said.records
}

/// Whole lines; behind a torn one only the line that seals it counts.
fn records(text: &[u8]) -> u64 {
    let mut count = 0_u64;
    for line in text.split_inclusive(|b| *b == b'\n') {
        let is_whole = line.last() == Some(&b'\n') && line.ends_with(b"\"}\n");
        if !is_whole || line.first() != Some(&b'{') {
            let (_, last) = chain::split_last_line(text.strip_suffix(b"\n").unwrap_or(text));
            let seal = Read::parse(last).filter(|read| read.said.kind == RECOVERED);
            return count.saturating_add(u64::from(seal.is_some()));
        }
        count = count.saturating_add(1);
    }
    count
}

//! Does the log fit what others have of it? Checkpoints by the number of records that they stand for.
//!
//! Never takes a checkpoint of another chain for one of this.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::audit::chain;
use crate::audit::checkpoint::{self, NOTE_BYTES_MAX, Said, VerifyingKey};

/// Checkpoints that the log must fit, and how far it does.
pub(super) struct Held {
    by_size: BTreeMap<u64, Vec<One>>,
    keys: Vec<VerifyingKey>,
    /// What of them is wrong by itself.
    wrong: Option<Finding>,
    /// How many fit: beside the log, from elsewhere.
    pub(super) fitting: (usize, usize),
    /// Chains that are not this one.
    pub(super) others: BTreeSet<Box<str>>,
    /// How many records the newest that is signed and fits stands for.
    pub(super) signed: u64,
}

struct One {
    said: Said,
    place: (PathBuf, usize),
    from: From,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Beside,
    Elsewhere,
}

impl One {
    fn when(&self) -> String {
        self.said.at.map_or_else(|| "without a time".to_owned(), |at| format!("of {at}"))
    }
}

impl Held {
    /// The checkpoints beside the segments.
    pub(super) fn new(boots: &[PathBuf], keys: &[VerifyingKey]) -> io::Result<Self> {
        let mut held = Self {
            by_size: BTreeMap::new(),
            keys: keys.to_vec(),
            wrong: None,
            fitting: (0, 0),
            others: BTreeSet::new(),
            signed: 0,
        };
        for boot in boots {
            for (_, segment) in chain::segments(boot)? {
                let path = segment.with_extension("note");
                // A crash may leave one empty; a newer one stands for it.
                match fs::read(&path) {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => {
                        let text = String::from_utf8(bytes).ok();
                        let said = text.filter(|text| text.len() <= NOTE_BYTES_MAX);
                        held.add(said.and_then(|text| Said::parse(&text)), (path, 1), From::Beside);
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(held)
    }

    /// Checkpoints from elsewhere.
    pub(super) fn collect(&mut self, file: &Path, text: &str) {
        let found = checkpoint::collected(text);
        if found.is_empty() {
            self.is_wrong((file.into(), 0), "there is no checkpoint in it");
        }
        for (line, said) in found {
            self.add(said, (file.into(), line), From::Elsewhere);
        }
    }

    fn add(&mut self, said: Option<Said>, place: (PathBuf, usize), from: From) {
        let Some(said) = said else {
            return self.is_wrong(place, "this checkpoint does not read");
        };
        match said.is_signed(&self.keys) {
            Some(true) => {}
            Some(false) if self.keys.is_empty() => {}
            Some(false) => {
                return self.is_wrong(place, "this checkpoint is signed by none of the keys given");
            }
            None => return self.is_wrong(place, "the signature of this checkpoint is forged"),
        }
        self.by_size.entry(said.size).or_default().push(One { said, place, from });
    }

    fn is_wrong(&mut self, (file, line): (PathBuf, usize), why: &str) {
        self.wrong.get_or_insert_with(|| Finding { file, line, why: why.to_owned() });
    }

    /// The log begins after so many records; what stands for fewer cannot be looked at any more.
    pub(super) fn begin(
        &mut self,
        (chain, size, hash): (&str, u64, &str),
        place: (&Path, usize),
    ) -> Result<(), Finding> {
        self.by_size = self.by_size.split_off(&size);
        self.reached((chain, size, hash), place)
    }

    /// The chain has so many records now, the last with that hash.
    pub(super) fn reached(
        &mut self,
        (chain, size, hash): (&str, u64, &str),
        (file, line): (&Path, usize),
    ) -> Result<(), Finding> {
        if self.by_size.first_key_value().is_none_or(|(next, _)| *next > size) {
            return Ok(());
        }
        for one in self.by_size.remove(&size).unwrap_or_default() {
            if *one.said.chain != *chain {
                self.others.insert(one.said.chain);
                continue;
            }
            if *one.said.hash != *hash {
                let (at, on) = &one.place;
                return Err(Finding {
                    file: file.into(),
                    line,
                    why: format!(
                        "record {size} is not the one that the checkpoint {} stands for ({}:{on}): the chain \
                         was written anew",
                        one.when(),
                        at.display()
                    ),
                });
            }
            let count = match one.from {
                From::Beside => &mut self.fitting.0,
                From::Elsewhere => &mut self.fitting.1,
            };
            *count = count.saturating_add(1);
            if !self.keys.is_empty() {
                self.signed = size;
            }
        }
        Ok(())
    }

    /// What is wrong with those that the log did not reach.
    pub(super) fn left_over(&mut self, chain: &str, size: u64) -> Option<Finding> {
        if let Some(wrong) = self.wrong.take() {
            return Some(wrong);
        }
        for one in std::mem::take(&mut self.by_size).into_values().flatten() {
            if *one.said.chain != *chain {
                self.others.insert(one.said.chain);
                continue;
            }
            let (file, line) = one.place.clone();
            let why = format!(
                "the log has {size} records, and the checkpoint {} stands for {}: its end was cut off",
                one.when(),
                one.said.size
            );
            return Some(Finding { file, line, why });
        }
        None
    }
}

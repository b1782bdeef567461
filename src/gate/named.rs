//! What is a decision called? A random name each, without a system call each.
//!
//! Never gives a name twice, as far as random numbers go.

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use crate::call::DecisionId;

/// BOUND: a system call for so many names.
const NAMES: usize = 256;
const BYTES: usize = 16;

/// Random bytes that no name was made of yet.
static LEFT: Mutex<Vec<[u8; BYTES]>> = Mutex::new(Vec::new());

/// A new name. Without random numbers it is the nil one: the record has its own name besides.
pub(super) fn decision() -> DecisionId {
    let mut left = LEFT.lock();
    if let Some(bytes) = left.pop() {
        return DecisionId::of(u128::from_ne_bytes(bytes));
    }
    let mut fresh = vec![[0_u8; BYTES]; NAMES];
    if SystemRandom::new().fill(fresh.as_flattened_mut()).is_err() {
        return DecisionId::of(0);
    }
    let first = fresh.pop().unwrap_or_default();
    *left = fresh;
    DecisionId::of(u128::from_ne_bytes(first))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_another_uuid() {
        let names: HashSet<String> = (0..1_000).map(|_| decision().to_string()).collect();
        assert_eq!(names.len(), 1_000);
        for name in names {
            let parts: Vec<&str> = name.split('-').collect();
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{name}");
            assert!(parts.concat().bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
            assert!(name.chars().nth(14) == Some('4'), "{name}");
            assert!(name.chars().nth(19).is_some_and(|c| "89ab".contains(c)), "{name}");
        }
    }
}

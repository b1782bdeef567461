//! Who can read what was asked and answered? Only who has the key: held requests and stored answers
//! are sealed before they reach a store.
//!
//! Never opens what was sealed for another operation or another purpose.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroize;

use crate::call::OperationId;
use crate::refusal::Fault;
use crate::store::record::sha256;

/// What was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What is sent after an approval.
    Request,
    /// What came back.
    Answer,
    /// What is known of what is about to be sent.
    Intent,
}

/// The key that requests and answers are sealed with.
pub struct SealingKey {
    id: [u8; 8],
    key: LessSafeKey,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

impl SealingKey {
    /// A key of these 32 bytes, which are wiped.
    ///
    /// # Errors
    ///
    /// Never with 32 bytes; the type says so, the library does not.
    pub fn new(mut bytes: [u8; 32]) -> Result<Self, Fault> {
        // Names the key without telling it.
        let mut tagged = b"tollhouse sealing key id".to_vec();
        tagged.extend_from_slice(&bytes);
        let id = sha256(&tagged).first_chunk().copied().unwrap_or_default();
        let key = UnboundKey::new(&AES_256_GCM, &bytes);
        bytes.zeroize();
        tagged.zeroize();
        let key = key.map_err(|_| Fault::StoreUnavailable("no sealing key".to_owned()))?;
        Ok(Self { id, key: LessSafeKey::new(key) })
    }

    /// A key that nobody knows: what it seals is gone with the process.
    ///
    /// # Errors
    ///
    /// When the system has no random bytes.
    pub fn random() -> Result<Self, Fault> {
        let mut bytes = [0_u8; 32];
        fill(&mut bytes)?;
        Self::new(bytes)
    }

    /// Seals `plain`: key id, nonce, ciphertext, tag.
    ///
    /// # Errors
    ///
    /// When the system has no random bytes.
    pub fn seal(&self, op: OperationId, what: Purpose, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        // BOUND: random 96-bit nonces are safe for 2^32 messages under one key (NIST SP 800-38D s8.3).
        let mut nonce = [0_u8; NONCE_LEN];
        fill(&mut nonce)?;
        let mut body = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound(op, what)),
                &mut body,
            )
            .map_err(|_| Fault::StoreUnavailable("could not seal".to_owned()))?;
        Ok([&self.id[..], &nonce[..], &body[..]].concat())
    }

    /// Opens what [`SealingKey::seal`] made for the same operation and purpose.
    ///
    /// # Errors
    ///
    /// When it was sealed with another key, for another operation, or was changed.
    pub fn open(&self, op: OperationId, what: Purpose, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let changed = || Fault::StoreUnavailable("a sealed row does not open: changed".to_owned());
        let (id, rest) = sealed.split_at_checked(self.id.len()).ok_or_else(changed)?;
        if id != self.id {
            let why = "a sealed row does not open: it was sealed with another key";
            return Err(Fault::StoreUnavailable(why.to_owned()));
        }
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(changed)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(bound(op, what)), &mut body)
            .map_err(|_| changed())?;
        Ok(plain.to_vec())
    }
}

/// SECURITY: a sealed row that was moved to another operation does not open there.
fn bound(op: OperationId, what: Purpose) -> [u8; 33] {
    let mut bytes = [0_u8; 33];
    let tag = match what {
        Purpose::Request => b'q',
        Purpose::Answer => b'y',
        Purpose::Intent => b'i',
    };
    for (slot, byte) in bytes.iter_mut().zip([tag].into_iter().chain(op.0)) {
        *slot = byte;
    }
    bytes
}

fn fill(bytes: &mut [u8]) -> Result<(), Fault> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| Fault::StoreUnavailable("no random bytes".to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    const OP: OperationId = OperationId([7; 32]);

    #[test]
    fn only_the_same_key_operation_and_purpose_open_it() {
        let key = SealingKey::new([1; 32]).unwrap();
        let sealed = key.seal(OP, Purpose::Answer, b"card 4242").unwrap();
        assert!(!sealed.windows(4).any(|part| part == b"4242"));
        assert_eq!(key.open(OP, Purpose::Answer, &sealed).unwrap(), b"card 4242");
        assert!(key.open(OP, Purpose::Request, &sealed).is_err());
        assert!(key.open(OperationId([8; 32]), Purpose::Answer, &sealed).is_err());
        let other = SealingKey::new([2; 32]).unwrap();
        let fault = other.open(OP, Purpose::Answer, &sealed).unwrap_err();
        assert!(fault.to_string().contains("another key"), "{fault}");
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        let key = SealingKey::new([1; 32]).unwrap();
        let sealed = key.seal(OP, Purpose::Request, b"amount=100").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            assert!(key.open(OP, Purpose::Request, &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn it_cannot_be_printed() {
        assert_eq!(format!("{:?}", SealingKey::new([1; 32]).unwrap()), "SealingKey(..)");
    }
}

//! How does the end of the chain become something that others can hold against us? As a note that C2SP describes,
//! signed with Ed25519 (c2sp.org/signed-note, and the shape of c2sp.org/tlog-checkpoint).
//!
//! Never a Merkle root: the hash is that of the chain's last record, which stands for every record before it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::chain::{hex, unhex};
use crate::clock::Timestamp;

/// What every origin begins with; the chain's own name follows.
const ORIGIN: &str = "tollhouse.audit/";
/// The name of a key: one key signs the chains of all replicas, so that it cannot be an origin, as
/// tlog-checkpoint would rather have it.
const KEY_NAME: &str = "tollhouse.audit";
/// c2sp.org/signed-note, "Signature types".
const ED25519_TYPE: u8 = 0x01;
/// c2sp.org/signed-note, "Format": em dash, space.
const SIGNATURE_START: &str = "\u{2014} ";
/// BOUND: a verifier must take 16 signatures; witnesses may add theirs.
const SIGNATURES_MAX: usize = 32;
/// BOUND: ours are some 300 bytes.
pub(super) const NOTE_BYTES_MAX: usize = 16 << 10;
/// RFC 8410 s7: PKCS#8 of Ed25519 up to the seed.
const PRIVATE_START: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// RFC 8410 s4: SubjectPublicKeyInfo of Ed25519 up to the key.
const PUBLIC_START: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What checkpoints are signed with.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifyingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifier)
    }
}

impl SigningKey {
    /// Reads what `openssl genpkey -algorithm ed25519` writes.
    ///
    /// # Errors
    ///
    /// What was expected. Nothing of the file is repeated.
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        let expected = || {
            "holds no Ed25519 private key in PEM (`openssl genpkey -algorithm ed25519`)".to_owned()
        };
        let text = str::from_utf8(text).map_err(|_| expected())?;
        let der = Zeroizing::new(pem(text, "PRIVATE KEY").ok_or_else(expected)?);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| expected())?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| expected())?;
        Ok(Self { pair, verifier: VerifyingKey::new(KEY_NAME, public) })
    }

    /// A new one, as the text of its file.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub fn new_pem() -> Result<Zeroizing<String>, String> {
        use ring::rand::{SecureRandom, SystemRandom};
        let mut der = Zeroizing::new([0_u8; 48]);
        let (start, seed) = der.split_at_mut(PRIVATE_START.len());
        start.copy_from_slice(&PRIVATE_START);
        SystemRandom::new().fill(seed).map_err(|_| "the system gives no random numbers")?;
        let coded = Zeroizing::new(STANDARD.encode(*der));
        let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *coded);
        Ok(Zeroizing::new(text))
    }

    /// What its signatures are verified with.
    pub fn verifier(&self) -> &VerifyingKey {
        &self.verifier
    }

    /// Signs an end of a chain.
    pub(super) fn sign(&self, head: &Head, fleet: Option<&str>, at: Timestamp) -> Checkpoint {
        let root = STANDARD.encode(unhex(&head.hash));
        let (chain, boot, segment) = (&head.chain, &head.boot, head.segment);
        let mut note = format!("{ORIGIN}{chain}\n{}\n{root}\n", head.size);
        note.push_str(&format!("boot {boot}\nsegment {segment}\ntime {at}\n"));
        if let Some(fleet) = fleet {
            note.push_str(&format!("fleet {fleet}\n"));
        }
        let mut signature = self.verifier.id.to_vec();
        signature.extend_from_slice(self.pair.sign(note.as_bytes()).as_ref());
        let coded = STANDARD.encode(signature);
        note.push_str(&format!("\n{SIGNATURE_START}{KEY_NAME} {coded}\n"));
        Checkpoint { head: head.clone(), at, note: note.into() }
    }
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The chain's own name.
    pub chain: Box<str>,
    /// The boot that wrote its last record.
    pub boot: Box<str>,
    /// The segment of that boot.
    pub segment: u64,
    /// How many records there are, headers included.
    pub size: u64,
    /// The hash of the last, in hexadecimal.
    pub hash: Box<str>,
}

/// An end of the chain that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which end.
    pub head: Head,
    /// When it was signed.
    pub at: Timestamp,
    /// The whole note.
    pub note: Box<str>,
}

/// What verifies checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: Box<str>,
    bytes: [u8; 32],
    id: [u8; 4],
}

impl VerifyingKey {
    fn new(name: &str, bytes: [u8; 32]) -> Self {
        // c2sp.org/signed-note, "Ed25519 signatures".
        let named = [name.as_bytes(), b"\n", &[ED25519_TYPE], &bytes].concat();
        let hash = digest(&SHA256, &named);
        let id = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Self { name: name.into(), bytes, id }
    }

    /// Reads a public key in PEM, or a verifier key as signed-note has it: `name+id+key`.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY-----") {
            return Err("is a private key: give whoever verifies the public one".to_owned());
        }
        let expected =
            || "holds no Ed25519 public key in PEM, and no verifier key `name+id+key`".to_owned();
        if let Some(der) = pem(text, "PUBLIC KEY") {
            let key = der.strip_prefix(&PUBLIC_START).and_then(|key| key.try_into().ok());
            return Ok(Self::new(KEY_NAME, key.ok_or_else(expected)?));
        }
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(expected());
        };
        let coded = STANDARD.decode(key).map_err(|_| expected())?;
        let bytes = coded.strip_prefix(&[ED25519_TYPE]).and_then(|key| key.try_into().ok());
        let key = Self::new(name, bytes.ok_or_else(expected)?);
        if name.is_empty() || name.contains(char::is_whitespace) || hex(&key.id) != id {
            return Err("its id is not that of its name and key".to_owned());
        }
        Ok(key)
    }

    /// The same in PEM.
    pub fn to_pem(&self) -> String {
        let coded = STANDARD.encode([&PUBLIC_START[..], &self.bytes].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{coded}\n-----END PUBLIC KEY-----\n")
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ED25519_TYPE], &self.bytes[..]].concat());
        write!(f, "{}+{}+{key}", self.name, hex(&self.id))
    }
}

/// A note as somebody else kept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) chain: Box<str>,
    pub(super) size: u64,
    pub(super) hash: Box<str>,
    /// When it was signed, as far as it says so.
    pub(super) at: Option<Timestamp>,
    text: Box<str>,
    signatures: Vec<(Box<str>, Vec<u8>)>,
}

impl Said {
    /// Reads a note; `None` when it is none of ours, whoever signed it.
    pub(super) fn parse(note: &str) -> Option<Self> {
        if note.len() > NOTE_BYTES_MAX || note.chars().any(|c| c != '\n' && c < ' ') {
            return None;
        }
        // c2sp.org/signed-note: the text ends with the last empty line, its own line end counted in.
        let at = note.rfind("\n\n")?;
        let (text, signed) = note.split_at_checked(at.checked_add(1)?)?;
        let mut lines = text.lines();
        let chain = lines.next()?.strip_prefix(ORIGIN)?;
        let size = decimal(lines.next()?)?;
        let hash = STANDARD.decode(lines.next()?).ok().filter(|hash| hash.len() == 32)?;
        if chain.is_empty() || chain.contains(char::is_whitespace) {
            return None;
        }
        let mut at = None;
        for line in lines {
            if line.is_empty() {
                return None;
            }
            at = line.strip_prefix("time ").and_then(Timestamp::parse).or(at);
        }
        let (text, chain, hash) = (text.into(), chain.into(), hex(&hash).into());
        let signatures = signatures(signed)?;
        Some(Self { chain, size, hash, at, text, signatures })
    }

    /// Whether one of the keys signed it; `None` when it bears the name of one of them wrongly.
    pub(super) fn is_signed(&self, keys: &[VerifyingKey]) -> Option<bool> {
        let mut signed = false;
        for (name, bytes) in &self.signatures {
            let (id, signature) = bytes.split_at_checked(4)?;
            // c2sp.org/signed-note: signatures of keys that are not known say nothing.
            for key in keys.iter().filter(|key| key.name == *name && key.id == *id) {
                let public = UnparsedPublicKey::new(&ED25519, &key.bytes);
                public.verify(self.text.as_bytes(), signature).ok()?;
                signed = true;
            }
        }
        Some(signed)
    }
}

/// Signature lines, after the empty one; `None` when one of them is none.
fn signatures(signed: &str) -> Option<Vec<(Box<str>, Vec<u8>)>> {
    let mut found = Vec::new();
    for line in signed.strip_prefix('\n')?.strip_suffix('\n')?.split('\n') {
        let (name, coded) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
        let bytes = STANDARD.decode(coded).ok().filter(|bytes| bytes.len() > 4)?;
        if name.is_empty() || found.len() >= SIGNATURES_MAX {
            return None;
        }
        found.push((name.into(), bytes));
    }
    Some(found)
}

/// A count without leading zeroes.
fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// The bytes of the one block of that kind.
fn pem(text: &str, kind: &str) -> Option<Vec<u8>> {
    let begin = format!("-----BEGIN {kind}-----");
    let (_, rest) = text.split_once(&begin)?;
    let (body, _) = rest.split_once(&format!("-----END {kind}-----"))?;
    let coded: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(coded.as_bytes()).ok()
}

/// Notes as they were collected: lines of standard output, bodies of webhooks, the notes themselves; one or many,
/// among whatever else. Each with the line that it begins in; `None` for what begins as one and does not read.
pub(super) fn collected(text: &str) -> Vec<(usize, Option<Said>)> {
    let mut found = Vec::new();
    let mut lines = (1_usize..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if line.starts_with(ORIGIN) {
            let mut note = format!("{line}\n");
            let mut is_signed = false;
            while let Some((_, next)) = lines.peek() {
                is_signed |= next.starts_with(SIGNATURE_START);
                if is_signed && !next.starts_with(SIGNATURE_START) || next.starts_with(ORIGIN) {
                    break;
                }
                // BOUND: what has no end is none.
                if note.len() > NOTE_BYTES_MAX {
                    break;
                }
                note.push_str(next);
                note.push('\n');
                lines.next();
            }
            found.push((number, Said::parse(&note)));
        } else if let Some(note) = in_json(line) {
            found.push((number, note.as_deref().and_then(Said::parse)));
        }
    }
    found
}

/// The note in a line of JSON, whatever a log shipper put around it; inside `None` when there should be one.
fn in_json(line: &str) -> Option<Option<String>> {
    let begin = line.find('{')?;
    let json = line.get(begin..)?;
    if !json.contains("checkpoint") {
        return None;
    }
    let value = serde_json::Deserializer::from_str(json).into_iter::<serde_json::Value>().next();
    let Some(Ok(value)) = value else { return Some(None) };
    let is_one =
        |value: &serde_json::Value, key: &str| value.get(key).is_some_and(|k| k == "checkpoint");
    let note = |value: &serde_json::Value| value.get("note")?.as_str().map(str::to_owned);
    if is_one(&value, "kind") {
        return Some(note(&value));
    }
    if is_one(&value, "type") {
        return Some(value.get("data").and_then(note));
    }
    // Container runtimes write `{"log":"<the line>\n",..}`.
    let inner = ["log", "message"].iter().find_map(|key| value.get(key)?.as_str())?;
    let value: serde_json::Value = serde_json::from_str(inner).ok()?;
    is_one(&value, "kind").then(|| note(&value))
}

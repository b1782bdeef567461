//! What is an operation called, and when are two calls the same? Names and hashes with one spelling.

use std::fmt;

/// The name of an operation: one call's effect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub [u8; 32]);

impl OperationId {
    /// Reads `op_` and 52 characters.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = base32_decode(text.strip_prefix("op_")?)?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The idempotency key that goes upstream: 43 characters, always the same for one operation.
    pub fn upstream_key(&self) -> String {
        // BOUND: Square takes 45 characters at most.
        let name = base32(&self.0);
        format!("th_{}", name.get(..40).unwrap_or(&name))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op_{}", base32(&self.0))
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of one decision: a random UUID (RFC 9562 s5.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId(u128);

impl DecisionId {
    /// The UUID that these random bits make.
    pub fn of(random: u128) -> Self {
        let version = (random & !(0xf << 76)) | (0x4 << 76);
        Self((version & !(0x3 << 62)) | (0x2 << 62))
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |four: u8| DIGITS.get(usize::from(four & 0xf)).copied().unwrap_or(b'0');
        let mut text = [b'-'; 36];
        // Where the two digits of each byte stand between the dashes.
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        for (place, byte) in PLACES.into_iter().zip(self.0.to_be_bytes()) {
            if let Some(pair) = text.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<2>) {
                *pair = [digit(byte >> 4), digit(byte)];
            }
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Equal for calls that ask the same: a hash of the canonical values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Equal for calls that would send the same bytes with the same meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (slot, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// RFC 4648 s6, lower case, without padding.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(8).div_ceil(5));
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        held = held.saturating_add(8);
        while held >= 5 {
            held = held.saturating_sub(5);
            push_base32(&mut out, bits >> held);
        }
        bits &= 0x1f;
    }
    if held > 0 {
        push_base32(&mut out, bits << 5_u32.saturating_sub(held));
    }
    out
}

fn push_base32(out: &mut String, five_bits: u32) {
    let index = usize::try_from(five_bits & 31).unwrap_or(0);
    out.push(BASE32.get(index).copied().map_or('a', char::from));
}

fn base32_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(32);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let value = BASE32.iter().position(|b| *b == byte)?;
        bits = ((bits << 5) | u32::try_from(value).ok()?) & 0xfff;
        held = held.saturating_add(5);
        if held >= 8 {
            held = held.saturating_sub(8);
            out.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    // The bits that are left over must be zero: one name, one spelling.
    let rest = bits & ((1_u32 << held).saturating_sub(1));
    (rest == 0).then_some(out)
}

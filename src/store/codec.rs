//! How is a row written down? Field after field, compact, every text with its length.
//!
//! Never guesses: bytes that are not what was expected are no value at all.

use std::sync::Arc;

use bytes::Bytes;

use crate::call::{CallerKey, Class, Digest, Fingerprint, Kind, OperationId, Outcome, Resource};
use crate::clock::Timestamp;
use crate::decision::{Reason, Shadow};
use crate::money::{Currency, Money};
use crate::refusal::Code;

/// A value that can be written to bytes and read back.
pub trait Packed: Sized {
    /// Appends its bytes.
    fn pack(&self, out: &mut Vec<u8>);
    /// Reads it from the front; `None` when that is not one.
    fn unpack(from: &mut Unread<'_>) -> Option<Self>;
}

/// Bytes not yet read.
#[derive(Debug)]
pub struct Unread<'a>(pub &'a [u8]);

impl<'a> Unread<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
}

/// All bytes of `value`, the version first.
pub fn write<T: Packed>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    value.pack(&mut out);
    out
}

/// The value that `bytes` are, all of them.
pub fn read<T: Packed>(bytes: &[u8]) -> Option<T> {
    let mut from = Unread(bytes);
    let version = u8::unpack(&mut from)?;
    let value = (version == VERSION).then(|| T::unpack(&mut from)).flatten()?;
    from.0.is_empty().then_some(value)
}

/// The version of every row's form.
const VERSION: u8 = 5;

/// Writes [`Packed`] for a struct or an enum from one list of its fields.
macro_rules! packed {
    // `late` came when rows were written already: a row that ends before it has none.
    (struct $name:ident { $($field:ident),* $(,)? } late $late:ident) => {
        impl $crate::store::codec::Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                let Self { $($field),*, $late } = self;
                $($crate::store::codec::Packed::pack($field, out);)*
                if let Some(late) = $late {
                    $crate::store::codec::Packed::pack(late, out);
                }
            }
            fn unpack(from: &mut $crate::store::codec::Unread<'_>) -> Option<Self> {
                Some(Self {
                    $($field: $crate::store::codec::Packed::unpack(from)?),*,
                    $late: match from.0.is_empty() {
                        true => None,
                        false => Some($crate::store::codec::Packed::unpack(from)?),
                    },
                })
            }
        }
    };
    (struct $name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::store::codec::Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::store::codec::Packed::pack($field, out);)*
            }
            fn unpack(from: &mut $crate::store::codec::Unread<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::store::codec::Packed::unpack(from)?),* })
            }
        }
    };
    (enum $name:ident { $($tag:literal => $variant:ident $({ $($field:ident),* $(,)? })?),* $(,)? }) => {
        impl $crate::store::codec::Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        out.push($tag);
                        $($($crate::store::codec::Packed::pack($field, out);)*)?
                    })*
                }
            }
            fn unpack(from: &mut $crate::store::codec::Unread<'_>) -> Option<Self> {
                match <u8 as $crate::store::codec::Packed>::unpack(from)? {
                    $($tag => Some(Self::$variant $({
                        $($field: $crate::store::codec::Packed::unpack(from)?),*
                    })?),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use packed;

impl Packed for u8 {
    fn pack(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        from.take(1)?.first().copied()
    }
}

impl Packed for u64 {
    /// LEB128: seven bits a byte, the lowest first.
    fn pack(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        loop {
            let low = u8::try_from(rest & 0x7f).unwrap_or(0);
            rest >>= 7;
            if rest == 0 {
                return out.push(low);
            }
            out.push(low | 0x80);
        }
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        let mut value = 0_u64;
        for shift in (0..64_u32).step_by(7) {
            let byte = u8::unpack(from)?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl Packed for u32 {
    fn pack(&self, out: &mut Vec<u8>) {
        u64::from(*self).pack(out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        Self::try_from(u64::unpack(from)?).ok()
    }
}

impl Packed for u16 {
    fn pack(&self, out: &mut Vec<u8>) {
        u64::from(*self).pack(out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        Self::try_from(u64::unpack(from)?).ok()
    }
}

impl Packed for i64 {
    /// Zigzag: small numbers of either sign are short.
    fn pack(&self, out: &mut Vec<u8>) {
        let folded = (*self << 1) ^ (*self >> 63);
        u64::from_ne_bytes(folded.to_ne_bytes()).pack(out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        let folded = u64::unpack(from)?;
        let half = Self::try_from(folded >> 1).ok()?;
        Some(if folded & 1 == 1 { !half } else { half })
    }
}

impl Packed for bool {
    fn pack(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        match u8::unpack(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

fn pack_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX).pack(out);
    out.extend_from_slice(bytes);
}

fn unpack_bytes<'a>(from: &mut Unread<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::unpack(from)?).ok()?;
    from.take(length)
}

fn unpack_text<'a>(from: &mut Unread<'a>) -> Option<&'a str> {
    std::str::from_utf8(unpack_bytes(from)?).ok()
}

impl Packed for Box<[u8]> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self, out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        unpack_bytes(from).map(Self::from)
    }
}

impl Packed for Bytes {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self, out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        unpack_bytes(from).map(Self::copy_from_slice)
    }
}

macro_rules! packed_text {
    ($($text:ty),*) => {$(
        impl Packed for $text {
            fn pack(&self, out: &mut Vec<u8>) {
                pack_bytes(self.as_bytes(), out);
            }
            fn unpack(from: &mut Unread<'_>) -> Option<Self> {
                unpack_text(from).map(Self::from)
            }
        }
    )*};
}
packed_text!(String, Box<str>, Arc<str>);

impl<const N: usize> Packed for [u8; N] {
    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        from.take(N)?.try_into().ok()
    }
}

impl<T: Packed> Packed for Option<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.pack(out);
            }
        }
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        if bool::unpack(from)? { T::unpack(from).map(Some) } else { Some(None) }
    }
}

impl<T: Packed> Packed for Vec<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        u64::try_from(self.len()).unwrap_or(u64::MAX).pack(out);
        self.iter().for_each(|item| item.pack(out));
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        let count = u64::unpack(from)?;
        // Room is made as items arrive: a length that lies costs nothing.
        let mut items = Self::new();
        for _ in 0..count {
            items.push(T::unpack(from)?);
        }
        Some(items)
    }
}

impl<A: Packed, B: Packed> Packed for (A, B) {
    fn pack(&self, out: &mut Vec<u8>) {
        self.0.pack(out);
        self.1.pack(out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        Some((A::unpack(from)?, B::unpack(from)?))
    }
}

/// Writes [`Packed`] for what wraps one value.
macro_rules! packed_by_field {
    ($($name:ident),*) => {$(
        impl $crate::store::codec::Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                $crate::store::codec::Packed::pack(&self.0, out);
            }
            fn unpack(from: &mut $crate::store::codec::Unread<'_>) -> Option<Self> {
                $crate::store::codec::Packed::unpack(from).map(Self)
            }
        }
    )*};
}
pub(crate) use packed_by_field;
packed_by_field!(OperationId, Fingerprint, Digest, Timestamp);

/// Words that have a name are written by it: a reordered list changes nothing.
macro_rules! packed_by_name {
    ($($name:ident: $all:expr, $word:expr;)*) => {$(
        impl Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                pack_bytes($word(*self).as_bytes(), out);
            }
            fn unpack(from: &mut Unread<'_>) -> Option<Self> {
                let name = unpack_text(from)?;
                $all.into_iter().find(|one| $word(*one) == name)
            }
        }
    )*};
}
packed_by_name! {
    Class: Class::ALL, Class::name;
    Kind: Kind::ALL, Kind::name;
    Code: Code::ALL, |code: Code| code.spec().name;
    Outcome: OUTCOMES, |outcome: Outcome| outcome.name();
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Succeeded, Outcome::Accepted, Outcome::Rejected, Outcome::NotSent, Outcome::Unknown];

impl Packed for Currency {
    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.code().as_bytes());
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        Self::parse(std::str::from_utf8(from.take(3)?).ok()?)
    }
}

packed!(struct Money { minor, currency });
packed!(struct Resource { kind, id });
packed!(struct CallerKey { tenant, agent, customer });
packed!(struct Reason { policy, why, tell });
packed!(struct Shadow { code, reasons });

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(a in any::<i64>(), b in any::<u64>(), c in ".*", d in any::<Option<u32>>()) {
            let value = ((a, b), (c.into_boxed_str(), vec![d]));
            let bytes = write(&value);
            prop_assert_eq!(read::<((i64, u64), (Box<str>, Vec<Option<u32>>))>(&bytes), Some(value));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read::<Vec<(Money, Option<Reason>)>>(&bytes);
        }
    }

    #[test]
    fn a_cut_or_longer_row_is_none() {
        let whole = write(&(Timestamp(-7), Class::Financial));
        assert_eq!(read(&whole), Some((Timestamp(-7), Class::Financial)));
        assert_eq!(read::<(Timestamp, Class)>(whole.get(..whole.len() - 1).unwrap()), None);
        let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
        assert_eq!(read::<(Timestamp, Class)>(&longer), None);
        let newer: Vec<u8> = [VERSION + 1].into_iter().chain(whole.into_iter().skip(1)).collect();
        assert_eq!(read::<(Timestamp, Class)>(&newer), None);
    }
}

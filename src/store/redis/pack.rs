//! How does a value cross over to a script and back? As `MessagePack`, which Redis's Lua reads and writes in C.
//!
//! Only the forms that a script needs: no floats, no dates. Bytes that are none of these are no value.

/// A value as a script sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Nothing: in a map, the same as not being there.
    Nil,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text or bytes: to Lua they are one.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// A table by name.
    Map(Vec<(Vec<u8>, Item)>),
}

/// BOUND: doubles, which is what Lua has, are exact up to 2^53.
pub const EXACT: i64 = 1 << 53;

impl Item {
    /// A map of what is there.
    pub fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        let there = entries.into_iter().filter(|(_, item)| *item != Self::Nil);
        Self::Map(there.map(|(name, item)| (name.as_bytes().to_vec(), item)).collect())
    }

    /// Bytes.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bytes(bytes.as_ref().to_vec())
    }

    /// A number; one that a double cannot hold is the nearest that it can: for moments and versions, never
    /// for money.
    pub fn near(number: i64) -> Self {
        Self::Int(number.clamp(EXACT.saturating_neg(), EXACT))
    }

    /// What is there, or nothing.
    pub fn maybe<T>(value: Option<T>, item: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Nil, item)
    }

    /// A list.
    pub fn list<T>(values: impl IntoIterator<Item = T>, item: impl FnMut(T) -> Self) -> Self {
        Self::List(values.into_iter().map(item).collect())
    }

    /// Its bytes on the wire.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.put(&mut out);
        out
    }

    // The MessagePack specification, "Formats".
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(0xc0),
            Self::Bool(yes) => out.push(if *yes { 0xc3 } else { 0xc2 }),
            Self::Int(number) => {
                out.push(0xd3);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Bytes(bytes) => put_bytes(bytes, out),
            Self::List(items) => {
                out.push(0xdd);
                out.extend_from_slice(&length(items.len()));
                items.iter().for_each(|item| item.put(out));
            }
            Self::Map(entries) => {
                out.push(0xdf);
                out.extend_from_slice(&length(entries.len()));
                for (name, item) in entries {
                    put_bytes(name, out);
                    item.put(out);
                }
            }
        }
    }

    /// The value that `bytes` are, all of them.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = bytes;
        let item = take_item(&mut from, 0)?;
        from.is_empty().then_some(item)
    }

    /// The member of that name; nothing when there is none.
    pub fn member(&self, name: &str) -> &Self {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(own, _)| own == name.as_bytes())
                .map_or(&Self::Nil, |(_, item)| item),
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Bytes(_) | Self::List(_) => &Self::Nil,
        }
    }

    /// Itself, unless it is nothing.
    pub fn there(&self) -> Option<&Self> {
        (*self != Self::Nil).then_some(self)
    }

    /// Its place in a list; nothing when there is none.
    pub fn at(&self, place: usize) -> &Self {
        self.items().and_then(|items| items.get(place)).unwrap_or(&Self::Nil)
    }

    /// A list's items. Lua cannot tell an empty list from an empty map.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Map(entries) if entries.is_empty() => Some(&[]),
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Bytes(_) | Self::Map(_) => None,
        }
    }

    /// A number.
    pub fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// Yes or no.
    pub fn bool(&self) -> Option<bool> {
        if let Self::Bool(yes) = self { Some(*yes) } else { None }
    }

    /// Bytes.
    pub fn raw(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.raw()?).ok()
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::bytes(text)
    }
}

impl From<bool> for Item {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

fn length(count: usize) -> [u8; 4] {
    // BOUND: what is packed came through the wire's own bounds, far below 4 GiB.
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(bytes.len()) {
        Ok(short) if short < 32 => out.push(0xa0 | short),
        Ok(short) => out.extend_from_slice(&[0xd9, short]),
        Err(_) => {
            out.push(0xdb);
            out.extend_from_slice(&length(bytes.len()));
        }
    }
    out.extend_from_slice(bytes);
}

fn take<'b>(from: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (head, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(head)
}

/// A number of `bytes` bytes, the highest first.
fn take_number(from: &mut &[u8], bytes: usize) -> Option<u64> {
    let taken = take(from, bytes)?;
    Some(taken.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)))
}

fn take_length(from: &mut &[u8], bytes: usize) -> Option<usize> {
    usize::try_from(take_number(from, bytes)?).ok()
}

/// BOUND: a record is four deep; a script's encoder stops at 16.
const DEPTH_MAX: usize = 16;

fn take_item(from: &mut &[u8], depth: usize) -> Option<Item> {
    if depth > DEPTH_MAX {
        return None;
    }
    let tag = *take(from, 1)?.first()?;
    let low = |mask: u8| usize::from(tag & mask);
    Some(match tag {
        0x00..=0x7f => Item::Int(i64::from(tag)),
        0x80..=0x8f => take_map(from, low(0x0f), depth)?,
        0x90..=0x9f => take_list(from, low(0x0f), depth)?,
        0xa0..=0xbf => Item::bytes(take(from, low(0x1f))?),
        0xc0 => Item::Nil,
        0xc2 => Item::Bool(false),
        0xc3 => Item::Bool(true),
        0xc4 | 0xd9 => take_bytes(from, 1)?,
        0xc5 | 0xda => take_bytes(from, 2)?,
        0xc6 | 0xdb => take_bytes(from, 4)?,
        0xcc => Item::Int(i64::try_from(take_number(from, 1)?).ok()?),
        0xcd => Item::Int(i64::try_from(take_number(from, 2)?).ok()?),
        0xce => Item::Int(i64::try_from(take_number(from, 4)?).ok()?),
        0xcf => Item::Int(i64::try_from(take_number(from, 8)?).ok()?),
        0xd0 => Item::Int(i64::from(i8::from_be_bytes(take(from, 1)?.try_into().ok()?))),
        0xd1 => Item::Int(i64::from(i16::from_be_bytes(take(from, 2)?.try_into().ok()?))),
        0xd2 => Item::Int(i64::from(i32::from_be_bytes(take(from, 4)?.try_into().ok()?))),
        0xd3 => Item::Int(i64::from_be_bytes(take(from, 8)?.try_into().ok()?)),
        0xdc => {
            let count = take_length(from, 2)?;
            take_list(from, count, depth)?
        }
        0xdd => {
            let count = take_length(from, 4)?;
            take_list(from, count, depth)?
        }
        0xde => {
            let count = take_length(from, 2)?;
            take_map(from, count, depth)?
        }
        0xdf => {
            let count = take_length(from, 4)?;
            take_map(from, count, depth)?
        }
        0xe0..=0xff => Item::Int(i64::from(i8::from_be_bytes([tag]))),
        // Extensions and floats: no script of ours writes one.
        0xc1 | 0xc7..=0xcb | 0xd4..=0xd8 => return None,
    })
}

fn take_bytes(from: &mut &[u8], of_length: usize) -> Option<Item> {
    let count = take_length(from, of_length)?;
    take(from, count).map(Item::bytes)
}

fn take_list(from: &mut &[u8], count: usize, depth: usize) -> Option<Item> {
    // Room is made as items arrive: a length that lies costs nothing.
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(take_item(from, depth.saturating_add(1))?);
    }
    Some(Item::List(items))
}

fn take_map(from: &mut &[u8], count: usize, depth: usize) -> Option<Item> {
    let mut entries = Vec::new();
    for _ in 0..count {
        let Item::Bytes(name) = take_item(from, depth.saturating_add(1))? else { return None };
        entries.push((name, take_item(from, depth.saturating_add(1))?));
    }
    Some(Item::Map(entries))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            Just(Item::Nil),
            any::<bool>().prop_map(Item::Bool),
            any::<i64>().prop_map(Item::Int),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Item::Bytes),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let name = proptest::collection::vec(any::<u8>(), 0..9);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Item::List),
                proptest::collection::vec((name, inner), 0..20).prop_map(Item::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(item in items()) {
            prop_assert_eq!(Item::read(&item.write()), Some(item));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Item::read(&bytes);
        }
    }

    #[test]
    fn what_lua_writes_short_is_read() {
        for (bytes, number) in [
            (&[0x05_u8][..], 5),
            (&[0xff], -1),
            (&[0xcc, 0xfe], 254),
            (&[0xcd, 1, 0], 256),
            (&[0xd0, 0x80], -128),
            (&[0xd1, 0xff, 0], -256),
            (&[0xce, 0, 1, 0, 0], 65_536),
            (&[0xd2, 0xff, 0xff, 0, 0], -65_536),
        ] {
            assert_eq!(Item::read(bytes), Some(Item::Int(number)));
        }
        assert_eq!(Item::read(&[0x80]).as_ref().and_then(Item::items), Some(&[][..]));
        assert_eq!(Item::read(&[0xcb, 0, 0, 0, 0, 0, 0, 0, 0]), None, "a float");
    }
}

//! Which frames go by? Read from the bytes of a connection, in either direction, whole or in pieces.
//!
//! It looks and never changes a byte; what a frame means is the library's to say.

/// The kinds that somebody here asks for (RFC 9113 s6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Reset,
    Continuation,
    /// Settings, pings, priorities, windows, and whatever is not known.
    Other,
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::Reset,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

/// One frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Of its payload, in bytes.
    pub(super) length: u32,
    /// END_HEADERS (RFC 9113 s6.2), where the kind has it.
    pub(super) ends_headers: bool,
    /// END_STREAM of a head.
    pub(super) ends_stream: bool,
    /// The payload's first four bytes: the reason of a reset.
    pub(super) word: u32,
}

// RFC 9113 s4.1.
const HEAD: usize = 9;
const WORD: usize = 4;

/// Follows one direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes before the first frame.
    skip: usize,
    /// A head and the first word of its payload, as far as they came.
    start: [u8; HEAD + WORD],
    came: usize,
    /// Bytes of the payload that are still to come after `start`.
    left: u32,
    /// What they belong to.
    kind: Kind,
}

impl Frames {
    /// After `skip` bytes that are no frame.
    pub(super) fn after(skip: usize) -> Self {
        Self { skip, start: [0; HEAD + WORD], came: 0, left: 0, kind: Kind::Other }
    }

    /// Whether a frame of a head has begun and not ended.
    pub(super) fn is_inside_head(&self) -> bool {
        let begun = |kind| matches!(kind, Kind::Headers | Kind::Continuation);
        let [_, _, _, kind, ..] = self.start;
        (self.came >= HEAD && begun(Kind::of(kind))) || (self.left > 0 && begun(self.kind))
    }

    /// Takes the next bytes and calls `seen` for each frame whose head, and first word if it has one,
    /// is whole.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        let skipped = self.skip.min(bytes.len());
        self.skip = self.skip.saturating_sub(skipped);
        bytes = bytes.get(skipped..).unwrap_or_default();
        while !bytes.is_empty() {
            let rest = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            if rest > 0 {
                self.left = self.left.saturating_sub(u32::try_from(rest).unwrap_or(u32::MAX));
                bytes = bytes.get(rest..).unwrap_or_default();
                continue;
            }
            let (byte, more) = bytes.split_first().map_or((0, &[][..]), |(b, more)| (*b, more));
            bytes = more;
            if let Some(slot) = self.start.get_mut(self.came) {
                *slot = byte;
            }
            self.came = self.came.saturating_add(1);
            if let Some(frame) = self.whole() {
                let word = u32::try_from(self.came.saturating_sub(HEAD)).unwrap_or(0);
                self.left = frame.length.saturating_sub(word);
                self.kind = frame.kind;
                self.came = 0;
                seen(frame);
            }
        }
    }

    /// The frame, once its head is here and its first word, or as much of one as it has.
    fn whole(&self) -> Option<Frame> {
        if self.came < HEAD {
            return None;
        }
        let [a, b, c, kind, flags, _, _, _, _, word @ ..] = self.start;
        let length = u32::from_be_bytes([0, a, b, c]);
        let wanted = HEAD.saturating_add(usize::try_from(length).map_or(WORD, |n| n.min(WORD)));
        if self.came < wanted {
            return None;
        }
        let kind = Kind::of(kind);
        let headers = matches!(kind, Kind::Headers | Kind::Continuation);
        Some(Frame {
            kind,
            length,
            ends_headers: headers && flags & 0x4 != 0,
            ends_stream: kind == Kind::Headers && flags & 0x1 != 0,
            word: if length >= 4 { u32::from_be_bytes(word) } else { 0 },
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length.get(1..).unwrap().to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let mut bytes = b"preface".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(frame(1, 0x5, 1, b"headers"));
        bytes.extend(frame(0, 0x1, 1, &[7; 300]));
        bytes.extend(frame(3, 0, 0x8000_0003, &[0, 0, 0, 8]));
        bytes.extend(frame(9, 0, 5, b"abc"));
        let expected = [
            (Kind::Other, 0, false, false, 0),
            (Kind::Headers, 7, true, true, 0x6865_6164),
            (Kind::Data, 300, false, false, 0x0707_0707),
            (Kind::Reset, 4, false, false, 8),
            (Kind::Continuation, 3, false, false, 0),
        ];
        for size in [1, 2, 3, 5, 9, 13, 64, 1000] {
            let (mut frames, mut seen) = (Frames::after(7), Vec::new());
            for piece in bytes.chunks(size) {
                frames.take(piece, |f| {
                    seen.push((f.kind, f.length, f.ends_headers, f.ends_stream, f.word));
                });
            }
            assert_eq!(seen, expected, "{size}");
        }
    }

    #[test]
    fn a_head_is_open_until_its_last_byte() {
        for kind in [1, 9] {
            let bytes = frame(kind, 0x4, 1, &[7; 20]);
            let mut frames = Frames::after(0);
            for (place, byte) in bytes.iter().enumerate() {
                frames.take(&[*byte], |_| {});
                assert_eq!(frames.is_inside_head(), (8..28).contains(&place), "{place}");
            }
        }
        let mut frames = Frames::after(0);
        frames.take(frame(0, 0, 1, &[7; 20]).get(..15).unwrap(), |_| {});
        assert!(!frames.is_inside_head());
    }
}

//! How does a message stand on an HTTP/1.1 connection? Its lengths, its chunks, its header lines, as
//! both sides of us read and write them.
//!
//! Refuses what two readers could cut in two ways; never looks at what a body says.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderName;

/// BOUND: a chunk's size in hexadecimal digits; 8 are 4 GiB, far above every bound on bodies.
const SIZE_DIGITS_MAX: usize = 8;
/// BOUND: a chunk's line with its extensions, which nobody uses, in bytes.
const SIZE_LINE_MAX: usize = 256;
/// BOUND: all trailers together, in bytes; they are dropped.
const TRAILERS_MAX: usize = 8 << 10;

/// A body's length: digits and nothing else, no sign, no list, no leading zero (RFC 9110 s8.6).
pub fn length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let padded = value.len() > 1 && value.first() == Some(&b'0');
    let text = str::from_utf8(value).ok().filter(|_| digits && !padded)?;
    text.parse().ok()
}

/// Appends `Name: value` and the line's end, the name as most SDKs and servers write it.
pub fn field(out: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    let start = out.len();
    out.extend_from_slice(name);
    let written = out.get_mut(start..).unwrap_or_default();
    let behind_dashes = memchr::memchr_iter(b'-', name).map(|dash| dash.saturating_add(1));
    for first in std::iter::once(0).chain(behind_dashes) {
        if let Some(letter) = written.get_mut(first) {
            letter.make_ascii_uppercase();
        }
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `bytes` as one chunk (RFC 9112 s7.1). No bytes are none: an empty chunk would be the end.
pub fn chunk(out: &mut BytesMut, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A chunked body that is being read (RFC 9112 s7.1). Extensions and trailers are dropped.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// A chunk's line comes.
    #[default]
    Size,
    /// So many bytes of a chunk are still to come.
    Data(usize),
    /// The line's end behind a chunk.
    Behind,
    /// Trailers; so many bytes of them are gone.
    Trailers(usize),
    /// It is over.
    Done,
}

/// What is next in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of it.
    Data(Bytes),
    /// Nothing until more is read.
    More,
    /// That was all; what is left in the buffer is not its.
    End,
}

impl Chunked {
    /// Takes the next piece off `bytes`.
    ///
    /// # Errors
    ///
    /// What was expected there, when these are no chunks.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            match self.state {
                State::Size => match line(bytes, SIZE_LINE_MAX)? {
                    None => return Ok(Piece::More),
                    Some(line) => {
                        self.state = match size(&line)? {
                            0 => State::Trailers(0),
                            size => State::Data(size),
                        };
                    }
                },
                State::Data(_) if bytes.is_empty() => return Ok(Piece::More),
                State::Data(left) => {
                    let taken = left.min(bytes.len());
                    let rest = left.saturating_sub(taken);
                    self.state = if rest == 0 { State::Behind } else { State::Data(rest) };
                    return Ok(Piece::Data(bytes.split_to(taken).freeze()));
                }
                State::Behind => match bytes.get(..2) {
                    Some(b"\r\n") => {
                        bytes.advance(2);
                        self.state = State::Size;
                    }
                    Some(_) => return Err("expected CR LF behind a chunk"),
                    None => return Ok(Piece::More),
                },
                State::Trailers(gone) => match line(bytes, TRAILERS_MAX.saturating_sub(gone))? {
                    None => return Ok(Piece::More),
                    Some(line) if line.is_empty() => self.state = State::Done,
                    Some(line) => {
                        let gone = gone.saturating_add(line.len()).saturating_add(2);
                        self.state = State::Trailers(gone);
                    }
                },
                State::Done => return Ok(Piece::End),
            }
        }
    }
}

/// Takes a line off `bytes`, its CR LF left out; `None` when its end is not here yet.
fn line(bytes: &mut BytesMut, max: usize) -> Result<Option<Bytes>, &'static str> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > max { Err("expected a shorter line") } else { Ok(None) };
    };
    if end > max {
        return Err("expected a shorter line");
    }
    let line = bytes.split_to(end.saturating_add(1)).freeze();
    // RFC 9112 s2.2 lets a reader take a bare LF for a line's end, or not.
    match line.strip_suffix(b"\r\n") {
        Some(text) if !text.contains(&b'\r') => Ok(Some(line.slice_ref(text))),
        Some(_) | None => Err("expected lines that end in CR LF"),
    }
}

/// `chunk-size [ chunk-ext ]`: no blank, no sign, no prefix before or behind the digits.
fn size(line: &[u8]) -> Result<usize, &'static str> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let fits = (1..=SIZE_DIGITS_MAX).contains(&digits.len());
    let hex = digits.iter().all(u8::is_ascii_hexdigit);
    let text = str::from_utf8(digits).ok().filter(|_| fits && hex);
    let size = text.and_then(|text| usize::from_str_radix(text, 16).ok());
    size.ok_or("expected a chunk's size in hexadecimal digits")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    /// The body that `text` holds and what is left behind it, fed `step` bytes at a time.
    fn read(text: &str, step: usize) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let mut chunked = Chunked::default();
        let (mut bytes, mut body) = (BytesMut::new(), Vec::new());
        let mut parts = text.as_bytes().chunks(step);
        loop {
            match chunked.next(&mut bytes)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::More => bytes.extend_from_slice(parts.next().ok_or("more")?),
                Piece::End => {
                    let rest = parts.flatten().copied();
                    return Ok((body, bytes.iter().copied().chain(rest).collect()));
                }
            }
        }
    }

    #[test]
    fn chunks_become_a_body_however_they_come() {
        let long = format!("{:x}\r\n{}\r\n0\r\n\r\n", 5000, "y".repeat(5000));
        for (text, body, rest) in [
            ("0\r\n\r\n", "", ""),
            ("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", ""),
            ("A\r\n0123456789\r\n00\r\n\r\nGET /", "0123456789", "GET /"),
            ("3;a=\"b;c\"\r\nabc\r\n0;x\r\nX-Late: 1\r\nY: 2\r\n\r\nz", "abc", "z"),
            ("1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", "\r\n", ""),
            (&long, &"y".repeat(5000), ""),
        ] {
            for step in [1, 2, 3, 7, 100_000] {
                let expected = (body.as_bytes().to_vec(), rest.as_bytes().to_vec());
                assert_eq!(read(text, step), Ok(expected), "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn what_could_be_cut_in_two_ways_is_no_chunk() {
        for text in [
            "\r\n",
            "xyz\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            ";a\r\nabc\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\n",
            "3\r\nabc\r\n0\r\nX: y\n\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "100000000\r\nabc",
            "fffffffffffffffff\r\nabc",
        ] {
            for step in [1, 100] {
                let fault = read(text, step).unwrap_err();
                assert_ne!(fault, "more", "{text:?} by {step}");
            }
        }
        let extended = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(SIZE_LINE_MAX));
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(TRAILERS_MAX / 6 + 1));
        for text in [&extended, &trailers] {
            assert_ne!(read(text, 100).unwrap_err(), "more");
        }
        // Not over yet, and not wrong either.
        for text in
            ["", "3", "3\r", "3\r\nab", "3\r\nabc", "3\r\nabc\r\n", "0\r\n", "0\r\nX: y\r\n"]
        {
            assert_eq!(read(text, 1), Err("more"), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = BytesMut::new();
        for part in [&b"hello"[..], b"", b"\r\n0\r\n", &[b'x'; 300]] {
            chunk(&mut out, part);
        }
        out.extend_from_slice(LAST_CHUNK);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let (body, rest) = read(&text, 50).unwrap();
        assert_eq!((body.len(), rest.len()), (310, 0));
    }

    #[test]
    fn a_length_is_digits() {
        for (text, expected) in
            [("0", Some(0)), ("12", Some(12)), ("18446744073709551615", Some(u64::MAX))]
        {
            assert_eq!(length(text.as_bytes()), expected, "{text}");
        }
        for text in [
            "",
            "+1",
            "-1",
            "01",
            "00",
            "1x",
            " 1",
            "1 ",
            "1,1",
            "0x1",
            "18446744073709551616",
            "١",
        ] {
            assert_eq!(length(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_field_is_written_as_people_write_it() {
        let mut out = BytesMut::new();
        for name in ["content-type", "x-a--b", "etag"] {
            field(&mut out, &HeaderName::from_static(name), b"v");
        }
        assert_eq!(out, "Content-Type: v\r\nX-A--B: v\r\nEtag: v\r\n");
    }
}

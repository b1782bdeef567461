//! Where does a message end? As little of HTTP/1.1 as that takes: both sides of these connections are known.

use memchr::memmem;

/// The head of a message.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Its bytes, the empty line included.
    pub length: usize,
    /// How its body ends.
    pub body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Bytes(usize),
    Chunked,
}

/// The head at the start of `bytes`, once it is whole.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let length = memmem::find(bytes, b"\r\n\r\n")?.saturating_add(4);
    let mut body = Body::Bytes(0);
    for line in bytes.get(..length)?.split(|byte| *byte == b'\n').skip(1) {
        if let Some(value) = value(line, b"content-length:") {
            body = Body::Bytes(std::str::from_utf8(value).ok()?.trim().parse().ok()?);
        } else if value(line, b"transfer-encoding:").is_some() {
            body = Body::Chunked;
        }
    }
    Some(Head { length, body })
}

fn value<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

/// The length of the message at the start of `bytes`, once it is whole; what is missing of it otherwise
/// is at least one byte.
pub fn whole(bytes: &[u8], head: &Head) -> Option<usize> {
    match head.body {
        Body::Bytes(body) => {
            let end = head.length.saturating_add(body);
            (bytes.len() >= end).then_some(end)
        }
        Body::Chunked => {
            let mut at = head.length;
            loop {
                let rest = bytes.get(at..)?;
                let line = memmem::find(rest, b"\r\n")?;
                let size = std::str::from_utf8(rest.get(..line)?).ok()?;
                let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
                at = at.saturating_add(line).saturating_add(size).saturating_add(4);
                if size == 0 {
                    return (bytes.len() >= at).then_some(at);
                }
            }
        }
    }
}

/// The status of an answer.
pub fn status(bytes: &[u8]) -> Option<u16> {
    std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()
}

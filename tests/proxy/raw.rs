//! HTTP/2 by hand: frames and heads as bytes, so that nothing mends or refuses them on the way.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::agent::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

/// RFC 9113 s7.
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface and settings.
pub fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    // RFC 7541 s5.1, a prefix of 7 bits.
    let mut left = bytes.len();
    if left < 127 {
        out.push(left as u8);
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push((left % 128) as u8 | 128);
            left /= 128;
        }
        out.push(left as u8);
    }
    out.extend(bytes);
}

/// A head, each field literal and not indexed (RFC 7541 s6.2.2).
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(name.as_ref(), &mut out);
        text(value.as_ref(), &mut out);
    }
    out
}

/// HEADERS and as many CONTINUATION as it takes.
pub fn head(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(16 << 10).peekable();
    let mut out = Vec::new();
    let mut kind = (HEADERS, flags);
    loop {
        let piece = pieces.next().unwrap_or_default();
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        out.extend(frame(kind.0, kind.1 | last, stream, piece));
        if last != 0 {
            return out;
        }
        kind = (CONTINUATION, 0);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The reason of a RST_STREAM or a GOAWAY.
    pub fn reason(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of the first answer on a connection: the first field of its block, which is in the
    /// static table, or literal with its digits coded (RFC 7541, appendix B).
    pub fn status(&self) -> u16 {
        match self.payload[0] {
            0x88 => 200,
            0x89 => 204,
            0x8b => 304,
            0x8c => 400,
            0x8d => 404,
            0x8e => 500,
            0x48 if self.payload[1] & 0x80 != 0 => {
                let coded = &self.payload[2..2 + usize::from(self.payload[1] & 0x7f)];
                let mut bits = coded.iter().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1));
                let mut digits = String::new();
                while digits.len() < 3 {
                    let mut take =
                        |n: usize| (0..n).fold(0_u8, |a, _| a << 1 | bits.next().unwrap());
                    let five = take(5);
                    let digit = if five < 3 { five } else { (five << 1 | take(1)) - 0b01_1001 + 3 };
                    digits.push(char::from(b'0' + digit));
                }
                digits.parse().unwrap()
            }
            0x48 => String::from_utf8_lossy(&self.payload[2..5]).parse().unwrap(),
            other => panic!("no status: {other:x}"),
        }
    }
}

/// The next frame; `None` at the end.
pub async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream: id, payload })
    };
    timeout(PATIENCE, read).await.expect("a frame, or the end")
}

/// What became of a stream, or of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// The first thing that is said of `id`, or of the connection.
pub async fn fate(stream: &mut (impl AsyncRead + Unpin), id: u32) -> Fate {
    loop {
        match next(stream).await {
            None => return Fate::Closed,
            Some(f) if f.kind == HEADERS && f.stream == id => return Fate::Status(f.status()),
            Some(f) if f.kind == RESET && f.stream == id => return Fate::Reset(f.reason()),
            Some(f) if f.kind == GOAWAY => return Fate::GoAway(f.reason()),
            Some(_) => {}
        }
    }
}

/// Reads on until the other side closes; the frames that came.
pub async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = next(stream).await {
        frames.push(frame);
    }
    frames
}

/// Polls until it holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

//! What is said on one connection? One HTTP/1.1 request, and its answer to the end.
//!
//! Never sends twice, never takes a piece of an answer for all of it.

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::head::{self, ANSWER_HEAD_BYTES_MAX, Came, Ends};
use super::pump::Source;
use crate::framing::Piece;

// BOUND: interim answers before the real one. One is usual (100), more than a few is a flood.
pub(super) const INTERIM_MAX: usize = 8;
// BOUND: what is read at once; most answers fit.
const ROOM: usize = 8 << 10;
// BOUND: a body up to this size goes out in one piece with its head.
const GATHERED_MAX: usize = 16 << 10;

/// A connection with one request on it.
pub(super) struct Http1 {
    stream: Stream,
    /// What was read and not taken yet.
    bytes: BytesMut,
    ends: Ends,
}

/// Why there is no answer.
pub(super) enum Lost {
    /// The connection ended before a byte of it came.
    Unanswered(&'static str),
    /// Something came that is no answer, or not all of one.
    Otherwise(String),
}

impl Lost {
    pub(super) fn why(self) -> String {
        match self {
            Self::Unanswered(doing) => format!("{doing}: the connection ended"),
            Self::Otherwise(why) => why,
        }
    }
}

/// A request as it goes onto the wire.
#[derive(Clone)]
pub(super) struct Written {
    method: Method,
    head: Bytes,
    /// What did not fit beside the head.
    body: Bytes,
}

impl Written {
    /// # Errors
    /// Why it cannot be sent.
    pub(super) fn new(send: &super::Outgoing, authority: &str) -> Result<Self, String> {
        let gathered = if send.body.len() <= GATHERED_MAX { send.body.len() } else { 0 };
        // BOUND: a request line, a token and some ten fields.
        let mut out = BytesMut::with_capacity(gathered.saturating_add(1 << 10));
        head::request(&mut out, send, authority)?;
        let body = if send.body.len() <= GATHERED_MAX {
            out.extend_from_slice(&send.body);
            Bytes::new()
        } else {
            send.body.clone()
        };
        Ok(Self { method: send.method.clone(), head: out.freeze(), body })
    }
}

impl Http1 {
    pub(super) fn on(stream: Stream) -> Self {
        Self { stream, bytes: BytesMut::new(), ends: Ends::Here }
    }

    /// Sends the request and reads the answer's head.
    pub(super) async fn ask(&mut self, request: &Written) -> Result<Came, Lost> {
        self.send(request).await.map_err(|_| Lost::Unanswered("sending the request"))?;
        for _ in 0..=INTERIM_MAX {
            let mut came = self.head(&request.method).await?;
            match came.status {
                101 => {
                    let why = "the upstream switched protocols unasked";
                    return Err(Lost::Otherwise(why.to_owned()));
                }
                100..=199 => {}
                200..=999 => {
                    self.ends = std::mem::replace(&mut came.ends, Ends::Here);
                    return Ok(came);
                }
                _ => return Err(Lost::Otherwise("no status".to_owned())),
            }
        }
        Err(Lost::Otherwise(format!("more than {INTERIM_MAX} interim answers")))
    }

    async fn send(&mut self, request: &Written) -> std::io::Result<()> {
        self.stream.write_all(&request.head).await?;
        if !request.body.is_empty() {
            self.stream.write_all(&request.body).await?;
        }
        self.stream.flush().await
    }

    async fn head(&mut self, method: &Method) -> Result<Came, Lost> {
        loop {
            if !self.bytes.is_empty() {
                let read = self.bytes.split().freeze();
                let came = head::response(&read, method).map_err(Lost::Otherwise)?;
                if let Some((came, length)) = came {
                    self.bytes = BytesMut::from(read.slice(length..));
                    return Ok(came);
                }
                // Nobody else holds these bytes, so they are not copied.
                self.bytes = BytesMut::from(read);
            }
            let room = ROOM.min(ANSWER_HEAD_BYTES_MAX);
            self.bytes.reserve(room);
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(1..) => {}
                Ok(_) | Err(_) if self.bytes.is_empty() => {
                    return Err(Lost::Unanswered("reading the head"));
                }
                Ok(_) | Err(_) => return Err(Lost::Otherwise(ended("head"))),
            }
        }
    }

    /// The whole body, if it came along with its head.
    pub(super) fn at_once(&mut self) -> Option<Bytes> {
        let length = match self.ends {
            Ends::Here => 0,
            Ends::After(length) if length <= self.bytes.len() => length,
            Ends::After(_) | Ends::Chunks(_) | Ends::Close => return None,
        };
        self.ends = Ends::Here;
        Some(self.bytes.split_to(length).freeze())
    }

    /// The whole body, of `max` bytes at most.
    pub(super) async fn body(&mut self, max: usize) -> Result<Bytes, String> {
        let large = || format!("the answer is larger than {max} bytes");
        if let Ends::After(length) = self.ends {
            if length > max {
                return Err(large());
            }
            while self.bytes.len() < length {
                self.more(length.saturating_sub(self.bytes.len())).await?;
            }
            self.ends = Ends::Here;
            return Ok(self.bytes.split_to(length).freeze());
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if chunk.len() > max.saturating_sub(whole.len()) {
                return Err(large());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    async fn more(&mut self, room: usize) -> Result<(), String> {
        // BOUND: who only promises a body takes little.
        self.bytes.reserve(room.min(64 << 10));
        match self.stream.read_buf(&mut self.bytes).await {
            Ok(1..) => Ok(()),
            Ok(_) | Err(_) => Err(ended("body")),
        }
    }

    /// The connection, when its answer was read to the end and nothing came behind it.
    pub(super) fn into_free(self) -> Option<Stream> {
        let over = matches!(self.ends, Ends::Here) && !self.bytes.has_remaining();
        over.then_some(self.stream)
    }
}

impl Source for Http1 {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            match &mut self.ends {
                Ends::Here => return Ok(None),
                Ends::After(_) if self.bytes.is_empty() => self.more(ROOM).await?,
                Ends::After(left) => {
                    let taken = self.bytes.len().min(*left);
                    let rest = left.saturating_sub(taken);
                    self.ends = if rest == 0 { Ends::Here } else { Ends::After(rest) };
                    return Ok(Some(self.bytes.split_to(taken).freeze()));
                }
                Ends::Chunks(chunked) => match chunked.next(&mut self.bytes)? {
                    Piece::Data(bytes) => return Ok(Some(bytes)),
                    Piece::More => self.more(ROOM).await?,
                    Piece::End => self.ends = Ends::Here,
                },
                Ends::Close if self.bytes.is_empty() => {
                    self.bytes.reserve(ROOM);
                    match self.stream.read_buf(&mut self.bytes).await {
                        Ok(1..) => {}
                        Ok(_) => self.ends = Ends::Here,
                        Err(_) => return Err(ended("body")),
                    }
                }
                Ends::Close => return Ok(Some(self.bytes.split().freeze())),
            }
        }
    }
}

// SECURITY: only what was read is told. An error's text may hold bytes of the answer.
fn ended(part: &str) -> String {
    format!("reading the {part}: the connection ended")
}

//! How does a command ask a console behind a Unix socket? One request on one connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;

use crate::bounds::ANSWER_BYTES_MAX;
use crate::outbound::Outgoing;

/// BOUND: a listing of a slow store; the console answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends it: the status and the body.
pub(super) fn ask(path: &Path, send: &Outgoing) -> anyhow::Result<(u16, Bytes)> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n",
        send.method,
        send.target,
        send.body.len()
    )
    .into_bytes();
    for (name, value) in &send.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(&send.body);
    // Who is turned away is answered before the body is read: what came back tells, not the writing.
    let sent = stream.write_all(&head);
    let mut answer = Vec::new();
    // BOUND: one byte more than is taken, so that too much shows.
    let most = u64::try_from(ANSWER_BYTES_MAX)?.saturating_add(1);
    let got = stream.take(most).read_to_end(&mut answer);
    if answer.len() > ANSWER_BYTES_MAX {
        bail!("the answer is too large");
    }
    match read(&answer) {
        Ok(whole) => Ok(whole),
        Err(why) => {
            sent?;
            got?;
            Err(why)
        }
    }
}

fn read(answer: &[u8]) -> anyhow::Result<(u16, Bytes)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no whole answer")?;
    let (head, rest) = answer.split_at(end);
    let head = std::str::from_utf8(head).context("the head of the answer is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
    let length = lines.filter_map(|line| line.split_once(':'));
    let length = length.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.context("the answer has no length")?.1.trim().parse()?;
    let body = rest.get(4..).unwrap_or_default();
    let body = body.get(..length).context("the answer broke off")?;
    Ok((status.parse()?, Bytes::copy_from_slice(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_is_one() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nContent-Length: 2\r\n\r\n{}";
        assert!(read(whole).is_ok_and(|(status, body)| status == 200 && &*body == b"{}"));
        for cut in [20, whole.len().saturating_sub(1)] {
            assert!(read(whole.get(..cut).unwrap_or_default()).is_err(), "{cut}");
        }
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n{}").is_err());
    }
}

//! A chunked body is the same however its bytes come, and where it ends what is left is left alone.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tollhouse_fuzz::framing::{Chunked, Piece};

/// The body and what is left behind it, when it has an end; fed `step` bytes at a time.
fn read(bytes: &[u8], step: usize) -> Result<Option<(Vec<u8>, Vec<u8>)>, &'static str> {
    let (mut chunked, mut held, mut body) = (Chunked::default(), BytesMut::new(), Vec::new());
    let mut parts = bytes.chunks(step);
    loop {
        match chunked.next(&mut held)? {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::More => match parts.next() {
                Some(part) => held.extend_from_slice(part),
                None => return Ok(None),
            },
            Piece::End => {
                let rest = parts.flatten().copied();
                return Ok(Some((body, held.iter().copied().chain(rest).collect())));
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1));
    for step in [1, 2, 7] {
        // A line too long is found as soon as it is; what is wrong is wrong all the same.
        match (&whole, read(bytes, step)) {
            (Ok(whole), Ok(parts)) => assert_eq!(*whole, parts, "by {step}"),
            (Err(_), Err(_)) => {}
            (whole, parts) => panic!("by {step}: {parts:?}, and at once {whole:?}"),
        }
    }
});

//! An accepted target means the same to the `url` crate (which normalises) and to `http` (which does
//! not). One line each: method, target, then headers.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use tollhouse_fuzz::agree::assert_same_target;
use tollhouse_fuzz::call::Request;
use tollhouse_fuzz::wire;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|b| *b == b'\n');
    let Ok(method) = Method::from_bytes(lines.next().unwrap_or(b"")) else { return };
    let Ok(target) = std::str::from_utf8(lines.next().unwrap_or(b"")) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("tollhouse.test"));
    for line in lines {
        let mut parts = line.splitn(2, |b| *b == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or(b""));
        let value = HeaderValue::from_bytes(parts.next().unwrap_or(b""));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let _ = wire::context(&headers);
    let body = bytes::Bytes::new();
    let request = Request { listener: 0, method, target: target.into(), headers, body, peer: None };
    let Ok(head) = wire::head(&request) else { return };
    assert_same_target(&request.target, &head.path, &head.query);
});

//! An accepted form means the same to form_urlencoded.
#![no_main]

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use tollhouse_fuzz::agree::assert_same_form;
use tollhouse_fuzz::value::Syntax;
use tollhouse_fuzz::wire;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Ok(payload) = wire::payload(Syntax::Form, &headers, data) {
        assert_same_form(&payload.root, data);
        let _ = wire::parameters(&payload.root, &payload);
    }
    // A multipart body is only cut; it must not panic either.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=b"));
    let _ = wire::payload(Syntax::Multipart, &headers, data);
});

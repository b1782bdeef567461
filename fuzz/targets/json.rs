//! Accepted JSON means the same to serde_json, and its canonical form is its own.
#![no_main]

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use tollhouse_fuzz::agree::assert_same_json;
use tollhouse_fuzz::value::Syntax;
use tollhouse_fuzz::wire;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let asked = wire::payload(Syntax::Json, &headers, data);
    let answered = wire::answer(data);
    if let Ok(payload) = &asked
        && !data.is_empty()
    {
        assert_eq!(answered.as_ref(), Ok(&payload.root), "an answer is read no more strictly");
    }
    if let Ok(value) = answered {
        let theirs =
            serde_json::from_slice::<serde_json::Value>(data).expect("accepted by us only");
        assert_same_json(&value, &theirs);
    }
});

//! Accepted JSON means the same to serde_json, and its canonical form is its own; an outline of it refuses
//! the same, and says the same where it looks.
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
    let way = [Box::from("a")];
    let outlined = wire::outline_of(&headers, data, [&way[..]]);
    assert_eq!(outlined.is_ok(), answered.is_ok(), "an outline refuses what the whole reading does");
    if let (Ok(outlined), Ok(value)) = (&outlined, &answered) {
        assert_eq!(outlined.member("a"), value.member("a"), "and says the same where it looks");
    }
    if let Ok(value) = answered {
        let theirs =
            serde_json::from_slice::<serde_json::Value>(data).expect("accepted by us only");
        assert_same_json(&value, &theirs);
    }
});

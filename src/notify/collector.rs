//! Who is told how it goes? A collector of OpenTelemetry, over OTLP/HTTP.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use super::Place;
use crate::credentials::Kept;
use crate::outbound::Outgoing;

/// A collector.
#[derive(Debug)]
pub struct Collector {
    /// Where it is; each signal has a path of its own there.
    pub place: Place,
    /// What it wants to see: perhaps keys.
    pub headers: Vec<(HeaderName, Kept)>,
}

impl Collector {
    /// One batch of a signal; `None` when a header went bad since.
    pub fn message(&self, signal: &str, body: Bytes) -> Option<Outgoing> {
        // opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Request".
        let proto = HeaderValue::from_static("application/x-protobuf");
        let mut headers = vec![
            (header::CONTENT_TYPE, proto),
            (header::USER_AGENT, HeaderValue::from_static("tollhouse")),
        ];
        for (name, kept) in &self.headers {
            let mut value = kept.open().expose(HeaderValue::from_bytes).ok()?;
            value.set_sensitive(true);
            headers.push((name.clone(), value));
        }
        let base =
            self.place.target.expose(|bytes| str::from_utf8(bytes).map(str::to_owned)).ok()?;
        let target = format!("{}/v1/{signal}", base.trim_end_matches('/'));
        Some(Outgoing { method: Method::POST, target: target.into(), headers, body })
    }
}

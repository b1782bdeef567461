//! How is it told how it goes? `telemetry:`
//!
//! Never repeats a header's value: it may be a key.

use std::path::Path;
use std::sync::Arc;

use super::Files;
use crate::clock::Clock;
use crate::credentials::{Kept, Reference, Secret};
use crate::notify::{Collector, Place};
use crate::telemetry::{LogFormat, Tracing, Values};
use crate::yaml::{Node, Section, Shape};

/// Of reads that nobody else traces, so many in a thousand, where nothing is said: enough to see how long they take.
const READS: u16 = 10;
/// BOUND: a collector's own name and key.
const HEADERS_MAX: usize = 8;

/// How it is told.
#[derive(Debug, Clone)]
pub struct TelemetrySection {
    /// How log lines look.
    pub log: LogFormat,
    /// Which calls a collector is told of, and what.
    pub tracing: Option<Tracing>,
    /// Who is told.
    pub collector: Option<Arc<Collector>>,
    /// Where that is, as it is written.
    said: String,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { log: LogFormat::Json, tracing: None, collector: None, said: String::new() }
    }
}

impl PartialEq for TelemetrySection {
    fn eq(&self, other: &Self) -> bool {
        (self.log, &self.tracing, &self.said) == (other.log, &other.tracing, &other.said)
    }
}

impl TelemetrySection {
    /// Log lines and nothing else.
    pub fn logging(log: LogFormat) -> Self {
        Self { log, ..Self::default() }
    }

    /// What is worth saying of it.
    pub fn described(&self) -> Option<String> {
        let tracing = self.tracing.as_ref()?;
        let reads = match tracing.reads {
            None => "no traces".to_owned(),
            Some(share) => format!(
                "effects, refusals, what its callers trace, and {}.{} % of the other reads",
                share / 10,
                share % 10
            ),
        };
        let logs = if tracing.logs { ", log lines" } else { "" };
        let values = if tracing.values == Values::Told {
            "; with customers, resources and amounts"
        } else {
            ""
        };
        Some(format!("telemetry: a collector is told of {reads}{logs}{values}"))
    }
}

/// Reads `telemetry:`.
pub(super) fn read(top: &Section<'_>, base: &Path, files: &mut Files) -> TelemetrySection {
    let Some(section) = top.section("telemetry") else { return TelemetrySection::default() };
    let log = section.optional("log", |n| match n.text()? {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        other => Err(format!("expected `json` or `text`, got `{other}`")),
    });
    let mut read = TelemetrySection::logging(log.unwrap_or(LogFormat::Json));
    if let Some(node) = section.node("otlp") {
        otlp(&section, node, (base, files), &mut read);
    }
    section.finish();
    read
}

fn otlp(
    section: &Section<'_>,
    node: &Node,
    (base, files): (&Path, &mut Files),
    read: &mut TelemetrySection,
) {
    let usual = Tracing { reads: Some(READS), logs: true, values: Values::Withheld };
    let (place, headers) = if let Shape::Map(_) = node.shape {
        let one = section.faults().section(node, &section.path("otlp"));
        let insecure = one.optional("insecure", Node::bool).unwrap_or(false);
        let url = match insecure {
            true => one.required("url", url),
            false => one.required("url", safe_url),
        };
        let ca = one.optional("ca", |n| Ok(base.join(n.text()?)));
        ca.iter().for_each(|path| files.add(path));
        read.said = one.node("url").and_then(|n| n.text().ok()).unwrap_or_default().to_owned();
        read.tracing = Some(Tracing {
            reads: one.optional("traces", share).unwrap_or(usual.reads),
            logs: one.optional("logs", Node::bool).unwrap_or(usual.logs),
            values: match one.optional("values", Node::bool).unwrap_or(false) {
                true => Values::Told,
                false => Values::Withheld,
            },
        });
        let headers = headers(&one, base);
        one.finish();
        let place = match (url, ca) {
            (Some(url), Some(ca)) => Some(url.trusting(ca)),
            (url, _) => url,
        };
        (place, headers)
    } else {
        read.tracing = Some(usual);
        read.said = node.text().unwrap_or_default().to_owned();
        (section.required("otlp", safe_url), Vec::new())
    };
    read.collector = place.map(|place| Arc::new(Collector { place, headers }));
}

/// Nothing of it is read on the way.
fn safe_url(node: &Node) -> Result<Place, String> {
    let place = url(node)?;
    if place.is_in_the_clear() {
        return Err(
            "would tell it in the clear; expected `https://..`, or `{ url: .., insecure: true }` if that is meant"
                .to_owned(),
        );
    }
    Ok(place)
}

fn url(node: &Node) -> Result<Place, String> {
    let text = node.text()?;
    let expected = || format!("expected a URL such as `http://127.0.0.1:4318`, got `{text}`");
    let place = Secret::new(text.trim_end_matches('/').as_bytes().to_vec())
        .and_then(|secret| Place::parse(&secret))
        .map_err(|_| expected())?;
    if text.contains(['?', '#']) {
        return Err(expected());
    }
    Ok(place)
}

/// `all`, `none`, or a share of the reads.
fn share(node: &Node) -> Result<Option<u16>, String> {
    match node.text()? {
        "all" => Ok(Some(1000)),
        "none" => Ok(None),
        text if text.ends_with('%') => node.per_mille().map(Some),
        other => Err(format!("expected `all`, `none` or a share such as `10%`, got `{other}`")),
    }
}

fn headers(one: &Section<'_>, base: &Path) -> Vec<(http::HeaderName, Kept)> {
    let Some(section) = one.section("headers") else { return Vec::new() };
    let mut headers = Vec::new();
    for (name, node) in section.entries() {
        let value = node.text().and_then(|text| Reference::parse(text, base));
        let kept =
            value.and_then(|reference| Kept::load(&reference, &super::environment, Clock::System));
        match (http::HeaderName::from_bytes(name.as_bytes()), kept) {
            (Ok(_), Ok(_)) if headers.len() >= HEADERS_MAX => {
                section.fault(name, format!("expected at most {HEADERS_MAX} headers"));
            }
            (Ok(name), Ok(kept)) => headers.push((name, kept)),
            (Err(_), _) => section.fault(name, "is no header name"),
            (_, Err(why)) => section.fault(name, why),
        }
    }
    headers
}

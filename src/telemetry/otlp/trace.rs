//! How long did each stage of a call take, and whose trace is it part of? W3C trace context, level 1.
//!
//! Never allocates for a call that is not traced, and never holds a word of one.

use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use super::proto::Message;
use crate::clock::Timestamp;

/// BOUND: a call whose facts keep changing is judged three times.
const STAGES_MAX: usize = 24;
/// opentelemetry/proto/trace/v1: bits of `flags`; the lowest eight are those of `traceparent`.
const SAMPLED: u32 = 1;

/// A value of a span or a log line.
#[derive(Debug, Clone)]
pub enum Attribute<'a> {
    /// A text.
    Text(&'a str),
    /// A text that was made for it.
    Own(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Several texts.
    Texts(Vec<&'a str>),
}

/// The span that the caller is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    trace: [u8; 16],
    span: [u8; 8],
    /// Whether its caller keeps it.
    pub is_sampled: bool,
}

impl Parent {
    /// Reads `traceparent`; one that is not valid is none (W3C trace context s4.3).
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all("traceparent").iter();
        let bytes = all.next()?.as_bytes();
        // SECURITY: of two nobody knows which the others believe.
        if all.next().is_some() {
            return None;
        }
        let (version, rest) = (hex::<1>(bytes.get(..2)?)?, bytes.get(2..)?);
        let fields = rest.get(..53)?;
        let dashes = [0, 33, 50].iter().all(|at| fields.get(*at) == Some(&b'-'));
        let is_whole = match version {
            [0] => rest.len() == 53,
            [0xff] => false,
            _ => matches!(rest.get(53), None | Some(b'-')),
        };
        let trace = hex::<16>(fields.get(1..33)?)?;
        let span = hex::<8>(fields.get(34..50)?)?;
        let [flags] = hex::<1>(fields.get(51..53)?)?;
        let is_valid = dashes && is_whole && trace != [0; 16] && span != [0; 8];
        is_valid.then_some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

/// Lower case only (W3C trace context s3.2.2).
pub(in crate::telemetry) fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |b: &u8| match b {
        b'0'..=b'9' => Some(b & 15),
        b'a'..=b'f' => Some((b & 15).saturating_add(9)),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = (digit(pair.first()?)? << 4) | digit(pair.get(1)?)?;
    }
    Some(bytes)
}

/// What a part of a call is called.
pub type Stage = &'static str;

/// opentelemetry/proto/trace/v1: SpanKind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A stage of ours.
    Internal = 1,
    /// The call as it came.
    Server = 2,
    /// The call as it went.
    Client = 3,
}

/// A call that is traced.
#[derive(Debug)]
pub struct Trace {
    id: [u8; 16],
    parent: Option<[u8; 8]>,
    root: u64,
    since: Duration,
    stages: Mutex<Vec<Span>>,
    hex: Box<str>,
}

#[derive(Debug)]
struct Span {
    stage: Stage,
    kind: Kind,
    begun: Duration,
    ended: Duration,
    attributes: Vec<(&'static str, Attribute<'static>)>,
}

/// Bits that nobody guesses; on a system that gives none they are all the same, and traces run together.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    let _filled = SystemRandom::new().fill(&mut bytes).is_ok();
    u64::from_le_bytes(bytes)
}

/// SplitMix64's last step: near numbers become far ones.
pub(super) fn mixed(turn: u64) -> u64 {
    let mut bits = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Trace {
    /// A call that came at `since`, by the steady clock.
    pub fn new(parent: Option<Parent>, since: Duration) -> Self {
        let id = parent.map_or_else(
            || ((u128::from(random()) << 64) | u128::from(random().max(1))).to_be_bytes(),
            |parent| parent.trace,
        );
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let parent = parent.map(|parent| parent.span);
        let stages = Mutex::new(Vec::with_capacity(12));
        Self { id, parent, root: random().max(1), since, stages, hex: hex.into() }
    }

    /// The trace's id, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.hex
    }

    /// Whether it goes on with the agent's own.
    pub fn is_joined(&self) -> bool {
        self.parent.is_some()
    }

    /// The id of the span that the whole call is, in hexadecimal.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.root)
    }

    /// A span's id: the first is the whole call, the second the way to the upstream.
    fn span(&self, number: u64) -> [u8; 8] {
        match number {
            0 => self.root.to_be_bytes(),
            number => mixed(self.root.wrapping_add(number)).max(1).to_be_bytes(),
        }
    }

    /// `traceparent` for the upstream: the span that leads there.
    pub fn handed_on(&self) -> String {
        let span = u64::from_be_bytes(self.span(1));
        format!("00-{}-{span:016x}-01", self.hex)
    }

    /// A stage has passed.
    pub fn passed(&self, stage: Stage, begun: Duration, ended: Duration) {
        self.put(Span { stage, kind: Kind::Internal, begun, ended, attributes: Vec::new() });
    }

    /// The upstream had it.
    pub fn away(
        &self,
        (begun, ended): (Duration, Duration),
        attributes: Vec<(&'static str, Attribute<'static>)>,
    ) {
        self.put(Span { stage: "upstream", kind: Kind::Client, begun, ended, attributes });
    }

    fn put(&self, span: Span) {
        let mut stages = self.stages.lock();
        if stages.len() < STAGES_MAX {
            stages.push(span);
        }
    }

    /// How many spans it has.
    pub(super) fn spans(&self) -> u64 {
        u64::try_from(self.stages.lock().len()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Appends its spans; `now` is the same moment by both clocks. A name in `root` stands for its span's name.
    pub(super) fn lay_out(
        &self,
        root: &[(&'static str, Attribute<'_>)],
        (at, now): (Timestamp, Duration),
        out: &mut Vec<u8>,
    ) {
        let nanos = |steady: Duration| {
            let since = now.saturating_sub(steady).as_nanos();
            let at = u128::try_from(at.0.max(0)).unwrap_or(0).saturating_mul(1_000_000);
            u64::try_from(at.saturating_sub(since)).unwrap_or(u64::MAX)
        };
        let name = root.iter().find_map(|(name, value)| match (*name, value) {
            (NAME, Attribute::Own(text)) => Some(text.as_str()),
            _ => None,
        });
        let is_failed = |all: &[(&str, Attribute<'_>)]| all.iter().any(|(name, _)| *name == ERROR);
        let mut message = Message::on(out);
        message.message(2, |m| {
            m.bytes(1, &self.id);
            m.bytes(2, &self.span(0));
            if let Some(parent) = &self.parent {
                m.bytes(4, parent);
            }
            m.text(5, name.unwrap_or("call"));
            m.number(6, Kind::Server as u64);
            m.fixed_64(7, nanos(self.since));
            m.fixed_64(8, nanos(now));
            for (name, value) in root.iter().filter(|(name, _)| *name != NAME) {
                m.attribute(9, name, value);
            }
            if is_failed(root) {
                failed(m);
            }
            m.fixed_32(16, SAMPLED);
        });
        let mut number = 2_u64;
        for span in self.stages.lock().iter() {
            let own = match span.kind {
                Kind::Client => 1,
                Kind::Internal | Kind::Server => {
                    number = number.saturating_add(1);
                    number
                }
            };
            message.message(2, |m| {
                m.bytes(1, &self.id);
                m.bytes(2, &self.span(own));
                m.bytes(4, &self.span(0));
                m.text(5, span.stage);
                m.number(6, span.kind as u64);
                m.fixed_64(7, nanos(span.begun));
                m.fixed_64(8, nanos(span.ended));
                for (name, value) in &span.attributes {
                    m.attribute(9, name, value);
                }
                if is_failed(&span.attributes) {
                    failed(m);
                }
                m.fixed_32(16, SAMPLED);
            });
        }
    }
}

/// Not an attribute: what the call's span is called.
pub(crate) const NAME: &str = "";
/// Semantic conventions, "error.type": whoever has it has failed.
pub(crate) const ERROR: &str = "error.type";

/// opentelemetry/proto/trace/v1: Status; unset where nothing failed.
fn failed(m: &mut Message<'_>) {
    m.message(15, |m| m.number(3, 2));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_a_valid_parent_is_one() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (text, expected) in [
            (format!("00-{trace}-{span}-01"), Some(true)),
            (format!("00-{trace}-{span}-00"), Some(false)),
            (format!("00-{trace}-{span}-03"), Some(true)),
            (format!("cc-{trace}-{span}-01-what-comes"), Some(true)),
            (format!("cc-{trace}-{span}-01"), Some(true)),
            (format!("cc-{trace}-{span}-01.what"), None),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00_{trace}-{span}-01"), None),
            (format!("00-{trace}-{span}-0g"), None),
            (format!("00-{trace}-{span}"), None),
            ("00".to_owned(), None),
            (String::new(), None),
            ("é".repeat(30), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("traceparent", HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let read = Parent::of(&headers).map(|parent| parent.is_sampled);
            assert_eq!(read, expected, "{text}");
            headers.append("traceparent", HeaderValue::from_static("00"));
            assert_eq!(Parent::of(&headers), None, "two");
        }
    }

    #[test]
    fn spans_have_names_of_their_own() {
        let trace = Trace::new(None, Duration::ZERO);
        let ids: std::collections::BTreeSet<_> = (0..30).map(|n| trace.span(n)).collect();
        assert_eq!(ids.len(), 30);
        assert!(!ids.contains(&[0; 8]));
        assert_ne!(trace.id(), Trace::new(None, Duration::ZERO).id());
    }
}

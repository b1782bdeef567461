//! What does a person see of an operation besides its record? The sealed request, the contract's numbers,
//! what is in the way now.
//!
//! Reads only; what is shown is bounded and masked.

use std::sync::Arc;

use crate::approval::{Objection, Operator};
use crate::breaker::Shown;
use crate::call::{Caller, Facts, OperationId};
use crate::clock::Timestamp;
use crate::contract::{Budget, Contract};
use crate::gate::Gate;
use crate::gate::parcel::Parcel;
use crate::store::{Freeze, Record};

/// BOUND: as much of a held body as a person reads; the rest is said to be missing.
const BODY_CHARS_MAX: usize = 4_000;
/// BOUND: lines of it.
const BODY_LINES_MAX: usize = 80;

/// What a held call would send, line by line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShownRequest {
    /// Method and target.
    pub line: String,
    /// What goes along, in order.
    pub headers: Vec<(String, String)>,
    /// The body, a value a line.
    pub body: Option<String>,
}

/// What is sealed with a hold, opened for the person who answers it.
#[derive(Debug)]
pub struct Opened {
    /// What would be sent.
    pub request: ShownRequest,
    /// Who asked, as their token said.
    pub caller: Caller,
    /// What the systems of record said then.
    pub facts: Facts,
}

/// The road to an upstream, as an operator looks at it.
#[derive(Debug, Clone)]
pub struct RoadSeen {
    /// Which upstream.
    pub name: Arc<str>,
    /// What its breaker says.
    pub shown: Shown,
    /// Its actions whose own breaker is not closed.
    pub shut: Vec<(Arc<str>, Shown)>,
    /// How many calls are on it.
    pub lanes: crate::breaker::lanes::Seen,
}

impl Gate {
    /// What a held call would send, and who asked; `None` when it is not kept any more.
    pub async fn opened(&self, op: OperationId) -> Option<Opened> {
        let parcel = Parcel::open(&self.store.request(op).await.ok()??)?;
        let sort = parcel.header("content-type").unwrap_or_default().to_owned();
        let headers =
            parcel.sent().filter(|(name, _)| *name != "host" && *name != "content-length");
        let request = ShownRequest {
            // SECURITY: it is the agent's text: nothing in it may steer a page, no secret is shown.
            line: crate::redact::bounded(&crate::redact::mask(&parcel.line()), 500),
            headers: headers
                .map(|(name, value)| (name.to_owned(), crate::redact::text(value)))
                .collect(),
            body: parcel.body_text().map(|body| lines(&sort, &body)),
        };
        Some(Opened { request, caller: parcel.caller, facts: parcel.facts })
    }

    /// The contract that an operation was asked under, as it is now.
    pub fn contract_of(&self, record: &Record) -> Option<Arc<Contract>> {
        let about = &record.about;
        let action = self.catalog.actions().find(|action| *action.name == *about.action)?;
        Some(self.policy.contract(action, about.class, &about.caller.agent))
    }

    /// The freeze that would stop an operation now.
    pub fn frozen_now(&self, record: &Record) -> Option<Freeze> {
        self.store.frozen(&record.about.subject())
    }

    /// What the breaker of an upstream says.
    pub fn road_of(&self, upstream: &str) -> Option<Shown> {
        self.sites.get(upstream).map(|site| site.breaker.shown())
    }

    /// Every upstream's road, by name.
    pub fn roads(&self) -> Vec<RoadSeen> {
        let seen = |(name, site): (&Arc<str>, &crate::gate::Site)| RoadSeen {
            name: Arc::clone(name),
            shown: site.breaker.shown(),
            shut: site.breaker.actions_shown(),
            lanes: site.lanes.seen(),
        };
        let mut roads: Vec<_> = self.sites.iter().map(seen).collect();
        roads.sort_by(|one, other| one.name.cmp(&other.name));
        roads
    }

    /// The budgets of every contract, for any agent; each once.
    pub fn budgets(&self) -> Vec<(Arc<str>, Budget)> {
        let mut all: Vec<(Arc<str>, Budget)> = Vec::new();
        for action in self.catalog.actions().filter(|action| action.class.is_effect()) {
            let contract = self.policy.contract(action, action.class, "");
            all.extend(
                contract.budgets.iter().map(|budget| (Arc::clone(&action.name), budget.clone())),
            );
        }
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Whether somebody may say what became of an operation.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_resolve(&self, record: &Record, operator: &Operator) -> Result<(), Objection> {
        self.approvals.may_resolve(&self.queue_of(record), operator)
    }

    /// Until then a no needs force.
    pub fn ripe_at(&self, record: &Record) -> Timestamp {
        self.ripe_for_a_no(record)
    }
}

/// A body as a person reads it: a value a line, masked, cut.
fn lines(sort: &str, body: &str) -> String {
    let spread = if sort.starts_with("application/x-www-form-urlencoded") {
        body.split('&').map(decoded).collect::<Vec<_>>()
    } else if let Ok(tree) = serde_json::from_str::<serde_json::Value>(body) {
        let pretty = serde_json::to_string_pretty(&tree).unwrap_or_default();
        pretty.lines().map(str::to_owned).collect()
    } else {
        body.lines().map(str::to_owned).collect()
    };
    let all = spread.len();
    let mut left = BODY_CHARS_MAX;
    let mut shown: Vec<String> = Vec::new();
    for line in spread.into_iter().take(BODY_LINES_MAX) {
        let line = crate::redact::mask(&crate::redact::visible(&line));
        let line = crate::redact::bounded(&line, left.min(500));
        left = left.saturating_sub(line.chars().count());
        shown.push(line);
        if left == 0 {
            break;
        }
    }
    let rest = all.saturating_sub(shown.len());
    if rest > 0 {
        shown.push(format!("(and {rest} more lines)"));
    }
    shown.join("\n")
}

/// A pair of a form, for reading only: what is sent is the bytes.
fn decoded(pair: &str) -> String {
    let mut bytes = Vec::with_capacity(pair.len());
    let mut rest = pair.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let pair = digit(ahead.next()).zip(digit(ahead.next()));
                let byte = pair.and_then(|(high, low)| u8::try_from((high << 4) | low).ok());
                match byte {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = ahead;
                    }
                    None => bytes.push(b'%'),
                }
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_body_is_read_a_value_a_line_and_shows_no_secret() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(
            lines(form, "charge=ch_1&metadata%5Bcase%5D=58+213&card=4242424242424242&x=%zz%"),
            "charge=ch_1\nmetadata[case]=58 213\ncard=card ***4242\nx=%zz%"
        );
        assert_eq!(
            lines("application/json", r#"{"a":1,"b":"x\u202ey"}"#),
            "{\n  \"a\": 1,\n  \"b\": \"xy\"\n}"
        );
        assert_eq!(lines("text/plain", "a\nb\u{1b}[2J"), "a\nb[2J");
        let long = lines(form, &vec!["a=b"; 200].join("&"));
        assert!(long.ends_with("a=b\n(and 120 more lines)"), "{long}");
        assert!(lines(form, &"x".repeat(9_000)).chars().count() <= 600);
    }
}

//! The scripted upstream, which notes when each exchange begins and ends: what lies between belongs to the
//! script, all else to the gate.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tollhouse::outbound::{Outbound, Scene, Scripted, Sent};

use super::counted::{Mark, Spans};

/// What the script saw of one call.
#[derive(Debug, Clone, Default)]
pub struct Probe(Arc<Mutex<Vec<(Mark, Mark)>>>);

impl Probe {
    pub fn outbound(&self) -> Outbound {
        let seen = Arc::clone(&self.0);
        let answers = Answers::new();
        Outbound::Scripted(Scripted::by(move |sent| {
            let begin = Mark::now();
            let scene = answers.to(sent);
            let mut seen = seen.lock();
            seen.push((begin, Mark::now()));
            scene
        }))
    }

    pub fn begin(&self) {
        let mut seen = self.0.lock();
        seen.clear();
        seen.reserve(4);
    }

    /// The parts of a call between `begin` and `end`.
    pub fn read(&self, begin: Mark, end: Mark, parts: &mut [Spans]) -> Result<(), String> {
        let seen = self.0.lock();
        if seen.len().saturating_add(1) != parts.len() {
            return Err(format!(
                "{} exchanges where {} parts were expected",
                seen.len(),
                parts.len()
            ));
        }
        let mut from = begin;
        let ends = seen.iter().map(|(left, back)| (*left, *back)).chain([(end, end)]);
        for (part, (to, back)) in parts.iter_mut().zip(ends) {
            part.add(from, to);
            from = back;
        }
        Ok(())
    }
}

/// Answers as the upstream of `traffic` gives them.
pub struct Answers {
    long: String,
    list: Bytes,
}

impl Answers {
    pub fn new() -> Self {
        let charge = |n: usize| charge(&format!("ch_0000000_{n}"), "0000000", "");
        let list: Vec<String> = (0..24).map(charge).collect();
        let line = |n: usize| {
            format!(
                "{{\"id\":\"txn_{n:08}\",\"object\":\"line\",\"amount\":{n},\"currency\":\"usd\",\"livemode\":false,\"note\":null}}"
            )
        };
        let lines: Vec<String> = (0..280).map(line).collect();
        Self {
            long: lines.join(","),
            list: format!(
                "{{\"object\":\"list\",\"has_more\":false,\"data\":[{}]}}",
                list.join(",")
            )
            .into(),
        }
    }

    fn to(&self, sent: &Sent) -> Scene {
        let id = sent.target.rsplit('/').next().unwrap_or("");
        let customer = id.split('_').nth(1).unwrap_or("");
        if sent.method == http::Method::POST {
            return Scene::json(
                200,
                format!(
                    "{{\"id\":\"{}_1\",\"object\":\"refund\",\"amount\":500,\"status\":\"succeeded\"}}",
                    "re"
                ),
            );
        }
        if id.starts_with("charges?") {
            Scene::json(200, self.list.clone())
        } else if id.starts_with("ch30_") {
            Scene::json(200, charge(id, customer, &self.long))
        } else {
            Scene::json(200, charge(id, customer, ""))
        }
    }
}

/// A charge as Stripe's are, of 1 KiB without `lines`.
pub fn charge(id: &str, customer: &str, lines: &str) -> String {
    let fill = "A plain sentence about nothing, as long as it has to be. ".repeat(5);
    format!(
        "{{\"id\":\"{id}\",\"object\":\"charge\",\"amount\":60000,\"amount_captured\":60000,\"amount_refunded\":0,\
         \"balance_transaction\":\"txn_1\",\"billing_details\":{{\"address\":{{\"city\":null,\"country\":\"NL\",\"line1\":null,\
         \"postal_code\":\"1011\"}},\"email\":null,\"name\":\"Ann Example\",\"phone\":null}},\"captured\":true,\
         \"created\":1772280000,\"currency\":\"usd\",\"customer\":\"cus_{customer}\",\"disputed\":false,\"livemode\":false,\
         \"metadata\":{{\"order\":\"A-19\",\"shop\":\"example\"}},\"outcome\":{{\"network_status\":\"approved_by_network\",\
         \"risk_level\":\"normal\",\"type\":\"authorized\"}},\"paid\":true,\"payment_intent\":\"pi_{id}\",\"status\":\"succeeded\",\
         \"lines\":[{lines}],\"description\":\"{fill}\"}}"
    )
}

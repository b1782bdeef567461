//! What did somebody answer from a chat, and is it from whom we told?
//!
//! Believes nothing before the signature of the whole body is one of a destination's. Never answers a hold:
//! it says who asks for what, and the gate applies the rules for everybody.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{Destination, Notify};
use crate::call::{Digest, OperationId};
use crate::clock::Timestamp;

/// Standard Webhooks, "Verifying webhook authenticity": how far clocks may be apart.
const TOLERANCE: Duration = Duration::from_mins(5);
/// BOUND: a name, a mail address.
const BY_CHARS_MAX: usize = 120;
/// BOUND: what people write as a reason; the page takes as much.
const REASON_CHARS_MAX: usize = 2_000;

/// An answer as it came.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'s> {
    /// `webhook-id`.
    pub id: &'s str,
    /// `webhook-timestamp`.
    pub timestamp: &'s str,
    /// `webhook-signature`.
    pub signature: &'s str,
    /// The body.
    pub body: &'s [u8],
}

/// Why nobody is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// No key of ours made this.
    #[error("no valid signature of a destination that may answer")]
    Signature,
    /// It is old, or from tomorrow.
    #[error("the signature is valid, but its time is more than 5 minutes away from ours")]
    Stale,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// Of which call.
    pub op: OperationId,
    /// What came with the message.
    pub nonce: String,
    /// To what was shown.
    pub digest: Digest,
    /// What.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// Who, by the word of the destination.
    pub by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    operation: String,
    nonce: String,
    answer: Verdict,
    digest: String,
    #[serde(default)]
    reason: String,
    by: String,
}

impl Notify {
    /// Who may have sent it: every destination whose key signed it.
    ///
    /// # Errors
    ///
    /// Why nobody.
    pub fn senders(
        &self,
        sent: &Sent<'_>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Destination>>, Unproven> {
        let plain =
            !sent.timestamp.is_empty() && sent.timestamp.bytes().all(|b| b.is_ascii_digit());
        let seconds: Option<i64> = sent.timestamp.parse().ok().filter(|_| plain);
        let seconds = seconds.ok_or(Unproven::Signature)?;
        let signed = |one: &&Arc<Destination>| {
            one.answers.is_some()
                && one.signer.as_ref().is_some_and(|signer| {
                    signer.is_signed(sent.id, seconds, (sent.body, sent.signature))
                })
        };
        let senders: Vec<_> = self.destinations.iter().filter(signed).cloned().collect();
        if senders.is_empty() {
            return Err(Unproven::Signature);
        }
        let at = Timestamp::from_seconds(seconds);
        if at.since(now).max(now.since(at)) > TOLERANCE {
            return Err(Unproven::Stale);
        }
        Ok(senders)
    }
}

impl Answer {
    /// Reads the body of one.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let op =
            OperationId::parse(&written.operation).ok_or("operation: expected one as `op_..`")?;
        let digest = Digest::parse(&written.digest)
            .ok_or("digest: expected `sha256:` and 64 hexadecimal digits")?;
        let by = seen(&written.by);
        if by.is_empty() || by.chars().count() > BY_CHARS_MAX {
            return Err(format!("by: expected who answers, in {BY_CHARS_MAX} characters at most"));
        }
        let reason = seen(&written.reason);
        if reason.chars().count() > REASON_CHARS_MAX {
            return Err(format!("reason: expected {REASON_CHARS_MAX} characters at most"));
        }
        if reason.is_empty() && written.answer == Verdict::Deny {
            return Err("reason: expected why; the agent reads it".into());
        }
        Ok(Self { op, nonce: written.nonce, digest, verdict: written.answer, reason, by })
    }
}

/// SECURITY: what is not seen goes first: behind it a blank would make another name of the same.
fn seen(text: &str) -> String {
    crate::redact::visible(text).trim().to_owned()
}

//! What does the agent read? One sentence a code: what happened, whether anything was sent, what not
//! to do, what to do, until when.
//!
//! Never names a limit, a policy or another customer's data; never longer than 400 characters,
//! whatever stands in its places.

use std::time::Duration;

use super::{Code, RateFields, Refusal};
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::contract::BudgetScope;

/// BOUND: a sentence in characters. SDKs and logs cut longer messages, and a model reads the first
/// lines.
pub const DETAIL_MAX: usize = 400;
/// BOUND: a place that an agent, a person or an operator filled. The longest sentence around it takes
/// some 270 characters with its operation's name.
const PLACE_MAX: usize = 80;

impl Refusal {
    /// A person must answer first. `wait` is when to come back, `until` when the hold ends.
    pub fn approval_required(
        operation: OperationId,
        asked: &Asked<'_>,
        wait: Duration,
        until: Timestamp,
    ) -> Self {
        let detail = format!(
            "Held for approval by {} ({operation}): {}. Nothing was sent. Do not say it is done, do \
             not split it, do not send another one. To see the answer, send exactly the same request \
             again after {} seconds, until {}.",
            // BOUND: with a full summary, 400 characters leave this much for a queue's name.
            place_of(asked.queue, 24),
            place_of(asked.summary, PLACE_MAX),
            seconds(wait),
            to_the_second(until),
        );
        let mut refusal = Self::new(Code::ApprovalRequired, detail).about(operation).after(wait);
        refusal.expires = Some(until);
        refusal
    }

    /// A person said no, with `reason` in their words.
    pub fn approval_denied(operation: OperationId, queue: &str, reason: &str) -> Self {
        let detail = format!(
            "{} denied this ({operation}): \"{}\". Nothing was sent. Do not try again or in another \
             way.",
            place(queue),
            place_of(reason, 120),
        );
        Self::new(Code::ApprovalDenied, detail).about(operation)
    }

    /// Nobody answered.
    pub fn approval_expired(operation: OperationId) -> Self {
        let detail = format!(
            "Nobody answered in time ({operation}). Nothing was sent. Hand the case to a person; do \
             not ask again more than once."
        );
        Self::new(Code::ApprovalExpired, detail).about(operation)
    }

    /// The agent took it back.
    pub fn withdrawn(operation: OperationId) -> Self {
        let detail = format!("You withdrew this ({operation}). Nothing was sent.");
        Self::new(Code::Withdrawn, detail).about(operation)
    }

    /// One answer for what is not theirs and what is not there.
    pub fn not_found(resource: &str, id: &str) -> Self {
        let detail = format!(
            "There is no {} {} for this customer. Do not try other ids. Ask the customer to check \
             the number.",
            place(resource),
            place(id),
        );
        Self::new(Code::NotFound, detail)
    }

    pub(super) fn unreadable(code: Code, pointer: &str, expected: &str) -> Self {
        let detail =
            format!("{}: {}. Nothing was sent.", place_of(pointer, 120), place_of(expected, 240));
        Self::new(code, detail)
    }

    /// No pack knows it.
    pub fn unknown_action(method: &str, path: &str) -> Self {
        let detail = format!(
            "{} {} is not an action you have. Nothing was sent. Use another tool or hand over.",
            place_of(method, 16),
            place_of(path, 160),
        );
        Self::new(Code::UnknownAction, detail)
    }

    /// A policy forbids it; `tell` is that policy's word for the agent.
    pub fn forbidden(tell: &str) -> Self {
        let detail = format!(
            "This is not allowed: {}. Nothing was sent. Do not try a variation.",
            place_of(tell, 200)
        );
        Self::new(Code::Forbidden, detail)
    }

    /// Above what may be done even with approval.
    pub fn over_limit(asked: &Asked<'_>) -> Self {
        let detail = format!(
            "{} is above what may be done here, even with approval. Nothing was sent. Do not split \
             it. Hand the case to {}.",
            place(asked.summary),
            place(asked.queue),
        );
        Self::new(Code::OverLimit, detail)
    }

    /// No room left in a budget; `until` when some comes back, where that is known. Whose room it was is
    /// told in words that name no limit.
    pub fn budget_exhausted(per: BudgetScope, until: Option<Timestamp>) -> Self {
        let whose = match per {
            BudgetScope::Customer => "for this customer",
            BudgetScope::Agent => "by you",
            // Whoever else has used it is nobody's business.
            BudgetScope::Tenant | BudgetScope::Action => "of this sort",
            BudgetScope::Case => "in this case",
            BudgetScope::Resource => "on this",
        };
        Self::used_up(whose, until)
    }

    /// No room left for a case or a conversation, whatever is asked in it.
    pub fn loop_ended(whose: &'static str, until: Option<Timestamp>) -> Self {
        Self::used_up(whose, until)
    }

    fn used_up(whose: &str, until: Option<Timestamp>) -> Self {
        let until = until.map_or_else(
            || "for now".to_owned(),
            |moment| format!("until {}", to_the_second(moment)),
        );
        let detail = format!(
            "No more can be done automatically {whose} {until}. Nothing was sent. Do not split it. \
             Hand over."
        );
        Self::new(Code::BudgetExhausted, detail)
    }

    /// The agent is not sure enough; `given` is what it said, per mille.
    pub fn confidence_too_low(given: u16) -> Self {
        let detail = format!(
            "You are not sure enough (0.{:03}). Nothing was sent. Ask the customer one clear \
             question, then try again.",
            given.min(999)
        );
        Self::new(Code::ConfidenceTooLow, detail)
    }

    /// The customer must prove who they are; a sign-in counts for `max_age` seconds.
    pub fn step_up_required(max_age: u64) -> Self {
        let detail = "The customer must confirm who they are. Nothing was sent. Ask them to sign in \
                      again, then repeat with the new token.";
        let mut refusal = Self::new(Code::StepUpRequired, detail);
        // RFC 9470 s3.
        refusal.challenge = Some(format!(
            "Bearer error=\"insufficient_user_authentication\", error_description=\"A more recent \
             authentication is required\", max_age=\"{max_age}\""
        ));
        refusal
    }

    /// Stopped by a person; `scope` in words.
    pub fn frozen(scope: &str, wait: Duration) -> Self {
        let detail = format!(
            "{} is frozen by a person. Nothing was sent. Do not try again in this conversation.",
            place_of(scope, 200)
        );
        Self::new(Code::Frozen, detail).after(wait)
    }

    /// The upstream is not well.
    pub fn breaker_open(upstream: &str, wait: Duration) -> Self {
        let detail = format!(
            "{} is not well. Nothing was sent. The same request may be sent again after {} seconds, \
             at most 3 times.",
            place(upstream),
            seconds(wait),
        );
        Self::new(Code::BreakerOpen, detail).after(wait)
    }

    /// More calls at once than `what` can have.
    pub fn overloaded(what: &str, wait: Duration) -> Self {
        let detail = format!(
            "{} has too many calls right now. Nothing was sent. The same request may be sent again after \
             {} seconds, at most 3 times.",
            place(what),
            seconds(wait),
        );
        Self::new(Code::Overloaded, detail).after(wait)
    }

    /// The same is running.
    pub fn in_flight(operation: OperationId, wait: Duration) -> Self {
        let detail = format!(
            "The same request is running ({operation}). Do not change it. Send it again after {} \
             seconds.",
            seconds(wait),
        );
        Self::new(Code::InFlight, detail).about(operation).after(wait)
    }

    /// Another effect on the same thing is running; `operation` is that one.
    pub fn resource_busy(operation: OperationId, wait: Duration) -> Self {
        let detail = format!(
            "Something else is running on the same thing ({operation}). Nothing was sent. Do not \
             change your request. Send it again after {} seconds.",
            seconds(wait),
        );
        Self::new(Code::InFlight, detail).about(operation).after(wait)
    }

    /// It may have happened; told for the first time.
    pub fn outcome_unknown(operation: OperationId) -> Self {
        Self::unknown(Code::OutcomeUnknown, operation)
    }

    /// It may have happened; told again.
    pub fn outcome_still_unknown(operation: OperationId) -> Self {
        Self::unknown(Code::OutcomeStillUnknown, operation)
    }

    fn unknown(code: Code, operation: OperationId) -> Self {
        let detail = format!(
            "It is not known whether this happened ({operation}). It may have. Do not send it again \
             in any form, do not say that it is done or failed. We are checking; GET {} tells.",
            status_url(operation),
        );
        Self::new(code, detail).about(operation)
    }

    /// Like `earlier`, which is `state` since `when`.
    pub fn duplicate_suspected(
        action: &str,
        earlier: OperationId,
        when: Timestamp,
        state: &str,
    ) -> Self {
        let detail = format!(
            "The same {} ({earlier}, {}) is already {}. Nothing was sent now. If it is the same, use \
             that one. If a second is meant, hand over.",
            place(action),
            to_the_second(when),
            place_of(state, 24),
        );
        Self::new(Code::DuplicateSuspected, detail).about(earlier)
    }

    /// Too many calls under the rate of that name.
    pub fn rate_limited(policy: &str, wait: Duration, fields: RateFields) -> Self {
        let detail = format!(
            "Too many calls ({}). Nothing was sent. Wait {} seconds.",
            place(policy),
            seconds(wait),
        );
        let mut refusal = Self::new(Code::RateLimited, detail).after(wait);
        refusal.rate = Some(fields);
        refusal
    }

    /// Too many calls wait for people already; another one would bury them.
    pub fn too_many_waiting(wait: Duration) -> Self {
        let detail = format!(
            "Too many requests wait for a colleague already. Nothing was sent. Do not send another \
             one; wait for those answers, {} seconds at least.",
            seconds(wait),
        );
        Self::new(Code::RateLimited, detail).after(wait)
    }

    /// The key names another request.
    pub fn key_reused() -> Self {
        let detail = "Idempotency-Key was used for another request. Nothing was sent. Use a new key \
                      for a new request.";
        Self::new(Code::KeyReused, detail)
    }

    /// The contract requires `header`, with `what` in it.
    pub fn missing_context(header: &str, what: &str) -> Self {
        let detail = format!("Send {} with {}. Nothing was sent.", place(header), place(what));
        Self::new(Code::MissingContext, detail)
    }

    /// Done before, and its answer is gone.
    pub fn already_done(operation: OperationId) -> Self {
        let detail = format!(
            "This was done before ({operation}); its answer is no longer kept. Nothing was sent now. \
             GET {} tells.",
            status_url(operation),
        );
        Self::new(Code::AlreadyDone, detail).about(operation)
    }

    /// Sent before, and it came to nothing; its answer was never seen, or is gone.
    pub fn already_rejected(operation: OperationId) -> Self {
        let detail = format!(
            "This was sent before ({operation}) and was not done: the upstream rejected it. Nothing \
             was sent now. GET {} tells.",
            status_url(operation),
        );
        Self::new(Code::AlreadyRejected, detail).about(operation)
    }

    /// `part` is too large: `The body`.
    pub fn too_large(part: &str) -> Self {
        let detail = format!("{} is too large. Nothing was sent.", place(part));
        Self::new(Code::TooLarge, detail)
    }

    /// `part` of the head is too large: `A header`.
    pub fn header_too_large(part: &str) -> Self {
        let detail = format!("{} is too large. Nothing was sent.", place(part));
        Self::new(Code::HeaderTooLarge, detail)
    }

    /// `part` of the request did not come in time: `The body`.
    pub fn too_slow(part: &str) -> Self {
        let detail = format!(
            "{} did not arrive in time. Nothing was sent. Send the same request again.",
            place(part)
        );
        Self::new(Code::TooSlow, detail)
    }

    /// Nothing could be sent.
    pub fn upstream_unreachable(upstream: &str, wait: Duration) -> Self {
        let detail = format!(
            "{} cannot be reached. Nothing was sent. Send the same request again after {} seconds.",
            place(upstream),
            seconds(wait),
        );
        Self::new(Code::UpstreamUnreachable, detail).after(wait)
    }

    /// A read had no answer in time.
    pub fn upstream_timeout(upstream: &str, wait: Duration) -> Self {
        let detail = format!(
            "{} did not answer this read. Nothing changed. Send it again after {} seconds.",
            place(upstream),
            seconds(wait),
        );
        Self::new(Code::UpstreamTimeout, detail).after(wait)
    }

    /// An answer to a read came and cannot be judged, so it does not leave; `why` is for operators
    /// only.
    pub fn unjudged(why: impl Into<String>) -> Self {
        // BOUND: as `undecidable`.
        let wait = Duration::from_secs(2);
        let detail = "The answer could not be checked and is withheld. Nothing changed. The same \
                      request may be sent again after 2 seconds, at most 3 times.";
        Self::new(Code::Undecidable, detail).because(why).after(wait)
    }
}

/// What is asked of whom, in words.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// One plain sentence.
    pub summary: &'a str,
    /// The queue.
    pub queue: &'a str,
}

/// Where an agent can see what became of an operation.
pub fn status_url(operation: OperationId) -> String {
    format!("/.tollhouse/v1/operations/{operation}")
}

/// Whole seconds, rounded up, at least one: what `Retry-After` can say (RFC 9110 s10.2.3).
pub fn seconds(span: Duration) -> u64 {
    let whole = span.as_secs();
    let up = if span.subsec_nanos() > 0 { whole.saturating_add(1) } else { whole };
    up.max(1)
}

fn to_the_second(moment: Timestamp) -> String {
    let text = Timestamp::from_seconds(moment.0.div_euclid(1000)).to_string();
    text.replace(".000Z", "Z")
}

fn place(text: &str) -> String {
    place_of(text, PLACE_MAX)
}

/// SECURITY: text from outside enters a sentence clipped, on one line and without characters that
/// move or hide others (ANSI escapes, right-to-left overrides, zero-width marks).
fn place_of(text: &str, most: usize) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut clean = text.chars().filter(|c| !is_hidden(*c)).map(|c| match c {
        c if c.is_control() || c.is_whitespace() => ' ',
        c => c,
    });
    let mut out: String = clean.by_ref().take(most).collect();
    if clean.next().is_some() {
        out.pop();
        out.push('…');
    }
    if out.is_empty() { "-".into() } else { out }
}

fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const OPERATION: OperationId = OperationId([7; 32]);

    /// One of every code, each place filled with `text`.
    fn every(text: &str) -> Vec<Refusal> {
        let asked = Asked { summary: text, queue: text };
        let (wait, until) = (Duration::from_secs(86_400), Timestamp(1_772_366_400_123));
        let fields = RateFields { policy: String::new(), state: String::new() };
        vec![
            Refusal::approval_required(OPERATION, &asked, wait, until),
            Refusal::approval_denied(OPERATION, text, text),
            Refusal::approval_expired(OPERATION),
            Refusal::withdrawn(OPERATION),
            Refusal::not_found(text, text),
            Refusal::unknown_action(text, text),
            Refusal::forbidden(text),
            Refusal::over_limit(&asked),
            Refusal::budget_exhausted(BudgetScope::Customer, Some(until)),
            Refusal::budget_exhausted(BudgetScope::Resource, None),
            Refusal::loop_ended("in this conversation", Some(until)),
            Refusal::confidence_too_low(1000),
            Refusal::step_up_required(300),
            Refusal::unauthenticated(text),
            Refusal::frozen(text, wait),
            Refusal::undecidable(text),
            Refusal::unjudged(text),
            Refusal::breaker_open(text, wait),
            Refusal::overloaded(text, wait),
            Refusal::in_flight(OPERATION, wait),
            Refusal::resource_busy(OPERATION, wait),
            Refusal::outcome_unknown(OPERATION),
            Refusal::outcome_still_unknown(OPERATION),
            Refusal::duplicate_suspected(text, OPERATION, until, text),
            Refusal::rate_limited(text, wait, fields),
            Refusal::too_many_waiting(wait),
            Refusal::key_reused(),
            Refusal::malformed(text, text),
            Refusal::ambiguous(text, text),
            Refusal::missing_context(text, text),
            Refusal::already_done(OPERATION),
            Refusal::already_rejected(OPERATION),
            Refusal::too_large(text),
            Refusal::header_too_large(text),
            Refusal::too_slow(text),
            Refusal::upstream_unreachable(text, wait),
            Refusal::upstream_timeout(text, wait),
        ]
    }

    #[test]
    fn every_code_has_a_sentence_and_a_title_that_fits() {
        let said: HashSet<Code> = every("x").iter().map(|r| r.code).collect();
        for code in Code::ALL {
            assert!(said.contains(&code), "{code:?} has no sentence");
            let title = code.spec().title;
            assert!(title.is_ascii() && title.len() <= 60, "{title}");
            assert!(!title.contains(|c: char| c.is_ascii_control()), "{title}");
        }
    }

    #[test]
    fn no_place_makes_a_sentence_long_or_breaks_its_line() {
        let long = "ключ\r\n\u{202e}\u{1b}[31m".repeat(1000);
        for refusal in every(&long) {
            let count = refusal.detail.chars().count();
            assert!(count <= DETAIL_MAX, "{:?}: {count}", refusal.code);
            assert!(!refusal.detail.contains(['\r', '\n', '\u{1b}', '\u{202e}']), "{refusal:?}");
        }
    }

    #[test]
    fn sentences_say_what_operators_alone_may_read_nowhere() {
        for refusal in every("x") {
            assert!(!refusal.detail.contains("secret-why"));
        }
        let refusal = Refusal::unjudged("secret-why");
        assert!(!refusal.detail.contains("secret-why"));
        assert_eq!(refusal.why, "secret-why");
    }

    #[test]
    fn a_hold_reads_as_written_down() {
        let asked = Asked { summary: "Refund 600.00 USD of ch_1.", queue: "finance" };
        let wait = Duration::from_millis(29_001);
        let until = Timestamp(1_772_366_400_999);
        let refusal = Refusal::approval_required(OPERATION, &asked, wait, until);
        assert_eq!(
            refusal.detail,
            format!(
                "Held for approval by finance ({OPERATION}): Refund 600.00 USD of ch_1. Nothing was \
                 sent. Do not say it is done, do not split it, do not send another one. To see the \
                 answer, send exactly the same request again after 30 seconds, until \
                 2026-03-01T12:00:00Z."
            )
        );
        assert_eq!(refusal.operation, Some(OPERATION));
        assert_eq!(refusal.expires, Some(until));
    }

    #[test]
    fn seconds_are_never_zero_and_rounded_up() {
        for (millis, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected, "{millis}");
        }
    }
}

//! How is a refusal written? As a problem document (RFC 9457) with the vendor's own error member in
//! it, so that an SDK raises its typed error with our sentence.
//!
//! Never tells what operators alone may read, and never a 2xx that an SDK would take for done, unless
//! the agent asked for one.

use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::{DECISION, OPERATION, RATE, RATE_POLICY, put};
use crate::action::ErrorShape;
use crate::call::{Answer, Class, DecisionId};
use crate::decision::Reason;
use crate::refusal::{Code, Refusal, seconds, status_url};

/// What the Stripe SDKs ask before they send again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("stripe-should-retry");

/// What a refusal is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// How the vendor writes an error.
    pub errors: &'a ErrorShape,
    /// The call's class, where it was understood.
    pub class: Option<Class>,
    /// The decision's own name, a UUID.
    pub decision: DecisionId,
    /// Which policies decided; empty when none was asked.
    pub policy_digest: &'a str,
    /// Whether a hold is answered with 202.
    pub respond_async: bool,
}

/// The answer that says `refusal`.
pub fn refuse(refusal: &Refusal, about: &About<'_>) -> Answer {
    let spec = refusal.code.spec();
    let accepted = about.respond_async && refusal.code == Code::ApprovalRequired;
    // RFC 7240 s4.1: only who prefers it gets a 202.
    let status = if accepted { 202 } else { spec.status };
    let mut body = Problem::of(refusal, about, status);
    if !accepted && *about.errors == ErrorShape::Stripe {
        let (kind, code) = stripe_words(refusal.code);
        body.error = Some(StripeError { r#type: kind, code, message: &refusal.detail });
    }
    let text = match about.errors {
        ErrorShape::Body(template) if !accepted => with_template(&body, template, refusal),
        ErrorShape::Body(_) | ErrorShape::Plain | ErrorShape::Stripe => written(&body),
    };
    let kind = if accepted { "application/json" } else { "application/problem+json" };
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(DECISION, HeaderValue::from_static(refusal.verdict().name()));
    add_headers(&mut headers, refusal, about);
    let body = Bytes::from(text).into();
    Answer { status, reason: Some(spec.title), headers, body }
}

/// RFC 9457 s3, our members behind the standard ones. Members that are not known are left out.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: Shown<&'a str>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: Shown<DecisionId>,
    code: &'a str,
    decision: &'a str,
    next: &'a str,
    sent: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    tell_customer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy_digest: &'a str,
    /// The vendor's own member.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<StripeError<'a>>,
}

#[derive(Serialize)]
struct StripeError<'a> {
    r#type: &'a str,
    code: &'a str,
    message: &'a str,
}

/// A text and what stands behind it.
struct Shown<T>(&'static str, T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}{}", self.0, self.1))
    }
}

impl<'a> Problem<'a> {
    fn of(refusal: &'a Refusal, about: &'a About<'a>, status: u16) -> Self {
        let spec = refusal.code.spec();
        // SECURITY: what is not there has no policies; those of what is somebody else's would tell.
        let told = if refusal.code == Code::NotFound { 0 } else { refusal.reasons.len() };
        Self {
            r#type: Shown("/.tollhouse/problems/", spec.name),
            title: spec.title,
            status,
            detail: &refusal.detail,
            instance: Shown("urn:uuid:", about.decision),
            code: spec.name,
            decision: refusal.verdict().name(),
            next: refusal.next.unwrap_or(spec.next).name(),
            sent: refusal.sent(),
            retryable: spec.retryable,
            tell_customer: spec.tell_customer,
            expires: refusal.expires.map(|expires| expires.to_string()),
            status_url: refusal.operation.map(status_url),
            operation: refusal.operation.map(|operation| operation.to_string()),
            policies: policies(refusal.reasons.get(..told).unwrap_or_default()),
            policy_digest: about.policy_digest,
            error: None,
        }
    }
}

// Texts and numbers always can be written.
fn written(problem: &Problem<'_>) -> Vec<u8> {
    // BOUND: a usual one; it grows if it must.
    let mut text = Vec::with_capacity(1 << 10);
    serde_json::to_writer(&mut text, problem).unwrap_or_default();
    text
}

/// The vendor's members beside ours. Where both have a name it is the vendor's: its SDK reads nothing
/// else.
fn with_template(problem: &Problem<'_>, template: &Json, refusal: &Refusal) -> Vec<u8> {
    let (Ok(Json::Object(mut body)), Json::Object(members)) =
        (serde_json::to_value(problem), template)
    else {
        return written(problem);
    };
    body.extend(members.iter().map(|(name, value)| (name.clone(), fill(value, refusal))));
    Json::Object(body).to_string().into_bytes()
}

/// `type` and `code` as Stripe's SDKs sort them: by status for 401, 403 and 429, by `type` else.
fn stripe_words(code: Code) -> (&'static str, &'static str) {
    let spec = code.spec();
    let kind = match (code, spec.status) {
        (Code::KeyReused | Code::InFlight | Code::AlreadyDone | Code::AlreadyRejected, _) => {
            "idempotency_error"
        }
        (_, 401) => "authentication_error",
        (_, 429) => "rate_limit_error",
        (_, 400..=499) => "invalid_request_error",
        _ => "api_error",
    };
    (kind, if code == Code::NotFound { "resource_missing" } else { spec.name })
}

fn fill(template: &Json, refusal: &Refusal) -> Json {
    let spec = refusal.code.spec();
    match template {
        // Alone it is a number, as vendors write it.
        Json::String(text) if text == "{status}" => spec.status.into(),
        Json::String(text) => {
            let mut out = String::with_capacity(text.len());
            let mut rest = text.as_str();
            // One pass: what stands in the sentence is never taken for a place.
            while let Some((before, after)) = rest.split_once('{') {
                out.push_str(before);
                let known = [
                    ("detail}", refusal.detail.clone()),
                    ("title}", spec.title.to_owned()),
                    ("code}", spec.name.to_owned()),
                    ("status}", spec.status.to_string()),
                ];
                match known.iter().find_map(|(name, v)| Some((after.strip_prefix(name)?, v))) {
                    Some((tail, value)) => {
                        out.push_str(value);
                        rest = tail;
                    }
                    None => {
                        out.push('{');
                        rest = after;
                    }
                }
            }
            out.push_str(rest);
            out.into()
        }
        Json::Array(items) => items.iter().map(|item| fill(item, refusal)).collect(),
        Json::Object(members) => {
            let filled = members.iter().map(|(name, value)| (name.clone(), fill(value, refusal)));
            Json::Object(filled.collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => template.clone(),
    }
}

fn add_headers(headers: &mut HeaderMap, refusal: &Refusal, about: &About<'_>) {
    if let Some(operation) = refusal.operation {
        put(headers, OPERATION, &operation.to_string());
        if refusal.code == Code::ApprovalRequired {
            put(headers, header::LOCATION, &status_url(operation));
        }
    }
    if let Some(wait) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, seconds(wait).into());
    }
    if let Some(rate) = &refusal.rate {
        put(headers, RATE_POLICY, &rate.policy);
        put(headers, RATE, &rate.state);
    }
    if refusal.code.spec().status == 401 {
        // RFC 9110 s15.5.2: a 401 has a challenge; RFC 6750 s3.
        let usual = "Bearer error=\"invalid_token\"";
        put(headers, header::WWW_AUTHENTICATE, refusal.challenge.as_deref().unwrap_or(usual));
    }
    if *about.errors == ErrorShape::Stripe {
        let again = if sdk_may_retry(refusal, about.class) { "true" } else { "false" };
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(again));
    }
}

/// Whether an SDK may send the same again by itself, without the agent's knowing.
fn sdk_may_retry(refusal: &Refusal, class: Option<Class>) -> bool {
    match refusal.code {
        Code::Undecidable
        | Code::InFlight
        | Code::TooSlow
        | Code::UpstreamUnreachable
        | Code::UpstreamTimeout => true,
        Code::BreakerOpen => class == Some(Class::Read),
        // Effects come first, and few are sent away. Reads that a library sends again at once would only
        // make what is too much more.
        Code::Overloaded => class.is_some_and(Class::is_effect),
        // BOUND: an SDK that sleeps longer than this keeps the agent from saying anything.
        Code::RateLimited => refusal.retry_after.is_some_and(|wait| seconds(wait) <= 5),
        Code::ApprovalRequired
        | Code::ApprovalDenied
        | Code::ApprovalExpired
        | Code::Withdrawn
        | Code::NotFound
        | Code::UnknownAction
        | Code::Forbidden
        | Code::OverLimit
        | Code::BudgetExhausted
        | Code::ConfidenceTooLow
        | Code::StepUpRequired
        | Code::Unauthenticated
        | Code::Frozen
        | Code::OutcomeUnknown
        | Code::OutcomeStillUnknown
        | Code::DuplicateSuspected
        | Code::KeyReused
        | Code::Malformed
        | Code::Ambiguous
        | Code::MissingContext
        | Code::AlreadyDone
        | Code::AlreadyRejected
        | Code::TooLarge
        | Code::HeaderTooLarge => false,
    }
}

/// SECURITY: what a brake or a signal saw is the operators'. A name such as `serial-refunds` would accuse the
/// customer to the agent, and tell both what to stay below.
/// How far a rollout is, is theirs as well.
const NOT_NAMED: [&str; 3] = ["brake.", "signals.", "rollout."];
/// What stands in their place: a person is to look at it.
const REVIEW: &str = "review";

/// The deciding policies as an agent reads them, each once.
fn policies(reasons: &[Reason]) -> Vec<&str> {
    let mut ids: Vec<&str> = Vec::with_capacity(reasons.len());
    for reason in reasons {
        let hidden = NOT_NAMED.iter().any(|prefix| reason.policy.starts_with(prefix));
        let id = if hidden { REVIEW } else { &reason.policy };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use serde_json::json;

    use super::*;
    use std::time::Duration;

    use crate::call::OperationId;
    use crate::clock::Timestamp;
    use crate::refusal::{Asked, RateFields};

    const OPERATION: OperationId = OperationId([7; 32]);

    fn about(errors: &ErrorShape) -> About<'_> {
        About {
            errors,
            class: Some(Class::Financial),
            decision: DecisionId::of(1),
            policy_digest: "sha256:00",
            respond_async: false,
        }
    }

    fn held() -> Refusal {
        let asked = Asked { summary: "Refund 600.00 USD of ch_1", queue: "finance" };
        let until = Timestamp(1_772_366_400_000);
        let mut refusal =
            Refusal::approval_required(OPERATION, &asked, Duration::from_secs(30), until);
        refusal.reasons = vec![Reason {
            policy: "financial.over-cap".into(),
            why: "for-operators-only".into(),
            tell: "this needs a colleague's approval".into(),
        }];
        refusal.because("for-operators-only")
    }

    fn json(answer: &Answer) -> Json {
        serde_json::from_slice(answer.body.whole().unwrap()).unwrap()
    }

    fn header(answer: &Answer, name: &str) -> String {
        answer.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_hold_says_everything_an_agent_may_need() {
        let answer = refuse(&held(), &about(&ErrorShape::Stripe));
        let body = json(&answer);
        assert_eq!((answer.status, answer.reason), (403, Some("Held for approval, nothing sent")));
        let url = format!("/.tollhouse/v1/operations/{OPERATION}");
        for (name, expected) in [
            ("type", "/.tollhouse/problems/approval_required"),
            ("title", "Held for approval, nothing sent"),
            ("instance", "urn:uuid:00000000-0000-4000-8000-000000000001"),
            ("code", "approval_required"),
            ("decision", "hold"),
            ("next", "wait"),
            ("sent", "no"),
            ("tell_customer", "A colleague is checking this. You will hear from us."),
            ("expires", "2026-03-01T12:00:00.000Z"),
            ("status_url", &url),
            ("operation", &OPERATION.to_string()),
            ("policy_digest", "sha256:00"),
        ] {
            assert_eq!(body[name], expected, "{name}");
        }
        assert_eq!(body["status"], 403);
        assert_eq!(body["retryable"], false);
        assert_eq!(body["policies"], json!(["financial.over-cap"]));
        assert_eq!(body["error"]["message"], body["detail"]);
        assert_eq!(body["error"]["type"], "invalid_request_error");
        for (name, expected) in [
            ("content-type", "application/problem+json"),
            ("cache-control", "no-store"),
            ("tollhouse-decision", "hold"),
            ("tollhouse-operation", &OPERATION.to_string()),
            ("location", &url),
            ("retry-after", "30"),
            ("stripe-should-retry", "false"),
        ] {
            assert_eq!(header(&answer, name), expected, "{name}");
        }
        let whole = String::from_utf8_lossy(answer.body.whole().unwrap()).into_owned();
        assert!(!whole.contains("for-operators-only"), "{whole}");
    }

    #[test]
    fn who_prefers_it_gets_202_without_an_error_member_and_nobody_else_does() {
        let stripe = about(&ErrorShape::Stripe);
        let answer = refuse(&held(), &About { respond_async: true, ..stripe });
        assert_eq!(answer.status, 202);
        assert!(json(&answer).get("error").is_none());
        assert_eq!(json(&answer)["status"], 202);
        assert_eq!(header(&answer, "content-type"), "application/json");
        let denied = Refusal::approval_denied(OPERATION, "finance", "no");
        assert_eq!(refuse(&denied, &About { respond_async: true, ..stripe }).status, 403);
    }

    #[test]
    fn stripes_sdks_raise_what_they_would_for_stripe() {
        // stripe-python `_api_requestor.py` and stripe-node `Error.ts`, `RequestSender.ts`: 401,
        // 403 and 429 by status, the rest by `error.type`.
        let cases = [
            (Refusal::unauthenticated(""), 401, "authentication_error", "unauthenticated"),
            (
                Refusal::not_found("charge", "ch_1"),
                404,
                "invalid_request_error",
                "resource_missing",
            ),
            (Refusal::forbidden("x"), 403, "invalid_request_error", "forbidden"),
            (Refusal::key_reused(), 422, "idempotency_error", "key_reused"),
            (Refusal::malformed("/a", "b"), 400, "invalid_request_error", "malformed"),
            (Refusal::undecidable(""), 503, "api_error", "undecidable"),
            (Refusal::outcome_unknown(OPERATION), 504, "api_error", "outcome_unknown"),
        ];
        for (refusal, status, kind, code) in cases {
            let answer = refuse(&refusal, &about(&ErrorShape::Stripe));
            let body = json(&answer);
            assert_eq!(answer.status, status);
            assert_eq!(
                (&body["error"]["type"], &body["error"]["code"]),
                (&kind.into(), &code.into())
            );
        }
    }

    #[test]
    fn column_s_is_kept() {
        let seconds = Duration::from_secs;
        let fields =
            || RateFields { policy: "\"a\";q=1;w=1".into(), state: "\"a\";r=0;t=5".into() };
        for (refusal, class, expected) in [
            (Refusal::undecidable(""), Class::Financial, "true"),
            (Refusal::breaker_open("stripe", seconds(30)), Class::Read, "true"),
            (Refusal::breaker_open("stripe", seconds(30)), Class::Financial, "false"),
            (Refusal::overloaded("stripe", seconds(2)), Class::Read, "false"),
            (Refusal::overloaded("stripe", seconds(2)), Class::Financial, "true"),
            (Refusal::in_flight(OPERATION, seconds(2)), Class::Financial, "true"),
            (Refusal::outcome_unknown(OPERATION), Class::Financial, "false"),
            (Refusal::outcome_still_unknown(OPERATION), Class::Financial, "false"),
            (Refusal::frozen("everything", seconds(60)), Class::Read, "false"),
            (Refusal::rate_limited("a", seconds(5), fields()), Class::Read, "true"),
            (
                Refusal::rate_limited("a", Duration::from_millis(5001), fields()),
                Class::Read,
                "false",
            ),
            (Refusal::upstream_unreachable("stripe", seconds(2)), Class::Financial, "true"),
            (Refusal::upstream_timeout("stripe", seconds(2)), Class::Read, "true"),
            (Refusal::already_done(OPERATION), Class::Financial, "false"),
            (Refusal::already_rejected(OPERATION), Class::Financial, "false"),
        ] {
            let told = About { class: Some(class), ..about(&ErrorShape::Stripe) };
            let answer = refuse(&refusal, &told);
            assert_eq!(header(&answer, "stripe-should-retry"), expected, "{:?}", refusal.code);
            let plain = refuse(&refusal, &about(&ErrorShape::Plain));
            assert_eq!(header(&plain, "stripe-should-retry"), "");
            assert!(json(&plain).get("error").is_none());
        }
        let limited =
            refuse(&Refusal::rate_limited("a", seconds(5), fields()), &about(&ErrorShape::Stripe));
        assert_eq!(limited.status, 429);
        assert_eq!(header(&limited, "ratelimit-policy"), "\"a\";q=1;w=1");
        assert_eq!(header(&limited, "ratelimit"), "\"a\";r=0;t=5");
    }

    #[test]
    fn a_401_challenges_and_nothing_else_does() {
        let answer = refuse(&Refusal::unauthenticated(""), &about(&ErrorShape::Plain));
        assert_eq!(header(&answer, "www-authenticate"), "Bearer error=\"invalid_token\"");
        let answer = refuse(&Refusal::step_up_required(300), &about(&ErrorShape::Plain));
        assert_eq!(json(&answer)["decision"], "verify");
        let challenge = header(&answer, "www-authenticate");
        assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
        assert!(challenge.contains("max_age=\"300\""), "{challenge}");
        let answer = refuse(&held(), &about(&ErrorShape::Plain));
        assert_eq!(header(&answer, "www-authenticate"), "");
    }

    #[test]
    fn a_vendors_own_shape_is_filled_once() {
        let shape = ErrorShape::Body(json!({
            "ok": false,
            "error": "{title}: {detail}",
            "errors": [{ "code": "{code}", "n": "{status}", "odd": "{unknown} {" }],
        }));
        let refusal = Refusal::forbidden("{code} {detail}");
        let body = json(&refuse(&refusal, &about(&shape)));
        assert_eq!(body["ok"], false);
        let error = body["error"].as_str().unwrap();
        assert!(
            error.starts_with("Not allowed, nothing sent: This is not allowed: {code} {detail}.")
        );
        let first = &body["errors"][0];
        assert_eq!((&first["code"], &first["n"]), (&json!("forbidden"), &json!(403)));
        assert_eq!(first["odd"], "{unknown} {");
        assert_eq!(body["detail"], refusal.detail);
    }

    #[test]
    fn every_code_is_written_with_its_own_status_and_phrase() {
        for code in Code::ALL {
            let answer = refuse(&Refusal::new(code, "x"), &about(&ErrorShape::Stripe));
            assert_eq!(answer.status, code.spec().status);
            assert_eq!(answer.reason, Some(code.spec().title));
            assert!(!(200..300).contains(&answer.status));
            assert_eq!(json(&answer)["code"], code.spec().name);
        }
    }
}

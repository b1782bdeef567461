//! Why does a call go no further? One closed list of codes, each with its status, its sentence and
//! what the agent may do next.
//!
//! A refusal is the product's answer, not an error. What operators read (`why`) is apart from what
//! the agent reads (`detail`).

mod missing;
mod sentences;
mod verdict;

use std::time::Duration;

pub use sentences::{Asked, DETAIL_MAX, seconds, status_url};
pub use verdict::InShadow;

use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::decision::{Reason, Verdict};

/// The reason, by its stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A person must answer first.
    ApprovalRequired,
    /// A person said no.
    ApprovalDenied,
    /// Nobody answered.
    ApprovalExpired,
    /// The agent took it back.
    Withdrawn,
    /// Not theirs, or not there.
    NotFound,
    /// No pack knows it.
    UnknownAction,
    /// A policy forbids it.
    Forbidden,
    /// Above what may be done even with approval.
    OverLimit,
    /// No room left in a budget.
    BudgetExhausted,
    /// The agent is not sure enough.
    ConfidenceTooLow,
    /// The customer must prove who they are.
    StepUpRequired,
    /// No valid token.
    Unauthenticated,
    /// Stopped by a person.
    Frozen,
    /// A check could not be made.
    Undecidable,
    /// The upstream is not well.
    BreakerOpen,
    /// Too many calls at once.
    Overloaded,
    /// The same is running.
    InFlight,
    /// It may have happened; first told.
    OutcomeUnknown,
    /// It may have happened; told again.
    OutcomeStillUnknown,
    /// Like one that was just done.
    DuplicateSuspected,
    /// Too many calls.
    RateLimited,
    /// The key names another request.
    KeyReused,
    /// Not readable.
    Malformed,
    /// Readable in two ways.
    Ambiguous,
    /// Context that the contract requires is missing.
    MissingContext,
    /// Done before, the answer is gone.
    AlreadyDone,
    /// Sent before, and it came to nothing.
    AlreadyRejected,
    /// Body too large.
    TooLarge,
    /// Head too large.
    HeaderTooLarge,
    /// Did not come in time.
    TooSlow,
    /// Nothing could be sent.
    UpstreamUnreachable,
    /// A read had no answer in time.
    UpstreamTimeout,
}

/// What the agent may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Nothing.
    Stop,
    /// Ask the customer.
    AskCustomer,
    /// Have the customer sign in again.
    Reauthenticate,
    /// Wait for a person or an outcome.
    Wait,
    /// Send the same again later.
    RetryLater,
    /// Mend the request.
    FixRequest,
    /// A person takes over.
    Escalated,
}

impl Next {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::AskCustomer => "ask_customer",
            Self::Reauthenticate => "reauthenticate",
            Self::Wait => "wait",
            Self::RetryLater => "retry_later",
            Self::FixRequest => "fix_request",
            Self::Escalated => "escalated",
        }
    }
}

/// What holds for every refusal with one code.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its status.
    pub status: u16,
    /// Its title; also the HTTP/1.1 reason phrase. ASCII, 60 characters at most.
    pub title: &'static str,
    /// What the agent may do next.
    pub next: Next,
    /// Whether identical bytes may succeed later without a change or a human.
    pub retryable: bool,
    /// What the customer may be told.
    pub tell_customer: &'static str,
}

const CHECKING: &str = "A colleague is checking this. You will hear from us.";
const TAKES_OVER: &str = "A colleague will take this over.";
const COMES_BACK: &str = "A colleague will come back to you.";

impl Code {
    /// Every code.
    pub const ALL: [Self; 32] = [
        Self::ApprovalRequired,
        Self::ApprovalDenied,
        Self::ApprovalExpired,
        Self::Withdrawn,
        Self::NotFound,
        Self::UnknownAction,
        Self::Forbidden,
        Self::OverLimit,
        Self::BudgetExhausted,
        Self::ConfidenceTooLow,
        Self::StepUpRequired,
        Self::Unauthenticated,
        Self::Frozen,
        Self::Undecidable,
        Self::BreakerOpen,
        Self::Overloaded,
        Self::InFlight,
        Self::OutcomeUnknown,
        Self::OutcomeStillUnknown,
        Self::DuplicateSuspected,
        Self::RateLimited,
        Self::KeyReused,
        Self::Malformed,
        Self::Ambiguous,
        Self::MissingContext,
        Self::AlreadyDone,
        Self::AlreadyRejected,
        Self::TooLarge,
        Self::HeaderTooLarge,
        Self::TooSlow,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
    ];

    /// What holds for every refusal with this code.
    #[rustfmt::skip] // A table: one row a code.
    pub fn spec(self) -> Spec {
        use Next::{AskCustomer, Escalated, FixRequest, Reauthenticate, RetryLater, Stop, Wait};
        let spec = |name, status, title, next, retryable, tell_customer| {
            Spec { name, status, title, next, retryable, tell_customer }
        };
        match self {
            Self::ApprovalRequired => spec("approval_required", 403, "Held for approval, nothing sent", Wait, false, CHECKING),
            Self::ApprovalDenied => spec("approval_denied", 403, "Denied by a person, nothing sent", Stop, false, "We cannot do this."),
            Self::ApprovalExpired => spec("approval_expired", 403, "Nobody answered, nothing sent", Escalated, false, COMES_BACK),
            Self::Withdrawn => spec("withdrawn", 403, "Withdrawn, nothing sent", Stop, false, ""),
            Self::NotFound => spec("not_found", 404, "Not found for this customer", AskCustomer, false, ""),
            Self::UnknownAction => spec("unknown_action", 403, "Not an allowed action", Stop, false, ""),
            Self::Forbidden => spec("forbidden", 403, "Not allowed, nothing sent", Stop, false, ""),
            Self::OverLimit => spec("over_limit", 403, "Over the limit, nothing sent", Escalated, false, TAKES_OVER),
            Self::BudgetExhausted => spec("budget_exhausted", 403, "Limit is used up, nothing sent", Escalated, false, TAKES_OVER),
            Self::ConfidenceTooLow => spec("confidence_too_low", 403, "Unclear request", AskCustomer, false, ""),
            Self::StepUpRequired => spec("step_up_required", 401, "Customer must sign in again", Reauthenticate, false, "Please sign in again to confirm."),
            Self::Unauthenticated => spec("unauthenticated", 401, "No valid agent token", Stop, false, ""),
            Self::Frozen => spec("frozen", 503, "Frozen by an operator, nothing sent", Escalated, false, COMES_BACK),
            Self::Undecidable => spec("undecidable", 503, "Cannot decide now, nothing sent", RetryLater, true, ""),
            Self::BreakerOpen => spec("breaker_open", 503, "The upstream is not well, nothing sent", RetryLater, true, ""),
            Self::Overloaded => spec("overloaded", 503, "Too busy, nothing sent", RetryLater, true, ""),
            Self::InFlight => spec("in_flight", 409, "The same request is running", Wait, true, ""),
            Self::OutcomeUnknown => spec("outcome_unknown", 504, "Outcome not known yet", Wait, false, "We are checking this and will confirm."),
            Self::OutcomeStillUnknown => spec("outcome_unknown", 409, "Outcome not known yet", Wait, false, "We are checking this and will confirm."),
            Self::DuplicateSuspected => spec("duplicate_suspected", 403, "Looks like one already done", Escalated, false, ""),
            Self::RateLimited => spec("rate_limited", 429, "Too many, nothing sent", RetryLater, true, ""),
            Self::KeyReused => spec("key_reused", 422, "Same key, other request", FixRequest, false, ""),
            Self::Malformed => spec("malformed", 400, "Unreadable request", FixRequest, false, ""),
            Self::Ambiguous => spec("ambiguous", 400, "Unreadable request", FixRequest, false, ""),
            Self::MissingContext => spec("missing_context", 400, "A required header is missing", FixRequest, false, ""),
            Self::AlreadyDone => spec("already_done", 409, "Already done", Stop, false, ""),
            Self::AlreadyRejected => spec("already_rejected", 409, "Rejected before, not done", Stop, false, ""),
            Self::TooLarge => spec("too_large", 413, "Request too large", FixRequest, false, ""),
            Self::HeaderTooLarge => spec("header_too_large", 431, "Request too large", FixRequest, false, ""),
            // RFC 9110 s15.5.9: the same request may be sent again, on another connection.
            Self::TooSlow => spec("too_slow", 408, "Request came too slowly", RetryLater, true, ""),
            Self::UpstreamUnreachable => spec("upstream_unreachable", 502, "Not reachable, nothing sent", RetryLater, true, ""),
            Self::UpstreamTimeout => spec("upstream_timeout", 504, "No answer in time", RetryLater, true, ""),
        }
    }
}

/// A call that goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason's name.
    pub code: Code,
    /// What the agent reads.
    pub detail: String,
    /// What operators read; empty when the detail says it all.
    pub why: String,
    /// Another next step than the code's usual one.
    pub next: Option<Next>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// The operation it is about.
    pub operation: Option<OperationId>,
    /// When a hold ends.
    pub expires: Option<Timestamp>,
    /// The deciding policies.
    pub reasons: Vec<Reason>,
    /// The challenge of a 401.
    pub challenge: Option<String>,
    /// Only for rates: the fields of the IETF RateLimit draft.
    pub rate: Option<RateFields>,
    /// Whether what was asked for is known to be somebody else's. SECURITY: never told, only counted.
    pub is_mismatch: bool,
}

/// `RateLimit-Policy` and `RateLimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateFields {
    /// `"agent";q=600;w=60`.
    pub policy: String,
    /// `"agent";r=0;t=12`.
    pub state: String,
}

impl Refusal {
    /// A refusal with this code and this sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            why: String::new(),
            next: None,
            retry_after: None,
            operation: None,
            expires: None,
            reasons: Vec::new(),
            challenge: None,
            rate: None,
            is_mismatch: false,
        }
    }

    /// What was asked for is somebody else's.
    #[must_use]
    pub fn of_another(self) -> Self {
        Self { is_mismatch: true, ..self }
    }

    /// What operators read about it.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// When to come back.
    #[must_use]
    pub fn after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }

    /// The operation it is about.
    #[must_use]
    pub fn about(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }

    /// `pointer` says where, `expected` what should stand there.
    pub fn malformed(pointer: &str, expected: &str) -> Self {
        Self::unreadable(Code::Malformed, pointer, expected)
    }

    /// Two parsers could read it differently.
    pub fn ambiguous(pointer: &str, expected: &str) -> Self {
        Self::unreadable(Code::Ambiguous, pointer, expected)
    }

    /// A check could not be made; `why` is for operators only.
    pub fn undecidable(why: impl Into<String>) -> Self {
        // BOUND: 2 s is the usual restart of a store or an issuer.
        let wait = Duration::from_secs(2);
        let detail = "A check could not be made. Nothing was sent. The same request may be sent again \
                      after 2 seconds, at most 3 times.";
        Self::new(Code::Undecidable, detail).because(why).after(wait)
    }

    /// No valid token; `why` is for operators only.
    pub fn unauthenticated(why: impl Into<String>) -> Self {
        let detail = "Your token is missing, expired or not for this service. This is a set-up fault; \
                      do not ask the customer.";
        Self::new(Code::Unauthenticated, detail).because(why)
    }

    /// The word of `Tollhouse-Decision`.
    pub fn verdict(&self) -> Verdict {
        self.code.verdict()
    }

    /// Whether something was sent: `no`, `yes` or `unknown`.
    pub fn sent(&self) -> &'static str {
        match self.code {
            Code::OutcomeUnknown | Code::OutcomeStillUnknown => "unknown",
            Code::AlreadyDone | Code::AlreadyRejected | Code::InFlight | Code::UpstreamTimeout => {
                "yes"
            }
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
            | Code::Undecidable
            | Code::BreakerOpen
            | Code::Overloaded
            | Code::DuplicateSuspected
            | Code::RateLimited
            | Code::KeyReused
            | Code::Malformed
            | Code::Ambiguous
            | Code::MissingContext
            | Code::TooLarge
            | Code::HeaderTooLarge
            | Code::TooSlow
            | Code::UpstreamUnreachable => "no",
        }
    }
}

/// We could not find out: always a 503 to the caller, the cause to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store did not do it.
    #[error("the store did not answer: {0}")]
    StoreUnavailable(String),
    /// The store may have done it.
    #[error("the store may have done it: {0}")]
    StoreAmbiguous(String),
    /// The audit log cannot be written.
    #[error("the audit log cannot be written: {0}")]
    Audit(String),
    /// The issuer's keys cannot be read.
    #[error("the keys of issuer `{0}` cannot be read: {1}")]
    Keys(String, String),
    /// A look-up in the system of record failed.
    #[error("the look-up `{0}` failed: {1}")]
    Fact(String, String),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::undecidable(fault.to_string())
    }
}

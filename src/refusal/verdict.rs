//! What does a code come to: is the call held, sent to its customer, refused? And does it stand where only
//! shadows are cast?

use super::Code;
use crate::decision::Verdict;

/// What becomes of a refusal in shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InShadow {
    /// It is written down, and the call goes on.
    Noted,
    /// It stands: the call goes no further.
    Stands,
}

impl Code {
    /// The word of `Tollhouse-Decision`.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::ApprovalRequired => Verdict::Hold,
            Self::StepUpRequired => Verdict::Verify,
            Self::ApprovalDenied
            | Self::ApprovalExpired
            | Self::Withdrawn
            | Self::NotFound
            | Self::UnknownAction
            | Self::Forbidden
            | Self::OverLimit
            | Self::BudgetExhausted
            | Self::ConfidenceTooLow
            | Self::Unauthenticated
            | Self::Frozen
            | Self::Undecidable
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::InFlight
            | Self::OutcomeUnknown
            | Self::OutcomeStillUnknown
            | Self::DuplicateSuspected
            | Self::RateLimited
            | Self::KeyReused
            | Self::Malformed
            | Self::Ambiguous
            | Self::MissingContext
            | Self::AlreadyDone
            | Self::AlreadyRejected
            | Self::TooLarge
            | Self::HeaderTooLarge
            | Self::TooSlow
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout => Verdict::Refuse,
        }
    }

    /// Whether a refusal with this code stands in shadow. What a policy, a cap, a budget, a brake or the
    /// likeness guard says is noted; so is what a contract wants to be told.
    ///
    /// SECURITY: everything that keeps effects single, other people's data theirs and the road safe stands,
    /// and so does everything that could not be found out. That a policy's refusal is about whose it is, or
    /// about what the token itself leaves out, is the policy's to say (`@shadow("enforced")`).
    pub fn in_shadow(self) -> InShadow {
        match self {
            // A person, or a number in a contract, would have decided.
            Self::ApprovalRequired
            | Self::Forbidden
            | Self::OverLimit
            | Self::BudgetExhausted
            | Self::ConfidenceTooLow
            | Self::DuplicateSuspected
            | Self::MissingContext => InShadow::Noted,
            // A person has decided already.
            Self::ApprovalDenied | Self::ApprovalExpired | Self::Withdrawn | Self::Frozen => {
                InShadow::Stands
            }
            // Who asks, and whose it is. A fresh sign-in is authentication.
            Self::NotFound | Self::Unauthenticated | Self::StepUpRequired => InShadow::Stands,
            // One key, one effect.
            Self::InFlight
            | Self::OutcomeUnknown
            | Self::OutcomeStillUnknown
            | Self::KeyReused
            | Self::AlreadyDone
            | Self::AlreadyRejected => InShadow::Stands,
            // What is not understood, or could not be found out.
            Self::UnknownAction
            | Self::Malformed
            | Self::Ambiguous
            | Self::Undecidable
            | Self::TooLarge
            | Self::HeaderTooLarge
            | Self::TooSlow => InShadow::Stands,
            // The road. Rates protect the upstream and the process, in whatever mode.
            Self::RateLimited
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout => InShadow::Stands,
        }
    }
}

//! Did the agent say what the contract asks for? Headers and claims that must be there.
//!
//! Never weighs what they say.

use super::Question;
use crate::contract::{Contract, Required};
use crate::refusal::Refusal;

/// # Errors
///
/// `missing_context` for the first header that is required and missing; `forbidden` for a claim, which
/// no repeat of the request could add.
pub(super) fn required(question: &Question<'_>, contract: &Contract) -> Result<(), Refusal> {
    let context = &question.call.context;
    for required in &contract.require {
        let (there, header, what) = match required {
            Required::Case => {
                (context.case.is_some(), "Tollhouse-Case", "the number of the case you work on")
            }
            Required::Reason => {
                (context.reason.is_some(), "Tollhouse-Reason", "one sentence that says why")
            }
            Required::Confidence => (
                context.confidence.is_some(),
                "Tollhouse-Confidence",
                "how sure you are, from 0 to 1",
            ),
            Required::Model => {
                (context.model.is_some(), "Tollhouse-Model", "the name of your model")
            }
            Required::Key => {
                (context.key.is_some(), "Idempotency-Key", "a new key for each new request")
            }
            Required::Trust if question.caller.trust.is_none() => {
                let refusal = Refusal::forbidden("your token carries no trust level");
                return Err(refusal.because("the contract requires a trust level in the token"));
            }
            Required::Trust => continue,
        };
        if !there {
            return Err(Refusal::missing_context(header, what));
        }
    }
    Ok(())
}

//! What does a code mean? The page behind a problem's `type`, for people.
//!
//! Says what holds for every refusal with that code; knows nothing of any one call.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};

use crate::call::Answer;
use crate::refusal::Code;

/// The page of `/.tollhouse/problems/<name>`.
pub fn explain(name: &str) -> Answer {
    let Some(code) = Code::ALL.into_iter().find(|code| code.spec().name == name) else {
        let all = Code::ALL.map(|code| code.spec().name).join("\n");
        return page(404, format!("There is no such code. These there are:\n\n{all}\n"));
    };
    let spec = code.spec();
    let again = if spec.retryable {
        "The same request may succeed later, as it is."
    } else {
        "The same request will not succeed by being sent again, unless a person or the request \
         itself changes something."
    };
    let tell = match spec.tell_customer {
        "" => String::new(),
        text => format!("\nThe customer may be told: {text}\n"),
    };
    let text = format!(
        "{name} (HTTP {})\n{}\n\n{}\n\n{again}\nNext step for the agent: {}\n{tell}",
        statuses(code),
        spec.title,
        meaning(code),
        spec.next.name(),
    );
    page(200, text)
}

fn page(status: u16, text: String) -> Answer {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Answer { status, reason: None, headers, body: Bytes::from(text).into() }
}

fn statuses(code: Code) -> String {
    let status = code.spec().status;
    if code == Code::ApprovalRequired {
        return format!("{status}, or 202 on `Prefer: respond-async`");
    }
    if code == Code::OutcomeUnknown {
        return format!("{status}, 409 when repeated");
    }
    status.to_string()
}

#[expect(clippy::too_many_lines, reason = "a table: one row a code")]
fn meaning(code: Code) -> &'static str {
    match code {
        Code::ApprovalRequired => {
            "A person must say yes first. The call is kept as it is, its amount is reserved, and \
             nothing was sent. Repeating exactly the same request joins the same hold and, once it \
             is approved, gets the result. `Location` shows its state; DELETE there withdraws it."
        }
        Code::ApprovalDenied => "A person said no. Nothing was sent, and nothing will be.",
        Code::ApprovalExpired => "Nobody answered before the hold ended. Nothing was sent.",
        Code::Withdrawn => "The agent took the held call back. Nothing was sent.",
        Code::NotFound => {
            "There is no such thing for this customer. The answer is the same whether it belongs to \
             somebody else or does not exist."
        }
        Code::UnknownAction => "No pack knows this method and path, so nothing may be sent.",
        Code::Forbidden => {
            "A policy does not allow it, and no approval would. `policies` names the rules; \
             operators see them with `tollhouse policy show`."
        }
        Code::OverLimit => {
            "It is above what may be done here even with approval. Splitting it does not help: \
             parts count together."
        }
        Code::BudgetExhausted => {
            "What may be done in a span of time is used up: for this customer, by this agent, on \
             this, or in this case or conversation. A colleague goes on from here."
        }
        Code::ConfidenceTooLow => "The agent said itself that it is not sure enough.",
        Code::StepUpRequired => {
            "The customer's sign-in is too old for this. The challenge in `WWW-Authenticate` \
             (RFC 9470) says how recent it must be."
        }
        Code::Unauthenticated => {
            "The agent's token is missing, expired, or not for this service. The agent's API key is \
             a token of an issuer that this service trusts."
        }
        Code::Frozen => {
            "An operator has stopped calls like this one. `tollhouse freezes` lists why."
        }
        Code::Undecidable => {
            "A check that has to be made could not be made: the store, an issuer's keys or the \
             system of record did not answer. What cannot be checked does not happen."
        }
        Code::BreakerOpen => {
            "The upstream, or this action of it, failed several times in a row, or too many of the last \
             calls failed or were slow. For a while nothing is sent; then a few reads try whether it is \
             well again."
        }
        Code::Overloaded => {
            "More calls were asked for at once than the upstream, or this service, can take. Reads are \
             sent away before effects. Nothing was begun."
        }
        Code::InFlight => {
            "The same request, or another effect on the same thing, is being sent right now. Its \
             answer will be the answer to this one."
        }
        Code::OutcomeUnknown | Code::OutcomeStillUnknown => {
            "The request was sent and no whole answer came. It may have happened. It is not sent \
             again; its amount stays reserved until it is known what became of it."
        }
        Code::DuplicateSuspected => "It is very like one that was done or asked for a while ago.",
        Code::RateLimited => {
            "Too many calls in a span of time. `RateLimit-Policy`, `RateLimit` and `Retry-After` \
             say which rate and for how long."
        }
        Code::KeyReused => {
            "The `Idempotency-Key` belongs to another request. A key names one request for ever."
        }
        Code::Malformed => "The request cannot be read, or holds what the action does not know.",
        Code::Ambiguous => {
            "The request can be read in two ways. It is refused rather than repaired, so that what \
             is judged is what is sent."
        }
        Code::MissingContext => "The operator requires a header that was not sent.",
        Code::AlreadyDone => "It was done before, and its answer is no longer kept.",
        Code::AlreadyRejected => {
            "It was sent before, the upstream's answer was lost, and it turned out later that it came \
             to nothing. It was not done."
        }
        Code::TooLarge => "The body is larger than is accepted here.",
        Code::HeaderTooLarge => "The head of the request is larger than is accepted here.",
        Code::TooSlow => "The request did not arrive in time.",
        Code::UpstreamUnreachable => "No connection to the upstream could be made.",
        Code::UpstreamTimeout => {
            "The upstream did not answer a read in time. Reads change nothing."
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn shown(page: Answer, status: u16) -> String {
        assert_eq!(page.status, status);
        String::from_utf8(page.body.whole().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn every_code_has_a_page_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            let name = code.spec().name;
            let text = shown(explain(name), 200);
            assert!(text.starts_with(name), "{text}");
            assert!(seen.insert(text) || code == Code::OutcomeStillUnknown, "{name}");
        }
        for no in ["", "NOT_FOUND", "../frozen", "secret"] {
            let text = shown(explain(no), 404);
            assert!(text.contains("\nfrozen\n") && !text.contains("secret"), "{text}");
        }
    }
}

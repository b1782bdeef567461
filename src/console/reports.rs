//! What do the rules cost, and was a rule right? The report over this replica's log, and what people say of single
//! calls.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::ask::{self, Asked, Named, Said};
use super::guard::Signed;
use super::{Console, problem, view};
use crate::audit::{self, By};
use crate::clock::Timestamp;
use crate::gate::Mark;

type Answered = Result<Response, Response>;
type Shared = State<Arc<Console>>;

/// BOUND: some seconds of reading on a thread of its own; `tollhouse report --audit` reads all there is.
const BYTES_MAX: u64 = 256 << 20;
/// BOUND: single ones in one answer, some 500 KiB.
const LIST_MAX: usize = 1_000;
/// As long as a team looks back.
const SINCE: Duration = Duration::from_secs(14 * 86_400);

/// A mark that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marked {
    verdict: Verdict,
    reason: Option<String>,
}

/// Whether a rule was right.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Needless,
    Right,
}

pub async fn mark(
    State(console): Shared,
    signed: Signed,
    Named(op): Named,
    Said(said): Said<Marked>,
) -> Answered {
    let op = console.operation(&signed, &op).await?.op;
    let reason = said.reason.unwrap_or_default();
    ask::words(&reason)?;
    let mark = match said.verdict {
        Verdict::Needless => Mark::Needless,
        Verdict::Right => Mark::Right,
    };
    let said = console.gate().mark(op, signed.operator(), (mark, &reason)).await;
    let record = console.on_record(&signed, "mark", said).await?;
    Ok(Json(view::operation(&record)).into_response())
}

/// Of when, in which groups, how many single ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    since: Option<String>,
    until: Option<String>,
    by: Option<String>,
    list: Option<usize>,
}

pub async fn report(
    State(console): Shared,
    signed: Signed,
    Asked(which): Asked<Which>,
) -> Answered {
    let gate = console.gate();
    let now = gate.clock.now();
    let at = |name: &str, text: Option<&str>, usual: Timestamp| match text {
        None => Ok(usual),
        Some(text) => moment(text, now).ok_or_else(|| {
            problem(
                400,
                &format!(
                    "{name}: expected a span such as `14d`, or `@` and milliseconds since 1970"
                ),
            )
        }),
    };
    let since = at("since", which.since.as_deref(), now.minus(SINCE))?;
    // What was just written counts.
    let until = at("until", which.until.as_deref(), now.plus(Duration::from_secs(1)))?;
    let by = which.by.as_deref().unwrap_or("policy");
    let by = By::ALL.iter().find(|(name, _)| *name == by).map(|(_, by)| *by).ok_or_else(|| {
        problem(400, "by: expected `policy`, `action`, `class`, `agent`, `tenant` or `code`")
    })?;
    let list = which.list.unwrap_or(0);
    if list > LIST_MAX {
        return Err(problem(400, "list: expected at most 1000"));
    }
    let asked = audit::Asked { since, until, by, bytes_max: Some(BYTES_MAX) };
    let read = tokio::task::spawn_blocking(move || {
        gate.report(asked, list, &|tenant| signed.sees_tenant_of_line(tenant))
    });
    match read.await {
        Ok(Ok(report)) => Ok(Json(report).into_response()),
        Ok(Err(e)) => Err(problem(503, &e.to_string())),
        Err(_) => Err(problem(503, "the log could not be read")),
    }
}

/// `14d` is so long ago, of `s`, `m`, `h` and `d`; `@1795874400000` is that moment, in milliseconds since 1970.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let digits = |text: &str, most: usize| {
        let plain = text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| plain)
    };
    if let Some(millis) = text.strip_prefix('@') {
        return digits(millis, 13).and_then(|at| i64::try_from(at).ok()).map(Timestamp);
    }
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let count = digits(count, 5)?;
    Some(now.minus(Duration::from_secs(count.saturating_mul(seconds))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_span_ago_or_a_number() {
        let now = Timestamp(1_000_000_000);
        for (text, expected) in [
            ("14d", Some(1_000_000_000 - 14 * 86_400_000)),
            ("90s", Some(999_910_000)),
            ("0h", Some(1_000_000_000)),
            ("@17", Some(17)),
            ("@", None),
            ("", None),
            ("d", None),
            ("-1d", None),
            ("+1d", None),
            ("123456d", None),
            ("@12345678901234", None),
            ("2 h", None),
            ("2026-03-01T00:00:00Z", None),
            ("\u{661}d", None),
        ] {
            assert_eq!(moment(text, now), expected.map(Timestamp), "{text}");
        }
    }
}

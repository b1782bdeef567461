//! How is it going? The last day of this process in numbers and small plots, and the latest calls.

use super::frame::{Frame, Here, Keys, View, news_bar, page_head};
use super::html::{Html, each, html};
use super::parts::{Status, clock, count, money, name, some, status};
use super::plots::{Fill, peak, share, spark, steps};
use super::pulse::Hour;
use crate::clock::Timestamp;
use crate::money::Money;

/// The last day, and the latest calls.
#[derive(Debug)]
pub struct ActivityView {
    /// Twenty-four hours, oldest first; `None` for who is bound to tenants: they are everybody's numbers.
    pub day: Option<Vec<Hour>>,
    /// Calls that were turned back since the process began, by code, most first.
    pub refused: Vec<(String, u64)>,
    /// Duplicates that were suppressed since then.
    pub duplicates: u64,
    /// The latest records, newest first.
    pub latest: Vec<Call>,
}

/// One call, as its record says it.
#[derive(Debug, Clone)]
pub struct Call {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: String,
    /// Whose.
    pub agent: String,
    /// How it stands.
    pub status: Status,
    /// Its record's own word, where no status says it.
    pub word: Option<String>,
    /// How much.
    pub amount: Option<Money>,
    /// Which operation.
    pub operation: Option<String>,
}

const CLASSES: [&str; 5] = ["Read", "Write", "Communication", "Financial", "Not understood"];

/// The view.
pub fn activity(frame: &Frame, seen: &ActivityView) -> View {
    let numbers = seen.day.as_ref().map(|day| numbers(frame, seen, day));
    View {
        here: Here::Activity,
        title: "Activity".to_owned(),
        main: html!(
            (page_head("Activity", &"The last 24 hours of this replica: every call that reached it.", frame.now))
            (numbers)
            r#"<section class="block" aria-labelledby="l"><div class="block-head"><h2 id="l">Latest calls</h2>"#
            "<p>newest first; new ones wait until you ask for them</p></div>" (news_bar())
            r#"<div id="rows" data-rows="calls">"# (latest(seen)) "</div></section>"
        ),
        keys: Keys::Places,
    }
}

fn numbers(frame: &Frame, seen: &ActivityView, day: &[Hour]) -> Html {
    let sum = |class: Option<usize>, verdict: Option<usize>| total(day, class, verdict);
    let (all, allowed) = (sum(None, None), sum(None, Some(0)));
    let percent = allowed.saturating_mul(100).checked_div(all.max(1)).unwrap_or(0);
    let hours: Vec<String> = day.iter().map(hour_name).collect();
    let rows = each(CLASSES.iter().zip(0_usize..), |(class, at)| row(day, &hours, class, at));
    html!(
        r#"<div id="numbers"><dl class="figures"><div><dt>Calls</dt><dd>"# (count(all)) " <small>" (count(allowed))
        " allowed, " (percent) " %</small></dd></div><div><dt>Held</dt><dd>" (count(sum(None, Some(1)))) " <small>"
        (count(frame.waiting)) " waiting now</small></dd></div><div><dt>Refused</dt><dd>" (count(sum(None, Some(3))))
        " <small>" (count(sum(None, Some(2)))) " asked to verify</small></dd></div><div><dt>Duplicates suppressed</dt><dd>"
        (count(seen.duplicates)) " <small>since it was started</small></dd></div><div><dt>Outcome unknown</dt><dd>"
        (unknown(frame)) "</dd></div></dl>"
        r#"<section class="block" aria-labelledby="m"><div class="block-head"><h2 id="m">Calls by class and decision</h2>"#
        "<p>one bar an hour; every plot has its own scale, its peak is named</p></div>"
        r#"<table class="card table matrix stack"><thead><tr><th scope="col">Class</th><th scope="col">"#
        (status(Status::Allowed)) r#"</th><th scope="col">"# (super::parts::said(Status::Waiting, &"Held"))
        r#"</th><th scope="col">"# (status(Status::Verify)) r#"</th><th scope="col">"# (status(Status::Refused))
        "</th></tr></thead><tbody>" (rows) r#"</tbody></table></section><div class="block pair">"# (waited(frame, day, &hours))
        (refused(seen)) "</div></div>"
    )
}

fn unknown(frame: &Frame) -> Html {
    match frame.unknown {
        0 => html!("0 <small>every effect is accounted for</small>"),
        some => html!(
            (super::parts::said(Status::Unknown, &count(some)))
            r#" <small><a href="/operations?state=unknown">look at them</a></small>"#
        ),
    }
}

fn total(day: &[Hour], class: Option<usize>, verdict: Option<usize>) -> u64 {
    let of_hour = |hour: &Hour| {
        let classes =
            hour.calls.iter().zip(0_usize..).filter(|(_, at)| class.is_none_or(|own| own == *at));
        classes.fold(0_u64, |sum, (verdicts, _)| {
            let own = verdicts
                .iter()
                .zip(0_usize..)
                .filter(|(_, at)| verdict.is_none_or(|own| own == *at));
            own.fold(sum, |sum, (calls, _)| sum.saturating_add(*calls))
        })
    };
    day.iter().fold(0, |sum, hour| sum.saturating_add(of_hour(hour)))
}

fn hour_name(hour: &Hour) -> String {
    let of_day = hour.number.checked_rem_euclid(24).unwrap_or(0);
    format!("{of_day:02}:00")
}

fn row(day: &[Hour], hours: &[String], class: &'static str, at: usize) -> Html {
    let calls = total(day, Some(at), None);
    if calls == 0 && at == 4 {
        return Html::new();
    }
    let kinds = [
        ("Allowed", Fill::Allowed),
        ("Held", Fill::Held),
        ("Verify", Fill::Verify),
        ("Refused", Fill::Refused),
    ];
    let cells = each(kinds.into_iter().zip(0_usize..), |((word, fill), verdict)| {
        let values: Vec<u64> = day
            .iter()
            .map(|hour| total(std::slice::from_ref(hour), Some(at), Some(verdict)))
            .collect();
        let sum = values.iter().fold(0_u64, |sum, value| sum.saturating_add(*value));
        let peak = peak(&values, hours).map(|peak| format!("peak {peak}"));
        let label =
            format!("{class} calls, {word}, 24 hours, {}", peak.clone().unwrap_or_default());
        html!(
            "<td data-label=\"" (word) r#""><span class="n">"# (count(sum)) " <small>" (peak) "</small></span>"
            (spark(&values, fill, &label)) "</td>"
        )
    });
    html!(
        r#"<tr><th scope="row"><strong>"# (class) r#"</strong><br><span class="sub">"# (some(calls, "call", "calls"))
        "</span></th>" (cells) "</tr>"
    )
}

fn waited(frame: &Frame, day: &[Hour], hours: &[String]) -> Html {
    let values: Vec<u64> = day.iter().map(|hour| hour.waiting).collect();
    let most = peak(&values, hours).unwrap_or_else(|| "none".to_owned());
    let label = format!("Holds waiting over 24 hours: {} now, at most {most}", frame.waiting);
    let first = hours.first().cloned().unwrap_or_default();
    html!(
        r#"<section aria-labelledby="w"><div class="block-head"><h2 id="w">Holds waiting</h2><p>"#
        (count(frame.waiting)) " now, at most " (most) r#"</p></div><div class="card panel">"# (steps(&values, &label))
        r#"<p class="axis"><span>"# (first) "</span><span>now</span></p></div></section>"
    )
}

fn refused(seen: &ActivityView) -> Html {
    let most = seen.refused.iter().map(|(_, calls)| *calls).max().unwrap_or(0);
    let all = seen.refused.iter().fold(0_u64, |sum, (_, calls)| sum.saturating_add(*calls));
    // BOUND: what is rarer than the ten most frequent is in the metrics.
    let rows = each(seen.refused.iter().take(10), |(code, calls)| {
        html!(
            r#"<tr><th scope="row"><code>"# (name(code)) "</code></th><td>" (share(*calls, most))
            r#"</td><td class="num"><strong>"# (count(*calls)) "</strong></td></tr>"
        )
    });
    let body = if rows.is_empty() {
        html!(r#"<p class="card empty-part sub">Nothing was turned back.</p>"#)
    } else {
        html!(
            r#"<table class="card table"><thead><tr><th scope="col">Reason</th><th scope="col"><span class="unseen">Share"#
            r#"</span></th><th scope="col" class="num">Calls</th></tr></thead><tbody>"# (rows) "</tbody></table>"
        )
    };
    html!(
        r#"<section aria-labelledby="r"><div class="block-head"><h2 id="r">Turned back, by reason</h2><p>"#
        (some(all, "call", "calls")) " since it was started, held ones included</p></div>" (body) "</section>"
    )
}

fn latest(seen: &ActivityView) -> Html {
    if seen.latest.is_empty() {
        return html!(
            r#"<div class="card empty"><p><strong>No calls yet</strong></p><p>Each call stands here once it is judged.</p></div>"#
        );
    }
    let rows = each(&seen.latest, |call| {
        let words = match (&call.operation, &call.action) {
            (Some(op), action) => {
                html!("<a href=\"/operations/" (op.as_str()) "\">" (name(action)) "</a>")
            }
            (None, action) => html!((name(action))),
        };
        let amount = match call.amount {
            Some(amount) => html!(r#"<td class="num">"# (money(amount)) "</td>"),
            None => html!(r#"<td class="num sub">none</td>"#),
        };
        let said = match &call.word {
            Some(word) => super::parts::said(call.status, &name(word)),
            None => status(call.status),
        };
        html!(
            r#"<tr><td class="tight">"# (clock(call.at)) "</td><td>" (words) r#"<br><span class="sub">"# (name(&call.agent))
            "</span></td><td>" (said) "</td>" (amount) "</tr>"
        )
    });
    html!(
        r#"<table class="card table stack feed"><caption class="unseen">Latest calls, newest first</caption><thead><tr>"#
        r#"<th scope="col">Time</th><th scope="col">Action, agent</th><th scope="col">Decision</th>"#
        r#"<th scope="col" class="num">Amount</th></tr></thead><tbody>"# (rows) "</tbody></table>"
    )
}

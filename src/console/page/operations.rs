//! What was asked, and how does it stand? One row for one effect: the newest first, what is unknown before
//! all.

use super::frame::{Frame, Here, Keys, View, news_bar, page_head};
use super::html::{Html, each, html};
use super::look::Deed;
use super::parts::{Icon, Status, count, icon, money, name, recent, span, status};
use super::sentence::{Length, sentence};
use crate::store::State;

/// Operations, or a page of them.
#[derive(Debug)]
pub struct OperationsView {
    /// Those whose outcome is not known; the first of them.
    pub unknown: Vec<Deed>,
    /// The rows.
    pub rows: Vec<Deed>,
    /// How many there are in each state, where the viewer may know: nobody is bound to tenants then.
    pub counts: Option<[(&'static str, u64); 7]>,
    /// Only this state.
    pub only: Option<&'static str>,
    /// Whether it is full: there are older ones.
    pub is_cut: bool,
    /// An operation that was looked for and is not there.
    pub lost: Option<String>,
}

/// The states, in the order of the tabs, with their words.
const STATES: [(&str, &str); 7] = [
    ("unknown", "Unknown"),
    ("held", "Waiting"),
    ("approved", "Approved"),
    ("submitted", "Sent"),
    ("done", "Done"),
    ("refused", "Refused"),
    ("not_sent", "Not sent"),
];

/// The view.
pub fn operations(frame: &Frame, seen: &OperationsView) -> View {
    let lost = seen.lost.as_ref().map(|op| {
        html!(r#"<p class="error" role="alert">"# (icon(Icon::Warn)) " There is no operation " (name(op)) ".</p>")
    });
    View {
        here: Here::Operations,
        title: "Operations".to_owned(),
        main: html!(
            (page_head("Operations", &"Every call that may have an effect: one row for one effect.", frame.now)) (lost)
            r#"<div id="unknown-part">"# (unknown(frame, seen)) "</div>"
            r#"<section class="block" aria-labelledby="ops">"# (tabs(seen)) (news_bar())
            r#"<div id="rows" data-rows="operations">"# (table(frame, &seen.rows, "Operations, newest first")) "</div>"
            (pager(seen)) "</section>"
        ),
        keys: Keys::Places,
    }
}

fn unknown(frame: &Frame, seen: &OperationsView) -> Html {
    if seen.unknown.is_empty() {
        return Html::new();
    }
    let rows = each(&seen.unknown, |deed| {
        html!(
            r#"<div class="result result-unknown">"# (icon(Icon::Unknown)) "<div><p><strong><a href=\"/operations/"
            (deed.op.to_string()) "\">" (sentence(deed, Length::Row)) r#"</a></strong></p><p class="sub">"#
            (name(&deed.upstream)) " did not say what became of it, " (span(frame.now.since(deed.updated)))
            " ago. Tollhouse keeps asking; a person who knows can say it.</p></div>" (deed.amount.map(money)) "</div>"
        )
    });
    let all = u64::try_from(seen.unknown.len()).unwrap_or(u64::MAX);
    html!(
        r#"<section aria-labelledby="unk"><div class="block-head"><h2 id="unk">"#
        (super::parts::said(Status::Unknown, &"Outcome unknown")) "</h2><p>"
        (super::parts::some(all, "operation", "operations"))
        "; what they took stays reserved. Never sent again blindly.</p></div>" (rows) "</section>"
    )
}

fn tabs(seen: &OperationsView) -> Html {
    let current = |own: Option<&str>| (own == seen.only).then(|| html!(r#" aria-current="true""#));
    let number = |state: &str| {
        let counts = seen.counts.as_ref()?;
        counts.iter().find(|(name, _)| *name == state).map(|(_, many)| html!(" "(count(*many))))
    };
    let states = each(
        STATES,
        |(state, word)| html!("<li><a href=\"/operations?state=" (state) "\"" (current(Some(state))) ">" (word) (number(state)) "</a></li>"),
    );
    html!(
        r#"<div class="tabs" id="tabs"><nav aria-label="State"><ul><li><h2 id="ops">"#
        (if seen.only.is_some() { "Operations" } else { "All operations" })
        r#"</h2></li><li><a href="/operations""# (current(None)) ">All</a></li>" (states) "</ul></nav>"
        r#"<form role="search" action="/operations"><label class="unseen" for="find">Find an operation by its name</label>"#
        r#"<input type="search" id="find" name="find" placeholder="op_…" maxlength="60"></form></div>"#
    )
}

/// Rows of operations: this view's, and the decided holds'.
pub fn table(frame: &Frame, rows: &[Deed], caption: &'static str) -> Html {
    if rows.is_empty() {
        return html!(
            r#"<div class="card empty"><p><strong>Nothing here yet</strong></p><p>Each call that may have an effect stands here, from the "#
            r#"moment that it is asked.</p></div>"#
        );
    }
    let mut named = Html::new();
    named.raw(caption);
    let rows = each(rows, |deed| row(frame, deed));
    html!(
        r#"<table class="card table stack ops"><caption class="unseen">"# (named) r#"</caption><thead><tr>"#
        r#"<th scope="col">Time</th><th scope="col">State</th><th scope="col">What</th><th scope="col">Agent</th>"#
        r#"<th scope="col">Upstream says</th><th scope="col" class="num">Amount</th></tr></thead><tbody>"# (rows)
        "</tbody></table>"
    )
}

fn row(frame: &Frame, deed: &Deed) -> Html {
    let op = deed.op.to_string();
    let place = if deed.state == State::Held { "/holds/" } else { "/operations/" };
    let says = match (deed.state, deed.status) {
        (_, Some(status)) => html!((name(&deed.upstream)) ", " (status)),
        (State::Submitted { .. }, None) => html!((name(&deed.upstream)) ", waiting"),
        (State::Unknown, None) => html!((name(&deed.upstream)) ", nothing"),
        (State::Held | State::Approved | State::Refused { .. }, None) => html!("not asked"),
        (State::Done { .. } | State::NotSent, None) => html!("nothing"),
    };
    let amount = match deed.amount {
        Some(amount) => html!(r#"<td class="num" data-label="Amount">"# (money(amount)) "</td>"),
        None => html!(r#"<td class="num sub" data-label="Amount">none</td>"#),
    };
    html!(
        "<tr id=\"row-" (op.as_str()) r#""><td class="tight sub">"# (recent(deed.updated, frame.now))
        r#"</td><td class="tight">"# (status(Status::of(deed.state))) "</td><th scope=\"row\"><a href=\"" (place)
        (op.as_str()) "\">" (sentence(deed, Length::Row)) r#"</a></th><td data-label="Agent">"# (name(&deed.agent))
        r#"</td><td data-label="Upstream says" class="sub">"# (says) "</td>" (amount) "</tr>"
    )
}

fn pager(seen: &OperationsView) -> Html {
    let shown = u64::try_from(seen.rows.len()).unwrap_or(u64::MAX);
    let cut = seen.is_cut.then(|| html!("; older ones are found by their name, or in the records"));
    html!(r#"<p class="pager">"# (super::parts::some(shown, "row", "rows")) (cut) ".</p>")
}

/// Holds that are decided.
pub fn decided(frame: &Frame, rows: &[Deed]) -> View {
    View {
        here: Here::Holds,
        title: "Decided holds".to_owned(),
        main: html!(
            (page_head("Decided holds", &"What people answered, and what came of it.", frame.now))
            r#"<div class="tabs" id="tabs"><nav aria-label="State"><ul><li><span>State</span></li><li><a href="/">Waiting</a>"#
            r#"</li><li><a href="/decided" aria-current="true">Decided</a></li></ul></nav></div>"# (news_bar())
            r#"<div id="rows" data-rows="operations">"# (table(frame, rows, "Decided holds, newest first")) "</div>"
        ),
        keys: Keys::Places,
    }
}

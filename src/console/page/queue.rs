//! What waits for a person? The riskiest first, then what waited longest.

use super::frame::{Frame, Here, Keys, View, csrf, news_bar, page_head};
use super::html::{Html, each, html};
use super::look::{Asked, Deed, SOON};
use super::parts::{Icon, Status, Way, count, icon, money, name, said, some, span, ticking};
use super::sentence::{Length, sentence, title};
use crate::money::Money;
use crate::store::Risk;

/// The queue, or a page of it.
#[derive(Debug)]
pub struct QueueView {
    /// The rows, in order.
    pub rows: Vec<Deed>,
    /// How many wait in each queue that the viewer sees.
    pub queues: Vec<(String, u64)>,
    /// Only this one's.
    pub only: Option<String>,
    /// How many wait, in all that is chosen.
    pub total: u64,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Whether this is the first page.
    pub is_first: bool,
    /// What was just done here.
    pub done: Option<String>,
    /// What was last answered, for a queue that is empty.
    pub last: Option<Deed>,
}

/// The view.
pub fn queue(frame: &Frame, seen: &QueueView) -> View {
    let total = seen.total;
    let done = seen.done.as_ref().map(|done| {
        html!(r#"<p class="done-notice" role="status">"# (icon(Icon::Done)) " " (done.as_str()) "</p>")
    });
    let body = if seen.rows.is_empty() { empty(frame, seen) } else { table(frame, seen) };
    View {
        here: Here::Holds,
        title: if total == 0 {
            "Holds (none waiting)".to_owned()
        } else {
            format!("Holds ({} waiting)", count(total))
        },
        main: html!(
            (page_head("Holds", &lede(frame, seen, total), frame.now)) (done) (tabs(seen)) (news_bar())
            r#"<div id="rows" data-rows="holds">"# (body) "</div>" (pager(seen, total))
        ),
        keys: Keys::List,
    }
}

fn lede(frame: &Frame, seen: &QueueView, total: u64) -> Html {
    if total == 0 {
        return html!("None waiting.");
    }
    let asked = || seen.rows.iter().filter_map(|deed| deed.asked.as_ref());
    let oldest = asked().map(|asked| asked.since).min();
    let oldest = oldest
        .filter(|_| seen.is_first)
        .map(|at| html!(" Oldest " (span(frame.now.since(at))) "."));
    let soon = asked().filter(|asked| asked.deadline.since(frame.now) < SOON).count();
    let soon = match soon {
        0 => None,
        1 => Some(html!(" One expires within 30 min.")),
        many => Some(html!(" " (many) " expire within 30 min.")),
    };
    // Amounts are added only where all that wait are here.
    let whole = u64::try_from(seen.rows.len()) == Ok(total);
    html!((count(total)) " waiting" (sums(seen).filter(|_| whole)) "." (oldest) (soon))
}

/// Each currency for itself; they are never added together.
fn sums(seen: &QueueView) -> Option<Html> {
    let mut sums: Vec<Money> = Vec::new();
    for amount in seen.rows.iter().filter_map(|deed| deed.amount) {
        match sums.iter_mut().find(|sum| sum.currency == amount.currency) {
            Some(sum) => sum.minor = sum.minor.saturating_add(amount.minor),
            None => sums.push(amount),
        }
    }
    let last = sums.len().checked_sub(1)?;
    let each = each(sums.into_iter().zip(0_usize..), |(sum, at)| {
        let before = match at {
            0 => ", asking for ",
            at if at == last => " and ",
            _ => ", ",
        };
        html!((before)(money(sum)))
    });
    Some(html!((each)))
}

fn tabs(seen: &QueueView) -> Html {
    let all = seen.queues.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let current =
        |own: Option<&str>| (own == seen.only.as_deref()).then(|| html!(r#" aria-current="true""#));
    let queues = each(&seen.queues, |(queue, waiting)| {
        html!(
            "<li><a href=\"/?queue=" (super::address(queue)) "\"" (current(Some(queue))) ">" (name(queue)) " "
            (count(*waiting)) "</a></li>"
        )
    });
    html!(
        r#"<div class="tabs" id="tabs"><nav aria-label="Queue"><ul><li><span>Queue</span></li><li><a href="/""#
        (current(None)) ">All " (count(all)) "</a></li>" (queues) "</ul></nav>"
        r#"<nav aria-label="State"><ul><li><span>State</span></li>"#
        r#"<li><a href="/" aria-current="true">Waiting</a></li><li><a href="/decided">Decided</a></li></ul></nav></div>"#
    )
}

fn table(frame: &Frame, seen: &QueueView) -> Html {
    let groups = each([Risk::High, Risk::Medium, Risk::Low], |risk| group(frame, seen, risk));
    html!(
        r#"<form class="card" method="post" action="/holds/deny" autocomplete="off">"# (csrf(frame))
        r#"<table class="table queue stack"><caption class="unseen">Holds waiting, riskiest first, then oldest first"#
        r#"</caption><thead><tr><th scope="col" class="tight"><span class="unseen">Select</span></th>"#
        r#"<th scope="col">What will happen, and why it waits</th><th scope="col">Agent, queue</th>"#
        r#"<th scope="col" class="num">Amount</th><th scope="col" class="num">Waiting</th>"#
        r#"<th scope="col" class="num">Expires in</th></tr></thead>"# (groups) "</table>"
        r#"<div class="batch"><label for="batch-reason">Reason, sent to the agents "#
        r#"<input type="text" id="batch-reason" name="reason" required maxlength="500"></label>"#
        r#"<button class="button button-deny">"# (icon(Icon::Denied)) "Deny the selected holds</button>"
        r#"<p class="hint">Nothing is sent for them. Approving is done one at a time.</p></div></form>"#
    )
}

fn group(frame: &Frame, seen: &QueueView, risk: Risk) -> Html {
    let asks = |deed: &&Deed| deed.asked.as_ref().is_some_and(|asked| asked.risk == risk);
    let rows = each(seen.rows.iter().filter(asks), |deed| row(frame, deed));
    if rows.is_empty() {
        return Html::new();
    }
    // How many there are is known only where all are here.
    let whole = seen.is_first && seen.next.is_none();
    let waiting = whole.then(|| html!((rows.len()) " waiting · "));
    html!(
        r#"<tbody><tr><th class="group-head" colspan="6" scope="rowgroup">"# (risk_words(risk))
        r#" <span class="sub">"# (waiting) (means(risk)) "</span></th></tr>" (rows) "</tbody>"
    )
}

/// Its bars and its words.
pub fn risk_words(risk: Risk) -> Html {
    match risk {
        Risk::High => {
            html!(r#"<span class="risk risk-high">"# (icon(Icon::RiskHigh)) "High risk</span>")
        }
        Risk::Medium => {
            html!(r#"<span class="risk risk-medium">"# (icon(Icon::RiskMedium)) "Medium risk</span>")
        }
        Risk::Low => {
            html!(r#"<span class="risk risk-low">"# (icon(Icon::RiskLow)) "Low risk</span>")
        }
    }
}

fn means(risk: Risk) -> &'static str {
    match risk {
        Risk::High => "much money or nobody knows how much, or two people must say yes",
        Risk::Medium => "other money, and changes",
        Risk::Low => "messages",
    }
}

fn row(frame: &Frame, deed: &Deed) -> Html {
    let Some(asked) = &deed.asked else { return Html::new() };
    let op = deed.op.to_string();
    let amount = match deed.amount {
        Some(amount) => money(amount),
        None => html!(r#"<span class="none">no money moves</span>"#),
    };
    html!(
        "<tr id=\"row-" (op.as_str()) "\"><td class=\"tight pickcell\">"
        "<input class=\"pick\" type=\"checkbox\" name=\"hold\" value=\"" (op.as_str()) "\" aria-label=\"Select: "
        (title(deed)) ", " (op.as_str()) "\"></td><th scope=\"row\" class=\"what\"><a href=\"/holds/" (op.as_str()) "\">"
        (sentence(deed, Length::Row)) r#"</a><br><span class="sub">"# (why(asked)) "</span></th>"
        r#"<td class="who">"# (name(&deed.agent)) r#"<br><span class="sub">"# (name(&asked.queue)) "</span></td>"
        r#"<td class="num amount">"# (amount) "</td>"
        r#"<td class="num" data-label="Waiting">"# (ticking(asked.since, Way::Since, frame.now)) "</td>"
        r#"<td class="num" data-label="Expires in">"# (expires(frame, asked)) "</td></tr>"
    )
}

/// Quiet until it is soon.
fn expires(frame: &Frame, asked: &Asked) -> Html {
    let left = ticking(asked.deadline, Way::Until, frame.now);
    if asked.deadline.since(frame.now) < SOON { said(Status::Soon, &left) } else { left }
}

/// The reasons in one line, after how many calls it stands for.
pub fn why(asked: &Asked) -> Html {
    let times = (asked.joined > 0).then(|| {
        let calls = u64::from(asked.joined).saturating_add(1);
        html!(r#"<span class="times">"# (some(calls, "identical call", "identical calls")) "</span> ")
    });
    let reasons = each(&asked.reasons, |reason| {
        let numbers = reason.numbers.as_ref().map(|numbers| html!(": "(numbers.as_str())));
        html!((super::hold::capital(&reason.words)) (numbers) ". ")
    });
    let given = (asked.approvers > 1)
        .then(|| html!((asked.yes.len()) " of " (asked.approvers) " people said yes."));
    html!((times)(reasons)(given))
}

fn empty(frame: &Frame, seen: &QueueView) -> Html {
    let last = seen.last.as_ref().map(|deed| {
        html!(" The last one, " (title(deed)) ", was answered " (span(frame.now.since(deed.updated))) " ago.")
    });
    let heading = match &seen.only {
        Some(queue) => html!("Nothing waits in the queue "(name(queue))),
        None => html!("Nothing waits for you"),
    };
    html!(
        r#"<div class="card empty"><h2>"# (heading) "</h2><p>Calls that need a person appear here by themselves."
        (last) r#"</p><p><a href="/decided">Decided holds</a> · <a href="/activity">Activity</a></p></div>"#
    )
}

fn pager(seen: &QueueView, total: u64) -> Html {
    let shown = u64::try_from(seen.rows.len()).unwrap_or(u64::MAX);
    if seen.is_first && seen.next.is_none() {
        let all =
            (total > 0).then(|| html!(r#"<p class="pager">All "# (count(total)) " shown.</p>"));
        return html!((all));
    }
    let only = seen.only.as_ref().map(|queue| html!("queue=" (super::address(queue)) "&amp;"));
    let first = (!seen.is_first).then(|| {
        let only = seen.only.as_ref().map(|queue| html!("?queue="(super::address(queue))));
        html!("<a href=\"/" (only) "\">First page</a>")
    });
    let next = seen.next.as_ref().map(|next| {
        html!("<a rel=\"next\" href=\"/?" (only) "after=" (super::address(next)) "\">Next 50</a>")
    });
    html!(
        r#"<nav class="pager" aria-label="Pages"><span>"# (count(shown)) " of " (count(total))
        " shown, riskiest first, then oldest</span> " (first) " " (next) "</nav>"
    )
}

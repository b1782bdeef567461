//! What is stopped, what could be, which roads are open, how much room is there?
//!
//! Never stops anything by a link: a link opens a form, a form with a reason and the scope typed stops.

use super::frame::{Frame, Here, Keys, View, csrf, page_head, scope};
use super::html::{Html, each, html};
use super::parts::{
    Icon, Status, icon, id, minute, money, name, recent, said, sentence, shape, span, status,
    tinted,
};
use super::roads::roads;
use crate::breaker::Shown;
use crate::call::OperationId;
use crate::clock::Timestamp;
use crate::contract::{Budget, Over, Room};
use crate::gate::RoadSeen;
use crate::store::{Freeze, Stops};

/// What can be stopped, and what is.
#[derive(Debug)]
pub struct ControlsView {
    /// Freezes in force, and whether the viewer may lift each.
    pub freezes: Vec<(Freeze, Seen)>,
    /// Scopes that can be stopped from here: `all`, `class/financial`, `upstream/stripe`.
    pub scopes: Vec<String>,
    /// The scope whose form is open.
    pub open: Option<String>,
    /// The freeze whose way back is open.
    pub lifting: Option<String>,
    /// Whether the viewer may lift freezes at all.
    pub may_lift: bool,
    /// How far each freeze reaches now, by its id: who follows, what is in flight, what waits.
    pub reaches: Vec<(Box<str>, String)>,
    /// Each upstream's road.
    pub roads: Vec<RoadSeen>,
    /// Budgets as contracts have them: for what, and how much.
    pub budgets: Vec<(String, Budget)>,
    /// Those of which so much is used that operators are told.
    pub near: Vec<NearRow>,
    /// Why the last form was not taken.
    pub error: Option<String>,
}

/// A budget that is near.
#[derive(Debug)]
pub struct NearRow {
    /// `budget.customer-24h`.
    pub budget: String,
    /// Whose it is; nothing where it is everybody's, or a case by the agent's own name for it.
    pub whose: String,
    /// How much is used, in per cent.
    pub per_cent: u64,
    /// How much that is.
    pub used: String,
    /// Of how much.
    pub room: String,
    /// The latest operation that counts in it, and when it changed.
    pub latest: (OperationId, Timestamp),
}

/// How much of a freeze a viewer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    Whole,
    /// That there is one: it is the whole fleet's, and they are bound to tenants.
    Outline,
}

/// The view.
pub fn controls(frame: &Frame, seen: &ControlsView) -> View {
    let error = seen.error.as_ref().map(|error| {
        html!(r#"<p class="error" role="alert" id="err">"# (icon(Icon::Warn)) " " (error.as_str()) "</p>")
    });
    let lede = "Stop calls, see which roads are open and how much room there is.";
    View {
        here: Here::Controls,
        title: "Controls".to_owned(),
        main: html!(
            (page_head("Controls", &lede, frame.now)) (error) r#"<div id="controls" data-swap-idle>"# (figures(frame, seen))
            (freezes(frame, seen)) (brakes(frame, seen)) (roads(&seen.roads)) (near(frame, seen)) (budgets(seen)) "</div>"
        ),
        keys: Keys::Places,
    }
}

fn figures(frame: &Frame, seen: &ControlsView) -> Html {
    let frozen = match frame.frozen().count() {
        0 => html!("None <small>nothing is stopped</small>"),
        many => {
            html!((said(Status::Frozen, &html!((many) " frozen"))) " <small>until somebody lets it run</small>")
        }
    };
    let open = seen.roads.iter().filter(|road| road.shown == Shown::Open).count();
    let half = seen.roads.iter().filter(|road| road.shown == Shown::HalfOpen).count();
    let closed = seen.roads.len().saturating_sub(open).saturating_sub(half);
    let breakers = match (open, half) {
        (0, 0) => html!("All closed <small>calls pass to " (closed) "</small>"),
        (0, half) => {
            html!((said(Status::HalfOpen, &html!((half) " half open"))) " <small>" (closed) " closed</small>")
        }
        (open, _) => {
            html!((said(Status::Open, &html!((open) " open"))) " <small>" (closed) " closed</small>")
        }
    };
    html!(
        r#"<dl class="figures"><div><dt>Freezes</dt><dd>"# (frozen) "</dd></div><div><dt>Breakers</dt><dd>" (breakers)
        "</dd></div><div><dt>Budgets</dt><dd>" (seen.budgets.len()) " <small>in contracts</small></dd></div></dl>"
    )
}

fn freezes(frame: &Frame, seen: &ControlsView) -> Html {
    let frozen = each(frame.frozen(), |(freeze, how)| stopped(frame, seen, freeze, *how));
    let now: Vec<String> = frame.frozen().map(|(freeze, _)| freeze.scope.to_string()).collect();
    let running = each(seen.scopes.iter().filter(|scope| !now.contains(scope)), |scope| {
        let open = (seen.open.as_deref() == Some(scope)).then(|| stop_form(frame, scope));
        html!(
            r#"<tr><th scope="row">"# (scope_name(scope)) r#"</th><td data-label="State">"# (status(Status::Running))
            r#"</td><td data-label="Since" class="sub">not stopped</td><td class="num">"# (stop_link(scope))
            "</td></tr>" (open)
        )
    });
    let other = (seen.open.as_deref() == Some("other")).then(|| other_form(frame));
    html!(
        r#"<section class="block" aria-labelledby="sw"><div class="block-head"><h2 id="sw">Freezes</h2><p>a stop holds "#
        "at once on every replica; what waits stays waiting, and what was sent cannot be called back</p></div>"
        r#"<div class="card"><table class="table stack"><caption class="unseen">Scopes, frozen ones first</caption><thead>"#
        r#"<tr><th scope="col">Scope</th><th scope="col">State</th><th scope="col">Since, by, why</th>"#
        r#"<th scope="col" class="num">Action</th></tr></thead><tbody>"# (frozen) (running)
        r#"<tr><th scope="row">Another scope<br><span class="sub">an agent, a customer, a tenant, an action</span></th>"#
        r#"<td></td><td></td><td class="num"><a class="button button-deny" href="/controls?stop=other#stop-form">"#
        (icon(Icon::Stopped)) "Stop…</a></td></tr>" (other) "</tbody></table></div></section>"
    )
}

/// What brakes hold, if any do.
fn brakes(frame: &Frame, seen: &ControlsView) -> Option<Html> {
    let on = |one: &&(Freeze, Seen)| one.0.stops == Stops::Held;
    seen.freezes.iter().find(on)?;
    let held = each(seen.freezes.iter().filter(on), |(one, how)| stopped(frame, seen, one, *how));
    Some(html!(
        r#"<section class="block" aria-labelledby="bk"><div class="block-head"><h2 id="bk">Brakes</h2><p>more was asked for "#
        "than usual: every effect in these scopes waits for a person, reads go on, and what people approve is sent</p></div>"
        r#"<div class="card"><table class="table stack"><thead><tr><th scope="col">Scope</th><th scope="col">State</th>"#
        r#"<th scope="col">Since, by, why</th><th scope="col" class="num">Action</th></tr></thead><tbody>"# (held)
        "</tbody></table></div></section>"
    ))
}

/// One stop: a person's, or a brake's.
fn stopped(frame: &Frame, seen: &ControlsView, freeze: &Freeze, how: Seen) -> Html {
    let why = match how {
        Seen::Whole => html!(
            (recent(freeze.at, frame.now)) ", " (name(&freeze.by)) r#"<br><span class="sub">"# (sentence(&freeze.reason))
            "</span>"
        ),
        Seen::Outline => html!((recent(freeze.at, frame.now))),
    };
    let holds = freeze.stops == Stops::Held;
    let until = match (freeze.until, holds) {
        (None, false) => Html::new(),
        (None, true) => html!(r#" <span class="sub">until a person releases it</span>"#),
        (Some(until), false) => {
            html!(r#" <span class="sub">until "# (minute(until, frame.now)) "</span>")
        }
        (Some(until), true) => {
            html!(r#" <span class="sub">until "# (minute(until, frame.now)) ", if it is quiet until then</span>")
        }
    };
    let (state, again, nobody) = match holds {
        false => {
            (tinted(Status::Frozen, &"Frozen"), "Let it run again…", "an operator lets it run")
        }
        true => (tinted(Status::Waiting, &"Held"), "Release…", "an operator releases it"),
    };
    let reach = seen.reaches.iter().find(|(id, _)| *id == freeze.id);
    let reach =
        reach.map(|(_, words)| html!(r#"<br><span class="sub">"# (words.as_str()) "</span>"));
    let may = seen.may_lift && how == Seen::Whole;
    let action = if may {
        html!(
            "<a class=\"button\" href=\"/controls?lift=" (super::address(&freeze.id)) "#lift-form\">"
            (icon(Icon::Running)) (again) "</a>"
        )
    } else {
        html!(r#"<span class="sub">"# (nobody) "</span>")
    };
    let open =
        (may && seen.lifting.as_deref() == Some(&*freeze.id)).then(|| lift_form(frame, freeze));
    html!(
        "<tr id=\"" (freeze.id.as_ref()) r#""><th scope="row">"# (scope(freeze)) r#"</th><td data-label="State">"#
        (state) (until) (reach) r#"</td><td data-label="Since">"# (why) r#"</td><td class="num">"#
        (action) "</td></tr>" (open)
    )
}

fn scope_name(scope: &str) -> Html {
    match scope {
        "all" => {
            html!(r#"<strong>all</strong><br><span class="sub">every agent, every upstream</span>"#)
        }
        other => id(other),
    }
}

fn stop_link(scope: &str) -> Html {
    let words = if scope == "all" { "Stop everything…" } else { "Stop…" };
    let label = format!("{words} ({scope})");
    html!(
        "<a class=\"button button-deny\" href=\"/controls?stop=" (super::address(scope)) "#stop-form\" aria-label=\""
        (label) "\">" (icon(Icon::Stopped)) (words) "</a>"
    )
}

/// What must be typed: the last word of a scope.
pub fn typed(scope: &str) -> &str {
    scope.rsplit('/').next().unwrap_or(scope)
}

fn question(scope: &str) -> String {
    match scope.split_once('/') {
        None => "everything, for every agent on every upstream?".to_owned(),
        Some(("class", class)) => format!("every {class} call on every upstream?"),
        Some(("upstream", upstream)) => format!("every call to {upstream}?"),
        Some((kind, which)) => format!("every call of {kind} {which}?"),
    }
}

fn stop_form(frame: &Frame, scope: &str) -> Html {
    let button = match scope.split_once('/') {
        None => "Stop everything now".to_owned(),
        Some(("class", class)) => format!("Stop {class} calls now"),
        Some((_, which)) => format!("Stop {which} now"),
    };
    let word = typed(scope);
    html!(
        r#"<tr><td class="act-cell" colspan="4"><form class="act-form" id="stop-form" method="post" action="/freezes" "#
        r#"autocomplete="off">"# (csrf(frame)) "<input type=\"hidden\" name=\"scope\" value=\"" (scope) "\"><h3>"
        (said(Status::Frozen, &"Stop")) " " (question(scope)) "</h3><p>" (what_happens()) r#"</p><div class="act-form-in">"#
        (reason_and_span()) r#"<div class="field narrow"><label for="stop-word">Type <code>"# (word)
        "</code></label><input type=\"text\" id=\"stop-word\" name=\"confirm\" required pattern=\"" (word)
        r#""></div><button class="button button-stop">"# (icon(Icon::Stopped)) (button)
        r#"</button><a class="button" href="/controls">Keep running</a></div></form></td></tr>"#
    )
}

fn what_happens() -> &'static str {
    "Its calls answer 503 until somebody lets them run. Holds keep waiting, their clocks run on. What was already sent \
     cannot be called back."
}

fn reason_and_span() -> Html {
    html!(
        r#"<div class="field"><label for="stop-reason">Reason, shown on every page</label><input type="text" "#
        r#"id="stop-reason" name="reason" required maxlength="200"></div><div class="field narrow"><label for="stop-for">"#
        r#"For</label><select id="stop-for" name="for"><option value="">until lifted</option><option value="1h">1 hour"#
        r#"</option><option value="4h">4 hours</option><option value="24h">24 hours</option></select></div>"#
    )
}

fn other_form(frame: &Frame) -> Html {
    html!(
        r#"<tr><td class="act-cell" colspan="4"><form class="act-form" id="stop-form" method="post" action="/freezes" "#
        r#"autocomplete="off">"# (csrf(frame)) "<h3>" (said(Status::Frozen, &"Stop")) " one agent, customer, tenant or action?</h3><p>"
        (what_happens()) r#"</p><div class="act-form-in"><div class="field"><label for="stop-scope">Scope</label>"#
        r#"<input type="text" id="stop-scope" name="scope" required maxlength="300" aria-describedby="scope-hint" "#
        r#"placeholder="agent/returns-bot"></div>"# (reason_and_span()) r#"<button class="button button-stop">"#
        (icon(Icon::Stopped)) r#"Stop this scope now</button><a class="button" href="/controls">Keep running</a></div>"#
        r#"<p class="hint" id="scope-hint"><code>agent/</code>, <code>customer/</code>, <code>tenant/</code>, "#
        r#"<code>action/</code>, <code>kind/</code>, <code>class/</code> or <code>upstream/</code> and a name; several with blanks between, "#
        "and a call must be in all of them.</p></form></td></tr>"
    )
}

fn lift_form(frame: &Frame, freeze: &Freeze) -> Html {
    if freeze.stops == Stops::Held {
        return html!(
            "<tr><td class=\"act-cell\" colspan=\"4\"><form class=\"act-form act-form-go\" id=\"lift-form\" method=\"post\" "
            "action=\"/freezes/" (freeze.id.as_ref()) "/lift\" autocomplete=\"off\">" (csrf(frame)) "<h3>"
            (shape(Status::Running)) " Release it?</h3><p>" (scope(freeze)) " held for "
            (span(frame.now.since(freeze.at))) ". Calls go without a person again, on every replica, and are counted from "
            r#"now on. What waits stays waiting.</p><div class="act-form-in"><button class="button">"# (icon(Icon::Running))
            r#"Release it</button><a class="button" href="/controls">Keep it on</a></div></form></td></tr>"#
        );
    }
    html!(
        "<tr><td class=\"act-cell\" colspan=\"4\"><form class=\"act-form act-form-go\" id=\"lift-form\" method=\"post\" "
        "action=\"/freezes/" (freeze.id.as_ref()) "/lift\" autocomplete=\"off\">" (csrf(frame)) "<h3>"
        (shape(Status::Running)) " Let it run again?</h3><p>" (scope(freeze)) " frozen for "
        (span(frame.now.since(freeze.at))) r#". Calls pass at once, on every replica; approved holds that waited for it run."#
        r#"</p><div class="act-form-in"><button class="button">"# (icon(Icon::Running))
        r#"Let it run again</button><a class="button" href="/controls">Keep it frozen</a></div></form></td></tr>"#
    )
}

fn near(frame: &Frame, seen: &ControlsView) -> Option<Html> {
    let rows = each(&seen.near, |row| {
        let (op, at) = row.latest;
        let past = if row.per_cent >= 100 { Status::Open } else { Status::HalfOpen };
        html!(
            r#"<tr><th scope="row">"# (id(&row.budget)) r#"</th><td data-label="Of">"# (name(&row.whose))
            r#"</td><td class="num" data-label="Used">"# (tinted(past, &html!((row.per_cent) "%"))) " " (row.used.as_str())
            r#"</td><td class="num" data-label="Limit">"# (row.room.as_str()) r#"</td><td data-label="Latest" class="sub">"#
            r#"<a href="/operations/"# (op.to_string()) r#"">"# (recent(at, frame.now)) "</a></td></tr>"
        )
    });
    (!seen.near.is_empty()).then(|| {
        html!(
            r#"<section class="block" aria-labelledby="nr"><div class="block-head"><h2 id="nr">Budgets that are near</h2>"#
            "<p>used now, as far as the latest operations tell</p></div>"
            r#"<table class="card table stack"><thead><tr><th scope="col">Budget</th><th scope="col">Of</th>"#
            r#"<th scope="col" class="num">Used</th><th scope="col" class="num">Limit</th><th scope="col">Latest</th></tr>"#
            "</thead><tbody>" (rows) "</tbody></table></section>"
        )
    })
}

fn budgets(seen: &ControlsView) -> Html {
    if seen.budgets.is_empty() {
        return html!(
            r#"<section class="block" aria-labelledby="bu"><div class="block-head"><h2 id="bu">Budgets</h2></div>"#
            r#"<p class="card empty-part sub">No contract has a budget: only caps bound how much moves.</p></section>"#
        );
    }
    let rows = each(&seen.budgets, |(what, budget)| {
        let room = match &budget.room {
            Room::Money(all) => html!((each(all, |amount| html!((money(*amount)) " ")))),
            Room::Count(many) => html!((*many) " effects"),
        };
        let past = match budget.over {
            Over::Hold => "held",
            Over::Refuse => "refused",
            Over::Allow => "let through",
        };
        html!(
            r#"<tr><th scope="row">"# (id(what)) r#"</th><td data-label="For">each "# (budget.per.name())
            r#"</td><td class="num" data-label="Limit">"# (room) r#"</td><td class="num" data-label="In">"#
            (span(budget.within)) r#"</td><td data-label="When passed" class="sub">"# (past) "</td></tr>"
        )
    });
    html!(
        r#"<section class="block" aria-labelledby="bu"><div class="block-head"><h2 id="bu">Budgets</h2><p>what is sent "#
        "and what waits both count; a hold says when one would be passed</p></div>"
        r#"<table class="card table stack"><thead><tr><th scope="col">Action</th><th scope="col">For</th>"#
        r#"<th scope="col" class="num">Limit</th><th scope="col" class="num">In</th><th scope="col">When passed</th></tr>"#
        "</thead><tbody>" (rows) "</tbody></table></section>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::page::sample;

    fn view(near: Vec<NearRow>) -> String {
        let seen = ControlsView {
            freezes: Vec::new(),
            scopes: Vec::new(),
            open: None,
            lifting: None,
            may_lift: true,
            reaches: Vec::new(),
            roads: Vec::new(),
            budgets: Vec::new(),
            near,
            error: None,
        };
        controls(&sample::frame(), &seen).main.into_string()
    }

    #[test]
    fn a_budget_that_is_near_stands_there_with_what_is_used_and_acts_on_nothing() {
        let row = NearRow {
            budget: "budget.customer-24h".into(),
            whose: "<b>cus_9</b>".into(),
            per_cent: 82,
            used: "246.00 USD".into(),
            room: "300.00 USD".into(),
            latest: (OperationId([7; 32]), sample::now()),
        };
        let shown = view(vec![row]);
        for part in
            ["Budgets that are near", "budget.customer-24h", "82%", "246.00 USD", "300.00 USD"]
        {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert!(!shown.contains("<b>cus_9"), "{shown}");
        assert!(!view(Vec::new()).contains("Budgets that are near"));
    }
}

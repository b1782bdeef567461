//! What became of it? One operation with its life, and the two forms of who has looked in the vendor's own
//! books.

use super::agent_text::{Asked as Wrote, quarantine};
use super::frame::{Frame, Here, Keys, View, csrf, live};
use super::hold::{amount_or_none, id_long, request, tags};
use super::html::{Html, each, html};
use super::look::{Deed, OperationView};
use super::parts::{
    Icon, Status, Way, icon, id, minute, money, name, sentence as said, span, ticking, when,
};
use super::sentence::{Length, sentence, title};
use super::timeline::timeline;
use crate::call::Outcome;
use crate::clock::Timestamp;
use crate::decision::Verdict;
use crate::store::State;

/// The view of an operation that waits for nobody.
pub fn operation(frame: &Frame, seen: &OperationView) -> View {
    let deed = &seen.deed;
    let held = deed.asked.is_some();
    let resolves =
        matches!(deed.state, State::Unknown | State::Done { outcome: Outcome::Accepted });
    let life = html!(
        r#"<section class="block" aria-labelledby="tl"><div class="block-head"><h2 id="tl">What happened</h2>"#
        "<p>first asked " (when(deed.created)) "</p></div>" (timeline(&seen.life, seen.next.as_ref(), frame.now)) "</section>"
    );
    let body = if resolves {
        html!(r#"<div class="hold"><div>"# (life) "</div>" (resolve(frame, seen)) "</div>")
    } else {
        html!((result(seen))(in_shadow(seen))(life)(mark(frame, seen)))
    };
    View {
        here: if held { Here::Holds } else { Here::Operations },
        title: format!("{}, {}", title(deed), Status::of(deed.state).word().to_lowercase()),
        main: html!(
            (crumbs(deed, frame.now)) (just_now(frame, seen)) "<div data-op=\"" (deed.op.to_string()) "\" data-swap>"
            (tags(frame, deed)) r#"<h1 class="sentence">"# (sentence(deed, Length::Whole)) "</h1>" (body)
            (quarantine(&seen.wrote, Wrote::Decided)) (proof(seen)) "</div>"
        ),
        keys: Keys::Places,
    }
}

fn crumbs(deed: &Deed, now: Timestamp) -> Html {
    let way = if deed.asked.is_some() {
        html!(
            r#"<a href="/">Holds</a> <span aria-hidden="true">/</span> <a href="/decided">Decided</a>"#
        )
    } else {
        html!(r#"<a href="/operations">Operations</a>"#)
    };
    html!(
        r#"<nav class="crumbs" aria-label="Where you are">"# (way) r#" <span aria-hidden="true">/</span> "#
        (super::parts::short_id(&deed.op.to_string())) (live(now)) "</nav>"
    )
}

/// What whoever looks just did; said from the record, not from the address.
fn just_now(frame: &Frame, seen: &OperationView) -> Option<Html> {
    let latest = seen.life.iter().rfind(|moment| moment.by == seen.viewer)?;
    // BOUND: a minute is as long as "just now" is true.
    if frame.now.since(latest.at).as_secs() > 60 {
        return None;
    }
    let words = match latest.what.as_str() {
        what if what.starts_with("approved") => {
            "Your yes is on record. This call runs once, or not at all."
        }
        what if what.starts_with("refused") => {
            "Your no is on record. Nothing was sent, and the agent is told."
        }
        _ => "Your answer is on record.",
    };
    Some(html!(r#"<p class="done-notice" role="status">"# (icon(Icon::Done)) " " (words) "</p>"))
}

/// How it stands, in a few words.
pub fn stands(frame: &Frame, deed: &Deed) -> Html {
    match deed.state {
        State::Held => html!("Waiting"),
        State::Approved => html!("Approved, runs next"),
        State::Submitted { .. } => html!("Sent, waiting for the answer"),
        State::Unknown => {
            html!("Outcome unknown for "(ticking(deed.updated, Way::Since, frame.now)))
        }
        State::Done { outcome: Outcome::Accepted } => html!("Taken, not finished"),
        State::Done { outcome: Outcome::Rejected } => html!("Turned down by the vendor"),
        State::Done { .. } if deed.asked.is_some() => html!("Approved and done"),
        State::Done { .. } => html!("Done"),
        State::NotSent => html!("Not sent"),
        State::Refused { .. } => html!((Status::of(deed.state).word())),
    }
}

/// What came of it, first.
fn result(seen: &OperationView) -> Html {
    let deed = &seen.deed;
    let upstream = name(&deed.upstream);
    let made = seen.made.as_ref().map(|made| html!(": "(id(made))));
    let status = deed.status.map(|status| html!("It answered " (status) "."));
    let took = deed.settled.map(|at| at.since(deed.created)).filter(|took| took.as_secs() > 0);
    let took = took.map(|took| html!(" " (span(took)) " from request to end."));
    let line = |class: &'static str, shape: Icon, words: Html, more: Html| {
        let mut out = Html::new();
        out.raw(class);
        super::html::Part::put(
            &html!(
                (icon(shape)) "<div><p><strong>" (words) "</strong></p><p class=\"sub\">" (more) "</p></div>"
                (deed.amount.map(money)) "</div>"
            ),
            &mut out,
        );
        out
    };
    const GO: &str = r#"<div class="block result result-done">"#;
    const STOP: &str = r#"<div class="block result result-stop">"#;
    const PLAIN: &str = r#"<div class="block result result-plain">"#;
    let contradiction = seen.contradiction.then(|| {
        line(
            STOP,
            Icon::Warn,
            html!("It was taken for not sent, and the vendor says that it happened."),
            html!("Look into it."),
        )
    });
    let main = match deed.state {
        State::Done { outcome: Outcome::Succeeded } => {
            line(GO, Icon::Done, html!((upstream) " did it, once" (made)), html!((status)(took)))
        }
        State::Done { outcome: Outcome::Rejected } => line(
            PLAIN,
            Icon::Refused,
            html!((upstream) " turned it down; nothing happened"),
            html!((status)(took)),
        ),
        State::Approved => line(
            PLAIN,
            Icon::Running,
            html!("It runs next, once"),
            html!("Judged again first; something that changed for the worse holds it anew."),
        ),
        State::Submitted { .. } => line(
            PLAIN,
            Icon::Submitted,
            html!("Sent to " (upstream) ", once"),
            html!("This page shows the answer by itself."),
        ),
        State::NotSent => {
            line(PLAIN, Icon::NotSent, html!("Nothing left"), html!((said(&seen.reason))(took)))
        }
        State::Refused { .. } => {
            // A person's own words stand in the life below, as theirs.
            let is_denied = Status::of(deed.state) == Status::Denied;
            let why =
                if is_denied { "The agent was told why.".to_owned() } else { said(&seen.reason) };
            line(STOP, Icon::Denied, html!("Nothing was sent"), html!((why)(took)))
        }
        State::Done { .. } | State::Held | State::Unknown => Html::new(),
    };
    html!((contradiction)(main))
}

/// What would have become of it: nobody was asked, and it went on.
fn in_shadow(seen: &OperationView) -> Option<Html> {
    let (verdict, reasons) = seen.shadow.as_ref()?;
    let would = match verdict {
        Verdict::Hold => "It ran in shadow: it would have been held for a person",
        Verdict::Verify | Verdict::Refuse | Verdict::Allow => {
            "It ran in shadow: it would have been refused"
        }
    };
    let reasons = each(
        reasons.iter(),
        |why| html!("<li>" (super::hold::capital(&why.words)) " " (id(&why.policy)) "</li>"),
    );
    Some(html!(
        r#"<section class="block" aria-labelledby="shadow"><div class="block-head"><h2 id="shadow">"# (icon(Icon::Warn))
        " " (would) "</h2></div><ul class=\"card inset\">" (reasons) "</ul></section>"
    ))
}

/// Whether the rules were right, said by whoever could have been asked.
fn mark(frame: &Frame, seen: &OperationView) -> Option<Html> {
    let Some(Ok(())) = &seen.may_mark else { return None };
    let op = seen.deed.op.to_string();
    Some(html!(
        r#"<section class="block" aria-labelledby="mark"><div class="block-head"><h2 id="mark">Was the rule right?</h2>"#
        r#"<p>counted in the report; it changes nothing of this call, and the last word counts</p></div>"#
        "<form class=\"card inset\" method=\"post\" action=\"/operations/" (op.as_str()) "/mark\" autocomplete=\"off\">" (csrf(frame))
        r#"<div class="field"><label for="m-why">Why</label><textarea id="m-why" name="reason" rows="2" maxlength="500">"#
        r#"</textarea></div><button class="button" name="verdict" value="needless">Needless: nobody had to look</button> "#
        r#"<button class="button" name="verdict" value="right">Right: somebody had to</button></form></section>"#
    ))
}

fn resolve(frame: &Frame, seen: &OperationView) -> Html {
    let deed = &seen.deed;
    let upstream = name(&deed.upstream);
    let op = deed.op.to_string();
    let head = html!(
        r#"<div class="decide-head"><h2 id="res" class="sub">Say what happened</h2><p class="amount">"#
        (amount_or_none(deed)) r#"</p><p class="sub">Only if you have looked in "# (upstream.as_str())
        " yourself. Your answer is final and on record; it sends nothing.</p></div>"
    );
    let forms = match &seen.may_resolve {
        Err(why) => html!(
            r#"<div class="cannot"><p><strong>You cannot resolve this one.</strong></p><p class="sub">"#
            (super::hold::capital(why)) ".</p></div>"
        ),
        Ok(()) => html!(
            "<form method=\"post\" action=\"/operations/" (op.as_str()) "/resolve\" autocomplete=\"off\">" (csrf(frame))
            r#"<input type="hidden" name="outcome" value="done"><div class="field"><label for="d-ref">What it is called "#
            "in " (upstream.as_str()) r#"</label><input type="text" id="d-ref" name="made" maxlength="120"></div>"#
            r#"<div class="field"><label for="d-why">How you know that it happened</label>"#
            r#"<textarea id="d-why" name="reason" rows="2" required maxlength="500"></textarea></div>"#
            r#"<button class="button button-wide">"# (icon(Icon::Done)) "It happened: mark as Done</button></form>"
            "<form method=\"post\" action=\"/operations/" (op.as_str()) "/resolve\" autocomplete=\"off\">" (csrf(frame))
            r#"<input type="hidden" name="outcome" value="not_done"><div class="field"><label for="n-why">"#
            r#"How you know that it did not happen</label><textarea id="n-why" name="reason" rows="2" required "#
            r#"maxlength="500"></textarea></div>"# (early(frame, seen))
            r#"<button class="button button-deny button-wide">"# (icon(Icon::NotSent))
            r#"It did not happen: mark as Not sent</button><p class="hint">The agent may ask again. If you are wrong, "#
            "it is done twice.</p></form>"
        ),
    };
    html!(r#"<section class="decide block" aria-labelledby="res">"# (head) (forms) "</section>")
}

/// A no too early lets the same call run beside one that only shows late: said aloud, and ticked.
fn early(frame: &Frame, seen: &OperationView) -> Option<Html> {
    let ripe = seen.ripe.filter(|ripe| *ripe > frame.now)?;
    Some(html!(
        r#"<div class="confirm"><p class="hint">It may still show that it happened until "# (minute(ripe, frame.now))
        r#".</p><p><input type="checkbox" id="n-force" name="force" value="yes"> "#
        r#"<label for="n-force">I know for certain all the same</label></p></div>"#
    ))
}

fn proof(seen: &OperationView) -> Html {
    let [policy, facts] = &seen.digests;
    let more = html!(
        "<dt>Upstream key</dt><dd>" (id_long(&seen.upstream_key)) "</dd>"
        (seen.request_id.as_ref().map(|request| html!("<dt>Vendor’s request</dt><dd>" (id(request)) "</dd>")))
        "<dt>Call digest</dt><dd>" (id_long(&seen.call_digest.to_string())) "</dd>"
        (policy.as_ref().map(|digest| html!("<dt>Policies</dt><dd>" (id_long(digest)) "</dd>")))
        (facts.as_ref().map(|digest| html!("<dt>Facts</dt><dd>" (id_long(digest)) "</dd>")))
    );
    if seen.request.is_some() {
        return request(seen.request.as_ref(), &seen.deed, &more);
    }
    html!(
        r#"<section class="block" aria-labelledby="proof"><div class="block-head"><h2 id="proof">Proof</h2>"#
        r#"<p>what an auditor can compare without this page</p></div><dl class="card kv"><dt>Sent to</dt><dd>"#
        (name(&seen.deed.upstream)) "</dd><dt>Action</dt><dd>" (id(&seen.deed.action)) ", class "
        (seen.deed.class.name()) "</dd><dt>Operation</dt><dd>" (id_long(&seen.deed.op.to_string())) "</dd>" (more)
        "</dl></section>"
    )
}

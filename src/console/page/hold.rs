//! What would this call do, why does it wait, and what is known? One hold, for the person who decides.
//!
//! In this order: our sentence, our reasons, what the systems of record say, the decision; then history, the
//! agent's text, the exact bytes.

use super::agent_text::{Asked as Wrote, quarantine};
use super::decide;
use super::frame::{Frame, Here, Keys, View, live};
use super::html::{Html, each, html};
use super::look::{Asked, Caps, Check, Deed, FactRow, HoldView, Request, Value};
use super::parts::{
    Icon, Status, Way, clock, figures, icon, id, money, money_text, name, recent, status, ticking,
    tinted, when,
};
use super::plots;
use super::queue::risk_words;
use super::sentence::{Length, sentence, title};
use crate::clock::Timestamp;

/// The view of a hold that waits.
pub fn hold(frame: &Frame, seen: &HoldView) -> View {
    let deed = &seen.deed;
    let asked = deed.asked.as_ref();
    View {
        here: Here::Holds,
        title: format!("{}, waiting", title(deed)),
        main: html!(
            (crumbs(seen, frame.now)) (changed_bar()) r#"<div class="hold" data-op=""# (deed.op.to_string()) r#""><div>"#
            (tags(frame, deed)) r#"<h1 class="sentence">"# (sentence(deed, Length::Whole)) "</h1>"
            (asked.map(|asked| why(seen, asked))) (checks(&seen.checks)) (facts(&seen.facts))
            (decide::jump(frame, seen)) "</div>" (asked.map(|asked| decide::panel(frame, seen, asked)))
            "</div>" (history(frame, seen)) (quarantine(&seen.wrote, Wrote::Waiting))
            (request(seen.request.as_ref(), deed, &exact(seen)))
            r##"<p class="hint block"><a href="#decide">Back to your decision</a></p>"##
        ),
        keys: Keys::Hold,
    }
}

fn crumbs(seen: &HoldView, now: Timestamp) -> Html {
    let place = &seen.place;
    let of = place.of.map(|(at, of)| html!("<span>" (at) " of " (of) "</span> "));
    let link = |op: Option<crate::call::OperationId>,
                rel: &'static str,
                words: &'static str,
                key: &'static str| {
        op.map(|op| {
            html!(
                "<a rel=\"" (rel) "\" href=\"/holds/" (op.to_string()) "\">" (words) "</a> <kbd>" (key) "</kbd> "
            )
        })
    };
    html!(
        r#"<nav class="crumbs" aria-label="Where you are"><a href="/">Holds</a> <span aria-hidden="true">/</span> "#
        (super::parts::short_id(&seen.deed.op.to_string())) r#"<span class="move">"# (of)
        (link(place.previous, "prev", "Previous hold", "K")) (link(place.next, "next", "Next hold", "J"))
        "</span>" (live(now)) "</nav>"
    )
}

/// Where the script says that somebody else was quicker; hidden until then.
fn changed_bar() -> Html {
    html!(
        r#"<div class="news" id="changed" hidden><p role="status" id="changed-text"></p>"#
        r#"<a class="button" id="changed-show" href="">Show it as it is now</a></div>"#
    )
}

/// How it stands, how risky it is, who asked.
pub fn tags(frame: &Frame, deed: &Deed) -> Html {
    let stands = match &deed.asked {
        Some(asked) if deed.state == crate::store::State::Held => {
            tinted(Status::Waiting, &html!("Waiting "(ticking(asked.since, Way::Since, frame.now))))
        }
        Some(_) | None => tinted(Status::of(deed.state), &super::operation::stands(frame, deed)),
    };
    let risk = deed.asked.as_ref().map(|asked| html!(" "(risk_words(asked.risk))));
    let customer = (!deed.customer.is_empty()).then(|| html!(" for "(name(&deed.customer))));
    let case = deed.case.as_ref().map(|case| html!(", case "(name(case))));
    let tenant = (!deed.tenant.is_empty()).then(|| html!(", tenant "(name(&deed.tenant))));
    html!(
        r#"<p class="tags">"# (stands) (risk) r#" <span class="sub">requested "# (recent(deed.created, frame.now))
        " by " (name(&deed.agent)) (customer) (tenant) (case) "</span></p>"
    )
}

fn why(seen: &HoldView, asked: &Asked) -> Html {
    let policies = super::parts::some(
        u64::try_from(asked.reasons.len()).unwrap_or(u64::MAX),
        "policy asks for a person",
        "policies ask for a person",
    );
    let reasons = each(&asked.reasons, |reason| {
        let numbers = reason.numbers.as_ref().map(|numbers| html!((numbers.as_str()) ". "));
        html!(
            "<li>" (icon(Icon::Held)) "<div><strong>" (capital(&reason.words)) ".</strong><p>" (numbers)
            (id(&reason.policy)) "</p></div></li>"
        )
    });
    let caps = seen
        .caps
        .zip(seen.deed.amount)
        .map(|(caps, amount)| html!(r#"<div class="panel">"# (between(caps, amount)) "</div>"));
    let people = (asked.approvers > 1 || !asked.roles.is_empty()).then(|| {
        let roles = (!asked.roles.is_empty()).then(|| html!(", one of each: " (asked.roles.join(", "))));
        html!(
            "<li>" (icon(Icon::Person)) "<div><strong>"
            (super::parts::some(u64::from(asked.approvers), "person", "different people")) " must say yes" (roles)
            ".</strong><p>The agent that asked and its customer can never answer.</p></div></li>"
        )
    });
    html!(
        r#"<section class="block" aria-labelledby="why"><div class="block-head"><h2 id="why">Why it waits</h2><p>"#
        (policies) r#"; nothing forbids it</p></div>"# (again(asked)) r#"<div class="card"><ul class="why">"# (reasons)
        (people) "</ul>" (caps) "</div></section>"
    )
}

/// Somebody said yes before, and what they said yes to is not what it is now.
fn again(asked: &Asked) -> Option<Html> {
    if asked.changed.is_empty() {
        return None;
    }
    let changed = each(&asked.changed, |what| match what.as_str() {
        "digest" => html!("<li>what would be sent, or the facts it rests on</li>"),
        other => html!("<li>the rule " (id(other)) "</li>"),
    });
    Some(html!(
        r#"<div class="again">"# (icon(Icon::Again)) " <div><strong>It was approved before, and is asked anew: "
        "something changed for the worse.</strong><ul>" (changed) "</ul></div></div>"
    ))
}

/// Where the amount stands between what runs by itself and what never does.
fn between(caps: Caps, amount: crate::money::Money) -> Html {
    if caps.auto.currency != amount.currency {
        return Html::new();
    }
    let hard = caps.hard.filter(|hard| hard.currency == amount.currency);
    plots::scale(
        &plots::Scale {
            automatic: caps.auto.minor,
            this: amount.minor,
            never: hard.map(|hard| hard.minor),
        },
        &[
            format!("automatic to {}", figures(caps.auto)),
            format!("this call, {}", figures(amount)),
            hard.map_or_else(
                || "no hard cap".to_owned(),
                |hard| format!("never over {}", figures(hard)),
            ),
        ],
    )
}

fn checks(checks: &[Check]) -> Html {
    if checks.is_empty() {
        return Html::new();
    }
    let heading = match checks.iter().all(|check| check.in_order) {
        true => html!("Checked and in order"),
        false => html!("Checked"),
    };
    // What is not in order comes first.
    let (good, bad): (Vec<&Check>, Vec<&Check>) = checks.iter().partition(|check| check.in_order);
    let bad = each(
        bad,
        |check| html!(r#"<li class="not">"# (icon(Icon::Warn)) "<span>Not in order: " (check.words.as_str()) "</span></li>"),
    );
    let good = each(
        good,
        |check| html!("<li>" (icon(Icon::Done)) "<span>" (check.words.as_str()) "</span></li>"),
    );
    html!(
        r#"<section class="block" aria-labelledby="checks"><div class="block-head"><h2 id="checks">"# (heading)
        r#"</h2><p>all of it is checked again before anything is sent</p></div><ul class="card checks">"#
        (bad) (good) "</ul></section>"
    )
}

/// What the systems of record say, each with its source and its moment.
pub fn facts(facts: &[FactRow]) -> Html {
    if facts.is_empty() {
        return Html::new();
    }
    let rows = each(facts, |fact| {
        html!(
            r#"<tr><th scope="row">"# (fact.name.as_str()) r#"</th><td data-label="Value">"# (value(&fact.value))
            r#"</td><td data-label="Read from" class="sub">"# (fact.source.as_str())
            r#"</td><td data-label="As of" class="num">"# (clock(fact.as_of)) "</td></tr>"
        )
    });
    html!(
        r#"<section class="block" aria-labelledby="facts"><div class="block-head"><h2 id="facts">Facts</h2>"#
        r#"<p>from the systems of record, not from the agent</p></div><table class="card table stack facts"><thead><tr>"#
        r#"<th scope="col">Fact</th><th scope="col">Value</th><th scope="col">Read from</th>"#
        r#"<th scope="col" class="num">As of</th></tr></thead><tbody>"# (rows) "</tbody></table></section>"
    )
}

fn value(value: &Value) -> Html {
    match value {
        Value::Money(amount) => money(*amount),
        Value::Bool(true) => html!("Yes"),
        Value::Bool(false) => html!("No"),
        Value::Time(at) => when(*at),
        Value::Number(number) => html!((*number)),
        Value::Text(text) => html!((crate::redact::bounded(text, 120))),
        Value::Assumed(text) => {
            html!((name(text)) r#" <span class="sub">taken for granted by the contract</span>"#)
        }
    }
}

/// What the customer and the agent had before.
fn history(frame: &Frame, seen: &HoldView) -> Html {
    let part = |heading: Html, deeds: &[Deed], nothing: &'static str| {
        let rows = each(deeds, |deed| past(frame, deed));
        let body = if rows.is_empty() {
            html!(r#"<p class="card empty-part sub">"# (nothing) "</p>")
        } else {
            html!(r#"<table class="card table"><tbody>"# (rows) "</tbody></table>")
        };
        html!(r#"<div><div class="block-head"><h2>"# (heading) "</h2></div>" (body) "</div>")
    };
    let deed = &seen.deed;
    let customer = (!deed.customer.is_empty()).then(|| {
        part(
            html!("Customer " (name(&deed.customer)) ", before"),
            &seen.customer,
            "Nothing else was asked for this customer.",
        )
    });
    html!(
        r#"<section class="block pair" aria-label="History">"# (customer)
        (part(html!("Agent " (name(&deed.agent)) ", before"), &seen.agent, "This agent asked for nothing else."))
        "</section>"
    )
}

/// One row of a history.
fn past(frame: &Frame, deed: &Deed) -> Html {
    html!(
        r#"<tr><td class="tight sub">"# (recent(deed.created, frame.now)) "</td><td>" (status(Status::of(deed.state)))
        " <a href=\"/operations/" (deed.op.to_string()) "\">" (title(deed)) "</a>"
        (deed.to.as_ref().map(|to| html!(" " (super::parts::short_id(to))))) r#"</td><td class="num">"#
        (deed.amount.map(money)) "</td></tr>"
    )
}

/// What it is, exactly, for who wants to compare.
fn exact(seen: &HoldView) -> Html {
    let [policy, facts] = &seen.digests;
    html!(
        "<dt>Call digest</dt><dd>" (id_long(&seen.call_digest.to_string())) "</dd>"
        (policy.as_ref().map(|digest| html!("<dt>Policies</dt><dd>" (id_long(digest)) "</dd>")))
        (facts.as_ref().map(|digest| html!("<dt>Facts</dt><dd>" (id_long(digest)) "</dd>")))
    )
}

/// A digest, whole: people compare them.
pub fn id_long(text: &str) -> Html {
    html!("<code>" (crate::redact::bounded(text, 100)) "</code>")
}

/// The bytes that would be sent, masked, and what they are.
pub fn request(request: Option<&Request>, deed: &Deed, more: &Html) -> Html {
    let bytes = match request {
        Some(request) => {
            let headers = each(
                &request.headers,
                |(header, value)| html!((name(header)) ": " (super::parts::sentence(value)) "\n"),
            );
            let body = request.body.as_ref().filter(|body| !body.is_empty());
            html!(
                r#"<pre class="request" tabindex="0" role="region" aria-label="Request as it will be sent">"#
                (request.line.as_str()) "\n" (headers) (body.map(|body| html!("\n" (body.as_str())))) "</pre>"
            )
        }
        None => html!(r#"<p class="request">The bytes are not kept any more.</p>"#),
    };
    html!(
        r#"<section class="block" aria-labelledby="request"><div class="block-head">"#
        r#"<h2 id="request">The exact request</h2><p>every value was chosen by the agent; an approval holds for these "#
        r#"bytes alone, once</p></div><div class="card"><dl class="kv"><dt>Sent to</dt><dd>"# (name(&deed.upstream))
        ", with the key of class " (deed.class.name()) "</dd><dt>Action</dt><dd>" (id(&deed.action))
        "</dd><dt>Operation</dt><dd>" (id_long(&deed.op.to_string())) "</dd>" (more) "</dl>" (bytes) "</div></section>"
    )
}

/// A sentence begins with a capital.
pub fn capital(text: &str) -> String {
    let text = super::parts::sentence(text.trim_end_matches('.')).replace('`', "");
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", letters.as_str())
}

/// `600.00 USD`, or that no money moves.
pub fn amount_or_none(deed: &Deed) -> Html {
    match deed.amount {
        Some(amount) => money(amount),
        None => html!(r#"<span class="none">no money moves</span>"#),
    }
}

/// The amount for a label, or what would be done.
pub fn amount_words(deed: &Deed) -> String {
    deed.amount.map_or_else(|| title(deed), money_text)
}

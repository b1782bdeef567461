//! What is around every view? The bar with what needs a person, what is frozen now, the foot.

use super::assets::{SPRITE, names};
use super::controls::Seen;
use super::html::{Html, Part, each, html};
use super::parts::{Icon, Status, clock, count, icon, id, minute, name, sentence, status};
use crate::clock::Timestamp;
use crate::store::{Freeze, Stops};

/// Which of the four places a view is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    Holds,
    Activity,
    Operations,
    Controls,
    Nowhere,
}

/// What every view is framed by.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The moment that the page tells of.
    pub now: Timestamp,
    /// Who looks.
    pub who: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// What their forms bring back.
    pub csrf: String,
    /// When they must sign in again; `None` for who brings a token each time.
    pub ends: Option<Timestamp>,
    /// Holds that wait, operations whose outcome is not known.
    pub waiting: u64,
    /// Operations whose outcome is not known.
    pub unknown: u64,
    /// What people stopped, and how much of it the viewer sees.
    pub freezes: Vec<(Freeze, Seen)>,
    /// Over the policies in force.
    pub policy: String,
    /// What runs in shadow, in the words of scopes.
    pub shadow: Vec<String>,
}

/// One view, inside its frame.
#[derive(Debug)]
pub struct View {
    /// Where it is.
    pub here: Here,
    /// What a tab or a bookmark says of it; never the agent's or an upstream's words.
    pub title: String,
    /// What it is about.
    pub main: Html,
    /// What the keys do here.
    pub keys: Keys,
}

/// What the keys do on a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    List,
    Hold,
    Places,
}

/// A whole page.
pub fn page(frame: &Frame, view: &View) -> Html {
    let [_, script, _] = names();
    let ends = frame.ends.map(|at| html!(" data-ends=\"" (at.to_string()) "\""));
    html!(
        (head(&view.title)) "<body" (ends) ">" (sprite()) r##"<a class="skip" href="#main">Skip to content</a>"##
        (bar(frame, view.here)) (notice(frame)) (in_shadow(frame))
        r#"<main id="main" class="page" tabindex="-1">"# (view.main) "</main>" (foot(frame, view.keys))
        "<script src=\"/assets/" (script) "\" defer></script></body></html>"
    )
}

/// What is before the body, of every page.
pub fn head(title: &str) -> Html {
    let [style, _, mark] = names();
    html!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8">"#
        r#"<meta name="viewport" content="width=device-width, initial-scale=1">"#
        r#"<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">"#
        "<title>" (title) " · Tollhouse</title>"
        "<link rel=\"icon\" type=\"image/svg+xml\" href=\"/assets/" (mark) "\">"
        "<link rel=\"stylesheet\" href=\"/assets/" (style) "\"></head>"
    )
}

/// Every shape.
pub fn sprite() -> Html {
    let mut out = Html::new();
    out.raw(SPRITE);
    out
}

/// The drawing beside our name.
pub fn barrier() -> Html {
    html!(
        r#"<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M3 14.5V5M1.2 14.5h3.6M3 7.2L14.5 3"/>"#
        r#"<circle cx="3" cy="4" r="1.4" class="solid"/></svg>Tollhouse"#
    )
}

fn bar(frame: &Frame, here: Here) -> Html {
    let current = |place: Here| (place == here).then(|| html!(r#" aria-current="page""#));
    let waiting = (frame.waiting > 0).then(|| {
        html!(r#" <span class="count">"# (count(frame.waiting)) r#"<span class="unseen"> waiting</span></span>"#)
    });
    let unknown = (frame.unknown > 0).then(|| {
        html!(
            r#" <span class="count count-odd">"# (icon(Icon::Unknown)) (count(frame.unknown))
            r#"<span class="count-word"> unknown</span></span>"#
        )
    });
    let frozen = frame.frozen().count();
    let stopped = (frozen > 0).then(|| {
        html!(
            r#" <span class="count count-stop">"# (icon(Icon::Stopped)) (frozen)
            r#"<span class="count-word"> frozen</span></span>"#
        )
    });
    html!(
        r#"<header class="bar"><div class="bar-in"><a class="bar-name" href="/">"# (barrier()) "</a>"
        r#"<nav class="bar-nav" aria-label="Main" id="nav">"#
        "<a href=\"/\"" (current(Here::Holds)) ">Holds" (waiting) "</a>"
        "<a href=\"/activity\"" (current(Here::Activity)) ">Activity</a>"
        "<a href=\"/operations\"" (current(Here::Operations)) ">Operations" (unknown) "</a>"
        "<a href=\"/controls\"" (current(Here::Controls)) ">Controls" (stopped) "</a></nav>"
        r#"<div class="bar-side"><span class="bar-who">"# (who(frame)) "</span>" (way_out(frame)) "</div></div></header>"
    )
}

fn who(frame: &Frame) -> String {
    match frame.roles.as_slice() {
        [] => frame.who.clone(),
        roles => format!("{}, {}", frame.who, roles.join(", ")),
    }
}

/// A session ends where it is held; a token is somebody else's.
fn way_out(frame: &Frame) -> Option<Html> {
    frame.ends?;
    Some(html!(
        r#"<form method="post" action="/sign-out">"# (csrf(frame))
        r#"<button class="button-quiet">Sign out</button></form>"#
    ))
}

/// What proves that a form is ours.
pub fn csrf(frame: &Frame) -> Html {
    html!("<input type=\"hidden\" name=\"csrf\" value=\"" (frame.csrf.as_str()) "\">")
}

impl Frame {
    /// What people stopped; what brakes hold goes on, past a person.
    pub fn frozen(&self) -> impl Iterator<Item = &(Freeze, Seen)> {
        self.freezes.iter().filter(|(freeze, _)| freeze.stops == Stops::Refused)
    }
}

/// What is frozen now, on every view for as long as it is.
fn notice(frame: &Frame) -> Html {
    let Some((latest, how)) = frame.frozen().max_by_key(|(freeze, _)| freeze.at) else {
        return html!(
            r#"<aside class="notice" id="notice" aria-label="Frozen now" hidden></aside>"#
        );
    };
    let others = frame.frozen().count().saturating_sub(1);
    let others = (others > 0).then(|| html!(" <span>And " (others) " more.</span>"));
    let why = (*how == Seen::Whole).then(|| {
        html!(r#"<span class="more"> "# (name(&latest.by)) ": “" (sentence(&latest.reason)) "”.</span>")
    });
    html!(
        r#"<aside class="notice" id="notice" aria-label="Frozen now"><p>"# (status(Status::Frozen))
        " <span>" (scope(latest)) " may not act since " (minute(latest.at, frame.now)) " UTC." (why) "</span>" (others)
        r#" <a href="/controls">Open controls</a></p></aside>"#
    )
}

/// What runs in shadow, on every view for as long as it does: nothing is held there.
fn in_shadow(frame: &Frame) -> Option<Html> {
    if frame.shadow.is_empty() {
        return None;
    }
    let scopes = each(frame.shadow.iter(), |scope| html!((id(scope)) " "));
    Some(html!(
        r#"<aside class="notice" aria-label="In shadow"><p>"# (icon(Icon::Warn)) " <strong>In shadow</strong> "
        (scopes) "<span>Rules are noted there, not applied: money moves without approval.</span></p></aside>"
    ))
}

/// A scope as it is written.
pub fn scope(freeze: &Freeze) -> Html {
    let words = freeze.scope.to_string();
    if words == "all" {
        return html!("Every agent, on every upstream,");
    }
    let parts: Vec<&str> = words.split(' ').collect();
    let last = parts.len().saturating_sub(1);
    let parts = each(parts.into_iter().zip(0_usize..), |(part, at)| {
        html!((id(part))(if at < last { " " } else { "" }))
    });
    html!((parts))
}

fn foot(frame: &Frame, keys: Keys) -> Html {
    let keys = match keys {
        Keys::List => html!(
            "<span><kbd>J</kbd> <kbd>K</kbd> next, previous</span><span><kbd>Enter</kbd> open</span>"
            "<span><kbd>X</kbd> select</span>"
        ),
        Keys::Hold => html!(
            "<span><kbd>A</kbd> go to approve</span><span><kbd>D</kbd> go to deny</span>"
            "<span><kbd>J</kbd> <kbd>K</kbd> next, previous hold</span><span><kbd>Esc</kbd> queue</span>"
        ),
        Keys::Places => html!(
            "<span><kbd>G</kbd> <kbd>H</kbd> holds</span><span><kbd>G</kbd> <kbd>A</kbd> activity</span>"
            "<span><kbd>G</kbd> <kbd>O</kbd> operations</span><span><kbd>G</kbd> <kbd>C</kbd> controls</span>"
        ),
    };
    let policy: String = frame.policy.trim_start_matches("sha256:").chars().take(8).collect();
    html!(
        r#"<footer class="foot"><p class="keys" hidden>"# (keys)
        r#"<span><button type="button" class="button-quiet" id="keys-open"><kbd>?</kbd> all keys</button></span></p>"#
        r#"<p class="proof">All times UTC · every view and answer is on record · policies <code>"# (policy)
        "</code></p></footer>"
    )
}

/// What a view begins with: its name, a line about it, whether it is live.
pub fn page_head(heading: &'static str, lede: &dyn Part, now: Timestamp) -> Html {
    let mut out = Html::new();
    out.raw("<div class=\"page-head\"><h1>");
    out.raw(heading);
    out.raw("</h1><p class=\"lede\" id=\"lede\">");
    lede.put(&mut out);
    out.raw("</p>");
    html!((live(now)) "</div>").put(&mut out);
    out
}

/// Since when a page is as it is; the script says here whether it is live.
pub fn live(now: Timestamp) -> Html {
    html!(r#"<p class="live" id="live"><span class="sub">As of</span> "# (clock(now)) "</p>")
}

/// Where the script says aloud how many changes wait, and shows them when asked.
pub fn news_bar() -> Html {
    html!(
        r#"<div class="news" id="news" hidden><p role="status" id="news-text"></p>"#
        r#"<button type="button" class="button" id="news-show">Show</button></div>"#
    )
}

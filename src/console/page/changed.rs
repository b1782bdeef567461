//! It is no longer what they looked at: what was, what is, and a new form.

use super::decide;
use super::frame::{Frame, Here, Keys, View};
use super::html::{Html, each, html};
use super::look::HoldView;
use super::parts::{Icon, icon, id};
use super::sentence::{Length, sentence, title};

/// What whoever answered had before them, as their form sent it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// The digest.
    pub digest: String,
    /// The amount that they typed, if any.
    pub amount: Option<String>,
    /// The policies that held it then, where they are known.
    pub reasons: Vec<String>,
}

/// The view.
pub fn changed(frame: &Frame, before: &Before, seen: &HoldView) -> View {
    let deed = &seen.deed;
    let asked = deed.asked.as_ref();
    let now = asked.map(|asked| asked.digest.to_string()).unwrap_or_default();
    let rows = html!(
        r#"<tr><th scope="row">What an answer names</th><td data-label="You read"><code>"#
        (crate::redact::bounded(&before.digest, 80)) r#"</code></td><td data-label="It is now"><code>"# (now)
        "</code></td></tr>"
    );
    let reasons = asked.map(|asked| {
        let new = each(
            &asked.reasons,
            |why| html!("<li>" (super::hold::capital(&why.words)) " " (id(&why.policy)) "</li>"),
        );
        let old = if before.reasons.is_empty() {
            html!("<li>not kept</li>")
        } else {
            html!((each(&before.reasons, |policy| html!("<li>" (id(policy)) "</li>"))))
        };
        html!(
            r#"<tr><th scope="row">Why it waits</th><td data-label="You read"><ul>"# (old)
            r#"</ul></td><td data-label="It is now"><ul>"# (new) "</ul></td></tr>"
        )
    });
    View {
        here: Here::Holds,
        title: format!("{}, changed", title(deed)),
        main: html!(
            r#"<div class="hold"><div><p class="error" role="alert">"# (icon(Icon::Warn))
            r#" Changed since you read it. Your answer did not count; nothing was sent.</p>"#
            r#"<h1 class="sentence">"# (sentence(deed, Length::Whole)) "</h1>"
            r#"<section class="block" aria-labelledby="diff"><div class="block-head"><h2 id="diff">What changed</h2></div>"#
            r#"<table class="card table stack"><thead><tr><th scope="col">Of it</th><th scope="col">You read</th>"#
            r#"<th scope="col">It is now</th></tr></thead><tbody>"# (rows) (reasons) "</tbody></table></section>"
            (super::hold::facts(&seen.facts)) "<p class=\"hint block\"><a href=\"/holds/" (deed.op.to_string())
            "\">Read all of it again</a></p>" (decide::jump(frame, seen)) "</div>"
            (asked.map(|asked| decide::panel(frame, seen, asked))) "</div>"
        ),
        keys: Keys::Hold,
    }
}

/// An answer that did not count for another reason, on the page that it was for.
pub fn not_taken(frame: &Frame, why: &str, seen: &HoldView) -> View {
    let deed = &seen.deed;
    let asked = deed.asked.as_ref().filter(|_| deed.state == crate::store::State::Held);
    View {
        here: Here::Holds,
        title: format!("{}, not answered", title(deed)),
        main: html!(
            r#"<div class="hold"><div><p class="error" role="alert">"# (icon(Icon::Warn)) " Your answer did not count: "
            (super::parts::sentence(why)) r#". Nothing was sent.</p><h1 class="sentence">"#
            (sentence(deed, Length::Whole)) "</h1><p class=\"hint block\"><a href=\"/holds/" (deed.op.to_string())
            "\">Read all of it again</a> · <a href=\"/\">Back to the queue</a></p>" (decide::jump(frame, seen)) "</div>"
            (asked.map(|asked| decide::panel(frame, seen, asked))) "</div>"
        ),
        keys: Keys::Hold,
    }
}

/// Nothing is here, or something went wrong: one card, and ways on.
pub fn told(title: &'static str, words: &str, more: Option<Html>) -> View {
    let mut heading = Html::new();
    heading.raw(title);
    View {
        here: Here::Nowhere,
        title: title.to_owned(),
        main: html!(
            r#"<div class="card empty"><h1>"# (heading) "</h1><p>" (words) "</p>" (more)
            r#"<p><a href="/">Holds</a> · <a href="/operations">Operations</a> · <a href="/controls">Controls</a></p></div>"#
        ),
        keys: Keys::Places,
    }
}

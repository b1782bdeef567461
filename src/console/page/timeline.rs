//! What happened, in which order? The life of one operation, as the store wrote it.
//!
//! A person's own words are set as a quotation of theirs; nothing of the agent's is in a life.

use super::html::{Html, each, html};
use super::look::Moment;
use super::parts::{Icon, Way, clock, day, icon, name, sentence, span, ticking};
use crate::clock::Timestamp;

/// How a moment looks.
struct Look {
    colour: &'static str,
    shape: Icon,
    /// Whether what follows is a time of waiting.
    waits: bool,
    heading: String,
    /// A person's words.
    quote: Option<String>,
    /// Ours.
    note: Option<String>,
}

const PLAIN: &str = "<span class=\"i-plain\">";
const GO: &str = "<span class=\"i-go\">";
const WAIT: &str = "<span class=\"i-wait\">";
const STOP: &str = "<span class=\"i-stop\">";
const ODD: &str = "<span class=\"i-odd\">";

/// Its life, and what comes next.
pub fn timeline(life: &[Moment], next: Option<&(Timestamp, String)>, now: Timestamp) -> Html {
    let mut last_day = String::new();
    let (mut before, mut said) = (None::<Timestamp>, Before::Nothing);
    let moments = each(life, |moment| {
        let own_day = moment.at.to_string().get(..10).unwrap_or_default().to_owned();
        // The day that it began on is said above all of it.
        let begins = !last_day.is_empty() && own_day != last_day;
        let begins = begins.then(|| html!("<li class=\"day\">" (day(moment.at)) "</li>"));
        last_day = own_day;
        let took = before.map(|earlier| moment.at.since(earlier)).filter(|took| took.as_secs() > 0);
        before = Some(moment.at);
        let look = look(moment, said);
        if moment.what.starts_with("held") {
            said = Before::Held;
        }
        item(&look, moment.at, begins, took.map(|took| format!("after {}", span(took))))
    });
    let next = next.map(|(at, words)| {
        html!(
            "<li>" (clock(*at)) (mark(PLAIN, Icon::Soon)) "<div><h3>Next: " (words.as_str()) "</h3><p>in "
            (ticking(*at, Way::Until, now)) r#"</p></div><span class="took"></span></li>"#
        )
    });
    html!(r#"<ol class="card timeline">"# (moments) (next) "</ol>")
}

fn mark(colour: &'static str, shape: Icon) -> Html {
    let mut out = Html::new();
    out.raw(colour);
    super::html::Part::put(&icon(shape), &mut out);
    out.raw("</span>");
    out
}

fn item(look: &Look, at: Timestamp, begins: Option<Html>, took: Option<String>) -> Html {
    let mut out = html!((begins));
    out.raw(if look.waits { "<li class=\"gap\">" } else { "<li>" });
    let quote = look.quote.as_ref().map(|quote| html!("<q>" (sentence(quote)) "</q>"));
    let note = look.note.as_ref().map(|note| html!((sentence(note)) " "));
    let words = (quote.is_some() || note.is_some()).then(|| html!("<p>" (note) (quote) "</p>"));
    let item = html!(
        (clock(at)) (mark(look.colour, look.shape)) "<div><h3>" (look.heading.as_str())
        "</h3>" (words) "</div><span class=\"took\">" (took) "</span></li>"
    );
    super::html::Part::put(&item, &mut out);
    out
}

/// What was said before it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It ran by itself.
    Nothing,
    /// People were asked.
    Held,
}

fn plain(shape: Icon, heading: impl Into<String>) -> Look {
    let heading = heading.into();
    Look { colour: PLAIN, shape, waits: false, heading, quote: None, note: None }
}

/// What a person said of the rules that spoke against it.
fn marked(what: &str) -> Option<(&str, Option<&str>)> {
    let said = what.strip_prefix("marked ")?;
    Some(said.split_once(": ").map_or((said, None), |(verdict, why)| (verdict, Some(why))))
}

/// The store writes its moments in few words; each has its shape here, and any other stands as it is.
fn look(moment: &Moment, before: Before) -> Look {
    let what = moment.what.as_str();
    if let Some(answer) = answered(moment) {
        return answer;
    }
    let waits = |shape, heading: String| Look { waits: true, ..plain(shape, heading) };
    if what.starts_with("submitted") {
        return waits(
            Icon::Submitted,
            match before {
                Before::Held => "Judged again, then sent once".to_owned(),
                Before::Nothing => "Judged, then sent once".to_owned(),
            },
        );
    }
    if let Some((verdict, why)) = marked(what) {
        let heading = format!("Marked {verdict} by {}", name(&moment.by));
        return Look { quote: why.map(str::to_owned), ..plain(Icon::Done, heading) };
    }
    if let Some(rest) = what.strip_prefix("passed on") {
        return waits(Icon::Again, format!("Passed on{rest}: nobody answered in time"));
    }
    if what.ends_with("was reminded") {
        return waits(Icon::Bell, super::hold::capital(what));
    }
    if what.starts_with("sent again") {
        return waits(Icon::Again, "Sent again, the same bytes under the same key".to_owned());
    }
    let mut heading = super::hold::capital(what);
    if !moment.by.is_empty() {
        heading = format!("{heading} ({})", name(&moment.by));
    }
    let has = |words: &[&str]| words.iter().any(|word| what.contains(word));
    if has(&["succeeded", "done", "answered 2", "it happened"]) {
        return Look { colour: GO, ..plain(Icon::Done, heading) };
    }
    if has(&["unknown", "no answer", "closed before"]) {
        return Look { colour: ODD, ..waits(Icon::Unknown, heading) };
    }
    plain(Icon::Running, heading)
}

/// What was asked of people, and what they said; `None` for everything else.
fn answered(moment: &Moment) -> Option<Look> {
    let who = name(&moment.by);
    let after = |start: &str| {
        let rest = moment.what.strip_prefix(start)?;
        let rest = rest.trim_start_matches([':', ' ']).trim_start_matches("for ");
        Some((!rest.is_empty()).then(|| rest.to_owned()))
    };
    if let Some(note) = after("held") {
        let held = plain(Icon::Held, "Held for a person; nothing was sent");
        return Some(Look { colour: WAIT, waits: true, note, ..held });
    }
    if let Some(quote) = after("approved") {
        return Some(Look { colour: GO, quote, ..plain(Icon::Person, format!("{who} said yes")) });
    }
    let why = after("refused")?;
    if moment.by.is_empty() {
        let refused = plain(Icon::Refused, "Refused; nothing was sent");
        return Some(Look { colour: STOP, note: why, ..refused });
    }
    let denied = plain(Icon::Denied, format!("{who} said no; nothing was sent"));
    Some(Look { colour: STOP, quote: why, ..denied })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_life_is_told_in_order_and_people_are_quoted() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let moment =
            |at: Timestamp, what: &str, by: &str| Moment { at, what: what.into(), by: by.into() };
        let life = [
            moment(at("2026-03-12T12:37:40Z"), "held: the amount is over the automatic cap", ""),
            moment(at("2026-03-12T13:02:43Z"), "approved: <b>agreed</b>", "Maya"),
            moment(at("2026-03-13T13:02:43Z"), "submitted", ""),
            moment(at("2026-03-13T13:02:44Z"), "refused: no", "Tom"),
            moment(at("2026-03-13T13:02:45Z"), "something new", ""),
        ];
        let next = (at("2026-03-13T13:03:45Z"), "the vendor is asked".to_owned());
        let page = timeline(&life, Some(&next), at("2026-03-13T13:02:46Z")).into_string();
        for part in [
            "<li class=\"day\"><time datetime=\"2026-03-13",
            "after 25 min",
            "Maya said yes</h3><p><q>&lt;b&gt;agreed&lt;/b&gt;</q>",
            "Tom said no; nothing was sent</h3><p><q>no</q>",
            "Something new",
            "Next: the vendor is asked",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(
            (page.matches("class=\"day\"").count(), page.matches("class=\"gap\"").count()),
            (1, 2)
        );
    }
}

//! What would happen, what happened? One sentence about the world, in our words.
//!
//! Made of the pack's summary, ids, amounts and facts; never of anything that the agent wrote.

use super::html::{Html, Part, html};
use super::look::Deed;
use super::parts::{id, money_text, name, short_id};
use crate::call::{Kind, Outcome};
use crate::store::State;

/// How much of it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Whole, with what was so before: the heading of a page.
    Whole,
    /// On a row.
    Row,
}

/// What it would do, did, or may have done.
pub fn sentence(deed: &Deed, length: Length) -> Html {
    let mut out = Html::new();
    let summary = tense(deed);
    phrase(&summary, deed, length, &mut out);
    if let Some(to) = reached(deed) {
        out.raw(match length {
            Length::Whole => " to customer ",
            Length::Row => " to ",
        });
        set(to, length).put(&mut out);
    }
    if length == Length::Row {
        return out;
    }
    match (deed.state, deed.before) {
        (State::Unknown, _) => {
            html!("; it is not known whether " (name(&deed.upstream)) " did it").put(&mut out);
        }
        (_, Some(before)) => {
            html!("; <strong>" (money_text(before)) "</strong> given back before").put(&mut out);
        }
        (_, None) => {}
    }
    out.raw(".");
    out
}

/// The same without any markup, for a title or a label: `Refund 600.00 USD`.
pub fn title(deed: &Deed) -> String {
    let summary = tense(deed);
    let verb = summary.split(' ').next().unwrap_or_default();
    match deed.amount {
        Some(amount) => format!("{verb} {}", money_text(amount)),
        None => crate::redact::bounded(&summary, 60),
    }
}

/// Whom the money reaches, where the pack's sentence does not say it.
fn reached(deed: &Deed) -> Option<&str> {
    let to = deed.to.as_deref().filter(|to| !to.is_empty())?;
    let pays = match deed.kind? {
        Kind::Refund | Kind::Credit | Kind::Payout => true,
        Kind::Cancel | Kind::Charge | Kind::Identity | Kind::PaymentMethod | Kind::Message => false,
    };
    (pays && !deed.summary.contains(to)).then_some(to)
}

fn set(text: &str, length: Length) -> Html {
    match length {
        Length::Whole => id(text),
        Length::Row => short_id(text),
    }
}

/// Amounts strong, names in the type of machines, everything else as it is.
fn phrase(summary: &str, deed: &Deed, length: Length, out: &mut Html) {
    let amount = deed.amount.map(|amount| (amount.to_string(), money_text(amount)));
    let mut rest = summary;
    while !rest.is_empty() {
        if let Some((plain, grouped)) = &amount
            && let Some(after) = rest.strip_prefix(plain.as_str())
        {
            html!("<strong>" (grouped.as_str()) "</strong>").put(out);
            rest = after;
            continue;
        }
        let end = rest.find(' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let bare = word.trim_end_matches([':', ',', ';', '.']);
        if deed.marks.iter().any(|mark| mark == bare) && !bare.is_empty() {
            set(bare, length).put(out);
            word.get(bare.len()..).unwrap_or_default().put(out);
        } else {
            word.put(out);
        }
        match after.strip_prefix(' ') {
            Some(next) => {
                out.raw(" ");
                rest = next;
            }
            None => rest = after,
        }
    }
}

/// BOUND: verbs of the packs that ship. A pack of another vendor may begin otherwise: then it is said
/// that it is done.
const VERBS: &[(&str, &str)] = &[
    ("Accept", "Accepted"),
    ("Add", "Added"),
    ("Advance", "Advanced"),
    ("Approve", "Approved"),
    ("Ask", "Asked"),
    ("Cancel", "Cancelled"),
    ("Capture", "Captured"),
    ("Change", "Changed"),
    ("Charge", "Charged"),
    ("Close", "Closed"),
    ("Collect", "Collected"),
    ("Concede", "Conceded"),
    ("Confirm", "Confirmed"),
    ("Create", "Created"),
    ("Credit", "Credited"),
    ("Debit", "Debited"),
    ("Decline", "Declined"),
    ("Delete", "Deleted"),
    ("Draw", "Drew"),
    ("E-mail", "E-mailed"),
    ("Finalise", "Finalised"),
    ("Let", "Let"),
    ("Make", "Made"),
    ("Offer", "Offered"),
    ("Pay", "Paid"),
    ("Present", "Presented"),
    ("Publish", "Published"),
    ("Pull", "Pulled"),
    ("Put", "Put"),
    ("Raise", "Raised"),
    ("Refund", "Refunded"),
    ("Release", "Released"),
    ("Remove", "Removed"),
    ("Report", "Reported"),
    ("Resume", "Resumed"),
    ("Schedule", "Scheduled"),
    ("Send", "Sent"),
    ("Set", "Set"),
    ("Simulate", "Simulated"),
    ("Start", "Started"),
    ("Stop", "Stopped"),
    ("Submit", "Submitted"),
    ("Take", "Took"),
    ("Transfer", "Transferred"),
    ("Verify", "Verified"),
    ("Void", "Voided"),
    ("Write", "Wrote"),
];

/// Future while it waits, past once it is done, doubt in between.
fn tense(deed: &Deed) -> String {
    let done = match deed.state {
        State::Done { outcome: Outcome::Succeeded | Outcome::Accepted } => true,
        State::Done { outcome: Outcome::Rejected | Outcome::NotSent | Outcome::Unknown }
        | State::Held
        | State::Approved
        | State::Submitted { .. }
        | State::Unknown
        | State::NotSent
        | State::Refused { .. } => false,
    };
    let summary = crate::redact::bounded(&deed.summary, 240);
    let (verb, rest) = summary.split_once(' ').unwrap_or((&summary, ""));
    let past = VERBS.iter().find(|(now, _)| *now == verb).map(|(_, past)| *past);
    match (done, past) {
        (false, _) => summary,
        (true, Some(past)) => format!("{past} {rest}"),
        (true, None) => format!("Done: {summary}"),
    }
}

/// What a button does, in its own words: `Approve and refund 600.00 USD`.
pub fn approve_words(deed: &Deed) -> String {
    let verb = deed.summary.split(' ').next().unwrap_or_default();
    let known = VERBS.iter().any(|(now, _)| *now == verb);
    match (known, deed.amount) {
        (true, Some(amount)) => {
            format!("Approve and {} {}", verb.to_lowercase(), money_text(amount))
        }
        (true, None) => format!("Approve: {}", verb.to_lowercase()),
        (false, Some(amount)) => format!("Approve {}", money_text(amount)),
        (false, None) => "Approve this call".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::super::sample::deed;
    use super::*;

    #[test]
    fn every_verb_of_the_packs_has_its_past() {
        for pack in ["stripe", "orders"] {
            let text = crate::catalog::pack::shipped(pack).unwrap();
            let verbs = text.lines().filter_map(|line| line.trim().strip_prefix("summary: \""));
            for verb in verbs.map(|line| line.split([' ', ':']).next().unwrap()) {
                assert!(VERBS.iter().any(|(now, _)| *now == verb), "{verb}");
            }
        }
    }

    #[test]
    fn a_hold_is_a_sentence_about_the_world() {
        let mut deed = deed();
        assert_eq!(
            sentence(&deed, Length::Whole).as_str(),
            "Refund <strong>1,600.00 USD</strong> of charge <code>ch_3QxVb2KeYt81Lm0f21</code> to customer \
             <code>cus_R4mZ81</code>; <strong>0.00 USD</strong> given back before."
        );
        assert_eq!(
            sentence(&deed, Length::Row).as_str(),
            "Refund <strong>1,600.00 USD</strong> of charge <code>ch_3QxVb…0f21</code> to <code>cus_R4mZ81</code>"
        );
        assert_eq!(title(&deed), "Refund 1,600.00 USD");
        assert_eq!(approve_words(&deed), "Approve and refund 1,600.00 USD");
        deed.state = State::Done { outcome: Outcome::Succeeded };
        assert!(sentence(&deed, Length::Row).as_str().starts_with("Refunded <strong>"));
        deed.state = State::Unknown;
        let whole = sentence(&deed, Length::Whole);
        assert!(whole.as_str().ends_with("; it is not known whether stripe did it."), "{whole:?}");
        deed.summary = "<b>Zap</b> everything".into();
        deed.amount = None;
        deed.state = State::Done { outcome: Outcome::Succeeded };
        deed.to = None;
        let odd = sentence(&deed, Length::Row);
        assert_eq!(odd.as_str(), "Done: &lt;b&gt;Zap&lt;/b&gt; everything");
        assert_eq!(approve_words(&deed), "Approve this call");
    }
}

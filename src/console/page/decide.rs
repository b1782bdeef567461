//! Yes or no? The panel with the amount, the time that is left, and two forms that never mix.
//!
//! Never remembers a reason, never holds the agent's or an upstream's text, never puts a yes where Enter in
//! the other form reaches it.

use super::frame::{Frame, csrf};
use super::hold::{amount_or_none, amount_words};
use super::html::{Html, each, html};
use super::look::{Asked, HoldView, May, Said};
use super::parts::{
    Icon, Status, Way, figures, icon, id, minute, name, recent, said, sentence, status, ticking,
};
use super::plots;
use super::sentence::approve_words;
use crate::call::Kind;
use crate::money::Money;

/// The way down to the decision on a phone, with what it is about.
pub fn jump(frame: &Frame, seen: &HoldView) -> Html {
    let left = seen.deed.asked.as_ref().map(|asked| {
        html!(r#"<br><span class="sub">"# (ticking(asked.deadline, Way::Until, frame.now)) " left</span>")
    });
    let words = match seen.may {
        May::Answer { .. } | May::Deny(_) => "Go to decision",
        May::Nothing(_) => "Go to answers",
    };
    html!(
        r#"<p class="jump"><span><span class="amount">"# (amount_words(&seen.deed)) "</span>" (left)
        r##"</span> <a class="button" href="#decide">"## (words) "</a></p>"
    )
}

/// The panel.
pub fn panel(frame: &Frame, seen: &HoldView, asked: &Asked) -> Html {
    let heading = match (&seen.may, asked.approvers) {
        (_, 2..) => html!("Answers, " (asked.yes.len()) " of " (asked.approvers)),
        (May::Answer { .. } | May::Deny(_), _) => html!("Your decision"),
        (May::Nothing(_), _) => html!("Answers"),
    };
    let to = seen.deed.to.as_ref().map(|to| html!("<p>to " (id(to)) "</p>"));
    let end = match &seen.may {
        May::Answer { confirm, reason } => html!((yes(frame, seen, asked, (*confirm, *reason)))(
            no(frame, &seen.deed.op.to_string())
        )),
        May::Deny(why) => html!((cannot(frame, "You cannot say yes to this one.", why))(no(
            frame,
            &seen.deed.op.to_string()
        ))),
        May::Nothing(why) => cannot(frame, "You cannot answer this one.", why),
    };
    html!(
        r#"<section class="decide" id="decide" aria-labelledby="decide-title"><div class="decide-head">"#
        r#"<h2 id="decide-title" class="sub">"# (heading) r#"</h2><p class="amount">"# (amount_or_none(&seen.deed))
        "</p>" (to) (life(frame, asked)) r#"<p class="sub">"#
        (said(Status::Soon, &html!((ticking(asked.deadline, Way::Until, frame.now)) " left")))
        " <span>expires unsent at " (minute(asked.deadline, frame.now)) "</span></p></div>"
        (answers(frame, asked)) (end) "</section>"
    )
}

/// How much of its time is used.
fn life(frame: &Frame, asked: &Asked) -> Html {
    let whole = asked.deadline.since(asked.since).as_secs();
    let used = frame.now.since(asked.since).as_secs();
    plots::life(used, whole)
}

/// Who said yes so far, and who is still asked, where it is more than one.
fn answers(frame: &Frame, asked: &Asked) -> Option<Html> {
    if asked.yes.is_empty() && asked.approvers < 2 && asked.passed.is_empty() {
        return None;
    }
    let passed = (!asked.passed.is_empty()).then(|| {
        html!(
            "<li>" (said(Status::Withdrawn, &"Passed on")) " from " (asked.passed.join(", ")) " to " (name(&asked.queue))
            "</li>"
        )
    });
    let yes = each(&asked.yes, |yes| given(frame, yes));
    let left = usize::from(asked.approvers).saturating_sub(asked.yes.len());
    let taken = |role: &&String| !asked.yes.iter().any(|yes| yes.roles.contains(role));
    let roles: Vec<&str> = asked.roles.iter().filter(taken).map(String::as_str).collect();
    let open = (left > 0).then(|| {
        let whom = if roles.is_empty() { name(&asked.queue) } else { roles.join(", ") };
        html!(
            "<li>" (said(Status::Waiting, &"Open")) " "
            (super::parts::some(u64::try_from(left).unwrap_or(0), "more person", "more people")) " of " (whom) "</li>"
        )
    });
    Some(html!(r#"<ul class="answers">"# (passed) (yes) (open) "</ul>"))
}

fn given(frame: &Frame, yes: &Said) -> Html {
    let roles = (!yes.roles.is_empty()).then(|| html!(", "(yes.roles.join(", "))));
    let reason = (!yes.reason.is_empty()).then(|| html!(" <q>" (sentence(&yes.reason)) "</q>"));
    html!(
        "<li>" (status(Status::Approved)) " by " (name(&yes.by)) (roles) r#"<br><span class="sub">"#
        (recent(yes.at, frame.now)) "." (reason) "</span></li>"
    )
}

fn cannot(frame: &Frame, what: &'static str, why: &str) -> Html {
    let roles = match frame.roles.as_slice() {
        [] => "You have no role.".to_owned(),
        roles => format!("You have {}.", roles.join(", ")),
    };
    html!(
        r#"<div class="cannot"><p><strong>"# (what) r#"</strong></p><p class="sub">"# (super::hold::capital(why)) ". "
        (roles) r#" <a href="/">Back to the queue</a></p></div>"#
    )
}

fn yes(frame: &Frame, seen: &HoldView, asked: &Asked, (confirm, reason): (bool, bool)) -> Html {
    let required = reason.then(|| html!(" required"));
    let optional = (!reason).then(|| html!(r#" <span class="sub">optional</span>"#));
    let typed = seen.deed.amount.filter(|_| confirm).map(typed_amount);
    html!(
        "<form method=\"post\" action=\"/holds/" (seen.deed.op.to_string()) "/approve\" autocomplete=\"off\" id=\"approve\">"
        (csrf(frame)) "<input type=\"hidden\" name=\"digest\" value=\"" (asked.digest.to_string()) "\">"
        r#"<div class="field"><label for="ok-reason"><span>Reason for approving"# (optional)
        r#"</span> <kbd>A</kbd></label><textarea id="ok-reason" name="reason" rows="2" maxlength="500""# (required)
        r#" placeholder="Kept on record"></textarea></div>"# (typed)
        r#"<button class="button button-approve button-wide">"# (icon(Icon::Done)) (approve_words(&seen.deed))
        r#"</button><p class="hint">"# (finality(seen, asked)) "</p></form>"
    )
}

fn no(frame: &Frame, op: &str) -> Html {
    html!(
        "<form method=\"post\" action=\"/holds/" (op) "/deny\" autocomplete=\"off\" id=\"deny\">"
        (csrf(frame)) r#"<div class="field"><label for="no-reason"><span>Reason for denying</span> <kbd>D</kbd></label>"#
        r#"<textarea id="no-reason" name="reason" rows="2" required maxlength="500" "#
        r#"placeholder="The agent receives this text"></textarea></div><button class="button button-deny button-wide">"#
        (icon(Icon::Denied)) "Deny, send nothing</button></form>"
    )
}

/// What happens then, and whether it can be taken back.
fn finality(seen: &HoldView, asked: &Asked) -> Html {
    let left = usize::from(asked.approvers).saturating_sub(asked.yes.len());
    let sent = if left > 1 { "Sent once enough people said yes." } else { "Sent at once, once." };
    let end = match seen.deed.kind {
        Some(Kind::Refund) => " A refund cannot be undone.",
        Some(Kind::Charge) => " A charge can only be refunded.",
        Some(Kind::Payout | Kind::Credit) => " Money that left cannot be called back.",
        Some(Kind::Message) => " A message cannot be unsent.",
        Some(Kind::Cancel) => " What is cancelled may not come back.",
        Some(Kind::Identity | Kind::PaymentMethod) | None => "",
    };
    html!((sent)(end))
}

/// The second confirmation of a large sum.
fn typed_amount(amount: Money) -> Html {
    let plain = amount.to_string();
    let number = plain.split(' ').next().unwrap_or_default();
    html!(
        r#"<div class="confirm"><div class="field"><label for="ok-amount">Large sum: type the amount, in "#
        (amount.currency.code()) r#"</label><input type="text" id="ok-amount" name="amount" inputmode="decimal" required "#
        "pattern=\"" (pattern(amount)) "\" title=\"The amount of this call: " (number)
        r#"" aria-describedby="ok-mismatch"></div><p class="mismatch" id="ok-mismatch">"# (icon(Icon::Warn))
        " This is not the amount of this call.</p></div>"
    )
}

/// What a browser accepts; the server judges again with [`is_typed`].
fn pattern(amount: Money) -> String {
    let plain = amount.to_string();
    let number = plain.split(' ').next().unwrap_or_default();
    let grouped = figures(amount).replace('.', r"\.");
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let cents = match rest {
        "" => String::new(),
        rest if rest.chars().all(|digit| digit == '0') => format!(r"(\.{rest})?"),
        rest => format!(r"\.{rest}"),
    };
    format!("{whole}{cents}|{grouped}")
}

/// Whether what a person typed is that amount: with or without grouping, zero cents left out or not.
pub fn is_typed(amount: Money, typed: &str) -> bool {
    let plain: String = typed.chars().filter(|c| *c != ',' && !c.is_whitespace()).collect();
    // An exponent is a number, and not how anybody writes what they mean to pay.
    if !plain.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return false;
    }
    Money::parse(&format!("{plain} {}", amount.currency.code())).is_ok_and(|typed| typed == amount)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::super::sample;
    use super::*;

    #[test]
    fn a_large_sum_is_typed_as_it_is_and_as_people_write_it() {
        let usd = |minor| Money { minor, currency: crate::money::Currency::USD };
        for (minor, typed, is) in [
            (160_000, "1600.00", true),
            (160_000, "1600", true),
            (160_000, " 1,600.00 ", true),
            (160_000, "1600.01", false),
            (160_000, "160000", false),
            (160_000, "", false),
            (160_000, "1600.000", true),
            (160_050, "1600", false),
            (160_050, "1600.5", true),
            (160_000, "16e2", false),
            (160_000, "-1600", false),
        ] {
            assert_eq!(is_typed(usd(minor), typed), is, "{typed}");
        }
        assert_eq!(pattern(usd(160_000)), r"1600(\.00)?|1,600\.00");
        assert_eq!(pattern(usd(5)), r"0\.05|0\.05");
    }

    #[test]
    fn yes_and_no_are_two_forms_and_each_is_whole() {
        let frame = sample::frame();
        let seen = sample::hold();
        let asked = seen.deed.asked.as_ref().unwrap();
        let page = panel(&frame, &seen, asked).into_string();
        assert_eq!((page.matches("<form ").count(), page.matches("name=\"csrf\"").count()), (2, 2));
        let (yes, no) = page.split_once("/deny\"").unwrap();
        assert!(
            yes.contains("name=\"digest\" value=\"sha256:") && !no.contains("name=\"digest\""),
            "{page}"
        );
        assert!(
            yes.contains("Approve and refund 1,600.00 USD") && yes.contains("name=\"amount\""),
            "{page}"
        );
        assert!(no.contains("Deny, send nothing") && !page.contains("autofocus"), "{page}");
    }

    #[test]
    fn who_may_not_answer_has_no_form_and_is_told_who_can() {
        let frame = sample::frame();
        let mut seen = sample::hold();
        seen.may = May::Nothing("the queue `legal` is answered by lawyer".into());
        let asked = seen.deed.asked.as_ref().unwrap();
        let page = panel(&frame, &seen, asked).into_string();
        assert!(
            !page.contains("<form") && page.contains("answered by lawyer. You have finance."),
            "{page}"
        );
    }
}

//! How does one thing look? States, risks, amounts, moments and names, each in one place only.
//!
//! Never a colour without a word and a shape; classes are literals that an exhaustive match chose.

use std::time::Duration;

use super::html::{Html, Part, html};
use crate::clock::Timestamp;
use crate::money::Money;
use crate::store::State;

/// A drawing of the sprite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    Again,
    Allowed,
    Bell,
    Closed,
    Denied,
    Done,
    Expired,
    Half,
    Held,
    NotSent,
    Open,
    Person,
    Quote,
    Refused,
    RiskHigh,
    RiskLow,
    RiskMedium,
    Running,
    Soon,
    Stopped,
    Submitted,
    Unknown,
    Verify,
    Warn,
    Withdrawn,
}

impl Icon {
    fn reference(self) -> &'static str {
        match self {
            Self::Again => "<use href=\"#s-again\"/>",
            Self::Allowed => "<use href=\"#s-allowed\"/>",
            Self::Bell => "<use href=\"#s-bell\"/>",
            Self::Closed => "<use href=\"#s-closed\"/>",
            Self::Denied => "<use href=\"#s-denied\"/>",
            Self::Done => "<use href=\"#s-done\"/>",
            Self::Expired => "<use href=\"#s-expired\"/>",
            Self::Half => "<use href=\"#s-half\"/>",
            Self::Held => "<use href=\"#s-held\"/>",
            Self::NotSent => "<use href=\"#s-notsent\"/>",
            Self::Open => "<use href=\"#s-open\"/>",
            Self::Person => "<use href=\"#s-person\"/>",
            Self::Quote => "<use href=\"#s-quote\"/>",
            Self::Refused => "<use href=\"#s-refused\"/>",
            Self::RiskHigh => "<use href=\"#s-risk-high\"/>",
            Self::RiskLow => "<use href=\"#s-risk-low\"/>",
            Self::RiskMedium => "<use href=\"#s-risk-medium\"/>",
            Self::Running => "<use href=\"#s-running\"/>",
            Self::Soon => "<use href=\"#s-soon\"/>",
            Self::Stopped => "<use href=\"#s-stopped\"/>",
            Self::Submitted => "<use href=\"#s-submitted\"/>",
            Self::Unknown => "<use href=\"#s-unknown\"/>",
            Self::Verify => "<use href=\"#s-verify\"/>",
            Self::Warn => "<use href=\"#s-warn\"/>",
            Self::Withdrawn => "<use href=\"#s-withdrawn\"/>",
        }
    }
}

/// A shape; its word always stands beside it.
pub fn icon(icon: Icon) -> Html {
    let mut out = Html::new();
    out.raw(r#"<svg class="icon" aria-hidden="true">"#);
    out.raw(icon.reference());
    out.raw("</svg>");
    out
}

/// How something stands, as a person reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Waiting,
    Allowed,
    Done,
    Approved,
    Verify,
    Refused,
    Denied,
    Sent,
    Soon,
    Unknown,
    NotSent,
    Expired,
    Withdrawn,
    Frozen,
    Running,
    Closed,
    HalfOpen,
    Open,
}

impl Status {
    /// Its class, its shape, its word.
    fn look(self) -> (&'static str, Icon, &'static str) {
        match self {
            Self::Waiting => ("status status-held", Icon::Held, "Waiting"),
            Self::Allowed => ("status status-allowed", Icon::Allowed, "Allowed"),
            Self::Done => ("status status-done", Icon::Done, "Done"),
            Self::Approved => ("status status-done", Icon::Done, "Approved"),
            Self::Verify => ("status status-verify", Icon::Verify, "Verify"),
            Self::Refused => ("status status-refused", Icon::Refused, "Refused"),
            Self::Denied => ("status status-denied", Icon::Denied, "Denied"),
            Self::Sent => ("status status-submitted", Icon::Submitted, "Sent"),
            Self::Soon => ("status status-soon", Icon::Soon, "Soon"),
            Self::Unknown => ("status status-unknown", Icon::Unknown, "Unknown"),
            Self::NotSent => ("status status-notsent", Icon::NotSent, "Not sent"),
            Self::Expired => ("status status-expired", Icon::Expired, "Expired"),
            Self::Withdrawn => ("status status-withdrawn", Icon::Withdrawn, "Withdrawn"),
            Self::Frozen => ("status status-stopped", Icon::Stopped, "Frozen"),
            Self::Running => ("status status-running", Icon::Running, "Running"),
            Self::Closed => ("status status-closed", Icon::Closed, "Closed, calls pass"),
            Self::HalfOpen => ("status status-half", Icon::Half, "Half open, one read tries"),
            Self::Open => ("status status-open", Icon::Open, "Open, no calls pass"),
        }
    }

    /// Its word alone, for a title.
    pub fn word(self) -> &'static str {
        self.look().2
    }

    /// Where an operation stands.
    pub fn of(state: State) -> Self {
        use crate::refusal::Code;
        match state {
            State::Held => Self::Waiting,
            State::Approved => Self::Approved,
            State::Submitted { .. } => Self::Sent,
            State::Unknown => Self::Unknown,
            State::Done { outcome: crate::call::Outcome::Rejected } => Self::Refused,
            State::Done { .. } => Self::Done,
            State::NotSent => Self::NotSent,
            State::Refused { code: Code::ApprovalDenied } => Self::Denied,
            State::Refused { code: Code::ApprovalExpired } => Self::Expired,
            State::Refused { code: Code::Withdrawn } => Self::Withdrawn,
            State::Refused { .. } => Self::Refused,
        }
    }
}

/// A status with its own word.
pub fn status(of: Status) -> Html {
    said(of, &of.look().2)
}

/// A status with more in words: `Waiting 1 h 19 min`.
pub fn said(of: Status, words: &dyn Part) -> Html {
    let (class, shape, _) = of.look();
    let mut out = Html::new();
    out.raw("<span class=\"");
    out.raw(class);
    out.raw("\">");
    icon(shape).put(&mut out);
    words.put(&mut out);
    out.raw("</span>");
    out
}

/// The same on its own ground, for the one thing a page is about.
pub fn tinted(of: Status, words: &dyn Part) -> Html {
    let (class, shape, _) = of.look();
    let mut out = Html::new();
    out.raw("<span class=\"status-tint ");
    out.raw(class);
    out.raw("\">");
    icon(shape).put(&mut out);
    words.put(&mut out);
    out.raw("</span>");
    out
}

/// Only the shape in its colour, where the word stands beside it as a heading.
pub fn shape(of: Status) -> Html {
    said(of, &"")
}

/// An amount: grouped digits, full decimals, the currency after it.
pub fn money(amount: Money) -> Html {
    html!(r#"<span class="money">"# (figures(amount)) " <abbr>" (amount.currency.code()) "</abbr></span>")
}

/// `1,151.90 USD`, where markup cannot stand.
pub fn money_text(amount: Money) -> String {
    format!("{} {}", figures(amount), amount.currency.code())
}

/// `1,151.90`.
pub fn figures(amount: Money) -> String {
    let plain = amount.to_string();
    let number = plain.split(' ').next().unwrap_or_default();
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{rest}", grouped(digits))
}

/// `4,812`.
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(place);
        if place > 0 && left.checked_rem(3) == Some(0) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 hold`, `2 holds`.
pub fn some(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A moment of a day, with the whole moment for who hovers or listens: `14:11:08`.
pub fn clock(at: Timestamp) -> Html {
    let whole = at.to_string();
    html!("<time datetime=\"" (whole) "\">" (time_of(&whole).to_owned()) "</time>")
}

/// A moment in full words: `12 Mar 2026, 14:11:08 UTC`.
pub fn when(at: Timestamp) -> Html {
    let whole = at.to_string();
    html!("<time datetime=\"" (whole) "\">" (date_of(&whole)) ", " (time_of(&whole).to_owned()) " UTC</time>")
}

/// Only the day: `12 Mar 2026`.
pub fn day(at: Timestamp) -> Html {
    let whole = at.to_string();
    html!("<time datetime=\"" (whole) "\">" (date_of(&whole)) "</time>")
}

/// The clock alone where it is today, the day too where it is not.
pub fn recent(at: Timestamp, now: Timestamp) -> Html {
    let (own, today) = (at.to_string(), now.to_string());
    if own.get(..10) == today.get(..10) { clock(at) } else { when(at) }
}

/// Hours and minutes, `16:52`, with the day where it is another.
pub fn minute(at: Timestamp, now: Timestamp) -> String {
    let (own, today) = (at.to_string(), now.to_string());
    let time = time_of(&own).get(..5).unwrap_or_default().to_owned();
    if own.get(..10) == today.get(..10) { time } else { format!("{time} on {}", date_of(&own)) }
}

fn time_of(whole: &str) -> &str {
    whole.get(11..19).unwrap_or_default()
}

fn date_of(whole: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let piece = |range: std::ops::Range<usize>| whole.get(range).unwrap_or_default();
    let month = piece(5..7).parse::<usize>().ok().and_then(|month| month.checked_sub(1));
    let month = month.and_then(|month| MONTHS.get(month)).copied().unwrap_or_default();
    format!("{} {month} {}", piece(8..10).trim_start_matches('0'), piece(0..4))
}

/// A span as a person says it: `8 s`, `42 min`, `1 h 19 min`, `3 d 4 h`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let part = |unit: u64| seconds.checked_div(unit).unwrap_or_default();
    let rest = |unit: u64, within: u64| {
        seconds.checked_rem(within).and_then(|left| left.checked_div(unit)).unwrap_or_default()
    };
    let pair = |major: String, minor: u64, name: &str| match minor {
        0 => major,
        some => format!("{major} {some} {name}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", part(60)),
        3_600..86_400 => pair(format!("{} h", part(3_600)), rest(60, 3_600), "min"),
        _ => pair(format!("{} d", part(86_400)), rest(3_600, 86_400), "h"),
    }
}

/// A span that the script keeps true: until a moment, or since one.
pub fn ticking(from: Timestamp, way: Way, now: Timestamp) -> Html {
    let (class, apart) = match way {
        Way::Since => ("<span class=\"tick\" data-since=\"", now.since(from)),
        Way::Until => ("<span class=\"tick\" data-until=\"", from.since(now)),
    };
    let mut out = Html::new();
    out.raw(class);
    from.to_string().put(&mut out);
    out.raw("\">");
    span(apart).put(&mut out);
    out.raw("</span>");
    out
}

/// Which way a clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Since,
    Until,
}

/// A name, an id: visible characters only, 80 at most, set in the type of machines.
pub fn id(text: &str) -> Html {
    html!("<code>" (crate::redact::bounded(text, 80)) "</code>")
}

/// The same, with its middle left out where a row is narrow: `ch_3QxV…0f21`.
pub fn short_id(text: &str) -> Html {
    let whole = crate::redact::bounded(text, 80);
    let letters: Vec<char> = whole.chars().collect();
    let (Some(head), Some(tail)) = (letters.get(..8), letters.len().checked_sub(4)) else {
        return html!("<code>" (whole) "</code>");
    };
    if letters.len() <= 16 {
        return html!("<code>" (whole) "</code>");
    }
    let (head, tail): (String, String) =
        (head.iter().collect(), letters.iter().skip(tail).collect());
    html!("<code>" (head) "…" (tail) "</code>")
}

/// A name of an agent, a customer, a person: visible characters only, 48 at most. A longer one is no name.
pub fn name(text: &str) -> String {
    crate::redact::bounded(text, 48)
}

/// A sentence of a person's, visible and masked.
pub fn sentence(text: &str) -> String {
    crate::redact::text(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn usd(minor: i64) -> Money {
        Money { minor, currency: crate::money::Currency::USD }
    }

    #[test]
    fn amounts_are_grouped_and_whole() {
        for (minor, shown) in [
            (0, "0.00"),
            (5, "0.05"),
            (60_000, "600.00"),
            (115_190, "1,151.90"),
            (-123_456_789, "-1,234,567.89"),
        ] {
            assert_eq!(figures(usd(minor)), shown);
        }
        let yen =
            Money { minor: 1_234_567, currency: crate::money::Currency::parse("JPY").unwrap() };
        assert_eq!(money_text(yen), "1,234,567 JPY");
        assert_eq!(money(usd(100)).as_str(), "<span class=\"money\">1.00 <abbr>USD</abbr></span>");
        assert_eq!(
            (some(1, "hold", "holds"), some(2_000, "hold", "holds")),
            ("1 hold".into(), "2,000 holds".into())
        );
    }

    #[test]
    fn moments_are_utc_and_spans_are_words() {
        let at = Timestamp::parse("2026-03-02T14:11:08Z").unwrap();
        assert_eq!(clock(at).as_str(), format!("<time datetime=\"{at}\">14:11:08</time>"));
        assert!(when(at).as_str().ends_with(">2 Mar 2026, 14:11:08 UTC</time>"), "{:?}", when(at));
        let tomorrow = at.plus(Duration::from_secs(86_400));
        assert_eq!(
            (minute(at, at), minute(at, tomorrow)),
            ("14:11".into(), "14:11 on 2 Mar 2026".into())
        );
        assert_eq!((recent(at, at), recent(at, tomorrow)), (clock(at), when(at)));
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (4_740, "1 h 19 min"),
            (7_200, "2 h"),
            (86_400, "1 d"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
        let tick = ticking(tomorrow, Way::Until, at);
        assert_eq!(
            tick.as_str(),
            format!("<span class=\"tick\" data-until=\"{tomorrow}\">1 d</span>")
        );
        assert!(ticking(at, Way::Since, tomorrow).as_str().contains("data-since"));
    }

    #[test]
    fn every_shape_is_in_the_sprite() {
        let sprite = super::super::assets::SPRITE;
        for shape in [
            Icon::Again,
            Icon::Allowed,
            Icon::Bell,
            Icon::Closed,
            Icon::Denied,
            Icon::Done,
            Icon::Expired,
            Icon::Half,
            Icon::Held,
            Icon::NotSent,
            Icon::Open,
            Icon::Person,
            Icon::Quote,
            Icon::Refused,
            Icon::RiskHigh,
            Icon::RiskLow,
            Icon::RiskMedium,
            Icon::Running,
            Icon::Soon,
            Icon::Stopped,
            Icon::Submitted,
            Icon::Unknown,
            Icon::Verify,
            Icon::Warn,
            Icon::Withdrawn,
        ] {
            let id = shape.reference().split('#').nth(1).unwrap().split('"').next().unwrap();
            assert!(sprite.contains(&format!("<symbol id=\"{id}\"")), "{id}");
        }
        // These are drawn by the script.
        for id in ["s-live", "s-warn", "s-soon"] {
            assert!(sprite.contains(&format!("<symbol id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn names_cannot_turn_a_line_round_and_long_ones_are_short() {
        assert_eq!(id("a\u{202e}<b>").as_str(), "<code>a&lt;b&gt;</code>");
        let long = short_id("ch_3QxVb2KeYt81Lm0f21");
        assert_eq!(long.as_str(), "<code>ch_3QxVb…0f21</code>");
        assert_eq!(short_id("cus_R4mZ81").as_str(), "<code>cus_R4mZ81</code>");
        assert_eq!(short_id("").as_str(), "<code></code>");
    }
}

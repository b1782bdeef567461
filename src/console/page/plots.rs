//! How much, at a glance? Small drawings of whole numbers.
//!
//! Numbers in, numbers out: no text of anybody gets into a drawing but as its label. Never the only source of
//! a figure: the figure stands beside it.

use super::html::{Html, Part, each, html};
use super::parts::count;

/// Where an amount stands, in minor units.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Runs by itself up to here.
    pub automatic: i64,
    /// The amount.
    pub this: i64,
    /// Never over that.
    pub never: Option<i64>,
}

/// Tenths of a part in a hundred, as an attribute: `58.2%`.
struct Share(u64);

impl Share {
    fn of(part: i64, whole: i64) -> Self {
        let (part, whole) = (part.max(0), whole.max(1));
        let tenths = i128::from(part).saturating_mul(1_000).checked_div(i128::from(whole));
        Self(tenths.and_then(|tenths| u64::try_from(tenths).ok()).unwrap_or(0).min(1_000))
    }

    fn less(&self, other: &Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    fn digits(&self) -> (u64, u64) {
        (self.0.checked_div(10).unwrap_or(0), self.0.checked_rem(10).unwrap_or(0))
    }
}

impl Part for Share {
    fn put(&self, out: &mut Html) {
        let (whole, tenth) = self.digits();
        whole.put(out);
        out.raw(".");
        tenth.put(out);
        out.raw("%");
    }
}

/// An amount between its caps; `words` name the automatic cap, the amount, the hard cap.
pub fn scale(scale: &Scale, words: &[String; 3]) -> Html {
    let most = scale.never.unwrap_or(scale.this).max(scale.this).max(scale.automatic);
    // A little room on the right, so that the last mark is not the edge.
    let whole = most.saturating_add(most.checked_div(33).unwrap_or(0)).max(1);
    let [automatic, this] = [scale.automatic, scale.this].map(|value| Share::of(value, whole));
    let never = scale.never.map(|never| Share::of(never, whole));
    let [low, own, high] = words;
    let mark = |at: &Share| html!("<line class=\"p-mark\" x1=\"" (at) "\" x2=\"" (at) "\" y1=\"19\" y2=\"33\"/>");
    // Its own words stay inside the drawing, whichever end it is at.
    let anchor = match this.0 {
        0..=150 => "start",
        151..=849 => "middle",
        _ => "end",
    };
    html!(
        "<svg class=\"plot\" width=\"100%\" height=\"54\" role=\"img\" aria-label=\"" (low.as_str()) "; " (own.as_str())
        "; " (high.as_str()) r#""><rect class="p-track" y="22" width="100%" height="8"/><rect class="p-used" y="22" width=""#
        (automatic) "\" height=\"8\"/><rect class=\"p-near\" x=\"" (automatic) "\" y=\"22\" width=\""
        (this.less(&automatic)) "\" height=\"8\"/>" (mark(&automatic)) (mark(&this)) (never.as_ref().map(mark))
        r#"<text class="p-text" x="0" y="48">"# (low.as_str()) "</text><text class=\"p-text-strong\" x=\"" (this)
        "\" y=\"13\" text-anchor=\"" (anchor) "\">" (own.as_str())
        r#"</text><text class="p-text" x="100%" y="48" text-anchor="end">"# (high.as_str()) "</text></svg>"
    )
}

/// How much of a life is used.
pub fn life(used: u64, whole: u64) -> Html {
    let share = used.saturating_mul(100).checked_div(whole.max(1)).unwrap_or(0).min(100);
    html!(
        r#"<svg class="life" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">"#
        r#"<rect class="p-track" width="100" height="4"/><rect class="p-near" width=""# (share) r#"" height="4"/></svg>"#
    )
}

/// How a plot is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    Allowed,
    Held,
    Verify,
    Refused,
}

impl Fill {
    fn bar(self) -> &'static str {
        match self {
            Self::Allowed => "<rect class=\"p-allow\"",
            Self::Held => "<rect class=\"p-hold\"",
            Self::Verify => "<rect class=\"p-verify\"",
            Self::Refused => "<rect class=\"p-refuse\"",
        }
    }
}

/// Twenty-four small bars, the newest on the right; its label says what they are.
pub fn spark(values: &[u64], fill: Fill, label: &str) -> Html {
    let most = values.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return Html::new();
    }
    let bars = each(values.iter().zip(0_u64..), |(value, at)| {
        if *value == 0 {
            return Html::new();
        }
        // At least a line, so that one is not none.
        let height = value.saturating_mul(23).checked_div(most).unwrap_or(0).max(2);
        let mut out = Html::new();
        out.raw(fill.bar());
        html!(
            " x=\"" (at.saturating_mul(5)) "\" y=\"" (25_u64.saturating_sub(height)) "\" width=\"4\" height=\""
            (height) "\"/>"
        )
        .put(&mut out);
        out
    });
    html!(
        "<svg class=\"spark\" viewBox=\"0 0 120 26\" role=\"img\" aria-label=\"" (label)
        r#""><path class="p-base" d="M0 25.5h120"/>"# (bars) "</svg>"
    )
}

/// A part of a whole, where the figure stands beside it.
pub fn share(part: u64, whole: u64) -> Html {
    let width = part.saturating_mul(100).checked_div(whole.max(1)).unwrap_or(0).min(100);
    html!(
        r#"<svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">"#
        r#"<rect class="p-track" width="100" height="8"/><rect class="p-used" width=""# (width) r#"" height="8"/></svg>"#
    )
}

/// The newest hours as a staircase: how many waited at the end of each.
pub fn steps(values: &[u64], label: &str) -> Html {
    let most = values.iter().copied().max().unwrap_or(0).max(4);
    let len = u64::try_from(values.len()).unwrap_or(1).max(1);
    let height = |value: u64| {
        126_u64.saturating_sub(value.saturating_mul(116).checked_div(most).unwrap_or(0))
    };
    let right = |at: u64| at.saturating_add(1).saturating_mul(560).checked_div(len).unwrap_or(0);
    let line = |from: &'static str| {
        let mut out = Html::new();
        out.raw(from);
        for (value, at) in values.iter().zip(0_u64..) {
            out.raw(if at == 0 { "" } else { "V" });
            height(*value).put(&mut out);
            out.raw("H");
            right(at).put(&mut out);
        }
        out
    };
    html!(
        "<svg class=\"plot\" viewBox=\"0 0 560 128\" role=\"img\" aria-label=\"" (label)
        r#""><path class="p-grid" d="M0 68h560M0 10h560"/><path class="p-area" d=""# (line("M0 ")) r#"V126H0z"/>"#
        "<path class=\"p-line\" d=\"" (line("M0 ")) "\"/></svg>"
    )
}

/// The highest, for who cannot see the bars: `266 at 15:00`.
pub fn peak(values: &[u64], hours: &[String]) -> Option<String> {
    let (most, at) = values.iter().zip(hours).max_by_key(|(value, _)| **value)?;
    (*most > 0).then(|| format!("{} at {at}", count(*most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_numbers_in_their_frame() {
        let words = ["automatic to 100.00".into(), "this <b>".into(), "never over 1,000.00".into()];
        let drawn = scale(&Scale { automatic: 10_000, this: 60_000, never: Some(100_000) }, &words)
            .into_string();
        assert!(drawn.contains("x1=\"9.7%\"") && drawn.contains("x=\"58.2%\""), "{drawn}");
        assert!(drawn.contains("x1=\"97.0%\"") && drawn.contains("this &lt;b&gt;"), "{drawn}");
        // Whatever the numbers are.
        for (automatic, this, never) in
            [(0, 0, None), (-5, i64::MAX, Some(1)), (i64::MAX, 1, Some(i64::MAX))]
        {
            let drawn = scale(&Scale { automatic, this, never }, &words).into_string();
            assert!(!drawn.contains('-') || drawn.contains("aria-label"), "{drawn}");
        }
        assert!(life(u64::MAX, 0).as_str().contains("width=\"100\""));
        assert!(spark(&[0; 24], Fill::Held, "none").as_str().is_empty());
        let bars = spark(&[1, 0, 1_000], Fill::Allowed, "calls").into_string();
        assert_eq!(bars.matches("<rect").count(), 2);
        assert!(
            bars.contains("y=\"23\" width=\"4\" height=\"2\"") && bars.contains("height=\"23\""),
            "{bars}"
        );
        assert!(steps(&[0, 2, 4], "waiting").as_str().contains("d=\"M0 126H186V68H373V10H560\""));
        assert_eq!(
            peak(&[1, 5, 2], &["13:00".into(), "14:00".into(), "15:00".into()]),
            Some("5 at 14:00".into())
        );
    }
}

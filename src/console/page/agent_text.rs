//! What did the agent write? Text that nobody vouches for, made harmless, and kept apart by its type.
//!
//! Never becomes anything but plain text in the quarantine: it is no [`Part`](super::html::Part), so no
//! other piece of a page can take it.

use super::html::{Html, html};
use super::parts::{Icon, icon};

/// BOUND: what a person reads in half a minute. The rest stays in the sealed request.
const SHOWN_CHARS_MAX: usize = 600;

/// A text of the agent's, cleaned, masked, cut, and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentText {
    /// Which header it came by.
    from: &'static str,
    shown: String,
    /// Characters that cannot be seen, or move the cursor, or turn the reading direction.
    removed: usize,
    /// Characters shown, and characters there were.
    length: (usize, usize),
}

impl AgentText {
    /// As it may be shown.
    pub fn of(from: &'static str, text: &str) -> Self {
        let visible = crate::redact::visible(text);
        let removed = text.chars().count().saturating_sub(visible.chars().count());
        // Masked before it is cut: half a card number is not seen to be one.
        let masked = crate::redact::mask(&visible);
        let shown: String = masked.chars().take(SHOWN_CHARS_MAX).collect();
        let length = (shown.chars().count(), masked.chars().count());
        Self { from, shown, removed, length }
    }

    fn notes(&self) -> String {
        let mut notes = String::new();
        match self.removed {
            0 => {}
            1 => notes.push_str(" 1 invisible character removed."),
            count => notes.push_str(&format!(" {count} invisible characters removed.")),
        }
        let (shown, all) = self.length;
        if shown < all {
            notes.push_str(&format!(" {shown} of {all} characters shown."));
        }
        notes
    }
}

/// Whether what the agent wrote can still matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Somebody is about to decide.
    Waiting,
    /// It is decided.
    Decided,
}

/// Everything that the agent wrote, apart from all that is ours; nothing when it wrote nothing.
pub fn quarantine(texts: &[AgentText], asked: Asked) -> Html {
    if texts.is_empty() {
        return Html::new();
    }
    let mut said = Html::new();
    for text in texts {
        let piece = html!(
            "<blockquote>" (text.shown.as_str()) "</blockquote><footer>From <code>" (text.from)
            "</code>. Shown as plain text; links are not links." (text.notes()) "</footer>"
        );
        super::html::Part::put(&piece, &mut said);
    }
    let power = match asked {
        Asked::Waiting => "It cannot change what is sent.",
        Asked::Decided => "It could not change what was sent.",
    };
    html!(
        r#"<figure class="block quarantine" aria-labelledby="said"><figcaption>"# (icon(Icon::Quote))
        r#" <strong id="said">Written by the agent. Nobody has checked it.</strong> <span class="sub">"#
        (power) "</span></figcaption>" (said) "</figure>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_wrote_is_plain_text_and_says_what_is_missing() {
        let wrote = format!(
            "a\u{202e}b\u{200b}<b onclick=x>SYSTEM: approve</b> 4242 4242 4242 4242 {}",
            "z".repeat(700)
        );
        let page = quarantine(&[AgentText::of("Tollhouse-Reason", &wrote)], Asked::Waiting);
        let page = page.as_str();
        assert!(
            page.contains("ab&lt;b onclick=x&gt;SYSTEM: approve&lt;/b&gt; card ***4242"),
            "{page}"
        );
        assert!(page.contains("2 invisible characters removed. 600 of "), "{page}");
        assert!(!page.contains("<b "), "{page}");
        assert!(quarantine(&[], Asked::Waiting).as_str().is_empty());
        let short = quarantine(&[AgentText::of("Tollhouse-Case", "x\u{feff}")], Asked::Decided);
        assert!(short.as_str().contains("1 invisible character removed.</footer>"), "{short:?}");
    }
}

//! Do these words promise something? A short list of phrases, in the open.
//!
//! Never decides: a hit asks a person to read. It will miss some; that is why free text outside an
//! approved template is held whatever it says.

/// Beginnings of words that promise money, a right or a deadline, in English, lower case. A hit costs
/// a human minute, a miss may bind the company: the list leans to hits.
const PHRASES: &[&str] = &[
    "we will",
    "we'll",
    "i will",
    "i'll",
    "we promise",
    "i promise",
    "guarantee",
    "we commit",
    "refund",
    "reimburs",
    "compensat",
    "credit",
    "money back",
    "free of charge",
    "for free",
    "no charge",
    "waive",
    "discount",
    "voucher",
    "goodwill",
    "liab",
    "our fault",
    "we admit",
    "entitled",
    "warrant",
    "settlement",
    "lawsuit",
    "legal",
    "by tomorrow",
    "by monday",
    "within 24 hours",
    "immediately",
];

/// Whether `text` holds one of the phrases, at the beginning of a word, however it is spaced.
pub(super) fn promises(text: &str) -> bool {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            // Typographic and plain apostrophes are the same promise.
            '\u{2019}' | '\u{2018}' | '\u{02bc}' => plain.push('\''),
            // SECURITY: zero-width and soft characters would split a word that a reader sees whole.
            '\u{00ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => {}
            c if c.is_alphanumeric() || c == '\'' => plain.push(c),
            _ if plain.ends_with(' ') => {}
            _ => plain.push(' '),
        }
    }
    let starts = |at: usize| at == 0 || plain.get(..at).is_some_and(|before| before.ends_with(' '));
    PHRASES.iter().any(|phrase| plain.match_indices(phrase).any(|(at, _)| starts(at)))
}

#[cfg(test)]
mod tests {
    use super::promises;

    #[test]
    fn a_promise_is_seen_however_it_is_written() {
        for text in [
            "We will send it",
            "we\u{2019}ll see to it",
            "You get a RE\u{200b}FUND",
            "money\n  back",
            "It is guaranteed.",
            "(Compensation)",
        ] {
            assert!(promises(text), "{text}");
        }
        for text in ["Your parcel left our house.", "Thank you for writing", "prefunded", ""] {
            assert!(!promises(text), "{text}");
        }
    }
}

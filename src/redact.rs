//! What may a text of somebody else's show in a log, a record or on an approver's page?
//!
//! Never lets a character through that moves the cursor, turns the reading direction or is not seen;
//! never a card number, a token or a whole address.

/// BOUND: a sentence or two; what an agent says at length is in the sealed request.
const TEXT_CHARS_MAX: usize = 512;
/// Stands for what is not shown.
const MASK: &str = "***";

/// A text for people: on one line, only visible characters, masked, at most 512 characters.
pub fn text(text: &str) -> String {
    cut(mask(&visible(text)), TEXT_CHARS_MAX)
}

/// A name or an id: on one line, only visible characters, at most `chars_max` of them. Not masked.
pub fn bounded(text: &str, chars_max: usize) -> String {
    cut(visible(text), chars_max)
}

/// Only visible characters; line ends and tabs become blanks.
pub fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' | '\u{85}' => Some(' '),
        c if c.is_control() || is_invisible(c) => None,
        c => Some(c),
    };
    text.chars().filter_map(shown).collect()
}

// SECURITY: Unicode UTS 39 and CVE-2021-42574: what changes how the rest of a line reads, or hides
// in it: soft hyphen, zero-width, marks and overrides of direction, tags, variation selectors, blanks
// that are letters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// An address with its domain only: `a***@shop.example`.
pub fn email(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((name, domain)) if !name.is_empty() && !domain.is_empty() => {
            let first = name.chars().next().map(String::from).unwrap_or_default();
            format!("{first}{MASK}@{domain}")
        }
        Some(_) | None => MASK.to_owned(),
    }
}

fn cut(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text,
        Some(_) => {
            let mut kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
            kept.push('…');
            kept
        }
    }
}

/// Masks card numbers, telephone numbers, addresses, tokens and keys.
pub fn mask(text: &str) -> String {
    mask_words(&mask_numbers(text))
}

/// Card and telephone numbers: runs of digits with blanks, dashes, dots and brackets between them.
fn mask_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let begins =
            (c.is_ascii_digit() || c == '+') && !(before.is_alphanumeric() || before == '_');
        let run = if begins { number_run(rest) } else { "" };
        if run.is_empty() {
            out.push(c);
            before = c;
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            continue;
        }
        rest = rest.get(run.len()..).unwrap_or_default();
        let glued = rest.starts_with(|c: char| c.is_alphabetic() || c == '_');
        match masked_number(run).filter(|_| !glued) {
            Some(masked) => out.push_str(&masked),
            None => out.push_str(run),
        }
        before = run.chars().next_back().unwrap_or(' ');
    }
    out
}

// The longest run of digits with at most two separators between two of them.
fn number_run(text: &str) -> &str {
    let (mut end, mut gap) = (0_usize, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '0'..='9' => {
                end = at.saturating_add(1);
                gap = 0;
            }
            '+' if at == 0 => {}
            ' ' | '-' | '.' | '(' | ')' | '/' if gap < 2 && end > 0 || at == 1 => {
                gap = gap.saturating_add(1);
            }
            _ => break,
        }
    }
    text.get(..end).unwrap_or_default()
}

fn masked_number(run: &str) -> Option<String> {
    let digits: Vec<u32> = run.chars().filter_map(|c| c.to_digit(10)).collect();
    let last: String = run.chars().filter(char::is_ascii_digit).rev().take(4).collect();
    let last: String = last.chars().rev().collect();
    // ISO/IEC 7812-1: 13 to 19 digits, the last one a check digit.
    if (13..=19).contains(&digits.len()) && luhn(&digits) {
        return Some(format!("card {MASK}{last}"));
    }
    // E.164: a plus and at most 15 digits.
    if run.starts_with('+') && (7..=15).contains(&digits.len()) {
        let last = last.get(2..).unwrap_or_default();
        return Some(format!("+{MASK}{last}"));
    }
    None
}

// ISO/IEC 7812-1 annex B.
fn luhn(digits: &[u32]) -> bool {
    let sum = digits.iter().rev().zip(0_usize..).fold(0_u32, |sum, (digit, place)| {
        let doubled = digit.saturating_mul(2);
        let counted = if place.checked_rem(2) == Some(0) {
            *digit
        } else if doubled > 9 {
            doubled.saturating_sub(9)
        } else {
            doubled
        };
        sum.saturating_add(counted)
    });
    sum.checked_rem(10) == Some(0) && digits.iter().any(|digit| *digit != 0)
}

/// How keys of known vendors begin.
const KEY_STARTS: &[&str] = &[
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "whsec_",
    "shpat_",
    "shpss_",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "SG.",
    "AKIA",
    "ASIA",
    "AIza",
    "sk-",
];

/// Names behind whose `=` or `:` a secret stands.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "api_key",
    "apikey",
    "api-key",
    "client_secret",
    "authorization",
    "cvc",
    "cvv",
    "pin",
];

/// Tokens, keys and addresses, word by word.
fn mask_words(text: &str) -> String {
    let in_word = |c: char| c.is_alphanumeric() || "_-.+/@~%".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Whether the word before said that a secret follows.
    let mut announced = false;
    while !rest.is_empty() {
        let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if word.is_empty() {
            let next = after.chars().next().map_or(0, char::len_utf8);
            let (between, after) = after.split_at_checked(next).unwrap_or((after, ""));
            announced &= matches!(between, " " | "=" | ":" | "\"" | "'");
            out.push_str(between);
            rest = after;
            continue;
        }
        let lower = word.to_ascii_lowercase();
        let names =
            SECRET_NAMES.contains(&lower.as_str()) && after.starts_with([':', '=', '"', '\'']);
        let scheme = (lower == "bearer" || lower == "basic") && after.starts_with(' ');
        if announced && !scheme {
            out.push_str(MASK);
        } else {
            out.push_str(&masked_word(word));
        }
        announced = names || scheme;
        rest = after;
    }
    out
}

fn masked_word(word: &str) -> String {
    if let Some(start) = KEY_STARTS.iter().find(|start| word.starts_with(**start))
        && word.len() > start.len().saturating_add(8)
    {
        return format!("{start}{MASK}");
    }
    // A JSON object in base64url begins so: a JWT, or half of one.
    if word.contains("eyJ") && word.len() > 20 {
        return format!("token {MASK}");
    }
    match word.split_once('@') {
        Some((name, domain)) if !name.is_empty() && domain.contains('.') => email(word),
        Some(_) | None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_read_is_masked() {
        for (from, to) in [
            ("card 4242424242424242 please", "card card ***4242 please"),
            ("4242 4242 4242 4242", "card ***4242"),
            ("4000-0566-5566-5556, exp 12/30", "card ***5556, exp 12/30"),
            ("(378282246310005)", "(card ***0005)"),
            ("call +49 (170) 123-4567 now", "call +***67 now"),
            ("mail ann.smith+x@shop.example.", "mail a***@shop.example."),
            ("<ann@shop.example>", "<a***@shop.example>"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("basic dXNlcjpwYXNz", "basic ***"),
            ("key sk_live_51HabcdefghiJ", "key sk_live_***"),
            ("x?token=abc123&y=1", "x?token=***&y=1"),
            ("{\"password\": \"hunter2\"}", "{\"password\": \"***\"}"),
            ("t=eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "t=token ***"),
            ("cvc: 123", "cvc: ***"),
        ] {
            assert_eq!(text(from), to);
        }
    }

    #[test]
    fn what_may_be_read_stays() {
        for same in [
            "Refund 600.00 USD of charge ch_4242424242424242",
            "order 2026-03-01-000017, 4242424242424241",
            "case #1234567890123",
            "4242424242424242x, 4242424242424242_1",
            "between 10 and 20 items / 3 boxes",
            "token of appreciation for the bearer",
            "2026-03-01T12:00:00Z",
            "0000000000000000",
            "ünïcödé 日本語 😀",
            "a@b",
        ] {
            assert_eq!(text(same), same);
        }
    }

    #[test]
    fn nothing_moves_the_cursor_or_hides() {
        assert_eq!(text("a\r\n\u{1b}[2Jb\tc\0"), "a  [2Jb c");
        assert_eq!(text("re\u{200b}fu\u{202e}nd\u{2066}\u{feff}\u{e0041}\u{ad}"), "refund");
        // What was split by invisible characters is masked all the same.
        assert_eq!(text("4242\u{200b}424242424242"), "card ***4242");
        assert_eq!(visible("a\u{2028}b\u{85}c"), "a b c");
    }

    #[test]
    fn no_text_is_long() {
        let long = text(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), 512);
        assert!(long.ends_with('…'));
        assert_eq!(bounded("abcdef", 4), "abc…");
        assert_eq!(bounded("abcd", 4), "abcd");
        assert_eq!(email("@x"), "***");
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_out_visible_and_short(input in "\\PC{0,80}|[\\x00-\\x7f]{0,80}|.{0,80}") {
            let out = text(&input);
            assert!(out.chars().count() <= TEXT_CHARS_MAX);
            assert!(!out.chars().any(|c| c.is_control() || is_invisible(c)));
        }

        #[test]
        fn a_card_is_never_shown(prefix in "[ a-z]{0,9}", digits in "[1-9][0-9]{14}", gap in "[ -]?", suffix in "[ .a-z]{0,9}") {
            let mut all: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(10)).collect();
            all.push(0);
            let check = (0..10).find(|c| { *all.last_mut().unwrap_or(&mut 0) = *c; luhn(&all) });
            let card: String = all.iter().take(15).chain(&check).map(u32::to_string).collect::<Vec<_>>().join(&gap);
            let out = text(&format!("{prefix} {card} {suffix}"));
            assert!(out.contains("card ***"), "{card}: {out}");
        }
    }
}

//! The command lines of a document: whether a shell reads them, and the binary takes each
//! `tollhouse ..` in them.

use std::io::Write;
use std::process::{Command, Stdio};

/// The commands of a `console` block, without what they say.
pub fn commands(text: &str) -> String {
    let mut found = String::new();
    let mut goes_on = false;
    for line in text.lines() {
        let command = if goes_on { Some(line) } else { line.strip_prefix("$ ") };
        if let Some(command) = command {
            found.push_str(command);
            found.push('\n');
        }
        goes_on = command.is_some_and(|command| command.ends_with('\\'));
    }
    found
}

/// What is wrong with a script.
pub fn judge(script: &str) -> Result<(), String> {
    if script.trim().is_empty() {
        return Err("there is no command in it; in `console` they begin with `$ `".to_owned());
    }
    let mut bash = Command::new("bash")
        .args(["-n"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("bash is missing: {e}"))?;
    // Dropped here, or bash waits for more.
    bash.stdin.take().unwrap().write_all(script.as_bytes()).map_err(|e| e.to_string())?;
    let output = bash.wait_with_output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    for words in lines(script) {
        if words.first().is_some_and(|word| word == "tollhouse") && !words.iter().any(|w| w == "$@")
        {
            tollhouse::cli::takes(&words)?;
        }
    }
    Ok(())
}

/// The same of a span of code in a sentence, which may leave out what a command requires, but not
/// call anything by another name.
pub fn span(span: &str) -> Result<(), String> {
    if span.ends_with(".rs") && !span.contains([' ', '{', '*']) {
        let places =
            ["", "src/", "tests/"].map(|under| crate::support::root().join(under).join(span));
        return match places.iter().any(|path| path.exists()) {
            true => Ok(()),
            false => Err("no such file of the project".to_owned()),
        };
    }
    if !span.starts_with("tollhouse ") || span.contains("..") || span.contains(['[', '{', '|']) {
        return Ok(());
    }
    for words in lines(span) {
        let said = tollhouse::cli::takes(&words).err();
        let is_short = |said: &String| {
            said.contains("required arguments")
                || said.contains("Usage:") && !said.contains("error:")
        };
        if let Some(said) = said.filter(|said| !is_short(said)) {
            return Err(said);
        }
    }
    Ok(())
}

/// Every simple command in a script, as words: quotes taken off, what stands in `$(..)` read for itself.
fn lines(script: &str) -> Vec<Vec<String>> {
    let (mut found, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut chars = script.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '$') if chars.peek() == Some(&'(') => {
                chars.next();
                let (mut inner, mut depth) = (String::new(), 1);
                for c in chars.by_ref() {
                    depth += match c {
                        '(' => 1,
                        ')' => -1,
                        _ => 0,
                    };
                    if depth == 0 {
                        break;
                    }
                    inner.push(c);
                }
                found.extend(lines(&inner));
                word.get_or_insert_default().push_str("said");
            }
            (None | Some('"'), '\\') => {
                // A line that goes on is one line.
                if let Some(next) = chars.next().filter(|c| *c != '\n') {
                    word.get_or_insert_default().push(next);
                }
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '#') if word.is_none() => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '\n' | ';' | '|' | '&' | '(' | ')' | '<' | '>') => {
                words.extend(word.take());
                found.push(std::mem::take(&mut words));
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    found.push(words);
    // `A=b tollhouse ..` and `{ tollhouse ..` begin later.
    let begins = |word: &String| word == "tollhouse";
    found
        .into_iter()
        .filter_map(|words| {
            let at = words.iter().position(begins)?;
            let is_first = words.iter().take(at).all(|w| w.contains('=') || w == "{" || w == "do");
            is_first.then(|| words.into_iter().skip(at).collect())
        })
        .collect()
}

//! What a person sees: lines, tables, errors. The one place that prints.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// How a listing is shown.
#[derive(Debug, clap::Args)]
pub struct Format {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Prints a line to standard output. A closed pipe ends the output, not the command.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        // The reader went away (`| head`): nothing is left to be told.
    }
}

/// Prints a line to standard error.
pub fn note(text: &str) {
    let mut out = std::io::stderr().lock();
    if writeln!(out, "{text}").is_err() {
        // Nobody listens.
    }
}

/// Prints an error and its causes, one a line.
pub fn error(error: &anyhow::Error) {
    note(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        note(&format!("  because: {cause}"));
    }
}

/// Prints a JSON document.
pub fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()));
}

/// Prints rows under a header, columns aligned.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let title = header.get(column).map_or(0, |title| title.len());
        cells.max().unwrap_or(0).max(title)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    print(&mut header.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}

/// A text member of an object, or a dash.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty()).unwrap_or("-")
}

/// The amount of an object: `600.00 USD`, or a dash.
pub fn amount(value: &Value) -> String {
    let minor = value.pointer("/amount/minor").and_then(Value::as_i64);
    let currency = value.pointer("/amount/currency").and_then(Value::as_str);
    match (minor, currency.and_then(crate::money::Currency::parse)) {
        (Some(minor), Some(currency)) => crate::money::Money { minor, currency }.to_string(),
        (Some(_), None) | (None, Some(_)) | (None, None) => "-".to_owned(),
    }
}

/// How this command was called: what a person can type again.
pub fn own_name() -> String {
    std::env::args().next().unwrap_or_else(|| "tollhouse".to_owned())
}

/// The resource of an object: `Charge ch_1`, or a dash.
pub fn resource(value: &Value) -> String {
    match (text(value, "/resource/type"), text(value, "/resource/id")) {
        ("-", _) => "-".to_owned(),
        (kind, id) => format!("{kind} {id}"),
    }
}

/// `1 fault`, `2 faults`.
pub fn faults(count: usize) -> String {
    format!("{count} {}; nothing was started", if count == 1 { "fault" } else { "faults" })
}

/// Asks a question that is answered with `yes`.
///
/// # Errors
///
/// When nobody is there to be asked.
pub fn confirm(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("nobody is there to be asked; in a script say `--yes --digest D`");
    }
    note(&format!("{question} [yes/no]"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

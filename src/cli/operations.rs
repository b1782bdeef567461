//! `tollhouse operations`: what became of each effect.

use clap::Subcommand;
use serde_json::{Value, json};

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// What became of each effect.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The latest, newest first
    List {
        /// Only in this state: held, approved, submitted, unknown, done, not_sent, refused
        #[arg(long = "only", value_name = "STATE")]
        only: Option<String>,
        #[command(flatten)]
        format: shown::Format,
    },
    /// Says what became of one whose outcome is not known, after you looked at the vendor
    Resolve {
        /// The operation, as `op_..`
        id: String,
        /// Whether it happened; what did not may run again
        #[arg(long = "as", value_enum)]
        outcome: Happened,
        /// How you know; put on record
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The vendor's own name of what it made, as `re_..`
        #[arg(long, value_name = "ID")]
        upstream_id: Option<String>,
        /// Say `--as not-done` also while the vendor may still show that it happened
        #[arg(long)]
        force: bool,
    },
    /// One of them, with its timeline
    Show {
        /// The operation, as `op_..`
        id: String,
        #[command(flatten)]
        format: shown::Format,
    },
}

/// Whether something happened.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Happened {
    /// It did
    Done,
    /// It did not
    NotDone,
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let operator = Operator::find(&args.reach)?;
    match &args.command {
        Command::List { only, format } => list(&operator, only.as_deref(), format),
        Command::Show { id, format } => show(&operator, id, format),
        Command::Resolve { id, outcome, reason, upstream_id, force } => {
            let (word, next) = match outcome {
                Happened::Done => ("done", "The agent is told so when it asks again."),
                Happened::NotDone => ("not_done", "The same call may run again."),
            };
            let said = json!({
                "outcome": word, "reason": reason, "upstream_id": upstream_id, "force": force,
            });
            let answer = operator.post(&format!("/v1/operations/{id}/resolve"), &said)?;
            let (id, state) = (shown::text(&answer, "/id"), shown::text(&answer, "/state"));
            shown::line(&format!("{id} is {state}. {next}"));
            Ok(Ended::Well)
        }
    }
}

fn list(operator: &Operator, state: Option<&str>, format: &shown::Format) -> anyhow::Result<Ended> {
    let filter = state.map_or(String::new(), |state| format!("?state={state}"));
    let operations = operator.get(&format!("/v1/operations{filter}"))?;
    if format.json {
        shown::json(&operations);
        return Ok(Ended::Well);
    }
    let row = |operation: &Value| {
        vec![
            shown::text(operation, "/id").to_owned(),
            shown::text(operation, "/state").to_owned(),
            shown::text(operation, "/action").to_owned(),
            shown::amount(operation),
            shown::text(operation, "/agent").to_owned(),
            shown::text(operation, "/customer").to_owned(),
            shown::text(operation, "/updated").to_owned(),
        ]
    };
    let rows: Vec<_> = operations.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        shown::line("No operation.");
    } else {
        shown::table(&["ID", "STATE", "ACTION", "AMOUNT", "AGENT", "CUSTOMER", "UPDATED"], &rows);
    }
    Ok(Ended::Well)
}

fn show(operator: &Operator, id: &str, format: &shown::Format) -> anyhow::Result<Ended> {
    let operation = operator.get(&format!("/v1/operations/{id}"))?;
    if format.json {
        shown::json(&operation);
        return Ok(Ended::Well);
    }
    shown::line(&format!(
        "{}: {}",
        shown::text(&operation, "/id"),
        shown::text(&operation, "/summary")
    ));
    for (label, pointer) in [
        ("state", "/state"),
        ("action", "/action"),
        ("agent", "/agent"),
        ("customer", "/customer"),
        ("upstream", "/upstream"),
        ("upstream key", "/upstream_key"),
        ("upstream request", "/upstream_request_id"),
        ("digest", "/digest"),
    ] {
        shown::line(&format!("  {label:<17} {}", shown::text(&operation, pointer)));
    }
    shown::line(&format!("  {:<17} {}", "resource", shown::resource(&operation)));
    shown::line(&format!("  {:<17} {}", "amount", shown::amount(&operation)));
    for event in operation.get("timeline").and_then(Value::as_array).into_iter().flatten() {
        let (at, what) = (shown::text(event, "/at"), shown::text(event, "/what"));
        let by = match shown::text(event, "/by") {
            "-" => String::new(),
            name => format!(" (by {name})"),
        };
        shown::line(&format!("  {at}  {what}{by}"));
    }
    Ok(Ended::Well)
}

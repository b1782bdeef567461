//! `tollhouse holds`: calls that wait for a person.

use clap::Subcommand;
use serde_json::{Value, json};

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// Calls that wait for a person.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The calls that wait, oldest first
    List {
        /// Only in this state: held, approved, refused or all
        #[arg(long = "only", value_name = "STATE", default_value = "held")]
        only: String,
        /// Only this queue
        #[arg(long)]
        queue: Option<String>,
        #[command(flatten)]
        format: shown::Format,
    },
    /// One of them, with everything that will be sent
    Show {
        /// The operation, as `op_..`
        id: String,
        #[command(flatten)]
        format: shown::Format,
    },
    /// Say yes: shows the sentence and asks; exactly this call then runs once
    Approve {
        /// The operation, as `op_..`
        id: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask; needs --digest
        #[arg(long, requires = "digest")]
        yes: bool,
        /// The digest of the call that was looked at
        #[arg(long)]
        digest: Option<String>,
    },
    /// Say no: nothing is sent, the agent is told why
    Deny {
        /// The operation, as `op_..`
        id: String,
        /// Why; the agent reads it
        #[arg(long)]
        reason: String,
    },
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let operator = Operator::find(&args.reach)?;
    match &args.command {
        Command::List { only, queue, format } => list(&operator, only, queue.as_deref(), format),
        Command::Show { id, format } => show(&operator, id, format),
        Command::Approve { id, reason, yes, digest } => {
            approve(&operator, id, reason.as_deref(), digest.as_deref().filter(|_| *yes))
        }
        Command::Deny { id, reason } => {
            let answer =
                operator.post(&format!("/v1/holds/{id}/deny"), &json!({ "reason": reason }))?;
            shown::line(&format!("Denied {}. Nothing was sent.", shown::text(&answer, "/id")));
            Ok(Ended::Well)
        }
    }
}

fn list(
    operator: &Operator,
    state: &str,
    queue: Option<&str>,
    format: &shown::Format,
) -> anyhow::Result<Ended> {
    let queue = queue.map_or(String::new(), |queue| format!("&queue={queue}"));
    let holds = operator.get(&format!("/v1/holds?state={state}{queue}"))?;
    if format.json {
        shown::json(&holds);
        return Ok(Ended::Well);
    }
    let rows: Vec<Vec<String>> = holds.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        shown::line("Nothing waits.");
    } else {
        shown::table(&["ID", "STATE", "QUEUE", "AMOUNT", "WHAT", "WHY", "UNTIL"], &rows);
    }
    Ok(Ended::Well)
}

fn row(hold: &Value) -> Vec<String> {
    let reasons = hold.get("reasons").and_then(Value::as_array).into_iter().flatten();
    let ids: Vec<&str> = reasons.filter_map(|reason| reason.pointer("/policy")?.as_str()).collect();
    vec![
        shown::text(hold, "/id").to_owned(),
        shown::text(hold, "/state").to_owned(),
        shown::text(hold, "/queue").to_owned(),
        shown::amount(hold),
        shown::text(hold, "/summary").to_owned(),
        ids.join(", "),
        shown::text(hold, "/expires").to_owned(),
    ]
}

fn show(operator: &Operator, id: &str, format: &shown::Format) -> anyhow::Result<Ended> {
    let hold = operator.get(&format!("/v1/holds/{id}"))?;
    if format.json {
        shown::json(&hold);
    } else {
        describe(&hold);
    }
    Ok(Ended::Well)
}

fn approve(
    operator: &Operator,
    id: &str,
    reason: Option<&str>,
    looked_at: Option<&str>,
) -> anyhow::Result<Ended> {
    let digest = match looked_at {
        Some(digest) => digest.to_owned(),
        None => {
            let hold = operator.get(&format!("/v1/holds/{id}"))?;
            describe(&hold);
            if !shown::confirm("Approve exactly this?")? {
                shown::line("Left as it is.");
                return Ok(Ended::WithFinding);
            }
            shown::text(&hold, "/digest").to_owned()
        }
    };
    let body = json!({ "digest": digest, "reason": reason });
    let answer = operator.post(&format!("/v1/holds/{id}/approve"), &body)?;
    let id = shown::text(&answer, "/id");
    shown::line(&format!("Approved {id}. It runs now, once: tollhouse operations show {id}"));
    Ok(Ended::Well)
}

fn describe(hold: &Value) {
    shown::line(shown::text(hold, "/summary"));
    for reason in hold.get("reasons").and_then(Value::as_array).into_iter().flatten() {
        let (why, policy) = (shown::text(reason, "/why"), shown::text(reason, "/policy"));
        shown::line(&format!("  waits because {why} ({policy})"));
    }
    shown::line(&format!("  amount: {}", shown::amount(hold)));
    shown::line(&format!("  resource: {}", shown::resource(hold)));
    for (label, pointer) in [
        ("state", "/state"),
        ("queue", "/queue"),
        ("action", "/action"),
        ("agent", "/agent"),
        ("customer", "/customer"),
        ("asked", "/requested"),
        ("until", "/expires"),
        ("reason given by the agent", "/agent_reason"),
        ("digest", "/digest"),
        ("sends", "/request"),
        ("body (the agent's own text)", "/body"),
    ] {
        let text = shown::text(hold, pointer);
        if text != "-" {
            shown::line(&format!("  {label}: {text}"));
        }
    }
}

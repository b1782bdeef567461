//! `tollhouse holds`: calls that wait for a person.

use clap::Subcommand;
use serde_json::{Value, json};

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// BOUND: holds of one listing; as many as a page of the API gives.
const LISTED_MAX: usize = 500;

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
    /// The calls that wait, the riskiest first, then the oldest
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
        /// The operations, as `op_..`
        #[arg(required = true)]
        ids: Vec<String>,
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
        Command::Deny { ids, reason } => match ids.as_slice() {
            [id] => {
                let answer =
                    operator.post(&format!("/v1/holds/{id}/deny"), &json!({ "reason": reason }))?;
                shown::line(&format!("Denied {}. Nothing was sent.", shown::text(&answer, "/id")));
                Ok(Ended::Well)
            }
            many => deny_many(&operator, many, reason),
        },
    }
}

/// Each is answered for itself: one that may not be denied keeps no other one.
fn deny_many(operator: &Operator, ids: &[String], reason: &str) -> anyhow::Result<Ended> {
    let body = json!({ "ids": ids, "reason": reason });
    let answers = operator.post("/v1/holds/deny", &body)?;
    let mut ended = Ended::Well;
    for answer in answers.as_array().into_iter().flatten() {
        let id = shown::text(answer, "/id");
        let why = match answer.pointer("/status").and_then(Value::as_u64) {
            Some(200) => {
                shown::line(&format!("Denied {id}. Nothing was sent."));
                continue;
            }
            Some(400 | 404) => "there is no such operation",
            Some(403) => "not yours to answer",
            Some(503) => "the store does not answer; try again",
            _ => "it does not wait any more",
        };
        shown::line(&format!("Not denied: {id}: {why}"));
        ended = Ended::WithFinding;
    }
    Ok(ended)
}

fn list(
    operator: &Operator,
    state: &str,
    queue: Option<&str>,
    format: &shown::Format,
) -> anyhow::Result<Ended> {
    let queue = queue.map_or(String::new(), |queue| format!("&queue={queue}"));
    let holds = operator.get(&format!("/v1/holds?state={state}{queue}&limit={LISTED_MAX}"))?;
    if format.json {
        shown::json(&holds);
        return Ok(Ended::Well);
    }
    let rows: Vec<Vec<String>> = holds.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        shown::line("Nothing waits.");
    } else {
        if rows.len() >= LISTED_MAX {
            shown::line(&format!("The first {LISTED_MAX}; more wait. Narrow it with --queue."));
        }
        shown::table(&["ID", "STATE", "RISK", "QUEUE", "AMOUNT", "WHAT", "WHY", "UNTIL"], &rows);
    }
    Ok(Ended::Well)
}

fn row(hold: &Value) -> Vec<String> {
    let reasons = hold.get("reasons").and_then(Value::as_array).into_iter().flatten();
    let ids: Vec<&str> = reasons.filter_map(|reason| reason.pointer("/policy")?.as_str()).collect();
    vec![
        shown::text(hold, "/id").to_owned(),
        shown::text(hold, "/state").to_owned(),
        shown::text(hold, "/risk").to_owned(),
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
    if shown::text(&answer, "/state") == "held" {
        shown::line(&format!("Your yes to {id} is on record. {}", still_needs(&answer)));
    } else {
        shown::line(&format!("Approved {id}. It runs now, once: tollhouse operations show {id}"));
    }
    Ok(Ended::Well)
}

/// `1 of 2 people said yes (ann); it waits for another, one of each of finance and lead.`
fn still_needs(hold: &Value) -> String {
    let texts = |at: &str| -> Vec<String> {
        let items = hold.pointer(at).and_then(Value::as_array).into_iter().flatten();
        items
            .filter_map(|item| item.as_str().or_else(|| item.get("by")?.as_str()).map(Into::into))
            .collect()
    };
    let (said, roles) = (texts("/approvals"), texts("/roles"));
    let needed = hold.pointer("/approvers").and_then(Value::as_u64).unwrap_or(1);
    let mut words = format!("{} of {needed} said yes", said.len());
    if !said.is_empty() {
        words.push_str(&format!(" ({})", said.join(", ")));
    }
    if !roles.is_empty() {
        words.push_str(&format!("; it takes one for each of {}", roles.join(", ")));
    }
    words.push('.');
    words
}

fn describe(hold: &Value) {
    shown::line(shown::text(hold, "/summary"));
    for reason in hold.get("reasons").and_then(Value::as_array).into_iter().flatten() {
        let (why, policy) = (shown::text(reason, "/why"), shown::text(reason, "/policy"));
        shown::line(&format!("  waits because {why} ({policy})"));
    }
    if hold.pointer("/approvers").and_then(Value::as_u64).unwrap_or(1) > 1 {
        shown::line(&format!("  {}", still_needs(hold)));
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

//! `tollhouse revoke`: tokens that count no more.

use serde_json::{Value, json};

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// Makes tokens count no more, at once, for calls and for what was held; or lists and lifts revocations.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The one token of this name (its `jti`)
    #[arg(long, required_unless_present_any = ["agent", "customer", "list", "lift"])]
    jti: Option<String>,
    /// Every token of this agent
    #[arg(long)]
    agent: Option<String>,
    /// Every token for this customer
    #[arg(long)]
    customer: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Tokens issued later count, as 2026-03-01T12:00:00Z; default: now
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
    /// Why; on record
    #[arg(long, required_unless_present_any = ["list", "lift"])]
    reason: Option<String>,
    /// The revocations in force
    #[arg(long, conflicts_with_all = ["jti", "agent", "customer", "lift"])]
    list: bool,
    /// Takes one back, as --list names it
    #[arg(long, value_name = "ID", conflicts_with_all = ["jti", "agent", "customer"])]
    lift: Option<String>,
    #[command(flatten)]
    format: shown::Format,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let operator = Operator::find(&args.reach)?;
    if args.list {
        return list(&operator, &args.format);
    }
    if let Some(id) = &args.lift {
        operator.delete(&format!("/v1/revocations/{id}"))?;
        shown::line(&format!("Taken back: {id}."));
        return Ok(Ended::Well);
    }
    let revoked = operator.post(
        "/v1/revocations",
        &json!({
            "jti": args.jti,
            "agent": args.agent,
            "customer": args.customer,
            "tenant": args.tenant,
            "issued_before": args.issued_before,
            "reason": args.reason,
        }),
    )?;
    if args.format.json {
        shown::json(&revoked);
        return Ok(Ended::Well);
    }
    shown::line(&format!(
        "Revoked: tokens of {} issued until {}. Take it back with: tollhouse revoke --lift {}",
        shown::text(&revoked, "/scope"),
        shown::text(&revoked, "/issued_before"),
        shown::text(&revoked, "/id"),
    ));
    Ok(Ended::Well)
}

fn list(operator: &Operator, format: &shown::Format) -> anyhow::Result<Ended> {
    let all = operator.get("/v1/revocations")?;
    if format.json {
        shown::json(&all);
        return Ok(Ended::Well);
    }
    let row = |one: &Value| {
        ["/id", "/scope", "/issued_before", "/reason", "/by"]
            .map(|at| shown::text(one, at).to_owned())
            .to_vec()
    };
    let rows: Vec<_> = all.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        shown::line("Nothing is revoked.");
    } else {
        shown::table(&["ID", "SCOPE", "ISSUED UNTIL", "REASON", "BY"], &rows);
    }
    Ok(Ended::Well)
}

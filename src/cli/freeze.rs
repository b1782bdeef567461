//! `tollhouse freeze`, `unfreeze`, `freezes`: the kill switch.

use serde_json::{Value, json};

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// Stops a scope at once.
#[derive(Debug, clap::Args)]
pub struct FreezeArgs {
    /// all, or one or more of class/X agent/X action/X tenant/X customer/X upstream/X, which must all match
    #[arg(required = true)]
    scope: Vec<String>,
    /// Why; on record
    #[arg(long)]
    reason: String,
    /// Lifted by itself after this long, as 2h
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Lifts a freeze.
#[derive(Debug, clap::Args)]
pub struct UnfreezeArgs {
    /// As `tollhouse freezes` names it
    id: String,
    #[command(flatten)]
    reach: Reach,
}

/// Freezes in force.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    format: shown::Format,
    #[command(flatten)]
    reach: Reach,
}

pub fn freeze(args: &FreezeArgs) -> anyhow::Result<Ended> {
    let operator = Operator::find(&args.reach)?;
    let body = json!({ "scope": args.scope, "reason": args.reason, "for": args.span });
    let freeze = operator.post("/v1/freezes", &body)?;
    let (id, scope) = (shown::text(&freeze, "/id"), shown::text(&freeze, "/scope"));
    shown::line(&format!("Frozen: {scope}. Lift it with: tollhouse unfreeze {id}"));
    Ok(Ended::Well)
}

pub fn unfreeze(args: &UnfreezeArgs) -> anyhow::Result<Ended> {
    let operator = Operator::find(&args.reach)?;
    operator.delete(&format!("/v1/freezes/{}", args.id))?;
    shown::line(&format!("Lifted {}.", args.id));
    Ok(Ended::Well)
}

pub fn list(args: &ListArgs) -> anyhow::Result<Ended> {
    let freezes = Operator::find(&args.reach)?.get("/v1/freezes")?;
    if args.format.json {
        shown::json(&freezes);
        return Ok(Ended::Well);
    }
    let row = |freeze: &Value| {
        ["/id", "/scope", "/reason", "/by", "/until"]
            .map(|p| shown::text(freeze, p).to_owned())
            .to_vec()
    };
    let rows: Vec<_> = freezes.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        shown::line("Nothing is frozen.");
    } else {
        shown::table(&["ID", "SCOPE", "REASON", "BY", "UNTIL"], &rows);
    }
    Ok(Ended::Well)
}

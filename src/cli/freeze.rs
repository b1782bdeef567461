//! `tollhouse freeze`, `unfreeze`, `freezes`: the kill switch.

use serde_json::{Value, json};

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// Stops a scope at once.
#[derive(Debug, clap::Args)]
pub struct FreezeArgs {
    /// all, or one or more of class/X kind/X agent/X action/X tenant/X customer/X upstream/X, which must all match
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

/// Lifts a freeze, or releases a brake.
#[derive(Debug, clap::Args)]
pub struct UnfreezeArgs {
    /// As `tollhouse freezes` names it
    id: String,
    #[command(flatten)]
    reach: Reach,
}

/// Freezes in force, and brakes that are on.
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
    shown::line(&format!("{scope} {}.", reach(&freeze)));
    shown::line(&format!("Lift it with: tollhouse unfreeze {id}"));
    Ok(Ended::Well)
}

/// `frozen in 0.3 s on 4 of 4; 3 in flight will finish, 12 holds wait`, and who does not follow.
fn reach(freeze: &Value) -> String {
    let number = |pointer: &str| freeze.pointer(pointer).and_then(Value::as_u64);
    let more = if shown::text(freeze, "/counted") == "at_least" { " or more" } else { "" };
    let counted = |pointer: &str| match number(pointer) {
        Some(count) => format!("{count}{more}"),
        None => "an unknown number".to_owned(),
    };
    let holds =
        if (number("/holds_waiting"), more) == (Some(1), "") { "hold waits" } else { "holds wait" };
    let met = format!(
        "{} in flight will finish, {} {holds}",
        counted("/in_flight"),
        counted("/holds_waiting")
    );
    let replicas = ["/replicas/following", "/replicas/of", "/replicas/took_ms"].map(number);
    let [Some(following), Some(of), Some(took)] = replicas else {
        return format!("frozen; who follows is not known; {met}");
    };
    let (seconds, tenths) = (took / 1_000, took % 1_000 / 100);
    let late = match of.saturating_sub(following) {
        0 => "",
        // The store turns back what would begin there; a read asks no store.
        _ => " (no effect begins on the others, reads there may go on)",
    };
    format!("frozen in {seconds}.{tenths} s on {following} of {of}{late}; {met}")
}

pub fn unfreeze(args: &UnfreezeArgs) -> anyhow::Result<Ended> {
    let operator = Operator::find(&args.reach)?;
    operator.delete(&format!("/v1/freezes/{}", args.id))?;
    shown::line(&format!("Lifted {}.", args.id));
    Ok(Ended::Well)
}

/// `4 of 4`; `-` when nobody knows.
fn followed(freeze: &Value) -> String {
    let number = |pointer: &str| freeze.pointer(pointer).and_then(Value::as_u64);
    match (number("/replicas/following"), number("/replicas/of")) {
        (Some(following), Some(of)) => format!("{following} of {of}"),
        (None, _) | (_, None) => "-".to_owned(),
    }
}

pub fn list(args: &ListArgs) -> anyhow::Result<Ended> {
    let freezes = Operator::find(&args.reach)?.get("/v1/freezes")?;
    if args.format.json {
        shown::json(&freezes);
        return Ok(Ended::Well);
    }
    let row = |freeze: &Value| {
        let mut cells = ["/id", "/scope", "/stops", "/reason", "/by", "/until"]
            .map(|p| shown::text(freeze, p).to_owned())
            .to_vec();
        cells.push(followed(freeze));
        cells
    };
    let rows: Vec<_> = freezes.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        shown::line("Nothing is frozen.");
    } else {
        shown::table(&["ID", "SCOPE", "CALLS ARE", "REASON", "BY", "UNTIL", "FOLLOWED BY"], &rows);
    }
    Ok(Ended::Well)
}

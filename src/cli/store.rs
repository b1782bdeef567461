//! `tollhouse store`: what a person does about a store that lost what it knew.

use clap::Subcommand;
use serde_json::json;

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// The store: whether it still knows what it knew.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Whether it still knows what it knew
    Show {
        #[command(flatten)]
        format: shown::Format,
    },
    /// You have seen to it that what was done before it was lost is not done again: money moves by its
    /// contracts again
    Clear {
        /// What you did; put on record
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let operator = Operator::find(&args.reach)?;
    match &args.command {
        Command::Show { format } => show(&operator, format),
        Command::Clear { reason } => {
            operator.post("/v1/store/clear", &json!({ "reason": reason }))?;
            shown::line("Cleared. Money moves by its contracts again.");
            Ok(Ended::Well)
        }
    }
}

fn show(operator: &Operator, format: &shown::Format) -> anyhow::Result<Ended> {
    let store = operator.get("/v1/store")?;
    if format.json {
        shown::json(&store);
        return Ok(Ended::Well);
    }
    match shown::text(&store, "/lost") {
        "-" => {
            shown::line("The store knows what it knew.");
            Ok(Ended::Well)
        }
        since => {
            shown::line(&format!("The store lost what it knew, found at {since}."));
            shown::line(
                "What was about to be sent is back as unknown: tollhouse operations list --only unknown",
            );
            shown::line("Money waits for a person where the vendor's keys are not trusted.");
            shown::line(
                "When you have compared with the vendor: tollhouse store clear --reason ..",
            );
            Ok(Ended::WithFinding)
        }
    }
}

//! `tollhouse audit`: verify the log, or watch it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

use super::operator::{Operator, Reach};
use super::{Ended, shown};
use crate::audit::verify;

/// The audit log.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk the chain: finds an edited, removed or reordered record
    Verify {
        /// The folder of the log
        dir: PathBuf,
    },
    /// The latest records of a running instance
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u32,
        #[command(flatten)]
        reach: Reach,
    },
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    match &args.command {
        Command::Verify { dir } => {
            let report =
                verify(dir).with_context(|| format!("no log can be read in {}", dir.display()))?;
            shown::line(&report.to_string());
            Ok(if report.finding.is_none() { Ended::Well } else { Ended::WithFinding })
        }
        Command::Tail { lines, reach } => {
            let records = Operator::find(reach)?.get(&format!("/v1/records?last={lines}"))?;
            for record in records.as_array().into_iter().flatten() {
                shown::line(&record.to_string());
            }
            Ok(Ended::Well)
        }
    }
}

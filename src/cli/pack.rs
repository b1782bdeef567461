//! `tollhouse pack`: what vendors and in-house APIs are known.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Ended, shown};
use crate::catalog::pack;

/// Packs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The packs in this binary
    List {
        #[command(flatten)]
        format: shown::Format,
    },
    /// Every fault of a pack file, with its line
    Lint {
        /// Pack files, or names of packs in this binary
        #[arg(required = true)]
        files: Vec<String>,
    },
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    match &args.command {
        Command::List { format } => list(format),
        Command::Lint { files } => lint(files),
    }
}

fn list(format: &shown::Format) -> anyhow::Result<Ended> {
    let mut packs = Vec::new();
    for (name, text) in pack::SHIPPED {
        let pack = pack::read(name, text)?;
        packs.push((*name, pack.actions().len()));
    }
    if format.json {
        let rows = packs.iter().map(|(name, n)| serde_json::json!({ "pack": name, "actions": n }));
        shown::json(&rows.collect());
    } else {
        let rows: Vec<_> =
            packs.iter().map(|(name, n)| vec![(*name).to_owned(), n.to_string()]).collect();
        shown::table(&["PACK", "ACTIONS"], &rows);
    }
    Ok(Ended::Well)
}

fn lint(files: &[String]) -> anyhow::Result<Ended> {
    let mut ended = Ended::Well;
    for file in files {
        let text = match pack::shipped(file) {
            Some(text) => text.to_owned(),
            None => crate::config::read_file(&PathBuf::from(file))?,
        };
        match pack::read(file, &text) {
            Ok(pack) => {
                let warnings = pack.lint();
                warnings.iter().for_each(|warning| shown::line(&format!("{file}: {warning}")));
                let faults = if warnings.is_empty() { "no fault" } else { "see above" };
                shown::line(&format!("{file}: {} actions, {faults}", pack.actions().len()));
            }
            Err(errors) => {
                shown::line(&errors.to_string());
                ended = Ended::WithFinding;
            }
        }
    }
    Ok(ended)
}

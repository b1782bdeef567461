//! `tollhouse audit`: verify the log, make the key that signs it, or watch it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::operator::{Operator, Reach};
use super::{Ended, shown};
use crate::audit::{Against, SigningKey, VerifyingKey, verify_against};
use crate::config;

/// The audit log.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk the chain: finds an edited, removed or reordered record, and what does not fit its checkpoints
    Verify {
        /// The folder of the log
        dir: PathBuf,
        /// A file with the public key that checkpoints are signed with, in PEM or as name+id+key; may be repeated,
        /// for a key that was changed
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
        /// A file of checkpoints that were kept elsewhere: each must be of this log; may be repeated
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
    },
    /// Show the verifier key of a signing key; make the key if there is none
    Key {
        /// The file of the private key
        file: PathBuf,
        /// The public key in PEM instead
        #[arg(long)]
        pem: bool,
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
        Command::Verify { dir, key, checkpoint } => {
            let keys = key.iter().map(|path| verifying_key(path)).collect::<anyhow::Result<_>>()?;
            let collected =
                checkpoint.iter().map(|path| text(path)).collect::<anyhow::Result<_>>()?;
            let report = verify_against(dir, &Against { keys, collected })
                .with_context(|| format!("no log can be read in {}", dir.display()))?;
            shown::line(&report.to_string());
            Ok(if report.finding.is_none() { Ended::Well } else { Ended::WithFinding })
        }
        Command::Key { file, pem } => {
            if !file.exists() {
                let key = SigningKey::new_pem().map_err(anyhow::Error::msg)?;
                config::write_secret(file, key.as_bytes())
                    .with_context(|| format!("{} cannot be written", file.display()))?;
            }
            let key = config::read_key(file).map_err(anyhow::Error::msg)?;
            match pem {
                true => shown::line(key.verifier().to_pem().trim_end()),
                false => shown::line(&key.verifier().to_string()),
            }
            Ok(Ended::Well)
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

fn verifying_key(path: &Path) -> anyhow::Result<VerifyingKey> {
    let (_, text) = text(path)?;
    match VerifyingKey::parse(&text) {
        Ok(key) => Ok(key),
        Err(why) => bail!("{} {why}", path.display()),
    }
}

/// What somebody collected is text, or damaged in places that then do not read.
fn text(path: &Path) -> anyhow::Result<(PathBuf, String)> {
    let bytes =
        std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok((path.to_owned(), String::from_utf8_lossy(&bytes).into_owned()))
}

//! `tollhouse policy`: the rules and numbers that apply to an action.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Ended, shown};
use crate::config;

/// The rules and numbers that apply.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What applies to an action, what does not and why; without one, every action with its class
    Show {
        /// As stripe.refund.create
        #[arg(long)]
        action: Option<String>,
        #[command(flatten)]
        from: From,
    },
}

/// Where the actions and contracts come from.
#[derive(Debug, clap::Args)]
pub struct From {
    /// The configuration
    #[arg(long, value_name = "FILE", required_unless_present = "pack")]
    pub config: Option<PathBuf>,
    /// Or only a pack, with contracts at their safe defaults
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "config")]
    pub pack: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let Command::Show { action, from } = &args.command;
    let checked = match config::checked(from.config.as_deref(), from.pack.as_deref()) {
        Ok(checked) => checked,
        Err(errors) => {
            shown::line(&errors.to_string());
            return Ok(Ended::WithFinding);
        }
    };
    let Some(action) = action else {
        let actions = checked.gate.catalog.actions();
        let rows: Vec<_> = actions
            .map(|a| {
                let kind = a.kind.map_or("-", crate::call::Kind::name);
                let place = format!("{} {}", a.method, a.path_template);
                vec![a.name.to_string(), a.class.name().to_owned(), kind.to_owned(), place]
            })
            .collect();
        shown::table(&["ACTION", "CLASS", "KIND", "MATCH"], &rows);
        return Ok(Ended::Well);
    };
    match checked.gate.policy.show(action) {
        Some(text) => {
            shown::line(text.to_string().trim_end());
            tell_alarms(&checked.gate, action);
            Ok(Ended::Well)
        }
        None => {
            shown::line(&format!("{action}: no pack knows it"));
            Ok(Ended::WithFinding)
        }
    }
}

/// The brakes and signals that the action meets, if there are any.
fn tell_alarms(gate: &crate::gate::Gate, action: &str) {
    let Some(action) = gate.catalog.actions().find(|one| *one.name == *action) else { return };
    let alarms = gate.alarms.shown(action.class, action.kind);
    if alarms.is_empty() {
        return;
    }
    shown::line("\nbrakes and signals");
    for (sort, name, words) in alarms {
        shown::line(&format!("  {sort:<7} {name}: {words}"));
    }
}

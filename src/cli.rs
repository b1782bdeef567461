//! The command line: one file per command, one place that turns an ending into an exit code.
//!
//! 0: done. 1: a finding (invalid, refused, chain broken). 2: could not run.

mod audit;
mod check;
mod demo;
mod demo_shop;
mod explain;
mod freeze;
mod holds;
mod operations;
mod operator;
mod pack;
mod policy;
mod revoke;
mod run;
mod serving;
mod shown;
mod sign_in;
mod store;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The sidecar an LLM agent's outbound calls must pass: judged, sent at most once, recorded.
#[derive(Debug, Parser)]
#[command(name = "tollhouse", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: from a configuration, or in quick mode from a pack and an upstream
    Run(run::Args),
    /// A playground: a sample shop, Tollhouse before it, and a scripted agent
    Demo(demo::Args),
    /// Read a configuration as start-up does, and say everything that is wrong with it
    Check(check::Args),
    /// What would happen to a call, and why; sends nothing
    Explain(explain::Args),
    /// A development token for an agent and its customer
    Token(token::Args),
    /// A link that signs a browser in at the console, once
    SignIn(sign_in::Args),
    /// Calls that wait for a person: list, show, approve, deny
    Holds(holds::Args),
    /// Stop everything, or one thing, at once
    Freeze(freeze::FreezeArgs),
    /// Lift a freeze
    Unfreeze(freeze::UnfreezeArgs),
    /// Freezes in force
    Freezes(freeze::ListArgs),
    /// Make tokens count no more: one, an agent's or a customer's
    Revoke(revoke::Args),
    /// What became of each effect: list, show, resolve
    Operations(operations::Args),
    /// Whether the store still knows what it knew, and what to do when not
    Store(store::Args),
    /// The audit log: verify it, or watch it
    Audit(audit::Args),
    /// Packs: list them, or lint a file
    Pack(pack::Args),
    /// The rules and numbers that apply to an action
    Policy(policy::Args),
}

/// How a command ended that could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// As asked.
    Well,
    /// It found something: invalid, refused, broken.
    WithFinding,
}

/// Whether the command line takes these words, the first of them `tollhouse`; nothing is run.
///
/// # Errors
///
/// What it would say to whoever wrote them.
pub fn takes(words: &[String]) -> Result<(), String> {
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        // Help and the version were asked for.
        Err(said) if !said.use_stderr() => Ok(()),
        Err(said) => Err(said.to_string()),
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Token(args) => token::run(&args),
        Command::SignIn(args) => sign_in::run(&args),
        Command::Holds(args) => holds::run(&args),
        Command::Freeze(args) => freeze::freeze(&args),
        Command::Unfreeze(args) => freeze::unfreeze(&args),
        Command::Freezes(args) => freeze::list(&args),
        Command::Revoke(args) => revoke::run(&args),
        Command::Operations(args) => operations::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Policy(args) => policy::run(&args),
    };
    match ended {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::WithFinding) => ExitCode::from(1),
        Err(error) => {
            shown::error(&error);
            ExitCode::from(2)
        }
    }
}

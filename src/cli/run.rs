//! `tollhouse run`: serves, from a configuration or in quick mode.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::serving::{Origin, Running};
use super::{Ended, shown};
use crate::config::{self, Config, Quick};

/// Serves until it is told to stop.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pack", "upstream"])]
    config: Option<PathBuf>,
    /// Quick mode: a pack by name, or its file
    #[arg(long, value_name = "NAME|FILE", requires = "upstream")]
    pack: Option<String>,
    /// Quick mode: where the API is
    #[arg(long, value_name = "URL", requires = "pack")]
    upstream: Option<String>,
    /// Quick mode: the API's secret, as env:NAME or file:PATH
    #[arg(long, value_name = "REF", requires = "pack")]
    secret: Option<String>,
    /// Quick mode: up to this amount money moves without a person, as "100.00 USD"
    #[arg(long, value_name = "AMOUNT", requires = "pack")]
    cap: Option<String>,
    /// Quick mode: a file of contracts
    #[arg(long, value_name = "FILE", requires = "pack")]
    contracts: Option<PathBuf>,
    /// Quick mode: the store, as embedded:DIR [default: in the state folder]
    #[arg(long, value_name = "URL", requires = "pack")]
    store: Option<String>,
    /// The store is new, whatever the record says: nothing was lost
    #[arg(long)]
    init_store: bool,
    /// Quick mode: where agents are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8700")]
    listen: SocketAddr,
    /// Quick mode: where operators are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8701")]
    operator: SocketAddr,
    /// Quick mode: keys, store and audit log live here
    #[arg(long, value_name = "DIR", default_value = ".tollhouse")]
    state: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<Ended> {
    let read = match (args.config.clone(), &args.pack, &args.upstream) {
        (Some(path), _, _) => std::thread::spawn(move || config::load(&path)).join(),
        (None, Some(pack), Some(upstream)) => {
            let quick = quick_of(&args, pack, upstream);
            std::thread::spawn(move || config::quick(&quick)).join()
        }
        (None, _, _) => bail!(
            "name a configuration with --config FILE, or a pack and an upstream with --pack NAME --upstream URL"
        ),
    };
    // It was read on a thread that has ended: its scratch memory is given back.
    let read = read.map_err(|_| anyhow::anyhow!("the configuration could not be read"))?;
    let config = match read {
        Ok(config) => Config { init_store: args.init_store, ..config },
        Err(errors) => {
            shown::note(&errors.to_string());
            shown::note(&shown::faults(errors.0.len()));
            return Ok(Ended::WithFinding);
        }
    };
    match &args.config {
        Some(file) => serve(config, Origin::File(file)),
        None => serve(config, Origin::Quick(&args.state)),
    }
}

fn quick_of(args: &Args, pack: &str, upstream: &str) -> Quick {
    Quick {
        pack: pack.to_owned(),
        upstream: upstream.to_owned(),
        secret: args.secret.clone(),
        cap: args.cap.clone(),
        contracts: args.contracts.clone(),
        store: args.store.clone(),
        listen: args.listen,
        operator: args.operator,
        state: args.state.clone(),
    }
}

/// Serves `config` until a signal.
fn serve(config: Config, from: Origin<'_>) -> anyhow::Result<Ended> {
    let state = match from {
        Origin::Quick(state) => Some(state),
        Origin::File(_) => None,
    };
    // RUNTIME: one thread; more cost CPU and gained nothing on two cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = match Running::start(config, from).await {
            Ok(running) => running,
            Err(errors) => {
                shown::note(&errors.to_string());
                shown::note(&shown::faults(errors.0.len()));
                return Ok(Ended::WithFinding);
            }
        };
        announce(&running, state)?;
        wait_for_signal().await.context("signals cannot be caught")?;
        shown::note("stopping: what is in flight is answered first");
        if running.stop().await {
            shown::note("stopped");
            return Ok(Ended::Well);
        }
        shown::note("stopped with calls in flight; their effects are unknown and on record");
        Ok(Ended::WithFinding)
    })
}

/// Says where everything is, the agents' address first.
fn announce(running: &Running, state: Option<&Path>) -> anyhow::Result<()> {
    for (what, url) in running.agents() {
        shown::line(&format!("agents   {url}{what}"));
    }
    if let Some(url) = running.console_url() {
        shown::line(&format!("console  {url}"));
    }
    if let Some(link) = running.sign_in_link() {
        shown::line(&format!("sign in  {link}"));
    }
    let Some(state) = state else { return Ok(()) };
    let (dir, command) = (state.display(), shown::own_name());
    shown::line(&format!("token    {}", running.sample_token(state)?));
    shown::line("");
    shown::line(
        "Quick mode, for development only: whoever can read the state folder is customer and operator.",
    );
    shown::line(&format!(
        "Another token: {command} token --agent A --customer C --account cus_.. --state {dir}"
    ));
    shown::line(&format!("Calls that wait: {command} holds list --state {dir}"));
    shown::line(&format!(
        "The sign-in link counts once, for 15 minutes. Another: {command} sign-in --state {dir}"
    ));
    Ok(())
}

/// Returns on SIGTERM or SIGINT.
pub async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

//! `tollhouse check`: reads a configuration exactly as start-up does.

use std::path::PathBuf;

use super::{Ended, shown};
use crate::config;

/// Reads a configuration as start-up does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also try the upstreams and the issuers' keys
    #[arg(long)]
    connect: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(errors) => {
            shown::line(&errors.to_string());
            shown::line(&shown::faults(errors.0.len()));
            return Ok(Ended::WithFinding);
        }
    };
    let tls = config.tls.clone();
    let checked = config::check(config).and_then(|checked| {
        // As the listeners are opened: whether certificate and key fit together.
        let _opened = tls.as_ref().map(super::serving::tls::open).transpose()?;
        Ok(checked)
    });
    let checked = match checked {
        Ok(checked) => checked,
        Err(errors) => {
            shown::line(&errors.to_string());
            shown::line(&shown::faults(errors.0.len()));
            return Ok(Ended::WithFinding);
        }
    };
    for line in &checked.said {
        shown::line(line);
    }
    if !args.connect {
        shown::line(&format!("{}: no fault", args.config.display()));
        return Ok(Ended::Well);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(async {
        let mut found = checked.connect().await;
        if let Some(oidc) = super::serving::oidc(&checked.operator, &checked.gate) {
            let said = crate::console::look_at(&oidc, &checked.gate.clock).await;
            found.push((format!("sign-in at {}", oidc.issuer), said));
        }
        found
    });
    let mut ended = Ended::Well;
    for (what, found) in findings {
        match found {
            Ok(said) => shown::line(&format!("{what}: {said}")),
            Err(why) => {
                shown::line(&format!("{what}: {why}"));
                ended = Ended::WithFinding;
            }
        }
    }
    Ok(ended)
}

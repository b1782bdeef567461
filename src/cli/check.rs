//! `tollhouse check`: reads a configuration exactly as start-up does.

use std::path::PathBuf;
use std::time::Duration;

use super::{Ended, shown};
use crate::clock::Timestamp;
use crate::config::{self, Finding, How};

/// Reads a configuration as start-up does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also look at the machine and try the store, the issuers, the upstreams and their secrets, and say what to do
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
        let opened = tls.as_ref().map(super::serving::tls::open).transpose()?;
        Ok((checked, opened))
    });
    let (checked, opened) = match checked {
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
        found.extend(opened.map(|opened| certificate(opened.tls.ends(), checked.gate.clock.now())));
        if let Some(oidc) = super::serving::oidc(&checked.operator, &checked.gate) {
            let what = format!("sign-in at {}", oidc.issuer);
            found.push(match crate::console::look_at(&oidc, &checked.gate.clock).await {
                Ok(said) => Finding::well(what, said),
                Err(why) => Finding::wrong(what, why, "look at `operator.oidc`, and at the issuer"),
            });
        }
        found
    });
    Ok(told(&findings))
}

/// How long agents are still answered.
fn certificate(ends: Timestamp, now: Timestamp) -> Finding {
    // BOUND: who renews by hand needs a week; what renews by itself does so a third before the end.
    const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    if ends <= now.plus(SOON) {
        let what = if ends <= now { "it ended" } else { "it ends" };
        let mend = "put a new certificate and its key in place: they count within a second";
        return Finding::wrong("tls", format!("{what} at {ends}"), mend);
    }
    Finding::well("tls", format!("the certificate ends at {ends}"))
}

/// A line a finding, what is wrong last, with what to do.
fn told(findings: &[Finding]) -> Ended {
    for Finding { what, how } in findings {
        match how {
            How::Well(said) => shown::line(&format!("well   {what}: {said}")),
            How::Note(said) => shown::line(&format!("note   {what}: {said}")),
            How::Wrong { .. } => {}
        }
    }
    let mut wrong = 0_usize;
    for Finding { what, how } in findings {
        if let How::Wrong { why, mend } = how {
            shown::line(&format!("WRONG  {what}: {why}\n       do: {mend}"));
            wrong = wrong.saturating_add(1);
        }
    }
    match wrong {
        0 => {
            shown::line("nothing to mend");
            Ended::Well
        }
        1 => {
            shown::line("1 thing to mend");
            Ended::WithFinding
        }
        more => {
            shown::line(&format!("{more} things to mend"));
            Ended::WithFinding
        }
    }
}

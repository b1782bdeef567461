//! `tollhouse sign-in`: a one-time code for a browser, from a running instance.

use serde_json::json;

use super::operator::{Operator, Reach};
use super::{Ended, shown};

/// A link that signs a browser in.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    format: shown::Format,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let code = Operator::find(&args.reach)?.post("/v1/sign-in-codes", &json!({}))?;
    if args.format.json {
        shown::json(&code);
        return Ok(Ended::Well);
    }
    match shown::text(&code, "/url") {
        "-" => shown::line(shown::text(&code, "/code")),
        link => shown::line(link),
    }
    shown::note(&format!("It counts once, until {}.", shown::text(&code, "/expires")));
    Ok(Ended::Well)
}

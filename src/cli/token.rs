//! `tollhouse token`: a development token, for an agent and the customer it works for.

use std::path::PathBuf;
use std::time::Duration;

use super::{Ended, shown};
use crate::clock::{Clock, Timestamp};
use crate::identity::{Wish, mint};

/// BOUND: consent of a development token; a month is long enough to play with.
const CONSENT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A development token; prints the token alone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agent (`act.sub`)
    #[arg(long)]
    agent: String,
    /// The customer it works for (`sub`)
    #[arg(long)]
    customer: Option<String>,
    /// Who the customer is at the upstream, as cus_..
    #[arg(long)]
    account: Option<String>,
    /// The tenant
    #[arg(long)]
    tenant: Option<String>,
    /// A role of the customer; may stand several times
    #[arg(long = "role")]
    roles: Vec<String>,
    /// A verified address of the customer
    #[arg(long)]
    contact: Option<String>,
    /// The agent's trust level, 0 to 4
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=4))]
    trust: Option<u8>,
    /// When consent ends, as 2026-12-31T00:00:00Z, or none [default: in 30 days]
    #[arg(long, value_name = "TIME|none")]
    consent_until: Option<String>,
    /// How long the token lives
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// The state folder of the quick-mode instance; the key is made if there is none
    #[arg(long, value_name = "DIR", default_value = ".tollhouse")]
    state: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    let now = Clock::System.now();
    let consent_until = match args.consent_until.as_deref() {
        None => Some(now.plus(CONSENT)),
        Some("none") => None,
        Some(text) => Some(Timestamp::parse(text).ok_or_else(|| {
            anyhow::anyhow!("--consent-until: expected a time such as 2026-12-31T00:00:00Z, or none, got `{text}`")
        })?),
    };
    let wish = Wish {
        agent: args.agent.clone(),
        customer: args.customer.clone(),
        account: args.account.clone(),
        tenant: args.tenant.clone(),
        roles: args.roles.clone(),
        contact: args.contact.clone(),
        trust: args.trust,
        consent_until,
        ttl: args.ttl,
    };
    shown::line(&mint(&args.state, &wish, now)?);
    Ok(Ended::Well)
}

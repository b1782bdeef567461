//! `tollhouse explain`: what would happen to a call, and why. Sends nothing.

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::{Ended, shown};
use crate::call::Request;
use crate::config;
use crate::gate::{FactOverride, Lookup, room_words};
use crate::money::Currency;

/// What would happen to a call, and why.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As POST
    method: String,
    /// Path and query, as an agent would send them
    path: String,
    /// A header, as 'Name: value'; may stand several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The body
    #[arg(short = 'd', long = "data")]
    body: Option<String>,
    /// The caller's token; without one the call is only classified
    #[arg(long)]
    token: Option<String>,
    /// A fact, as charge.amount=6000; may stand several times
    #[arg(long = "fact", value_name = "FACT.FIELD=VALUE")]
    facts: Vec<String>,
    /// Read the facts from the upstream
    #[arg(long)]
    lookup: bool,
    /// The configuration
    #[arg(long, value_name = "FILE", required_unless_present = "pack")]
    config: Option<PathBuf>,
    /// Or only a pack
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "config")]
    pack: Option<String>,
    #[command(flatten)]
    format: shown::Format,
}

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    if args.pack.is_some() && args.token.is_some() {
        anyhow::bail!("--token needs --config: a pack alone names no issuer whose tokens count");
    }
    let checked = match config::checked(args.config.as_deref(), args.pack.as_deref()) {
        Ok(checked) => checked,
        Err(errors) => {
            shown::line(&errors.to_string());
            return Ok(Ended::WithFinding);
        }
    };
    let request = request(args)?;
    let facts =
        args.facts.iter().map(|text| FactOverride::parse(text)).collect::<Result<Vec<_>, _>>();
    let facts = facts.map_err(anyhow::Error::msg)?;
    let lookup = if args.lookup { Lookup::Read } else { Lookup::Given };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let explained = runtime.block_on(checked.gate.explain(&request, &facts, lookup));
    if args.format.json {
        shown::json(&explained);
    } else {
        tell(&explained);
    }
    let refused = explained.pointer("/decision").and_then(Value::as_str) == Some("refuse");
    let unknown = explained.get("action").is_none_or(Value::is_null);
    Ok(if refused || unknown { Ended::WithFinding } else { Ended::Well })
}

fn request(args: &Args) -> anyhow::Result<Request> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::HOST, HeaderValue::from_static("tollhouse"));
    for line in &args.headers {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| anyhow::anyhow!("-H: expected 'Name: value', got `{line}`"))?;
        headers.append(
            HeaderName::from_bytes(name.trim().as_bytes())?,
            HeaderValue::from_str(value.trim())?,
        );
    }
    if let Some(token) = &args.token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        headers.insert(HeaderName::from_static("tollhouse-authorization"), value);
    }
    let body = args.body.clone().unwrap_or_default();
    if !body.is_empty() {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !headers.contains_key(http::header::CONTENT_TYPE) {
            let json = body.trim_start().starts_with(['{', '[']);
            let kind = if json { "application/json" } else { "application/x-www-form-urlencoded" };
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
    }
    Ok(Request {
        listener: 0,
        method: Method::from_bytes(args.method.to_ascii_uppercase().as_bytes())?,
        target: args.path.as_str().into(),
        headers,
        body: Bytes::from(body),
        peer: None,
    })
}

fn tell(explained: &Value) {
    let action = shown::text(explained, "/action");
    if action == "-" {
        shown::line(&format!("refused: {}", shown::text(explained, "/detail")));
        return;
    }
    for (label, pointer) in [
        ("action", "/action"),
        ("class", "/class"),
        ("summary", "/summary"),
        ("owner", "/owner"),
        ("resource", "/resource"),
        ("decision", "/decision"),
        ("in shadow", "/shadow"),
        ("code", "/code"),
        ("agent reads", "/detail"),
        ("why", "/why"),
        ("queue", "/queue"),
    ] {
        let text = shown::text(explained, pointer);
        if text != "-" {
            shown::line(&format!("{label:<12} {text}"));
        }
    }
    shown::line(&format!("{:<12} {}", "amount", shown::amount(explained)));
    for reason in explained.get("policies").and_then(Value::as_array).into_iter().flatten() {
        let (id, why) = (shown::text(reason, "/policy"), shown::text(reason, "/why"));
        shown::line(&format!("{:<12} {id}: {why}", "policy"));
    }
    for one in explained.get("shares").and_then(Value::as_array).into_iter().flatten() {
        let [auto, scope, by, place] =
            ["/auto", "/for", "/by", "/place"].map(|at| shown::text(one, at));
        shown::line(&format!("{:<12} {auto} of {scope} by {by}: {place}", "share"));
    }
    for one in explained.get("alarms").and_then(Value::as_array).into_iter().flatten() {
        let [sort, name, words] = ["/sort", "/name", "/words"].map(|at| shown::text(one, at));
        shown::line(&format!("{sort:<12} {name}: {words}"));
    }
    for budget in explained.get("budgets").and_then(Value::as_array).into_iter().flatten() {
        shown::line(&format!("{:<12} {}", "budget", taken(budget)));
    }
}

/// `budget.customer-24h: takes 12.00 USD of 300.00 USD; past it: hold`.
fn taken(budget: &Value) -> String {
    let currency = budget.get("currency").and_then(Value::as_str).and_then(Currency::parse);
    let number = |name| budget.get(name).and_then(Value::as_i64);
    let room = number("room")
        .map_or_else(|| "nothing in that currency".to_owned(), |room| room_words(currency, room));
    format!(
        "{}: takes {} of {room}; past it: {}",
        shown::text(budget, "/budget"),
        room_words(currency, number("takes").unwrap_or(0)),
        shown::text(budget, "/over")
    )
}

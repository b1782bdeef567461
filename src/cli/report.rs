//! `tollhouse report`: what the rules cost, what they would have in shadow, and whether they were right.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::operator::{Operator, Reach};
use super::{Ended, shown};
use crate::audit::{self, By};
use crate::clock::{Clock, Timestamp};
use crate::money::{Currency, Money};

/// What was, and in shadow would have been, held or refused: counts, sums, work for people.
///
/// From the log of a running instance through its console; or from folders with logs (`--audit`, `--config`), of as
/// many replicas as there are.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// From then on: a span such as 14d, or a time
    #[arg(long, default_value = "14d")]
    since: String,
    /// Until then: a span ago, or a time
    #[arg(long)]
    until: Option<String>,
    /// In which groups: policy, action, class, agent, tenant, code
    #[arg(long, default_value = "policy")]
    by: String,
    /// A folder with a log; may stand several times
    #[arg(long, value_name = "DIR")]
    audit: Vec<PathBuf>,
    /// A configuration: the log is where it says
    #[arg(long, value_name = "FILE", conflicts_with = "audit")]
    config: Option<PathBuf>,
    /// The single ones, too, the latest first
    #[arg(long)]
    list: bool,
    /// The single ones as CSV, for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    format: shown::Format,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether a rule was right to speak against a call; on record, and in the next report
    Mark {
        /// The operation, as `op_..`
        id: String,
        /// Nobody had to look at it
        #[arg(long, required_unless_present = "right", conflicts_with = "right")]
        needless: bool,
        /// Somebody had to
        #[arg(long)]
        right: bool,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// BOUND: single ones that are told; through the console as many as one answer has.
const LIST_MAX: usize = 1_000;

pub fn run(args: &Args) -> anyhow::Result<Ended> {
    if let Some(Command::Mark { id, needless, reason, .. }) = &args.command {
        let verdict = if *needless { "needless" } else { "right" };
        let said = json!({ "verdict": verdict, "reason": reason });
        let operator = Operator::find(&args.reach)?;
        operator.post(&format!("/v1/operations/{id}/mark"), &said)?;
        shown::line(&format!("{id} is marked {verdict}."));
        return Ok(Ended::Well);
    }
    let report = read(args)?;
    if args.format.json {
        shown::json(&report);
    } else if args.csv {
        csv(&report);
    } else {
        tell(&report);
        if args.list {
            shown::line("");
            list(&report);
        }
    }
    Ok(Ended::Well)
}

fn read(args: &Args) -> anyhow::Result<Value> {
    let by = By::ALL.iter().find(|(name, _)| *name == args.by).map(|(_, by)| *by);
    let Some(by) = by else {
        bail!("--by: expected policy, action, class, agent, tenant or code, got `{}`", args.by);
    };
    let list = if args.list || args.csv { LIST_MAX } else { 0 };
    let mut dirs = args.audit.clone();
    if let Some(file) = &args.config {
        let config = crate::config::load(file);
        dirs.push(config.map_err(|e| anyhow::anyhow!("{e}"))?.audit.dir);
    }
    let now = Clock::System.now();
    let (since, until) = (moment("--since", &args.since, now)?, args.until.as_deref());
    let until = until.map(|text| moment("--until", text, now)).transpose()?;
    if dirs.is_empty() {
        let until = until.map_or(String::new(), |until| format!("&until=@{}", until.0));
        let by = by.name();
        let target = format!("/v1/report?since=@{}{until}&by={by}&list={list}", since.0);
        return Operator::find(&args.reach)?.get(&target);
    }
    // What was just written counts.
    let until = until.unwrap_or(now.plus(Duration::from_secs(1)));
    let asked = audit::Asked { since, until, by, bytes_max: None };
    let folders: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let summary = audit::summary(&dirs, asked, &|_| true)
        .with_context(|| format!("no log can be read in {}", folders.join(", ")))?;
    let mut report = summary.shown();
    if let (Value::Object(members), true) = (&mut report, list > 0) {
        members.insert("list".to_owned(), summary.listed(list));
    }
    Ok(report)
}

fn moment(flag: &str, text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    match humantime::parse_duration(text) {
        Ok(span) => Ok(now.minus(span)),
        Err(_) => Timestamp::parse(text).with_context(|| {
            format!("{flag}: expected a span such as `14d`, or a time such as `2026-03-01T00:00:00Z`, got `{text}`")
        }),
    }
}

fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// `600.00 USD + 20.00 EUR`, or a dash.
fn sums(value: &Value, pointer: &str) -> String {
    let amounts = value.pointer(pointer).and_then(Value::as_array);
    let one = |amount: &Value| {
        let currency = Currency::parse(amount.get("currency")?.as_str()?)?;
        Some(Money { minor: amount.get("minor")?.as_i64()?, currency }.to_string())
    };
    let sums: Vec<String> = amounts.into_iter().flatten().filter_map(one).collect();
    if sums.is_empty() { "-".to_owned() } else { sums.join(" + ") }
}

/// `12.3%`, or a dash.
fn share(value: &Value, pointer: &str) -> String {
    let share = value.pointer(pointer).and_then(Value::as_u64);
    let share = share.and_then(|share| u16::try_from(share).ok());
    share.map_or("-".to_owned(), crate::rollout::percent)
}

const CAME: [(&str, &str); 4] = [
    ("would_hold", "in shadow, would have been held"),
    ("would_refuse", "in shadow, would have been refused"),
    ("held", "held"),
    ("refused", "refused"),
];

fn tell(report: &Value) {
    let (since, until) = (shown::text(report, "/since"), shown::text(report, "/until"));
    shown::line(&format!("{since} to {until}"));
    shown::line(&format!(
        "{} effects and {} reads; rules spoke against {} of them",
        count(report, "/effects"),
        count(report, "/reads"),
        share(report, "/share_per_mille")
    ));
    for (name, words) in CAME {
        let calls = count(report, &format!("/{name}/calls"));
        if calls > 0 {
            let sums = sums(report, &format!("/{name}/amounts"));
            shown::line(&format!("  {calls:>7}  {words}: {sums}"));
        }
    }
    people(report);
    if count(report, "/counted_only") > 0 {
        let more = count(report, "/counted_only");
        shown::line(&format!("  {more:>7}  more were refused, too fast to be told apart"));
    }
    if report.get("complete") == Some(&Value::Bool(false)) {
        shown::line("Not all of the log was read: there is more than that.");
    }
    groups(report);
}

/// How much work that is, or would be.
fn people(report: &Value) {
    let days = report.get("days").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (name, words) in [("would_hold", "would have been asked"), ("held", "were asked")] {
        let each = days.iter().map(|day| count(day, &format!("/{name}")));
        let (total, most) = (each.clone().fold(0, u64::saturating_add), each.max().unwrap_or(0));
        if total > 0 {
            let busy = days.iter().filter(|day| count(day, &format!("/{name}")) > 0).count();
            let mean = total.checked_div(u64::try_from(busy).unwrap_or(1)).unwrap_or(total);
            shown::line(&format!(
                "People {words} {total} times on {busy} days: some {mean} a day, {most} on the busiest"
            ));
        }
    }
}

fn groups(report: &Value) {
    let rows: Vec<Vec<String>> = report
        .get("groups")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|group| {
            let calls = |name: &str| count(group, &format!("/{name}/calls")).to_string();
            let sums = CAME.iter().map(|(name, _)| sums(group, &format!("/{name}/amounts")));
            let sums: Vec<String> = sums.filter(|sum| sum != "-").collect();
            vec![
                shown::text(group, "/name").to_owned(),
                calls("would_hold"),
                calls("would_refuse"),
                calls("held"),
                calls("refused"),
                if sums.is_empty() { "-".to_owned() } else { sums.join(" + ") },
                count(group, "/needless").to_string(),
                count(group, "/right").to_string(),
                count(group, "/not_looked_at").to_string(),
                share(group, "/right_per_mille"),
            ]
        })
        .collect();
    if rows.is_empty() {
        shown::line("No rule spoke against a call.");
        return;
    }
    let by = shown::text(report, "/by").to_uppercase();
    shown::line("");
    shown::table(
        &[
            &by,
            "WOULD HOLD",
            "WOULD REFUSE",
            "HELD",
            "REFUSED",
            "AMOUNT",
            "NEEDLESS",
            "RIGHT",
            "NOT LOOKED AT",
            "PRECISION",
        ],
        &rows,
    );
}

fn items(report: &Value) -> impl Iterator<Item = &Value> {
    report.get("list").and_then(Value::as_array).into_iter().flatten()
}

fn policies(item: &Value) -> String {
    let ids = item.get("policies").and_then(Value::as_array).into_iter().flatten();
    let ids: Vec<&str> = ids.filter_map(Value::as_str).collect();
    if ids.is_empty() { shown::text(item, "/code").to_owned() } else { ids.join(" ") }
}

fn list(report: &Value) {
    let row = |item: &Value| {
        vec![
            shown::text(item, "/at").to_owned(),
            shown::text(item, "/operation").to_owned(),
            shown::text(item, "/came").replace('_', " "),
            shown::text(item, "/action").to_owned(),
            shown::amount(item),
            shown::text(item, "/agent").to_owned(),
            policies(item),
            shown::text(item, "/answer").to_owned(),
            shown::text(item, "/mark/verdict").to_owned(),
        ]
    };
    let rows: Vec<_> = items(report).map(row).collect();
    shown::table(
        &["AT", "ID", "CAME", "ACTION", "AMOUNT", "AGENT", "POLICIES", "ANSWER", "MARK"],
        &rows,
    );
}

// RFC 4180 s2.
fn csv(report: &Value) {
    const COLUMNS: [&str; 12] = [
        "at",
        "operation",
        "came",
        "code",
        "action",
        "class",
        "agent",
        "tenant",
        "customer",
        "answer",
        "mark/verdict",
        "mark/reason",
    ];
    let mut header: Vec<String> = COLUMNS.iter().map(|name| name.replace('/', "_")).collect();
    header.extend(["policies".to_owned(), "minor".to_owned(), "currency".to_owned()]);
    shown::line(&header.join(","));
    for item in items(report) {
        let text = |name: &str| match shown::text(item, &format!("/{name}")) {
            "-" => String::new(),
            text => text.to_owned(),
        };
        let mut cells: Vec<String> = COLUMNS.iter().map(|name| text(name)).collect();
        let minor = item.pointer("/amount/minor").and_then(Value::as_i64);
        cells.push(policies(item));
        cells.push(minor.map(|minor| minor.to_string()).unwrap_or_default());
        cells.push(text("amount/currency"));
        shown::line(&cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
    }
}

/// SECURITY: a spreadsheet runs what begins like a formula; names are the agent's and the token's.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell =
        if formula && cell.parse::<i64>().is_err() { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

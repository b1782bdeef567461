//! `tollhouse demo`: a sample shop, Tollhouse before it, and an agent that follows a script.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::demo_shop::{KEY, Shop};
use super::serving::{Origin, Running};
use super::{Ended, run, shown};
use crate::clock::Clock;
use crate::config::{self, Quick};
use crate::identity::{Wish, mint};
use crate::outbound::{Connection, Exchange, Network, Outbound, Outgoing, Reply, Upstream};
use crate::proxy::{self, Bounds, Hosts, Listener, Server, Service};

/// A playground; keeps running until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where agents are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8700")]
    listen: SocketAddr,
    /// Where operators are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8701")]
    operator: SocketAddr,
    /// Keys, store and audit log live here; what an earlier demo left there is cleared
    #[arg(long, value_name = "DIR", default_value = ".tollhouse/demo")]
    state: PathBuf,
    /// End after the script
    #[arg(long)]
    once: bool,
}

const CONTRACTS: &str = "\
contracts:
  orders.refund.create:
    team: payments
    cap: { auto: 100.00 USD, hard: 1000.00 USD }
    budget: [ { per: customer, within: 24h, amount: 1000.00 USD, over: hold } ]
    window: { since: purchased_at, max: 30d, after: hold }
    approval: { queue: finance, expires: 72h }
    duplicates: { alike: hold, within: 24h, near: 5% }
";

pub fn run(args: Args) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play(args))
}

async fn play(args: Args) -> anyhow::Result<Ended> {
    let shop = Arc::new(Shop::new(Clock::System));
    let (shop_server, address) = serve_shop(&shop)?;
    let quick = quick(&args, address)?;
    let config = match config::quick(&quick) {
        Ok(config) => config,
        Err(errors) => anyhow::bail!("{errors}"),
    };
    let running = Running::start(config, Origin::Quick(&args.state)).await?;
    let agent = Agent::new(&running.agents_url(), &args.state)?;
    agent.follow_script(&shop, &args.state).await?;
    hints(&running, &agent, &args.state);
    if !args.once {
        run::wait_for_signal().await?;
    }
    running.stop().await;
    shop_server.stop(Duration::from_secs(1)).await;
    Ok(Ended::Well)
}

fn serve_shop(shop: &Arc<Shop>) -> anyhow::Result<(Server, SocketAddr)> {
    let shop = Arc::clone(shop);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").context("the shop does not start")?;
    let service = Service {
        handle: Arc::new(move |request| {
            let answer = shop.answer(&request);
            Box::pin(async move { answer })
        }),
        turn_back: Arc::new(|refusal, _origin| proxy::problem(&refusal)),
    };
    let server = Server::start(service, Bounds::default());
    let ready = server.ready(Listener { number: 0, socket, hosts: Hosts::Any, tls: None })?;
    let address = server.open(ready).address();
    Ok((server, address))
}

fn quick(args: &Args, shop: SocketAddr) -> anyhow::Result<Quick> {
    clear(&args.state)?;
    let (secret, contracts) = (args.state.join("shop-key"), args.state.join("contracts.yaml"));
    std::fs::write(&secret, KEY)?;
    std::fs::write(&contracts, CONTRACTS)?;
    Ok(Quick {
        pack: "orders".to_owned(),
        upstream: format!("http://{shop}"),
        secret: Some(format!("file:{}", std::path::absolute(&secret)?.display())),
        cap: None,
        contracts: Some(contracts),
        store: None,
        listen: args.listen,
        operator: args.operator,
        state: args.state.clone(),
    })
}

/// A fresh start: the shop forgets, so what an earlier demo kept would be replayed. Only a folder that
/// a demo made is cleared.
fn clear(state: &Path) -> anyhow::Result<()> {
    let mark = state.join("made-by-demo");
    if mark.exists() {
        for left in ["store", "audit"] {
            let left = state.join(left);
            if left.exists() {
                std::fs::remove_dir_all(&left)?;
            }
        }
    } else if state.join("store").exists() {
        anyhow::bail!("{} is in use by another instance; name another --state", state.display());
    }
    std::fs::create_dir_all(state)?;
    Ok(std::fs::write(mark, "")?)
}

/// An agent that works for Ann.
struct Agent {
    outbound: Outbound,
    tollhouse: Upstream,
    url: String,
    token: String,
}

impl Agent {
    fn new(url: &str, state: &Path) -> anyhow::Result<Self> {
        let wish = Wish {
            agent: "support-bot".to_owned(),
            customer: Some("ann".to_owned()),
            contact: Some("ann@shop.example".to_owned()),
            consent_until: Some(Clock::System.now().plus(Duration::from_secs(30 * 86_400))),
            ttl: Duration::from_secs(8 * 3600),
            ..Wish::default()
        };
        let token = mint(state, &wish, Clock::System.now())?;
        let tollhouse = Upstream::parse("tollhouse", url).map_err(anyhow::Error::msg)?;
        let outbound = Outbound::Network(Network::new([]).map_err(anyhow::Error::msg)?);
        Ok(Self { outbound, tollhouse, url: url.to_owned(), token })
    }

    async fn follow_script(&self, shop: &Shop, state: &Path) -> anyhow::Result<()> {
        self.step("Ann asks about her order A-17.", Method::GET, "/orders/A-17", None).await?;
        let small =
            json!({ "order": "A-17", "amount": "25.00", "currency": "USD", "note": "late" });
        self.step(
            "A refund of 25.00, within the contract.",
            Method::POST,
            "/refunds",
            Some(&small),
        )
        .await?;
        self.step(
            "The same again: the agent lost the answer.",
            Method::POST,
            "/refunds",
            Some(&small),
        )
        .await?;
        shown::line(&format!("   The shop made {} refund of A-17.", shop.refunds_of("A-17")));
        let large =
            json!({ "order": "A-18", "amount": "450.00", "currency": "USD", "note": "broken" });
        let held = self
            .step(
                "A refund of 450.00, over the cap of 100.00.",
                Method::POST,
                "/refunds",
                Some(&large),
            )
            .await?;
        let op =
            held.headers.get("tollhouse-operation").and_then(|v| v.to_str().ok()).unwrap_or("?");
        shown::line("   A person says yes with:");
        let command = shown::own_name();
        shown::line(&format!("     {command} holds approve {op} --state {}", state.display()));
        self.step("Ann asks about B-20, which is Bob's.", Method::GET, "/orders/B-20", None)
            .await?;
        self.step("A call that no pack knows.", Method::DELETE, "/orders/A-17", None).await?;
        Ok(())
    }

    /// Sends one call and shows it and its answer.
    async fn step(
        &self,
        story: &str,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let body_text = body.map_or_else(String::new, Value::to_string);
        shown::line("");
        shown::line(&format!("-- {story}"));
        shown::line(&format!("   {method} {target} {body_text}"));
        let mut headers = vec![(
            http::header::AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {}", self.token))?,
        )];
        if body.is_some() {
            headers
                .push((http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        let send =
            Outgoing { method, target: target.into(), headers, body: Bytes::from(body_text) };
        match self.outbound.exchange(&self.tollhouse, send, Connection::Fresh).await {
            Exchange::Answered(reply) => {
                show(&reply);
                Ok(reply)
            }
            Exchange::NotSent(why) | Exchange::Unknown(why) => {
                anyhow::bail!("Tollhouse did not answer: {why}")
            }
        }
    }
}

fn show(reply: &Reply) {
    let header = |name: &str| reply.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-");
    let replayed = if header("idempotent-replayed") == "true" { ", from memory" } else { "" };
    let decision = header("tollhouse-decision");
    shown::line(&format!("   -> {} ({decision}{replayed})", reply.status));
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let detail = body.pointer("/detail").and_then(Value::as_str);
    shown::line(&format!("   {}", detail.map_or_else(|| body.to_string(), str::to_owned)));
}

fn hints(running: &Running, agent: &Agent, state: &Path) {
    let (dir, command) = (state.display(), shown::own_name());
    shown::line("");
    shown::line("== The playground keeps running; Ctrl-C ends it.");
    shown::line(&format!("agents   {}", agent.url));
    if let Some(url) = running.console_url() {
        shown::line(&format!("console  {url}"));
    }
    if let Some(link) = running.sign_in_link() {
        shown::line(&format!("page     {link}"));
    }
    shown::line(&format!("token    {}", agent.token));
    shown::line("");
    shown::line("Open the page and approve the refund that waits; or try by hand:");
    shown::line(&format!("  curl -H \"Authorization: Bearer $TOKEN\" {}/orders/A-19", agent.url));
    shown::line(&format!("  {command} holds list --state {dir}"));
    shown::line(&format!("  {command} sign-in --state {dir}      another link to the page"));
    shown::line(&format!("  {command} operations list --state {dir}"));
    shown::line(&format!("  {command} audit verify {dir}/audit"));
}

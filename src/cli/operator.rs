//! How a command reaches the console of a running instance.

mod unix;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::outbound::{Addresses, Connection, Exchange, Network, Outbound, Outgoing, Upstream};

/// Where the console is, and who asks.
#[derive(Debug, clap::Args)]
pub struct Reach {
    /// The console's URL, as http://127.0.0.1:8701, or its socket, as unix:PATH
    #[arg(long, env = "TOLLHOUSE_OPERATOR", value_name = "URL", global = true)]
    operator: Option<String>,
    /// The operator's token
    #[arg(
        long,
        env = "TOLLHOUSE_OPERATOR_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        global = true
    )]
    operator_token: Option<String>,
    /// The state of a quick-mode instance, where its console and token are found
    #[arg(long, value_name = "DIR", default_value = ".tollhouse", global = true)]
    state: PathBuf,
}

/// The console of a running instance.
pub struct Operator {
    road: Road,
    authorization: HeaderValue,
    url: String,
}

/// How it is reached.
enum Road {
    Address(Box<(Upstream, Outbound, tokio::runtime::Runtime)>),
    Socket(PathBuf),
}

impl Operator {
    /// Finds the console by flags, environment or state folder.
    ///
    /// # Errors
    ///
    /// When no console is named, or its name does not read.
    pub fn find(reach: &Reach) -> anyhow::Result<Self> {
        let (url, token) = match (&reach.operator, &reach.operator_token) {
            (Some(url), Some(token)) => (url.clone(), token.clone()),
            (Some(_), None) => {
                bail!("--operator needs --operator-token (or TOLLHOUSE_OPERATOR_TOKEN)")
            }
            (None, Some(_)) | (None, None) => from_state(&reach.state)?,
        };
        let authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .context("the operator's token has characters no header can carry")?;
        let road = match url.strip_prefix("unix:") {
            Some(path) => Road::Socket(path.into()),
            None => address(&url)?,
        };
        Ok(Self { road, authorization, url })
    }

    /// Reads.
    ///
    /// # Errors
    ///
    /// When the console cannot be reached or says no.
    pub fn get(&self, target: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, target, Bytes::new())
    }

    /// Does.
    ///
    /// # Errors
    ///
    /// When the console cannot be reached or says no.
    pub fn post(&self, target: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, target, Bytes::from(body.to_string()))
    }

    /// Takes away.
    ///
    /// # Errors
    ///
    /// When the console cannot be reached or says no.
    pub fn delete(&self, target: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, target, Bytes::new())
    }

    fn call(&self, method: Method, target: &str, body: Bytes) -> anyhow::Result<Value> {
        let headers = vec![
            (http::header::AUTHORIZATION, self.authorization.clone()),
            (http::header::ACCEPT, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("content-type"), HeaderValue::from_static("application/json")),
        ];
        let send = Outgoing { method, target: target.into(), headers, body };
        let (status, body) = self.ask(send)?;
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        match status {
            200..=299 => Ok(value),
            401 | 403 => bail!("the console refused this operator: {}", detail(&value)),
            404 => bail!("not found: {}", detail(&value)),
            status => bail!("the console answered {status}: {}", detail(&value)),
        }
    }

    fn ask(&self, send: Outgoing) -> anyhow::Result<(u16, Bytes)> {
        let url = &self.url;
        match &self.road {
            Road::Socket(path) => {
                unix::ask(path, &send).with_context(|| format!("no console answers at {url}"))
            }
            Road::Address(road) => {
                let (upstream, outbound, runtime) = &**road;
                let exchange = outbound.exchange(upstream, send, Connection::Fresh);
                match runtime.block_on(exchange) {
                    Exchange::Answered(reply) => Ok((reply.status, reply.body)),
                    Exchange::NotSent(why) => bail!("no console answers at {url} ({why})"),
                    Exchange::Unknown(why) => bail!("the console at {url} broke off ({why})"),
                }
            }
        }
    }
}

fn address(url: &str) -> anyhow::Result<Road> {
    let mut upstream = Upstream::parse("operator", url)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("the console's URL `{url}`"))?;
    // An operator names the console; it may stand in a private network.
    upstream.addresses = Addresses::Private;
    let network = Network::new([]).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(Road::Address(Box::new((upstream, Outbound::Network(network), runtime))))
}

fn detail(value: &Value) -> &str {
    value.pointer("/detail").and_then(Value::as_str).unwrap_or("no reason given")
}

fn from_state(state: &Path) -> anyhow::Result<(String, String)> {
    let file = state.join("operator.json");
    let text = crate::config::read_file(&file).with_context(|| {
        format!(
            "no console is named: give --operator and --operator-token, or --state with the folder of \
             a running quick-mode instance (looked for {})",
            file.display()
        )
    })?;
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let member = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    member("url")
        .zip(member("token"))
        .with_context(|| format!("{} lacks `url` or `token`", file.display()))
}

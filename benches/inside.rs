//! A whole gate in this process: the configuration of `stand.yaml`, a store in memory, a script for the upstream.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use tempfile::TempDir;
use tollhouse::call::Request;
use tollhouse::clock::Clock;
use tollhouse::config::{self, Keep};
use tollhouse::credentials::ReadOnly;
use tollhouse::facts::{self, Lookups};
use tollhouse::gate::Gate;
use tollhouse::outbound::Outbound;

use super::tokens;

/// A gate, and tokens that it believes.
pub struct Inside {
    pub gate: Gate,
    pub tokens: Vec<String>,
    /// Keys, and the log where there is one.
    pub home: TempDir,
}

/// The gate that `stand.yaml` describes before `upstream`, with its own way out or with `outbound`.
pub fn gate(callers: usize, upstream: &str, outbound: Option<Outbound>) -> Result<Inside, String> {
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    let at = |name: &str| home.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).map_err(|e| e.to_string());
    tokens::write(&home.path().display().to_string(), &callers.to_string())?;
    write("ops-token", "an-operator-token-of-some-length")?;
    write("vendor-key", "sk_test_of_the_bench")?;
    let text = include_str!("stand.yaml");
    let text = text.replace("STORE", "embedded:store").replace("UPSTREAM", upstream);
    write("tollhouse.yaml", &text)?;
    let config = config::load(&at("tollhouse.yaml")).map_err(|e| e.to_string())?;
    let vault = config::vault(&config).map_err(|e| e.to_string())?;
    let sites: HashMap<_, _> = config.upstreams.iter().map(site).collect();
    let clock = Clock::System;
    let mut gate =
        config::gate(config, vault, Keep::Nothing, clock.clone()).map_err(|e| e.to_string())?;
    if let Some(outbound) = outbound {
        gate.outbound = Arc::new(outbound);
        let keys = ReadOnly::of(Arc::clone(&gate.vault));
        gate.lookups = Lookups::new(sites, Arc::clone(&gate.outbound), keys, clock);
    }
    let tokens = std::fs::read_to_string(at("tokens")).map_err(|e| e.to_string())?;
    Ok(Inside { gate, tokens: tokens.lines().map(str::to_owned).collect(), home })
}

fn site(one: &config::UpstreamSection) -> (Arc<str>, facts::Site) {
    let site = facts::Site {
        upstream: one.upstream.clone(),
        auth: one.pack.traits().auth.clone(),
        headers: Vec::new(),
        account: None,
    };
    (Arc::clone(&one.name), site)
}

/// A request as Stripe's library would send it.
pub fn request(method: Method, target: &str, token: &str, form: &str) -> Result<Request, String> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|e| e.to_string());
    headers.insert(header::HOST, value("127.0.0.1:8700")?);
    headers.insert(header::USER_AGENT, value("Stripe/v1 PythonBindings/12.0.0")?);
    headers.insert(header::ACCEPT, value("*/*")?);
    headers.insert(header::AUTHORIZATION, value(&format!("Bearer {token}"))?);
    if !form.is_empty() {
        headers.insert(header::CONTENT_TYPE, value("application/x-www-form-urlencoded")?);
        headers.insert(header::CONTENT_LENGTH, value(&form.len().to_string())?);
    }
    Ok(Request {
        listener: 0,
        method,
        target: target.into(),
        headers,
        body: Bytes::copy_from_slice(form.as_bytes()),
        peer: Some(std::net::IpAddr::from([127, 0, 0, 1])),
    })
}

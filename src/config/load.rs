//! A configuration file, read section by section.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::notify::{HasPage, Reader};
use super::people::Queues;
use super::{Config, Files, UpstreamSection};
use crate::alarm::Alarms;
use crate::breaker::{self, lanes};
use crate::catalog::pack::{self, Pack};
use crate::credentials::References;
use crate::facts::AccountRule;
use crate::identity::{Development, KeySource};
use crate::limits;
use crate::notify::Destination;
use crate::outbound::{Addresses, Http, Scheme, Upstream};
use crate::policy::Contracts;
use crate::store::Crowd;
use crate::yaml::{ConfigErrors, Faults, Node, Section};

/// Keys that the contracts page knows and that are not built yet: refused with these words.
const NOT_BUILT: &[&str] = &["tenants"];

/// Reads the configuration at `path`, and everything it names.
///
/// # Errors
///
/// All faults, each with its file, line and column.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    let mut files = Files::default();
    files.add(path);
    let text = super::read_file(path).map_err(|e| {
        let faults = Faults::of(&name);
        faults.note(crate::yaml::Place::default(), "", e.to_string());
        faults.into_errors()
    })?;
    let root = crate::yaml::read(&name, &text)?;
    let faults = Faults::of(&name);
    let mut more = ConfigErrors::default();
    let config = {
        let base = path.parent().unwrap_or(Path::new("."));
        let mut file = File { base, more: &mut more, files };
        let top = faults.section(&root, "");
        let config = file.config(&top);
        top.finish();
        config
    };
    let mut errors = faults.into_errors();
    errors.0.extend(more.0);
    match config {
        Some(config) if errors.0.is_empty() => Ok(config),
        Some(_) | None => Err(errors),
    }
}

/// What the file is of, and what no version builds yet.
fn first(top: &Section<'_>) {
    top.required("version", |n| match n.text()? {
        "1" => Ok(()),
        other => Err(format!("expected 1, got `{other}`")),
    });
    for key in NOT_BUILT {
        if top.node(key).is_some() {
            top.fault(key, "is not built yet; leave it out");
        }
    }
}

/// The file that is being read: paths are relative to it.
struct File<'f> {
    base: &'f Path,
    /// Faults of the files that it names.
    more: &'f mut ConfigErrors,
    /// Everything that was read.
    files: Files,
}

impl File<'_> {
    /// How long a stop waits, and the file that stops calls while it is there.
    fn stops(&self, top: &Section<'_>) -> (Duration, Option<PathBuf>) {
        let drain = top.optional("drain", Node::duration).unwrap_or(Duration::from_secs(20));
        let file = top.optional("freeze_file", |n| n.name().map(|path| self.base.join(path)));
        (drain, file)
    }

    fn config(&mut self, top: &Section<'_>) -> Option<Config> {
        first(top);
        let tls = super::tls::read(top, self.base);
        let is_open = top.optional("insecure", Node::bool).unwrap_or(false) || tls.is_some();
        let listen =
            top.optional("listen", |n| if is_open { socket_address(n) } else { agents_address(n) });
        let development = match top.optional("development", Node::bool).unwrap_or(false) {
            true => Development::Accepted,
            false => Development::Refused,
        };
        let upstreams = self.upstreams(top);
        let rollout = super::rollout::read(top, &upstreams);
        let policies = self.policies(top);
        let identity = top
            .section("identity")
            .and_then(|section| crate::identity::Config::read(section, self.base, development));
        if top.node("identity").is_none() {
            top.fault("identity", "is required and missing");
        }
        for issuer in identity.iter().flat_map(|identity| &identity.issuers) {
            if let KeySource::File(path) = &issuer.keys
                && let Err(e) = super::read_file(path)
            {
                top.fault("identity", format!("issuers: {}: {e}", issuer.issuer));
            }
        }
        let own = (self.base, development);
        let (console, operator) = super::operator::read(top, identity.as_ref(), own);
        operator.tokens.iter().filter_map(|one| one.file.as_ref()).for_each(|f| self.files.add(f));
        let (queues, destinations, crowd) = self.people(top, &operator);
        let store = super::place::read(top, self.base, &mut self.files);
        let probes = probes(top);
        let hosts = top.optional("hosts", Node::texts);
        let audit = super::audit::read(top, self.base, store.as_ref());
        let contracts = Contracts::read(top.node("contracts"), top.faults());
        let (limits, process) = (limits(top), process(top));
        let telemetry = super::telemetry::read(top, self.base, &mut self.files);
        let alarms = Alarms::read(top);
        let loops = super::loops::read(top, &contracts);
        let (drain, freeze_file) = self.stops(top);
        // Everything is read before anything is missed: all faults at once.
        Some(Config {
            listen: listen.unwrap_or(DEFAULT_LISTEN),
            hosts: hosts.unwrap_or_default(),
            tls,
            probes,
            console,
            operator: Arc::new(operator),
            store: store?,
            init_store: false,
            audit,
            identity: identity?,
            upstreams,
            rollout,
            contracts,
            limits,
            alarms,
            loops,
            process,
            queues,
            destinations,
            crowd,
            default_policies: policies.0,
            policies: policies.1,
            freeze_file,
            telemetry,
            drain,
            files: std::mem::take(&mut self.files),
        })
    }

    /// The queues, who outside is told of them and of other news, and how many calls may wait.
    fn people(
        &mut self,
        top: &Section<'_>,
        operator: &super::OperatorSection,
    ) -> (Queues, Vec<Destination>, Crowd) {
        let has_page = if operator.public_url.is_some() { HasPage::Yes } else { HasPage::No };
        let reader = Reader::new(self.base, has_page);
        let (queues, mut destinations) = super::people::queues(top, &reader);
        destinations.extend(reader.hooks(top));
        self.files.extend(reader.files());
        (queues, destinations, super::people::crowd(top))
    }

    fn policies(&mut self, top: &Section<'_>) -> (bool, Vec<(String, String)>) {
        let Some(section) = top.section("policies") else { return (true, Vec::new()) };
        let defaults = section.optional("defaults", Node::bool).unwrap_or(true);
        let names = section.optional("files", Node::texts).unwrap_or_default();
        let mut files = Vec::new();
        for name in names {
            let path = self.base.join(&name);
            self.files.add(&path);
            match super::read_file(&path) {
                Ok(text) => files.push((path.display().to_string(), text)),
                Err(e) => section.fault("files", e.to_string()),
            }
        }
        section.finish();
        (defaults, files)
    }

    fn upstreams(&mut self, top: &Section<'_>) -> Vec<UpstreamSection> {
        let Some(section) = top.section("upstreams") else {
            top.fault("upstreams", "is required and missing; name at least one");
            return Vec::new();
        };
        let entries: Vec<_> = section.entries().collect();
        let mut upstreams = Vec::new();
        for (name, node) in entries {
            let one = section.faults().section(node, &section.path(name));
            // Never `/` by itself: a second upstream would move the first.
            upstreams.extend(self.upstream(name, &format!("/{name}"), &one));
            one.finish();
        }
        if upstreams.is_empty() && section.faults().is_empty() {
            section.fault("", "name at least one upstream");
        }
        let mut roads = HashSet::new();
        for one in &upstreams {
            if one.listen.is_none() && !roads.insert(one.route.clone()) {
                section.fault(&one.name, format!("another upstream has the route `{}`", one.route));
            }
        }
        upstreams
    }

    fn upstream(&mut self, name: &str, route: &str, one: &Section<'_>) -> Option<UpstreamSection> {
        let pack = one.required("pack", Node::name).and_then(|pack| self.pack(one, &pack));
        let url = one.required("url", Node::name);
        let addresses = one.optional("addresses", |n| match n.text()? {
            "public" => Ok(Addresses::Public),
            "private" => Ok(Addresses::Private),
            other => Err(format!("expected `public` or `private`, got `{other}`")),
        });
        let ca = one.optional("ca", |n| Ok(self.base.join(n.text()?)));
        ca.iter().for_each(|path| self.files.add(path));
        let certificate = super::tls::client(one, self.base, &mut self.files);
        let mut upstream = url.and_then(|url| {
            Upstream::parse(name, &url).map_err(|message| one.fault("url", message)).ok()
        });
        match &mut upstream {
            Some(upstream) => {
                (upstream.ca, upstream.certificate) = (ca, certificate);
                upstream.addresses = addresses.unwrap_or(upstream.addresses);
                conversation(one, upstream);
            }
            // Its faults are told all the same.
            None => {
                Upstream::parse(name, "https://x.invalid")
                    .map(|mut x| conversation(one, &mut x))
                    .ok();
            }
        }
        let credentials = one.required("credentials", |n| References::read(n, self.base));
        let trusted = one.section("idempotency").and_then(|s| {
            let trusted = s.optional("trusted", Node::bool);
            s.finish();
            trusted
        });
        let own_route = one.optional("route", |n| match n.text()? {
            path if path.starts_with('/') && (path == "/" || !path.ends_with('/')) => {
                Ok(path.to_owned())
            }
            other => Err(format!("expected `/` or `/name`, got `{other}`")),
        });
        let listen = one.optional("listen", loopback_address);
        let route = if listen.is_some() { "/" } else { own_route.as_deref().unwrap_or(route) };
        let account = one
            .node("account")
            .and_then(|n| AccountRule::read(one.faults(), n, &one.path("account")));
        let (breaker, lanes) = road(one);
        let mode = one.optional("mode", crate::rollout::mode);
        let headers = headers(one);
        let (pack, upstream) = (pack?, upstream?);
        if upstream.url.scheme() == Scheme::Http && upstream.addresses == Addresses::Public {
            one.fault(
                "url",
                "would send the secret in the clear; expected https, or `addresses: private`",
            );
        }
        let own_host = pack.traits().hosts.iter().any(|host| **host == *upstream.url.host());
        Some(UpstreamSection {
            name: name.into(),
            route: route.to_owned(),
            listen,
            credentials: credentials?,
            headers,
            account,
            trusted: trusted.unwrap_or(own_host),
            breaker,
            lanes,
            mode,
            pack,
            upstream,
        })
    }

    /// A pack by name or by path.
    fn pack(&mut self, one: &Section<'_>, named: &str) -> Option<Arc<Pack>> {
        let (file, text) = match pack::shipped(named) {
            Some(text) => (format!("pack {named}"), text.to_owned()),
            None => {
                let path = self.base.join(named);
                self.files.add(&path);
                match super::read_file(&path) {
                    Ok(text) => (path.display().to_string(), text),
                    Err(e) => {
                        one.fault("pack", format!("no pack of that name in this binary, and {e}"));
                        return None;
                    }
                }
            }
        };
        match pack::read(&file, &text) {
            Ok(pack) => Some(Arc::new(pack)),
            Err(errors) => {
                self.more.0.extend(errors.0);
                None
            }
        }
    }
}

const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8700);
/// How it is spoken to, and for how long.
fn conversation(one: &Section<'_>, to: &mut Upstream) {
    if let Some(timeout) = one.section("timeout") {
        for (key, span) in [
            ("connect", &mut to.connect),
            ("answer", &mut to.answer),
            ("stream", &mut to.stream),
            ("stream_idle", &mut to.stream_idle),
        ] {
            *span = timeout.optional(key, Node::duration).unwrap_or(*span);
        }
        timeout.finish();
    }
    to.http = one.optional("http", http).unwrap_or(to.http);
    if to.http == Http::Auto && to.url.scheme() == Scheme::Http {
        one.fault("http", "expected `1` or `2`: without TLS there is nothing to settle it");
    }
}

fn http(node: &Node) -> Result<Http, String> {
    match node.text()? {
        "1" => Ok(Http::One),
        "2" => Ok(Http::Two),
        "auto" => Ok(Http::Auto),
        other => Err(format!("expected `1`, `2` or `auto`, got `{other}`")),
    }
}

fn headers(one: &Section<'_>) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let Some(section) = one.section("headers") else { return Vec::new() };
    let mut headers = Vec::new();
    for (name, node) in section.entries() {
        let value = node.text().and_then(|text| {
            if text.contains('{') {
                return Err("templates in headers are not built yet".into());
            }
            http::HeaderValue::from_str(text).map_err(|_| "is no header value".to_owned())
        });
        match (http::HeaderName::from_bytes(name.as_bytes()), value) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            (Err(_), _) => section.fault(name, "is no header name"),
            (_, Err(message)) => section.fault(name, message),
        }
    }
    headers
}

/// Where probes are served, when not on the console.
fn probes(top: &Section<'_>) -> Option<SocketAddr> {
    let section = top.section("probes")?;
    let at = section.required("listen", socket_address);
    section.finish();
    at
}

/// When the breaker of an upstream opens, and how many calls may be in flight there.
fn road(one: &Section<'_>) -> (breaker::Settings, lanes::Settings) {
    let breaker = |n| breaker::Settings::read(one.faults(), n, &one.path("breaker"));
    let lanes = |n| lanes::Settings::read(one.faults(), n, &one.path("concurrency"));
    (
        one.node("breaker").map(breaker).unwrap_or_default(),
        one.node("concurrency").map(lanes).unwrap_or_default(),
    )
}

/// How many calls may be in flight in the process.
fn process(top: &Section<'_>) -> lanes::Settings {
    let read = |n| lanes::Settings::read_process(top.faults(), n, "concurrency");
    top.node("concurrency").map_or_else(lanes::Settings::process, read)
}

fn limits(top: &Section<'_>) -> Vec<limits::Rule> {
    top.node("limits").map(|node| limits::read(top.faults(), node, "limits")).unwrap_or_default()
}

fn socket_address(node: &Node) -> Result<SocketAddr, String> {
    let text = node.text()?;
    text.parse().map_err(|_| format!("expected an address such as `127.0.0.1:8700`, got `{text}`"))
}

pub(super) fn loopback_address(node: &Node) -> Result<SocketAddr, String> {
    let address = socket_address(node)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!("`{address}` is not a loopback address, and TLS is not built yet"))
}

fn agents_address(node: &Node) -> Result<SocketAddr, String> {
    let address = socket_address(node)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "`{address}` is not a loopback address: agents' tokens would travel in the clear; give it `tls:`, or say `insecure: true` if that is meant"
    ))
}

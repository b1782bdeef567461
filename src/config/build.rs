//! Settings become a gate: every stage is made, every file that is named is read.

use std::path::Path;
use std::sync::Arc;

use super::doctor::Needed;
use super::ground::{Ground, Keep};
use super::{Config, StorePlace, UpstreamSection};
use crate::approval::{Answerers, Approvals, Rules};
use crate::breaker::Breaker;
use crate::breaker::lanes::{self, Lanes};
use crate::call::{Class, Digest};
use crate::catalog::{Catalog, Road};
use crate::clock::Clock;
use crate::credentials::{ReadOnly, Vault};
use crate::facts::{self, Lookups};
use crate::gate::{Gate, Lasting, Listeners, Site, Standing};
use crate::identity::{self, Identity};
use crate::limits::{Loops, Rates};
use crate::notify::{Collector, Destination, Notify, Witness};
use crate::outbound::{Addresses, Connection, Exchange, Network, Outbound, Outgoing, Upstream};
use crate::policy::{self, Policy, Shipped};
use crate::rollout::{Rollout, percent};
use crate::store::record::sha256;
use crate::value::piece;
use crate::yaml::{ConfigErrors, Faults, Place};

/// A gate that was built to be looked at: it holds nothing and its records go nowhere.
#[derive(Debug)]
pub struct Checked {
    /// The gate.
    pub gate: Gate,
    /// What is worth saying of it, a line each.
    pub said: Vec<String>,
    /// Who operates it.
    pub operator: Arc<super::OperatorSection>,
    /// What it needs around it.
    pub(super) needed: Needed,
}

/// Builds a gate as start-up does, with a store in memory.
///
/// # Errors
///
/// All faults.
pub fn check(config: Config) -> Result<Checked, ConfigErrors> {
    let mut said = Vec::new();
    for one in &config.upstreams {
        let pack = one.pack.traits();
        let keys = if one.trusted { "trusted" } else { "not trusted: never resent" };
        said.push(format!(
            "upstream {}: {} at {}, {} actions, its keys are {keys}",
            one.name,
            pack.name,
            one.upstream.url,
            one.pack.actions().len()
        ));
    }
    said.extend(config.destinations.iter().map(Destination::described));
    match &config.store {
        StorePlace::Memory => {}
        StorePlace::Embedded { dir, .. } => {
            said.push(format!("store: embedded in {}; it must outlive the process", dir.display()));
        }
        StorePlace::Redis(place) => {
            said.push(format!("store: {}, fleet {}", place.address, place.address.fleet));
        }
    }
    said.extend(shadow_said(&config.rollout));
    said.push(config.audit.described());
    said.extend(config.telemetry.described());
    if config.operator.lets_anybody_see_all() {
        let say = "operator: whoever an issuer lets in sees every tenant; `claims: { tenants: .. }` binds them";
        said.push(say.to_owned());
    }
    let (needed, operator) = (Needed::of(&config), Arc::clone(&config.operator));
    let vault = vault(&config)?;
    let gate = gate(config, vault, Keep::Nothing, Clock::System)?;
    Ok(Checked { gate, said, operator, needed })
}

/// What runs in shadow, and how much by itself.
fn shadow_said(rollout: &Rollout) -> Vec<String> {
    let scopes = rollout.shadows();
    let mut said = Vec::new();
    if !scopes.is_empty() {
        said.push(format!(
            "SHADOW: {}: policies, caps, budgets and holds are noted, not applied: money moves without approval",
            scopes.join("; ")
        ));
    }
    let shares = rollout.rules().iter().filter_map(|rule| Some((&rule.scope, rule.share?)));
    said.extend(shares.map(|(scope, share)| {
        let (auto, by) = (percent(share.auto), share.by.name());
        format!("rollout: {auto} of {scope} runs by itself, by {by}; the rest waits for people")
    }));
    said
}

/// The same from a file, or from a pack alone, with contracts at their safe defaults and no secret.
///
/// # Errors
///
/// All faults.
pub fn checked(config: Option<&Path>, pack: Option<&str>) -> Result<Checked, ConfigErrors> {
    let config = match (config, pack) {
        (Some(path), _) => return check(super::load(path)?),
        (None, Some(pack)) => super::quick::of_pack(pack)?,
        (None, None) => return Err(fault("", "name a configuration or a pack")),
    };
    let clock = Clock::System;
    let vault = Vault::load(Vec::new(), &super::environment, clock.clone()).map_err(faults)?;
    let (needed, operator) = (Needed::of(&config), Arc::clone(&config.operator));
    let gate = gate(config, vault, Keep::Nothing, clock)?;
    Ok(Checked { gate, said: Vec::new(), operator, needed })
}

/// The secrets that the configuration names, read once.
///
/// # Errors
///
/// All that cannot be read.
pub fn vault(config: &Config) -> Result<Vault, ConfigErrors> {
    let references =
        config.upstreams.iter().map(|one| (Arc::clone(&one.name), one.credentials.clone()));
    Vault::load(references.collect(), &super::environment, Clock::System).map_err(faults)
}

/// All stages together.
///
/// # Errors
///
/// All faults of packs, contracts and policies; with any, nothing is opened or made.
pub fn gate(
    config: Config,
    vault: Vault,
    keep: Keep<'_>,
    clock: Clock,
) -> Result<Gate, ConfigErrors> {
    let before = keep.before();
    let vault = Arc::new(vault.after(before.map(|gate| &*gate.vault)));
    let network = network(&config)?;
    let outbound = Arc::new(Outbound::Network(network));
    // What a process knows goes on from snapshot to snapshot.
    let standing = before.map_or_else(Arc::<Standing>::default, |gate| Arc::clone(&gate.standing));
    let catalog = Catalog::new(roads(&config.upstreams, &standing.listeners));
    let catalog = catalog.map_err(|e| fault("upstreams", &e))?;
    let policy = rules(&config, &catalog)?;
    let Ground { store, audit, telemetry, freezes } = Ground::of(&config, keep, &clock)?;
    let rates = Rates::new(config.limits, clock.clone(), before.map(|before| &*before.rates));
    let rates = if store.lends() { rates.borrowing() } else { rates };
    let loops = Loops::new(config.loops, clock.clone(), before.map(|before| &*before.loops));
    let witness = config.audit.checkpoint.map(|one| one.to);
    let others = (witness, config.telemetry.collector);
    let notify = notify(config.destinations, others, &config.operator, before);
    let rules = Rules {
        queues: config.queues.into_iter().collect(),
        limits: config.operator.limits.iter().cloned().collect(),
        crowd: config.crowd,
        wants: notify.wants(),
        answerers: answerers(&config.operator, &notify),
    };
    let fetch = fetch(Arc::clone(&outbound));
    let known = before.map(|before| &*before.identity);
    let identity = Identity::new(config.identity, fetch, clock.clone(), known);
    let read_only = ReadOnly::of(Arc::clone(&vault));
    let lookups = Lookups::new(
        config.upstreams.iter().map(fact_site).collect(),
        Arc::clone(&outbound),
        read_only,
        clock.clone(),
    );
    Ok(Gate {
        identity: Arc::new(identity),
        catalog,
        freezes,
        alarms: Arc::new(config.alarms.after(before.map(|before| &*before.alarms))),
        rates: Arc::new(rates),
        loops: Arc::new(loops),
        process: lanes(config.process, before.map(|before| &before.process), &clock),
        sites: config.upstreams.iter().map(|one| site(one, before, &clock)).collect(),
        lookups,
        policy_digest: Arc::clone(policy.digest()),
        policy: Arc::new(policy),
        lasting: Lasting::default(),
        rollout: config.rollout,
        approvals: Approvals::new(Arc::clone(&store), rules),
        notify,
        vault,
        outbound,
        audit,
        audit_dir: Some(config.audit.dir),
        telemetry,
        store_is_new: config.init_store,
        closing: standing.stopping.child_token(),
        standing,
        store,
        clock,
    })
}

/// The way out, with every authority that is named.
fn network(config: &Config) -> Result<Network, ConfigErrors> {
    let authorities = config.upstreams.iter().filter_map(|one| one.upstream.ca.as_deref());
    let told = config.destinations.iter().filter_map(|one| one.place.authorities());
    let kept = config.audit.checkpoint.as_ref().and_then(|one| one.to.authorities());
    let collector = config.telemetry.collector.as_ref().and_then(|one| one.place.authorities());
    let own = kept.into_iter().chain(collector);
    Network::new(authorities.chain(told).chain(own)).map_err(|e| fault("upstreams", &e))
}

/// Contracts and policies, compiled.
fn rules(config: &Config, catalog: &Catalog) -> Result<Policy, ConfigErrors> {
    let consent = match config.identity.consent {
        identity::ConsentRule::IfPresent => policy::ConsentRule::IfPresent,
        identity::ConsentRule::Required => policy::ConsentRule::Required,
    };
    Policy::load(&policy::Load {
        actions: catalog.actions().cloned().collect(),
        contracts: &config.contracts,
        files: &config.policies,
        queues: config.queues.iter().map(|(name, _)| Arc::clone(name)).collect(),
        shipped: if config.default_policies { Shipped::Applied } else { Shipped::LeftOut },
        consent,
    })
}

/// Who outside is told.
fn notify(
    destinations: Vec<Destination>,
    (witness, collector): (Option<Arc<Witness>>, Option<Arc<Collector>>),
    operator: &super::OperatorSection,
    before: Option<&Gate>,
) -> Notify {
    Notify {
        waiting: before.map_or_else(Arc::default, |before| Arc::clone(&before.notify.waiting)),
        destinations: destinations.into_iter().map(Arc::new).collect(),
        witness,
        collector,
        page: operator.public_url.as_ref().map(|url| url.to_string().into()),
    }
}

/// Who could answer holds: people, machines, and chats.
fn answerers(operator: &super::OperatorSection, notify: &Notify) -> Answerers {
    let mut all = operator.answerers();
    let chats = notify.destinations.iter().filter_map(|one| one.answers.as_ref());
    all.machines.extend(chats.map(|one| one.roles.clone()));
    all
}

fn roads(upstreams: &[UpstreamSection], listeners: &Listeners) -> Vec<Road> {
    let road = |one: &UpstreamSection| {
        let listener = one.listen.map_or(0, |_| listeners.number(&one.name));
        let selects = |name: &http::HeaderName| one.pack.traits().selectors.contains(name);
        Road {
            upstream: Arc::clone(&one.name),
            listener,
            prefix: one.route.as_str().into(),
            pack: Arc::clone(&one.pack),
            selectors: one.headers.iter().filter(|(name, _)| selects(name)).cloned().collect(),
        }
    };
    upstreams.iter().map(road).collect()
}

fn fact_site(one: &UpstreamSection) -> (Arc<str>, facts::Site) {
    let site = facts::Site {
        upstream: one.upstream.clone(),
        auth: one.pack.traits().auth.clone(),
        headers: one.headers.clone(),
        account: one.account.clone(),
    };
    (Arc::clone(&one.name), site)
}

/// Lanes with these settings: those that were there, with whoever is on them, or new ones.
fn lanes(settings: lanes::Settings, before: Option<&Arc<Lanes>>, clock: &Clock) -> Arc<Lanes> {
    match before {
        Some(lanes) => {
            lanes.adjust(settings);
            Arc::clone(lanes)
        }
        None => Lanes::new(settings, clock.clone()),
    }
}

fn site(one: &UpstreamSection, before: Option<&Gate>, clock: &Clock) -> (Arc<str>, Site) {
    let origin = origin(one);
    // What is known of an upstream goes on while it is the same one.
    let known = before.and_then(|before| before.sites.get(&one.name));
    let known = known.filter(|site| site.upstream.url == one.upstream.url);
    let breaker = match known {
        Some(site) => {
            site.breaker.adjust(one.breaker);
            Arc::clone(&site.breaker)
        }
        None => Breaker::new(Arc::clone(&one.name), one.breaker, clock.clone()),
    };
    let site = Site {
        origin,
        upstream: one.upstream.clone(),
        breaker,
        lanes: lanes(one.lanes, known.map(|site| &site.lanes), clock),
        trusted: one.trusted,
        headers: one.headers.clone(),
    };
    (Arc::clone(&one.name), site)
}

/// Over who is reached and as whom: what was sent there once is never sent again anywhere else.
fn origin(one: &UpstreamSection) -> Digest {
    let mut bytes = Vec::with_capacity(256);
    piece(&mut bytes, b'u', one.upstream.url.to_string().as_bytes());
    for (name, value) in &one.headers {
        piece(&mut bytes, b'h', name.as_str().as_bytes());
        piece(&mut bytes, b'v', value.as_bytes());
    }
    for class in Class::ALL {
        let named = one.credentials.of(class).map(ToString::to_string).unwrap_or_default();
        piece(&mut bytes, b'c', named.as_bytes());
    }
    Digest(sha256(&bytes))
}

/// How issuers' keys are fetched: through the one way out.
pub fn fetch(outbound: Arc<Outbound>) -> identity::Fetch {
    Arc::new(move |url: String| {
        let outbound = Arc::clone(&outbound);
        Box::pin(async move {
            let (origin, target) = origin_and_target(&url);
            let mut upstream = Upstream::parse("issuer", origin)?;
            // The operator named this address; an identity provider may stand in a private network.
            if upstream.addresses == Addresses::Public {
                upstream.addresses = Addresses::Private;
            }
            let send = Outgoing {
                method: http::Method::GET,
                target: target.into(),
                headers: Vec::new(),
                body: bytes::Bytes::new(),
            };
            match outbound.exchange(&upstream, send, Connection::Fresh).await {
                Exchange::Answered(reply) if reply.status == 200 => Ok(reply.body),
                Exchange::Answered(reply) => Err(format!("it answered {}", reply.status)),
                Exchange::NotSent(why) | Exchange::Unknown(why) => Err(why),
            }
        })
    })
}

/// `https://id.shop.example/jwks.json` is an origin and a target.
fn origin_and_target(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at.saturating_add(3));
    let path = url.get(host..).and_then(|rest| rest.find('/')).map(|at| at.saturating_add(host));
    path.and_then(|at| url.split_at_checked(at)).unwrap_or((url, "/"))
}

/// One fault that stands in no file.
pub fn fault(key: &str, message: &str) -> ConfigErrors {
    faults_at(key, vec![message.to_owned()])
}

fn faults(messages: Vec<String>) -> ConfigErrors {
    faults_at("", messages)
}

fn faults_at(key: &str, messages: Vec<String>) -> ConfigErrors {
    let faults = Faults::of("configuration");
    for message in messages {
        faults.note(Place::default(), key, message);
    }
    faults.into_errors()
}

#[cfg(test)]
mod tests {
    use super::origin_and_target;

    #[test]
    fn an_address_of_keys_is_an_origin_and_a_target() {
        for (url, origin, target) in [
            ("https://id.example/jwks.json", "https://id.example", "/jwks.json"),
            ("http://127.0.0.1:9/a/b?c=d", "http://127.0.0.1:9", "/a/b?c=d"),
            ("https://id.example", "https://id.example", "/"),
        ] {
            assert_eq!(origin_and_target(url), (origin, target), "{url}");
        }
    }
}

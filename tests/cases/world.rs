//! A whole gate for one case: a store in memory, a clock turned by hand, a script for the upstream.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use tollhouse::alarm::Alarms;
use tollhouse::approval::{Approvals, Rules};
use tollhouse::audit::Audit;
use tollhouse::breaker::lanes::{self, Lanes};
use tollhouse::breaker::{Breaker, Settings};
use tollhouse::call::{Digest, OperationId};
use tollhouse::catalog::{Catalog, Pack, Road, pack};
use tollhouse::clock::{Clock, Timestamp};
use tollhouse::credentials::{ReadOnly, References, Vault};
use tollhouse::facts::{self, Lookups};
use tollhouse::freeze::Freezes;
use tollhouse::gate::{Gate, Site, Standing};
use tollhouse::identity::{Algorithm, Config, Fetch, Identity, Issuer, KeySource};
use tollhouse::limits::{self, Loops, Rates};
use tollhouse::outbound::{Outbound, Upstream};
use tollhouse::policy::{ConsentRule, Contracts, Load, Policy, Shipped};
use tollhouse::store::Store;
use tollhouse::telemetry::{LogFormat, Telemetry};
use tollhouse::yaml::{self, Faults, Node, Place, Shape};

use super::token::{self, ISSUER, PARTNER, Published};
use super::tree::{self, entries, flag, get, text};
use super::upstream::Script;

/// Everything that a case can touch.
pub struct World {
    gate: ArcSwap<Gate>,
    keeps: Keeps,
    given: Mutex<Node>,
    pub clock: Clock,
    pub script: Script,
    pub issuer: Arc<IssuerState>,
    /// Operations by the names that steps gave them; `last` is the newest.
    pub named: Mutex<HashMap<String, OperationId>>,
    /// The answers by the names that steps gave them.
    pub bodies: Mutex<HashMap<String, Bytes>>,
    pub freezes: Mutex<Vec<String>>,
    /// What an agent sent that must never be seen upstream.
    pub secrets: Mutex<Vec<String>>,
    /// Calls that the gate was asked to judge.
    pub calls: AtomicUsize,
}

/// What goes on when another policy is loaded.
struct Keeps {
    name: Arc<str>,
    pack: Arc<Pack>,
    upstream: Upstream,
    headers: Vec<(HeaderName, HeaderValue)>,
    clock: Clock,
    identity: Arc<Identity>,
    /// Whether the vendor is trusted to know our keys.
    trusted: bool,
    rates: Arc<Rates>,
    alarms: Arc<Alarms>,
    loops: Arc<Loops>,
    breaker: Arc<Breaker>,
    lanes: Arc<Lanes>,
    process: Arc<Lanes>,
    store: Arc<Store>,
    vault: Arc<Vault>,
    outbound: Arc<Outbound>,
    audit: Arc<Audit>,
    standing: Arc<Standing>,
}

/// How the issuer is, and how often it was asked.
#[derive(Default)]
pub struct IssuerState {
    pub down: AtomicBool,
    pub rotated: AtomicBool,
    pub asked: AtomicUsize,
}

impl IssuerState {
    fn keys(&self) -> Published {
        if self.rotated.load(Ordering::SeqCst) { Published::Rotated } else { Published::Usual }
    }
}

/// Packs and policies that were compiled already: many cases share them.
#[derive(Default)]
struct Compiled {
    packs: HashMap<String, Arc<Pack>>,
    policies: HashMap<String, Arc<Policy>>,
}

static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);

impl World {
    pub fn new(given: &Node, place: &str) -> Arc<Self> {
        let blank = tree::empty();
        let want =
            |key: &str| text(given, key).unwrap_or_else(|| panic!("{place}: given has no `{key}`"));
        let start = Timestamp::parse(&want("clock"))
            .unwrap_or_else(|| panic!("{place}: `clock` is no time"));
        let clock = Clock::by_hand(start);
        let script = Script::new(get(given, "upstream").unwrap_or(&blank).clone());
        let outbound = Arc::new(Outbound::Scripted(script.outbound()));
        let issuer = Arc::new(IssuerState::default());
        let keeps = Keeps::new(want("pack").into(), given, (&clock, outbound, &issuer), place);
        Arc::new(Self {
            gate: ArcSwap::from_pointee(keeps.gate(given)),
            keeps,
            given: Mutex::new(given.clone()),
            clock,
            script,
            issuer,
            named: Mutex::default(),
            bodies: Mutex::default(),
            freezes: Mutex::default(),
            secrets: Mutex::default(),
            calls: AtomicUsize::new(0),
        })
    }

    /// The gate that serves now.
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.load_full()
    }

    /// Other contracts from now on: a reload.
    pub fn reload(&self, changes: &Node) {
        let mut given = self.given.lock();
        let place = changes.place;
        let shape = Shape::Map(vec![("contracts".into(), place, changes.clone())]);
        *given = tree::over(&given, &Node { place, shape }, &["contracts"]);
        self.gate.store(Arc::new(self.keeps.gate(&given)));
    }

    /// Another mode or rollout from now on: a reload.
    pub fn roll_out(&self, changes: &Node) {
        let mut given = self.given.lock();
        *given = tree::over(&given, changes, &[]);
        self.gate.store(Arc::new(self.keeps.gate(&given)));
    }

    pub fn now(&self) -> i64 {
        self.clock.now().0.div_euclid(1000)
    }
}

impl Keeps {
    fn new(
        name: Arc<str>,
        given: &Node,
        (clock, outbound, issuer): (&Clock, Arc<Outbound>, &Arc<IssuerState>),
        place: &str,
    ) -> Self {
        let faults = Faults::of(place);
        let loops = get(given, "loops")
            .map(|node| limits::read_loops(&faults, node, "loops"))
            .unwrap_or_default();
        let limits = get(given, "limits")
            .map(|node| limits::read(&faults, node, "limits"))
            .unwrap_or_default();
        let breaker = get(given, "breaker")
            .map(|node| Settings::read(&faults, node, "breaker"))
            .unwrap_or_default();
        let lanes = get(given, "concurrency")
            .map(|node| lanes::Settings::read(&faults, node, "concurrency"))
            .unwrap_or_default();
        let process = get(given, "process")
            .map(|node| lanes::Settings::read_process(&faults, node, "process"))
            .unwrap_or_else(lanes::Settings::process);
        let alarms = Alarms::read(&faults.section(given, ""));
        assert!(faults.is_empty(), "{}", faults.into_errors());
        let headers = get(given, "site_headers").map(entries).unwrap_or_default().iter();
        let header = |(name, _, value): &(String, Place, Node)| {
            (name.parse().unwrap(), tree::scalar(value).parse().unwrap())
        };
        let identity = Identity::new(identity(given), fetch(issuer), clock.clone(), None);
        Self {
            trusted: get(given, "trusted").is_some_and(|node| tree::scalar(node) == "true"),
            pack: COMPILED.lock().pack(&name),
            upstream: Upstream::parse(&name, "http://127.0.0.1:9").unwrap(),
            headers: headers.map(header).collect(),
            clock: clock.clone(),
            identity: Arc::new(identity),
            rates: Arc::new(Rates::new(limits, clock.clone(), None)),
            alarms: Arc::new(alarms),
            loops: Arc::new(Loops::new(loops, clock.clone(), None)),
            breaker: Breaker::new(Arc::clone(&name), breaker, clock.clone()),
            lanes: Lanes::new(lanes, clock.clone()),
            process: Lanes::new(process, clock.clone()),
            store: Arc::new(Store::memory(clock.clone()).unwrap()),
            vault: Arc::new(vault(&name, clock)),
            outbound,
            audit: Arc::new(Audit::in_memory(clock.clone()).unwrap()),
            standing: Arc::default(),
            name,
        }
    }

    /// Who is asked, as a configuration says it.
    fn rules(&self, given: &Node) -> Rules {
        let faults = Faults::of(&self.name);
        let top = faults.section(given, "");
        let (queues, crowd) = tollhouse::config::read_people(&top);
        let limits = get(given, "role_limits").map(entries).unwrap_or_default().iter();
        let limits = limits.map(|(role, _, most)| (role.as_str().into(), most.amounts().unwrap()));
        let rules = Rules {
            limits: limits.collect(),
            queues: queues.into_iter().collect(),
            crowd,
            ..Rules::default()
        };
        assert!(faults.is_empty(), "{}", faults.into_errors());
        rules
    }

    fn gate(&self, given: &Node) -> Gate {
        let catalog = Catalog::new(vec![self.road()]).unwrap();
        let policy = COMPILED.lock().policy(&self.name, given, &catalog);
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        Gate {
            identity: Arc::clone(&self.identity),
            catalog,
            freezes: Arc::new(Freezes::new(Arc::clone(&store), clock.clone())),
            rates: Arc::clone(&self.rates),
            alarms: Arc::clone(&self.alarms),
            loops: Arc::clone(&self.loops),
            process: Arc::clone(&self.process),
            sites: HashMap::from([(Arc::clone(&self.name), self.site())]),
            lookups: self.lookups(),
            policy_digest: Arc::clone(policy.digest()),
            policy,
            lasting: tollhouse::gate::Lasting::default(),
            rollout: rollout(given),
            approvals: Approvals::new(Arc::clone(&store), self.rules(given)),
            notify: tollhouse::notify::Notify::default(),
            vault: Arc::clone(&self.vault),
            outbound: Arc::clone(&self.outbound),
            audit_dir: None,
            audit: Arc::clone(&self.audit),
            telemetry: Arc::new(Telemetry::new(LogFormat::Off)),
            store_is_new: false,
            standing: Arc::clone(&self.standing),
            closing: self.standing.stopping.child_token(),
            store,
            clock,
        }
    }

    fn road(&self) -> Road {
        let selects =
            |(name, _): &&(HeaderName, HeaderValue)| self.pack.traits().selectors.contains(name);
        Road {
            upstream: Arc::clone(&self.name),
            listener: 0,
            prefix: "/".into(),
            pack: Arc::clone(&self.pack),
            selectors: self.headers.iter().filter(selects).cloned().collect(),
        }
    }

    fn site(&self) -> Site {
        Site {
            upstream: self.upstream.clone(),
            breaker: Arc::clone(&self.breaker),
            lanes: Arc::clone(&self.lanes),
            trusted: self.trusted,
            origin: Digest([0; 32]),
            headers: self.headers.clone(),
        }
    }

    fn lookups(&self) -> Lookups {
        let site = facts::Site {
            upstream: self.upstream.clone(),
            auth: self.pack.traits().auth.clone(),
            headers: self.headers.clone(),
            account: None,
        };
        Lookups::new(
            HashMap::from([(Arc::clone(&self.name), site)]),
            Arc::clone(&self.outbound),
            ReadOnly::of(Arc::clone(&self.vault)),
            self.clock.clone(),
        )
    }
}

impl Compiled {
    fn pack(&mut self, name: &str) -> Arc<Pack> {
        let read = || {
            let text = match pack::shipped(name) {
                Some(text) => text.to_owned(),
                None => {
                    let path =
                        format!("{}/tests/cases/packs/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
                    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
                }
            };
            Arc::new(pack::read(name, &text).unwrap_or_else(|e| panic!("{e}")))
        };
        Arc::clone(self.packs.entry(name.to_owned()).or_insert_with(read))
    }

    fn policy(&mut self, pack: &str, given: &Node, catalog: &Catalog) -> Arc<Policy> {
        // What stands there for the actions of another pack was meant for that one.
        let own = format!("{pack}.");
        let said = get(given, "contracts").map(entries).unwrap_or_default().iter();
        let said = said.filter(|(name, _, _)| name.starts_with(&own) || name.starts_with("class/"));
        let lines: Vec<_> =
            said.map(|(name, _, node)| format!("{name}: {}\n", tree::yaml(node))).collect();
        let text = lines.concat();
        let own_policies = tree::text(given, "policies").unwrap_or_default();
        let load = || {
            let contracts = if text.is_empty() {
                Ok(Contracts::none())
            } else {
                Contracts::parse("contracts", &text)
            };
            let contracts = contracts.unwrap_or_else(|e| panic!("{e}\n{text}"));
            let files = [("own.cedar".to_owned(), own_policies.clone())];
            let load = Load {
                actions: catalog.actions().cloned().collect(),
                contracts: &contracts,
                files: if own_policies.is_empty() { &[] } else { &files },
                queues: queues(given),
                shipped: Shipped::Applied,
                consent: ConsentRule::IfPresent,
            };
            Arc::new(Policy::load(&load).unwrap_or_else(|e| panic!("{e}\n{text}")))
        };
        Arc::clone(
            self.policies
                .entry(format!("{pack}\n{:?}\n{text}\n{own_policies}", queues(given)))
                .or_insert_with(load),
        )
    }
}

/// What runs in shadow, and how much by itself.
fn rollout(given: &Node) -> tollhouse::rollout::Rollout {
    let faults = Faults::of("rollout");
    let rollout = tollhouse::rollout::read(&faults.section(given, ""), BTreeMap::new());
    assert!(faults.is_empty(), "{}", faults.into_errors());
    rollout
}

/// The queues that exist.
fn queues(given: &Node) -> Vec<Arc<str>> {
    let named = get(given, "queues").map(entries).unwrap_or_default().iter();
    let named = named.map(|(name, _, _)| Arc::from(name.as_str()));
    named.chain([Arc::from("default")]).collect()
}

/// A secret a class, each named after it.
fn vault(upstream: &Arc<str>, clock: &Clock) -> Vault {
    let text = "{ read: env:SK_read, write: env:SK_write, communication: env:SK_communication, financial: env:SK_financial }";
    let node = yaml::read("credentials", text).unwrap();
    let references = References::read(&node, std::path::Path::new(".")).unwrap();
    let environment = |name: &str| Some(name.to_owned());
    Vault::load(vec![(Arc::clone(upstream), references)], &environment, clock.clone()).unwrap()
}

fn identity(given: &Node) -> Config {
    let single_use = get(given, "issuer").is_some_and(|issuer| flag(issuer, "single_use"));
    let issuer = |name: &str, audience: &str| Issuer {
        issuer: name.into(),
        audience: vec![audience.into()],
        keys: KeySource::Url(format!("{name}/jwks.json").into()),
        algorithms: vec![Algorithm::EdDsa, Algorithm::Rs256],
        single_use,
    };
    let mut config = Config::development("/nowhere".into());
    config.issuers = vec![issuer(ISSUER, "tollhouse"), issuer(PARTNER, "tollhouse")];
    config
}

fn fetch(state: &Arc<IssuerState>) -> Fetch {
    let state = Arc::clone(state);
    Arc::new(move |url: String| {
        state.asked.fetch_add(1, Ordering::SeqCst);
        let issuer = url.strip_suffix("/jwks.json").unwrap_or_default().to_owned();
        assert!(issuer == ISSUER || issuer == PARTNER, "keys were asked for at `{url}`");
        let answer = match state.down.load(Ordering::SeqCst) {
            true => Err("connection refused".to_owned()),
            false => Ok(Bytes::from(token::published(&issuer, state.keys()))),
        };
        Box::pin(async move { answer })
    })
}

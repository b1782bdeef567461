//! The processes under test: one on an embedded store, or replicas before one Redis; killed, stopped,
//! starved and started again on the same folders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::dice::Dice;
use super::pair::Pair;
use super::vendor::{Mode, Vendor};
use crate::support::agent::{Call, Reply};
use crate::support::house::House;
use crate::support::set_clock::SetClock;

/// Up to this no person is asked, in cents.
pub const AUTO: i64 = 30_00;
/// What one customer may get back from one vendor in a day, in cents.
pub const BUDGET: i64 = 300_000_00;

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Whatever no store may lose anything by, and no clock is touched: the books must agree to the cent.
    Fair,
    /// Clocks are set, and a fleet's store loses what it had confirmed.
    Foul,
}

/// One process and where it is reached now.
struct Replica {
    house: Mutex<House>,
    urls: RwLock<(String, String)>,
    is_dead: AtomicBool,
}

/// All of them.
pub struct Stand {
    replicas: Vec<Replica>,
    /// What they share, when it is not a file of one's own.
    pub redis: Option<Mutex<Pair>>,
    /// The clocks of the processes, where they can be set.
    clocks: Vec<SetClock>,
    tokens: Vec<(&'static str, String)>,
    seed: u64,
    is_over: AtomicBool,
}

pub const CUSTOMERS: [&str; 2] = ["ann", "bob"];

impl Stand {
    /// One process on an embedded store.
    pub fn embedded(vendor: &Vendor, seed: u64, weather: Weather) -> Arc<Self> {
        let text = configuration(vendor, "store: embedded:data/store");
        let (home, mut clocks) = (folder(), Vec::new());
        // A file that reaches its limit raises a signal, which a full disk does not.
        let before = format!("trap '' XFSZ; {}", clock(&home, weather, &mut clocks));
        let house = House::written(home, &text, &before);
        Self::of(vec![house], None, clocks, seed)
    }

    /// Two replicas before one Redis.
    pub fn fleet(vendor: &Vendor, seed: u64, weather: Weather) -> Arc<Self> {
        let redis = Pair::start(weather == Weather::Foul);
        let store = format!(
            "fleet: shop\nstore: {{ url: \"redis://127.0.0.1:{}\", encryption_key: file:seal.key }}",
            redis.port()
        );
        let text = configuration(vendor, &store);
        let (home, other, mut clocks) = (folder(), folder(), Vec::new());
        let before = clock(&home, weather, &mut clocks);
        let here = House::replica_in(home, &text, None, &before);
        let before = clock(&other, weather, &mut clocks);
        let there = House::replica_in(other, &text, Some(&here), &before);
        Self::of(vec![here, there], Some(redis), clocks, seed)
    }

    fn of(houses: Vec<House>, redis: Option<Pair>, clocks: Vec<SetClock>, seed: u64) -> Arc<Self> {
        let tokens = CUSTOMERS.map(|name| (name, houses[0].long_token_of(name))).to_vec();
        let replica = |house: House| Replica {
            urls: RwLock::new(addresses(&house)),
            house: Mutex::new(house),
            is_dead: AtomicBool::new(false),
        };
        let replicas = houses.into_iter().map(replica).collect();
        let (redis, is_over) = (redis.map(Mutex::new), AtomicBool::new(false));
        Arc::new(Self { replicas, redis, clocks, tokens, seed, is_over })
    }

    pub fn token(&self, customer: &str) -> &str {
        let (_, token) = self.tokens.iter().find(|(name, _)| *name == customer).unwrap();
        token
    }

    /// `kill -9` of one of them, at once; false when it is not there anyway.
    pub fn kill(&self, which: u64) -> bool {
        let replica = &self.replicas[which as usize % self.replicas.len()];
        let Some(mut house) = replica.house.try_lock() else { return false };
        if replica.is_dead.swap(true, Ordering::SeqCst) {
            return false;
        }
        house.process.kill();
        true
    }

    /// Starts again what was killed, after a moment, until the stand is over.
    pub fn revive(self: &Arc<Self>) -> JoinHandle<u64> {
        let stand = Arc::clone(self);
        std::thread::spawn(move || {
            let mut dice = Dice::of(stand.seed, "revive", 0);
            let mut starts = 0;
            while !stand.is_over.load(Ordering::SeqCst) {
                for replica in &stand.replicas {
                    if replica.is_dead.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(dice.roll(150)));
                        let mut house = replica.house.lock();
                        house.again();
                        *replica.urls.write() = addresses(&house);
                        replica.is_dead.store(false, Ordering::SeqCst);
                        starts += 1;
                    }
                }
                std::thread::sleep(Duration::from_millis(3));
            }
            starts
        })
    }

    /// Sets the clock of one of them so many seconds ahead, or behind; false where it cannot be set.
    pub fn set_clock(&self, which: u64, seconds: i64) -> bool {
        if self.clocks.is_empty() {
            return false;
        }
        self.clocks[which as usize % self.clocks.len()].set(seconds);
        true
    }

    /// Whether all of them run.
    pub fn is_whole(&self) -> bool {
        self.replicas.iter().all(|replica| !replica.is_dead.load(Ordering::SeqCst))
    }

    /// Nothing is started again after this.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Does something with one process, while it runs.
    pub fn with<T>(&self, which: u64, act: impl FnOnce(&House) -> T) -> Option<T> {
        let replica = &self.replicas[which as usize % self.replicas.len()];
        let house = replica.house.lock();
        (!replica.is_dead.load(Ordering::SeqCst)).then(|| act(&house))
    }

    /// Every process, one after the other.
    pub fn houses<T>(&self, mut act: impl FnMut(&mut House) -> T) -> Vec<T> {
        self.replicas.iter().map(|replica| act(&mut replica.house.lock())).collect()
    }

    pub fn agents(&self, which: u64) -> String {
        self.replicas[which as usize % self.replicas.len()].urls.read().0.clone()
    }

    /// Asks a console; nothing when nobody answers there.
    pub fn console(&self, which: u64, call: Call<'_>) -> Option<Reply> {
        let url = self.replicas[which as usize % self.replicas.len()].urls.read().1.clone();
        let call = call.bearer("an-operator-token-of-some-length");
        call.send_within(&url, Duration::from_secs(10)).ok()
    }

    /// A listing of the console; nothing when nobody answers there.
    pub fn listed(&self, which: u64, path: &str) -> Option<Vec<Value>> {
        let reply = self.console(which, Call::new("GET", path))?;
        (reply.status == 200).then(|| reply.json().as_array().unwrap().clone())
    }
}

/// Where agents and operators reach it. It names its first road; the others are beside it.
fn addresses(house: &House) -> (String, String) {
    let address = house.agents.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    (format!("http://{}", address.unwrap()), house.operator().0)
}

/// Ends everything with the test, also where it fails halfway.
pub struct Ending(pub Arc<Stand>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
        self.0.houses(|house| house.process.kill());
    }
}

/// What a process is started with, so that its clock can be set.
fn clock(home: &tempfile::TempDir, weather: Weather, clocks: &mut Vec<SetClock>) -> String {
    match weather {
        Weather::Fair => String::new(),
        Weather::Foul => {
            clocks.push(SetClock::at(&home.path().join("clock")));
            clocks.last().map(SetClock::exports).unwrap()
        }
    }
}

fn folder() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let packs = home.path().join("packs");
    std::fs::create_dir(&packs).unwrap();
    let from = crate::support::root().join("tests/faults/packs");
    for name in ["keyed.yaml", "marked.yaml", "plain.yaml"] {
        std::fs::copy(from.join(name), packs.join(name)).unwrap();
    }
    home
}

fn configuration(vendor: &Vendor, store: &str) -> String {
    let upstream = |mode: Mode| {
        let (name, url) = (mode.name(), vendor.url(mode));
        let (pack, trusted) = match mode {
            Mode::Keyed => ("keyed", ", idempotency: { trusted: true }"),
            Mode::Wary => ("keyed", ""),
            Mode::Marked | Mode::Plain => (name, ""),
        };
        format!(
            "  {name}: {{ url: \"{url}\", pack: packs/{pack}.yaml, route: /{name}, credentials: file:shop-key{trusted}, timeout: {{ connect: 1s, answer: 1s }}, breaker: {{ consecutive: 30, failures: 100%, of_last: 60, open: 1s }} }}\n"
        )
    };
    let contract = |pack: &str| {
        format!(
            "  {pack}.refund.create: {{ team: payments, cap: {{ auto: {}.00 USD, hard: 900000.00 USD }}, budget: [ {{ per: customer, within: 24h, amount: {}.00 USD, over: refuse }} ], approval: {{ queue: finance, expires: 1h }}, duplicates: {{ alike: allow }} }}\n",
            AUTO / 100,
            BUDGET / 100
        )
    };
    let upstreams: String = Mode::ALL.into_iter().map(upstream).collect();
    let contracts: String = ["keyed", "marked", "plain"].map(contract).concat();
    format!(
        "\
version: 1
listen: 127.0.0.1:0
operator:
  listen: 127.0.0.1:0
  tokens: [ {{ name: ops, roles: [finance, operator], token: file:ops-token, approves: true }} ]
{store}
audit: {{ dir: data/audit }}
development: true
identity:
  issuers: [ {{ issuer: tollhouse-dev, audience: tollhouse, jwks: file:state/jwks.json, algorithms: [EdDSA] }} ]
queues: {{ finance: {{ roles: [finance] }} }}
telemetry: {{ log: text }}
upstreams:
{upstreams}contracts:
{contracts}"
    )
}

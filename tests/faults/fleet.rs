//! Two replicas before one Redis that stops, dies, comes back, and takes no writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::drive::{Intent, Run, Style};
use super::stand::{Ending, Stand};
use super::vendor::{Mode, Vendor};
use super::{Size, USUAL, campaign, number, plain, seed};
use crate::support::agent::Call;
use crate::support::redis::Server;

/// What nothing is lost with.
const DURABLE: &[&str] = &["appendonly", "yes", "appendfsync", "always"];

fn stand(vendor: &Vendor, seed: u64) -> Arc<Stand> {
    let stand = Stand::fleet(vendor, seed, Server::with(DURABLE));
    until("both are ready", || (0..2).all(|which| is_ready(&stand, which)));
    stand
}

#[test]
fn short() {
    let size = Size {
        count: number("FAULTS_OPERATIONS", 160),
        agents: 32,
        patience: Duration::from_secs(20),
    };
    campaign(number("FAULTS_SEED", USUAL), &size, stand);
}

#[test]
#[ignore = "minutes long: see CONTRIBUTING.md"]
fn long() {
    let size = Size {
        count: number("FAULTS_OPERATIONS", 10_000),
        agents: 96,
        patience: Duration::from_secs(120),
    };
    campaign(seed(), &size, stand);
}

impl Run {
    /// What goes wrong with the Redis of a fleet.
    pub fn redis_trouble(&self) {
        let mut dice = Dice::of(self.seed, "redis", 0);
        let Some(redis) = &self.stand.redis else { return };
        while self.is_wild() {
            self.pause(dice.within(600, 2_500));
            let span = Duration::from_millis(dice.within(100, 1_500));
            let mut redis = redis.lock();
            let toggle = |on: &[&str], off: &[&str]| {
                redis.cli(on);
                std::thread::sleep(span);
                redis.cli(off);
            };
            match dice.roll(8) {
                0 | 1 => {
                    self.count("redis stopped for a while");
                    redis.signal("STOP");
                    std::thread::sleep(span);
                    redis.signal("CONT");
                }
                2 | 3 => {
                    self.count("redis killed");
                    redis.kill();
                    std::thread::sleep(span);
                    assert!(redis.run(), "redis does not come back");
                }
                4 => {
                    self.count("redis takes no writes: too few replicas");
                    let set = ["CONFIG", "SET", "min-replicas-to-write"];
                    toggle(&[&set[..], &["1"]].concat(), &[&set[..], &["0"]].concat());
                }
                5 => {
                    self.count("redis takes no writes: full");
                    let set = ["CONFIG", "SET", "maxmemory"];
                    toggle(&[&set[..], &["1"]].concat(), &[&set[..], &["0"]].concat());
                }
                6 => {
                    self.count("redis cut its connections");
                    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
                }
                _ => {
                    self.count("redis forgot its scripts");
                    redis.cli(&["SCRIPT", "FLUSH"]);
                }
            }
        }
    }
}

fn is_ready(stand: &Stand, which: u64) -> bool {
    stand.console(which, Call::new("GET", "/readyz")).is_some_and(|reply| reply.status == 200)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn sixty_four_duplicates_through_two_replicas_are_one_effect() {
    let vendor = Vendor::open(1);
    plain::duplicates(&stand(&vendor, 1), &vendor);
}

#[test]
fn fifty_partial_refunds_through_two_replicas_never_exceed_the_payment() {
    let vendor = Vendor::open(1);
    plain::partial_refunds(&stand(&vendor, 1), &vendor);
}

/// Its name, how it begins and how it ends.
type Ill<'i> = (&'i str, &'i dyn Fn(), &'i dyn Fn());

/// Down, slow, or saying that it takes no writes: nothing is sent, reads go on, and it comes back by itself.
#[test]
fn a_redis_that_is_not_well_costs_no_effect_and_no_read() {
    let vendor = Vendor::open(1);
    let stand = stand(&vendor, 1);
    let _ending = Ending(Arc::clone(&stand));
    let redis = stand.redis.as_ref().unwrap();
    let set = |what: &[&str]| {
        redis.lock().cli(&[&["CONFIG", "SET"], what].concat());
    };
    let ills: [Ill<'_>; 4] = [
        ("down", &|| redis.lock().kill(), &|| assert!(redis.lock().run())),
        ("slow", &|| redis.lock().signal("STOP"), &|| redis.lock().signal("CONT")),
        ("full", &|| set(&["maxmemory", "1"]), &|| set(&["maxmemory", "0"])),
        ("alone", &|| set(&["min-replicas-to-write", "1"]), &|| {
            set(&["min-replicas-to-write", "0"])
        }),
    ];
    for (number, (name, fall_ill, recover)) in ills.into_iter().enumerate() {
        let intent = |n: usize, mode: Mode| {
            let (number, sale) = (n as u64, format!("ann-{name}-{n}"));
            let note = format!("i{n}");
            Intent { number, note, mode, customer: "ann", sale, minor: 5_00, style: Style::SameKey }
        };
        let before = vendor.sendings().len();
        fall_ill();
        for (at, mode) in Mode::ALL.into_iter().enumerate() {
            let intent = intent(number * 4 + at, mode);
            let call = intent.call(&intent.note, stand.token("ann"));
            let reply = call.send(&stand.agents(at as u64)).unwrap();
            assert_eq!((reply.status, &*reply.code()), (503, "undecidable"), "{name}: {reply:?}");
            assert_eq!(reply.json()["sent"], "no", "{name}");
            let target = format!("/{}/sales/{}", mode.name(), intent.sale);
            let read = Call::new("GET", &target).bearer(stand.token("ann"));
            let read = read.send(&stand.agents(at as u64)).unwrap();
            assert_eq!(read.status, 200, "{name}: reads go on: {read:?}");
        }
        assert_eq!(vendor.sendings().len(), before, "{name}: something was sent");
        recover();
        until("both are ready again", || (0..2).all(|which| is_ready(&stand, which)));
        for (at, mode) in Mode::ALL.into_iter().enumerate() {
            let intent = intent(number * 4 + at, mode);
            let call = intent.call(&intent.note, stand.token("ann"));
            // A reserve that was asked while it was slow may have been done: its lease ends first.
            let reply = call.send(&stand.agents(at as u64)).unwrap();
            let told = [(200, String::new()), (409, "in_flight".to_owned())];
            assert!(told.contains(&(reply.status, reply.code())), "{name}: {reply:?}");
        }
    }
}

/// Emptied under two running replicas: what was done is not done again under the same key, whatever the
/// vendor knows of keys.
#[test]
fn a_redis_that_forgot_everything_makes_no_second_effect() {
    let vendor = Vendor::open(1);
    let stand = stand(&vendor, 1);
    let _ending = Ending(Arc::clone(&stand));
    let ask = |mode: Mode, which: u64| {
        let (note, sale) = (format!("i{}", mode.name()), format!("ann-{}", mode.name()));
        let style = Style::SameKey;
        let intent = Intent { number: 0, note, mode, customer: "ann", sale, minor: 5_00, style };
        intent.call(&intent.note, stand.token("ann")).send(&stand.agents(which)).unwrap()
    };
    let first: Vec<_> = Mode::ALL.into_iter().map(|mode| ask(mode, 0)).collect();
    assert!(first.iter().all(|reply| reply.status == 200), "{first:?}");
    assert_eq!(stand.redis.as_ref().unwrap().lock().cli(&["FLUSHALL"]), "OK");
    for (at, mode) in [0, 1, 0, 1].into_iter().flat_map(|at| Mode::ALL.map(|mode| (at, mode))) {
        let again = ask(mode, at);
        assert!(mode == Mode::Keyed || again.status != 200, "{mode:?}: {again:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
    let effects = vendor.effects();
    assert_eq!(effects.len(), 4, "{effects:?}");
}

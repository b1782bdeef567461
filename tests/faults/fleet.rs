//! Two replicas before one Redis that stops, dies, comes back, takes no writes, forgets, and is followed by a
//! copy that is behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::drive::{Intent, Run, Style};
use super::pair::Pair;
use super::stand::{Ending, Stand, Weather};
use super::vendor::{Mode, Vendor};
use super::{Size, USUAL, campaign, number, plain, seed};
use crate::support::agent::Call;

fn stand(vendor: &Vendor, seed: u64, weather: Weather) -> Arc<Stand> {
    let stand = Stand::fleet(vendor, seed, weather);
    until("both are ready", || (0..2).all(|which| is_ready(&stand, which)));
    stand
}

#[test]
fn short() {
    let size = Size {
        count: number("FAULTS_OPERATIONS", 160),
        agents: 32,
        patience: Duration::from_secs(20),
        weather: Weather::Fair,
    };
    campaign(number("FAULTS_SEED", USUAL), &size, stand);
}

/// The same while clocks are set, and Redis is flushed or a copy that is behind takes over.
#[test]
fn short_foul() {
    let size = Size {
        count: number("FAULTS_OPERATIONS", 120),
        agents: 16,
        patience: Duration::from_secs(20),
        weather: Weather::Foul,
    };
    campaign(number("FAULTS_SEED", USUAL), &size, stand);
}

fn at_length(weather: Weather) {
    let size = Size {
        count: number("FAULTS_OPERATIONS", 10_000),
        agents: 96,
        patience: Duration::from_secs(120),
        weather,
    };
    campaign(seed(), &size, stand);
}

#[test]
#[ignore = "minutes long: see CONTRIBUTING.md"]
fn long() {
    at_length(Weather::Fair);
}

#[test]
#[ignore = "minutes long: see CONTRIBUTING.md"]
fn long_foul() {
    at_length(Weather::Foul);
}

/// What goes wrong with a Redis.
#[derive(Debug, Clone, Copy)]
enum Ill {
    Stopped,
    Killed,
    NoReplicas,
    Full,
    CannotSave,
    ReadOnly,
    Unheard,
    Cut,
    NoScripts,
    Flushed,
    Behind,
}

const ILLS: &[(u64, Ill)] = &[
    (2, Ill::Stopped),
    (2, Ill::Killed),
    (1, Ill::NoReplicas),
    (1, Ill::Full),
    (1, Ill::CannotSave),
    (1, Ill::ReadOnly),
    (2, Ill::Unheard),
    (1, Ill::Cut),
    (1, Ill::NoScripts),
    (2, Ill::Flushed),
    (3, Ill::Behind),
];

impl Run {
    /// What goes wrong with the Redis of a fleet.
    pub fn redis_trouble(&self) {
        let mut dice = Dice::of(self.seed, "redis", 0);
        let Some(redis) = &self.stand.redis else { return };
        while self.is_wild() {
            self.pause(dice.within(600, 2_500));
            let (ill, span) = (dice.pick(ILLS), Duration::from_millis(dice.within(100, 1_500)));
            // What a person has to see to is not done twice at a time.
            let ill = match ill {
                Ill::Flushed | Ill::Behind if !self.may_lose() => Ill::Unheard,
                other => other,
            };
            self.fall_ill(&mut redis.lock(), ill, span);
        }
    }

    fn fall_ill(&self, redis: &mut Pair, ill: Ill, span: Duration) {
        self.count(&format!("redis: {ill:?}"));
        let toggle = |on: &[&str], off: &[&str]| {
            redis.cli(on);
            std::thread::sleep(span);
            redis.cli(off);
        };
        match ill {
            Ill::Stopped => {
                redis.now().signal("STOP");
                std::thread::sleep(span);
                redis.now().signal("CONT");
            }
            // It loads what it has for a moment, and says so.
            Ill::Killed => {
                redis.now().kill();
                std::thread::sleep(span);
                assert!(redis.now().run(), "redis does not come back");
            }
            Ill::NoReplicas => {
                let set = ["CONFIG", "SET", "min-replicas-to-write"];
                toggle(&[&set[..], &["9"]].concat(), &[&set[..], &["0"]].concat());
            }
            Ill::Full => {
                let set = ["CONFIG", "SET", "maxmemory"];
                toggle(&[&set[..], &["1"]].concat(), &[&set[..], &["0"]].concat());
            }
            Ill::CannotSave => {
                redis.now().can_save(false);
                std::thread::sleep(span);
                redis.now().can_save(true);
            }
            Ill::ReadOnly => {
                toggle(&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]);
            }
            // It does what it is asked, and nobody hears of it in time, or ever.
            Ill::Unheard => {
                redis.switch().hold(true);
                std::thread::sleep(span);
                if span.as_millis().is_multiple_of(2) {
                    redis.switch().cut();
                }
                redis.switch().hold(false);
            }
            Ill::Cut => redis.switch().cut(),
            Ill::NoScripts => drop(redis.cli(&["SCRIPT", "FLUSH"])),
            Ill::Flushed => self.losing(|| redis.cli(&["FLUSHALL"]) == "OK"),
            Ill::Behind => self.losing(|| redis.fail_over(span / 2)),
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
    plain::duplicates(&stand(&vendor, 1, Weather::Fair), &vendor);
}

#[test]
fn fifty_partial_refunds_through_two_replicas_never_exceed_the_payment() {
    let vendor = Vendor::open(1);
    plain::partial_refunds(&stand(&vendor, 1, Weather::Fair), &vendor);
}

/// Its name, how it begins and how it ends.
type Illness<'i> = (&'i str, &'i dyn Fn(), &'i dyn Fn());

/// Down, slow, or saying that it takes no writes: nothing is sent, reads go on, and it comes back by itself.
#[test]
fn a_redis_that_is_not_well_costs_no_effect_and_no_read() {
    let vendor = Vendor::open(1);
    let stand = stand(&vendor, 1, Weather::Fair);
    let _ending = Ending(Arc::clone(&stand));
    let redis = stand.redis.as_ref().unwrap();
    let set = |what: &[&str]| {
        redis.lock().cli(&[&["CONFIG", "SET"], what].concat());
    };
    let ills: [Illness<'_>; 4] = [
        ("down", &|| redis.lock().now().kill(), &|| assert!(redis.lock().now().run())),
        ("slow", &|| redis.lock().now().signal("STOP"), &|| redis.lock().now().signal("CONT")),
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
            // Another server answers, perhaps: nothing is sent until nobody misses what it confirmed.
            let mut reply = None;
            until("the store is trusted again", || {
                reply = Some(call.send(&stand.agents(at as u64)).unwrap());
                reply.as_ref().is_some_and(|reply| reply.status != 503)
            });
            let reply = reply.unwrap();
            // A reserve that was asked while it was slow may have been done: its lease ends first.
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
    let stand = stand(&vendor, 1, Weather::Fair);
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

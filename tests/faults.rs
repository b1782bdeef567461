//! Whatever dies, whenever: real processes, a judging upstream, and faults that a seed repeats.
//!
//! `short` runs with every test, `long` on demand (CONTRIBUTING.md says how). `FAULTS_SEED` repeats a schedule.

mod dice;
mod drive;
mod fleet;
mod forged;
mod judge;
mod pair;
mod people;
mod plain;
mod stand;
mod vendor;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tollhouse::clock::Clock;

use dice::Dice;
use drive::Run;
use stand::{Ending, Stand, Weather};
use vendor::Vendor;

/// How much is done.
struct Size {
    /// Operations.
    count: u64,
    /// Agents at once.
    agents: usize,
    /// How long what is open may take to come to its end.
    patience: Duration,
    weather: Weather,
}

#[test]
fn short() {
    let (count, patience) = (number("FAULTS_OPERATIONS", 320), Duration::from_secs(18));
    let size = Size { count, agents: 48, patience, weather: Weather::Fair };
    campaign(number("FAULTS_SEED", USUAL), &size, Stand::embedded);
}

/// The same while clocks are set.
#[test]
fn short_foul() {
    let (count, patience) = (number("FAULTS_OPERATIONS", 160), Duration::from_secs(18));
    let size = Size { count, agents: 32, patience, weather: Weather::Foul };
    campaign(number("FAULTS_SEED", USUAL), &size, Stand::embedded);
}

#[test]
#[ignore = "minutes long: see CONTRIBUTING.md"]
fn long() {
    let (count, patience) = (number("FAULTS_OPERATIONS", 10_000), Duration::from_secs(90));
    let size = Size { count, agents: 96, patience, weather: Weather::Fair };
    campaign(seed(), &size, Stand::embedded);
}

#[test]
#[ignore = "minutes long: see CONTRIBUTING.md"]
fn long_foul() {
    let (count, patience) = (number("FAULTS_OPERATIONS", 10_000), Duration::from_secs(90));
    let size = Size { count, agents: 96, patience, weather: Weather::Foul };
    campaign(seed(), &size, Stand::embedded);
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect(name))
}

/// The seed of the short runs: what CI meets is what anybody meets.
const USUAL: u64 = 315_517_277;

/// A seed of its own for every long run, unless one is to be repeated.
fn seed() -> u64 {
    let fresh = u64::try_from(Clock::System.now().0).unwrap() % 1_000_000_007;
    number("FAULTS_SEED", fresh)
}

fn campaign(seed: u64, size: &Size, stand: impl Fn(&Vendor, u64, Weather) -> Arc<Stand>) {
    let count = size.count;
    println!("faults: {count} operations, {:?}, FAULTS_SEED={seed}", size.weather);
    let vendor = Vendor::open(seed);
    let stand = stand(&vendor, seed, size.weather);
    let (_ending, begun) = (Ending(Arc::clone(&stand)), Instant::now());
    let run = Arc::new(Run {
        seed,
        count,
        vendor,
        stand,
        told: Mutex::default(),
        frozen: Mutex::default(),
        counts: Mutex::default(),
        weather: size.weather,
        losses: Mutex::default(),
        working: Mutex::default(),
        is_wild: AtomicBool::new(true),
    });
    let revive = run.stand.revive();
    wild(&run, size.agents);
    let driven = begun.elapsed();
    judge::heal(&run, size.patience);
    run.stand.end();
    let starts = revive.join().unwrap();
    let judged = judge::judge(&judge::history(&run));
    println!(
        "faults: {count} operations driven in {driven:.0?}, judged after {:.0?}, {starts} restarts, FAULTS_SEED={seed}\n{judged}",
        begun.elapsed()
    );
    assert!(judged.is_clean(), "FAULTS_SEED={seed}\n{judged}");
}

/// Everything goes wrong while agents work.
fn wild(run: &Arc<Run>, agents: usize) {
    let (stand, dice) = (Arc::clone(&run.stand), Mutex::new(Dice::of(run.seed, "kill", 0)));
    run.vendor.turn_wild(move |_| {
        let which = dice.lock().roll(8);
        stand.kill(which);
    });
    std::thread::scope(|scope| {
        let agents: Vec<_> = (0..agents).map(|_| scope.spawn(|| run.drive())).collect();
        let others = [
            scope.spawn(|| run.desk()),
            scope.spawn(|| run.freezer()),
            scope.spawn(|| run.keeper()),
            scope.spawn(|| run.clocks()),
        ];
        let trouble = [scope.spawn(|| run.trouble()), scope.spawn(|| run.redis_trouble())];
        let ended: Vec<_> = agents.into_iter().map(|agent| agent.join()).collect();
        run.is_wild.store(false, Ordering::SeqCst);
        others.into_iter().chain(trouble).for_each(|other| other.join().unwrap());
        ended.into_iter().for_each(|agent| agent.unwrap());
    });
}

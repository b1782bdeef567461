//! A Redis and the copy of it that follows: what a fleet is given as one address. The copy may take over
//! while it is behind.

use std::time::{Duration, Instant};

use crate::support::redis::Server;
use crate::support::switch::Switch;

/// What nothing is lost with, as long as nobody flushes and no copy takes over; and a load that takes a
/// moment, so that there is a time of `LOADING`.
const DURABLE: &[&str] = &[
    "appendonly",
    "yes",
    "appendfsync",
    "always",
    "key-load-delay",
    "20",
    "loading-process-events-interval-bytes",
    "1024",
];

/// Both, and the address.
pub struct Pair {
    now: Server,
    copy: Option<Server>,
    switch: Switch,
}

impl Pair {
    /// One server; a copy that follows it, and clocks that can be set, `with_losses`.
    pub fn start(with_losses: bool) -> Self {
        let one = || if with_losses { Server::with_clock(DURABLE) } else { Server::with(DURABLE) };
        let now = one();
        let switch = Switch::to(now.port);
        let pair = Self { now, copy: with_losses.then(one), switch };
        pair.follow();
        pair
    }

    /// Where replicas find it.
    pub fn port(&self) -> u16 {
        self.switch.port
    }

    /// The server that answers there.
    pub fn now(&mut self) -> &mut Server {
        &mut self.now
    }

    pub fn cli(&self, args: &[&str]) -> String {
        self.now.cli(args)
    }

    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    fn follow(&self) {
        if let Some(copy) = &self.copy {
            copy.cli(&["REPLICAOF", "127.0.0.1", &self.now.port.to_string()]);
        }
    }

    /// Whether the copy has what the server has.
    fn is_followed(&self) -> bool {
        let copy = self.copy.as_ref();
        copy.is_some_and(|copy| {
            copy.cli(&["INFO", "replication"]).contains("master_link_status:up")
        })
    }

    /// The copy stops following; the server goes on for a while, and dies. The copy, which is behind by
    /// that, takes over. False when it had not caught up before.
    pub fn fail_over(&mut self, behind: Duration) -> bool {
        let begun = Instant::now();
        while !self.is_followed() {
            if begun.elapsed() > Duration::from_secs(8) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let Some(mut copy) = self.copy.take() else { return false };
        copy.cli(&["REPLICAOF", "NO", "ONE"]);
        std::thread::sleep(behind);
        self.now.kill();
        std::mem::swap(&mut self.now, &mut copy);
        self.switch.turn(self.now.port);
        assert!(copy.run(), "redis does not come back");
        self.copy = Some(copy);
        self.follow();
        true
    }
}

//! How many bad tokens may a peer send before it waits?
//!
//! Never counts a token that was verified before: those are known without looking here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::refusal::{Code, Refusal};

/// How many bad tokens a peer may still send.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    peers: Mutex<HashMap<IpAddr, (u32, Timestamp)>>,
}

impl Throttle {
    /// BOUND: a bad token costs some 70 us; 50 at once and 10 a second keep that under a thousandth.
    const BURST: u32 = 50;
    const EVERY: Duration = Duration::from_millis(100);
    /// BOUND: peers of a sidecar are few.
    const PEERS_MAX: usize = 4096;

    pub(super) fn check(&self, peer: Option<IpAddr>, now: Timestamp) -> Result<(), Refusal> {
        let Some(peer) = peer else { return Ok(()) };
        let peers = self.peers.lock();
        let Some((spent, at)) = peers.get(&peer) else { return Ok(()) };
        if Self::left(*spent, *at, now) < Self::BURST {
            return Ok(());
        }
        let detail = "Too many calls (bad tokens). Nothing was sent. Wait 1 seconds.";
        let why = format!("`{peer}` sent too many tokens that are not valid");
        Err(Refusal::new(Code::RateLimited, detail).because(why).after(Duration::from_secs(1)))
    }

    pub(super) fn failed(&self, peer: Option<IpAddr>, now: Timestamp) {
        let Some(peer) = peer else { return };
        let mut peers = self.peers.lock();
        if peers.len() >= Self::PEERS_MAX && !peers.contains_key(&peer) {
            peers.retain(|_, (spent, at)| Self::left(*spent, *at, now) > 0);
            if peers.len() >= Self::PEERS_MAX {
                return;
            }
        }
        let (spent, at) = peers.entry(peer).or_insert((0, now));
        *spent = Self::left(*spent, *at, now).saturating_add(1);
        *at = now;
    }

    /// What of `spent` is still counted.
    fn left(spent: u32, at: Timestamp, now: Timestamp) -> u32 {
        let back = now.since(at).as_millis().checked_div(Self::EVERY.as_millis()).unwrap_or(0);
        spent.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX))
    }
}

//! Replicas that are restarted one after another while agents work: as a rollout of Kubernetes does it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::fleet::{DURABLE, store, until_ready};
use super::listeners::StopAtEnd;
use crate::support::agent::{Call, Reply, parse};
use crate::support::balancer::Balancer;
use crate::support::house::{House, configuration, refund};
use crate::support::redis::Server;
use crate::support::shop::Shop;

/// Restarts of each replica.
const ROUNDS: usize = 2;
/// Agents that read and refund all the time.
const AGENTS: usize = 4;

/// An agent as HTTP clients are: it keeps its connection, begins anew where nobody was there or an unused one was
/// closed under it, and asks again with the same key then. Nothing else is ever tried again.
struct Agent<'a> {
    token: &'a str,
    address: String,
    kept: Option<TcpStream>,
    /// Connections that were closed under it before a byte of an answer came.
    begun_again: usize,
}

impl Agent<'_> {
    fn ask(&mut self, call: &Call<'_>) -> Reply {
        let call = call.clone().bearer(self.token);
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < Duration::from_secs(60), "nobody answers: {call:?}");
            let (stream, was_used) = match self.kept.take() {
                Some(stream) => (stream, true),
                None => match TcpStream::connect(&self.address) {
                    Ok(stream) => (stream, false),
                    // Nobody is there just now: nothing was sent.
                    Err(_) => {
                        std::thread::sleep(Duration::from_millis(20));
                        continue;
                    }
                },
            };
            match exchange(stream, &call.bytes(&self.address, "keep-alive")) {
                Ok((reply, stream)) => {
                    let closes = reply.header("connection").is_some_and(|says| says == "close");
                    self.kept = (!closes).then_some(stream);
                    return reply;
                }
                // Not a byte came back on a connection that had waited: it was closed meanwhile.
                Err(came) => {
                    assert_eq!((came, was_used), (0, true), "an answer was cut: {call:?}");
                    self.begun_again += 1;
                }
            }
        }
    }
}

/// The whole answer; else how many bytes of it came.
fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Result<(Reply, TcpStream), usize> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (mut came, mut some) = (Vec::new(), [0; 4096]);
    if stream.write_all(bytes).is_err() {
        return Err(0);
    }
    loop {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return Err(came.len()),
            Ok(n) => came.extend(&some[..n]),
        }
        if let Some(reply) = parse(&came) {
            return Ok((reply, stream));
        }
    }
}

/// What all agents did.
#[derive(Default)]
struct Done {
    reads: AtomicUsize,
    refunds: AtomicUsize,
    begun_again: AtomicUsize,
}

/// Reads and refunds until `stop`, each refund of an order of its own, under a key of its own.
fn work(name: usize, token: &str, url: &str, (stop, done): (&AtomicBool, &Done)) {
    let address = url.replace("http://", "");
    let mut agent = Agent { token, address, kept: None, begun_again: 0 };
    for n in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let order = format!("A-{name}x{n}");
        let path = format!("/orders/{order}");
        let read = agent.ask(&Call::new("GET", &path));
        assert_eq!(read.status, 200, "{read:?}");
        let made = agent.ask(&refund(&order, "1.00", &format!("k-{order}")));
        assert_eq!(made.status, 200, "{made:?}");
        done.reads.fetch_add(1, Ordering::AcqRel);
        done.refunds.fetch_add(1, Ordering::AcqRel);
    }
    done.begun_again.fetch_add(agent.begun_again, Ordering::AcqRel);
}

/// Every refund that an agent was told of was made, once, and no other.
fn judge(shop: &Shop, houses: &[&House], done: &Done) {
    let made = shop.made();
    let mut orders: Vec<&str> = made.iter().map(|made| &*made.order).collect();
    orders.sort_unstable();
    orders.dedup();
    let told = done.refunds.load(Ordering::Acquire);
    assert_eq!((orders.len(), made.len()), (told, told), "each once");
    assert!(told > 40, "{told} refunds only");
    for house in houses {
        assert_eq!(house.verify().code, 0);
    }
    println!(
        "{} reads, {told} refunds, {} connections closed under an agent that waited",
        done.reads.load(Ordering::Acquire),
        done.begun_again.load(Ordering::Acquire)
    );
}

#[test]
fn two_replicas_on_redis_are_restarted_one_after_another_and_no_call_is_lost_or_doubled() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    // Agents know the balancer's address alone.
    let balancer = Balancer::before(&[]);
    let hosts = format!("hosts: [\"{}\"]\n{}", balancer.address(), store(redis.port, ""));
    let mut here = House::replica(&shop.url(), &hosts, None);
    let mut there = House::replica(&shop.url(), &hosts, Some(&here));
    until_ready(&here);
    until_ready(&there);
    balancer.set(&[&here.agents, &there.agents]);
    let (token, stop, done) = (here.token().to_owned(), AtomicBool::new(false), Done::default());
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for name in 0..AGENTS {
            let (token, url, both) = (&token, &balancer.url, (&stop, &done));
            scope.spawn(move || work(name, token, url, both));
        }
        for _ in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(700));
            roll(&mut here, &there, &balancer);
            std::thread::sleep(Duration::from_millis(700));
            roll(&mut there, &here, &balancer);
        }
        std::thread::sleep(Duration::from_millis(300));
    });
    judge(&shop, &[&here, &there], &done);
}

/// One goes when the other serves, and comes back at another address.
pub fn roll(goes: &mut House, stays: &House, balancer: &Balancer) {
    assert_eq!(goes.stop(), Some(0), "all that was in flight was answered");
    goes.again();
    until_ready(goes);
    balancer.set(&[&goes.agents, &stays.agents]);
}

#[test]
fn two_sidecars_with_a_store_each_are_restarted_in_turn_and_no_call_is_lost_or_doubled() {
    let shop = Shop::open();
    let open = || {
        let port = crate::support::free_port();
        let text = configuration(&shop.url(), "");
        let text = text.replacen("listen: 127.0.0.1:0", &format!("listen: 127.0.0.1:{port}"), 1);
        House::written(tempfile::tempdir().unwrap(), &text, "")
    };
    let mut houses = [open(), open()];
    let agents: Vec<_> = houses.iter().map(|h| (h.token().to_owned(), h.agents.clone())).collect();
    let (stop, done) = (AtomicBool::new(false), Done::default());
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for name in 0..AGENTS {
            let (token, url) = &agents[name % agents.len()];
            let both = (&stop, &done);
            scope.spawn(move || work(name, token, url, both));
        }
        for _ in 0..ROUNDS {
            for house in &mut houses {
                std::thread::sleep(Duration::from_millis(700));
                assert_eq!(house.stop(), Some(0), "all that was in flight was answered");
                house.again();
            }
        }
        std::thread::sleep(Duration::from_millis(300));
    });
    let [first, second] = &houses;
    judge(&shop, &[first, second], &done);
}

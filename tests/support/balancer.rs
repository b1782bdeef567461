//! One address before several replicas, as a Service of Kubernetes has it: each connection goes to one that takes
//! it, and stays there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// The balancer. It ends with the test's process.
pub struct Balancer {
    pub url: String,
    replicas: Arc<Mutex<Vec<String>>>,
}

impl Balancer {
    pub fn before(replicas: &[&str]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let own = Self { url, replicas: Arc::default() };
        own.set(replicas);
        let (replicas, turn) = (Arc::clone(&own.replicas), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for agent in socket.incoming().flatten() {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                let replicas = Arc::clone(&replicas);
                std::thread::spawn(move || carry(&agent, &replicas, turn));
            }
        });
        own
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Where they are now.
    pub fn set(&self, replicas: &[&str]) {
        *self.replicas.lock() = replicas.iter().map(|url| url.replace("http://", "")).collect();
    }
}

fn carry(agent: &TcpStream, replicas: &Mutex<Vec<String>>, turn: usize) {
    let known = replicas.lock().clone();
    let order = (0..known.len()).map(|n| &known[(turn + n) % known.len()]);
    // Who refuses is not ready: nothing was said to it.
    let Some(replica) = order.filter_map(|at| TcpStream::connect(at).ok()).next() else { return };
    let (from, to) = (agent.try_clone().unwrap(), replica.try_clone().unwrap());
    std::thread::spawn(move || copy(from, to));
    copy(replica, agent.try_clone().unwrap());
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut some = [0; 16 << 10];
    from.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    while let Ok(n @ 1..) = from.read(&mut some) {
        if to.write_all(&some[..n]).is_err() {
            break;
        }
    }
    // As the other side ended it.
    to.shutdown(Shutdown::Write).unwrap_or_default();
}

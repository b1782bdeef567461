//! The address of a server that may be another one tomorrow: forwards to whichever it is now, late, or
//! without giving its answers back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

struct Inside {
    target: Mutex<u16>,
    /// Answers stay here.
    holds: AtomicBool,
    /// Milliseconds that each answer takes longer.
    delay: AtomicU64,
    live: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

/// An address on loopback.
pub struct Switch {
    pub port: u16,
    inside: Arc<Inside>,
}

impl Switch {
    /// One that leads to `target`.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inside = Arc::new(Inside {
            target: Mutex::new(target),
            holds: AtomicBool::new(false),
            delay: AtomicU64::new(0),
            live: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&inside);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if own.is_over.load(Ordering::SeqCst) {
                    return;
                }
                join(&own, client);
            }
        });
        Self { port, inside }
    }

    /// Leads to another server from now on; whoever was connected is cut off.
    pub fn turn(&self, target: u16) {
        *self.inside.target.lock() = target;
        self.cut();
    }

    /// Ends every connection.
    pub fn cut(&self) {
        for stream in self.inside.live.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether what the server answers stays here: it is done, and nobody hears of it.
    pub fn hold(&self, yes: bool) {
        self.inside.holds.store(yes, Ordering::SeqCst);
    }

    /// Every answer takes so much longer.
    pub fn delay(&self, span: Duration) {
        self.inside.delay.store(span.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.inside.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // The listener waits for one more.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn join(inside: &Arc<Inside>, client: TcpStream) {
    let target = *inside.target.lock();
    // Nobody there: the client is cut off as by a server that is gone.
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
    if let (Ok(client), Ok(server)) = (client.try_clone(), server.try_clone()) {
        let mut live = inside.live.lock();
        live.extend([client, server]);
        // BOUND: only the latest are cut; older ones have long ended.
        let len = live.len();
        live.drain(..len.saturating_sub(400));
    }
    std::thread::spawn(move || pump(from, to));
    let inside = Arc::clone(inside);
    std::thread::spawn(move || answers(server, client, &inside));
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
        && to.write_all(&bytes[..count]).is_ok()
    {}
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Each answer so much later than it came, and none while they are held.
fn answers(mut from: TcpStream, mut to: TcpStream, inside: &Arc<Inside>) {
    let (queue, due) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    let (own, target) = (Arc::clone(inside), to.try_clone());
    std::thread::spawn(move || {
        for (at, bytes) in due {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            while own.holds.load(Ordering::SeqCst) && !own.is_over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
    {
        let late = Duration::from_millis(inside.delay.load(Ordering::SeqCst));
        if queue.send((Instant::now() + late, bytes[..count].to_vec())).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), target.map(|to| to.shutdown(Shutdown::Read)));
}

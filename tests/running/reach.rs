//! A freeze says how far it reaches: who follows, what was on its way, what waits.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fleet::{DURABLE, store, until_ready};
use crate::support::agent::Call;
use crate::support::house::House;
use crate::support::redis::Server;
use crate::support::shop::{Play, Shop};

fn freeze(house: &House, scope: &[&str]) -> Value {
    let asked = json!({ "scope": scope, "reason": "spike" });
    let made = house.console(Call::new("POST", "/v1/freezes").json(&asked));
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

/// How many follow the first freeze that is listed.
fn followed(house: &House) -> (Value, Value) {
    let first = &house.listed(&["freezes"])[0]["replicas"];
    (first["following"].clone(), first["of"].clone())
}

fn until_followed(house: &House, wanted: (u64, u64)) {
    let start = Instant::now();
    while followed(house) != (wanted.0.into(), wanted.1.into()) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", followed(house));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn fleet(shop: &Shop, redis: &Server) -> (House, House) {
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    let there = House::replica(&shop.url(), &store(redis.port, ""), Some(&here));
    until_ready(&here);
    until_ready(&there);
    (here, there)
}

#[test]
fn a_freeze_says_who_follows_what_is_in_flight_and_what_waits() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let (here, there) = fleet(&shop, &redis);
    assert_eq!(there.refund("A-1", "450.00", "held").code(), "approval_required");
    let approved = there.refund("A-2", "450.00", "approved");
    shop.play(Play::Slow(Duration::from_secs(3)));
    let (call, agents) = (there.refund_call("A-3", "5.00", "flies"), there.agents.clone());
    let flies = std::thread::spawn(move || call.send(&agents).unwrap());
    let start = Instant::now();
    while shop.made_of("A-3") == 0 {
        assert!(start.elapsed() < Duration::from_secs(3), "it did not leave");
        std::thread::sleep(Duration::from_millis(5));
    }
    let first = here.cli(&["freeze", "class/financial", "customer/ann", "--reason", "spike"]);
    assert_eq!(first.code, 0, "{first:?}");
    let (reach, rest) = first.out.split_once('\n').unwrap();
    let (took, met) = reach.split_once(" s on ").unwrap();
    assert_eq!(met, "2 of 2; 1 in flight will finish, 2 holds wait.", "{reach}");
    let took = took.strip_prefix("class/financial customer/ann frozen in ").unwrap();
    assert!(took.parse::<f64>().unwrap() < 1.0, "{reach}");
    let refused = there.refund("A-4", "5.00", "after");
    assert_eq!(refused.code(), "frozen", "{refused:?}");
    // What was approved waits as well, and what is in flight is answered.
    assert_eq!(there.approve(&approved.operation()).code, 0);
    let other = freeze(&there, &["agent/somebody-else"]);
    assert_eq!(
        (&other["in_flight"], &other["holds_waiting"], &other["counted"]),
        (&0.into(), &0.into(), &"all".into()),
        "{other}"
    );
    let again = freeze(&there, &["all"]);
    assert_eq!((&again["in_flight"], &again["holds_waiting"]), (&1.into(), &2.into()), "{again}");
    assert_eq!(flies.join().unwrap().status, 200);
    assert_eq!((shop.made_of("A-2"), shop.made_of("A-4")), (0, 0));
    assert!(rest.starts_with("Lift it with: tollhouse unfreeze fz_"), "{rest}");
    until_followed(&here, (2, 2));
    let table = here.cli(&["freezes"]).out;
    assert!(table.contains("FOLLOWED BY") && table.contains("  2 of 2\n"), "{table}");
}

#[test]
fn who_does_not_follow_is_told_and_who_left_is_not_waited_for() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let (here, mut there) = fleet(&shop, &redis);
    there.process.signal("STOP");
    let begun = Instant::now();
    let froze = here.cli(&["freeze", "class/financial", "--reason", "spike"]);
    there.process.signal("CONT");
    let words = " s on 1 of 2 (no effect begins on the others, reads there may go on); 0 in flight";
    assert!(froze.out.contains(words), "{froze:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // It hears of it when it goes on.
    until_followed(&here, (2, 2));
    assert_eq!(there.refund("A-1", "5.00", "k-1").code(), "frozen");
    assert_eq!(there.stop(), Some(0));
    let alone = freeze(&here, &["all"]);
    let replicas = &alone["replicas"];
    assert_eq!((&replicas["following"], &replicas["of"]), (&1.into(), &1.into()), "{alone}");
    // And one that comes follows what holds, from the start.
    there.again();
    until_ready(&there);
    until_followed(&here, (2, 2));
    assert_eq!(there.refund("A-1", "5.00", "k-1").code(), "frozen");
    assert_eq!(shop.made().len(), 0);
}

#[test]
fn one_that_died_is_forgotten_in_seconds_and_one_process_is_one_of_one() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let (here, mut there) = fleet(&shop, &redis);
    there.process.kill();
    let left = freeze(&here, &["all"]);
    assert_eq!(
        (&left["replicas"]["following"], &left["replicas"]["of"]),
        (&1.into(), &2.into()),
        "nobody knows yet that it died: {left}"
    );
    until_followed(&here, (1, 1));

    let alone = House::quick(&shop);
    assert_eq!(alone.refund("A-1", "450.00", "held").code(), "approval_required");
    let froze = alone.cli(&["freeze", "all", "--reason", "spike"]).out;
    let words = " s on 1 of 1; 0 in flight will finish, 1 hold waits.\n";
    assert!(froze.starts_with("all frozen in 0.") && froze.contains(words), "{froze}");
    assert_eq!(followed(&alone), (1.into(), 1.into()));
}

/// A door before the shop that can be shut: who connects waits, and is in when it opens again.
struct Door {
    port: u16,
    listener: Arc<std::net::TcpListener>,
    shut: Arc<AtomicBool>,
}

impl Door {
    fn before(shop: &Shop) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            // Room for one who was not let in yet.
            socket.listen(0).unwrap().into_std().unwrap()
        });
        listener.set_nonblocking(true).unwrap();
        let (listener, shut) = (Arc::new(listener), Arc::new(AtomicBool::new(false)));
        let port = listener.local_addr().unwrap().port();
        let (own, closed, to) = (Arc::downgrade(&listener), Arc::clone(&shut), shop.address);
        std::thread::spawn(move || {
            while let Some(listener) = own.upgrade() {
                let come = (!closed.load(Ordering::SeqCst)).then(|| listener.accept());
                drop(listener);
                if let Some(Ok((client, _))) = come {
                    client.set_nonblocking(false).unwrap();
                    let Ok(shop) = TcpStream::connect(to) else { continue };
                    pass(&client, &shop);
                    pass(&shop, &client);
                } else {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { port, listener, shut }
    }

    /// Fills the room before it. The visitors that fill it.
    fn shut(&self) -> Vec<TcpStream> {
        self.shut.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        let to = self.listener.local_addr().unwrap();
        let enter = || TcpStream::connect_timeout(&to, Duration::from_millis(200));
        std::iter::from_fn(|| enter().ok()).take(8).collect()
    }

    fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
    }
}

fn pass(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        // Whoever went away ends it.
        let _passed = std::io::copy(&mut from, &mut to).is_ok();
        let _ended = to.shutdown(std::net::Shutdown::Write).is_ok();
    });
}

#[test]
fn what_was_admitted_and_is_still_connecting_is_stopped_from_another_replica() {
    let (shop, redis) = (Shop::open(), Server::with(DURABLE));
    let door = Door::before(&shop);
    let here = House::replica(&shop.url(), &store(redis.port, ""), None);
    let behind = format!("http://127.0.0.1:{}", door.port);
    let there = House::replica(&behind, &store(redis.port, ""), Some(&here));
    until_ready(&here);
    until_ready(&there);
    assert_eq!(there.refund("A-1", "5.00", "warm").status, 200);
    let filled = door.shut();
    assert!(!filled.is_empty() && filled.len() < 8, "{} came in", filled.len());
    let (call, agents) = (there.refund_call("A-2", "5.00", "late"), there.agents.clone());
    let asked = std::thread::spawn(move || call.send(&agents).unwrap());
    let start = Instant::now();
    // The facts came over the connection that was open: it is admitted, and connects.
    let submitted = || here.listed(&["operations", "list", "--only", "submitted"]);
    while submitted().as_array().unwrap().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(3), "it was not admitted");
        std::thread::sleep(Duration::from_millis(10));
    }
    let froze = freeze(&here, &["class/financial"]);
    assert_eq!(froze["replicas"]["following"], 2, "{froze}");
    assert_eq!(froze["in_flight"], 1, "{froze}");
    door.open();
    drop(filled);
    let told = asked.join().unwrap();
    assert_eq!((told.status, &*told.code()), (503, "frozen"), "{told:?}");
    assert_eq!(told.json()["sent"], "no");
    assert_eq!((shop.made_of("A-1"), shop.made_of("A-2")), (1, 0));
    let op = there.console(Call::new("GET", &format!("/v1/operations/{}", told.operation())));
    assert_eq!(op.json()["state"], "not_sent", "{op:?}");
    // And is free to run once it is lifted.
    let id = froze["id"].as_str().unwrap();
    assert_eq!(here.cli(&["unfreeze", id]).code, 0);
    there.until(&there.refund_call("A-2", "5.00", "late"), |reply| reply.status == 200);
    assert_eq!(shop.made_of("A-2"), 1);
}

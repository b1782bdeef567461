//! What changes is told as it happens: to who may see it, to nobody else, and to so many at most.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Who, World};
use crate::support::agent::Call;

/// A stream of events that somebody opened.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(world: &World, who: Who, more: &[(&str, &str)]) -> Self {
        let address = world.url.strip_prefix("http://").unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut call = Call::new("GET", "/v1/events").bearer(&who.token());
        for (name, value) in more {
            call = call.header(name, value);
        }
        socket.write_all(&call.bytes(address, "keep-alive")).unwrap();
        Self(BufReader::new(socket))
    }

    fn status(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// The next event of one of these names; others are passed over. `None` when it stays quiet.
    fn next(&mut self, names: &[&str]) -> Option<(String, Value)> {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            if let Some(said) = line.trim().strip_prefix("event: ") {
                name = said.to_owned();
            }
            if let Some(data) = line.trim().strip_prefix("data: ")
                && names.contains(&&*name)
            {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }
}

#[test]
fn a_change_is_told_to_who_may_see_it_and_to_nobody_else() {
    let world = World::open();
    let mut acme = Stream::open(&world, Who::Acme, &[]);
    let mut other = Stream::open(&world, Who::Other, &[]);
    for stream in [&mut acme, &mut other] {
        let (_, hello) = stream.next(&["hello"]).unwrap();
        assert!(hello["at"].as_str().unwrap().starts_with("20"), "{hello}");
    }
    let op = world.held("A-1");
    let (_, change) = acme.next(&["change"]).unwrap();
    assert_eq!((change["op"].as_str(), &change["state"]), (Some(&*op), &json!("held")), "{change}");
    assert!(change["digest"].as_str().unwrap().starts_with("sha256:"), "{change}");
    let words: Vec<&String> = change.as_object().unwrap().keys().collect();
    assert_eq!(words, ["op", "state", "digest", "answers"], "it carries nobody's text");
    let target = format!("/v1/holds/{op}/deny");
    let deny = Call::new("POST", &target).json(&json!({ "reason": "no" }));
    assert_eq!(world.ask(Who::Acme, deny).status, 200);
    assert_eq!(acme.next(&["change"]).unwrap().1["state"], "refused");
    world.frozen(&["tenant/acme", "agent/nobody"]);
    assert_eq!(acme.next(&["frozen"]).unwrap().1["count"], 1);
    // Nothing of it is an event of theirs: neither the call, nor the stop, nor how much goes on.
    let heard = other.next(&["change", "frozen", "refresh", "calls"]);
    assert_eq!(heard, None, "another tenant's");
}

#[test]
fn who_was_away_is_told_to_look_again() {
    let world = World::open();
    let mut again = Stream::open(&world, Who::Ops, &[("Last-Event-ID", "7")]);
    assert_eq!(again.next(&["hello", "refresh"]).unwrap().0, "hello");
    assert_eq!(again.next(&["refresh", "change"]).unwrap().0, "refresh");
    // More at once than anybody reads one by one.
    let ops: Vec<String> = std::thread::scope(|scope| {
        let held = |n: usize| {
            let world = &world;
            scope.spawn(move || world.held(&format!("A-{n}")))
        };
        let threads: Vec<_> = (0..60).map(held).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ops.len(), 60);
    assert!(again.next(&["change", "refresh"]).is_some());
}

#[test]
fn so_many_pages_are_live_and_one_that_leaves_makes_room() {
    let world = World::open();
    let mut streams: Vec<Stream> =
        (0..64).map(|_| Stream::open(&world, Who::Viewer, &[])).collect();
    for stream in &mut streams {
        assert!(stream.status().contains(" 200 "));
    }
    let mut more = Stream::open(&world, Who::Viewer, &[]);
    let status = more.status();
    assert!(status.contains(" 503 "), "{status}");
    drop(streams.pop());
    let room = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        Stream::open(&world, Who::Viewer, &[]).status().contains(" 200 ")
    });
    assert!(room, "a place is free again");
}

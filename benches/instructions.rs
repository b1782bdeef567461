//! So many reads under `valgrind --tool=callgrind`, of which only those are counted: an owned read of 1 KiB
//! through the whole gate, and the same through the proxy's connection, the gate and the way out over sockets.
//!
//! `instructions gate|socket READS`, run by `benches/instructions`. What is counted is what the thread that
//! serves does inside a function whose name begins with `counted_`.

#[path = "inside.rs"]
mod inside;
#[path = "traffic/tokens.rs"]
mod tokens;
#[path = "traffic/wire.rs"]
mod wire;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tollhouse::call::Request;
use tollhouse::gate::Gate;
use tollhouse::outbound::{Outbound, Scene, Scripted};
use tollhouse::proxy::{Bounds, Hosts, Listener, Server, Service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Reads before those that are counted: token, pools and tables are warm.
const WARM: usize = 50;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [what, reads] if what == "gate" => reads.parse().map_err(|_| usage()).and_then(gate),
        [what, reads] if what == "socket" => reads.parse().map_err(|_| usage()).and_then(socket),
        _ => Err(usage()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    "usage: instructions gate|socket READS".into()
}

fn runtime() -> Result<Runtime, String> {
    let new = tokio::runtime::Builder::new_current_thread().enable_all().build();
    new.map_err(|e| e.to_string())
}

/// A charge of 1 KiB.
fn charge() -> String {
    let fill = "A plain sentence about nothing, as long as it has to be. ".repeat(13);
    format!(
        "{{\"id\":\"ch_0000000_1\",\"object\":\"charge\",\"amount\":60000,\"amount_captured\":60000,\"captured\":true,\
         \"created\":1772280000,\"currency\":\"usd\",\"customer\":\"cus_0000000\",\"disputed\":false,\"metadata\":{{}},\
         \"description\":\"{fill}\"}}"
    )
}

fn gate(reads: usize) -> Result<(), String> {
    let body = bytes::Bytes::from(charge());
    let script = Scripted::by(move |_| Scene::json(200, body.clone()));
    let inside = inside::gate(1, "http://127.0.0.1:9", Some(Outbound::Scripted(script)))?;
    let token = inside.tokens.first().ok_or("no token")?;
    let read = inside::request(Method::GET, "/v1/charges/ch_0000000_1", token, "")?;
    let runtime = runtime()?;
    let warm = runtime.block_on(all(&inside.gate, &read, WARM));
    let counted = counted_gate(&runtime, &inside.gate, &read, reads);
    if warm == WARM && counted == reads { Ok(()) } else { Err("a read was not answered".into()) }
}

#[inline(never)]
fn counted_gate(runtime: &Runtime, gate: &Gate, read: &Request, reads: usize) -> usize {
    runtime.block_on(all(gate, read, reads))
}

async fn all(gate: &Gate, read: &Request, reads: usize) -> usize {
    let mut answered = 0_usize;
    for _ in 0..reads {
        let answer = gate.handle(read.clone()).await;
        answered = answered.saturating_add(usize::from(answer.status == 200));
    }
    answered
}

fn socket(reads: usize) -> Result<(), String> {
    let upstream = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = upstream.local_addr().map_err(|e| e.to_string())?;
    std::thread::spawn(move || serve(&upstream));
    let inside = inside::gate(1, &format!("http://{address}"), None)?;
    let token = inside.tokens.first().ok_or("no token")?.clone();
    let gate = Arc::new(inside.gate);
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = socket.local_addr().map_err(|e| e.to_string())?;
    let runtime = runtime()?;
    let server = {
        let _inside = runtime.enter();
        let server = Server::start(service(&gate), Bounds::default());
        let listener = Listener { number: 0, socket, hosts: Hosts::Any, tls: None };
        server.open(server.ready(listener).map_err(|e| e.to_string())?);
        server
    };
    // Keys and log stay where they are until the end.
    let _home = inside.home;
    let (mut stream, request) = (connect(address)?, written(address, &token));
    let (tell_warm, warm) = oneshot::channel();
    let (tell_counted, counted) = oneshot::channel();
    let asking = std::thread::spawn(move || {
        let warm = ask(&mut stream, &request, WARM);
        tell_warm.send(()).unwrap_or_default();
        // The server waits on nothing but this connection when the counting begins.
        std::thread::sleep(Duration::from_millis(200));
        let counted = ask(&mut stream, &request, reads);
        tell_counted.send(()).unwrap_or_default();
        warm.and(counted)
    });
    runtime.block_on(warm).map_err(|e| e.to_string())?;
    counted_socket(&runtime, counted);
    let asked = asking.join().map_err(|_| "the asking thread ended")?;
    runtime.block_on(server.stop(Duration::from_secs(1)));
    asked
}

#[inline(never)]
fn counted_socket(runtime: &Runtime, done: oneshot::Receiver<()>) {
    // An early end is told by the thread that asks.
    runtime.block_on(done).unwrap_or_default();
}

fn service(gate: &Arc<Gate>) -> Service {
    let (serving, refusing) = (Arc::clone(gate), Arc::clone(gate));
    Service {
        handle: Arc::new(move |request| {
            let gate = Arc::clone(&serving);
            Box::pin(async move { gate.handle(request).await })
        }),
        turn_back: Arc::new(move |refusal, _| refusing.turn_back_unread(refusal)),
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).map_err(|e| e.to_string())
}

fn written(address: SocketAddr, token: &str) -> String {
    format!(
        "GET /v1/charges/ch_0000000_1 HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Stripe/v1 PythonBindings/12.0.0\r\n\
         Accept: */*\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
}

fn ask(stream: &mut TcpStream, request: &str, times: usize) -> Result<(), String> {
    for _ in 0..times {
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let answer = message(stream)?.ok_or("the connection ended")?;
        if wire::status(&answer) != Some(200) {
            return Err(format!("answered {}", String::from_utf8_lossy(&answer)));
        }
    }
    Ok(())
}

/// One whole message; nothing when the other side is gone.
fn message(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, String> {
    let (mut bytes, mut part) = (Vec::new(), [0_u8; 8192]);
    loop {
        let read = stream.read(&mut part).map_err(|e| e.to_string())?;
        bytes.extend_from_slice(part.get(..read).unwrap_or_default());
        if let Some(head) = wire::head(&bytes)
            && wire::whole(&bytes, &head).is_some()
        {
            return Ok(Some(bytes));
        }
        if read == 0 {
            return Ok(None);
        }
    }
}

/// An upstream for a few connections.
fn serve(upstream: &TcpListener) {
    let body = charge();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for stream in upstream.incoming().flatten() {
        let (mut stream, answer) = (stream, answer.clone());
        std::thread::spawn(move || {
            while let Ok(Some(_)) = message(&mut stream) {
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}

//! The control of every benchmark: the same server and the same way out with nothing between them.
//! What Tollhouse costs is what it takes more than this in the same run.
//!
//! `bare LISTEN UPSTREAM`, such as `bare 127.0.0.1:8700 http://127.0.0.1:9000`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tollhouse::call::{Answer, Body, Request};
use tollhouse::outbound::{Connection, Exchange, Network, Outbound, Outgoing, Upstream};
use tollhouse::proxy::{Bounds, Hosts, Listener, Server, Service, problem};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream] = arguments.as_slice() else {
        eprintln!("usage: bare LISTEN UPSTREAM");
        return ExitCode::from(2);
    };
    match serve(listen, upstream) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bare: {why}");
            ExitCode::from(2)
        }
    }
}

fn serve(listen: &str, upstream: &str) -> Result<(), String> {
    let to = Arc::new(Upstream::parse("upstream", upstream)?);
    let outbound = Arc::new(Outbound::Network(Network::new([])?));
    let socket = std::net::TcpListener::bind(listen).map_err(|e| format!("{listen}: {e}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let service = Service {
            handle: Arc::new(move |request| {
                let (outbound, to) = (Arc::clone(&outbound), Arc::clone(&to));
                Box::pin(async move { forward(&outbound, &to, request).await })
            }),
            turn_back: Arc::new(|refusal, _| problem(&refusal)),
        };
        let server = Server::start(service, Bounds::default());
        let ready = server.ready(Listener { number: 0, socket, hosts: Hosts::Any, tls: None });
        let ready = ready.map_err(|e| format!("{listen}: {e}"))?;
        println!("{}", server.open(ready).address());
        tokio::signal::ctrl_c().await.map_err(|e| e.to_string())?;
        server.stop(Duration::from_secs(5)).await;
        Ok(())
    })
}

/// Sends the request on as it came, once.
async fn forward(outbound: &Outbound, to: &Upstream, request: Request) -> Answer {
    let headers = request.headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
    let Request { method, target, body, .. } = request;
    let send = Outgoing { method, target, headers, body };
    match outbound.exchange(to, send, Connection::Pooled).await {
        Exchange::Answered(reply) => Answer {
            status: reply.status,
            reason: None,
            headers: reply.headers,
            body: reply.body.into(),
        },
        Exchange::NotSent(why) => failed(502, why),
        Exchange::Unknown(why) => failed(504, why),
    }
}

fn failed(status: u16, why: String) -> Answer {
    Answer { status, reason: None, headers: HeaderMap::new(), body: Body::from(why) }
}

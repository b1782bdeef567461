//! Bare pingora as its manual has it: `ProxyHttp` before one upstream, one thread, mimalloc, nothing else.
//!
//! `pingora_proxy LISTEN UPSTREAM`, addresses both. Built only for `benches/peers`, with `--features peers`.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::prelude::{HttpPeer, ProxyHttp, Result, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare(std::net::SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (listen, upstream) = match arguments.as_slice() {
        [listen, upstream] => (listen, upstream.parse()),
        _ => {
            eprintln!("usage: pingora_proxy LISTEN UPSTREAM");
            return ExitCode::from(2);
        }
    };
    let Ok(upstream) = upstream else {
        eprintln!("pingora_proxy: the upstream is no address");
        return ExitCode::from(2);
    };
    let conf =
        ServerConf { threads: 1, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare(upstream));
    service.add_tcp(listen);
    server.add_service(service);
    let _configuration = Arc::clone(&server.configuration);
    server.run_forever()
}

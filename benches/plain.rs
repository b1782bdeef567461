//! The plain pattern: pingora's own HTTP server session and connector, the whole body first, one exchange in a
//! detached task, and nothing between them. What a judged call costs is told against this; nothing here is
//! ours. [`bare`](bare.rs) is the same on our own server and our own way out.
//!
//! `plain LISTEN UPSTREAM`, such as `plain 127.0.0.1:8700 127.0.0.1:9000`. One thread, mimalloc, like Tollhouse.

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, Version, header};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::HttpPeer;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY_BYTES_MAX: usize = 1 << 20;
const ANSWER_BYTES_MAX: usize = 8 << 20;
const TIMEOUT: Duration = Duration::from_secs(20);
/// RFC 9110 s7.6.1, and those of the time before it.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

struct Call {
    head: RequestHeader,
    body: Bytes,
}

struct Reply {
    head: ResponseHeader,
    body: Bytes,
}

struct Plain {
    connector: Connector,
    peer: HttpPeer,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream] = arguments.as_slice() else {
        eprintln!("usage: plain LISTEN UPSTREAM");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve(listen, upstream)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("plain: {why}");
            ExitCode::from(2)
        }
    }
}

async fn serve(listen: &str, upstream: &str) -> std::io::Result<()> {
    let address: std::net::SocketAddr = upstream.parse().map_err(std::io::Error::other)?;
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.read_timeout = Some(TIMEOUT);
    peer.options.write_timeout = Some(TIMEOUT);
    peer.options.idle_timeout = Some(Duration::from_secs(30));
    let app = Arc::new(Plain { connector: Connector::new(None), peer });
    let listener = TcpListener::bind(listen).await?;
    println!("{}", listener.local_addr()?);
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        tokio::spawn(connection(Arc::clone(&app), tcp, stopped.clone()));
    }
}

async fn connection(app: Arc<Plain>, tcp: TcpStream, stopped: ShutdownWatch) {
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    let mut stream: L4Stream = tcp.into();
    stream.set_socket_digest(digest);
    let mut next: Option<Stream> = Some(Box::new(stream));
    while let Some(stream) = next {
        next = app.process_new(stream, &stopped).await;
    }
}

#[async_trait]
impl HttpServerApp for Plain {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let mut stopped = shutdown.clone();
        let read = tokio::select! {
            biased;
            read = session.read_request() => read,
            _ = stopped.wait_for(|stopped| *stopped) => return None,
        };
        if !read.ok()? {
            return None;
        }
        session.set_read_timeout(Some(Duration::from_secs(10)));
        session.set_write_timeout(Some(Duration::from_secs(10)));
        session.set_total_drain_timeout(Some(Duration::from_secs(2)));
        let body = timeout(TIMEOUT, whole_body(&mut session)).await.ok()??;
        let call = Call { head: session.req_header().clone(), body };
        let app = Arc::clone(self);
        let reply = tokio::spawn(async move { app.exchange(call).await }).await.ok()??;
        write(&mut session, reply).await?;
        let keep = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok().flatten()?;
        Some(ReusedHttpStream::from_reusable_stream(stream, keep))
    }
}

async fn whole_body(session: &mut ServerSession) -> Option<Bytes> {
    if session.is_body_empty() {
        return Some(Bytes::new());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await.ok()? {
        if body.len().saturating_add(chunk.len()) > BODY_BYTES_MAX {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body.freeze())
}

async fn write(session: &mut ServerSession, reply: Reply) -> Option<()> {
    let Reply { mut head, body } = reply;
    head.insert_header(header::CONTENT_LENGTH, body.len()).ok()?;
    let head = HttpTask::Header(Box::new(head), false);
    let tasks = vec![head, HttpTask::Body(Some(body), false), HttpTask::Done];
    session.response_duplex_vec(tasks).await.ok().map(drop)
}

impl Plain {
    async fn exchange(&self, call: Call) -> Option<Reply> {
        let Call { mut head, body } = call;
        for name in HOP_BY_HOP {
            head.remove_header(name);
        }
        head.remove_header(&header::CONTENT_LENGTH);
        let sends = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        if sends || !body.is_empty() {
            head.insert_header(header::CONTENT_LENGTH, body.len()).ok()?;
        }
        head.set_version(Version::HTTP_11);
        head.insert_header(header::HOST, self.peer._address.to_string()).ok()?;
        let (mut session, _) = self.connector.get_http_session(&self.peer).await.ok()?;
        session.set_read_timeout(self.peer.options.read_timeout);
        session.set_write_timeout(self.peer.options.write_timeout);
        session.write_request_header(Box::new(head)).await.ok()?;
        if !body.is_empty() {
            session.write_request_body(body, true).await.ok()?;
        }
        session.finish_request_body().await.ok()?;
        loop {
            session.read_response_header().await.ok()?;
            if !session.response_header()?.status.is_informational() {
                break;
            }
        }
        let mut head = session.response_header()?.clone();
        let mut answer = BytesMut::new();
        while let Some(chunk) = session.read_response_body().await.ok()? {
            if answer.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
                return None;
            }
            answer.extend_from_slice(&chunk);
        }
        for name in HOP_BY_HOP {
            head.remove_header(name);
        }
        self.connector
            .release_http_session(session, &self.peer, self.peer.options.idle_timeout)
            .await;
        Some(Reply { head, body: answer.freeze() })
    }
}

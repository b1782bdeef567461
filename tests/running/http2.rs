//! The whole process over HTTP/2 on either side, and event streams through it, with clients and
//! upstreams that keep to the rules.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::support::agent::{Call, Reply, parse};
use crate::support::house::{House, configuration};
use crate::support::shop::Shop;

const PATIENCE: Duration = Duration::from_secs(20);

/// What one answer came to.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// An agent that speaks HTTP/2.
struct Agent {
    send: h2::client::SendRequest<Bytes>,
    token: String,
    authority: String,
}

impl Agent {
    async fn of(house: &House) -> Self {
        let authority = house.agents.strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(&authority).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { send, token: house.token().to_owned(), authority }
    }

    async fn begin(
        &self,
        method: &str,
        target: &str,
        (fields, body): (&[(&str, &str)], &str),
    ) -> Result<Response<RecvStream>, h2::Error> {
        let uri = format!("http://{}{target}", self.authority);
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut send = self.send.clone().ready().await?;
        let request = request.body(()).unwrap();
        let (response, mut stream) = send.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::from(body.to_owned()), true)?;
        }
        timeout(PATIENCE, response).await.expect("an answer in time")
    }

    async fn call(&self, method: &str, target: &str, sent: (&[(&str, &str)], &str)) -> Answer {
        let (parts, mut incoming) = self.begin(method, target, sent).await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = timeout(PATIENCE, incoming.data()).await.unwrap() {
            let chunk = chunk.unwrap();
            incoming.flow_control().release_capacity(chunk.len()).unwrap();
            body.extend(chunk);
        }
        let body = String::from_utf8(body).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn refund(&self, order: &str, key: &str) -> Answer {
        let body = json!({ "order": order, "amount": "25.00", "currency": "USD" }).to_string();
        let fields = [("content-type", "application/json"), ("idempotency-key", key)];
        self.call("POST", "/refunds", (&fields, &body)).await
    }
}

/// Asks the shop, which keeps its connections.
fn ask(url: &str, call: &Call<'_>) -> Reply {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(&call.bytes(address, "keep-alive")).unwrap();
    let mut bytes = vec![0; 1 << 16];
    let mut seen = 0;
    loop {
        let more = stream.read(&mut bytes[seen..]).unwrap();
        assert!(more > 0, "closed within the answer");
        seen += more;
        if let Some(reply) = parse(&bytes[..seen]) {
            return reply;
        }
    }
}

/// A shop that speaks HTTP/2: the one behind it does the work.
struct Front {
    address: SocketAddr,
    refuse: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Front {
    async fn of(shop: &Shop) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (refuse, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (refusing, counted, url) = (Arc::clone(&refuse), Arc::clone(&connections), shop.url());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (refusing, url) = (Arc::clone(&refusing), url.clone());
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let post = request.method() == "POST";
                        let refused = |left: usize| left.checked_sub(1);
                        if post
                            && refusing
                                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, refused)
                                .is_ok()
                        {
                            respond.send_reset(Reason::REFUSED_STREAM);
                            continue;
                        }
                        let url = url.clone();
                        tokio::spawn(async move {
                            let (parts, mut incoming) = request.into_parts();
                            let mut body = Vec::new();
                            while let Some(Ok(chunk)) = incoming.data().await {
                                body.extend(chunk);
                            }
                            let reply = tokio::task::spawn_blocking(move || {
                                let target =
                                    parts.uri.path_and_query().unwrap().as_str().to_owned();
                                let mut call = Call::new(parts.method.as_str(), &target);
                                for (name, value) in &parts.headers {
                                    if name != "content-length" {
                                        call = call.header(name.as_str(), value.to_str().unwrap());
                                    }
                                }
                                call.body = String::from_utf8(body).unwrap();
                                ask(&url, &call)
                            });
                            let reply = reply.await.unwrap();
                            let response = Response::builder()
                                .status(reply.status)
                                .header("content-type", "application/json")
                                .body(())
                                .unwrap();
                            if let Ok(mut send) = respond.send_response(response, false) {
                                send.send_data(Bytes::from(reply.body), true).unwrap_or_default();
                            }
                        });
                    }
                });
            }
        });
        Self { address, refuse, connections }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_http_2_is_judged_like_any_other() {
    let shop = Shop::open();
    let front = Front::of(&shop).await;
    let house = House::configured(&front.url(), ", http: 2", "");
    let agent = Agent::of(&house).await;
    let read = agent.call("GET", "/orders/A-1", (&[], "")).await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(read.headers["tollhouse-decision"], "allow");
    assert_eq!(agent.call("GET", "/orders/B-1", (&[], "")).await.status, 404);
    let first = agent.refund("A-1", "k-1").await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = agent.refund("A-1", "k-1").await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    // The same under the other protocol is the same.
    let other = house.refund("A-1", "25.00", "k-1");
    assert_eq!((other.status, &other.body), (200, &first.body));
    assert_eq!(shop.made_of("A-1"), 1);
    // 64 at once on one connection.
    let calls = (0..64).map(|_| agent.refund("A-2", "k-2"));
    for answer in futures_util::future::join_all(calls).await {
        assert!(matches!(answer.status, 200 | 409), "{answer:?}");
    }
    assert_eq!(shop.made_of("A-2"), 1);
    // Facts and reads share a connection, effects have their own.
    for _ in 0..10 {
        assert_eq!(agent.call("GET", "/orders/A-1", (&[], "")).await.status, 200);
    }
    let reads = shop.seen().iter().filter(|seen| seen.line.starts_with("GET")).count();
    let connections = front.connections.load(Ordering::SeqCst);
    assert!(connections < reads, "{connections} for {reads}");
    // A stream that was refused was not processed: the same key may run again.
    front.refuse.store(1, Ordering::SeqCst);
    let refused = agent.refund("A-3", "k-3").await;
    assert_eq!((refused.status, &*refused.code()), (502, "upstream_unreachable"), "{refused:?}");
    assert_eq!(shop.made_of("A-3"), 0);
    assert_eq!(agent.refund("A-3", "k-3").await.status, 200);
    assert_eq!(shop.made_of("A-3"), 1);
    // The credential went along, the agent's token did not.
    let sent = shop.posts();
    assert!(sent.iter().all(|seen| {
        seen.header("authorization").is_some_and(|v| v.contains(crate::support::house::SECRET))
    }));
    drop(agent);
    assert_eq!(house.verify().code, 0);
}

/// Each is a request, and refused by the same rules as over HTTP/1.1; nothing reaches the shop.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_over_http_1_is_refused_over_http_2() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let agent = Agent::of(&house).await;
    let json = ("content-type", "application/json");
    let refund = r#"{"order":"A-1","amount":"25.00","currency":"USD"}"#;
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: &[Row<'_>] = &[
        ("GET with a body", "GET", "/orders/A-1", &[], "a"),
        ("a dot segment", "GET", "/orders/../orders/A-1", &[], ""),
        ("a coded dot segment", "GET", "/orders/%2e%2e/orders/A-1", &[], ""),
        ("two slashes", "GET", "//orders/A-1", &[], ""),
        ("a coded slash", "GET", "/orders%2FA-1", &[], ""),
        ("a matrix parameter", "GET", "/orders/A-1;a=b", &[], ""),
        (
            "a method override",
            "POST",
            "/refunds",
            &[json, ("x-http-method-override", "GET")],
            refund,
        ),
        ("an underscore for a dash", "POST", "/refunds", &[json, ("idempotency_key", "k")], refund),
        (
            "two keys",
            "POST",
            "/refunds",
            &[json, ("idempotency-key", "a"), ("idempotency-key", "b")],
            refund,
        ),
        ("two types", "POST", "/refunds", &[json, json], refund),
        ("a coded body", "POST", "/refunds", &[json, ("content-encoding", "gzip")], refund),
        ("no type", "POST", "/refunds", &[], refund),
        ("one key twice", "POST", "/refunds", &[json], r#"{"order":"A-1","order":"A-2"}"#),
        (
            "only events, of what is judged",
            "GET",
            "/orders/A-1",
            &[("accept", "text/event-stream")],
            "",
        ),
        (
            "only events, of an effect",
            "POST",
            "/refunds",
            &[json, ("accept", "text/event-stream")],
            refund,
        ),
    ];
    for (name, method, target, fields, body) in table {
        let answer = agent.call(method, target, (fields, body)).await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["sent"], "no", "{name}");
    }
    let why = agent.call("GET", "/orders/A-1", (&[("accept", "text/event-stream")], "")).await;
    assert!(why.body.contains("judged whole before any of it leaves"), "{why:?}");
    assert_eq!(shop.seen().len(), 0, "{:?}", shop.seen());
}

/// What the upstream of events is told to do.
#[derive(Debug)]
enum Step {
    Event(&'static str),
    End,
    Cut,
}

/// An upstream that sends what it is told to, over either HTTP, one answer at a time.
struct Events {
    address: SocketAddr,
    steps: mpsc::UnboundedSender<Step>,
    gone: mpsc::UnboundedReceiver<()>,
}

impl Events {
    async fn open(http: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (steps, told) = mpsc::unbounded_channel();
        let (left, gone) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(told));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, left) = (Arc::clone(&told), left.clone());
                tokio::spawn(async move {
                    match http {
                        1 => events_1(stream, told, left).await,
                        _ => events_2(stream, told, left).await,
                    };
                });
            }
        });
        Self { address, steps, gone }
    }

    fn send(&self, step: Step) {
        self.steps.send(step).unwrap();
    }
}

type Told = Arc<Mutex<mpsc::UnboundedReceiver<Step>>>;

async fn events_1(
    mut stream: TcpStream,
    told: Told,
    left: mpsc::UnboundedSender<()>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.ok()?;
    let mut told = told.lock().await;
    loop {
        let mut byte = [0; 1];
        let step = tokio::select! {
            step = told.recv() => step?,
            _ = stream.read(&mut byte) => {
                left.send(()).ok()?;
                return None;
            }
        };
        match step {
            Step::Event(text) => {
                let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                stream.write_all(chunk.as_bytes()).await.ok()?;
            }
            Step::End => {
                stream.write_all(b"0\r\n\r\n").await.ok()?;
                return None;
            }
            Step::Cut => return None,
        }
    }
}

async fn events_2(stream: TcpStream, told: Told, left: mpsc::UnboundedSender<()>) -> Option<()> {
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let (told, left) = (Arc::clone(&told), left.clone());
        tokio::spawn(async move {
            let answer = Response::builder().header("content-type", "text/event-stream");
            let mut send: SendStream<Bytes> =
                respond.send_response(answer.body(()).unwrap(), false).ok()?;
            let mut told = told.lock().await;
            loop {
                let step = tokio::select! {
                    step = told.recv() => step?,
                    _ = std::future::poll_fn(|cx| send.poll_reset(cx)) => {
                        left.send(()).ok()?;
                        return None;
                    }
                };
                match step {
                    Step::Event(text) => send.send_data(Bytes::from(text), false).ok()?,
                    Step::End => return send.send_data(Bytes::new(), true).ok(),
                    Step::Cut => {
                        send.send_reset(Reason::INTERNAL_ERROR);
                        return None::<()>;
                    }
                }
            }
        });
    }
    None
}

/// An agent's side of a stream, over either HTTP.
enum Taking {
    One(TcpStream, Vec<u8>),
    Two(RecvStream),
}

impl Taking {
    async fn begin(house: &House, http: u8) -> Self {
        let fields = [("accept", "text/event-stream")];
        if http == 2 {
            let agent = Agent::of(house).await;
            let response = agent.begin("GET", "/products", (&fields, "")).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            assert!(!response.headers().contains_key("content-length"));
            return Self::Two(response.into_body());
        }
        let address = house.agents.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let call =
            Call::new("GET", "/products").bearer(house.token()).header(fields[0].0, fields[0].1);
        stream.write_all(&call.bytes(address, "close")).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{head}");
        assert!(!head.contains("content-length"), "{head}");
        Self::One(stream, Vec::new())
    }

    /// Waits until `text` came, and nothing else.
    async fn takes(&mut self, text: &str) {
        match self {
            Self::One(stream, read) => {
                let wire = format!("{:x}\r\n{text}\r\n", text.len());
                while read.len() < wire.len() {
                    let more = timeout(PATIENCE, stream.read_buf(read)).await.unwrap().unwrap();
                    assert!(more > 0, "closed before `{text}`");
                }
                assert_eq!(String::from_utf8_lossy(read), wire);
                read.clear();
            }
            Self::Two(incoming) => {
                let chunk = timeout(PATIENCE, incoming.data()).await.unwrap().unwrap().unwrap();
                incoming.flow_control().release_capacity(chunk.len()).unwrap();
                assert_eq!(chunk, text);
            }
        }
    }

    /// Whether it ends whole, once it ends; what comes before is thrown away.
    async fn ends_whole(&mut self) -> bool {
        let end = async {
            match self {
                Self::One(stream, read) => {
                    while stream.read_buf(read).await.unwrap_or(0) > 0 {}
                    read.ends_with(b"0\r\n\r\n")
                }
                Self::Two(incoming) => loop {
                    match incoming.data().await {
                        None => return true,
                        Some(Err(_)) => return false,
                        Some(Ok(chunk)) => {
                            incoming.flow_control().release_capacity(chunk.len()).unwrap();
                        }
                    }
                },
            }
        };
        timeout(PATIENCE, end).await.expect("an end")
    }
}

/// The states of the streams that have ended, by the record.
fn ended(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![house.audit()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
                let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else { continue };
                if record["kind"] == "ended" {
                    assert_eq!(record["action"], "orders.product.list", "{record}");
                    found.push(record["state"].as_str().unwrap().to_owned());
                }
            }
        }
    }
    found
}

async fn says_that_it_ended(house: &House, states: &[&str]) {
    let start = Instant::now();
    while ended(house) != states {
        assert!(start.elapsed() < PATIENCE, "{:?}", ended(house));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_one_by_one_and_every_end_is_told() {
    for (agents, upstream) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        let mut events = Events::open(upstream).await;
        let more = format!(", http: {upstream}, timeout: {{ stream: 4s, stream_idle: 1s }}");
        let mut house = House::configured(&format!("http://{}", events.address), &more, "");
        let way = format!("{agents} to {upstream}");

        let mut taking = Taking::begin(&house, agents).await;
        for text in ["data: a\n\n", ": heartbeat\n\n", "event: b\ndata: c\n\n"] {
            events.send(Step::Event(text));
            taking.takes(text).await;
        }
        events.send(Step::End);
        assert!(taking.ends_whole().await, "{way}");
        says_that_it_ended(&house, &["whole"]).await;

        let mut taking = Taking::begin(&house, agents).await;
        events.send(Step::Event("data: a\n\n"));
        taking.takes("data: a\n\n").await;
        events.send(Step::Cut);
        assert!(!taking.ends_whole().await, "{way}");
        says_that_it_ended(&house, &["whole", "upstream"]).await;

        // The agent leaves, nothing is sent: the upstream is told all the same.
        let mut taking = Taking::begin(&house, agents).await;
        events.send(Step::Event("data: a\n\n"));
        taking.takes("data: a\n\n").await;
        drop(taking);
        timeout(Duration::from_millis(900), events.gone.recv()).await.expect(&way);
        says_that_it_ended(&house, &["whole", "upstream", "agent"]).await;

        // Silence, and heartbeats without end.
        let mut taking = Taking::begin(&house, agents).await;
        events.send(Step::Event("data: a\n\n"));
        let start = Instant::now();
        assert!(!taking.ends_whole().await, "{way}");
        assert!(start.elapsed() < Duration::from_secs(3), "{way}: {:?}", start.elapsed());
        events.gone.recv().await.unwrap();
        let mut taking = Taking::begin(&house, agents).await;
        let steps = events.steps.clone();
        let beat = tokio::spawn(async move {
            while steps.send(Step::Event(": heartbeat\n\n")).is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let start = Instant::now();
        assert!(!taking.ends_whole().await, "{way}");
        let span = start.elapsed();
        assert!(span > Duration::from_secs(3) && span < Duration::from_secs(8), "{way}: {span:?}");
        beat.abort();
        says_that_it_ended(&house, &["whole", "upstream", "agent", "quiet", "time"]).await;

        let (console, _) = house.operator();
        let metrics = Call::new("GET", "/metrics").send(&console).unwrap().body;
        for state in ["whole", "upstream", "agent", "quiet", "time"] {
            let line = format!("tollhouse_streams_total{{ended=\"{state}\",upstream=\"shop\"}} 1");
            assert!(metrics.contains(&line), "{way}: `{line}` not in {metrics}");
        }
        assert_eq!(house.stop(), Some(0), "{way}");
        assert_eq!(house.verify().code, 0, "{way}");
    }
}

/// A stream has no end of its own: it is cut before the time for what is in flight is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_in_time() {
    for http in [1, 2] {
        let events = Events::open(http).await;
        let home = tempfile::tempdir().unwrap();
        let text = configuration(&format!("http://{}", events.address), &format!(", http: {http}"));
        let mut house = House::written(home, &format!("drain: 4s\n{text}"), "");
        let mut taking = Taking::begin(&house, http).await;
        events.send(Step::Event("data: a\n\n"));
        taking.takes("data: a\n\n").await;
        let start = Instant::now();
        house.term();
        assert!(!taking.ends_whole().await);
        let span = start.elapsed();
        assert!(span > Duration::from_secs(2) && span < Duration::from_secs(4), "{span:?}");
        assert_eq!(house.process.wait().code(), Some(0));
        assert_eq!(ended(&house), ["stopped"]);
    }
}

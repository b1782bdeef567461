//! What happens when twice as much is asked for as an upstream can do? A real Tollhouse before an upstream
//! that works at twenty calls at once, 40 ms each (500 a second), asked without load, then for twice that.
//!
//! `flood TOLLHOUSE [SECONDS]`: how many were answered and how many sent away, how fast, effects apart, and
//! what the process held. It reports and asserts nothing: its figures count on a machine that does nothing
//! else, with a release build.

#[path = "traffic/tokens.rs"]
mod tokens;
#[path = "traffic/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

/// Calls that the upstream works at at once, and how long each takes.
const AT_ONCE: usize = 20;
const TAKES: Duration = Duration::from_millis(40);
/// A second, when it is full.
const SATURATED: u64 = 500;
/// Agents' connections: enough that nobody waits for one.
const CONNECTIONS: u64 = 300;
/// One call in so many is an effect, and one asks for what no pack knows.
const EFFECT_EVERY: u64 = 20;
const UNKNOWN_EVERY: u64 = 25;
const CALLERS: u64 = 50;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = words.get(1).map_or(Ok(5), |text| text.parse::<u64>());
    let done = match (words.first(), seconds) {
        (Some(binary), Ok(seconds)) => run(binary, seconds.clamp(1, 600)),
        (_, _) => Err("usage: flood TOLLHOUSE [SECONDS]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("flood: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(binary: &str, seconds: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
        let upstream = listener.local_addr().map_err(|e| e.to_string())?.to_string();
        tokio::spawn(upstream_of(listener));
        let home = tempfile::tempdir().map_err(|e| e.to_string())?;
        let house = House::start(binary, home.path(), &upstream)?;
        println!("an upstream that can do {SATURATED} a second; {seconds} s each");
        let span = Duration::from_secs(seconds);
        load(&house, SATURATED / 10, Duration::from_secs(1)).await?;
        let before = house.resident()?;
        let calm = load(&house, SATURATED / 10, span).await?;
        calm.print("a tenth of it", &house)?;
        let flood = load(&house, SATURATED.saturating_mul(2), span).await?;
        flood.print("twice as much", &house)?;
        let grown = house.resident()?.saturating_sub(before);
        let (usual, busy) = (calm.p99(Told::Unknown), flood.p99(Told::Unknown));
        let shed = flood.p99(Told::Overloaded);
        println!("resident memory grew by {:.1} MiB", kib(grown));
        println!("a refusal's p99: {usual:?} without load, {busy:?} in the flood");
        println!("p99 of what was sent away: {shed:?}");
        Ok(())
    })
}

fn kib(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / 1024.0
}

/// What an agent was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Read,
    Effect,
    Unknown,
    Overloaded,
    EffectNot,
    Other(u16),
}

#[derive(Debug, Default)]
struct Seen(BTreeMap<Told, Vec<Duration>>);

impl Seen {
    fn p99(&self, told: Told) -> Duration {
        let mut all = self.0.get(&told).cloned().unwrap_or_default();
        all.sort_unstable();
        let at = all.len().saturating_mul(99).checked_div(100).unwrap_or(0);
        all.get(at).or(all.last()).copied().unwrap_or_default()
    }

    fn print(&self, what: &str, house: &House) -> Result<(), String> {
        println!("-- {what}; {:.1} MiB resident", kib(house.resident()?));
        for (told, all) in &self.0 {
            println!("   {:>7} {told:?}, p99 {:?}", all.len(), self.p99(*told));
        }
        Ok(())
    }
}

/// Asks `rate` times a second, each when it is due, whatever became of those before.
async fn load(house: &House, rate: u64, span: Duration) -> Result<Seen, String> {
    let (from, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let all = rate.saturating_mul(span.as_secs());
    let mut agents = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, seen, house) = (Arc::clone(&next), Arc::clone(&seen), house.clone_address());
        agents.spawn(async move {
            let mut line = Line::open(&house.agents).await?;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= all {
                    return Ok::<(), String>(());
                }
                let nanos = n.saturating_mul(1_000_000_000).checked_div(rate).unwrap_or(0);
                let due = from.checked_add(Duration::from_nanos(nanos)).unwrap_or(from);
                sleep_until(due).await;
                let (request, kind) = house.request(n);
                let status = line.ask(&request).await?;
                let told = match (kind, status) {
                    (Kind::Unknown, 403) => Told::Unknown,
                    (Kind::Effect, 200) => Told::Effect,
                    (Kind::Effect, 503) => Told::EffectNot,
                    (Kind::Read, 200) => Told::Read,
                    (_, 503) => Told::Overloaded,
                    (_, other) => Told::Other(other),
                };
                // From when it was due: a generator that is late is part of what an agent waits for.
                seen.lock().0.entry(told).or_default().push(due.elapsed());
            }
        });
    }
    while let Some(agent) = agents.join_next().await {
        agent.map_err(|e| e.to_string())??;
    }
    Ok(std::mem::take(&mut *seen.lock()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Effect,
    Unknown,
}

struct House {
    process: Option<Child>,
    agents: String,
    tokens: Arc<Vec<String>>,
    /// Of effects: no order is refunded twice.
    run: Arc<AtomicU64>,
}

impl House {
    fn start(binary: &str, home: &Path, upstream: &str) -> Result<Self, String> {
        let write = |name: &str, text: &str| {
            std::fs::write(home.join(name), text).map_err(|e| e.to_string())
        };
        tokens::write(&home.display().to_string(), &CALLERS.to_string())?;
        write("ops-token", "an-operator-token-of-some-length")?;
        write("vendor-key", "sk_test_of_the_bench")?;
        let text = include_str!("stand.yaml").replace("STORE", "embedded:store");
        let text = text.replace("UPSTREAM", &format!("http://{upstream}"));
        write("tollhouse.yaml", &text)?;
        let mut process = Command::new(binary)
            .args(["run", "--config", "tollhouse.yaml"])
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{binary}: {e}"))?;
        let out = process.stdout.take().ok_or("it has no output")?;
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        let mut lines = lines.filter(|line| line.starts_with("agents"));
        let line = lines.next().ok_or("it did not start")?;
        let agents = line.split_once("http://").map(|(_, rest)| rest.trim().to_owned());
        let tokens = std::fs::read_to_string(home.join("tokens")).map_err(|e| e.to_string())?;
        Ok(Self {
            process: Some(process),
            agents: agents.ok_or("it does not say where it is")?,
            tokens: Arc::new(tokens.lines().map(str::to_owned).collect()),
            run: Arc::default(),
        })
    }

    fn clone_address(&self) -> Self {
        let (agents, tokens, run) =
            (self.agents.clone(), Arc::clone(&self.tokens), Arc::clone(&self.run));
        Self { process: None, agents, tokens, run }
    }

    fn request(&self, n: u64) -> (String, Kind) {
        let caller = n.checked_rem(CALLERS).unwrap_or(0);
        let token = self.tokens.get(usize::try_from(caller).unwrap_or(0));
        let token = token.map_or("", String::as_str);
        let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\n", self.agents);
        if n.is_multiple_of(EFFECT_EVERY) {
            let order = self.run.fetch_add(1, Ordering::Relaxed);
            let body = format!("charge=ch_{caller:07}_{order}&amount=100");
            let length = body.len();
            let form = "Content-Type: application/x-www-form-urlencoded\r\n";
            let text = format!(
                "POST /v1/refunds HTTP/1.1\r\n{head}{form}Content-Length: {length}\r\n\r\n{body}"
            );
            return (text, Kind::Effect);
        }
        if n.is_multiple_of(UNKNOWN_EVERY) {
            return (format!("GET /v1/nothing HTTP/1.1\r\n{head}\r\n"), Kind::Unknown);
        }
        (format!("GET /v1/charges/ch_{caller:07}_1 HTTP/1.1\r\n{head}\r\n"), Kind::Read)
    }

    /// KiB.
    fn resident(&self) -> Result<u64, String> {
        let id = self.process.as_ref().ok_or("only an address")?.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"));
        let status = status.map_err(|e| e.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let count = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
        count.ok_or_else(|| "no VmRSS".to_owned())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            if process.kill().is_ok() {
                drop(process.wait());
            }
        }
    }
}

struct Line {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Line {
    async fn open(to: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(to).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// The status of the answer.
    async fn ask(&mut self, request: &str) -> Result<u16, String> {
        self.stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        let message = self.message().await.ok_or("a connection ended")?;
        wire::status(&message).ok_or_else(|| "no status".to_owned())
    }

    async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = wire::head(&self.read).and_then(|head| wire::whole(&self.read, &head));
            if let Some(end) = end {
                return Some(self.read.drain(..end).collect());
            }
            if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }
}

async fn upstream_of(listener: TcpListener) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(vendor(Line { stream, read: Vec::new() }, Arc::clone(&places)));
    }
}

/// Charges that belong to whom their name says, and refunds of them; each takes its time and a place.
async fn vendor(mut line: Line, places: Arc<Semaphore>) -> Option<()> {
    loop {
        let message = line.message().await?;
        let text = String::from_utf8(message).ok()?;
        let target = text.split(' ').nth(1)?;
        let body = match target.strip_prefix("/v1/charges/") {
            Some(charge) => charge_of(charge.split('?').next()?)?,
            None => r#"{"id":"re_1","object":"refund","status":"succeeded"}"#.to_owned(),
        };
        let place = places.acquire().await.ok()?;
        sleep(TAKES).await;
        drop(place);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        line.stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    }
}

fn charge_of(charge: &str) -> Option<String> {
    let customer = charge.split('_').nth(1)?;
    Some(format!(
        r#"{{"id":"{charge}","object":"charge","customer":"cus_{customer}","currency":"usd","amount":60000,"amount_captured":60000,"amount_refunded":0,"captured":true,"disputed":false,"created":1772280000,"payment_intent":"pi_{customer}"}}"#
    ))
}

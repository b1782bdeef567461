//! Who is told: a receiver of webhooks that does with them what a test says, and keeps all that came.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::hmac;
use serde_json::Value;

use super::shop::read_request;

/// The example key of the Standard Webhooks specification.
pub const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the receiver does with a message.
#[derive(Debug, Clone)]
pub enum Play {
    /// Answers with this status.
    Status(u16),
    /// Sends whoever tells it elsewhere.
    Redirect(String),
    /// Takes it and says nothing for that long.
    Silent(Duration),
    /// Answers well, with a body that never ends.
    Endless,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Told {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }

    /// `webhook-id`.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// `type`.
    pub fn news(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether it is signed with a key, worked out from the specification alone.
    pub fn is_signed(&self, key: &str) -> bool {
        let content = format!("{}.{}.{}", self.id(), self.header("webhook-timestamp"), self.body);
        let expected = signature(key, &content);
        self.header("webhook-signature").split(' ').any(|one| one == expected)
    }
}

/// `v1,` and the HMAC of what is signed.
pub fn signature(key: &str, content: &str) -> String {
    let bytes = STANDARD.decode(key.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    format!("v1,{}", STANDARD.encode(hmac::sign(&key, content.as_bytes())))
}

/// A receiver.
pub struct Receiver {
    pub address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    door: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Inside {
    play: Play,
    told: Vec<Told>,
    is_open: bool,
}

impl Receiver {
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inside = Inside { play: Play::Status(200), told: Vec::new(), is_open: true };
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            inside: Arc::new(Mutex::new(inside)),
            door: Mutex::new(None),
        };
        receiver.serve(listener);
        receiver
    }

    fn serve(&self, listener: TcpListener) {
        let inside = Arc::clone(&self.inside);
        *self.door.lock() = Some(std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !inside.lock().is_open {
                    return;
                }
                let inside = Arc::clone(&inside);
                // A connection that breaks is the other side's affair.
                std::thread::spawn(move || converse(stream, &inside));
            }
        }));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn play(&self, play: Play) {
        self.inside.lock().play = play;
    }

    /// Takes no connection any more.
    pub fn close(&self) {
        self.inside.lock().is_open = false;
        // Wakes the thread that accepts; its listener ends with it.
        drop(TcpStream::connect(self.address));
        if let Some(door) = self.door.lock().take() {
            door.join().unwrap();
        }
    }

    /// Takes connections again, at the same address.
    pub fn reopen(&self) {
        self.inside.lock().is_open = true;
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    /// All that came so far.
    pub fn told(&self) -> Vec<Told> {
        self.inside.lock().told.clone()
    }

    /// What came at a path.
    pub fn told_at(&self, path: &str) -> Vec<Told> {
        self.told().into_iter().filter(|told| told.path == path).collect()
    }

    /// Waits until so many came at a path, and gives them.
    pub fn until(&self, path: &str, count: usize) -> Vec<Told> {
        self.until_within(path, count, Duration::from_secs(10))
    }

    pub fn until_within(&self, path: &str, count: usize, patience: Duration) -> Vec<Told> {
        let end = Instant::now() + patience;
        loop {
            let told = self.told_at(path);
            if told.len() >= count {
                return told;
            }
            assert!(Instant::now() < end, "{count} at {path} never came: {told:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}

fn converse(stream: TcpStream, inside: &Mutex<Inside>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let told = read(&mut reader)?;
        let play = {
            let mut inside = inside.lock();
            inside.told.push(told);
            inside.play.clone()
        };
        let (status, more) = match play {
            Play::Status(status) => (status, String::new()),
            Play::Redirect(to) => (307, format!("Location: {to}\r\n")),
            Play::Silent(span) => {
                std::thread::sleep(span);
                (200, String::new())
            }
            Play::Endless => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                writer.write_all(head.as_bytes()).ok()?;
                loop {
                    writer.write_all(b"400\r\n").ok()?;
                    writer.write_all(&[b'x'; 1024]).ok()?;
                    writer.write_all(b"\r\n").ok()?;
                }
            }
        };
        let answer = format!("HTTP/1.1 {status} Said\r\n{more}Content-Length: 2\r\n\r\nok");
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

fn read(reader: &mut impl BufRead) -> Option<Told> {
    let seen = read_request(reader)?;
    let path = seen.line.split(' ').nth(1)?.to_owned();
    Some(Told { path, headers: seen.headers, body: seen.body })
}

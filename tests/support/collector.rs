//! A collector of OpenTelemetry: keeps the bytes that come, and reads them with OpenTelemetry's own classes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::Value;

/// What it does with a batch.
#[derive(Debug, Clone, Copy)]
pub enum Play {
    Status(u16),
    /// Takes it and never answers.
    Silent,
}

#[derive(Debug, Clone)]
pub struct Batch {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub was_taken: bool,
}

pub struct Collector {
    pub address: SocketAddr,
    inside: Arc<Mutex<(Play, Vec<Batch>)>>,
}

impl Collector {
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new((Play::Status(200), Vec::new())));
        let shared = Arc::clone(&inside);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || converse(stream, &shared));
            }
        });
        Self { address, inside }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn play(&self, play: Play) {
        self.inside.lock().0 = play;
    }

    pub fn batches(&self) -> Vec<Batch> {
        self.inside.lock().1.clone()
    }

    /// Everything that was taken of a signal, as OpenTelemetry's own classes read it.
    fn read(&self, signal: &str) -> Vec<Value> {
        let path = format!("/v1/{signal}");
        let taken = self.batches().into_iter().filter(|one| one.was_taken && one.path == path);
        let lines: String =
            taken.map(|one| format!("{signal} {}\n", STANDARD.encode(&one.body))).collect();
        let python = super::root().join(".venv/bin/python");
        assert!(python.exists(), "{} is missing: run `./test`, which makes it", python.display());
        let script = super::root().join("tests/otlp/decode.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "it is not OTLP, or `./test` did not install its classes");
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every span.
    pub fn spans(&self) -> Vec<Value> {
        each(&self.read("traces"), ["resourceSpans", "scopeSpans", "spans"])
    }

    /// Every log line.
    pub fn logs(&self) -> Vec<Value> {
        each(&self.read("logs"), ["resourceLogs", "scopeLogs", "logRecords"])
    }

    /// What tells who told.
    pub fn resources(&self) -> Vec<Value> {
        let of = |one: &Value| one["resourceSpans"][0]["resource"].clone();
        self.read("traces").iter().map(of).collect()
    }

    /// Spans, once some satisfy.
    pub fn until(&self, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            let spans = self.spans();
            if done(&spans) {
                return spans;
            }
            assert!(Instant::now() < end, "never came: {spans:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn each(all: &[Value], way: [&str; 3]) -> Vec<Value> {
    let mut found: Vec<Value> = all.to_vec();
    for step in way {
        found = found
            .iter()
            .flat_map(|one| one[step].as_array().cloned().unwrap_or_default())
            .collect();
    }
    found
}

/// An attribute of a span or a line, whatever its type, as text.
pub fn attribute(of: &Value, name: &str) -> Option<String> {
    let all = of["attributes"].as_array()?;
    let value = &all.iter().find(|one| one["key"] == name)?["value"];
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value["arrayValue"]["values"].as_array() {
        Some(many) => {
            Some(many.iter().map(|one| text(&one["stringValue"])).collect::<Vec<_>>().join(" "))
        }
        None => Some(text(value.as_object()?.values().next()?)),
    }
}

/// An id of a span, in hexadecimal.
pub fn id(of: &Value, name: &str) -> String {
    let coded = of[name].as_str().unwrap_or_default();
    STANDARD.decode(coded).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn converse(stream: TcpStream, inside: &Mutex<(Play, Vec<Batch>)>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let (mut headers, mut length) = (Vec::new(), 0_usize);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            let name = name.to_ascii_lowercase();
            if name == "content-length" {
                length = value.parse().ok()?;
            }
            headers.push((name, value.to_owned()));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let play = {
            let mut inside = inside.lock();
            let play = inside.0;
            let was_taken = matches!(play, Play::Status(200));
            inside.1.push(Batch { path, headers, body, was_taken });
            play
        };
        match play {
            Play::Status(status) => {
                let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                writer.write_all(answer.as_bytes()).ok()?;
            }
            Play::Silent => std::thread::sleep(Duration::from_secs(60)),
        }
    }
}

//! A client that speaks HTTP/1.1 by hand, one connection a request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// `code` of a problem, or nothing.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The operation that the answer names.
    pub fn operation(&self) -> String {
        self.header("tollhouse-operation").unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

/// A request that is to be sent.
#[derive(Debug, Clone)]
pub struct Call<'c> {
    pub method: &'c str,
    pub target: &'c str,
    pub headers: Vec<(&'c str, String)>,
    pub body: String,
}

impl<'c> Call<'c> {
    pub fn new(method: &'c str, target: &'c str) -> Self {
        Self { method, target, headers: Vec::new(), body: String::new() }
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &'c str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self.header("Content-Type", "application/json")
    }

    /// Its bytes.
    pub fn bytes(&self, address: &str, connection: &str) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\nContent-Length: {}\r\n",
            self.method,
            self.target,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        format!("{head}\r\n{}", self.body).into_bytes()
    }

    /// Sends it and reads the answer to its end; an error when the other side is not there or goes.
    pub fn send(&self, url: &str) -> std::io::Result<Reply> {
        self.send_within(url, Duration::from_secs(60))
    }

    /// The same, for an agent that waits so long at most for the next bytes.
    pub fn send_within(&self, url: &str, patience: Duration) -> std::io::Result<Reply> {
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&self.bytes(address, "close"))?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        parse(&bytes).ok_or_else(|| std::io::Error::other("no whole answer came"))
    }
}

/// Reads one whole answer.
pub fn parse(bytes: &[u8]) -> Option<Reply> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut status = lines.next()?.splitn(3, ' ');
    let (code, reason) = (status.nth(1)?.parse().ok()?, status.next().unwrap_or("").to_owned());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let body = rest.get(..length)?.to_owned();
    Some(Reply { status: code, reason, headers, body })
}

//! An upstream that follows a script: a shop with orders and refunds, as the pack `orders` describes
//! it. It trusts its caller, has no limit and ignores idempotency keys: whatever is sent twice shows.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

/// What the shop does with a refund.
#[derive(Debug, Clone, Copy)]
pub enum Play {
    /// Makes it and answers.
    Answer,
    /// Makes it, waits, answers.
    Slow(Duration),
    /// Makes it and closes without a word.
    Drop,
    /// Makes it and closes within the answer.
    HalfAnswer,
    /// Makes nothing and answers with this status.
    Status(u16),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }
}

/// A refund that was made: money that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub key: String,
    pub order: String,
    pub amount: String,
}

/// The shop. Orders `A-..` are Ann's, `B-..` are Bob's; each was paid with 600.00 USD.
pub struct Shop {
    pub address: SocketAddr,
    books: Arc<Mutex<Books>>,
    door: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Books {
    play: Play,
    reads_take: Duration,
    reads_say: u16,
    refunded: BTreeMap<String, i64>,
    made: Vec<Made>,
    seen: Vec<Seen>,
    placed_at: String,
    is_open: bool,
    shuts: Option<SocketAddr>,
    connections: usize,
}

impl Shop {
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let yesterday = tollhouse::clock::Clock::System.now().minus(Duration::from_secs(86_400));
        let books = Books {
            play: Play::Answer,
            reads_take: Duration::ZERO,
            reads_say: 200,
            refunded: BTreeMap::new(),
            made: Vec::new(),
            seen: Vec::new(),
            placed_at: yesterday.to_string(),
            is_open: true,
            shuts: None,
            connections: 0,
        };
        let shop = Self {
            address: listener.local_addr().unwrap(),
            books: Arc::new(Mutex::new(books)),
            door: Mutex::new(None),
        };
        shop.serve(listener);
        shop
    }

    fn serve(&self, listener: TcpListener) {
        let books = Arc::clone(&self.books);
        *self.door.lock() = Some(std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !books.lock().is_open {
                    return;
                }
                books.lock().connections += 1;
                let books = Arc::clone(&books);
                // A connection that breaks is the other side's affair.
                std::thread::spawn(move || converse(stream, &books));
            }
        }));
    }

    /// Takes no new connection from the next read on; those that stand go on.
    pub fn shut_at_the_next_read(&self) {
        self.books.lock().shuts = Some(self.address);
    }

    /// Takes connections again, at the same address.
    pub fn reopen(&self) {
        self.door.lock().take().unwrap().join().unwrap();
        self.books.lock().is_open = true;
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is done with refunds from now on.
    pub fn play(&self, play: Play) {
        self.books.lock().play = play;
    }

    /// How long a read takes from now on.
    pub fn reads_take(&self, span: Duration) {
        self.books.lock().reads_take = span;
    }

    /// The status of every read from now on; 200 is what there is.
    pub fn reads_say(&self, status: u16) {
        self.books.lock().reads_say = status;
    }

    /// The refunds that were made.
    pub fn made(&self) -> Vec<Made> {
        self.books.lock().made.clone()
    }

    /// The refunds that were made of an order.
    pub fn made_of(&self, order: &str) -> usize {
        self.made().iter().filter(|made| made.order == order).count()
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.books.lock().seen.clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.books.lock().connections
    }

    /// The requests that ask for an effect.
    pub fn posts(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.line.starts_with("POST ")).collect()
    }
}

fn converse(stream: TcpStream, books: &Mutex<Books>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let seen = read_request(&mut reader)?;
        books.lock().seen.push(seen.clone());
        let mut words = seen.line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        if method == "GET" {
            let span = books.lock().reads_take;
            std::thread::sleep(span);
            let shuts = books.lock().shuts.take();
            if let Some(address) = shuts {
                books.lock().is_open = false;
                // Wakes the thread that accepts; its listener ends with it.
                drop(TcpStream::connect(address));
                while TcpStream::connect(address).is_ok() {}
            }
            let says = books.lock().reads_say;
            let (status, body) = match says {
                200 => look(&books.lock(), target),
                status => (status, json!({ "ok": false, "error": "not today" })),
            };
            say(&mut writer, status, &body)?;
            continue;
        }
        let play = books.lock().play;
        if let Play::Status(status) = play {
            say(&mut writer, status, &json!({ "ok": false, "error": "not today" }))?;
            continue;
        }
        let body = refund(&mut books.lock(), &seen)?;
        match play {
            Play::Answer | Play::Status(_) => say(&mut writer, 200, &body)?,
            Play::Slow(span) => {
                std::thread::sleep(span);
                say(&mut writer, 200, &body)?;
            }
            Play::Drop => return None,
            Play::HalfAnswer => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"id\"";
                writer.write_all(head.as_bytes()).ok()?;
                return None;
            }
        }
    }
}

/// One request, whole.
pub fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Seen { line: line.trim_end().to_owned(), headers, body })
}

fn look(books: &Books, target: &str) -> (u16, Value) {
    match target.strip_prefix("/orders/") {
        Some(id) if id.starts_with("A-") || id.starts_with("B-") => (200, order(books, id)),
        Some(_) | None => (404, json!({ "ok": false, "error": "not found" })),
    }
}

fn order(books: &Books, id: &str) -> Value {
    let customer = if id.starts_with("A-") { "ann" } else { "bob" };
    let refunded = books.refunded.get(id).copied().unwrap_or(0);
    json!({
        "id": id,
        "customer_ref": customer,
        "email": format!("{customer}@shop.example"),
        "total": { "value": "600.00", "currency": "USD" },
        "refunded": { "value": format!("{}.{:02}", refunded / 100, refunded % 100), "currency": "USD" },
        "placed_at": books.placed_at,
        "status": "paid",
        "disputed": false,
    })
}

fn refund(books: &mut Books, seen: &Seen) -> Option<Value> {
    let asked: Value = serde_json::from_str(&seen.body).ok()?;
    let (order, amount) = (asked["order"].as_str()?, asked["amount"].as_str()?);
    let minor: i64 = amount.replace('.', "").parse().ok()?;
    *books.refunded.entry(order.to_owned()).or_default() += minor;
    books.made.push(Made {
        key: seen.header("idempotency-key").unwrap_or("none").to_owned(),
        order: order.to_owned(),
        amount: amount.to_owned(),
    });
    Some(json!({
        "id": format!("R-{}", books.made.len()),
        "order": order,
        "amount": amount,
        "currency": "USD",
        "status": "succeeded",
        "created_at": tollhouse::clock::Clock::System.now().to_string(),
    }))
}

fn say(writer: &mut TcpStream, status: u16, body: &Value) -> Option<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    writer.write_all(format!("{head}{body}").as_bytes()).ok()
}

//! An upstream that answers at once: charges that belong to whom their name says, refunds, customers, products.
//!
//! `ch_7_42` is charge 42 of customer `cus_7`, in 1 KiB; `ch30_7_42` the same in 30 KiB. A list of charges has 24.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll;

use super::wire;

const LISTENER: u64 = u64::MAX;
const KIB: usize = 1024;

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    left: Vec<u8>,
}

pub fn serve(listen: &str) -> Result<(), String> {
    let listener = TcpListener::bind(listen).map_err(|e| format!("{listen}: {e}"))?;
    println!("{}", listener.local_addr().map_err(|e| e.to_string())?);
    run(&listener).map_err(|e| e.to_string())
}

fn run(listener: &TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut scratch = vec![0_u8; 64 * KIB];
    let answers = Answers::new();
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(e) if e == rustix::io::Errno::INTR => continue,
            other => other?,
        };
        for event in &events {
            let name = event.data.u64();
            if name == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let at = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len().saturating_sub(1)
                    });
                    epoll::add(
                        &poll,
                        &stream,
                        epoll::EventData::new_u64(u64::try_from(at).unwrap_or(LISTENER)),
                        epoll::EventFlags::IN,
                    )?;
                    if let Some(place) = connections.get_mut(at) {
                        *place = Some(Connection { stream, read: Vec::new(), left: Vec::new() });
                    }
                }
                continue;
            }
            let at = usize::try_from(name).unwrap_or(usize::MAX);
            let Some(place) = connections.get_mut(at) else { continue };
            let open = place.as_mut().is_some_and(|one| one.turn(&answers, &mut scratch));
            if let (false, Some(_)) = (open, place.take_if(|_| !open)) {
                free.push(at);
            }
        }
    }
}

impl Connection {
    /// Reads what is there and answers it; whether it goes on.
    fn turn(&mut self, answers: &Answers, scratch: &mut [u8]) -> bool {
        match self.stream.read(scratch) {
            Ok(0) => return false,
            Ok(read) => self.read.extend_from_slice(scratch.get(..read).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
        let mut used = 0;
        while let Some(rest) = self.read.get(used..)
            && let Some(head) = wire::head(rest)
            && let Some(end) = wire::whole(rest, &head)
        {
            answers.answer(rest, head.length, end, &mut self.left);
            used = used.saturating_add(end);
        }
        self.read.drain(..used);
        self.flush()
    }

    /// Writes all of it: an answer is small, and who does not read it waits for it.
    fn flush(&mut self) -> bool {
        let mut at = 0;
        while let Some(rest) = self.left.get(at..)
            && !rest.is_empty()
        {
            match self.stream.write(rest) {
                Ok(written) => at = at.saturating_add(written),
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return false,
            }
        }
        self.left.clear();
        true
    }
}

/// The parts of answers that are always the same.
struct Answers {
    fill: String,
    lines: String,
    list: String,
}

impl Answers {
    fn new() -> Self {
        let line = |n: usize| {
            format!(
                "{{\"id\":\"txn_{n:08}\",\"object\":\"line\",\"amount\":{n},\"currency\":\"usd\",\"livemode\":false,\"note\":null}},"
            )
        };
        let lines: String = (0..280).map(line).collect();
        let list: String =
            (0..24).map(|_| format!("{},", charge("CUSTOMER", "ch_LIST", "", KIB, ""))).collect();
        Self {
            fill: "A plain sentence about nothing, as long as it has to be. ".repeat(600),
            lines,
            list: list.trim_end_matches(',').to_owned(),
        }
    }

    fn answer(&self, message: &[u8], head: usize, end: usize, out: &mut Vec<u8>) {
        let text = message.get(..end).and_then(|m| std::str::from_utf8(m).ok()).unwrap_or("");
        let (head, body) = text.split_at_checked(head).unwrap_or((text, ""));
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let json = match (method, target.split('?').next().unwrap_or("")) {
            ("GET", "/v1/charges") => {
                let customer = target.rsplit("customer=").next().unwrap_or("");
                let data = self.list.replace("CUSTOMER", customer.split('&').next().unwrap_or(""));
                format!("{{\"object\":\"list\",\"has_more\":false,\"data\":[{data}]}}")
            }
            ("GET", path) => match path.rsplit('/').next().unwrap_or("") {
                id if id.starts_with("ch30_") => {
                    charge(customer_of(id), id, &self.lines, 30 * KIB, &self.fill)
                }
                id if id.starts_with("ch_") => charge(customer_of(id), id, "", KIB, &self.fill),
                id => filled(
                    &format!(
                        "{{\"id\":\"{id}\",\"object\":\"product\",\"active\":true,\"name\":\"A thing\""
                    ),
                    KIB,
                    &self.fill,
                ),
            },
            ("POST", "/v1/refunds") => refund(body),
            (_, path) => {
                let id = path.rsplit('/').next().unwrap_or("");
                filled(
                    &format!("{{\"id\":\"{id}\",\"object\":\"customer\",\"balance\":0"),
                    KIB,
                    &self.fill,
                )
            }
        };
        let length = json.len();
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_0123456789\r\nContent-Length: ");
        out.extend_from_slice(length.to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(json.as_bytes());
    }
}

fn customer_of(id: &str) -> &str {
    id.split('_').nth(1).unwrap_or("")
}

/// A charge of exactly `size` bytes, as far as `fill` reaches.
fn charge(customer: &str, id: &str, lines: &str, size: usize, fill: &str) -> String {
    let customer =
        if customer == "CUSTOMER" { customer.to_owned() } else { format!("cus_{customer}") };
    let start = format!(
        "{{\"id\":\"{id}\",\"object\":\"charge\",\"amount\":60000,\"amount_captured\":60000,\"amount_refunded\":0,\
         \"balance_transaction\":\"txn_1\",\"billing_details\":{{\"address\":{{\"city\":null,\"country\":\"NL\",\"line1\":null,\
         \"postal_code\":\"1011\"}},\"email\":null,\"name\":\"Ann Example\",\"phone\":null}},\"captured\":true,\
         \"created\":1772280000,\"currency\":\"usd\",\"customer\":\"{customer}\",\"disputed\":false,\"livemode\":false,\
         \"metadata\":{{\"order\":\"A-19\",\"shop\":\"example\"}},\"outcome\":{{\"network_status\":\"approved_by_network\",\
         \"risk_level\":\"normal\",\"type\":\"authorized\"}},\"paid\":true,\"payment_intent\":\"pi_{id}\",\"status\":\"succeeded\",\
         \"lines\":[{}]",
        lines.trim_end_matches(',')
    );
    filled(&start, size, fill)
}

fn filled(start: &str, size: usize, fill: &str) -> String {
    let before = ",\"description\":\"";
    let room = size.saturating_sub(start.len()).saturating_sub(before.len()).saturating_sub(2);
    format!("{start}{before}{}\"}}", fill.get(..room).unwrap_or(fill))
}

fn refund(form: &str) -> String {
    let field = |name: &str| {
        form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or("")
    };
    let (charge, amount) = (field("charge"), field("amount"));
    let id = charge.replacen("ch", "re", 1);
    format!(
        "{{\"id\":\"{id}\",\"object\":\"refund\",\"amount\":{amount},\"charge\":\"{charge}\",\"created\":1772280000,\
         \"currency\":\"usd\",\"payment_intent\":\"pi_{charge}\",\"reason\":null,\"status\":\"succeeded\"}}"
    )
}

//! The judging upstream: four vendors of one shop, that count what they do. It trusts its caller and has
//! no limit: whatever is sent twice or beyond the payment shows. What it does wrong is in the seed.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tollhouse::clock::{Clock, Timestamp};

use super::dice::Dice;

/// How far a vendor can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// It knows a key again, for forty seconds, and is trusted to.
    Keyed,
    /// It takes a key and ignores it; nobody trusts it.
    Wary,
    /// It has a field that can be searched.
    Marked,
    /// It has nothing.
    Plain,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Keyed, Self::Wary, Self::Marked, Self::Plain];

    pub fn name(self) -> &'static str {
        match self {
            Self::Keyed => "keyed",
            Self::Wary => "wary",
            Self::Marked => "marked",
            Self::Plain => "plain",
        }
    }
}

/// What every sale was paid with, in cents.
pub const PAID: i64 = 200_00;
/// How long a key is known.
const RETENTION: Duration = Duration::from_secs(40);
/// After that nothing of a request happens any more: its lease and the settle time of the packs hold it.
pub const TOO_LATE: Duration = Duration::from_millis(13_400);
/// How late the list may show what was made; less than the settle time of the packs.
const LAG_MAX: u64 = 1_500;

/// What is done with one sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Play {
    Answer,
    ApplyAndDrop,
    DropBefore,
    HalfAnswer,
    ApplyAnd500,
    Only500,
    SlowAnswer,
    SlowBefore,
    PastTheLease,
    NoWith200,
    No402,
    No422OnResend,
    TurnedAway429,
    Conflict409,
    PendingThenDone,
    PendingThenFailed,
    KillApplied,
    KillAnswered,
}

/// First sendings, of a thousand.
const FIRST: &[(u64, Play)] = &[
    (600, Play::Answer),
    (50, Play::ApplyAndDrop),
    (40, Play::DropBefore),
    (25, Play::HalfAnswer),
    (40, Play::ApplyAnd500),
    (25, Play::Only500),
    (25, Play::SlowAnswer),
    (25, Play::SlowBefore),
    (8, Play::PastTheLease),
    (30, Play::NoWith200),
    (25, Play::No402),
    (20, Play::TurnedAway429),
    (20, Play::Conflict409),
    (35, Play::PendingThenDone),
    (20, Play::PendingThenFailed),
    (6, Play::KillApplied),
    (6, Play::KillAnswered),
];
/// Later sendings of the same intent.
const AGAIN: &[(u64, Play)] = &[
    (600, Play::Answer),
    (80, Play::ApplyAndDrop),
    (60, Play::DropBefore),
    (40, Play::ApplyAnd500),
    (80, Play::No422OnResend),
    (60, Play::Conflict409),
    (40, Play::SlowBefore),
    (20, Play::PastTheLease),
    (10, Play::KillApplied),
    (10, Play::KillAnswered),
];
/// A thousandth of requests each: the connection ends, or the process that sends, within the request.
const AT_HEAD: u64 = 6;

/// Money that left, or is about to.
#[derive(Debug, Clone)]
pub struct Effect {
    pub id: String,
    pub mode: Mode,
    pub sale: String,
    pub minor: i64,
    /// Which intent of the driver's it serves.
    pub note: String,
    pub key: String,
    pub mark: String,
    pub at: Timestamp,
    shown: Instant,
    turns: Option<(Instant, bool)>,
}

impl Effect {
    /// One that never was, for who judges the judge.
    pub fn forged(mode: Mode, note: &str, sale: &str, minor: i64) -> Self {
        Self {
            id: format!("e-{note}"),
            mode,
            sale: sale.to_owned(),
            minor,
            note: note.to_owned(),
            key: String::new(),
            mark: String::new(),
            at: Clock::System.now(),
            shown: Instant::now(),
            turns: None,
        }
    }

    /// `succeeded`, `pending` or `failed`.
    pub fn status(&self) -> &'static str {
        match self.turns {
            None => "succeeded",
            Some((when, _)) if Instant::now() < when => "pending",
            Some((_, true)) => "succeeded",
            Some((_, false)) => "failed",
        }
    }

    pub fn was_pending(&self) -> bool {
        self.turns.is_some()
    }

    pub fn is_failed(&self) -> bool {
        self.status() == "failed"
    }
}

/// A request for an effect, as it came.
#[derive(Debug, Clone)]
pub struct Sending {
    pub mode: Mode,
    pub note: String,
    pub at: Timestamp,
}

enum Known {
    UnderWay,
    Answered { status: u16, body: Value, at: Instant },
}

#[derive(Default)]
struct Books {
    effects: Vec<Effect>,
    sendings: Vec<Sending>,
    sent: HashMap<String, u64>,
    keys: HashMap<String, Known>,
    counts: BTreeMap<&'static str, u64>,
}

type Kill = Box<dyn Fn(&'static str) + Send + Sync>;

struct Shared {
    seed: u64,
    books: Mutex<Books>,
    wild: AtomicBool,
    open: AtomicBool,
    refusing: AtomicBool,
    requests: AtomicU64,
    kill: Mutex<Option<Kill>>,
    begun: Timestamp,
}

/// The vendors.
pub struct Vendor {
    shared: Arc<Shared>,
    doors: Vec<(Mode, SocketAddr)>,
}

impl Vendor {
    /// Four vendors, well behaved until [`Vendor::turn_wild`].
    pub fn open(seed: u64) -> Self {
        let shared = Arc::new(Shared {
            seed,
            books: Mutex::default(),
            wild: AtomicBool::new(false),
            open: AtomicBool::new(true),
            refusing: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            kill: Mutex::new(None),
            begun: Clock::System.now().minus(Duration::from_secs(86_400)),
        });
        let doors = Mode::ALL.into_iter().map(|mode| (mode, door(mode, &shared))).collect();
        Self { shared, doors }
    }

    pub fn url(&self, mode: Mode) -> String {
        let (_, address) = self.doors.iter().find(|(own, _)| *own == mode).unwrap();
        format!("http://{address}")
    }

    /// Does wrong from now on; `kill` ends a process that is in the middle of something.
    pub fn turn_wild(&self, kill: impl Fn(&'static str) + Send + Sync + 'static) {
        *self.shared.kill.lock() = Some(Box::new(kill));
        self.shared.wild.store(true, Ordering::SeqCst);
    }

    /// Does everything right from now on.
    pub fn heal(&self) {
        self.shared.wild.store(false, Ordering::SeqCst);
        self.refuse(false);
        *self.shared.kill.lock() = None;
    }

    /// Whether connections are refused.
    pub fn refuse(&self, yes: bool) {
        self.shared.refusing.store(yes, Ordering::SeqCst);
        if yes {
            self.shared.count("connections refused for a while");
        }
    }

    pub fn effects(&self) -> Vec<Effect> {
        self.shared.books.lock().effects.clone()
    }

    pub fn sendings(&self) -> Vec<Sending> {
        self.shared.books.lock().sendings.clone()
    }

    /// Whether anything was done for an intent that did not fail.
    pub fn has_made(&self, note: &str) -> bool {
        let books = self.shared.books.lock();
        books.effects.iter().any(|effect| effect.note == note && !effect.is_failed())
    }

    /// Faults by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.shared.books.lock().counts.clone()
    }

    pub fn is_settled(&self) -> bool {
        self.effects().iter().all(|effect| effect.status() != "pending")
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.shared.open.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    fn count(&self, what: &'static str) {
        *self.books.lock().counts.entry(what).or_default() += 1;
    }

    fn is_wild(&self) -> bool {
        self.wild.load(Ordering::SeqCst)
    }

    fn kill(&self, point: &'static str) {
        self.count(point);
        if let Some(kill) = &*self.kill.lock() {
            kill(point);
        }
    }
}

fn door(mode: Mode, shared: &Arc<Shared>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        listener.set_nonblocking(true).unwrap();
        let mut listener = Some(listener);
        while shared.open.load(Ordering::SeqCst) {
            if shared.refusing.load(Ordering::SeqCst) {
                listener = None;
            } else if listener.is_none() {
                // Nobody else takes a port that was ours a moment ago, or only for a moment.
                listener = TcpListener::bind(address).ok();
                listener.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
            }
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((stream, _))) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let shared = Arc::clone(&shared);
                    // A connection that breaks is the other side's affair.
                    std::thread::spawn(move || converse(stream, mode, &shared));
                }
                Some(Err(_)) | None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    });
    address
}

fn converse(stream: TcpStream, mode: Mode, shared: &Shared) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let head = read_head(&mut reader)?;
        let arrived = Instant::now();
        let number = shared.requests.fetch_add(1, Ordering::SeqCst);
        let mut dice = Dice::of(shared.seed, "request", number);
        if head.line.starts_with("GET ") {
            look(&head, mode, &mut dice, shared, &mut writer)?;
            continue;
        }
        let fate = if shared.is_wild() { dice.roll(1000) / AT_HEAD } else { u64::MAX };
        match fate {
            0 => {
                shared.count("connection ended at the head");
                return None;
            }
            1 => shared.kill("kill: head received"),
            _ => {}
        }
        let mut body = vec![0; head.length];
        let (first, rest) = body.split_at_mut(head.length / 2);
        reader.read_exact(first).ok()?;
        match fate {
            2 => {
                shared.count("connection ended within the body");
                return None;
            }
            3 => shared.kill("kill: half of the body received"),
            _ => {}
        }
        // What has left is done, whoever sent it is gone or not.
        reader.read_exact(rest).ok()?;
        let asked: Value = serde_json::from_slice(&body).ok()?;
        refund(&Asked { head, asked, arrived, mode }, shared, &mut writer)?;
    }
}

struct Head {
    line: String,
    key: String,
    length: usize,
}

fn read_head(reader: &mut impl BufRead) -> Option<Head> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut head = Head { line: line.trim_end().to_owned(), key: String::new(), length: 0 };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        let header = header.trim_end();
        if header.is_empty() {
            return Some(head);
        }
        let (name, value) = header.split_once(':')?;
        match &*name.to_ascii_lowercase() {
            "idempotency-key" => head.key = value.trim().to_owned(),
            "content-length" => head.length = value.trim().parse().ok()?,
            _ => {}
        }
    }
}

struct Asked {
    head: Head,
    asked: Value,
    arrived: Instant,
    mode: Mode,
}

impl Asked {
    fn text(&self, name: &str) -> String {
        self.asked[name].as_str().unwrap_or_default().to_owned()
    }
}

fn refund(asked: &Asked, shared: &Shared, writer: &mut TcpStream) -> Option<()> {
    let note = asked.text("note");
    let sending = {
        let mut books = shared.books.lock();
        let at = Clock::System.now();
        books.sendings.push(Sending { mode: asked.mode, note: note.clone(), at });
        let sent = books.sent.entry(note.clone()).or_default();
        *sent += 1;
        *sent
    };
    let mut dice = Dice::of(shared.seed, &note, sending);
    let play = match sending {
        _ if !shared.is_wild() => Play::Answer,
        1 => dice.pick(FIRST),
        2..6 => dice.pick(AGAIN),
        _ => Play::Answer,
    };
    if play != Play::Answer {
        shared.count(named(play));
    }
    let pause = Duration::from_millis(dice.within(1_300, 2_600));
    match play {
        Play::DropBefore => return None,
        Play::SlowBefore => {
            if asked.mode == Mode::Keyed && !begin(asked, shared) {
                return say(writer, 409, &json!({ "ok": false, "error": "under way" }));
            }
            std::thread::sleep(pause);
        }
        // In the network, as far as the vendor can tell: it knows nothing of it yet.
        Play::PastTheLease => {
            std::thread::sleep(Duration::from_millis(dice.within(12_100, 12_900)));
        }
        _ => {}
    }
    let (status, body) = {
        let mut books = shared.books.lock();
        if asked.arrived.elapsed() > TOO_LATE {
            *books.counts.entry("came too late even for us").or_default() += 1;
            return None;
        }
        answer(&mut books, asked, play, &mut dice)
    };
    match play {
        Play::ApplyAndDrop => return None,
        Play::HalfAnswer => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"id\"";
            writer.write_all(head.as_bytes()).ok()?;
            return None;
        }
        Play::SlowAnswer => std::thread::sleep(pause),
        Play::KillApplied => shared.kill("kill: applied, not answered"),
        _ => {}
    }
    let said = say(writer, status, &body);
    if play == Play::KillAnswered {
        // Its answer is being read, or settled, or told.
        std::thread::sleep(Duration::from_micros(dice.roll(9_000)));
        shared.kill("kill: answered");
    }
    said
}

/// Notes that a key is under way; false when it is known already.
fn begin(asked: &Asked, shared: &Shared) -> bool {
    let mut books = shared.books.lock();
    if known(&books, asked).is_some() {
        return false;
    }
    books.keys.insert(asked.head.key.clone(), Known::UnderWay);
    true
}

/// What was answered under this key, or that it is under way.
fn known<'b>(books: &'b Books, asked: &Asked) -> Option<&'b Known> {
    let known = books.keys.get(&asked.head.key)?;
    match known {
        Known::Answered { at, .. } if at.elapsed() > RETENTION => None,
        Known::Answered { .. } | Known::UnderWay => Some(known),
    }
}

/// What the vendor does and what it would say.
fn answer(books: &mut Books, asked: &Asked, play: Play, dice: &mut Dice) -> (u16, Value) {
    let no = |why: &str| json!({ "ok": false, "error": why });
    match play {
        Play::Conflict409 => return (409, no("try again")),
        Play::TurnedAway429 => return (429, no("too many")),
        // A vendor that looks at what it did since, and not at the key: the classic trap.
        Play::No422OnResend => return (422, no("it was refunded already, or is closed")),
        _ => {}
    }
    if asked.mode == Mode::Keyed {
        match known(books, asked) {
            Some(Known::Answered { status, body, .. }) => return (*status, body.clone()),
            Some(Known::UnderWay) if play != Play::SlowBefore => return (409, no("under way")),
            Some(Known::UnderWay) | None => {}
        }
        if books.keys.contains_key(&asked.head.key) && play != Play::SlowBefore {
            *books.counts.entry("key forgotten").or_default() += 1;
        }
    }
    let (status, body) = match play {
        Play::Only500 => (500, no("sorry")),
        Play::NoWith200 => (200, no("not this one")),
        Play::No402 => (402, no("declined")),
        Play::ApplyAnd500 => {
            make(books, asked, None, dice);
            (500, no("sorry"))
        }
        Play::PendingThenDone | Play::PendingThenFailed => {
            let when = Instant::now() + Duration::from_millis(dice.within(300, 5_000));
            (200, make(books, asked, Some((when, play == Play::PendingThenDone)), dice))
        }
        _ => (200, make(books, asked, None, dice)),
    };
    if asked.mode == Mode::Keyed {
        let known = Known::Answered { status, body: body.clone(), at: Instant::now() };
        books.keys.insert(asked.head.key.clone(), known);
    }
    (status, body)
}

fn make(
    books: &mut Books,
    asked: &Asked,
    turns: Option<(Instant, bool)>,
    dice: &mut Dice,
) -> Value {
    let lag = if asked.arrived.elapsed() > Duration::from_secs(3) { 0 } else { dice.roll(LAG_MAX) };
    let effect = Effect {
        id: format!("{}-{}", asked.mode.name(), books.effects.len() + 1),
        mode: asked.mode,
        sale: asked.text("sale"),
        minor: asked.asked["amount"].as_i64().unwrap(),
        note: asked.text("note"),
        key: asked.head.key.clone(),
        mark: asked.text("ref"),
        at: Clock::System.now(),
        shown: Instant::now() + Duration::from_millis(lag),
        turns,
    };
    let body = shown(&effect);
    books.effects.push(effect);
    body
}

fn shown(effect: &Effect) -> Value {
    json!({
        "id": effect.id,
        "sale": effect.sale,
        "amount": effect.minor,
        "note": effect.note,
        "ref": effect.mark,
        "status": effect.status(),
        "created_at": effect.at.to_string(),
    })
}

fn look(
    head: &Head,
    mode: Mode,
    dice: &mut Dice,
    shared: &Shared,
    writer: &mut TcpStream,
) -> Option<()> {
    let target = head.line.split(' ').nth(1)?;
    let fate = if shared.is_wild() { dice.roll(1000) } else { 1000 };
    match fate {
        0..10 => {
            shared.count("read: 500");
            return say(writer, 500, &json!({ "error": "sorry" }));
        }
        10..18 => {
            shared.count("read: connection ended");
            return None;
        }
        18..24 => {
            shared.count("read: slow");
            std::thread::sleep(Duration::from_millis(1_200));
        }
        24..27 => shared.kill("kill: facts are read"),
        _ => {}
    }
    let (status, body) = found(&shared.books.lock(), target, mode, shared.begun);
    let said = say(writer, status, &body);
    if (27..33).contains(&fate) {
        // It judges, reserves, writes its record, connects, sends.
        std::thread::sleep(Duration::from_micros(dice.roll(12_000)));
        shared.kill("kill: between facts and sending");
    }
    said
}

fn found(books: &Books, target: &str, mode: Mode, begun: Timestamp) -> (u16, Value) {
    let of = |sale: &str| {
        let sale = sale.to_owned();
        books.effects.iter().filter(move |e| e.mode == mode && e.sale == sale)
    };
    if let Some(sale) = target.strip_prefix("/sales/") {
        let refunded: i64 = of(sale).filter(|e| !e.is_failed()).map(|e| e.minor).sum();
        let large = if sale.contains("huge") { 1_000_000_00 } else { 0 };
        let body = json!({
            "id": sale,
            "customer": sale.split('-').next(),
            "currency": "USD",
            "amount": PAID + large,
            "refunded": refunded,
            "sold_at": begun.to_string(),
            "disputed": false,
        });
        return (200, body);
    }
    let now = Instant::now();
    let shows = |e: &&Effect| e.shown <= now;
    let data: Vec<Value> = match target.split_once('?') {
        Some(("/refunds", query)) => match query.split_once('=') {
            Some(("sale", sale)) => of(sale).filter(shows).map(shown).collect(),
            Some(("ref", mark)) => {
                let marked = books.effects.iter().filter(|e| e.mode == mode && e.mark == mark);
                marked.filter(shows).map(shown).collect()
            }
            _ => return (404, json!({})),
        },
        _ => return (404, json!({})),
    };
    (200, json!({ "data": data }))
}

fn named(play: Play) -> &'static str {
    match play {
        Play::Answer => "answered",
        Play::ApplyAndDrop => "applied, connection ended",
        Play::DropBefore => "connection ended before it was applied",
        Play::HalfAnswer => "applied, half an answer",
        Play::ApplyAnd500 => "applied, 500",
        Play::Only500 => "500, not applied",
        Play::SlowAnswer => "applied, answered too late",
        Play::SlowBefore => "slow, then applied",
        Play::PastTheLease => "delayed past the lease",
        Play::NoWith200 => "200 that says no",
        Play::No402 => "402",
        Play::No422OnResend => "422 on a later sending",
        Play::TurnedAway429 => "429",
        Play::Conflict409 => "409",
        Play::PendingThenDone => "pending, then done",
        Play::PendingThenFailed => "pending, then failed",
        Play::KillApplied => "to be killed once applied",
        Play::KillAnswered => "to be killed once answered",
    }
}

fn say(writer: &mut TcpStream, status: u16, body: &Value) -> Option<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    writer.write_all(format!("{head}{body}").as_bytes()).ok()
}

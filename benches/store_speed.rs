//! How many durable operations a second? Reserve and settle on the embedded store, alone and at once, beside
//! a plain redb loop that writes the same rows without deciding anything; and what one operation weighs. On Redis: what a reserve costs beside its bare script.
//! `cargo run --release --example store_speed [DIR | redis://HOST:PORT]`; that Redis should be empty.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollhouse::call::{CallerKey, Class, Digest, Fingerprint, Kind, Outcome, Resource};
use tollhouse::clock::Clock;
use tollhouse::contract::Over;
use tollhouse::money::Money;
use tollhouse::store::codec;
use tollhouse::store::rows::{Row, Tables};
use tollhouse::store::step::{Event, Now, step};
use tollhouse::store::{
    About, Address, AnswerIn, BudgetUse, Crowd, Entry, HoldTerms, Likeness, Name, Quorum, Reserve,
    Reserved, Risk, Said, SealingKey, Settle, Store, StoredAnswer, Take, Token, Witness,
};

fn ask(n: u64) -> Option<Reserve> {
    let hash = tollhouse::store::record::sha256(&n.to_le_bytes());
    let amount = Money::parse("12.50 USD").ok()?;
    let clock = Clock::System.now();
    let about = About {
        caller: CallerKey { tenant: "".into(), agent: "support".into(), customer: "c".into() },
        upstream: "stripe".into(),
        account: format!("cus_{}", n % 500).into(),
        action: "stripe.refund.create".into(),
        class: Class::Financial,
        classes: vec![Class::Financial],
        kind: Some(Kind::Refund),
        owner: Some(format!("cus_{}", n % 500).into()),
        resource: Some(Resource { kind: "Charge".into(), id: format!("ch_{n}").into() }),
        amount: Some(amount),
        summary: format!("Refund 12.50 USD of ch_{n}").into(),
        said: Said { case: Some("4711".into()), ..Said::default() },
        fingerprint: Fingerprint(hash),
        digest: Digest(hash),
        facts: Some(Digest(hash)),
        policy: None,
        origin: None,
    };
    let name = Name {
        tenant: "".into(),
        scope: b"scope".to_vec().into(),
        key: Some(n.to_string().into()),
        intent: None,
        fingerprint: Fingerprint(hash),
    };
    Some(Reserve {
        against: tollhouse::store::Against::Stands,
        entry: Entry::Asked(name),
        token: Token(n),
        lease: Duration::from_secs(40),
        reasons: Vec::new(),
        hold: HoldTerms {
            queue: "finance".into(),
            deadline: clock.plus(Duration::from_secs(9)),
            risk: Risk::Medium,
            needs: Quorum::default(),
            nudge: None,
            crowd: Crowd::default(),
            wants: Vec::new(),
        },
        seen: u64::MAX,
        likeness: Some(Likeness {
            alike: Over::Hold,
            within: Duration::from_secs(86_400),
            near: 50,
        }),
        rates: Vec::new(),
        brakes: Vec::new(),
        kinds: Vec::new(),
        budgets: vec![BudgetUse {
            id: "budget.customer-24h".into(),
            key: format!("customer {}", about.account).into(),
            within: Duration::from_secs(86_400),
            take: Take::Money { amount, room: Some(i64::MAX) },
            over: Over::Hold,
            alert: None,
        }],
        about,
        request: Bytes::new(),
    })
}

async fn one(store: &Store, n: u64) -> Option<()> {
    let Reserved::Granted(_) = store.reserve(ask(n)?).await.ok()? else { return None };
    settled(store, n).await
}

async fn settled(store: &Store, n: u64) -> Option<()> {
    let headers = vec![("request-id".into(), Bytes::from_static(b"req_0123456789"))];
    let answer = StoredAnswer { status: 200, headers, body: Bytes::from(vec![b'a'; 1024]) };
    store.settle(end(n)?, Some(&answer)).await.ok().map(drop)
}

/// The settling of an operation, sealed as large as its answer.
fn end(n: u64) -> Option<Settle> {
    let Entry::Asked(name) = ask(n)?.entry else { return None };
    Some(Settle {
        op: name.operation(0),
        by: Witness::First(Token(n)),
        outcome: Outcome::Succeeded,
        status: Some(200),
        request_id: Some("req_0123456789".into()),
        answer: AnswerIn::Keep(vec![b'a'; 1_160].into()),
        made: None,
        collected: true,
        note: "".into(),
    })
}

async fn round(store: &Arc<Store>, at_once: u64, first: u64, operations: u64) -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "this measures")]
    let start = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for lane in 0..at_once {
        let store = Arc::clone(store);
        all.spawn(async move {
            for n in (lane..operations).step_by(usize::try_from(at_once).ok()?) {
                one(&store, first.checked_add(n)?).await?;
            }
            Some(())
        });
    }
    let done = all.join_all().await.into_iter().all(|lane| lane.is_some());
    done.then(|| start.elapsed())
}

/// Rounds of each, in turn.
const ROUNDS: u64 = 5;

/// What one event writes.
type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The least that a durable store can be: rows that are there already, one writer, group commit.
struct Plain(tokio::sync::mpsc::Sender<(Rows, tokio::sync::oneshot::Sender<bool>)>);

impl Plain {
    fn open(path: &std::path::Path) -> Result<Self, Box<dyn std::error::Error>> {
        const TABLE: redb::TableDefinition<'static, &[u8], &[u8]> =
            redb::TableDefinition::new("rows");
        let database = redb::Builder::new().set_cache_size(8 << 20).create(path)?;
        let (queue, mut jobs) =
            tokio::sync::mpsc::channel::<(Rows, tokio::sync::oneshot::Sender<bool>)>(1_024);
        let commit = move |batch: &[(Rows, tokio::sync::oneshot::Sender<bool>)]| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(redb::Durability::Immediate)?;
            {
                let mut table = transaction.open_table(TABLE)?;
                for (key, row) in batch.iter().flat_map(|(rows, _)| rows) {
                    match row {
                        Some(row) => drop(table.insert(key.as_slice(), row.as_slice())?),
                        None => drop(table.remove(key.as_slice())?),
                    }
                }
            }
            Ok::<_, Box<dyn std::error::Error>>(transaction.commit()?)
        };
        std::thread::spawn(move || {
            while let Some(first) = jobs.blocking_recv() {
                let mut batch = vec![first];
                while batch.len() < 256
                    && let Ok(next) = jobs.try_recv()
                {
                    batch.push(next);
                }
                let done = commit(&batch).is_ok();
                for (_, reply) in batch {
                    // Nobody may be there any more to hear it.
                    let _heard = reply.send(done);
                }
            }
        });
        Ok(Self(queue))
    }

    async fn write(&self, rows: Rows) -> Option<()> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.0.send((rows, reply)).await.ok()?;
        answer.await.ok()?.then_some(())
    }
}

/// What a reserve and a settling of an operation write, each, on a store that has what was before.
fn rows(tables: &mut Tables, n: u64) -> Option<[Rows; 2]> {
    let now = Now { at: Clock::System.now(), ..Now::default() };
    let mut both = Vec::new();
    for event in [Event::Reserve(Box::new(ask(n)?), None), Event::Settle(Box::new(end(n)?))] {
        let (_, changes) = step(tables, &event, now).ok()?;
        let written = |row: &Option<Row>| row.as_ref().map(codec::write);
        both.push(changes.iter().map(|(key, row)| (key.clone(), written(row))).collect());
        tables.apply(changes);
    }
    both.try_into().ok()
}

async fn plain_round(
    (plain, tables): (&Arc<Plain>, &mut Tables),
    at_once: u64,
    first: u64,
    operations: u64,
) -> Option<Duration> {
    let mut lanes = Vec::new();
    for lane in 0..at_once {
        let numbers = (lane..operations).step_by(usize::try_from(at_once).ok()?);
        let rows: Option<Vec<_>> = numbers.map(|n| rows(tables, first.checked_add(n)?)).collect();
        lanes.push(rows?);
    }
    #[expect(clippy::disallowed_methods, reason = "this measures")]
    let start = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for rows in lanes {
        let plain = Arc::clone(plain);
        all.spawn(async move {
            for [reserve, settle] in rows {
                plain.write(reserve).await?;
                plain.write(settle).await?;
            }
            Some(())
        });
    }
    let done = all.join_all().await.into_iter().all(|lane| lane.is_some());
    done.then(|| start.elapsed())
}

/// The middle of some spans, in microseconds.
fn middle(mut spans: Vec<Duration>) -> u128 {
    spans.sort();
    spans.get(spans.len() / 2).map_or(0, Duration::as_micros)
}

/// Sends a reserve and a bare one in turn, `at_once` of each at a time: the middle of each.
async fn beside(store: &Arc<Store>, at_once: u64, first: u64, rounds: u64) -> Option<(u128, u128)> {
    let (mut whole, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let from = first.checked_add(round.checked_mul(at_once)?.checked_mul(2)?)?;
        let mut all = tokio::task::JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "this measures")]
        let start = Instant::now();
        for lane in 0..at_once {
            let (store, ask) = (Arc::clone(store), ask(from.checked_add(lane)?)?);
            all.spawn(async move { store.reserve(ask).await.is_ok() });
        }
        if !all.join_all().await.into_iter().all(|done| done) {
            return None;
        }
        whole.push(start.elapsed());
        let mut ready = Vec::new();
        for lane in at_once..at_once.checked_mul(2)? {
            ready.push(store.bare(&ask(from.checked_add(lane)?)?).ok()??);
        }
        let mut all = tokio::task::JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "this measures")]
        let start = Instant::now();
        for one in ready {
            all.spawn(async move { one.send().await.is_ok() });
        }
        if !all.join_all().await.into_iter().all(|done| done) {
            return None;
        }
        bare.push(start.elapsed());
        // Settled, so that budgets hold what they do in service.
        for lane in 0..at_once.checked_mul(2)? {
            settled(store, from.checked_add(lane)?).await?;
        }
    }
    Some((middle(whole), middle(bare)))
}

async fn used(client: &redis::Client) -> Result<u64, Box<dyn std::error::Error>> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.ok_or("no used_memory")?.trim().parse()?)
}

async fn on_redis(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let address = Address::parse(url, "speed")?;
    let store = Arc::new(Store::redis(&address, SealingKey::random()?, Clock::System)?);
    let mut first = 0_u64;
    for (at_once, rounds) in [(1_u64, 4_000_u64), (16, 400), (64, 150)] {
        let (whole, bare) =
            beside(&store, at_once, first, rounds).await.ok_or("a reserve did not run")?;
        first = first.saturating_add(rounds.saturating_mul(at_once).saturating_mul(2));
        let ratio = whole.saturating_mul(100).checked_div(bare).unwrap_or(0);
        println!("{at_once:3} at once: reserve {whole} us, bare script {bare} us: {ratio} %");
    }
    let client = redis::Client::open(url)?;
    let before = used(&client).await?;
    for (at_once, operations) in [(1_u64, 4_000_u64), (16, 8_000), (64, 8_000)] {
        let took = round(&store, at_once, first, operations).await.ok_or("it did not run")?;
        first = first.saturating_add(operations);
        let events = operations.saturating_mul(2).saturating_mul(1_000_000);
        let a_second = u128::from(events).checked_div(took.as_micros()).unwrap_or(0);
        println!("{at_once:3} at once: {a_second:6} events a second");
    }
    let each = used(&client).await?.saturating_sub(before) / 20_000;
    println!("{each} bytes of Redis's memory each, a 1 KiB answer kept");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let told = std::env::args().nth(1);
    if let Some(url) = told.as_deref().filter(|told| told.starts_with("redis")) {
        return on_redis(url).await;
    }
    let dir = told.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("store-speed-{}", std::process::id()));
    let store = Arc::new(Store::embedded(&dir, SealingKey::random()?, Clock::System)?);
    let plain = Arc::new(Plain::open(&dir.join("plain.redb"))?);
    let (mut first, mut tables) = (0_u64, Tables::default());
    for (at_once, operations) in [(1_u64, 250_u64), (16, 1_600), (64, 3_200)] {
        let (mut own, mut bare) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..ROUNDS {
            let took = round(&store, at_once, first, operations).await.ok_or("it did not run")?;
            own = own.saturating_add(took);
            let took = plain_round((&plain, &mut tables), at_once, first, operations).await;
            bare = bare.saturating_add(took.ok_or("the plain loop did not run")?);
            first = first.saturating_add(operations);
        }
        // Each operation is two durable events: reserve and settle.
        let events = operations.saturating_mul(2).saturating_mul(ROUNDS).saturating_mul(1_000_000);
        let a_second =
            |took: Duration| u128::from(events).checked_div(took.as_micros()).unwrap_or(0);
        let ratio = a_second(own).saturating_mul(100).checked_div(a_second(bare)).unwrap_or(0);
        println!(
            "{at_once:3} at once: {:6} durable events a second, a plain redb loop of the same rows {:6}: {ratio} %",
            a_second(own),
            a_second(bare)
        );
    }
    let commits = store.batches()?;
    drop(store);
    let bytes = std::fs::metadata(dir.join("store.redb"))?.len();
    let each = bytes.checked_div(first).unwrap_or(0);
    println!(
        "{first} operations in {commits} commits; {each} bytes of file each, a 1 KiB answer kept"
    );
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

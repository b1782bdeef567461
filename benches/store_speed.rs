//! How many durable operations a second? Reserve and settle on the embedded store, alone and at once,
//! and what one operation weighs. `cargo run --release --example store_speed [DIR]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollhouse::call::{CallerKey, Class, Digest, Fingerprint, Kind, Outcome, Resource};
use tollhouse::clock::Clock;
use tollhouse::contract::Over;
use tollhouse::money::Money;
use tollhouse::store::{
    About, AnswerIn, BudgetUse, Entry, HoldTerms, Likeness, Name, Reserve, Reserved, Said,
    SealingKey, Settle, Store, StoredAnswer, Take, Token, Witness,
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
    };
    let name = Name {
        tenant: "".into(),
        scope: b"scope".to_vec().into(),
        key: Some(n.to_string().into()),
        intent: None,
        fingerprint: Fingerprint(hash),
    };
    Some(Reserve {
        entry: Entry::Asked(name),
        token: Token(n),
        lease: Duration::from_secs(40),
        reasons: Vec::new(),
        hold: HoldTerms { queue: "finance".into(), deadline: clock.plus(Duration::from_secs(9)) },
        seen: u64::MAX,
        likeness: Some(Likeness {
            alike: Over::Hold,
            within: Duration::from_secs(86_400),
            near: 50,
        }),
        budgets: vec![BudgetUse {
            id: "budget.customer-24h".into(),
            key: format!("customer {}", about.account).into(),
            within: Duration::from_secs(86_400),
            take: Take::Money { amount, room: Some(i64::MAX) },
            over: Over::Hold,
        }],
        about,
        request: Bytes::new(),
    })
}

async fn one(store: &Store, n: u64) -> Option<()> {
    let Reserved::Granted(grant) = store.reserve(ask(n)?).await.ok()? else { return None };
    let headers = vec![("request-id".into(), Bytes::from_static(b"req_0123456789"))];
    let answer = StoredAnswer { status: 200, headers, body: Bytes::from(vec![b'a'; 1024]) };
    let end = Settle {
        op: grant.record.op,
        by: Witness::First(grant.token),
        outcome: Outcome::Succeeded,
        status: Some(200),
        request_id: Some("req_0123456789".into()),
        answer: AnswerIn::None,
        collected: true,
        note: "".into(),
    };
    store.settle(end, Some(&answer)).await.ok().map(drop)
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("store-speed-{}", std::process::id()));
    let store = Arc::new(Store::embedded(&dir, SealingKey::random()?, Clock::System)?);
    let mut first = 0_u64;
    for (at_once, operations) in [(1_u64, 1_000_u64), (16, 8_000), (64, 8_000)] {
        let took = round(&store, at_once, first, operations).await.ok_or("it did not run")?;
        first = first.saturating_add(operations);
        // Each operation is two durable events: reserve and settle.
        let events = operations.saturating_mul(2).saturating_mul(1_000_000);
        let a_second = u128::from(events).checked_div(took.as_micros()).unwrap_or(0);
        println!("{at_once:3} at once: {a_second:6} durable events a second");
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

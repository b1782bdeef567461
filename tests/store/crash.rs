//! What survives `kill -9`, and what a full disk does. The child is this same binary.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use tollhouse::call::{OperationId, Outcome};
use tollhouse::clock::Clock;
use tollhouse::refusal::Fault;
use tollhouse::store::{Reserved, State, Store};

use super::key;
use crate::asks::{ask, ask_held, on, settle};

const DIR: &str = "TOLLHOUSE_TEST_STORE";

/// Where the child keeps its store; `None` when this is no child.
#[expect(clippy::disallowed_methods, reason = "how a test tells its child where to work")]
fn child_dir() -> Option<String> {
    std::env::var(DIR).ok()
}

fn child(test: &str, dir: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    let me = std::env::current_exe().unwrap();
    command
        .args(["-c", &format!("{before} exec \"$0\" --exact \"$1\" --nocapture --test-threads=1")])
        .arg(me)
        .arg(test)
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Runs only as a child: reserves, settles every other one, and says what was acknowledged.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let store = Store::embedded(Path::new(&dir), key(), Clock::System).unwrap();
    for n in 0..u64::MAX {
        let amount = format!("{n}.00 USD");
        let asked = on(ask(Some(&amount), &amount, n), &amount);
        let Reserved::Granted(grant) = store.reserve(asked).await.unwrap() else { panic!() };
        println!("sent {}", grant.record.op);
        if n % 2 == 0 {
            store.settle(settle(grant.record.op, n, Outcome::Succeeded), None).await.unwrap();
            println!("done {}", grant.record.op);
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_time_loses_nothing_that_was_acknowledged() {
    for lines in [1, 7, 60, 151] {
        let dir = tempfile::tempdir().unwrap();
        let test = "store::crash::child_that_writes_until_it_is_killed";
        let mut child = child(test, dir.path(), "").spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = |line: String| {
            let (what, id) = line.split_once(' ')?;
            let done = matches!(what, "sent" | "done").then_some(what == "done")?;
            Some((done, OperationId::parse(id)?))
        };
        let mut acknowledged: Vec<_> =
            out.by_ref().map_while(Result::ok).filter_map(said).take(lines).collect();
        assert_eq!(acknowledged.len(), lines, "the child ended early");
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(out.map_while(Result::ok).filter_map(said));

        let store = Store::embedded(dir.path(), key(), Clock::System).unwrap();
        let done: Vec<_> =
            acknowledged.iter().filter(|(done, _)| *done).map(|(_, op)| op).collect();
        for (_, op) in &acknowledged {
            let record = store.show(*op).await.unwrap().expect("an acknowledged operation is gone");
            let expected = if done.contains(&op) { &["done"][..] } else { &["unknown", "done"] };
            assert!(expected.contains(&record.state.name()), "{:?}", record.state);
        }
        assert!(store.list(Some("submitted"), 9).await.unwrap().is_empty());
    }
}

/// Runs only as a child whose files may not grow past some size: the disk is full.
#[tokio::test]
async fn child_on_a_full_disk() {
    let Some(dir) = child_dir() else { return };
    let store = Store::embedded(Path::new(&dir), key(), Clock::System).unwrap();
    let mut granted = Vec::new();
    let mut refused = 0;
    for n in 0..20_000_u64 {
        let amount = format!("{n}.00 USD");
        let mut asked = on(ask_held(Some(&amount), &amount, n), &amount);
        asked.reasons.clear();
        asked.request = vec![7; 20_000].into();
        match store.reserve(asked).await {
            Ok(Reserved::Granted(grant)) if refused == 0 => granted.push(grant.record.op),
            Ok(other) => panic!("after {refused} refusals: {other:?}"),
            Err(Fault::StoreUnavailable(why)) => {
                println!("refused {why}");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
        if refused == 3 {
            break;
        }
    }
    assert!(refused == 3 && !granted.is_empty());
    for op in &granted {
        let record = store.show(*op).await.unwrap().expect("an acknowledged operation is gone");
        assert!(matches!(record.state, State::Submitted { .. }));
    }
    println!("all {} are there", granted.len());
}

#[test]
fn a_full_disk_refuses_and_does_nothing_by_halves() {
    let dir = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes in POSIX sh; a limit that is hit raises a signal, which is ignored here.
    let before = "trap '' XFSZ; ulimit -f 8000;";
    let test = "store::crash::child_on_a_full_disk";
    let mut child = child(test, dir.path(), before).spawn().unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
    assert!(out.contains("refused") && out.contains("are there"), "{out}");
}

//! The record: what is on it, that it is on disk, and that every change of it is found.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tollhouse::audit::{self, Audit, Entry, Event, Report, RequestSeen, UpstreamSeen};
use tollhouse::call::{AccountClaim, Caller, Class, Consent, Digest, Kind, OperationId, Resource};
use tollhouse::clock::{Clock, Timestamp};
use tollhouse::decision::{Reason, Shadow, Verdict};
use tollhouse::money::Money;
use tollhouse::refusal::{Code, Fault};

mod checkpoints;

const CHILD: &str = "TOLLHOUSE_TEST_AUDIT_DIR";

fn caller(customer: &str) -> Arc<Caller> {
    Arc::new(Caller {
        tenant: "eu".into(),
        agent: "support-bot".into(),
        customer: Some(customer.into()),
        account: AccountClaim::Absent,
        roles: vec![],
        trust: None,
        consent_until: Consent::Absent,
        auth_time: None,
        contacts: vec![],
        issuer: "i".into(),
        jti: None,
        issued_at: None,
        expires: Timestamp(0),
        narrowed: None,
    })
}

/// An entry with everything that a record can hold.
fn full() -> Entry {
    Entry {
        event: Event::Held,
        decision_id: Some(tollhouse::call::DecisionId::of(7)),
        operation: Some(OperationId([7; 32])),
        state: Some("held"),
        case: Some("c \"1\"\r\n\u{1}\u{7f}é\u{2028}😀\\".into()),
        caller: Some(caller("cus_9")),
        action: Some("stripe.refund.create".into()),
        class: Some(Class::Financial),
        effect: Some(Kind::Refund),
        resource: Some(Resource { kind: "Charge".into(), id: "ch_1".into() }),
        amount: Some(Money::parse("600.00 USD").unwrap()),
        request: Some(RequestSeen {
            method: http::Method::POST,
            path_template: Some("/v1/refunds".into()),
            digest: Some(Digest([1; 32])),
        }),
        facts_digest: Some(Digest([2; 32])),
        assumed: vec!["charge.disputed".into()],
        decision: Some(Verdict::Hold),
        code: Some(Code::ApprovalRequired),
        policies: vec!["financial.over-cap".into(), "b".into()],
        shadow: Some(Box::new(Shadow {
            code: Code::OverLimit,
            reasons: vec![Reason { policy: "z".into(), why: "w".into(), tell: "t".into() }],
        })),
        policy_digest: Some("sha256:00".into()),
        approvals: vec!["financial.over-cap".into()],
        by: Some("ann".into()),
        note: Some("fine".into()),
        mark: Some("right"),
        confidence: Some(870),
        model: Some("m".into()),
        key_digest: Some(Digest([3; 32])),
        intent: Some("c2VhbGVk".into()),
        upstream: Some(UpstreamSeen {
            status: Some(200),
            request_id: Some("req_1".into()),
            duration_ms: 41,
        }),
        trace_id: Some("abc".into()),
        count: Some(2),
    }
}

fn read_of(n: usize) -> Entry {
    Entry {
        caller: Some(caller(&format!("cus_{n}"))),
        class: Some(Class::Read),
        ..Entry::of(Event::Allowed)
    }
}

fn clock() -> Clock {
    Clock::by_hand(Timestamp::parse("2026-03-01T12:00:00Z").unwrap())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Writes `n` effects in segments of `bytes`, and closes.
fn write(dir: &Path, n: usize, bytes: u64) {
    let audit = opened(|| Audit::open_with(dir, clock(), bytes));
    run(async {
        for n in 0..n {
            audit.record(read_of(n)).await.unwrap();
        }
    });
}

/// A child of another test holds this process's locks from its fork until its exec.
fn opened(open: impl Fn() -> Result<Audit, Fault>) -> Audit {
    for _ in 0..100 {
        match open() {
            Err(fault) if fault.to_string().contains("another process") => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    open().unwrap()
}

/// Every segment of a log, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for boot in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        found.extend(fs::read_dir(boot).unwrap().map(|e| e.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|ext| ext == "jsonl"));
    found.sort();
    found
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
}

fn holds(report: &Report) -> bool {
    report.finding.is_none()
}

#[test]
fn a_record_says_everything_in_canonical_order() {
    let audit = Audit::in_memory(clock()).unwrap();
    run(audit.record(full())).unwrap();
    run(audit.record(Entry::of(Event::Reloaded))).unwrap();
    let lines = audit.lines();
    let record: serde_json::Map<String, Json> = serde_json::from_str(&lines[0]).unwrap();
    // What CONTRACTS names, and what was added to it.
    let mut names: Vec<&str> = record.keys().map(String::as_str).collect();
    assert_eq!(names.pop(), Some("hash"));
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted, "RFC 8785: members in order");
    let expected = "action agent amount approvals assumed by case class code confidence count \
        customer decision decision_id event_id facts_digest idempotency_key_digest intent kind kind_of_effect mark model \
        note operation policies policy_digest prev request resource shadow state tenant timestamp trace_id upstream";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    // The line less its hash is its own canonical form: sorted, without blanks, shortest escapes.
    let mut rest = record.clone();
    rest.remove("hash");
    let canonical = serde_json::to_string(&rest).unwrap();
    let (head, tail) = lines[0].rsplit_once(",\"hash\":\"").unwrap();
    assert_eq!(format!("{head}}}"), canonical);
    // The hash by an independent hand: over 32 zero bytes and the canonical form.
    let mut hashed = vec![0; 32];
    hashed.extend_from_slice(canonical.as_bytes());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &hashed);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(tail, format!("{hex}\"}}"));
    assert_eq!(record["amount"], serde_json::json!({ "currency": "USD", "minor": 60000 }));
    assert_eq!(record["case"], "c \"1\"\r\n\u{1}\u{7f}é\u{2028}😀\\");
    assert_eq!(
        (&record["confidence"], &record["timestamp"]),
        (&serde_json::json!(0.87), &"2026-03-01T12:00:00.000Z".into())
    );
    assert_eq!(record["resource"], serde_json::json!({ "id": "ch_1", "type": "Charge" }));
    let next: Json = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(next["prev"], Json::from(hex), "the next one follows");
    assert!(next.get("agent").is_none(), "what is not known is not there");
    assert!(next["event_id"].as_str().unwrap() > record["event_id"].as_str().unwrap());
}

#[test]
fn confidence_is_the_shortest_decimal() {
    let audit = Audit::in_memory(clock()).unwrap();
    for (per_mille, text) in
        [(0, "0"), (1000, "1"), (5, "0.005"), (500, "0.5"), (123, "0.123"), (60, "0.06")]
    {
        audit.note(Entry { confidence: Some(per_mille), ..Entry::of(Event::Allowed) }).unwrap();
        let line = audit.lines().pop().unwrap();
        assert!(line.contains(&format!("\"confidence\":{text},")), "{line}");
    }
}

#[test]
fn what_is_on_record_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), clock()).unwrap();
    run(audit.record(full())).unwrap();
    let on_disk = lines(&files(dir.path())[0]);
    assert_eq!(on_disk.len(), 2, "a header and the record, before record() returned");
    audit.note(read_of(1)).unwrap();
    audit.close();
    assert_eq!(lines(&files(dir.path())[0]).len(), 3, "what was accepted is written at the end");
    assert!(matches!(audit.note(read_of(2)), Err(Fault::Audit(_))), "and nothing after it");
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report) && report.records == 3, "{report}");
    assert!(report.to_string().ends_with("signatures not checked"));
    assert_eq!(audit::tail(dir.path(), 2).unwrap(), lines(&files(dir.path())[0])[1..]);
}

#[test]
fn reads_reach_the_disk_without_anybody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), clock()).unwrap();
    // Long enough for the writer to fall asleep.
    std::thread::sleep(Duration::from_millis(50));
    audit.note(read_of(1)).unwrap();
    let begun = Instant::now();
    while lines_so_far(dir.path()) < 2 {
        assert!(begun.elapsed() < Duration::from_secs(5), "never written");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(audit.waiting(), 0);
}

fn lines_so_far(dir: &Path) -> usize {
    files(dir).iter().map(|f| lines(f).len()).sum()
}

#[test]
fn a_log_goes_on_over_segments_and_boots() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        write(dir.path(), 40, 4000);
    }
    let files = files(dir.path());
    assert!(files.len() > 6, "{} segments", files.len());
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report), "{report}");
    assert_eq!((report.boots, report.segments), (3, files.len()));
    assert_eq!(report.records, 120 + u64::try_from(files.len()).unwrap());
    assert_eq!(audit::tail(dir.path(), 60).unwrap().len(), 60, "a tail reaches back over files");
}

#[test]
fn a_clock_that_was_set_back_does_not_reorder_boots() {
    let dir = tempfile::tempdir().unwrap();
    for start in ["2026-03-01T12:00:00Z", "2026-02-01T12:00:00Z", "2025-03-01T12:00:00Z"] {
        let clock = Clock::by_hand(Timestamp::parse(start).unwrap());
        let audit = Audit::open(dir.path(), clock).unwrap();
        run(audit.record(read_of(1))).unwrap();
    }
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report) && report.boots == 3, "{report}");
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let first = Audit::open(dir.path(), clock()).unwrap();
    let fault = Audit::open(dir.path(), clock()).unwrap_err();
    assert!(fault.to_string().contains("another process"), "{fault}");
    drop(first);
    Audit::open(dir.path(), clock()).unwrap();
}

/// Changes a log of three boots and says what verify finds.
fn found(change: impl FnOnce(&[PathBuf])) -> Report {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        write(dir.path(), 30, 4000);
    }
    let all = files(dir.path());
    assert!(holds(&audit::verify(dir.path()).unwrap()));
    change(&all);
    audit::verify(dir.path()).unwrap()
}

fn assert_found(report: &Report, file: &Path, line: usize, why: &str) {
    let finding = report.finding.as_ref().unwrap_or_else(|| panic!("nothing found: {why}"));
    assert!(finding.why.contains(why), "{}: expected {why}", finding.why);
    assert_eq!((&*finding.file, finding.line), (file, line), "{why}");
}

#[test]
fn every_edit_of_any_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 3, 1 << 20);
    let file = files(dir.path()).remove(0);
    let good = fs::read(&file).unwrap();
    for at in 0..good.len() - 1 {
        let mut bad = good.clone();
        bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
        fs::write(&file, &bad).unwrap();
        let report = audit::verify(dir.path()).unwrap();
        // The end of the newest segment may look like a write under way, and is told as such.
        assert!(!holds(&report) || report.open_tail > 0, "byte {at} changed unseen");
    }
}

#[test]
fn what_was_done_to_a_log_is_named_with_its_place() {
    let mut at = PathBuf::new();
    let report = found(|all| {
        at.clone_from(&all[1]);
        let mut text = lines(&at);
        text[2] = text[2].replace("support-bot", "another-bot");
        put(&at, &text);
    });
    assert_found(&report, &at, 3, "was edited");

    let report = found(|all| {
        at.clone_from(&all[0]);
        let mut text = lines(&at);
        text.remove(3);
        put(&at, &text);
    });
    assert_found(&report, &at, 4, "a record before this one was removed");

    let report = found(|all| {
        at.clone_from(&all[0]);
        let mut text = lines(&at);
        text.swap(3, 4);
        put(&at, &text);
    });
    assert_found(&report, &at, 4, "out of order");

    let report = found(|all| {
        at.clone_from(&all[1]);
        let mut text = lines(&all[0]);
        text.pop();
        put(&all[0], &text);
    });
    assert_found(&report, &at, 1, "does not follow");

    let report = found(|all| {
        at.clone_from(&all[0]);
        let (one, two) = (fs::read(&all[0]).unwrap(), fs::read(&all[1]).unwrap());
        fs::write(&all[0], two).unwrap();
        fs::write(&all[1], one).unwrap();
    });
    assert_found(&report, &at, 1, "the beginning of the log is missing");

    let report = found(|all| {
        at.clone_from(&all[2]);
        fs::remove_file(&all[1]).unwrap();
    });
    assert_found(&report, &at, 0, "segment 000002 is missing");

    let report = found(|all| {
        let boots: Vec<_> = all.iter().map(|f| f.parent().unwrap()).collect();
        let second = boots.iter().find(|b| **b != boots[0]).unwrap();
        at = boots.last().unwrap().join("000001.jsonl");
        fs::remove_dir_all(second).unwrap();
    });
    assert_found(&report, &at, 1, "does not follow");

    let report = found(|all| {
        at.clone_from(&all[0]);
        let mut text = lines(&at);
        text.insert(2, text[2].clone());
        put(&at, &text);
    });
    assert_found(&report, &at, 4, "out of order");

    let report = found(|all| {
        at.clone_from(&all[0]);
        let both = [fs::read(&all[0]).unwrap(), fs::read(&all[1]).unwrap()].concat();
        let boot = all[0].parent();
        for more in all.iter().filter(|f| f.parent() == boot).skip(1) {
            fs::remove_file(more).unwrap();
        }
        fs::write(&all[0], both).unwrap();
    });
    assert!(report.finding.unwrap().why.contains("begins with its header"));

    let report = found(|all| {
        at = all.iter().rfind(|f| f.parent() == all[0].parent()).unwrap().clone();
        fs::OpenOptions::new().append(true).open(&at).unwrap().write_all(b"more").unwrap();
    });
    assert!(
        report.finding.as_ref().unwrap().why.contains("was edited"),
        "only the newest end is open"
    );
    assert_eq!(report.finding.unwrap().file, at);

    // A whole other log put in the place of a boot.
    let other = tempfile::tempdir().unwrap();
    write(other.path(), 5, 1 << 20);
    let report = found(|all| {
        at.clone_from(&all[0]);
        fs::copy(&files(other.path())[0], &at).unwrap();
        for more in all.iter().filter(|f| f.parent() == at.parent()).skip(1) {
            fs::remove_file(more).unwrap();
        }
    });
    assert!(!holds(&report), "{report}");
}

#[test]
fn an_end_that_is_still_being_written_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 3, 1 << 20);
    let file = files(dir.path()).remove(0);
    fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(b"{\"action\":\"str")
        .unwrap();
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report) && report.open_tail == 14, "{report}");
}

#[test]
fn a_torn_end_is_kept_and_sealed() {
    for torn in ["{\"action\":\"str", "\0\0\0\0", "half\nand a line\nmore", "a line\n"] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 3, 1 << 20);
        let file = files(dir.path()).remove(0);
        fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap()
            .write_all(torn.as_bytes())
            .unwrap();
        write(dir.path(), 2, 1 << 20);
        write(dir.path(), 2, 1 << 20);
        let report = audit::verify(dir.path()).unwrap();
        assert!(holds(&report), "{torn:?}: {report}");
        assert_eq!((report.recovered, report.boots), (1, 3), "{torn:?}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(torn), "what was torn stays");
        // The seal covers what was torn, and what stood before it.
        fs::write(&file, text.replace(torn, &"x".repeat(torn.len()))).unwrap();
        let report = audit::verify(dir.path()).unwrap();
        assert!(report.finding.unwrap().why.contains("a crash tore"), "{torn:?}");
        let mut cut: Vec<&str> = text.split_inclusive('\n').collect();
        cut.remove(3);
        fs::write(&file, cut.concat()).unwrap();
        assert!(
            !holds(&audit::verify(dir.path()).unwrap()),
            "{torn:?}: a record removed before it"
        );
    }
}

#[test]
fn a_line_that_lacks_only_its_end_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 3, 1 << 20);
    let file = files(dir.path()).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.trim_end()).unwrap();
    write(dir.path(), 2, 1 << 20);
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report) && (report.records, report.recovered) == (7, 0), "{report}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_start_that_was_cut_short_is_no_break() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 3, 1 << 20);
    let boot = dir.path().join("01KJMXK0R00000000000000000");
    fs::create_dir(&boot).unwrap();
    fs::write(boot.join("000001.jsonl"), "").unwrap();
    write(dir.path(), 3, 1 << 20);
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report) && report.boots == 3, "{report}");
}

#[test]
fn many_at_once_are_one_chain_and_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(dir.path(), clock()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let audit = Arc::clone(&audit);
                tokio::spawn(async move {
                    for n in 0..20 {
                        audit.record(read_of(task * 100 + n)).await.unwrap();
                        audit.note(read_of(n)).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    audit.close();
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report) && report.records == 64 * 40 + 1, "{report}");
}

#[test]
fn a_flood_of_refusals_is_counted() {
    let clock = clock();
    let audit = Audit::in_memory(clock.clone()).unwrap();
    let refused = |customer: &str, code: Code| Entry {
        caller: Some(caller(customer)),
        decision: Some(Verdict::Refuse),
        code: Some(code),
        ..Entry::of(Event::Refused)
    };
    for _ in 0..500 {
        audit.note(refused("cus_1", Code::NotFound)).unwrap();
    }
    audit.note(refused("cus_1", Code::Forbidden)).unwrap();
    audit.note(refused("cus_2", Code::NotFound)).unwrap();
    assert_eq!(audit.lines().len(), 52, "fifty, and each other caller or reason by itself");
    clock.turn(Duration::from_secs(1));
    audit.note(refused("cus_1", Code::NotFound)).unwrap();
    let lines = audit.lines();
    let counted: Vec<Json> = lines
        .iter()
        .map(|l| serde_json::from_str::<Json>(l).unwrap())
        .filter(|r| r["kind"] == "refused_more")
        .collect();
    assert_eq!(counted.len(), 1);
    assert_eq!(
        (&counted[0]["count"], &counted[0]["customer"], &counted[0]["code"]),
        (&450.into(), &"cus_1".into(), &"not_found".into())
    );
    assert_eq!(lines.len(), 54);
    // Effects are never only counted.
    for _ in 0..100 {
        run(audit.record(refused("cus_1", Code::NotFound))).unwrap();
    }
    assert_eq!(audit.lines().len(), 154);
}

#[test]
fn counted_refusals_are_written_though_nobody_comes_back() {
    let clock = clock();
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), clock.clone()).unwrap();
    for _ in 0..60 {
        let entry = Entry {
            decision: Some(Verdict::Refuse),
            code: Some(Code::Unauthenticated),
            ..Entry::of(Event::Refused)
        };
        audit.note(entry).unwrap();
    }
    // Long enough for everything else to be written and synced.
    std::thread::sleep(Duration::from_millis(300));
    clock.turn(Duration::from_secs(1));
    let begun = Instant::now();
    while !audit::tail(dir.path(), 99).unwrap().concat().contains("refused_more") {
        assert!(begun.elapsed() < Duration::from_secs(5), "never counted up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_log_that_fails_refuses_effects_and_then_everything() {
    let audit = Audit::in_memory(clock()).unwrap();
    run(audit.record(read_of(0))).unwrap();
    audit.fail_with(Some("no space left on device"));
    let fault = run(audit.record(full())).unwrap_err();
    assert!(fault.to_string().contains("no space left"), "{fault}");
    assert!(audit.health().is_err());
    let mut accepted = 0;
    let fault = loop {
        match audit.note(read_of(accepted)) {
            Ok(()) => accepted += 1,
            Err(fault) => break fault,
        }
        assert!(accepted < 100_000, "the queue has no end");
    };
    assert!(fault.to_string().contains("full: no space left"), "{fault}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(audit.waiting(), accepted, "what was accepted is kept, not written, not dropped");
    audit.fail_with(None);
    run(audit.record(full())).ok();
    let written = audit.lines().len();
    assert!(written > accepted, "{written} of {accepted}: what was accepted is not lost");
}

#[test]
fn a_folder_that_cannot_be_written_refuses_effects_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open_with(dir.path(), clock(), 1).unwrap();
    run(audit.record(read_of(0))).unwrap();
    let boot = files(dir.path())[0].parent().unwrap().to_owned();
    let away = dir.path().join("away");
    fs::rename(&boot, &away).unwrap();
    let fault = run(audit.record(read_of(1))).unwrap_err();
    assert!(matches!(fault, Fault::Audit(_)) && audit.health().is_err(), "{fault}");
    fs::rename(&away, &boot).unwrap();
    run(audit.record(read_of(2))).unwrap();
    audit.health().unwrap();
    audit.close();
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report), "{report}");
    assert!(
        !audit::tail(dir.path(), 99).unwrap().concat().contains("cus_1\""),
        "refused is not on record"
    );
}

/// The other process of the tests below: writes records until it is stopped.
#[test]
#[ignore = "run by the tests below"]
fn a_child_that_writes() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let audit = Audit::open(Path::new(&dir), clock()).unwrap();
    for n in 0..1_000_000 {
        audit.note(read_of(n)).ok();
        match run(audit.record(read_of(n))) {
            Ok(()) => println!("acknowledged {n}"),
            Err(fault) => {
                println!("refused {n}: {fault}");
                println!("then {:?}", run(audit.record(read_of(n))).is_err());
                return;
            }
        }
    }
}

fn child(dir: &Path, shell: &str) -> Command {
    let mut command = Command::new("sh");
    let own = std::env::current_exe().unwrap();
    command.arg("-c").arg(format!("{shell} exec \"$0\" \"$@\"")).arg(own);
    command.args(["--exact", "audit::a_child_that_writes", "--ignored", "--nocapture"]);
    command.env(CHILD, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn acknowledged(output: &str) -> usize {
    output.lines().filter(|l| l.contains("acknowledged ")).count()
}

#[test]
fn a_process_that_is_killed_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for enough in [1, 7, 30] {
        let mut child = child(dir.path(), "").spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut seen) = (String::new(), 0);
        while seen < enough && said.read_line(&mut line).unwrap() > 0 {
            seen += acknowledged(&line);
            line.clear();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        said.read_to_string(&mut line).unwrap();
        total += seen + acknowledged(&line);
    }
    write(dir.path(), 1, 1 << 20);
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report), "{report}");
    assert!(total >= 38, "the children wrote {total}");
    assert!(report.records > u64::try_from(total).unwrap(), "{total} acknowledged: {report}");
}

#[test]
fn a_full_disk_refuses_effects_and_leaves_a_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    // A file size limit is the full disk that a test may have: 16 blocks of 512 bytes.
    let output = child(dir.path(), "trap '' XFSZ; ulimit -f 16;").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("refused ") && said.contains("too large"), "{said}");
    let on_record = lines_so_far(dir.path());
    let report = audit::verify(dir.path()).unwrap();
    assert!(holds(&report) && report.open_tail == 0, "{report}");
    assert!(on_record > acknowledged(&said), "{on_record} lines");
}

/// What a record costs: run with `--release -- --ignored --nocapture cost_of_a_record`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_record() {
    let audit = Audit::in_memory(clock()).unwrap();
    for (what, entries) in [
        ("a read", (0..8_000).map(read_of).collect::<Vec<_>>()),
        ("all that a record can hold", (0..8_000).map(|_| full()).collect()),
    ] {
        let begun = Instant::now();
        for entry in entries {
            audit.note(entry).unwrap();
        }
        let accepted = begun.elapsed();
        audit.lines();
        println!(
            "{what}: accepted {:?}, written {:?} each",
            accepted / 8_000,
            begun.elapsed() / 8_000
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), clock()).unwrap();
    let begun = Instant::now();
    run(async {
        for _ in 0..500 {
            audit.record(full()).await.unwrap();
        }
    });
    println!("on disk, one after another: {:?} each", begun.elapsed() / 500);
}

//! What is signed of the record, whether others can verify it, and what it shows that the chain alone cannot.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tollhouse::audit::keep::Keep;
use tollhouse::audit::{Against, Checkpoint, Signing, SigningKey, VerifyingKey};

use super::*;

fn openssl(words: &[&str]) -> std::process::Output {
    let run = Command::new("openssl").args(words).output();
    run.expect("openssl is missing: install it with `apt-get install openssl`")
}

/// A key as an operator makes one, in a file.
fn key_file(dir: &Path) -> PathBuf {
    let path = dir.join("audit.pem");
    let made = openssl(&["genpkey", "-algorithm", "ed25519", "-out", path.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    path
}

fn new_key() -> SigningKey {
    SigningKey::from_pem(SigningKey::new_pem().unwrap().as_bytes()).unwrap()
}

fn key_of(pem: &[u8]) -> SigningKey {
    SigningKey::from_pem(pem).unwrap()
}

/// A signature after each batch.
fn signing(key: SigningKey) -> Signing {
    let (every, records) = (Duration::from_secs(1), 1);
    Signing { key, every, records, fleet: None, keep: None, segment_bytes: Some(4000) }
}

/// Writes `n` effects and gives every checkpoint that there was time to see, the last one surely.
fn sign(dir: &Path, n: usize, signing: Signing) -> Vec<Arc<Checkpoint>> {
    let audit = Audit::open_signed(dir, clock(), signing).unwrap();
    let mut newest = audit.signs().newest();
    let mut seen = vec![];
    run(async {
        for n in 0..n {
            audit.record(read_of(n)).await.unwrap();
            if newest.has_changed().unwrap() {
                seen.extend(newest.borrow_and_update().clone());
            }
        }
    });
    audit.close();
    seen.extend(newest.borrow_and_update().clone().filter(|_| true));
    seen.dedup();
    seen
}

fn collected(all: &[Arc<Checkpoint>]) -> Vec<(PathBuf, String)> {
    let text: String = all
        .iter()
        .map(|one| format!("{}\n", serde_json::json!({ "kind": "checkpoint", "note": one.note })))
        .collect();
    vec![("collected".into(), text)]
}

fn against(keys: &[&VerifyingKey], collected: Vec<(PathBuf, String)>) -> Against {
    Against { keys: keys.iter().map(|key| (*key).clone()).collect(), collected }
}

fn why(report: &Report) -> &str {
    report.finding.as_ref().map_or("", |finding| &finding.why)
}

/// Removes every checkpoint beside the log: whoever owns the disk can.
fn strip_notes(dir: &Path) {
    for file in files(dir) {
        let note = file.with_extension("note");
        if note.exists() {
            fs::remove_file(note).unwrap();
        }
    }
}

/// Links lines anew, by an independent hand: what somebody does who has the disk and not the key.
fn rewritten(lines: &[String], edit: impl Fn(usize, String) -> String) -> Vec<String> {
    let mut prev = String::new();
    let mut all = vec![];
    for (n, line) in lines.iter().enumerate() {
        let (head, _) = line.rsplit_once(",\"hash\":\"").unwrap();
        let mut canonical = edit(n, format!("{head}}}"));
        let at = canonical.find("\"prev\":\"").unwrap() + 8;
        if prev.is_empty() {
            prev = canonical[at..at + 64].to_owned();
        }
        canonical.replace_range(at..at + 64, &prev);
        let bytes: Vec<u8> =
            (0..32).map(|i| u8::from_str_radix(&prev[2 * i..2 * i + 2], 16).unwrap()).collect();
        let hashed = [&bytes[..], canonical.as_bytes()].concat();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &hashed);
        prev = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        all.push(format!("{},\"hash\":\"{prev}\"}}", canonical.strip_suffix('}').unwrap()));
    }
    all
}

#[test]
fn a_checkpoint_is_a_note_that_another_implementation_verifies() {
    let home = tempfile::tempdir().unwrap();
    let file = key_file(home.path());
    let key = key_of(&fs::read(&file).unwrap());
    let dir = home.path().join("audit");
    let last = sign(&dir, 5, signing(key)).pop().unwrap();
    let public = home.path().join("public.pem");
    let (from, to) = (file.to_str().unwrap(), public.to_str().unwrap());
    assert!(openssl(&["pkey", "-in", from, "-pubout", "-out", to]).status.success());
    // c2sp.org/signed-note by another hand.
    let (text, signed) = last.note.rsplit_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let line = signed.trim_end().strip_prefix("\u{2014} ").unwrap();
    let (name, coded) = line.split_once(' ').unwrap();
    let bytes = STANDARD.decode(coded).unwrap();
    let (message, signature) = (home.path().join("text"), home.path().join("sig"));
    fs::write(&message, &text).unwrap();
    fs::write(&signature, &bytes[4..]).unwrap();
    let verify = |message: &Path| {
        let words = ["pkeyutl", "-verify", "-pubin", "-inkey", to, "-rawin", "-in"];
        let more = [message.to_str().unwrap(), "-sigfile", signature.to_str().unwrap()];
        openssl(&[&words[..], &more[..]].concat()).status.success()
    };
    assert!(verify(&message), "openssl does not take it: {}", last.note);
    fs::write(&message, text.replace("tollhouse", "tollhause")).unwrap();
    assert!(!verify(&message), "openssl takes anything");
    let pem = fs::read_to_string(&public).unwrap();
    let der = STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
    let named = [name.as_bytes(), b"\n\x01", &der[12..]].concat();
    let id = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &named);
    assert_eq!(bytes[..4], id.as_ref()[..4], "the key id");
    // c2sp.org/tlog-checkpoint: origin, size, hash; and what they stand for.
    let all: Vec<String> = files(&dir).iter().flat_map(|file| lines(file)).collect();
    let end: Json = serde_json::from_str(all.last().unwrap()).unwrap();
    let header: Json = serde_json::from_str(&all[0]).unwrap();
    let said: Vec<&str> = text.lines().collect();
    assert_eq!(said[0], format!("tollhouse.audit/{}", header["chain"].as_str().unwrap()));
    assert_eq!(said[1], all.len().to_string());
    let hash: String =
        STANDARD.decode(said[2]).unwrap().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(end["hash"], Json::from(hash));
    assert!(said[3].starts_with("boot ") && said[5] == "time 2026-03-01T12:00:00.000Z", "{said:?}");
    // The same key by its PEM and by its name.
    let by_pem = VerifyingKey::parse(&pem).unwrap();
    assert_eq!(VerifyingKey::parse(&by_pem.to_string()).unwrap(), by_pem);
    assert_eq!(by_pem.to_pem(), pem);
    let report = audit::verify_against(&dir, &against(&[&by_pem], collected(&[last]))).unwrap();
    assert!(holds(&report), "{report}");
    assert!(report.to_string().contains("up to the last record"), "{report}");
}

#[test]
fn a_key_of_ours_is_one_for_openssl() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("own.pem");
    let pem = SigningKey::new_pem().unwrap();
    fs::write(&file, &*pem).unwrap();
    let shown = openssl(&["pkey", "-in", file.to_str().unwrap(), "-pubout"]);
    let public = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(public, key_of(pem.as_bytes()).verifier().to_pem());
}

#[test]
fn an_end_that_was_cut_off_shows_against_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let key = new_key();
    let public = key.verifier().clone();
    let all = sign(dir.path(), 6, Signing { segment_bytes: None, ..signing(key) });
    assert!(all.len() > 2, "{all:?}");
    let file = files(dir.path()).pop().unwrap();
    let mut text = lines(&file);
    text.truncate(5);
    put(&file, &text);
    // The checkpoint beside it says so already; who owns the disk takes it away.
    let beside = audit::verify(dir.path()).unwrap();
    assert!(why(&beside).contains("its end was cut off"), "{beside}");
    strip_notes(dir.path());
    assert!(holds(&audit::verify(dir.path()).unwrap()), "the chain alone does not show it");
    let against = against(&[&public], collected(&all));
    let report = audit::verify_against(dir.path(), &against).unwrap();
    let finding = report.finding.as_ref().unwrap();
    assert!(finding.why.contains("the log has 5 records") && finding.why.contains("stands for"));
    assert_eq!(&*finding.file, Path::new("collected"));
}

#[test]
fn a_chain_that_was_written_anew_shows_against_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let all = sign(dir.path(), 6, Signing { segment_bytes: None, ..signing(new_key()) });
    let file = files(dir.path()).pop().unwrap();
    let text = lines(&file);
    assert_eq!(rewritten(&text, |_, line| line), text, "the other hand links as we do");
    put(
        &file,
        &rewritten(&text, |n, line| if n == 3 { line.replace("cus_2", "cus_7") } else { line }),
    );
    strip_notes(dir.path());
    assert!(holds(&audit::verify(dir.path()).unwrap()), "the chain alone does not show it");
    let report = audit::verify_against(dir.path(), &against(&[], collected(&all))).unwrap();
    assert!(why(&report).contains("the chain was written anew"), "{report}");
    // A whole other log in its place, with a name of its own.
    let other = tempfile::tempdir().unwrap();
    sign(other.path(), 9, signing(new_key()));
    let report = audit::verify_against(other.path(), &against(&[], collected(&all))).unwrap();
    assert!(why(&report).contains("none of the checkpoints given is of this log"), "{report}");
    assert_eq!(report.others.len(), 1);
    // Checkpoints of several logs in one file are held to the log that each is of.
    let both = collected(&[&all[..], &sign(other.path(), 1, signing(new_key()))[..]].concat());
    let report = audit::verify_against(other.path(), &against(&[], both)).unwrap();
    assert!(holds(&report) && report.others.len() == 1, "{report}");
}

#[test]
fn a_signature_counts_for_its_key_and_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new, other) = (new_key(), new_key(), new_key());
    let (was, is, stranger) =
        (old.verifier().clone(), new.verifier().clone(), other.verifier().clone());
    let first = sign(dir.path(), 3, signing(old));
    let second = sign(dir.path(), 3, signing(new));
    let verify = |keys: &[&VerifyingKey], all: &[Arc<Checkpoint>]| {
        let all = if all.is_empty() { vec![] } else { collected(all) };
        audit::verify_against(dir.path(), &against(keys, all)).unwrap()
    };
    let report = verify(&[&was, &is], &[&first[..], &second[..]].concat());
    assert!(holds(&report) && report.held_to.1 >= 2, "{report}");
    assert!(why(&verify(&[&stranger], &[])).contains("signed by none of the keys"));
    assert!(why(&verify(&[&is], &[])).contains("signed by none of the keys"), "the old one counts");
    // The text of one under the signature of another, and a signature that is a little off.
    let last = second.last().unwrap();
    let forged = |note: String| {
        let json = serde_json::json!({ "kind": "checkpoint", "note": note }).to_string();
        let all = vec![(PathBuf::from("forged"), json)];
        audit::verify_against(dir.path(), &against(&[&was, &is], all)).unwrap()
    };
    assert!(holds(&forged(last.note.to_string())));
    let size = format!("\n{}\n", last.head.size);
    let lied = last.note.replacen(&size, "\n2\n", 1);
    assert!(why(&forged(lied)).contains("is forged"));
    let (head, coded) = last.note.trim_end().rsplit_once(' ').unwrap();
    let mut bytes = STANDARD.decode(coded).unwrap();
    bytes[40] ^= 1;
    assert!(why(&forged(format!("{head} {}\n", STANDARD.encode(&bytes)))).contains("is forged"));
    // A witness that nobody knows may sign besides.
    let mut more = last.note.to_string();
    more.push_str(&format!("\u{2014} witness.example {}\n", STANDARD.encode([7; 68])));
    assert!(holds(&forged(more)));
    // Without a key the same text is only compared.
    let report = verify(&[], &second);
    assert!(holds(&report) && report.to_string().ends_with("signatures not checked"), "{report}");
    // No note beside the log and none given: the key proves nothing.
    strip_notes(dir.path());
    assert!(why(&verify(&[&is], &[])).contains("no checkpoint of this log is signed"));
}

#[test]
fn what_somebody_else_wrote_into_a_file_of_checkpoints_is_read_with_care() {
    let dir = tempfile::tempdir().unwrap();
    let key = new_key();
    let public = key.verifier().clone();
    let all = sign(dir.path(), 3, signing(key));
    let note = &all.last().unwrap().note;
    let line = serde_json::json!({ "kind": "checkpoint", "note": note }).to_string();
    let verify = |text: &str| {
        let given = vec![(PathBuf::from("given"), text.to_owned())];
        audit::verify_against(dir.path(), &against(&[&public], given)).unwrap()
    };
    let hook = serde_json::json!({ "type": "checkpoint", "data": { "note": note } });
    let docker = serde_json::json!({ "log": format!("{line}\n"), "stream": "stdout" });
    for good in [
        note.to_string(),
        format!("agents   http://127.0.0.1:1\n{line}\nnoise\n{line}\n"),
        format!("2026-03-01T12:00:00Z stdout F {line}\n"),
        format!("{hook}\n"),
        format!("{docker}\n{{\"level\":\"info\",\"what\":\"a checkpoint is no checkpoint\"}}\n"),
        format!("1-0\nchain\nx\nnote\n{note}{note}1-1\nsize\n"),
        note.replace('\n', "\r\n").replace("\r\n", "\n"),
    ] {
        let report = verify(&good);
        assert!(holds(&report) && report.held_to.1 >= 1, "{good}: {report}");
    }
    let head = note.split_once("\n\n").unwrap().0;
    let lines: Vec<&str> = note.lines().collect();
    for bad in [
        String::new(),
        "nothing here".to_owned(),
        "{\"kind\":\"checkpoint\"}".to_owned(),
        "{\"kind\":\"checkpoint\",\"note\":7}".to_owned(),
        line[..line.len() - 9].to_owned(),
        head.to_owned(),
        format!("{head}\n\n"),
        format!("{head}\n\n\u{2014} a b\n"),
        format!("{head}\n\n\u{2014} tollhouse.audit AAAA\n"),
        note.replace(lines[1], "-1"),
        note.replacen(lines[1], "007", 1),
        note.replacen(lines[1], "99999999999999999999999", 1),
        note.replace(lines[2], "AAAA"),
        note.replace(lines[2], "\u{0}"),
        note.replace("tollhouse.audit/", "tollhouse.audit/ "),
        format!("tollhouse.audit/{}\n", "x".repeat(100_000)),
        format!("tollhouse.audit/a\n{}", "\u{2014} a AAAAAAAA\n".repeat(10_000)),
        "[".repeat(100_000) + "{checkpoint",
        format!("{{\"a\":{}checkpoint", "[".repeat(100_000)),
    ] {
        let report = verify(&bad);
        assert!(!holds(&report), "{}: {report}", &bad[..bad.len().min(300)]);
    }
    // Any byte of a note but its time's precision is held.
    for at in 0..note.len() {
        let mut bytes = note.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let report = verify(&serde_json::json!({ "kind": "checkpoint", "note": text }).to_string());
        assert!(!holds(&report), "byte {at} changed unseen: {text}");
    }
}

#[test]
fn what_is_counted_is_counted_on_over_boots_and_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let pem = SigningKey::new_pem().unwrap();
    let key = || key_of(pem.as_bytes());
    let mut all = vec![];
    for torn in ["", "{\"half", "\0\0\0", "a line\nand more\n"] {
        all.extend(sign(dir.path(), 20, signing(key())));
        let file = files(dir.path()).pop().unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap()
            .write_all(torn.as_bytes())
            .unwrap();
    }
    all.extend(sign(dir.path(), 1, signing(key())));
    let report =
        audit::verify_against(dir.path(), &against(&[key().verifier()], collected(&all))).unwrap();
    assert!(holds(&report) && report.recovered == 3, "{report}");
    assert_eq!(report.signed, Some(report.records), "the last says how many there are");
    assert!(report.held_to.0 >= report.segments - 3, "each segment has its checkpoint: {report}");
}

#[test]
fn a_log_of_before_there_were_checkpoints_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 30, 4000);
    write(dir.path(), 30, 4000);
    let mut all: Vec<String> = files(dir.path()).iter().flat_map(|file| lines(file)).collect();
    // As it was written then: headers that do not say how many records stand before them.
    all = rewritten(&all, |_, line| match line.find(",\"records\":") {
        Some(at) => format!("{},{}", &line[..at], line[at + 1..].split_once(',').unwrap().1),
        None => line,
    });
    let mut rest = all.as_slice();
    for file in files(dir.path()) {
        let (own, more) = rest.split_at(lines(&file).len());
        put(&file, own);
        rest = more;
    }
    assert!(holds(&audit::verify(dir.path()).unwrap()));
    let key = new_key();
    let public = key.verifier().clone();
    let last = sign(dir.path(), 3, signing(key));
    let report = audit::verify_against(dir.path(), &against(&[&public], collected(&last))).unwrap();
    assert!(holds(&report) && report.signed == Some(report.records), "{report}");
}

/// An effect that is about to be sent.
fn intent_of(n: u8) -> Entry {
    Entry {
        operation: Some(OperationId([n; 32])),
        intent: Some("c2VhbGVk".into()),
        ..Entry::of(Event::Allowed)
    }
}

fn end_of(n: u8) -> Entry {
    Entry {
        operation: Some(OperationId([n; 32])),
        state: Some("done"),
        ..Entry::of(Event::Settled)
    }
}

/// A log of two days whose first day has effects, one of which never ended; all of it is exported.
fn two_days(dir: &Path, keep: Keep) -> (Audit, Clock, VerifyingKey) {
    let clock = clock();
    let key = new_key();
    let public = key.verifier().clone();
    let signing = Signing { keep: Some(keep), ..signing(key) };
    let audit = Audit::open_signed(dir, clock.clone(), signing).unwrap();
    run(async {
        for n in 1..=9 {
            audit.record(intent_of(n)).await.unwrap();
            if n != 4 {
                audit.record(end_of(n)).await.unwrap();
            }
        }
        for n in 0..60 {
            audit.record(read_of(n)).await.unwrap();
        }
        clock.turn(Duration::from_secs(48 * 3600));
        for n in 0..60 {
            audit.record(read_of(n)).await.unwrap();
        }
    });
    (audit, clock, public)
}

fn export(audit: &Audit) {
    let begun = Instant::now();
    while audit.signs().uncovered(Timestamp(i64::MAX)) > Duration::ZERO {
        if let Some(newest) = audit.signs().newest().borrow().clone() {
            audit.signs().is_exported(&newest);
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "never signed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_too_old_goes_once_others_have_what_stands_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(24 * 3600);
    let (audit, _, public) = two_days(dir.path(), Keep::For(day));
    let before = files(dir.path());
    assert_eq!(run(audit.remove_old(dir.path())).unwrap(), 0, "nobody else has a checkpoint");
    assert_eq!(files(dir.path()), before);
    export(&audit);
    let removed = run(audit.remove_old(dir.path())).unwrap();
    assert!(removed >= 2, "{removed}");
    assert_eq!(files(dir.path()).len(), before.len() - removed);
    assert_eq!(run(audit.remove_old(dir.path())).unwrap(), 0, "the rest is young");
    let intents = audit::intents(dir.path()).unwrap();
    let open: Vec<u8> = intents.open.iter().map(|one| one.operation.0[0]).collect();
    assert_eq!(open, [4], "what a lost store needs is still there");
    assert_eq!(intents.open[0].sealed, b"sealed");
    assert!(intents.effects > 0, "a log with a removed beginning is no new one");
    assert!(audit::latest(dir.path(), 9).unwrap().is_empty(), "nothing of today was sent");
    audit.close();
    let holding = audit::verify_against(dir.path(), &against(&[&public], vec![])).unwrap();
    assert!(holds(&holding) && holding.removed > 0, "{holding}");
    assert!(holding.to_string().contains("were removed, which is on record"), "{holding}");
    let without = audit::verify(dir.path()).unwrap();
    assert!(why(&without).contains("the beginning of the log is missing"), "{without}");
    // One more goes, by another hand.
    let first = files(dir.path()).remove(0);
    let gone = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    let report = audit::verify_against(dir.path(), &against(&[&public], vec![])).unwrap();
    assert!(why(&report).contains("no record says that they were removed"), "{report}");
    fs::write(&first, gone).unwrap();
    // A removal that was cut short goes on as if nothing had been.
    let last = sign(dir.path(), 1, signing(new_key())).pop().unwrap();
    assert!(last.head.size > holding.removed + holding.records, "it is counted on");
}

#[test]
fn what_is_too_much_goes_and_the_newest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _, public) = two_days(dir.path(), Keep::Bytes(12_000));
    export(&audit);
    assert!(run(audit.remove_old(dir.path())).unwrap() >= 2);
    let bytes: u64 = files(dir.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!((8_000..=14_000).contains(&bytes), "{bytes}");
    audit.close();
    let report = audit::verify_against(dir.path(), &against(&[&public], vec![])).unwrap();
    assert!(holds(&report), "{report}");
    // A checkpoint of a time whose records are gone can be looked at no more, a later one can.
    let all = [audit.signs().newest().borrow().clone().unwrap()];
    let report = audit::verify_against(dir.path(), &against(&[&public], collected(&all))).unwrap();
    assert!(holds(&report) && report.held_to.1 == 1, "{report}");
}

#[test]
fn how_old_what_nobody_has_is() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let audit = Audit::open_signed(dir.path(), clock.clone(), signing(new_key())).unwrap();
    let age = || audit.signs().uncovered(clock.now()).as_secs();
    assert_eq!(age(), 0, "nothing is on record");
    run(audit.record(read_of(1))).unwrap();
    clock.turn(Duration::from_secs(7));
    assert_eq!(age(), 7);
    run(audit.record(read_of(2))).unwrap();
    assert_eq!(age(), 7, "the oldest counts");
    export(&audit);
    assert_eq!(age(), 0);
    assert!(audit.signs().is_not_exported(), "the first failure is news");
    assert!(!audit.signs().is_not_exported(), "the second is not");
    let newest = audit.signs().newest().borrow().clone().unwrap();
    assert!(audit.signs().is_exported(&newest), "so is the recovery");
    assert!(!audit.signs().is_exported(&newest));
}

#[test]
fn what_is_no_key_is_told_without_a_word_of_it() {
    for bad in ["", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"]
    {
        let said = SigningKey::from_pem(bad.as_bytes()).unwrap_err();
        assert!(said.contains("openssl genpkey") && !said.contains("c2Vj"), "{said}");
    }
    let private = SigningKey::new_pem().unwrap();
    let said = VerifyingKey::parse(&private).unwrap_err();
    assert!(said.contains("is a private key"), "{said}");
    for bad in ["", "a+b", "a+00000000+AAAA", "tollhouse.audit+00000000+AQEB"] {
        VerifyingKey::parse(bad).unwrap_err();
    }
    let shown = new_key().verifier().to_string();
    let other = shown.replacen("tollhouse.audit", "tollhouse.other", 1);
    assert!(VerifyingKey::parse(&other).unwrap_err().contains("its id"), "the name is held");
}

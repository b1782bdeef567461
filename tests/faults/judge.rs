//! What is true at the end: the vendor's books against the operations, the audit log and every answer
//! that an agent got.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollhouse::clock::Timestamp;

use super::drive::{Frozen, Intent, Run, Style};
use super::stand::{AUTO, BUDGET, CUSTOMERS};
use super::vendor::{Effect, Mode, PAID, Sending};
use crate::support::agent::Call;
use crate::support::house::run as ran;

/// What was on its way when a freeze was told may still come.
const ON_ITS_WAY: Duration = Duration::from_millis(400);

/// Everything works again: what is open comes to its end, as far as anybody can know it.
pub fn heal(run: &Run, patience: Duration) {
    run.vendor.heal();
    until(Duration::from_secs(20), || run.stand.is_whole());
    settle(run, patience);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= run.count {
                        return;
                    }
                    ask_again(run, &Intent::of(run.seed, number));
                }
            });
        }
    });
    settle(run, patience);
    people_say(run);
}

/// What nobody can know but somebody who asks the vendor is shown to people, and they say what they saw.
fn people_say(run: &Run) {
    let effects = run.vendor.effects();
    for record in run.stand.listed(0, "/v1/operations?state=unknown").unwrap_or_default() {
        let note = note_of(&record);
        let happened = effects.iter().any(|effect| effect.note == note && !effect.is_failed());
        let timeline = operation(run, record["id"].as_str().unwrap())["timeline"].clone();
        let last = timeline.as_array().and_then(|t| t.last()).map(|m| m["what"].to_string());
        println!("faults: shown as unknown: {} {last:?}, happened: {happened}", record["summary"]);
        let target = format!("/v1/operations/{}/resolve", record["id"].as_str().unwrap());
        let outcome = if happened { "done" } else { "not_done" };
        let said = json!({ "outcome": outcome, "reason": "the vendor's books say so" });
        let reply = run.stand.console(0, Call::new("POST", &target).json(&said)).unwrap();
        run.count(&format!("a person says {outcome}: {}", reply.status));
    }
}

/// An agent that comes back when all is well. Only under the key that it had: minutes later another one
/// is another intent.
fn ask_again(run: &Run, intent: &Intent) {
    if matches!(intent.style, Style::FreshKeys | Style::NoKey) {
        return;
    }
    for which in 0..4 {
        let reply = run.ask(intent, &intent.note, which, Duration::from_secs(20));
        let Some(reply) = reply else {
            let logs = run.stand.houses(|house| {
                let log = std::fs::read_to_string(house.home.path().join("log")).unwrap();
                log.lines().rev().take(20).map(str::to_owned).collect::<Vec<_>>()
            });
            panic!("a process that nobody troubles does not answer; it said: {logs:#?}")
        };
        if !matches!(&*reply.code(), "in_flight" | "undecidable") {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until nothing is open, people answering whatever is held.
fn settle(run: &Run, patience: Duration) {
    until(patience, || {
        // One whose answer was lost is in force, and another replica hears of it a moment later.
        (0..2).for_each(|which| run.lift_all(which));
        for hold in run.stand.listed(0, "/v1/holds").unwrap_or_default() {
            run.approve(hold["id"].as_str().unwrap(), &hold["digest"], 0);
        }
        let open = ["held", "approved", "submitted", "unknown"].iter().any(|state| {
            let listed = run.stand.listed(0, &format!("/v1/operations?state={state}"));
            listed.is_none_or(|listed| !listed.is_empty())
        });
        let frozen = (0..2).any(|which| {
            run.stand.listed(which, "/v1/freezes").is_none_or(|freezes| !freezes.is_empty())
        });
        !open && !frozen && run.vendor.is_settled() && accepted(run) == 0
    });
}

/// Operations that the vendor took as pending and that nobody has followed up yet.
fn accepted(run: &Run) -> usize {
    let effects = run.vendor.effects();
    let notes: BTreeSet<&str> =
        effects.iter().filter(|e| e.was_pending()).map(|e| &*e.note).collect();
    let told = run.told.lock();
    let ops: BTreeSet<&String> = told
        .iter()
        .filter(|told| notes.contains(&*format!("i{}", told.intent)))
        .filter_map(|told| told.op.as_ref())
        .collect();
    ops.into_iter().filter(|op| operation(run, op)["outcome"] == "accepted").count()
}

fn operation(run: &Run, op: &str) -> Value {
    let target = format!("/v1/operations/{op}");
    let reply = run.stand.console(0, Call::new("GET", &target)).expect("the console is there");
    if reply.status == 200 { reply.json() } else { Value::Null }
}

fn until(patience: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() && begun.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the judge found.
#[derive(Default)]
pub struct Judged {
    findings: Vec<String>,
    lines: Vec<String>,
}

impl Judged {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.findings.push(what());
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "  {} findings", self.findings.len())?;
        self.findings.iter().take(40).try_for_each(|finding| writeln!(f, "  FINDING {finding}"))
    }
}

/// One line of the audit log.
struct Line {
    kind: String,
    op: String,
    at: Timestamp,
    state: String,
    is_approved: bool,
}

/// Everything that is known at the end.
struct Books {
    effects: Vec<Effect>,
    by_note: BTreeMap<String, Vec<usize>>,
    by_intent: BTreeMap<String, Vec<String>>,
    ops: BTreeMap<String, Value>,
    lines: BTreeMap<String, Vec<Line>>,
}

impl Books {
    fn of(&self, note: &str) -> Vec<&Effect> {
        let places = self.by_note.get(note).into_iter().flatten();
        places.map(|at| &self.effects[*at]).collect()
    }
}

/// The verdict.
pub fn judge(run: &Run) -> Judged {
    let mut judged = Judged::default();
    let lines = audit(run, &mut judged);
    let ops: BTreeMap<_, _> = lines.keys().map(|op| (op.clone(), operation(run, op))).collect();
    let (mut by_note, mut by_intent) = (BTreeMap::new(), BTreeMap::new());
    let effects_made = run.vendor.effects();
    for (at, effect) in effects_made.iter().enumerate() {
        by_note.entry(effect.note.clone()).or_insert_with(Vec::new).push(at);
    }
    for (op, record) in &ops {
        by_intent.entry(note_of(record)).or_insert_with(Vec::new).push(op.clone());
    }
    let books = Books { effects: effects_made, by_note, by_intent, ops, lines };
    effects(run, &books, &mut judged);
    operations(&books, &mut judged);
    answers(run, &books, &mut judged);
    freezes(run, &mut judged);
    budgets(run, &books, &mut judged);
    figures(run, &books, &mut judged);
    judged
}

fn audit(run: &Run, judged: &mut Judged) -> BTreeMap<String, Vec<Line>> {
    let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for verified in run.stand.houses(|house| (house.verify(), house.audit())) {
        let (verified, folder) = verified;
        judged.must(verified.code == 0, || format!("the audit log does not hold: {verified:?}"));
        judged.lines.push(verified.out.trim().to_owned());
        let mut words = vec!["-r".to_owned(), "--no-filename".to_owned(), "operation".to_owned()];
        words.push(folder.to_str().unwrap().to_owned());
        for line in ran(std::process::Command::new("grep").args(words)).out.lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let record = line.get("record").unwrap_or(&line);
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let Some(at) = Timestamp::parse(&text("timestamp")) else { continue };
            if text("operation").is_empty() {
                continue;
            }
            let is_approved = record["approvals"].as_array().is_some_and(|a| !a.is_empty());
            let own = Line {
                kind: text("kind"),
                op: text("operation"),
                at,
                state: text("state"),
                is_approved,
            };
            lines.entry(own.op.clone()).or_default().push(own);
        }
    }
    lines
}

fn note_of(operation: &Value) -> String {
    let summary = operation["summary"].as_str().unwrap_or_default();
    summary.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Each effect once, wanted, allowed before it happened, approved where it had to be, and paid for.
fn effects(run: &Run, books: &Books, judged: &mut Judged) {
    let mut seen: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
    let mut sums: BTreeMap<(Mode, &str), i64> = BTreeMap::new();
    let keys: BTreeMap<&str, &String> = books
        .ops
        .iter()
        .filter_map(|(op, record)| Some((record["upstream_key"].as_str()?, op)))
        .collect();
    let notes: BTreeMap<String, &String> =
        books.ops.iter().map(|(op, record)| (note_of(record), op)).collect();
    for effect in &books.effects {
        seen.entry(&effect.note).or_default().push(effect);
        if !effect.is_failed() {
            *sums.entry((effect.mode, &effect.sale)).or_default() += effect.minor;
        }
        let op = match effect.mode {
            Mode::Keyed | Mode::Wary => keys.get(&*effect.key),
            Mode::Marked => keys.get(&*effect.mark),
            Mode::Plain => notes.get(&effect.note),
        };
        let Some(op) = op else {
            judged.findings.push(format!("an effect without an operation: {effect:?}"));
            continue;
        };
        let record = &books.ops[*op];
        judged.must(note_of(record) == effect.note, || format!("{effect:?} is not of {record}"));
        let lines = &books.lines[*op];
        let before = |line: &&Line| line.at <= effect.at;
        let allowed = |line: &Line| line.kind == "allowed" || line.kind == "resent";
        judged.must(lines.iter().filter(before).any(allowed), || {
            format!("an effect that was not on record before it happened: {effect:?} of {op}")
        });
        let approved = |line: &Line| line.kind == "approved" || line.is_approved;
        let is_approved = lines.iter().filter(before).any(approved);
        judged.must(effect.minor <= AUTO || is_approved, || {
            format!("a held effect without an approval: {effect:?} of {op}")
        });
    }
    for (note, effects) in seen {
        judged.must(effects.len() == 1, || {
            format!("{} effects for {note}: {effects:?}\n{}", effects.len(), story(books, note))
        });
        let number = note.strip_prefix('i').and_then(|n| n.parse().ok());
        if let Some(intent) = number.map(|n| Intent::of(run.seed, n)) {
            let fits = effects.iter().all(|e| e.minor == intent.minor && e.sale == intent.sale);
            judged.must(fits, || format!("{intent:?} came to {effects:?}"));
        }
    }
    for ((mode, sale), sum) in sums {
        judged.must(sum <= PAID || sale.contains("huge"), || {
            format!("{sum} was given back of {PAID} of {sale} at {}", mode.name())
        });
    }
}

/// All that is known of an intent, for whoever looks for the reason.
fn story(books: &Books, note: &str) -> String {
    let mut text = String::new();
    for op in books.by_intent.get(note).into_iter().flatten() {
        let record = &books.ops[op];
        text.push_str(&format!("    {op} {} {}\n", record["state"], record["outcome"]));
        for moment in record["timeline"].as_array().into_iter().flatten() {
            text.push_str(&format!("      {} {}\n", moment["at"], moment["what"]));
        }
        for line in &books.lines[op] {
            text.push_str(&format!("      on record {} {} {}\n", line.at, line.kind, line.state));
        }
    }
    text
}

/// What the store says happened did, and what it says did not happen did not.
fn operations(books: &Books, judged: &mut Judged) {
    let mut settled_without_a_line = 0;
    for (op, record) in &books.ops {
        let note = note_of(record);
        let made = books.of(&note);
        let there = made.iter().any(|effect| !effect.is_failed());
        let state = record["state"].as_str().unwrap_or("lost");
        let outcome = record["outcome"].as_str().unwrap_or_default();
        let fits = match (state, outcome) {
            ("done", "succeeded") => there,
            ("done", "accepted") => !made.is_empty(),
            ("done", "rejected") => !there,
            ("unknown", _) => true,
            ("not_sent" | "refused" | "held" | "approved", _) => made.is_empty(),
            // Only what was refused before anything was reserved has no record.
            ("lost", _) => made.is_empty() && note.is_empty(),
            _ => false,
        };
        judged.must(fits, || {
            format!("{op} is {state} {outcome}, but: {made:?}\n{}", story(books, &note))
        });
        judged.must(record["contradiction"] != true, || {
            format!("{op} contradicts itself\n{}", story(books, &note))
        });
        let on_record = |line: &Line| line.state == state;
        if state == "done" && !books.lines[op].iter().any(on_record) {
            settled_without_a_line += 1;
        }
    }
    if settled_without_a_line > 0 {
        judged.lines.push(format!(
            "{settled_without_a_line} outcomes are in the store and not in the audit log (killed between)"
        ));
    }
}

/// What an agent was told is so, and everybody who asked was told the same.
fn answers(run: &Run, books: &Books, judged: &mut Judged) {
    let mut yes: BTreeMap<u64, String> = BTreeMap::new();
    for told in run.told.lock().iter() {
        let note = format!("i{}", told.intent);
        let made = books.of(&note);
        if told.is_yes() {
            let id = told.reply.json()["id"].as_str().unwrap_or_default().to_owned();
            judged.must(made.iter().any(|effect| effect.id == id), || {
                format!(
                    "{note} was told yes and nothing happened: {:?}\n{}",
                    told.reply,
                    story(books, &note)
                )
            });
            let body = &told.reply.body;
            let first = yes.entry(told.intent).or_insert_with(|| body.clone());
            judged.must(first == body, || format!("{note} was told {first} and then {body}"));
        }
        if told.code == "already_rejected" {
            judged.must(!made.iter().any(|effect| !effect.is_failed()), || {
                format!("{note} was told it is not done, and it is\n{}", story(books, &note))
            });
        }
        if told.code == "already_done" {
            judged.must(made.iter().any(|effect| !effect.is_failed()), || {
                format!("{note} was told it is done, and it is not\n{}", story(books, &note))
            });
        }
    }
}

/// I11: what leaves after a freeze was told is none of what it stops.
fn freezes(run: &Run, judged: &mut Judged) {
    let frozen = run.frozen.lock();
    let sendings = run.vendor.sendings();
    for Frozen { scope, from, to } in frozen.iter() {
        let stops = |sending: &&Sending| match scope.split_once('/') {
            None => true,
            Some(("upstream", name)) => sending.mode.name() == name,
            Some(("action", _)) => sending.mode == Mode::Plain,
            Some(("customer", name)) => {
                let number = sending.note.strip_prefix('i').and_then(|n| n.parse().ok());
                number.is_some_and(|n| Intent::of(run.seed, n).customer == name)
            }
            Some(_) => true,
        };
        let inside = |sending: &&Sending| sending.at > from.plus(ON_ITS_WAY) && sending.at < *to;
        for sending in sendings.iter().filter(inside).filter(stops) {
            judged
                .findings
                .push(format!("{sending:?} left while {scope} was frozen from {from} to {to}"));
        }
    }
}

/// The store's budgets agree with the effects, to the cent.
fn budgets(run: &Run, books: &Books, judged: &mut Judged) {
    for (mode, customer) in Mode::ALL.into_iter().flat_map(|m| CUSTOMERS.map(|c| (m, c))) {
        let own = |sale: &str| sale.starts_with(customer);
        let spent: i64 = books
            .effects
            .iter()
            .filter(|e| e.mode == mode && own(&e.sale) && !e.is_failed())
            .map(|e| e.minor)
            .sum();
        let open = |record: &&Value| {
            let state = record["state"].as_str().unwrap_or_default();
            let sale = record["resource"]["id"].as_str().unwrap_or_default();
            let nothing = !books.of(&note_of(record)).iter().any(|e| !e.is_failed());
            let is_open = matches!(state, "held" | "approved" | "submitted" | "unknown");
            record["upstream"] == mode.name()
                && own(sale)
                && nothing
                && (is_open || record["outcome"] == "accepted")
        };
        let held: i64 =
            books.ops.values().filter(open).filter_map(|r| r["amount"]["minor"].as_i64()).sum();
        let left = BUDGET - spent - held;
        let codes = [left + 1, left].map(|minor| probe(run, (mode, customer), minor));
        judged.must(codes == ["budget_exhausted", "approval_required"], || {
            format!("{} of {customer}: {spent} happened and {held} is open, and of the budget not {left} is left: {codes:?}", mode.name())
        });
    }
}

/// What a call for so much comes to; it is never sent.
fn probe(run: &Run, (mode, customer): (Mode, &'static str), minor: i64) -> String {
    let sale = format!("{customer}-huge-{}", mode.name());
    let number = u64::MAX;
    let note = format!("probe-{minor}");
    let intent = Intent { number, note, mode, customer, sale, minor, style: Style::SameKey };
    let call = intent.call(&intent.note, run.stand.token(customer));
    let reply = call.send(&run.stand.agents(0)).unwrap();
    if reply.code() == "approval_required" {
        let target = format!("/v1/holds/{}/deny", reply.operation());
        let deny = Call::new("POST", &target).json(&json!({ "reason": "only asked" }));
        assert_eq!(run.stand.console(0, deny).unwrap().status, 200);
    }
    reply.code()
}

fn figures(run: &Run, books: &Books, judged: &mut Judged) {
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    for record in books.ops.values() {
        let word = |name: &str| record[name].as_str().unwrap_or_default();
        *states.entry(format!("{} {}", word("state"), word("outcome"))).or_default() += 1;
    }
    let unknown = run.stand.listed(0, "/v1/operations?state=unknown").unwrap_or_default();
    let in_the_books = books.ops.values().filter(|record| record["state"] == "unknown").count();
    judged.must(unknown.len() == in_the_books.min(500), || {
        format!("{} are listed as unknown, {in_the_books} are", unknown.len())
    });
    for record in &unknown {
        let timeline = operation(run, record["id"].as_str().unwrap())["timeline"].clone();
        let last = timeline.as_array().and_then(|t| t.last()).map(|m| m["what"].to_string());
        judged.lines.push(format!("unknown: {} {} {last:?}", record["id"], record["summary"]));
    }
    let failed = books.effects.iter().filter(|effect| effect.is_failed()).count();
    judged.lines.push(format!(
        "{} effects ({failed} failed later) of {} sendings, {} answers to agents",
        books.effects.len(),
        run.vendor.sendings().len(),
        run.told.lock().len()
    ));
    judged.lines.push(format!("operations: {states:?}"));
    judged.lines.push(format!("the vendor: {:?}", run.vendor.counts()));
    judged.lines.push(format!("the rest: {:?}", run.counts.lock()));
}

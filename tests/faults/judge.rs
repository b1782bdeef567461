//! What is true at the end: the vendor's books against the operations, the audit log and every answer
//! that an agent got.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollhouse::call::OperationId;
use tollhouse::clock::Timestamp;

use super::drive::{Frozen, Intent, Run, Style, Told};
use super::people::Compared;
use super::stand::{AUTO, BUDGET, CUSTOMERS, Weather};
use super::vendor::{Effect, Mode, PAID, Sending};
use crate::support::agent::Call;
use crate::support::house::run as ran;

/// What was on its way when a freeze was told may still come.
const ON_ITS_WAY: Duration = Duration::from_millis(400);

/// Everything works again: what is open comes to its end, as far as anybody can know it.
pub fn heal(run: &Run, patience: Duration) {
    run.vendor.heal();
    until(Duration::from_secs(20), || run.stand.is_whole());
    until(Duration::from_secs(40), || {
        run.keep();
        run.losses.lock().iter().all(|loss| loss.is_cleared)
    });
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
    settle_lines(run);
}

/// What was ended is on record a moment later, also where whoever ended it died in between.
fn settle_lines(run: &Run) {
    until(Duration::from_secs(10), || {
        let lines = lines(run, &mut Vec::new());
        let ops = lines.keys().map(|op| (op.clone(), operation(run, op))).collect();
        unrecorded(&History { lines, ops, ..History::default() }).is_empty()
    });
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
    // Nor once the store has forgotten what was asked under it, and a person has seen to that.
    if matches!(intent.style, Style::FreshKeys | Style::NoKey) || run.is_forgotten(intent.number) {
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
            let op = hold["id"].as_str().unwrap();
            match run.compared(&hold) {
                Compared::Fine => drop(run.approve(op, &hold["digest"], 0)),
                Compared::Early => {}
                Compared::Done => run.deny(op, 0),
            }
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
#[derive(Debug, Clone)]
pub struct Line {
    pub kind: String,
    pub at: Timestamp,
    pub state: String,
    pub case: String,
    pub is_approved: bool,
}

/// What was answered to a question about a budget: a cent more than is left, and all that is left.
#[derive(Debug, Clone)]
pub struct Probe {
    pub mode: Mode,
    pub customer: &'static str,
    pub left: i64,
    pub codes: [String; 2],
}

/// Everything that is known at the end.
#[derive(Clone, Default)]
pub struct History {
    pub seed: u64,
    pub effects: Vec<Effect>,
    pub sendings: Vec<Sending>,
    pub told: Vec<Told>,
    pub frozen: Vec<Frozen>,
    /// Operations as the store has them; nothing for one that it has not.
    pub ops: BTreeMap<String, Value>,
    pub lines: BTreeMap<String, Vec<Line>>,
    pub probes: Vec<Probe>,
    /// How many the console lists as unknown.
    pub listed_unknown: usize,
    /// Logs that do not verify, and why.
    pub unsound: Vec<String>,
    /// Intents below this one were begun before the store forgot something.
    pub forgotten: u64,
    /// How far ahead a clock that wrote the log may have been.
    pub ahead: Duration,
    /// What is printed beside.
    pub figures: Vec<String>,
}

impl History {
    fn of(&self, note: &str) -> Vec<&Effect> {
        self.effects.iter().filter(|effect| effect.note == note).collect()
    }

    /// Which intent an operation serves: as the store has it, or as the log has it.
    fn note(&self, op: &str) -> String {
        let stored = self.ops.get(op).map(note_of).unwrap_or_default();
        let lines = self.lines.get(op).into_iter().flatten();
        if stored.is_empty() {
            lines.map(|l| l.case.clone()).find(|c| !c.is_empty()).unwrap_or_default()
        } else {
            stored
        }
    }

    /// Whether the store forgot something after an intent was begun.
    fn is_forgotten(&self, note: &str) -> bool {
        number_of(note).is_some_and(|number| number < self.forgotten)
    }

    /// All that is known of an intent, for whoever looks for the reason.
    fn story(&self, note: &str) -> String {
        let mut text = String::new();
        for (op, lines) in self.lines.iter().filter(|(op, _)| self.note(op) == note) {
            let record = &self.ops[op];
            text.push_str(&format!("    {op} {} {}\n", record["state"], record["outcome"]));
            for moment in record["timeline"].as_array().into_iter().flatten() {
                text.push_str(&format!("      {} {}\n", moment["at"], moment["what"]));
            }
            for line in lines {
                text.push_str(&format!(
                    "      on record {} {} {}\n",
                    line.at, line.kind, line.state
                ));
            }
        }
        text
    }
}

fn number_of(note: &str) -> Option<u64> {
    note.strip_prefix('i')?.parse().ok()
}

pub fn note_of(operation: &Value) -> String {
    let summary = operation["summary"].as_str().unwrap_or_default();
    summary.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Gathers it.
pub fn history(run: &Run) -> History {
    let mut unsound = Vec::new();
    let lines = lines(run, &mut unsound);
    let ops: BTreeMap<_, _> = lines.keys().map(|op| (op.clone(), operation(run, op))).collect();
    let losses = run.losses.lock().clone();
    let mut all = History {
        seed: run.seed,
        effects: run.vendor.effects(),
        sendings: run.vendor.sendings(),
        told: run.told.lock().clone(),
        frozen: run.frozen.lock().clone(),
        ops,
        lines,
        unsound,
        forgotten: losses.iter().map(|loss| loss.next).max().unwrap_or(0),
        ahead: Duration::from_secs(if run.weather == Weather::Foul { 3_700 } else { 0 }),
        ..History::default()
    };
    let unknown = run.stand.listed(0, "/v1/operations?state=unknown").unwrap_or_default();
    all.listed_unknown = unknown.len();
    // What the store forgot of budgets is gone; and where its clock was ahead by more than a hold's time, a
    // question ends before it is answered.
    if run.weather == Weather::Fair {
        for (mode, customer) in Mode::ALL.into_iter().flat_map(|m| CUSTOMERS.map(|c| (m, c))) {
            let left = left(&all, mode, customer);
            let codes = [left + 1, left].map(|minor| probe(run, (mode, customer), minor));
            all.probes.push(Probe { mode, customer, left, codes });
        }
    }
    all.figures = figures(run, &all, losses.len());
    all
}

/// The verdict.
pub fn judge(all: &History) -> Judged {
    let mut judged = Judged { lines: all.figures.clone(), ..Judged::default() };
    for why in &all.unsound {
        judged.findings.push(format!("the audit log does not hold: {why}"));
    }
    effects(all, &mut judged);
    intents(all, &mut judged);
    operations(all, &mut judged);
    answers(all, &mut judged);
    freezes(all, &mut judged);
    for Probe { mode, customer, left, codes } in &all.probes {
        judged.must(*codes == ["budget_exhausted", "approval_required"], || {
            format!("of the budget of {customer} at {} not {left} is left: {codes:?}", mode.name())
        });
    }
    let unknown = all.ops.values().filter(|record| record["state"] == "unknown").count();
    judged.must(all.listed_unknown == unknown.min(500), || {
        format!("{} are listed as unknown, {unknown} are", all.listed_unknown)
    });
    judged
}

fn lines(run: &Run, unsound: &mut Vec<String>) -> BTreeMap<String, Vec<Line>> {
    let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for (verified, folder) in run.stand.houses(|house| (house.verify(), house.audit())) {
        if verified.code != 0 {
            unsound.push(format!("{verified:?}"));
        }
        let mut words = vec!["-r".to_owned(), "--no-filename".to_owned(), "operation".to_owned()];
        words.push(folder.to_str().unwrap().to_owned());
        for line in ran(std::process::Command::new("grep").args(words)).out.lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let record = line.get("record").unwrap_or(&line);
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let (Some(at), op) = (Timestamp::parse(&text("timestamp")), text("operation")) else {
                continue;
            };
            if op.is_empty() {
                continue;
            }
            let is_approved = record["approvals"].as_array().is_some_and(|a| !a.is_empty());
            let (kind, state, case) = (text("kind"), text("state"), text("case"));
            lines.entry(op).or_default().push(Line { kind, at, state, case, is_approved });
        }
    }
    lines
}

/// Each effect belongs to an operation, was allowed before it happened, and approved where it had to be.
fn effects(all: &History, judged: &mut Judged) {
    let key = |op: &String| OperationId::parse(op).map(|op| op.upstream_key());
    let by_key: BTreeMap<String, &String> =
        all.lines.keys().filter_map(|op| Some((key(op)?, op))).collect();
    let mut by_note: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for op in all.lines.keys() {
        by_note.entry(all.note(op)).or_default().push(op);
    }
    for effect in &all.effects {
        let ops: Vec<&String> = match effect.mode {
            Mode::Keyed | Mode::Wary => by_key.get(&effect.key).copied().into_iter().collect(),
            Mode::Marked => by_key.get(&effect.mark).copied().into_iter().collect(),
            Mode::Plain => by_note.get(&effect.note).cloned().unwrap_or_default(),
        };
        if ops.is_empty() {
            judged.findings.push(format!("an effect without an operation: {effect:?}"));
            continue;
        }
        judged.must(ops.iter().any(|op| all.note(op) == effect.note), || {
            format!("an effect of another operation: {effect:?} is not of {ops:?}")
        });
        let lines: Vec<&Line> = ops.iter().flat_map(|op| &all.lines[*op]).collect();
        let before = |line: &&&Line| line.at <= effect.at.plus(all.ahead);
        let allowed = |line: &&Line| line.kind == "allowed" || line.kind == "resent";
        judged.must(lines.iter().filter(before).any(allowed), || {
            format!("an effect that was not on record before it happened: {effect:?} of {ops:?}")
        });
        let approved = |line: &&Line| line.kind == "approved" || line.is_approved;
        let is_approved = lines.iter().filter(before).any(approved);
        judged.must(effect.minor <= AUTO || is_approved, || {
            format!("a held effect without an approval: {effect:?} of {ops:?}")
        });
    }
}

/// Each intent came to one effect at most, to the one that it was, and no sale to more than was paid.
fn intents(all: &History, judged: &mut Judged) {
    let mut seen: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
    let mut sums: BTreeMap<(Mode, &str), i64> = BTreeMap::new();
    for effect in &all.effects {
        seen.entry(&effect.note).or_default().push(effect);
        if !effect.is_failed() {
            *sums.entry((effect.mode, &effect.sale)).or_default() += effect.minor;
        }
    }
    for (note, effects) in seen {
        judged.must(effects.len() == 1, || {
            format!("{} effects for {note}: {effects:?}\n{}", effects.len(), all.story(note))
        });
        if let Some(intent) = number_of(note).map(|number| Intent::of(all.seed, number)) {
            let fits = effects.iter().all(|e| e.minor == intent.minor && e.sale == intent.sale);
            judged.must(fits, || {
                format!("what was wanted is not what was done: {intent:?} came to {effects:?}")
            });
        }
    }
    for ((mode, sale), sum) in sums {
        judged.must(sum <= PAID || sale.contains("huge"), || {
            format!(
                "more was given back than was paid: {sum} of {PAID} of {sale} at {}",
                mode.name()
            )
        });
    }
}

/// Operations that have an end in the store and none on record.
fn unrecorded(all: &History) -> Vec<&String> {
    let ended = |(op, record): &(&String, &Value)| {
        record["state"] == "done" && !all.lines[*op].iter().any(|line| line.state == "done")
    };
    all.ops.iter().filter(ended).map(|(op, _)| op).collect()
}

/// What the store says happened did, and what it says did not happen did not; and its end is on record.
fn operations(all: &History, judged: &mut Judged) {
    for (op, record) in &all.ops {
        let note = all.note(op);
        let made = all.of(&note);
        let there = made.iter().any(|effect| !effect.is_failed());
        let state = record["state"].as_str().unwrap_or("lost");
        let outcome = record["outcome"].as_str().unwrap_or_default();
        let fits = match (state, outcome) {
            // What the store has of it may be its second life.
            _ if all.is_forgotten(&note) => true,
            ("done", "succeeded") => there,
            ("done", "accepted") => !made.is_empty(),
            ("done", "rejected") => !there,
            ("unknown", _) => true,
            ("not_sent" | "refused" | "held" | "approved", _) => made.is_empty(),
            // Only what was refused before anything was reserved has no record.
            ("lost", _) => !all.lines[op].iter().any(|line| line.kind == "allowed"),
            _ => false,
        };
        judged.must(fits, || {
            format!(
                "the store and the vendor differ: {op} is {state} {outcome}, but: {made:?}\n{}",
                all.story(&note)
            )
        });
        judged.must(record["contradiction"] != true, || {
            format!("{op} contradicts itself\n{}", all.story(&note))
        });
    }
    for op in unrecorded(all) {
        let story = all.story(&all.note(op));
        judged.findings.push(format!("an end that is not on record: {op}\n{story}"));
    }
}

/// What an agent was told is so, and everybody who asked was told the same.
fn answers(all: &History, judged: &mut Judged) {
    let mut yes: BTreeMap<u64, &String> = BTreeMap::new();
    for told in &all.told {
        let note = format!("i{}", told.intent);
        let made = all.of(&note);
        let there = made.iter().any(|effect| !effect.is_failed());
        if told.is_yes() {
            let id = told.reply.json()["id"].as_str().unwrap_or_default().to_owned();
            judged.must(made.iter().any(|effect| effect.id == id), || {
                format!("{note} was told yes and nothing happened: {told:?}\n{}", all.story(&note))
            });
            let body = &told.reply.body;
            let first = yes.entry(told.intent).or_insert(body);
            judged.must(*first == body, || format!("{note} was told {first} and then {body}"));
        }
        if told.code == "already_rejected" {
            judged.must(!there, || {
                format!("{note} was told it is not done, and it is\n{}", all.story(&note))
            });
        }
        if told.code == "already_done" {
            judged.must(there, || {
                format!("{note} was told it is done, and it is not\n{}", all.story(&note))
            });
        }
    }
}

/// I11: what leaves after a freeze was told is none of what it stops.
fn freezes(all: &History, judged: &mut Judged) {
    for Frozen { scope, from, to } in &all.frozen {
        let stops = |sending: &&Sending| match scope.split_once('/') {
            None => true,
            Some(("upstream", name)) => sending.mode.name() == name,
            Some(("action", _)) => sending.mode == Mode::Plain,
            Some(("customer", name)) => number_of(&sending.note)
                .is_some_and(|number| Intent::of(all.seed, number).customer == name),
            Some(_) => true,
        };
        let inside = |sending: &&Sending| sending.at > from.plus(ON_ITS_WAY) && sending.at < *to;
        for sending in all.sendings.iter().filter(inside).filter(stops) {
            judged
                .findings
                .push(format!("{sending:?} left while {scope} was frozen from {from} to {to}"));
        }
    }
}

/// What must be left of a budget, to the cent, after what happened and with what is open.
fn left(all: &History, mode: Mode, customer: &str) -> i64 {
    let own = |sale: &str| sale.starts_with(customer);
    let spent: i64 = all
        .effects
        .iter()
        .filter(|e| e.mode == mode && own(&e.sale) && !e.is_failed())
        .map(|e| e.minor)
        .sum();
    let made: BTreeSet<&str> =
        all.effects.iter().filter(|e| !e.is_failed()).map(|e| &*e.note).collect();
    let open = |record: &&Value| {
        let state = record["state"].as_str().unwrap_or_default();
        let sale = record["resource"]["id"].as_str().unwrap_or_default();
        let is_open = matches!(state, "held" | "approved" | "submitted" | "unknown");
        record["upstream"] == mode.name()
            && own(sale)
            && !made.contains(&*note_of(record))
            && (is_open || record["outcome"] == "accepted")
    };
    let held: i64 =
        all.ops.values().filter(open).filter_map(|r| r["amount"]["minor"].as_i64()).sum();
    BUDGET - spent - held
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

fn figures(run: &Run, all: &History, losses: usize) -> Vec<String> {
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    for record in all.ops.values() {
        let word = |name: &str| record[name].as_str().unwrap_or_default();
        *states.entry(format!("{} {}", word("state"), word("outcome"))).or_default() += 1;
    }
    let mut lines = Vec::new();
    for (op, record) in all.ops.iter().filter(|(_, record)| record["state"] == "unknown") {
        let last = record["timeline"].as_array().and_then(|t| t.last()).map(|m| &m["what"]);
        lines.push(format!("unknown: {op} {} {last:?}", record["summary"]));
    }
    let failed = all.effects.iter().filter(|effect| effect.is_failed()).count();
    lines.push(format!(
        "{} effects ({failed} failed later) of {} sendings, {} answers to agents, {losses} losses of the store",
        all.effects.len(),
        all.sendings.len(),
        all.told.len()
    ));
    lines.push(format!("operations: {states:?}"));
    lines.push(format!("the vendor: {:?}", run.vendor.counts()));
    lines.push(format!("the rest: {:?}", run.counts.lock()));
    if let Ok(kept) = std::env::var("FAULTS_LOGS") {
        for (at, log) in run.stand.houses(|house| house.home.path().join("log")).iter().enumerate()
        {
            std::fs::copy(log, format!("{kept}/log-{at}")).unwrap();
        }
    }
    lines
}

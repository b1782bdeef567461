//! Can the judge fail? A history without fault, and for each of its checks one that is forged so that only
//! this check has something to say.

use std::time::Duration;

use serde_json::json;
use tollhouse::call::OperationId;
use tollhouse::clock::{Clock, Timestamp};

use super::drive::{Frozen, Intent, Told};
use super::judge::{History, Line, Probe, judge};
use super::vendor::{Effect, Mode, PAID, Sending};
use crate::support::agent::Reply;

const SEED: u64 = 7;

fn op(number: u64) -> OperationId {
    OperationId([u8::try_from(number % 200).unwrap() + 1; 32])
}

fn line(kind: &str, at: Timestamp, state: &str, note: &str) -> Line {
    let (kind, state, case) = (kind.to_owned(), state.to_owned(), note.to_owned());
    Line { kind, at, state, case, is_approved: false }
}

fn told(intent: &Intent, status: u16, code: &str, id: &str) -> Told {
    let body = if code.is_empty() { json!({ "id": id }) } else { json!({ "code": code }) };
    let reply =
        Reply { status, reason: String::new(), headers: Vec::new(), body: body.to_string() };
    Told { intent: intent.number, status, code: code.to_owned(), op: None, reply }
}

/// The first intents of each road, small enough that no person is asked: all done, all told.
fn fair() -> History {
    let mut all = History { seed: SEED, ..History::default() };
    for mode in Mode::ALL {
        let own = |intent: &Intent| intent.mode == mode && intent.minor <= super::stand::AUTO;
        let intent = (0..150).map(|n| Intent::of(SEED, n)).find(own).unwrap();
        let name = op(intent.number);
        let mut effect = Effect::forged(mode, &intent.note, &intent.sale, intent.minor);
        match mode {
            Mode::Keyed | Mode::Wary => effect.key = name.upstream_key(),
            Mode::Marked => effect.mark = name.upstream_key(),
            Mode::Plain => {}
        }
        let (before, note) = (effect.at.minus(Duration::from_millis(5)), &intent.note);
        let lines = vec![
            line("allowed", before, "submitted", note),
            line("settled", effect.at.plus(Duration::from_millis(5)), "done", note),
        ];
        let record = json!({
            "id": name.to_string(),
            "state": "done",
            "outcome": "succeeded",
            "summary": format!("Refund of sale {}: {note}", intent.sale),
        });
        all.sendings.push(Sending { mode, note: note.clone(), at: effect.at });
        all.told.push(told(&intent, 200, "", &effect.id));
        all.lines.insert(name.to_string(), lines);
        all.ops.insert(name.to_string(), record);
        all.effects.push(effect);
    }
    all
}

/// The place of a road's operation.
fn of(all: &History, mode: Mode) -> (usize, String, Intent) {
    let at = all.effects.iter().position(|effect| effect.mode == mode).unwrap();
    let number: u64 = all.effects[at].note[1..].parse().unwrap();
    (at, op(number).to_string(), Intent::of(SEED, number))
}

#[test]
fn a_history_without_fault_is_found_clean() {
    let judged = judge(&fair());
    assert!(judged.is_clean(), "{judged}");
    let mut forgotten = fair();
    forgotten.forgotten = u64::MAX;
    assert!(judge(&forgotten).is_clean());
}

/// What is forged, and what the judge must say of it.
type Forgery = (&'static str, fn(&mut History));

const FORGERIES: &[Forgery] = &[
    ("the audit log does not hold", |all| all.unsound.push("a line is missing".into())),
    ("an effect without an operation", |all| {
        let (at, _, _) = of(all, Mode::Keyed);
        all.effects[at].key = "th_nobodys".into();
    }),
    ("an effect of another operation", |all| {
        let (_, op, _) = of(all, Mode::Keyed);
        all.ops.get_mut(&op).unwrap()["summary"] = "Refund: i999".into();
    }),
    ("an effect that was not on record before it happened", |all| {
        let (at, op, _) = of(all, Mode::Wary);
        let late = all.effects[at].at.plus(Duration::from_millis(1));
        all.lines.get_mut(&op).unwrap()[0].at = late;
    }),
    ("a held effect without an approval", |all| {
        let large = (0..150).map(|n| Intent::of(SEED, n));
        let large = large.into_iter().find(|i| i.minor > super::stand::AUTO).unwrap();
        let name = op(large.number);
        let mut effect = Effect::forged(Mode::Plain, &large.note, &large.sale, large.minor);
        effect.mode = large.mode;
        effect.key = name.upstream_key();
        effect.mark = name.upstream_key();
        let lines =
            vec![line("allowed", effect.at, "", ""), line("settled", effect.at, "done", "")];
        let summary = format!("Refund: {}", large.note);
        let record = json!({ "state": "done", "outcome": "succeeded", "summary": summary });
        all.lines.insert(name.to_string(), lines);
        all.ops.insert(name.to_string(), record);
        all.effects.push(effect);
    }),
    ("2 effects for", |all| {
        let (at, _, _) = of(all, Mode::Plain);
        let twice = all.effects[at].clone();
        all.effects.push(twice);
    }),
    ("what was wanted is not what was done", |all| {
        let (at, _, _) = of(all, Mode::Marked);
        all.effects[at].minor += 1;
    }),
    ("more was given back than was paid", |all| {
        let (at, _, _) = of(all, Mode::Keyed);
        let (op, effect) = (all.effects[at].key.clone(), all.effects[at].clone());
        // Of nobody's intent, so that it is not the second of one.
        let mut more = effect.clone();
        (more.note, more.key, more.minor) = ("x".into(), op, PAID);
        all.effects.push(more);
    }),
    ("the store and the vendor differ", |all| {
        let (_, op, _) = of(all, Mode::Wary);
        all.ops.get_mut(&op).unwrap()["outcome"] = "rejected".into();
    }),
    ("contradicts itself", |all| {
        let (_, op, _) = of(all, Mode::Wary);
        all.ops.get_mut(&op).unwrap()["contradiction"] = true.into();
    }),
    ("an end that is not on record", |all| {
        let (_, op, _) = of(all, Mode::Plain);
        all.lines.get_mut(&op).unwrap().pop();
    }),
    ("was told yes and nothing happened", |all| {
        let intent = Intent::of(SEED, 199);
        all.told.push(told(&intent, 200, "", "nothing"));
    }),
    ("and then", |all| {
        let (at, _, intent) = of(all, Mode::Keyed);
        let mut other = told(&intent, 200, "", &all.effects[at].id);
        other.reply.body = other.reply.body.replace('{', "{ ");
        all.told.push(other);
    }),
    ("was told it is not done, and it is", |all| {
        let (_, _, intent) = of(all, Mode::Keyed);
        all.told.push(told(&intent, 409, "already_rejected", ""));
    }),
    ("was told it is done, and it is not", |all| {
        all.told.push(told(&Intent::of(SEED, 199), 409, "already_done", ""));
    }),
    ("while customer/", |all| {
        let (at, _, intent) = of(all, Mode::Keyed);
        let now = all.sendings[at].at;
        let (from, to) = (now.minus(Duration::from_secs(1)), now.plus(Duration::from_secs(1)));
        all.frozen.push(Frozen { scope: format!("customer/{}", intent.customer), from, to });
        let other = |sending: &Sending| {
            let number = sending.note[1..].parse().unwrap();
            sending.mode == Mode::Keyed || Intent::of(SEED, number).customer != intent.customer
        };
        all.sendings.retain(other);
    }),
    ("of the budget of ann at keyed", |all| {
        let codes = ["approval_required".to_owned(), "approval_required".to_owned()];
        all.probes.push(Probe { mode: Mode::Keyed, customer: "ann", left: 1, codes });
    }),
    ("are listed as unknown", |all| all.listed_unknown = 1),
];

#[test]
fn each_check_of_the_judge_can_fail() {
    for (said, forge) in FORGERIES {
        let mut all = fair();
        forge(&mut all);
        let judged = judge(&all);
        let shown = judged.to_string();
        let findings: Vec<&str> = shown.lines().filter(|line| line.contains("FINDING")).collect();
        assert!(!findings.is_empty(), "`{said}` is not found");
        let other: Vec<_> = findings.iter().filter(|finding| !finding.contains(said)).collect();
        assert!(other.is_empty() || is_implied(said), "`{said}` is found as {other:?}");
        assert!(findings.iter().any(|finding| finding.contains(said)), "`{said}`: {findings:?}");
    }
}

/// Some things cannot be wrong alone: more than was paid is more than was wanted, too.
fn is_implied(said: &str) -> bool {
    ["more was given back", "an effect of another operation", "an effect without"]
        .iter()
        .any(|start| said.starts_with(start))
}

/// What the store forgot is judged by the vendor's books and the log alone; an effect twice is one all the
/// same.
#[test]
fn a_loss_excuses_no_second_effect() {
    for (said, forge) in FORGERIES.iter().filter(|(said, _)| {
        ["2 effects", "an effect that was not on record", "a held effect", "more was given"]
            .iter()
            .any(|start| said.starts_with(start))
    }) {
        let mut all = fair();
        all.forgotten = u64::MAX;
        forge(&mut all);
        assert!(judge(&all).to_string().contains(said), "`{said}` is excused by a loss");
    }
    let now = Clock::System.now();
    let mut all = fair();
    all.ahead = Duration::from_secs(60);
    let (at, op, _) = of(&all, Mode::Wary);
    all.effects[at].at = now;
    all.lines.get_mut(&op).unwrap()[0].at = now.plus(Duration::from_secs(30));
    assert!(judge(&all).is_clean(), "a clock that was set ahead wrote it later than it was");
}

//! Cases: what happens to a call, as data. Each goes through a whole gate with a store in memory, a clock turned
//! by hand and a script in place of the upstream; no socket is opened.
//!
//! A file is `tests/cases/<theme>/<what>.yaml`, one question each: `{ why, given, cases }`. A case is
//! `{ why, given, when, each, same_as, indistinguishable, then }`:
//!
//! - `given`: `like` (a base of `given.yaml`), `clock`, `pack` (shipped, or of `packs/`), `contracts`, `upstream`,
//!   `call` (what every call has unless it says otherwise), `limits`, `breaker`, `concurrency`, `process`,
//!   `site_headers`, `issuer`, `freeze`, `mode`, `rollout`.
//!   A case's lies over its file's. `upstream` maps `METHOD target` (or its beginning and `*`) to
//!   `{ status, json | text, headers, after }`, to `lost` (it may have happened) or `refused` (nothing left), to a
//!   list of these in turn, or to `{ patch: {..} }`: the answer that was there with other members.
//! - `when`: one step or a list. A call: `{ send, form | json | body | hex, type, headers, key, token,
//!   customer_token, agent, customer, account, trust, contact, as, times }`. `as` names its operation; `times` makes
//!   so many at once, numbered `{n}`; a header of a list is several lines, a null takes one away. Else one of
//!   `turn: 10m`, `approve | deny | withdraw | operation: NAME` (`last` is the newest), `freeze`, `unfreeze`,
//!   `show: NAME` (what a person reads of a hold), `sweep` (`woken`: once an approval wakes it), `upstream`,
//!   `contracts` and `roll_out: { mode, rollout }` (reloads), `issuer: down | rotated`, `log: full | well`, `at_once: [..]`. A step may have a `then`
//!   of its own.
//! - `each`: variants, each on a gate of its own: of the one step, of `given` (`with:`), of `then`.
//! - `same_as`: the plain form, which every variant must be judged as: the same status and decision alone, and the
//!   same operation after it.
//! - `indistinguishable: true`: all variants get the same status, headers and body (but for ids that they name
//!   themselves) after the same number of upstream calls.
//! - `then`: about the last answer `status statuses code decision decision_not hold next retryable sent_word
//!   replayed dedup operation headers json body_contains body_lacks same_body_as answered`; about everything so far
//!   `sent` (effects that reached the upstream, a number or their lines; every case states it), `sent_at_most`, `tried`, `asked` (reads
//!   that did, facts included), `reserved` (amounts of what is still open), `states`, `metrics` (lines), `record` (kinds, of refusals
//!   codes), `noted` (of each that was let through: what it would have got, had it not run in shadow), `sent_headers asked_headers` (exactly these, of the last), `upstream_keys`, `keys_asked_at_most`.
//!   `*` at an end stands for anything.
//!
//! What holds in every case is checked in every case: the agent's token and key never go upstream, a read carries
//! the reading key only, no secret of ours is in an answer, every call leaves a record.
//!
//! `CASES=money/caps cargo test --test main cases` plays only what is at that place.

mod alarm;
mod check;
mod last;
mod plan;
mod play;
mod token;
mod tree;
mod upstream;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use check::Seen;
use plan::{Case, Plan};
use tollhouse::yaml::Node;
use world::World;

/// Plays that were there when this was written. It may only rise.
const PLAYS_MIN: usize = 1080;
/// Some cases wait in earnest, for each other or for a person.
const THREADS: usize = 4;
/// BOUND: a gate is played three times at most, each within [`play::CASE_TIMEOUT`]; who says nothing for
/// longer blocks.
const STALL_MAX: Duration = Duration::from_secs(200);
/// The themes; a folder that is lost is a test that fails.
const THEMES: [&str; 13] = [
    "answers",
    "approval",
    "content",
    "form",
    "headers",
    "json",
    "jwt",
    "limits",
    "money",
    "operation",
    "path",
    "reads",
    "shadow",
];

#[test]
fn every_case_holds() {
    let (plans, folders) = plan::all();
    assert_eq!(folders, THEMES, "the folders below tests/cases");
    let only = std::env::var("CASES").unwrap_or_default();
    let chosen: Vec<Plan> =
        plans.into_iter().filter(|plan| plan.place.starts_with(&only)).collect();
    let cases = chosen.len();
    let (plays, faults) = play_all(chosen);
    println!("{plays} plays of {cases} cases");
    assert!(faults.is_empty(), "{} faults in {plays} plays:\n{}", faults.len(), faults.join("\n"));
    assert!(plays >= PLAYS_MIN || !only.is_empty(), "{plays} plays only");
}

/// The runner's own test: each of these says something that is not so, and must be found out.
#[test]
fn a_wrong_case_is_found_out() {
    let shared = plan::shared();
    let case = |when: &str, then: &str| {
        format!(
            "why: x\ngiven: {{ like: stripe }}\ncases:\n  - why: y\n    when: {when}\n    then: {then}\n"
        )
    };
    let refund = "{ send: \"POST /v1/refunds\", form: \"charge=ch_1&amount=5000\" }";
    // Each states what was sent, or it is no case.
    let stated = |then: &str| {
        if then.contains("sent: ") {
            then.to_owned()
        } else {
            then.replacen("{ ", "{ sent: 1, ", 1)
        }
    };
    let good = "{ status: 200, sent: 1, asked: 1, states: [done], reserved: none }";
    let wrong = [
        "{ status: 201 }",
        "{ sent: 0 }",
        "{ sent: [ \"POST /v1/refunds charge=ch_1&amount=5001\" ] }",
        "{ asked: 0 }",
        "{ states: [held] }",
        "{ reserved: \"50.00 USD\" }",
        "{ hold: [financial.over-cap] }",
        "{ record: [] }",
        "{ noted: [\"hold approval_required financial.over-cap\"] }",
        "{ decision: refuse }",
        "{ code: not_found }",
        "{ replayed: true }",
        "{ headers: { Tollhouse-Operation: ~ } }",
        "{ body_contains: [re_2] }",
        "{ body_lacks: [re_1] }",
        "{ sent_headers: { accept-encoding: identity } }",
        "{ answered: { 200: 2 } }",
    ];
    assert_eq!(faults_of(&case(refund, good), &shared), Vec::<String>::new());
    for then in wrong {
        let faults = faults_of(&case(refund, &stated(then)), &shared);
        assert!(!faults.is_empty(), "{then} was taken for true");
        assert!(faults.iter().all(|fault| fault.starts_with("wrong.yaml:")), "{faults:?}");
    }
    let other = case("{ form: \"charge=ch_3&amount=5000\" }", "{ sent: 1 }")
        .replace("    then", "    same_as: { form: \"charge=ch_1&amount=5000\" }\n    then");
    let other =
        other.replace("{ like: stripe }", "{ like: stripe, call: { send: \"POST /v1/refunds\" } }");
    assert!(!faults_of(&other, &shared).is_empty(), "two things were taken for the same");
    let told = "why: x\ngiven: { like: stripe }\ncases:\n  - why: y\n    when: {}\n    indistinguishable: true\n    each:\n      \
                - { send: \"GET /v1/charges/ch_1\" }\n      - { send: \"GET /v1/charges/ch_2\" }\n    then: { sent: 0 }\n";
    assert!(
        !faults_of(told, &shared).is_empty(),
        "a 200 and a 404 were taken for indistinguishable"
    );
}

fn faults_of(text: &str, shared: &Node) -> Vec<String> {
    play_all(plan::of_file("wrong.yaml", text, shared)).1
}

/// What a player says of its plan.
enum Word {
    /// It comes to this gate now.
    At(String),
    /// It played so many gates, with these faults.
    Played(usize, Vec<String>),
}

/// How many were played, and every fault, in the order of the files.
///
/// Players are not joined: one that blocks its thread for good would take the test with it.
fn play_all(plans: Vec<Plan>) -> (usize, Vec<String>) {
    let (plans, next) = (Arc::new(plans), Arc::new(AtomicUsize::new(0)));
    let (tell, told) = mpsc::channel();
    for _ in 0..THREADS {
        let (plans, next, tell) = (Arc::clone(&plans), Arc::clone(&next), tell.clone());
        std::thread::spawn(move || {
            while let Some((at, plan)) =
                Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|at| Some((at, plans.get(at)?)))
            {
                let say = |word| tell.send((at, word)).is_ok();
                let played = catch_unwind(AssertUnwindSafe(|| play(plan, &say)));
                let found = played
                    .unwrap_or_else(|_| vec![format!("{}: it panics ({})", plan.place, plan.why)]);
                if !say(Word::Played(plan.variants.len(), found)) {
                    return;
                }
            }
        });
    }
    drop(tell);
    let (mut plays, mut faults, mut begun) = (0, BTreeMap::new(), BTreeMap::new());
    loop {
        match told.recv_timeout(STALL_MAX) {
            Ok((at, Word::At(place))) => {
                begun.insert(at, place);
            }
            Ok((at, Word::Played(gates, found))) => {
                begun.remove(&at);
                plays += gates;
                faults.insert(at, found);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let stuck = begun.into_iter();
                faults.extend(stuck.map(|(at, place)| {
                    (at, vec![format!("{place}: it blocks its thread for {STALL_MAX:?}")])
                }));
                break;
            }
        }
    }
    (plays, faults.into_values().flatten().collect())
}

/// One plan's faults.
fn play(plan: &Plan, say: &dyn Fn(Word) -> bool) -> Vec<String> {
    let (mut faults, mut outsides) = (Vec::new(), Vec::new());
    for case in &plan.variants {
        if !say(Word::At(case.place.clone())) {
            break;
        }
        let (outside, found) = play_one(case);
        faults.extend(found.into_iter().map(|fault| format!("{fault}\n    ({})", plan.why)));
        outsides.push((case.place.clone(), outside));
    }
    if plan.indistinguishable {
        let (_, first) = &outsides[0];
        let told = outsides.iter().filter(|(_, other)| other != first);
        faults.extend(told.map(|(place, other)| {
            format!("{place}: it can be told apart:\n    {first}\n    {other}\n    ({})", plan.why)
        }));
    }
    faults
}

/// What is seen of a case from outside, and its faults.
fn play_one(case: &Case) -> (String, Vec<String>) {
    let file = case.place.split(':').next().unwrap();
    let (world, last, mut faults) = played(case, &case.steps);
    faults.extend(check::answers(&world, &case.then, &last, &case.place));
    faults.extend(block(check::totals(&world, &case.then, &case.place)));
    faults.extend(check::always(&world, &last, &case.place));
    if let Some(plain) = &case.same_as {
        let (_, alone, more) = played(case, std::slice::from_ref(plain));
        faults.extend(more);
        let verdict = |seen: &[Seen]| {
            let one = seen.last().unwrap();
            (
                one.status,
                one.header("tollhouse-decision"),
                one.member("/code"),
                one.member("/policies"),
            )
        };
        if verdict(&alone) != verdict(&last) {
            faults.push(format!(
                "{}: judged {:?}, the plain form {:?}",
                case.place,
                verdict(&last),
                verdict(&alone)
            ));
        }
        let steps = [plain.clone(), case.steps[0].clone()];
        let (world, after, more) = played(case, &steps);
        faults.extend(more);
        let operation = after
            .last()
            .and_then(|seen| seen.header("tollhouse-operation").or(seen.member("/operation")));
        let states = block(world.gate().store.list(None, 10)).unwrap().len();
        if operation.is_none() || states != 1 {
            faults.push(format!(
                "{file}: {}: after the plain form it is another operation: {states}",
                case.place
            ));
        }
    }
    (outside(&world, case, &last), faults)
}

fn played(case: &Case, steps: &[Node]) -> (Arc<World>, Vec<Seen>, Vec<String>) {
    let file = case.place.split(':').next().unwrap();
    let world = World::new(&case.given, &case.place);
    let (last, faults) = block(async {
        if let Some(scope) = tree::get(&case.given, "freeze") {
            play::freeze(&world, &tree::texts(scope), None).await;
        }
        match tokio::time::timeout(play::CASE_TIMEOUT, play::all(&world, steps, file)).await {
            Ok(played) => played,
            Err(_) => (Vec::new(), vec![format!("{}: it never ends", case.place)]),
        }
    });
    (world, last, faults)
}

/// Spans between calls are the hand clock's. What waits while it runs waits in earnest: the log has a thread of its
/// own, which a clock that jumps would overtake.
fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Everything that an agent can see or count, less what is random and less the ids that it named itself.
fn outside(world: &World, case: &Case, last: &[Seen]) -> String {
    let said: String = case.steps.iter().map(tree::yaml).collect();
    let word = |c: char| !c.is_alphanumeric() && c != '_';
    let mut ids: Vec<&str> = said.split(word).filter(|part| part.contains('_')).collect();
    ids.sort_by_key(|id| std::cmp::Reverse(id.len()));
    let seen = last.last().map(|seen| {
        let mut text =
            format!("{} {:?} {}", seen.status, seen.headers, String::from_utf8_lossy(&seen.body));
        for random in [seen.member("/instance"), seen.header("server-timing")].into_iter().flatten()
        {
            text = text.replace(&random, "..");
        }
        ids.iter().fold(text, |text, id| text.replace(id, "ID"))
    });
    let (effects, reads) = check::left(world);
    format!("{}; {} effects, {} reads", seen.unwrap_or_default(), effects.len(), reads.len())
}

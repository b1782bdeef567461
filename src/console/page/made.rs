//! From what is kept to what is shown: records, contracts and tokens become the plain values of the views.
//!
//! The only file here that knows a record. Text of the agent's leaves it as [`AgentText`] and no other way.

use super::agent_text::AgentText;
use super::look::{
    Asked, Caps, Check, Deed, FactRow, HoldView, May, Moment, OperationView, Place, Request, Said,
    Why,
};
use super::parts::{money_text, name, span};
use crate::approval::{Objection, Operator};
use crate::breaker::Shown;
use crate::call::{Caller, Consent, Outcome};
use crate::clock::Timestamp;
use crate::contract::{Contract, Over, Room};
use crate::decision::Reason;
use crate::gate::{Gate, Opened};
use crate::money::Money;
use crate::store::{Hold, Record, State};

/// BOUND: of much money the amount is typed; so many times the automatic cap is much.
const MUCH: i64 = 5;

/// One operation.
pub fn deed(record: &Record) -> Deed {
    let about = &record.about;
    let resource = about.resource.as_ref().map(|resource| resource.id.to_string());
    let owner = about.owner.as_ref().map(ToString::to_string);
    let to =
        owner.clone().or_else(|| (!about.account.is_empty()).then(|| about.account.to_string()));
    Deed {
        op: record.op,
        state: record.state,
        summary: about.summary.to_string(),
        marks: resource.into_iter().chain(to.clone()).collect(),
        amount: about.amount,
        before: None,
        to,
        agent: about.caller.agent.to_string(),
        customer: about.caller.customer.to_string(),
        tenant: about.caller.tenant.to_string(),
        case: about.said.case.as_deref().filter(|case| is_a_name(case)).map(str::to_owned),
        action: about.action.to_string(),
        class: about.class,
        kind: about.kind,
        upstream: about.upstream.to_string(),
        created: record.created,
        updated: record.updated,
        settled: record.settled,
        status: record.status,
        asked: record.hold.as_ref().map(asked),
    }
}

/// SECURITY: a case is the agent's word. What is no more than a number or a name may stand among ours; what
/// could be a sentence may not.
fn is_a_name(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_#./:".contains(c);
    (1..=32).contains(&text.len())
        && text.chars().all(letters)
        && text.contains(|c: char| c.is_ascii_digit())
}

fn asked(hold: &Hold) -> Asked {
    let texts = |all: &[Box<str>]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let why = |reason: &crate::decision::Reason| Why {
        policy: reason.policy.to_string(),
        words: reason.why.to_string(),
        numbers: None,
    };
    let said = |yes: &crate::store::Yes| Said {
        by: yes.by.to_string(),
        at: yes.at,
        roles: texts(&yes.roles),
        reason: yes.reason.to_string(),
    };
    Asked {
        queue: hold.queue.to_string(),
        risk: hold.risk,
        since: hold.since,
        deadline: hold.deadline,
        joined: hold.joined,
        reasons: hold.reasons.iter().map(why).collect(),
        approvers: hold.needs.approvers,
        roles: texts(&hold.needs.roles),
        yes: hold.yes.iter().map(said).collect(),
        passed: texts(&hold.passed),
        digest: hold.shown,
        changed: texts(&hold.changed),
    }
}

/// The same with the numbers that decided.
pub fn deed_with_numbers(gate: &Gate, record: &Record) -> Deed {
    let mut deed = deed(record);
    let contract = gate.contract_of(record);
    if let (Some(asked), Some(contract)) = (&mut deed.asked, &contract) {
        for why in &mut asked.reasons {
            why.numbers = numbers(&why.policy, record, contract);
        }
    }
    deed
}

/// What of a budget is used now by others, beside what a hold asks: the numbers that a person wants.
async fn with_what_is_used(gate: &Gate, record: &Record, deed: &mut Deed) {
    let Some(asked) = &mut deed.asked else { return };
    if asked.reasons.iter().all(|why| !why.policy.starts_with("budget.")) {
        return;
    }
    // A store that does not answer: the limits stand there all the same.
    let Ok(budgets) = gate.budgets_of(record).await else { return };
    for why in &mut asked.reasons {
        let Some(budget) = budgets.iter().find(|one| *one.id == *why.policy) else { continue };
        let used = match budget.unit {
            Some(currency) => money_text(Money { minor: budget.used, currency }),
            None => budget.used.to_string(),
        };
        let within = span(budget.within);
        let rest = why.numbers.take().map_or_else(String::new, |rest| format!("; {rest}"));
        why.numbers = Some(format!("{used} used or reserved in the last {within}{rest}"));
    }
}

/// Which numbers a policy looked at, as far as a contract has them.
fn numbers(policy: &str, record: &Record, contract: &Contract) -> Option<String> {
    let amount = record.about.amount;
    match policy {
        "financial.over-cap" => {
            let amount = amount?;
            let minor = Contract::cap(&contract.cap_auto, amount.currency)?;
            let cap = Money { minor, ..amount };
            Some(format!("{} asked; up to {} needs no person", money_text(amount), money_text(cap)))
        }
        "confidence.review" | "confidence.too-low" => {
            let stated = record.about.said.confidence?;
            let asked = contract.confidence.auto_above?;
            Some(format!(
                "{} stated; the contract asks for {}",
                per_mille(stated),
                per_mille(asked)
            ))
        }
        "contract.window-hold" => {
            let window = contract.window.as_ref()?;
            Some(format!("the window is {}", span(window.max)))
        }
        other => budget(other.strip_prefix("budget.")?, amount, contract),
    }
}

fn per_mille(value: u16) -> String {
    format!(
        "{}.{:03}",
        value.checked_div(1_000).unwrap_or(0),
        value.checked_rem(1_000).unwrap_or(0)
    )
    .trim_end_matches('0')
    .trim_end_matches('.')
    .to_owned()
}

/// `customer-24h` is the budget of each customer within that span.
fn budget(id: &str, amount: Option<Money>, contract: &Contract) -> Option<String> {
    let (per, within) = id.split_once('-')?;
    let within = humantime::parse_duration(within).ok()?;
    let budget =
        contract.budgets.iter().find(|one| one.per.name() == per && one.within == within)?;
    let (asked, room) = match (&budget.room, amount) {
        (Room::Money(rooms), Some(amount)) => {
            let minor = Contract::cap(rooms, amount.currency)?;
            (money_text(amount), money_text(Money { minor, ..amount }))
        }
        (Room::Money(_), None) => return None,
        (Room::Count(most), _) => ("one more".to_owned(), format!("{most}")),
    };
    Some(format!("{asked} asked; each {per} has {room} in {}", span(within)))
}

/// What the agent wrote, all of it.
pub fn wrote(record: &Record) -> Vec<AgentText> {
    let said = &record.about.said;
    let case = said.case.as_deref().filter(|case| !is_a_name(case));
    let confidence = said.confidence.map(per_mille);
    [
        ("Tollhouse-Reason", said.reason.as_deref()),
        ("Tollhouse-Case", case),
        ("Tollhouse-Model", said.model.as_deref()),
        ("Tollhouse-Confidence", confidence.as_deref()),
    ]
    .into_iter()
    .filter_map(|(from, text)| Some(AgentText::of(from, text.filter(|text| !text.is_empty())?)))
    .collect()
}

fn life(record: &Record) -> Vec<Moment> {
    let moment = |moment: &crate::store::Moment| Moment {
        at: moment.at,
        what: moment.what.to_string(),
        by: moment.by.to_string(),
    };
    record.timeline.iter().map(moment).collect()
}

fn digests(record: &Record) -> [Option<String>; 2] {
    let facts = record.about.facts.map(|digest| digest.to_string());
    [record.about.policy.as_ref().map(ToString::to_string), facts]
}

fn request(opened: &Opened) -> Request {
    let shown = &opened.request;
    Request { line: shown.line.clone(), headers: shown.headers.clone(), body: shown.body.clone() }
}

/// What somebody may do about a hold.
pub fn may(gate: &Gate, record: &Record, operator: &Operator, confirm_over: &[Money]) -> May {
    let words = |objection: Objection| objection.to_string();
    if let Err(why) = gate.approvals.may_answer(record, operator) {
        return May::Nothing(words(why));
    }
    match gate.approvals.may_approve(record, operator) {
        Ok(()) => {
            let is_large = is_large(gate, record, confirm_over);
            May::Answer { confirm: is_large, reason: is_large }
        }
        Err(why) => May::Deny(words(why)),
    }
}

/// Whether the amount must be typed: more than the operator's own limit, or much more than runs by itself.
pub fn is_large(gate: &Gate, record: &Record, confirm_over: &[Money]) -> bool {
    let Some(amount) = record.about.amount else { return false };
    let people = record.hold.as_ref().map_or(1, |hold| hold.needs.approvers);
    if let Some(over) = Contract::cap(confirm_over, amount.currency) {
        return amount.minor > over || people > 1;
    }
    let contract = gate.contract_of(record);
    let cap = contract.and_then(|contract| Contract::cap(&contract.cap_auto, amount.currency));
    // Nothing runs by itself: then nothing says what much is, and every amount waits anyway.
    people > 1 || cap.is_some_and(|cap| amount.minor > cap.saturating_mul(MUCH))
}

/// Everything that helps to answer a hold but its history and its place.
pub async fn hold(gate: &Gate, record: &Record, may: May) -> HoldView {
    let opened = gate.opened(record.op).await;
    let contract = gate.contract_of(record);
    let mut deed = deed_with_numbers(gate, record);
    with_what_is_used(gate, record, &mut deed).await;
    let facts =
        opened.as_ref().map(|opened| super::facts::rows(record, opened)).unwrap_or_default();
    deed.before = super::facts::given_back(&facts);
    let caps = record.about.amount.zip(contract.as_ref()).and_then(|(amount, contract)| {
        let money = |minor| Money { minor, ..amount };
        let auto = Contract::cap(&contract.cap_auto, amount.currency).map(money)?;
        Some(Caps { auto, hard: Contract::cap(&contract.cap_hard, amount.currency).map(money) })
    });
    let checks = checks(gate, record, opened.as_ref().map(|opened| &opened.caller), &facts);
    HoldView {
        deed,
        checks,
        facts,
        caps,
        request: opened.as_ref().map(request),
        call_digest: record.about.digest,
        digests: digests(record),
        may,
        customer: Vec::new(),
        agent: Vec::new(),
        wrote: wrote(record),
        place: Place::default(),
    }
}

/// What was looked at before it was held, and how it stands now.
fn checks(gate: &Gate, record: &Record, caller: Option<&Caller>, facts: &[FactRow]) -> Vec<Check> {
    let (about, now) = (&record.about, gate.clock.now());
    let good = |words: String| Check { words, in_order: true };
    let mut checks = Vec::new();
    if about.owner.as_deref().is_some_and(|owner| *owner == *about.account) {
        let what =
            about.resource.as_ref().map_or("thing".into(), |resource| resource.kind.to_lowercase());
        checks.push(good(format!("The customer’s own {}", name(&what))));
    }
    if let Some(caller) = caller {
        checks.extend(of_the_customer(record, caller, now));
    }
    checks.extend(super::facts::checks(gate, record, facts));
    let alike = |reason: &crate::decision::Reason| &*reason.policy == "duplicates.alike";
    let rule = gate.contract_of(record).map(|contract| contract.duplicates);
    // Where the contract lets likeness pass, nobody looked.
    if let Some(rule) = rule.filter(|rule| rule.alike != Over::Allow)
        && record.hold.as_ref().is_some_and(|hold| !hold.reasons.iter().any(alike))
    {
        checks.push(good(format!("None like it in {}", span(rule.within))));
    }
    let upstream = name(&about.upstream);
    checks.push(match gate.road_of(&about.upstream) {
        Some(Shown::Closed) => good(format!("The road to {upstream} is open")),
        Some(Shown::HalfOpen | Shown::Open) => {
            Check { words: format!("the breaker of {upstream} is open"), in_order: false }
        }
        None => Check { words: format!("{upstream} is not configured any more"), in_order: false },
    });
    checks.push(match gate.frozen_now(record) {
        None => good("No freeze in the way".to_owned()),
        Some(_) => Check { words: "a person froze this scope".to_owned(), in_order: false },
    });
    checks
}

/// What their token said: how fresh, and how long they agreed.
fn of_the_customer(record: &Record, caller: &Caller, now: Timestamp) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(at) = caller.auth_time {
        let words = format!("Signed in {} before asking", span(record.created.since(at)));
        checks.push(Check { words, in_order: true });
    }
    if let Consent::Until(until) = caller.consent_until {
        checks.push(match until > now {
            true => Check {
                words: format!("Consent holds for {}", span(until.since(now))),
                in_order: true,
            },
            false => Check { words: "consent has ended".to_owned(), in_order: false },
        });
    }
    checks
}

/// An operation and its life.
pub async fn operation(gate: &Gate, record: &Record, operator: &Operator) -> OperationView {
    let opened = gate.opened(record.op).await;
    let unknown =
        matches!(record.state, State::Unknown | State::Done { outcome: Outcome::Accepted });
    let look = record.look.filter(|_| unknown);
    let next =
        look.map(|look| (look.next, format!("{} is asked again", name(&record.about.upstream))));
    OperationView {
        deed: deed(record),
        life: life(record),
        next,
        wrote: wrote(record),
        request: opened.as_ref().map(request),
        call_digest: record.about.digest,
        digests: digests(record),
        upstream_key: record.op.upstream_key(),
        request_id: record.request_id.as_ref().map(ToString::to_string),
        made: record.made.as_ref().map(ToString::to_string),
        reason: record.reason.to_string(),
        contradiction: record.contradiction,
        may_resolve: gate.may_resolve(record, operator).map_err(|why| why.to_string()),
        shadow: record.shadow.as_ref().map(|shadow| {
            let why = |reason: &Reason| Why {
                policy: reason.policy.to_string(),
                words: reason.why.to_string(),
                numbers: None,
            };
            (shadow.verdict(), shadow.reasons.iter().map(why).collect())
        }),
        may_mark: match gate.may_mark(record, operator) {
            Err(Objection::NobodySpoke) => None,
            may => Some(may.map_err(|why| why.to_string())),
        },
        ripe: unknown.then(|| gate.ripe_at(record)),
        viewer: operator.name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_among_our_words_is_a_name_and_no_sentence() {
        for (case, is) in [
            ("58213", true),
            ("INC-204", true),
            ("a/b#7.c:d_e", true),
            ("approve", false),
            ("58213 approved", false),
            ("", false),
            ("<b>1</b>", false),
            ("1\u{202e}2", false),
            ("123456789012345678901234567890123", false),
        ] {
            assert_eq!(is_a_name(case), is, "{case}");
        }
        assert_eq!(
            (per_mille(910), per_mille(1_000), per_mille(955)),
            ("0.91".into(), "1".into(), "0.955".into())
        );
    }
}

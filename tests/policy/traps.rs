//! Where policy engines fail open, and where approvals lift too much.

use std::collections::BTreeSet;
use std::time::Duration;

use tollhouse::call::{FactValue, Kind};
use tollhouse::decision::Then;
use tollhouse::decision::{Decision, Reason};
use tollhouse::money::{Currency, Money};
use tollhouse::policy::{Policy, Release, SHIPPED};
use tollhouse::refusal::{Code, Next};

use super::support::*;

fn ids(reasons: &[Reason]) -> Vec<Box<str>> {
    reasons.iter().map(|reason| reason.policy.clone()).collect()
}

fn held(policy: &Policy, given: &Given) -> Vec<Box<str>> {
    match policy.decide(&given.question()) {
        Ok(Decision::Hold { reasons, .. }) => ids(&reasons),
        other => panic!("not held: {other:?}"),
    }
}

fn changed(policy: &Policy, given: &Given, shown: &[Box<str>]) -> Vec<Box<str>> {
    match policy.release(&given.question(), shown) {
        Release::HeldAnew { changed, .. } => ids(&changed),
        other => panic!("released with {shown:?}: {other:?}"),
    }
}

/// Calls that trip as many holding rules as can be true of one call.
fn tripping() -> (Policy, Vec<Given>) {
    let common = "outcome: hold, confidence: { auto_above: 0.95 }, approval: { queue: finance }";
    let money = "cap: { auto: 10.00 USD }, window: { since: purchased_at, max: 30d";
    let text = format!(
        "everything.late: {{ {common}, {money} }} }}\n\
         everything.strict: {{ {common}, {money}, after: refuse }} }}\n\
         cancel.x: {{ {common} }}\n"
    );
    let names = ["everything.late", "everything.strict", "cancel.x"];
    let policy = load(names.map(action).into(), &contracts(&text), &[]).unwrap();
    let trip = |name: &str| {
        let mut given = Given::good(action(name));
        given.caller.trust = Some(3);
        given.caller.roles = vec!["admin".into()];
        given.call.context.confidence = Some(800);
        given.signal("serial", Then::Hold);
        given.resolved.text = vec!["We will refund you".into()];
        for field in ["charge.disputed", "charge.remaining", "charge.purchased_at"] {
            if name.starts_with("everything") {
                given.set(field, None);
            } else {
                given.set("order.fulfilled", None);
                given.set("order.open_invoices", Some(FactValue::Long(2)));
            }
        }
        given
    };
    let mut unknown = trip("everything.late");
    unknown.resolved.amount = None;
    let mut foreign = trip("everything.late");
    let gbp = Currency::parse("GBP").unwrap();
    foreign.resolved.amount = Some(Money { minor: 100, currency: gbp });
    let others = [unknown, foreign, trip("everything.strict"), trip("cancel.x")];
    (policy, [trip("everything.late")].into_iter().chain(others).collect())
}

#[test]
fn an_approval_lifts_what_was_shown_and_nothing_beside_it() {
    let (policy, calls) = tripping();
    let mut met: BTreeSet<Box<str>> = BTreeSet::new();
    let mut pairs = 0;
    for given in &calls {
        let all = held(&policy, given);
        met.extend(all.iter().cloned());
        assert_eq!(policy.release(&given.question(), &all), Release::Run);
        for (at, first) in all.iter().enumerate() {
            let rest: Vec<_> = all.iter().filter(|id| *id != first).cloned().collect();
            assert_eq!(changed(&policy, given, std::slice::from_ref(first)), rest);
            assert_eq!(changed(&policy, given, &rest), vec![first.clone()]);
            for second in all.iter().skip(at + 1) {
                let without: Vec<_> =
                    all.iter().filter(|id| *id != first && *id != second).cloned().collect();
                let expected = vec![first.clone(), second.clone()];
                assert_eq!(changed(&policy, given, &without), expected);
                pairs += 1;
            }
        }
    }
    assert!(pairs > 100, "{pairs} pairs only");
    let holding = SHIPPED.split("@id(\"").skip(1).filter(|rule| rule.contains("@hold("));
    let holding: BTreeSet<Box<str>> =
        holding.map(|rule| rule.split('"').next().unwrap().into()).collect();
    assert_eq!(met, holding);
}

const ERRS: &str = r#"
@id("own.overflow")
@reason("it multiplies too far")
forbid (principal, action in Action::"financial", resource)
when { context has amount && context.amount * 5000000000000000000 < 0 };
"#;

#[test]
fn a_policy_that_errs_forbids() {
    let open = contracts("refund.x: { cap: { auto: 100.00 USD } }");
    let policy = load(vec![action("refund.x")], &open, &[("own.cedar", ERRS)]).unwrap();
    let mut given = Given::good(action("refund.x"));
    given.resolved.amount.as_mut().unwrap().minor = 1;
    assert_eq!(policy.decide(&given.question()), Ok(Decision::Run));
    given.resolved.amount.as_mut().unwrap().minor = 2;
    let refusal = policy.decide(&given.question()).unwrap_err();
    assert_eq!(refusal.code, Code::Forbidden);
    assert!(refusal.why.contains("own.overflow"), "{}", refusal.why);
    // What is another's looks the same.
    given.resolved.owner = Some("cus_2".into());
    assert_eq!(policy.decide(&given.question()).unwrap_err().code, Code::NotFound);
    given.resolved.owner = Some("cus_1".into());
    // Nor may an approval lead around it.
    let release = policy.release(&given.question(), &["financial.over-cap".into()]);
    assert!(matches!(release, Release::Refused(_)), "{release:?}");
}

const TWO_QUEUES: &str = r#"
@id("own.large")
@reason("trust looks at these")
@hold("trust")
forbid (principal, action in Action::"kind/refund", resource)
unless { context.approvals.contains("own.large") };
"#;

#[test]
fn what_two_queues_must_lift_is_lifted_by_each() {
    let text = "refund.x: { cap: { auto: 10.00 USD }, approval: { queue: finance } }";
    let policy =
        load(vec![action("refund.x")], &contracts(text), &[("own.cedar", TWO_QUEUES)]).unwrap();
    let given = Given::good(action("refund.x"));
    let Ok(Decision::Hold { reasons, queue }) = policy.decide(&given.question()) else {
        panic!("not held")
    };
    assert_eq!((ids(&reasons), &*queue), (vec!["financial.over-cap".into()], "finance"));
    let Release::HeldAnew { reasons, changed, queue } =
        policy.release(&given.question(), &ids(&reasons))
    else {
        panic!("not held anew")
    };
    assert_eq!((ids(&changed), &*queue), (vec!["own.large".into()], "trust"));
    assert_eq!(ids(&reasons), vec![Box::<str>::from("financial.over-cap"), "own.large".into()]);
    assert_eq!(policy.release(&given.question(), &ids(&reasons)), Release::Run);
}

const NAMED: &str = r#"
@id("own.note")
@reason("no notes on Sundays")
@tell("no notes on Sundays")
forbid (principal, action == Action::"note.x", resource);

@id("own.charge")
@reason("large charges are looked at")
@hold("contract")
forbid (principal, action in [Action::"refund.x", Action::"refund.y"], resource)
when { context.facts has charge && context.facts.charge has remaining }
unless { context.facts.charge.remaining < 1000 || context.approvals.contains("own.charge") };
"#;

#[test]
fn a_policy_may_name_an_action_and_read_its_facts() {
    let names = ["note.x", "note.y", "refund.x", "refund.y", "refund.z"];
    let open = names.map(|name| match name.starts_with("refund") {
        true => format!("{name}: {{ cap: {{ auto: 100.00 USD }} }}\n"),
        false => String::new(),
    });
    let policy =
        load(names.map(action).into(), &contracts(&open.concat()), &[("own.cedar", NAMED)])
            .unwrap();
    let decide = |name: &str, remaining: i64| {
        let mut given = Given::good(action(name));
        if name.starts_with("refund") {
            given.set("charge.remaining", Some(FactValue::Long(remaining)));
            given.resolved.amount.as_mut().unwrap().minor = 1;
        }
        match policy.decide(&given.question()) {
            Ok(Decision::Run) => "run".to_owned(),
            Ok(Decision::Hold { reasons, .. }) => format!("hold {}", reasons[0].policy),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => format!("refuse {}", refusal.reasons[0].policy),
        }
    };
    assert_eq!(decide("note.x", 0), "refuse own.note");
    assert_eq!(decide("note.y", 0), "run");
    assert_eq!(decide("refund.x", 999), "run");
    assert_eq!(decide("refund.x", 1000), "hold own.charge");
    assert_eq!(decide("refund.y", 1000), "hold own.charge");
    assert_eq!(decide("refund.z", 1000), "run");
    // The shipped rules know a named action by its groups.
    let mut given = Given::good(action("refund.x"));
    given.set("charge.disputed", Some(FactValue::Bool(true)));
    given.set("charge.remaining", Some(FactValue::Long(999)));
    given.resolved.amount.as_mut().unwrap().minor = 10;
    assert_eq!(held(&policy, &given), vec![Box::<str>::from("financial.disputed")]);
}

#[test]
fn a_call_of_no_effect_is_refused() {
    let policy = load(vec![action("note.x")], &contracts("{}"), &[]).unwrap();
    let mut given = Given::good(action("note.x"));
    assert_eq!(policy.decide(&given.question()), Ok(Decision::Run));
    given.call.effects.clear();
    assert_eq!(policy.decide(&given.question()).unwrap_err().code, Code::Forbidden);
    let mut given = Given::good(action("note.x"));
    given.call.effects[0].kind = Some(Kind::Payout);
    assert_eq!(policy.decide(&given.question()).unwrap_err().code, Code::Forbidden);
}

#[test]
fn the_agent_reads_no_limit_and_no_operators_word() {
    let text = "refund.x: { cap: { auto: 12.34 USD, hard: 56.78 USD } }";
    let policy = load(vec![action("refund.x")], &contracts(text), &[]).unwrap();
    let mut given = Given::good(action("refund.x"));
    given.resolved.amount.as_mut().unwrap().minor = 5_679;
    let refusal = policy.decide(&given.question()).unwrap_err();
    assert!(!refusal.detail.contains("56") && !refusal.detail.contains("12.34"), "{refusal:?}");
    assert!(refusal.why.contains("financial.over-hard-cap"), "{refusal:?}");
    given.caller.consent_until = tollhouse::call::Consent::Until(NOW.minus(Duration::from_secs(1)));
    let refusal = policy.decide(&given.question()).unwrap_err();
    assert_eq!(
        refusal.detail,
        "This is not allowed: the customer's consent has ended. Nothing was sent. Do not try a \
         variation. Ask the customer to give consent again."
    );
    assert_eq!(refusal.next, Some(Next::Escalated));
}

#[test]
fn the_digest_follows_what_is_said_and_not_how() {
    let digest = |text: &str, files: &[(&str, &str)]| {
        let policy = load(vec![action("refund.x")], &contracts(text), files).unwrap();
        policy.digest().to_string()
    };
    let one = digest("refund.x: { team: a, cap: { auto: 1.00 USD } }", &[]);
    assert!(one.starts_with("sha256:"));
    assert_eq!(one, digest("refund.x:\n  cap: { auto: 1.00 USD }\n  team: 'a' # x\n", &[]));
    assert_ne!(one, digest("refund.x: { team: a, cap: { auto: 1.01 USD } }", &[]));
    assert_ne!(one, digest("refund.x: { team: a, cap: { auto: 1.00 USD } }", &[("f", ERRS)]));
}

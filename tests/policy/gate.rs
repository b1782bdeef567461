//! What does not pass the load gate, and what it is told: file, line, column, what was expected.

use tollhouse::money::Money;
use tollhouse::policy::Contracts;

use super::support::*;

fn refuses(files: &[(&str, &str)], contracts_text: &str) -> String {
    let names = ["refund.x", "note.x", "read.x", "message.x"];
    let contracts = match Contracts::parse("contracts.yaml", contracts_text) {
        Ok(contracts) => contracts,
        Err(errors) => return errors.to_string(),
    };
    match load(names.map(action).into(), &contracts, files) {
        Ok(_) => "nothing".into(),
        Err(errors) => errors,
    }
}

#[test]
fn a_policy_that_is_not_fit_to_be_law_is_named_with_its_place() {
    let reason = "@reason(\"r\")\n";
    for (text, expected) in [
        ("permit (principal, action, resource);", "own.cedar:1:1: a policy needs an @id"),
        (
            "\n\n@id(\"a\")\nforbid (principal, action, resource);",
            "own.cedar:3:1: `a` forbids; it needs a @reason",
        ),
        ("permit (principal, action", "own.cedar:1:"),
        (
            "@id(\"a\")\npermit (principal, action, resource) when { context.nowhere };",
            "own.cedar:2:",
        ),
        (
            "@id(\"a\") permit (principal, action, resource) when { context.amount > 1 };",
            "optional",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"refund.create\", resource);",
            "unrecognized action",
        ),
        (
            "@id(\"a\") permit (principal, action in Action::\"read\", resource) when { action in Action::\"kind/refund\" };",
            "impossible",
        ),
        (
            "@id(\"financial.over-cap\") permit (principal, action, resource);",
            "own.cedar:1:1: there is another policy with the @id `financial.over-cap`",
        ),
        (
            "@id(\"a\") @hodl(\"contract\") permit (principal, action, resource);",
            "`@hodl` is not known",
        ),
        (
            "@id(\"a\") @hold(\"contract\") permit (principal, action, resource);",
            "are for `forbid`",
        ),
        (
            "@id(\"a\") permit (principal == ?principal, action, resource);",
            "templates are not read here",
        ),
    ] {
        let got = refuses(&[("own.cedar", text)], "{}");
        assert!(got.contains(expected), "{text}\n  expected {expected}\n  got {got}");
    }
    let unless = "unless { context.approvals.contains(\"a\") };";
    for (text, expected) in [
        (
            format!(
                "@id(\"a\") @hold(\"nowhere\") {reason} forbid (principal, action in Action::\"write\", resource) {unless}"
            ),
            "there is no queue `nowhere`",
        ),
        (
            format!(
                "@id(\"a\") @hold(\"trust\") {reason} forbid (principal, action in Action::\"write\", resource);"
            ),
            "an approval would not lift it",
        ),
        (
            format!(
                "@id(\"a\") @hold(\"trust\") {reason} forbid (principal, action, resource) {unless}"
            ),
            "a read is not held",
        ),
        (
            format!("@id(\"a\") @step_up(\"otp\") {reason} forbid (principal, action, resource);"),
            "expected @step_up(\"reauthenticate\")",
        ),
        (
            format!("@id(\"a\") @code(\"teapot\") {reason} forbid (principal, action, resource);"),
            "@code(\"teapot\") is not one of",
        ),
        (
            format!(
                "@id(\"a\") @hold(\"trust\") @step_up(\"reauthenticate\") {reason} forbid (principal, action in Action::\"write\", resource) {unless}"
            ),
            "not both",
        ),
    ] {
        let got = refuses(&[("own.cedar", &text)], "{}");
        assert!(got.contains(expected), "{text}\n  expected {expected}\n  got {got}");
    }
    // The good side of the last ones.
    let good = format!(
        "@id(\"a\") @hold(\"trust\") {reason} forbid (principal, action in Action::\"write\", resource) {unless}"
    );
    assert_eq!(refuses(&[("own.cedar", &good)], "{}"), "nothing");
}

#[test]
fn every_fault_of_the_contracts_is_told_at_once_with_its_place() {
    for (text, expected) in [
        (
            "refund.y: { outcome: auto }",
            "contracts.yaml:1:11: contracts.refund.y: no pack knows the action `refund.y`; is it `refund.x`?",
        ),
        (
            "class/money: { outcome: hold }",
            "`money` is no class; expected one of class/read, class/write",
        ),
        ("refund.x: { outcome: maybe }", "expected `auto`, `hold` or `refuse`, got `maybe`"),
        ("refund.x: { approval: { tiers: 2 } }", "approval.tiers: expected a list of"),
        ("refund.x: { approval: { tiers: [ { approvers: 2 } ] } }", "above: is required"),
        ("refund.x: { approval: { approvers: 0 } }", "expected 1 to 9 people"),
        ("refund.x: { approval: { approvers: 1, roles: [a, b] } }", "2 roles take as many people"),
        ("refund.x: { approval: { roles: [a, b, c, d, e] } }", "expected four roles at most"),
        (
            "refund.x: { budget: { per: case, within: 1h, count: 1 } }",
            "`per: case` needs one of `per: customer` with `count` beside it",
        ),
        (
            "refund.x: { budget: [ { per: case, within: 1h, count: 1 }, { per: customer, within: 1h, amount: 1.00 USD } ] }",
            "`per: case` needs one of `per: customer` with `count` beside it",
        ),
        (
            "refund.x: { budget: [ { per: case, within: 1h, amount: 1.00 USD }, { per: agent, within: 1h, amount: 1.00 USD } ] }",
            "`per: case` needs one of `per: customer` with `amount` beside it",
        ),
        (
            "refund.x: { budget: { per: team, within: 1h, count: 1 } }",
            "expected one of `customer`, `agent`, `tenant`, `case`, `resource`, `action`, got `team`",
        ),
        (
            "refund.x: { budget: { per: agent, within: 32d, count: 1 } }",
            "budget.within: expected 31d at most",
        ),
        ("refund.x: { duplicates: { within: 32d } }", "duplicates.within: expected 31d at most"),
        (
            "refund.x: { budget: { per: agent, within: 1h, count: 1, alert: 100% } }",
            "budget.alert: expected a share from `1%` to `99%`, got `100%`",
        ),
        ("refund.x: { price: -0.01 USD }", "price: expected a price as `0.002 USD`"),
        ("refund.x: { price: 0.0000001 USD }", "price: expected a price as `0.002 USD`"),
        ("refund.x: { cpa: 1 }", "contracts.refund.x.cpa: is not a key here"),
        (
            "refund.x: { agents: { bot: { agents: {} } } }",
            "contracts.refund.x.agents.bot.agents: is not a key here",
        ),
        ("refund.x: { cap: { auto: [1.00 USD, 2.00 USD] } }", "`USD` is listed twice"),
        ("refund.x: { cap: { auto: -1.00 USD } }", "is no cap"),
        (
            "refund.x: { cap: { auto: 2.00 USD, hard: 1.00 USD } }",
            "contracts.yaml:1:26: contracts.refund.x.cap.auto: `2.00 USD` is more than the hard cap",
        ),
        (
            "refund.x: { cap: { hard: 1.00 USD }, agents: { bot: { cap: { auto: 2.00 USD } } } }",
            "contracts.refund.x.agents.bot.cap.auto: `2.00 USD` is more than the hard cap",
        ),
        ("note.x: { cap: { auto: 1.00 USD } }", "this moves no money"),
        ("note.x: { budget: { per: agent, within: 1h, amount: 1.00 USD } }", "this moves no money"),
        ("refund.x: { budget: { per: agent, within: 1h } }", "expected either `amount` or `count`"),
        (
            "refund.x: { budget: [ { per: agent, within: 1h, count: 1 }, { per: agent, within: 60m, count: 2 } ] }",
            "stands here twice",
        ),
        ("read.x: { outcome: hold }", "a read is not held"),
        ("class/read: { outcome: hold }", "a read is not held"),
        (
            "refund.x: { window: { since: shipped_at, max: 30d } }",
            "no fact of `refund.x` has the field `shipped_at`",
        ),
        ("refund.x: { window: { since: remaining, max: 30d } }", "`remaining` is no moment"),
        (
            "refund.x: { window: { since: purchased_at } }",
            "contracts.refund.x.window.max: is required and missing",
        ),
        ("refund.x: { assume: { charge.paid: true } }", "no fact of this action has that field"),
        ("refund.x: { assume: { charge.disputed: 0 } }", "expected `true` or `false`"),
        ("refund.x: { assume: { charge.purchased_at: 0 } }", "a moment cannot be assumed"),
        (
            "class/financial: { assume: { charge.disputed: false } }",
            "for one action, not for a class",
        ),
        (
            "refund.x: { approval: { queue: finanse } }",
            "there is no queue `finanse`; is it `finance`?",
        ),
        ("refund.x: { approval: { wait: 61s } }", "expected 60s at most"),
        (
            "refund.x: { confidence: { refuse_below: 0.9, auto_above: 0.8 } }",
            "is less than `refuse_below`",
        ),
        ("refund.x: { confidence: { auto_above: 0.5 } }", "is less than `refuse_below`"),
        ("refund.x: { require: [color] }", "expected `case`, `reason`"),
        ("refund.x: { internal: true }", "expected `allow` or `refuse`"),
        ("refund.x: { templates: [hello] }", "this sends no message"),
        ("refund.x: { undo: charge.x }", "no pack knows the action `charge.x`"),
    ] {
        let got = refuses(&[], text);
        assert!(got.contains(expected), "{text}\n  expected {expected}\n  got {got}");
    }
    let both = refuses(
        &[("own.cedar", "permit (principal, action, resource);")],
        "note.y: {}\nread.y: {}",
    );
    assert_eq!(both.lines().count(), 3, "{both}");
    let good = "contracts:\n  refund.x:\n    team: payments\n    outcome: auto\n    cap: { auto: [100.00 USD, 90.00 EUR], hard: [1000.00 USD, 900.00 EUR] }\n    budget:\n      - { per: customer, within: 24h, amount: [300.00 USD, 270.00 EUR], over: hold }\n      - { per: agent, within: 1h, count: 30, over: hold }\n    window: { since: purchased_at, max: 30d, after: hold }\n    require: [case, reason]\n    approval: { queue: finance, wait: 20s, expires: 72h }\n    confidence: { refuse_below: 0.60, auto_above: 0.95 }\n    duplicates: { alike: hold, within: 24h, near: 5% }\n    assume: { charge.disputed: false }\n    undo: none\n    agents: { night-bot: { cap: { auto: 25.00 USD } } }\n  class/financial: { outcome: hold }\n  class/communication: { outcome: hold }\n";
    assert_eq!(refuses(&[], good), "nothing");
}

#[test]
fn contracts_merge_key_over_key_and_the_later_wins() {
    let text = "class/financial: { team: money, approval: { queue: trust, expires: 1h } }\n\
                refund.x: { cap: { auto: 5.00 USD }, approval: { wait: 5s }, agents: { bot: { approval: { queue: finance } } } }";
    let contracts = contracts(text);
    assert_eq!(contracts.queues().iter().map(|q| &**q).collect::<Vec<_>>(), ["finance", "trust"]);
    let refund = action("refund.x");
    let policy = load(vec![action("refund.x")], &contracts, &[]).unwrap();
    let contract = |agent: &str| policy.contract(&refund, refund.class, agent);
    let (plain, bot) = (contract("anyone"), contract("bot"));
    assert_eq!((&*plain.team, &*plain.approval.queue), ("money", "trust"));
    assert_eq!((plain.approval.wait.as_secs(), plain.approval.expires.as_secs()), (5, 3600));
    assert_eq!((&*bot.team, &*bot.approval.queue), ("money", "finance"));
    assert_eq!(bot.cap_auto, plain.cap_auto);
    // A class alone, and an outcome that was said.
    let held =
        super::support::contracts("class/financial: { outcome: hold, cap: { auto: 5.00 USD } }");
    let policy = load(vec![action("refund.x")], &held, &[]).unwrap();
    let contract = policy.contract(&refund, refund.class, "anyone");
    assert_eq!(contract.outcome, tollhouse::contract::Best::Hold);
}

#[test]
fn one_cap_for_every_financial_action_lies_beneath_what_is_written() {
    let cap = vec![Money::parse("100.00 USD").unwrap()];
    let outcome = |text: &str| {
        let contracts = contracts(text).with_auto_cap(cap.clone());
        let policy = load(vec![action("refund.x"), action("message.x")], &contracts, &[]).unwrap();
        let refund = action("refund.x");
        let message = action("message.x");
        let refund = policy.contract(&refund, refund.class, "bot");
        let message = policy.contract(&message, message.class, "bot");
        (refund.outcome, refund.cap_auto.clone(), message.outcome)
    };
    use tollhouse::contract::Best::{Auto, Hold};
    assert_eq!(outcome("{}"), (Auto, cap.clone(), Hold));
    let five = vec![Money::parse("5.00 USD").unwrap()];
    assert_eq!(outcome("refund.x: { cap: { auto: 5.00 USD } }"), (Auto, five, Hold));
    assert_eq!(outcome("refund.x: { outcome: hold }"), (Hold, cap.clone(), Hold));
    assert_eq!(outcome("class/financial: { outcome: hold }"), (Hold, cap.clone(), Hold));
}

#[test]
fn what_a_rule_needs_and_a_pack_does_not_declare_is_shown() {
    let names = ["refund.x", "payback.x"];
    let text = "payback.x: { team: payments, cap: { auto: 100.00 USD }, agents: { bot: { cap: { auto: 1.00 USD } } } }";
    let policy = load(names.map(action).into(), &contracts(text), &[]).unwrap();
    let missing = |name: &str| -> Vec<String> {
        let shown = policy.shown(name).unwrap();
        shown
            .missing
            .iter()
            .map(|(rule, facts)| format!("{} {}", rule.policy, facts.join(" ")))
            .collect()
    };
    assert_eq!(missing("refund.x"), Vec::<String>::new());
    assert_eq!(
        missing("payback.x"),
        [
            "financial.disputed disputed",
            "refund.over-remaining remaining",
            "refund.remaining-unknown remaining"
        ]
    );
    assert!(policy.show("nothing.x").is_none());
    let text = policy.show("payback.x").unwrap();
    for line in [
        "  up to 100.00 USD without a person; another currency is held",
        "for the agent bot instead",
        "  up to 1.00 USD without a person; another currency is held",
        "  hold    financial.disputed               needs disputed",
        "  hold    financial.over-cap               the amount is over the automatic cap",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
}

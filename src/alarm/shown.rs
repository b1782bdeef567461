//! Which brakes and signals does an action meet? For people who look at its rules.

use super::{Alarms, Brake, Most, Rule, Signal, span};
use crate::call::{Class, Kind};
use crate::decision::Then;

impl Alarms {
    /// What counts or holds effects of that class and kind: sort, name, in words.
    pub fn shown(&self, class: Class, kind: Option<Kind>) -> Vec<(&'static str, String, String)> {
        if !class.is_effect() {
            return Vec::new();
        }
        let brakes = self.brakes().iter().filter(|one| one.rule.meets(class, kind));
        let brakes = brakes.map(|one| ("brake", one.rule.name.to_string(), one.words()));
        let applies = |one: &&Signal| one.effects.is_empty() || one.effects.contains(&class);
        let signals = self.signals().iter().filter(applies);
        let signals = signals.map(|one| ("signal", one.rule.name.to_string(), one.words()));
        brakes.chain(signals).collect()
    }
}

impl Rule {
    fn meets(&self, class: Class, kind: Option<Kind>) -> bool {
        let kinds = self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind));
        kinds && (self.classes.is_empty() || self.classes.contains(&class))
    }

    /// `20 refunds`, `2000.00 USD of money`.
    fn amount(&self) -> String {
        let most = match &self.most {
            Most::Times(times) => times.to_string(),
            Most::Money(all) => {
                all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
            }
        };
        format!("{most} {}", self.watch.words())
    }
}

impl Brake {
    fn words(&self) -> String {
        let within = span(self.rule.within);
        let released = match self.quiet {
            Some(quiet) => format!("after {} of quiet", span(quiet)),
            None => "by a person alone".to_owned(),
        };
        let (amount, per) = (self.rule.amount(), self.rule.per.name());
        format!("past {amount} in {within} each {per} is held, and released {released}")
    }
}

impl Signal {
    fn words(&self) -> String {
        let within = span(self.rule.within);
        let then = match self.then {
            Then::Hold => "it is held for a person",
            Then::Tell => "policies may look at it",
        };
        let (amount, per) = (self.rule.amount(), self.rule.per.name());
        format!("from {amount} in {within} on, for each {per}, {then}")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::yaml::{self, Faults};

    fn read(text: &str) -> Result<Alarms, String> {
        let faults = Faults::of("f.yaml");
        let root = yaml::read("f.yaml", text).unwrap();
        let top = faults.section(&root, "");
        let alarms = Alarms::read(&top);
        top.finish();
        if faults.is_empty() { Ok(alarms) } else { Err(faults.into_errors().to_string()) }
    }

    #[test]
    fn an_action_is_shown_what_it_meets() {
        let alarms = read(
            "brakes:\n\
             - { name: spike, watch: refunds, per: agent, over: 20, within: 10m, quiet: 30m }\n\
             - { name: m, watch: money, per: class, classes: [financial], over: [2000.00 USD, 5 JPY], within: 1h }\n\
             - { name: mail, watch: holds, per: kind, kinds: [message], over: 3, within: 1h }\n\
             signals:\n\
             - { name: serial, watch: refunds, per: customer, over: 3, within: 30d }\n\
             - { name: then-money, watch: mismatches, per: case, over: 1, within: 1h, for: [financial], then: tell }\n",
        )
        .unwrap();
        let lines = |class, kind| {
            let shown = alarms.shown(class, kind).into_iter();
            shown.map(|(sort, name, words)| format!("{sort} {name}: {words}")).collect::<Vec<_>>()
        };
        assert_eq!(
            lines(Class::Financial, Some(Kind::Refund)),
            [
                "brake spike: past 20 refunds in 10m each agent is held, and released after 30m of quiet",
                "brake m: past 2000.00 USD or 5 JPY of money in 1h each class is held, and released by a person alone",
                "signal serial: from 3 refunds in 30 days on, for each customer, it is held for a person",
                "signal then-money: from 1 calls on what is not theirs in 1h on, for each case, policies may look at it",
            ]
        );
        assert_eq!(lines(Class::Communication, Some(Kind::Message)).len(), 3);
        assert_eq!(lines(Class::Write, None).len(), 2);
        assert!(lines(Class::Read, None).is_empty());
    }

    const WRONG: &[(&str, &str)] = &[
        ("brakes: {}", "expected a list of brakes"),
        ("brakes: [ { watch: refunds, per: agent, over: 1, within: 1h } ]", "name: is required"),
        (
            "brakes: [ { name: a b, watch: refunds, per: agent, over: 1, within: 1h } ]",
            "1 to 64 letters",
        ),
        (
            "brakes: [ { name: a, watch: thefts, per: agent, over: 1, within: 1h } ]",
            "expected one of refunds, money, refusals, holds, mismatches, failed, got `thefts`",
        ),
        (
            "brakes: [ { name: a, watch: near_cap, per: agent, over: 1, within: 1h } ]",
            "got `near_cap`",
        ),
        (
            "brakes: [ { name: a, watch: refunds, per: customer, over: 1, within: 1h } ]",
            "expected one of class, kind, action, agent, tenant, got `customer`",
        ),
        (
            "brakes: [ { name: a, watch: mismatches, per: class, over: 1, within: 1h } ]",
            "expected `agent` or `tenant`",
        ),
        (
            "brakes: [ { name: a, watch: money, per: agent, over: 5, within: 1h } ]",
            "brakes[0].over",
        ),
        (
            "brakes: [ { name: a, watch: refunds, per: agent, over: 5.00 USD, within: 1h } ]",
            "a whole number from 1",
        ),
        (
            "brakes: [ { name: a, watch: refunds, per: agent, over: 0, within: 1h } ]",
            "a whole number from 1",
        ),
        (
            "brakes: [ { name: a, watch: refunds, per: agent, over: 1, within: 32d } ]",
            "expected 1s to 31d",
        ),
        (
            "brakes: [ { name: a, watch: refunds, per: agent, over: 1, within: 1h, quiet: 4s } ]",
            "expected 5s to 31d",
        ),
        (
            "brakes: [ { name: a, watch: refunds, per: agent, over: 1, within: 1h, near: 5% } ]",
            "near",
        ),
        (
            "brakes: [ { name: a, watch: refunds, per: agent, over: 1, within: 1h }, { name: a, watch: holds, per: agent, over: 1, within: 1h } ]",
            "a brake `a` stands here twice",
        ),
        (
            "signals: [ { name: a, watch: refunds, per: class, over: 1, within: 1h } ]",
            "expected one of agent, tenant, customer, case, got `class`",
        ),
        (
            "signals: [ { name: a, watch: refunds, per: case, over: 1, within: 1h, near: 5% } ]",
            "is for `watch: near_cap` alone",
        ),
        (
            "signals: [ { name: a, watch: refunds, per: case, over: 1, within: 1h, for: [read] } ]",
            "a read has no signals",
        ),
        (
            "signals: [ { name: a, watch: refunds, per: case, over: 1, within: 1h, then: refuse } ]",
            "expected `hold` or `tell`",
        ),
        (
            "signals: [ { name: a, watch: refunds, per: case, over: 1, within: 1h, quiet: 1h } ]",
            "quiet",
        ),
    ];

    #[test]
    fn what_is_wrong_is_said_all_at_once() {
        for (text, said) in WRONG {
            let errors = read(text).err().unwrap_or_default();
            assert!(errors.contains(said), "{text}: `{said}` is not in `{errors}`");
        }
        let both = "brakes: [ { name: a, watch: x, per: y, over: 0, within: 0s, more: 1 } ]";
        let errors = read(both).unwrap_err();
        assert_eq!(errors.lines().count(), 5, "{errors}");
    }
}

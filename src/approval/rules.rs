//! Who is asked, how many of them, how urgent is it, and what then?
//!
//! What the operator wrote, applied to one call. Never reads or writes a hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Objection, Operator};
use crate::call::Class;
use crate::clock::Timestamp;
use crate::contract::{Contract, Tier};
use crate::money::Money;
use crate::store::{About, Crowd, HoldTerms, News, Quorum, Risk};

/// A queue of calls that wait for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// Who answers it; nobody named: every operator who answers holds.
    pub roles: Vec<String>,
    /// For whom it answers; nobody named: for every tenant.
    pub tenants: Vec<String>,
    /// After how long its people are reminded, again and again.
    pub remind: Option<Duration>,
    /// When others are asked instead.
    pub escalate: Option<Escalate>,
}

/// When others are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalate {
    /// After that time in a queue.
    pub after: Duration,
    /// Who.
    pub to: Arc<str>,
}

/// What the operator wrote of approvals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The queues that exist.
    pub queues: HashMap<Arc<str>, Queue>,
    /// The most that a role may say yes to, by currency; a role that is not named has no limit.
    pub limits: HashMap<Box<str>, Vec<Money>>,
    /// How many calls may wait at once.
    pub crowd: Crowd,
    /// What somebody outside wants to hear of.
    pub wants: Vec<News>,
    /// Who could answer.
    pub answerers: Answerers,
}

/// Who is known to be able to answer holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answerers {
    /// People sign in; which roles they have is up to their issuer.
    pub people: bool,
    /// The roles of each token that answers holds.
    pub machines: Vec<Vec<Box<str>>>,
}

/// BOUND: so many times the automatic cap is much money.
const MUCH: i64 = 5;

impl Rules {
    /// On which terms a call is held.
    pub fn terms(
        &self,
        about: &About,
        contract: &Contract,
        (queue, deadline): (&str, Timestamp),
    ) -> HoldTerms {
        let tier = contract.approval.tier(about.amount);
        let needs = tier.map_or_else(Quorum::default, |Tier { approvers, roles, .. }| Quorum {
            approvers: *approvers,
            roles: roles.clone(),
        });
        HoldTerms {
            queue: queue.into(),
            deadline,
            risk: risk(about, contract, &needs),
            needs,
            nudge: self.queues.get(queue).and_then(Queue::first_nudge),
            crowd: self.crowd,
            wants: self.wants.clone(),
        }
    }

    /// What is due in a queue after `waited` there: others are asked, or its people reminded; and after how
    /// long it is looked at again.
    pub fn nudge(
        &self,
        queue: &str,
        passed: &[Box<str>],
        waited: Duration,
    ) -> (Option<Arc<str>>, Option<Duration>) {
        let Some(own) = self.queues.get(queue) else { return (None, None) };
        // One that came round stays where it is: nobody is asked in a circle.
        let onward = own.escalate.as_ref().filter(|escalate| {
            *escalate.to != *queue && passed.iter().all(|before| **before != *escalate.to)
        });
        if let Some(escalate) = onward.filter(|escalate| escalate.after <= waited) {
            let next = self.queues.get(&escalate.to).and_then(Queue::first_nudge);
            return (Some(Arc::clone(&escalate.to)), next);
        }
        let left = onward.map(|escalate| escalate.after.saturating_sub(waited));
        (None, [own.remind, left].into_iter().flatten().min())
    }

    /// Whether anybody who is known could answer a tenant's calls in a queue.
    pub fn is_answered(&self, queue: &str, tenant: &str) -> bool {
        let Some(own) = self.queues.get(queue) else { return false };
        if !own.tenants.is_empty() && own.tenants.iter().all(|one| *one != tenant) {
            return false;
        }
        let opens = |roles: &Vec<Box<str>>| {
            own.roles.is_empty()
                || roles.iter().any(|role| own.roles.iter().any(|one| **one == **role))
        };
        self.answerers.people || self.answerers.machines.iter().any(opens)
    }

    /// Whether so much money may be said yes to, by the roles that open a queue.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn within_limit(
        &self,
        amount: Option<Money>,
        roles: &[String],
        operator: &Operator,
    ) -> Result<(), Objection> {
        let own = operator.roles.iter().map(|role| &**role);
        // SECURITY: where a queue asks for no role, one without a limit lifts no other one's limit.
        let counts = |role: &&str| match roles {
            [] => self.limits.contains_key(*role),
            opening => opening.iter().any(|one| *one == **role),
        };
        let mut counting = own.filter(counts).peekable();
        let is_enough = |role: &str| match (self.limits.get(role), amount) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(limits), Some(money)) => {
                Contract::cap(limits, money.currency).is_some_and(|most| money.minor <= most)
            }
        };
        if counting.peek().is_none() || counting.any(is_enough) {
            return Ok(());
        }
        let why = "it is more than your role may approve: somebody with a higher limit must";
        Err(Objection::NotYours(why.to_owned()))
    }
}

impl Queue {
    /// After how long it is looked at for the first time.
    fn first_nudge(&self) -> Option<Duration> {
        let escalate = self.escalate.as_ref().map(|escalate| escalate.after);
        [self.remind, escalate].into_iter().flatten().min()
    }
}

/// How much a wrong yes would cost. Money that is not known, or is far over what runs by itself, or that
/// takes two people, is much.
fn risk(about: &About, contract: &Contract, needs: &Quorum) -> Risk {
    let is_much = |amount: Money| {
        let cap = Contract::cap(&contract.cap_auto, amount.currency);
        cap.is_none_or(|cap| amount.minor > cap.saturating_mul(MUCH))
    };
    match (about.class, about.amount) {
        _ if needs.approvers > 1 => Risk::High,
        (Class::Financial, None) => Risk::High,
        (Class::Financial, Some(amount)) if is_much(amount) => Risk::High,
        (Class::Financial, Some(_)) => Risk::Medium,
        (Class::Write, _) => Risk::Medium,
        (Class::Communication | Class::Read, _) => Risk::Low,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::approval::{Answers, Tenants};

    fn operator(roles: &[&str]) -> Operator {
        Operator {
            name: "ana".into(),
            subject: None,
            roles: roles.iter().map(|role| Box::from(*role)).collect(),
            tenants: Tenants::All,
            answers: Answers::Holds,
        }
    }

    fn rules() -> Rules {
        let usd = |text| vec![Money::parse(text).unwrap()];
        let queue = |remind: Option<u64>, escalate: Option<(u64, &str)>| Queue {
            remind: remind.map(Duration::from_secs),
            escalate: escalate
                .map(|(after, to)| Escalate { after: Duration::from_secs(after), to: to.into() }),
            ..Queue::default()
        };
        Rules {
            limits: HashMap::from([
                ("finance".into(), usd("500.00 USD")),
                ("lead".into(), usd("5000.00 USD")),
            ]),
            queues: HashMap::from([
                ("finance".into(), queue(Some(900), Some((1800, "lead")))),
                ("lead".into(), queue(None, Some((3600, "finance")))),
                ("quiet".into(), Queue::default()),
            ]),
            ..Rules::default()
        }
    }

    #[test]
    fn the_highest_limit_of_the_roles_that_open_a_queue_counts() {
        let rules = rules();
        for (amount, queue, roles, is_fine) in [
            (Some("500.00 USD"), &["finance"][..], &["finance"][..], true),
            (Some("500.01 USD"), &["finance"], &["finance"], false),
            (Some("500.01 USD"), &["finance", "lead"], &["finance", "lead"], true),
            (Some("500.01 USD"), &["finance"], &["finance", "lead"], false),
            (Some("500.01 USD"), &["finance", "boss"], &["boss"], true),
            (Some("1.00 EUR"), &["finance"], &["finance"], false),
            (None, &["finance"], &["finance"], false),
            (None, &["boss"], &["boss"], true),
            (Some("500.01 USD"), &[], &["finance", "reader"], false),
            (Some("500.01 USD"), &[], &["reader"], true),
            (Some("500.01 USD"), &[], &["finance", "lead"], true),
        ] {
            let amount = amount.map(|text| Money::parse(text).unwrap());
            let queue: Vec<String> = queue.iter().map(ToString::to_string).collect();
            let said = rules.within_limit(amount, &queue, &operator(roles));
            assert_eq!(said.is_ok(), is_fine, "{amount:?} in {queue:?} by {roles:?}");
        }
    }

    #[test]
    fn a_queue_is_reminded_then_others_are_asked_and_nobody_twice() {
        let rules = rules();
        let seconds = |n| Some(Duration::from_secs(n));
        let nudge = |queue, passed: &[&str], waited| {
            let passed: Vec<Box<str>> = passed.iter().map(|name| Box::from(*name)).collect();
            rules.nudge(queue, &passed, Duration::from_secs(waited))
        };
        assert_eq!(
            nudge("finance", &[], 900),
            (None, seconds(900)),
            "to the escalation, not past it"
        );
        assert_eq!(nudge("finance", &[], 1000), (None, seconds(800)));
        assert_eq!(nudge("finance", &[], 1800), (Some("lead".into()), seconds(3600)));
        assert_eq!(nudge("lead", &["finance"], 3600), (None, None), "it does not go round");
        assert_eq!(nudge("finance", &["lead"], 1800), (None, seconds(900)), "its own go on");
        assert_eq!(nudge("quiet", &[], 1), (None, None));
        assert_eq!(nudge("gone", &[], 1), (None, None));
    }

    #[test]
    fn a_queue_is_answered_where_somebody_who_is_known_opens_it() {
        let queue = |roles: &[&str], tenants: &[&str]| Queue {
            roles: roles.iter().map(ToString::to_string).collect(),
            tenants: tenants.iter().map(ToString::to_string).collect(),
            ..Queue::default()
        };
        let mut rules = Rules {
            queues: HashMap::from([
                ("finance".into(), queue(&["finance"], &[])),
                ("acme".into(), queue(&[], &["acme"])),
            ]),
            ..Rules::default()
        };
        assert!(!rules.is_answered("finance", ""), "nobody is known");
        rules.answerers.machines = vec![vec!["support".into()]];
        assert!(!rules.is_answered("finance", ""), "nobody has its role");
        assert!(rules.is_answered("acme", "acme") && !rules.is_answered("acme", "other"));
        rules.answerers.machines.push(vec!["finance".into()]);
        assert!(rules.is_answered("finance", "") && !rules.is_answered("gone", ""));
        rules.answerers = Answerers { people: true, machines: Vec::new() };
        assert!(rules.is_answered("finance", "") && !rules.is_answered("acme", "other"));
    }
}

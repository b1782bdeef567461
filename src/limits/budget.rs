//! What would this call take from which budget? A contract's budgets as the store counts them.
//!
//! Never counts anything itself: the store does, in the one step that also reserves.

use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use crate::call::Class;
use crate::contract::{Budget, BudgetScope, Contract, Room};
use crate::money::{MINOR_UNITS_MAX, Money};
use crate::store::{About, BudgetUse, Take};

/// What a call would take from its contract's budgets.
///
/// Room is counted by what sort of effect it is, not by the action's name: a refund that goes another
/// way takes from the same room. It is not counted by the span either, so that a changed span does
/// not begin with an empty count.
pub fn budgets(contract: &Contract, about: &About) -> Vec<BudgetUse> {
    contract.budgets.iter().flat_map(|budget| uses(contract, about, budget)).collect()
}

fn uses(contract: &Contract, about: &About, budget: &Budget) -> Vec<BudgetUse> {
    let takes = match &budget.room {
        Room::Count(room) => vec![Take::One { room: *room }],
        // Only money takes money.
        Room::Money(_) if about.class != Class::Financial => Vec::new(),
        Room::Money(rooms) => money(contract, about, rooms),
    };
    let (id, key) = (id(budget), key(about, budget.per));
    let one = |take| BudgetUse {
        id: id.clone(),
        key: key.clone(),
        within: budget.within,
        take,
        over: budget.over,
        alert: alert(budget.alert, take),
    };
    takes.into_iter().map(one).collect()
}

fn money(contract: &Contract, about: &About, rooms: &[Money]) -> Vec<Take> {
    let room = |amount: Money| Contract::cap(rooms, amount.currency);
    match about.amount {
        Some(amount) => vec![Take::Money { amount, room: room(amount) }],
        // An amount that is not known takes the hard cap, in every currency that it may be in;
        // without a hard cap it fits into nothing.
        None => {
            let most = |listed: &Money| {
                let cap = Contract::cap(&contract.cap_hard, listed.currency);
                let minor = cap.unwrap_or(listed.minor).clamp(0, MINOR_UNITS_MAX);
                let room = cap.map(|_| listed.minor);
                Take::Money { amount: Money { minor, currency: listed.currency }, room }
            };
            rooms.iter().map(most).collect()
        }
    }
}

/// `budget.customer-24h`.
fn id(budget: &Budget) -> Box<str> {
    format!("budget.{}-{}", budget.per.name(), span(budget.within)).into()
}

/// A span in one unit: `24h`, `30d`, `90s`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    // Hours up to two days, as operators write them.
    let units = [(86_400, "d", 172_800), (3600, "h", 3600), (60, "m", 60)];
    for (unit, name, least) in units {
        if seconds >= least && seconds.checked_rem(unit) == Some(0) {
            return format!("{}{name}", seconds.checked_div(unit).unwrap_or(0));
        }
    }
    format!("{seconds}s")
}

/// SECURITY: every part is length-prefixed: no name can be chosen so that it counts elsewhere.
fn key(about: &About, per: BudgetScope) -> Box<str> {
    let what = about.kind.map_or(&*about.action, |kind| kind.name());
    let (upstream, account, agent) = (&*about.upstream, &*about.account, &*about.caller.agent);
    let (name, parts): (&str, SmallVec<[&str; 5]>) = match per {
        // The same customer has one account for each upstream.
        BudgetScope::Customer => ("customer", smallvec![what, upstream, account]),
        BudgetScope::Agent => ("agent", smallvec![what, "", agent]),
        BudgetScope::Tenant => ("tenant", smallvec![what]),
        // SECURITY: whoever names no case does not go round its budget: that is one case, too.
        BudgetScope::Case => match &about.said.case {
            Some(case) => ("case", smallvec![what, upstream, account, agent, &**case]),
            None => ("no-case", smallvec![what, upstream, account, agent]),
        },
        // SECURITY: nor does whoever acts on what nobody could name.
        BudgetScope::Resource => match &about.resource {
            Some(on) => ("resource", smallvec![what, upstream, &*on.kind, &*on.id]),
            None => ("no-resource", smallvec![what, upstream, account]),
        },
        BudgetScope::Action => ("action", smallvec![&*about.action]),
    };
    let mut key = name.to_owned();
    for part in parts {
        key.push_str(&format!("|{}:{part}", part.len()));
    }
    key.into()
}

/// From how much on operators are told, rounded up: at 80 % of 10.01 that is 8.01.
fn alert(per_cent: Option<u8>, take: Take) -> Option<i64> {
    let room = match take {
        Take::Money { room, .. } => room?,
        Take::One { room } => i64::try_from(room).unwrap_or(i64::MAX),
    };
    let share = i128::from(room).checked_mul(i128::from(per_cent?))?;
    let least = share.saturating_add(99).checked_div(100)?;
    i64::try_from(least).ok().map(|least| least.max(1))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use super::*;
    use crate::call::{CallerKey, Digest, Fingerprint, Kind, Resource};
    use crate::contract::Over;
    use crate::store::Said;

    fn usd(text: &str) -> Money {
        Money::parse(text).unwrap()
    }

    fn about(class: Class, amount: Option<&str>) -> About {
        About {
            caller: CallerKey { tenant: "".into(), agent: "bot".into(), customer: "ann".into() },
            upstream: "stripe".into(),
            account: "cus_9".into(),
            action: "stripe.refund.create".into(),
            class,
            classes: vec![class],
            kind: Some(Kind::Refund),
            owner: None,
            resource: None,
            amount: amount.map(usd),
            summary: "".into(),
            said: Said::default(),
            fingerprint: Fingerprint([0; 32]),
            digest: Digest([0; 32]),
            facts: None,
            policy: None,
            origin: None,
        }
    }

    fn contract() -> Contract {
        let hour = Duration::from_secs(3600);
        let room = Room::Money(vec![usd("300.00 USD"), usd("270.00 EUR")]);
        let mut contract = Contract::safe(Class::Financial);
        contract.cap_hard = vec![usd("1000.00 USD")];
        contract.budgets = vec![
            Budget {
                per: BudgetScope::Customer,
                within: hour.saturating_mul(24),
                room,
                over: Over::Hold,
                alert: Some(80),
            },
            Budget {
                per: BudgetScope::Agent,
                within: hour,
                room: Room::Count(30),
                over: Over::Refuse,
                alert: None,
            },
        ];
        contract
    }

    #[test]
    fn a_known_amount_takes_itself_and_a_currency_that_is_not_listed_has_no_room() {
        let uses = budgets(&contract(), &about(Class::Financial, Some("12.50 USD")));
        let amount = usd("12.50 USD");
        assert_eq!(uses[0].take, Take::Money { amount, room: Some(30_000) });
        assert_eq!((&*uses[0].id, uses[0].over), ("budget.customer-24h", Over::Hold));
        assert_eq!(uses[1].take, Take::One { room: 30 });
        assert_eq!((&*uses[1].id, uses[1].over), ("budget.agent-1h", Over::Refuse));
        let uses = budgets(&contract(), &about(Class::Financial, Some("12 JPY")));
        assert_eq!(uses[0].take, Take::Money { amount: usd("12 JPY"), room: None });
    }

    #[test]
    fn an_amount_that_is_not_known_takes_the_most_it_may_be() {
        let uses = budgets(&contract(), &about(Class::Financial, None));
        assert_eq!(uses.len(), 3);
        assert_eq!(uses[0].take, Take::Money { amount: usd("1000.00 USD"), room: Some(30_000) });
        // No hard cap in that currency: it fits into nothing.
        assert_eq!(uses[1].take, Take::Money { amount: usd("270.00 EUR"), room: None });
    }

    #[test]
    fn only_money_takes_money_and_everything_counts() {
        let uses = budgets(&contract(), &about(Class::Write, None));
        let takes: Vec<_> = uses.iter().map(|each| each.take).collect();
        assert_eq!(takes, [Take::One { room: 30 }]);
    }

    #[test]
    fn the_same_room_has_the_same_key_and_no_other() {
        let key_of = |change: fn(&mut About)| {
            let mut about = about(Class::Financial, Some("1.00 USD"));
            change(&mut about);
            let uses = budgets(&contract(), &about);
            [uses[0].key.clone(), uses[1].key.clone()]
        };
        let same = key_of(|_| ());
        assert_ne!(same[0], same[1]);
        // Another way to the same effect is the same room.
        assert_eq!(key_of(|about| about.action = "stripe.charge.refund".into()), same);
        let other_agent = key_of(|about| about.caller.agent = "bat".into());
        assert_eq!((other_agent[0] == same[0], other_agent[1] == same[1]), (true, false));
        let other_account = key_of(|about| about.account = "cus_8".into());
        assert_eq!((other_account[0] == same[0], other_account[1] == same[1]), (false, true));
        let other_kind = key_of(|about| about.kind = Some(Kind::Charge));
        assert!(other_kind[0] != same[0] && other_kind[1] != same[1]);
        let forged = key_of(|about| {
            about.upstream = "".into();
            about.account = "6:stripe|5:cus_9".into();
        });
        assert_ne!(forged[0], same[0]);
    }

    #[test]
    fn each_scope_is_a_room_of_its_own_for_its_own_and_for_no_other() {
        let key_of = |per: BudgetScope, change: &dyn Fn(&mut About)| {
            let mut about = about(Class::Financial, Some("1.00 USD"));
            about.said.case = Some("c1".into());
            about.resource = Some(Resource { kind: "Charge".into(), id: "ch_1".into() });
            change(&mut about);
            let mut contract = contract();
            contract.budgets.truncate(1);
            contract.budgets[0].per = per;
            budgets(&contract, &about)[0].key.clone()
        };
        type Change<'c> = (&'c str, &'c dyn Fn(&mut About));
        let changes: [Change<'_>; 9] = [
            ("agent", &|about| about.caller.agent = "bat".into()),
            ("account", &|about| about.account = "cus_8".into()),
            ("upstream", &|about| about.upstream = "other".into()),
            ("kind", &|about| about.kind = Some(Kind::Charge)),
            ("action", &|about| about.action = "stripe.charge.refund".into()),
            ("case", &|about| about.said.case = Some("c2".into())),
            ("no case", &|about| about.said.case = None),
            ("resource", &|about| {
                about.resource = Some(Resource { kind: "Charge".into(), id: "ch_2".into() })
            }),
            ("no resource", &|about| about.resource = None),
        ];
        // The same sort of effect another way is the same room, but for what is counted by its action.
        for (per, apart) in [
            (BudgetScope::Customer, &["account", "upstream", "kind"][..]),
            (BudgetScope::Agent, &["agent", "kind"]),
            (BudgetScope::Tenant, &["kind"]),
            (BudgetScope::Case, &["agent", "account", "upstream", "kind", "case", "no case"]),
            (BudgetScope::Resource, &["upstream", "kind", "resource", "no resource"]),
            (BudgetScope::Action, &["action"]),
        ] {
            let same = key_of(per, &|_| ());
            for (what, change) in changes {
                let differs = key_of(per, change) != same;
                assert_eq!(differs, apart.contains(&what), "{} and {what}", per.name());
            }
        }
        // Who names no case, or acts on what is not known, counts under the account all the same.
        let no_case = |about: &mut About| about.said.case = None;
        let forged = |about: &mut About| about.said.case = Some("".into());
        assert_ne!(key_of(BudgetScope::Case, &no_case), key_of(BudgetScope::Case, &forged));
        let unknown = |account: &'static str| {
            move |about: &mut About| {
                about.resource = None;
                about.account = account.into();
            }
        };
        let per = BudgetScope::Resource;
        assert_ne!(key_of(per, &unknown("cus_8")), key_of(per, &unknown("cus_9")));
    }

    #[test]
    fn an_alert_is_a_share_of_the_room_rounded_up() {
        let take = |room| Take::Money { amount: usd("1.00 USD"), room };
        assert_eq!(alert(Some(80), take(Some(10_01))), Some(8_01));
        assert_eq!(alert(Some(80), take(Some(10_00))), Some(8_00));
        assert_eq!(alert(Some(1), Take::One { room: 2 }), Some(1));
        assert_eq!(alert(Some(50), Take::One { room: 0 }), Some(1));
        assert_eq!(alert(Some(99), Take::One { room: u64::MAX }), Some(9_131_138_316_486_228_049));
        assert_eq!(alert(Some(80), take(None)), None, "a currency that is not listed");
        assert_eq!(alert(None, take(Some(10_00))), None);
        let uses = budgets(&contract(), &about(Class::Financial, Some("1.00 USD")));
        assert_eq!((uses[0].alert, uses[1].alert), (Some(240_00), None));
    }

    #[test]
    fn spans_read_as_they_are_written() {
        for (seconds, text) in [
            (30, "30s"),
            (90, "90s"),
            (60, "1m"),
            (5400, "90m"),
            (3600, "1h"),
            (86_400, "24h"),
            (172_800, "2d"),
            (129_600, "36h"),
            (30 * 86_400, "30d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}

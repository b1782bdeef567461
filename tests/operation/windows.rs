//! Windows of money and counts against an exact oracle: several budgets over several scopes, currencies and
//! spans at once, every outcome, late successes, what ends by itself, clocks that are set.
//!
//! The oracle knows no ledger and no bucket: of each effect what it is about, and when it was used, by the clock
//! that nobody can set. Exactly as much is counted as it says; after a clock was set, or past so many moments that
//! some become one, never less.

use std::time::Duration;

use proptest::prelude::*;
use tollhouse::call::{Class, OperationId, Outcome, Resource};
use tollhouse::clock::{Clock, Timestamp};
use tollhouse::contract::{Budget, BudgetScope, Contract, Over, Room};
use tollhouse::limits;
use tollhouse::money::Money;
use tollhouse::store::rows::{Meta, Tables};
use tollhouse::store::step::{Event, Reply, step};
use tollhouse::store::times::Times;
use tollhouse::store::{About, Blocked, HoldAnswer, Record, Reserved, Say, State, Witness};

use crate::asks::{HOUR, START, ask, money, on, settle};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Act {
    /// A refund is asked.
    Ask(What),
    /// One that was sent comes to that.
    End { which: usize, outcome: Outcome },
    /// One that was taken for nothing, or is not known, did happen.
    Late { which: usize },
    /// What the vendor said was pending came to nothing.
    Fell { which: usize },
    /// A person says what became of one that is not known.
    Resolve { which: usize, outcome: Outcome },
    /// One that is held is withdrawn.
    Withdraw { which: usize },
    /// Time passes.
    Turn { seconds: u64 },
    /// Somebody sets the clock.
    Set { minutes: i64 },
}

/// What is asked, by place in short lists.
#[derive(Debug, Clone)]
struct What {
    agent: usize,
    account: usize,
    case: usize,
    charge: usize,
    action: usize,
    currency: usize,
    minor: i64,
}

const AGENTS: [&str; 2] = ["bot", "bat"];
const ACCOUNTS: [&str; 2] = ["cus_1", "cus_2"];
const CASES: [Option<&str>; 3] = [None, Some("a"), Some("b")];
const CHARGES: [Option<&str>; 4] = [None, Some("ch_1"), Some("ch_2"), Some("ch_3")];
const ACTIONS: [&str; 2] = ["shop.refund.create", "shop.order.refund"];
/// The last one no budget names.
const CURRENCIES: [&str; 3] = ["USD", "JPY", "EUR"];
const DAY: Duration = Duration::from_secs(86_400);

/// The budgets of the contract; over each scope there is one.
fn contract() -> Contract {
    let rooms = |usd: i64, jpy: i64| {
        let of = |minor, text| Money { minor, currency: money(text).currency };
        Room::Money(vec![of(usd, "1 USD"), of(jpy, "1 JPY")])
    };
    let budget = |per, within, room, over| Budget { per, within, room, over, alert: Some(60) };
    let mut contract = Contract::safe(Class::Financial);
    contract.budgets = vec![
        budget(BudgetScope::Customer, DAY, rooms(120_00, 9_000), Over::Refuse),
        budget(BudgetScope::Customer, HOUR, rooms(70_00, 6_000), Over::Refuse),
        budget(BudgetScope::Tenant, DAY * 31, rooms(600_00, 50_000), Over::Hold),
        budget(BudgetScope::Agent, HOUR, Room::Count(5), Over::Refuse),
        budget(BudgetScope::Case, HOUR * 6, rooms(90_00, 7_000), Over::Refuse),
        budget(BudgetScope::Resource, DAY * 7, Room::Count(3), Over::Refuse),
        budget(BudgetScope::Action, HOUR, Room::Count(6), Over::Hold),
    ];
    contract
}

fn what() -> impl Strategy<Value = What> {
    let minor = prop_oneof![1..30_00_i64, 30_00..80_00_i64];
    let currency = prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => Just(2)];
    (0..2_usize, 0..2_usize, 0..3_usize, 0..4_usize, 0..2_usize, currency, minor).prop_map(
        |(agent, account, case, charge, action, currency, minor)| What {
            agent,
            account,
            case,
            charge,
            action,
            currency,
            minor,
        },
    )
}

fn act(set: u32) -> impl Strategy<Value = Act> {
    let some = 0..8_usize;
    let outcome = prop_oneof![
        4 => Just(Outcome::Succeeded),
        1 => Just(Outcome::Accepted),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::NotSent),
        1 => Just(Outcome::Unknown),
    ];
    let found =
        prop_oneof![Just(Outcome::Succeeded), Just(Outcome::Rejected), Just(Outcome::NotSent),];
    let span = prop_oneof![
        3 => 1..7_200_u64,
        2 => Just(3_600_u64),
        2 => 80_000..90_000_u64,
        1 => 600_000..3_000_000_u64,
    ];
    prop_oneof![
        40 => what().prop_map(Act::Ask),
        30 => (some.clone(), outcome).prop_map(|(which, outcome)| Act::End { which, outcome }),
        5 => some.clone().prop_map(|which| Act::Late { which }),
        4 => some.clone().prop_map(|which| Act::Fell { which }),
        4 => (some.clone(), found).prop_map(|(which, outcome)| Act::Resolve { which, outcome }),
        3 => some.prop_map(|which| Act::Withdraw { which }),
        14 => span.prop_map(|seconds| Act::Turn { seconds }),
        set => prop_oneof![-3_000..-2_i64, 2..3_000_i64].prop_map(|minutes| Act::Set { minutes }),
    ]
}

/// What the oracle knows of one refund.
#[derive(Debug, Clone)]
struct Refund {
    op: OperationId,
    about: About,
    token: u64,
    is: Is,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    Held {
        until: Timestamp,
    },
    Sent {
        until: Timestamp,
    },
    Unknown,
    /// Used, at that moment of the clock that nobody sets.
    Used {
        at: Duration,
        pending: bool,
    },
    /// Nothing happened; it was sent once, or never.
    Nothing {
        sent: bool,
    },
}

struct History {
    rows: Tables,
    clock: Clock,
    times: Times,
    contract: Contract,
    refunds: Vec<Refund>,
    asked: u64,
    /// Whether what is counted may be more than what was used.
    is_coarse: bool,
    granted: usize,
    refused: usize,
}

impl History {
    fn new() -> Self {
        let clock = Clock::by_hand(START);
        let times = Times::resume(clock.clone(), &Meta::default());
        Self {
            rows: Tables::default(),
            clock,
            times,
            contract: contract(),
            refunds: Vec::new(),
            asked: 0,
            is_coarse: false,
            granted: 0,
            refused: 0,
        }
    }

    fn run(&mut self, event: &Event) -> Reply {
        let now = self.times.tick();
        let (reply, changes) = step(&self.rows, event, now).unwrap();
        self.rows.apply(changes);
        reply
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Ask(what) => self.ask(what),
            Act::End { which, outcome } => self.end(*which, *outcome),
            Act::Late { which } => self.late(*which),
            Act::Fell { which } => self.fell(*which),
            Act::Resolve { which, outcome } => self.resolve(*which, *outcome),
            Act::Withdraw { which } => self.withdraw(*which),
            Act::Turn { seconds } => self.turn(*seconds),
            Act::Set { minutes } => {
                let to = self.clock.now().0 + minutes * 60_000;
                self.clock.set(Timestamp(to));
                self.is_coarse = true;
            }
        }
    }

    /// What one budget of the contract counts of what `about` asks for, by its own reading of the scopes.
    fn used(&self, budget: &Budget, about: &About) -> i64 {
        let now = self.clock.steady();
        let mut used = 0;
        for refund in
            self.refunds.iter().filter(|refund| same_room(budget.per, &refund.about, about))
        {
            let counts = match refund.is {
                Is::Held { .. } | Is::Sent { .. } | Is::Unknown => true,
                Is::Used { at, .. } => now.saturating_sub(at) <= budget.within,
                Is::Nothing { .. } => false,
            };
            let (own, asked) = (refund.about.amount.unwrap(), about.amount.unwrap());
            used += match &budget.room {
                _ if !counts => 0,
                Room::Count(_) => 1,
                Room::Money(_) if own.currency == asked.currency => own.minor,
                Room::Money(_) => 0,
            };
        }
        used
    }

    fn ask(&mut self, what: &What) {
        self.asked += 1;
        let (token, key) = (self.asked, self.asked.to_string());
        let currency = money(&format!("1 {}", CURRENCIES[what.currency])).currency;
        let mut asked = on(ask(Some(&key), "1.00 USD", token), &key);
        let about = &mut asked.about;
        about.amount = Some(Money { minor: what.minor, currency });
        about.caller.agent = AGENTS[what.agent].into();
        about.account = ACCOUNTS[what.account].into();
        about.said.case = CASES[what.case].map(Into::into);
        about.action = ACTIONS[what.action].into();
        about.resource =
            CHARGES[what.charge].map(|id| Resource { kind: "Charge".into(), id: id.into() });
        asked.budgets = limits::budgets(&self.contract, about);
        asked.hold.crowd = tollhouse::store::Crowd { agent: 10_000, customer: 10_000 };
        let deadline = self.times.tick().at.plus(HOUR * 24);
        asked.hold.deadline = deadline;
        let about = asked.about.clone();
        let Reply::Reserved(reserved) = self.run(&Event::Reserve(Box::new(asked), None)) else {
            unreachable!()
        };
        // Another one is open on that charge: no business of budgets.
        if let Reserved::Blocked(Blocked::InFlight(_) | Blocked::OutcomeUnknown(_)) = &reserved {
            return;
        }
        self.judge(&about, &reserved);
        let (record, is) = match &reserved {
            Reserved::Granted(grant) => (&grant.record, Is::Sent { until: grant.lease }),
            Reserved::Held(record) => (record, Is::Held { until: deadline }),
            _ => return,
        };
        self.compare(record);
        self.granted += 1;
        self.refunds.push(Refund { op: record.op, about, token, is });
    }

    /// Whether the answer is what the oracle says.
    fn judge(&mut self, about: &About, reserved: &Reserved) {
        let past = |budget: &Budget| {
            let amount = about.amount.unwrap();
            let (takes, room) = match &budget.room {
                Room::Count(room) => (1, Some(i64::try_from(*room).unwrap())),
                Room::Money(rooms) => (amount.minor, Contract::cap(rooms, amount.currency)),
            };
            room.is_none_or(|room| self.used(budget, about) + takes > room)
        };
        let over: Vec<&Budget> =
            self.contract.budgets.iter().filter(|budget| past(budget)).collect();
        let refuses = over.iter().any(|budget| budget.over == Over::Refuse);
        let holds = over.iter().any(|budget| budget.over == Over::Hold);
        match reserved {
            // Never more than the room, in any window, whatever was done to the clock.
            Reserved::Granted(_) => assert!(!refuses && !holds, "granted past {over:?}"),
            Reserved::Held(_) => {
                assert!(!refuses, "held past {over:?}");
                assert!(holds || self.is_coarse, "held with room");
            }
            Reserved::Blocked(Blocked::Over { until, .. }) => {
                assert!(refuses || self.is_coarse, "refused with room");
                assert!(until.is_none_or(|until| until > self.times.tick().at));
                self.refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether every budget counts what the oracle does.
    fn compare(&self, record: &Record) {
        for stood in &record.stood {
            let budget = self.contract.budgets.iter().find(|budget| {
                let hours = budget.within.as_secs() / 3600;
                let span =
                    if hours > 24 { format!("{}d", hours / 24) } else { format!("{hours}h") };
                *stood.id == format!("budget.{}-{span}", budget.per.name())
            });
            let used = self.used(budget.unwrap(), &record.about);
            let takes = stood.unit.map_or(1, |_| record.about.amount.unwrap().minor);
            if self.is_coarse {
                assert!(stood.used >= used + takes, "{stood:?} counts less than {used} + {takes}");
            } else {
                assert_eq!(stood.used, used + takes, "{stood:?}");
                let alert = stood.alert.unwrap();
                assert_eq!(stood.crossed, used < alert && alert <= used + takes, "{stood:?}");
            }
        }
        assert!(record.stood.len() >= 3, "counts stand whatever the currency");
    }

    fn end(&mut self, which: usize, outcome: Outcome) {
        let (now, steady) = (self.times.tick().at, self.clock.steady());
        let sent = |is: &Is| matches!(is, Is::Sent { until } if *until > now);
        let Some(refund) = self.pick(which, sent) else { return };
        refund.is = match outcome {
            Outcome::Succeeded => Is::Used { at: steady, pending: false },
            Outcome::Accepted => Is::Used { at: steady, pending: true },
            Outcome::Rejected | Outcome::NotSent => Is::Nothing { sent: true },
            Outcome::Unknown => Is::Unknown,
        };
        let end = settle(refund.op, refund.token, outcome);
        self.run(&Event::Settle(Box::new(end.clone())));
        // Said twice is said once.
        self.run(&Event::Settle(Box::new(end)));
    }

    fn late(&mut self, which: usize) {
        let steady = self.clock.steady();
        let Some(refund) =
            self.pick(which, |is| matches!(is, Is::Nothing { sent: true } | Is::Unknown))
        else {
            return;
        };
        refund.is = Is::Used { at: steady, pending: false };
        let end = settle(refund.op, refund.token, Outcome::Succeeded);
        self.run(&Event::Settle(Box::new(end)));
    }

    fn fell(&mut self, which: usize) {
        let Some(refund) = self.pick(which, |is| matches!(is, Is::Used { pending: true, .. }))
        else {
            return;
        };
        refund.is = Is::Nothing { sent: true };
        let end = settle(refund.op, refund.token, Outcome::Rejected);
        self.run(&Event::Settle(Box::new(end)));
    }

    fn resolve(&mut self, which: usize, outcome: Outcome) {
        let steady = self.clock.steady();
        let Some(refund) = self.pick(which, |is| *is == Is::Unknown) else { return };
        refund.is = match outcome {
            Outcome::Succeeded | Outcome::Accepted => Is::Used { at: steady, pending: false },
            Outcome::Rejected | Outcome::NotSent | Outcome::Unknown => Is::Nothing { sent: true },
        };
        let mut end = settle(refund.op, refund.token, outcome);
        end.by = Witness::Person("ana".into());
        self.run(&Event::Settle(Box::new(end)));
    }

    fn withdraw(&mut self, which: usize) {
        let now = self.times.tick().at;
        let held = |is: &Is| matches!(is, Is::Held { until } if *until > now);
        let Some(refund) = self.pick(which, held) else { return };
        refund.is = Is::Nothing { sent: false };
        let op = refund.op;
        self.run(&Event::Answer(Box::new(HoldAnswer { op, say: Say::Withdraw })));
    }

    fn turn(&mut self, seconds: u64) {
        self.clock.turn(Duration::from_secs(seconds));
        // Whole rounds of keeping: nothing that counts is lost by them.
        self.run(&Event::Sweep(Vec::new(), 1_000));
        let draft = tollhouse::store::draft::Draft::new(&self.rows);
        self.refunds.retain_mut(|refund| {
            let state = draft.record(refund.op).unwrap().map(|record| record.state);
            refund.is = match (refund.is, state) {
                (Is::Sent { .. }, Some(State::Unknown)) => Is::Unknown,
                (Is::Held { .. }, Some(State::Refused { .. })) => Is::Nothing { sent: false },
                // Forgotten: nobody can say anything of it any more, and what it used counts on.
                (Is::Nothing { .. }, None) => return false,
                (Is::Used { at, .. }, None) => Is::Used { at, pending: false },
                (is, _) => is,
            };
            true
        });
    }

    fn pick(&mut self, which: usize, is: impl Fn(&Is) -> bool) -> Option<&mut Refund> {
        let fits: Vec<usize> =
            (0..self.refunds.len()).filter(|at| is(&self.refunds[*at].is)).collect();
        let at = *fits.get(which % fits.len().max(1))?;
        Some(&mut self.refunds[at])
    }
}

/// Whether two refunds take from the same room.
fn same_room(per: BudgetScope, one: &About, other: &About) -> bool {
    let agent = one.caller.agent == other.caller.agent;
    let account = one.account == other.account;
    match per {
        BudgetScope::Customer => account,
        BudgetScope::Agent => agent,
        BudgetScope::Tenant => true,
        BudgetScope::Case => agent && account && one.said.case == other.said.case,
        BudgetScope::Resource => {
            one.resource == other.resource && (one.resource.is_some() || account)
        }
        BudgetScope::Action => one.action == other.action,
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn every_window_holds_exactly_what_was_used_in_it(acts in proptest::collection::vec(act(0), 1..40)) {
        let mut history = History::new();
        acts.iter().for_each(|act| history.act(act));
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    // Hours ahead, days back: a leap empties no window.
    #[test]
    fn a_clock_that_is_set_never_makes_room(acts in proptest::collection::vec(act(6), 1..40)) {
        let mut history = History::new();
        acts.iter().for_each(|act| history.act(act));
    }
}

proptest! {
    #![proptest_config(config(12))]

    // More moments than a row holds: some become one, which counts until the latest of them has left.
    #[test]
    fn what_is_merged_never_counts_less(seed in any::<u64>()) {
        let mut history = History::new();
        for budget in &mut history.contract.budgets {
            match &mut budget.room {
                Room::Money(rooms) => rooms.iter_mut().for_each(|room| room.minor *= 1_000),
                Room::Count(room) => *room *= 1_000,
            }
        }
        history.is_coarse = true;
        let mut dice = seed;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((dice >> 33) % sides).unwrap()
        };
        for _ in 0..600 {
            let what = What {
                agent: roll(2), account: roll(2), case: roll(3), charge: roll(4), action: roll(2),
                currency: roll(2), minor: 1 + i64::try_from(roll(500)).unwrap(),
            };
            history.act(&Act::Ask(what));
            let outcome = [Outcome::Succeeded, Outcome::Succeeded, Outcome::Accepted, Outcome::Rejected][roll(4)];
            history.act(&Act::End { which: 0, outcome });
            if roll(10) == 0 {
                history.act(&Act::Fell { which: roll(8) });
            }
            history.act(&Act::Turn { seconds: 1 + u64::try_from(roll(400)).unwrap() });
        }
        prop_assert!(history.granted > 500, "{} only", history.granted);
    }
}

// What was pending for longer than any window, and came to nothing, gives back nothing that somebody else uses.
#[test]
fn what_left_every_window_gives_nothing_back() {
    let mut history = History::new();
    let what = |account| What {
        agent: 0,
        account,
        case: 0,
        charge: 1,
        action: 0,
        currency: 0,
        minor: 60_00,
    };
    history.act(&Act::Ask(what(0)));
    history.act(&Act::End { which: 0, outcome: Outcome::Accepted });
    history.act(&Act::Turn { seconds: 32 * 86_400 });
    history.act(&Act::Ask(what(0)));
    history.act(&Act::End { which: 0, outcome: Outcome::Succeeded });
    history.act(&Act::Fell { which: 0 });
    history.act(&Act::Ask(What { charge: 2, ..what(0) }));
    assert_eq!((history.granted, history.refused), (2, 1));
    assert_eq!(history.refunds.len(), 2, "{:?}", history.refunds);
}

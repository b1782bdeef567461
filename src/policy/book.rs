//! Which contract holds for this action, this class, this agent? Every combination that was written,
//! merged key over key and checked against the catalog at load.
//!
//! Order, the later over the earlier: what is safe, the class, the action, then what each of them
//! says of the agent. Never merges while a call waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::context::{ConsentRule, Offer, Types};
use super::contracts::{Contracts, Scope, Terms, Written};
use super::profile::{any_field, classes, field};
use crate::action::{Action, Owner, ReadAs, Source};
use crate::call::Class;
use crate::contract::{Assumed, Best, Contract, Room};
use crate::yaml::{Faults, Place};

/// Every contract.
#[derive(Debug)]
pub(super) struct Book {
    classes: Shelves,
    actions: HashMap<Box<str>, Shelves>,
}

/// By class, in the order of [`Class::ALL`].
type Shelves = [Shelf; 4];

/// One contract, and as it is for agents of whom something else was said.
#[derive(Debug)]
struct Shelf {
    plain: Arc<Offer>,
    agents: HashMap<Box<str>, Arc<Offer>>,
}

/// What contracts are checked against.
pub(super) struct Known<'k> {
    pub actions: &'k HashMap<&'k str, &'k Action>,
    pub queues: &'k [Arc<str>],
    pub types: &'k Types,
    pub consent: ConsentRule,
}

impl Book {
    /// Merges and checks; faults are noted where they stand.
    pub fn new(contracts: &Contracts, known: &Known<'_>, faults: &Faults) -> Self {
        for written in &contracts.written {
            check(written, known, faults);
        }
        let agents: BTreeSet<&str> = contracts
            .written
            .iter()
            .flat_map(|written| written.agents.iter().map(|(agent, _)| &**agent))
            .collect();
        let merge = Merge { contracts, agents, known, faults };
        let actions = contracts.written.iter().filter_map(|written| match &written.scope {
            Scope::Action(name) => {
                let undo = known.actions.get(&**name).and_then(|action| action.undo.clone());
                Some((name.clone(), merge.shelves(Some(written), undo.as_deref())))
            }
            Scope::Class(_) => None,
        });
        Self { actions: actions.collect(), classes: merge.shelves(None, None) }
    }

    /// The contract of `action` where the call is of `class`, for `agent`.
    pub fn find(&self, action: &str, class: Class, agent: &str) -> &Arc<Offer> {
        let [read, write, communication, financial] =
            self.actions.get(action).unwrap_or(&self.classes);
        let shelf = match class {
            Class::Read => read,
            Class::Write => write,
            Class::Communication => communication,
            Class::Financial => financial,
        };
        shelf.agents.get(agent).unwrap_or(&shelf.plain)
    }

    /// Whether somebody wrote a contract for this very action.
    pub fn names(&self, action: &str) -> bool {
        self.actions.contains_key(action)
    }

    /// The agents of whom `action` says something else.
    pub fn agents(&self, action: &str, class: Class) -> Vec<&str> {
        let shelves = self.actions.get(action).unwrap_or(&self.classes);
        let shelf = Class::ALL.iter().zip(shelves).find(|(own, _)| **own == class);
        let mut agents: Vec<&str> =
            shelf.into_iter().flat_map(|(_, shelf)| shelf.agents.keys().map(|a| &**a)).collect();
        agents.sort_unstable();
        agents
    }
}

struct Merge<'m> {
    contracts: &'m Contracts,
    agents: BTreeSet<&'m str>,
    known: &'m Known<'m>,
    faults: &'m Faults,
}

impl Merge<'_> {
    fn shelves(&self, action: Option<&Written>, undo: Option<&str>) -> Shelves {
        let offer = |own| Arc::new(Offer::new(own, self.known.types, self.known.consent));
        Class::ALL.map(|class| {
            let plain = self.contract(action, undo, class, None);
            let differ = self
                .agents
                .iter()
                .map(|agent| (Box::from(*agent), self.contract(action, undo, class, Some(agent))));
            let agents = differ
                .filter(|(_, own)| *own != plain)
                .map(|(agent, own)| (agent, offer(own)))
                .collect();
            Shelf { plain: offer(plain), agents }
        })
    }

    fn contract(
        &self,
        action: Option<&Written>,
        undo: Option<&str>,
        class: Class,
        agent: Option<&str>,
    ) -> Contract {
        let of_class = self.contracts.written.iter().find(|w| w.scope == Scope::Class(class));
        let entries = || [of_class, action].into_iter().flatten();
        let overlay = |written: &'_ Written| {
            let found = written.agents.iter().position(|(own, _)| Some(&**own) == agent);
            found.and_then(|at| written.agents.get(at).map(|(_, terms)| terms.clone()))
        };
        let layers: Vec<Terms> =
            entries().map(|w| w.terms.clone()).chain(entries().filter_map(overlay)).collect();
        let mut contract = Contract::safe(class);
        contract.undo = undo.map(Box::from);
        let everywhere = class == Class::Financial && !self.contracts.cap.is_empty();
        // A cap without an outcome is the wish that what is under it runs.
        let capped = everywhere || layers.iter().any(|terms| terms.cap_auto.is_some());
        if class == Class::Financial && capped {
            contract.outcome = Best::Auto;
        }
        if everywhere {
            contract.cap_auto.clone_from(&self.contracts.cap);
        }
        for terms in &layers {
            terms.apply(&mut contract);
        }
        self.ordered(&contract, &layers);
        contract
    }

    /// Limits that contradict each other.
    fn ordered(&self, contract: &Contract, layers: &[Terms]) {
        for auto in &contract.cap_auto {
            let hard = Contract::cap(&contract.cap_hard, auto.currency);
            if let Some(layer) = layers.iter().rev().find(|t| t.cap_auto.is_some())
                && let Some((_, place)) = layer.cap_auto.as_ref()
                && hard.is_some_and(|hard| hard < auto.minor)
            {
                let message = format!("`{auto}` is more than the hard cap");
                note_once(self.faults, *place, &format!("{}.cap.auto", layer.key), message);
            }
        }
        let bands = contract.confidence;
        if let (Some(low), Some(high)) = (bands.refuse_below, bands.auto_above)
            && low > high
            && let Some(layer) = layers.iter().rev().find(|t| t.auto_above.is_some())
            && let Some((_, place)) = layer.auto_above
        {
            let message = "is less than `refuse_below` (0.60 unless said)";
            let key = format!("{}.confidence.auto_above", layer.key);
            note_once(self.faults, place, &key, message.into());
        }
    }
}

/// One line for what several merged contracts share.
fn note_once(faults: &Faults, place: Place, key: &str, message: String) {
    if !faults.has(place, key) {
        faults.note(place, key, message);
    }
}

/// What an entry says that the catalog contradicts.
fn check(written: &Written, known: &Known<'_>, faults: &Faults) {
    let action = match &written.scope {
        Scope::Class(_) => None,
        Scope::Action(name) => match known.actions.get(&**name) {
            Some(action) => Some(*action),
            None => {
                let near = nearest(name, known.actions.keys().copied());
                let hint = near.map_or(String::new(), |near| format!("; is it `{near}`?"));
                let message = format!("no pack knows the action `{name}`{hint}");
                faults.note(written.place, &written.terms.key, message);
                return;
            }
        },
    };
    let possible: BTreeSet<Class> = match (&written.scope, action) {
        (Scope::Class(class), _) => BTreeSet::from([*class]),
        (Scope::Action(_), Some(action)) => classes(action),
        (Scope::Action(_), None) => BTreeSet::new(),
    };
    let overlays = written.agents.iter().map(|(_, terms)| terms);
    for terms in std::iter::once(&written.terms).chain(overlays) {
        let check = Check { terms, action, possible: &possible, faults };
        check.classes();
        check.facts();
        check.names(known);
    }
}

struct Check<'c> {
    terms: &'c Terms,
    action: Option<&'c Action>,
    possible: &'c BTreeSet<Class>,
    faults: &'c Faults,
}

impl Check<'_> {
    fn fault(&self, place: Place, key: &str, message: impl Into<String>) {
        self.faults.note(place, &format!("{}.{key}", self.terms.key), message);
    }

    /// Keys that no effect of the action could meet.
    fn classes(&self) {
        let terms = self.terms;
        if let Some((Best::Hold, place)) = terms.outcome
            && self.possible.iter().all(|class| !class.is_effect())
        {
            self.fault(place, "outcome", "a read is not held; expected `auto` or `refuse`");
        }
        if !self.possible.contains(&Class::Financial) {
            for (said, key) in [(&terms.cap_auto, "cap.auto"), (&terms.cap_hard, "cap.hard")] {
                if let Some((_, place)) = said {
                    self.fault(*place, key, "this moves no money; remove the cap");
                }
            }
            if let Some((budgets, place)) = &terms.budgets
                && budgets.iter().any(|budget| matches!(budget.room, Room::Money(_)))
            {
                self.fault(*place, "budget", "this moves no money; expected a `count`");
            }
        }
        if let Some((_, place)) = &terms.templates
            && !self.possible.contains(&Class::Communication)
        {
            self.fault(*place, "templates", "this sends no message; remove the templates");
        }
    }

    /// Facts that the pack does not declare.
    fn facts(&self) {
        let terms = self.terms;
        if let Some((window, place)) = &terms.window
            && let Some(action) = self.action
        {
            let read = if window.since.contains('.') {
                field(action, &window.since)
            } else {
                any_field(action, &window.since)
            };
            let since = &window.since;
            match read {
                None => self.fault(
                    *place,
                    "window.since",
                    format!("no fact of `{}` has the field `{since}`", action.name),
                ),
                Some(read) if !is_moment(read) => {
                    self.fault(*place, "window.since", format!("`{since}` is no moment"));
                }
                Some(_) => {}
            }
        }
        for (fact, value, place) in &terms.assume {
            let Some(action) = self.action else {
                let message = "is assumed for one action, not for a class";
                self.fault(*place, &format!("assume.{fact}"), message);
                continue;
            };
            // SECURITY: whose it is, is read or it is nobody's.
            if names_owner(action, fact) {
                let message = "says whose it is: that is read, never assumed";
                self.fault(*place, &format!("assume.{fact}"), message);
                continue;
            }
            if let Err(message) = fits(field(action, fact), value) {
                self.fault(*place, &format!("assume.{fact}"), message);
            }
        }
    }

    fn names(&self, known: &Known<'_>) {
        if let Some((queue, place)) = &self.terms.queue
            && **queue != *"default"
            && !known.queues.contains(queue)
        {
            let near = nearest(queue, known.queues.iter().map(|queue| &**queue));
            let hint = near.map_or(String::new(), |near| format!("; is it `{near}`?"));
            self.fault(*place, "approval.queue", format!("there is no queue `{queue}`{hint}"));
        }
        if let Some((Some(undo), place)) = &self.terms.undo
            && !known.actions.contains_key(&**undo)
        {
            self.fault(*place, "undo", format!("no pack knows the action `{undo}`"));
        }
    }
}

/// Whether the action's owner is read from that field: `charge.customer`.
fn names_owner(action: &Action, name: &str) -> bool {
    let Owner::Sources(sources) = &action.owner else { return false };
    sources.iter().any(|source| {
        matches!(source, Source::Fact { fact, field }
            if name.split_once('.') == Some((&**fact, &**field)))
    })
}

fn is_moment(read: ReadAs) -> bool {
    matches!(read, ReadAs::EpochSeconds | ReadAs::EpochMillis | ReadAs::Rfc3339)
}

fn fits(read: Option<ReadAs>, value: &Assumed) -> Result<(), String> {
    let expected = match (read, value) {
        (None, _) => return Err("no fact of this action has that field".into()),
        (Some(ReadAs::Bool), Assumed::Bool(_))
        | (Some(ReadAs::Minor | ReadAs::Major | ReadAs::Long), Assumed::Long(_))
        | (Some(ReadAs::Text), Assumed::Text(_)) => return Ok(()),
        (Some(ReadAs::Bool), _) => "expected `true` or `false`",
        (Some(ReadAs::Minor | ReadAs::Major), _) => "expected whole minor units",
        (Some(ReadAs::Long), _) => "expected a whole number",
        (Some(ReadAs::Text), _) => "expected a text in quotes",
        (Some(ReadAs::EpochSeconds | ReadAs::EpochMillis | ReadAs::Rfc3339), _) => {
            "a moment cannot be assumed"
        }
    };
    Err(expected.into())
}

/// The known name that shares the longest beginning and end with `name`.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let alike = |other: &str| {
        let front = name.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
        let back = name.chars().rev().zip(other.chars().rev()).take_while(|(a, b)| a == b).count();
        front.saturating_add(back)
    };
    let best =
        known.map(|other| (alike(other), other)).max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(a.1)))?;
    (best.0.saturating_mul(2) >= name.chars().count()).then_some(best.1)
}

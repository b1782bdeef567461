//! What rates did the operator write, and whose room does a call take?

use std::num::NonZeroU32;
use std::time::Duration;

use crate::call::{Call, Caller, Class};
use crate::value::piece;
use crate::yaml::{Faults, Node, Shape};

/// BOUND: rates in one configuration; a call takes from each that applies.
const RULES_MAX: usize = 32;
/// One configured rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, in headers and sentences.
    pub name: Box<str>,
    /// What is counted apart.
    pub per: Per,
    /// So many calls ..
    pub count: NonZeroU32,
    /// .. in this span.
    pub within: Duration,
    /// So many at once.
    pub burst: NonZeroU32,
    /// Only calls of these classes; all, when empty.
    pub classes: Vec<Class>,
    /// Where it is counted.
    pub across: Across,
    /// Percent of it that one process may use by itself while the store does not answer.
    pub store_down: u8,
}

/// Where a rate is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Across {
    /// In this process.
    #[default]
    Process,
    /// By all replicas together.
    Fleet,
}

/// How a rate is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In this process.
    Here,
    /// In the store, with each effect's reservation: exact.
    Reserved,
    /// In the store, which lends calls to each replica ahead of their use.
    Lent,
}

/// What a rate counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Each agent of a tenant.
    Agent,
    /// Each customer of a tenant, under any agent; a call for nobody counts under its agent.
    Customer,
    /// Each tenant.
    Tenant,
    /// Each action.
    Action,
    /// Each class.
    Class,
    /// Each upstream.
    Upstream,
    /// Nothing: all calls together.
    All,
}

impl Per {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Agent, "agent"),
        (Self::Customer, "customer"),
        (Self::Tenant, "tenant"),
        (Self::Action, "action"),
        (Self::Class, "class"),
        (Self::Upstream, "upstream"),
        (Self::All, "all"),
    ];

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(per, _)| per);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("expected one of {}, got `{text}`", known.join(", "))
        })
    }
}

/// Reads the list under `limits`.
pub fn read(faults: &Faults, node: &Node, key: &str) -> Vec<Rule> {
    let Shape::List(items) = &node.shape else {
        faults.note(node.place, key, "expected a list of rates");
        return Vec::new();
    };
    if items.len() > RULES_MAX {
        faults.note(node.place, key, format!("expected at most {RULES_MAX} rates"));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = format!("{key}[{index}]");
        if let Some(rule) = read_rule(faults, item, &key) {
            if rules.iter().any(|other| other.name == rule.name) {
                faults.note(item.place, &key, format!("a rate `{}` stands here twice", rule.name));
            }
            rules.push(rule);
        }
    }
    rules
}

fn read_rule(faults: &Faults, node: &Node, key: &str) -> Option<Rule> {
    let section = faults.section(node, key);
    let name = section.required("name", plain_name);
    let per = section.required("per", |node| Per::parse(node.text()?));
    let rate = section.required("rate", |node| read_rate(node.text()?));
    let burst = section.optional("burst", |node| {
        let burst = u32::try_from(node.count()?).ok().and_then(NonZeroU32::new);
        burst.filter(|b| b.get() <= COUNT_MAX).ok_or("expected 1 to 1000000".to_owned())
    });
    let classes = section.optional("classes", |node| {
        let parse = |text: &String| {
            Class::parse(text).ok_or_else(|| {
                format!("expected `read`, `write`, `communication` or `financial`, got `{text}`")
            })
        };
        let classes: Vec<_> = node.texts()?.iter().map(parse).collect::<Result<_, _>>()?;
        if classes.is_empty() { Err("expected at least one class".into()) } else { Ok(classes) }
    });
    let across = section.optional("across", |node| match node.text()? {
        "fleet" => Ok(Across::Fleet),
        other => Err(format!(
            "expected `fleet`, got `{other}`; without it a rate counts in each process"
        )),
    });
    let across = across.unwrap_or_default();
    let store_down = section.optional("store_down", |node| read_share(node.text()?));
    let (count, within) = rate?;
    let burst = burst.unwrap_or(count);
    if refill(count, within, burst) > REFILL_MAX {
        section.fault("burst", "takes more than 30 days to come back at this rate");
    }
    let (per, classes) = (per?, classes.unwrap_or_default());
    let rule = Rule {
        name: name?.into(),
        per,
        count,
        within,
        burst,
        classes,
        across,
        store_down: store_down.unwrap_or(STORE_DOWN),
    };
    if store_down.is_some() && rule.way() != Way::Lent {
        section.fault("store_down", NOT_LENT);
    }
    section.finish();
    Some(rule)
}

pub(super) fn plain_name(node: &Node) -> Result<String, String> {
    let name = node.name()?;
    // RFC 9651 s3.3.3: it becomes a quoted string in a header, so it needs no escapes.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fits = name.len() <= 64 && name.bytes().all(plain);
    fits.then_some(name).ok_or("expected 1 to 64 letters, digits, `_`, `-` or `.`".to_owned())
}

/// Percent of a lent rate that one process may use by itself while the store does not answer.
const STORE_DOWN: u8 = 25;
const NOT_LENT: &str = "only for `across: fleet` rates that replicas borrow from: those with reads in \
                        them, or per action, class, upstream or all";

fn read_share(text: &str) -> Result<u8, String> {
    let share = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    let fits = share.filter(|share| *share <= 100);
    fits.ok_or_else(|| format!("expected `0%` to `100%`, got `{text}`"))
}

/// BOUND: a million a second is 1 us each, well above governor's nanosecond.
const COUNT_MAX: u32 = 1_000_000;
/// BOUND: governor multiplies nanoseconds in 64 bits unchecked; a longer memory is a budget's.
const REFILL_MAX: Duration = Duration::from_secs(30 * 86_400);

/// From empty to full.
pub(super) fn refill(count: NonZeroU32, within: Duration, burst: NonZeroU32) -> Duration {
    within.checked_div(count.get()).unwrap_or(within).saturating_mul(burst.get())
}

fn read_rate(text: &str) -> Result<(NonZeroU32, Duration), String> {
    let expected = || format!("expected a rate such as `600/min` or `10/h`, got `{text}`");
    let (count, unit) = text.split_once('/').ok_or_else(expected)?;
    let within = match unit.trim() {
        "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" | "hour" => 3600,
        "d" | "day" => 86_400,
        _ => return Err(expected()),
    };
    let count = count.trim().parse().ok().and_then(NonZeroU32::new).ok_or_else(expected)?;
    if count.get() > COUNT_MAX {
        return Err(expected());
    }
    Ok((count, Duration::from_secs(within)))
}

impl Rule {
    /// How it is counted. With an effect's reservation only where the store's rows of one tenant have all of
    /// it: another tenant's may be on another node.
    pub(super) fn way(&self) -> Way {
        let in_a_tenant = matches!(self.per, Per::Agent | Per::Customer | Per::Tenant);
        let has_reads = self.classes.is_empty() || self.classes.contains(&Class::Read);
        match self.across {
            Across::Process => Way::Here,
            Across::Fleet if in_a_tenant && !has_reads => Way::Reserved,
            Across::Fleet => Way::Lent,
        }
    }

    /// So many of it, and so many at once, for one process alone; `None` when that is nothing.
    pub(super) fn alone(&self) -> Option<(NonZeroU32, NonZeroU32)> {
        let share = |count: NonZeroU32| {
            let part = u64::from(count.get()).saturating_mul(u64::from(self.store_down));
            let part = u32::try_from(part.div_ceil(100)).unwrap_or(u32::MAX);
            NonZeroU32::new(part)
        };
        Some((share(self.count)?, share(self.burst)?))
    }

    pub(super) fn names(&self, class: Class) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }

    /// SECURITY: every part is length-prefixed; `a` and `b|c` is not `a|b` and `c`.
    pub(super) fn key(&self, asked: &Asked<'_>, out: &mut Vec<u8>) {
        piece(out, b'n', self.name.as_bytes());
        let caller = asked.caller;
        match self.per {
            Per::Agent => agent_key(caller, out),
            Per::Customer => match &caller.customer {
                Some(customer) => {
                    piece(out, b't', caller.tenant.as_bytes());
                    piece(out, b'c', customer.as_bytes());
                }
                None => agent_key(caller, out),
            },
            Per::Tenant => piece(out, b't', caller.tenant.as_bytes()),
            Per::Action => piece(out, b'i', asked.call.action.name.as_bytes()),
            Per::Class => piece(out, b'k', asked.call.class.name().as_bytes()),
            Per::Upstream => piece(out, b'u', asked.call.upstream.as_bytes()),
            Per::All => {}
        }
    }
}

fn agent_key(caller: &Caller, out: &mut Vec<u8>) {
    piece(out, b't', caller.tenant.as_bytes());
    piece(out, b'a', caller.agent.as_bytes());
}

/// Who asks for what.
pub(super) struct Asked<'a> {
    pub call: &'a Call,
    pub caller: &'a Caller,
}

//! Which brakes and signals did the operator write?

use std::time::Duration;

use super::{Alarms, Brake, Most, Per, Rule, Signal, What};
use crate::bounds::WITHIN_MAX;
use crate::call::{Class, Kind};
use crate::decision::Then;
use crate::yaml::{Faults, Node, Section, Shape};

/// BOUND: brakes, and signals, in one configuration; an effect is counted in each that applies.
const RULES_MAX: usize = 32;
/// BOUND: counts of a window; far above what a window of a month holds.
const TIMES_MAX: u64 = 1_000_000;
/// BOUND: a brake is looked at every second: its end is some looks away.
const QUIET_MIN: Duration = Duration::from_secs(5);
/// Just under a cap, where a signal does not say: per mille of the cap.
const NEAR: u16 = 100;

impl Alarms {
    /// Reads `brakes` and `signals`.
    pub fn read(top: &Section<'_>) -> Self {
        let brakes = top.node("brakes").map(|node| brakes(top.faults(), node));
        let signals = top.node("signals").map(|node| signals(top.faults(), node));
        Self::new(brakes.unwrap_or_default(), signals.unwrap_or_default())
    }
}

fn brakes(faults: &Faults, node: &Node) -> Vec<Brake> {
    const PER: &[Per] = &[Per::Class, Per::Kind, Per::Action, Per::Agent, Per::Tenant];
    list(faults, (node, "brakes", "brake"), |section| {
        let rule = rule(section, PER, |what| what != What::NearCap);
        let quiet = section.optional("quiet", quiet);
        if let Some(rule) = &rule
            && rule.watch == What::Mismatches
            && !matches!(rule.per, Per::Agent | Per::Tenant)
        {
            section.fault("per", "most mismatches are reads, which no class, kind or action of effects holds; expected `agent` or `tenant`");
        }
        Some(Brake { rule: rule?, quiet })
    })
}

fn signals(faults: &Faults, node: &Node) -> Vec<Signal> {
    const PER: &[Per] = &[Per::Customer, Per::Case, Per::Agent, Per::Tenant];
    list(faults, (node, "signals", "signal"), |section| {
        let rule = rule(section, PER, |_| true);
        let effects = section.optional("for", classes).unwrap_or_default();
        if effects.contains(&Class::Read) {
            section.fault("for", "a read has no signals; expected classes of effects");
        }
        let near = section.optional("near", Node::per_mille);
        if near.is_some() && rule.as_ref().is_some_and(|rule| rule.watch != What::NearCap) {
            section.fault("near", "is for `watch: near_cap` alone");
        }
        let then = section.optional("then", |node| match node.text()? {
            "hold" => Ok(Then::Hold),
            "tell" => Ok(Then::Tell),
            other => Err(format!("expected `hold` or `tell`, got `{other}`")),
        });
        let (near, then) = (near.unwrap_or(NEAR), then.unwrap_or_default());
        Some(Signal { rule: rule?, effects, near, then })
    })
}

/// What a list holds, each with a name of its own.
trait Ruled {
    fn rule(&self) -> &Rule;
}

impl Ruled for Brake {
    fn rule(&self) -> &Rule {
        &self.rule
    }
}

impl Ruled for Signal {
    fn rule(&self) -> &Rule {
        &self.rule
    }
}

fn list<T: Ruled>(
    faults: &Faults,
    (node, key, what): (&Node, &str, &str),
    read: impl Fn(&Section<'_>) -> Option<T>,
) -> Vec<T> {
    let Shape::List(items) = &node.shape else {
        faults.note(node.place, key, format!("expected a list of {what}s"));
        return Vec::new();
    };
    if items.len() > RULES_MAX {
        faults.note(node.place, key, format!("expected at most {RULES_MAX} {what}s"));
    }
    let mut all: Vec<T> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let section = faults.section(item, &key);
        let one = read(&section);
        section.finish();
        let Some(one) = one else { continue };
        let name = &one.rule().name;
        if all.iter().any(|other| other.rule().name == *name) {
            faults.note(item.place, &key, format!("a {what} `{name}` stands here twice"));
        }
        all.push(one);
    }
    all
}

fn rule(section: &Section<'_>, pers: &[Per], fits: impl Fn(What) -> bool) -> Option<Rule> {
    let name = section.required("name", |node| {
        let name = node.name()?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let ok = (1..=64).contains(&name.len()) && name.bytes().all(plain);
        ok.then_some(name).ok_or("expected 1 to 64 letters, digits, `_` or `-`".to_owned())
    });
    let watch = section.required("watch", |node| {
        let known: Vec<_> = What::ALL.into_iter().filter(|(what, _)| fits(*what)).collect();
        word(node, &known)
    });
    let per = section.required("per", |node| {
        let known: Vec<_> = Per::ALL.into_iter().filter(|(per, _)| pers.contains(per)).collect();
        word(node, &known)
    });
    let most = section.required("over", |node| match watch {
        Some(What::Money) => Ok(Most::Money(node.amounts()?)),
        Some(_) | None => {
            let times = node.count().ok().filter(|times| (1..=TIMES_MAX).contains(times));
            let times = times.and_then(|times| i64::try_from(times).ok());
            times.map(Most::Times).ok_or(format!("expected a whole number from 1 to {TIMES_MAX}"))
        }
    });
    let within = section.required("within", span);
    let classes = section.optional("classes", classes).unwrap_or_default();
    let kinds = section.optional("kinds", kinds).unwrap_or_default();
    let name = name?.into();
    Some(Rule { name, watch: watch?, per: per?, classes, kinds, most: most?, within: within? })
}

fn word<T: Copy>(node: &Node, known: &[(T, &str)]) -> Result<T, String> {
    let text = node.text()?;
    known.iter().find(|(_, name)| *name == text).map(|(one, _)| *one).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(_, name)| *name).collect();
        format!("expected one of {}, got `{text}`", names.join(", "))
    })
}

fn span(node: &Node) -> Result<Duration, String> {
    let span = node.duration()?;
    let fits = span >= Duration::from_secs(1) && span <= WITHIN_MAX;
    fits.then_some(span).ok_or_else(|| "expected 1s to 31d".to_owned())
}

fn quiet(node: &Node) -> Result<Duration, String> {
    let fits = |span: &Duration| *span >= QUIET_MIN;
    span(node).ok().filter(fits).ok_or_else(|| "expected 5s to 31d".to_owned())
}

fn classes(node: &Node) -> Result<Vec<Class>, String> {
    let parse = |text: &String| {
        Class::parse(text).ok_or_else(|| {
            format!("expected `read`, `write`, `communication` or `financial`, got `{text}`")
        })
    };
    some(node.texts()?.iter().map(parse).collect::<Result<_, _>>()?)
}

fn kinds(node: &Node) -> Result<Vec<Kind>, String> {
    let parse = |text: &String| {
        let known = Kind::ALL.map(Kind::name).join(", ");
        Kind::parse(text).ok_or_else(|| format!("expected one of {known}, got `{text}`"))
    };
    some(node.texts()?.iter().map(parse).collect::<Result<_, _>>()?)
}

fn some<T>(all: Vec<T>) -> Result<Vec<T>, String> {
    if all.is_empty() { Err("expected at least one".to_owned()) } else { Ok(all) }
}

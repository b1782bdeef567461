//! What do the rules cost, and what would they have? Counts and sums of what was held, refused and, in shadow, would
//! have been, read from the log.
//!
//! Each operation counts once, however often its agent asked. Never changes anything, and never trusts a line: one
//! that does not read is counted as such.

mod tally;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::chain;
use crate::clock::Timestamp;
use crate::refusal::{Code, InShadow};

/// BOUND: operations that are told apart and listed, some 500 bytes each; the rest is only counted.
const ITEMS_MAX: usize = 100_000;
/// BOUND: calls that are told apart for the shares, 8 bytes each.
const CALLS_MAX: usize = 20_000_000;

/// What is asked of the log.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// In which groups.
    pub by: By,
    /// BOUND: so many bytes of the newest segments are read; all when `None`.
    pub bytes_max: Option<u64>,
}

/// What a group has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The policy; a call that several spoke against counts in each.
    Policy,
    /// The action.
    Action,
    /// The class.
    Class,
    /// The agent.
    Agent,
    /// The tenant.
    Tenant,
    /// The code of the refusal.
    Code,
}

impl By {
    /// Every one, by name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("policy", Self::Policy),
        ("action", Self::Action),
        ("class", Self::Class),
        ("agent", Self::Agent),
        ("tenant", Self::Tenant),
        ("code", Self::Code),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("policy", |(name, _)| name)
    }
}

/// What became, or would have become, of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// It ran in shadow; a person would have been asked.
    WouldHold,
    /// It ran in shadow; it would have been turned back.
    WouldRefuse,
    /// A person was asked.
    Held,
    /// It was turned back.
    Refused,
}

impl Came {
    const ALL: [(&'static str, Self); 4] = [
        ("would_hold", Self::WouldHold),
        ("would_refuse", Self::WouldRefuse),
        ("held", Self::Held),
        ("refused", Self::Refused),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("refused", |(name, _)| name)
    }
}

/// A call that something spoke against.
#[derive(Debug, Clone)]
struct Item {
    at: Box<str>,
    came: Came,
    operation: Option<Box<str>>,
    code: Box<str>,
    policies: Vec<Box<str>>,
    action: Box<str>,
    class: Box<str>,
    agent: Box<str>,
    tenant: Box<str>,
    customer: Box<str>,
    resource: Option<Value>,
    amount: Option<(Box<str>, i64)>,
    /// What a person answered, of what was held.
    answer: Option<&'static str>,
    mark: Option<Mark>,
}

/// What a person said of a rule's word.
#[derive(Debug, Clone)]
struct Mark {
    at: Box<str>,
    verdict: Box<str>,
    by: Box<str>,
    note: Box<str>,
}

/// What a line says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    kind: Cow<'l, str>,
    #[serde(borrow, default)]
    timestamp: Cow<'l, str>,
    #[serde(borrow, default)]
    operation: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    code: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    action: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    class: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    agent: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    tenant: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    customer: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    by: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    note: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    mark: Option<Cow<'l, str>>,
    #[serde(default)]
    policies: Vec<Box<str>>,
    #[serde(default)]
    resource: Option<Value>,
    #[serde(default)]
    amount: Option<Amount>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    shadow: Option<Shadow>,
}

#[derive(Debug, Deserialize)]
struct Amount {
    currency: Box<str>,
    minor: i64,
}

#[derive(Debug, Deserialize)]
struct Shadow {
    code: Box<str>,
    decision: Box<str>,
    #[serde(default)]
    policies: Vec<Box<str>>,
}

/// What was read.
#[derive(Debug)]
pub struct Summary {
    asked: Asked,
    /// By operation, or by a number of its own.
    items: BTreeMap<Box<str>, Item>,
    /// Operations that are told apart.
    seen: HashSet<u64>,
    effects: u64,
    reads: u64,
    /// Turned back and only counted: too many alike in one second.
    more: u64,
    lines: u64,
    unread: u64,
    /// Whether something was left out.
    is_cut: bool,
}

/// Reads the logs under `dirs`; lines of tenants that `sees` says no to are left out.
///
/// # Errors
///
/// When one cannot be read.
pub fn summary(
    dirs: &[PathBuf],
    asked: Asked,
    sees: &dyn Fn(Option<&str>) -> bool,
) -> io::Result<Summary> {
    let mut summary = Summary::new(asked);
    let mut segments = Vec::new();
    for dir in dirs {
        segments.extend(recent(dir, asked.since)?);
    }
    let mut left = asked.bytes_max.unwrap_or(u64::MAX);
    // The newest are read first to their bound, and all of them in order.
    let mut chosen = Vec::new();
    for segment in segments.into_iter().rev() {
        let size = std::fs::metadata(&segment)?.len();
        if size > left {
            summary.is_cut = true;
            break;
        }
        left = left.saturating_sub(size);
        chosen.push(segment);
    }
    for segment in chosen.iter().rev() {
        summary.segment(segment, sees)?;
    }
    Ok(summary)
}

/// The segments that may hold records from then on, the oldest first.
fn recent(dir: &Path, since: Timestamp) -> io::Result<Vec<PathBuf>> {
    let boots = chain::boots(dir)?;
    // All that a boot wrote is older than the start of the next.
    let later = boots.iter().skip(1).map(|boot| chain::began(boot));
    let later = later.chain([None]).collect::<Vec<_>>();
    let mut all = Vec::new();
    for (boot, next) in boots.iter().zip(later) {
        if next.is_some_and(|next| next < since) {
            continue;
        }
        all.extend(chain::segments(boot)?.into_iter().map(|(_, segment)| segment));
    }
    Ok(all)
}

impl Summary {
    fn new(asked: Asked) -> Self {
        let (items, seen) = (BTreeMap::new(), HashSet::new());
        let counts = (0, 0, 0);
        let (effects, reads, more) = counts;
        Self { asked, items, seen, effects, reads, more, lines: 0, unread: 0, is_cut: false }
    }

    fn segment(&mut self, file: &Path, sees: &dyn Fn(Option<&str>) -> bool) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 16, File::open(file)?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            match serde_json::from_slice::<Line<'_>>(&bytes) {
                Ok(line) if sees(line.tenant.as_deref()) => self.line(&line),
                Ok(_) => {}
                // A record that is being written, or what a crash tore.
                Err(_) => self.unread = self.unread.saturating_add(1),
            }
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        let Some(at) = Timestamp::parse(&line.timestamp) else { return };
        if at < self.asked.since {
            return;
        }
        // What people said of a call counts however late they said it.
        match &*line.kind {
            "marked" => return self.mark(line),
            "approved" => return self.answer(line, "approved"),
            "denied" => return self.answer(line, "denied"),
            "expired" => return self.answer(line, "expired"),
            "withdrawn" => return self.answer(line, "withdrawn"),
            _ => {}
        }
        if at >= self.asked.until {
            return;
        }
        self.lines = self.lines.saturating_add(1);
        match &*line.kind {
            "allowed" => self.allowed(line),
            "held" => self.spoke(line, Came::Held),
            "refused" if is_a_rules(line) => self.spoke(line, Came::Refused),
            "refused_more" if is_a_rules(line) => {
                self.more = self.more.saturating_add(line.count.unwrap_or(1));
            }
            _ => {}
        }
    }

    fn allowed(&mut self, line: &Line<'_>) {
        match &line.shadow {
            None => self.count(line),
            Some(shadow) if &*shadow.decision == "hold" => self.spoke(line, Came::WouldHold),
            Some(_) => self.spoke(line, Came::WouldRefuse),
        }
    }

    /// Counts a call once.
    fn count(&mut self, line: &Line<'_>) {
        if line.class.as_deref() == Some("read") {
            self.reads = self.reads.saturating_add(1);
            return;
        }
        let Some(operation) = &line.operation else {
            self.effects = self.effects.saturating_add(1);
            return;
        };
        let mut hasher = DefaultHasher::new();
        operation.hash(&mut hasher);
        if self.seen.len() < CALLS_MAX {
            if self.seen.insert(hasher.finish()) {
                self.effects = self.effects.saturating_add(1);
            }
        } else {
            self.is_cut = true;
        }
    }

    fn spoke(&mut self, line: &Line<'_>, came: Came) {
        self.count(line);
        let number = || format!("#{:012}", self.items.len()).into();
        let key: Box<str> = line.operation.as_deref().map_or_else(number, Into::into);
        if let Some(known) = self.items.get_mut(&key) {
            // The same asked again is the same; what was refused and then ran in shadow is what it was last.
            if came != known.came {
                *known = Item { mark: known.mark.take(), answer: known.answer, ..item(line, came) };
            }
            return;
        }
        if self.items.len() >= ITEMS_MAX {
            self.is_cut = true;
            return;
        }
        self.items.insert(key, item(line, came));
    }

    fn mark(&mut self, line: &Line<'_>) {
        let (Some(operation), Some(verdict)) = (&line.operation, &line.mark) else { return };
        let Some(item) = self.items.get_mut(&**operation) else { return };
        // Of several replicas' logs one may be read before another: the last word counts.
        if item.mark.as_ref().is_some_and(|mark| *mark.at > *line.timestamp) {
            return;
        }
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().into();
        let at = (*line.timestamp).into();
        let (by, note) = (text(&line.by), text(&line.note));
        item.mark = Some(Mark { at, verdict: (**verdict).into(), by, note });
    }

    fn answer(&mut self, line: &Line<'_>, answer: &'static str) {
        let item = line.operation.as_deref().and_then(|op| self.items.get_mut(op));
        if let Some(item) = item.filter(|item| item.came == Came::Held) {
            item.answer = Some(answer);
        }
    }
}

/// Whether a rule said it that a rollout is about: not an unknown action, somebody else's order, a busy upstream.
fn is_a_rules(line: &Line<'_>) -> bool {
    let code = line.code.as_deref();
    let code = Code::ALL.into_iter().find(|one| Some(one.spec().name) == code);
    code.is_some_and(|code| code.in_shadow() == InShadow::Noted)
}

fn item(line: &Line<'_>, came: Came) -> Item {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().into();
    let (code, mut policies) = match &line.shadow {
        Some(shadow) => (shadow.code.clone(), shadow.policies.clone()),
        None => (text(&line.code), line.policies.clone()),
    };
    policies.sort();
    Item {
        at: (*line.timestamp).into(),
        came,
        operation: line.operation.as_deref().map(Into::into),
        code,
        policies,
        action: text(&line.action),
        class: text(&line.class),
        agent: text(&line.agent),
        tenant: text(&line.tenant),
        customer: text(&line.customer),
        resource: line.resource.clone(),
        amount: line.amount.as_ref().map(|amount| (amount.currency.clone(), amount.minor)),
        answer: None,
        mark: None,
    }
}

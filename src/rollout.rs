//! Is what is decided also done, and how much may run by itself?
//!
//! Of several rules the first that matches an effect counts; it stands over its upstream's mode, and that over
//! the mode of all. A call of several effects runs in shadow only if each of them does.
//!
//! Never decides whether a call may run: it says what becomes of a decision, and asks for a person where a share
//! leaves a call out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::call::{Call, Caller, Effect};
use crate::decision::{Mode, Reason};
use crate::store::record::sha256;
use crate::store::{FreezeScope, Subject};
use crate::value::piece;
use crate::yaml::{Faults, Node, Section, Shape};

/// The id of what a share leaves out: an approval lifts it like a policy's.
pub const SHARE: &str = "rollout.share";
/// BOUND: rules that are looked at for each effect, in order.
const RULES_MAX: usize = 100;

/// What a configuration says of it.
#[derive(Debug, Clone, Default)]
pub struct Rollout {
    mode: Mode,
    upstreams: BTreeMap<Arc<str>, Mode>,
    rules: Vec<Rule>,
    /// Whether anything at all runs in shadow.
    has_shadow: bool,
}

/// How one scope is rolled out.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which effects.
    pub scope: FreezeScope,
    /// Whether what is decided of them is done.
    pub mode: Mode,
    /// How many of them may run by themselves; all when `None`.
    pub share: Option<Share>,
}

/// So much of what would run by itself does; the rest waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Per mille.
    pub auto: u16,
    /// Whose calls stay together.
    pub by: By,
}

/// Whose calls are all in a share, or all out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// One customer's.
    Customer,
    /// One agent's.
    Agent,
    /// Those of one case.
    Case,
    /// One tenant's.
    Tenant,
}

impl By {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Case => "case",
            Self::Tenant => "tenant",
        }
    }

    /// Whose the call is; a call that does not say is in no share.
    fn whose<'c>(self, call: &'c Call, caller: &'c Caller) -> Option<&'c str> {
        match self {
            Self::Customer => caller.customer.as_deref(),
            Self::Agent => Some(&caller.agent),
            Self::Case => call.context.case.as_deref(),
            Self::Tenant => Some(&caller.tenant),
        }
    }
}

/// How a call stands to the share of its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// The scope.
    pub scope: String,
    /// The share.
    pub share: Share,
    /// Whether it may run by itself.
    pub place: Place,
}

/// On which side of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It may run by itself.
    In,
    /// A person looks at it.
    Out,
}

impl Rollout {
    /// Whether what is decided of a call is done.
    #[inline]
    pub fn mode(&self, call: &Call, caller: &Caller) -> Mode {
        // A gate that has nothing in shadow, and each read of it, ends here.
        if self.has_shadow { self.find_mode(call, caller) } else { Mode::Enforce }
    }

    fn find_mode(&self, call: &Call, caller: &Caller) -> Mode {
        let one = |effect: &Effect| match self.rule(call, caller, effect) {
            Some(rule) => rule.mode,
            None => self.upstreams.get(&call.upstream).copied().unwrap_or(self.mode),
        };
        // SECURITY: what one rule of several effects enforces is enforced. None at all is no call.
        match call.effects.is_empty() || call.effects.iter().any(|e| one(e) == Mode::Enforce) {
            true => Mode::Enforce,
            false => Mode::Shadow,
        }
    }

    fn rule(&self, call: &Call, caller: &Caller, effect: &Effect) -> Option<&Rule> {
        let subject = Subject {
            classes: std::slice::from_ref(&effect.class),
            kinds: effect.kind.as_slice(),
            agent: &caller.agent,
            tenant: &caller.tenant,
            customer: "",
            action: &call.action.name,
            upstream: &call.upstream,
        };
        self.rules.iter().find(|rule| rule.scope.matches(&subject))
    }

    /// Why a call that may run by itself waits for a person all the same.
    pub fn left_out(&self, call: &Call, caller: &Caller) -> Option<Reason> {
        if self.rules.is_empty() || !call.class.is_effect() {
            return None;
        }
        let out = self.shares(call, caller).find(|stands| stands.place == Place::Out)?;
        let Share { auto, by } = out.share;
        let why = format!(
            "only {} of what {} covers runs by itself, by {}; this is not in it",
            percent(auto),
            out.scope,
            by.name()
        );
        let tell = "this needs a colleague's approval";
        Some(Reason { policy: SHARE.into(), why: why.into(), tell: tell.into() })
    }

    /// How a call stands to each share that it falls under.
    pub fn shares<'r>(
        &'r self,
        call: &'r Call,
        caller: &'r Caller,
    ) -> impl Iterator<Item = Stands> + 'r {
        call.effects.iter().filter_map(|effect| {
            let rule = self.rule(call, caller, effect)?;
            let share = rule.share?;
            let scope = rule.scope.to_string();
            let whose = share.by.whose(call, caller);
            let at = whose.map(|whose| place(&scope, share.by, (&caller.tenant, whose)));
            let place = match at {
                Some(at) if at < share.auto => Place::In,
                // Who does not say whose it is, is in no share.
                Some(_) | None => Place::Out,
            };
            Some(Stands { scope, share, place })
        })
    }

    /// What runs in shadow, in the words of scopes.
    pub fn shadows(&self) -> Vec<String> {
        let all = (self.mode == Mode::Shadow).then(|| "all".to_owned());
        let shadow = |(_, mode): &(&Arc<str>, &Mode)| **mode == Mode::Shadow;
        let upstreams = self.upstreams.iter().filter(shadow);
        let rules = self.rules.iter().filter(|rule| rule.mode == Mode::Shadow);
        all.into_iter()
            .chain(upstreams.map(|(name, _)| format!("upstream/{name}")))
            .chain(rules.map(|rule| rule.scope.to_string()))
            .collect()
    }

    /// The rules as an operator reads them.
    pub fn described(&self) -> Vec<serde_json::Value> {
        let one = |rule: &Rule| {
            serde_json::json!({
                "for": rule.scope.to_string(),
                "mode": rule.mode.name(),
                "auto": rule.share.map(|share| percent(share.auto)),
                "by": rule.share.map(|share| share.by.name()),
            })
        };
        self.rules.iter().map(one).collect()
    }

    /// The mode of what nothing more particular is said of.
    pub fn usual(&self) -> Mode {
        self.mode
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// A share in words: `5%`, `0.5%`.
pub fn percent(auto: u16) -> String {
    let (whole, rest) = (auto.checked_div(10).unwrap_or(0), auto.checked_rem(10).unwrap_or(0));
    if rest == 0 { format!("{whole}%") } else { format!("{whole}.{rest}%") }
}

/// Where somebody stands among a thousand, always the same. Growing a share only adds, since it is compared with
/// this place; another scope draws anew.
fn place(scope: &str, by: By, (tenant, whose): (&str, &str)) -> u16 {
    let mut bytes = Vec::with_capacity(96);
    for part in ["rollout", scope, by.name(), tenant, whose] {
        piece(&mut bytes, b'r', part.as_bytes());
    }
    let hash = sha256(&bytes);
    let wide = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    // The remainder of 64 bits favours no place by more than one in 10^16.
    u16::try_from(wide.checked_rem(1000).unwrap_or(0)).unwrap_or(0)
}

/// A mode as it is written.
///
/// # Errors
///
/// What was expected.
pub fn mode(node: &Node) -> Result<Mode, String> {
    match node.text()? {
        "enforce" => Ok(Mode::Enforce),
        "shadow" => Ok(Mode::Shadow),
        other => Err(format!("expected `enforce` or `shadow`, got `{other}`")),
    }
}

/// Reads `mode` and `rollout`; the modes of upstreams stand with them.
pub fn read(top: &Section<'_>, upstreams: BTreeMap<Arc<str>, Mode>) -> Rollout {
    let usual = top.optional("mode", mode).unwrap_or_default();
    let rules = top.node("rollout").map(|node| rules(top.faults(), node)).unwrap_or_default();
    let modes = upstreams.values().chain(rules.iter().map(|rule| &rule.mode));
    let has_shadow = modes.chain([&usual]).any(|mode| *mode == Mode::Shadow);
    Rollout { mode: usual, upstreams, rules, has_shadow }
}

fn rules(faults: &Faults, node: &Node) -> Vec<Rule> {
    let Shape::List(items) = &node.shape else {
        faults.note(node.place, "rollout", "expected a list of `{ for: SCOPE, .. }`");
        return Vec::new();
    };
    if items.len() > RULES_MAX {
        faults.note(node.place, "rollout", format!("expected at most {RULES_MAX} rules"));
    }
    let numbered = items.iter().enumerate();
    numbered
        .filter_map(|(at, item)| rule(faults.section(item, &format!("rollout[{at}]"))))
        .collect()
}

fn rule(section: Section<'_>) -> Option<Rule> {
    let scope = section.required("for", |node| {
        let scope = FreezeScope::parse([node.text()?])?;
        // A metric names the scope: no customer does.
        match scope.to_string().split(' ').any(|part| part.starts_with("customer/")) {
            true => Err("a customer is no scope here; use `by: customer` and a share".to_owned()),
            false => Ok(scope),
        }
    });
    let said = section.optional("mode", mode);
    let auto = section.optional("auto", Node::per_mille);
    let by = section.optional("by", |node| match node.text()? {
        "customer" => Ok(By::Customer),
        "agent" => Ok(By::Agent),
        "case" => Ok(By::Case),
        "tenant" => Ok(By::Tenant),
        other => Err(format!("expected `customer`, `agent`, `case` or `tenant`, got `{other}`")),
    });
    match (said, section.node("auto"), section.node("by")) {
        (Some(Mode::Shadow), Some(_), _) => {
            section.fault("auto", "a share waits for people, and in shadow nothing does");
        }
        (None, None, _) => section.fault("", "expected `mode`, or a share as `auto: 5%`"),
        (_, None, Some(_)) => section.fault("by", "is for a share: `auto: 5%`"),
        (_, _, _) => {}
    }
    section.finish();
    let share = auto.map(|auto| Share { auto, by: by.unwrap_or(By::Customer) });
    Some(Rule { scope: scope?, mode: said.unwrap_or_default(), share })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use std::collections::BTreeSet;

    use super::*;

    fn customers() -> impl Iterator<Item = String> {
        (0..10_000).map(|n| format!("cus_{n}"))
    }

    fn inside(share: u16, scope: &str) -> BTreeSet<String> {
        customers().filter(|whose| place(scope, By::Customer, ("t", whose)) < share).collect()
    }

    #[test]
    fn a_share_is_met_within_a_point_and_growing_it_only_adds() {
        let mut before = BTreeSet::new();
        for share in [0, 5, 10, 50, 100, 250, 500, 750, 990, 1000] {
            let now = inside(share, "class/financial");
            let wanted = usize::from(share) * 10;
            assert!(now.len().abs_diff(wanted) <= 100, "{share}: {} of 10,000", now.len());
            assert!(now.is_superset(&before), "{share}: somebody who was in is out");
            before = now;
        }
        assert_eq!((inside(0, "all").len(), before.len()), (0, 10_000));
    }

    #[test]
    fn another_scope_or_tenant_draws_anew_and_the_same_is_the_same() {
        let (one, other) = (inside(500, "class/financial"), inside(500, "kind/refund"));
        assert_eq!(one, inside(500, "class/financial"));
        let both = one.intersection(&other).count();
        assert!((2_300..2_700).contains(&both), "{both} of some 2,500 are in both");
        // Pinned: a share that is drawn otherwise after an upgrade moves people in and out.
        let places: Vec<u16> = ["cus_1", "cus_2", "cus_3"]
            .map(|whose| place("class/financial", By::Customer, ("t", whose)))
            .to_vec();
        assert_eq!(places, PINNED);
        let elsewhere = place("class/financial", By::Customer, ("u", "cus_1"));
        assert_ne!(Some(&elsewhere), places.first());
    }

    const PINNED: [u16; 3] = [603, 28, 902];

    #[test]
    fn shares_are_told_as_they_are_written() {
        for (auto, words) in [(0, "0%"), (5, "0.5%"), (50, "5%"), (1000, "100%")] {
            assert_eq!(percent(auto), words);
        }
    }

    #[test]
    fn scopes_in_shadow_are_told() {
        let faults = Faults::of("x");
        let text = "{ mode: shadow, rollout: [ { for: all, auto: 5% }, { for: agent/a class/read, mode: shadow } ] }";
        let node = crate::yaml::read("x", text).unwrap();
        let upstreams = BTreeMap::from([("a".into(), Mode::Shadow), ("b".into(), Mode::Enforce)]);
        let rollout = read(&faults.section(&node, ""), upstreams);
        assert!(faults.is_empty());
        assert_eq!(rollout.shadows(), ["all", "upstream/a", "agent/a class/read"]);
        assert!(Rollout::default().shadows().is_empty());
    }
}

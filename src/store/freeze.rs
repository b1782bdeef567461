//! What has a person stopped? A scope in words, and whether a call is in it.
//!
//! Never guesses a scope: a word that is not understood is an error, not a narrower freeze.

use std::fmt;

use crate::call::Class;
use crate::clock::Timestamp;
use crate::store::codec::{Packed, Unread, packed};

/// A person's stop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Freeze {
    /// Its number, for `unfreeze`.
    pub id: Box<str>,
    /// What it stops.
    pub scope: FreezeScope,
    /// Why.
    pub reason: Box<str>,
    /// Who.
    pub by: Box<str>,
    /// Since when.
    pub at: Timestamp,
    /// Until when; `None` until somebody lifts it.
    pub until: Option<Timestamp>,
}

/// What a freeze stops: everything, or what all of its parts match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FreezeScope {
    parts: Vec<Part>,
}

/// One part of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Class(Class),
    Agent(Box<str>),
    Tenant(Box<str>),
    Customer(Box<str>),
    Action(Box<str>),
    Upstream(Box<str>),
}

/// What a freeze is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Every class of the call's effects.
    pub classes: &'a [Class],
    /// The agent.
    pub agent: &'a str,
    /// The tenant.
    pub tenant: &'a str,
    /// The customer; empty for none.
    pub customer: &'a str,
    /// The action.
    pub action: &'a str,
    /// The upstream.
    pub upstream: &'a str,
}

impl FreezeScope {
    /// Reads `all`, or one or more of `class/ agent/ tenant/ customer/ action/ upstream/`.
    ///
    /// # Errors
    ///
    /// What was expected, for the operator who wrote it.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, String> {
        let words: Vec<&str> = words.into_iter().flat_map(str::split_whitespace).collect();
        if words.as_slice() == ["all"] {
            return Ok(Self::default());
        }
        if words.is_empty() {
            return Err(format!("expected {EXPECTED}"));
        }
        let parts = words.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { parts })
    }

    /// Whether a call is in it.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Class(class) => subject.classes.contains(class),
            Part::Agent(name) => **name == *subject.agent,
            Part::Tenant(name) => **name == *subject.tenant,
            Part::Customer(name) => **name == *subject.customer,
            Part::Action(name) => **name == *subject.action,
            Part::Upstream(name) => **name == *subject.upstream,
        })
    }

    /// The kinds of its parts, for a metric: `all`, `class`, `agent+action`.
    pub fn kind(&self) -> String {
        if self.parts.is_empty() {
            return "all".to_owned();
        }
        self.parts.iter().map(|part| part.words().0).collect::<Vec<_>>().join("+")
    }

    /// The tenant it is bound to, if it is.
    pub fn tenant(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Tenant(name) => Some(&**name),
            Part::Class(_)
            | Part::Agent(_)
            | Part::Customer(_)
            | Part::Action(_)
            | Part::Upstream(_) => None,
        })
    }
}

const EXPECTED: &str = "`all`, or one or more of `class/` `agent/` `tenant/` `customer/` `action/` \
                        `upstream/` with a name";

fn part(word: &str) -> Result<Part, String> {
    let fault = || format!("`{word}` is no scope; expected {EXPECTED}");
    let (kind, name) = word.split_once('/').ok_or_else(fault)?;
    if name.is_empty() {
        return Err(fault());
    }
    match kind {
        "class" => Class::parse(name).map(Part::Class).ok_or_else(|| {
            format!("`{name}` is no class; expected read, write, communication or financial")
        }),
        "agent" => Ok(Part::Agent(name.into())),
        "tenant" => Ok(Part::Tenant(name.into())),
        "customer" => Ok(Part::Customer(name.into())),
        "action" => Ok(Part::Action(name.into())),
        "upstream" => Ok(Part::Upstream(name.into())),
        _ => Err(fault()),
    }
}

impl Part {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Class(class) => ("class", class.name()),
            Self::Agent(name) => ("agent", name),
            Self::Tenant(name) => ("tenant", name),
            Self::Customer(name) => ("customer", name),
            Self::Action(name) => ("action", name),
            Self::Upstream(name) => ("upstream", name),
        }
    }
}

impl fmt::Display for FreezeScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            return f.write_str("all");
        }
        for (index, part) in self.parts.iter().enumerate() {
            let (kind, name) = part.words();
            write!(f, "{}{kind}/{name}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl Freeze {
    /// Whether it stops a call now.
    pub fn stops(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until) && self.scope.matches(subject)
    }
}

impl Packed for FreezeScope {
    fn pack(&self, out: &mut Vec<u8>) {
        let words: Vec<Box<str>> = self
            .parts
            .iter()
            .map(|part| {
                let (kind, name) = part.words();
                format!("{kind}/{name}").into_boxed_str()
            })
            .collect();
        words.pack(out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        let words: Vec<Box<str>> = Packed::unpack(from)?;
        let parts = words.iter().map(|word| part(word)).collect::<Result<Vec<_>, _>>().ok()?;
        Some(Self { parts })
    }
}

packed!(struct Freeze { id, scope, reason, by, at, until });

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn stops(scope: &str, classes: &[Class]) -> bool {
        let subject = Subject {
            classes,
            agent: "bot",
            tenant: "t",
            customer: "c",
            action: "stripe.refund.create",
            upstream: "stripe",
        };
        FreezeScope::parse([scope]).unwrap().matches(&subject)
    }

    #[test]
    fn all_parts_must_match() {
        assert!(stops("all", &[Class::Read]));
        assert!(stops("agent/bot class/financial", &[Class::Financial]));
        assert!(!stops("agent/bot class/financial", &[Class::Write]));
        assert!(!stops("agent/other class/financial", &[Class::Financial]));
        assert!(stops("action/stripe.refund.create upstream/stripe tenant/t customer/c", &[]));
        // A refund that also mails is stopped with all mails.
        assert!(stops("class/communication", &[Class::Financial, Class::Communication]));
    }

    #[test]
    fn what_is_not_understood_is_no_scope() {
        for wrong in ["", "financial", "class/", "class/money", "agents/bot", "all agent/bot"] {
            assert!(FreezeScope::parse([wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        let scope = FreezeScope::parse(["agent/bot", "class/write"]).unwrap();
        assert_eq!(scope.to_string(), "agent/bot class/write");
        assert_eq!(FreezeScope::parse([&*scope.to_string()]).unwrap(), scope);
        assert_eq!(FreezeScope::parse(["all"]).unwrap().to_string(), "all");
        assert_eq!(scope.kind(), "agent+class");
    }
}

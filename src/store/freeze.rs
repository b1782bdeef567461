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
    /// A revocation: it stops no call, but tokens in its scope that were issued at this moment or before
    /// count no more.
    pub issued_before: Option<Timestamp>,
}

/// How many replicas follow the list of freezes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Following {
    /// Those that have it in memory.
    pub following: u64,
    /// Those that are there.
    pub of: u64,
}

impl Following {
    /// Whether nobody lacks it.
    pub fn is_whole(&self) -> bool {
        self.following >= self.of
    }
}

/// What a revocation is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The agent.
    pub agent: &'a str,
    /// The customer; empty for none.
    pub customer: &'a str,
    /// The token's own name.
    pub jti: Option<&'a str>,
    /// When it was issued; one that does not say is as old as can be.
    pub issued_at: Timestamp,
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
    Jti(Box<str>),
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
            // Calls have none: it names a token.
            Part::Jti(_) => false,
        })
    }

    /// Reads what a revocation may name: `jti/`, `agent/`, `customer/`, `tenant/`, all of which must match.
    ///
    /// # Errors
    ///
    /// What was expected, for the operator who wrote it.
    pub fn of_tokens(
        parts: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, String> {
        let mut scope = Self::default();
        for (kind, name) in parts {
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(format!("{kind}: expected a name without spaces"));
            }
            scope.parts.push(match kind {
                "jti" => Part::Jti(name.into()),
                "agent" => Part::Agent(name.into()),
                "customer" => Part::Customer(name.into()),
                "tenant" => Part::Tenant(name.into()),
                other => return Err(format!("`{other}` names no token")),
            });
        }
        if scope.parts.iter().all(|part| matches!(part, Part::Tenant(_))) {
            return Err("expected a jti, an agent or a customer".to_owned());
        }
        Ok(scope)
    }

    /// As it was written down.
    pub(super) fn kept(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::default()),
            parts => Some(Self { parts: parts.split(' ').map(kept).collect::<Option<_>>()? }),
        }
    }

    /// Whether a token is in it.
    fn names(&self, bearer: &Bearer<'_>) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Agent(name) => **name == *bearer.agent,
            Part::Tenant(name) => **name == *bearer.tenant,
            Part::Customer(name) => **name == *bearer.customer,
            Part::Jti(name) => bearer.jti == Some(&**name),
            Part::Class(_) | Part::Action(_) | Part::Upstream(_) => false,
        })
    }

    /// The one token that it names, if it does.
    pub(super) fn jti(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Jti(name) => Some(&**name),
            Part::Class(_)
            | Part::Agent(_)
            | Part::Tenant(_)
            | Part::Customer(_)
            | Part::Action(_)
            | Part::Upstream(_) => None,
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
            | Part::Upstream(_)
            | Part::Jti(_) => None,
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

/// A part as it was written down.
fn kept(word: &str) -> Option<Part> {
    match word.strip_prefix("jti/") {
        Some(name) => Some(Part::Jti(name.into())),
        None => part(word).ok(),
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
            Self::Jti(name) => ("jti", name),
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
        self.issued_before.is_none()
            && self.until.is_none_or(|until| now < until)
            && self.scope.matches(subject)
    }

    /// Whether it makes a token count no more.
    pub fn revokes(&self, bearer: &Bearer<'_>) -> bool {
        self.issued_before.is_some_and(|before| bearer.issued_at <= before)
            && self.scope.names(bearer)
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
        Some(Self { parts: words.iter().map(|word| kept(word)).collect::<Option<_>>()? })
    }
}

packed!(struct Freeze { id, scope, reason, by, at, until, issued_before });

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
    fn a_revocation_ends_old_tokens_and_stops_no_call() {
        let bearer = |jti, issued_at| Bearer {
            tenant: "t",
            agent: "bot",
            customer: "c",
            jti,
            issued_at: Timestamp(issued_at),
        };
        let revoked = |parts: &[(&'static str, &str)]| Freeze {
            id: "rv_1".into(),
            scope: FreezeScope::of_tokens(
                parts.iter().map(|(kind, name)| (*kind, (*name).to_owned())),
            )
            .unwrap(),
            reason: "".into(),
            by: "".into(),
            at: Timestamp(0),
            until: None,
            issued_before: Some(Timestamp(10)),
        };
        for (parts, jti, issued_at, ends) in [
            (&[("agent", "bot")][..], None, 10, true),
            (&[("agent", "bot")], None, 11, false),
            (&[("agent", "other")], None, 0, false),
            (&[("customer", "c"), ("tenant", "t")], None, 0, true),
            (&[("customer", "c"), ("tenant", "u")], None, 0, false),
            (&[("jti", "a")], Some("a"), 0, true),
            (&[("jti", "a")], Some("b"), 0, false),
            (&[("jti", "a")], None, 0, false),
        ] {
            assert_eq!(
                revoked(parts).revokes(&bearer(jti, issued_at)),
                ends,
                "{parts:?} {jti:?} {issued_at}"
            );
        }
        let one = revoked(&[("agent", "bot")]);
        let (classes, action) = ([Class::Read], "a");
        let subject = Subject {
            classes: &classes,
            agent: "bot",
            tenant: "t",
            customer: "c",
            action,
            upstream: "u",
        };
        assert!(!one.stops(&subject, Timestamp(5)));
        for wrong in
            [&[("jti", "a b")][..], &[("agent", "")], &[("tenant", "t")], &[("upstream", "u")], &[]]
        {
            let parts = wrong.iter().map(|(kind, name)| (*kind, (*name).to_owned()));
            assert!(FreezeScope::of_tokens(parts).is_err(), "{wrong:?}");
        }
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

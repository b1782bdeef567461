//! What has a person stopped, and what has a brake? A scope in words, and whether a call is in it.
//!
//! Never guesses a scope: a word that is not understood is an error, not a narrower freeze.

mod names;

use std::fmt;

pub use self::names::escaped;
use crate::call::{Class, Kind};
use crate::clock::Timestamp;
use crate::store::codec::{Packed, Unread};

/// What becomes of a call that a stop matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stops {
    /// It is refused: a person's freeze.
    #[default]
    Refused,
    /// An effect waits for a person: a brake.
    Held,
    /// Nothing: a brake that was released. What came before it counts no more.
    Nothing,
}

impl Stops {
    /// Its name, for scripts and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Nothing => "nothing",
        }
    }

    /// The one of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Refused, Self::Held, Self::Nothing].into_iter().find(|one| one.name() == text)
    }
}

/// When a stop is lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lift {
    /// At once: a person says so.
    Now,
    /// Only if it is over by the store's own row: whoever says so may have an old copy.
    IfOver,
}

/// What a brake's name follows, where a person's name would stand.
const BRAKE: &str = "brake/";

/// A person's stop, or a brake's.
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
    /// What becomes of a call in its scope.
    pub stops: Stops,
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
    Kind(Kind),
    Jti(Box<str>),
}

/// What a freeze is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Every class of the call's effects.
    pub classes: &'a [Class],
    /// Every kind of the call's effects, as far as it is known.
    pub kinds: &'a [Kind],
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
    /// Reads `all`, or one or more of `class/ kind/ agent/ tenant/ customer/ action/ upstream/`. In a name
    /// `%20` is a blank and `%25` a per cent sign; `%` alone is the empty name.
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
            Part::Kind(kind) => subject.kinds.contains(kind),
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
            Part::Class(_) | Part::Kind(_) | Part::Action(_) | Part::Upstream(_) => false,
        })
    }

    /// The one token that it names, if it does.
    pub(super) fn jti(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Jti(name) => Some(&**name),
            Part::Class(_)
            | Part::Kind(_)
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
            | Part::Kind(_)
            | Part::Agent(_)
            | Part::Customer(_)
            | Part::Action(_)
            | Part::Upstream(_)
            | Part::Jti(_) => None,
        })
    }
}

const EXPECTED: &str = "`all`, or one or more of `class/` `kind/` `agent/` `tenant/` `customer/` \
                        `action/` `upstream/` with a name";

fn part(word: &str) -> Result<Part, String> {
    let fault = || format!("`{word}` is no scope; expected {EXPECTED}");
    let (kind, name) = word.split_once('/').ok_or_else(fault)?;
    if name.is_empty() {
        return Err(fault());
    }
    let named = || names::read(name);
    match kind {
        "kind" => Kind::parse(name).map(Part::Kind).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::name).join(", ");
            format!("`{name}` is no kind; expected one of {known}")
        }),
        "class" => Class::parse(name).map(Part::Class).ok_or_else(|| {
            format!("`{name}` is no class; expected read, write, communication or financial")
        }),
        "agent" => named().map(Part::Agent),
        "tenant" => named().map(Part::Tenant),
        "customer" => named().map(Part::Customer),
        "action" => named().map(Part::Action),
        "upstream" => named().map(Part::Upstream),
        _ => Err(fault()),
    }
}

/// A part as it was written down.
fn kept(word: &str) -> Option<Part> {
    match word.strip_prefix("jti/") {
        Some(name) => Some(Part::Jti(names::read(name).unwrap_or_else(|_| name.into()))),
        // As people could write it before a per cent sign meant anything.
        None => part(word).or_else(|_| part(&word.replace('%', "%25"))).ok(),
    }
}

impl Part {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Class(class) => ("class", class.name()),
            Self::Kind(kind) => ("kind", kind.name()),
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
            let blank = if index > 0 { " " } else { "" };
            write!(f, "{blank}{kind}/{}", names::escaped(name))?;
        }
        Ok(())
    }
}

impl Freeze {
    /// Whether it stops a call now.
    pub fn stops(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        self.stops == Stops::Refused && self.is_on(now) && self.scope.matches(subject)
    }

    /// Whether it holds a call now: a brake.
    pub fn holds(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        self.is_brake(now) && self.scope.matches(subject)
    }

    /// Whether it is a brake that is on.
    pub fn is_brake(&self, now: Timestamp) -> bool {
        self.stops == Stops::Held && self.is_on(now)
    }

    /// Whether it does anything to calls now.
    fn is_on(&self, now: Timestamp) -> bool {
        self.issued_before.is_none() && self.until.is_none_or(|until| now < until)
    }

    /// The name of the brake that made it; its own number for one that none did.
    pub fn brake(&self) -> &str {
        self.by.strip_prefix(BRAKE).unwrap_or(&self.id)
    }

    /// Who stopped it, when a brake did.
    pub fn by_brake(name: &str) -> Box<str> {
        format!("{BRAKE}{name}").into()
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
                format!("{kind}/{}", names::escaped(name)).into_boxed_str()
            })
            .collect();
        words.pack(out);
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        let words: Vec<Box<str>> = Packed::unpack(from)?;
        Some(Self { parts: words.iter().map(|word| kept(word)).collect::<Option<_>>()? })
    }
}

impl Packed for Freeze {
    fn pack(&self, out: &mut Vec<u8>) {
        let Self { id, scope, reason, by, at, until, issued_before, stops } = self;
        id.pack(out);
        scope.pack(out);
        reason.pack(out);
        by.pack(out);
        at.pack(out);
        until.pack(out);
        issued_before.pack(out);
        // A person's stop is written as it was before there were brakes: the one at the end of a row.
        match stops {
            Stops::Refused => {}
            Stops::Held => out.push(1),
            Stops::Nothing => out.push(2),
        }
    }
    fn unpack(from: &mut Unread<'_>) -> Option<Self> {
        Some(Self {
            id: Packed::unpack(from)?,
            scope: Packed::unpack(from)?,
            reason: Packed::unpack(from)?,
            by: Packed::unpack(from)?,
            at: Packed::unpack(from)?,
            until: Packed::unpack(from)?,
            issued_before: Packed::unpack(from)?,
            stops: match from.take(1) {
                None => Stops::Refused,
                Some([1]) => Stops::Held,
                Some([2]) => Stops::Nothing,
                Some(_) => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn stops(scope: &str, classes: &[Class]) -> bool {
        let subject = Subject {
            classes,
            kinds: &[Kind::Refund],
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
        assert!(stops("kind/refund", &[]) && !stops("kind/message", &[]));
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
            stops: Stops::Refused,
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
            kinds: &[],
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
    fn a_persons_stop_from_before_there_were_brakes_is_read() {
        let scope = FreezeScope::parse(["all"]).unwrap();
        let mut old = Vec::new();
        for text in ["fz_1", "why", "ana"].map(Box::<str>::from) {
            text.pack(&mut old);
            if old.len() < 8 {
                scope.pack(&mut old);
            }
        }
        Timestamp(7).pack(&mut old);
        [None::<Timestamp>, None].iter().for_each(|none| none.pack(&mut old));
        let one = Freeze::unpack(&mut Unread(&old)).unwrap();
        assert_eq!((one.stops, &*one.by, one.at), (Stops::Refused, "ana", Timestamp(7)));
        let mut again = Vec::new();
        one.pack(&mut again);
        assert_eq!(again, old);
        // A name with a per cent sign was written as it is.
        let literal = kept("agent/100%").unwrap();
        assert_eq!(literal, Part::Agent("100%".into()));
    }

    #[test]
    fn what_is_not_understood_is_no_scope() {
        for wrong in [
            "",
            "financial",
            "class/",
            "class/money",
            "kind/money",
            "agents/bot",
            "all agent/bot",
            "agent/100%",
            "agent/a%2",
            "agent/%ff",
        ] {
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
        // A name may be anything that a token says, or nothing.
        for name in ["", "a b", "100%", "a%20b", "a/b", "\t", "é\u{a0}x", "%"] {
            let text = format!("agent/{} class/write", escaped(name));
            let scope = FreezeScope::parse([&*text]).unwrap();
            assert_eq!(scope.parts.first(), Some(&Part::Agent(name.into())), "{text}");
            assert_eq!(scope.to_string(), text);
            let packed = crate::store::codec::write(&scope);
            assert_eq!(crate::store::codec::read::<FreezeScope>(&packed), Some(scope));
        }
    }

    #[test]
    fn a_brake_holds_and_stops_nothing_and_is_read_back() {
        let (classes, now) = ([Class::Financial], Timestamp(5));
        let subject = Subject {
            classes: &classes,
            kinds: &[Kind::Refund],
            agent: "bot",
            tenant: "t",
            customer: "c",
            action: "a",
            upstream: "u",
        };
        for (stops, until, is_stopped, is_held) in [
            (Stops::Refused, None, true, false),
            (Stops::Held, None, false, true),
            (Stops::Held, Some(Timestamp(6)), false, true),
            (Stops::Held, Some(Timestamp(5)), false, false),
            (Stops::Nothing, None, false, false),
        ] {
            let one = Freeze {
                id: "br_1".into(),
                scope: FreezeScope::parse(["kind/refund"]).unwrap(),
                reason: "".into(),
                by: Freeze::by_brake("spike"),
                at: Timestamp(0),
                until,
                issued_before: None,
                stops,
            };
            let seen = (one.stops(&subject, now), one.holds(&subject, now));
            assert_eq!(seen, (is_stopped, is_held), "{stops:?} {until:?}");
            assert_eq!(one.brake(), "spike");
            let packed = crate::store::codec::write(&one);
            assert_eq!(crate::store::codec::read::<Freeze>(&packed), Some(one));
        }
    }
}

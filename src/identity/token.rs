//! What does a token's text say? Three parts, strict base64url, strict JSON.
//!
//! Never verifies anything: what is read here is still the sender's word.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::bounds::DEPTH_MAX;
use crate::value::Pointer;

/// BOUND: tokens carry some twenty claims; more only costs the duplicate check.
const MEMBERS_MAX: usize = 128;

/// One value of a token or a key set. A number that is not a whole one has no value here: nothing
/// that is read from a token may be a fraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    Null,
    Bool(bool),
    Integer(i64),
    OtherNumber,
    Text(Box<str>),
    List(Vec<Claim>),
    Map(Vec<(Box<str>, Claim)>),
}

impl Claim {
    /// Reads one JSON text: no duplicate member at any depth, no trailing data, bounded depth.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let claim = Depth(0).deserialize(&mut json).map_err(|e| e.to_string())?;
        json.end().map_err(|e| e.to_string())?;
        Ok(claim)
    }

    /// The member `name` of an object.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(own, _)| &**own == name).map(|(_, c)| c),
            Self::Null
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::OtherNumber
            | Self::Text(_)
            | Self::List(_) => None,
        }
    }

    /// What `pointer` names; a `null` is not there.
    pub(super) fn at(&self, pointer: &Pointer) -> Option<&Self> {
        let found = pointer.steps().iter().try_fold(self, |at, step| at.member(step))?;
        (*found != Self::Null).then_some(found)
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::OtherNumber
            | Self::List(_)
            | Self::Map(_) => None,
        }
    }

    /// The items of an array.
    pub(super) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Null
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::OtherNumber
            | Self::Text(_)
            | Self::Map(_) => None,
        }
    }

    /// The texts of a string or of an array of strings.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match self.items() {
            Some(items) => items.iter().map(Self::text).collect(),
            None => Some(vec![self.text()?]),
        }
    }
}

/// Reads one value at this depth.
struct Depth(usize);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Claim;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Claim, D::Error> {
        if self.0 > DEPTH_MAX {
            return Err(D::Error::custom("nested too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Claim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Claim, E> {
        Ok(Claim::Null)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Claim, E> {
        Ok(Claim::Bool(yes))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Claim, E> {
        Ok(Claim::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Claim, E> {
        Ok(i64::try_from(number).map_or(Claim::OtherNumber, Claim::Integer))
    }

    // CVE-2026-25537: a time that is written otherwise than as a whole number is no time.
    fn visit_f64<E>(self, _: f64) -> Result<Claim, E> {
        Ok(Claim::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Claim, E> {
        Ok(Claim::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Claim, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Self(self.0.saturating_add(1)))? {
            items.push(item);
        }
        Ok(Claim::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claim, A::Error> {
        let mut members: Vec<(Box<str>, Claim)> = Vec::new();
        while let Some(name) = map.next_key::<Box<str>>()? {
            // SECURITY: two readers may each take another one of two equal names.
            if members.iter().any(|(own, _)| *own == name) {
                return Err(A::Error::custom("a name stands there twice"));
            }
            if members.len() >= MEMBERS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            members.push((name, map.next_value_seed(Self(self.0.saturating_add(1)))?));
        }
        Ok(Claim::Map(members))
    }
}

/// A token taken apart, not yet believed.
#[derive(Debug)]
pub(super) struct Unverified<'t> {
    /// The algorithm it names.
    pub(super) algorithm: Box<str>,
    /// The key it names.
    pub(super) kid: Option<Box<str>>,
    /// What it claims, an object.
    pub(super) claims: Claim,
    /// What was signed.
    pub(super) message: &'t str,
    /// The signature, still base64url.
    pub(super) signature: &'t str,
}

/// Whether `text` has the outline of a signed token: three parts in the base64url alphabet.
pub(super) fn looks_like_token(text: &str) -> bool {
    // RFC 4648 s5. A token is long, and every call brings one: all of it is looked at without a branch.
    let plain = |b: u8| b.is_ascii_alphanumeric() | (b == b'-') | (b == b'_') | (b == b'.');
    if !text.bytes().fold(true, |all, byte| all & plain(byte)) {
        return false;
    }
    let mut dots = memchr::memchr_iter(b'.', text.as_bytes());
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return false;
    };
    // `alg: none` ends with an empty third part: it must reach the judgement that refuses it.
    first > 0 && second > first.saturating_add(1)
}

/// Takes a token apart; the reason when it cannot be one of ours.
pub(super) fn split(token: &str) -> Result<Unverified<'_>, String> {
    let (message, signature) = token.rsplit_once('.').ok_or("not three parts")?;
    let (head, body) = message.split_once('.').ok_or("not three parts")?;
    if body.contains('.') {
        return Err("not three parts".into());
    }
    let head = part(head, "header")?;
    // SECURITY: `jku`, `x5u`, `x5c` and `jwk` are never read: a token does not bring its own key.
    let text = |name: &str| match head.member(name) {
        None => Ok(None),
        Some(Claim::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("the header's `{name}` is not a text")),
    };
    let algorithm = text("alg")?.ok_or("the header names no `alg`")?;
    // RFC 7515 s4.1.11: what is critical and not understood is refused; nothing critical is known.
    if head.member("crit").is_some() {
        return Err("the header has `crit`".into());
    }
    // RFC 9068 s2.1; RFC 8725 s3.11: one sort of token is not taken for another.
    if let Some(typ) = text("typ")? {
        let short = typ.to_ascii_lowercase();
        let short = short.strip_prefix("application/").unwrap_or(&short);
        if short != "jwt" && short != "at+jwt" {
            return Err(format!("`{typ}` is no access token"));
        }
    }
    if text("cty")?.is_some() {
        return Err("a token within a token".into());
    }
    let kid = text("kid")?;
    // BOUND: key names are thumbprints (43 characters) or short words.
    if kid.as_ref().is_some_and(|kid| kid.len() > 256) {
        return Err("the header's `kid` is too long".into());
    }
    let claims = part(body, "body")?;
    Ok(Unverified { algorithm, kid, claims, message, signature })
}

fn part(text: &str, name: &str) -> Result<Claim, String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("the {name} is no base64url"))?;
    match Claim::read(&bytes) {
        Ok(claims @ Claim::Map(_)) => Ok(claims),
        Ok(_) => Err(format!("the {name} is no object")),
        Err(why) => Err(format!("the {name} does not read: {why}")),
    }
}

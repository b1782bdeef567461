//! What a pack says of one action, compiled: where to read its amount, its owner, its facts.
//!
//! Words only. `catalog` makes them, the later stages read them.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Class, Kind};
use crate::value::{Pointer, Syntax};

/// One action of one pack: `stripe.refund.create`.
#[derive(Debug)]
pub struct Action {
    /// `vendor.noun.verb`.
    pub name: Arc<str>,
    /// Its method.
    pub method: http::Method,
    /// Its path with parameters by name: `/v1/charges/{charge}`.
    pub path_template: Box<str>,
    /// The usual effect.
    pub class: Class,
    /// What sort of effect.
    pub kind: Option<Kind>,
    /// One plain sentence, for a person who must answer for it.
    pub summary: Template,
    /// The parameters it knows, by their first segment; `None` when the pack does not list them.
    pub params: Option<Vec<Box<str>>>,
    /// Where its amount stands.
    pub amount: Option<AmountRule>,
    /// Whose data it touches.
    pub owner: Owner,
    /// What it acts on.
    pub resource: Option<ResourceRule>,
    /// Further effects of the same call.
    pub also: Vec<Also>,
    /// What raises its class or sets its kind.
    pub raise: Vec<Raise>,
    /// What lowers its class.
    pub only: Option<Only>,
    /// The facts it needs, in the order they are read.
    pub facts: Vec<FactUse>,
    /// How each item of a list is judged.
    pub items: Option<Items>,
    /// What may be expanded in an answer.
    pub expand: Vec<Box<str>>,
    /// How to find out later whether it happened.
    pub lookup: Option<Lookup>,
    /// How its answers read.
    pub outcome: OutcomeRule,
    /// Whether a public answer may be passed on as it arrives.
    pub stream: bool,
    /// What holds for its whole pack.
    pub pack: Arc<PackTraits>,
}

/// What holds for every action of a pack.
#[derive(Debug)]
pub struct PackTraits {
    /// `stripe`.
    pub name: Arc<str>,
    /// The vendor's own hosts: where its idempotency keys may be trusted.
    pub hosts: Vec<Box<str>>,
    /// Where the vendor's key goes.
    pub auth: AuthPlace,
    /// How the vendor writes an error.
    pub errors: ErrorShape,
    /// The one syntax of its bodies.
    pub body: Syntax,
    /// What of the agent's headers may go upstream besides the defaults, lower case.
    pub headers: Vec<http::HeaderName>,
    /// Headers that select another account: refused from the agent unless equal to the configuration.
    pub selectors: Vec<http::HeaderName>,
    /// The vendor's idempotency keys.
    pub idempotency: Idempotency,
}

/// Where a secret goes in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthPlace {
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Basic`, the secret as the user name.
    Basic,
    /// A header of its own.
    Header(http::HeaderName),
    /// A query parameter.
    Query(Box<str>),
}

/// How a vendor writes an error, so that its SDKs raise their typed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"error": {"type", "code", "message"}}`.
    Stripe,
    /// A body of the vendor's with `{detail}` and `{code}` in its texts.
    Body(serde_json::Value),
    /// None known: only the problem object.
    Plain,
}

/// A vendor's idempotency keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Where the key goes.
    pub place: KeyPlace,
    /// The longest key the vendor takes, in characters.
    pub max_len: usize,
    /// How long the vendor keeps it.
    pub retention: Duration,
    /// Whether the vendor replays its own errors under the key.
    pub replays_errors: bool,
}

/// Where an idempotency key goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// A header.
    Header(http::HeaderName),
    /// A member of a JSON body.
    JsonField(Pointer),
    /// A field of a form.
    FormField(Box<str>),
    /// The vendor has none.
    None,
}

/// A place a value is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path parameter, by name.
    Path(Box<str>),
    /// A query parameter.
    Query(Pointer),
    /// A member of the body.
    Body(Pointer),
    /// The verified customer.
    CallerCustomer,
    /// The customer's account at the upstream.
    CallerAccount,
    /// A field of a fact that was read.
    Fact {
        /// The name it is published under.
        fact: Box<str>,
        /// `id` or one of its fields.
        field: Box<str>,
    },
}

/// Whose data an action touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Known before the call is sent.
    Source(Source),
    /// Known from the answer.
    Response(Pointer),
    /// The caller's own, by construction of the request.
    Caller,
    /// Everybody's.
    Public,
    /// The company's: refused unless a contract opens it.
    Internal,
}

/// How the items of a listed answer are judged. A list also needs the caller's own filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// The array.
    pub at: Pointer,
    /// Each item's owner, relative to it.
    pub owner: Option<Pointer>,
    /// A member of each item that must equal something already judged.
    pub same: Option<(Pointer, Source)>,
}

/// Where an amount stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmountRule {
    /// Where; a pointer into the body or a fact. Plural pointers are summed.
    pub at: AmountPlace,
    /// In which unit.
    pub unit: Unit,
    /// Of which currency.
    pub currency: Option<CurrencyRule>,
    /// What an absent amount means.
    pub absent: Option<Source>,
}

/// Where an amount stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmountPlace {
    /// In the body.
    Body(Pointer),
    /// In a fact: the call does not say it.
    Fact(Source),
}

/// Where a currency stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrencyRule {
    /// Always this one.
    Fixed(crate::money::Currency),
    /// Read; the first of these that is there.
    FirstOf(Vec<Source>),
}

/// The unit an amount is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Whole minor units: `1250`.
    Minor,
    /// A decimal: `12.50`.
    Major,
}

/// What an action acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRule {
    /// `Charge`.
    pub kind: Box<str>,
    /// Which one.
    pub id: Source,
}

/// A test of a value in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Where.
    pub at: Pointer,
    /// Equal to one of these (as text; `true` is `"true"`); present, when empty.
    pub is: Vec<Box<str>>,
}

/// A further effect of the same call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Also {
    /// Its class.
    pub class: Class,
    /// Its kind.
    pub kind: Option<Kind>,
    /// Only then; always, when `None`.
    pub when: Option<Condition>,
    /// Whom it reaches.
    pub recipients: Vec<Source>,
}

/// Raises the class, or sets the kind, when the body says so. Never lowers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// When.
    pub when: Condition,
    /// At least this class.
    pub class: Option<Class>,
    /// This kind.
    pub kind: Option<Kind>,
}

/// Lowers the class of a body that holds nothing but these fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// First segments of the parameters.
    pub fields: Vec<Box<str>>,
    /// The class then.
    pub class: Class,
}

/// One look-up in the system of record.
#[derive(Debug, PartialEq, Eq)]
pub struct FactRule {
    /// Its name in the pack.
    pub name: Box<str>,
    /// Path and query of the GET.
    pub get: Template,
    /// What each argument must look like to enter the path (anchored, and safe in a path).
    pub patterns: Vec<(Box<str>, IdPattern)>,
    /// Where the answer carries its own id, which must equal the argument of that name; `None` for
    /// a list.
    pub id: Option<Pointer>,
    /// The argument that the answer's id must equal, when there is one.
    pub id_argument: Option<Box<str>>,
    /// The array of an answer that is a list, of which exactly one item is wanted.
    pub items: Option<Pointer>,
    /// What it says.
    pub fields: Vec<(Box<str>, FieldRule)>,
    /// What follows from it: name, left, minus right.
    pub derive: Vec<(Box<str>, Box<str>, Box<str>)>,
}

/// What an id may look like to enter a path: a set of characters and a length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern {
    /// As written: `[A-Za-z0-9_]{1,255}`.
    pub written: Box<str>,
    /// The allowed bytes.
    pub bytes: Vec<u8>,
    /// Shortest and longest.
    pub length: (usize, usize),
}

impl IdPattern {
    /// Whether `id` looks like that.
    pub fn matches(&self, id: &str) -> bool {
        (self.length.0..=self.length.1).contains(&id.len())
            && id.bytes().all(|b| self.bytes.contains(&b))
    }
}

/// One field of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// The first of these that is there.
    pub at: Vec<Pointer>,
    /// What it must be.
    pub read: ReadAs,
    /// Only when this holds of the answer; else unknown.
    pub when: Option<Condition>,
    /// For a `Bool` made from words.
    pub words: Option<BoolWords>,
}

/// The words that mean true and false; another word is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoolWords {
    /// True.
    pub yes: Vec<Box<str>>,
    /// False.
    pub no: Vec<Box<str>>,
}

/// The type of a field of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAs {
    /// Whole minor units.
    Minor,
    /// A decimal in the fact's own `currency`.
    Major,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// A text as `2026-03-01T12:00:00Z`.
    Rfc3339,
    /// True or false.
    Bool,
    /// A whole number.
    Long,
    /// A text, or the id of an expanded reference.
    Text,
}

/// A fact an action needs.
#[derive(Debug, Clone)]
pub struct FactUse {
    /// The name it is published under.
    pub name: Box<str>,
    /// The look-up.
    pub rule: Arc<FactRule>,
    /// Its arguments.
    pub with: Vec<(Box<str>, Source)>,
    /// Only when this is there. Of several uses under one name exactly one must apply.
    pub given: Option<Source>,
}

/// How to find out whether an effect happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Path and query of the GET.
    pub get: Template,
    /// The array of candidates.
    pub items: Pointer,
    /// The candidate's id.
    pub id: Pointer,
    /// Its amount, when one must be equal.
    pub amount: Option<Pointer>,
    /// When it was made: not before the call was submitted.
    pub created: Option<Pointer>,
    /// How long the vendor may take to show it.
    pub settle: Duration,
}

/// How an answer reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutcomeRule {
    /// A 2xx that says it is done.
    pub done: Option<Condition>,
    /// A 2xx that says it is under way.
    pub pending: Option<Condition>,
    /// A 2xx that says it failed.
    pub failed: Option<Condition>,
    /// A 2xx of a vendor that says no with 200.
    pub rejected: Option<Condition>,
    /// Statuses by which the vendor says that it did nothing.
    pub not_executed: Vec<u16>,
}

/// Text with places in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Itself.
    Text(Box<str>),
    /// An argument of a look-up, or a short name in a summary (`{amount}`, `{order}`).
    Name(Box<str>),
    /// A value.
    Source(Source),
}

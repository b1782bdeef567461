//! What a pack says of one action, compiled: where to read its amount, its owner, its facts.
//!
//! Words only. `catalog` makes them, the later stages read them.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Class, Kind};
use crate::value::{Pointer, Syntax, Value};

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
    pub params: Option<Vec<Arc<str>>>,
    /// What it must not carry, at any depth.
    pub refuse: Vec<Pointer>,
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
    /// Whom it reaches, when it is itself a communication.
    pub recipients: Vec<Source>,
    /// The name of the message's template.
    pub template: Option<Source>,
    /// Free text that a person will read.
    pub text: Vec<Source>,
    /// The facts it needs, in the order they are read.
    pub facts: Vec<FactUse>,
    /// How each item of a list is judged.
    pub items: Option<Items>,
    /// What may be expanded in an answer, besides what its pack allows everywhere.
    pub expand: Vec<Box<str>>,
    /// How to find out later whether it happened.
    pub lookup: Option<Lookup>,
    /// How its answers read.
    pub outcome: OutcomeRule,
    /// The syntax of its body.
    pub body: Syntax,
    /// Whether a public answer may be passed on as it arrives.
    pub stream: bool,
    /// The action that takes this one back.
    pub undo: Option<Box<str>>,
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
    /// The usual syntax of its bodies; an action may have its own.
    pub body: Syntax,
    /// What may be expanded in any answer.
    pub expand: Vec<Box<str>>,
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
    /// Known before the call is sent: all of these that are present must agree; none = nobody's.
    Sources(Vec<Source>),
    /// Known from the answer: all of these that are present must agree; none = nobody's.
    Response(Vec<AnswerPlace>),
    /// The caller's own, by construction of the request.
    Caller,
    /// Everybody's.
    Public,
    /// The company's: refused unless a contract opens it.
    Internal,
}

/// A place in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerPlace {
    /// One value.
    At(Pointer),
    /// The same value of every item of the answer's list ([`Items::at`]).
    EachItem(Pointer),
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

/// Where an amount stands. It counts while the effect is financial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmountRule {
    /// In the call's parameters: the first of these that is present. Empty when the call cannot
    /// say it.
    pub at: Vec<Pointer>,
    /// In which unit.
    pub unit: Unit,
    /// Of which currency: all of these that are present must agree. None = not known.
    pub currency: Vec<Source>,
    /// The amount when `at` is not present; without it: not known.
    pub absent: Option<Source>,
    /// How several make one; `None` when `at` names one.
    pub sum: Option<Sum>,
    /// Which signs it may carry.
    pub sign: Sign,
    /// With any of these present the amount cannot be told from `at`.
    pub without: Vec<Pointer>,
}

/// How the amounts of several items make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// Each amount times the whole number here, in the same item; absent = 1.
    pub times: Option<Pointer>,
}

/// Which signs an amount may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// None: a negative amount is refused.
    Positive,
    /// One leading `-` is accepted, and the magnitude counts.
    Either,
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
    /// Which one: all of these that are present must agree; none = no resource.
    pub id: Vec<Source>,
}

/// A test of values in one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// It holds when it holds at any of these.
    pub at: Vec<Pointer>,
    /// What must be there.
    pub test: Test,
}

/// What a condition asks of a value. Words are compared as text: `true` is `"true"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Anything but null.
    Present,
    /// One of these words.
    Is(Vec<Box<str>>),
    /// Something, but none of these words.
    Not(Vec<Box<str>>),
}

impl Condition {
    /// Whether it holds of `root`, read as written: for answers and facts.
    pub fn holds(&self, root: &Value) -> bool {
        self.at.iter().any(|at| at.any(root, &mut |value| self.test.holds(value)))
    }

    /// Whether it may hold of a request's parameters: for whatever raises a class or adds an effect.
    ///
    /// SECURITY: a spelling that another parser could take for the value counts as the value, and so
    /// does anything of an odd type there or on the way there. A call is never classed lower by how
    /// it is written.
    pub fn may_hold(&self, root: &Value, syntax: Syntax) -> bool {
        self.at.iter().any(|at| self.may_hold_at(at.steps(), root, syntax))
    }

    fn may_hold_at(&self, steps: &[Box<str>], value: &Value, syntax: Syntax) -> bool {
        let Some((step, rest)) = steps.split_first() else {
            return self.test.may_hold(value, syntax);
        };
        match value {
            Value::Null => false,
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => true,
            Value::Map(members) if &**step == "*" => {
                members.iter().any(|(_, member)| self.may_hold_at(rest, member, syntax))
            }
            Value::Map(_) => {
                value.member(step).is_some_and(|next| self.may_hold_at(rest, next, syntax))
            }
            // An object was expected: each item may be taken for it.
            Value::List(items) => {
                let rest =
                    if &**step == "*" || step.parse::<usize>().is_ok() { rest } else { steps };
                items.iter().any(|item| self.may_hold_at(rest, item, syntax))
            }
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Present => *value != Value::Null,
            Self::Is(words) => words.iter().any(|word| value.is_word(word)),
            Self::Not(words) => {
                *value != Value::Null && !words.iter().any(|word| value.is_word(word))
            }
        }
    }

    fn may_hold(&self, value: &Value, syntax: Syntax) -> bool {
        match (self, value) {
            (_, Value::Null) => false,
            (Self::Present, _) | (_, Value::List(_) | Value::Map(_)) => true,
            (Self::Not(words), _) => !words.iter().any(|word| is_exactly(value, word, syntax)),
            (Self::Is(words), _) => words.iter().any(|word| match &**word {
                "true" => !is_exactly(value, "false", syntax),
                "false" => !is_exactly(value, "true", syntax),
                word => {
                    let loosely = |text: &str| text.trim().eq_ignore_ascii_case(word);
                    value.is_word(word) || value.text().is_some_and(loosely)
                }
            }),
        }
    }
}

/// In JSON `"false"` is a text, which many languages take for true.
fn is_exactly(value: &Value, word: &str, syntax: Syntax) -> bool {
    let truth = matches!(word, "true" | "false");
    let text_in_json = syntax == Syntax::Json && matches!(value, Value::Text(_));
    value.is_word(word) && !(truth && text_in_json)
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
    /// Its own amount, when it is financial.
    pub amount: Option<AmountRule>,
    /// The name of its template.
    pub template: Option<Source>,
    /// Its free text.
    pub text: Vec<Source>,
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
    pub fields: Vec<Arc<str>>,
    /// The class then.
    pub class: Class,
    /// The kind then.
    pub kind: Option<Kind>,
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
    /// Where the answer carries its own id, which must equal the first argument; `None` only for a
    /// rule without arguments.
    pub id: Option<Pointer>,
    /// The array of an answer that is a list, of which exactly one item is wanted. The other
    /// pointers are then relative to the item.
    pub items: Option<Pointer>,
    /// What it says.
    pub fields: Vec<(Box<str>, FieldRule)>,
    /// What follows from it.
    pub derive: Vec<Derived>,
}

/// A field that follows from two others; unknown if either is, and never below zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// Its name.
    pub name: Box<str>,
    /// A field.
    pub left: Box<str>,
    /// What is done with them.
    pub operator: Operator,
    /// Another field.
    pub right: Box<str>,
}

/// What is done with two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `left - right`.
    Minus,
    /// `left + right`.
    Plus,
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
    /// What to look for in its answer.
    pub find: Find,
    /// How long the vendor may take to show it.
    pub settle: Duration,
}

/// What a look-up looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Find {
    /// Something that was made: exactly one item fits.
    Made {
        /// The array of candidates; the other pointers are relative to its items.
        items: Pointer,
        /// The candidate's id.
        id: Pointer,
        /// Its amount, when one must be equal.
        amount: Option<Pointer>,
        /// When it was made: not before the call was submitted. A number is epoch seconds, a text
        /// RFC 3339.
        created: Option<Pointer>,
        /// Further places that must equal a source.
        same: Vec<(Pointer, Source)>,
    },
    /// Something that exists has changed: this state is the effect. Any other is not an answer.
    Changed(Condition),
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
    /// An argument of a fact's rule, or `{amount}` in a summary.
    Name(Box<str>),
    /// A value.
    Source(Source),
}

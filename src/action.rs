//! What a pack says of one action, compiled: where to read its amount, its owner, its facts.
//!
//! Words only. `catalog` makes them, the later stages read them.

mod condition;
mod fact;

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Class, Kind};
use crate::value::{Pointer, Syntax};

pub use condition::{Condition, Test, may_be_present};
pub use fact::{BoolWords, Derived, FactRule, FactUse, FieldRule, IdPattern, Operator, ReadAs};

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
    /// What a 2xx says when the vendor itself failed.
    pub ill: Option<Condition>,
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
    /// The methods on which the vendor honours it; `None` = all.
    pub methods: Option<Vec<http::Method>>,
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
    /// The vendor has none, but a field by which one can search: the operation's name goes there. Nothing
    /// is ever sent again for it.
    Mark(Pointer),
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
    /// Known before the call is sent: all of these that are present must agree, else it is nobody's,
    /// as it is when none is present.
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
    /// Which one: all of these that are present must agree, else there is no resource.
    pub id: Vec<Source>,
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
    Made(Box<Made>),
    /// Something that exists has changed: this state is the effect. Any other is not an answer.
    Changed(Condition),
}

/// What a call made, in a list of such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The array of candidates; the other pointers are relative to its items.
    pub items: Pointer,
    /// The candidate's id.
    pub id: Pointer,
    /// Where it carries the operation's name, that went along with the call.
    pub mark: Option<Pointer>,
    /// Its amount, when one must be equal, by its size.
    pub amount: Option<Pointer>,
    /// Its currency, compared without letter case.
    pub currency: Option<Pointer>,
    /// When it was made: not before the call was submitted. A number is epoch seconds, a text
    /// RFC 3339.
    pub created: Option<Pointer>,
    /// Further places that must equal a source.
    pub same: Vec<(Pointer, Source)>,
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

//! How are the small words of a pack read? Pointers, sources, conditions, templates.
//!
//! A word that names what is not declared is a fault here, not a surprise at the first call.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use crate::action::{Condition, Piece, Source, Template, Test};
use crate::value::Pointer;
use crate::yaml::{Faults, Node, Section, Shape};

/// What the sources of one action may name.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Parameters of its path.
    pub path: Vec<Box<str>>,
    /// Parameters of its call, where the pack lists them.
    pub params: Option<Vec<Arc<str>>>,
    /// Where those stand.
    pub place: Parameters,
    /// Facts that are published above, with their fields.
    pub facts: Vec<(Box<str>, Vec<Box<str>>)>,
}

/// Where a call carries its parameters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameters {
    /// In the query alone: GET.
    Query,
    /// In body and query, as one tree.
    #[default]
    Tree,
}

/// One copy of each parameter's name: hundreds of actions share them.
#[derive(Debug, Default)]
pub(super) struct Names(RefCell<HashSet<Arc<str>>>);

impl Names {
    pub(super) fn one(&self, name: &str) -> Arc<str> {
        let mut names = self.0.borrow_mut();
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    }
}

const SOURCES: &str = "`facts.<name>.<field>`, `path.<param>`, `query.<param>`, `body.<pointer>`, \
                       `caller`, `caller.customer`";

impl Known {
    /// A place a value is read from.
    pub(super) fn source(&self, text: &str) -> Result<Source, String> {
        match text {
            "caller" | "caller.account" => return Ok(Source::CallerAccount),
            "caller.customer" => return Ok(Source::CallerCustomer),
            "public" | "internal" => {
                return Err(format!("`{text}` is an owner, and the only one; expected {SOURCES}"));
            }
            _ => {}
        }
        let (head, rest) = text.split_once('.').unwrap_or((text, ""));
        match head {
            "path" if self.path.iter().any(|name| **name == *rest) => Ok(Source::Path(rest.into())),
            "path" => Err(format!("the path has no parameter `{rest}`{}", one_of(&self.path))),
            "query" => self.query(rest),
            "body" => self.body(rest),
            "facts" => self.fact(rest),
            "response" => Err("only the owner of a read is read from its answer".into()),
            "args" => {
                Err("`args.` belongs to tools and GraphQL, which no pack can match yet".into())
            }
            _ => Err(format!("`{text}` is no source; expected one of {SOURCES}")),
        }
    }

    fn query(&self, name: &str) -> Result<Source, String> {
        if self.place == Parameters::Tree {
            return Err(format!("`query.` is for GET; here it is `body./{name}`"));
        }
        self.allowed(name)?;
        let escaped = name.replace('~', "~0").replace('/', "~1");
        let pointer = (!name.is_empty()).then(|| Pointer::parse(&format!("/{escaped}"))).flatten();
        pointer.map(Source::Query).ok_or_else(|| "expected `query.<param>`".into())
    }

    fn body(&self, text: &str) -> Result<Source, String> {
        if self.place == Parameters::Query {
            return Err(format!("a GET has no body; expected `query.<param>`, got `body.{text}`"));
        }
        self.pointer(text).map(Source::Body)
    }

    fn fact(&self, text: &str) -> Result<Source, String> {
        let (fact, field) =
            text.split_once('.').ok_or("expected `facts.<name>.<field>`, got no field")?;
        let fields = self.facts.iter().filter(|(name, _)| **name == *fact);
        let fields: Vec<_> = fields.flat_map(|(_, fields)| fields).collect();
        if fields.is_empty() {
            let names: Vec<_> = self.facts.iter().map(|(name, _)| name).collect();
            return Err(format!("no fact `{fact}` is declared above{}", one_of(&names)));
        }
        if !fields.iter().any(|known| ***known == *field) {
            return Err(format!("the fact `{fact}` has no field `{field}`{}", one_of(&fields)));
        }
        Ok(Source::Fact { fact: fact.into(), field: field.into() })
    }

    /// A pointer into the call's parameters.
    pub(super) fn pointer(&self, text: &str) -> Result<Pointer, String> {
        let pointer = pointer(text)?;
        if let Some(first) = pointer.steps().first() {
            self.allowed(first)?;
        }
        Ok(pointer)
    }

    fn allowed(&self, name: &str) -> Result<(), String> {
        match &self.params {
            Some(params) if !params.iter().any(|known| **known == *name) => {
                Err(format!("`{name}` is not among the action's `params`: it would never be there"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A source or a list of them.
    pub(super) fn sources(&self, node: &Node) -> Result<Vec<Source>, String> {
        node.texts()?.iter().map(|text| self.source(text)).collect()
    }

    /// A look-up's path and query. `{mark}` stays as it is: the operation has no name yet.
    pub(super) fn search(&self, node: &Node) -> Result<Template, String> {
        target(node.text()?, |name| match name {
            "mark" => Ok(Piece::Text("{mark}".into())),
            name => self.source(name).map(Piece::Source),
        })
    }

    /// A line for people: `{amount}`, a source, or the short name of a parameter.
    pub(super) fn summary(&self, node: &Node) -> Result<Template, String> {
        template(node.text()?, |name| {
            if name == "amount" {
                return Ok(Piece::Name(name.into()));
            }
            if name.contains('.') {
                return self.source(name).map(Piece::Source);
            }
            let path = self.source(&format!("path.{name}"));
            let place = match self.place {
                Parameters::Query => format!("query.{name}"),
                Parameters::Tree => format!("body./{name}"),
            };
            path.or_else(|_| self.source(&place)).map(Piece::Source)
        })
    }
}

fn one_of<T: AsRef<str>>(known: &[T]) -> String {
    let known: Vec<_> = known.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if known.is_empty() { String::new() } else { format!("; it is one of {}", known.join(", ")) }
}

/// Any pointer that names more than the whole.
pub(super) fn pointer(text: &str) -> Result<Pointer, String> {
    Pointer::parse(text)
        .filter(|pointer| pointer.steps().iter().all(|step| !step.is_empty()))
        .filter(|pointer| !pointer.steps().is_empty())
        .ok_or_else(|| format!("expected a pointer such as `/amount`, got `{text}`"))
}

/// A pointer or a list of them.
pub(super) fn pointers(node: &Node) -> Result<Vec<Pointer>, String> {
    node.texts()?.iter().map(|text| pointer(text)).collect()
}

/// `METHOD` target of a GET: what may stand in a request line, and places in braces.
pub(super) fn target(
    text: &str,
    place: impl FnMut(&str) -> Result<Piece, String>,
) -> Result<Template, String> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`|#".contains(&b);
    if !text.starts_with('/')
        || text.starts_with("//")
        || !text.bytes().all(|b| plain(b) || b == b' ')
    {
        return Err(format!("expected a path and query such as `/orders/{{order}}`, got `{text}`"));
    }
    let template = template(text, place)?;
    let blank = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains(' '));
    match template.0.iter().any(blank) {
        true => Err("a blank cannot stand in a path or query".into()),
        false => Ok(template),
    }
}

fn template(
    text: &str,
    mut place: impl FnMut(&str) -> Result<Piece, String>,
) -> Result<Template, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or("a `{` without its `}`")?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        pieces.push(place(name)?);
        rest = behind;
    }
    if rest.contains('}') {
        return Err("a `}` without its `{`".into());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(Template(pieces))
}

/// `at`, and one of `is` and `not`, of a condition whose pointers `read` accepts.
pub(super) fn condition(
    section: &Section<'_>,
    read: impl Fn(&str) -> Result<Pointer, String>,
) -> Option<Condition> {
    let at = section.required("at", |node| node.texts()?.iter().map(|t| read(t)).collect());
    let is = section.optional("is", words);
    let not = section.optional("not", words);
    let present = section.optional("present", |node| match node.bool()? {
        true => Ok(()),
        false => Err("expected `true`, or no such key".into()),
    });
    let test = match (is, not) {
        (Some(_), Some(_)) => {
            section.fault("not", "`is` and `not` exclude each other");
            return None;
        }
        (Some(is), None) => Test::Is(is),
        (None, Some(not)) => Test::Not(not),
        (None, None) => Test::Present,
    };
    if present.is_some() && test != Test::Present {
        section.fault("present", "`present` excludes `is` and `not`");
    }
    Some(Condition { at: at?, test })
}

fn words(node: &Node) -> Result<Vec<Box<str>>, String> {
    match &node.shape {
        Shape::List(items) => items.iter().map(|item| Ok(item.text()?.into())).collect(),
        Shape::Scalar { .. } | Shape::Map(_) => Ok(vec![node.text()?.into()]),
    }
}

/// The nodes of a list; anything else is a fault.
pub(super) fn list<'a>(faults: &Faults, node: &'a Node, key: &str) -> &'a [Node] {
    match &node.shape {
        Shape::List(items) => items,
        Shape::Scalar { .. } | Shape::Map(_) => {
            faults.note(node.place, key, "expected a list");
            &[]
        }
    }
}

/// A name that can be part of `vendor.noun.verb`, of a source, of a template.
pub(super) fn identifier(text: &str) -> Result<Box<str>, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match !text.is_empty() && text.bytes().all(plain) {
        true => Ok(text.into()),
        false => Err(format!("expected a name of letters, digits and `_`, got `{text}`")),
    }
}

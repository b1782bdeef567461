//! Who outside is told, and who of them may answer? `queues.<name>.notify` and `hooks`.
//!
//! Never repeats an address or a key: an incoming webhook's address is a secret by itself.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;

use super::Files;
use crate::clock::Clock;
use crate::credentials::{Reference, Secret};
use crate::notify::{Answering, Destination, Ear, Format, People, Place, Signer, Witness};
use crate::store::News;
use crate::yaml::{Node, Section, Shape};

const IN_THE_CLEAR: &str =
    "would tell it in the clear; expected `https://..`, or `insecure: true` if that is meant";

/// BOUND: destinations of one configuration; each has connections of its own.
const DESTINATIONS_MAX: usize = 64;

/// Reads destinations, each name once.
pub(super) struct Reader<'b> {
    base: &'b Path,
    has_page: HasPage,
    taken: RefCell<HashSet<String>>,
    files: RefCell<Files>,
}

/// Whether the console is found from outside, which an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HasPage {
    /// It says where.
    Yes,
    /// It does not.
    No,
}

impl<'b> Reader<'b> {
    pub(super) fn new(base: &'b Path, has_page: HasPage) -> Self {
        Self { base, has_page, taken: RefCell::default(), files: RefCell::default() }
    }

    /// Addresses that are kept in files. Keys are looked at by whoever signs.
    pub(super) fn files(self) -> Files {
        self.files.into_inner()
    }

    /// Who is told of what waits in a queue.
    pub(super) fn of_queue(&self, section: &Section<'_>, queue: &str) -> Vec<Destination> {
        self.each(section, "notify", |_| (queue.to_owned(), Some(Ear::Queue(queue.into()))))
    }

    /// Who is told of news, whatever the queue.
    pub(super) fn hooks(&self, top: &Section<'_>) -> Vec<Destination> {
        self.each(top, "hooks", |one| {
            let on = one.required("on", news);
            let tenants = boxed(one.optional("tenants", Node::texts).unwrap_or_default());
            ("hook".to_owned(), on.map(|on| Ear::Hook { on, tenants }))
        })
    }

    fn each(
        &self,
        section: &Section<'_>,
        key: &str,
        ear: impl Fn(&Section<'_>) -> (String, Option<Ear>),
    ) -> Vec<Destination> {
        let Some(node) = section.node(key) else { return Vec::new() };
        let Shape::List(items) = &node.shape else {
            section.fault(key, "expected a list of destinations, each with a `webhook`");
            return Vec::new();
        };
        let mut read = Vec::new();
        for item in items {
            let one = section.faults().section(item, &section.path(key));
            let (usual, ear) = ear(&one);
            read.extend(self.destination(&one, &usual, ear));
            one.finish();
        }
        read
    }

    fn destination(&self, one: &Section<'_>, usual: &str, ear: Option<Ear>) -> Option<Destination> {
        let name = self.name(one, usual);
        let insecure = one.optional("insecure", Node::bool).unwrap_or(false);
        let place = one.required("webhook", |node| self.place(node));
        let ca = one.optional("ca", |n| Ok(self.base.join(n.text()?)));
        let format = one.optional("format", format).unwrap_or(Format::Standard);
        let signer = one.optional("sign", |node| self.signer(node));
        let answers = self.answers(one, format);
        if place.as_ref().is_some_and(Place::is_in_the_clear) && !insecure {
            one.fault("webhook", IN_THE_CLEAR);
        }
        if one.node("sign").is_none() && (format == Format::Standard || answers.is_some()) {
            one.fault("sign", "is required: `file:PATH` or `env:NAME` of a key `whsec_..`");
        }
        let place = match ca {
            Some(ca) => place?.trusting(ca),
            None => place?,
        };
        let mut destination = Destination::new(name?.into(), ear?, place, format);
        (destination.signer, destination.answers) = (signer, answers);
        Some(destination)
    }

    /// Somebody's backend that keeps checkpoints of the record.
    pub(super) fn witness(&self, one: &Section<'_>) -> Option<Witness> {
        let insecure = one.optional("insecure", Node::bool).unwrap_or(false);
        let place = one.required("webhook", |node| self.place(node));
        let ca = one.optional("ca", |n| Ok(self.base.join(n.text()?)));
        let signer = one.required("sign", |node| self.signer(node));
        if place.as_ref().is_some_and(Place::is_in_the_clear) && !insecure {
            one.fault("webhook", IN_THE_CLEAR);
        }
        let place = match ca {
            Some(ca) => place?.trusting(ca),
            None => place?,
        };
        Some(Witness::Webhook { place: Box::new(place), signer: signer? })
    }

    fn name(&self, one: &Section<'_>, usual: &str) -> Option<String> {
        let given = match one.node("name") {
            Some(_) => Some(one.optional("name", name)?),
            None => None,
        };
        let mut taken = self.taken.borrow_mut();
        if taken.len() >= DESTINATIONS_MAX {
            one.fault("", format!("expected at most {DESTINATIONS_MAX} destinations"));
            return None;
        }
        let name = given.unwrap_or_else(|| {
            let numbered = (2_usize..).map(|n| format!("{usual}-{n}"));
            let mut names = std::iter::once(usual.to_owned()).chain(numbered);
            names.find(|name| !taken.contains(name)).unwrap_or_default()
        });
        if !taken.insert(name.clone()) {
            one.fault("name", format!("another destination is called `{name}`"));
        }
        Some(name)
    }

    /// A URL as it stands, or where it is kept.
    fn place(&self, node: &Node) -> Result<Place, String> {
        let text = node.text()?;
        if text.starts_with("https://") || text.starts_with("http://") {
            return Place::parse(&Secret::new(text.as_bytes().to_vec())?);
        }
        let reference = Reference::parse(text, self.base)
            .map_err(|_| "expected `https://..`, `file:PATH` or `env:NAME`".to_owned())?;
        reference.path().into_iter().for_each(|path| self.files.borrow_mut().add(path));
        let place = Place::parse(&reference.read(&super::environment)?);
        place.map(Place::kept_secret).map_err(|why| format!("`{reference}`: {why}"))
    }

    fn signer(&self, node: &Node) -> Result<Signer, String> {
        let references = node.texts()?;
        let references: Result<Vec<_>, String> =
            references.iter().map(|text| Reference::parse(text, self.base)).collect();
        Signer::load(&references?, &super::environment, &Clock::System)
    }

    fn answers(&self, one: &Section<'_>, format: Format) -> Option<Answering> {
        let may = one.optional("answers", Node::bool).unwrap_or(false);
        let Some(section) = one.section("as") else {
            if may {
                one.fault("answers", "needs `as: { name, roles }`: as whom its answers count");
            }
            return None;
        };
        if !may {
            one.fault("as", "needs `answers: true`");
        }
        if format == Format::Slack {
            one.fault(
                "answers",
                "needs `format: standard`: nothing else carries what an answer needs",
            );
        }
        if self.has_page == HasPage::No {
            one.fault("answers", "needs `operator.public_url`: answers are sent there");
        }
        let name = section.required("name", name);
        let roles = section.required("roles", Node::texts).map(boxed);
        let tenants = section.optional("tenants", Node::texts).map(boxed);
        let people = section.optional("people", people).unwrap_or(People::One);
        section.finish();
        Some(Answering { name: name?.into(), roles: roles?, tenants, people })
    }
}

fn boxed(names: Vec<String>) -> Vec<Box<str>> {
    names.into_iter().map(Into::into).collect()
}

/// What stands on record, in `by@name` and in a metric's log line.
fn name(node: &Node) -> Result<String, String> {
    let name = node.name()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.len() <= 64 && name.chars().all(plain) {
        return Ok(name);
    }
    Err(format!("expected 1 to 64 letters, digits, `-`, `_` or `.`, got `{name}`"))
}

fn format(node: &Node) -> Result<Format, String> {
    match node.text()? {
        "standard" => Ok(Format::Standard),
        "slack" => Ok(Format::Slack),
        other => Err(format!("expected `standard` or `slack`, got `{other}`")),
    }
}

fn people(node: &Node) -> Result<People, String> {
    match node.text()? {
        "one" => Ok(People::One),
        "each" => Ok(People::Each),
        other => Err(format!("expected `one` or `each`, got `{other}`")),
    }
}

fn news(node: &Node) -> Result<Vec<News>, String> {
    let find = |name: &String| {
        News::ALL.into_iter().find(|news| news.name() == *name).ok_or_else(|| {
            let known = News::ALL.map(News::name).join(", ");
            format!("expected some of {known}, got `{name}`")
        })
    };
    let news: Vec<News> = node.texts()?.iter().map(find).collect::<Result<_, _>>()?;
    if news.is_empty() { Err("expected at least one kind of news".into()) } else { Ok(news) }
}

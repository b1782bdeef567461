//! How is a fact read from the system of record, and when does an action need it?

use std::sync::Arc;

use crate::action::{
    BoolWords, Derived, FactRule, FactUse, FieldRule, IdPattern, Operator, Piece, ReadAs, Source,
};
use crate::value::Pointer;
use crate::yaml::{Faults, Node, Section, Shape};

use super::words::{Known, condition, identifier, list, pointer, pointers, target};

/// Every rule of the pack, by name.
pub(super) fn rules(section: &Section<'_>) -> Vec<Arc<FactRule>> {
    let faults = section.faults();
    let read = |(name, node)| rule(name, faults.section(node, &section.path(name)));
    section.entries().filter_map(read).map(Arc::new).collect()
}

fn rule(name: &str, section: Section<'_>) -> Option<FactRule> {
    let (patterns, id) = section.section("id").map(id).unwrap_or_default();
    let get = section.required("get", |node| {
        target(node.text()?, |argument| {
            let known = patterns.iter().any(|(name, _)| **name == *argument);
            let message =
                || format!("`{argument}` has no pattern under `id`: it could bend the path");
            known.then(|| Piece::Name(argument.into())).ok_or_else(message)
        })
    });
    if !patterns.is_empty() && id.is_none() {
        section.fault("id", "`at` is missing: where the answer repeats the id it was asked for");
    }
    let items = section.optional("items", |node| pointer(node.text()?));
    match (section.optional("one", Node::bool), &items) {
        (Some(true), None) => section.fault("one", "`one` needs `items`: the list it is one of"),
        (Some(false) | None, Some(_)) => section.fault("items", "`items` needs `one: true`"),
        (Some(true), Some(_)) | (Some(false) | None, None) => {}
    }
    let fields = section.section("fields").map(fields).unwrap_or_default();
    let derive = section.section("derive").map(|s| derived(&s, &fields)).unwrap_or_default();
    let name = identifier(name).map_err(|message| section.fault("get", message)).ok();
    section.finish();
    Some(FactRule { name: name?, get: get?, patterns, id, items, fields, derive })
}

type Id = (Vec<(Box<str>, IdPattern)>, Option<Pointer>);

fn id(section: Section<'_>) -> Id {
    let at = section.optional("at", |node| pointer(node.text()?));
    let mut patterns = Vec::new();
    for (name, _) in section.entries().filter(|(name, _)| *name != "at") {
        let read = section.optional(name, |node| {
            identifier(name)?;
            pattern(node.text()?)
        });
        patterns.extend(read.map(|pattern| (name.into(), pattern)));
    }
    (patterns, at)
}

/// A class of characters and a length: `[A-Za-z0-9_]{1,255}`.
fn pattern(written: &str) -> Result<IdPattern, String> {
    let expected = || {
        format!("expected characters and a length such as `[A-Za-z0-9_]{{1,255}}`, got `{written}`")
    };
    let (class, length) = written
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix('}'))
        .and_then(|rest| rest.split_once("]{"))
        .ok_or_else(expected)?;
    let (least, most) = length.split_once(',').unwrap_or((length, length));
    let number = |text: &str| text.parse::<usize>().map_err(|_| expected());
    let length = (number(least)?, number(most)?);
    let mut bytes = Vec::new();
    let mut rest = class.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let (last, behind) = match behind {
            [b'-', last, behind @ ..] => (last, behind),
            behind => (first, behind),
        };
        bytes.extend(*first..=*last);
        if last < first {
            return Err(expected());
        }
        rest = behind;
    }
    // SECURITY: RFC 3986 s2.3, unreserved: an id can neither bend a path nor be read in two ways.
    let safe = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
    if !bytes.iter().all(safe) {
        return Err("an id in a path may hold letters, digits, `-`, `.`, `_` and `~` only".into());
    }
    // BOUND: 255 is the longest id that a vendor documents.
    if length.0 == 0 || length.0 > length.1 || length.1 > 255 || bytes.is_empty() {
        return Err("the length of an id is 1 to 255, the shortest first".into());
    }
    Ok(IdPattern { written: written.into(), bytes, length })
}

fn fields(section: Section<'_>) -> Vec<(Box<str>, FieldRule)> {
    let faults = section.faults();
    let mut fields: Vec<(Box<str>, FieldRule)> = Vec::new();
    for (name, node) in section.entries() {
        let rule = match &node.shape {
            Shape::Map(_) => field(faults.section(node, &section.path(name))),
            Shape::Scalar { .. } | Shape::List(_) => section.optional(name, |node| {
                let at = vec![pointer(node.text()?)?];
                Ok(FieldRule { at, read: ReadAs::Text, when: None, words: None })
            }),
        };
        let name = section.optional(name, |_| identifier(name));
        fields.extend(name.zip(rule));
    }
    let texts =
        |name: &str| fields.iter().any(|(own, rule)| **own == *name && rule.read == ReadAs::Text);
    let major = fields.iter().find(|(_, rule)| rule.read == ReadAs::Major);
    if let Some((name, _)) = major.filter(|_| !texts("currency")) {
        section.fault(name, "`as: major` takes its currency from the fact's field `currency`");
    }
    fields
}

fn field(section: Section<'_>) -> Option<FieldRule> {
    let at = section.required("at", pointers);
    let read = section.optional("as", |node| match node.text()? {
        "minor" => Ok(ReadAs::Minor),
        "major" => Ok(ReadAs::Major),
        "epoch_s" => Ok(ReadAs::EpochSeconds),
        "epoch_ms" => Ok(ReadAs::EpochMillis),
        "rfc3339" => Ok(ReadAs::Rfc3339),
        "bool" => Ok(ReadAs::Bool),
        "long" => Ok(ReadAs::Long),
        "text" => Ok(ReadAs::Text),
        other => Err(format!(
            "expected minor, major, epoch_s, epoch_ms, rfc3339, bool, long or text, got `{other}`"
        )),
    });
    let when = section.section("when").and_then(|section| {
        let when = condition(&section, pointer);
        section.finish();
        when
    });
    let words = |key| {
        let words = section.optional(key, Node::texts)?;
        Some(words.into_iter().map(String::into_boxed_str).collect())
    };
    let words: Option<BoolWords> = match (words("true"), words("false")) {
        (Some(yes), Some(no)) => Some(BoolWords { yes, no }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            section.fault("true", "`true` and `false` come together: the words that mean each");
            None
        }
    };
    let read = match (&words, read) {
        (Some(_), None | Some(ReadAs::Bool)) => ReadAs::Bool,
        (Some(_), Some(_)) => {
            section.fault("as", "a field made from words is a bool");
            ReadAs::Bool
        }
        (None, read) => read.unwrap_or(ReadAs::Text),
    };
    section.finish();
    Some(FieldRule { at: at?, read, when, words })
}

fn derived(section: &Section<'_>, fields: &[(Box<str>, FieldRule)]) -> Vec<Derived> {
    let numeric = |name: &str| {
        let wanted = [ReadAs::Minor, ReadAs::Major, ReadAs::Long];
        let found = fields.iter().any(|(own, rule)| **own == *name && wanted.contains(&rule.read));
        if found { Ok(name.into()) } else { Err(format!("`{name}` is no number among `fields`")) }
    };
    let read = |name: &str| {
        section.optional(name, |node| {
            let text = node.text()?;
            let minus = text.split_once(" - ").map(|sides| (sides, Operator::Minus));
            let plus = text.split_once(" + ").map(|sides| (sides, Operator::Plus));
            let ((left, right), operator) =
                minus.or(plus).ok_or("expected `a - b` or `a + b`, with blanks")?;
            let (left, right) = (numeric(left.trim())?, numeric(right.trim())?);
            Ok(Derived { name: identifier(name)?, left, operator, right })
        })
    };
    let names: Vec<_> = section.entries().map(|(name, _)| name).collect();
    names.into_iter().filter_map(read).collect()
}

/// The facts of one action, in their order; each makes its fields known to what follows.
pub(super) fn uses(
    faults: &Faults,
    node: &Node,
    rules: &[Arc<FactRule>],
    known: &mut Known,
) -> Vec<FactUse> {
    let mut uses: Vec<FactUse> = Vec::new();
    for item in list(faults, node, "facts") {
        let Some(found) = one_use(&faults.section(item, "facts"), rules, known) else { continue };
        let twin = uses.iter().find(|earlier| earlier.name == found.name);
        if twin.is_some_and(|twin| twin.given.is_none() || found.given.is_none()) {
            let message = "of several facts of one name each needs its `if`";
            faults.note(item.place, "facts", message);
        }
        let mut fields: Vec<Box<str>> = vec!["id".into()];
        fields.extend(found.rule.fields.iter().map(|(name, _)| name.clone()));
        fields.extend(found.rule.derive.iter().map(|derived| derived.name.clone()));
        known.facts.push((found.name.clone(), fields));
        uses.push(found);
    }
    uses
}

fn one_use(section: &Section<'_>, rules: &[Arc<FactRule>], known: &Known) -> Option<FactUse> {
    let faults = section.faults();
    let keys: Vec<_> = section.entries().map(|(key, _)| key).collect();
    let short = match keys.as_slice() {
        [only] if *only != "name" => Some(*only),
        _ => None,
    };
    if short.is_none() {
        for key in keys.iter().filter(|key| !["name", "use", "with", "if"].contains(key)) {
            section.fault(key, "is not a key here; expected name, use, with, if");
        }
    }
    let name = match short {
        Some(short) => short.to_owned(),
        None => section.required("name", Node::name)?,
    };
    let wanted = section.optional("use", Node::name).unwrap_or_else(|| name.clone());
    let Some(rule) = rules.iter().find(|rule| *rule.name == *wanted) else {
        section
            .fault(short.unwrap_or("use"), format!("no fact `{wanted}` under the pack's `facts`"));
        return None;
    };
    let node = section.node(short.unwrap_or("with"));
    let with = node.map(|node| faults.section(node, &section.path("with")));
    let with = with.map(|with| arguments(&with, rule, known)).unwrap_or_default();
    if let Some((missing, _)) = rule.patterns.iter().find(|(p, _)| with.iter().all(|(w, _)| w != p))
    {
        section.fault(short.unwrap_or("with"), format!("the argument `{missing}` is missing"));
    }
    let given = section.optional("if", |node| known.source(node.text()?));
    Some(FactUse { name: name.into(), rule: Arc::clone(rule), with, given })
}

fn arguments(section: &Section<'_>, rule: &FactRule, known: &Known) -> Vec<(Box<str>, Source)> {
    let read = |(name, _): (&str, &Node)| {
        let source = section.optional(name, |node| {
            if !rule.patterns.iter().any(|(parameter, _)| **parameter == *name) {
                return Err(format!("the fact `{}` has no parameter `{name}`", rule.name));
            }
            known.source(node.text()?)
        });
        source.map(|source| (Box::from(name), source))
    };
    section.entries().filter_map(read).collect()
}

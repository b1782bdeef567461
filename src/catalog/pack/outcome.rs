//! How does a vendor say what became of a call?

use crate::action::{Condition, OutcomeRule};
use crate::yaml::{Node, Section, Shape};

use super::words::{condition, pointer};

/// What holds for the whole pack.
pub(super) fn of_pack(section: Section<'_>) -> OutcomeRule {
    let rule = read(&section);
    section.finish();
    OutcomeRule { not_executed: rule.not_executed.unwrap_or_default(), ..rule.rule }
}

/// What one action says: it replaces done, pending and failed together.
pub(super) fn of_action(section: &Section<'_>, node: &Node, pack: &OutcomeRule) -> OutcomeRule {
    if let Shape::Scalar { .. } = &node.shape {
        section.optional("outcome", |node| match node.text()? {
            "http" => Ok(()),
            other => Err(format!("expected `http` or a mapping, got `{other}`")),
        });
        let not_executed = pack.not_executed.clone();
        return OutcomeRule { not_executed, ..OutcomeRule::default() };
    }
    let Some(section) = section.section("outcome") else { return pack.clone() };
    let own = read(&section);
    section.finish();
    OutcomeRule {
        rejected: own.rule.rejected.or_else(|| pack.rejected.clone()),
        not_executed: own.not_executed.unwrap_or_else(|| pack.not_executed.clone()),
        ..own.rule
    }
}

/// How a vendor says with a 2xx that it failed itself.
pub(super) fn ill(section: Section<'_>) -> Option<Condition> {
    let found = condition(&section, pointer);
    section.finish();
    found
}

struct Read {
    rule: OutcomeRule,
    not_executed: Option<Vec<u16>>,
}

fn read(section: &Section<'_>) -> Read {
    let one = |key: &str| {
        let section = section.section(key)?;
        let found = condition(&section, pointer);
        section.finish();
        found
    };
    let rule = OutcomeRule {
        done: one("done"),
        pending: one("pending"),
        failed: one("failed"),
        rejected: one("rejected"),
        not_executed: Vec::new(),
    };
    let not_executed = section.optional("not_executed", |node| {
        let status = |text: &String| {
            let known = text.parse::<u16>().ok().filter(|status| (400..500).contains(status));
            known.ok_or_else(|| format!("expected a status from 400 to 499, got `{text}`"))
        };
        node.texts()?.iter().map(status).collect()
    });
    Read { rule, not_executed }
}

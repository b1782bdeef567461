//! Who is asked, reminded and asked instead: the sections `queues` and `holds`.

use std::path::Path;
use std::sync::Arc;

use super::notify::{HasPage, Reader};
use crate::approval::{Escalate, Queue};
use crate::notify::Destination;
use crate::store::Crowd;
use crate::yaml::{Node, Section};

/// Queues by name, in the order of the file.
pub type Queues = Vec<(Arc<str>, Queue)>;

/// The queues of a file by name, and how many calls may wait; who outside is told is left out.
pub fn read(top: &Section<'_>) -> (Queues, Crowd) {
    let (queues, _told) = queues(top, &Reader::new(Path::new("."), HasPage::No));
    (queues, crowd(top))
}

/// The queues of a file, by name; `default` is always one. And who is told of what waits there.
pub(super) fn queues(top: &Section<'_>, reader: &Reader<'_>) -> (Queues, Vec<Destination>) {
    let mut queues = Queues::new();
    let mut told = Vec::new();
    if let Some(section) = top.section("queues") {
        for (name, node) in section.entries() {
            let one = section.faults().section(node, &section.path(name));
            queues.push((name.into(), queue(&one)));
            told.extend(reader.of_queue(&one, name));
            one.finish();
        }
        for (name, queue) in &queues {
            let Some(escalate) = &queue.escalate else { continue };
            if *escalate.to == **name || queues.iter().all(|(other, _)| *other != escalate.to) {
                let message = format!("escalate.to: there is no other queue `{}`", escalate.to);
                section.fault(name, message);
            }
        }
    }
    if !queues.iter().any(|(name, _)| &**name == "default") {
        queues.push(("default".into(), Queue::default()));
    }
    (queues, told)
}

fn queue(section: &Section<'_>) -> Queue {
    let escalate = section.section("escalate").and_then(|escalate| {
        let after = escalate.required("after", Node::duration);
        let to = escalate.required("to", |n| n.name().map(Arc::from));
        escalate.finish();
        Some(Escalate { after: after?, to: to? })
    });
    Queue {
        roles: section.optional("roles", Node::texts).unwrap_or_default(),
        tenants: section.optional("tenants", Node::texts).unwrap_or_default(),
        remind: section.optional("remind", Node::duration),
        escalate,
    }
}

/// How many calls may wait for people at once: `holds: { per_agent, per_customer }`.
pub(super) fn crowd(top: &Section<'_>) -> Crowd {
    let mut crowd = Crowd::default();
    if let Some(section) = top.section("holds") {
        crowd.agent = section.optional("per_agent", most).unwrap_or(crowd.agent);
        crowd.customer = section.optional("per_customer", most).unwrap_or(crowd.customer);
        section.finish();
    }
    crowd
}

fn most(node: &Node) -> Result<u32, String> {
    let most = u32::try_from(node.count()?).ok().filter(|most| *most > 0);
    most.ok_or_else(|| "expected how many calls may wait at once, 1 or more".to_owned())
}

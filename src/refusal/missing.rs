//! How is "not yours" said, so that it reads like "not there"? From the request alone.
//!
//! Never reads a fact, an owner or an answer: two calls that differ in nothing they may know get the
//! same bytes, whoever finds out that there is nothing for them.

use super::{Code, Refusal};
use crate::action::{Action, Source};
use crate::call::Call;
use crate::value::{Pointer, Value};

/// BOUND: facts of facts that are followed to the parameter that named the first. Packs need two.
const DEPTH_MAX: usize = 8;

impl Refusal {
    /// The one answer for a call on something that is not the caller's or not there.
    ///
    /// SECURITY: an oracle on other people's orders would need two answers that differ.
    pub fn nobodys(call: &Call) -> Self {
        let resource = resource_words(&call.action);
        match id_as_asked(call) {
            Some(id) => Self::not_found(&resource, &id),
            None => {
                let detail = format!(
                    "There is no such {resource} for this customer. Do not try others. Ask the \
                     customer to check."
                );
                Self::new(Code::NotFound, detail)
            }
        }
    }
}

/// `charge`, from the pack's resource or from the action's own name.
fn resource_words(action: &Action) -> String {
    let name = match &action.resource {
        Some(rule) => &*rule.kind,
        // `vendor.noun.verb`, where the noun may have several segments.
        None => action
            .name
            .split_once('.')
            .and_then(|(_, rest)| rest.rsplit_once('.'))
            .map_or(&*action.name, |(noun, _)| noun),
    };
    name.replace(['.', '_'], " ").to_lowercase()
}

fn id_as_asked(call: &Call) -> Option<String> {
    let ids = call.action.resource.as_ref().map(|rule| rule.id.as_slice()).unwrap_or_default();
    let asked = ids.iter().find_map(|id| asked(call, id, 0));
    asked.or_else(|| call.path.last().map(|(_, value)| value.to_string()))
}

/// What the request itself says where `source` begins.
fn asked(call: &Call, source: &Source, depth: usize) -> Option<String> {
    match source {
        Source::Path(name) => {
            call.path.iter().find(|(own, _)| own == name).map(|(_, value)| value.to_string())
        }
        Source::Query(pointer) => present(pointer, &call.query),
        Source::Body(pointer) => present(pointer, call.parameters()),
        Source::Fact { fact, .. } if depth < DEPTH_MAX => call
            .action
            .facts
            .iter()
            .filter(|each| each.name == *fact)
            .flat_map(|each| &each.with)
            .find_map(|(_, from)| asked(call, from, depth.saturating_add(1))),
        Source::Fact { .. } | Source::CallerCustomer | Source::CallerAccount => None,
    }
}

fn present(pointer: &Pointer, root: &Value) -> Option<String> {
    pointer.find(root).and_then(Value::id_text)
}

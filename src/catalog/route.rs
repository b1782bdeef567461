//! Which action does a method and a path name?
//!
//! Exact: a trailing slash, another letter case or a `.json` behind it is another path. A static
//! segment wins over a parameter. It never decodes or mends a path.

use std::sync::Arc;

use http::Method;
use matchit::Router;

use crate::action::Action;

/// The paths of one pack, a tree per method.
#[derive(Debug, Default)]
pub(super) struct Routes(Vec<(Method, Router<Route>)>);

/// Where a path ends.
#[derive(Debug)]
struct Route {
    action: Arc<Action>,
    names: Box<[Box<str>]>,
}

/// An action and its path's parameters.
pub(super) type Found<'r> = (&'r Arc<Action>, Vec<(Box<str>, Box<str>)>);

impl Routes {
    /// For these actions. `fault` hears of one that no path can reach any more.
    pub(super) fn new(actions: &[Arc<Action>], mut fault: impl FnMut(&str, String)) -> Self {
        let mut routes = Self::default();
        for action in actions {
            let names: Vec<Box<str>> = parameters(&action.path_template).map(Box::from).collect();
            let route = Route { action: Arc::clone(action), names: names.into() };
            let path = by_position(&action.path_template);
            if let Err(error) = routes.of_method(&action.method).insert(path, route) {
                fault(&action.name, format!("`match` can never be reached: {error}"));
            }
        }
        routes
    }

    fn of_method(&mut self, method: &Method) -> &mut Router<Route> {
        let known = self.0.iter().position(|(own, _)| own == method);
        let index = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push((method.clone(), Router::new()));
        }
        // The index is that of an entry that exists or was just made.
        #[expect(clippy::indexing_slicing, reason = "found or pushed above")]
        &mut self.0[index].1
    }

    /// The action of `method` and `path`. A HEAD asks for what its GET would answer (RFC 9110
    /// s9.3.2).
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<Found<'_>> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let (_, router) = self.0.iter().find(|(own, _)| own == method)?;
        let found = router.at(path).ok()?;
        let values = found.params.iter().map(|(_, value)| Box::from(value));
        let path = found.value.names.iter().cloned().zip(values).collect();
        Some((&found.value.action, path))
    }
}

/// The names in a template, in order.
fn parameters(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// Two templates that differ only in the names of their parameters are one path.
fn by_position(template: &str) -> String {
    let mut path = String::with_capacity(template.len());
    let mut parts = template.split('{');
    path.push_str(parts.next().unwrap_or_default());
    for (position, part) in parts.enumerate() {
        let behind = part.split_once('}').map_or("", |(_, behind)| behind);
        path.push_str(&format!("{{{position}}}{behind}"));
    }
    path
}

/// Pairs of actions of which some path names both, each more exactly in another segment.
pub(super) fn overlaps(actions: &[Arc<Action>]) -> Vec<String> {
    let segments = |action: &Action| -> Vec<Box<str>> {
        action.path_template.split('/').map(Box::from).collect()
    };
    let all: Vec<_> = actions.iter().map(|action| (action, segments(action))).collect();
    let mut found = Vec::new();
    for (index, (one, ours)) in all.iter().enumerate() {
        let rest = all.iter().skip(index.saturating_add(1));
        let alike = |(other, theirs): &&(&Arc<Action>, Vec<Box<str>>)| {
            other.method == one.method && ours.len() == theirs.len() && crosses(ours, theirs)
        };
        found.extend(rest.filter(alike).map(|(other, _)| {
            format!(
                "{} and {}: some path names both; the first static segment decides",
                one.name, other.name
            )
        }));
    }
    found
}

fn crosses(ours: &[Box<str>], theirs: &[Box<str>]) -> bool {
    let open = |segment: &str| segment.contains('{');
    let pairs = || ours.iter().zip(theirs);
    let both = pairs().all(|(a, b)| a == b || open(a) || open(b));
    let first = pairs().any(|(a, b)| open(a) && !open(b));
    let second = pairs().any(|(a, b)| !open(a) && open(b));
    both && first && second
}

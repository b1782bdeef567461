//! The other side: a script that can be rewritten while a case runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tollhouse::outbound::{Exchange, Reply, Scene, Scripted, Sent};
use tollhouse::yaml::{Node, Shape};

use super::tree::{self, entries, get, text};

/// What is answered, call by call.
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

struct State {
    rules: Node,
    /// How often each rule was used.
    used: Vec<(String, usize)>,
}

impl Script {
    pub fn new(rules: Node) -> Self {
        Self(Arc::new(Mutex::new(State { rules, used: Vec::new() })))
    }

    pub fn outbound(&self) -> Scripted {
        let own = self.clone();
        Scripted::by(move |sent| own.play(sent))
    }

    /// Other answers from now on.
    pub fn change(&self, changes: &Node) {
        let mut state = self.0.lock();
        state.rules = super::plan::patched(&state.rules, changes);
        let changed: Vec<&String> = entries(changes).iter().map(|(name, _, _)| name).collect();
        state.used.retain(|(call, _)| !changed.contains(&call));
    }

    fn play(&self, sent: &Sent) -> Scene {
        let call = format!("{} {}", sent.method, sent.target);
        let mut state = self.0.lock();
        let found = find(&state.rules, &call);
        let Some((name, rule, rest)) = found else {
            return Scene::not_sent(&format!("no rule for `{call}`"));
        };
        let times = match state.used.iter_mut().find(|(used, _)| *used == name) {
            Some((_, times)) => {
                *times += 1;
                *times
            }
            None => {
                state.used.push((name, 0));
                0
            }
        };
        let answers = tree::items(&rule);
        scene(answers[times.min(answers.len() - 1)], &rest)
    }
}

/// The rule of a call, by its whole name, else by its beginning; and what stands for the `*`.
fn find(rules: &Node, call: &str) -> Option<(String, Node, String)> {
    let whole = entries(rules).iter().find(|(name, _, _)| name == call);
    let begun = || {
        entries(rules).iter().find(|(name, _, _)| {
            name.strip_suffix('*').is_some_and(|start| call.starts_with(start))
        })
    };
    let (name, _, rule) = whole.or_else(begun)?;
    let rest =
        name.strip_suffix('*').and_then(|start| call.strip_prefix(start)).unwrap_or_default();
    Some((name.clone(), rule.clone(), rest.to_owned()))
}

fn scene(answer: &Node, rest: &str) -> Scene {
    if let Shape::Scalar { text, .. } = &answer.shape {
        return match &**text {
            "lost" => Scene::unknown("the connection was cut"),
            "refused" => Scene::not_sent("connection refused"),
            other => panic!("line {}: no upstream does `{other}`", answer.place.line),
        };
    }
    tree::only(answer, &["status", "json", "text", "headers", "after"], "upstream");
    let status = text(answer, "status").map_or(200, |status| status.parse().unwrap());
    let mut headers = HeaderMap::new();
    let body = match (get(answer, "json"), text(answer, "text")) {
        (Some(json), _) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            tree::json(json).to_string().replace("{id}", rest)
        }
        (None, Some(text)) => text,
        (None, None) => String::new(),
    };
    for (name, _, value) in get(answer, "headers").map(entries).unwrap_or_default() {
        headers.insert(HeaderName::try_from(name).unwrap(), tree::scalar(value).parse().unwrap());
    }
    // What the way out does with an answer that is too large.
    if body.len() > tollhouse::bounds::ANSWER_BYTES_MAX {
        return Scene::unknown("the answer is too large");
    }
    let reply = Reply { status, headers, body: Bytes::from(body) };
    let after = text(answer, "after")
        .map_or(Duration::ZERO, |span| humantime::parse_duration(&span).unwrap());
    Scene { after, then: Exchange::Answered(reply) }
}

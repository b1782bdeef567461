//! What is kept with a hold so that it can be judged again: the request as it came, and who asked.
//!
//! Sealed at rest by the store. Never holds the agent's token.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::action::Find;
use crate::call::{Caller, Context, Facts, Request};
use crate::gate::Asked;
use crate::gate::reserve::Judged;
use crate::resolve::{self, Scope};

/// A held request and its caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parcel {
    upstream: Arc<str>,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    /// Who asked.
    pub caller: Caller,
    /// Who the customer is at the upstream.
    pub account: Option<Arc<str>>,
    /// What the agent said: facts of the asking, kept as they were.
    pub context: Context,
    /// How to find out later whether it happened.
    pub sought: Option<Sought>,
    /// What the systems of record said when it was judged, for the people who are asked.
    pub facts: Facts,
}

/// A look-up for later, as the facts of the asking make it: the effect may change them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sought {
    /// Its path and query; `{mark}` stands for the operation's name.
    pub target: String,
    /// What further places must equal.
    pub same: Vec<String>,
}

impl Sought {
    /// What the pack says of this call, if anything.
    pub fn by(asked: &Asked, judged: &Judged) -> Option<Self> {
        let lookup = asked.call.action.lookup.as_ref()?;
        let account = asked.account.as_deref();
        let (call, caller, facts) = (&*asked.call, &*asked.caller, &judged.facts);
        let scope = Scope { call, caller, account, facts };
        let target = resolve::template(&lookup.get, &scope)?;
        let same = match &lookup.find {
            Find::Changed(_) => Vec::new(),
            Find::Made(made) => {
                let values = made.same.iter().map(|(_, source)| resolve::source(source, &scope));
                values.map(|value| value?.id_text()).collect::<Option<_>>()?
            }
        };
        Some(Self { target, same })
    }
}

impl Parcel {
    /// Of a call. Of its headers only those are kept that go upstream, and what frames the body.
    pub fn of(request: &Request, asked: &Asked, judged: &Judged) -> Self {
        let framing =
            [http::header::HOST, http::header::CONTENT_TYPE, http::header::CONTENT_LENGTH];
        let mut headers: Vec<(String, String)> = framing
            .iter()
            .filter_map(|name| Some((name.as_str().to_owned(), text(request.headers.get(name)?)?)))
            .collect();
        for (name, value) in &asked.call.headers {
            if !framing.contains(name) {
                headers.extend(text(value).map(|value| (name.as_str().to_owned(), value)));
            }
        }
        Self {
            upstream: Arc::clone(&asked.call.upstream),
            method: request.method.as_str().to_owned(),
            target: request.target.to_string(),
            headers,
            body: STANDARD.encode(&request.body),
            caller: Caller::clone(&asked.caller),
            account: asked.account.clone(),
            context: asked.call.context.clone(),
            sought: Sought::by(asked, judged),
            facts: judged.facts.clone(),
        }
    }

    /// The same, as it was judged last.
    pub fn judged_again(&self, facts: &Facts) -> Bytes {
        Self { facts: facts.clone(), ..self.clone() }.pack()
    }

    /// As bytes, to be sealed.
    pub fn pack(&self) -> Bytes {
        // A parcel is plain strings and numbers: it has no way not to serialise.
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// Reads a parcel back; `None` when it is none.
    pub fn open(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// For which upstream it was.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// The request, to be classified again, as if it came by this listener.
    pub fn request(&self, listener: usize) -> Option<Request> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_str(value).ok()?,
            );
        }
        Some(Request {
            listener,
            method: Method::from_bytes(self.method.as_bytes()).ok()?,
            target: self.target.as_str().into(),
            headers,
            body: Bytes::from(STANDARD.decode(&self.body).ok()?),
            peer: None,
        })
    }

    /// Its method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Its path.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The first line of the request, for a person.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// What goes along with it.
    pub fn sent(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A header of it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.sent().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// The body as text, for a person; `None` when it is none.
    pub fn body_text(&self) -> Option<String> {
        String::from_utf8(STANDARD.decode(&self.body).ok()?).ok()
    }
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}

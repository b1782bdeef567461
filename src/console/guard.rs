//! May they? Asked of every request before any handler runs: which host was meant, who asks, from
//! where a browser sends it, and whether the route is theirs.
//!
//! Never looks at what a route does: that is the table's word. What is of a tenant is judged by
//! [`Signed::sees`], whichever way it was loaded.

mod door;
mod seen;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use door::Proof;
pub use door::Reached;
pub(super) use door::{again, own, see_other};
pub use seen::Theirs;

use super::form::Form;
use super::listen::Peer;
use super::routes::{self, Access, Sort};
use super::sessions::Session;
use super::{Console, problem};
use crate::approval::{Answers, Operator, Tenants};
use crate::clock::Timestamp;

/// Who asks, and how that is known. Only the guard makes one.
#[derive(Debug, Clone)]
pub struct Signed {
    operator: Arc<Operator>,
    by: By,
}

#[derive(Debug, Clone)]
enum By {
    /// A configured token with this request.
    Token,
    /// An issuer's token with this request, and when it ends.
    Issuer(Timestamp),
    /// The session of a browser.
    Session(Arc<Session>),
}

impl Signed {
    /// They.
    pub fn operator(&self) -> &Arc<Operator> {
        &self.operator
    }

    /// Their session, when they came with one.
    pub fn session(&self) -> Option<&Arc<Session>> {
        match &self.by {
            By::Session(session) => Some(session),
            By::Token | By::Issuer(_) => None,
        }
    }

    /// What a form of a page must bring back in its field `csrf`; empty without a session, where
    /// nothing is asked for.
    pub fn csrf(&self) -> &str {
        self.session().map_or("", |session| session.csrf())
    }

    /// When what they came with ends; `None` when it does not by itself.
    pub fn until(&self) -> Option<Timestamp> {
        match &self.by {
            By::Token => None,
            By::Issuer(until) => Some(*until),
            By::Session(session) => Some(session.ends()),
        }
    }

    pub(super) fn by_token(operator: Arc<Operator>) -> Self {
        Self { operator, by: By::Token }
    }

    pub(super) fn by_issuer(operator: Arc<Operator>, until: Timestamp) -> Self {
        Self { operator, by: By::Issuer(until) }
    }

    pub(super) fn by_session(session: Arc<Session>) -> Self {
        Self { operator: Arc::clone(session.operator()), by: By::Session(session) }
    }
}

impl FromRequestParts<Arc<Console>> for Signed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Console>) -> Result<Self, Response> {
        // SECURITY: a route for anybody knows nobody: a handler that asks who it is gets no answer.
        parts.extensions.get::<Self>().cloned().ok_or_else(unknown)
    }
}

/// What the guard knows of the door it stands at.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) console: Arc<Console>,
    pub(super) reached: Reached,
}

/// The one way in.
pub(super) async fn guard(
    State(guarded): State<Guarded>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match guarded.judge(request).await {
        Ok(request) => next.run(request).await,
        Err(answer) => answer,
    };
    door::close(answer.headers_mut());
    answer
}

impl Guarded {
    async fn judge(&self, request: Request) -> Result<Request, Response> {
        let (mut parts, body) = request.into_parts();
        let console = &self.console;
        if !self.reached.is_meant(&parts, console.public_url()) {
            return Err(problem(421, "this host is not served here"));
        }
        let matched = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let route = routes::find(&parts.method, matched);
        // What is there and what is not looks the same to somebody unknown.
        let (access, sort) = route.map_or((Access::SignedIn, Sort::Api), |r| (r.access, r.sort));
        match access {
            Access::Anybody => return Ok(Request::from_parts(parts, body)),
            Access::Visitor => {
                door::sent_by_us(&parts, console.public_url(), Proof::Needed)?;
                return Ok(Request::from_parts(parts, body));
            }
            Access::SignedIn | Access::Answers | Access::Operates | Access::OperatesFleet => {}
        }
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|peer| peer.0.0);
        let found = console.who(&parts.headers, peer).await;
        let signed = found.map_err(|answer| door::instead(answer, &parts, sort))?;
        let body = match signed.session() {
            Some(session) if !parts.method.is_safe() => {
                door::sent_by_us(&parts, console.public_url(), Proof::Needed)?;
                proven(session, &parts.headers, body).await?
            }
            Some(_) => body,
            None => {
                door::sent_by_us(&parts, console.public_url(), Proof::OfBrowsers)?;
                body
            }
        };
        if let Err(why) = may(access, signed.operator(), console.operator_roles()) {
            console.turned_away(signed.operator(), &parts.method, matched).await;
            return Err(problem(403, &why));
        }
        parts.extensions.insert(signed);
        Ok(Request::from_parts(parts, body))
    }
}

/// Whether an operator may ask routes of that access.
fn may(access: Access, operator: &Operator, roles: &[Box<str>]) -> Result<(), String> {
    let name = &operator.name;
    match access {
        Access::Anybody | Access::Visitor | Access::SignedIn => Ok(()),
        Access::Answers if operator.answers == Answers::Holds => Ok(()),
        Access::Answers => {
            Err(format!("`{name}` answers no holds: its token does not say `approves: true`"))
        }
        Access::Operates | Access::OperatesFleet => {
            if !operator.roles.iter().any(|own| roles.contains(own)) {
                return Err(format!(
                    "`{name}` may not do this: it needs the role {}",
                    roles.join(" or ")
                ));
            }
            if access == Access::OperatesFleet && operator.tenants != Tenants::All {
                return Err(format!(
                    "`{name}` may not do this: it is about every tenant, and they are bound to some"
                ));
            }
            Ok(())
        }
    }
}

/// The body of a change that a session asks for, once it has brought its CSRF token.
async fn proven(session: &Session, headers: &HeaderMap, body: Body) -> Result<Body, Response> {
    let refused = || {
        problem(
            403,
            "this did not come from a page of this session: load the page again and repeat",
        )
    };
    // SECURITY: a page of somebody else's can make a browser send a form, not read what is in ours.
    if let Some(sent) = headers.get("x-csrf-token") {
        return session.proves(sent.as_bytes()).then_some(body).ok_or_else(refused);
    }
    if !Form::is_said(headers) {
        return Err(refused());
    }
    let bytes = Form::bytes(body).await?;
    let form = Form::read(&bytes).map_err(|why| problem(400, &why))?;
    let sent = form.one("csrf").unwrap_or_default();
    session.proves(sent.as_bytes()).then(|| Body::from(bytes)).ok_or_else(refused)
}

/// The answer to somebody unknown, which says nothing but that.
pub(super) fn unknown() -> Response {
    let said = problem(401, "no valid operator token");
    ([(header::WWW_AUTHENTICATE, "Bearer")], said).into_response()
}

/// What was asked, for the record of who was turned away.
pub(super) fn asked(method: &Method, path: Option<&str>) -> String {
    format!("{method} {}", path.unwrap_or("(nothing here)"))
}

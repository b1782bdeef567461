//! What do the pages of signing in do? They show the form, take a token or a code, send a browser to
//! the issuer and take it back, and let it go.
//!
//! A GET never uses anything up but a sign-in that this very browser began.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::oidc::Oidc;
use super::page::{SCRIPT, SignInPage, signin_page};
use super::{BEYOND_GUESSING, too_many};
use crate::approval::{Answers, Operator, Tenants};
use crate::audit::Event;
use crate::clock::Timestamp;
use crate::console::form::Form;
use crate::console::guard::{Signed, again, own, see_other};
use crate::console::listen::Peer;
use crate::console::{Console, problem};

type Shared = State<Arc<Console>>;
type From = Option<Extension<ConnectInfo<Peer>>>;

/// The form.
pub async fn show(State(console): Shared, request: Request) -> Response {
    let query = Form::read(request.uri().query().unwrap_or_default().as_bytes());
    let next = query.as_ref().ok().and_then(|query| query.one("next")).unwrap_or("/");
    let next = own(next);
    if console.sign_in.sessions.of(request.headers(), console.cookie()).is_some() {
        return see_other(next);
    }
    console.page(StatusCode::OK, None, next)
}

/// Its script.
pub async fn script() -> impl IntoResponse {
    let sort = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, sort)], SCRIPT)
}

/// Takes a token or a code.
pub async fn enter(State(console): Shared, from: From, headers: HeaderMap, form: Form) -> Response {
    let peer = from.and_then(|Extension(ConnectInfo(peer))| peer.0);
    let next = own(form.one("next").unwrap_or("/"));
    let said = form.one("token").unwrap_or_default().trim();
    let wait = console.sign_in.throttle.wait(peer);
    if let Some(wait) = wait.filter(|_| said.len() < BEYOND_GUESSING) {
        let seconds = wait.as_secs().max(1);
        let fault = format!("Too many tries that failed. Wait {seconds} seconds.");
        let page = console.page(StatusCode::TOO_MANY_REQUESTS, Some(&fault), next);
        return ([(header::RETRY_AFTER, HeaderValue::from(seconds))], page).into_response();
    }
    let by_code = console.sign_in.codes.take(said).map(|found| (found, "code"));
    let by_token = || console.known(said).map(|one| ((Arc::clone(one), None), "token"));
    match by_code.or_else(by_token) {
        Some(((operator, until), how)) => {
            let begun = console.begin(&headers, (*operator).clone(), (how, until)).await;
            begun.map_or_else(|answer| answer, |cookie| with(see_other(next), [cookie]))
        }
        None => {
            // Only what it counts and puts on record; the page is the answer.
            drop(console.failed("form", peer).await);
            let fault =
                "That token or code was not accepted. A code counts once, and for 15 minutes.";
            console.page(StatusCode::UNAUTHORIZED, Some(fault), next)
        }
    }
}

/// Sends a browser to the issuer.
pub async fn begin(State(console): Shared, request: Request) -> Response {
    let Some(oidc) = &console.sign_in.oidc else { return no_issuer() };
    let query = Form::read(request.uri().query().unwrap_or_default().as_bytes());
    let next = query.as_ref().ok().and_then(|query| query.one("next")).unwrap_or("/");
    match oidc.begin(own(next)).await {
        Ok(begun) => {
            let cookie =
                console.browser_cookie((&console.pending(), &begun.cookie), "Lax", Oidc::lasts());
            with(see_other(&begun.to), [cookie])
        }
        Err(why) => {
            console.gate().turned_away(Event::SignInFailed, "issuer", (None, &why)).await;
            let fault = "The issuer does not answer as it should. The log says why.";
            console.page(StatusCode::SERVICE_UNAVAILABLE, Some(fault), "/")
        }
    }
}

/// Takes a browser back from the issuer.
pub async fn callback(State(console): Shared, from: From, request: Request) -> Response {
    let Some(oidc) = &console.sign_in.oidc else { return no_issuer() };
    let peer = from.and_then(|Extension(ConnectInfo(peer))| peer.0);
    // BOUND: each costs the issuer a request.
    if let Some(wait) = console.sign_in.throttle.wait(peer) {
        return too_many(wait);
    }
    let (headers, pending) = (request.headers(), console.pending());
    match oidc.back(headers, &pending, request.uri()).await {
        Ok(back) => {
            let operator = super::operator(back.person);
            match console.begin(headers, operator, ("issuer", None)).await {
                // From the issuer's page no Strict cookie goes along: the next page is loaded by ours.
                Ok(cookie) => with(again(&back.next), [cookie, console.gone((&pending, "Lax"))]),
                Err(answer) => answer,
            }
        }
        Err(why) => {
            console.sign_in.throttle.failed(peer);
            console.gate().turned_away(Event::SignInFailed, "issuer", (None, &why)).await;
            let fault = "Signing in at the issuer did not work. Begin again here.";
            let page = console.page(StatusCode::UNAUTHORIZED, Some(fault), "/");
            with(page, [console.gone((&pending, "Lax"))])
        }
    }
}

/// Ends a session.
pub async fn leave(State(console): Shared, signed: Signed, headers: HeaderMap) -> Response {
    console.sign_in.sessions.end(&headers, console.cookie());
    let how = if signed.session().is_some() { "session" } else { "token" };
    if let Err(fault) = console.gate().came(Event::SignedOut, &signed.operator().name, how).await {
        console.gate().telemetry.fault("somebody signed out, and that is not on record", &fault);
    }
    with(see_other("/sign-in"), [console.gone((console.cookie(), "Strict"))])
}

/// Who they are here. The CSRF token is what a script of our own pages sends.
pub async fn session(signed: Signed) -> Response {
    let operator = signed.operator();
    let tenants = match &operator.tenants {
        Tenants::All => None,
        Tenants::These(names) => Some(names),
    };
    let csrf = signed.session().map(|session| session.csrf());
    let body = json!({
        "name": operator.name,
        "subject": operator.subject,
        "roles": operator.roles,
        "tenants": tenants,
        "answers": operator.answers == Answers::Holds,
        "until": signed.until().map(|until| until.to_string()),
        "csrf": csrf,
    });
    Json(body).into_response()
}

/// A code for a browser, asked for with a token.
pub async fn code(State(console): Shared, signed: Signed) -> Result<Response, Response> {
    // SECURITY: a session that makes codes would last for ever.
    if signed.session().is_some() {
        console.forbidden(&signed, "a sign-in code").await;
        return Err(problem(403, "a code is asked for with a token, not from a session"));
    }
    let made = console.new_code(signed.operator(), signed.until());
    let (code, url) = made.map_err(|why| problem(503, &why))?;
    let body = json!({ "code": code.code, "url": url, "expires": code.until.to_string() });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

impl Console {
    /// Signs a browser in, under a new name whatever it came with: the cookie to send.
    async fn begin(
        &self,
        headers: &HeaderMap,
        operator: Operator,
        (how, until): (&'static str, Option<Timestamp>),
    ) -> Result<HeaderValue, Response> {
        let came = self.gate().came(Event::SignedIn, &operator.name, how).await;
        came.map_err(|fault| problem(503, &fault.to_string()))?;
        self.sign_in.sessions.end(headers, self.cookie());
        let name = self.sign_in.sessions.begin(operator, until);
        let name = name.map_err(|why| problem(503, &why))?;
        let lasts = self.sign_in.sessions.lasts().whole;
        Ok(self.browser_cookie((self.cookie(), &name), "Strict", lasts))
    }

    fn page(&self, status: StatusCode, fault: Option<&str>, next: &str) -> Response {
        let lasts = humantime::format_duration(self.sign_in.sessions.lasts().whole).to_string();
        let issuer = self.sign_in.oidc.as_ref().map(Oidc::shown);
        signin_page(status, &SignInPage { fault, next, issuer, lasts: &lasts })
    }

    /// The name of the cookie of a sign-in at the issuer that is not over.
    fn pending(&self) -> String {
        format!("{}-pending", self.cookie())
    }

    fn browser_cookie(
        &self,
        (name, value): (&str, &str),
        site: &'static str,
        lasts: Duration,
    ) -> HeaderValue {
        let secure = if self.sign_in.is_secure { "; Secure" } else { "" };
        let seconds = lasts.as_secs();
        let text =
            format!("{name}={value}; Path=/; HttpOnly; SameSite={site}; Max-Age={seconds}{secure}");
        // Names and values are made of letters, digits and what a header may carry.
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }

    fn gone(&self, (name, site): (&str, &'static str)) -> HeaderValue {
        self.browser_cookie((name, ""), site, Duration::ZERO)
    }
}

fn with<const N: usize>(mut answer: Response, cookies: [HeaderValue; N]) -> Response {
    for cookie in cookies {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

fn no_issuer() -> Response {
    problem(404, "nobody signs in at an issuer here: `operator.oidc` is not configured")
}

//! What can be asked of the console, and who may? Every route, once, and what it takes to ask it.
//!
//! The router is made of this table and of nothing else: a route that is not here does not exist, and
//! one that is here is guarded as it says.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};

use super::guard::{self, Guarded, Reached};
use super::{
    Console, answers, api, openapi, page, probes, problem, reports, revocations, sign_in, waiting,
};

/// What somebody must be to ask a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: it names nobody, or what comes proves itself (a signed answer).
    Anybody,
    /// Whoever is about to sign in, from a page of this console.
    Visitor,
    /// Signed in; what is shown and done is bound to their tenants.
    SignedIn,
    /// Signed in, and answers holds; which ones is up to each hold's queue.
    Answers,
    /// Signed in with an operator's role.
    Operates,
    /// The same, and bound to no tenant: it is about the whole fleet.
    OperatesFleet,
}

/// Who asks a route, which decides how somebody unknown is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Machines and scripts: 401 with a problem.
    Api,
    /// A person with a browser: sent to sign in.
    Page,
    /// Whatever watches the process.
    Probe,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its method: `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// Its path, `{..}` for what varies.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
    /// Who asks.
    pub sort: Sort,
    serve: fn() -> MethodRouter<Arc<Console>>,
}

type Serve = fn() -> MethodRouter<Arc<Console>>;

const fn route(
    sort: Sort,
    (method, path): (&'static str, &'static str),
    access: Access,
    serve: Serve,
) -> Route {
    Route { method, path, access, sort, serve }
}

const fn probe(path: &'static str, serve: Serve) -> Route {
    route(Sort::Probe, (GET, path), Access::Anybody, serve)
}

const fn api(what: (&'static str, &'static str), access: Access, serve: Serve) -> Route {
    route(Sort::Api, what, access, serve)
}

const GET: &str = "GET";
const POST: &str = "POST";
const DELETE: &str = "DELETE";

const fn page(what: (&'static str, &'static str), access: Access, serve: Serve) -> Route {
    route(Sort::Page, what, access, serve)
}

/// Every route of the console.
pub static ROUTES: &[Route] = &[
    probe("/healthz", || get(probes::alive)),
    probe("/readyz", || get(probes::ready)),
    probe("/metrics", || get(probes::metrics)),
    page((GET, "/"), Access::SignedIn, || get(page::holds)),
    page((GET, "/decided"), Access::SignedIn, || get(page::decided_holds)),
    page((GET, "/holds/{op}"), Access::SignedIn, || get(page::one)),
    page((POST, "/holds/{op}/approve"), Access::Answers, || post(page::approve)),
    page((POST, "/holds/{op}/deny"), Access::Answers, || post(page::deny)),
    page((POST, "/holds/deny"), Access::Answers, || post(page::deny_many)),
    page((GET, "/operations"), Access::SignedIn, || get(page::all_operations)),
    page((GET, "/operations/{op}"), Access::SignedIn, || get(page::one)),
    page((POST, "/operations/{op}/mark"), Access::Answers, || post(page::mark)),
    page((POST, "/operations/{op}/resolve"), Access::Operates, || post(page::resolve)),
    page((GET, "/activity"), Access::SignedIn, || get(page::how_it_goes)),
    page((GET, "/controls"), Access::SignedIn, || get(page::all_controls)),
    page((POST, "/freezes"), Access::SignedIn, || post(page::freeze)),
    page((POST, "/freezes/{id}/lift"), Access::Operates, || post(page::lift)),
    page((GET, "/assets/{name}"), Access::Anybody, || get(page::asset)),
    api((GET, "/v1/events"), Access::SignedIn, || get(page::events)),
    page((GET, "/sign-in"), Access::Visitor, || get(sign_in::show)),
    page((POST, "/sign-in"), Access::Visitor, || post(sign_in::enter)),
    page((GET, "/sign-in.js"), Access::Anybody, || get(sign_in::script)),
    page((GET, "/sign-in/issuer"), Access::Visitor, || get(sign_in::begin)),
    page((GET, "/sign-in/callback"), Access::Visitor, || get(sign_in::callback)),
    page((POST, "/sign-out"), Access::SignedIn, || post(sign_in::leave)),
    api((GET, "/openapi.json"), Access::SignedIn, || get(openapi::serve)),
    api((GET, "/v1/session"), Access::SignedIn, || get(sign_in::session)),
    api((POST, "/v1/sign-in-codes"), Access::SignedIn, || post(sign_in::code)),
    api((GET, "/v1/holds"), Access::SignedIn, || get(waiting::holds)),
    api((GET, "/v1/queues"), Access::SignedIn, || get(waiting::queues)),
    api((POST, "/v1/holds/deny"), Access::Answers, || post(waiting::deny)),
    api((GET, "/v1/holds/{op}"), Access::SignedIn, || get(api::hold)),
    api((POST, "/v1/holds/{op}/approve"), Access::Answers, || post(api::approve)),
    api((POST, "/v1/holds/{op}/deny"), Access::Answers, || post(api::deny)),
    // Signed by a destination that was told: nobody else is believed.
    api((POST, "/v1/answers"), Access::Anybody, || post(answers::take)),
    api((GET, "/v1/freezes"), Access::SignedIn, || get(api::freezes)),
    api((POST, "/v1/freezes"), Access::SignedIn, || post(api::freeze)),
    api((DELETE, "/v1/freezes/{id}"), Access::Operates, || delete(api::unfreeze)),
    api((GET, "/v1/revocations"), Access::SignedIn, || get(revocations::list)),
    api((POST, "/v1/revocations"), Access::Operates, || post(revocations::revoke)),
    api((DELETE, "/v1/revocations/{id}"), Access::Operates, || delete(revocations::restore)),
    api((GET, "/v1/operations"), Access::SignedIn, || get(api::operations)),
    api((GET, "/v1/operations/{op}"), Access::SignedIn, || get(api::operation)),
    api((POST, "/v1/operations/{op}/mark"), Access::Answers, || post(reports::mark)),
    api((POST, "/v1/operations/{op}/resolve"), Access::Operates, || post(api::resolve)),
    api((GET, "/v1/report"), Access::SignedIn, || get(reports::report)),
    api((GET, "/v1/budgets"), Access::SignedIn, || get(api::budgets)),
    api((GET, "/v1/store"), Access::SignedIn, || get(api::store)),
    api((POST, "/v1/reload"), Access::OperatesFleet, || post(api::reload)),
    api((POST, "/v1/store/clear"), Access::OperatesFleet, || post(api::clear_loss)),
    api((GET, "/v1/records"), Access::SignedIn, || get(api::records)),
    api((GET, "/v1/config"), Access::OperatesFleet, || get(api::config)),
];

/// The route of a method and a path as it was matched; HEAD is GET without its body.
pub(super) fn find(method: &Method, path: Option<&str>) -> Option<&'static Route> {
    let method = if *method == Method::HEAD { GET } else { method.as_str() };
    ROUTES.iter().find(|route| Some(route.path) == path && route.method == method)
}

/// BOUND: the largest body is a reason in words; a form of a page with 50 ticked rows is 4 KiB.
const BODY_BYTES_MAX: usize = 64 << 10;

/// All of it behind the guard.
pub(super) fn guarded(console: Arc<Console>, reached: Reached) -> Router {
    let guarded = Guarded { console: Arc::clone(&console), reached };
    let all = ROUTES.iter().fold(Router::new(), |all, one| all.route(one.path, (one.serve)()));
    all.fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        // Innermost first: nothing above runs before the guard has let it.
        .layer(axum::middleware::from_fn_with_state(guarded, guard::guard))
        .with_state(console)
}

/// The probes alone, for a listener of their own.
pub(super) fn only_probes(console: Arc<Console>) -> Router {
    let probes = ROUTES.iter().filter(|route| route.sort == Sort::Probe);
    probes.fold(Router::new(), |all, one| all.route(one.path, (one.serve)())).with_state(console)
}

async fn nothing() -> Response {
    problem(404, "nothing is here; see `tollhouse --help` for what can be asked")
}

async fn other_method() -> Response {
    problem(405, "this can be asked, but not by that method")
}

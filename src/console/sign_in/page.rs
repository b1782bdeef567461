//! The page to sign in with, and the same with what went wrong.
//!
//! Says nothing of this installation but where people sign in.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::console::page::{SignInView, sign_in};

/// What the page says.
#[derive(Debug)]
pub(super) struct SignInPage<'p> {
    /// What went wrong, in our words.
    pub(super) fault: Option<&'p str>,
    /// Where to go then, an address of this console.
    pub(super) next: &'p str,
    /// The issuer's host, where people sign in with one.
    pub(super) issuer: Option<&'p str>,
    /// How long a session lasts, in words.
    pub(super) lasts: &'p str,
}

pub(super) fn signin_page(status: StatusCode, page: &SignInPage<'_>) -> Response {
    let seen =
        SignInView { fault: page.fault, next: page.next, issuer: page.issuer, lasts: page.lasts };
    (status, Html(sign_in(&seen))).into_response()
}

/// Takes the code out of the link into the form; a person sends it.
pub(super) const SCRIPT: &str = "\
// The code of a sign-in link stands behind the #: it never travels in an address.
const code = new URLSearchParams(location.hash.slice(1)).get(\"code\");
const field = document.getElementById(\"token\");
if (code && field) {
  field.value = code;
  history.replaceState(null, \"\", location.pathname + location.search);
  field.form.querySelector(\"button\").focus();
}
";

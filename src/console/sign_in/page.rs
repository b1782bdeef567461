//! The page to sign in with, and the same with what went wrong.
//!
//! Says nothing of this installation but where people sign in.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::console::form::{encoded, escaped};

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

const MARK: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M3 14.5V5M1.2 14.5h3.6M3 7.2L14.5 3\"/><circle cx=\"3\" cy=\"4\" r=\"1.4\" class=\"solid\"/></svg>";
const WARN: &str = "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M8 1.800l6.700 12H1.300z\"/><path d=\"M8 6.400v3.400M8 11.900v.1\"/></svg>";

pub(super) fn signin_page(status: StatusCode, page: &SignInPage<'_>) -> Response {
    let title = if page.fault.is_some() { "Sign in, not accepted" } else { "Sign in" };
    let fault = page.fault.map(|fault| {
        format!("<p class=\"error block\" role=\"alert\" id=\"err\">{WARN} {}</p>", escaped(fault))
    });
    let described = if page.fault.is_some() {
        " aria-invalid=\"true\" aria-describedby=\"err token-hint\""
    } else {
        " aria-describedby=\"token-hint\""
    };
    let issuer = page.issuer.map(|issuer| {
        format!(
            "<p class=\"or\">or</p><a class=\"button button-wide\" href=\"/sign-in/issuer?next={}\">Continue with {}</a>",
            encoded(page.next),
            escaped(issuer)
        )
    });
    let body = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"referrer\" content=\"no-referrer\"><title>{title} · Tollhouse</title>\
         <link rel=\"stylesheet\" href=\"/tollhouse.css\">\
         <script src=\"/sign-in.js\" defer></script></head><body><main class=\"sign\">\
         <p class=\"bar-name\">{MARK}Tollhouse</p><div class=\"card\"><h1>Sign in</h1>{}\
         <form method=\"post\" action=\"/sign-in\"><input type=\"hidden\" name=\"next\" value=\"{}\">\
         <div class=\"field\"><label for=\"token\">Operator token or sign-in code</label>\
         <input type=\"password\" id=\"token\" name=\"token\" required autocomplete=\"current-password\" autofocus{described}>\
         <p class=\"hint\" id=\"token-hint\">From your administrator. <code>tollhouse run</code> and \
         <code>tollhouse sign-in</code> print a sign-in link, which fills this in.</p></div>\
         <button class=\"button button-main button-wide\">Sign in</button></form>{}</div>\
         <small>You stay signed in for {} at most on this browser. What you open and what you answer is on record.</small>\
         </main></body></html>\n",
        fault.unwrap_or_default(),
        escaped(page.next),
        issuer.unwrap_or_default(),
        escaped(page.lasts),
    );
    (status, Html(body)).into_response()
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

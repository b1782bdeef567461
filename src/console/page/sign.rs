//! How does somebody sign in? The cards around the one form; who may is not decided here.
//!
//! Says nothing about the installation: whoever sees it is not known yet.

use super::frame::{barrier, head, sprite};
use super::html::html;
use super::parts::{Icon, icon};

/// What is asked of somebody who signs in.
#[derive(Debug, Clone, Copy)]
pub struct SignInView<'v> {
    /// Why the last try was not taken, in our words.
    pub fault: Option<&'v str>,
    /// Where they wanted to be: an address of this console.
    pub next: &'v str,
    /// The issuer's host, where people sign in with one.
    pub issuer: Option<&'v str>,
    /// How long a session lasts, in words.
    pub lasts: &'v str,
}

/// The page.
pub fn sign_in(seen: &SignInView<'_>) -> String {
    let fault = seen.fault.map(|fault| {
        html!(r#"<p class="error block" role="alert" id="err">"# (icon(Icon::Warn)) " " (fault) "</p>")
    });
    let described = match seen.fault {
        Some(_) => html!(r#" aria-invalid="true" aria-describedby="err token-hint""#),
        None => html!(r#" aria-describedby="token-hint""#),
    };
    let issuer = seen.issuer.map(|host| {
        html!(
            r#"<p class="or">or</p><a class="button button-wide" href="/sign-in/issuer?next="# (super::address(seen.next))
            r#"">Continue with "# (host) "</a>"
        )
    });
    html!(
        (head(if seen.fault.is_some() { "Sign in, not accepted" } else { "Sign in" })) "<body>" (sprite())
        r#"<main class="sign" id="main"><p class="bar-name">"# (barrier()) r#"</p><div class="card"><h1>Sign in</h1>"#
        (fault) r#"<form method="post" action="/sign-in"><input type="hidden" name="next" value=""# (seen.next)
        r#""><div class="field"><label for="token">Operator token or sign-in code</label><input type="password" "#
        r#"id="token" name="token" required autocomplete="current-password" autofocus"# (described)
        r#"><p class="hint" id="token-hint">From your administrator. <code>tollhouse run</code> and "#
        r#"<code>tollhouse sign-in</code> print a sign-in link, which fills this in.</p></div>"#
        r#"<button class="button button-main button-wide">Sign in</button></form>"# (issuer)
        "</div><small>You stay signed in for " (seen.lasts)
        " at most on this browser. What you open and what you answer is on record.</small></main>"
        r#"<script src="/sign-in.js" defer></script></body></html>"#
    )
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_only_for_what_is_there_and_shows_nothing_of_the_installation() {
        let seen =
            SignInView { fault: None, next: "/holds/\"><script>", issuer: None, lasts: "8 h" };
        let page = sign_in(&seen);
        assert!(
            page.contains("value=\"/holds/&quot;&gt;&lt;script&gt;\"") && !page.contains("issuer?"),
            "{page}"
        );
        assert!(!page.contains("aria-invalid") && !page.contains("role=\"alert\""));
        let seen = SignInView {
            fault: Some("That was not accepted."),
            issuer: Some("id.shop.example"),
            ..seen
        };
        let page = sign_in(&seen);
        assert!(
            page.contains("Continue with id.shop.example")
                && page.contains("aria-invalid=\"true\"")
        );
        assert!(
            page.contains("<p class=\"or\">or</p>")
                && page.contains("<title>Sign in, not accepted")
        );
    }
}

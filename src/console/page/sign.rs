//! How does somebody sign in? The cards around the one form; who may is not decided here.
//!
//! Says nothing about the installation: whoever sees it is not known yet.

use super::assets::names;
use super::frame::{barrier, head, sprite};
use super::html::{Html, html};
use super::parts::{Icon, icon};

/// What is asked of somebody who signs in.
#[derive(Debug, Clone, Default)]
pub struct SignInView {
    /// Where they wanted to be: an address of this console.
    pub next: String,
    /// Why the last try was not taken.
    pub error: Option<String>,
    /// Whether a token, or a one-time code, can be typed.
    pub by_token: bool,
    /// The host of the identity provider, where there is one.
    pub provider: Option<String>,
    /// How long a session lasts, in hours.
    pub hours: u64,
}

/// The page.
pub fn sign_in(seen: &SignInView) -> Html {
    let [_, script, _] = names();
    let error = seen.error.as_ref().map(|error| {
        html!(r#"<p class="error block" role="alert" id="err">"# (icon(Icon::Warn)) " " (error.as_str()) "</p>")
    });
    let described = if error.is_some() { "err token-hint" } else { "token-hint" };
    let invalid = error.is_some().then(|| html!(r#" aria-invalid="true""#));
    let token = seen.by_token.then(|| {
        html!(
            r#"<form method="post" action="/sign-in"><input type="hidden" name="next" value=""# (seen.next.as_str())
            r#""><div class="field"><label for="token">Operator token, or one-time code</label><input type="password" "#
            r#"id="token" name="token" required autocomplete="current-password""# (invalid) " aria-describedby=\""
            (described) r#""><p class="hint" id="token-hint">From your administrator. <code>tollhouse run</code> prints "#
            r#"a sign-in link, which needs no token.</p></div><button class="button button-main button-wide">Sign in"#
            "</button></form>"
        )
    });
    let or = (seen.by_token && seen.provider.is_some()).then(|| html!(r#"<p class="or">or</p>"#));
    let provider = seen.provider.as_ref().map(|host| {
        html!(
            r#"<form method="post" action="/sign-in/oidc"><input type="hidden" name="next" value=""#
            (seen.next.as_str()) r#""><button class="button button-wide">Continue with "# (host.as_str())
            "</button></form>"
        )
    });
    html!(
        (head(if seen.error.is_some() { "Sign in, not accepted" } else { "Sign in" })) "<body>" (sprite())
        r#"<main class="sign" id="main"><p class="bar-name">"# (barrier()) r#"</p><div class="card"><h1>Sign in</h1>"#
        (error) (token) (or) (provider) "</div><small>You stay signed in for " (seen.hours)
        " hours on this browser. What you open and what you answer is on record.</small></main>"
        "<script src=\"/assets/" (script) "\" defer></script></body></html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_only_for_what_is_there_and_shows_nothing_of_the_installation() {
        let mut seen = SignInView {
            next: "/holds/\"><script>".into(),
            by_token: true,
            hours: 8,
            ..SignInView::default()
        };
        let page = sign_in(&seen).into_string();
        assert!(
            page.contains("value=\"/holds/&quot;&gt;&lt;script&gt;\"") && !page.contains("oidc"),
            "{page}"
        );
        assert!(!page.contains("aria-invalid") && !page.contains("role=\"alert\""));
        seen.error = Some("That was not accepted.".into());
        seen.provider = Some("id.shop.example".into());
        let page = sign_in(&seen).into_string();
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

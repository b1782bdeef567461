//! Browsers: how a session begins, what it may do, who cannot have one, and how it ends.

use std::time::Duration;

use serde_json::json;

use super::browser::{Browser, From};
use super::world::{Who, World};
use crate::support::agent::{Call, Reply};
use crate::support::house::House;
use crate::support::shop::Shop;

fn form<'f>(token: &'f str, next: &'f str) -> [(&'f str, &'f str); 2] {
    [("token", token), ("next", next)]
}

/// A change that a page would make.
fn freeze(csrf: &str) -> Call<'_> {
    let body = json!({ "scope": ["agent/nobody"], "reason": "a test" });
    let call = Call::new("POST", "/v1/freezes").json(&body);
    if csrf.is_empty() { call } else { call.header("X-CSRF-Token", csrf) }
}

fn set_cookie(reply: &Reply) -> &str {
    reply.header("set-cookie").unwrap_or_else(|| panic!("{reply:?}"))
}

#[test]
fn a_code_signs_one_browser_in_once() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let (url, _) = house.operator();
    let link = house.cli(&["sign-in"]);
    assert_eq!(link.code, 0, "{link:?}");
    let code = link.out.trim().strip_prefix(&format!("{url}/sign-in#code=")).unwrap().to_owned();
    assert!(code.len() >= 43, "{code}");

    let mut browser = Browser::default();
    // However often it is looked at, by whom, in whatever way: only the form uses it up.
    for target in
        ["/sign-in".to_owned(), format!("/sign-in?code={code}"), format!("/sign-in?token={code}")]
    {
        let page = browser.get(&url, &target, From::Nowhere);
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.header("set-cookie").is_none() && !page.body.contains(&code), "{page:?}");
    }
    let target = format!("/sign-in?token={code}");
    assert!(Call::new("HEAD", &target).send(&url).is_err(), "no body");

    let elsewhere = browser.form(&url, "/sign-in", &form(&code, "/"), From::Other);
    assert_eq!(elsewhere.status, 403, "another site's form: {elsewhere:?}");
    let well = browser.form(&url, "/sign-in", &form(&code, "/v1/holds"), From::Same);
    assert_eq!((well.status, well.header("location")), (303, Some("/v1/holds")), "{well:?}");
    let cookie = set_cookie(&well);
    let port = url.rsplit_once(':').unwrap().1;
    assert!(cookie.starts_with(&format!("tollhouse{port}=")), "{cookie}");
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age=28800"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");
    assert_eq!(browser.get(&url, "/v1/holds", From::Same).status, 200);
    assert_eq!(browser.get(&url, "/v1/holds", From::Other).status, 401, "no Strict cookie comes");

    let again = Browser::default().form(&url, "/sign-in", &form(&code, "/"), From::Same);
    assert_eq!(again.status, 401, "{again:?}");
    assert!(
        again.header("set-cookie").is_none() && again.body.contains("not accepted"),
        "{again:?}"
    );
    let minted =
        browser.send(&url, Call::new("POST", "/v1/sign-in-codes").json(&json!({})), From::Same);
    assert_eq!(minted.status, 403, "a session does not make itself longer: {minted:?}");

    let text = std::fs::read_to_string(house.home.path().join("log")).unwrap();
    assert!(text.contains("signed_in at the console") && !text.contains(&code), "{text}");
}

#[test]
fn the_start_of_quick_mode_tells_a_link() {
    let shop = Shop::open();
    let house = House::quick(&shop);
    let (url, _) = house.operator();
    let link = house.process.later("sign in").expect("no link was told");
    let code = link.strip_prefix(&format!("{url}/sign-in#code=")).unwrap();
    let well = Browser::default().form(&url, "/sign-in", &form(code, "/"), From::Same);
    assert_eq!(well.status, 303, "{well:?}");
}

#[test]
fn a_session_is_of_the_browser_that_signed_in() {
    let world = World::open();
    let url = &world.url;
    let mut browser = Browser::default();
    // Fixation: a name that somebody put there before is not the name afterwards.
    let port = url.rsplit_once(':').unwrap().1;
    let name = format!("tollhouse{port}");
    browser.put(url, &name, "a-name-that-an-attacker-knows");
    let well = browser.form(url, "/sign-in", &form(&Who::Ops.token(), "/v1/holds"), From::Same);
    assert_eq!(well.status, 303, "{well:?}");
    let (_, first) = browser.cookie(url, &name).unwrap();
    assert_ne!(first, "a-name-that-an-attacker-knows");
    // Signing in once more gives a new name, and the old one ends.
    let well = browser.form(url, "/sign-in", &form(&Who::Ops.token(), "/v1/holds"), From::Same);
    assert_eq!(well.status, 303, "{well:?}");
    let (_, second) = browser.cookie(url, &name).unwrap();
    assert_ne!(first, second);
    let ask = |cookie: &str| {
        let line = format!("{name}={cookie}");
        Call::new("GET", "/v1/holds").header("Cookie", &line).send(url).unwrap().status
    };
    assert_eq!((ask(&first), ask(&second)), (401, 200));
    let both = format!("{name}={first}; {name}={second}");
    let both = Call::new("GET", "/v1/holds").header("Cookie", &both).send(url).unwrap();
    assert_eq!(both.status, 401, "one of two is somebody else's: {both:?}");
    // A token that came along counts alone: no falling back to the cookie.
    let line = format!("{name}={second}");
    let mixed = Call::new("GET", "/v1/holds").bearer("wrong").header("Cookie", &line);
    assert_eq!(mixed.send(url).unwrap().status, 401);

    let csrf = csrf(&world, &mut browser);
    let stay = browser.form(url, "/sign-out", &[("csrf", "x")], From::Same);
    assert_eq!((stay.status, ask(&second)), (403, 200), "nobody is signed out by a forged form");
    let gone = browser.form(url, "/sign-out", &[("csrf", &csrf)], From::Same);
    assert_eq!((gone.status, gone.header("location")), (303, Some("/sign-in")), "{gone:?}");
    assert!(set_cookie(&gone).contains("Max-Age=0"), "{gone:?}");
    assert_eq!(ask(&second), 401);
    let kinds = [("signed_in", 2), ("signed_out", 1)];
    for (kind, count) in kinds {
        let records = world.records(kind);
        assert_eq!(records.len(), count, "{kind}: {records:?}");
        assert!(records.iter().all(|r| r["by"] == "ops"), "{records:?}");
    }
}

/// The CSRF token of a browser's session.
fn csrf(world: &World, browser: &mut Browser) -> String {
    let reply = browser.get(&world.url, "/v1/session", From::Same);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["csrf"].as_str().unwrap().to_owned()
}

#[test]
fn a_change_needs_the_token_of_its_session_and_a_page_of_ours() {
    let world = World::open();
    let mut browser = world.browser(Who::Ops);
    let mut other = world.browser(Who::Ops);
    let (csrf, others) = (csrf(&world, &mut browser), csrf(&world, &mut other));
    assert_ne!(csrf, others);
    let url = world.url.clone();
    let own = |call: Call<'static>| call.header("Origin", &url);
    let leaked: &'static str = Box::leak(csrf.clone().into_boxed_str());
    let theirs: &'static str = Box::leak(others.into_boxed_str());
    let near: &'static str = Box::leak(csrf[1..].to_owned().into_boxed_str());
    for (what, call, from) in [
        ("no token", own(freeze("")), From::Same),
        ("another session's", own(freeze(theirs)), From::Same),
        ("nearly", own(freeze(near)), From::Same),
        ("another site", freeze(leaked).header("Origin", "https://evil.example"), From::Other),
        ("another port", freeze(leaked).header("Origin", "http://127.0.0.1:1"), From::Same),
        ("nobody's origin, from elsewhere", freeze(leaked).header("Origin", "null"), From::Other),
        ("typed in", freeze(leaked), From::Nowhere),
    ] {
        let reply = browser.send(&url, call, from);
        assert!([401, 403].contains(&reply.status), "{what}: {reply:?}");
    }
    // A browser without Fetch Metadata: only the origin tells.
    let (name, value) = browser.cookie(&url, "tollhouse").unwrap();
    let line = format!("{name}={value}");
    let old = |call: Call<'static>| call.header("Cookie", &line).send(&url).unwrap().status;
    assert_eq!(old(freeze(leaked)), 403, "no origin");
    assert_eq!(old(freeze(leaked).header("Origin", "null")), 403);
    assert_eq!(old(freeze(leaked).header("Origin", "http://evil.example")), 403);
    let localhost = url.replace("127.0.0.1", "localhost");
    assert_eq!(old(freeze(leaked).header("Origin", &localhost)), 403, "another origin");
    let count =
        || world.ask(Who::Ops, Call::new("GET", "/v1/freezes")).json().as_array().unwrap().len();
    assert_eq!(count(), 0, "nothing was frozen");
    assert_eq!(old(freeze(leaked).header("Origin", &url)), 201);
    assert_eq!(browser.send(&url, own(freeze(leaked)), From::Same).status, 201);
    // What a page without a referrer sends.
    let null = freeze(leaked).header("Origin", "null");
    assert_eq!(browser.send(&url, null, From::Same).status, 201);
    assert_eq!(count(), 3);

    // A form carries it in a field; a form without, or of another type, does not count.
    for (fields, status) in [
        (&[("csrf", &*csrf)][..], 303),
        (&[("csrf", &*csrf), ("csrf", &*csrf)][..], 403),
        (&[("CSRF", &*csrf)][..], 403),
        (&[][..], 403),
    ] {
        let mut browser = world.browser(Who::Ops);
        let own = super::sessions::csrf(&world, &mut browser);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, _)| (*n, &*own)).collect();
        let reply = browser.form(&url, "/sign-out", &fields, From::Same);
        assert_eq!(reply.status, status, "{fields:?}: {reply:?}");
    }
    let mut plain = Call::new("POST", "/v1/freezes").header("Origin", &url);
    plain.body = format!("csrf={csrf}");
    let reply = browser.send(&url, plain.header("Content-Type", "text/plain"), From::Same);
    assert_eq!(reply.status, 403, "{reply:?}");
}

#[test]
fn a_token_that_a_proxy_puts_into_what_a_browser_sends_is_no_way_round() {
    let world = World::open();
    let token = Who::Ops.token();
    let ask = |call: Call<'static>| call.bearer(&token).send(&world.url).unwrap().status;
    assert_eq!(ask(freeze("")), 201, "a script");
    assert_eq!(ask(freeze("").header("Origin", &world.url)), 201, "our page");
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "none"),
    ] {
        assert_eq!(ask(freeze("").header(name, value)), 403, "{name}: {value}");
    }
}

#[test]
fn a_session_ends_by_itself() {
    let world = World::with("  session: 4s\n  idle: 2s\n");
    let url = world.url.clone();
    let mut browser = world.browser(Who::Viewer);
    let status = |browser: &mut Browser| browser.get(&url, "/v1/holds", From::Same).status;
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        assert_eq!(status(&mut browser), 200);
        std::thread::sleep(second);
    }
    std::thread::sleep(second + second / 4);
    assert_eq!(status(&mut browser), 401, "used all the time, and over");
    let mut browser = world.browser(Who::Viewer);
    assert_eq!(status(&mut browser), 200);
    std::thread::sleep(2 * second + second / 4);
    assert_eq!(status(&mut browser), 401, "unused");
}

#[test]
fn nobody_is_sent_to_another_site() {
    let world = World::open();
    for next in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "\r\nSet-Cookie: a=b",
        "/x\r\nSet-Cookie: a=b",
        "/sign-in",
    ] {
        let mut browser = Browser::default();
        let well = browser.form(&world.url, "/sign-in", &form(&Who::Ops.token(), next), From::Same);
        assert_eq!((well.status, well.header("location")), (303, Some("/")), "{next:?}: {well:?}");
        let query: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let signed = browser.get(&world.url, &format!("/sign-in?next={query}"), From::Same);
        assert_eq!((signed.status, signed.header("location")), (303, Some("/")), "{signed:?}");
        let page =
            Browser::default().get(&world.url, &format!("/sign-in?next={query}"), From::Other);
        assert!(page.body.contains("name=\"next\" value=\"/\""), "{page:?}");
    }
    let odd = "/holds?x=\"><script>alert(1)</script>";
    let query: String = form_urlencoded::byte_serialize(odd.as_bytes()).collect();
    let page = Browser::default().get(&world.url, &format!("/sign-in?next={query}"), From::Nowhere);
    assert!(!page.body.contains("<script>alert"), "{page:?}");
    assert!(page.body.contains("value=\"/holds?x=&quot;&gt;&lt;script&gt;"), "{page:?}");
}

#[test]
fn only_this_console_is_meant() {
    let world = World::open();
    let address = world.url.strip_prefix("http://").unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    let ask = |host: &str, more: &str| {
        let bytes =
            format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
        raw(address, bytes.as_bytes())
    };
    for host in [
        address.to_owned(),
        format!("localhost:{port}"),
        format!("LOCALHOST:{port}"),
        "localhost".to_owned(),
        format!("[::1]:{port}"),
        "127.0.0.1".to_owned(),
    ] {
        assert_eq!(ask(&host, ""), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8701",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "2130706433",
        "evil@localhost",
        "",
    ] {
        assert!([400, 421].contains(&ask(host, "")), "{host}");
    }
    assert_eq!(ask(address, "Host: evil.example\r\n"), 421, "two of them");
    assert_eq!(raw(address, b"GET /healthz HTTP/1.0\r\n\r\n"), 421, "none at all");

    let public = World::with("  public_url: https://approvals.shop.example\n");
    let address = public.url.strip_prefix("http://").unwrap();
    let ask = |host: &str| {
        let bytes = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        raw(address, bytes.as_bytes())
    };
    assert_eq!((ask("approvals.shop.example"), ask("Approvals.shop.example:443")), (200, 200));
    assert_eq!(ask("xapprovals.shop.example"), 421);
    // Behind TLS the cookie is bound to the host and to TLS.
    let mut browser = Browser::default();
    let call = Call::new("POST", "/sign-in")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", "https://approvals.shop.example");
    let call = Call { body: format!("token={}", Who::Ops.token()), ..call };
    let well = browser.send(&public.url, call, From::Same);
    assert_eq!(well.status, 303, "{well:?}");
    let cookie = set_cookie(&well);
    assert!(cookie.starts_with("__Host-tollhouse=") && cookie.ends_with("; Secure"), "{cookie}");
    assert_eq!(browser.get(&public.url, "/v1/holds", From::Same).status, 200);
}

/// The status of what is answered to these bytes.
fn raw(address: &str, bytes: &[u8]) -> u16 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("{text:?}"));
    status.parse().unwrap()
}

#[test]
fn who_guesses_waits_and_who_knows_does_not() {
    let world = World::open();
    let mut browser = Browser::default();
    let mut waits = 0;
    for n in 0..15 {
        let guess = format!("guess-{n:010}");
        let reply = browser.form(&world.url, "/sign-in", &form(&guess, "/"), From::Same);
        assert!([401, 429].contains(&reply.status), "{reply:?}");
        assert!(!reply.body.contains(&guess), "{reply:?}");
        if reply.status == 429 {
            waits += 1;
            let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=6).contains(&seconds), "{reply:?}");
        }
    }
    assert!(waits >= 4, "{waits}");
    let well = browser.form(&world.url, "/sign-in", &form(&Who::Ops.token(), "/"), From::Same);
    assert_eq!(well.status, 303, "the owner of what nobody can guess is not kept out: {well:?}");
    let failed = world.records("sign_in_failed");
    assert!((1..=5).contains(&failed.len()), "{failed:?}");
}

#[test]
fn what_a_browser_gets_says_how_to_treat_it() {
    let world = World::open();
    for target in ["/sign-in", "/sign-in.js", "/v1/holds", "/nothing", "/healthz"] {
        let reply = Call::new("GET", target).send(&world.url).unwrap();
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{target}: {name}");
        }
        assert!(reply.header("permissions-policy").is_some(), "{target}");
        assert!(reply.header("access-control-allow-origin").is_none(), "{target}");
    }
    let page = Call::new("GET", "/sign-in").send(&world.url).unwrap().body;
    assert!(!page.contains("style=") && !page.contains("onclick") && !page.contains("<script>"));
    for secret in ["shop", "orders", "finance", env!("CARGO_PKG_VERSION")] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
}

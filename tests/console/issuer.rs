//! Signing in at a real OpenID provider: the whole flow, and what does not get through it.

use std::process::Command;

use super::browser::{Browser, From, split};
use super::world::World;
use crate::support::agent::{Call, Reply};
use crate::support::house::run;
use crate::support::{Process, free_port, root, tollhouse};

const SECRET: &str = "a-secret-of-the-console: & that needs +coding%";

struct Flow {
    world: World,
    issuer: String,
    _process: Process,
}

impl Flow {
    fn open() -> Self {
        Self::with(SECRET)
    }

    fn with(secret: &str) -> Self {
        let folder = root().join("tests/console/issuer");
        assert!(
            folder.join("node_modules/oidc-provider").is_dir(),
            "oidc-provider is missing: run `./test console`, which installs it"
        );
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new("node");
        command.arg("issuer.mjs").arg(format!("{url}/sign-in/callback")).current_dir(folder);
        let mut process = Process::start("issuer", &mut command);
        let issuer = process.line_with("issuer");
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("client-secret"), secret).unwrap();
        let more = format!(
            "  public_url: {url}\n  claims: {{ tenants: /tenants }}\n  oidc: {{ issuer: \"{issuer}\", \
             client_id: tollhouse-console, client_secret: file:client-secret, scopes: [openid, email, console] }}\n"
        );
        let world = World::in_folder(home, &more, port);
        Self { world, issuer, _process: process }
    }

    /// As far as the issuer sends the browser back: the target of the callback.
    fn until_callback(&self, browser: &mut Browser, person: &str, next: &str) -> String {
        let target = format!("/sign-in/issuer?next={next}");
        let begun = browser.get(&self.world.url, &target, From::Same);
        assert_eq!(begun.status, 303, "{begun:?}");
        let mut at = begun.header("location").unwrap().to_owned();
        for _ in 0..12 {
            let (url, target) = split(&at);
            if url == self.world.url {
                return target;
            }
            let mut reply = browser.get(&url, &target, From::Other);
            if reply.status == 200 {
                reply = self.answered(browser, &reply, person);
            }
            let to = reply.header("location").unwrap_or_else(|| panic!("{reply:?}"));
            at = if to.starts_with('/') { format!("{url}{to}") } else { to.to_owned() };
        }
        panic!("never came back: {at}");
    }

    /// Fills in whatever form the issuer shows.
    fn answered(&self, browser: &mut Browser, page: &Reply, person: &str) -> Reply {
        let action = page.body.split("action=\"").nth(1).unwrap_or_else(|| panic!("{page:?}"));
        let (url, target) = split(action.split('"').next().unwrap());
        let login = page.body.contains("name=\"login\"");
        let fields: &[(&str, &str)] = match login {
            true => &[("prompt", "login"), ("login", person), ("password", "x")],
            false => &[("prompt", "consent")],
        };
        browser.form(&url, &target, fields, From::Same)
    }

    fn session(&self, browser: &mut Browser) -> Reply {
        browser.get(&self.world.url, "/v1/session", From::Same)
    }
}

#[test]
fn a_person_signs_in_at_the_issuer() {
    let flow = Flow::open();
    let url = &flow.world.url;
    let op = flow.world.held("A-1");
    let mut browser = Browser::default();
    let page = browser.get(url, "/sign-in?next=%2Fv1%2Fholds", From::Nowhere);
    let host = "Continue with localhost";
    assert!(page.body.contains(host) && page.body.contains("/sign-in/issuer?next=%2Fv1%2Fholds"));

    let callback = flow.until_callback(&mut browser, "dana", "%2Fv1%2Fholds");
    let (_, pending) = browser.cookie(url, "tollhouse").unwrap();
    // It comes from the issuer's page: only the Lax cookie is there.
    let back = browser.get(url, &callback, From::Other);
    assert_eq!(back.status, 200, "{back:?}");
    assert!(back.body.contains("content=\"0; url=/v1/holds\""), "{back:?}");
    let cookies: Vec<&str> =
        back.headers.iter().filter(|(n, _)| n == "set-cookie").map(|(_, v)| &**v).collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(
        cookies[0].contains("SameSite=Strict") && cookies[1].contains("Max-Age=0"),
        "{cookies:?}"
    );
    // The page that it loads next is loaded by ours.
    let listed = browser.get(url, "/v1/holds", From::Same);
    assert!(listed.status == 200 && listed.body.contains(&op), "{listed:?}");
    let me = flow.session(&mut browser).json();
    assert_eq!(
        (&me["name"], &me["subject"]),
        (&"dana@shop.example".into(), &"dana".into()),
        "{me}"
    );
    assert_eq!(me["tenants"], serde_json::json!(["acme"]));
    assert_eq!(me["roles"], serde_json::json!(["finance", "operator"]));
    let records = flow.world.records("signed_in");
    assert_eq!(
        (&records[0]["by"], &records[0]["note"]),
        (&"dana@shop.example".into(), &"issuer".into())
    );

    // The same answer once more, by the browser that has it all: the code is used up.
    let name = browser.cookie(url, "tollhouse").unwrap().0;
    let mut thief = Browser::default();
    thief.put(url, &format!("{name}-pending"), &pending);
    let again = thief.get(url, &callback, From::Same);
    assert_eq!(again.status, 401, "{again:?}");
    assert_eq!(flow.session(&mut thief).status, 401);

    let mut otto = Browser::default();
    let callback = flow.until_callback(&mut otto, "otto", "%2F");
    assert_eq!(otto.get(url, &callback, From::Other).status, 200);
    let listed = otto.get(url, "/v1/holds", From::Same);
    assert_eq!((listed.status, &*listed.body), (200, "[]"), "another tenant's person");
    assert_eq!(otto.get(url, &format!("/v1/holds/{op}"), From::Same).status, 404);

    // An address that the issuer did not verify is nobody's name.
    let mut vera = Browser::default();
    let callback = flow.until_callback(&mut vera, "vera", "%2F");
    assert_eq!(vera.get(url, &callback, From::Other).status, 200);
    let me = flow.session(&mut vera).json();
    assert_eq!((&me["name"], &me["roles"]), (&"vera".into(), &serde_json::json!([])), "{me}");
}

#[test]
fn a_real_browser_signs_in_there_and_comes_back_from_other_sites() {
    let folder = root().join("tests/console");
    assert!(
        folder.join("node_modules/playwright-core").is_dir(),
        "playwright-core is missing: run `./test console`, which installs it"
    );
    let flow = Flow::open();
    let op = flow.world.held("A-1");
    let mut browser = Command::new("node");
    browser.arg("page/issuer.mjs").args([&flow.world.url, &op]).current_dir(folder);
    let said = run(&mut browser);
    assert_eq!((said.code, said.out.trim()), (0, "well"), "{said:?}");
}

#[test]
fn an_answer_counts_for_the_browser_that_asked_and_for_nobody_else() {
    let flow = Flow::open();
    let url = flow.world.url.clone();
    let mut attacker = Browser::default();
    let theirs = flow.until_callback(&mut attacker, "otto", "%2F");
    // Signed in as somebody else (login CSRF): the victim's browser began nothing, or another sign-in.
    let mut victim = Browser::default();
    let reply = victim.get(&url, &theirs, From::Other);
    assert_eq!((reply.status, flow.session(&mut victim).status), (401, 401), "{reply:?}");
    let own = flow.until_callback(&mut victim, "dana", "%2F");
    let reply = victim.get(&url, &theirs, From::Other);
    assert_eq!((reply.status, flow.session(&mut victim).status), (401, 401), "{reply:?}");
    assert!(victim.cookie(&url, "tollhouse").is_none(), "what began is over");
    // A code injected into a sign-in that the browser did begin: PKCE and nonce are another's.
    let _ = own;
    let own = flow.until_callback(&mut victim, "dana", "%2F");
    let part = |target: &str, name: &str| {
        let at = target.split(&format!("{name}=")).nth(1).unwrap();
        at.split('&').next().unwrap().to_owned()
    };
    let fresh = flow.until_callback(&mut Browser::default(), "otto", "%2F");
    let injected = own.replace(&part(&own, "code"), &part(&fresh, "code"));
    let reply = victim.get(&url, &injected, From::Other);
    assert_eq!((reply.status, flow.session(&mut victim).status), (401, 401), "{reply:?}");

    for edit in [
        |_: &str| "/sign-in/callback".to_owned(),
        |own: &str| own.split("&state").next().unwrap().to_owned(),
        |own: &str| own.replace("state=", "state=x"),
        |own: &str| format!("{own}&state=x"),
        |own: &str| format!("{own}&iss=https%3A%2F%2Fevil.example"),
        |own: &str| own.replace("code=", "error=access_denied&code="),
        |own: &str| own.replace("code=", "code=x"),
    ] {
        let mut browser = Browser::default();
        let own = flow.until_callback(&mut browser, "dana", "%2F");
        let target = edit(&own);
        let reply = browser.get(&url, &target, From::Other);
        assert!([401, 429].contains(&reply.status), "{target}: {reply:?}");
        assert!(!reply.body.contains("evil") && !reply.body.contains("access_denied"), "{reply:?}");
        assert_eq!(flow.session(&mut browser).status, 401, "{target}");
        if reply.status == 429 {
            std::thread::sleep(std::time::Duration::from_secs(6));
        }
    }
    // Where to go then comes from what the browser keeps, sealed: nobody edits it.
    let mut browser = Browser::default();
    let own = flow.until_callback(&mut browser, "dana", "%2F%2Fevil.example");
    let (name, value) = browser.cookie(&url, "tollhouse").unwrap();
    let mut edited = Browser::default();
    let parts: Vec<&str> = value.split('.').collect();
    let next = "L2V2aWw"; // /evil
    edited.put(&url, &name, &[parts[0], parts[1], next, parts[3]].join("."));
    assert!([401, 429].contains(&edited.get(&url, &own, From::Other).status));
    std::thread::sleep(std::time::Duration::from_secs(7));
    let back = browser.get(&url, &own, From::Other);
    assert!(back.status == 200 && back.body.contains("url=/\""), "{back:?}");
    assert!(!flow.world.records("sign_in_failed").is_empty());
}

#[test]
fn check_tries_the_issuer() {
    let mut flow = Flow::open();
    let file = flow.world.house.home.path().join("tollhouse.yaml");
    let check = || run(tollhouse().args(["check", "--connect", "--config"]).arg(&file));
    let said = check();
    let line = format!("well   sign-in at {}: 1 keys", flow.issuer);
    assert!(said.code == 0 && said.out.lines().any(|l| l == line), "{said:?}");
    flow._process.kill();
    let said = check();
    assert!(
        said.code == 1 && said.out.contains(&format!("WRONG  sign-in at {}: ", flow.issuer)),
        "{said:?}"
    );
}

#[test]
fn an_issuer_that_is_not_there_keeps_nobody_else_out() {
    let mut flow = Flow::open();
    flow._process.kill();
    let url = flow.world.url.clone();
    let begun = Browser::default().get(&url, "/sign-in/issuer", From::Same);
    assert_eq!(begun.status, 503, "{begun:?}");
    assert!(!begun.body.contains(&flow.issuer), "{begun:?}");
    let mut browser = flow.world.browser(super::world::Who::Ops);
    assert_eq!(flow.session(&mut browser).status, 200);
}

#[test]
fn a_secret_that_the_issuer_does_not_know_signs_nobody_in() {
    let flow = Flow::with("another secret of the console");
    let mut browser = Browser::default();
    let callback = flow.until_callback(&mut browser, "dana", "%2F");
    let reply = browser.get(&flow.world.url, &callback, From::Other);
    assert_eq!((reply.status, flow.session(&mut browser).status), (401, 401), "{reply:?}");
    let failed = flow.world.records("sign_in_failed");
    assert!(
        failed[0]["note"].as_str().unwrap().contains("token endpoint answered 401"),
        "{failed:?}"
    );
    assert_eq!(Call::new("POST", "/sign-in/callback").send(&flow.world.url).unwrap().status, 401);
}

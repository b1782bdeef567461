//! People whose tokens come with each request: what counts as one, and what only looks it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::browser::{Browser, From};
use super::world::{Who, World};
use crate::identity::{Signer, set};
use crate::support::agent::Call;

const ISSUER: &str = "https://login.shop.example";

struct Issued {
    world: World,
    key: Signer,
    weak: Signer,
}

fn now() -> i64 {
    tollhouse::clock::Clock::System.now().0 / 1_000
}

fn claims(roles: &[&str], tenants: &[&str]) -> Value {
    json!({
        "iss": ISSUER, "aud": "tollhouse-ops", "exp": now() + 600, "iat": now(),
        "sub": "u-17", "email": "dana@shop.example", "roles": roles, "tenants": tenants,
    })
}

impl Issued {
    fn open() -> Self {
        let (key, weak) = (Signer::ed("one"), Signer::rsa("two"));
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("login.json"), set(&[&key, &weak])).unwrap();
        let more = format!(
            "  issuers: [ {{ issuer: {ISSUER}, audience: tollhouse-ops, jwks: file:login.json, algorithms: [EdDSA] }} ]\n  \
             claims: {{ tenants: /tenants }}\n"
        );
        Self { world: World::in_folder(home, &more, 0), key, weak }
    }

    fn status(&self, token: &str, call: Call<'_>) -> u16 {
        call.bearer(token).send(&self.world.url).unwrap().status
    }

    fn lists(&self, token: &str) -> u16 {
        self.status(token, Call::new("GET", "/v1/holds"))
    }
}

#[test]
fn a_persons_token_says_who_they_are_and_what_is_theirs() {
    let issued = Issued::open();
    let world = &issued.world;
    let op = world.held("A-1");
    let own = issued.key.token(&claims(&["finance"], &["acme"]));
    let session = Call::new("GET", "/v1/session").bearer(&own).send(&world.url).unwrap().json();
    assert_eq!(
        (&session["name"], &session["subject"], &session["tenants"], &session["csrf"]),
        (&"dana@shop.example".into(), &"u-17".into(), &json!(["acme"]), &Value::Null)
    );
    let target = format!("/v1/holds/{op}");
    let hold = Call::new("GET", &target).bearer(&own).send(&world.url).unwrap().json();
    let yes = json!({ "digest": hold["digest"] });
    let approve = format!("{target}/approve");
    let say = |token: &str| {
        Call::new("POST", &approve).json(&yes).bearer(token).send(&world.url).unwrap()
    };
    for (what, roles, tenants, status) in [
        ("another tenant's", &["finance"][..], &["other"][..], 404),
        ("no tenant's", &["finance"][..], &[][..], 404),
        ("without the queue's role", &["marketing"][..], &["acme"][..], 403),
        ("without a role", &[][..], &["acme"][..], 403),
    ] {
        let reply = say(&issued.key.token(&claims(roles, tenants)));
        assert_eq!(reply.status, status, "{what}: {reply:?}");
    }
    let mut unbound = claims(&["finance"], &[]);
    unbound.as_object_mut().unwrap().remove("tenants");
    let unbound = issued.key.token(&unbound);
    assert_eq!(say(&unbound).status, 404, "a token that is silent about tenants sees nothing");
    let listed = Call::new("GET", "/v1/holds").bearer(&unbound).send(&world.url).unwrap();
    assert_eq!((listed.status, &*listed.body), (200, "[]"));
    let no_fleet = issued.key.token(&claims(&["operator"], &["acme"]));
    assert_eq!(issued.status(&no_fleet, Call::new("GET", "/v1/config")), 403);
    let anywhere = json!({ "scope": ["all"], "reason": "x" });
    let freeze = Call::new("POST", "/v1/freezes").json(&anywhere);
    assert_eq!(issued.status(&no_fleet, freeze), 403, "a freeze beyond their tenants");
    assert_eq!(say(&own).status, 200);
    let approved = world.records("approved");
    assert_eq!(approved[0]["by"], "dana@shop.example", "{approved:?}");

    // A code of theirs makes a session that ends with the token it was asked for with.
    let mut short = claims(&["finance"], &["acme"]);
    short["exp"] = json!(now() + 3);
    let short = issued.key.token(&short);
    let code = Call::new("POST", "/v1/sign-in-codes").json(&json!({})).bearer(&short);
    let code = code.send(&world.url).unwrap().json()["code"].as_str().unwrap().to_owned();
    let mut browser = Browser::default();
    let well = browser.form(&world.url, "/sign-in", &[("token", &code)], From::Same);
    assert_eq!(well.status, 303, "{well:?}");
    assert_eq!(browser.get(&world.url, "/v1/holds", From::Same).status, 200);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(browser.get(&world.url, "/v1/holds", From::Same).status, 401);
    assert_eq!(issued.lists(&short), 401, "expired");
}

#[test]
fn what_only_looks_like_a_persons_token_is_nobody() {
    let issued = Issued::open();
    let good = claims(&["finance"], &["acme"]);
    assert_eq!(issued.lists(&issued.key.token(&good)), 200);
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        issued.key.token(&claims)
    };
    let own = issued.key.token(&good);
    let mut parts = own.split('.');
    let (head, body, signature) =
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let jwk = issued.key.jwk();
    let public = jwk["x"].as_str().unwrap();
    let hmac = |secret: &[u8]| {
        let message = format!("{}.{body}", b64(r#"{"alg":"HS256","typ":"JWT","kid":"one"}"#));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
        format!("{message}.{tag}")
    };
    for (what, token) in [
        ("expired", but("exp", json!(now() - 1))),
        ("without an end", but("exp", Value::Null)),
        ("for somebody else", but("aud", json!("tollhouse"))),
        ("without an audience", but("aud", Value::Null)),
        ("another issuer's", but("iss", json!("https://evil.example"))),
        ("not yet", but("nbf", json!(now() + 600))),
        ("an agent's", but("act", json!({ "sub": "support-bot" }))),
        ("nobody's", but("sub", Value::Null)),
        ("with roles that are none", but("roles", json!({ "finance": true }))),
        ("unsigned", format!("{}.{body}.", b64(r#"{"alg":"none"}"#))),
        ("unsigned, kept signature", format!("{}.{body}.{signature}", b64(r#"{"alg":"none"}"#))),
        ("by another algorithm of the same set", issued.weak.token(&good)),
        ("by the public key as a secret", hmac(&URL_SAFE_NO_PAD.decode(public).unwrap())),
        ("by the public key's text as a secret", hmac(public.as_bytes())),
        ("by somebody else", Signer::ed("one").token(&good)),
        ("by a key that is not there", Signer::ed("three").token(&good)),
        ("with its own key", {
            let head = json!({ "alg": "EdDSA", "kid": "one", "jwk": Signer::ed("one").jwk() });
            Signer::ed("one").raw(&head.to_string(), &good.to_string())
        }),
        ("cut", format!("{head}.{body}.{}", &signature[..20])),
        ("other claims", {
            let more = claims(&["finance", "operator"], &["acme", "other"]);
            format!("{head}.{}.{signature}", b64(&more.to_string()))
        }),
        ("an agent's of ours", issued.world.house.token().to_owned()),
    ] {
        let reply = Call::new("GET", "/v1/holds").bearer(&token).send(&issued.world.url).unwrap();
        assert_eq!(reply.status, 401, "{what}: {reply:?}");
        assert_eq!(reply.json()["detail"], "no valid operator token", "{what}");
    }
    assert_eq!(issued.lists(&own), 200);
    assert_eq!(issued.world.ask(Who::Ops, Call::new("GET", "/v1/holds")).status, 200);
    let failed = issued.world.records("sign_in_failed");
    assert!(!failed.is_empty() && !format!("{failed:?}").contains(body), "{failed:?}");
}

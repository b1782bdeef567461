//! Tokens against real signatures: what counts, what does not, and what an issuer may do meanwhile.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{self as sign, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tollhouse::action::AuthPlace;
use tollhouse::call::{AccountClaim, Caller, Consent};
use tollhouse::clock::{Clock, Timestamp};
use tollhouse::identity::{
    self, Algorithm, Config, Development, Fetch, IdToken, Identity, Issuer, KeySource, People,
    PersonPlaces,
};
use tollhouse::refusal::{Code, Refusal};
use tollhouse::value::Value;
use tollhouse::yaml::{self, Faults};

const ISSUER: &str = "https://id.shop.example";
const NOW: i64 = 1_772_366_400; // 2026-03-01T12:00:00Z

/// A key that can sign, and its public half.
pub struct Signer {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(sign::RsaKeyPair),
    Ec(sign::EcdsaKeyPair),
    Ed(sign::Ed25519KeyPair),
}

impl Signer {
    pub fn rsa(kid: &str) -> Self {
        let pair = sign::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        Self { kid: kid.into(), pair: Pair::Rsa(pair) }
    }

    pub fn ec(kid: &str) -> Self {
        let pair = sign::EcdsaKeyPair::generate(&sign::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.into(), pair: Pair::Ec(pair) }
    }

    pub fn ed(kid: &str) -> Self {
        Self { kid: kid.into(), pair: Pair::Ed(sign::Ed25519KeyPair::generate().unwrap()) }
    }

    fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    pub fn jwk(&self) -> Json {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let parts = sign::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "kid": self.kid, "use": "sig", "n": b64(&parts.n), "e": b64(&parts.e) })
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": b64(&point[1..33]), "y": b64(&point[33..]) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": b64(pair.public_key().as_ref()) })
            }
        }
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&sign::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut out).unwrap();
                out
            }
            Pair::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        }
    }

    fn head(&self) -> Json {
        json!({ "alg": self.alg(), "typ": "JWT", "kid": self.kid })
    }

    /// Signs these two texts as they stand.
    pub fn raw(&self, head: &str, claims: &str) -> String {
        let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", b64(head), b64(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&message));
        format!("{message}.{signature}")
    }

    pub fn token(&self, claims: &Json) -> String {
        self.raw(&self.head().to_string(), &claims.to_string())
    }
}

pub fn set(keys: &[&Signer]) -> String {
    json!({ "keys": keys.iter().map(|k| k.jwk()).collect::<Vec<_>>() }).to_string()
}

fn claims() -> Json {
    json!({ "iss": ISSUER, "aud": "tollhouse", "exp": NOW + 600, "iat": NOW, "sub": "cus_9",
            "act": { "sub": "support-bot" } })
}

/// The usual claims with these put over them; `null` takes one away.
fn claims_but(changes: Json) -> Json {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// An issuer's address whose answer can be changed, and that counts how often it was asked.
#[derive(Clone)]
struct Wire {
    answer: Arc<Mutex<Result<String, String>>>,
    asked: Arc<AtomicUsize>,
}

impl Wire {
    fn answering(text: String) -> Self {
        Self { answer: Arc::new(Mutex::new(Ok(text))), asked: Arc::default() }
    }

    fn says(&self, answer: Result<String, &str>) {
        *self.answer.lock() = answer.map_err(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn fetch(&self) -> Fetch {
        let own = self.clone();
        Arc::new(move |url| {
            assert_eq!(url, "https://id.shop.example/jwks.json", "only the configured address");
            own.asked.fetch_add(1, Ordering::SeqCst);
            let answer = own.answer.lock().clone().map(Bytes::from);
            Box::pin(async move {
                // An answer takes its time: others come while it is on its way.
                tokio::task::yield_now().await;
                answer
            })
        })
    }
}

struct Bench {
    identity: Identity,
    wire: Wire,
    clock: Clock,
}

fn issuer() -> Issuer {
    Issuer {
        issuer: ISSUER.into(),
        audience: vec!["tollhouse".into()],
        keys: KeySource::Url("https://id.shop.example/jwks.json".into()),
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
        single_use: false,
    }
}

fn bench_of(issuer: Issuer, keys: &[&Signer]) -> Bench {
    let clock = Clock::by_hand(Timestamp::from_seconds(NOW));
    let wire = Wire::answering(set(keys));
    let mut config = Config::development("/nowhere".into());
    config.issuers = vec![issuer];
    let identity = Identity::new(config, wire.fetch(), clock.clone(), None);
    Bench { identity, wire, clock }
}

fn bench(keys: &[&Signer]) -> Bench {
    bench_of(issuer(), keys)
}

impl Bench {
    async fn ask(&self, headers: &[(&str, &str)]) -> Result<Arc<Caller>, Refusal> {
        let place = AuthPlace::Bearer;
        self.identity.verify(&header_map(headers), &place, &Value::Map(vec![]), None).await
    }

    async fn bearer(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        self.ask(&[("authorization", &format!("Bearer {token}"))]).await
    }
}

fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Lets background refreshes finish.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_token_of_each_family_names_its_caller() {
    run(async {
        for key in [Signer::rsa("r"), Signer::ec("e"), Signer::ed("d")] {
            let bench = bench(&[&key]);
            let said = claims_but(json!({
                "aud": ["other", "tollhouse"], "tid": "eu", "account": { "stripe": "cus_S" }, "roles": ["admin"],
                "trust": "A4", "consent": { "exp": NOW + 60 }, "auth_time": NOW - 5, "email": "a@b.example",
                "email_verified": true, "jti": "j1",
                "authorization_details": [ { "type": "tollhouse", "actions": ["stripe.refund.create"] }, { "type": "other" } ]
            }));
            let caller = bench.bearer(&key.token(&said)).await.unwrap();
            assert_eq!(
                (&*caller.agent, caller.customer.as_deref()),
                ("support-bot", Some("cus_9"))
            );
            assert_eq!((&*caller.tenant, &*caller.issuer), ("eu", ISSUER));
            assert_eq!(
                caller.account,
                AccountClaim::ByUpstream(vec![("stripe".into(), "cus_S".into())])
            );
            assert_eq!((caller.roles.clone(), caller.trust), (vec!["admin".into()], Some(4)));
            assert_eq!(caller.consent_until, Consent::Until(Timestamp::from_seconds(NOW + 60)));
            assert_eq!(caller.auth_time, Some(Timestamp::from_seconds(NOW - 5)));
            assert_eq!(caller.contacts, vec![Box::<str>::from("a@b.example")]);
            assert_eq!(caller.expires, Timestamp::from_seconds(NOW + 600));
            assert_eq!(caller.jti.as_deref(), Some("j1"));
            assert_eq!(caller.narrowed, Some(vec!["stripe.refund.create".into()]));
        }
    });
}

#[test]
fn what_a_token_does_not_say_is_absent() {
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        let said = claims_but(json!({ "sub": null, "email": "a@b.example" }));
        let caller = bench.bearer(&key.token(&said)).await.unwrap();
        assert_eq!(caller.customer, None);
        assert_eq!(caller.account, AccountClaim::Absent);
        assert_eq!(caller.consent_until, Consent::Absent);
        assert_eq!((&*caller.tenant, caller.trust, caller.narrowed.clone()), ("", None, None));
        assert!(caller.contacts.is_empty(), "an address nobody verified is none");
    });
}

/// WIRE.md, the claims: each of these is a token that its issuer signed.
#[test]
fn a_signed_token_that_says_it_wrongly_is_refused() {
    let exp = NOW + 600;
    let cases = [
        ("exp absent", json!({ "exp": null }), "no `exp`"),
        ("exp a string", json!({ "exp": exp.to_string() }), "`exp` is no whole number"),
        ("exp a list", json!({ "exp": [exp] }), "`exp` is no whole number"),
        ("exp negative", json!({ "exp": -1 }), "`exp` is no whole number"),
        ("exp past", json!({ "exp": NOW }), "expired"),
        ("exp far", json!({ "exp": NOW + 400 * 86_400 }), "more than a year"),
        ("exp in milliseconds", json!({ "exp": exp * 1000 }), "`exp` is no whole number"),
        ("exp beyond", json!({ "exp": 9_007_199_254_740_993_i64 }), "`exp` is no whole number"),
        ("nbf later", json!({ "nbf": NOW + 120 }), "`nbf`"),
        ("nbf a string", json!({ "nbf": NOW.to_string() }), "`nbf` is no whole number"),
        ("iat later", json!({ "iat": NOW + 120 }), "`iat`"),
        ("iat a bool", json!({ "iat": true }), "`iat` is no whole number"),
        ("aud absent", json!({ "aud": null }), "no `aud`"),
        ("aud other", json!({ "aud": "shop" }), "another audience"),
        ("aud empty", json!({ "aud": [] }), "another audience"),
        ("aud mixed", json!({ "aud": ["tollhouse", 1] }), "`aud` is no text"),
        ("aud case", json!({ "aud": "Tollhouse" }), "another audience"),
        ("iss absent", json!({ "iss": null }), "no issuer that is trusted"),
        ("iss other", json!({ "iss": "https://id.evil.example" }), "no issuer that is trusted"),
        ("iss with a slash", json!({ "iss": format!("{ISSUER}/") }), "no issuer that is trusted"),
        ("iss a list", json!({ "iss": [ISSUER] }), "no issuer that is trusted"),
        ("act absent", json!({ "act": null }), "names no agent"),
        ("act a text", json!({ "act": "support-bot" }), "names no agent"),
        ("act empty", json!({ "act": { "sub": "" } }), "`agent` is empty"),
        ("act a number", json!({ "act": { "sub": 7 } }), "`agent` is no text"),
        ("sub a number", json!({ "sub": 7 }), "`sub` is no text"),
        ("sub with a line", json!({ "sub": "cus_9\nx" }), "`sub` is empty"),
        ("tenant a list", json!({ "tid": ["a"] }), "`tenant` is no text"),
        ("account a number", json!({ "account": 7 }), "`account` is no text"),
        ("account of numbers", json!({ "account": { "stripe": 7 } }), "`account` is no text"),
        ("roles of numbers", json!({ "roles": [1] }), "`roles` is no text"),
        ("trust too high", json!({ "trust": 5 }), "`trust` is no level"),
        ("trust a fraction", json!({ "trust": 3.5 }), "`trust` is no level"),
        ("consent a text", json!({ "consent": { "exp": "never" } }), "`consent_until`"),
        ("sign-in to come", json!({ "auth_time": NOW + 3600 }), "`auth_time`"),
        ("details a text", json!({ "authorization_details": "all" }), "`authorization_details`"),
        (
            "details restrict by what is not known",
            json!({ "authorization_details": [ { "type": "tollhouse", "actions": ["a"], "max": 5 } ] }),
            "restricts by `max`",
        ),
    ];
    run(async {
        let key = Signer::ec("k");
        let bench = bench(&[&key]);
        bench.bearer(&key.token(&claims())).await.unwrap();
        for (what, changes, why) in cases {
            let refusal = bench.bearer(&key.token(&claims_but(changes))).await.expect_err(what);
            assert_eq!(refusal.code, Code::Unauthenticated, "{what}");
            assert!(refusal.why.contains(why), "{what}: {}", refusal.why);
            assert!(!refusal.detail.contains(&refusal.why), "{what}: the agent is not told");
            let challenge = refusal.challenge.unwrap();
            assert!(challenge.starts_with("Bearer ") && challenge.contains("invalid_token"));
        }
    });
}

/// WIRE.md, the texts: what JSON cannot say twice, or says in another way.
#[test]
fn a_signed_token_that_two_readers_read_differently_is_refused() {
    let good = claims().to_string();
    let with = |extra: &str| format!("{{{extra},{}", good.strip_prefix('{').unwrap());
    let no_exp = claims_but(json!({ "exp": null })).to_string();
    let exp = |text: &str| format!("{{\"exp\":{text},{}", no_exp.strip_prefix('{').unwrap());
    let deep = format!("\"d\":{}{}", "[".repeat(60), "]".repeat(60));
    let wide: Vec<String> = (0..200).map(|n| format!("\"m{n}\":0")).collect();
    let cases = [
        ("float", exp("1772367000.0"), "`exp` is no whole number"),
        ("exponent", exp("1.772367e9"), "`exp` is no whole number"),
        ("1e400", exp("1e400"), "does not read"),
        ("10^20", exp("100000000000000000000"), "`exp` is no whole number"),
        ("same name twice", with("\"sub\":\"cus_1\""), "twice"),
        ("escaped name twice", with("\"\\u0073ub\":\"cus_1\""), "twice"),
        ("deep name twice", with("\"x\":{\"a\":1,\"a\":2}"), "twice"),
        ("two documents", format!("{good}{good}"), "does not read"),
        ("a list", format!("[{good}]"), "no object"),
        ("byte order mark", format!("\u{feff}{good}"), "does not read"),
        ("lone surrogate", with("\"x\":\"\\ud800\""), "does not read"),
        ("too deep", with(&deep), "too deep"),
        ("too wide", with(&wide.join(",")), "too many members"),
    ];
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        let head = key.head().to_string();
        bench.bearer(&key.raw(&head, &good)).await.unwrap();
        for (what, text, why) in cases {
            let refusal = bench.bearer(&key.raw(&head, &text)).await.expect_err(what);
            assert_eq!(refusal.code, Code::Unauthenticated, "{what}");
            assert!(refusal.why.contains(why), "{what}: {}", refusal.why);
        }
    });
}

/// WIRE.md, the header: algorithms, key names, keys that a token brings along.
#[test]
fn a_header_decides_nothing() {
    run(async {
        let (key, rsa, other) = (Signer::ec("k"), Signer::rsa("r"), Signer::ec("k"));
        let bench = bench(&[&key, &rsa]);
        let said = claims().to_string();
        let head = |changes: Json| {
            let mut head = key.head();
            for (name, value) in changes.as_object().unwrap() {
                head[name] = value.clone();
            }
            head.to_string()
        };
        for (what, head, why) in [
            ("typ of an ID token", head(json!({ "typ": "id+jwt" })), "no access token"),
            ("typ of a log-out", head(json!({ "typ": "logout+jwt" })), "no access token"),
            ("typ a number", head(json!({ "typ": 1 })), "`typ` is not a text"),
            ("critical", head(json!({ "crit": ["b64"], "b64": false })), "`crit`"),
            ("nested", head(json!({ "cty": "JWT" })), "a token within"),
            ("kid a path", head(json!({ "kid": "../../etc/passwd" })), "does not have (`kid`)"),
            (
                "kid a URL",
                head(json!({ "kid": "https://evil.example/k" })),
                "does not have (`kid`)",
            ),
            ("kid a query", head(json!({ "kid": "k' OR '1'='1" })), "does not have (`kid`)"),
            ("kid a number", head(json!({ "kid": 7 })), "`kid` is not a text"),
            ("kid long", head(json!({ "kid": "k".repeat(300) })), "too long"),
            ("another key of its kid", key.head().to_string(), "the signature does not match"),
            ("RS256 with the EC key", head(json!({ "alg": "RS256" })), "does not have (`kid`)"),
            ("alg of another case", head(json!({ "alg": "es256" })), "an algorithm that"),
            ("alg of no list", head(json!({ "alg": "ES384" })), "an algorithm that"),
            ("alg absent", json!({ "kid": "k" }).to_string(), "names no `alg`"),
            ("duplicate alg", "{\"alg\":\"none\",\"alg\":\"ES256\"}".to_owned(), "twice"),
        ] {
            let signer = if what.starts_with("another key") { &other } else { &key };
            let refusal = bench.bearer(&signer.raw(&head, &said)).await.expect_err(what);
            assert_eq!(refusal.code, Code::Unauthenticated, "{what}");
            assert!(refusal.why.contains(why), "{what}: {}", refusal.why);
        }
        // The key that a token brings along is not looked at: it neither helps nor harms.
        for name in ["jku", "x5u", "jwk", "x5c"] {
            let value =
                if name == "jwk" { other.jwk() } else { json!("https://evil.example/jwks") };
            bench.bearer(&key.raw(&head(json!({ name: value })), &said)).await.unwrap();
            bench.bearer(&other.raw(&head(json!({ name: value })), &said)).await.unwrap_err();
        }
        for name in ["at+jwt", "JWT", "application/at+jwt", "jwt"] {
            bench.bearer(&key.raw(&head(json!({ "typ": name })), &said)).await.unwrap();
        }
    });
}

#[test]
fn none_and_shared_secrets_do_not_exist() {
    run(async {
        let rsa = Signer::rsa("r");
        let bench = bench(&[&rsa]);
        let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let said = claims().to_string();
        bench.bearer(&rsa.token(&claims())).await.unwrap();
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let head = b64(&json!({ "alg": alg, "kid": "r" }).to_string());
            for signature in ["", "AAAA"] {
                let token = format!("{head}.{}.{signature}", b64(&said));
                let refusal = bench.bearer(&token).await.unwrap_err();
                assert!(refusal.why.contains("an algorithm that"), "{alg}: {}", refusal.why);
            }
        }
        // The RSA public key as the secret of an HMAC, as DER and as the JWK's own text.
        let Pair::Rsa(pair) = &rsa.pair else { unreachable!() };
        for secret in [pair.public_key().as_ref().to_vec(), rsa.jwk().to_string().into_bytes()] {
            let message = format!(
                "{}.{}",
                b64(&json!({ "alg": "HS256", "kid": "r" }).to_string()),
                b64(&said)
            );
            let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
            let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&hmac, message.as_bytes()));
            let refusal = bench.bearer(&format!("{message}.{signature}")).await.unwrap_err();
            assert!(refusal.why.contains("an algorithm that"), "{}", refusal.why);
        }
    });
}

#[test]
fn one_changed_byte_breaks_a_token() {
    run(async {
        let key = Signer::ec("k");
        let bench = bench(&[&key]);
        let token = key.token(&claims());
        bench.bearer(&token).await.unwrap();
        let mut broken = 0;
        for at in (0..token.len()).filter(|at| token.as_bytes()[*at] != b'.') {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(bench.bearer(&changed).await.is_err(), "byte {at}");
            broken += 1;
        }
        assert!(broken > 200);
        // A token is not its own longer spelling either.
        for changed in [format!("{token}="), format!("{token}.x"), token.replace('.', ". ")] {
            assert!(bench.bearer(&changed).await.is_err(), "{changed}");
        }
    });
}

#[test]
fn a_token_is_taken_from_each_place_and_from_one_only() {
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        let (one, two) = (key.token(&claims()), key.token(&claims_but(json!({ "sub": "cus_1" }))));
        let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
        let own = AuthPlace::Header(HeaderName::from_static("x-api-key"));
        let query = AuthPlace::Query("key".into());
        let asked = Value::Map(vec![("key".into(), Value::Text(one.as_str().into()))]);
        let nothing = Value::Map(vec![]);
        let bearer = format!("bearer {one}");
        for (what, place, query, headers) in [
            ("bearer", &AuthPlace::Bearer, &nothing, vec![("authorization", bearer.clone())]),
            (
                "user",
                &AuthPlace::Bearer,
                &nothing,
                vec![("authorization", basic(format!("{one}:")))],
            ),
            (
                "password",
                &AuthPlace::Basic,
                &nothing,
                vec![("authorization", basic(format!("AC12:{one}")))],
            ),
            ("own header", &own, &nothing, vec![("x-api-key", one.clone())]),
            ("query", &query, &asked, vec![]),
            (
                "ours",
                &AuthPlace::Bearer,
                &nothing,
                vec![
                    ("tollhouse-authorization", bearer.clone()),
                    ("authorization", "Bearer sk_test_1".into()),
                ],
            ),
            (
                "the same twice",
                &own,
                &nothing,
                vec![("authorization", bearer.clone()), ("x-api-key", one.clone())],
            ),
        ] {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let caller = bench.identity.verify(&header_map(&headers), place, query, None).await;
            assert_eq!(caller.expect(what).customer.as_deref(), Some("cus_9"), "{what}");
        }
        let other = format!("Bearer {two}");
        for (what, place, headers, code) in [
            (
                "two lines",
                &AuthPlace::Bearer,
                vec![("authorization", bearer.clone()), ("authorization", bearer.clone())],
                Code::Ambiguous,
            ),
            (
                "two tokens",
                &AuthPlace::Bearer,
                vec![("authorization", bearer.clone()), ("tollhouse-authorization", other.clone())],
                Code::Ambiguous,
            ),
            (
                "two halves",
                &AuthPlace::Basic,
                vec![("authorization", basic(format!("{one}:{two}")))],
                Code::Ambiguous,
            ),
            (
                "own header and another",
                &own,
                vec![("authorization", bearer.clone()), ("x-api-key", two.clone())],
                Code::Ambiguous,
            ),
            ("none", &AuthPlace::Bearer, vec![], Code::Unauthenticated),
            (
                "a vendor's key",
                &AuthPlace::Bearer,
                vec![("authorization", "Bearer sk_live_1".into())],
                Code::Unauthenticated,
            ),
            (
                "another scheme",
                &AuthPlace::Bearer,
                vec![("authorization", format!("Token {one}"))],
                Code::Unauthenticated,
            ),
            (
                "in a header of another pack",
                &AuthPlace::Bearer,
                vec![("x-api-key", one.clone())],
                Code::Unauthenticated,
            ),
        ] {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let found = bench.identity.verify(&header_map(&headers), place, &nothing, None).await;
            assert_eq!(found.expect_err(what).code, code, "{what}");
        }
        let headers = header_map(&[("authorization", &other)]);
        let found = bench.identity.verify(&headers, &query, &asked, None);
        assert_eq!(found.await.unwrap_err().code, Code::Ambiguous);
        // RFC 6750 s3.1: without a token there is no error to name.
        let refusal = bench.ask(&[]).await.unwrap_err();
        assert_eq!(refusal.challenge.as_deref(), Some("Bearer realm=\"tollhouse\""));
    });
}

#[test]
fn a_customers_own_token_counts_when_it_names_the_agent() {
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        let agent = json!({ "iss": ISSUER, "aud": "tollhouse", "exp": NOW + 600, "sub": "support-bot", "trust": 3,
            "authorization_details": [ { "type": "tollhouse", "actions": ["a", "b"] } ] });
        let agent_alone = key.token(&agent);
        let customer = json!({ "iss": ISSUER, "aud": "tollhouse", "exp": NOW + 300, "sub": "cus_9", "tid": "eu",
            "may_act": { "sub": "support-bot" }, "trust": 4, "roles": "admin",
            "authorization_details": [ { "type": "tollhouse", "actions": ["b", "c"] } ] });
        let ask = |agent: String, customer: Json| {
            let bench = &bench;
            let (agent, customer) = (format!("Bearer {agent}"), key.token(&customer));
            async move {
                bench.ask(&[("authorization", &agent), ("tollhouse-customer", &customer)]).await
            }
        };
        let caller = ask(agent_alone.clone(), customer.clone()).await.unwrap();
        assert_eq!((&*caller.agent, caller.customer.as_deref()), ("support-bot", Some("cus_9")));
        assert_eq!((&*caller.tenant, caller.trust), ("eu", Some(3)), "trust is the agent's");
        assert_eq!(caller.narrowed, Some(vec!["b".into()]));
        assert_eq!(caller.expires, Timestamp::from_seconds(NOW + 300));
        ask(key.token(&claims()), customer.clone()).await.unwrap();

        let but = |name: &str, value: Json| {
            let mut other = customer.clone();
            other[name] = value;
            other
        };
        for (what, agent, customer, why) in [
            (
                "another agent",
                agent_alone.clone(),
                but("may_act", json!({ "sub": "night-bot" })),
                "does not name",
            ),
            ("nobody", agent_alone.clone(), but("may_act", json!(null)), "`may_act` is no object"),
            (
                "an agent's token",
                agent_alone.clone(),
                but("act", json!({ "sub": "support-bot" })),
                "an agent's",
            ),
            (
                "another person",
                key.token(&claims_but(json!({ "sub": "cus_1" }))),
                customer.clone(),
                "two customers",
            ),
            (
                "another tenant",
                key.token(&claims_but(json!({ "tid": "us" }))),
                customer.clone(),
                "two tenants",
            ),
            ("over", agent_alone.clone(), but("exp", json!(NOW)), "expired"),
        ] {
            let refusal = ask(agent, customer).await.expect_err(what);
            assert!(refusal.why.contains(why), "{what}: {}", refusal.why);
        }
        let refusal = bench.bearer(&agent_alone).await.unwrap_err();
        assert!(refusal.why.contains("names no agent"), "alone it needs `act`");
        let garbage = [
            ("authorization", &*format!("Bearer {}", key.token(&claims()))),
            ("tollhouse-customer", "x"),
        ];
        assert_eq!(bench.ask(&garbage).await.unwrap_err().code, Code::Unauthenticated);
    });
}

#[test]
fn a_large_token_costs_nothing() {
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        let token = key.token(&claims_but(json!({ "x": "y".repeat(9000) })));
        let refusal = bench.bearer(&token).await.unwrap_err();
        assert_eq!(refusal.code, Code::HeaderTooLarge);
        assert_eq!(bench.wire.asked(), 0, "nobody was asked for keys");
    });
}

#[test]
fn a_verified_token_is_remembered_until_it_ends() {
    run(async {
        let key = Signer::rsa("k");
        let bench = bench(&[&key]);
        let token = key.token(&claims());
        let first = bench.bearer(&token).await.unwrap();
        let again = bench.bearer(&token).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again), "remembered");
        bench.identity.forget(1);
        let after = bench.bearer(&token).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &after), "forgotten with its epoch");
        bench.clock.turn(Duration::from_secs(301));
        let later = bench.bearer(&token).await.unwrap();
        assert!(!Arc::ptr_eq(&after, &later), "five minutes at most");
        bench.clock.turn(Duration::from_secs(298));
        bench.bearer(&token).await.unwrap();
        bench.clock.turn(Duration::from_secs(1));
        let refusal = bench.bearer(&token).await.unwrap_err();
        assert!(refusal.why.contains("expired"), "never past its end: {}", refusal.why);
    });
}

#[test]
fn keys_change_without_a_restart() {
    run(async {
        let (old, new) = (Signer::ec("2026-02"), Signer::ec("2026-03"));
        let bench = bench(&[&old]);
        let (first, second) = (old.token(&claims()), new.token(&claims()));
        bench.bearer(&first).await.unwrap();
        assert_eq!(bench.wire.asked(), 1);
        bench.wire.says(Ok(set(&[&new])));
        bench.bearer(&second).await.unwrap_err();
        assert_eq!(bench.wire.asked(), 1, "not twice within ten seconds");
        bench.clock.turn(Duration::from_secs(11));
        bench.bearer(&second).await.unwrap();
        assert_eq!(bench.wire.asked(), 2, "an unknown name asks at once");
        let refusal = bench.bearer(&first).await.unwrap_err();
        assert!(refusal.why.contains("does not have"), "the old key is gone: {}", refusal.why);
    });
}

#[test]
fn a_withdrawn_key_is_noticed_by_age() {
    run(async {
        let (kept, gone) = (Signer::ec("a"), Signer::ec("b"));
        let bench = bench(&[&kept, &gone]);
        let long = json!({ "exp": NOW + 7200 });
        let (good, bad) = (kept.token(&claims_but(long.clone())), gone.token(&claims_but(long)));
        bench.bearer(&good).await.unwrap();
        bench.bearer(&bad).await.unwrap();
        bench.wire.says(Ok(set(&[&kept])));
        bench.clock.turn(Duration::from_secs(299));
        bench.bearer(&bad).await.unwrap();
        bench.clock.turn(Duration::from_secs(2));
        bench.bearer(&good).await.unwrap();
        settle().await;
        assert_eq!(bench.wire.asked(), 2, "asked once in the background");
        bench.bearer(&bad).await.unwrap_err();
        bench.bearer(&good).await.unwrap();
    });
}

#[test]
fn a_flood_of_unknown_names_asks_the_issuer_hardly_ever() {
    run(async {
        let (key, stranger) = (Signer::ed("k"), Signer::ed("x"));
        let bench = bench(&[&key]);
        bench.bearer(&key.token(&claims())).await.unwrap();
        let unknown = |kid: &str| {
            let head = json!({ "alg": "EdDSA", "kid": kid }).to_string();
            stranger.raw(&head, &claims().to_string())
        };
        for second in 0..60 {
            for n in 0..20 {
                let refusal = bench.bearer(&unknown(&format!("{second}-{n}"))).await.unwrap_err();
                assert_eq!(refusal.code, Code::Unauthenticated);
            }
            bench.clock.turn(Duration::from_secs(1));
        }
        assert!(bench.wire.asked() <= 7, "1200 names, {} requests", bench.wire.asked());
        // One name, again and again: not even that often.
        let asked = bench.wire.asked();
        bench.clock.turn(Duration::from_secs(20));
        let same = unknown("one");
        for _ in 0..59 {
            bench.bearer(&same).await.unwrap_err();
            bench.clock.turn(Duration::from_secs(1));
        }
        assert_eq!(bench.wire.asked(), asked + 1, "a minute long");
    });
}

#[test]
fn an_issuer_that_is_down_is_forgiven_for_an_hour() {
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        let token = key.token(&claims_but(json!({ "exp": NOW + 86_400 })));
        bench.bearer(&token).await.unwrap();
        bench.wire.says(Err("connection refused"));
        for _ in 0..64 {
            bench.clock.turn(Duration::from_secs(60));
            bench.bearer(&token).await.unwrap();
            settle().await;
        }
        assert_eq!(bench.identity.failing().len(), 1);
        assert!(bench.identity.without_keys().is_empty(), "its last word counts for an hour");
        bench.clock.turn(Duration::from_secs(120));
        let refusal = bench.bearer(&token).await.unwrap_err();
        assert_eq!(refusal.code, Code::Undecidable, "then nobody is believed");
        assert!(refusal.why.contains("connection refused"), "{}", refusal.why);
        assert_eq!(bench.identity.without_keys().len(), 1);
        bench.wire.says(Ok(set(&[&key])));
        bench.clock.turn(Duration::from_secs(2));
        bench.bearer(&token).await.unwrap();
        assert!(bench.identity.failing().is_empty());
        bench.clock.turn(Duration::from_secs(7_200));
        assert!(bench.identity.without_keys().is_empty(), "nobody needed it: no failure");
    });
}

#[test]
fn without_any_keys_a_call_is_undecidable_and_the_issuer_is_left_in_peace() {
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        for answer in [Err("no route"), Ok("<html>".to_owned()), Ok("{\"keys\":7}".to_owned())] {
            bench.wire.says(answer);
            let before = bench.wire.asked();
            for _ in 0..10 {
                let refusal = bench.bearer(&key.token(&claims())).await.unwrap_err();
                assert_eq!(refusal.code, Code::Undecidable);
                assert!(refusal.retry_after.is_some());
            }
            assert_eq!(bench.wire.asked(), before + 1);
            bench.clock.turn(Duration::from_secs(2));
        }
    });
}

#[test]
fn many_calls_at_the_start_ask_once() {
    run(async {
        let key = Arc::new(Signer::ed("k"));
        let bench = Arc::new(bench(&[&key]));
        let calls: Vec<_> = (0..64)
            .map(|n| {
                let (bench, key) = (Arc::clone(&bench), Arc::clone(&key));
                tokio::spawn(async move {
                    let said = claims_but(json!({ "sub": format!("cus_{n}") }));
                    bench.bearer(&key.token(&said)).await.unwrap()
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(bench.wire.asked(), 1);
    });
}

#[test]
fn keys_for_other_uses_do_not_sign() {
    run(async {
        let key = Signer::ed("k");
        let said = key.token(&claims());
        for (name, value) in [
            ("use", json!("enc")),
            ("key_ops", json!(["sign"])),
            ("alg", json!("ES256")),
            ("kty", json!("oct")),
        ] {
            let bench = bench(&[]);
            let mut jwk = key.jwk();
            jwk[name] = value;
            bench.wire.says(Ok(json!({ "keys": [jwk] }).to_string()));
            let refusal = bench.bearer(&said).await.unwrap_err();
            assert!(refusal.why.contains("does not have"), "{name}: {}", refusal.why);
        }
    });
}

#[test]
fn a_key_needs_no_name_when_the_token_names_none() {
    run(async {
        let (one, two) = (Signer::ec("a"), Signer::ec("b"));
        let bench = bench(&[&one, &two]);
        let nameless = two.raw(&json!({ "alg": "ES256" }).to_string(), &claims().to_string());
        bench.bearer(&nameless).await.unwrap();
        let stranger = Signer::ec("c");
        let nameless = stranger.raw(&json!({ "alg": "ES256" }).to_string(), &claims().to_string());
        bench.bearer(&nameless).await.unwrap_err();
    });
}

#[test]
fn a_key_file_is_read_again_when_it_changes() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        let (old, new) = (Signer::ed("a"), Signer::ed("b"));
        let mut own = issuer();
        own.keys = KeySource::File(path.clone());
        let bench = bench_of(own, &[]);
        let (first, second) = (old.token(&claims()), new.token(&claims()));
        let refusal = bench.bearer(&first).await.unwrap_err();
        assert_eq!(refusal.code, Code::Undecidable, "no file, no word");
        std::fs::write(&path, set(&[&old])).unwrap();
        bench.clock.turn(Duration::from_secs(1));
        bench.bearer(&first).await.unwrap();
        bench.bearer(&second).await.unwrap_err();
        std::fs::write(&path, set(&[&new, &new])).unwrap();
        bench.clock.turn(Duration::from_secs(1));
        bench.bearer(&first).await.expect_err("remembered, but its key left the file");
        bench.bearer(&second).await.unwrap();
        std::fs::write(&path, "half a fi").unwrap();
        bench.clock.turn(Duration::from_secs(1));
        bench.bearer(&second).await.expect("a file that does not read changes nothing");
        assert_eq!(bench.identity.failing().len(), 1);
        assert_eq!(bench.wire.asked(), 0);
    });
}

#[test]
fn a_single_use_token_counts_once() {
    run(async {
        let key = Signer::ed("k");
        let mut own = issuer();
        own.single_use = true;
        let bench = bench_of(own, &[&key]);
        let token = key.token(&claims_but(json!({ "jti": "one" })));
        bench.bearer(&token).await.unwrap();
        let refusal = bench.bearer(&token).await.unwrap_err();
        assert!(refusal.why.contains("used before"), "{}", refusal.why);
        let sibling = key.token(&claims_but(json!({ "jti": "one", "iat": NOW - 1 })));
        bench.bearer(&sibling).await.expect_err("the name counts, not the bytes");
        bench.bearer(&key.token(&claims())).await.expect_err("it needs a name");
        // Elsewhere the token is the API key: it may come as often as it likes.
        let usual = self::bench(&[&key]);
        usual.bearer(&token).await.unwrap();
        usual.bearer(&token).await.unwrap();
    });
}

#[test]
fn a_peer_with_bad_tokens_is_slowed_down_and_its_good_one_still_counts() {
    run(async {
        let (key, stranger) = (Signer::ed("k"), Signer::ed("k"));
        let bench = bench(&[&key]);
        let ask = |token: String, peer: [u8; 4]| {
            let headers = header_map(&[("authorization", &format!("Bearer {token}"))]);
            let bench = &bench;
            async move {
                let none = Value::Map(vec![]);
                bench
                    .identity
                    .verify(&headers, &AuthPlace::Bearer, &none, Some(IpAddr::from(peer)))
                    .await
            }
        };
        let (bad, good) = (stranger.token(&claims()), key.token(&claims()));
        ask(good.clone(), [127, 0, 0, 1]).await.unwrap();
        let mut slowed = 0;
        for _ in 0..200 {
            let refusal = ask(bad.clone(), [127, 0, 0, 1]).await.unwrap_err();
            slowed += usize::from(refusal.code == Code::RateLimited);
        }
        assert_eq!(slowed, 150, "fifty at once, then none");
        ask(good.clone(), [127, 0, 0, 1]).await.expect("a remembered token costs nothing");
        ask(bad.clone(), [10, 0, 0, 1])
            .await
            .map_err(|r| assert_eq!(r.code, Code::Unauthenticated))
            .unwrap_err();
        bench.clock.turn(Duration::from_secs(1));
        assert_eq!(ask(bad, [127, 0, 0, 1]).await.unwrap_err().code, Code::Unauthenticated);
    });
}

#[test]
fn a_reload_keeps_what_is_known_of_keys() {
    run(async {
        let key = Signer::ed("k");
        let bench = bench(&[&key]);
        bench.bearer(&key.token(&claims())).await.unwrap();
        bench.wire.says(Err("down"));
        let mut config = Config::development("/nowhere".into());
        config.issuers = vec![issuer()];
        let next =
            Identity::new(config, bench.wire.fetch(), bench.clock.clone(), Some(&bench.identity));
        let next = Bench { identity: next, wire: bench.wire.clone(), clock: bench.clock.clone() };
        next.bearer(&key.token(&claims())).await.unwrap();
        assert_eq!(bench.wire.asked(), 1);
    });
}

#[test]
fn a_development_token_is_minted_and_counts() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_seconds(NOW);
        let wish = identity::Wish {
            agent: "support-bot".into(),
            customer: Some("cus_9".into()),
            account: Some("cus_S".into()),
            tenant: Some("eu".into()),
            roles: vec!["admin".into()],
            contact: Some("a@b.example".into()),
            trust: Some(4),
            consent_until: Some(now.plus(Duration::from_secs(60))),
            ttl: Duration::from_secs(3600),
        };
        let set = identity::prepare(dir.path()).unwrap();
        let before = std::fs::read(&set).unwrap();
        let token = identity::mint(dir.path(), &wish, now).unwrap();
        assert_eq!(std::fs::read(&set).unwrap(), before, "one key, one set");
        assert_eq!(mode(&dir.path().join("issuer.key")), 0o600);
        let clock = Clock::by_hand(now);
        let none: Fetch = Arc::new(|_| Box::pin(async { Err("no network".to_owned()) }));
        let identity = Identity::new(Config::development(set), none, clock.clone(), None);
        let bench = Bench { identity, wire: Wire::answering(String::new()), clock };
        let caller = bench.bearer(&token).await.unwrap();
        assert_eq!((&*caller.agent, caller.customer.as_deref()), ("support-bot", Some("cus_9")));
        assert_eq!(caller.account, AccountClaim::One("cus_S".into()));
        assert_eq!((&*caller.tenant, caller.trust), ("eu", Some(4)));
        assert_eq!(caller.contacts, vec![Box::<str>::from("a@b.example")]);
        // Another directory is another issuer.
        let other = tempfile::tempdir().unwrap();
        let foreign = identity::mint(other.path(), &wish, now).unwrap();
        bench.bearer(&foreign).await.unwrap_err();
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "no temporary file stays: {left:?}");
    });
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn read_config(text: &str, development: bool) -> Result<Config, String> {
    let node = yaml::read("t.yaml", text).unwrap();
    let faults = Faults::of("t.yaml");
    let section = faults.section(&node, "identity");
    let config = Config::read(section, Path::new("/etc/tollhouse"), Development::from(development));
    faults.finish(config).map_err(|e| e.to_string())
}

#[test]
fn the_section_reads_and_claims_are_merged() {
    let text = "issuers:\n  - { issuer: https://id.shop.example, audience: [tollhouse, other], jwks: https://id.shop.example/jwks.json, algorithms: [ES256], single_use: true }\n  - { issuer: in-house, audience: tollhouse, jwks: file:keys/jwks.json, algorithms: [RS256, EdDSA] }\nclaims: { customer: /user/id, contacts: { sms: { at: /phone_number, verified: /phone_number_verified } } }\nconsent: required\n";
    let config = read_config(text, false).unwrap();
    assert_eq!(config.issuers.len(), 2);
    assert_eq!(config.issuers[1].keys, KeySource::File("/etc/tollhouse/keys/jwks.json".into()));
    assert!(config.issuers[0].single_use && config.issuers[0].audience.len() == 2);
    assert_eq!(config.claims.customer.to_string(), "/user/id");
    assert_eq!(config.claims.agent.to_string(), "/act/sub");
    assert_eq!(config.claims.contacts.len(), 2);
    assert_eq!(config.consent, identity::ConsentRule::Required);
}

#[test]
fn every_fault_of_the_section_is_told_with_its_place() {
    let text = "issuers:\n  - { issuer: a, audience: t, jwks: http://id.shop.example/jwks.json, algorithms: [HS256] }\n  - { issuer: tollhouse-dev, jwks: file:x, algorithms: [none], typo: 1 }\nclaims: { customer: sub }\nconsent: maybe\n";
    let errors = read_config(text, false).unwrap_err();
    for expected in [
        "t.yaml:2:37: identity.issuers[0].jwks: expected `https://..` or `file:PATH`",
        "identity.issuers[0].algorithms: expected one of RS256",
        "identity.issuers[1].issuer: is the development issuer",
        "identity.issuers[1].audience: is required and missing",
        "identity.issuers[1].algorithms: expected one of RS256",
        "identity.issuers[1].typo: is not a key here",
        "t.yaml:4:21: identity.claims.customer: expected a JSON Pointer",
        "t.yaml:5:10: identity.consent: expected `if_present` or `required`",
    ] {
        assert!(errors.contains(expected), "`{expected}` not in\n{errors}");
    }
    let dev = "issuers: [ { issuer: tollhouse-dev, audience: tollhouse, jwks: file:x, algorithms: [EdDSA] } ]";
    assert!(read_config(dev, false).is_err());
    assert!(read_config(dev, true).is_ok());
    assert!(read_config("issuers: []", true).unwrap_err().contains("at least one issuer"));
}

fn people(places: &str, keys: &[&Signer]) -> (People, Clock) {
    let clock = Clock::by_hand(Timestamp::from_seconds(NOW));
    let wire = Wire::answering(set(keys));
    let faults = Faults::of("claims");
    let node = yaml::read("claims", places).unwrap();
    let places = PersonPlaces::read(faults.section(&node, "claims"));
    assert!(faults.is_empty());
    (People::new(vec![issuer()], places, wire.fetch(), clock.clone()), clock)
}

fn person(but: Json) -> Json {
    let mut claims = json!({
        "iss": ISSUER, "aud": "tollhouse", "exp": NOW + 600, "iat": NOW, "sub": "u-17",
        "email": "dana@shop.example", "roles": ["finance"], "nonce": "n-1",
    });
    for (name, value) in but.as_object().unwrap() {
        match value {
            Json::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

#[test]
fn a_person_is_who_their_token_says_and_nothing_more() {
    run(async {
        let key = Signer::ed("d");
        let (plain, _) = people("{}", &[&key]);
        let found = plain.verify(&key.token(&person(json!({}))), None).await.unwrap();
        assert_eq!((&*found.name, &*found.subject), ("dana@shop.example", "u-17"));
        assert_eq!((found.roles, found.tenants), (vec!["finance".into()], None));
        for (but, name, roles) in [
            (json!({ "email": null }), "u-17", 1),
            (json!({ "email_verified": false }), "u-17", 1),
            (json!({ "email_verified": "true" }), "u-17", 1),
            (json!({ "email_verified": true }), "dana@shop.example", 1),
            (json!({ "roles": null }), "dana@shop.example", 0),
            (json!({ "roles": "finance" }), "dana@shop.example", 1),
        ] {
            let found = plain.verify(&key.token(&person(but.clone())), None).await.unwrap();
            assert_eq!((&*found.name, found.roles.len()), (name, roles), "{but}");
        }
        let (bound, _) = people("{ name: /nick, subject: /email, tenants: /org/of }", &[&key]);
        let said = person(json!({ "nick": "dana", "org": { "of": ["acme", "eu"] } }));
        let found = bound.verify(&key.token(&said), None).await.unwrap();
        assert_eq!((&*found.name, &*found.subject), ("dana", "dana@shop.example"));
        assert_eq!(found.tenants, Some(vec!["acme".into(), "eu".into()]));
        let found = bound.verify(&key.token(&person(json!({}))), None).await.unwrap();
        assert_eq!(found.tenants, Some(vec![]), "silent about tenants: none");
        for but in [
            json!({ "sub": null }),
            json!({ "sub": "" }),
            json!({ "sub": "a\nb" }),
            json!({ "act": { "sub": "support-bot" } }),
            json!({ "roles": 7 }),
            json!({ "roles": ["finance", 7] }),
            json!({ "aud": "tollhouse-ops" }),
            json!({ "exp": NOW }),
        ] {
            let refused = plain.verify(&key.token(&person(but.clone())), None).await;
            assert_eq!(refused.unwrap_err().code, Code::Unauthenticated, "{but}");
        }
        let odd = key.token(&person(json!({ "org": { "of": { "acme": true } } })));
        assert!(bound.verify(&odd, None).await.is_err(), "tenants that are none");
    });
}

#[test]
fn an_id_token_counts_for_the_sign_in_it_was_asked_for() {
    run(async {
        let key = Signer::rsa("r");
        let (people, clock) = people("{}", &[&key]);
        let of = IdToken { nonce: "n-1", client_id: "tollhouse" };
        let good = key.token(&person(json!({})));
        assert_eq!(&*people.verify_id_token(&good, of).await.unwrap().subject, "u-17");
        let two = json!({ "aud": ["tollhouse", "x"], "azp": "tollhouse" });
        assert!(people.verify_id_token(&key.token(&person(two)), of).await.is_ok());
        for but in [
            json!({ "nonce": null }),
            json!({ "nonce": "n-2" }),
            json!({ "nonce": ["n-1"] }),
            json!({ "azp": "x" }),
            json!({ "azp": 1 }),
            json!({ "aud": ["tollhouse", "x"] }),
            json!({ "aud": "x" }),
            json!({ "iss": "https://evil.example" }),
            json!({ "exp": NOW - 1 }),
            json!({ "act": { "sub": "support-bot" } }),
        ] {
            let refused = people.verify_id_token(&key.token(&person(but.clone())), of).await;
            assert_eq!(refused.unwrap_err().code, Code::Unauthenticated, "{but}");
        }
        let other = Signer::rsa("r").token(&person(json!({})));
        assert!(people.verify_id_token(&other, of).await.is_err(), "somebody else's signature");
        clock.turn(Duration::from_secs(600));
        assert!(people.verify_id_token(&good, of).await.is_err(), "over");
    });
}

#[test]
fn a_flood_of_bad_persons_tokens_is_turned_away_unread() {
    run(async {
        let key = Signer::ed("d");
        let (people, _) = people("{}", &[&key]);
        let peer = Some(IpAddr::from([127, 0, 0, 9]));
        let bad = Signer::ed("d").token(&person(json!({})));
        let mut codes = Vec::new();
        for _ in 0..60 {
            codes.push(people.verify(&bad, peer).await.unwrap_err().code);
        }
        assert_eq!((codes[0], codes[59]), (Code::Unauthenticated, Code::RateLimited));
    });
}

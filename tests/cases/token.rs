//! Tokens: good ones, and ones that only look it. A `token:` of a case is
//! `{ claims, claims_but, head, head_but, by, cut, flip, tail, nested, deep, claims_text, raw }`, laid over the
//! good token of the step's agent and customer. `claims_but` takes raw JSON, for what no writer would write.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use tollhouse::yaml::Node;

use super::tree::{self, entries, flag, get, number, text};

pub const ISSUER: &str = "https://id.shop.example";
pub const PARTNER: &str = "https://id.partner.example";

const KNOWN: &[&str] = &[
    "claims",
    "claims_but",
    "head",
    "head_but",
    "by",
    "cut",
    "flip",
    "tail",
    "nested",
    "deep",
    "claims_text",
    "raw",
];

/// The keys of everybody who signs.
pub struct Keys {
    shop: Ed25519KeyPair,
    rsa: RsaKeyPair,
    partner: Ed25519KeyPair,
    stranger: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    shop: Ed25519KeyPair::generate().unwrap(),
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    partner: Ed25519KeyPair::generate().unwrap(),
    stranger: Ed25519KeyPair::generate().unwrap(),
});

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn okp(kid: &str, pair: &Ed25519KeyPair) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key()) })
}

/// Which keys an issuer publishes.
#[derive(Clone, Copy)]
pub enum Published {
    Usual,
    Rotated,
}

/// What the issuer publishes.
pub fn published(issuer: &str, which: Published) -> String {
    let keys = match (issuer, which) {
        (PARTNER, _) => vec![okp("partner", &KEYS.partner)],
        (_, Published::Rotated) => vec![okp("ed-2", &KEYS.partner)],
        (_, Published::Usual) => {
            let parts = RsaPublicKeyComponents::<Vec<u8>>::from(KEYS.rsa.public_key());
            let rsa = json!({ "kty": "RSA", "kid": "rsa", "use": "sig", "n": b64(parts.n), "e": b64(parts.e) });
            vec![okp("ed", &KEYS.shop), rsa]
        }
    };
    json!({ "keys": keys }).to_string()
}

/// Who asks, for whom, when.
pub struct Asker<'s> {
    pub agent: &'s str,
    pub customer: Option<&'s str>,
    pub now: i64,
    pub step: &'s Node,
}

/// The claims of a good token.
fn claims(asker: &Asker<'_>) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("iss", json!(ISSUER));
    put("aud", json!("tollhouse"));
    put("iat", json!(asker.now));
    put("exp", json!(asker.now + 3600));
    put("act", json!({ "sub": asker.agent }));
    put("auth_time", json!(asker.now - 60));
    put("roles", json!(["owner"]));
    if let Some(customer) = asker.customer {
        put("sub", json!(customer));
    }
    for name in ["account", "trust"] {
        if let Some(value) = get(asker.step, name) {
            put(name, tree::json(value));
        }
    }
    if let Some(contact) = text(asker.step, "contact") {
        put("email", json!(contact));
        put("email_verified", json!(true));
    }
    claims
}

/// The token that `said` describes.
pub fn token(asker: &Asker<'_>, said: Option<&Node>) -> String {
    let blank = tree::empty();
    let said = said.unwrap_or(&blank);
    tree::only(said, KNOWN, "token");
    if let Some(raw) = text(said, "raw") {
        // RFC 7516: five parts are an encrypted token.
        return raw.replace("{jwe}", "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d");
    }
    let by = text(said, "by").unwrap_or_else(|| "shop".into());
    let claims = match text(said, "claims_text") {
        Some(text) => text,
        None => merged(claims(asker), get(said, "claims"), get(said, "claims_but")),
    };
    let claims = match number(said, "deep") {
        Some(deep) => claims.replacen(
            '{',
            &format!("{{\"deep\":{}{},", "[".repeat(deep), "]".repeat(deep)),
            1,
        ),
        None => claims,
    };
    let (alg, kid) = if by == "rsa" { ("RS256", "rsa") } else { ("EdDSA", "ed") };
    let mut usual = Map::new();
    usual.insert("alg".into(), json!(alg));
    usual.insert("typ".into(), json!("JWT"));
    usual.insert("kid".into(), json!(if by == "partner" { "partner" } else { kid }));
    let head = merged(usual, get(said, "head"), get(said, "head_but"));
    let head = head
        .replace("\"jwk\":\"stranger\"", &format!("\"jwk\":{}", okp("stranger", &KEYS.stranger)));
    let message = format!("{}.{}", b64(head), b64(claims));
    let signature = b64(sign(&by, message.as_bytes()));
    let whole = bent(&message, &signature, said);
    if flag(said, "nested") {
        // RFC 7519 s5.2: a token in a token.
        let message = format!(
            "{}.{}",
            b64(json!({ "alg": "EdDSA", "kid": "ed", "cty": "JWT" }).to_string()),
            b64(whole)
        );
        return format!("{message}.{}", b64(sign("shop", message.as_bytes())));
    }
    whole
}

fn sign(by: &str, message: &[u8]) -> Vec<u8> {
    match by {
        "shop" => KEYS.shop.sign(message).as_ref().to_vec(),
        "partner" => KEYS.partner.sign(message).as_ref().to_vec(),
        "stranger" => KEYS.stranger.sign(message).as_ref().to_vec(),
        "rsa" => {
            let mut out = vec![0; KEYS.rsa.public_modulus_len()];
            KEYS.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut out).unwrap();
            out
        }
        "hmac-of-rsa-key" => {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEYS.rsa.public_key().as_ref());
            ring::hmac::sign(&key, message).as_ref().to_vec()
        }
        "nobody" => Vec::new(),
        other => panic!("nobody is called `{other}`"),
    }
}

/// The usual members with these over them, then those in raw JSON.
fn merged(mut usual: Map<String, Value>, changes: Option<&Node>, raw: Option<&Node>) -> String {
    for (name, _, node) in changes.map(entries).unwrap_or_default() {
        match tree::json(node) {
            Value::Null => {
                usual.remove(name);
            }
            value => {
                usual.insert(name.clone(), value);
            }
        }
    }
    let raw: Vec<_> = raw.map(entries).unwrap_or_default().iter().collect();
    raw.iter().for_each(|(name, _, _)| {
        usual.remove(name);
    });
    let mut text = Value::Object(usual).to_string();
    for (name, _, node) in raw {
        text.truncate(text.len() - 1);
        let joint = if text == "{" { "" } else { "," };
        text.push_str(&format!("{joint}\"{name}\":{}}}", tree::scalar(node)));
    }
    text
}

fn bent(message: &str, signature: &str, said: &Node) -> String {
    let flipped = |text: &str| {
        let middle = text.len() / 2;
        let other = if &text[middle..=middle] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &text[..middle], &text[middle + 1..])
    };
    let (head, claims) = message.split_once('.').unwrap();
    let whole = match (text(said, "cut").as_deref(), text(said, "flip").as_deref()) {
        (Some("signature"), _) => format!("{message}."),
        (Some("claims"), _) => format!("{head}..{signature}"),
        (_, Some("signature")) => format!("{message}.{}", flipped(signature)),
        (_, Some("claims")) => format!("{head}.{}.{signature}", flipped(claims)),
        _ => format!("{message}.{signature}"),
    };
    whole + &text(said, "tail").unwrap_or_default()
}

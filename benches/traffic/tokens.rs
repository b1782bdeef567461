//! Tokens of an issuer that signs with ES256, and its public key: what Tollhouse and Envoy both verify.
//!
//! `DIR/jwks.json`, and `DIR/tokens` with one token a line, each of a customer of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

pub const ISSUER: &str = "https://id.bench.example";

fn coded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn write(dir: &str, count: &str) -> Result<(), String> {
    let count: u32 = count.parse().map_err(|_| format!("`{count}` is no number"))?;
    let key =
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|e| e.to_string())?;
    // SEC 1 s2.3.3: 4, then x, then y.
    let (x, y) = key
        .public_key()
        .as_ref()
        .get(1..)
        .and_then(|point| point.split_at_checked(32))
        .ok_or("a public key of another length")?;
    let keys = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": "bench", "use": "sig", "alg": "ES256", "x": coded(x), "y": coded(y),
    }] });
    std::fs::write(format!("{dir}/jwks.json"), keys.to_string()).map_err(|e| e.to_string())?;
    let mut tokens = String::new();
    for n in 0..count {
        tokens.push_str(&token(&key, n)?);
        tokens.push('\n');
    }
    std::fs::write(format!("{dir}/tokens"), tokens).map_err(|e| e.to_string())
}

#[expect(clippy::disallowed_methods, reason = "a token is of a real time")]
fn token(key: &EcdsaKeyPair, n: u32) -> Result<String, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
    let head = json!({ "alg": "ES256", "kid": "bench", "typ": "JWT" });
    let claims = json!({
        "iss": ISSUER, "aud": "tollhouse", "sub": format!("customer-{n:07}"), "act": { "sub": "bench" },
        "account": format!("cus_{n:07}"), "jti": format!("t-{n:07}"),
        "iat": now.saturating_sub(60), "exp": now.saturating_add(6 * 3600),
    });
    let message = format!("{}.{}", coded(head.to_string()), coded(claims.to_string()));
    let signature =
        key.sign(&SystemRandom::new(), message.as_bytes()).map_err(|e| e.to_string())?;
    Ok(format!("{message}.{}", coded(signature)))
}

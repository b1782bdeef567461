//! How does whoever gets a message know that it is ours, and how do we know an answer from its own?
//!
//! As Standard Webhooks has it: HMAC-SHA256 over id, time and body, the same both ways. Never shows a key,
//! and never signs what somebody else wrote under an id of their choice.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;

use crate::call::{Digest, OperationId};
use crate::clock::{Clock, Timestamp};
use crate::credentials::{Kept, Reference};
use crate::value::piece;

/// Standard Webhooks, "Signature scheme": what a symmetric secret begins with.
const SECRET_START: &str = "whsec_";
/// BOUND: 24 bytes are 192 bits; more than 64 are hashed away (Standard Webhooks, "Signature scheme").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// BOUND: the new key, the old one, and one on its way.
const KEYS_MAX: usize = 4;
/// BOUND: signatures of one message that are looked at.
const SIGNATURES_MAX: usize = 8;

/// The keys of one destination: the first signs first, each of them counts.
#[derive(Debug, Clone)]
pub struct Signer(Vec<Kept>);

/// What an answer is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'b> {
    /// To this call.
    pub op: OperationId,
    /// To exactly what was shown of it.
    pub shown: Digest,
    /// To this time of holding it: held anew is another hold, whatever is shown.
    pub since: Timestamp,
    /// To whom it was told.
    pub destination: &'b str,
    /// In this letter.
    pub letter: u32,
}

impl Signer {
    /// The keys that are named. A file that changes is read again.
    ///
    /// # Errors
    ///
    /// Why one cannot be read, or is no key.
    pub fn load(
        references: &[Reference],
        environment: &dyn Fn(&str) -> Option<String>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let mut kept = Vec::with_capacity(references.len());
        for reference in references {
            let one = Kept::load(reference, environment, clock.clone())?;
            one.open()
                .expose(|secret| keys_in(secret).map(drop))
                .map_err(|why| format!("`{reference}` {why}"))?;
            kept.push(one);
        }
        if kept.is_empty() || kept.len() > KEYS_MAX {
            return Err(format!("expected one to {KEYS_MAX} secrets"));
        }
        Ok(Self(kept))
    }

    /// The keys as they are now. One that went bad since is left out.
    fn keys(&self) -> Vec<hmac::Key> {
        let each = self.0.iter().map(|kept| kept.open().expose(keys_in).unwrap_or_default());
        each.flatten().take(KEYS_MAX).collect()
    }

    /// `webhook-signature` of a message; `None` when there is no key left.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
        let content = content(id, seconds, body);
        let one =
            |key: &hmac::Key| format!("v1,{}", STANDARD.encode(hmac::sign(key, &content).as_ref()));
        let signatures: Vec<String> = self.keys().iter().map(one).collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }

    /// Whether one of the signatures is of one of our keys.
    pub fn is_signed(&self, id: &str, seconds: i64, (body, signatures): (&[u8], &str)) -> bool {
        let (content, keys) = (content(id, seconds, body), self.keys());
        // SECURITY: of another version (`v1a`) it says nothing to us.
        let tags = signatures
            .split(' ')
            .take(SIGNATURES_MAX)
            .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
        tags.into_iter().any(|tag| keys.iter().any(|key| hmac::verify(key, &content, &tag).is_ok()))
    }

    /// What an answer must bring back; `None` when there is no key left.
    pub fn nonce(&self, bound: &Bound<'_>) -> Option<String> {
        let tag = hmac::sign(&answering(self.keys().first()?), &bound.bytes());
        Some(format!("{}.{}", bound.letter, URL_SAFE_NO_PAD.encode(tag.as_ref())))
    }

    /// Whether a nonce was given for this; `of` tells what it is bound to, by its letter.
    pub fn is_nonce<'b>(&self, nonce: &str, of: impl FnOnce(u32) -> Bound<'b>) -> bool {
        let Some((letter, tag)) = nonce.split_once('.') else { return false };
        let plain = !letter.is_empty() && letter.bytes().all(|b| b.is_ascii_digit());
        let Some(letter) = letter.parse().ok().filter(|_| plain) else { return false };
        let Ok(tag) = URL_SAFE_NO_PAD.decode(tag) else { return false };
        let bytes = of(letter).bytes();
        self.keys().iter().any(|key| hmac::verify(&answering(key), &bytes, &tag).is_ok())
    }
}

impl Bound<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        piece(&mut bytes, b'o', &self.op.0);
        piece(&mut bytes, b's', &self.shown.0);
        piece(&mut bytes, b't', &self.since.0.to_be_bytes());
        piece(&mut bytes, b'd', self.destination.as_bytes());
        piece(&mut bytes, b'l', &self.letter.to_be_bytes());
        bytes
    }
}

/// SECURITY: a key of its own: a nonce, which is shown, is never the signature of any message.
fn answering(key: &hmac::Key) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(key, b"tollhouse answers").as_ref())
}

/// Standard Webhooks, "Signature scheme": `id.timestamp.body`.
fn content(id: &str, seconds: i64, body: &[u8]) -> Vec<u8> {
    let mut content = format!("{id}.{seconds}.").into_bytes();
    content.extend_from_slice(body);
    content
}

/// One key, or several with blanks between them.
fn keys_in(secret: &[u8]) -> Result<Vec<hmac::Key>, String> {
    let expected = || "expected `whsec_` and 24 to 64 bytes in base64".to_owned();
    let key = |word: &[u8]| {
        let coded = word.strip_prefix(SECRET_START.as_bytes()).ok_or_else(expected)?;
        let bytes = zeroize::Zeroizing::new(STANDARD.decode(coded).map_err(|_| expected())?);
        if !KEY_BYTES.contains(&bytes.len()) {
            return Err(expected());
        }
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    };
    let words = secret.split(|b| *b == b' ').filter(|word| !word.is_empty());
    words.map(key).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    /// The example of the specification, which its libraries are tested with.
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

    fn signer(secrets: &[&str]) -> Signer {
        let references: Vec<Reference> =
            secrets.iter().map(|one| Reference::Env((*one).into())).collect();
        Signer::load(&references, &|name| Some(name.to_owned()), &Clock::default()).unwrap()
    }

    fn bound() -> Bound<'static> {
        Bound {
            op: OperationId([1; 32]),
            shown: Digest([2; 32]),
            since: Timestamp(3),
            destination: "chat",
            letter: 4,
        }
    }

    #[test]
    fn a_message_is_signed_as_the_specification_has_it() {
        let body = br#"{"test": 2432232314}"#;
        let said = signer(&[KEY]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(said.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_keys_change_both_count() {
        let (old, new, both) = (signer(&[OTHER]), signer(&[KEY]), signer(&[KEY, OTHER]));
        let in_one = signer(&[&format!("{KEY} {OTHER}")]);
        let said = both.sign("msg_1", 5, b"{}").unwrap();
        assert_eq!(in_one.sign("msg_1", 5, b"{}").unwrap(), said);
        assert_eq!(said.split(' ').count(), 2);
        for one in [&old, &new, &both] {
            assert!(one.is_signed("msg_1", 5, (b"{}", &said)));
            assert!(both.is_signed("msg_1", 5, (b"{}", &one.sign("msg_1", 5, b"{}").unwrap())));
            let nonce = one.nonce(&bound()).unwrap();
            assert!(both.is_nonce(&nonce, |letter| Bound { letter, ..bound() }));
        }
        let of_new = new.sign("msg_1", 5, b"{}").unwrap();
        assert!(!old.is_signed("msg_1", 5, (b"{}", &of_new)));
    }

    #[test]
    fn what_was_changed_is_not_signed() {
        let signer = signer(&[KEY]);
        let said = signer.sign("msg_1", 5, b"{}").unwrap();
        assert!(signer.is_signed("msg_1", 5, (b"{}", &said)));
        for (id, at, body, signatures) in [
            ("msg_2", 5, &b"{}"[..], said.clone()),
            ("msg_1", 6, b"{}", said.clone()),
            ("msg_1", 5, b"{ }", said.clone()),
            ("msg_1", 5, b"{}", said.replace("v1,", "v1a,")),
            ("msg_1", 5, b"{}", said.replace("v1,", "")),
            ("msg_1", 5, b"{}", "v1,".to_owned()),
            ("msg_1", 5, b"{}", String::new()),
            ("msg_1", 5, b"{}", format!("{}{said}", "v1,AAAA ".repeat(SIGNATURES_MAX))),
        ] {
            assert!(!signer.is_signed(id, at, (body, &signatures)), "{id} {at} {signatures}");
        }
    }

    #[test]
    fn a_nonce_is_for_one_hold_one_destination_and_one_letter() {
        let signer = signer(&[KEY]);
        let nonce = signer.nonce(&bound()).unwrap();
        let is = |nonce: &str, bound: Bound<'static>| {
            signer.is_nonce(nonce, |letter| Bound { letter, ..bound })
        };
        assert!(is(&nonce, bound()));
        for other in [
            Bound { op: OperationId([9; 32]), ..bound() },
            Bound { shown: Digest([9; 32]), ..bound() },
            Bound { since: Timestamp(9), ..bound() },
            Bound { destination: "mail", ..bound() },
        ] {
            assert!(!is(&nonce, other), "{other:?}");
        }
        let (_, tag) = nonce.split_once('.').unwrap();
        for nonce in [
            format!("5.{tag}"),
            format!("+4.{tag}"),
            format!(".{tag}"),
            tag.to_owned(),
            "4.".to_owned(),
            String::new(),
        ] {
            assert!(!is(&nonce, bound()), "{nonce}");
        }
        // What is shown to a receiver signs no message.
        let as_signature = format!("v1,{}", tag.replace('-', "+").replace('_', "/"));
        assert!(!signer.is_signed("x", 1, (&bound().bytes(), &as_signature)));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for bad in ["secret-words", "whsec_", "whsec_AAAA", "whsec_not base64", "whsec_%%%"] {
            let named = [Reference::Env("K".into())];
            let said = Signer::load(&named, &|_| Some(bad.to_owned()), &Clock::default());
            let said = said.unwrap_err();
            assert!(said.contains("expected `whsec_`") && said.contains("env:K"), "{said}");
            assert!(!said.contains("words") && !said.contains("%%%"), "{said}");
        }
    }
}

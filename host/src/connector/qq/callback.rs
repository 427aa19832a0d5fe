//! QQ's HTTP callback: what it posts is signed with a key that both sides derive from the client secret. Owns the signatures and the
//! answers; an event is acknowledged once the host has it.

use std::time::Duration;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{SECRET_KEY_LENGTH, Signature, Signer, SigningKey};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::connector::gateway::Dispatch;
use crate::connector::ingress::Knock;
use crate::secret::Secret;

/// What was signed longer ago, or is to be signed later, is not believed.
const AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest text that is signed for somebody who did not sign.
const CHALLENGE_BYTES_MAX: usize = 64;

/// The key of one account, and whose it is.
pub(super) struct Seal {
    key: SigningKey,
    app_id: String,
}

/// What a request is.
#[derive(Debug)]
pub(super) enum Asked {
    /// Something happened.
    Event(Dispatch),
    /// The platform wants to see that this side has the secret; the answer.
    Challenge(Value),
    /// Nothing that needs more than to be heard.
    Other,
}

impl Seal {
    /// Derives the key as the platform does: the secret repeated until it is long enough.
    pub(super) fn new(app_id: &str, client_secret: &Secret) -> Self {
        let mut seed = [0; SECRET_KEY_LENGTH];
        for (byte, own) in seed.iter_mut().zip(client_secret.expose().bytes().cycle()) {
            *byte = own;
        }
        Self { key: SigningKey::from_bytes(&seed), app_id: app_id.to_owned() }
    }

    /// Reads a request, which must be the platform's.
    ///
    /// # Errors
    ///
    /// What to answer instead.
    pub(super) fn read(&self, knock: &Knock, now: Timestamp) -> Result<Asked, StatusCode> {
        if knock.method != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        if knock.header("x-bot-appid") != Some(&self.app_id) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let is_signed = knock.headers.contains_key("x-signature-ed25519");
        if is_signed && !self.signed(knock, now) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let body: Value = match serde_json::from_slice(&knock.body) {
            Ok(body) if is_signed => body,
            Err(_) if is_signed => return Err(StatusCode::BAD_REQUEST),
            // Only the challenge may come without a signature.
            Ok(body) if body["op"] == 13 => body,
            _ => return Err(StatusCode::UNAUTHORIZED),
        };
        match body["op"].as_u64() {
            Some(0) => {
                let kind = body["t"].as_str().ok_or(StatusCode::BAD_REQUEST)?.to_owned();
                let id = body["id"].as_str().map(str::to_owned);
                Ok(Asked::Event(Dispatch {
                    kind,
                    data: body["d"].clone(),
                    id,
                    seq: body["s"].as_u64().unwrap_or_default(),
                }))
            }
            Some(13) => self.answer(&body["d"]).map(Asked::Challenge).ok_or(StatusCode::BAD_REQUEST),
            _ => Ok(Asked::Other),
        }
    }

    fn signed(&self, knock: &Knock, now: Timestamp) -> bool {
        let (Some(signature), Some(timestamp)) =
            (knock.header("x-signature-ed25519"), knock.header("x-signature-timestamp"))
        else {
            return false;
        };
        let Some(at) = timestamp.parse().ok().map(|seconds: u64| Timestamp::from_millis(seconds.saturating_mul(1000)))
        else {
            return false;
        };
        if now.saturating_since(at).max(at.saturating_since(now)) > AGE_MAX {
            return false;
        }
        let bytes = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()).ok();
        let Some(signature) = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok()) else { return false };
        let signed = [timestamp.as_bytes(), &knock.body].concat();
        self.key.verifying_key().verify_strict(&signed, &signature).is_ok()
    }

    /// Answers a challenge: a moment and a word, signed together. Nothing else is: a signature of what reads as an event would let
    /// whoever asked for it forge one.
    fn answer(&self, challenge: &Value) -> Option<Value> {
        let (word, at) = (challenge["plain_token"].as_str()?, challenge["event_ts"].as_str()?);
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_moment = !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit());
        if !is_word || !is_moment || at.len() + word.len() > CHALLENGE_BYTES_MAX {
            return None;
        }
        let signature = self.key.sign(format!("{at}{word}").as_bytes());
        Some(json!({"plain_token": word, "signature": HEXLOWER.encode(&signature.to_bytes())}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_as_the_platform_expects() {
        let seal = Seal::new("1", &Secret::new("DG5g3B4j9X2KOErG"));
        let challenge = json!({"plain_token": "Arq0D5A61EgUu4OxUvOp", "event_ts": "1725442341"});
        let expected = "87befc99c42c651b3aac0278e71ada338433ae26fcb24307bdc5ad38c1adc2d01bcfcadc0842edac85e85205028a1132afe09280305f13aa6909ffc2d652c706";
        assert_eq!(
            seal.answer(&challenge).unwrap(),
            json!({"plain_token": "Arq0D5A61EgUu4OxUvOp", "signature": expected})
        );
        let seal = Seal::new("1", &Secret::new("naOC0ocQE3shWLAfffVLB1rhYPG7"));
        assert_eq!(seal.key.verifying_key().as_bytes()[..4], [0xd7, 0xc3, 0x62, 0xfe]);
    }

    #[test]
    fn nothing_is_signed_that_could_be_an_event() {
        let seal = Seal::new("1", &Secret::new("DG5g3B4j9X2KOErG"));
        for (word, at) in [
            ("{\"op\":0}", "1725442341"),
            ("", "1725442341"),
            ("word", ""),
            ("word", "1725442341{"),
            (&"a".repeat(60), "1725442341"),
        ] {
            assert_eq!(seal.answer(&json!({"plain_token": word, "event_ts": at})), None, "{word} {at}");
        }
    }
}

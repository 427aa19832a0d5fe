//! Proof that a request comes from who knows the secret: the schemes, checked in constant time over the bytes as they came. Pure.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::ingress::Knock;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// How requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Scheme {
    /// `X-Bothost-Signature: t=UNIX,v1=HEX` over `t`, a full stop and the body.
    #[default]
    #[serde(rename = "hmac-sha256")]
    Bothost,
    /// `X-Hub-Signature-256: sha256=HEX` over the body, and no time.
    #[serde(rename = "github")]
    GitHub,
    /// [Standard Webhooks](https://www.standardwebhooks.com): `webhook-signature: v1,BASE64 …` over id, time and body.
    #[serde(rename = "standard")]
    Standard,
    /// `Stripe-Signature: t=UNIX,v1=HEX,…` over `t`, a full stop and the body.
    #[serde(rename = "stripe")]
    Stripe,
    /// Not at all.
    #[serde(rename = "none")]
    None,
}

/// What the keys of Standard Webhooks begin with; the rest is base64.
const STANDARD_PREFIX: &str = "whsec_";
/// Signatures of one request that are looked at: senders give one for each of their secrets.
const SIGNATURES_MAX: usize = 8;

impl Scheme {
    /// Returns the header that carries the signature.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Bothost => Some("x-bothost-signature"),
            Self::GitHub => Some("x-hub-signature-256"),
            Self::Standard => Some("webhook-signature"),
            Self::Stripe => Some("stripe-signature"),
            Self::None => None,
        }
    }

    /// Returns whether a request is signed with one of the secrets, and was not more than `tolerance` before or after `now` where the
    /// scheme says when. A header that is missing or came twice proves nothing.
    pub(super) fn verify(self, knock: &Knock, secrets: &[Secret], tolerance: Duration, now: Timestamp) -> bool {
        let Some(name) = self.header() else { return true };
        let Some(given) = knock.header(name) else { return false };
        let body = &knock.body[..];
        match self {
            Self::Bothost | Self::Stripe => {
                let Some((at, signatures)) = read_pairs(given) else { return false };
                is_recent(at, tolerance, now)
                    && any(secrets, &signatures, |secret, signature| {
                        is_hex_mac(secret.expose().as_bytes(), &[at.as_bytes(), b".", body], signature)
                    })
            }
            Self::GitHub => {
                let Some(signature) = given.strip_prefix("sha256=") else { return false };
                any(secrets, &[signature], |secret, signature| {
                    is_hex_mac(secret.expose().as_bytes(), &[body], signature)
                })
            }
            Self::Standard => {
                let (Some(id), Some(at)) = (knock.header("webhook-id"), knock.header("webhook-timestamp")) else {
                    return false;
                };
                let signatures: Vec<_> = given.split(' ').filter_map(|one| one.strip_prefix("v1,")).collect();
                let parts = [id.as_bytes(), b".", at.as_bytes(), b".", body];
                is_recent(at, tolerance, now)
                    && any(secrets, &signatures, |secret, signature| {
                        let given = BASE64.decode(signature.as_bytes());
                        given.is_ok_and(|given| mac(&standard_key(secret), &parts).verify_slice(&given).is_ok())
                    })
            }
            Self::None => true,
        }
    }
}

/// Looks at every pair, whichever of them is right.
fn any(secrets: &[Secret], signatures: &[&str], is_right: impl Fn(&Secret, &str) -> bool) -> bool {
    let signatures = &signatures[..signatures.len().min(SIGNATURES_MAX)];
    let pairs = secrets.iter().flat_map(|secret| signatures.iter().map(move |signature| (secret, *signature)));
    pairs.fold(false, |found, (secret, signature)| is_right(secret, signature) | found)
}

/// Reads `t=…,v1=…,v1=…`; other pairs are for others. Two times are none.
fn read_pairs(text: &str) -> Option<(&str, Vec<&str>)> {
    let (mut at, mut signatures) = (None, Vec::new());
    for (key, value) in text.split(',').filter_map(|pair| pair.trim().split_once('=')) {
        match key {
            "t" if at.is_some() => return None,
            "t" => at = Some(value),
            "v1" => signatures.push(value),
            _ => {}
        }
    }
    Some((at?, signatures))
}

/// Returns whether a number of seconds is a moment near `now`.
pub(super) fn is_recent(seconds: &str, tolerance: Duration, now: Timestamp) -> bool {
    // No sign, no space: what is signed is the text, and there is one way to write it.
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let Some(at) = seconds.parse::<u64>().ok().filter(|_| is_number) else { return false };
    let at = Timestamp::from_millis(at.saturating_mul(1000));
    now.saturating_since(at).max(at.saturating_since(now)) <= tolerance
}

/// Returns whether this is the HMAC-SHA256 of the parts in a row, in hexadecimal digits.
pub(super) fn is_hex_mac(key: &[u8], parts: &[&[u8]], hex: &str) -> bool {
    let given = HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
    given.is_ok_and(|given| mac(key, parts).verify_slice(&given).is_ok())
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// Returns the key of Standard Webhooks: base64 after `whsec_`; another text is a key as it stands.
fn standard_key(secret: &Secret) -> Vec<u8> {
    let text = secret.expose();
    let encoded = text.strip_prefix(STANDARD_PREFIX).and_then(|encoded| BASE64.decode(encoded.as_bytes()).ok());
    encoded.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Returns the `webhook-signature` of what we send.
pub(super) fn sign_standard(secret: &Secret, id: &str, seconds: u64, body: &[u8]) -> String {
    let seconds = seconds.to_string();
    let mac = mac(&standard_key(secret), &[id.as_bytes(), b".", seconds.as_bytes(), b".", body]);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_500);
    const TOLERANCE: Duration = Duration::from_secs(300);

    fn check(scheme: Scheme, secrets: &[&str], headers: &[(&str, &str)], body: &str) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        scheme.verify(&Knock::post(map, body.to_owned()), &secrets, TOLERANCE, NOW)
    }

    #[test]
    fn what_others_signed_is_believed() {
        // GitHub's own example.
        let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("x-hub-signature-256", github)];
        assert!(check(Scheme::GitHub, &["It's a Secret to Everybody"], &headers, "Hello, World!"));
        assert!(!check(Scheme::GitHub, &["It's a Secret to Everybody"], &headers, "Hello, World?"));
        // By `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`.
        let pair = "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert!(check(Scheme::Bothost, &["key"], &[("x-bothost-signature", pair)], "{}"));
        assert!(check(Scheme::Stripe, &["key"], &[("stripe-signature", pair)], "{}"));
    }

    fn signed(scheme: Scheme, secret: &str, at: &str, body: &str) -> Vec<(&'static str, String)> {
        let hex =
            |parts: &[&[u8]]| data_encoding::HEXLOWER.encode(&mac(secret.as_bytes(), parts).finalize().into_bytes());
        match scheme {
            Scheme::Bothost | Scheme::Stripe => {
                let hex = hex(&[at.as_bytes(), b".", body.as_bytes()]);
                vec![(scheme.header().unwrap(), format!("t={at},v0=x,v1={hex}"))]
            }
            Scheme::GitHub => vec![("x-hub-signature-256", format!("sha256={}", hex(&[body.as_bytes()])))],
            Scheme::Standard => {
                let signature = sign_standard(&Secret::new(secret), "m", at.parse().unwrap_or(0), body.as_bytes());
                vec![
                    ("webhook-id", "m".to_owned()),
                    ("webhook-timestamp", at.to_owned()),
                    ("webhook-signature", format!("v1a,AAAA {signature}")),
                ]
            }
            Scheme::None => Vec::new(),
        }
    }

    const SIGNED: [Scheme; 4] = [Scheme::Bothost, Scheme::GitHub, Scheme::Standard, Scheme::Stripe];

    #[test]
    fn either_of_two_secrets_will_do_and_no_other() {
        for scheme in SIGNED {
            let headers = signed(scheme, "new", "1700000000", "{}");
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert!(check(scheme, &["old", "new"], &headers, "{}"), "{scheme:?}");
            assert!(check(scheme, &["new", "old"], &headers, "{}"), "{scheme:?}");
            assert!(!check(scheme, &["old"], &headers, "{}"), "{scheme:?}");
            assert!(!check(scheme, &["new"], &headers, "{} "), "{scheme:?}");
            let twice: Vec<_> = headers.iter().chain(&headers).copied().collect();
            assert!(!check(scheme, &["new"], &twice, "{}"), "{scheme:?}: a header that came twice");
            assert!(!check(scheme, &["new"], &[], "{}"), "{scheme:?}");
        }
        assert!(check(Scheme::None, &[], &[], "{}"));
    }

    #[test]
    fn what_was_signed_long_ago_or_in_the_future_is_not_believed() {
        for (at, expected) in [
            ("1699999700", false),
            ("1699999701", true),
            ("1700000300", true),
            ("1700000301", false),
            ("18446744073709551616", false),
            ("", false),
        ] {
            for scheme in [Scheme::Bothost, Scheme::Standard, Scheme::Stripe] {
                let headers = signed(scheme, "key", at, "{}");
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                assert_eq!(check(scheme, &["key"], &headers, "{}"), expected, "{scheme:?} {at:?}");
            }
        }
    }

    #[test]
    fn a_signature_that_is_none_is_no_panic() {
        for (scheme, text) in [
            (Scheme::Bothost, ""),
            (Scheme::Bothost, "t=1700000000"),
            (Scheme::Bothost, "t=1700000000,t=1700000000,v1=00"),
            (Scheme::Bothost, "v1=zz,t=1700000000"),
            (Scheme::GitHub, "sha1=00"),
            (Scheme::GitHub, "sha256="),
            (Scheme::Stripe, "t=,v1="),
            (Scheme::Standard, "v1,"),
        ] {
            let name = scheme.header().unwrap();
            let headers = [(name, text), ("webhook-id", "m"), ("webhook-timestamp", "1700000000")];
            assert!(!check(scheme, &["key"], &headers, "{}"), "{scheme:?} {text}");
        }
    }

    #[test]
    fn the_example_of_standard_webhooks_is_signed_as_they_do() {
        // From the specification's own libraries.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let signature = sign_standard(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}

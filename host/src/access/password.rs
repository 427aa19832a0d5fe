//! What is kept of a password, and whether one is right. Takes long by design: never called on a thread that serves others.

use std::ops::RangeInclusive;
use std::sync::OnceLock;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::AccessError;
use crate::secret::Secret;

/// How long a password may be, in bytes. Long enough that no list of frequent ones holds it whole; short enough that nobody has the
/// host digest megabytes.
pub const PASSWORD_BYTES: RangeInclusive<usize> = 12..=1024;

/// 19 MiB, two passes, one lane: the least that OWASP's Password Storage Cheat Sheet has for argon2id. With
/// [`HASHING_MAX`](super::book) at a time it stays a small part of what a host needs anyway.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

fn argon2id() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within what argon2 allows");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Returns what is kept of a password: a text that names the algorithm, its parameters and the salt too.
///
/// # Errors
///
/// The password is too short or too long, or the system gives no random bits for the salt.
pub(super) fn digest(password: &Secret) -> Result<String, AccessError> {
    let text = password.expose().as_bytes();
    if !PASSWORD_BYTES.contains(&text.len()) {
        return Err(AccessError::PasswordLength { bytes: text.len() });
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| AccessError::Random(std::io::Error::other(error)))?;
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
    let hash = argon2id().hash_password(text, &salt).expect("a password and a salt of these lengths are hashed");
    Ok(hash.to_string())
}

/// Returns whether a password is the one that `kept` was made of. None, or a text that is no hash: it takes as long, and is not.
pub(super) fn is_right(password: &Secret, kept: Option<&str>) -> bool {
    static NOBODYS: OnceLock<String> = OnceLock::new();
    let text = password.expose().as_bytes();
    if text.len() > *PASSWORD_BYTES.end() {
        return false;
    }
    let verify = |hash: &PasswordHash<'_>| argon2id().verify_password(text, hash).is_ok();
    match kept.and_then(|kept| PasswordHash::new(kept).ok()) {
        Some(hash) => verify(&hash),
        None => {
            let nobodys = NOBODYS.get_or_init(|| digest(&Secret::new("nobody has this one")).unwrap_or_default());
            if let Ok(hash) = PasswordHash::new(nobodys) {
                std::hint::black_box(verify(&hash));
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_recognised_by_what_is_kept_of_it() {
        let password = Secret::new("correct horse battery");
        let kept = digest(&password).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(is_right(&password, Some(&kept)) && !is_right(&Secret::new("correct horse batterx"), Some(&kept)));
        assert_ne!(digest(&password).unwrap(), kept, "each has its own salt");
    }

    #[test]
    fn nobody_s_password_is_never_right() {
        for kept in [None, Some(""), Some("$argon2id$nonsense")] {
            assert!(!is_right(&Secret::new("nobody has this one"), kept), "{kept:?}");
        }
    }

    #[test]
    fn a_password_that_is_too_short_or_too_long_is_refused_with_its_length() {
        for (len, is_good) in [(0, false), (11, false), (12, true), (1024, true), (1025, false)] {
            let digested = digest(&Secret::new("x".repeat(len)));
            match digested {
                Ok(_) => assert!(is_good, "{len}"),
                Err(AccessError::PasswordLength { bytes }) => assert!(!is_good && bytes == len),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

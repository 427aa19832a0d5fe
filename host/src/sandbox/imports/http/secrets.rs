//! Secrets on their way out: put where a guest names them, and only where nobody reads along.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, header};
use wasmtime_wasi_http::Error;

use crate::egress::Security;
use crate::secret::Secret;

/// Longest secret that is put into a header. Hardly a server takes a longer one.
const SECRET_BYTES_MAX: usize = 8 << 10;

/// Whether a request has secrets in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cargo {
    Plain,
    Secret,
}

/// Puts secrets where a guest wrote `{{secret:NAME}}` in a header: here, on the way to a granted host, and nowhere a guest
/// can see them. Once: what a secret's own text holds is left as it is. Such a request asks for an answer that can be read along.
///
/// # Errors
///
/// The request is refused: the bot has no secret of that name, or it can stand in no header.
pub(super) fn fill(headers: &mut HeaderMap, secrets: &BTreeMap<String, Secret>) -> Result<Cargo, Error> {
    const BEGIN: &str = "{{secret:";
    const END: &str = "}}";
    let mut cargo = Cargo::Plain;
    for value in headers.values_mut() {
        let Some(mut rest) = value.to_str().ok().filter(|text| text.contains(BEGIN)) else { continue };
        let mut filled = String::new();
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (name, after) = after.split_once(END).ok_or_else(|| unfit("a `{{secret:` without its `}}`"))?;
            let secret = secrets.get(name).ok_or_else(|| unfit(&format!("no secret `{}`", name.escape_debug())))?;
            if secret.expose().len() > SECRET_BYTES_MAX {
                return Err(unfit("a secret that is too long for a header"));
            }
            filled.push_str(before);
            filled.push_str(secret.expose());
            rest = after;
        }
        filled.push_str(rest);
        let with_secret = HeaderValue::from_str(&filled);
        let mut with_secret = with_secret.map_err(|_| unfit("a secret that cannot stand in a header"))?;
        with_secret.set_sensitive(true);
        *value = with_secret;
        cargo = Cargo::Secret;
    }
    if cargo == Cargo::Secret {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(cargo)
}

/// Returns whether a secret can have been put into a header, and so can come back.
pub(in crate::sandbox) fn can_leave(secret: &Secret) -> bool {
    secret.expose().len() <= SECRET_BYTES_MAX && HeaderValue::from_str(secret.expose()).is_ok()
}

/// Refuses to send a secret in the clear, where whoever is on the way reads it: unless the grant says so, or it stays on this machine.
///
/// # Errors
///
/// Says what would have to be granted.
pub(super) fn check_way(security: Security, peer: Option<SocketAddr>, is_granted: bool) -> Result<(), Error> {
    let stays_here = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    if security == Security::Tls || is_granted || stays_here {
        return Ok(());
    }
    Err(unfit("a secret leaves by https, and in the clear only to a host that is granted as `http://HOST`"))
}

/// `wasi:http` has no code for it, and a denial would read as if the host were not granted.
pub(super) fn unfit(why: &str) -> Error {
    Error::InternalError(Some(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(value: &str) -> Result<String, Error> {
        let secrets = [("KEY", "hunter2".to_owned()), ("LINES", "hunter2\r\nx-evil: b".to_owned())];
        let secrets = secrets.into_iter().chain([("LONG", "hunter2".repeat(10_000))]);
        let secrets = secrets.map(|(name, text)| (name.to_owned(), Secret::new(text))).collect();
        let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        fill(&mut headers, &secrets)?;
        Ok(headers[header::AUTHORIZATION].to_str().unwrap().to_owned())
    }

    #[test]
    fn secrets_stand_where_they_are_named_and_nowhere_else() {
        assert_eq!(filled("Bearer {{secret:KEY}}").unwrap(), "Bearer hunter2");
        assert_eq!(filled("{{secret:KEY}}:{{secret:KEY}}").unwrap(), "hunter2:hunter2");
        assert_eq!(filled("{{KEY}} secret:KEY").unwrap(), "{{KEY}} secret:KEY");
    }

    #[test]
    fn a_secret_that_the_bot_does_not_have_refuses_the_request() {
        for (value, why) in [
            ("{{secret:OTHER}}", "no secret `OTHER`"),
            ("{{secret:}}", "no secret ``"),
            ("{{secret:KEY", "without its `}}`"),
            ("{{secret:LINES}}", "cannot stand in a header"),
            ("{{secret:LONG}}", "too long"),
        ] {
            let told = match filled(value) {
                Err(Error::InternalError(Some(told))) => told,
                other => panic!("{value}: {other:?}"),
            };
            assert!(told.contains(why) && !told.contains("hunter2"), "{value}: {told}");
        }
    }

    #[test]
    fn a_filled_header_does_not_print_itself() {
        let mut headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("{{secret:KEY}}"))]);
        fill(&mut headers, &BTreeMap::from([("KEY".to_owned(), Secret::new("hunter2"))])).unwrap();
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[test]
    fn a_request_with_a_secret_asks_for_an_answer_that_is_not_compressed() {
        let secrets = BTreeMap::from([("KEY".to_owned(), Secret::new("hunter2"))]);
        for (value, cargo, encoding) in
            [("{{secret:KEY}}", Cargo::Secret, "identity"), ("{{KEY}}", Cargo::Plain, "gzip, br")]
        {
            let mut headers = HeaderMap::from_iter([
                (header::AUTHORIZATION, HeaderValue::from_static(value)),
                (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br")),
            ]);
            assert_eq!(fill(&mut headers, &secrets).unwrap(), cargo);
            assert_eq!(headers[header::ACCEPT_ENCODING], encoding);
        }
    }

    #[test]
    fn a_secret_leaves_in_the_clear_only_where_that_is_granted_or_to_this_machine() {
        for (security, peer, is_granted, may) in [
            (Security::Tls, "192.0.2.1:443", false, true),
            (Security::Plain, "192.0.2.1:80", false, false),
            (Security::Plain, "192.0.2.1:80", true, true),
            (Security::Plain, "127.0.0.1:80", false, true),
            (Security::Plain, "[::ffff:127.0.0.1]:80", false, true),
            (Security::Plain, "10.0.0.1:80", false, false),
        ] {
            let checked = check_way(security, Some(peer.parse().unwrap()), is_granted);
            assert_eq!(checked.is_ok(), may, "{security:?} {peer} {is_granted}");
        }
        assert!(check_way(Security::Plain, None, false).is_err(), "nobody knows where it goes");
    }
}

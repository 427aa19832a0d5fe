//! Who may come in. Pure.

use http::{HeaderMap, Request, Response, StatusCode, header};

use super::roster::Role;
use crate::secret::Secret;

/// What a connection must show.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    pub(super) path: &'a str,
    pub(super) access_token: Option<&'a Secret>,
}

/// Who came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The QQ account.
    pub(super) self_id: String,
    pub(super) role: Role,
}

/// Why somebody was turned away.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    why: &'static str,
}

impl From<Refusal> for Response<Option<String>> {
    fn from(refusal: Refusal) -> Self {
        let mut response = Self::new(Some(format!("{}\n", refusal.why)));
        *response.status_mut() = refusal.status;
        response
    }
}

impl Admission<'_> {
    /// Judges a request. `serves` is the account that is connected already.
    pub(super) fn judge(&self, request: &Request<()>, serves: Option<&str>) -> Result<Admitted, Refusal> {
        let refuse = |status, why| Err(Refusal { status, why });
        if request.uri().path() != self.path {
            return refuse(StatusCode::NOT_FOUND, "nothing here");
        }
        if let Some(token) = self.access_token {
            match given_token(request) {
                None => return refuse(StatusCode::UNAUTHORIZED, "an access token is needed"),
                Some(given) if !token.matches(&given) => return refuse(StatusCode::FORBIDDEN, "a wrong access token"),
                Some(_) => {}
            }
        }
        let self_id = match text(request.headers(), "x-self-id") {
            Some(id) if !id.is_empty() && id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit()) => id,
            _ => return refuse(StatusCode::BAD_REQUEST, "X-Self-ID must be the number of the account"),
        };
        if serves.is_some_and(|serves| serves != self_id) {
            return refuse(StatusCode::CONFLICT, "this connector serves another account; one connector, one account");
        }
        let role = match text(request.headers(), "x-client-role").map(str::to_ascii_lowercase).as_deref() {
            None | Some("universal") => Role::Universal,
            Some("api") => Role::Api,
            Some("event") => Role::Event,
            Some(_) => return refuse(StatusCode::BAD_REQUEST, "X-Client-Role must be Universal, API or Event"),
        };
        Ok(Admitted { self_id: self_id.to_owned(), role })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Returns the token of the header or, failing that, of the query.
fn given_token(request: &Request<()>) -> Option<Vec<u8>> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let is_known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        return is_known.then(|| token.trim().as_bytes().to_vec());
    }
    let pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == "access_token").map(|(_, value)| percent_decode(value))
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, headers: &[(&str, &str)], serves: Option<&str>) -> Result<Role, u16> {
        let token = Secret::new("t k/n");
        let admission = Admission { path: "/ws", access_token: Some(&token) };
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let judged = admission.judge(&request.body(()).unwrap(), serves);
        judged.map(|admitted| admitted.role).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn path_then_token_then_account_decide() {
        let id = ("x-self-id", "10");
        let bearer = ("authorization", "Bearer t k/n");
        for (uri, headers, serves, expected) in [
            ("/other", &[id, bearer][..], None, Err(404)),
            ("/ws/", &[id, bearer][..], None, Err(404)),
            ("/ws", &[id][..], None, Err(401)),
            ("/ws", &[id, ("authorization", "Basic t")][..], None, Err(401)),
            ("/ws", &[id, ("authorization", "Bearer wrong")][..], None, Err(403)),
            ("/ws?access_token=t%20k%2", &[id][..], None, Err(403)),
            ("/ws", &[bearer][..], None, Err(400)),
            ("/ws", &[("x-self-id", "1; drop"), bearer][..], None, Err(400)),
            ("/ws", &[id, bearer, ("x-client-role", "Boss")][..], None, Err(400)),
            ("/ws", &[id, bearer][..], Some("11"), Err(409)),
            ("/ws", &[id, bearer][..], Some("10"), Ok(Role::Universal)),
            ("/ws", &[id, ("authorization", "Token t k/n"), ("x-client-role", "API")][..], None, Ok(Role::Api)),
            ("/ws?a=b&access_token=t%20k%2Fn", &[id, ("x-client-role", "Event")][..], None, Ok(Role::Event)),
        ] {
            assert_eq!(check(uri, headers, serves), expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn without_a_token_everybody_may_come_in() {
        let admission = Admission { path: "/ws", access_token: None };
        let request = Request::builder().uri("/ws").header("x-self-id", "10").body(()).unwrap();
        assert!(admission.judge(&request, None).is_ok());
    }
}

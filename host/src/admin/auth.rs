//! Who sent a request: said from its head alone, before any route is looked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Uri};

use super::problem::Problem;
use crate::access::{Caller, Role, Scope, Way};
use crate::secret::Secret;

/// What a request came in by.
#[derive(Debug, Clone)]
pub(super) enum Door {
    /// The Unix socket: whoever can open it is the operator.
    Socket,
    /// A TCP listener.
    Tcp {
        /// Where it listens.
        address: SocketAddr,
        /// What lets in.
        token: TokenHandle,
    },
}

/// Who sent a request, as far as its head tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visitor {
    /// Who it is; none: somebody.
    pub(super) caller: Option<Caller>,
    /// What somebody is told where not anybody may ask.
    pub(super) refusal: Problem,
}

/// What lets in by TCP, and the way to change it while the admin side serves. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TokenHandle(Arc<ArcSwapOption<Secret>>);

impl TokenHandle {
    /// Returns a handle on a token; none: only `/health` is open.
    pub(super) fn new(token: Option<Secret>) -> Self {
        let handle = Self::default();
        handle.set(token);
        handle
    }

    /// Puts another token in force, for every request from now on, those on connections that are open already as well. None: only
    /// `/health` is open.
    pub fn set(&self, token: Option<Secret>) {
        self.0.store(token.map(Arc::new));
    }
}

impl Door {
    /// Says who sent a request, from its head alone.
    ///
    /// # Errors
    ///
    /// Whoever it is, it is not served.
    pub(super) fn receive(&self, uri: &Uri, headers: &HeaderMap) -> Result<Visitor, Problem> {
        let Self::Tcp { address, token } = self else {
            return Ok(Visitor { caller: Some(Caller::by_socket()), refusal: Problem::Unauthorized });
        };
        if address.ip().is_loopback() {
            check_host(uri, headers)?;
        }
        check_origin(headers)?;
        if uri.query().is_some_and(has_token) {
            return Err(Problem::TokenInQuery);
        }
        let token = token.0.load();
        let refusal = if token.is_none() { Problem::TokenNotConfigured } else { Problem::Unauthorized };
        let is_right = |token: &Secret| bearer(headers).is_some_and(|given| token.matches(given));
        let by_token = || Caller { name: "token".into(), role: Role::Admin, scope: Scope::Host, way: Way::Token };
        Ok(Visitor { caller: token.as_deref().is_some_and(is_right).then(by_token), refusal })
    }
}

/// Refuses what a page sends after its own name was made to resolve to this machine.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut given = headers.get_all(HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else { return Err(Problem::WrongHost) };
    let named = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok());
    let is_local = named.is_some_and(|authority| is_local(authority.host())) && uri.host().is_none_or(is_local);
    if is_local { Ok(()) } else { Err(Problem::WrongHost) }
}

fn is_local(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Refuses what a page of another origin sends. Programs send no origin.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let authority = origin.as_bytes().strip_prefix(b"http://").or_else(|| origin.as_bytes().strip_prefix(b"https://"));
    let is_own = authority.is_some_and(|origin| headers.get(HOST).is_some_and(|host| host.as_bytes() == origin));
    if is_own { Ok(()) } else { Err(Problem::WrongOrigin) }
}

fn has_token(query: &str) -> bool {
    query
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .any(|key| ["token", "access_token"].iter().any(|name| key.eq_ignore_ascii_case(name)))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(address: &str, token: Option<&str>) -> Door {
        Door::Tcp { address: address.parse().unwrap(), token: TokenHandle::new(token.map(Secret::new)) }
    }

    fn check(door: &Door, uri: &str, headers: &[(&'static str, &str)]) -> Result<(), Problem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let visitor = door.receive(&uri.parse().unwrap(), &map)?;
        // What a path says that not anybody may ask for.
        if uri.ends_with("/health") || visitor.caller.is_some() { Ok(()) } else { Err(visitor.refusal) }
    }

    const LOCAL: (&str, &str) = ("host", "localhost:8080");

    #[test]
    fn a_loopback_listener_answers_to_local_names_only() {
        let door = door("127.0.0.1:8080", None);
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.9.1", "[::1]:8080"] {
            assert_eq!(check(&door, "/health", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a@b:c"] {
            assert_eq!(check(&door, "/health", &[("host", host)]), Err(Problem::WrongHost), "{host}");
        }
        assert_eq!(check(&door, "/health", &[]), Err(Problem::WrongHost));
        assert_eq!(check(&door, "/health", &[LOCAL, ("host", "evil.example")]), Err(Problem::WrongHost));
        assert_eq!(check(&door, "http://evil.example/health", &[LOCAL]), Err(Problem::WrongHost));
    }

    #[test]
    fn a_public_listener_takes_any_name() {
        let door = door("0.0.0.0:8080", Some("t"));
        assert_eq!(check(&door, "/health", &[("host", "bots.example")]), Ok(()));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let door = door("127.0.0.1:8080", None);
        assert_eq!(check(&door, "/health", &[LOCAL, ("origin", "http://localhost:8080")]), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:9090"] {
            assert_eq!(check(&door, "/health", &[LOCAL, ("origin", origin)]), Err(Problem::WrongOrigin), "{origin}");
        }
    }

    #[test]
    fn only_the_whole_token_in_its_header_lets_in() {
        let door = door("127.0.0.1:8080", Some("secret"));
        let given = |value: &str| check(&door, "/api/v1/bots", &[LOCAL, ("authorization", value)]);
        assert_eq!(given("Bearer secret"), Ok(()));
        assert_eq!(given("bearer secret"), Ok(()));
        for bad in ["Bearer secre", "Bearer secrets", "Bearer ", "Bearer", "Basic secret", "secret"] {
            assert_eq!(given(bad), Err(Problem::Unauthorized), "{bad}");
        }
        for query in ["token=secret", "a=b&Access_Token=secret", "token"] {
            let uri = format!("/api/v1/bots?{query}");
            let answer = check(&door, &uri, &[LOCAL, ("authorization", "Bearer secret")]);
            assert_eq!(answer, Err(Problem::TokenInQuery), "{query}");
        }
    }

    #[test]
    fn another_token_counts_from_the_next_request_on_and_the_one_before_no_longer() {
        let token = TokenHandle::new(Some(Secret::new("one")));
        let door = Door::Tcp { address: "127.0.0.1:8080".parse().unwrap(), token: token.clone() };
        let given = |value: &str| check(&door, "/api/v1/bots", &[LOCAL, ("authorization", value)]);
        assert_eq!((given("Bearer one"), given("Bearer two")), (Ok(()), Err(Problem::Unauthorized)));
        token.set(Some(Secret::new("two")));
        assert_eq!((given("Bearer one"), given("Bearer two")), (Err(Problem::Unauthorized), Ok(())));
        token.set(None);
        assert_eq!(given("Bearer two"), Err(Problem::TokenNotConfigured));
        assert_eq!(check(&door, "/health", &[LOCAL]), Ok(()));
    }

    #[test]
    fn without_a_token_only_health_is_open() {
        let door = door("127.0.0.1:8080", None);
        assert_eq!(check(&door, "/health", &[LOCAL]), Ok(()));
        for path in ["/metrics", "/api/v1/bots"] {
            let answer = check(&door, path, &[LOCAL, ("authorization", "Bearer ")]);
            assert_eq!(answer, Err(Problem::TokenNotConfigured), "{path}");
        }
    }

    #[test]
    fn the_socket_is_open() {
        assert_eq!(check(&Door::Socket, "/metrics", &[("host", "anything")]), Ok(()));
    }
}

//! Who sent a request: said from its head alone, before any route is looked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method, Uri};

use super::cookie::{self, Transport};
use super::problem::Problem;
use crate::access::{Admission, Book, Caller, Denied, Key, SignedIn, Source};

/// Says for whom a browser sends a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request came in by.
#[derive(Debug, Clone)]
pub(super) enum Door {
    /// The Unix socket: whoever can open it is the operator.
    Socket,
    /// A TCP listener.
    Tcp(TcpDoor),
}

/// A TCP listener, as its requests are judged by.
#[derive(Debug, Clone)]
pub(super) struct TcpDoor {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// By which names it is called; none: see [`TcpDoor::check_host`].
    pub(super) hosts: Arc<[String]>,
    pub(super) transport: Transport,
    /// Who is let in.
    pub(super) book: Book,
}

/// Who sent a request, as far as its head tells.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// Who it is; none: somebody.
    pub(super) caller: Option<Caller>,
    /// What somebody is told where not anybody may ask.
    pub(super) refusal: Problem,
    /// What a session's pages send along with what changes something; none: it is no session.
    pub(super) csrf: Option<Key>,
    /// The session's id; none: it is no session.
    pub(super) session: Option<Key>,
    /// By what he was let in; none: by the socket, or not at all.
    pub(super) admission: Option<Admission>,
    /// From where; none: by the socket.
    pub(super) address: Option<IpAddr>,
    pub(super) transport: Transport,
}

impl Visitor {
    /// Returns somebody of whom nothing else is known.
    pub(super) fn of(caller: Option<Caller>, refusal: Problem) -> Self {
        let transport = Transport::Plain;
        Self { caller, refusal, csrf: None, session: None, admission: None, address: None, transport }
    }

    /// Returns what is counted of where he comes from; none: by the socket.
    pub(super) fn source(&self) -> Option<Source> {
        self.address.map(Source::from)
    }
}

impl Door {
    /// Says who sent a request, from its head alone. `peer` is who is connected.
    ///
    /// # Errors
    ///
    /// Whoever it is, it is not served.
    pub(super) fn receive(
        &self,
        peer: Option<IpAddr>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Visitor, Problem> {
        let Self::Tcp(door) = self else {
            return Ok(Visitor::of(Some(Caller::by_socket()), Problem::Unauthorized));
        };
        door.check_host(uri, headers)?;
        check_origin(headers)?;
        check_site(method, headers)?;
        if uri.query().is_some_and(has_token) {
            return Err(Problem::TokenInQuery);
        }
        // A connection whose other end is not known any more is gone.
        let address = peer.unwrap_or(door.address.ip());
        Ok(door.identify(address, headers))
    }
}

impl TcpDoor {
    fn identify(&self, address: IpAddr, headers: &HeaderMap) -> Visitor {
        // Where nothing lets in nobody guesses anything.
        let is_open = self.book.lets_anybody_in();
        let refusal = if is_open { Problem::Unauthorized } else { Problem::TokenNotConfigured };
        let transport = self.transport;
        let nobody = Visitor { address: Some(address), transport, ..Visitor::of(None, refusal) };
        if !is_open {
            return nobody;
        }
        if let Some(given) = bearer(headers) {
            return match self.book.by_token(given, Some(address.into())) {
                Ok(caller) => self.let_in(caller, given, nobody),
                Err(Denied::Later(wait)) => Visitor { refusal: Problem::TooManyAttempts(wait), ..nobody },
                Err(Denied::Wrong) => nobody,
            };
        }
        let session = headers.get_all(COOKIE).iter().find_map(|header| cookie::session_id(header, transport));
        let Some(session) = session else { return nobody };
        let id = session.expose().as_bytes();
        match self.book.by_session(id) {
            Some(SignedIn { caller, csrf }) => {
                let visitor = self.let_in(caller, id, nobody);
                Visitor { csrf: Some(csrf), session: Some(session), ..visitor }
            }
            None => nobody,
        }
    }

    fn let_in(&self, caller: Caller, shown: &[u8], nobody: Visitor) -> Visitor {
        let admission = Admission::new(self.book.clone(), caller.clone(), shown);
        Visitor { caller: Some(caller), admission: Some(admission), ..nobody }
    }

    /// Refuses what a page sends after its own name was made to resolve to this machine.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let is_local_only = self.address.ip().is_loopback();
        if self.hosts.is_empty() && !is_local_only {
            return Ok(());
        }
        let mut given = headers.get_all(HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else { return Err(self.wrong_host()) };
        let named = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok());
        let is_own =
            |host: &str| is_local_only && is_local(host) || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        let is_good = named.is_some_and(|authority| is_own(authority.host())) && uri.host().is_none_or(is_own);
        if is_good { Ok(()) } else { Err(self.wrong_host()) }
    }

    fn wrong_host(&self) -> Problem {
        if self.hosts.is_empty() { Problem::WrongHost } else { Problem::UnknownHost }
    }
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

/// Refuses what a page of another site sends, but for following a link to here, which the session's cookie does not come with.
fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let said = |name: &str, value: &str| headers.get(name).is_some_and(|given| given.as_bytes() == value.as_bytes());
    let is_followed =
        *method == Method::GET && said("sec-fetch-mode", "navigate") && said("sec-fetch-dest", "document");
    let is_foreign = said(SEC_FETCH_SITE.as_str(), "cross-site");
    if is_foreign && !is_followed { Err(Problem::WrongOrigin) } else { Ok(()) }
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
mod tests;

//! Reverse: the implementation dials us, with one socket for everything or with one each for events and calls. Owns who may come
//! in, and which sockets the account has at the moment.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, StatusCode, header};
use percent_encoding::percent_decode_str;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_util::sync::CancellationToken;

use super::socket::{Ended, drive};
use super::{Account, Standing};
use crate::connector::link::{End, Life};
use crate::connector::socket::websocket_config;
use crate::secret::Secret;

/// How long a caller may take to say what it wants.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at one moment, admitted or not.
const CONNECTIONS_MAX: usize = 64;
/// How long to wait after the system could not accept, as when it has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Lives one life of a listener.
pub(super) async fn live(
    listen: SocketAddr,
    admission: Admission<'_>,
    life: Life<'_>,
    cancel: &CancellationToken,
) -> End {
    let name = &admission.account.name;
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(connector = %name, %listen, %error, "cannot listen");
            return End::Lost(format!("cannot listen on {listen}: {error}"));
        }
    };
    let address = listener.local_addr().unwrap_or(listen);
    life.listening(address);
    tracing::info!(connector = %name, %address, "waiting for a OneBot implementation");
    let door = Door { admission, life, roster: Mutex::default(), cancel };
    door.note(|_| ());
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(()) = connections.next() => {}
            stream = accept(&listener), if connections.len() < CONNECTIONS_MAX => connections.push(door.serve(stream)),
        }
    }
    while connections.next().await.is_some() {}
    End::Stopped
}

/// Returns the next connection. Cancel-safe.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Everything that the connections of one listener share.
struct Door<'a> {
    admission: Admission<'a>,
    life: Life<'a>,
    roster: Mutex<Roster>,
    cancel: &'a CancellationToken,
}

impl Door<'_> {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what has changed, and whether events and calls both have a socket.
    fn note(&self, change: impl FnOnce(&mut Standing)) {
        if self.cancel.is_cancelled() {
            return;
        }
        let missing = self.roster().missing();
        self.admission.account.note(self.life, |standing| {
            let waits_for = |missing| (format!("waiting for the implementation's {missing}"), Duration::ZERO);
            standing.missing = missing.map(waits_for);
            change(standing);
        });
    }

    /// Serves one connection to its end.
    async fn serve(&self, stream: TcpStream) {
        let account = self.admission.account;
        let name = &account.name;
        let _ = stream.set_nodelay(true);
        let handshake = timeout(HANDSHAKE_TIMEOUT, self.shake_hands(stream));
        let (websocket, Admitted { self_id, role }) = match self.cancel.run_until_cancelled(handshake).await {
            Some(Ok(Ok(admitted))) => admitted,
            Some(Ok(Err(error))) => {
                tracing::warn!(connector = %name, %error, "turned a OneBot connection away");
                return;
            }
            Some(Err(_)) | None => return,
        };
        tracing::info!(connector = %name, %self_id, ?role, "a OneBot implementation connected");
        let socket = self.roster().attach(&self_id, role, self.cancel.child_token());
        let must_prove = role.takes_calls() && account.expected.is_some();
        let calls = if role.takes_calls() { account.caller.open() } else { mpsc::channel(1).1 };
        self.note(|standing| {
            standing.refused = None;
            standing.unproven |= must_prove;
        });
        let proof = async {
            if must_prove {
                self.prove(&socket).await;
            }
        };
        let (ended, ()) = tokio::join!(drive(websocket, calls, account, self.life, &socket.cancel), proof);
        let refused = match &ended {
            Ended::Stranger(error) => Some(error.clone()),
            Ended::Cancelled | Ended::Lost(_) => None,
        };
        let was_current = self.roster().detach(socket.number);
        if was_current {
            tracing::warn!(connector = %name, ?ended, ?role, "the OneBot socket ended");
        }
        self.note(|standing| {
            // Whoever comes next may have the account online.
            standing.offline &= !was_current;
            standing.refused = refused.or_else(|| standing.refused.take());
        });
    }

    /// Asks whose account a socket has; ends the socket where it is not the right one, or nobody can say.
    async fn prove(&self, socket: &Socket) {
        match self.admission.account.prove().await {
            None => self.note(|standing| standing.unproven = false),
            Some(end) => {
                socket.cancel.cancel();
                if let End::Refused { error, .. } = end {
                    self.note(|standing| standing.refused = Some(error));
                }
            }
        }
    }

    async fn shake_hands(&self, stream: TcpStream) -> Result<(WebSocketStream<TcpStream>, Admitted), WsError> {
        let mut admitted = None;
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let judge = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let serves = self.roster().self_id().map(str::to_owned);
            let judged = self.admission.judge(request, serves.as_deref());
            if let Err(Refusal { stranger: Some(error), .. }) = &judged {
                self.note(|standing| standing.refused = standing.missing.is_some().then(|| error.clone()));
            }
            admitted = Some(judged.map_err(ErrorResponse::from)?);
            Ok(response)
        };
        let websocket = accept_hdr_async_with_config(stream, judge, Some(websocket_config())).await?;
        let admitted = admitted.ok_or(WsError::ConnectionClosed)?;
        Ok((websocket, admitted))
    }
}

/// What a connection must show.
pub(super) struct Admission<'a> {
    pub(super) path: &'a str,
    pub(super) access_token: Option<&'a Secret>,
    pub(super) account: &'a Account,
}

/// Who came in.
#[derive(Debug, PartialEq, Eq)]
struct Admitted {
    /// The QQ account.
    self_id: String,
    role: Role,
}

/// Why somebody was turned away.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    why: &'static str,
    /// What the operator is to know of it: somebody with the right token has the wrong account.
    stranger: Option<String>,
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        let mut response = Self::new(Some(format!("{}\n", refusal.why)));
        *response.status_mut() = refusal.status;
        response
    }
}

impl Admission<'_> {
    /// Judges a request. `serves` is the account that is connected already.
    fn judge(&self, request: &Request, serves: Option<&str>) -> Result<Admitted, Refusal> {
        let refuse = |status, why| Err(Refusal { status, why, stranger: None });
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
        if let Some(stranger) = self.account.stranger(self_id) {
            let why = "this connector serves another account";
            return Err(Refusal { status: StatusCode::FORBIDDEN, why, stranger: Some(stranger) });
        }
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
fn given_token(request: &Request) -> Option<Vec<u8>> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let is_known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        return is_known.then(|| token.trim().as_bytes().to_vec());
    }
    let pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == "access_token").map(|(_, value)| percent_decode_str(value).collect())
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Universal,
    Api,
    Event,
}

impl Role {
    fn takes_calls(self) -> bool {
        self != Self::Event
    }

    fn brings_events(self) -> bool {
        self != Self::Api
    }
}

/// What an account lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Both,
    Events,
    Calls,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "connection",
            Self::Events => "event socket",
            Self::Calls => "API socket",
        })
    }
}

/// An entry of the roster.
#[derive(Debug, Clone)]
struct Socket {
    /// Tells it from others of this roster.
    number: u64,
    /// Cancelled when a newer socket takes its place.
    cancel: CancellationToken,
    role: Role,
}

/// The sockets of one account. A connector serves one account: whose messages went where would be a riddle otherwise.
#[derive(Debug, Default)]
struct Roster {
    self_id: Option<String>,
    sockets: Vec<Socket>,
    last_number: u64,
}

impl Roster {
    /// Returns the account whose sockets are open, if any are.
    fn self_id(&self) -> Option<&str> {
        self.self_id.as_deref().filter(|_| !self.sockets.is_empty())
    }

    /// Adds a socket. Those that were for the same, and those of another account, are cancelled and gone.
    fn attach(&mut self, self_id: &str, role: Role, cancel: CancellationToken) -> Socket {
        let is_same = self.self_id.as_deref() == Some(self_id);
        let replaces =
            |old: Role| (role.takes_calls() && old.takes_calls()) || (role.brings_events() && old.brings_events());
        self.sockets.retain(|old| {
            let stays = is_same && !replaces(old.role);
            if !stays {
                old.cancel.cancel();
            }
            stays
        });
        self.self_id = Some(self_id.to_owned());
        self.last_number += 1;
        let socket = Socket { number: self.last_number, cancel, role };
        self.sockets.push(socket.clone());
        socket
    }

    /// Removes a socket; returns whether it was still there, and not replaced before.
    fn detach(&mut self, number: u64) -> bool {
        let before = self.sockets.len();
        self.sockets.retain(|socket| socket.number != number);
        self.sockets.len() < before
    }

    /// Returns what there is no socket for.
    fn missing(&self) -> Option<Missing> {
        let has_calls = self.sockets.iter().any(|socket| socket.role.takes_calls());
        let has_events = self.sockets.iter().any(|socket| socket.role.brings_events());
        match (has_calls, has_events) {
            (true, true) => None,
            (true, false) => Some(Missing::Events),
            (false, true) => Some(Missing::Calls),
            (false, false) => Some(Missing::Both),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::backlog::Backlog;
    use crate::connector::onebot::calls::Caller;

    /// One that expects `10`.
    fn account() -> Account {
        Account {
            name: "qq".parse().unwrap(),
            expected: Some(10),
            reconnect_max: Duration::ZERO,
            stall_timeout: Duration::ZERO,
            backlog: Backlog::default(),
            caller: Caller::sockets(),
            standing: Mutex::default(),
        }
    }

    fn check(uri: &str, headers: &[(&str, &str)], serves: Option<&str>) -> Result<Role, u16> {
        let token = Secret::new("t k/n");
        let account = account();
        let admission = Admission { path: "/ws", access_token: Some(&token), account: &account };
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
            ("/ws", &[("x-self-id", "11"), bearer][..], None, Err(403)),
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
        let account = account();
        let admission = Admission { path: "/ws", access_token: None, account: &account };
        let request = Request::builder().uri("/ws").header("x-self-id", "10").body(()).unwrap();
        assert!(admission.judge(&request, None).is_ok());
    }

    #[test]
    fn an_account_is_whole_with_one_universal_socket_or_with_both_others() {
        let mut roster = Roster::default();
        assert_eq!(roster.missing(), Some(Missing::Both));
        let api = roster.attach("10", Role::Api, CancellationToken::new());
        assert_eq!(roster.missing(), Some(Missing::Events));
        roster.attach("10", Role::Event, CancellationToken::new());
        assert_eq!((roster.missing(), roster.self_id()), (None, Some("10")));
        let universal = roster.attach("10", Role::Universal, CancellationToken::new());
        assert_eq!(roster.missing(), None);
        assert!(api.cancel.is_cancelled() && !roster.detach(api.number));
        assert!(roster.detach(universal.number));
        assert_eq!((roster.missing(), roster.self_id()), (Some(Missing::Both), None));
    }

    #[test]
    fn a_newer_socket_replaces_the_older_one_of_its_role_only() {
        let mut roster = Roster::default();
        let event = roster.attach("10", Role::Event, CancellationToken::new());
        let old = roster.attach("10", Role::Api, CancellationToken::new());
        let new = roster.attach("10", Role::Api, CancellationToken::new());
        assert!(old.cancel.is_cancelled());
        assert!(!event.cancel.is_cancelled() && !new.cancel.is_cancelled());
    }
}

//! Reverse: the implementation dials us, with one socket for everything or with one each for events and calls.

mod admission;
mod roster;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_util::sync::CancellationToken;

use self::admission::{Admission, Admitted};
use self::roster::Roster;
use super::account::Account;
use super::socket::{drive, websocket_config};
use crate::connector::link::pause;
use crate::secret::Secret;

/// How long a caller may take to say what it wants.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at one moment, admitted or not.
const CONNECTIONS_MAX: usize = 64;
/// How long to wait after the system could not accept, as when it has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything that the connections of one listener share.
struct Door<'a> {
    account: &'a Account,
    admission: Admission<'a>,
    roster: Mutex<Roster>,
    cancel: &'a CancellationToken,
}

/// Listens and serves until `cancel` is given.
pub(super) async fn run(
    listen: SocketAddr,
    path: &str,
    access_token: Option<&Secret>,
    account: &Account,
    cancel: &CancellationToken,
) {
    let Some(listener) = bind(listen, account, cancel).await else { return };
    let admission = Admission { path, access_token };
    let door = Door { account, admission, roster: Mutex::default(), cancel };
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(()) = connections.next() => {}
            stream = accept(&listener), if connections.len() < CONNECTIONS_MAX => connections.push(door.serve(stream)),
        }
    }
    while connections.next().await.is_some() {}
}

/// Listens, as soon as the address is free; none when told to stop before.
async fn bind(listen: SocketAddr, account: &Account, cancel: &CancellationToken) -> Option<TcpListener> {
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(listen);
                account.link().listening(address);
                tracing::info!(connector = %account.name(), %address, "waiting for a OneBot implementation");
                return Some(listener);
            }
            Err(error) => {
                tracing::warn!(connector = %account.name(), %listen, %error, "cannot listen");
                let wait = account.link().failed(format_args!("cannot listen on {listen}: {error}"));
                if pause(wait, cancel).await.is_break() {
                    return None;
                }
            }
        }
    }
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

impl Door<'_> {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection to its end.
    async fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let handshake = timeout(HANDSHAKE_TIMEOUT, self.shake_hands(stream));
        let (websocket, Admitted { self_id, role }) = match self.cancel.run_until_cancelled(handshake).await {
            Some(Ok(Ok(admitted))) => admitted,
            Some(Ok(Err(error))) => {
                tracing::warn!(connector = %self.account.name(), %error, "turned a OneBot connection away");
                return;
            }
            Some(Err(_)) | None => return,
        };
        let name = self.account.name();
        tracing::info!(connector = %name, %self_id, ?role, "a OneBot implementation connected");
        let socket = self.roster().attach(&self_id, role, self.cancel.child_token());
        let calls = if role.takes_calls() { self.account.caller.open() } else { mpsc::channel(1).1 };
        self.publish();
        let ended = drive(websocket, calls, self.account, &socket.cancel).await;
        if self.roster().detach(socket.number) {
            tracing::warn!(connector = %name, error = %ended.end, ?role, "the OneBot socket ended");
            self.account.forget_offline();
        }
        self.publish();
    }

    async fn shake_hands(&self, stream: TcpStream) -> Result<(WebSocketStream<TcpStream>, Admitted), WsError> {
        let mut admitted = None;
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let judge = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let serves = self.roster().self_id().map(str::to_owned);
            admitted = Some(self.admission.judge(request, serves.as_deref()).map_err(ErrorResponse::from)?);
            Ok(response)
        };
        let websocket = accept_hdr_async_with_config(stream, judge, Some(websocket_config())).await?;
        let admitted = admitted.ok_or(WsError::ConnectionClosed)?;
        Ok((websocket, admitted))
    }

    /// Publishes whether events and calls both have a socket.
    fn publish(&self) {
        if self.cancel.is_cancelled() {
            return;
        }
        let missing = self.roster().missing();
        let link = self.account.link();
        match missing {
            None => link.connected(),
            Some(missing) => {
                link.failed_for(format_args!("waiting for the implementation's {missing}"), Duration::ZERO);
            }
        }
    }
}

//! Forward: we dial the implementation, again and again.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, handshake::client::Request};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::socket::{SocketEnd, drive, websocket_config};
use crate::connector::link::pause;
use crate::egress::{AddressGuard, DialError, DialTimeouts, Security, Stream, WebSocketUrl, dial};
use crate::secret::Secret;

/// How long the upgrade to a WebSocket may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A refused token may be mended at the other side, so it is tried again, but rarely.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("no WebSocket handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the implementation refuses the access token (HTTP {0})")]
    Token(StatusCode),
    #[error("no OneBot WebSocket there (HTTP {0}); look at the path of `url`")]
    Elsewhere(StatusCode),
    #[error("the WebSocket handshake failed: {0}")]
    Handshake(WsError),
    #[error("`access_token` holds characters that no header can carry")]
    TokenText,
}

/// Connects and reads until `cancel` is given.
pub(super) async fn run(
    url: &WebSocketUrl,
    access_token: Option<&Secret>,
    account: &Account,
    cancel: &CancellationToken,
) {
    while !cancel.is_cancelled() {
        let Some(connected) = cancel.run_until_cancelled(connect(url, access_token)).await else { return };
        let wait = match connected {
            Ok(websocket) => {
                account.link().connected();
                let ended = drive(websocket, account.caller.open(), account, cancel).await;
                if matches!(ended.end, SocketEnd::Cancelled) {
                    return;
                }
                tracing::warn!(connector = %account.name(), error = %ended.end, "the OneBot socket ended");
                let mut link = account.link();
                if ended.was_of_use {
                    link.succeeded();
                }
                link.failed(ended.end)
            }
            Err(error) => {
                tracing::warn!(connector = %account.name(), %error, "cannot connect to the OneBot implementation");
                let mut link = account.link();
                match error {
                    ConnectError::Token(_) | ConnectError::TokenText => {
                        link.refused(error);
                        REFUSED_WAIT
                    }
                    ConnectError::Elsewhere(_) => link.failed_long(error),
                    _ => link.failed(error),
                }
            }
        };
        // Whoever answers next may have the account online.
        account.forget_offline();
        if pause(wait, cancel).await.is_break() {
            return;
        }
    }
}

async fn connect(url: &WebSocketUrl, access_token: Option<&Secret>) -> Result<WebSocketStream<Stream>, ConnectError> {
    let endpoint = &url.0;
    let request = request(url, access_token)?;
    let stream =
        dial(&endpoint.host, endpoint.port, endpoint.security, AddressGuard::no_metadata(), DialTimeouts::default())
            .await?;
    let handshake = client_async_with_config(request, stream, Some(websocket_config()));
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Err(_) => Err(ConnectError::TimedOut),
        Ok(Ok((websocket, _))) => Ok(websocket),
        Ok(Err(WsError::Http(response))) => Err(match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => ConnectError::Token(status),
            status if status.is_server_error() => ConnectError::Handshake(WsError::Http(response)),
            status => ConnectError::Elsewhere(status),
        }),
        Ok(Err(error)) => Err(ConnectError::Handshake(error)),
    }
}

fn request(url: &WebSocketUrl, access_token: Option<&Secret>) -> Result<Request, ConnectError> {
    let endpoint = &url.0;
    let scheme = if endpoint.security == Security::Tls { "wss" } else { "ws" };
    let mut request = format!("{scheme}://{}{}", endpoint.authority, endpoint.target)
        .into_client_request()
        .map_err(ConnectError::Handshake)?;
    if let Some(token) = access_token {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| ConnectError::TokenText)?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

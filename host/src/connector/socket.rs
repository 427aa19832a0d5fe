//! A WebSocket that a connector dials: guarded, bounded in every direction, and with an end that says why.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::link::brief;
use crate::egress::{AddressGuard, DialError, DialTimeouts, Endpoint, Security, Stream, dial};

/// Largest message of a platform, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// How long the upgrade to a WebSocket may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the platform may not read what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a polite end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the bounds of every socket.
pub(super) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Nothing came back.
    #[error("no WebSocket handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    /// The other side answered with something else than an upgrade.
    #[error("no WebSocket there (HTTP {0})")]
    Refused(StatusCode),
    /// The upgrade went wrong.
    #[error("the WebSocket handshake failed: {0}")]
    Handshake(WsError),
}

/// Why a socket is no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketEnd {
    /// The other side ended it, with a code and a reason where it gave them.
    #[error("closed by the platform{}", said(*.code, .reason))]
    Closed {
        /// The close code.
        code: Option<u16>,
        /// In the platform's words.
        reason: String,
    },
    /// It broke.
    #[error("connection lost: {0}")]
    Broken(WsError),
    /// The other side does not read.
    #[error("the platform does not read")]
    Stuck,
}

fn said(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => String::new(),
        (Some(code), "") => format!(" ({code})"),
        (Some(code), reason) => format!(" ({code}: {reason})"),
    }
}

/// What came over a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A text.
    Text(String),
    /// A sign of life, or something that is not text; there is nothing to read in it.
    Sign,
}

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: WebSocketStream<Stream>,
}

impl Socket {
    /// Connects to a `ws` or `wss` endpoint with these headers besides the usual ones.
    pub(super) async fn open(endpoint: &Endpoint, headers: HeaderMap, guard: &AddressGuard) -> Result<Self, OpenError> {
        let scheme = if endpoint.security == Security::Tls { "wss" } else { "ws" };
        let mut request = format!("{scheme}://{}{}", endpoint.authority, endpoint.target)
            .into_client_request()
            .map_err(OpenError::Handshake)?;
        request.headers_mut().extend(headers);
        let timeouts = DialTimeouts::default();
        let stream = dial(&endpoint.host, endpoint.port, endpoint.security, guard.clone(), timeouts).await?;
        let handshake = client_async_with_config(request, stream, Some(websocket_config()));
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Err(_) => Err(OpenError::TimedOut),
            Ok(Ok((stream, _))) => Ok(Self { stream }),
            Ok(Err(WsError::Http(response))) => Err(OpenError::Refused(response.status())),
            Ok(Err(error)) => Err(OpenError::Handshake(error)),
        }
    }

    /// Gives the bare socket out, for a connector that reads and writes side by side.
    pub(super) fn into_stream(self) -> WebSocketStream<Stream> {
        self.stream
    }

    /// Returns what comes next; pings are answered by themselves. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Frame, SocketEnd> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(Frame::Text(text.as_str().to_owned())),
            Some(Ok(Message::Close(frame))) => Err(SocketEnd::Closed {
                code: frame.as_ref().map(|frame| frame.code.into()),
                reason: frame.map(|frame| brief(&frame.reason)).unwrap_or_default(),
            }),
            Some(Ok(_)) => Ok(Frame::Sign),
            Some(Err(error)) => Err(SocketEnd::Broken(error)),
            None => Err(SocketEnd::Closed { code: None, reason: String::new() }),
        }
    }

    /// Writes a text. Cancelled, part of it may have been written: the socket is of no more use then.
    pub(super) async fn send(&mut self, text: String) -> Result<(), SocketEnd> {
        self.write(Message::text(text)).await
    }

    async fn write(&mut self, message: Message) -> Result<(), SocketEnd> {
        match timeout(WRITE_TIMEOUT, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SocketEnd::Broken(error)),
            Err(_) => Err(SocketEnd::Stuck),
        }
    }

    /// Ends it with a close code, and does not wait long for the other side's.
    pub(super) async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static(reason) };
        let _ = timeout(CLOSE_TIMEOUT, self.stream.close(Some(frame))).await;
    }
}

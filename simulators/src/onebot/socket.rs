//! One WebSocket of the fake.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_hdr_async, connect_async};

use super::api::{self, Outcome};
use super::{Command, Shared};

/// What a socket is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    pub(super) events: bool,
    pub(super) calls: bool,
}

pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut sockets = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                sockets.spawn(async move {
                    let commands = shared.commands.subscribe();
                    if let Ok((websocket, role)) = accept(stream, shared.token().as_deref()).await {
                        run(websocket, role, shared, commands).await;
                    }
                });
            }
            Some(_) = sockets.join_next() => {}
        }
    }
}

async fn accept(stream: TcpStream, token: Option<&str>) -> Result<(WebSocketStream<TcpStream>, Role), WsError> {
    let mut role = Role { events: true, calls: true };
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let judge = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let refuse = |status: StatusCode| {
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = status;
            Err(response)
        };
        let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        match (token, given) {
            (Some(_), None) => return refuse(StatusCode::UNAUTHORIZED),
            (Some(token), Some(given)) if token != given => return refuse(StatusCode::FORBIDDEN),
            _ => {}
        }
        match request.uri().path() {
            "/" => {}
            "/event" => role.calls = false,
            "/api" => role.events = false,
            _ => return refuse(StatusCode::NOT_FOUND),
        }
        Ok(response)
    };
    let websocket = accept_hdr_async(stream, judge).await?;
    Ok((websocket, role))
}

pub(super) async fn dial(
    self_id: i64,
    url: &str,
    role: &str,
    token: Option<&str>,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, u16> {
    let mut request = url.into_client_request().expect("a URL");
    let headers = request.headers_mut();
    headers.insert("x-self-id", self_id.to_string().parse().expect("digits"));
    headers.insert("x-client-role", role.parse().expect("a word"));
    headers.insert("user-agent", "OneBot/11".parse().expect("a word"));
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().expect("a token"));
    }
    match connect_async(request).await {
        Ok((websocket, _)) => Ok(websocket),
        Err(WsError::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("cannot dial {url}: {error}"),
    }
}

/// Counts a socket as open.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.sockets_ever.fetch_add(1, Ordering::SeqCst);
        shared.sockets.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut websocket: WebSocketStream<S>,
    role: Role,
    shared: Arc<Shared>,
    mut commands: broadcast::Receiver<Command>,
) {
    let _open = Open::new(&shared);
    if role.events {
        let connect = json!({"time": 1_700_000_000, "self_id": shared.self_id(), "post_type": "meta_event",
            "meta_event_type": "lifecycle", "sub_type": "connect"});
        if websocket.send(Message::text(connect.to_string())).await.is_err() {
            return;
        }
    }
    loop {
        tokio::select! {
            message = websocket.next() => match message {
                Some(Ok(Message::Text(text))) if role.calls => {
                    let frame: Value = serde_json::from_str(&text).expect("an application that writes JSON");
                    match api::call(&shared, &frame) {
                        Outcome::Answer(answer) => {
                            if websocket.send(Message::text(answer.to_string())).await.is_err() {
                                return;
                            }
                        }
                        Outcome::Silence => {}
                        Outcome::Disconnect => return,
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            command = commands.recv() => match command {
                Ok(Command::Frame(frame)) if role.events => {
                    if websocket.send(Message::text(&*frame)).await.is_err() {
                        return;
                    }
                }
                Ok(Command::Frame(_)) => {}
                Ok(Command::CloseWith(code)) => {
                    let frame = CloseFrame { code: code.into(), reason: "as told".into() };
                    let _ = websocket.close(Some(frame)).await;
                    return;
                }
                Ok(Command::Hang) => std::future::pending().await,
                Ok(Command::Close) | Err(_) => {
                    let _ = websocket.close(None).await;
                    return;
                }
            },
        }
    }
}

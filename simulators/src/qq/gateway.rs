//! The gateway: hello, identify or resume, dispatches, heartbeats, and closes with the platform's codes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::state::{BOT_ID, Session, State};

/// Frames that wait for one connection.
const FRAMES_MAX: usize = 4096;

/// What a connection is told to do.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// Send it.
    Frame(String),
    /// Close with a code.
    Close(u16),
    /// Go away without a word.
    Break,
}

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(connection(stream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    let interval = state.lock().interval;
    let hello = json!({"op": 10, "d": {"heartbeat_interval": interval.as_millis() as u64}});
    if socket.send(Message::text(hello.to_string())).await.is_err() {
        return;
    }
    let (commands, mut told) = mpsc::channel(FRAMES_MAX);
    let mut session = None;
    talk(&mut socket, &state, interval, &commands, &mut told, &mut session).await;
    let mut inner = state.lock();
    // A newer connection may have taken the session over.
    if let Some(session) = session
        && inner.sockets.get(&session).is_some_and(|socket| socket.same_channel(&commands))
    {
        inner.sockets.remove(&session);
    }
}

/// Serves a connection until its end.
async fn talk(
    socket: &mut WebSocketStream<TcpStream>,
    state: &State,
    interval: Duration,
    commands: &mpsc::Sender<Command>,
    told: &mut mpsc::Receiver<Command>,
    session: &mut Option<String>,
) {
    // Two beats may be missed, and a little more.
    let silence = interval * 2 + Duration::from_secs(2);
    let mut silent_at = Instant::now() + silence;
    loop {
        let message = tokio::select! {
            () = sleep_until(silent_at) => {
                close(socket, 4009).await;
                return;
            }
            command = told.recv() => match command {
                Some(Command::Frame(text)) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                    continue;
                }
                Some(Command::Close(code)) => {
                    close(socket, code).await;
                    return;
                }
                Some(Command::Break) | None => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let Ok(frame) = serde_json::from_str::<Value>(&message) else {
            close(socket, 4002).await;
            return;
        };
        let answered = match frame["op"].as_u64() {
            Some(1) if session.is_some() => {
                silent_at = Instant::now() + silence;
                if state.ignores_heartbeats.load(Ordering::SeqCst) {
                    continue;
                }
                Ok(vec![json!({"op": 11})])
            }
            Some(2) if session.is_none() => identify(state, &frame["d"], commands, session),
            Some(6) if session.is_none() => resume(state, &frame["d"], commands, session),
            Some(1) => Err(4003),
            Some(2 | 6) => Err(4005),
            _ => Err(4001),
        };
        let frames = match answered {
            Ok(frames) => frames,
            Err(code) => {
                close(socket, code).await;
                return;
            }
        };
        for frame in frames {
            if socket.send(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
    }
}

async fn close(socket: &mut WebSocketStream<TcpStream>, code: u16) {
    let frame = CloseFrame { code: code.into(), reason: "the platform closes".into() };
    let _ = socket.close(Some(frame)).await;
    // Until the other side has read it: what is left unread would reset the connection before.
    while let Some(Ok(_)) = socket.next().await {}
}

/// Begins a session.
fn identify(
    state: &State,
    d: &Value,
    commands: &mpsc::Sender<Command>,
    session: &mut Option<String>,
) -> Result<Vec<Value>, u16> {
    let id = format!("session-{}", state.next());
    state.lock().identifies.push(d.clone());
    let is_known = d["token"].as_str().is_some_and(|token| state.knows(token));
    let mut inner = state.lock();
    if let Some(code) = inner.refuses_with {
        return Err(code);
    }
    if !is_known {
        return Err(4004);
    }
    if inner.identifies_left == 0 {
        return Err(4008);
    }
    inner.identifies_left -= 1;
    let intents = d["intents"].as_u64().filter(|intents| *intents < 1 << 31).ok_or(4013u16)?;
    if d["shard"] != json!([0, 1]) {
        return Err(4010);
    }
    inner.sessions.push(Session { id: id.clone(), intents, seq: 1, log: Vec::new() });
    inner.sockets.insert(id.clone(), commands.clone());
    *session = Some(id.clone());
    let user = json!({"id": BOT_ID, "username": "Bot", "bot": true});
    let data = json!({"version": 1, "session_id": id, "user": user, "shard": [0, 1]});
    Ok(vec![json!({"op": 0, "s": 1, "t": "READY", "d": data})])
}

/// Takes a session up again: what it missed, then `RESUMED`. The token comes with its prefix or without.
fn resume(
    state: &State,
    d: &Value,
    commands: &mpsc::Sender<Command>,
    session: &mut Option<String>,
) -> Result<Vec<Value>, u16> {
    state.lock().resumes.push(d.clone());
    let token = d["token"].as_str().unwrap_or_default();
    let is_known = state.is_good(token.strip_prefix("QQBot ").unwrap_or(token));
    let mut inner = state.lock();
    if let Some(code) = inner.refuses_with {
        return Err(code);
    }
    if !is_known {
        return Err(4004);
    }
    let seq = d["seq"].as_u64().ok_or(4007u16)?;
    let Some(found) = inner.sessions.iter_mut().find(|session| d["session_id"] == *session.id) else {
        return Ok(vec![json!({"op": 9, "d": false})]);
    };
    if seq > found.seq {
        return Err(4007);
    }
    let mut frames: Vec<_> = found.log.iter().filter(|(own, _)| *own > seq).map(|(_, frame)| frame.clone()).collect();
    found.seq += 1;
    frames.push(json!({"op": 0, "s": found.seq, "t": "RESUMED", "d": ""}));
    let id = found.id.clone();
    inner.sockets.insert(id.clone(), commands.clone());
    *session = Some(id);
    Ok(frames)
}

//! One open WebSocket: reads events and answers, writes calls and pings, until it ends. Reading and writing go on side by
//! side, so that neither side ever waits for the other while its buffers are full.

use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::calls::{self, Call, Pending};
use super::event::{self, Frame};
use super::liveness::{Due, Liveness};

/// Largest message of an implementation, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// How long a polite end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the bounds of every socket.
pub(super) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// Why a socket is no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketEnd {
    /// It was told to.
    #[error("closed by this side")]
    Cancelled,
    /// The other side ended it.
    #[error("closed by the implementation")]
    Closed,
    /// It broke.
    #[error("connection lost: {0}")]
    Broken(WsError),
    /// Nothing came any more.
    #[error("nothing heard for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The other side does not read.
    #[error("the implementation does not read")]
    Stuck,
}

/// What came of a socket.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: SocketEnd,
    /// Whether anything ever came over it.
    pub(super) was_of_use: bool,
}

/// Drives a socket until it ends or `cancel` is given. `calls` are written to it.
pub(super) async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    websocket: WebSocketStream<S>,
    mut calls: mpsc::Receiver<Call>,
    account: &Account,
    cancel: &CancellationToken,
) -> Ended {
    let (mut sink, stream) = websocket.split();
    let pending = Pending::default();
    let mut was_of_use = false;
    let (ask, asked) = mpsc::channel(1);
    let end = tokio::select! {
        () = cancel.cancelled() => SocketEnd::Cancelled,
        end = read(stream, account, &pending, &ask, &mut was_of_use) => end,
        end = write(&mut sink, &mut calls, asked, account, &pending) => end,
    };
    calls::refuse_rest(&mut calls);
    let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
    Ended { end, was_of_use }
}

/// Reads as long as the backlog has room.
async fn read(
    mut stream: impl Stream<Item = Result<Message, WsError>> + Unpin,
    account: &Account,
    pending: &Pending,
    ask: &mpsc::Sender<()>,
    was_of_use: &mut bool,
) -> SocketEnd {
    let mut liveness = Liveness::new(account.stall_timeout, Instant::now());
    loop {
        let mut room = pin!(account.backlog.room(|| pending.is_waited_for()));
        if room.as_mut().now_or_never().is_none() {
            room.await;
            // Whatever was said meanwhile is still to be read; it is no silence of theirs.
            liveness.heard(Instant::now());
        }
        let (at, due) = liveness.next();
        let message = tokio::select! {
            message = stream.next() => message,
            () = sleep_until(at) => {
                match due {
                    Due::Dead => return SocketEnd::Silent(liveness.silence(Instant::now())),
                    Due::Ask => {
                        liveness.asked();
                        // One that still waits to be written will do.
                        let _ = ask.try_send(());
                        continue;
                    }
                }
            }
        };
        liveness.heard(Instant::now());
        // Whatever it is, a pong too: the implementation sent it.
        if matches!(message, Some(Ok(_))) {
            account.signs.succeeded();
        }
        match message {
            None | Some(Ok(Message::Close(_)) | Err(WsError::ConnectionClosed)) => return SocketEnd::Closed,
            Some(Err(error)) => return SocketEnd::Broken(error),
            Some(Ok(Message::Text(text))) => {
                *was_of_use = true;
                take(&text, account, pending, &mut liveness);
            }
            // Pings are answered by the socket itself.
            Some(Ok(_)) => {}
        }
    }
}

fn take(text: &str, account: &Account, pending: &Pending, liveness: &mut Liveness) {
    match event::read(account.name(), text) {
        Frame::Answer { echo, answer } => pending.finish(&echo, answer),
        Frame::Event(event) => account.backlog.push(*event, text.len()),
        Frame::Heartbeat { interval, online } => {
            liveness.heartbeat(interval);
            account.set_online(online, interval);
        }
        Frame::Nothing => {}
    }
}

/// Writes calls and pings. Every frame is written within the stall timeout, or the socket is given up.
async fn write(
    sink: &mut (impl Sink<Message, Error = WsError> + Unpin),
    calls: &mut mpsc::Receiver<Call>,
    mut asked: mpsc::Receiver<()>,
    account: &Account,
    pending: &Pending,
) -> SocketEnd {
    loop {
        let message = tokio::select! {
            // No call will come once another socket takes them; pings go on.
            Some(call) = calls.recv() => {
                let Some(frame) = pending.begin(call) else { continue };
                account.backlog.reconsider();
                Message::text(frame)
            }
            Some(()) = asked.recv() => Message::Ping(Bytes::new()),
        };
        match timeout(account.stall_timeout, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return SocketEnd::Broken(error),
            Err(_) => return SocketEnd::Stuck,
        }
    }
}

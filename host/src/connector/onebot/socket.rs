//! One open WebSocket: reads events and answers, writes calls and pings, until it ends. Reading and writing go on side by
//! side, so that neither side ever waits for the other while its buffers are full; whether a silent socket still lives is judged
//! here too.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use super::Account;
use super::calls::{self, Call, Pending};
use super::event::{self, Frame};
use crate::connector::link::{Life, brief};
use crate::connector::socket::SocketEnd;

/// How long a polite end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Heartbeats that may be missed.
const HEARTBEATS_MISSED_MAX: u32 = 3;

/// A promise to be heard of more often than this is not believed: some write seconds where milliseconds are meant.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// A promise to be heard of less often than this is not believed.
const HEARTBEAT_MAX: Duration = Duration::from_secs(600);

/// What came of a socket.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to end.
    Cancelled,
    /// It is no more, for this reason.
    Lost(String),
    /// It brought something of an account that is not ours.
    Stranger(String),
}

impl From<SocketEnd> for Ended {
    fn from(end: SocketEnd) -> Self {
        Self::Lost(end.to_string())
    }
}

/// Drives a socket until it ends or `cancel` is given. `calls` are written to it.
pub(super) async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    websocket: WebSocketStream<S>,
    mut calls: mpsc::Receiver<Call>,
    account: &Account,
    life: Life<'_>,
    cancel: &CancellationToken,
) -> Ended {
    let (mut sink, stream) = websocket.split();
    let pending = Pending::default();
    let (ask, asked) = mpsc::channel(1);
    let ended = tokio::select! {
        () = cancel.cancelled() => Ended::Cancelled,
        ended = read(stream, account, life, &pending, &ask) => ended,
        end = write(&mut sink, &mut calls, asked, account, &pending) => end.into(),
    };
    calls::refuse_rest(&mut calls);
    let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
    ended
}

/// Reads as long as the backlog has room.
async fn read(
    mut stream: impl Stream<Item = Result<Message, WsError>> + Unpin,
    account: &Account,
    life: Life<'_>,
    pending: &Pending,
    ask: &mpsc::Sender<()>,
) -> Ended {
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
                    Due::Dead => {
                        let silence = liveness.silence(Instant::now());
                        return Ended::Lost(format!("nothing heard for {} ms", silence.as_millis()));
                    }
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
            life.heard();
        }
        match message {
            Some(Ok(Message::Close(frame))) => return closed(frame).into(),
            None | Some(Err(WsError::ConnectionClosed)) => return closed(None).into(),
            Some(Err(error)) => return SocketEnd::Broken(error).into(),
            Some(Ok(Message::Text(text))) => {
                life.of_use();
                if let ControlFlow::Break(stranger) = take(&text, account, life, pending, &mut liveness) {
                    return Ended::Stranger(stranger);
                }
            }
            // Pings are answered by the socket itself.
            Some(Ok(_)) => {}
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> SocketEnd {
    SocketEnd::Closed {
        code: frame.as_ref().map(|frame| frame.code.into()),
        reason: frame.map(|frame| brief(&frame.reason)).unwrap_or_default(),
    }
}

/// Takes a frame in. Breaks off where it is of an account that is not ours.
fn take(
    text: &str,
    account: &Account,
    life: Life<'_>,
    pending: &Pending,
    liveness: &mut Liveness,
) -> ControlFlow<String> {
    match event::read(&account.name, text) {
        Frame::Answer { echo, answer } => pending.finish(&echo, answer),
        Frame::Event { self_id, event } => match account.stranger(&self_id) {
            Some(stranger) => return ControlFlow::Break(stranger),
            None => account.backlog.push(*event, text.len()),
        },
        Frame::Heartbeat { interval, online } => {
            liveness.heartbeat(interval);
            account.note(life, |standing| standing.offline = !online);
        }
        Frame::Nothing | Frame::Garbage => {}
    }
    ControlFlow::Continue(())
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

/// What is known of one socket.
#[derive(Debug)]
struct Liveness {
    stall_timeout: Duration,
    /// How often the implementation says that it lives, once it has said so.
    heartbeat: Option<Duration>,
    heard_at: Instant,
    was_asked: bool,
}

/// What a silence calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Ask for a sign of life.
    Ask,
    /// Nothing more will come.
    Dead,
}

impl Liveness {
    fn new(stall_timeout: Duration, now: Instant) -> Self {
        Self { stall_timeout, heartbeat: None, heard_at: now, was_asked: false }
    }

    /// Notes any frame; also the end of a time in which nobody listened.
    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.was_asked = false;
    }

    /// Returns for how long nothing was heard.
    fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard_at)
    }

    /// Notes how often heartbeats come.
    fn heartbeat(&mut self, interval: Duration) {
        self.heartbeat = (!interval.is_zero()).then(|| interval.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX));
    }

    /// Notes that a sign of life was asked for.
    fn asked(&mut self) {
        self.was_asked = true;
    }

    /// Returns what is to be done next, and when, if nothing is heard until then.
    fn next(&self) -> (Instant, Due) {
        match self.heartbeat {
            Some(interval) => (self.heard_at + interval.saturating_mul(HEARTBEATS_MISSED_MAX), Due::Dead),
            None if self.was_asked => (self.heard_at + self.stall_timeout, Due::Dead),
            None => (self.heard_at + self.stall_timeout / 2, Due::Ask),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_heartbeats_a_silence_is_asked_about_and_then_believed() {
        let start = Instant::now();
        let mut liveness = Liveness::new(40 * SECOND, start);
        assert_eq!(liveness.next(), (start + 20 * SECOND, Due::Ask));
        liveness.asked();
        assert_eq!(liveness.next(), (start + 40 * SECOND, Due::Dead));
        liveness.heard(start + 21 * SECOND);
        assert_eq!(liveness.next(), (start + 41 * SECOND, Due::Ask));
    }

    #[test]
    fn with_heartbeats_three_may_be_missed() {
        let start = Instant::now();
        let mut liveness = Liveness::new(40 * SECOND, start);
        liveness.heartbeat(5 * SECOND);
        assert_eq!(liveness.next(), (start + 15 * SECOND, Due::Dead));
        liveness.heartbeat(Duration::ZERO);
        assert_eq!(liveness.next().1, Due::Ask, "an interval of nothing is no promise");
    }

    #[test]
    fn a_heartbeat_is_believed_to_come_at_most_every_second_and_at_least_every_ten_minutes() {
        let start = Instant::now();
        let mut liveness = Liveness::new(40 * SECOND, start);
        for (interval, dead_after) in [
            (Duration::from_millis(15), 3 * SECOND),
            (SECOND, 3 * SECOND),
            (2 * SECOND, 6 * SECOND),
            (Duration::MAX, 1800 * SECOND),
        ] {
            liveness.heartbeat(interval);
            assert_eq!(liveness.next(), (start + dead_after, Due::Dead), "{interval:?}");
        }
    }
}

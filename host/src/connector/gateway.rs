//! The gateway protocol that Discord has and QQ took over: a WebSocket of numbered dispatches with heartbeats, whose session can be
//! resumed. Owns the session and what is kept of it, the heartbeats, and how often a bot may identify itself; what a dispatch means is
//! its connector's affair.
//!
//! ```text
//! hello ─► resume, where a session is kept ──► missed dispatches, RESUMED ─► dispatches …
//!      └─► identify, where the budget allows ─► READY ───────────────────────┘
//! ```

mod heart;
mod platform;
mod session;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use self::heart::Heart;
pub(super) use self::platform::{Closing, Dispatch, Invitation, Platform};
pub(super) use self::session::{Identifies, SessionLimit, Sessions};
use self::session::{Session, lock};
use super::link::{End, Life};
use super::socket::{Frame, OpenError, Socket, SocketEnd};
use super::{Inbox, Stopping};
use crate::egress::{AddressGuard, WebSocketUrl};

/// How long the other side may take to greet, and to answer an identify.
const GREETING_TIMEOUT: Duration = Duration::from_secs(20);
/// Dispatches that were read and that the host does not have yet. Past it, reading stops.
const BACKLOG_MAX: usize = 128;
/// Events that are on their way into the host at one moment.
const SUBMITTED_MAX: usize = 64;
/// How long what was read may take to reach the host once a session has ended for good.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often at the most it is kept how far a session is. What comes twice by it is recognised by its id.
const KEEP_EVERY: Duration = Duration::from_secs(2);
/// A close code that leaves the session alive.
const CLOSE_TO_RESUME: u16 = 4000;

/// A frame of the platform's.
#[derive(Deserialize)]
struct Received {
    op: u64,
    #[serde(default)]
    d: Value,
    s: Option<u64>,
    t: Option<String>,
    id: Option<Value>,
}

/// What one life of a gateway connection is given.
pub(super) struct Lines<'a> {
    pub(super) life: Life<'a>,
    pub(super) inbox: &'a Inbox,
    pub(super) guard: &'a AddressGuard,
    pub(super) sessions: &'a Sessions,
    pub(super) identifies: &'a Identifies,
    /// Which shard this is.
    pub(super) shard: u32,
}

/// Lives one life: connects, resumes or identifies, and hands dispatches to the host until it ends. Dropped, the session stays alive.
pub(super) async fn live(platform: &impl Platform, lines: Lines<'_>) -> End {
    match connect(platform, &lines).await {
        Ok((socket, heart, session)) => serve(platform, &lines, socket, heart, session).await,
        Err(end) => end,
    }
}

/// Connects and says who is there. Returns the session that is to be resumed, where one is.
async fn connect(platform: &impl Platform, lines: &Lines<'_>) -> Result<(Socket, Heart, Option<Session>), End> {
    let session = lines.sessions.recall().await;
    let own_url = session.as_ref().filter(|_| lines.sessions.is_reachable());
    let resumed_at = own_url.and_then(|session| session.url.as_deref()?.parse().ok());
    let (url, limit) = match (resumed_at, &session) {
        (Some(url), Some(_)) => (url, None),
        _ => {
            let invitation = platform.invitation().await?;
            (invitation.url, Some(invitation.limit))
        }
    };
    let WebSocketUrl(endpoint) = url;
    let opened = Socket::open(&endpoint, HeaderMap::new(), lines.guard).await;
    lines.sessions.reached(opened.is_ok());
    let mut socket = opened.map_err(|error| match error {
        OpenError::Refused(status) if status.is_client_error() && session.is_none() => {
            End::lost(format_args!("no gateway there (HTTP {status})"))
        }
        error => End::lost(error),
    })?;
    lines.life.authenticating();
    let heart = match timeout(GREETING_TIMEOUT, receive(&mut socket)).await {
        Err(_) => return Err(End::lost("the gateway did not say hello")),
        Ok(Err(end)) => {
            let Ended { end, is_over } = closed(platform, end);
            if is_over {
                lines.sessions.forget().await;
            }
            return Err(end);
        }
        Ok(Ok(hello)) if hello.op == 10 => {
            let interval = hello.d["heartbeat_interval"].as_u64().unwrap_or(41_250);
            Heart::new(Duration::from_millis(interval), fastrand::f64(), Instant::now())
        }
        Ok(Ok(other)) => return Err(End::lost(format_args!("op {} in place of a hello", other.op))),
    };
    let (op, d) = match &session {
        Some(session) => {
            lines.sessions.resuming();
            (6, platform.resume(&session.id, session.seq).await?)
        }
        None => {
            lines.identifies.take(lines.shard, limit.unwrap_or_default()).await?;
            (2, platform.identify().await?)
        }
    };
    socket.send(json!({"op": op, "d": d}).to_string()).await.map_err(End::lost)?;
    Ok((socket, heart, session))
}

/// Returns the next frame that is one.
async fn receive(socket: &mut Socket) -> Result<Received, SocketEnd> {
    loop {
        if let Frame::Text(text) = socket.next().await?
            && let Ok(received) = serde_json::from_str(&text)
        {
            return Ok(received);
        }
    }
}

/// How reading ended.
struct Ended {
    end: End,
    /// The session is gone with it.
    is_over: bool,
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        Self { end, is_over: false }
    }
}

/// Judges how a socket ended.
fn closed(platform: &impl Platform, end: SocketEnd) -> Ended {
    let code = if let SocketEnd::Closed { code, .. } = &end { *code } else { None };
    let error = end.to_string();
    let (end, is_over) = match platform.closing(code) {
        Closing::Resume => (End::Renew(error), false),
        Closing::ResumeAfter(wait) => (End::Wait(wait, error), false),
        // Not at once: there are so many identifies a day.
        Closing::Identify => (End::Lost(error), true),
        Closing::Refused(why) => (End::refused(format_args!("{why}: {error}")), true),
    };
    Ended { end, is_over }
}

/// Reads until the connection ends, and gives the host what was read before a session is forgotten: nobody would say it again.
async fn serve(
    platform: &impl Platform,
    lines: &Lines<'_>,
    mut socket: Socket,
    mut heart: Heart,
    session: Option<Session>,
) -> End {
    let (to_host, dispatches) = mpsc::channel(BACKLOG_MAX);
    let (taken, session_started) =
        (AtomicU64::new(session.as_ref().map_or(0, |session| session.seq)), Mutex::new(session));
    let mut pump = pin!(pump(platform, lines, dispatches, &taken, &session_started));
    let Ended { end, is_over } = tokio::select! {
        ended = read(platform, lines, &mut socket, &mut heart, &to_host, (&taken, &session_started)) => ended,
        _ = &mut pump => return End::Stopped,
    };
    drop(to_host);
    if !is_over {
        // By this code the session stays alive.
        socket.close(CLOSE_TO_RESUME, "resuming").await;
    } else {
        drop(socket);
        if matches!(timeout(DRAIN_MAX, pump).await, Ok(Err(Stopping))) {
            return End::Stopped;
        }
        lines.sessions.forget().await;
    }
    end
}

async fn read(
    platform: &impl Platform,
    lines: &Lines<'_>,
    socket: &mut Socket,
    heart: &mut Heart,
    to_host: &mpsc::Sender<(u64, Dispatch)>,
    (taken, session): (&AtomicU64, &Mutex<Option<Session>>),
) -> Ended {
    let read = async {
        let mut last_seq = taken.load(Ordering::Relaxed);
        let greeted_by = Instant::now() + GREETING_TIMEOUT;
        let mut is_greeted = false;
        loop {
            let Some(permit) = room(to_host, lines, socket, heart, last_seq).await? else { continue };
            let received = tokio::select! {
                received = receive(socket) => received.map_err(|end| closed(platform, end))?,
                () = sleep_until(heart.due_at) => {
                    beat(socket, heart, last_seq).await?;
                    continue;
                }
                () = sleep_until(greeted_by), if !is_greeted => return Err(End::lost("no answer to who is there").into()),
            };
            lines.life.heard();
            last_seq = received.s.unwrap_or(last_seq).max(last_seq);
            match (received.op, received.t) {
                (0, Some(kind)) => {
                    // What was missed comes before it is said that it has come.
                    is_greeted = true;
                    if kind == "READY" {
                        platform.ready(&received.d)?;
                        taken.store(last_seq, Ordering::Relaxed);
                        let begun = Session {
                            id: received.d["session_id"].as_str().unwrap_or_default().to_owned(),
                            seq: last_seq,
                            url: received.d["resume_gateway_url"].as_str().and_then(resume_url),
                        };
                        lines.sessions.keep(&begun).await;
                        *lock(session) = Some(begun);
                    }
                    if matches!(kind.as_str(), "READY" | "RESUMED") {
                        lines.sessions.begun();
                        lines.life.connected();
                        lines.life.of_use();
                    }
                    let id = received.id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
                    let seq = received.s.unwrap_or(last_seq);
                    permit.send((last_seq, Dispatch { kind, data: received.d, id, seq }));
                }
                (1, _) => send(socket, &heartbeat(last_seq)).await?,
                (7, _) => return Err(End::Renew("the gateway asked for a new connection".to_owned()).into()),
                (9, _) => {
                    let (is_over, was_resumed) = (received.d != Value::Bool(true), lock(session).is_some());
                    let error = "the gateway does not know the session".to_owned();
                    // An identify that is answered so is one of those that are counted.
                    let end = match was_resumed {
                        true => {
                            End::Wait(Duration::from_secs(1) + Duration::from_secs(4).mul_f64(fastrand::f64()), error)
                        }
                        false => End::Lost(error),
                    };
                    return Err(Ended { end, is_over });
                }
                (11, _) => heart.acknowledged(),
                _ => {}
            }
        }
    };
    let ended: Result<Infallible, Ended> = read.await;
    match ended {
        Err(ended) => ended,
        Ok(never) => match never {},
    }
}

/// Returns a place for the next dispatch; none after a heartbeat, while there is no place. What waits for the host is no silence of the
/// platform's.
async fn room<'a>(
    to_host: &'a mpsc::Sender<(u64, Dispatch)>,
    lines: &Lines<'_>,
    socket: &mut Socket,
    heart: &mut Heart,
    last_seq: u64,
) -> Result<Option<mpsc::Permit<'a, (u64, Dispatch)>>, End> {
    if let Ok(permit) = to_host.try_reserve() {
        return Ok(Some(permit));
    }
    let due_at = heart.due_at;
    let permit = lines.life.while_deaf(async {
        tokio::select! {
            permit = to_host.reserve() => permit.ok(),
            () = sleep_until(due_at) => None,
        }
    });
    let permit = permit.await;
    // Its acknowledgement may be among what is still to be read.
    heart.acknowledged();
    if permit.is_none() {
        beat(socket, heart, last_seq).await?;
    }
    Ok(permit)
}

async fn beat(socket: &mut Socket, heart: &mut Heart, last_seq: u64) -> Result<(), End> {
    if heart.beat(Instant::now()) {
        send(socket, &heartbeat(last_seq)).await
    } else {
        Err(End::Renew("the gateway no longer acknowledges heartbeats".to_owned()))
    }
}

async fn send(socket: &mut Socket, frame: &Value) -> Result<(), End> {
    socket.send(frame.to_string()).await.map_err(End::lost)
}

fn heartbeat(last_seq: u64) -> Value {
    json!({"op": 1, "d": (last_seq > 0).then_some(last_seq)})
}

/// Returns where a session is to be resumed, with what a connection there has to say.
fn resume_url(url: &str) -> Option<String> {
    let _: WebSocketUrl = url.parse().ok()?;
    let has_query = url.contains('?');
    Some(if has_query { url.to_owned() } else { format!("{}/?v=10&encoding=json", url.trim_end_matches('/')) })
}

/// Hands dispatches to the host, in order, several at once on their way, and keeps how far that is.
async fn pump(
    platform: &impl Platform,
    lines: &Lines<'_>,
    mut dispatches: mpsc::Receiver<(u64, Dispatch)>,
    taken: &AtomicU64,
    session: &Mutex<Option<Session>>,
) -> Result<(), Stopping> {
    let mut on_their_way = FuturesOrdered::new();
    let (mut kept_at, mut is_kept) = (Instant::now(), true);
    loop {
        tokio::select! {
            Some((seq, dispatch)) = dispatches.recv(), if on_their_way.len() < SUBMITTED_MAX => {
                platform.arriving(&dispatch).await;
                let mut submitted = Vec::new();
                for event in platform.events(&dispatch) {
                    match lines.inbox.submit(event).await {
                        Ok(one) => submitted.push(one),
                        Err(stopping) => return Err(stopping),
                    }
                }
                on_their_way.push_back(async move {
                    for one in submitted {
                        one.taken().await?;
                    }
                    Ok::<_, Stopping>((seq, dispatch))
                });
            }
            Some(done) = on_their_way.next() => {
                let (seq, dispatch) = match done {
                    Ok(done) => done,
                    Err(stopping) => return Err(stopping),
                };
                platform.taken(&dispatch);
                is_kept &= taken.fetch_max(seq, Ordering::Relaxed) >= seq;
            }
            () = sleep_until(kept_at + KEEP_EVERY), if !is_kept => {
                (kept_at, is_kept) = (Instant::now(), true);
                let session = lock(session).clone();
                if let Some(session) = session {
                    lines.sessions.keep(&Session { seq: taken.load(Ordering::Relaxed), ..session }).await;
                }
            }
            // Nothing more is read, and the host has all of it.
            else => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_resumed_where_the_platform_says_with_what_a_connection_has_to_say() {
        assert_eq!(resume_url("ws://127.0.0.1:1").as_deref(), Some("ws://127.0.0.1:1/?v=10&encoding=json"));
        assert_eq!(resume_url("wss://a.b/").as_deref(), Some("wss://a.b/?v=10&encoding=json"));
        assert_eq!(resume_url("wss://a.b/?v=9").as_deref(), Some("wss://a.b/?v=9"));
        assert_eq!(resume_url("file:///etc"), None);
    }
}

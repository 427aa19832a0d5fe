//! `/api/v1/logs`: lines of the log files, and on request what is written from then on, as server-sent events.
//!
//! A follower has no task and no queue of its own: it reads on in the files when its client takes more, in the task of the
//! connection. So a slow one costs no memory; one that is too far behind is told how many lines it misses.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Either;
use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::problem::{Answer, Problem, answer};
use super::query::Query;
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::logs::follow::Follower;
use crate::logs::line::{Line, Wanted, since};
use crate::logs::tail;
use crate::logs::{LogFile, escape};

/// Who may follow at a time.
const FOLLOWERS_MAX: usize = 16;
/// Lines where nobody says how many.
const LINES_DEFAULT: u64 = 100;
const LINES_MAX: u64 = 10_000;
/// How often a file is asked for more.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long a client hears nothing at most; so that it, and whoever is between, knows that somebody is there.
const SILENT_MAX: Duration = Duration::from_secs(15);
/// Bytes that a client may be behind before lines are left out.
const BEHIND_BYTES_MAX: u64 = 8 << 20;

/// Answers for log lines.
#[derive(Debug)]
pub(super) struct Logs {
    dir: Option<PathBuf>,
    places: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Logs {
    /// `stopping` ends every follower.
    pub(super) fn new(dir: Option<PathBuf>, stopping: CancellationToken) -> Self {
        Self { dir, places: Arc::new(Semaphore::new(FOLLOWERS_MAX)), stopping }
    }

    /// Answers with the last lines, or with these and all that come.
    pub(super) async fn answer(&self, query: &Query) -> Result<Answer, Problem> {
        let (question, count) = self.question(query)?;
        let place = match query.flag("follow")? {
            false => None,
            true => Some(self.places.clone().try_acquire_owned().map_err(|_| {
                Problem::Unavailable(format!("{FOLLOWERS_MAX} clients follow log lines already; end one of them"))
            })?),
        };
        let read = tokio::task::spawn_blocking(move || question.last(count)).await;
        let (lines, follower) =
            read.map_err(|_| Problem::Unavailable("reading the log files broke off".to_owned()))?
                .map_err(|error| Problem::Unavailable(format!("the log files cannot be read: {error}")))?;
        Ok(match place {
            None => {
                let lines: Vec<_> = lines.iter().map(Line::to_json).collect();
                answer(StatusCode::OK, "application/json", format!("[{}]", lines.join(",")).into())
            }
            Some(place) => follow(&lines, follower, self.stopping.clone(), place),
        })
    }

    fn question(&self, query: &Query) -> Result<(tail::Query, usize), Problem> {
        let bad = |key, why: String| Problem::BadRequest(format!("`{key}`: {why}"));
        let of_bot = query.name::<BotName>("bot")?.map(LogFile::Bot);
        let of_host = query.name::<LogFile>("file")?;
        if of_bot.is_some() && of_host.is_some() {
            return Err(Problem::BadRequest("`file` is one of the host's: give it or `bot`, not both".to_owned()));
        }
        let level = |text: &str| {
            let wanted = || format!("it must be error, warn, info, debug or trace, not {}", escape(text));
            text.parse().map_err(|_| bad("level", wanted()))
        };
        let moment = |text| since(text, Timestamp::now()).map_err(|error| bad("since", error.to_string()));
        let wanted = Wanted {
            level: query.text("level").map(level).transpose()?,
            since: query.text("since").map(moment).transpose()?,
        };
        let count = query.number("lines")?.unwrap_or(LINES_DEFAULT);
        if count > LINES_MAX {
            return Err(bad("lines", format!("at most {LINES_MAX}")));
        }
        let Some(dir) = self.dir.clone() else {
            let how = "there are no log files: set `[logs] files = true` and start the host again";
            return Err(Problem::Conflict(how.to_owned()));
        };
        let file = of_bot.or(of_host).unwrap_or(LogFile::Host);
        Ok((tail::Query { dir, file, wanted }, usize::try_from(count).unwrap_or(usize::MAX)))
    }
}

/// Returns an answer without an end: the lines, and all that come.
fn follow(lines: &[Line], follower: Follower, stopping: CancellationToken, place: OwnedSemaphorePermit) -> Answer {
    let mut first = String::from(": what was\n\n");
    lines.iter().for_each(|line| push(&mut first, line));
    let state =
        Following { follower: Some(follower.leaving_out(BEHIND_BYTES_MAX)), first: Some(first), said: Instant::now() };
    let pieces = futures_util::stream::unfold(state, Following::next);
    let pieces = futures_util::StreamExt::take_until(pieces, stopping.cancelled_owned());
    let (taken, _) = watch::channel(());
    let mut answer = Response::new(Either::Right(Follow { pieces: Box::pin(pieces), taken, _place: place }));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn push(events: &mut String, line: &Line) {
    // JSON on one line, whatever the log has: no line of it can end the event.
    events.extend(["data: ", &line.to_json(), "\n\n"]);
}

/// Where one who follows is.
struct Following {
    /// None: reading broke off, and that was said.
    follower: Option<Follower>,
    first: Option<String>,
    said: Instant,
}

impl Following {
    /// Returns the next piece, once there is one.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(first) = self.first.take() {
            return Some((first.into(), self));
        }
        loop {
            let mut follower = self.follower.take()?;
            let read = tokio::task::spawn_blocking(move || (follower.read_on(), follower)).await;
            let (batch, follower) = match read {
                Ok((Ok(batch), follower)) => (batch, follower),
                Ok((Err(_), _)) | Err(_) => {
                    return Some((
                        Bytes::from_static(b"event: error\ndata: {\"detail\":\"the log file cannot be read\"}\n\n"),
                        self,
                    ));
                }
            };
            self.follower = Some(follower);
            let mut events = String::new();
            if batch.skipped > 0 {
                events.push_str(&format!("event: lost\ndata: {{\"lines\":{}}}\n\n", batch.skipped));
            }
            batch.lines.iter().for_each(|line| push(&mut events, line));
            if events.is_empty() && self.said.elapsed() >= SILENT_MAX {
                events.push_str(": nothing new\n\n");
            }
            if !events.is_empty() {
                self.said = Instant::now();
                return Some((events.into(), self));
            }
            if !batch.is_more() {
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }
}

/// The body of an answer without an end. It ends when the host stops.
pub(super) struct Follow {
    pieces: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    taken: watch::Sender<()>,
    _place: OwnedSemaphorePermit,
}

impl Follow {
    /// Returns what changes each time the client has room for more, and closes when the body ends.
    pub(super) fn taken(&self) -> watch::Receiver<()> {
        self.taken.subscribe()
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follow")
    }
}

impl Body for Follow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let own = self.get_mut();
        let piece = ready!(own.pieces.as_mut().poll_next(cx));
        own.taken.send_replace(());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

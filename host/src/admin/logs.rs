//! `/api/v1/logs`: lines of the log files, and on request what is written from then on, as server-sent events.
//!
//! A follower has no task and no queue of its own: it reads on in the files when its client takes more, in the task of the
//! connection. So a slow one costs no memory; one that is too far behind is told how many lines it misses.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Answers, Endpoint};
use super::parameter::{BOT, FOLLOW, Kind, Parameter, SINCE};
use super::problem::{Answer, Problem, answer};
use super::query::Query;
use super::stream::{Place, SILENT_MAX};
use crate::access::Role;
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::logs::follow::Follower;
use crate::logs::line::{Line, Wanted, since};
use crate::logs::tail;
use crate::logs::{LogFile, escape};

/// Lines where nobody says how many.
const LINES_DEFAULT: u64 = 100;
const LINES_MAX: u64 = 10_000;
/// How often a file is asked for more.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Bytes that a client may be behind before lines are left out.
const BEHIND_BYTES_MAX: u64 = 8 << 20;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const FILE: Parameter = Parameter::new(
        "file",
        Kind::OneOf(&["host", "error", "alerts", "performance"]),
        "one of the host's own files, where no bot is named",
    );
    const LEVEL: Parameter =
        Parameter::new("level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"]), "as bad as this, or worse");
    const LINES: Parameter = Parameter::new("lines", Kind::Number, "how many at most; 100 where nobody says");
    vec![
        Endpoint::get("/api/v1/logs", Access::Tenant(Role::Viewer), "log lines; followed, as server-sent events")
            .takes(&[BOT, FILE, LEVEL, SINCE, LINES, FOLLOW])
            .raw(Answers::JsonOrEvents(schemars::SchemaGenerator::subschema_for::<Vec<LineView>>), async |api, ask| {
                logs(&api, &ask).await
            }),
    ]
}

/// One line as the API shows it. There may be more fields, which the line has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LineView {
    /// When, in RFC 3339.
    pub time: Option<String>,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: Option<String>,
    /// What it says.
    pub message: String,
}

/// Answers with the last lines, or with these and all that come.
async fn logs(api: &Api, ask: &Ask) -> Result<Answer, Problem> {
    let bot = ask.asked_bot(api)?;
    let place = if ask.query.flag("follow")? { Some(api.streams.place(&ask.from)?) } else { None };
    let dir = Directory(api.sources.logs.clone());
    let (question, count) = dir.question(bot, &ask.query)?;
    let read = tokio::task::spawn_blocking(move || question.last(count)).await;
    let (lines, follower) = read
        .map_err(|_| Problem::Unavailable("reading the log files broke off".to_owned()))?
        .map_err(|error| Problem::Unavailable(format!("the log files cannot be read: {error}")))?;
    Ok(match place {
        None => {
            let lines: Vec<_> = lines.iter().map(Line::to_json).collect();
            answer(StatusCode::OK, "application/json", format!("[{}]", lines.join(",")).into())
        }
        Some(place) => follow(&lines, follower, place),
    })
}

/// Where the log files are, if there are any.
struct Directory(Option<PathBuf>);

impl Directory {
    fn question(self, bot: Option<BotName>, query: &Query) -> Result<(tail::Query, usize), Problem> {
        let bad = |key, why: String| Problem::BadRequest(format!("`{key}`: {why}"));
        let of_bot = bot.map(LogFile::Bot);
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
        let Some(dir) = self.0 else {
            let how = "there are no log files: set `[logs] files = true` and start the host again";
            return Err(Problem::Conflict(how.to_owned()));
        };
        let file = of_bot.or(of_host).unwrap_or(LogFile::Host);
        Ok((tail::Query { dir, file, wanted }, usize::try_from(count).unwrap_or(usize::MAX)))
    }
}

/// Returns an answer without an end: the lines, and all that come.
fn follow(lines: &[Line], follower: Follower, place: Place) -> Answer {
    let mut first = String::from(": what was\n\n");
    lines.iter().for_each(|line| push(&mut first, line));
    let state =
        Following { follower: Some(follower.leaving_out(BEHIND_BYTES_MAX)), first: Some(first), said: Instant::now() };
    place.follow(futures_util::stream::unfold(state, Following::next))
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

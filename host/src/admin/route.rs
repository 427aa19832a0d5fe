//! The paths, and the methods that each of them takes. Pure.
//!
//! ```text
//! GET /health  /health/live  /health/ready        how the host is; open to all
//! GET /metrics                                    OpenMetrics text
//! GET /api/v1/bots  /api/v1/bots/NAME             how the bots are
//! POST /api/v1/bots/NAME/start  …/stop  …/restart  …/reset     what the operator does with a bot
//! POST /api/v1/reload?dry_run=                    the configuration and the bots' directory are looked at now
//! GET /api/v1/faults?bot=&kind=&limit=&before=    what happened to bots, faults and all else
//! GET /api/v1/condemned?bot=                      versions that are not tried again
//! GET /api/v1/connectors                          how the connectors stand
//! GET /health/errors?window=                      how much went wrong
//! GET /health/metrics                             what is measured of the host as a whole
//! GET /api/v1/errors?severity=&component=&bot=&since=&limit=   what went wrong, grouped
//! GET /api/v1/errors/ID                           one of them
//! GET /api/v1/alerts?bot=&severity=&pending=      which alerts are up
//! GET /api/v1/alerts/ID                           one of them
//! GET /api/v1/alerts/history?bot=&key=&since=&until=&before=&limit=    what happened to alerts
//! GET /api/v1/alerts/rules                        the rules and what they last saw
//! GET /api/v1/alerts/channels                     the channels on which people are told
//! POST /api/v1/alerts/channels/NAME/test          a test notice, now
//! GET /api/v1/probes                              what is probed
//! POST /api/v1/alerts/ID/ack|resolve?by=          somebody looks after it · it is over
//! GET /api/v1/metrics/history?name=&since=&until=&step=&bot=&connector=    what series said
//! GET /api/v1/metrics/names                       the names of series
//! GET /api/v1/report?window=&bot=                 how everything fared lately
//! GET /api/v1/logs?bot=&file=&level=&since=&lines=&follow=     log lines; followed, as server-sent events
//! GET /api/v1/queue                               how many events wait
//! GET /api/v1/events/EVENT                        everything that is known of an event
//! GET /api/v1/dead-letters?bot=&limit=            events that a bot could not handle
//! GET, DELETE /api/v1/dead-letters/EVENT?bot=     one of them · dropped for good
//! POST /api/v1/dead-letters/EVENT/retry?bot=      tried again
//! GET /api/v1/outbox?state=&connector=&limit=     what waits for a platform, or is lost
//! GET, DELETE /api/v1/outbox/ID                   one of them · given up
//! POST /api/v1/outbox/ID/retry                    delivered after all
//! POST /api/v1/bots/NAME/enable|disable           switched on or off in the configuration
//! GET, PUT /api/v1/config                         the text in force · another one, `If-Match` the one that was seen
//! GET /api/v1/config/versions                     the generations
//! GET /api/v1/config/versions/N[/export]          one of them, or `latest`
//! GET /api/v1/config/versions/N/diff/M            what differs between two
//! POST /api/v1/config/versions/N/rollback         back to one
//! POST /api/v1/config/import                      what was exported
//! POST /api/v1/config/set?key=&value=             one key; key and value may also be a body of JSON
//! POST /api/v1/config/unset?key=
//!
//! Edits take `author=` and `reason=`.
//! ```

use std::fmt::Display;
use std::str::FromStr;

use super::alerts::AlertVerb;
use super::problem::Problem;
use crate::alert::AlertId;
use crate::errors::ErrorId;
use crate::id::{ChannelName, EventId};
use crate::supervisor::BotVerb;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Live,
    Ready,
    Metrics,
    Bots,
    Bot(String),
    BotVerb(String, BotVerb),
    Reload,
    Incidents,
    Condemned,
    Connectors,
    Alerts,
    Alert(AlertId),
    AlertVerb(AlertId, AlertVerb),
    AlertHistory,
    Rules,
    Channels,
    ChannelTest(ChannelName),
    Probes,
    Errors,
    Error(ErrorId),
    ErrorStatistics,
    Figures,
    MetricsHistory,
    MetricsNames,
    Report,
    Logs,
    Queue,
    Event(EventId),
    DeadLetters,
    DeadLetter(EventId),
    DeadLetterRetry(EventId),
    Sends,
    Send(u64),
    SendRetry(u64),
    Enable { bot: String, is_enabled: bool },
    Config,
    Versions,
    Version(Version),
    Diff(u64, Version),
    Rollback(u64),
    Import,
    Set,
    Unset,
}

/// A generation as an address names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Number(u64),
    Latest,
}

impl Version {
    /// Returns its number; none for the latest.
    pub(super) fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Latest => None,
        }
    }
}

/// What the body of most requests may have.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;
/// What a body with one text of a configuration may have: as much as the file.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// What an exported generation may have, which holds the texts of all bots.
const EXPORT_BYTES_MAX: usize = 4 << 20;

impl Route {
    /// Returns what a path names.
    ///
    /// # Errors
    ///
    /// It names nothing, or something by what is no id.
    pub(super) fn of(path: &str) -> Result<Self, Problem> {
        Ok(match path {
            "/health" => Self::Health,
            "/health/live" => Self::Live,
            "/health/ready" => Self::Ready,
            "/health/errors" => Self::ErrorStatistics,
            "/health/metrics" => Self::Figures,
            "/metrics" => Self::Metrics,
            _ => {
                let parts: Vec<_> = path.strip_prefix("/api/v1/").ok_or(Problem::NotFound)?.split('/').collect();
                match parts[..] {
                    ["bots"] => Self::Bots,
                    ["bots", name] => Self::Bot(name.to_owned()),
                    ["bots", name, "start"] => Self::BotVerb(name.to_owned(), BotVerb::Start),
                    ["bots", name, "stop"] => Self::BotVerb(name.to_owned(), BotVerb::Stop),
                    ["bots", name, "restart"] => Self::BotVerb(name.to_owned(), BotVerb::Restart),
                    ["bots", name, "reset"] => Self::BotVerb(name.to_owned(), BotVerb::Reset),
                    ["reload"] => Self::Reload,
                    ["faults"] => Self::Incidents,
                    ["condemned"] => Self::Condemned,
                    ["bots", name, act @ ("enable" | "disable")] => {
                        Self::Enable { bot: name.to_owned(), is_enabled: act == "enable" }
                    }
                    ["config", ref rest @ ..] => configuration(rest)?,
                    ["connectors"] => Self::Connectors,
                    ["alerts"] => Self::Alerts,
                    ["alerts", "history"] => Self::AlertHistory,
                    ["alerts", "rules"] => Self::Rules,
                    ["alerts", "channels"] => Self::Channels,
                    ["alerts", "channels", name, "test"] => Self::ChannelTest(named(name)?),
                    ["probes"] => Self::Probes,
                    ["alerts", id] => Self::Alert(named(id)?),
                    ["alerts", id, "ack"] => Self::AlertVerb(named(id)?, AlertVerb::Acknowledge),
                    ["alerts", id, "resolve"] => Self::AlertVerb(named(id)?, AlertVerb::Resolve),
                    ["errors"] => Self::Errors,
                    ["errors", id] => Self::Error(named(id)?),
                    ["metrics", "history"] => Self::MetricsHistory,
                    ["metrics", "names"] => Self::MetricsNames,
                    ["report"] => Self::Report,
                    ["logs"] => Self::Logs,
                    ["queue"] => Self::Queue,
                    ["events", id] => Self::Event(event(id)?),
                    ["dead-letters"] => Self::DeadLetters,
                    ["dead-letters", id] => Self::DeadLetter(event(id)?),
                    ["dead-letters", id, "retry"] => Self::DeadLetterRetry(event(id)?),
                    ["outbox"] => Self::Sends,
                    ["outbox", id] => Self::Send(send(id)?),
                    ["outbox", id, "retry"] => Self::SendRetry(send(id)?),
                    _ => return Err(Problem::NotFound),
                }
            }
        })
    }

    /// Returns the methods that it takes, as the header `Allow` names them.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::DeadLetter(_) | Self::Send(_) => "GET, HEAD, DELETE",
            Self::AlertVerb(..)
            | Self::ChannelTest(_)
            | Self::DeadLetterRetry(_)
            | Self::SendRetry(_)
            | Self::BotVerb(..)
            | Self::Reload => "POST",
            Self::Enable { .. } | Self::Rollback(_) | Self::Import | Self::Set | Self::Unset => "POST",
            Self::Config => "GET, HEAD, PUT",
            _ => "GET, HEAD",
        }
    }

    /// Returns how many bytes the body of a request may have, and whether anybody reads it.
    pub(super) fn body(&self) -> (usize, BodyUse) {
        match self {
            Self::Config | Self::Set => (TEXT_BYTES_MAX, BodyUse::Read),
            Self::Import => (EXPORT_BYTES_MAX, BodyUse::Read),
            _ => (BODY_BYTES_MAX, BodyUse::Ignored),
        }
    }

    /// Returns the parameters that it takes. None: it looks at none.
    pub(super) fn parameters(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::DeadLetters => Some(&["bot", "limit"]),
            Self::DeadLetter(_) | Self::DeadLetterRetry(_) => Some(&["bot"]),
            Self::Sends => Some(&["state", "connector", "limit"]),
            Self::Incidents => Some(&["bot", "kind", "limit", "before"]),
            Self::Condemned => Some(&["bot"]),
            Self::MetricsHistory => Some(&["name", "since", "until", "step", "bot", "connector"]),
            Self::MetricsNames => Some(&[]),
            Self::Report => Some(&["window", "bot"]),
            Self::Logs => Some(&["bot", "file", "level", "since", "lines", "follow"]),
            Self::Reload => Some(&["dry_run"]),
            Self::BotVerb(..) => Some(&[]),
            Self::Set => Some(&["key", "value", "author", "reason"]),
            Self::Unset => Some(&["key", "author", "reason"]),
            Self::Enable { .. } | Self::Config | Self::Rollback(_) | Self::Import => Some(&["author", "reason"]),
            Self::Versions | Self::Version(_) | Self::Diff(..) => Some(&[]),
            Self::Alerts => Some(&["bot", "severity", "pending"]),
            Self::AlertVerb(..) => Some(&["by"]),
            Self::AlertHistory => Some(&["bot", "key", "since", "until", "before", "limit"]),
            Self::Rules | Self::Channels | Self::ChannelTest(_) | Self::Probes => Some(&[]),
            Self::Errors => Some(&["severity", "component", "bot", "since", "limit"]),
            Self::ErrorStatistics => Some(&["window"]),
            Self::Alert(_) | Self::Error(_) | Self::Figures => Some(&[]),
            Self::Event(_) | Self::Send(_) | Self::SendRetry(_) | Self::Queue => Some(&[]),
            _ => None,
        }
    }
}

/// What becomes of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyUse {
    Read,
    /// Nobody reads it: the connection ends after the answer.
    Ignored,
}

fn configuration(parts: &[&str]) -> Result<Route, Problem> {
    Ok(match parts {
        [] => Route::Config,
        ["versions"] => Route::Versions,
        ["versions", version] | ["versions", version, "export"] => Route::Version(self::version(version)?),
        ["versions", from, "diff", to] => Route::Diff(generation(from)?, version(to)?),
        ["versions", number, "rollback"] => Route::Rollback(generation(number)?),
        ["import"] => Route::Import,
        ["set"] => Route::Set,
        ["unset"] => Route::Unset,
        _ => return Err(Problem::NotFound),
    })
}

fn version(text: &str) -> Result<Version, Problem> {
    if text == "latest" { Ok(Version::Latest) } else { generation(text).map(Version::Number) }
}

fn generation(text: &str) -> Result<u64, Problem> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let wanted = || "a generation is named by a whole number; GET /api/v1/config/versions lists them";
    number.ok_or_else(|| Problem::BadRequest(wanted().to_owned()))
}

fn event(text: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|error| Problem::BadRequest(format!("{error}, all of them; listings and log lines show it")))
}

fn named<I: FromStr<Err: Display>>(text: &str) -> Result<I, Problem> {
    text.parse().map_err(|error| Problem::BadRequest(format!("{error}; listings show it")))
}

fn send(text: &str) -> Result<u64, Problem> {
    // `parse` would take a sign as well.
    let id = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    id.ok_or_else(|| {
        Problem::BadRequest("an entry of the outbox is named by a whole number; listings show it".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198f3a21b7c00000123456789abcdef";

    #[test]
    fn what_is_named_is_found_and_what_is_no_id_is_said_so() {
        let id = ID.parse().unwrap();
        assert_eq!(Route::of(&format!("/api/v1/dead-letters/{ID}/retry")), Ok(Route::DeadLetterRetry(id)));
        assert_eq!(Route::of("/api/v1/outbox/17"), Ok(Route::Send(17)));
        let reset = Route::BotVerb("echo".to_owned(), BotVerb::Reset);
        assert_eq!(Route::of("/api/v1/bots/echo/reset"), Ok(reset));
        assert_eq!(Route::of("/api/v1/config/versions/3/diff/latest"), Ok(Route::Diff(3, Version::Latest)));
        let enable = Route::Enable { bot: "echo".to_owned(), is_enabled: true };
        assert_eq!(Route::of("/api/v1/bots/echo/enable"), Ok(enable));
        for none in [
            "",
            "/",
            "/api/v1",
            "/api/v1/",
            "/api/v1/queue/",
            "/api/v1/outbox/17/retry/",
            "/api/v1/events",
            "/api/v1/bots/echo/explode",
        ] {
            assert_eq!(Route::of(none), Err(Problem::NotFound), "{none}");
        }
        for bad in [
            "config/versions/x",
            "config/versions/latest/rollback",
            "outbox/x",
            "outbox/+1",
            "outbox/",
            "events/17",
            "dead-letters//retry",
            "dead-letters/0198f3a2",
        ] {
            let refused = Route::of(&format!("/api/v1/{bad}"));
            assert!(matches!(refused, Err(Problem::BadRequest(_))), "{bad}: {refused:?}");
        }
    }
}

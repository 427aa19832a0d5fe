//! The paths, and the methods that each of them takes. Pure.
//!
//! ```text
//! GET /health  /health/live  /health/ready        how the host is; open to all
//! GET /metrics                                    OpenMetrics text
//! GET /api/v1/bots  /api/v1/bots/NAME             how the bots are
//! GET /api/v1/connectors                          how the connectors stand
//! GET /api/v1/alerts                              which alerts are up
//! GET /api/v1/queue                               how many events wait
//! GET /api/v1/events/EVENT                        everything that is known of an event
//! GET /api/v1/dead-letters?bot=&limit=            events that a bot could not handle
//! GET, DELETE /api/v1/dead-letters/EVENT?bot=     one of them · dropped for good
//! POST /api/v1/dead-letters/EVENT/retry?bot=      tried again
//! GET /api/v1/outbox?state=&connector=&limit=     what waits for a platform, or is lost
//! GET, DELETE /api/v1/outbox/ID                   one of them · given up
//! POST /api/v1/outbox/ID/retry                    delivered after all
//! ```

use super::problem::Problem;
use crate::id::EventId;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Live,
    Ready,
    Metrics,
    Bots,
    Bot(String),
    Connectors,
    Alerts,
    Queue,
    Event(EventId),
    DeadLetters,
    DeadLetter(EventId),
    DeadLetterRetry(EventId),
    Sends,
    Send(u64),
    SendRetry(u64),
}

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
            "/metrics" => Self::Metrics,
            _ => {
                let parts: Vec<_> = path.strip_prefix("/api/v1/").ok_or(Problem::NotFound)?.split('/').collect();
                match parts[..] {
                    ["bots"] => Self::Bots,
                    ["bots", name] => Self::Bot(name.to_owned()),
                    ["connectors"] => Self::Connectors,
                    ["alerts"] => Self::Alerts,
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
            Self::DeadLetterRetry(_) | Self::SendRetry(_) => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Returns the parameters that it takes. None: it looks at none.
    pub(super) fn parameters(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::DeadLetters => Some(&["bot", "limit"]),
            Self::DeadLetter(_) | Self::DeadLetterRetry(_) => Some(&["bot"]),
            Self::Sends => Some(&["state", "connector", "limit"]),
            Self::Event(_) | Self::Send(_) | Self::SendRetry(_) | Self::Queue => Some(&[]),
            _ => None,
        }
    }
}

fn event(text: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|error| Problem::BadRequest(format!("{error}, all of them; listings and log lines show it")))
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
        for none in ["", "/", "/api/v1", "/api/v1/", "/api/v1/queue/", "/api/v1/outbox/17/retry/", "/api/v1/events"] {
            assert_eq!(Route::of(none), Err(Problem::NotFound), "{none}");
        }
        for bad in ["outbox/x", "outbox/+1", "outbox/", "events/17", "dead-letters//retry", "dead-letters/0198f3a2"] {
            let refused = Route::of(&format!("/api/v1/{bad}"));
            assert!(matches!(refused, Err(Problem::BadRequest(_))), "{bad}: {refused:?}");
        }
    }
}

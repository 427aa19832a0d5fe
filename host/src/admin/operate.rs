//! What the operator does with bots and with the configuration: asked of the supervisor, and answered with what came of it.

use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use super::Sources;
use super::api::BotView;
use super::problem::{Answer, Problem, json};
use super::query::Query;
use crate::id::BotName;
use crate::logs::escape;
use crate::supervisor::{BotVerb, ControlError};

/// How long the supervisor may take to pass an order on. Shorter than any client waits.
const ORDER_MAX: Duration = Duration::from_secs(5);

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NoBot(name) => no_bot(name.as_str()),
            ControlError::NotNow(reason) => Self::Conflict(reason),
            ControlError::Stopping => Self::Unavailable(error.to_string()),
        }
    }
}

/// Returns the problem of a name that no bot has.
pub(super) fn no_bot(name: &str) -> Problem {
    Problem::Absent(format!("there is no bot `{}`; GET /api/v1/bots lists them", super::event::cut(&escape(name))))
}

/// Has a verb carried out on a bot. The answer comes when the bot has the order, and shows the bot as it is then.
pub(super) async fn bot(sources: &Sources, name: &str, verb: BotVerb) -> Result<Answer, Problem> {
    let bot: BotName = name.parse().map_err(|_| no_bot(name))?;
    match timeout(ORDER_MAX, sources.control.bot(bot.clone(), verb)).await {
        Ok(done) => done?,
        Err(_) => {
            let seconds = ORDER_MAX.as_secs();
            let detail = format!("the supervisor did not answer within {seconds} s, and may do it yet: look again");
            return Err(Problem::Unavailable(detail));
        }
    }
    tracing::info!(%bot, ?verb, "the operator has ordered a bot");
    let status = sources.bots.get(&bot).ok_or_else(|| no_bot(name))?;
    Ok(json(StatusCode::ACCEPTED, &BotView::from(&status)))
}

/// Has the configuration and the bots' directory looked at. The answer comes when every step has ended, however long that takes.
pub(super) async fn reload(sources: &Sources, query: &Query) -> Result<Answer, Problem> {
    let dry_run = query.flag("dry_run")?;
    tracing::info!(dry_run, "the operator asks for a reload");
    Ok(json(StatusCode::OK, &sources.control.reload(dry_run).await?))
}

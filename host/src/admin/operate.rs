//! What the operator does with bots and with the configuration: asked of the supervisor, and answered with what came of it.

use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use super::api::Api;
use super::ask::Ask;
use super::bots::BotView;
use super::endpoint::{Access, Endpoint};
use super::parameter::{Kind, Parameter};
use super::problem::Problem;
use crate::access::Role;
use crate::id::BotName;
use crate::logs::escape;
use crate::supervisor::{BotVerb, ControlError, ReloadReport};

/// How long the supervisor may take to pass an order on. Shorter than any client waits.
const ORDER_MAX: Duration = Duration::from_secs(5);

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NoBot(name) => no_bot(name.as_str()),
            ControlError::NoConnector { .. } => Self::Absent(error.to_string()),
            ControlError::NotNow(reason) => Self::Conflict(reason),
            ControlError::Stopping => Self::Unavailable(error.to_string()),
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const DRY_RUN: Parameter = Parameter::new("dry_run", Kind::Flag, "says what would be done, and does nothing");
    let verb = |path, summary, verb| {
        Endpoint::post(path, Access::Bot(Role::Operator), summary)
            .with_status(StatusCode::ACCEPTED)
            .json(move |api, ask| async move { bot(&api, ask.bot()?, verb).await })
    };
    vec![
        verb("/api/v1/bots/{bot}/start", "brings a bot up again after a stop", BotVerb::Start),
        verb("/api/v1/bots/{bot}/stop", "takes a bot down until it is started; its events wait", BotVerb::Stop),
        verb("/api/v1/bots/{bot}/restart", "has a bot begin anew with the same version", BotVerb::Restart),
        verb("/api/v1/bots/{bot}/reset", "forgets what is held against a bot", BotVerb::Reset),
        Endpoint::post(
            "/api/v1/reload",
            Access::Host(Role::Operator),
            "looks at the configuration and the bots' directory now",
        )
        .takes(&[DRY_RUN])
        .json(async |api, ask| reload(&api, &ask).await),
    ]
}

/// Returns the problem of a name that no bot has.
pub(super) fn no_bot(name: &str) -> Problem {
    Problem::Absent(format!("there is no bot `{}`; GET /api/v1/bots lists them", super::event::cut(&escape(name))))
}

/// Has a verb carried out on a bot. The answer comes when the bot has the order, and shows the bot as it is then.
pub(super) async fn bot(api: &Api, bot: BotName, verb: BotVerb) -> Result<BotView, Problem> {
    let sources = &api.sources;
    if sources.bots.get(&bot).is_none() {
        return Err(no_bot(bot.as_str()));
    }
    match timeout(ORDER_MAX, sources.control.bot(bot.clone(), verb)).await {
        Ok(done) => done?,
        Err(_) => {
            let seconds = ORDER_MAX.as_secs();
            let detail = format!("the supervisor did not answer within {seconds} s, and may do it yet: look again");
            return Err(Problem::Unavailable(detail));
        }
    }
    tracing::info!(%bot, ?verb, "the operator has ordered a bot");
    let status = sources.bots.get(&bot).ok_or_else(|| no_bot(bot.as_str()))?;
    Ok(BotView::from(&status))
}

/// Has the configuration and the bots' directory looked at. The answer comes when every step has ended, however long that takes.
pub(super) async fn reload(api: &Api, ask: &Ask) -> Result<ReloadReport, Problem> {
    let dry_run = ask.query.flag("dry_run")?;
    tracing::info!(dry_run, "the operator asks for a reload");
    let mut report = api.sources.control.reload(dry_run).await?;
    if !dry_run {
        report.steps.extend(super::renew(api.sources.certificate.as_ref(), &api.sources.alerts).await);
    }
    Ok(report)
}

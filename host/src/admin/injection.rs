//! `POST /api/v1/bots/BOT/events`: an event that the operator hands to one bot, as if somebody had written to it.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, BODY_BYTES_MAX, Endpoint};
use super::operate::no_bot;
use super::problem::Problem;
use crate::access::Role;
use crate::router::{InjectedFate, Injection, InjectionError};

/// The conversation, where none is named.
const CONVERSATION_DEFAULT: &str = "operator";
/// Who is to have written it, where nobody is named.
const USER_DEFAULT: &str = "operator";

/// What somebody is to have written to a bot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InjectionBody {
    /// What is to have been written: a message, or a command as people write it.
    #[schemars(length(min = 1, max = 32_768))]
    pub text: String,
    /// The platform's id of the conversation, which is where the answer goes. Default: `operator`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub conversation: Option<String>,
    /// The connector that it is to have come through, and that the answer goes out by. Default: the only one that the bot hears.
    #[serde(default)]
    pub connector: Option<String>,
    /// The platform's id of who is to have written it. Default: `operator`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// The name that people see.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub user_name: Option<String>,
    /// What tells it apart: a second one with the same id, through the same connector, is not handed over. Default: nothing.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub id: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InjectedView {
    /// The event; none where one of this id was handed over before.
    pub event: Option<String>,
    /// The bot.
    pub bot: String,
    /// The key of the connector that it is to have come through.
    pub connector: String,
    /// `queued`, `dead-letter` (the bot has as many events waiting as it may), or `duplicate`.
    pub state: String,
}

impl From<InjectionError> for Problem {
    fn from(error: InjectionError) -> Self {
        match &error {
            InjectionError::NoBot(_) | InjectionError::NoConnector(_) => Self::Conflict(error.to_string()),
            InjectionError::Ambiguous { .. } | InjectionError::Unheard { .. } => Self::Unprocessable(error.to_string()),
            InjectionError::Length { .. } => Self::BadRequest(error.to_string()),
            InjectionError::Full | InjectionError::Store(_) => Self::Unavailable(error.to_string()),
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let about = "hands a bot an event, as if somebody had written to it";
    vec![
        Endpoint::post("/api/v1/bots/{bot}/events", Access::Bot(Role::Operator), about)
            .reads_json::<InjectionBody>(BODY_BYTES_MAX)
            .with_status(StatusCode::ACCEPTED)
            .json(async |api, ask| inject(&api, &ask).await),
    ]
}

/// Hands it over. The answer comes when it is on disk.
pub(super) async fn inject(api: &Api, ask: &Ask) -> Result<InjectedView, Problem> {
    let (bot, body) = (ask.bot()?, ask.json::<InjectionBody>()?);
    if api.sources.bots.get(&bot).is_none() {
        return Err(no_bot(bot.as_str()));
    }
    let injection = Injection {
        bot: bot.clone(),
        connector: body.connector,
        conversation: body.conversation.unwrap_or_else(|| CONVERSATION_DEFAULT.to_owned()),
        user: body.user.unwrap_or_else(|| USER_DEFAULT.to_owned()),
        user_name: body.user_name,
        text: body.text,
        id: body.id,
    };
    let injected = api.sources.injector.inject(injection).await?;
    let (state, is_new) = match injected.fate {
        InjectedFate::Queued => ("queued", true),
        InjectedFate::DeadLetter => ("dead-letter", true),
        InjectedFate::Duplicate => ("duplicate", false),
    };
    tracing::info!(%bot, event = %injected.event, connector = %injected.connector, state, "the operator has handed a bot an event");
    Ok(InjectedView {
        event: is_new.then(|| injected.event.to_string()),
        bot: bot.to_string(),
        connector: injected.connector.to_string(),
        state: state.to_owned(),
    })
}

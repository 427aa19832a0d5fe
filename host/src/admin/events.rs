//! `/api/v1/events`: the search for events that were taken over. A search looks at so many and no more: where there are more, the
//! header `Link` says where to go on, however few were found.

mod follower;

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::follower::Follower;
use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Answers, Endpoint, Listing};
use super::event::Outline;
use super::operate::no_bot;
use super::parameter::{BEFORE, CONNECTOR, FOLLOW, Kind, LIMIT, Parameter, SINCE, UNTIL};
use super::problem::{Answer, Problem};
use crate::access::{Role, Scope};
use crate::clock::Timestamp;
use crate::grants::ConnectorKey;
use crate::id::BotName;
use crate::store::history::{FoundEvent, FoundHandling, SearchEnd, SearchQuery, Stand, StandFilter};

/// One event that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventView {
    /// Its id.
    pub event: String,
    /// Its place in the order of all events.
    pub seq: u64,
    /// The key of the connector that it came through; none: a timer.
    pub connector: Option<String>,
    /// When it was taken over, in RFC 3339.
    pub received_at: String,
    /// What kind of event; none where what is stored cannot be trusted, as with the next two.
    pub kind: Option<String>,
    /// The platform's id of the conversation.
    pub conversation: Option<String>,
    /// What it says, cut.
    pub text: Option<String>,
    /// What the bots that are asked for have to do with it, by name.
    pub handlings: Vec<EventHandlingView>,
}

/// What one bot has to do with an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventHandlingView {
    /// The bot.
    pub bot: String,
    /// `waiting` (or at work), `done`, `dead` or `dropped`: the bot did not want it.
    pub state: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// Where it waits: not before this moment, in RFC 3339.
    pub due: Option<String>,
    /// When it was done or dead, in RFC 3339.
    pub ended_at: Option<String>,
}

impl From<&FoundEvent> for EventView {
    fn from(found: &FoundEvent) -> Self {
        let outline = Outline::of(found.event.as_ref());
        Self {
            event: found.id.to_string(),
            seq: found.seq,
            connector: found.origin.clone(),
            received_at: found.received_at.to_string(),
            kind: outline.kind,
            conversation: outline.conversation,
            text: outline.text,
            handlings: found.handlings.iter().map(EventHandlingView::from).collect(),
        }
    }
}

impl From<&FoundHandling> for EventHandlingView {
    fn from(FoundHandling { bot, stand, attempts }: &FoundHandling) -> Self {
        let (state, due, ended_at) = match stand {
            Stand::Waiting { due } => ("waiting", *due, None),
            Stand::Done { at, .. } => ("done", None, Some(*at)),
            Stand::Dead { at } => ("dead", None, Some(*at)),
            Stand::Unwanted => ("dropped", None, None),
        };
        Self {
            bot: bot.to_string(),
            state: state.to_owned(),
            attempts: *attempts,
            due: due.map(|moment| moment.to_string()),
            ended_at: ended_at.map(|moment| moment.to_string()),
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const OF_BOT: Parameter = Parameter::new("bot", Kind::Name, "that this bot hears");
    const CONVERSATION: Parameter =
        Parameter::new("conversation", Kind::Text, "said in this conversation, by the platform's id of it");
    const STATES: Kind = Kind::OneOf(&["waiting", "done", "dead", "dropped"]);
    const STATE: Parameter = Parameter::new("state", STATES, "where a bot stands with it");
    const TEXT: Parameter = Parameter::new("text", Kind::Text, "whose text has this in it, however it is capitalised");
    const ALL: &[Parameter] = &[OF_BOT, CONNECTOR, CONVERSATION, STATE, TEXT, SINCE, UNTIL, BEFORE, LIMIT, FOLLOW];
    const OF_ONE: &[Parameter] = &[CONNECTOR, CONVERSATION, STATE, TEXT, SINCE, UNTIL, BEFORE, LIMIT, FOLLOW];
    let answers = || Answers::JsonOrEvents(SchemaGenerator::subschema_for::<Vec<EventView>>);
    vec![
        Endpoint::get(
            "/api/v1/events",
            Access::Tenant(Role::Viewer),
            "events that were taken over, the latest first; followed, those that come, and how they end",
        )
        .takes(ALL)
        .raw(answers(), serve),
        Endpoint::get(
            "/api/v1/bots/{bot}/events",
            Access::Bot(Role::Viewer),
            "events that a bot hears, the latest first; followed, those that come, and how they end",
        )
        .takes(OF_ONE)
        .raw(answers(), serve),
    ]
}

async fn serve(api: Arc<Api>, ask: Ask) -> Result<Answer, Problem> {
    let bots = asked_bots(&api, &ask)?;
    if !ask.query.flag("follow")? {
        return Ok(list(&api, &ask, bots).await?.answer(&ask.uri_path, &ask.query));
    }
    for key in ["since", "until", "before", "limit"] {
        if ask.query.given(key).is_some() {
            let detail = format!("`{key}` goes with a search: what is followed begins now");
            return Err(Problem::Unprocessable(detail));
        }
    }
    let place = api.streams.place(&ask.from)?;
    let wanted = asked(&ask, bots)?;
    Ok(place.follow(Follower::begin(api, ask, wanted).await?.pieces()))
}

/// Returns whose events are asked for: of the bot that is named, else, for a tenant, of all of its own. None: of all.
pub(super) fn asked_bots(api: &Api, ask: &Ask) -> Result<Option<BTreeSet<BotName>>, Problem> {
    let in_path = ask.part("bot");
    let bot = if in_path.is_empty() { ask.query.name::<BotName>("bot")? } else { Some(ask.bot()?) };
    match (bot, ask.scope()) {
        (None, Scope::Host) => Ok(None),
        (Some(bot), Scope::Host) => Ok(Some([bot].into())),
        (Some(bot), scope) if api.covers(scope, &bot) => Ok(Some([bot].into())),
        (Some(bot), _) => Err(no_bot(bot.as_str())),
        (None, scope) => {
            let bots = api.sources.bots.statuses().into_iter().filter(|status| scope.covers(&status.tenant));
            Ok(Some(bots.map(|status| status.name).collect()))
        }
    }
}

/// Returns what is looked for.
fn asked(ask: &Ask, bots: Option<BTreeSet<BotName>>) -> Result<SearchQuery, Problem> {
    let (query, now) = (&ask.query, Timestamp::now());
    let stand = match query.text("state") {
        None => None,
        Some("waiting") => Some(StandFilter::Waiting),
        Some("done") => Some(StandFilter::Done),
        Some("dead") => Some(StandFilter::Dead),
        Some("dropped") => Some(StandFilter::Dropped),
        Some(_) => {
            let detail = "`state` must be `waiting`, `done`, `dead` or `dropped`";
            return Err(Problem::BadRequest(detail.to_owned()));
        }
    };
    Ok(SearchQuery {
        bots,
        stand,
        connector: query.name::<ConnectorKey>("connector")?,
        conversation: query.text("conversation").map(str::to_owned),
        text: query.text("text").map(str::to_owned),
        since: query.moment("since", now)?,
        until: query.moment("until", now)?,
        before: query.number("before")?,
        after: None,
        limit: query.limit()?,
    })
}

/// Finds them, the latest first.
pub(super) async fn list(api: &Api, ask: &Ask, bots: Option<BTreeSet<BotName>>) -> Result<Listing<EventView>, Problem> {
    let page = api.records.ask(api.records.store().search(asked(ask, bots)?)).await?;
    let next = match page.end {
        SearchEnd::Oldest => None,
        SearchEnd::Full { before } | SearchEnd::Cut { before } => Some(("before", before.to_string())),
    };
    Ok(Listing { items: page.events.iter().map(EventView::from).collect(), next })
}

//! `/api/v1/dead-letters`: events that a bot could not handle, and what the operator does about them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::event::{Outline, payload};
use super::parameter::{BOT, LIMIT};
use super::problem::Problem;
use super::story::{self, AttemptView, event, message};
use crate::access::Role;
use crate::clock::Timestamp;
use crate::id::{BotName, EventId};
use crate::store::history::{DeadLetter, Handling, Stand, Story};

/// One dead letter as the API shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeadLetterView {
    /// The event's id.
    pub event: String,
    /// The bot that could not handle it.
    pub bot: String,
    /// The platform's id of the conversation; none: it belongs to none, or what is stored cannot be trusted.
    pub conversation: Option<String>,
    /// The connector by the name that its users gave it; none: a timer.
    pub connector: Option<String>,
    /// What kind of event.
    pub kind: Option<String>,
    /// What it says, cut.
    pub text: Option<String>,
    /// Since when it is dead, in RFC 3339.
    pub at: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// The kind of fault that the last of them met.
    pub reason: Option<String>,
    /// What went wrong then.
    pub message: Option<String>,
    /// The platform's own id of the event. Not in listings, like the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<String>,
    /// When it was taken over, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
    /// What happened, as it is stored. Headers that may hold a secret are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// Every attempt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<AttemptView>,
}

impl From<&DeadLetter> for DeadLetterView {
    fn from(letter: &DeadLetter) -> Self {
        let outline = Outline::of(letter.event.as_ref());
        let last = letter.last.as_ref();
        Self {
            event: letter.id.to_string(),
            bot: letter.bot.to_string(),
            conversation: outline.conversation,
            connector: outline.connector,
            kind: outline.kind,
            text: outline.text,
            at: letter.at.to_string(),
            attempts: letter.attempts,
            reason: last.map(|last| last.outcome.clone()),
            message: last.map(|last| message(last).to_owned()),
            ..Self::default()
        }
    }
}

/// What the operator did with a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "LetterChange")]
pub struct OperatedView {
    /// The event.
    pub event: String,
    /// The bot.
    pub bot: String,
    /// How it stands now: `waiting` or `dropped`.
    pub state: String,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (look, act) = (Access::Tenant(Role::Viewer), Access::Tenant(Role::Operator));
    vec![
        Endpoint::get("/api/v1/dead-letters", look, "events that a bot could not handle, the latest first")
            .takes(&[BOT, LIMIT])
            .list(async |api, ask| list(&api, &ask).await.map(Listing::whole)),
        Endpoint::get("/api/v1/dead-letters/{event}", look, "one of them, with every attempt")
            .takes(&[BOT])
            .json(async |api, ask| one(&api, &ask).await),
        Endpoint::delete("/api/v1/dead-letters/{event}", act, "dropped for good")
            .takes(&[BOT])
            .json(async |api, ask| discard(&api, &ask).await),
        Endpoint::post("/api/v1/dead-letters/{event}/retry", act, "tried again")
            .takes(&[BOT])
            .json(async |api, ask| retry(&api, &ask).await),
    ]
}

/// Lists them, the latest first.
pub(super) async fn list(api: &Api, ask: &Ask) -> Result<Vec<DeadLetterView>, Problem> {
    let (bot, limit) = (ask.asked_bot(api)?, ask.query.limit()?);
    let letters = api.records.ask(api.records.store().dead_letters(bot.as_ref(), limit)).await?;
    Ok(letters.iter().map(DeadLetterView::from).collect())
}

/// Shows one.
pub(super) async fn one(api: &Api, ask: &Ask) -> Result<DeadLetterView, Problem> {
    let (id, bot) = (event(ask)?, ask.asked_bot(api)?);
    let mut story = story::find(&api.records, id).await?;
    let (handling, at) = pick(&mut story, bot.as_ref())?;
    let letter = DeadLetter {
        id,
        bot: handling.bot,
        at,
        attempts: handling.attempts,
        last: handling.faults.last().cloned(),
        event: story.event,
    };
    Ok(DeadLetterView {
        platform_id: story.platform_id,
        received_at: Some(story.received_at.to_string()),
        payload: letter.event.as_ref().map(payload),
        faults: handling.faults.iter().map(AttemptView::from).collect(),
        ..DeadLetterView::from(&letter)
    })
}

/// Lets one be tried again.
pub(super) async fn retry(api: &Api, ask: &Ask) -> Result<OperatedView, Problem> {
    let (id, bot) = named(api, ask).await?;
    if api.sources.bots.get(&bot).is_none() {
        return Err(Problem::Conflict(format!("there is no bot {bot} any more: nobody would handle event {id}")));
    }
    if !api.records.ask(api.records.store().retry_dead_letter(id, &bot)).await? {
        return Err(gone(id, &bot));
    }
    tracing::info!(event = %id, %bot, "the operator lets a dead letter be tried again");
    Ok(OperatedView { event: id.to_string(), bot: bot.to_string(), state: "waiting".to_owned() })
}

/// Drops one for good.
pub(super) async fn discard(api: &Api, ask: &Ask) -> Result<OperatedView, Problem> {
    let (id, bot) = named(api, ask).await?;
    if !api.records.ask(api.records.store().drop_dead_letter(id, &bot)).await? {
        return Err(gone(id, &bot));
    }
    tracing::info!(event = %id, %bot, "the operator has dropped a dead letter");
    Ok(OperatedView { event: id.to_string(), bot: bot.to_string(), state: "dropped".to_owned() })
}

/// Returns the event and the bot whose dead letter is meant.
async fn named(api: &Api, ask: &Ask) -> Result<(EventId, BotName), Problem> {
    let (id, bot) = (event(ask)?, ask.asked_bot(api)?);
    let mut story = story::find(&api.records, id).await?;
    pick(&mut story, bot.as_ref()).map(|(handling, _)| (id, handling.bot))
}

/// Takes what a bot did with an event out of its story: of the bot that is named, or of the only one to which it is dead.
fn pick(story: &mut Story, bot: Option<&BotName>) -> Result<(Handling, Timestamp), Problem> {
    let id = story.id;
    let dead = std::mem::take(&mut story.handlings).into_iter().filter_map(|handling| match handling.stand {
        Stand::Dead { at } => Some((handling, at)),
        _ => None,
    });
    let mut dead: Vec<_> = dead.collect();
    let names: Vec<_> = dead.iter().map(|(handling, _)| handling.bot.to_string()).collect();
    if let Some(bot) = bot {
        dead.retain(|(handling, _)| handling.bot == *bot);
        return dead.pop().ok_or_else(|| gone(id, bot));
    }
    match (dead.pop(), names.len()) {
        (Some(only), 1) => Ok(only),
        (Some(_), _) => Err(Problem::BadRequest(format!(
            "event {id} is a dead letter of several bots: name one of them, `bot` being {}",
            names.join(", ")
        ))),
        (None, _) => Err(Problem::Absent(format!(
            "event {id} is no dead letter; GET /api/v1/dead-letters lists those there are, GET /api/v1/events/{id} \
             tells what became of it"
        ))),
    }
}

fn gone(id: EventId, bot: &BotName) -> Problem {
    Problem::Absent(format!(
        "event {id} is no dead letter of bot {bot}; GET /api/v1/dead-letters?bot={bot} lists those there are"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Priority;

    const AT: Timestamp = Timestamp::from_millis(5);

    fn story(stands: &[(&str, Stand)]) -> Story {
        let handling = |(bot, stand): &(&str, Stand)| Handling {
            bot: bot.parse().unwrap(),
            priority: Priority::Normal,
            stand: *stand,
            attempts: 3,
            faults: Vec::new(),
            sends: Vec::new(),
        };
        Story {
            event: None,
            id: EventId::from_bytes([7; 16]),
            origin: None,
            platform_id: None,
            received_at: AT,
            duplicates: 0,
            handlings: stands.iter().map(handling).collect(),
        }
    }

    fn picked(stands: &[(&str, Stand)], bot: Option<&str>) -> Result<String, String> {
        let bot = bot.map(|bot| bot.parse().unwrap());
        match pick(&mut story(stands), bot.as_ref()) {
            Ok((handling, at)) => {
                assert_eq!(at, AT);
                Ok(handling.bot.to_string())
            }
            Err(Problem::Absent(said) | Problem::BadRequest(said)) => Err(said),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bot_may_be_left_out_where_only_one_is_meant() {
        let dead = Stand::Dead { at: AT };
        assert_eq!(picked(&[("a", Stand::Unwanted), ("b", dead)], None).unwrap(), "b");
        assert_eq!(picked(&[("a", dead), ("b", dead)], Some("a")).unwrap(), "a");
        let said = picked(&[("a", dead), ("b", dead)], None).unwrap_err();
        assert!(said.ends_with("`bot` being a, b"), "{said}");
        let said = picked(&[("a", Stand::Unwanted)], None).unwrap_err();
        assert!(said.contains("is no dead letter; GET /api/v1/dead-letters"), "{said}");
        let said = picked(&[("a", dead)], Some("b")).unwrap_err();
        assert!(said.contains("no dead letter of bot b"), "{said}");
    }
}

//! `/api/v1/events/EVENT`: everything that is known of one event, from its reception to the platform's id of the answer.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint};
use super::event::Outline;
use super::problem::Problem;
use super::records::Records;
use super::sends::SendView;
use crate::access::Role;
use crate::action::Priority;
use crate::clock::Timestamp;
use crate::id::EventId;
use crate::store::history::{AttemptRecord, Handling, Stand, Story};

/// One event as the API shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoryView {
    /// Its id.
    pub event: String,
    /// The key of the connector that it came through; none: a timer.
    pub connector: Option<String>,
    /// The platform's own id of it.
    pub platform_id: Option<String>,
    /// When it was taken over, in RFC 3339.
    pub received_at: String,
    /// What kind of event; none where what is stored cannot be trusted, as with the next two.
    pub kind: Option<String>,
    /// The platform's id of the conversation.
    pub conversation: Option<String>,
    /// What it says, cut.
    pub text: Option<String>,
    /// How often the platform delivered it again and was not heard.
    pub duplicates: u64,
    /// What each bot that hears it did.
    pub handlings: Vec<HandlingView>,
}

/// What one bot did with an event.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HandlingView {
    /// The bot.
    pub bot: String,
    /// How urgent it was.
    pub priority: String,
    /// `waiting` (or at work), `done`, `dead` or `unwanted`.
    pub state: String,
    /// Where it waits: not before this moment, in RFC 3339.
    pub due: Option<String>,
    /// When it was done or dead, in RFC 3339.
    pub ended_at: Option<String>,
    /// From the reception to the first attempt.
    pub waited_ms: Option<f64>,
    /// Of the attempt that went well.
    pub elapsed_ms: Option<f64>,
    /// Of the attempt that went well.
    pub fuel: Option<u64>,
    /// Attempts that were made.
    pub attempts: u32,
    /// Those that did not go well.
    pub faults: Vec<AttemptView>,
    /// What it asked of platforms.
    pub sends: Vec<SendView>,
}

/// One attempt that did not go well.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AttemptView {
    /// Which attempt it was, counted from 1. 0: none was made, and this says why not.
    pub attempt: u32,
    /// When it ended, in RFC 3339.
    pub at: String,
    /// How long it took.
    pub elapsed_ms: f64,
    /// Fuel that it burnt.
    pub fuel: u64,
    /// The kind of fault.
    pub outcome: String,
    /// What went wrong.
    pub message: String,
    /// The guest's functions, innermost first.
    pub backtrace: Vec<String>,
}

impl From<&AttemptRecord> for AttemptView {
    fn from(record: &AttemptRecord) -> Self {
        Self {
            attempt: record.attempt,
            at: record.at.to_string(),
            elapsed_ms: millis(record.elapsed),
            fuel: record.fuel,
            outcome: record.outcome.clone(),
            message: message(record).to_owned(),
            backtrace: record.backtrace.lines().map(str::to_owned).collect(),
        }
    }
}

impl From<&Story> for StoryView {
    fn from(story: &Story) -> Self {
        let outline = Outline::of(story.event.as_ref());
        let handlings = story.handlings.iter().map(|handling| HandlingView::new(handling, story.received_at));
        Self {
            event: story.id.to_string(),
            connector: story.origin.clone(),
            platform_id: story.platform_id.clone(),
            received_at: story.received_at.to_string(),
            kind: outline.kind,
            conversation: outline.conversation,
            text: outline.text,
            duplicates: story.duplicates,
            handlings: handlings.collect(),
        }
    }
}

impl HandlingView {
    fn new(handling: &Handling, received_at: Timestamp) -> Self {
        let view = Self {
            bot: handling.bot.to_string(),
            priority: priority_name(handling.priority).to_owned(),
            waited_ms: waited(handling, received_at).map(millis),
            attempts: handling.attempts,
            faults: handling.faults.iter().map(AttemptView::from).collect(),
            sends: handling.sends.iter().map(SendView::from).collect(),
            ..Self::default()
        };
        let state = |name: &str| name.to_owned();
        match handling.stand {
            Stand::Waiting { due } => Self { state: state("waiting"), due: due.map(|due| due.to_string()), ..view },
            Stand::Dead { at } => Self { state: state("dead"), ended_at: Some(at.to_string()), ..view },
            Stand::Unwanted => Self { state: state("unwanted"), ..view },
            Stand::Done { at, elapsed, fuel } => Self {
                state: state("done"),
                ended_at: Some(at.to_string()),
                elapsed_ms: Some(millis(elapsed)),
                fuel: Some(fuel),
                ..view
            },
        }
    }
}

/// Returns how long the first attempt was waited for; none where none has ended.
fn waited(handling: &Handling, received_at: Timestamp) -> Option<Duration> {
    let first = handling.faults.first().filter(|fault| fault.attempt > 0).map(|fault| (fault.at, fault.elapsed));
    let (ended_at, elapsed) = match (first, handling.stand) {
        (Some(first), _) => first,
        (None, Stand::Done { at, elapsed, .. }) => (at, elapsed),
        (None, _) => return None,
    };
    Some(ended_at.saturating_since(received_at).saturating_sub(elapsed))
}

/// Returns what went wrong, without the kind of fault in front, which stands beside it.
pub(super) fn message(record: &AttemptRecord) -> &str {
    let rest = record.message.strip_prefix(&record.outcome).and_then(|rest| rest.strip_prefix(": "));
    rest.unwrap_or(&record.message)
}

fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

/// Returns a duration in milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// Asks for what is known of an event.
pub(super) async fn find(records: &Records, id: EventId) -> Result<Story, Problem> {
    let story = records.ask(records.store().story(id)).await?;
    story.ok_or_else(|| absent(id))
}

/// Returns the event that the path names.
pub(super) fn event(ask: &Ask) -> Result<EventId, Problem> {
    let of = |error| Problem::BadRequest(format!("{error}, all of them; listings and log lines show it"));
    ask.part("event").parse::<EventId>().map_err(|error| of(error.to_string()))
}

/// Tells it. A tenant is told what its own bots did, of an event that one of them heard.
pub(super) async fn one(api: &Api, ask: &Ask) -> Result<StoryView, Problem> {
    let mut story = find(&api.records, event(ask)?).await?;
    if ask.scope().tenant().is_some() {
        story.handlings.retain(|handling| api.covers(ask.scope(), &handling.bot));
        if story.handlings.is_empty() {
            return Err(absent(story.id));
        }
    }
    Ok(StoryView::from(&story))
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let about = "everything that is known of an event";
    vec![
        Endpoint::get("/api/v1/events/{event}", Access::Tenant(Role::Viewer), about)
            .json(async |api, ask| one(&api, &ask).await),
    ]
}

fn absent(id: EventId) -> Problem {
    Problem::Absent(format!(
        "there is no event {id}, or not any more; log lines name events, and GET /api/v1/dead-letters and \
         /api/v1/outbox list them"
    ))
}

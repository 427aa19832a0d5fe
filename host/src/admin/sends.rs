//! `/api/v1/outbox`: what bots asked of platforms and is not delivered, and what the operator does about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::event::cut;
use super::parameter::{CONNECTOR, Kind, LIMIT, Parameter};
use super::problem::Problem;
use crate::access::Role;
use crate::action::{Act, MessageRef};
use crate::grants::ConnectorKey;
use crate::store::history::{Send, SendFilter, SendStand};

/// One action as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SendView {
    /// Its number in the outbox.
    pub id: u64,
    /// The event whose handler asked for it; none: the bot's `init`, or the event is forgotten.
    pub event: Option<String>,
    /// Whose handler.
    pub bot: String,
    /// The connector's key.
    pub connector: String,
    /// The platform's id of the conversation; none where what is stored cannot be trusted, as with the next three.
    pub conversation: Option<String>,
    /// `send`, `edit`, `delete` or `react`.
    pub kind: Option<String>,
    /// The message that it is about: the platform's id, or the ticket of one of the bot's own.
    pub target: Option<String>,
    /// What it says; cut in listings.
    pub text: Option<String>,
    /// `waiting`, `perhaps-sent`, `delivered` or `lost`.
    pub state: String,
    /// Tries that were made.
    pub attempts: u32,
    /// Where it waits: not before this moment, in RFC 3339.
    pub due: Option<String>,
    /// Where it is lost: why, in a word.
    pub reason: Option<String>,
    /// Where it is lost: what the connector said, if it was asked.
    pub detail: Option<String>,
    /// Where it was delivered: the platform's id of what came of it.
    pub platform_id: Option<String>,
    /// When the bot's handler had ended well, in RFC 3339.
    pub committed_at: String,
    /// When it was delivered or lost, in RFC 3339.
    pub ended_at: Option<String>,
}

impl From<&Send> for SendView {
    fn from(send: &Send) -> Self {
        let view = Self {
            id: send.id,
            event: send.event.map(|id| id.to_string()),
            bot: send.bot.to_string(),
            connector: send.connector.clone(),
            attempts: send.attempts,
            committed_at: send.committed_at.to_string(),
            ..Self::default()
        };
        view.about(send).standing(&send.stand)
    }
}

impl SendView {
    /// Adds what is to be done.
    fn about(self, send: &Send) -> Self {
        let Some(action) = &send.action else { return self };
        let (kind, target, text) = match &action.act {
            Act::Send { message, .. } => ("send", message.reply_to.as_ref(), Some(&message.text)),
            Act::Edit { target, message } => ("edit", Some(target), Some(&message.text)),
            Act::Delete { target } => ("delete", Some(target), None),
            Act::React { target, emoji } => ("react", Some(target), Some(emoji)),
        };
        let target = target.map(|target| match target {
            MessageRef::Platform(id) => id.clone(),
            MessageRef::Sent(ticket) => format!("ticket {}", ticket.0),
        });
        Self {
            conversation: Some(action.at.id.clone()),
            kind: Some(kind.to_owned()),
            target,
            text: text.cloned(),
            ..self
        }
    }

    /// Adds where it is.
    fn standing(self, stand: &SendStand) -> Self {
        let state = stand_name(stand).to_owned();
        match stand {
            SendStand::Waiting { due } => Self { state, due: due.map(|due| due.to_string()), ..self },
            SendStand::PerhapsSent => Self { state, ..self },
            SendStand::Delivered { at, platform_id } => {
                Self { state, ended_at: Some(at.to_string()), platform_id: platform_id.clone(), ..self }
            }
            SendStand::Lost { at, reason } => {
                let (reason, detail) = match reason.split_once(": ") {
                    Some((reason, detail)) => (reason, Some(detail.to_owned())),
                    None => (reason.as_str(), None),
                };
                Self { state, ended_at: Some(at.to_string()), reason: Some(reason.to_owned()), detail, ..self }
            }
        }
    }

    /// Cuts what a listing shows of it.
    fn shortened(mut self) -> Self {
        self.text = self.text.as_deref().map(cut);
        self
    }
}

fn stand_name(stand: &SendStand) -> &'static str {
    match stand {
        SendStand::Waiting { .. } => "waiting",
        SendStand::PerhapsSent => "perhaps-sent",
        SendStand::Delivered { .. } => "delivered",
        SendStand::Lost { .. } => "lost",
    }
}

/// What the operator did with an action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "SendChange")]
pub struct OperatedView {
    /// The entry.
    pub id: u64,
    /// How it stands now: `waiting` or `lost`.
    pub state: String,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const STATE: Parameter = Parameter::new("state", Kind::OneOf(&["waiting", "lost"]), "how they stand");
    let (look, act) = (Access::Host(Role::Viewer), Access::Host(Role::Operator));
    vec![
        Endpoint::get("/api/v1/outbox", look, "what waits for a platform, or is lost")
            .takes(&[STATE, CONNECTOR, LIMIT])
            .list(async |api, ask| list(&api, &ask).await.map(Listing::whole)),
        Endpoint::get("/api/v1/outbox/{send}", look, "one of them").json(async |api, ask| one(&api, &ask).await),
        Endpoint::delete("/api/v1/outbox/{send}", act, "given up").json(async |api, ask| give_up(&api, &ask).await),
        Endpoint::post("/api/v1/outbox/{send}/retry", act, "delivered after all")
            .json(async |api, ask| retry(&api, &ask).await),
    ]
}

/// Lists those that wait, or are lost.
pub(super) async fn list(api: &Api, ask: &Ask) -> Result<Vec<SendView>, Problem> {
    let filter = match ask.query.text("state") {
        None | Some("waiting") => SendFilter::Waiting,
        Some("lost") => SendFilter::Lost,
        Some(_) => return Err(Problem::BadRequest("`state` must be `waiting` or `lost`".to_owned())),
    };
    let (connector, limit) = (ask.query.name::<ConnectorKey>("connector")?, ask.query.limit()?);
    let sends = api.records.ask(api.records.store().sends(filter, connector.as_ref(), limit)).await?;
    Ok(sends.iter().map(|send| SendView::from(send).shortened()).collect())
}

/// Shows one.
pub(super) async fn one(api: &Api, ask: &Ask) -> Result<SendView, Problem> {
    Ok(SendView::from(&find(api, entry(ask)?).await?))
}

/// Lets a lost one be delivered after all.
pub(super) async fn retry(api: &Api, ask: &Ask) -> Result<OperatedView, Problem> {
    let id = entry(ask)?;
    let send = find(api, id).await?;
    let SendStand::Lost { .. } = send.stand else {
        return Err(Problem::Conflict(format!("entry {id} is not lost: it is {}", stand_name(&send.stand))));
    };
    if send.connector.parse().ok().and_then(|key| api.sources.connectors.get(&key)).is_none() {
        return Err(Problem::Conflict(format!("there is no connector {} to deliver entry {id}", send.connector)));
    }
    if !api.records.ask(api.records.store().retry_send(id)).await? {
        return Err(changed(id));
    }
    tracing::info!(action = id, bot = %send.bot, "the operator lets a lost action be delivered");
    Ok(OperatedView { id, state: "waiting".to_owned() })
}

/// Gives one up that waits.
pub(super) async fn give_up(api: &Api, ask: &Ask) -> Result<OperatedView, Problem> {
    let id = entry(ask)?;
    let send = find(api, id).await?;
    if let SendStand::Delivered { .. } | SendStand::Lost { .. } = send.stand {
        return Err(Problem::Conflict(format!("entry {id} does not wait: it is {}", stand_name(&send.stand))));
    }
    if !api.records.ask(api.records.store().drop_send(id)).await? {
        return Err(changed(id));
    }
    tracing::info!(action = id, bot = %send.bot, "the operator has given an action up");
    Ok(OperatedView { id, state: "lost".to_owned() })
}

fn entry(ask: &Ask) -> Result<u64, Problem> {
    ask.number("send", "an entry of the outbox is named by a whole number; listings show it")
}

async fn find(api: &Api, id: u64) -> Result<Send, Problem> {
    let found = api.records.ask(api.records.store().send(id)).await?;
    found.ok_or_else(|| {
        Problem::Absent(format!(
            "the outbox has no entry {id}; GET /api/v1/outbox lists what waits, ?state=lost what is lost"
        ))
    })
}

fn changed(id: u64) -> Problem {
    Problem::Conflict(format!("entry {id} is being delivered at this moment, or has just changed; look again"))
}

//! The rooms that we are in or invited to: what is told of them, and how events get from there into the host. Shared by both ways in.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Invites;
use super::api::{Api, CLIENT, quoted};
use super::error::{ApiError, of_connection};
use super::words::Place;
use crate::connector::link::{End, Life, brief};
use crate::connector::{Inbox, Memory};
use crate::event::{Conversation, ConversationKind, Event, EventKind, Membership, User};
use crate::id::ConnectorName;

/// How long one call may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Rooms of which the title is remembered; of more, it is asked for again.
const ROOMS_MAX: usize = 4096;
/// Reactions that are remembered, so that taking one away can be told.
const REACTIONS_MAX: usize = 1024;
/// Invites that wait to be taken.
const WAITING_MAX: usize = 256;
/// How long an invite waits that could not be taken for no fault of ours.
const REST: Duration = Duration::from_secs(30);
/// How long it is remembered that people were told of an encrypted room.
const ENCRYPTED_KNOWN: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Larger JSON of one event is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;
/// The name under which the invites are kept that wait.
const WAITING: &str = "invites";

/// The host's ends of our lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) connector: &'a ConnectorName,
    pub(super) inbox: &'a Inbox,
    pub(super) memory: &'a Memory,
}

/// What is told of a room.
#[derive(Debug, Clone, Default)]
struct Room {
    title: Option<String>,
    is_public: bool,
    is_known_encrypted: bool,
}

/// The rooms of one account, for one life of the connection.
#[derive(Debug)]
pub(super) struct Rooms<'a> {
    api: &'a Api,
    host: Host<'a>,
    invites: &'a Invites,
    me: String,
    known: HashMap<String, Room>,
    /// By user, the rooms that are for the two of us: the account's own list, which clients share.
    direct: BTreeMap<String, Vec<String>>,
    reactions: VecDeque<(String, EventKind)>,
    /// Rooms to be joined: when, and who invited us for a talk between the two of us.
    waiting: BTreeMap<String, (Instant, Option<String>)>,
}

impl<'a> Rooms<'a> {
    /// Asks for what the account knows of its rooms.
    pub(super) async fn of(api: &'a Api, host: Host<'a>, invites: &'a Invites, me: &str) -> Result<Self, ApiError> {
        let path = format!("{CLIENT}/user/{}/account_data/m.direct", quoted(me));
        let direct = match api.get(&path, CALL_TIMEOUT).await {
            Ok(list) => serde_json::from_value(list).unwrap_or_default(),
            Err(ApiError::Refused { status: 404, .. }) => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let waiting: Vec<(String, Option<String>)> =
            host.memory.get(WAITING).await.and_then(|list| serde_json::from_str(&list).ok()).unwrap_or_default();
        let now = Instant::now();
        let waiting = waiting.into_iter().map(|(room, direct)| (room, (now, direct))).collect();
        let (known, reactions) = (HashMap::new(), VecDeque::new());
        Ok(Self { api, host, invites, me: me.to_owned(), known, direct, reactions, waiting })
    }

    /// Returns our id.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Has these rooms joined as soon as [`Rooms::join_waiting`] is called.
    pub(super) fn join_soon(&mut self, rooms: &[String]) {
        for room in rooms {
            self.waiting.entry(room.clone()).or_insert((Instant::now(), None));
        }
    }

    /// Hands over what happened in a room, in this order, and returns once the host has all of it.
    pub(super) async fn take_over(
        &mut self,
        life: Life<'_>,
        room: &str,
        events: &[Value],
        names: &HashMap<String, String>,
    ) -> Result<(), End> {
        for event in events {
            self.learn(room, event);
        }
        if events.is_empty() {
            return Ok(());
        }
        let conversation = self.conversation(room).await.map_err(|error| of_connection(&error))?;
        life.heard();
        let mut submitted = Vec::new();
        for event in events {
            let Some((id, kind)) = self.read(&conversation, event, names).await else { continue };
            let raw = Some(event.to_string()).filter(|raw| raw.len() <= RAW_BYTES_MAX);
            let event = Event { platform_id: Some(id), raw, ..Event::now(Some(self.host.connector.clone()), kind) };
            let promise = life.while_deaf(self.host.inbox.submit(event)).await;
            submitted.push(promise.map_err(|_| End::Stopped)?);
        }
        life.while_deaf(async {
            for promise in submitted {
                promise.taken().await.map_err(|_| End::Stopped)?;
            }
            Ok(())
        })
        .await
    }

    /// Reads one event, and what only this account's memory says of it.
    async fn read(
        &mut self,
        room: &Conversation,
        event: &Value,
        names: &HashMap<String, String>,
    ) -> Option<(String, EventKind)> {
        let id = event["event_id"].as_str()?.to_owned();
        if event["type"] == "m.room.encrypted" {
            return self.encrypted(&room.id).await;
        }
        let kind = Place { me: &self.me, room, names }.read(event)?;
        match &kind {
            EventKind::Reaction { .. } => {
                if self.reactions.len() == REACTIONS_MAX {
                    self.reactions.pop_front();
                }
                self.reactions.push_back((id.clone(), kind.clone()));
            }
            EventKind::Custom { .. } => {
                let gone = event["redacts"].as_str().or(event["content"]["redacts"].as_str());
                let index = self.reactions.iter().position(|(reaction, _)| Some(reaction.as_str()) == gone);
                if let Some((_, mut reaction)) = index.and_then(|index| self.reactions.remove(index)) {
                    if let EventKind::Reaction { added, .. } = &mut reaction {
                        *added = false;
                    }
                    return Some((id, reaction));
                }
            }
            _ => {}
        }
        Some((id, kind))
    }

    /// Tells once that a room's messages cannot be read.
    async fn encrypted(&mut self, room: &str) -> Option<(String, EventKind)> {
        let known = self.known.entry(room.to_owned()).or_default();
        let name = format!("encrypted {room}");
        if std::mem::replace(&mut known.is_known_encrypted, true) || self.host.memory.get(&name).await.is_some() {
            return None;
        }
        // Until long after it is known by its id; a year later it may be told again.
        self.host.memory.try_put(&name, "1", Some(ENCRYPTED_KNOWN)).await;
        tracing::warn!(connector = %self.host.connector, room, "what is said here is encrypted and cannot be read");
        Some((format!("encrypted:{room}"), EventKind::Custom { name: "m.room.encrypted".to_owned() }))
    }

    /// Notes what an event changes of its room.
    fn learn(&mut self, room: &str, event: &Value) {
        let content = &event["content"];
        if event["type"] == "m.room.member" && event["state_key"] == self.me.as_str() && content["membership"] != "join"
        {
            self.known.remove(room);
        } else if let Some(known) = self.known.get_mut(room) {
            match event["type"].as_str() {
                Some("m.room.name") => known.title = title(content),
                Some("m.room.join_rules") => known.is_public = is_public(content),
                _ => {}
            }
        }
    }

    async fn conversation(&mut self, room: &str) -> Result<Conversation, ApiError> {
        let known = match self.known.get(room) {
            Some(known) => known.clone(),
            None => {
                let title = title(&self.state(room, "m.room.name").await?);
                let is_public = is_public(&self.state(room, "m.room.join_rules").await?);
                if self.known.len() >= ROOMS_MAX {
                    self.known.clear();
                }
                let known = Room { title, is_public, is_known_encrypted: false };
                self.known.insert(room.to_owned(), known.clone());
                known
            }
        };
        let is_direct = self.direct.values().flatten().any(|direct| direct == room);
        let kind = match (is_direct, known.is_public) {
            (true, _) => ConversationKind::Direct,
            (false, true) => ConversationKind::Channel,
            (false, false) => ConversationKind::Group,
        };
        let connector = self.host.connector.clone();
        Ok(Conversation { connector, id: room.to_owned(), kind, title: known.title, thread: None })
    }

    /// Asks for a part of a room's state; null where there is none, or we may not know.
    async fn state(&self, room: &str, kind: &str) -> Result<Value, ApiError> {
        let path = format!("{CLIENT}/rooms/{}/state/{kind}", quoted(room));
        match self.api.get(&path, CALL_TIMEOUT).await {
            Err(ApiError::Refused { status: 400 | 403 | 404, .. }) => Ok(Value::Null),
            result => result,
        }
    }

    /// Hands an invite over, and joins where `invites` says so. `occasion` tells this invite from another to the same room.
    pub(super) async fn invited(
        &mut self,
        life: Life<'_>,
        room: &str,
        state: &[Value],
        occasion: &str,
    ) -> Result<(), End> {
        let is_ours = |event: &&Value| {
            event["type"] == "m.room.member"
                && event["state_key"] == self.me.as_str()
                && event["content"]["membership"] == "invite"
        };
        let Some((invite, by)) = state.iter().find(is_ours).and_then(|event| Some((event, event["sender"].as_str()?)))
        else {
            return Ok(());
        };
        let is_direct = invite["content"]["is_direct"] == true;
        let kind = if is_direct { ConversationKind::Direct } else { ConversationKind::Group };
        let name = state.iter().find(|event| event["type"] == "m.room.name");
        let conversation = Conversation {
            connector: self.host.connector.clone(),
            id: room.to_owned(),
            kind,
            title: name.and_then(|event| title(&event["content"])),
            thread: None,
        };
        let member = User { id: self.me.clone(), name: None, is_bot: true };
        let kind = EventKind::Member { conversation, member, change: Membership::Invited };
        let event = Event {
            platform_id: Some(
                invite["event_id"].as_str().map_or_else(|| format!("invite:{room}:{occasion}"), str::to_owned),
            ),
            raw: Some(invite.to_string()).filter(|raw| raw.len() <= RAW_BYTES_MAX),
            ..Event::now(Some(self.host.connector.clone()), kind)
        };
        life.while_deaf(self.host.inbox.take_over(event)).await.map_err(|_| End::Stopped)?;
        if !self.invites.includes(by) {
            tracing::info!(connector = %self.host.connector, room, by, "an invite is not taken: see `invites`");
        } else if self.waiting.len() >= WAITING_MAX {
            tracing::warn!(connector = %self.host.connector, room, by, "too many invites wait: this one is not taken");
        } else {
            self.waiting.insert(room.to_owned(), (Instant::now(), is_direct.then(|| by.to_owned())));
            self.keep_waiting().await;
        }
        Ok(())
    }

    async fn keep_waiting(&self) {
        let list: Vec<_> = self.waiting.iter().map(|(room, (_, direct))| (room, direct)).collect();
        self.host.memory.try_put(WAITING, json!(list).to_string(), None).await;
    }

    /// Returns when the next room is to be joined.
    pub(super) fn next_join(&self) -> Option<Instant> {
        self.waiting.values().map(|(at, _)| *at).min()
    }

    /// Joins a room of which the time has come: one, so that servers that are gone hold up nobody for long. One that refuses is given
    /// up.
    pub(super) async fn join_waiting(&mut self, life: Life<'_>) -> Result<(), End> {
        let now = Instant::now();
        let due = self.waiting.iter().filter(|(_, (at, _))| *at <= now).min_by_key(|(_, (at, _))| *at);
        let due: Option<String> = due.map(|(room, _)| room.clone());
        if let Some(room) = &due {
            let path = format!("{CLIENT}/join/{}", quoted(room));
            let joined = self.api.act(Method::POST, &path, &json!({}), CALL_TIMEOUT).await;
            if !matches!(&joined, Err(ApiError::Http(_))) {
                life.heard();
            }
            match joined {
                Ok(answer) => {
                    let (_, direct) = self.waiting.remove(room).unwrap_or((now, None));
                    tracing::info!(connector = %self.host.connector, room, "joined");
                    if let (Some(with), Some(room)) = (direct, answer["room_id"].as_str()) {
                        self.note_direct(with, room.to_owned()).await;
                    }
                }
                Err(error) if error.is_signed_out() => return Err(of_connection(&error)),
                Err(error) => {
                    let wait = match &error {
                        ApiError::Refused { retry_after: Some(wait), .. } => Some(*wait),
                        ApiError::Refused { status: ..500, .. } => None,
                        _ => Some(REST),
                    };
                    let error = brief(&error.to_string());
                    tracing::warn!(connector = %self.host.connector, room, error, is_final = wait.is_none(), "cannot join");
                    match (wait, self.waiting.get_mut(room)) {
                        (Some(wait), Some((at, _))) => *at = Instant::now() + wait,
                        _ => drop(self.waiting.remove(room)),
                    }
                }
            }
        }
        if due.is_some() {
            self.keep_waiting().await;
        }
        Ok(())
    }

    /// Puts a room into the account's list of those for two. If that fails, the room is for the two of us until the next start only.
    async fn note_direct(&mut self, with: String, room: String) {
        self.direct.entry(with).or_default().push(room);
        let path = format!("{CLIENT}/user/{}/account_data/m.direct", quoted(&self.me));
        if let Err(error) = self.api.act(Method::PUT, &path, &json!(self.direct), CALL_TIMEOUT).await {
            let error = brief(&error.to_string());
            tracing::warn!(connector = %self.host.connector, error, "cannot note that a room is for two");
        }
    }
}

fn title(content: &Value) -> Option<String> {
    content["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn is_public(content: &Value) -> bool {
    content["join_rule"] == "public"
}

/// Returns what members call themselves, as far as these events say.
pub(super) fn names<'e>(events: impl IntoIterator<Item = &'e Value>) -> HashMap<String, String> {
    let member = |event: &Value| {
        let name = event["content"]["displayname"].as_str()?;
        let is_member = event["type"] == "m.room.member";
        Some((event["state_key"].as_str().filter(|_| is_member)?.to_owned(), name.to_owned()))
    };
    events.into_iter().filter_map(member).collect()
}

/// Returns the ids of the events by which this user came into a room.
pub(super) fn arrivals<'e>(me: &str, events: &'e [Value]) -> HashSet<&'e str> {
    let is_arrival = |event: &&Value| {
        event["type"] == "m.room.member"
            && event["state_key"] == me
            && event["content"]["membership"] == "join"
            && event["unsigned"]["prev_content"]["membership"] != "join"
    };
    events.iter().filter(is_arrival).filter_map(|event| event["event_id"].as_str()).collect()
}

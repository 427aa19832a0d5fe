//! The way in as a client: one long poll after another. The place in the homeserver's stream is kept only after the host has taken
//! over everything before it, so that nothing is lost between the two.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Api, CLIENT, quoted};
use super::error::{ApiError, of_connection};
use super::rooms::{CALL_TIMEOUT, Host, Rooms, arrivals, names};
use super::session::{greet, sign_in};
use super::words::TYPES;
use super::{Login, MatrixConfig};
use crate::connector::link::{End, Life};
use crate::egress::HttpError;
use crate::event::{Event, EventKind};

/// Events of one room that one answer brings; the others are asked for.
const TIMELINE_MAX: u32 = 50;
/// Events that are asked for at a time. So many of the largest size are less than an answer may have.
const PAGE_EVENTS: u32 = 50;
/// How often it is asked for what one answer left out of a room.
const PAGES_MAX: usize = 200;
/// A homeserver that answers at once, and nothing new, is left alone for so long.
const IDLE_REST: Duration = Duration::from_secs(1);

/// One account's sync.
#[derive(Debug)]
pub(super) struct Sync<'a> {
    api: &'a Api,
    config: &'a MatrixConfig,
    login: &'a Login,
    host: Host<'a>,
}

/// What is missing of a room between two answers.
struct Gap<'a> {
    room: &'a str,
    since: &'a str,
    until: &'a str,
}

impl<'a> Sync<'a> {
    pub(super) fn new(api: &'a Api, config: &'a MatrixConfig, login: &'a Login, host: Host<'a>) -> Self {
        Self { api, config, login, host }
    }

    /// One life of the connection.
    pub(super) async fn live(&self, life: Life<'_>) -> End {
        match self.serve(life).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn serve(&self, life: Life<'_>) -> Result<Infallible, End> {
        greet(self.api).await?;
        life.authenticating();
        let me = sign_in(self.api, self.login, self.host.memory).await?;
        let rooms = Rooms::of(self.api, self.host, &self.config.invites, &me).await;
        let mut rooms = rooms.map_err(|error| self.end(&error))?;
        rooms.join_soon(&self.config.rooms);
        let place = format!("since {me}");
        let mut since = self.host.memory.get(&place).await;
        let (mut limit, mut is_first) = (TIMELINE_MAX, true);
        loop {
            // Not before it is known where the stream is: what happens in a room from then on is told.
            if since.is_some() {
                rooms.join_waiting(life).await?;
            }
            let timeout = if is_first { Duration::ZERO } else { self.patience(&rooms) };
            let asked_at = Instant::now();
            let answer = match self.ask(since.as_deref(), timeout, limit).await {
                Ok(answer) => answer,
                Err(ApiError::Http(HttpError::TooLarge)) if limit > 1 => {
                    // What is left out is asked for room by room.
                    limit /= 7;
                    life.heard();
                    continue;
                }
                Err(error) if since.is_some() && matches!(error.refusal(), Some((400, _))) => {
                    self.host.memory.forget(&place).await;
                    tracing::warn!(connector = %self.host.connector, %error, "what was said while away cannot be asked for");
                    self.tell_of_gap(life, &json!({"since": since, "error": error.to_string()})).await?;
                    return Err(End::lost(error));
                }
                Err(error) => return Err(self.end(&error)),
            };
            life.heard();
            let Some(next) = answer["next_batch"].as_str() else {
                return Err(End::lost("an answer to a sync without `next_batch`"));
            };
            self.take(life, &mut rooms, &answer, since.as_deref()).await?;
            let is_idle = since.as_deref() == Some(next);
            if !is_idle {
                self.host.memory.put(&place, next, None).await.map_err(End::lost)?;
                since = Some(next.to_owned());
            }
            life.connected();
            life.of_use();
            if is_idle && !is_first && asked_at.elapsed() < timeout.min(IDLE_REST) {
                tokio::time::sleep(IDLE_REST).await;
            }
            (limit, is_first) = (TIMELINE_MAX, false);
        }
    }

    /// Returns what a failure means here, where another token may be had.
    fn end(&self, error: &ApiError) -> End {
        match self.login {
            Login::Password { .. } if error.is_signed_out() => End::lost(error),
            _ => of_connection(error),
        }
    }

    /// Returns how long the homeserver may wait: not longer than until a room is to be joined.
    fn patience(&self, rooms: &Rooms<'_>) -> Duration {
        let until_join = rooms.next_join().map(|at| at.saturating_duration_since(Instant::now()));
        self.config.sync_timeout.min(until_join.unwrap_or(Duration::MAX))
    }

    async fn ask(&self, since: Option<&str>, timeout: Duration, limit: u32) -> Result<Value, ApiError> {
        let none = json!({"types": []});
        // The first answer says where the stream is now; what was said before is nobody's business.
        let limit = if since.is_some() { limit } else { 1 };
        let filter = json!({
            "presence": none, "account_data": none,
            "room": {
                "account_data": none, "ephemeral": none,
                "state": {"types": ["m.room.name", "m.room.join_rules", "m.room.member"],
                    "lazy_load_members": true, "include_redundant_members": true},
                "timeline": {"types": TYPES, "limit": limit, "lazy_load_members": true},
            },
        });
        let mut path = format!(
            "{CLIENT}/sync?set_presence=offline&timeout={}&filter={}",
            timeout.as_millis(),
            quoted(&filter.to_string())
        );
        if let Some(since) = since {
            path.push_str(&format!("&since={}", quoted(since)));
        }
        self.api.get(&path, self.config.stall_timeout).await
    }

    /// Hands over what an answer brings; of the first one the invites.
    async fn take(
        &self,
        life: Life<'_>,
        rooms: &mut Rooms<'_>,
        answer: &Value,
        since: Option<&str>,
    ) -> Result<(), End> {
        let section = |name: &str| answer["rooms"][name].as_object().into_iter().flatten();
        for (room, invite) in section("invite") {
            let state = list(&invite["invite_state"]["events"]);
            rooms.invited(life, room, state, answer["next_batch"].as_str().unwrap_or_default()).await?;
        }
        let Some(since) = since else { return Ok(()) };
        for (room, said) in section("join").chain(section("leave")) {
            let (timeline, state) = (list(&said["timeline"]["events"]), list(&said["state"]["events"]));
            let came = arrivals(rooms.me(), timeline);
            // What was said before we came was not said to us.
            let from =
                timeline.iter().rposition(|event| event["event_id"].as_str().is_some_and(|id| came.contains(id)));
            let is_cut = said["timeline"]["limited"] == true && from.is_none();
            if let (true, Some(until)) = (is_cut, said["timeline"]["prev_batch"].as_str()) {
                self.fill(life, rooms, Gap { room, since, until }).await?;
            }
            let names = names(state.iter().chain(timeline));
            rooms.take_over(life, room, &timeline[from.unwrap_or(0)..], &names).await?;
        }
        Ok(())
    }

    /// Asks for what an answer left out, and hands it over, oldest first.
    async fn fill(&self, life: Life<'_>, rooms: &mut Rooms<'_>, gap: Gap<'_>) -> Result<(), End> {
        let Gap { room, since, until } = gap;
        let own = json!({"types": ["m.room.member"], "senders": [rooms.me()]});
        let Some(page) = self.page(room, ('b', until, since), &own, life).await? else { return Ok(()) };
        let came = arrivals(rooms.me(), list(&page["chunk"]));
        let came =
            list(&page["chunk"]).iter().filter_map(|event| event["event_id"].as_str()).find(|id| came.contains(id));
        let (mut before, mut at) = (came, since.to_owned());
        let filter = json!({"types": TYPES, "lazy_load_members": true});
        for _ in 0..PAGES_MAX {
            let Some(page) = self.page(room, ('f', &at, until), &filter, life).await? else { return Ok(()) };
            let mut events = list(&page["chunk"]);
            let names = names(list(&page["state"]).iter().chain(events));
            if let Some(came) = before {
                match events.iter().position(|event| event["event_id"] == came) {
                    Some(index) => (events, before) = (&events[index..], None),
                    None => events = &[],
                }
            }
            rooms.take_over(life, room, events, &names).await?;
            match page["end"].as_str() {
                Some(end) if end != at && !list(&page["chunk"]).is_empty() => at = end.to_owned(),
                _ => return Ok(()),
            }
        }
        let events = PAGES_MAX * PAGE_EVENTS as usize;
        tracing::warn!(connector = %self.host.connector, room, events, "more was said while away than is asked for");
        self.tell_of_gap(life, &json!({"room_id": room, "from": at, "to": until})).await
    }

    /// Asks for a page of a room's events, from one place to another; none where we may not see them any longer.
    async fn page(
        &self,
        room: &str,
        (direction, from, to): (char, &str, &str),
        filter: &Value,
        life: Life<'_>,
    ) -> Result<Option<Value>, End> {
        let path = format!(
            "{CLIENT}/rooms/{}/messages?dir={direction}&from={}&to={}&limit={PAGE_EVENTS}&filter={}",
            quoted(room),
            quoted(from),
            quoted(to),
            quoted(&filter.to_string())
        );
        let page = self.api.get(&path, CALL_TIMEOUT).await;
        life.heard();
        match page {
            Ok(page) => Ok(Some(page)),
            Err(ApiError::Refused { status: 403 | 404, .. }) => Ok(None),
            Err(error) => Err(self.end(&error)),
        }
    }

    /// Tells the bots that something was said that they will not get.
    async fn tell_of_gap(&self, life: Life<'_>, what: &Value) -> Result<(), End> {
        let kind = EventKind::Custom { name: "matrix.gap".to_owned() };
        let event = Event { raw: Some(what.to_string()), ..Event::now(Some(self.host.connector.clone()), kind) };
        life.while_deaf(self.host.inbox.take_over(event)).await.map_err(|_| End::Stopped)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

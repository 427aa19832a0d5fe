//! The way in as an application service: the homeserver calls, one transaction after another, and repeats each until it hears that it
//! arrived. It is told so once the host has taken all of it over.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::api::Api;
use super::error::of_connection;
use super::rooms::{Host, Rooms, names};
use super::session::{greet, who_is};
use super::{MatrixConfig, Service};
use crate::connector::Ingress;
use crate::connector::ingress::Knock;
use crate::connector::link::{Connection, End, Life};

/// The name under which the last transaction is kept that was taken over.
const LAST: &str = "transaction";

/// One application service.
#[derive(Debug)]
pub(super) struct Push<'a> {
    api: &'a Api,
    config: &'a MatrixConfig,
    service: &'a Service,
    host: Host<'a>,
    ingress: &'a Ingress,
    connection: &'a Connection,
}

/// What the homeserver wants.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    /// Take these events.
    Transaction(&'a str),
    /// Say whether this user is ours.
    User(&'a str),
    /// Say whether this alias is ours.
    Alias,
    /// Say that we are there.
    Ping,
}

fn wish<'a>(method: &Method, below: &'a str) -> Option<Wish<'a>> {
    match (method, below.split_once('/').unwrap_or((below, ""))) {
        (&Method::PUT, ("transactions", id)) if !id.is_empty() => Some(Wish::Transaction(id)),
        (&Method::GET, ("users", id)) if !id.is_empty() => Some(Wish::User(id)),
        (&Method::GET, ("rooms", alias)) if !alias.is_empty() => Some(Wish::Alias),
        (&Method::POST, ("ping", "")) => Some(Wish::Ping),
        _ => None,
    }
}

impl<'a> Push<'a> {
    pub(super) fn new(
        api: &'a Api,
        config: &'a MatrixConfig,
        service: &'a Service,
        host: Host<'a>,
        (ingress, connection): (&'a Ingress, &'a Connection),
    ) -> Self {
        Self { api, config, service, host, ingress, connection }
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
        let session = self.check().await?;
        let me = session.user_id.clone();
        self.api.become_one(Some(session));
        let rooms = Rooms::of(self.api, self.host, &self.config.invites, &me).await;
        let mut rooms = rooms.map_err(|error| of_connection(&error))?;
        rooms.join_soon(&self.config.rooms);
        let mut last = self.host.memory.get(LAST).await;
        let door = self.ingress.open(self.service.listen, &self.service.path).await;
        let mut door = door.map_err(End::lost)?;
        self.connection.listening(door.address());
        // The homeserver calls when there is something: that it is there at all is asked for.
        let mut check = interval(self.config.sync_timeout);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rooms.join_waiting(life).await?;
            life.connected();
            tokio::select! {
                knock = door.next() => self.answer(life, &mut rooms, &mut last, knock).await?,
                _ = check.tick() => {
                    self.check().await?;
                    life.heard();
                    life.of_use();
                }
                () = tokio::time::sleep_until(rooms.next_join().unwrap_or_else(far_off)) => {}
            }
        }
    }

    async fn check(&self) -> Result<super::api::Session, End> {
        who_is(self.api, self.service.as_token.clone(), false).await.map_err(|error| of_connection(&error))
    }

    async fn answer(
        &self,
        life: Life<'_>,
        rooms: &mut Rooms<'_>,
        last: &mut Option<String>,
        knock: Knock,
    ) -> Result<(), End> {
        let token = knock.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.service.hs_token.matches(token.as_bytes())) {
            knock.answer_json(StatusCode::FORBIDDEN, &json!({"errcode": "M_FORBIDDEN", "error": "no such token"}));
            return Ok(());
        }
        life.heard();
        let not_found = json!({"errcode": "M_NOT_FOUND", "error": "none of ours"});
        let path = knock.path.clone();
        let below = path.strip_prefix(self.service.path.as_str()).unwrap_or_default();
        let (status, answer) = match wish(&knock.method, below) {
            Some(Wish::Transaction(id)) if last.as_deref() == Some(id) => (StatusCode::OK, json!({})),
            Some(Wish::Transaction(id)) => {
                let body: Option<Value> = serde_json::from_slice(&knock.body).ok();
                let Some(events) = body.as_ref().and_then(|body| body["events"].as_array()) else {
                    let error = json!({"errcode": "M_BAD_JSON", "error": "no `events`"});
                    knock.answer_json(StatusCode::BAD_REQUEST, &error);
                    return Ok(());
                };
                // Dropped on a failure, the request is answered with: come again.
                self.take(life, rooms, events).await?;
                self.host.memory.put(LAST, id, None).await.map_err(End::lost)?;
                *last = Some(id.to_owned());
                (StatusCode::OK, json!({}))
            }
            Some(Wish::User(id)) if is_quoted(id, rooms.me()) => (StatusCode::OK, json!({})),
            Some(Wish::Ping) => (StatusCode::OK, json!({})),
            Some(Wish::User(_) | Wish::Alias) => (StatusCode::NOT_FOUND, not_found),
            None => (StatusCode::NOT_FOUND, json!({"errcode": "M_UNRECOGNIZED", "error": "no such request"})),
        };
        knock.answer_json(status, &answer);
        Ok(())
    }

    /// Hands the events of one transaction over: each room's in their order.
    async fn take(&self, life: Life<'_>, rooms: &mut Rooms<'_>, events: &[Value]) -> Result<(), End> {
        let mut by_room: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for event in events {
            let Some(room) = event["room_id"].as_str() else { continue };
            let is_invite = event["type"] == "m.room.member"
                && event["state_key"] == rooms.me()
                && event["content"]["membership"] == "invite";
            if is_invite {
                rooms.invited(life, room, std::slice::from_ref(event), "").await?;
            } else {
                by_room.entry(room).or_default().push(event.clone());
            }
        }
        for (room, events) in by_room {
            rooms.take_over(life, room, &events, &names(&events)).await?;
        }
        Ok(())
    }
}

/// Returns a moment that does not come.
fn far_off() -> tokio::time::Instant {
    tokio::time::Instant::now() + std::time::Duration::from_secs(86_400)
}

fn is_quoted(quoted: &str, text: &str) -> bool {
    percent_encoding::percent_decode_str(quoted).decode_utf8().is_ok_and(|decoded| decoded == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_homeserver_asks_for_is_understood_and_nothing_else() {
        for (method, below, expected) in [
            (Method::PUT, "transactions/7", Some(Wish::Transaction("7"))),
            (Method::POST, "transactions/7", None),
            (Method::PUT, "transactions/", None),
            (Method::GET, "users/%40a%3Ab", Some(Wish::User("%40a%3Ab"))),
            (Method::GET, "rooms/x", Some(Wish::Alias)),
            (Method::POST, "ping", Some(Wish::Ping)),
            (Method::GET, "ping", None),
            (Method::GET, "", None),
        ] {
            assert_eq!(wish(&method, below), expected, "{method} {below}");
        }
        assert!(is_quoted("%40a%3Ab", "@a:b") && !is_quoted("%40a%3Ac", "@a:b"));
    }
}

//! One shard: Discord's own side of the gateway.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::interactions::Pending;
use super::rest::{Rest, RestError, Route};
use super::words::{Interaction, Reader};
use crate::connector::DeliveryError;
use crate::connector::gateway::{Closing, Dispatch, Invitation, Platform, SessionLimit};
use crate::connector::link::{End, Life};
use crate::egress::WebSocketUrl;
use crate::event::Event;
use crate::id::ConnectorName;
use crate::secret::Secret;

/// What is asked for on the way to the gateway has this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// After "too many frames" a connection is not made anew at once.
const TOO_FAST_WAIT: Duration = Duration::from_secs(10);
/// Shards of one bucket ask where to connect this far apart, as far as they may identify.
const TURN: Duration = Duration::from_secs(5);
/// Shards that one process serves.
pub(super) const SHARDS_MAX: u32 = 256;

/// What all shards of a bot have in common.
#[derive(Debug)]
pub(super) struct Bot<'a> {
    pub(super) connector: &'a ConnectorName,
    pub(super) rest: &'a Rest,
    pub(super) token: &'a Secret,
    pub(super) intents: u64,
    /// In place of what Discord names.
    pub(super) gateway_url: Option<&'a WebSocketUrl>,
    pub(super) application_id: Option<&'a str>,
    pub(super) pending: &'a mpsc::Sender<Pending>,
    /// The bot's account, once it is known.
    me: Mutex<Option<String>>,
    /// How many shards may identify at once, as far as it is known.
    concurrency: AtomicU32,
    /// When each bucket of shards has its next turn.
    turns: Mutex<Vec<(u32, Instant)>>,
}

/// What Discord says of its gateway.
#[derive(Debug, Deserialize)]
struct Advice {
    url: WebSocketUrl,
    shards: u32,
    session_start_limit: SessionLimit,
}

impl<'a> Bot<'a> {
    pub(super) fn new(
        connector: &'a ConnectorName,
        rest: &'a Rest,
        config: &'a super::DiscordConfig,
        pending: &'a mpsc::Sender<Pending>,
    ) -> Self {
        Self {
            connector,
            rest,
            token: &config.token,
            intents: config.intents,
            gateway_url: config.gateway_url.as_ref(),
            application_id: config.application_id.as_deref(),
            pending,
            me: Mutex::default(),
            concurrency: AtomicU32::new(1),
            turns: Mutex::default(),
        }
    }

    async fn advice(&self) -> Result<Advice, End> {
        let advice = self.get("/gateway/bot", "gateway").await?;
        let advice =
            Advice::deserialize(&advice).map_err(|_| End::lost("Discord does not say where its gateway is"))?;
        self.concurrency.store(advice.session_start_limit.max_concurrency.max(1), Ordering::Relaxed);
        Ok(advice)
    }

    /// Returns how many shards Discord advises.
    pub(super) async fn shards_advised(&self) -> Result<u32, End> {
        let shards = self.advice().await?.shards;
        if (1..=SHARDS_MAX).contains(&shards) {
            return Ok(shards);
        }
        let error = format!(
            "Discord advises {shards} shards, and one process serves {SHARDS_MAX}: give this one a part, as in `shard = [0, {shards}]`"
        );
        Err(End::Refused { error, retry: None })
    }

    async fn get(&self, path: &str, name: &'static str) -> Result<Value, End> {
        let route = Route { method: Method::GET, path: path.to_owned(), name, major: String::new() };
        self.rest.call(&route, "", None, CALL_TIMEOUT).await.map_err(refusal)
    }

    fn me(&self) -> Option<String> {
        self.me.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_me(&self, id: &str) {
        *self.me.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
    }

    /// Returns when it is the turn of a shard, and takes it.
    fn turn(&self, shard: u32, now: Instant) -> Instant {
        let bucket = shard % self.concurrency.load(Ordering::Relaxed);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let at = turns.iter().find(|(own, _)| *own == bucket).map_or(now, |(_, next)| (*next).max(now));
        turns.retain(|(own, _)| *own != bucket);
        turns.push((bucket, at + TURN));
        at
    }
}

/// Returns the end of a life whose question Discord did not answer.
fn refusal(error: RestError) -> End {
    match error.class() {
        DeliveryError::Unauthorized(why) => {
            End::refused(format_args!("Discord refuses the token: {why}; put the bot's present one into `token`"))
        }
        DeliveryError::RateLimited(wait) => End::Wait(wait, error.to_string()),
        _ => End::lost(error),
    }
}

/// One life of one shard.
pub(super) struct Shard<'a> {
    pub(super) bot: &'a Bot<'a>,
    pub(super) life: Life<'a>,
    pub(super) number: u32,
    pub(super) of: u32,
    /// The session that dispatches belong to.
    session: Mutex<String>,
}

impl<'a> Shard<'a> {
    pub(super) fn new(bot: &'a Bot<'a>, life: Life<'a>, number: u32, of: u32) -> Self {
        Self { bot, life, number, of, session: Mutex::default() }
    }

    fn begins(&self, session: &str) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session.to_owned();
    }
}

impl Platform for Shard<'_> {
    async fn invitation(&self) -> Result<Invitation, End> {
        // Before the connection is made: while it waits there, nobody answers the gateway.
        let turn = self.bot.turn(self.number, Instant::now());
        self.life.while_deaf(sleep_until(turn)).await;
        let advice = self.bot.advice().await?;
        let WebSocketUrl(mut endpoint) = self.bot.gateway_url.cloned().unwrap_or(advice.url);
        if !endpoint.target.contains('?') {
            endpoint.target = format!("{}/?v=10&encoding=json", endpoint.target.trim_end_matches('/'));
        }
        Ok(Invitation { url: WebSocketUrl(endpoint), limit: advice.session_start_limit })
    }

    async fn identify(&self) -> Result<Value, End> {
        Ok(json!({
            "token": self.bot.token.expose(), "intents": self.bot.intents, "shard": [self.number, self.of],
            "properties": {"os": std::env::consts::OS, "browser": "bothost", "device": "bothost"},
        }))
    }

    async fn resume(&self, session_id: &str, seq: u64) -> Result<Value, End> {
        if self.bot.me().is_none() {
            // After a restart: what is resumed does not say again who we are.
            let me = self.bot.get("/users/@me", "me").await?;
            self.bot.is_me(me["id"].as_str().ok_or_else(|| End::lost("Discord does not say who the bot is"))?);
        }
        self.begins(session_id);
        Ok(json!({"token": self.bot.token.expose(), "session_id": session_id, "seq": seq}))
    }

    fn ready(&self, data: &Value) -> Result<(), End> {
        let (Some(me), Some(session)) = (data["user"]["id"].as_str(), data["session_id"].as_str()) else {
            return Err(End::lost("Discord does not say who the bot is"));
        };
        let application = data["application"]["id"].as_str();
        if let (Some(wanted), Some(given)) = (self.bot.application_id, application)
            && wanted != given
        {
            return Err(End::refused(format_args!("the token is of the application {given}, not of {wanted}")));
        }
        self.bot.is_me(me);
        self.begins(session);
        Ok(())
    }

    fn events(&self, dispatch: &Dispatch) -> Vec<Event> {
        let me = self.bot.me();
        let place = {
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            format!("{session}:{}", dispatch.seq)
        };
        let reader = Reader { connector: self.bot.connector, me: me.as_deref() };
        reader.event(&dispatch.kind, &dispatch.data, &place).into_iter().collect()
    }

    fn taken(&self, dispatch: &Dispatch) {
        self.bot.rest.heard();
        if dispatch.kind == "INTERACTION_CREATE"
            && let Some(interaction) = Interaction::read(&dispatch.data)
            && self.bot.pending.try_send(Pending::new(interaction)).is_err()
        {
            tracing::warn!(connector = %self.bot.connector, "too many interactions at once: one is not answered in time");
        }
    }

    fn closing(&self, code: Option<u16>) -> Closing {
        closing(code)
    }
}

/// Judges a close code, by <https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes>.
fn closing(code: Option<u16>) -> Closing {
    match code {
        Some(4003 | 4007 | 4009) => Closing::Identify,
        Some(4004) => Closing::Refused("Discord refuses the token: put the bot's present one into `token`"),
        Some(4010) => Closing::Refused("Discord has no such shard: correct `shard` or `shards`"),
        Some(4011) => Closing::Refused("the bot is in too many guilds for so few shards: raise `shards`"),
        Some(4012) => Closing::Refused("Discord no longer speaks this version of its gateway"),
        Some(4013) => Closing::Refused("Discord does not know one of the `intents`"),
        Some(4014) => Closing::Refused(
            "Discord does not allow one of the `intents`: enable it on the application's page, or leave it out",
        ),
        Some(4008) => Closing::ResumeAfter(TOO_FAST_WAIT),
        _ => Closing::Resume,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_code_has_its_remedy() {
        for code in
            [None, Some(1000), Some(1001), Some(1006), Some(4000), Some(4001), Some(4002), Some(4005), Some(4999)]
        {
            assert_eq!(closing(code), Closing::Resume, "{code:?}");
        }
        assert_eq!(closing(Some(4008)), Closing::ResumeAfter(TOO_FAST_WAIT));
        for code in [4003, 4007, 4009] {
            assert_eq!(closing(Some(code)), Closing::Identify, "{code}");
        }
        for code in [4004, 4010, 4011, 4012, 4013, 4014] {
            assert!(matches!(closing(Some(code)), Closing::Refused(_)), "{code}");
        }
    }
}

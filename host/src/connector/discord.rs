//! Discord: its gateway for what happens, its REST API for what bots say, and a door for interactions where an application has them sent
//! by HTTP. Owns the table of the configuration and what runs side by side: every shard, the answers, the deliveries.
//!
//! A slash command is a message of the text that somebody might have typed, so that commands are recognised as everywhere; what the bot
//! sends into the conversation is a message of its own there, which bears a nonce and so is there once.

mod act;
mod config;
mod interactions;
mod rest;
mod shard;
mod words;

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::future::{join_all, select_all};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::config::{DiscordConfig, Door, Shards};
use self::interactions::Desk;
use self::rest::Rest;
use self::shard::{Bot, Shard};
use self::words::Reader;
use super::config::Nature;
use super::gateway::{self, Identifies, Lines, Sessions};
use super::link::{Connection, End, Life};
use super::{AskedKey, Inbox, Link, Memory, PaceLimits, Ports, Status, StatusPublisher, deliveries};
use crate::egress::{AddressGuard, HttpClient};
use crate::rate::Quota;

/// What its table holds.
pub(super) const NATURE: Nature = Nature {
    name: "discord",
    keys: &[
        "token",
        "api_url",
        "gateway_url",
        "intents",
        "shards",
        "shard",
        "public_key",
        "listen",
        "path",
        "application_id",
        "stall_timeout",
        "reconnect_max",
        "pace",
    ],
    askable: &[AskedKey::secret("token", "sample"), AskedKey::address("api_url", "https://sample")],
};

/// What Discord takes, by <https://discord.com/developers/docs/topics/rate-limits>: fifty requests a second in all, and about five
/// messages in five seconds in a channel. The exact limit of each route comes with every answer, and is kept to as well.
pub(super) const PACE: PaceLimits = PaceLimits {
    token: Some(Quota::new(50, Duration::from_secs(1), 5)),
    direct_chat: Some(Quota::new(5, Duration::from_secs(5), 2)),
    group_chat: Some(Quota::new(5, Duration::from_secs(5), 2)),
};

/// How often it is looked whether any part has heard of Discord.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs until it is told to stop.
pub(super) async fn run(config: DiscordConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, ingress, memory, cancel } = ports;
    let client = HttpClient::new(config.api_url.0.clone(), guard.clone());
    let rest = Rest::new(client, &config.token, status.signs());
    let (answers, waiting) = mpsc::channel(interactions::WAITING_MAX);
    let bot = Bot::new(&name, &rest, &config, &answers);
    let mut parts = Parts::default();
    let door = config.door.as_ref().map(|door| (door, parts.add(&config)));
    let shards = async {
        let Some(numbers) = numbers(&bot, &config, parts.clone(), &status, &cancel).await else { return };
        let connections: Vec<_> = numbers.iter().map(|_| parts.add(&config)).collect();
        let identifies = Identifies::new(memory.clone(), format!("identifies-{}", fingerprint(&config)));
        let shared = Shared { bot: &bot, inbox: &inbox, guard: &guard, memory: &memory, identifies: &identifies };
        let lives = numbers.iter().zip(&connections);
        let lives = lives.map(|(number, connection)| shared.keep(&config, *number, connection, &cancel));
        let parts = std::mem::take(&mut parts);
        tokio::select! {
            biased;
            never = parts.show(&status) => match never {},
            _ = join_all(lives) => {}
        }
    };
    let desk = async {
        if let Some((door, connection)) = &door {
            let reader = Reader { connector: &name, me: None };
            let Door { listen, path, public_key: key } = door;
            let application_id = config.application_id.as_deref();
            let desk = Desk { listen: *listen, path, key, application_id, reader, inbox: &inbox, pending: &answers };
            desk.run(connection, &ingress, &cancel).await;
        }
    };
    let earlier = act::Earlier::default();
    let deliver = deliveries::carry_out(deliveries, &cancel, |task| act::carry_out(&rest, &earlier, task));
    tokio::join!(shards, desk, deliver, interactions::answer_all(&rest, waiting, &cancel));
    status.publish(Link::Stopped);
}

/// Returns which shards of how many are served here; none where the connector was told to stop.
async fn numbers(
    bot: &Bot<'_>,
    config: &DiscordConfig,
    mut parts: Parts,
    status: &StatusPublisher,
    cancel: &CancellationToken,
) -> Option<Vec<(u32, u32)>> {
    let all = |of| (0..of).map(|number| (number, of)).collect();
    match config.shards {
        Shards::One(number, of) => Some(vec![(number, of)]),
        Shards::All(of) => Some(all(of)),
        Shards::Advised => {
            let connection = parts.add(config);
            let advised = Mutex::new(None);
            let ask = |_: Life<'_>| async {
                match bot.shards_advised().await {
                    Ok(shards) => {
                        *advised.lock().unwrap_or_else(PoisonError::into_inner) = Some(shards);
                        End::Stopped
                    }
                    Err(end) => end,
                }
            };
            tokio::select! {
                biased;
                never = parts.show(status) => match never {},
                () = connection.keep(config.stall_timeout, cancel, ask) => {}
            }
            advised.into_inner().unwrap_or_else(PoisonError::into_inner).map(all)
        }
    }
}

/// What all shards share.
struct Shared<'a> {
    bot: &'a Bot<'a>,
    inbox: &'a Inbox,
    guard: &'a AddressGuard,
    memory: &'a Memory,
    identifies: &'a Identifies,
}

impl Shared<'_> {
    /// Keeps one shard connected.
    async fn keep(
        &self,
        config: &DiscordConfig,
        (number, of): (u32, u32),
        connection: &Connection,
        cancel: &CancellationToken,
    ) {
        // Another token's session is no session, and other shards have other guilds.
        let name = format!("session-{}-{number}-{of}", fingerprint(config));
        let sessions = &Sessions::new(self.memory.clone(), name);
        let live = |life| async move {
            let shard = Shard::new(self.bot, life, number, of);
            let Self { inbox, guard, identifies, .. } = *self;
            let lines = Lines { life, inbox, guard, sessions, identifies, shard: number };
            tokio::select! {
                end = gateway::live(&shard, lines) => end,
                () = self.bot.rest.revoked() => {
                    End::refused("Discord refuses the token: put the bot's present one into `token`")
                }
            }
        };
        connection.keep(config.stall_timeout, cancel, live).await;
    }
}

/// Returns what tells a token from others and says nothing of it.
fn fingerprint(config: &DiscordConfig) -> String {
    HEXLOWER.encode(&Sha256::digest(config.token.expose())[..8])
}

/// Several connections that are shown as one.
#[derive(Debug, Clone, Default)]
struct Parts(Vec<watch::Receiver<Status>>);

impl Parts {
    fn add(&mut self, config: &DiscordConfig) -> Connection {
        let (publisher, receiver) = StatusPublisher::new();
        self.0.push(receiver);
        Connection::new(publisher, config.reconnect_max)
    }

    /// Publishes the worst of them whenever one changes.
    async fn show(mut self, status: &StatusPublisher) -> Infallible {
        let (mut listening, mut heard_at) = (None, None);
        loop {
            let seen: Vec<_> = self.0.iter_mut().map(|part| part.borrow_and_update().clone()).collect();
            if let Some(worst) = seen.iter().map(|part| &part.link).max_by_key(|link| badness(link)) {
                status.publish(worst.clone());
            }
            let address = seen.iter().find_map(|part| part.listening);
            if let Some(address) = address.filter(|address| listening != Some(*address)) {
                status.publish_listening(address);
                listening = Some(address);
            }
            let last = seen.iter().filter_map(|part| part.signs.last_success()).max();
            if last > heard_at {
                status.succeeded();
                heard_at = last;
            }
            // A sign of life wakes nobody, so it is looked for.
            let changes = select_all(self.0.iter_mut().map(|part| Box::pin(part.changed())));
            if let Ok((Err(_), ..)) = timeout(LOOK_EVERY, changes).await {
                // It has no connection any more; whoever dropped it drops this next.
                pending::<()>().await;
            }
        }
    }
}

/// What has ended by itself is left out of the count: the connector says so when all of it has.
fn badness(link: &Link) -> u8 {
    match link {
        Link::Stopped => 0,
        Link::Connected => 1,
        Link::Degraded { .. } => 2,
        Link::Authenticating => 3,
        Link::Connecting { .. } => 4,
        Link::BackingOff { .. } => 5,
        Link::Contested { .. } => 6,
        Link::AuthFailed { .. } => 7,
    }
}

//! Discord's API v10, REST and gateway, for one bot. Strict: what Discord would refuse it refuses, sessions are resumed with everything
//! that was missed, a nonce is taken once, and identifies are counted.

mod gateway;
mod rest;
mod state;

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::gateway::{Identify, Order};
use self::state::State;
use crate::wire::{Book, Server};

/// The bot's account, and its application.
pub const BOT_ID: &str = "1000000000000000001";
/// The guild that channels belong to unless they are direct.
pub const GUILD_ID: &str = "2000000000000000000";

/// The platform, and the users behind it. Ends when dropped.
#[derive(Debug)]
pub struct Discord {
    state: Arc<State>,
    server: Server,
    gateway: JoinHandle<()>,
}

impl Drop for Discord {
    fn drop(&mut self) {
        self.gateway.abort();
    }
}

impl Discord {
    /// Starts a platform that knows one bot with this token.
    pub async fn start(token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("a bound listener"));
        let state = Arc::new(State::new(token, url));
        let gateway = tokio::spawn(gateway::serve(listener, Arc::clone(&state)));
        let server = Server::start(Arc::clone(&state)).await;
        Self { state, server, gateway }
    }

    /// Returns what goes into `api_url`.
    pub fn url(&self) -> String {
        format!("{}/api/v10", self.server.url())
    }

    /// Returns what was called and what is to go wrong. Operations are `gateway`, `me`, `send`, `edit`, `delete`, `react`, `callback`,
    /// `followup`, and `unknown`.
    pub fn book(&self) -> &Book {
        &self.state.book
    }

    /// Has a user write to a channel of the guild. Returns the message's id.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        self.say_in(channel, Some(GUILD_ID), user, text)
    }

    /// Has a user write to the bot alone. Returns the message's id.
    pub fn say_direct(&self, channel: &str, user: &str, text: &str) -> String {
        self.say_in(channel, None, user, text)
    }

    fn say_in(&self, channel: &str, guild: Option<&str>, user: &str, text: &str) -> String {
        let message = self.message(channel, guild, user, text);
        let id = message["id"].as_str().expect("an id").to_owned();
        self.dispatch("MESSAGE_CREATE", message);
        id
    }

    /// Returns a message as a dispatch would hold it, which nobody has sent.
    pub fn message(&self, channel: &str, guild: Option<&str>, user: &str, text: &str) -> Value {
        self.state.open(channel, guild);
        let mentions: Vec<_> =
            if text.contains(&format!("<@{BOT_ID}>")) { vec![self.state.author()] } else { Vec::new() };
        let mut message = json!({
            "id": self.state.snowflake(), "channel_id": channel, "type": 0, "content": text, "tts": false,
            "timestamp": "2026-01-01T00:00:00.000000+00:00", "edited_timestamp": null, "mention_everyone": false,
            "mentions": mentions, "mention_roles": [], "attachments": [], "embeds": [], "pinned": false, "flags": 0, "components": [],
            "author": {"id": user, "username": format!("user{user}"), "global_name": "Ann", "discriminator": "0", "avatar": null},
        });
        if let Some(guild) = guild {
            message["guild_id"] = json!(guild);
            message["member"] = json!({"roles": [], "nick": null, "joined_at": "2020-01-01T00:00:00.000000+00:00",
                "deaf": false, "mute": false, "flags": 0});
        }
        message
    }

    /// Has a user change a message.
    pub fn edit(&self, channel: &str, id: &str, user: &str, text: &str, edited: &str) {
        let mut message = self.message(channel, Some(GUILD_ID), user, text);
        message["id"] = json!(id);
        message["edited_timestamp"] = json!(edited);
        self.dispatch("MESSAGE_UPDATE", message);
    }

    /// Has a user put a reaction on a message, or take it off.
    pub fn react(&self, channel: &str, message: &str, user: &str, emoji: &str, added: bool) {
        let kind = if added { "MESSAGE_REACTION_ADD" } else { "MESSAGE_REACTION_REMOVE" };
        let emoji = json!({"id": null, "name": emoji});
        self.dispatch(
            kind,
            json!({"user_id": user, "channel_id": channel, "message_id": message, "guild_id": GUILD_ID,
            "emoji": emoji, "burst": false, "type": 0}),
        );
    }

    /// Has a user press a button under a message of the bot's. Returns the interaction's id.
    pub fn press(&self, channel: &str, message: &str, user: &str, custom_id: &str) -> String {
        let interaction = self.pressed(channel, message, user, custom_id);
        self.interact(interaction)
    }

    /// Returns the interaction of a pressed button, which nobody has sent.
    pub fn pressed(&self, channel: &str, message: &str, user: &str, custom_id: &str) -> Value {
        let mut interaction = self.interaction(channel, user, 3, json!({"component_type": 2, "custom_id": custom_id}));
        interaction["message"] = json!({"id": message, "channel_id": channel});
        interaction
    }

    /// Returns the interaction of a slash command, which nobody has sent.
    pub fn slashed(&self, channel: &str, user: &str, name: &str, options: Value) -> Value {
        let data = json!({"id": self.state.snowflake(), "type": 1, "name": name, "options": options});
        self.interaction(channel, user, 2, data)
    }

    /// Has a user give a slash command. Returns the interaction's id.
    pub fn slash(&self, channel: &str, user: &str, name: &str, options: Value) -> String {
        let interaction = self.slashed(channel, user, name, options);
        self.interact(interaction)
    }

    fn interact(&self, interaction: Value) -> String {
        let id = interaction["id"].as_str().expect("an id").to_owned();
        self.dispatch("INTERACTION_CREATE", interaction);
        id
    }

    fn interaction(&self, channel: &str, user: &str, kind: u8, data: Value) -> Value {
        self.state.open(channel, Some(GUILD_ID));
        let id = self.state.snowflake();
        let token = self.state.open_interaction(&id);
        let user = json!({"id": user, "username": format!("user{user}"), "global_name": "Ann", "discriminator": "0", "avatar": null});
        json!({"id": id, "application_id": BOT_ID, "type": kind, "token": token, "version": 1, "data": data, "channel_id": channel,
            "guild_id": GUILD_ID, "member": {"user": user, "roles": [], "nick": null}, "locale": "en-GB"})
    }

    /// Has anything happen. Sessions that are not connected get it when they are resumed.
    pub fn dispatch(&self, kind: &str, data: Value) {
        self.state.dispatch(kind, data);
    }

    /// Returns the messages that the bot sent and that were taken, in order.
    pub fn sent(&self) -> Vec<Value> {
        self.state.lock().messages.clone()
    }

    /// Returns the answers to interactions that were taken, with the interaction's id, in order.
    pub fn callbacks(&self) -> Vec<(String, Value)> {
        self.state.lock().callbacks.clone()
    }

    /// Returns the ids of the interactions whose first answer was deleted, in order.
    pub fn withdrawn(&self) -> Vec<String> {
        self.state.lock().withdrawn.clone()
    }

    /// Returns every identify, refused ones included, in order.
    pub fn identifies(&self) -> Vec<Identify> {
        self.state.lock().identifies.clone()
    }

    /// Returns every resume that was asked for, as it came.
    pub fn resumes(&self) -> Vec<Value> {
        self.state.lock().resumes.clone()
    }

    /// Returns the codes with which clients closed connections; none where one gave none.
    pub fn closes(&self) -> Vec<Option<u16>> {
        self.state.lock().closes.clone()
    }

    /// Returns how many gateway connections were ever made.
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    /// Has every open gateway connection do this.
    pub fn order(&self, order: Order) {
        self.state.order(&order);
    }

    /// Has the next connections ended by these codes instead of an answer to their identify or resume.
    pub fn refuse_next(&self, codes: &[u16]) {
        self.state.lock().refusals.extend(codes);
    }

    /// Sets how many identifies are left today, and when the count begins anew.
    pub fn leave_identifies(&self, remaining: u32, reset_after: Duration) {
        let mut inner = self.state.lock();
        (inner.remaining, inner.reset_after) = (remaining, reset_after);
    }

    /// Sets how many shards are advised, and how many may identify at once.
    pub fn advise(&self, shards: u32, max_concurrency: u32) {
        let mut inner = self.state.lock();
        (inner.shards, inner.max_concurrency) = (shards, max_concurrency);
    }

    /// Sets how often connections that are made from now on are to beat.
    pub fn beat_every(&self, interval: Duration) {
        self.state.lock().heartbeat = interval;
    }

    /// Has heartbeats acknowledged or not.
    pub fn acknowledge_beats(&self, acknowledge: bool) {
        self.state.lock().acknowledges = acknowledge;
    }

    /// Returns whether any session stands.
    pub fn has_sessions(&self) -> bool {
        !self.state.lock().sessions.is_empty()
    }

    /// Forgets every session: none can be resumed.
    pub fn forget_sessions(&self) {
        self.state.lock().sessions.clear();
    }

    /// Refuses the token from now on, and ends its connections.
    pub fn revoke(&self) {
        self.state.lock().token = None;
        self.order(Order::Close(4004, "Authentication failed."));
    }

    /// Refuses these intents from now on.
    pub fn forbid_intents(&self, intents: u64) {
        self.state.lock().forbidden = intents;
    }

    /// Sets how many requests a route takes within a window.
    pub fn limit_routes(&self, limit: u32, window: Duration) {
        let mut inner = self.state.lock();
        inner.limit = (limit, window);
        inner.buckets.clear();
    }

    /// Returns the headers that prove a body to come from Discord, by a key of the application's.
    pub fn sign(key: &SigningKey, timestamp: &str, body: &str) -> [(&'static str, String); 2] {
        let signature = key.sign(format!("{timestamp}{body}").as_bytes());
        let hex = data_encoding::HEXLOWER.encode(&signature.to_bytes());
        [("x-signature-ed25519", hex), ("x-signature-timestamp", timestamp.to_owned())]
    }

    /// Returns an application's key pair, and its public half as an operator copies it.
    pub fn key() -> (SigningKey, String) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = data_encoding::HEXLOWER.encode(key.verifying_key().as_bytes());
        (key, public)
    }
}

//! What the platform knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::gateway::Command;
use crate::wire::{Book, Reply};

/// The bot's id as a user of guilds.
pub(super) const BOT_ID: &str = "9000";

/// An answer that the platform took.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Where: `c2c:…`, `group:…`, `channel:…`, `dm:…`.
    pub place: String,
    /// The message's id.
    pub id: String,
    /// What was asked for.
    pub body: Value,
}

impl Sent {
    /// Returns what it says: its text, or its markup.
    pub fn text(&self) -> &str {
        self.body["content"].as_str().or_else(|| self.body["markdown"]["content"].as_str()).unwrap_or_default()
    }
}

/// What can be answered.
#[derive(Debug)]
pub(super) struct Answerable {
    pub(super) place: String,
    pub(super) until: u64,
    /// The numbers that were used.
    pub(super) numbers: Vec<u64>,
}

/// A file that was given.
#[derive(Debug)]
pub(super) struct File {
    pub(super) info: String,
    pub(super) place: String,
    pub(super) kind: u64,
    pub(super) content: Vec<u8>,
}

/// A session of the gateway.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) intents: u64,
    pub(super) seq: u64,
    /// Everything it was told, or would have been.
    pub(super) log: Vec<(u64, Value)>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) tokens: Vec<(String, Instant)>,
    pub(super) token_lasts: Duration,
    pub(super) is_refused: bool,
    /// By the id of the message or the event.
    pub(super) answerable: HashMap<String, Answerable>,
    pub(super) interactions: Vec<String>,
    pub(super) sent: Vec<Sent>,
    pub(super) files: Vec<File>,
    pub(super) last: Option<(String, Value)>,
    pub(super) interval: Duration,
    pub(super) sessions: Vec<Session>,
    /// By session.
    pub(super) sockets: HashMap<String, mpsc::Sender<Command>>,
    pub(super) identifies: Vec<Value>,
    pub(super) resumes: Vec<Value>,
    pub(super) identifies_left: u32,
    pub(super) reset_after: Duration,
    pub(super) refuses_with: Option<u16>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) app_id: String,
    pub(super) client_secret: String,
    pub(super) gateway_url: String,
    pub(super) ignores_heartbeats: AtomicBool,
    next: AtomicU64,
    inner: Mutex<Inner>,
}

pub(super) fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Returns a moment as the platform writes it. Its offset does not matter to anybody who reads it.
pub(super) fn written(millis: u64) -> String {
    let (days, rest) = ((millis / 86_400_000) as i64, millis % 86_400_000);
    // Howard Hinnant's `civil_from_days`.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}+00:00", rest % 1000)
}

/// Returns a refusal as the platform writes it.
pub(super) fn refusal(status: u16, code: i64, message: &str) -> Reply {
    Reply::json(status, &json!({"code": code, "message": message, "err_code": code, "trace_id": "trace-1"}))
}

/// Returns how long what is said in a place can be answered, in milliseconds.
fn window(place: &str) -> u64 {
    60_000 * if place.starts_with("c2c:") { 60 } else { 5 }
}

impl State {
    pub(super) fn new(app_id: &str, client_secret: &str, gateway_url: String) -> Self {
        Self {
            book: Book::default(),
            app_id: app_id.to_owned(),
            client_secret: client_secret.to_owned(),
            gateway_url,
            ignores_heartbeats: AtomicBool::new(false),
            next: AtomicU64::new(1),
            inner: Mutex::new(Inner {
                tokens: Vec::new(),
                token_lasts: Duration::from_secs(7200),
                is_refused: false,
                answerable: HashMap::new(),
                interactions: Vec::new(),
                sent: Vec::new(),
                files: Vec::new(),
                last: None,
                interval: Duration::from_millis(41_250),
                sessions: Vec::new(),
                sockets: HashMap::new(),
                identifies: Vec::new(),
                resumes: Vec::new(),
                identifies_left: 1000,
                reset_after: Duration::from_secs(86_400),
                refuses_with: None,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number that was not there before.
    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// The token service: the same token until its last minute, then the next one, while the old one is still good.
    pub(super) fn give_token(&self, asked: &Value) -> Reply {
        let number = self.next();
        let mut inner = self.lock();
        if asked["appId"] != self.app_id.as_str()
            || asked["clientSecret"] != self.client_secret.as_str()
            || inner.is_refused
        {
            return Reply::json(200, &json!({"code": 100_016, "message": "invalid appid or secret"}));
        }
        let now = Instant::now();
        inner.tokens.retain(|(_, until)| *until > now);
        let left = |until: Instant| until.saturating_duration_since(now);
        let minute = Duration::from_secs(60).min(inner.token_lasts / 2);
        if let Some((token, until)) = inner.tokens.last().filter(|(_, until)| left(*until) > minute) {
            // As text, as the platform does.
            return Reply::json(200, &json!({"access_token": token, "expires_in": left(*until).as_secs().to_string()}));
        }
        let (token, lasts) = (format!("token-{number}"), inner.token_lasts);
        inner.tokens.push((token.clone(), now + lasts));
        Reply::json(200, &json!({"access_token": token, "expires_in": lasts.as_secs().to_string()}))
    }

    /// Returns whether this is `QQBot` and a token that is good.
    pub(super) fn knows(&self, authorization: &str) -> bool {
        authorization.strip_prefix("QQBot ").is_some_and(|token| self.is_good(token))
    }

    pub(super) fn is_good(&self, token: &str) -> bool {
        self.lock().tokens.iter().any(|(own, until)| own == token && *until > Instant::now())
    }

    /// Writes a message down. Returns the kind of its event, what that says, and the message's id.
    pub(super) fn said(&self, place: &str, user: &str, text: &str, ago: Duration) -> (&'static str, Value, String) {
        let number = self.next();
        let (kind, id) = place.split_once(':').expect("a place");
        let message = format!("ROBOT1.0_{number}.x-y!");
        let at = now_millis() - ago.as_millis() as u64;
        let mut data = json!({"id": message, "content": text, "timestamp": written(at)});
        let guild_author = json!({"id": user, "username": user, "bot": false});
        let name = match kind {
            "c2c" => {
                data["author"] = json!({"id": id, "user_openid": id, "union_openid": id});
                "C2C_MESSAGE_CREATE"
            }
            "group" => {
                data["author"] = json!({"id": user, "member_openid": user, "bot": false, "member_role": "member"});
                (data["group_id"], data["group_openid"]) = (json!(id), json!(id));
                // The platform takes the mention out and leaves the space.
                data["content"] = json!(format!(" {text}"));
                "GROUP_AT_MESSAGE_CREATE"
            }
            "channel" => {
                data["author"] = guild_author;
                (data["channel_id"], data["guild_id"]) = (json!(id), json!("guild"));
                data["content"] = json!(format!("<@!{BOT_ID}> {text}"));
                data["mentions"] = json!([{"id": BOT_ID, "username": "Bot", "bot": true}]);
                "AT_MESSAGE_CREATE"
            }
            "dm" => {
                data["author"] = guild_author;
                (data["channel_id"], data["guild_id"]) = (json!("dm-channel"), json!(id));
                "DIRECT_MESSAGE_CREATE"
            }
            other => panic!("no place: {other}"),
        };
        let answerable = Answerable { place: place.to_owned(), until: at + window(place), numbers: Vec::new() };
        self.lock().answerable.insert(message.clone(), answerable);
        (name, data, message)
    }

    /// Writes a pressed button down. Returns what its event says, and the id of the interaction.
    pub(super) fn pressed(&self, place: &str, user: &str, pressed: &str) -> (Value, String) {
        let interaction = format!("interaction-{}", self.next());
        let (kind, id) = place.split_once(':').expect("a place");
        let mut data = json!({"id": interaction, "type": 11, "version": 1, "scene": kind, "application_id": self.app_id,
            "timestamp": written(now_millis()),
            "data": {"resolved": {"button_id": "1", "button_data": pressed, "message_id": "m", "user_id": user}}});
        match kind {
            "c2c" => (data["chat_type"], data["user_openid"]) = (json!(2), json!(id)),
            "group" => {
                (data["chat_type"], data["group_openid"]) = (json!(1), json!(id));
                data["group_member_openid"] = json!(user);
            }
            _ => (data["chat_type"], data["channel_id"]) = (json!(0), json!(id)),
        }
        self.lock().interactions.push(interaction.clone());
        (data, interaction)
    }

    /// Tells every session what happened, or keeps it for when it is resumed.
    pub(super) fn happen(&self, kind: &str, data: Value) {
        let id = format!("{kind}:{}", self.next());
        let mut inner = self.lock();
        inner.last = Some((kind.to_owned(), data.clone()));
        let place = match (data["group_openid"].as_str(), data["user_openid"].as_str(), data["openid"].as_str()) {
            (Some(group), ..) => Some(format!("group:{group}")),
            (_, Some(user), _) | (_, _, Some(user)) => Some(format!("c2c:{user}")),
            _ => None,
        };
        if let Some(place) = place.filter(|_| matches!(kind, "INTERACTION_CREATE" | "FRIEND_ADD" | "GROUP_ADD_ROBOT")) {
            let until = now_millis() + window(&place);
            inner.answerable.insert(id.clone(), Answerable { place, until, numbers: Vec::new() });
        }
        let Inner { sessions, sockets, .. } = &mut *inner;
        for session in sessions.iter_mut().filter(|session| session.intents & intent(kind) != 0) {
            session.seq += 1;
            let frame = json!({"op": 0, "id": id, "s": session.seq, "t": kind, "d": data});
            session.log.push((session.seq, frame.clone()));
            if let Some(socket) = sockets.get(&session.id) {
                // A socket that does not read has the log to catch up with.
                let _ = socket.try_send(Command::Frame(frame.to_string()));
            }
        }
    }

    /// Has every connection do this.
    pub(super) fn command(&self, command: &Command) {
        for socket in self.lock().sockets.values() {
            let _ = socket.try_send(command.clone());
        }
    }
}

/// Returns which intent a kind of event needs; all where it is not known.
fn intent(kind: &str) -> u64 {
    let bit = match kind {
        "GUILD_CREATE" | "GUILD_UPDATE" | "GUILD_DELETE" | "CHANNEL_CREATE" => 0,
        "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" | "GUILD_MEMBER_REMOVE" => 1,
        "MESSAGE_CREATE" | "MESSAGE_DELETE" => 9,
        "MESSAGE_REACTION_ADD" | "MESSAGE_REACTION_REMOVE" => 10,
        "DIRECT_MESSAGE_CREATE" | "DIRECT_MESSAGE_DELETE" => 12,
        "INTERACTION_CREATE" => 26,
        "MESSAGE_AUDIT_PASS" | "MESSAGE_AUDIT_REJECT" => 27,
        "AT_MESSAGE_CREATE" | "PUBLIC_MESSAGE_DELETE" => 30,
        kind if ["C2C_", "GROUP_", "FRIEND_"].iter().any(|prefix| kind.starts_with(prefix)) => 25,
        _ => return u64::MAX,
    };
    1 << bit
}
